//! Pure decisions: what a list of updates would export, by the same steps as in a running dataflow, with every profile in
//! memory.
//!
//! A preview asks for no stream, no Secret, no right and no namespace's permission, and it shows what a suspended activation
//! would export too: it is there to try a mapping before it is applied. Each activation counts as mapped before the first
//! update, so nothing is backfilled.

use std::collections::HashMap;

use jiff::Timestamp;

use super::manifests::ManifestSet;
use crate::api::AudienceActivation;
use crate::export::mapping::{Mapping, MappingError};
use crate::export::projection::{self, Export, Projected};
use crate::profile::apply::{self, ApplyError};
use crate::profile::change::{Change, ChangeError};
use crate::profile::json;
use crate::profile::update::{Update, UpdateError};
use crate::reconcile::inventory::ObjectKey;
use crate::reconcile::mapping::mapping_spec;

/// Why there is nothing to preview.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PreviewError {
    /// No activation was found.
    #[error("there is no AudienceActivation among the manifests: add the one to preview")]
    NoActivation,
    /// An activation's destination was not found.
    #[error(
        "AudienceActivation {activation}: spec.destinationRef: KinesisDestination {destination} is not among the manifests: add it"
    )]
    NoDestination {
        /// Which activation.
        activation: ObjectKey,
        /// What it refers to.
        destination: ObjectKey,
    },
    /// An activation's mapping cannot be compiled.
    #[error("AudienceActivation {activation}: {error}")]
    Mapping {
        /// Which activation.
        activation: ObjectKey,
        /// What is wrong with it.
        error: MappingError,
    },
}

/// Why an update was not taken up (`semantics 1.8`).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// The line is no update.
    #[error(transparent)]
    Update(#[from] UpdateError),
    /// The update cannot be applied.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// What it made cannot be read back.
    #[error(transparent)]
    Change(#[from] ChangeError),
}

/// The profiles and the dataflows of a preview.
#[derive(Debug)]
pub struct Preview {
    dataflows: Vec<Dataflow>,
    /// The entities by merge policy and profile id.
    profiles: HashMap<(String, String), Vec<u8>>,
    next_version: u64,
    last_receipt: Timestamp,
    excluded: u64,
}

#[derive(Debug)]
struct Dataflow {
    activation: String,
    stream: String,
    mapping: Mapping,
}

/// One record that an activation would export.
#[derive(Debug, PartialEq, Eq)]
pub struct Previewed<'a> {
    /// `namespace/name` of the activation.
    pub activation: &'a str,
    /// The name of the stream.
    pub stream: &'a str,
    /// The record, its key and its triggers.
    pub export: Export,
}

impl Preview {
    /// One dataflow per activation, in the order of the manifests, with no profile yet. All that keeps any of them from
    /// running is told.
    pub fn new(set: &ManifestSet) -> Result<Self, Vec<PreviewError>> {
        let (mut dataflows, mut errors) = (Vec::new(), Vec::new());
        for key in &set.order {
            if let Some(activation) = set.inventory.activations.get(key) {
                match dataflow(set, key, activation) {
                    Ok(dataflow) => dataflows.push(dataflow),
                    Err(error) => errors.push(error),
                }
            }
        }
        if dataflows.is_empty() && errors.is_empty() {
            errors.push(PreviewError::NoActivation);
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        let profiles = HashMap::new();
        Ok(Self { dataflows, profiles, next_version: 1, last_receipt: Timestamp::UNIX_EPOCH, excluded: 0 })
    }

    /// Takes up one update, received and exported at `now`: what it exports, by activation as listed. A refused update changes
    /// nothing.
    pub fn update(&mut self, line: &[u8], now: Timestamp) -> Result<Vec<Previewed<'_>>, LineError> {
        let update = Update::parse(line)?;
        let key = (update.merge_policy_id.to_string(), update.profile_id.to_string());
        let before =
            self.profiles.get(&key).map(|entity| json::text(entity)).transpose().map_err(ApplyError::Stored)?;
        let receipt = now.max(self.last_receipt);
        let Some(applied) = apply::apply(before, update, self.next_version, receipt)? else {
            return Ok(Vec::new());
        };
        let change = Change::parse(&applied.change)?;
        let (mut previewed, mut excluded) = (Vec::new(), 0);
        for Dataflow { activation, stream, mapping } in &self.dataflows {
            match projection::live(mapping, &change, now)? {
                Projected::Nothing => {}
                Projected::Excluded => excluded += 1,
                Projected::Export(export) => previewed.push(Previewed { activation, stream, export }),
            }
        }
        if applied.deleted {
            self.profiles.remove(&key);
        } else {
            self.profiles.insert(key, applied.entity);
        }
        self.next_version += 1;
        self.last_receipt = receipt;
        self.excluded += excluded;
        Ok(previewed)
    }

