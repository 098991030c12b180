//! The budget: what goes beyond the limits waits until somebody approves it, and nothing else does.

use std::collections::BTreeSet;

use serde_json::json;

use super::world::{World, cluster_role_mapping, key_of, role_mapping, view_of_team_a};
use crate::access::budget::{Budget, Spending, Unrecorded};
use crate::access::diff::Removal;
use crate::access::gate::{Gated, Hold, Op};
use crate::access::ledger::{BindingId, Event, On};
use crate::access::rewrite::deletion_instead;
use crate::api::limits::Limits;

impl World {
    pub fn budget(&self) -> Budget<'_> {
        let limits = self.limits.filter(|_| self.state != "ended" && !self.mapping.expired);
        Budget::new(&self.ledger, &self.spending, &self.mapping.key, limits, &self.source_limits)
    }

    /// Counts what is taken away, as the engine does when it sends it; the usernames that cost something.
    pub fn spend(&mut self, removals: &[Removal]) -> Vec<String> {
        let time = self.time();
        self.spending.made(&self.mapping.key, removals, time);
        let counted = removals.iter().filter(|removal| removal.counted);
        let mut names: Vec<String> = counted.map(|removal| removal.subject.name.clone()).collect();
        names.sort();
        names
    }

    /// Records what is held and what is free again, as the engine does.
    pub fn record_holds(&mut self, id: &BindingId, gated: &Gated) {
        let Unrecorded { held, freed, .. } = Unrecorded::of(&self.ledger, id, gated, true);
        let binding = id.clone();
        if !held.is_empty() {
            let binding = binding.clone();
            self.record(Event::Held { binding, why: held });
        }
        if !freed.is_empty() {
            self.record(Event::Freed { binding, usernames: freed });
        }
    }

    pub fn approve(&mut self, asked: i64) {
        let on = On::Mapping(self.mapping.key.clone());
        self.record(Event::Approved { on, asked });
    }

    fn newest(&self) -> i64 {
        self.ledger.tally(&On::Mapping(self.mapping.key.clone())).newest
    }

    fn held(&self) -> usize {
        let of_mapping = self.ledger.tally(&On::Mapping(self.mapping.key.clone())).removals;
        assert_eq!(self.ledger.all_held().count(), of_mapping);
        of_mapping
    }
}

const FEW: Limits = Limits {
    removals_per_hour: 3,
    removal_percent: 10,
};

/// So many people in a group, all with access, and limits.
fn crowd(n: usize, limits: Limits) -> (World, Vec<u32>, u32) {
    let mut world = World::new(role_mapping("team-a", "devs", view_of_team_a()));
    world.limits = Some(limits);
    let all = Limits {
        removals_per_hour: 0,
        removal_percent: 100,
    };
    world.source_limits = [("okta".into(), all), ("entra".into(), all)].into();
    let users: Vec<u32> = (0..n).map(|i| world.user("okta", &format!("u{i:03}"))).collect();
    let group = world.group("okta", "devs", &users);
    world.run();
    assert_eq!((world.access().len(), world.ledger.holders_of_source("okta").len()), (n, n));
    (world, users, group)
}

#[test]
fn one_patch_each_or_all_at_once_it_holds_at_the_limit() {
    for (n, limits, pass) in [
        (20, FEW, 3),
        (60, FEW, 6),
        (20, Limits::default(), 10),
        (8, Limits::default(), 8),
        (520, FEW, 52),
    ] {
        let (mut one_by_one, users, group) = crowd(n, limits);
        for user in &users {
            one_by_one.change("okta", group, json!({}), &[], &[*user]);
            one_by_one.run();
        }
        let (mut at_once, users, group) = crowd(n, limits);
        at_once.change("okta", group, json!({}), &[], &users);
        at_once.run();
        for world in [one_by_one, at_once] {
            assert_eq!((world.access().len(), world.held()), (n - pass, n - pass), "{n} {limits:?}");
            assert_eq!(world.recorded(), world.access());
            world.at_rest();
            // what the ledger tells to the next leader is what this one knows
            assert_eq!(Spending::of(&world.ledger, world.time()), world.spending);
        }
    }
}

#[test]
fn whoever_the_provider_disables_or_deletes_leaves_at_once_and_costs_nothing() {
    let (mut world, users, group) = crowd(20, FEW);
    world.change("okta", group, json!({}), &[], &users);
    world.run();
    assert_eq!(world.access().len(), 17);
    world.change("okta", users[18], json!({"active": false}), &[], &[]);
    world.delete("okta", users[19]);
    world.run();
    assert_eq!((world.access().len(), world.held()), (15, 15));
    world.at_rest();
    let (mut world, users, group) = crowd(20, FEW);
    for user in &users[..10] {
        world.delete("okta", *user);
    }
    world.run();
    world.change("okta", group, json!({}), &[], &users[10..13]);
    world.run();
    assert_eq!((world.access().len(), world.held()), (7, 0));
    assert_eq!(
        Spending::of(&world.ledger, world.time()).mass_deprovision(&world.ledger, "okta", FEW),
        Some(10)
    );
    assert_eq!(
        Spending::of(&world.ledger, world.time()).mass_deprovision(&world.ledger, "okta", Limits::default()),
        None
    );
}

