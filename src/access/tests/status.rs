use std::collections::BTreeSet;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use serde_json::{Value, json};

use super::status_source::source;
use super::world::{World, cluster_role_mapping};
use crate::access::desired::Live;
use crate::access::gate::Hold;
use crate::access::ledger::Tally;
use crate::access::policy::Refusal;
use crate::access::status::{Failure, Held, MappingReport, mapping_status};
use crate::api::conditions;
use crate::api::mapping::{MappingStatus, Mode};
use crate::api::source::ScimSourceStatus;

pub fn now() -> Time {
    Time(Timestamp::from_second(1_800_000_000).expect("a time"))
}

pub fn world() -> World {
    let grant = |role: &str| json!({"roleRef": {"kind": "ClusterRole", "name": role}, "namespaces": {"names": ["team-a", "team-b"]}});
    let mut world = World::new(cluster_role_mapping(
        "teams",
        json!({"sources": ["okta"], "groups": {"names": ["devs", "ops", "x", "y", "z"]}, "grants": [grant("view"), grant("edit")]}),
    ));
    let users: Vec<u32> = (0..3).map(|i| world.user("okta", &format!("person{i}@corp.example"))).collect();
    world.group_with("okta", json!({"displayName": "ops", "externalId": "x-1"}));
    world.group("okta", "devs", &users);
    world.run();
    world
}

#[test]
fn what_waits_for_an_approval_says_how_to_give_it_and_fails_nobodys_upgrade() {
    let waiting = Tally {
        groups: 0,
        removals: 12,
        newest: 4711,
    };
    let of_mapping = status(&world(), |report| {
        let held = Held {
            adds: 0,
            removals: 12,
            holds: [Hold::Budget].into(),
        };
        (report.held, report.waiting) = (Box::leak(Box::new(held)), waiting);
    });
    assert_eq!(shown(&of_mapping.conditions), ["Ready=True/Succeeded", "Held=True/BudgetExceeded"]);
    assert_eq!((of_mapping.held_removals, of_mapping.held_index), (12, Some(4711)));
    let world = world();
    let of_source = source(&world, &ScimSourceStatus::default(), |report| {
        (report.waiting, report.mass) = (waiting, Some(30))
    });
    assert_eq!((of_source.held_removals, of_source.held_index), (12, Some(4711)));
    let told = shown(&of_source.conditions);
    assert_eq!(
        told,
        [
            "Ready=True/Succeeded",
            "Held=True/BudgetExceeded",
            "MassDeprovision=True/ManyPeople"
        ]
    );
    for conditions in [&of_mapping.conditions, &of_source.conditions] {
        let message = &conditions[1].message;
        assert!(
            message.contains("rolecall.dev/approve: \"4711\"") && message.contains("12 removals"),
            "{message}"
        );
    }
    assert_eq!(status(&world, |_| {}).held_index, None);
    assert_eq!(of_source.last_handled_reconcile_at, of_mapping.last_handled_reconcile_at);
    assert_eq!(of_source.last_handled_reconcile_at.as_deref(), Some("2026-11-26T10:00:00Z"));
}

