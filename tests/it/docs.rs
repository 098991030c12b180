//! README and docs keep up with the code: labels, conditions, links, samples.

use std::fs;
use std::path::Path;

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

#[test]
fn every_link_leads_somewhere() {
    for page in ["README.md", "docs/labels.md", "docs/security.md", "docs/mapping-cookbook.md"] {
        let text = read(page);
        let folder = Path::new(page).parent().expect("a folder");
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            match target.strip_prefix('#') {
                _ if target.starts_with("https://") => {}
                Some(anchor) => {
                    let anchors = text
                        .lines()
                        .filter_map(|line| line.strip_prefix("## ").or(line.strip_prefix("### ")));
                    let mut anchors = anchors.map(|title| title.to_lowercase().replace(' ', "-").replace(',', ""));
                    assert!(anchors.any(|a| a == anchor), "{page}: #{anchor}");
                }
                None => {
                    let file = target.split('#').next().unwrap_or_default();
                    assert!(root().join(folder).join(file).exists(), "{page}: {target}");
                }
            }
        }
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
