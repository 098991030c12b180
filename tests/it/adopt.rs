//! `kubectl rolecall adopt` on a real API server: what it shows, what it removes, and what it leaves.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::install::Install;
use crate::system::{System, may, program, until};

fn adopt(system: &System<'_>, args: &[&str]) -> (i32, String) {
    let policy = format!("--access-policy={}", system.installed.access_policy.display());
    system.plugin(&[&["adopt", &policy], args].concat())
}

/// A binding that somebody makes, with a ClusterRole; in the whole cluster without a namespace.
fn by_hand(namespace: Option<&str>, name: &str, role: &str, subjects: &[&str]) -> Value {
    let subject = |name: &&str| match name.strip_prefix("account:") {
        Some(account) => json!({"kind": "ServiceAccount", "namespace": namespace, "name": account}),
        None => json!({"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": name}),
    };
    let subjects: Vec<Value> = subjects.iter().map(subject).collect();
    let (kind, metadata) = match namespace {
        Some(namespace) => ("RoleBinding", json!({"namespace": namespace, "name": name})),
        None => ("ClusterRoleBinding", json!({"name": name})),
    };
    json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind, "metadata": metadata,
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role}, "subjects": subjects})
}

/// The bindings that are not Rolecall's, each with its uid and resourceVersion.
fn standing(system: &System<'_>, args: &[&str]) -> BTreeSet<String> {
    let path = r#"jsonpath={range .items[*]}{.metadata.namespace}/{.metadata.name} {.metadata.uid} {.metadata.resourceVersion}{"\n"}{end}"#;
    let mut all = vec!["get", "-o", path];
    all.extend(args);
    let text = system.cluster.kubectl(&all).expect_ok();
    let others = text.lines().filter(|line| !line.contains("/rolecall-"));
    others.map(str::to_owned).collect()
}

