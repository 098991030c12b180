use serde_json::{Value, json};

use super::world::{World, cluster_role_mapping};
use crate::access::diff::Class;
use crate::access::mapping::Mapping;
use crate::access::targets::usable_sources;
use crate::api::mapping::ClusterRoleMapping;
use crate::api::source::ScimSourceSpec;

fn spec(subjects: &str) -> Value {
    json!({"sources": ["okta"], "subjects": subjects, "groups": {"filter": "displayName sw \"k8s-\""},
        "grants": [{"roleRef": {"kind": "ClusterRole", "name": "view"}, "namespaces": {"names": ["team-a"]}}]})
}

fn mapping(subjects: &str) -> Mapping {
    cluster_role_mapping("teams", spec(subjects))
}

/// Two groups of two people each, one of them in both.
fn world(subjects: &str) -> (World, [u32; 3], [u32; 2]) {
    let mut world = World::new(mapping(subjects));
    let users = ["ada", "bob", "cy"].map(|name| world.user("okta", name));
    let groups = [("k8s-a", &users[..2]), ("k8s-b", &users[1..])].map(|(name, members)| world.group("okta", name, members));
    world.run();
    (world, users, groups)
}

/// Whether each person may view: by name, or by a group that the login says.
fn may(world: &World) -> [bool; 3] {
    let held: Vec<(String, String)> = world
        .cluster
        .values()
        .flat_map(|o| o.subjects.iter().map(|s| (s.kind.clone(), s.name.clone())))
        .collect();
    let has = |kind: &str, name: &str| held.contains(&(kind.to_owned(), name.to_owned()));
    let by = |user: &str, groups: &[&str]| {
        has("User", &format!("oidc:{user}")) || groups.iter().any(|group| has("Group", &format!("okta:{group}")))
    };
    [by("ada", &["k8s-a"]), by("bob", &["k8s-a", "k8s-b"]), by("cy", &["k8s-b"])]
}

fn subjects(world: &World) -> Vec<String> {
    let mut all: Vec<String> = world
        .cluster
        .values()
        .flat_map(|o| o.subjects.iter().map(|s| format!("{} {}", s.kind, s.name)))
        .collect();
    all.sort();
    all
}

#[test]
fn people_groups_or_both() {
    let users = ["User oidc:ada", "User oidc:bob", "User oidc:cy"];
    let groups = ["Group okta:k8s-a", "Group okta:k8s-b"];
    assert_eq!(subjects(&world("User").0), users);
    assert_eq!(subjects(&world("Group").0), groups);
    let (both, ..) = world("Both");
    assert_eq!(subjects(&both), [&groups[..], &users[..]].concat());
    // a binding names the one kind or the other, so that no name can be taken for another's
    assert_eq!(both.cluster.len(), 2);
    both.at_rest();
}

#[test]
fn going_over_from_one_to_the_other_leaves_no_gap() {
    for path in [
        ["User", "Group"],
        ["Group", "User"],
        ["User", "Both"],
        ["Both", "Group"],
        ["Both", "User"],
        ["Group", "Both"],
    ] {
        let (mut world, ..) = world(path[0]);
        world.edit(mapping(path[1]));
        world.evaluated = -1;
        world.evaluate();
        world.settle_with(|w| assert_eq!(may(w), [true; 3], "{path:?}: {:?}", subjects(w)));
        let (expected, ..) = self::world(path[1]);
        assert_eq!(subjects(&world), subjects(&expected), "{path:?}");
        assert_eq!(world.recorded(), world.access());
        world.at_rest();
    }
}

