//! Validate an activation: pure. The checks, and what may run of it. Whether its destination is usable is judged there.

use std::collections::BTreeMap;
use std::time::Duration;

use super::alert_rules::{self, AlertRules};
use super::{Problem, ProcessPolicy, Verdict};
use crate::api::KinesisDestination;
use crate::api::activation::Placement;
use crate::api::conditions::Reason;
use crate::api::destination::NamespacesFrom;
use crate::export::Mapping;
use crate::export::mapping::MappingError;
use crate::reconcile::dereference::DereferencedActivation;
use crate::reconcile::inventory::ObjectKey;
use crate::reconcile::mapping::mapping_spec;

/// A check: what it finds wrong, if anything.
pub type Check = fn(&DereferencedActivation<'_>, &ProcessPolicy) -> Vec<Problem>;

/// The checks, in the order in which a user should mend what they find.
pub const CHECKS: &[Check] = &[
    feed_is_served,
    placement_is_served,
    audiences_are_mapped_once,
    mapping_compiles,
    destination_exists,
    destination_allows_this_namespace,
    alerts_are_usable,
];

/// An activation that may run.
#[derive(Debug, Clone, PartialEq)]
pub struct ValidActivation {
    /// Its name.
    pub key: ObjectKey,
    /// Where it exports to.
    pub destination: ObjectKey,
    /// Its own alert rules.
    pub alerts: AlertRules,
    /// How history is exported.
    pub backfill: BackfillSettings,
    /// Whether it is paused.
    pub suspended: bool,
    /// The value of the annotation that asks for a resync.
    pub resync: Option<String>,
}

/// How the members of a newly mapped audience are exported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackfillSettings {
    /// Whether they are.
    pub enabled: bool,
    /// How long it may take.
    pub deadline: Duration,
    /// At most so many records a second.
    pub max_records_per_second: Option<u32>,
}

/// What all checks say, and what may run.
pub fn validate(found: &DereferencedActivation<'_>, policy: &ProcessPolicy) -> Verdict<ValidActivation> {
    let problems: Vec<Problem> = CHECKS.iter().flat_map(|check| check(found, policy)).collect();
    let blocked = problems.iter().any(Problem::blocks);
    Verdict { valid: (!blocked).then(|| build(found, policy)), problems }
}

/// The feed is one that this release reads.
fn feed_is_served(found: &DereferencedActivation<'_>, _: &ProcessPolicy) -> Vec<Problem> {
    if found.activation.spec.source.is_none() {
        return Vec::new();
    }
    let message =
        "spec.source: this release reads its own profile hub only; remove source, or use a release that reads Kafka";
    vec![Problem::refused(Reason::InvalidSpec, message)]
}

/// The workers run where this release can run them.
fn placement_is_served(found: &DereferencedActivation<'_>, _: &ProcessPolicy) -> Vec<Problem> {
    match found.activation.spec.workers.placement {
        Placement::Operator => Vec::new(),
        Placement::Pods => {
            let message =
                "spec.workers.placement: Pods needs a Kafka feed, which this release does not read; set it to Operator";
            vec![Problem::refused(Reason::InvalidSpec, message)]
        }
    }
}

/// At least one audience, and none of them twice.
fn audiences_are_mapped_once(found: &DereferencedActivation<'_>, _: &ProcessPolicy) -> Vec<Problem> {
    let mut seen = BTreeMap::new();
    let refuse = |message: String| Problem::refused(Reason::InvalidSpec, message);
    let mut problems = Vec::new();
    for (index, audience) in found.activation.spec.audiences.iter().enumerate() {
        if let Some(first) = seen.insert((&audience.namespace, &audience.id), index) {
            let (namespace, id) = (&audience.namespace, &audience.id);
            problems.push(refuse(format!(
                "spec.audiences[{index}]: {namespace}/{id} is already mapped by audiences[{first}]; remove one of them"
            )));
        }
    }
    if found.activation.spec.audiences.is_empty() {
        problems.push(refuse("spec.audiences: name at least one audience".to_owned()));
    }
    problems
}

/// Every path can be read, and none lies above or below another: more than CEL's budget allows to check.
fn mapping_compiles(found: &DereferencedActivation<'_>, _: &ProcessPolicy) -> Vec<Problem> {
    // What the destination adds to a mapping has no part in whether it compiles.
    let placeholder = KinesisDestination::default();
    let spec = mapping_spec(found.activation, found.destination.unwrap_or(&placeholder), None, None);
    match Mapping::compile(spec) {
        Ok(_) => Vec::new(),
        Err(error) => {
            let reason = match error {
                MappingError::Overlap { .. } => Reason::PathsOverlap,
                MappingError::Path { .. } | MappingError::Reserved { .. } => Reason::InvalidSpec,
            };
            vec![Problem::refused(reason, error.to_string())]
        }
    }
}

/// The destination is there.
fn destination_exists(found: &DereferencedActivation<'_>, _: &ProcessPolicy) -> Vec<Problem> {
    if found.destination.is_some() {
        return Vec::new();
    }
    let message = format!(
        "KinesisDestination {} does not exist; create it, or name another one in spec.destinationRef",
        found.destination_key
    );
    vec![Problem::missing(Reason::DestinationNotFound, message)]
}

