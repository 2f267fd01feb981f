//! Types: a change, the public contract between the profile stage and the export stage.
//!
//! One JSON object a change; its JSON Schema is published as `docs/change.schema.json`. Written by the hub, read by every
//! feed. Reading opens only what a decision needs: the profile stays a slice.

use std::borrow::Cow;

use jiff::Timestamp;

use super::entity::Status;
use super::json::{self, JsonError, Kind, Slicer};
use super::strings::Strings;
use super::time;

/// What one update did to one profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change<'a> {
    /// Whose.
    pub profile_id: Cow<'a, str>,
    /// Which view of the profile.
    pub merge_policy_id: Cow<'a, str>,
    /// The change's position in its log: it only grows, and outlives a delete.
    pub version: u64,
    /// The hub's receipt; never falls.
    pub time: Timestamp,
    /// What was written and what differs.
    pub changed: Changed<'a>,
    /// The entity after the update as JSON text; for a delete, the one before it.
    pub profile: &'a str,
    /// Whether the profile is gone.
    pub deleted: bool,
}

/// What an update wrote and changed (`semantics 2`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changed<'a> {
    /// The paths that were written, escaped. One that is longer than any that can be mapped stands for all below it.
    pub attributes: Strings<'a>,
    /// Whether the set of identities is another.
    pub identities: bool,
    /// The memberships that changed.
    pub audiences: Vec<AudienceChange<'a>>,
    /// The leaf paths whose value is another, escaped.
    pub differing: Strings<'a>,
}

/// A membership that changed (`semantics 2.3`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AudienceChange<'a> {
    /// The audience's namespace.
    pub namespace: Cow<'a, str>,
    /// The audience's id.
    pub id: Cow<'a, str>,
    /// What it was; `None` where there was none.
    pub from: Option<Status>,
    /// What it is.
    pub to: Status,
}

/// Why a text is no change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// Not JSON, or of a wrong shape.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// A member that must be there is not, or can't be read.
    #[error("{0} is missing or can't be read: see docs/change.schema.json")]
    Member(&'static str),
}

impl Change<'_> {
    /// Appends the change as one line of JSON, without a newline.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"profileId\":");
        json::write_string(out, &self.profile_id);
        out.extend_from_slice(b",\"mergePolicyId\":");
        json::write_string(out, &self.merge_policy_id);
        out.extend_from_slice(b",\"version\":");
        out.extend_from_slice(self.version.to_string().as_bytes());
        out.extend_from_slice(b",\"time\":");
        time::write(out, self.time);
        out.extend_from_slice(b",\"changed\":{\"attributes\":");
        write_strings(out, &self.changed.attributes);
        out.extend_from_slice(b",\"identities\":");
        out.extend_from_slice(if self.changed.identities { b"true" } else { b"false" });
        out.extend_from_slice(b",\"audiences\":[");
        for (position, change) in self.changed.audiences.iter().enumerate() {
            if position > 0 {
                out.push(b',');
            }
            out.extend_from_slice(b"{\"namespace\":");
            json::write_string(out, &change.namespace);
            out.extend_from_slice(b",\"id\":");
            json::write_string(out, &change.id);
            out.extend_from_slice(b",\"from\":");
            match change.from {
                Some(from) => json::write_string(out, from.as_str()),
                None => out.extend_from_slice(b"null"),
            }
            out.extend_from_slice(b",\"to\":");
            json::write_string(out, change.to.as_str());
            out.push(b'}');
        }
        out.extend_from_slice(b"],\"differing\":");
        write_strings(out, &self.changed.differing);
        out.extend_from_slice(b"},\"profile\":");
        out.extend_from_slice(self.profile.as_bytes());
        out.extend_from_slice(b",\"deleted\":");
        out.extend_from_slice(if self.deleted { b"true}" } else { b"false}" });
    }
}

