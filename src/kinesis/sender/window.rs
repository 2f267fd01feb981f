//! Pure state: the records from the lowest unfinished ticket on, and the fence: the records of one profile, each behind the
//! one offered before it.
//!
//! A ticket is an index into the ring, so nothing here is searched for. A finished record keeps its place, without its bytes,
//! until every one below it is finished: the window bounds what a crash repeats, and that is counted from the lowest.

use std::collections::VecDeque;
use std::collections::hash_map::{Entry as Place, HashMap};
use std::mem;

use bytes::Bytes;
use foldhash::fast::RandomState;

use super::Record;
use super::limits::entry_bytes;
use crate::kinesis::outcome::Entry;

/// No ticket follows.
const NONE: u64 = u64::MAX;

/// A record, and what it has been through.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) entry: Entry,
    profile: u64,
    /// The next ticket of the profile, or [`NONE`].
    next: u64,
    /// When it was offered.
    pub(super) offered: std::time::Duration,
    /// Partition key and data, in bytes.
    pub(super) bytes: usize,
    /// How often it was sent.
    pub(super) sends: u32,
    /// Attempts that it used.
    pub(super) attempts: u32,
    /// How often it was throttled in a row.
    pub(super) throttles: u32,
    /// How much speaks against it having been caught in outages only; see `outage`.
    pub(super) suspicion: u32,
    /// How often it was refused while it was held; see `breaker`.
    pub(super) refusals: u32,
    finished: bool,
}

/// The ring of records and the fence.
#[derive(Debug, Default)]
pub(super) struct Window {
    slots: VecDeque<Slot>,
    /// The ticket of the first slot.
    lowest: u64,
    /// Of every slot, finished or not.
    bytes: usize,
    /// The last ticket of every profile that has an unfinished record.
    tails: HashMap<u64, u64, RandomState>,
    /// Unfinished records that have used an attempt.
    retrying: usize,
}

impl Window {
    /// Takes a record; whether it is its turn at once, because none of its profile is ahead of it.
    pub(super) fn offer(&mut self, record: Record, now: std::time::Duration) -> (u64, bool) {
        let ticket = self.lowest + self.slots.len() as u64;
        let Record { profile, entry } = record;
        let bytes = entry_bytes(&entry);
        self.bytes += bytes;
        self.slots.push_back(Slot {
            entry,
            profile,
            next: NONE,
            offered: now,
            bytes,
            sends: 0,
            attempts: 0,
            throttles: 0,
            suspicion: 0,
            refusals: 0,
            finished: false,
        });
        match self.tails.entry(profile) {
            Place::Vacant(place) => {
                place.insert(ticket);
                (ticket, true)
            }
            Place::Occupied(mut place) => {
                let ahead = place.insert(ticket);
                self.slot(ahead).next = ticket;
                (ticket, false)
            }
        }
    }

    /// The record of an unfinished ticket.
    pub(super) fn slot(&mut self, ticket: u64) -> &mut Slot {
        let index = ticket - self.lowest;
        &mut self.slots[index as usize]
    }

    /// Uses so many attempts of the record; how many it has used by now.
    pub(super) fn use_attempts(&mut self, ticket: u64, count: u32) -> u32 {
        let slot = self.slot(ticket);
        let before = slot.attempts;
        slot.attempts = before.saturating_add(count);
        let attempts = slot.attempts;
        self.retrying += usize::from(before == 0 && attempts > 0);
        attempts
    }

    /// Gives every record its attempts back: it was the stream that failed.
    pub(super) fn forgive(&mut self) {
        for slot in self.slots.iter_mut().filter(|slot| !slot.finished) {
            (slot.attempts, slot.refusals) = (0, 0);
        }
        self.retrying = 0;
    }

    /// The record's entry, which is not sent any more.
    pub(super) fn take_out(&mut self, ticket: u64) -> Entry {
        let nothing = Entry { partition_key: String::new(), data: Bytes::new() };
        mem::replace(&mut self.slot(ticket).entry, nothing)
    }

    /// Is done with the record for good; the ticket whose turn it is now.
    pub(super) fn finish(&mut self, ticket: u64) -> Option<u64> {
        drop(self.take_out(ticket));
        let slot = self.slot(ticket);
        slot.finished = true;
        let (profile, next, tried) = (slot.profile, slot.next, slot.attempts > 0);
        self.retrying -= usize::from(tried);
        if next == NONE {
            self.tails.remove(&profile);
        }
        while let Some(first) = self.slots.front().filter(|slot| slot.finished) {
            self.bytes -= first.bytes;
            self.slots.pop_front();
            self.lowest += 1;
        }
        (next != NONE).then_some(next)
    }

    /// Whether one more record may be offered, within so many records and bytes.
    pub(super) fn has_room(&self, (records, bytes): (usize, usize)) -> bool {
        self.slots.len() < records && self.bytes < bytes
    }

    pub(super) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Whether some record that used an attempt is unfinished.
    pub(super) fn is_retrying(&self) -> bool {
        self.retrying > 0
    }
}
