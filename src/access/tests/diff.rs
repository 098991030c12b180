use serde_json::json;

use super::world::{World, key_of, role_mapping, view_of_team_a};
use crate::access::binding::SubjectRef;
use crate::access::desired::SourceState;
use crate::access::diff::{Class, Replacement};
use crate::access::gate::Op;
use crate::access::rewrite::deletion_instead;
use crate::access::why::Cause;
use crate::api::names as labels;

fn world() -> (World, [u32; 3], u32) {
    let mut world = World::new(role_mapping("team-a", "devs", view_of_team_a()));
    let people = [world.user("okta", "ada"), world.user("okta", "bob"), world.user("okta", "cy")];
    let group = world.group("okta", "devs", &people[..2]);
    (world, people, group)
}

/// The labels of the causes of what is to go, and their classes.
fn going(world: &World, role: &str) -> Vec<(String, Class, &'static str)> {
    let plan = world.plan(&key_of(&world.mapping, role, "team-a"));
    plan.removals
        .iter()
        .map(|r| (r.subject.name.clone(), r.class, r.why.label()))
        .collect()
}

#[test]
fn people_come_and_go() {
    let (mut world, [ada, _, cy], group) = world();
    let written = world.run();
    assert_eq!(written.len(), 1);
    assert!(matches!(&written[0].op, Op::Create { adds, .. } if adds.len() == 2));
    assert_eq!(world.short(), ["team-a/view:ada", "team-a/view:bob"]);
    world.at_rest();

    world.change("okta", group, json!({}), &[cy], &[ada]);
    let written = world.run();
    assert_eq!(written.len(), 2, "the removal first, then the grant");
    assert!(matches!(&written[0].op, Op::Put { adds, removals, .. } if adds.is_empty() && removals.len() == 1));
    assert!(matches!(&written[1].op, Op::Put { adds, removals, .. } if adds.len() == 1 && removals.is_empty()));
    assert_eq!(world.short(), ["team-a/view:bob", "team-a/view:cy"]);
    assert_eq!(world.recorded(), world.access());

    world.delete("okta", group);
    let written = world.run();
    assert!(
        matches!(&written[..], [w] if matches!(&w.op, Op::Delete { removals, .. } if removals.len() == 2)),
        "{written:?}"
    );
    assert_eq!(world.short(), Vec::<String>::new());
    assert_eq!(world.recorded(), world.access());
    world.at_rest();
}

#[test]
fn every_grant_is_recorded_before_and_every_removal_after() {
    use crate::access::ledger::Event;
    let (mut world, [ada, ..], _) = world();
    world.run();
    world.change("okta", ada, json!({"active": false}), &[], &[]);
    world.run();
    let kinds: Vec<&str> = world
        .journal
        .iter()
        .map(|event| match event {
            Event::Intent { .. } => "intent",
            Event::Outcome { .. } => "outcome",
            Event::Removed { .. } => "removed",
            _ => "other",
        })
        .collect();
    assert_eq!(kinds, ["intent", "outcome", "removed"]);
    let Some(Event::Removed { why, usernames, .. }) = world.journal.last() else {
        panic!("a removal")
    };
    assert_eq!(usernames, &["oidc:ada"]);
    assert_eq!(
        why[0].why.to_string(),
        format!(
            "disabled by the provider (directory {}, request req-change); group \"devs\" ({}) of source okta; by RoleMapping/team-a/devs, generation 1",
            world.index,
            world.directory.source("okta").and_then(|s| s.get(3)).expect("the group").id
        )
    );
}

