//! A journal's loss that was accepted: whoever is known only by name keeps what stands until somebody of that name is granted it, is disabled, or it is approved.

use serde_json::json;

use super::world::{World, role_mapping, view_of_team_a};
use crate::access::gate::Hold;
use crate::access::ledger::{BindingId, Event, On};
use crate::api::limits::Limits;
use crate::directory::Directory;

/// ada, bob, carol and dora have access, and the directory is lost and empty.
fn lost() -> World {
    let mut world = World::new(role_mapping("team-a", "m", view_of_team_a()));
    world.limits = Some(Limits::default());
    let people: Vec<u32> = ["ada", "bob", "carol", "dora"].map(|name| world.user("okta", name)).into();
    world.group("okta", "devs", &people);
    world.run();
    assert_eq!(world.access().len(), 4);
    world.directory = Directory::default();
    for source in ["okta", "entra"] {
        world.source(source, "'oidc:' + user.userName");
    }
    world.accept("directory");
    world.evaluated = 0;
    world
}

impl World {
    fn accept(&mut self, journal: &str) {
        (self.usernames, self.group_names) = (
            crate::access::usernames::Usernames::default(),
            crate::access::usernames::Usernames::groups(),
        );
        self.access_index += 1;
        self.record(Event::LossAccepted {
            journal: journal.to_owned(),
            uid: "new".to_owned(),
        });
    }

    fn names_held(&self) -> Vec<String> {
        let mut names: Vec<String> = self.ledger.all_held().map(|(_, name, _)| name.to_owned()).collect();
        names.sort();
        names
    }
}

#[test]
fn nobody_loses_anything_because_nothing_is_known() {
    let mut world = lost();
    world.run();
    assert_eq!(world.access().len(), 4, "an empty directory takes nothing from anybody");
    assert_eq!(world.ledger.holders_of_mapping(&world.mapping.key).len(), 4, "each is counted");
    let key = world.keys().into_iter().next().expect("a binding");
    let gated = world.gated(&key);
    assert!(gated.held_removals.iter().all(|(_, hold)| *hold == Hold::LossAccepted), "{gated:?}");
    assert_eq!(world.names_held().len(), 4);
    world.at_rest();
}

#[test]
fn who_is_claimed_is_known_again_and_the_rest_goes_when_it_is_approved() {
    let mut world = lost();
    world.run();
    let ada = world.user("okta", "ada");
    let eve = world.user("okta", "eve");
    let group = world.group("okta", "devs", &[ada, eve]);
    // at no moment anybody is missing who was there: checked after every write
    world.evaluate();
    world.settle_with(|world| {
        let standing = world.short();
        for name in ["ada", "bob", "carol", "dora"] {
            assert!(standing.iter().any(|one| one.contains(name)), "{name}: {standing:?}");
        }
    });
    assert_eq!(world.access().len(), 5, "eve comes");
    assert_eq!(world.names_held(), ["oidc:bob", "oidc:carol", "oidc:dora"]);
    // whom the provider names as disabled goes at once, whatever waits
    let carol = world.user("okta", "carol");
    world.change("okta", carol, json!({"active": false}), &[], &[]);
    world.run();
    assert_eq!(world.names_held(), ["oidc:bob", "oidc:dora"]);
    assert!(!world.short().iter().any(|one| one.contains("carol")));
    // who is known again is held by nothing but the budget
    world.change("okta", group, json!({}), &[], &[ada]);
    world.run();
    assert!(!world.short().iter().any(|one| one.contains("ada")));
    let newest = world.ledger.tally(&On::Mapping(world.mapping.key.clone())).newest;
    world.approve(newest);
    world.run();
    assert_eq!(world.access().len(), 1, "{:?}", world.short());
    assert!(world.ledger.inherited("oidc:bob").next().is_none());
    world.at_rest();
}

/// The loss comes between a write and the record of its outcome.
#[test]
fn whose_grant_has_no_outcome_yet_is_known_by_name_too() {
    let mut world = lost();
    let key = world.keys().into_iter().next().expect("a binding");
    let (id, _) = world.ledger.of_owner(&key.owner).next().expect("it stands");
    let (id, mut ledger) = (id.clone(), crate::access::ledger::Ledger::default());
    let open: Vec<Event> = world
        .journal
        .iter()
        .filter(|e| matches!(e, Event::Intent { .. }))
        .cloned()
        .collect();
    open.iter().for_each(|event| ledger.apply(1, world.time(), event));
    let accepted = Event::LossAccepted {
        journal: "directory".to_owned(),
        uid: "new".to_owned(),
    };
    ledger.apply(2, world.time(), &accepted);
    assert!(ledger.grantee(&id, "oidc:ada").is_some_and(|ada| ada.is_inherited()));
    let uid = world.cluster[&id].uid.clone();
    let result = crate::access::ledger::Outcome::Done { uid };
    ledger.apply(3, world.time(), &Event::Outcome { intent: (1, 0), result });
    world.ledger = ledger;
    world.run();
    assert_eq!((world.access().len(), world.names_held().len()), (4, 4));
    assert_eq!(world.ledger.inherited("oidc:ada").collect::<Vec<_>>(), [key]);
}

#[test]
fn a_disabled_namesake_takes_nothing_from_who_is_active() {
    let mut world = lost();
    let ada = world.user("okta", "ada");
    world.group("okta", "devs", &[ada]);
    let other = world.user("entra", "ada");
    world.change("entra", other, json!({"active": false}), &[], &[]);
    world.run();
    assert!(world.short().iter().any(|one| one.contains("ada")), "{:?}", world.short());
}

#[test]
fn the_end_of_the_mapping_is_said_in_so_many_words_and_what_cannot_be_read_takes_nothing() {
    for (state, left) in [("frozen", 4), ("ended", 0)] {
        let mut world = lost();
        world.state = state;
        world.run();
        assert_eq!(world.access().len(), left, "{state}");
    }
}

#[test]
fn a_new_ledger_learns_the_names_once_and_what_it_knows_better_stays() {
    let mut world = lost();
    world.run();
    let standing: Vec<(BindingId, Vec<String>)> = world
        .cluster
        .iter()
        .map(|(id, observed)| (id.clone(), observed.subjects.iter().map(|s| s.name.clone()).collect()))
        .collect();
    let key = world.keys().into_iter().next().expect("a binding");
    world.ledger = Default::default();
    for _ in 0..2 {
        for (id, names) in standing.clone() {
            world.access_index += 1;
            world.record(Event::Inherited {
                binding: id,
                owner: key.owner.clone(),
                role: key.role.clone(),
                shard: key.prefix,
                uid: "uid".to_owned(),
                names,
            });
        }
        world.accept("access");
        assert!(world.ledger.accepted("access", "new") && !world.ledger.accepted("access", "other"));
    }
    assert!(world.ledger.has_inherited(&key.owner));
    world.evaluated = 0;
    world.run();
    assert_eq!((world.access().len(), world.names_held().len()), (4, 4));
    assert_eq!(world.ledger.inherited("oidc:ada").collect::<Vec<_>>(), [key]);
    world.at_rest();
}
