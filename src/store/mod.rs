//! Effects: the embedded store, fjall behind a small face. Layout and atomicity are known here; what is stored is not judged.
//!
//! One directory, one owner: the second process that opens it is refused. Every write is a [`Batch`]: all of it or nothing.

mod batch;
pub mod journal;
mod keys;
mod log;
mod members;
mod space;
#[cfg(test)]
mod tests;

use std::fs::{File, TryLockError};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use fjall::{Database, Keyspace, KeyspaceCreateOptions, Readable, Slice};
use jiff::Timestamp;

pub use batch::Batch;
pub use keys::{AudienceKey, ProfileKey};
pub use log::{Head, LogEntry};
pub use members::{MemberCursor, MemberFilter, Place};

/// The format that this binary writes. A store of a newer one is refused.
pub const FORMAT_VERSION: u32 = 1;

/// What the store must leave free on its disk, in bytes (1 GiB): the largest group of requests, and what is flushed and compacted
/// beside it. A write that fails for lack of room cannot be undone.
pub const RESERVED_DISK_BYTES: u64 = 1 << 30;

/// The file of the store that its owner locks.
const LOCK: &str = "lock";
/// How often, and how long after, it is tried to lock.
const LOCK_ATTEMPTS: u32 = 3;
const LOCK_PAUSE: Duration = Duration::from_millis(100);

/// Why the store could not be opened, read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process has it.
    #[error("data directory {0} is in use by another process: stop that one first, or give another --data-dir")]
    Locked(PathBuf),
    /// Written by a newer release.
    #[error(
        "data directory {path} has store format {found}; this release reads up to {FORMAT_VERSION}: use a newer release"
    )]
    TooNew {
        /// Which directory.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
    /// The directory cannot be made or written.
    #[error("data directory {path} cannot be used: {source}: check that it exists and that this user may write it")]
    Directory {
        /// Which directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// What is stored cannot be read.
    #[error(
        "data directory {path} is damaged: {source}: restore it from a backup, or start with an empty one and send all profiles again"
    )]
    Damaged {
        /// Which directory.
        path: PathBuf,
        /// Why.
        source: fjall::Error,
    },
    /// Its journal is torn, and whole writes lie behind the tear.
    #[error(
        "data directory {path} is damaged: {bytes} bytes of its journal cannot be read, and {behind} later writes lie behind them: \
         restore it from a backup, or run `activation-operator repair`, which says what would be lost"
    )]
    Torn {
        /// Which directory.
        path: PathBuf,
        /// What is torn, and what lies behind it.
        bytes: u64,
        /// Writes behind it.
        behind: u64,
    },
    /// A value in it has a wrong shape.
    #[error("the store holds a damaged {0}: restore it from a backup")]
    Value(&'static str),
    /// The disk has less than [`RESERVED_DISK_BYTES`] left.
    #[error(
        "the disk of the data directory is nearly full ({free} bytes free, {RESERVED_DISK_BYTES} are kept in reserve): free some space or enlarge the volume"
    )]
    Full {
        /// What is left.
        free: u64,
    },
    /// A block that was read is not what was written.
    #[error(
        "the store is damaged: {0}: restore its data directory from a backup, or start with an empty one and send all profiles again"
    )]
    Corrupt(fjall::Error),
    /// A read or a write failed.
    #[error("the store failed: {0}: see to the disk of the data directory, then start again")]
    Failed(fjall::Error),
    /// A write has failed before, so nothing is written any more: the process must start anew.
    #[error("the store has failed and takes no more writes: see to the disk of the data directory, then start again")]
    Poisoned,
}

impl StoreError {
    /// What `error`, met while `path` was opened, says about it.
    fn opening(path: &Path, error: fjall::Error) -> Self {
        let path = path.to_owned();
        match error {
            fjall::Error::Locked => Self::Locked(path),
            fjall::Error::Io(source) if !says_damage(&source) => Self::Directory { path, source },
            source => Self::Damaged { path, source },
        }
    }
}

impl From<fjall::Error> for StoreError {
    fn from(error: fjall::Error) -> Self {
        let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
        while let Some(found) = cause {
            if let Some(source) = found.downcast_ref::<io::Error>() {
                return if says_damage(source) { Self::Corrupt(error) } else { Self::Failed(error) };
            }
            cause = found.source();
        }
        match error {
            fjall::Error::Poisoned => Self::Poisoned,
            fjall::Error::KeyspaceDeleted | fjall::Error::Locked => Self::Failed(error),
            _ => Self::Corrupt(error),
        }
    }
}

