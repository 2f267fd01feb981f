//! Effect: `PutRecord` and `PutRecords`. Checks in the service's order (shape, stream, arguments), then faults and
//! limits per entry, then one commit, then an answer in one buffer.

use std::sync::atomic::Ordering;

use crate::error::ApiError;
use crate::faults::EntryError;
use crate::log::{Committing, Origin};
use crate::scan::{Entry, Put, decoded_length};
use crate::service::{Call, Service};
use crate::stats::add;
use crate::streams::{Shards, Stream, hash};

/// Most entries of one request.
const MAX_ENTRIES: usize = 500;
/// Most characters of a partition key.
const MAX_KEY_CHARS: usize = 256;
/// What the service's model says of a record's data, whatever the stream allows.
const MAX_DATA_BYTES: u64 = 10 << 20;

/// Which of the two actions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Single,
    Batch,
}

/// An entry whose shape is right.
struct Shaped<'a> {
    key: &'a str,
    data: &'a [u8],
    hash_key: Option<&'a str>,
    /// Partition key and decoded data.
    size: u64,
}

/// Carries out a put; gives the answer's body.
pub(crate) fn perform(service: &Service, call: &Call, put: &Put<'_>, form: Form) -> Result<Vec<u8>, ApiError> {
    let entries = shape(put, form, service.log.counts_only())?;
    let stream = service.find(call)?;
    check_sizes(&entries, &stream, service.settings.max_request_bytes)?;
    // Held to the end: a reshard waits until what was placed on a shard is committed to it.
    let shards = stream.shards.read();
    let placed: Vec<usize> = entries.iter().map(|entry| place(&shards, entry)).collect::<Result<_, _>>()?;

    let mut failing: Vec<Option<EntryError>> = vec![None; entries.len()];
    let offered = placed.iter().zip(&entries).map(|(place, entry)| (&*shards.open[*place].id, entry.key));
    service.faults.entries(&call.facts(service), &offered, &mut failing)?;
    if service.settings.shard_limits {
        for ((place, entry), failing) in placed.iter().zip(&entries).zip(&mut failing) {
            if failing.is_none() && !shards.open[*place].bucket.lock().take(entry.size, call.now) {
                *failing = Some(EntryError::Throttled);
            }
        }
    }
    if let (Form::Single, Some(error)) = (form, failing[0]) {
        return Err(match error {
            EntryError::InternalFailure => ApiError::internal(),
            EntryError::Throttled => ApiError::throttled(&where_throttled(&shards, placed[0], &stream, service)),
        });
    }

    let first = commit(service, call, &stream, &shards, &placed, &entries, &failing);
    Ok(answer(service, &stream, &shards, &placed, &failing, first, form))
}

fn shape<'a>(put: &'a Put<'_>, form: Form, trusting: bool) -> Result<Vec<Shaped<'a>>, ApiError> {
    let null = |at: &str| ApiError::constraint(Some("null"), at, "Member must not be null");
    let entries = put.entries.as_ref().ok_or_else(|| null("records"))?;
    if entries.is_empty() {
        return Err(ApiError::constraint(None, "records", "Member must have length greater than or equal to 1"));
    }
    if entries.len() > MAX_ENTRIES {
        return Err(ApiError::constraint(None, "records", "Member must have length less than or equal to 500"));
    }
    let path = |index: usize, member: &str| match form {
        Form::Single => member.to_owned(),
        Form::Batch => format!("records.{}.member.{member}", index + 1),
    };
    entries
        .iter()
        .enumerate()
        .map(|(index, entry)| {
            let data = entry.data.as_deref().ok_or_else(|| null(&path(index, "data")))?;
            if !is_base64(data, trusting) {
                return Err(ApiError::serialization(format!("'{}' is not base64", path(index, "data"))));
            }
            let size = decoded_length(data) as u64;
            if size > MAX_DATA_BYTES {
                let rule = format!("Member must have length less than or equal to {MAX_DATA_BYTES}");
                return Err(ApiError::constraint(None, &path(index, "data"), &rule));
            }
            let key = entry.partition_key.as_deref().ok_or_else(|| null(&path(index, "partitionKey")))?;
            if key.is_empty() {
                let rule = "Member must have length greater than or equal to 1";
                return Err(ApiError::constraint(Some(key), &path(index, "partitionKey"), rule));
            }
            if key.len() > MAX_KEY_CHARS && key.chars().count() > MAX_KEY_CHARS {
                let rule = "Member must have length less than or equal to 256";
                return Err(ApiError::constraint(Some(key), &path(index, "partitionKey"), rule));
            }
            let hash_key = shaped_hash_key(entry).map_err(|value| {
                let rule = "Member must satisfy regular expression pattern: 0|([1-9]\\d{0,38})";
                ApiError::constraint(Some(value), &path(index, "explicitHashKey"), rule)
            })?;
            Ok(Shaped { key, data, hash_key, size: size + key.len() as u64 })
        })
        .collect()
}

/// Whole groups of four, and, unless the caller trusts the rest, letters of the alphabet with padding at the end.
fn is_base64(data: &[u8], trusting: bool) -> bool {
    if !data.len().is_multiple_of(4) {
        return false;
    }
    if trusting {
        return true;
    }
    let padding = data.iter().rev().take(2).take_while(|byte| **byte == b'=').count();
    data[..data.len() - padding].iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'+' || *byte == b'/')
}

