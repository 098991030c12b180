//! Replays what an identity provider really sends (`tests/data/idp/*.json`) against a gateway, and checks every answer. Nothing is decided
//! here about access, and nothing is printed.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use serde_json::{Map, Value};

use crate::system::{Provider, data};

/// One request of a provider, as the file has it.
#[derive(Clone, Debug)]
pub struct Step(pub Value);

/// An answer that was as expected.
pub struct Answered {
    pub status: u16,
    pub took: Duration,
    /// When the whole answer had arrived.
    pub at: Instant,
}

/// A provider in the middle of its requests, with the ids that it was given.
pub struct Replay {
    provider: Provider,
    saved: BTreeMap<String, String>,
    /// How many requests it has sent, those that only check included.
    pub requests: usize,
}

impl Step {
    pub fn name(&self) -> &str {
        self.0["name"].as_str().unwrap_or_default()
    }
}

/// The steps of a provider's file.
pub fn load(name: &str) -> Result<Vec<Step>, String> {
    let path = data().join("idp").join(format!("{name}.json"));
    let text = fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    let file: Value = serde_json::from_str(&text).map_err(|e| format!("{}: {e}", path.display()))?;
    Ok(file["steps"].as_array().into_iter().flatten().cloned().map(Step).collect())
}

impl Replay {
    pub fn new(provider: Provider) -> Self {
        Self {
            provider,
            saved: BTreeMap::new(),
            requests: 0,
        }
    }

    /// Sends a step and checks the answer. What the step reads afterwards is left to [`Replay::check_after`].
    pub async fn send(&mut self, step: &Step) -> Result<Answered, String> {
        let (answer, answered) = self.exchange(&step.0, step.name()).await?;
        for (name, attribute) in step.0["save"].as_object().into_iter().flatten() {
            let value = answer[attribute.as_str().unwrap_or_default()].as_str();
            let value = value.ok_or_else(|| format!("{}: no {attribute} in {answer}", step.name()))?;
            self.saved.insert(name.clone(), value.to_owned());
        }
        Ok(answered)
    }

    /// Reads what the step left behind, if the file says so.
    pub async fn check_after(&mut self, step: &Step) -> Result<(), String> {
        match step.0.get("then") {
            Some(then) => self.exchange(then, &format!("{}, afterwards", step.name())).await.map(drop),
            None => Ok(()),
        }
    }

    async fn exchange(&mut self, request: &Value, name: &str) -> Result<(Value, Answered), String> {
        let method = request["method"].as_str().unwrap_or_default();
        let mut path = self.fill(request["path"].as_str().unwrap_or_default());
        for (n, (key, value)) in request["query"].as_object().into_iter().flatten().enumerate() {
            let value = self.fill(value.as_str().unwrap_or_default());
            let value = percent_encoding::utf8_percent_encode(&value, percent_encoding::NON_ALPHANUMERIC);
            path.push_str(&format!("{}{key}={value}", if n == 0 { "?" } else { "&" }));
        }
        let body = request.get("body").map(|body| self.fill_all(body));
        let begun = Instant::now();
        let sent = self.provider.try_send(method, &path, body.as_ref()).await;
        let at = Instant::now();
        self.requests += 1;
        let (status, answer) = sent.map_err(|e| format!("{name}: {method} {path}: {e}"))?;
        let wrong = |what: String| format!("{name}: {method} {path}: {what}\n  answered {status} {answer}");
        if !request["status"]
            .as_array()
            .into_iter()
            .flatten()
            .any(|s| s.as_u64() == Some(u64::from(status)))
        {
            return Err(wrong(format!("expected status {}", request["status"])));
        }
        if let Some(expected) = request.get("expect") {
            let expected = self.fill_all(expected);
            contains(&answer, &expected, "").map_err(wrong)?;
        }
        for path in request["absent"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            if let Some(found) = find(&answer, path) {
                return Err(wrong(format!("{path} is there: {found}")));
            }
        }
        let took = at - begun;
        Ok((answer, Answered { status, took, at }))
    }

    /// `{name}` is a value that was saved before.
    fn fill(&self, text: &str) -> String {
        self.saved
            .iter()
            .fold(text.to_owned(), |text, (name, value)| text.replace(&format!("{{{name}}}"), value))
    }

    fn fill_all(&self, value: &Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.fill(text)),
            Value::Array(items) => items.iter().map(|item| self.fill_all(item)).collect(),
            Value::Object(fields) => Value::Object(fields.iter().map(|(k, v)| (k.clone(), self.fill_all(v))).collect::<Map<_, _>>()),
            other => other.clone(),
        }
    }
}

/// Every key expected is there with that value; a list of objects contains, for each, one that matches it, and for `members` no others.
fn contains(found: &Value, expected: &Value, at: &str) -> Result<(), String> {
    match (found, expected) {
        (Value::Object(found), Value::Object(expected)) => expected
            .iter()
            .try_for_each(|(key, value)| contains(found.get(key).unwrap_or(&Value::Null), value, &format!("{at}.{key}"))),
        (Value::Array(found), Value::Array(expected)) if expected.iter().any(Value::is_object) => {
            let missing = expected.iter().find(|e| !found.iter().any(|f| contains(f, e, at).is_ok()));
            match missing {
                Some(missing) => Err(format!("{at} has no {missing}")),
                None if at.ends_with(".members") && found.len() != expected.len() => Err(format!("{at} has others than {expected:?}")),
                None => Ok(()),
            }
        }
        _ if found == expected => Ok(()),
        _ => Err(format!("{at} is {found}, expected {expected}")),
    }
}

/// The value at a dotted path; `\.` is a dot in a name, and after `urn:` only the last dot separates.
fn find<'a>(value: &'a Value, path: &str) -> Option<&'a Value> {
    let names: Vec<String> = match path.starts_with("urn:") {
        true => path
            .rsplitn(2, '.')
            .map(str::to_owned)
            .collect::<Vec<_>>()
            .into_iter()
            .rev()
            .collect(),
        false => path.replace("\\.", "\0").split('.').map(|name| name.replace('\0', ".")).collect(),
    };
    // `…:2.0:User.manager` was cut at its last dot; a name that holds dots and no attribute stays whole.
    names.iter().try_fold(value, |value, name| match name.parse::<usize>() {
        Ok(n) if value.is_array() => value.get(n),
        _ => value.get(name),
    })
}
