//! What others granted: which bindings are told, and what a role's digest depends on.

use std::collections::HashMap;

use k8s_openapi::api::rbac::v1::PolicyRule;
use serde_json::{Value, json};

use super::world::{World, role_mapping, view_of_team_a};
use crate::access::binding::SubjectRef;
use crate::access::survey::{Basis, Foreign, Unmanaged, rules_digest, split, survey};

fn binding(namespace: &str, name: &str, subjects: &[(&str, &str)]) -> Foreign {
    let of = |(kind, name): &(&str, &str)| SubjectRef {
        kind: (*kind).to_owned(),
        name: (*name).to_owned(),
        namespace: None,
    };
    Foreign {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        subjects: subjects.iter().map(of).collect(),
    }
}

/// ada is active, bob is disabled; the group devs is mapped.
fn found(bindings: &[Foreign]) -> Unmanaged {
    let mut world = World::new(role_mapping("team-a", "m", view_of_team_a()));
    let (ada, bob) = (world.user("okta", "ada"), world.user("okta", "bob"));
    world.group("okta", "devs", &[ada, bob]);
    world.change("okta", bob, json!({"active": false}), &[], &[]);
    world.evaluate();
    let (prefix, rest) = split("oidc:ada");
    let basis = Basis {
        usernames: &world.usernames,
        groups: HashMap::from([("devs".to_owned(), "okta".into())]),
        bare: HashMap::from([(rest, (prefix, "okta".into()))]),
    };
    let found = survey(&basis, bindings);
    assert!(found.len() <= 1, "{found:?}");
    found.into_values().next().unwrap_or_default()
}

#[test]
fn people_who_were_disabled_and_groups_that_are_mapped_are_told() {
    let none = found(&[binding(
        "a",
        "x",
        &[("User", "oidc:ada"), ("User", "eve"), ("Group", "ops"), ("Group", "system:nodes")],
    )]);
    assert_eq!(none, Unmanaged::default());
    let many: Vec<Foreign> = (0..7)
        .map(|i| binding("a", &format!("old-{i}"), &[("User", "oidc:bob"), ("User", "oidc:bob")]))
        .collect();
    let all = found(&[many, vec![binding("", "wide", &[("Group", "devs"), ("User", "oidc:bob")])]].concat()[..]);
    assert_eq!((all.disabled.count, all.disabled.shown.len()), (8, 5));
    assert_eq!(all.disabled.shown[0], "RoleBinding a/old-0");
    assert_eq!((all.groups.count, &*all.groups.shown[0]), (1, "ClusterRoleBinding wide"));
}

#[test]
fn people_under_another_prefix_are_told_only_where_nobody_has_ours() {
    let other = binding("a", "x", &[("User", "sso:ada")]);
    assert_eq!(found(std::slice::from_ref(&other)).prefixes, [("sso:".to_owned(), 1)].into());
    assert!(found(&[other, binding("a", "y", &[("User", "oidc:ada")])]).prefixes.is_empty());
}

#[test]
fn a_digest_is_of_what_a_role_permits_and_not_of_how_it_is_written() {
    let rules = |rules: Value| rules_digest(&serde_json::from_value::<Vec<PolicyRule>>(rules).expect("rules"));
    let rule = |verbs: &[&str], resources: &[&str]| json!({"apiGroups": [""], "resources": resources, "verbs": verbs});
    let base = rules(json!([rule(&["get", "list"], &["pods", "services"])]));
    assert_eq!(base.len(), 16);
    let same = [
        rules(json!([rule(&["list", "get"], &["services", "pods"])])),
        rules(json!([
            rule(&["get"], &["pods"]),
            rule(&["list"], &["pods"]),
            rule(&["get", "list"], &["services"])
        ])),
    ];
    assert!(same.iter().all(|other| *other == base));
    let mut narrower = rule(&["get", "list"], &["pods", "services"]);
    narrower["resourceNames"] = json!(["one"]);
    for other in [
        json!([rule(&["get", "list", "delete"], &["pods", "services"])]),
        json!([rule(&["get", "list"], &["pods", "services", "secrets"])]),
        json!([narrower]),
        json!([rule(&["get", "list"], &["pods", "services"]), {"nonResourceURLs": ["/metrics"], "verbs": ["get"]}]),
        json!([]),
    ] {
        assert_ne!(rules(other.clone()), base, "{other}");
    }
}
