//! Effect: a client that speaks raw HTTP/1.1, so that a test sees the connection as it is.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, dead_code)]

use std::net::SocketAddr;
use std::time::Duration;

use base64::Engine as _;
use kinesis_stub::{Config, StreamSpec, Stub};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// How long "never" is for a test that expects silence.
const SILENCE: Duration = Duration::from_millis(300);
/// How long any other test waits: a loaded machine is slow, and waiting costs nothing.
const DEADLINE: Duration = Duration::from_mins(1);

/// What came back on a connection.
#[derive(Debug)]
pub(crate) struct Reply {
    pub status: u16,
    pub head: String,
    pub text: String,
}

impl Reply {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or(Value::Null)
    }

    /// The exception's name; empty on success.
    pub(crate) fn error(&self) -> String {
        self.json()["__type"].as_str().unwrap_or_default().to_owned()
    }
}

/// How an exchange went.
#[derive(Debug)]
pub(crate) enum Seen {
    Reply(Reply),
    Reset,
    Closed,
    Silence,
}

impl Seen {
    pub(crate) fn reply(self) -> Reply {
        match self {
            Self::Reply(reply) => reply,
            other => panic!("no reply: {other:?}"),
        }
    }
}

/// Starts a stub with stream `s` of `shards` shards and no check of signatures.
pub(crate) async fn stub(shards: usize, change: impl FnOnce(&mut Config)) -> Stub {
    let mut config = Config { streams: vec![StreamSpec::new("s", shards)], verify: false, ..Config::default() };
    change(&mut config);
    Stub::start(config).await.unwrap()
}

/// One request on a connection of its own.
pub(crate) async fn exchange(stub: &Stub, method: &str, path: &str, headers: &str, body: &[u8]) -> Seen {
    exchange_at(stub.addr(), method, path, headers, body).await
}

/// The same, wherever the stub runs.
pub(crate) async fn exchange_at(address: SocketAddr, method: &str, path: &str, headers: &str, body: &[u8]) -> Seen {
    exchange_within(DEADLINE, address, method, path, headers, body).await
}

async fn exchange_within(
    deadline: Duration,
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &str,
    body: &[u8],
) -> Seen {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!("{method} {path} HTTP/1.1\r\nhost: stub\r\n{headers}content-length: {}\r\n\r\n", body.len());
    stream.write_all(&[head.as_bytes(), body].concat()).await.unwrap();
    let mut bytes = Vec::new();
    loop {
        let mut piece = vec![0; 65_536];
        match tokio::time::timeout(deadline, stream.read(&mut piece)).await {
            Err(_) => return Seen::Silence,
            Ok(Err(error)) if error.kind() == std::io::ErrorKind::ConnectionReset => return Seen::Reset,
            Ok(Err(error)) => panic!("{error}"),
            Ok(Ok(0)) => return Seen::Closed,
            Ok(Ok(count)) => bytes.extend_from_slice(&piece[..count]),
        }
        if let Some(reply) = parsed(&bytes) {
            return Seen::Reply(reply);
        }
    }
}

fn parsed(bytes: &[u8]) -> Option<Reply> {
    let text = String::from_utf8_lossy(bytes);
    let (head, body) = text.split_once("\r\n\r\n")?;
    let length: usize = head.lines().find_map(|line| line.strip_prefix("content-length: "))?.parse().ok()?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    (body.len() >= length).then(|| Reply { status, head: head.to_owned(), text: body.to_owned() })
}

/// One action.
pub(crate) async fn call(stub: &Stub, action: &str, body: &Value) -> Seen {
    call_at(stub.addr(), action, body).await
}

/// The same, wherever the stub runs.
pub(crate) async fn call_at(address: SocketAddr, action: &str, body: &Value) -> Seen {
    exchange_at(address, "POST", "/", &headers_of(action), body.to_string().as_bytes()).await
}

/// One action that is not to be answered.
pub(crate) async fn call_unanswered(stub: &Stub, action: &str, body: &Value) -> Seen {
    exchange_within(SILENCE, stub.addr(), "POST", "/", &headers_of(action), body.to_string().as_bytes()).await
}

fn headers_of(action: &str) -> String {
    format!("x-amz-target: Kinesis_20131202.{action}\r\ncontent-type: application/x-amz-json-1.1\r\n")
}

/// A `PutRecords` of stream `s` with these partition keys; every record's data is its key.
pub(crate) fn records(keys: &[&str]) -> Value {
    let base64 = |key: &str| base64::engine::general_purpose::STANDARD.encode(key);
    let records: Vec<_> = keys.iter().map(|key| json!({"PartitionKey": key, "Data": base64(key)})).collect();
    json!({"StreamName": "s", "Records": records})
}

/// The partition keys that were committed, in order.
pub(crate) fn committed(stub: &Stub) -> Vec<String> {
    stub.records().iter().map(|record| record.partition_key.clone()).collect()
}
