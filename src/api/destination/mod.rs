//! Types: `KinesisDestination`, where records go, with which credentials, and who may use it.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::alerts::AlertRule;

mod access;
mod credentials;
mod delivery;
mod status;

pub use access::{AllowedNamespaces, LabelExpression, LabelOperator, NamespaceSelector, NamespacesFrom};
pub use credentials::{Ambient, AssumeRole, Credentials, Endpoint};
pub use delivery::{
    Delivery, PartitionKey, PartitionKeyFrom, PermissionCheck, PermissionCheckMethod, SMALLEST_BATCH_BYTES,
};
pub use status::{
    Action, ActionPermission, CredentialsSource, CredentialsStatus, Granted, KinesisDestinationStatus, StreamStatus,
};

/// Where records go: one Kinesis data stream, the credentials for it, how records are delivered, and whose activations
/// may use it.
#[derive(CustomResource, Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "activation.dev",
    version = "v1alpha1",
    kind = "KinesisDestination",
    namespaced,
    shortname = "kdest",
    category = "activation",
    status = "KinesisDestinationStatus",
    derive = "Default",
    derive = "PartialEq",
    doc = "A Kinesis data stream that audiences can be activated to: the stream, the credentials for it, how records are delivered, and whose activations may use it.",
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status",
        description = "Whether records can be delivered"
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason",
        description = "Why it is ready, or not"
    ),
    printcolumn(name = "Region", type_ = "string", json_path = ".spec.region"),
    printcolumn(name = "Stream", type_ = "string", json_path = ".status.stream.name"),
    printcolumn(
        name = "Activations",
        type_ = "integer",
        json_path = ".status.activations",
        description = "How many activations use it"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = spec_rules()))]
pub struct KinesisDestinationSpec {
    /// What people call it. At most 128 characters. Only shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub display_name: Option<String>,
    /// What it is for. At most 1024 characters. Only shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub description: Option<String>,
    /// The AWS region to stream to, such as eu-west-1. Required. A change restarts the dataflows of the destination where
    /// they stopped.
    #[schemars(length(min = 1, max = 32), extend("pattern" = "^[a-z]{2,4}(-[a-z]+)+-[0-9]{1,2}$"))]
    pub region: String,
    /// The stream, by name or by ARN: exactly one of the two. A change restarts the dataflows where they stopped; what was
    /// exported before is not exported again (ask for a resync to do so).
    pub stream: StreamRef,
    /// With which credentials to stream: exactly one of secretRef and ambient, and a role on top of either, if wanted. A
    /// change is taken up by running dataflows without a restart.
    pub credentials: Credentials,
    /// Another address than the public one of the region: a VPC endpoint, FIPS, dual stack, an emulator. Default: the
    /// region's public endpoint. A change is taken up by running dataflows, from the next request on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<Endpoint>,
    /// Adds the name of each mapped audience to the record. Default: false. A change holds for records exported after it.
    #[serde(default)]
    pub include_segment_names: bool,
    /// Adds to each mapped audience in the record when it and its mapping were created and updated, in milliseconds since
    /// the epoch. Default: false. A change holds for records exported after it.
    #[serde(default)]
    pub include_segment_timestamps: bool,
    /// What decides the shard of a record. Default: the profile id. Order holds per partition key.
    #[serde(default)]
    pub partition_key: PartitionKey,
    /// How records are batched, paced and retried. A change is taken up by running dataflows, from the next request on.
    #[serde(default)]
    pub delivery: Delivery,
    /// How, and how often, it is checked that records may be put.
    #[serde(default)]
    pub permission_check: PermissionCheck,
    /// Which namespaces' activations may use this destination. Default: its own namespace's. Dataflows of a namespace that
    /// is no longer allowed stop and keep their positions.
    #[serde(default)]
    pub allowed_namespaces: AllowedNamespaces,
    /// Thresholds and webhooks of alerts, one entry per type, for every activation of this destination. For one type, the
    /// activation's own entry wins. Default: none, and every type keeps its default threshold.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 9),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"])
    )]
    pub alerts: Vec<AlertRule>,
    /// Pauses every dataflow to this destination. Default: false. Resuming goes on where they stopped.
    #[serde(default)]
    pub suspend: bool,
}

/// Which stream: exactly one of name and arn.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "has(self.name) != has(self.arn)",
    "message": "set exactly one of stream.name and stream.arn",
}]))]
pub struct StreamRef {
    /// Name of a stream of the account that the credentials belong to. 1 to 128 letters, digits, `_`, `.`, `-`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128), extend("pattern" = "^[a-zA-Z0-9_.-]+$"))]
    pub name: Option<String>,
    /// ARN of a stream, which may belong to another account. Its region must be the spec's.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(max = 256),
        extend("pattern" = "^arn:aws[a-z-]*:kinesis:[a-z0-9-]+:[0-9]{12}:stream/[a-zA-Z0-9_.-]{1,128}$")
    )]
    pub arn: Option<String>,
}

impl StreamRef {
    /// The stream's name, given or taken from the ARN.
    pub fn stream_name(&self) -> Option<&str> {
        match (&self.name, &self.arn) {
            (Some(name), _) => Some(name),
            (None, Some(arn)) => arn.split_once(":stream/").map(|(_, name)| name),
            (None, None) => None,
        }
    }

    /// The twelve digits of the account that the ARN names.
    pub fn account(&self) -> Option<&str> {
        self.arn.as_deref().and_then(|arn| arn.split(':').nth(4))
    }
}

fn spec_rules() -> Value {
    json!([{
        "rule": "!has(self.stream.arn) || self.stream.arn.contains(':kinesis:' + self.region + ':')",
        "message": "stream.arn names another region than region; make the two agree",
    }])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_and_the_account_of_a_stream_come_from_its_arn() {
        let by_arn =
            StreamRef { name: None, arn: Some("arn:aws:kinesis:eu-west-1:123456789012:stream/profiles.v1".to_owned()) };
        assert_eq!(by_arn.stream_name(), Some("profiles.v1"));
        assert_eq!(by_arn.account(), Some("123456789012"));
        let by_name = StreamRef { name: Some("profiles".to_owned()), arn: None };
        assert_eq!(by_name.stream_name(), Some("profiles"));
        assert_eq!(by_name.account(), None);
    }
}
