//! Types: what came of asking whether a caller may, and what is told of it. No token is in any of it.

use std::sync::Arc;

use super::review::ReviewError;
use super::right::AUDIENCE;

/// What the API server said of a token and a right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    Allowed,
    /// The caller is known, and lacks the right.
    Forbidden {
        user: Arc<str>,
    },
    /// The caller is not known.
    Unauthenticated(Doubt),
}

/// Why a token was not taken, as far as the token itself says. It is for the message alone: only the API server judges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Doubt {
    /// It was made for others.
    Audience,
    /// It is too old.
    Expired,
    /// It says nothing of the kind.
    Other,
}

/// Why a request was not let in.
#[derive(Debug, Clone, thiserror::Error)]
pub(super) enum Refusal {
    #[error("no token: send it as Authorization: Bearer TOKEN{}", if *.reviewed { how_to_get_one() } else { String::new() })]
    NoToken { reviewed: bool },
    #[error("the Authorization header cannot be read: send one, as Authorization: Bearer TOKEN")]
    Scheme,
    #[error("the token is not known: send one of the token file's as Authorization: Bearer TOKEN")]
    NotInFile,
    #[error("{}{}", doubt(*.0), how_to_get_one())]
    Unauthenticated(Doubt),
    #[error(
        "{user} may not {permission}: give it the chart's ClusterRole that ends in -{role}, or another that grants this, by {binding}"
    )]
    Forbidden { user: Arc<str>, permission: String, role: &'static str, binding: String },
    #[error("whether this caller may cannot be said now: {0}; send this request again in a moment")]
    Unavailable(Arc<ReviewError>),
}

impl Refusal {
    /// Its name in the metrics.
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::NoToken { .. } => "no_token",
            Self::Scheme | Self::NotInFile | Self::Unauthenticated(_) => "unauthenticated",
            Self::Forbidden { .. } => "forbidden",
            Self::Unavailable(_) => "unavailable",
        }
    }
}

fn doubt(doubt: Doubt) -> String {
    match doubt {
        Doubt::Audience => format!("the token was not made for the audience {AUDIENCE}"),
        Doubt::Expired => "the token has expired".to_owned(),
        Doubt::Other => "the API server does not know the token".to_owned(),
    }
}

fn how_to_get_one() -> String {
    format!(
        "; get one with `kubectl create token SERVICEACCOUNT --audience {AUDIENCE}`, or have it projected into the pod with the audience {AUDIENCE}"
    )
}
