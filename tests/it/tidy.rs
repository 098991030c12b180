//! The shape of the code: who may import whom, how long a file may be, and what is generated. No cluster is needed.

use std::fs;
use std::path::{Path, PathBuf};

use crate::cluster::root;

fn sources(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// The part of a file under `src/`: its folder, or the file itself.
fn part(path: &Path) -> String {
    let relative = path.strip_prefix(root().join("src")).expect("under src");
    relative
        .components()
        .next()
        .expect("a part")
        .as_os_str()
        .to_string_lossy()
        .trim_end_matches(".rs")
        .to_owned()
}

/// Who may import whom, as design.md ("Layout") has it. What is not listed may import nothing of ours.
const MAY: [(&str, &[&str]); 10] = [
    ("folds", &["directory", "access", "journal"]),
    ("scim", &[]),
    ("api", &[]),
    ("directory", &["scim"]),
    ("access", &["scim", "api", "directory"]),
    ("journal", &["api"]),
    ("ops", &[]),
    ("gateway", &["scim", "api", "directory", "access", "journal", "ops"]),
    ("controller", &["scim", "api", "directory", "access", "journal", "ops"]),
    ("cli", &["scim", "api", "directory", "access", "journal", "ops"]),
];

/// What values may not touch: clients, runtimes, clocks, files, randomness.
const EDGES: [&str; 9] = [
    "tokio::",
    "kube::Client",
    "kube::Api",
    "std::fs",
    "std::net",
    "SystemTime::now",
    "Instant::now",
    "Timestamp::now",
    "Uuid::new_v4",
];

/// The code of a file, without what is compiled for its tests only.
fn code(text: &str) -> &str {
    text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default()
}

#[test]
fn every_part_imports_only_what_it_may() {
    let mut wrong = Vec::new();
    let mut seen = 0;
    for path in sources(&root().join("src")) {
        let part = part(&path);
        if ["lib", "main", "bin"].contains(&part.as_str()) {
            continue;
        }
        let Some((_, may)) = MAY.iter().find(|(name, _)| *name == part) else {
            wrong.push(format!("{}: a part that no rule knows", path.display()));
            continue;
        };
        let text = fs::read_to_string(&path).expect("a file");
        for (n, line) in text.lines().enumerate().filter(|(_, l)| !l.trim_start().starts_with("//")) {
            for at in line.match_indices("crate::").map(|(i, _)| i + "crate::".len()) {
                let target: String = line[at..].chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                seen += 1;
                let known = MAY.iter().any(|(name, _)| *name == target);
                if known && target != part && !may.contains(&target.as_str()) {
                    wrong.push(format!("{}:{}: {part} may not import {target}", path.display(), n + 1));
                }
            }
        }
    }
    assert!(seen > 100, "the test reads imports: {seen}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn values_touch_no_client_no_clock_and_no_file() {
    let mut wrong = Vec::new();
    for path in sources(&root().join("src")) {
        if !["scim", "api", "directory", "access"].contains(&part(&path).as_str()) || path.to_string_lossy().contains("/tests") {
            continue;
        }
        let text = fs::read_to_string(&path).expect("a file");
        for edge in EDGES {
            if code(&text).lines().any(|l| !l.trim_start().starts_with("//") && l.contains(edge)) {
                wrong.push(format!("{}: {edge}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn files_are_short_and_say_what_they_are() {
    let mut wrong = Vec::new();
    for folder in ["src", "tests/it", "tests/demo", "tests/e2e", "benches"] {
        for path in sources(&root().join(folder)) {
            let text = fs::read_to_string(&path).expect("a file");
            let name = path.to_string_lossy();
            let of_tests = name.contains("/tests/") || name.ends_with("tests.rs");
            let lines = text.lines().count();
            // Tables of tests may be a little longer.
            if lines > if of_tests { 550 } else { 500 } {
                wrong.push(format!("{}: {lines} lines", path.display()));
            }
            let exempt = folder == "src" && of_tests;
            if !exempt && !text.starts_with("//!") {
                wrong.push(format!("{}: its first line does not say what lives there", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_generated_crds_are_fresh_small_and_explain_every_field() {
    for (name, yaml) in rolecall::api::crds::all() {
        let stored = fs::read_to_string(root().join("crds").join(&name)).expect("crds/ has the file");
        assert_eq!(stored, yaml, "crds/{name} is stale: run `make crds`");
        assert!(yaml.len() < 262_144, "{name} is too large for client-side apply");
        let value: serde_json::Value = serde_saphyr::from_str(&yaml).expect("YAML");
        let schema = &value["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        let mut bare = Vec::new();
        explained(schema, &name, &mut bare);
        assert!(bare.is_empty(), "fields without a description or a bound: {bare:#?}");
    }
}

/// Every property has a description, every list and string a bound.
fn explained(schema: &serde_json::Value, at: &str, bare: &mut Vec<String>) {
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let here = format!("{at}.{name}");
        if ["apiVersion", "kind", "metadata"].contains(&name.as_str()) {
            continue;
        }
        if !["spec", "status"].contains(&name.as_str()) && property["description"].as_str().is_none_or(|d| d.len() < 5) {
            bare.push(format!("{here}: no description"));
        }
        explained(property, &here, bare);
    }
    let conditions = at.ends_with(".conditions");
    if schema["type"] == "array" {
        if schema["maxItems"].is_null() {
            bare.push(format!("{at}: no maxItems"));
        }
        if !conditions {
            explained(&schema["items"], &format!("{at}[]"), bare);
        }
    }
    if schema["type"] == "string" && schema["maxLength"].is_null() && schema["enum"].is_null() {
        bare.push(format!("{at}: no maxLength"));
    }
}