#[test]
fn why_somebody_goes() {
    type Change = fn(&mut World, [u32; 3], u32);
    let cases: [(&str, Change, Class, &str); 12] = [
        (
            "disabled",
            |w, [ada, ..], _| w.change("okta", ada, json!({"active": false}), &[], &[]),
            Class::Said,
            "Disabled",
        ),
        ("deleted", |w, [ada, ..], _| w.delete("okta", ada), Class::Said, "Deleted"),
        (
            "left",
            |w, [ada, ..], g| w.change("okta", g, json!({}), &[], &[ada]),
            Class::Other,
            "LeftGroups",
        ),
        (
            "group renamed",
            |w, _, g| w.change("okta", g, json!({"displayName": "other"}), &[], &[]),
            Class::Other,
            "LeftGroups",
        ),
        ("group deleted", |w, _, g| w.delete("okta", g), Class::Other, "LeftGroups"),
        (
            "renamed",
            |w, [ada, ..], _| w.change("okta", ada, json!({"userName": "lovelace"}), &[], &[]),
            Class::Replaced,
            "Renamed",
        ),
        (
            "left and disabled",
            |w, [ada, ..], g| {
                w.change("okta", g, json!({}), &[], &[ada]);
                w.change("okta", ada, json!({"active": false}), &[], &[]);
            },
            Class::Said,
            "Disabled",
        ),
        (
            "a name that is refused",
            |w, [ada, ..], _| w.change("okta", ada, json!({"userName": "a\u{1}"}), &[], &[]),
            Class::Other,
            "Renamed",
        ),
        ("role not granted", |w, _, _| w.grant("edit"), Class::Replaced, "NotGranted"),
        (
            "role not allowed",
            |w, _, _| w.policy.as_mut().expect("a policy").cluster_roles = vec!["edit".to_owned()],
            Class::Other,
            "NotAllowed",
        ),
        ("mapping ended", |w, _, _| w.state = "ended", Class::Other, "MappingEnded"),
        (
            "source ended",
            |w, _, _| {
                w.sources.insert("okta".into(), SourceState::Ended);
                w.event(crate::directory::Event::SourceEnded { source: "okta".to_owned() });
            },
            Class::Other,
            "SourceEnded",
        ),
    ];
    for (name, change, class, label) in cases {
        let (mut world, people, group) = world();
        world.run();
        change(&mut world, people, group);
        world.evaluate();
        let going = going(&world, "view");
        let of_ada = going
            .iter()
            .find(|(who, ..)| who == "oidc:ada")
            .unwrap_or_else(|| panic!("{name}: ada stays"));
        assert_eq!((of_ada.1, of_ada.2), (class, label), "{name}");
        world.settle();
        assert!(!world.short().contains(&"team-a/view:ada".to_owned()), "{name}");
        assert_eq!(world.recorded(), world.access(), "{name}");
        world.at_rest();
    }
}

#[test]
fn what_cannot_be_read_takes_nothing_away() {
    type Change = fn(&mut World);
    let cases: [(&str, Change); 6] = [
        ("the source's object is not there", |w| {
            w.sources.remove("okta");
        }),
        ("its spec does not compile", |w| {
            w.sources.insert("okta".into(), SourceState::Frozen);
            w.usernames = Default::default();
            w.cells = Default::default();
            w.targets = Default::default();
        }),
        ("the mapping is orphaned", |w| w.state = "frozen"),
        ("the policy is missing", |w| w.policy = None),
        ("the directory knows no source", |w| {
            w.directory = Default::default();
            w.usernames = Default::default();
            w.cells = Default::default();
            w.targets = Default::default();
            w.selected = Default::default();
        }),
        ("the namespace is terminating", |w| {
            let mut info = (*w.namespaces["team-a"]).clone();
            info.terminating = true;
            w.namespaces.insert("team-a".to_owned(), info.into());
        }),
    ];
    for (name, change) in cases {
        let (mut world, ..) = world();
        world.run();
        change(&mut world);
        let written = world.settle();
        assert_eq!(written, Vec::new(), "{name}");
        assert_eq!(world.short(), ["team-a/view:ada", "team-a/view:bob"], "{name}");
    }
}

#[test]
fn who_is_disabled_leaves_even_what_cannot_be_read() {
    for state in ["source", "mapping"] {
        let (mut world, [ada, ..], _) = world();
        world.run();
        match state {
            "source" => {
                world.sources.insert("okta".into(), SourceState::Frozen);
            }
            _ => world.state = "frozen",
        }
        world.change("okta", ada, json!({"active": false}), &[], &[]);
        world.run();
        assert_eq!(world.short(), ["team-a/view:bob"], "{state}");
    }
}

