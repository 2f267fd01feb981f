//! JSON as it is written: numbers by their digits, members in their order.

use std::fmt::{self, Write as _};

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// A value, read without turning any number into one of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Json {
    /// The members in their order; a repeated name stays repeated.
    Object(Vec<(String, Json)>),
    /// The elements.
    Array(Vec<Json>),
    /// The characters of a string.
    Text(String),
    /// A number, `true`, `false` or `null`, as it stands.
    Literal(String),
}

struct Members(Vec<(String, Box<RawValue>)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MembersVisitor;
        impl<'de> Visitor<'de> for MembersVisitor {
            type Value = Members;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(MembersVisitor)
    }
}

impl Json {
    pub(crate) fn parse(text: &str) -> Self {
        let text = text.trim();
        match text.as_bytes()[0] {
            b'{' => {
                let Members(members) = serde_json::from_str(text).unwrap();
                Self::Object(members.into_iter().map(|(name, value)| (name, Self::parse(value.get()))).collect())
            }
            b'[' => {
                let elements: Vec<Box<RawValue>> = serde_json::from_str(text).unwrap();
                Self::Array(elements.iter().map(|element| Self::parse(element.get())).collect())
            }
            b'"' => Self::Text(serde_json::from_str(text).unwrap()),
            _ => Self::Literal(text.to_owned()),
        }
    }

    pub(crate) fn members(&self) -> &[(String, Json)] {
        match self {
            Self::Object(members) => members,
            other => panic!("no object: {other}"),
        }
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Self> {
        match self {
            Self::Object(members) => members.iter().find(|(known, _)| known == name).map(|(_, value)| value),
            _ => None,
        }
    }

    pub(crate) fn names(&self) -> Vec<&str> {
        self.members().iter().map(|(name, _)| name.as_str()).collect()
    }

    /// Where the two differ, members compared without order; `None` where they are the same.
    pub(crate) fn difference(&self, other: &Self, place: &str) -> Option<String> {
        match (self, other) {
            (Self::Object(a), Self::Object(b)) => {
                if a.len() != b.len() {
                    return Some(format!("{place}: members {:?} against {:?}", self.names(), other.names()));
                }
                a.iter().find_map(|(name, value)| match other.get(name) {
                    Some(found) => value.difference(found, &format!("{place}.{name}")),
                    None => Some(format!("{place}.{name}: only on one side")),
                })
            }
            (Self::Array(a), Self::Array(b)) if a.len() == b.len() => a
                .iter()
                .zip(b)
                .enumerate()
                .find_map(|(position, (a, b))| a.difference(b, &format!("{place}[{position}]"))),
            (a, b) => (a != b).then(|| format!("{place}: {a} against {b}")),
        }
    }
}

/// Compact JSON text.
impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |text: &str| serde_json::to_string(text).unwrap();
        match self {
            Self::Object(members) => {
                f.write_char('{')?;
                for (position, (name, value)) in members.iter().enumerate() {
                    let comma = if position > 0 { "," } else { "" };
                    write!(f, "{comma}{}:{value}", text(name))?;
                }
                f.write_char('}')
            }
            Self::Array(elements) => {
                f.write_char('[')?;
                for (position, value) in elements.iter().enumerate() {
                    let comma = if position > 0 { "," } else { "" };
                    write!(f, "{comma}{value}")?;
                }
                f.write_char(']')
            }
            Self::Text(characters) => f.write_str(&text(characters)),
            Self::Literal(literal) => f.write_str(literal),
        }
    }
}
