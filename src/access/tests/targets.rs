use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::world::{World, cluster_role_mapping, role_mapping, view_of_team_a};
use crate::access::mapping::Mapping;
use crate::access::select::Selected;
use crate::access::targets::{NamespaceInfo, Namespaces, Targets, covers_otherwise, source_allows, targets, usable_sources};
use crate::access::yields::Yields;
use crate::api::source::{AllowedNamespaces, ScimSourceSpec};

fn namespaces() -> Namespaces {
    let list = [
        ("team-a", "a", false),
        ("team-b", "b", false),
        ("team-c", "a", true),
        ("kube-system", "a", false),
        ("other", "", false),
    ];
    list.into_iter()
        .map(|(name, team, terminating)| {
            let labels: BTreeMap<String, String> = [("team".to_owned(), team.to_owned())]
                .into_iter()
                .filter(|(_, v)| !v.is_empty())
                .collect();
            let info = NamespaceInfo {
                name: name.to_owned(),
                labels,
                terminating,
            };
            (name.to_owned(), std::sync::Arc::new(info))
        })
        .collect()
}

fn policy() -> crate::access::policy::AccessPolicy {
    World::new(role_mapping("team-a", "devs", view_of_team_a()))
        .policy
        .expect("a policy")
}

fn mapping(grants: Value) -> Mapping {
    cluster_role_mapping(
        "teams",
        json!({"sources": ["okta"], "groups": {"names": ["devs"]}, "grants": grants}),
    )
}

fn grant(role: &str, namespaces: Value) -> Value {
    json!({"roleRef": {"kind": "ClusterRole", "name": role}, "namespaces": namespaces})
}

/// What is granted now.
fn shown(targets: &Targets) -> Vec<String> {
    let all = namespaces();
    let there: BTreeSet<&str> = targets.namespaces(&all).collect();
    let now = targets.iter().filter(|(ns, ..)| there.contains(ns.as_str()));
    now.map(|(ns, role, _)| format!("{ns}/{}", role.name)).collect()
}

fn covered(mapping: &Mapping, namespaces: &Namespaces, policy: Option<&crate::access::policy::AccessPolicy>) -> Targets {
    targets(mapping, &Selected::default(), &Yields::default(), namespaces, policy)
}

#[test]
fn where_a_mapping_grants_what() {
    let (namespaces, policy) = (namespaces(), policy());
    let by_label = json!({"selector": {"matchLabels": {"team": "a"}}});
    for (grants, pairs, refused, missing, terminating) in [
        (
            json!([grant("view", json!({"names": ["team-a", "team-b"]}))]),
            &["team-a/view", "team-b/view"][..],
            &[][..],
            &[][..],
            &[][..],
        ),
        (
            json!([grant("view", json!({"names": ["team-a", "nowhere"]}))]),
            &["team-a/view"],
            &[],
            &["nowhere"],
            &[],
        ),
        // a selector never means a protected namespace; in a terminating one nothing is touched
        (json!([grant("view", by_label)]), &["team-a/view"], &[], &[], &["team-c"]),
        (
            json!([grant("view", json!({"names": ["kube-system", "team-a"]}))]),
            &["team-a/view"],
            &["NamespaceProtected"],
            &[],
            &[],
        ),
        (
            json!([
                grant("cluster-admin", json!({"names": ["team-a"]})),
                grant("view", json!({"names": ["team-a"]}))
            ]),
            &["team-a/view"],
            &["RoleNotAllowed"],
            &[],
            &[],
        ),
        (
            json!([grant("view", json!({"names": ["team-a"]})), grant("view", json!({"selector": {}}))]),
            &["other/view", "team-a/view", "team-b/view"],
            &[],
            &[],
            &["team-c"],
        ),
        (
            json!([grant("view", json!({"selector": {"matchLabels": {"team": "zzz"}}}))]),
            &[],
            &[],
            &[],
            &[],
        ),
    ] {
        let found = covered(&mapping(grants.clone()), &namespaces, Some(&policy));
        assert_eq!(shown(&found), pairs, "{grants}");
        assert_eq!(found.refusals.iter().map(|r| r.reason).collect::<Vec<_>>(), refused, "{grants}");
        assert_eq!(found.missing(&namespaces).collect::<Vec<_>>(), missing, "{grants}");
        let there: Vec<&str> = found.namespaces(&namespaces).collect();
        let going = found
            .pairs
            .keys()
            .filter(|ns| !there.contains(&ns.as_str()) && !missing.contains(&ns.as_str()));
        assert_eq!(going.collect::<Vec<_>>(), terminating, "{grants}");
        assert_eq!(found.empty_selector, grants.to_string().contains("zzz"), "{grants}");
    }
}

