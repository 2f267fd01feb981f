//! Types: what a dataflow tells of itself, for status, metrics, alerts and the board. Cheap to clone; never written by anybody
//! but its worker.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::export::MappingSpec;

/// How many hourly windows are kept.
pub const RUNS_KEPT: usize = 6;

/// What a dataflow has done, of exactly what lies below its checkpoint, so that nothing is counted twice.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Counters {
    /// Changes read from the feed.
    pub received: u64,
    /// Records that the stream acknowledged.
    pub exported: u64,
    /// Exports left out for lack of a required attribute.
    pub excluded: u64,
    /// Attempts after the first.
    pub retried: u64,
    /// Records that became dead letters.
    pub failed: u64,
    /// Exported records by trigger: audience, attribute, identity, backfill. One with several counts for each.
    pub triggers: [u64; 4],
}

/// One hourly window of a dataflow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Run {
    /// Its first moment, on a whole hour.
    pub start: Timestamp,
    /// What was done in it.
    pub counters: Counters,
}

impl Run {
    /// The end of its hour.
    pub fn end(&self) -> Timestamp {
        self.start.checked_add(jiff::SignedDuration::from_hours(1)).unwrap_or(Timestamp::MAX)
    }
}

/// How far the backfill of one audience is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AudienceBackfill {
    /// The audience's namespace.
    pub namespace: String,
    /// The audience's id.
    pub id: String,
    /// The merge policy under which it is mapped.
    pub merge_policy_id: String,
    /// How far.
    pub state: BackfillState,
    /// Members that are done with: acknowledged, excluded or dead-lettered.
    pub done: u64,
    /// Members that there were when it began; `None` until then.
    pub total: Option<u64>,
    /// When it was asked for.
    pub requested_at: Timestamp,
    /// The position from which on its members are told live.
    #[serde(default)]
    pub mapped_at: u64,
    /// When it began.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub completed_at: Option<Timestamp>,
}

/// The states of a backfill.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum BackfillState {
    /// Waits for its turn.
    Pending,
    /// Exports.
    Running,
    /// Every member is done with.
    Completed,
    /// Turned off by the spec.
    Skipped,
}

/// How the delivery goes, in the words of the `Delivering` condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delivery {
    /// Nothing to deliver.
    Idle,
    /// Records get through.
    Flowing,
    /// The stream takes less than there is; since when, without a pause.
    Throttled {
        /// When the throttling began.
        since: Timestamp,
    },
    /// Some records are tried again.
    Retrying {
        /// What the service said last.
        message: String,
    },
    /// Nothing gets through: paused, and tried again until it heals.
    Outage {
        /// Why.
        cause: OutageCause,
        /// What the service said last; carries no secret.
        message: String,
        /// Since when.
        since: Timestamp,
    },
    /// The feed cannot be read.
    SourceUnreachable {
        /// Why.
        message: String,
    },
    /// The position is gone from the feed, and the dataflow does not go on by itself.
    PositionLost {
        /// What is gone, and what is there.
        message: String,
    },
}

/// Why nothing gets through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OutageCause {
    /// A permission is missing.
    AccessDenied,
    /// The credentials are missing, wrong or expired.
    Credentials,
    /// No such stream.
    StreamNotFound,
    /// The stream's encryption key refuses.
    Encryption,
    /// The service cannot be reached, or every request fails.
    Unreachable,
}

/// A dataflow at one moment.
#[derive(Debug, Clone)]
pub struct Progress {
    /// When this was taken.
    pub at: Timestamp,
    /// The mapping in force.
    pub mapping: Arc<MappingSpec>,
    /// Everything below is done with.
    pub position: u64,
    /// The feed's end.
    pub head: u64,
    /// What was done.
    pub counters: Counters,
    /// The last hourly windows, the oldest first.
    pub runs: Vec<Run>,
    /// One entry per mapped audience.
    pub backfills: Vec<AudienceBackfill>,
    /// How the delivery goes.
    pub delivery: Delivery,
    /// Dead letters that wait.
    pub dead_letters: u64,
    /// When the oldest of them was written.
    pub oldest_dead_letter: Option<Timestamp>,
    /// When a record was last acknowledged.
    pub last_export: Option<Timestamp>,
    /// How old the oldest change is that is not done with; zero where there is none.
    pub lag: Duration,
    /// From receipt to acknowledgement, for 95 of 100 live records lately.
    pub latency_p95: Option<Duration>,
    /// Records acknowledged per second lately.
    pub rate: f64,
    /// Bytes acknowledged per second lately.
    pub byte_rate: f64,
    /// Whether a change is read, or a record is on its way.
    pub busy: bool,
    /// The annotation value of the last resync that was taken up.
    pub resync: Option<String>,
    /// How often the position was lost and a resync started for it.
    pub positions_lost: u64,
}
