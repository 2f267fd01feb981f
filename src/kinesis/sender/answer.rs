//! Pure decisions: what the answer to a request means for each of its records.

use std::time::Duration;

use super::breaker::{REFUSALS, Refusal};
use super::limits::{DeadReason, refusal};
use super::outage::{BEYOND_DOUBT, Doubt, Judgement, Reply, Verdict};
use super::pace::Tally;
use super::retry::Waiter;
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
        let reply = Reply::of(&outcome);
        self.ramp.answered(request, reply.is_some(), self.settings.max_in_flight);
        self.breaker.answered(request, reply == Some(Reply::Took));
        self.learn_size(&flight.tickets, &outcome);
        match outcome {
            Ok(outcomes) => self.settle(request, flight, outcomes, now),
            Err(RequestError::Throttled { .. }) => {
                let outcomes = vec![EntryOutcome::Throttled; flight.tickets.len()];
                self.settle(request, flight, outcomes, now);
            }
            Err(RequestError::Invalid { message }) => self.halve(request, flight.tickets, message, now),
            Err(error) => self.fail(request, flight.tickets, error, now),
        }
        if let Some(reply) = reply {
            self.link_is_up(request, reply, now);
        }
    }

    /// What the request says of how large the next ones may be.
    fn learn_size(&mut self, tickets: &[u64], outcome: &RequestOutcome) {
        let unavailable = matches!(outcome, Err(RequestError::Unavailable { .. })) && tickets.len() > 1;
        let carried = matches!(outcome, Ok(_) | Err(RequestError::Throttled { .. })) && self.size.is_cut();
        if !unavailable && !carried {
            return;
        }
        let bytes = tickets.iter().map(|&ticket| self.window.slot(ticket).bytes).sum();
        if unavailable {
            self.size.failed(tickets.len(), bytes, &self.settings);
        } else {
            self.size.answered(tickets.len(), bytes, &self.settings);
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
                    self.use_attempt(request, ticket, Refusal::Failed { code, message }, now);
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
        self.waiting.push(due, Waiter::Throttled(ticket));
    }

    /// An attempt of the record failed: it waits for the next, or has had its last.
    fn use_attempt(&mut self, request: u64, ticket: u64, refusal: Refusal, now: Duration) {
        let last = self.window.slot(ticket).attempts >= self.settings.max_retries;
        if last || self.outage.is_tripped() {
            return self.give_up_or_hold(request, ticket, refusal, now);
        }
        let attempts = self.window.use_attempts(ticket, 1);
        self.window.slot(ticket).throttles = 0;
        let due = now + self.jitter.backoff(attempts);
        self.waiting.push(due, Waiter::Failed(ticket));
    }

    /// The record has had its last attempt. It is given up, unless the service seems to refuse everything.
    fn give_up_or_hold(&mut self, request: u64, ticket: u64, refusal: Refusal, now: Duration) {
        if !self.outage.is_tripped() && self.breaker.gives_up(self.next_request) {
            self.window.use_attempts(ticket, 1);
            return self.bury(ticket, refusal.into());
        }
        let slot = self.window.slot(ticket);
        slot.refusals += 1;
        slot.throttles = 0;
        let refusals = slot.refusals;
        if refusals < REFUSALS {
            return self.outage.hold(request, ticket, &refusal, now);
        }
        self.window.use_attempts(ticket, refusals);
        self.bury(ticket, refusal.into());
    }

    /// Some record of the request is at fault: each half of it is tried, down to the culprit.
    fn halve(&mut self, request: u64, tickets: Vec<u64>, message: String, now: Duration) {
        self.message.clone_from(&message);
        if let &[ticket] = tickets.as_slice() {
            return self.give_up_or_hold(request, ticket, Refusal::Invalid { message }, now);
        }
        let (first, rest) = halves(tickets);
        self.ready.push_part(rest);
        self.ready.push_part(first);
    }

    /// A request had no answer, by its size or by the fault of some record: each half of it is tried.
    fn dissect(&mut self, tickets: Vec<u64>, now: Duration) {
        let due = now + self.jitter.backoff(1);
        let (first, rest) = halves(tickets);
        for part in [first, rest].into_iter().filter(|part| !part.is_empty()) {
            self.waiting.push(due, Waiter::Part(part));
        }
    }

    /// A request that nobody answered, or that was refused for what is no fault of its records.
    fn fail(&mut self, request: u64, tickets: Vec<u64>, error: RequestError, now: Duration) {
        self.message = match &error {
            RequestError::Unavailable { message } => message.clone(),
            refused => refused.to_string(),
        };
        let alone = self.flights.is_empty();
        self.outage.failed(request, tickets, error, alone, now, &mut self.jitter);
    }

    /// The service answered: what that says of requests that failed, and of a pause.
    fn link_is_up(&mut self, request: u64, reply: Reply, now: Duration) {
        let Judgement { judged, healed, forgives } = self.outage.answered(request, reply, now, &mut self.jitter);
        if healed {
            self.ramp.restart(self.next_request);
        }
        if forgives {
            self.window.forgive();
        }
        let mut dissected = Vec::new();
        for (suspect, verdict) in judged {
            let ticket = suspect.ticket;
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
            let offered = slot.offered;
            match suspect.doubt {
                Doubt::InCompany if guilty || verdict == Verdict::Strike => dissected.push((suspect.request, ticket)),
                // With others, it would take them through another halving.
                Doubt::Invalid => self.ready.push_part(vec![ticket]),
                _ if guilty => {
                    let refusal = Refusal::Failed { code: UNAVAILABLE.to_owned(), message: self.message.clone() };
                    self.use_attempt(suspect.request, ticket, refusal, now);
                }
                _ => self.push_urgent(ticket, offered),
            }
        }
        dissected.sort_unstable();
        for request in dissected.chunk_by(|(one, _), (other, _)| one == other) {
            self.dissect(request.iter().map(|&(_, ticket)| ticket).collect(), now);
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
        } else if self.window.is_empty() {
            // There is nothing left to probe with.
            self.outage.end();
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

/// Both halves; the second is the larger one, the first may be empty.
fn halves(mut tickets: Vec<u64>) -> (Vec<u64>, Vec<u64>) {
    let rest = tickets.split_off(tickets.len() / 2);
    (tickets, rest)
}

/// The outcomes, if there is one for each of `entries`. Anything else is no answer to what was asked.
fn complete(outcomes: Vec<EntryOutcome>, entries: usize) -> RequestOutcome {
    if outcomes.len() == entries {
        return Ok(outcomes);
    }
    let message = format!("the service answered {} outcomes for {entries} records", outcomes.len());
    Err(RequestError::Unavailable { message })
}
