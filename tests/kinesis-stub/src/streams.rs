//! Types and pure decisions: streams, their shards, and which shard a key falls on.
//! Knows nothing of requests; the only state it changes is its own.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use md5::{Digest, Md5};
use parking_lot::{Mutex, RwLock};

use crate::error::ApiError;
use crate::limits::Bucket;
use crate::log::Record;

/// A record's largest size, partition key included, where a stream says nothing else.
pub const DEFAULT_MAX_RECORD_BYTES: u64 = 1 << 20;
/// The largest number of shards that a stream may be given here; keeps a typing error from eating the memory.
pub(crate) const MAX_SHARDS: usize = 10_000;

/// A stream to create.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamSpec {
    /// Its name.
    pub name: String,
    /// Open shards, 1 or more.
    pub shards: usize,
    /// The largest record in bytes, partition key included, before base64.
    pub max_record_bytes: u64,
    /// Capacity mode `ON_DEMAND` instead of `PROVISIONED`; only told, not acted on.
    pub on_demand: bool,
    /// Whether `ListStreams` tells of it; a stream of another account is not listed.
    pub listed: bool,
}

impl StreamSpec {
    /// A listed, provisioned stream with the usual record size.
    pub fn new(name: impl Into<String>, shards: usize) -> Self {
        Self { name: name.into(), shards, max_record_bytes: DEFAULT_MAX_RECORD_BYTES, on_demand: false, listed: true }
    }
}

/// A shard: a range of hashes, and what is kept of its records.
#[derive(Debug)]
pub(crate) struct Shard {
    pub(crate) id: Arc<str>,
    /// First and last hash, both inside.
    pub(crate) range: (u128, u128),
    pub(crate) parents: Vec<Arc<str>>,
    /// The position at which it was opened.
    pub(crate) opened: u64,
    /// The position at which a reshard closed it; 0 while open.
    pub(crate) closed: AtomicU64,
    pub(crate) records: Mutex<VecDeque<Arc<Record>>>,
    pub(crate) bucket: Mutex<Bucket>,
}

impl Shard {
    fn open(index: usize, range: (u128, u128), parents: Vec<Arc<str>>, opened: u64) -> Arc<Self> {
        Arc::new(Self {
            id: format!("shardId-{index:012}").into(),
            range,
            parents,
            opened,
            closed: AtomicU64::new(0),
            records: Mutex::default(),
            bucket: Mutex::default(),
        })
    }

    pub(crate) fn closed_at(&self) -> Option<u64> {
        Some(self.closed.load(Ordering::Acquire)).filter(|at| *at > 0)
    }
}

/// All shards of a stream, closed ones first, and the open ones by their range.
#[derive(Debug, Default)]
pub(crate) struct Shards {
    pub(crate) all: Vec<Arc<Shard>>,
    /// Ordered by range; covers the whole hash space.
    pub(crate) open: Vec<Arc<Shard>>,
}

impl Shards {
    /// Splits the hash space evenly into `count`, closing what was open at position `at`.
    fn reshard(&mut self, count: usize, at: u64) {
        let old = std::mem::take(&mut self.open);
        for (step, range) in even_ranges(count).into_iter().enumerate() {
            let parents = old
                .iter()
                .filter(|parent| parent.range.0 <= range.1 && range.0 <= parent.range.1)
                .take(2)
                .map(|parent| parent.id.clone())
                .collect();
            let shard = Shard::open(self.all.len() + step, range, parents, at);
            self.open.push(shard);
        }
        self.all.extend(self.open.iter().cloned());
        for shard in old {
            shard.closed.store(at.max(1), Ordering::Release);
        }
    }

    /// The place among the open shards that `hash` falls on.
    pub(crate) fn place(&self, hash: u128) -> usize {
        self.open.partition_point(|shard| shard.range.1 < hash).min(self.open.len().saturating_sub(1))
    }
}

/// A stream.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) name: Arc<str>,
    pub(crate) arn: String,
    pub(crate) on_demand: bool,
    pub(crate) listed: bool,
    /// Unix microseconds.
    pub(crate) created: u64,
    pub(crate) max_record_bytes: AtomicU64,
    pub(crate) shards: RwLock<Shards>,
    /// Bytes kept for `GetRecords`.
    pub(crate) kept: AtomicU64,
}

