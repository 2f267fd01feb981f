//! Pure: how much a shard takes. A bucket that holds one second's worth and refills evenly; `now` comes in.

/// Records a shard takes a second.
const RECORDS_PER_SECOND: f64 = 1_000.0;
/// Bytes a shard takes a second.
const BYTES_PER_SECOND: f64 = 1_048_576.0;

/// What a shard may still take.
#[derive(Debug)]
pub(crate) struct Bucket {
    records: f64,
    bytes: f64,
    /// Unix microseconds of the last refill.
    refilled: u64,
}

impl Default for Bucket {
    fn default() -> Self {
        Self { records: RECORDS_PER_SECOND, bytes: BYTES_PER_SECOND, refilled: 0 }
    }
}

impl Bucket {
    /// Takes one record of `size` bytes, or says no. A record larger than a second's bytes passes a full bucket and
    /// leaves a debt, or it would never pass.
    pub(crate) fn take(&mut self, size: u64, now: u64) -> bool {
        let seconds = now.saturating_sub(self.refilled) as f64 / 1e6;
        self.refilled = self.refilled.max(now);
        self.records = (self.records + seconds * RECORDS_PER_SECOND).min(RECORDS_PER_SECOND);
        self.bytes = (self.bytes + seconds * BYTES_PER_SECOND).min(BYTES_PER_SECOND);
        let size = size as f64;
        if self.records < 1.0 || self.bytes < size.min(BYTES_PER_SECOND) {
            return false;
        }
        self.records -= 1.0;
        self.bytes -= size;
        true
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn a_shard_takes_a_thousand_records_a_second() {
        let mut bucket = Bucket::default();
        let taken = (0..1_500).filter(|_| bucket.take(10, 1_000_000)).count();
        assert_eq!(taken, 1_000);
        let taken = (0..1_500).filter(|_| bucket.take(10, 1_500_000)).count();
        assert_eq!(taken, 500);
    }

    #[test]
    fn a_shard_takes_a_mebibyte_a_second() {
        let mut bucket = Bucket::default();
        let taken = (0..100).filter(|_| bucket.take(1 << 18, 1_000_000)).count();
        assert_eq!(taken, 4);
    }

    #[test]
    fn a_record_above_the_limit_passes_a_full_bucket_and_leaves_a_debt() {
        let mut bucket = Bucket::default();
        assert!(bucket.take(3 << 20, 1_000_000));
        assert!(!bucket.take(1, 2_500_000));
        assert!(bucket.take(1, 3_500_000));
    }
}
