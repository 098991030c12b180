//! The questions one by one; `model` compares the fold with a naive one.

mod model;

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::*;

const S: &str = "okta";

fn map(value: Value) -> Map<String, Value> {
    value.as_object().cloned().unwrap_or_default()
}

fn time(index: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + index).unwrap()
}

fn id(n: u32) -> Uuid {
    Uuid::from_u128(0x1000 + u128::from(n))
}

fn seen() -> Event {
    Event::SourceSeen {
        source: S.into(),
        uid: "u1".into(),
    }
}

fn user(n: u32, attributes: Value) -> Event {
    Event::Created {
        source: S.into(),
        kind: Kind::User,
        id: id(n),
        n,
        attributes: map(attributes),
        members: vec![],
        request: String::new(),
    }
}

fn group(n: u32, name: &str, members: &[u32]) -> Event {
    Event::Created {
        source: S.into(),
        kind: Kind::Group,
        id: id(n),
        n,
        attributes: map(json!({"displayName": name})),
        members: members.to_vec(),
        request: String::new(),
    }
}

fn changed(n: u32, merge: Value, add: &[u32], remove: &[u32]) -> Event {
    Event::Changed {
        source: S.into(),
        n,
        merge: map(merge),
        add: add.to_vec(),
        remove: remove.to_vec(),
        request: "r2".into(),
    }
}

fn deleted(n: u32) -> Event {
    Event::Deleted {
        source: S.into(),
        n,
        request: "r3".into(),
    }
}

/// One batch an event, from index 1.
fn fold_all(events: &[Event]) -> Directory {
    let mut directory = Directory::default();
    for (index, event) in (1..).zip(events) {
        directory.apply(index, 0, time(index), event);
    }
    directory
}

fn numbers(bitmap: &roaring::RoaringBitmap) -> Vec<u32> {
    bitmap.iter().collect()
}

#[test]
fn a_user_is_found_by_every_key_and_active_unless_told_otherwise() {
    let directory = fold_all(&[
        seen(),
        user(0, json!({"userName": "Ada@Corp.example", "externalId": "X1"})),
        user(1, json!({"userName": "bob", "active": false})),
        user(2, json!({"userName": "ﬁona", "active": true, "externalId": "X1"})),
    ]);
    let source = directory.source(S).unwrap();
    assert_eq!(source.user_by_name(&fold("ADA@corp.EXAMPLE")), Some(0));
    assert_eq!(source.user_by_name("Ada@Corp.example"), None, "the caller folds");
    assert_eq!(source.user_by_name("fiona"), Some(2), "NFKC");
    assert_eq!(source.by_external_id(Kind::User, "X1").collect::<Vec<_>>(), [0, 2]);
    assert_eq!(source.by_external_id(Kind::User, "x1").count(), 0, "caseExact");
    assert_eq!(source.by_external_id(Kind::Group, "X1").count(), 0);
    assert_eq!(source.by_id(&id(1)).unwrap().n, 1);
    assert_eq!(numbers(source.active()), [0, 2]);
    assert_eq!(
        (source.user_count(), source.active_count(), source.group_count(), source.next_n()),
        (3, 2, 0, 3)
    );
    assert_eq!(source.last_event(), Some(time(4)));
    assert!(directory.source("entra").is_none());
    assert_eq!(directory.ignored(), 0);
}

#[test]
fn of_several_groups_of_one_name_the_oldest_bearer_comes_first() {
    let directory = fold_all(&[
        seen(),
        group(0, "ops", &[]),
        group(1, "dev", &[]),
        group(2, "Dev", &[]),
        changed(0, json!({"displayName": "dev"}), &[], &[]),
    ]);
    let source = directory.source(S).unwrap();
    assert_eq!(source.groups_by_name("dev").collect::<Vec<_>>(), [1, 0]);
    assert_eq!(source.groups_by_folded_name("dev").collect::<Vec<_>>(), [1, 2, 0]);
    assert_eq!(source.groups_by_name("ops").count(), 0);
    assert_eq!(source.get(0).unwrap().name_since, 5);
}

