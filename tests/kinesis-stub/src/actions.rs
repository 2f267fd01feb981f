//! Effect: every action but the puts. Small documents, so plain JSON values.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::error::ApiError;
use crate::service::{Call, Service};
use crate::streams::{DEFAULT_MAX_RECORD_BYTES, Shard, Stream, StreamSpec, check_name};

/// Most records, and about the most bytes, of one `GetRecords`.
const MAX_GET: (usize, usize) = (10_000, 10 << 20);

/// Carries out an action; gives the answer's body.
pub(crate) fn perform(service: &Service, call: &Call, asked: &Value) -> Result<Vec<u8>, ApiError> {
    let answer = match call.action.as_str() {
        "CreateStream" => create_stream(service, call, asked)?,
        "DeleteStream" => {
            service.find(call).and_then(|stream| service.streams.delete(&stream.name)).map(|()| Value::Null)?
        }
        "ListStreams" => list_streams(service, call, asked)?,
        "DescribeStreamSummary" => describe_summary(&*service.find(call)?),
        "DescribeStream" => describe_stream(service, &*service.find(call)?, asked)?,
        "ListShards" => list_shards(service, call, asked)?,
        "UpdateShardCount" => update_shard_count(service, call, asked)?,
        "GetShardIterator" => get_shard_iterator(service, call, asked)?,
        "GetRecords" => return get_records(service, call, asked),
        other => return Err(ApiError::new("UnknownOperationException", format!("Unknown operation {other}"))),
    };
    Ok(if answer.is_null() { Vec::new() } else { answer.to_string().into_bytes() })
}

fn text<'a>(asked: &'a Value, name: &str) -> Option<&'a str> {
    asked.get(name).and_then(Value::as_str)
}

/// A whole number in its range. Errors: `ValidationException`.
fn number(asked: &Value, name: &str, range: std::ops::RangeInclusive<u64>) -> Result<Option<u64>, ApiError> {
    let Some(value) = asked.get(name).filter(|value| !value.is_null()) else { return Ok(None) };
    let number = value.as_u64().filter(|number| range.contains(number));
    number.map(Some).ok_or_else(|| {
        let rule = format!("Member must have value from {} to {}", range.start(), range.end());
        ApiError::constraint(Some(&value.to_string()), name, &rule)
    })
}

fn missing(name: &str) -> ApiError {
    ApiError::constraint(Some("null"), name, "Member must not be null")
}

fn create_stream(service: &Service, call: &Call, asked: &Value) -> Result<Value, ApiError> {
    let name = text(asked, "StreamName").ok_or_else(|| missing("streamName"))?;
    check_name(name)?;
    let on_demand = asked.pointer("/StreamModeDetails/StreamMode").and_then(Value::as_str) == Some("ON_DEMAND");
    let shards = match number(asked, "ShardCount", 1..=u64::MAX)? {
        Some(shards) => shards,
        None if on_demand => 4,
        None => return Err(missing("shardCount")),
    };
    let max = number(asked, "MaxRecordSizeInKiB", 1_024..=10_240)?.map_or(DEFAULT_MAX_RECORD_BYTES, |kib| kib << 10);
    let spec = StreamSpec {
        max_record_bytes: max,
        on_demand,
        ..StreamSpec::new(name, usize::try_from(shards).unwrap_or(usize::MAX))
    };
    service.streams.create(&spec, call.now).map(|_| Value::Null)
}

fn seconds(micros: u64) -> f64 {
    (micros / 1_000) as f64 / 1e3
}

fn mode(stream: &Stream) -> Value {
    json!({"StreamMode": if stream.on_demand { "ON_DEMAND" } else { "PROVISIONED" }})
}

fn list_streams(service: &Service, call: &Call, asked: &Value) -> Result<Value, ApiError> {
    let limit = number(asked, "Limit", 1..=10_000)?.unwrap_or(100) as usize;
    let token = match text(asked, "NextToken") {
        Some(token) => {
            Some(opened(token).ok_or_else(|| ApiError::new("ExpiredNextTokenException", "NextToken is not valid."))?)
        }
        None => None,
    };
    let after = token.as_deref().or_else(|| text(asked, "ExclusiveStartStreamName"));
    let (page, more) = service.streams.page(after, limit);
    let next = page.last().filter(|_| more).map(|stream| sealed(&stream.name));
    let facts = call.facts(service);
    let shown: Vec<_> = page.into_iter().filter(|stream| !service.faults.hides(&stream.name, &facts)).collect();
    let mut answer = json!({
        "StreamNames": shown.iter().map(|stream| &*stream.name).collect::<Vec<_>>(),
        "HasMoreStreams": more,
    });
    if let Some(next) = next {
        answer["NextToken"] = next.into();
    }
    if !service.settings.omit_summaries {
        let summary = |stream: &Arc<Stream>| {
            json!({"StreamARN": stream.arn, "StreamName": &*stream.name, "StreamStatus": "ACTIVE",
                "StreamModeDetails": mode(stream), "StreamCreationTimestamp": seconds(stream.created)})
        };
        answer["StreamSummaries"] = shown.iter().map(summary).collect();
    }
    Ok(answer)
}

