use serde_json::{Value, json};

use super::world::{World, cluster_role_mapping};
use crate::access::gate::Hold;
use crate::access::ledger::{Event, On};
use crate::access::mapping::Mapping;

fn mapping(new_groups: &str) -> Mapping {
    let role = json!({"kind": "ClusterRole", "expression": "match.role", "oneOf": ["view", "edit"]});
    let groups = json!({"pattern": "^k8s-(?<team>[a-z]+)-(?<role>view|edit)$", "newGroups": new_groups});
    let grants = json!([{"roleRef": role, "namespaces": {"expression": "'team-' + match.team"}}]);
    cluster_role_mapping("teams", json!({"sources": ["okta"], "groups": groups, "grants": grants}))
}

fn rename(world: &mut World, group: u32, name: &str) {
    world.change("okta", group, json!({"displayName": name}), &[], &[]);
}

fn waiting(world: &World) -> Vec<String> {
    let all = world.ledger.waiting_groups(&world.mapping.key);
    all.map(|(_, _, waiting)| format!("{}: {}", waiting.name, waiting.yields)).collect()
}

/// Approves what waits now, and looks again.
fn approve(world: &mut World) {
    let on = On::Mapping(world.mapping.key.clone());
    let newest = world.ledger.tally(&on).newest;
    world.approve(newest);
    world.run();
}

#[test]
fn each_group_waits_until_somebody_approves_it() {
    let mut world = World::new(mapping("Approve"));
    let [ada, bob, eve] = ["ada", "bob", "eve"].map(|name| world.user("okta", name));
    let devs = world.group("okta", "k8s-a-view", &[ada]);
    world.run();
    assert_eq!(world.short(), [""; 0], "the groups of the beginning, too");
    assert_eq!(waiting(&world), ["k8s-a-view: ClusterRole/view in team-a"]);
    let key = world.keys().into_iter().next().expect("a binding");
    let held = world.gated(&key).held_adds;
    assert_eq!(
        held.iter().map(|(add, hold)| (&*add.grantee.username, *hold)).collect::<Vec<_>>(),
        [("oidc:ada", Hold::NewGroup)]
    );
    approve(&mut world);
    assert_eq!(world.short(), ["team-a/view:ada"]);
    // what is approved goes on by itself
    world.change("okta", devs, json!({}), &[bob], &[]);
    world.run();
    assert_eq!(world.short(), ["team-a/view:ada", "team-a/view:bob"]);
    // somebody makes a group that fits the privileged role
    world.group("okta", "k8s-a-edit", &[bob, eve]);
    world.run();
    assert_eq!(world.short(), ["team-a/view:ada", "team-a/view:bob"]);
    assert_eq!(waiting(&world), ["k8s-a-edit: ClusterRole/edit in team-a"]);
    // what comes to wait after the approval was asked for is not released by it
    let on = On::Mapping(world.mapping.key.clone());
    let seen = world.ledger.tally(&on).newest;
    world.group("okta", "k8s-b-edit", &[eve]);
    world.run();
    world.approve(seen);
    world.run();
    assert_eq!(waiting(&world), ["k8s-b-edit: ClusterRole/edit in team-b"]);
    assert_eq!(
        world.short(),
        ["team-a/edit:bob", "team-a/edit:eve", "team-a/view:ada", "team-a/view:bob"]
    );
    world.at_rest();
}

#[test]
fn a_group_that_is_renamed_into_another_yield_waits_again() {
    let mut world = World::new(mapping("Approve"));
    let ada = world.user("okta", "ada");
    let group = world.group("okta", "k8s-a-view", &[ada]);
    world.run();
    approve(&mut world);
    rename(&mut world, group, "k8s-a-edit");
    world.run();
    assert_eq!(world.short(), ["team-a/view:ada"], "it waits 10 s for what replaces it");
    world.patient = false;
    world.run();
    assert_eq!(
        world.short(),
        [""; 0],
        "what it was granted as the other goes, and what it would be granted waits"
    );
    assert_eq!(waiting(&world), ["k8s-a-edit: ClusterRole/edit in team-a"]);
    // back to what was approved
    rename(&mut world, group, "k8s-a-view");
    world.run();
    assert_eq!(world.short(), ["team-a/view:ada"]);
    assert_eq!(waiting(&world), [""; 0]);
    rename(&mut world, group, "k8s-b-view");
    world.run();
    world.delete("okta", group);
    world.run();
    assert_eq!(waiting(&world), [""; 0], "a group that is gone does not wait");
    assert_eq!(world.ledger.tally(&On::Source("okta".to_owned())).groups, 0);
}

