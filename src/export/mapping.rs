//! Types: what one activation maps, as data ([`MappingSpec`], kept with the checkpoint) and compiled for the hot path
//! ([`Mapping`]).
//!
//! Pure. Everything that shapes a record is in here, so that a replay under the same mapping gives the same records.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::profile::json;
use crate::profile::path::{Path, PathError};
use crate::profile::strings::Strings;
use crate::profile::{IDENTITY_MAP, SEGMENT_MEMBERSHIP};

/// The member of a record that says why and from which version it was made.
pub const METADATA: &str = "_activation";

/// Everything of an activation and its destination that decides which records come out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(clippy::struct_excessive_bools, reason = "switches that users set one by one")]
pub struct MappingSpec {
    /// `namespace/name` of the activation.
    pub activation: String,
    /// The mapped audiences.
    pub audiences: Vec<MappedAudience>,
    /// The mapped attributes, in the order of the records.
    pub attributes: Vec<MappedAttribute>,
    /// Which changes count.
    pub triggers: TriggerSwitches,
    /// Which memberships go along.
    pub scope: Scope,
    /// Whether mapped audiences carry their names.
    pub include_segment_names: bool,
    /// Whether mapped audiences carry their four timestamps.
    pub include_segment_timestamps: bool,
    /// Whether records carry `_activation`.
    pub metadata: bool,
    /// Whether a deleted profile is told as exited.
    pub exit_on_delete: bool,
    /// The identity namespace (lower case) whose first id is the partition key; the profile id where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partition_key_namespace: Option<String>,
}

/// One audience of an activation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MappedAudience {
    /// Its namespace, as memberships spell it.
    pub namespace: String,
    /// Its id.
    pub id: String,
    /// The merge policy under which it counts (`semantics 3.8`).
    pub merge_policy_id: String,
    /// What people call it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What people say of it; shapes no record, but a change of it is a change of the entry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// When the audience was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_at: Option<Timestamp>,
    /// When the audience was last edited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updated_at: Option<Timestamp>,
    /// When it was mapped here (`semantics 4.8`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mapping_created_at: Option<Timestamp>,
    /// When its entry was last edited (`semantics 4.8`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mapping_updated_at: Option<Timestamp>,
}

/// One attribute of an activation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MappedAttribute {
    /// Where it is, escaped.
    pub path: String,
    /// Whether a profile without it is excluded.
    #[serde(default)]
    pub required: bool,
}

/// `semantics 3.5`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(clippy::struct_excessive_bools, reason = "switches that users set one by one")]
pub struct TriggerSwitches {
    /// Entries and exits count.
    pub audiences: bool,
    /// Attribute writes count.
    pub attributes: bool,
    /// Identity changes count.
    pub identities: bool,
    /// Attribute writes of the same value do not count.
    pub suppress_unchanged: bool,
}

/// Which memberships go along in a record (`semantics 4.4`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Scope {
    /// Mapped ones, and those unmapped ones that are realized, under the change's merge policy.
    SameMergePolicy,
    /// Mapped ones only.
    Mapped,
}

/// Why a mapping cannot be compiled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MappingError {
    /// A path that is none.
    #[error("spec.mappedAttributes[{index}].path: {error}")]
    Path {
        /// Which entry.
        index: usize,
        /// What is wrong with it.
        error: PathError,
    },
    /// A path above, below, or equal to another.
    #[error(
        "spec.mappedAttributes[{index}].path: \"{path}\" and \"{other}\" overlap: map the one above, or only what is below it"
    )]
    Overlap {
        /// The later entry.
        index: usize,
        /// Its path.
        path: String,
        /// The path that it meets.
        other: String,
    },
    /// A path into what the record holds by itself.
    #[error(
        "spec.mappedAttributes[{index}].path: \"{name}\" is always part of the record and cannot be mapped: remove it"
    )]
    Reserved {
        /// Which entry.
        index: usize,
        /// The reserved member.
        name: &'static str,
    },
}

/// Looked up for every membership of every record.
type ByName<V> = HashMap<String, V, RandomState>;

/// A mapping compiled for the hot path.
#[derive(Debug)]
pub struct Mapping {
    spec: MappingSpec,
    pub(super) tree: Node,
    pub(super) required: Vec<usize>,
    audiences: ByName<ByName<Vec<Audience>>>,
}

