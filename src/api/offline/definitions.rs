//! Pure: the two definitions, read once, and which of them a manifest comes under.

use std::sync::LazyLock;

use kube_cel::CompiledSchema;
use serde_json::{Value, json};

use super::{metadata, refusal::Refusal, schema::Schema};
use crate::api::{API_VERSION, crd};

/// Which of the two resources.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Destination,
    Activation,
}

impl Kind {
    const ALL: [Self; 2] = [Self::Destination, Self::Activation];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Destination => "KinesisDestination",
            Self::Activation => "AudienceActivation",
        }
    }
}

/// What a manifest of one kind is checked against.
#[derive(Debug)]
pub(super) struct Definition {
    pub(super) kind: Kind,
    /// Of the whole manifest.
    pub(super) schema: Schema,
    pub(super) rules: CompiledSchema,
}

static DEFINITIONS: LazyLock<Result<[Definition; 2], String>> = LazyLock::new(|| {
    let [destination, activation] = crd::definitions().map_err(|error| error.to_string())?;
    Ok([read(Kind::Destination, &destination)?, read(Kind::Activation, &activation)?])
});

fn read(kind: Kind, definition: &Value) -> Result<Definition, String> {
    let derived = crd::schema_of(definition).ok_or("a definition without a schema")?;
    let rules = kube_cel::compile_schema(derived);
    let mut whole = derived.clone();
    whole["required"] = json!(["apiVersion", "kind", "metadata", "spec"]);
    let properties = &mut whole["properties"];
    properties["apiVersion"] = json!({"type": "string"});
    properties["kind"] = json!({"type": "string"});
    properties["metadata"] = metadata::schema();
    // It is for what a server stores; a manifest that says nothing of its status has none.
    if let Some(status) = properties["status"].as_object_mut() {
        status.remove("default");
    }
    let schema = serde_json::from_value(whole).map_err(|error| error.to_string())?;
    Ok(Definition { kind, schema, rules })
}

/// The definition that `apiVersion` and `kind` name.
pub(super) fn find(manifest: &Value) -> Result<&'static Definition, Vec<Refusal>> {
    let definitions = DEFINITIONS
        .as_ref()
        .map_err(|error| vec![Refusal::new("", format!("the definitions of this program cannot be read: {error}"))])?;
    if !manifest.is_object() {
        return Err(vec![Refusal::new("", "a manifest is an object with apiVersion, kind, metadata and spec")]);
    }
    let mut refusals = Vec::new();
    refusals.extend(one_of(manifest, "apiVersion", &[API_VERSION]));
    refusals.extend(one_of(manifest, "kind", &Kind::ALL.map(Kind::as_str)));
    match definitions.iter().find(|definition| manifest["kind"] == definition.kind.as_str()) {
        Some(definition) if refusals.is_empty() => Ok(definition),
        _ => Err(refusals),
    }
}

fn one_of(manifest: &Value, name: &str, supported: &[&str]) -> Option<Refusal> {
    match manifest.get(name) {
        None | Some(Value::Null) => Some(Refusal::required(name)),
        Some(Value::String(text)) if supported.contains(&text.as_str()) => None,
        Some(value) => Some(Refusal::unsupported(name, value, supported.iter().copied())),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn compile_errors(rules: &CompiledSchema) -> Vec<String> {
        let own = rules.compilation_errors().into_iter().map(ToString::to_string);
        let children =
            rules.properties.values().chain(rules.items.as_deref()).chain(rules.additional_properties.as_deref());
        own.chain(children.flat_map(compile_errors)).collect()
    }

    #[test]
    fn both_definitions_are_read_and_every_rule_compiles() {
        for definition in DEFINITIONS.as_ref().unwrap() {
            assert_eq!(compile_errors(&definition.rules), Vec::<String>::new());
        }
    }
}
