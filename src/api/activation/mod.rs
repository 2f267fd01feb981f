//! Types: `AudienceActivation`, one dataflow: which audiences and attributes, from which feed, to which destination.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{alerts::AlertRule, references::DestinationRef};

mod mapping;
mod running;
mod status;

pub use mapping::{
    Audience, DEFAULT_AUDIENCE_NAMESPACE, DEFAULT_MERGE_POLICY, MappedAttribute, MembershipScope, OnDelete, Record,
    SegmentMembership, Triggers,
};
pub use running::{Backfill, Kafka, KafkaTls, Placement, Source, Workers};
pub use status::{
    AudienceActivationStatus, AudienceStatus, BackfillState, BackfillStatus, DataflowStatus, RunState, RunStatus,
    TriggerCounts, WorkersStatus,
};

/// One dataflow: which audiences and attributes of profiles are exported, from which feed, to which destination.
#[derive(CustomResource, Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "activation.dev",
    version = "v1alpha1",
    kind = "AudienceActivation",
    namespaced,
    shortname = "aact",
    category = "activation",
    status = "AudienceActivationStatus",
    derive = "Default",
    derive = "PartialEq",
    doc = "One dataflow: which audiences and attributes of profiles are exported, from which feed, to which destination.",
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status",
        description = "Whether the spec is valid, the destination ready, and the workers run"
    ),
    printcolumn(
        name = "Delivering",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Delivering\")].reason",
        description = "How the delivery of records goes"
    ),
    printcolumn(name = "Destination", type_ = "string", json_path = ".spec.destinationRef.name"),
    printcolumn(
        name = "Audiences",
        type_ = "integer",
        json_path = ".status.mappedAudiences",
        description = "How many audiences are mapped"
    ),
    printcolumn(
        name = "Backfill",
        type_ = "integer",
        json_path = ".status.backfillPercent",
        description = "How much of the history is exported, in percent"
    ),
    printcolumn(name = "Exported", type_ = "integer", json_path = ".status.dataflow.exported"),
    printcolumn(name = "Failed", type_ = "integer", json_path = ".status.dataflow.failed"),
    printcolumn(
        name = "Lag",
        type_ = "integer",
        json_path = ".status.dataflow.lagSeconds",
        description = "How far the dataflow is behind its feed, in seconds"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "!has(self.workers) || !has(self.workers.placement) || self.workers.placement != 'Pods' || \
             (has(self.source) && has(self.source.kafka))",
    "message": "workers.placement: Pods needs source.kafka, which pods can share; set it, or leave the workers in the operator",
}]))]
pub struct AudienceActivationSpec {
    /// The destination to export to. A change restarts the dataflow at its position; what was exported to the old
    /// destination is not exported again to the new one (ask for a resync to do so).
    pub destination_ref: DestinationRef,
    /// Where changes come from. Default: the operator's own profile hub. A change starts at the head of the new feed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<Source>,
    /// The merge policy of the audiences that name none themselves. Default: default. At most 256 characters. A change maps
    /// those audiences anew.
    #[serde(default = "default_merge_policy")]
    #[schemars(length(min = 1, max = 256))]
    pub merge_policy_id: String,
    /// The mapped audiences, 1 to 250, each (namespace, id) once. A profile's entry and exit are exported; the members of an
    /// added audience are exported once (backfill); removing one exports nothing.
    #[schemars(
        length(min = 1, max = 250),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["namespace", "id"])
    )]
    pub audiences: Vec<Audience>,
    /// The mapped attributes, up to 100, each path once and none above or below another. They are what a record carries, in
    /// this order, and what triggers an export when written. Default: none. A change holds for changes read after it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 100),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["path"])
    )]
    pub mapped_attributes: Vec<MappedAttribute>,
    /// Which kinds of change are exported. Default: all. A change holds for changes read after it.
    #[serde(default)]
    pub triggers: Triggers,
    /// Which memberships a record tells.
    #[serde(default)]
    pub segment_membership: SegmentMembership,
    /// What a record carries besides.
    #[serde(default)]
    pub record: Record,
    /// What is exported when a profile is deleted. None (default): nothing. Exit: one record that tells every mapped
    /// audience in which the profile was realized as exited.
    #[serde(default)]
    pub on_delete: OnDelete,
    /// How the members of a newly mapped audience are exported.
    #[serde(default)]
    pub backfill: Backfill,
    /// Where the dataflow runs.
    #[serde(default)]
    pub workers: Workers,
    /// Thresholds and webhooks of alerts, one entry per type. For one type, this entry wins over the destination's. Default:
    /// none, and every type keeps its default threshold.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 9),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"])
    )]
    pub alerts: Vec<AlertRule>,
    /// Stops exporting. Default: false. Resuming goes on where it stopped, as long as the feed keeps what lies between.
    #[serde(default)]
    pub suspend: bool,
}

fn default_merge_policy() -> String {
    DEFAULT_MERGE_POLICY.to_owned()
}

impl AudienceActivationSpec {
    /// The merge policy under which `audience` is mapped (`semantics 3.8`).
    pub fn merge_policy_of<'a>(&'a self, audience: &'a Audience) -> &'a str {
        let own = audience.merge_policy_id.as_deref();
        own.unwrap_or(if self.merge_policy_id.is_empty() { DEFAULT_MERGE_POLICY } else { &self.merge_policy_id })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_audience_falls_back_to_the_merge_policy_of_its_activation() {
        let mut spec = AudienceActivationSpec::default();
        let mut audience = Audience::named("ups", "a1");
        assert_eq!(spec.merge_policy_of(&audience), "default");
        spec.merge_policy_id = "strict".to_owned();
        assert_eq!(spec.merge_policy_of(&audience), "strict");
        audience.merge_policy_id = Some("loose".to_owned());
        assert_eq!(spec.merge_policy_of(&audience), "loose");
    }
}
