//! Signals end the process in order, and a second one at once. The test runs itself as the process that is signalled.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::io::{BufRead as _, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};

use activation_operator::runtime::shutdown::Signals;
use tokio_util::sync::CancellationToken;

const ROLE: &str = "SHUTDOWN_TEST_ROLE";

/// The process that is signalled: `orderly` ends when it is told to, `stuck` never does. Does nothing as a test of its own.
#[test]
fn the_signalled_process() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let shutdown = CancellationToken::new();
        let signals = tokio::spawn(Signals::install().unwrap().watch(shutdown.clone()));
        println!("\nready");
        shutdown.cancelled().await;
        println!("\ntold");
        if role == "stuck" {
            std::future::pending::<()>().await;
        }
        signals.abort();
    });
    std::process::exit(0);
}

struct Process {
    child: Child,
    lines: std::io::Lines<BufReader<ChildStdout>>,
}

impl Process {
    fn start(role: &str) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "the_signalled_process", "--nocapture"])
            .env(ROLE, role)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut process = Self { child, lines };
        process.wait_for("ready");
        process
    }

    fn wait_for(&mut self, line: &str) {
        assert!(self.lines.any(|read| read.unwrap() == line), "the process ended without saying {line}");
    }

    fn signal(&self, name: &str) {
        let status = Command::new("kill").args([name, &self.child.id().to_string()]).status().unwrap();
        assert!(status.success());
    }

    fn exit_code(mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }
}

#[test]
fn the_first_signal_lets_the_process_end_in_order() {
    for name in ["-TERM", "-INT"] {
        let mut process = Process::start("orderly");
        process.signal(name);
        process.wait_for("told");
        assert_eq!(process.exit_code(), Some(0), "{name}");
    }
}

#[test]
fn the_second_signal_ends_it_at_once_with_the_code_of_the_signal() {
    for (name, code) in [("-TERM", 143), ("-INT", 130)] {
        let mut process = Process::start("stuck");
        process.signal("-TERM");
        process.wait_for("told");
        process.signal(name);
        assert_eq!(process.exit_code(), Some(code), "{name}");
    }
}
