//! The table of good and bad manifests, judged by the check without a server; and the table itself, judged by whether it
//! breaks every rule and every bound of the definitions.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, unreachable_pub)]

#[path = "support/manifest_table.rs"]
mod manifest_table;

use std::collections::BTreeSet;

use activation_operator::api::{crd, offline};
use manifest_table::{Case, cases, compare, holds};
use serde_json::Value;

/// What differs between what was found and what the case asks for.
fn judge(case: &Case) -> Result<(), String> {
    let refusals = match offline::check(&case.manifest) {
        Ok(resource) => {
            let stored = stored(&resource);
            let same = case.stored.as_ref().is_none_or(|expected| holds(&stored, expected));
            return match (case.refused.is_empty(), same) {
                (true, true) => Ok(()),
                (true, false) => Err(format!("stored {stored}")),
                (false, _) => Err("accepted".to_owned()),
            };
        }
        Err(refusals) => refusals,
    };
    let told: Vec<_> = refusals.into_iter().map(|refusal| (refusal.path, refusal.message)).collect();
    compare(&told, &case.refused)
}

fn stored(resource: &offline::Resource) -> Value {
    match resource {
        offline::Resource::Destination(destination) => serde_json::to_value(destination).unwrap(),
        offline::Resource::Activation(activation) => serde_json::to_value(activation).unwrap(),
    }
}

#[test]
fn every_manifest_of_the_table_is_judged_as_it_says() {
    let cases = cases();
    assert!(cases.len() > 80, "only {} cases were found", cases.len());
    let wrong: Vec<_> =
        cases.iter().filter_map(|case| Some(format!("{}:\n    {}", case.name, judge(case).err()?))).collect();
    assert!(wrong.is_empty(), "{} of {} are judged otherwise:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
    let names: BTreeSet<_> = cases.iter().map(|case| &case.name).collect();
    assert_eq!(names.len(), cases.len(), "two cases have the same name");
    for case in &cases {
        let explained = case.server.as_ref().is_none_or(|server| server.reason.len() > 20);
        assert!(explained, "{}: say why an API server must judge otherwise", case.name);
    }
}

#[test]
fn a_case_that_asks_for_something_else_is_noticed() {
    let mut cases = cases();
    let good = cases.iter().position(|case| case.refused.is_empty() && case.stored.is_some()).unwrap();
    let bad = cases.iter().position(|case| !case.refused.is_empty()).unwrap();
    cases[good].stored = Some(serde_json::json!({"spec": {"suspend": "perhaps"}}));
    assert!(judge(&cases[good]).unwrap_err().contains("stored"));
    let refused = std::mem::take(&mut cases[bad].refused);
    assert!(judge(&cases[bad]).unwrap_err().contains("not asked for"));
    cases[good].stored = None;
    cases[good].refused = refused;
    assert!(judge(&cases[good]).unwrap_err().contains("accepted"));
}

/// One thing that a definition forbids: where, and what a refusal says.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Constraint {
    kind: String,
    path: String,
    message: String,
    /// A CEL rule, with its own message.
    is_rule: bool,
}

/// Everything that a schema and all below it forbid, but types and unknown fields.
fn constraints(kind: &str, schema: &Value, path: &str, found: &mut Vec<Constraint>) {
    for rule in schema["x-kubernetes-validations"].as_array().into_iter().flatten() {
        let message = rule["message"].as_str().unwrap().to_owned();
        found.push(Constraint { kind: kind.to_owned(), path: path.to_owned(), message, is_rule: true });
    }
    let mut add = |path: &str, message: String| {
        found.push(Constraint { kind: kind.to_owned(), path: path.to_owned(), message, is_rule: false });
    };
    for (keyword, message) in [
        ("maxLength", "Too long: may not be more than #"),
        ("minLength", "should be at least # chars long"),
        ("maximum", "should be less than or equal to #"),
        ("minimum", "should be greater than or equal to #"),
        ("maxItems", "must have at most # items"),
        ("maxProperties", "must have at most # items"),
        ("minItems", "should have at least # items"),
    ] {
        if let Some(bound) = schema[keyword].as_i64() {
            add(path, message.replace('#', &bound.to_string()));
        }
    }
    for (keyword, message) in
        [("pattern", "should match"), ("enum", "nsupported value"), ("format", "must be of type date-time")]
    {
        if !schema[keyword].is_null() && schema["format"] != "int64" {
            add(path, message.to_owned());
        }
    }
    for name in schema["required"].as_array().into_iter().flatten() {
        add(&format!("{path}.{}", name.as_str().unwrap()), "Required value".to_owned());
    }
    if !schema["x-kubernetes-list-map-keys"].is_null() {
        add(&format!("{path}[#]"), "Duplicate value".to_owned());
    }
    for (name, child) in schema["properties"].as_object().into_iter().flatten() {
        constraints(kind, child, &format!("{path}.{name}"), found);
    }
    if schema["items"].is_object() {
        constraints(kind, &schema["items"], &format!("{path}[#]"), found);
    }
    if schema["additionalProperties"].is_object() {
        constraints(kind, &schema["additionalProperties"], &format!("{path}.*"), found);
    }
}

/// Whether the case breaks the constraint, as the check sees it: the rule's own message, at the rule's own place.
fn breaks(case: &Case, constraint: &Constraint) -> bool {
    let place = |path: &str| {
        let indexed: Vec<_> = path.split('[').map(|part| part.trim_start_matches(char::is_numeric)).collect();
        indexed.join("[#")
    };
    let at = |path: &str| match constraint.path.strip_suffix('*') {
        Some(map) => place(path).strip_prefix(map).is_some_and(|key| !key.contains('.')),
        None => place(path) == constraint.path,
    };
    case.manifest["kind"] == constraint.kind.as_str()
        && offline::check(&case.manifest)
            .is_err_and(|refusals| refusals.iter().any(|r| at(&r.path) && r.message.contains(&constraint.message)))
}

#[test]
fn the_table_breaks_every_rule_and_every_bound_of_both_definitions() {
    let mut found = Vec::new();
    for definition in crd::definitions().unwrap() {
        let kind = definition["spec"]["names"]["kind"].as_str().unwrap().to_owned();
        let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
        constraints(&kind, schema, "spec", &mut found);
    }
    let rules = found.iter().filter(|one| one.is_rule).count();
    assert_eq!(rules, crd::crd_yaml().unwrap().matches(" rule: ").count(), "a rule stands where nobody looked");
    assert!(rules >= 30 && found.len() > rules + 100, "only {rules} rules and {} constraints were found", found.len());
    let bad: Vec<_> = cases().into_iter().filter(|case| !case.refused.is_empty()).collect();
    let unbroken: Vec<_> = found.iter().filter(|one| !bad.iter().any(|case| breaks(case, one))).collect();
    assert!(unbroken.is_empty(), "no case breaks {unbroken:#?}");
}

#[test]
fn every_good_manifest_stays_as_it_is_when_it_is_checked_again() {
    for case in cases().into_iter().filter(|case| case.refused.is_empty()) {
        let once = stored(&offline::check(&case.manifest).unwrap());
        let twice = stored(&offline::check(&once).unwrap_or_else(|refusals| panic!("{}: {refusals:?}", case.name)));
        assert_eq!(once, twice, "{}", case.name);
    }
}
