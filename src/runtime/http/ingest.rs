//! Effects: `POST /v1/profiles`: NDJSON, one profile update a line. A request is one atomic write, or none.

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use axum::{Json, Router};
use serde::Serialize;

use super::body::{self, BodyError, Intake, Packing};
use super::gate::Guard;
use super::right::Right;
use super::{later, problem};
use crate::hub::Hub;
use crate::hub::ingest::{self, Answer, IngestError, MAX_BODY_BYTES, MAX_KEY_BYTES};
use crate::telemetry::metrics::Metrics;

const PATH: &str = "/v1/profiles";

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// What is read as NDJSON. A single update may call itself JSON.
const MEDIA_TYPES: [&str; 4] = ["application/x-ndjson", "application/ndjson", "application/jsonl", "application/json"];

/// After how many seconds to come again: the queue is full, the hub is stopping or broken, the disk is full.
const BUSY_SECONDS: u16 = 1;
const CLOSED_SECONDS: u16 = 5;
const FULL_SECONDS: u16 = 30;

#[derive(Clone)]
struct Ingest {
    hub: Hub,
    intake: Intake,
}

pub(super) fn router(hub: Hub, intake: Intake, guard: &Guard) -> Router {
    let methods = guard.behind(|_| Right::Ingest, post(take_up));
    Router::new().route(PATH, methods).with_state(Ingest { hub, intake })
}

/// What a request did, for the metrics.
#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    accepted: u64,
    rejected: u64,
    bytes: u64,
}

/// Counts the answers of ingest, those of whoever guards it included.
pub(super) fn counted(router: Router, metrics: Metrics) -> Router {
    router.layer(middleware::from_fn_with_state(metrics, count))
}

async fn count(State(metrics): State<Metrics>, request: Request, next: Next) -> Response {
    let counts = request.method() == Method::POST && request.uri().path() == PATH;
    let response = next.run(request).await;
    if counts {
        let Counts { accepted, rejected, bytes } = response.extensions().get().copied().unwrap_or_default();
        metrics.count_ingest(response.status().as_u16(), accepted, rejected, bytes);
    }
    response
}

/// Why a request was not taken up. It changed nothing.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("Content-Type {0} is not read: send one profile update a line as application/x-ndjson")]
    MediaType(String),
    #[error("Content-Encoding {0} is not read: send the body as it is, or packed with gzip")]
    Packing(String),
    #[error("the Idempotency-Key must be 1 to {MAX_KEY_BYTES} visible ASCII characters")]
    Key,
    #[error(transparent)]
    Body(#[from] BodyError),
    #[error(transparent)]
    Hub(#[from] IngestError),
}

async fn take_up(State(state): State<Ingest>, headers: HeaderMap, body: Body) -> Response {
    let (packing, idempotency_key) = match check_headers(&headers) {
        Ok(checked) => checked,
        Err(refusal) => {
            body::pass_over(&headers, body).await;
            return refuse(&refusal);
        }
    };
    match write(&state, packing, idempotency_key, body).await {
        Ok((answer, bytes)) => tell(&answer, bytes),
        Err(refusal) => refuse(&refusal),
    }
}

async fn write(
    state: &Ingest,
    packing: Packing,
    idempotency_key: Option<String>,
    body: Body,
) -> Result<(Answer, usize), Refusal> {
    let received = body::receive(body, packing, &state.intake).await?;
    let request = ingest::Request { body: received.bytes.clone(), idempotency_key, source: None };
    let answer = state.hub.ingest(request).await?;
    Ok((answer, received.bytes.len()))
}

fn check_headers(headers: &HeaderMap) -> Result<(Packing, Option<String>), Refusal> {
    if let Some(given) = headers.get(header::CONTENT_TYPE) {
        let text = shown(given.as_bytes());
        let essence = text.split(';').next().unwrap_or_default().trim();
        if !MEDIA_TYPES.iter().any(|known| known.eq_ignore_ascii_case(essence)) {
            return Err(Refusal::MediaType(text));
        }
    }
    let mut packings = headers.get_all(header::CONTENT_ENCODING).iter();
    let packing = match (packings.next(), packings.next()) {
        (None, _) => Packing::Plain,
        (Some(given), None) => match shown(given.as_bytes()).trim().to_ascii_lowercase().as_str() {
            "" | "identity" => Packing::Plain,
            "gzip" | "x-gzip" => Packing::Gzip,
            other => return Err(Refusal::Packing(other.to_owned())),
        },
        (Some(_), Some(_)) => return Err(Refusal::Packing("twice".to_owned())),
    };
    // A body that says itself that it is too long need not be read to be refused.
    let length = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if length.is_some_and(|length| length > MAX_BODY_BYTES as u64) {
        return Err(BodyError::TooLarge.into());
    }
    let key = match headers.get(IDEMPOTENCY_KEY).map(|value| value.to_str()) {
        None => None,
        Some(Ok(key)) if (1..=MAX_KEY_BYTES).contains(&key.len()) => Some(key.to_owned()),
        Some(_) => return Err(Refusal::Key),
    };
    Ok((packing, key))
}

/// A foreign header as it may stand in a message.
fn shown(value: &[u8]) -> String {
    String::from_utf8_lossy(value).chars().take(100).collect()
}

/// The answer, with an error beside it where no line was taken up.
#[derive(Serialize)]
struct Told<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'static str>,
    #[serde(flatten)]
    answer: &'a Answer,
}

