//! Effects: the one place that reads a clock. Everything else takes `now`.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use jiff::Timestamp;

static ORIGIN: LazyLock<Instant> = LazyLock::new(Instant::now);

/// The time of day. It can be set forward and back under us.
pub fn now() -> Timestamp {
    Timestamp::now()
}

/// The time since the process first asked: never falls, and means nothing outside the process.
pub fn monotonic() -> Duration {
    ORIGIN.elapsed()
}
