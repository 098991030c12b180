//! What Prometheus and Grafana are given: rules and a dashboard that name nothing which is not there. That alerts fire is promtool's to test
//! (tests/monitoring/rules_test.yaml).

use std::collections::BTreeSet;
use std::fs;

use serde_json::{Value, json};

use super::{find, render, template};
use crate::cluster::root;

fn file(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The alerts of the rules.
fn alerts() -> Vec<Value> {
    let rules: Value = serde_saphyr::from_str(&file("charts/rolecall/files/rules.yaml")).expect("YAML");
    let groups = rules["groups"].as_array().expect("groups").iter();
    groups.flat_map(|group| group["rules"].as_array().expect("rules").clone()).collect()
}

#[test]
fn every_alert_says_what_to_do_and_has_a_case() {
    let cases = file("tests/monitoring/rules_test.yaml");
    let alerts = alerts();
    assert!(alerts.len() > 15, "the alerts are found: {}", alerts.len());
    for alert in alerts {
        let name = alert["alert"].as_str().expect("a name");
        assert!(name.starts_with("Rolecall"), "{name}");
        let severity = alert["labels"]["severity"].as_str().unwrap_or_default();
        assert!(["critical", "warning", "info"].contains(&severity), "{name}: {severity}");
        let annotations = &alert["annotations"];
        for text in ["summary", "description"] {
            assert!(annotations[text].as_str().is_some_and(|text| text.len() > 15), "{name}: {text}");
        }
        assert_eq!(
            annotations["runbook_url"],
            format!("docs/operations.md#{}", name.to_lowercase()),
            "{name}"
        );
        assert!(
            cases.contains(&format!("alertname: {name}\n")) || cases.contains(&format!("alertname=\"{name}\"")),
            "{name} has no case"
        );
    }
}

/// The names of metrics in a query.
fn names(query: &str) -> impl Iterator<Item = &str> {
    let words = query.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let ours = ["rolecall_", "controller_runtime_", "workqueue_", "rest_client_", "leader_election_"];
    words.filter(move |word| ours.iter().any(|prefix| word.starts_with(prefix)))
}

/// What the rules and the dashboard ask for.
pub fn asked() -> BTreeSet<String> {
    let dashboard: Value = serde_json::from_str(&file("charts/rolecall/files/dashboard.json")).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels").iter();
    let queries = panels.flat_map(|panel| {
        panel["targets"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|target| target["expr"].clone())
    });
    let queries: Vec<Value> = queries.chain(alerts().iter().map(|alert| alert["expr"].clone())).collect();
    let asked = queries.iter().flat_map(|query| names(query.as_str().expect("a query")));
    let asked: BTreeSet<String> = asked.map(str::to_owned).collect();
    assert!(asked.len() > 20, "the names are found: {asked:?}");
    asked
}

#[test]
fn what_a_cluster_does_not_know_is_left_out_or_refused_or_made_all_the_same() {
    for (value, kind) in [("serviceMonitor", "ServiceMonitor"), ("prometheusRule", "PrometheusRule")] {
        let made = |mode: &str| {
            let (enabled, mode) = (
                format!("monitoring.{value}.enabled=true"),
                format!("monitoring.{value}.renderMode={}", json!(mode)),
            );
            template("one", &[&enabled, &mode]).map(|text| text.contains(&format!("kind: {kind}")))
        };
        assert_eq!(made("skipIfMissing"), Ok(false), "{kind}");
        assert_eq!(made("alwaysRender"), Ok(true), "{kind}");
        let error = made("failIfMissing").expect_err("made of a kind that is not known");
        assert!(error.contains(kind), "{error}");
    }
}

#[test]
fn the_rules_and_the_dashboard_arrive_whole() {
    let objects = render(&[
        r#"monitoring.prometheusRule={"enabled": true, "renderMode": "alwaysRender", "runbookUrl": "https://docs.example/operations", "labels": {"release": "p"}}"#,
        "monitoring.dashboard.enabled=true",
        r#"monitoring.serviceMonitor={"enabled": true, "renderMode": "alwaysRender"}"#,
    ]);
    let rule = find(&objects, "PrometheusRule", "one-rolecall");
    assert_eq!(rule["metadata"]["labels"]["release"], "p");
    let rules = rule["spec"]["groups"]
        .as_array()
        .expect("groups")
        .iter()
        .flat_map(|group| group["rules"].as_array().expect("rules"));
    let moved: Vec<String> = rules
        .map(|rule| rule.to_string().replace("https://docs.example/operations#", "docs/operations.md#"))
        .collect();
    assert_eq!(moved, alerts().iter().map(Value::to_string).collect::<Vec<_>>());
    let dashboard = find(&objects, "ConfigMap", "one-rolecall-dashboard");
    assert_eq!(dashboard["metadata"]["labels"]["grafana_dashboard"], "1");
    let text = dashboard["data"]["rolecall.json"].as_str().expect("a file");
    assert_eq!(text.trim(), file("charts/rolecall/files/dashboard.json").trim());
    // Both parts are scraped, by the Services that are there for it.
    let monitor = &find(&objects, "ServiceMonitor", "one-rolecall")["spec"];
    let components = &monitor["selector"]["matchExpressions"][0]["values"];
    for part in ["gateway", "controller"] {
        let service = find(&objects, "Service", &format!("one-rolecall-{part}-metrics"));
        let labels = &service["metadata"]["labels"];
        assert!(
            components
                .as_array()
                .expect("a list")
                .contains(&labels["app.kubernetes.io/component"]),
            "{part}"
        );
        for (key, value) in monitor["selector"]["matchLabels"].as_object().expect("labels") {
            assert_eq!(&labels[key], value, "{part}: {key}");
        }
    }
}