/// Without the one of this name, which was among them.
fn without(mut standing: BTreeSet<String>, name: &str) -> BTreeSet<String> {
    let before = standing.len();
    standing.retain(|line| line.split(' ').next() != Some(name));
    assert_eq!(standing.len() + 1, before, "{name}: {standing:?}");
    standing
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_ours_cover_is_removed_and_nothing_else() {
    let system = System::install(Cluster::shared(), "adopt").await;
    let _controller = system.controller();
    let gateway = system.gateway().await;
    let (place, elsewhere) = ("adopt-a", "adopt-b");
    system.namespace(place, json!({})).await;
    system.namespace(elsewhere, json!({})).await;
    let okta = system.source(&gateway.url, "adopt-okta").await;
    let [ada, bob] = [okta.user("ada@corp.example").await, okta.user("bob@corp.example").await];
    okta.group("devs", &[&ada, &bob]).await;
    let (ada, bob) = ("oidc:ada@corp.example", "oidc:bob@corp.example");
    // what somebody made before Rolecall came covers nothing yet
    system.apply(&by_hand(Some(place), "early", "view", &[ada]));
    let (code, text) = adopt(&system, &["-n", place, "--dry-run"]);
    assert!(code == 0 && text.contains("Nothing is to be removed"), "{code} {text}");
    system.cluster.kubectl(&["delete", "rolebinding", "-n", place, "early"]).expect_ok();

    let spec =
        json!({"sources": ["adopt-okta"], "groups": {"names": ["devs"]}, "grants": [{"roleRef": {"kind": "ClusterRole", "name": "view"}}]});
    system.apply(&system.mapping("RoleMapping", Some(place), "m", spec));
    system.until_may(ada, "list", place, true).await;
    system.until_may(bob, "list", place, true).await;
    let mut helm = by_hand(Some(place), "helm", "view", &[ada]);
    helm["metadata"]["labels"] = json!({"app.kubernetes.io/managed-by": "Helm"});
    helm["metadata"]["annotations"] = json!({"meta.helm.sh/release-name": "app"});
    let nobody = "oidc:adopt-nobody@corp.example";
    for object in [
        by_hand(Some(place), "covered", "view", &[ada, bob]),
        by_hand(Some(place), "half", "view", &[ada, nobody]),
        helm,
        by_hand(Some(place), "account", "view", &[ada, "account:ci"]),
        by_hand(Some(place), "role", "edit", &[ada]),
        by_hand(Some(elsewhere), "covered", "view", &[ada]),
    ] {
        system.apply(&object);
    }

    // It shows everything and changes nothing: not by a dry run, not without a terminal, not without the right.
    let before = standing(&system, &["rolebindings", "-n", place]);
    let (code, text) = adopt(&system, &["-n", place, "--dry-run"]);
    assert_eq!(code, 1, "{text}");
    for part in [
        "-  RoleBinding/adopt-a/covered  ClusterRole/view\n",
        "by RoleMapping/adopt-a/m",
        "?  RoleBinding/adopt-a/half  ClusterRole/view\n",
        "not covered, so that it stays: User oidc:adopt-nobody@corp.example\n",
        "?  RoleBinding/adopt-a/account  ClusterRole/view\n",
        "not covered, so that it stays: ServiceAccount adopt-a/ci\n",
        "!  RoleBinding/adopt-a/helm  ClusterRole/view\n",
        "stays: Helm manages it",
        "1 binding is to be removed.",
    ] {
        assert!(text.contains(part), "no {part:?}: {text}");
    }
    assert!(
        !text.contains("ClusterRole/edit") && !text.contains(elsewhere) && !text.contains("/rolecall-"),
        "{text}"
    );
    let (code, text) = adopt(&system, &["-n", place]);
    assert!(code == 2 && text.contains("no terminal"), "{code} {text}");
    let kubeconfig = reader(&system, place).await;
    // the API server may not know these rights yet
    let refused = until(Duration::from_secs(10), || async {
        let (code, text) = as_reader(&system, &kubeconfig, place);
        code == 2 && text.contains("RoleBinding/adopt-a/covered not removed: ") && text.contains("cannot delete")
    });
    assert!(refused.await.is_ok(), "{:?}", as_reader(&system, &kubeconfig, place));
    assert_eq!(standing(&system, &["rolebindings", "-n", place]), before, "nothing changed");

    // It removes one, and bob, who has nothing else, is denied nothing meanwhile.
    let all = standing(&system, &["rolebindings", "-n", elsewhere]);
    let stop = Arc::new(AtomicBool::new(false));
    let watching = tokio::spawn({
        let (client, stop) = (system.admin.clone(), Arc::clone(&stop));
        async move {
            let (mut asked, mut denied) = (0, 0);
            while !stop.load(Ordering::Relaxed) {
                asked += 1;
                denied += usize::from(!may(&client, "oidc:bob@corp.example", "list", "adopt-a").await);
            }
            (asked, denied)
        }
    });
    let (code, text) = adopt(&system, &["-n", place, "--yes"]);
    tokio::time::sleep(Duration::from_millis(500)).await;
    stop.store(true, Ordering::Relaxed);
    let (asked, denied) = watching.await.expect("a task");
    assert!(
        code == 0 && text.contains("RoleBinding/adopt-a/covered removed.\n"),
        "{code} {text}"
    );
    assert!(asked > 10 && denied == 0, "{denied} of {asked} were denied: {text}");
    let left = standing(&system, &["rolebindings", "-n", place]);
    assert_eq!(left, without(before, "adopt-a/covered"));
    assert_eq!(standing(&system, &["rolebindings", "-n", elsewhere]), all);

    // Then there is nothing to do.
    let (code, text) = adopt(&system, &["-n", place, "--yes", "-o", "json"]);
    let told: Value = serde_json::from_str(&text).expect("JSON");
    let verdicts: Vec<_> = told["bindings"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|one| &one["verdict"])
        .collect();
    assert_eq!(code, 0, "{text}");
    assert_eq!(verdicts, ["Partly", "Partly", "Skipped"], "{text}");
}

/// A kubeconfig of a ServiceAccount that may read what the verb needs, and delete nothing.
async fn reader(system: &System<'_>, place: &str) -> PathBuf {
    let cluster = system.cluster;
    cluster.kubectl(&["-n", place, "create", "serviceaccount", "reader"]).expect_ok();
    let rules = json!([
        {"apiGroups": ["rolecall.dev"], "resources": ["journals"], "verbs": ["get", "list"]},
        {"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["rolebindings", "clusterrolebindings"], "verbs": ["get", "list"]},
    ]);
    system.apply(
        &json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "adopt-reader"}, "rules": rules}),
    );
    let account = format!("--serviceaccount={place}:reader");
    let bind = [
        "create",
        "clusterrolebinding",
        "adopt-reader",
        "--clusterrole=adopt-reader",
        &account,
    ];
    cluster.kubectl(&bind).expect_ok();
    cluster.kubeconfig_for("adopt-reader", &cluster.token(place, "reader").await)
}

