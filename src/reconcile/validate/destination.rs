//! Validate a destination: pure. The checks, and what a shell needs to deliver to it.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash as _, Hasher as _};
use std::time::Duration;

use super::alert_rules::{self, AlertRules};
use super::credentials::{self, CredentialFacts};
use super::endpoint::{Reach, reach};
use super::{Problem, ProcessPolicy, Verdict};
use crate::api::KinesisDestinationSpec;
use crate::api::conditions::Reason;
use crate::api::destination::PermissionCheckMethod;
use crate::kinesis::policy::{self, Scope};
use crate::kinesis::probe::Method;
use crate::kinesis::sender::Settings;
use crate::kinesis::target::{Endpoint, StreamRef, Target};
use crate::reconcile::dereference::DereferencedDestination;
use crate::reconcile::inventory::ObjectKey;

/// A check: what it finds wrong, if anything.
pub type Check = fn(&DereferencedDestination<'_>, &ProcessPolicy) -> Vec<Problem>;

/// The checks, in the order in which a user should mend what they find.
pub const CHECKS: &[Check] = &[
    stream_is_named_once,
    credentials::credentials_are_given_once,
    credentials::ambient_is_allowed_here,
    credentials::external_id_is_the_operators,
    credentials::secret_exists,
    credentials::secret_has_its_keys,
    endpoint_is_allowed,
    alerts_are_usable,
];

/// Records of one dataflow that may be on their way: what a crash repeats at most.
const WINDOW_RECORDS: usize = 5_000;
/// Bytes of one dataflow that may be on their way, in requests of the largest size.
const WINDOW_BATCHES: usize = 4;
/// Requests of one dataflow at the same time.
const MAX_IN_FLIGHT: usize = 10;

/// A destination that can be delivered to, as far as anybody can tell without asking AWS.
#[derive(Debug, Clone, PartialEq)]
pub struct ValidDestination {
    /// Its name.
    pub key: ObjectKey,
    /// Which stream, reached how, with whose credentials.
    pub target: Target,
    /// How its dataflows batch, pace and retry. The seed is each dataflow's own.
    pub sender: Settings,
    /// How it is checked that records may be put.
    pub method: Method,
    /// How often.
    pub interval: Duration,
    /// Whether its dataflows are paused.
    pub suspended: bool,
    /// Its alert rules.
    pub alerts: AlertRules,
    /// What the status tells of the credentials.
    pub credentials: CredentialFacts,
    /// What a probe's answer holds for.
    pub subject: Subject,
}

/// What a probe asks about: another subject is asked about anew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// A digest of the parts of the spec that decide what AWS answers.
    pub spec: u64,
    /// The version of the Secret.
    pub secret: Option<String>,
}

/// What all checks say, and what may run.
pub fn validate(found: &DereferencedDestination<'_>, policy: &ProcessPolicy) -> Verdict<ValidDestination> {
    let problems: Vec<Problem> = CHECKS.iter().flat_map(|check| check(found, policy)).collect();
    let blocked = problems.iter().any(Problem::blocks);
    Verdict { valid: if blocked { None } else { build(found, policy) }, problems }
}

/// Exactly one of name and ARN is given, and an ARN agrees with the region.
fn stream_is_named_once(found: &DereferencedDestination<'_>, _: &ProcessPolicy) -> Vec<Problem> {
    let spec = &found.destination.spec;
    let refuse = |message: &str| vec![Problem::refused(Reason::InvalidSpec, message)];
    match (&spec.stream.name, &spec.stream.arn) {
        (Some(_), None) => Vec::new(),
        (None, Some(arn)) if arn.contains(&format!(":kinesis:{}:", spec.region)) => Vec::new(),
        (None, Some(_)) => refuse("spec.stream.arn names another region than spec.region; make the two agree"),
        _ => refuse("spec.stream: set exactly one of name and arn"),
    }
}

/// The endpoint leads nowhere that a user of the cluster has no business.
fn endpoint_is_allowed(found: &DereferencedDestination<'_>, policy: &ProcessPolicy) -> Vec<Problem> {
    let Some(url) = found.destination.spec.endpoint.as_ref().and_then(|endpoint| endpoint.url.as_deref()) else {
        return Vec::new();
    };
    let fault = match reach(url) {
        Reach::Public => return Vec::new(),
        Reach::Internal if policy.allow_internal_endpoints => return Vec::new(),
        Reach::Internal => {
            "is a loopback, private or cluster-internal address; use the stream's public or VPC endpoint, or have \
             the flags of the operator allow internal endpoints"
        }
        Reach::LinkLocal => "is a link-local or metadata address, which is never allowed; remove it",
        Reach::Unreadable => {
            "is no http or https URL of a host; write it as in https://kinesis.eu-west-1.amazonaws.com"
        }
    };
    vec![Problem::refused(Reason::EndpointNotAllowed, format!("spec.endpoint.url {fault}"))]
}

