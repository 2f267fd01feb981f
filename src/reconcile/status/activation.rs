//! Pure: the status of an activation.

use std::sync::Arc;

use jiff::Timestamp;

use super::conditions::{Draft, Phase, State, assemble, find, is_true};
use super::delivering::Told;
use super::{MAX_ECHO, echo, phase_of_problems};
use crate::api::activation::{AudienceStatus, BackfillState, WorkersStatus};
use crate::api::alerts::{AlertState, AlertStatus};
use crate::api::conditions::{ConditionType, Reason};
use crate::api::{AudienceActivation, AudienceActivationStatus, KinesisDestinationStatus, REQUESTED_AT};
use crate::dataflow::progress::Progress;
use crate::export::MappingSpec;
use crate::reconcile::inventory::ObjectKey;
use crate::reconcile::observe;
use crate::reconcile::plan::Pause;
use crate::reconcile::validate::activation::BackfillSettings;
use crate::reconcile::validate::{Problem, shortened};

/// Crashes in a row before workers count as failing.
pub const CRASHES: u32 = 3;

/// What a pass knows of an activation.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// The resource.
    pub activation: &'a AudienceActivation,
    /// Its name.
    pub key: &'a ObjectKey,
    /// What the checks found.
    pub problems: &'a [Problem],
    /// Since when something that it refers to is missing.
    pub missing_since: Option<Timestamp>,
    /// The name of its destination.
    pub destination_key: &'a ObjectKey,
    /// What this pass says of its destination.
    pub destination: Option<&'a KinesisDestinationStatus>,
    /// Why it should not run.
    pub pause: Option<&'a Pause>,
    /// What it should export.
    pub mapping: Option<&'a Arc<MappingSpec>>,
    /// How history is exported.
    pub backfill: &'a BackfillSettings,
    /// What its dataflow tells, where one runs.
    pub progress: Option<&'a Progress>,
    /// What is said of the delivery.
    pub delivering: &'a Told,
    /// Its alerts.
    pub alerts: &'a [AlertStatus],
    /// Its workers' history.
    pub workers: &'a Workers,
}

/// How the workers of an activation have fared.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Workers {
    /// How often one was started again.
    pub restarts: u32,
    /// Crashes in a row.
    pub crashes: u32,
    /// What the last one was for.
    pub last_error: Option<String>,
    /// When to start one again.
    pub retry_at: Option<Timestamp>,
    /// When the last one was started.
    pub started_at: Option<Timestamp>,
}

/// The status of an activation of which `facts` are known.
pub fn status(old: Option<&AudienceActivationStatus>, facts: &Facts<'_>, now: Timestamp) -> AudienceActivationStatus {
    let metadata = &facts.activation.metadata;
    let none = AudienceActivationStatus::default();
    let old = old.unwrap_or(&none);
    let audiences = match facts.mapping {
        Some(mapping) => observe::audiences(mapping, &old.audiences, facts.progress, facts.backfill, now),
        None => old.audiences.clone(),
    };
    let mut drafts = phase(facts, now).drafts().to_vec();
    drafts.push(destination_ready(facts));
    let told = facts.delivering;
    drafts.push(Draft::new(ConditionType::Delivering, told.state, told.reason, shortened(&told.message)));
    drafts.push(backfill_complete(facts, &audiences, now));
    drafts.push(alerts_firing(facts.alerts));
    AudienceActivationStatus {
        observed_generation: metadata.generation,
        last_handled_request_at: echo(metadata, REQUESTED_AT),
        last_handled_resync_at: facts
            .progress
            .and_then(|progress| progress.resync.as_ref())
            .map(|resync| resync.chars().take(MAX_ECHO).collect())
            .or(old.last_handled_resync_at.clone()),
        conditions: assemble(&old.conditions, drafts, metadata.generation, now),
        mapped_audiences: Some(facts.activation.spec.audiences.len() as u32),
        backfill_percent: observe::backfill_percent(&audiences),
        audiences,
        dataflow: facts.progress.map(observe::dataflow).or_else(|| old.dataflow.as_ref().map(observe::at_rest)),
        runs: facts.progress.map_or_else(|| old.runs.clone(), |progress| observe::runs(progress, now)),
        alerts: facts.alerts.to_vec(),
        workers: Some(WorkersStatus {
            desired: u32::from(facts.pause.is_none()),
            ready: u32::from(facts.pause.is_none() && runs_this_generation(facts)),
            restarts: facts.workers.restarts,
            last_error: facts.workers.last_error.as_deref().map(shortened),
        }),
    }
}

/// Whether a worker runs, with the mapping that it should have.
fn runs_this_generation(facts: &Facts<'_>) -> bool {
    facts
        .progress
        .zip(facts.mapping)
        .is_some_and(|(progress, mapping)| Arc::ptr_eq(&progress.mapping, mapping) || progress.mapping == *mapping)
}

