//! Pure decisions: the record of a change (`semantics 4`), and the two entrances to the export stage: a live change, and a
//! profile as it is (backfill, resync, a dead letter sent again).

use std::borrow::Cow;
use std::fmt::Write as _;

use jiff::Timestamp;

use super::mapping::{Mapping, Node, Scope};
use super::partition_key::{partition_key, sha256_hex};
use super::trigger::{self, Triggers};
use super::view::View;
use crate::profile::change::{Change, ChangeError, Changed};
use crate::profile::entity::Status;
use crate::profile::json::{self, Slicer};
use crate::profile::time;

/// What becomes of a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Projected {
    /// It triggers nothing.
    Nothing,
    /// It triggers, but the profile lacks a required attribute (`semantics 4.10`).
    Excluded,
    /// It is exported.
    Export(Export),
}

/// One export.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Export {
    /// 1 to 256 characters.
    pub partition_key: String,
    /// Why it is exported.
    pub triggers: Triggers,
    /// One JSON object in UTF-8, no trailing newline.
    pub record: Vec<u8>,
    /// The exits that it tells, which a dead letter must not lose: namespace and audience id.
    pub exits: Vec<(String, String)>,
}

/// What `_activation` says beyond the change: which run it belongs to, and when it is exported.
#[derive(Debug, Clone, Copy)]
pub struct Stamp<'a> {
    /// The backfill or resync run; empty for a live change.
    pub run: &'a str,
    /// Now.
    pub exported_at: Timestamp,
}

/// A live change (`semantics 3`, `4`).
pub fn live(mapping: &Mapping, change: &Change<'_>, exported_at: Timestamp) -> Result<Projected, ChangeError> {
    project_live(mapping, change, None, exported_at)
}

/// The same of a change as it stands in a feed, which is read once: where its profile comes behind what tells that it is
/// needed, as the hub writes it, both are one pass.
pub fn live_line<'a>(
    mapping: &Mapping,
    line: &'a [u8],
    exported_at: Timestamp,
) -> Result<(Projected, Change<'a>), ChangeError> {
    let (change, view) = Change::parse_with(line, |merge_policy_id, changed, slicer| {
        if trigger::of_live(mapping, merge_policy_id, changed).is_empty() {
            return None;
        }
        // What cannot be read is told where it turns out to be needed.
        View::read(mapping, slicer).ok()
    })?;
    Ok((project_live(mapping, &change, view, exported_at)?, change))
}

fn project_live<'a>(
    mapping: &Mapping,
    change: &Change<'a>,
    view: Option<View<'a>>,
    exported_at: Timestamp,
) -> Result<Projected, ChangeError> {
    let candidates = trigger::candidates(mapping, change);
    if candidates.is_empty() {
        return Ok(Projected::Nothing);
    }
    let mut view = match view {
        Some(view) => view,
        None => View::read(mapping, &mut Slicer::new(change.profile))?,
    };
    let triggers = if change.deleted {
        view.exit_all(mapping, &change.merge_policy_id);
        candidates
    } else {
        trigger::confirm(candidates, || view.is_member(mapping, &change.merge_policy_id))
    };
    if triggers.is_empty() {
        return Ok(Projected::Nothing);
    }
    Ok(view.project(mapping, change, triggers, &Stamp { run: "", exported_at }))
}

/// A profile as it is, told because it is `realized` in one of the audiences that `asked` names, or, in a resync, has any
/// membership in one (`semantics 5.1`, `5.6`). `also_exited` are exits that an earlier record failed to tell and that still
/// hold where the profile is not realized again.
pub fn state(
    mapping: &Mapping,
    profile: &State<'_>,
    also_exited: &[(String, String)],
    stamp: &Stamp<'_>,
) -> Result<Projected, ChangeError> {
    let change = Change {
        profile_id: Cow::Borrowed(profile.profile_id),
        merge_policy_id: Cow::Borrowed(profile.merge_policy_id),
        version: profile.version,
        time: profile.time,
        changed: Changed::default(),
        profile: profile.entity,
        deleted: false,
    };
    let mut view = View::read(mapping, &mut Slicer::new(profile.entity))?;
    view.also_exit(also_exited, profile.time);
    Ok(view.project(mapping, &change, Triggers::BACKFILL, stamp))
}

