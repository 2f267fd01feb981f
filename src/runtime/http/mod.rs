//! Effects: the HTTP server. Profile updates in, profiles and dead letters out, metrics, what is logged, and the probes.
//!
//! Reading order: [`right`] (what each route asks of its caller), [`gate`] (who asks it: nobody, a token file, the API server by way
//! of [`review`]), then the routes.
//!
//! Everything that a client can make large is bounded: connections, headers, bodies, their sum, and the time each may take.
//! Every refusal is JSON, `{"error": what, where, how to mend it}`.

mod body;
mod cache;
mod claims;
mod connections;
mod dead_letters;
mod exposure;
mod gate;
mod ingest;
mod log;
mod metrics;
mod probes;
mod profiles;
mod review;
mod right;
mod serve;
mod tls;
mod tokens;
mod verdict;

use axum::Json;
use axum::Router;
use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use gate::Guard;

use crate::hub::Hub;
use crate::telemetry::logging::Filter;
use crate::telemetry::metrics::Metrics;

pub use body::Intake;
pub use dead_letters::Office;
pub use exposure::{Exposure, ExposureError, check_exposure, check_tls};
pub use gate::Gate;
pub use probes::{Probes, probes};
pub use review::{ReviewError, Reviews};
pub use right::{AUDIENCE, Right};
pub use serve::{HttpError, bind, serve};
pub use tls::{TlsError, TlsFiles};
pub use tokens::{TokenFileError, Tokens};

/// What the server serves.
#[derive(Clone)]
pub struct Endpoints {
    /// Who may use everything but the probes.
    pub gate: Gate,
    /// The profile hub; without one there is neither ingest nor read.
    pub hub: Option<Hub>,
    /// Room for request bodies that are being received.
    pub intake: Intake,
    /// The dead letters.
    pub dead_letters: Option<Office>,
    /// What `/metrics` tells.
    pub metrics: Metrics,
    /// What is logged, to be read and changed.
    pub log: Option<Filter>,
    /// The probes, where they have no listener of their own.
    pub probes: Option<Probes>,
}

/// The routes, each behind the right that it needs.
pub fn router(endpoints: Endpoints) -> Router {
    let Endpoints { gate, hub, intake, dead_letters, metrics, log, probes } = endpoints;
    let guard = Guard::new(gate, metrics.clone());
    let mut routes = metrics::router(metrics.clone(), hub.clone(), &guard);
    if let Some(hub) = hub {
        routes = routes.merge(profiles::router(hub.clone(), &guard)).merge(ingest::router(hub, intake, &guard));
    }
    if let Some(office) = dead_letters {
        routes = routes.merge(dead_letters::router(office, &guard));
    }
    if let Some(filter) = log {
        routes = routes.merge(log::router(filter, &guard));
    }
    let mut routes = ingest::counted(routes, metrics);
    if let Some(probes) = probes {
        routes = routes.merge(probes::routes(probes));
    }
    routes
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