fn phase(facts: &Facts<'_>, now: Timestamp) -> Phase {
    if facts.activation.metadata.deletion_timestamp.is_some() {
        let message = "being deleted: what is in flight is awaited".to_owned();
        return Phase::Progressing { reason: Reason::Draining, message };
    }
    if let Some(phase) = phase_of_problems(facts.problems, facts.missing_since, now) {
        return phase;
    }
    let ready = facts.destination.and_then(|status| find(&status.conditions, ConditionType::Ready));
    let destination = facts.destination.map_or(&[][..], |status| &status.conditions);
    let Some(ready) = ready.filter(|ready| ready.status == "True") else {
        let (reason, message) = (Reason::DestinationNotReady, destination_message(facts));
        return if is_true(destination, ConditionType::Stalled) {
            Phase::Stalled { reason, message }
        } else {
            Phase::Progressing { reason, message }
        };
    };
    match facts.pause {
        Some(pause) if pause.reason == Reason::Suspended => {
            return Phase::Well { reason: Reason::Suspended, message: pause.message.clone() };
        }
        Some(pause) => return Phase::Progressing { reason: pause.reason, message: shortened(&pause.message) },
        None => {}
    }
    if !runs_this_generation(facts) {
        if facts.progress.is_none() && facts.workers.crashes >= CRASHES {
            let error = facts.workers.last_error.as_deref().unwrap_or("no reason was told");
            let message = shortened(&format!("the dataflow keeps failing, and is started again: {error}"));
            return Phase::Progressing { reason: Reason::WorkersFailing, message };
        }
        let message = match facts.progress {
            None => "the dataflow is being started",
            Some(_) => "the dataflow is taking up the changed mapping: what came before it is delivered first",
        };
        return Phase::Progressing { reason: Reason::WorkersStarting, message: message.to_owned() };
    }
    if ready.reason == Reason::PermissionsUnverified.as_str() {
        let message = "The dataflow runs; the destination's permissions are not verified.".to_owned();
        return Phase::Well { reason: Reason::PermissionsUnverified, message };
    }
    Phase::Well { reason: Reason::Succeeded, message: "The dataflow runs.".to_owned() }
}

/// What is wrong with the destination. Its own words stay in its namespace: they name Secrets and accounts.
fn destination_message(facts: &Facts<'_>) -> String {
    let key = facts.destination_key;
    let ready = facts.destination.and_then(|status| find(&status.conditions, ConditionType::Ready));
    match ready {
        None => format!("KinesisDestination {key} has not been looked at yet"),
        Some(ready) if key.namespace == facts.key.namespace => {
            shortened(&format!("KinesisDestination {key} is not ready: {}", ready.message))
        }
        Some(ready) => format!("KinesisDestination {key} is not ready ({}); see its status", ready.reason),
    }
}

fn destination_ready(facts: &Facts<'_>) -> Draft {
    let kind = ConditionType::DestinationReady;
    let of_destination =
        |problem: &&Problem| matches!(problem.reason, Reason::DestinationNotFound | Reason::NamespaceNotAllowed);
    if let Some(problem) = facts.problems.iter().find(of_destination) {
        return Draft::new(kind, false, problem.reason, shortened(&problem.message));
    }
    let ready = facts.destination.is_some_and(|status| is_true(&status.conditions, ConditionType::Ready));
    if ready {
        let message = format!("KinesisDestination {} is ready.", facts.destination_key);
        return Draft::new(kind, true, Reason::DestinationReady, message);
    }
    Draft::new(kind, false, Reason::DestinationNotReady, destination_message(facts))
}

fn backfill_complete(facts: &Facts<'_>, audiences: &[AudienceStatus], now: Timestamp) -> Draft {
    let kind = ConditionType::BackfillComplete;
    let states = || audiences.iter().filter_map(|audience| audience.backfill.as_ref()).map(|backfill| backfill.state);
    let any = |wanted| states().any(|state| state == wanted);
    let late = facts.progress.is_some_and(|progress| {
        progress.backfills.iter().any(|reached| observe::lateness(reached, facts.backfill, now).is_some())
    });
    if audiences.is_empty() {
        return Draft::new(kind, State::Unknown, Reason::Pending, "No audience is mapped yet.");
    }
    if late {
        let message = "A backfill is past its deadline; status.audiences says what it would take.";
        return Draft::new(kind, false, Reason::BackfillOverdue, message);
    }
    if any(BackfillState::Running) {
        let message = "Members of mapped audiences are being exported; see status.backfillPercent.";
        return Draft::new(kind, false, Reason::BackfillRunning, message);
    }
    if any(BackfillState::Pending) {
        return Draft::new(kind, false, Reason::Pending, "A backfill waits for its turn.");
    }
    if any(BackfillState::Completed) {
        let message = "The members of every mapped audience have been exported.";
        return Draft::new(kind, true, Reason::BackfillCompleted, message);
    }
    Draft::new(kind, true, Reason::BackfillDisabled, "spec.backfill.enabled is false: history is not exported.")
}

fn alerts_firing(alerts: &[AlertStatus]) -> Draft {
    let kind = ConditionType::AlertsFiring;
    let firing: Vec<&str> = alerts
        .iter()
        .filter(|alert| alert.state == AlertState::Firing)
        .map(|alert| alert.alert_type.as_str())
        .collect();
    if firing.is_empty() {
        return Draft::new(kind, false, Reason::NoAlerts, "No alert fires.");
    }
    let message = format!("Firing: {}; status.alerts says what to do.", firing.join(", "));
    Draft::new(kind, true, Reason::AlertsFiring, message)
}

#[cfg(test)]
mod tests;
