//! Pure: the status of a destination.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::conditions::{Draft, Phase, State, assemble, find};
use super::{echo, phase_of_problems};
use crate::api::conditions::{ConditionType, Reason};
use crate::api::destination::{Action, ActionPermission, CredentialsStatus, Granted, StreamStatus};
use crate::api::quantities::Moment;
use crate::api::{KinesisDestination, KinesisDestinationStatus, REQUESTED_AT};
use crate::kinesis::outcome::RequestError;
use crate::kinesis::probe as service;
use crate::kinesis::probe::Ternary;
use crate::reconcile::probe::{Answer, Finding, ProbeMemory, STRIKES, Standing, findings};
use crate::reconcile::validate::destination::required_policy;
use crate::reconcile::validate::{Problem, ProcessPolicy, ValidDestination, Verdict, shortened};

/// What a pass knows of a destination.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// The resource.
    pub destination: &'a KinesisDestination,
    /// What the checks say.
    pub verdict: &'a Verdict<ValidDestination>,
    /// Since when something that it refers to is missing.
    pub missing_since: Option<Timestamp>,
    /// What AWS said.
    pub probes: &'a ProbeMemory,
    /// How many activations name it.
    pub activations: u32,
    /// What the process decides.
    pub policy: &'a ProcessPolicy,
}

/// The status of a destination of which `facts` are known.
pub fn status(old: Option<&KinesisDestinationStatus>, facts: &Facts<'_>, now: Timestamp) -> KinesisDestinationStatus {
    let metadata = &facts.destination.metadata;
    let none = KinesisDestinationStatus::default();
    let old = old.unwrap_or(&none);
    let valid = facts.verdict.valid.as_ref();
    let shown = valid.and_then(|valid| shown_answer(facts.probes.standing(&valid.subject)));
    let request = metadata.annotations.as_ref().and_then(|all| all.get(REQUESTED_AT));
    let answered = valid.is_none() || facts.probes.answered_request() == request.map(String::as_str);
    let mut drafts = phase(old, facts, now).drafts().to_vec();
    drafts.extend(details(old, facts, shown));
    KinesisDestinationStatus {
        observed_generation: metadata.generation,
        last_handled_request_at: if answered {
            echo(metadata, REQUESTED_AT)
        } else {
            old.last_handled_request_at.clone()
        },
        conditions: assemble(&old.conditions, drafts, metadata.generation, now),
        stream: stream(old, facts, shown),
        permissions: match (valid, shown) {
            (Some(_), Some(answer)) => answer.report.permissions.iter().map(|row| permission(row, answer.at)).collect(),
            // A process that has just started has not asked yet.
            (Some(valid), None) if stands(old, facts, valid) => old.permissions.clone(),
            _ => Vec::new(),
        },
        credentials: valid.map(|valid| credentials(old, valid, now)),
        required_policy: required_policy(&facts.destination.spec, account(old, shown).as_deref(), facts.policy),
        activations: Some(facts.activations),
        last_checked_at: facts.probes.last_answer().map(Moment::from).or(old.last_checked_at),
    }
}

/// The answer that the conditions speak of: what is believed, or the latest hint.
fn shown_answer(standing: Standing<'_>) -> Option<&Answer> {
    match standing {
        Standing::Settled(answer) => Some(answer),
        Standing::Unsettled { latest, .. } => latest,
    }
}

fn phase(old: &KinesisDestinationStatus, facts: &Facts<'_>, now: Timestamp) -> Phase {
    if let Some(phase) = phase_of_problems(&facts.verdict.problems, facts.missing_since, now) {
        return phase;
    }
    let Some(valid) = &facts.verdict.valid else {
        let message = "the spec could not be made use of; see the logs of the operator".to_owned();
        return Phase::Stalled { reason: Reason::InvalidSpec, message };
    };
    let well = |reason, message: &str| {
        let message = message.to_owned();
        if valid.suspended {
            let message = "spec.suspend is set: every dataflow to this destination is paused".to_owned();
            return Phase::Well { reason: Reason::Suspended, message };
        }
        Phase::Well { reason, message }
    };
    match facts.probes.standing(&valid.subject) {
        Standing::Settled(answer) => match &answer.finding {
            Finding::Accepted => well(Reason::Succeeded, "Credentials, stream and permissions are verified."),
            Finding::Unverified { message } => well(Reason::PermissionsUnverified, message),
            Finding::Refused { reason, message } => Phase::Stalled { reason: *reason, message: shortened(message) },
            Finding::Waiting { message } | Finding::Trouble { message } => {
                Phase::Progressing { reason: Reason::StreamNotActive, message: shortened(message) }
            }
        },
        Standing::Unsettled { latest, refusals } => {
            if stands(old, facts, valid) {
                match as_it_was(old) {
                    Some(Phase::Well { reason, message }) => {
                        let known = if reason == Reason::Suspended { Reason::Succeeded } else { reason };
                        return well(known, &message);
                    }
                    Some(phase @ Phase::Stalled { .. }) => return phase,
                    Some(Phase::Progressing { .. }) | None => {}
                }
            }
            hint(latest, refusals)
        }
    }
}

