//! Observe: pure. From what a dataflow tells of itself to what its status shows.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::status::delivering::shards;
use crate::api::activation::{
    AudienceStatus, BackfillState, BackfillStatus, DataflowStatus, RunState, RunStatus, TriggerCounts,
};
use crate::api::quantities::Moment;
use crate::dataflow::progress::{AudienceBackfill, BackfillState as Reached, Progress, RUNS_KEPT, Run};
use crate::export::MappingSpec;
use crate::export::mapping::MappedAudience;
use crate::reconcile::validate::activation::BackfillSettings;

/// The counters of a dataflow.
pub fn dataflow(progress: &Progress) -> DataflowStatus {
    let counters = &progress.counters;
    let [audience, attribute, identity, backfill] = counters.triggers;
    DataflowStatus {
        received: counters.received,
        exported: counters.exported,
        excluded: counters.excluded,
        retried: counters.retried,
        failed: counters.failed,
        dead_lettered: progress.dead_letters,
        triggers: Some(TriggerCounts { audience, attribute, identity, backfill }),
        last_export_time: progress.last_export.map(Moment::from),
        lag_seconds: Some(progress.lag.as_secs()),
        latency_p95_millis: progress.latency_p95.map(|latency| latency.as_millis() as u64),
    }
}

/// The counters of a dataflow that does not run: how far behind it is, and how fast it was, is no longer known.
pub fn at_rest(known: &DataflowStatus) -> DataflowStatus {
    DataflowStatus { lag_seconds: None, latency_p95_millis: None, ..known.clone() }
}

/// The hourly windows, the newest first, at most six.
pub fn runs(progress: &Progress, now: Timestamp) -> Vec<RunStatus> {
    progress.runs.iter().rev().take(RUNS_KEPT).map(|run| run_status(run, now)).collect()
}

fn run_status(run: &Run, now: Timestamp) -> RunStatus {
    let counters = &run.counters;
    RunStatus {
        start: Moment::from(run.start),
        end: (now >= run.end()).then(|| Moment::from(run.end())),
        state: run_state(run, now),
        received: counters.received,
        exported: counters.exported,
        excluded: counters.excluded,
        failed: counters.failed,
        // An exclusion is what the user asked for: it should not have been exported.
        activation_rate_percent: percent(counters.exported, counters.exported + counters.failed),
    }
}

/// How a run went, or that it goes on.
pub fn run_state(run: &Run, now: Timestamp) -> RunState {
    match (run.counters.exported, run.counters.failed) {
        _ if now < run.end() => RunState::Running,
        (_, 0) => RunState::Success,
        (0, _) => RunState::Failed,
        _ => RunState::PartialSuccess,
    }
}

/// Whole percent, rounded down, so that 100 means all; `None` of nothing.
pub fn percent(part: u64, whole: u64) -> Option<u8> {
    let percent = u128::from(part) * 100 / u128::from((whole > 0).then_some(whole)?);
    Some(percent.min(100) as u8)
}

/// The mapped audiences, in the order of the mapping, with when they were mapped and how their backfill goes.
pub fn audiences(
    mapping: &MappingSpec,
    old: &[AudienceStatus],
    progress: Option<&Progress>,
    settings: &BackfillSettings,
    now: Timestamp,
) -> Vec<AudienceStatus> {
    let capacity = progress.map(|progress| Capacity::of(progress, settings));
    let audience = |(index, audience): (usize, &MappedAudience)| {
        // A mapping made without a clock is a preview's, and has no status.
        let created = audience.mapping_created_at.unwrap_or(now);
        let updated = audience.mapping_updated_at.unwrap_or(created);
        let reached = progress.and_then(|progress| reached(progress, index, audience));
        let backfill = match (reached, capacity.as_ref()) {
            (Some(reached), Some(capacity)) => Some(backfill_status(reached, capacity, now)),
            _ => old
                .iter()
                .find(|old| old.namespace == audience.namespace && old.id == audience.id)
                .filter(|old| old.mapping_created_at == Moment::from(created))
                .and_then(|old| old.backfill.clone())
                .or(Some(waiting(settings))),
        };
        AudienceStatus {
            namespace: audience.namespace.clone(),
            id: audience.id.clone(),
            mapping_created_at: Moment::from(created),
            mapping_updated_at: Moment::from(updated),
            backfill,
        }
    };
    mapping.audiences.iter().enumerate().map(audience).collect()
}

/// How far the backfill of `audience` is. A dataflow tells its audiences in the order of its mapping, as a rule.
fn reached<'a>(progress: &'a Progress, index: usize, audience: &MappedAudience) -> Option<&'a AudienceBackfill> {
    let same = |reached: &&AudienceBackfill| {
        reached.id == audience.id
            && reached.namespace == audience.namespace
            && reached.merge_policy_id == audience.merge_policy_id
    };
    progress.backfills.get(index).filter(same).or_else(|| progress.backfills.iter().find(same))
}

