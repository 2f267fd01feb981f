//! Pure decisions: what a probe's report means for the resource, in the words of its conditions.

use crate::api::conditions::Reason;
use crate::kinesis::outcome::RequestError;
use crate::kinesis::probe::{CredentialFinding, Permission, ProbeReport, Ternary};
use crate::kinesis::target::{CredentialSource, Target};

/// What a report comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// Credentials, stream and all three permissions are verified.
    Accepted,
    /// Nothing speaks against it, but the permissions are not verified.
    Unverified {
        /// Why not.
        message: String,
    },
    /// AWS refuses; a person must mend it there or here.
    Refused {
        /// In which respect.
        reason: Reason,
        /// The cause and the mend.
        message: String,
    },
    /// AWS is at it: the stream is being created.
    Waiting {
        /// What is awaited.
        message: String,
    },
    /// AWS could not be asked, or would not say: nothing is learned.
    Trouble {
        /// What went wrong.
        message: String,
    },
}

/// What `report`, of a probe of `target`, comes to. What a user must mend first is told first.
pub fn finding(report: &ProbeReport, target: &Target) -> Finding {
    let name = target.stream.name();
    if let Some((reason, message)) = credentials(report, target) {
        return Finding::Refused { reason, message };
    }
    if report.exists == Ternary::False {
        let message = format!(
            "stream {name} does not exist in {} for this account; create it, or correct spec.stream and spec.region",
            target.region
        );
        return Finding::Refused { reason: Reason::StreamNotFound, message };
    }
    let denied: Vec<&Permission> = report.permissions.iter().filter(|p| p.granted == Ternary::False).collect();
    if let Some(first) = denied.first() {
        let actions: Vec<&str> = denied.iter().map(|permission| permission.action.as_str()).collect();
        let message = format!(
            "AWS denies {}: {}; grant the policy in status.requiredPolicy to the principal of the credentials",
            actions.join(", "),
            first.message
        );
        return Finding::Refused { reason: Reason::AccessDenied, message };
    }
    match &report.trouble {
        Some(RequestError::Encryption { message }) => {
            let message = format!(
                "the stream's encryption key refuses: {message}; grant kms:GenerateDataKey on it and enable it"
            );
            return Finding::Refused { reason: Reason::EncryptionKeyRefused, message };
        }
        Some(error) => return Finding::Trouble { message: format!("AWS could not be asked: {error}") },
        None => {}
    }
    match report.stream.as_ref().and_then(|stream| stream.status.as_deref()) {
        Some("CREATING") => return Finding::Waiting { message: format!("stream {name} is being created") },
        Some("DELETING") => {
            let message = format!("stream {name} is being deleted; create another one, or correct spec.stream");
            return Finding::Refused { reason: Reason::StreamNotActive, message };
        }
        _ => {}
    }
    match report.permissions.iter().find(|permission| permission.granted == Ternary::Unknown) {
        None => Finding::Accepted,
        Some(open) => Finding::Unverified {
            message: format!(
                "{} is not verified: {}; records are sent all the same",
                open.action.as_str(),
                open.message
            ),
        },
    }
}

/// In which respect the credentials are refused, if they are.
pub fn credentials(report: &ProbeReport, target: &Target) -> Option<(Reason, String)> {
    let CredentialFinding::Refused { message } = &report.credentials else { return None };
    let text = message.to_ascii_lowercase();
    let ambient = target.credentials == CredentialSource::Ambient;
    let (reason, mend) = if target.assume_role.is_some()
        && (text.contains("assumerole") || text.contains("assume role"))
    {
        (Reason::AssumeRoleDenied, "let the role's trust policy name this principal and its external id")
    } else if ambient && (text.contains("no providers") || text.contains("not loaded") || text.contains("not enabled"))
    {
        (Reason::CredentialsMissing, "give the operator's pod an identity (IRSA, EKS Pod Identity), or name a Secret")
    } else if text.contains("expired") {
        (Reason::CredentialsExpired, "put fresh ones into the Secret")
    } else if ambient {
        (Reason::CredentialsRefused, "correct the identity of the operator's pod")
    } else {
        (Reason::CredentialsRefused, "put the right access key into the Secret")
    };
    Some((reason, format!("AWS refuses the credentials: {message}; {mend}")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use crate::kinesis::target::AssumeRole;
    use crate::reconcile::validate::ProcessPolicy;
    use crate::reconcile::validate::destination::validate;
    use crate::reconcile::{dereference, samples};

    fn target() -> Target {
        let inventory = samples::inventory();
        let found = dereference::destination(&inventory, &samples::destination_key()).unwrap();
        validate(&found, &ProcessPolicy::default()).valid.unwrap().target
    }

    fn reason(report: &ProbeReport, target: &Target) -> Reason {
        match finding(report, target) {
            Finding::Accepted => Reason::Succeeded,
            Finding::Unverified { .. } => Reason::PermissionsUnverified,
            Finding::Refused { reason, message } => {
                assert!(message.contains("; "), "no mend: {message}");
                reason
            }
            Finding::Waiting { .. } => Reason::StreamNotActive,
            Finding::Trouble { .. } => Reason::Unreachable,
        }
    }

    #[test]
    fn each_report_has_its_meaning() {
        let good = samples::report();
        let stream = |status: &str| {
            let mut report = good.clone();
            report.stream.as_mut().unwrap().status = Some(status.to_owned());
            report
        };
        let trouble = |error| ProbeReport { trouble: Some(error), ..good.clone() };
        let message = || "why".to_owned();
        let mut unknown = good.clone();
        unknown.permissions[1].granted = Ternary::Unknown;
        let table = [
            (good.clone(), Reason::Succeeded),
            (stream("UPDATING"), Reason::Succeeded),
            (stream("CREATING"), Reason::StreamNotActive),
            (stream("DELETING"), Reason::StreamNotActive),
            (samples::denied_report(), Reason::AccessDenied),
            (samples::refused_report("UnrecognizedClientException"), Reason::CredentialsRefused),
            (samples::refused_report("ExpiredTokenException: token"), Reason::CredentialsExpired),
            (ProbeReport { exists: Ternary::False, ..good.clone() }, Reason::StreamNotFound),
            (trouble(RequestError::Encryption { message: message() }), Reason::EncryptionKeyRefused),
            (trouble(RequestError::Throttled { message: message() }), Reason::Unreachable),
            (trouble(RequestError::Unavailable { message: message() }), Reason::Unreachable),
            (unknown, Reason::PermissionsUnverified),
        ];
        for (report, expected) in table {
            assert_eq!(reason(&report, &target()), expected, "{report:?}");
        }
    }

    #[test]
    fn refused_credentials_are_told_by_where_they_come_from() {
        let mut target = target();
        let missing = samples::refused_report("no providers in chain provided credentials");
        assert_eq!(reason(&missing, &target), Reason::CredentialsRefused);
        target.credentials = CredentialSource::Ambient;
        assert_eq!(reason(&missing, &target), Reason::CredentialsMissing);
        assert_eq!(reason(&samples::refused_report("InvalidClientTokenId"), &target), Reason::CredentialsRefused);
        target.assume_role = Some(AssumeRole { role_arn: "arn".into(), external_id: None, session_name: None });
        let denied = samples::refused_report("not authorized to perform: sts:AssumeRole");
        assert_eq!(reason(&denied, &target), Reason::AssumeRoleDenied);
    }
}
