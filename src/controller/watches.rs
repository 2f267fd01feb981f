//! Effects: the watches of both kinds. What they show goes to a store; what is new of it, and what others ask for, is
//! dereferenced, a bounded number at once.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, BTreeSet};
use std::future::ready;
use std::hash::{Hash as _, Hasher as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::{FutureExt as _, StreamExt as _, pin_mut, stream};
use kube::Client;
use kube::core::{DeserializeGuard, ObjectMeta};
use kube::runtime::controller::{Action, Config, Error, ReconcileReason, ReconcileRequest};
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt as _, applier};
use tokio::sync::mpsc;

use super::attempt::{AT_ONCE, Attempts};
use super::dereference::DereferenceError;
use super::finalizer::FINALIZER;
use super::scope::{Kind, Place, Scope};
use super::shelf::{Queues, Request, Shelf};
use super::stock::Presence;
use super::trouble::{self, Asked};
use crate::reconcile::ObjectKey;

/// Which watches stand, and what is wrong with those that do not. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Watching {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    troubles: BTreeMap<String, String>,
    secrets: BTreeSet<Place>,
    namespaces: bool,
}

impl Watching {
    fn state(&self) -> MutexGuard<'_, State> {
        // What is guarded is whole after every statement, so a thread that panicked leaves nothing half-done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes up that a watch cannot stand. The log tells it once.
    pub fn troubled(&self, what: &str, message: &str) {
        let before = self.state().troubles.insert(what.to_owned(), message.to_owned());
        if before.as_deref() != Some(message) {
            tracing::error!("{message}; it is tried again");
        }
    }

    /// Takes up that a watch stands.
    pub fn stands(&self, what: &str) {
        if self.state().troubles.remove(what).is_some() {
            tracing::info!("{what} can be watched again");
        }
    }

    /// What is wrong.
    pub fn troubles(&self) -> Vec<String> {
        self.state().troubles.values().cloned().collect()
    }

    /// Takes up whether the Secrets of a place are watched. False where that was known.
    pub fn set_secrets(&self, place: &Place, watched: bool) -> bool {
        let mut state = self.state();
        if watched { state.secrets.insert(place.clone()) } else { state.secrets.remove(place) }
    }

    /// Whether the Secrets of a namespace are watched.
    pub fn secrets(&self, namespace: &str) -> bool {
        self.state().secrets.iter().any(|place| place.holds(namespace))
    }

    /// Takes up that the namespaces were looked at, or may not be.
    pub fn namespaces_known(&self) {
        self.state().namespaces = true;
    }

    /// Whether they were.
    pub fn are_namespaces_known(&self) -> bool {
        self.state().namespaces
    }
}

/// What the watches of one kind know to be there.
pub struct Stores<K: Kind> {
    stores: Vec<Store<DeserializeGuard<K>>>,
}

impl<K: Kind> Default for Stores<K> {
    fn default() -> Self {
        Self { stores: Vec::new() }
    }
}

impl<K: Kind> Stores<K> {
    /// Whether every one of them has read everything once.
    pub fn are_synced(&self) -> bool {
        // Where a watch ended before, that is told by whoever ran it.
        let synced = |store: &Store<_>| store.wait_until_ready().now_or_never().is_some_and(|ready| ready.is_ok());
        self.stores.iter().all(synced)
    }

    /// Each object, as the watch last showed it.
    pub fn objects(&self) -> impl Iterator<Item = Arc<DeserializeGuard<K>>> {
        self.stores.iter().flat_map(Store::state)
    }

    /// Adds what is there.
    pub fn add_to(&self, presence: &mut Presence) {
        for object in self.objects() {
            let uid = kube::Resource::meta(&*object).uid.clone().unwrap_or_default();
            presence.insert((K::ABOUT, ObjectKey::of(&*object)), uid);
        }
    }
}

/// What the watches of both kinds run with.
#[derive(Clone)]
pub struct Means {
    /// Of the API server.
    pub client: Client,
    /// Where what was found goes.
    pub shelf: Shelf,
    /// Which watches stand.
    pub watching: Watching,
    /// Who dereferences.
    pub attempts: Arc<Attempts>,
}

/// The watch of one kind in one place, for its owner to run: it ends only where something is broken.
pub fn watch<K: Kind>(
    scope: &Scope,
    place: &Place,
    means: Means,
    queues: &mut Queues,
    stores: &mut Stores<K>,
) -> impl Future<Output = ()> + Send + use<K> {
    let (store, writer) = reflector::store();
    stores.stores.push(store.clone());
    let requests = queues.open(K::ABOUT, place);
    let (news_sender, news) = mpsc::channel(1);
    let watched = follow::<K>(scope.own(), place.clone(), means.clone(), store.clone(), writer, news_sender);
    let dereferenced = dereference_all::<K>(means.attempts, store, requests, news);
    async move {
        tokio::select! {
            () = watched => {}
            () = dereferenced => {}
        }
    }
}

