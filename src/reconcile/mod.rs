//! From resources to running dataflows: the middle that both shells share. Pure: a shell reads an inventory, calls [`pass`],
//! carries out the probes and steps, and publishes the statuses.
//!
//! ```text
//! inventory -> dereference -> validate -> probe -> plan -> observe -> alerts -> status
//!              (follow names)  (judge)    (when)   (steps)  (measure)            (say)
//! ```
//!
//! One file per step. [`inventory`] is what a shell has found: a folder's manifests, or an API server's objects. [`mapping`]
//! is what a dataflow exports, made of an activation and its destination. [`memory`] is what a shell keeps between passes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use crate::api::conditions::{ConditionType, Reason, moment_of};
use crate::api::{AudienceActivationStatus, KinesisDestinationStatus, REQUESTED_AT};
use crate::dataflow::progress::{Delivery, OutageCause, Progress};
use crate::export::MappingSpec;

pub mod alerts;
pub mod dereference;
pub mod events;
mod guard;
pub mod inventory;
pub mod mapping;
pub mod memory;
pub mod observe;
pub mod plan;
pub mod probe;
pub mod status;
pub mod validate;

#[cfg(test)]
pub(crate) mod samples;
#[cfg(test)]
mod tests;

pub use events::{About, Event, Notification};
pub use inventory::{Inventory, ObjectKey};
pub use memory::Memory;
pub use plan::{Desired, Pause, Step};
pub use validate::{ProcessPolicy, ValidDestination};

use dereference::{DereferencedActivation, DereferencedDestination};
use guard::guarded;
use memory::{ActivationMemory, missing_since};
use probe::{Finding, Standing};
use status::delivering::{self, Delivering};
use validate::activation::BackfillSettings;
use validate::alert_rules::AlertRules;
use validate::{Problem, ValidActivation, Verdict};

/// What a pass comes to.
#[derive(Debug, Default)]
pub struct Outcome {
    /// The destinations about which AWS is to be asked now; the answers go to [`Memory::probed`].
    pub probes_due: Vec<(ObjectKey, ValidDestination)>,
    /// What is to be done, in this order for each activation. What is not named goes on as it is. A step that fails goes to
    /// [`Memory::ended`].
    pub steps: Vec<(ObjectKey, Step)>,
    /// The status of each destination.
    pub destination_statuses: BTreeMap<ObjectKey, KinesisDestinationStatus>,
    /// The status of each activation.
    pub activation_statuses: BTreeMap<ObjectKey, AudienceActivationStatus>,
    /// What happened once.
    pub events: Vec<Event>,
    /// What is to be posted.
    pub notifications: Vec<Notification>,
    /// The resources whose judgement panicked, and with which words: a fault of the program, which leaves what runs of them as
    /// it is and concerns no other.
    pub panics: Vec<(ObjectKey, String)>,
}

/// Everything from one look at the world. The same look again, later and with nothing new in it, asks nothing, does nothing and
/// says nothing new.
pub fn pass(
    inventory: &Inventory,
    memory: &mut Memory,
    progress: &BTreeMap<ObjectKey, Progress>,
    policy: &ProcessPolicy,
    now: Timestamp,
) -> Outcome {
    let mut outcome = Outcome::default();
    stop_departed(inventory, memory, &mut outcome, now);
    let destinations = destinations(inventory, memory, progress, policy, &mut outcome, now);
    for key in inventory.activations.keys() {
        if let Some(found) = dereference::activation(inventory, key) {
            if outcome.panics.iter().any(|(panicked, _)| *panicked == found.destination_key) {
                // Nothing is known of its destination, which is no reason to stop it.
                continue;
            }
            let progress = progress.get(key);
            guarded(key, &mut outcome, |outcome| {
                activation(&found, memory, &destinations, progress, policy, outcome, now);
            });
        }
    }
    outcome
}

