#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use futures::future::join_all;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::ingest::{self, Answer, IngestError, MAX_BODY_BYTES, Request, Source};
use super::{Hub, Writer, retention};
use crate::store::Store;

fn hub() -> (tempfile::TempDir, Hub, Writer) {
    let data = tempfile::tempdir().unwrap();
    let (hub, writer) = Hub::start(Store::open(data.path(), 16 << 20).unwrap()).unwrap();
    (data, hub, writer)
}

fn request(body: impl Into<bytes::Bytes>) -> Request {
    Request { body: body.into(), ..Request::default() }
}

fn update(profile: &str, entity: &Value) -> String {
    json!({"header": {"profileId": profile}, "body": {"xdmEntity": entity}}).to_string() + "\n"
}

fn profile(hub: &Hub, id: &str) -> Value {
    serde_json::from_str(hub.profile("default", id).unwrap().unwrap().entity().unwrap()).unwrap()
}

#[test]
fn lines_keep_their_numbers_where_blank_ones_stand_between() {
    let found: Vec<_> = ingest::lines(b"a\r\n\n \t\r\nb\n\nc").collect();
    assert_eq!(found, [(1, b"a".as_slice()), (4, b"b"), (6, b"c")]);
    assert_eq!(ingest::lines(b"").count() + ingest::lines(b"\n\n").count(), 0);
}

#[tokio::test]
async fn requests_that_follow_each_other_closely_build_on_each_other() {
    let (_data, hub, writer) = hub();
    let requests = (0..200).map(|number| {
        let hub = hub.clone();
        let mut entity = json!({"last": number});
        entity[format!("a{number}")] = json!(number);
        async move { hub.ingest(request(update("p", &entity) + &update("p", &json!({"last": number})))).await.unwrap() }
    });
    let answers = join_all(requests).await;
    let positions: Vec<_> = answers.iter().map(|answer| answer.position).collect();
    assert_eq!(positions, (1..=200).map(|number| 2 * number).collect::<Vec<_>>());
    let profile = profile(&hub, "p");
    assert_eq!(profile["last"], 199);
    assert!((0..200).all(|number| profile[format!("a{number}")] == number), "{profile}");
    let log = hub.store().read_log(1, 1000, usize::MAX).unwrap();
    let times: Vec<Timestamp> = log
        .iter()
        .map(|entry| {
            serde_json::from_slice::<Value>(entry.change()).unwrap()["time"].as_str().unwrap().parse().unwrap()
        })
        .collect();
    assert_eq!(times.len(), 400);
    assert!(times.is_sorted());
    drop(hub);
    writer.join().unwrap();
}

#[tokio::test]
async fn an_answer_is_given_only_when_the_store_has_what_it_tells() {
    let (_data, hub, writer) = hub();
    let checks = (0..200).map(|number| {
        let hub = hub.clone();
        async move {
            let id = format!("p-{number}");
            let answer = hub.ingest(request(update(&id, &json!({"n": number})))).await.unwrap();
            assert!(hub.store().head().unwrap().next > answer.position);
            assert!(*hub.head().borrow() > answer.position);
            assert_eq!(profile(&hub, &id), json!({"n": number}));
        }
    });
    join_all(checks).await;
    drop(hub);
    writer.join().unwrap();
}

#[tokio::test]
async fn more_bytes_than_the_queue_holds_are_refused_and_a_file_waits_instead() {
    let (_data, hub, writer) = hub();
    let body = bytes::Bytes::from(vec![b'\n'; MAX_BODY_BYTES]);
    let body = [update("p", &json!({"a": 1})).as_bytes(), &body].concat();
    let body = bytes::Bytes::from(body).slice(..MAX_BODY_BYTES);
    let answers = join_all((0..8).map(|_| hub.ingest(request(body.clone())))).await;
    let busy = answers.iter().filter(|answer| matches!(answer, Err(IngestError::Busy))).count();
    assert_eq!(busy, 4, "{answers:?}");
    assert!(answers.iter().flatten().all(|answer| answer.accepted == 1));
    let answers = join_all((0..8).map(|_| hub.ingest_waiting(request(body.clone())))).await;
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    assert_eq!((*hub.head().borrow(), hub.queued_bytes()), (13, 0));
    drop(hub);
    writer.join().unwrap();
}

#[tokio::test]
async fn more_requests_than_the_queue_holds_are_refused() {
    let (_data, hub, writer) = hub();
    let answers = join_all((0..5000).map(|_| hub.ingest(request(update("p", &json!({"a": 1})))))).await;
    let (busy, taken): (Vec<_>, Vec<_>) =
        answers.into_iter().partition(|answer| matches!(answer, Err(IngestError::Busy)));
    assert!(!busy.is_empty() && taken.iter().all(Result::is_ok));
    assert_eq!(*hub.head().borrow(), taken.len() as u64 + 1);
    drop(hub);
    writer.join().unwrap();
}

