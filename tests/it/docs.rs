//! README and docs keep up with the code: labels, conditions, links, samples.

use std::fs;

use serde_json::Value;

use crate::cluster::{Cluster, root};

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// The texts of the constants of a source file.
fn constants(path: &str) -> Vec<String> {
    let text = read(path);
    let lines = text
        .lines()
        .filter(|line| line.starts_with("pub const ") && line.contains(": &str = \""));
    lines.filter_map(|line| line.split('"').nth(1).map(str::to_owned)).collect()
}

#[test]
fn every_label_annotation_and_condition_is_listed() {
    let page = read("docs/labels.md");
    let labels = constants("src/api/names.rs");
    let conditions = constants("src/api/conditions.rs");
    assert!(
        labels.len() > 5 && conditions.len() > 5,
        "the constants are found: {labels:?} {conditions:?}"
    );
    for name in labels.iter().chain(&conditions) {
        assert!(page.contains(&format!("`{name}`")), "docs/labels.md does not list {name}");
    }
    // And nothing else, unless it says so.
    for row in page.lines().filter(|line| line.starts_with("| `rolecall.dev/")) {
        let key = row.split('`').nth(1).expect("a key");
        assert!(
            labels.iter().any(|l| l == key) || row.contains("Not obeyed yet"),
            "docs/labels.md lists {key}, which the code does not know"
        );
    }
}

#[test]
fn every_sentence_of_security_has_its_test() {
    let page = read("docs/security.md");
    let rows: Vec<&str> = page
        .lines()
        .filter(|line| line.starts_with("| ") && !line.starts_with("| sentence"))
        .collect();
    assert!(rows.len() > 20, "the rows are found: {}", rows.len());
    for row in rows {
        let tests: Vec<&str> = row.split('`').skip(1).step_by(2).filter(|name| name.contains("::")).collect();
        assert!(!tests.is_empty(), "no test: {row}");
        for test in tests {
            assert!(crate::conformance::file_of(test).is_some(), "there is no test {test}");
        }
    }
}

/// The pages whose links are followed.
const PAGES: [&str; 8] = [
    "README.md",
    "docs/gitops.md",
    "docs/install.md",
    "docs/labels.md",
    "docs/mapping-cookbook.md",
    "docs/operations.md",
    "docs/privacy.md",
    "docs/security.md",
];

/// What a link may have behind `#`, as GitHub makes it of the page's headings.
fn anchors(text: &str) -> Vec<String> {
    // comments of shell blocks are no headings
    let prose = text.split("```").step_by(2).flat_map(str::lines);
    let titles = prose
        .filter(|line| line.starts_with('#'))
        .map(|line| line.trim_start_matches('#').trim());
    let kept = |title: &str| {
        title
            .chars()
            .filter(|c| c.is_alphanumeric() || " -_".contains(*c))
            .collect::<String>()
    };
    titles.map(|title| kept(title).to_lowercase().replace(' ', "-")).collect()
}

#[test]
fn every_link_leads_somewhere() {
    for page in PAGES {
        let text = read(page);
        let folder = root().join(page).parent().expect("a folder").to_owned();
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if target.starts_with("https://") {
                continue;
            }
            let (file, anchor) = target.split_once('#').map_or((target, None), |(file, anchor)| (file, Some(anchor)));
            assert!(folder.join(file).exists(), "{page}: {target}");
            let Some(anchor) = anchor else { continue };
            let there = match file {
                "" => text.clone(),
                _ => fs::read_to_string(folder.join(file)).expect("a page"),
            };
            assert!(anchors(&there).iter().any(|a| a == anchor), "{page}: {target}");
        }
    }
}

#[test]
fn every_alert_has_its_heading() {
    let headings = anchors(&read("docs/operations.md"));
    let rules: Value = serde_saphyr::from_str(&read("charts/rolecall/files/rules.yaml")).expect("YAML");
    let groups = rules["groups"].as_array().expect("groups").iter();
    let alerts: Vec<&Value> = groups.flat_map(|group| group["rules"].as_array().expect("rules")).collect();
    assert!(alerts.len() > 20, "the alerts are found: {}", alerts.len());
    for alert in &alerts {
        let runbook = alert["annotations"]["runbook_url"].as_str().unwrap_or_default();
        let anchor = runbook.strip_prefix("docs/operations.md#").unwrap_or_else(|| panic!("{alert}"));
        assert_eq!(anchor, alert["alert"].as_str().expect("a name").to_lowercase());
        assert_eq!(
            headings.iter().filter(|heading| *heading == anchor).count(),
            1,
            "the headings of {anchor}"
        );
    }
    let ours = headings.iter().filter(|heading| heading.starts_with("rolecall")).count();
    assert_eq!(ours, alerts.len(), "docs/operations.md has headings of no alert");
}

#[test]
fn every_condition_and_metric_has_its_row() {
    let page = read("docs/operations.md");
    for condition in constants("src/api/conditions.rs") {
        let rows = page.lines().filter(|line| line.starts_with(&format!("| `{condition}` |")));
        assert_eq!(rows.count(), 1, "the rows of the condition {condition}");
    }
    let rows: String = page.lines().filter(|line| line.starts_with("| `")).collect();
    let mut metrics = Vec::new();
    for part in ["controller", "gateway", "ops"] {
        let code = read(&format!("src/{part}/metrics.rs"));
        for (call, prefix) in [(".register(\"", "rolecall_"), (".register_as(\"", "")] {
            let names = code.split(call).skip(1).filter_map(|rest| rest.split('"').next());
            metrics.extend(names.map(|name| format!("{prefix}{name}")));
        }
    }
    assert!(metrics.len() > 25, "the metrics are found: {metrics:?}");
    for metric in metrics {
        let ends = ["`", "{", "_total"].map(|end| format!("`{metric}{end}"));
        assert!(ends.iter().any(|name| rows.contains(name)), "no row of the metric {metric}");
    }
}

#[test]
fn the_samples_are_valid() {
    let cluster = Cluster::shared();
    let _ = cluster.kubectl(&["create", "namespace", "backend"]);
    let samples = root().join("docs/samples");
    cluster
        .kubectl(&["apply", "--dry-run=server", "--validate=strict", "-f", &samples.to_string_lossy()])
        .expect_ok();
}
