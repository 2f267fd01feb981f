//! Pure: steps over JSON text (RFC 8259), checking every byte once and keeping none. Most values are only copied on, so nothing is
//! decoded; strings are looked at eight bytes at a time, since the export path spends much of its time in them.

use super::JsonError;

/// The deepest nesting that is stepped over. Deeper than what is read anywhere, so that the caller's own bound speaks first.
const MAX_LEVELS: usize = 200;

/// The kind of a JSON value, by its first character.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `{`
    Object,
    /// `[`
    Array,
    /// `"`
    String,
    /// A digit or a minus sign.
    Number,
    /// `true` or `false`.
    Boolean,
    /// `null`
    Null,
}

impl Kind {
    /// With its article, for messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Object => "an object",
            Self::Array => "an array",
            Self::String => "a string",
            Self::Number => "a number",
            Self::Boolean => "a boolean",
            Self::Null => "null",
        }
    }
}

/// A string as it stands in the text.
#[derive(Debug, Clone, Copy)]
pub(super) struct Quoted<'a> {
    /// Quotes included.
    pub(super) text: &'a str,
    /// Whether it holds an escape.
    pub(super) escaped: bool,
    /// Where it begins, from 1, in bytes.
    pub(super) column: usize,
}

impl<'a> Quoted<'a> {
    /// What stands between the quotes.
    pub(super) fn inner(self) -> &'a str {
        self.text.get(1..self.text.len().saturating_sub(1)).unwrap_or_default()
    }
}

/// A place in a text.
#[derive(Debug, Clone)]
pub(super) struct Scanner<'a> {
    text: &'a str,
    /// The next byte.
    at: usize,
}

impl<'a> Scanner<'a> {
    /// Before the first value of `text`.
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// The kind of the value that comes next.
    pub(super) fn peek(&mut self) -> Result<Kind, JsonError> {
        match self.next() {
            Some(b'{') => Ok(Kind::Object),
            Some(b'[') => Ok(Kind::Array),
            Some(b'"') => Ok(Kind::String),
            Some(b'-' | b'0'..=b'9') => Ok(Kind::Number),
            Some(b't' | b'f') => Ok(Kind::Boolean),
            Some(b'n') => Ok(Kind::Null),
            _ => Err(self.wrong("a value")),
        }
    }