/// Thresholds can be read, webhooks posted to.
fn alerts_are_usable(found: &DereferencedDestination<'_>, policy: &ProcessPolicy) -> Vec<Problem> {
    alert_rules::problems(&found.key.namespace, &found.alerts, policy)
}

fn build(found: &DereferencedDestination<'_>, policy: &ProcessPolicy) -> Option<ValidDestination> {
    let spec = &found.destination.spec;
    let (source, facts) = credentials::source(found)?;
    let method = match spec.permission_check.method {
        PermissionCheckMethod::InvalidHashKey => Method::InvalidHashKey,
        PermissionCheckMethod::None => Method::None,
    };
    Some(ValidDestination {
        key: found.key.clone(),
        target: Target {
            region: spec.region.clone(),
            stream: stream(spec)?,
            endpoint: spec.endpoint.as_ref().map_or_else(Endpoint::default, |endpoint| Endpoint {
                url: endpoint.url.clone(),
                sts_url: None,
                use_fips: endpoint.use_fips(),
                use_dual_stack: endpoint.use_dual_stack(),
            }),
            request_timeout: spec.delivery.request_timeout(),
            credentials: source,
            assume_role: credentials::role(found),
        },
        sender: settings(spec),
        method,
        interval: spec.permission_check.interval(),
        suspended: spec.suspend,
        alerts: alert_rules::rules(&found.key.namespace, &found.alerts, policy),
        subject: Subject { spec: digest(spec), secret: facts.secret_resource_version.clone() },
        credentials: facts,
    })
}

/// The stream that a spec names; `None` where it names none, which its schema refuses.
pub fn stream(spec: &KinesisDestinationSpec) -> Option<StreamRef> {
    match (&spec.stream.name, &spec.stream.arn) {
        (_, Some(arn)) => Some(StreamRef::Arn(arn.clone())),
        (Some(name), None) => Some(StreamRef::Name(name.clone())),
        (None, None) => None,
    }
}

fn settings(spec: &KinesisDestinationSpec) -> Settings {
    let delivery = &spec.delivery;
    let bytes = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
    let max_batch_bytes = bytes(delivery.max_batch_bytes());
    Settings {
        max_retries: delivery.max_retries(),
        throttle_timeout: delivery.throttle_timeout(),
        linger: delivery.linger(),
        max_records_per_second: delivery.max_records_per_second(),
        max_record_bytes: bytes(delivery.max_record_bytes()),
        max_batch_bytes,
        window_records: WINDOW_RECORDS,
        window_bytes: max_batch_bytes.saturating_mul(WINDOW_BATCHES),
        max_in_flight: MAX_IN_FLIGHT,
        seed: 0,
    }
}

/// Of what decides AWS's answer. It lives no longer than the process, so the hasher need not stay the same for ever.
fn digest(spec: &KinesisDestinationSpec) -> u64 {
    let mut hasher = DefaultHasher::new();
    let parts = (&spec.region, &spec.stream, &spec.credentials, &spec.endpoint, &spec.permission_check.method);
    // These types write themselves without fail.
    serde_json::to_string(&parts).unwrap_or_default().hash(&mut hasher);
    hasher.finish()
}

