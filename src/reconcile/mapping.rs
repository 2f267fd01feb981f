//! Pure decisions: from an activation and its destination to the mapping that its dataflow runs, with the times at which each
//! audience was mapped (`semantics 4.8`).

use jiff::Timestamp;

use super::inventory::ObjectKey;
use crate::api::Moment;
use crate::api::activation::{Audience, AudienceStatus, MembershipScope, OnDelete};
use crate::api::destination::PartitionKeyFrom;
use crate::api::{AudienceActivation, KinesisDestination};
use crate::export::MappingSpec;
use crate::export::mapping::{MappedAttribute, MappedAudience, Scope, TriggerSwitches};
use crate::profile::entity;

/// The mapping of `activation` to `destination`.
///
/// `previous` is the mapping of the checkpoint, where there is one. It alone says what is mapped already: an audience that it
/// lacks, or holds under another merge policy, is mapped now, whatever the status still tells of an older mapping. Where there
/// is no checkpoint, the status says it. Of two known creations the earlier counts, of two edits the later.
///
/// `now` is the moment of a new or edited entry, kept to the millisecond as the status keeps it. Without it (a preview) what
/// is not known stays unknown.
pub fn mapping_spec(
    activation: &AudienceActivation,
    destination: &KinesisDestination,
    previous: Option<&MappingSpec>,
    now: Option<Timestamp>,
) -> MappingSpec {
    let spec = &activation.spec;
    let now = now.map(whole_millis);
    let told = activation.status.as_ref().map_or(&[][..], |status| &status.audiences);
    let audiences = spec
        .audiences
        .iter()
        .map(|audience| mapped_audience(audience, spec.merge_policy_of(audience), told, previous, now))
        .collect();
    let partition_key = &destination.spec.partition_key;
    MappingSpec {
        activation: ObjectKey::of(activation).to_string(),
        audiences,
        attributes: spec
            .mapped_attributes
            .iter()
            .map(|attribute| MappedAttribute { path: attribute.path.clone(), required: attribute.required })
            .collect(),
        triggers: TriggerSwitches {
            audiences: spec.triggers.audiences,
            attributes: spec.triggers.attributes,
            identities: spec.triggers.identities,
            suppress_unchanged: spec.triggers.suppress_unchanged,
        },
        scope: match spec.segment_membership.scope {
            MembershipScope::SameMergePolicy => Scope::SameMergePolicy,
            MembershipScope::Mapped => Scope::Mapped,
        },
        include_segment_names: destination.spec.include_segment_names,
        include_segment_timestamps: destination.spec.include_segment_timestamps,
        metadata: spec.record.metadata,
        exit_on_delete: spec.on_delete == OnDelete::Exit,
        partition_key_namespace: match partition_key.from {
            PartitionKeyFrom::ProfileId => None,
            PartitionKeyFrom::Identity => {
                partition_key.namespace.as_deref().map(|name| entity::lower_case(name.into()).into_owned())
            }
        },
    }
}

fn mapped_audience(
    audience: &Audience,
    merge_policy_id: &str,
    told: &[AudienceStatus],
    previous: Option<&MappingSpec>,
    now: Option<Timestamp>,
) -> MappedAudience {
    let mut mapped = MappedAudience {
        namespace: audience.namespace.clone(),
        id: audience.id.clone(),
        merge_policy_id: merge_policy_id.to_owned(),
        name: audience.name.clone(),
        description: audience.description.clone(),
        created_at: audience.created_at.map(Timestamp::from),
        updated_at: audience.updated_at.map(Timestamp::from),
        mapping_created_at: now,
        mapping_updated_at: now,
    };
    let told = told.iter().find(|told| told.namespace == audience.namespace && told.id == audience.id);
    let told_created = told.map(|told| Timestamp::from(told.mapping_created_at));
    let told_updated = told.map(|told| Timestamp::from(told.mapping_updated_at));
    match previous {
        None => {
            mapped.mapping_created_at = told_created.or(now);
            mapped.mapping_updated_at = told_updated.or(now);
        }
        Some(previous) => {
            if let Some(before) = previous.audiences.iter().find(|before| same_mapping(before, &mapped)) {
                mapped.mapping_created_at = both(before.mapping_created_at, told_created, Timestamp::min).or(now);
                let known = both(before.mapping_updated_at, told_updated, Timestamp::max);
                mapped.mapping_updated_at = if edited(before, &mapped) { now.or(known) } else { known.or(now) };
            }
        }
    }
    mapped
}

/// Another merge policy makes another mapping of the same audience.
fn same_mapping(before: &MappedAudience, after: &MappedAudience) -> bool {
    before.namespace == after.namespace && before.id == after.id && before.merge_policy_id == after.merge_policy_id
}