/// A node of the tree of mapped paths.
#[derive(Debug, Default)]
pub(super) struct Node {
    /// In the order in which the mapping first names them: the name, and how it is written behind another member, `,"name":`.
    pub(super) children: Vec<(Box<str>, Vec<u8>, Node)>,
    /// Which entry of the mapping ends here.
    pub(super) leaf: Option<usize>,
}

/// What a record says of a mapped audience beyond its membership.
#[derive(Debug)]
pub(super) struct Audience {
    merge_policy_id: String,
    /// `,"name":…,"createdAt":…`, ready to be appended.
    pub(super) suffix: Vec<u8>,
}

impl Mapping {
    /// Checks and compiles.
    pub fn compile(spec: MappingSpec) -> Result<Self, MappingError> {
        let mut tree = Node::default();
        for (index, attribute) in spec.attributes.iter().enumerate() {
            let path = Path::parse(&attribute.path).map_err(|error| MappingError::Path { index, error })?;
            for name in [IDENTITY_MAP, SEGMENT_MEMBERSHIP, METADATA] {
                if path.names().first().is_some_and(|first| first == name) {
                    return Err(MappingError::Reserved { index, name });
                }
            }
            tree.insert(path.names(), index).map_err(|other| MappingError::Overlap {
                index,
                path: attribute.path.clone(),
                other: spec.attributes.get(other).map(|attribute| attribute.path.clone()).unwrap_or_default(),
            })?;
        }
        let mut audiences: ByName<ByName<Vec<Audience>>> = ByName::default();
        for audience in &spec.audiences {
            let suffix = suffix(audience, spec.include_segment_names, spec.include_segment_timestamps);
            let compiled = Audience { merge_policy_id: audience.merge_policy_id.clone(), suffix };
            audiences
                .entry(audience.namespace.clone())
                .or_default()
                .entry(audience.id.clone())
                .or_default()
                .push(compiled);
        }
        let required =
            spec.attributes.iter().enumerate().filter(|(_, attribute)| attribute.required).map(|(i, _)| i).collect();
        Ok(Self { spec, tree, required, audiences })
    }

    /// What it was compiled from.
    pub fn spec(&self) -> &MappingSpec {
        &self.spec
    }

    /// The audience, where it is mapped under the merge policy of the change (`semantics 3.8`).
    pub(super) fn audience(&self, merge_policy_id: &str, namespace: &str, id: &str) -> Option<&Audience> {
        self.audiences.get(namespace)?.get(id)?.iter().find(|audience| audience.merge_policy_id == merge_policy_id)
    }

    /// Whether a path lies at, above or below a mapped one (`semantics 3.2`).
    pub(super) fn touches(&self, escaped: &str) -> bool {
        if !escaped.contains('\\') {
            return self.tree.touches(escaped.split('.'));
        }
        // A path that cannot be read names nothing that is mapped.
        Path::parse(escaped).is_ok_and(|path| self.tree.touches(path.names().iter().map(String::as_str)))
    }

    /// For each entry of the mapping, whether one of the paths lies at, above or below it.
    pub(super) fn touched(&self, escaped: &Strings<'_>) -> Vec<bool> {
        let mut marks = vec![false; self.spec.attributes.len()];
        for path in escaped.iter().filter_map(|path| Path::parse(&path).ok()) {
            self.tree.mark(path.names(), &mut marks);
        }
        marks
    }
}

impl Node {
    /// Adds a path; fails with the entry that it overlaps.
    fn insert(&mut self, names: &[String], index: usize) -> Result<(), usize> {
        if let Some(above) = self.leaf {
            return Err(above);
        }
        let Some((name, rest)) = names.split_first() else {
            if let Some(below) = self.first_leaf() {
                return Err(below);
            }
            self.leaf = Some(index);
            return Ok(());
        };
        let position = self.children.iter().position(|(known, _, _)| known.as_ref() == name).unwrap_or_else(|| {
            let mut key = vec![b','];
            json::write_string(&mut key, name);
            key.push(b':');
            self.children.push((name.as_str().into(), key, Self::default()));
            self.children.len() - 1
        });
        match self.children.get_mut(position) {
            Some((_, _, child)) => child.insert(rest, index),
            None => Ok(()),
        }
    }

    fn first_leaf(&self) -> Option<usize> {
        self.leaf.or_else(|| self.children.iter().find_map(|(_, _, child)| child.first_leaf()))
    }

    /// The child of that name.
    pub(super) fn child(&self, name: &str) -> Option<&Self> {
        self.children.iter().find(|(known, _, _)| known.as_ref() == name).map(|(_, _, child)| child)
    }