/// Follows the watch, and tells what is new in a way that concerns a dereference.
async fn follow<K: Kind>(
    config: watcher::Config,
    place: Place,
    means: Means,
    store: Store<DeserializeGuard<K>>,
    writer: reflector::store::Writer<DeserializeGuard<K>>,
    news: mpsc::Sender<Request>,
) {
    let asked = Asked { verbs: "list and watch", resource: K::RESOURCE, place: &place };
    let name = format!("{} in {place}", K::RESOURCE);
    let api = place.api::<DeserializeGuard<K>>(&means.client);
    let events = watcher::watcher(api, config).default_backoff();
    let events = reflector::reflector(writer, events);
    pin_mut!(events);
    let mut seen = BTreeMap::new();
    while let Some(event) = events.next().await {
        let objects = match event {
            Err(error) => {
                means.watching.troubled(&name, &trouble::of_watch(&error, &asked));
                continue;
            }
            // The store holds them only once all are there.
            Ok(Event::Init | Event::InitApply(_)) => continue,
            Ok(Event::InitDone) => {
                let all = store.state();
                let there: BTreeSet<_> = all.iter().map(|object| ObjectKey::of(&**object)).collect();
                seen.retain(|key, _| there.contains(key));
                means.shelf.wake();
                all
            }
            // Nobody need be woken: what is news of it is dereferenced first.
            Ok(Event::Apply(object)) => vec![Arc::new(object)],
            Ok(Event::Delete(object)) => {
                seen.remove(&ObjectKey::of(&object));
                leave(&means.shelf, &object);
                means.shelf.wake();
                Vec::new()
            }
        };
        means.watching.stands(&name);
        for object in objects {
            let key = ObjectKey::of(&*object);
            let print = fingerprint(kube::Resource::meta(&*object));
            if seen.insert(key.clone(), print) != Some(print)
                && news.send(Request { key, why: "it changed" }).await.is_err()
            {
                return;
            }
        }
    }
}

/// An object that goes though nobody deletes it carries the labels no more that are ours: its finalizer must not stay behind.
fn leave<K: Kind>(shelf: &Shelf, object: &DeserializeGuard<K>) {
    let metadata = kube::Resource::meta(object);
    let held = metadata.finalizers.iter().flatten().any(|name| name == FINALIZER);
    if let (true, true, None, Some(uid)) = (K::DRAINS, held, &metadata.deletion_timestamp, &metadata.uid) {
        shelf.stock().leave(ObjectKey::of(object), uid.clone());
    }
}

/// What of an object concerns a dereference: everything but its status.
fn fingerprint(metadata: &ObjectMeta) -> u64 {
    let mut hasher = DefaultHasher::new();
    let deleted = metadata.deletion_timestamp.is_some();
    (&metadata.uid, metadata.generation, deleted, &metadata.finalizers, &metadata.annotations).hash(&mut hasher);
    hasher.finish()
}

async fn dereference_all<K: Kind>(
    attempts: Arc<Attempts>,
    store: Store<DeserializeGuard<K>>,
    requests: mpsc::Receiver<Request>,
    news: mpsc::Receiver<Request>,
) {
    let queue = stream::select(received(requests), received(news)).map(|Request { key, why }| {
        let reason = ReconcileReason::Custom { reason: why.to_owned() };
        Ok::<_, watcher::Error>(ReconcileRequest {
            obj_ref: ObjectRef::<DeserializeGuard<K>>::new(&key.name).within(&key.namespace),
            reason,
        })
    });
    let on_error = |object: Arc<DeserializeGuard<K>>, _: &DereferenceError, attempts: Arc<Attempts>| {
        Action::requeue(attempts.wait_after_failure(&(K::ABOUT, ObjectKey::of(&*object))))
    };
    let attempt = |object, attempts: Arc<Attempts>| Box::pin(async move { attempts.attempt::<K>(object).await });
    let config = Config::default().concurrency(AT_ONCE);
    let ended = applier(attempt, on_error, attempts, store, queue, config).for_each(|result| {
        match result {
            // What went wrong with one resource was told when it did; one that is gone needs nothing.
            Ok(_) | Err(Error::ReconcilerFailed(..) | Error::ObjectNotFound(_)) => {}
            Err(error) => tracing::error!("the queue of {}: {error}", K::RESOURCE),
        }
        ready(())
    });
    ended.await;
}

fn received(receiver: mpsc::Receiver<Request>) -> impl futures::Stream<Item = Request> {
    stream::unfold(receiver, |mut receiver| async move { receiver.recv().await.map(|request| (request, receiver)) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_alone_is_no_news_and_an_annotation_is() {
        let mut metadata =
            ObjectMeta { generation: Some(1), resource_version: Some("1".to_owned()), ..ObjectMeta::default() };
        let before = fingerprint(&metadata);
        metadata.resource_version = Some("2".to_owned());
        assert_eq!(fingerprint(&metadata), before);
        metadata.annotations = Some([("activation.dev/requested-at".to_owned(), "now".to_owned())].into());
        assert_ne!(fingerprint(&metadata), before);
    }

    #[test]
    fn a_watch_that_stands_again_is_no_trouble_any_more() {
        let watching = Watching::default();
        watching.troubled("secrets", "forbidden");
        watching.troubled("secrets", "unreachable");
        assert_eq!(watching.troubles(), ["unreachable"]);
        watching.stands("secrets");
        assert_eq!(watching.troubles(), [""; 0]);
        let place = Place(Some("shop".to_owned()));
        assert!(watching.set_secrets(&place, true));
        assert!(watching.secrets("shop") && !watching.secrets("other"));
        assert!(watching.set_secrets(&place, false));
        assert!(!watching.secrets("shop"));
    }
}