/// A profile as the hub holds it.
#[derive(Debug, Clone, Copy)]
pub struct State<'a> {
    /// Whose.
    pub profile_id: &'a str,
    /// Which view of it.
    pub merge_policy_id: &'a str,
    /// The version of its last change.
    pub version: u64,
    /// The receipt of its last change.
    pub time: Timestamp,
    /// The entity as JSON text.
    pub entity: &'a str,
}

impl View<'_> {
    fn project(self, mapping: &Mapping, change: &Change<'_>, triggers: Triggers, stamp: &Stamp<'_>) -> Projected {
        let exits = self.told_exits(mapping, change, triggers);
        let lacks = mapping.required.iter().any(|index| !matches!(self.values.get(*index), Some(Some(_))));
        if lacks && exits.is_empty() {
            return Projected::Excluded;
        }
        // Most records are about as long as their profile, or shorter; grown once rather than thrice.
        let mut record = Vec::with_capacity(change.profile.len().clamp(512, 4096));
        record.push(b'{');
        write_mapped(&mapping.tree, &self.values, &mut record);
        self.write_memberships(mapping, change, &mut record);
        self.write_identities(&mut record);
        if mapping.spec().metadata {
            write_metadata(mapping, change, triggers, stamp, &mut record);
        }
        record.push(b'}');
        Projected::Export(Export { partition_key: self.partition_key(mapping, change), triggers, record, exits })
    }

    /// The exits that this record is about: those of the change, or, for a profile as it is, all that it tells.
    fn told_exits(&self, mapping: &Mapping, change: &Change<'_>, triggers: Triggers) -> Vec<(String, String)> {
        let mapped = |namespace: &str, id: &str| mapping.audience(&change.merge_policy_id, namespace, id).is_some();
        if triggers.contains(Triggers::BACKFILL) {
            return self
                .memberships
                .iter()
                .flat_map(|(namespace, audiences)| audiences.iter().map(move |(id, m)| (namespace, id, m)))
                .filter(|(namespace, id, m)| m.status == Status::Exited && mapped(namespace, id))
                .map(|(namespace, id, _)| (namespace.to_string(), id.to_string()))
                .collect();
        }
        change
            .changed
            .audiences
            .iter()
            .filter(|audience| audience.to == Status::Exited && mapped(&audience.namespace, &audience.id))
            .map(|audience| (audience.namespace.to_string(), audience.id.to_string()))
            .collect()
    }

    /// `semantics 4.4` to `4.6`.
    fn write_memberships(&self, mapping: &Mapping, change: &Change<'_>, out: &mut Vec<u8>) {
        begin_member(out, b"\"segmentMembership\":{");
        for (namespace, audiences) in &self.memberships {
            let mark = out.len();
            if out.last() != Some(&b'{') {
                out.push(b',');
            }
            json::write_string(out, namespace);
            out.extend_from_slice(b":{");
            let empty = out.len();
            for (id, membership) in audiences {
                let mapped = mapping.audience(&change.merge_policy_id, namespace, id);
                let goes_along = match membership.status {
                    Status::Realized => mapped.is_some() || mapping.spec().scope == Scope::SameMergePolicy,
                    Status::Exited => {
                        mapped.is_some()
                            && !membership.exited_at.is_some_and(|exited| time::forgotten(exited, change.time))
                    }
                };
                if !goes_along {
                    continue;
                }
                if out.len() > empty {
                    out.push(b',');
                }
                json::write_string(out, id);
                out.extend_from_slice(b":{\"lastQualificationTime\":\"");
                out.extend_from_slice(membership.last_qualification.as_bytes());
                out.extend_from_slice(b"\",\"status\":\"");
                out.extend_from_slice(membership.status.as_str().as_bytes());
                out.push(b'"');
                if let Some(audience) = mapped {
                    out.extend_from_slice(&audience.suffix);
                }
                out.push(b'}');
            }
            if out.len() == empty {
                out.truncate(mark);
            } else {
                out.push(b'}');
            }
        }
        out.push(b'}');
    }

    /// `semantics 4.7`.
    fn write_identities(&self, out: &mut Vec<u8>) {
        begin_member(out, b"\"identityMap\":{");
        for (position, (namespace, ids)) in self.identities.iter().enumerate() {
            if position > 0 {
                out.push(b',');
            }
            json::write_string(out, namespace);
            out.extend_from_slice(b":[");
            for (position, id) in ids.iter().enumerate() {
                out.extend_from_slice(if position > 0 { b",{\"id\":" } else { b"{\"id\":" });
                out.extend_from_slice(id.as_bytes());
                out.push(b'}');
            }
            out.push(b']');
        }
        out.push(b'}');
    }

    /// `semantics 4.9`.
    fn partition_key(&self, mapping: &Mapping, change: &Change<'_>) -> String {
        let first_identity = mapping.spec().partition_key_namespace.as_ref().and_then(|wanted| {
            let (_, ids) = self.identities.iter().find(|(namespace, _)| namespace == wanted)?;
            json::string_value(ids.first()?)
        });
        partition_key(first_identity.as_deref().unwrap_or(&change.profile_id))
    }
}

