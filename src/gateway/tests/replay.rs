//! What identity providers really send: `tests/data/idp`, step by step.

use std::collections::HashMap;

use serde::Deserialize;

use super::*;

#[derive(Deserialize)]
struct File {
    steps: Vec<Step>,
}

#[derive(Deserialize)]
struct Step {
    #[serde(default)]
    name: String,
    method: String,
    path: String,
    #[serde(default)]
    query: HashMap<String, String>,
    body: Option<Value>,
    status: Vec<u16>,
    #[serde(default)]
    expect: Value,
    #[serde(default)]
    absent: Vec<String>,
    #[serde(default)]
    save: HashMap<String, String>,
    then: Option<Box<Step>>,
}

fn fill(text: &str, saved: &HashMap<String, String>) -> String {
    saved
        .iter()
        .fold(text.to_owned(), |text, (name, value)| text.replace(&format!("{{{name}}}"), value))
}

fn filled(value: &Value, saved: &HashMap<String, String>) -> Value {
    match value {
        Value::String(text) => fill(text, saved).into(),
        Value::Array(list) => list.iter().map(|value| filled(value, saved)).collect(),
        Value::Object(map) => map.iter().map(|(key, value)| (key.clone(), filled(value, saved))).collect(),
        other => other.clone(),
    }
}

/// Whether `got` has everything that is expected.
fn has(got: &Value, expected: &Value, key: &str) -> bool {
    match (got, expected) {
        (Value::Object(got), Value::Object(expected)) => expected
            .iter()
            .all(|(key, value)| got.get(key).is_some_and(|got| has(got, value, key))),
        (Value::Array(got), Value::Array(expected)) => {
            let all = expected.iter().all(|value| got.iter().any(|got| has(got, value, "")));
            all && (key != "members" || got.len() == expected.len())
        }
        (got, expected) => got == expected,
    }
}

/// A dotted path; `\.` is a dot in a name; after a URN only the last dot separates.
fn at<'a>(value: &'a Value, path: &str) -> Option<&'a Value> {
    let parts: Vec<String> = if path.starts_with("urn:") {
        let (urn, last) = path.rsplit_once('.').unwrap_or((path, ""));
        [urn, last]
            .iter()
            .filter(|part| !part.is_empty())
            .map(|part| (*part).to_owned())
            .collect()
    } else {
        path.replace("\\.", "\u{0}")
            .split('.')
            .map(|part| part.replace('\u{0}', "."))
            .collect()
    };
    parts.iter().try_fold(value, |value, part| match value {
        Value::Array(list) => list.get(part.parse::<usize>().ok()?),
        other => other.get(part),
    })
}

async fn run(client: &Client, step: &Step, saved: &mut HashMap<String, String>, place: &str) {
    let place = format!("{place}: {}", step.name);
    let query: Vec<String> = step
        .query
        .iter()
        .map(|(name, value)| format!("{name}={}", encode(&fill(value, saved))))
        .collect();
    let path = fill(&step.path, saved) + if query.is_empty() { "" } else { "?" } + &query.join("&");
    let body = step.body.as_ref().map(|body| filled(body, saved));
    let got = client.send(client.request(&step.method, &path, body.as_ref())).await;
    assert!(step.status.contains(&got.status), "{place}: {got:?}");
    if got.status != 204 {
        assert!(
            step.expect.is_null() || has(&got.body, &filled(&step.expect, saved), ""),
            "{place}: {got:?}"
        );
        for path in &step.absent {
            assert!(at(&got.body, path).is_none(), "{place}: {path} is there: {got:?}");
        }
    }
    for (name, attribute) in &step.save {
        saved.insert(name.clone(), got.body[attribute].as_str().unwrap().to_owned());
    }
    if let Some(then) = &step.then {
        Box::pin(run(client, then, saved, &place)).await;
    }
}

fn encode(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

async fn replay(name: &str, expected: usize) {
    let path = format!("{}/tests/data/idp/{name}.json", env!("CARGO_MANIFEST_DIR"));
    let file: File = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let client = Client::new().await;
    let mut saved = HashMap::new();
    for (n, step) in file.steps.iter().enumerate() {
        run(&client, step, &mut saved, &format!("{name} {n}")).await;
    }
    assert_eq!(file.steps.len(), expected);
}

#[tokio::test]
async fn okta() {
    replay("okta", 22).await;
}

#[tokio::test]
async fn entra() {
    replay("entra", 32).await;
}

#[tokio::test]
async fn authentik() {
    replay("authentik", 6).await;
}
