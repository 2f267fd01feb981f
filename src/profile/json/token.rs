//! Types: what stands in JSON text, and what is missing in it.

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
    pub(super) text: &'a str,
    /// Where its first quote is.
    pub(super) start: usize,
    /// Behind its last quote.
    pub(super) end: usize,
    /// Whether it holds an escape.
    pub(super) escaped: bool,
}

impl<'a> Quoted<'a> {
    /// Quotes included.
    pub(super) fn whole(self) -> &'a str {
        self.text.get(self.start..self.end).unwrap_or_default()
    }

    /// What stands between the quotes.
    #[inline(always)]
    pub(super) fn inner(self) -> &'a str {
        self.text.get(self.start + 1..self.end - 1).unwrap_or_default()
    }
}

/// What the scanner missed where it stands. It fits a register, other than the error that is made of it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Missing {
    Value,
    Object,
    Array,
    Name,
    Colon,
    MemberEnd,
    ElementEnd,
    StringEnd,
    Escape,
    Hexadecimal,
    HighSurrogate,
    LowSurrogate,
    Digit,
    End,
    /// The text nests deeper than is read.
    Bottom,
}

impl Missing {
    pub(super) fn what(self) -> &'static str {
        match self {
            Self::Value | Self::Bottom => "a value",
            Self::Object => "an object",
            Self::Array => "an array",
            Self::Name => "a name in double quotes",
            Self::Colon => "a colon",
            Self::MemberEnd => "a comma or the end of the object",
            Self::ElementEnd => "a comma or the end of the array",
            Self::StringEnd => "the end of the string",
            Self::Escape => "an escape",
            Self::Hexadecimal => "four hexadecimal digits",
            Self::HighSurrogate => "the first half of a surrogate pair",
            Self::LowSurrogate => "the second half of a surrogate pair",
            Self::Digit => "a digit",
            Self::End => "the end of the text",
        }
    }
}
