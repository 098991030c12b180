//! The end of an installation: `helm uninstall` takes no access away, and `kubectl rolecall uninstall` leaves it to the admins or ends it. Nothing hangs, and
//! another installation is left alone.

use serde_json::json;

use crate::cluster::Cluster;
use crate::system::System;

/// An installation that has granted something to ada and bob, and whose processes have ended; `end` sees it while they run.
async fn granted<'a>(cluster: &'a Cluster, name: &'static str, end: impl Fn(&System<'a>)) -> System<'a> {
    let system = System::install(cluster, name).await;
    let mut controller = system.controller();
    let gateway = system.gateway().await;
    let place = format!("{name}-a");
    system.namespace(&place, json!({})).await;
    let okta = system.source(&gateway.url, &format!("{name}-okta")).await;
    let (ada, bob) = (okta.user("ada@corp.example").await, okta.user("bob@corp.example").await);
    okta.group("devs", &[&ada, &bob]).await;
    let spec = json!({"sources": [format!("{name}-okta")], "groups": {"names": ["devs"]}, "grants": [{"roleRef": {"kind": "ClusterRole", "name": "view"}}]});
    system.apply(&system.mapping("RoleMapping", Some(&place), "m", spec.clone()));
    let mut wide = spec;
    wide["grants"][0]["namespaces"] = json!({"names": [place]});
    wide["grants"][0]["roleRef"]["name"] = json!("edit");
    system.apply(&system.mapping("ClusterRoleMapping", None, &format!("{name}-wide"), wide));
    system.until_may("oidc:ada@corp.example", "create", &place, true).await;
    end(&system);
    controller.signal("TERM");
    assert!(controller.ended(std::time::Duration::from_secs(10)), "it ends");
    let release = &system.installed.release;
    cluster
        .helm(&["uninstall", release, "-n", &system.installed.namespace, "--wait"])
        .expect_ok();
    assert!(
        system.may("oidc:ada@corp.example", "list", &place).await,
        "helm uninstall takes no access away"
    );
    system
}

fn uninstall(system: &System<'_>, args: &[&str]) -> (i32, String) {
    let (class, namespace) = (&system.installed.class, &system.installed.namespace);
    system.plugin(&[&["uninstall", "--class", class, "--system-namespace", namespace], args].concat())
}

fn left(system: &System<'_>, place: &str) -> String {
    let namespace = &system.installed.namespace;
    let get = |args: &[&str]| system.cluster.kubectl(&[&["get", "-o", "name"], args].concat()).expect_ok();
    let ours = format!("rolecall.dev/class={}", system.installed.class);
    get(&["rolebindings,clusterrolebindings", "-A", "-l", &ours])
        + &get(&["journals,segments", "-n", namespace])
        + &get(&["rolemappings", "-n", place])
}

#[tokio::test]
async fn kept_access_is_nobodys_and_revoked_access_is_gone() {
    let cluster = Cluster::shared();
    let refused = |system: &System<'_>| {
        let (code, text) = uninstall(system, &["--revoke", "--yes"]);
        assert!(code == 1 && text.contains("a controller still runs"), "{code} {text}");
    };
    let kept = granted(cluster, "ended-kept", refused).await;
    let revoked = granted(cluster, "ended-revoked", refused).await;
    let (code, text) = uninstall(&kept, &["--keep", "--dry-run"]);
    assert!(
        code == 0 && text.contains("2 bindings stay") && text.contains("2 mappings, 1 sources, 2 journals"),
        "{code} {text}"
    );
    let (code, text) = uninstall(&kept, &["--keep"]);
    assert!(code == 1 && text.contains("--yes"), "{code} {text}");
    assert!(left(&kept, "ended-kept-a").contains("rolecall-"), "nothing was done");

    let (code, text) = uninstall(&kept, &["--keep", "--yes"]);
    assert!(code == 0 && text.contains("of other installations need them"), "{code} {text}");
    assert_eq!(left(&kept, "ended-kept-a"), "");
    for verb in ["list", "create"] {
        assert!(kept.may("oidc:ada@corp.example", verb, "ended-kept-a").await, "{verb}");
    }
    let bindings = cluster
        .kubectl(&["get", "rolebindings", "-n", "ended-kept-a", "-o", "json"])
        .expect_ok();
    assert!(
        bindings.contains("RoleMapping/ended-kept-a/m") && !bindings.contains("rolecall.dev/journal"),
        "{bindings}"
    );
    assert!(
        left(&revoked, "ended-revoked-a").contains("rolecall-"),
        "another installation is left alone"
    );

    let (code, text) = uninstall(&revoked, &["--revoke", "--yes"]);
    assert!(code == 0 && text.contains("2 bindings go"), "{code} {text}");
    assert_eq!(left(&revoked, "ended-revoked-a"), "");
    assert!(!revoked.may("oidc:ada@corp.example", "list", "ended-revoked-a").await);
    let (code, text) = uninstall(&revoked, &["--revoke", "--yes"]);
    assert!(code == 0 && text.contains("There is nothing"), "{code} {text}");
}
