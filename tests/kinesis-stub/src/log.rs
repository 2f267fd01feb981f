//! Effect: what was committed, in the order of commits. Gives positions, writes lines to a file, keeps records in
//! memory up to a cap. Knows nothing of limits or faults.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use base64::Engine as _;
use parking_lot::Mutex;
use serde::Serialize;

/// What every sequence number begins with: as long as the service's, and its order as text is its order as a number.
const SEQUENCE_PREFIX: &str = "496500000000000000000000000000000000";

/// What becomes of committed records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogMode {
    /// Only counts. Nothing is kept, neither for a checker nor for `GetRecords`.
    Counts,
    /// Kept in memory, and appended to a file where one is named.
    Records {
        /// Newline-delimited JSON, one record a line, in commit order.
        file: Option<PathBuf>,
    },
}

/// A committed record; its JSON form is a line of the log.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// Counts from 1 in commit order, over all streams.
    pub seq: u64,
    /// Unix microseconds at commit; never falls.
    pub time: u64,
    /// The stream's name.
    pub stream: Arc<str>,
    /// The shard's id.
    pub shard: Arc<str>,
    /// As the client was told.
    pub sequence_number: String,
    /// The partition key.
    pub partition_key: String,
    /// Base64, as the client sent it.
    pub data: String,
    /// The number of the request, from 1: entries of one request share it.
    pub request: u64,
    /// Whose key signed the request.
    pub access_key: Arc<str>,
}

impl Record {
    /// The record's bytes; empty where a client sent no valid base64.
    pub fn bytes(&self) -> Vec<u8> {
        base64::engine::general_purpose::STANDARD.decode(&self.data).unwrap_or_default()
    }

    /// What the record takes in memory, about.
    pub(crate) fn weight(&self) -> u64 {
        (self.data.len() + self.partition_key.len() + 256) as u64
    }
}

/// What a put commits; the log adds the position and the time.
pub(crate) struct Committing<'a> {
    pub(crate) shard: &'a Arc<str>,
    pub(crate) partition_key: &'a str,
    pub(crate) data: &'a [u8],
}

/// Who commits.
pub(crate) struct Origin<'a> {
    pub(crate) stream: &'a Arc<str>,
    pub(crate) request: u64,
    pub(crate) access_key: &'a Arc<str>,
}

/// The log.
#[derive(Debug)]
pub(crate) struct Log {
    /// The position that the next record gets.
    pub(crate) next: AtomicU64,
    /// Added to a position in sequence numbers, so that they grow over a restart.
    base: u64,
    counts_only: bool,
    memory_cap: u64,
    tail: Mutex<Tail>,
}

#[derive(Debug, Default)]
struct Tail {
    file: Option<BufWriter<File>>,
    memory: VecDeque<Arc<Record>>,
    memory_bytes: u64,
    dropped: u64,
    write_errors: u64,
    last_time: u64,
}

impl Log {
    /// Opens the log. Errors: the file cannot be opened for appending.
    pub(crate) fn open(mode: &LogMode, memory_cap: u64, now: u64) -> std::io::Result<Self> {
        let file = match mode {
            LogMode::Records { file: Some(path) } => Some(append_to(path)?),
            _ => None,
        };
        Ok(Self {
            next: AtomicU64::new(1),
            base: now,
            counts_only: *mode == LogMode::Counts,
            memory_cap,
            tail: Mutex::new(Tail { file, ..Tail::default() }),
        })
    }

    pub(crate) fn counts_only(&self) -> bool {
        self.counts_only
    }

    /// Takes `count` positions without keeping anything; gives the first.
    pub(crate) fn count(&self, count: u64) -> u64 {
        self.next.fetch_add(count, Ordering::AcqRel)
    }