impl<'a> Change<'a> {
    /// Reads a change.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ChangeError> {
        Self::parse_with(bytes, |_, _, _| None::<()>).map(|(change, _)| change)
    }

    /// Reads a change, and in the same pass whatever `open` makes of its profile, which comes next in the slicer. `open` is
    /// given the merge policy and what changed, and is not asked where a publisher writes those behind the profile. Where it
    /// gives nothing, the profile is read over, and only its text is there.
    pub fn parse_with<V>(
        bytes: &'a [u8],
        mut open: impl FnMut(&str, &Changed<'a>, &mut Slicer<'a>) -> Option<V>,
    ) -> Result<(Self, Option<V>), ChangeError> {
        let mut opened = None;
        let mut slicer = Slicer::new(json::text(bytes)?);
        let (mut profile_id, mut merge_policy_id, mut version, mut receipt) = (None, None::<Cow<'a, str>>, None, None);
        let (mut changed, mut profile, mut deleted) = (None, None, Some(false));
        let peek = slicer.peek()?;
        slicer.expect(peek, Kind::Object, "the change")?;
        let mut key = slicer.first_key()?;
        while let Some(name) = key {
            if name == "changed" {
                changed = Some(parse_changed(&mut slicer)?);
            } else if name == "profile" {
                let is_object = slicer.peek()? == Kind::Object;
                let start = slicer.clone();
                opened = match (&merge_policy_id, &changed) {
                    (Some(policy), Some(changed)) if is_object => open(policy, changed, &mut slicer),
                    _ => None,
                };
                let raw = if opened.is_some() {
                    slicer.since(&start)
                } else {
                    slicer = start;
                    slicer.raw()?
                };
                profile = is_object.then_some(raw);
            } else {
                match name.as_ref() {
                    "profileId" => profile_id = slicer.string()?.filter(|id| !id.is_empty()),
                    "mergePolicyId" => merge_policy_id = slicer.string()?,
                    "version" => version = slicer.raw()?.parse().ok(),
                    "time" => receipt = slicer.string()?.and_then(|text| time::parse(&text)),
                    "deleted" => deleted = boolean(slicer.raw()?),
                    _ => {
                        slicer.raw()?;
                    }
                }
            }
            key = slicer.next_key()?;
        }
        slicer.finish()?;
        let change = Self {
            profile_id: profile_id.ok_or(ChangeError::Member("profileId"))?,
            merge_policy_id: merge_policy_id.ok_or(ChangeError::Member("mergePolicyId"))?,
            version: version.ok_or(ChangeError::Member("version"))?,
            time: receipt.ok_or(ChangeError::Member("time"))?,
            changed: changed.ok_or(ChangeError::Member("changed"))?,
            profile: profile.ok_or(ChangeError::Member("profile"))?,
            deleted: deleted.ok_or(ChangeError::Member("deleted"))?,
        };
        Ok((change, opened))
    }
}

/// Every member must be there: one that a publisher leaves out would silently trigger nothing.
fn parse_changed<'a>(slicer: &mut Slicer<'a>) -> Result<Changed<'a>, ChangeError> {
    let (mut attributes, mut identities, mut audiences, mut differing) = (None, None, None, None);
    let peek = slicer.peek()?;
    slicer.expect(peek, Kind::Object, "changed")?;
    let mut key = slicer.first_key()?;
    while let Some(name) = key {
        match name.as_ref() {
            "attributes" => attributes = Some(parse_strings(slicer, "changed.attributes")?),
            "differing" => differing = Some(parse_strings(slicer, "changed.differing")?),
            "audiences" => audiences = Some(parse_audiences(slicer)?),
            "identities" => identities = boolean(slicer.raw()?),
            _ => {
                slicer.raw()?;
            }
        }
        key = slicer.next_key()?;
    }
    Ok(Changed {
        attributes: attributes.ok_or(ChangeError::Member("changed.attributes"))?,
        identities: identities.ok_or(ChangeError::Member("changed.identities"))?,
        audiences: audiences.ok_or(ChangeError::Member("changed.audiences"))?,
        differing: differing.ok_or(ChangeError::Member("changed.differing"))?,
    })
}

fn boolean(raw: &str) -> Option<bool> {
    match raw {
        "true" => Some(true),
        "false" => Some(false),
        _ => None,
    }
}

fn parse_strings<'a>(slicer: &mut Slicer<'a>, place: &'static str) -> Result<Strings<'a>, ChangeError> {
    let peek = slicer.peek()?;
    slicer.expect(peek, Kind::Array, place)?;
    Strings::read(slicer)?.ok_or(ChangeError::Member(place))
}

fn parse_audiences<'a>(slicer: &mut Slicer<'a>) -> Result<Vec<AudienceChange<'a>>, ChangeError> {
    let peek = slicer.peek()?;
    slicer.expect(peek, Kind::Array, "changed.audiences")?;
    let mut audiences = Vec::new();
    let mut more = slicer.first_element()?;
    while more {
        let peek = slicer.peek()?;
        slicer.expect(peek, Kind::Object, "changed.audiences[]")?;
        let (mut namespace, mut id, mut from, mut to) = (None, None, None, None);
        let mut key = slicer.first_key()?;
        while let Some(name) = key {
            let raw = slicer.raw()?;
            let value = json::string_value(raw);
            match name.as_ref() {
                "namespace" => namespace = value,
                "id" => id = value,
                "from" if raw == "null" => from = None,
                "from" => {
                    let status = value.and_then(|text| Status::parse(&text));
                    from = Some(status.ok_or(ChangeError::Member("changed.audiences[].from"))?);
                }
                "to" => to = value.and_then(|text| Status::parse(&text)),
                _ => {}
            }
            key = slicer.next_key()?;
        }
        audiences.push(AudienceChange {
            namespace: namespace.ok_or(ChangeError::Member("changed.audiences[].namespace"))?,
            id: id.ok_or(ChangeError::Member("changed.audiences[].id"))?,
            from,
            to: to.ok_or(ChangeError::Member("changed.audiences[].to"))?,
        });
        more = slicer.next_element()?;
    }
    Ok(audiences)
}