#[test]
fn a_group_goes_when_it_is_not_mapped_any_more_and_that_counts() {
    type Change = fn(&mut World, u32);
    let cases: [(&str, Change, &str); 3] = [
        (
            "renamed out of the filter",
            |w, g| w.change("okta", g, json!({"displayName": "other"}), &[], &[]),
            "GroupNotMapped",
        ),
        ("deleted", |w, g| w.delete("okta", g), "GroupNotMapped"),
        ("the role", |w, _| w.grant("edit"), "NotGranted"),
    ];
    for (name, change, label) in cases {
        let (mut world, _, [group, _]) = world("Group");
        change(&mut world, group);
        world.evaluate();
        let gone: Vec<_> = world.keys().into_iter().flat_map(|key| world.plan(&key).removals).collect();
        assert!(
            gone.iter().all(|r| r.class != Class::Said && r.why.label() == label),
            "{name}: {gone:?}"
        );
        world.run();
        assert_eq!(
            subjects(&world).contains(&"Group okta:k8s-a".to_owned()),
            label == "NotGranted",
            "{name}"
        );
        assert_eq!(world.recorded(), world.access());
    }
    // one that is disabled is a person's affair: the group stays
    let (mut world, [ada, ..], [group, _]) = world("Group");
    world.change("okta", ada, json!({"active": false}), &[], &[]);
    world.change("okta", group, json!({"displayName": "k8s-new"}), &[], &[]);
    world.run();
    assert_eq!(
        subjects(&world),
        ["Group okta:k8s-b", "Group okta:k8s-new"],
        "its name in the cluster follows"
    );
}

#[test]
fn what_a_group_may_be_called_is_checked_as_a_username_is() {
    let mut world = World::new(mapping("Group"));
    for name in ["k8s-\u{1}", "k8s-ok", "k8s-"] {
        world.group("okta", name, &[]);
    }
    world.run();
    assert_eq!(subjects(&world), ["Group okta:k8s-", "Group okta:k8s-ok"]);
    let policy = world.policy.as_mut().expect("a policy");
    policy.group_prefixes = vec!["corp:".to_owned()];
    let refusal = policy.group("okta:k8s-ok").expect_err("refused");
    assert!(
        refusal
            .message
            .contains("accessPolicy.groupPrefixes (Helm value); allowed: \"corp:\""),
        "{}",
        refusal.message
    );
    for name in ["corp:", "system:masters", "corp:\u{0}", ""] {
        assert!(policy.group(name).is_err(), "{name:?}");
    }
    assert!(policy.group("corp:x").is_ok());
    world.run();
    assert_eq!(subjects(&world), [""; 0], "the list was shrunk: what it does not allow goes");
}

#[test]
fn many_groups_lie_in_several_bindings() {
    let mut world = World::new(mapping("Group"));
    for i in 0..1_100 {
        world.group("okta", &format!("k8s-{i}"), &[]);
    }
    world.run();
    assert!(world.cluster.len() >= 3 && world.cluster.values().all(|o| o.subjects.len() <= 500));
    assert_eq!(subjects(&world).len(), 1_100);
    world.at_rest();
}

#[test]
fn who_cannot_be_said_in_a_group_and_what_a_source_lacks() {
    let of = |spec: Value| {
        let object =
            json!({"apiVersion": "rolecall.dev/v1alpha1", "kind": "ClusterRoleMapping", "metadata": {"name": "teams"}, "spec": spec});
        let object: ClusterRoleMapping = serde_json::from_value(object).expect("a ClusterRoleMapping");
        Mapping::of_cluster_role_mapping(&object)
    };
    for subjects in ["Group", "Both"] {
        let mut filtered = spec(subjects);
        filtered["members"] = json!({"filter": "userType eq \"Employee\""});
        assert!(
            of(filtered)
                .expect_err("refused")
                .message
                .contains("spec.members needs subjects: User")
        );
        let mapping = of(spec(subjects)).expect("compiles");
        let without: ScimSourceSpec =
            serde_json::from_value(json!({"push": {"tokens": []}, "subject": {"username": "user.userName"}})).expect("a spec");
        let (usable, refusals) = usable_sources(&mapping, &Default::default(), |_| Some(&without));
        assert_eq!(
            (usable.len(), refusals[0].reason),
            (1, "GroupNameMissing"),
            "its people keep what they have"
        );
    }
}
