#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use std::time::Duration;

use super::*;
use crate::dataflow::progress::{BackfillState as Reached, Delivery};
use crate::export::mapping::tests::spec;
use crate::reconcile::samples::{self, activation_key, at, destination_key};
use crate::reconcile::status::delivering::seen;

/// One activation at one moment; as made, all is well.
struct Case {
    activation: AudienceActivation,
    problems: Vec<Problem>,
    missing_since: Option<Timestamp>,
    destination: Phase,
    pause: Option<Pause>,
    mapping: Arc<MappingSpec>,
    progress: Option<Progress>,
    alerts: Vec<AlertStatus>,
    workers: Workers,
    destination_key: ObjectKey,
}

impl Case {
    fn new() -> Self {
        let mapping = Arc::new(spec(&["a1"], &[]));
        Self {
            activation: samples::activation(),
            problems: Vec::new(),
            missing_since: None,
            destination: Phase::Well { reason: Reason::Succeeded, message: "ok".to_owned() },
            pause: None,
            progress: Some(samples::progress(Arc::clone(&mapping), at(0))),
            mapping,
            alerts: Vec::new(),
            workers: Workers::default(),
            destination_key: destination_key(),
        }
    }

    fn status(&self, second: i64) -> AudienceActivationStatus {
        let settings =
            BackfillSettings { enabled: true, deadline: Duration::from_hours(1), max_records_per_second: None };
        let destination = KinesisDestinationStatus {
            conditions: assemble(&[], self.destination.clone().drafts().to_vec(), Some(1), at(0)),
            ..KinesisDestinationStatus::default()
        };
        let facts = Facts {
            activation: &self.activation,
            key: &activation_key(),
            problems: &self.problems,
            missing_since: self.missing_since,
            destination_key: &self.destination_key,
            destination: Some(&destination),
            pause: self.pause.as_ref(),
            mapping: Some(&self.mapping),
            backfill: &settings,
            progress: self.progress.as_ref(),
            delivering: &seen(self.pause.as_ref(), self.progress.as_ref(), None, at(second)),
            alerts: &self.alerts,
            workers: &self.workers,
        };
        status(None, &facts, at(second))
    }

    fn condition(&self, condition: ConditionType) -> (String, String) {
        let status = self.status(0);
        let found = find(&status.conditions, condition).unwrap();
        (found.status.clone(), found.reason.clone())
    }
}

fn pause(reason: Reason) -> Pause {
    Pause { reason, message: "paused for a reason".to_owned() }
}

/// Every row of the table *Ready, Reconciling, Stalled*: what is the case, and what the three then are.
#[test]
fn each_row_of_the_table_of_ready_reconciling_and_stalled() {
    type Edit = fn(&mut Case);
    let missing = |case: &mut Case| {
        case.problems = vec![Problem::missing(Reason::DestinationNotFound, "create it")];
        case.pause = Some(pause(Reason::DestinationNotFound));
    };
    let missing_young: Edit = |case| case.missing_since = Some(at(-299));
    let missing_old: Edit = |case| case.missing_since = Some(at(-300));
    let table: [(&str, Edit, [bool; 3], Reason); 15] = [
        ("all well", |_| {}, [true, false, false], Reason::Succeeded),
        ("suspended", |case| case.pause = Some(pause(Reason::Suspended)), [true, false, false], Reason::Suspended),
        ("missing", missing_young, [false, true, false], Reason::DestinationNotFound),
        ("missing for longer", missing_old, [false, false, true], Reason::DestinationNotFound),
        (
            "spec refused",
            |case| case.problems = vec![Problem::refused(Reason::PathsOverlap, "mend it")],
            [false, false, true],
            Reason::PathsOverlap,
        ),
        (
            "namespace not allowed",
            |case| case.problems = vec![Problem::refused(Reason::NamespaceNotAllowed, "ask for it")],
            [false, false, true],
            Reason::NamespaceNotAllowed,
        ),
        (
            "credentials or a permission refused",
            |case| case.destination = Phase::Stalled { reason: Reason::AccessDenied, message: "grant".to_owned() },
            [false, false, true],
            Reason::DestinationNotReady,
        ),
        (
            "the destination is being verified",
            |case| case.destination = Phase::Progressing { reason: Reason::Progressing, message: "wait".to_owned() },
            [false, true, false],
            Reason::DestinationNotReady,
        ),
        (
            "suspended, but the destination is refused",
            |case| {
                case.pause = Some(pause(Reason::Suspended));
                case.destination = Phase::Stalled { reason: Reason::AccessDenied, message: "grant".to_owned() };
            },
            [false, false, true],
            Reason::DestinationNotReady,
        ),
        (
            "AWS unreachable",
            |case| {
                let cause = crate::dataflow::progress::OutageCause::Unreachable;
                let delivery = Delivery::Outage { cause, message: "timed out".to_owned(), since: at(0) };
                case.progress.as_mut().unwrap().delivery = delivery;
            },
            [true, false, false],
            Reason::Succeeded,
        ),
        (
            "AWS throttles",
            |case| case.progress.as_mut().unwrap().delivery = Delivery::Throttled { since: at(-9_000) },
            [true, false, false],
            Reason::Succeeded,
        ),
        (
            "permission unknown",
            |case| {
                case.destination = Phase::Well { reason: Reason::PermissionsUnverified, message: "open".to_owned() };
            },
            [true, false, false],
            Reason::PermissionsUnverified,
        ),
        ("workers starting", |case| case.progress = None, [false, true, false], Reason::WorkersStarting),
        (
            "workers of an older generation",
            |case| Arc::make_mut(&mut case.mapping).metadata = true,
            [false, true, false],
            Reason::WorkersStarting,
        ),
        (
            "workers failing",
            |case| {
                case.progress = None;
                case.workers = Workers { crashes: 3, last_error: Some("disk full".to_owned()), ..Workers::default() };
            },
            [false, true, false],
            Reason::WorkersFailing,
        ),
    ];
    for (name, edit, expected, reason) in table {
        let mut case = Case::new();
        if name.starts_with("missing") {
            missing(&mut case);
        }
        edit(&mut case);
        let status = case.status(0);
        let names: Vec<_> = status.conditions.iter().map(|condition| condition.type_.as_str()).collect();
        assert_eq!(names, ConditionType::ACTIVATION.map(ConditionType::as_str), "{name}");
        assert!(status.conditions.iter().all(|condition| condition.observed_generation == Some(1)), "{name}");
        let three = [ConditionType::Ready, ConditionType::Reconciling, ConditionType::Stalled];
        assert_eq!(three.map(|condition| is_true(&status.conditions, condition)), expected, "{name}");
        assert_eq!(case.condition(ConditionType::Ready).1, reason.as_str(), "{name}");
    }
}

