//! Pure: reads the body of a put in one pass over its bytes, without building a document and without decoding
//! base64. Hands out slices of the body; copies only strings that hold escapes. Checks shape, never limits.

use std::borrow::Cow;

use memchr::memchr2;

use crate::error::ApiError;

/// One record of a put, as it stands in the body.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Entry<'a> {
    /// Base64, not decoded.
    pub(crate) data: Option<Cow<'a, [u8]>>,
    pub(crate) partition_key: Option<Cow<'a, str>>,
    pub(crate) explicit_hash_key: Option<Cow<'a, str>>,
}

/// A `PutRecord` (one entry, from the top level) or a `PutRecords`.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Put<'a> {
    pub(crate) stream_name: Option<Cow<'a, str>>,
    pub(crate) stream_arn: Option<Cow<'a, str>>,
    /// `None` where `PutRecords` came without its list.
    pub(crate) entries: Option<Vec<Entry<'a>>>,
}

/// Reads a `PutRecords` body. Errors: `SerializationException`.
pub(crate) fn put_records(body: &[u8]) -> Result<Put<'_>, ApiError> {
    let mut scanner = Scanner { body, at: 0 };
    let mut put = Put::default();
    scanner.object(|scanner, name| {
        match name {
            b"StreamName" => put.stream_name = scanner.text()?,
            b"StreamARN" => put.stream_arn = scanner.text()?,
            b"Records" => put.entries = scanner.entries()?,
            _ => scanner.skip()?,
        }
        Ok(())
    })?;
    scanner.end()?;
    Ok(put)
}

/// Reads a `PutRecord` body. Errors: `SerializationException`.
pub(crate) fn put_record(body: &[u8]) -> Result<Put<'_>, ApiError> {
    let mut scanner = Scanner { body, at: 0 };
    let mut put = Put::default();
    let mut entry = Entry::default();
    scanner.object(|scanner, name| {
        match name {
            b"StreamName" => put.stream_name = scanner.text()?,
            b"StreamARN" => put.stream_arn = scanner.text()?,
            _ => scanner.member(name, &mut entry)?,
        }
        Ok(())
    })?;
    scanner.end()?;
    put.entries = Some(vec![entry]);
    Ok(put)
}

/// The length of what `base64` decodes to, from its length and padding alone.
pub(crate) fn decoded_length(base64: &[u8]) -> usize {
    let padding = base64.iter().rev().take(2).take_while(|byte| **byte == b'=').count();
    (base64.len() / 4 * 3).saturating_sub(padding)
}

struct Scanner<'a> {
    body: &'a [u8],
    at: usize,
}

impl<'a> Scanner<'a> {
    fn malformed(&self) -> ApiError {
        ApiError::serialization(format!("Unexpected content at byte {}", self.at))
    }

    /// The next byte that is not white space, not consumed.
    fn peek(&mut self) -> Result<u8, ApiError> {
        while let Some(byte) = self.body.get(self.at) {
            if !byte.is_ascii_whitespace() {
                return Ok(*byte);
            }
            self.at += 1;
        }
        Err(self.malformed())
    }

    fn take(&mut self, wanted: u8) -> Result<(), ApiError> {
        if self.peek()? != wanted {
            return Err(self.malformed());
        }
        self.at += 1;
        Ok(())
    }

    fn end(&mut self) -> Result<(), ApiError> {
        if self.peek().is_ok() { Err(self.malformed()) } else { Ok(()) }
    }

    /// Calls `member` with each name, once its colon is consumed.
    fn object(&mut self, mut member: impl FnMut(&mut Self, &[u8]) -> Result<(), ApiError>) -> Result<(), ApiError> {
        self.take(b'{')?;
        if self.peek()? == b'}' {
            self.at += 1;
            return Ok(());
        }
        loop {
            let name = self.string()?;
            self.take(b':')?;
            member(self, &name)?;
            match self.peek()? {
                b',' => self.at += 1,
                b'}' => {
                    self.at += 1;
                    return Ok(());
                }
                _ => return Err(self.malformed()),
            }
        }
    }

