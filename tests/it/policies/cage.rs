//! The cage around the controller's ServiceAccount. Its token is stolen, and the ServiceAccount has been made cluster-admin on top: what
//! refuses below is the cage alone, not RBAC.

use serde_json::{Value, json};

use super::{Cases, Passes, Refused, binding, bindings, labels, lay_out, name, namespace, send, subject};
use crate::cluster::Cluster;
use crate::install::Install;

pub const CLASS: &str = "cage";
pub const TEAM: &str = "cage-team";

pub fn with(mut object: Value, pointer: &str, value: Value) -> Value {
    let (parent, key) = pointer.rsplit_once('/').expect("a pointer");
    object
        .pointer_mut(parent)
        .and_then(Value::as_object_mut)
        .expect(pointer)
        .insert(key.to_owned(), value);
    object
}

pub fn users(range: std::ops::Range<usize>) -> Vec<Value> {
    range.map(|n| subject(&format!("User/oidc:{n}@corp.example"))).collect()
}

async fn stolen() -> (kube::Client, kube::Client, String) {
    let cluster = Cluster::shared();
    let installed = Install::new(CLASS).on(cluster).await;
    let admin = cluster.admin().await;
    let owner = json!({"metadata": {"name": "cage-stolen"}, "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [subject(&format!("ServiceAccount/{}/{}-controller", installed.namespace, installed.fullname))]});
    lay_out(&admin, &bindings(""), owner).await;
    for name in [TEAM, "kube-cage"] {
        lay_out(&admin, "/api/v1/namespaces", namespace(name, json!({}))).await;
    }
    (installed.controller(cluster).await, admin, installed.namespace)
}

#[tokio::test]
async fn a_stolen_token_of_the_controller_escalates_nothing() {
    let (thief, admin, home) = stolen().await;
    let mut cases = Cases::default();
    creations(&mut cases, &thief, &home).await;
    changes(&mut cases, &thief, &admin).await;
    super::cage_more::namespaces(&mut cases, &thief, &admin).await;
    super::cage_more::what_is_never_held_up(&mut cases, &thief, &admin, &home).await;
    cases.finish("the cage");
}

/// What may not be created.
async fn creations(cases: &mut Cases, thief: &kube::Client, home: &str) {
    let good = || binding(1, CLASS, "ClusterRole/view", &["User/oidc:ada@corp.example"]);
    let subjects = |list: &[&str]| binding(1, CLASS, "ClusterRole/view", list);
    let role = |role: &str| binding(1, CLASS, role, &["User/oidc:ada@corp.example"]);
    let ours = "-cage-ours' ";
    let unmarked = "without Rolecall's labels";
    let owner = json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "gone", "uid": "00000000-0000-0000-0000-000000000000"}]);
    let table: Vec<(&str, &str, Value, super::Expect)> = vec![
        ("no labels", TEAM, with(good(), "/metadata/labels", json!({})), Refused(422, ours)),
        (
            "no name of ours",
            TEAM,
            with(good(), "/metadata/name", json!("access")),
            Refused(422, "not one that Rolecall computes"),
        ),
        (
            "nearly a name of ours",
            TEAM,
            with(good(), "/metadata/name", json!("rolecall-view")),
            Refused(422, "not one that Rolecall computes"),
        ),
        (
            "a name in capitals is no name at all",
            TEAM,
            with(good(), "/metadata/name", json!(name(1).replace('0', "A"))),
            Refused(422, "not one that Rolecall computes"),
        ),
        (
            "another class",
            TEAM,
            with(good(), "/metadata/labels", labels("other")),
            Refused(422, unmarked),
        ),
        (
            "the default class",
            TEAM,
            with(good(), "/metadata/labels", labels("")),
            Refused(422, unmarked),
        ),
        (
            "an owner that does not exist",
            TEAM,
            with(good(), "/metadata/ownerReferences", owner),
            Refused(422, "an owner or a finalizer"),
        ),
        (
            "a finalizer",
            TEAM,
            with(good(), "/metadata/finalizers", json!(["rolecall.dev/x"])),
            Refused(422, "an owner or a finalizer"),
        ),
        (
            "a user of the system",
            TEAM,
            subjects(&["User/system:kube-controller-manager"]),
            Refused(422, ""),
        ),
        ("system:masters", TEAM, subjects(&["Group/system:masters"]), Refused(422, "")),
        ("everybody", TEAM, subjects(&["Group/system:authenticated"]), Refused(422, "")),
        (
            "a ServiceAccount by its username",
            TEAM,
            subjects(&["User/system:serviceaccount:kube-system:default"]),
            Refused(422, ""),
        ),
        (
            "a ServiceAccount",
            TEAM,
            subjects(&["ServiceAccount/kube-system/default"]),
            Refused(422, ""),
        ),
        (
            "no prefix",
            TEAM,
            subjects(&["User/ada@corp.example"]),
            Refused(422, "without an allowed prefix"),
        ),
        (
            "a group's prefix on a user",
            TEAM,
            subjects(&["User/okta:admins"]),
            Refused(422, "without an allowed prefix"),
        ),
        (
            "a user's prefix on a group",
            TEAM,
            subjects(&["Group/oidc:admins"]),
            Refused(422, "without an allowed prefix"),
        ),
        (
            "one bad among good ones",
            TEAM,
            subjects(&["User/oidc:a", "User/oidc:b", "User/mallory"]),
            Refused(422, "without an allowed prefix"),
        ),
        (
            "a role that is not on the list",
            TEAM,
            role("ClusterRole/admin"),
            Refused(422, "allowed: view, edit"),
        ),
        (
            "cluster-admin",
            TEAM,
            role("ClusterRole/cluster-admin"),
            Refused(422, "allowed: view, edit"),
        ),
        (
            "a ClusterRole named like a Role of the list",
            TEAM,
            role("ClusterRole/deployer"),
            Refused(422, "allowed: view, edit"),
        ),
        (
            "a Role named like a ClusterRole of the list",
            TEAM,
            role("Role/view"),
            Refused(422, "allowed: deployer"),
        ),
        (
            "cluster-wide",
            "",
            role("ClusterRole/view"),
            Refused(422, "not a role that Rolecall may grant here"),
        ),
        (
            "a protected namespace",
            "kube-system",
            good(),
            Refused(422, "kube-system is a protected namespace"),
        ),
        (
            "a protected namespace by its beginning",
            "kube-cage",
            good(),
            Refused(422, "kube-cage is a protected namespace"),
        ),
        ("our own namespace", home, good(), Refused(422, "is a protected namespace")),
        (
            "501 subjects",
            TEAM,
            with(good(), "/subjects", json!(users(0..501))),
            Refused(422, "more than 500 subjects"),
        ),
    ];
    for (case, place, object, expected) in table {
        cases.check(case, &send(thief, "POST", &bindings(place), object).await, expected);
    }
    // (a label that says "Helm" is like none)
    for key in [
        "app.kubernetes.io/managed-by",
        "rolecall.dev/class",
        "rolecall.dev/owner",
        "rolecall.dev/journal",
    ] {
        let mut object = good();
        object["metadata"]["labels"].as_object_mut().expect("labels").remove(key);
        cases.check(
            &format!("no label {key}"),
            &send(thief, "POST", &bindings(TEAM), object).await,
            Refused(422, unmarked),
        );
        let mut object = good();
        object["metadata"]["labels"][key] = json!("");
        cases.check(
            &format!("an empty label {key}"),
            &send(thief, "POST", &bindings(TEAM), object).await,
            Refused(422, unmarked),
        );
    }
    let mut generated = good();
    generated["metadata"] = json!({"generateName": "rolecall-", "labels": labels(CLASS)});
    cases.check(
        "a generated name",
        &send(thief, "POST", &bindings(TEAM), generated).await,
        Refused(422, "not one that Rolecall computes"),
    );
}

