//! Pure decisions: what the answer to a request means for each of its records.

use std::time::Duration;

use super::limits::{DeadReason, refusal};
use super::outage::{BEYOND_DOUBT, Verdict};
use super::pace::Tally;
use super::retry::Cause;
use super::{Done, Flight, RequestId, Sender, Throttling, Ticket};
use crate::kinesis::outcome::{EntryOutcome, RequestError, RequestOutcome};

/// The code of an attempt that had no answer.
const UNAVAILABLE: &str = "Unavailable";

impl Sender {
    /// Takes in what became of a request. Each request is answered once; one that is not on its way is not heard.
    pub fn answer(&mut self, request: RequestId, outcome: RequestOutcome, now: Duration) {
        let now = self.advance(now);
        let RequestId(request) = request;
        let Some(flight) = self.flights.remove(&request) else { return };
        let outcome = outcome.and_then(|outcomes| complete(outcomes, flight.tickets.len()));
        let answered = match &outcome {
            Ok(_) | Err(RequestError::Throttled { .. } | RequestError::Invalid { .. }) => true,
            Err(_) => false,
        };
        self.ramp.answered(request, answered, self.settings.max_in_flight);
        match outcome {
            Ok(outcomes) => self.settle(request, flight, outcomes, now),
            Err(RequestError::Throttled { .. }) => {
                let outcomes = vec![EntryOutcome::Throttled; flight.tickets.len()];
                self.settle(request, flight, outcomes, now);
            }
            Err(RequestError::Invalid { message }) => self.halve(flight.tickets, message),
            Err(error) => self.fail(request, flight.tickets, error, now),
        }
        if answered {
            self.link_is_up(request, now);
        }
    }

    /// A request that was answered entry by entry.
    fn settle(&mut self, request: u64, flight: Flight, outcomes: Vec<EntryOutcome>, now: Duration) {
        let Flight { tickets, throttled } = flight;
        let mut lanes =
            (Tally { sent: tickets.len() - throttled, throttled: 0 }, Tally { sent: throttled, throttled: 0 });
        let mut accepted = 0;
        for (index, (ticket, outcome)) in tickets.into_iter().zip(outcomes).enumerate() {
            match outcome {
                EntryOutcome::Accepted => {
                    accepted += 1;
                    self.acknowledge(ticket, now);
                }
                EntryOutcome::Throttled => {
                    let lane = if index < throttled { &mut lanes.1 } else { &mut lanes.0 };
                    lane.throttled += 1;
                    self.wait_out_throttling(ticket, now);
                }
                EntryOutcome::Failed { code, message } => {
                    self.message = format!("{code}: {message}");
                    self.use_attempt(ticket, code, message, now);
                }
            }
        }
        if lanes.0.throttled + lanes.1.throttled > 0 {
            let since = self.throttling.as_ref().map_or(now, |throttling| throttling.since);
            self.throttling = Some(Throttling { since, last: now });
        }
        self.pace.answered((request, self.next_request), accepted, lanes, now);
    }

    fn wait_out_throttling(&mut self, ticket: u64, now: Duration) {
        let slot = self.window.slot(ticket);
        slot.throttles = slot.throttles.saturating_add(1);
        let due = now + self.jitter.backoff(slot.throttles);
        self.waiting.push(due, ticket, Cause::Throttled);
    }

    /// An attempt of the record failed: it waits for the next, or has had its last.
    fn use_attempt(&mut self, ticket: u64, code: String, message: String, now: Duration) {
        let attempts = self.window.use_attempt(ticket);
        if attempts > self.settings.max_retries {
            return self.bury(ticket, DeadReason::Exhausted { code, message });
        }
        self.window.slot(ticket).throttles = 0;
        let due = now + self.jitter.backoff(attempts);
        self.waiting.push(due, ticket, Cause::Failed);
    }