#[test]
fn nested_groups_are_followed_up_and_down_through_cycles() {
    let directory = fold_all(&[
        seen(),
        user(0, json!({"userName": "a"})),
        user(1, json!({"userName": "b"})),
        group(2, "inner", &[0]),
        group(3, "outer", &[2, 1]),
        changed(2, json!({}), &[3], &[]),
        group(4, "other", &[1]),
    ]);
    let source = directory.source(S).unwrap();
    assert_eq!(numbers(source.members(3)), [1, 2], "kept as given");
    assert_eq!(numbers(&source.all_members([3].into_iter())), [0, 1]);
    assert_eq!(numbers(&source.all_members([4].into_iter())), [1]);
    assert_eq!(numbers(&source.all_members([].into_iter())), Vec::<u32>::new());
    assert_eq!(numbers(&source.ancestors(0)), [2, 3]);
    assert_eq!(numbers(&source.ancestors(1)), [2, 3, 4]);
    assert_eq!(numbers(&source.ancestors(2)), [2, 3]);
}

#[test]
fn a_deletion_takes_the_memberships_both_ways_and_leaves_a_tombstone() {
    let directory = fold_all(&[
        seen(),
        user(0, json!({"userName": "a"})),
        group(1, "in", &[0]),
        group(2, "out", &[1, 0]),
        deleted(1),
        deleted(0),
        user(3, json!({"userName": "a"})),
    ]);
    let source = directory.source(S).unwrap();
    assert!(source.members(2).is_empty() && source.members(1).is_empty() && source.groups_of(0).is_empty());
    assert!(source.by_id(&id(0)).is_none() && source.get(0).is_none());
    assert_eq!(source.user_by_name("a"), Some(3));
    assert!(source.groups_of(3).is_empty(), "a new person with an old name inherits nothing");
    let gone = source.gone(0).unwrap();
    assert_eq!((gone.id, &*gone.name, gone.index, &*gone.request), (id(0), "a", 6, "r3"));
    let outer = source.get(2).unwrap();
    assert_eq!((outer.changed(), outer.modified, outer.version), (6, time(6), (6, 0)));
}

#[test]
fn what_means_nothing_changes_nothing_and_is_counted() {
    let mut directory = fold_all(&[seen(), user(5, json!({"userName": "a"}))]);
    let before = format!("{:?}", directory.source(S));
    let nonsense = [
        user(5, json!({"userName": "b"})),
        user(3, json!({"userName": "b"})),
        changed(9, json!({"title": "x"}), &[], &[]),
        deleted(9),
        Event::SourceEnded { source: "none".into() },
        Event::Deleted {
            source: "none".into(),
            n: 5,
            request: String::new(),
        },
    ];
    for event in &nonsense {
        directory.apply(9, 0, time(9), event);
    }
    assert_eq!(format!("{:?}", directory.source(S)), before);
    assert_eq!(directory.ignored(), 6);
}

#[test]
fn a_source_that_ended_starts_fresh_and_gives_no_number_twice() {
    let mut directory = fold_all(&[seen(), user(0, json!({"userName": "a"})), user(1, json!({"userName": "b"}))]);
    directory.apply(
        4,
        0,
        time(4),
        &Event::SourceSeen {
            source: S.into(),
            uid: "u2".into(),
        },
    );
    assert_eq!(
        directory.source(S).unwrap().user_count(),
        2,
        "another UID goes on with the directory"
    );
    assert_eq!(directory.source(S).unwrap().uid(), "u2");
    directory.apply(5, 0, time(5), &Event::SourceEnded { source: S.into() });
    assert!(directory.source(S).is_none());
    directory.apply(6, 0, time(6), &seen());
    let source = directory.source(S).unwrap();
    assert_eq!((source.user_count(), source.next_n()), (0, 2));
    assert!(
        source.changes_since(5).is_none(),
        "whoever knew the old one must look at everything"
    );
    assert_eq!(source.changes_since(6), Some(vec![]));
    assert_eq!(directory.sources().map(|(name, _)| name).collect::<Vec<_>>(), [S]);
}

