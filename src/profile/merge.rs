//! Pure decisions: what an update makes of a profile, and what that changed (`semantics 1.4` to `1.8` and `2`).
//!
//! The receipt comes in as `now`; nothing here reads a clock.

use std::borrow::Cow;
use std::collections::HashSet;

use indexmap::IndexSet;
use jiff::Timestamp;

use super::change::{AudienceChange, Changed};
use super::entity::{Entity, Identities, Identity, Membership, Memberships, Ordered, Status};
use super::json::{self, Node, Object};
use super::path::PathBuffer;
use super::time;
use super::update::{Operation, Patch, Qualification, Update};

/// Paths as text, each once, in the order in which they were found.
type Paths = IndexSet<String, foldhash::fast::RandomState>;

/// What an update made of a profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Merged<'a> {
    /// The profile afterwards; for a delete, the one before it.
    pub entity: Entity<'a>,
    /// What was written, and what is another than before.
    pub changed: Changed<'a>,
    /// Every membership whose status is another than before, and what it is now; `None` where it is gone.
    pub index: Vec<IndexEdit>,
    /// Whether the profile is gone.
    pub deleted: bool,
}

/// One edit of the membership index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexEdit {
    /// The audience's namespace.
    pub namespace: String,
    /// The audience's id.
    pub id: String,
    /// The status that the index holds from now on.
    pub status: Option<Status>,
}

/// Applies `update`, received at `now`, to the profile `before` it. `None` where there is nothing to do: the delete of a
/// profile that does not exist.
pub fn merge<'a>(mut before: Option<Entity<'a>>, update: Update<'a>, now: Timestamp) -> Option<Merged<'a>> {
    let existing = statuses(before.as_ref());
    if let Some(entity) = &mut before {
        // First of all, so that an exit that is told again after 30 days is a new one instead of none.
        forget(&mut entity.memberships, now);
    }
    let received = time::whole_seconds(update.time.unwrap_or(now));
    let mut merged = match update.operation {
        Operation::Delete => delete(before?),
        Operation::Merge => patch(before.unwrap_or_default(), update.patch, received, now),
        Operation::Replace => replace(before.unwrap_or_default(), update.patch, received, now),
    };
    if merged.deleted {
        merged.index =
            existing.into_iter().map(|((namespace, id), _)| IndexEdit { namespace, id, status: None }).collect();
        return Some(merged);
    }
    merged.index = index_edits(existing, &merged.entity);
    Some(merged)
}

/// `semantics 4.4`: drops the exits that are 30 days old.
fn forget(memberships: &mut Memberships<'_>, now: Timestamp) {
    for audiences in memberships.values_mut() {
        audiences.retain(|_, membership| !membership.exited_at.is_some_and(|exited| time::forgotten(exited, now)));
    }
    memberships.retain(|_, audiences| !audiences.is_empty());
}

type ByAudience = indexmap::IndexMap<(String, String), Status, foldhash::fast::RandomState>;

fn statuses(entity: Option<&Entity<'_>>) -> ByAudience {
    entity
        .into_iter()
        .flat_map(Entity::each_membership)
        .map(|(namespace, id, membership)| ((namespace.to_owned(), id.to_owned()), membership.status))
        .collect()
}

fn index_edits(mut existing: ByAudience, after: &Entity<'_>) -> Vec<IndexEdit> {
    let mut edits = Vec::new();
    for (namespace, id, membership) in after.each_membership() {
        let key = (namespace.to_owned(), id.to_owned());
        if existing.swap_remove(&key) != Some(membership.status) {
            edits.push(IndexEdit { namespace: key.0, id: key.1, status: Some(membership.status) });
        }
    }
    edits.extend(existing.into_keys().map(|(namespace, id)| IndexEdit { namespace, id, status: None }));
    edits
}