fn waiting(settings: &BackfillSettings) -> BackfillStatus {
    BackfillStatus {
        state: if settings.enabled { BackfillState::Pending } else { BackfillState::Skipped },
        exported: 0,
        total: None,
        percent: None,
        started_at: None,
        completed_at: None,
        estimated_completion: None,
        message: None,
    }
}

fn backfill_status(reached: &AudienceBackfill, capacity: &Capacity<'_>, now: Timestamp) -> BackfillStatus {
    let completed = reached.state == Reached::Completed;
    let estimate = estimate(reached, now);
    BackfillStatus {
        state: match reached.state {
            Reached::Pending => BackfillState::Pending,
            Reached::Running => BackfillState::Running,
            Reached::Completed => BackfillState::Completed,
            Reached::Skipped => BackfillState::Skipped,
        },
        exported: reached.done,
        total: reached.total,
        percent: if completed { Some(100) } else { reached.total.and_then(|total| percent(reached.done, total)) },
        started_at: reached.started_at.map(Moment::from),
        completed_at: reached.completed_at.map(Moment::from),
        estimated_completion: estimate.map(Moment::from),
        message: capacity.message(reached, estimate, now),
    }
}

/// When the rest will be done, at the pace so far; `None` where there is no pace yet.
fn estimate(reached: &AudienceBackfill, now: Timestamp) -> Option<Timestamp> {
    let (started, total) = (reached.started_at?, reached.total?);
    if reached.state != Reached::Running || reached.done == 0 {
        return None;
    }
    let spent = now.duration_since(started).as_secs_f64().max(1.0);
    let rest = total.saturating_sub(reached.done) as f64 * spent / reached.done as f64;
    now.checked_add(SignedDuration::from_secs(rest.ceil() as i64)).ok()
}

/// When a backfill should be done.
pub fn deadline(reached: &AudienceBackfill, settings: &BackfillSettings) -> Timestamp {
    let deadline = SignedDuration::try_from(settings.deadline).unwrap_or(SignedDuration::MAX);
    reached.requested_at.checked_add(deadline).unwrap_or(Timestamp::MAX)
}

/// Whether a backfill is still to be done.
pub fn is_open(reached: &AudienceBackfill) -> bool {
    matches!(reached.state, Reached::Pending | Reached::Running)
}

/// What the stream takes now, and what it should.
struct Capacity<'a> {
    settings: &'a BackfillSettings,
    /// Records a second that all open backfills together need to meet the deadline.
    needed: f64,
    /// Bytes of a record, as far as the last seconds tell.
    record_bytes: f64,
}

impl<'a> Capacity<'a> {
    fn of(progress: &Progress, settings: &'a BackfillSettings) -> Self {
        let open = progress.backfills.iter().filter(|reached| is_open(reached));
        let members: u64 = open.filter_map(|reached| reached.total).sum();
        let record_bytes = if progress.rate > 0.0 { progress.byte_rate / progress.rate } else { 0.0 };
        Self { settings, needed: members as f64 / settings.deadline.as_secs_f64().max(1.0), record_bytes }
    }

    /// What holds a backfill up, and what it would take; `None` while it is in time.
    fn message(&self, reached: &AudienceBackfill, estimate: Option<Timestamp>, now: Timestamp) -> Option<String> {
        let deadline = deadline(reached, self.settings);
        let late = estimate.unwrap_or(now) > deadline;
        if !is_open(reached) || !late {
            return None;
        }
        let told = Timestamp::from_second(deadline.as_second()).unwrap_or(deadline);
        let needed = self.needed.ceil() as u64;
        if let Some(limit) = self.settings.max_records_per_second.filter(|limit| u64::from(*limit) < needed) {
            return Some(format!(
                "not done by {told}: backfill.maxRecordsPerSecond is {limit}, and the deadline takes {needed}; raise the one or \
                 lengthen backfill.deadline"
            ));
        }
        let shards = shards(self.needed, self.needed * self.record_bytes);
        Some(format!(
            "not done by {told}: the deadline takes {needed} records a second, which is {shards} shard{} besides live traffic; add \
             shards, or lengthen backfill.deadline",
            if shards == 1 { "" } else { "s" }
        ))
    }
}

/// How much of the history of all audiences is exported; `None` where the spec wants none of it.
pub fn backfill_percent(audiences: &[AudienceStatus]) -> Option<u8> {
    let wanted = || {
        let backfills = audiences.iter().filter_map(|audience| audience.backfill.as_ref());
        backfills.filter(|backfill| backfill.state != BackfillState::Skipped)
    };
    wanted().next()?;
    if wanted().all(|backfill| backfill.state == BackfillState::Completed) {
        return Some(100);
    }
    let (done, total) = wanted()
        .fold((0, 0), |(done, total), backfill| (done + backfill.exported, total + backfill.total.unwrap_or(0)));
    // Those whose size is not known yet keep it from being all.
    Some(percent(done, total).unwrap_or(0).min(99))
}

