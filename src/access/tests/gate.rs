use std::collections::BTreeSet;

use serde_json::json;

use super::world::{World, cluster_role_mapping, key_of, role_mapping, view_of_team_a};
use crate::access::binding::SubjectRef;
use crate::access::gate::{Circumstances, Column, Hold, Op};

/// The table of design.md, cell by cell: grants, removals said by the provider, other removals.
const TABLE: [(Hold, [bool; 3]); 9] = [
    (Hold::MappingSuspended, [false, true, false]),
    (Hold::Planned, [false, true, false]),
    (Hold::SourceSuspended, [false, true, false]),
    (Hold::PolicyMissing, [false, true, true]),
    (Hold::NewGroup, [false, true, true]),
    (Hold::Budget, [true, true, false]),
    (Hold::LossAccepted, [true, true, false]),
    (Hold::AccessJournalLost, [false, true, false]),
    (Hold::DirectoryUnproved, [false, false, false]),
];

fn circumstances(holds: &[Hold]) -> Circumstances {
    let mut now = Circumstances::default();
    for hold in holds {
        if *hold == Hold::SourceSuspended {
            now.suspended_sources.insert("okta".to_owned());
        } else {
            now.holds.insert(*hold);
        }
    }
    now
}

#[test]
fn the_table() {
    assert_eq!(TABLE.map(|(hold, _)| hold), Hold::ALL);
    for (hold, row) in TABLE {
        let columns = [Column::Grant, Column::Said, Column::Other];
        assert_eq!(columns.map(|column| hold.passes(column)), row, "{hold:?}");
        assert_eq!(
            columns.map(|column| circumstances(&[hold]).hold(column, Some("okta")).is_none()),
            row,
            "{hold:?}"
        );
        assert!(!hold.advice().is_empty() && !hold.reason().is_empty());
    }
}

/// Every set of rows, on a plan that has all three columns: what passes is what every row passes.
#[test]
fn every_row_by_every_column_on_a_plan() {
    for mask in 0..1_u32 << TABLE.len() {
        let rows: Vec<_> = TABLE
            .iter()
            .enumerate()
            .filter(|(i, _)| mask >> i & 1 == 1)
            .map(|(_, row)| *row)
            .collect();
        let passes = |column: usize| rows.iter().all(|(_, row)| row[column]);
        let mut world = World::new(role_mapping("team-a", "devs", view_of_team_a()));
        let [ada, bob, cy, dee] = ["ada", "bob", "cy", "dee"].map(|name| world.user("okta", name));
        let group = world.group("okta", "devs", &[ada, bob, cy]);
        world.run();
        world.change("okta", ada, json!({"active": false}), &[], &[]);
        world.change("okta", group, json!({}), &[dee], &[bob]);
        world.circumstances = circumstances(&rows.iter().map(|(hold, _)| *hold).collect::<Vec<_>>());
        world.run();
        let mut expected = vec!["team-a/view:cy"];
        if passes(0) {
            expected.push("team-a/view:dee");
        }
        if !passes(1) {
            expected.push("team-a/view:ada");
        }
        if !passes(2) {
            expected.push("team-a/view:bob");
        }
        expected.sort_unstable();
        assert_eq!(world.short(), expected, "{rows:?}");
        let gated = world.gated(&key_of(&world.mapping, "view", "team-a"));
        assert_eq!(gated.held_adds.len(), usize::from(!passes(0)), "{rows:?}");
        assert_eq!(
            gated.held_removals.len(),
            usize::from(!passes(1)) + usize::from(!passes(2)),
            "{rows:?}"
        );
        assert_eq!(gated.op, Op::Nothing, "{rows:?}");
        // when nothing holds any more, everything is done
        world.circumstances = Circumstances::default();
        world.settle();
        assert_eq!(world.short(), ["team-a/view:cy", "team-a/view:dee"], "{rows:?}");
        assert_eq!(world.recorded(), world.access());
    }
}

#[test]
fn a_suspended_source_holds_its_own_people_only() {
    let mut world = World::new(role_mapping(
        "team-a",
        "devs",
        json!({"sources": ["okta", "entra"], "groups": {"names": ["devs", "ops"]}, "grants": [{"roleRef": {"kind": "ClusterRole", "name": "view"}}]}),
    ));
    let ada = world.user("okta", "ada");
    let eli = world.user("entra", "eli");
    let devs = world.group("okta", "devs", &[ada]);
    let ops = world.group("entra", "ops", &[eli]);
    world.circumstances.suspended_sources = BTreeSet::from(["okta".to_owned()]);
    world.run();
    assert_eq!(world.short(), ["team-a/view:eli"]);
    world.circumstances = Circumstances::default();
    world.run();
    world.circumstances.suspended_sources = BTreeSet::from(["okta".to_owned()]);
    world.change("okta", devs, json!({}), &[], &[ada]);
    world.change("entra", ops, json!({}), &[], &[eli]);
    world.run();
    assert_eq!(world.short(), ["team-a/view:ada"]);
}

