//! Types: what the operator says about an activation: small, with capped lists and whole percents.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::{alerts::AlertStatus, quantities::Moment};

/// What the operator says about the activation. Written by the operator only.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AudienceActivationStatus {
    /// The generation of the spec that this status speaks of; -1 until the operator has looked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The value of the annotation activation.dev/requested-at that was last acted upon.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub last_handled_request_at: Option<String>,
    /// The value of the annotation activation.dev/resync-requested-at that was last acted upon.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub last_handled_resync_at: Option<String>,
    /// Ready, Reconciling, Stalled, DestinationReady, Delivering, BackfillComplete and AlertsFiring.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 16),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"])
    )]
    pub conditions: Vec<Condition>,
    /// How many audiences are mapped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mapped_audiences: Option<u32>,
    /// How much of the history of all mapped audiences is exported, in whole percent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 100))]
    pub backfill_percent: Option<u8>,
    /// The mapped audiences, with when they were mapped and how their backfill goes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 250),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["namespace", "id"])
    )]
    pub audiences: Vec<AudienceStatus>,
    /// The counters of the dataflow, since it was created.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dataflow: Option<DataflowStatus>,
    /// The last six hourly windows, the newest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 6), extend("x-kubernetes-list-type" = "atomic"))]
    pub runs: Vec<RunStatus>,
    /// The alerts that fire or have fired lately.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 9),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"])
    )]
    pub alerts: Vec<AlertStatus>,
    /// The workers of the dataflow.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workers: Option<WorkersStatus>,
}

/// One mapped audience.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AudienceStatus {
    /// Namespace of the audience.
    #[schemars(length(max = 64))]
    pub namespace: String,
    /// Id of the audience.
    #[schemars(length(max = 256))]
    pub id: String,
    /// When it was mapped. Unmapped and mapped again is a new mapping.
    pub mapping_created_at: Moment,
    /// When its entry in the spec last changed.
    pub mapping_updated_at: Moment,
    /// How the export of its members goes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backfill: Option<BackfillStatus>,
}

/// How the export of an audience's members goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackfillStatus {
    /// Pending, Running, Completed, or Skipped where the spec turns it off.
    pub state: BackfillState,
    /// How many members are exported.
    pub exported: u64,
    /// How many members there are, once that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
    /// How many of them are done, in whole percent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 100))]
    pub percent: Option<u8>,
    /// When it began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Moment>,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<Moment>,
    /// When it will end, as things go.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub estimated_completion: Option<Moment>,
    /// What holds it up, and the shards it would take to meet the deadline.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub message: Option<String>,
}

/// How far the backfill of an audience is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum BackfillState {
    /// It waits for its turn.
    Pending,
    /// It exports.
    Running,
    /// Every member was exported.
    Completed,
    /// The spec turns it off.
    Skipped,
}

/// The counters of a dataflow, since it was created; of exactly what lies below its checkpoint, so nothing counts twice.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DataflowStatus {
    /// Changes read from the feed.
    #[serde(default)]
    pub received: u64,
    /// Records that the stream acknowledged.
    #[serde(default)]
    pub exported: u64,
    /// Exports that were left out for lack of a required attribute.
    #[serde(default)]
    pub excluded: u64,
    /// Attempts after the first.
    #[serde(default)]
    pub retried: u64,
    /// Records that could not be delivered.
    #[serde(default)]
    pub failed: u64,
    /// Dead letters that wait now.
    #[serde(default)]
    pub dead_lettered: u64,
    /// The exported records by what triggered them; a record with several triggers counts for each.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub triggers: Option<TriggerCounts>,
    /// When a record was last acknowledged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_export_time: Option<Moment>,
    /// How far the dataflow is behind its feed, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lag_seconds: Option<u64>,
    /// From the change to the acknowledged record, in milliseconds, for 95 of 100 records lately.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency_p95_millis: Option<u64>,
}

/// Exported records by trigger.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct TriggerCounts {
    /// A membership in a mapped audience changed.
    pub audience: u64,
    /// A mapped attribute was written.
    pub attribute: u64,
    /// The identities changed.
    pub identity: u64,
    /// A backfill or a resync.
    pub backfill: u64,
}

/// One hourly window.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunStatus {
    /// Its first moment.
    pub start: Moment,
    /// Its last moment; absent while it goes on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end: Option<Moment>,
    /// Running, Success, PartialSuccess where records failed, or Failed where none got through.
    pub state: RunState,
    /// Changes read from the feed.
    pub received: u64,
    /// Records that the stream acknowledged.
    pub exported: u64,
    /// Exports that were left out for lack of a required attribute.
    pub excluded: u64,
    /// Records that could not be delivered.
    pub failed: u64,
    /// Exported out of what should have been, in whole percent; absent where there was nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 100))]
    pub activation_rate_percent: Option<u8>,
}

/// How a run went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RunState {
    /// It goes on.
    Running,
    /// Everything was delivered, or there was nothing to deliver.
    Success,
    /// Some records failed.
    PartialSuccess,
    /// No record got through.
    Failed,
}

/// The workers of a dataflow.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkersStatus {
    /// How many there should be.
    #[serde(default)]
    pub desired: u32,
    /// How many run this generation.
    #[serde(default)]
    pub ready: u32,
    /// How often one was started again.
    #[serde(default)]
    pub restarts: u32,
    /// What the last restart was for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub last_error: Option<String>,
}
