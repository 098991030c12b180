use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::json;

use super::world::{id, mapping_key};
use crate::access::key::MappingKey;
use crate::access::ledger::{Action, BindingId, Event, Grantee, Ledger, On, Outcome, Reason, reasons};
use crate::access::shard::{Prefix, SubjectKind};
use crate::access::why::{Cause, Event as Said, GroupRef, Why};
use crate::api::mapping::{RoleKind, RoleRef};

fn grantee(name: &str) -> Grantee {
    Grantee {
        kind: SubjectKind::User,
        username: name.into(),
        source: "okta".to_owned(),
        user: id(7),
        n: 7,
        via: 9,
    }
}

fn binding(name: &str) -> BindingId {
    BindingId {
        namespace: "team-a".to_owned(),
        name: name.to_owned(),
    }
}

fn role() -> RoleRef {
    RoleRef {
        kind: RoleKind::ClusterRole,
        name: "view".to_owned(),
    }
}

fn intent(op: u32, name: &str, people: &[&str]) -> Event {
    Event::Intent {
        op,
        binding: binding(name),
        owner: mapping_key(),
        role: role(),
        shard: Prefix::ALL,
        action: Action::Create,
        adds: people.iter().map(|p| grantee(p)).collect(),
        why: Vec::new(),
    }
}

fn removed(name: &str, people: &[&str], whole: bool) -> Event {
    Event::Removed {
        binding: binding(name),
        usernames: people.iter().map(ToString::to_string).collect(),
        whole,
        why: Vec::new(),
        spent: Vec::new(),
    }
}

fn outcome(index: i64, op: u32, result: Outcome) -> Event {
    Event::Outcome {
        intent: (index, op),
        result,
    }
}

fn done() -> Outcome {
    Outcome::Done { uid: "b1".to_owned() }
}

fn fold(events: &[(i64, Event)]) -> Ledger {
    let mut ledger = Ledger::default();
    for (index, event) in events {
        ledger.apply(*index, Timestamp::from_second(*index).expect("a time"), event);
    }
    ledger
}

fn held(ledger: &Ledger, name: &str) -> Vec<String> {
    let binding = ledger.binding(&binding(name));
    binding
        .into_iter()
        .flat_map(|b| b.subjects.keys())
        .map(ToString::to_string)
        .collect()
}

#[test]
fn intents_outcomes_and_removals() {
    let ledger = fold(&[(1, intent(0, "b", &["ada", "bob"]))]);
    assert_eq!(held(&ledger, "b"), Vec::<String>::new(), "an intent is no grant");
    assert!(
        ledger.grantee(&binding("b"), "ada").is_some(),
        "but it is known whose the name would be"
    );
    assert_eq!(ledger.open_intents().count(), 1);
    assert_eq!(ledger.of_owner(&mapping_key()).count(), 1);

    let ledger = fold(&[(1, intent(0, "b", &["ada", "bob"])), (2, outcome(1, 0, done()))]);
    assert_eq!(held(&ledger, "b"), ["ada", "bob"]);
    assert_eq!(
        ledger
            .binding(&binding("b"))
            .and_then(|b| b.uid.as_deref().map(str::to_owned))
            .as_deref(),
        Some("b1")
    );
    assert_eq!((ledger.open_intents().count(), ledger.counts().granted), (0, 2));
    assert_eq!(ledger.last_change(&mapping_key()).map(|t| t.as_second()), Some(2));

    for result in [Outcome::Void, Outcome::Refused { reason: "no".to_owned() }] {
        let ledger = fold(&[(1, intent(0, "b", &["ada"])), (2, outcome(1, 0, result))]);
        assert_eq!(
            (held(&ledger, "b").len(), ledger.owners().count(), ledger.open_intents().count()),
            (0, 0, 0)
        );
    }

    let events = [
        (1, intent(0, "b", &["ada", "bob"])),
        (2, outcome(1, 0, done())),
        (3, removed("b", &["ada"], false)),
    ];
    let ledger = fold(&events);
    assert_eq!((held(&ledger, "b"), ledger.counts().removed), (vec!["bob".to_owned()], 1));

    for end in [removed("b", &["ada", "bob"], false), removed("b", &[], true)] {
        let mut events = events.to_vec();
        events.push((4, end));
        let ledger = fold(&events);
        assert!(ledger.binding(&binding("b")).is_none());
        assert_eq!((ledger.owners().count(), ledger.counts().removed), (0, 2));
    }
}

#[test]
fn a_binding_with_an_open_intent_is_not_forgotten() {
    let ledger = fold(&[
        (1, intent(0, "b", &["ada"])),
        (2, outcome(1, 0, done())),
        (3, intent(0, "b", &["bob"])),
        (3, removed("b", &["ada"], true)),
    ]);
    assert!(ledger.key(&binding("b")).is_some());
    assert_eq!(ledger.of_owner(&mapping_key()).count(), 1);
    assert_eq!(ledger.open_intents_of(&binding("b")).count(), 1);
}

