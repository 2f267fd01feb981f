//! Faults: the stream answers, and takes less than it is given, or refuses some of it.

use activation_operator::store::Store;
use kinesis_stub::{EntryError, Fault, Kind};

use crate::load::producer::{entry, merge};
use crate::scene::{Run, Scene, Setting, on_puts};
use crate::verdict::{Allowed, Tally, left};

fn throttled(run: Run, fault: Kind, kind: &str) -> Tally {
    let scene = Scene::start(run, &Setting::default());
    scene.strike(vec![on_puts(fault)]);
    if run.long {
        // It is told once it has lasted for a while.
        scene.until_told("Throttled");
    }
    scene.let_it_last(4);
    assert!(scene.struck(kind) > 0, "{:?}", scene.stats());
    scene.heal();
    scene.until_exported(1000);
    // Throttling is pacing: whatever it does, it is no failure.
    scene.finish(Allowed::default())
}

pub(crate) fn throttling_of_one_shard(run: Run) -> Tally {
    let shard = Some("shardId-000000000002".to_owned());
    throttled(run, Kind::ThrottleEntries { shard, rate: 1.0 }, "throttleEntries")
}

pub(crate) fn throttling_of_all_shards(run: Run) -> Tally {
    throttled(run, Kind::ThrottleEntries { shard: None, rate: 0.9 }, "throttleEntries")
}

pub(crate) fn throttling_of_requests(run: Run) -> Tally {
    throttled(run, Kind::ThrottleRequest, "throttleRequest")
}

/// What fails now and then is tried again; what fails three times becomes a dead letter.
fn failing(run: Run, faults: Vec<Fault>, kind: &str) -> Tally {
    let scene = Scene::start(run, &Setting { faults, ..Setting::default() });
    scene.let_it_last(4);
    assert!(scene.struck(kind) > 10, "{:?}", scene.stats());
    scene.finish(Allowed { dead_letters: true, ..Allowed::default() })
}

pub(crate) fn scattered_failures(run: Run) -> Tally {
    let error = EntryError::InternalFailure;
    failing(run, vec![on_puts(Kind::Scattered { rate: 0.1, error })], "scattered")
}

pub(crate) fn failing_suffixes(run: Run) -> Tally {
    let error = EntryError::InternalFailure;
    failing(run, vec![on_puts(Kind::Suffix { error }).with_probability(0.3)], "suffix")
}

pub(crate) fn internal_failures(run: Run) -> Tally {
    let scene = Scene::start(run, &Setting::default());
    scene.strike(vec![on_puts(Kind::Status { status: 500 }).with_probability(0.5)]);
    scene.let_it_last(4);
    assert!(scene.struck("status") > 2, "{:?}", scene.stats());
    scene.heal();
    // Half of all requests fail, whatever is in them: a record that is caught three times running is given up.
    scene.finish(Allowed { dead_letters: true, ..Allowed::default() })
}

/// Records that the stream refuses, or would refuse, each among many that it takes.
pub(crate) fn poison_records(run: Run) -> Tally {
    let faults = vec![
        on_puts(Kind::PoisonEntry { partition_key: "p1".to_owned() }),
        on_puts(Kind::PoisonRequest { partition_key: "p2".to_owned() }),
    ];
    let delivery = "requestTimeout: 2s, maxRecordBytes: 8Ki";
    let mut scene = Scene::start(run, &Setting { delivery, faults, ..Setting::default() });
    let large = "x".repeat(9000);
    let name = serde_json::json!({"person": {"name": {"lastName": large}}, "segmentMembership": {"ups": {"a": {
        "status": "realized", "lastQualificationTime": "2026-01-02T03:04:05Z"}}}});
    for n in 0..3 {
        let entries = ["p1", "p2"].map(|profile| entry(profile, "a", "realized", n));
        scene
            .producer()
            .slip_in(entries.into_iter().chain(["p3", "p4"].map(|profile| merge(profile, "default", &name))));
        scene.until_accepted(1000);
    }
    scene.let_it_last(2);
    assert!(scene.struck("poisonEntry") > 0 && scene.struck("poisonRequest") > 0, "{:?}", scene.stats());
    let history = scene.end();
    let tally = scene.judge(&history, Allowed { dead_letters: true, ..Allowed::default() });
    // Nobody else's record went with them.
    let letters = left(&Store::open(&scene.data, 8 << 20).unwrap(), "vip");
    for letter in &letters {
        let whose = match letter.reason.as_str() {
            "RetriesExhausted" => vec!["p1"],
            "InvalidRecord" => vec!["p2"],
            "RecordTooLarge" => vec!["p3", "p4"],
            other => panic!("{other}: {letter:?}"),
        };
        assert!(whose.contains(&letter.profile_id.as_str()), "{letter:?}");
    }
    for reason in ["RetriesExhausted", "InvalidRecord", "RecordTooLarge"] {
        assert!(letters.iter().any(|letter| letter.reason == reason), "no {reason} among {}", letters.len());
    }
    tally
}
