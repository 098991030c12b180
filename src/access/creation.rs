//! What a namespace that a mapping makes looks like: its labels and annotations, compiled and checked. Which namespaces are made is in `targets`; nothing here makes one.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::expression::Expression;
use super::policy::Refusal;
use super::rule::expression;
use crate::api::mapping::CreateNamespaces;
use crate::api::names as labels;

/// `namespaces.create`, compiled.
#[derive(Clone, Debug)]
pub struct Creation {
    labels: BTreeMap<String, String>,
    expressions: BTreeMap<String, Expression>,
    annotations: Arc<BTreeMap<String, String>>,
}

/// A namespace that is to be, if there is none of its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    /// The source whose group asks for it; none: the mapping names it.
    pub source: Option<Arc<str>>,
    /// Its labels, beside ours.
    pub labels: BTreeMap<String, String>,
    /// Its annotations, beside ours.
    pub annotations: Arc<BTreeMap<String, String>>,
}

impl Creation {
    /// Compiles the field of the rule at that position. `by_group`: the rule has an expression for the namespace, so that each is of one group.
    pub fn of(i: usize, create: &CreateNamespaces, by_group: bool, captures: &[String]) -> Result<Self, Refusal> {
        let field = format!("spec.grants[{i}].namespaces.create");
        let wrong = |what: String| Err(Refusal::new("InvalidSpec", format!("{field}.{what}")));
        let (labels, expressions) = (&create.labels, &create.label_expressions);
        for key in labels.keys().chain(expressions.keys()) {
            if !is_key(key) || is_ours(key) {
                return wrong(format!("labels: {key:?} is no label that a namespace may be given here"));
            }
        }
        for key in create.annotations.keys() {
            if !is_key(key) || is_ours(key) {
                return wrong(format!("annotations: {key:?} is no annotation that a namespace may be given here"));
            }
        }
        if let Some((key, value)) = labels.iter().find(|(_, value)| !is_value(value)) {
            return wrong(format!(
                "labels: {value:?} is no value for the label {key}: at most 63 letters, digits, '-', '_' and '.'"
            ));
        }
        if let Some(key) = labels.keys().find(|key| expressions.contains_key(*key)) {
            return wrong(format!("labels: {key:?} is in labels and in labelExpressions"));
        }
        if !expressions.is_empty() && !by_group {
            return wrong("labelExpressions: they need namespaces.expression, as each is evaluated for one group".to_owned());
        }
        let compiled = |(key, text): (&String, &String)| {
            let name = format!("{field}.labelExpressions[{key}]");
            Ok((key.clone(), expression(&name, text, captures)?))
        };
        Ok(Self {
            labels: labels.clone(),
            expressions: expressions.iter().map(compiled).collect::<Result<_, Refusal>>()?,
            annotations: Arc::new(create.annotations.clone()),
        })
    }

    /// The labels that are the same for all, and the keys of the others.
    pub fn label_keys(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        let fixed = self.labels.iter().map(|(key, value)| (key.as_str(), Some(value.as_str())));
        fixed.chain(self.expressions.keys().map(|key| (key.as_str(), None)))
    }

    /// What is made for no group in particular.
    pub fn made(&self) -> Made {
        Made {
            source: None,
            labels: self.labels.clone(),
            annotations: self.annotations.clone(),
        }
    }

    /// What is made for a group; the refusal of the first label that its expression yields wrongly.
    pub fn yields(&self, i: usize, source: &str, variables: &[(&str, &Map<String, Value>)], fuel: &mut usize) -> Result<Made, Refusal> {
        let mut made = self.made();
        made.source = Some(source.into());
        for (key, expression) in &self.expressions {
            let wrong = |what: String| {
                Refusal::new(
                    "LabelNotValid",
                    format!("spec.grants[{i}]: the namespace is not made, as the expression for the label {key} {what}"),
                )
            };
            let value = expression
                .yields(variables, fuel)
                .map_err(|error| wrong(format!("yields nothing: {error}")))?;
            if !is_value(&value) {
                return Err(wrong("yields what is no value of a label".to_owned()));
            }
            made.labels.insert(key.clone(), value);
        }
        Ok(made)
    }
}

/// Keys that only Rolecall or Kubernetes write.
fn is_ours(key: &str) -> bool {
    let reserved = ["rolecall.dev", "kubernetes.io", "node.kubernetes.io"];
    key == labels::MANAGED_BY || key.split_once('/').is_some_and(|(prefix, _)| reserved.contains(&prefix))
}

/// Whether it can be the key of a label or an annotation.
fn is_key(key: &str) -> bool {
    let (prefix, name) = match key.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, key),
    };
    let part = |part: &str| super::yields::is_label(part);
    let domain = |prefix: &str| prefix.len() <= 253 && prefix.split('.').all(part);
    !name.is_empty() && is_value(name) && prefix.is_none_or(domain)
}

/// Whether it can be the value of a label.
fn is_value(value: &str) -> bool {
    let inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    let ends = |b: Option<u8>| b.is_none_or(|b| b.is_ascii_alphanumeric());
    value.len() <= 63 && value.bytes().all(inner) && ends(value.bytes().next()) && ends(value.bytes().last())
}
