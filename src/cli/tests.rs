//! Reports of small worlds, as text and as values.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::read::{Installation, World};
use super::status::report;
use super::text::render;
use crate::access::ledger::Ledger;
use crate::access::targets::{NamespaceInfo, Namespaces};
use crate::directory::Directory;
use crate::journal::{Position, Snapshot, Stamp, State};

const ADA: &str = "11111111-1111-4111-8111-111111111111";
const BACKEND: &str = "22222222-2222-4222-8222-222222222222";
const OTHER: &str = "33333333-3333-4333-8333-333333333333";

fn fold<S: State>(mut state: S, events: Value) -> Snapshot<S> {
    let events: Vec<S::Event> = serde_json::from_value(events).expect("events");
    let time: Timestamp = "2026-11-24T12:00:00Z".parse().expect("a time");
    for (ordinal, event) in events.iter().enumerate() {
        let stamp = Stamp {
            index: 7,
            ordinal: u32::try_from(ordinal).expect("few"),
            time,
            writer: "test".into(),
        };
        state.apply(&stamp, event);
    }
    let position = Position {
        id: "an-id".into(),
        uid: "a-uid".into(),
        index: 7,
        head: "f".repeat(64).into(),
        loss: None,
    };
    let state = Arc::new(state);
    Snapshot { state, position, time }
}

fn directory() -> Snapshot<Directory> {
    let group = |n: u32, id: &str, name: &str, members: &[u32]| json!({"e": "created", "source": "okta", "kind": "group", "id": id, "n": n, "attributes": {"displayName": name}, "members": members});
    fold(
        Directory::default(),
        json!([
            {"e": "sourceSeen", "source": "okta", "uid": "s"},
            {"e": "created", "source": "okta", "kind": "user", "id": ADA, "n": 0, "attributes": {"userName": "ada@example.com"}},
            group(1, OTHER, "Aaa\u{1b}[31m", &[]),
            group(2, BACKEND, "Backend", &[0]),
        ]),
    )
}

fn ledger() -> Snapshot<Ledger> {
    let grantee = |name: &str, n: u32| json!({"username": name, "source": "okta", "user": ADA, "n": n, "via": 2});
    let intent = |op: u32, owner: &str, name: &str, adds: Value| {
        json!({"e": "intent", "op": op, "binding": {"namespace": "backend", "name": name}, "owner": owner,
            "role": {"kind": "ClusterRole", "name": "view"}, "shard": "all", "action": "Create", "adds": adds, "why": []})
    };
    let done = |op: u32| json!({"e": "outcome", "intent": [7, op], "result": {"done": {"uid": "b"}}});
    fold(
        Ledger::default(),
        json!([
            intent(
                0,
                "RoleMapping/backend/m",
                "rolecall-1",
                json!([grantee("oidc:ada@example.com", 0)])
            ),
            done(0),
            intent(
                1,
                "RoleMapping/backend/m",
                "rolecall-1",
                json!([grantee("oidc:grace@example.com", 3)])
            ),
            intent(
                2,
                "ClusterRoleMapping/old",
                "rolecall-2",
                json!([grantee("oidc:ada@example.com", 0)])
            ),
            done(2),
        ]),
    )
}

fn world(journals: bool) -> World {
    let group = json!({"source": "okta", "displayName": "Backend", "id": BACKEND, "members": 1});
    let ready = |message: &str| {
        json!([{"type": "Ready", "status": "True", "reason": "Succeeded", "message": message, "lastTransitionTime": "2026-11-24T12:00:00Z"},
            {"type": "Held", "status": "True", "reason": "Suspended", "message": "1 grant waits", "lastTransitionTime": "2026-11-24T12:00:00Z"}])
    };
    let source = json!({"apiVersion": "rolecall.dev/v1alpha1", "kind": "ScimSource", "metadata": {"name": "okta"},
        "spec": {"push": {"tokens": []}, "subject": {"username": "user.userName"}, "allowedNamespaces": {"selector": {}}},
        "status": {"url": "https://rolecall.example/scim/v2/okta", "mode": "Push", "users": 1, "activeUsers": 1, "groups": 2,
            "conditions": ready("serves"), "largestGroups": [group], "journal": {"id": "an-id", "uid": "a-uid", "index": 5}}});
    let mapping = json!({"apiVersion": "rolecall.dev/v1alpha1", "kind": "RoleMapping", "metadata": {"name": "m", "namespace": "backend"},
        "spec": {"sources": ["okta"], "groups": {"names": ["Backend", "Nobody"]}, "grants": [{"roleRef": {"kind": "ClusterRole", "name": "view"}}]},
        "status": {"summary": "view in 1 namespace, 1 person", "people": 1, "groups": [group]}});
    let installation = Installation {
        namespace: "rolecall".to_owned(),
        id: "an-id".to_owned(),
        directory: journals.then(directory),
        access: journals.then(ledger),
    };
    World {
        sources: vec![serde_json::from_value(source).expect("a source")],
        role_mappings: vec![serde_json::from_value(mapping).expect("a mapping")],
        complete: true,
        namespaces: Some(Namespaces::unit("backend".to_owned(), Arc::new(NamespaceInfo::default()))),
        installations: vec![installation],
        notes: if journals {
            Vec::new()
        } else {
            vec!["you may not read".to_owned()]
        },
        ..World::default()
    }
}