/// Whether a file lacks something that must be there, where the disk itself is well.
fn says_damage(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidData, InvalidInput, NotFound, UnexpectedEof};
    matches!(error.kind(), NotFound | UnexpectedEof | InvalidData | InvalidInput)
}

/// The embedded store. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    path: PathBuf,
    db: Database,
    profiles: Keyspace,
    members: Keyspace,
    log: Keyspace,
    meta: Keyspace,
    dataflows: Keyspace,
    dead_letters: Keyspace,
    answers: Keyspace,
}

/// A profile as it is stored.
#[derive(Debug, Clone)]
pub struct StoredProfile {
    /// The version of its last change.
    pub version: u64,
    /// The receipt of its last change.
    pub time: Timestamp,
    value: Slice,
}

impl StoredProfile {
    /// The entity as JSON text.
    pub fn entity(&self) -> Result<&str, StoreError> {
        self.value
            .get(keys::PROFILE_HEADER..)
            .and_then(|bytes| std::str::from_utf8(bytes).ok())
            .ok_or(StoreError::Value("profile"))
    }
}

impl Store {
    /// Opens the store in `path`, making it where there is none.
    pub fn open(path: &Path, cache_bytes: u64) -> Result<Self, StoreError> {
        let directory = |source| StoreError::Directory { path: path.to_owned(), source };
        std::fs::create_dir_all(path).map_err(directory)?;
        space::probe_writable(path).map_err(directory)?;
        mend_journal(path)?;
        let opened = |error| StoreError::opening(path, error);
        // Some damage makes the recovery panic, where other damage is an error of it.
        let recovered = catch_unwind(AssertUnwindSafe(|| Database::builder(path).cache_size(cache_bytes).open()));
        let db = recovered.unwrap_or(Err(fjall::Error::Unrecoverable)).map_err(opened)?;
        let keyspace = |name: &str| db.keyspace(name, KeyspaceCreateOptions::default).map_err(opened);
        let inner = Inner {
            profiles: keyspace("profiles")?,
            members: keyspace("members")?,
            log: keyspace("log")?,
            meta: keyspace("meta")?,
            dataflows: keyspace("dataflows")?,
            dead_letters: keyspace("dead_letters")?,
            answers: keyspace("answers")?,
            path: path.to_owned(),
            db,
        };
        let store = Self { inner: Arc::new(inner) };
        store.check_format()?;
        Ok(store)
    }

    fn check_format(&self) -> Result<(), StoreError> {
        match self.inner.meta.get(keys::FORMAT)? {
            None => {
                let mut batch = self.batch();
                batch.set_format(FORMAT_VERSION);
                batch.commit()
            }
            Some(value) => {
                let bytes = value.as_ref().try_into().map_err(|_| StoreError::Value("format version"))?;
                match u32::from_be_bytes(bytes) {
                    FORMAT_VERSION => Ok(()),
                    found => Err(StoreError::TooNew { path: self.inner.path.clone(), found }),
                }
            }
        }
    }

    /// Starts a batch of writes.
    pub fn batch(&self) -> Batch {
        Batch::new(Arc::clone(&self.inner))
    }

    /// Fails where the disk is about to be full.
    pub fn check_space(&self) -> Result<(), StoreError> {
        space::check(&self.inner.path)
    }

    /// What the store takes on disk, in bytes.
    pub fn disk_bytes(&self) -> u64 {
        self.inner.db.disk_space().unwrap_or_default()
    }

    /// One profile.
    pub fn profile(&self, key: &ProfileKey) -> Result<Option<StoredProfile>, StoreError> {
        self.inner.profiles.get(key.as_bytes())?.map(decode_profile).transpose()
    }

