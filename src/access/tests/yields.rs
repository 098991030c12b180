use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::world::{World, cluster_role_mapping, role_mapping};
use crate::access::diff::Class;
use crate::access::mapping::Mapping;
use crate::access::pattern::Pattern;
use crate::access::policy::Refusal;
use crate::access::select::{Selected, select};
use crate::access::targets::targets;
use crate::access::yields::{Yields, is_label};
use crate::api::mapping::{ClusterRoleMapping, RoleMapping};

pub const TEAMS: &str = "^k8s-(?<team>[a-z0-9-]+)-(?<role>view|edit|admin)$";

pub fn role() -> Value {
    json!({"kind": "ClusterRole", "expression": "match.role", "oneOf": ["view", "edit"]})
}

fn teams() -> Mapping {
    let grants = json!([{"roleRef": role(), "namespaces": {"expression": "'team-' + match.team"}}]);
    cluster_role_mapping(
        "teams",
        json!({"sources": ["okta", "entra"], "groups": {"pattern": TEAMS}, "grants": grants}),
    )
}

pub fn compiled(spec: Value) -> Result<Mapping, Refusal> {
    let object = json!({"apiVersion": "rolecall.dev/v1alpha1", "kind": "ClusterRoleMapping", "metadata": {"name": "teams"}, "spec": spec});
    let object: ClusterRoleMapping = serde_json::from_value(object).expect("a ClusterRoleMapping");
    Mapping::of_cluster_role_mapping(&object)
}

