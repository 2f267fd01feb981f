//! Pure decisions and state: how long a record waits before it is sent again, and the records that wait.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

/// The first wait after a failed attempt, and after a throttled one; each further one is twice as long.
pub(super) const FIRST_WAIT: Duration = Duration::from_millis(100);

/// The longest wait of one record.
pub(super) const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// What waits, and what for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Waiter {
    /// A record that failed.
    Failed(u64),
    /// A record that was throttled.
    Throttled(u64),
    /// A part of a request that had no answer.
    Part(Vec<u64>),
}

/// The records that wait, the earliest first.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    heap: BinaryHeap<Reverse<(Duration, Waiter)>>,
    parts: usize,
}

impl Waiting {
    pub(super) fn push(&mut self, due: Duration, waiter: Waiter) {
        self.parts += usize::from(matches!(waiter, Waiter::Part(_)));
        self.heap.push(Reverse((due, waiter)));
    }

    /// Takes out one whose wait is over.
    pub(super) fn pop_due(&mut self, now: Duration) -> Option<Waiter> {
        let Reverse((due, ..)) = self.heap.peek()?;
        if *due > now {
            return None;
        }
        let Reverse((_, waiter)) = self.heap.pop()?;
        self.parts -= usize::from(matches!(waiter, Waiter::Part(_)));
        Some(waiter)
    }

    /// Whether some part waits.
    pub(super) fn has_parts(&self) -> bool {
        self.parts > 0
    }

    /// When the next wait is over.
    pub(super) fn next_due(&self) -> Option<Duration> {
        self.heap.peek().map(|Reverse((due, ..))| *due)
    }
}

/// A seeded source of jitter (`SplitMix64`): the same seed gives the same waits, so that a failure can be repeated.
#[derive(Debug)]
pub(super) struct Jitter(u64);

impl Jitter {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A wait between half of `full` and the whole.
    pub(super) fn spread(&mut self, full: Duration) -> Duration {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        let share = (mixed >> 11) as f64 / (1u64 << 53) as f64;
        full.mul_f64(0.5 + 0.5 * share)
    }

    /// The wait before the next try after `failures` in a row.
    pub(super) fn backoff(&mut self, failures: u32) -> Duration {
        let doublings = failures.saturating_sub(1).min(16);
        self.spread((FIRST_WAIT * (1 << doublings)).min(LONGEST_WAIT))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_are_spread_over_half_of_it() {
        let mut jitter = Jitter::new(7);
        for (failures, full) in [(1, 100), (2, 200), (3, 400), (6, 3200), (7, 5000), (1000, 5000)] {
            for _ in 0..100 {
                let wait = jitter.backoff(failures);
                assert!(
                    wait >= Duration::from_millis(full / 2) && wait <= Duration::from_millis(full),
                    "{failures} {wait:?}"
                );
            }
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_waits() {
        let waits = |seed| {
            let mut jitter = Jitter::new(seed);
            (0..10).map(|_| jitter.backoff(3)).collect::<Vec<_>>()
        };
        assert_eq!(waits(1), waits(1));
        assert_ne!(waits(1), waits(2));
    }
}
