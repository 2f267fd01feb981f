//! The whole way through what others have written: the binary sends into `kinesis-local`, and boto3 reads what landed there.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::collections::BTreeMap;
use std::process::Stdio;

use serde_json::{Value, json};
use support::independent::read_back;
use support::operator::{Operator, Place, ndjson};
use support::servers::{self, KinesisLocal};

const PROFILES: usize = 150;
const ROUNDS: usize = 8;

fn manifests(url: &str) -> String {
    format!(
        r#"
apiVersion: v1
kind: Secret
metadata: {{name: aws, namespace: marketing}}
stringData: {{accessKeyId: test, secretAccessKey: test}}
---
apiVersion: activation.dev/v1alpha1
kind: KinesisDestination
metadata: {{name: events, namespace: marketing}}
spec:
  region: us-east-1
  stream: {{name: profiles}}
  credentials: {{secretRef: {{name: aws}}}}
  endpoint: {{url: "{url}"}}
---
apiVersion: activation.dev/v1alpha1
kind: AudienceActivation
metadata: {{name: vip, namespace: marketing}}
spec:
  destinationRef: {{name: events}}
  audiences: [{{id: a1}}]
  mappedAttributes: [{{path: person.name}}, {{path: loyalty.points}}]
  record: {{metadata: true}}
"#
    )
}

/// Every profile enters the audience, then collects points round by round; the last round sees some leave.
fn updates() -> String {
    let mut updates = Vec::new();
    for round in 0..ROUNDS {
        for profile in 0..PROFILES {
            let mut entity = json!({"loyalty": {"points": round}});
            if round == 0 {
                entity["person"] = json!({"name": {"first": "Zoë", "last": format!("№ {profile}")}});
                entity["segmentMembership"] = membership("realized");
            } else if round == ROUNDS - 1 && profile % 10 == 0 {
                entity["segmentMembership"] = membership("exited");
            }
            let header = json!({"profileId": format!("customer-{profile}")});
            updates.push(json!({"header": header, "body": {"xdmEntity": entity}}));
        }
    }
    ndjson(&updates)
}

fn membership(status: &str) -> Value {
    json!({"ups": {"a1": {"status": status, "lastQualificationTime": "2026-01-02T03:04:05Z"}}})
}

#[tokio::test(flavor = "multi_thread")]
async fn what_standalone_sends_is_read_back_whole_as_json_and_in_order_per_profile() {
    let server = KinesisLocal::start().await;
    servers::create_stream(&server.url(), "profiles", 3).await;
    let place = Place::new();
    place.declare("all.yaml", &manifests(&server.url()));
    place.write("updates.ndjson", &updates());
    let ended = Operator::spawn(&place, &["--updates", "updates.ndjson", "--until-idle"], Stdio::null()).ended();
    assert_eq!(ended.code, Some(0), "{ended:?}");

    let mut told: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    let mut shards: BTreeMap<String, String> = BTreeMap::new();
    for record in read_back(&server.url(), "profiles").await {
        assert!(record.json.is_object(), "no JSON: {}", record.text);
        assert_eq!(record.json["_activation"]["profileId"], record.partition_key.as_str());
        let shard = shards.entry(record.partition_key.clone()).or_insert_with(|| record.shard.clone());
        assert_eq!(*shard, record.shard, "a profile went to two shards");
        told.entry(record.partition_key).or_default().push(record.json);
    }
    assert_eq!(told.len(), PROFILES);
    for profile in 0..PROFILES {
        let records = &told[&format!("customer-{profile}")];
        let points: Vec<_> =
            records.iter().map(|record| record["loyalty"]["points"].as_u64().unwrap() as usize).collect();
        assert_eq!(points, (0..ROUNDS).collect::<Vec<_>>(), "customer-{profile}");
        let leaves = profile % 10 == 0;
        for (round, record) in records.iter().enumerate() {
            assert_eq!(record["person"]["name"], json!({"first": "Zoë", "last": format!("№ {profile}")}));
            let status = if leaves && round == ROUNDS - 1 { "exited" } else { "realized" };
            assert_eq!(record["segmentMembership"], membership(status), "customer-{profile}, round {round}");
        }
    }
}
