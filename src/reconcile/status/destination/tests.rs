#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use super::*;
use crate::kinesis::probe::ProbeReport;
use crate::reconcile::inventory::Inventory;
use crate::reconcile::samples::{self, at};
use crate::reconcile::status::conditions::is_true;
use crate::reconcile::validate::destination::validate;
use crate::reconcile::{dereference, samples::report};

/// One destination over time: its probes and its last status.
#[derive(Default)]
struct Case {
    inventory: Inventory,
    probes: ProbeMemory,
    missing_since: Option<Timestamp>,
    old: Option<KinesisDestinationStatus>,
}

impl Case {
    fn new() -> Self {
        Self { inventory: samples::inventory(), ..Self::default() }
    }

    fn answer(&mut self, report: ProbeReport, second: i64) {
        let found = dereference::destination(&self.inventory, &samples::destination_key()).unwrap();
        let valid = validate(&found, &ProcessPolicy::default()).valid.unwrap();
        self.probes.answer(&valid, report, at(second));
    }

    fn status(&mut self, second: i64) -> KinesisDestinationStatus {
        let found = dereference::destination(&self.inventory, &samples::destination_key()).unwrap();
        let policy = ProcessPolicy::default();
        let facts = Facts {
            destination: found.destination,
            verdict: &validate(&found, &policy),
            missing_since: self.missing_since,
            probes: &self.probes,
            activations: 1,
            policy: &policy,
        };
        let status = status(self.old.as_ref(), &facts, at(second));
        self.old = Some(status.clone());
        status
    }

    /// `Ready`, `Reconciling`, `Stalled` and why.
    fn row(&mut self, second: i64) -> (bool, bool, bool, String) {
        let conditions = self.status(second).conditions;
        let names: Vec<_> = conditions.iter().map(|condition| condition.type_.as_str()).collect();
        assert_eq!(names, ConditionType::DESTINATION.map(ConditionType::as_str));
        let holds = |condition| is_true(&conditions, condition);
        let ready = find(&conditions, ConditionType::Ready).unwrap();
        (
            holds(ConditionType::Ready),
            holds(ConditionType::Reconciling),
            holds(ConditionType::Stalled),
            ready.reason.clone(),
        )
    }
}

fn row(ready: bool, reconciling: bool, stalled: bool, reason: Reason) -> (bool, bool, bool, String) {
    (ready, reconciling, stalled, reason.as_str().to_owned())
}

fn unreachable() -> ProbeReport {
    let trouble = Some(RequestError::Unavailable { message: "connection refused".to_owned() });
    ProbeReport { trouble, ..report() }
}

#[test]
fn all_well() {
    let mut case = Case::new();
    assert_eq!(case.row(0), row(false, true, false, Reason::Progressing));
    case.answer(report(), 1);
    assert_eq!(case.row(1), row(true, false, false, Reason::Succeeded));
    let status = case.status(1);
    for condition in
        [ConditionType::CredentialsValid, ConditionType::StreamReachable, ConditionType::PermissionsGranted]
    {
        assert!(is_true(&status.conditions, condition));
    }
    assert_eq!(status.permissions.iter().filter(|row| row.granted == Granted::True).count(), 3);
    assert_eq!(status.stream.unwrap().mode.as_deref(), Some("ON_DEMAND"));
    assert!(status.required_policy.unwrap().contains(":123456789012:stream/profiles"));
    assert_eq!(status.credentials.unwrap().secret_resource_version.as_deref(), Some("1"));
}

#[test]
fn suspended_otherwise_valid() {
    let mut case = Case::new();
    case.answer(report(), 0);
    samples::destination_of(&mut case.inventory).spec.suspend = true;
    assert_eq!(case.row(1), row(true, false, false, Reason::Suspended));
}

#[test]
fn something_missing_for_under_five_minutes_and_for_longer() {
    let mut case = Case::new();
    case.inventory.secrets.clear();
    case.missing_since = Some(at(0));
    assert_eq!(case.row(299), row(false, true, false, Reason::SecretNotFound));
    assert_eq!(case.row(300), row(false, false, true, Reason::SecretNotFound));
    let credentials = case.status(300).conditions.into_iter().find(|c| c.type_ == "CredentialsValid").unwrap();
    assert_eq!((credentials.status.as_str(), credentials.reason.as_str()), ("False", "SecretNotFound"));
}

#[test]
fn a_refused_spec() {
    let mut case = Case::new();
    samples::destination_of(&mut case.inventory).spec.stream.name = None;
    assert_eq!(case.row(0), row(false, false, true, Reason::InvalidSpec));
}

#[test]
fn refused_credentials_and_denied_permissions() {
    for (report, reason) in [
        (samples::refused_report("InvalidClientTokenId"), Reason::CredentialsRefused),
        (samples::denied_report(), Reason::AccessDenied),
    ] {
        let mut case = Case::new();
        case.answer(report.clone(), 0);
        assert_eq!(case.row(0), row(false, true, false, reason), "once is not sure");
        case.answer(report.clone(), 2);
        case.answer(report, 6);
        assert_eq!(case.row(6), row(false, false, true, reason));
    }
}

