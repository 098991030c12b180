//! Which bindings that somebody made are covered, as tables.

use k8s_openapi::api::rbac::v1::RoleBinding;
use serde_json::{Value, json};

use super::adopt::{Adoption, Outcome, Verdict, adoption, still};
use super::adopt_text::{list, outcomes};
use crate::access::key::BindingKey;
use crate::access::names::{Installation, binding_annotations, binding_labels, binding_name};
use crate::access::policy::AccessPolicy;
use crate::access::shard::Prefix;
use crate::api::mapping::{RoleKind, RoleRef};

const JOURNAL: &str = "an-id";

fn policy() -> AccessPolicy {
    AccessPolicy {
        protected_namespaces: vec!["kube-*".to_owned()],
        ..AccessPolicy::default()
    }
}

/// `ClusterRole/view`, and subjects such as `User ada` and `ServiceAccount a/ci`.
fn binding(namespace: &str, name: &str, role: &str, subjects: &[&str], more: &Value) -> RoleBinding {
    let (kind, role) = role.split_once('/').expect("a role");
    let subject = |text: &&str| {
        let (kind, name) = text.split_once(' ').expect("a subject");
        match name.split_once('/') {
            Some((namespace, name)) => json!({"kind": kind, "namespace": namespace, "name": name}),
            None => json!({"kind": kind, "apiGroup": "rbac.authorization.k8s.io", "name": name}),
        }
    };
    let mut metadata = json!({"namespace": namespace, "name": name, "uid": format!("uid-{name}"), "resourceVersion": "1"});
    for (key, value) in more.as_object().into_iter().flatten() {
        metadata[key] = value.clone();
    }
    let object = json!({"metadata": metadata, "subjects": subjects.iter().map(subject).collect::<Vec<_>>(),
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role}});
    serde_json::from_value(object).expect("a RoleBinding")
}

/// What a controller writes for a mapping, with what somebody else did to its metadata.
fn ours_with(mapping: &str, namespace: &str, role: &str, subjects: &[&str], more: &Value) -> RoleBinding {
    let installation = Installation {
        class: "main".to_owned(),
        journal: JOURNAL.to_owned(),
        predecessors: Vec::new(),
    };
    let (kind, name) = role.split_once('/').expect("a role");
    let key = BindingKey {
        owner: mapping.parse().expect("a mapping's key"),
        role: RoleRef {
            kind: if kind == "Role" { RoleKind::Role } else { RoleKind::ClusterRole },
            name: name.to_owned(),
        },
        namespace: namespace.to_owned(),
        prefix: Prefix::ALL,
    };
    let mut metadata = json!({
        "labels": binding_labels(&key, &installation),
        "annotations": binding_annotations(&key, "controller/1", "1/0"),
    });
    for (key, value) in more.as_object().into_iter().flatten() {
        metadata[key] = value.clone();
    }
    binding(namespace, &binding_name(&key, "main"), role, subjects, &metadata)
}

fn ours(mapping: &str, namespace: &str, role: &str, subjects: &[&str]) -> RoleBinding {
    ours_with(mapping, namespace, role, subjects, &Value::Null)
}

fn standing() -> Vec<RoleBinding> {
    vec![
        ours("RoleMapping/a/m", "a", "ClusterRole/view", &["User ada", "User bob"]),
        ours("ClusterRoleMapping/w", "a", "ClusterRole/view", &["User cy"]),
        ours("ClusterRoleMapping/g", "a", "ClusterRole/view", &["Group devs"]),
        ours("RoleMapping/a/m", "a", "Role/deployer", &["User ada"]),
        ours("ClusterRoleMapping/w", "", "ClusterRole/edit", &["User ada"]),
        ours("ClusterRoleMapping/w", "kube-system", "ClusterRole/view", &["User ada"]),
    ]
}

fn adopt(others: impl IntoIterator<Item = RoleBinding>, ours: Vec<RoleBinding>) -> Adoption {
    let all: Vec<RoleBinding> = others.into_iter().chain(ours).collect();
    adoption(&all, &[JOURNAL.to_owned()], &policy())
}

/// `Covered`, `Partly: <who is not>`, `Skipped: <why>`, or `-`.
fn said(adoption: &Adoption) -> String {
    match adoption.bindings.as_slice() {
        [] => "-".to_owned(),
        [one] => match one.verdict {
            Verdict::Covered => "Covered".to_owned(),
            Verdict::Partly => format!("Partly: {}", one.uncovered.join(", ")),
            Verdict::Skipped => format!("Skipped: {}", one.why.clone().unwrap_or_default()),
        },
        several => panic!("{several:#?}"),
    }
}

