//! Pure: whether an API server would accept a manifest, asked without one, and what it would store.
//!
//! The steps are the server's, in its order, and so are the messages:
//! [`definitions`] (which resource is it, and what may stand in it), [`defaults`] (nulls dropped, unknown fields found,
//! defaults filled in), [`values`] (types, bounds, patterns), [`metadata`] (names and labels), [`keys`] (entries of a list
//! map are unique), [`rules`] (CEL). What cannot be checked is refused: nothing passes unseen.

mod defaults;
mod definitions;
mod keys;
mod metadata;
mod refusal;
mod rules;
mod schema;
mod values;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{AudienceActivation, KinesisDestination};
use definitions::Definition;
pub use refusal::Refusal;
use refusal::Refusals;

/// A manifest that would be accepted, with the defaults filled in.
#[derive(Debug, Clone, PartialEq)]
pub enum Resource {
    /// A `KinesisDestination`.
    Destination(Box<KinesisDestination>),
    /// An `AudienceActivation`.
    Activation(Box<AudienceActivation>),
}

/// Checks a manifest as an API server with strict field validation does, and types it.
///
/// A recorded `status` is kept, where a server would drop it: a preview takes the times of mappings from it. It must fit
/// the schema, but fields in it that are not known are left out in silence: another version may have written them.
pub fn check(manifest: &Value) -> Result<Resource, Vec<Refusal>> {
    let definition = definitions::find(manifest)?;
    let mut refusals = Refusals::default();
    let manifest = complete(definition, manifest, &mut refusals);
    values::check(&definition.schema, &manifest, "", &mut refusals);
    metadata::check(&manifest, &mut refusals);
    keys::check(&definition.schema, &manifest, "", &mut refusals);
    if !refusals.keep_rules_from_running() {
        rules::check(&definition.rules, &manifest, &mut refusals);
    }
    refusals.into_result()?;
    match definition.kind {
        definitions::Kind::Destination => typed(manifest).map(|typed| Resource::Destination(Box::new(typed))),
        definitions::Kind::Activation => typed(manifest).map(|typed| Resource::Activation(Box::new(typed))),
    }
}

fn complete(definition: &Definition, manifest: &Value, refusals: &mut Refusals) -> Value {
    let mut manifest = manifest.clone();
    if let Some(metadata) = manifest.get_mut("metadata").and_then(Value::as_object_mut) {
        // A server's own notes, of any form, in what was read from one.
        metadata.remove("managedFields");
    }
    let status =
        manifest.as_object_mut().and_then(|members| members.remove("status")).filter(|status| !status.is_null());
    defaults::complete(&definition.schema, &mut manifest, "", refusals);
    if let (Some(mut status), Some(schema)) = (status, definition.schema.properties.get("status")) {
        defaults::complete(schema, &mut status, "status", &mut Refusals::default());
        if let Some(members) = manifest.as_object_mut() {
            members.insert("status".to_owned(), status);
        }
    }
    manifest
}

