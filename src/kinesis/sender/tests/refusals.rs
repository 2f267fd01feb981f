//! A service that answers and refuses everything, and bad records where the service is well.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use crate::kinesis::sender::breaker::HANDFUL;

const HANDFUL_RECORDS: usize = HANDFUL as usize;

type Service<'a> = &'a dyn Fn(&[String]) -> RequestOutcome;

fn all_accepted() -> impl Fn(&[String]) -> RequestOutcome {
    every(EntryOutcome::Accepted)
}

fn all_failed() -> impl Fn(&[String]) -> RequestOutcome {
    every(failed())
}

/// Invalid where one of the first `bad` profiles is in the request.
fn invalid_below(bad: u64) -> impl Fn(&[String]) -> RequestOutcome {
    move |keys| {
        let is_bad = |key: &String| key.trim_start_matches('p').parse::<u64>().unwrap() < bad;
        if keys.iter().any(is_bad) { invalid() } else { all_accepted()(keys) }
    }
}

#[test]
fn a_service_that_refuses_everything_costs_a_handful_and_everything_else_is_delivered_in_order_afterwards() {
    let (all_invalid, all_failed) = (|_: &[String]| invalid(), all_failed());
    let services: [(Service<'_>, RequestError); 2] = [
        (&all_invalid, RequestError::Invalid { message: "bad".into() }),
        (&all_failed, RequestError::Unavailable { message: "InternalFailure: try later".into() }),
    ];
    for max_retries in [0, 2] {
        for (service, error) in services.clone() {
            let mut bench = Bench::new(Settings { max_retries, ..settings() });
            // Ten records each, one behind the other.
            bench.offer((0..1000).map(|index| index % 100));
            bench.serve(60_000, service);
            assert_eq!(bench.dead.len(), HANDFUL_RECORDS);
            let health = bench.sender.health();
            assert!(matches!(&health, Health::Paused { error: told, .. } if *told == error), "{health:?}");
            bench.offer([100, 101]);
            bench.serve(1_200_000, service);
            assert_eq!(bench.dead.len(), HANDFUL_RECORDS, "nor later, nor of what comes in meanwhile");
            bench.serve(60_000, all_accepted());
            assert!(bench.sender.is_idle());
            assert_eq!(bench.sender.health(), Health::Idle);
            assert_eq!((bench.dead.len(), bench.acknowledged.len()), (HANDFUL_RECORDS, 1002 - HANDFUL_RECORDS));
            let mut last = [None; 102];
            for &(ticket, _) in bench.acknowledged.iter().filter(|(ticket, _)| *ticket < 1000) {
                let before = last[ticket as usize % 100].replace(ticket);
                assert!(before < Some(ticket), "{ticket} after {before:?}");
            }
        }
    }
}

#[test]
fn bad_records_that_fill_the_window_let_others_in_which_tell_on_them() {
    const BAD: u64 = 20;
    let mut bench = Bench::new(Settings { window_records: 320, ..settings() });
    let is_bad = |key: &String| key.trim_start_matches('p').parse::<u64>().unwrap() < BAD;
    let outcome = |key: &String| if is_bad(key) { failed() } else { EntryOutcome::Accepted };
    bench.offer(0..BAD);
    let mut next = BAD;
    for _ in 0..6000 {
        bench.pass(10);
        for (request, keys) in bench.take_sent() {
            bench.sender.answer(request, Ok(keys.iter().map(outcome).collect()), bench.now);
        }
        // As the worker does: before it asks what is to be sent.
        while bench.sender.has_room() {
            bench.sender.offer(record(next), bench.now);
            next += 1;
        }
        bench.poll();
        // All that were offered and are not told stand between the lowest and the next.
        let lowest = (0..next).find(|ticket| !bench.is_told(*ticket)).unwrap_or(next);
        assert!(next - lowest <= 320, "{} records are in the window", next - lowest);
        if bench.dead.len() as u64 == BAD {
            break;
        }
    }
    assert_eq!(bench.dead.len() as u64, BAD);
}

#[test]
fn probes_of_a_service_that_refuses_everything_become_rare() {
    let mut bench = Bench::new(settings());
    bench.offer(0..1000);
    bench.serve(120_000, all_failed());
    let mut probes = 0;
    bench.serve(60_000, |keys| {
        probes += 1;
        assert_eq!(keys.len(), 1);
        all_failed()(keys)
    });
    assert!((4..=8).contains(&probes), "{probes}");
}

#[test]
fn attempts_that_a_service_cost_which_refused_everything_are_given_back() {
    let mut bench = Bench::new(settings());
    bench.offer(0..10);
    bench.serve(30_000, all_failed());
    assert_eq!(bench.dead.len(), HANDFUL_RECORDS);
    let mut answers = 0;
    bench.serve(60_000, |keys| {
        answers += 1;
        // The probe, and then everything fails twice.
        if (2..=3).contains(&answers) { all_failed()(keys) } else { all_accepted()(keys) }
    });
    assert!(bench.sender.is_idle());
    assert_eq!(bench.dead.len(), HANDFUL_RECORDS);
}

#[test]
fn a_record_that_is_held_again_and_again_is_not_suspected_for_it() {
    let mut bench = Bench::new(Settings { max_retries: 0, ..settings() });
    bench.offer(0..200);
    let spells = 8;
    for _ in 0..spells {
        bench.serve(60_000, all_failed());
        let probe = bench.next_sent();
        bench.accept(&probe);
    }
    assert_eq!(bench.dead.len(), spells * HANDFUL_RECORDS);
    bench.serve(60_000, all_accepted());
    assert!(bench.sender.is_idle());
    assert_eq!(bench.dead.len(), spells * HANDFUL_RECORDS);
}

#[test]
fn only_a_record_that_is_taken_ends_the_pause_of_a_service_that_refuses_everything() {
    let mut bench = Bench::new(Settings { linger: Duration::ZERO, ..settings() });
    bench.offer(0..20);
    bench.serve(10_000, |_| invalid());
    let paused = |bench: &Bench| matches!(bench.sender.health(), Health::Paused { .. });
    for outcome in [unavailable(), throttled(), Ok(vec![failed()]), Ok(vec![EntryOutcome::Throttled]), denied()] {
        let probe = bench.next_sent();
        assert_eq!(probe.1.len(), 1);
        bench.answer(probe.0, outcome);
        assert!(paused(&bench) && bench.sent.is_empty());
    }
    let probe = bench.next_sent();
    bench.accept(&probe);
    assert!(!paused(&bench));
    bench.serve(10_000, all_accepted());
    assert_eq!((bench.dead.len(), bench.acknowledged.len()), (HANDFUL_RECORDS, 17));
}

#[test]
fn an_answer_to_an_earlier_request_does_not_end_the_pause() {
    let mut bench = Bench::new(Settings { linger: Duration::ZERO, max_retries: 0, ..settings() });
    for profile in 0..8 {
        bench.offer([profile]);
    }
    let sent = bench.take_sent();
    for request in &sent[..=HANDFUL_RECORDS] {
        bench.answer(request.0, Ok(vec![failed()]));
    }
    let probe = bench.next_sent();
    bench.answer(probe.0, Ok(vec![failed()]));
    bench.accept(&sent[5]);
    assert!(matches!(bench.sender.health(), Health::Paused { .. }));
    bench.answer(sent[6].0, Ok(vec![failed()]));
    assert_eq!(bench.dead.len(), HANDFUL_RECORDS);
}

#[test]
fn many_bad_records_side_by_side_die_within_seconds_where_others_are_taken() {
    let failing = |keys: &[String]| -> RequestOutcome {
        Ok(keys.iter().map(|key| if key.len() < 4 { failed() } else { EntryOutcome::Accepted }).collect())
    };
    let services: [Service<'_>; 2] = [&invalid_below(100), &failing];
    for service in services {
        let mut bench = Bench::new(settings());
        bench.offer(0..1000);
        for profile in 1000..1100 {
            bench.offer([profile]);
            bench.serve(100, service);
        }
        assert_eq!((bench.dead.len(), bench.acknowledged.len()), (100, 1000));
        assert!(bench.sender.is_idle());
    }
}

#[test]
fn a_bad_record_among_good_ones_dies_without_a_pause() {
    let mut bench = Bench::new(settings());
    bench.offer(0..100);
    while !bench.sender.is_idle() {
        assert!(matches!(bench.sender.health(), Health::Flowing | Health::Retrying { .. }));
        let sent = bench.next_sent();
        bench.answer(sent.0, invalid_below(1)(&sent.1));
    }
    assert_eq!(bench.dead, [(0, DeadReason::Invalid { message: "bad".into() }, 1)]);
    assert!(bench.now < ms(200), "{:?}", bench.now);
}

#[test]
fn a_bad_record_that_is_all_there_is_left_dies_after_some_minutes_and_at_once_when_a_good_one_comes() {
    let bad = HANDFUL + 1;
    let held = || {
        let mut bench = Bench::new(settings());
        bench.offer(0..u64::from(bad));
        bench.serve(600_000, invalid_below(u64::from(bad)));
        assert_eq!(bench.dead.len(), HANDFUL_RECORDS);
        bench
    };
    let mut bench = held();
    bench.serve(1_200_000, invalid_below(u64::from(bad)));
    assert_eq!(bench.dead.len(), HANDFUL_RECORDS + 1);
    assert_eq!(bench.sender.health(), Health::Idle);
    let mut bench = held();
    bench.offer([100]);
    bench.serve(16_000, invalid_below(u64::from(bad)));
    assert_eq!((bench.dead.len(), bench.acknowledged.len()), (HANDFUL_RECORDS + 1, 1));
    assert_eq!(bench.sender.health(), Health::Idle);
}
