//! Effect: one request from its bytes to its ending. The steps in order: signature, shape, permission, faults before,
//! the action, faults after.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use hyper::http::request::Parts;
use serde_json::Value;

use crate::clock::now_micros;
use crate::error::ApiError;
use crate::faults::{Break, End, Facts, Faults, expired_token};
use crate::keys::{Keys, denied};
use crate::log::Log;
use crate::put::Form;
use crate::scan::{Put, put_record, put_records};
use crate::sigv4::{Signed, parse, verify};
use crate::stats::{Stats, add};
use crate::streams::{Stream, Streams, name_of_arn};
use crate::{actions, put, sts};

/// The actions there are; anything else is unknown before it is looked at.
const ACTIONS: [&str; 12] = [
    "CreateStream",
    "DeleteStream",
    "ListStreams",
    "DescribeStreamSummary",
    "DescribeStream",
    "ListShards",
    "UpdateShardCount",
    "GetShardIterator",
    "GetRecords",
    "PutRecord",
    "PutRecords",
    "AssumeRole",
];

/// What does not change while running.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    pub(crate) verify: bool,
    pub(crate) shard_limits: bool,
    pub(crate) omit_summaries: bool,
    pub(crate) max_request_bytes: u64,
    pub(crate) retention_bytes: u64,
}

/// Everything that requests share.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) streams: Streams,
    pub(crate) keys: Keys,
    pub(crate) faults: Faults,
    pub(crate) log: Log,
    pub(crate) stats: Stats,
    pub(crate) settings: Settings,
}

/// A request whose caller and aim are known.
pub(crate) struct Call {
    pub(crate) action: String,
    /// From 1.
    pub(crate) request: u64,
    /// Unix microseconds at which it is carried out.
    pub(crate) now: u64,
    pub(crate) access_key: Arc<str>,
    pub(crate) user: String,
    /// The stream's name, where the request names one.
    pub(crate) stream: Option<String>,
    /// The ARN that a refusal names.
    resource: String,
}

impl Call {
    pub(crate) fn facts<'a>(&'a self, service: &'a Service) -> Facts<'a> {
        Facts {
            action: &self.action,
            stream: self.stream.as_deref(),
            access_key: &self.access_key,
            user: &self.user,
            resource: &self.resource,
            account: service.streams.account(),
        }
    }
}

/// An answer to send.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) content_type: &'static str,
    pub(crate) body: Vec<u8>,
    pub(crate) request: u64,
}

/// How a request ends.
pub(crate) enum Ending {
    Answered(Answer),
    Broken(Break),
    Silent,
}

/// The two protocols on the port.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Protocol {
    Kinesis,
    Sts,
}

enum Asked<'a> {
    Put(Put<'a>, Form),
    Document(Value),
    AssumeRole(sts::Form),
}

impl Service {
    /// Takes a request to its ending.
    pub(crate) async fn exchange(&self, parts: &Parts, body: &[u8]) -> Ending {
        let request = self.stats.requests.fetch_add(1, Ordering::Relaxed) + 1;
        add(&self.stats.body_bytes, body.len() as u64);
        let protocol = protocol(parts);
        let answered = |outcome| Ending::Answered(self.answer(outcome, protocol, request));
        let (mut call, asked) = match self.understand(parts, body, protocol, request) {
            Ok(understood) => understood,
            Err(error) => return answered(Err(error)),
        };
        let before = self.faults.before(&call.facts(self));
        if !before.delay.is_zero() {
            tokio::time::sleep(before.delay).await;
        }
        match before.end {
            Some(End::Refused(error)) => return answered(Err(error)),
            Some(End::Broken(how)) => return Ending::Broken(how),
            Some(End::Silent) => return Ending::Silent,
            Some(End::Late(_)) | None => {}
        }
        // Reading the body, checking its signature and waiting took time: what is committed is committed now.
        call.now = now_micros();
        let outcome = match &asked {
            Asked::Put(put, form) => put::perform(self, &call, put, *form),
            Asked::Document(document) => actions::perform(self, &call, document),
            Asked::AssumeRole(form) => sts::assume_role(self, &call, form),
        };
        if outcome.is_ok() {
            let end = self.faults.after(&call.facts(self));
            if let (Some(_), Asked::Put(Put { entries, .. }, _)) = (&end, &asked) {
                add(&self.stats.records_unanswered, entries.as_ref().map_or(0, |entries| entries.len() as u64));
            }
            match end {
                Some(End::Broken(how)) => return Ending::Broken(how),
                Some(End::Silent) => return Ending::Silent,
                Some(End::Late(after)) => tokio::time::sleep(after).await,
                Some(End::Refused(_)) | None => {}
            }
        }
        answered(outcome)
    }

    /// The stream that a request names. Errors: none named, `ResourceNotFoundException`.
    pub(crate) fn find(&self, call: &Call) -> Result<Arc<Stream>, ApiError> {
        let name =
            call.stream.as_deref().ok_or_else(|| ApiError::invalid("Either StreamName or StreamARN must be given."))?;
        self.streams.find(name)
    }

