//! Pure decisions: does a change count for an activation, and as what (`semantics 3`).

use std::fmt;

use super::mapping::Mapping;
use crate::profile::change::{AudienceChange, Change, Changed};

/// The kinds of change that made an export.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Triggers(u8);

impl Triggers {
    /// A membership in a mapped audience changed (`semantics 3.1`).
    pub const AUDIENCE: Self = Self(1);
    /// A mapped attribute was written (`semantics 3.2`).
    pub const ATTRIBUTE: Self = Self(2);
    /// The identities changed (`semantics 3.3`).
    pub const IDENTITY: Self = Self(4);
    /// An audience was mapped, or a resync asked for (`semantics 5`).
    pub const BACKFILL: Self = Self(8);

    const NAMES: [(Self, &'static str); 4] = [
        (Self::AUDIENCE, "audience"),
        (Self::ATTRIBUTE, "attribute"),
        (Self::IDENTITY, "identity"),
        (Self::BACKFILL, "backfill"),
    ];

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether all of `other` are among these.
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The names, in the order audience, attribute, identity, backfill.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Self::NAMES.into_iter().filter(move |(kind, _)| self.contains(*kind)).map(|(_, name)| name)
    }

    fn add(&mut self, kind: Self, present: bool) {
        if present {
            self.0 |= kind.0;
        }
    }
}

impl fmt::Display for Triggers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, name) in self.names().enumerate() {
            if position > 0 {
                f.write_str("+")?;
            }
            f.write_str(name)?;
        }
        Ok(())
    }
}

/// What in a change could make it count, before the profile is opened. Empty: it exports nothing.
pub(super) fn candidates(mapping: &Mapping, change: &Change<'_>) -> Triggers {
    let found = of_live(mapping, &change.merge_policy_id, &change.changed);
    if change.deleted {
        // `semantics 1.6`: only the exits of a delete are ever told, and only where the activation asks for them.
        return Triggers(if mapping.spec().exit_on_delete { found.0 & Triggers::AUDIENCE.0 } else { 0 });
    }
    found
}

/// The same, as if the profile were not deleted. Empty: nothing will ask for the profile.
pub(super) fn of_live(mapping: &Mapping, merge_policy_id: &str, changed: &Changed<'_>) -> Triggers {
    let on = mapping.spec().triggers;
    let is_mapped = |a: &AudienceChange<'_>| mapping.audience(merge_policy_id, &a.namespace, &a.id).is_some();
    let mut found = Triggers::default();
    found.add(Triggers::AUDIENCE, on.audiences && changed.audiences.iter().any(is_mapped));
    found.add(Triggers::ATTRIBUTE, on.attributes && attribute_counts(mapping, changed));
    found.add(Triggers::IDENTITY, on.identities && changed.identities);
    found
}

/// `semantics 3.2`.
fn attribute_counts(mapping: &Mapping, changed: &Changed<'_>) -> bool {
    let (written, differing) = (&changed.attributes, &changed.differing);
    if !written.iter().any(|path| mapping.touches(&path)) {
        return false;
    }
    if !mapping.spec().triggers.suppress_unchanged {
        return true;
    }
    // One mapped path must be both: the write of one and the difference of another make no update of either.
    let written = mapping.touched(written);
    let differing = mapping.touched(differing);
    written.into_iter().zip(differing).any(|(written, differs)| written && differs)
}

/// `semantics 3.4`: what remains of the candidates, given the memberships after the change.
pub(super) fn confirm(candidates: Triggers, is_member: impl FnOnce() -> bool) -> Triggers {
    if candidates == Triggers::AUDIENCE || is_member() {
        return candidates;
    }
    Triggers(candidates.0 & Triggers::AUDIENCE.0)
}
