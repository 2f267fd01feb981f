//! Pure: a dataflow's progress as the metrics tell it.

use std::time::Duration;

use jiff::Timestamp;

use crate::api::AudienceActivationStatus;
use crate::api::alerts::AlertState;
use crate::api::conditions::ConditionType;
use crate::dataflow::progress::Progress;
use crate::telemetry::metrics::DataflowSample;

/// What the metrics tell of a dataflow, `status` being its activation's.
pub(super) fn sample(progress: &Progress, status: &AudienceActivationStatus, now: Timestamp) -> DataflowSample {
    let delivering = status.conditions.iter().find(|found| found.type_ == ConditionType::Delivering.as_str());
    DataflowSample {
        received: progress.counters.received,
        exported: progress.counters.exported,
        triggers: progress.counters.triggers,
        excluded: progress.counters.excluded,
        retried: progress.counters.retried,
        failed: progress.counters.failed,
        positions_lost: progress.positions_lost,
        dead_letters: progress.dead_letters,
        oldest_dead_letter: progress
            .oldest_dead_letter
            .map_or(Duration::ZERO, |oldest| Duration::try_from(now.duration_since(oldest)).unwrap_or_default()),
        lag: progress.lag,
        latency_p95: progress.latency_p95,
        rate: progress.rate,
        byte_rate: progress.byte_rate,
        position: progress.position,
        head: progress.head,
        backfill_done: progress.backfills.iter().map(|backfill| backfill.done).sum(),
        backfill_total: progress.backfills.iter().filter_map(|backfill| backfill.total).sum(),
        delivering: delivering.and_then(|found| found.reason.parse().ok()),
        firing: status
            .alerts
            .iter()
            .filter(|alert| alert.state == AlertState::Firing)
            .map(|alert| alert.alert_type)
            .collect(),
    }
}
