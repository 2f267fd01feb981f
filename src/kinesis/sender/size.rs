//! Pure state: how large a request may be, where large ones fail.
//!
//! A slow uplink, or a proxy that breaks large bodies, fails on the size of a request and not on what it holds. So a request of
//! several records that has no answer halves what the next ones may hold, and answers raise it again, step by step. Without such
//! a failure there is no limit but the settings'.

use super::Settings;
use super::limits::MAX_BATCH_RECORDS;

/// The lowest share: 80 KiB of 5 MiB. A single record goes whatever its size.
const LOWEST: f64 = 1.0 / 64.0;

/// How much of the whole an answer adds. From the lowest to the whole it takes about 500 answers to requests that were as large
/// as they could be; and where the limit lies at a quarter, it takes 64 to run into it again, with what is then on its way.
const RISE: f64 = 1.0 / 512.0;

/// The share of the largest request that may be used, in bytes and in records.
#[derive(Debug)]
pub(super) struct Size {
    share: f64,
}

impl Size {
    pub(super) fn new() -> Self {
        Self { share: 1.0 }
    }

    /// Whether there is a limit below the settings'.
    pub(super) fn is_cut(&self) -> bool {
        self.share < 1.0
    }

    /// The most records of a request: at least 7.
    pub(super) fn records(&self) -> usize {
        (MAX_BATCH_RECORDS as f64 * self.share) as usize
    }

    /// The most bytes of a request.
    pub(super) fn bytes(&self, settings: &Settings) -> usize {
        if self.is_cut() { (settings.max_batch_bytes as f64 * self.share) as usize } else { settings.max_batch_bytes }
    }

    /// Notes that a request of several records had no answer.
    pub(super) fn failed(&mut self, records: usize, bytes: usize, settings: &Settings) {
        let half = fill(records, bytes, settings) / 2.0;
        self.share = self.share.min(half.max(LOWEST));
    }

    /// Notes that a request had an answer. One that was not half as large as allowed says nothing.
    pub(super) fn answered(&mut self, records: usize, bytes: usize, settings: &Settings) {
        if fill(records, bytes, settings) * 2.0 >= self.share {
            self.share = (self.share + RISE).min(1.0);
        }
    }
}

/// How full a request is, by whichever limit it is nearer to.
fn fill(records: usize, bytes: usize, settings: &Settings) -> f64 {
    let records = records as f64 / MAX_BATCH_RECORDS as f64;
    records.max(bytes as f64 / settings.max_batch_bytes.max(1) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn settings() -> Settings {
        Settings {
            max_retries: 2,
            throttle_timeout: Duration::from_mins(1),
            linger: Duration::ZERO,
            max_records_per_second: None,
            max_record_bytes: 1 << 20,
            max_batch_bytes: 64_000,
            window_records: 10_000,
            window_bytes: 10_000_000,
            max_in_flight: 8,
            seed: 1,
        }
    }

    #[test]
    fn a_failure_halves_what_failed_down_to_the_lowest() {
        let mut size = Size::new();
        assert_eq!((size.records(), size.bytes(&settings())), (500, 64_000));
        size.failed(500, 1000, &settings());
        assert_eq!((size.records(), size.bytes(&settings())), (250, 32_000));
        size.failed(2, 16_000, &settings());
        assert_eq!((size.records(), size.bytes(&settings())), (62, 8000));
        size.failed(500, 64_000, &settings());
        assert_eq!(size.bytes(&settings()), 8000, "one that was sent before the cut tells nothing new");
        for _ in 0..10 {
            size.failed(2, 20, &settings());
        }
        assert_eq!((size.records(), size.bytes(&settings())), (7, 1000));
    }

    #[test]
    fn answers_to_large_requests_raise_it_slowly_to_the_whole() {
        let mut size = Size::new();
        size.failed(2, 20, &settings());
        size.answered(1, 499, &settings());
        assert_eq!(size.bytes(&settings()), 1000, "a small one says nothing");
        let mut answers = 0;
        while size.is_cut() {
            answers += 1;
            size.answered(1, size.bytes(&settings()), &settings());
        }
        assert!((495..510).contains(&answers), "{answers}");
        assert_eq!((size.records(), size.bytes(&settings())), (500, 64_000));
    }
}
