//! Pure: what is told once, as an Event and to webhooks: transitions and one-off facts, never one a pass.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::alerts::Transition;
use super::alerts::notices::{self, Notice};
use super::inventory::ObjectKey;
use super::status::conditions::find;
use super::validate::alert_rules::{AlertRules, Webhook};
use crate::api::alerts::{AlertState, AlertType};
use crate::api::conditions::{ConditionType, Reason};
use crate::api::{AudienceActivationStatus, KinesisDestinationStatus};

/// Which kind of resource an Event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum About {
    /// A `KinesisDestination`.
    Destination,
    /// An `AudienceActivation`.
    Activation,
}

impl About {
    /// The kind, as in a manifest.
    pub const fn kind(self) -> &'static str {
        match self {
            Self::Destination => "KinesisDestination",
            Self::Activation => "AudienceActivation",
        }
    }
}

/// The action of what a pass found.
const RECONCILE: &str = "Reconcile";

/// Something that happened once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The kind of its resource.
    pub about: About,
    /// The name of its resource.
    pub key: ObjectKey,
    /// Whether it is a Warning, not Normal.
    pub warning: bool,
    /// What was being done. Kubernetes counts Events of one action and one reason as one, whatever their messages: each alert is
    /// an action of its own.
    pub action: &'static str,
    /// What happened.
    pub reason: Reason,
    /// In a sentence, with the mend.
    pub message: String,
}

/// Something that is to be posted to a webhook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notification {
    /// The activation that it is about.
    pub activation: ObjectKey,
    /// What is watched.
    pub alert: AlertType,
    /// How the alert is now; absent of what is only told.
    pub state: Option<AlertState>,
    /// What was measured.
    pub value: Option<String>,
    /// From where on it fires.
    pub threshold: Option<String>,
    /// The cause, and what to do.
    pub message: String,
    /// When.
    pub at: Timestamp,
    /// Where to.
    pub webhook: Webhook,
}

/// What happened to a destination between two statuses.
pub fn of_destination(
    key: &ObjectKey,
    old: Option<&KinesisDestinationStatus>,
    new: &KinesisDestinationStatus,
) -> Vec<Event> {
    let event = |warning, action, reason, message: &str| Event {
        about: About::Destination,
        key: key.clone(),
        warning,
        action,
        reason,
        message: message.to_owned(),
    };
    let before = old.map_or(&[][..], |old| &old.conditions);
    let mut events: Vec<Event> = ready_change(before, &new.conditions)
        .map(|(warning, reason, message)| event(warning, RECONCILE, reason, message))
        .into_iter()
        .collect();
    let version = |status: &KinesisDestinationStatus| {
        status.credentials.as_ref().and_then(|credentials| credentials.secret_resource_version.clone())
    };
    if let Some((old, new)) = old.and_then(version).zip(version(new))
        && old != new
    {
        let message = "The Secret changed: dataflows take up its keys without a restart.";
        events.push(event(false, "RotateCredentials", Reason::CredentialsRotated, message));
    }
    events
}

/// What happened to an activation between two statuses, and what of it is to be posted.
pub fn of_activation(
    key: &ObjectKey,
    old: Option<&AudienceActivationStatus>,
    new: &AudienceActivationStatus,
    transitions: &[Transition],
    rules: &AlertRules,
    now: Timestamp,
) -> (Vec<Event>, Vec<Notification>) {
    let event = |warning, action, reason, message: &str| Event {
        about: About::Activation,
        key: key.clone(),
        warning,
        action,
        reason,
        message: message.to_owned(),
    };
    let none = AudienceActivationStatus::default();
    let before = old.unwrap_or(&none);
    let mut events: Vec<Event> = ready_change(&before.conditions, &new.conditions)
        .map(|(warning, reason, message)| event(warning, RECONCILE, reason, message))
        .into_iter()
        .collect();
    if new.last_handled_resync_at.is_some() && new.last_handled_resync_at != before.last_handled_resync_at {
        let message = "A resync began: every member of a mapped audience is exported again.";
        events.push(event(false, "Resync", Reason::ResyncStarted, message));
    }
    if !notices::is_complete(before) && notices::is_complete(new) {
        let message = "The members of every mapped audience have been exported.";
        events.push(event(false, "Backfill", Reason::BackfillCompleted, message));
    }
    let mut notifications = Vec::new();
    for transition in transitions {
        let alert = &transition.alert;
        let firing = alert.state == AlertState::Firing;
        let reason = if firing { Reason::AlertsFiring } else { Reason::NoAlerts };
        let message =
            format!("{} {}: {}", alert.alert_type.as_str(), if firing { "fires" } else { "is over" }, alert.message);
        events.push(event(firing, alert.alert_type.as_str(), reason, &message));
        notifications.extend(rules.webhook(alert.alert_type).map(|webhook| Notification {
            activation: key.clone(),
            alert: alert.alert_type,
            state: Some(alert.state),
            value: alert.value.clone(),
            threshold: alert.threshold.clone(),
            message: alert.message.clone(),
            at: now,
            webhook: webhook.clone(),
        }));
    }
    for Notice { alert_type, message } in notices::notices(before, new) {
        let began = alert_type == AlertType::DataflowRunStart;
        let reason = if began { Reason::RunStarted } else { Reason::RunEnded };
        events.push(event(false, alert_type.as_str(), reason, &message));
        notifications.extend(rules.webhook(alert_type).map(|webhook| Notification {
            activation: key.clone(),
            alert: alert_type,
            state: None,
            value: None,
            threshold: None,
            message,
            at: now,
            webhook: webhook.clone(),
        }));
    }
    (events, notifications)
}

/// Whether `Ready` says something else than before; the first word of a resource only counts once it is a verdict.
fn ready_change<'a>(old: &[Condition], new: &'a [Condition]) -> Option<(bool, Reason, &'a str)> {
    let after = find(new, ConditionType::Ready)?;
    let stalled = find(new, ConditionType::Stalled).is_some_and(|stalled| stalled.status == "True");
    let told = match find(old, ConditionType::Ready) {
        Some(before) => {
            let was_stalled = find(old, ConditionType::Stalled).is_some_and(|stalled| stalled.status == "True");
            before.status != after.status || before.reason != after.reason || stalled != was_stalled
        }
        None => after.status == "True" || stalled,
    };
    let reason = after.reason.parse().ok()?;
    told.then_some((stalled, reason, after.message.as_str()))
}
