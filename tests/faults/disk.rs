//! Faults: of the disk beneath the data directory, and of the power.

use std::path::Path;
use std::process::Command;

use activation_operator::store::RESERVED_DISK_BYTES;

use crate::load::operator::until;
use crate::load::random::Random;
use crate::scene::{Run, Scene, Setting};
use crate::shim::{EIO, ENOSPC, Field, Shim};
use crate::verdict::{Allowed, Tally};

/// A file system of its own in memory, unmounted where it is dropped.
struct Mount<'a>(&'a Path);

impl<'a> Mount<'a> {
    fn new(path: &'a Path, bytes: u64) -> Self {
        let mut mount = Command::new("mount");
        let mounted = mount.args(["-t", "tmpfs", "-o", &format!("size={bytes}"), "faults"]).arg(path).output();
        let mounted = mounted.unwrap_or_else(|error| panic!("mount: {error}"));
        let why = String::from_utf8_lossy(&mounted.stderr).into_owned();
        assert!(mounted.status.success(), "a tmpfs is needed, which only root may mount: {why}");
        Self(path)
    }
}

impl Drop for Mount<'_> {
    fn drop(&mut self) {
        // Lazily: a program that was killed may not be gone yet.
        let _ = Command::new("umount").arg("--lazy").arg(self.0).status();
    }
}

/// The disk fills up to what is kept in reserve. Nothing is taken up then, nothing is exported that could not be written down, and
/// everything goes on by itself where there is room again.
pub(crate) fn full(run: Run) -> Tally {
    let mut scene = Scene::set(run, &Setting::default());
    let disk = tempfile::tempdir().unwrap();
    let _mount = Mount::new(disk.path(), RESERVED_DISK_BYTES + (256 << 20));
    scene.data = disk.path().join("data");
    scene.begin(&Setting::default());
    let ballast = disk.path().join("ballast");
    std::fs::write(&ballast, vec![1; 255 << 20]).unwrap();
    scene.until_told("SourceUnreachable");
    let accepted = scene.producer().accepted();
    scene.let_it_last(3);
    assert_eq!(scene.producer().accepted(), accepted, "updates were taken up on a full disk");
    std::fs::remove_file(ballast).unwrap();
    scene.until_accepted(2000);
    scene.until_exported(1000);
    scene.finish(Allowed::default())
}

/// The disk refuses: the program ends, since it cannot know what it holds, and goes on when it is started again.
fn refusing(run: Run, field: Field, number: i64) -> Tally {
    let mut scene = Scene::set(run, &Setting::default());
    let shim = Shim::new(scene.folder.path());
    scene.environment = shim.environment(&scene.data);
    scene.begin(&Setting::default());
    for _ in 0..if run.long { 20 } else { 2 } {
        shim.set(field, number);
        assert_ne!(scene.ended(), Some(0), "it ended as if all were well");
        assert!(shim.get(Field::Struck) > 0);
        shim.set(field, 0);
        scene.revive();
        scene.until_exported(1000);
    }
    scene.finish(Allowed::default())
}

pub(crate) fn write_errors(run: Run) -> Tally {
    refusing(run, Field::WriteErrno, EIO)
}

pub(crate) fn no_space_to_write(run: Run) -> Tally {
    refusing(run, Field::WriteErrno, ENOSPC)
}

pub(crate) fn sync_errors(run: Run) -> Tally {
    refusing(run, Field::SyncErrno, EIO)
}

/// The power fails: the program is gone at once, and with it, of what it has written to its journal behind the last sync, some
/// sectors.
pub(crate) fn power_cut(run: Run) -> Tally {
    let mut scene = Scene::set(run, &Setting::default());
    let shim = Shim::new(scene.folder.path());
    scene.environment = shim.environment(&scene.data);
    // So that there is something to lose.
    shim.set(Field::SyncMicros, 20_000);
    scene.begin(&Setting::default());
    let mut random = Random::new(run.seed);
    let mut torn = 0;
    for cut in 0..if run.long { 60 } else { 4 } {
        std::thread::sleep(std::time::Duration::from_millis(random.below(300)));
        scene.kill();
        let (number, synced) = (shim.get(Field::SyncedNumber), shim.get(Field::SyncedBytes) as usize);
        let journal = scene.data.join(format!("{number}.jnl"));
        let mut content = std::fs::read(&journal).unwrap();
        let used = content.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1).max(synced);
        torn += used - synced;
        // What follows was allocated ahead.
        content.truncate(used);
        for sector in content[synced..].chunks_mut(512) {
            if random.below(1 << (2 * cut % 7)) == 0 {
                sector.fill(0);
            }
        }
        std::fs::write(&journal, content).unwrap();
        scene.revive();
        scene.until_exported(300);
    }
    assert!(torn > 0, "nothing was under way");
    println!("{torn} bytes were behind the last sync");
    scene.finish(Allowed::default())
}

/// The program is told another time of day: hours ahead, hours back. Meanwhile the service refuses its signatures.
pub(crate) fn clock_steps(run: Run) -> Tally {
    let mut scene = Scene::set(run, &Setting::default());
    let shim = Shim::new(scene.folder.path());
    scene.environment = shim.environment(&scene.data);
    scene.begin(&Setting::default());
    let seconds = |count: i64| shim.set(Field::ClockNanos, count * 1_000_000_000);
    // What signatures allow for.
    for step in [200, -200] {
        seconds(step);
        scene.until_exported(1000);
    }
    for hours in [3, -3] {
        seconds(hours * 3600);
        until("a refusal", || (scene.struck_by("InvalidSignatureException") > 0).then_some(()));
        scene.until_told("CredentialsRefused");
        scene.let_it_last(1);
        seconds(0);
        scene.until_exported(1000);
    }
    scene.finish(Allowed::default())
}
