//! Throttling, and the hard limit.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;

#[test]
fn a_throttled_record_waits_by_itself_ever_longer_and_never_dies() {
    let mut bench = Bench::new(Settings { max_retries: 0, linger: Duration::ZERO, ..settings() });
    bench.offer([1]);
    let mut waits = vec![];
    for _ in 0..50 {
        let before = bench.now;
        let sent = bench.next_sent();
        waits.push(bench.now.saturating_sub(before));
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
