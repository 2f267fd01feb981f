//! Pure decisions: which records make the next request, and when it goes.

use std::collections::VecDeque;
use std::time::Duration;

use super::pace::Lane;
use super::retry::Waiter;
use super::{Flight, Output, RequestId, Sender};

/// A record that may go.
#[derive(Debug, Clone, Copy)]
struct Item {
    ticket: u64,
    bytes: usize,
    /// When it began to wait for company.
    since: Duration,
}

/// The records that may go, each the first of its profile.
#[derive(Debug, Default)]
pub(super) struct Ready {
    /// Parts of requests that were refused as invalid, or had no answer: they go as they are.
    parts: VecDeque<Vec<u64>>,
    /// Were throttled, and have waited.
    throttled: VecDeque<Item>,
    /// Have waited: for a retry, or behind one of their profile.
    urgent: VecDeque<Item>,
    /// Wait for company.
    fresh: VecDeque<Item>,
    /// Of all but the parts.
    bytes: usize,
}

impl Ready {
    fn open_len(&self) -> usize {
        self.urgent.len() + self.fresh.len()
    }

    /// Puts a part of a failed request in line, ahead of the others: so a culprit is found before the next request is taken
    /// apart.
    pub(super) fn push_part(&mut self, tickets: Vec<u64>) {
        self.parts.push_front(tickets);
    }

    /// Whether some part is in line.
    pub(super) fn has_parts(&self) -> bool {
        !self.parts.is_empty()
    }

    /// Whether a record is in line that was never sent, and waits for nobody of its profile.
    pub(super) fn has_fresh(&self) -> bool {
        !self.fresh.is_empty()
    }

    fn pop_fresh(&mut self) -> Option<Item> {
        let item = self.fresh.pop_front()?;
        self.bytes -= item.bytes;
        Some(item)
    }

    /// Takes one record out of the last part.
    fn pop_from_part(&mut self) -> Option<u64> {
        let part = self.parts.back_mut()?;
        let ticket = part.pop();
        if part.is_empty() {
            self.parts.pop_back();
        }
        ticket
    }

    fn pop_open(&mut self) -> Option<Item> {
        let item = self.urgent.pop_front().or_else(|| self.fresh.pop_front())?;
        self.bytes -= item.bytes;
        Some(item)
    }

    fn pop_throttled(&mut self) -> Option<Item> {
        let item = self.throttled.pop_front()?;
        self.bytes -= item.bytes;
        Some(item)
    }

    fn first_open(&self) -> Option<&Item> {
        self.urgent.front().or_else(|| self.fresh.front())
    }

    /// Takes up to so many records of each lane, as far as `max_bytes` goes; but one in any case. The tickets, the throttled
    /// ones first, and how many of those there are.
    fn take(&mut self, open: usize, throttled: usize, max_bytes: usize) -> (Vec<u64>, usize) {
        let mut tickets = Vec::with_capacity(open + throttled);
        let mut bytes = 0;
        while tickets.len() < throttled {
            let Some(next) = self.throttled.front() else { break };
            if bytes + next.bytes > max_bytes && !tickets.is_empty() {
                break;
            }
            bytes += next.bytes;
            tickets.extend(self.pop_throttled().map(|item| item.ticket));
        }
        let throttled = tickets.len();
        while tickets.len() < throttled + open {
            let Some(next) = self.first_open() else { break };
            if bytes + next.bytes > max_bytes && !tickets.is_empty() {
                break;
            }
            bytes += next.bytes;
            tickets.extend(self.pop_open().map(|item| item.ticket));
        }
        (tickets, throttled)
    }
}

/// The earlier of two moments, where there are any.
pub(super) fn earlier(one: Option<Duration>, other: Option<Duration>) -> Option<Duration> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

impl Sender {
    /// The record may go, ahead of those that are offered only now; it waits for company from `since` on.
    pub(super) fn push_urgent(&mut self, ticket: u64, since: Duration) {
        let bytes = self.window.slot(ticket).bytes;
        self.ready.bytes += bytes;
        self.ready.urgent.push_back(Item { ticket, bytes, since });
    }

    /// The record may go, and waits for company since it was offered.
    pub(super) fn push_fresh(&mut self, ticket: u64, now: Duration) {
        let slot = self.window.slot(ticket);
        let (bytes, since) = (slot.bytes, slot.offered);
        if since + self.settings.linger <= now {
            return self.push_urgent(ticket, since);
        }
        self.ready.bytes += bytes;
        self.ready.fresh.push_back(Item { ticket, bytes, since });
    }

    /// Brings the records whose wait is over in line.
    pub(super) fn collect_due(&mut self, now: Duration) {
        while let Some(waiter) = self.waiting.pop_due(now) {
            match waiter {
                Waiter::Failed(ticket) => self.push_urgent(ticket, now),
                Waiter::Throttled(ticket) => {
                    let bytes = self.window.slot(ticket).bytes;
                    self.ready.bytes += bytes;
                    self.ready.throttled.push_back(Item { ticket, bytes, since: now });
                }
                Waiter::Part(tickets) => self.ready.push_part(tickets),
            }
        }
    }