    /// Steps over the value that comes next.
    pub(super) fn value(&mut self) -> Result<&'a str, JsonError> {
        self.next();
        let start = self.at;
        self.skip(MAX_LEVELS)?;
        Ok(self.slice(start))
    }

    /// Steps to the first member of the object that comes next: its name, the place before its value.
    pub(super) fn enter_object(&mut self) -> Result<Option<Quoted<'a>>, JsonError> {
        self.expect(b'{', "an object")?;
        if self.skip_byte(b'}') { Ok(None) } else { self.name().map(Some) }
    }

    /// Steps to the next member of the object that it is in.
    pub(super) fn next_member(&mut self) -> Result<Option<Quoted<'a>>, JsonError> {
        if self.skip_byte(b',') {
            return self.name().map(Some);
        }
        self.expect(b'}', "a comma or the end of the object").map(|()| None)
    }

    /// Steps into the array that comes next: whether it has an element.
    pub(super) fn enter_array(&mut self) -> Result<bool, JsonError> {
        self.expect(b'[', "an array")?;
        if self.skip_byte(b']') {
            return Ok(false);
        }
        self.peek().map(|_| true)
    }

    /// Steps to the next element of the array that it is in: whether there is one.
    pub(super) fn next_element(&mut self) -> Result<bool, JsonError> {
        if self.skip_byte(b',') {
            return self.peek().map(|_| true);
        }
        self.expect(b']', "a comma or the end of the array").map(|()| false)
    }

    /// Fails where anything but white space is left.
    pub(super) fn finish(&mut self) -> Result<(), JsonError> {
        if self.next().is_none() { Ok(()) } else { Err(self.wrong("the end of the text")) }
    }

    /// The text from an earlier place on.
    pub(super) fn since(&self, earlier: &Self) -> &'a str {
        self.slice(earlier.at)
    }

    fn name(&mut self) -> Result<Quoted<'a>, JsonError> {
        if self.next() != Some(b'"') {
            return Err(self.wrong("a name in double quotes"));
        }
        let start = self.at;
        let escaped = self.string()?;
        let text = self.slice(start);
        self.expect(b':', "a colon")?;
        Ok(Quoted { text, escaped, column: start + 1 })
    }

    fn skip(&mut self, levels: usize) -> Result<(), JsonError> {
        match self.byte() {
            Some(b'"') => self.string().map(drop),
            Some(b'{') => {
                let levels = levels.checked_sub(1).ok_or(JsonError::TooDeep)?;
                let mut member = self.enter_object()?.is_some();
                while member {
                    self.next();
                    self.skip(levels)?;
                    member = self.next_member()?.is_some();
                }
                Ok(())
            }
            Some(b'[') => {
                let levels = levels.checked_sub(1).ok_or(JsonError::TooDeep)?;
                let mut element = self.enter_array()?;
                while element {
                    self.skip(levels)?;
                    element = self.next_element()?;
                }
                Ok(())
            }
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.word("true"),
            Some(b'f') => self.word("false"),
            Some(b'n') => self.word("null"),
            _ => Err(self.wrong("a value")),
        }
    }

    /// Steps over a string, from its first quote; whether it holds an escape.
    fn string(&mut self) -> Result<bool, JsonError> {
        self.at += 1;
        let mut escaped = false;
        loop {
            self.at += plain(self.rest());
            match self.byte() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(escaped);
                }
                Some(b'\\') => {
                    escaped = true;
                    self.escape()?;
                }
                _ => return Err(self.wrong("the end of the string")),
            }
        }
    }

    fn escape(&mut self) -> Result<(), JsonError> {
        self.at += 1;
        match self.byte() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                self.at += 1;
                Ok(())
            }
            Some(b'u') => match self.unit()? {
                0xd800..=0xdbff => {
                    let paired = self.rest().starts_with(b"\\u");
                    self.at += 1;
                    if paired && matches!(self.unit()?, 0xdc00..=0xdfff) {
                        Ok(())
                    } else {
                        Err(self.wrong("the second half of a surrogate pair"))
                    }
                }
                0xdc00..=0xdfff => Err(self.wrong("the first half of a surrogate pair")),
                _ => Ok(()),
            },
            _ => Err(self.wrong("an escape")),
        }
    }

    /// Steps over `u` and four hexadecimal digits.
    fn unit(&mut self) -> Result<u16, JsonError> {
        let digits = self.text.get(self.at + 1..self.at + 5).filter(|text| text.bytes().all(|b| b.is_ascii_hexdigit()));
        let unit = digits.and_then(|digits| u16::from_str_radix(digits, 16).ok());
        let unit = unit.ok_or_else(|| self.wrong("four hexadecimal digits"))?;
        self.at += 5;
        Ok(unit)
    }

    fn number(&mut self) -> Result<(), JsonError> {
        if self.byte() == Some(b'-') {
            self.at += 1;
        }
        if self.byte() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.byte() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.byte(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.byte(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(())
    }

    fn digits(&mut self) -> Result<(), JsonError> {
        let count = self.rest().iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.at += count;
        if count > 0 { Ok(()) } else { Err(self.wrong("a digit")) }
    }

    fn word(&mut self, word: &'static str) -> Result<(), JsonError> {
        if !self.rest().starts_with(word.as_bytes()) {
            return Err(self.wrong("a value"));
        }
        self.at += word.len();
        Ok(())
    }

    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// The next byte that is not white space.
    fn next(&mut self) -> Option<u8> {
        loop {
            match self.byte() {
                Some(b' ' | b'\t' | b'\r' | b'\n') => self.at += 1,
                byte => return byte,
            }
        }
    }

    /// Steps over `byte` if it comes next.
    fn skip_byte(&mut self, byte: u8) -> bool {
        let there = self.next() == Some(byte);
        self.at += usize::from(there);
        there
    }

    fn expect(&mut self, byte: u8, what: &'static str) -> Result<(), JsonError> {
        if self.skip_byte(byte) { Ok(()) } else { Err(self.wrong(what)) }
    }

    fn rest(&self) -> &'a [u8] {
        self.text.as_bytes().get(self.at..).unwrap_or_default()
    }

    fn slice(&self, start: usize) -> &'a str {
        self.text.get(start..self.at).unwrap_or_default()
    }

    #[cold]
    fn wrong(&self, expected: &'static str) -> JsonError {
        let what = if self.at >= self.text.len() { "the text ends before" } else { "expected" };
        JsonError::Syntax { what: format!("{what} {expected}"), column: self.at + 1 }
    }
}

