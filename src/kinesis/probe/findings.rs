//! Pure decisions: what the answers of a probe prove about credentials, stream and permissions, and what they leave open.
//!
//! Nothing is `True` without a proof: a server that checks arguments before permissions leaves them `Unknown`.

use crate::kinesis::client::{CheckAnswer, StreamFacts, StreamPage};
use crate::kinesis::outcome::RequestError;
use crate::kinesis::target::StreamRef;

/// The letters of a stream's name, in their order.
const NAME_LETTERS: &str = "-.0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz";
/// The longest name of a stream.
const MAX_NAME: usize = 128;

/// Yes, no, or not known; shown as Kubernetes shows the status of a condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ternary {
    /// Proved.
    True,
    /// Disproved.
    False,
    /// Neither.
    Unknown,
}

impl Ternary {
    /// `True`, `False` or `Unknown`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

/// The three actions that are needed; no other is ever called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Whether the stream is there, and in which state.
    ListStreams,
    /// One record.
    PutRecord,
    /// Many records.
    PutRecords,
}

impl Action {
    /// The action's name in IAM.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ListStreams => "kinesis:ListStreams",
            Self::PutRecord => "kinesis:PutRecord",
            Self::PutRecords => "kinesis:PutRecords",
        }
    }
}

/// What is known of one permission.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permission {
    /// Which.
    pub action: Action,
    /// Whether it is granted.
    pub granted: Ternary,
    /// Why, where it is not granted or not known; empty where it is granted.
    pub message: String,
}

/// What is known of the credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CredentialFinding {
    /// The service knows them.
    Valid,
    /// The service, or where they come from, refused them.
    Refused {
        /// The reason, without a secret.
        message: String,
    },
    /// Nothing was answered that tells.
    Unknown,
}

/// What a probe found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeReport {
    /// What `ListStreams` tells of the stream, where it is listed.
    pub stream: Option<StreamFacts>,
    /// Whether the stream exists.
    pub exists: Ternary,
    /// What is known of the credentials.
    pub credentials: CredentialFinding,
    /// `ListStreams`, `PutRecord`, `PutRecords`, in this order.
    pub permissions: [Permission; 3],
    /// The first failure that is neither a refusal nor a missing stream: throttled, unavailable, its key refused.
    pub trouble: Option<RequestError>,
}

/// What became of the search for the stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    /// A page was answered.
    pub answered: bool,
    /// The stream, where a page showed it.
    pub found: Option<StreamFacts>,
    /// Every page was read.
    pub complete: bool,
    /// What ended the search early.
    pub error: Option<RequestError>,
}

impl Listing {
    /// Whether reading on could still find the stream.
    pub fn is_open(&self) -> bool {
        self.found.is_none()
            && !matches!(self.error, Some(RequestError::Denied { .. } | RequestError::Credentials { .. }))
    }
}

/// The answer to a put that was meant to be refused.
pub type PutCheck = Result<CheckAnswer, RequestError>;

/// Everything that a probe saw.
#[derive(Debug, Clone)]
pub struct Observed<'a> {
    /// The stream that was asked about.
    pub stream: &'a StreamRef,
    /// The search for it.
    pub listing: Listing,
    /// `PutRecord` and `PutRecords`, where they were checked.
    pub puts: Option<(PutCheck, PutCheck)>,
}

impl Observed<'_> {
    fn puts(&self) -> impl Iterator<Item = &PutCheck> {
        self.puts.iter().flat_map(|(one, many)| [one, many])
    }

    fn errors(&self) -> impl Iterator<Item = &RequestError> {
        self.listing.error.iter().chain(self.puts().filter_map(|put| put.as_ref().err()))
    }

    /// Every name of the account was read, and the stream's is not among them.
    fn surely_missing(&self) -> bool {
        self.listing.complete && self.listing.found.is_none() && matches!(self.stream, StreamRef::Name(_))
    }

    /// A put with bad arguments was refused for its arguments where it should have been refused for something else first.
    fn arguments_come_first(&self) -> bool {
        self.surely_missing() || matches!(self.listing.error, Some(RequestError::Credentials { .. }))
    }
}

/// What `observed` proves.
pub fn interpret(observed: &Observed<'_>) -> ProbeReport {
    let (one, many) = match &observed.puts {
        Some((one, many)) => (Some(one), Some(many)),
        None => (None, None),
    };
    ProbeReport {
        stream: observed.listing.found.clone(),
        exists: exists(observed),
        credentials: credentials(observed),
        permissions: [
            listing_permission(&observed.listing),
            put_permission(Action::PutRecord, one, observed),
            put_permission(Action::PutRecords, many, observed),
        ],
        trouble: observed
            .errors()
            .find(|error| {
                matches!(
                    error,
                    RequestError::Throttled { .. } | RequestError::Unavailable { .. } | RequestError::Encryption { .. }
                )
            })
            .cloned(),
    }
}