    /// Which child has that name.
    pub(super) fn place_of(&self, name: &str) -> Option<usize> {
        self.children.iter().position(|(known, _, _)| known.as_ref() == name)
    }

    /// Marks the entries at, above and below a path.
    fn mark(&self, names: &[String], marks: &mut [bool]) {
        if let Some(mark) = self.leaf.and_then(|index| marks.get_mut(index)) {
            *mark = true;
            return;
        }
        match names.split_first() {
            Some((name, rest)) => {
                if let Some(child) = self.child(name) {
                    child.mark(rest, marks);
                }
            }
            None => self.children.iter().for_each(|(_, _, child)| child.mark(&[], marks)),
        }
    }

    fn touches<'p>(&self, names: impl Iterator<Item = &'p str>) -> bool {
        let mut node = self;
        for name in names {
            if node.leaf.is_some() {
                return true;
            }
            match node.child(name) {
                Some(child) => node = child,
                None => return false,
            }
        }
        true
    }
}

fn suffix(audience: &MappedAudience, names: bool, timestamps: bool) -> Vec<u8> {
    let mut out = Vec::new();
    if let Some(name) = audience.name.as_ref().filter(|_| names) {
        out.extend_from_slice(b",\"name\":");
        json::write_string(&mut out, name);
    }
    if timestamps {
        let members = [
            ("createdAt", audience.created_at),
            ("updatedAt", audience.updated_at),
            ("mappingCreatedAt", audience.mapping_created_at),
            ("mappingUpdatedAt", audience.mapping_updated_at),
        ];
        for (member, time) in members {
            if let Some(time) = time {
                out.extend_from_slice(format!(",\"{member}\":{}", time.as_millisecond()).as_bytes());
            }
        }
    }
    out
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    pub(crate) fn spec(audiences: &[&str], attributes: &[&str]) -> MappingSpec {
        MappingSpec {
            activation: "marketing/vip".to_owned(),
            audiences: audiences
                .iter()
                .map(|id| MappedAudience {
                    namespace: "ups".to_owned(),
                    id: (*id).to_owned(),
                    merge_policy_id: "default".to_owned(),
                    name: None,
                    description: None,
                    created_at: None,
                    updated_at: None,
                    mapping_created_at: None,
                    mapping_updated_at: None,
                })
                .collect(),
            attributes: attributes
                .iter()
                .map(|path| MappedAttribute { path: (*path).to_owned(), required: false })
                .collect(),
            triggers: TriggerSwitches {
                audiences: true,
                attributes: true,
                identities: true,
                suppress_unchanged: false,
            },
            scope: Scope::SameMergePolicy,
            include_segment_names: false,
            include_segment_timestamps: false,
            metadata: false,
            exit_on_delete: false,
            partition_key_namespace: None,
        }
    }

    #[test]
    fn paths_that_overlap_are_refused_with_both_names() {
        for paths in [["a.b", "a"], ["a", "a.b"], ["a.b", "a.b"], ["a.b", "a.b.c"]] {
            let error = Mapping::compile(spec(&[], &paths)).unwrap_err().to_string();
            assert!(error.starts_with("spec.mappedAttributes[1].path") && error.contains("overlap"), "{error}");
        }
        assert!(Mapping::compile(spec(&[], &["a.b", "a.c", "ab", r"a\.b"])).is_ok());
    }

    #[test]
    fn reserved_members_cannot_be_mapped() {
        for path in ["identityMap.ecid", "segmentMembership", "_activation.version"] {
            let error = Mapping::compile(spec(&[], &[path])).unwrap_err();
            assert!(matches!(error, MappingError::Reserved { index: 0, .. }), "{path}");
        }
    }

    #[test]
    fn a_path_touches_what_is_at_above_or_below_it() {
        let mapping = Mapping::compile(spec(&[], &["a.b", r"c\.d.e"])).unwrap();
        for path in ["a", "a.b", "a.b.c.d", r"c\.d", r"c\.d.e", r"c\.d.e.f"] {
            assert!(mapping.touches(path), "{path}");
        }
        for path in ["b", "a.c", "ab", "c", "c.d", r"a\.b"] {
            assert!(!mapping.touches(path), "{path}");
        }
        let touched = |paths: &[&'static str]| mapping.touched(&paths.iter().map(|path| (*path).into()).collect());
        assert_eq!(touched(&["a", r"c\.d.f"]), [true, false]);
        assert_eq!(touched(&["a.b.c", r"c\.d"]), [true, true]);
    }
}
