//! A fast stand-in for Amazon Kinesis Data Streams: real signatures, real limits, faults on demand, and an ordered log
//! of what was committed for a checker to read.
//!
//! A request's way: `server` reads it, `service` knows whose it is (`sigv4`, `keys`) and what it asks
//! (`scan`), `faults` may end it, `put` or `actions` carries it out on `streams`, and `log` gives every
//! record its place. `control` and [`Stub`] are the two handles on it.
//!
//! # As a library
//!
//! ```no_run
//! # async fn example() -> Result<(), kinesis_stub::StartError> {
//! use kinesis_stub::{Config, Fault, Kind, StreamSpec, Stub};
//! let stub = Stub::start(Config { streams: vec![StreamSpec::new("orders", 4)], ..Config::default() }).await?;
//! stub.set_faults(vec![Fault::new(Kind::CommitThenTimeout { answer_after_ms: None }).times(1).on_action("PutRecords")]);
//! // … a client at `stub.url()`, key `test`, secret `test` …
//! assert!(stub.records().is_empty());
//! # Ok(()) }
//! ```
//!
//! # As a program
//!
//! `kinesis-stub --listen 127.0.0.1:0 --stream orders:4 --key writer:secret:ListStreams,PutRecord,PutRecords --log committed.ndjson`
//! prints `{"listening": "http://127.0.0.1:…"}` as its first line and runs until SIGTERM or Ctrl-C. `--help` tells every flag.
//! `--no-log` keeps nothing and checks base64 by its length alone; with `--no-verify` it is the mode for benchmarks, which must
//! not measure the stub: hashing a body to check its signature costs as much as everything that a client does with it.
//! `--faults JSON` sets faults from the start, in the form below.
//!
//! # The log
//!
//! One JSON object a line, in commit order: [`Record`]. `seq` counts from 1 over all streams, `time` (Unix microseconds, at the
//! commit) never falls, entries of one request share `request`. A second start appends and counts from 1 again;
//! `sequenceNumber` grows on. The file is behind by 50 ms at most; `POST /_stub/flush` or [`Stub::flush`] brings it up to date.
//!
//! # The control paths
//!
//! Unsigned, on the same port, JSON in and out; a mistake is 400 with `{"message"}`.
//!
//! | request | what it does |
//! | --- | --- |
//! | `GET /_stub/stats` | the counters: [`Snapshot`] |
//! | `GET /_stub/records?after=SEQ&limit=N` | committed records as the log has them, from memory |
//! | `PUT /_stub/faults` | replaces every fault; `DELETE` clears them |
//! | `PUT /_stub/keys/ID` | adds or replaces a key: [`KeySpec`], such as `{"secret": "s", "allowed": ["PutRecords"]}`; without `secret` the old one stays, everything else is replaced. `DELETE` removes it |
//! | `PUT /_stub/roles` | replaces every role: [`RoleSpec`] by ARN |
//! | `PUT /_stub/streams/NAME` | `{"shards"?, "maxRecordBytes"?}`: creates a stream, or reshards and limits one that is there. `DELETE` removes it |
//! | `POST /_stub/flush` | hands the log's file to the operating system |
//!
//! # Faults
//!
//! A list, or `{"seed": 7, "faults": […]}`, of
//! `{"fault": {"kind": …}, "when": {"action"?, "stream"?, "accessKey"?}, "probability"?, "count"?}`. Equal seeds and equal
//! requests meet equal faults; `count` is used up only by requests that were struck. The kinds, with their fields, are [`Kind`]:
//!
//! | what happens | kinds |
//! | --- | --- |
//! | the whole request is refused, nothing is written | `throttleRequest`, `denied`, `expiredToken`, `status` (500, 503), `kms`, `streamDeleted`, `poisonRequest`, `error` (any exception) |
//! | single entries fail | `throttleEntries` (a shard's, or a share of all), `scattered`, `suffix`, `poisonEntry` |
//! | no answer, nothing written | `blackhole`, `resetBefore` |
//! | no answer, but written | `commitThenTimeout`, `resetAfter` |
//! | slow | `latency` |
//!
//! Not faults, but as real: a key's `allowed` actions and `expired`, `--shard-limits` (1,000 records and 1 MiB a second and
//! shard), a stream's largest record, a reshard.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