    /// Whether one more request may be on its way.
    pub(super) fn has_slot(&self) -> bool {
        self.flights.len() < self.settings.max_in_flight.max(1)
    }

    /// The next request, or when to look again if nothing else happens.
    pub(super) fn batch(&mut self, now: Duration) -> Result<Output, Option<Duration>> {
        if !self.has_slot() || !self.ramp.has_slot() {
            return Err(None);
        }
        if let Some(part) = self.ready.parts.pop_front() {
            if self.pace.allowed_in_all(part.len(), now) > 0 {
                return Ok(self.send(part, 0, now));
            }
            let wake = self.pace.ready_in_all_at(part.len());
            self.ready.parts.push_front(part);
            return Err(wake);
        }
        let (open, throttled) = self.allowed(now)?;
        if let Some(wake) = self.company_until(open, throttled, now) {
            let paced = self.throttled_ready_at(throttled);
            return Err(earlier(Some(wake), paced));
        }
        let (tickets, throttled) = self.ready.take(open, throttled, self.size.bytes(&self.settings));
        Ok(self.send(tickets, throttled, now))
    }

    /// How many records of each lane may go by every pace, or when some may.
    fn allowed(&mut self, now: Duration) -> Result<(usize, usize), Option<Duration>> {
        let most = self.size.records();
        let (wanted_open, wanted_throttled) = (self.ready.open_len().min(most), self.ready.throttled.len().min(most));
        if wanted_open + wanted_throttled == 0 {
            return Err(None);
        }
        let open = self.pace.allowed(Lane::Open, wanted_open, now);
        let throttled = self.pace.allowed(Lane::Throttled, wanted_throttled, now);
        if open + throttled == 0 {
            let open_at = if wanted_open > 0 { self.pace.ready_at(Lane::Open, wanted_open) } else { None };
            return Err(earlier(open_at, self.throttled_ready_at(0)));
        }
        let wanted = (open + throttled).min(most);
        let total = self.pace.allowed_in_all(wanted, now);
        if total == 0 {
            return Err(self.pace.ready_in_all_at(wanted));
        }
        // Neither lane may starve the other: each has half, the odd one in turn, and what the other leaves.
        let half = total / 2 + total % 2 * (self.next_request & 1) as usize;
        let throttled = throttled.min(half.max(total.saturating_sub(open)));
        Ok((open.min(total - throttled), throttled))
    }

    /// When throttled records may go by their pace, where some wait and none is `allowed`.
    fn throttled_ready_at(&mut self, allowed: usize) -> Option<Duration> {
        let wanted = self.ready.throttled.len().min(self.size.records());
        if wanted == 0 || allowed > 0 { None } else { self.pace.ready_at(Lane::Throttled, wanted) }
    }

    /// Until when the records wait for company; `None` if they may go.
    fn company_until(&self, open: usize, throttled: usize, now: Duration) -> Option<Duration> {
        let full = open + throttled >= self.size.records() || self.ready.bytes >= self.size.bytes(&self.settings);
        if full || self.flushing {
            return None;
        }
        let throttled = self.ready.throttled.front().filter(|_| throttled > 0);
        let open = [self.ready.urgent.front(), self.ready.fresh.front()].into_iter().filter(|_| open > 0);
        let first = open.chain([throttled]).flatten().map(|item| item.since).min()?;
        Some(first + self.settings.linger).filter(|&until| until > now)
    }

    /// One record, to see whether the service is back; or when to look again if nothing else happens.
    pub(super) fn probe(&mut self, now: Duration) -> Result<Output, Option<Duration>> {
        if !self.has_slot() || !self.outage.probe_is_due(now) {
            return Err(None);
        }
        if self.pace.allowed_in_all(1, now) == 0 {
            return Err(self.pace.ready_in_all_at(1));
        }
        // Rather one that has not failed yet: should one record be what the service fails on, another one tells.
        let fresh = if self.outage.is_tripped() { self.ready.pop_fresh() } else { None };
        let other = fresh.or_else(|| self.ready.pop_open());
        let other = other.or_else(|| self.ready.pop_throttled()).map(|item| item.ticket);
        let other = other.or_else(|| self.ready.pop_from_part()).map(|ticket| (ticket, None));
        let chosen = other.or_else(|| self.outage.take_suspect().map(|(ticket, request)| (ticket, Some(request))));
        let Some((ticket, suspect_of)) = chosen else {
            self.outage.end();
            return self.batch(now);
        };
        self.outage.probing(self.next_request, suspect_of);
        Ok(self.send(vec![ticket], 0, now))
    }

    fn send(&mut self, tickets: Vec<u64>, throttled: usize, now: Duration) -> Output {
        let request = self.next_request;
        self.next_request += 1;
        let entries = tickets
            .iter()
            .map(|&ticket| {
                let slot = self.window.slot(ticket);
                slot.sends += 1;
                slot.entry.clone()
            })
            .collect();
        self.pace.sent(tickets.len() - throttled, throttled, now);
        self.ramp.sent();
        self.flights.insert(request, Flight { tickets, throttled });
        Output::Send { request: RequestId(request), entries }
    }
}