    /// Everything as it is at one moment.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot { inner: Arc::clone(&self.inner), view: self.inner.db.snapshot() }
    }

    /// The state of a dataflow, as its owner wrote it.
    pub fn dataflow(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.inner.dataflows.get(name)?.map(|value| value.to_vec()))
    }

    /// The states of all dataflows, by name.
    pub fn dataflows(&self) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        self.inner
            .dataflows
            .iter()
            .map(|guard| {
                let (key, value) = guard.into_inner()?;
                let name = String::from_utf8(key.to_vec()).map_err(|_| StoreError::Value("dataflow's name"))?;
                Ok((name, value.to_vec()))
            })
            .collect()
    }

    /// The dead letters of a dataflow from sequence number `from` on, at most `limit`.
    pub fn dead_letters(&self, dataflow: &str, from: u64, limit: usize) -> Result<Vec<(u64, Vec<u8>)>, StoreError> {
        let (first, last) = keys::dead_letter_range(dataflow, from);
        self.inner
            .dead_letters
            .range(first..=last)
            .take(limit)
            .map(|guard| {
                let (key, value) = guard.into_inner()?;
                Ok((keys::trailing_u64(&key).ok_or(StoreError::Value("dead letter's key"))?, value.to_vec()))
            })
            .collect()
    }

    /// What was answered under an idempotency key, as its owner wrote it.
    pub fn answer(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.inner.answers.get(keys::answer(key))?.map(|value| value.to_vec()))
    }

    /// The idempotency keys that were written before `time`, at most `limit`, with the key of their expiry.
    pub fn answers_before(&self, time: Timestamp, limit: usize) -> Result<Vec<(Vec<u8>, String)>, StoreError> {
        let (first, last) = keys::expiry_range(time);
        self.inner
            .answers
            .range(first..last)
            .take(limit)
            .map(|guard| {
                let (key, value) = guard.into_inner()?;
                let name = String::from_utf8(value.to_vec()).map_err(|_| StoreError::Value("idempotency key"))?;
                Ok((key.to_vec(), name))
            })
            .collect()
    }

    /// How far a file of updates was taken up, as its owner wrote it.
    pub fn source(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.inner.meta.get(keys::source(name))?.map(|value| value.to_vec()))
    }
}

/// A consistent view of the store: profiles, index and head as they are at one position of the log.
pub struct Snapshot {
    inner: Arc<Inner>,
    view: fjall::Snapshot,
}

impl Snapshot {
    /// The head of the log at this moment.
    pub fn head(&self) -> Result<Head, StoreError> {
        log::decode_head(self.view.get(&self.inner.meta, keys::HEAD)?)
    }

    /// One profile.
    pub fn profile(&self, key: &ProfileKey) -> Result<Option<StoredProfile>, StoreError> {
        self.view.get(&self.inner.profiles, key.as_bytes())?.map(decode_profile).transpose()
    }
}

/// The lock of the directory, as long as it is held: who has it owns the store in it.
pub fn lock(path: &Path) -> Result<File, StoreError> {
    let directory = |source| StoreError::Directory { path: path.to_owned(), source };
    let file = File::options().read(true).write(true).open(path.join(LOCK)).map_err(directory)?;
    for attempt in 1..=LOCK_ATTEMPTS {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::Error(source)) => return Err(directory(source)),
            // The owner may be about to end.
            Err(TryLockError::WouldBlock) if attempt < LOCK_ATTEMPTS => std::thread::sleep(LOCK_PAUSE),
            Err(TryLockError::WouldBlock) => {}
        }
    }
    Err(StoreError::Locked(path.to_owned()))
}

/// Cuts off a write that a power failure left in part, which nobody was answered.
fn mend_journal(path: &Path) -> Result<(), StoreError> {
    let directory = |source| StoreError::Directory { path: path.to_owned(), source };
    if !path.join(LOCK).try_exists().map_err(directory)? {
        return Ok(());
    }
    // What somebody is writing is no tear.
    let _lock = lock(path)?;
    let Some(journal) = journal::survey(path).map_err(directory)? else { return Ok(()) };
    let Some(tear) = journal.tear else { return Ok(()) };
    let (bytes, behind) = (tear.bytes, tear.whole_writes_behind);
    if behind > 0 {
        return Err(StoreError::Torn { path: path.to_owned(), bytes, behind });
    }
    journal::cut(&journal).map_err(directory)?;
    let file = journal.path.display();
    tracing::warn!("{file}: the last write was not finished and is dropped: {bytes} bytes, which nobody was answered");
    Ok(())
}

fn decode_profile(value: Slice) -> Result<StoredProfile, StoreError> {
    let (version, time) = keys::decode_profile_header(&value).ok_or(StoreError::Value("profile"))?;
    Ok(StoredProfile { version, time, value })
}
