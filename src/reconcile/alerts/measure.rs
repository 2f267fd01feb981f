//! Pure: what each alert measures, and how it stands to its threshold.

use std::time::Duration;

use jiff::Timestamp;

use super::Evidence;
use crate::api::activation::RunState;
use crate::api::alerts::{AlertType, Threshold};
use crate::dataflow::progress::{Delivery, OutageCause, Progress, Run};
use crate::reconcile::observe;
use crate::reconcile::status::delivering;

/// Profiles that a run must have seen before its rate says anything; before that, the last ended run speaks.
const SAMPLE: u64 = 100;
/// How long a dataflow must be refused for its credentials before it counts: a rotation takes a moment to spread.
const CREDENTIALS_OUTAGE: Duration = Duration::from_mins(1);
/// What must be undercut for an alert to resolve, as a share of its threshold.
const CLEAR: f64 = 0.8;

/// How a measure stands to its threshold.
#[derive(Debug, Clone, PartialEq)]
pub enum Measure {
    /// Over it.
    Over {
        /// What was measured.
        value: Option<String>,
        /// The cause, and what to do.
        message: String,
    },
    /// Not over it, and not well under it.
    Near,
    /// Well under it.
    Clear {
        /// What was measured.
        value: Option<String>,
    },
    /// Nothing was measured.
    Unknown,
}

/// What `alert` measures now.
pub fn measure(alert: AlertType, evidence: &Evidence<'_>, now: Timestamp) -> Measure {
    if alert == AlertType::CredentialsInvalid {
        return credentials(evidence, now);
    }
    let Some(progress) = evidence.progress else {
        let waits =
            matches!(alert, AlertType::DataflowRunDelay | AlertType::SustainedThrottling | AlertType::BackfillOverdue);
        // Who suspends a dataflow knows that it does not move.
        return if evidence.suspended && waits { Measure::Clear { value: None } } else { Measure::Unknown };
    };
    let threshold = evidence.rules.threshold(alert);
    match (alert, threshold) {
        (AlertType::DataflowRunFailure, _) => run_failure(progress, now),
        (AlertType::DataflowRunDelay, Some(Threshold::Duration(limit))) => longer(progress.lag, limit, |lag| {
            format!("the dataflow is {lag} behind its feed; see Delivering for what holds it up")
        }),
        (AlertType::SustainedThrottling, Some(Threshold::Duration(limit))) => match progress.delivery {
            Delivery::Throttled { since } => longer(elapsed(since, now), limit, |spent| {
                format!("the stream has throttled for {spent}: {}", delivering::throttled(progress))
            }),
            _ => Measure::Clear { value: None },
        },
        (AlertType::ActivationSkippedRateExceeded, Some(Threshold::Percent(limit))) => skipped(progress, limit, now),
        (AlertType::DeadLettersPresent, Some(Threshold::Count(limit))) => dead_letters(progress.dead_letters, limit),
        (AlertType::BackfillOverdue, Some(Threshold::Duration(limit))) => overdue(evidence, progress, limit, now),
        _ => Measure::Unknown,
    }
}

fn longer(measured: Duration, limit: Duration, message: impl Fn(&str) -> String) -> Measure {
    let value = text(measured);
    if measured > limit {
        Measure::Over { message: message(&value), value: Some(value) }
    } else if measured <= limit.mul_f64(CLEAR) {
        Measure::Clear { value: Some(value) }
    } else {
        Measure::Near
    }
}

fn run_failure(progress: &Progress, now: Timestamp) -> Measure {
    if let Delivery::PositionLost { message } = &progress.delivery {
        let message = format!("the run was cut off: {message}");
        return Measure::Over { value: None, message };
    }
    let Some(run) = last_ended(progress, now) else { return Measure::Clear { value: None } };
    let failed = run.counters.failed;
    match observe::run_state(run, now) {
        RunState::PartialSuccess | RunState::Failed => Measure::Over {
            value: Some(failed.to_string()),
            message: format!(
                "{failed} records of the run from {} could not be delivered; see the dead letters, and send them again",
                run.start
            ),
        },
        RunState::Success | RunState::Running => Measure::Clear { value: Some("0".to_owned()) },
    }
}

fn last_ended(progress: &Progress, now: Timestamp) -> Option<&Run> {
    progress.runs.iter().rev().find(|run| run.end() <= now)
}

fn skipped(progress: &Progress, limit: f64, now: Timestamp) -> Measure {
    let seen = |run: &Run| run.counters.exported + run.counters.failed + run.counters.excluded;
    let current = progress.runs.last().filter(|run| run.end() > now && seen(run) >= SAMPLE);
    let Some(run) = current.or_else(|| last_ended(progress, now)) else { return Measure::Unknown };
    if seen(run) == 0 {
        return Measure::Clear { value: None };
    }
    let rate = run.counters.excluded as f64 * 100.0 / seen(run) as f64;
    let value = Some(format!("{rate:.1}%"));
    if rate > limit {
        let message = format!(
            "{rate:.1}% of the profiles of the run from {} lack a required attribute and were not exported; correct the feed, or \
             make the attribute optional",
            run.start
        );
        Measure::Over { value, message }
    } else if rate <= limit * CLEAR {
        Measure::Clear { value }
    } else {
        Measure::Near
    }
}

fn dead_letters(waiting: u64, limit: u64) -> Measure {
    let value = Some(waiting.to_string());
    if waiting >= limit {
        let message = format!(
            "{waiting} dead letters wait; `activation-operator dead-letters` lists them, sends them again or drops them"
        );
        Measure::Over { value, message }
    } else if waiting as f64 <= limit as f64 * CLEAR {
        Measure::Clear { value }
    } else {
        Measure::Near
    }
}

fn overdue(evidence: &Evidence<'_>, progress: &Progress, limit: Duration, now: Timestamp) -> Measure {
    let late = progress.backfills.iter().filter_map(|reached| observe::lateness(reached, evidence.backfill, now)).max();
    match late {
        Some(late) if late > limit => Measure::Over {
            value: Some(text(late)),
            message: format!(
                "a backfill is {} past its deadline; see status.audiences for the shards that it would take",
                text(late)
            ),
        },
        Some(_) => Measure::Near,
        None => Measure::Clear { value: None },
    }
}

fn credentials(evidence: &Evidence<'_>, now: Timestamp) -> Measure {
    if let Some(message) = evidence.credentials_refused {
        return Measure::Over { value: None, message: message.to_owned() };
    }
    match evidence.progress.map(|progress| &progress.delivery) {
        Some(Delivery::Outage { cause: OutageCause::Credentials, message, since }) => {
            if elapsed(*since, now) < CREDENTIALS_OUTAGE {
                return Measure::Near;
            }
            let message = format!("AWS refuses the credentials: {message}; correct them in the destination");
            Measure::Over { value: None, message }
        }
        _ => Measure::Clear { value: None },
    }
}

fn elapsed(since: Timestamp, now: Timestamp) -> Duration {
    now.duration_since(since).try_into().unwrap_or(Duration::ZERO)
}

/// As durations are written in the spec, in whole seconds.
fn text(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match (seconds / 3_600, seconds % 3_600 / 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds}s"),
        (0, minutes, seconds) => format!("{minutes}m{seconds}s"),
        (hours, minutes, _) => format!("{hours}h{minutes}m"),
    }
}
