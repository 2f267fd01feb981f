//! The way in: changes and chunks become records that are offered to the sender, in their order, while it has room.

use std::hash::{BuildHasher as _, Hasher as _};
use std::sync::Arc;

use bytes::Bytes;
use foldhash::fast::FixedState;
use jiff::Timestamp;
use serde_json::value::RawValue;

use super::{FeedState, Worker};
use crate::dataflow::DataflowError;
use crate::dataflow::chunk::Entry;
use crate::dataflow::dead_letters::DeadLetter;
use crate::dataflow::sabotage::{self, Promise};
use crate::dataflow::tracker::{Advance, Origin, Outcome, Sent};
use crate::export::projection::{self, Export, Projected};
use crate::feed::Item;
use crate::kinesis::outcome::Entry as KinesisEntry;
use crate::kinesis::sender::Record;
use crate::telemetry::clock;

/// How many changes are taken before answers are looked at again.
const STRIDE: usize = 500;

impl Worker {
    /// Offers what there is, as far as the window goes.
    pub(super) fn offer(&mut self) -> Result<(), DataflowError> {
        if self.switching() || self.give_up.is_some() || self.keeper.is_stuck() {
            return Ok(());
        }
        let (wall, now) = (clock::now(), clock::monotonic());
        for _ in 0..STRIDE {
            if !self.has_room() {
                break;
            }
            // A chunk stands in the log at its head: live goes up to there, then the chunk, then live again.
            if self.history.is_at(self.taken) {
                match self.history.next() {
                    Some(entry) => self.offer_entry(entry, now),
                    None => self.end_chunk(),
                }
                continue;
            }
            if self.history.awaits(self.taken) || self.taken.saturating_sub(self.keeper.durable()) >= self.ahead {
                break;
            }
            let Some(item) = self.batch.pop_front() else { break };
            self.offer_change(&item, wall, now)?;
            self.taken = item.next;
            if self.switching() {
                self.sender.flush();
                break;
            }
        }
        Ok(())
    }

    fn offer_change(&mut self, item: &Item, wall: Timestamp, now: std::time::Duration) -> Result<(), DataflowError> {
        let advance = Advance::Position { next: item.next, changes: 1 };
        match projection::live_line(&self.mapping, &item.change, wall) {
            Ok((Projected::Nothing, change)) => self.tracker.skip(item.next, change.time, false),
            Ok((Projected::Excluded, change)) => self.tracker.skip(item.next, change.time, true),
            Ok((Projected::Export(export), change)) => {
                let origin = self.origin(&change.profile_id, &change.merge_policy_id, change.version);
                self.send(export, origin, advance, Some(change.time), now);
            }
            Err(error) => {
                let letter = unreadable(&item.change, &error.to_string(), wall)?;
                self.tracker.settle(advance, Outcome::Dead(Box::new(letter)));
            }
        }
        Ok(())
    }

    fn offer_entry(&mut self, entry: Entry, now: std::time::Duration) {
        let Entry { profile_id, merge_policy_id, version, projected, advance } = entry;
        match projected {
            Projected::Nothing => self.tracker.settle(advance, Outcome::Skipped),
            Projected::Excluded => self.tracker.settle(advance, Outcome::Excluded),
            Projected::Export(export) => {
                let origin = self.origin(&profile_id, &merge_policy_id, version);
                self.send(export, origin, advance, None, now);
            }
        }
    }

    fn origin(&mut self, profile_id: &str, merge_policy_id: &str, version: u64) -> Origin {
        if *self.merge_policy_id != *merge_policy_id {
            self.merge_policy_id = merge_policy_id.into();
        }
        Origin { profile_id: profile_id.into(), merge_policy_id: Arc::clone(&self.merge_policy_id), version }
    }

    fn send(
        &mut self,
        export: Export,
        origin: Origin,
        advance: Advance,
        receipt: Option<Timestamp>,
        now: std::time::Duration,
    ) {
        let mut profile = lane(&origin.merge_policy_id, &origin.profile_id);
        if sabotage::breaks(Promise::Fence) {
            profile = origin.version;
        }
        let sent = Sent {
            triggers: export.triggers,
            bytes: (export.partition_key.len() + export.record.len()) as u32,
            origin,
            exits: export.exits,
        };
        let entry = KinesisEntry { partition_key: export.partition_key, data: Bytes::from(export.record) };
        let ticket = self.sender.offer(Record { profile, entry }, now);
        self.tracker.send(ticket, advance, receipt, sent);
    }

    /// Whether there is room for a record: a crash must not repeat more than the window, which is what is under way and what
    /// the position has moved over since it was written.
    fn has_room(&self) -> bool {
        let repeated = self.tracker.under_way().and(self.keeper.unwritten());
        let (records, bytes) = self.sender.allowance();
        self.sender.has_room() && repeated.records < records && repeated.bytes < bytes
    }

    /// Whether [`Worker::offer`] would do anything.
    pub(super) fn can_offer(&self) -> bool {
        let something = self.history.is_at(self.taken)
            || (!self.batch.is_empty()
                && !self.history.awaits(self.taken)
                && self.taken.saturating_sub(self.keeper.durable()) < self.ahead);
        something && self.has_room() && !self.switching() && self.give_up.is_none() && !self.keeper.is_stuck()
    }

    /// Whether there is anything that this worker has read, or could read now, and not taken.
    pub(super) fn has_more(&self) -> bool {
        !self.batch.is_empty() || (self.taken < self.head() && self.feed != FeedState::Ended)
    }
}

/// What the fence knows a profile by. Two that share one only wait for each other.
fn lane(merge_policy_id: &str, profile_id: &str) -> u64 {
    let mut hasher = FixedState::default().build_hasher();
    hasher.write(merge_policy_id.as_bytes());
    hasher.write_u8(0xff);
    hasher.write(profile_id.as_bytes());
    hasher.finish()
}

/// A change that cannot be read, kept for whoever can mend it.
fn unreadable(change: &[u8], message: &str, now: Timestamp) -> Result<DeadLetter, DataflowError> {
    let text = String::from_utf8_lossy(change);
    let quoted = serde_json::to_string(&text).map_err(DataflowError::Damaged)?;
    Ok(DeadLetter {
        sequence: 0,
        profile_id: String::new(),
        merge_policy_id: String::new(),
        version: 0,
        triggers: Vec::new(),
        exits: Vec::new(),
        reason: "Unreadable".to_owned(),
        message: format!("the change cannot be read: {message}"),
        attempts: 0,
        time: now,
        partition_key: String::new(),
        record: RawValue::from_string(quoted).map_err(DataflowError::Damaged)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_has_one_lane_per_merge_policy() {
        assert_eq!(lane("default", "p"), lane("default", "p"));
        assert_ne!(lane("default", "p"), lane("strict", "p"));
        assert_ne!(lane("a", "bp"), lane("ab", "p"));
    }
}
