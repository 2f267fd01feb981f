//! The AWS SDK against the stub: it creates, puts and reads back, with real signatures, and meets refusals by name.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use aws_config::sts::AssumeRoleProvider;
use aws_credential_types::Credentials;
use aws_credential_types::provider::ProvideCredentials as _;
use aws_sdk_kinesis::config::retry::RetryConfig;
use aws_sdk_kinesis::config::{BehaviorVersion, Region};
use aws_sdk_kinesis::error::ProvideErrorMetadata as _;
use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::{PutRecordsRequestEntry, ScalingType, ShardIteratorType};
use aws_sdk_kinesis::{Client, Config as ClientConfig};
use kinesis_stub::{Config, KeySpec, RoleSpec, StreamSpec, Stub};

fn client(stub: &Stub, credentials: Credentials) -> Client {
    let config = ClientConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("eu-west-1"))
        .endpoint_url(stub.url())
        .retry_config(RetryConfig::disabled())
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .credentials_provider(credentials)
        .build();
    Client::from_conf(config)
}

fn static_key(id: &str, secret: &str) -> Credentials {
    Credentials::new(id, secret, None, None, "test")
}

/// The name of the refusal of a put, or "" where it went through.
async fn refusal(client: &Client) -> String {
    let put = client.put_record().stream_name("s").partition_key("k").data(Blob::new("x")).send().await;
    put.err().map(|error| error.into_service_error().code().unwrap_or("?").to_owned()).unwrap_or_default()
}

async fn read_all(client: &Client, shard: &str) -> Vec<(String, Vec<u8>)> {
    let iterator = client
        .get_shard_iterator()
        .stream_name("made")
        .shard_id(shard)
        .shard_iterator_type(ShardIteratorType::TrimHorizon)
        .send()
        .await
        .unwrap();
    let read = client.get_records().set_shard_iterator(iterator.shard_iterator).send().await.unwrap();
    read.records
        .into_iter()
        .map(|record| (record.partition_key.unwrap_or_default(), record.data.into_inner()))
        .collect()
}

#[tokio::test]
async fn the_sdk_creates_puts_and_reads_back() {
    let stub = Stub::start(Config::default()).await.unwrap();
    let client = client(&stub, static_key("test", "test"));
    client.create_stream().stream_name("made").shard_count(2).send().await.unwrap();
    let summary = client.describe_stream_summary().stream_name("made").send().await.unwrap();
    assert_eq!(summary.stream_description_summary.unwrap().open_shard_count, 2);
    let arn = "arn:aws:kinesis:us-east-1:000000000000:stream/made";
    let mut put = client.put_records().stream_arn(arn);
    for key in 0..20 {
        let entry = PutRecordsRequestEntry::builder().partition_key(format!("k{key}")).data(Blob::new([key; 5]));
        put = put.records(entry.build().unwrap());
    }
    assert_eq!(put.send().await.unwrap().failed_record_count, Some(0));
    client
        .update_shard_count()
        .stream_name("made")
        .target_shard_count(3)
        .scaling_type(ScalingType::UniformScaling)
        .send()
        .await
        .unwrap();
    client.put_record().stream_name("made").partition_key("last").data(Blob::new("z")).send().await.unwrap();

    let mut read = Vec::new();
    for shard in client.list_shards().stream_name("made").send().await.unwrap().shards.unwrap() {
        read.extend(read_all(&client, &shard.shard_id).await);
    }
    let mut expected: Vec<_> = (0..20).map(|key| (format!("k{key}"), vec![key; 5])).collect();
    expected.push(("last".into(), b"z".to_vec()));
    read.sort();
    expected.sort();
    assert_eq!(read, expected);
    let logged = stub.records();
    assert!(logged.windows(2).all(|pair| pair[0].seq + 1 == pair[1].seq));
    assert_eq!((logged.len(), logged[20].bytes(), &*logged[0].access_key), (21, b"z".to_vec(), "test"));
    client.delete_stream().stream_name("made").send().await.unwrap();
    assert!(client.list_streams().send().await.unwrap().stream_names.is_empty());
    stub.shutdown().await.unwrap();
}