    fn entries(&mut self) -> Result<Option<Vec<Entry<'a>>>, ApiError> {
        if self.null()? {
            return Ok(None);
        }
        self.take(b'[')?;
        let mut entries = Vec::with_capacity(500);
        if self.peek()? == b']' {
            self.at += 1;
            return Ok(Some(entries));
        }
        loop {
            let mut entry = Entry::default();
            self.object(|scanner, name| scanner.member(name, &mut entry))?;
            entries.push(entry);
            match self.peek()? {
                b',' => self.at += 1,
                b']' => {
                    self.at += 1;
                    return Ok(Some(entries));
                }
                _ => return Err(self.malformed()),
            }
        }
    }

    fn member(&mut self, name: &[u8], entry: &mut Entry<'a>) -> Result<(), ApiError> {
        match name {
            b"Data" => entry.data = if self.null()? { None } else { Some(self.string()?) },
            b"PartitionKey" => entry.partition_key = self.text()?,
            b"ExplicitHashKey" => entry.explicit_hash_key = self.text()?,
            _ => self.skip()?,
        }
        Ok(())
    }

    /// Consumes a `null`, if that is what comes.
    fn null(&mut self) -> Result<bool, ApiError> {
        if self.peek()? != b'n' {
            return Ok(false);
        }
        if self.body[self.at..].starts_with(b"null") {
            self.at += 4;
            return Ok(true);
        }
        Err(self.malformed())
    }

    /// A string that must be UTF-8, or null.
    fn text(&mut self) -> Result<Option<Cow<'a, str>>, ApiError> {
        if self.null()? {
            return Ok(None);
        }
        let text = match self.string()? {
            Cow::Borrowed(bytes) => std::str::from_utf8(bytes).map(Cow::Borrowed).map_err(|_| self.malformed())?,
            Cow::Owned(bytes) => String::from_utf8(bytes).map(Cow::Owned).map_err(|_| self.malformed())?,
        };
        Ok(Some(text))
    }

    fn string(&mut self) -> Result<Cow<'a, [u8]>, ApiError> {
        self.take(b'"')?;
        let start = self.at;
        let mut escaped = false;
        loop {
            let rest = self.body.get(self.at..).unwrap_or_default();
            let Some(found) = memchr2(b'"', b'\\', rest) else { return Err(self.malformed()) };
            if rest[found] == b'\\' {
                escaped = true;
                self.at += found + 2;
                continue;
            }
            let end = self.at + found;
            self.at = end + 1;
            if !escaped {
                return Ok(Cow::Borrowed(&self.body[start..end]));
            }
            return serde_json::from_slice::<String>(&self.body[start - 1..=end])
                .map(|text| Cow::Owned(text.into_bytes()))
                .map_err(|_| self.malformed());
        }
    }

    /// Passes over a value of any kind. Iterates, so nesting costs no stack.
    fn skip(&mut self) -> Result<(), ApiError> {
        let mut depth = 0_usize;
        loop {
            match self.peek()? {
                b'"' => drop(self.string()?),
                b'{' | b'[' => {
                    depth += 1;
                    self.at += 1;
                    continue;
                }
                b'}' | b']' if depth > 0 => {
                    depth -= 1;
                    self.at += 1;
                }
                b',' | b':' if depth > 0 => {
                    self.at += 1;
                    continue;
                }
                byte if byte.is_ascii_alphanumeric() || byte == b'-' => {
                    let rest = &self.body[self.at..];
                    self.at += rest
                        .iter()
                        .position(|byte| matches!(byte, b',' | b'}' | b']') || byte.is_ascii_whitespace())
                        .unwrap_or(rest.len());
                }
                _ => return Err(self.malformed()),
            }
            if depth == 0 {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn a_put_is_read_without_copying_what_has_no_escape() {
        let body = br#" {"Records":[{"Data":"YWI=","PartitionKey":"p"}, {"PartitionKey":"q\"\u00e9","Data":"","ExplicitHashKey":null}],
            "Other":{"a":[1,{"b":"]}"}],"c":null},"StreamName":"s"} "#;
        let put = put_records(body).unwrap();
        assert_eq!(put.stream_name.as_deref(), Some("s"));
        let entries = put.entries.unwrap();
        assert!(matches!(entries[0].data, Some(Cow::Borrowed(b"YWI="))));
        assert_eq!(entries[0].partition_key.as_deref(), Some("p"));
        assert_eq!(entries[1].partition_key.as_deref(), Some("q\"é"));
        assert_eq!(entries[1].explicit_hash_key, None);
    }

    #[test]
    fn a_single_put_reads_its_entry_from_the_top_level() {
        let put =
            put_record(br#"{"StreamARN":"arn:x","Data":"AA==","PartitionKey":"p","ExplicitHashKey":"7"}"#).unwrap();
        assert_eq!(put.stream_arn.as_deref(), Some("arn:x"));
        assert_eq!(put.entries.unwrap()[0].explicit_hash_key.as_deref(), Some("7"));
    }

    #[test]
    fn every_truncation_of_a_body_is_refused() {
        let body = br#"{"StreamName":"s\\","X":[1,{"a":true}],"Records":[{"Data":"YWI=","PartitionKey":"p"}]}"#;
        assert!(put_records(body).is_ok());
        for end in 0..body.len() {
            assert!(put_records(&body[..end]).is_err(), "cut at {end}");
        }
        assert!(put_records(b"{\"Records\":5}").is_err());
        assert!(put_records(b"{} x").is_err());
    }

    #[test]
    fn the_decoded_length_follows_from_length_and_padding() {
        for (base64, length) in [("", 0), ("YQ==", 1), ("YWI=", 2), ("YWJj", 3), ("YWJjZA==", 4)] {
            assert_eq!(decoded_length(base64.as_bytes()), length, "{base64}");
        }
    }
}
