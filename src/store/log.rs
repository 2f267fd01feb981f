//! Effects: the change log. Positions count from 1; a position's value is its change, behind the log's size so far and the
//! change's receipt, by which retention finds its cut without reading the changes.

use bytes::Bytes;
use fjall::Slice;
use jiff::Timestamp;

use super::{Store, StoreError, keys};

/// A log value begins with the bytes of all changes up to and with this one (u64), and the receipt (i64 microseconds).
const VALUE_HEADER: usize = 16;

/// Where the log ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// The position that the next change gets, from 1.
    pub next: u64,
    /// The receipt of the last change; the epoch where there is none.
    pub time: Timestamp,
    /// The bytes of all changes ever written.
    pub bytes: u64,
}

/// One change in the log.
#[derive(Debug, Clone)]
pub struct LogEntry {
    /// Its position.
    pub position: u64,
    value: Slice,
}

impl LogEntry {
    /// The change as JSON text.
    pub fn change(&self) -> &[u8] {
        self.value.get(VALUE_HEADER..).unwrap_or_default()
    }

    /// The change as JSON text, without a copy.
    pub fn into_change(self) -> Bytes {
        let start = VALUE_HEADER.min(self.value.len());
        Bytes::from(self.value).slice(start..)
    }
}

impl Head {
    const EMPTY: Self = Self { next: 1, time: Timestamp::UNIX_EPOCH, bytes: 0 };

    pub(super) fn encode(&self) -> [u8; 24] {
        let mut value = [0; 24];
        value[..8].copy_from_slice(&self.next.to_be_bytes());
        value[8..16].copy_from_slice(&self.time.as_microsecond().to_be_bytes());
        value[16..].copy_from_slice(&self.bytes.to_be_bytes());
        value
    }
}

pub(super) fn decode_head(value: Option<Slice>) -> Result<Head, StoreError> {
    let Some(value) = value else { return Ok(Head::EMPTY) };
    let number = |at: usize| value.get(at..at + 8).and_then(|bytes| bytes.try_into().ok()).map(u64::from_be_bytes);
    let decoded = || {
        let time = Timestamp::from_microsecond(number(8)?.cast_signed()).ok()?;
        Some(Head { next: number(0)?, time, bytes: number(16)? })
    };
    decoded().ok_or(StoreError::Value("log head"))
}

pub(super) fn value(bytes: u64, time: Timestamp, change: &[u8]) -> Vec<u8> {
    let mut value = Vec::with_capacity(VALUE_HEADER + change.len());
    value.extend_from_slice(&bytes.to_be_bytes());
    value.extend_from_slice(&time.as_microsecond().to_be_bytes());
    value.extend_from_slice(change);
    value
}

impl Store {
    /// The head of the log.
    pub fn head(&self) -> Result<Head, StoreError> {
        decode_head(self.inner.meta.get(keys::HEAD)?)
    }

    /// The changes from position `from` on: at most `limit`, and no further one once `max_bytes` are reached.
    pub fn read_log(&self, from: u64, limit: usize, max_bytes: usize) -> Result<Vec<LogEntry>, StoreError> {
        let mut entries = Vec::new();
        let mut bytes = 0;
        for guard in self.inner.log.range(from.to_be_bytes()..).take(limit) {
            let (key, value) = guard.into_inner()?;
            bytes += value.len();
            entries
                .push(LogEntry { position: keys::trailing_u64(&key).ok_or(StoreError::Value("log position"))?, value });
            if bytes >= max_bytes {
                break;
            }
        }
        Ok(entries)
    }

    /// The lowest position that is still there; the head's where the log is empty.
    pub fn first_position(&self) -> Result<u64, StoreError> {
        match self.inner.meta.get(keys::FIRST)? {
            None => Ok(Head::EMPTY.next),
            Some(value) => keys::trailing_u64(&value).ok_or(StoreError::Value("log's first position")),
        }
    }

    /// The lowest position from `first` to below `head` whose change is younger than `oldest` and with which the log keeps to
    /// `max_bytes`.
    pub fn retention_cut(&self, first: u64, head: Head, oldest: Timestamp, max_bytes: u64) -> Result<u64, StoreError> {
        let too_old = |position: u64| -> Result<bool, StoreError> {
            let Some(value) = self.inner.log.get(position.to_be_bytes())? else { return Ok(true) };
            let number = |at: usize| {
                value.get(at..at + 8).and_then(|b| b.try_into().ok()).map(u64::from_be_bytes).unwrap_or_default()
            };
            let time = Timestamp::from_microsecond(number(8).cast_signed()).unwrap_or(Timestamp::UNIX_EPOCH);
            // What is kept begins with this one.
            let kept = head.bytes.saturating_sub(number(0)) + value.len().saturating_sub(VALUE_HEADER) as u64;
            Ok(time < oldest || kept > max_bytes)
        };
        // Both bounds only grow with the position, so the cut is found by halving.
        let (mut low, mut high) = (first, head.next);
        while low < high {
            let middle = low + (high - low) / 2;
            if too_old(middle)? {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low)
    }
}