    /// Commits a batch in its order, and tells `each` of every record, still under the log's lock, so that what it
    /// keeps has the log's order too. Gives the first position.
    pub(crate) fn commit<'a>(
        &self,
        batch: impl Iterator<Item = Committing<'a>>,
        origin: &Origin<'_>,
        now: u64,
        mut each: impl FnMut(&Arc<Record>),
    ) -> u64 {
        let mut tail = self.tail.lock();
        let tail = &mut *tail;
        let time = now.max(tail.last_time);
        tail.last_time = time;
        let first = self.next.load(Ordering::Acquire);
        let mut seq = first;
        for entry in batch {
            let record = Arc::new(Record {
                seq,
                time,
                stream: origin.stream.clone(),
                shard: entry.shard.clone(),
                sequence_number: self.sequence_number(seq),
                partition_key: entry.partition_key.to_owned(),
                data: String::from_utf8_lossy(entry.data).into_owned(),
                request: origin.request,
                access_key: origin.access_key.clone(),
            });
            tail.write(&record);
            tail.keep(&record, self.memory_cap);
            each(&record);
            seq += 1;
        }
        self.next.store(seq, Ordering::Release);
        first
    }

    /// Up to `limit` records after a position, from memory.
    pub(crate) fn after(&self, seq: u64, limit: usize) -> Vec<Arc<Record>> {
        let tail = self.tail.lock();
        let from = tail.memory.partition_point(|record| record.seq <= seq);
        tail.memory.range(from..).take(limit).cloned().collect()
    }

    /// Hands everything to the operating system. Errors: the file does not take it.
    pub(crate) fn flush(&self) -> std::io::Result<()> {
        self.tail.lock().file.as_mut().map_or(Ok(()), BufWriter::flush)
    }

    /// Records that memory no longer holds, and lines that the file did not take.
    pub(crate) fn losses(&self) -> (u64, u64) {
        let tail = self.tail.lock();
        (tail.dropped, tail.write_errors)
    }

    /// The sequence number of a position: 56 digits.
    pub(crate) fn sequence_number(&self, seq: u64) -> String {
        let mut text = Vec::with_capacity(56);
        self.write_sequence_number(&mut text, seq);
        String::from_utf8(text).unwrap_or_default()
    }

    /// The same into a buffer, for answers of hundreds.
    pub(crate) fn write_sequence_number(&self, buffer: &mut Vec<u8>, seq: u64) {
        buffer.extend_from_slice(SEQUENCE_PREFIX.as_bytes());
        let mut digits = [b'0'; 20];
        let mut rest = self.base.wrapping_add(seq);
        for digit in digits.iter_mut().rev() {
            *digit = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        buffer.extend_from_slice(&digits);
    }

    /// The position of a sequence number; `None` where this log did not give it.
    pub(crate) fn position(&self, sequence_number: &str) -> Option<u64> {
        sequence_number.strip_prefix(SEQUENCE_PREFIX)?.parse::<u64>().ok()?.checked_sub(self.base)
    }
}

impl Tail {
    fn write(&mut self, record: &Record) {
        let Some(file) = &mut self.file else { return };
        let written = serde_json::to_writer(&mut *file, record).map_err(std::io::Error::from);
        if written.and_then(|()| file.write_all(b"\n")).is_err() {
            self.write_errors += 1;
        }
    }

    fn keep(&mut self, record: &Arc<Record>, cap: u64) {
        if cap == 0 {
            return;
        }
        self.memory_bytes += record.weight();
        self.memory.push_back(record.clone());
        while self.memory_bytes > cap {
            let Some(oldest) = self.memory.pop_front() else { return };
            self.memory_bytes -= oldest.weight();
            self.dropped += 1;
        }
    }
}

fn append_to(path: &Path) -> std::io::Result<BufWriter<File>> {
    let file = OpenOptions::new().create(true).append(true).open(path)?;
    Ok(BufWriter::with_capacity(1 << 20, file))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn commit(log: &Log, keys: &[&str], now: u64) -> u64 {
        let shard: Arc<str> = "shardId-000000000000".into();
        let origin = Origin { stream: &"s".into(), request: 7, access_key: &"test".into() };
        let batch = keys.iter().map(|key| Committing { shard: &shard, partition_key: key, data: b"YWI=" });
        log.commit(batch, &origin, now, |_| ())
    }

    #[test]
    fn a_line_holds_what_a_checker_reads() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("log");
        let mode = LogMode::Records { file: Some(file.clone()) };
        for round in 0..2 {
            let log = Log::open(&mode, 1 << 20, 5).unwrap();
            assert_eq!(commit(&log, &["p", "q"], 10), 1, "round {round}");
            log.flush().unwrap();
        }
        let text = std::fs::read_to_string(file).unwrap();
        assert_eq!(text.lines().count(), 4, "a second start appends");
        let line: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
        assert_eq!(
            line,
            serde_json::json!({"seq": 1, "time": 10, "stream": "s", "shard": "shardId-000000000000",
                "sequenceNumber": format!("{SEQUENCE_PREFIX}00000000000000000006"), "partitionKey": "p",
                "data": "YWI=", "request": 7, "accessKey": "test"})
        );
    }

    #[test]
    fn time_never_falls_and_sequence_numbers_grow() {
        let log = Log::open(&LogMode::Records { file: None }, 1 << 20, 1).unwrap();
        commit(&log, &["p"], 10);
        commit(&log, &["p"], 3);
        let records = log.after(0, 10);
        assert_eq!((records[0].time, records[1].time), (10, 10));
        assert!(records[0].sequence_number < records[1].sequence_number);
        assert_eq!(log.position(&records[1].sequence_number), Some(2));
        assert_eq!(log.after(1, 10).len(), 1);
        assert_eq!(records[0].bytes(), b"ab");
    }

    #[test]
    fn memory_holds_its_cap_and_counts_what_it_dropped() {
        let log = Log::open(&LogMode::Records { file: None }, 600, 1).unwrap();
        commit(&log, &["a", "b", "c", "d"], 1);
        assert_eq!(log.after(0, 10).iter().map(|record| record.seq).collect::<Vec<_>>(), [3, 4]);
        assert_eq!(log.losses(), (2, 0));
    }
}