/// The destination lets this namespace use it.
fn destination_allows_this_namespace(found: &DereferencedActivation<'_>, _: &ProcessPolicy) -> Vec<Problem> {
    let Some(destination) = found.destination else { return Vec::new() };
    let unknown = BTreeMap::new();
    let (own, namespace) = (&found.destination_key.namespace, &found.key.namespace);
    let labels = found.namespace_labels.unwrap_or(&unknown);
    if destination.spec.allowed_namespaces.allow(own, namespace, labels) {
        return Vec::new();
    }
    let allowed = &destination.spec.allowed_namespaces;
    if found.namespace_forbidden && allowed.from == NamespacesFrom::Selector {
        let message = format!(
            "KinesisDestination {} allows namespaces by their labels, and the operator may not read those of {namespace}; grant \
             its service account get on namespaces",
            found.destination_key
        );
        return vec![Problem::refused(Reason::Forbidden, message)];
    }
    let message = format!(
        "KinesisDestination {} does not allow activations of namespace {namespace}; have its spec.allowedNamespaces include it, \
         or use a destination of this namespace",
        found.destination_key
    );
    vec![Problem::refused(Reason::NamespaceNotAllowed, message)]
}

/// Thresholds can be read, webhooks posted to.
fn alerts_are_usable(found: &DereferencedActivation<'_>, policy: &ProcessPolicy) -> Vec<Problem> {
    alert_rules::problems(&found.key.namespace, &found.alerts, policy)
}

fn build(found: &DereferencedActivation<'_>, policy: &ProcessPolicy) -> ValidActivation {
    let spec = &found.activation.spec;
    let annotations = found.activation.metadata.annotations.as_ref();
    ValidActivation {
        key: found.key.clone(),
        destination: found.destination_key.clone(),
        alerts: alert_rules::rules(&found.key.namespace, &found.alerts, policy),
        backfill: BackfillSettings {
            enabled: spec.backfill.enabled,
            deadline: spec.backfill.deadline(),
            max_records_per_second: spec.backfill.max_records_per_second(),
        },
        suspended: spec.suspend,
        resync: annotations.and_then(|all| all.get(crate::api::RESYNC_REQUESTED_AT)).cloned(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use crate::api::AudienceActivation;
    use crate::api::activation::{Audience, Kafka, MappedAttribute, Source};
    use crate::api::destination::NamespaceSelector;
    use crate::reconcile::inventory::Inventory;
    use crate::reconcile::validate::Kind;
    use crate::reconcile::{dereference, samples};

    fn problems(inventory: &Inventory) -> Vec<(Reason, Kind)> {
        let key = inventory.activations.keys().next().unwrap();
        let verdict = validate(&dereference::activation(inventory, key).unwrap(), &ProcessPolicy::default());
        assert_eq!(verdict.valid.is_some(), !verdict.problems.iter().any(Problem::blocks));
        verdict.problems.iter().map(|problem| (problem.reason, problem.kind)).collect()
    }

    #[test]
    fn each_fault_of_a_spec_has_its_reason() {
        type Edit = fn(&mut AudienceActivation);
        let table: [(&str, Edit, Option<Reason>); 8] = [
            ("nothing", |_| {}, None),
            ("kafka", |a| a.spec.source = Some(Source { kafka: Some(Kafka::default()) }), Some(Reason::InvalidSpec)),
            ("pods", |a| a.spec.workers.placement = Placement::Pods, Some(Reason::InvalidSpec)),
            ("no audience", |a| a.spec.audiences.clear(), Some(Reason::InvalidSpec)),
            ("twice", |a| a.spec.audiences.push(Audience::named("ups", "a1")), Some(Reason::InvalidSpec)),
            ("overlap", |a| a.spec.mapped_attributes.push(attribute("person")), Some(Reason::PathsOverlap)),
            ("no path", |a| a.spec.mapped_attributes.push(attribute("a..b")), Some(Reason::InvalidSpec)),
            ("alert", |a| a.spec.alerts = samples::rules("DeadLettersPresent", "none"), Some(Reason::InvalidAlert)),
        ];
        for (name, edit, expected) in table {
            let mut inventory = samples::inventory();
            edit(inventory.activations.get_mut(&samples::activation_key()).unwrap());
            let expected: Vec<_> = expected.map(|reason| (reason, Kind::Refused)).into_iter().collect();
            assert_eq!(problems(&inventory), expected, "{name}");
        }
    }

    fn attribute(path: &str) -> MappedAttribute {
        MappedAttribute { path: path.to_owned(), required: false }
    }

    #[test]
    fn a_destination_that_is_not_there_is_missing() {
        let mut inventory = samples::inventory();
        inventory.destinations.clear();
        assert_eq!(problems(&inventory), [(Reason::DestinationNotFound, Kind::Missing)]);
    }

    #[test]
    fn another_namespace_needs_the_permission_of_the_destination() {
        let mut inventory = samples::inventory();
        let mut activation = inventory.activations.remove(&samples::activation_key()).unwrap();
        activation.metadata.namespace = Some("crm".to_owned());
        activation.spec.destination_ref.namespace = Some("shop".to_owned());
        inventory.activations.insert(ObjectKey::new("crm", "vip"), activation);
        assert_eq!(problems(&inventory), [(Reason::NamespaceNotAllowed, Kind::Refused)]);
        let allowed = &mut samples::destination_of(&mut inventory).spec.allowed_namespaces;
        allowed.from = NamespacesFrom::Selector;
        allowed.selector = Some(NamespaceSelector {
            match_labels: [("team".to_owned(), "crm".to_owned())].into(),
            match_expressions: Vec::new(),
        });
        assert_eq!(problems(&inventory), [(Reason::NamespaceNotAllowed, Kind::Refused)]);
        inventory.forbidden_namespaces.insert("crm".to_owned());
        assert_eq!(problems(&inventory), [(Reason::Forbidden, Kind::Refused)]);
        inventory.forbidden_namespaces.clear();
        inventory.namespaces.insert("crm".to_owned(), [("team".to_owned(), "crm".to_owned())].into());
        assert_eq!(problems(&inventory), []);
    }
}
