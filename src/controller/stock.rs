//! Pure: what the dereferences have brought so far, and what of it the next pass may see: only what is whole, and what is still
//! there.

use std::collections::{BTreeMap, BTreeSet};

use kube::ResourceExt as _;

use super::references::NamedSecrets;
use super::scope::{Kind, Named};
use crate::api::conditions::Reason;
use crate::api::destination::NamespacesFrom;
use crate::api::{AudienceActivation, KinesisDestination};
use crate::reconcile::dereference::destination_of;
use crate::reconcile::inventory::Secret;
use crate::reconcile::{About, Inventory, ObjectKey};

/// A Secret as it was found, with all of its keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FoundSecret {
    /// It is there.
    Present(Secret),
    /// It does not exist.
    Missing,
    /// It may not be read.
    Forbidden,
}

/// Why the pass does not get to see a resource as it is now.
#[derive(Debug, Clone, PartialEq)]
pub struct Refusal {
    /// Of which object.
    pub uid: String,
    /// The generation of its spec.
    pub generation: Option<i64>,
    /// The reason.
    pub reason: Reason,
    /// The cause and the mend.
    pub message: String,
    /// The status that it carries, as far as it can be read.
    pub status: Option<serde_json::Value>,
}

/// The objects that the watches know to be there, with the uid of each.
pub type Presence = BTreeMap<Named, String>;

/// What the dereferences have brought.
#[derive(Debug, Default)]
pub struct Stock {
    /// Each resource as it was when it was last dereferenced, and the Secrets.
    brought: Inventory,
    /// The Secrets that each resource names; known before they are looked for.
    naming: BTreeMap<Named, NamedSecrets>,
    /// When each Secret was last looked for.
    looked: BTreeMap<ObjectKey, u64>,
    refused: BTreeMap<Named, Refusal>,
    /// What was tried and did not come about for a reason that passes.
    failed: BTreeSet<Named>,
    /// The activations, by uid, of which nothing runs any more.
    drained: BTreeSet<String>,
    /// The activations that are not ours any more and carry our finalizer yet, with the uid of each.
    left: BTreeMap<ObjectKey, String>,
    ticket: u64,
    /// What was there when stock was last taken; `None` before.
    present: Option<Presence>,
    /// Whether anything was brought since.
    changed: bool,
}

/// What a pass may see.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Seen {
    /// The resources with what they refer to.
    pub inventory: Inventory,
    /// The resources of which a person must mend something before they can be read. What was known of one before is still in the
    /// inventory.
    pub refused: BTreeMap<Named, Refusal>,
    /// Whether every resource that is there was dereferenced, or at least tried.
    pub is_whole: bool,
}

impl Stock {
    /// Takes up which Secrets a resource names, before they are looked for: one that changes meanwhile must not be missed.
    pub fn names(&mut self, named: Named, secrets: NamedSecrets) {
        if secrets.is_empty() {
            self.naming.remove(&named);
        } else {
            self.naming.insert(named, secrets);
        }
    }

    /// A number that grows, to be taken before a Secret is looked for.
    pub fn ticket(&mut self) -> u64 {
        self.ticket += 1;
        self.ticket
    }

    /// Takes up a resource, with the Secrets that were looked for, each with its ticket.
    pub fn bring<K: Kind>(&mut self, object: K, secrets: Vec<(String, u64, FoundSecret)>) {
        self.changed = true;
        let key = ObjectKey::of(&object);
        for (name, ticket, found) in secrets {
            self.take_secret(ObjectKey::new(&key.namespace, name), ticket, found);
        }
        let named = (K::ABOUT, key.clone());
        self.refused.remove(&named);
        self.failed.remove(&named);
        K::of(&mut self.brought).insert(key, object);
    }

