//! Effects: what others have written to speak Kinesis, installed by `tests/independent/install.sh` under `.cache/`.
//!
//! Whoever asks for something that is missing or out of date gets it installed first; nothing is skipped because a tool is
//! missing.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use serde::Deserialize;

/// Where things are once they are installed.
#[derive(Debug)]
pub(crate) struct Independent {
    /// Python with moto and boto3.
    pub(crate) python: PathBuf,
    /// The package folder of kinesis-local, which must be run from there: it reads its certificate beside it.
    pub(crate) kinesis_local: PathBuf,
}

/// What is installed, installed now if need be. Panics with the installer's words where it cannot.
pub(crate) fn installed() -> &'static Independent {
    static INSTALLED: OnceLock<Independent> = OnceLock::new();
    INSTALLED.get_or_init(|| {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let script = root.join("tests/independent/install.sh");
        let run = Command::new("sh").arg(&script).stdin(Stdio::null()).output().unwrap();
        assert!(
            run.status.success(),
            "the independent Kinesis servers and client cannot be installed; run `make independent` to see why:\n{}",
            String::from_utf8_lossy(&run.stderr)
        );
        Independent {
            python: root.join(".cache/venv/bin/python"),
            kinesis_local: root.join(".cache/node/node_modules/kinesis-local"),
        }
    })
}

/// A command without whatever the environment says of AWS or of proxies: the test alone decides.
pub(crate) fn command(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("AWS_") || name.to_ascii_lowercase().ends_with("_proxy") {
            command.env_remove(&*name);
        }
    }
    command.stdin(Stdio::null()).env("AWS_EC2_METADATA_DISABLED", "true").env("PYTHONUNBUFFERED", "1");
    command
}

/// A record as boto3 read it.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ReadBack {
    /// The shard's id.
    pub(crate) shard: String,
    pub(crate) sequence_number: String,
    pub(crate) partition_key: String,
    /// The record's bytes as UTF-8.
    pub(crate) text: String,
    /// The same as Python's JSON parser understood it; null where it is no JSON.
    pub(crate) json: serde_json::Value,
}

/// Every record of a stream, shard by shard and in each shard in its order, by `ListShards`, `GetShardIterator` and
/// `GetRecords` of boto3, signed by key `test` with secret `test`.
pub(crate) async fn read_back(url: &str, stream: &str) -> Vec<ReadBack> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/independent/read_back.py");
    let (url, stream) = (url.to_owned(), stream.to_owned());
    let run = move || -> Output {
        command(&installed().python)
            .arg(script)
            .args([url, stream])
            .env("AWS_ACCESS_KEY_ID", "test")
            .env("AWS_SECRET_ACCESS_KEY", "test")
            .output()
            .unwrap()
    };
    let output = tokio::task::spawn_blocking(run).await.unwrap();
    assert!(output.status.success(), "boto3 cannot read: {}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout).unwrap();
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}