#[test]
fn whoever_is_in_an_approved_group_too_has_it_through_that() {
    let role = json!({"kind": "ClusterRole", "name": "view"});
    let spec = |pattern: &str| json!({"sources": ["okta"], "groups": {"pattern": pattern, "newGroups": "Approve"}, "grants": [{"roleRef": role, "namespaces": {"names": ["team-a"]}}]});
    let mut world = World::new(cluster_role_mapping("teams", spec("^k8s-.*$")));
    let [ada, bob] = ["ada", "bob"].map(|name| world.user("okta", name));
    let older = world.group("okta", "other", &[ada, bob]);
    world.group("okta", "k8s-b", &[ada]);
    world.run();
    approve(&mut world);
    assert_eq!(world.short(), ["team-a/view:ada"]);
    // an older group, so that it comes first; nobody approved it
    rename(&mut world, older, "k8s-a");
    world.run();
    assert_eq!(world.short(), ["team-a/view:ada"]);
    let [cy] = ["cy"].map(|name| world.user("okta", name));
    let b = world
        .directory
        .source("okta")
        .and_then(|s| s.groups_by_name("k8s-b").next())
        .expect("the group");
    world.change("okta", older, json!({}), &[cy], &[]);
    world.change("okta", b, json!({}), &[cy], &[]);
    world.run();
    assert_eq!(world.short(), ["team-a/view:ada", "team-a/view:cy"], "through the approved one");
    approve(&mut world);
    assert_eq!(world.short(), ["team-a/view:ada", "team-a/view:bob", "team-a/view:cy"]);
}

#[test]
fn a_mapping_that_asks_for_approvals_from_now_on_takes_nothing_away() {
    let mut world = World::new(mapping("Grant"));
    let users: Vec<u32> = (0..450).map(|i| world.user("okta", &format!("u{i:03}"))).collect();
    let group = world.group("okta", "k8s-a-view", &users[..380]);
    world.run();
    assert_eq!(world.short().len(), 380);
    world.edit(mapping("Approve"));
    world.run();
    assert_eq!(world.short().len(), 380);
    // the shard splits while the group waits: who holds it keeps it, who is new waits
    world.change("okta", group, json!({}), &users[380..], &[]);
    let mut least = usize::MAX;
    world.evaluate();
    world.settle_with(|w| least = least.min(w.short().len()));
    assert_eq!((least, world.short().len()), (380, 380));
    assert!(world.cluster.len() > 1);
    // one is called otherwise, one is disabled
    world.change("okta", users[0], json!({"userName": "new"}), &[], &[]);
    world.change("okta", users[1], json!({"active": false}), &[], &[]);
    world.run();
    assert!(world.short().contains(&"team-a/view:new".to_owned()));
    assert_eq!(world.short().len(), 379);
    approve(&mut world);
    assert_eq!(world.short().len(), 449);
    world.at_rest();
}

#[test]
fn a_subject_that_somebody_wrote_there_by_hand_is_no_approval() {
    let mut world = World::new(mapping("Approve"));
    let [ada, eve] = ["ada", "eve"].map(|name| world.user("okta", name));
    world.group("okta", "k8s-a-view", &[ada]);
    world.run();
    approve(&mut world);
    world.group("okta", "k8s-c-view", &[eve]);
    let id = world.cluster.keys().next().cloned().expect("a binding");
    let mut renamed = world.mapping.clone();
    renamed.approves_groups = true;
    world.edit(renamed);
    let binding = world.cluster.get_mut(&id).expect("it stands");
    std::sync::Arc::make_mut(&mut binding.subjects).push(crate::access::binding::SubjectRef::user("oidc:eve"));
    world.run();
    assert_eq!(world.short(), ["team-a/view:ada"]);
}

