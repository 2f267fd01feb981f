//! Types: every metric, in one list: its name, its labels, what it says, and where it is read. Labels are bounded: a
//! namespace and an activation, or one of a fixed set.

use std::time::Duration;

use super::reconciles::{self, BOUNDS};
use super::sample::{DataflowSample, HubSample, Samples};
use crate::api::alerts::AlertType;
use crate::api::conditions::Reason;

/// One metric.
pub struct Metric {
    /// Its name, without the `_total` that a counter gets.
    pub name: &'static str,
    /// What its values do.
    pub kind: Kind,
    /// The names of its labels, in order.
    pub labels: &'static [&'static str],
    /// What it says: a sentence without its full stop.
    pub help: &'static str,
    /// Its values.
    pub read: fn(&Samples) -> Vec<Point>,
}

/// What the values of a metric do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// They only grow.
    Counter,
    /// They rise and fall.
    Gauge,
    /// Many of them, counted by size.
    Histogram,
}

/// One value of a metric.
pub struct Point {
    /// Names and values of its labels.
    pub labels: Vec<(&'static str, String)>,
    /// The value.
    pub value: Value,
}

/// A value: whole numbers stay whole.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value {
    /// Counts, positions, bytes.
    Whole(u64),
    /// Seconds and rates.
    Real(f64),
    /// Many of them.
    Histogram(Histogram),
}

/// Many values, counted by size.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Histogram {
    /// Of all values.
    pub sum: f64,
    /// How many values there were.
    pub count: u64,
    /// Upper bounds, and how many values lie between each and the one before.
    pub buckets: [(f64, u64); BOUNDS.len()],
}

const DATAFLOW: &[&str] = &["namespace", "activation"];

/// The triggers, in the order of [`DataflowSample::triggers`].
const TRIGGERS: [&str; 4] = ["audience", "attribute", "identity", "backfill"];

/// The reasons that the `Delivering` condition can have.
const DELIVERING: &[Reason] = &[
    Reason::Pending,
    Reason::Idle,
    Reason::Flowing,
    Reason::Retrying,
    Reason::Throttled,
    Reason::AccessDenied,
    Reason::CredentialsRefused,
    Reason::CredentialsExpired,
    Reason::CredentialsMissing,
    Reason::StreamNotFound,
    Reason::EncryptionKeyRefused,
    Reason::Unreachable,
    Reason::SourceUnreachable,
    Reason::PositionLost,
    Reason::Suspended,
];

/// All metrics, in the order of the reference.
pub fn all() -> impl Iterator<Item = &'static Metric> {
    METRICS.iter().chain(reconciles::METRICS)
}