#[test]
fn an_approval_releases_what_was_held_and_nothing_that_came_after_it() {
    let (mut world, users, group) = crowd(20, FEW);
    world.change("okta", group, json!({}), &[], &users[..8]);
    world.run();
    let shown = world.newest();
    assert_eq!(world.held(), 5);
    // a busy directory: more are to go, and one of those that were shown is to stay
    world.change("okta", group, json!({}), &[users[7]], &users[8..12]);
    world.run();
    assert_eq!((world.access().len(), world.held()), (17, 8));
    world.approve(shown);
    world.settle();
    assert_eq!((world.access().len(), world.held()), (13, 4));
    world.at_rest();
    // it was no budget that was spent: those three that passed at first are still all
    assert_eq!(Spending::of(&world.ledger, world.time()), world.spending);
    // the same number again, or one from the future, approves nothing that is to come
    world.approve(i64::MAX);
    world.settle();
    assert_eq!((world.access().len(), world.held()), (9, 0));
    world.change("okta", group, json!({}), &[], &users[12..14]);
    world.run();
    assert_eq!((world.access().len(), world.held()), (9, 2));
    // on the source it releases as well
    let newest = world.ledger.tally(&On::Source("okta".to_owned())).newest;
    world.record(Event::Approved {
        on: On::Source("okta".to_owned()),
        asked: newest,
    });
    world.settle();
    assert_eq!((world.access().len(), world.held()), (7, 0));
}

#[test]
fn what_is_held_stays_held_however_old_and_the_hour_is_rolling() {
    let (mut world, users, group) = crowd(20, FEW);
    world.change("okta", group, json!({}), &[], &users[..5]);
    world.run();
    assert_eq!(world.held(), 2);
    world.later += 3601;
    let now = world.time();
    world.spending.forget(now);
    world.settle();
    assert_eq!((world.access().len(), world.held()), (17, 2), "an hour approves nothing");
    // others have a new hour
    world.change("okta", group, json!({}), &[], &users[5..8]);
    world.run();
    assert_eq!((world.access().len(), world.held()), (14, 2));
    assert_eq!(Spending::of(&world.ledger, world.time()), world.spending);
    // who comes back and goes again is another matter, and waits for its own approval
    let before = world.newest();
    world.change("okta", group, json!({}), &users[3..5], &[]);
    world.run();
    assert_eq!(world.held(), 0);
    world.change("okta", group, json!({}), &[], &users[3..5]);
    world.run();
    world.approve(before);
    world.settle();
    assert_eq!((world.access().len(), world.held()), (14, 2));
}

#[test]
fn a_person_counts_once_and_by_source_too() {
    let spec = json!({"sources": ["okta"], "groups": {"names": ["devs"]}, "grants": [
        {"roleRef": {"kind": "ClusterRole", "name": "view"}, "namespaces": {"names": ["team-a", "team-b"]}},
        {"roleRef": {"kind": "ClusterRole", "name": "edit"}, "namespaces": {"names": ["team-a"]}}]});
    for (of_mapping, of_source, left) in [(FEW, Limits::default(), 7), (Limits::default(), FEW, 7), (FEW, FEW, 7)] {
        let mut world = World::new(cluster_role_mapping("teams", spec.clone()));
        let users: Vec<u32> = (0..10).map(|i| world.user("okta", &format!("u{i}"))).collect();
        let group = world.group("okta", "devs", &users);
        world.run();
        assert_eq!(
            (world.access().len(), world.ledger.holders_of_mapping(&world.mapping.key).len()),
            (30, 10)
        );
        world.limits = Some(of_mapping);
        world.source_limits = [("okta".into(), of_source)].into();
        world.change("okta", group, json!({}), &[], &users);
        world.run();
        let names: BTreeSet<_> = world.access().into_iter().map(|(_, _, name)| name).collect();
        assert_eq!(
            (names.len(), world.access().len()),
            (left, left * 3),
            "three lost everything, the others nothing"
        );
    }
}