#[test]
fn a_check_fails_three_times_before_ready_falls() {
    let mut case = Case::new();
    case.answer(report(), 0);
    for second in [1, 3] {
        case.answer(samples::denied_report(), second);
        assert_eq!(case.row(second), row(true, false, false, Reason::Succeeded));
    }
    case.answer(samples::denied_report(), 7);
    assert_eq!(case.row(7), row(false, false, true, Reason::AccessDenied));
    case.answer(report(), 20);
    assert_eq!(case.row(20), row(true, false, false, Reason::Succeeded));
}

#[test]
fn an_aws_that_cannot_be_reached_or_throttles_leaves_it_as_it_was() {
    let throttled = ProbeReport { trouble: Some(RequestError::Throttled { message: "slow".to_owned() }), ..report() };
    for report_of_trouble in [unreachable(), throttled] {
        let mut case = Case::new();
        case.answer(report(), 0);
        case.answer(report_of_trouble.clone(), 1);
        assert_eq!(case.row(1), row(true, false, false, Reason::Succeeded));
        let mut case = Case::new();
        for second in 0..3 {
            case.answer(samples::denied_report(), second);
        }
        case.answer(report_of_trouble.clone(), 4);
        assert_eq!(case.row(4), row(false, false, true, Reason::AccessDenied));
        let mut case = Case::new();
        case.answer(report_of_trouble, 0);
        assert_eq!(case.row(0), row(false, true, false, Reason::Unreachable));
    }
}

#[test]
fn unverified_permissions() {
    let mut open = report();
    open.permissions[1].granted = Ternary::Unknown;
    let mut case = Case::new();
    case.answer(open, 0);
    assert_eq!(case.row(0), row(true, false, false, Reason::PermissionsUnverified));
}

#[test]
fn a_stream_that_is_being_created() {
    let mut creating = report();
    creating.stream.as_mut().unwrap().status = Some("CREATING".to_owned());
    let mut case = Case::new();
    case.answer(creating, 0);
    assert_eq!(case.row(0), row(false, true, false, Reason::StreamNotActive));
}

#[test]
fn an_operator_that_starts_anew_takes_up_what_the_status_says() {
    let mut case = Case::new();
    case.answer(report(), 0);
    let before = case.status(0);
    case.probes = ProbeMemory::default();
    let after = case.status(100);
    assert_eq!(after.conditions, before.conditions);
    assert_eq!(after.permissions, before.permissions);
    case.answer(samples::denied_report(), 101);
    assert_eq!(case.row(101), row(true, false, false, Reason::Succeeded));
    // Another generation is another question.
    samples::destination_of(&mut case.inventory).metadata.generation = Some(2);
    samples::destination_of(&mut case.inventory).spec.region = "us-east-1".to_owned();
    case.probes = ProbeMemory::default();
    assert_eq!(case.row(102), row(false, true, false, Reason::Progressing));
}

#[test]
fn a_secret_that_came_is_verified_before_it_is_believed() {
    let mut case = Case::new();
    let secrets = std::mem::take(&mut case.inventory.secrets);
    case.missing_since = Some(at(-1_000));
    assert_eq!(case.row(0), row(false, false, true, Reason::SecretNotFound));
    case.inventory.secrets = secrets;
    assert_eq!(case.row(1), row(false, true, false, Reason::Progressing));
}

#[test]
fn a_changed_description_changes_nothing_but_the_generation() {
    let mut case = Case::new();
    case.answer(report(), 0);
    case.status(0);
    let destination = samples::destination_of(&mut case.inventory);
    destination.spec.description = Some("another".to_owned());
    destination.metadata.generation = Some(2);
    assert_eq!(case.row(1), row(true, false, false, Reason::Succeeded));
    let status = case.status(1);
    assert_eq!(status.observed_generation, Some(2));
    assert!(status.conditions.iter().all(|condition| condition.observed_generation == Some(2)));
}

#[test]
fn a_request_is_echoed_when_it_was_answered() {
    let mut case = Case::new();
    let annotations = [(REQUESTED_AT.to_owned(), "now".to_owned())].into();
    samples::destination_of(&mut case.inventory).metadata.annotations = Some(annotations);
    assert_eq!(case.status(0).last_handled_request_at, None);
    let found = dereference::destination(&case.inventory, &samples::destination_key()).unwrap();
    let valid = validate(&found, &ProcessPolicy::default()).valid.unwrap();
    assert!(case.probes.ask(&valid, Some("now"), false, at(0)));
    case.probes.answer(&valid, report(), at(1));
    assert_eq!(case.status(1).last_handled_request_at.as_deref(), Some("now"));
}

#[test]
fn the_time_of_the_credentials_moves_with_the_secret() {
    let mut case = Case::new();
    let first = case.status(0).credentials.unwrap();
    assert_eq!(case.status(10).credentials.unwrap(), first);
    case.inventory.secrets.insert(samples::secret_key(), samples::secret("2"));
    assert_eq!(case.status(20).credentials.unwrap().observed_at, Moment::from(at(20)));
}
