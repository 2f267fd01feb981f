//! Pure: no two entries of a list map have the same keys.

use std::collections::HashSet;

use serde_json::{Map, Value};

use super::{
    refusal::{Refusal, Refusals, item, member},
    schema::Schema,
};

/// Checks every list map in `value`. Runs after defaulting, which fills in keys that have a default.
pub(super) fn check(schema: &Schema, value: &Value, path: &str, refusals: &mut Refusals) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                if let Some(schema) = schema.properties.get(name).or(schema.additional_properties.as_deref()) {
                    check(schema, value, &member(path, name), refusals);
                }
            }
        }
        Value::Array(items) => {
            if !schema.map_keys.is_empty() {
                check_entries(&schema.map_keys, items, path, refusals);
            }
            for (index, value) in items.iter().enumerate() {
                if let Some(schema) = &schema.items {
                    check(schema, value, &item(path, index), refusals);
                }
            }
        }
        _ => {}
    }
}

fn check_entries(keys: &[String], items: &[Value], path: &str, refusals: &mut Refusals) {
    let mut seen = HashSet::new();
    for (index, entry) in items.iter().enumerate().filter(|(_, entry)| entry.is_object()) {
        let mut names: Vec<_> = keys.iter().collect();
        names.sort();
        let key: Map<_, _> =
            names.into_iter().filter_map(|name| Some((name.clone(), entry.get(name)?.clone()))).collect();
        let key = Value::Object(key).to_string();
        if seen.contains(&key) {
            refusals.add(Refusal::new(item(path, index), format!("Duplicate value: {key}")));
        }
        seen.insert(key);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use serde_json::json;

    #[test]
    fn a_key_is_all_of_its_members_and_every_repeat_is_told() {
        let schema: Schema = serde_json::from_value(json!({
            "type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["namespace", "id"],
            "items": {"type": "object"},
        }))
        .unwrap();
        let mut refusals = Refusals::default();
        let list = json!([{"id": "a", "namespace": "n"}, {"id": "a", "namespace": "m"}, {"namespace": "n", "id": "a"},
            {"id": "a"}, {"id": "a", "namespace": "n", "more": 1}, 7, 7]);
        check(&schema, &list, "spec.list", &mut refusals);
        let told: Vec<_> = refusals.into_result().unwrap_err().iter().map(ToString::to_string).collect();
        let text = "Duplicate value: {\"id\":\"a\",\"namespace\":\"n\"}";
        assert_eq!(told, [format!("spec.list[2]: {text}"), format!("spec.list[4]: {text}")]);
    }
}
