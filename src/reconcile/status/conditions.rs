//! Pure: from what is to be said to conditions, and the three that kstatus reads, which always agree.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use crate::api::conditions::{ConditionType, Reason, condition_time};
use crate::api::quantities::Moment;

/// The status of a condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It holds.
    True,
    /// It does not.
    False,
    /// Nobody knows.
    Unknown,
}

impl State {
    /// As written on the resource.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

impl From<bool> for State {
    fn from(holds: bool) -> Self {
        if holds { Self::True } else { Self::False }
    }
}

/// What one condition is to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// Which.
    pub condition: ConditionType,
    /// Whether it holds.
    pub state: State,
    /// Why.
    pub reason: Reason,
    /// The cause and the mend.
    pub message: String,
}

impl Draft {
    /// That `condition` is `state`, because.
    pub fn new(condition: ConditionType, state: impl Into<State>, reason: Reason, message: impl Into<String>) -> Self {
        Self { condition, state: state.into(), reason, message: message.into() }
    }
}

/// Where a resource stands; it decides `Ready`, `Reconciling` and `Stalled` at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Phase {
    /// Ready.
    Well {
        /// `Succeeded`, `Suspended` or `PermissionsUnverified`.
        reason: Reason,
        /// In a sentence.
        message: String,
    },
    /// Not ready, and the operator sees to it.
    Progressing {
        /// What is awaited.
        reason: Reason,
        /// In a sentence.
        message: String,
    },
    /// Not ready, until a person mends something.
    Stalled {
        /// What.
        reason: Reason,
        /// The cause and the mend.
        message: String,
    },
}

impl Phase {
    /// The phase that `conditions` tell; `None` where they do not tell one.
    pub fn told_by(conditions: &[Condition]) -> Option<Self> {
        let stalled = find(conditions, ConditionType::Stalled).filter(|condition| condition.status == "True");
        let ready = find(conditions, ConditionType::Ready)?;
        let told = stalled.unwrap_or(ready);
        let (reason, message) = (told.reason.parse().ok()?, told.message.clone());
        Some(match (stalled.is_some(), ready.status.as_str()) {
            (true, _) => Self::Stalled { reason, message },
            (false, "True") => Self::Well { reason, message },
            (false, _) => Self::Progressing { reason, message },
        })
    }

    /// The three conditions.
    pub fn drafts(self) -> [Draft; 3] {
        use ConditionType::{Ready, Reconciling, Stalled};
        let quiet = |condition| Draft::new(condition, false, Reason::Succeeded, "There is nothing to do.");
        match self {
            Self::Well { reason, message } => {
                [Draft::new(Ready, true, reason, message), quiet(Reconciling), quiet(Stalled)]
            }
            Self::Progressing { reason, message } => [
                Draft::new(Ready, false, reason, message.clone()),
                Draft::new(Reconciling, true, reason, message),
                quiet(Stalled),
            ],
            Self::Stalled { reason, message } => [
                Draft::new(Ready, false, reason, message.clone()),
                quiet(Reconciling),
                Draft::new(Stalled, true, reason, message),
            ],
        }
    }
}

/// The condition of that type.
pub fn find(conditions: &[Condition], condition: ConditionType) -> Option<&Condition> {
    conditions.iter().find(|known| known.type_ == condition.as_str())
}

/// Whether the condition of that type is True.
pub fn is_true(conditions: &[Condition], condition: ConditionType) -> bool {
    find(conditions, condition).is_some_and(|condition| condition.status == "True")
}

/// The conditions that say `drafts`. A transition time moves only where the status does.
pub fn assemble(old: &[Condition], drafts: Vec<Draft>, generation: Option<i64>, now: Timestamp) -> Vec<Condition> {
    let condition = |draft: Draft| {
        let status = draft.state.as_str();
        let before = find(old, draft.condition).filter(|before| before.status == status);
        Condition {
            type_: draft.condition.as_str().to_owned(),
            status: status.to_owned(),
            reason: draft.reason.as_str().to_owned(),
            message: draft.message,
            observed_generation: generation,
            last_transition_time: before
                .map_or_else(|| condition_time(Moment::from(now)), |before| before.last_transition_time.clone()),
        }
    };
    drafts.into_iter().map(condition).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use crate::reconcile::samples::at;

    #[test]
    fn a_transition_time_moves_only_where_the_status_does() {
        let say = |state: State, reason| vec![Draft::new(ConditionType::Ready, state, reason, "why")];
        let first = assemble(&[], say(State::True, Reason::Succeeded), Some(1), at(0));
        let second = assemble(&first, say(State::True, Reason::Suspended), Some(2), at(10));
        assert_eq!(second[0].last_transition_time, first[0].last_transition_time);
        assert_eq!((second[0].reason.as_str(), second[0].observed_generation), ("Suspended", Some(2)));
        let third = assemble(&second, say(State::False, Reason::Pending), Some(2), at(20));
        assert_eq!(third[0].last_transition_time, condition_time(Moment::from(at(20))));
    }

    #[test]
    fn a_phase_reads_back_from_its_conditions() {
        let (reason, message) = (Reason::AccessDenied, "grant it".to_owned());
        for phase in [
            Phase::Well { reason: Reason::Suspended, message: message.clone() },
            Phase::Progressing { reason, message: message.clone() },
            Phase::Stalled { reason, message },
        ] {
            let conditions = assemble(&[], phase.clone().drafts().to_vec(), None, at(0));
            assert_eq!(Phase::told_by(&conditions), Some(phase));
        }
        assert_eq!(Phase::told_by(&[]), None);
    }
}
