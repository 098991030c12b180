use serde_json::{Value, json};

use super::world::{World, cluster_role_mapping, role_mapping};
use crate::access::mapping::{GroupFilter, Mapping};
use crate::access::select::{Selected, select};
use crate::api::mapping::ClusterRoleMapping;

fn world() -> World {
    World::new(role_mapping("team-a", "devs", super::world::view_of_team_a()))
}

fn chosen(world: &World, groups: Value) -> Selected {
    let mapping = role_mapping(
        "team-a",
        "devs",
        json!({"sources": ["okta", "entra"], "groups": groups, "grants": [{"roleRef": {"kind": "ClusterRole", "name": "view"}}]}),
    );
    select(&mapping, &mapping.sources, &world.directory)
}

fn shown(selected: &Selected) -> Vec<String> {
    selected.groups.iter().map(|(source, n)| format!("{source}/{n}")).collect()
}

#[test]
fn groups_by_name_id_and_filter() {
    let mut world = world();
    let [a, b, c] =
        ["k8s-a", "k8s-b", "other"].map(|name| world.group_with("okta", json!({"displayName": name, "externalId": format!("x-{name}")})));
    let d = world.group_with("entra", json!({"displayName": "K8S-d"}));
    let id = world.directory.source("okta").and_then(|s| s.get(b)).expect("b").id;
    let (a, b, c, d) = (format!("okta/{a}"), format!("okta/{b}"), format!("okta/{c}"), format!("entra/{d}"));
    for (groups, expected, unmatched) in [
        (json!({"names": ["k8s-b", "k8s-a", "k8s-b"]}), vec![&a, &b], 0),
        (json!({"names": ["K8S-a", "nobody"]}), vec![], 2),
        (json!({"names": ["K8S-d"]}), vec![&d], 0),
        (json!({"externalIds": ["x-other", "x-x"]}), vec![&c], 1),
        (json!({"externalIds": ["X-OTHER"]}), vec![], 1),
        (json!({"filter": "displayName sw \"k8s-\""}), vec![&a, &b, &d], 0),
        (json!({"filter": format!("id eq \"{id}\"")}), vec![&b], 0),
        (json!({"filter": format!("id eq \"{id}\" and displayName eq \"other\"")}), vec![], 1),
        (json!({"filter": "id eq \"nonsense\""}), vec![], 1),
        (json!({"filter": "externalId eq \"x-other\""}), vec![&c], 0),
        (json!({"filter": "externalId ne \"x-other\""}), vec![&a, &b], 0),
        (json!({"filter": "externalId pr"}), vec![&a, &b, &c], 0),
        (json!({"filter": "not (externalId pr)"}), vec![&d], 0),
        (json!({"filter": "displayName eq \"none\""}), vec![], 1),
    ] {
        let selected = chosen(&world, groups.clone());
        assert_eq!(shown(&selected).iter().collect::<Vec<_>>(), expected, "{groups}");
        assert_eq!(selected.unmatched.len(), unmatched, "{groups}");
        assert_eq!(selected.ambiguous, Vec::<String>::new(), "{groups}");
    }
}

#[test]
fn of_several_groups_of_one_name_the_one_that_has_borne_it_longest_counts() {
    let mut world = world();
    let old = world.group("okta", "devs", &[]);
    let new = world.group("okta", "devs", &[]);
    let other = world.group("entra", "devs", &[]);
    let by_name = json!({"names": ["devs"]});
    let by_filter = json!({"filter": "displayName eq \"DEVS\""});
    for groups in [&by_name, &by_filter] {
        let selected = chosen(&world, groups.clone());
        assert_eq!(shown(&selected), [format!("okta/{old}")], "{groups}");
        assert_eq!(selected.ambiguous, ["devs"], "{groups}");
    }
    // renamed away and back: it has borne the name for a shorter time than the others now
    world.change("okta", old, json!({"displayName": "x"}), &[], &[]);
    world.change("okta", old, json!({"displayName": "devs"}), &[], &[]);
    assert_eq!(shown(&chosen(&world, by_name.clone())), [format!("okta/{new}")]);
    world.delete("okta", new);
    assert_eq!(shown(&chosen(&world, by_name.clone())), [format!("entra/{other}")]);
    world.delete("entra", other);
    let selected = chosen(&world, by_name);
    assert_eq!((shown(&selected), selected.ambiguous), (vec![format!("okta/{old}")], Vec::new()));
}

