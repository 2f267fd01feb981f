//! What is kept: the position with its counters, and the dead letters that it moved over, in one durable batch; and the switch
//! to another mapping, which happens at such a position only.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::task::{JoinError, JoinHandle};

use super::{FeedState, Worker};
use crate::dataflow::DataflowError;
use crate::dataflow::dead_letters::{self, DeadLetter};
use crate::dataflow::sabotage::{self, Promise};
use crate::dataflow::state::{self, Checkpoint};
use crate::dataflow::tracker::Load;
use crate::export::{Mapping, MappingSpec};
use crate::kinesis::sender::{Settings, Ticket};
use crate::store::{Store, StoreError};
use crate::telemetry::clock;

/// How long the position may move before it is written.
const INTERVAL: Duration = Duration::from_secs(1);
/// Which part of the window, at most, the position moves over before it is written: what is left of it is for what is under way.
const SHARE: usize = 4;
/// Between two tries of a write that failed. Meanwhile nothing is offered.
const RETRY: Duration = Duration::from_secs(1);

/// Writes checkpoints, one at a time.
pub(super) struct Keeper {
    touched: bool,
    /// Not before this is the next one begun.
    due: Duration,
    writing: Option<JoinHandle<Written>>,
    /// The position that is written: where a crash goes on.
    durable: u64,
    /// What the position has moved over since the last write was begun: a crash repeats it.
    passed: Load,
    /// The same of the write that has not ended.
    being_written: Load,
    /// Dead letters that the position has moved over and that are not durable yet, with the tickets that wait for it.
    buried: Vec<(Option<Ticket>, DeadLetter)>,
    /// How many of them are new.
    new: u64,
    /// Dead letters that were delivered after all.
    raised: Vec<u64>,
    /// The numbers of those that were buried or raised, until that is durable and counted: whoever sends them again or drops
    /// them before would count them twice.
    unsettled: HashSet<u64>,
    trouble: Option<String>,
    dead_letters: u64,
    oldest: Option<Timestamp>,
}

/// What is written together.
struct Work {
    checkpoint: Checkpoint,
    mapping: Option<Arc<MappingSpec>>,
    passed: Load,
    buried: Vec<(Option<Ticket>, DeadLetter)>,
    new: u64,
    raised: Vec<u64>,
}

/// What became of it.
pub(super) struct Written {
    work: Work,
    result: Result<Option<Timestamp>, DataflowError>,
}

impl Keeper {
    pub(super) fn new(now: Duration, durable: u64, dead_letters: u64, oldest: Option<Timestamp>) -> Self {
        Self {
            durable,
            touched: false,
            due: now,
            writing: None,
            passed: Load::default(),
            being_written: Load::default(),
            buried: Vec::new(),
            new: 0,
            raised: Vec::new(),
            unsettled: HashSet::new(),
            trouble: None,
            dead_letters,
            oldest,
        }
    }

    /// There is something to write.
    pub(super) fn touch(&mut self) {
        self.touched = true;
    }

    /// The position has moved over records.
    pub(super) fn pass(&mut self, load: Load) {
        self.passed = self.passed.and(load);
        self.touched = true;
    }

    /// Where a crash goes on.
    pub(super) fn durable(&self) -> u64 {
        self.durable
    }

    /// What the position has moved over, and no write that has ended tells.
    pub(super) fn unwritten(&self) -> Load {
        self.passed.and(self.being_written)
    }

    /// Whether the position is written before its time: it has moved far, or over a dead letter, for which others wait.
    fn is_urgent(&self, window: &Settings) -> bool {
        self.trouble.is_none()
            && (!self.buried.is_empty()
                || self.passed.records >= (window.window_records / SHARE).max(1)
                || self.passed.bytes >= (window.window_bytes / SHARE).max(1))
    }

    /// The position has moved over a dead letter.
    pub(super) fn bury(&mut self, ticket: Option<Ticket>, letter: DeadLetter, new: bool) {
        self.unsettled.insert(letter.sequence);
        self.buried.push((ticket, letter));
        self.new += u64::from(new);
        self.touched = true;
    }

    /// A dead letter was delivered after all.
    pub(super) fn raise(&mut self, sequence: u64) {
        self.unsettled.insert(sequence);
        self.raised.push(sequence);
        self.touched = true;
    }

