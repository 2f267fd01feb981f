//! Types: what a `PutRecords` request carries, and what the service answered, in the words of the sender.
//!
//! The client translates every SDK answer into these; the sender, which knows no SDK, decides by them.

use bytes::Bytes;

/// One record of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// 1 to 256 Unicode characters.
    pub partition_key: String,
    /// The record's bytes, before base64.
    pub data: Bytes,
}

/// What the service said of one entry of a request that succeeded as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryOutcome {
    /// Written, durable.
    Accepted,
    /// `ProvisionedThroughputExceededException` and the other throttling codes: wait, use no attempt.
    Throttled,
    /// `InternalFailure` or any other error code of an entry: an attempt is used.
    Failed {
        /// The service's error code.
        code: String,
        /// The service's message; carries no secret.
        message: String,
    },
}

/// Why a whole request failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// The whole request was throttled (also `LimitExceeded`, `KMSThrottling`).
    #[error("throttled: {message}")]
    Throttled {
        /// The service's message.
        message: String,
    },
    /// The credentials are valid, but lack a permission.
    #[error("access denied: {message}")]
    Denied {
        /// The service's message.
        message: String,
    },
    /// The credentials are missing, wrong or expired.
    #[error("credentials refused: {message}")]
    Credentials {
        /// The service's or the provider's message.
        message: String,
    },
    /// No such stream, or it is being deleted.
    #[error("stream not found: {message}")]
    StreamNotFound {
        /// The service's message.
        message: String,
    },
    /// The stream's encryption key refuses, is disabled, or is not there.
    #[error("encryption key refused: {message}")]
    Encryption {
        /// The service's message.
        message: String,
    },
    /// The service refused the request's content as a whole: some entry in it is at fault.
    #[error("invalid request: {message}")]
    Invalid {
        /// The service's message.
        message: String,
    },
    /// A 5xx, a time-out, a refused or broken connection: nobody knows whether it was written.
    #[error("unavailable: {message}")]
    Unavailable {
        /// What went wrong, in a sentence.
        message: String,
    },
}

/// What became of one request: an outcome per entry, in their order, or why there is none.
pub type RequestOutcome = Result<Vec<EntryOutcome>, RequestError>;
