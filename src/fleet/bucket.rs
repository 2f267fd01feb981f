//! Pure: a token bucket, for what may be done only so often.

use std::time::Duration;

/// So many at once, and so many a second in the long run.
#[derive(Debug, Clone)]
pub struct Bucket {
    burst: f64,
    per_second: f64,
    tokens: f64,
    filled_at: Duration,
}

impl Bucket {
    /// A full one. `now` is that of `clock::monotonic`, as everywhere here.
    pub fn new(burst: u32, per_second: f64, now: Duration) -> Self {
        Self { burst: f64::from(burst), per_second, tokens: f64::from(burst), filled_at: now }
    }

    /// Takes one, if there is one.
    pub fn take(&mut self, now: Duration) -> bool {
        let passed = now.saturating_sub(self.filled_at).as_secs_f64();
        self.tokens = passed.mul_add(self.per_second, self.tokens).min(self.burst);
        self.filled_at = self.filled_at.max(now);
        let there = self.tokens >= 1.0;
        if there {
            self.tokens -= 1.0;
        }
        there
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_burst_then_the_rate() {
        let mut bucket = Bucket::new(3, 2.0, Duration::ZERO);
        let taken =
            |bucket: &mut Bucket, millis| (0..10).filter(|_| bucket.take(Duration::from_millis(millis))).count();
        assert_eq!(taken(&mut bucket, 0), 3);
        assert_eq!(taken(&mut bucket, 499), 0);
        assert_eq!(taken(&mut bucket, 1_000), 2);
        assert_eq!(taken(&mut bucket, 60_000), 3, "no more than the burst is saved up");
        assert_eq!(taken(&mut bucket, 59_000), 0, "a clock that falls gives nothing");
    }

    proptest! {
        #[test]
        fn no_window_sees_more_than_the_burst_and_the_rate(steps in prop::collection::vec(0_u64..400, 1..200)) {
            let mut bucket = Bucket::new(5, 2.0, Duration::ZERO);
            let (mut now, mut taken) = (0, Vec::new());
            for step in steps {
                now += step;
                if bucket.take(Duration::from_millis(now)) {
                    taken.push(now);
                }
            }
            for (first, from) in taken.iter().enumerate() {
                for (last, to) in taken.iter().enumerate().skip(first) {
                    let allowed = 5.0 + (to - from) as f64 / 500.0;
                    prop_assert!((last - first + 1) as f64 <= allowed + 1e-6);
                }
            }
        }
    }
}
