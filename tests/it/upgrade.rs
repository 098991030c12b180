//! From an earlier chart to today's, and back, while people come and go: nobody loses what they keep, and everybody else's changes go on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::json;

use crate::cluster::{Cluster, root};
use crate::install::Install;
use crate::system::{System, may};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upgrade_and_a_rollback_take_nothing_from_anybody() {
    let cluster = Cluster::shared();
    let system = System::with(cluster, Install::new("upgraded")).await;
    let _controller = system.controller();
    let gateway = system.gateway().await;
    system.namespace("upgraded-a", json!({})).await;
    let okta = system.source(&gateway.url, "upgraded-okta").await;
    let (ada, bob) = (okta.user("ada@corp.example").await, okta.user("bob@corp.example").await);
    let group = okta.group("devs", &[&ada]).await;
    let spec = json!({"sources": ["upgraded-okta"], "groups": {"names": ["devs"]}, "grants": [{"roleRef": {"kind": "ClusterRole", "name": "view"}}]});
    system.apply(&system.mapping("RoleMapping", Some("upgraded-a"), "m", spec));
    system.until_may("oidc:ada@corp.example", "list", "upgraded-a", true).await;

    let (stop, denied) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let watcher = tokio::spawn({
        let (admin, stop, denied) = (system.admin.clone(), stop.clone(), denied.clone());
        async move {
            let mut asked = 0;
            while !stop.load(Ordering::Relaxed) {
                if !may(&admin, "oidc:ada@corp.example", "list", "upgraded-a").await {
                    denied.fetch_add(1, Ordering::Relaxed);
                }
                asked += 1;
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            asked
        }
    });
    let helm = |args: &[&str]| {
        let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
        tokio::task::block_in_place(|| cluster.helm(&args.iter().map(String::as_str).collect::<Vec<_>>()).expect_ok());
    };
    let release = ["upgraded", "-n", "upgraded"];
    let earlier: Vec<String> = std::fs::read_dir(root().join("tests/upgrade"))
        .expect("a folder")
        .flatten()
        .map(|entry| entry.path().to_string_lossy().into_owned())
        .filter(|path| path.ends_with(".tgz"))
        .collect();
    assert!(!earlier.is_empty());
    let today = root().join("charts/rolecall").to_string_lossy().into_owned();
    // what every chart so far knows, and what keeps pods off a cluster without nodes
    let common = [
        r#"class="upgraded""#,
        "crds.enabled=false",
        r#"accessPolicy.usernamePrefixes=["oidc:"]"#,
        r#"accessPolicy.roles=["deployer"]"#,
    ];
    let none = ["gateway.replicas=0", "controller.replicas=0", "flowControl.enabled=false"];
    let set = |values: &[&'static str]| values.iter().flat_map(|value| ["--set-json", *value]).collect::<Vec<&str>>();
    let changes = async || {
        okta.add(&group, &bob).await;
        system.until_may("oidc:bob@corp.example", "list", "upgraded-a", true).await;
        okta.remove(&group, &bob).await;
        system.until_may("oidc:bob@corp.example", "list", "upgraded-a", false).await;
    };
    for chart in &earlier {
        helm(
            &[
                &["upgrade", release[0], chart, release[1], release[2], "--reset-values"][..],
                &set(&common),
            ]
            .concat(),
        );
        changes().await;
        helm(
            &[
                &["upgrade", release[0], &today, release[1], release[2], "--reset-values"][..],
                &set(&common),
                &set(&none),
            ]
            .concat(),
        );
        changes().await;
        helm(&["rollback", release[0], release[1], release[2]]);
        changes().await;
        helm(&["rollback", release[0], release[1], release[2]]);
        changes().await;
    }
    stop.store(true, Ordering::Relaxed);
    let asked = watcher.await.expect("the watcher");
    println!("asked {asked} times, denied {}", denied.load(Ordering::Relaxed));
    assert!(asked > 50 && denied.load(Ordering::Relaxed) == 0, "{asked}");
}