#[test]
fn the_records_survive_their_journal() {
    let mut world = World::new(mapping("Approve"));
    let ada = world.user("okta", "ada");
    world.group("okta", "k8s-a-view", &[ada]);
    world.run();
    approve(&mut world);
    world.group("okta", "k8s-b-view", &[ada]);
    world.run();
    let groups: Vec<&Event> = world
        .journal
        .iter()
        .filter(|event| matches!(event, Event::GroupsHeld { .. }))
        .collect();
    assert_eq!(groups.len(), 2);
    for event in &world.journal {
        let text = serde_json::to_string(event).expect("JSON");
        assert_eq!(serde_json::from_str::<Event>(&text).expect("the same"), *event);
    }
    let text: Value = serde_json::to_value(groups[1]).expect("JSON");
    assert_eq!(text["groups"][0]["yields"], "ClusterRole/view in team-b");
    // the mapping's end ends what waits of it
    let key = world.mapping.key.clone();
    world.record(Event::MappingEnded {
        key: key.clone(),
        why: String::new(),
    });
    assert_eq!(
        (
            world.ledger.waiting_groups(&key).count(),
            world.ledger.tally(&On::Mapping(key)).groups
        ),
        (0, 0)
    );
}

#[test]
fn who_leaves_an_approved_group_does_not_keep_it_through_one_that_nobody_approved() {
    let mut world = World::new(mapping("Approve"));
    let [ada, bob] = ["ada", "bob"].map(|name| world.user("okta", name));
    let role = json!({"kind": "ClusterRole", "name": "view"});
    let spec = json!({"sources": ["okta"], "groups": {"pattern": "^k8s-.*$", "newGroups": "Approve"}, "grants": [{"roleRef": role, "namespaces": {"names": ["team-a"]}}]});
    world.edit(cluster_role_mapping("teams", spec));
    let approved = world.group("okta", "k8s-a", &[ada, bob]);
    world.run();
    approve(&mut world);
    world.group("okta", "k8s-b", &[ada]);
    world.run();
    assert_eq!(world.short(), ["team-a/view:ada", "team-a/view:bob"]);
    world.change("okta", approved, json!({}), &[], &[ada]);
    world.evaluate();
    let gone: Vec<_> = world.keys().into_iter().flat_map(|key| world.plan(&key).removals).collect();
    assert_eq!(gone.iter().map(|removal| removal.why.label()).collect::<Vec<_>>(), ["LeftGroups"]);
    world.patient = false;
    world.run();
    assert_eq!(world.short(), ["team-a/view:bob"]);
    world.at_rest();
}

#[test]
fn what_is_approved_is_shown_whole_and_a_waiting_group_makes_no_namespace() {
    let role = json!({"kind": "ClusterRole", "expression": "match.role", "oneOf": ["view", "edit"]});
    let groups = json!({"pattern": "^k8s-(?<team>[a-z]+)-(?<role>view|edit)$", "newGroups": "Approve"});
    let grants = json!([
        {"roleRef": role, "namespaces": {"expression": "'new-' + match.team", "create": {}}},
        {"roleRef": role, "namespaces": {"names": ["team-a"]}},
        {"roleRef": {"kind": "ClusterRole", "name": "view"}, "namespaces": {"all": true}},
    ]);
    let mut world = World::new(cluster_role_mapping(
        "teams",
        json!({"sources": ["okta"], "groups": groups, "grants": grants}),
    ));
    world.group("okta", "k8s-x-edit", &[]);
    world.run();
    let shown: Vec<String> = world
        .ledger
        .waiting_groups(&world.mapping.key)
        .map(|(_, _, waiting)| format!("{} / {}", waiting.yields, waiting.all))
        .collect();
    assert_eq!(
        shown,
        ["ClusterRole/edit in new-x, ClusterRole/edit in team-a / ClusterRole/view in the whole cluster"]
    );
    assert_eq!(world.now().0.made.len(), 0);
    approve(&mut world);
    assert_eq!(world.now().0.made.len(), 1);
}

#[test]
fn ten_thousand_groups_wait_in_records_that_fit() {
    let mut world = World::new(mapping("Approve"));
    for i in 0..10_000 {
        let letters: String = format!("{i:05}").bytes().map(|b| char::from(b - b'0' + b'a')).collect();
        world.group("okta", &format!("k8s-{letters}-edit"), &[]);
    }
    // one that is called as long as a provider can
    world.group("okta", &format!("k8s-{}-edit", "a".repeat(300_000)), &[]);
    world.evaluate();
    let records = world.journal.iter().filter(|event| matches!(event, Event::GroupsHeld { .. }));
    let sizes: Vec<usize> = records.map(|event| serde_json::to_string(event).expect("JSON").len()).collect();
    assert!(sizes.len() > 5 && sizes.iter().all(|size| *size < 200_000), "{sizes:?}");
    assert_eq!(waiting(&world).len(), 10_000);
}
