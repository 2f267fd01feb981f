#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use std::sync::Arc;

use super::*;
use crate::dataflow::progress::{BackfillState, Counters, Delivery, OutageCause, Run};
use crate::export::mapping::tests::spec;
use crate::reconcile::samples::{self, at};

fn progress() -> Progress {
    samples::progress(Arc::new(spec(&["a1"], &[])), at(0))
}

fn settings() -> BackfillSettings {
    BackfillSettings { enabled: true, deadline: Duration::from_hours(1), max_records_per_second: None }
}

/// One activation over time, under the default rules.
#[derive(Default)]
struct Case {
    alerts: Vec<AlertStatus>,
    memory: AlertMemory,
    refused: Option<&'static str>,
    suspended: bool,
}

impl Case {
    fn evaluate(&mut self, progress: Option<&Progress>, second: i64) -> Vec<(AlertType, AlertState)> {
        let (rules, backfill) = (AlertRules::default(), settings());
        let evidence = Evidence {
            rules: &rules,
            progress,
            backfill: &backfill,
            credentials_refused: self.refused,
            suspended: self.suspended,
        };
        let (alerts, transitions) = evaluate(&self.alerts, &mut self.memory, &evidence, at(second));
        self.alerts = alerts;
        transitions.into_iter().map(|transition| (transition.alert.alert_type, transition.alert.state)).collect()
    }
}

fn ended(exported: u64, failed: u64, excluded: u64) -> Run {
    Run { start: at(-3_600), counters: Counters { exported, excluded, failed, ..Counters::default() } }
}

fn late(seconds: u64) -> Progress {
    Progress { lag: Duration::from_secs(seconds), ..progress() }
}

fn with_runs(runs: Vec<Run>) -> Progress {
    Progress { runs, ..progress() }
}

fn delivering(delivery: Delivery) -> Progress {
    Progress { delivery, ..progress() }
}

fn overdue() -> Progress {
    let mut progress = progress();
    progress.backfills[0].state = BackfillState::Running;
    progress.backfills[0].requested_at = at(-3_601);
    progress
}

#[test]
fn an_alert_of_each_type_fires_and_resolves_once() {
    let refused =
        || Delivery::Outage { cause: OutageCause::Credentials, message: "ExpiredToken".to_owned(), since: at(-61) };
    let table = [
        (AlertType::DataflowRunFailure, with_runs(vec![ended(10, 1, 0)]), with_runs(vec![ended(10, 0, 0)])),
        (AlertType::DataflowRunFailure, delivering(Delivery::PositionLost { message: "gone".to_owned() }), progress()),
        (AlertType::DataflowRunDelay, late(601), late(400)),
        (
            AlertType::ActivationSkippedRateExceeded,
            with_runs(vec![ended(980, 0, 20)]),
            with_runs(vec![ended(999, 0, 1)]),
        ),
        (AlertType::DeadLettersPresent, Progress { dead_letters: 1, ..progress() }, progress()),
        (AlertType::SustainedThrottling, delivering(Delivery::Throttled { since: at(-301) }), progress()),
        (AlertType::CredentialsInvalid, delivering(refused()), progress()),
        (AlertType::BackfillOverdue, overdue(), progress()),
    ];
    for (alert, bad, good) in table {
        let mut case = Case::default();
        assert_eq!(case.evaluate(Some(&good), 0), [], "{alert:?}");
        assert_eq!(case.evaluate(Some(&bad), 1), [(alert, AlertState::Firing)]);
        assert_eq!(case.evaluate(Some(&bad), 2), [], "{alert:?} fires once");
        assert_eq!(case.alerts[0].since, Moment::from(at(1)));
        assert!(case.alerts[0].message.len() > 20);
        let mut transitions = Vec::new();
        for second in 3..400 {
            transitions.extend(case.evaluate(Some(&good), second));
        }
        assert_eq!(transitions, [(alert, AlertState::Resolved)], "{alert:?} resolves once");
        assert!(case.alerts.iter().all(|alert| alert.state == AlertState::Resolved));
    }
}

#[test]
fn noise_about_the_threshold_does_not_flap() {
    let mut case = Case::default();
    let mut transitions = Vec::new();
    for second in 0..7_200 {
        // From 450 to 749 seconds, up and down without order.
        let lag = 450 + (second * 7_919) % 300;
        transitions.extend(case.evaluate(Some(&late(lag as u64)), second));
    }
    assert_eq!(transitions, [(AlertType::DataflowRunDelay, AlertState::Firing)]);
}

#[test]
fn what_is_near_the_threshold_neither_fires_nor_resolves() {
    let mut case = Case::default();
    assert_eq!(case.evaluate(Some(&late(590)), 0), []);
    assert_eq!(case.evaluate(Some(&late(610)), 1).len(), 1);
    for second in 2..2_000 {
        assert_eq!(case.evaluate(Some(&late(590)), second), []);
    }
    assert_eq!(case.alerts[0].state, AlertState::Firing);
}

#[test]
fn without_a_dataflow_an_alert_stays_as_it_is_unless_the_user_suspended_it() {
    let mut case = Case::default();
    case.evaluate(Some(&late(601)), 0);
    for second in 1..1_000 {
        assert_eq!(case.evaluate(None, second), []);
    }
    case.suspended = true;
    assert_eq!(case.evaluate(None, 1_000), []);
    assert_eq!(case.evaluate(None, 1_300), [(AlertType::DataflowRunDelay, AlertState::Resolved)]);
}

#[test]
fn a_young_run_is_no_measure_of_its_rate() {
    let young = |excluded| Run { start: at(0), counters: Counters { exported: 50, excluded, ..Counters::default() } };
    let mut case = Case::default();
    assert_eq!(case.evaluate(Some(&with_runs(vec![young(40)])), 0), []);
    let fires = [(AlertType::ActivationSkippedRateExceeded, AlertState::Firing)];
    assert_eq!(case.evaluate(Some(&with_runs(vec![young(60)])), 1), fires);
}

#[test]
fn credentials_that_a_probe_found_refused_fire_without_a_dataflow() {
    let mut case = Case { refused: Some("AWS refuses the credentials: put the right ones"), ..Case::default() };
    assert_eq!(case.evaluate(None, 0), [(AlertType::CredentialsInvalid, AlertState::Firing)]);
    let just_now = Delivery::Outage { cause: OutageCause::Credentials, message: "no".to_owned(), since: at(0) };
    let mut case = Case::default();
    assert_eq!(case.evaluate(Some(&delivering(just_now)), 30), [], "a rotation takes a moment to spread");
}

#[test]
fn a_resolved_alert_is_forgotten_after_a_day() {
    let mut case = Case::default();
    case.evaluate(Some(&overdue()), 0);
    case.evaluate(Some(&progress()), 1);
    assert_eq!(case.alerts.len(), 1);
    case.evaluate(Some(&progress()), 86_400);
    assert_eq!(case.alerts.len(), 1);
    case.evaluate(Some(&progress()), 86_402);
    assert_eq!(case.alerts, []);
}