/// The smallest policy that lets records be put, as JSON; for a stream known by name, of that `account` where it is known.
pub fn required_policy(spec: &KinesisDestinationSpec, account: Option<&str>, policy: &ProcessPolicy) -> Option<String> {
    let stream = stream(spec)?;
    let scope = Scope { stream: &stream, region: &spec.region, account, assume_role: None, origin: &policy.origin };
    Some(policy::required_policy(&scope).stream)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use crate::api::destination::{Endpoint as SpecEndpoint, StreamRef as SpecStream};
    use crate::kinesis::target::CredentialSource;
    use crate::reconcile::inventory::Inventory;
    use crate::reconcile::{dereference, samples};

    fn verdict(inventory: &Inventory, policy: &ProcessPolicy) -> Verdict<ValidDestination> {
        validate(&dereference::destination(inventory, &samples::destination_key()).unwrap(), policy)
    }

    fn reasons(inventory: &Inventory, policy: &ProcessPolicy) -> Vec<Reason> {
        verdict(inventory, policy).problems.iter().map(|problem| problem.reason).collect()
    }

    #[test]
    fn a_valid_destination_says_everything_that_delivery_needs() {
        let valid = verdict(&samples::inventory(), &ProcessPolicy::default()).valid.unwrap();
        assert_eq!(valid.target.stream, StreamRef::Name("profiles".to_owned()));
        assert!(
            matches!(&valid.target.credentials, CredentialSource::Keys { access_key_id, .. } if access_key_id == samples::KEY_ID)
        );
        assert_eq!((valid.sender.max_retries, valid.sender.max_batch_bytes), (2, 5 << 20));
        assert_eq!(valid.interval, Duration::from_mins(10));
        assert_eq!(valid.subject.secret.as_deref(), Some("1"));
    }

    #[test]
    fn exactly_one_of_name_and_arn_names_the_stream_in_the_region() {
        let arn = "arn:aws:kinesis:eu-west-1:123456789012:stream/profiles".to_owned();
        let table = [
            (Some("profiles"), None, true),
            (None, Some(arn.clone()), true),
            (None, Some(arn.replace("eu-west-1", "us-east-1")), false),
            (Some("profiles"), Some(arn), false),
            (None, None, false),
        ];
        for (name, arn, good) in table {
            let mut inventory = samples::inventory();
            samples::destination_of(&mut inventory).spec.stream =
                SpecStream { name: name.map(str::to_owned), arn: arn.clone() };
            assert_eq!(reasons(&inventory, &ProcessPolicy::default()).is_empty(), good, "{name:?} {arn:?}");
        }
    }

    #[test]
    fn internal_endpoints_need_the_flag_and_link_local_ones_never_pass() {
        let table = [
            ("https://vpce-1.kinesis.eu-west-1.vpce.amazonaws.com", true, true),
            ("http://localhost:4567", false, true),
            ("http://kinesis.shop.svc:4567", false, true),
            ("http://169.254.169.254", false, false),
            ("http://2852039166", false, false),
        ];
        for (url, without, with) in table {
            let mut inventory = samples::inventory();
            samples::destination_of(&mut inventory).spec.endpoint =
                Some(SpecEndpoint { url: Some(url.to_owned()), ..SpecEndpoint::default() });
            for (allow_internal_endpoints, good) in [(false, without), (true, with)] {
                let policy = ProcessPolicy { allow_internal_endpoints, ..ProcessPolicy::default() };
                let expected = if good { vec![] } else { vec![Reason::EndpointNotAllowed] };
                assert_eq!(reasons(&inventory, &policy), expected, "{url}");
            }
        }
    }

    #[test]
    fn a_broken_alert_is_told_but_stops_nothing() {
        let mut inventory = samples::inventory();
        samples::destination_of(&mut inventory).spec.alerts = samples::rules("DataflowRunDelay", "soon");
        let verdict = verdict(&inventory, &ProcessPolicy::default());
        assert_eq!(verdict.problems[0].reason, Reason::InvalidAlert);
        assert!(verdict.valid.is_some());
    }

    #[test]
    fn only_what_decides_the_answer_makes_another_subject() {
        let subject = |inventory: &Inventory| verdict(inventory, &ProcessPolicy::default()).valid.unwrap().subject;
        let mut inventory = samples::inventory();
        let first = subject(&inventory);
        let spec = &mut samples::destination_of(&mut inventory).spec;
        spec.description = Some("another".to_owned());
        spec.suspend = true;
        assert_eq!(subject(&inventory), first);
        inventory.secrets.get_mut(&samples::secret_key()).unwrap().resource_version = "2".to_owned();
        let second = subject(&inventory);
        assert!(second.spec == first.spec && second.secret != first.secret);
        samples::destination_of(&mut inventory).spec.region = "us-east-1".to_owned();
        assert_ne!(subject(&inventory).spec, first.spec);
    }

    #[test]
    fn the_policy_is_shown_before_anything_else_is_right() {
        let mut inventory = samples::inventory();
        let spec = &samples::destination_of(&mut inventory).spec;
        let text = required_policy(spec, Some("123456789012"), &ProcessPolicy::default()).unwrap();
        assert!(text.contains("arn:aws:kinesis:eu-west-1:123456789012:stream/profiles"), "{text}");
    }
}
