//! Types and pure parsing: what a user may be alerted of, from which threshold on. The alerts themselves are decided in
//! `reconcile`.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    quantities::{DURATION_PATTERN, DurationText, Moment},
    references::SecretName,
};

/// What a percentage looks like: up to 100, up to two decimals.
const PERCENT_PATTERN: &str = "^(100|[0-9]{1,2}([.][0-9]{1,2})?)%$";
/// What a count looks like: at least one.
const COUNT_PATTERN: &str = "^[1-9][0-9]{0,8}$";

/// What an alert watches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum AlertType {
    /// A run (an hourly window, or a backfill) began. A notification.
    DataflowRunStart,
    /// A run ended without failures. A notification.
    DataflowRunSuccess,
    /// A run ended with records that could not be delivered, or could not go on.
    DataflowRunFailure,
    /// The dataflow lags behind its feed. Threshold: a duration, default 10m.
    DataflowRunDelay,
    /// Profiles were excluded for lack of a required attribute. Threshold: a percentage of the run's, default 1%.
    ActivationSkippedRateExceeded,
    /// Dead letters wait. Threshold: a count, default 1.
    DeadLettersPresent,
    /// The stream has throttled without a pause. Threshold: a duration, default 5m.
    SustainedThrottling,
    /// The credentials are refused or expired.
    CredentialsInvalid,
    /// A backfill is past its deadline. Threshold: by how much, a duration, default 0s.
    BackfillOverdue,
}

/// From where on an alert fires.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Threshold {
    /// Longer than this.
    Duration(Duration),
    /// More than this share, in percent (0 to 100).
    Percent(f64),
    /// At least as many.
    Count(u64),
}

/// Why the text of a threshold does not fit its alert.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ThresholdError {
    /// The type fires on an event, not past a threshold.
    #[error("{0} takes no threshold")]
    NotTaken(&'static str),
    /// Not a duration, a percentage or a count, as the type asks.
    #[error("{text:?} is not a threshold of {alert}: write {expected}")]
    Malformed {
        /// The alert's type.
        alert: &'static str,
        /// What was written.
        text: String,
        /// What it should look like.
        expected: &'static str,
    },
}

impl AlertType {
    /// Every type, in the order of the documentation.
    pub const ALL: [Self; 9] = [
        Self::DataflowRunStart,
        Self::DataflowRunSuccess,
        Self::DataflowRunFailure,
        Self::DataflowRunDelay,
        Self::ActivationSkippedRateExceeded,
        Self::DeadLettersPresent,
        Self::SustainedThrottling,
        Self::CredentialsInvalid,
        Self::BackfillOverdue,
    ];

    /// The name, as in the spec.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::DataflowRunStart => "DataflowRunStart",
            Self::DataflowRunSuccess => "DataflowRunSuccess",
            Self::DataflowRunFailure => "DataflowRunFailure",
            Self::DataflowRunDelay => "DataflowRunDelay",
            Self::ActivationSkippedRateExceeded => "ActivationSkippedRateExceeded",
            Self::DeadLettersPresent => "DeadLettersPresent",
            Self::SustainedThrottling => "SustainedThrottling",
            Self::CredentialsInvalid => "CredentialsInvalid",
            Self::BackfillOverdue => "BackfillOverdue",
        }
    }

    /// Notifications are told once; they neither fire nor resolve.
    pub const fn is_notification(self) -> bool {
        matches!(self, Self::DataflowRunStart | Self::DataflowRunSuccess)
    }

    /// The threshold where the user names none; `None` for a type that takes none.
    pub const fn default_threshold(self) -> Option<Threshold> {
        match self {
            Self::DataflowRunDelay => Some(Threshold::Duration(Duration::from_mins(10))),
            Self::SustainedThrottling => Some(Threshold::Duration(Duration::from_mins(5))),
            Self::BackfillOverdue => Some(Threshold::Duration(Duration::ZERO)),
            Self::ActivationSkippedRateExceeded => Some(Threshold::Percent(1.0)),
            Self::DeadLettersPresent => Some(Threshold::Count(1)),
            Self::DataflowRunStart | Self::DataflowRunSuccess | Self::DataflowRunFailure | Self::CredentialsInvalid => {
                None
            }
        }
    }

    /// Reads a threshold as this type understands it.
    pub fn parse_threshold(self, text: &str) -> Result<Threshold, ThresholdError> {
        let kind = self.default_threshold().ok_or(ThresholdError::NotTaken(self.as_str()))?;
        let (parsed, expected) = match kind {
            Threshold::Duration(_) => (
                text.parse::<DurationText>().ok().map(|parsed| Threshold::Duration(parsed.duration())),
                "a duration, such as 10m",
            ),
            Threshold::Percent(_) => (
                text.strip_suffix('%')
                    .and_then(|number| number.parse().ok())
                    .filter(|percent| (0.0..=100.0).contains(percent))
                    .map(Threshold::Percent),
                "a percentage, such as 1%",
            ),
            Threshold::Count(_) => (
                text.parse().ok().filter(|count| *count > 0).map(Threshold::Count),
                "a count of at least 1, such as 100",
            ),
        };
        parsed.ok_or_else(|| ThresholdError::Malformed { alert: self.as_str(), text: text.to_owned(), expected })
    }
}

