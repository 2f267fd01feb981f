//! The program: what its flags do, what it prints, and that it ends when told with its log written.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use support::{call_at, exchange_at, records};

/// The program, killed with the test.
struct Program(Child);

impl Program {
    fn start(flags: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kinesis-stub"));
        Self(command.args(flags).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
    }

    /// Where it says that it listens.
    fn address(&mut self) -> SocketAddr {
        let mut line = String::new();
        BufReader::new(self.0.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let told: Value = serde_json::from_str(&line).unwrap();
        told["listening"].as_str().unwrap().strip_prefix("http://").unwrap().parse().unwrap()
    }

    /// Its exit code, and what it said on standard error.
    fn ended(&mut self) -> (Option<i32>, String) {
        let code = self.0.wait().unwrap().code();
        let mut said = String::new();
        self.0.stderr.as_mut().unwrap().read_to_string(&mut said).unwrap();
        (code, said)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn flags_make_streams_keys_and_faults_and_a_signal_ends_it_with_its_log_written() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("committed.ndjson");
    let faults = r#"[{"fault":{"kind":"throttleRequest"},"when":{"action":"PutRecords"},"count":1}]"#;
    let mut program =
        Program::start(&["--stream", "s:2", "--no-verify", "--faults", faults, "--log", log.to_str().unwrap()]);
    let address = program.address();
    let throttled = call_at(address, "PutRecords", &records(&["a"])).await.reply();
    assert_eq!(throttled.error(), "ProvisionedThroughputExceededException");
    assert_eq!(call_at(address, "PutRecords", &records(&["a", "b"])).await.reply().json()["FailedRecordCount"], 0);
    let stats = exchange_at(address, "GET", "/_stub/stats", "", b"").await.reply().json();
    assert_eq!(stats["faultsByKind"], json!({"throttleRequest": 1}));

    let told = Command::new("kill").arg(program.0.id().to_string()).status().unwrap();
    assert!(told.success());
    assert_eq!(program.ended(), (Some(0), String::new()));
    let lines = std::fs::read_to_string(log).unwrap();
    let keys: Vec<Value> =
        lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["partitionKey"].clone()).collect();
    assert_eq!(keys, ["a", "b"]);
}

#[tokio::test]
async fn without_flags_it_verifies_signatures() {
    let mut program = Program::start(&["--stream", "s"]);
    let refused = call_at(program.address(), "PutRecords", &records(&["a"])).await.reply();
    assert_eq!(refused.error(), "MissingAuthenticationTokenException");
}

#[test]
fn a_port_in_use_or_a_flag_that_is_wrong_ends_it_with_the_reason() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (code, said) = Program::start(&["--listen", &address]).ended();
    assert_eq!(code, Some(1));
    assert!(said.starts_with(&format!("kinesis-stub: cannot listen on {address}: Address")), "{said}");
    let (code, said) = Program::start(&["--faults", r#"[{"fault":{"kind":"latnecy"}}]"#]).ended();
    assert_eq!(code, Some(2));
    assert!(said.contains("unknown variant `latnecy`"), "{said}");
}
