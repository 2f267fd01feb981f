//! Pure: what was taken from the feed and is not done with yet, in the order in which it was taken. The position moves over
//! what is done, and never past what is not.

use std::collections::VecDeque;
use std::sync::Arc;

use jiff::Timestamp;

use super::dead_letters::DeadLetter;
use crate::export::Triggers;
use crate::kinesis::sender::Ticket;

/// What moves once an item, and everything before it, is done with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Advance {
    /// The position: where to go on reading.
    Position {
        /// Behind the change.
        next: u64,
        /// How many changes lie in it: one, or a stretch of changes that exported nothing.
        changes: u64,
    },
    /// The cursor of the backfill: one profile of a chunk.
    Member {
        /// The profile's id; `None` for all but the last of one id, which several merge policies can share.
        cursor: Option<String>,
        /// The places, in the run's list, of the audiences that it counts for.
        audiences: Vec<u16>,
    },
    /// The backfill is at its end.
    BackfillEnd,
    /// A dead letter was sent again.
    Redelivered {
        /// Which.
        sequence: u64,
    },
}

/// What became of an item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Nothing was to be exported.
    Skipped,
    /// A required attribute is missing.
    Excluded,
    /// The stream has it.
    Exported {
        /// Attempts after the first.
        retries: u32,
    },
    /// It could not be delivered.
    Dead(Box<DeadLetter>),
}

/// What an export is about, until it is known what becomes of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sent {
    /// Why it is exported.
    pub(super) triggers: Triggers,
    /// The record's size, partition key included.
    pub(super) bytes: u32,
    /// Whose, and which version: for the dead letter.
    pub(super) origin: Origin,
    /// The exits that it tells.
    pub(super) exits: Vec<(String, String)>,
}

/// Where a record comes from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Origin {
    pub(super) profile_id: Box<str>,
    /// Shared by all records under it.
    pub(super) merge_policy_id: Arc<str>,
    pub(super) version: u64,
}

/// How much was sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Load {
    pub(super) records: usize,
    /// Partition keys and data.
    pub(super) bytes: usize,
}

impl Load {
    /// Of one record.
    pub(super) fn of(sent: &Sent) -> Self {
        Self { records: 1, bytes: sent.bytes as usize }
    }

    /// Both together.
    pub(super) fn and(self, other: Self) -> Self {
        Self { records: self.records + other.records, bytes: self.bytes + other.bytes }
    }
}

/// One item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Item {
    pub(super) advance: Advance,
    /// When the hub received the change; `None` for what is no live change.
    pub(super) receipt: Option<Timestamp>,
    pub(super) sent: Option<Sent>,
    /// Under which it was offered, where it was.
    pub(super) ticket: Option<Ticket>,
    pub(super) outcome: Option<Outcome>,
}

/// The items between the position and the worker's reading.
#[derive(Debug, Default)]
pub(super) struct Tracker {
    items: VecDeque<Item>,
    /// How many items were ever popped: the absolute index of the first.
    popped: u64,
    /// The absolute index of the item of each ticket, the lowest open ticket first.
    tickets: VecDeque<u64>,
    first_ticket: u64,
    /// Records of backfill chunks among the items.
    members: usize,
    /// Of the records among the items.
    bytes: usize,
}

impl Tracker {
    /// Whether everything is done with.
    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// How many items of backfill chunks are not popped.
    pub(super) fn members(&self) -> usize {
        self.members
    }

    /// The records that are not popped.
    pub(super) fn under_way(&self) -> Load {
        Load { records: self.tickets.len(), bytes: self.bytes }
    }

    /// The receipt of the oldest live change that is not done with.
    pub(super) fn oldest(&self) -> Option<Timestamp> {
        self.items.iter().find_map(|item| item.receipt)
    }

    /// A change that exports nothing, or is excluded: done with as soon as what is before it is.
    pub(super) fn skip(&mut self, next: u64, receipt: Timestamp, excluded: bool) {
        if !excluded
            && let Some(Item {
                advance: Advance::Position { next: last, changes },
                outcome: Some(Outcome::Skipped),
                ..
            }) = self.items.back_mut()
        {
            *last = next;
            *changes += 1;
            return;
        }
        let outcome = if excluded { Outcome::Excluded } else { Outcome::Skipped };
        self.items.push_back(Item {
            advance: Advance::Position { next, changes: 1 },
            receipt: Some(receipt),
            sent: None,
            ticket: None,
            outcome: Some(outcome),
        });
    }

    /// Anything else that needs no record.
    pub(super) fn settle(&mut self, advance: Advance, outcome: Outcome) {
        self.push(Item { advance, receipt: None, sent: None, ticket: None, outcome: Some(outcome) });
    }