fn delete(before: Entity<'_>) -> Merged<'_> {
    let audiences = before
        .memberships
        .iter()
        .flat_map(|(namespace, audiences)| audiences.iter().map(move |(id, membership)| (namespace, id, membership)))
        .filter(|(_, _, membership)| membership.status == Status::Realized)
        .map(|(namespace, id, _)| AudienceChange {
            namespace: namespace.clone(),
            id: id.clone(),
            from: Some(Status::Realized),
            to: Status::Exited,
        })
        .collect();
    Merged { entity: before, changed: Changed { audiences, ..Changed::default() }, index: Vec::new(), deleted: true }
}

fn patch<'a>(mut entity: Entity<'a>, patch: Patch<'a>, received: Timestamp, now: Timestamp) -> Merged<'a> {
    let mut tracker = Tracker::default();
    tracker.patch_object(&mut entity.attributes, patch.attributes);
    let identities = patch_identities(&mut entity.identities, patch.identities);
    let mut audiences = Vec::new();
    for (namespace, qualifications) in patch.memberships {
        for (id, qualification) in qualifications {
            let before = entity.membership(&namespace, &id);
            let after = membership(before, qualification, received, now);
            audiences.extend(audience_change(&namespace, &id, before, after));
            entity.memberships.entry(namespace.clone()).or_default().insert(id, after);
        }
    }
    Merged { entity, changed: tracker.changed(identities, audiences), index: Vec::new(), deleted: false }
}

fn replace<'a>(before: Entity<'a>, patch: Patch<'a>, received: Timestamp, now: Timestamp) -> Merged<'a> {
    let attributes = without_nulls(patch.attributes);
    let mut tracker = Tracker::default();
    tracker.write_leaves(&before.attributes);
    tracker.write_leaves(&attributes);
    tracker.differ_objects(&before.attributes, &attributes);

    let identities: Identities<'a> = patch
        .identities
        .into_iter()
        .filter_map(|(namespace, list)| Some((namespace, list?)))
        .filter(|(_, list)| !list.is_empty())
        .collect();
    let identities_changed = !same_identities(&before.identities, &identities);

    let mut audiences = Vec::new();
    let mut memberships = Memberships::default();
    for (namespace, qualifications) in patch.memberships {
        for (id, qualification) in qualifications {
            let known = before.membership(&namespace, &id);
            let after = membership(known, qualification, received, now);
            audiences.extend(audience_change(&namespace, &id, known, after));
            memberships.entry(namespace.clone()).or_default().insert(id, after);
        }
    }
    for (namespace, known) in before.memberships {
        for (id, membership) in known {
            let missing = memberships.get(&namespace).is_none_or(|audiences| !audiences.contains_key(&id));
            if missing && membership.status == Status::Realized {
                let after = Membership { status: Status::Exited, exited_at: Some(now), ..membership };
                audiences.extend(audience_change(&namespace, &id, Some(membership), after));
                memberships.entry(namespace.clone()).or_default().insert(id, after);
            }
        }
    }
    let entity = Entity { attributes, identities, memberships };
    Merged { entity, changed: tracker.changed(identities_changed, audiences), index: Vec::new(), deleted: false }
}

/// The membership after a qualification; an exit keeps the moment of the change that made it one.
fn membership(
    before: Option<Membership>,
    qualification: Qualification,
    received: Timestamp,
    now: Timestamp,
) -> Membership {
    let exited_at = match (qualification.status, before) {
        (Status::Realized, _) => None,
        (Status::Exited, Some(Membership { status: Status::Exited, exited_at, .. })) => exited_at,
        (Status::Exited, _) => Some(now),
    };
    let last_qualification = qualification.last_qualification.unwrap_or(received);
    Membership { status: qualification.status, last_qualification, exited_at }
}

/// `semantics 2.3`: into `realized`, or from `realized` to `exited`; nothing else is a change.
fn audience_change<'a>(
    namespace: &Cow<'a, str>,
    id: &Cow<'a, str>,
    before: Option<Membership>,
    after: Membership,
) -> Option<AudienceChange<'a>> {
    let from = before.map(|membership| membership.status);
    let changed = match after.status {
        Status::Realized => from != Some(Status::Realized),
        Status::Exited => from == Some(Status::Realized),
    };
    changed.then(|| AudienceChange { namespace: namespace.clone(), id: id.clone(), from, to: after.status })
}

/// Adds and removes identities; whether the set of (namespace, id) is another than before (`semantics 2.2`).
fn patch_identities<'a>(
    identities: &mut Identities<'a>,
    patch: Ordered<'a, Option<Ordered<'a, Identity<'a>>>>,
) -> bool {
    let mut changed = false;
    let mut removed = HashSet::new();
    for (namespace, list) in patch {
        match list {
            None => {
                removed.insert(namespace);
            }
            Some(list) if list.is_empty() => {}
            Some(list) => {
                let known = identities.entry(namespace).or_default();
                for (id, identity) in list {
                    changed |= known.insert(id, identity).is_none();
                }
            }
        }
    }
    let before = identities.len();
    if !removed.is_empty() {
        identities.retain(|namespace, _| !removed.contains(namespace));
    }
    changed || identities.len() != before
}

fn same_identities(a: &Identities<'_>, b: &Identities<'_>) -> bool {
    a.len() == b.len()
        && a.iter().all(|(namespace, list)| {
            b.get(namespace)
                .is_some_and(|other| other.len() == list.len() && list.keys().all(|id| other.contains_key(id)))
        })
}