    fn take_secret(&mut self, key: ObjectKey, ticket: u64, found: FoundSecret) {
        let looked = self.looked.entry(key.clone()).or_default();
        if *looked > ticket {
            return;
        }
        *looked = ticket;
        self.brought.secrets.remove(&key);
        self.brought.forbidden_secrets.remove(&key);
        match found {
            FoundSecret::Present(mut secret) => {
                let needed = self.keys_needed(&key);
                secret.data.retain(|name, _| needed.contains(name.as_str()));
                self.brought.secrets.insert(key, secret);
            }
            FoundSecret::Forbidden => {
                self.brought.forbidden_secrets.insert(key);
            }
            FoundSecret::Missing => {}
        }
    }

    /// The keys of a Secret that anything needs.
    fn keys_needed(&self, secret: &ObjectKey) -> BTreeSet<&str> {
        let here = self.naming.iter().filter(|((_, key), _)| key.namespace == secret.namespace);
        here.filter_map(|(_, named)| named.get(&secret.name)).flatten().map(String::as_str).collect()
    }

    /// Takes up that a resource cannot be read, until a person mends something. What was known of it stays.
    pub fn refuse(&mut self, named: Named, refusal: Refusal) {
        self.changed = true;
        self.failed.remove(&named);
        self.refused.insert(named, refusal);
    }

    /// Takes up that a dereference did not come about.
    pub fn fail(&mut self, named: Named) {
        self.changed = true;
        self.failed.insert(named);
    }

    /// Takes up the labels of a namespace; `None` where it is gone. False where that was known.
    pub fn label(&mut self, namespace: &str, labels: Option<&BTreeMap<String, String>>) -> bool {
        self.changed = true;
        let forbidden = self.brought.forbidden_namespaces.remove(namespace);
        let before = match labels {
            Some(labels) => self.brought.namespaces.insert(namespace.to_owned(), labels.clone()),
            None => self.brought.namespaces.remove(namespace),
        };
        forbidden || before.as_ref() != labels
    }

    /// Takes up the labels of every namespace.
    pub fn label_all(&mut self, namespaces: BTreeMap<String, BTreeMap<String, String>>) {
        self.changed = true;
        self.brought.forbidden_namespaces.clear();
        self.brought.namespaces = namespaces;
    }

    /// Takes up that the labels of a namespace may not be read.
    pub fn forbid_labels(&mut self, namespace: &str) {
        self.changed = true;
        self.brought.namespaces.remove(namespace);
        self.brought.forbidden_namespaces.insert(namespace.to_owned());
    }

    /// The namespaces whose labels decide about anything.
    pub fn namespaces_of_activations(&self) -> BTreeSet<String> {
        self.brought.activations.keys().map(|key| key.namespace.clone()).collect()
    }

    /// Takes up that nothing runs of an activation that is being deleted. False where that was known.
    pub fn drained(&mut self, uid: &str) -> bool {
        self.drained.insert(uid.to_owned())
    }

    /// Whether nothing runs of the activation with that uid.
    pub fn is_drained(&self, uid: &str) -> bool {
        self.drained.contains(uid)
    }

    /// Takes up that an activation is not ours any more, though it is still there.
    pub fn leave(&mut self, key: ObjectKey, uid: String) {
        self.left.insert(key, uid);
    }

    /// The activations that have left and are not there again, of which nothing runs any more as `stopped` says. Each is handed out
    /// once.
    pub fn take_left(&mut self, stopped: impl Fn(&ObjectKey) -> bool) -> Vec<(ObjectKey, String)> {
        let present = self.present.as_ref();
        let there = |key: &ObjectKey| present.and_then(|present| present.get(&(About::Activation, key.clone())));
        self.left.retain(|key, uid| there(key) != Some(uid));
        self.left.extract_if(.., |key, _| stopped(key)).collect()
    }

    /// What names that Secret.
    pub fn who_names(&self, secret: &ObjectKey) -> Vec<Named> {
        self.named_where(|key, named| key.namespace == secret.namespace && named.contains_key(&secret.name))
    }

    /// What names any Secret, in the namespaces that `here` holds of.
    pub fn who_names_any(&self, here: impl Fn(&str) -> bool) -> Vec<Named> {
        self.named_where(|key, _| here(&key.namespace))
    }