#[test]
fn changes_tell_what_the_provider_said() {
    let directory = fold_all(&[
        seen(),
        user(0, json!({"userName": "a"})),
        group(1, "g", &[0]),
        changed(0, json!({"active": false}), &[], &[]),
        changed(0, json!({"title": "x"}), &[], &[]),
        changed(0, json!({"active": true}), &[], &[]),
        changed(1, json!({}), &[], &[0]),
        changed(1, json!({}), &[0], &[]),
        deleted(0),
        changed(1, json!({"displayName": "g"}), &[0], &[]),
    ]);
    let source = directory.source(S).unwrap();
    let members = |add: &[u32], remove: &[u32]| What::Members {
        add: add.into(),
        remove: remove.into(),
    };
    let told: Vec<_> = source
        .changes_since(1)
        .unwrap()
        .into_iter()
        .map(|c| (c.index, c.n, c.what, c.said_by_provider))
        .collect();
    let expected = vec![
        (2, 0, What::Created, false),
        (3, 1, What::Created, false),
        (3, 1, members(&[0], &[]), false),
        (4, 0, What::Attributes, true),
        (5, 0, What::Attributes, false),
        (6, 0, What::Attributes, false),
        (7, 1, members(&[], &[0]), false),
        (8, 1, members(&[0], &[]), false),
        (9, 1, members(&[], &[0]), false),
        (9, 0, What::Deleted, true),
    ];
    assert_eq!(told, expected);
    assert_eq!(source.changes_since(8).unwrap().len(), 2);
    assert_eq!(source.changes_since(0), None);
}

#[test]
fn the_log_and_the_tombstones_are_bounded() {
    let mut directory = fold_all(&[seen()]);
    let many = i64::try_from(REMEMBERED).unwrap() + 10;
    for k in 0..many {
        let n = u32::try_from(k).unwrap();
        directory.apply(k + 2, 0, time(k), &user(n, json!({"userName": n.to_string()})));
        directory.apply(k + 2, 1, time(k), &deleted(n));
    }
    let source = directory.source(S).unwrap();
    assert!(source.gone(9).is_none() && source.gone(10).is_some());
    assert!(source.changes_since(many / 2).is_none());
    assert_eq!(source.changes_since(many).unwrap().len(), 2);
    let half = i64::try_from(REMEMBERED / 2).unwrap();
    assert_eq!(source.changes_since(many + 1 - half).unwrap().len(), REMEMBERED);
}

#[test]
fn attributes_know_since_when() {
    let directory = fold_all(&[
        seen(),
        user(
            0,
            json!({"userName": "a", "title": "x", "name": {"givenName": "A", "familyName": "B"}}),
        ),
        changed(0, json!({"title": "y", "name": {"givenName": "C"}, "userName": "a"}), &[], &[]),
        changed(0, json!({"title": null}), &[], &[]),
        changed(0, json!({"title": null, "userName": "a"}), &[], &[]),
    ]);
    let resource = directory.source(S).unwrap().get(0).unwrap();
    assert_eq!(
        (
            resource.since("title"),
            resource.since("NAME"),
            resource.since("userName"),
            resource.name_since
        ),
        (4, 3, 2, 2)
    );
    assert_eq!(resource.attributes.get("name"), Some(json!({"givenName": "C", "familyName": "B"})));
    assert_eq!(resource.attributes.get("title"), None);
    assert_eq!(
        (resource.changed(), resource.created, resource.modified),
        (4, time(2), time(4)),
        "a change of nothing is none"
    );
    assert_eq!(&*resource.request, "r2");
}

