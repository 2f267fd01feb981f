//! The rules of delivery, one by one. All of them together, under random faults: `model`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod outages;
mod refusals;
mod sizes;
mod throttling;

use super::limits::MAX_BATCH_RECORDS;
use super::*;
use crate::kinesis::outcome::{EntryOutcome, RequestOutcome};
use bytes::Bytes;

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn settings() -> Settings {
    Settings {
        max_retries: 2,
        throttle_timeout: Duration::from_mins(1),
        linger: ms(50),
        max_records_per_second: None,
        max_record_bytes: 1000,
        max_batch_bytes: 100_000,
        window_records: 10_000,
        window_bytes: 10_000_000,
        max_in_flight: 8,
        seed: 1,
    }
}

fn record(profile: u64) -> Record {
    sized(profile, 10)
}

fn sized(profile: u64, bytes: usize) -> Record {
    Record { profile, entry: Entry { partition_key: format!("p{profile}"), data: Bytes::from(vec![b'x'; bytes]) } }
}

fn failed() -> EntryOutcome {
    EntryOutcome::Failed { code: "InternalFailure".into(), message: "try later".into() }
}

fn unavailable() -> RequestOutcome {
    Err(RequestError::Unavailable { message: "connection reset".into() })
}

fn denied() -> RequestOutcome {
    Err(RequestError::Denied { message: "no".into() })
}

fn invalid() -> RequestOutcome {
    Err(RequestError::Invalid { message: "bad".into() })
}

fn throttled() -> RequestOutcome {
    Err(RequestError::Throttled { message: "slow down".into() })
}

/// A service that answers every record alike.
fn every(outcome: EntryOutcome) -> impl Fn(&[String]) -> RequestOutcome {
    move |keys| Ok(vec![outcome.clone(); keys.len()])
}

/// A sender, its clock, and what it said.
struct Bench {
    sender: Sender,
    now: Duration,
    sent: Vec<(RequestId, Vec<String>)>,
    acknowledged: Vec<(u64, u32)>,
    dead: Vec<(u64, DeadReason, u32)>,
}

impl Bench {
    fn new(settings: Settings) -> Self {
        let sender = Sender::new(settings, Duration::ZERO);
        Self { sender, now: Duration::ZERO, sent: vec![], acknowledged: vec![], dead: vec![] }
    }

    fn offer(&mut self, profiles: impl IntoIterator<Item = u64>) {
        for profile in profiles {
            self.sender.offer(record(profile), self.now);
        }
        self.poll();
    }

    fn poll(&mut self) {
        while let Some(output) = self.sender.poll(self.now) {
            match output {
                Output::Send { request, entries } => {
                    self.sent.push((request, entries.into_iter().map(|entry| entry.partition_key).collect()));
                }
                Output::Acknowledged { ticket, retries } => self.acknowledged.push((ticket.0, retries)),
                Output::DeadLetter { ticket, reason, attempts, .. } => {
                    self.dead.push((ticket.0, reason, attempts));
                    self.sender.buried(ticket, self.now);
                }
            }
        }
        let wake = self.sender.next_wake();
        assert!(wake.is_none_or(|wake| wake > self.now), "{wake:?} at {:?}", self.now);
    }

    /// Whether it was told what became of that record.
    fn is_told(&self, ticket: u64) -> bool {
        self.acknowledged.iter().any(|(told, _)| *told == ticket) || self.dead.iter().any(|(told, ..)| *told == ticket)
    }

    /// Lets time pass, waking the sender whenever it asked for it.
    fn pass(&mut self, milliseconds: u64) {
        let end = self.now + ms(milliseconds);
        while let Some(wake) = self.sender.next_wake().filter(|&wake| wake <= end) {
            self.now = wake;
            self.poll();
        }
        self.now = end;
        self.poll();
    }

    /// Takes the requests that were sent and not looked at yet.
    fn take_sent(&mut self) -> Vec<(RequestId, Vec<String>)> {
        std::mem::take(&mut self.sent)
    }

    fn answer(&mut self, request: RequestId, outcome: RequestOutcome) {
        self.sender.answer(request, outcome, self.now);
        self.poll();
    }

    fn accept(&mut self, request: &(RequestId, Vec<String>)) {
        self.answer(request.0, Ok(vec![EntryOutcome::Accepted; request.1.len()]));
    }

    /// Lets time pass, and answers every request soon: within 10 ms or, over a long time, 100.
    fn serve(&mut self, milliseconds: u64, mut service: impl FnMut(&[String]) -> RequestOutcome) {
        let end = self.now + ms(milliseconds);
        while self.now < end {
            self.pass((milliseconds / 1000).clamp(10, 100));
            for (request, keys) in self.take_sent() {
                self.answer(request, service(&keys));
            }
        }
    }

    /// Passes time until something is sent.
    fn next_sent(&mut self) -> (RequestId, Vec<String>) {
        for _ in 0..10_000 {
            if !self.sent.is_empty() {
                return self.sent.remove(0);
            }
            self.pass(10);
        }
        panic!("nothing is sent");
    }
}