/// How many bytes come before the first quote, backslash or control character.
fn plain(bytes: &[u8]) -> usize {
    const ONES: u64 = u64::MAX / 0xff;
    const HIGH: u64 = ONES * 0x80;
    let (words, rest) = bytes.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let (quote, backslash) = (word ^ (ONES * u64::from(b'"')), word ^ (ONES * u64::from(b'\\')));
        // Of each byte the high bit, where it is zero (or below 0x20); a borrow can only mark bytes above a true one.
        let found = (quote.wrapping_sub(ONES) & !quote)
            | (backslash.wrapping_sub(ONES) & !backslash)
            | (word.wrapping_sub(ONES * 0x20) & !word);
        if found & HIGH != 0 {
            return index * 8 + (found & HIGH).trailing_zeros() as usize / 8;
        }
    }
    let special = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..0x20);
    words.len() * 8 + rest.iter().position(special).unwrap_or(rest.len())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    /// Whether the whole text is one value.
    fn is_json(text: &str) -> bool {
        let mut scanner = Scanner::new(text);
        scanner.value().is_ok() && scanner.finish().is_ok()
    }

    /// What another parser says, which reads what we step over.
    fn others_say(text: &str) -> bool {
        serde_json::from_str::<serde_json::Value>(text).is_ok()
    }

    #[test]
    fn the_grammar_is_held_to_the_letter() {
        let good = [
            "0",
            "-0",
            "-0.5e-7",
            "1E+2",
            "12",
            "\"\"",
            "\"\\ud83d\\ude00\\/\\u00e9\"",
            "[]",
            "[ ]",
            " [1 , 2] ",
            "{}",
            "{ \"a\" : { } }",
            "null",
            "true",
            "false",
            "\"\u{7f}é\"",
        ];
        for text in good {
            assert!(is_json(text) && others_say(text), "{text}");
        }
        let bad = [
            "",
            " ",
            "01",
            "-",
            "+1",
            "1.",
            ".5",
            "1e",
            "1e+",
            "0x1",
            "NaN",
            "nul",
            "tru",
            "\"",
            "\"\\\"",
            "\"\\x\"",
            "\"\\u12g4\"",
            "\"\\u123\"",
            "\"\\ud800\"",
            "\"\\ud800\\u0041\"",
            "\"\\udc00\"",
            "\"\\ud800x\"",
            "\"\t\"",
            "\"\n\"",
            "[",
            "[1",
            "[1,]",
            "[,1]",
            "[1 2]",
            "{",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "{a:1}",
            "{\"a\":1 \"b\":2}",
            "1 2",
            "]",
            "}",
            "\u{a0}1",
            "\"\\u+123\"",
        ];
        for text in bad {
            assert!(!is_json(text) && !others_say(text), "{text}");
        }
    }

    #[test]
    fn a_special_byte_is_found_wherever_it_stands() {
        for length in 0..40 {
            for place in 0..length {
                for special in [b'"', b'\\', 0x1f, 0] {
                    let mut bytes: Vec<u8> =
                        (0..length).map(|n| [b'!', b'#', 0x20, 0xc3, b'[', b']', 0xff][n % 7]).collect();
                    assert_eq!(plain(&bytes), length);
                    bytes[place] = special;
                    assert_eq!(plain(&bytes), place);
                }
            }
        }
    }

    proptest! {
        #[test]
        fn any_text_is_judged_as_by_another_parser(text in r#"[\[\]{}:,"\\u019.eE+\-a dtrufalsn\n]{0,12}"#) {
            prop_assert_eq!(is_json(&text), others_say(&text));
        }

        #[test]
        fn a_value_with_one_byte_changed_is_judged_as_by_another_parser(
            place in 0..88_usize,
            byte in prop::char::range('\u{1}', '\u{7e}'),
        ) {
            let mut text: Vec<char> =
                r#"{"a":[1.5e3,-0,true,null,"x\n\u00e9\ud83d\ude00"],"b\"":{"":[{}]},"long text of a value":"é"}"#.chars().collect();
            text[place] = byte;
            let text: String = text.into_iter().collect();
            prop_assert_eq!(is_json(&text), others_say(&text), "{}", text);
        }
    }
}
