//! The definitions in the chart are those of `crds/`.

use std::{fs, path::Path};

use activation_operator::api::crd;
use serde_json::{Value, json};

use crate::{
    helm::{CHART, render},
    of_kind,
};

/// A definition as the chart has it: wanted or not, kept or not, labelled.
fn template(definition: &str) -> String {
    assert!(!definition.contains("{{"), "helm would read a template in it");
    let (head, rest) = definition.split_once("\nspec:\n").unwrap();
    let (mark, head) = head.split_once('\n').unwrap();
    assert!(mark.starts_with("# Generated"), "{mark}");
    format!(
        "{{{{- if .Values.crds.enabled }}}}\n\
         # Generated from crds/ by `make generate`.\n\
         {head}\n  labels:\n    {{{{- include \"activation-operator.labels\" . | nindent 4 }}}}\n  \
         {{{{- if .Values.crds.keep }}}}\n  annotations:\n    helm.sh/resource-policy: keep\n  {{{{- end }}}}\n\
         spec:\n{rest}{{{{- end }}}}\n"
    )
}

/// `UPDATE_CRDS=1` writes the files instead of comparing them.
#[test]
fn the_definitions_of_the_chart_are_those_of_the_project() {
    for (name, text) in crd::crd_files().unwrap() {
        let (path, wanted) = (Path::new(CHART).join("templates/crds").join(name), template(&text));
        if std::env::var_os("UPDATE_CRDS").is_some() {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, &wanted).unwrap();
        }
        let committed = fs::read_to_string(&path).unwrap_or_default();
        assert!(committed == wanted, "{} is stale: run `make generate` and commit it", path.display());
    }
}

#[test]
fn they_come_out_as_they_are_and_only_where_they_are_wanted() {
    let kind = "CustomResourceDefinition";
    let mut specs: Vec<_> =
        of_kind(&render(&json!({})), kind).into_iter().map(|definition| definition["spec"].clone()).collect();
    let mut wanted: Vec<_> =
        crd::definitions().unwrap().into_iter().map(|definition| definition["spec"].clone()).collect();
    for list in [&mut specs, &mut wanted] {
        list.sort_by_key(Value::to_string);
    }
    assert_eq!(specs, wanted);
    assert!(of_kind(&render(&json!({"crds": {"enabled": false}})), kind).is_empty());
    let policy = |keep: bool| {
        let rendered = render(&json!({"crds": {"keep": keep}}));
        let policies = of_kind(&rendered, kind)
            .into_iter()
            .map(|definition| definition["metadata"]["annotations"]["helm.sh/resource-policy"].clone());
        policies.collect::<Vec<_>>()
    };
    assert_eq!(policy(true), [json!("keep"), json!("keep")]);
    assert_eq!(policy(false), [Value::Null, Value::Null]);
}