/// What may not be changed or deleted.
async fn changes(cases: &mut Cases, thief: &kube::Client, admin: &kube::Client) {
    let path = |n: u32| format!("{}/{}", bindings(TEAM), name(n));
    let subjects = |list: &[&str]| json!({"subjects": list.iter().map(|s| subject(s)).collect::<Vec<_>>()});
    // 10: ours; 11: another class's; 12: hand-made under a name of ours; "hand-made": foreign.
    lay_out(
        admin,
        &bindings(TEAM),
        binding(10, CLASS, "ClusterRole/view", &["User/oidc:ada@corp.example"]),
    )
    .await;
    lay_out(
        admin,
        &bindings(TEAM),
        binding(11, "other", "ClusterRole/view", &["User/oidc:ada@corp.example"]),
    )
    .await;
    lay_out(
        admin,
        &bindings(TEAM),
        with(binding(12, CLASS, "ClusterRole/view", &["User/bob"]), "/metadata/labels", json!({})),
    )
    .await;
    let foreign = with(
        binding(0, CLASS, "ClusterRole/view", &["User/bob"]),
        "/metadata",
        json!({"name": "hand-made", "labels": labels(CLASS)}),
    );
    lay_out(admin, &bindings(TEAM), foreign).await;
    let hand_made = format!("{}/hand-made", bindings(TEAM));

    let not_ours = "not Rolecall's object";
    let annotate = json!({"metadata": {"annotations": {"x": "y"}}});
    for (case, method, path, body, expected) in [
        (
            "annotate a foreign binding",
            "PATCH",
            hand_made.clone(),
            annotate.clone(),
            Refused(422, not_ours),
        ),
        (
            "shrink a foreign binding",
            "PATCH",
            hand_made.clone(),
            subjects(&[]),
            Refused(422, not_ours),
        ),
        (
            "delete a foreign binding",
            "DELETE",
            hand_made.clone(),
            json!(null),
            Refused(422, not_ours),
        ),
        (
            "annotate one without our labels",
            "PATCH",
            path(12),
            annotate.clone(),
            Refused(422, not_ours),
        ),
        (
            "label one without our labels as ours",
            "PATCH",
            path(12),
            json!({"metadata": {"labels": labels(CLASS)}}),
            Refused(422, not_ours),
        ),
        (
            "delete one without our labels",
            "DELETE",
            path(12),
            json!(null),
            Refused(422, not_ours),
        ),
        (
            "annotate another class's",
            "PATCH",
            path(11),
            annotate.clone(),
            Refused(422, not_ours),
        ),
        (
            "take over another class's",
            "PATCH",
            path(11),
            json!({"metadata": {"labels": labels(CLASS)}}),
            Refused(422, not_ours),
        ),
        ("delete another class's", "DELETE", path(11), json!(null), Refused(422, not_ours)),
        (
            "take our label away",
            "PATCH",
            path(10),
            json!({"metadata": {"labels": {"app.kubernetes.io/managed-by": null}}}),
            Refused(422, "without Rolecall's labels"),
        ),
        (
            "give ours to another class",
            "PATCH",
            path(10),
            json!({"metadata": {"labels": {"rolecall.dev/class": "other"}}}),
            Refused(422, "without Rolecall's labels"),
        ),
        (
            "add somebody without a prefix",
            "PATCH",
            path(10),
            subjects(&["User/oidc:ada@corp.example", "User/mallory"]),
            Refused(422, "without an allowed prefix"),
        ),
        (
            "put somebody without a prefix in the place",
            "PATCH",
            path(10),
            subjects(&["User/mallory"]),
            Refused(422, "without an allowed prefix"),
        ),
        (
            "add system:masters",
            "PATCH",
            path(10),
            subjects(&["User/oidc:ada@corp.example", "Group/system:masters"]),
            Refused(422, ""),
        ),
        (
            "add a ServiceAccount",
            "PATCH",
            path(10),
            subjects(&["User/oidc:ada@corp.example", "ServiceAccount/kube-system/default"]),
            Refused(422, ""),
        ),
        (
            "the same subjects, another role",
            "PATCH",
            path(10),
            json!({"roleRef": {"name": "admin"}}),
            Refused(422, ""),
        ),
        (
            "add an owner",
            "PATCH",
            path(10),
            json!({"metadata": {"ownerReferences": [{"apiVersion": "v1", "kind": "ConfigMap", "name": "gone", "uid": "0"}]}}),
            Refused(422, "an owner or a finalizer"),
        ),
        (
            "add a finalizer",
            "PATCH",
            path(10),
            json!({"metadata": {"finalizers": ["rolecall.dev/x"]}}),
            Refused(422, "an owner or a finalizer"),
        ),
        (
            "grow past 500",
            "PATCH",
            path(10),
            json!({"subjects": users(0..501)}),
            Refused(422, "more than 500 subjects"),
        ),
    ] {
        cases.check(case, &send(thief, method, &path, body).await, expected);
    }
    let said = send(thief, "DELETE", &bindings(TEAM), json!(null)).await;
    cases.check("delete the whole collection", &said, Refused(422, not_ours));
    for left in [&hand_made, &path(11), &path(12)] {
        cases.check(
            "what is not ours is still there",
            &send(admin, "GET", left, json!(null)).await,
            Passes,
        );
    }
}

