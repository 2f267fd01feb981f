//! Types: the state of a profile: its attributes, identities and audience memberships, borrowed from stored text.
//!
//! Pure. The stored form is the entity of the public contract: attributes at the root, `identityMap` with namespaces in
//! lower case, `segmentMembership` with times in UTC and `exitedAt`.

use std::borrow::Cow;

use indexmap::IndexMap;
use jiff::Timestamp;

use super::json::{self, JsonError, Kind, Node, Object, Slicer};
use super::{IDENTITY_MAP, SEGMENT_MEMBERSHIP, time};

/// Values by name, in the order in which they came.
pub type Ordered<'a, V> = IndexMap<Cow<'a, str>, V, foldhash::fast::RandomState>;

/// Memberships by audience namespace, then audience id.
pub type Memberships<'a> = Ordered<'a, Ordered<'a, Membership>>;

/// Identities by namespace in lower case, then by id (never empty); no namespace is empty.
pub type Identities<'a> = Ordered<'a, Ordered<'a, Identity<'a>>>;

/// One identity of a profile, beside its id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity<'a> {
    /// The whole object as it came, compact: `id`, `primary`, `authenticatedState`, …
    pub object: Cow<'a, str>,
    /// Whether it carries `"primary": true`.
    pub primary: bool,
}

impl Identity<'_> {
    /// The same, borrowing nothing.
    pub fn into_owned(self) -> Identity<'static> {
        Identity { object: Cow::Owned(self.object.into_owned()), primary: self.primary }
    }
}

/// Whether a profile is in an audience.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// It is.
    Realized,
    /// It was.
    Exited,
}

impl Status {
    /// As the contract writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Realized => "realized",
            Self::Exited => "exited",
        }
    }

    /// As producers write it; the legacy `existing` reads as `realized` (`semantics 1.7`).
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "realized" | "existing" => Some(Self::Realized),
            "exited" => Some(Self::Exited),
            _ => None,
        }
    }
}

/// A profile's membership in one audience.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Membership {
    /// In it, or out of it.
    pub status: Status,
    /// On a whole second.
    pub last_qualification: Timestamp,
    /// The receipt of the change that made it `exited`; `None` while realized, and where a foreign feed does not say.
    pub exited_at: Option<Timestamp>,
}

/// The state of one profile under one merge policy.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Entity<'a> {
    /// The root without the two reserved members; holds no `null` outside arrays.
    pub attributes: Object<'a>,
    /// Who it is.
    pub identities: Identities<'a>,
    /// Which audiences it is or was in.
    pub memberships: Memberships<'a>,
}

impl<'a> Entity<'a> {
    /// Reads an entity as [`Entity::write`] wrote it, or as the public contract allows it.
    pub fn parse(text: &'a str) -> Result<Self, JsonError> {
        let mut slicer = Slicer::new(text);
        let peek = slicer.peek()?;
        slicer.expect(peek, Kind::Object, "the profile")?;
        let mut entity = Self::default();
        let mut key = slicer.first_key()?;
        while let Some(name) = key {
            match name.as_ref() {
                IDENTITY_MAP => entity.identities = parse_identities(&mut slicer)?,
                SEGMENT_MEMBERSHIP => entity.memberships = parse_memberships(&mut slicer)?,
                _ => {
                    let node = match slicer.peek()? {
                        Kind::Object => Node::Object(slicer.object(2)?),
                        _ => Node::Leaf(slicer.compact(super::MAX_DEPTH - 1)?),
                    };
                    entity.attributes.insert(name, node);
                }
            }
            key = slicer.next_key()?;
        }
        slicer.finish()?;
        Ok(entity)
    }

