//! Effects: the dead letters of a dataflow: listed and shown from the store, sent again and dropped by the running worker.

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::json;

use super::body::Prompt;
use super::gate::Guard;
use super::right::Right;
use super::{later, problem};
use crate::dataflow::dead_letters::{self, PAGE, Selection};
use crate::dataflow::{DataflowError, Desk, Desks, state};
use crate::store::Store;

/// How a selection is written.
const SELECTION: &str = "send \"all\" or {\"sequences\": [1, 2]} with Content-Type: application/json";

/// A selection as a client sent it.
type Sent = Result<Prompt<Selection>, String>;

/// Who answers. Cheap to clone.
#[derive(Clone)]
pub struct Office {
    /// Where the letters are.
    pub store: Store,
    /// The running workers.
    pub desks: Desks,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Page {
    #[serde(default)]
    from: u64,
    #[serde(default)]
    limit: Option<usize>,
}

/// `/v1/dead-letters/{namespace}/{name}`, its letters by number, and what can be done with them.
pub(super) fn router(office: Office, guard: &Guard) -> Router {
    let read = |methods| guard.behind(|_| Right::ReadDeadLetters, methods);
    let change = |methods| guard.behind(to_change, methods);
    Router::new()
        .route("/v1/dead-letters/{namespace}/{name}", read(get(list)))
        .route("/v1/dead-letters/{namespace}/{name}/{sequence}", read(get(show)))
        .route("/v1/dead-letters/{namespace}/{name}/resend", change(post(resend)))
        .route("/v1/dead-letters/{namespace}/{name}/drop", change(post(discard)))
        .with_state(office)
}

fn to_change(parameters: &[(&str, &str)]) -> Right {
    let named = |wanted: &str| parameters.iter().find(|(name, _)| *name == wanted).map_or("", |(_, value)| *value);
    Right::change_dead_letters(named("namespace"), named("name"))
}

async fn list(
    State(office): State<Office>,
    Path((namespace, name)): Path<(String, String)>,
    page: Result<Query<Page>, QueryRejection>,
) -> Response {
    let page = match page {
        Ok(page) => page,
        Err(error) => return misread(&error.body_text(), "write ?from=NUMBER&limit=NUMBER, or neither"),
    };
    let limit = page.limit.unwrap_or(100).clamp(1, PAGE);
    match read(office, format!("{namespace}/{name}"), page.from, limit + 1).await {
        Ok(Some(mut letters)) => {
            let next = letters.get(limit).map(|letter| letter.sequence);
            letters.truncate(limit);
            Json(json!({ "deadLetters": letters, "next": next })).into_response()
        }
        Ok(None) => unknown(&namespace, &name),
        Err(error) => failed(&error),
    }
}

async fn show(State(office): State<Office>, path: Result<Path<(String, String, u64)>, PathRejection>) -> Response {
    let Path((namespace, name, sequence)) = match path {
        Ok(path) => path,
        Err(error) => return misread(&error.body_text(), "the last part of the path is a dead letter's number"),
    };
    match read(office, format!("{namespace}/{name}"), sequence, 1).await {
        Ok(Some(letters)) => match letters.into_iter().find(|letter| letter.sequence == sequence) {
            Some(letter) => Json(letter).into_response(),
            None => problem(
                StatusCode::NOT_FOUND,
                format!(
                    "{namespace}/{name} has no dead letter {sequence}: list them, it may have been sent again or dropped"
                ),
            ),
        },
        Ok(None) => unknown(&namespace, &name),
        Err(error) => failed(&error),
    }
}

async fn resend(office: State<Office>, activation: Path<(String, String)>, selection: Sent) -> Response {
    match addressed(office, activation, selection).await {
        Ok((desk, selection)) => told("resent", desk.resend(selection).await),
        Err(refusal) => *refusal,
    }
}

async fn discard(office: State<Office>, activation: Path<(String, String)>, selection: Sent) -> Response {
    match addressed(office, activation, selection).await {
        Ok((desk, selection)) => told("dropped", desk.discard(selection).await),
        Err(refusal) => *refusal,
    }
}

/// Whom a command is for and which letters it means, or why it cannot be carried out.
async fn addressed(
    State(office): State<Office>,
    Path((namespace, name)): Path<(String, String)>,
    selection: Sent,
) -> Result<(Desk, Selection), Box<Response>> {
    let Prompt(selection) = selection.map_err(|error| misread(&error, SELECTION))?;
    match office.desks.of(&format!("{namespace}/{name}")) {
        Some(desk) => Ok((desk, selection)),
        None => Err(Box::new(unasked(office, &namespace, &name).await)),
    }
}

/// The letters of a dataflow that the store knows; `None` where it knows none of that name.
async fn read(
    office: Office,
    dataflow: String,
    from: u64,
    limit: usize,
) -> Result<Option<Vec<dead_letters::DeadLetter>>, DataflowError> {
    tokio::task::spawn_blocking(move || {
        if state::load(&office.store, &dataflow)?.is_none() {
            return Ok(None);
        }
        dead_letters::list(&office.store, &dataflow, from, limit).map(Some)
    })
    .await?
}

async fn unasked(office: Office, namespace: &str, name: &str) -> Response {
    match read(office, format!("{namespace}/{name}"), 0, 1).await {
        Ok(Some(_)) => later(
            StatusCode::SERVICE_UNAVAILABLE,
            10,
            format!(
                "the dataflow of {namespace}/{name} does not run, and only it can do that: see the activation's status, and try again when it runs"
            ),
        ),
        Ok(None) => unknown(namespace, name),
        Err(error) => failed(&error),
    }
}

fn told(done: &str, result: Result<u64, DataflowError>) -> Response {
    match result {
        Ok(count) => Json(json!({ done: count })).into_response(),
        Err(error @ DataflowError::Stopped) => later(StatusCode::SERVICE_UNAVAILABLE, 10, error.to_string()),
        Err(error) => failed(&error),
    }
}

fn misread(error: &str, mend: &str) -> Response {
    problem(StatusCode::BAD_REQUEST, format!("{error}: {mend}"))
}

fn unknown(namespace: &str, name: &str) -> Response {
    problem(
        StatusCode::NOT_FOUND,
        format!("there is no dataflow {namespace}/{name}: give namespace and name of an AudienceActivation"),
    )
}

fn failed(error: &DataflowError) -> Response {
    problem(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
}
