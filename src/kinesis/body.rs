//! Pure: the body of a `PutRecords` request, in the protocol that the SDK speaks with Kinesis (AWS JSON 1.1).
//!
//! The SDK takes each record as a copy of its own, makes a text of it, and copies that into the body. Written here, a record goes
//! into the body from where it is kept, for every try. All else of a request stays the SDK's.

use base64_simd::STANDARD;

use super::outcome::Entry;
use super::target::StreamRef;
use crate::profile::json;

/// What the body is, as `Content-Type` names it.
pub(super) const CONTENT_TYPE: &str = "application/x-amz-json-1.1";

/// Room for what stands around a record.
const AROUND: usize = 40;

/// The request's body: `entries` for `stream`.
pub(super) fn put_records(stream: &StreamRef, entries: &[Entry]) -> Vec<u8> {
    let room = |entry: &Entry| STANDARD.encoded_length(entry.data.len()) + entry.partition_key.len() + AROUND;
    let mut body = Vec::with_capacity(256 + entries.iter().map(room).sum::<usize>());
    let (member, name) = match stream {
        StreamRef::Name(name) => (b"{\"StreamName\":".as_slice(), name),
        StreamRef::Arn(arn) => (b"{\"StreamARN\":".as_slice(), arn),
    };
    body.extend_from_slice(member);
    json::write_string(&mut body, name);
    body.extend_from_slice(b",\"Records\":[");
    for (position, entry) in entries.iter().enumerate() {
        body.extend_from_slice(if position > 0 { b",{\"Data\":\"" } else { b"{\"Data\":\"" });
        STANDARD.encode_append(&entry.data, &mut body);
        body.extend_from_slice(b"\",\"PartitionKey\":");
        json::write_string(&mut body, &entry.partition_key);
        body.push(b'}');
    }
    body.extend_from_slice(b"]}");
    body
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    #[test]
    fn a_record_is_in_base64_and_a_key_is_escaped() {
        let entry =
            |key: &str, data: &'static [u8]| Entry { partition_key: key.to_owned(), data: Bytes::from_static(data) };
        let entries = [entry("p-1", b"{}"), entry("a \"é\"\n", &[0xff, 0xfe, 0xfd, 0xfc])];
        let body = put_records(&StreamRef::Name("events".to_owned()), &entries);
        assert_eq!(
            String::from_utf8_lossy(&body),
            r#"{"StreamName":"events","Records":[{"Data":"e30=","PartitionKey":"p-1"},{"Data":"//79/A==","PartitionKey":"a \"é\"\n"}]}"#
        );
        let arn = "arn:aws:kinesis:eu-west-1:123456789012:stream/events";
        let body = put_records(&StreamRef::Arn(arn.to_owned()), &entries[..1]);
        assert_eq!(
            String::from_utf8_lossy(&body),
            format!(r#"{{"StreamARN":"{arn}","Records":[{{"Data":"e30=","PartitionKey":"p-1"}}]}}"#)
        );
    }
}