mod actions;
pub mod cli;
mod clock;
mod control;
mod error;
mod faults;
mod keys;
mod limits;
mod log;
mod put;
mod scan;
mod server;
mod service;
mod sigv4;
mod stats;
mod streams;
mod sts;

pub use error::ApiError;
pub use faults::{Break, EntryError, Fault, FaultSet, Kind, KmsError, When};
pub use keys::{KeySpec, RoleSpec, Secret};
pub use log::{LogMode, Record};
pub use stats::Snapshot;
pub use streams::{DEFAULT_MAX_RECORD_BYTES, StreamSpec};

use service::{Service, Settings};

/// How a stub runs.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where it listens; port 0 lets the system choose.
    pub listen: SocketAddr,
    /// Streams that are there from the start.
    pub streams: Vec<StreamSpec>,
    /// Keys by id. Without any there is one, `test` with secret `test`, that may do everything.
    pub keys: Vec<(String, KeySpec)>,
    /// Roles by ARN.
    pub roles: BTreeMap<String, RoleSpec>,
    /// Whether signatures are checked. Without, everybody may do everything.
    pub verify: bool,
    /// What becomes of committed records.
    pub log: LogMode,
    /// Whether a shard takes 1,000 records and 1 MiB a second only.
    pub shard_limits: bool,
    /// Whether `ListStreams` leaves its summaries out, as older servers do.
    pub omit_summaries: bool,
    /// The largest sum of partition keys and decoded data of one request, in bytes.
    pub max_request_bytes: u64,
    /// What a stream keeps for `GetRecords`, in bytes; 0 keeps nothing.
    pub retention_bytes: u64,
    /// What [`Stub::records`] keeps, in bytes; 0 keeps nothing. Records are shared with the streams, not copied.
    pub memory_bytes: u64,
    /// Faults in force from the start.
    pub faults: FaultSet,
    /// The region in ARNs; requests of any region are taken.
    pub region: String,
    /// The account in ARNs.
    pub account: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            streams: Vec::new(),
            keys: Vec::new(),
            roles: BTreeMap::new(),
            verify: true,
            log: LogMode::Records { file: None },
            shard_limits: false,
            omit_summaries: false,
            max_request_bytes: 10 << 20,
            retention_bytes: 2 << 30,
            memory_bytes: 2 << 30,
            faults: FaultSet::default(),
            region: "us-east-1".to_owned(),
            account: "000000000000".to_owned(),
        }
    }
}

