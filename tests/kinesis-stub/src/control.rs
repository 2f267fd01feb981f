//! Effect: the control paths under `/_stub/`, for a test in another process. No secret is ever shown.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use hyper::http::request::Parts;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::clock::now_micros;
use crate::error::ApiError;
use crate::faults::FaultSet;
use crate::keys::{KeySpec, RoleSpec};
use crate::service::{Answer, Service};
use crate::streams::{DEFAULT_MAX_RECORD_BYTES, StreamSpec};

/// Most records of one answer.
const MAX_RECORDS: usize = 100_000;

/// Answers a control request.
pub(crate) fn answer(service: &Service, parts: &Parts, body: &[u8]) -> Answer {
    let path = parts.uri.path().trim_start_matches("/_stub/");
    let (first, rest) = path.split_once('/').unwrap_or((path, ""));
    match (parts.method.as_str(), first, rest) {
        ("GET", "stats", "") => {
            let snapshot = service.stats.snapshot(service.faults.struck(), service.log.losses());
            json(200, &json!(snapshot))
        }
        ("GET", "records", "") => records(service, parts.uri.query().unwrap_or_default()),
        ("PUT", "faults", "") => with(body, |faults: FaultSet| {
            service.faults.replace(faults);
            done()
        }),
        ("DELETE", "faults", "") => {
            service.faults.replace(FaultSet::default());
            done()
        }
        ("PUT", "keys", id) if !id.is_empty() => {
            with(
                body,
                |key: KeySpec| {
                    if service.keys.put(id, key) { done() } else { wrong("A new key needs a secret.") }
                },
            )
        }
        ("DELETE", "keys", id) if !id.is_empty() => {
            if service.keys.remove(id) {
                done()
            } else {
                json(404, &json!({"message": "There is no such key."}))
            }
        }
        ("PUT", "roles", "") => with(body, |roles: BTreeMap<String, RoleSpec>| {
            service.keys.replace_roles(roles);
            done()
        }),
        ("PUT", "streams", name) if !name.is_empty() => with(body, |edit| put_stream(service, name, &edit)),
        ("DELETE", "streams", name) if !name.is_empty() => match service.streams.delete(name) {
            Ok(()) => done(),
            Err(error) => json(404, &json!({"message": error.message})),
        },
        ("POST", "flush", "") => match service.log.flush() {
            Ok(()) => done(),
            Err(error) => json(500, &json!({"message": error.to_string()})),
        },
        _ => json(404, &json!({"message": "There is no such control path."})),
    }
}

/// A stream as a test wants it; what is left out stays, or is usual where the stream is new.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct StreamEdit {
    shards: Option<usize>,
    max_record_bytes: Option<u64>,
}

/// Creates a stream, or reshards and limits one that is there.
fn put_stream(service: &Service, name: &str, edit: &StreamEdit) -> Answer {
    match created_or_changed(service, name, edit) {
        Ok(()) => done(),
        Err(error) => wrong(&error.message),
    }
}

fn created_or_changed(service: &Service, name: &str, edit: &StreamEdit) -> Result<(), ApiError> {
    let Ok(stream) = service.streams.find(name) else {
        let max_record_bytes = edit.max_record_bytes.unwrap_or(DEFAULT_MAX_RECORD_BYTES);
        let spec = StreamSpec { max_record_bytes, ..StreamSpec::new(name, edit.shards.unwrap_or(1)) };
        return service.streams.create(&spec, now_micros()).map(drop);
    };
    if let Some(shards) = edit.shards {
        stream.reshard(shards, &service.log.next)?;
    }
    if let Some(bytes) = edit.max_record_bytes {
        stream.max_record_bytes.store(bytes, Ordering::Relaxed);
    }
    Ok(())
}

fn records(service: &Service, query: &str) -> Answer {
    let field = |name: &str| {
        form_urlencoded::parse(query.as_bytes())
            .find(|(field, _)| field == name)
            .and_then(|(_, value)| value.parse().ok())
    };
    let after: u64 = field("after").unwrap_or(0);
    let limit = field("limit").map_or(MAX_RECORDS, |limit| (limit as usize).min(MAX_RECORDS));
    let mut lines = Vec::new();
    for record in service.log.after(after, limit) {
        if serde_json::to_writer(&mut lines, &*record).is_ok() {
            lines.push(b'\n');
        }
    }
    Answer { status: 200, content_type: "application/x-ndjson", body: lines, request: 0 }
}

fn with<T: DeserializeOwned>(body: &[u8], act: impl FnOnce(T) -> Answer) -> Answer {
    match serde_json::from_slice(body) {
        Ok(value) => act(value),
        Err(error) => wrong(&error.to_string()),
    }
}

fn done() -> Answer {
    json(200, &json!({}))
}

fn wrong(message: &str) -> Answer {
    json(400, &json!({"message": message}))
}

fn json(status: u16, document: &serde_json::Value) -> Answer {
    Answer { status, content_type: "application/json", body: document.to_string().into_bytes(), request: 0 }
}