    /// Whose request it is, what it asks, and that it may.
    fn understand<'a>(
        &self,
        parts: &Parts,
        body: &'a [u8],
        protocol: Protocol,
        request: u64,
    ) -> Result<(Call, Asked<'a>), ApiError> {
        let now = now_micros();
        let (access_key, key) = self.authenticate(parts, body, protocol, now)?;
        let unknown = || ApiError::new("UnknownOperationException", "There is no such operation.");
        let (action, asked, stream) = match protocol {
            Protocol::Kinesis => {
                let action = parts
                    .headers
                    .get("x-amz-target")
                    .and_then(|target| target.to_str().ok()?.strip_prefix("Kinesis_20131202."))
                    .ok_or_else(unknown)?;
                let asked = asked_of(action, body)?;
                let stream = named(&asked)?;
                (action.to_owned(), asked, stream)
            }
            Protocol::Sts => {
                let form = sts::Form::parse(body);
                let action = form.get("Action").ok_or_else(unknown)?.to_owned();
                (action, Asked::AssumeRole(form), None)
            }
        };
        let expected = if protocol == Protocol::Sts { action == "AssumeRole" } else { action != "AssumeRole" };
        if !expected || !ACTIONS.contains(&action.as_str()) {
            return Err(unknown());
        }
        self.stats.asked(&action);
        let resource = match (&asked, &stream) {
            (Asked::AssumeRole(form), _) => form.get("RoleArn").unwrap_or("*").to_owned(),
            (_, Some(name)) => self.streams.arn(name),
            (_, None) => "*".to_owned(),
        };
        let user = key
            .as_ref()
            .and_then(|key| key.user.clone())
            .unwrap_or_else(|| format!("arn:aws:iam::{}:user/{access_key}", self.streams.account()));
        if key.is_some_and(|key| !key.allows(&action)) {
            let service = if protocol == Protocol::Sts { "sts" } else { "kinesis" };
            return Err(denied(&user, &format!("{service}:{action}"), &resource));
        }
        let call = Call { action, request, now, access_key: access_key.into(), user, stream, resource };
        Ok((call, asked))
    }

    /// Who signed. Without verification whoever the header claims, allowed everything.
    fn authenticate(
        &self,
        parts: &Parts,
        body: &[u8],
        protocol: Protocol,
        now: u64,
    ) -> Result<(String, Option<Arc<crate::keys::KeySpec>>), ApiError> {
        let authorization = parse(&parts.headers);
        if !self.settings.verify {
            return Ok((authorization.map_or_else(|_| "anonymous".to_owned(), |it| it.access_key), None));
        }
        let authorization = authorization?;
        let unknown =
            || ApiError::new("UnrecognizedClientException", "The security token included in the request is invalid.");
        let service = if protocol == Protocol::Sts { "sts" } else { "kinesis" };
        if authorization.service != service {
            let message = format!("Credential should be scoped to correct service: '{service}'.");
            return Err(ApiError::new("InvalidSignatureException", message));
        }
        let key = self.keys.find(&authorization.access_key).ok_or_else(unknown)?;
        let token = parts.headers.get("x-amz-security-token").map(hyper::header::HeaderValue::as_bytes);
        if token != key.session_token.as_ref().map(|token| token.0.as_bytes()) {
            return Err(unknown());
        }
        if key.is_expired(now) {
            return Err(expired_token());
        }
        let signed = Signed {
            method: parts.method.as_str(),
            path: parts.uri.path(),
            query: parts.uri.query().unwrap_or_default(),
            headers: &parts.headers,
            body,
        };
        verify(&signed, &authorization, &key.secret.0, (now / 1_000_000).cast_signed())?;
        Ok((authorization.access_key, Some(key)))
    }

    fn answer(&self, outcome: Result<Vec<u8>, ApiError>, protocol: Protocol, request: u64) -> Answer {
        let content_type = if protocol == Protocol::Sts { "text/xml" } else { "application/x-amz-json-1.1" };
        let (status, body) = match outcome {
            Ok(body) => (200, body),
            Err(error) => {
                self.stats.refused(&error.kind);
                if protocol == Protocol::Sts { sts::refusal(&error, request) } else { (error.status, error.body()) }
            }
        };
        Answer { status, content_type, body, request }
    }
}

fn protocol(parts: &Parts) -> Protocol {
    let form = parts
        .headers
        .get("content-type")
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/x-www-form-urlencoded"));
    if form { Protocol::Sts } else { Protocol::Kinesis }
}

fn asked_of<'a>(action: &str, body: &'a [u8]) -> Result<Asked<'a>, ApiError> {
    match action {
        "PutRecords" => put_records(body).map(|put| Asked::Put(put, Form::Batch)),
        "PutRecord" => put_record(body).map(|put| Asked::Put(put, Form::Single)),
        _ if body.is_empty() => Ok(Asked::Document(Value::Null)),
        _ => serde_json::from_slice(body)
            .map(Asked::Document)
            .map_err(|_| ApiError::serialization("The body is not valid JSON.")),
    }
}

/// The stream's name, by name or by ARN. Errors: an ARN of something else.
fn named(asked: &Asked<'_>) -> Result<Option<String>, ApiError> {
    let (name, arn) = match asked {
        Asked::Put(put, _) => (put.stream_name.as_deref(), put.stream_arn.as_deref()),
        Asked::Document(document) => {
            let text = |name: &str| document.get(name).and_then(Value::as_str);
            (text("StreamName"), text("StreamARN"))
        }
        Asked::AssumeRole(_) => (None, None),
    };
    Ok(match arn {
        Some(arn) => Some(name_of_arn(arn)?.to_owned()),
        None => name.map(str::to_owned),
    })
}
