//! Types: counters of what the stub was asked and what it did.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use serde::Serialize;

/// The counters while they run.
#[derive(Debug, Default)]
pub(crate) struct Stats {
    pub(crate) requests: AtomicU64,
    pub(crate) connections: AtomicU64,
    pub(crate) body_bytes: AtomicU64,
    pub(crate) records: AtomicU64,
    pub(crate) record_bytes: AtomicU64,
    pub(crate) entries_throttled: AtomicU64,
    pub(crate) entries_failed: AtomicU64,
    pub(crate) requests_throttled: AtomicU64,
    pub(crate) records_dropped: AtomicU64,
    pub(crate) records_unanswered: AtomicU64,
    by_action: Mutex<BTreeMap<String, u64>>,
    by_error: Mutex<BTreeMap<String, u64>>,
}

/// Adds to a counter.
pub(crate) fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}

impl Stats {
    /// Counts a request. An action is one of a fixed list, so the map stays small.
    pub(crate) fn asked(&self, action: &str) {
        count(&self.by_action, action);
    }

    /// Counts a refusal. Past a hundred names, which only faults can make up, all others are one.
    pub(crate) fn refused(&self, error: &str) {
        if error == "ProvisionedThroughputExceededException" {
            add(&self.requests_throttled, 1);
        }
        count(&self.by_error, error);
    }

    pub(crate) fn snapshot(&self, faults: BTreeMap<&'static str, u64>, losses: (u64, u64)) -> Snapshot {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Snapshot {
            requests: read(&self.requests),
            requests_by_action: self.by_action.lock().clone(),
            refusals_by_error: self.by_error.lock().clone(),
            connections: read(&self.connections),
            body_bytes: read(&self.body_bytes),
            records_committed: read(&self.records),
            bytes_committed: read(&self.record_bytes),
            requests_throttled: read(&self.requests_throttled),
            entries_throttled: read(&self.entries_throttled),
            entries_failed: read(&self.entries_failed),
            records_unanswered: read(&self.records_unanswered),
            faults_by_kind: faults.into_iter().map(|(kind, struck)| (kind.to_owned(), struck)).collect(),
            records_dropped_from_streams: read(&self.records_dropped),
            records_dropped_from_log: losses.0,
            log_write_errors: losses.1,
        }
    }
}

fn count(map: &Mutex<BTreeMap<String, u64>>, name: &str) {
    let mut map = map.lock();
    if let Some(count) = map.get_mut(name) {
        *count += 1;
        return;
    }
    let name = if map.len() < 100 { name } else { "other" };
    *map.entry(name.to_owned()).or_default() += 1;
}

/// The counters at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Snapshot {
    /// Requests to the service, refused ones included; control requests not.
    pub requests: u64,
    /// The same by action, once signature and body were understood.
    pub requests_by_action: BTreeMap<String, u64>,
    /// Requests refused, by the exception's name.
    pub refusals_by_error: BTreeMap<String, u64>,
    /// Connections accepted.
    pub connections: u64,
    /// Bytes of bodies received.
    pub body_bytes: u64,
    /// Records committed.
    pub records_committed: u64,
    /// Bytes of records committed: partition key and decoded data.
    pub bytes_committed: u64,
    /// Requests throttled as a whole.
    pub requests_throttled: u64,
    /// Entries throttled in requests that succeeded.
    pub entries_throttled: u64,
    /// Entries failed otherwise in requests that succeeded.
    pub entries_failed: u64,
    /// Records of puts that were carried out and not answered, or late, by a fault: a client may put them again.
    pub records_unanswered: u64,
    /// Requests struck, by the fault's kind.
    pub faults_by_kind: BTreeMap<String, u64>,
    /// Records that streams no longer keep for `GetRecords`, because of the cap.
    pub records_dropped_from_streams: u64,
    /// Records that the log in memory no longer keeps, because of its cap.
    pub records_dropped_from_log: u64,
    /// Lines that the log's file did not take.
    pub log_write_errors: u64,
}
