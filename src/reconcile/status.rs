//! Status: pure. From the old status, what was found and `now` to the new status; and how much of it is news.
//!
//! Everything that a status says comes from one pass. [`destination`] and [`activation`] each build their kind; every
//! condition is always there.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta};

use super::validate::{Kind, Problem, summary};
use crate::api::conditions::condition_time;
use crate::api::quantities::Moment;
use crate::api::{AudienceActivationStatus, KinesisDestinationStatus};

pub mod activation;
pub mod conditions;
pub mod delivering;
pub mod destination;

use conditions::Phase;

/// How long something that is referred to may be missing before a person is asked: one sync applies things in any order.
pub const GRACE: Duration = Duration::from_mins(5);
/// Counters alone are written at most this often for each object.
pub const COUNTERS_EVERY: Duration = Duration::from_secs(30);

/// How much of a status is news.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// Nothing is new.
    None,
    /// Only counters and times.
    Counters,
    /// A condition, or something else that people and tools wait for.
    Material,
}

impl Change {
    /// From when on a status in which so much is new should be written, when the last was written at `written`; `None` where
    /// it need not be. Times are [`crate::telemetry::clock::monotonic`]: a clock that is set back holds nothing up.
    pub fn due_at(self, written: Duration) -> Option<Duration> {
        match self {
            Self::None => None,
            Self::Material => Some(written),
            Self::Counters => Some(written.saturating_add(COUNTERS_EVERY)),
        }
    }
}

/// A status of either kind, as far as news goes.
pub trait Compared: Clone + PartialEq {
    /// The same without counters and times.
    #[must_use]
    fn essence(&self) -> Self;
}

/// How much of `new` is news to who has seen `old`.
pub fn change<S: Compared>(old: &S, new: &S) -> Change {
    if old == new {
        Change::None
    } else if old.essence() == new.essence() {
        Change::Counters
    } else {
        Change::Material
    }
}

/// Whether a condition, or something else that people and tools wait for, is new.
pub fn material_change<S: Compared>(old: &S, new: &S) -> bool {
    change(old, new) == Change::Material
}

fn timeless(conditions: &[Condition]) -> Vec<Condition> {
    let epoch = condition_time(Moment::from_millis(0));
    conditions.iter().map(|known| Condition { last_transition_time: epoch.clone(), ..known.clone() }).collect()
}

impl Compared for KinesisDestinationStatus {
    fn essence(&self) -> Self {
        let mut essence = Self { conditions: timeless(&self.conditions), last_checked_at: None, ..self.clone() };
        for permission in &mut essence.permissions {
            permission.checked_at = Moment::from_millis(0);
        }
        essence
    }
}

impl Compared for AudienceActivationStatus {
    fn essence(&self) -> Self {
        let mut essence = Self {
            conditions: timeless(&self.conditions),
            backfill_percent: None,
            dataflow: None,
            runs: Vec::new(),
            ..self.clone()
        };
        for backfill in essence.audiences.iter_mut().filter_map(|audience| audience.backfill.as_mut()) {
            (backfill.exported, backfill.total, backfill.percent) = (0, None, None);
            (backfill.started_at, backfill.completed_at, backfill.estimated_completion) = (None, None, None);
            backfill.message = None;
        }
        for alert in &mut essence.alerts {
            (alert.since, alert.value) = (Moment::from_millis(0), None);
            alert.message.clear();
        }
        essence
    }
}

/// The longest value of an annotation that a status echoes, in characters.
const MAX_ECHO: usize = 256;

/// The value of the annotation `name`, as far as a status can hold it.
pub(super) fn echo(metadata: &ObjectMeta, name: &str) -> Option<String> {
    let value = metadata.annotations.as_ref()?.get(name)?;
    Some(value.chars().take(MAX_ECHO).collect())
}

/// What `problems` make of a resource, some of which have been missing since `missing_since`; `None` where there are none.
pub(super) fn phase_of_problems(
    problems: &[Problem],
    missing_since: Option<Timestamp>,
    now: Timestamp,
) -> Option<Phase> {
    let (reason, message) = summary(problems)?;
    let refused = problems.iter().any(|problem| problem.kind == Kind::Refused);
    let overdue = missing_since.is_some_and(|since| now.duration_since(since) >= signed(GRACE));
    Some(if refused || overdue { Phase::Stalled { reason, message } } else { Phase::Progressing { reason, message } })
}

pub(super) fn signed(duration: Duration) -> SignedDuration {
    SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use crate::api::activation::DataflowStatus;
    use crate::api::conditions::Reason;
    use crate::reconcile::samples::at;

    #[test]
    fn something_missing_has_five_minutes_and_a_refusal_none() {
        let missing = Problem::missing(Reason::SecretNotFound, "create it");
        let refused = Problem::refused(Reason::InvalidSpec, "mend it");
        let stalled = |problems: &[Problem], second| {
            matches!(phase_of_problems(problems, Some(at(0)), at(second)), Some(Phase::Stalled { .. }))
        };
        assert!(!stalled(std::slice::from_ref(&missing), 299));
        assert!(stalled(std::slice::from_ref(&missing), 300));
        assert!(stalled(&[missing, refused], 0));
        assert_eq!(phase_of_problems(&[], None, at(0)), None);
    }

    #[test]
    fn an_annotation_is_echoed_as_far_as_a_status_can_hold_it() {
        let annotations = Some([("a".to_owned(), "ü".repeat(300)), ("b".to_owned(), "now".to_owned())].into());
        let metadata = ObjectMeta { annotations, ..ObjectMeta::default() };
        assert_eq!(echo(&metadata, "a").unwrap().chars().count(), MAX_ECHO);
        assert_eq!(echo(&metadata, "b").as_deref(), Some("now"));
        assert_eq!(echo(&metadata, "c"), None);
    }

    #[test]
    fn counters_wait_and_conditions_do_not() {
        let old = AudienceActivationStatus::default();
        let counted = AudienceActivationStatus {
            dataflow: Some(DataflowStatus::default()),
            ..AudienceActivationStatus::default()
        };
        let told = AudienceActivationStatus { mapped_audiences: Some(1), ..counted.clone() };
        assert_eq!(change(&old, &old), Change::None);
        assert_eq!(change(&old, &counted), Change::Counters);
        assert!(material_change(&counted, &told));
        let written = Duration::from_secs(100);
        for (change, due) in [
            (Change::None, None),
            (Change::Counters, Some(written + COUNTERS_EVERY)),
            (Change::Material, Some(written)),
        ] {
            assert_eq!(change.due_at(written), due, "{change:?}");
        }
    }
}
