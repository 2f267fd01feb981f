//! Pure decisions: the partition key of a record (`semantics 4.9`).

use std::fmt::Write as _;

use sha2::{Digest, Sha256};

/// The longest key that Kinesis takes, in Unicode characters.
pub const MAX_CHARACTERS: usize = 256;

/// The key as Kinesis takes it: itself, or its SHA-256 in lower-case hex where it is too long; never cut.
pub fn partition_key(key: &str) -> String {
    if key.len() <= MAX_CHARACTERS || key.chars().count() <= MAX_CHARACTERS {
        return key.to_owned();
    }
    sha256_hex(key.as_bytes(), 32)
}

/// The first `bytes` bytes of the SHA-256 of `input`, in lower-case hex.
pub(crate) fn sha256_hex(input: &[u8], bytes: usize) -> String {
    Sha256::digest(input).iter().take(bytes).fold(String::with_capacity(2 * bytes), |mut hex, byte| {
        // A `String` takes every write.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_of_256_characters_stays_and_a_longer_one_becomes_its_hash() {
        let umlauts = "ü".repeat(256);
        assert_eq!(partition_key(&umlauts), umlauts);
        assert_eq!(partition_key(&"a".repeat(257)), "e8d95cc2b4bc198c54b40bd214df958afb65f5e73d2c2eafe0593cf5c635c1f0");
    }
}
