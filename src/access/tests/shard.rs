use proptest::prelude::*;
use serde_json::json;

use super::world::{World, role_mapping, view_of_team_a};
use crate::access::gate::Op;
use crate::access::shard::{Layout, MERGE_BELOW, Prefix, SPLIT_ABOVE, SUBJECTS_MAX};

fn prefix(text: &str) -> Prefix {
    text.parse().expect(text)
}

fn layout(shards: &[&str]) -> Layout {
    Layout::of(shards.iter().map(|text| prefix(text)))
}

fn shown(layout: &Layout) -> Vec<String> {
    layout.shards().map(|p| p.to_string()).collect()
}

/// Every hash lies in exactly one shard: they follow each other from the first hash to the last.
fn complete(layout: &Layout) -> bool {
    let mut next = Some(0_u64);
    for shard in layout.shards() {
        let (first, last) = shard.range();
        if next != Some(first) {
            return false;
        }
        next = last.checked_add(1);
    }
    next.is_none()
}

#[test]
fn prefixes_read_as_they_are_written() {
    for text in ["all", "0", "1", "010", &"10".repeat(28), "groups-all", "groups-01"] {
        assert_eq!(prefix(text).to_string(), text);
    }
    for text in [
        "",
        "2",
        "ALL",
        "0 ",
        &"0".repeat(57),
        "01x",
        "groups-",
        "groups",
        "groups-groups-all",
    ] {
        assert!(text.parse::<Prefix>().is_err(), "{text}");
    }
    let half = 1_u64 << 63;
    for (text, hash, holds) in [
        ("all", 0, true),
        ("all", u64::MAX, true),
        ("0", half - 1, true),
        ("0", half, false),
        ("1", half, true),
        ("11", half, false),
        ("10", half, true),
    ] {
        assert_eq!(prefix(text).contains(hash), holds, "{text} {hash:x}");
    }
    assert!(prefix("0").covers(prefix("01")) && !prefix("01").covers(prefix("0")) && prefix("all").covers(prefix("1")));
}

#[test]
fn what_was_seen_is_completed_and_repaired() {
    for (seen, expected) in [
        (&[][..], &["all"][..]),
        (&["all"], &["all"]),
        (&["0"], &["0", "1"]),
        (&["011"], &["00", "010", "011", "1"]),
        (&["0", "1"], &["0", "1"]),
        (&["all", "0"], &["0", "1"]),
        (&["all", "0", "1"], &["0", "1"]),
        (&["0", "00", "1"], &["00", "01", "1"]),
        (&["1", "111"], &["0", "10", "110", "111"]),
    ] {
        let layout = layout(seen);
        assert_eq!(shown(&layout), expected, "{seen:?}");
        assert!(complete(&layout));
    }
}

fn crowd(size: usize) -> (World, Vec<u32>, u32) {
    let mut world = World::new(role_mapping("team-a", "devs", view_of_team_a()));
    let users: Vec<u32> = (0..size).map(|i| world.user("okta", &format!("u{i}"))).collect();
    let group = world.group("okta", "devs", &users);
    (world, users, group)
}

fn sizes(world: &World) -> Vec<usize> {
    world.cluster.values().map(|o| o.subjects.len()).collect()
}

#[test]
fn shards_split_and_merge_without_a_gap() {
    let (mut world, users, group) = crowd(SPLIT_ABOVE);
    world.run();
    assert_eq!(sizes(&world), [SPLIT_ABOVE]);
    let more = world.user("okta", "one-more");
    world.change("okta", group, json!({}), &[more], &[]);
    world.evaluate();
    let before = world.access();
    let written = world.settle_with(|w| {
        assert!(w.access().is_superset(&before), "nobody loses anything while a shard splits");
        assert!(sizes(w).iter().all(|n| *n <= SUBJECTS_MAX));
    });
    assert_eq!(written.len(), 3, "two new ones, then the old one goes");
    assert!(matches!(written[2].op, Op::Delete { .. }));
    assert_eq!((sizes(&world).len(), world.access().len()), (2, SPLIT_ABOVE + 1));
    assert_eq!(world.recorded(), world.access());
    world.at_rest();

    // down to just what stays apart: hysteresis
    let keep = MERGE_BELOW;
    world.change("okta", group, json!({}), &[], &users[keep - 1..]);
    world.run();
    assert_eq!((sizes(&world).len(), world.access().len()), (2, keep));
    world.change("okta", group, json!({}), &[], &users[keep - 2..]);
    world.evaluate();
    let before = world.access();
    world.settle_with(|w| assert!(w.access().len() >= before.len() - 1));
    assert_eq!((sizes(&world).len(), world.access().len()), (1, keep - 1));
    world.at_rest();
}