fn write_strings(out: &mut Vec<u8>, strings: &Strings<'_>) {
    out.push(b'[');
    for (position, text) in strings.iter().enumerate() {
        if position > 0 {
            out.push(b',');
        }
        json::write_string(out, &text);
    }
    out.push(b']');
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_contract_of_the_design_reads_and_writes_back() {
        let text = r#"{"profileId":"p-1","mergePolicyId":"default","version":42,"time":"2026-01-02T03:04:05Z","changed":{"attributes":["person.name.firstName"],"identities":true,"audiences":[{"namespace":"ups","id":"a1","from":null,"to":"realized"}],"differing":["person.name.firstName"]},"profile":{"person":{"name":{"firstName":"Ada"}}},"deleted":false}"#;
        let change = Change::parse(text.as_bytes()).unwrap();
        assert_eq!((change.version, change.changed.identities, change.deleted), (42, true, false));
        let mut out = Vec::new();
        change.write(&mut out);
        assert_eq!(String::from_utf8(out).unwrap(), text);
    }

    #[test]
    fn a_profile_is_opened_in_the_same_pass_only_where_it_comes_behind_what_changed() {
        let (changed, profile) = (
            r#""mergePolicyId":"m","changed":{"attributes":["a"],"identities":false,"audiences":[],"differing":[]}"#,
            r#""profile":{"a":{"b":[1]},"c":2}"#,
        );
        let rest = r#""profileId":"p","version":1,"time":"2026-01-02T03:04:05Z""#;
        let behind = format!("{{{rest},{changed}, {profile} }}");
        let before = format!("{{{rest},{profile},{changed}}}");
        let read = |slicer: &mut Slicer<'_>| slicer.raw().map(str::to_owned).ok();
        // One that gives up half-way leaves the change whole.
        let half = |slicer: &mut Slicer<'_>| slicer.first_key().ok().and(None::<String>);
        let (whole, opened) = Change::parse_with(behind.as_bytes(), |_, _, slicer| read(slicer)).unwrap();
        assert_eq!(opened.as_deref(), Some(r#"{"a":{"b":[1]},"c":2}"#));
        assert_eq!(whole.profile, r#"{"a":{"b":[1]},"c":2}"#);
        assert_eq!(Change::parse_with(behind.as_bytes(), |_, _, slicer| half(slicer)).unwrap(), (whole.clone(), None));
        assert_eq!(Change::parse_with(before.as_bytes(), |_, _, slicer| read(slicer)).unwrap(), (whole, None));
    }

    #[test]
    fn a_change_without_a_member_or_with_one_of_another_type_says_which() {
        let whole = r#"{"profileId":"p","mergePolicyId":"m","version":1,"time":"2026-01-02T03:04:05Z","changed":{"attributes":[],"identities":false,"audiences":[{"namespace":"n","id":"a","from":null,"to":"exited"}],"differing":[]},"profile":{}}"#;
        assert!(!Change::parse(whole.as_bytes()).unwrap().deleted);
        let table = [
            (r#""profileId":"p","#, "", "profileId"),
            (r#""profileId":"p""#, r#""profileId":"""#, "profileId"),
            (r#""mergePolicyId":"m","#, "", "mergePolicyId"),
            (r#""version":1,"#, "", "version"),
            (r#""version":1"#, r#""version":-1"#, "version"),
            ("2026-01-02T03:04:05Z", "today", "time"),
            (r#""attributes":[],"#, "", "changed.attributes"),
            (r#""attributes":[]"#, r#""attributes":[7]"#, "changed.attributes"),
            (r#""identities":false,"#, "", "changed.identities"),
            ("false", r#""false""#, "changed.identities"),
            (r#","differing":[]"#, "", "changed.differing"),
            (r#""id":"a","#, "", "changed.audiences[].id"),
            ("null", r#""gone""#, "changed.audiences[].from"),
            (r#""exited""#, r#""gone""#, "changed.audiences[].to"),
            (r#""profile":{}"#, r#""profile":[]"#, "profile"),
            (r#""profile":{}"#, r#""profile":{},"deleted":1"#, "deleted"),
        ];
        for (from, to, member) in table {
            let text = whole.replace(from, to);
            assert_ne!(text, whole);
            assert_eq!(Change::parse(text.as_bytes()), Err(ChangeError::Member(member)), "{text}");
        }
    }
}
