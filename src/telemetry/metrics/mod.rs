//! Effects: what `/metrics` tells, in `OpenMetrics` text. Counters are totals that survive a restart: they are read from samples
//! when they are asked for, and never counted here twice.
//!
//! Reading order: [`sample`] (what is reported), [`table`] (every name, in one list), and its part about reconciles.

mod reconciles;
pub mod sample;
pub mod table;

use std::fmt::{self, Write as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::exemplar::Exemplar;
use prometheus_client::registry::Registry;

pub use reconciles::ReconcileResult;
use sample::Samples;
pub use sample::{DataflowSample, HubSample};
use table::{Kind, Point, Value};

/// The content type of [`Metrics::encode`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The metrics of the process. Cheap to clone.
#[derive(Clone)]
pub struct Metrics {
    samples: Shared,
    registry: Arc<Registry>,
}

type Shared = Arc<Mutex<Samples>>;

impl Default for Metrics {
    fn default() -> Self {
        let samples = Shared::default();
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Table(Arc::clone(&samples))));
        Self { samples, registry: Arc::new(registry) }
    }
}

impl Metrics {
    /// Takes what a dataflow says of itself in place of what it said before.
    pub fn set_dataflow(&self, namespace: &str, activation: &str, sample: DataflowSample) {
        lock(&self.samples).dataflows.insert((namespace.to_owned(), activation.to_owned()), sample);
    }

    /// Forgets a dataflow, so that its metrics vanish with it.
    pub fn forget_dataflow(&self, namespace: &str, activation: &str) {
        lock(&self.samples).dataflows.remove(&(namespace.to_owned(), activation.to_owned()));
    }

    /// Takes what the hub says of itself.
    pub fn set_hub(&self, sample: HubSample) {
        lock(&self.samples).hub = Some(sample);
    }

    /// Counts one answered ingest request: its status code, the lines taken up and refused, and the bytes read, unpacked.
    pub fn count_ingest(&self, code: u16, accepted: u64, rejected: u64, bytes: u64) {
        let mut samples = lock(&self.samples);
        *samples.ingest.requests.entry(code).or_default() += 1;
        samples.ingest.accepted += accepted;
        samples.ingest.rejected += rejected;
        samples.ingest.bytes += bytes;
    }

    /// Counts a reconcile that begins.
    pub fn reconcile_begins(&self, controller: &'static str) {
        lock(&self.samples).reconciles.entry(controller).or_default().active += 1;
    }

    /// Counts a reconcile that has ended, and how long it took.
    pub fn reconcile_ends(&self, controller: &'static str, result: ReconcileResult, took: Duration) {
        lock(&self.samples).reconciles.entry(controller).or_default().ended(result, took);
    }

    /// Counts a panic that was caught.
    pub fn count_panic(&self, controller: &'static str) {
        lock(&self.samples).reconciles.entry(controller).or_default().panics += 1;
    }

    /// Counts one request that was not let in: the right that it needed, and why.
    pub fn count_refused(&self, right: &'static str, reason: &'static str) {
        *lock(&self.samples).refused.entry((right, reason)).or_default() += 1;
    }

    /// Counts one write of a status of that kind, by its result: one of a fixed set.
    pub fn count_status_write(&self, kind: &'static str, result: &'static str) {
        *lock(&self.samples).api_server.status_writes.entry((kind, result)).or_default() += 1;
    }

    /// Takes how many objects hold another status than the newest.
    pub fn set_statuses_pending(&self, count: u64) {
        lock(&self.samples).api_server.statuses_pending = Some(count);
    }

    /// Counts one Kubernetes Event, by its result: one of a fixed set.
    pub fn count_event(&self, result: &'static str) {
        *lock(&self.samples).api_server.events.entry(result).or_default() += 1;
    }

    /// Everything, as `OpenMetrics` text.
    pub fn encode(&self) -> Result<String, fmt::Error> {
        let mut out = String::new();
        text::encode(&mut out, &self.registry)?;
        Ok(out)
    }
}

/// The table, as prometheus-client asks for it.
struct Table(Shared);

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Table")
    }
}

impl Collector for Table {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let samples = lock(&self.0).clone();
        for metric in table::all() {
            let points = (metric.read)(&samples);
            if points.is_empty() {
                continue;
            }
            let kind = match metric.kind {
                Kind::Counter => MetricType::Counter,
                Kind::Gauge => MetricType::Gauge,
                Kind::Histogram => MetricType::Histogram,
            };
            let mut family = encoder.encode_descriptor(metric.name, metric.help, None, kind)?;
            for Point { labels, value } in points {
                if labels.is_empty() {
                    write(&mut family, metric.kind, value)?;
                } else {
                    write(&mut family.encode_family(&labels)?, metric.kind, value)?;
                }
            }
        }
        Ok(())
    }
}