/// Whether the entry in the spec says something else than before.
fn edited(before: &MappedAudience, after: &MappedAudience) -> bool {
    before.name != after.name
        || before.description != after.description
        || before.created_at != after.created_at
        || before.updated_at != after.updated_at
}

fn both(
    a: Option<Timestamp>,
    b: Option<Timestamp>,
    choose: fn(Timestamp, Timestamp) -> Timestamp,
) -> Option<Timestamp> {
    match (a, b) {
        (Some(a), Some(b)) => Some(choose(a, b)),
        (one, other) => one.or(other),
    }
}

/// The precision of the status, so that the same moment compares equal wherever it is read.
fn whole_millis(time: Timestamp) -> Timestamp {
    Moment::from(time).into()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use serde_json::{Value, json};

    use super::*;

    fn at(second: u32) -> Timestamp {
        format!("2026-01-02T03:04:{second:02}Z").parse().unwrap()
    }

    fn destination(spec: Value) -> KinesisDestination {
        let mut whole = json!({"region": "eu-west-1", "stream": {"name": "profiles"}, "credentials": {"ambient": {}}});
        whole.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        serde_json::from_value(json!({
            "apiVersion": "activation.dev/v1alpha1", "kind": "KinesisDestination",
            "metadata": {"name": "events", "namespace": "marketing"}, "spec": whole,
        }))
        .unwrap()
    }

    fn activation(audiences: Value, told: Value) -> AudienceActivation {
        serde_json::from_value(json!({
            "apiVersion": "activation.dev/v1alpha1", "kind": "AudienceActivation",
            "metadata": {"name": "vip", "namespace": "marketing"},
            "spec": {"destinationRef": {"name": "events"}, "audiences": audiences},
            "status": {"audiences": told},
        }))
        .unwrap()
    }

    fn told(created: u32, updated: u32) -> Value {
        json!([{"namespace": "ups", "id": "a1", "mappingCreatedAt": at(created), "mappingUpdatedAt": at(updated)}])
    }

    fn map(activation: &AudienceActivation, previous: Option<&MappingSpec>, now: Option<Timestamp>) -> MappingSpec {
        mapping_spec(activation, &destination(json!({})), previous, now)
    }

    fn times(spec: &MappingSpec) -> (Option<Timestamp>, Option<Timestamp>) {
        let audience = spec.audiences.first().unwrap();
        (audience.mapping_created_at, audience.mapping_updated_at)
    }

    #[test]
    fn a_new_audience_is_mapped_now() {
        let mapped = map(&activation(json!([{"id": "a1"}]), json!([])), None, Some(at(1)));
        assert_eq!(times(&mapped), (Some(at(1)), Some(at(1))));
        let second = map(&activation(json!([{"id": "a2"}, {"id": "a1"}]), json!([])), Some(&mapped), Some(at(9)));
        assert_eq!(times(&second), (Some(at(9)), Some(at(9))));
        assert_eq!(second.audiences.last(), mapped.audiences.first());
    }

    #[test]
    fn mapping_times_survive_restarts_and_reapplies() {
        let activation = activation(json!([{"id": "a1", "name": "VIP"}]), json!([]));
        let first = map(&activation, None, Some(at(1)));
        assert_eq!(map(&activation, Some(&first), Some(at(9))), first);
    }

    #[test]
    fn without_a_checkpoint_the_status_tells_the_mapping_times() {
        let activation = activation(json!([{"id": "a1"}]), told(3, 4));
        assert_eq!(times(&map(&activation, None, Some(at(9)))), (Some(at(3)), Some(at(4))));
    }

    #[test]
    fn of_checkpoint_and_status_the_earlier_creation_and_the_later_edit_win() {
        let checkpoint = map(&activation(json!([{"id": "a1"}]), json!([])), None, Some(at(5)));
        for (status, expected) in [(told(3, 4), (3, 5)), (told(6, 7), (5, 7)), (told(5, 5), (5, 5))] {
            let mapped = map(&activation(json!([{"id": "a1"}]), status), Some(&checkpoint), Some(at(9)));
            assert_eq!(times(&mapped), (Some(at(expected.0)), Some(at(expected.1))));
        }
    }

    #[test]
    fn each_edit_of_an_entry_is_the_last_change_of_its_mapping() {
        let before = json!({"id": "a1", "name": "VIP", "description": "d", "createdAt": at(10), "updatedAt": at(11)});
        let first = map(&activation(json!([before]), json!([])), None, Some(at(1)));
        let edits = [
            ("name", json!("Very important")),
            ("name", Value::Null),
            ("description", json!("other")),
            ("createdAt", json!(at(12))),
            ("updatedAt", json!(at(12))),
        ];
        for (field, value) in edits {
            let mut entry = before.clone();
            entry[field] = value;
            let mapped = map(&activation(json!([entry]), told(1, 1)), Some(&first), Some(at(9)));
            assert_eq!(times(&mapped), (Some(at(1)), Some(at(9))), "{field}");
        }
    }

    #[test]
    fn unmapped_and_mapped_again_is_a_new_mapping_even_where_the_status_is_behind() {
        let with = activation(json!([{"id": "a1"}]), told(1, 1));
        let without = map(&activation(json!([{"id": "a2"}]), told(1, 1)), Some(&map(&with, None, None)), Some(at(5)));
        assert_eq!(times(&map(&with, Some(&without), Some(at(9)))), (Some(at(9)), Some(at(9))));
    }

    #[test]
    fn another_merge_policy_is_a_new_mapping() {
        let first = map(&activation(json!([{"id": "a1"}]), json!([])), None, Some(at(1)));
        let own = activation(json!([{"id": "a1", "mergePolicyId": "strict"}]), told(1, 1));
        assert_eq!(times(&map(&own, Some(&first), Some(at(9)))), (Some(at(9)), Some(at(9))));
        let mut inherited = activation(json!([{"id": "a1"}]), told(1, 1));
        inherited.spec.merge_policy_id = "strict".to_owned();
        assert_eq!(times(&map(&inherited, Some(&first), Some(at(9)))), (Some(at(9)), Some(at(9))));
    }

    #[test]
    fn an_audience_of_another_namespace_is_another_audience() {
        let first = map(&activation(json!([{"id": "a1"}]), json!([])), None, Some(at(1)));
        let uploaded = activation(json!([{"id": "a1", "namespace": "CustomerAudienceUpload"}]), told(1, 1));
        assert_eq!(times(&map(&uploaded, Some(&first), Some(at(9)))), (Some(at(9)), Some(at(9))));
    }

    #[test]
    fn a_preview_leaves_unknown_times_unknown() {
        assert_eq!(times(&map(&activation(json!([{"id": "a1"}]), json!([])), None, None)), (None, None));
        let known = activation(json!([{"id": "a1"}]), told(3, 4));
        assert_eq!(times(&map(&known, None, None)), (Some(at(3)), Some(at(4))));
    }

    #[test]
    fn a_moment_is_kept_as_the_status_keeps_it() {
        let now: Timestamp = "2026-01-02T03:04:05.123456789Z".parse().unwrap();
        let mapped = map(&activation(json!([{"id": "a1"}]), json!([])), None, Some(now));
        assert_eq!(times(&mapped).0.unwrap().to_string(), "2026-01-02T03:04:05.123Z");
    }

    #[test]
    fn every_field_that_shapes_records_is_taken_over() {
        let activation: AudienceActivation = serde_json::from_value(json!({
            "apiVersion": "activation.dev/v1alpha1", "kind": "AudienceActivation", "metadata": {"name": "vip"},
            "spec": {
                "destinationRef": {"name": "events"}, "mergePolicyId": "loose",
                "audiences": [{"id": "a1"}, {"namespace": "x", "id": "a2", "mergePolicyId": "strict"}],
                "mappedAttributes": [{"path": "b"}, {"path": "a.c", "required": true}],
                "triggers": {"audiences": true, "attributes": false, "identities": true, "suppressUnchanged": true},
                "segmentMembership": {"scope": "Mapped"}, "record": {"metadata": true}, "onDelete": "Exit",
            },
        }))
        .unwrap();
        let destination = destination(json!({
            "includeSegmentNames": true, "partitionKey": {"from": "Identity", "namespace": "Email_LC_SHA256"},
        }));
        let mapped = mapping_spec(&activation, &destination, None, None);
        assert_eq!(mapped.activation, "default/vip");
        let policies: Vec<_> =
            mapped.audiences.iter().map(|a| (a.namespace.as_str(), a.merge_policy_id.as_str())).collect();
        assert_eq!(policies, [("ups", "loose"), ("x", "strict")]);
        let attributes: Vec<_> = mapped.attributes.iter().map(|a| (a.path.as_str(), a.required)).collect();
        assert_eq!(attributes, [("b", false), ("a.c", true)]);
        assert_eq!(
            mapped.triggers,
            TriggerSwitches { audiences: true, attributes: false, identities: true, suppress_unchanged: true }
        );
        assert_eq!((mapped.scope, mapped.metadata, mapped.exit_on_delete), (Scope::Mapped, true, true));
        assert_eq!((mapped.include_segment_names, mapped.include_segment_timestamps), (true, false));
        assert_eq!(mapped.partition_key_namespace.as_deref(), Some("email_lc_sha256"));
    }
}
