//! Faults: of the processes themselves.

use crate::scene::{Allowed, Run, Scene, Setting, Tally, WINDOW};

pub(crate) fn stopped_operator(run: Run) -> Tally {
    let scene = Scene::start(run, &Setting::default());
    scene.operator().signal("STOP");
    scene.let_it_last(6);
    scene.operator().signal("CONT");
    scene.until_exported(1000);
    // What was answered while it stood still may have been too late for it.
    scene.finish(Allowed { repeats: WINDOW, ..Allowed::default() })
}

pub(crate) fn killed_operator(run: Run) -> Tally {
    let mut scene = Scene::start(run, &Setting::default());
    for _ in 0..if run.long { 20 } else { 3 } {
        scene.kill();
        scene.revive();
        scene.until_exported(500);
    }
    scene.finish(Allowed::default())
}