#[test]
fn what_somebody_wrote_into_a_binding_is_a_removal_like_others() {
    for (hold, goes) in [
        (Hold::Planned, false),
        (Hold::MappingSuspended, false),
        (Hold::PolicyMissing, true),
        (Hold::AccessJournalLost, false),
        (Hold::DirectoryUnproved, false),
        (Hold::SourceSuspended, true),
    ] {
        let mut world = World::new(role_mapping("team-a", "devs", view_of_team_a()));
        let ada = world.user("okta", "ada");
        world.group("okta", "devs", &[ada]);
        world.run();
        world.tamper(|o| std::sync::Arc::make_mut(&mut o.subjects).push(SubjectRef::user("oidc:eve")));
        world.circumstances = circumstances(&[hold]);
        world.settle();
        assert_eq!(world.access().len() == 1, goes, "{hold:?}");
    }
}

#[test]
fn nothing_at_all_is_written_or_recorded_while_the_directory_is_not_proved() {
    let mut world = World::new(role_mapping("team-a", "devs", view_of_team_a()));
    let [ada, bob] = ["ada", "bob"].map(|name| world.user("okta", name));
    let group = world.group("okta", "devs", &[ada, bob]);
    world.run();
    world.delete("okta", group);
    world.evaluate();
    world.tamper(|o| {
        std::sync::Arc::make_mut(&mut o.subjects).clear();
        o.tampered = true;
    });
    let before = (world.cluster.clone(), world.journal.len());
    world.circumstances = circumstances(&[Hold::DirectoryUnproved]);
    assert_eq!(world.settle(), Vec::new());
    assert_eq!((world.cluster.clone(), world.journal.len()), before);
}

#[test]
fn a_held_new_name_keeps_the_old_one_for_a_while() {
    let mut world = World::new(role_mapping("team-a", "devs", view_of_team_a()));
    let ada = world.user("okta", "ada");
    world.group("okta", "devs", &[ada]);
    world.run();
    world.change("okta", ada, json!({"userName": "lovelace"}), &[], &[]);
    world.circumstances = circumstances(&[Hold::PolicyMissing]);
    world.evaluate();
    let key = key_of(&world.mapping, "view", "team-a");
    assert_eq!(world.gated(&key).op, Op::Wait);
    world.patient = false;
    assert!(matches!(world.gated(&key).op, Op::Delete { .. }));
}

#[test]
fn a_name_stays_anothers_while_that_removal_is_held() {
    let mut world = World::new(role_mapping(
        "team-a",
        "devs",
        json!({"sources": ["okta", "entra"], "groups": {"names": ["devs", "ops"]}, "grants": [{"roleRef": {"kind": "ClusterRole", "name": "view"}}]}),
    ));
    let ada = world.user("okta", "ada");
    let other = world.user("entra", "other");
    let devs = world.group("okta", "devs", &[ada]);
    world.group("entra", "ops", &[other]);
    world.run();
    world.circumstances.suspended_sources = BTreeSet::from(["okta".to_owned()]);
    world.change("okta", devs, json!({}), &[], &[ada]);
    world.change("okta", ada, json!({"userName": "somebody"}), &[], &[]);
    world.change("entra", other, json!({"userName": "ada"}), &[], &[]);
    world.run();
    // the name "ada" is still recorded as okta's: entra's person keeps the old name until that is settled
    assert_eq!(world.short(), ["team-a/view:ada", "team-a/view:other"]);
    world.circumstances = Circumstances::default();
    world.settle();
    assert_eq!(world.short(), ["team-a/view:ada"]);
    assert_eq!(world.recorded(), world.access());
    world.at_rest();
}

#[test]
fn nobody_waits_for_a_name_whose_removal_is_held() {
    let mut world = World::new(cluster_role_mapping(
        "teams",
        json!({"sources": ["okta"], "groups": {"names": ["devs"]}, "subjects": "Group", "grants": [{"roleRef": {"kind": "ClusterRole", "name": "view"}, "namespaces": {"names": ["team-a"]}}]}),
    ));
    let old = world.group("okta", "devs", &[]);
    world.run();
    let before = world.short();
    assert_eq!(before.len(), 1);
    world.circumstances = circumstances(&[Hold::Budget]);
    // the same name, but another group: it finds its name taken, and that may last for weeks
    world.delete("okta", old);
    world.group("okta", "devs", &[]);
    world.run();
    assert_eq!(world.short(), before);
    let key = world.keys().into_iter().next().expect("its binding");
    let gated = world.gated(&key);
    assert_eq!((gated.op, gated.crowded, gated.held_removals.len()), (Op::Nothing, 1, 1));
    world.circumstances = Circumstances::default();
    world.settle();
    assert_eq!(world.short(), before);
    world.at_rest();
}

#[test]
fn removals_that_nothing_replaces_come_first() {
    let mut world = World::new(role_mapping("team-a", "devs", view_of_team_a()));
    let [ada, bob] = ["ada", "bob"].map(|name| world.user("okta", name));
    let group = world.group("okta", "devs", &[ada]);
    world.evaluate();
    let key = key_of(&world.mapping, "view", "team-a");
    assert_eq!(world.gated(&key).op.priority(), 1);
    world.settle();
    world.change("okta", group, json!({}), &[bob], &[ada]);
    world.evaluate();
    let gated = world.gated(&key);
    assert_eq!((gated.op.priority(), gated.more, gated.op.grants()), (0, true, false));
    world.settle();
    world.grant("edit");
    assert_eq!(world.gated(&key_of(&world.mapping, "edit", "team-a")).op.priority(), 1);
    world.patient = false;
    assert_eq!(world.gated(&key).op.priority(), 2);
}
