//! Requests without an answer, outages, refusals.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;

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
        waits.push(bench.now.saturating_sub(before));
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
fn an_outage_of_any_length_keeps_the_window_closed_and_loses_nothing() {
    let mut bench = Bench::new(Settings { window_records: 100, ..settings() });
    let mut profile = 0;
    let end = Duration::from_hours(1);
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
    // All but what is kept for probes of a stream that answers.
    assert_eq!(profile, 94);
    while !bench.sender.is_idle() {
        let sent = bench.next_sent();
        bench.accept(&sent);
    }
    assert_eq!(bench.acknowledged.len(), 94);
    assert!(bench.dead.is_empty());
}
