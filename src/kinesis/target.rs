//! Types: which stream, reached how, with whose credentials. Plain values: no SDK, no resource, no I/O.
//!
//! Two equal targets can share a client; a target that changed asks for a new one. No secret is ever printed.

use std::fmt;
use std::time::Duration;

/// Everything that a client of one stream needs to know. Nothing else, no environment, decides where it connects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The AWS region, for the endpoint and the signature.
    pub region: String,
    /// The stream that is written to.
    pub stream: StreamRef,
    /// How the service is reached.
    pub endpoint: Endpoint,
    /// After this long a request is given up, whatever it waits for: a connection, credentials, the answer.
    pub request_timeout: Duration,
    /// Who signs.
    pub credentials: CredentialSource,
    /// A role to take on first, on top of `credentials`.
    pub assume_role: Option<AssumeRole>,
}

/// How a stream is named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StreamRef {
    /// By its name, in the account of the credentials.
    Name(String),
    /// By its ARN, which may be of another account.
    Arn(String),
}

impl StreamRef {
    /// The stream's name. Of an ARN, what stands behind `stream/`; the whole text where it is none.
    pub fn name(&self) -> &str {
        match self {
            Self::Name(name) => name,
            Self::Arn(arn) => arn.split_once(":stream/").map_or(arn, |(_, name)| name),
        }
    }

    /// The ARN, where the stream is known by it.
    pub fn arn(&self) -> Option<&str> {
        match self {
            Self::Name(_) => None,
            Self::Arn(arn) => Some(arn),
        }
    }
}

/// How the service is reached. The default is the region's public endpoint.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Endpoint {
    /// Replaces the region's endpoint: a VPC endpoint, an emulator; `http` or `https`.
    pub url: Option<String>,
    /// Replaces the endpoint of STS, which `assume_role` calls. Where absent, `AWS_ENDPOINT_URL_STS` counts, as
    /// everywhere in AWS.
    pub sts_url: Option<String>,
    /// The endpoints validated for FIPS 140.
    pub use_fips: bool,
    /// The endpoints that also speak IPv6.
    pub use_dual_stack: bool,
}

/// Whose credentials sign the requests.
#[derive(Clone, PartialEq, Eq)]
pub enum CredentialSource {
    /// Long-lived keys, or temporary ones with their token, as a Secret holds them.
    Keys {
        /// The access key's id.
        access_key_id: String,
        /// The secret; never printed.
        secret_access_key: String,
        /// The token of temporary credentials; never printed.
        session_token: Option<String>,
    },
    /// What the process has: environment, web identity, pod identity, instance role; refreshed before it expires.
    Ambient,
}

impl fmt::Debug for CredentialSource {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Keys { session_token, .. } => formatter
                .debug_struct("Keys")
                .field("has_session_token", &session_token.is_some())
                .finish_non_exhaustive(),
            Self::Ambient => formatter.write_str("Ambient"),
        }
    }
}

/// A role that is assumed on top of other credentials, and assumed again before it expires.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AssumeRole {
    /// The role's ARN.
    pub role_arn: String,
    /// What the role's trust policy may ask for as `sts:ExternalId`. Not a secret, as AWS defines it.
    pub external_id: Option<String>,
    /// How the session shows in the audit log; `activation-operator` where absent.
    pub session_name: Option<String>,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn debug_shows_no_part_of_a_credential() {
        let target = Target {
            region: "eu-west-1".into(),
            stream: StreamRef::Name("orders".into()),
            endpoint: Endpoint::default(),
            request_timeout: Duration::from_secs(10),
            credentials: CredentialSource::Keys {
                access_key_id: "AKIDXXXX".into(),
                secret_access_key: "topsecret".into(),
                session_token: Some("tokentoken".into()),
            },
            assume_role: None,
        };
        let shown = format!("{target:?}");
        assert!(shown.contains("orders"), "{shown}");
        for part in ["AKIDXXXX", "topsecret", "tokentoken"] {
            assert!(!shown.contains(part), "{shown}");
        }
    }

    #[test]
    fn the_name_of_an_arn_is_what_follows_stream() {
        let stream = StreamRef::Arn("arn:aws-cn:kinesis:cn-north-1:123456789012:stream/a.b-c_d".into());
        assert_eq!(stream.name(), "a.b-c_d");
    }
}