fn as_reader(system: &System<'_>, kubeconfig: &Path, place: &str) -> (i32, String) {
    let output = Command::new(program().with_file_name("kubectl-rolecall"))
        .args(["adopt", "--yes", "-n", place])
        .arg(format!("--access-policy={}", system.installed.access_policy.display()))
        .env("KUBECONFIG", kubeconfig)
        .stdin(Stdio::null())
        .output()
        .expect("the plugin");
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.code().unwrap_or(-1), text)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_granted_in_the_whole_cluster_covers_bindings_of_both_kinds() {
    // all namespaces: no other test's
    let cluster = Cluster::own();
    let install = Install {
        crds: true,
        ..Install::new("adopt-wide").value(r#"accessPolicy.clusterWideRoles=["view"]"#)
    };
    let system = System::with(&cluster, install).await;
    let _controller = system.controller();
    let gateway = system.gateway().await;
    let okta = system.source(&gateway.url, "adopt-wide-okta").await;
    let ada = okta.user("ada@corp.example").await;
    okta.group("auditors", &[&ada]).await;
    let spec = json!({"sources": ["adopt-wide-okta"], "groups": {"names": ["auditors"]}, "grants": [
        {"roleRef": {"kind": "ClusterRole", "name": "view"}, "namespaces": {"all": true}},
    ]});
    system.apply(&system.mapping("ClusterRoleMapping", None, "wide", spec));
    let ada = "oidc:ada@corp.example";
    system.until_may(ada, "list", "default", true).await;
    for object in [
        by_hand(None, "adopt-auditors", "view", &[ada]),
        by_hand(None, "adopt-others", "view", &["oidc:eve@corp.example"]),
        by_hand(Some("default"), "auditors", "view", &[ada]),
        by_hand(Some("kube-public"), "auditors", "view", &[ada]),
    ] {
        system.apply(&object);
    }
    // The one access policy in the cluster is found. A namespace's own are of that namespace only.
    let (code, text) = system.plugin(&["adopt", "--dry-run", "-n", "default"]);
    assert!(code == 1 && text.contains("1 binding is to be removed."), "{code} {text}");
    let both = ["rolebindings,clusterrolebindings", "-A"];
    let before = standing(&system, &both);
    let (code, text) = system.plugin(&["adopt", "-A", "--yes"]);
    assert_eq!(code, 0, "{text}");
    for part in [
        "ClusterRoleBinding/adopt-auditors removed.\n",
        "RoleBinding/default/auditors removed.\n",
        "stays: the access policy protects the namespace kube-public\n",
    ] {
        assert!(text.contains(part), "no {part:?}: {text}");
    }
    let left = without(without(before, "/adopt-auditors"), "default/auditors");
    assert_eq!(standing(&system, &both), left);
    assert!(system.may(ada, "list", "default").await);
    let (code, text) = system.plugin(&["adopt", "-A"]);
    assert!(code == 0 && text.contains("Nothing is to be removed"), "{code} {text}");
}
