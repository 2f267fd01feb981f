//! Pure decisions: what an answer or a failure of the SDK means to the sender and to the status.
//!
//! One table of error codes for everything that talks to Kinesis. Messages that leave here are one line, bounded, and free
//! of credentials: the service quotes key ids and, where a signature is wrong, whole signed headers.

use super::outcome::{EntryOutcome, RequestError};
use aws_credential_types::provider::error::CredentialsError;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use std::error::Error;

/// The longest message that is passed on, in characters.
pub const MAX_MESSAGE_CHARS: usize = 512;
/// Links of an error's chain of causes that are told.
const MAX_CAUSES: usize = 12;
/// A run of this many base64 characters, of mixed kinds, is taken for a key or a token.
const SECRET_LENGTH: usize = 40;
/// How the ids of access keys and principals begin.
const ID_PREFIXES: [&str; 8] = ["AKIA", "ASIA", "AROA", "AIDA", "ABIA", "ACCA", "ANPA", "AGPA"];

/// What a refused request means. `status` and `code` are absent where the answer had none.
pub fn request_error(status: Option<u16>, code: Option<&str>, message: &str) -> RequestError {
    let code = code.map(plain_code).unwrap_or_default();
    let message = told(code, status, message);
    match code {
        _ if is_throttling(code) || status == Some(429) => RequestError::Throttled { message },
        _ if code.starts_with("KMS") => RequestError::Encryption { message },
        _ if code.starts_with("AccessDenied") || code.starts_with("NotAuthorized") => RequestError::Denied { message },
        "UnauthorizedOperation" => RequestError::Denied { message },
        "UnrecognizedClientException"
        | "UnrecognizedClient"
        | "InvalidSignatureException"
        | "InvalidSignature"
        | "SignatureDoesNotMatch"
        | "ExpiredTokenException"
        | "ExpiredToken"
        | "RequestExpired"
        | "InvalidClientTokenId"
        | "InvalidAccessKeyId"
        | "IncompleteSignature"
        | "IncompleteSignatureException"
        | "MissingAuthenticationToken"
        | "MissingAuthenticationTokenException" => RequestError::Credentials { message },
        "ResourceNotFoundException" | "ResourceNotFound" => RequestError::StreamNotFound { message },
        "InvalidArgumentException"
        | "InvalidArgument"
        | "ValidationException"
        | "ValidationError"
        | "SerializationException" => RequestError::Invalid { message },
        _ if status == Some(413) => RequestError::Invalid { message },
        // ResourceInUse too: the stream is being made or changed, which passes by itself.
        _ => RequestError::Unavailable { message },
    }
}

/// What became of one entry, from the code and the message that the service gave for it.
pub fn entry_outcome(code: Option<&str>, message: Option<&str>) -> EntryOutcome {
    match code.map(plain_code) {
        None => EntryOutcome::Accepted,
        Some(code) if is_throttling(code) => EntryOutcome::Throttled,
        Some(code) => EntryOutcome::Failed { code: bounded(code), message: bounded(message.unwrap_or_default()) },
    }
}

/// What a failed call of the SDK means.
pub fn sdk_error<E>(error: &SdkError<E, HttpResponse>) -> RequestError
where
    E: ProvideErrorMetadata + Error + 'static,
{
    match error {
        SdkError::ServiceError(refused) => {
            let meta = refused.err().meta();
            let message = meta.message().map_or_else(|| causes(refused.err()), str::to_owned);
            request_error(Some(refused.raw().status().as_u16()), meta.code(), &message)
        }
        SdkError::ResponseError(unreadable) => {
            let status = unreadable.raw().status().as_u16();
            request_error(Some(status), None, &format!("an answer that is not of the service: {}", causes(error)))
        }
        SdkError::TimeoutError(_) => RequestError::Unavailable { message: bounded(&causes(error)) },
        _ if comes_from_credentials(error) => RequestError::Credentials { message: bounded(&causes(error)) },
        _ => RequestError::Unavailable { message: bounded(&causes(error)) },
    }
}

/// One line, at most [`MAX_MESSAGE_CHARS`] long, without key ids, keys or tokens.
pub fn bounded(message: &str) -> String {
    // A refused signature is explained with the canonical request, which holds the session token.
    let message = message.split("The Canonical String").next().unwrap_or_default();
    let mut line = String::with_capacity(message.len().min(4 * MAX_MESSAGE_CHARS));
    for word in message.split_whitespace() {
        if !line.is_empty() {
            line.push(' ');
        }
        redact_into(&mut line, word);
        if line.len() > 4 * MAX_MESSAGE_CHARS {
            break;
        }
    }
    if line.chars().count() > MAX_MESSAGE_CHARS {
        line = line.chars().take(MAX_MESSAGE_CHARS - 1).collect();
        line.push('…');
    }
    line
}

