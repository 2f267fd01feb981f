//! Pure: from a manifest as written to the object that an API server would go on with.
//!
//! A null stands for an absent field, as no field of ours is nullable. A member that the schema does not know is refused. An
//! absent field gets its default, and so does what lies in it. A whole number written with a point is an integer.

use serde_json::{Map, Number, Value};

use super::{
    refusal::{Refusal, Refusals, item, member},
    schema::{Schema, Shape},
};

/// Beyond this a double no longer tells one integer from the next.
const LARGEST_EXACT: f64 = 9_007_199_254_740_991.0;

/// Completes `value` in place. Values of another type than the schema's are left for `values` to refuse.
pub(super) fn complete(schema: &Schema, value: &mut Value, path: &str, refusals: &mut Refusals) {
    match value {
        Value::Object(members) if schema.shape == Shape::Object => complete_members(schema, members, path, refusals),
        Value::Array(items) => {
            for (index, value) in items.iter_mut().enumerate() {
                if let Some(schema) = &schema.items {
                    complete(schema, value, &item(path, index), refusals);
                }
            }
        }
        Value::Number(number) if schema.shape == Shape::Integer => {
            if let Some(whole) = whole(number) {
                *number = whole;
            }
        }
        _ => {}
    }
}

fn complete_members(schema: &Schema, members: &mut Map<String, Value>, path: &str, refusals: &mut Refusals) {
    members.retain(|name, value| {
        let known = schema.properties.contains_key(name) || schema.additional_properties.is_some();
        if !known {
            let path = member(path, name);
            let message = format!("unknown field {path:?}");
            refusals.add_shapeless(Refusal::new(path, message));
        }
        known && !value.is_null()
    });
    for (name, schema) in &schema.properties {
        if let (Some(default), false) = (&schema.default, members.contains_key(name)) {
            members.insert(name.clone(), default.clone());
        }
    }
    for (name, value) in members {
        if let Some(schema) = schema.properties.get(name).or(schema.additional_properties.as_deref()) {
            complete(schema, value, &member(path, name), refusals);
        }
    }
}

/// The integer that a double such as `5.0` is.
fn whole(number: &Number) -> Option<Number> {
    let double = number.as_f64().filter(|_| number.is_f64())?;
    (double.fract() == 0.0 && double.abs() <= LARGEST_EXACT).then(|| Number::from(double as i64))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use serde_json::json;

    fn completed(mut value: Value) -> (Value, Vec<String>) {
        let schema: Schema = serde_json::from_value(json!({"type": "object", "properties": {
            "count": {"type": "integer", "default": 1},
            "inner": {"type": "object", "default": {}, "properties": {"mode": {"type": "string", "default": "A"}}},
            "list": {"type": "array", "items": {"type": "object", "properties": {"key": {"type": "string", "default": "k"}}}},
            "labels": {"type": "object", "additionalProperties": {"type": "string"}},
        }}))
        .unwrap();
        let mut refusals = Refusals::default();
        complete(&schema, &mut value, "spec", &mut refusals);
        let refusals = refusals.into_result().err().unwrap_or_default();
        (value, refusals.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn defaults_are_filled_in_at_every_depth() {
        let (value, refusals) = completed(json!({"list": [{}, {"key": "x"}]}));
        assert_eq!(value, json!({"count": 1, "inner": {"mode": "A"}, "list": [{"key": "k"}, {"key": "x"}]}));
        assert!(refusals.is_empty());
    }

    #[test]
    fn a_null_member_is_dropped_and_a_null_item_stays_to_be_refused() {
        let (value, _) = completed(json!({"count": null, "labels": {"a": null, "b": "c"}, "list": [null]}));
        assert_eq!(value, json!({"count": 1, "inner": {"mode": "A"}, "labels": {"b": "c"}, "list": [null]}));
    }

    #[test]
    fn an_unknown_member_is_told_by_its_path_and_left_out() {
        let (value, refusals) =
            completed(json!({"cuont": 2, "list": [{"key": "k", "kye": 1}], "labels": {"any": "thing"}}));
        assert_eq!(value["list"], json!([{"key": "k"}]));
        assert_eq!(
            refusals,
            ["spec.cuont: unknown field \"spec.cuont\"", "spec.list[0].kye: unknown field \"spec.list[0].kye\""]
        );
    }

    #[test]
    fn a_whole_number_with_a_point_is_an_integer_and_no_other_is_touched() {
        assert_eq!(completed(json!({"count": 5.0})).0["count"].to_string(), "5");
        assert_eq!(completed(json!({"count": 5.5})).0["count"], json!(5.5));
        assert_eq!(completed(json!({"count": 1e300})).0["count"], json!(1e300));
    }
}
