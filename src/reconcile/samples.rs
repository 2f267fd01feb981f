//! What the tests of this layer begin with: one Secret, one destination, one activation, all as they should be.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::json;

use super::inventory::{Inventory, ObjectKey, Secret};
use crate::api::alerts::AlertRule;
use crate::api::{AudienceActivation, KinesisDestination};
use crate::dataflow::progress::{AudienceBackfill, BackfillState, Counters, Delivery, Progress, Run};
use crate::export::MappingSpec;
use crate::kinesis::client::StreamFacts;
use crate::kinesis::probe::{Action, CredentialFinding, Permission, ProbeReport, Ternary};

pub(super) const KEY_ID: &str = "AKIDOFTHESAMPLES";
pub(super) const SECRET_KEY: &str = "a-secret-of-the-samples";

pub(super) fn secret_key() -> ObjectKey {
    ObjectKey::new("shop", "aws")
}

pub(super) fn destination_key() -> ObjectKey {
    ObjectKey::new("shop", "stream")
}

pub(super) fn activation_key() -> ObjectKey {
    ObjectKey::new("shop", "vip")
}

pub(super) fn destination_of(inventory: &mut Inventory) -> &mut KinesisDestination {
    inventory.destinations.get_mut(&destination_key()).unwrap()
}

pub(super) fn activation_of(inventory: &mut Inventory) -> &mut AudienceActivation {
    inventory.activations.get_mut(&activation_key()).unwrap()
}

pub(super) fn secret(version: &str) -> Secret {
    Secret {
        data: [
            ("accessKeyId".to_owned(), KEY_ID.as_bytes().to_vec()),
            ("secretAccessKey".to_owned(), SECRET_KEY.as_bytes().to_vec()),
        ]
        .into(),
        resource_version: version.to_owned(),
    }
}

pub(super) fn destination() -> KinesisDestination {
    serde_json::from_value(json!({
        "apiVersion": "activation.dev/v1alpha1", "kind": "KinesisDestination",
        "metadata": {"namespace": "shop", "name": "stream", "generation": 1},
        "spec": {"region": "eu-west-1", "stream": {"name": "profiles"}, "credentials": {"secretRef": {"name": "aws"}}},
    }))
    .unwrap()
}

pub(super) fn activation() -> AudienceActivation {
    serde_json::from_value(json!({
        "apiVersion": "activation.dev/v1alpha1", "kind": "AudienceActivation",
        "metadata": {"namespace": "shop", "name": "vip", "generation": 1},
        "spec": {
            "destinationRef": {"name": "stream"},
            "audiences": [{"namespace": "ups", "id": "a1"}],
            "mappedAttributes": [{"path": "person.name.firstName"}],
        },
    }))
    .unwrap()
}

pub(super) fn inventory() -> Inventory {
    Inventory {
        secrets: [(secret_key(), secret("1"))].into(),
        destinations: [(destination_key(), destination())].into(),
        activations: [(activation_key(), activation())].into(),
        ..Inventory::default()
    }
}

pub(super) fn rules(alert: &str, threshold: &str) -> Vec<AlertRule> {
    serde_json::from_value(json!([{"type": alert, "threshold": threshold}])).unwrap()
}

/// A moment so many seconds after the beginning of the tests' time.
pub(super) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_767_322_800 + seconds).unwrap()
}

/// A report of which everything is well.
pub(super) fn report() -> ProbeReport {
    let granted = |action| Permission { action, granted: Ternary::True, message: String::new() };
    ProbeReport {
        stream: Some(StreamFacts {
            name: "profiles".to_owned(),
            arn: Some("arn:aws:kinesis:eu-west-1:123456789012:stream/profiles".to_owned()),
            status: Some("ACTIVE".to_owned()),
            mode: Some("ON_DEMAND".to_owned()),
        }),
        exists: Ternary::True,
        credentials: CredentialFinding::Valid,
        permissions: [granted(Action::ListStreams), granted(Action::PutRecord), granted(Action::PutRecords)],
        trouble: None,
    }
}

/// A report in which the credentials are refused.
pub(super) fn refused_report(message: &str) -> ProbeReport {
    let unknown = |action| Permission { action, granted: Ternary::Unknown, message: "not asked".to_owned() };
    ProbeReport {
        stream: None,
        exists: Ternary::Unknown,
        credentials: CredentialFinding::Refused { message: message.to_owned() },
        permissions: [unknown(Action::ListStreams), unknown(Action::PutRecord), unknown(Action::PutRecords)],
        trouble: None,
    }
}

/// A report in which the puts are denied.
pub(super) fn denied_report() -> ProbeReport {
    let mut report = report();
    for permission in &mut report.permissions[1..] {
        permission.granted = Ternary::False;
        permission.message = "AccessDeniedException: not authorized".to_owned();
    }
    report
}

/// A dataflow that runs `mapping`, with nothing to do and its history exported.
pub(super) fn progress(mapping: Arc<MappingSpec>, now: Timestamp) -> Progress {
    let backfills = mapping
        .audiences
        .iter()
        .map(|audience| AudienceBackfill {
            mapped_at: 1,
            namespace: audience.namespace.clone(),
            id: audience.id.clone(),
            merge_policy_id: audience.merge_policy_id.clone(),
            state: BackfillState::Completed,
            done: 10,
            total: Some(10),
            requested_at: at(0),
            started_at: Some(at(0)),
            completed_at: Some(at(1)),
        })
        .collect();
    Progress {
        at: now,
        mapping,
        position: 10,
        head: 10,
        counters: Counters::default(),
        runs: vec![Run { start: at(0), counters: Counters::default() }],
        backfills,
        delivery: Delivery::Idle,
        dead_letters: 0,
        oldest_dead_letter: None,
        last_export: None,
        lag: Duration::ZERO,
        latency_p95: None,
        rate: 0.0,
        byte_rate: 0.0,
        busy: false,
        resync: None,
        positions_lost: 0,
    }
}
