//! Types: what the operator says about a destination. Never a secret's value.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::quantities::Moment;

/// What the operator says about the destination. Written by the operator only.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KinesisDestinationStatus {
    /// The generation of the spec that this status speaks of; -1 until the operator has looked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The value of the annotation activation.dev/requested-at that was last acted upon.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub last_handled_request_at: Option<String>,
    /// Ready, Reconciling, Stalled, CredentialsValid, StreamReachable and PermissionsGranted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 16),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"])
    )]
    pub conditions: Vec<Condition>,
    /// The stream, as the service describes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream: Option<StreamStatus>,
    /// What the credentials may do, one entry per action.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 8),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["action"])
    )]
    pub permissions: Vec<ActionPermission>,
    /// Which credentials are in use; never their values.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credentials: Option<CredentialsStatus>,
    /// The smallest IAM policy that lets records be put, as JSON, ready to paste.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 8192))]
    pub required_policy: Option<String>,
    /// How many activations use this destination.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub activations: Option<u32>,
    /// When AWS was last asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_checked_at: Option<Moment>,
}

/// The stream, as the service describes it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StreamStatus {
    /// Its name.
    #[schemars(length(max = 128))]
    pub name: String,
    /// Its ARN, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub arn: Option<String>,
    /// ACTIVE, CREATING, UPDATING or DELETING, where the service tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub status: Option<String>,
    /// ON_DEMAND or PROVISIONED, where the service tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub mode: Option<String>,
}

/// An action that the credentials need; there is no other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum Action {
    /// `kinesis:ListStreams`.
    #[serde(rename = "kinesis:ListStreams")]
    ListStreams,
    /// `kinesis:PutRecord`.
    #[serde(rename = "kinesis:PutRecord")]
    PutRecord,
    /// `kinesis:PutRecords`.
    #[serde(rename = "kinesis:PutRecords")]
    PutRecords,
}

impl Action {
    /// All three, in the order of the documentation.
    pub const ALL: [Self; 3] = [Self::ListStreams, Self::PutRecord, Self::PutRecords];

    /// The action as IAM writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ListStreams => "kinesis:ListStreams",
            Self::PutRecord => "kinesis:PutRecord",
            Self::PutRecords => "kinesis:PutRecords",
        }
    }
}

/// Whether one action is granted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ActionPermission {
    /// The IAM action.
    pub action: Action,
    /// True, False, or Unknown where the service's answer does not tell.
    pub granted: Granted,
    /// What the service answered, and what to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub message: Option<String>,
    /// When it was asked.
    pub checked_at: Moment,
}

/// Whether an action is granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Granted {
    /// It is.
    True,
    /// It is not.
    False,
    /// The service's answer does not tell, or it was not asked.
    Unknown,
}

/// Which credentials are in use; never their values.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CredentialsStatus {
    /// Where they come from.
    pub source: CredentialsSource,
    /// The resource version of the Secret that is in use.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub secret_resource_version: Option<String>,
    /// The external id that the operator sends when it assumes the role with ambient credentials: what the role's trust
    /// policy must ask for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1224))]
    pub external_id: Option<String>,
    /// When they were taken up.
    pub observed_at: Moment,
}

/// Where credentials come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum CredentialsSource {
    /// A Secret.
    Secret,
    /// The pod.
    Ambient,
}
