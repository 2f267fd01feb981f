//! Beside live: the backfill, chunk by chunk, and dead letters that are sent again. Both are profiles as they are at a position
//! of the log, and both go by the same rule.

use std::collections::{BTreeSet, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::{JoinError, JoinSet};

use super::{FeedState, Worker};
use crate::dataflow::chunk::{self, Chunk, Entry};
use crate::dataflow::dead_letters::{self, DeadLetter, PAGE, Selection};
use crate::dataflow::state::Checkpoint;
use crate::dataflow::tracker::{Advance, Outcome};
use crate::dataflow::{Command, DataflowError};
use crate::store::{Place, Snapshot, Store};
use crate::telemetry::clock;

/// Members of one chunk.
const CHUNK: usize = 1000;
/// Members that are offered and not done with, at most: live never waits behind more.
const MEMBERS_AHEAD: usize = 4000;
/// Live goes first: no chunk is begun while it is further behind than this, in changes.
const LIVE_BEHIND: u64 = 2000;
/// Dead letters of one chunk.
const LETTERS: usize = 100;

/// What was read beside live.
pub(super) struct Found {
    /// Of which reading; what a reset has made stale is dropped.
    reading: u64,
    result: Result<Part, DataflowError>,
}

enum Part {
    Members(Chunk),
    Letters { chunk: Chunk, missing: Vec<u64> },
    Totals(Vec<u64>),
}

#[derive(Default)]
pub(super) struct History {
    /// The chunk under way, and the next.
    chunks: VecDeque<Chunk>,
    tasks: JoinSet<Found>,
    /// Grows with every reset.
    reading: u64,
    /// The position of the chunk that is being read: live waits for it there.
    reading_at: Option<u64>,
    /// Behind which member the next chunk begins.
    cursor: Option<String>,
    /// How far each audience was read.
    places: Vec<Place>,
    /// Whether every member was read.
    complete: bool,
    /// Whether a backfill is under way, as far as reading goes.
    active: bool,
    /// Not before this is the next chunk read.
    due: Duration,
    /// Dead letters that wait to be sent again.
    resends: VecDeque<u64>,
    /// Dead letters that wait or are under way.
    resending: HashSet<u64>,
}

impl History {
    /// Whether a chunk stands at this position.
    pub(super) fn is_at(&self, position: u64) -> bool {
        self.chunks.front().is_some_and(|chunk| chunk.head <= position)
    }

    /// Whether live has come to a chunk that is still being read.
    pub(super) fn awaits(&self, position: u64) -> bool {
        self.reading_at.is_some_and(|head| head <= position)
    }

    /// The next profile of the chunk under way.
    pub(super) fn next(&mut self) -> Option<Entry> {
        self.chunks.front_mut()?.entries.pop_front()
    }

    /// Whether anything is being read, offered or waited for.
    pub(super) fn is_busy(&self) -> bool {
        self.reading_at.is_some() || !self.chunks.is_empty() || !self.resending.is_empty()
    }

    /// When the next chunk may be read, where a limit makes it wait.
    pub(super) fn wake(&self) -> Option<Duration> {
        let waits = self.active && !self.complete && self.reading_at.is_none() && self.chunks.is_empty();
        Some(self.due).filter(|due| waits && *due > Duration::ZERO)
    }

    /// The backfill that was read is done with.
    pub(super) fn ended(&mut self) {
        self.active = false;
    }

    /// A dead letter that was sent again is done with.
    pub(super) fn redelivered(&mut self, sequence: u64) {
        self.resending.remove(&sequence);
    }

    /// Drops everything that was read ahead.
    pub(super) fn reset(&mut self) {
        for chunk in self.chunks.drain(..) {
            for entry in chunk.entries {
                if let Advance::Redelivered { sequence } = entry.advance {
                    self.resends.push_back(sequence);
                }
            }
        }
        // A letter that was being read waits again.
        let waiting: HashSet<u64> = self.resends.iter().copied().collect();
        self.resends.extend(self.resending.difference(&waiting));
        self.reading += 1;
        self.reading_at = None;
        self.active = false;
    }

    /// Goes on with the backfill where the checkpoint is.
    pub(super) fn resume(&mut self, checkpoint: &Checkpoint) {
        self.active = checkpoint.backfill.is_some();
        self.cursor = checkpoint.backfill.as_ref().and_then(|run| run.cursor.clone());
        self.places.clear();
        self.complete = false;
        self.due = Duration::ZERO;
    }

    /// Returns when something was read. Safe to drop and call again.
    pub(super) async fn ready(&mut self) -> Result<Found, JoinError> {
        match self.tasks.join_next().await {
            Some(found) => found,
            None => std::future::pending().await,
        }
    }
}

impl Worker {
    /// Begins and reads what is due.
    pub(super) async fn look_after_history(&mut self) -> Result<(), DataflowError> {
        if self.switching() || self.give_up.is_some() || self.keeper.is_stuck() || self.feed != FeedState::Reading {
            return Ok(());
        }
        if self.checkpoint.backfill.is_some() && !self.history.active {
            self.history.resume(&self.checkpoint);
            self.count_members();
        } else if self.checkpoint.backfill.is_none() && self.taken >= self.replay_until {
            let before = self.checkpoint.clone();
            if self.checkpoint.begin_backfill(clock::now()) {
                // Durable before it exports anything: a repeat after a crash is of the same run.
                if !self.commit_now(None).await? {
                    self.checkpoint = before;
                    return Ok(());
                }
                self.history.resume(&self.checkpoint);
                self.count_members();
            }
        }
        self.read_ahead()
    }

    fn read_ahead(&mut self) -> Result<(), DataflowError> {
        let caught_up = self.head().saturating_sub(self.taken) <= LIVE_BEHIND;
        if self.history.reading_at.is_some() || self.history.chunks.len() > 1 || !caught_up {
            return Ok(());
        }
        if !self.history.resends.is_empty() {
            let count = LETTERS.min(self.history.resends.len());
            let sequences: Vec<u64> = self.history.resends.drain(..count).collect();
            self.read_letters(sequences)
        } else if self.history.active && !self.history.complete && self.tracker.members() < MEMBERS_AHEAD {
            self.read_members()
        } else {
            Ok(())
        }
    }

    /// The store as it is now, whose head is where the chunk will stand: known before it is read, so that live stops there.
    /// `None` where live is beyond it already, and a chunk would come too late.
    fn take_snapshot(&mut self) -> Result<Option<Snapshot>, DataflowError> {
        let snapshot = self.store.snapshot();
        let head = snapshot.head()?.next;
        if head < self.taken {
            return Ok(None);
        }
        self.history.reading_at = Some(head);
        Ok(Some(snapshot))
    }

    fn read_members(&mut self) -> Result<(), DataflowError> {
        let now = clock::monotonic();
        let Some(run) = self.checkpoint.backfill.clone() else { return Ok(()) };
        if now < self.history.due {
            return Ok(());
        }
        let mut limit = CHUNK;
        if let Some(rate) = self.plan.backfill_records_per_second {
            // A tenth of a second's worth at a time, and the pause that belongs to it.
            limit = (rate as usize / 10).clamp(1, CHUNK);
            self.history.due = now + Duration::from_secs_f64(limit as f64 / f64::from(rate.max(1)));
        }
        let Some(snapshot) = self.take_snapshot()? else { return Ok(()) };
        let mapping = Arc::clone(&self.mapping);
        let (cursor, places) = (self.history.cursor.clone(), std::mem::take(&mut self.history.places));
        let reading = self.history.reading;
        let wall = clock::now();
        self.history.tasks.spawn_blocking(move || {
            let chunk = chunk::members(&snapshot, &mapping, &run, (cursor.as_deref(), &places), limit, wall);
            Found { reading, result: chunk.map(Part::Members) }
        });
        Ok(())
    }

    fn count_members(&mut self) {
        let Some(run) = self.checkpoint.backfill.clone() else { return };
        if run.cursor.is_some() {
            return;
        }
        let (store, reading) = (self.store.clone(), self.history.reading);
        self.history.tasks.spawn_blocking(move || {
            let totals = chunk::totals(&store, &run);
            Found { reading, result: totals.map(Part::Totals) }
        });
    }

    fn read_letters(&mut self, sequences: Vec<u64>) -> Result<(), DataflowError> {
        let Some(snapshot) = self.take_snapshot()? else {
            self.history.resends.extend(sequences);
            return Ok(());
        };
        let (store, mapping, name) = (self.store.clone(), Arc::clone(&self.mapping), self.plan.name.clone());
        let (reading, wall) = (self.history.reading, clock::now());
        self.history.tasks.spawn_blocking(move || {
            let read = || {
                let (mut letters, mut missing) = (Vec::new(), Vec::new());
                for sequence in sequences {
                    match dead_letters::list(&store, &name, sequence, 1)?.pop() {
                        Some(letter) if letter.sequence == sequence => letters.push(letter),
                        _ => missing.push(sequence),
                    }
                }
                let chunk = chunk::letters(&snapshot, &mapping, letters, wall)?;
                Ok(Part::Letters { chunk, missing })
            };
            Found { reading, result: read() }
        });
        Ok(())
    }

    pub(super) fn take_up_history(&mut self, found: Found) -> Result<(), DataflowError> {
        if found.reading != self.history.reading {
            return Ok(());
        }
        match found.result? {
            Part::Members(mut chunk) => {
                self.history.reading_at = None;
                self.history.places = std::mem::take(&mut chunk.places);
                self.history.complete = chunk.end;
                if chunk.cursor.is_some() {
                    self.history.cursor.clone_from(&chunk.cursor);
                }
                self.history.chunks.push_back(chunk);
            }
            Part::Letters { chunk, missing } => {
                self.history.reading_at = None;
                for sequence in missing {
                    self.history.redelivered(sequence);
                }
                self.history.chunks.push_back(chunk);
            }
            Part::Totals(totals) => {
                let Some(run) = self.checkpoint.backfill.clone() else { return Ok(()) };
                for ((audience, _), total) in run.audiences.iter().zip(totals) {
                    if let Some(entry) = self.checkpoint.backfill_of(audience) {
                        entry.total = Some(total.max(entry.done));
                    }
                }
                self.keeper.touch();
            }
        }
        Ok(())
    }

    /// The chunk under way was offered whole.
    pub(super) fn end_chunk(&mut self) {
        if self.history.chunks.pop_front().is_some_and(|chunk| chunk.end) {
            self.tracker.settle(Advance::BackfillEnd, Outcome::Skipped);
        }
    }

    pub(super) async fn take_up_command(&mut self, command: Command) {
        match command {
            Command::Resend(selection, answer) => {
                let found = self.select_letters(selection, |letter| !letter.profile_id.is_empty()).await;
                answered(answer, found.map(|sequences| self.resend(&sequences)));
            }
            Command::Discard(selection, answer) => {
                let result = match self.select_letters(selection, |_| true).await {
                    Ok(sequences) => self.discard(sequences).await,
                    Err(error) => Err(error),
                };
                answered(answer, result);
            }
        }
    }

    fn resend(&mut self, sequences: &[u64]) -> u64 {
        let mut taken = 0;
        for sequence in sequences {
            if !self.keeper.is_unsettled(*sequence) && self.history.resending.insert(*sequence) {
                self.history.resends.push_back(*sequence);
                taken += 1;
            }
        }
        taken
    }

    async fn discard(&mut self, mut sequences: Vec<u64>) -> Result<u64, DataflowError> {
        // What is on its way again, or was and is not written yet, is not there to be dropped.
        sequences.retain(|sequence| !self.history.resending.contains(sequence) && !self.keeper.is_unsettled(*sequence));
        let count = sequences.len() as u64;
        let (store, name) = (self.store.clone(), self.plan.name.clone());
        let oldest = tokio::task::spawn_blocking(move || {
            let mut batch = store.batch();
            for sequence in sequences {
                batch.remove_dead_letter(&name, sequence);
            }
            batch.commit()?;
            Ok::<_, DataflowError>(dead_letters::list(&store, &name, 0, 1)?.first().map(|letter| letter.time))
        })
        .await??;
        self.keeper.dropped(count, oldest);
        Ok(count)
    }

    /// The numbers of the letters that are meant, there, and fit.
    async fn select_letters(
        &self,
        selection: Selection,
        fits: fn(&DeadLetter) -> bool,
    ) -> Result<Vec<u64>, DataflowError> {
        let (store, name) = (self.store.clone(), self.plan.name.clone());
        tokio::task::spawn_blocking(move || find_letters(&store, &name, selection, fits)).await?
    }
}

fn find_letters(
    store: &Store,
    name: &str,
    selection: Selection,
    fits: fn(&DeadLetter) -> bool,
) -> Result<Vec<u64>, DataflowError> {
    let mut found = Vec::new();
    match selection {
        Selection::Sequences(sequences) => {
            // One that is named twice is one.
            for sequence in BTreeSet::from_iter(sequences) {
                let letter = dead_letters::list(store, name, sequence, 1)?.pop();
                if letter.is_some_and(|letter| letter.sequence == sequence && fits(&letter)) {
                    found.push(sequence);
                }
            }
        }
        Selection::All => {
            let mut from = 0;
            loop {
                let page = dead_letters::list(store, name, from, PAGE)?;
                found.extend(page.iter().filter(|letter| fits(letter)).map(|letter| letter.sequence));
                match page.last() {
                    Some(last) if page.len() == PAGE => from = last.sequence + 1,
                    _ => break,
                }
            }
        }
    }
    Ok(found)
}

fn answered(answer: oneshot::Sender<Result<u64, DataflowError>>, result: Result<u64, DataflowError>) {
    // Whoever asked may have gone.
    let _ = answer.send(result);
}