/// Where the groups of these names are granted what, and why some are refused.
fn yielded(mapping: &Mapping, names: &[&str]) -> (Vec<String>, Vec<(String, &'static str)>) {
    let mut world = World::new(mapping.clone());
    for name in names {
        world.group("okta", name, &[]);
    }
    let selected = select(mapping, &mapping.sources, &world.directory);
    let yields = Yields::default().of(mapping, &selected, &world.directory).expect("cheap");
    let targets = targets(mapping, &selected, &yields, &world.namespaces, world.policy.as_ref());
    let okta = world.directory.source("okta").expect("the source");
    let name = |n: u32| okta.get(n).expect("a group").name.to_string();
    let pairs = targets.iter().map(|(ns, role, _)| format!("{ns}/{}", role.name)).collect();
    (
        pairs,
        targets.refused.iter().map(|((_, n), refusal)| (name(*n), refusal.reason)).collect(),
    )
}

#[test]
fn each_group_yields_a_role_and_a_namespace() {
    let (pairs, refused) = yielded(
        &teams(),
        &[
            "k8s-a-view",
            "k8s-b-edit",
            "k8s-new-team-edit",
            "k8s-a-admin",
            "other",
            "k8s--view",
            "xk8s-a-edit",
            "k8s-a-edit-x",
        ],
    );
    assert_eq!(pairs, ["team-a/view", "team-b/edit", "team-new-team/edit"]);
    assert_eq!(refused, [("k8s-a-admin".to_owned(), "RoleNotListed")]);
}

#[test]
fn what_an_expression_yields_is_checked_again() {
    let by_id = |expression: &str| {
        let grants = json!([{"roleRef": {"kind": "ClusterRole", "name": "view"}, "namespaces": {"expression": expression}}]);
        compiled(json!({"sources": ["okta"], "groups": {"filter": "displayName pr"}, "grants": grants})).expect("compiles")
    };
    let long = format!("'{}'", "a".repeat(64));
    for (expression, pairs, reason) in [
        ("group.displayName", 1, None),
        ("source.name + '-' + group.displayName", 1, None),
        ("group.displayName + '_x'", 0, Some("NamespaceNotValid")),
        ("group.displayName.upperAscii()", 0, Some("NamespaceNotValid")),
        ("'-' + group.displayName", 0, Some("NamespaceNotValid")),
        ("group.displayName + '/..'", 0, Some("NamespaceNotValid")),
        (&long, 0, Some("NamespaceNotValid")),
        ("'kube-' + group.displayName", 0, Some("NamespaceProtected")),
        // this group has none
        ("group.externalId", 0, Some("NothingYielded")),
        ("group.displayName.substring(0, 0)", 0, Some("NothingYielded")),
        (
            "group.displayName.split('').map(a, group.displayName.split('').map(b, group.displayName.replace('d', 'dddddddd').replace('d', 'dddddddd').replace('d', 'dddddddd')).join('')).join('')",
            0,
            Some("NothingYielded"),
        ),
    ] {
        let (found, refused) = yielded(&by_id(expression), &["devs"]);
        assert_eq!(
            (found.len(), refused.first().map(|(_, reason)| *reason)),
            (pairs, reason),
            "{expression}"
        );
    }
}

#[test]
fn what_is_wrong_with_a_spec_is_told_with_its_place() {
    let grants = |role: Value, place: Value| json!([{"roleRef": role, "namespaces": place}]);
    let of = |groups: Value, grants: Value| compiled(json!({"sources": ["okta"], "groups": groups, "grants": grants}));
    let named = json!({"kind": "ClusterRole", "name": "view"});
    let teams = json!({"pattern": TEAMS});
    let here = json!({"names": ["team-a"]});
    for (groups, grants, reason, message) in [
        (
            teams.clone(),
            grants(named.clone(), json!({"expression": "'team-' + match.tema"})),
            "InvalidExpression",
            "spec.grants[0].namespaces.expression at 1:16: match has no tema; there are: team, role",
        ),
        (
            json!({"names": ["a"]}),
            grants(named.clone(), json!({"expression": "match.team"})),
            "InvalidExpression",
            "match has no team; there are: none",
        ),
        (
            teams.clone(),
            grants(named.clone(), json!({"expression": "group.members[0]"})),
            "InvalidExpression",
            "group has no members; there are: id, displayName, externalId",
        ),
        (
            teams.clone(),
            grants(named.clone(), json!({"expression": "user.userName"})),
            "InvalidExpression",
            "\"user\" is not known here; there are `group`, `match`, `source`",
        ),
        (
            teams.clone(),
            grants(named.clone(), json!({"expression": "group.displayName.startsWith('a')"})),
            "InvalidExpression",
            "yields a bool, not a string",
        ),
        (
            teams.clone(),
            grants(
                json!({"kind": "ClusterRole", "expression": "match.role", "oneOf": []}),
                here.clone(),
            ),
            "InvalidSpec",
            "expression and oneOf",
        ),
        (
            teams.clone(),
            grants(json!({"kind": "ClusterRole", "name": "view", "oneOf": ["edit"]}), here.clone()),
            "InvalidSpec",
            "expression and oneOf",
        ),
        (
            teams,
            grants(named.clone(), json!({"names": ["a"], "expression": "'a'"})),
            "InvalidSpec",
            "exactly one of",
        ),
        (
            json!({"pattern": "k8s-.*"}),
            grants(named.clone(), here.clone()),
            "InvalidPattern",
            "begin it with ^ and end it with $",
        ),
        (
            json!({"pattern": "^k8s-($"}),
            grants(named.clone(), here.clone()),
            "InvalidPattern",
            "unclosed group",
        ),
        (
            json!({"pattern": r"^(?<a>\w{1000}){1000}$"}),
            grants(named.clone(), here.clone()),
            "InvalidPattern",
            "size limit",
        ),
        (
            json!({"pattern": "^a$", "names": ["a"]}),
            grants(named, here),
            "InvalidSpec",
            "exactly one of",
        ),
    ] {
        let refusal = of(groups.clone(), grants.clone()).expect_err("refused");
        assert_eq!(refusal.reason, reason, "{groups} {grants}");
        assert!(refusal.message.contains(message), "{}", refusal.message);
    }
    let many: Vec<Value> = (0..5)
        .map(|i| json!({"roleRef": {"kind": "ClusterRole", "expression": "match.role", "oneOf": (0..5).map(|n| format!("r{i}{n}")).collect::<Vec<_>>()}, "namespaces": {"names": ["a"]}}))
        .collect();
    let refusal = of(json!({"pattern": TEAMS}), json!(many)).expect_err("25 roles");
    assert!(refusal.message.contains("25 roles; at most 24"), "{}", refusal.message);
}

#[test]
fn a_pattern_matches_whole_names_only() {
    for (pattern, name, captured) in [
        ("^a$", "a", Some("{}")),
        ("^a$", "a\n", None),
        ("^a|b$", "ax", None),
        ("^a|b$", "xb", None),
        ("^a|b$", "b", Some("{}")),
        ("(?m)^a$", "", None),
        (TEAMS, "k8s-a-b-view", Some(r#"{"team":"a-b","role":"view"}"#)),
        (TEAMS, "K8s-a-view", None),
        (TEAMS, "k8s-a-view\u{200b}", None),
        ("^(?<x>a)?(?<y>b)$", "b", Some(r#"{"y":"b"}"#)),
    ] {
        let Ok(compiled) = Pattern::compile(pattern) else {
            assert_eq!(captured, None, "{pattern}");
            continue;
        };
        let found = compiled.captured(name).map(|found| Value::from(found).to_string());
        assert_eq!(found.as_deref(), captured, "{pattern} {name:?}");
        assert_eq!(compiled.matches(name), captured.is_some());
    }
}

#[test]
fn a_namespaced_mapping_yields_roles_in_its_own_namespace() {
    let spec = json!({"sources": ["okta"], "groups": {"pattern": "^a-(?<role>.*)$"}, "grants": [{"roleRef": {"kind": "ClusterRole", "expression": "match.role", "oneOf": ["view", "edit"]}}]});
    let (pairs, refused) = yielded(&role_mapping("team-a", "devs", spec.clone()), &["a-view", "a-edit", "a-admin"]);
    assert_eq!(pairs, ["team-a/edit", "team-a/view"]);
    assert_eq!(refused, [("a-admin".to_owned(), "RoleNotListed")]);
    let object =
        json!({"apiVersion": "rolecall.dev/v1alpha1", "kind": "RoleMapping", "metadata": {"name": "devs", "namespace": "a"}, "spec": spec});
    assert!(serde_json::from_value::<RoleMapping>(object).is_ok());
}

#[test]
fn of_several_groups_of_one_name_the_oldest_counts_for_a_pattern_too() {
    let mut world = World::new(teams());
    let [ada, eve] = ["ada", "eve"].map(|name| world.user("okta", name));
    world.group("okta", "k8s-a-edit", &[ada]);
    world.group("okta", "k8s-a-edit", &[eve]);
    world.run();
    assert_eq!(world.access().len(), 1);
    assert_eq!(world.selected.ambiguous, ["k8s-a-edit"]);
}

#[test]
fn two_groups_of_one_place_share_it() {
    let grants = json!([{"roleRef": role(), "namespaces": {"names": ["team-a"]}}]);
    let mapping = cluster_role_mapping(
        "teams",
        json!({"sources": ["okta"], "groups": {"pattern": TEAMS}, "grants": grants}),
    );
    let mut world = World::new(mapping);
    let [ada, bob, eve] = ["ada", "bob", "eve"].map(|name| world.user("okta", name));
    let first = world.group("okta", "k8s-a-view", &[ada, bob]);
    world.group("okta", "k8s-b-view", &[bob, eve]);
    world.group("okta", "k8s-b-edit", &[eve]);
    world.run();
    assert_eq!(world.access().len(), 4);
    let bindings = world.cluster.len();
    assert_eq!(bindings, 2, "one for each role");
    // who is in the other group too keeps it
    world.change("okta", first, json!({}), &[], &[ada, bob]);
    world.run();
    let left: BTreeSet<String> = world.access().into_iter().map(|(_, role, name)| format!("{role} {name}")).collect();
    assert_eq!(left, ["edit oidc:eve", "view oidc:bob", "view oidc:eve"].map(str::to_owned).into());
}

#[test]
fn a_group_that_is_renamed_takes_its_members_along_without_a_gap() {
    let mut world = World::new(teams());
    let ada = world.user("okta", "ada");
    let group = world.group("okta", "k8s-a-view", &[ada]);
    world.run();
    world.change("okta", group, json!({"displayName": "k8s-a-edit"}), &[], &[]);
    world.evaluate();
    let mut least = usize::MAX;
    world.settle_with(|w| least = least.min(w.access().len()));
    assert_eq!(least, 1, "a role that changed leaves no gap");
    assert_eq!(world.access().first().map(|(_, role, _)| role.clone()).as_deref(), Some("edit"));
    // into another namespace: what went was the group's doing
    world.change("okta", group, json!({"displayName": "k8s-b-edit"}), &[], &[]);
    world.evaluate();
    let gone = world
        .keys()
        .into_iter()
        .flat_map(|key| world.plan(&key).removals)
        .collect::<Vec<_>>();
    assert_eq!(
        gone.iter().map(|r| (r.class, r.why.label())).collect::<Vec<_>>(),
        [(Class::Other, "YieldChanged")]
    );
    world.run();
    assert_eq!(world.access().first().map(|(ns, ..)| ns.clone()).as_deref(), Some("team-b"));
    // a namespace that does not exist yet gets it when it appears
    world.change("okta", group, json!({"displayName": "k8s-c-edit"}), &[], &[]);
    world.run();
    assert_eq!(world.access().len(), 0);
    world.namespace("team-c", &[]);
    world.run();
    assert_eq!(world.access().len(), 1);
    world.at_rest();
}

#[test]
fn what_is_evaluated_for_one_mapping_has_an_end() {
    let grants: Vec<Value> = (0..24)
        .map(|_| json!({"roleRef": {"kind": "ClusterRole", "name": "view"}, "namespaces": {"expression": "group.displayName.split('').map(a, a + group.displayName).join('')"}}))
        .collect();
    let mapping = compiled(json!({"sources": ["okta"], "groups": {"filter": "displayName pr"}, "grants": grants})).expect("compiles");
    let mut world = World::new(mapping.clone());
    for i in 0..400 {
        world.group("okta", &format!("{i}{}", "x".repeat(200)), &[]);
    }
    let selected = select(&mapping, &mapping.sources, &world.directory);
    let known = Yields::default().of(&mapping, &selected, &world.directory).expect("a part");
    // what is known counts each time
    let twice = Selected {
        groups: [&selected.groups[..], &selected.groups[..]].concat(),
        ..selected.clone()
    };
    let refused = known.of(&mapping, &twice, &world.directory).expect_err("too much");
    assert_eq!(refused.reason, "TooCostly", "{refused}");
}

/// Twice as many as the benchmark has, with the most roles that a mapping may have.
#[test]
fn what_ten_thousand_groups_usually_cost_is_far_from_that_end() {
    let grants: Vec<Value> = (0..24)
        .map(|i| json!({"roleRef": {"kind": "ClusterRole", "name": format!("role-{i}")}, "namespaces": {"expression": "'prefix-of-a-namespace-' + match.team.lowerAscii() + '-' + source.name"}}))
        .collect();
    let mapping = compiled(json!({"sources": ["okta"], "groups": {"pattern": "^k8s-(?<team>.+)$"}, "grants": grants})).expect("compiles");
    let mut world = World::new(mapping.clone());
    for i in 0..2_500 {
        world.group("okta", &format!("k8s-Department-Of-Some-Kind-{i:05}"), &[]);
    }
    let mut selected = select(&mapping, &mapping.sources, &world.directory);
    let known = Yields::default().of(&mapping, &selected, &world.directory).expect("not much");
    // what is known counts each time: eight times as many are 20,000 groups
    selected.groups = (0..8).flat_map(|_| selected.groups.clone()).collect();
    assert_eq!(selected.groups.len(), 20_000);
    assert!(known.of(&mapping, &selected, &world.directory).is_ok());
}

/// Names as somebody would choose them who may name groups at the provider.
fn hostile() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        Just("system:masters".to_owned()),
        Just("kube-system".to_owned()),
        Just("../kube-system".to_owned()),
        Just("cluster-admin".to_owned()),
        Just("admin".to_owned()),
        Just("view\nadmin".to_owned()),
        Just("a\u{0}b".to_owned()),
        Just("\u{202e}weiv".to_owned()),
        Just("ｖｉｅｗ".to_owned()),
        Just("' + 'admin".to_owned()),
        Just("${role}".to_owned()),
        Just("$1".to_owned()),
        Just("a".repeat(300)),
        "[a-z0-9-]{0,70}",
        "\\PC{0,20}",
        any::<String>(),
    ];
    let role = prop_oneof![Just("view".to_owned()), Just("edit".to_owned()), part.clone()];
    prop_oneof![
        (part.clone(), role.clone()).prop_map(|(team, role)| format!("k8s-{team}-{role}")),
        (part, role).prop_map(|(team, role)| format!("{team}{role}")),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]
    /// Ten names a case: whatever a group is called, no other role than the listed ones, and no other namespace than one that may exist and is not protected.
    #[test]
    fn no_name_of_a_group_widens_what_may_be_granted(names in proptest::collection::vec(hostile(), 10)) {
        let place = |text: &str| json!({"roleRef": {"kind": "ClusterRole", "expression": "match.role", "oneOf": ["view", "edit", "cluster-admin"]}, "namespaces": {"expression": text}});
        let spec = json!({"sources": ["okta"], "groups": {"pattern": "(?s)^.*$"}, "grants": [place("match.team")]});
        prop_assert!(compiled(spec).is_err(), "a pattern begins with ^");
        let spec = json!({"sources": ["okta"], "groups": {"pattern": "^(?s)k8s-(?<team>.*)-(?<role>.*)$"}, "grants": [place("match.team"), place("'team-' + match.team"), place("group.displayName")]});
        let mapping = compiled(spec).expect("compiles");
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let mut world = World::new(mapping.clone());
        for name in &names {
            world.group("okta", name, &[]);
        }
        let selected = select(&mapping, &mapping.sources, &world.directory);
        let yields = Yields::default().of(&mapping, &selected, &world.directory).expect("cheap");
        // the first layer alone: what the expressions yield
        for group in &selected.groups {
            for grant in &yields.get(group).expect("known").grants {
                prop_assert!(["view", "edit", "cluster-admin"].contains(&grant.role.name.as_str()));
                prop_assert!(grant.namespace.as_deref().is_some_and(is_label));
            }
        }
        // the second: the access policy, on what the first lets pass
        let policy = world.policy.clone().expect("a policy");
        for (namespace, role, _) in targets(&mapping, &selected, &yields, &world.namespaces, Some(&policy)).iter() {
            prop_assert!(is_label(namespace) && !namespace.starts_with("kube-"), "{namespace:?}");
            prop_assert!(["view", "edit"].contains(&role.name.as_str()), "{role:?}");
        }
    }
}