#[test]
fn a_new_username_leaves_no_gap() {
    let (mut world, [ada, ..], _) = world();
    world.run();
    world.change("okta", ada, json!({"userName": "lovelace"}), &[], &[]);
    let written = world.run();
    assert!(
        matches!(&written[..], [w] if matches!(&w.op, Op::Put { adds, removals, .. } if adds.len() == 1 && removals.len() == 1)),
        "one write does both: {written:?}"
    );
    assert_eq!(world.short(), ["team-a/view:bob", "team-a/view:lovelace"]);
}

#[test]
fn a_changed_role_leaves_no_gap() {
    let (mut world, ..) = world();
    world.run();
    world.grant("edit");
    let view = key_of(&world.mapping, "view", "team-a");
    assert_eq!(world.gated(&view).op, Op::Wait, "edit does not stand yet");
    assert!(world.plan(&view).removals.iter().all(|r| r.replacement
        == Replacement::Elsewhere {
            pending: true,
            stands: false
        }));
    world.patient = false;
    assert!(
        matches!(world.gated(&view).op, Op::Delete { .. }),
        "after 10 s it goes all the same"
    );
    world.patient = true;
    let mut least = usize::MAX;
    let written = world.settle_with(|w| least = least.min(w.access().len()));
    assert_eq!(written.len(), 2);
    assert!(
        matches!(written[0].op, Op::Create { .. }) && matches!(written[1].op, Op::Delete { .. }),
        "{written:?}"
    );
    assert_eq!(least, 2, "everybody held something all the time");
    assert_eq!(world.short(), ["team-a/edit:ada", "team-a/edit:bob"]);
}

#[test]
fn a_disabled_person_does_not_wait_for_a_replacement() {
    let (mut world, [ada, ..], _) = world();
    world.run();
    world.grant("edit");
    world.change("okta", ada, json!({"active": false}), &[], &[]);
    world.evaluate();
    let written = world.settle();
    assert!(
        matches!(&written[0].op, Op::Put { subjects, removals, adds, .. } if adds.is_empty() && removals.len() == 1 && subjects == &[SubjectRef::user("oidc:bob")]),
        "{written:?}"
    );
}

#[test]
fn a_name_that_becomes_another_persons_is_granted_anew() {
    let (mut world, [ada, _, cy], group) = world();
    world.change("okta", group, json!({}), &[cy], &[]);
    world.run();
    world.delete("okta", ada);
    world.change("okta", cy, json!({"userName": "ada"}), &[], &[]);
    world.evaluate();
    let plan = world.plan(&key_of(&world.mapping, "view", "team-a"));
    let ada: Vec<_> = plan.removals.iter().filter(|r| r.subject.name == "oidc:ada").collect();
    assert_eq!((ada.len(), ada[0].class), (1, Class::Said));
    let written = world.settle();
    assert!(
        matches!(&written[0].op, Op::Put { adds, subjects, .. } if adds.is_empty() && !subjects.contains(&SubjectRef::user("oidc:ada"))),
        "{written:?}"
    );
    assert_eq!(world.short(), ["team-a/view:ada", "team-a/view:bob"]);
    let id = &written[0].id;
    assert_eq!(world.ledger.grantee(id, "oidc:ada").map(|g| g.n), Some(cy));
    assert_eq!(world.recorded(), world.access());
}

