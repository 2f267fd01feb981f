//! Pure: the entries of a list map are objects, and no two have the same keys.

use std::collections::HashMap;

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
    // A null is told as one by its type; the first of another type ends this check.
    let stranger = items.iter().enumerate().find(|(_, entry)| !entry.is_object() && !entry.is_null());
    if let Some((index, entry)) = stranger {
        refusals.add(Refusal::invalid(&item(path, index), entry, "must be an object for an array of list-type map"));
        return;
    }
    let mut names: Vec<_> = keys.iter().collect();
    names.sort();
    let mut seen = HashMap::new();
    for (index, entry) in items.iter().enumerate() {
        let key: Map<_, _> =
            names.iter().filter_map(|name| Some(((*name).clone(), entry.get(*name)?.clone()))).collect();
        let key = Value::Object(key).to_string();
        let times = seen.entry(key.clone()).or_insert(0);
        *times += 1;
        // A third is not told.
        if *times == 2 {
            refusals.add(Refusal::new(item(path, index), format!("Duplicate value: {key}")));
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use serde_json::json;

    fn refused(list: &Value) -> Vec<String> {
        let schema: Schema = serde_json::from_value(json!({
            "type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["namespace", "id"],
            "items": {"type": "object"},
        }))
        .unwrap();
        let mut refusals = Refusals::default();
        check(&schema, list, "spec.list", &mut refusals);
        refusals.into_result().err().unwrap_or_default().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_key_is_all_of_its_members_and_the_first_repeat_is_told() {
        let list = json!([{"id": "a", "namespace": "n"}, {"id": "a", "namespace": "m"}, {"namespace": "n", "id": "a"},
            {"id": "a"}, {"id": "a", "namespace": "n", "more": 1}, {}, null]);
        let text = "spec.list[2]: Duplicate value: {\"id\":\"a\",\"namespace\":\"n\"}";
        assert_eq!(refused(&list), [text, "spec.list[6]: Duplicate value: {}"]);
    }

    #[test]
    fn the_first_entry_that_is_no_object_is_told_and_nothing_else() {
        let list = json!([null, {"id": "a"}, {"id": "a"}, 7.0, "x"]);
        assert_eq!(refused(&list), ["spec.list[3]: Invalid value: 7: must be an object for an array of list-type map"]);
    }
}
