//! Effects: what resources refer to and what decides about them: Secrets, of which only the metadata is watched, and the labels of
//! namespaces. Where a watch is forbidden that is told, and they are read every now and then.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt as _, pin_mut};
use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::core::PartialObjectMeta;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client, ResourceExt as _};

use super::scope::{Place, Scope, watched};
use super::shelf::{Queues, Shelf};
use super::trouble::{self, Asked};
use super::watches::Watching;
use crate::reconcile::ObjectKey;

/// How often the labels of a namespace are read where namespaces are not watched.
const POLL: Duration = Duration::from_secs(30);
/// How soon they are read again where the API server did not answer.
const RETRY: Duration = Duration::from_secs(2);

/// What looks after the surroundings runs with.
#[derive(Clone)]
pub struct Means {
    /// Of the API server.
    pub client: Client,
    /// Where what was found goes.
    pub shelf: Shelf,
    /// Which watches stand.
    pub watching: Watching,
    /// Who is asked to look again.
    pub queues: Arc<Queues>,
}

/// Has whatever names a Secret look at it again when it changes.
pub async fn watch_secrets(place: Place, means: Means) {
    let asked = Asked { verbs: "list and watch", resource: "secrets", place: &place };
    let name = format!("secrets in {place}");
    let api = place.api::<PartialObjectMeta<Secret>>(&means.client);
    let events = watcher::watcher(api, watched()).default_backoff();
    pin_mut!(events);
    while let Some(event) = events.next().await {
        // A watch begins anew before it is refused again.
        if matches!(event, Ok(Event::Apply(_) | Event::Delete(_) | Event::InitDone)) {
            means.watching.stands(&name);
        }
        let concerned = match event {
            Ok(Event::Apply(secret) | Event::Delete(secret)) => means.shelf.stock().who_names(&ObjectKey::of(&secret)),
            // What happened meanwhile is not told one by one.
            Ok(Event::InitDone) => {
                means.watching.set_secrets(&place, true);
                means.shelf.stock().who_names_any(|namespace| place.holds(namespace))
            }
            Ok(Event::Init | Event::InitApply(_)) => continue,
            Err(error) => {
                means.watching.troubled(&name, &trouble::of_watch(&error, &asked));
                // A watch that only broke off goes on by itself; one that is forbidden gives way to reading.
                let forbidden = trouble::cause(&error).is_some_and(trouble::is_forbidden);
                if !(forbidden && means.watching.set_secrets(&place, false)) {
                    continue;
                }
                means.shelf.stock().who_names_any(|namespace| place.holds(namespace))
            }
        };
        for named in concerned {
            means.queues.ask(named, "its Secret changed").await;
        }
    }
}

/// Keeps the labels of the namespaces on the shelf.
pub async fn follow_namespaces(scope: Scope, means: Means) {
    if scope.namespaces.is_empty() {
        watch_namespaces(means).await;
    } else {
        let namespaces: BTreeSet<String> = scope.namespaces.into_iter().collect();
        loop {
            let known = read_namespaces(&means, &namespaces).await;
            tokio::time::sleep(if known { POLL } else { RETRY }).await;
        }
    }
}

async fn watch_namespaces(means: Means) {
    let place = Place(None);
    let asked = Asked { verbs: "list and watch", resource: "namespaces", place: &place };
    let api: Api<PartialObjectMeta<Namespace>> = Api::all(means.client.clone());
    let events = watcher::watcher(api, watched()).default_backoff();
    pin_mut!(events);
    let mut listed = BTreeMap::new();
    while let Some(event) = events.next().await {
        // As above.
        if matches!(event, Ok(Event::Apply(_) | Event::Delete(_) | Event::InitDone)) {
            means.watching.stands("namespaces");
        }
        match event {
            Ok(Event::Init) => listed.clear(),
            Ok(Event::InitApply(namespace)) => {
                listed.insert(namespace.name_any(), labels(namespace));
            }
            Ok(Event::InitDone) => {
                means.shelf.stock().label_all(std::mem::take(&mut listed));
                means.watching.namespaces_known();
                means.shelf.wake();
            }
            Ok(Event::Apply(namespace)) => {
                take_up(&means, &namespace.name_any(), Some(&labels(namespace)));
            }
            Ok(Event::Delete(namespace)) => take_up(&means, &namespace.name_any(), None),
            Err(error) => {
                means.watching.troubled("namespaces", &trouble::of_watch(&error, &asked));
                if trouble::cause(&error).is_some_and(trouble::is_forbidden) {
                    // Those with activations may be readable one by one. The watch tries again by itself.
                    let namespaces = means.shelf.stock().namespaces_of_activations();
                    // What is not answered now is asked with the next refusal of the watch.
                    let _ = read_namespaces(&means, &namespaces).await;
                }
            }
        }
    }
}

/// False where the API server did not answer.
async fn read_namespaces(means: &Means, namespaces: &BTreeSet<String>) -> bool {
    let api: Api<PartialObjectMeta<Namespace>> = Api::all(means.client.clone());
    for name in namespaces {
        match api.get_opt(name).await {
            Ok(found) => {
                means.watching.stands(&format!("namespace {name}"));
                take_up(means, name, found.map(labels).as_ref());
            }
            Err(error) => {
                let place = Place(Some(name.clone()));
                let asked = Asked { verbs: "get", resource: "namespaces", place: &place };
                means.watching.troubled(&format!("namespace {name}"), &trouble::of_request(&error, &asked));
                if trouble::is_forbidden(&error) {
                    means.shelf.stock().forbid_labels(name);
                } else {
                    // Not known to be forbidden, nor to be there: asked again before anything is said.
                    return false;
                }
            }
        }
    }
    means.watching.namespaces_known();
    means.shelf.wake();
    true
}

fn take_up(means: &Means, name: &str, labels: Option<&BTreeMap<String, String>>) {
    if means.shelf.stock().label(name, labels) {
        means.shelf.wake();
    }
}

fn labels(namespace: PartialObjectMeta<Namespace>) -> BTreeMap<String, String> {
    namespace.metadata.labels.unwrap_or_default()
}
