//! A label selector with bounds, and its pure evaluation. Kubernetes' own type has no limits on its lists.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Selects namespaces by their labels. All given terms must hold; an empty selector selects every namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Selector {
    /// Labels that must be there with exactly these values.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 16))]
    pub match_labels: BTreeMap<String, LabelValue>,
    /// Terms over labels; all must hold.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub match_expressions: Vec<Expression>,
}

/// A label's value.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct LabelValue(#[schemars(length(max = 63))] pub String);

/// One term over a label.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Expression {
    /// The label's key.
    #[schemars(length(min = 1, max = 316))]
    pub key: String,
    /// How the label's value relates to `values`.
    pub operator: Operator,
    /// The values for `In` and `NotIn`; must be empty for `Exists` and `DoesNotExist`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub values: Vec<LabelValue>,
}

/// The operators of a label selector, as Kubernetes has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Operator {
    /// The label is there, and its value is one of `values`.
    In,
    /// The label is absent, or its value is none of `values`.
    NotIn,
    /// The label is there.
    Exists,
    /// The label is absent.
    DoesNotExist,
}

impl Selector {
    /// Whether an object with these labels is selected.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.match_labels.iter().all(|(key, value)| labels.get(key) == Some(&value.0))
            && self.match_expressions.iter().all(|term| {
                let value = labels.get(&term.key);
                let listed = value.is_some_and(|value| term.values.iter().any(|v| &v.0 == value));
                match term.operator {
                    Operator::In => listed,
                    Operator::NotIn => !listed,
                    Operator::Exists => value.is_some(),
                    Operator::DoesNotExist => value.is_none(),
                }
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(selector: serde_json::Value, labels: &[(&str, &str)], expected: bool) {
        let parsed: Selector = serde_json::from_value(selector.clone()).expect("a selector");
        let labels = labels.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        assert_eq!(parsed.matches(&labels), expected, "{selector} on {labels:?}");
    }

    #[test]
    fn selects_as_kubernetes_does() {
        use serde_json::json;
        check(json!({}), &[], true);
        check(json!({"matchLabels": {"team": "a"}}), &[("team", "a"), ("x", "y")], true);
        check(json!({"matchLabels": {"team": "a"}}), &[("team", "b")], false);
        check(json!({"matchLabels": {"team": "a"}}), &[], false);
        let term = |operator: &str, values: &[&str]| json!({"matchExpressions": [{"key": "team", "operator": operator, "values": values}]});
        check(term("In", &["a", "b"]), &[("team", "b")], true);
        check(term("In", &["a", "b"]), &[("team", "c")], false);
        check(term("In", &["a"]), &[], false);
        check(term("NotIn", &["a"]), &[], true);
        check(term("NotIn", &["a"]), &[("team", "a")], false);
        check(term("Exists", &[]), &[("team", "")], true);
        check(term("Exists", &[]), &[], false);
        check(term("DoesNotExist", &[]), &[], true);
        check(term("DoesNotExist", &[]), &[("team", "")], false);
    }
}
