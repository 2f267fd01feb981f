//! Pure: the two types that are only told: a run (an hourly window, or a backfill) began, or ended without failures.

use crate::api::AudienceActivationStatus;
use crate::api::activation::{BackfillState, RunState, RunStatus};
use crate::api::alerts::AlertType;

/// Something to tell once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// `DataflowRunStart` or `DataflowRunSuccess`.
    pub alert_type: AlertType,
    /// In a sentence.
    pub message: String,
}

/// What began and what ended well between two statuses of one activation. An operator that starts anew tells nothing twice,
/// since it begins with the status that it wrote last.
pub fn notices(old: &AudienceActivationStatus, new: &AudienceActivationStatus) -> Vec<Notice> {
    let mut notices = runs(&old.runs, &new.runs);
    let (before, after) = (backfilling(old), backfilling(new));
    if !before && after {
        notices.push(Notice {
            alert_type: AlertType::DataflowRunStart,
            message: "A backfill began: members of mapped audiences are being exported.".to_owned(),
        });
    }
    if !is_complete(old) && is_complete(new) && new.audiences.iter().any(exported_some) {
        notices.push(Notice {
            alert_type: AlertType::DataflowRunSuccess,
            message: "The backfill is completed: every member of the mapped audiences has been exported.".to_owned(),
        });
    }
    notices
}

fn runs(old: &[RunStatus], new: &[RunStatus]) -> Vec<Notice> {
    let newest = old.first().map(|run| run.start);
    let mut notices = Vec::new();
    for run in new.iter().rev() {
        let before = old.iter().find(|before| before.start == run.start);
        let is_new = newest.is_none_or(|newest| run.start > newest);
        let ended = run.state == RunState::Success && run.received > 0;
        let was_open = before.map_or(is_new && newest.is_some(), |before| before.state == RunState::Running);
        if ended && was_open {
            let (exported, received) = (run.exported, run.received);
            let message = format!(
                "The run from {} ended: {exported} records exported of {received} changes, none failed.",
                run.start
            );
            notices.push(Notice { alert_type: AlertType::DataflowRunSuccess, message });
        }
        if is_new && run.state == RunState::Running {
            let message = format!("The run from {} began.", run.start);
            notices.push(Notice { alert_type: AlertType::DataflowRunStart, message });
        }
    }
    notices
}

fn backfilling(status: &AudienceActivationStatus) -> bool {
    status
        .audiences
        .iter()
        .any(|audience| audience.backfill.as_ref().is_some_and(|backfill| backfill.state == BackfillState::Running))
}

/// Whether there is a backfill, and none of it is open.
pub fn is_complete(told: &AudienceActivationStatus) -> bool {
    let backfills = || told.audiences.iter().filter_map(|audience| audience.backfill.as_ref());
    let done = |state| matches!(state, BackfillState::Completed | BackfillState::Skipped);
    backfills().all(|backfill| done(backfill.state))
        && backfills().any(|backfill| backfill.state == BackfillState::Completed)
}

fn exported_some(audience: &crate::api::activation::AudienceStatus) -> bool {
    audience.backfill.as_ref().is_some_and(|backfill| backfill.exported > 0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use crate::api::quantities::Moment;
    use crate::reconcile::samples::at;

    fn status(runs: &[(i64, RunState)]) -> AudienceActivationStatus {
        let run = |(hour, state): &(i64, RunState)| RunStatus {
            start: Moment::from(at(hour * 3_600)),
            end: None,
            state: *state,
            received: 1,
            exported: 1,
            excluded: 0,
            failed: 0,
            activation_rate_percent: None,
        };
        AudienceActivationStatus { runs: runs.iter().map(run).collect(), ..AudienceActivationStatus::default() }
    }

    #[test]
    fn a_run_is_told_when_it_begins_and_when_it_ends_well() {
        use AlertType::{DataflowRunStart, DataflowRunSuccess};
        use RunState::{PartialSuccess, Running, Success};
        type Runs = &'static [(i64, RunState)];
        let table: [(Runs, Runs, &[AlertType]); 7] = [
            (&[], &[(0, Running)], &[DataflowRunStart]),
            (&[(0, Running)], &[(0, Running)], &[]),
            (&[(0, Running)], &[(1, Running), (0, Success)], &[DataflowRunSuccess, DataflowRunStart]),
            (&[(0, Running)], &[(1, Running), (0, PartialSuccess)], &[DataflowRunStart]),
            (&[(1, Running), (0, Success)], &[(1, Success), (0, Success)], &[DataflowRunSuccess]),
            (&[(0, Success)], &[(2, Running), (1, Success), (0, Success)], &[DataflowRunSuccess, DataflowRunStart]),
            (&[], &[(2, Running), (1, Success), (0, Success)], &[DataflowRunStart]),
        ];
        for (old, new, expected) in table {
            let told: Vec<_> = notices(&status(old), &status(new)).iter().map(|notice| notice.alert_type).collect();
            assert_eq!(told, expected, "{old:?} {new:?}");
        }
    }
}
