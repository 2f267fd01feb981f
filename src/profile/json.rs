//! Types: JSON as raw slices. Objects are opened, everything else stays the text that came in.
//!
//! A scalar or an array is never turned into a value of ours and back, so numbers keep their digits and text its
//! characters (`semantics 4.3`). Parsing is one pass of [`scan`]; it borrows from the input.

mod block;
mod scan;
mod token;

use std::borrow::Cow;

use indexmap::IndexMap;

use super::MAX_DEPTH;
use scan::Scanner;
pub use token::Kind;
use token::Quoted;

/// The members of a JSON object in the order in which they came; of a repeated name the last value counts.
pub type Object<'a> = IndexMap<Cow<'a, str>, Node<'a>, foldhash::fast::RandomState>;

/// A JSON value: an object, opened, or anything else as compact text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node<'a> {
    /// An object, by members.
    Object(Object<'a>),
    /// A scalar or an array: valid JSON without insignificant white space.
    Leaf(Cow<'a, str>),
}

impl Node<'_> {
    /// Whether this is the JSON `null`.
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Leaf(text) if text == "null")
    }
}

/// Why a text could not be read as JSON of the shape asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// Not JSON.
    #[error("not valid JSON: {what} at column {column}")]
    Syntax {
        /// What the parser missed.
        what: String,
        /// From 1, in bytes.
        column: usize,
    },
    /// Not UTF-8.
    #[error("not valid UTF-8 at column {column}")]
    Encoding {
        /// From 1, in bytes.
        column: usize,
    },
    /// Nested deeper than [`MAX_DEPTH`].
    #[error("nested deeper than {MAX_DEPTH} levels")]
    TooDeep,
    /// Another type than the one that belongs there.
    #[error("{place} must be {expected}, but is {found}")]
    WrongType {
        /// The member, as a path.
        place: String,
        /// What belongs there, with its article.
        expected: &'static str,
        /// What stands there, with its article.
        found: &'static str,
    },
}

/// Reads bytes as UTF-8 text.
pub fn text(bytes: &[u8]) -> Result<&str, JsonError> {
    // The quick way tells only whether, the other one where.
    match simdutf8::basic::from_utf8(bytes) {
        Ok(text) => Ok(text),
        Err(_) => std::str::from_utf8(bytes).map_err(|error| JsonError::Encoding { column: error.valid_up_to() + 1 }),
    }
}

/// Reads one JSON object that fills the whole text.
pub fn parse_object(text: &str) -> Result<Object<'_>, JsonError> {
    let mut slicer = Slicer::new(text);
    let peek = slicer.peek()?;
    if peek != Kind::Object {
        // Its first letter alone does not make a text a value: what is no JSON at all is told as such.
        slicer.raw()?;
        slicer.finish()?;
    }
    slicer.expect(peek, Kind::Object, "the line")?;
    let object = slicer.object(1)?;
    slicer.finish()?;
    Ok(object)
}

/// The type of a raw value, with its article, for messages.
pub fn type_name(raw: &str) -> &'static str {
    match raw.as_bytes().first() {
        Some(b'{') => "an object",
        Some(b'[') => "an array",
        Some(b'"') => "a string",
        Some(b't' | b'f') => "a boolean",
        Some(b'n') => "null",
        _ => "a number",
    }
}

/// The characters of a raw JSON string (quotes included), or `None` where it is not a string.
pub fn string_value(raw: &str) -> Option<Cow<'_, str>> {
    let inner = raw.strip_prefix('"')?.strip_suffix('"')?;
    if inner.as_bytes().contains(&b'\\') {
        serde_json::from_str::<String>(raw).ok().map(Cow::Owned)
    } else {
        Some(Cow::Borrowed(inner))
    }
}

/// Whether two leaves are the same value: the same text, or strings of the same characters.
pub fn same_leaf(a: &str, b: &str) -> bool {
    a == b || (a.starts_with('"') && string_value(a).is_some_and(|a| string_value(b).is_some_and(|b| a == b)))
}

/// Appends `text` as a JSON string.
pub fn write_string(out: &mut Vec<u8>, text: &str) {
    let plain = !text.bytes().any(|byte| byte < 0x20 || byte == b'"' || byte == b'\\');
    if plain {
        out.reserve(text.len() + 2);
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
    } else if serde_json::to_writer(&mut *out, text).is_err() {
        // A `Vec` takes every write; an empty string keeps the document whole all the same.
        out.extend_from_slice(b"\"\"");
    }
}

