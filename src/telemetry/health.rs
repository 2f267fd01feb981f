//! Types: whether the process is alive (its loops turn) and ready (what it needs to serve is there). Neither depends on AWS.
//!
//! The owners of loops and stores report here; the probes read. Times are [`super::clock::monotonic`].

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The loops of the process and when each last turned. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Heartbeats {
    loops: Arc<Mutex<BTreeMap<String, Beat>>>,
}

#[derive(Debug, Clone, Copy)]
struct Beat {
    last: Duration,
    allowed: Duration,
}

/// One loop's own end: it beats each time around, and is no longer watched once it drops this.
#[derive(Debug)]
pub struct Heartbeat {
    heartbeats: Heartbeats,
    name: String,
}

/// A loop that stands still.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stopped {
    /// Which loop.
    pub name: String,
    /// How long ago it last turned.
    pub age: Duration,
    /// How long it may take to turn.
    pub allowed: Duration,
}

impl Heartbeats {
    /// Watches a loop from `now` on, which must beat at least every `allowed`. A second one of the same name takes its place.
    pub fn watch(&self, name: impl Into<String>, allowed: Duration, now: Duration) -> Heartbeat {
        let name = name.into();
        lock(&self.loops).insert(name.clone(), Beat { last: now, allowed });
        Heartbeat { heartbeats: self.clone(), name }
    }

    /// How long ago each loop last turned, by name.
    pub fn ages(&self, now: Duration) -> Vec<(String, Duration)> {
        lock(&self.loops).iter().map(|(name, beat)| (name.clone(), now.saturating_sub(beat.last))).collect()
    }

    /// The loops that did not turn for longer than they may.
    pub fn stopped(&self, now: Duration) -> Vec<Stopped> {
        lock(&self.loops)
            .iter()
            .map(|(name, beat)| Stopped {
                name: name.clone(),
                age: now.saturating_sub(beat.last),
                allowed: beat.allowed,
            })
            .filter(|stopped| stopped.age > stopped.allowed)
            .collect()
    }
}

impl Heartbeat {
    /// The loop turned.
    pub fn beat(&self, now: Duration) {
        if let Some(beat) = lock(&self.heartbeats.loops).get_mut(&self.name) {
            beat.last = now;
        }
    }
}

impl Drop for Heartbeat {
    fn drop(&mut self) {
        lock(&self.heartbeats.loops).remove(&self.name);
    }
}

/// What must be there before the process serves, by name. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Readiness {
    /// Why a gate is shut; `None` where it is open.
    gates: Arc<Mutex<BTreeMap<&'static str, Option<String>>>>,
}

impl Readiness {
    /// Shuts a gate, and says why: the process is not ready while one is shut.
    pub fn shut(&self, gate: &'static str, why: impl Into<String>) {
        lock(&self.gates).insert(gate, Some(why.into()));
    }

    /// Opens a gate.
    pub fn open(&self, gate: &'static str) {
        lock(&self.gates).insert(gate, None);
    }

    /// The gates that are shut, as `name: why`.
    pub fn missing(&self) -> Vec<String> {
        lock(&self.gates).iter().filter_map(|(gate, why)| why.as_ref().map(|why| format!("{gate}: {why}"))).collect()
    }
}

/// What is guarded is whole after every statement, so a thread that panicked leaves nothing half-done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_loop_that_stands_still_for_longer_than_it_may_is_named() {
        let heartbeats = Heartbeats::default();
        let worker = heartbeats.watch("worker", 5 * SECOND, SECOND);
        let _other = heartbeats.watch("retention", 60 * SECOND, SECOND);
        assert_eq!(heartbeats.stopped(6 * SECOND), []);
        let stopped = Stopped { name: "worker".to_owned(), age: 6 * SECOND, allowed: 5 * SECOND };
        assert_eq!(heartbeats.stopped(7 * SECOND), [stopped]);
        worker.beat(7 * SECOND);
        assert_eq!(heartbeats.stopped(8 * SECOND), []);
    }

    #[test]
    fn a_loop_that_ended_is_not_watched() {
        let heartbeats = Heartbeats::default();
        drop(heartbeats.watch("worker", SECOND, SECOND));
        assert_eq!(heartbeats.stopped(1000 * SECOND), []);
        assert_eq!(heartbeats.ages(1000 * SECOND), []);
    }

    #[test]
    fn a_shut_gate_says_why_until_it_opens() {
        let readiness = Readiness::default();
        readiness.shut("stores", "not synced yet");
        assert_eq!(readiness.missing(), ["stores: not synced yet"]);
        readiness.open("stores");
        assert_eq!(readiness.missing(), [""; 0]);
    }
}