    /// A record that was offered to the sender under `ticket`. Tickets come in their order.
    pub(super) fn send(&mut self, ticket: Ticket, advance: Advance, receipt: Option<Timestamp>, sent: Sent) {
        if self.tickets.is_empty() {
            self.first_ticket = ticket.0;
        }
        self.tickets.push_back(self.popped + self.items.len() as u64);
        self.bytes += sent.bytes as usize;
        self.push(Item { advance, receipt, sent: Some(sent), ticket: Some(ticket), outcome: None });
    }

    fn push(&mut self, item: Item) {
        self.members += usize::from(matches!(item.advance, Advance::Member { .. }));
        self.items.push_back(item);
    }

    /// The item of a ticket that is not finished.
    pub(super) fn open(&self, ticket: Ticket) -> Option<&Item> {
        let index = *self.tickets.get(ticket.0.checked_sub(self.first_ticket)? as usize)?;
        self.items.get(index.checked_sub(self.popped)? as usize)
    }

    /// The sender is done with `ticket`. What comes of it is seen where the item is popped.
    pub(super) fn finish(&mut self, ticket: Ticket, outcome: Outcome) {
        let Some(place) = ticket.0.checked_sub(self.first_ticket) else { return };
        let Some(index) = self.tickets.get(place as usize) else { return };
        let Some(place) = index.checked_sub(self.popped) else { return };
        if let Some(item) = self.items.get_mut(place as usize) {
            item.outcome = Some(outcome);
        }
    }

    /// The first item, if it is done with.
    pub(super) fn pop(&mut self) -> Option<(Item, Outcome)> {
        let outcome = self.items.front_mut()?.outcome.take()?;
        let item = self.items.pop_front()?;
        if let Some(sent) = &item.sent {
            self.bytes -= sent.bytes as usize;
            self.tickets.pop_front();
            self.first_ticket += 1;
        }
        self.members -= usize::from(matches!(item.advance, Advance::Member { .. }));
        self.popped += 1;
        Some((item, outcome))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const T: Timestamp = Timestamp::UNIX_EPOCH;

    fn sent() -> Sent {
        Sent { triggers: Triggers::AUDIENCE, bytes: 10, origin: Origin::default(), exits: Vec::new() }
    }

    fn position(next: u64) -> Advance {
        Advance::Position { next, changes: 1 }
    }

    #[test]
    fn the_position_never_moves_past_what_is_not_done_with() {
        let mut tracker = Tracker::default();
        tracker.send(Ticket(0), position(2), Some(T), sent());
        tracker.send(Ticket(1), position(3), Some(T), sent());
        tracker.finish(Ticket(1), Outcome::Exported { retries: 0 });
        assert!(tracker.pop().is_none());
        tracker.finish(Ticket(0), Outcome::Exported { retries: 2 });
        assert_eq!(tracker.pop().unwrap().0.advance, position(2));
        assert_eq!(tracker.pop().unwrap().0.advance, position(3));
        assert!(tracker.is_empty());
    }

    #[test]
    fn changes_that_export_nothing_become_one_stretch() {
        let mut tracker = Tracker::default();
        tracker.send(Ticket(7), position(2), Some(T), sent());
        for next in 3..100 {
            tracker.skip(next, T, false);
        }
        tracker.skip(100, T, true);
        assert_eq!(tracker.items.len(), 3);
        tracker.finish(Ticket(7), Outcome::Exported { retries: 0 });
        tracker.pop().unwrap();
        assert_eq!(tracker.pop().unwrap().0.advance, Advance::Position { next: 99, changes: 97 });
        assert_eq!(tracker.pop().unwrap().1, Outcome::Excluded);
    }

    #[test]
    fn tickets_find_their_items_after_others_were_popped() {
        let mut tracker = Tracker::default();
        for ticket in 0..10 {
            tracker.skip(100 + 2 * ticket, T, false);
            tracker.send(Ticket(ticket), position(101 + 2 * ticket), Some(T), sent());
        }
        for ticket in (0..10).rev() {
            assert_eq!(tracker.open(Ticket(ticket)).unwrap().advance, position(101 + 2 * ticket));
            tracker.finish(Ticket(ticket), Outcome::Exported { retries: ticket as u32 });
        }
        let mut retries = Vec::new();
        while let Some((_, outcome)) = tracker.pop() {
            if let Outcome::Exported { retries: n } = outcome {
                retries.push(n);
            }
        }
        assert_eq!(retries, (0..10).collect::<Vec<_>>());
        tracker.send(Ticket(10), position(500), None, sent());
        assert!(tracker.open(Ticket(10)).is_some() && tracker.open(Ticket(9)).is_none());
    }
}
