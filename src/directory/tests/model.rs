//! The fold against a naive model, over random histories.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug, Default)]
struct Model {
    attributes: BTreeMap<u32, (IsGroup, Map<String, Value>)>,
    members: BTreeMap<u32, BTreeSet<u32>>,
    next: u32,
}

type IsGroup = bool;

#[derive(Clone, Debug)]
enum Step {
    User(u8, bool, u8),
    Group(u8, Vec<u8>),
    Rename(u8, u8),
    Active(u8, Option<bool>),
    Members(u8, Vec<u8>, Vec<u8>),
    Delete(u8),
}

fn step() -> impl Strategy<Value = Step> {
    let few = || prop::collection::vec(0..14u8, 0..5);
    prop_oneof![
        3 => (0..5u8, any::<bool>(), 0..3u8).prop_map(|(name, active, external)| Step::User(name, active, external)),
        2 => (0..5u8, few()).prop_map(|(name, members)| Step::Group(name, members)),
        1 => (0..14u8, 0..5u8).prop_map(|(n, name)| Step::Rename(n, name)),
        1 => (0..14u8, any::<Option<bool>>()).prop_map(|(n, active)| Step::Active(n, active)),
        4 => (0..14u8, few(), few()).prop_map(|(n, add, remove)| Step::Members(n, add, remove)),
        2 => (0..14u8).prop_map(Step::Delete),
    ]
}

fn many(few: &[u8]) -> Vec<u32> {
    few.iter().copied().map(u32::from).collect()
}

impl Model {
    fn event(&self, step: &Step) -> Event {
        match step {
            Step::User(name, active, external) => user(
                self.next,
                json!({"userName": format!("U{name}"), "active": active, "externalId": external.to_string()}),
            ),
            Step::Group(name, members) => group(self.next, &format!("G{name}"), &many(members)),
            Step::Rename(n, name) if self.attributes.get(&(*n).into()).is_some_and(|(g, _)| *g) => {
                changed((*n).into(), json!({"displayName": format!("g{name}")}), &[], &[])
            }
            Step::Rename(n, name) => changed((*n).into(), json!({"userName": format!("u{name}")}), &[], &[]),
            Step::Active(n, active) => changed((*n).into(), json!({"active": active}), &[], &[]),
            Step::Members(n, add, remove) => changed((*n).into(), json!({}), &many(add), &many(remove)),
            Step::Delete(n) => deleted((*n).into()),
        }
    }

    fn apply(&mut self, event: &Event) {
        match event {
            Event::Created {
                kind,
                n,
                attributes,
                members,
                ..
            } => {
                self.attributes.insert(*n, (*kind == Kind::Group, attributes.clone()));
                self.next = n + 1;
                let known: BTreeSet<u32> = members.iter().copied().filter(|m| self.attributes.contains_key(m)).collect();
                self.members.insert(*n, known);
            }
            Event::Changed { n, merge, add, remove, .. } => {
                let known: Vec<u32> = add.iter().copied().filter(|m| self.attributes.contains_key(m)).collect();
                let Some((is_group, attributes)) = self.attributes.get_mut(n) else {
                    return;
                };
                for (key, value) in merge {
                    if value.is_null() {
                        attributes.remove(key);
                    } else {
                        attributes.insert(key.clone(), value.clone());
                    }
                }
                if *is_group {
                    let members = self.members.entry(*n).or_default();
                    members.retain(|m| !remove.contains(m));
                    members.extend(known);
                }
            }
            Event::Deleted { n, .. } => {
                self.attributes.remove(n);
                self.members.remove(n);
                self.members.values_mut().for_each(|members| {
                    members.remove(n);
                });
            }
            _ => {}
        }
    }

    fn reach(&self, group: u32) -> BTreeSet<u32> {
        let mut found = BTreeSet::new();
        let mut open = vec![group];
        while let Some(g) = open.pop() {
            for m in self.members.get(&g).into_iter().flatten() {
                if found.insert(*m) {
                    open.push(*m);
                }
            }
        }
        found
    }

    fn is_group(&self, n: u32) -> bool {
        self.attributes.get(&n).is_some_and(|(g, _)| *g)
    }
}

fn check(directory: &Directory, model: &Model) {
    let source = directory.source(S).unwrap();
    let text = |n: u32, key: &str| {
        model.attributes[&n]
            .1
            .get(key)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let users: Vec<u32> = model.attributes.keys().copied().filter(|n| !model.is_group(*n)).collect();
    let groups: Vec<u32> = model.attributes.keys().copied().filter(|n| model.is_group(*n)).collect();
    assert_eq!(source.users().map(|r| r.n).collect::<Vec<_>>(), users);
    assert_eq!(source.groups().map(|r| r.n).collect::<Vec<_>>(), groups);
    let active: Vec<u32> = users
        .iter()
        .copied()
        .filter(|n| model.attributes[n].1.get("active") != Some(&json!(false)))
        .collect();
    assert_eq!(numbers(source.active()), active);
    for n in 0..model.next {
        let there = model.attributes.contains_key(&n);
        assert_eq!(source.get(n).is_some(), there);
        assert_eq!(source.by_id(&id(n)).is_some(), there);
        assert_eq!(source.gone(n).is_some(), !there);
        let above: Vec<u32> = groups.iter().copied().filter(|g| model.members[g].contains(&n)).collect();
        assert_eq!(numbers(source.groups_of(n)), above);
        let indirect: Vec<u32> = groups.iter().copied().filter(|g| model.reach(*g).contains(&n)).collect();
        assert_eq!(numbers(&source.ancestors(n)), indirect);
        let Some(resource) = source.get(n) else { continue };
        assert_eq!(resource.attributes.to_map(), model.attributes[&n].1);
        let below: Vec<u32> = model.members.get(&n).into_iter().flatten().copied().collect();
        assert_eq!(numbers(source.members(n)), below);
        if model.is_group(n) {
            let all: Vec<u32> = model.reach(n).into_iter().filter(|m| !model.is_group(*m)).collect();
            assert_eq!(numbers(&source.all_members([n].into_iter())), all);
            let mut same: Vec<u32> = source.groups_by_name(&text(n, "displayName")).collect();
            same.sort_unstable();
            assert_eq!(
                same,
                groups
                    .iter()
                    .copied()
                    .filter(|g| text(*g, "displayName") == text(n, "displayName"))
                    .collect::<Vec<_>>()
            );
        } else {
            let bearer = source.user_by_name(&fold(&text(n, "userName"))).unwrap();
            assert_eq!(fold(&text(bearer, "userName")), fold(&text(n, "userName")));
            let same: Vec<u32> = users
                .iter()
                .copied()
                .filter(|u| text(*u, "externalId") == text(n, "externalId"))
                .collect();
            assert_eq!(source.by_external_id(Kind::User, &text(n, "externalId")).collect::<Vec<_>>(), same);
        }
    }
}

proptest! {
    #[test]
    fn the_fold_agrees_with_a_naive_model(steps in prop::collection::vec(step(), 1..40)) {
        let mut directory = fold_all(&[seen()]);
        let mut model = Model::default();
        let mut snapshots = Vec::new();
        for (index, step) in (2..).zip(&steps) {
            let event = model.event(step);
            model.apply(&event);
            directory.apply(index, 0, time(index), &event);
            snapshots.push((directory.clone(), model.clone()));
        }
        for (directory, model) in &snapshots {
            check(directory, model);
        }
    }
}