#[test]
fn covered_is_what_every_subject_holds_by_ours_in_the_same_place() {
    let table: [(&str, &str, &[&str], &str); 17] = [
        ("a", "ClusterRole/view", &["User ada"], "Covered"),
        ("a", "ClusterRole/view", &["User ada", "User cy"], "Covered"),
        ("a", "ClusterRole/view", &["Group devs", "User bob"], "Covered"),
        ("a", "Role/deployer", &["User ada"], "Covered"),
        // by what is granted in the whole cluster
        ("a", "ClusterRole/edit", &["User ada"], "Covered"),
        ("b", "ClusterRole/edit", &["User ada"], "Covered"),
        ("", "ClusterRole/edit", &["User ada"], "Covered"),
        ("", "ClusterRole/edit", &["User ada", "User bob"], "Partly: User bob"),
        // by what is granted in a namespace
        ("", "ClusterRole/view", &["User ada"], "-"),
        ("b", "ClusterRole/view", &["User ada"], "-"),
        ("a", "Role/view", &["User ada"], "-"),
        ("a", "ClusterRole/view", &["User ada", "User eve"], "Partly: User eve"),
        (
            "a",
            "ClusterRole/view",
            &["User ada", "ServiceAccount a/ci"],
            "Partly: ServiceAccount a/ci",
        ),
        ("a", "ClusterRole/view", &["ServiceAccount a/ada"], "-"),
        ("a", "ClusterRole/view", &["Group ada"], "-"),
        ("a", "ClusterRole/view", &[], "-"),
        (
            "kube-system",
            "ClusterRole/view",
            &["User ada"],
            "Skipped: the access policy protects the namespace kube-system",
        ),
    ];
    for (namespace, role, subjects, expected) in table {
        let other = binding(namespace, "by-hand", role, subjects, &Value::Null);
        assert_eq!(said(&adopt([other], standing())), expected, "{namespace:?} {role} {subjects:?}");
    }
}

#[test]
fn what_somebody_else_manages_is_left_to_them() {
    let label = |key: &str, value: &str| json!({"labels": {key: value}});
    let annotation = |key: &str, value: &str| json!({"annotations": {key: value}});
    let owner = json!({"ownerReferences": [{"apiVersion": "v1", "kind": "ConfigMap", "name": "o", "uid": "u"}]});
    let table = [
        (Value::Null, "Covered"),
        (label("team", "a"), "Covered"),
        (annotation("kubectl.kubernetes.io/last-applied-configuration", "{}"), "Covered"),
        (label("app.kubernetes.io/managed-by", "Helm"), "Skipped: Helm manages it"),
        (label("app.kubernetes.io/managed-by", ""), "Skipped"),
        (annotation("meta.helm.sh/release-name", "r"), "Skipped: Helm manages it"),
        (annotation("argocd.argoproj.io/tracking-id", "t"), "Skipped: Argo CD manages it"),
        (label("app.kubernetes.io/instance", "i"), "Skipped: an application manages it"),
        (label("kustomize.toolkit.fluxcd.io/name", "k"), "Skipped: Flux manages it"),
        (annotation("helm.toolkit.fluxcd.io/name", "k"), "Skipped: Flux manages it"),
        (
            label("olm.owner", "csv"),
            "Skipped: the Operator Lifecycle Manager manages it (olm.owner)",
        ),
        (
            annotation("rbac.authorization.kubernetes.io/autoupdate", "true"),
            "Skipped: Kubernetes manages it",
        ),
        (
            label("kubernetes.io/bootstrapping", "rbac-defaults"),
            "Skipped: Kubernetes manages it",
        ),
        (owner, "Skipped: the ConfigMap o owns it"),
        (
            json!({"finalizers": ["x/y"]}),
            "Skipped: somebody waits for its end (finalizer x/y)",
        ),
        (json!({"deletionTimestamp": "2026-11-26T00:00:00Z"}), "Skipped: it is being deleted"),
        (json!({"name": "system:x"}), "Skipped: its name begins with \"system:\""),
        // says that it is Rolecall's, and is not looked at
        (label("app.kubernetes.io/managed-by", "rolecall"), "-"),
    ];
    for (metadata, expected) in table {
        let other = binding("a", "by-hand", "ClusterRole/view", &["User ada"], &metadata);
        let said = said(&adopt([other], standing()));
        assert!(said.starts_with(expected), "{metadata}: {said}");
        assert_eq!(said == "Covered", expected == "Covered", "{metadata}: {said}");
    }
}

