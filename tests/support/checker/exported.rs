//! Types: a record of the stream, as the checker needs it, read from the log of the stub.

use std::path::Path;

use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::Profile;

/// The first half of a SHA-256.
pub(crate) type Digest = [u8; 16];

/// One committed record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Exported {
    /// Its place in the log.
    pub(crate) seq: u64,
    /// Whose.
    pub(crate) profile: Profile,
    /// Which version of the profile it tells.
    pub(crate) version: u64,
    /// Whether the backfill tells it.
    pub(crate) backfill: bool,
    /// With which key it was put.
    pub(crate) access_key: String,
    /// The same for every repeat.
    pub(crate) export_id: String,
    /// See [`digest`].
    pub(crate) digest: Digest,
}

/// A line of the log, as far as it counts here.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    seq: u64,
    stream: String,
    partition_key: String,
    data: String,
    access_key: String,
}

#[derive(Deserialize)]
struct Record {
    #[serde(rename = "_activation")]
    activation: Activation,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Activation {
    export_id: String,
    profile_id: String,
    merge_policy_id: String,
    version: u64,
    backfill: bool,
}

/// Reads of a stub's log, flushed before, what one stream holds.
pub(crate) fn read_log(path: &Path, stream: &str) -> Vec<Exported> {
    use std::io::BufRead as _;
    let file = std::io::BufReader::new(std::fs::File::open(path).unwrap());
    file.lines()
        .map(|line| serde_json::from_str::<Line>(&line.unwrap()).unwrap())
        .filter(|line| line.stream == stream)
        .map(|line| {
            let bytes = aws_smithy_types::base64::decode(&line.data).unwrap();
            Exported::read(line.seq, &line.access_key, &line.partition_key, &bytes)
        })
        .collect()
}

impl Exported {
    /// Reads one record.
    pub(crate) fn read(seq: u64, access_key: &str, partition_key: &str, bytes: &[u8]) -> Self {
        let Record { activation } = serde_json::from_slice(bytes)
            .unwrap_or_else(|error| panic!("record {seq}: {error}: {}", String::from_utf8_lossy(bytes)));
        let Activation { export_id, profile_id, merge_policy_id, version, backfill } = activation;
        let digest = digest(partition_key, bytes, backfill);
        Self {
            seq,
            profile: (merge_policy_id, profile_id),
            version,
            backfill,
            access_key: access_key.to_owned(),
            export_id,
            digest,
        }
    }
}

/// Of partition key and bytes, without the value of `exportedAt`, which alone differs in a repeat, and, for a backfill, without
/// that of `exportId`, which depends on the run.
pub(super) fn digest(partition_key: &str, record: &[u8], backfill: bool) -> Digest {
    let mut hasher = Sha256::new();
    hasher.update((partition_key.len() as u64).to_be_bytes());
    hasher.update(partition_key);
    let (record, _) = cut(record, b"\"exportedAt\":\"");
    if backfill {
        let (before, behind) = cut(record, b"\"exportId\":\"");
        hasher.update(before);
        hasher.update(behind);
    } else {
        hasher.update(record);
    }
    hasher.finalize()[..16].try_into().unwrap()
}

/// What stands before and behind the value of the last member of that name.
fn cut<'a>(record: &'a [u8], member: &[u8]) -> (&'a [u8], &'a [u8]) {
    let begin = record.windows(member.len()).rposition(|part| part == member).unwrap() + member.len();
    let length = record[begin..].iter().position(|byte| *byte == b'"').unwrap();
    (&record[..begin], &record[begin + length..])
}
