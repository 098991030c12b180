//! The cage, continued: namespaces, specs, and what it never holds up. Called by the test in `cage`.

use serde_json::{Value, json};

use super::cage::{CLASS, TEAM, users, with};
use super::{Cases, Passes, Refused, binding, bindings, lay_out, name, namespace, send, subject};

/// Namespaces and specs.
pub async fn namespaces(cases: &mut Cases, thief: &kube::Client, admin: &kube::Client) {
    let all = "/api/v1/namespaces";
    let mine = |name: &str, extra: Value| {
        let mut labels = json!({"app.kubernetes.io/managed-by": "rolecall", "rolecall.dev/class": CLASS});
        labels
            .as_object_mut()
            .expect("labels")
            .extend(extra.as_object().cloned().unwrap_or_default());
        namespace(name, labels)
    };
    let pod_security = "pod-security.kubernetes.io/enforce";
    lay_out(admin, all, mine("cage-made", json!({pod_security: "restricted"}))).await;
    let made = format!("{all}/cage-made");
    let team = format!("{all}/{TEAM}");
    let labels = |labels: Value| json!({"metadata": {"labels": labels}});
    let gone = json!([{"apiVersion": "v1", "kind": "Node", "name": "gone", "uid": "00000000-0000-0000-0000-000000000000"}]);
    for (case, method, path, body, expected) in [
        (
            "a namespace without our labels",
            "POST",
            all,
            namespace("cage-new", json!({})),
            Refused(422, "without Rolecall's labels"),
        ),
        (
            "a namespace of another class",
            "POST",
            all,
            namespace("cage-new", json!({"app.kubernetes.io/managed-by": "rolecall"})),
            Refused(422, "without Rolecall's labels"),
        ),
        (
            "a protected namespace",
            "POST",
            all,
            mine("openshift-new", json!({})),
            Refused(422, "openshift-new is a protected namespace"),
        ),
        (
            "a new namespace with a Pod Security label",
            "POST",
            all,
            mine("cage-new", json!({pod_security: "privileged"})),
            Refused(422, "a Pod Security label"),
        ),
        (
            "a new namespace with an owner",
            "POST",
            all,
            with(mine("cage-new", json!({})), "/metadata/ownerReferences", gone.clone()),
            Refused(422, "an owner or a finalizer"),
        ),
        (
            "set a Pod Security label",
            "PATCH",
            &made,
            labels(json!({"pod-security.kubernetes.io/warn": "privileged"})),
            Refused(422, "a Pod Security label"),
        ),
        (
            "loosen a Pod Security label",
            "PATCH",
            &made,
            labels(json!({pod_security: "privileged"})),
            Refused(422, "a Pod Security label"),
        ),
        (
            "take a Pod Security label away",
            "PATCH",
            &made,
            labels(json!({pod_security: null})),
            Refused(422, "a Pod Security label"),
        ),
        (
            "label somebody's namespace",
            "PATCH",
            &team,
            labels(json!({"a": "b"})),
            Refused(422, "not Rolecall's namespace"),
        ),
        (
            "make somebody's namespace ours",
            "PATCH",
            &team,
            labels(json!({"app.kubernetes.io/managed-by": "rolecall", "rolecall.dev/class": CLASS})),
            Refused(422, "not Rolecall's namespace"),
        ),
        (
            "an owner that does not exist, so that a namespace is deleted",
            "PATCH",
            &made,
            json!({"metadata": {"ownerReferences": gone}}),
            Refused(422, "an owner or a finalizer"),
        ),
        (
            "a finalizer, so that a namespace stays",
            "PATCH",
            &made,
            json!({"metadata": {"finalizers": ["rolecall.dev/x"]}}),
            Refused(422, "an owner or a finalizer"),
        ),
        (
            "another label on a namespace of ours",
            "PATCH",
            &made,
            labels(json!({"team": "a"})),
            Passes,
        ),
        ("a namespace of ours", "POST", all, mine("cage-ours", json!({"team": "a"})), Passes),
    ] {
        cases.check(case, &send(thief, method, path, body).await, expected);
    }
    let finalize = send(thief, "GET", &made, json!(null)).await.body;
    let said = send(
        thief,
        "PUT",
        &format!("{made}/finalize"),
        with(finalize, "/spec/finalizers", json!([])),
    )
    .await;
    cases.check("finalize a namespace", &said, Refused(422, "a subresource of a namespace"));

    let group = "/apis/rolecall.dev/v1alpha1";
    let source = json!({"apiVersion": "rolecall.dev/v1alpha1", "kind": "ScimSource", "metadata": {"name": "cage"}, "spec": {"class": CLASS,
        "push": {"tokens": [{"name": "a", "secretKeyRef": {"name": "a", "key": "token"}}]}, "subject": {"username": "user.userName"}}});
    let mapping = json!({"apiVersion": "rolecall.dev/v1alpha1", "kind": "RoleMapping", "metadata": {"name": "cage"}, "spec": {"class": CLASS, "sources": ["cage"],
        "groups": {"names": ["a"]}, "grants": [{"roleRef": {"kind": "ClusterRole", "name": "view"}}]}});
    let (sources, mappings) = (format!("{group}/scimsources"), format!("{group}/namespaces/{TEAM}/rolemappings"));
    let spec = "the controller writes no spec";
    cases.check(
        "make a source",
        &send(thief, "POST", &sources, source.clone()).await,
        Refused(422, spec),
    );
    cases.check(
        "make a mapping",
        &send(thief, "POST", &mappings, mapping.clone()).await,
        Refused(422, spec),
    );
    lay_out(admin, &sources, source).await;
    lay_out(admin, &mappings, mapping).await;
    let suspend = json!({"spec": {"suspend": true}});
    cases.check(
        "change a source",
        &send(thief, "PATCH", &format!("{sources}/cage"), suspend.clone()).await,
        Refused(422, spec),
    );
    cases.check(
        "change a mapping",
        &send(thief, "PATCH", &format!("{mappings}/cage"), suspend).await,
        Refused(422, spec),
    );
    let status = json!({"status": {"observedGeneration": 1, "summary": "x"}});
    cases.check(
        "a source's status",
        &send(thief, "PATCH", &format!("{sources}/cage/status"), status.clone()).await,
        Passes,
    );
    cases.check(
        "a mapping's status",
        &send(thief, "PATCH", &format!("{mappings}/cage/status"), status).await,
        Passes,
    );
    let hidden =
        json!({"spec": {"suspend": true}, "metadata": {"annotations": {"rolecall.dev/approve": "1"}}, "status": {"observedGeneration": 2}});
    let said = send(thief, "PATCH", &format!("{mappings}/cage/status"), hidden).await;
    cases.check("a spec by way of the status", &said, Passes);
    assert_eq!(
        said.body["spec"]["suspend"],
        json!(false),
        "the status takes nothing but the status"
    );
    assert_eq!(said.body["metadata"]["annotations"], json!(null), "nor annotations");
}