#[test]
fn what_somebody_else_does_to_a_binding_is_put_right() {
    let (mut world, ..) = world();
    world.run();
    world.tamper(|o| std::sync::Arc::make_mut(&mut o.subjects).push(SubjectRef::user("oidc:eve")));
    assert_eq!(going(&world, "view"), [("oidc:eve".to_owned(), Class::Foreign, "Foreign")]);
    world.settle();
    assert_eq!(world.short(), ["team-a/view:ada", "team-a/view:bob"]);

    for kind in ["Group", "ServiceAccount"] {
        world.tamper(|o| {
            std::sync::Arc::make_mut(&mut o.subjects).push(SubjectRef {
                kind: kind.to_owned(),
                name: "oidc:ada".to_owned(),
                namespace: None,
            });
        });
        world.settle();
        assert_eq!(world.access().len(), 2, "a {kind} of that name is not the user");
        assert!(world.cluster.values().all(|o| o.subjects.iter().all(|s| s.kind == "User")));
    }

    world.tamper(|o| std::sync::Arc::make_mut(&mut o.subjects).clear());
    let written = world.settle();
    assert!(
        matches!(&written[..], [w] if matches!(&w.op, Op::Put { adds, .. } if adds.iter().all(|a| a.why.cause == Cause::Restored))),
        "{written:?}"
    );
    assert_eq!(world.access().len(), 2);

    world.cluster.clear();
    let written = world.settle();
    assert!(matches!(&written[..], [w] if matches!(w.op, Op::Create { .. })));
    assert_eq!(world.recorded(), world.access());

    for label in [labels::SHARD, labels::OWNER] {
        world.tamper(|o| {
            std::sync::Arc::make_mut(&mut o.labels).insert(label.to_owned(), "0".to_owned());
        });
        let written = world.settle();
        assert!(
            matches!(&written[..], [w] if matches!(&w.op, Op::Put { adds, removals, .. } if adds.is_empty() && removals.is_empty())),
            "{written:?}"
        );
        assert_ne!(world.cluster.values().next().expect("the binding").labels[label], "0");
    }
    world.tamper(|o| o.tampered = true);
    assert_eq!(world.settle().len(), 1, "owners and finalizers are taken off");
    world.at_rest();
}

#[test]
fn what_was_removed_and_not_recorded_is_recorded() {
    let (mut world, [ada, ..], group) = world();
    world.run();
    // the write was done, the record is missing
    world.change("okta", group, json!({}), &[], &[ada]);
    world.evaluate();
    world.tamper(|o| std::sync::Arc::make_mut(&mut o.subjects).retain(|s| s.name != "oidc:ada"));
    let plan = world.plan(&key_of(&world.mapping, "view", "team-a"));
    assert_eq!(plan.records.iter().map(|r| r.why.label()).collect::<Vec<_>>(), ["LeftGroups"]);
    assert!(plan.removals.is_empty() && plan.adds.is_empty());
    assert_eq!(world.settle(), Vec::new());
    assert_eq!(world.recorded(), world.access());

    // the whole binding is gone, and nobody is to hold it
    world.delete("okta", group);
    world.evaluate();
    world.cluster.clear();
    world.settle();
    assert_eq!(world.recorded().len(), 0);
}

#[test]
fn what_the_ledger_lost_is_recorded_again_without_taking_it_away() {
    let (mut world, ..) = world();
    world.run();
    world.ledger = Default::default();
    let mut least = usize::MAX;
    let written = world.settle_with(|w| least = least.min(w.access().len()));
    assert!(
        matches!(&written[..], [w] if matches!(&w.op, Op::Put { adds, removals, .. } if adds.len() == 2 && removals.is_empty())),
        "{written:?}"
    );
    assert_eq!(least, 2);
    assert_eq!(world.recorded(), world.access());
}

