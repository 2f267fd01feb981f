//! Alerts: pure. From what a dataflow tells, and the rules, to what fires, what resolves, and what is only told.
//!
//! An alert fires when its measure is over the threshold. It resolves when the measure has stayed under four fifths of the
//! threshold for a while ([`quiet_for`]), so noise about the threshold neither fires nor resolves it again and again. Without
//! a measure it stays as it is. Posting to webhooks is the shell's.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use super::status::signed;
use super::validate::activation::BackfillSettings;
use super::validate::alert_rules::AlertRules;
use super::validate::shortened;
use crate::api::alerts::{AlertState, AlertStatus, AlertType};
use crate::api::quantities::Moment;
use crate::dataflow::progress::Progress;

pub mod measure;
pub mod notices;

use measure::Measure;

/// How long a resolved alert stays in the status.
const RESOLVED_KEPT: Duration = Duration::from_hours(24);

/// What the alerts of one activation are judged by.
#[derive(Debug, Clone, Copy)]
pub struct Evidence<'a> {
    /// The rules of destination and activation, merged.
    pub rules: &'a AlertRules,
    /// What the dataflow tells, where one runs.
    pub progress: Option<&'a Progress>,
    /// How history is exported.
    pub backfill: &'a BackfillSettings,
    /// What AWS says of the destination's credentials, where it is known to refuse them.
    pub credentials_refused: Option<&'a str>,
    /// Whether the user wants nothing to be exported now.
    pub suspended: bool,
}

/// Since when the measure of a firing alert has been well under its threshold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AlertMemory {
    quiet: BTreeMap<AlertType, Timestamp>,
}

/// An alert that has begun to fire, or has resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transition {
    /// How it is now.
    pub alert: AlertStatus,
}

/// The alerts as they are now, the firing ones first, and which of them have changed.
pub fn evaluate(
    old: &[AlertStatus],
    memory: &mut AlertMemory,
    evidence: &Evidence<'_>,
    now: Timestamp,
) -> (Vec<AlertStatus>, Vec<Transition>) {
    let (mut alerts, mut transitions) = (Vec::new(), Vec::new());
    for alert_type in AlertType::ALL.into_iter().filter(|alert| !alert.is_notification()) {
        let before = old.iter().find(|alert| alert.alert_type == alert_type);
        let measure = measure::measure(alert_type, evidence, now);
        let Some(alert) = next(alert_type, before, memory, &measure, evidence.rules, now) else { continue };
        let changed = match before {
            Some(before) => before.state != alert.state,
            None => alert.state == AlertState::Firing,
        };
        if changed {
            transitions.push(Transition { alert: alert.clone() });
        }
        alerts.push(alert);
    }
    alerts.sort_by_key(|alert| alert.state == AlertState::Resolved);
    (alerts, transitions)
}

fn next(
    alert_type: AlertType,
    before: Option<&AlertStatus>,
    memory: &mut AlertMemory,
    measure: &Measure,
    rules: &AlertRules,
    now: Timestamp,
) -> Option<AlertStatus> {
    let firing = before.filter(|alert| alert.state == AlertState::Firing);
    if let Measure::Over { value, message } = measure {
        memory.quiet.remove(&alert_type);
        return Some(AlertStatus {
            alert_type,
            state: AlertState::Firing,
            since: firing.map_or(Moment::from(now), |alert| alert.since),
            value: value.clone(),
            threshold: rules.threshold_text(alert_type),
            message: shortened(message),
        });
    }
    let Some(firing) = firing else {
        let kept = |alert: &&AlertStatus| now.duration_since(alert.since.into()) < signed(RESOLVED_KEPT);
        return before.filter(kept).cloned();
    };
    let Measure::Clear { value } = measure else {
        memory.quiet.remove(&alert_type);
        return Some(firing.clone());
    };
    let since = *memory.quiet.entry(alert_type).or_insert(now);
    if now.duration_since(since) < signed(quiet_for(alert_type)) {
        return Some(firing.clone());
    }
    memory.quiet.remove(&alert_type);
    Some(AlertStatus {
        state: AlertState::Resolved,
        since: Moment::from(now),
        value: value.clone(),
        threshold: rules.threshold_text(alert_type),
        message: format!("resolved; it was: {}", shortened(&firing.message).chars().take(900).collect::<String>()),
        ..firing.clone()
    })
}

/// How long the measure must be well under the threshold before the alert resolves.
pub const fn quiet_for(alert: AlertType) -> Duration {
    match alert {
        // They change once, not gradually.
        AlertType::DataflowRunStart
        | AlertType::DataflowRunSuccess
        | AlertType::DataflowRunFailure
        | AlertType::BackfillOverdue => Duration::ZERO,
        AlertType::DeadLettersPresent | AlertType::CredentialsInvalid => Duration::from_mins(1),
        AlertType::DataflowRunDelay | AlertType::ActivationSkippedRateExceeded | AlertType::SustainedThrottling => {
            Duration::from_mins(5)
        }
    }
}

#[cfg(test)]
mod tests;