/// Appends a value.
pub fn write_node(out: &mut Vec<u8>, node: &Node<'_>) {
    match node {
        Node::Leaf(text) => out.extend_from_slice(text.as_bytes()),
        Node::Object(object) => {
            out.push(b'{');
            write_members(out, object);
            out.push(b'}');
        }
    }
}

/// Appends the members of an object, without its braces.
pub fn write_members(out: &mut Vec<u8>, object: &Object<'_>) {
    for (position, (name, value)) in object.iter().enumerate() {
        if position > 0 {
            out.push(b',');
        }
        write_string(out, name);
        out.push(b':');
        write_node(out, value);
    }
}

/// The value without insignificant white space; `None` where it nests deeper than `levels`.
fn compact(raw: &str, levels: usize) -> Option<Cow<'_, str>> {
    let bytes = raw.as_bytes();
    let (mut depth, mut in_string, mut spaces) = (0_usize, false, 0_usize);
    let mut skip = false;
    for &byte in bytes {
        if skip {
            skip = false;
        } else if in_string {
            skip = byte == b'\\';
            in_string = byte != b'"';
        } else {
            match byte {
                b'"' => in_string = true,
                b'[' | b'{' => {
                    depth += 1;
                    if depth > levels {
                        return None;
                    }
                }
                b']' | b'}' => depth = depth.saturating_sub(1),
                b' ' | b'\t' | b'\r' | b'\n' => spaces += 1,
                _ => {}
            }
        }
    }
    if spaces == 0 {
        return Some(Cow::Borrowed(raw));
    }
    let mut out = String::with_capacity(raw.len() - spaces);
    let (mut in_string, mut skip) = (false, false);
    for character in raw.chars() {
        if skip {
            skip = false;
        } else if in_string {
            skip = character == '\\';
            in_string = character != '"';
        } else if character == '"' {
            in_string = true;
        } else if character.is_ascii_whitespace() {
            continue;
        }
        out.push(character);
    }
    Some(Cow::Owned(out))
}

/// A cursor over one JSON text that hands out slices of it.
#[derive(Debug, Clone)]
pub struct Slicer<'a> {
    scanner: Scanner<'a>,
}

impl<'a> Slicer<'a> {
    /// Starts before the first value of `text`.
    pub fn new(text: &'a str) -> Self {
        Self { scanner: Scanner::new(text) }
    }

    /// The kind of the next value.
    pub fn peek(&mut self) -> Result<Kind, JsonError> {
        self.scanner.peek()
    }

    /// Fails where the next value is not of the kind that belongs at `place`.
    pub fn expect(&self, found: Kind, expected: Kind, place: &str) -> Result<(), JsonError> {
        if found == expected {
            return Ok(());
        }
        Err(JsonError::WrongType { place: place.to_owned(), expected: expected.name(), found: found.name() })
    }