const METRICS: &[Metric] = &[
    Metric {
        name: "activation_received",
        kind: Kind::Counter,
        labels: DATAFLOW,
        help: "Changes read from the feed",
        read: |samples| each(samples, |flow| Value::Whole(flow.received)),
    },
    Metric {
        name: "activation_exported",
        kind: Kind::Counter,
        labels: DATAFLOW,
        help: "Records that the stream acknowledged",
        read: |samples| each(samples, |flow| Value::Whole(flow.exported)),
    },
    Metric {
        name: "activation_triggered",
        kind: Kind::Counter,
        labels: &["namespace", "activation", "trigger"],
        help: "Acknowledged records by what determined them; one with several triggers counts for each",
        read: |samples| {
            each_of(samples, "trigger", |flow| TRIGGERS.into_iter().zip(flow.triggers.map(Value::Whole)).collect())
        },
    },
    Metric {
        name: "activation_excluded",
        kind: Kind::Counter,
        labels: DATAFLOW,
        help: "Exports left out for lack of a required attribute",
        read: |samples| each(samples, |flow| Value::Whole(flow.excluded)),
    },
    Metric {
        name: "activation_retried",
        kind: Kind::Counter,
        labels: DATAFLOW,
        help: "Attempts after the first",
        read: |samples| each(samples, |flow| Value::Whole(flow.retried)),
    },
    Metric {
        name: "activation_failed",
        kind: Kind::Counter,
        labels: DATAFLOW,
        help: "Records that became dead letters",
        read: |samples| each(samples, |flow| Value::Whole(flow.failed)),
    },
    Metric {
        name: "activation_alert",
        kind: Kind::Gauge,
        labels: &["namespace", "activation", "type"],
        help: "1 where an alert of this type fires, else 0",
        read: |samples| {
            each_of(samples, "type", |flow| {
                let fires = |alert: AlertType| Value::Whole(u64::from(flow.firing.contains(&alert)));
                let types = AlertType::ALL.into_iter().filter(|alert| !alert.is_notification());
                types.map(|alert| (alert.as_str(), fires(alert))).collect()
            })
        },
    },
    Metric {
        name: "activation_positions_lost",
        kind: Kind::Counter,
        labels: DATAFLOW,
        help: "How often the position was gone from the feed",
        read: |samples| each(samples, |flow| Value::Whole(flow.positions_lost)),
    },
    Metric {
        name: "activation_dead_letters",
        kind: Kind::Gauge,
        labels: DATAFLOW,
        help: "Dead letters that wait to be sent again or dropped",
        read: |samples| each(samples, |flow| Value::Whole(flow.dead_letters)),
    },
    Metric {
        name: "activation_oldest_dead_letter_seconds",
        kind: Kind::Gauge,
        labels: DATAFLOW,
        help: "The age of the oldest dead letter; 0 where there is none",
        read: |samples| each(samples, |flow| seconds(flow.oldest_dead_letter)),
    },
    Metric {
        name: "activation_lag_seconds",
        kind: Kind::Gauge,
        labels: DATAFLOW,
        help: "The age of the oldest change that is not done with; 0 where there is none",
        read: |samples| each(samples, |flow| seconds(flow.lag)),
    },
    Metric {
        name: "activation_latency_p95_seconds",
        kind: Kind::Gauge,
        labels: DATAFLOW,
        help: "From receipt to acknowledgement, for 95 of 100 live records lately",
        read: |samples| each_known(samples, |flow| flow.latency_p95.map(seconds)),
    },
    Metric {
        name: "activation_records_per_second",
        kind: Kind::Gauge,
        labels: DATAFLOW,
        help: "Records acknowledged per second lately",
        read: |samples| each(samples, |flow| Value::Real(flow.rate)),
    },
    Metric {
        name: "activation_bytes_per_second",
        kind: Kind::Gauge,
        labels: DATAFLOW,
        help: "Bytes acknowledged per second lately",
        read: |samples| each(samples, |flow| Value::Real(flow.byte_rate)),
    },
    Metric {
        name: "activation_position",
        kind: Kind::Gauge,
        labels: DATAFLOW,
        help: "The position below which everything is done with",
        read: |samples| each(samples, |flow| Value::Whole(flow.position)),
    },
    Metric {
        name: "activation_head",
        kind: Kind::Gauge,
        labels: DATAFLOW,
        help: "The end of the feed",
        read: |samples| each(samples, |flow| Value::Whole(flow.head)),
    },
    Metric {
        name: "activation_backfill_done",
        kind: Kind::Gauge,
        labels: DATAFLOW,
        help: "Audience members that the backfill is done with",
        read: |samples| each(samples, |flow| Value::Whole(flow.backfill_done)),
    },
    Metric {
        name: "activation_backfill_members",
        kind: Kind::Gauge,
        labels: DATAFLOW,
        help: "Audience members that the backfill is about",
        read: |samples| each(samples, |flow| Value::Whole(flow.backfill_total)),
    },
    Metric {
        name: "activation_delivering",
        kind: Kind::Gauge,
        labels: &["namespace", "activation", "reason"],
        help: "1 for the reason that the Delivering condition has, 0 for every other",
        read: |samples| each_of(samples, "reason", delivering),
    },
    Metric {
        name: "activation_ingest_requests",
        kind: Kind::Counter,
        labels: &["code"],
        help: "Requests to take up profile updates, by the status code of the answer, since the process started",
        read: |samples| {
            let codes = samples.ingest.requests.iter();
            codes.map(|(code, count)| point(vec![("code", code.to_string())], *count)).collect()
        },
    },
    Metric {
        name: "activation_ingest_lines",
        kind: Kind::Counter,
        labels: &["outcome"],
        help: "Profile updates taken up and refused, since the process started",
        read: |samples| {
            let of = |outcome: &str, count| point(vec![("outcome", outcome.to_owned())], count);
            vec![of("accepted", samples.ingest.accepted), of("rejected", samples.ingest.rejected)]
        },
    },
    Metric {
        name: "activation_ingest_bytes",
        kind: Kind::Counter,
        labels: &[],
        help: "Bytes of request bodies read, unpacked, since the process started",
        read: |samples| vec![point(Vec::new(), samples.ingest.bytes)],
    },
    Metric {
        name: "activation_refused_requests",
        kind: Kind::Counter,
        labels: &["right", "reason"],
        help: "Requests that were not let in, by the right that they needed, since the process started",
        read: |samples| {
            let refused = samples.refused.iter();
            refused
                .map(|((right, reason), count)| {
                    point(vec![("right", (*right).to_owned()), ("reason", (*reason).to_owned())], *count)
                })
                .collect()
        },
    },
    Metric {
        name: "activation_hub_queued_bytes",
        kind: Kind::Gauge,
        labels: &[],
        help: "Bytes of requests that wait to be written",
        read: |samples| hub(samples, |hub| hub.queued_bytes),
    },
    Metric {
        name: "activation_log_first",
        kind: Kind::Gauge,
        labels: &[],
        help: "The lowest position that is still in the change log",
        read: |samples| hub(samples, |hub| hub.log_first),
    },
    Metric {
        name: "activation_log_head",
        kind: Kind::Gauge,
        labels: &[],
        help: "The position that the next change gets",
        read: |samples| hub(samples, |hub| hub.log_head),
    },
    Metric {
        name: "activation_store_bytes",
        kind: Kind::Gauge,
        labels: &[],
        help: "What the store takes on disk",
        read: |samples| hub(samples, |hub| hub.store_bytes),
    },
    Metric {
        name: "activation_status_writes",
        kind: Kind::Counter,
        labels: &["kind", "result"],
        help: "Writes of statuses to the API server, by what came of them, since the process started",
        read: |samples| {
            let writes = samples.api_server.status_writes.iter();
            let labels = |kind: &str, result: &str| vec![("kind", kind.to_owned()), ("result", result.to_owned())];
            writes.map(|((kind, result), count)| point(labels(kind, result), *count)).collect()
        },
    },
    Metric {
        name: "activation_status_pending",
        kind: Kind::Gauge,
        labels: &[],
        help: "Objects whose newest status is not written yet, counters that wait for their turn among them",
        read: |samples| samples.api_server.statuses_pending.iter().map(|count| point(Vec::new(), *count)).collect(),
    },
    Metric {
        name: "activation_kubernetes_events",
        kind: Kind::Counter,
        labels: &["result"],
        help: "Kubernetes Events, by what came of them, since the process started",
        read: |samples| {
            let events = samples.api_server.events.iter();
            events.map(|(result, count)| point(vec![("result", (*result).to_owned())], *count)).collect()
        },
    },
    Metric {
        name: "activation_build",
        kind: Kind::Gauge,
        labels: &["version"],
        help: "1, with the version of the running binary",
        read: |_| vec![point(vec![("version", env!("CARGO_PKG_VERSION").to_owned())], 1)],
    },
];

