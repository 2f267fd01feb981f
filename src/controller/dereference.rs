//! Effects: dereference. From a resource that a watch has shown to the shelf: its finalizer added or taken off, the Secrets that it
//! names looked for. It judges nothing and starts nothing.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Secret as ApiSecret;
use kube::api::{Patch, PatchParams};
use kube::core::{DeserializeGuard, DynamicObject};
use kube::discovery::ApiResource;
use kube::runtime::controller::Action;
use kube::{Api, Client, Resource as _, ResourceExt as _};
use serde_json::Value;

use super::finalizer::{self, Hold};
use super::publish::FIELD_MANAGER;
use super::scope::{Kind, Place};
use super::shelf::Shelf;
use super::stock::{FoundSecret, Refusal};
use super::trouble::{self, Asked};
use super::watches::Watching;
use crate::api::AudienceActivation;
use crate::api::conditions::Reason;
use crate::reconcile::ObjectKey;
use crate::reconcile::inventory::Secret;
use crate::telemetry::clock;

/// How often Secrets are read again that nobody watches, and what was forbidden is tried again.
const POLL: Duration = Duration::from_secs(30);
/// How often everything is looked at again, should a watch have missed something.
const AGAIN: Duration = Duration::from_mins(10);

/// Why a dereference did not come about.
#[derive(Debug, thiserror::Error)]
pub enum DereferenceError {
    /// A Secret could not be looked for.
    #[error("Secret {key} cannot be read: {}", trouble::chain(.source))]
    Secret {
        /// Which.
        key: ObjectKey,
        /// Why.
        source: kube::Error,
    },
    /// The finalizer could not be added or taken off.
    #[error("its finalizer cannot be changed: {}", trouble::chain(.0))]
    Finalizer(#[source] kube::Error),
    /// The patch is none, which no patch is.
    #[error("its finalizer cannot be changed: {0}")]
    Patch(#[from] serde_json::Error),
    /// It took too long.
    #[error("the API server did not answer within {} s", .0.as_secs())]
    Timeout(Duration),
    /// It panicked.
    #[error("it panicked, which is a defect: {0}")]
    Panicked(String),
}

/// What a dereference needs.
#[derive(Clone)]
pub struct Context {
    /// Of the API server.
    pub client: Client,
    /// Where what was found goes.
    pub shelf: Shelf,
    /// Which watches stand.
    pub watching: Watching,
}

/// Looks at one resource, and says when to look again.
pub async fn dereference<K: Kind>(
    guarded: Arc<DeserializeGuard<K>>,
    context: Arc<Context>,
) -> Result<Action, DereferenceError> {
    let key = ObjectKey::of(&*guarded);
    let api: Api<DeserializeGuard<K>> = Api::namespaced(context.client.clone(), &key.namespace);
    if K::DRAINS
        && let Some(action) = hold(&api, &guarded, &key, &context).await?
    {
        return Ok(action);
    }
    let object = match &guarded.0 {
        Ok(object) => object.clone(),
        Err(invalid) => {
            let status = raw_status::<K>(&context.client, &key).await;
            let message = format!(
                "this version of the operator cannot read the resource: {}; correct it, or install the definitions of this \
                 version; what ran of it goes on as it was",
                invalid.error
            );
            refuse(&context, &guarded, Reason::InvalidSpec, message, status);
            return Ok(Action::requeue(AGAIN));
        }
    };
    let named = object.secrets();
    context.shelf.stock().names((K::ABOUT, key.clone()), named.clone());
    let mut found = Vec::new();
    for name in named.into_keys() {
        let ticket = context.shelf.stock().ticket();
        found.push((name.clone(), ticket, look_for(&context.client, &key.namespace, &name).await?));
    }
    let forbidden = found.iter().any(|(.., found)| *found == FoundSecret::Forbidden);
    let polled = !found.is_empty() && !context.watching.secrets(&key.namespace);
    context.shelf.stock().bring(object, found);
    context.shelf.wake();
    Ok(Action::requeue(if forbidden || polled { POLL } else { AGAIN }))
}

/// Sees to the finalizer. What is being deleted goes to the shelf as it is: nothing that is missing may hold it up.
async fn hold<K: Kind>(
    api: &Api<DeserializeGuard<K>>,
    guarded: &DeserializeGuard<K>,
    key: &ObjectKey,
    context: &Context,
) -> Result<Option<Action>, DereferenceError> {
    let metadata = guarded.meta();
    let drained = context.shelf.stock().is_drained(metadata.uid.as_deref().unwrap_or_default());
    let deleted = metadata.deletion_timestamp.is_some();
    if let (true, Ok(object)) = (deleted, &guarded.0) {
        context.shelf.stock().bring(object.clone(), Vec::new());
        context.shelf.wake();
    }
    match finalizer::hold(metadata, drained, clock::now()) {
        Hold::Nothing if deleted => Ok(Some(Action::await_change())),
        Hold::Nothing => Ok(None),
        Hold::Wait(time) => Ok(Some(Action::requeue(time))),
        Hold::Remove(patch) => match send(api, key, patch).await {
            Err(DereferenceError::Finalizer(error)) if trouble::is_missing(&error) => Ok(Some(Action::await_change())),
            result => result.map(|()| Some(Action::await_change())),
        },
        Hold::Add(patch) => match send(api, key, patch).await {
            Err(DereferenceError::Finalizer(error)) if trouble::is_missing(&error) => Ok(Some(Action::await_change())),
            Err(DereferenceError::Finalizer(error)) if trouble::is_forbidden(&error) => {
                let place = Place(Some(key.namespace.clone()));
                let asked = Asked { verbs: "patch", resource: K::RESOURCE, place: &place };
                let message = trouble::of_request(&error, &asked);
                let status = guarded.0.as_ref().ok().and_then(Kind::told);
                refuse(context, guarded, Reason::Forbidden, message, status);
                Ok(Some(Action::requeue(POLL)))
            }
            result => result.map(|()| None),
        },
    }
}

async fn send<K: Kind>(api: &Api<DeserializeGuard<K>>, key: &ObjectKey, patch: Value) -> Result<(), DereferenceError> {
    let patch: Patch<()> = Patch::Json(serde_json::from_value(patch)?);
    let parameters = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    api.patch_metadata(&key.name, &parameters, &patch).await.map(|_| ()).map_err(DereferenceError::Finalizer)
}

/// Takes the finalizer off an activation that is there and not ours any more.
pub async fn let_go(client: &Client, key: &ObjectKey, uid: &str) -> Result<(), DereferenceError> {
    let api: Api<DeserializeGuard<AudienceActivation>> = Api::namespaced(client.clone(), &key.namespace);
    let metadata = match api.get_metadata_opt(&key.name).await {
        Ok(Some(found)) if found.metadata.uid.as_deref() == Some(uid) => found.metadata,
        Ok(_) => return Ok(()),
        Err(error) => return Err(DereferenceError::Finalizer(error)),
    };
    match finalizer::let_go(&metadata) {
        Some(patch) => send(&api, key, patch).await,
        None => Ok(()),
    }
}

fn refuse<K: Kind>(
    context: &Context,
    guarded: &DeserializeGuard<K>,
    reason: Reason,
    message: String,
    status: Option<Value>,
) {
    let metadata = guarded.meta();
    let refusal = Refusal {
        uid: metadata.uid.clone().unwrap_or_default(),
        generation: metadata.generation,
        reason,
        message,
        status,
    };
    tracing::warn!(%reason, "{}", refusal.message);
    context.shelf.stock().refuse((K::ABOUT, ObjectKey::of(guarded)), refusal);
    context.shelf.wake();
}

async fn look_for(client: &Client, namespace: &str, name: &str) -> Result<FoundSecret, DereferenceError> {
    let api: Api<ApiSecret> = Api::namespaced(client.clone(), namespace);
    match api.get_opt(name).await {
        Ok(Some(secret)) => Ok(FoundSecret::Present(Secret {
            resource_version: secret.resource_version().unwrap_or_default(),
            data: secret.data.unwrap_or_default().into_iter().map(|(name, value)| (name, value.0)).collect(),
        })),
        Ok(None) => Ok(FoundSecret::Missing),
        Err(error) if trouble::is_forbidden(&error) => Ok(FoundSecret::Forbidden),
        Err(source) => Err(DereferenceError::Secret { key: ObjectKey::new(namespace, name), source }),
    }
}

/// What the status of a resource says whose spec cannot be read, so that nothing of it is lost.
async fn raw_status<K: Kind>(client: &Client, key: &ObjectKey) -> Option<Value> {
    let resource = ApiResource::erase::<K>(&());
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), &key.namespace, &resource);
    // Without it the new status says less; it is asked for again with the next look.
    let mut found = api.get(&key.name).await.ok()?;
    Some(found.data["status"].take())
}
