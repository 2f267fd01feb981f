//! Types: what a shell keeps between passes. Nothing in it is needed to be right, only to be quiet: a process that starts with
//! an empty one comes to the same, by way of the statuses on the resources and the mappings of the checkpoints.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::alerts::AlertMemory;
use super::inventory::ObjectKey;
use super::plan::Desired;
use super::probe::ProbeMemory;
use super::status::activation::Workers;
use super::status::delivering::Delivering;
use super::status::signed;
use super::validate::{Kind, Problem, ValidDestination};
use crate::api::{AudienceActivationSpec, AudienceActivationStatus, KinesisDestinationSpec, KinesisDestinationStatus};
use crate::export::MappingSpec;
use crate::kinesis::probe::ProbeReport;

/// How long the mapping of a deleted activation is remembered, as its dataflow's state is.
const DEPARTED_KEPT: Duration = Duration::from_hours(24);
/// How soon a crashed dataflow is started again; each further crash waits twice as long.
const FIRST_RESTART: Duration = Duration::from_secs(1);
/// The longest wait after a crash.
const LONGEST_RESTART: Duration = Duration::from_mins(5);
/// A dataflow that has run for so long has recovered.
const RECOVERED: Duration = Duration::from_mins(10);

/// What is remembered of all resources. The passes themselves keep it; a shell adds what happens between them.
#[derive(Debug, Default)]
pub struct Memory {
    pub(super) destinations: BTreeMap<ObjectKey, DestinationMemory>,
    pub(super) activations: BTreeMap<ObjectKey, ActivationMemory>,
    /// Mappings of checkpoints that no activation has taken up, and until when they are kept.
    recalled: BTreeMap<ObjectKey, (Arc<MappingSpec>, Option<Timestamp>)>,
}

/// What is remembered of one destination.
#[derive(Debug, Default)]
pub(super) struct DestinationMemory {
    pub(super) missing_since: Option<Timestamp>,
    pub(super) probes: ProbeMemory,
    pub(super) status: Option<KinesisDestinationStatus>,
}

/// What is remembered of one activation.
#[derive(Debug, Default)]
pub(super) struct ActivationMemory {
    pub(super) missing_since: Option<Timestamp>,
    pub(super) status: Option<AudienceActivationStatus>,
    /// What its dataflow was told; absent where none runs.
    pub(super) told: Option<Desired>,
    /// What the mapping was made from.
    pub(super) mapped_from: Option<Box<(AudienceActivationSpec, KinesisDestinationSpec)>>,
    pub(super) mapping: Option<Arc<MappingSpec>>,
    pub(super) delivering: Option<Delivering>,
    pub(super) alerts: AlertMemory,
    pub(super) workers: Workers,
}

impl Memory {
    /// Takes up the mapping of a checkpoint, before the first pass.
    pub fn recall(&mut self, key: ObjectKey, mapping: Arc<MappingSpec>) {
        self.recalled.insert(key, (mapping, None));
    }

    /// Takes up the answer to a probe of `destination`.
    pub fn probed(&mut self, destination: &ValidDestination, report: ProbeReport, now: Timestamp) {
        if let Some(memory) = self.destinations.get_mut(&destination.key) {
            memory.probes.answer(destination, report, now);
        }
    }

    /// Takes up that a dataflow has ended, or could not be started, though nobody told it to end.
    pub fn ended(&mut self, key: &ObjectKey, error: &str, now: Timestamp) {
        let Some(memory) = self.activations.get_mut(key) else { return };
        let workers = &mut memory.workers;
        let ran = workers.started_at.map(|started| now.duration_since(started));
        workers.crashes = if ran.is_some_and(|ran| ran >= signed(RECOVERED)) { 1 } else { workers.crashes + 1 };
        workers.restarts = workers.restarts.saturating_add(1);
        workers.last_error = Some(error.to_owned());
        let wait = FIRST_RESTART.saturating_mul(1 << (workers.crashes - 1).min(16)).min(LONGEST_RESTART);
        workers.retry_at = now.checked_add(signed(wait)).ok();
        memory.told = None;
    }

    /// The mapping that `key` had when it was last seen, if there is one.
    pub(super) fn take_recalled(&mut self, key: &ObjectKey) -> Option<Arc<MappingSpec>> {
        self.recalled.remove(key).map(|(mapping, _)| mapping)
    }

    /// Forgets what is not `there` any more. Returns what ran of it.
    pub(super) fn forget(
        &mut self,
        destination_is_there: impl Fn(&ObjectKey) -> bool,
        activation_is_there: impl Fn(&ObjectKey) -> bool,
        now: Timestamp,
    ) -> Vec<ObjectKey> {
        self.destinations.retain(|key, _| destination_is_there(key));
        self.recalled.retain(|_, (_, until)| until.is_none_or(|until| until > now));
        let mut ran = Vec::new();
        self.activations.retain(|key, memory| {
            if activation_is_there(key) {
                return true;
            }
            if memory.told.is_some() {
                ran.push(key.clone());
            }
            if let Some(mapping) = memory.mapping.take() {
                let until = now.checked_add(signed(DEPARTED_KEPT)).ok();
                self.recalled.insert(key.clone(), (mapping, until));
            }
            false
        });
        ran
    }
}

/// Since when something is missing, given since when it was before.
pub(super) fn missing_since(before: Option<Timestamp>, problems: &[Problem], now: Timestamp) -> Option<Timestamp> {
    let missing = problems.iter().any(|problem| problem.kind == Kind::Missing);
    missing.then(|| before.unwrap_or(now))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use crate::reconcile::samples::{activation_key, at};

    #[test]
    fn a_crashed_dataflow_waits_longer_each_time_until_it_has_recovered() {
        let mut memory = Memory::default();
        memory.activations.insert(activation_key(), ActivationMemory::default());
        let mut waits = Vec::new();
        for second in 0..12 {
            memory.ended(&activation_key(), "it broke", at(second));
            let retry_at = memory.activations[&activation_key()].workers.retry_at.unwrap();
            waits.push(retry_at.duration_since(at(second)).as_secs());
        }
        assert_eq!(waits[..4], [1, 2, 4, 8]);
        assert_eq!(waits[11], 300);
        memory.activations.get_mut(&activation_key()).unwrap().workers.started_at = Some(at(1_000));
        memory.ended(&activation_key(), "it broke", at(1_600));
        let workers = &memory.activations[&activation_key()].workers;
        assert_eq!((workers.crashes, workers.restarts), (1, 13));
    }

    #[test]
    fn what_is_missing_counts_from_when_it_was_first_seen() {
        use crate::api::conditions::Reason;
        let missing = [Problem::missing(Reason::SecretNotFound, "create it")];
        assert_eq!(missing_since(None, &missing, at(1)), Some(at(1)));
        assert_eq!(missing_since(Some(at(1)), &missing, at(2)), Some(at(1)));
        assert_eq!(missing_since(Some(at(1)), &[], at(2)), None);
    }
}
