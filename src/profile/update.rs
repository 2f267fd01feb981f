//! Types: one profile update as a producer sends it, read and checked as a whole before anything is done with it.
//!
//! Pure. `semantics 1.1` to `1.3`, `1.7`, `1.8`. Where a rule is silent: `null` for `identityMap`, `segmentMembership` or a
//! membership is refused (an exit is told by its status), and of a repeated member the last counts.

use std::borrow::Cow;

use jiff::Timestamp;

use super::entity::{self, Identity, Ordered, Status};
use super::json::{self, JsonError, Node, Object, Slicer};
use super::{IDENTITY_MAP, MAX_PROFILE_BYTES, SEGMENT_MEMBERSHIP, time};

/// The longest profile id, merge policy id, audience id or namespace, in bytes.
pub const MAX_ID_BYTES: usize = 2048;

/// What an update does to its profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Patch it (`semantics 1.4`).
    Merge,
    /// Put another in its place (`semantics 1.5`).
    Replace,
    /// Remove it (`semantics 1.6`).
    Delete,
}

/// One update.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Update<'a> {
    /// Whose it is.
    pub profile_id: Cow<'a, str>,
    /// Which view of the profile.
    pub merge_policy_id: Cow<'a, str>,
    /// What to do.
    pub operation: Operation,
    /// `header.time`.
    pub time: Option<Timestamp>,
    /// What to write; empty for a delete.
    pub patch: Patch<'a>,
}

/// What an update writes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Patch<'a> {
    /// The root without the two reserved members; a `null` removes.
    pub attributes: Object<'a>,
    /// By namespace in lower case: identities to add, or `None` to remove the namespace.
    pub identities: Ordered<'a, Option<Ordered<'a, Identity<'a>>>>,
    /// By namespace and audience id.
    pub memberships: Ordered<'a, Ordered<'a, Qualification>>,
}

/// A membership as a producer tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Qualification {
    /// In or out.
    pub status: Status,
    /// On a whole second; `None` where the update does not say.
    pub last_qualification: Option<Timestamp>,
}

/// Why a line is no update (`semantics 1.8`).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UpdateError {
    /// Over [`MAX_PROFILE_BYTES`].
    #[error("the line is {0} bytes long; at most {MAX_PROFILE_BYTES} (1 MiB) are read: send large values elsewhere")]
    TooLong(usize),
    /// Not JSON, or of a wrong shape.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// No way to tell whose it is.
    #[error("no profile: give header.profileId, or mark one identity of identityMap with \"primary\": true")]
    NoProfile,
    /// Two ways to tell whose it is.
    #[error("more than one identity is marked \"primary\": true: give header.profileId, or mark exactly one")]
    ManyPrimaries,
    /// A member holds a value that its rule does not allow.
    #[error("{place}: {problem}")]
    Refused {
        /// The member, as a path.
        place: String,
        /// What is wrong, and what is allowed.
        problem: String,
    },
}

impl<'a> Update<'a> {
    /// Reads one line.
    pub fn parse(line: &'a [u8]) -> Result<Self, UpdateError> {
        if line.len() > MAX_PROFILE_BYTES {
            return Err(UpdateError::TooLong(line.len()));
        }
        let text = json::text(line)?;
        let mut root = json::parse_object(text)?;
        if !root.contains_key("body") {
            return Self::assemble(Header::default(), Patch::from_object(root)?);
        }
        let header = match root.swap_remove("header") {
            None => Header::default(),
            Some(Node::Object(header)) => Header::from_object(header)?,
            Some(Node::Leaf(raw)) => return Err(refused("header", must_be("an object", &raw))),
        };
        if header.operation == Operation::Delete {
            // The entity is ignored, save for a primary identity that tells whose it is.
            let patch = match root.swap_remove("body") {
                Some(Node::Object(mut body)) if header.profile_id.is_none() => match body.swap_remove("xdmEntity") {
                    Some(Node::Object(entity)) => Patch::from_object(entity)?,
                    _ => Patch::default(),
                },
                _ => Patch::default(),
            };
            return Self::assemble(header, patch);
        }
        let entity = match root.swap_remove("body") {
            Some(Node::Object(mut body)) => match body.swap_remove("xdmEntity") {
                Some(Node::Object(entity)) => entity,
                Some(Node::Leaf(raw)) => return Err(refused("body.xdmEntity", must_be("an object", &raw))),
                None => return Err(refused("body.xdmEntity", "missing: it holds the entity".to_owned())),
            },
            Some(Node::Leaf(raw)) => return Err(refused("body", must_be("an object", &raw))),
            None => return Err(refused("body", "missing".to_owned())),
        };
        Self::assemble(header, Patch::from_object(entity)?)
    }

