//! Effects: the HTTP server. Profile updates in, profiles out, probes and metrics.
//!
//! Everything that a client can make large is bounded: connections, headers, bodies, their sum, and the time each may take.
//! Every refusal is JSON, `{"error": what, where, how to mend it}`.

mod auth;
mod body;
mod connections;
pub mod dead_letters;
mod exposure;
mod ingest;
mod probes;
mod profiles;
mod serve;
mod tls;

use axum::Json;
use axum::Router;
use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::hub::Hub;
use crate::telemetry::health::{Heartbeats, Readiness};
use crate::telemetry::metrics::Metrics;

pub use auth::{AuthError, Tokens};
pub use body::Intake;
pub use exposure::{Exposure, ExposureError, check_exposure};
pub use serve::{HttpError, bind, serve};
pub use tls::{TlsError, TlsFiles};

/// What the server serves.
#[derive(Clone)]
pub struct Endpoints {
    /// The profile hub; without one there is neither ingest nor read.
    pub hub: Option<Hub>,
    /// What `/metrics` tells.
    pub metrics: Metrics,
    /// What `/livez` tells.
    pub heartbeats: Heartbeats,
    /// What `/readyz` tells.
    pub readiness: Readiness,
    /// Who may use everything but the probes; `None` asks for no token.
    pub tokens: Option<Tokens>,
    /// Who can reach the server.
    pub exposure: Exposure,
    /// Room for request bodies that are being received.
    pub intake: Intake,
    /// Further routes, which need a token like the others.
    pub protected: Router,
}

/// The routes, with what guards them.
pub fn router(endpoints: Endpoints) -> Router {
    let Endpoints { hub, metrics, heartbeats, readiness, tokens, exposure, intake, protected } = endpoints;
    let scrape = probes::metrics(metrics.clone(), hub.clone());
    let mut guarded = protected;
    let mut open = probes::router(heartbeats, readiness, hub.clone());
    match exposure {
        Exposure::Loopback => open = open.merge(scrape),
        Exposure::Network => guarded = guarded.merge(scrape),
    }
    if let Some(hub) = hub {
        guarded = guarded.merge(profiles::router(hub.clone())).merge(ingest::router(hub, intake));
    }
    let guarded = match tokens {
        Some(tokens) => auth::guard(guarded, tokens),
        None => guarded,
    };
    ingest::counted(guarded, metrics)
        .merge(open)
        .fallback(no_such_route)
        .method_not_allowed_fallback(async || problem(StatusCode::METHOD_NOT_ALLOWED, "this path takes another method"))
}

async fn no_such_route(uri: Uri) -> Response {
    let path: String = uri.path().chars().take(128).collect();
    problem(
        StatusCode::NOT_FOUND,
        format!(
            "there is nothing at {path}: updates go to POST /v1/profiles, a profile is read at /v1/profiles/{{mergePolicyId}}/{{profileId}}"
        ),
    )
}

/// A refusal: what is wrong, where, and how to mend it.
fn problem(status: StatusCode, error: impl Into<String>) -> Response {
    (status, Json(json!({ "error": error.into() }))).into_response()
}

/// A refusal that asks to come again after some seconds.
fn later(status: StatusCode, seconds: u16, error: impl Into<String>) -> Response {
    let mut response = problem(status, error);
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    response
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_process_without_a_hub_serves_its_probes_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens");
        std::fs::write(&path, "secret").unwrap();
        for exposure in [Exposure::Loopback, Exposure::Network] {
            // The router refuses by panicking what does not fit together.
            let routes = router(Endpoints {
                hub: None,
                metrics: Metrics::default(),
                heartbeats: Heartbeats::default(),
                readiness: Readiness::default(),
                tokens: Some(Tokens::load(&path).unwrap()),
                exposure,
                intake: Intake::default(),
                protected: Router::new(),
            });
            assert!(routes.has_routes());
        }
    }
}