/// The types accept what the schema accepts; where they do not, that is said, too.
fn typed<R: DeserializeOwned>(manifest: Value) -> Result<R, Vec<Refusal>> {
    serde_json::from_value(manifest).map_err(|error| vec![Refusal::new("", format!("cannot be read: {error}"))])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use serde_json::json;

    fn destination(spec: &Value) -> Value {
        json!({"apiVersion": "activation.dev/v1alpha1", "kind": "KinesisDestination", "metadata": {"name": "d"}, "spec": spec})
    }

    fn usual_spec() -> Value {
        json!({"region": "eu-west-1", "stream": {"name": "s"}, "credentials": {"secretRef": {"name": "aws"}}})
    }

    fn activation(status: Option<&Value>) -> Value {
        let mut manifest = json!({
            "apiVersion": "activation.dev/v1alpha1", "kind": "AudienceActivation", "metadata": {"name": "a"},
            "spec": {"destinationRef": {"name": "d"}, "audiences": [{"id": "a1"}]},
        });
        if let Some(status) = status {
            manifest["status"] = status.clone();
        }
        manifest
    }

    fn refused(manifest: &Value) -> Vec<String> {
        check(manifest).expect_err("it should be refused").iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_good_manifest_comes_out_typed_with_its_defaults_and_without_a_status() {
        let Resource::Destination(found) = check(&destination(&usual_spec())).unwrap() else { panic!("a destination") };
        assert_eq!(found.spec.delivery.max_retries(), 2);
        assert_eq!(found.spec.credentials.secret_ref.unwrap().access_key_id_key, "accessKeyId");
        assert_eq!(found.status, None);
        let Resource::Activation(found) = check(&activation(None)).unwrap() else { panic!("an activation") };
        assert_eq!(found.spec.audiences[0].namespace, "ups");
        assert_eq!(found.spec.merge_policy_id, "default");
    }

    #[test]
    fn a_recorded_status_is_kept_without_what_is_not_known() {
        let status = json!({"fromTheFuture": 1, "mappedAudiences": 1, "audiences": [
            {"namespace": "ups", "id": "a1", "mappingCreatedAt": "2026-01-02T03:04:05Z",
             "mappingUpdatedAt": "2026-01-02T03:04:05Z", "new": true}]});
        let Resource::Activation(found) = check(&activation(Some(&status))).unwrap() else { panic!("an activation") };
        let status = found.status.unwrap();
        assert_eq!(status.audiences[0].mapping_created_at.to_string(), "2026-01-02T03:04:05Z");
        assert_eq!(status.observed_generation, None);
    }

    #[test]
    fn a_recorded_status_that_does_not_fit_is_refused() {
        let status = json!({"audiences": [{"namespace": "ups", "id": "a1", "mappingCreatedAt": "yesterday",
            "mappingUpdatedAt": "2026-01-02T03:04:05Z"}]});
        let told = refused(&activation(Some(&status)));
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(
            told[0].starts_with("status.audiences[0].mappingCreatedAt: Invalid value: \"yesterday\": "),
            "{told:?}"
        );
        assert!(told[1].ends_with("must be of type date-time: \"yesterday\""), "{told:?}");
    }

    #[test]
    fn what_is_wrong_is_told_all_at_once() {
        let mut spec = usual_spec();
        spec["region"] = json!("Frankfurt");
        spec["delivery"] = json!({"maxRetries": 11, "linger": "1d"});
        spec["stream"] = json!({"name": "s", "arn": "arn:aws:kinesis:eu-west-1:123456789012:stream/s"});
        assert_eq!(
            refused(&destination(&spec)),
            [
                "spec.delivery.maxRetries: Invalid value: 11: spec.delivery.maxRetries in body should be less than or equal to 10",
                "spec.region: Invalid value: \"Frankfurt\": spec.region in body should match \
                 '^[a-z]{2,4}(-[a-z]+)+-[0-9]{1,2}$'",
                "spec: Invalid value: stream.arn names another region than region; make the two agree",
                "spec.delivery.linger: Invalid value: \"1d\": delivery.linger must be a duration from 0s to 10s, such as 50ms",
                "spec.stream: Invalid value: set exactly one of stream.name and stream.arn",
            ]
        );
    }

    #[test]
    fn rules_are_not_asked_about_what_has_no_shape() {
        let mut spec = usual_spec();
        spec["credentials"] = json!({"secretReff": {"name": "aws"}});
        assert_eq!(
            refused(&destination(&spec)),
            ["spec.credentials.secretReff: unknown field \"spec.credentials.secretReff\""]
        );
    }

    #[test]
    fn the_keys_of_a_list_map_are_unique_after_defaulting() {
        let mut manifest = activation(None);
        manifest["spec"]["audiences"] =
            json!([{"id": "a"}, {"id": "a", "namespace": "ups"}, {"id": "a", "namespace": "x"}]);
        assert_eq!(refused(&manifest), ["spec.audiences[1]: Duplicate value: {\"id\":\"a\",\"namespace\":\"ups\"}"]);
    }

    #[test]
    fn a_null_is_as_good_as_an_absent_field() {
        let mut manifest = destination(&usual_spec());
        manifest["metadata"]["creationTimestamp"] = Value::Null;
        manifest["status"] = Value::Null;
        manifest["spec"]["endpoint"] = Value::Null;
        manifest["spec"]["delivery"] = json!({"linger": null});
        let Resource::Destination(found) = check(&manifest).unwrap() else { panic!("a destination") };
        assert_eq!((found.spec.endpoint, found.spec.delivery.linger.as_str()), (None, "50ms"));
        manifest["spec"]["region"] = Value::Null;
        assert_eq!(refused(&manifest), ["spec.region: Required value"]);
    }

    #[test]
    fn what_is_no_resource_of_ours_is_refused_with_the_choices() {
        assert_eq!(
            refused(&json!({"apiVersion": "v1", "kind": "ConfigMap"})),
            [
                "apiVersion: Unsupported value: \"v1\": supported values: \"activation.dev/v1alpha1\"",
                "kind: Unsupported value: \"ConfigMap\": supported values: \"KinesisDestination\", \"AudienceActivation\"",
            ]
        );
        assert_eq!(refused(&json!({})), ["apiVersion: Required value", "kind: Required value"]);
        assert_eq!(refused(&json!([])), ["a manifest is an object with apiVersion, kind, metadata and spec"]);
    }
}