    fn assemble(header: Header<'a>, patch: Patch<'a>) -> Result<Self, UpdateError> {
        let profile_id = match header.profile_id {
            Some(id) => id,
            None => patch.primary_identity()?,
        };
        bounded_id("the profile id", &profile_id)?;
        let patch = if header.operation == Operation::Delete { Patch::default() } else { patch };
        Ok(Self {
            profile_id,
            merge_policy_id: header.merge_policy_id.unwrap_or(Cow::Borrowed("default")),
            operation: header.operation,
            time: header.time,
            patch,
        })
    }
}

struct Header<'a> {
    profile_id: Option<Cow<'a, str>>,
    merge_policy_id: Option<Cow<'a, str>>,
    operation: Operation,
    time: Option<Timestamp>,
}

impl Default for Header<'_> {
    fn default() -> Self {
        Self { profile_id: None, merge_policy_id: None, operation: Operation::Merge, time: None }
    }
}

impl<'a> Header<'a> {
    fn from_object(object: Object<'a>) -> Result<Self, UpdateError> {
        let mut header = Self::default();
        for (name, node) in object {
            let place = match name.as_ref() {
                "profileId" => "header.profileId",
                "mergePolicyId" => "header.mergePolicyId",
                "operation" => "header.operation",
                "time" => "header.time",
                _ => continue,
            };
            let text = node_string(&node, place)?;
            match place {
                "header.profileId" => {
                    bounded_id(place, &text)?;
                    header.profile_id = Some(text);
                }
                "header.mergePolicyId" => {
                    bounded_id(place, &text)?;
                    header.merge_policy_id = Some(text);
                }
                "header.operation" => {
                    header.operation = match text.as_ref() {
                        "merge" => Operation::Merge,
                        "replace" => Operation::Replace,
                        "delete" => Operation::Delete,
                        other => {
                            return Err(refused(
                                place,
                                format!("\"{}\" is not one of merge, replace, delete", shown(other)),
                            ));
                        }
                    };
                }
                _ => header.time = Some(readable_time(place, &text)?),
            }
        }
        Ok(header)
    }
}

impl<'a> Patch<'a> {
    fn from_object(mut root: Object<'a>) -> Result<Self, UpdateError> {
        let mut patch = Self::default();
        if let Some(node) = root.shift_remove(IDENTITY_MAP) {
            patch.identities = identities(open(node, IDENTITY_MAP)?)?;
        }
        if let Some(node) = root.shift_remove(SEGMENT_MEMBERSHIP) {
            patch.memberships = memberships(open(node, SEGMENT_MEMBERSHIP)?)?;
        }
        patch.attributes = root;
        Ok(patch)
    }

    /// `<namespace in lower case>:<id>` of the one identity that is primary (`semantics 1.3`).
    fn primary_identity(&self) -> Result<Cow<'a, str>, UpdateError> {
        let mut primaries = self.identities.iter().flat_map(|(namespace, list)| {
            list.iter().flatten().filter(|(_, identity)| identity.primary).map(move |(id, _)| (namespace, id))
        });
        match (primaries.next(), primaries.next()) {
            (Some((namespace, id)), None) => Ok(Cow::Owned(format!("{namespace}:{id}"))),
            (None, _) => Err(UpdateError::NoProfile),
            (Some(_), Some(_)) => Err(UpdateError::ManyPrimaries),
        }
    }
}

