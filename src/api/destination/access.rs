//! Types and one pure decision: whose activations may use a destination.

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// Which namespaces' activations may use this destination.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "(has(self.from) && self.from == 'Selector') == has(self.selector)",
    "message": "allowedNamespaces.selector goes with allowedNamespaces.from: Selector, and only with it",
}]))]
pub struct AllowedNamespaces {
    /// Same (default): only the destination's own namespace. All: every namespace. Selector: those whose labels match.
    pub from: NamespacesFrom,
    /// Which labels a namespace must carry, for Selector.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selector: Option<NamespaceSelector>,
}

/// Which namespaces are meant.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum NamespacesFrom {
    /// The destination's own.
    #[default]
    Same,
    /// Every one.
    All,
    /// Those whose labels match the selector.
    Selector,
}

/// Which labels a namespace must carry: all of matchLabels and all of matchExpressions. An empty selector matches every
/// namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NamespaceSelector {
    /// Labels that must be there with exactly these values. At most 32.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "labels_schema")]
    pub match_labels: BTreeMap<String, String>,
    /// Further requirements. At most 16.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "atomic"))]
    pub match_expressions: Vec<LabelExpression>,
}

fn labels_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 32,
        "additionalProperties": { "type": "string", "maxLength": 63 },
    })
}

/// A requirement on one label.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "(self.operator in ['In', 'NotIn']) == (has(self.values) && self.values.size() > 0)",
    "message": "values go with the operators In and NotIn, and only with them",
}]))]
pub struct LabelExpression {
    /// The label. At most 316 characters.
    #[schemars(length(min = 1, max = 316))]
    pub key: String,
    /// In, NotIn, Exists or DoesNotExist.
    pub operator: LabelOperator,
    /// The values, for In and NotIn. At most 32.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(max = 63)), extend("x-kubernetes-list-type" = "atomic"))]
    pub values: Vec<String>,
}

/// How a label is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum LabelOperator {
    /// The label is there, with one of the values.
    In,
    /// The label is absent, or has none of the values.
    NotIn,
    /// The label is there.
    Exists,
    /// The label is absent.
    DoesNotExist,
}

impl NamespaceSelector {
    /// Whether `labels` meet every requirement.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.match_labels.iter().all(|(key, value)| labels.get(key) == Some(value))
            && self.match_expressions.iter().all(|expression| expression.matches(labels.get(&expression.key)))
    }
}

impl LabelExpression {
    fn matches(&self, label: Option<&String>) -> bool {
        match self.operator {
            LabelOperator::In => label.is_some_and(|value| self.values.contains(value)),
            LabelOperator::NotIn => label.is_none_or(|value| !self.values.contains(value)),
            LabelOperator::Exists => label.is_some(),
            LabelOperator::DoesNotExist => label.is_none(),
        }
    }
}

impl AllowedNamespaces {
    /// Whether activations of `namespace`, which carries `labels`, may use a destination in `own`. The own namespace always
    /// may.
    pub fn allow(&self, own: &str, namespace: &str, labels: &BTreeMap<String, String>) -> bool {
        namespace == own
            || match self.from {
                NamespacesFrom::Same => false,
                NamespacesFrom::All => true,
                NamespacesFrom::Selector => self.selector.as_ref().is_some_and(|selector| selector.matches(labels)),
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    fn selecting(expression: LabelExpression) -> AllowedNamespaces {
        AllowedNamespaces {
            from: NamespacesFrom::Selector,
            selector: Some(NamespaceSelector {
                match_labels: labels(&[("team", "crm")]),
                match_expressions: vec![expression],
            }),
        }
    }

    #[test]
    fn by_default_only_the_own_namespace_may() {
        let same = AllowedNamespaces::default();
        assert!(same.allow("a", "a", &labels(&[])));
        assert!(!same.allow("a", "b", &labels(&[])));
    }

    #[test]
    fn a_selector_asks_for_every_requirement() {
        let stage = |operator, values: &[&str]| LabelExpression {
            key: "stage".to_owned(),
            operator,
            values: values.iter().map(|value| (*value).to_owned()).collect(),
        };
        let in_production = selecting(stage(LabelOperator::In, &["production"]));
        assert!(in_production.allow("a", "b", &labels(&[("team", "crm"), ("stage", "production")])));
        assert!(!in_production.allow("a", "b", &labels(&[("stage", "production")])));
        assert!(!in_production.allow("a", "b", &labels(&[("team", "crm")])));
        let not_in_test = selecting(stage(LabelOperator::NotIn, &["test"]));
        assert!(not_in_test.allow("a", "b", &labels(&[("team", "crm")])));
        assert!(!not_in_test.allow("a", "b", &labels(&[("team", "crm"), ("stage", "test")])));
        let unstaged = selecting(stage(LabelOperator::DoesNotExist, &[]));
        assert!(unstaged.allow("a", "b", &labels(&[("team", "crm")])));
        assert!(!unstaged.allow("a", "b", &labels(&[("team", "crm"), ("stage", "test")])));
        let staged = selecting(stage(LabelOperator::Exists, &[]));
        assert!(staged.allow("a", "b", &labels(&[("team", "crm"), ("stage", "")])));
    }
}
