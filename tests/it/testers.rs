//! Other people's SCIM clients and testers against the running gateway.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use serde_json::{Value, json};

use crate::cluster::{Cluster, root};
use crate::system::{Provider, System};

/// The folder of the Python programs, made once.
fn programs() -> PathBuf {
    let made = Command::new(root().join("tests/clients/build.sh")).output().expect("a shell");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    PathBuf::from(String::from_utf8_lossy(&made.stdout).trim())
}

/// One command of scim2-cli against a source.
fn scim2(programs: &Path, okta: &Provider, args: &[&str]) -> Output {
    Command::new(programs.join("scim2"))
        .args(["-u", &okta.base])
        .args(args)
        .env("SCIM_CLI_HEADERS", format!("Authorization: Bearer {}", okta.token))
        .env("NO_COLOR", "1")
        .output()
        .expect("scim2 runs")
}

/// The same, which must succeed; what it prints as JSON.
fn answer(programs: &Path, okta: &Provider, args: &[&str]) -> Value {
    let done = scim2(programs, okta, args);
    let (out, err) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success(), "{args:?}: {out}{err}");
    serde_json::from_str(&out).unwrap_or(Value::Null)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scim2_tester_finds_nothing_and_scim2_cli_works() {
    let programs = tokio::task::spawn_blocking(programs).await.expect("no panic");
    let system = System::install(Cluster::shared(), "testers").await;
    let _controller = system.controller();
    let gateway = system.gateway().await;
    let okta = system.source(&gateway.url, "testers-okta").await;

    let tested = scim2(&programs, &okta, &["test"]);
    let out = String::from_utf8_lossy(&tested.stdout).into_owned();
    let count = |word: &str| out.lines().filter(|line| line.starts_with(word)).count();
    let (good, bad) = (count("SUCCESS"), count("ERROR") + count("CRITICAL"));
    println!("scim2-tester: {good} checks passed, {bad} failed");
    assert!(tested.status.success() && bad == 0 && good > 130, "{good} good, {bad} bad: {out}");

    let made = answer(
        &programs,
        &okta,
        &["create", "user", "--user-name", "ada@corp.example", "--display-name", "Ada"],
    );
    let id = made["id"].as_str().expect("an id").to_owned();
    let read = answer(&programs, &okta, &["query", "user", &id]);
    assert_eq!(
        (&read["userName"], &read["displayName"]),
        (&json!("ada@corp.example"), &json!("Ada"))
    );
    let found = answer(&programs, &okta, &["search", "--filter", "userName eq \"ADA@corp.example\""]);
    assert_eq!((&found["totalResults"], &found["Resources"][0]["id"]), (&json!(1), &json!(id)));
    let replaced = answer(
        &programs,
        &okta,
        &[
            "replace",
            "user",
            "--id",
            &id,
            "--user-name",
            "ada@corp.example",
            "--title",
            "Engineer",
        ],
    );
    assert_eq!((&replaced["title"], replaced.get("displayName")), (&json!("Engineer"), None));
    let group = answer(&programs, &okta, &["create", "group", "--display-name", "Backend"]);
    assert_eq!(group["displayName"], json!("Backend"));
    answer(&programs, &okta, &["delete", "user", &id]);
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert!(!scim2(&programs, &okta, &["query", "user", &id]).status.success(), "it is gone");
}