/// Changes the threshold of one alert type, or adds a webhook to it. A type that is not listed keeps its default.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = threshold_rules()))]
pub struct AlertRule {
    /// What is watched. DataflowRunStart and DataflowRunSuccess are notifications (an Event, a webhook call); the others
    /// fire and resolve.
    #[serde(rename = "type")]
    pub alert_type: AlertType,
    /// From where on it fires: a duration for DataflowRunDelay (default 10m), SustainedThrottling (5m) and BackfillOverdue
    /// (0s, past the deadline), a percentage for ActivationSkippedRateExceeded (1%), a count for DeadLettersPresent (1).
    /// The other types take none. A change takes effect at the next evaluation.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub threshold: Option<String>,
    /// A Secret of the same namespace with the key `url`, to which changes of the alert are posted, and, if wanted, the
    /// key `signingKey`, with which the posts are signed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webhook_secret_ref: Option<SecretName>,
}

impl AlertRule {
    /// The threshold that holds: the user's or the default; `None` for a type that takes none.
    pub fn threshold(&self) -> Result<Option<Threshold>, ThresholdError> {
        match &self.threshold {
            Some(text) => self.alert_type.parse_threshold(text).map(Some),
            None => Ok(self.alert_type.default_threshold()),
        }
    }
}

fn threshold_rules() -> Value {
    json!([
        {
            "rule": "!has(self.threshold) || self.type in ['DataflowRunDelay', 'SustainedThrottling', 'BackfillOverdue', \
                     'ActivationSkippedRateExceeded', 'DeadLettersPresent']",
            "message": "this alert type takes no threshold; remove it",
        },
        {
            "rule": format!(
                "!has(self.threshold) || !(self.type in ['DataflowRunDelay', 'SustainedThrottling', 'BackfillOverdue']) || \
                 (self.threshold.matches('{DURATION_PATTERN}') && duration(self.threshold) <= duration('168h'))"
            ),
            "message": "the threshold of this alert type must be a duration of at most 168h, such as 10m",
        },
        {
            "rule": format!(
                "!has(self.threshold) || self.type != 'ActivationSkippedRateExceeded' || \
                 self.threshold.matches('{PERCENT_PATTERN}')"
            ),
            "message": "the threshold of ActivationSkippedRateExceeded must be a percentage from 0% to 100%, such as 1%",
        },
        {
            "rule": format!(
                "!has(self.threshold) || self.type != 'DeadLettersPresent' || self.threshold.matches('{COUNT_PATTERN}')"
            ),
            "message": "the threshold of DeadLettersPresent must be a count of at least 1, such as 100",
        },
    ])
}

/// Whether an alert holds now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum AlertState {
    /// It holds.
    Firing,
    /// It held, and does no longer.
    Resolved,
}

/// One alert that fires or has fired.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AlertStatus {
    /// What is watched.
    #[serde(rename = "type")]
    pub alert_type: AlertType,
    /// Firing or Resolved.
    pub state: AlertState,
    /// Since when it has been in this state.
    pub since: Moment,
    /// What was measured, in the unit of the threshold.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub value: Option<String>,
    /// The threshold that held at the time.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub threshold: Option<String>,
    /// The cause, and what to do.
    #[schemars(length(max = 1024))]
    pub message: String,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn each_type_reads_the_threshold_of_its_kind() {
        use AlertType::{ActivationSkippedRateExceeded, DataflowRunDelay, DeadLettersPresent};
        assert_eq!(DataflowRunDelay.parse_threshold("1m").unwrap(), Threshold::Duration(Duration::from_mins(1)));
        assert_eq!(ActivationSkippedRateExceeded.parse_threshold("2.5%").unwrap(), Threshold::Percent(2.5));
        assert_eq!(DeadLettersPresent.parse_threshold("10").unwrap(), Threshold::Count(10));
        assert!(DataflowRunDelay.parse_threshold("1%").is_err());
        assert!(ActivationSkippedRateExceeded.parse_threshold("101%").is_err());
        assert!(DeadLettersPresent.parse_threshold("0").is_err());
    }

    #[test]
    fn a_type_that_fires_on_an_event_takes_no_threshold() {
        let error = AlertType::CredentialsInvalid.parse_threshold("1m").unwrap_err();
        assert_eq!(error.to_string(), "CredentialsInvalid takes no threshold");
    }

    #[test]
    fn the_name_of_a_type_is_how_it_is_serialised() {
        for alert in AlertType::ALL {
            assert_eq!(serde_json::to_value(alert).unwrap(), alert.as_str());
        }
    }
}
