//! Types: what is kept of a dataflow, and survives everything: position, counters, backfill, mapping.
//!
//! The checkpoint is small and written every second; the mapping is large and written when it changes, in one batch with the
//! checkpoint that it begins at.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::DataflowError;
use super::dead_letters::PAGE;
use super::progress::{AudienceBackfill, BackfillState, Counters, RUNS_KEPT, Run};
use crate::export::MappingSpec;
use crate::export::mapping::MappedAudience;
use crate::store::{Batch, Store};

/// How long the state of a dataflow is kept after its activation was deleted.
pub const KEPT_AFTER_DELETE: SignedDuration = SignedDuration::from_hours(24);

/// Where a dataflow is, with the counters of exactly what lies below.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Checkpoint {
    /// Where to go on reading; everything below is done with.
    pub position: u64,
    /// How often the mapping has changed.
    pub generation: u64,
    /// Whether nothing was under way: what follows may be under another mapping at once.
    pub clean: bool,
    /// What was done.
    pub counters: Counters,
    /// The last hourly windows, the oldest first.
    pub runs: Vec<Run>,
    /// One entry per mapped audience.
    pub backfills: Vec<AudienceBackfill>,
    /// The backfill that is under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backfill: Option<BackfillRun>,
    /// The number of the next dead letter.
    pub next_dead_letter: u64,
    /// When a record was last acknowledged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_export: Option<Timestamp>,
    /// The request of the last resync that was taken up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resync: Option<String>,
    /// Whether a resync waits for its turn.
    #[serde(default)]
    pub resync_due: bool,
    /// How often the position was lost.
    #[serde(default)]
    pub positions_lost: u64,
    /// When its activation was deleted; `None` while there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted_at: Option<Timestamp>,
}

/// A backfill or a resync under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BackfillRun {
    /// Tells this run from every other of the dataflow.
    pub id: String,
    /// Whether exited members are told too (`semantics 5.6`).
    pub resync: bool,
    /// Whose members are told, and since before which position they must be members: later ones are told live.
    pub audiences: Vec<(AudienceId, u64)>,
    /// The last profile id that is done with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// An audience as it is mapped.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AudienceId {
    /// Its namespace.
    pub namespace: String,
    /// Its id.
    pub id: String,
    /// Its merge policy.
    pub merge_policy_id: String,
}

impl From<&MappedAudience> for AudienceId {
    fn from(audience: &MappedAudience) -> Self {
        Self {
            namespace: audience.namespace.clone(),
            id: audience.id.clone(),
            merge_policy_id: audience.merge_policy_id.clone(),
        }
    }
}

impl AudienceId {
    fn is(&self, entry: &AudienceBackfill) -> bool {
        self.namespace == entry.namespace && self.id == entry.id && self.merge_policy_id == entry.merge_policy_id
    }
}

impl Checkpoint {
    /// Of a dataflow that begins at `position`, under the mapping `spec`.
    pub fn new(position: u64, spec: &MappingSpec, backfill: bool, now: Timestamp) -> Self {
        let mut checkpoint = Self {
            position,
            generation: 1,
            clean: true,
            counters: Counters::default(),
            runs: Vec::new(),
            backfills: Vec::new(),
            backfill: None,
            next_dead_letter: 1,
            last_export: None,
            resync: None,
            resync_due: false,
            positions_lost: 0,
            deleted_at: None,
        };
        checkpoint.adopt(None, spec, backfill, now);
        checkpoint
    }

