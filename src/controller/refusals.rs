//! Pure: the status of a resource that the passes do not get to see as it is: what it said before, and that a person must mend
//! something.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use serde::de::DeserializeOwned;

use super::stock::Refusal;
use crate::api::conditions::{ConditionType, Reason};
use crate::api::{AudienceActivationStatus, KinesisDestinationStatus};
use crate::reconcile::status::conditions::{Draft, Phase, State, assemble, find};

/// A status of either kind, as far as a refusal concerns it.
pub trait Refused: Clone + Default + DeserializeOwned {
    /// The conditions that it always carries.
    const CONDITIONS: &'static [ConditionType];
    /// Its conditions, and the generation that it speaks of.
    fn parts(&mut self) -> (&mut Vec<Condition>, &mut Option<i64>);
}

impl Refused for KinesisDestinationStatus {
    const CONDITIONS: &'static [ConditionType] = &ConditionType::DESTINATION;

    fn parts(&mut self) -> (&mut Vec<Condition>, &mut Option<i64>) {
        (&mut self.conditions, &mut self.observed_generation)
    }
}

impl Refused for AudienceActivationStatus {
    const CONDITIONS: &'static [ConditionType] = &ConditionType::ACTIVATION;

    fn parts(&mut self) -> (&mut Vec<Condition>, &mut Option<i64>) {
        (&mut self.conditions, &mut self.observed_generation)
    }
}

/// The status of a resource that is refused. `driven` is what the pass says of what runs of it, `told` what was told of the
/// refusal before.
pub fn status<S: Refused>(refusal: &Refusal, driven: Option<&S>, told: Option<&[Condition]>, now: Timestamp) -> S {
    let carried = || refusal.status.clone().and_then(|status| serde_json::from_value(status).ok());
    let mut status: S = driven.cloned().or_else(carried).unwrap_or_default();
    let (conditions, generation) = status.parts();
    let phase = Phase::Stalled { reason: refusal.reason, message: refusal.message.clone() };
    let mut drafts = phase.drafts().to_vec();
    let others = S::CONDITIONS.iter().filter(|kind| drafts.iter().all(|draft| draft.condition != **kind));
    let kept: Vec<Draft> = others.map(|kind| kept(*kind, find(conditions, *kind))).collect();
    drafts.extend(kept);
    *generation = refusal.generation;
    *conditions = assemble(told.unwrap_or(conditions), drafts, refusal.generation, now);
    status
}

fn kept(kind: ConditionType, before: Option<&Condition>) -> Draft {
    let known = before.and_then(|before| {
        let state = match before.status.as_str() {
            "True" => State::True,
            "False" => State::False,
            _ => State::Unknown,
        };
        Some(Draft::new(kind, state, before.reason.parse().ok()?, before.message.clone()))
    });
    known.unwrap_or_else(|| {
        Draft::new(kind, State::Unknown, Reason::Pending, "Not looked at: first mend what Ready names.")
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use serde_json::json;

    use super::*;
    use crate::reconcile::status::conditions::is_true;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_767_323_045 + second).unwrap()
    }

    fn refusal() -> Refusal {
        Refusal {
            uid: "u".to_owned(),
            generation: Some(7),
            reason: Reason::InvalidSpec,
            message: "mend it".to_owned(),
            status: Some(json!({"mappedAudiences": 3, "audiences": [], "conditions": []})),
        }
    }

    #[test]
    fn it_is_stalled_with_every_condition_and_keeps_what_was_told_before() {
        let status: AudienceActivationStatus = status(&refusal(), None, None, at(0));
        assert_eq!((status.observed_generation, status.mapped_audiences), (Some(7), Some(3)));
        let types: Vec<_> = status.conditions.iter().map(|condition| condition.type_.as_str()).collect();
        assert_eq!(types, ConditionType::ACTIVATION.map(ConditionType::as_str));
        assert!(is_true(&status.conditions, ConditionType::Stalled));
        let ready = find(&status.conditions, ConditionType::Ready).unwrap();
        assert_eq!((ready.status.as_str(), ready.reason.as_str()), ("False", "InvalidSpec"));
        assert!(status.conditions.iter().all(|condition| condition.observed_generation == Some(7)));
    }

    #[test]
    fn what_runs_of_it_is_still_told_and_nothing_moves_while_nothing_changes() {
        let well = Phase::Well { reason: Reason::Succeeded, message: "it runs".to_owned() };
        let mut drafts = well.drafts().to_vec();
        drafts.push(Draft::new(ConditionType::Delivering, true, Reason::Flowing, "it flows"));
        let conditions = assemble(&[], drafts, Some(6), at(0));
        let driven = AudienceActivationStatus { conditions, observed_generation: Some(6), ..Default::default() };
        let first = status(&refusal(), Some(&driven), None, at(10));
        assert!(is_true(&first.conditions, ConditionType::Delivering));
        assert!(!is_true(&first.conditions, ConditionType::Ready));
        let second = status(&refusal(), Some(&driven), Some(&first.conditions), at(20));
        assert_eq!(second, first);
    }
}