#[test]
fn every_edit_counts_and_a_move_or_an_end_does_not() {
    // an edit of the mapping
    let (mut world, ..) = crowd(20, FEW);
    world.mapping.groups = crate::access::mapping::GroupSelector::Names(vec!["others".to_owned()]);
    world.run();
    assert_eq!((world.access().len(), world.held()), (17, 17));
    // of the access policy
    let (mut world, ..) = crowd(20, FEW);
    world.policy = Some(
        crate::access::policy::AccessPolicy::parse("clusterRoles: [edit]\nusernamePrefixes: ['oidc:']\nprotectedNamespaces: []").unwrap(),
    );
    world.run();
    assert_eq!(world.held(), 17);
    // the end of the source
    let (mut world, ..) = crowd(20, FEW);
    world.sources.insert("okta".into(), crate::access::desired::SourceState::Ended);
    world.run();
    assert_eq!(world.held(), 17);
    // another role in the same place: nobody loses it without getting the other
    let (mut world, ..) = crowd(20, FEW);
    world.grant("edit");
    world.run();
    assert_eq!((world.access().len(), world.held()), (20, 0));
    assert!(world.short().iter().all(|one| one.starts_with("team-a/edit:")));
    // the mapping's end, as it was said
    let (mut world, ..) = crowd(20, FEW);
    world.mapping.expired = true;
    world.run();
    assert_eq!((world.access().len(), world.held()), (0, 0));
    let (mut world, ..) = crowd(20, FEW);
    world.state = "ended";
    world.run();
    assert_eq!((world.access().len(), world.held()), (0, 0));
    // what is held goes with the mapping
    let (mut world, users, group) = crowd(20, FEW);
    world.change("okta", group, json!({}), &[], &users);
    world.run();
    world.state = "ended";
    world.settle();
    assert_eq!((world.access().len(), world.held()), (0, 0));
    assert_eq!(world.ledger.all_held().count(), 0);
}

/// What is held of one part of the mapping keeps nobody from moving to another part without a gap, and a removal that nothing replaces yet is counted.
#[test]
fn shards_that_merge_while_something_is_held_lose_nobody() {
    let (mut world, users, group) = crowd(520, Limits::default());
    world.change("okta", group, json!({}), &[], &users[..500]);
    world.evaluate();
    let staying: BTreeSet<_> = users[500..].iter().map(|n| format!("oidc:u{:03}", n - users[0])).collect();
    world.settle_with(|world| {
        let names: BTreeSet<String> = world.access().into_iter().map(|(_, _, name)| name).collect();
        assert!(names.is_superset(&staying));
    });
    assert_eq!((world.access().len(), world.held()), (468, 448));
    // nobody waits for what replaces it any more, and it does not stand
    let (mut world, users, _) = crowd(20, FEW);
    for user in &users[..5] {
        let name = format!("new{user}");
        world.change("okta", *user, json!({"userName": name}), &[], &[]);
    }
    world.circumstances.holds.insert(Hold::PolicyMissing);
    world.patient = false;
    world.run();
    assert_eq!((world.access().len(), world.held()), (17, 2));
}

/// Kubernetes refuses to let the binding shrink: it is deleted for whom the provider disabled, and not for the sake of others while somebody's removal is held.
#[test]
fn a_refused_shrink_takes_along_whose_removal_is_held_only_for_whom_the_provider_disabled() {
    let (mut world, users, group) = crowd(20, FEW);
    world.change("okta", group, json!({}), &[], &users[..5]);
    world.evaluate();
    let key = key_of(&world.mapping, "view", "team-a");
    let (plan, op) = (world.plan(&key), world.gated(&key).op);
    assert!(matches!(&op, Op::Put { removals, .. } if removals.len() == 3));
    assert_eq!(deletion_instead(&op, &plan), None);
    world.settle();
    world.change("okta", users[10], json!({"active": false}), &[], &[]);
    world.evaluate();
    let (plan, op) = (world.plan(&key), world.gated(&key).op);
    let Some(Op::Delete { removals, .. }) = deletion_instead(&op, &plan) else {
        panic!("a DELETE")
    };
    let why = |label: &str| removals.iter().filter(|removal| removal.why.label() == label).count();
    assert_eq!((why("Disabled"), why("LeftGroups"), why("Rewritten")), (1, 2, 14));
}

#[test]
fn what_is_under_way_is_counted_and_not_twice() {
    let tenth = Limits {
        removals_per_hour: 0,
        removal_percent: 10,
    };
    let (mut world, users, group) = crowd(39, tenth);
    let (key, now) = (world.mapping.key.clone(), world.time());
    for n in &users[..2] {
        let user = world.directory.source("okta").and_then(|source| source.get(*n)).expect("a user").id;
        world.spending.spend(&key, "okta", user, now);
    }
    // of 39, and not of 39 and two more who are on their way out
    world.change("okta", group, json!({}), &[], &users[2..]);
    world.run();
    assert_eq!((world.access().len(), world.held()), (38, 36));
}

#[test]
fn somebody_elses_hand_is_not_counted() {
    let (mut world, users, group) = crowd(20, FEW);
    world.tamper(|binding| std::sync::Arc::make_mut(&mut binding.subjects).truncate(5));
    world.evaluate();
    let key = key_of(&world.mapping, "view", "team-a");
    assert!(matches!(world.gated(&key).op, Op::Put { .. }), "they come back");
    world.settle();
    world.change("okta", group, json!({}), &[], &users[..3]);
    world.run();
    assert_eq!((world.access().len(), world.held()), (17, 0));
}
