//! Types: whose status, and the status of either kind.

use std::sync::Arc;

use kube::ResourceExt;
use serde::{Deserialize as _, Serialize, Serializer};

use crate::api::{AudienceActivationStatus, KinesisDestinationStatus};
use crate::reconcile::status::{Change, change};
use crate::reconcile::{About, ObjectKey};

/// Whose status: one object, and not another of the same name that came after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// Its kind.
    pub about: About,
    /// Its name.
    pub key: ObjectKey,
    /// What tells it from an earlier and a later one of that name.
    pub uid: String,
}

impl Subject {
    /// Of an object as the API server has it.
    pub fn of<K: ResourceExt>(about: About, object: &K) -> Self {
        Self { about, key: ObjectKey::of(object), uid: object.uid().unwrap_or_default() }
    }
}

/// A status of either kind, shared between what waits and what was written.
#[derive(Debug, Clone, PartialEq)]
pub enum Status {
    /// Of a `KinesisDestination`.
    Destination(Arc<KinesisDestinationStatus>),
    /// Of an `AudienceActivation`.
    Activation(Arc<AudienceActivationStatus>),
}

impl Status {
    /// The kind that it is of.
    pub const fn about(&self) -> About {
        match self {
            Self::Destination(_) => About::Destination,
            Self::Activation(_) => About::Activation,
        }
    }

    /// How much of this is news to who has been told `told`.
    pub fn news(&self, told: Option<&Self>) -> Change {
        match (told, self) {
            (Some(Self::Destination(old)), Self::Destination(new)) => change(&**old, &**new),
            (Some(Self::Activation(old)), Self::Activation(new)) => change(&**old, &**new),
            _ => Change::Material,
        }
    }

    /// A status of the kind `about`, as the API server has it; `None` where it cannot be read.
    pub fn read(about: About, status: &serde_json::Value) -> Option<Self> {
        match about {
            About::Destination => KinesisDestinationStatus::deserialize(status).ok().map(Self::from),
            About::Activation => AudienceActivationStatus::deserialize(status).ok().map(Self::from),
        }
    }
}

impl Serialize for Status {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Destination(status) => status.serialize(serializer),
            Self::Activation(status) => status.serialize(serializer),
        }
    }
}

impl From<KinesisDestinationStatus> for Status {
    fn from(status: KinesisDestinationStatus) -> Self {
        Self::Destination(Arc::new(status))
    }
}

impl From<AudienceActivationStatus> for Status {
    fn from(status: AudienceActivationStatus) -> Self {
        Self::Activation(Arc::new(status))
    }
}
