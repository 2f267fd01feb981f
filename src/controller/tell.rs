//! Effects: what a pass comes to, told to the API server: statuses offered to their writer, Events handed in.

use std::collections::BTreeMap;
use std::fmt::Debug;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt as _;
use kube::core::object::HasStatus;

use super::events::EventQueue;
use super::publish::{Publisher, Status};
use super::refusals::{self, Refused};
use super::scope::{Kind, Named};
use super::stock::{Refusal, Seen};
use super::watches::Stores;
use crate::api::{AudienceActivation, KinesisDestination};
use crate::reconcile::{Event, ObjectKey, Outcome};
use crate::telemetry::clock;

/// The action of the Event of a refusal.
const REFUSE: &str = "Reconcile";

/// Tells.
pub struct Teller {
    /// The statuses.
    pub publisher: Publisher,
    events: EventQueue,
    /// What was told of the resources that are refused.
    refused: BTreeMap<Named, (Refusal, Vec<Condition>)>,
}

impl Teller {
    /// By way of these two.
    pub fn new(publisher: Publisher, events: EventQueue) -> Self {
        Self { publisher, events, refused: BTreeMap::new() }
    }

    /// Forgets what is gone.
    pub fn forget<'a>(&mut self, gone: impl Iterator<Item = &'a Named>) {
        for (about, key) in gone {
            self.publisher.forget(*about, key);
        }
    }

    /// Tells what a pass over `seen` comes to.
    pub fn tell(
        &mut self,
        outcome: &Outcome,
        seen: &Seen,
        destinations: &Stores<KinesisDestination>,
        activations: &Stores<AudienceActivation>,
    ) {
        self.refused.retain(|named, _| seen.refused.contains_key(named));
        self.offer(destinations, &seen.inventory.destinations, &outcome.destination_statuses, &seen.refused);
        self.offer(activations, &seen.inventory.activations, &outcome.activation_statuses, &seen.refused);
        for event in &outcome.events {
            let (kind, key, reason, message) = (event.about.kind(), &event.key, event.reason, &event.message);
            if event.warning {
                tracing::warn!(%reason, "{kind} {key}: {message}");
            } else {
                tracing::info!(%reason, "{kind} {key}: {message}");
            }
            let uid = match event.about {
                KinesisDestination::ABOUT => seen.inventory.destinations.get(key).and_then(kube::ResourceExt::uid),
                AudienceActivation::ABOUT => seen.inventory.activations.get(key).and_then(kube::ResourceExt::uid),
            };
            self.events.hand_in(event.clone(), uid.unwrap_or_default());
        }
    }

    /// Offers the status of each object, together with the object as it is now.
    fn offer<K>(
        &mut self,
        stores: &Stores<K>,
        judged: &BTreeMap<ObjectKey, K>,
        statuses: &BTreeMap<ObjectKey, K::Status>,
        refused: &BTreeMap<Named, Refusal>,
    ) where
        K: Kind + HasStatus + Default,
        K::Status: Refused + Debug,
        Status: From<K::Status>,
    {
        for guarded in stores.objects() {
            let key = ObjectKey::of(&*guarded);
            let uid = guarded.uid().unwrap_or_default();
            let named = (K::ABOUT, key.clone());
            // A new object of the name of an old one is not told what was judged of that.
            let same = judged.get(&key).is_some_and(|judged| judged.uid().as_deref() == Some(&uid));
            let driven = statuses.get(&key).filter(|_| same);
            let refusal = refused.get(&named).filter(|refusal| refusal.uid == uid);
            let status = match (refusal, driven) {
                (Some(refusal), driven) => self.refuse(&named, refusal, driven),
                (None, Some(driven)) => driven.clone(),
                (None, None) => continue,
            };
            match &guarded.0 {
                Ok(object) => self.publisher.offer(object, status),
                Err(invalid) => {
                    let mut object = K::default();
                    *object.meta_mut() = invalid.metadata.clone();
                    let carried = refusal.and_then(|refusal| refusal.status.clone());
                    *object.status_mut() = carried.and_then(|status| serde_json::from_value(status).ok());
                    self.publisher.offer(&object, status);
                }
            }
        }
    }

    fn refuse<S: Refused>(&mut self, named: &Named, refusal: &Refusal, driven: Option<&S>) -> S {
        let before = self.refused.get(named);
        let told = before.map(|(_, conditions)| conditions.as_slice());
        let mut status = refusals::status(refusal, driven, told, clock::now());
        if before.is_none_or(|(before, _)| before.reason != refusal.reason || before.message != refusal.message) {
            let (about, key) = named.clone();
            let (reason, message) = (refusal.reason, refusal.message.clone());
            self.events
                .hand_in(Event { about, key, warning: true, action: REFUSE, reason, message }, refusal.uid.clone());
        }
        let conditions = status.parts().0.clone();
        self.refused.insert(named.clone(), (refusal.clone(), conditions));
        status
    }
}
