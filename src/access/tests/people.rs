use std::sync::Arc;

use roaring::RoaringBitmap;
use serde_json::json;

use super::world::{World, role_mapping, view_of_team_a};
use crate::access::people::{People, hash};
use crate::access::select::select;

fn world() -> World {
    World::new(role_mapping("team-a", "devs", view_of_team_a()))
}

fn who(world: &World) -> Vec<String> {
    let mut found: Vec<String> = world
        .everyone()
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
    assert!(world.everyone().people.iter().all(|(_, p)| p.via == devs));
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
    assert_eq!(world.everyone().people.iter().map(|(_, p)| p.via).collect::<Vec<_>>(), [a]);
    world.change("okta", a, json!({}), &[], &[ada]);
    world.evaluate();
    assert_eq!(world.everyone().people.iter().map(|(_, p)| p.via).collect::<Vec<_>>(), [b]);
    world.change("okta", a, json!({"displayName": "z"}), &[ada], &[]);
    world.evaluate();
    assert_eq!(world.everyone().people.iter().map(|(_, p)| p.via).collect::<Vec<_>>(), [b]);
}

#[test]
fn few_and_many_give_the_same() {
    let mut world = world();
    let users: Vec<u32> = (0..300).map(|i| world.user("okta", &format!("u{i}"))).collect();
    world.group("okta", "devs", &users[..200]);
    world.evaluate();
    assert_eq!(world.everyone().people.len(), 200);
    for sizes in [1, 64, 65, 300] {
        let mut people = People::default();
        for chunk in users.chunks(sizes) {
            let affected: RoaringBitmap = chunk.iter().copied().collect();
            people.update(&world.directory, &world.usernames, &world.selected, "okta", &affected);
        }
        assert_eq!(people, world.everyone().people, "{sizes} at a time");
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
    let before = world.everyone().people.clone();
    let mut people = before.clone();
    let touched = people.update(&world.directory, &world.usernames, &world.selected, "okta", &affected);
    assert_eq!(touched.len(), 1);
    assert_eq!(before.len() - 1, people.len());
    let layout = world.everyone().layout.fit(&people, Some(&[touched[0].hash]));
    let (came, went) = world.everyone().layout.changes(&layout);
    assert!(came.len() + went.len() <= 3);
}

#[test]
fn a_shard_is_a_range() {
    let mut world = world();
    let users: Vec<u32> = (0..500).map(|i| world.user("okta", &format!("u{i}"))).collect();
    world.group("okta", "devs", &users);
    world.evaluate();
    let mut seen = 0;
    for shard in world.everyone().layout.shards() {
        let here: Vec<u64> = world.everyone().people.shard(shard).map(|(key, _)| key.hash).collect();
        assert!(here.iter().all(|hash| shard.contains(*hash)));
        assert_eq!(world.everyone().people.count(shard, 1_000), here.len());
        assert_eq!(world.everyone().people.count(shard, 3), 3.min(here.len()));
        seen += here.len();
    }
    assert_eq!(seen, 500);
    let (key, person) = world.everyone().people.iter().next().expect("somebody");
    assert_eq!(key.hash, hash(&person.id));
    assert_eq!(world.everyone().people.get(key).map(Arc::as_ref), Some(person.as_ref()));
}

#[test]
fn whoever_is_deleted_goes_also_when_nobody_knows_the_id_any_more() {
    let mut world = world();
    let users: Vec<u32> = (0..200).map(|i| world.user("okta", &format!("u{i}"))).collect();
    world.group("okta", "devs", &users);
    world.evaluate();
    let all = world.everyone().people.clone();
    // Few and many, with a tombstone, and with none: an old state of people meets a directory in which the numbers were never given.
    for few in [&users[..1], &users[..100]] {
        let affected: RoaringBitmap = few.iter().copied().collect();
        let expected: Vec<_> = all
            .iter()
            .map(|(key, _)| key.clone())
            .filter(|key| affected.contains(key.n))
            .collect();
        let mut forgotten = World::new(role_mapping("team-a", "devs", view_of_team_a()));
        forgotten.evaluate();
        let mut ended = World::new(role_mapping("team-a", "devs", view_of_team_a()));
        ended.event(crate::directory::Event::SourceEnded { source: "okta".to_owned() });
        let mut deleted = world.directory.clone();
        for n in few {
            let event = crate::directory::Event::Deleted {
                source: "okta".to_owned(),
                n: *n,
                request: String::new(),
            };
            deleted.apply(world.index + 1, *n, world.time(), &event);
        }
        for directory in [&deleted, &forgotten.directory, &ended.directory] {
            let mut people = all.clone();
            let mut touched = people.update(directory, &world.usernames, &world.selected, "okta", &affected);
            touched.sort();
            assert_eq!(touched, expected);
            assert_eq!(people.len(), all.len() - few.len());
            assert!(
                people
                    .update(directory, &world.usernames, &world.selected, "okta", &affected)
                    .is_empty(),
                "once"
            );
        }
    }
}

#[test]
fn another_selection_looks_at_the_people_of_the_groups_that_changed() {
    let mut world = World::new(role_mapping(
        "team-a",
        "devs",
        json!({"sources": ["okta"], "groups": {"filter": "displayName sw \"k8s-\""}, "grants": [{"roleRef": {"kind": "ClusterRole", "name": "view"}}]}),
    ));
    let users: Vec<u32> = (0..100).map(|i| world.user("okta", &format!("u{i}"))).collect();
    world.group("okta", "k8s-large", &users[..90]);
    let small = world.group("okta", "k8s-small", &users[88..93]);
    world.evaluate();
    assert_eq!(world.everyone().people.len(), 93);
    let mut people = world.everyone().people.clone();
    let people = &mut people;
    let mut touched = |world: &mut World| {
        let after = select(&world.mapping, &world.mapping.sources, &world.directory);
        let before = people.clone();
        let keys = people.reselect(&world.directory, &world.usernames, &world.selected, &after);
        world.selected = after;
        assert_eq!(*people, People::compute(&world.directory, &world.usernames, &world.selected));
        let differ = |key: &&crate::access::people::PersonKey| before.get(key) != people.get(key);
        (keys.iter().filter(differ).count(), keys.len())
    };
    world.change("okta", small, json!({"displayName": "other"}), &[], &[]);
    assert_eq!(touched(&mut world), (3, 3), "two more are there through the other group");
    world.change("okta", small, json!({"displayName": "k8s-small"}), &[], &[]);
    assert_eq!(touched(&mut world), (3, 3));
    // A deleted group has no people to ask for: they are affected by the deletion itself.
    world.delete("okta", small);
    world.evaluated = -1;
    world.evaluate();
    assert_eq!(world.everyone().people.len(), 90);
}