fn tell(answer: &Answer, bytes: usize) -> Response {
    let (status, error) = match (answer.accepted, answer.rejected_count) {
        (1.., _) => (StatusCode::OK, None),
        (0, 0) => (StatusCode::BAD_REQUEST, Some("the body holds no update: send one profile update a line")),
        (0, 1..) => {
            (StatusCode::BAD_REQUEST, Some("no line was accepted: mend what rejected lists, and send them again"))
        }
    };
    let mut response = (status, Json(Told { error, answer })).into_response();
    let counts = Counts { accepted: answer.accepted, rejected: answer.rejected_count, bytes: bytes as u64 };
    response.extensions_mut().insert(counts);
    response
}

fn refuse(refusal: &Refusal) -> Response {
    let error = refusal.to_string();
    match refusal {
        Refusal::MediaType(_) | Refusal::Packing(_) => problem(StatusCode::UNSUPPORTED_MEDIA_TYPE, error),
        Refusal::Key | Refusal::Body(BodyError::CutOff(_) | BodyError::BrokenGzip(_)) => {
            problem(StatusCode::BAD_REQUEST, error)
        }
        Refusal::Body(BodyError::TooLarge) | Refusal::Hub(IngestError::TooMuch) => {
            problem(StatusCode::PAYLOAD_TOO_LARGE, error)
        }
        Refusal::Body(BodyError::TooSlow) => problem(StatusCode::REQUEST_TIMEOUT, error),
        Refusal::Body(BodyError::Busy) | Refusal::Hub(IngestError::Busy) => {
            later(StatusCode::TOO_MANY_REQUESTS, BUSY_SECONDS, error)
        }
        Refusal::Hub(IngestError::Closed) => later(StatusCode::SERVICE_UNAVAILABLE, CLOSED_SECONDS, error),
        Refusal::Hub(IngestError::Full(_)) => later(StatusCode::SERVICE_UNAVAILABLE, FULL_SECONDS, error),
        Refusal::Hub(IngestError::KeyReused) => problem(StatusCode::UNPROCESSABLE_ENTITY, error),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::store::StoreError;

    #[test]
    fn every_refusal_that_heals_by_itself_says_when_to_come_again() {
        let table = [
            (Refusal::Body(BodyError::Busy), 429, Some("1")),
            (Refusal::Hub(IngestError::Busy), 429, Some("1")),
            (Refusal::Hub(IngestError::Closed), 503, Some("5")),
            (Refusal::Hub(IngestError::Full(StoreError::Full { free: 7 })), 503, Some("30")),
            (Refusal::Hub(IngestError::TooMuch), 413, None),
            (Refusal::Hub(IngestError::KeyReused), 422, None),
            (Refusal::Body(BodyError::TooSlow), 408, None),
        ];
        for (refusal, status, retry_after) in table {
            let response = refuse(&refusal);
            assert_eq!(response.status(), status, "{refusal}");
            let header = response.headers().get(header::RETRY_AFTER).map(|value| value.to_str().unwrap());
            assert_eq!(header, retry_after, "{refusal}");
        }
    }
}