fn identities(object: Object<'_>) -> Result<Ordered<'_, Option<Ordered<'_, Identity<'_>>>>, UpdateError> {
    let mut namespaces: Ordered<'_, Option<Ordered<'_, Identity<'_>>>> = Ordered::default();
    for (namespace, node) in object {
        let place = format!("identityMap.{}", shown(&namespace));
        bounded_id(&place, &namespace)?;
        let list = match node {
            Node::Object(_) => return Err(refused(&place, must_be("an array of identities or null", "{"))),
            node @ Node::Leaf(_) if node.is_null() => None,
            Node::Leaf(Cow::Borrowed(raw)) => Some(entity::parse_identity_list(&mut Slicer::new(raw), &namespace)?),
            Node::Leaf(Cow::Owned(raw)) => {
                let list = entity::parse_identity_list(&mut Slicer::new(&raw), &namespace)?;
                Some(
                    list.into_iter()
                        .map(|(id, identity)| (Cow::Owned(id.into_owned()), identity.into_owned()))
                        .collect(),
                )
            }
        };
        // Two spellings of one namespace in one update count together.
        let known = namespaces.entry(entity::lower_case(namespace)).or_insert_with(|| Some(Ordered::default()));
        match (known, list) {
            (Some(known), Some(more)) => known.extend(more),
            (known, list) => *known = list,
        }
    }
    Ok(namespaces)
}

fn memberships(object: Object<'_>) -> Result<Ordered<'_, Ordered<'_, Qualification>>, UpdateError> {
    let mut namespaces = Ordered::default();
    for (namespace, node) in object {
        let place = format!("segmentMembership.{}", shown(&namespace));
        bounded_id(&place, &namespace)?;
        let mut audiences = Ordered::default();
        for (id, node) in open(node, &place)? {
            let place = format!("{place}.{}", shown(&id));
            bounded_id(&place, &id)?;
            let qualification = qualification(open(node, &place)?, &place)?;
            audiences.insert(id, qualification);
        }
        namespaces.insert(namespace, audiences);
    }
    Ok(namespaces)
}

fn qualification(mut object: Object<'_>, place: &str) -> Result<Qualification, UpdateError> {
    let status_place = format!("{place}.status");
    let Some(node) = object.swap_remove("status") else {
        return Err(refused(&status_place, "missing: give realized or exited".to_owned()));
    };
    let text = node_string(&node, &status_place)?;
    let Some(status) = Status::parse(&text) else {
        return Err(refused(&status_place, format!("\"{}\" is not one of realized, existing, exited", shown(&text))));
    };
    let last_qualification = match object.swap_remove("lastQualificationTime") {
        None => None,
        Some(node) => {
            let place = format!("{place}.lastQualificationTime");
            let text = node_string(&node, &place)?;
            Some(time::whole_seconds(readable_time(&place, &text)?))
        }
    };
    Ok(Qualification { status, last_qualification })
}

fn open<'a>(node: Node<'a>, place: &str) -> Result<Object<'a>, UpdateError> {
    match node {
        Node::Object(object) => Ok(object),
        Node::Leaf(raw) => Err(refused(place, must_be("an object", &raw))),
    }
}

fn node_string<'a>(node: &Node<'a>, place: &str) -> Result<Cow<'a, str>, UpdateError> {
    let text = match node {
        Node::Leaf(Cow::Borrowed(raw)) => json::string_value(raw),
        Node::Leaf(Cow::Owned(raw)) => json::string_value(raw).map(|text| Cow::Owned(text.into_owned())),
        Node::Object(_) => None,
    };
    text.ok_or_else(|| {
        let found = match node {
            Node::Object(_) => "{",
            Node::Leaf(raw) => raw,
        };
        refused(place, must_be("a string", found))
    })
}

fn readable_time(place: &str, text: &str) -> Result<Timestamp, UpdateError> {
    time::parse(text)
        .ok_or_else(|| refused(place, format!("\"{}\" is not a time: write it as 2026-01-02T03:04:05Z", shown(text))))
}

fn bounded_id(place: &str, id: &str) -> Result<(), UpdateError> {
    match id.len() {
        0 => Err(refused(place, "is empty".to_owned())),
        1..=MAX_ID_BYTES => Ok(()),
        length => Err(refused(place, format!("is {length} bytes long; at most {MAX_ID_BYTES} are allowed"))),
    }
}

