//! Effects: `/livez` and `/readyz`. They ask nothing of AWS nor of the API server: an outage there must not restart the process.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::json;

use super::problem;
use crate::hub::Hub;
use crate::telemetry::clock;
use crate::telemetry::health::{Heartbeats, Readiness};

/// What the probes tell.
#[derive(Clone)]
pub struct Probes {
    /// What `/livez` tells.
    pub heartbeats: Heartbeats,
    /// What `/readyz` tells.
    pub readiness: Readiness,
    /// The profile hub, which must run where there is one.
    pub hub: Option<Hub>,
}

/// The probes and nothing else, for a listener of their own. They need no token.
pub fn probes(probes: Probes) -> Router {
    routes(probes).fallback(async || problem(StatusCode::NOT_FOUND, "here are /livez and /readyz, and nothing else"))
}

pub(super) fn routes(Probes { heartbeats, readiness, hub }: Probes) -> Router {
    let live = Router::new().route("/livez", get(livez)).with_state(heartbeats);
    let ready = Router::new().route("/readyz", get(readyz)).with_state((readiness, hub));
    live.merge(ready)
}

async fn livez(State(heartbeats): State<Heartbeats>) -> Response {
    let now = clock::monotonic();
    let ages: BTreeMap<_, _> =
        heartbeats.ages(now).into_iter().map(|(name, age)| (name, age.as_millis() as f64 / 1000.0)).collect();
    let stopped: Vec<_> = heartbeats
        .stopped(now)
        .into_iter()
        .map(|loop_| {
            format!(
                "{} stands still for {} s (may take {} s)",
                loop_.name,
                loop_.age.as_secs(),
                loop_.allowed.as_secs()
            )
        })
        .collect();
    if stopped.is_empty() {
        return Json(json!({ "status": "alive", "loops": ages })).into_response();
    }
    let error = format!("{}: restart the process", stopped.join("; "));
    (StatusCode::SERVICE_UNAVAILABLE, Json(json!({ "error": error, "loops": ages }))).into_response()
}

async fn readyz(State((readiness, hub)): State<(Readiness, Option<Hub>)>) -> Response {
    let mut missing = readiness.missing();
    if hub.is_some_and(|hub| !hub.is_running()) {
        missing.push("hub: its writer has stopped, see the log for why".to_owned());
    }
    if missing.is_empty() {
        return Json(json!({ "status": "ready" })).into_response();
    }
    problem(StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {}", missing.join("; ")))
}