    /// Appends the entity as one JSON object.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.push(b'{');
        json::write_members(out, &self.attributes);
        if !self.identities.is_empty() {
            begin_member(out, IDENTITY_MAP);
            write_identities(out, &self.identities);
        }
        if !self.memberships.is_empty() {
            begin_member(out, SEGMENT_MEMBERSHIP);
            write_memberships(out, &self.memberships);
        }
        out.push(b'}');
    }

    /// The memberships that are or were held, as (namespace, audience id, membership).
    pub fn each_membership(&self) -> impl Iterator<Item = (&str, &str, Membership)> {
        self.memberships.iter().flat_map(|(namespace, audiences)| {
            audiences.iter().map(move |(id, membership)| (namespace.as_ref(), id.as_ref(), *membership))
        })
    }

    /// The membership in one audience.
    pub fn membership(&self, namespace: &str, id: &str) -> Option<Membership> {
        self.memberships.get(namespace)?.get(id).copied()
    }
}

/// Reads `segmentMembership` as the contract writes it.
fn parse_memberships<'a>(slicer: &mut Slicer<'a>) -> Result<Memberships<'a>, JsonError> {
    let mut namespaces = Memberships::default();
    expect_object(slicer, SEGMENT_MEMBERSHIP)?;
    let mut key = slicer.first_key()?;
    while let Some(namespace) = key {
        expect_object(slicer, "segmentMembership's namespace")?;
        let mut audiences = Ordered::default();
        let mut audience = slicer.first_key()?;
        while let Some(id) = audience {
            audiences.insert(id, parse_membership(slicer)?);
            audience = slicer.next_key()?;
        }
        namespaces.insert(namespace, audiences);
        key = slicer.next_key()?;
    }
    Ok(namespaces)
}

fn parse_membership(slicer: &mut Slicer<'_>) -> Result<Membership, JsonError> {
    expect_object(slicer, "a membership")?;
    let (mut status, mut last_qualification, mut exited_at) = (None, None, None);
    let mut key = slicer.first_key()?;
    while let Some(name) = key {
        let raw = slicer.raw()?;
        match name.as_ref() {
            "status" => status = json::string_value(raw).and_then(|text| Status::parse(&text)),
            "lastQualificationTime" => last_qualification = json::string_value(raw).and_then(|text| time::parse(&text)),
            "exitedAt" => exited_at = json::string_value(raw).and_then(|text| time::parse(&text)),
            _ => {}
        }
        key = slicer.next_key()?;
    }
    match (status, last_qualification) {
        (Some(status), Some(last)) => {
            Ok(Membership { status, last_qualification: time::whole_seconds(last), exited_at })
        }
        _ => Err(unreadable_membership()),
    }
}

/// A membership whose status or time can't be read.
pub(crate) fn unreadable_membership() -> JsonError {
    JsonError::WrongType {
        place: "a membership".to_owned(),
        expected: "an object with a known status and a readable lastQualificationTime",
        found: "something else",
    }
}

/// Reads `identityMap` as the contract writes it.
pub fn parse_identities<'a>(slicer: &mut Slicer<'a>) -> Result<Identities<'a>, JsonError> {
    let mut namespaces = Identities::default();
    expect_object(slicer, IDENTITY_MAP)?;
    let mut key = slicer.first_key()?;
    while let Some(namespace) = key {
        let list = parse_identity_list(slicer, &namespace)?;
        if !list.is_empty() {
            namespaces.insert(lower_case(namespace), list);
        }
        key = slicer.next_key()?;
    }
    Ok(namespaces)
}

/// Reads the identities of one namespace.
pub(crate) fn parse_identity_list<'a>(
    slicer: &mut Slicer<'a>,
    namespace: &str,
) -> Result<Ordered<'a, Identity<'a>>, JsonError> {
    let place = |position: usize| format!("identityMap.{namespace}[{position}]");
    let peek = slicer.peek()?;
    if peek != Kind::Array {
        slicer.expect(peek, Kind::Array, &format!("identityMap.{namespace}"))?;
    }
    let mut list = Ordered::default();
    let (mut position, mut more) = (0, slicer.first_element()?);
    while more {
        let peek = slicer.peek()?;
        if peek != Kind::Object {
            slicer.expect(peek, Kind::Object, &place(position))?;
        }
        let object = slicer.compact(super::MAX_DEPTH - 3)?;
        let (id, primary) = match &object {
            Cow::Borrowed(text) => id_and_primary(text, || place(position))?,
            Cow::Owned(text) => {
                let (id, primary) = id_and_primary(text, || place(position))?;
                (Cow::Owned(id.into_owned()), primary)
            }
        };
        list.insert(id, Identity { object, primary });
        position += 1;
        more = slicer.next_element()?;
    }
    Ok(list)
}

