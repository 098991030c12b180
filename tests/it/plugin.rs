//! `kubectl rolecall status` on a real API server: with the right to the journals it shows people, without it what the statuses hold.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::system::{System, program};

fn status(kubeconfig: &Path, args: &[&str]) -> String {
    let output = Command::new(program().with_file_name("kubectl-rolecall"))
        .arg("status")
        .args(args)
        .env("KUBECONFIG", kubeconfig)
        .output()
        .expect("the plugin");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn status_shows_people_to_who_may_read_the_journals_and_to_nobody_else() {
    let cluster = Cluster::shared();
    let system = System::install(cluster, "plugin").await;
    let _controller = system.controller();
    let gateway = system.gateway().await;
    system.namespace("plugin-a", json!({})).await;
    let okta = system.source(&gateway.url, "plugin-okta").await;
    let ada = okta.user("ada@corp.example").await;
    let group = okta.group("Backend", &[&ada]).await;
    let spec = json!({"sources": ["plugin-okta"], "groups": {"names": ["Backend", "Nobody"]},
        "grants": [{"roleRef": {"kind": "ClusterRole", "name": "view"}}]});
    system.apply(&system.mapping("RoleMapping", Some("plugin-a"), "m", spec));
    system.until_may("oidc:ada@corp.example", "list", "plugin-a", true).await;
    system
        .until_condition("rolemapping", Some("plugin-a"), "m", "Ready", "True", "")
        .await;

    // An admin: everything, from the journals. The binding is recorded as made with the next append, or after a second.
    tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
    let text = status(&cluster.kubeconfig(), &["-n", "plugin-a", "-o", "json"]);
    let report: Value = serde_json::from_str(&text).expect("JSON");
    let named = |list: &Value, key: &str, value: &str| list.as_array().into_iter().flatten().find(|v| v[key] == value).cloned();
    let source = named(&report["sources"], "name", "plugin-okta").unwrap_or_else(|| panic!("no source: {text}"));
    assert_eq!(
        (&source["from"], &source["users"], &source["groupCount"]),
        (&json!("journal"), &json!(1), &json!(1)),
        "{source:#}"
    );
    assert_eq!(source["url"], "https://rolecall.example/scim/v2/plugin-okta");
    assert_eq!(source["groups"][0]["id"], json!(group));
    assert_eq!(source["groups"][0]["mappedBy"], json!(["RoleMapping/plugin-a/m"]));
    let mapping = named(&report["mappings"], "key", "RoleMapping/plugin-a/m").unwrap_or_else(|| panic!("no mapping: {text}"));
    assert_eq!(mapping["unmatched"], json!(["Nobody"]));
    let grant = json!({"role": "ClusterRole/view", "namespace": "plugin-a", "people": ["oidc:ada@corp.example"], "underWay": []});
    assert_eq!(mapping["grants"], json!([grant]));

    // A viewer: no people, and it says why.
    cluster
        .kubectl(&["-n", "plugin-a", "create", "serviceaccount", "viewer"])
        .expect_ok();
    let role = format!("--clusterrole={}-viewer", system.installed.fullname);
    let bind = [
        "create",
        "clusterrolebinding",
        "plugin-viewer",
        &role,
        "--serviceaccount=plugin-a:viewer",
    ];
    cluster.kubectl(&bind).expect_ok();
    let viewer = cluster.kubeconfig_for("plugin-viewer", &cluster.token("plugin-a", "viewer").await);
    let text = status(&viewer, &["-n", "plugin-a", "--system-namespace", "plugin"]);
    assert!(!text.contains("ada@corp.example"), "{text}");
    for part in [
        "RoleMapping/plugin-a/m  Ready",
        "Backend",
        "grants   to 1 person",
        "you may not read the journal access in namespace plugin",
    ] {
        assert!(text.contains(part), "no {part:?}: {text}");
    }
}