/// `semantics 4.1`, `4.2`: nested at their paths, in the order of the mapping; no empty parent. Whether anything was written.
fn write_mapped(node: &Node, values: &[Option<Cow<'_, str>>], out: &mut Vec<u8>) -> bool {
    let mut any = false;
    for (_, key, child) in &node.children {
        let mark = out.len();
        out.extend_from_slice(if any { key } else { key.get(1..).unwrap_or_default() });
        let written = if let Some(index) = child.leaf {
            let value = values.get(index).and_then(Option::as_ref);
            value.is_some_and(|value| {
                out.extend_from_slice(value.as_bytes());
                true
            })
        } else {
            out.push(b'{');
            let written = write_mapped(child, values, out);
            out.push(b'}');
            written
        };
        if !written {
            out.truncate(mark);
        }
        any |= written;
    }
    any
}

fn begin_member(out: &mut Vec<u8>, opening: &[u8]) {
    if out.last() != Some(&b'{') {
        out.push(b',');
    }
    out.extend_from_slice(opening);
}

/// `_activation`, the last member of the record.
fn write_metadata(mapping: &Mapping, change: &Change<'_>, triggers: Triggers, stamp: &Stamp<'_>, out: &mut Vec<u8>) {
    let parts = [
        mapping.spec().activation.as_str(),
        &change.merge_policy_id,
        &change.profile_id,
        &change.version.to_string(),
        stamp.run,
    ];
    // Each part with its length, so that no two lists of parts make one text.
    let mut identity = String::new();
    for part in parts {
        // A `String` takes every write.
        let _ = write!(identity, "{}:{part}", part.len());
    }
    begin_member(out, b"\"_activation\":{\"exportId\":\"");
    out.extend_from_slice(sha256_hex(identity.as_bytes(), 16).as_bytes());
    out.extend_from_slice(b"\",\"activation\":");
    json::write_string(out, &mapping.spec().activation);
    out.extend_from_slice(b",\"profileId\":");
    json::write_string(out, &change.profile_id);
    out.extend_from_slice(b",\"mergePolicyId\":");
    json::write_string(out, &change.merge_policy_id);
    out.extend_from_slice(format!(",\"version\":{},\"triggers\":[", change.version).as_bytes());
    for (position, name) in triggers.names().enumerate() {
        if position > 0 {
            out.push(b',');
        }
        json::write_string(out, name);
    }
    let backfill = triggers.contains(Triggers::BACKFILL);
    out.extend_from_slice(format!("],\"backfill\":{backfill},\"exportedAt\":").as_bytes());
    time::write(out, time::whole_micros(stamp.exported_at));
    out.push(b'}');
}