    /// Whether what became of that dead letter is not durable yet.
    pub(super) fn is_unsettled(&self, sequence: u64) -> bool {
        self.unsettled.contains(&sequence)
    }

    /// Dead letters were dropped.
    pub(super) fn dropped(&mut self, count: u64, oldest: Option<Timestamp>) {
        self.dead_letters = self.dead_letters.saturating_sub(count);
        self.oldest = oldest;
    }

    /// How many dead letters wait, and since when the oldest does.
    pub(super) fn dead_letters(&self) -> (u64, Option<Timestamp>) {
        (self.dead_letters, self.oldest)
    }

    /// Whether the last write failed: until one succeeds, nothing more is begun that would have to be kept.
    pub(super) fn is_stuck(&self) -> bool {
        self.trouble.is_some()
    }

    /// Why the last write failed.
    pub(super) fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    /// Returns when a write has ended. Safe to drop and call again.
    pub(super) async fn committed(&mut self) -> Result<Written, JoinError> {
        let Some(writing) = &mut self.writing else { return std::future::pending().await };
        let written = writing.await;
        self.writing = None;
        written
    }

    fn take(&mut self, checkpoint: &Checkpoint, mapping: Option<Arc<MappingSpec>>) -> Work {
        self.touched = false;
        let passed = std::mem::take(&mut self.passed);
        self.being_written = passed;
        Work {
            checkpoint: checkpoint.clone(),
            mapping,
            passed,
            buried: std::mem::take(&mut self.buried),
            new: std::mem::take(&mut self.new),
            raised: std::mem::take(&mut self.raised),
        }
    }

    /// Takes up what became of a write; which tickets' dead letters are durable now. What failed is written again with the next.
    fn take_up(&mut self, written: Written, now: Duration) -> Result<Vec<Ticket>, DataflowError> {
        let Written { mut work, result } = written;
        self.being_written = Load::default();
        match result {
            Ok(oldest) => {
                let raised = work.raised.len() as u64;
                self.dead_letters = (self.dead_letters + work.new).saturating_sub(raised);
                if raised > 0 || !work.buried.is_empty() {
                    self.oldest = oldest;
                }
                self.trouble = None;
                self.durable = work.checkpoint.position;
                let settled = work.buried.iter().map(|(_, letter)| letter.sequence).chain(work.raised.iter().copied());
                // One that went the same way again meanwhile waits for the next write.
                let again: HashSet<u64> =
                    self.buried.iter().map(|(_, letter)| letter.sequence).chain(self.raised.iter().copied()).collect();
                for sequence in settled.filter(|sequence| !again.contains(sequence)) {
                    self.unsettled.remove(&sequence);
                }
                Ok(work.buried.iter().filter_map(|(ticket, _)| *ticket).collect())
            }
            Err(DataflowError::Store(error @ (StoreError::Full { .. } | StoreError::Failed(_)))) => {
                self.trouble = Some(error.to_string());
                work.buried.append(&mut self.buried);
                work.raised.append(&mut self.raised);
                (self.buried, self.raised) = (work.buried, work.raised);
                self.new += work.new;
                self.passed = self.passed.and(work.passed);
                self.touched = true;
                self.due = now + RETRY;
                Ok(Vec::new())
            }
            Err(error) => Err(error),
        }
    }
}

impl Worker {
    pub(super) fn commit_if_due(&mut self) {
        let now = clock::monotonic();
        let due = now >= self.keeper.due || self.keeper.is_urgent(&self.plan.sender);
        if self.keeper.touched && self.keeper.writing.is_none() && due {
            self.keeper.due = now + INTERVAL;
            let mut work = self.keeper.take(&self.checkpoint, None);
            if sabotage::breaks(Promise::CheckpointOrder) {
                work.checkpoint.position = self.taken;
            }
            let (store, name) = (self.store.clone(), self.plan.name.clone());
            self.keeper.writing = Some(tokio::task::spawn_blocking(move || write(&store, &name, work)));
        }
    }

    pub(super) fn take_up_commit(&mut self, written: Written) -> Result<(), DataflowError> {
        let now = clock::monotonic();
        for ticket in self.keeper.take_up(written, now)? {
            self.sender.buried(ticket, now);
        }
        Ok(())
    }

