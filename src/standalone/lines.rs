//! Effects: the lines of a file or of standard input, numbered as people count them, none held longer than an update may be.

use std::io::{self, BufRead};

use crate::profile::MAX_PROFILE_BYTES;
use crate::profile::update::UpdateError;

/// One line that is not blank.
#[derive(Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// From 1; blank lines count.
    pub number: u64,
    /// What it holds, without its end, or that it is over the limit.
    pub text: Result<&'a [u8], UpdateError>,
}

/// Reads line by line into one buffer.
#[derive(Debug)]
pub struct Lines<R> {
    reader: R,
    number: u64,
    buffer: Vec<u8>,
}

impl<R: BufRead> Lines<R> {
    /// Begins at line 1.
    pub fn new(reader: R) -> Self {
        Self { reader, number: 0, buffer: Vec::new() }
    }

    /// The next line that is not blank; `None` at the end. The last one need not end in a newline.
    pub fn read(&mut self) -> io::Result<Option<Line<'_>>> {
        loop {
            let Some(length) = self.fill()? else { return Ok(None) };
            self.number += 1;
            if length > self.buffer.len() {
                return Ok(Some(Line { number: self.number, text: Err(UpdateError::TooLong(length)) }));
            }
            if !self.buffer.trim_ascii().is_empty() {
                break;
            }
        }
        let text = self.buffer.strip_suffix(b"\r").unwrap_or(&self.buffer);
        Ok(Some(Line { number: self.number, text: Ok(text) }))
    }

    /// Reads up to the next newline and keeps what an update may hold of it; the length of all of it, or `None` at the end.
    fn fill(&mut self) -> io::Result<Option<usize>> {
        // One byte more than an update may hold, for a carriage return.
        const KEPT: usize = MAX_PROFILE_BYTES + 1;
        self.buffer.clear();
        let mut length = 0;
        loop {
            let available = match self.reader.fill_buf() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                available => available?,
            };
            if available.is_empty() {
                return Ok((length > 0).then_some(length));
            }
            let newline = available.iter().position(|byte| *byte == b'\n');
            let part = available.get(..newline.unwrap_or(available.len())).unwrap_or_default();
            let kept = part.get(..part.len().min(KEPT - self.buffer.len())).unwrap_or_default();
            self.buffer.extend_from_slice(kept);
            length += part.len();
            let used = part.len() + usize::from(newline.is_some());
            self.reader.consume(used);
            if newline.is_some() {
                return Ok(Some(length));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::io::BufReader;

    use super::*;

    fn all(text: &[u8]) -> Vec<(u64, Result<Vec<u8>, UpdateError>)> {
        let mut lines = Lines::new(BufReader::with_capacity(7, text));
        let mut found = Vec::new();
        while let Some(line) = lines.read().unwrap() {
            found.push((line.number, line.text.map(<[u8]>::to_vec)));
        }
        found
    }

    #[test]
    fn blank_lines_are_counted_and_passed_over() {
        let lines = all(b"\n{\"a\": 1}\r\n  \t\r\n\nlast line without an end");
        assert_eq!(lines, [(2, Ok(b"{\"a\": 1}".to_vec())), (5, Ok(b"last line without an end".to_vec()))]);
        assert_eq!(all(b""), []);
    }

    #[test]
    fn a_line_over_the_limit_is_told_with_its_length_and_not_held() {
        let long = "x".repeat(3 * MAX_PROFILE_BYTES);
        let text = format!("a\n{long}\nb\n{}\r\n", "y".repeat(MAX_PROFILE_BYTES));
        let mut lines = Lines::new(text.as_bytes());
        assert_eq!(lines.read().unwrap(), Some(Line { number: 1, text: Ok(b"a") }));
        let too_long = UpdateError::TooLong(3 * MAX_PROFILE_BYTES);
        assert_eq!(lines.read().unwrap(), Some(Line { number: 2, text: Err(too_long) }));
        assert!(lines.buffer.capacity() < 3 * MAX_PROFILE_BYTES);
        assert_eq!(lines.read().unwrap(), Some(Line { number: 3, text: Ok(b"b") }));
        assert_eq!(lines.read().unwrap().unwrap().text.map(<[u8]>::len), Ok(MAX_PROFILE_BYTES));
        assert_eq!(lines.read().unwrap(), None);
    }
}