#[test]
fn nothing_goes_while_it_is_held_and_everything_after_in_order() {
    let mut bench = Bench::new(settings());
    bench.sender.hold(ms(5000));
    bench.offer([1, 1, 2]);
    bench.sender.flush();
    bench.pass(4999);
    assert_eq!(bench.take_sent(), []);
    assert_eq!(bench.sender.next_wake(), Some(ms(5000)));
    bench.serve(1000, every(EntryOutcome::Accepted));
    assert_eq!(bench.acknowledged, [(0, 0), (2, 0), (1, 0)]);
}

#[test]
fn a_record_goes_after_the_linger_and_is_acknowledged() {
    let mut bench = Bench::new(settings());
    assert_eq!(bench.sender.health(), Health::Idle);
    bench.offer([1, 2]);
    assert!(bench.sent.is_empty());
    assert_eq!(bench.sender.next_wake(), Some(ms(50)));
    bench.pass(50);
    let sent = bench.take_sent();
    assert_eq!(sent, [(RequestId(0), vec!["p1".to_owned(), "p2".to_owned()])]);
    assert_eq!(bench.sender.health(), Health::Flowing);
    bench.accept(&sent[0]);
    assert_eq!(bench.acknowledged, [(0, 0), (1, 0)]);
    assert!(bench.sender.is_idle());
    assert_eq!(bench.sender.next_wake(), None);
}

#[test]
fn a_full_batch_by_records_or_by_bytes_goes_at_once() {
    let mut bench = Bench::new(settings());
    bench.offer(0..=MAX_BATCH_RECORDS as u64);
    assert_eq!(bench.sent.len(), 1);
    assert_eq!(bench.sent[0].1.len(), MAX_BATCH_RECORDS);

    let mut bench = Bench::new(Settings { max_batch_bytes: 250, ..settings() });
    for profile in 0..3 {
        bench.sender.offer(sized(profile, 98), Duration::ZERO);
    }
    bench.poll();
    assert_eq!(bench.sent.len(), 1, "two of 100 bytes each fit");
    assert_eq!(bench.sent[0].1.len(), 2);
}

#[test]
fn a_record_larger_than_a_batch_goes_alone() {
    let mut bench = Bench::new(Settings { max_batch_bytes: 50, ..settings() });
    bench.sender.offer(sized(1, 100), Duration::ZERO);
    bench.sender.offer(sized(2, 10), Duration::ZERO);
    bench.pass(60);
    assert_eq!(bench.sent.iter().map(|sent| sent.1.len()).collect::<Vec<_>>(), [1, 1]);
}

#[test]
fn a_flush_ignores_the_linger_until_empty() {
    let mut bench = Bench::new(settings());
    bench.offer([1]);
    bench.sender.flush();
    assert_eq!(bench.sender.next_wake(), Some(Duration::ZERO));
    bench.poll();
    let sent = bench.take_sent();
    assert_eq!(sent.len(), 1);
    bench.accept(&sent[0]);
    bench.offer([2]);
    assert!(bench.sent.is_empty(), "the flush is over");
}

#[test]
fn records_of_one_profile_go_one_by_one_in_order_and_others_do_not_wait() {
    let mut bench = Bench::new(settings());
    bench.offer([1, 1, 2, 1]);
    bench.pass(50);
    let first = bench.take_sent();
    assert_eq!(first[0].1, ["p1", "p2"]);
    bench.offer([3]);
    bench.pass(50);
    let other = bench.take_sent();
    assert_eq!(other[0].1, ["p3"], "another profile does not wait");
    bench.accept(&first[0]);
    let second = bench.next_sent();
    assert_eq!(second.1, ["p1"]);
    bench.accept(&second);
    let third = bench.next_sent();
    bench.accept(&third);
    assert_eq!(bench.acknowledged, [(0, 0), (2, 0), (1, 0), (3, 0)]);
}

#[test]
fn the_window_counts_from_the_lowest_unfinished_record() {
    let mut bench = Bench::new(Settings { window_records: 3, linger: Duration::ZERO, max_in_flight: 8, ..settings() });
    bench.offer([1]);
    bench.offer([2]);
    assert!(bench.sender.has_room());
    bench.offer([3]);
    assert!(!bench.sender.has_room());
    bench.offer([4]);
    let sent = bench.take_sent();
    assert_eq!(sent.len(), 4, "what is offered beyond the window is held and sent");
    bench.accept(&sent[1]);
    bench.accept(&sent[2]);
    bench.accept(&sent[3]);
    assert!(!bench.sender.has_room(), "the lowest is not finished");
    bench.accept(&sent[0]);
    assert!(bench.sender.has_room());
    assert!(bench.sender.is_idle());
}

#[test]
fn the_window_counts_bytes_too() {
    let mut bench = Bench::new(Settings { window_bytes: 200, ..settings() });
    bench.sender.offer(sized(1, 98), Duration::ZERO);
    assert!(bench.sender.has_room());
    bench.sender.offer(sized(2, 98), Duration::ZERO);
    assert!(!bench.sender.has_room());
}