#[test]
fn without_a_policy_nothing_is_refused_here() {
    let mapping = mapping(json!([grant("cluster-admin", json!({"names": ["kube-system"]}))]));
    assert_eq!(shown(&covered(&mapping, &namespaces(), None)), ["kube-system/cluster-admin"]);
}

#[test]
fn a_role_mapping_grants_in_its_own_namespace() {
    for (namespace, pairs, refused) in [("team-a", 1, 0), ("kube-system", 0, 1), ("team-c", 0, 0), ("nowhere", 0, 0)] {
        let mapping = role_mapping(namespace, "devs", view_of_team_a());
        let found = covered(&mapping, &namespaces(), Some(&policy()));
        assert_eq!((shown(&found).len(), found.refusals.len()), (pairs, refused), "{namespace}");
    }
}

#[test]
fn one_namespace_alone_gives_the_same_as_all_together() {
    let (namespaces, policy) = (namespaces(), policy());
    let mappings = [
        mapping(json!([
            grant("view", json!({"names": ["team-a", "kube-system", "team-c"]})),
            grant("edit", json!({"selector": {}}))
        ])),
        mapping(json!([
            grant(
                "view",
                json!({"selector": {"matchExpressions": [{"key": "team", "operator": "Exists"}]}})
            ),
            grant("nope", json!({"selector": {}}))
        ])),
        role_mapping("team-b", "devs", view_of_team_a()),
    ];
    for mapping in &mappings {
        for policy in [Some(&policy), None] {
            let all = covered(mapping, &namespaces, policy);
            for info in namespaces.values() {
                let without = covered(mapping, &namespaces.without(&info.name), policy);
                let otherwise = covers_otherwise(mapping, Some(info), None);
                assert!(otherwise || all == without, "{} in {}", mapping.key, info.name);
                assert!(!covers_otherwise(mapping, Some(info), Some(info)));
            }
        }
    }
}

#[test]
fn which_sources_a_mapping_may_use() {
    let namespaces = namespaces();
    let everywhere: AllowedNamespaces = serde_json::from_value(json!({"selector": {}})).expect("a selector");
    let team_a: AllowedNamespaces = serde_json::from_value(json!({"selector": {"matchLabels": {"team": "a"}}})).expect("a selector");
    let cases = [
        ("okta", Some(None), "team-a", false),
        ("okta", Some(Some(&everywhere)), "team-a", true),
        ("okta", Some(Some(&team_a)), "team-a", true),
        ("okta", Some(Some(&team_a)), "team-b", false),
        ("okta", Some(Some(&team_a)), "nowhere", false),
    ];
    let mapping_of = |namespace: &str| {
        let spec =
            json!({"sources": ["okta"], "groups": {"names": ["devs"]}, "grants": [{"roleRef": {"kind": "ClusterRole", "name": "view"}}]});
        role_mapping(namespace, "devs", spec)
    };
    let (usable, refusals) = usable_sources(&mapping_of("team-a"), &namespaces, |_| None);
    assert_eq!(
        (usable.len(), refusals.len()),
        (0, 0),
        "a source that does not exist (yet) is no refusal, and shows nothing"
    );
    for (source, allowed, namespace, good) in cases {
        let spec =
            json!({"sources": [source], "groups": {"names": ["devs"]}, "grants": [{"roleRef": {"kind": "ClusterRole", "name": "view"}}]});
        let mapping = role_mapping(namespace, "devs", spec);
        let spec = allowed.map(|allowed: Option<&AllowedNamespaces>| ScimSourceSpec {
            allowed_namespaces: allowed.cloned(),
            ..ScimSourceSpec::default()
        });
        let (usable, refusals) = usable_sources(&mapping, &namespaces, |_| spec.as_ref());
        assert_eq!(
            (usable.len(), refusals.len()),
            (usize::from(good), usize::from(!good)),
            "{allowed:?} {namespace}"
        );
        assert!(
            refusals
                .iter()
                .all(|r| r.reason == "SourceNotAllowed" && r.message.contains("allowedNamespaces") && r.message.contains(namespace))
        );
    }
    let cluster = mapping(json!([grant("view", json!({"names": ["team-a"]}))]));
    let none = ScimSourceSpec::default();
    assert_eq!(
        usable_sources(&cluster, &namespaces, |_| Some(&none)).0.len(),
        1,
        "a ClusterRoleMapping always may"
    );
    assert!(source_allows("okta", Some(&everywhere), "nowhere", None).is_ok());
}
