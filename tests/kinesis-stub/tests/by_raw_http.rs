//! Every fault, every limit and the control paths, as a client without any library sees them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use kinesis_stub::{Break, EntryError, Fault, Kind, KmsError, LogMode};
use serde_json::{Value, json};
use support::{Seen, call, call_unanswered, committed, exchange, records, stub};

async fn put_error(stub: &kinesis_stub::Stub, keys: &[&str]) -> (u16, String) {
    let reply = call(stub, "PutRecords", &records(keys)).await.reply();
    (reply.status, reply.error())
}

/// The error code of each entry, empty where it succeeded.
fn codes(answer: &Value) -> Vec<String> {
    answer["Records"].as_array().unwrap().iter().map(|it| it["ErrorCode"].as_str().unwrap_or("").to_owned()).collect()
}

#[tokio::test]
async fn a_put_is_answered_in_the_protocols_form_and_logged_in_order() {
    let stub = stub(2, |_| ()).await;
    let reply = call(&stub, "PutRecords", &records(&["a", "b", "c"])).await.reply();
    assert_eq!(reply.status, 200);
    assert!(reply.head.contains("content-type: application/x-amz-json-1.1"));
    assert!(reply.head.contains("x-amzn-requestid: "));
    let answer = reply.json();
    assert_eq!(answer["FailedRecordCount"], 0);
    let told: Vec<_> =
        answer["Records"].as_array().unwrap().iter().map(|it| it["SequenceNumber"].as_str().unwrap()).collect();
    let logged: Vec<_> = stub.records().iter().map(|record| record.sequence_number.clone()).collect();
    assert_eq!(told, logged);
    assert!(logged.is_sorted());
    let single =
        call(&stub, "PutRecord", &json!({"StreamName": "s", "PartitionKey": "d", "Data": "ZA=="})).await.reply().json();
    assert_eq!(single["ShardId"], *stub.records()[3].shard);
    assert_eq!(single["EncryptionType"], "NONE");
    assert_eq!(committed(&stub), ["a", "b", "c", "d"]);
    assert_eq!((stub.records()[0].request, stub.records()[2].request, stub.records()[3].request), (1, 1, 2));
}

#[tokio::test]
async fn every_limit_is_answered_with_the_services_error() {
    let stub = stub(1, |config| config.max_request_bytes = 3 << 20).await;
    let big = |bytes: usize| "A".repeat(bytes / 3 * 4);
    let one = |entry: Value| json!({"StreamName": "s", "Records": [entry]});
    let (validation, argument) = ("ValidationException", "InvalidArgumentException");
    let out_of_range = "340282366920938463463374607431768211456";
    for (body, error) in [
        (json!({"StreamName": "s"}), validation),
        (json!({"StreamName": "s", "Records": []}), validation),
        (records(&["k"; 501]), validation),
        (one(json!({"PartitionKey": "", "Data": ""})), validation),
        (one(json!({"PartitionKey": "é".repeat(257), "Data": ""})), validation),
        (one(json!({"PartitionKey": "k"})), validation),
        (one(json!({"Data": ""})), validation),
        (one(json!({"PartitionKey": "k", "Data": "", "ExplicitHashKey": "01"})), validation),
        (one(json!({"PartitionKey": "k", "Data": "", "ExplicitHashKey": "-1"})), validation),
        (one(json!({"PartitionKey": "k", "Data": "", "ExplicitHashKey": out_of_range})), argument),
        (one(json!({"PartitionKey": "kkkk", "Data": big(1_048_575)})), argument),
        (json!({"StreamName": "s", "Records": vec![json!({"PartitionKey": "k", "Data": big(900_000)}); 4]}), argument),
        (json!({"Records": [{"PartitionKey": "k", "Data": ""}]}), argument),
        (one(json!({"PartitionKey": "k", "Data": "abc"})), "SerializationException"),
        (one(json!({"PartitionKey": "k", "Data": "a!=="})), "SerializationException"),
        (
            json!({"StreamName": "gone", "Records": [{"PartitionKey": "k", "Data": "", "ExplicitHashKey": out_of_range}]}),
            "ResourceNotFoundException",
        ),
    ] {
        let reply = call(&stub, "PutRecords", &body).await.reply();
        let shown = body.to_string();
        assert_eq!((reply.status, reply.error().as_str()), (400, error), "{}", &shown[..shown.len().min(200)]);
    }
    assert!(stub.records().is_empty());
    for entry in [
        json!({"PartitionKey": "é".repeat(256), "Data": ""}),
        json!({"PartitionKey": "k", "Data": "", "ExplicitHashKey": "340282366920938463463374607431768211455"}),
        json!({"PartitionKey": "k", "Data": big(1_048_575)}),
    ] {
        assert_eq!(call(&stub, "PutRecords", &one(entry)).await.reply().status, 200);
    }
}

