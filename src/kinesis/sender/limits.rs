//! Pure decisions: what Kinesis takes, and why a record became a dead letter.

use crate::kinesis::outcome::Entry;

/// The most records that one `PutRecords` takes.
pub const MAX_BATCH_RECORDS: usize = 500;

/// The longest partition key, in Unicode characters.
pub const MAX_KEY_CHARACTERS: usize = 256;

/// Why a record will not be tried again. The message tells the mend.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeadReason {
    /// Larger than the destination takes; was not sent.
    #[error(
        "the record has {bytes} bytes with its partition key, and delivery.maxRecordBytes is {limit}: map fewer or smaller \
         attributes or, where the stream takes larger records, raise that limit"
    )]
    TooLarge {
        /// Partition key and data, before base64.
        bytes: usize,
        /// What is allowed.
        limit: usize,
    },
    /// The partition key is empty or too long; was not sent.
    #[error("the partition key has {characters} characters, and Kinesis takes 1 to 256: mend the id of the profile")]
    BadKey {
        /// Its length, in Unicode characters.
        characters: usize,
    },
    /// The service refused a request that held only this record as invalid.
    #[error(
        "the service refuses the record as invalid ({message}): mend what the message names, in the mapping or at the \
         stream, and send the dead letter again"
    )]
    Invalid {
        /// What the service said.
        message: String,
    },
    /// Every attempt failed.
    #[error(
        "every attempt failed, the last with {code} ({message}): send the dead letter again when the service is well"
    )]
    Exhausted {
        /// The service's error code, or `Unavailable` where there was no answer.
        code: String,
        /// What the service said last, or what broke.
        message: String,
    },
}

impl DeadReason {
    /// The reason as one of a few words, for metrics and lists.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "RecordTooLarge",
            Self::BadKey { .. } => "BadPartitionKey",
            Self::Invalid { .. } => "InvalidRecord",
            Self::Exhausted { .. } => "RetriesExhausted",
        }
    }
}

/// What Kinesis counts of a record: partition key and data, before base64, in bytes.
pub fn entry_bytes(entry: &Entry) -> usize {
    entry.partition_key.len() + entry.data.len()
}

/// Why a record would be refused, known before it is sent.
pub(super) fn refusal(entry: &Entry, max_record_bytes: usize) -> Option<DeadReason> {
    let key = &entry.partition_key;
    // A key has at most as many characters as bytes: nearly every key is settled without counting.
    if key.is_empty() || key.len() > MAX_KEY_CHARACTERS {
        let characters = key.chars().count();
        if characters == 0 || characters > MAX_KEY_CHARACTERS {
            return Some(DeadReason::BadKey { characters });
        }
    }
    let bytes = entry_bytes(entry);
    (bytes > max_record_bytes).then_some(DeadReason::TooLarge { bytes, limit: max_record_bytes })
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn entry(key: &str, bytes: usize) -> Entry {
        Entry { partition_key: key.to_owned(), data: Bytes::from(vec![b'x'; bytes]) }
    }

    #[test]
    fn a_record_at_a_limit_is_taken_and_one_above_is_refused() {
        assert_eq!(refusal(&entry("key", 97), 100), None);
        assert_eq!(refusal(&entry("key", 98), 100), Some(DeadReason::TooLarge { bytes: 101, limit: 100 }));
        assert_eq!(refusal(&entry(&"ü".repeat(256), 1), 1000), None);
        assert_eq!(refusal(&entry(&"ü".repeat(257), 1), 1000), Some(DeadReason::BadKey { characters: 257 }));
        assert_eq!(refusal(&entry("", 1), 1000), Some(DeadReason::BadKey { characters: 0 }));
    }

    #[test]
    fn a_reason_is_one_word_and_its_message_tells_the_mend() {
        let reason = DeadReason::TooLarge { bytes: 101, limit: 100 };
        assert_eq!(reason.reason(), "RecordTooLarge");
        assert!(reason.to_string().contains("raise that limit"), "{reason}");
    }
}
