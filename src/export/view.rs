//! Pure: the parts of a profile that records are made of, as slices of its text. What is not asked for is only stepped over.

use std::borrow::Cow;
use std::collections::HashSet;

use foldhash::fast::RandomState;
use jiff::Timestamp;

use super::mapping::{Mapping, Node};
use crate::profile::change::ChangeError;
use crate::profile::entity::{self, Ordered, Status};
use crate::profile::json::{Kind, Slicer};
use crate::profile::{IDENTITY_MAP, MAX_DEPTH, SEGMENT_MEMBERSHIP, time};

/// Values by name, in the order in which they came. A list: there is little in it, nothing is looked up, and a map is dearer.
type ByName<'a, V> = Vec<(Cow<'a, str>, V)>;

/// Ids as raw JSON strings.
type Identities<'a> = ByName<'a, Vec<&'a str>>;

/// Names that are compared one with the other; more are looked up.
const FEW: usize = 8;

/// A profile, as far as a mapping goes.
#[derive(Debug)]
pub(super) struct View<'a> {
    /// By the entries of the mapping; `None` where there is nothing.
    pub(super) values: Vec<Option<Cow<'a, str>>>,
    /// By audience namespace, then audience id.
    pub(super) memberships: ByName<'a, ByName<'a, Held<'a>>>,
    /// By namespace in lower case.
    pub(super) identities: Identities<'a>,
}

/// A membership that is or was held.
#[derive(Debug)]
pub(super) struct Held<'a> {
    pub(super) status: Status,
    /// As a record tells it: nearly always as it stands in the profile.
    pub(super) last_qualification: Cow<'a, str>,
    pub(super) exited_at: Option<Timestamp>,
}

impl Default for Held<'_> {
    fn default() -> Self {
        Self { status: Status::Exited, last_qualification: Cow::Borrowed(""), exited_at: None }
    }
}

impl<'a> View<'a> {
    /// Of the profile that comes next.
    pub(super) fn read(mapping: &Mapping, slicer: &mut Slicer<'a>) -> Result<Self, ChangeError> {
        let mut view = Self {
            values: vec![None; mapping.spec().attributes.len()],
            memberships: Vec::new(),
            identities: Vec::new(),
        };
        let mut likely = 0;
        let mut key = slicer.first_key()?;
        while let Some(name) = key {
            match name.as_ref() {
                SEGMENT_MEMBERSHIP => view.memberships = read_memberships(slicer)?,
                IDENTITY_MAP => view.identities = read_identities(slicer)?,
                _ => read_member(&mapping.tree, &name, &mut likely, slicer, &mut view.values)?,
            }
            key = slicer.next_key()?;
        }
        Ok(view)
    }

    /// Whether it is in one of the mapped audiences.
    pub(super) fn is_member(&self, mapping: &Mapping, merge_policy_id: &str) -> bool {
        self.memberships.iter().any(|(namespace, audiences)| {
            audiences.iter().any(|(id, held)| {
                held.status == Status::Realized && mapping.audience(merge_policy_id, namespace, id).is_some()
            })
        })
    }

    /// Of a profile that is deleted, only the exits of mapped audiences are left.
    pub(super) fn exit_all(&mut self, mapping: &Mapping, merge_policy_id: &str) {
        for (namespace, audiences) in &mut self.memberships {
            audiences.retain_mut(|(id, held)| {
                held.status = Status::Exited;
                mapping.audience(merge_policy_id, namespace, id).is_some()
            });
        }
    }

    /// Adds exits where it tells nothing of the audience.
    pub(super) fn also_exit(&mut self, exits: &[(String, String)], at: Timestamp) {
        for (namespace, id) in exits {
            let known = self.memberships.iter().position(|(name, _)| name == namespace);
            let place = known.unwrap_or_else(|| {
                self.memberships.push((Cow::Owned(namespace.clone()), Vec::new()));
                self.memberships.len() - 1
            });
            let Some((_, audiences)) = self.memberships.get_mut(place) else { continue };
            if audiences.iter().all(|(name, _)| name != id) {
                let last_qualification = Cow::Owned(time::whole_seconds(at).to_string());
                let held = Held { status: Status::Exited, last_qualification, exited_at: None };
                audiences.push((Cow::Owned(id.clone()), held));
            }
        }
    }
}

/// Reads the value at a node of the mapped tree, or those below it.
fn read_mapped<'a>(
    node: &Node,
    slicer: &mut Slicer<'a>,
    values: &mut [Option<Cow<'a, str>>],
) -> Result<(), ChangeError> {
    if let Some(index) = node.leaf {
        let raw = slicer.compact(MAX_DEPTH)?;
        if let Some(value) = values.get_mut(index) {
            *value = (raw != "null").then_some(raw);
        }
        return Ok(());
    }
    if slicer.peek()? != Kind::Object {
        slicer.raw()?;
        return Ok(());
    }
    let mut likely = 0;
    let mut key = slicer.first_key()?;
    while let Some(name) = key {
        read_member(node, &name, &mut likely, slicer, values)?;
        key = slicer.next_key()?;
    }
    Ok(())
}

/// Reads the value of a member, if it or something in it is mapped; and then the members behind it, as long as they come in the
/// order of the mapping. `likely` is the child that is looked for first.
fn read_member<'a>(
    node: &Node,
    name: &str,
    likely: &mut usize,
    slicer: &mut Slicer<'a>,
    values: &mut [Option<Cow<'a, str>>],
) -> Result<(), ChangeError> {
    if node.children.get(*likely).is_none_or(|(known, _, _)| known.as_ref() != name) {
        let Some(place) = node.place_of(name) else {
            slicer.raw()?;
            return Ok(());
        };
        *likely = place;
    }
    while let Some((_, _, child)) = node.children.get(*likely) {
        read_mapped(child, slicer, values)?;
        *likely += 1;
        if !node.children.get(*likely).is_some_and(|(_, written, _)| slicer.skip_text(written)) {
            break;
        }
    }
    Ok(())
}

