//! Types: the path of an attribute, `person.name.firstName`; a dot inside a name is written `\.`, a backslash `\\`.

use std::fmt;

/// The longest path that can be mapped, in characters (the schema's own bound).
pub const MAX_MAPPED_PATH: usize = 256;

/// The names from the root to an attribute; never empty.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Path(Vec<String>);

/// Why a text is not a path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// Nothing, or nothing between two dots.
    #[error("path \"{0}\" has an empty name: write names separated by single dots")]
    EmptyName(String),
    /// A backslash before something else than `.` or `\`.
    #[error("path \"{0}\" has a stray backslash: write \\. for a dot inside a name and \\\\ for a backslash")]
    StrayBackslash(String),
}

impl Path {
    /// Reads a path as it is written in a manifest or a change.
    pub fn parse(text: &str) -> Result<Self, PathError> {
        let mut names = vec![String::new()];
        let mut characters = text.chars();
        while let Some(character) = characters.next() {
            let part = match character {
                '.' => {
                    names.push(String::new());
                    continue;
                }
                '\\' => match characters.next() {
                    Some(escaped @ ('.' | '\\')) => escaped,
                    _ => return Err(PathError::StrayBackslash(text.to_owned())),
                },
                plain => plain,
            };
            if let Some(name) = names.last_mut() {
                name.push(part);
            }
        }
        if names.iter().any(String::is_empty) {
            return Err(PathError::EmptyName(text.to_owned()));
        }
        Ok(Self(names))
    }

    /// The names, unescaped.
    pub fn names(&self) -> &[String] {
        &self.0
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = PathBuffer::default();
        for name in &self.0 {
            text.push(name);
        }
        f.write_str(text.as_str())
    }
}

/// A path under construction while a tree is walked: push going down, truncate going up.
#[derive(Debug, Default)]
pub struct PathBuffer(String);

impl PathBuffer {
    /// Appends a name, escaped, and returns the length to truncate back to.
    pub fn push(&mut self, name: &str) -> usize {
        let before = self.0.len();
        if before > 0 {
            self.0.push('.');
        }
        if name.contains(['.', '\\']) {
            for character in name.chars() {
                if matches!(character, '.' | '\\') {
                    self.0.push('\\');
                }
                self.0.push(character);
            }
        } else {
            self.0.push_str(name);
        }
        before
    }

    /// Goes back up.
    pub fn truncate(&mut self, length: usize) {
        self.0.truncate(length);
    }

    /// The path so far.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the path is longer than any that can be mapped: what lies below it need not be told apart.
    pub fn beyond_mapping(&self) -> bool {
        self.0.len() > 4 * MAX_MAPPED_PATH
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_escaped_dot_is_part_of_the_name() {
        assert_eq!(Path::parse(r"_acme.crm\.id").unwrap().names(), ["_acme", "crm.id"]);
        assert_eq!(Path::parse(r"a\\.b").unwrap().names(), [r"a\", "b"]);
    }

    #[test]
    fn empty_names_and_stray_backslashes_are_refused() {
        for text in ["", ".", "a.", ".a", "a..b"] {
            assert!(matches!(Path::parse(text), Err(PathError::EmptyName(_))), "{text}");
        }
        for text in [r"a\b", "a\\"] {
            assert!(matches!(Path::parse(text), Err(PathError::StrayBackslash(_))), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_path_with_escapes_round_trips(names in prop::collection::vec(r"[a-z.\\é]{1,6}", 1..5)) {
            let path = Path(names);
            prop_assert_eq!(Path::parse(&path.to_string()).unwrap(), path);
        }
    }
}
