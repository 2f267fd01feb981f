//! Types: what is measured of reconciles, under the names that stock dashboards for controllers know.

use std::collections::BTreeMap;
use std::time::Duration;

use super::sample::Samples;
use super::table::{Histogram, Kind, Metric, Point, Value};

/// The upper bounds of the buckets of how long a reconcile takes, in seconds.
pub(super) const BOUNDS: [f64; 10] = [0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 15.0, f64::INFINITY];

/// How a reconcile ended, in the words of those dashboards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ReconcileResult {
    /// There is nothing to do until something changes.
    Success,
    /// It looks again by itself later.
    RequeueAfter,
    /// It failed, and is tried again.
    Error,
}

impl ReconcileResult {
    const ALL: [Self; 3] = [Self::Success, Self::RequeueAfter, Self::Error];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::RequeueAfter => "requeue_after",
            Self::Error => "error",
        }
    }
}

/// The reconciles of one controller since the process started.
#[derive(Debug, Clone, Default)]
pub(super) struct ReconcileSample {
    pub(super) results: BTreeMap<ReconcileResult, u64>,
    pub(super) panics: u64,
    pub(super) active: u64,
    pub(super) time: Histogram,
}

impl ReconcileSample {
    pub(super) fn ended(&mut self, result: ReconcileResult, took: Duration) {
        self.active = self.active.saturating_sub(1);
        *self.results.entry(result).or_default() += 1;
        let seconds = took.as_secs_f64();
        self.time.sum += seconds;
        self.time.count += 1;
        if let Some(place) = BOUNDS.iter().position(|bound| seconds <= *bound) {
            self.time.buckets[place].1 += 1;
        }
    }
}

impl Default for Histogram {
    fn default() -> Self {
        Self { sum: 0.0, count: 0, buckets: BOUNDS.map(|bound| (bound, 0)) }
    }
}

/// The rows of the reference.
pub(super) const METRICS: &[Metric] = &[
    Metric {
        name: "controller_runtime_reconcile",
        kind: Kind::Counter,
        labels: &["controller", "result"],
        help: "Reconciles since the process started, by how they ended: success, requeue_after, error",
        read: |samples| {
            let of = |(controller, sample): (&&'static str, &ReconcileSample)| {
                let controller = *controller;
                let counts = ReconcileResult::ALL.map(|result| (result, sample.results.get(&result).copied()));
                counts.into_iter().map(move |(result, count)| Point {
                    labels: vec![("controller", controller.to_owned()), ("result", result.as_str().to_owned())],
                    value: Value::Whole(count.unwrap_or_default()),
                })
            };
            samples.reconciles.iter().flat_map(of).collect()
        },
    },
    Metric {
        name: "controller_runtime_reconcile_errors",
        kind: Kind::Counter,
        labels: CONTROLLER,
        help: "Reconciles that failed since the process started; each is tried again",
        read: |samples| {
            each(samples, |sample| {
                Value::Whole(sample.results.get(&ReconcileResult::Error).copied().unwrap_or_default())
            })
        },
    },
    Metric {
        name: "controller_runtime_reconcile_panics",
        kind: Kind::Counter,
        labels: CONTROLLER,
        help: "Reconciles, and passes over all resources, that panicked since the process started: each is a defect",
        read: |samples| each(samples, |sample| Value::Whole(sample.panics)),
    },
    Metric {
        name: "controller_runtime_reconcile_time_seconds",
        kind: Kind::Histogram,
        labels: CONTROLLER,
        help: "How long a reconcile takes",
        read: |samples| each(samples, |sample| Value::Histogram(sample.time)),
    },
    Metric {
        name: "controller_runtime_active_workers",
        kind: Kind::Gauge,
        labels: CONTROLLER,
        help: "Reconciles that are under way",
        read: |samples| each(samples, |sample| Value::Whole(sample.active)),
    },
];

const CONTROLLER: &[&str] = &["controller"];

fn each(samples: &Samples, value: fn(&ReconcileSample) -> Value) -> Vec<Point> {
    let of = |(controller, sample): (&&'static str, &ReconcileSample)| Point {
        labels: vec![("controller", (*controller).to_owned())],
        value: value(sample),
    };
    samples.reconciles.iter().map(of).collect()
}
