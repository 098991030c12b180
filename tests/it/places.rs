//! Where a mapping grants beside the namespaces that there are: in the whole cluster, and in namespaces that it makes.

use std::time::Duration;

use serde_json::{Value, json};

use crate::cluster::{Cluster, Who};
use crate::install::Install;
use crate::system::{System, until};

fn metadata(system: &System<'_>, namespace: &str) -> Value {
    let text = system.cluster.kubectl(&["get", "namespace", namespace, "-o", "json"]).expect_ok();
    let object: Value = serde_json::from_str(&text).expect("JSON");
    object["metadata"].clone()
}

fn wide(system: &System<'_>) -> Vec<Value> {
    let label = format!("rolecall.dev/class={}", system.installed.class);
    let text = system
        .cluster
        .kubectl(&["get", "clusterrolebindings", "-l", &label, "-o", "json"])
        .expect_ok();
    let list: Value = serde_json::from_str(&text).expect("JSON");
    list["items"].as_array().cloned().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_whole_cluster_is_granted_by_its_own_list_and_taken_away_when_that_is_emptied() {
    // people whom no other test knows: they may look into every namespace of the shared cluster
    let install = || Install::new("wide").value(r#"accessPolicy.clusterWideRoles=["view"]"#);
    let system = System::with(Cluster::shared(), install()).await;
    let mut controller = system.controller();
    let gateway = system.gateway().await;
    let okta = system.source(&gateway.url, "wide-okta").await;
    let [ada, bob] = [okta.user("wide-ada@corp.example").await, okta.user("wide-bob@corp.example").await];
    let group = okta.group("auditors", &[&ada, &bob]).await;
    let spec = |role: &str| {
        json!({"sources": ["wide-okta"], "groups": {"names": ["auditors"]}, "limits": {"removalsPerHour": 100, "removalPercent": 100}, "grants": [
            {"roleRef": {"kind": "ClusterRole", "name": role}, "namespaces": {"all": true}},
        ]})
    };
    system.apply(&system.mapping("ClusterRoleMapping", None, "wide", spec("view")));
    system.until_may("oidc:wide-ada@corp.example", "list", "default", true).await;
    system.until_may("oidc:wide-bob@corp.example", "list", "kube-public", true).await;
    system
        .until_condition("clusterrolemapping", None, "wide", "Ready", "True", "Succeeded")
        .await;
    let status = system.status("clusterrolemapping", None, "wide");
    assert_eq!(status["summary"], "view in the whole cluster, 2 people", "{status:#}");
    assert_eq!(wide(&system).len(), 1);
    // somebody leaves, somebody else's hand, a restart
    okta.patch(
        &format!("/Groups/{group}"),
        json!([{"op": "remove", "path": format!("members[value eq \"{bob}\"]")}]),
    )
    .await;
    system.until_may("oidc:wide-bob@corp.example", "list", "default", false).await;
    let name = wide(&system)[0]["metadata"]["name"].as_str().expect("a name").to_owned();
    system.cluster.kubectl(&["delete", "clusterrolebinding", &name]).expect_ok();
    system.until_may("oidc:wide-ada@corp.example", "list", "default", true).await;
    controller.signal("KILL");
    assert!(controller.ended(Duration::from_secs(5)));
    let _controller = system.controller();
    // a role that may be granted in namespaces only: told with the list, and what was granted goes
    system
        .merge("clusterrolemapping", None, "wide", &json!({"grants": spec("edit")["grants"]}))
        .expect_ok();
    system
        .until_condition("clusterrolemapping", None, "wide", "Ready", "False", "RoleNotAllowed")
        .await;
    let status = system.status("clusterrolemapping", None, "wide").to_string();
    assert!(
        status.contains(r#"is not in accessPolicy.clusterWideRoles (Helm value); allowed: view"#),
        "{status}"
    );
    system.until_may("oidc:wide-ada@corp.example", "list", "default", false).await;
    system
        .merge("clusterrolemapping", None, "wide", &json!({"grants": spec("view")["grants"]}))
        .expect_ok();
    system.until_may("oidc:wide-ada@corp.example", "list", "default", true).await;
    // the list is emptied, and with it the right to write such bindings: what was granted goes all the same
    Install::new("wide").put(system.cluster).await;
    system.until_may("oidc:wide-ada@corp.example", "list", "default", false).await;
    let gone = until(Duration::from_secs(20), || async { wide(&system).is_empty() });
    assert!(gone.await.is_ok(), "{:?}", wide(&system));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn missing_namespaces_are_made_and_never_deleted() {
    let install = Install::new("made").value(r#"accessPolicy.podSecurityLevels=["restricted"]"#);
    let system = System::with(Cluster::shared(), install).await;
    let _controller = system.controller();
    let gateway = system.gateway().await;
    let okta = system.source(&gateway.url, "made-okta").await;
    let ada = okta.user("ada@corp.example").await;
    let spec = json!({"sources": ["made-okta"], "groups": {"pattern": "^made-(?<team>.+)$"}, "grants": [
        {"roleRef": {"kind": "ClusterRole", "name": "edit"}, "namespaces": {"expression": "'made-' + match.team", "create": {
            "labels": {"corp.example/made": "yes", "pod-security.kubernetes.io/enforce": "restricted"},
            "labelExpressions": {"team": "match.team"}, "annotations": {"corp.example/owner": "platform"}}}},
    ]});
    let mut planned = spec.clone();
    planned["mode"] = json!("Plan");
    system.apply(&system.mapping("ClusterRoleMapping", None, "made", planned));
    let group = okta.group("made-new", &[&ada]).await;
    let _protected = okta.group("made-UPPER", &[&ada]).await;
    // a plan makes nothing
    system
        .until_condition("clusterrolemapping", None, "made", "Ready", "True", "Plan")
        .await;
    let missing = || {
        system
            .cluster
            .kubectl(&["get", "namespace", "made-new", "--ignore-not-found", "-o", "name"])
            .expect_ok()
    };
    let summary = || system.status("clusterrolemapping", None, "made")["summary"].to_string();
    assert!(summary().contains("1 namespace missing"), "{}", summary());
    assert_eq!(missing(), "");
    let policy = format!("--access-policy={}", system.installed.access_policy.display());
    let (code, text) = system.plugin(&["plan", &policy, "crmap/made"]);
    assert_eq!(code, 1, "{text}");
    for part in [
        "+  oidc:ada@corp.example  ClusterRole/edit  made-new",
        "namespaces that would be made: made-new",
    ] {
        assert!(text.contains(part), "no {part:?}: {text}");
    }
    system
        .merge("clusterrolemapping", None, "made", &json!({"mode": "Enforce"}))
        .expect_ok();
    system.until_may("oidc:ada@corp.example", "create", "made-new", true).await;
    let made = metadata(&system, "made-new");
    for (label, value) in [
        ("corp.example/made", "yes"),
        ("pod-security.kubernetes.io/enforce", "restricted"),
        ("team", "new"),
        ("app.kubernetes.io/managed-by", "rolecall"),
        ("rolecall.dev/class", "made"),
    ] {
        assert_eq!(made["labels"][label], value, "{made:#}");
    }
    assert_eq!(made["annotations"]["rolecall.dev/mapping"], "ClusterRoleMapping/made");
    assert_eq!(made["annotations"]["corp.example/owner"], "platform");
    system
        .until_condition("clusterrolemapping", None, "made", "Ready", "True", "Succeeded")
        .await;

    // Deleted by an admin, it comes again: the mapping says that it is to be there.
    system
        .cluster
        .kubectl(&["delete", "namespace", "made-new", "--wait=false"])
        .expect_ok();
    let again = until(Duration::from_secs(40), || async {
        let there = system
            .cluster
            .kubectl(&["get", "namespace", "made-new", "--ignore-not-found", "-o", "json"])
            .expect_ok();
        let object: Value = serde_json::from_str(&there).unwrap_or_default();
        object["metadata"]["uid"] != made["uid"] && object["status"]["phase"] == "Active"
    });
    assert!(again.await.is_ok(), "{}", missing());
    system.until_may("oidc:ada@corp.example", "create", "made-new", true).await;

    // Nothing maps it any more: it stays, and says so; mapped again, it is as before.
    okta.patch(
        &format!("/Groups/{group}"),
        json!([{"op": "replace", "path": "displayName", "value": "made-other"}]),
    )
    .await;
    system.until_may("oidc:ada@corp.example", "create", "made-other", true).await;
    system.until_may("oidc:ada@corp.example", "create", "made-new", false).await;
    let system = &system;
    let labelled = |value: &'static str| {
        until(Duration::from_secs(30), move || async move {
            metadata(system, "made-new")["labels"]["rolecall.dev/unused"]
                .as_str()
                .unwrap_or_default()
                == value
        })
    };
    assert!(labelled("true").await.is_ok(), "{:#}", metadata(system, "made-new"));
    okta.patch(
        &format!("/Groups/{group}"),
        json!([{"op": "replace", "path": "displayName", "value": "made-new"}]),
    )
    .await;
    assert!(labelled("").await.is_ok(), "{:#}", metadata(system, "made-new"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_may_not_make_namespaces_writes_no_mapping_that_does() {
    let system = System::install(Cluster::shared(), "maker").await;
    let spec = json!({"sources": ["maker-okta"], "groups": {"names": ["devs"]}, "grants": [
        {"roleRef": {"kind": "ClusterRole", "name": "view"}, "namespaces": {"names": ["maker-a"], "create": {}}},
    ]});
    let object = system.mapping("ClusterRoleMapping", None, "maker", spec);
    let rules = json!([
        {"apiGroups": ["rolecall.dev"], "resources": ["clusterrolemappings"], "verbs": ["*"]},
        {"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["clusterroles"], "verbs": ["bind"]},
    ]);
    let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "maker"}, "rules": rules});
    let binding = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "maker"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "maker"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "maker"}]});
    system.apply(&role);
    system.apply(&binding);
    let client = system.cluster.client(&Who::user("maker")).await;
    let api: kube::Api<rolecall::api::ClusterRoleMapping> = kube::Api::all(client);
    let mapping: rolecall::api::ClusterRoleMapping = serde_json::from_value(object).expect("a mapping");
    let refused = api
        .create(&kube::api::PostParams::default(), &mapping)
        .await
        .expect_err("refused")
        .to_string();
    assert!(refused.contains("maker needs the verb create on namespaces"), "{refused}");
    let mut rules = rules;
    rules
        .as_array_mut()
        .expect("rules")
        .push(json!({"apiGroups": [""], "resources": ["namespaces"], "verbs": ["create"]}));
    system.apply(
        &json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "maker"}, "rules": rules}),
    );
    let made = until(Duration::from_secs(10), || async {
        api.create(&kube::api::PostParams::default(), &mapping).await.is_ok()
    });
    assert!(made.await.is_ok());
}
