//! Reads `tests/manifests/validation.yaml`: good and bad manifests, for whoever judges them.

// Each judge uses its part of this.
#![allow(dead_code)]

use std::{fs, path::Path};

use serde::Deserialize;
use serde_json::{Map, Value};

/// One manifest, and what should become of it.
pub struct Case {
    pub name: String,
    pub manifest: Value,
    /// Every refusal; none for a manifest that is accepted.
    pub refused: Vec<Expected>,
    /// A part of what is stored of an accepted one.
    pub stored: Option<Value>,
    /// Where an API server cannot judge alike.
    pub server: Option<OnServer>,
}

/// How an API server judges otherwise than the check without one.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OnServer {
    /// Why that cannot be helped.
    pub reason: String,
    /// Every refusal of the server's; none where it accepts.
    #[serde(default)]
    pub refused: Vec<Expected>,
}

impl Case {
    /// Every refusal that an API server is expected to tell.
    pub fn refused_by_server(&self) -> &[Expected] {
        self.server.as_ref().map_or(&self.refused, |server| &server.refused)
    }
}

/// A refusal, or several alike.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expected {
    /// The field; `#` stands for any index.
    pub path: String,
    /// A part of the message.
    pub message: String,
    /// How many there are.
    #[serde(default = "once")]
    pub times: usize,
}

impl Expected {
    pub fn matches(&self, path: &str, message: &str) -> bool {
        let any_index =
            |path: &str| path.split('[').map(|part| part.trim_start_matches(char::is_numeric).to_owned()).collect();
        let same = if self.path.contains('#') {
            let parts: Vec<String> = any_index(path);
            parts.join("[#") == self.path
        } else {
            path == self.path
        };
        same && message.contains(&self.message)
    }
}

/// What differs between the refusals that were told, as path and message, and those that are expected.
pub fn compare(told: &[(String, String)], expected: &[Expected]) -> Result<(), String> {
    let fits = |one: &Expected| told.iter().filter(|(path, message)| one.matches(path, message)).count();
    let missed = expected.iter().filter(|one| fits(one) != one.times);
    let mut wrong: Vec<_> = missed.map(|one| format!("not told as often as asked for: {one:?}")).collect();
    let unexpected = told.iter().filter(|(path, message)| !expected.iter().any(|one| one.matches(path, message)));
    wrong.extend(unexpected.map(|(path, message)| format!("not asked for: {path}: {message}")));
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n    ")) }
}

/// Whether everything that `part` says is in `whole`.
pub fn holds(whole: &Value, part: &Value) -> bool {
    match (whole, part) {
        (Value::Object(whole), Value::Object(part)) => {
            part.iter().all(|(name, part)| whole.get(name).is_some_and(|whole| holds(whole, part)))
        }
        (Value::Array(whole), Value::Array(part)) => {
            whole.len() == part.len() && whole.iter().zip(part).all(|(whole, part)| holds(whole, part))
        }
        _ => whole == part,
    }
}

fn once() -> usize {
    1
}

#[derive(Deserialize)]
struct Table {
    base: Map<String, Value>,
    cases: Vec<Written>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    name: String,
    base: Option<String>,
    change: Option<Value>,
    manifest: Option<Value>,
    #[serde(default)]
    refused: Vec<Expected>,
    stored: Option<Value>,
    server: Option<OnServer>,
}

/// Every case of the table.
pub fn cases() -> Vec<Case> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/manifests/validation.yaml");
    let table: Table = serde_saphyr::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    let Table { base, cases } = table;
    cases.into_iter().map(|case| case.expand(&base)).collect()
}

impl Written {
    fn expand(self, bases: &Map<String, Value>) -> Case {
        let mut manifest = match (&self.base, self.manifest) {
            (Some(base), None) => bases.get(base).unwrap_or_else(|| panic!("{}: no base {base}", self.name)).clone(),
            (None, Some(manifest)) if self.change.is_none() => manifest,
            _ => panic!("{}: give a base, with a change if need be, or a manifest", self.name),
        };
        if let Some(change) = &self.change {
            merge(&mut manifest, change);
        }
        assert!(self.refused.is_empty() || self.stored.is_none(), "{}: refused or stored", self.name);
        let manifest = written_out(manifest);
        Case { name: self.name, manifest, refused: self.refused, stored: self.stored, server: self.server }
    }
}

/// JSON Merge Patch (RFC 7396).
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let members = target.as_object_mut().unwrap();
    for (name, value) in patch {
        if value.is_null() {
            members.remove(name);
        } else {
            merge(members.entry(name.clone()).or_insert(Value::Null), value);
        }
    }
}

/// Writes out `$text`, `$list` and `$map`.
fn written_out(value: Value) -> Value {
    match value {
        Value::Array(items) => items.into_iter().map(written_out).collect(),
        Value::Object(members) => {
            if let [(name, arguments)] = &members.iter().collect::<Vec<_>>()[..]
                && name.starts_with('$')
            {
                return generated(name, arguments);
            }
            members.into_iter().map(|(name, value)| (name, written_out(value))).collect()
        }
        scalar => scalar,
    }
}

fn generated(name: &str, arguments: &Value) -> Value {
    let [first, second] = &arguments.as_array().unwrap()[..] else { panic!("{name} takes two") };
    let count = |value: &Value| usize::try_from(value.as_u64().unwrap()).unwrap();
    match name {
        "$text" => first.as_str().unwrap().repeat(count(second)).into(),
        "$list" => (0..count(first)).map(|index| written_out(numbered(second, index))).collect(),
        "$map" => (0..count(first)).map(|index| (format!("k{index}"), second.clone())).collect::<Map<_, _>>().into(),
        other => panic!("{other} is nothing that a table can say"),
    }
}

/// Puts `index` in the place of every `#`, but not inside another `$list`, which counts by itself.
fn numbered(value: &Value, index: usize) -> Value {
    match value {
        Value::String(text) => text.replace('#', &index.to_string()).into(),
        Value::Object(members) if members.contains_key("$list") => value.clone(),
        Value::Object(members) => {
            members.iter().map(|(name, value)| (name.clone(), numbered(value, index))).collect::<Map<_, _>>().into()
        }
        Value::Array(items) => items.iter().map(|item| numbered(item, index)).collect(),
        other => other.clone(),
    }
}