/// What is never held up: grants within the lists, whatever only shrinks, and deletions of ours.
pub async fn what_is_never_held_up(cases: &mut Cases, thief: &kube::Client, admin: &kube::Client, home: &str) {
    let path = |n: u32| format!("{}/{}", bindings(TEAM), name(n));
    let subjects = |list: &[&str]| json!({"subjects": list.iter().map(|s| subject(s)).collect::<Vec<_>>()});
    let role =
        json!({"metadata": {"name": "deployer"}, "rules": [{"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["get"]}]});
    lay_out(admin, &format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{TEAM}/roles"), role).await;
    // 20: what an older, wider access policy had allowed; 21: somebody added 1,000 by hand.
    lay_out(
        admin,
        &bindings(TEAM),
        binding(20, CLASS, "ClusterRole/admin", &["User/ada", "User/bob"]),
    )
    .await;
    lay_out(
        admin,
        &bindings(TEAM),
        with(binding(21, CLASS, "ClusterRole/view", &[]), "/subjects", json!(users(0..1500))),
    )
    .await;
    let full: Vec<Value> = users(0..500);
    let reversed: Vec<Value> = full.iter().rev().cloned().collect();
    let empty_elsewhere = binding(30, CLASS, "ClusterRole/admin", &[]);
    for (case, method, path, body) in [
        (
            "a grant within the lists",
            "POST",
            bindings(TEAM),
            binding(22, CLASS, "ClusterRole/view", &["User/oidc:ada", "Group/okta:team"]),
        ),
        ("one more", "PATCH", path(22), subjects(&["User/oidc:ada", "User/oidc:bob"])),
        (
            "a Role of the list",
            "POST",
            bindings(TEAM),
            binding(23, CLASS, "Role/deployer", &["User/oidc:ada"]),
        ),
        (
            "500 subjects",
            "POST",
            bindings(TEAM),
            with(binding(24, CLASS, "ClusterRole/edit", &[]), "/subjects", json!(full)),
        ),
        (
            "the same 500 again, in another order",
            "PATCH",
            path(24),
            json!({"subjects": reversed, "metadata": {"annotations": {"a": "b"}}}),
        ),
        ("500 others", "PATCH", path(24), json!({"subjects": users(500..1000)})),
        ("one of 500 less", "PATCH", path(24), json!({"subjects": users(500..999)})),
        (
            "shrink what would not be granted any more",
            "PATCH",
            path(20),
            subjects(&["User/bob"]),
        ),
        ("empty what would not be granted any more", "PATCH", path(20), subjects(&[])),
        ("delete what would not be granted any more", "DELETE", path(20), json!(null)),
        (
            "500 of 1,500 that were added by hand",
            "PATCH",
            path(21),
            json!({"subjects": users(0..500)}),
        ),
        ("none of them", "PATCH", path(21), subjects(&[])),
        (
            "a binding that grants nothing, of a role that is not on the list",
            "POST",
            bindings(TEAM),
            binding(31, CLASS, "ClusterRole/admin", &[]),
        ),
        (
            "a binding that grants nothing, in a protected namespace",
            "POST",
            bindings("kube-cage"),
            empty_elsewhere.clone(),
        ),
        (
            "a binding that grants nothing, in our own namespace",
            "POST",
            bindings(home),
            empty_elsewhere,
        ),
        ("a deletion", "DELETE", path(22), json!(null)),
        ("a deletion of 499", "DELETE", path(24), json!(null)),
    ] {
        cases.check(case, &send(thief, method, &path, body).await, Passes);
    }
    // Whoever else writes the same things is not in the cage.
    let said = send(
        admin,
        "POST",
        &bindings(TEAM),
        with(
            binding(0, CLASS, "ClusterRole/admin", &["User/x"]),
            "/metadata",
            json!({"name": "x"}),
        ),
    )
    .await;
    cases.check("somebody else's binding", &said, Passes);
}