fn shaped_hash_key<'a>(entry: &'a Entry<'_>) -> Result<Option<&'a str>, &'a str> {
    let Some(value) = entry.explicit_hash_key.as_deref() else { return Ok(None) };
    let digits = value.bytes().all(|byte| byte.is_ascii_digit());
    let canonical = value == "0" || (!value.starts_with('0') && (1..=39).contains(&value.len()));
    if digits && canonical { Ok(Some(value)) } else { Err(value) }
}

fn check_sizes(entries: &[Shaped<'_>], stream: &Stream, max_request_bytes: u64) -> Result<(), ApiError> {
    let max = stream.max_record_bytes.load(Ordering::Relaxed);
    if let Some(index) = entries.iter().position(|entry| entry.size > max) {
        let size = entries[index].size;
        return Err(ApiError::invalid(format!(
            "Record {index} is {size} bytes with its partition key; the stream takes at most {max}."
        )));
    }
    let total: u64 = entries.iter().map(|entry| entry.size).sum();
    if total > max_request_bytes {
        return Err(ApiError::invalid(format!("Records size exceeds {} MB limit", max_request_bytes >> 20)));
    }
    Ok(())
}

fn place(shards: &Shards, entry: &Shaped<'_>) -> Result<usize, ApiError> {
    if let Some(text) = entry.hash_key {
        let hash: u128 = text.parse().map_err(|_| {
            ApiError::invalid(format!(
                "Invalid ExplicitHashKey. ExplicitHashKey must be in the range: [0, 2^128-1]. Specified value was {text}"
            ))
        })?;
        return Ok(shards.place(hash));
    }
    // One shard takes everything: no need for the digest.
    Ok(if shards.open.len() == 1 { 0 } else { shards.place(hash(entry.key)) })
}

/// Commits what does not fail, in the order of the request; gives the first position.
fn commit(
    service: &Service,
    call: &Call,
    stream: &Stream,
    shards: &Shards,
    placed: &[usize],
    entries: &[Shaped<'_>],
    failing: &[Option<EntryError>],
) -> u64 {
    let good =
        || entries.iter().zip(placed).zip(failing).filter(|(_, failing)| failing.is_none()).map(|(good, _)| good);
    let count = good().count() as u64;
    add(&service.stats.records, count);
    add(&service.stats.record_bytes, good().map(|(entry, _)| entry.size).sum());
    add(
        &service.stats.entries_throttled,
        failing.iter().filter(|error| **error == Some(EntryError::Throttled)).count() as u64,
    );
    add(
        &service.stats.entries_failed,
        failing.iter().filter(|error| **error == Some(EntryError::InternalFailure)).count() as u64,
    );
    if service.log.counts_only() {
        return service.log.count(count);
    }
    let origin = Origin { stream: &stream.name, request: call.request, access_key: &call.access_key };
    let batch = good().map(|(entry, place)| Committing {
        shard: &shards.open[*place].id,
        partition_key: entry.key,
        data: entry.data,
    });
    let mut homes = good().map(|(_, place)| *place);
    let cap = service.settings.retention_bytes;
    service.log.commit(batch, &origin, call.now, |record| {
        let Some(place) = homes.next() else { return };
        if cap > 0 {
            stream.kept.fetch_add(record.weight(), Ordering::Relaxed);
            shards.open[place].records.lock().push_back(record.clone());
            add(&service.stats.records_dropped, stream.trim(shards, cap));
        }
    })
}

fn where_throttled(shards: &Shards, place: usize, stream: &Stream, service: &Service) -> String {
    format!("shard {} in stream {} under account {}", shards.open[place].id, stream.name, service.streams.account())
}

fn answer(
    service: &Service,
    stream: &Stream,
    shards: &Shards,
    placed: &[usize],
    failing: &[Option<EntryError>],
    first: u64,
    form: Form,
) -> Vec<u8> {
    let mut body = Vec::with_capacity(64 + 140 * placed.len());
    if form == Form::Batch {
        let failed = failing.iter().flatten().count();
        body.extend_from_slice(format!("{{\"FailedRecordCount\":{failed},\"Records\":[").as_bytes());
    }
    let mut seq = first;
    for (index, (place, failing)) in placed.iter().zip(failing).enumerate() {
        if index > 0 {
            body.push(b',');
        }
        match failing {
            None => {
                body.extend_from_slice(b"{\"SequenceNumber\":\"");
                service.log.write_sequence_number(&mut body, seq);
                body.extend_from_slice(b"\",\"ShardId\":\"");
                body.extend_from_slice(shards.open[*place].id.as_bytes());
                body.push(b'"');
                seq += 1;
            }
            Some(EntryError::InternalFailure) => body.extend_from_slice(
                b"{\"ErrorCode\":\"InternalFailure\",\"ErrorMessage\":\"Internal service failure.\"",
            ),
            Some(EntryError::Throttled) => {
                let place = where_throttled(shards, *place, stream, service);
                body.extend_from_slice(
                    b"{\"ErrorCode\":\"ProvisionedThroughputExceededException\",\"ErrorMessage\":\"Rate exceeded for ",
                );
                body.extend_from_slice(place.as_bytes());
                body.extend_from_slice(b".\"");
            }
        }
        if form == Form::Batch {
            body.push(b'}');
        }
    }
    body.extend_from_slice(if form == Form::Batch {
        b"],\"EncryptionType\":\"NONE\"}"
    } else {
        b",\"EncryptionType\":\"NONE\"}"
    });
    body
}