fn described(stream: &Stream) -> Value {
    json!({"StreamName": &*stream.name, "StreamARN": stream.arn, "StreamStatus": "ACTIVE",
        "StreamModeDetails": mode(stream), "RetentionPeriodHours": 24,
        "StreamCreationTimestamp": seconds(stream.created), "EnhancedMonitoring": [{"ShardLevelMetrics": []}],
        "EncryptionType": "NONE"})
}

fn describe_summary(stream: &Stream) -> Value {
    let mut summary = described(stream);
    summary["OpenShardCount"] = stream.shards.read().open.len().into();
    summary["ConsumerCount"] = 0.into();
    summary["MaxRecordSizeInKiB"] = (stream.max_record_bytes.load(Ordering::Relaxed) >> 10).into();
    json!({"StreamDescriptionSummary": summary})
}

fn shard_document(service: &Service, shard: &Shard) -> Value {
    let mut document = json!({
        "ShardId": &*shard.id,
        "HashKeyRange": {"StartingHashKey": shard.range.0.to_string(), "EndingHashKey": shard.range.1.to_string()},
        "SequenceNumberRange": {"StartingSequenceNumber": service.log.sequence_number(shard.opened)},
    });
    for (name, parent) in ["ParentShardId", "AdjacentParentShardId"].iter().zip(&shard.parents) {
        document[name] = json!(&**parent);
    }
    if let Some(closed) = shard.closed_at() {
        document["SequenceNumberRange"]["EndingSequenceNumber"] = service.log.sequence_number(closed - 1).into();
    }
    document
}

/// A page of the shards after one, and whether there are more.
fn shard_page(
    service: &Service,
    stream: &Stream,
    after: Option<&str>,
    limit: usize,
    open_only: bool,
) -> (Vec<Value>, bool) {
    let shards = stream.shards.read();
    let chosen = if open_only { &shards.open } else { &shards.all };
    let mut rest = chosen.iter().filter(|shard| after.is_none_or(|after| *shard.id > *after));
    let page = rest.by_ref().take(limit).map(|shard| shard_document(service, shard)).collect();
    (page, rest.next().is_some())
}

fn describe_stream(service: &Service, stream: &Stream, asked: &Value) -> Result<Value, ApiError> {
    let limit = number(asked, "Limit", 1..=10_000)?.unwrap_or(100) as usize;
    let (shards, more) = shard_page(service, stream, text(asked, "ExclusiveStartShardId"), limit, false);
    let mut description = described(stream);
    description["Shards"] = shards.into();
    description["HasMoreShards"] = more.into();
    Ok(json!({"StreamDescription": description}))
}

fn list_shards(service: &Service, call: &Call, asked: &Value) -> Result<Value, ApiError> {
    let limit = number(asked, "MaxResults", 1..=10_000)?.unwrap_or(1_000) as usize;
    let token = match text(asked, "NextToken") {
        Some(token) => {
            Some(opened(token).ok_or_else(|| ApiError::new("ExpiredNextTokenException", "NextToken is not valid."))?)
        }
        None => None,
    };
    let (stream, after) = match token.as_deref().and_then(|token| token.split_once('/')) {
        Some((name, after)) => (service.streams.find(name)?, Some(after)),
        None => (service.find(call)?, text(asked, "ExclusiveStartShardId")),
    };
    let open_only = asked.pointer("/ShardFilter/Type").and_then(Value::as_str) == Some("AT_LATEST");
    let (shards, more) = shard_page(service, &stream, after, limit, open_only);
    let last = shards.last().and_then(|shard| text(shard, "ShardId")).map(str::to_owned);
    let mut answer = json!({"Shards": shards});
    if let Some(last) = last.filter(|_| more) {
        answer["NextToken"] = sealed(&format!("{}/{last}", stream.name)).into();
    }
    Ok(answer)
}

fn update_shard_count(service: &Service, call: &Call, asked: &Value) -> Result<Value, ApiError> {
    let target = number(asked, "TargetShardCount", 1..=u64::MAX)?.ok_or_else(|| missing("targetShardCount"))?;
    let stream = service.find(call)?;
    let before = stream.reshard(usize::try_from(target).unwrap_or(usize::MAX), &service.log.next)?;
    Ok(
        json!({"StreamName": &*stream.name, "StreamARN": stream.arn, "CurrentShardCount": before, "TargetShardCount": target}),
    )
}

fn sealed(token: &str) -> String {
    STANDARD.encode(token)
}

fn opened(token: &str) -> Option<String> {
    String::from_utf8(STANDARD.decode(token).ok()?).ok()
}