fn must_be(expected: &str, found: &str) -> String {
    format!("must be {expected}, but is {}", json::type_name(found))
}

fn refused(place: &str, problem: String) -> UpdateError {
    UpdateError::Refused { place: place.to_owned(), problem }
}

/// A foreign text as it may stand in a message: at most 64 characters.
fn shown(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(64) {
        Some((end, _)) => Cow::Owned(format!("{}…", &text[..end])),
        None => Cow::Borrowed(text),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn refusal(line: &str) -> String {
        Update::parse(line.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn each_refusal_names_the_place_and_the_mend() {
        let table = [
            (r#""text""#, "the line must be an object, but is a string"),
            (r#"{"body":{}}"#, "body.xdmEntity: missing: it holds the entity"),
            (r#"{"body":7}"#, "body: must be an object, but is a number"),
            (r#"{"header":[],"body":{"xdmEntity":{}}}"#, "header: must be an object, but is an array"),
            (
                r#"{"header":{"profileId":7},"body":{"xdmEntity":{}}}"#,
                "header.profileId: must be a string, but is a number",
            ),
            (r#"{"header":{"profileId":""},"body":{"xdmEntity":{}}}"#, "header.profileId: is empty"),
            (
                r#"{"header":{"profileId":"p","operation":"upsert"},"body":{"xdmEntity":{}}}"#,
                "header.operation: \"upsert\" is not one of merge, replace, delete",
            ),
            (
                r#"{"header":{"profileId":"p"},"body":{"xdmEntity":{"segmentMembership":{"ups":{"a":null}}}}}"#,
                "segmentMembership.ups.a: must be an object, but is null",
            ),
            (
                r#"{"header":{"profileId":"p"},"body":{"xdmEntity":{"segmentMembership":{"ups":{"a":{}}}}}}"#,
                "segmentMembership.ups.a.status: missing: give realized or exited",
            ),
            (
                r#"{"header":{"profileId":"p"},"body":{"xdmEntity":{"identityMap":{"E":"x"}}}}"#,
                "identityMap.E must be an array, but is a string",
            ),
            (
                r#"{"person":{}}"#,
                "no profile: give header.profileId, or mark one identity of identityMap with \"primary\": true",
            ),
        ];
        for (line, message) in table {
            assert_eq!(refusal(line), message, "{line}");
        }
    }

    #[test]
    fn a_line_over_one_mebibyte_is_refused_before_it_is_read() {
        assert!(refusal(&format!("{{\"a\":\"{}\"}}", "x".repeat(MAX_PROFILE_BYTES))).contains("1 MiB"));
    }

    #[test]
    fn a_delete_needs_no_entity_and_carries_none() {
        let update = Update::parse(br#"{"header":{"profileId":"p","operation":"delete"},"body":{}}"#).unwrap();
        assert_eq!((update.operation, update.patch), (Operation::Delete, Patch::default()));
        let by_primary = br#"{"header":{"operation":"delete"},"body":{"xdmEntity":{"identityMap":{"ECID":[{"id":"1","primary":true}]}}}}"#;
        assert_eq!(Update::parse(by_primary).unwrap().profile_id, "ecid:1");
    }

    #[test]
    fn a_bare_entity_may_have_an_attribute_named_header() {
        let line = br#"{"header":{"x":1},"identityMap":{"Email":[{"id":"a","primary":true}]}}"#;
        let update = Update::parse(line).unwrap();
        assert_eq!(update.profile_id, "email:a");
        assert!(update.patch.attributes.contains_key("header"));
    }

    #[test]
    fn two_spellings_of_a_namespace_count_together() {
        let line = br#"{"header":{"profileId":"p"},"body":{"xdmEntity":{"identityMap":{"ECID":[{"id":"1"}],"ecid":[ {"id":"2"} ]}}}}"#;
        let update = Update::parse(line).unwrap();
        let ids: Vec<_> = update.patch.identities["ecid"].iter().flatten().map(|(id, _)| id.as_ref()).collect();
        assert_eq!(ids, ["1", "2"]);
    }
}
