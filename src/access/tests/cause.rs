use serde_json::json;

use super::world::{World, key_of, role_mapping, view_of_team_a};
use crate::access::why::{Cause, Event};

/// The cause of what is to come or go for one user.
fn cause(world: &World, user: &str) -> Cause {
    let plan = world.plan(&key_of(&world.mapping, "view", "team-a"));
    let name = format!("oidc:{user}");
    let adds = plan.adds.into_iter().map(|a| (a.grantee.username.to_string(), a.why.cause));
    let removals = plan.removals.into_iter().map(|r| (r.subject.name, r.why.cause));
    let found = adds.chain(removals).find(|(who, _)| *who == name);
    found.unwrap_or_else(|| panic!("{user} neither comes nor goes")).1
}

fn change(index: i64, request: &str) -> Event {
    Event {
        index,
        request: request.to_owned(),
    }
}

/// Many things happen before one looks. Each case says what happens, and gives the index of what set it off.
#[test]
fn the_cause_is_the_change_itself_and_not_a_later_one() {
    type Happens = fn(&mut World, [u32; 3], [u32; 2]) -> i64;
    let leaves: [(&str, Happens); 6] = [
        ("left, and then others come and go", |w, [ada, _, cy], [devs, _]| {
            w.change("okta", devs, json!({}), &[], &[ada]);
            let at = w.index;
            w.change("okta", devs, json!({}), &[cy], &[]);
            w.change("okta", devs, json!({"externalId": "x"}), &[], &[cy]);
            w.change("okta", ada, json!({"title": "Countess"}), &[], &[]);
            at
        }),
        (
            "left the mapped group, and then one that is not mapped",
            |w, [ada, ..], [devs, other]| {
                w.change("okta", devs, json!({}), &[], &[ada]);
                let at = w.index;
                w.change("okta", other, json!({}), &[], &[ada]);
                at
            },
        ),
        ("came through another group first, and left both", |w, [ada, ..], [devs, inner]| {
            w.change("okta", devs, json!({}), &[inner], &[]);
            w.change("okta", devs, json!({}), &[], &[ada]);
            w.change("okta", inner, json!({}), &[], &[ada]);
            let at = w.index;
            w.change("okta", devs, json!({"externalId": "x"}), &[], &[]);
            at
        }),
        ("the group between was taken out", |w, [ada, _, cy], [devs, inner]| {
            w.change("okta", devs, json!({}), &[inner], &[ada]);
            w.change("okta", devs, json!({}), &[], &[inner]);
            let at = w.index;
            w.change("okta", devs, json!({}), &[cy], &[]);
            at
        }),
        ("the group was renamed", |w, [.., cy], [devs, _]| {
            w.change("okta", devs, json!({"displayName": "ops"}), &[], &[]);
            let at = w.index;
            w.change("okta", devs, json!({}), &[cy], &[]);
            at
        }),
        ("left, and then the group was deleted", |w, [ada, ..], [devs, _]| {
            w.change("okta", devs, json!({}), &[], &[ada]);
            let at = w.index;
            w.delete("okta", devs);
            at
        }),
    ];
    for (name, happens) in leaves {
        let mut world = World::new(role_mapping("team-a", "devs", view_of_team_a()));
        let people = ["ada", "bob", "cy"].map(|who| world.user("okta", who));
        let groups = [
            world.group("okta", "devs", &people[..2]),
            world.group("okta", "inner", &people[..1]),
        ];
        world.run();
        let at = happens(&mut world, people, groups);
        world.evaluate();
        assert_eq!(cause(&world, "ada"), Cause::LeftGroups(change(at, "req-change")), "{name}");
    }
}

#[test]
fn who_comes_comes_by_the_change_itself() {
    let mut world = World::new(role_mapping("team-a", "devs", view_of_team_a()));
    let [ada, bob, cy] = ["ada", "bob", "cy"].map(|who| world.user("okta", who));
    let devs = world.group("okta", "devs", &[]);
    let inner = world.group("okta", "inner", &[bob]);
    world.change("okta", devs, json!({}), &[ada], &[]);
    let came = world.index;
    world.change("okta", devs, json!({}), &[inner], &[]);
    let through = world.index;
    world.change("okta", devs, json!({}), &[cy], &[]);
    world.change("okta", cy, json!({"active": false}), &[], &[]);
    world.change("okta", cy, json!({"active": true}), &[], &[]);
    let active = world.index;
    world.change("okta", devs, json!({}), &[], &[inner]);
    world.change("okta", devs, json!({}), &[inner], &[]);
    let again = world.index;
    world.user("okta", "dee");
    world.evaluate();
    assert!(through < again);
    for (who, at) in [("ada", came), ("bob", again), ("cy", active)] {
        assert_eq!(cause(&world, who), Cause::Member(change(at, "req-change")), "{who}");
    }
    // What is older than all that is looked at: the newest of what is known of the person or the group.
    for n in 0..300 {
        world.user("okta", &format!("u{n}"));
    }
    world.evaluate();
    assert_eq!(cause(&world, "ada"), Cause::Member(change(again, "req-change")));
}