fn stop_departed(inventory: &Inventory, memory: &mut Memory, outcome: &mut Outcome, now: Timestamp) {
    let departed = memory.forget(
        |key| inventory.destinations.contains_key(key),
        |key| inventory.activations.contains_key(key),
        now,
    );
    let why = || Pause { reason: Reason::Draining, message: "the activation was deleted".to_owned() };
    outcome.steps.extend(departed.into_iter().map(|key| (key, Step::Stop { why: why() })));
}

/// What this pass found of a destination.
struct Judged {
    verdict: Verdict<ValidDestination>,
    /// What AWS says of its credentials, where it is believed to refuse them.
    credentials_refused: Option<String>,
}

fn destinations<'a>(
    inventory: &'a Inventory,
    memory: &mut Memory,
    progress: &BTreeMap<ObjectKey, Progress>,
    policy: &ProcessPolicy,
    outcome: &mut Outcome,
    now: Timestamp,
) -> BTreeMap<&'a ObjectKey, Judged> {
    let witnesses = Witnesses::of(inventory, progress);
    let mut judged = BTreeMap::new();
    for key in inventory.destinations.keys() {
        let Some(found) = dereference::destination(inventory, key) else { continue };
        guarded(key, outcome, |outcome| {
            judged.insert(key, destination(&found, memory, &witnesses, policy, outcome, now));
        });
    }
    judged
}

fn destination(
    found: &DereferencedDestination<'_>,
    memory: &mut Memory,
    witnesses: &Witnesses,
    policy: &ProcessPolicy,
    outcome: &mut Outcome,
    now: Timestamp,
) -> Judged {
    let key = found.key;
    let verdict = validate::destination::validate(found, policy);
    let memory = memory.destinations.entry(key.clone()).or_default();
    let old = memory.status.take().or_else(|| found.destination.status.clone());
    memory.missing_since = missing_since(
        memory.missing_since.or_else(|| told_missing_since(old.as_ref().map(|old| &old.conditions), now)),
        &verdict.problems,
        now,
    );
    let mut credentials_refused = None;
    if let Some(valid) = &verdict.valid {
        let annotations = found.destination.metadata.annotations.as_ref();
        let request = annotations.and_then(|all| all.get(REQUESTED_AT)).map(String::as_str);
        let standing = memory.probes.standing(&valid.subject);
        credentials_refused = refused_credentials(standing);
        let doubted = witnesses.doubt(key, standing);
        if memory.probes.ask(valid, request, doubted, now) {
            outcome.probes_due.push((key.clone(), valid.clone()));
        }
    }
    let facts = status::destination::Facts {
        destination: found.destination,
        verdict: &verdict,
        missing_since: memory.missing_since,
        probes: &memory.probes,
        activations: witnesses.users.get(key).copied().unwrap_or(0),
        policy,
    };
    let new = status::destination::status(old.as_ref(), &facts, now);
    outcome.events.extend(events::of_destination(key, old.as_ref(), &new));
    memory.status = Some(new.clone());
    outcome.destination_statuses.insert(key.clone(), new);
    Judged { verdict, credentials_refused }
}