#[tokio::test]
async fn an_unknown_action_or_a_body_that_is_no_json_is_refused() {
    let stub = stub(1, |_| ()).await;
    assert_eq!(call(&stub, "Nope", &json!({})).await.reply().error(), "UnknownOperationException");
    let headers = "x-amz-target: Kinesis_20131202.PutRecords\r\n";
    assert_eq!(exchange(&stub, "POST", "/", headers, b"{").await.reply().error(), "SerializationException");
    assert_eq!(exchange(&stub, "GET", "/", "", b"").await.reply().status, 404);
}

#[tokio::test]
async fn a_fault_that_refuses_the_request_writes_nothing_and_goes_when_its_count_is_used() {
    let stub = stub(1, |_| ()).await;
    for (kind, status, error) in [
        (Kind::ThrottleRequest, 400, "ProvisionedThroughputExceededException"),
        (Kind::Status { status: 500 }, 500, "InternalFailure"),
        (Kind::Status { status: 503 }, 503, "ServiceUnavailable"),
        (Kind::Denied, 400, "AccessDeniedException"),
        (Kind::ExpiredToken, 400, "ExpiredTokenException"),
        (Kind::Kms { error: KmsError::Disabled }, 400, "KMSDisabledException"),
        (Kind::Kms { error: KmsError::AccessDenied }, 400, "KMSAccessDeniedException"),
        (Kind::Kms { error: KmsError::Throttling }, 400, "KMSThrottlingException"),
        (Kind::StreamDeleted, 400, "ResourceNotFoundException"),
        (
            Kind::Error { kind: "LimitExceededException".into(), message: "x".into(), status: 400 },
            400,
            "LimitExceededException",
        ),
        (Kind::PoisonRequest { partition_key: "b".into() }, 400, "InvalidArgumentException"),
    ] {
        stub.set_faults(vec![Fault::new(kind.clone()).times(1).on_action("PutRecords")]);
        let before = stub.records().len();
        assert_eq!(call(&stub, "ListStreams", &json!({})).await.reply().status, 200, "{kind:?}");
        assert_eq!(put_error(&stub, &["a", "b"]).await, (status, error.to_owned()), "{kind:?}");
        assert_eq!(stub.records().len(), before, "{kind:?}");
        assert_eq!(put_error(&stub, &["a", "b"]).await, (200, String::new()), "{kind:?}");
    }
}

#[tokio::test]
async fn entries_fail_scattered_or_from_one_on_or_by_shard_or_by_key() {
    let stub = stub(4, |_| ()).await;
    let keys: Vec<String> = (0..100).map(|key| format!("k{key}")).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let throttled = "ProvisionedThroughputExceededException";
    for (kind, code) in [
        (Kind::Scattered { rate: 0.5, error: EntryError::InternalFailure }, "InternalFailure"),
        (Kind::Suffix { error: EntryError::Throttled }, throttled),
        (Kind::ThrottleEntries { shard: Some("shardId-000000000002".into()), rate: 1.0 }, throttled),
        (Kind::PoisonEntry { partition_key: "k7".into() }, "InternalFailure"),
    ] {
        stub.set_faults(vec![Fault::new(kind.clone())]);
        let before = stub.records().len();
        let answer = call(&stub, "PutRecords", &records(&keys)).await.reply().json();
        let codes = codes(&answer);
        let failed = codes.iter().filter(|it| !it.is_empty()).count();
        assert_eq!(answer["FailedRecordCount"], failed, "{kind:?}");
        assert!(failed > 0 && codes.iter().all(|it| it.is_empty() || it == code), "{kind:?}");
        let good: Vec<_> = keys.iter().zip(&codes).filter(|(_, code)| code.is_empty()).map(|(key, _)| *key).collect();
        assert_eq!(committed(&stub)[before..], good, "{kind:?}");
    }
    let single = |key: &str| json!({"StreamName": "s", "PartitionKey": key, "Data": ""});
    assert_eq!(call(&stub, "PutRecord", &single("k7")).await.reply().status, 500);
    stub.set_faults(vec![Fault::new(Kind::ThrottleEntries { shard: None, rate: 1.0 })]);
    assert_eq!(call(&stub, "PutRecord", &single("k8")).await.reply().error(), throttled);
    assert_eq!(stub.stats().entries_failed + stub.stats().entries_throttled, 100 * 4 - committed(&stub).len() as u64);
}

