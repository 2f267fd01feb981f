//! A promise is broken in the program on purpose, under the same load and faults: the checker must see it.

use kinesis_stub::{EntryError, Kind};

use crate::checker::{Finding, Report};
use crate::scene::{Run, Scene, Setting, on_puts};
use crate::verdict::Allowed;

const RUN: Run = Run { seed: 1, long: false };

/// The scene with that promise broken, or none.
fn broken(promise: Option<&str>) -> Scene {
    let faults = vec![
        on_puts(Kind::Latency { fixed_ms: 5, jitter_ms: 50 }),
        on_puts(Kind::Scattered { rate: 0.2, error: EntryError::InternalFailure }),
    ];
    let setting = Setting { faults, ..Setting::default() };
    let mut scene = Scene::set(RUN, &setting);
    let promise = promise.map(|promise| ("ACTIVATION_OPERATOR_SABOTAGE".to_owned(), promise.to_owned()));
    scene.environment = promise.into_iter().collect();
    scene.begin(&setting);
    scene
}

/// Some are killed meanwhile.
fn found(mut scene: Scene, kills: usize) -> Report {
    for _ in 0..kills {
        scene.kill();
        scene.revive();
        scene.until_exported(300);
    }
    scene.let_it_last(1);
    let history = scene.end();
    let allowed = Allowed { dead_letters: true, ..Allowed::default() };
    scene.findings(&history, allowed).pop().unwrap().report
}

fn is_lost(finding: &Finding) -> bool {
    matches!(finding, Finding::Lost { .. })
}

#[test]
fn with_every_promise_kept_nothing_is_found() {
    let report = found(broken(None), 2);
    assert!(report.findings.is_empty(), "{report}");
}

#[test]
fn without_the_fence_an_inversion_is_found() {
    let report = found(broken(Some("fence")), 0);
    assert!(report.count(|finding| matches!(finding, Finding::Inverted { .. })) > 0, "{report}");
}

#[test]
fn with_a_position_that_moves_over_what_is_under_way_a_loss_is_found() {
    let report = found(broken(Some("checkpoint-order")), 2);
    assert!(report.count(is_lost) > 0, "{report}");
}

#[test]
fn without_the_write_of_dead_letters_a_loss_is_found() {
    let report = found(broken(Some("dead-letter-write")), 0);
    assert!(report.count(is_lost) > 0, "{report}");
}
