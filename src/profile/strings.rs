//! Types: a list of strings, made here or as it stands in JSON text. Most lists of a change are looked into as far as the first
//! string or not at all, so one that was read stays text.

use std::borrow::Cow;
use std::fmt;
use std::slice;

use super::json::{JsonError, Slicer};

/// Strings, in order.
#[derive(Clone)]
pub struct Strings<'a>(Form<'a>);

#[derive(Clone)]
enum Form<'a> {
    Made(Vec<Cow<'a, str>>),
    /// A JSON array that holds nothing but strings.
    Read(&'a str),
}

impl<'a> Strings<'a> {
    /// Steps over the array that comes next; `None` where it holds anything but strings.
    pub(super) fn read(slicer: &mut Slicer<'a>) -> Result<Option<Self>, JsonError> {
        Ok(slicer.strings()?.map(|text| Self(Form::Read(text))))
    }

    /// Each of them.
    pub fn iter(&self) -> Iter<'_> {
        match &self.0 {
            Form::Made(strings) => Iter::Made(strings.iter()),
            Form::Read(text) => Iter::Read { slicer: Slicer::new(text), begun: false },
        }
    }
}

impl Default for Strings<'_> {
    fn default() -> Self {
        Self(Form::Made(Vec::new()))
    }
}

impl<'a> FromIterator<Cow<'a, str>> for Strings<'a> {
    fn from_iter<I: IntoIterator<Item = Cow<'a, str>>>(strings: I) -> Self {
        Self(Form::Made(strings.into_iter().collect()))
    }
}

impl<'s> IntoIterator for &'s Strings<'_> {
    type Item = Cow<'s, str>;
    type IntoIter = Iter<'s>;

    fn into_iter(self) -> Iter<'s> {
        self.iter()
    }
}

impl PartialEq for Strings<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other)
    }
}

impl Eq for Strings<'_> {}

impl fmt::Debug for Strings<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self).finish()
    }
}

/// The strings of a list.
pub enum Iter<'s> {
    /// As they were made.
    Made(slice::Iter<'s, Cow<'s, str>>),
    /// As they stand in the text.
    Read {
        /// In the array.
        slicer: Slicer<'s>,
        /// Whether it is behind the first.
        begun: bool,
    },
}

impl<'s> Iterator for Iter<'s> {
    type Item = Cow<'s, str>;

    fn next(&mut self) -> Option<Cow<'s, str>> {
        match self {
            Self::Made(strings) => strings.next().map(|text| Cow::Borrowed(text.as_ref())),
            Self::Read { slicer, begun } => {
                let more = if std::mem::replace(begun, true) { slicer.next_element() } else { slicer.first_element() };
                // It was stepped over before, so that nothing can be wrong with it.
                if more.ok()? { slicer.string().ok()? } else { None }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn read(text: &str) -> Result<Option<Strings<'_>>, JsonError> {
        Strings::read(&mut Slicer::new(text))
    }

    #[test]
    fn a_list_that_was_read_is_the_one_that_was_made() {
        for (text, made) in [
            ("[]", vec![]),
            (" [ ] ", vec![]),
            (r#"["a"]"#, vec!["a"]),
            (r#"[ "a\"" , "\u00e9","" ]"#, vec!["a\"", "é", ""]),
        ] {
            let strings = read(text).unwrap().unwrap();
            assert_eq!(strings, made.iter().map(|text| Cow::Borrowed(*text)).collect());
            assert_eq!(format!("{strings:?}"), format!("{made:?}"));
        }
        assert_ne!(read(r#"["a","b"]"#).unwrap(), read(r#"["a"]"#).unwrap());
    }

    #[test]
    fn what_is_no_string_or_no_array_is_told() {
        for text in ["[7]", r#"["a",null]"#, r#"[["a"]]"#, r#"["a",{}]"#] {
            assert_eq!(read(text).unwrap(), None, "{text}");
        }
        for text in [r#"["a""#, r#"["a",]"#, r#"["a" "b"]"#, r#"["a]"#, r#"["\x"]"#, "7"] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
