//! Pure: reads a manifest as the resource that it says it is.

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{AudienceActivation, KinesisDestination};

/// A manifest that may be applied.
#[derive(Debug, Clone, PartialEq)]
pub enum Resource {
    /// A destination.
    Destination(Box<KinesisDestination>),
    /// An activation.
    Activation(Box<AudienceActivation>),
}

/// One thing that is wrong with a manifest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {message}")]
pub struct Refusal {
    /// The field.
    pub path: String,
    /// What is wrong with it.
    pub message: String,
}

/// Reads a manifest, with the defaults filled in.
pub fn check(manifest: &Value) -> Result<Resource, Vec<Refusal>> {
    match manifest.get("kind").and_then(Value::as_str) {
        Some("KinesisDestination") => read(manifest).map(|object| Resource::Destination(Box::new(object))),
        Some("AudienceActivation") => read(manifest).map(|object| Resource::Activation(Box::new(object))),
        _ => Err(vec![Refusal { path: "kind".to_owned(), message: "is not one of ours".to_owned() }]),
    }
}

fn read<T: DeserializeOwned>(manifest: &Value) -> Result<T, Vec<Refusal>> {
    T::deserialize(manifest).map_err(|error| vec![Refusal { path: "spec".to_owned(), message: error.to_string() }])
}