fn check(world: &World, expected: &str) {
    let now = "2026-11-24T12:05:00Z".parse().expect("a time");
    let text = render(&report(world), now);
    assert_eq!(text, expected, "\n{text}");
}

#[test]
fn with_the_journals_it_shows_people_and_every_group() {
    check(
        &world(true),
        "\
ScimSource/okta  Ready
  url      https://rolecall.example/scim/v2/okta
  holds    1 user (1 active), 2 groups; last change 5m ago
  Held  1 grant waits
  GROUP     EXTERNAL-ID  ID                                    MEMBERS  MAPPED BY
  Backend   -            22222222-2222-4222-8222-222222222222  1        RoleMapping/backend/m
  Aaa\u{fffd}[31m  -            33333333-3333-4333-8333-333333333333  0        -

RoleMapping/backend/m  not looked at yet
  view in 1 namespace, 1 person
  groups   Backend (okta, 1 member)
  missing  Nobody
  ROLE              NAMESPACE  PEOPLE
  ClusterRole/view  backend    oidc:ada@example.com; under way: oidc:grace@example.com

ClusterRoleMapping/old  the object is gone
  ROLE              NAMESPACE  PEOPLE
  ClusterRole/view  backend    oidc:ada@example.com

Journal rolecall/directory is at 7, written 5m ago.
Journal rolecall/access is at 7, written 5m ago.
",
    );
}

#[test]
fn without_the_journals_it_shows_the_statuses_and_says_so() {
    check(
        &world(false),
        "\
ScimSource/okta  Ready
  url      https://rolecall.example/scim/v2/okta
  holds    1 user (1 active), 2 groups; nothing pushed yet
  Held  1 grant waits
  GROUP    EXTERNAL-ID  ID                                    MEMBERS  MAPPED BY
  Backend  -            22222222-2222-4222-8222-222222222222  1        RoleMapping/backend/m
  and 1 group more

RoleMapping/backend/m  not looked at yet
  view in 1 namespace, 1 person
  groups   Backend (okta, 1 member)
  grants   to 1 person; the access journal cannot be read

Note: you may not read.
",
    );
}

#[test]
fn only_the_mappings_of_the_namespace_asked_for_are_shown() {
    let mut world = world(true);
    world.namespace = Some("other".to_owned());
    let keys: Vec<String> = report(&world).mappings.iter().map(|m| m.key.to_string()).collect();
    assert_eq!(keys, ["ClusterRoleMapping/old"]);
    // The group is mapped all the same.
    assert_eq!(report(&world).sources[0].groups[0].mapped_by, ["RoleMapping/backend/m"]);
    // Who may not list all mappings cannot know which are gone.
    world.complete = false;
    assert!(report(&world).mappings.is_empty());
}

#[test]
fn a_group_that_does_not_count_is_marked_and_mapped_by_nobody() {
    let mut world = world(true);
    world.sources[0].spec.known_groups = Some("displayName eq \"Nothing\"".to_owned());
    let report = report(&world);
    assert!(
        report.sources[0]
            .groups
            .iter()
            .all(|group| group.ignored && group.mapped_by.is_empty())
    );
    let mapping = report
        .mappings
        .iter()
        .find(|m| m.key.to_string() == "RoleMapping/backend/m")
        .expect("the mapping");
    assert!(mapping.groups.is_empty());
}

#[test]
fn json_holds_everything() {
    let report = serde_json::to_value(report(&world(true))).expect("JSON");
    assert_eq!(report["sources"][0]["groups"][0]["externalId"], Value::Null);
    assert_eq!(report["mappings"][0]["grants"][0]["people"], json!(["oidc:ada@example.com"]));
    assert_eq!(report["mappings"][0]["grants"][0]["underWay"], json!(["oidc:grace@example.com"]));
    assert_eq!(report["journals"][0]["head"], format!("an-id/7/{}", "f".repeat(64)));
}