/// Not known yet: what the latest answer makes likely.
fn hint(latest: Option<&Answer>, refusals: u32) -> Phase {
    let (reason, message) = match latest.map(|answer| &answer.finding) {
        Some(Finding::Refused { reason, message }) => {
            (*reason, format!("{message} (refused {refusals} of {STRIKES} times; asked again)"))
        }
        Some(Finding::Trouble { message }) => (Reason::Unreachable, format!("{message}; asked again")),
        _ => (Reason::Progressing, "Credentials, stream and permissions are being verified.".to_owned()),
    };
    Phase::Progressing { reason, message: shortened(&message) }
}

/// Whether what the old status says of AWS still holds for the spec: an operator that starts anew takes it up.
fn stands(old: &KinesisDestinationStatus, facts: &Facts<'_>, valid: &ValidDestination) -> bool {
    let generation = facts.destination.metadata.generation;
    generation.is_some() && old.observed_generation == generation && !facts.probes.is_about_another(&valid.subject)
}

/// The old phase, where AWS and not a check of the spec decided it.
fn as_it_was(old: &KinesisDestinationStatus) -> Option<Phase> {
    let phase = Phase::told_by(&old.conditions)?;
    let reason = match &phase {
        Phase::Well { reason, .. } | Phase::Progressing { reason, .. } | Phase::Stalled { reason, .. } => *reason,
    };
    let by_aws = matches!(
        reason,
        Reason::Succeeded
            | Reason::Suspended
            | Reason::PermissionsUnverified
            | Reason::CredentialsRefused
            | Reason::CredentialsExpired
            | Reason::CredentialsMissing
            | Reason::AssumeRoleDenied
            | Reason::StreamNotFound
            | Reason::StreamNotActive
            | Reason::EncryptionKeyRefused
            | Reason::AccessDenied
    );
    by_aws.then_some(phase)
}

fn details(old: &KinesisDestinationStatus, facts: &Facts<'_>, shown: Option<&Answer>) -> [Draft; 3] {
    use ConditionType::{CredentialsValid, PermissionsGranted, StreamReachable};
    let Some(valid) = &facts.verdict.valid else {
        let not_asked = |condition| {
            Draft::new(condition, State::Unknown, Reason::Pending, "AWS was not asked: first mend what Ready names.")
        };
        let of_credentials = |problem: &&Problem| {
            use Reason::{AmbientNotAllowed, Forbidden, SecretKeyMissing, SecretNotFound};
            matches!(problem.reason, SecretNotFound | SecretKeyMissing | AmbientNotAllowed | Forbidden)
        };
        let credentials = match facts.verdict.problems.iter().find(of_credentials) {
            Some(problem) => Draft::new(CredentialsValid, false, problem.reason, shortened(&problem.message)),
            None => not_asked(CredentialsValid),
        };
        return [credentials, not_asked(StreamReachable), not_asked(PermissionsGranted)];
    };
    let Some(answer) = shown else {
        let recalled = stands(old, facts, valid);
        return [CredentialsValid, StreamReachable, PermissionsGranted].map(|condition| {
            let before = find(&old.conditions, condition).filter(|_| recalled).and_then(redraft(condition));
            before.unwrap_or_else(|| {
                Draft::new(condition, State::Unknown, Reason::Progressing, "AWS has not answered yet.")
            })
        });
    };
    [credentials_valid(answer, valid), stream_reachable(answer, valid), permissions_granted(answer)]
}

fn redraft(kind: ConditionType) -> impl Fn(&Condition) -> Option<Draft> {
    move |condition| {
        let state = match condition.status.as_str() {
            "True" => State::True,
            "False" => State::False,
            _ => State::Unknown,
        };
        Some(Draft::new(kind, state, condition.reason.parse().ok()?, condition.message.clone()))
    }
}

fn credentials_valid(answer: &Answer, valid: &ValidDestination) -> Draft {
    let kind = ConditionType::CredentialsValid;
    match (&answer.report.credentials, findings::credentials(&answer.report, &valid.target)) {
        (_, Some((reason, message))) => Draft::new(kind, false, reason, shortened(&message)),
        (service::CredentialFinding::Valid, None) => {
            Draft::new(kind, true, Reason::CredentialsAccepted, "AWS knows the credentials.")
        }
        (_, None) => Draft::new(kind, State::Unknown, unknown_reason(answer), trouble(answer)),
    }
}

