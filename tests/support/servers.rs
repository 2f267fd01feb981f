//! Effects: Kinesis servers for a test: ours in the process, two of others as processes that end with the test.
//!
//! ```ignore
//! mod support;
//! use support::{independent::read_back, servers};
//!
//! let server = servers::KinesisLocal::start().await;          // or Moto::start(), or kinesis_stub::Stub::start(…)
//! servers::create_stream(&server.url(), "orders", 2).await;   // waits until it is active
//! // … a client at server.url(), key `test`, secret `test` …
//! let records = read_back(&server.url(), "orders").await;     // by boto3
//! ```
//!
//! Ports are chosen by the system, so that tests run beside each other. What a server says goes to a file that a failed start
//! is told with.

use std::fs::File;
use std::net::{Ipv4Addr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use aws_credential_types::Credentials;
use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::config::retry::RetryConfig;
use aws_sdk_kinesis::config::{BehaviorVersion, Config, Region};
use aws_sdk_kinesis::types::StreamStatus;

use super::independent::{command, installed};

/// How long a server may take to answer: generous, since a loaded machine is slow and waiting costs nothing.
const DEADLINE: Duration = Duration::from_mins(2);
/// How often a condition is looked at.
const EVERY: Duration = Duration::from_millis(50);
/// Starts until one finds its ports still free.
const ATTEMPTS: usize = 5;

/// A process that ends with its owner, also where a test panics, by its id.
#[derive(Debug)]
pub(crate) struct Process {
    name: &'static str,
    child: Child,
    output: tempfile::NamedTempFile,
}

impl Process {
    /// Starts `command`; whatever it says goes to a file of its own.
    pub(crate) fn spawn(name: &'static str, mut command: Command) -> Self {
        let output = tempfile::NamedTempFile::new().unwrap();
        let writer = || Stdio::from(File::options().append(true).open(output.path()).unwrap());
        let child = command.stdout(writer()).stderr(writer()).spawn();
        let child = child.unwrap_or_else(|error| panic!("{name} does not start: {error}"));
        Self { name, child, output }
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it still runs.
    pub(crate) fn runs(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Asks it to end, as a service manager would; its exit code.
    pub(crate) fn terminate(&mut self, within: Duration) -> Option<i32> {
        let asked = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().unwrap();
        assert!(asked.success());
        self.ended(within)
    }

    /// Waits until it has ended; its exit code.
    pub(crate) fn ended(&mut self, within: Duration) -> Option<i32> {
        let until = Instant::now() + within;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(Instant::now() < until, "{} does not end:\n{}", self.name, self.said());
            std::thread::sleep(EVERY);
        }
    }

    /// What it has said so far.
    pub(crate) fn said(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.output.path()).unwrap()).into_owned()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing left to end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `kinesis-local`, by npm; plain HTTP.
#[derive(Debug)]
pub(crate) struct KinesisLocal {
    _process: Process,
    port: u16,
}

impl KinesisLocal {
    /// Starts one and waits until it answers.
    pub(crate) async fn start() -> Self {
        for _ in 0..ATTEMPTS {
            // It takes port 0 but does not tell which it got, so free ones are looked for; somebody may be quicker.
            let [port, tls_port] = free_ports();
            let mut node = command("node");
            node.arg("main.js")
                .current_dir(&installed().kinesis_local)
                .env("KINESIS_MOCK_PLAIN_PORT", port.to_string())
                .env("KINESIS_MOCK_TLS_PORT", tls_port.to_string())
                .env("SHARD_LIMIT", "1000")
                .env("CREATE_STREAM_DURATION", "1ms")
                .env("SHOULD_PERSIST_DATA", "false");
            let mut process = Process::spawn("kinesis-local", node);
            if answers(&mut process, &local(port)).await {
                return Self { _process: process, port };
            }
        }
        panic!("kinesis-local ended by itself {ATTEMPTS} times before it answered")
    }

    /// The endpoint for a client.
    pub(crate) fn url(&self) -> String {
        local(self.port)
    }
}

/// `moto`'s server, by pip.
#[derive(Debug)]
pub(crate) struct Moto {
    _process: Process,
    port: u16,
}

impl Moto {
    /// Starts one and waits until it answers.
    pub(crate) async fn start() -> Self {
        let mut python = command(&installed().python);
        python.args(["-m", "moto.server", "-H", "127.0.0.1", "-p", "0"]);
        let mut process = Process::spawn("moto", python);
        let announced = |process: &Process| {
            let said = process.said();
            let (_, rest) = said.split_once("Running on http://127.0.0.1:")?;
            // The line may be half written; a port is whole once something follows it.
            let digits = rest.find(|letter: char| !letter.is_ascii_digit())?;
            rest[..digits].parse::<u16>().ok()
        };
        let until = Instant::now() + DEADLINE;
        let port = loop {
            if let Some(port) = announced(&process) {
                break port;
            }
            assert!(process.runs() && Instant::now() < until, "moto does not start:\n{}", process.said());
            tokio::time::sleep(EVERY).await;
        };
        assert!(answers(&mut process, &local(port)).await, "moto ended by itself:\n{}", process.said());
        Self { _process: process, port }
    }

    /// The endpoint for a client.
    pub(crate) fn url(&self) -> String {
        local(self.port)
    }
}

fn local(port: u16) -> String {
    format!("http://127.0.0.1:{port}")
}

/// Ports that were free a moment ago.
fn free_ports<const COUNT: usize>() -> [u16; COUNT] {
    // All held at once, or the system could give one twice.
    let held = [(); COUNT].map(|()| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
    held.map(|listener| listener.local_addr().unwrap().port())
}

/// Waits until a server lists its streams; false where it ended before that.
async fn answers(process: &mut Process, url: &str) -> bool {
    let admin = admin(url);
    let until = Instant::now() + DEADLINE;
    while process.runs() {
        if admin.list_streams().send().await.is_ok() {
            return true;
        }
        assert!(Instant::now() < until, "{} does not answer:\n{}", process.name, process.said());
        tokio::time::sleep(EVERY).await;
    }
    false
}

/// The plain SDK, signing with key `test` and secret `test`, for what the operator's own client never does.
pub(crate) fn admin(url: &str) -> Client {
    let config = Config::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .region(Region::new("us-east-1"))
        .endpoint_url(url)
        .retry_config(RetryConfig::disabled())
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .credentials_provider(Credentials::new("test", "test", None, None, "test"))
        .build();
    Client::from_conf(config)
}

/// Creates a stream and waits until it is active; gives its ARN.
pub(crate) async fn create_stream(url: &str, name: &str, shards: i32) -> String {
    let admin = admin(url);
    admin.create_stream().stream_name(name).shard_count(shards).send().await.unwrap();
    let until = Instant::now() + DEADLINE;
    loop {
        let described = admin.describe_stream_summary().stream_name(name).send().await.unwrap();
        let summary = described.stream_description_summary.unwrap();
        if summary.stream_status == StreamStatus::Active {
            return summary.stream_arn;
        }
        assert!(Instant::now() < until, "stream {name} is still {:?}", summary.stream_status);
        tokio::time::sleep(EVERY).await;
    }
}
