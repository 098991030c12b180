//! The two ServiceAccounts' rights without anything added: what RBAC allows and what not, and how Kubernetes refuses a revocation.

use k8s_openapi::api::authorization::v1::SubjectAccessReview;
use kube::{Api, Client};
use serde_json::{Value, json};

use super::{Cases, Passes, Refused, binding, bindings, lay_out, name, namespace, send};
use crate::cluster::Cluster;
use crate::install::Install;

// The kind is the binding's, the name the role's: a 404 with another name than the binding's is not about the binding.
const ROLE_GONE: &str = "rolebindings.rbac.authorization.k8s.io \"shrunk-reader\" not found";

/// `verb group/resource[/subresource] [name]`; the core group is empty.
async fn may(admin: &Client, user: &str, place: &str, what: &str) -> bool {
    let mut words = what.split(' ');
    let (verb, kind, name) = (words.next().unwrap_or_default(), words.next().unwrap_or_default(), words.next());
    let mut kind = kind.splitn(3, '/');
    let review = json!({"metadata": {}, "spec": {"user": user, "groups": ["system:serviceaccounts", "system:authenticated"], "resourceAttributes": {
        "verb": verb, "group": kind.next(), "resource": kind.next(), "subresource": kind.next(), "name": name, "namespace": place}}});
    let review: SubjectAccessReview = serde_json::from_value(review).expect("a review");
    let reviews: Api<SubjectAccessReview> = Api::all(admin.clone());
    reviews
        .create(&Default::default(), &review)
        .await
        .expect("an answer")
        .status
        .is_some_and(|s| s.allowed)
}

