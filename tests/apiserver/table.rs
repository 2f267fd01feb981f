//! The table of good and bad manifests, judged by the server.

use serde_json::{Value, json};

use crate::{
    cluster,
    manifest_table::{Case, cases, compare, holds},
    place,
    support::controlplane::client::Answer,
};

/// Said beside refusals of the shape. It refuses nothing by itself, and the check without a server does not say it.
const RULES_NOT_CHECKED: &str = "Invalid value: null: some validation rules were not checked because the object was invalid; \
                                 correct the existing errors to complete validation";

/// What a server refused, as path and message.
pub(crate) fn refusals(answer: &Answer) -> Vec<(String, String)> {
    let message = answer.body["message"].as_str().or(answer.body.as_str()).unwrap();
    if let Some((_, unknown)) = message.split_once("strict decoding error: ") {
        // The only refusals without causes: all in one line, each with its path.
        let each = unknown.split(", ").map(|error| {
            let path = error.split('"').nth(1).unwrap_or_default();
            (path.to_owned(), error.to_owned())
        });
        return each.collect();
    }
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    match answer.body["details"]["causes"].as_array() {
        Some(causes) => {
            let told = causes.iter().map(|cause| (text(&cause["field"]), text(&cause["message"])));
            told.filter(|(_, message)| message != RULES_NOT_CHECKED).collect()
        }
        None => vec![(String::new(), message.to_owned())],
    }
}

/// What differs between the server's judgement and the table's.
fn judge(case: &Case) -> Result<(), String> {
    let path = format!("{}?dryRun=All&fieldValidation=Strict", place(&case.manifest));
    let answer = cluster().client().post(&path, &case.manifest);
    let told = if answer.status == 201 { Vec::new() } else { refusals(&answer) };
    if answer.status != 201 && told.is_empty() {
        return Err(format!("refused without a reason: {}", answer.body));
    }
    compare(&told, case.refused_by_server())?;
    match &case.stored {
        Some(stored) if !holds(&answer.body, stored) => Err(format!("stored {}", answer.body)),
        _ => Ok(()),
    }
}

#[test]
fn every_manifest_of_the_table_is_judged_as_it_says_and_as_the_check_without_a_server_does() {
    let cases = cases();
    assert!(cases.len() > 80, "only {} cases were found", cases.len());
    let wrong: Vec<_> =
        cases.iter().filter_map(|case| Some(format!("{}:\n    {}", case.name, judge(case).err()?))).collect();
    assert!(wrong.is_empty(), "{} of {} are judged otherwise:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

#[test]
fn a_case_that_asks_for_something_else_is_noticed() {
    let mut cases = cases();
    let good = cases.iter().position(|case| case.refused.is_empty() && case.stored.is_some()).unwrap();
    let bad = cases.iter().position(|case| !case.refused.is_empty() && case.server.is_none()).unwrap();
    cases[good].stored = Some(json!({"spec": {"suspend": "perhaps"}}));
    assert!(judge(&cases[good]).unwrap_err().contains("stored"));
    let refused = std::mem::take(&mut cases[bad].refused);
    assert!(judge(&cases[bad]).unwrap_err().contains("not asked for"));
    cases[good].refused = refused;
    assert!(judge(&cases[good]).unwrap_err().contains("not told as often"));
}