    /// The first name of the object that comes next, the cursor before its value; `None` where it is empty.
    #[inline(always)]
    pub fn first_key(&mut self) -> Result<Option<Cow<'a, str>>, JsonError> {
        match self.scanner.enter_object()? {
            Some(name) => self.unescape(name).map(Some),
            None => Ok(None),
        }
    }

    /// The next name of the object that the cursor is in; `None` at its end.
    #[inline(always)]
    pub fn next_key(&mut self) -> Result<Option<Cow<'a, str>>, JsonError> {
        match self.scanner.next_member()? {
            Some(name) => self.unescape(name).map(Some),
            None => Ok(None),
        }
    }

    /// Steps over `text`, if just that comes next: what a member is expected to begin with, quicker than name by name. False says
    /// nothing: it may be written in another way, and is read by the other functions all the same.
    #[inline(always)]
    pub fn skip_text(&mut self, text: &[u8]) -> bool {
        self.scanner.skip_text(text)
    }

    /// The next value as it stands in the text.
    #[inline]
    pub fn raw(&mut self) -> Result<&'a str, JsonError> {
        self.scanner.value()
    }

    /// Steps over the next value: the characters of the string, or `None` where it is not one.
    #[inline(always)]
    pub fn string(&mut self) -> Result<Option<Cow<'a, str>>, JsonError> {
        match self.scanner.string_value()? {
            Some(text) => self.unescape(text).map(Some),
            None => Ok(None),
        }
    }

    /// Steps over the array that comes next: its text, or `None` where it holds anything but strings.
    pub fn strings(&mut self) -> Result<Option<&'a str>, JsonError> {
        self.scanner.strings()
    }

    /// The next value without insignificant white space, at most `levels` deep.
    #[inline]
    pub fn compact(&mut self, levels: usize) -> Result<Cow<'a, str>, JsonError> {
        let raw = self.raw()?;
        match raw.as_bytes().first() {
            Some(b'[' | b'{') => compact(raw, levels).ok_or(JsonError::TooDeep),
            _ => Ok(Cow::Borrowed(raw)),
        }
    }

    /// Enters the array that comes next: true where it has a first element, the cursor before it.
    pub fn first_element(&mut self) -> Result<bool, JsonError> {
        self.scanner.enter_array()
    }

    /// Goes to the next element of the array that the cursor is in: false at its end.
    #[inline]
    pub fn next_element(&mut self) -> Result<bool, JsonError> {
        self.scanner.next_element()
    }

    /// Opens the object that comes next, `depth` levels down (from 1).
    pub fn object(&mut self, depth: usize) -> Result<Object<'a>, JsonError> {
        if depth > MAX_DEPTH {
            return Err(JsonError::TooDeep);
        }
        let mut object = Object::default();
        let mut key = self.first_key()?;
        while let Some(name) = key {
            let node = match self.peek()? {
                Kind::Object => Node::Object(self.object(depth + 1)?),
                _ => Node::Leaf(self.compact(MAX_DEPTH - depth)?),
            };
            object.insert(name, node);
            key = self.next_key()?;
        }
        Ok(object)
    }

    /// The text between an earlier place of this cursor and the one where it is.
    pub fn since(&self, earlier: &Self) -> &'a str {
        self.scanner.since(&earlier.scanner)
    }

    /// Fails where anything but white space is left.
    pub fn finish(&mut self) -> Result<(), JsonError> {
        self.scanner.finish()
    }

    /// The characters of a string, whose escapes the scanner has checked.
    #[inline(always)]
    fn unescape(&self, raw: Quoted<'a>) -> Result<Cow<'a, str>, JsonError> {
        if raw.escaped { self.without_escapes(raw.whole()) } else { Ok(Cow::Borrowed(raw.inner())) }
    }

    fn without_escapes(&self, raw: &'a str) -> Result<Cow<'a, str>, JsonError> {
        let broken = || JsonError::Syntax { what: "a broken escape before".to_owned(), column: self.scanner.column() };
        string_value(raw).ok_or_else(broken)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn round_trip(text: &str) -> String {
        let mut out = Vec::new();
        write_node(&mut out, &Node::Object(parse_object(text).unwrap()));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn leaves_keep_their_text_and_lose_insignificant_white_space() {
        assert_eq!(
            round_trip("{ \"a\" : 12345678901234567890.000 , \"b\\\"\" : [ 1 , \"x y\\\" \" , { \"c\" : null } ] }"),
            r#"{"a":12345678901234567890.000,"b\"":[1,"x y\" ",{"c":null}]}"#
        );
    }

    #[test]
    fn of_a_repeated_name_the_last_value_counts() {
        assert_eq!(round_trip(r#"{"a":1,"b":2,"\u0061":3}"#), r#"{"a":3,"b":2}"#);
    }

    #[test]
    fn nesting_is_bounded_through_objects_and_arrays_alike() {
        let objects = |n: usize| format!("{}1{}", "{\"a\":".repeat(n), "}".repeat(n));
        assert!(parse_object(&objects(128)).is_ok());
        assert_eq!(parse_object(&objects(129)), Err(JsonError::TooDeep));
        let arrays = |n: usize| format!("{{\"a\":{}{}}}", "[".repeat(n), "]".repeat(n));
        assert!(parse_object(&arrays(127)).is_ok());
        assert_eq!(parse_object(&arrays(128)), Err(JsonError::TooDeep));
        assert_eq!(parse_object(&arrays(100_000)), Err(JsonError::TooDeep));
    }

    #[test]
    fn what_is_no_json_is_told_with_its_column() {
        for text in [
            "",
            "no json",
            "1 2",
            "[1",
            "{",
            "{\"a\":}",
            "{\"a\":1}x",
            "{'a':1}",
            "{\"a\":01}",
            "{\"a\":\"\\ud800\"}",
            "{\"a\":NaN}",
        ] {
            assert!(matches!(parse_object(text), Err(JsonError::Syntax { .. })), "{text}");
        }
        assert_eq!(parse_object("[1]").unwrap_err().to_string(), "the line must be an object, but is an array");
    }

    #[test]
    fn strings_compare_by_their_characters_and_numbers_by_their_digits() {
        assert!(same_leaf(r#""a""#, r#""\u0061""#));
        assert!(!same_leaf("1.0", "1.00"));
        assert!(!same_leaf(r#""1""#, "1"));
    }
}