    /// The mapping is `spec` from here on: added audiences wait for their backfill, removed ones are forgotten.
    pub fn adopt(&mut self, previous: Option<&MappingSpec>, spec: &MappingSpec, backfill: bool, now: Timestamp) {
        let same_mapping = |audience: &MappedAudience| {
            previous.is_none_or(|previous| {
                previous.audiences.iter().any(|old| {
                    AudienceId::from(old) == AudienceId::from(audience)
                        && old.mapping_created_at == audience.mapping_created_at
                })
            })
        };
        let known = std::mem::take(&mut self.backfills);
        let mut kept = Vec::new();
        for audience in &spec.audiences {
            let id = AudienceId::from(audience);
            match known.iter().find(|entry| id.is(entry)).filter(|_| same_mapping(audience)) {
                Some(entry) => {
                    kept.push(id);
                    self.backfills.push(entry.clone());
                }
                None => self.backfills.push(AudienceBackfill {
                    namespace: id.namespace,
                    id: id.id,
                    merge_policy_id: id.merge_policy_id,
                    state: if backfill { BackfillState::Pending } else { BackfillState::Skipped },
                    done: 0,
                    total: None,
                    requested_at: now,
                    mapped_at: self.position,
                    started_at: None,
                    completed_at: None,
                }),
            }
        }
        if let Some(run) = &mut self.backfill {
            run.audiences.retain(|(audience, _)| kept.contains(audience));
            if run.audiences.is_empty() {
                self.backfill = None;
            }
        }
    }

    /// The entry of an audience.
    pub fn backfill_of(&mut self, audience: &AudienceId) -> Option<&mut AudienceBackfill> {
        self.backfills.iter_mut().find(|entry| audience.is(entry))
    }

    /// Begins the backfill that waits, if one does: a resync of everything, or the audiences that were added.
    pub fn begin_backfill(&mut self, now: Timestamp) -> bool {
        if self.backfill.is_some() {
            return false;
        }
        let resync = std::mem::take(&mut self.resync_due);
        let audiences: Vec<(AudienceId, u64)> = self
            .backfills
            .iter_mut()
            .filter(|entry| resync || entry.state == BackfillState::Pending)
            .map(|entry| {
                entry.state = BackfillState::Running;
                entry.done = 0;
                entry.total = None;
                entry.started_at = Some(now);
                entry.completed_at = None;
                if resync {
                    entry.requested_at = now;
                }
                let audience = AudienceId {
                    namespace: entry.namespace.clone(),
                    id: entry.id.clone(),
                    merge_policy_id: entry.merge_policy_id.clone(),
                };
                (audience, if resync { u64::MAX } else { entry.mapped_at })
            })
            .collect();
        if audiences.is_empty() {
            return false;
        }
        let id = format!("{}-{}", if resync { "resync" } else { "backfill" }, now.as_microsecond());
        self.backfill = Some(BackfillRun { id, resync, audiences, cursor: None });
        true
    }

    /// Every member of the backfill under way is done with.
    pub fn end_backfill(&mut self, now: Timestamp) {
        let Some(run) = self.backfill.take() else { return };
        for (audience, _) in &run.audiences {
            if let Some(entry) = self.backfill_of(audience) {
                entry.state = BackfillState::Completed;
                entry.completed_at = Some(now);
                // Members that left meanwhile were told by their exits.
                entry.total = Some(entry.done);
            }
        }
    }

    /// Whether a backfill runs or waits.
    pub fn has_backfill(&self) -> bool {
        self.backfill.is_some()
            || self.resync_due
            || self.backfills.iter().any(|entry| entry.state == BackfillState::Pending)
    }

    /// Counts `delta` in all and in the hour of `now`.
    pub fn count(&mut self, delta: &Counters, now: Timestamp) {
        self.roll(now);
        self.counters.add(delta);
        if let Some(run) = self.runs.last_mut() {
            run.counters.add(delta);
        }
    }

    /// Begins the hourly window of `now`, if it has not begun. A clock that was set back stays in the window it was in.
    pub fn roll(&mut self, now: Timestamp) {
        let start = Timestamp::from_second(now.as_second() - now.as_second().rem_euclid(3600)).unwrap_or(now);
        if self.runs.last().is_none_or(|run| run.start < start) {
            self.runs.push(Run { start, counters: Counters::default() });
            let excess = self.runs.len().saturating_sub(RUNS_KEPT);
            self.runs.drain(..excess);
        }
    }
}