impl Stream {
    /// Reshards at once. Errors: `InvalidArgumentException` for a count out of range.
    pub(crate) fn reshard(&self, count: usize, next: &AtomicU64) -> Result<usize, ApiError> {
        check_count(count)?;
        let mut shards = self.shards.write();
        let before = shards.open.len();
        // Read under the lock: every put of this stream holds it while it takes its positions.
        shards.reshard(count, next.load(Ordering::Acquire));
        Ok(before)
    }

    /// Drops the oldest records of the fullest shard until at most `cap` bytes are kept; says how many went.
    pub(crate) fn trim(&self, shards: &Shards, cap: u64) -> u64 {
        let mut dropped = 0;
        while self.kept.load(Ordering::Relaxed) > cap {
            let Some(shard) = shards.all.iter().max_by_key(|shard| shard.records.lock().len()) else { break };
            let Some(oldest) = shard.records.lock().pop_front() else { break };
            self.kept.fetch_sub(oldest.weight(), Ordering::Relaxed);
            dropped += 1;
        }
        dropped
    }
}

/// The streams by name.
#[derive(Debug)]
pub(crate) struct Streams {
    by_name: RwLock<BTreeMap<String, Arc<Stream>>>,
    region: String,
    account: String,
}

impl Streams {
    pub(crate) fn new(region: String, account: String) -> Self {
        Self { by_name: RwLock::default(), region, account }
    }

    pub(crate) fn account(&self) -> &str {
        &self.account
    }

    pub(crate) fn arn(&self, name: &str) -> String {
        format!("arn:aws:kinesis:{}:{}:stream/{name}", self.region, self.account)
    }

    /// Creates a stream that is active at once. Errors: a bad name or count, `ResourceInUseException`.
    pub(crate) fn create(&self, spec: &StreamSpec, now: u64) -> Result<Arc<Stream>, ApiError> {
        check_name(&spec.name)?;
        check_count(spec.shards)?;
        let mut shards = Shards::default();
        shards.reshard(spec.shards, 0);
        let stream = Arc::new(Stream {
            name: spec.name.as_str().into(),
            arn: self.arn(&spec.name),
            on_demand: spec.on_demand,
            listed: spec.listed,
            created: now,
            max_record_bytes: AtomicU64::new(spec.max_record_bytes),
            shards: RwLock::new(shards),
            kept: AtomicU64::new(0),
        });
        let mut by_name = self.by_name.write();
        if by_name.contains_key(&spec.name) {
            let message = format!("Stream {} under account {} already exists.", spec.name, self.account);
            return Err(ApiError::new("ResourceInUseException", message));
        }
        by_name.insert(spec.name.clone(), stream.clone());
        Ok(stream)
    }

    pub(crate) fn delete(&self, name: &str) -> Result<(), ApiError> {
        self.by_name.write().remove(name).map(drop).ok_or_else(|| ApiError::no_stream(name, &self.account))
    }

    pub(crate) fn find(&self, name: &str) -> Result<Arc<Stream>, ApiError> {
        self.by_name.read().get(name).cloned().ok_or_else(|| ApiError::no_stream(name, &self.account))
    }

    /// Up to `limit` listed streams after a name, in order of their names, and whether there are more.
    pub(crate) fn page(&self, after: Option<&str>, limit: usize) -> (Vec<Arc<Stream>>, bool) {
        let by_name = self.by_name.read();
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut found: Vec<_> = by_name
            .range::<str, _>((from, Bound::Unbounded))
            .map(|(_, stream)| stream)
            .filter(|stream| stream.listed)
            .take(limit + 1)
            .cloned()
            .collect();
        let more = found.len() > limit;
        found.truncate(limit);
        (found, more)
    }
}

/// Where a partition key falls in the hash space.
pub(crate) fn hash(partition_key: &str) -> u128 {
    u128::from_be_bytes(Md5::digest(partition_key.as_bytes()).into())
}

/// The stream's name out of its ARN. Errors: `ValidationException`.
pub(crate) fn name_of_arn(arn: &str) -> Result<&str, ApiError> {
    let parts: Vec<&str> = arn.splitn(6, ':').collect();
    match parts.as_slice() {
        ["arn", _, "kinesis", _, _, resource] => resource.strip_prefix("stream/").filter(|name| !name.is_empty()),
        _ => None,
    }
    .ok_or_else(|| {
        ApiError::constraint(
            Some(arn),
            "streamARN",
            "Member must satisfy regular expression pattern: arn:aws.*:kinesis:.*:\\d{12}:stream/\\S+",
        )
    })
}

