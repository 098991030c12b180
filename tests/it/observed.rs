//! What others granted, and what roles permit: it is told in conditions and metrics, and nothing is changed by it.

use std::time::Duration;

use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::system::{System, free_port, until};

fn role(name: &str, verbs: &[&str]) -> Value {
    json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": name},
        "rules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": verbs}]})
}

fn binding(namespace: &str, name: &str, role: &str, kind: &str, subject: &str) -> Value {
    json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": name, "namespace": namespace},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": subject}]})
}

async fn message(system: &System<'_>, kind: &str, name: &str, condition: &str, wanted: bool) -> String {
    let find = || {
        let status = system.status(kind, None, name);
        let mut all = status["conditions"].as_array().cloned().unwrap_or_default().into_iter();
        all.find(|c| c["type"] == condition && c["status"] == "True")
    };
    let so = until(Duration::from_secs(30), || async { find().is_some() == wanted }).await;
    assert!(so.is_ok(), "{condition} of {name}: {wanted}\n{}", system.explain());
    find()
        .map(|c| {
            format!(
                "{}: {}",
                c["reason"].as_str().unwrap_or_default(),
                c["message"].as_str().unwrap_or_default()
            )
        })
        .unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_others_granted_and_what_roles_permit_is_told_and_left_alone() {
    let cluster = Cluster::shared();
    let system = System::install(cluster, "observed").await;
    system.namespace("observed-a", json!({})).await;
    system.apply(&role("observed-reader", &["get"]));
    let health = format!("127.0.0.1:{}", free_port());
    let address = format!("--health-address={health}");
    let _controller = system.controller_with(&[&address, "--survey-interval=1s"], None);
    let gateway = system.gateway().await;
    let okta = system.source(&gateway.url, "observed-okta").await;
    let (ada, bob) = (okta.user("ada@observed.example").await, okta.user("bob@observed.example").await);
    okta.group("observed-devs", &[&ada, &bob]).await;
    okta.group("observed-empty", &[]).await;
    let spec = json!({"sources": ["observed-okta"], "groups": {"names": ["observed-devs", "observed-empty"]}, "grants": [
        {"roleRef": {"kind": "ClusterRole", "name": "view"}, "namespaces": {"names": ["observed-a"]}},
    ]});
    system.apply(&system.mapping("ClusterRoleMapping", None, "observed", spec));
    system.until_may("oidc:ada@observed.example", "list", "observed-a", true).await;
    let empty = || async { system.status("clusterrolemapping", None, "observed")["emptyGroups"] == 1 };
    assert!(until(Duration::from_secs(20), empty).await.is_ok(), "{}", system.explain());

    let by_hand = [
        binding("observed-a", "of-bob", "view", "User", "oidc:bob@observed.example"),
        binding("observed-a", "of-devs", "view", "Group", "observed-devs"),
    ];
    by_hand.iter().for_each(|binding| system.apply(binding));
    let told = message(&system, "scimsource", "observed-okta", "UnmanagedAccess", true).await;
    assert!(
        told.starts_with("MappedGroup: 1 binding ") && told.contains("RoleBinding observed-a/of-devs"),
        "{told}"
    );
    okta.active(&bob, false).await;
    let disabled = || async {
        message(&system, "scimsource", "observed-okta", "UnmanagedAccess", true)
            .await
            .starts_with("DisabledPerson: 1 binding ")
    };
    assert!(until(Duration::from_secs(20), disabled).await.is_ok(), "{}", system.explain());
    let told = message(&system, "scimsource", "observed-okta", "UnmanagedAccess", true).await;
    assert!(
        told.contains("RoleBinding observed-a/of-bob") && !told.contains("bob@"),
        "no person's name: {told}"
    );
    let page = system
        .http
        .get(format!("http://{health}/metrics"))
        .send()
        .await
        .expect("an answer")
        .text()
        .await
        .expect("a page");
    assert!(
        page.contains(r#"rolecall_findings{object="observed-okta",reason="DisabledPerson"} 1"#),
        "{page}"
    );
    assert!(
        system.may("oidc:bob@observed.example", "list", "observed-a").await,
        "what is not ours is left alone"
    );
    for name in ["of-bob", "of-devs"] {
        cluster.kubectl(&["delete", "rolebinding", "-n", "observed-a", name]).expect_ok();
    }
    message(&system, "scimsource", "observed-okta", "UnmanagedAccess", false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_that_permits_more_is_told_until_somebody_has_looked() {
    let cluster = Cluster::shared();
    let install = crate::install::Install::new("observed-role").value("accessPolicy.clusterRoles=[\"observed-wide\"]");
    let system = System::with(cluster, install).await;
    system.namespace("observed-role-a", json!({})).await;
    system.apply(&role("observed-wide", &["get"]));
    let _controller = system.controller_with(&["--survey-interval=1s"], None);
    let gateway = system.gateway().await;
    let okta = system.source(&gateway.url, "observed-role-okta").await;
    let ann = okta.user("ann@observed.example").await;
    okta.group("Readers", &[&ann]).await;
    let spec = json!({"sources": ["observed-role-okta"], "groups": {"names": ["Readers"]}, "grants": [
        {"roleRef": {"kind": "ClusterRole", "name": "observed-wide"}, "namespaces": {"names": ["observed-role-a"]}},
    ]});
    system.apply(&system.mapping("ClusterRoleMapping", None, "observed-role", spec));
    let seen = || async {
        let all = crate::kit::records(&system.admin, "observed-role", "access").await;
        all.iter().any(|record| record.event["e"] == "rolesSeen")
    };
    assert!(until(Duration::from_secs(20), seen).await.is_ok(), "{}", system.explain());
    system.apply(&role("observed-wide", &["get", "delete"]));
    let told = message(&system, "clusterrolemapping", "observed-role", "RoleChanged", true).await;
    assert!(told.contains("ClusterRole/observed-wide"), "{told}");
    cluster
        .kubectl(&["annotate", "clusterrolemapping", "observed-role", "rolecall.dev/requestedAt=looked"])
        .expect_ok();
    message(&system, "clusterrolemapping", "observed-role", "RoleChanged", false).await;
}
