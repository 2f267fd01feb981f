//! Pure: a token bucket, as the time at which it would be full again (the generic cell rate algorithm). Times are
//! [`crate::telemetry::clock::monotonic`].

use std::time::Duration;

/// Lets through `burst` at once, and one more every `every`: in any window of length `t` at most `burst + t / every`.
#[derive(Debug, Clone)]
pub struct Bucket {
    every: Duration,
    burst: u32,
    /// When it is full again.
    full_at: Duration,
}

impl Bucket {
    /// A full one.
    pub const fn new(every: Duration, burst: u32) -> Self {
        Self { every, burst, full_at: Duration::ZERO }
    }

    /// When the next token is there: `now`, or later.
    pub fn ready_at(&self, now: Duration) -> Duration {
        let room = self.every.saturating_mul(self.burst.saturating_sub(1));
        self.full_at.saturating_sub(room).max(now)
    }

    /// Takes a token, if there is one.
    pub fn take(&mut self, now: Duration) -> bool {
        let ready = self.ready_at(now) <= now;
        if ready {
            self.full_at = self.full_at.max(now).saturating_add(self.every);
        }
        ready
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_full_bucket_lets_its_burst_through_at_once_and_then_keeps_the_pace() {
        let mut bucket = Bucket::new(Duration::from_millis(500), 20);
        let start = Duration::from_secs(100);
        assert_eq!((0..30).filter(|_| bucket.take(start)).count(), 20);
        assert_eq!(bucket.ready_at(start), start + Duration::from_millis(500));
        assert!(!bucket.take(start + Duration::from_millis(499)));
        assert!(bucket.take(start + Duration::from_millis(500)));
        assert!(!bucket.take(start + Duration::from_millis(500)));
        assert_eq!((0..30).filter(|_| bucket.take(start + Duration::from_secs(60))).count(), 20);
    }

    proptest! {
        #[test]
        fn no_window_holds_more_than_the_burst_and_the_pace(
            every in 1_u64..2_000,
            burst in 1_u32..30,
            steps in prop::collection::vec(0_u64..3_000, 1..200),
        ) {
            let mut bucket = Bucket::new(Duration::from_millis(every), burst);
            let (mut now, mut taken) = (0, Vec::new());
            for step in steps {
                now += step;
                if bucket.take(Duration::from_millis(now)) {
                    taken.push(now);
                }
            }
            for (first, begin) in taken.iter().enumerate() {
                for (last, end) in taken.iter().enumerate().skip(first) {
                    let most = u64::from(burst) + (end - begin) / every;
                    prop_assert!((last - first + 1) as u64 <= most, "{begin}..={end} of {taken:?}");
                }
            }
        }

        #[test]
        fn a_token_is_there_when_it_was_told_to_be(every in 1_u64..2_000, burst in 1_u32..30, takes in 0_u32..60) {
            let mut bucket = Bucket::new(Duration::from_millis(every), burst);
            for _ in 0..takes {
                bucket.take(Duration::ZERO);
            }
            let ready = bucket.ready_at(Duration::ZERO);
            prop_assert!(bucket.take(ready));
        }
    }
}
