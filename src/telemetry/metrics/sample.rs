//! Types: what is reported at one moment.

use std::collections::BTreeMap;
use std::time::Duration;

use super::reconciles::ReconcileSample;
use crate::api::alerts::AlertType;
use crate::api::conditions::Reason;

/// A dataflow at one moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DataflowSample {
    /// Changes read from the feed.
    pub received: u64,
    /// Records that the stream acknowledged.
    pub exported: u64,
    /// Exported records by trigger: audience, attribute, identity, backfill.
    pub triggers: [u64; 4],
    /// Exports left out for lack of a required attribute.
    pub excluded: u64,
    /// Attempts after the first.
    pub retried: u64,
    /// Records that became dead letters.
    pub failed: u64,
    /// How often the position was lost.
    pub positions_lost: u64,
    /// Dead letters that wait.
    pub dead_letters: u64,
    /// The age of the oldest of them; zero where there is none.
    pub oldest_dead_letter: Duration,
    /// The age of the oldest change that is not done with; zero where there is none.
    pub lag: Duration,
    /// From receipt to acknowledgement, for 95 of 100 live records lately; `None` where there was none.
    pub latency_p95: Option<Duration>,
    /// Records acknowledged per second lately.
    pub rate: f64,
    /// Bytes acknowledged per second lately.
    pub byte_rate: f64,
    /// Everything below is done with.
    pub position: u64,
    /// The feed's end.
    pub head: u64,
    /// Members that the backfills are done with.
    pub backfill_done: u64,
    /// Members that the backfills are about.
    pub backfill_total: u64,
    /// The reason of the `Delivering` condition; `None` where it is not known yet.
    pub delivering: Option<Reason>,
    /// The alerts that fire.
    pub firing: Vec<AlertType>,
}

/// The hub at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HubSample {
    /// Bytes of requests that wait for the writer.
    pub queued_bytes: u64,
    /// The lowest position that is still in the log.
    pub log_first: u64,
    /// The position that the next change gets.
    pub log_head: u64,
    /// What the store takes on disk, in bytes.
    pub store_bytes: u64,
}

/// What came in over HTTP since the process started.
#[derive(Debug, Clone, Default)]
pub(super) struct IngestSample {
    pub(super) requests: BTreeMap<u16, u64>,
    pub(super) accepted: u64,
    pub(super) rejected: u64,
    pub(super) bytes: u64,
}

/// What was told an API server since the process started.
#[derive(Debug, Clone, Default)]
pub(super) struct ApiServerSample {
    /// Writes of statuses, by kind and result.
    pub(super) status_writes: BTreeMap<(&'static str, &'static str), u64>,
    /// Statuses that wait; `None` where nobody writes any.
    pub(super) statuses_pending: Option<u64>,
    /// Events, by result.
    pub(super) events: BTreeMap<&'static str, u64>,
}

/// Everything that the table reads.
#[derive(Debug, Clone, Default)]
pub struct Samples {
    /// By namespace and activation.
    pub(super) dataflows: BTreeMap<(String, String), DataflowSample>,
    pub(super) ingest: IngestSample,
    /// Requests that were not let in, by right and reason.
    pub(super) refused: BTreeMap<(&'static str, &'static str), u64>,
    pub(super) hub: Option<HubSample>,
    /// By controller.
    pub(super) reconciles: BTreeMap<&'static str, ReconcileSample>,
    pub(super) api_server: ApiServerSample,
}
