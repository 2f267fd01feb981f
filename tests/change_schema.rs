//! The published schema of a change holds for what the hub writes, and says what the reader asks for.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use activation_operator::export::Mapping;
use activation_operator::export::mapping::{MappingSpec, Scope, TriggerSwitches};
use activation_operator::export::projection;
use activation_operator::profile::apply;
use activation_operator::profile::change::Change;
use activation_operator::profile::update::Update;
use boon::{Compiler, SchemaIndex, Schemas};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

struct Schema {
    schemas: Schemas,
    index: SchemaIndex,
}

impl Schema {
    fn published() -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/change.schema.json");
        let schema: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        let (mut schemas, mut compiler) = (Schemas::new(), Compiler::new());
        compiler.enable_format_assertions();
        compiler.add_resource("change.schema.json", schema).unwrap();
        let index = compiler.compile("change.schema.json", &mut schemas).unwrap();
        Self { schemas, index }
    }

    fn judge(&self, change: &Value) -> Result<(), String> {
        self.schemas.validate(change, self.index).map_err(|error| format!("{error:#}"))
    }
}

/// Every change that the updates of the cases make, each update a day after the one before.
fn changes() -> Vec<String> {
    let mut changes = Vec::new();
    for file in ["records.json", "triggers.json", "updates.json"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases").join(file);
        let cases: Vec<Value> = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        for case in cases {
            let mut profiles: HashMap<(String, String), String> = HashMap::new();
            let mut now: Timestamp = case["now"].as_str().unwrap().parse().unwrap();
            for update in case["updates"].as_array().unwrap() {
                now += SignedDuration::from_hours(24);
                let line = update.to_string();
                let Ok(update) = Update::parse(line.as_bytes()) else { continue };
                let key = (update.merge_policy_id.to_string(), update.profile_id.to_string());
                let before = profiles.get(&key).map(String::as_str);
                let Some(applied) = apply::apply(before, update, 1, now).unwrap() else { continue };
                changes.push(String::from_utf8(applied.change).unwrap());
                if applied.deleted {
                    profiles.remove(&key);
                } else {
                    profiles.insert(key, String::from_utf8(applied.entity).unwrap());
                }
            }
        }
    }
    changes
}

#[test]
fn what_the_hub_writes_is_valid() {
    let schema = Schema::published();
    let changes = changes();
    for change in &changes {
        schema.judge(&serde_json::from_str(change).unwrap()).unwrap_or_else(|error| panic!("{change}\n{error}"));
    }
    // The cases must reach what the schema speaks of.
    for member in ["\"exitedAt\"", "\"deleted\":true", "\"from\":null", "\"from\":\"realized\"", "\"primary\":true"] {
        assert!(changes.iter().any(|change| change.contains(member)), "no change holds {member}");
    }
}

/// Reads a change as a worker does: as far as a record of it needs.
fn reads(change: &Value) -> Result<(), String> {
    let spec = MappingSpec {
        activation: "marketing/vip".to_owned(),
        audiences: Vec::new(),
        attributes: Vec::new(),
        triggers: TriggerSwitches { audiences: true, attributes: true, identities: true, suppress_unchanged: false },
        scope: Scope::SameMergePolicy,
        include_segment_names: false,
        include_segment_timestamps: false,
        metadata: false,
        exit_on_delete: false,
        partition_key_namespace: None,
    };
    let mapping = Mapping::compile(spec).unwrap();
    let text = change.to_string();
    let change = Change::parse(text.as_bytes()).map_err(|error| error.to_string())?;
    projection::live(&mapping, &change, Timestamp::UNIX_EPOCH).map(|_| ()).map_err(|error| error.to_string())
}

