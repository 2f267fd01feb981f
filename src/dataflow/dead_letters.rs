//! Types: a record that could not be delivered, and how it is kept.
//!
//! A dead letter is written in one batch with the position that moves over it: never lost, never doubled by a replay.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::DataflowError;
use crate::store::{Batch, Store};

/// A record that could not be delivered.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeadLetter {
    /// Its number within the dataflow, from 1.
    pub sequence: u64,
    /// Whose it is; empty where the change itself could not be read.
    pub profile_id: String,
    /// Under which merge policy.
    pub merge_policy_id: String,
    /// The version of the profile that it tells.
    pub version: u64,
    /// What triggered it.
    pub triggers: Vec<String>,
    /// The exits that it tells: namespace and audience id.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exits: Vec<(String, String)>,
    /// Why it could not be delivered: a name from a bounded list.
    pub reason: String,
    /// The same in a sentence, with the mend.
    pub message: String,
    /// How often it was tried.
    pub attempts: u32,
    /// When it was given up.
    pub time: Timestamp,
    /// The partition key.
    pub partition_key: String,
    /// The record, as it would have been sent.
    pub record: Box<RawValue>,
}

impl PartialEq for DeadLetter {
    fn eq(&self, other: &Self) -> bool {
        self.sequence == other.sequence && self.profile_id == other.profile_id && self.version == other.version
    }
}

impl Eq for DeadLetter {}

/// Which dead letters are meant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Selection {
    /// These.
    Sequences(Vec<u64>),
    /// All that are there now.
    All,
}

impl fmt::Display for Selection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::Sequences(sequences) => write!(f, "{sequences:?}"),
        }
    }
}

/// How many dead letters are read at once.
pub const PAGE: usize = 500;

/// The dead letters of a dataflow from the number `from` on, at most `limit`, the oldest first.
pub fn list(store: &Store, dataflow: &str, from: u64, limit: usize) -> Result<Vec<DeadLetter>, DataflowError> {
    store
        .dead_letters(dataflow, from, limit)?
        .into_iter()
        .map(|(_, text)| serde_json::from_slice(&text).map_err(DataflowError::Damaged))
        .collect()
}

/// How many there are, and when the oldest was written.
pub fn count(store: &Store, dataflow: &str) -> Result<(u64, Option<Timestamp>), DataflowError> {
    let oldest = list(store, dataflow, 0, 1)?.first().map(|letter| letter.time);
    let (mut count, mut from) = (0, 0);
    loop {
        let page = store.dead_letters(dataflow, from, PAGE)?;
        count += page.len() as u64;
        match page.last() {
            Some((last, _)) if page.len() == PAGE => from = last + 1,
            _ => return Ok((count, oldest)),
        }
    }
}

/// Adds a dead letter to what is written next.
pub(super) fn put(batch: &mut Batch, dataflow: &str, letter: &DeadLetter) -> Result<(), DataflowError> {
    let text = serde_json::to_vec(letter).map_err(DataflowError::Damaged)?;
    batch.put_dead_letter(dataflow, letter.sequence, &text);
    Ok(())
}