/// RFC 7396 applied to nothing: members that are `null` are left out, in objects inside too.
fn without_nulls(object: Object<'_>) -> Object<'_> {
    object
        .into_iter()
        .filter(|(_, node)| !node.is_null())
        .map(|(name, node)| match node {
            Node::Object(inner) => (name, Node::Object(without_nulls(inner))),
            leaf @ Node::Leaf(_) => (name, leaf),
        })
        .collect()
}

/// Collects the paths that were written and that differ while two trees are walked.
#[derive(Default)]
struct Tracker {
    path: PathBuffer,
    written: Paths,
    differing: Paths,
}

impl Tracker {
    fn changed(self, identities: bool, audiences: Vec<AudienceChange<'_>>) -> Changed<'_> {
        let owned = |paths: Paths| paths.into_iter().map(Cow::Owned).collect();
        Changed { attributes: owned(self.written), identities, audiences, differing: owned(self.differing) }
    }

    fn write(&mut self) {
        insert(&mut self.written, &self.path);
    }

    fn differ(&mut self) {
        insert(&mut self.differing, &self.path);
    }

    /// Applies a merge patch in place (`semantics 1.4`, `2.1`).
    fn patch_object<'a>(&mut self, target: &mut Object<'a>, patch: Object<'a>) {
        let mut removed = false;
        for (name, node) in patch {
            let mark = self.path.push(&name);
            if node.is_null() {
                if let Some(old) = target.get_mut(&name).filter(|old| !old.is_null()) {
                    self.write();
                    self.differ_leaves(old);
                    // Marked now and removed at the end, all at once: a patch of many removals stays linear.
                    *old = Node::Leaf(Cow::Borrowed("null"));
                    removed = true;
                }
            } else {
                self.patch_member(target, name, node);
            }
            self.path.truncate(mark);
        }
        if removed {
            target.retain(|_, node| !node.is_null());
        }
    }

    fn patch_member<'a>(&mut self, target: &mut Object<'a>, name: Cow<'a, str>, node: Node<'a>) {
        match (target.get_mut(&name), node) {
            (Some(Node::Object(old)), Node::Object(patch)) => {
                let was_empty = old.is_empty();
                self.patch_object(old, patch);
                if was_empty != old.is_empty() {
                    self.differ();
                }
            }
            (old, Node::Object(patch)) => {
                if old.is_some() {
                    self.write();
                    self.differ();
                }
                let new = Node::Object(without_nulls(patch));
                self.write_leaf(&new);
                self.differ_leaves(&new);
                target.insert(name, new);
            }
            (old, new @ Node::Leaf(_)) => {
                self.write();
                match old {
                    Some(old) if same_value(old, &new) => {}
                    Some(old) => {
                        self.differ_leaves(old);
                        self.differ();
                    }
                    None => self.differ(),
                }
                target.insert(name, new);
            }
        }
    }

    /// Writes the leaf paths of a value: its own, or those below it.
    fn write_leaf(&mut self, node: &Node<'_>) {
        match node {
            Node::Object(object) if !object.is_empty() => self.write_leaves(object),
            _ => self.write(),
        }
    }

    fn write_leaves(&mut self, object: &Object<'_>) {
        if self.path.beyond_mapping() {
            return self.write();
        }
        for (name, node) in object {
            let mark = self.path.push(name);
            self.write_leaf(node);
            self.path.truncate(mark);
        }
    }

    fn differ_leaves(&mut self, node: &Node<'_>) {
        match node {
            Node::Object(object) if !object.is_empty() && !self.path.beyond_mapping() => {
                for (name, node) in object {
                    let mark = self.path.push(name);
                    self.differ_leaves(node);
                    self.path.truncate(mark);
                }
            }
            _ => self.differ(),
        }
    }

    /// `semantics 2.1a`: every leaf path of either tree whose value is another in the other.
    fn differ_objects(&mut self, before: &Object<'_>, after: &Object<'_>) {
        for (name, old) in before {
            let mark = self.path.push(name);
            match (old, after.get(name)) {
                (Node::Object(old), Some(Node::Object(new))) if old.is_empty() == new.is_empty() => {
                    self.differ_objects(old, new);
                }
                (old, Some(new)) if same_value(old, new) => {}
                (old, new) => {
                    self.differ_leaves(old);
                    if let Some(new) = new {
                        self.differ_leaves(new);
                    }
                }
            }
            self.path.truncate(mark);
        }
        for (name, new) in after.iter().filter(|(name, _)| !before.contains_key(*name)) {
            let mark = self.path.push(name);
            self.differ_leaves(new);
            self.path.truncate(mark);
        }
    }
}

fn insert(paths: &mut Paths, path: &PathBuffer) {
    if !paths.contains(path.as_str()) {
        paths.insert(path.as_str().to_owned());
    }
}

fn same_value(a: &Node<'_>, b: &Node<'_>) -> bool {
    match (a, b) {
        (Node::Leaf(a), Node::Leaf(b)) => json::same_leaf(a, b),
        _ => false,
    }
}