#[tokio::test]
async fn each_part_has_the_rights_of_the_design_and_no_more() {
    let cluster = Cluster::shared();
    let installed = Install::new("rights").on(cluster).await;
    let admin = cluster.admin().await;
    let home = installed.namespace.as_str();
    let rbac = "rbac.authorization.k8s.io";
    let user = |part: &str| format!("system:serviceaccount:{home}:{}-{part}", installed.fullname);
    let both = [home, "default"];
    let (own, other, any): (&[&str], &[&str], &[&str]) = (&both[..1], &both[1..], &both);
    // part, where, what, allowed
    let mut table: Vec<(&str, &[&str], String, bool)> = Vec::new();
    let mut rows = |part: &'static str, place: &'static [usize], allowed: bool, what: &str| {
        let place = match place {
            [0] => own,
            [1] => other,
            _ => any,
        };
        for what in what.split(", ") {
            table.push((part, place, what.to_owned(), allowed));
        }
    };
    const OWN: &[usize] = &[0];
    const OTHER: &[usize] = &[1];
    const ANY: &[usize] = &[0, 1];
    let lease = installed.lease();

    rows(
        "gateway",
        ANY,
        true,
        "get rolecall.dev/scimsources, list rolecall.dev/scimsources, watch rolecall.dev/scimsources",
    );
    rows(
        "gateway",
        OWN,
        true,
        "get rolecall.dev/journals access, list rolecall.dev/journals, watch rolecall.dev/journals",
    );
    rows(
        "gateway",
        OWN,
        true,
        "get rolecall.dev/segments, list rolecall.dev/segments, watch rolecall.dev/segments, create rolecall.dev/segments",
    );
    rows(
        "gateway",
        OWN,
        true,
        "update rolecall.dev/journals directory, get /secrets okta-token",
    );
    rows(
        "gateway",
        OWN,
        false,
        "update rolecall.dev/journals access, update rolecall.dev/journals, patch rolecall.dev/journals directory",
    );
    rows(
        "gateway",
        OWN,
        false,
        "create rolecall.dev/journals, delete rolecall.dev/journals directory, delete rolecall.dev/segments, update rolecall.dev/segments",
    );
    rows(
        "gateway",
        OWN,
        false,
        "list /secrets, watch /secrets, update /secrets, create /secrets, get coordination.k8s.io/leases, update coordination.k8s.io/leases",
    );
    rows(
        "gateway",
        OTHER,
        false,
        "get /secrets, get rolecall.dev/journals directory, create rolecall.dev/segments, update rolecall.dev/journals directory",
    );
    rows(
        "gateway",
        ANY,
        false,
        "update rolecall.dev/scimsources, update rolecall.dev/scimsources/status, patch rolecall.dev/scimsources/status",
    );
    rows(
        "gateway",
        ANY,
        false,
        "get rolecall.dev/rolemappings, list rolecall.dev/clusterrolemappings, get /namespaces, get /configmaps, create /events",
    );
    rows(
        "gateway",
        ANY,
        false,
        "create events.k8s.io/events, create /serviceaccounts/token, impersonate /users, impersonate /serviceaccounts, get /pods",
    );
    for verb in ["get", "list", "create", "update", "delete", "bind", "escalate"] {
        for resource in ["rolebindings", "clusterrolebindings", "roles", "clusterroles"] {
            rows("gateway", ANY, false, &format!("{verb} {rbac}/{resource}"));
        }
    }

    for kind in ["scimsources", "rolemappings", "clusterrolemappings"] {
        rows(
            "controller",
            ANY,
            true,
            &format!("get rolecall.dev/{kind}, list rolecall.dev/{kind}, watch rolecall.dev/{kind}"),
        );
        rows(
            "controller",
            ANY,
            true,
            &format!("update rolecall.dev/{kind}/status, patch rolecall.dev/{kind}/status"),
        );
        rows(
            "controller",
            ANY,
            false,
            &format!("update rolecall.dev/{kind}, patch rolecall.dev/{kind}, create rolecall.dev/{kind}, delete rolecall.dev/{kind}"),
        );
        rows(
            "controller",
            ANY,
            false,
            &format!("trust rolecall.dev/{kind}, approve rolecall.dev/{kind}"),
        );
    }
    for verb in ["get", "list", "watch", "create", "update", "delete"] {
        rows("controller", ANY, true, &format!("{verb} {rbac}/rolebindings"));
        // the list is empty: nothing is granted in the whole cluster, and what was granted there before can go
        let may = !["create", "update"].contains(&verb);
        rows("controller", ANY, may, &format!("{verb} {rbac}/clusterrolebindings"));
    }
    rows(
        "controller",
        ANY,
        true,
        "bind rbac.authorization.k8s.io/clusterroles view, bind rbac.authorization.k8s.io/clusterroles edit, bind rbac.authorization.k8s.io/roles deployer",
    );
    rows(
        "controller",
        ANY,
        false,
        "bind rbac.authorization.k8s.io/clusterroles, bind rbac.authorization.k8s.io/clusterroles admin, bind rbac.authorization.k8s.io/clusterroles deployer",
    );
    rows(
        "controller",
        ANY,
        false,
        "bind rbac.authorization.k8s.io/roles, bind rbac.authorization.k8s.io/roles view, patch rbac.authorization.k8s.io/rolebindings",
    );
    rows(
        "controller",
        ANY,
        false,
        "deletecollection rbac.authorization.k8s.io/rolebindings, escalate rbac.authorization.k8s.io/roles, escalate rbac.authorization.k8s.io/clusterroles view",
    );
    for resource in ["roles", "clusterroles"] {
        rows(
            "controller",
            ANY,
            true,
            &format!("get {rbac}/{resource}, list {rbac}/{resource}, watch {rbac}/{resource}"),
        );
        rows(
            "controller",
            ANY,
            false,
            &format!("create {rbac}/{resource}, update {rbac}/{resource}, patch {rbac}/{resource}, delete {rbac}/{resource}"),
        );
    }
    rows(
        "controller",
        ANY,
        true,
        "get /namespaces, list /namespaces, watch /namespaces, create /namespaces, patch /namespaces, create events.k8s.io/events, patch events.k8s.io/events",
    );
    rows(
        "controller",
        ANY,
        false,
        "delete /namespaces, update /namespaces, deletecollection /namespaces, update /namespaces/finalize, create /serviceaccounts/token",
    );
    rows(
        "controller",
        ANY,
        false,
        "get /secrets, list /secrets, get /configmaps, impersonate /users, impersonate /groups, impersonate /serviceaccounts, get /pods, create /pods",
    );
    for resource in [
        "apiextensions.k8s.io/customresourcedefinitions",
        "admissionregistration.k8s.io/validatingadmissionpolicies",
        "admissionregistration.k8s.io/validatingadmissionpolicybindings",
    ] {
        rows(
            "controller",
            ANY,
            true,
            &format!("get {resource}, list {resource}, watch {resource}"),
        );
        rows(
            "controller",
            ANY,
            false,
            &format!("create {resource}, update {resource}, patch {resource}, delete {resource}"),
        );
    }
    rows(
        "controller",
        OWN,
        true,
        "create rolecall.dev/journals, update rolecall.dev/journals access, update rolecall.dev/journals directory, list rolecall.dev/journals",
    );
    rows(
        "controller",
        OWN,
        true,
        "create rolecall.dev/segments, delete rolecall.dev/segments, list rolecall.dev/segments, create coordination.k8s.io/leases",
    );
    rows(
        "controller",
        OWN,
        true,
        &format!("get coordination.k8s.io/leases {lease}, update coordination.k8s.io/leases {lease}"),
    );
    rows(
        "controller",
        OWN,
        false,
        "delete rolecall.dev/journals, update rolecall.dev/segments, patch rolecall.dev/segments, deletecollection rolecall.dev/segments",
    );
    rows(
        "controller",
        OWN,
        false,
        &format!("delete coordination.k8s.io/leases {lease}, update coordination.k8s.io/leases other, list coordination.k8s.io/leases"),
    );
    rows(
        "controller",
        OTHER,
        false,
        "get rolecall.dev/journals, create rolecall.dev/journals, create rolecall.dev/segments, delete rolecall.dev/segments, create coordination.k8s.io/leases",
    );

    let mut wrong = Vec::new();
    let mut tried = 0;
    for (part, places, what, allowed) in &table {
        for place in *places {
            tried += 1;
            if may(&admin, &user(part), place, what).await != *allowed {
                wrong.push(format!("{part} in {place}: {what} should be {allowed}"));
            }
        }
    }
    println!("rights: {} of {tried}", tried - wrong.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn how_kubernetes_refuses_a_revocation() {
    let cluster = Cluster::shared();
    let installed = Install::new("shrunk").on(cluster).await;
    let admin = cluster.admin().await;
    lay_out(&admin, "/api/v1/namespaces", namespace("shrunk-team", json!({}))).await;
    let all = bindings("shrunk-team");
    let path = |n: u32| format!("{all}/{}", name(n));
    let role = json!({"metadata": {"name": "shrunk-reader"}, "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]});
    lay_out(&admin, "/apis/rbac.authorization.k8s.io/v1/clusterroles", role).await;

    let lists = |roles: &str| Install::new("shrunk").value(&format!("accessPolicy.clusterRoles={roles}"));
    lists(r#"["view","shrunk-reader"]"#).on(cluster).await;
    let controller = installed.controller(cluster).await;
    let two = &["User/oidc:ada", "User/oidc:bob"];
    let mut cases = Cases::default();
    for (n, role) in [
        (1, "ClusterRole/view"),
        (2, "ClusterRole/shrunk-reader"),
        (3, "ClusterRole/shrunk-reader"),
    ] {
        cases.check(
            "a grant",
            &send(&controller, "POST", &all, binding(n, "shrunk", role, two)).await,
            Passes,
        );
    }
    let shrink = async |n: u32| {
        let mut object = send(&controller, "GET", &path(n), json!(null)).await.body;
        object["subjects"].as_array_mut().expect("subjects").pop();
        send(&controller, "PUT", &path(n), object).await
    };
    // A role leaves the list: the cage lets a shrinking PUT through, Kubernetes wants `bind` all the same; a DELETE needs none.
    lists(r#"["view"]"#).on(cluster).await;
    cases.check("shrink with bind", &shrink(1).await, Passes);
    cases.check(
        "shrink without bind",
        &shrink(2).await,
        Refused(403, "is attempting to grant RBAC permissions not currently held"),
    );
    cases.check(
        "delete without bind",
        &send(&controller, "DELETE", &path(2), json!(null)).await,
        Passes,
    );
    // The role goes too.
    send(
        &admin,
        "DELETE",
        "/apis/rbac.authorization.k8s.io/v1/clusterroles/shrunk-reader",
        json!(null),
    )
    .await;
    cases.check("shrink without bind, the role gone", &shrink(3).await, Refused(404, ROLE_GONE));
    cases.check(
        "the binding is there all the same",
        &send(&controller, "GET", &path(3), json!(null)).await,
        Passes,
    );
    cases.check(
        "delete without bind, the role gone",
        &send(&controller, "DELETE", &path(3), json!(null)).await,
        Passes,
    );

    // A PUT without uid makes a deleted binding again; with uid it is a conflict. Both preconditions of a DELETE hold.
    let stood: Value = send(&controller, "GET", &path(1), json!(null)).await.body;
    let preconditions = |uid: &Value, version: &Value| json!({"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": uid, "resourceVersion": version}});
    let (uid, version) = (&stood["metadata"]["uid"], &stood["metadata"]["resourceVersion"]);
    let said = send(
        &controller,
        "DELETE",
        &path(1),
        preconditions(&json!("00000000-0000-0000-0000-000000000000"), version),
    )
    .await;
    cases.check("a DELETE of another uid", &said, Refused(409, ""));
    cases.check(
        "a DELETE of another version",
        &send(&controller, "DELETE", &path(1), preconditions(uid, &json!("1"))).await,
        Refused(409, ""),
    );
    cases.check(
        "a DELETE with both",
        &send(&controller, "DELETE", &path(1), preconditions(uid, version)).await,
        Passes,
    );
    cases.check(
        "a PUT with uid",
        &send(&controller, "PUT", &path(1), stood.clone()).await,
        Refused(409, ""),
    );
    let mut without = stood.clone();
    without["metadata"].as_object_mut().expect("metadata").remove("uid");
    let said = send(&controller, "PUT", &path(1), without.clone()).await;
    cases.check("a PUT without uid", &said, Passes);
    assert_eq!(said.code, 201, "it made the binding again");
    // The probe of a new leader needs no role that can be bound.
    cases.check(
        "nothing on the list",
        &send(&controller, "POST", &all, binding(9, "shrunk", "ClusterRole/edit", &[])).await,
        Refused(403, "not currently held"),
    );
    let mut probe = binding(9, "shrunk", "Role/x", &[]);
    probe["roleRef"]["name"] = json!(format!("{}-nothing", installed.fullname));
    let dry = format!("{}?dryRun=All", bindings(&installed.namespace));
    lists("[]").on(cluster).await;
    cases.check("a probe, whatever the lists", &send(&controller, "POST", &dry, probe).await, Passes);
    cases.finish("refused revocations");
}
