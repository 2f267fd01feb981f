//! Pure: the CEL rules, evaluated by the client-side CEL of kube. A rule that cannot be evaluated refuses the manifest.

use kube_cel::{CompiledSchema, ErrorKind, ValidationError};
use serde_json::Value;

use super::refusal::{Refusal, Refusals, shown};

/// Evaluates every rule that `object` comes under, in the order of the paths.
pub(super) fn check(rules: &CompiledSchema, object: &Value, refusals: &mut Refusals) {
    let Err(failed) = kube_cel::validate_compiled(rules, object, None) else { return };
    let mut failed = failed.into_vec();
    // The library walks members in no order of its own.
    failed.sort_by_cached_key(|error| in_order(&error.field_path));
    for error in failed {
        // A rule that stumbles over what is refused already has nothing to add.
        if error.kind != ErrorKind::ValidationFailure && refusals.tell_of(&error.field_path) {
            continue;
        }
        refusals.add(Refusal::new(error.field_path.clone(), message(&error, object)));
    }
}

fn message(error: &ValidationError, object: &Value) -> String {
    if error.kind != ErrorKind::ValidationFailure {
        return format!("Invalid value: the rule {:?} cannot be evaluated: {}", error.rule, error.message);
    }
    // As on the server: a scalar is shown, an object or a list is not.
    match at(object, &error.field_path) {
        Some(value) if !value.is_object() && !value.is_array() => {
            format!("Invalid value: {}: {}", shown(value), error.message)
        }
        _ => format!("Invalid value: {}", error.message),
    }
}

/// The steps of a path, such that `x[2]` comes before `x[10]`.
fn in_order(path: &str) -> Vec<(usize, String)> {
    steps(path).map(|step| (step.parse().unwrap_or(0), step.to_owned())).collect()
}

fn steps(path: &str) -> impl Iterator<Item = &str> {
    path.split(['.', '[', ']']).filter(|step| !step.is_empty())
}

fn at<'a>(object: &'a Value, path: &str) -> Option<&'a Value> {
    steps(path).try_fold(object, |value, step| match value {
        Value::Array(items) => items.get(step.parse::<usize>().ok()?),
        other => other.get(step),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use serde_json::json;

    fn refused(rule: &str, x: &Value) -> Vec<String> {
        let rules = kube_cel::compile_schema(&json!({"type": "object", "properties": {
            "x": {"type": "object", "x-kubernetes-validations": [{"rule": rule, "message": "no"}]}}}));
        let mut refusals = Refusals::default();
        check(&rules, &json!({"x": x}), &mut refusals);
        refusals.into_result().err().unwrap_or_default().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_rule_that_cannot_be_evaluated_refuses() {
        assert!(refused("self.a == 1", &json!({"a": 1})).is_empty());
        assert_eq!(refused("self.a == 1", &json!({"a": 2})), ["x: Invalid value: no"]);
        for rule in
            ["self.a ==", "self.a", "self.absent == 1", "unheardOf(self.a)", "[self].sortBy(i, i.a).size() == 1"]
        {
            let refusals = refused(rule, &json!({"a": 1}));
            assert!(refusals.len() == 1 && refusals[0].contains("cannot be evaluated"), "{rule}: {refusals:?}");
        }
    }

    #[test]
    fn a_rule_that_stumbles_over_what_is_refused_already_is_silent() {
        let rules = kube_cel::compile_schema(&json!({"type": "object", "properties": {
            "x": {"type": "string", "x-kubernetes-validations": [
                {"rule": "duration(self) == duration('1s')"}, {"rule": "self == 'a'"}]}}}));
        let mut refusals = Refusals::default();
        refusals.add(Refusal::new("x", "should match"));
        check(&rules, &json!({"x": "b"}), &mut refusals);
        let told = refusals.into_result().unwrap_err();
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(told[1].message.contains("Invalid value: \"b\""), "{told:?}");
    }

    #[test]
    fn a_scalar_is_shown_beside_the_message() {
        assert_eq!(refused("self == 'a'", &json!("b")), ["x: Invalid value: \"b\": no"]);
    }

    #[test]
    fn refusals_come_in_the_order_of_the_list() {
        let rules = kube_cel::compile_schema(&json!({"type": "object", "properties": {
            "x": {"type": "array", "items": {"type": "integer", "x-kubernetes-validations": [{"rule": "false"}]}}}}));
        let mut refusals = Refusals::default();
        check(&rules, &json!({"x": [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]}), &mut refusals);
        let paths: Vec<_> = refusals.into_result().unwrap_err().into_iter().map(|refusal| refusal.path).collect();
        assert_eq!(paths[1..3], ["x[1]", "x[2]"]);
        assert_eq!(paths[10], "x[10]");
    }
}
