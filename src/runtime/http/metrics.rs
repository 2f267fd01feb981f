//! Effects: `GET /metrics`.

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;

use super::gate::Guard;
use super::problem;
use super::right::Right;
use crate::hub::Hub;
use crate::store::StoreError;
use crate::telemetry::metrics::{CONTENT_TYPE, HubSample, Metrics};

pub(super) fn router(metrics: Metrics, hub: Option<Hub>, guard: &Guard) -> Router {
    let methods = guard.behind(|_| Right::ReadMetrics, get(scrape));
    Router::new().route("/metrics", methods).with_state((metrics, hub))
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