#[test]
fn a_restart_writes_nothing() {
    let (mut world, users, group) = crowd(1_500);
    world.run();
    assert!(sizes(&world).len() >= 4);
    // leave a hole in the hash space: all of one shard go
    let shard = world.everyone().layout.shards().nth(1).expect("a shard");
    let gone: Vec<u32> = world.everyone().people.shard(shard).map(|(key, _)| key.n).collect();
    world.change("okta", group, json!({}), &[], &gone);
    world.run();
    assert!(world.access().len() + gone.len() == users.len());
    let layout = world.everyone().layout.clone();
    let seen = world
        .cluster
        .values()
        .filter_map(|o| crate::access::names::identify(o, &world.installation));
    let after = Layout::of(seen.map(|key| key.prefix)).fit(&world.everyone().people, None);
    assert_eq!(shown(&after), shown(&layout));
    world.evaluated = -1;
    world.evaluate();
    assert_eq!(shown(&world.everyone().layout), shown(&layout));
    assert_eq!(world.settle(), Vec::new());
}

#[test]
fn one_change_rewrites_one_small_binding() {
    let (mut world, users, group) = crowd(2_000);
    world.run();
    world.change("okta", group, json!({}), &[], &[users[3]]);
    let written = world.run();
    assert!(
        matches!(&written[..], [w] if matches!(&w.op, Op::Put { subjects, .. } if subjects.len() <= SPLIT_ABOVE)),
        "{}",
        written.len()
    );
}

#[test]
fn a_crowded_binding_grows_no_further_than_500() {
    let (mut world, users, group) = crowd(SPLIT_ABOVE);
    world.run();
    // all of them are to go, and cannot; as many others come
    let others: Vec<u32> = (0..300).map(|i| world.user("okta", &format!("v{i}"))).collect();
    world.change("okta", group, json!({}), &others, &users);
    world.evaluate();
    let key = super::world::key_of(&world.mapping, "view", "team-a");
    let mut plan = world.plan(&key);
    plan.removals.clear(); // as if they were held
    let gated = crate::access::gate::gate(plan, &Default::default(), &mut world.budget());
    assert!(matches!(&gated.op, Op::Put { subjects, .. } if subjects.len() == SUBJECTS_MAX));
    assert_eq!(gated.crowded, 200);
    world.settle_with(|w| assert!(sizes(w).iter().all(|n| *n <= SUBJECTS_MAX)));
    assert_eq!(world.access().len(), 300);
}

proptest! {
    #[test]
    fn any_set_of_shards_becomes_a_partition(seen in proptest::collection::vec("[01]{0,12}", 0..12), hash in any::<u64>()) {
        let seen: Vec<Prefix> = seen.iter().map(|text| if text.is_empty() { Prefix::ALL } else { prefix(text) }).collect();
        let layout = Layout::of(seen.iter().copied());
        prop_assert!(complete(&layout), "{:?}", shown(&layout));
        prop_assert!(layout.shard_of(hash).contains(hash));
        prop_assert!(layout.has(layout.shard_of(hash)));
        prop_assert_eq!(Layout::of(layout.shards()), layout.clone());
        // what overlaps nothing is kept as it is
        for one in &seen {
            let alone = seen.iter().all(|other| other == one || !(one.covers(*other) || other.covers(*one)));
            prop_assert!(!alone || layout.has(*one));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn any_history_of_sizes_keeps_shards_small_and_the_partition_complete(sizes in proptest::collection::vec(0..1_600_usize, 1..7)) {
        let (mut world, users, group) = crowd(1_600);
        world.change("okta", group, json!({}), &[], &users);
        world.evaluate();
        let mut now = 0;
        for size in sizes {
            let (add, remove) = if size > now { (&users[now..size], &users[..0]) } else { (&users[..0], &users[size..now]) };
            world.change("okta", group, json!({}), add, remove);
            world.evaluate();
            now = size;
            prop_assert!(complete(&world.everyone().layout));
            prop_assert_eq!(world.everyone().people.len(), size);
            for shard in world.everyone().layout.shards() {
                prop_assert!(world.everyone().people.count(shard, usize::MAX) <= SPLIT_ABOVE);
            }
            // looking at everything finds nothing that looking at the touched ones missed
            let whole = world.everyone().layout.fit(&world.everyone().people, None);
            prop_assert_eq!(shown(&whole), shown(&world.everyone().layout));
        }
    }
}
