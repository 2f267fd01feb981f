//! Types: what the service answers when it refuses. Builds bodies; decides nothing.

use std::borrow::Cow;

/// A refusal as the protocol words it: `{"__type": kind, "message": …}` with a status.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kind}: {message}")]
pub struct ApiError {
    /// HTTP status: 400, 500 or 503.
    pub status: u16,
    /// The exception's name, such as `ResourceNotFoundException`.
    pub kind: Cow<'static, str>,
    /// What a person reads.
    pub message: String,
}

impl ApiError {
    /// A refusal with status 400, the protocol's usual one.
    pub fn new(kind: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self { status: 400, kind: kind.into(), message: message.into() }
    }

    /// An argument that is well formed and out of its range.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new("InvalidArgumentException", message)
    }

    /// An argument that breaks a constraint of the service's model.
    pub(crate) fn constraint(value: Option<&str>, at: &str, rule: &str) -> Self {
        let value = value.map_or_else(|| "Value".to_owned(), |value| format!("Value '{value}'"));
        Self::new(
            "ValidationException",
            format!("1 validation error detected: {value} at '{at}' failed to satisfy constraint: {rule}"),
        )
    }

    /// A body that is not the JSON the action takes.
    pub(crate) fn serialization(message: impl Into<String>) -> Self {
        Self::new("SerializationException", message)
    }

    /// The stream is not there.
    pub(crate) fn no_stream(name: &str, account: &str) -> Self {
        Self::new("ResourceNotFoundException", format!("Stream {name} under account {account} not found."))
    }

    /// A shard or the whole request was throttled.
    pub(crate) fn throttled(what: &str) -> Self {
        Self::new("ProvisionedThroughputExceededException", format!("Rate exceeded for {what}."))
    }

    /// The service failed by itself: status 500.
    pub(crate) fn internal() -> Self {
        Self { status: 500, ..Self::new("InternalFailure", "Internal service failure.") }
    }

    /// The service is away: status 503.
    pub(crate) fn unavailable() -> Self {
        Self { status: 503, ..Self::new("ServiceUnavailable", "The service is unavailable.") }
    }

    /// The body in the protocol's form.
    pub(crate) fn body(&self) -> Vec<u8> {
        serde_json::json!({"__type": self.kind, "message": self.message}).to_string().into_bytes()
    }
}
