//! Who may write mappings and sources, and who may approve: judged by the author's own rights, when it is written.

use kube::Client;
use serde_json::{Value, json};

use super::{Cases, Expect, Passes, Refused, bindings, lay_out, namespace, send, subject};
use crate::cluster::{Cluster, Who};
use crate::install::{Install, Installed};

const GROUP: &str = "/apis/rolecall.dev/v1alpha1";
pub(super) const TEAM: &str = "authors-team";
pub(super) const OTHER: &str = "authors-other";

pub(super) fn mappings(place: &str) -> String {
    match place {
        "" => format!("{GROUP}/clusterrolemappings"),
        place => format!("{GROUP}/namespaces/{place}/rolemappings"),
    }
}

/// A mapping for roles written as `ClusterRole/view`; with `place` "" a ClusterRoleMapping.
pub(super) fn mapping(name: &str, place: &str, roles: &[&str]) -> Value {
    let grants: Vec<Value> = roles
        .iter()
        .map(|role| {
            let (kind, role) = role.split_once('/').expect("kind/name");
            let mut grant = json!({"roleRef": {"kind": kind, "name": role}});
            if place.is_empty() {
                grant["namespaces"] = json!({"names": [TEAM]});
            }
            grant
        })
        .collect();
    let kind = if place.is_empty() { "ClusterRoleMapping" } else { "RoleMapping" };
    json!({"apiVersion": "rolecall.dev/v1alpha1", "kind": kind, "metadata": {"name": name},
        "spec": {"class": "authors", "sources": ["okta"], "groups": {"names": ["a"]}, "grants": grants}})
}

fn source(name: &str) -> Value {
    json!({"apiVersion": "rolecall.dev/v1alpha1", "kind": "ScimSource", "metadata": {"name": name}, "spec": {"class": "authors",
        "push": {"tokens": [{"name": "a", "secretKeyRef": {"name": "a", "key": "token"}}]}, "subject": {"username": "'oidc:' + user.userName"}}})
}