fn delivering(flow: &DataflowSample) -> Vec<(&'static str, Value)> {
    let Some(current) = flow.delivering else { return Vec::new() };
    let others = DELIVERING.iter().copied().filter(|reason| *reason != current);
    others
        .map(|reason| (reason.as_str(), Value::Whole(0)))
        .chain(std::iter::once((current.as_str(), Value::Whole(1))))
        .collect()
}

fn seconds(time: Duration) -> Value {
    Value::Real(time.as_secs_f64())
}

fn point(labels: Vec<(&'static str, String)>, value: u64) -> Point {
    Point { labels, value: Value::Whole(value) }
}

/// One value of each dataflow.
fn each(samples: &Samples, value: fn(&DataflowSample) -> Value) -> Vec<Point> {
    each_known(samples, |flow| Some(value(flow)))
}

/// One value of each dataflow that has one.
fn each_known(samples: &Samples, value: impl Fn(&DataflowSample) -> Option<Value>) -> Vec<Point> {
    samples
        .dataflows
        .iter()
        .filter_map(|(name, flow)| value(flow).map(|value| Point { labels: named(name), value }))
        .collect()
}

/// Several values of each dataflow, told apart by one more label.
fn each_of(
    samples: &Samples,
    label: &'static str,
    values: fn(&DataflowSample) -> Vec<(&'static str, Value)>,
) -> Vec<Point> {
    let of = |(name, flow): (&(String, String), &DataflowSample)| {
        let labels = named(name);
        values(flow).into_iter().map(move |(which, value)| {
            let mut labels = labels.clone();
            labels.push((label, which.to_owned()));
            Point { labels, value }
        })
    };
    samples.dataflows.iter().flat_map(of).collect()
}

fn named((namespace, activation): &(String, String)) -> Vec<(&'static str, String)> {
    vec![("namespace", namespace.clone()), ("activation", activation.clone())]
}

fn hub(samples: &Samples, value: fn(&HubSample) -> u64) -> Vec<Point> {
    samples.hub.iter().map(|hub| point(Vec::new(), value(hub))).collect()
}