fn write(series: &mut MetricEncoder<'_>, kind: Kind, value: Value) -> Result<(), fmt::Error> {
    match (kind, value) {
        (Kind::Counter, Value::Whole(value)) => series.encode_counter(&value, NO_EXEMPLAR),
        (Kind::Counter, Value::Real(value)) => series.encode_counter(&value, NO_EXEMPLAR),
        (Kind::Gauge | Kind::Histogram, Value::Whole(value)) => series.encode_gauge(&value),
        (Kind::Gauge | Kind::Histogram, Value::Real(value)) => series.encode_gauge(&value),
        (_, Value::Histogram(value)) => {
            series.encode_histogram::<NoLabelSet>(value.sum, value.count, &value.buckets, None)
        }
    }
}

const NO_EXEMPLAR: Option<&Exemplar<[(&str, &str); 0], f64>> = None;

/// The reference, `docs/metrics.md`.
pub fn reference() -> String {
    let mut out = String::from(
        "# Metrics\n\n<!-- Generated from src/telemetry/metrics/table.rs: UPDATE_DOCS=1 cargo test --test metrics -->\n\n\
         `/metrics` answers in OpenMetrics text. Counters are totals of what lies below the checkpoint: they survive a restart, \
         and a repeat after a crash is not counted twice. Times are seconds, sizes are bytes.\n\n\
         | metric | type | labels | what it says |\n| --- | --- | --- | --- |\n",
    );
    for metric in table::all() {
        let (suffix, kind) = match metric.kind {
            Kind::Counter => ("_total", "counter"),
            Kind::Gauge => ("", "gauge"),
            Kind::Histogram => ("", "histogram"),
        };
        let labels = metric.labels.iter().map(|label| format!("`{label}`")).collect::<Vec<_>>().join(", ");
        // A string takes every write.
        let _ = writeln!(out, "| `{}{suffix}` | {kind} | {labels} | {}. |", metric.name, metric.help);
    }
    out.push_str(
        "\n`reason` is a reason of the `Delivering` condition, `trigger` one of `audience`, `attribute`, `identity`, \
         `backfill`, `type` an alert type, `code` an HTTP status code, `outcome` one of `accepted`, `rejected`. Of refused requests, \
         `right` is one of `ingest`, `read_profiles`, `read_dead_letters`, `change_dead_letters`, `read_metrics`, `read_log`, \
         `change_log`, and `reason` one of `no_token`, `unauthenticated`, `forbidden`, `unavailable`. \
         `kind` is the kind of a resource; `result` of a \
         status one of `written`, `changed` (the object was, meanwhile; it is tried again), `gone`, `forbidden`, `refused`, \
         `timeout`, `unreachable`, and of an Event one of `written`, `dropped` (too many waited), `forbidden`, `refused`, \
         `timeout`, `unreachable`. `controller` is one of `kinesisdestination`, `audienceactivation` and, for passes over all of \
         them, `pass`.\n",
    );
    out
}

