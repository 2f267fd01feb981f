//! The rules of delivery, one by one. All of them together, under random faults: `model`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

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
        throttle_timeout: Duration::from_secs(60),
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
                Output::DeadLetter { ticket, reason, attempts, .. } => self.dead.push((ticket.0, reason, attempts)),
            }
        }
        let wake = self.sender.next_wake();
        assert!(wake.is_none_or(|wake| wake > self.now), "{wake:?} at {:?}", self.now);
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
    bench.offer(0..MAX_BATCH_RECORDS as u64 + 1);
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
fn a_request_that_fails_while_a_later_one_is_answered_uses_an_attempt() {
    let mut bench = Bench::new(Settings { max_retries: 0, linger: Duration::ZERO, ..settings() });
    bench.offer([1]);
    bench.offer([2]);
    bench.offer([3]);
    let sent = bench.take_sent();
    bench.answer(sent[1].0, unavailable());
    assert!(bench.dead.is_empty(), "nothing tells yet");
    bench.accept(&sent[0]);
    assert!(bench.dead.is_empty(), "an earlier request tells nothing of a later one");
    bench.accept(&sent[2]);
    let reason = DeadReason::Exhausted { code: "Unavailable".into(), message: "connection reset".into() };
    assert_eq!(bench.dead, [(1, reason, 1)]);
}

#[test]
fn an_outage_pauses_uses_no_attempt_and_heals_by_a_probe() {
    let mut bench = Bench::new(Settings { max_retries: 0, linger: Duration::ZERO, ..settings() });
    for profile in 0..20 {
        bench.offer([profile]);
    }
    // What waits is still sent while something is on its way.
    while let Some(sent) = bench.sent.pop() {
        bench.answer(sent.0, unavailable());
    }
    let mut waits = vec![];
    for _ in 0..12 {
        let before = bench.now;
        let probe = bench.next_sent();
        assert_eq!(probe.1.len(), 1, "a probe is small");
        assert!(bench.sent.is_empty(), "one probe at a time");
        waits.push(bench.now - before);
        bench.answer(probe.0, unavailable());
        assert!(matches!(bench.sender.health(), Health::Paused { error: RequestError::Unavailable { .. }, .. }));
    }
    assert!(waits[0] <= ms(510), "{waits:?}");
    assert!(waits[11] >= ms(7500) && waits[11] <= ms(15_010), "{waits:?}");
    let probe = bench.next_sent();
    bench.accept(&probe);
    for _ in 0..40 {
        if bench.sender.is_idle() {
            break;
        }
        let sent = bench.next_sent();
        bench.accept(&sent);
    }
    assert_eq!(bench.acknowledged.len(), 20);
    assert!(bench.dead.is_empty());
}

#[test]
fn a_lone_failing_request_is_an_outage_until_others_get_through() {
    let mut bench = Bench::new(Settings { linger: Duration::ZERO, ..settings() });
    bench.offer([1]);
    for _ in 0..20 {
        let sent = bench.next_sent();
        assert_eq!(sent.1, ["p1"]);
        bench.answer(sent.0, unavailable());
    }
    assert!(bench.dead.is_empty());
}

#[test]
fn a_record_on_which_the_service_always_fails_ends_by_attempts_even_where_little_else_is_sent() {
    let mut bench = Bench::new(Settings { linger: Duration::ZERO, ..settings() });
    bench.offer([1]);
    let mut others = 0;
    for round in 2..40 {
        // One other record at a time, so that never two requests are on their way together.
        bench.offer([round]);
        for _ in 0..20 {
            let Some(sent) = bench.sent.pop() else {
                bench.pass(1000);
                continue;
            };
            if sent.1.contains(&"p1".to_owned()) {
                bench.answer(sent.0, unavailable());
            } else {
                others += 1;
                bench.accept(&sent);
            }
        }
        if !bench.dead.is_empty() {
            break;
        }
    }
    let (ticket, reason, attempts) = &bench.dead[0];
    assert_eq!((*ticket, reason.reason(), *attempts), (0, "RetriesExhausted", 3));
    assert!(others > 0);
}

#[test]
fn failures_without_an_answer_for_a_second_pause_although_others_hang() {
    let mut bench = Bench::new(Settings { linger: Duration::ZERO, max_in_flight: 2, ..settings() });
    bench.offer([1]);
    bench.offer([2]);
    let sent = bench.take_sent();
    bench.answer(sent[0].0, unavailable());
    bench.pass(2000);
    let probe = bench.next_sent();
    assert_eq!(probe.1, ["p1"]);
    bench.answer(probe.0, unavailable());
    assert!(matches!(bench.sender.health(), Health::Paused { .. }));
    // The one that hung gets through after all: that heals, too, and costs nobody an attempt.
    bench.accept(&sent[1]);
    let again = bench.next_sent();
    bench.accept(&again);
    assert!(bench.sender.is_idle() && bench.dead.is_empty());
}

#[test]
fn a_refusal_pauses_at_once_and_a_heal_probes_at_once() {
    for error in [
        RequestError::Denied { message: "no".into() },
        RequestError::Credentials { message: "expired".into() },
        RequestError::StreamNotFound { message: "gone".into() },
        RequestError::Encryption { message: "disabled".into() },
    ] {
        let mut bench = Bench::new(Settings { max_retries: 0, linger: Duration::ZERO, ..settings() });
        bench.offer([1]);
        bench.offer([2]);
        bench.offer([3]);
        let sent = bench.take_sent();
        bench.answer(sent[0].0, Err(error.clone()));
        assert_eq!(bench.sender.health(), Health::Paused { error: error.clone(), since: Duration::ZERO });
        bench.accept(&sent[1]);
        bench.answer(sent[2].0, Err(error.clone()));
        assert!(matches!(bench.sender.health(), Health::Paused { .. }), "let in before the refusal");
        bench.offer([4]);
        assert!(bench.sent.is_empty());
        bench.now = ms(10);
        bench.sender.heal(bench.now);
        bench.poll();
        let probe = bench.take_sent();
        assert_eq!(probe.len(), 1);
        bench.accept(&probe[0]);
        assert_eq!(bench.sender.health(), Health::Flowing);
        while !bench.sender.is_idle() {
            let sent = bench.next_sent();
            bench.accept(&sent);
        }
        assert_eq!(bench.acknowledged.len(), 4);
        assert!(bench.dead.is_empty());
    }
}