impl Counters {
    /// Adds what was done since.
    pub fn add(&mut self, delta: &Self) {
        self.received += delta.received;
        self.exported += delta.exported;
        self.excluded += delta.excluded;
        self.retried += delta.retried;
        self.failed += delta.failed;
        for (total, more) in self.triggers.iter_mut().zip(delta.triggers) {
            *total += more;
        }
    }
}

/// Names that a store's dataflows are kept under: `namespace/name`, and the same with a suffix that no name can have.
const MAPPING: &str = "@mapping";

/// The checkpoint of a dataflow, where there is one.
pub fn load(store: &Store, name: &str) -> Result<Option<Checkpoint>, DataflowError> {
    let text = store.dataflow(name)?;
    text.map(|text| serde_json::from_slice(&text).map_err(DataflowError::Damaged)).transpose()
}

/// The mapping that a dataflow's checkpoint stands under.
pub fn load_mapping(store: &Store, name: &str) -> Result<Option<MappingSpec>, DataflowError> {
    let text = store.dataflow(&format!("{name}{MAPPING}"))?;
    text.map(|text| serde_json::from_slice(&text).map_err(DataflowError::Damaged)).transpose()
}

pub(super) fn put(batch: &mut Batch, name: &str, checkpoint: &Checkpoint) -> Result<(), DataflowError> {
    batch.put_dataflow(name, &serde_json::to_vec(checkpoint).map_err(DataflowError::Damaged)?);
    Ok(())
}

pub(super) fn put_mapping(batch: &mut Batch, name: &str, spec: &MappingSpec) -> Result<(), DataflowError> {
    batch.put_dataflow(&format!("{name}{MAPPING}"), &serde_json::to_vec(spec).map_err(DataflowError::Damaged)?);
    Ok(())
}

/// The lowest position that a dataflow still needs, suspended ones included; `None` where there is no dataflow.
pub fn slowest(store: &Store) -> Result<Option<u64>, DataflowError> {
    let mut slowest: Option<u64> = None;
    for (_, checkpoint) in all(store)? {
        slowest = Some(slowest.map_or(checkpoint.position, |known| known.min(checkpoint.position)));
    }
    Ok(slowest)
}

/// Every dataflow that the store knows, by name.
pub fn all(store: &Store) -> Result<Vec<(String, Checkpoint)>, DataflowError> {
    let stored = store.dataflows()?;
    stored
        .into_iter()
        .filter(|(name, _)| !name.ends_with(MAPPING))
        .map(|(name, text)| Ok((name, serde_json::from_slice(&text).map_err(DataflowError::Damaged)?)))
        .collect()
}

/// Says of the dataflows whose activations are gone that they are, and forgets those that have been for a day.
pub fn mark_deleted(store: &Store, exists: impl Fn(&str) -> bool, now: Timestamp) -> Result<(), DataflowError> {
    let mut batch = store.batch();
    for (name, mut checkpoint) in all(store)? {
        match (exists(&name), checkpoint.deleted_at) {
            (true, Some(_)) => {
                checkpoint.deleted_at = None;
                put(&mut batch, &name, &checkpoint)?;
            }
            (false, None) => {
                checkpoint.deleted_at = Some(now);
                put(&mut batch, &name, &checkpoint)?;
            }
            (false, Some(deleted)) if now.duration_since(deleted) >= KEPT_AFTER_DELETE => {
                batch.remove_dataflow(&name);
                batch.remove_dataflow(&format!("{name}{MAPPING}"));
                let mut from = 0;
                loop {
                    let page = store.dead_letters(&name, from, PAGE)?;
                    for (sequence, _) in &page {
                        batch.remove_dead_letter(&name, *sequence);
                    }
                    match page.last() {
                        Some((last, _)) => from = last + 1,
                        None => break,
                    }
                }
            }
            (true, None) | (false, Some(_)) => {}
        }
    }
    if batch.is_empty() {
        return Ok(());
    }
    Ok(batch.commit()?)
}
