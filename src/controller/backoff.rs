//! Pure: how long an object that failed waits for its next try: twice as long each time, with jitter, forgotten on success.

use std::collections::BTreeMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash as _, Hasher as _};
use std::time::Duration;

/// The wait after a first failure, about.
const FIRST: Duration = Duration::from_millis(500);
/// The longest wait, about.
const LONGEST: Duration = Duration::from_mins(5);
/// So many objects are kept apart; any more wait the longest.
const OBJECTS: usize = 10_000;

/// How often each object has failed in a row.
#[derive(Debug, Clone)]
pub struct Backoffs<K> {
    failures: BTreeMap<K, u32>,
}

impl<K> Default for Backoffs<K> {
    fn default() -> Self {
        Self { failures: BTreeMap::new() }
    }
}

impl<K: Ord + Clone + std::hash::Hash> Backoffs<K> {
    /// Takes up a failure of `key`: how long to wait now.
    pub fn failed(&mut self, key: &K) -> Duration {
        if self.failures.len() >= OBJECTS && !self.failures.contains_key(key) {
            return jittered(LONGEST, key, 0);
        }
        let failures = self.failures.entry(key.clone()).or_default();
        let doublings = *failures;
        *failures = failures.saturating_add(1);
        jittered(FIRST.saturating_mul(1 << doublings.min(16)).min(LONGEST), key, doublings)
    }

    /// Takes up a success of `key`.
    pub fn succeeded(&mut self, key: &K) {
        self.failures.remove(key);
    }

    /// Forgets the objects that are gone.
    pub fn retain(&mut self, there: impl Fn(&K) -> bool) {
        self.failures.retain(|key, _| there(key));
    }
}

/// Between three quarters and five quarters of `wait`: what failed at once does not try again at once.
fn jittered(wait: Duration, key: &impl std::hash::Hash, failures: u32) -> Duration {
    let mut hasher = DefaultHasher::new();
    (key, failures).hash(&mut hasher);
    let share = (hasher.finish() >> 32) as f64 / f64::from(u32::MAX);
    wait.mul_f64(0.75 + share / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn about(wait: Duration, expected: Duration) -> bool {
        wait >= expected.mul_f64(0.75) && wait <= expected.mul_f64(1.25)
    }

    #[test]
    fn each_failure_in_a_row_waits_about_twice_as_long_up_to_the_longest() {
        let mut backoffs = Backoffs::default();
        let waits: Vec<_> = (0..40).map(|_| backoffs.failed(&"a")).collect();
        for (expected, wait) in [500, 1_000, 2_000, 4_000].into_iter().zip(&waits) {
            assert!(about(*wait, Duration::from_millis(expected)), "{waits:?}");
        }
        assert!(about(waits[39], LONGEST), "{waits:?}");
    }

    #[test]
    fn a_success_forgets_the_failures_of_that_object_alone() {
        let mut backoffs = Backoffs::default();
        for _ in 0..5 {
            backoffs.failed(&"a");
            backoffs.failed(&"b");
        }
        backoffs.succeeded(&"a");
        assert!(about(backoffs.failed(&"a"), FIRST));
        assert!(about(backoffs.failed(&"b"), FIRST * 32));
        backoffs.retain(|_| false);
        assert!(about(backoffs.failed(&"b"), FIRST));
    }

    #[test]
    fn objects_that_fail_together_do_not_try_again_together() {
        let mut backoffs = Backoffs::default();
        let waits: std::collections::BTreeSet<_> = (0..100).map(|object| backoffs.failed(&object)).collect();
        assert!(waits.len() > 90, "{waits:?}");
    }

    #[test]
    fn more_objects_than_are_kept_apart_wait_the_longest() {
        let mut backoffs = Backoffs::default();
        for object in 0..OBJECTS {
            backoffs.failed(&object);
        }
        assert!(about(backoffs.failed(&OBJECTS), LONGEST));
        assert_eq!(backoffs.failures.len(), OBJECTS);
    }
}
