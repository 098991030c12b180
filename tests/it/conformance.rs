//! docs/conformance.md: every requirement of the RFCs with the test that holds it, and every tolerance. Generated; `make docs` writes it.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::Path;

use rolecall::scim::tolerance::Tolerance;
use serde::Deserialize;

use crate::cluster::root;

/// One requirement: a sentence with MUST, SHALL or REQUIRED.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    rfc: u32,
    section: String,
    text: String,
    /// The tests that hold it.
    #[serde(default)]
    tests: Vec<String>,
    /// Why it does not apply.
    #[serde(default)]
    reason: String,
}

fn rows() -> Vec<Row> {
    let text = fs::read_to_string(root().join("tests/data/conformance.json")).expect("the requirements");
    serde_json::from_str(&text).expect("requirements")
}

/// The file that a test is in, by its path.
pub fn file_of(test: &str) -> Option<String> {
    let mut parts: Vec<&str> = test.split("::").collect();
    let name = parts.pop()?;
    let folder = match parts.first() {
        Some(&"it") => {
            parts.remove(0);
            "tests/it"
        }
        _ => "src",
    };
    let whole = parts.join("/");
    let above = parts[..parts.len().saturating_sub(1)].join("/");
    let places = [whole.clone() + ".rs", whole + "/mod.rs", above.clone() + ".rs", above + "/mod.rs"];
    places.into_iter().map(|place| format!("{folder}/{place}")).find(|place| {
        let text = fs::read_to_string(root().join(place)).unwrap_or_default();
        text.contains(&format!("fn {name}("))
    })
}

fn page(rows: &[Row]) -> String {
    let mut out = String::from(
        "# Conformance\n\n\
        Generated from `tests/data/conformance.json` and the tests (`make docs`); a test fails when it is stale, or names a test that is not there.\n\n",
    );
    let held = rows.iter().filter(|row| row.reason.is_empty()).count();
    let _ = writeln!(
        out,
        "Every sentence of RFC 7643, 7644 and 9865 with MUST, SHALL or REQUIRED is a row: {} in all, {held} held by tests, {} that do not apply, with the reason.\n\
        Tests of `src` run by `cargo test --lib <test>`, those of `it` by `cargo test --test it <test>` on a real API server.",
        rows.len(),
        rows.len() - held
    );
    for rfc in [7643, 7644, 9865] {
        let _ = writeln!(out, "\n## RFC {rfc}\n\n| § | requirement | held by |\n|---|---|---|");
        for row in rows.iter().filter(|row| row.rfc == rfc) {
            let text = row.text.replace('|', "\\|").replace('<', "&lt;");
            let held = match row.reason.is_empty() {
                true => row.tests.iter().map(|test| format!("`{test}`")).collect::<Vec<_>>().join(", "),
                false => format!("does not apply: {}", row.reason.replace('|', "\\|")),
            };
            let _ = writeln!(out, "| {} | {text} | {held} |", row.section);
        }
    }
    out.push_str(
        "\n## What is tolerated beyond the RFCs\n\n\
        What real clients send and no RFC has is taken in these cases, and in no other. Each request that needs one is counted: \
        `status.tolerances` of the ScimSource, and the metric `rolecall_scim_tolerated_total{source,tolerance}`. \
        Held by `gateway::tests::drift::every_tolerance_is_noted_by_its_name`.\n\n| tolerance | who sends what |\n|---|---|\n",
    );
    for tolerance in Tolerance::ALL {
        let _ = writeln!(
            out,
            "| `{}` | {} |",
            tolerance.name(),
            tolerance.seen().replace('|', "\\|").replace('<', "&lt;")
        );
    }
    out
}

#[test]
fn every_requirement_has_its_test_or_a_reason() {
    let rows = rows();
    let mut by_rfc: BTreeMap<u32, usize> = BTreeMap::new();
    for row in &rows {
        *by_rfc.entry(row.rfc).or_default() += 1;
        let place = format!("RFC {} §{}: {}", row.rfc, row.section, row.text);
        assert_ne!(row.tests.is_empty(), row.reason.is_empty(), "a test or a reason: {place}");
        for test in &row.tests {
            assert!(file_of(test).is_some(), "no test is named {test}: {place}");
        }
    }
    assert_eq!(by_rfc, BTreeMap::from([(7643, 129), (7644, 152), (9865, 14)]), "no row got lost");
    let path = Path::new("docs/conformance.md");
    let page = page(&rows);
    if std::env::var_os("ROLECALL_WRITE_DOCS").is_some() {
        fs::write(root().join(path), &page).expect("written");
    }
    let there = fs::read_to_string(root().join(path)).unwrap_or_default();
    assert!(there == page, "docs/conformance.md is stale: make docs");
    println!("{} requirements, each with its test or a reason", rows.len());
}