#[test]
fn what_is_in_a_namespace_is_found_without_looking_at_the_others() {
    let elsewhere = |namespace: &str, mut event: Event| {
        if let Event::Intent { binding, .. } = &mut event {
            binding.namespace = namespace.to_owned();
        }
        event
    };
    let ledger = fold(&[
        (1, intent(0, "b", &["ada"])),
        (1, intent(1, "c", &["ada"])),
        (1, elsewhere("team", intent(2, "z", &["ada"]))),
        (1, elsewhere("team-a2", intent(3, "a", &["ada"]))),
        (2, outcome(1, 0, done())),
        (2, outcome(1, 2, done())),
        (2, outcome(1, 3, done())),
    ]);
    for (namespace, count) in [("team", 1), ("team-a", 2), ("team-a2", 1), ("team-b", 0), ("", 0)] {
        let found: Vec<_> = ledger.in_namespace(namespace).collect();
        assert_eq!(found.len(), count, "{namespace}");
        assert!(found.iter().all(|key| key.namespace == namespace));
    }
}

#[test]
fn an_open_intent_is_settled_by_looking() {
    use crate::access::binding::{Observed, SubjectRef};
    use crate::access::ledger::settled;
    let observed = |op: &str, people: &[&str]| Observed {
        uid: "b1".to_owned(),
        op: Some(op.to_owned()),
        subjects: people.iter().map(|p| SubjectRef::user(*p)).collect::<Vec<_>>().into(),
        ..Observed::default()
    };
    for (action, seen, expected) in [
        (Action::Create, None, None),
        (Action::Update, None, Some(Outcome::Void)),
        (Action::Create, Some(observed("1/0", &[])), Some(done())),
        (Action::Update, Some(observed("1/0", &["ada"])), Some(done())),
        (Action::Update, Some(observed("2/0", &["ada"])), Some(done())),
        (Action::Update, Some(observed("2/0", &["bob"])), Some(Outcome::Void)),
        (Action::Update, Some(observed("1/01", &[])), Some(Outcome::Void)),
    ] {
        let mut event = intent(0, "b", &["ada"]);
        if let Event::Intent { action: a, .. } = &mut event {
            *a = action;
        }
        let ledger = fold(&[(1, event)]);
        let (id, open) = ledger.open_intents().next().expect("an open intent");
        assert_eq!(settled(*id, open, seen.as_ref()), expected, "{action:?} {seen:?}");
    }
}

#[test]
fn what_makes_no_sense_changes_nothing() {
    let ledger = fold(&[
        (1, outcome(9, 9, done())),
        (2, removed("x", &["ada"], true)),
        (3, outcome(9, 9, Outcome::Void)),
    ]);
    assert_eq!(ledger, Ledger::default());
}

#[test]
fn mappings_sources_and_terms() {
    let seen = |uid: &str| Event::MappingSeen {
        key: mapping_key(),
        uid: uid.to_owned(),
        crd: "c1".to_owned(),
    };
    let source = Event::SourceSeen {
        name: "okta".to_owned(),
        uid: "s1".to_owned(),
        crd: "c2".to_owned(),
    };
    let began = Event::Began { term: "me/3".to_owned() };
    let ledger = fold(&[(1, began), (1, seen("u1")), (2, seen("u2")), (3, source)]);
    assert_eq!(ledger.mapping(&mapping_key()).map(|s| s.uid.as_str()), Some("u2"));
    assert_eq!((ledger.source("okta").map(|s| s.crd.as_str()), ledger.term()), (Some("c2"), "me/3"));
    let mut ended = ledger.clone();
    ended.apply(
        4,
        Timestamp::UNIX_EPOCH,
        &Event::MappingEnded {
            key: mapping_key(),
            why: "deleted".to_owned(),
        },
    );
    ended.apply(4, Timestamp::UNIX_EPOCH, &Event::SourceEnded { name: "okta".to_owned() });
    assert_eq!((ended.mappings().count(), ended.sources().count()), (0, 0));
    assert_eq!(ledger.mappings().count(), 1, "a snapshot stays as it was");
}