fn exists(observed: &Observed<'_>) -> Ternary {
    if observed.listing.found.is_some() {
        return Ternary::True;
    }
    if observed.surely_missing() || observed.puts().any(|put| matches!(put, Err(RequestError::StreamNotFound { .. }))) {
        return Ternary::False;
    }
    let reached =
        |put: &PutCheck| matches!(put, Ok(_) | Err(RequestError::Invalid { .. } | RequestError::Encryption { .. }));
    if observed.puts().any(reached) && !observed.arguments_come_first() { Ternary::True } else { Ternary::Unknown }
}

fn credentials(observed: &Observed<'_>) -> CredentialFinding {
    let refused = observed.errors().find_map(|error| match error {
        RequestError::Credentials { message } => Some(message.clone()),
        _ => None,
    });
    if let Some(message) = refused {
        return CredentialFinding::Refused { message };
    }
    // Whoever is told "denied" or "no such stream" is known to the service.
    let known = |error: &RequestError| {
        matches!(
            error,
            RequestError::Denied { .. }
                | RequestError::StreamNotFound { .. }
                | RequestError::Encryption { .. }
                | RequestError::Invalid { .. }
        )
    };
    if observed.listing.answered || observed.puts().any(Result::is_ok) || observed.errors().any(known) {
        CredentialFinding::Valid
    } else {
        CredentialFinding::Unknown
    }
}

fn listing_permission(listing: &Listing) -> Permission {
    let action = Action::ListStreams;
    match &listing.error {
        _ if listing.answered => Permission { action, granted: Ternary::True, message: String::new() },
        Some(RequestError::Denied { message }) => {
            Permission { action, granted: Ternary::False, message: message.clone() }
        }
        Some(error) => Permission { action, granted: Ternary::Unknown, message: error.to_string() },
        None => Permission { action, granted: Ternary::Unknown, message: "not asked".into() },
    }
}

fn put_permission(action: Action, check: Option<&PutCheck>, observed: &Observed<'_>) -> Permission {
    let (granted, message) = match check {
        None => (Ternary::Unknown, "not checked: permissionCheck.method is None".into()),
        Some(Err(RequestError::Denied { message })) => (Ternary::False, message.clone()),
        Some(Err(RequestError::Invalid { .. }) | Ok(CheckAnswer::EntryRefused { .. }))
            if observed.arguments_come_first() =>
        {
            (Ternary::Unknown, "the server checks arguments before permissions".into())
        }
        Some(Err(RequestError::Invalid { .. })) => (Ternary::True, String::new()),
        Some(Ok(CheckAnswer::EntryRefused { code, .. })) if code.starts_with("InvalidArgument") => {
            (Ternary::True, String::new())
        }
        Some(Ok(CheckAnswer::EntryRefused { code, message })) => {
            (Ternary::Unknown, format!("the check was refused for another reason: {code}: {message}"))
        }
        Some(Ok(CheckAnswer::Written)) => {
            (Ternary::Unknown, "the server accepted a hash key out of range: the check wrote a record".into())
        }
        Some(Err(error)) => (Ternary::Unknown, error.to_string()),
    };
    Permission { action, granted, message }
}

/// The stream among those of a page. A name alone does not prove that it is the stream of an ARN.
pub fn find(stream: &StreamRef, page: &StreamPage) -> Option<StreamFacts> {
    let facts = match stream {
        StreamRef::Name(name) => page.summaries.iter().find(|facts| facts.name == *name),
        StreamRef::Arn(arn) => page.summaries.iter().find(|facts| facts.arn.as_ref() == Some(arn)),
    };
    let named_only = || {
        let StreamRef::Name(name) = stream else { return None };
        page.names.contains(name).then(|| StreamFacts { name: name.clone(), arn: None, status: None, mode: None })
    };
    facts.cloned().or_else(named_only)
}

/// A name directly before `name` in the order of names, so that a page that starts behind it begins with `name`; none where
/// `name` is no stream's name or nothing can stand before it.
pub fn just_before(name: &str) -> Option<String> {
    let last = name.chars().last()?;
    let rest = &name[..name.len() - last.len_utf8()];
    let at = NAME_LETTERS.find(last)?;
    let Some(earlier) = NAME_LETTERS[..at].chars().last() else {
        // Nothing stands between `a` and `a-`.
        return (!rest.is_empty()).then(|| rest.to_owned());
    };
    let padding = "z".repeat(MAX_NAME.saturating_sub(name.len()));
    Some(format!("{rest}{earlier}{padding}"))
}

#[cfg(test)]
mod tests;
