//! Requests that fail by their size, or by one of their records.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;

#[test]
fn a_link_that_carries_no_large_request_gets_smaller_ones_and_nothing_is_given_up() {
    for (largest, retries) in [(200, 0), (60, 0), (20, 2), (1, 0)] {
        let mut bench = Bench::new(Settings { max_retries: retries, ..settings() });
        let (mut profile, mut failures, mut requests) = (0, 0, 0);
        for _ in 0..600 {
            while profile < 4000 && bench.sender.has_room() {
                bench.offer([profile]);
                profile += 1;
            }
            (failures, requests) = (0, 0);
            bench.serve(1000, |keys| {
                requests += 1;
                failures += u32::from(keys.len() > largest);
                if keys.len() > largest { unavailable() } else { every(EntryOutcome::Accepted)(keys) }
            });
            assert!(bench.dead.is_empty(), "{largest}: {:?}", bench.dead);
            if profile == 4000 && bench.sender.is_idle() {
                break;
            }
        }
        assert_eq!(bench.acknowledged.len(), 4000, "{largest}: {failures} of {requests} failed at last");
    }
}

#[test]
fn a_link_that_carries_smaller_requests_is_seldom_tried_with_larger_ones() {
    let mut bench = Bench::new(Settings { window_records: 1_000_000, window_bytes: usize::MAX, ..settings() });
    bench.offer(0..50_000);
    let (mut failed, mut carried) = (0, 0);
    for _ in 0..600 {
        bench.serve(100, |keys| {
            let fails = keys.len() > 125;
            *(if fails { &mut failed } else { &mut carried }) += 1;
            if fails { unavailable() } else { every(EntryOutcome::Accepted)(keys) }
        });
    }
    assert!(bench.sender.is_idle());
    assert!(failed * 6 < carried && carried < 1000, "{failed} of {carried}");
}

#[test]
fn a_request_that_fails_beside_others_is_taken_apart_and_costs_no_attempt_but_of_a_lone_record() {
    let mut bench = Bench::new(Settings { max_retries: 0, ..settings() });
    bench.offer(0..500);
    bench.offer(500..600);
    let mut requests = 0;
    for _ in 0..200 {
        bench.serve(50, |keys| {
            requests += 1;
            if keys.contains(&"p37".to_owned()) { unavailable() } else { every(EntryOutcome::Accepted)(keys) }
        });
    }
    let reason = DeadReason::Exhausted { code: "Unavailable".into(), message: "connection reset".into() };
    // Nothing else was on its way beside it at last: held as in an outage, until another is taken.
    bench.offer(600..602);
    for profile in 602..700 {
        bench.offer([profile]);
        bench.serve(1000, |keys| {
            if keys.contains(&"p37".to_owned()) { unavailable() } else { every(EntryOutcome::Accepted)(keys) }
        });
    }
    assert_eq!(bench.dead, [(37, reason, 1)]);
    assert_eq!(bench.acknowledged.len(), 699);
    assert!(requests < 60, "{requests}");
}

#[test]
fn what_remains_of_the_size_after_a_failure_rises_again_to_the_whole() {
    let mut bench = Bench::new(Settings { linger: Duration::ZERO, ..settings() });
    bench.offer(0..500);
    let sent = bench.take_sent();
    bench.answer(sent[0].0, unavailable());
    bench.serve(5000, every(EntryOutcome::Accepted));
    let mut sizes = vec![];
    for round in 1..400 {
        bench.offer(round * 500..(round + 1) * 500);
        bench.serve(50, |keys| {
            sizes.push(keys.len());
            every(EntryOutcome::Accepted)(keys)
        });
    }
    assert_eq!((sizes[0] - 1) / 10, 25, "about half: {sizes:?}");
    assert_eq!(sizes.last(), Some(&MAX_BATCH_RECORDS));
    assert!(bench.dead.is_empty());
}
