//! Types and pure checks: the alert rules of a resource, readable and with their webhooks. One table for both kinds.

use std::collections::BTreeMap;
use std::fmt;

use super::endpoint::{Reach, reach};
use super::{Problem, ProcessPolicy, shortened};
use crate::api::alerts::{AlertType, Threshold};
use crate::api::conditions::Reason;
use crate::reconcile::dereference::{DereferencedRule, FoundSecret};

/// The key of a webhook's Secret that holds the address.
pub const WEBHOOK_URL_KEY: &str = "url";
/// The key of a webhook's Secret that holds what posts are signed with.
pub const WEBHOOK_SIGNING_KEY: &str = "signingKey";

/// Where changes of an alert are posted. Address and key come from a Secret and are never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Webhook {
    /// The address, `http` or `https`.
    pub url: String,
    /// What posts are signed with, if wanted.
    pub signing_key: Option<Vec<u8>>,
}

impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Webhook").field("signed", &self.signing_key.is_some()).finish_non_exhaustive()
    }
}

/// The rule of one type.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Rule {
    /// The user's threshold, where one is given and can be read.
    pub threshold: Option<Threshold>,
    /// The threshold as written.
    pub text: Option<String>,
    /// Where changes are posted.
    pub webhook: Option<Webhook>,
}

/// The rules that a user wrote, by type. A type that is not listed keeps its default.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AlertRules(BTreeMap<AlertType, Rule>);

impl AlertRules {
    /// The rules that hold for an activation: for one type, its own entry wins over the destination's.
    pub fn merged(destination: &Self, activation: &Self) -> Self {
        let mut rules = destination.0.clone();
        rules.extend(activation.0.iter().map(|(alert, rule)| (*alert, rule.clone())));
        Self(rules)
    }

    /// The threshold that holds; `None` for a type that takes none.
    pub fn threshold(&self, alert: AlertType) -> Option<Threshold> {
        self.0.get(&alert).and_then(|rule| rule.threshold).or(alert.default_threshold())
    }

    /// The threshold as people write it.
    pub fn threshold_text(&self, alert: AlertType) -> Option<String> {
        let written = self.0.get(&alert).filter(|rule| rule.threshold.is_some()).and_then(|rule| rule.text.clone());
        written.or_else(|| {
            alert.default_threshold().map(|threshold| match threshold {
                Threshold::Duration(duration) if duration.as_secs() >= 60 => format!("{}m", duration.as_secs() / 60),
                Threshold::Duration(duration) => format!("{}s", duration.as_secs()),
                Threshold::Percent(percent) => format!("{percent}%"),
                Threshold::Count(count) => count.to_string(),
            })
        })
    }

    /// Where changes of this type are posted.
    pub fn webhook(&self, alert: AlertType) -> Option<&Webhook> {
        self.0.get(&alert).and_then(|rule| rule.webhook.as_ref())
    }
}