#[tokio::test]
async fn lists_that_are_empty_or_open_mean_what_they_say() {
    let cluster = Cluster::shared();
    let installed = Install::new("open")
        .value(r#"accessPolicy.usernamePrefixes=[""]"#)
        .value("accessPolicy.groupPrefixes=[]")
        .value("accessPolicy.roles=[]")
        .value(r#"accessPolicy.clusterWideRoles=["view"]"#)
        .on(cluster)
        .await;
    let admin = cluster.admin().await;
    lay_out(&admin, "/api/v1/namespaces", namespace("open-team", json!({}))).await;
    let role = json!({"metadata": {"name": "deployer"}, "rules": []});
    lay_out(&admin, "/apis/rbac.authorization.k8s.io/v1/namespaces/open-team/roles", role).await;
    let controller = installed.controller(cluster).await;
    let mut cases = Cases::default();
    for (case, place, role, subjects, expected) in [
        ("any user", "open-team", "ClusterRole/view", &["User/ada"][..], Passes),
        (
            "a user of the system",
            "open-team",
            "ClusterRole/view",
            &["User/system:admin"],
            Refused(422, "never grants to"),
        ),
        (
            "system:masters",
            "open-team",
            "ClusterRole/view",
            &["Group/system:masters"],
            Refused(422, ""),
        ),
        (
            "no group at all",
            "open-team",
            "ClusterRole/view",
            &["Group/team"],
            Refused(422, "without an allowed prefix"),
        ),
        (
            "no Role at all",
            "open-team",
            "Role/deployer",
            &["User/ada"],
            Refused(422, "accessPolicy); allowed: none"),
        ),
        ("cluster-wide what the list names", "", "ClusterRole/view", &["User/ada"], Passes),
        (
            "cluster-wide system:masters",
            "",
            "ClusterRole/view",
            &["Group/system:masters"],
            Refused(422, ""),
        ),
        (
            "cluster-wide what it does not",
            "",
            "ClusterRole/edit",
            &["User/ada"],
            Refused(422, "accessPolicy); allowed: view"),
        ),
    ] {
        cases.check(
            case,
            &send(&controller, "POST", &bindings(place), binding(1, "open", role, subjects)).await,
            expected,
        );
        send(&controller, "DELETE", &format!("{}/{}", bindings(place), name(1)), json!(null)).await;
    }
    cases.finish("open and empty lists");
}