#[test]
fn a_heal_while_a_probe_is_on_its_way_probes_again_as_soon_as_that_fails() {
    let mut bench = Bench::new(Settings { linger: Duration::ZERO, ..settings() });
    bench.offer([1]);
    let sent = bench.next_sent();
    bench.answer(sent.0, denied());
    let probe = bench.next_sent();
    bench.sender.heal(bench.now);
    bench.poll();
    assert!(bench.sent.is_empty(), "one probe at a time");
    bench.answer(probe.0, denied());
    assert_eq!(bench.take_sent().len(), 1);
}

#[test]
fn a_throttled_record_waits_by_itself_ever_longer_and_never_dies() {
    let mut bench = Bench::new(Settings { max_retries: 0, linger: Duration::ZERO, ..settings() });
    bench.offer([1]);
    let mut waits = vec![];
    for _ in 0..50 {
        let before = bench.now;
        let sent = bench.next_sent();
        waits.push(bench.now - before);
        bench.answer(sent.0, Ok(vec![EntryOutcome::Throttled]));
        // Others are not held up.
        bench.offer([2]);
        let other = bench.next_sent();
        assert_eq!(other.1, ["p2"]);
        bench.accept(&other);
    }
    assert!(bench.dead.is_empty());
    assert!(waits[1] < ms(300), "{waits:?}");
    assert!(waits[40] >= ms(2000) && waits[40] < ms(5500), "{waits:?}");
    assert_eq!(bench.sender.health(), Health::Throttled { since: ms(0), long: true });
}

#[test]
fn throttling_is_told_with_its_beginning_and_is_over_after_a_calm() {
    let mut bench = Bench::new(Settings { linger: Duration::ZERO, ..settings() });
    bench.offer([1]);
    bench.pass(20);
    let sent = bench.take_sent();
    bench.answer(sent[0].0, throttled());
    bench.offer([2]);
    bench.pass(10);
    assert_eq!(bench.sender.health(), Health::Throttled { since: ms(20), long: false });
    let sent = bench.next_sent();
    bench.accept(&sent);
    bench.pass(11_000);
    assert!(!matches!(bench.sender.health(), Health::Throttled { .. }), "{:?}", bench.sender.health());
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
fn an_answer_with_a_wrong_number_of_outcomes_is_no_answer() {
    let mut bench = Bench::new(Settings { linger: Duration::ZERO, ..settings() });
    bench.offer([1, 2]);
    let sent = bench.next_sent();
    bench.answer(sent.0, Ok(vec![EntryOutcome::Accepted]));
    assert!(bench.acknowledged.is_empty());
    let probe = bench.next_sent();
    bench.accept(&probe);
    let rest = bench.next_sent();
    bench.accept(&rest);
    assert_eq!(bench.acknowledged.len(), 2);
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
fn a_hot_shard_does_not_stop_the_others() {
    let mut bench = Bench::new(Settings { max_in_flight: 4, ..settings() });
    // Every fifth profile is of the hot shard, which takes nothing; 4,000 other records a second are offered.
    let (mut profile, mut others) = (0, 0);
    for _ in 0..200 {
        for _ in 0..50 {
            if bench.sender.has_room() {
                bench.sender.offer(record(profile), bench.now);
                profile += 1;
            }
        }
        bench.pass(10);
        for sent in bench.take_sent() {
            let outcomes = sent.1.iter().map(|key| {
                let hot = key.trim_start_matches('p').parse::<u64>().unwrap() % 5 == 0;
                others += u64::from(!hot);
                if hot { EntryOutcome::Throttled } else { EntryOutcome::Accepted }
            });
            bench.answer(sent.0, Ok(outcomes.collect()));
        }
    }
    assert!(others >= 7000, "{others} of the 8,000 that were offered");
}

#[test]
fn a_hard_limit_is_kept_over_every_kind_of_request() {
    let mut bench = Bench::new(Settings { max_records_per_second: Some(100), linger: Duration::ZERO, ..settings() });
    bench.offer(0..1000);
    let mut sent_records = 0;
    for _ in 0..1000 {
        bench.pass(10);
        for sent in bench.take_sent() {
            sent_records += sent.1.len();
            if sent.1.len() > 3 { bench.answer(sent.0, invalid()) } else { bench.accept(&sent) }
        }
    }
    assert!((900..=1010).contains(&sent_records), "{sent_records}");
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

#[test]
fn an_outage_of_any_length_keeps_the_window_closed_and_loses_nothing() {
    let mut bench = Bench::new(Settings { window_records: 100, ..settings() });
    let mut profile = 0;
    let end = Duration::from_secs(3600);
    while bench.now < end {
        while bench.sender.has_room() {
            bench.offer([profile % 70]);
            profile += 1;
        }
        bench.pass(1000);
        for sent in bench.take_sent() {
            bench.answer(sent.0, unavailable());
        }
    }
    assert_eq!(profile, 100);
    while !bench.sender.is_idle() {
        let sent = bench.next_sent();
        bench.accept(&sent);
    }
    assert_eq!(bench.acknowledged.len(), 100);
    assert!(bench.dead.is_empty());
}