    /// How many exports were left out for lack of a required attribute (`semantics 4.10`).
    pub fn excluded(&self) -> u64 {
        self.excluded
    }
}

fn dataflow(set: &ManifestSet, key: &ObjectKey, activation: &AudienceActivation) -> Result<Dataflow, PreviewError> {
    let reference = &activation.spec.destination_ref;
    let wanted = ObjectKey::new(reference.namespace_or(&key.namespace), reference.name.as_str());
    let Some(destination) = set.inventory.destinations.get(&wanted) else {
        return Err(PreviewError::NoDestination { activation: key.clone(), destination: wanted });
    };
    let spec = mapping_spec(activation, destination, None, None);
    let mapping = Mapping::compile(spec).map_err(|error| PreviewError::Mapping { activation: key.clone(), error })?;
    // The rules of the manifest see to it that there is a stream.
    let stream = destination.spec.stream.stream_name().unwrap_or_default().to_owned();
    Ok(Dataflow { activation: key.to_string(), stream, mapping })
}

impl Previewed<'_> {
    /// Appends one line of JSON with its newline; the record stands in it byte for byte.
    pub fn write(&self, line: u64, out: &mut Vec<u8>) {
        out.extend_from_slice(format!("{{\"line\":{line},\"activation\":").as_bytes());
        json::write_string(out, self.activation);
        out.extend_from_slice(b",\"stream\":");
        json::write_string(out, self.stream);
        out.extend_from_slice(b",\"partitionKey\":");
        json::write_string(out, &self.export.partition_key);
        out.extend_from_slice(b",\"triggers\":[");
        for (position, name) in self.export.triggers.names().enumerate() {
            if position > 0 {
                out.push(b',');
            }
            json::write_string(out, name);
        }
        out.extend_from_slice(b"],\"record\":");
        out.extend_from_slice(&self.export.record);
        out.extend_from_slice(b"}\n");
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::needless_pass_by_value)]
    use serde_json::{Value, json};

    use super::*;

    const NOW: &str = "2026-02-01T00:00:00Z";

    fn set(spec: &Value, destinations: &[&str]) -> ManifestSet {
        let key = ObjectKey::new("marketing", "vip");
        let activation = serde_json::from_value(json!({
            "apiVersion": "activation.dev/v1alpha1", "kind": "AudienceActivation",
            "metadata": {"name": "vip", "namespace": "marketing"}, "spec": spec,
        }));
        let mut set = ManifestSet { order: vec![key.clone()], ..ManifestSet::default() };
        set.inventory.activations.insert(key, activation.unwrap());
        for name in destinations {
            let destination = serde_json::from_value(json!({
                "apiVersion": "activation.dev/v1alpha1", "kind": "KinesisDestination",
                "metadata": {"name": name, "namespace": "marketing"},
                "spec": {"region": "eu-west-1", "credentials": {"ambient": {}},
                         "stream": {"arn": "arn:aws:kinesis:eu-west-1:123456789012:stream/profiles"}},
            }));
            set.inventory.destinations.insert(ObjectKey::new("marketing", *name), destination.unwrap());
        }
        set
    }

    fn spec(more: Value) -> Value {
        let mut spec = json!({"destinationRef": {"name": "events"}, "audiences": [{"id": "a1"}], "mappedAttributes": [{"path": "n"}]});
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        spec
    }

    fn lines(preview: &mut Preview, line: &str) -> String {
        let mut out = Vec::new();
        for previewed in preview.update(line.as_bytes(), NOW.parse().unwrap()).unwrap() {
            previewed.write(1, &mut out);
        }
        String::from_utf8(out).unwrap()
    }

    const ENTRY: &str = r#"{"header":{"profileId":"p\"1"},"body":{"xdmEntity":{"n":1.50e+07,"segmentMembership":{"ups":{"a1":{"status":"realized","lastQualificationTime":"2026-01-02T03:04:05Z"}}}}}}"#;

    #[test]
    fn a_line_of_the_preview_holds_the_record_byte_for_byte() {
        let mut preview = Preview::new(&set(&spec(json!({})), &["events"])).unwrap();
        let line = lines(&mut preview, ENTRY);
        let expected = concat!(
            r#"{"line":1,"activation":"marketing/vip","stream":"profiles","partitionKey":"p\"1","triggers":["audience","attribute"],"#,
            r#""record":{"n":1.50e+07,"segmentMembership":{"ups":{"a1":{"lastQualificationTime":"2026-01-02T03:04:05Z","status":"realized"}}},"identityMap":{}}}"#,
            "\n"
        );
        assert_eq!(line, expected);
        assert!(serde_json::from_str::<Value>(&line).is_ok());
    }

    #[test]
    fn a_suspended_activation_is_previewed_all_the_same() {
        let mut preview = Preview::new(&set(&spec(json!({"suspend": true})), &["events"])).unwrap();
        assert_ne!(lines(&mut preview, ENTRY), "");
    }

    #[test]
    fn versions_count_changes_and_the_export_is_stamped_with_now() {
        let mut preview = Preview::new(&set(&spec(json!({"record": {"metadata": true}})), &["events"])).unwrap();
        let delete = r#"{"header":{"profileId":"p\"1","operation":"delete"},"body":{}}"#;
        assert_eq!(lines(&mut preview, delete), "");
        assert!(lines(&mut preview, ENTRY).contains(r#""version":1,"#));
        assert_eq!(lines(&mut preview, delete), "");
        let again = lines(&mut preview, ENTRY);
        assert!(again.contains(r#""version":3,"#) && again.contains(&format!(r#""exportedAt":"{NOW}""#)), "{again}");
    }

    #[test]
    fn what_is_excluded_is_counted() {
        let required = json!({"mappedAttributes": [{"path": "m", "required": true}]});
        let mut preview = Preview::new(&set(&spec(required), &["events"])).unwrap();
        assert_eq!((lines(&mut preview, ENTRY).as_str(), preview.excluded()), ("", 1));
    }

    #[test]
    fn a_refused_update_changes_nothing() {
        let mut preview = Preview::new(&set(&spec(json!({})), &["events"])).unwrap();
        let large = ENTRY.replace("1.50e+07", &format!("\"{}\"", "x".repeat((1 << 20) - 400)));
        assert_ne!(lines(&mut preview, &large), "");
        let more = ENTRY.replace("\"n\":1.50e+07", &format!("\"m\":\"{}\"", "x".repeat(1000)));
        let now: Timestamp = NOW.parse().unwrap();
        assert!(matches!(preview.update(more.as_bytes(), now), Err(LineError::Apply(ApplyError::TooLarge(_)))));
        assert!(matches!(preview.update(b"7", now), Err(LineError::Update(_))));
        assert_eq!(preview.next_version, 2);
    }

    #[test]
    fn what_keeps_a_preview_from_running_is_told_by_activation() {
        let told = |set: &ManifestSet| Preview::new(set).unwrap_err()[0].to_string();
        let missing = told(&set(&spec(json!({})), &["other"]));
        assert_eq!(
            missing,
            "AudienceActivation marketing/vip: spec.destinationRef: KinesisDestination marketing/events is not among the manifests: add it"
        );
        let overlap = told(&set(&spec(json!({"mappedAttributes": [{"path": "a"}, {"path": "a.b"}]})), &["events"]));
        assert!(overlap.starts_with("AudienceActivation marketing/vip: spec.mappedAttributes[1].path"), "{overlap}");
        assert!(told(&ManifestSet::default()).contains("no AudienceActivation"));
    }
}
