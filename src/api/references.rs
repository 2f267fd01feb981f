//! Types: names of other objects. A reference is only ever a name; what it leads to is fetched by `reconcile`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the API server accepts as the name of a Secret or of one of our resources.
pub const OBJECT_NAME_PATTERN: &str = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$";
/// What the API server accepts as the name of a namespace.
pub const NAMESPACE_PATTERN: &str = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$";
/// What the API server accepts as a key of a Secret.
pub const SECRET_KEY_PATTERN: &str = "^[-._a-zA-Z0-9]+$";

/// A Secret of the same namespace that holds an AWS access key. When the Secret changes, running dataflows take the new
/// key without a restart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AccessKeySecret {
    /// Name of the Secret, in the namespace of the destination.
    #[schemars(length(min = 1, max = 253), extend("pattern" = OBJECT_NAME_PATTERN))]
    pub name: String,
    /// Which key of the Secret holds the access key id. Default: accessKeyId.
    #[serde(default = "access_key_id_key")]
    #[schemars(length(min = 1, max = 253), extend("pattern" = SECRET_KEY_PATTERN))]
    pub access_key_id_key: String,
    /// Which key of the Secret holds the secret access key. Default: secretAccessKey.
    #[serde(default = "secret_access_key_key")]
    #[schemars(length(min = 1, max = 253), extend("pattern" = SECRET_KEY_PATTERN))]
    pub secret_access_key_key: String,
    /// Which key of the Secret holds the session token, for temporary credentials. Default: none is used.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), extend("pattern" = SECRET_KEY_PATTERN))]
    pub session_token_key: Option<String>,
}

fn access_key_id_key() -> String {
    "accessKeyId".to_owned()
}

fn secret_access_key_key() -> String {
    "secretAccessKey".to_owned()
}

impl AccessKeySecret {
    /// The Secret `name`, with the usual keys.
    pub fn named(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            access_key_id_key: access_key_id_key(),
            secret_access_key_key: secret_access_key_key(),
            session_token_key: None,
        }
    }
}

/// A Secret of the same namespace whose keys have fixed names; the field that refers to it says which.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretName {
    /// Name of the Secret, in the same namespace.
    #[schemars(length(min = 1, max = 253), extend("pattern" = OBJECT_NAME_PATTERN))]
    pub name: String,
}

/// The destination that an activation exports to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DestinationRef {
    /// Name of the KinesisDestination.
    #[schemars(length(min = 1, max = 253), extend("pattern" = OBJECT_NAME_PATTERN))]
    pub name: String,
    /// Namespace of the KinesisDestination. Default: the activation's own. Another namespace's destination must allow
    /// this one in its allowedNamespaces.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), extend("pattern" = NAMESPACE_PATTERN))]
    pub namespace: Option<String>,
}

impl DestinationRef {
    /// The namespace it leads to, seen from an activation in `own`.
    pub fn namespace_or<'a>(&'a self, own: &'a str) -> &'a str {
        self.namespace.as_deref().unwrap_or(own)
    }
}
