//! Effects: `GET /v1/profiles/{mergePolicyId}/{profileId}`: one profile as it is.

use axum::Json;
use axum::Router;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::value::RawValue;

use super::gate::Guard;
use super::right::Right;
use super::{later, problem};
use crate::hub::Hub;
use crate::store::{StoreError, StoredProfile};

pub(super) fn router(hub: Hub, guard: &Guard) -> Router {
    let methods = guard.behind(|_| Right::ReadProfiles, get(read));
    Router::new().route("/v1/profiles/{merge_policy_id}/{profile_id}", methods).with_state(hub)
}

/// One profile, and the change that made it what it is.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Told<'a> {
    profile_id: &'a str,
    merge_policy_id: &'a str,
    version: u64,
    time: Timestamp,
    profile: &'a RawValue,
}

async fn read(State(hub): State<Hub>, path: Result<Path<(String, String)>, PathRejection>) -> Response {
    let Ok(Path((merge_policy_id, profile_id))) = path else {
        return problem(
            StatusCode::BAD_REQUEST,
            "the path cannot be read: write /v1/profiles/{mergePolicyId}/{profileId}, each percent-encoded UTF-8",
        );
    };
    let (policy, id) = (merge_policy_id.clone(), profile_id.clone());
    match tokio::task::spawn_blocking(move || hub.profile(&policy, &id)).await {
        Ok(Ok(Some(stored))) => match tell(&merge_policy_id, &profile_id, &stored) {
            Ok(response) => response,
            Err(error) => problem(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
        },
        Ok(Ok(None)) => {
            problem(StatusCode::NOT_FOUND, "there is no such profile under this merge policy: check both ids")
        }
        Ok(Err(error)) => later(StatusCode::SERVICE_UNAVAILABLE, 5, error.to_string()),
        Err(_) => later(StatusCode::SERVICE_UNAVAILABLE, 5, "the store could not be asked: try again"),
    }
}

fn tell(merge_policy_id: &str, profile_id: &str, stored: &StoredProfile) -> Result<Response, StoreError> {
    let profile = serde_json::from_str(stored.entity()?).map_err(|_| StoreError::Value("profile"))?;
    let told = Told { profile_id, merge_policy_id, version: stored.version, time: stored.time, profile };
    Ok(Json(told).into_response())
}
