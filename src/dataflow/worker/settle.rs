//! The way out: what the sender asks for is carried out, what is done with moves the position, and all is counted.

use std::time::Duration;

use serde_json::value::RawValue;

use super::{FeedState, Worker};
use crate::api::RESYNC_REQUESTED_AT;
use crate::dataflow::DataflowError;
use crate::dataflow::dead_letters::DeadLetter;
use crate::dataflow::progress::{AudienceBackfill, Counters, Delivery, OutageCause, Progress};
use crate::dataflow::state::Checkpoint;
use crate::dataflow::tracker::{Advance, Item, Load, Outcome};
use crate::export::{MappingSpec, Triggers};
use crate::kinesis::outcome::{Entry, RequestError};
use crate::kinesis::sender::{DeadReason, Health, Output, Ticket};
use crate::telemetry::clock;
use jiff::{SignedDuration, Timestamp};
use std::sync::Arc;

impl Worker {
    /// Carries out what the sender asks for, then moves the position.
    pub(super) fn settle(&mut self) -> Result<(), DataflowError> {
        let (wall, now) = (clock::now(), clock::monotonic());
        while let Some(output) = self.sender.poll(now) {
            match output {
                Output::Send { request, entries } => {
                    let client = self.client.current();
                    self.requests.spawn(async move { (request, client.put_records(entries).await) });
                }
                Output::Acknowledged { ticket, retries } => {
                    if let Some(item) = self.tracker.open(ticket) {
                        let bytes = item.sent.as_ref().map_or(0, |sent| u64::from(sent.bytes));
                        self.meter.acknowledged(bytes, item.receipt.map(|receipt| elapsed(receipt, wall)));
                    }
                    self.checkpoint.last_export = Some(wall);
                    self.tracker.finish(ticket, Outcome::Exported { retries });
                }
                Output::DeadLetter { ticket, reason, attempts, entry } => {
                    let letter = self.dead_letter(ticket, &reason, attempts, entry, wall)?;
                    self.tracker.finish(ticket, Outcome::Dead(Box::new(letter)));
                }
            }
        }
        let mut delta = Counters::default();
        let mut moved = false;
        while let Some((item, outcome)) = self.tracker.pop() {
            moved = true;
            self.pass(item, outcome, &mut delta, wall);
        }
        if moved {
            self.checkpoint.count(&delta, wall);
            self.keeper.touch();
        }
        Ok(())
    }

    /// One item is done with, as is everything before it.
    fn pass(&mut self, item: Item, outcome: Outcome, delta: &mut Counters, wall: Timestamp) {
        let delivered = !matches!(outcome, Outcome::Dead(_));
        if let Some(sent) = &item.sent {
            self.keeper.pass(Load::of(sent));
        }
        match outcome {
            Outcome::Skipped => {}
            Outcome::Excluded => delta.excluded += 1,
            Outcome::Exported { retries } => {
                delta.exported += 1;
                delta.retried += u64::from(retries);
                if let Some(sent) = &item.sent {
                    for (count, kind) in delta.triggers.iter_mut().zip([
                        Triggers::AUDIENCE,
                        Triggers::ATTRIBUTE,
                        Triggers::IDENTITY,
                        Triggers::BACKFILL,
                    ]) {
                        *count += u64::from(sent.triggers.contains(kind));
                    }
                }
            }
            Outcome::Dead(mut letter) => {
                delta.failed += 1;
                delta.retried += u64::from(letter.attempts.saturating_sub(1));
                // Sent again in vain, it is the same letter, with what was learned.
                let again = if let Advance::Redelivered { sequence } = item.advance { Some(sequence) } else { None };
                letter.sequence = again.unwrap_or(self.checkpoint.next_dead_letter);
                self.checkpoint.next_dead_letter += u64::from(again.is_none());
                self.keeper.bury(item.ticket, *letter, again.is_none());
            }
        }
        match item.advance {
            Advance::Position { next, changes } => {
                delta.received += changes;
                self.checkpoint.position = next;
            }
            Advance::Member { cursor, audiences } => self.pass_member(cursor, &audiences),
            Advance::BackfillEnd => {
                self.checkpoint.end_backfill(wall);
                self.history.ended();
            }
            Advance::Redelivered { sequence } => {
                if delivered {
                    self.keeper.raise(sequence);
                }
                self.history.redelivered(sequence);
            }
        }
    }

    fn pass_member(&mut self, cursor: Option<String>, audiences: &[u16]) {
        let Some(mut run) = self.checkpoint.backfill.take() else { return };
        for index in audiences {
            if let Some(entry) =
                run.audiences.get(usize::from(*index)).and_then(|(audience, _)| self.checkpoint.backfill_of(audience))
            {
                entry.done += 1;
            }
        }
        if cursor.is_some() {
            run.cursor = cursor;
        }
        self.checkpoint.backfill = Some(run);
    }