    /// Writes the checkpoint, with a mapping if it begins here, and waits for it. False where it could not be written.
    pub(super) async fn commit_now(&mut self, mapping: Option<Arc<MappingSpec>>) -> Result<bool, DataflowError> {
        if self.keeper.writing.is_some() {
            let written = self.keeper.committed().await?;
            self.take_up_commit(written)?;
        }
        let work = self.keeper.take(&self.checkpoint, mapping);
        let (store, name) = (self.store.clone(), self.plan.name.clone());
        let written = tokio::task::spawn_blocking(move || write(&store, &name, work)).await?;
        self.take_up_commit(written)?;
        Ok(!self.keeper.is_stuck())
    }

    /// The last checkpoint. It is clean where nothing is under way, so that the next start is under any mapping at once.
    pub(super) async fn finish(&mut self) -> Result<(), DataflowError> {
        self.settle()?;
        self.checkpoint.clean = self.tracker.is_empty() && self.taken >= self.replay_until;
        let written = self.commit_now(None).await?;
        self.publish();
        if written {
            return Ok(());
        }
        tracing::warn!(
            dataflow = self.plan.name,
            reason = self.keeper.trouble().unwrap_or_default(),
            "the last checkpoint could not be written: what it would have told is exported again"
        );
        Ok(())
    }

    /// Another mapping, or another position after a lost one, begins where nothing is under way.
    pub(super) async fn switch_when_drained(&mut self) -> Result<(), DataflowError> {
        if !self.switching() || self.give_up.is_some() {
            return Ok(());
        }
        self.sender.flush();
        if !self.tracker.is_empty() || self.keeper.is_stuck() {
            return Ok(());
        }
        self.history.reset();
        let before = self.checkpoint.clone();
        let mut restart = None;
        if self.lost_and_found() {
            let head = self.head();
            self.checkpoint.position = head;
            self.checkpoint.positions_lost += 1;
            self.checkpoint.recovering = true;
            self.checkpoint.backfill = None;
            self.checkpoint.resync_due = true;
            self.replay_until = head;
            restart = Some(head);
        }
        let spec = Arc::new(self.plan.mapping.clone());
        let mut compiled = None;
        if *self.spec != *spec && self.checkpoint.position >= self.replay_until {
            compiled = Some(Arc::new(Mapping::compile((*spec).clone())?));
            self.checkpoint.adopt(Some(&self.spec), &spec, self.plan.backfill, clock::now());
            self.checkpoint.generation += 1;
        }
        let mapping = compiled.is_some().then(|| Arc::clone(&spec));
        if !self.commit_now(mapping).await? {
            // Not durable, so it has not happened.
            self.checkpoint = before;
            return Ok(());
        }
        if let Some(mapping) = compiled {
            (self.mapping, self.spec) = (mapping, spec);
        }
        if let (Some(position), FeedState::Lost(message)) = (restart, &self.feed) {
            tracing::warn!(
                "dataflow {}: {message}; every member is told again, in their current state",
                self.plan.name
            );
            self.taken = position;
            self.batch.clear();
            self.feed = FeedState::Reading;
            self.reader.restart(position).await;
        }
        self.history.resume(&self.checkpoint);
        Ok(())
    }
}

/// Writes one batch; tells when the oldest dead letter of the dataflow was written.
fn write(store: &Store, name: &str, work: Work) -> Written {
    let result = try_write(store, name, &work);
    Written { work, result }
}

fn try_write(store: &Store, name: &str, work: &Work) -> Result<Option<Timestamp>, DataflowError> {
    store.check_space()?;
    let mut batch = store.batch();
    if let Some(mapping) = &work.mapping {
        state::put_mapping(&mut batch, name, mapping)?;
    }
    for (_, letter) in work.buried.iter().filter(|_| !sabotage::breaks(Promise::DeadLetterWrite)) {
        dead_letters::put(&mut batch, name, letter)?;
    }
    for sequence in &work.raised {
        batch.remove_dead_letter(name, *sequence);
    }
    state::put(&mut batch, name, &work.checkpoint)?;
    batch.commit()?;
    if work.buried.is_empty() && work.raised.is_empty() {
        return Ok(None);
    }
    Ok(dead_letters::list(store, name, 0, 1)?.first().map(|letter| letter.time))
}
