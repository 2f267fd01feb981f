//! Pure: how fast and how late, lately. For people and alerts; no decision about data hangs on it.

use std::time::Duration;

/// How long a stretch is; the figures are of the one that ended and the one that runs.
const STRETCH: Duration = Duration::from_secs(15);

/// Buckets of latency: bucket `n` ends at 2^(n/4) milliseconds, the last is open.
const BUCKETS: usize = 96;

/// Counts acknowledged records, their bytes, and how long they took.
#[derive(Debug)]
pub(super) struct Meter {
    began: Duration,
    current: Stretch,
    last: Option<Stretch>,
}

#[derive(Debug, Clone)]
struct Stretch {
    records: u64,
    bytes: u64,
    lasted: Duration,
    latencies: [u32; BUCKETS],
    timed: u64,
}

impl Stretch {
    const fn new() -> Self {
        Self { records: 0, bytes: 0, lasted: Duration::ZERO, latencies: [0; BUCKETS], timed: 0 }
    }
}

impl Meter {
    pub(super) fn new(now: Duration) -> Self {
        Self { began: now, current: Stretch::new(), last: None }
    }

    /// One record was acknowledged, `latency` after its change was received.
    pub(super) fn acknowledged(&mut self, bytes: u64, latency: Option<Duration>) {
        self.current.records += 1;
        self.current.bytes += bytes;
        let Some(latency) = latency else { return };
        let millis = (latency.as_secs_f64() * 1000.0).max(1.0);
        let bucket = ((millis.log2() * 4.0) as usize).min(BUCKETS - 1);
        if let Some(count) = self.current.latencies.get_mut(bucket) {
            *count = count.saturating_add(1);
        }
        self.current.timed += 1;
    }

    /// Ends the stretch where it has lasted long enough.
    pub(super) fn tick(&mut self, now: Duration) {
        self.current.lasted = now.saturating_sub(self.began);
        if self.current.lasted >= STRETCH {
            let ended = std::mem::replace(&mut self.current, Stretch::new());
            // After a long sleep nothing is known of lately.
            self.last = (ended.lasted < 4 * STRETCH).then_some(ended);
            self.began = now;
        }
    }

    fn stretches(&self) -> impl Iterator<Item = &Stretch> {
        self.last.iter().chain([&self.current])
    }

    /// Records and bytes per second.
    pub(super) fn rates(&self) -> (f64, f64) {
        let seconds: f64 = self.stretches().map(|stretch| stretch.lasted.as_secs_f64()).sum();
        let (records, bytes) =
            self.stretches().fold((0, 0), |(r, b), stretch| (r + stretch.records, b + stretch.bytes));
        let seconds = seconds.max(1.0);
        (records as f64 / seconds, bytes as f64 / seconds)
    }

    /// The latency that 95 of 100 records kept below, to a fifth of its value.
    pub(super) fn p95(&self) -> Option<Duration> {
        let timed: u64 = self.stretches().map(|stretch| stretch.timed).sum();
        let mut left = (timed * 95).div_ceil(100);
        if timed == 0 {
            return None;
        }
        for bucket in 0..BUCKETS {
            let count: u64 =
                self.stretches().filter_map(|stretch| stretch.latencies.get(bucket)).map(|n| u64::from(*n)).sum();
            if count >= left {
                return Some(Duration::from_secs_f64(f64::exp2((bucket + 1) as f64 / 4.0) / 1000.0));
            }
            left -= count;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_95th_of_a_hundred_latencies_is_told_to_a_fifth() {
        let mut meter = Meter::new(Duration::ZERO);
        assert_eq!(meter.p95(), None);
        for millis in 1..=100 {
            meter.acknowledged(10, Some(Duration::from_millis(millis)));
        }
        let p95 = meter.p95().unwrap().as_millis();
        assert!((95..=115).contains(&p95), "{p95}");
    }

    #[test]
    fn rates_fall_to_zero_where_nothing_comes_any_more() {
        let mut meter = Meter::new(Duration::ZERO);
        for _ in 0..1000 {
            meter.acknowledged(100, None);
        }
        meter.tick(Duration::from_secs(10));
        assert_eq!(meter.rates(), (100.0, 10_000.0));
        meter.tick(Duration::from_secs(20));
        meter.tick(Duration::from_secs(40));
        assert!(meter.rates().0.abs() < f64::EPSILON);
    }
}