    fn dead_letter(
        &self,
        ticket: Ticket,
        reason: &DeadReason,
        attempts: u32,
        entry: Entry,
        now: Timestamp,
    ) -> Result<DeadLetter, DataflowError> {
        let sent = self.tracker.open(ticket).and_then(|item| item.sent.as_ref());
        let origin = sent.map(|sent| &sent.origin);
        // A record is written by us, and is JSON.
        let record = String::from_utf8_lossy(&entry.data).into_owned();
        Ok(DeadLetter {
            sequence: 0,
            profile_id: origin.map(|origin| origin.profile_id.to_string()).unwrap_or_default(),
            merge_policy_id: origin.map(|origin| origin.merge_policy_id.to_string()).unwrap_or_default(),
            version: origin.map(|origin| origin.version).unwrap_or_default(),
            triggers: sent.map(|sent| sent.triggers.names().map(str::to_owned).collect()).unwrap_or_default(),
            exits: sent.map(|sent| sent.exits.clone()).unwrap_or_default(),
            reason: reason.reason().to_owned(),
            message: reason.to_string(),
            attempts,
            time: now,
            partition_key: entry.partition_key,
            record: RawValue::from_string(record).map_err(DataflowError::Damaged)?,
        })
    }

    /// Tells how things are.
    pub(super) fn publish(&mut self) {
        let wall = clock::now();
        let mut progress = Progress::of(Arc::clone(&self.spec), &self.checkpoint, wall);
        progress.head = self.head().max(self.taken);
        progress.delivery = self.delivery(wall);
        (progress.dead_letters, progress.oldest_dead_letter) = self.keeper.dead_letters();
        progress.lag = self.tracker.oldest().map_or(Duration::ZERO, |receipt| elapsed(receipt, wall));
        progress.latency_p95 = self.meter.p95();
        (progress.rate, progress.byte_rate) = self.meter.rates();
        progress.busy = !self.tracker.is_empty()
            || self.has_more()
            || self.switching()
            || self.checkpoint.has_backfill()
            || self.history.is_busy();
        self.progress.send_replace(Arc::new(progress));
    }

    fn delivery(&self, wall: Timestamp) -> Delivery {
        match &self.feed {
            FeedState::Lost(message) => {
                let message = format!("{message}; ask for a resync by the annotation {RESYNC_REQUESTED_AT}");
                return Delivery::PositionLost { message };
            }
            FeedState::Unreachable(message) => return Delivery::SourceUnreachable { message: message.clone() },
            FeedState::Reading | FeedState::Ended => {}
        }
        if self.checkpoint.recovering {
            let message =
                "what the dataflow had not read yet was removed from the change log; every member is told again";
            return Delivery::PositionLost { message: message.to_owned() };
        }
        if let Some(message) = self.keeper.trouble() {
            return Delivery::SourceUnreachable { message: message.to_owned() };
        }
        let began = |since: Duration| {
            let ago = SignedDuration::try_from(clock::monotonic().saturating_sub(since)).unwrap_or_default();
            wall.checked_sub(ago).unwrap_or(wall)
        };
        match self.sender.health() {
            Health::Idle => Delivery::Idle,
            Health::Flowing => Delivery::Flowing,
            Health::Throttled { since, .. } => Delivery::Throttled { since: began(since) },
            Health::Retrying { message } => Delivery::Retrying { message },
            Health::Paused { error, since } => {
                Delivery::Outage { cause: cause(&error), message: error.to_string(), since: began(since) }
            }
        }
    }
}

impl Progress {
    /// What a checkpoint alone tells.
    pub(in crate::dataflow) fn of(mapping: Arc<MappingSpec>, checkpoint: &Checkpoint, at: Timestamp) -> Self {
        let backfills: Vec<AudienceBackfill> = checkpoint.backfills.clone();
        Self {
            at,
            mapping,
            position: checkpoint.position,
            head: checkpoint.position,
            counters: checkpoint.counters,
            runs: checkpoint.runs.clone(),
            backfills,
            delivery: Delivery::Idle,
            dead_letters: 0,
            oldest_dead_letter: None,
            last_export: checkpoint.last_export,
            lag: Duration::ZERO,
            latency_p95: None,
            rate: 0.0,
            byte_rate: 0.0,
            busy: true,
            resync: checkpoint.resync.clone(),
            positions_lost: checkpoint.positions_lost,
        }
    }
}

fn cause(error: &RequestError) -> OutageCause {
    match error {
        RequestError::Denied { .. } => OutageCause::AccessDenied,
        RequestError::Credentials { .. } => OutageCause::Credentials,
        RequestError::StreamNotFound { .. } => OutageCause::StreamNotFound,
        RequestError::Encryption { .. } => OutageCause::Encryption,
        RequestError::Throttled { .. } | RequestError::Invalid { .. } | RequestError::Unavailable { .. } => {
            OutageCause::Unreachable
        }
    }
}

fn elapsed(since: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(since)).unwrap_or_default()
}