fn find_shard(service: &Service, stream: &Stream, id: &str) -> Result<Arc<Shard>, ApiError> {
    stream.shards.read().all.iter().find(|shard| &*shard.id == id).cloned().ok_or_else(|| {
        let (name, account) = (&stream.name, service.streams.account());
        ApiError::new(
            "ResourceNotFoundException",
            format!("Shard {id} in stream {name} under account {account} does not exist"),
        )
    })
}

fn get_shard_iterator(service: &Service, call: &Call, asked: &Value) -> Result<Value, ApiError> {
    let shard_id = text(asked, "ShardId").ok_or_else(|| missing("shardId"))?;
    let kind = text(asked, "ShardIteratorType").ok_or_else(|| missing("shardIteratorType"))?;
    let stream = service.find(call)?;
    let shard = find_shard(service, &stream, shard_id)?;
    let sequence = || {
        text(asked, "StartingSequenceNumber")
            .and_then(|number| service.log.position(number))
            .ok_or_else(|| ApiError::invalid("StartingSequenceNumber is missing or was not given by this shard."))
    };
    let latest = service.log.next.load(Ordering::Acquire);
    let position = match kind {
        "TRIM_HORIZON" => 0,
        "LATEST" => latest,
        "AT_SEQUENCE_NUMBER" => sequence()?,
        "AFTER_SEQUENCE_NUMBER" => sequence()? + 1,
        "AT_TIMESTAMP" => {
            let at = asked.get("Timestamp").and_then(Value::as_f64).ok_or_else(|| missing("timestamp"))?;
            let records = shard.records.lock();
            let from = records.partition_point(|record| seconds(record.time) < at);
            records.get(from).map_or(latest, |record| record.seq)
        }
        other => {
            let rule = "Member must satisfy enum value set: [AFTER_SEQUENCE_NUMBER, LATEST, AT_TIMESTAMP, \
                        AT_SEQUENCE_NUMBER, TRIM_HORIZON]";
            return Err(ApiError::constraint(Some(other), "shardIteratorType", rule));
        }
    };
    Ok(json!({"ShardIterator": iterator(&stream, &shard, position)}))
}

fn iterator(stream: &Stream, shard: &Shard, position: u64) -> String {
    sealed(&format!("{}/{}/{position}", stream.name, shard.id))
}

fn get_records(service: &Service, call: &Call, asked: &Value) -> Result<Vec<u8>, ApiError> {
    let limit = number(asked, "Limit", 1..=MAX_GET.0 as u64)?.unwrap_or(MAX_GET.0 as u64) as usize;
    let token = text(asked, "ShardIterator").ok_or_else(|| missing("shardIterator"))?;
    let invalid = || ApiError::invalid("Invalid ShardIterator.");
    let token = opened(token).ok_or_else(invalid)?;
    let parts: Vec<&str> = token.split('/').collect();
    let [name, shard_id, position] = parts.as_slice() else { return Err(invalid()) };
    let position: u64 = position.parse().map_err(|_| invalid())?;
    let stream = service.streams.find(name)?;
    let shard = find_shard(service, &stream, shard_id)?;

    // Cloned out of the lock, so that a reader never holds up a writer for the length of an answer.
    let (page, more) = {
        let records = shard.records.lock();
        let from = records.partition_point(|record| record.seq < position);
        let mut bytes = 0;
        let page: Vec<_> = records
            .range(from..)
            .take(limit)
            .take_while(|record| {
                let first = bytes == 0;
                bytes += record.data.len();
                first || bytes <= MAX_GET.1
            })
            .cloned()
            .collect();
        let more = from + page.len() < records.len();
        (page, more)
    };
    let next = page.last().map_or(position, |record| record.seq + 1);
    let behind = page.last().filter(|_| more).map_or(0, |record| call.now.saturating_sub(record.time) / 1_000);

    let documents: Vec<Value> = page
        .iter()
        .map(|record| {
            json!({"SequenceNumber": record.sequence_number, "ApproximateArrivalTimestamp": seconds(record.time),
                "Data": record.data, "PartitionKey": record.partition_key, "EncryptionType": "NONE"})
        })
        .collect();
    let mut answer = json!({"Records": documents, "MillisBehindLatest": behind});
    if more || shard.closed_at().is_none() {
        answer["NextShardIterator"] = iterator(&stream, &shard, next).into();
    } else {
        answer["ChildShards"] = children(&stream, &shard);
    }
    Ok(answer.to_string().into_bytes())
}

fn children(stream: &Stream, parent: &Shard) -> Value {
    let shards = stream.shards.read();
    shards
        .all
        .iter()
        .filter(|shard| shard.parents.contains(&parent.id))
        .map(|shard| {
            json!({"ShardId": &*shard.id, "ParentShards": shard.parents.iter().map(|id| &**id).collect::<Vec<_>>(),
                "HashKeyRange": {"StartingHashKey": shard.range.0.to_string(), "EndingHashKey": shard.range.1.to_string()}})
        })
        .collect()
}
