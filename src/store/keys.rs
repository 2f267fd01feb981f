//! Types: how keys and value headers are laid out. Numbers are big-endian, so that keys sort as numbers do; names carry their
//! length, so that no two lists of names make one key.

use jiff::Timestamp;

pub(super) const FORMAT: &str = "format";
pub(super) const HEAD: &str = "head";
pub(super) const FIRST: &str = "first";
/// A profile's value begins with the version (u64) and the receipt (i64 microseconds) of its last change.
pub(super) const PROFILE_HEADER: usize = 16;

/// The key of a profile: its merge policy, then its id.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ProfileKey(Vec<u8>);

impl ProfileKey {
    /// Of one profile under one merge policy.
    pub fn new(merge_policy_id: &str, profile_id: &str) -> Self {
        let mut key = Vec::with_capacity(2 + merge_policy_id.len() + profile_id.len());
        push_name(&mut key, merge_policy_id);
        key.extend_from_slice(profile_id.as_bytes());
        Self(key)
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// What the keys of an audience's members begin with.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct AudienceKey(Vec<u8>);

impl AudienceKey {
    /// Of one audience under one merge policy.
    pub fn new(merge_policy_id: &str, namespace: &str, id: &str) -> Self {
        let mut key = Vec::with_capacity(6 + merge_policy_id.len() + namespace.len() + id.len());
        push_name(&mut key, merge_policy_id);
        push_name(&mut key, namespace);
        push_name(&mut key, id);
        Self(key)
    }

    /// The key of one member.
    pub(super) fn member(&self, profile_id: &[u8]) -> Vec<u8> {
        [self.0.as_slice(), profile_id].concat()
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Names are bounded far below 64 KiB where they come in (`profile::update::MAX_ID_BYTES`).
fn push_name(key: &mut Vec<u8>, name: &str) {
    key.extend_from_slice(&(name.len() as u16).to_be_bytes());
    key.extend_from_slice(name.as_bytes());
}

pub(super) fn profile_header(version: u64, time: Timestamp) -> [u8; PROFILE_HEADER] {
    let mut header = [0; PROFILE_HEADER];
    let (left, right) = header.split_at_mut(8);
    left.copy_from_slice(&version.to_be_bytes());
    right.copy_from_slice(&time.as_microsecond().to_be_bytes());
    header
}

pub(super) fn decode_profile_header(value: &[u8]) -> Option<(u64, Timestamp)> {
    let version = u64::from_be_bytes(value.get(..8)?.try_into().ok()?);
    let micros = i64::from_be_bytes(value.get(8..16)?.try_into().ok()?);
    Some((version, Timestamp::from_microsecond(micros).ok()?))
}

pub(super) fn dead_letter(dataflow: &str, sequence: u64) -> Vec<u8> {
    let mut key = Vec::with_capacity(10 + dataflow.len());
    push_name(&mut key, dataflow);
    key.extend_from_slice(&sequence.to_be_bytes());
    key
}

pub(super) fn dead_letter_range(dataflow: &str, from: u64) -> (Vec<u8>, Vec<u8>) {
    (dead_letter(dataflow, from), dead_letter(dataflow, u64::MAX))
}

pub(super) fn trailing_u64(key: &[u8]) -> Option<u64> {
    key.last_chunk().map(|bytes| u64::from_be_bytes(*bytes))
}

/// Answers sort behind expiries: `a` + key, against `E` + time + key.
pub(super) fn answer(key: &str) -> Vec<u8> {
    [b"a", key.as_bytes()].concat()
}

pub(super) fn expiry(time: Timestamp, key: &str) -> Vec<u8> {
    [b"E".as_slice(), &micros(time), key.as_bytes()].concat()
}

pub(super) fn expiry_range(before: Timestamp) -> (Vec<u8>, Vec<u8>) {
    (b"E".to_vec(), [b"E".as_slice(), &micros(before)].concat())
}

/// Microseconds since the epoch; earlier ones, which no clock of a hub gives, sort as the epoch.
fn micros(time: Timestamp) -> [u8; 8] {
    time.as_microsecond().max(0).to_be_bytes()
}

pub(super) fn source(name: &str) -> String {
    format!("source:{name}")
}
