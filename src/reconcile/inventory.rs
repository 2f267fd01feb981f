//! Types: everything that a shell has found, by name. A folder and an API server look the same from here on.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::api::{AudienceActivation, KinesisDestination};

/// The namespace of an object that names none.
pub const DEFAULT_NAMESPACE: &str = "default";

/// Namespace and name of an object.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectKey {
    /// The namespace.
    pub namespace: String,
    /// The name.
    pub name: String,
}

impl ObjectKey {
    /// Of that name in that namespace.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }

    /// Of an object; one without a namespace is in `default`.
    pub fn of<K: kube::ResourceExt>(object: &K) -> Self {
        Self::new(object.namespace().unwrap_or_else(|| DEFAULT_NAMESPACE.to_owned()), object.name_any())
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// A Secret. Its values are never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    /// What it holds, decoded.
    pub data: BTreeMap<String, Vec<u8>>,
    /// Another one for other data.
    pub resource_version: String,
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secret")
            .field("keys", &self.data.keys())
            .field("resource_version", &self.resource_version)
            .finish()
    }
}

/// Everything that was found.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Inventory {
    /// The Secrets.
    pub secrets: BTreeMap<ObjectKey, Secret>,
    /// Secrets that may be there, but that the shell is forbidden to read.
    pub forbidden_secrets: BTreeSet<ObjectKey>,
    /// The destinations, as an API server would hold them: defaults filled in.
    pub destinations: BTreeMap<ObjectKey, KinesisDestination>,
    /// The activations, likewise.
    pub activations: BTreeMap<ObjectKey, AudienceActivation>,
    /// The labels of the namespaces that are known.
    pub namespaces: BTreeMap<String, BTreeMap<String, String>>,
    /// Namespaces whose labels the shell is forbidden to read.
    pub forbidden_namespaces: BTreeSet<String>,
}