#[test]
fn records_read_as_they_are_written() {
    let event = Event::Intent {
        op: 3,
        binding: binding("rolecall-1"),
        owner: MappingKey::cluster_role_mapping("teams"),
        role: role(),
        shard: "01".parse().expect("a shard"),
        action: Action::Update,
        adds: vec![grantee("oidc:ada")],
        why: vec![Reason {
            why: why(),
            usernames: vec!["oidc:ada".to_owned()],
        }],
    };
    let text = serde_json::to_value(&event).expect("JSON");
    assert_eq!(
        text,
        json!({
            "e": "intent", "op": 3, "binding": {"namespace": "team-a", "name": "rolecall-1"}, "owner": "ClusterRoleMapping/teams",
            "role": {"kind": "ClusterRole", "name": "view"}, "shard": "01", "action": "Update",
            "adds": [{"username": "oidc:ada", "source": "okta", "user": id(7), "n": 7, "via": 9}],
            "why": [{"usernames": ["oidc:ada"], "why": {"mapping": "RoleMapping/team-a/devs", "generation": 2, "source": "okta",
                "group": {"id": id(9), "name": "devs"}, "cause": {"c": "member", "index": 4711, "request": "abc"}}}],
        })
    );
    for wrong in [
        json!({"e": "intended"}),
        json!({"e": "began"}),
        json!({"e": "began", "term": "x", "more": 1}),
        json!({"e": "mappingEnded", "key": "Mapping/x", "why": ""}),
        json!({"e": "outcome", "intent": [1, 2], "result": {"done": {"uid": "x", "more": 1}}}),
    ] {
        assert!(serde_json::from_value::<Event>(wrong.clone()).is_err(), "{wrong}");
    }
}

#[test]
fn one_reason_is_written_once() {
    let other = Why { generation: 3, ..why() };
    let (a, b) = (why(), other.clone());
    let all = [("z", &a), ("a", &a), ("m", &b), ("a", &a)];
    let found = reasons(all);
    assert_eq!(found.len(), 2);
    assert_eq!(
        found.iter().find(|r| r.why == a).map(|r| r.usernames.join(",")).as_deref(),
        Some("a,z")
    );
}

fn why() -> Why {
    Why {
        mapping: mapping_key(),
        generation: 2,
        source: "okta".to_owned(),
        group: Some(GroupRef {
            id: id(9),
            name: "devs".to_owned(),
        }),
        cause: Cause::Member(Said {
            index: 4711,
            request: "abc".to_owned(),
        }),
    }
}

#[test]
fn a_reason_reads_well() {
    let group = format!("group \"devs\" ({}) of source okta", id(9));
    let plain = Why {
        group: None,
        source: String::new(),
        generation: 0,
        cause: Cause::MappingEnded,
        ..why()
    };
    for (why, expected) in [
        (
            why(),
            format!("is an active member (directory 4711, request abc); {group}; by RoleMapping/team-a/devs, generation 2"),
        ),
        (
            Why {
                cause: Cause::Deleted(Said::default()),
                ..why()
            },
            format!("deleted by the provider; {group}; by RoleMapping/team-a/devs, generation 2"),
        ),
        (plain.clone(), "the mapping was deleted; by RoleMapping/team-a/devs".to_owned()),
        (
            Why {
                source: "okta".to_owned(),
                cause: Cause::SourceEnded,
                ..plain
            },
            "the source was deleted; source okta; by RoleMapping/team-a/devs".to_owned(),
        ),
    ] {
        assert_eq!(why.to_string(), expected);
    }
}

fn any_cause() -> impl Strategy<Value = Cause> {
    let said = (any::<i64>(), ".{0,12}").prop_map(|(index, request)| Said { index, request });
    prop_oneof![
        said.clone().prop_map(Cause::Member),
        said.clone().prop_map(Cause::Disabled),
        said.clone().prop_map(Cause::Deleted),
        said.clone().prop_map(Cause::LeftGroups),
        said.clone().prop_map(Cause::Renamed),
        said.prop_map(Cause::NoUsername),
        Just(Cause::Restored),
        Just(Cause::OtherPerson),
        Just(Cause::Moved),
        Just(Cause::NotGranted),
        Just(Cause::NotAllowed),
        Just(Cause::SourceNotUsed),
        Just(Cause::NamespaceGone),
        Just(Cause::Vanished),
        Just(Cause::MappingEnded),
        Just(Cause::SourceEnded),
        Just(Cause::Foreign),
        Just(Cause::Rewritten),
    ]
}

fn any_reasons() -> impl Strategy<Value = Vec<Reason>> {
    let why = (any_cause(), any::<i64>(), ".{0,8}", proptest::option::of(".{0,8}")).prop_map(|(cause, generation, source, group)| Why {
        mapping: mapping_key(),
        generation,
        source,
        group: group.map(|name| GroupRef { id: id(1), name }),
        cause,
    });
    proptest::collection::vec(
        (why, proptest::collection::vec(".{0,8}", 0..3)).prop_map(|(why, usernames)| Reason { why, usernames }),
        0..3,
    )
}