#[test]
fn a_resource_that_is_being_deleted_drains() {
    let mut case = Case::new();
    case.activation.metadata.deletion_timestamp =
        Some(crate::api::conditions::condition_time(crate::api::quantities::Moment::from(at(0))));
    case.pause = Some(pause(Reason::Draining));
    assert_eq!(case.condition(ConditionType::Ready), ("False".to_owned(), "Draining".to_owned()));
    assert_eq!(case.condition(ConditionType::Reconciling).0, "True");
}

#[test]
fn destination_ready_says_what_is_wrong_with_it() {
    let told = |case: &Case| case.condition(ConditionType::DestinationReady);
    let mut case = Case::new();
    assert_eq!(told(&case), ("True".to_owned(), "DestinationReady".to_owned()));
    case.destination = Phase::Stalled { reason: Reason::AccessDenied, message: "grant it".to_owned() };
    assert_eq!(told(&case), ("False".to_owned(), "DestinationNotReady".to_owned()));
    case.problems = vec![Problem::refused(Reason::NamespaceNotAllowed, "ask for it")];
    assert_eq!(told(&case), ("False".to_owned(), "NamespaceNotAllowed".to_owned()));
}

#[test]
fn what_a_destination_of_another_namespace_says_stays_there() {
    let mut case = Case::new();
    let message = "Secret platform/very-private does not exist".to_owned();
    case.destination = Phase::Stalled { reason: Reason::SecretNotFound, message };
    case.destination_key = ObjectKey::new("platform", "stream");
    let status = case.status(0);
    assert!(!format!("{status:?}").contains("very-private"));
    assert!(find(&status.conditions, ConditionType::Ready).unwrap().message.contains("SecretNotFound"));
}

#[test]
fn backfill_complete_follows_the_audiences() {
    let table = [
        (Reached::Completed, 0, "True", Reason::BackfillCompleted),
        (Reached::Skipped, 0, "True", Reason::BackfillDisabled),
        (Reached::Pending, 0, "False", Reason::Pending),
        (Reached::Running, 0, "False", Reason::BackfillRunning),
        (Reached::Running, -3_601, "False", Reason::BackfillOverdue),
    ];
    for (state, requested, status, reason) in table {
        let mut case = Case::new();
        let backfill = &mut case.progress.as_mut().unwrap().backfills[0];
        (backfill.state, backfill.requested_at) = (state, at(requested));
        let expected = (status.to_owned(), reason.as_str().to_owned());
        assert_eq!(case.condition(ConditionType::BackfillComplete), expected, "{state:?}");
    }
}

#[test]
fn alerts_that_fire_are_named() {
    let mut case = Case::new();
    assert_eq!(case.condition(ConditionType::AlertsFiring), ("False".to_owned(), "NoAlerts".to_owned()));
    case.alerts = vec![AlertStatus {
        alert_type: crate::api::alerts::AlertType::DataflowRunDelay,
        state: AlertState::Firing,
        since: crate::api::quantities::Moment::from(at(0)),
        value: None,
        threshold: None,
        message: "late".to_owned(),
    }];
    let status = case.status(0);
    let condition = find(&status.conditions, ConditionType::AlertsFiring).unwrap();
    assert!(condition.status == "True" && condition.message.contains("DataflowRunDelay"));
}

#[test]
fn counters_stay_when_the_dataflow_does_not_report() {
    let mut case = Case::new();
    case.progress.as_mut().unwrap().counters.exported = 7;
    let told = case.status(0);
    assert_eq!(told.dataflow.as_ref().unwrap().exported, 7);
    assert_eq!((told.mapped_audiences, told.backfill_percent), (Some(1), Some(100)));
    assert_eq!(told.workers.as_ref().unwrap().ready, 1);
}
