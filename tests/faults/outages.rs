//! Faults: nothing gets through, or nobody knows what did.

use kinesis_stub::{Break, Fault, Kind, StreamSpec};

use crate::scene::{Run, Scene, Setting, on_puts};
use crate::verdict::{Allowed, Tally};

/// Every request meets it for a while; it is told for what it is, and no record is given up for it.
fn outage(run: Run, kind: Kind, name: &str, told: &str, seconds: u64) -> Tally {
    // What comes meanwhile is to be exported afterwards.
    let scene = Scene::start(run, &Setting { per_second: 2000, ..Setting::default() });
    scene.strike(vec![on_puts(kind)]);
    scene.until_told(told);
    scene.let_it_last(seconds);
    assert!(scene.struck(name) > 0, "{:?}", scene.stats());
    scene.heal();
    scene.until_exported(1000);
    scene.finish(Allowed::default())
}

/// Some requests meet it, for a while.
fn hiccups(run: Run, fault: Fault, name: &str, dead_letters: bool) -> Tally {
    let scene = Scene::start(run, &Setting::default());
    scene.strike(vec![fault.on_action("PutRecords")]);
    scene.let_it_last(4);
    assert!(scene.struck(name) > 2, "{:?}", scene.stats());
    scene.heal();
    scene.finish(Allowed { dead_letters, ..Allowed::default() })
}

pub(crate) fn unavailable(run: Run) -> Tally {
    outage(run, Kind::Status { status: 503 }, "status", "Unreachable", 4)
}

/// A record that is caught three times running, while others get through, is given up: that is what attempts are.
pub(crate) fn flaky(run: Run) -> Tally {
    hiccups(run, Fault::new(Kind::Status { status: 503 }).with_probability(0.3), "status", true)
}

pub(crate) fn latency(run: Run) -> Tally {
    hiccups(run, Fault::new(Kind::Latency { fixed_ms: 500, jitter_ms: 1200 }), "latency", false)
}

pub(crate) fn resets_before(run: Run) -> Tally {
    hiccups(run, Fault::new(Kind::ResetBefore { how: Break::Rst }).with_probability(0.2), "resetBefore", true)
}

pub(crate) fn resets_after(run: Run) -> Tally {
    hiccups(run, Fault::new(Kind::ResetAfter { how: Break::Rst }).with_probability(0.2), "resetAfter", true)
}

pub(crate) fn commits_without_an_answer(run: Run) -> Tally {
    let fault = Fault::new(Kind::CommitThenTimeout { answer_after_ms: None }).with_probability(0.1);
    hiccups(run, fault, "commitThenTimeout", true)
}

/// The answer comes when the request, which may take two seconds, was given up.
pub(crate) fn late_answers(run: Run) -> Tally {
    let fault = Fault::new(Kind::CommitThenTimeout { answer_after_ms: Some(2500) }).with_probability(0.1);
    hiccups(run, fault, "commitThenTimeout", true)
}

pub(crate) fn black_hole(run: Run) -> Tally {
    outage(run, Kind::Blackhole, "blackhole", "Unreachable", 12)
}

pub(crate) fn expired_token(run: Run) -> Tally {
    let mut scene = Scene::start(run, &Setting::default());
    assert!(scene.stub().set_expired(scene.key(), true));
    scene.until_told("CredentialsRefused");
    scene.let_it_last(2);
    scene.rotate();
    scene.until_exported(1000);
    scene.finish(Allowed::default())
}

pub(crate) fn revoked_permission(run: Run) -> Tally {
    let scene = Scene::start(run, &Setting::default());
    assert!(scene.stub().restrict_key(scene.key(), Some(&["ListStreams"])));
    scene.until_told("AccessDenied");
    scene.let_it_last(2);
    assert!(scene.stub().restrict_key(scene.key(), None));
    scene.until_exported(1000);
    scene.finish(Allowed::default())
}

pub(crate) fn deleted_stream(run: Run) -> Tally {
    let scene = Scene::start(run, &Setting::default());
    scene.stub().delete_stream("profiles").unwrap();
    scene.until_told("StreamNotFound");
    scene.let_it_last(2);
    scene.stub().create_stream(&StreamSpec::new("profiles", 2)).unwrap();
    scene.until_exported(1000);
    scene.finish(Allowed::default())
}

pub(crate) fn reshard(run: Run) -> Tally {
    let scene = Scene::start(run, &Setting::default());
    for shards in [8, 3, 5, 1] {
        scene.stub().reshard("profiles", shards).unwrap();
        scene.until_exported(500);
    }
    scene.finish(Allowed::default())
}