#[tokio::test]
async fn a_request_that_would_write_too_much_changes_nothing() {
    let (_data, hub, writer) = hub();
    hub.ingest(request(update("p", &json!({"large": "x".repeat(900 << 10)})))).await.unwrap();
    let body: String = (0..400).map(|number| update("p", &json!({"n": number}))).collect();
    let refused = hub.ingest(request(update("other", &json!({"n": 1})) + &body)).await;
    assert!(matches!(refused, Err(IngestError::TooMuch)), "{refused:?}");
    assert_eq!(*hub.head().borrow(), 2);
    assert!(hub.profile("default", "other").unwrap().is_none());
    assert_eq!(profile(&hub, "p")["n"], Value::Null);
    assert_eq!(hub.ingest(request(update("p", &json!({"n": 7})))).await.unwrap().position, 2);
    drop(hub);
    writer.join().unwrap();
}

#[tokio::test]
async fn a_profile_that_would_grow_over_its_limit_rejects_the_update_alone() {
    let (_data, hub, writer) = hub();
    let half = "x".repeat(600 << 10);
    let body = update("p", &json!({"a": half})) + &update("p", &json!({"b": half})) + &update("p", &json!({"c": 1}));
    let answer = hub.ingest(request(body)).await.unwrap();
    assert_eq!((answer.accepted, answer.rejected_count, answer.rejected[0].line), (2, 1, 2));
    assert!(answer.rejected[0].error.contains("1 MiB"), "{}", answer.rejected[0].error);
    assert_eq!(profile(&hub, "p")["c"], 1);
    drop(hub);
    writer.join().unwrap();
}

#[tokio::test]
async fn the_delete_of_a_profile_that_is_not_there_is_accepted_and_changes_nothing() {
    let (_data, hub, writer) = hub();
    let delete = json!({"header": {"profileId": "p", "operation": "delete"}, "body": {}}).to_string();
    let answer = hub.ingest(request(delete.clone())).await.unwrap();
    assert_eq!(answer, Answer { accepted: 1, ..Answer::default() });
    hub.ingest(request(update("p", &json!({"a": 1})))).await.unwrap();
    assert_eq!(hub.ingest(request(delete)).await.unwrap().position, 2);
    assert!(hub.profile("default", "p").unwrap().is_none());
    drop(hub);
    writer.join().unwrap();
}

#[tokio::test]
async fn how_far_a_file_was_read_is_kept_with_what_its_lines_wrote() {
    let (_data, hub, writer) = hub();
    let source = Source { name: "updates.ndjson".to_owned(), progress: b"120".to_vec() };
    let body = update("p", &json!({"a": 1})).into();
    hub.ingest(Request { body, source: Some(source), idempotency_key: None }).await.unwrap();
    assert_eq!(hub.store().source("updates.ndjson").unwrap().unwrap(), b"120");
    drop(hub);
    writer.join().unwrap();
}

#[tokio::test]
async fn a_key_repeats_its_answer_for_a_day() {
    let (_data, hub, writer) = hub();
    let keyed =
        |name: &str| Request { idempotency_key: Some("k".to_owned()), ..request(update("p", &json!({"name": name}))) };
    let answers = join_all([hub.ingest(keyed("a")), hub.ingest(keyed("a")), hub.ingest(keyed("b"))]).await;
    let [Ok(first), Ok(again), Err(IngestError::KeyReused)] = answers.as_slice() else { panic!("{answers:?}") };
    assert_eq!((first, again), (&Answer { accepted: 1, position: 1, ..Answer::default() }, first));
    let now = Timestamp::now();
    let after = |hours| now.checked_add(SignedDuration::from_hours(hours)).unwrap();
    retention::forget_answers(hub.store(), after(23)).unwrap();
    assert!(matches!(hub.ingest(keyed("b")).await, Err(IngestError::KeyReused)));
    retention::forget_answers(hub.store(), after(25)).unwrap();
    assert_eq!(hub.ingest(keyed("b")).await.unwrap().position, 2);
    drop(hub);
    writer.join().unwrap();
}

#[tokio::test]
async fn the_writer_runs_until_every_hub_is_gone() {
    let (_data, hub, writer) = hub();
    assert!(hub.is_running());
    let other = hub.clone();
    drop(hub);
    assert_eq!(other.ingest(request(update("p", &json!({"a": 1})))).await.unwrap().position, 1);
    let mut head = other.head();
    drop(other);
    writer.join().unwrap();
    assert!(head.changed().await.is_ok() || head.has_changed().is_err());
}