/// What is wrong with the rules: a threshold that cannot be read, a webhook that cannot be posted to.
pub fn problems(namespace: &str, found: &[DereferencedRule<'_>], policy: &ProcessPolicy) -> Vec<Problem> {
    let thresholds = found.iter().filter_map(|found| {
        let error = found.rule.threshold().err()?;
        Some(Problem::refused(Reason::InvalidAlert, shortened(&format!("spec.alerts: {error}"))))
    });
    thresholds.chain(found.iter().filter_map(|found| webhook_problem(namespace, found, policy))).collect()
}

/// The rules as they can be used: an unreadable threshold leaves the default, an unusable webhook is left out.
pub fn rules(namespace: &str, found: &[DereferencedRule<'_>], policy: &ProcessPolicy) -> AlertRules {
    let rule = |found: &DereferencedRule<'_>| Rule {
        threshold: found.rule.threshold().ok().flatten(),
        text: found.rule.threshold.clone(),
        webhook: if webhook_problem(namespace, found, policy).is_none() { webhook(found) } else { None },
    };
    AlertRules(found.iter().map(|found| (found.alert_type(), rule(found))).collect())
}

fn webhook_problem(namespace: &str, found: &DereferencedRule<'_>, policy: &ProcessPolicy) -> Option<Problem> {
    let place = found.rule.webhook_secret_ref.as_ref().map(|secret| {
        format!("spec.alerts[{}].webhookSecretRef: Secret {namespace}/{}", found.alert_type().as_str(), secret.name)
    })?;
    let missing = |message: String| Some(Problem::missing(Reason::InvalidAlert, message));
    match found.webhook? {
        FoundSecret::Missing => missing(format!("{place} does not exist; create it with the key {WEBHOOK_URL_KEY}")),
        FoundSecret::Forbidden => Some(Problem::refused(
            Reason::InvalidAlert,
            format!("{place} may not be read by the operator; grant its service account get on secrets there"),
        )),
        FoundSecret::Present(secret) if !secret.data.contains_key(WEBHOOK_URL_KEY) => {
            missing(format!("{place} has no key {WEBHOOK_URL_KEY}; add the address to post to"))
        }
        FoundSecret::Present(_) => {
            let fault = match webhook(found).map_or(Reach::Unreadable, |webhook| reach(&webhook.url)) {
                Reach::Public => return None,
                Reach::Internal if policy.allow_internal_endpoints => return None,
                Reach::Internal => {
                    "names a loopback, private or cluster-internal address; use one that is reached from outside, or have the flags \
                     of the operator allow internal endpoints"
                }
                Reach::LinkLocal => "names a link-local or metadata address, which is never allowed; mend it",
                Reach::Unreadable => {
                    "is no http or https URL of a host; write it as in https://hooks.example.com/activation"
                }
            };
            Some(Problem::refused(Reason::InvalidAlert, format!("{place}: the key {WEBHOOK_URL_KEY} {fault}")))
        }
    }
}

fn webhook(found: &DereferencedRule<'_>) -> Option<Webhook> {
    let Some(FoundSecret::Present(secret)) = found.webhook else { return None };
    let url = String::from_utf8(secret.data.get(WEBHOOK_URL_KEY)?.clone()).ok()?;
    Some(Webhook { url: url.trim().to_owned(), signing_key: secret.data.get(WEBHOOK_SIGNING_KEY).cloned() })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use std::collections::BTreeSet;
    use std::time::Duration;

    use super::*;
    use crate::api::alerts::AlertRule;
    use crate::api::references::SecretName;
    use crate::kinesis::policy::Origin;
    use crate::reconcile::inventory::Secret;
    use crate::reconcile::validate::Kind;

    const POLICY: ProcessPolicy = ProcessPolicy {
        ambient_namespaces: BTreeSet::new(),
        allow_internal_endpoints: false,
        origin: Origin::Anywhere,
    };

    fn rule(threshold: Option<&str>, webhook: bool) -> AlertRule {
        AlertRule {
            alert_type: AlertType::DataflowRunDelay,
            threshold: threshold.map(str::to_owned),
            webhook_secret_ref: webhook.then(|| SecretName { name: "hook".to_owned() }),
        }
    }

    fn secret(data: &[(&str, &str)]) -> Secret {
        Secret {
            data: data.iter().map(|(key, value)| ((*key).to_owned(), value.as_bytes().to_vec())).collect(),
            resource_version: "1".to_owned(),
        }
    }

    #[test]
    fn a_threshold_that_cannot_be_read_is_told_and_leaves_the_default() {
        let rule = rule(Some("soon"), false);
        let found = [DereferencedRule { rule: &rule, webhook: None }];
        let problems = problems("shop", &found, &POLICY);
        assert_eq!((problems[0].reason, problems[0].kind), (Reason::InvalidAlert, Kind::Refused));
        assert!(!problems[0].blocks());
        let rules = rules("shop", &found, &POLICY);
        let default = Threshold::Duration(Duration::from_mins(10));
        assert_eq!(rules.threshold(AlertType::DataflowRunDelay), Some(default));
        assert_eq!(rules.threshold_text(AlertType::DataflowRunDelay).as_deref(), Some("10m"));
    }

    #[test]
    fn a_webhook_needs_its_secret_with_an_address_that_may_be_posted_to() {
        let rule = rule(None, true);
        let good = secret(&[("url", "https://hooks.example.com/x\n"), ("signingKey", "k")]);
        let table = [
            (FoundSecret::Present(&good), None),
            (FoundSecret::Missing, Some(Kind::Missing)),
            (FoundSecret::Forbidden, Some(Kind::Refused)),
            (FoundSecret::Present(&secret(&[])), Some(Kind::Missing)),
            (FoundSecret::Present(&secret(&[("url", "hooks.example.com")])), Some(Kind::Refused)),
            (FoundSecret::Present(&secret(&[("url", "http://169.254.169.254/")])), Some(Kind::Refused)),
        ];
        for (webhook, expected) in table {
            let found = [DereferencedRule { rule: &rule, webhook: Some(webhook) }];
            let problems = problems("shop", &found, &POLICY);
            assert_eq!(problems.first().map(|problem| problem.kind), expected, "{webhook:?}");
            assert_eq!(
                rules("shop", &found, &POLICY).webhook(AlertType::DataflowRunDelay).is_some(),
                expected.is_none()
            );
            assert!(!format!("{problems:?}").contains("hooks.example.com/x"));
        }
    }

    #[test]
    fn a_webhook_leads_nowhere_that_a_user_has_no_business() {
        let rule = rule(None, true);
        let allowing = ProcessPolicy { allow_internal_endpoints: true, ..POLICY };
        for (url, refused, refused_where_allowed) in [
            ("https://hooks.example.com/x", None, None),
            ("http://localhost:9000/", Some("allow internal endpoints"), None),
            ("http://10.96.0.1/", Some("allow internal endpoints"), None),
            ("http://alertmanager.monitoring.svc:9093", Some("allow internal endpoints"), None),
            ("http://169.254.169.254/latest", Some("never allowed"), Some("never allowed")),
            ("http://metadata.google.internal/", Some("never allowed"), Some("never allowed")),
            ("http://2852039166/", Some("no http or https URL"), Some("no http or https URL")),
        ] {
            let secret = secret(&[("url", url)]);
            let found = [DereferencedRule { rule: &rule, webhook: Some(FoundSecret::Present(&secret)) }];
            for (policy, expected) in [(&POLICY, refused), (&allowing, refused_where_allowed)] {
                let problems = problems("shop", &found, policy);
                assert_eq!(problems.is_empty(), expected.is_none(), "{url}: {problems:?}");
                assert!(expected.is_none_or(|words| problems[0].message.contains(words)), "{url}: {problems:?}");
                let webhook = rules("shop", &found, policy).webhook(AlertType::DataflowRunDelay).is_some();
                assert_eq!(webhook, expected.is_none(), "{url}");
                assert!(!format!("{problems:?}").contains(url), "an address may hold a token");
            }
        }
    }

    #[test]
    fn for_one_type_the_entry_of_the_activation_wins() {
        let one = |text| {
            let rule = rule(Some(text), false);
            rules("shop", &[DereferencedRule { rule: &rule, webhook: None }], &POLICY)
        };
        let merged = AlertRules::merged(&one("1m"), &one("2m"));
        assert_eq!(merged.threshold_text(AlertType::DataflowRunDelay).as_deref(), Some("2m"));
        let merged = AlertRules::merged(&one("1m"), &AlertRules::default());
        let expected = Threshold::Duration(Duration::from_mins(1));
        assert_eq!(merged.threshold(AlertType::DataflowRunDelay), Some(expected));
    }
}