/// The people: each can write the objects as far as RBAC is concerned, and differs in what else it may.
pub(super) async fn people(admin: &Client, installed: &Installed) {
    for name in [TEAM, OTHER] {
        lay_out(admin, "/api/v1/namespaces", namespace(name, json!({}))).await;
    }
    let roles = "/apis/rbac.authorization.k8s.io/v1/clusterroles";
    let ours = json!(["get", "list", "create", "update", "patch", "delete"]);
    for (name, rules) in [
        (
            "authors-writer",
            json!([{"apiGroups": ["rolecall.dev"], "resources": ["rolemappings", "clusterrolemappings", "scimsources"], "verbs": ours}]),
        ),
        (
            "authors-bind-view",
            json!([{"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["clusterroles"], "resourceNames": ["view"], "verbs": ["bind"]}]),
        ),
        (
            "authors-trust-okta",
            json!([{"apiGroups": ["rolecall.dev"], "resources": ["scimsources"], "resourceNames": ["authors-okta"], "verbs": ["trust"]}]),
        ),
        (
            "authors-approve-one",
            json!([{"apiGroups": ["rolecall.dev"], "resources": ["rolemappings"], "resourceNames": ["authors-one"], "verbs": ["approve"]}]),
        ),
    ] {
        lay_out(admin, roles, json!({"metadata": {"name": name}, "rules": rules})).await;
    }
    let mapper = format!("{}-mapper", installed.fullname);
    let approver = format!("{}-approver", installed.fullname);
    for (person, role, place) in [
        ("writer", "authors-writer", ""),
        ("mapper", mapper.as_str(), TEAM), // of one namespace
        ("head-mapper", mapper.as_str(), ""),
        ("bind-view", "authors-writer", ""),
        ("bind-view", "authors-bind-view", TEAM),
        ("team-admin", "authors-writer", TEAM),
        ("team-admin", "admin", TEAM), // everything in the namespace, and no `bind`
        ("boss", "cluster-admin", ""),
        ("truster", "authors-writer", ""),
        ("truster", "authors-trust-okta", ""),
        ("approver", approver.as_str(), TEAM),
        ("head-approver", approver.as_str(), ""),
        ("approver-of-one", "authors-writer", TEAM),
        ("approver-of-one", "authors-approve-one", TEAM),
    ] {
        let object = json!({"metadata": {"name": format!("authors-{person}-{role}")}, "subjects": [subject(&format!("User/{person}"))],
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role}});
        lay_out(admin, &bindings(place), object).await;
    }
}

const BIND: Expect = Refused(422, "needs the verb bind on");
const FORBIDDEN: Expect = Refused(403, "cannot");

#[tokio::test]
async fn who_writes_a_mapping_must_be_allowed_to_bind_what_it_grants() {
    let cluster = Cluster::shared();
    let installed = Install::new("authors").on(cluster).await;
    let admin = cluster.admin().await;
    people(&admin, &installed).await;
    let mut cases = Cases::default();
    let (view, edit, top, deployer) = ("ClusterRole/view", "ClusterRole/edit", "ClusterRole/admin", "Role/deployer");
    for (who, place, roles, expected) in [
        ("nobody", TEAM, &[view][..], FORBIDDEN),
        (
            "writer",
            TEAM,
            &[view],
            Refused(422, "writer needs the verb bind on clusterroles:view in namespace authors-team"),
        ),
        (
            "writer",
            TEAM,
            &[deployer],
            Refused(422, "writer needs the verb bind on roles:deployer in namespace authors-team"),
        ),
        (
            "writer",
            "",
            &[view],
            Refused(422, "writer needs the verb bind on clusterroles:view in every namespace"),
        ),
        ("mapper", TEAM, &[view], Passes),
        ("mapper", TEAM, &[view, edit, deployer], Passes),
        ("mapper", TEAM, &[top], BIND),
        ("mapper", TEAM, &[view, top], BIND),
        ("mapper", TEAM, &[top, view], BIND),
        ("mapper", TEAM, &[view, edit, top], Refused(422, "clusterroles:admin")),
        ("mapper", TEAM, &["ClusterRole/deployer"], BIND),
        ("mapper", TEAM, &["Role/view"], BIND),
        ("mapper", TEAM, &["ClusterRole/views"], BIND),
        ("mapper", TEAM, &["ClusterRole/VIEW"], BIND),
        ("mapper", TEAM, &["ClusterRole/cluster-admin"], BIND),
        ("mapper", OTHER, &[view], FORBIDDEN),
        ("mapper", "", &[view], FORBIDDEN),
        ("head-mapper", TEAM, &[view, edit, deployer], Passes),
        ("head-mapper", OTHER, &[deployer], Passes),
        ("head-mapper", "", &[view, edit, deployer], Passes),
        ("head-mapper", "", &[top], BIND),
        (
            "head-mapper",
            "",
            &[view, view, view, view, top],
            Refused(422, "clusterroles:admin in every namespace"),
        ),
        ("bind-view", TEAM, &[view], Passes),
        ("bind-view", TEAM, &[view, edit], BIND),
        ("bind-view", OTHER, &[view], Refused(422, "in namespace authors-other")),
        ("bind-view", "", &[view], Refused(422, "in every namespace")),
        ("team-admin", TEAM, &[view], BIND),
        ("team-admin", TEAM, &[deployer], BIND),
        ("boss", TEAM, &["ClusterRole/cluster-admin", top, "Role/anything"], Passes),
        ("boss", "", &["ClusterRole/cluster-admin"], Passes),
    ] {
        let client = cluster.client(&Who::user(who)).await;
        let said = send(
            &client,
            "POST",
            &format!("{}?dryRun=All", mappings(place)),
            mapping("a", place, roles),
        )
        .await;
        cases.check(&format!("{who} maps {roles:?} in {place:?}"), &said, expected);
    }
    let many: Vec<&str> = vec![view; 24];
    for (who, roles, expected) in [
        ("head-mapper", many.clone(), Passes),
        (
            "head-mapper",
            [&many[..23], &[top]].concat(),
            Refused(422, "clusterroles:view and clusterroles:admin"),
        ),
        ("boss", [&many[..], &[view]].concat(), Refused(422, "")),
    ] {
        let client = cluster.client(&Who::user(who)).await;
        let said = send(
            &client,
            "POST",
            &format!("{}?dryRun=All", mappings(TEAM)),
            mapping("a", TEAM, &roles),
        )
        .await;
        cases.check(&format!("{who} maps {} roles", roles.len()), &said, expected);
    }

    // An update is judged by who makes it; what does not touch the spec is not judged, nor is a deletion.
    lay_out(&admin, &mappings(TEAM), mapping("mine", TEAM, &[top])).await;
    let mine = format!("{}/mine", mappings(TEAM));
    let grant = |role: &str| json!({"spec": {"grants": [{"roleRef": {"kind": "ClusterRole", "name": role}}]}});
    for (who, method, body, expected) in [
        ("writer", "PATCH", json!({"metadata": {"labels": {"a": "b"}}}), Passes),
        ("writer", "PATCH", grant("view"), BIND),
        ("writer", "PATCH", json!({"spec": {"suspend": true}}), BIND),
        ("mapper", "PATCH", json!({"spec": {"groups": {"names": ["mine"]}}}), BIND), // it still grants admin
        ("mapper", "PATCH", grant("view"), Passes),
        ("mapper", "PATCH", json!({"spec": {"groups": {"names": ["mine"]}}}), Passes),
        ("mapper", "PATCH", grant("admin"), BIND),
        ("writer", "DELETE", json!(null), Passes),
    ] {
        let client = cluster.client(&Who::user(who)).await;
        cases.check(
            &format!("{who}: {method} {body}"),
            &send(&client, method, &mine, body).await,
            expected,
        );
    }
    sources(&mut cases, cluster).await;
    approvals(&mut cases, cluster, &admin).await;
    cases.finish("authors");
}

/// A source decides who is who.
async fn sources(cases: &mut Cases, cluster: &Cluster) {
    let all = format!("{GROUP}/scimsources");
    const TRUST: Expect = Refused(422, "needs the verb trust on scimsources.rolecall.dev");
    for (who, method, name, body, expected) in [
        ("nobody", "POST", "", source("authors-okta"), FORBIDDEN),
        ("head-mapper", "POST", "", source("authors-okta"), FORBIDDEN),
        ("writer", "POST", "", source("authors-okta"), TRUST),
        ("truster", "POST", "", source("authors-entra"), TRUST),
        ("truster", "POST", "", source("authors-okta"), Passes),
        (
            "writer",
            "PATCH",
            "/authors-okta",
            json!({"spec": {"subject": {"username": "'root'"}}}),
            TRUST,
        ),
        (
            "writer",
            "PATCH",
            "/authors-okta",
            json!({"metadata": {"labels": {"a": "b"}}}),
            Passes,
        ),
        ("head-approver", "PATCH", "/authors-okta", json!({"spec": {"suspend": true}}), TRUST),
        ("truster", "PATCH", "/authors-okta", json!({"spec": {"suspend": true}}), Passes),
        ("boss", "PATCH", "/authors-okta", json!({"spec": {"suspend": false}}), Passes),
    ] {
        let client = cluster.client(&Who::user(who)).await;
        cases.check(
            &format!("{who}: {method} source {name} {body}"),
            &send(&client, method, &format!("{all}{name}"), body).await,
            expected,
        );
    }
}

/// Releasing what a guard holds.
async fn approvals(cases: &mut Cases, cluster: &Cluster, admin: &Client) {
    lay_out(admin, &mappings(TEAM), mapping("authors-one", TEAM, &["ClusterRole/view"])).await;
    lay_out(admin, &mappings(TEAM), mapping("authors-two", TEAM, &["ClusterRole/view"])).await;
    lay_out(admin, &mappings(""), mapping("authors-wide", "", &["ClusterRole/view"])).await;
    let (one, two) = (format!("{}/authors-one", mappings(TEAM)), format!("{}/authors-two", mappings(TEAM)));
    let (wide, source) = (
        format!("{}/authors-wide", mappings("")),
        format!("{GROUP}/scimsources/authors-okta"),
    );
    let say = |key: &str, value: Value| json!({"metadata": {"annotations": {format!("rolecall.dev/{key}"): value}}});
    let no = Refused(422, "needs the verb approve on");
    const NO_RECORD: Expect = Refused(422, "is the number of a record");
    for (who, path, body, expected) in [
        ("writer", &one, say("approve", json!("1")), no),
        ("mapper", &one, say("approve", json!("1")), no),
        ("writer", &source, say("accept-journal-loss", json!("x")), no),
        ("writer", &wide, say("approve", json!("1")), no),
        ("truster", &source, say("approve", json!("1")), no),
        ("approver", &one, say("approve", json!("1")), Passes),
        ("approver", &one, say("approve", json!("2")), Passes),
        ("approver", &wide, say("approve", json!("1")), FORBIDDEN),
        ("approver", &source, say("accept-journal-loss", json!("x")), FORBIDDEN),
        ("approver-of-one", &one, say("approve", json!("3")), Passes),
        ("approver-of-one", &two, say("approve", json!("3")), no),
        ("head-approver", &two, say("approve", json!("1")), Passes),
        ("head-approver", &wide, say("approve", json!("1")), Passes),
        ("head-approver", &source, say("accept-journal-loss", json!("x")), Passes),
        ("head-approver", &two, say("approve", json!("yes")), NO_RECORD),
        ("boss", &two, say("approve", json!("-1")), NO_RECORD),
        ("boss", &two, say("approve", json!("")), NO_RECORD),
        ("boss", &two, say("approve", json!("99999999999999999999")), NO_RECORD),
        ("head-approver", &two, json!({"spec": {"suspend": true}}), BIND),
        ("writer", &one, say("approve", json!("4")), no),
        ("writer", &one, json!({"metadata": {"annotations": {"other": "x"}}}), Passes), // it stands there, unchanged
        ("writer", &one, say("approve", json!(null)), Passes),
    ] {
        let client = cluster.client(&Who::user(who)).await;
        cases.check(
            &format!("{who} on {path}: {body}"),
            &send(&client, "PATCH", path, body).await,
            expected,
        );
    }
    let mut approved = mapping("authors-new", TEAM, &["ClusterRole/view"]);
    approved["metadata"]["annotations"] = json!({"rolecall.dev/approve": "1"});
    let client = cluster.client(&Who::user("mapper")).await;
    cases.check(
        "approved from the start",
        &send(&client, "POST", &mappings(TEAM), approved).await,
        no,
    );
}

/// The same without the CRD's own rules, and with the fields that later versions have: an expression and its closed list.
/// `cluster` is the caller's own.
pub async fn without_the_rules_of_the_crd(cases: &mut Cases, cluster: &Cluster, installed: &Installed) {
    let admin = cluster.admin().await;
    people(&admin, installed).await;
    let loose = json!([{"op": "replace", "path": "/spec/versions/0/schema/openAPIV3Schema",
        "value": {"type": "object", "properties": {"spec": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}}]);
    cluster
        .kubectl(&["patch", "crd", "rolemappings.rolecall.dev", "--type=json", "-p", &loose.to_string()])
        .expect_ok();
    let odd = |grants: Value| {
        let mut object = mapping("a", TEAM, &[]);
        object["spec"]["grants"] = grants;
        object
    };
    let boss = cluster.client(&Who::user("boss")).await;
    let path = format!("{}?dryRun=All", mappings(TEAM));
    for _ in 0..100 {
        // until the API server serves the loosened schema
        let said = send(&boss, "POST", &path, odd(json!([{"roleRef": {"kind": "Role", "oneOf": ["a"]}}]))).await;
        if said.passed() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    let role = |name: &str| json!({"roleRef": {"kind": "ClusterRole", "name": name}});
    let views = |n: usize| json!(vec![role("view"); n]);
    let list: Vec<String> = (0..25).map(|n| format!("r{n}")).collect();
    let one = |role_ref: Value| json!([{"roleRef": role_ref}]);
    for (who, case, grants, expected) in [
        (
            "mapper",
            "an expression and its closed list",
            one(json!({"kind": "ClusterRole", "expression": "match.role", "oneOf": ["view", "edit"]})),
            Passes,
        ),
        (
            "mapper",
            "a closed list with one too many",
            one(json!({"kind": "ClusterRole", "expression": "match.role", "oneOf": ["view", "admin"]})),
            BIND,
        ),
        (
            "mapper",
            "admin beside oneOf: [view]",
            one(json!({"kind": "ClusterRole", "name": "admin", "oneOf": ["view"]})),
            BIND,
        ),
        (
            "mapper",
            "view beside oneOf: [admin]",
            one(json!({"kind": "ClusterRole", "name": "view", "oneOf": ["admin"]})),
            BIND,
        ),
        (
            "boss",
            "an expression with an empty list",
            one(json!({"kind": "ClusterRole", "expression": "match.role", "oneOf": []})),
            Refused(422, "names its role, or the closed list"),
        ),
        (
            "boss",
            "an expression without a list",
            one(json!({"kind": "ClusterRole", "expression": "match.role"})),
            Refused(422, "names its role, or the closed list"),
        ),
        (
            "boss",
            "an empty name",
            one(json!({"kind": "ClusterRole", "name": ""})),
            Refused(422, "names its role, or the closed list"),
        ),
        (
            "boss",
            "one grant with, one without a role",
            json!([role("view"), {"roleRef": {"kind": "ClusterRole"}}]),
            Refused(422, "names its role, or the closed list"),
        ),
        ("boss", "no roleRef", json!([{}]), Refused(422, "'rolecall-authors'")),
        ("boss", "no grants", json!(null), Refused(422, "'rolecall-authors'")),
        ("boss", "24 roles", views(24), Passes),
        ("boss", "25 roles", views(25), Refused(422, "at most 24 roles in one mapping")),
        (
            "boss",
            "25 roles in one list",
            one(json!({"kind": "Role", "expression": "x", "oneOf": list})),
            Refused(422, "at most 24 roles in one mapping"),
        ),
        (
            "mapper",
            "two roles in one name",
            one(json!({"kind": "ClusterRole", "name": "view/clusterroles:admin"})),
            BIND,
        ),
        (
            "mapper",
            "a kind of its own",
            one(json!({"kind": "Everything", "name": "admin"})),
            BIND,
        ),
        (
            "mapper",
            "no kind",
            one(json!({"name": "view"})),
            Refused(422, "'rolecall-authors'"),
        ),
    ] {
        let client = cluster.client(&Who::user(who)).await;
        cases.check(case, &send(&client, "POST", &path, odd(grants)).await, expected);
    }
}
