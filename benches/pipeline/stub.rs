//! Effects: the stream, as a process of its own, so that what it takes is not counted with what is measured.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::flow::STREAM;

/// Records fetched at once.
const PAGE: u64 = 20_000;

/// A running `kinesis-stub`.
pub(crate) struct Stub {
    child: Child,
    url: String,
}

impl Stub {
    /// Starts it. It checks no signatures: that would be most of its work, on cores that the client needs.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let program = program();
        let mut child = Command::new(&program)
            .args(["--stream", &format!("{STREAM}:64"), "--no-verify"])
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| {
                panic!("{} does not start ({error}): cargo build --release --package kinesis-stub", program.display())
            });
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let said: Value = serde_json::from_str(&line).unwrap();
        Self { child, url: said["listening"].as_str().unwrap().to_owned() }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// How many records it has taken.
    pub(crate) fn committed(&self) -> u64 {
        let mut answer = ureq::get(format!("{}/_stub/stats", self.url)).call().unwrap();
        let stats: Value = answer.body_mut().read_json().unwrap();
        stats["recordsCommitted"].as_u64().unwrap()
    }

    /// Gives every record that it keeps, as the line of its log, in the order of commits.
    pub(crate) fn each_record(&self, mut each: impl FnMut(&str)) {
        let mut after = 0;
        loop {
            let url = format!("{}/_stub/records?after={after}&limit={PAGE}", self.url);
            let answer = ureq::get(url).call().unwrap();
            let mut count = 0;
            for line in BufReader::new(answer.into_body().into_reader()).lines() {
                each(&line.unwrap());
                count += 1;
            }
            after += count;
            if count < PAGE {
                return;
            }
        }
    }
}

impl Drop for Stub {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing left to end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Beside this program's folder: `target/release/kinesis-stub`.
fn program() -> PathBuf {
    let here = std::env::current_exe().unwrap();
    here.ancestors().nth(2).unwrap().join("kinesis-stub")
}
