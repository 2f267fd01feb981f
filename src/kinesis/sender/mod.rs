//! The sender's settings; the state machine lands with them.

use std::time::Duration;

/// How a sender batches, paces and retries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Attempts after the first.
    pub max_retries: u32,
    /// How long throttling may last before it counts as long.
    pub throttle_timeout: Duration,
    /// How long a record waits for others to share its request.
    pub linger: Duration,
    /// At most so many records a second.
    pub max_records_per_second: Option<u32>,
    /// The largest record, partition key included.
    pub max_record_bytes: usize,
    /// The largest request.
    pub max_batch_bytes: usize,
    /// Records beyond the lowest unacknowledged one.
    pub window_records: usize,
    /// Bytes beyond the lowest unacknowledged record.
    pub window_bytes: usize,
    /// Requests at the same time.
    pub max_in_flight: usize,
    /// Of the jitter.
    pub seed: u64,
}
