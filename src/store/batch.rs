//! Effects: one atomic write. Nothing of it is seen, by this process or after a crash, unless all of it is.

use std::sync::Arc;

use fjall::{Keyspace, PersistMode, Slice};
use jiff::Timestamp;

use super::keys::{self, AudienceKey, ProfileKey};
use super::log::{self, Head};
use super::{Inner, StoreError, members};
use crate::profile::entity::Status;

/// Writes that happen together.
pub struct Batch {
    inner: Arc<Inner>,
    writes: Vec<Write>,
    bytes: usize,
}

/// One key, and its new value; `None` removes it.
struct Write {
    keyspace: Keyspace,
    key: Slice,
    value: Option<Slice>,
}

impl Batch {
    pub(super) fn new(inner: Arc<Inner>) -> Self {
        Self { inner, writes: Vec::new(), bytes: 0 }
    }

    fn insert(&mut self, keyspace: fn(&Inner) -> &Keyspace, key: impl Into<Slice>, value: impl Into<Slice>) {
        let (key, value) = (key.into(), value.into());
        self.bytes += key.len() + value.len();
        self.writes.push(Write { keyspace: keyspace(&self.inner).clone(), key, value: Some(value) });
    }

    fn remove(&mut self, keyspace: fn(&Inner) -> &Keyspace, key: impl Into<Slice>) {
        let key = key.into();
        self.bytes += key.len();
        self.writes.push(Write { keyspace: keyspace(&self.inner).clone(), key, value: None });
    }

    /// What was put into it so far, keys and values, in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }

    /// Adds all that `other` holds, behind what is here.
    pub fn absorb(&mut self, other: Self) {
        self.bytes += other.bytes;
        self.writes.extend(other.writes);
    }

    /// Writes a profile's entity.
    pub fn put_profile(&mut self, key: &ProfileKey, version: u64, time: Timestamp, entity: &[u8]) {
        let value = [keys::profile_header(version, time).as_slice(), entity].concat();
        self.insert(|inner| &inner.profiles, key.as_bytes(), value);
    }

    /// Removes a profile.
    pub fn remove_profile(&mut self, key: &ProfileKey) {
        self.remove(|inner| &inner.profiles, key.as_bytes());
    }

    /// Writes one membership to the index, with the version of the change that made it so; `None` removes it.
    pub fn index_member(&mut self, audience: &AudienceKey, profile_id: &str, status: Option<Status>, version: u64) {
        let key = audience.member(profile_id.as_bytes());
        match status {
            Some(status) => self.insert(|inner| &inner.members, key, members::value(status, version).as_slice()),
            None => self.remove(|inner| &inner.members, key),
        }
    }

    /// Appends a change to the log and moves `head` behind it.
    pub fn append(&mut self, head: &mut Head, time: Timestamp, change: &[u8]) {
        head.bytes += change.len() as u64;
        let value = log::value(head.bytes, time, change);
        self.insert(|inner| &inner.log, head.next.to_be_bytes(), value);
        head.next += 1;
        head.time = time;
    }

    /// Removes the positions of the log below `end`, which begins with `first`.
    pub fn trim(&mut self, first: u64, end: u64) {
        for position in first..end {
            self.remove(|inner| &inner.log, position.to_be_bytes());
        }
        // Told, not searched: what was removed lies in the way of a search for a long time.
        self.insert(|inner| &inner.meta, keys::FIRST, end.to_be_bytes());
    }

    /// Writes the head of the log, once per batch that appended.
    pub fn set_head(&mut self, head: &Head) {
        self.insert(|inner| &inner.meta, keys::HEAD, head.encode());
    }

    pub(super) fn set_format(&mut self, version: u32) {
        self.insert(|inner| &inner.meta, keys::FORMAT, version.to_be_bytes());
    }

    /// Writes the state of a dataflow.
    pub fn put_dataflow(&mut self, name: &str, state: &[u8]) {
        self.insert(|inner| &inner.dataflows, name, state);
    }

    /// Forgets a dataflow.
    pub fn remove_dataflow(&mut self, name: &str) {
        self.remove(|inner| &inner.dataflows, name);
    }

    /// Writes a dead letter.
    pub fn put_dead_letter(&mut self, dataflow: &str, sequence: u64, letter: &[u8]) {
        self.insert(|inner| &inner.dead_letters, keys::dead_letter(dataflow, sequence), letter);
    }

    /// Removes a dead letter.
    pub fn remove_dead_letter(&mut self, dataflow: &str, sequence: u64) {
        self.remove(|inner| &inner.dead_letters, keys::dead_letter(dataflow, sequence));
    }

    /// Keeps what was answered under an idempotency key since `time`.
    pub fn put_answer(&mut self, key: &str, time: Timestamp, answer: &[u8]) {
        self.insert(|inner| &inner.answers, keys::answer(key), answer);
        self.insert(|inner| &inner.answers, keys::expiry(time, key), key);
    }

    /// Forgets what was answered under an idempotency key; `expiry` is the key that [`super::Store::answers_before`] gave.
    pub fn remove_answer(&mut self, expiry: &[u8], key: &str) {
        self.remove(|inner| &inner.answers, keys::answer(key));
        self.remove(|inner| &inner.answers, expiry);
    }

    /// Keeps how far a file of updates was taken up.
    pub fn put_source(&mut self, name: &str, progress: &[u8]) {
        self.insert(|inner| &inner.meta, keys::source(name), progress);
    }

    /// Makes it all durable: when this returns, a power failure changes nothing.
    pub fn commit(self) -> Result<(), StoreError> {
        // The journal's data and size, which is all that reading it back takes.
        self.write(Some(PersistMode::SyncData))
    }

    /// Writes without waiting for the disk: for what can be done again after a crash, such as trimming.
    pub fn commit_lazily(self) -> Result<(), StoreError> {
        self.write(None)
    }

    fn write(self, durability: Option<PersistMode>) -> Result<(), StoreError> {
        let mut batch = self.inner.db.batch().durability(durability);
        for write in self.writes {
            match write.value {
                Some(value) => batch.insert(&write.keyspace, write.key, value),
                None => batch.remove(&write.keyspace, write.key),
            }
        }
        Ok(batch.commit()?)
    }
}