#[tokio::test]
async fn a_connection_breaks_before_or_after_the_write() {
    let stub = stub(1, |_| ()).await;
    for (kind, reset, written) in [
        (Kind::ResetBefore { how: Break::Rst }, true, 0),
        (Kind::ResetBefore { how: Break::Close }, false, 0),
        (Kind::ResetAfter { how: Break::Rst }, true, 1),
        (Kind::ResetAfter { how: Break::Close }, false, 1),
    ] {
        stub.set_faults(vec![Fault::new(kind.clone()).times(1)]);
        let before = stub.records().len();
        match call(&stub, "PutRecords", &records(&["a"])).await {
            Seen::Reset => assert!(reset, "{kind:?}"),
            Seen::Closed => assert!(!reset, "{kind:?}"),
            other => panic!("{kind:?}: {other:?}"),
        }
        assert_eq!(stub.records().len() - before, written, "{kind:?}");
    }
}

#[tokio::test]
async fn silence_comes_with_or_without_the_write_and_a_late_answer_comes() {
    let stub = stub(1, |_| ()).await;
    stub.set_faults(vec![Fault::new(Kind::Blackhole).times(1)]);
    assert!(matches!(call_unanswered(&stub, "PutRecords", &records(&["a"])).await, Seen::Silence));
    assert!(committed(&stub).is_empty());
    stub.set_faults(vec![Fault::new(Kind::CommitThenTimeout { answer_after_ms: None }).times(1)]);
    assert!(matches!(call_unanswered(&stub, "PutRecords", &records(&["b"])).await, Seen::Silence));
    assert_eq!(committed(&stub), ["b"]);
    stub.set_faults(vec![Fault::new(Kind::CommitThenTimeout { answer_after_ms: Some(20) }).times(1)]);
    assert_eq!(put_error(&stub, &["c"]).await.0, 200);
    stub.set_faults(vec![Fault::new(Kind::Latency { fixed_ms: 5, jitter_ms: 5 })]);
    let started = std::time::Instant::now();
    assert_eq!(put_error(&stub, &["d"]).await.0, 200);
    assert!(started.elapsed().as_millis() >= 5, "a floor, which no slow machine breaks");
    assert_eq!(stub.stats().faults_by_kind["commitThenTimeout"], 2);
    assert_eq!(stub.stats().records_unanswered, 2, "what was written and not answered, or late");
    stub.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_stream_that_plays_deleted_is_not_listed_and_comes_back() {
    let stub = stub(1, |_| ()).await;
    stub.set_faults(vec![Fault::new(Kind::StreamDeleted).on_stream("s")]);
    assert_eq!(call(&stub, "ListStreams", &json!({})).await.reply().json()["StreamNames"], json!([]));
    assert_eq!(
        call(&stub, "DescribeStreamSummary", &json!({"StreamName": "s"})).await.reply().error(),
        "ResourceNotFoundException"
    );
    stub.set_faults(vec![Fault::new(Kind::StreamDeleted).on_action("PutRecords")]);
    assert_eq!(call(&stub, "ListStreams", &json!({})).await.reply().json()["StreamNames"], json!(["s"]));
    assert_eq!(put_error(&stub, &["a"]).await.1, "ResourceNotFoundException");
    stub.clear_faults();
    let listed = call(&stub, "ListStreams", &json!({})).await.reply().json();
    assert_eq!(listed["StreamSummaries"][0]["StreamARN"], "arn:aws:kinesis:us-east-1:000000000000:stream/s");
    assert_eq!(listed["StreamSummaries"][0]["StreamStatus"], "ACTIVE");
}

#[tokio::test]
async fn a_shard_throttles_past_a_mebibyte_a_second_where_asked_to() {
    let stub = stub(1, |config| config.shard_limits = true).await;
    let half = json!({"PartitionKey": "k", "Data": "A".repeat(524_286 / 3 * 4)});
    let body = json!({"StreamName": "s", "Records": vec![half; 4]});
    let answer = call(&stub, "PutRecords", &body).await.reply().json();
    // Entries of one request are weighed at one moment, so no slow machine lets more through.
    let throttled = "ProvisionedThroughputExceededException";
    assert_eq!(codes(&answer), ["", "", throttled, throttled]);
    assert_eq!((stub.records().len(), stub.stats().entries_throttled), (2, 2));
}

#[tokio::test]
async fn the_control_paths_do_what_the_handle_does() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("log");
    let stub = stub(1, |config| config.log = LogMode::Records { file: Some(file.clone()) }).await;
    let control = async |method: &str, path: &str, body: Value| {
        exchange(&stub, method, &format!("/_stub/{path}"), "", body.to_string().as_bytes()).await.reply()
    };
    let faults = json!({"seed": 1, "faults": [{"fault": {"kind": "throttleRequest"}, "count": 1}]});
    assert_eq!(control("PUT", "faults", faults.clone()).await.status, 200);
    assert_eq!(put_error(&stub, &["a"]).await.0, 400);
    assert_eq!(put_error(&stub, &["a", "b"]).await.0, 200);
    assert_eq!(control("PUT", "faults", faults).await.status, 200);
    assert_eq!(control("DELETE", "faults", Value::Null).await.status, 200);
    assert_eq!(put_error(&stub, &["c"]).await.0, 200);
    let stats = control("GET", "stats", Value::Null).await.json();
    assert_eq!((&stats["recordsCommitted"], &stats["requestsThrottled"]), (&json!(3), &json!(1)));
    assert_eq!(stats["requestsByAction"]["PutRecords"], 3);
    let page = control("GET", "records?after=1&limit=1", Value::Null).await;
    assert_eq!(page.text.lines().count(), 1);
    assert_eq!(page.json()["partitionKey"], "b");
    assert_eq!(control("POST", "flush", Value::Null).await.status, 200);
    assert_eq!(std::fs::read_to_string(&file).unwrap().lines().count(), 3);
    for (method, path, body, status) in [
        ("PUT", "keys/k", json!({"secret": "x", "allowed": ["PutRecords"]}), 200),
        ("PUT", "keys/k", json!({"expired": true}), 200),
        ("PUT", "keys/new", json!({}), 400),
        ("DELETE", "keys/k", Value::Null, 200),
        ("DELETE", "keys/k", Value::Null, 404),
        ("PUT", "roles", json!({"arn:aws:iam::1:role/r": {"externalId": "e", "ttlSeconds": 5}}), 200),
        ("PUT", "faults", json!([{"fault": {"kind": "nope"}}]), 400),
        ("PUT", "streams/made", json!({"shards": 2}), 200),
        ("PUT", "streams/made", json!({"shards": 3, "maxRecordBytes": 5}), 200),
        ("PUT", "streams/made", json!({"shards": 0}), 400),
        ("PUT", "streams/made", json!({"shard": 2}), 400),
        ("GET", "nope", Value::Null, 404),
    ] {
        assert_eq!(control(method, path, body).await.status, status, "{method} {path}");
    }
    let open = async || {
        let described = call(&stub, "DescribeStreamSummary", &json!({"StreamName": "made"})).await.reply().json();
        described["StreamDescriptionSummary"]["OpenShardCount"].clone()
    };
    assert_eq!(open().await, 3);
    let put = async |data: &str| {
        let put = json!({"StreamName": "made", "PartitionKey": "k", "Data": data});
        call(&stub, "PutRecord", &put).await.reply().error()
    };
    assert_eq!(put("YWJjZA==").await, "", "five bytes with the key");
    assert_eq!(put("YWJjZGU=").await, "InvalidArgumentException");
    assert_eq!(control("DELETE", "streams/made", Value::Null).await.status, 200);
    assert_eq!(control("DELETE", "streams/made", Value::Null).await.status, 404);
}

