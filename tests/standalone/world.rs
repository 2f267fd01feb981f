//! A Kinesis and a folder of manifests for it.

use kinesis_stub::{Config, KeySpec, StreamSpec, Stub};
use serde_json::{Value, json};

use crate::support::operator::{Operator, Place};

/// The access key that the manifests name at first, and its secret.
pub(crate) const KEY: (&str, &str) = ("AKIAFIRST", "hunter2-first-of-all");
/// Another.
pub(crate) const ROTATED: (&str, &str) = ("AKIASECOND", "hunter2-rotated");

pub(crate) struct World {
    pub(crate) stub: Stub,
    pub(crate) place: Place,
}

impl World {
    /// A Kinesis with the stream `profiles` and [`KEY`]; a folder with a Secret and the destination `events`.
    pub(crate) async fn new() -> Self {
        let world = Self::without_a_stream().await;
        world.stub.create_stream(&StreamSpec::new("profiles", 2)).unwrap();
        world
    }

    /// The same without the stream.
    pub(crate) async fn without_a_stream() -> Self {
        let config = Config { keys: vec![(KEY.0.to_owned(), KeySpec::new(KEY.1))], ..Config::default() };
        let world = Self { stub: Stub::start(config).await.unwrap(), place: Place::new() };
        world.place.declare("secret.yaml", &secret(KEY));
        world.place.declare("destination.yaml", &destination(&world.stub.url(), ""));
        world
    }

    /// Declares an activation in a file of its own.
    pub(crate) fn activate(&self, name: &str, audiences: &[&str], more: &str) {
        self.place.declare(&format!("{name}.yaml"), &activation(name, audiences, more));
    }

    /// Starts the process and waits until the activation `name` is ready.
    pub(crate) fn start(&self, name: &str) -> Operator<'_> {
        let mut operator = Operator::start(&self.place, &[]);
        operator.activation(name, "Ready", crate::support::operator::is_ready);
        operator
    }

    /// Every record of the stream, in its order.
    pub(crate) fn records(&self) -> Vec<Value> {
        self.stub.records().iter().map(|record| serde_json::from_slice(&record.bytes()).unwrap()).collect()
    }

    /// The `n` of each record of a profile, in the order of the stream.
    pub(crate) fn told(&self, profile: &str) -> Vec<i64> {
        let of = |record: &&Value| record["_activation"]["profileId"] == profile;
        self.records().iter().filter(of).map(|record| record["n"].as_i64().unwrap()).collect()
    }

    /// Waits until the stream holds so many records.
    pub(crate) fn until_records(&self, operator: &mut Operator<'_>, count: usize) -> Vec<Value> {
        operator.wait(&format!("record {count}"), || Some(self.records()).filter(|records| records.len() >= count))
    }
}

pub(crate) fn secret((id, secret): (&str, &str)) -> String {
    format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: aws, namespace: marketing}}\nstringData:\n  accessKeyId: {id}\n  secretAccessKey: {secret}\n"
    )
}

pub(crate) fn destination(url: &str, annotation: &str) -> String {
    let annotations = if annotation.is_empty() {
        String::new()
    } else {
        format!(", annotations: {{activation.dev/requested-at: {annotation:?}}}")
    };
    format!(
        "apiVersion: activation.dev/v1alpha1
kind: KinesisDestination
metadata: {{name: events, namespace: marketing{annotations}}}
spec:
  region: us-east-1
  stream: {{name: profiles}}
  credentials: {{secretRef: {{name: aws}}}}
  endpoint: {{url: \"{url}\"}}
  includeSegmentNames: true
"
    )
}

/// `audiences` as `id` or `id=name`; `more` are further lines of the spec.
pub(crate) fn activation(name: &str, audiences: &[&str], more: &str) -> String {
    let audiences: String = audiences
        .iter()
        .map(|audience| match audience.split_once('=') {
            Some((id, name)) => format!("    - {{id: {id}, name: {name}}}\n"),
            None => format!("    - {{id: {audience}}}\n"),
        })
        .collect();
    format!(
        "apiVersion: activation.dev/v1alpha1
kind: AudienceActivation
metadata: {{name: {name}, namespace: marketing}}
spec:
  destinationRef: {{name: events}}
  audiences:
{audiences}  mappedAttributes: [{{path: \"n\"}}]
  record: {{metadata: true}}
{more}"
    )
}

/// The profile becomes a member.
pub(crate) fn entry(profile: &str, audience: &str, n: i64) -> Value {
    json!({"header": {"profileId": profile}, "body": {"xdmEntity": {"n": n,
        "segmentMembership": {"ups": {audience: {"status": "realized", "lastQualificationTime": "2026-01-02T03:04:05Z"}}}}}})
}

/// A mapped attribute is written.
pub(crate) fn write(profile: &str, n: i64) -> Value {
    json!({"header": {"profileId": profile}, "body": {"xdmEntity": {"n": n}}})
}