/// Checks a stream's name. Errors: `ValidationException`.
pub(crate) fn check_name(name: &str) -> Result<(), ApiError> {
    if name.is_empty() {
        return Err(ApiError::constraint(
            Some(name),
            "streamName",
            "Member must have length greater than or equal to 1",
        ));
    }
    if name.len() > 128 {
        return Err(ApiError::constraint(
            Some(name),
            "streamName",
            "Member must have length less than or equal to 128",
        ));
    }
    if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte)) {
        let rule = "Member must satisfy regular expression pattern: [a-zA-Z0-9_.-]+";
        return Err(ApiError::constraint(Some(name), "streamName", rule));
    }
    Ok(())
}

fn check_count(count: usize) -> Result<(), ApiError> {
    if (1..=MAX_SHARDS).contains(&count) {
        return Ok(());
    }
    Err(ApiError::invalid(format!("A stream takes 1 to {MAX_SHARDS} shards, not {count}.")))
}

/// `count` ranges of the hash space, as even as whole numbers allow.
fn even_ranges(count: usize) -> Vec<(u128, u128)> {
    let count = count as u128;
    // 2^128 / count, without 2^128: one above what a u128 holds.
    let width = if count == 1 { u128::MAX } else { u128::MAX / count + u128::from(u128::MAX % count + 1 == count) };
    (0..count).map(|step| (step * width, if step + 1 == count { u128::MAX } else { (step + 1) * width - 1 })).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn three_shards_have_the_ranges_that_the_service_gives() {
        assert_eq!(
            even_ranges(3),
            [
                (0, 113_427_455_640_312_821_154_458_202_477_256_070_484),
                (
                    113_427_455_640_312_821_154_458_202_477_256_070_485,
                    226_854_911_280_625_642_308_916_404_954_512_140_969
                ),
                (226_854_911_280_625_642_308_916_404_954_512_140_970, u128::MAX),
            ]
        );
        assert_eq!(even_ranges(2)[1].0, 1 << 127);
        assert_eq!(even_ranges(1), [(0, u128::MAX)]);
    }

    #[test]
    fn a_key_falls_on_the_shard_whose_range_holds_its_md5() {
        // The MD5 of the empty string and of "a", as RFC 1321 gives them.
        assert_eq!(hash(""), 0xd41d_8cd9_8f00_b204_e980_0998_ecf8_427e);
        assert_eq!(hash("a"), 0x0cc1_75b9_c0f1_b6a8_31c3_99e2_6977_2661);
        let mut shards = Shards::default();
        shards.reshard(4, 0);
        assert_eq!(shards.place(hash("a")), 0);
        assert_eq!(shards.place(hash("")), 3);
        for (place, shard) in shards.open.iter().enumerate() {
            assert_eq!((shards.place(shard.range.0), shards.place(shard.range.1)), (place, place));
        }
    }

    #[test]
    fn a_reshard_closes_the_parents_and_covers_the_space_again() {
        let mut shards = Shards::default();
        shards.reshard(2, 0);
        shards.reshard(3, 17);
        assert_eq!(shards.all.len(), 5);
        assert_eq!(shards.all[0].closed_at(), Some(17));
        assert_eq!(&*shards.open[1].id, "shardId-000000000003");
        assert_eq!(shards.open[1].parents.len(), 2);
        assert_eq!((shards.open[0].range.0, shards.open[2].range.1), (0, u128::MAX));
        assert!(shards.open.iter().all(|shard| shard.closed_at().is_none()));
    }

    #[test]
    fn names_page_in_order_and_hide_the_unlisted() {
        let streams = Streams::new("r".into(), "000000000000".into());
        for name in ["c", "a", "b", "d"] {
            streams.create(&StreamSpec { listed: name != "b", ..StreamSpec::new(name, 1) }, 0).unwrap();
        }
        let names = |page: &[Arc<Stream>]| page.iter().map(|stream| stream.name.to_string()).collect::<String>();
        let (first, more) = streams.page(None, 2);
        assert_eq!((names(&first).as_str(), more), ("ac", true));
        let (rest, more) = streams.page(Some("c"), 2);
        assert_eq!((names(&rest).as_str(), more), ("d", false));
        assert_eq!(streams.create(&StreamSpec::new("a", 1), 0).unwrap_err().kind, "ResourceInUseException");
        assert!(streams.create(&StreamSpec::new("x", 0), 0).is_err());
    }
}