/// What is guarded is whole after every statement, so a thread that panicked leaves nothing half-done.
fn lock(samples: &Shared) -> MutexGuard<'_, Samples> {
    samples.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::time::Duration;

    use super::*;
    use crate::api::conditions::Reason;

    fn sample() -> DataflowSample {
        DataflowSample {
            received: 12,
            exported: 10,
            triggers: [4, 3, 2, 1],
            lag: Duration::from_millis(1500),
            latency_p95: Some(Duration::from_millis(250)),
            delivering: Some(Reason::Throttled),
            ..DataflowSample::default()
        }
    }

    #[test]
    fn a_counter_is_the_total_that_was_set_and_not_a_sum_of_settings() {
        let metrics = Metrics::default();
        metrics.set_dataflow("shop", "vip", sample());
        metrics.set_dataflow("shop", "vip", DataflowSample { exported: 11, ..sample() });
        let text = metrics.encode().unwrap();
        assert!(text.contains("activation_exported_total{namespace=\"shop\",activation=\"vip\"} 11\n"), "{text}");
        assert!(text.contains("activation_lag_seconds{namespace=\"shop\",activation=\"vip\"} 1.5\n"), "{text}");
        assert!(text.ends_with("# EOF\n"), "{text}");
    }

    #[test]
    fn exactly_one_reason_is_on() {
        let metrics = Metrics::default();
        metrics.set_dataflow("shop", "vip", sample());
        let text = metrics.encode().unwrap();
        let on: Vec<_> =
            text.lines().filter(|l| l.starts_with("activation_delivering{") && l.ends_with(" 1")).collect();
        assert_eq!(on, ["activation_delivering{namespace=\"shop\",activation=\"vip\",reason=\"Throttled\"} 1"]);
        assert!(text.contains("reason=\"Flowing\"} 0\n"), "{text}");
    }

    #[test]
    fn a_forgotten_dataflow_vanishes() {
        let metrics = Metrics::default();
        metrics.set_dataflow("shop", "vip", sample());
        metrics.forget_dataflow("shop", "vip");
        assert!(!metrics.encode().unwrap().contains("vip"));
    }

    #[test]
    fn ingest_counts_by_code_and_line() {
        let metrics = Metrics::default();
        metrics.count_ingest(200, 5, 1, 600);
        metrics.count_ingest(200, 5, 0, 500);
        metrics.count_ingest(429, 0, 0, 0);
        let text = metrics.encode().unwrap();
        for line in [
            "activation_ingest_requests_total{code=\"200\"} 2",
            "activation_ingest_requests_total{code=\"429\"} 1",
            "activation_ingest_lines_total{outcome=\"accepted\"} 10",
            "activation_ingest_lines_total{outcome=\"rejected\"} 1",
            "activation_ingest_bytes_total 1100",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
    }

    #[test]
    fn reconciles_are_counted_by_how_they_ended_and_how_long_they_took() {
        let metrics = Metrics::default();
        metrics.reconcile_begins("audienceactivation");
        metrics.reconcile_begins("audienceactivation");
        metrics.reconcile_ends("audienceactivation", ReconcileResult::Error, Duration::from_millis(7));
        metrics.count_panic("pass");
        let text = metrics.encode().unwrap();
        for line in [
            "controller_runtime_reconcile_total{controller=\"audienceactivation\",result=\"error\"} 1",
            "controller_runtime_reconcile_total{controller=\"audienceactivation\",result=\"success\"} 0",
            "controller_runtime_reconcile_errors_total{controller=\"audienceactivation\"} 1",
            "controller_runtime_active_workers{controller=\"audienceactivation\"} 1",
            "controller_runtime_reconcile_time_seconds_count{controller=\"audienceactivation\"} 1",
            "controller_runtime_reconcile_time_seconds_bucket{le=\"0.005\",controller=\"audienceactivation\"} 0",
            "controller_runtime_reconcile_time_seconds_bucket{le=\"+Inf\",controller=\"audienceactivation\"} 1",
            "controller_runtime_reconcile_panics_total{controller=\"pass\"} 1",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
    }

    #[test]
    fn what_was_told_the_api_server_is_counted_by_what_came_of_it() {
        let metrics = Metrics::default();
        assert!(!metrics.encode().unwrap().contains("status"), "nobody writes any");
        metrics.count_status_write("KinesisDestination", "written");
        metrics.count_status_write("KinesisDestination", "written");
        metrics.count_status_write("AudienceActivation", "forbidden");
        metrics.set_statuses_pending(3);
        metrics.count_event("dropped");
        let text = metrics.encode().unwrap();
        for line in [
            "activation_status_writes_total{kind=\"KinesisDestination\",result=\"written\"} 2",
            "activation_status_writes_total{kind=\"AudienceActivation\",result=\"forbidden\"} 1",
            "activation_status_pending 3",
            "activation_kubernetes_events_total{result=\"dropped\"} 1",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
    }

    #[test]
    fn a_hostile_name_stays_inside_its_quotes() {
        let metrics = Metrics::default();
        metrics.set_dataflow("a\"} 1\nb", "x", sample());
        assert!(!metrics.encode().unwrap().lines().any(|line| line.starts_with('b')));
    }

    #[test]
    fn every_metric_has_points_with_just_the_labels_that_its_row_names() {
        let mut samples = Samples { hub: Some(HubSample::default()), ..Samples::default() };
        samples.ingest.requests.insert(200, 1);
        samples.refused.insert(("ingest", "no_token"), 1);
        samples.api_server.status_writes.insert(("KinesisDestination", "written"), 1);
        samples.api_server.statuses_pending = Some(1);
        samples.api_server.events.insert("written", 1);
        samples.dataflows.insert(("n".to_owned(), "a".to_owned()), sample());
        samples.reconciles.entry("audienceactivation").or_default();
        for metric in table::all() {
            let points = (metric.read)(&samples);
            assert!(!points.is_empty(), "{}", metric.name);
            for point in points {
                let labels: Vec<_> = point.labels.iter().map(|(name, _)| *name).collect();
                assert_eq!(labels, metric.labels, "{}", metric.name);
            }
            let ours = metric.name.starts_with("activation_") || metric.name.starts_with("controller_runtime_");
            assert!(ours, "{}", metric.name);
        }
    }
}
