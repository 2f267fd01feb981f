//! Types: where changes come from, how history is exported, where the dataflow runs.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::{
    quantities::{DurationText, duration_between},
    references::SecretName,
};

/// Where changes come from, if not from the operator's own profile hub: exactly one feed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "has(self.kafka)",
    "message": "name a feed: source.kafka; or leave source out altogether to read the operator's own hub",
}]))]
pub struct Source {
    /// Two Kafka topics: changes, which live exports read, and profiles, which the backfill reads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kafka: Option<Kafka>,
}

/// Two Kafka topics: changes, which live exports read, and profiles, which the backfill reads.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "self.changesTopic != self.profilesTopic",
    "message": "changesTopic and profilesTopic must be two topics: one keeps every change for a time, the other is compacted",
}]))]
pub struct Kafka {
    /// The brokers to begin with, `host:port`, joined by commas. At most 1024 characters.
    #[schemars(
        length(min = 1, max = 1024),
        extend("pattern" = "^[a-zA-Z0-9._-]+:[0-9]{1,5}(,[a-zA-Z0-9._-]+:[0-9]{1,5})*$")
    )]
    pub bootstrap_servers: String,
    /// The topic of changes (cleanup by time). 1 to 249 letters, digits, `_`, `.`, `-`. A change starts at the head of the
    /// new topic.
    #[schemars(length(min = 1, max = 249), extend("pattern" = "^[a-zA-Z0-9._-]+$"))]
    pub changes_topic: String,
    /// The topic of profiles (compacted). 1 to 249 letters, digits, `_`, `.`, `-`.
    #[schemars(length(min = 1, max = 249), extend("pattern" = "^[a-zA-Z0-9._-]+$"))]
    pub profiles_topic: String,
    /// Speak TLS to the brokers; written as `{}`, their certificates must be of a public authority. Default: no TLS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<KafkaTls>,
    /// A Secret of the same namespace with the keys `username` and `password`, and, if wanted, `mechanism`: SCRAM-SHA-512
    /// (default), SCRAM-SHA-256 or PLAIN. Default: no SASL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sasl_secret_ref: Option<SecretName>,
}

/// Speak TLS to the brokers; written as `{}`, their certificates must be of a public authority.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KafkaTls {
    /// A Secret of the same namespace with the key `ca.crt`: the authorities to trust instead of the public ones, and, if
    /// wanted, `tls.crt` and `tls.key`: the client's own certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretName>,
}

/// How the members of a newly mapped audience are exported.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Backfill {
    /// Whether they are exported at all. Default: true. Turned on later, it holds for audiences mapped from then on; a
    /// resync exports the others.
    pub enabled: bool,
    /// How long it may take before status and alert say that the stream is too small. Default: 1h; 1m to 168h.
    #[schemars(extend("x-kubernetes-validations" = duration_between("backfill.deadline", "1m", "168h", "1h")))]
    pub deadline: DurationText,
    /// At most so many records a second, 1 to 1000000. Default: what live exports leave.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_records_per_second: Option<u32>,
}

impl Default for Backfill {
    fn default() -> Self {
        Self { enabled: true, deadline: DurationText::seconds(3600), max_records_per_second: None }
    }
}

impl Backfill {
    /// How long it may take.
    pub fn deadline(&self) -> Duration {
        self.deadline.duration()
    }

    /// Its limit, if there is one.
    pub fn max_records_per_second(&self) -> Option<u32> {
        self.max_records_per_second
    }
}

/// Where the dataflow runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Workers {
    /// Operator (default): as a task of the operator. Pods: in pods of its own, which needs source.kafka. A change hands the
    /// dataflow over at its position.
    pub placement: Placement,
}

/// Where a dataflow runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Placement {
    /// As a task of the operator.
    #[default]
    Operator,
    /// In pods of its own.
    Pods,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_absent_backfill_is_on_and_has_an_hour() {
        let backfill = Backfill::default();
        assert!(backfill.enabled);
        assert_eq!(backfill.deadline(), Duration::from_hours(1));
        assert_eq!(backfill.max_records_per_second(), None);
    }
}