type Change = Box<dyn Fn(&mut MappingReport<'_>)>;

/// The status for the world's mapping, with something changed in the report.
fn status(world: &World, change: impl FnOnce(&mut MappingReport<'_>)) -> MappingStatus {
    let (targets, cells) = world.now();
    let (held, holds) = (Held::default(), BTreeSet::new());
    let mut report = MappingReport {
        generation: 4,
        suspend: false,
        mode: Mode::Enforce,
        live: Ok(Live {
            mapping: &world.mapping,
            usable: &world.mapping.sources,
            selected: &world.selected,
            cells: &cells,
            targets: &targets,
        }),
        directory: &world.directory,
        source_refusals: &[],
        missing_sources: &[],
        stalled_sources: &[],
        refused_people: 0,
        held: &held,
        waiting: Tally::default(),
        requested: Some("2026-11-26T10:00:00Z"),
        holds: &holds,
        failures: &[],
        pending: 0,
        bindings: 4,
        namespaces: &world.namespaces,
        changed_roles: &[],
        last_change: Some(Timestamp::from_millisecond(1_700_000_000_789).expect("a time")),
    };
    change(&mut report);
    mapping_status(&report, &MappingStatus::default(), &now())
}

pub fn shown(conditions: &[Condition]) -> Vec<String> {
    assert_eq!(conditions::check(conditions, 4), Vec::<String>::new(), "{conditions:?}");
    conditions
        .iter()
        .map(|c| format!("{}={}/{}", c.type_, c.status, c.reason))
        .collect()
}

pub fn leak<T>(value: T) -> &'static T {
    Box::leak(Box::new(value))
}

#[test]
fn a_mapping_that_is_applied() {
    let world = world();
    let status = status(&world, |_| {});
    assert_eq!(shown(&status.conditions), ["Ready=True/Succeeded"]);
    assert_eq!(
        status.summary,
        "view, edit in 2 namespaces, 3 people, 3 groups unmatched, 1 group empty"
    );
    assert_eq!(
        (status.people, status.namespaces, status.bindings, status.unmatched_groups),
        (3, 2, 4, 3)
    );
    assert_eq!((status.mode.as_str(), status.observed_generation), ("Enforce", 4));
    assert_eq!(status.last_change_time.as_deref(), Some("2023-11-14T22:13:20Z"));
    let groups: Vec<_> = status
        .groups
        .iter()
        .map(|g| (g.display_name.as_str(), g.external_id.as_deref(), g.members))
        .collect();
    assert_eq!(groups, [("ops", Some("x-1"), 0), ("devs", None, 3)]);
    let text = serde_json::to_string(&status).expect("JSON");
    assert!(!text.contains("person"), "no person's data: {text}");
}

pub fn refusal(reason: &'static str) -> Refusal {
    Refusal::new(reason, "what is wrong")
}

fn failure(reason: &'static str, human: bool) -> Failure {
    Failure {
        refusal: refusal(reason),
        human,
    }
}

fn held(adds: usize, removals: usize, hold: Hold) -> Held {
    Held {
        adds,
        removals,
        holds: BTreeSet::from([hold]),
    }
}

#[test]
fn conditions_by_the_contract() {
    let cases: Vec<(&str, Change, &[&str])> = vec![
        (
            "invalid",
            Box::new(move |r| r.live = Err(leak(refusal("InvalidFilter")))),
            &["Ready=False/InvalidFilter", "Stalled=True/InvalidFilter"],
        ),
        (
            "source not allowed",
            Box::new(move |r| r.source_refusals = leak([refusal("SourceNotAllowed")])),
            &["Ready=False/SourceNotAllowed", "Stalled=True/SourceNotAllowed"],
        ),
        (
            "source missing",
            Box::new(|r| r.missing_sources = leak(["okta".to_owned()])),
            &["Ready=False/DependencyNotReady", "Reconciling=True/ProgressingWithRetry"],
        ),
        (
            "source stalled",
            Box::new(|r| r.stalled_sources = leak(["okta".to_owned()])),
            &["Ready=False/DependencyNotReady", "Reconciling=True/ProgressingWithRetry"],
        ),
        (
            "a human has to act",
            Box::new(move |r| r.failures = leak([failure("Timeout", false), failure("ForeignBinding", true)])),
            &["Ready=False/ForeignBinding", "Stalled=True/ForeignBinding"],
        ),
        (
            "tried again",
            Box::new(move |r| r.failures = leak([failure("Timeout", false)])),
            &["Ready=False/Timeout", "Reconciling=True/ProgressingWithRetry"],
        ),
        (
            "working",
            Box::new(|r| r.pending = 2),
            &["Ready=Unknown/Progressing", "Reconciling=True/Progressing"],
        ),
        (
            "suspended, and something waits",
            Box::new(move |r| {
                r.suspend = true;
                r.held = leak(held(2, 1, Hold::MappingSuspended));
            }),
            &["Ready=True/Suspended", "Held=True/Suspended"],
        ),
        (
            "planned, and something waits",
            Box::new(move |r| {
                r.mode = Mode::Plan;
                r.held = leak(held(3, 0, Hold::Planned));
                r.holds = leak(BTreeSet::from([Hold::Planned]));
            }),
            &["Ready=True/Plan", "Held=True/Plan"],
        ),
        (
            "a source is suspended",
            Box::new(move |r| r.held = leak(held(1, 0, Hold::SourceSuspended))),
            &["Ready=True/Succeeded", "Held=True/SourceSuspended"],
        ),
        (
            "no policy",
            Box::new(move |r| {
                r.held = leak(held(1, 0, Hold::PolicyMissing));
                r.holds = leak(BTreeSet::from([Hold::PolicyMissing]));
            }),
            &[
                "Ready=False/PolicyMissing",
                "Reconciling=True/ProgressingWithRetry",
                "Held=True/PolicyMissing",
                "Degraded=True/PolicyMissing",
            ],
        ),
        (
            "no policy, and nothing to do",
            Box::new(|r| r.holds = leak(BTreeSet::from([Hold::PolicyMissing]))),
            &["Ready=True/Succeeded", "Degraded=True/PolicyMissing"],
        ),
        (
            "usernames refused",
            Box::new(|r| r.refused_people = 2),
            &["Ready=True/Succeeded", "Degraded=True/UsernameNotAllowed"],
        ),
    ];
    let world = world();
    for (name, change, expected) in cases {
        let status = status(&world, |report| change(report));
        assert_eq!(shown(&status.conditions), expected, "{name}");
        assert!(status.conditions.iter().all(|c| !c.message.is_empty()), "{name}");
    }
}

#[test]
fn what_the_policy_refuses_is_told_with_what_it_allows() {
    let mut world = world();
    world.policy.as_mut().expect("a policy").cluster_roles = vec!["view".to_owned()];
    let status = status(&world, |_| {});
    assert_eq!(
        shown(&status.conditions),
        ["Ready=False/RoleNotAllowed", "Stalled=True/RoleNotAllowed"]
    );
    assert_eq!(
        status.conditions[0].message,
        "\"edit\" is not in accessPolicy.clusterRoles (Helm value); allowed: view"
    );
    assert!(
        status.summary.starts_with("view in 2 namespaces"),
        "what is allowed is granted all the same: {}",
        status.summary
    );
}

#[test]
fn several_groups_of_one_name_are_told() {
    let mut world = world();
    world.group("okta", "devs", &[]);
    world.run();
    let status = status(&world, |_| {});
    assert_eq!(
        shown(&status.conditions),
        ["Ready=True/Succeeded", "AmbiguousGroup=True/SeveralGroups"]
    );
    assert!(status.conditions[1].message.contains("devs"));
}

#[test]
fn the_same_report_gives_the_same_status() {
    let world = world();
    let first = status(&world, |_| {});
    let later = Time(Timestamp::from_second(1_900_000_000).expect("a time"));
    let again = {
        let (targets, cells) = world.now();
        let live = Live {
            mapping: &world.mapping,
            usable: &world.mapping.sources,
            selected: &world.selected,
            cells: &cells,
            targets: &targets,
        };
        let report = MappingReport {
            generation: 4,
            suspend: false,
            mode: Mode::Enforce,
            live: Ok(live),
            directory: &world.directory,
            source_refusals: &[],
            missing_sources: &[],
            stalled_sources: &[],
            refused_people: 0,
            held: &Held::default(),
            waiting: Tally::default(),
            requested: Some("2026-11-26T10:00:00Z"),
            holds: &BTreeSet::new(),
            failures: &[],
            pending: 0,
            bindings: 4,
            namespaces: &world.namespaces,
            changed_roles: &[],
            last_change: Some(Timestamp::from_millisecond(1_700_000_000_999).expect("a time")),
        };
        mapping_status(&report, &first, &later)
    };
    assert_eq!(first, again, "an unchanged status is never written");
}

#[test]
fn summaries() {
    let mut world = world();
    for (change, expected) in [
        (
            json!(null),
            "view, edit in 2 namespaces, 3 people, 3 groups unmatched, 1 group empty",
        ),
        (
            json!({"names": ["team-a", "nowhere"]}),
            "view in namespace team-a, 3 people, 3 groups unmatched, 1 group empty, 1 namespace missing",
        ),
        (
            json!({"selector": {"matchLabels": {"x": "y"}}}),
            "nothing granted, 3 people, 3 groups unmatched, 1 group empty, a selector selects no namespace",
        ),
    ] {
        if change != Value::Null {
            world.mapping = cluster_role_mapping(
                "teams",
                json!({"sources": ["okta"], "groups": {"names": ["devs", "ops", "x", "y", "z"]}, "grants": [{"roleRef": {"kind": "ClusterRole", "name": "view"}, "namespaces": change}]}),
            );
        }
        assert_eq!(status(&world, |_| {}).summary, expected);
    }
    let refusal = Refusal::new("InvalidFilter", "x");
    assert_eq!(
        status(&world, |r| r.live = Err(leak(refusal))).summary,
        "not applied: InvalidFilter"
    );
}
