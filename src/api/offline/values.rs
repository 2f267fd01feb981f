//! Pure: types, required fields, enums, patterns, formats, bounds: everything that a schema says of one value.

use std::sync::LazyLock;

use regex::Regex;
use serde_json::{Map, Value};

use super::{
    refusal::{Refusal, Refusals, item, member},
    schema::{Format, Schema, Shape},
};

/// What an API server takes for a `date-time`, which is wider than RFC 3339; the pattern beside it is narrower.
static DATE_TIME: LazyLock<Option<Regex>> = LazyLock::new(|| {
    let time = "([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]";
    Regex::new(&format!("^([0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}})[Tt]{time}(.[0-9]+)?([Zz]|[+-][0-9]{{2}}:[0-9]{{2}})$"))
        .ok()
});

/// Checks `value` and all that lies in it.
pub(super) fn check(schema: &Schema, value: &Value, path: &str, refusals: &mut Refusals) {
    let found = Shape::of(value);
    let fits = found == Some(schema.shape) || (found, schema.shape) == (Some(Shape::Integer), Shape::Number);
    if !fits {
        let found = found.map_or("null", Shape::as_str);
        let detail = format!("{path} in body must be of type {}: {found:?}", schema.shape.as_str());
        refusals.add_shapeless(Refusal::invalid(path, &Value::from(found), detail));
        // What is of another type is none of the choices either, and a server says both; but not of a null.
        if !value.is_null() {
            check_choice(schema, value, path, refusals);
        }
        return;
    }
    match value {
        Value::Object(members) => check_object(schema, members, path, refusals),
        Value::Array(items) => check_array(schema, items, path, refusals),
        Value::String(text) => check_string(schema, value, text, path, refusals),
        Value::Number(number) => check_number(schema, value, number.as_f64(), path, refusals),
        Value::Null | Value::Bool(_) => {}
    }
}

fn check_object(schema: &Schema, members: &Map<String, Value>, path: &str, refusals: &mut Refusals) {
    if let Some(most) = schema.max_properties.filter(|most| members.len() > *most) {
        refusals.add_shapeless(too_many(path, members.len(), most));
    }
    for name in schema.required.iter().filter(|name| !members.contains_key(*name)) {
        refusals.add_shapeless(Refusal::required(member(path, name)));
    }
    for (name, value) in members {
        if let Some(schema) = schema.properties.get(name).or(schema.additional_properties.as_deref()) {
            check(schema, value, &member(path, name), refusals);
        }
    }
}

fn check_array(schema: &Schema, items: &[Value], path: &str, refusals: &mut Refusals) {
    if let Some(most) = schema.max_items.filter(|most| items.len() > *most) {
        refusals.add_shapeless(too_many(path, items.len(), most));
    }
    if let Some(least) = schema.min_items.filter(|least| items.len() < *least) {
        let detail = format!("{path} in body should have at least {least} items");
        refusals.add(Refusal::invalid(path, &Value::from(items.len()), detail));
    }
    for (index, value) in items.iter().enumerate() {
        if let Some(schema) = &schema.items {
            check(schema, value, &item(path, index), refusals);
        }
    }
}

fn too_many(path: &str, found: usize, most: usize) -> Refusal {
    Refusal::new(path, format!("Too many: {found}: must have at most {most} items"))
}

fn check_string(schema: &Schema, value: &Value, text: &str, path: &str, refusals: &mut Refusals) {
    let length = text.chars().count();
    // The first of these that is broken is told, and no other.
    if let Some(most) = schema.max_length.filter(|most| length > *most) {
        refusals.add_shapeless(Refusal::new(path, format!("Too long: may not be more than {most} characters")));
    } else if let Some(least) = schema.min_length.filter(|least| length < *least) {
        let detail = format!("{path} in body should be at least {least} chars long");
        refusals.add(Refusal::invalid(path, value, detail));
    } else if let Some(pattern) = schema.pattern.as_ref().filter(|pattern| !pattern.is_match(text)) {
        refusals.add(Refusal::invalid(path, value, format!("{path} in body should match '{pattern}'")));
    }
    if schema.format == Some(Format::DateTime) && !is_date_time(text) {
        let shown = super::refusal::shown(value);
        let detail = format!("{path} in body must be of type date-time: {shown}");
        refusals.add_shapeless(Refusal::invalid(path, value, detail));
    }
    check_choice(schema, value, path, refusals);
}

fn check_choice(schema: &Schema, value: &Value, path: &str, refusals: &mut Refusals) {
    if !schema.choices.is_empty() && !schema.choices.iter().any(|choice| value == choice) {
        refusals.add_shapeless(Refusal::unsupported(path, value, schema.choices.iter().map(String::as_str)));
    }
}