fn activation(
    found: &DereferencedActivation<'_>,
    memory: &mut Memory,
    destinations: &BTreeMap<&ObjectKey, Judged>,
    progress: Option<&Progress>,
    policy: &ProcessPolicy,
    outcome: &mut Outcome,
    now: Timestamp,
) {
    let recalled = if memory.activations.contains_key(found.key) { None } else { memory.take_recalled(found.key) };
    let memory = memory.activations.entry(found.key.clone()).or_default();
    memory.mapping = memory.mapping.take().or(recalled);
    let old = memory.status.take().or_else(|| found.activation.status.clone());

    let verdict = validate::activation::validate(found, policy);
    let judged = destinations.get(&found.destination_key);
    let destination = judged.and_then(|judged| judged.verdict.valid.as_ref());
    let mapping = take_up_mapping(found, memory, &verdict, now);
    let desired = desire(found, &verdict, judged, mapping.as_ref());

    let steps = next_steps(memory, desired.as_ref(), now);
    outcome.steps.extend(steps.into_iter().map(|step| (found.key.clone(), step)));
    // What a dataflow told before it was stopped is no longer how it is.
    let progress = progress.filter(|_| memory.told.is_some());

    let pause = desired.as_ref().err();
    let delivering = {
        let throttle_timeout = destination.map(|destination| destination.sender.throttle_timeout);
        let seen = delivering::seen(pause, progress, throttle_timeout, now);
        let told = old.as_ref().and_then(|old| status::conditions::find(&old.conditions, ConditionType::Delivering));
        memory.delivering.get_or_insert_with(|| Delivering::recalled(told)).settle(seen, now).clone()
    };
    let rules = rules(destination, verdict.valid.as_ref());
    let backfill = backfill_settings(found);
    let evidence = alerts::Evidence {
        rules: &rules,
        progress,
        backfill: &backfill,
        credentials_refused: judged.and_then(|judged| judged.credentials_refused.as_deref()),
        suspended: pause.is_some_and(|pause| pause.reason == Reason::Suspended),
    };
    let known = old.as_ref().map_or(&[][..], |old| &old.alerts);
    let (alerts, transitions) = alerts::evaluate(known, &mut memory.alerts, &evidence, now);

    memory.missing_since = missing_since(
        memory.missing_since.or_else(|| told_missing_since(old.as_ref().map(|old| &old.conditions), now)),
        &verdict.problems,
        now,
    );
    let facts = status::activation::Facts {
        activation: found.activation,
        key: found.key,
        problems: &verdict.problems,
        missing_since: memory.missing_since,
        destination_key: &found.destination_key,
        destination: outcome.destination_statuses.get(&found.destination_key),
        pause,
        mapping: mapping.as_ref(),
        backfill: &backfill,
        progress,
        delivering: &delivering,
        alerts: &alerts,
        workers: &memory.workers,
    };
    let new = status::activation::status(old.as_ref(), &facts, now);
    let (events, notifications) = events::of_activation(found.key, old.as_ref(), &new, &transitions, &rules, now);
    outcome.events.extend(events);
    outcome.notifications.extend(notifications);
    memory.status = Some(new.clone());
    outcome.activation_statuses.insert(found.key.clone(), new);
}

/// The mapping that should be in force: a new one only where the specs have changed, so that its times stay.
fn take_up_mapping(
    found: &DereferencedActivation<'_>,
    memory: &mut ActivationMemory,
    verdict: &Verdict<ValidActivation>,
    now: Timestamp,
) -> Option<Arc<MappingSpec>> {
    let (Some(destination), Some(_)) = (found.destination, &verdict.valid) else { return memory.mapping.clone() };
    let same =
        memory.mapped_from.as_ref().is_some_and(|from| from.0 == found.activation.spec && from.1 == destination.spec);
    if !same {
        let previous = memory.mapping.as_deref();
        let mapping = mapping::mapping_spec(found.activation, destination, previous, Some(now));
        if previous != Some(&mapping) {
            memory.mapping = Some(Arc::new(mapping));
        }
        memory.mapped_from = Some(Box::new((found.activation.spec.clone(), destination.spec.clone())));
    }
    memory.mapping.clone()
}

fn desire(
    found: &DereferencedActivation<'_>,
    verdict: &Verdict<ValidActivation>,
    judged: Option<&Judged>,
    mapping: Option<&Arc<MappingSpec>>,
) -> Result<Desired, Pause> {
    if found.activation.metadata.deletion_timestamp.is_some() {
        return Err(Pause { reason: Reason::Draining, message: "being deleted; nothing more is exported".to_owned() });
    }
    let none: &[Problem] = &[];
    let activation = verdict.valid.as_ref().ok_or(&verdict.problems[..]);
    let destination =
        judged.map_or(Err(none), |judged| judged.verdict.valid.as_ref().ok_or(&judged.verdict.problems[..]));
    plan::desire(activation, destination, mapping)
}