#[test]
fn an_id_is_nobody_elses_whatever_the_names_are() {
    let mut world = world();
    let _old = world.group("okta", "admins", &[]);
    let new = world.group("okta", "admins", &[]);
    let id = world.directory.source("okta").and_then(|s| s.get(new)).expect("the group").id;
    assert_eq!(
        shown(&chosen(&world, json!({"filter": format!("id eq \"{id}\"")}))),
        [format!("okta/{new}")]
    );
}

#[test]
fn only_the_mappings_own_sources_count() {
    let mut world = world();
    world.group("entra", "devs", &[]);
    let mapping = role_mapping(
        "team-a",
        "devs",
        json!({"sources": ["okta", "nowhere"], "groups": {"names": ["devs"]}, "grants": [{"roleRef": {"kind": "ClusterRole", "name": "view"}}]}),
    );
    assert_eq!(select(&mapping, &mapping.sources, &world.directory).groups, Vec::new());
    // nor one that it may not use
    world.group("okta", "devs", &[]);
    assert_eq!(select(&mapping, &mapping.sources, &world.directory).groups.len(), 1);
    assert_eq!(select(&mapping, &mapping.sources[1..], &world.directory).groups, Vec::new());
}

#[test]
fn filters_that_ask_too_much_are_refused() {
    for (filter, says) in [
        ("members.value eq \"x\"", "not by members.value"),
        ("members eq \"x\"", "not by members"),
        ("meta.created gt \"2020-01-01T00:00:00Z\"", "not by meta.created"),
        ("userName eq \"x\"", "not by userName"),
        ("displayName.x eq \"x\"", "not by displayName.x"),
        ("displayName eq", "spec.groups.filter"),
        ("displayName sw", "spec.groups.filter"),
        ("", "spec.groups.filter"),
        ("members[value eq \"x\"]", "not by members"),
    ] {
        let refusal = GroupFilter::compile(filter).expect_err(filter);
        assert_eq!(refusal.reason, "InvalidFilter", "{filter}");
        assert!(refusal.message.contains(says), "{filter}: {refusal}");
    }
}

#[test]
fn specs_that_the_crd_would_refuse_are_refused_here_too() {
    let grant = json!([{"roleRef": {"kind": "ClusterRole", "name": "view"}, "namespaces": {"names": ["a"]}}]);
    for spec in [
        json!({"sources": [], "groups": {"names": ["a"]}, "grants": grant}),
        json!({"sources": ["okta"], "groups": {}, "grants": grant}),
        json!({"sources": ["okta"], "groups": {"names": ["a"], "filter": "id pr"}, "grants": grant}),
        json!({"sources": ["okta"], "groups": {"names": ["a"]}, "grants": []}),
        json!({"sources": ["okta"], "groups": {"names": ["a"]}, "grants": [{"roleRef": {"kind": "ClusterRole", "name": "view"}, "namespaces": {}}]}),
        json!({"sources": ["okta"], "groups": {"names": ["a"]}, "grants": vec![grant[0].clone(); 25]}),
    ] {
        let object = json!({"apiVersion": "rolecall.dev/v1alpha1", "kind": "ClusterRoleMapping", "metadata": {"name": "m"}, "spec": spec});
        let object: ClusterRoleMapping = serde_json::from_value(object).expect("an object");
        let refusal = Mapping::of_cluster_role_mapping(&object).expect_err("not valid");
        assert_eq!(refusal.reason, "InvalidSpec", "{spec}: {refusal}");
    }
    cluster_role_mapping(
        "m",
        json!({"sources": ["okta", "okta"], "groups": {"names": ["a"]}, "grants": grant}),
    );
}