fn is_throttling(code: &str) -> bool {
    matches!(
        code,
        "ProvisionedThroughputExceededException"
            | "ProvisionedThroughputExceeded"
            | "LimitExceededException"
            | "LimitExceeded"
            | "RequestLimitExceeded"
            | "ThrottlingException"
            | "Throttling"
            | "ThrottledException"
            | "RequestThrottled"
            | "RequestThrottledException"
            | "TooManyRequestsException"
            | "KMSThrottlingException"
            | "SlowDown"
    )
}

/// `com.amazonaws.kinesis#SomeException:http://…` is the same code as `SomeException`.
fn plain_code(code: &str) -> &str {
    let code = code.rsplit('#').next().unwrap_or(code);
    code.split(':').next().unwrap_or(code)
}

fn told(code: &str, status: Option<u16>, message: &str) -> String {
    let message = message.trim();
    match (code, status) {
        ("", None) => bounded(message),
        ("", Some(status)) => bounded(&format!("HTTP {status}: {message}")),
        (code, _) if message.is_empty() => bounded(code),
        (code, _) => bounded(&format!("{code}: {message}")),
    }
}

/// The error and its causes, outermost first, each told once.
fn causes(error: &(dyn Error + 'static)) -> String {
    let mut told = String::new();
    for cause in std::iter::successors(Some(error), |&error| error.source()).take(MAX_CAUSES) {
        let text = cause.to_string();
        if !told.contains(&text) {
            if !told.is_empty() {
                told.push_str(": ");
            }
            told.push_str(&text);
        }
    }
    told
}

fn comes_from_credentials(error: &(dyn Error + 'static)) -> bool {
    std::iter::successors(Some(error), |&error| error.source())
        .take(MAX_CAUSES)
        .any(<dyn Error>::is::<CredentialsError>)
}

/// Appends `word`, with every part of it that looks like a key or a token replaced.
fn redact_into(line: &mut String, word: &str) {
    for run in word.split_inclusive(|letter: char| !(letter.is_ascii_alphanumeric() || "+/=".contains(letter))) {
        if is_secret(run) {
            line.push_str("[redacted]");
            line.extend(run.chars().last().filter(|last| last.is_ascii_punctuation() && !"+/=".contains(*last)));
            continue;
        }
        for part in run.split_inclusive(|letter: char| !letter.is_ascii_alphanumeric()) {
            let id = part.trim_end_matches(|letter: char| !letter.is_ascii_alphanumeric());
            if is_key_id(id) {
                line.push_str("[key id]");
                line.push_str(&part[id.len()..]);
            } else {
                line.push_str(part);
            }
        }
    }
}

fn is_secret(run: &str) -> bool {
    let has = |kind: fn(&char) -> bool| run.chars().any(|letter| kind(&letter));
    run.len() >= SECRET_LENGTH
        && has(char::is_ascii_digit)
        && has(char::is_ascii_uppercase)
        && has(char::is_ascii_lowercase)
}

fn is_key_id(part: &str) -> bool {
    part.len() >= 16
        && ID_PREFIXES.iter().any(|prefix| part.starts_with(prefix))
        && part.chars().all(|letter| letter.is_ascii_uppercase() || letter.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    /// The kind of an error, by the name of its variant.
    fn kind(error: &RequestError) -> &'static str {
        match error {
            RequestError::Throttled { .. } => "throttled",
            RequestError::Denied { .. } => "denied",
            RequestError::Credentials { .. } => "credentials",
            RequestError::StreamNotFound { .. } => "stream not found",
            RequestError::Encryption { .. } => "encryption",
            RequestError::Invalid { .. } => "invalid",
            RequestError::Unavailable { .. } => "unavailable",
        }
    }

    #[test]
    fn every_code_of_the_service_has_its_meaning() {
        let table: &[(Option<u16>, Option<&str>, &str)] = &[
            (Some(400), Some("ProvisionedThroughputExceededException"), "throttled"),
            (Some(400), Some("LimitExceededException"), "throttled"),
            (Some(400), Some("ThrottlingException"), "throttled"),
            (Some(400), Some("KMSThrottlingException"), "throttled"),
            (Some(429), None, "throttled"),
            (Some(400), Some("AccessDeniedException"), "denied"),
            (Some(403), Some("AccessDenied"), "denied"),
            (Some(400), Some("NotAuthorized"), "denied"),
            (Some(400), Some("UnrecognizedClientException"), "credentials"),
            (Some(400), Some("InvalidSignatureException"), "credentials"),
            (Some(400), Some("ExpiredTokenException"), "credentials"),
            (Some(403), Some("ExpiredToken"), "credentials"),
            (Some(403), Some("InvalidClientTokenId"), "credentials"),
            (Some(403), Some("IncompleteSignature"), "credentials"),
            (Some(403), Some("MissingAuthenticationToken"), "credentials"),
            (Some(400), Some("com.amazonaws.kinesis#ResourceNotFoundException"), "stream not found"),
            (Some(400), Some("ResourceInUseException"), "unavailable"),
            (Some(400), Some("KMSAccessDeniedException"), "encryption"),
            (Some(400), Some("KMSDisabledException"), "encryption"),
            (Some(400), Some("KMSInvalidStateException"), "encryption"),
            (Some(400), Some("KMSNotFoundException"), "encryption"),
            (Some(400), Some("KMSOptInRequired"), "encryption"),
            (Some(400), Some("InvalidArgumentException"), "invalid"),
            (Some(400), Some("ValidationException"), "invalid"),
            (Some(400), Some("SerializationException"), "invalid"),
            (Some(413), None, "invalid"),
            (Some(500), Some("InternalFailure"), "unavailable"),
            (Some(503), Some("ServiceUnavailable"), "unavailable"),
            (Some(502), None, "unavailable"),
            (Some(403), None, "unavailable"),
            (None, None, "unavailable"),
            (Some(400), Some("SomethingNewException"), "unavailable"),
        ];
        for (status, code, expected) in table {
            let error = request_error(*status, *code, "why");
            assert_eq!(kind(&error), *expected, "{status:?} {code:?}");
        }
    }

    #[test]
    fn an_error_tells_its_code_or_its_status() {
        assert_eq!(
            request_error(Some(400), Some("AccessDeniedException"), "User x may not").to_string(),
            "access denied: AccessDeniedException: User x may not"
        );
        assert_eq!(request_error(Some(502), None, "bad gateway").to_string(), "unavailable: HTTP 502: bad gateway");
    }

    #[test]
    fn an_entry_without_a_code_is_accepted_and_a_throttled_one_uses_no_attempt() {
        assert_eq!(entry_outcome(None, None), EntryOutcome::Accepted);
        for code in ["ProvisionedThroughputExceededException", "KMSThrottlingException"] {
            assert_eq!(entry_outcome(Some(code), Some("Rate exceeded")), EntryOutcome::Throttled);
        }
        assert_eq!(
            entry_outcome(Some("InternalFailure"), Some("Internal service failure.")),
            EntryOutcome::Failed { code: "InternalFailure".into(), message: "Internal service failure.".into() }
        );
    }

    #[test]
    fn messages_are_one_bounded_line() {
        let message = bounded(&"many words\n".repeat(500));
        assert_eq!(message.chars().count(), MAX_MESSAGE_CHARS);
        assert!(!message.contains('\n'));
        assert_eq!(bounded("short"), "short");
        assert_eq!(bounded(&"ü".repeat(2000)).chars().count(), MAX_MESSAGE_CHARS);
    }

    #[test]
    fn messages_carry_no_key_id_no_key_and_no_token() {
        let table = [
            ("key AKIAIOSFODNN7EXAMPLE is off", "key [key id] is off"),
            ("id: ASIAIOSFODNN7EXAMPLE.", "id: [key id]."),
            ("Credential=AKIAIOSFODNN7EXAMPLE/2026", "Credential=[key id]/2026"),
            ("role/AROAIOSFODNN7EXAMPLE", "role/[key id]"),
            ("key wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY here", "key [redacted] here"),
            ("does not match. The Canonical String for this was x-amz-security-token:abc", "does not match."),
        ];
        for (message, expected) in table {
            assert_eq!(bounded(message), expected);
        }
    }

    #[test]
    fn names_and_arns_stay_readable() {
        let message = "User arn:aws:sts::123456789012:assumed-role/writer/activation-operator may not write to \
                       arn:aws:kinesis:eu-west-1:123456789012:stream/orders-2026 with key \
                       0f1e2d3c-1234-1234-1234-0f1e2d3c4b5a";
        assert_eq!(bounded(message), message);
    }
}
