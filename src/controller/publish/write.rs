//! Effects: one write of one status: server-side apply on the `status` subresource, every field that is ours, each time.
//!
//! An API server takes no `uid` as a precondition where only a status of a custom resource is written; it takes a resource version.
//! So a write names the one that is known, and where the object has another by now, looks whether it is still the same object.

use std::time::Duration;

use kube::api::{ApiResource, DynamicObject, Patch, PatchParams};
use kube::{Api, Client, ResourceExt as _};
use serde::Serialize;

use super::FIELD_MANAGER;
use super::entry::Failure;
use super::queue::Write;
use super::status::Status;
use crate::api::{AudienceActivation, KinesisDestination};
use crate::reconcile::About;

/// How long one write may take; the client tries again within it.
const TIMEOUT: Duration = Duration::from_secs(10);

/// What came of a write that got through.
#[derive(Debug)]
pub(super) struct Written {
    /// The resource version that it made.
    pub(super) version: String,
    /// What the API server made of the status; `None` where that cannot be read.
    pub(super) shown: Option<Status>,
}

/// Why a write failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum WriteError {
    /// The object is not there, or another one of its name is.
    #[error("the object is gone")]
    Gone,
    /// It has been changed since.
    #[error("the object was changed meanwhile")]
    Changed {
        /// The resource version that it has now.
        version: String,
    },
    /// No answer within the time.
    #[error("the API server did not answer within {}s", TIMEOUT.as_secs())]
    TimedOut,
    /// The API server refused, or cannot be reached.
    #[error("{0}")]
    Kube(#[source] kube::Error),
}

impl WriteError {
    /// What it means for the next write, and the name by which it is counted.
    pub(super) fn failure(&self) -> (Failure, &'static str) {
        match self {
            Self::Gone => (Failure::Gone, "gone"),
            Self::Changed { version } => (Failure::Changed { version: version.clone() }, "changed"),
            Self::TimedOut => (Failure::Refused, "timeout"),
            Self::Kube(kube::Error::Api(answer)) if answer.code == 403 => (Failure::Forbidden, "forbidden"),
            Self::Kube(kube::Error::Api(_) | kube::Error::SerdeError(_)) => (Failure::Refused, "refused"),
            Self::Kube(_) => (Failure::Unreachable, "unreachable"),
        }
    }
}

/// What is sent. Nothing in it is null: a null would claim its field.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Applied<'a> {
    api_version: &'a str,
    kind: &'a str,
    metadata: Metadata<'a>,
    status: &'a Status,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Metadata<'a> {
    namespace: &'a str,
    name: &'a str,
    uid: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    resource_version: &'a str,
}

/// What the API server calls the kind.
pub(crate) fn resource(about: About) -> ApiResource {
    match about {
        About::Destination => ApiResource::erase::<KinesisDestination>(&()),
        About::Activation => ApiResource::erase::<AudienceActivation>(&()),
    }
}

/// Writes.
pub(super) async fn write(client: Client, write: &Write) -> Result<Written, WriteError> {
    let resource = resource(write.subject.about);
    let api: Api<DynamicObject> = Api::namespaced_with(client, &write.subject.key.namespace, &resource);
    match tokio::time::timeout(TIMEOUT, apply(&api, &resource, write)).await {
        Ok(result) => result,
        Err(_) => Err(WriteError::TimedOut),
    }
}

async fn apply(api: &Api<DynamicObject>, resource: &ApiResource, write: &Write) -> Result<Written, WriteError> {
    let Write { subject, version, status } = write;
    let applied = Applied {
        api_version: &resource.api_version,
        kind: &resource.kind,
        metadata: Metadata {
            namespace: &subject.key.namespace,
            name: &subject.key.name,
            uid: &subject.uid,
            resource_version: version,
        },
        status,
    };
    let parameters = PatchParams::apply(FIELD_MANAGER).force();
    match api.patch_status(&subject.key.name, &parameters, &Patch::Apply(&applied)).await {
        Ok(object) => Ok(Written {
            version: object.resource_version().unwrap_or_default(),
            shown: object.data.get("status").and_then(|status| Status::read(subject.about, status)),
        }),
        Err(kube::Error::Api(answer)) if answer.code == 404 => Err(WriteError::Gone),
        Err(kube::Error::Api(answer)) if answer.code == 409 => Err(look(api, write).await),
        Err(error) => Err(WriteError::Kube(error)),
    }
}

/// Whether an object that was changed is still the same one.
async fn look(api: &Api<DynamicObject>, write: &Write) -> WriteError {
    match api.get_metadata_opt(&write.subject.key.name).await {
        Ok(Some(found)) if found.uid().as_deref() == Some(&write.subject.uid) => {
            WriteError::Changed { version: found.resource_version().unwrap_or_default() }
        }
        Ok(_) => WriteError::Gone,
        Err(error) => WriteError::Kube(error),
    }
}