#[test]
fn the_schema_refuses_what_the_reader_refuses() {
    let whole = json!({
        "profileId": "p-1", "mergePolicyId": "default", "version": 42, "time": "2026-01-02T03:04:05Z",
        "changed": {
            "attributes": ["a.b"], "identities": true, "differing": [],
            "audiences": [{"namespace": "ups", "id": "a1", "from": null, "to": "realized"}],
        },
        "profile": {
            "a": {"b": 1},
            "identityMap": {"ecid": [{"id": "1"}]},
            "segmentMembership": {"ups": {"a1": {
                "status": "exited", "lastQualificationTime": "2026-01-02T03:04:05Z", "exitedAt": "2026-01-02T03:04:05.5Z"}}},
        },
        "deleted": false,
    });
    let schema = Schema::published();
    assert_eq!((schema.judge(&whole), reads(&whole)), (Ok(()), Ok(())));
    // Where, and what stands there instead; `None`: nothing.
    let refused = [
        ("/profileId", None),
        ("/profileId", Some(json!(""))),
        ("/profileId", Some(json!(7))),
        ("/mergePolicyId", None),
        ("/version", None),
        ("/version", Some(json!(-1))),
        ("/version", Some(json!("42"))),
        ("/time", None),
        ("/time", Some(json!("yesterday"))),
        ("/changed", None),
        ("/changed", Some(json!([]))),
        ("/changed/attributes", None),
        ("/changed/attributes", Some(json!([7]))),
        ("/changed/identities", None),
        ("/changed/identities", Some(json!("true"))),
        ("/changed/audiences", None),
        ("/changed/audiences/0", Some(json!("a1"))),
        ("/changed/audiences/0/namespace", None),
        ("/changed/audiences/0/id", None),
        ("/changed/audiences/0/from", Some(json!("gone"))),
        ("/changed/audiences/0/to", None),
        ("/changed/audiences/0/to", Some(json!("gone"))),
        ("/changed/differing", None),
        ("/profile", None),
        ("/profile", Some(json!([]))),
        ("/profile/identityMap", Some(json!([]))),
        ("/profile/identityMap/ecid", Some(json!({"id": "1"}))),
        ("/profile/identityMap/ecid/0", Some(json!("1"))),
        ("/profile/segmentMembership", Some(json!([]))),
        ("/profile/segmentMembership/ups", Some(json!([]))),
        ("/profile/segmentMembership/ups/a1/status", None),
        ("/profile/segmentMembership/ups/a1/status", Some(json!("gone"))),
        ("/profile/segmentMembership/ups/a1/lastQualificationTime", None),
        ("/profile/segmentMembership/ups/a1/lastQualificationTime", Some(json!("yesterday"))),
        ("/deleted", Some(json!("yes"))),
    ];
    for (place, value) in refused {
        let change = edited(&whole, place, value.clone());
        assert!(schema.judge(&change).is_err(), "the schema takes {place}: {value:?}");
        assert!(reads(&change).is_err(), "the reader takes {place}: {value:?}");
    }
    let taken = [
        ("/deleted", None),
        ("/deleted", Some(json!(true))),
        ("/changed/audiences/0/from", None),
        ("/changed/audiences/0/from", Some(json!("exited"))),
        ("/changed/audiences", Some(json!([]))),
        ("/profile/identityMap", None),
        ("/profile/segmentMembership", None),
        ("/profile/segmentMembership/ups/a1/exitedAt", None),
        ("/version", Some(json!(u64::MAX))),
        ("/unknown", Some(json!({"of": "a later version"}))),
    ];
    for (place, value) in taken {
        let change = edited(&whole, place, value.clone());
        assert_eq!((schema.judge(&change), reads(&change)), (Ok(()), Ok(())), "{place}: {value:?}");
    }
}

fn edited(whole: &Value, place: &str, value: Option<Value>) -> Value {
    let mut change = whole.clone();
    let (above, name) = place.rsplit_once('/').unwrap();
    match (change.pointer_mut(above).unwrap(), value) {
        (Value::Object(object), Some(value)) => {
            object.insert(name.to_owned(), value);
        }
        (Value::Object(object), None) => {
            object.remove(name).unwrap();
        }
        (Value::Array(array), Some(value)) => array[name.parse::<usize>().unwrap()] = value,
        (other, value) => panic!("{place}: {other} {value:?}"),
    }
    change
}
