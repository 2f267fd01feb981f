//! Effects: what the hub forgets: changes that every dataflow has behind it or that are over the bounds, and answers of
//! yesterday.

use jiff::{SignedDuration, Timestamp};

use crate::store::{Store, StoreError};

/// How long an idempotency key repeats its answer.
pub const ANSWERS_KEPT: SignedDuration = SignedDuration::from_hours(24);

/// How many entries one batch removes.
const STEP: u64 = 10_000;

/// How much of the log is kept for dataflows that lag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// A change older than this is removed, read or not.
    pub max_age: SignedDuration,
    /// With more bytes of changes than this, the oldest are removed, read or not.
    pub max_bytes: u64,
}

impl Default for Retention {
    /// Seven days, 20 GiB.
    fn default() -> Self {
        Self { max_age: SignedDuration::from_hours(7 * 24), max_bytes: 20 << 30 }
    }
}

/// Removes what may go: everything below `slowest`, the lowest position that a dataflow still needs (`None` where there is no
/// dataflow), and everything over the bounds. Returns how many changes went.
pub fn trim(store: &Store, slowest: Option<u64>, retention: Retention, now: Timestamp) -> Result<u64, StoreError> {
    let head = store.head()?;
    let first = store.first_position()?;
    let oldest = now.checked_sub(retention.max_age).unwrap_or(Timestamp::UNIX_EPOCH);
    let bound = store.retention_cut(first, head, oldest, retention.max_bytes)?;
    let cut = slowest.unwrap_or(head.next).min(head.next).max(bound);
    let mut position = first;
    while position < cut {
        let end = cut.min(position + STEP);
        let mut batch = store.batch();
        batch.trim(position, end);
        batch.commit_lazily()?;
        position = end;
    }
    Ok(cut.saturating_sub(first))
}

/// Forgets idempotency keys that are older than [`ANSWERS_KEPT`].
pub fn forget_answers(store: &Store, now: Timestamp) -> Result<(), StoreError> {
    let before = now.checked_sub(ANSWERS_KEPT).unwrap_or(Timestamp::UNIX_EPOCH);
    loop {
        let page = store.answers_before(before, STEP as usize)?;
        let mut batch = store.batch();
        for (expiry, key) in &page {
            batch.remove_answer(expiry, key);
        }
        batch.commit_lazily()?;
        if page.len() < STEP as usize {
            return Ok(());
        }
    }
}