/// Why a stub does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address is taken or not ours.
    #[error("cannot listen on {address}")]
    Listen {
        /// What was asked for.
        address: SocketAddr,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The log's file cannot be opened for appending.
    #[error("cannot open the log")]
    Log(#[from] std::io::Error),
    /// A stream of the configuration cannot be created.
    #[error("cannot create a stream")]
    Stream(#[from] ApiError),
}

/// A running stub. Dropping it stops it; [`Stub::shutdown`] also waits and tells whether the log was written.
#[derive(Debug)]
pub struct Stub {
    service: Arc<Service>,
    address: SocketAddr,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Stub {
    /// Starts a stub on the current runtime.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        let now = clock::now_micros();
        let service = Service {
            streams: streams::Streams::new(config.region, config.account),
            keys: keys::Keys::default(),
            faults: faults::Faults::default(),
            log: log::Log::open(&config.log, config.memory_bytes, now)?,
            stats: stats::Stats::default(),
            settings: Settings {
                verify: config.verify,
                shard_limits: config.shard_limits,
                omit_summaries: config.omit_summaries,
                max_request_bytes: config.max_request_bytes,
                retention_bytes: config.retention_bytes,
            },
        };
        for stream in &config.streams {
            service.streams.create(stream, now)?;
        }
        if config.keys.is_empty() {
            service.keys.put("test", KeySpec::new("test"));
        }
        for (id, key) in config.keys {
            service.keys.put(&id, key);
        }
        service.keys.replace_roles(config.roles);
        service.faults.replace(config.faults);

        let listen = |source| StartError::Listen { address: config.listen, source };
        let listener = TcpListener::bind(config.listen).await.map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let (service, tasks, stop) = (Arc::new(service), TaskTracker::new(), CancellationToken::new());
        tasks.spawn(server::accept(listener, service.clone(), tasks.clone(), stop.clone()));
        tasks.spawn(server::flush(service.clone(), stop.clone()));
        Ok(Self { service, address, tasks, stop })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.address
    }

    /// The endpoint for a client, such as `http://127.0.0.1:4567`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Every committed record that memory still holds, in commit order.
    pub fn records(&self) -> Vec<Arc<Record>> {
        self.records_after(0, usize::MAX)
    }

    /// Up to `limit` records after a position, in commit order.
    pub fn records_after(&self, seq: u64, limit: usize) -> Vec<Arc<Record>> {
        self.service.log.after(seq, limit)
    }

    /// The counters.
    pub fn stats(&self) -> Snapshot {
        self.service.stats.snapshot(self.service.faults.struck(), self.service.log.losses())
    }

    /// Replaces the faults in force. Counts and dice start anew.
    pub fn set_faults(&self, faults: impl Into<FaultSet>) {
        self.service.faults.replace(faults.into());
    }

    /// No fault from now on. Requests that are held unanswered stay so until their client leaves.
    pub fn clear_faults(&self) {
        self.set_faults(FaultSet::default());
    }

    /// Adds or replaces a key; one without a secret keeps the secret it has, and is refused (false) where it has none.
    pub fn put_key(&self, id: &str, key: KeySpec) -> bool {
        self.service.keys.put(id, key)
    }

    /// Removes a key; false where there is none.
    pub fn remove_key(&self, id: &str) -> bool {
        self.service.keys.remove(id)
    }

    /// Marks a key expired or good again; false where there is none.
    pub fn set_expired(&self, id: &str, expired: bool) -> bool {
        self.service.keys.edit(id, |key| key.expired = expired)
    }

    /// Restricts a key to these actions, or frees it with `None`; false where there is none.
    pub fn restrict_key(&self, id: &str, actions: Option<&[&str]>) -> bool {
        let allowed = actions.map(|actions| actions.iter().map(|action| (*action).to_owned()).collect());
        self.service.keys.edit(id, |key| key.allowed = allowed)
    }

    /// Adds or replaces a role.
    pub fn put_role(&self, arn: impl Into<String>, role: RoleSpec) {
        self.service.keys.put_role(arn.into(), role);
    }

    /// Creates a stream, active at once.
    pub fn create_stream(&self, spec: &StreamSpec) -> Result<(), ApiError> {
        self.service.streams.create(spec, clock::now_micros()).map(drop)
    }

    /// Deletes a stream and what it keeps; the log keeps its records.
    pub fn delete_stream(&self, name: &str) -> Result<(), ApiError> {
        self.service.streams.delete(name)
    }

    /// Reshards a stream at once.
    pub fn reshard(&self, name: &str, shards: usize) -> Result<(), ApiError> {
        self.service.streams.find(name)?.reshard(shards, &self.service.log.next).map(drop)
    }

    /// Sets the largest record of a stream, in bytes, partition key included.
    pub fn set_max_record_bytes(&self, name: &str, bytes: u64) -> Result<(), ApiError> {
        let stream = self.service.streams.find(name)?;
        stream.max_record_bytes.store(bytes, std::sync::atomic::Ordering::Relaxed);
        Ok(())
    }

    /// Hands the log to the operating system.
    pub fn flush(&self) -> std::io::Result<()> {
        self.service.log.flush()
    }

    /// Stops: no new connections, open ones dropped, the log flushed. Errors: the log's file did not take the rest.
    pub async fn shutdown(self) -> std::io::Result<()> {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        self.service.log.flush()
    }
}

impl Drop for Stub {
    fn drop(&mut self) {
        self.stop.cancel();
        self.tasks.close();
    }
}