fn is_date_time(text: &str) -> bool {
    let found = DATE_TIME.as_ref().and_then(|shape| shape.captures(text));
    found.and_then(|found| found.get(1)).is_some_and(|date| date.as_str().parse::<jiff::civil::Date>().is_ok())
}

fn check_number(schema: &Schema, value: &Value, number: Option<f64>, path: &str, refusals: &mut Refusals) {
    let Some(number) = number else { return };
    if let Some(most) = schema.maximum.filter(|most| number > *most as f64) {
        refusals.add(Refusal::invalid(path, value, format!("{path} in body should be less than or equal to {most}")));
    }
    if let Some(least) = schema.minimum.filter(|least| number < *least as f64) {
        refusals.add(Refusal::invalid(
            path,
            value,
            format!("{path} in body should be greater than or equal to {least}"),
        ));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use serde_json::json;

    fn refused(schema: Value, value: &Value) -> Vec<String> {
        let schema: Schema = serde_json::from_value(schema).unwrap();
        let mut refusals = Refusals::default();
        check(&schema, value, "spec.x", &mut refusals);
        refusals.into_result().err().unwrap_or_default().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn each_type_is_told_apart() {
        let values = [
            (json!({}), "object"),
            (json!([]), "array"),
            (json!("a"), "string"),
            (json!(1), "integer"),
            (json!(1.5), "number"),
            (json!(true), "boolean"),
            (json!(null), "null"),
        ];
        for (value, name) in &values {
            for wanted in ["object", "array", "string", "integer", "number", "boolean"] {
                let refusals = refused(json!({"type": wanted}), value);
                if wanted == *name || (wanted, *name) == ("number", "integer") {
                    assert!(refusals.is_empty(), "{refusals:?}");
                } else {
                    let text =
                        format!("spec.x: Invalid value: {name:?}: spec.x in body must be of type {wanted}: {name:?}");
                    assert_eq!(refusals, [text]);
                }
            }
        }
    }

    #[test]
    fn lengths_count_characters_and_bounds_are_included() {
        let bounded = || json!({"type": "string", "minLength": 2, "maxLength": 3});
        assert!(refused(bounded(), &json!("äöü")).is_empty());
        assert_eq!(refused(bounded(), &json!("äöüß")), ["spec.x: Too long: may not be more than 3 characters"]);
        assert_eq!(
            refused(bounded(), &json!("ä")),
            ["spec.x: Invalid value: \"ä\": spec.x in body should be at least 2 chars long"]
        );
        let ranged = || json!({"type": "integer", "minimum": 1, "maximum": 10});
        assert!(refused(ranged(), &json!(1)).is_empty() && refused(ranged(), &json!(10)).is_empty());
        assert_eq!(
            refused(ranged(), &json!(0)),
            ["spec.x: Invalid value: 0: spec.x in body should be greater than or equal to 1"]
        );
        let listed = || json!({"type": "array", "items": {"type": "integer"}, "minItems": 1, "maxItems": 2});
        assert_eq!(refused(listed(), &json!([1, 2, 3])), ["spec.x: Too many: 3: must have at most 2 items"]);
        assert_eq!(
            refused(listed(), &json!([])),
            ["spec.x: Invalid value: 0: spec.x in body should have at least 1 items"]
        );
    }

    #[test]
    fn a_date_time_is_what_a_server_takes_for_one() {
        let schema = || json!({"type": "string", "format": "date-time"});
        for good in [
            "2026-01-02T03:04:05Z",
            "2026-01-02t03:04:05.123456z",
            "2024-02-29T23:59:59+14:00",
            "2026-01-02T03:04:05,5Z",
        ] {
            assert!(refused(schema(), &json!(good)).is_empty(), "{good}");
        }
        for bad in [
            "",
            "2026-01-02",
            "2026-01-02 03:04:05Z",
            "2026-01-02T03:04:05",
            "2026-01-02T03:04:05+0000",
            "2026-02-30T00:00:00Z",
            "2026-01-02T25:00:00Z",
            "2026-01-02T03:04:60Z",
        ] {
            assert_eq!(refused(schema(), &json!(bad)).len(), 1, "{bad}");
        }
    }

    #[test]
    fn a_long_value_is_shown_cut() {
        let refusals = refused(json!({"type": "string", "pattern": "^b"}), &json!("ä".repeat(100_000)));
        assert!(refusals[0].len() < 700 && refusals[0].contains("ää\"..."), "{}", refusals[0]);
    }
}
