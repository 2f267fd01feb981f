//! Types and pure decisions: the command line of the `kinesis-stub` program, and the [`Config`] it says.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Parser;

use crate::{Config, FaultSet, KeySpec, LogMode, RoleSpec, StreamSpec};

/// A fast stand-in for Amazon Kinesis Data Streams, with faults.
#[derive(Debug, Parser)]
// A command line is a list of switches.
#[allow(clippy::struct_excessive_bools)]
#[command(name = "kinesis-stub")]
pub struct Arguments {
    /// Where to listen; port 0 lets the system choose
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// A stream to create: `NAME[:SHARDS[:MAX_RECORD_KIB]]`
    #[arg(long = "stream", value_name = "STREAM", value_parser = stream)]
    streams: Vec<StreamSpec>,
    /// An access key: `ID:SECRET[:ACTION,ACTION]`; without any, `test:test`
    #[arg(long = "key", value_name = "KEY", value_parser = key)]
    keys: Vec<(String, KeySpec)>,
    /// A role for `AssumeRole`: `ARN[=EXTERNAL_ID]`
    #[arg(long = "role", value_name = "ROLE", value_parser = role)]
    roles: Vec<(String, RoleSpec)>,
    /// Append every committed record to this file, as NDJSON
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    /// Only count: nothing is kept, neither for a checker nor for `GetRecords`
    #[arg(long, conflicts_with = "log")]
    no_log: bool,
    /// Faults in force from the start, as the control path takes them
    #[arg(long, value_name = "JSON", value_parser = faults)]
    faults: Option<FaultSet>,
    /// Check no signatures
    #[arg(long)]
    no_verify: bool,
    /// A shard takes 1,000 records and 1 MiB a second
    #[arg(long)]
    shard_limits: bool,
    /// `ListStreams` leaves its summaries out
    #[arg(long)]
    omit_summaries: bool,
    /// The largest sum of partition keys and data of one request
    #[arg(long, value_name = "BYTES", default_value_t = 10 << 20)]
    max_request_bytes: u64,
    /// What a stream keeps for `GetRecords`; 0 keeps nothing
    #[arg(long, value_name = "BYTES", default_value_t = 2 << 30)]
    retention_bytes: u64,
    /// What is kept for /_stub/records; 0 keeps nothing
    #[arg(long, value_name = "BYTES", default_value_t = 2 << 30)]
    memory_bytes: u64,
    /// The region in ARNs
    #[arg(long, default_value = "us-east-1")]
    region: String,
}

impl From<Arguments> for Config {
    fn from(arguments: Arguments) -> Self {
        let log = if arguments.no_log { LogMode::Counts } else { LogMode::Records { file: arguments.log } };
        Self {
            listen: arguments.listen,
            streams: arguments.streams,
            keys: arguments.keys,
            roles: arguments.roles.into_iter().collect(),
            verify: !arguments.no_verify,
            log,
            shard_limits: arguments.shard_limits,
            omit_summaries: arguments.omit_summaries,
            max_request_bytes: arguments.max_request_bytes,
            retention_bytes: arguments.retention_bytes,
            memory_bytes: arguments.memory_bytes,
            faults: arguments.faults.unwrap_or_default(),
            region: arguments.region,
            ..Self::default()
        }
    }
}

fn stream(text: &str) -> Result<StreamSpec, String> {
    let mut parts = text.split(':');
    let name = parts.next().unwrap_or_default();
    let mut number = |what: &str| {
        parts.next().map(|part| part.parse::<u64>().map_err(|_| format!("{what} is not a number: {part}"))).transpose()
    };
    let shards = number("SHARDS")?.unwrap_or(1);
    let kib = number("MAX_RECORD_KIB")?;
    let mut spec = StreamSpec::new(name, shards as usize);
    if let Some(kib) = kib {
        spec.max_record_bytes = kib << 10;
    }
    Ok(spec)
}

fn key(text: &str) -> Result<(String, KeySpec), String> {
    let mut parts = text.splitn(3, ':');
    let (Some(id), Some(secret)) = (parts.next(), parts.next()) else {
        return Err("a key is ID:SECRET[:ACTION,ACTION]".to_owned());
    };
    let key = KeySpec::new(secret);
    let key = match parts.next() {
        Some(actions) => key.allowing(&actions.split(',').collect::<Vec<_>>()),
        None => key,
    };
    Ok((id.to_owned(), key))
}

fn role(text: &str) -> Result<(String, RoleSpec), String> {
    let (arn, external_id) = text.split_once('=').map_or((text, None), |(arn, id)| (arn, Some(id.to_owned())));
    if !arn.starts_with("arn:") {
        return Err("a role is ARN[=EXTERNAL_ID]".to_owned());
    }
    Ok((arn.to_owned(), RoleSpec { external_id, allowed: None, ttl_seconds: 3_600 }))
}

fn faults(text: &str) -> Result<FaultSet, String> {
    serde_json::from_str(text).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn the_command_line_says_a_configuration() {
        let arguments = Arguments::try_parse_from([
            "kinesis-stub",
            "--stream",
            "a",
            "--stream",
            "b:4:2048",
            "--key",
            "id:se/cr+et",
            "--key",
            "w:x:PutRecords,ListStreams",
            "--role",
            "arn:aws:iam::1:role/r=ext",
            "--no-log",
            "--no-verify",
            "--faults",
            r#"{"seed":3,"faults":[{"fault":{"kind":"blackhole"}}]}"#,
        ]);
        let config = Config::from(arguments.unwrap());
        assert_eq!(config.streams[0], StreamSpec::new("a", 1));
        assert_eq!((config.streams[1].shards, config.streams[1].max_record_bytes), (4, 2 << 20));
        assert_eq!(config.keys[0], ("id".to_owned(), KeySpec::new("se/cr+et")));
        assert!(!config.keys[1].1.allows("PutRecord"));
        assert_eq!(config.roles["arn:aws:iam::1:role/r"].external_id.as_deref(), Some("ext"));
        assert_eq!((config.log, config.verify, config.faults.seed), (LogMode::Counts, false, 3));
    }

    #[test]
    fn nonsense_on_the_command_line_is_refused() {
        for arguments in
            [["--stream", "a:x"], ["--key", "id"], ["--role", "r"], ["--faults", "{}"], ["--listen", "here"]]
        {
            assert!(Arguments::try_parse_from(["kinesis-stub"].iter().chain(&arguments)).is_err(), "{arguments:?}");
        }
    }
}