#[test]
fn only_what_is_ours_and_stays_covers_anything() {
    let view = |more: Value| ours_with("RoleMapping/a/m", "a", "ClusterRole/view", &["User ada"], &more);
    let relabelled = |key: &str, value: &str| {
        let mut labels = serde_json::to_value(view(Value::Null).metadata.labels).expect("labels");
        labels[key] = json!(value);
        view(json!({"labels": labels}))
    };
    let owner = json!({"ownerReferences": [{"apiVersion": "v1", "kind": "ConfigMap", "name": "o", "uid": "u"}]});
    let table = [
        (view(Value::Null), "Covered"),
        (view(json!({"deletionTimestamp": "2026-11-26T00:00:00Z"})), "-"),
        (view(json!({"finalizers": ["x/y"]})), "-"),
        (view(owner), "-"),
        (view(json!({"name": "rolecall-00000000000000000000000000000000"})), "-"),
        (view(json!({"annotations": {}})), "-"),
        (relabelled("rolecall.dev/journal", "another"), "-"),
        (relabelled("rolecall.dev/owner", "0000000000000000"), "-"),
        (relabelled("rolecall.dev/class", "another"), "-"),
    ];
    for (ours, expected) in table {
        let what = format!("{:?}", ours.metadata);
        let other = binding("a", "by-hand", "ClusterRole/view", &["User ada"], &Value::Null);
        assert_eq!(said(&adopt([other], vec![ours])), expected, "{what}");
    }
}

#[test]
fn what_changed_since_it_was_shown_stays() {
    let other = |more: Value, subjects: &[&str]| binding("a", "by-hand", "ClusterRole/view", subjects, &more);
    let both = ["User ada", "User cy"];
    let shown = adopt([other(Value::Null, &both)], standing()).bindings.remove(0);
    assert_eq!(shown.by.len(), 2, "{:?}", shown.by);
    let ada = ours("RoleMapping/a/m", "a", "ClusterRole/view", &["User ada"]);
    let cy = ours("ClusterRoleMapping/w", "a", "ClusterRole/view", &["User cy"]);
    let table = [
        (other(Value::Null, &both), vec![ada.clone(), cy.clone()], ""),
        (other(Value::Null, &both), vec![ada.clone()], "not covered any more: User cy"),
        (
            other(Value::Null, &both),
            Vec::new(),
            "Rolecall's bindings do not cover it any more",
        ),
        (
            other(json!({"resourceVersion": "2"}), &both),
            vec![ada.clone(), cy.clone()],
            "it was changed since it was shown",
        ),
        (
            other(json!({"uid": "another"}), &["User ada"]),
            vec![ada, cy],
            "it was changed since it was shown",
        ),
    ];
    for (now, mut all, expected) in table {
        all.insert(0, now);
        let said = still(&shown, &all, &[JOURNAL.to_owned()], &policy()).err().unwrap_or_default();
        assert_eq!(said, expected, "{all:#?}");
    }
}

#[test]
fn the_list_and_what_became_of_it() {
    let others = [
        binding("a", "half", "ClusterRole/view", &["User ada", "User eve\u{1b}[2J"], &Value::Null),
        binding("a", "old", "ClusterRole/view", &["User ada", "User cy"], &Value::Null),
        binding("", "wide", "ClusterRole/edit", &["User ada"], &Value::Null),
        binding(
            "a",
            "helm",
            "ClusterRole/view",
            &["User ada"],
            &json!({"labels": {"app.kubernetes.io/managed-by": "Helm"}}),
        ),
    ];
    let mut adoption = adopt(others, standing());
    adoption.notes.push("something is not seen".to_owned());
    let text = list(&adoption);
    let expected = "\
-  ClusterRoleBinding/wide  ClusterRole/edit
   covered: User ada; by ClusterRoleMapping/w
-  RoleBinding/a/old  ClusterRole/view
   covered: User ada, User cy; by ClusterRoleMapping/w, RoleMapping/a/m
?  RoleBinding/a/half  ClusterRole/view
   covered: User ada; by RoleMapping/a/m
   not covered, so that it stays: User eve\u{fffd}[2J
!  RoleBinding/a/helm  ClusterRole/view
   covered: User ada; by RoleMapping/a/m
   stays: Helm manages it (app.kubernetes.io/managed-by)
2 bindings are to be removed.
Note: something is not seen.
";
    assert_eq!(text, expected, "\n{text}");
    assert!(outcomes(&adoption).is_empty() && !adoption.failed());
    adoption.bindings[0].outcome = Some(Outcome::Removed);
    assert_eq!(outcomes(&adoption), "ClusterRoleBinding/wide removed.\n");
    adoption.bindings[1].outcome = Some(Outcome::Failed("no".to_owned()));
    assert!(adoption.failed());
    assert_eq!(
        outcomes(&adoption),
        "ClusterRoleBinding/wide removed.\nRoleBinding/a/old not removed: no.\nNot all were removed; run kubectl rolecall adopt again when the reasons are gone.\n"
    );
    let value = serde_json::to_value(&adoption).expect("JSON");
    assert_eq!(value["bindings"][0]["verdict"], json!("Covered"));
    assert_eq!(value["bindings"][1]["outcome"], json!({"failed": "no"}));
    assert_eq!(
        list(&adopt([], standing())),
        "Nothing is to be removed: no binding that somebody made is covered by Rolecall's.\n"
    );
}