    /// Some record of the request is at fault: each half of it is tried, down to the culprit.
    fn halve(&mut self, mut tickets: Vec<u64>, message: String) {
        if let &[ticket] = tickets.as_slice() {
            self.window.use_attempt(ticket);
            return self.bury(ticket, DeadReason::Invalid { message });
        }
        let rest = tickets.split_off(tickets.len() / 2);
        self.ready.push_part(tickets);
        self.ready.push_part(rest);
    }

    /// A request that nobody answered, or that was refused for what is no fault of its records.
    fn fail(&mut self, request: u64, tickets: Vec<u64>, error: RequestError, now: Duration) {
        self.message = match &error {
            RequestError::Unavailable { message } => message.clone(),
            refused => refused.to_string(),
        };
        let was_paused = self.outage.pause().is_some();
        let alone = self.flights.is_empty();
        self.outage.failed(request, tickets, error, alone, now, &mut self.jitter);
        if !was_paused && self.outage.pause().is_some() {
            self.dissolve_parts(now);
        }
    }

    /// The service answered: what that says of requests that failed, and of a pause.
    fn link_is_up(&mut self, request: u64, now: Duration) {
        let (judged, healed) = self.outage.answered(request);
        if healed {
            self.ramp.restart(self.next_request);
        }
        for (ticket, verdict) in judged {
            let slot = self.window.slot(ticket);
            let guilty = match verdict {
                Verdict::Attempt => true,
                Verdict::Strike | Verdict::Caught => slot.suspicion >= BEYOND_DOUBT,
                Verdict::Free => false,
            };
            slot.suspicion += match verdict {
                Verdict::Strike => BEYOND_DOUBT,
                Verdict::Caught => 1,
                Verdict::Attempt | Verdict::Free => 0,
            };
            if guilty {
                self.use_attempt(ticket, UNAVAILABLE.to_owned(), self.message.clone(), now);
            } else {
                let offered = self.window.slot(ticket).offered;
                self.push_urgent(ticket, offered);
            }
        }
    }

    fn acknowledge(&mut self, ticket: u64, now: Duration) {
        let retries = self.window.slot(ticket).sends.saturating_sub(1);
        let next = self.window.finish(ticket);
        self.done.push_back(Done::Acknowledged { ticket, retries });
        if let Some(next) = next {
            self.take_turn(next, now);
        }
    }

    /// Makes a dead letter of the record. Its profile waits until that is kept, see [`Sender::buried`].
    fn bury(&mut self, ticket: u64, reason: DeadReason) {
        let attempts = self.window.slot(ticket).attempts;
        let entry = self.window.take_out(ticket);
        self.done.push_back(Done::DeadLetter { ticket, letter: Box::new((reason, attempts, entry)) });
    }

    /// The dead letter of `ticket` is durable: the records of its profile behind it go on. Each dead letter that was told is
    /// buried once. Before, a crash would have it delivered after all, behind what was sent after it.
    pub fn buried(&mut self, Ticket(ticket): Ticket, now: Duration) {
        let now = self.advance(now);
        if let Some(next) = self.window.finish(ticket) {
            self.take_turn(next, now);
        }
    }

    /// The record is the first of its profile now. One that Kinesis would refuse is given up at its turn, not before: what
    /// becomes of a profile's records is told in their order.
    pub(super) fn take_turn(&mut self, ticket: u64, now: Duration) {
        match refusal(&self.window.slot(ticket).entry, self.settings.max_record_bytes) {
            Some(reason) => self.bury(ticket, reason),
            None => self.push_fresh(ticket, now),
        }
    }
}

/// The outcomes, if there is one for each of `entries`. Anything else is no answer to what was asked.
fn complete(outcomes: Vec<EntryOutcome>, entries: usize) -> RequestOutcome {
    if outcomes.len() == entries {
        return Ok(outcomes);
    }
    let message = format!("the service answered {} outcomes for {entries} records", outcomes.len());
    Err(RequestError::Unavailable { message })
}
