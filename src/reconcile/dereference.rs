//! Dereference: pure. From an inventory and a name to a resource with everything that it refers to. Judges nothing: what is
//! missing is told as missing.

use std::collections::BTreeMap;

use super::inventory::{Inventory, ObjectKey, Secret};
use crate::api::alerts::{AlertRule, AlertType};
use crate::api::{AudienceActivation, KinesisDestination};

/// A Secret that something refers to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum FoundSecret<'a> {
    /// It is there.
    Present(&'a Secret),
    /// It does not exist.
    Missing,
    /// The shell is forbidden to read it.
    Forbidden,
}

/// An alert rule, with the Secret of its webhook where it names one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DereferencedRule<'a> {
    /// The rule, as written.
    pub rule: &'a AlertRule,
    /// Its webhook's Secret.
    pub webhook: Option<FoundSecret<'a>>,
}

/// A destination with what it refers to.
#[derive(Debug, Clone, PartialEq)]
pub struct DereferencedDestination<'a> {
    /// Its name.
    pub key: &'a ObjectKey,
    /// The resource.
    pub destination: &'a KinesisDestination,
    /// The Secret of its credentials, where the spec names one.
    pub secret: Option<FoundSecret<'a>>,
    /// Its alert rules.
    pub alerts: Vec<DereferencedRule<'a>>,
}

/// An activation with what it refers to.
#[derive(Debug, Clone, PartialEq)]
pub struct DereferencedActivation<'a> {
    /// Its name.
    pub key: &'a ObjectKey,
    /// The resource.
    pub activation: &'a AudienceActivation,
    /// The name of its destination.
    pub destination_key: ObjectKey,
    /// The destination, where it exists.
    pub destination: Option<&'a KinesisDestination>,
    /// The labels of the activation's namespace, where they are known.
    pub namespace_labels: Option<&'a BTreeMap<String, String>>,
    /// Whether they may not be read.
    pub namespace_forbidden: bool,
    /// Its alert rules.
    pub alerts: Vec<DereferencedRule<'a>>,
}

impl DereferencedRule<'_> {
    /// What is watched.
    pub fn alert_type(&self) -> AlertType {
        self.rule.alert_type
    }
}

/// The destination of that name with what it refers to; `None` where there is none.
pub fn destination<'a>(inventory: &'a Inventory, key: &ObjectKey) -> Option<DereferencedDestination<'a>> {
    let (key, destination) = inventory.destinations.get_key_value(key)?;
    let secret = destination.spec.credentials.secret_ref.as_ref();
    Some(DereferencedDestination {
        key,
        destination,
        secret: secret.map(|secret| find_secret(inventory, &key.namespace, &secret.name)),
        alerts: rules(inventory, &key.namespace, &destination.spec.alerts),
    })
}

/// The activation of that name with what it refers to; `None` where there is none.
pub fn activation<'a>(inventory: &'a Inventory, key: &ObjectKey) -> Option<DereferencedActivation<'a>> {
    let (key, activation) = inventory.activations.get_key_value(key)?;
    let destination_key = destination_of(key, activation);
    Some(DereferencedActivation {
        key,
        activation,
        destination: inventory.destinations.get(&destination_key),
        destination_key,
        namespace_labels: inventory.namespaces.get(&key.namespace),
        namespace_forbidden: inventory.forbidden_namespaces.contains(&key.namespace),
        alerts: rules(inventory, &key.namespace, &activation.spec.alerts),
    })
}

/// The name of the destination that the activation `key` exports to.
pub fn destination_of(key: &ObjectKey, activation: &AudienceActivation) -> ObjectKey {
    let reference = &activation.spec.destination_ref;
    ObjectKey::new(reference.namespace_or(&key.namespace), &reference.name)
}

fn rules<'a>(inventory: &'a Inventory, namespace: &str, rules: &'a [AlertRule]) -> Vec<DereferencedRule<'a>> {
    let webhook = |rule: &AlertRule| {
        rule.webhook_secret_ref.as_ref().map(|secret| find_secret(inventory, namespace, &secret.name))
    };
    rules.iter().map(|rule| DereferencedRule { rule, webhook: webhook(rule) }).collect()
}

fn find_secret<'a>(inventory: &'a Inventory, namespace: &str, name: &str) -> FoundSecret<'a> {
    let key = ObjectKey::new(namespace, name);
    match inventory.secrets.get(&key) {
        Some(secret) => FoundSecret::Present(secret),
        None if inventory.forbidden_secrets.contains(&key) => FoundSecret::Forbidden,
        None => FoundSecret::Missing,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use crate::reconcile::samples;

    #[test]
    fn a_destination_comes_with_the_secrets_of_its_own_namespace() {
        let mut inventory = samples::inventory();
        let key = samples::destination_key();
        let found = destination(&inventory, &key).unwrap();
        assert!(matches!(found.secret, Some(FoundSecret::Present(_))));
        let secret = inventory.secrets.remove(&samples::secret_key()).unwrap();
        inventory.secrets.insert(ObjectKey::new("elsewhere", "aws"), secret);
        assert_eq!(destination(&inventory, &key).unwrap().secret, Some(FoundSecret::Missing));
        inventory.forbidden_secrets.insert(samples::secret_key());
        assert_eq!(destination(&inventory, &key).unwrap().secret, Some(FoundSecret::Forbidden));
    }

    #[test]
    fn an_activation_finds_a_destination_of_another_namespace_by_its_reference() {
        let mut inventory = samples::inventory();
        inventory.activations.get_mut(&samples::activation_key()).unwrap().spec.destination_ref.namespace =
            Some("platform".to_owned());
        let found = activation(&inventory, &samples::activation_key()).unwrap();
        assert_eq!(found.destination_key, ObjectKey::new("platform", "stream"));
        assert_eq!(found.destination, None);
    }

    #[test]
    fn what_does_not_exist_is_not_found() {
        assert!(destination(&samples::inventory(), &ObjectKey::new("shop", "nowhere")).is_none());
        assert!(activation(&samples::inventory(), &ObjectKey::new("shop", "nowhere")).is_none());
    }
}