fn any_event() -> impl Strategy<Value = Event> {
    let key = prop_oneof![
        ("[a-z-]{1,9}", "[a-z-]{1,9}").prop_map(|(ns, name)| MappingKey::role_mapping(ns, name)),
        "[a-z-]{1,9}".prop_map(MappingKey::cluster_role_mapping),
    ];
    let names = || proptest::collection::vec(".{0,9}", 0..3);
    let place = ("[a-z]{1,5}", "[a-z]{1,5}").prop_map(|(namespace, name)| BindingId { namespace, name });
    let grantees = proptest::collection::vec(
        (".{0,20}", ".{0,8}", any::<u32>(), any::<u32>()).prop_map(|(username, source, n, via)| Grantee {
            kind: if n % 2 == 0 { SubjectKind::User } else { SubjectKind::Group },
            username: username.into(),
            source,
            user: id(u64::from(n)),
            n,
            via,
        }),
        0..4,
    );
    let shard = prop_oneof![Just("all".to_owned()), "[01]{1,40}"].prop_map(|text| text.parse::<Prefix>().expect("a shard"));
    let result = prop_oneof![
        ".{0,8}".prop_map(|uid| Outcome::Done { uid }),
        ".{0,8}".prop_map(|reason| Outcome::Refused { reason }),
        Just(Outcome::Void),
    ];
    prop_oneof![
        ".{0,20}".prop_map(|term| Event::Began { term }),
        (key.clone(), ".{0,8}", ".{0,8}").prop_map(|(key, uid, crd)| Event::MappingSeen { key, uid, crd }),
        (key.clone(), ".{0,8}").prop_map(|(key, why)| Event::MappingEnded { key, why }),
        (".{0,8}", ".{0,8}", ".{0,8}").prop_map(|(name, uid, crd)| Event::SourceSeen { name, uid, crd }),
        ".{0,8}".prop_map(|name| Event::SourceEnded { name }),
        (
            any::<u32>(),
            place.clone(),
            key,
            ".{1,9}",
            shard,
            any::<bool>(),
            grantees,
            any_reasons()
        )
            .prop_map(|(op, binding, owner, role, shard, create, adds, why)| Event::Intent {
                op,
                binding,
                owner,
                role: RoleRef {
                    kind: RoleKind::Role,
                    name: role
                },
                shard,
                action: if create { Action::Create } else { Action::Update },
                adds,
                why,
            }),
        (any::<i64>(), any::<u32>(), result).prop_map(|(index, op, result)| Event::Outcome {
            intent: (index, op),
            result
        }),
        (place.clone(), names(), any::<bool>(), any_reasons(), names()).prop_map(|(binding, usernames, whole, why, spent)| {
            Event::Removed {
                binding,
                usernames,
                whole,
                why,
                spent,
            }
        }),
        (place.clone(), any_reasons()).prop_map(|(binding, why)| Event::Held { binding, why }),
        (place, names()).prop_map(|(binding, usernames)| Event::Freed { binding, usernames }),
        (any::<i64>(), ".{1,9}").prop_map(|(asked, name)| Event::Approved {
            on: On::Source(name),
            asked
        }),
        (any::<i64>(), "[a-z]{1,9}").prop_map(|(asked, name)| Event::Approved {
            on: On::Mapping(MappingKey::cluster_role_mapping(name)),
            asked
        }),
    ]
}

proptest! {
    #[test]
    fn every_record_comes_back(event in any_event()) {
        let text = serde_json::to_string(&event).expect("JSON");
        prop_assert_eq!(serde_json::from_str::<Event>(&text).expect(&text), event);
    }

    #[test]
    fn any_history_folds_and_its_indexes_agree(events in proptest::collection::vec((0..4_i64, prop_oneof![
        (0..3_u32, 0..3_usize, 0..4_usize).prop_map(|(op, b, p)| intent(op, ["x", "y", "z"][b], &["ada", "bob", "cy"][..p.min(3)])),
        (0..4_i64, 0..3_u32, any::<bool>()).prop_map(|(i, op, good)| outcome(i, op, if good { done() } else { Outcome::Void })),
        (0..3_usize, 0..4_usize, any::<bool>()).prop_map(|(b, p, whole)| removed(["x", "y", "z"][b], &["ada", "bob", "cy"][..p.min(3)], whole)),
    ]), 0..60)) {
        let ledger = fold(&events);
        let mut known: Vec<BindingId> = ledger.bindings().map(|(id, _)| id.clone()).collect();
        known.extend(ledger.open_intents().map(|(_, intent)| intent.binding.clone()));
        known.sort();
        known.dedup();
        let owned: Vec<BindingId> = ledger.of_owner(&mapping_key()).map(|(id, _)| id.clone()).collect();
        prop_assert_eq!(owned, known.clone());
        for id in known {
            let open = ledger.open_intents().filter(|(_, i)| i.binding == id).count();
            prop_assert_eq!(ledger.open_intents_of(&id).count(), open);
            prop_assert!(open > 0 || ledger.binding(&id).is_some_and(|b| !b.subjects.is_empty()));
        }
    }
}
