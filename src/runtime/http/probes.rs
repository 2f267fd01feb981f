//! Effects: `/livez`, `/readyz` and `/metrics`. The probes ask nothing of AWS: an outage there must not restart the process.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::json;

use super::problem;
use crate::hub::Hub;
use crate::store::StoreError;
use crate::telemetry::clock;
use crate::telemetry::health::{Heartbeats, Readiness};
use crate::telemetry::metrics::{CONTENT_TYPE, HubSample, Metrics};

#[derive(Clone)]
struct Ready {
    readiness: Readiness,
    hub: Option<Hub>,
}

/// The probes, which need no token.
pub(super) fn router(heartbeats: Heartbeats, readiness: Readiness, hub: Option<Hub>) -> Router {
    let live = Router::new().route("/livez", get(livez)).with_state(heartbeats);
    let ready = Router::new().route("/readyz", get(readyz)).with_state(Ready { readiness, hub });
    live.merge(ready)
}

/// The metrics.
pub(super) fn metrics(metrics: Metrics, hub: Option<Hub>) -> Router {
    Router::new().route("/metrics", get(scrape)).with_state((metrics, hub))
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

async fn readyz(State(ready): State<Ready>) -> Response {
    let mut missing = ready.readiness.missing();
    if ready.hub.is_some_and(|hub| !hub.is_running()) {
        missing.push("hub: its writer has stopped, see the log for why".to_owned());
    }
    if missing.is_empty() {
        return Json(json!({ "status": "ready" })).into_response();
    }
    problem(StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {}", missing.join("; ")))
}

async fn scrape(State((metrics, hub)): State<(Metrics, Option<Hub>)>) -> Response {
    if let Some(hub) = hub {
        match tokio::task::spawn_blocking(move || sample(&hub)).await {
            Ok(Ok(sample)) => metrics.set_hub(sample),
            Ok(Err(error)) => tracing::warn!(%error, "the hub's metrics are those of before"),
            Err(error) => tracing::warn!(%error, "the hub's metrics are those of before"),
        }
    }
    match metrics.encode() {
        Ok(text) => ([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response(),
        Err(error) => problem(StatusCode::INTERNAL_SERVER_ERROR, format!("the metrics cannot be written: {error}")),
    }
}

fn sample(hub: &Hub) -> Result<HubSample, StoreError> {
    Ok(HubSample {
        queued_bytes: hub.queued_bytes(),
        log_first: hub.store().first_position()?,
        log_head: *hub.head().borrow(),
        store_bytes: hub.store().disk_bytes(),
    })
}
