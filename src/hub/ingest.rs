//! Types: a request to take up profile updates, and its answer.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::store::StoreError;

/// The largest request body, unpacked, in bytes (16 MiB).
pub const MAX_BODY_BYTES: usize = 16 << 20;

/// The most that one request may write, in bytes (256 MiB): many small updates of one large profile write it many times.
pub const MAX_WRITE_BYTES: usize = 256 << 20;

/// How many rejected lines an answer lists.
pub const MAX_LISTED: usize = 100;

/// The longest idempotency key, in bytes.
pub const MAX_KEY_BYTES: usize = 256;

/// Updates to be taken up together, all or (where the body breaks off) none.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// NDJSON: one update a line.
    pub body: Bytes,
    /// Under which the first answer is repeated for a day.
    pub idempotency_key: Option<String>,
    /// The file that the lines come from and how far it is read with them, kept with what they write.
    pub source: Option<Source>,
}

/// How far a file is read.
#[derive(Debug, Clone)]
pub struct Source {
    /// Which file.
    pub name: String,
    /// How far, as the reader writes it.
    pub progress: Vec<u8>,
}

/// What became of a request.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Answer {
    /// How many lines were taken up. They are durable.
    pub accepted: u64,
    /// The first [`MAX_LISTED`] lines that were not.
    pub rejected: Vec<Rejected>,
    /// How many lines were not.
    pub rejected_count: u64,
    /// The position of the last change that stands in the log.
    pub position: u64,
}

/// One line that was not taken up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejected {
    /// Its number, from 1.
    pub line: u64,
    /// What is wrong and how to mend it.
    pub error: String,
}

/// Why a request was not taken up at all. It changed nothing.
#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    /// The queue is full.
    #[error("too many updates wait to be written: send this request again in a moment")]
    Busy,
    /// The hub stops, or its store failed.
    #[error("the hub takes no updates at this moment: send this request again later")]
    Closed,
    /// The disk is full.
    #[error("{0}")]
    Full(StoreError),
    /// The request would write too much at once.
    #[error("the request would write more than {MAX_WRITE_BYTES} bytes: send it in smaller parts")]
    TooMuch,
    /// The idempotency key was used with another body.
    #[error("the Idempotency-Key was used with another body: use a new key for a new request")]
    KeyReused,
}

/// The lines of a body with their numbers; blank ones are passed over.
pub fn lines(body: &[u8]) -> impl Iterator<Item = (u64, &[u8])> {
    body.split(|byte| *byte == b'\n')
        .zip(1..)
        .map(|(line, number)| (number, line.strip_suffix(b"\r").unwrap_or(line)))
        .filter(|(_, line)| !line.trim_ascii().is_empty())
}
