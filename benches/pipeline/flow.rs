//! A dataflow as production runs it: from the two resources, by the same validation, with the defaults of the schema.

use activation_operator::dataflow::Plan;
use activation_operator::kinesis::client::{HttpPool, Proxy, SharedClient, StreamClient};
use activation_operator::kinesis::target::Target;
use activation_operator::reconcile::inventory::{Inventory, ObjectKey, Secret};
use activation_operator::reconcile::validate::{ProcessPolicy, destination};
use activation_operator::reconcile::{dereference, mapping};
use serde_json::json;

use crate::corpus;

pub(crate) const STREAM: &str = "profiles";
pub(crate) const KEY: &str = "test";
pub(crate) const REGION: &str = "us-east-1";

/// What runs, and where to.
pub(crate) struct Flow {
    pub(crate) plan: Plan,
    pub(crate) target: Target,
}

impl Flow {
    /// To the Kinesis at `url`; with `_activation` in the records where `metadata` is asked for.
    pub(crate) fn new(url: &str, metadata: bool) -> Self {
        let destination = json!({
            "metadata": {"namespace": "marketing", "name": "events"},
            "spec": {"region": REGION, "stream": {"name": STREAM}, "credentials": {"secretRef": {"name": "aws"}},
                     "endpoint": {"url": url}},
        });
        let paths: Vec<_> = corpus::mapped_paths().into_iter().map(|path| json!({"path": path})).collect();
        let activation = json!({
            "metadata": {"namespace": "marketing", "name": "vip"},
            "spec": {"destinationRef": {"name": "events"}, "audiences": [{"id": "vip-customers"}],
                     "mappedAttributes": paths, "record": {"metadata": metadata}},
        });
        let mut inventory = Inventory::default();
        let (destination_key, activation_key) =
            (ObjectKey::new("marketing", "events"), ObjectKey::new("marketing", "vip"));
        let with_kind = |mut object: serde_json::Value, kind: &str| {
            object["apiVersion"] = "activation.dev/v1alpha1".into();
            object["kind"] = kind.into();
            object
        };
        inventory.destinations.insert(
            destination_key.clone(),
            serde_json::from_value(with_kind(destination, "KinesisDestination")).unwrap(),
        );
        inventory.activations.insert(
            activation_key.clone(),
            serde_json::from_value(with_kind(activation, "AudienceActivation")).unwrap(),
        );
        let keys = ["accessKeyId", "secretAccessKey"].map(|name| (name.to_owned(), KEY.as_bytes().to_vec()));
        let secret = Secret { data: keys.into(), resource_version: "1".to_owned() };
        inventory.secrets.insert(ObjectKey::new("marketing", "aws"), secret);

        let policy = ProcessPolicy { allow_internal_endpoints: true, ..ProcessPolicy::default() };
        let found = dereference::destination(&inventory, &destination_key).unwrap();
        let verdict = destination::validate(&found, &policy);
        let valid = verdict.valid.unwrap_or_else(|| panic!("{:?}", verdict.problems));
        let mapping = mapping::mapping_spec(
            &inventory.activations[&activation_key],
            &inventory.destinations[&destination_key],
            None,
            Some(jiff::Timestamp::now()),
        );
        let plan = Plan {
            name: activation_key.to_string(),
            mapping,
            // Only live changes are measured.
            backfill: false,
            backfill_records_per_second: None,
            sender: valid.sender,
            resync: None,
            resync_lost_position: false,
        };
        Self { plan, target: valid.target }
    }

    /// A client, with connections of its own.
    pub(crate) async fn client(&self) -> SharedClient {
        let pool = HttpPool::new(Proxy::Direct).unwrap();
        SharedClient::new(StreamClient::connect(&self.target, &pool).await)
    }
}