    fn named_where(&self, holds: impl Fn(&ObjectKey, &NamedSecrets) -> bool) -> Vec<Named> {
        let found = self.naming.iter().filter(|((_, key), named)| holds(key, named));
        found.map(|(named, _)| named.clone()).collect()
    }

    /// What the next pass may see, `before` being what the last one saw; `None` where that is still so. What is not `present` any
    /// more is forgotten, and so is every Secret that nobody names.
    pub fn take_stock(&mut self, present: &Presence, before: &Inventory) -> Option<Seen> {
        if !self.changed && self.present.as_ref() == Some(present) {
            return None;
        }
        (self.present, self.changed) = (Some(present.clone()), false);
        self.forget(present);
        let mut seen = Seen { inventory: self.brought.clone(), refused: self.refused.clone(), is_whole: true };
        for named in present.keys() {
            let known = match named.0 {
                About::Destination => self.brought.destinations.contains_key(&named.1),
                About::Activation => self.brought.activations.contains_key(&named.1),
            };
            seen.is_whole &= known || self.refused.contains_key(named) || self.failed.contains(named);
        }
        for (key, activation) in &self.brought.activations {
            let destination = destination_of(key, activation);
            let waits = match self.brought.destinations.get(&destination) {
                Some(found) => self.awaits_labels(&key.namespace, &destination, found),
                // It is there and not read yet: nobody must be told that it does not exist.
                None => present.contains_key(&(About::Destination, destination.clone())),
            };
            if !waits {
                continue;
            }
            match before.activations.get(key) {
                Some(earlier) => seen.inventory.activations.insert(key.clone(), earlier.clone()),
                None => seen.inventory.activations.remove(key),
            };
            if self.refused.contains_key(&(About::Destination, destination.clone())) {
                let refusal = unreadable_destination(activation, &destination);
                seen.refused.entry((About::Activation, key.clone())).or_insert(refusal);
            }
        }
        Some(seen)
    }

    /// Whether labels decide that are not known yet, as those of a namespace that was made a moment ago.
    fn awaits_labels(&self, namespace: &str, destination: &ObjectKey, found: &KinesisDestination) -> bool {
        destination.namespace != namespace
            && found.spec.allowed_namespaces.from == NamespacesFrom::Selector
            && !self.brought.namespaces.contains_key(namespace)
            && !self.brought.forbidden_namespaces.contains(namespace)
    }

    fn forget(&mut self, present: &Presence) {
        let there = |about, key: &ObjectKey| present.contains_key(&(about, key.clone()));
        self.brought.destinations.retain(|key, _| there(About::Destination, key));
        self.brought.activations.retain(|key, _| there(About::Activation, key));
        self.naming.retain(|named, _| present.contains_key(named));
        self.refused.retain(|named, refusal| present.get(named) == Some(&refusal.uid));
        self.failed.retain(|named| present.contains_key(named));
        let uids: BTreeSet<&String> = present.values().collect();
        self.drained.retain(|uid| uids.contains(uid));
        let named: BTreeSet<ObjectKey> = self
            .naming
            .iter()
            .flat_map(|((_, key), named)| named.keys().map(|name| ObjectKey::new(&key.namespace, name)))
            .collect();
        self.looked.retain(|key, _| named.contains(key));
        self.brought.secrets.retain(|key, _| named.contains(key));
        self.brought.forbidden_secrets.retain(|key| named.contains(key));
    }
}

fn unreadable_destination(activation: &AudienceActivation, destination: &ObjectKey) -> Refusal {
    Refusal {
        uid: activation.uid().unwrap_or_default(),
        generation: activation.metadata.generation,
        reason: Reason::DestinationNotReady,
        message: format!("KinesisDestination {destination} cannot be read; see its status"),
        status: activation.status.as_ref().and_then(|status| serde_json::to_value(status).ok()),
    }
}

#[cfg(test)]
mod tests;
