use std::sync::Arc;

use roaring::RoaringBitmap;
use serde_json::json;

use super::world::{World, role_mapping, view_of_team_a};
use crate::access::people::{People, hash};

fn world() -> World {
    World::new(role_mapping("team-a", "devs", view_of_team_a()))
}

fn who(world: &World) -> Vec<String> {
    let mut found: Vec<String> = world
        .people
        .iter()
        .map(|(_, p)| p.username.trim_start_matches("oidc:").to_owned())
        .collect();
    found.sort();
    found
}

#[test]
fn only_active_users_in_the_groups_directly_or_nested() {
    let mut world = world();
    let [ada, bob, cy, dee] = ["ada", "bob", "cy", "dee"].map(|name| world.user("okta", name));
    let inner = world.group("okta", "inner", &[bob]);
    let devs = world.group("okta", "devs", &[ada, inner]);
    world.change("okta", inner, json!({}), &[devs], &[]); // a cycle
    world.change("okta", cy, json!({"active": false}), &[], &[]);
    world.change("okta", inner, json!({}), &[cy, dee], &[]);
    world.evaluate();
    assert_eq!(who(&world), ["ada", "bob", "dee"]);
    assert!(world.people.iter().all(|(_, p)| p.via == devs));
    world.change("okta", devs, json!({}), &[], &[inner]);
    world.evaluate();
    assert_eq!(who(&world), ["ada"]);
    world.change("okta", cy, json!({"active": true}), &[], &[]);
    world.change("okta", devs, json!({}), &[inner], &[]);
    world.evaluate();
    assert_eq!(who(&world), ["ada", "bob", "cy", "dee"]);
    world.change("okta", cy, json!({"active": null}), &[], &[]); // absent is active
    world.delete("okta", inner);
    world.evaluate();
    assert_eq!(who(&world), ["ada"]);
}

#[test]
fn the_group_through_which_is_the_first_of_the_selection() {
    let mut world = World::new(role_mapping(
        "team-a",
        "devs",
        json!({"sources": ["okta"], "groups": {"names": ["b", "a"]}, "grants": [{"roleRef": {"kind": "ClusterRole", "name": "view"}}]}),
    ));
    let ada = world.user("okta", "ada");
    let a = world.group("okta", "a", &[ada]);
    let b = world.group("okta", "b", &[ada]);
    world.evaluate();
    assert_eq!(world.people.iter().map(|(_, p)| p.via).collect::<Vec<_>>(), [a]);
    world.change("okta", a, json!({}), &[], &[ada]);
    world.evaluate();
    assert_eq!(world.people.iter().map(|(_, p)| p.via).collect::<Vec<_>>(), [b]);
    world.change("okta", a, json!({"displayName": "z"}), &[ada], &[]);
    world.evaluate();
    assert_eq!(world.people.iter().map(|(_, p)| p.via).collect::<Vec<_>>(), [b]);
}

#[test]
fn few_and_many_give_the_same() {
    let mut world = world();
    let users: Vec<u32> = (0..300).map(|i| world.user("okta", &format!("u{i}"))).collect();
    world.group("okta", "devs", &users[..200]);
    world.evaluate();
    assert_eq!(world.people.len(), 200);
    for sizes in [1, 64, 65, 300] {
        let mut people = People::default();
        for chunk in users.chunks(sizes) {
            let affected: RoaringBitmap = chunk.iter().copied().collect();
            people.update(&world.directory, &world.usernames, &world.selected, "okta", &affected);
        }
        assert_eq!(people, world.people, "{sizes} at a time");
    }
}

#[test]
fn one_changed_user_of_very_many_touches_one() {
    let mut world = world();
    let users: Vec<u32> = (0..5_000).map(|i| world.user("okta", &format!("u{i}"))).collect();
    let devs = world.group("okta", "devs", &users);
    world.evaluate();
    world.change("okta", devs, json!({}), &[], &[users[7]]);
    let affected = RoaringBitmap::from([users[7]]);
    let before = world.people.clone();
    let touched = world
        .people
        .update(&world.directory, &world.usernames, &world.selected, "okta", &affected);
    assert_eq!(touched.len(), 1);
    assert_eq!(before.len() - 1, world.people.len());
    let layout = world.layout.fit(&world.people, Some(&[touched[0].hash]));
    let (came, went) = world.layout.changes(&layout);
    assert!(came.len() + went.len() <= 3);
}

#[test]
fn a_shard_is_a_range() {
    let mut world = world();
    let users: Vec<u32> = (0..500).map(|i| world.user("okta", &format!("u{i}"))).collect();
    world.group("okta", "devs", &users);
    world.evaluate();
    let mut seen = 0;
    for shard in world.layout.shards() {
        let here: Vec<u64> = world.people.shard(shard).map(|(key, _)| key.hash).collect();
        assert!(here.iter().all(|hash| shard.contains(*hash)));
        assert_eq!(world.people.count(shard, 1_000), here.len());
        assert_eq!(world.people.count(shard, 3), 3.min(here.len()));
        seen += here.len();
    }
    assert_eq!(seen, 500);
    let (key, person) = world.people.iter().next().expect("somebody");
    assert_eq!(key.hash, hash(&person.id));
    assert_eq!(world.people.get(key).map(Arc::as_ref), Some(person.as_ref()));
}