#[test]
fn no_more_requests_are_on_their_way_than_allowed() {
    let mut bench = Bench::new(Settings { linger: Duration::ZERO, max_in_flight: 2, ..settings() });
    for profile in 0..5 {
        bench.offer([profile]);
    }
    let sent = bench.take_sent();
    assert_eq!(sent.len(), 2);
    bench.accept(&sent[0]);
    assert_eq!(bench.take_sent()[0].1, ["p2", "p3", "p4"]);
}

#[test]
fn only_what_failed_is_sent_again_after_a_wait() {
    let mut bench = Bench::new(settings());
    bench.offer([1, 2, 3]);
    let sent = bench.next_sent();
    bench.answer(sent.0, Ok(vec![EntryOutcome::Accepted, failed(), EntryOutcome::Accepted]));
    assert_eq!(bench.acknowledged, [(0, 0), (2, 0)]);
    assert_eq!(bench.sender.health(), Health::Retrying { message: "InternalFailure: try later".into() });
    bench.pass(49);
    assert!(bench.sent.is_empty());
    bench.pass(51);
    let again = bench.next_sent();
    assert_eq!(again.1, ["p2"]);
    bench.accept(&again);
    assert_eq!(bench.acknowledged.last(), Some(&(1, 1)));
}

#[test]
fn after_the_last_attempt_a_record_becomes_a_dead_letter_and_the_next_of_its_profile_goes_on() {
    let mut bench = Bench::new(settings());
    bench.offer([1, 1]);
    for _ in 0..3 {
        assert!(bench.dead.is_empty());
        let sent = bench.next_sent();
        bench.answer(sent.0, Ok(vec![failed()]));
    }
    let reason = DeadReason::Exhausted { code: "InternalFailure".into(), message: "try later".into() };
    assert_eq!(bench.dead, [(0, reason, 3)]);
    let next = bench.next_sent();
    bench.accept(&next);
    assert_eq!(bench.acknowledged, [(1, 0)]);
}

#[test]
fn a_record_that_kinesis_would_refuse_becomes_a_dead_letter_unsent_in_the_order_of_its_profile() {
    let mut bench = Bench::new(settings());
    bench.offer([1]);
    bench.sender.offer(sized(1, 5000), bench.now);
    bench.offer([1]);
    bench.sender.offer(sized(2, 5000), bench.now);
    bench.poll();
    let too_large = DeadReason::TooLarge { bytes: 5002, limit: 1000 };
    assert_eq!(bench.dead, [(3, too_large.clone(), 0)], "nothing of profile 2 is ahead");
    let sent = bench.next_sent();
    assert_eq!(bench.dead.len(), 1, "profile 1's waits for its turn");
    bench.accept(&sent);
    assert_eq!(bench.dead[1], (1, too_large, 0));
    let last = bench.next_sent();
    bench.accept(&last);
    assert_eq!(bench.acknowledged, [(0, 0), (2, 0)]);
}

#[test]
fn a_request_refused_as_invalid_is_halved_down_to_the_culprit() {
    let mut bench = Bench::new(settings());
    bench.offer(0..100);
    let mut requests = 0;
    while !bench.sender.is_idle() {
        let sent = bench.next_sent();
        requests += 1;
        if sent.1.contains(&"p37".to_owned()) {
            bench.answer(sent.0, invalid());
        } else {
            bench.accept(&sent);
        }
    }
    assert_eq!(bench.dead, [(37, DeadReason::Invalid { message: "bad".into() }, 1)]);
    assert_eq!(bench.acknowledged.len(), 99);
    assert!(requests <= 1 + 2 * 7, "{requests}");
}

#[test]
fn a_request_too_large_for_the_server_is_mended_by_halving() {
    let mut bench = Bench::new(settings());
    bench.offer(0..500);
    while !bench.sender.is_idle() {
        let sent = bench.next_sent();
        if sent.1.len() > 100 { bench.answer(sent.0, invalid()) } else { bench.accept(&sent) }
    }
    assert_eq!(bench.acknowledged.len(), 500);
    assert!(bench.dead.is_empty());
}

#[test]
fn a_second_answer_to_a_request_is_not_heard() {
    let mut bench = Bench::new(settings());
    bench.offer([1, 1]);
    let sent = bench.next_sent();
    bench.accept(&sent);
    bench.accept(&sent);
    assert_eq!(bench.acknowledged, [(0, 0)]);
}

#[test]
fn new_settings_take_effect_for_what_is_not_sent_yet() {
    let mut bench = Bench::new(settings());
    bench.offer([1]);
    bench.sender.offer(sized(1, 5000), bench.now);
    let sent = bench.next_sent();
    bench.sender.reconfigure(Settings { max_record_bytes: 10_000, ..settings() }, bench.now);
    bench.accept(&sent);
    let large = bench.next_sent();
    bench.accept(&large);
    assert_eq!(bench.acknowledged.len(), 2);
}
