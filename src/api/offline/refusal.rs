//! Types: what is wrong with a manifest, in an API server's words.

use std::fmt;

use serde_json::Value;

/// So much of a value is shown.
const SHOWN: usize = 256;

/// One thing that is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The field, as in `spec.audiences[1].id`; empty where the manifest as a whole is meant.
    pub path: String,
    /// What is wrong with it.
    pub message: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() { f.write_str(&self.message) } else { write!(f, "{}: {}", self.path, self.message) }
    }
}

impl Refusal {
    /// Of the field at `path`.
    pub(super) fn new(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { path: path.into(), message: message.into() }
    }

    /// A field is missing.
    pub(super) fn required(path: impl Into<String>) -> Self {
        Self::new(path, "Required value")
    }

    /// A value breaks a bound, a pattern, a format.
    pub(super) fn invalid(path: &str, value: &Value, detail: impl fmt::Display) -> Self {
        Self::new(path, format!("Invalid value: {}: {detail}", shown(value)))
    }

    /// A value is none of the few that there are.
    pub(super) fn unsupported<'a>(path: &str, value: &Value, supported: impl Iterator<Item = &'a str>) -> Self {
        let supported: Vec<_> = supported.map(|value| format!("{value:?}")).collect();
        Self::new(path, format!("Unsupported value: {}: supported values: {}", shown(value), supported.join(", ")))
    }
}

/// A value as a message shows it, cut where it is long.
pub(super) fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => match text.char_indices().nth(SHOWN) {
            Some((end, _)) => format!("{:?}...", &text[..end]),
            None => format!("{text:?}"),
        },
        // A server writes a whole double without its point.
        Value::Number(number) => match number.as_f64().filter(|double| number.is_f64() && double.fract() == 0.0) {
            Some(whole) => format!("{whole:.0}"),
            None => number.to_string(),
        },
        other => other.to_string(),
    }
}

/// What has been found so far.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    found: Vec<Refusal>,
    shapeless: bool,
}

impl Refusals {
    /// Something is wrong.
    pub(super) fn add(&mut self, refusal: Refusal) {
        self.found.push(refusal);
    }

    /// Something is wrong with the shape: what is missing, misspelt, too much, of another type or none of the choices is
    /// nothing that a rule could look at.
    pub(super) fn add_shapeless(&mut self, refusal: Refusal) {
        self.shapeless = true;
        self.found.push(refusal);
    }

    /// Whether something is wrong with the field at `path`.
    pub(super) fn tell_of(&self, path: &str) -> bool {
        self.found.iter().any(|refusal| refusal.path == path)
    }

    /// As an API server does, rules run only over what has the right shape.
    pub(super) fn keep_rules_from_running(&self) -> bool {
        self.shapeless
    }

    /// `Ok` where nothing was found.
    pub(super) fn into_result(self) -> Result<(), Vec<Refusal>> {
        if self.found.is_empty() { Ok(()) } else { Err(self.found) }
    }
}

/// The path of a member.
pub(super) fn member(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

/// The path of an item.
pub(super) fn item(path: &str, index: usize) -> String {
    format!("{path}[{index}]")
}
