//! Effect: `AssumeRole` of the Security Token Service, as far as a client needs it: temporary keys for a configured role.

use std::iter::repeat_with;

use crate::error::ApiError;
use crate::keys::{KeySpec, Secret, denied};
use crate::service::{Call, Service};

/// The fields of a form body.
pub(crate) struct Form(Vec<(String, String)>);

impl Form {
    pub(crate) fn parse(body: &[u8]) -> Self {
        Self(form_urlencoded::parse(body).into_owned().collect())
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(field, _)| field == name).map(|(_, value)| value.as_str())
    }
}

/// Carries out `AssumeRole`; gives the answer's body. Errors: `AccessDeniedException`, `ValidationError`.
pub(crate) fn assume_role(service: &Service, call: &Call, form: &Form) -> Result<Vec<u8>, ApiError> {
    let required = |name: &str| {
        form.get(name).filter(|value| !value.is_empty()).ok_or_else(|| {
            ApiError::new("ValidationError", format!("1 validation error detected: Value at '{name}' must not be null"))
        })
    };
    let arn = required("RoleArn")?;
    let session = required("RoleSessionName")?;
    let refused = || denied(&call.user, "sts:AssumeRole", arn);
    let role = service.keys.role(arn).ok_or_else(refused)?;
    if role.external_id.is_some() && role.external_id.as_deref() != form.get("ExternalId") {
        return Err(refused());
    }
    let asked = form.get("DurationSeconds").and_then(|seconds| seconds.parse::<u64>().ok()).unwrap_or(u64::MAX);
    let ttl = role.ttl_seconds.min(asked);
    let expires_at = call.now.saturating_add(ttl.saturating_mul(1_000_000));

    let id = format!("ASIA{}", letters(16).to_uppercase());
    let (secret, token) = (letters(40), letters(120));
    let name = arn.rsplit('/').next().unwrap_or(arn);
    let account = service.streams.account();
    let user = format!("arn:aws:sts::{account}:assumed-role/{name}/{session}");
    service.keys.put(
        &id,
        KeySpec {
            secret: Secret(secret.clone()),
            session_token: Some(Secret(token.clone())),
            allowed: role.allowed,
            expired: false,
            expires_at,
            user: Some(user.clone()),
        },
    );
    let expiration = jiff::Timestamp::from_microsecond(i64::try_from(expires_at).unwrap_or(i64::MAX))
        .map(|at| at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
        .unwrap_or_default();
    Ok(format!(
        "<AssumeRoleResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><AssumeRoleResult>\
         <AssumedRoleUser><AssumedRoleId>AROASTUB:{session}</AssumedRoleId><Arn>{user}</Arn></AssumedRoleUser>\
         <Credentials><AccessKeyId>{id}</AccessKeyId><SecretAccessKey>{secret}</SecretAccessKey>\
         <SessionToken>{token}</SessionToken><Expiration>{expiration}</Expiration></Credentials>\
         </AssumeRoleResult><ResponseMetadata><RequestId>{}</RequestId></ResponseMetadata></AssumeRoleResponse>",
        call.request,
        session = escaped(session),
        user = escaped(&user),
    )
    .into_bytes())
}

/// A refusal in the query protocol's form, under the names that this service has for it; its status too.
pub(crate) fn refusal(error: &ApiError, request: u64) -> (u16, Vec<u8>) {
    let (status, kind) = match &*error.kind {
        "AccessDeniedException" => (403, "AccessDenied"),
        "UnrecognizedClientException" => (403, "InvalidClientTokenId"),
        "InvalidSignatureException" => (403, "SignatureDoesNotMatch"),
        "ExpiredTokenException" => (403, "ExpiredToken"),
        "MissingAuthenticationTokenException" => (403, "MissingAuthenticationToken"),
        "IncompleteSignatureException" => (400, "IncompleteSignature"),
        "UnknownOperationException" => (400, "InvalidAction"),
        "ProvisionedThroughputExceededException" => (400, "Throttling"),
        kind => (error.status, kind),
    };
    let side = if status < 500 { "Sender" } else { "Receiver" };
    let body = format!(
        "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><Error><Type>{side}</Type>\
         <Code>{kind}</Code><Message>{}</Message></Error><RequestId>{request}</RequestId></ErrorResponse>",
        escaped(&error.message)
    );
    (status, body.into_bytes())
}

fn letters(count: usize) -> String {
    repeat_with(fastrand::alphanumeric).take(count).collect()
}

fn escaped(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut out, letter| {
        match letter {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            letter => out.push(letter),
        }
        out
    })
}
