//! Effects: `GET` and `PUT /v1/log`: what is logged, read and changed while the process runs. It lasts until the process ends.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, put};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};

use super::body::Prompt;
use super::gate::Guard;
use super::problem;
use super::right::Right;
use crate::telemetry::logging::{Filter, LoggingError};

/// How the filter is written.
const SHAPE: &str = "send {\"filter\": \"info,activation_operator::hub=debug\"} with Content-Type: application/json";

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Logged {
    filter: String,
}

pub(super) fn router(filter: Filter, guard: &Guard) -> Router {
    let read = guard.behind(|_| Right::ReadLog, get(tell));
    let change = guard.behind(|_| Right::ChangeLog, put(set));
    Router::new().route("/v1/log", read.merge(change)).with_state(filter)
}

async fn tell(State(filter): State<Filter>) -> Response {
    answer(filter.shown())
}

async fn set(State(filter): State<Filter>, wanted: Result<Prompt<Logged>, String>) -> Response {
    let wanted = match wanted {
        Ok(Prompt(wanted)) => wanted,
        Err(error) => return problem(StatusCode::BAD_REQUEST, format!("{error}: {SHAPE}")),
    };
    answer(filter.set(&wanted.filter).and_then(|()| filter.shown()))
}

fn answer(filter: Result<String, LoggingError>) -> Response {
    match filter {
        Ok(filter) => Json(Logged { filter }).into_response(),
        Err(error @ LoggingError::Gone(_)) => problem(StatusCode::SERVICE_UNAVAILABLE, error.to_string()),
        Err(error) => problem(StatusCode::BAD_REQUEST, error.to_string()),
    }
}