/// `cargo test --lib directory::tests::half_a_million -- --ignored --nocapture`
#[test]
#[ignore = "a measurement"]
fn half_a_million_users() {
    let resident = || {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find(|l| l.starts_with("VmRSS")).unwrap().to_owned();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
    };
    let (users, groups) = (500_000u32, 10_000u32);
    let (before, start) = (resident(), std::time::Instant::now());
    let mut directory = fold_all(&[seen()]);
    for n in 0..users {
        let name = format!("user.number{n}@corp.example");
        let attributes = json!({
            "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User", "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"],
            "userName": name, "externalId": format!("00u{n:017}"), "displayName": format!("User Number {n}"), "active": true,
            "name": {"givenName": "User", "familyName": format!("Number {n}")},
            "emails": [{"type": "work", "value": name, "primary": true}],
            "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User": {"department": "Backend", "employeeNumber": n.to_string()},
        });
        let mut event = user(n, attributes);
        if let Event::Created { id, .. } = &mut event {
            *id = Uuid::new_v4();
        }
        directory.apply(i64::from(n / 1000) + 2, n % 1000, time(2), &event);
    }
    eprintln!("{users} users: {:?}, {} MiB", start.elapsed(), resident() - before);
    for g in 0..groups {
        let members: Vec<u32> = (0..500).map(|k| (g * 50 + k * 7) % users).collect();
        directory.apply(2000, g, time(3), &group(users + g, &format!("group {g}"), &members));
    }
    eprintln!("and {groups} groups of 500: {:?}, {} MiB", start.elapsed(), resident() - before);
    let all: Vec<u32> = (0..users).collect();
    directory.apply(3000, 0, time(4), &group(users + groups, "everybody", &all));
    eprintln!("and everybody: {:?}, {} MiB", start.elapsed(), resident() - before);
    let start = std::time::Instant::now();
    let mut kept = Vec::new();
    for k in 0..1000u32 {
        kept = vec![directory.clone()];
        let (add, remove) = if k % 2 == 0 { (vec![], vec![k]) } else { (vec![k - 1], vec![]) };
        directory.apply(3001 + i64::from(k), 0, time(5), &changed(users + groups, json!({}), &add, &remove));
    }
    eprintln!("a member of everybody: {:?} ({} snapshot)", start.elapsed() / 1000, kept.len());
    let start = std::time::Instant::now();
    let found = directory
        .source(S)
        .unwrap()
        .users()
        .filter(|u| u.attributes.to_map().contains_key("none"))
        .count();
    eprintln!("parse all: {:?} ({found})", start.elapsed());
    let start = std::time::Instant::now();
    let all = directory.source(S).unwrap().all_members([users + groups].into_iter()).len();
    eprintln!("all members: {:?} ({all})", start.elapsed());
}

#[test]
fn groups_that_count_for_nothing_are_found_by_no_name_and_hold_nobody() {
    let mut directory = Directory::default();
    let events = [
        seen(),
        user(0, json!({"userName": "ada"})),
        user(1, json!({"userName": "bob"})),
        user(2, json!({"userName": "carol"})),
        group(3, "deepest", &[2]),
        group(4, "inner", &[1, 3]),
        group(5, "outer", &[0, 4]),
    ];
    for (i, event) in (1..).zip(&events) {
        directory.apply(i, 0, time(i), event);
    }
    let ignored = |groups: &[u32]| directory.ignoring(S, &groups.iter().copied().collect());
    let view = ignored(&[4]);
    let source = view.source(S).unwrap();
    let all = |bitmap: RoaringBitmap| bitmap.iter().collect::<Vec<_>>();
    assert_eq!(all(source.all_members([5].into_iter())), [0]);
    assert_eq!(all(source.all_members([4].into_iter())), [] as [u32; 0]);
    assert_eq!(all(source.all_members_of_any([5].into_iter())), [0, 1, 2]);
    assert_eq!(all(source.ancestors(1)), [] as [u32; 0]);
    assert_eq!(all(source.ancestors(2)), [3], "what is above an ignored group is not reached");
    assert_eq!(
        source.groups_by_name("inner").count() + source.groups_by_folded_name("inner").count(),
        0
    );
    assert_eq!(source.groups().map(|group| group.n).collect::<Vec<_>>(), [3, 5]);
    assert_eq!((source.group_count(), source.ignored().len()), (3, 1));
    // The directory itself is as it was, and other groups may be ignored instead.
    assert_eq!(all(directory.source(S).unwrap().all_members([5].into_iter())), [0, 1, 2]);
    let other = ignored(&[3]);
    assert_eq!(all(other.source(S).unwrap().all_members([5].into_iter())), [0, 1]);
}
