//! Pure: steps over JSON text (RFC 8259), checking every byte once and keeping none. Most values are only copied on, so nothing is
//! decoded. The export path spends much of its time in here, and most of that in looking for the ends of strings: so text is
//! looked over a block at a time, and what is found serves every string in the block.

use super::JsonError;
use super::block::{self, BLOCK};
use super::token::{Kind, Missing, Quoted};

/// The deepest nesting that is stepped over. Deeper than what is read anywhere, so that the caller's own bound speaks first.
const MAX_LEVELS: usize = 200;

type Step<T> = Result<T, Missing>;

/// A place in a text.
#[derive(Debug, Clone)]
pub(super) struct Scanner<'a> {
    text: &'a str,
    /// The next byte.
    at: usize,
    /// Which block was looked over last.
    block: usize,
    /// Its bytes that no string holds as they are: the lowest bit is the first byte.
    special: u64,
}

impl<'a> Scanner<'a> {
    /// Before the first value of `text`.
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, at: 0, block: usize::MAX, special: 0 }
    }

    /// The kind of the value that comes next.
    pub(super) fn peek(&mut self) -> Result<Kind, JsonError> {
        let step = self.kind();
        self.told(step)
    }

    /// Steps over the value that comes next.
    #[inline]
    pub(super) fn value(&mut self) -> Result<&'a str, JsonError> {
        let is_string = self.next() == Some(b'"');
        let start = self.at;
        let step = if is_string { self.string().map(drop) } else { self.skip(MAX_LEVELS) };
        self.told(step)?;
        Ok(self.slice(start))
    }

    /// Steps over the value that comes next: the string, if it is one.
    #[inline(always)]
    pub(super) fn string_value(&mut self) -> Result<Option<Quoted<'a>>, JsonError> {
        if self.next() != Some(b'"') {
            return self.value().map(|_| None);
        }
        let step = self.quoted();
        self.told(step).map(Some)
    }

    /// Steps over the array that comes next: its text, if it holds strings only.
    pub(super) fn strings(&mut self) -> Result<Option<&'a str>, JsonError> {
        let is_array = self.next() == Some(b'[');
        let start = self.at;
        let step = if is_array { self.skip_array(MAX_LEVELS - 1) } else { Err(Missing::Array) };
        let only_strings = self.told(step)?;
        Ok(only_strings.then(|| self.slice(start)))
    }

    /// Steps to the first member of the object that comes next: its name, the place before its value.
    #[inline(always)]
    pub(super) fn enter_object(&mut self) -> Result<Option<Quoted<'a>>, JsonError> {
        let step = self.first_member();
        self.told(step)
    }

    /// Steps over `text`, if just that comes next: quicker than to read a name and then compare it.
    #[inline(always)]
    pub(super) fn skip_text(&mut self, text: &[u8]) -> bool {
        let there = self.rest().starts_with(text);
        if there {
            self.at += text.len();
        }
        there
    }

    /// Steps to the next member of the object that it is in.
    #[inline(always)]
    pub(super) fn next_member(&mut self) -> Result<Option<Quoted<'a>>, JsonError> {
        let step = self.further_member();
        self.told(step)
    }

    /// Steps into the array that comes next: whether an element must follow.
    pub(super) fn enter_array(&mut self) -> Result<bool, JsonError> {
        let step = self.first_element();
        self.told(step)
    }

    /// Steps to the next element of the array that it is in: whether one must follow.
    #[inline]
    pub(super) fn next_element(&mut self) -> Result<bool, JsonError> {
        let step = self.further_element();
        self.told(step)
    }

    /// Fails where anything but white space is left.
    pub(super) fn finish(&mut self) -> Result<(), JsonError> {
        let step = if self.next().is_none() { Ok(()) } else { Err(Missing::End) };
        self.told(step)
    }

    /// The text from an earlier place on.
    pub(super) fn since(&self, earlier: &Self) -> &'a str {
        self.slice(earlier.at)
    }

    /// Where it stands, from 1, in bytes.
    pub(super) fn column(&self) -> usize {
        self.at + 1
    }

    fn kind(&mut self) -> Step<Kind> {
        match self.next() {
            Some(b'{') => Ok(Kind::Object),
            Some(b'[') => Ok(Kind::Array),
            Some(b'"') => Ok(Kind::String),
            Some(b'-' | b'0'..=b'9') => Ok(Kind::Number),
            Some(b't' | b'f') => Ok(Kind::Boolean),
            Some(b'n') => Ok(Kind::Null),
            _ => Err(Missing::Value),
        }
    }

    #[inline(always)]
    fn first_member(&mut self) -> Step<Option<Quoted<'a>>> {
        self.expect(b'{', Missing::Object)?;
        if self.skip_byte(b'}') { Ok(None) } else { self.name().map(Some) }
    }

    #[inline(always)]
    fn further_member(&mut self) -> Step<Option<Quoted<'a>>> {
        if self.skip_byte(b',') {
            return self.name().map(Some);
        }
        self.expect(b'}', Missing::MemberEnd).map(|()| None)
    }

    #[inline]
    fn first_element(&mut self) -> Step<bool> {
        self.expect(b'[', Missing::Array)?;
        if self.skip_byte(b']') {
            return Ok(false);
        }
        Ok(true)
    }

    #[inline]
    fn further_element(&mut self) -> Step<bool> {
        if self.skip_byte(b',') {
            return Ok(true);
        }
        self.expect(b']', Missing::ElementEnd).map(|()| false)
    }

    /// Steps over a name and its colon.
    #[inline(always)]
    fn name(&mut self) -> Step<Quoted<'a>> {
        if self.next() != Some(b'"') {
            return Err(Missing::Name);
        }
        let name = self.quoted()?;
        self.expect(b':', Missing::Colon)?;
        Ok(name)
    }

    /// Steps over the value that comes next; its strings without a call.
    fn skip(&mut self, levels: usize) -> Step<()> {
        match self.next() {
            Some(b'"') => self.string().map(drop),
            Some(b'{') => self.skip_object(levels.checked_sub(1).ok_or(Missing::Bottom)?),
            Some(b'[') => self.skip_array(levels.checked_sub(1).ok_or(Missing::Bottom)?).map(drop),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.word("true"),
            Some(b'f') => self.word("false"),
            Some(b'n') => self.word("null"),
            _ => Err(Missing::Value),
        }
    }

    fn skip_object(&mut self, levels: usize) -> Step<()> {
        self.at += 1;
        if self.skip_byte(b'}') {
            return Ok(());
        }
        loop {
            if self.next() != Some(b'"') {
                return Err(Missing::Name);
            }
            self.string()?;
            self.expect(b':', Missing::Colon)?;
            if self.next() == Some(b'"') {
                self.string()?;
            } else {
                self.skip(levels)?;
            }
            match self.next() {
                Some(b',') => self.at += 1,
                Some(b'}') => {
                    self.at += 1;
                    return Ok(());
                }
                _ => return Err(Missing::MemberEnd),
            }
        }
    }

    /// Whether it holds strings only.
    fn skip_array(&mut self, levels: usize) -> Step<bool> {
        self.at += 1;
        let mut only_strings = true;
        if self.skip_byte(b']') {
            return Ok(true);
        }
        loop {
            if self.next() == Some(b'"') {
                self.string()?;
            } else {
                self.skip(levels)?;
                only_strings = false;
            }
            match self.next() {
                Some(b',') => self.at += 1,
                Some(b']') => {
                    self.at += 1;
                    return Ok(only_strings);
                }
                _ => return Err(Missing::ElementEnd),
            }
        }
    }

    #[inline(always)]
    fn quoted(&mut self) -> Step<Quoted<'a>> {
        let start = self.at;
        let escaped = self.string()?;
        Ok(Quoted { text: self.text, start, end: self.at, escaped })
    }

    /// Steps over a string, from its first quote; whether it holds an escape.
    #[inline(always)]
    fn string(&mut self) -> Step<bool> {
        self.at += 1;
        self.advance_to_special();
        if self.byte() == Some(b'"') {
            self.at += 1;
            return Ok(false);
        }
        self.rest_of_string()
    }

    /// The same of a string that goes on with an escape.
    fn rest_of_string(&mut self) -> Step<bool> {
        loop {
            match self.byte() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(true);
                }
                Some(b'\\') => self.escape()?,
                _ => return Err(Missing::StringEnd),
            }
            self.advance_to_special();
        }
    }

    /// Steps to the next byte that no string holds as it is. Mostly it is in the block that was looked over last.
    #[inline(always)]
    fn advance_to_special(&mut self) {
        let special = self.special & (u64::MAX << (self.at % BLOCK));
        if special != 0 && self.at / BLOCK == self.block {
            self.at = self.block * BLOCK + special.trailing_zeros() as usize;
        } else {
            self.advance_to_special_beyond();
        }
    }

    #[inline(never)]
    fn advance_to_special_beyond(&mut self) {
        let block = self.at / BLOCK;
        if block != self.block {
            self.look_over(block);
        }
        self.special &= u64::MAX << (self.at % BLOCK);
        while self.special == 0 {
            self.look_over(self.block + 1);
        }
        self.at = self.block * BLOCK + self.special.trailing_zeros() as usize;
    }

    fn look_over(&mut self, block: usize) {
        self.block = block;
        let rest = self.text.as_bytes().get(block * BLOCK..).unwrap_or_default();
        self.special = match rest.first_chunk() {
            Some(bytes) => block::special(bytes),
            None => block::special_at_the_end(rest),
        };
    }

    fn escape(&mut self) -> Step<()> {
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
                    if paired && matches!(self.unit()?, 0xdc00..=0xdfff) { Ok(()) } else { Err(Missing::LowSurrogate) }
                }
                0xdc00..=0xdfff => Err(Missing::HighSurrogate),
                _ => Ok(()),
            },
            _ => Err(Missing::Escape),
        }
    }

    /// Steps over `u` and four hexadecimal digits.
    fn unit(&mut self) -> Step<u16> {
        let digits = self.text.get(self.at + 1..self.at + 5).filter(|text| text.bytes().all(|b| b.is_ascii_hexdigit()));
        let unit = digits.and_then(|digits| u16::from_str_radix(digits, 16).ok()).ok_or(Missing::Hexadecimal)?;
        self.at += 5;
        Ok(unit)
    }

    fn number(&mut self) -> Step<()> {
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

    fn digits(&mut self) -> Step<()> {
        let count = self.rest().iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.at += count;
        if count > 0 { Ok(()) } else { Err(Missing::Digit) }
    }

    fn word(&mut self, word: &'static str) -> Step<()> {
        if !self.rest().starts_with(word.as_bytes()) {
            return Err(Missing::Value);
        }
        self.at += word.len();
        Ok(())
    }

    #[inline(always)]
    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// The next byte that is not white space.
    #[inline(always)]
    fn next(&mut self) -> Option<u8> {
        match self.byte() {
            Some(byte) if byte > b' ' => Some(byte),
            _ => self.next_behind_white_space(),
        }
    }

    fn next_behind_white_space(&mut self) -> Option<u8> {
        while let Some(b' ' | b'\t' | b'\r' | b'\n') = self.byte() {
            self.at += 1;
        }
        self.byte()
    }

    /// Steps over `byte` if it comes next.
    #[inline(always)]
    fn skip_byte(&mut self, byte: u8) -> bool {
        // Not counted but taken: the processor guesses right, and goes on.
        if self.next() == Some(byte) {
            self.at += 1;
            return true;
        }
        false
    }

    #[inline(always)]
    fn expect(&mut self, byte: u8, missing: Missing) -> Step<()> {
        if self.skip_byte(byte) { Ok(()) } else { Err(missing) }
    }

    fn rest(&self) -> &'a [u8] {
        self.text.as_bytes().get(self.at..).unwrap_or_default()
    }

    #[inline(always)]
    fn slice(&self, start: usize) -> &'a str {
        self.text.get(start..self.at).unwrap_or_default()
    }

    #[inline(always)]
    fn told<T>(&self, step: Step<T>) -> Result<T, JsonError> {
        step.map_err(|missing| self.error(missing))
    }

    #[cold]
    fn error(&self, missing: Missing) -> JsonError {
        if matches!(missing, Missing::Bottom) {
            return JsonError::TooDeep;
        }
        let found = if self.at >= self.text.len() { "the text ends before" } else { "expected" };
        JsonError::Syntax { what: format!("{found} {}", missing.what()), column: self.column() }
    }
}

#[cfg(test)]
mod tests;