/// The memberships, by namespace and id. Of a repeated name the last value counts.
fn read_memberships<'a>(slicer: &mut Slicer<'a>) -> Result<ByName<'a, ByName<'a, Held<'a>>>, ChangeError> {
    let mut namespaces = Vec::new();
    let peek = slicer.peek()?;
    slicer.expect(peek, Kind::Object, SEGMENT_MEMBERSHIP)?;
    let mut key = slicer.first_key()?;
    while let Some(namespace) = key {
        let peek = slicer.peek()?;
        slicer.expect(peek, Kind::Object, "segmentMembership's namespace")?;
        let mut audiences = Vec::new();
        let mut audience = slicer.first_key()?;
        while let Some(id) = audience {
            audiences.push((id, Held::default()));
            if let Some((_, held)) = audiences.last_mut() {
                read_membership(slicer, held)?;
            }
            audience = slicer.next_key()?;
        }
        namespaces.push((namespace, last_of_each(audiences)));
        key = slicer.next_key()?;
    }
    Ok(last_of_each(namespaces))
}

/// The values without those whose name comes again: at the place of the first, the last.
fn last_of_each<V>(values: ByName<'_, V>) -> ByName<'_, V> {
    let mut rest = values.as_slice();
    let mut repeats = false;
    if values.len() <= FEW {
        while let Some(((name, _), others)) = rest.split_first() {
            repeats |= others.iter().any(|(other, _)| other == name);
            rest = others;
        }
    } else {
        let names: HashSet<&str, RandomState> = values.iter().map(|(name, _)| name.as_ref()).collect();
        repeats = names.len() < values.len();
    }
    if repeats { values.into_iter().collect::<Ordered<'_, V>>().into_iter().collect() } else { values }
}

/// Reads a membership into its place, since it is large for a result.
fn read_membership<'a>(slicer: &mut Slicer<'a>, held: &mut Held<'a>) -> Result<(), ChangeError> {
    let start = slicer.clone();
    if read_realized(slicer, held).is_some() {
        return Ok(());
    }
    *slicer = start;
    let peek = slicer.peek()?;
    slicer.expect(peek, Kind::Object, "a membership")?;
    let (mut status, mut last_qualification, mut exited_at) = (None, None, None);
    let mut key = slicer.first_key()?;
    while let Some(name) = key {
        match name.as_ref() {
            "status" => status = slicer.string()?.and_then(|text| Status::parse(&text)),
            "lastQualificationTime" => last_qualification = slicer.string()?.and_then(time::in_whole_seconds),
            "exitedAt" => exited_at = slicer.string()?.and_then(|text| time::parse(&text)),
            _ => {
                slicer.raw()?;
            }
        }
        key = slicer.next_key()?;
    }
    match (status, last_qualification) {
        (Some(status), Some(last_qualification)) => *held = Held { status, last_qualification, exited_at },
        _ => return Err(entity::unreadable_membership().into()),
    }
    Ok(())
}

/// Reads a membership as the hub writes nearly every one. `None` says nothing of it.
fn read_realized<'a>(slicer: &mut Slicer<'a>, held: &mut Held<'a>) -> Option<()> {
    if !slicer.skip_text(b"{\"lastQualificationTime\":") {
        return None;
    }
    held.last_qualification = time::in_whole_seconds(slicer.string().ok()??)?;
    held.status = Status::Realized;
    slicer.skip_text(b",\"status\":\"realized\"}").then_some(())
}

/// The identities by namespace, ids as raw JSON strings. Of a repeated id the first counts.
fn read_identities<'a>(slicer: &mut Slicer<'a>) -> Result<Identities<'a>, ChangeError> {
    let mut namespaces = Vec::new();
    let peek = slicer.peek()?;
    slicer.expect(peek, Kind::Object, IDENTITY_MAP)?;
    let mut key = slicer.first_key()?;
    while let Some(namespace) = key {
        let peek = slicer.peek()?;
        slicer.expect(peek, Kind::Array, IDENTITY_MAP)?;
        let mut ids = Vec::new();
        let mut more = slicer.first_element()?;
        while more {
            let peek = slicer.peek()?;
            slicer.expect(peek, Kind::Object, "an identity")?;
            let mut member = slicer.first_key()?;
            while let Some(name) = member {
                let raw = slicer.raw()?;
                if name == "id" && raw.starts_with('"') {
                    ids.push(raw);
                }
                member = slicer.next_key()?;
            }
            more = slicer.next_element()?;
        }
        if !ids.is_empty() {
            namespaces.push((entity::lower_case(namespace), ids));
        }
        key = slicer.next_key()?;
    }
    Ok(namespaces)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_repeated_name_the_last_value_counts_at_the_place_of_the_first() {
        for others in [0, 1, FEW, 100] {
            let name = |n: usize| Cow::Owned(format!("other {n}"));
            let mut values = vec![(Cow::Borrowed("a"), 1), (Cow::Borrowed("b"), 2)];
            values.extend((0..others).map(|n| (name(n), 0)));
            let once = values.clone();
            assert_eq!(last_of_each(values.clone()), once);
            values.push((Cow::Borrowed("a"), 3));
            let values = last_of_each(values);
            assert_eq!((values.len(), values.first()), (once.len(), Some(&(Cow::Borrowed("a"), 3))));
        }
    }
}