#[tokio::test]
async fn keys_are_refused_by_name_while_they_are_edited() {
    let config = Config { streams: vec![StreamSpec::new("s", 1)], ..Config::default() };
    let stub = Stub::start(config).await.unwrap();
    assert_eq!(refusal(&client(&stub, static_key("stranger", "test"))).await, "UnrecognizedClientException");
    assert_eq!(refusal(&client(&stub, static_key("test", "wrong"))).await, "InvalidSignatureException");
    let tokened = Credentials::new("test", "test", Some("token".into()), None, "test");
    assert_eq!(refusal(&client(&stub, tokened)).await, "UnrecognizedClientException");

    let client = client(&stub, static_key("test", "test"));
    assert_eq!(refusal(&client).await, "");
    assert!(stub.restrict_key("test", Some(&["PutRecords"])));
    let denied = client
        .put_record()
        .stream_name("s")
        .partition_key("k")
        .explicit_hash_key("340282366920938463463374607431768211456")
        .data(Blob::new(""))
        .send()
        .await
        .unwrap_err()
        .into_service_error();
    assert_eq!(denied.code(), Some("AccessDeniedException"), "permission comes before arguments");
    assert!(denied.message().unwrap().starts_with(
        "User: arn:aws:iam::000000000000:user/test is not authorized to perform: kinesis:PutRecord on resource: \
         arn:aws:kinesis:us-east-1:000000000000:stream/s"
    ));
    stub.restrict_key("test", None);
    stub.set_expired("test", true);
    assert_eq!(refusal(&client).await, "ExpiredTokenException");
    stub.put_key("test", KeySpec::new("rotated"));
    assert_eq!(refusal(&client).await, "InvalidSignatureException");
    stub.put_key("test", KeySpec::new("test"));
    assert_eq!(refusal(&client).await, "");
    stub.remove_key("test");
    assert_eq!(refusal(&client).await, "UnrecognizedClientException");
}

#[tokio::test]
async fn an_assumed_role_gives_keys_that_do_what_the_role_allows() {
    let arn = "arn:aws:iam::000000000000:role/export";
    let role = RoleSpec {
        external_id: Some("tenant".into()),
        allowed: Some(vec!["kinesis:PutRecord".into()]),
        ttl_seconds: 900,
    };
    let config =
        Config { streams: vec![StreamSpec::new("s", 1)], roles: [(arn.to_owned(), role)].into(), ..Config::default() };
    let stub = Stub::start(config).await.unwrap();
    let base = aws_config::defaults(BehaviorVersion::latest())
        .region(Region::new("eu-west-1"))
        .endpoint_url(stub.url())
        .retry_config(RetryConfig::disabled())
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .credentials_provider(static_key("test", "test"))
        .load()
        .await;
    let assume = async |external_id: &str| {
        let provider = AssumeRoleProvider::builder(arn).session_name("run").external_id(external_id).configure(&base);
        provider.build().await.provide_credentials().await
    };
    assert!(format!("{:?}", assume("other").await.unwrap_err()).contains("AccessDenied"));
    let temporary = assume("tenant").await.unwrap();
    assert!(temporary.session_token().is_some() && temporary.expiry().is_some());
    let id = temporary.access_key_id().to_owned();
    let client = client(&stub, temporary);
    assert_eq!(refusal(&client).await, "");
    let denied = client.list_streams().send().await.unwrap_err().into_service_error();
    assert!(
        denied.message().unwrap().contains("assumed-role/export/run is not authorized to perform: kinesis:ListStreams")
    );
    stub.set_expired(&id, true);
    assert_eq!(refusal(&client).await, "ExpiredTokenException");
}
