//! Validate: pure. From what was dereferenced to what may run, and to the problems that a person can mend.
//!
//! Small named checks, in the order in which a user should mend what they find: [`destination::CHECKS`] and
//! [`activation::CHECKS`]. Nothing later looks at the raw spec again. Asks nothing of the network and of no clock.

use std::collections::BTreeSet;

use crate::api::conditions::Reason;
use crate::kinesis::policy::Origin;

pub mod activation;
pub mod alert_rules;
pub mod credentials;
pub mod destination;
pub mod endpoint;

pub use activation::ValidActivation;
pub use destination::ValidDestination;

/// The longest message that joins several problems, in characters.
const MAX_MESSAGE: usize = 1_024;

/// What the process, not the user, decides.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProcessPolicy {
    /// The namespaces whose destinations may use the process's own credentials.
    pub ambient_namespaces: BTreeSet<String>,
    /// Whether endpoints may be loopback, private or cluster-internal addresses.
    pub allow_internal_endpoints: bool,
    /// From where requests may come, in the policies that are shown.
    pub origin: Origin,
}

/// Whether a problem may pass by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Something that is referred to is not there yet: one sync applies things in any order.
    Missing,
    /// A person must mend it.
    Refused,
}

/// What keeps a resource from being used as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The reason, as conditions name it.
    pub reason: Reason,
    /// The cause and the mend; never a secret's value.
    pub message: String,
    /// Whether it may pass by itself.
    pub kind: Kind,
}

impl Problem {
    /// One that a person must mend.
    pub fn refused(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), kind: Kind::Refused }
    }

    /// One that may pass by itself.
    pub fn missing(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), kind: Kind::Missing }
    }

    /// Whether the resource cannot run with it. A broken alert is told, but stops no data.
    pub fn blocks(&self) -> bool {
        self.reason != Reason::InvalidAlert
    }
}

/// What the checks say of one resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict<T> {
    /// What may run; `None` where a problem blocks it.
    pub valid: Option<T>,
    /// Everything that is wrong, the first to mend first.
    pub problems: Vec<Problem>,
}

/// The reason of the problem that counts, and what all of them say.
pub fn summary(problems: &[Problem]) -> Option<(Reason, String)> {
    // What must be mended by hand before what may pass by itself.
    let first = problems.iter().find(|problem| problem.kind == Kind::Refused).or(problems.first())?;
    let others = problems.iter().filter(|problem| *problem != first);
    let mut message = first.message.clone();
    for problem in others {
        message.push_str("; ");
        message.push_str(&problem.message);
    }
    Some((first.reason, shortened(&message)))
}

/// At most so many characters as a message of the status may have.
pub(super) fn shortened(message: &str) -> String {
    if message.chars().count() <= MAX_MESSAGE {
        return message.to_owned();
    }
    message.chars().take(MAX_MESSAGE - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn what_a_person_must_mend_is_told_first() {
        let problems =
            [Problem::missing(Reason::SecretNotFound, "make it"), Problem::refused(Reason::InvalidSpec, "mend it")];
        assert_eq!(summary(&problems), Some((Reason::InvalidSpec, "mend it; make it".to_owned())));
        assert_eq!(summary(&[]), None);
    }

    #[test]
    fn a_long_message_is_cut() {
        let problems = [Problem::refused(Reason::InvalidSpec, "ü".repeat(5_000))];
        assert_eq!(summary(&problems).unwrap().1.chars().count(), MAX_MESSAGE);
    }
}