#[test]
fn what_is_not_ours_is_left_alone() {
    let (mut world, ..) = world();
    let key = key_of(&world.mapping, "view", "team-a");
    world.foreign(&key);
    world.evaluate();
    let plan = world.plan(&key);
    assert_eq!(plan.conflict.as_ref().map(|c| c.reason), Some("ForeignBinding"));
    assert!(plan.conflict.as_ref().is_some_and(|c| c.message.contains("delete it")));
    assert_eq!(world.settle(), Vec::new());
    assert_eq!(world.short(), ["team-a/view:eve"]);

    // ours, but of another journal, class or role
    let (mut world, ..) = self::world();
    world.run();
    for (label, value) in [
        (labels::JOURNAL, "j2"),
        (labels::JOURNAL, ""),
        (labels::CLASS, "other"),
        (labels::MANAGED_BY, "Helm"),
    ] {
        let mut other = self::world().0;
        other.run();
        other.tamper(|o| {
            std::sync::Arc::make_mut(&mut o.labels).insert(label.to_owned(), value.to_owned());
            std::sync::Arc::make_mut(&mut o.subjects).push(SubjectRef::user("oidc:eve"));
        });
        assert_eq!(other.settle(), Vec::new(), "{label}={value}");
    }
    // a predecessor's is ours
    world.installation = crate::access::names::Installation {
        class: String::new(),
        journal: "j2".to_owned(),
        predecessors: vec!["j1".to_owned()],
    };
    world.tamper(|o| std::sync::Arc::make_mut(&mut o.subjects).push(SubjectRef::user("oidc:eve")));
    assert_eq!(world.settle().len(), 1);
    assert_eq!(world.access().len(), 2);
}

#[test]
fn a_binding_that_is_being_deleted_is_emptied_and_not_filled() {
    let (mut world, [ada, bob, cy], group) = world();
    world.run();
    world.tamper(|o| o.deleting = true);
    world.change("okta", group, json!({}), &[cy], &[]);
    world.evaluate();
    assert_eq!(world.settle(), Vec::new(), "it grows no more");
    world.change("okta", group, json!({}), &[], &[ada, bob, cy]);
    let written = world.run();
    assert!(
        matches!(&written[..], [w] if matches!(&w.op, Op::Put { subjects, .. } if subjects.is_empty())),
        "a DELETE would not end it: {written:?}"
    );
    assert_eq!(world.access().len(), 0);
}

#[test]
fn an_empty_binding_goes() {
    let (mut world, [ada, bob, _], group) = world();
    world.run();
    world.change("okta", group, json!({}), &[], &[ada, bob]);
    world.evaluate();
    world.tamper(|o| std::sync::Arc::make_mut(&mut o.subjects).clear());
    let written = world.settle();
    assert!(
        matches!(&written[..], [w] if matches!(&w.op, Op::Delete { removals, .. } if removals.is_empty())),
        "{written:?}"
    );
}

#[test]
fn a_refused_shrink_becomes_a_deletion_and_the_rest_comes_back() {
    let (mut world, [ada, ..], group) = world();
    world.run();
    world.change("okta", group, json!({}), &[], &[ada]);
    world.evaluate();
    let key = key_of(&world.mapping, "view", "team-a");
    let plan = world.plan(&key);
    let op = world.gated(&key).op;
    let instead = deletion_instead(&op, &plan).expect("a shrinking PUT");
    let Op::Delete { removals, .. } = &instead else {
        panic!("a DELETE")
    };
    assert_eq!(
        removals.iter().map(|r| r.why.label()).collect::<Vec<_>>(),
        ["LeftGroups", "Rewritten"]
    );
    let id = crate::access::ledger::BindingId::of(&key, "");
    world.access_index += 1;
    world.execute(&key, &id, &instead);
    assert_eq!(world.access().len(), 0);
    assert_eq!(world.recorded(), world.access());
    world.settle();
    assert_eq!(world.short(), ["team-a/view:bob"]);
    assert_eq!(deletion_instead(&Op::Nothing, &plan), None);
}

#[test]
fn in_a_namespace_that_is_gone_everything_is_recorded_as_gone() {
    let (mut world, ..) = world();
    world.run();
    world.namespaces.remove("team-a");
    world.cluster.clear();
    let plan = world.plan(&key_of(&world.mapping, "view", "team-a"));
    assert_eq!(
        plan.records.iter().map(|r| r.why.label()).collect::<Vec<_>>(),
        ["NamespaceGone", "NamespaceGone"]
    );
    assert_eq!(world.settle(), Vec::new());
    assert_eq!(world.recorded().len(), 0);
}
