use std::collections::BTreeSet;

use proptest::prelude::*;

use super::world::{World, key_of, role_mapping, view_of_team_a};
use crate::access::key::{BindingKey, MappingKey};
use crate::access::names::{Installation, binding_labels, binding_name, identify, owner_label};
use crate::access::shard::Prefix;
use crate::api::mapping::{RoleKind, RoleRef};
use crate::api::names as labels;

#[test]
fn names_are_what_they_always_were() {
    // an installation finds its objects by these names: they must never change
    let key = key_of(&role_mapping("team-a", "devs", view_of_team_a()), "view", "team-a");
    assert_eq!(owner_label(&key.owner).len(), 16);
    let name = binding_name(&key, "");
    assert!(
        name.strip_prefix("rolecall-")
            .is_some_and(|hex| hex.len() == 32 && hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)))
    );
    assert_eq!((owner_label(&key.owner).as_str(), name.as_str()), GOLDEN);
}

const GOLDEN: (&str, &str) = ("d3eda87de03fb7b8", "rolecall-77175dd3c9783f1b34e5c5a934778a39");

#[test]
fn every_part_of_the_key_is_in_the_name() {
    let mapping = role_mapping("team-a", "devs", view_of_team_a());
    let base = key_of(&mapping, "view", "team-a");
    let mut names = BTreeSet::from([binding_name(&base, ""), binding_name(&base, "x")]);
    let change = |change: &dyn Fn(&mut BindingKey)| {
        let mut key = base.clone();
        change(&mut key);
        binding_name(&key, "")
    };
    names.insert(change(&|k| k.owner = MappingKey::role_mapping("team-b", "devs")));
    names.insert(change(&|k| k.owner = MappingKey::role_mapping("team-a", "ops")));
    names.insert(change(&|k| k.owner = MappingKey::cluster_role_mapping("devs")));
    names.insert(change(&|k| k.role.name = "edit".to_owned()));
    names.insert(change(&|k| k.role.kind = RoleKind::Role));
    names.insert(change(&|k| k.namespace = "team-b".to_owned()));
    names.insert(change(&|k| k.prefix = "0".parse().expect("a shard")));
    names.insert(change(&|k| k.prefix = "1".parse().expect("a shard")));
    assert_eq!(names.len(), 10);
}

#[test]
fn ours_is_what_has_our_labels_our_journal_and_our_name() {
    let mut world = World::new(role_mapping("team-a", "devs", view_of_team_a()));
    let ada = world.user("okta", "ada");
    world.group("okta", "devs", &[ada]);
    world.run();
    let key = key_of(&world.mapping, "view", "team-a");
    let observed = world.seen(&key).expect("the binding").clone();
    assert_eq!(identify(&observed, &world.installation), Some(key.clone()));
    assert_eq!(*observed.labels, binding_labels(&key, &world.installation));
    type Change = fn(&mut crate::access::binding::Observed);
    let changes: [(&str, Change); 11] = [
        ("name", |o| o.name = "rolecall-00000000000000000000000000000000".to_owned()),
        ("namespace", |o| o.namespace = "team-b".to_owned()),
        ("role", |o| o.role.as_mut().expect("a role").name = "admin".to_owned()),
        ("role's kind", |o| o.role = None),
        ("mapping", |o| o.mapping = None),
        ("another mapping", |o| o.mapping = Some("RoleMapping/team-a/ops".to_owned())),
        ("managed by", |o| {
            drop(std::sync::Arc::make_mut(&mut o.labels).remove(labels::MANAGED_BY))
        }),
        ("class", |o| {
            drop(std::sync::Arc::make_mut(&mut o.labels).insert(labels::CLASS.to_owned(), "x".to_owned()))
        }),
        ("journal", |o| {
            drop(std::sync::Arc::make_mut(&mut o.labels).insert(labels::JOURNAL.to_owned(), "j0".to_owned()))
        }),
        ("no journal", |o| {
            drop(std::sync::Arc::make_mut(&mut o.labels).remove(labels::JOURNAL))
        }),
        ("shard", |o| {
            drop(std::sync::Arc::make_mut(&mut o.labels).insert(labels::SHARD.to_owned(), "01".to_owned()))
        }),
    ];
    for (name, change) in changes {
        let mut other = observed.clone();
        change(&mut other);
        assert_eq!(identify(&other, &world.installation), None, "{name}");
    }
    let without_journal = Installation::default();
    assert_eq!(identify(&observed, &without_journal), None);
    // no class label is the default class
    let mut plain = observed.clone();
    std::sync::Arc::make_mut(&mut plain.labels).remove(labels::CLASS);
    assert_eq!(identify(&plain, &world.installation), Some(key));
}

#[test]
fn keys_read_as_they_are_written() {
    for text in ["RoleMapping/team-a/devs", "ClusterRoleMapping/teams"] {
        assert_eq!(text.parse::<MappingKey>().expect(text).to_string(), text);
    }
    for text in [
        "",
        "RoleMapping/devs",
        "RoleMapping//devs",
        "RoleMapping/a/",
        "ClusterRoleMapping/",
        "ClusterRoleMapping/a/b",
        "rolemapping/a/b",
        "RoleMapping/a/b/c",
    ] {
        assert!(text.parse::<MappingKey>().is_err(), "{text}");
    }
}

proptest! {
    #[test]
    fn no_two_keys_have_one_name(a in any_key(), b in any_key()) {
        prop_assert_eq!(a == b, binding_name(&a, "c") == binding_name(&b, "c"));
    }
}

fn any_key() -> impl Strategy<Value = BindingKey> {
    // few letters, so that pieces shift between the parts
    let part = || prop_oneof!["[ab/]{0,3}", Just("view".to_owned())];
    (
        part(),
        part(),
        part(),
        part(),
        any::<bool>(),
        prop_oneof![Just("all".to_owned()), "[01]{1,3}"],
    )
        .prop_map(|(namespace, name, role, place, cluster, shard)| BindingKey {
            owner: if cluster {
                MappingKey::cluster_role_mapping(name)
            } else {
                MappingKey::role_mapping(namespace, name)
            },
            role: RoleRef {
                kind: RoleKind::ClusterRole,
                name: role,
            },
            namespace: place,
            prefix: shard.parse::<Prefix>().expect("a shard"),
        })
}
