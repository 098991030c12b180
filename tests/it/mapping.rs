//! What a mapping says beside groups and roles, on a real API server: whether it acts, which members it means, when it ends.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::system::{System, until};

fn merge(system: &System<'_>, kind: &str, name: &str, namespace: Option<&str>, spec: &Value) {
    system.merge(kind, namespace, name, spec).expect_ok();
}

/// `kubectl rolecall plan`: exit code, and what it says.
fn plan(system: &System<'_>, args: &[&str]) -> (i32, String) {
    let policy = format!("--access-policy={}", system.installed.access_policy.display());
    system.plugin(&[&["plan", &policy], args].concat())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plan_changes_nothing_and_says_how_much_it_would() {
    let system = System::install(Cluster::shared(), "planned").await;
    let _controller = system.controller();
    let gateway = system.gateway().await;
    let place = "planned-a";
    system.namespace(place, json!({})).await;
    let okta = system.source(&gateway.url, "planned-okta").await;
    let [ada, bob, cy] = [
        okta.user("ada@corp.example").await,
        okta.user("bob@corp.example").await,
        okta.user("cy@corp.example").await,
    ];
    let group = okta.group("devs", &[&ada, &bob]).await;
    let spec = json!({"sources": ["planned-okta"], "mode": "Plan", "groups": {"names": ["devs"]}, "grants": [
        {"roleRef": {"kind": "ClusterRole", "name": "view"}, "namespaces": {"names": [place]}},
    ]});
    // Before it is there at all: what a file would do.
    system
        .until_condition("scimsource", None, "planned-okta", "Ready", "True", "")
        .await;
    let object = system.mapping("ClusterRoleMapping", None, "planned", spec);
    let mut enforced = object.clone();
    enforced["spec"]["mode"] = json!("Enforce");
    let file = system.cluster.dir().join("planned.yaml");
    let others = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: other}\n---\n";
    std::fs::write(&file, format!("{others}{enforced}\n")).expect("written");
    let (code, text) = plan(&system, &["-f", &file.display().to_string()]);
    assert_eq!(code, 1, "{text}");
    for part in [
        "ClusterRoleMapping/planned  2 grants, 0 removals; 0 people keep what they have",
        "+  oidc:ada@corp.example  ClusterRole/view  planned-a\n",
        "is an active member",
        "group \"devs\"",
    ] {
        assert!(text.contains(part), "no {part:?}: {text}");
    }
    system.apply(&object);
    let held = async |says: &str| {
        let told = until(Duration::from_secs(20), || async {
            let status = system.status("clusterrolemapping", None, "planned");
            let held = status["conditions"]
                .as_array()
                .into_iter()
                .flatten()
                .find(|one| one["type"] == "Held")
                .cloned();
            held.is_some_and(|held| held["reason"] == "Plan" && held["message"].as_str().unwrap_or_default().starts_with(says))
        });
        assert!(
            told.await.is_ok(),
            "{says}: {:#}",
            system.status("clusterrolemapping", None, "planned")
        );
    };
    held("2 grants wait: spec.mode is Plan").await;
    system
        .until_condition("clusterrolemapping", None, "planned", "Ready", "True", "Plan")
        .await;
    assert_eq!(system.status("clusterrolemapping", None, "planned")["mode"], json!("Plan"));
    let (code, text) = plan(&system, &["ClusterRoleMapping/planned"]);
    assert!(
        code == 1 && text.contains("+  oidc:bob@corp.example  ClusterRole/view  planned-a (waits: Plan)"),
        "{code} {text}"
    );
    let (ada_may, bob_may, cy_may) = ("oidc:ada@corp.example", "oidc:bob@corp.example", "oidc:cy@corp.example");
    assert!(!system.may(ada_may, "list", place).await && !system.may(bob_may, "list", place).await);
    assert!(
        !system
            .cluster
            .kubectl(&["get", "rolebindings", "-n", place, "-o", "name"])
            .expect_ok()
            .contains("rolebinding")
    );

    merge(&system, "clusterrolemapping", "planned", None, &json!({"mode": "Enforce"}));
    system.until_may(ada_may, "list", place, true).await;
    system.until_may(bob_may, "list", place, true).await;

    let quiet = until(Duration::from_secs(10), || async { plan(&system, &["crmap/planned"]).0 == 0 });
    assert!(quiet.await.is_ok(), "{:?}", plan(&system, &["crmap/planned"]));
    assert!(
        plan(&system, &["crmap/planned"])
            .1
            .contains("nothing would change; 2 people keep what they have")
    );
    // What cannot be said, and what is no mapping.
    for (args, says) in [
        (vec!["crmap/nobody"], "there is no crmap/nobody"),
        (vec!["planned"], "is no name"),
        (vec!["-f", "/dev/null"], "no RoleMapping"),
    ] {
        let (code, text) = plan(&system, &args);
        assert!(code == 2 && text.contains(says), "{args:?}: {code} {text}");
    }

    // Back to a plan: what the provider says of people acts, what it says of groups waits.
    merge(&system, "clusterrolemapping", "planned", None, &json!({"mode": "Plan"}));
    system
        .until_condition("clusterrolemapping", None, "planned", "Ready", "True", "Plan")
        .await;
    let members = json!([
        {"op": "remove", "path": format!("members[value eq \"{ada}\"]")}, {"op": "add", "path": "members", "value": [{"value": cy}]}
    ]);
    okta.patch(&format!("/Groups/{group}"), members).await;
    okta.active(&bob, false).await;
    system.until_may(bob_may, "list", place, false).await;
    held("1 grant and 1 removal wait: spec.mode is Plan").await;
    assert!(system.may(ada_may, "list", place).await && !system.may(cy_may, "list", place).await);
    let (code, text) = plan(&system, &["ClusterRoleMapping/planned", "-o", "json"]);
    let told: Value = serde_json::from_str(&text).expect("JSON");
    let changes = told["mappings"][0]["changes"].as_array().expect("changes");
    let short: Vec<_> = changes
        .iter()
        .map(|one| (one["grant"].as_bool(), one["name"].as_str(), one["waits"].as_str()))
        .collect();
    assert_eq!(
        (code, short),
        (
            1,
            vec![(Some(true), Some(cy_may), Some("Plan")), (Some(false), Some(ada_may), Some("Plan"))]
        ),
        "{text}"
    );
    assert!(
        changes[1]["why"]
            .as_str()
            .is_some_and(|why| why.starts_with("in none of the mapped groups any more")),
        "{text}"
    );
    merge(&system, "clusterrolemapping", "planned", None, &json!({"mode": "Enforce"}));
    system.until_may(cy_may, "list", place, true).await;
    system.until_may(ada_may, "list", place, false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_the_members_those_whom_the_filter_selects() {
    let system = System::install(Cluster::shared(), "members").await;
    let _controller = system.controller();
    let gateway = system.gateway().await;
    let place = "members-a";
    system.namespace(place, json!({})).await;
    let okta = system.source(&gateway.url, "members-okta").await;
    let (ada, bob) = (okta.user("ada@corp.example").await, okta.user("bob@corp.example").await);
    let kind = async |user: &str, kind: &str| {
        okta.patch(
            &format!("/Users/{user}"),
            json!([{"op": "replace", "path": "userType", "value": kind}]),
        )
        .await;
    };
    kind(&ada, "Employee").await;
    kind(&bob, "Contractor").await;
    okta.group("devs", &[&ada, &bob]).await;
    let spec = json!({"sources": ["members-okta"], "groups": {"names": ["devs"]}, "members": {"filter": "userType eq \"employee\""},
        "grants": [{"roleRef": {"kind": "ClusterRole", "name": "view"}}]});
    system.apply(&system.mapping("RoleMapping", Some(place), "devs", spec));
    // An attribute that the source does not show namespaces.
    let told = system
        .until_condition("rolemapping", Some(place), "devs", "Ready", "False", "AttributeNotMappable")
        .await;
    assert!(told.contains("usertype") && told.contains("mappableAttributes"), "{told}");
    let (ada_may, bob_may) = ("oidc:ada@corp.example", "oidc:bob@corp.example");
    assert!(!system.may(ada_may, "list", place).await);
    merge(
        &system,
        "scimsource",
        "members-okta",
        None,
        &json!({"mappableAttributes": ["userType"]}),
    );
    system.until_may(ada_may, "list", place, true).await;
    assert!(!system.may(bob_may, "list", place).await);
    kind(&bob, "Employee").await;
    system.until_may(bob_may, "list", place, true).await;
    kind(&ada, "Alumna").await;
    system.until_may(ada_may, "list", place, false).await;
    assert!(system.may(bob_may, "list", place).await);
    // A filter that cannot be read takes nothing away.
    merge(
        &system,
        "rolemapping",
        "devs",
        Some(place),
        &json!({"members": {"filter": "groups eq \"x\""}}),
    );
    system
        .until_condition("rolemapping", Some(place), "devs", "Ready", "False", "InvalidFilter")
        .await;
    assert!(system.may(bob_may, "list", place).await);
    merge(&system, "rolemapping", "devs", Some(place), &json!({"members": null}));
    system.until_may(ada_may, "list", place, true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mapping_ends_when_it_says() {
    let system = System::install(Cluster::shared(), "expiry").await;
    let controller = system.controller();
    let gateway = system.gateway().await;
    let place = "expiry-a";
    system.namespace(place, json!({})).await;
    let okta = system.source(&gateway.url, "expiry-okta").await;
    let ada = okta.user("ada@corp.example").await;
    okta.group("devs", &[&ada]).await;
    let who = "oidc:ada@corp.example";
    let end = Timestamp::now() + SignedDuration::from_secs(8);
    let spec = |end: Timestamp| {
        json!({"sources": ["expiry-okta"], "groups": {"names": ["devs"]}, "notAfter": end.to_string(), "grants": [
            {"roleRef": {"kind": "ClusterRole", "name": "view"}, "namespaces": {"names": [place]}},
        ]})
    };
    system.apply(&system.mapping("ClusterRoleMapping", None, "expiry", spec(end)));
    system.until_may(who, "list", place, true).await;
    let mut last = Timestamp::now();
    while system.may(who, "list", place).await {
        last = Timestamp::now();
        assert!(last.duration_since(end) < SignedDuration::from_secs(10), "{}", controller.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    println!(
        "notAfter: allowed until {:?} before it, denied {:?} after it",
        end.duration_since(last),
        Timestamp::now().duration_since(end)
    );
    assert!(Timestamp::now() >= end, "not before its time");
    let told = system
        .until_condition("clusterrolemapping", None, "expiry", "Ready", "True", "Ended")
        .await;
    assert!(told.contains("spec.notAfter"), "{told}");
    assert_eq!(system.status("clusterrolemapping", None, "expiry")["mode"], json!("Ended"));
    // A controller that starts later does not give it back; a later end does.
    drop(controller);
    let _controller = system.controller();
    system.apply(&system.mapping("ClusterRoleMapping", None, "expiry-2", spec(end)));
    system
        .until_condition("clusterrolemapping", None, "expiry-2", "Ready", "True", "Ended")
        .await;
    assert!(!system.may(who, "list", place).await);
    merge(
        &system,
        "clusterrolemapping",
        "expiry",
        None,
        &json!({"notAfter": (end + SignedDuration::from_hours(24)).to_string()}),
    );
    system.until_may(who, "list", place, true).await;
    let wrong = system.cluster.kubectl(&[
        "patch",
        "clusterrolemapping",
        "expiry",
        "--type=merge",
        "-p",
        r#"{"spec": {"notAfter": "tomorrow"}}"#,
    ]);
    assert!(!wrong.ok && wrong.stderr.contains("date-time"), "{}", wrong.stderr);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_asks_for_a_look_is_answered() {
    let system = System::install(Cluster::shared(), "asked").await;
    let _controller = system.controller();
    let gateway = system.gateway().await;
    let place = "asked-a";
    system.namespace(place, json!({})).await;
    let okta = system.source(&gateway.url, "asked-okta").await;
    let ada = okta.user("ada@corp.example").await;
    okta.group("devs", &[&ada]).await;
    let spec =
        json!({"sources": ["asked-okta"], "groups": {"names": ["devs"]}, "grants": [{"roleRef": {"kind": "ClusterRole", "name": "view"}}]});
    system.apply(&system.mapping("RoleMapping", Some(place), "m", spec));
    system.until_may("oidc:ada@corp.example", "list", place, true).await;
    for (kind, namespace, name) in [("rolemapping", Some(place), "m"), ("scimsource", None, "asked-okta")] {
        for (key, token, echo) in [
            ("rolecall.dev/requestedAt", "2026-11-26T10:00:00Z", "2026-11-26T10:00:00Z"),
            ("reconcile.fluxcd.io/requestedAt", "2026-11-26T11:00:00Z", "2026-11-26T11:00:00Z"),
            ("rolecall.dev/requestedAt", "2026-11-26T10:30:00Z", "2026-11-26T11:00:00Z"),
            ("rolecall.dev/requestedAt", "2026-11-26T12:00:00Z", "2026-11-26T12:00:00Z"),
        ] {
            let mut args = vec!["annotate", "--overwrite", kind, name];
            args.extend(namespace.iter().flat_map(|ns| ["-n", *ns]));
            let note = format!("{key}={token}");
            args.push(&note);
            system.cluster.kubectl(&args).expect_ok();
            let told = until(Duration::from_secs(10), || async {
                system.status(kind, namespace, name)["lastHandledReconcileAt"] == echo
            });
            assert!(
                told.await.is_ok(),
                "{kind} {key}={token}: {:#}",
                system.status(kind, namespace, name)
            );
        }
    }
    assert!(system.may("oidc:ada@corp.example", "list", place).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_label_that_is_taken_off_and_put_back_costs_nobody_a_revocation() {
    let system = System::install(Cluster::shared(), "unlabelled").await;
    let _controller = system.controller();
    let gateway = system.gateway().await;
    let place = "unlabelled-a";
    system.namespace(place, json!({})).await;
    let okta = system.source(&gateway.url, "unlabelled-okta").await;
    let [ada, bob, cy] = [
        okta.user("ada@corp.example").await,
        okta.user("bob@corp.example").await,
        okta.user("cy@corp.example").await,
    ];
    let group = okta.group("devs", &[&ada, &bob]).await;
    let spec = json!({"sources": ["unlabelled-okta"], "groups": {"names": ["devs"]}, "grants": [
        {"roleRef": {"kind": "ClusterRole", "name": "view"}, "namespaces": {"names": [place]}},
    ]});
    system.apply(&system.mapping("ClusterRoleMapping", None, "unlabelled", spec));
    system.until_may("oidc:bob@corp.example", "list", place, true).await;
    system
        .until_condition("clusterrolemapping", None, "unlabelled", "Ready", "True", "Succeeded")
        .await;
    let label = |value: &str| {
        let all = ["label", "rolebinding", "-n", place, "--all", "--overwrite", value];
        system.cluster.kubectl(&all).expect_ok();
    };
    // To a watch of labels it is gone. It stands in the way, is not ours any more, and is told.
    label("app.kubernetes.io/managed-by-");
    system
        .until_condition("clusterrolemapping", None, "unlabelled", "Ready", "False", "ForeignBinding")
        .await;
    label("app.kubernetes.io/managed-by=rolecall");
    okta.add(&group, &cy).await;
    system.until_may("oidc:cy@corp.example", "list", place, true).await;
    okta.remove(&group, &bob).await;
    system.until_may("oidc:bob@corp.example", "list", place, false).await;
    okta.remove(&group, &cy).await;
    system.until_may("oidc:cy@corp.example", "list", place, false).await;
    assert!(system.may("oidc:ada@corp.example", "list", place).await);
    system
        .until_condition("clusterrolemapping", None, "unlabelled", "Ready", "True", "Succeeded")
        .await;
}
