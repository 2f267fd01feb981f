//! Faults: what is declared changes while everything runs, and history is exported beside live.

use kinesis_stub::{EntryError, Kind};

use crate::load::operator::until;
use crate::scene::{Activation, Run, Scene, Setting, on_puts};
use crate::verdict::{Allowed, Tally};

/// Members of the audience that is mapped while everything runs.
const MEMBERS: u64 = 3000;

/// A mapping takes effect at a position; what a crash after that repeats is told under the mapping that was in force then.
pub(crate) fn changed_then_killed(run: Run) -> Tally {
    let mut scene = Scene::start(run, &Setting { members: MEMBERS, ..Setting::default() });
    scene.until_accepted(2000);
    scene.activations[0].audiences.push("b");
    scene.declare();
    // Both before the change has taken effect, and after.
    for pause in [300, 1200, 600] {
        std::thread::sleep(std::time::Duration::from_millis(pause));
        scene.kill();
        scene.revive();
        scene.until_exported(300);
    }
    scene.finish(Allowed::default())
}

pub(crate) fn backfill_beside_live(run: Run) -> Tally {
    let faults = vec![
        on_puts(Kind::Latency { fixed_ms: 2, jitter_ms: 20 }),
        on_puts(Kind::Scattered { rate: 0.05, error: EntryError::InternalFailure }),
        on_puts(Kind::Scattered { rate: 0.05, error: EntryError::Throttled }).with_probability(0.1),
        on_puts(Kind::Status { status: 503 }).with_probability(0.02),
    ];
    let mut scene = Scene::start(run, &Setting { members: MEMBERS, faults, ..Setting::default() });
    scene.until_accepted(2000);
    scene.activations[0].audiences.push("b");
    scene.declare();
    until("the backfill", || scene.operator().metric("activation_backfill_done").filter(|done| *done > 0));
    scene.let_it_last(3);
    let tally = scene.finish(Allowed { dead_letters: true, ..Allowed::default() });
    assert!(tally.exports > MEMBERS / 2, "{tally:?}");
    tally
}

/// The one is through while the other, on a stream that takes little, is not.
pub(crate) fn two_speeds(run: Run) -> Tally {
    let setting = Setting { per_second: 2000, ..Setting::default() };
    let mut scene = Scene::set(run, &setting);
    let delivery = "requestTimeout: 2s, maxRecordsPerSecond: 300";
    scene.activations.push(Activation {
        name: "slow",
        stream: "slow",
        audiences: vec!["a"],
        delivery,
        suspended: false,
    });
    scene.begin(&setting);
    scene.let_it_last(3);
    let position = |name: &str| scene.operator().metric_of("activation_position", &format!("activation=\"{name}\""));
    let ahead = until("the fast one to be far ahead", || {
        let (fast, slow) = (position("vip")?, position("slow")?);
        (fast > slow + 2000).then_some(fast)
    });
    until("it to go on", || position("vip").filter(|position| *position > ahead + 1000));
    // Now it may be as fast as the other.
    scene.activations[1].delivery = "requestTimeout: 2s";
    scene.declare();
    scene.finish(Allowed::default())
}