#[tokio::test]
async fn counting_only_keeps_nothing_and_answers_the_same() {
    let stub = stub(3, |config| config.log = LogMode::Counts).await;
    let answer = call(&stub, "PutRecords", &records(&["a", "b", "c"])).await.reply().json();
    assert_eq!(codes(&answer), ["", "", ""]);
    assert!(answer["Records"][0]["SequenceNumber"].as_str() < answer["Records"][1]["SequenceNumber"].as_str());
    assert!(stub.records().is_empty());
    assert_eq!((stub.stats().records_committed, stub.stats().bytes_committed), (3, 6));
}

#[tokio::test]
async fn a_stream_drops_its_oldest_past_its_cap() {
    let stub = stub(1, |config| config.retention_bytes = 600).await;
    call(&stub, "PutRecords", &records(&["a", "b", "c", "d"])).await.reply();
    let iterator = json!({"StreamName": "s", "ShardId": "shardId-000000000000", "ShardIteratorType": "TRIM_HORIZON"});
    let iterator = call(&stub, "GetShardIterator", &iterator).await.reply().json();
    let read = call(&stub, "GetRecords", &json!({"ShardIterator": iterator["ShardIterator"]})).await.reply().json();
    let keys: Vec<_> = read["Records"].as_array().unwrap().iter().map(|it| it["PartitionKey"].clone()).collect();
    assert_eq!(keys, ["c", "d"]);
    assert_eq!(stub.stats().records_dropped_from_streams, 2);
    assert_eq!(stub.records().len(), 4, "the log has a cap of its own");
}
