//! Pure: which Secrets a resource names, and which of their keys it needs. Nothing else of a Secret is kept.

use std::collections::{BTreeMap, BTreeSet};

use crate::api::alerts::AlertRule;
use crate::api::{AudienceActivation, KinesisDestination};
use crate::reconcile::validate::alert_rules::{WEBHOOK_SIGNING_KEY, WEBHOOK_URL_KEY};

/// By the name of a Secret of the resource's own namespace: the keys that are needed.
pub type NamedSecrets = BTreeMap<String, BTreeSet<String>>;

/// What a destination needs: its credentials, and the webhooks of its alerts.
pub fn of_destination(destination: &KinesisDestination) -> NamedSecrets {
    let mut named = NamedSecrets::new();
    if let Some(reference) = &destination.spec.credentials.secret_ref {
        let required = [&reference.access_key_id_key, &reference.secret_access_key_key];
        let keys = required.into_iter().chain(&reference.session_token_key).cloned();
        named.entry(reference.name.clone()).or_default().extend(keys);
    }
    add_webhooks(&mut named, &destination.spec.alerts);
    named
}

/// What an activation needs: the webhooks of its alerts.
pub fn of_activation(activation: &AudienceActivation) -> NamedSecrets {
    let mut named = NamedSecrets::new();
    add_webhooks(&mut named, &activation.spec.alerts);
    named
}

fn add_webhooks(named: &mut NamedSecrets, rules: &[AlertRule]) {
    for reference in rules.iter().filter_map(|rule| rule.webhook_secret_ref.as_ref()) {
        let keys = [WEBHOOK_URL_KEY, WEBHOOK_SIGNING_KEY].map(str::to_owned);
        named.entry(reference.name.clone()).or_default().extend(keys);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use serde_json::json;

    use super::*;

    #[test]
    fn a_destination_names_its_credentials_and_its_webhooks_by_key() {
        let destination: KinesisDestination = serde_json::from_value(json!({
            "apiVersion": "activation.dev/v1alpha1", "kind": "KinesisDestination", "metadata": {"name": "events"},
            "spec": {
                "region": "eu-west-1", "stream": {"name": "s"},
                "credentials": {"secretRef": {"name": "aws", "accessKeyIdKey": "id", "sessionTokenKey": "token"}},
                "alerts": [
                    {"type": "DataflowRunDelay", "webhookSecretRef": {"name": "hook"}},
                    {"type": "DataflowRunFailure", "webhookSecretRef": {"name": "aws"}},
                    {"type": "BackfillOverdue"},
                ],
            },
        }))
        .unwrap();
        let named = of_destination(&destination);
        let keys = |name: &str| named[name].iter().map(String::as_str).collect::<Vec<_>>();
        assert_eq!(keys("aws"), ["id", "secretAccessKey", "signingKey", "token", "url"]);
        assert_eq!(keys("hook"), ["signingKey", "url"]);
        assert_eq!(named.len(), 2);
    }

    #[test]
    fn a_destination_of_ambient_credentials_names_none() {
        assert_eq!(of_destination(&KinesisDestination::default()), NamedSecrets::new());
        assert_eq!(of_activation(&AudienceActivation::default()), NamedSecrets::new());
    }
}