/// How late a backfill is.
pub fn lateness(reached: &AudienceBackfill, settings: &BackfillSettings, now: Timestamp) -> Option<Duration> {
    let late = now.duration_since(deadline(reached, settings));
    if is_open(reached) { late.try_into().ok().filter(|late: &Duration| !late.is_zero()) } else { None }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use std::sync::Arc;

    use super::*;
    use crate::dataflow::progress::Counters;
    use crate::export::mapping::tests::spec;
    use crate::reconcile::samples::{self, at};

    fn settings(max_records_per_second: Option<u32>) -> BackfillSettings {
        BackfillSettings { enabled: true, deadline: Duration::from_hours(1), max_records_per_second }
    }

    fn running(done: u64, total: u64) -> Progress {
        let mut progress = samples::progress(Arc::new(spec(&["a1", "a2"], &[])), at(0));
        let backfill = &mut progress.backfills[0];
        (backfill.state, backfill.done, backfill.total) = (Reached::Running, done, Some(total));
        backfill.completed_at = None;
        progress
    }

    fn first(progress: &Progress, settings: &BackfillSettings, second: i64) -> BackfillStatus {
        let all = audiences(&progress.mapping, &[], Some(progress), settings, at(second));
        all[0].backfill.clone().unwrap()
    }

    #[test]
    fn a_run_ends_with_what_it_did() {
        let run = |exported, failed| Run {
            start: at(0),
            counters: Counters { exported, failed, excluded: 5, ..Counters::default() },
        };
        let table = [
            (run(1, 1), 3_599, RunState::Running, Some(50)),
            (run(0, 0), 3_600, RunState::Success, None),
            (run(10, 0), 3_600, RunState::Success, Some(100)),
            (run(999, 1), 3_600, RunState::PartialSuccess, Some(99)),
            (run(0, 3), 3_600, RunState::Failed, Some(0)),
        ];
        for (run, second, state, rate) in table {
            let status = run_status(&run, at(second));
            assert_eq!((status.state, status.activation_rate_percent), (state, rate));
            assert_eq!(status.end.is_some(), second >= 3_600);
        }
    }

    #[test]
    fn the_last_six_runs_come_newest_first() {
        let mut progress = samples::progress(Arc::new(spec(&["a1"], &[])), at(0));
        progress.runs = (0..9).map(|hour| Run { start: at(hour * 3_600), counters: Counters::default() }).collect();
        let starts: Vec<_> = runs(&progress, at(0)).iter().map(|run| run.start).collect();
        assert_eq!(starts, [8, 7, 6, 5, 4, 3].map(|hour| Moment::from(at(hour * 3_600))));
    }

    #[test]
    fn a_backfill_in_time_has_an_estimate_and_no_message() {
        let backfill = first(&running(25, 100), &settings(None), 10);
        assert_eq!((backfill.percent, backfill.message), (Some(25), None));
        assert_eq!(backfill.estimated_completion, Some(Moment::from(at(40))));
    }

    #[test]
    fn a_backfill_that_will_be_late_says_the_shards_that_it_would_take() {
        let mut progress = running(1_000, 18_000_000);
        (progress.rate, progress.byte_rate) = (1_000.0, 2_000_000.0);
        let message = first(&progress, &settings(None), 10).message.unwrap();
        // 5,000 records a second of 2,000 bytes: ten shards by bytes.
        assert!(message.contains("5000 records a second") && message.contains("10 shards"), "{message}");
        let message = first(&progress, &settings(Some(100)), 10).message.unwrap();
        assert!(message.contains("maxRecordsPerSecond is 100"), "{message}");
    }

    #[test]
    fn the_whole_is_never_hundred_before_the_last_is_done() {
        let settings = settings(None);
        let percent = |progress: &Progress| {
            backfill_percent(&audiences(&progress.mapping, &[], Some(progress), &settings, at(10)))
        };
        assert_eq!(percent(&running(1_000, 1_000)), Some(99));
        let mut progress = running(0, 10);
        assert_eq!(percent(&progress), Some(50));
        progress.backfills[0].state = Reached::Completed;
        assert_eq!(percent(&progress), Some(100));
        progress.backfills.iter_mut().for_each(|backfill| backfill.state = Reached::Skipped);
        assert_eq!(percent(&progress), None);
    }

    #[test]
    fn an_audience_keeps_its_backfill_while_the_dataflow_does_not_report() {
        let mut mapping = spec(&["a1", "a2"], &[]);
        for audience in &mut mapping.audiences {
            (audience.mapping_created_at, audience.mapping_updated_at) = (Some(at(0)), Some(at(0)));
        }
        let progress = samples::progress(Arc::new(mapping.clone()), at(0));
        let told = audiences(&mapping, &[], Some(&progress), &settings(None), at(0));
        assert_eq!(audiences(&mapping, &told, None, &settings(None), at(9)), told);
        mapping.audiences[0].mapping_created_at = Some(at(5));
        let anew = audiences(&mapping, &told, None, &settings(None), at(9));
        assert_eq!(anew[0].backfill.as_ref().unwrap().state, BackfillState::Pending);
    }
}
