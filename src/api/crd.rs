//! Pure: from the derived types to the two `CustomResourceDefinition`s, as `activation-operator crd` prints them.
//!
//! What the derive cannot say is added here, and what it says too much is taken away.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use serde_json::{Map, Value, json};

use super::{AudienceActivation, KinesisDestination};

/// Why a definition cannot be printed: a defect of the types, which the tests would show.
#[derive(Debug, thiserror::Error)]
pub enum CrdError {
    /// The derived definition is no JSON, or what became of it is no definition.
    #[error("the derived definition cannot be read: {0}")]
    Json(#[from] serde_json::Error),
    /// It cannot be written as YAML.
    #[error("the definition cannot be written as YAML: {0}")]
    Yaml(#[from] serde_saphyr::SerializeError),
}

/// Both definitions, typed: of destinations, then of activations.
pub fn crds() -> Result<[CustomResourceDefinition; 2], CrdError> {
    let [destination, activation] = definitions()?;
    Ok([serde_json::from_value(destination)?, serde_json::from_value(activation)?])
}

/// Both definitions as JSON: of destinations, then of activations.
pub fn definitions() -> Result<[Value; 2], CrdError> {
    Ok([refine(&KinesisDestination::crd())?, refine(&AudienceActivation::crd())?])
}

/// Both definitions as one YAML stream of two documents.
pub fn crd_yaml() -> Result<String, CrdError> {
    let files = crd_files()?;
    Ok(files.map(|(_, text)| format!("---\n{text}")).concat())
}

/// Each definition as the text of its file below `crds/`.
pub fn crd_files() -> Result<[(&'static str, String); 2], CrdError> {
    let [destination, activation] = definitions()?;
    Ok([("kinesisdestinations.yaml", to_yaml(&destination)?), ("audienceactivations.yaml", to_yaml(&activation)?)])
}

fn to_yaml(definition: &Value) -> Result<String, CrdError> {
    Ok(format!("# Generated from src/api by `make generate`.\n{}", serde_saphyr::to_string(definition)?))
}

/// The `openAPIV3Schema` of a definition's only version.
pub(crate) fn schema_of(definition: &Value) -> Option<&Value> {
    definition.pointer("/spec/versions/0/schema/openAPIV3Schema")
}

fn refine(derived: &CustomResourceDefinition) -> Result<Value, CrdError> {
    let mut definition = serde_json::to_value(derived)?;
    if let Some(schema) = definition.pointer_mut("/spec/versions/0/schema/openAPIV3Schema") {
        simplify(schema);
        if let Some(status) = schema.pointer_mut("/properties/status").and_then(Value::as_object_mut) {
            // An object that nobody has looked at yet must not read as current.
            status.insert("default".to_owned(), json!({ "observedGeneration": -1 }));
        }
    }
    Ok(sorted(definition))
}

/// Takes out of a schema, and of all below it, what the derive adds for JSON Schema's sake.
fn simplify(schema: &mut Value) {
    let Some(node) = schema.as_object_mut() else { return };
    // A null is as good as an absent field: not nullable, the API server drops it or puts the default in its place, and
    // no rule has to tell the two apart.
    node.remove("nullable");
    // The derive knows formats that Kubernetes does not (uint32, uint8); the bounds stand beside them.
    if node.get("format").and_then(Value::as_str).is_some_and(|format| !matches!(format, "date-time" | "int64")) {
        node.remove("format");
    }
    for bound in ["minimum", "maximum"] {
        if let Some(whole) = node.get(bound).and_then(Value::as_f64).filter(|number| number.fract() == 0.0) {
            node.insert(bound.to_owned(), json!(whole as i64));
        }
    }
    for keyword in ["properties", "items", "additionalProperties"] {
        match node.get_mut(keyword) {
            Some(Value::Object(properties)) if keyword == "properties" => properties.values_mut().for_each(simplify),
            Some(child) => simplify(child),
            None => {}
        }
    }
    if node.get("description").and_then(Value::as_str).is_some_and(|text| text.contains('\n')) {
        let text = node.get("description").and_then(Value::as_str).unwrap_or_default();
        let joined = text.replace('\n', " ");
        node.insert("description".to_owned(), Value::String(joined));
    }
}

/// The same value with the members of every object in alphabetical order, however `serde_json` keeps them.
fn sorted(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            let mut members: Vec<_> = members.into_iter().map(|(key, member)| (key, sorted(member))).collect();
            members.sort_by(|(left, _), (right, _)| left.cmp(right));
            Value::Object(members.into_iter().collect::<Map<_, _>>())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(sorted).collect()),
        scalar => scalar,
    }
}