fn id_and_primary(object: &str, place: impl Fn() -> String) -> Result<(Cow<'_, str>, bool), JsonError> {
    let (mut id, mut primary) = (None, false);
    let mut slicer = Slicer::new(object);
    let mut key = slicer.first_key()?;
    while let Some(name) = key {
        let raw = slicer.raw()?;
        match name.as_ref() {
            "id" => id = json::string_value(raw).filter(|text| !text.is_empty()),
            "primary" => primary = raw == "true",
            _ => {}
        }
        key = slicer.next_key()?;
    }
    id.map(|id| (id, primary)).ok_or_else(|| JsonError::WrongType {
        place: format!("{}.id", place()),
        expected: "a string with at least one character",
        found: "something else or missing",
    })
}

/// Namespaces of identities compare and are stored in lower case (`semantics 1.4`).
pub(crate) fn lower_case(text: Cow<'_, str>) -> Cow<'_, str> {
    if text.chars().any(char::is_uppercase) { Cow::Owned(text.to_lowercase()) } else { text }
}

fn expect_object(slicer: &mut Slicer<'_>, place: &str) -> Result<(), JsonError> {
    let peek = slicer.peek()?;
    slicer.expect(peek, Kind::Object, place)
}

fn begin_member(out: &mut Vec<u8>, name: &str) {
    if out.last() != Some(&b'{') {
        out.push(b',');
    }
    json::write_string(out, name);
    out.push(b':');
}

fn write_identities(out: &mut Vec<u8>, identities: &Identities<'_>) {
    out.push(b'{');
    for (namespace, list) in identities {
        begin_member(out, namespace);
        out.push(b'[');
        for (position, identity) in list.values().enumerate() {
            if position > 0 {
                out.push(b',');
            }
            out.extend_from_slice(identity.object.as_bytes());
        }
        out.push(b']');
    }
    out.push(b'}');
}

fn write_memberships(out: &mut Vec<u8>, memberships: &Memberships<'_>) {
    out.push(b'{');
    for (namespace, audiences) in memberships {
        begin_member(out, namespace);
        out.push(b'{');
        for (id, membership) in audiences {
            begin_member(out, id);
            out.extend_from_slice(b"{\"lastQualificationTime\":");
            time::write(out, membership.last_qualification);
            out.extend_from_slice(b",\"status\":\"");
            out.extend_from_slice(membership.status.as_str().as_bytes());
            out.push(b'"');
            if let Some(exited_at) = membership.exited_at {
                out.extend_from_slice(b",\"exitedAt\":");
                time::write(out, exited_at);
            }
            out.push(b'}');
        }
        out.push(b'}');
    }
    out.push(b'}');
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_written_reads_back_the_same() {
        let text = r#"{"a":{"b":1.50},"identityMap":{"ecid":[{"id":"4\"2","primary":true}]},"segmentMembership":{"ups":{"a1":{"lastQualificationTime":"2026-01-02T03:04:05Z","status":"exited","exitedAt":"2026-01-02T03:04:05.123456Z"}}}}"#;
        let entity = Entity::parse(text).unwrap();
        let mut out = Vec::new();
        entity.write(&mut out);
        assert_eq!(String::from_utf8(out).unwrap(), text);
        assert!(entity.identities["ecid"]["4\"2"].primary);
        assert_eq!(entity.membership("ups", "a1").unwrap().status, Status::Exited);
    }

    #[test]
    fn an_identity_without_a_textual_id_is_refused_with_its_place() {
        let error = Entity::parse(r#"{"identityMap":{"ECID":[{"id":"1"},{"id":7}]}}"#).unwrap_err();
        assert!(error.to_string().starts_with("identityMap.ECID[1].id must be a string"), "{error}");
    }
}