fn stream_reachable(answer: &Answer, valid: &ValidDestination) -> Draft {
    let kind = ConditionType::StreamReachable;
    let name = valid.target.stream.name();
    let status = answer.report.stream.as_ref().and_then(|stream| stream.status.as_deref());
    match (&answer.finding, answer.report.exists, status) {
        (Finding::Refused { reason: Reason::EncryptionKeyRefused, message }, ..) => {
            Draft::new(kind, false, Reason::EncryptionKeyRefused, shortened(message))
        }
        (_, Ternary::False, _) => {
            let message =
                format!("Stream {name} does not exist in {}; create it, or correct spec.stream.", valid.target.region);
            Draft::new(kind, false, Reason::StreamNotFound, message)
        }
        (_, Ternary::True, Some(status @ ("CREATING" | "DELETING"))) => {
            Draft::new(kind, false, Reason::StreamNotActive, format!("Stream {name} is {status}."))
        }
        (_, Ternary::True, _) => Draft::new(kind, true, Reason::StreamActive, format!("Stream {name} is there.")),
        (_, Ternary::Unknown, _) => Draft::new(kind, State::Unknown, unknown_reason(answer), trouble(answer)),
    }
}

fn permissions_granted(answer: &Answer) -> Draft {
    let kind = ConditionType::PermissionsGranted;
    let rows = &answer.report.permissions;
    let named = |granted| {
        let names: Vec<&str> =
            rows.iter().filter(|row| row.granted == granted).map(|row| row.action.as_str()).collect();
        names.join(", ")
    };
    if rows.iter().all(|row| row.granted == Ternary::True) {
        return Draft::new(kind, true, Reason::PermissionsGranted, "All three actions are granted.");
    }
    if rows.iter().any(|row| row.granted == Ternary::False) {
        let message = format!("AWS denies {}; grant the policy in status.requiredPolicy.", named(Ternary::False));
        return Draft::new(kind, false, Reason::AccessDenied, message);
    }
    let message = format!("Not verified: {}; see status.permissions.", named(Ternary::Unknown));
    Draft::new(kind, State::Unknown, Reason::PermissionsUnverified, message)
}

fn unknown_reason(answer: &Answer) -> Reason {
    match answer.finding {
        Finding::Trouble { .. } => Reason::Unreachable,
        _ => Reason::Pending,
    }
}

fn trouble(answer: &Answer) -> String {
    let error = answer.report.trouble.as_ref().map(RequestError::to_string);
    shortened(&error.unwrap_or_else(|| "AWS's answers do not tell.".to_owned()))
}

fn stream(old: &KinesisDestinationStatus, facts: &Facts<'_>, shown: Option<&Answer>) -> Option<StreamStatus> {
    let named = facts.destination.spec.stream.stream_name()?;
    if let Some(found) = shown.and_then(|answer| answer.report.stream.clone()) {
        return Some(StreamStatus { name: found.name, arn: found.arn, status: found.status, mode: found.mode });
    }
    let known = old.stream.clone().filter(|known| known.name == named && shown.is_none());
    Some(known.unwrap_or_else(|| StreamStatus {
        name: named.to_owned(),
        arn: facts.destination.spec.stream.arn.clone(),
        status: None,
        mode: None,
    }))
}

fn account(old: &KinesisDestinationStatus, shown: Option<&Answer>) -> Option<String> {
    let found = shown.and_then(|answer| answer.report.stream.as_ref()).and_then(|stream| stream.arn.as_deref());
    let arn = found.or(old.stream.as_ref().and_then(|stream| stream.arn.as_deref()))?;
    arn.split(':').nth(4).filter(|account| !account.is_empty()).map(str::to_owned)
}

fn permission(row: &service::Permission, at: Timestamp) -> ActionPermission {
    ActionPermission {
        action: match row.action {
            service::Action::ListStreams => Action::ListStreams,
            service::Action::PutRecord => Action::PutRecord,
            service::Action::PutRecords => Action::PutRecords,
        },
        granted: match row.granted {
            Ternary::True => Granted::True,
            Ternary::False => Granted::False,
            Ternary::Unknown => Granted::Unknown,
        },
        message: (!row.message.is_empty()).then(|| shortened(&row.message)),
        checked_at: Moment::from(at),
    }
}

fn credentials(old: &KinesisDestinationStatus, valid: &ValidDestination, now: Timestamp) -> CredentialsStatus {
    let facts = &valid.credentials;
    let same = |old: &&CredentialsStatus| {
        old.source == facts.source
            && old.secret_resource_version == facts.secret_resource_version
            && old.external_id == facts.external_id
    };
    CredentialsStatus {
        source: facts.source,
        secret_resource_version: facts.secret_resource_version.clone(),
        external_id: facts.external_id.clone(),
        observed_at: old.credentials.as_ref().filter(same).map_or(Moment::from(now), |old| old.observed_at),
    }
}

#[cfg(test)]
mod tests;