/// The steps that are due, which are taken to be carried out.
fn next_steps(memory: &mut ActivationMemory, desired: Result<&Desired, &Pause>, now: Timestamp) -> Vec<Step> {
    let crashed = memory.told.is_none() && memory.workers.retry_at.is_some_and(|at| now < at);
    if crashed && desired.is_ok() {
        return Vec::new();
    }
    let steps = plan::plan(memory.told.as_ref(), desired);
    let starts = steps.iter().any(|step| matches!(step, Step::Start(_) | Step::Restart { .. }));
    if starts {
        memory.workers.started_at = Some(now);
        memory.workers.retry_at = None;
    }
    if let Some(Step::Restart { why, .. }) = steps.first() {
        memory.workers.restarts = memory.workers.restarts.saturating_add(1);
        memory.workers.last_error = Some(why.clone());
    }
    if !steps.is_empty() || desired.is_err() {
        memory.told = desired.ok().cloned();
    }
    steps
}

fn rules(destination: Option<&ValidDestination>, activation: Option<&ValidActivation>) -> AlertRules {
    let none = AlertRules::default();
    AlertRules::merged(
        destination.map_or(&none, |destination| &destination.alerts),
        activation.map_or(&none, |activation| &activation.alerts),
    )
}

fn backfill_settings(found: &DereferencedActivation<'_>) -> BackfillSettings {
    let backfill = &found.activation.spec.backfill;
    BackfillSettings {
        enabled: backfill.enabled,
        deadline: backfill.deadline(),
        max_records_per_second: backfill.max_records_per_second(),
    }
}

fn refused_credentials(standing: Standing<'_>) -> Option<String> {
    let Standing::Settled(answer) = standing else { return None };
    match &answer.finding {
        Finding::Refused {
            reason:
                reason @ (Reason::CredentialsRefused
                | Reason::CredentialsExpired
                | Reason::CredentialsMissing
                | Reason::AssumeRoleDenied),
            ..
        } => Some(format!("AWS refuses the destination's credentials ({reason}); see the destination's status")),
        _ => None,
    }
}

/// Since when an earlier process has told that something is missing, so that a restart begins no new grace.
fn told_missing_since(conditions: Option<&Vec<Condition>>, now: Timestamp) -> Option<Timestamp> {
    let conditions = conditions?;
    let ready = status::conditions::find(conditions, ConditionType::Ready)?;
    let reason: Reason = ready.reason.parse().ok()?;
    let missing = matches!(
        reason,
        Reason::SecretNotFound | Reason::SecretKeyMissing | Reason::DestinationNotFound | Reason::InvalidAlert
    );
    let since: Timestamp = moment_of(&ready.last_transition_time).into();
    (missing && ready.status == "False" && since <= now).then_some(since)
}

/// What the dataflows of each destination have seen, which a probe may not have seen yet.
#[derive(Default)]
struct Witnesses {
    users: BTreeMap<ObjectKey, u32>,
    refused: BTreeSet<ObjectKey>,
    flowing: BTreeSet<ObjectKey>,
}

impl Witnesses {
    fn of(inventory: &Inventory, progress: &BTreeMap<ObjectKey, Progress>) -> Self {
        let mut witnesses = Self::default();
        for (key, activation) in &inventory.activations {
            let destination = dereference::destination_of(key, activation);
            match progress.get(key).map(|progress| &progress.delivery) {
                Some(Delivery::Flowing) => {
                    witnesses.flowing.insert(destination.clone());
                }
                Some(Delivery::Outage { cause, .. }) if *cause != OutageCause::Unreachable => {
                    witnesses.refused.insert(destination.clone());
                }
                _ => {}
            }
            *witnesses.users.entry(destination).or_default() += 1;
        }
        witnesses
    }

    /// Whether a dataflow has seen otherwise than what is believed of its destination.
    fn doubt(&self, key: &ObjectKey, standing: Standing<'_>) -> bool {
        match standing {
            Standing::Settled(answer) => match answer.finding {
                Finding::Refused { .. } => self.flowing.contains(key),
                _ => self.refused.contains(key),
            },
            Standing::Unsettled { .. } => false,
        }
    }
}
