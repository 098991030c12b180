//! Random histories: whatever happens, in whatever order, what is computed by what changed is what is computed from scratch, everybody who is to hold
//! something does in the end, nobody else does, and nobody loses in between what they keep.

use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::json;

use super::reference::{expected, expected_through, mapping};
use super::world::World;
use crate::access::desired::SourceState;
use crate::access::expression::Expression;
use crate::access::gate::{Circumstances, Hold};
use uuid::Uuid;

use crate::access::ledger::{Binding, BindingId, Grantee, On};
use crate::access::people::People;
use crate::access::select::{Group, select};
use crate::access::shard::SubjectKind;
use crate::access::targets::Whose;
use crate::access::usernames::Usernames;
use crate::api::limits::Limits;
use crate::directory::Kind;

#[derive(Clone, Debug)]
enum Step {
    User(bool, u8),
    Group(bool, u8, Vec<u8>),
    Rename(bool, u8, u8),
    Active(bool, u8, bool),
    Members(bool, u8, Vec<u8>, Vec<u8>),
    Delete(bool, u8),
    EndSource(bool),
    Roles(u8),
    Groups(u8),
    Filter(u8),
    Type(bool, u8, u8),
    End(bool),
    Namespaces(u8),
    Tamper(u8, u8),
    Hold(u8),
    Free,
    Limits(u8),
    Approve,
    Evaluate,
    Settle,
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let few = || proptest::collection::vec(any::<u8>(), 0..4);
    prop_oneof![
        3 => (any::<bool>(), 0..8_u8).prop_map(|(s, n)| Step::User(s, n)),
        2 => (any::<bool>(), 0..5_u8, few()).prop_map(|(s, n, m)| Step::Group(s, n, m)),
        3 => (any::<bool>(), any::<u8>(), 0..8_u8).prop_map(|(s, r, n)| Step::Rename(s, r, n)),
        3 => (any::<bool>(), any::<u8>(), any::<bool>()).prop_map(|(s, r, a)| Step::Active(s, r, a)),
        5 => (any::<bool>(), any::<u8>(), few(), few()).prop_map(|(s, g, a, r)| Step::Members(s, g, a, r)),
        2 => (any::<bool>(), any::<u8>()).prop_map(|(s, r)| Step::Delete(s, r)),
        1 => any::<bool>().prop_map(Step::EndSource),
        1 => (0..8_u8).prop_map(Step::Roles),
        2 => (0..10_u8).prop_map(Step::Groups),
        2 => (0..5_u8).prop_map(Step::Filter),
        2 => (any::<bool>(), any::<u8>(), 0..3_u8).prop_map(|(s, r, t)| Step::Type(s, r, t)),
        1 => any::<bool>().prop_map(Step::End),
        1 => (0..4_u8).prop_map(Step::Namespaces),
        1 => (any::<u8>(), 0..4_u8).prop_map(|(b, h)| Step::Tamper(b, h)),
        1 => (0..5_u8).prop_map(Step::Hold),
        1 => Just(Step::Free),
        1 => (0..3_u8).prop_map(Step::Limits),
        1 => Just(Step::Approve),
        4 => Just(Step::Evaluate),
        4 => Just(Step::Settle),
        1 => Just(Step::Restart),
    ]
}

fn source(second: bool) -> &'static str {
    if second { "entra" } else { "okta" }
}

/// A resource of the source, chosen by a number.
fn pick(world: &World, source: &str, kind: Option<Kind>, at: u8) -> Option<u32> {
    let directory = world.directory.source(source)?;
    let all: Vec<u32> = directory
        .users()
        .chain(directory.groups())
        .filter(|r| kind.is_none_or(|k| r.kind == k))
        .map(|r| r.n)
        .collect();
    all.get(usize::from(at) % all.len().max(1)).copied()
}

fn picks(world: &World, source: &str, at: &[u8]) -> Vec<u32> {
    at.iter().filter_map(|at| pick(world, source, None, *at)).collect()
}

/// Incremental is from scratch.
fn agrees(world: &World) {
    let (mut usernames, mut group_names) = (Usernames::default(), Usernames::groups());
    let group = Expression::group("'okta:' + group.displayName").expect("compiles");
    for (name, expression) in &world.expressions {
        usernames.update(&world.directory, name, expression, None);
        group_names.update(&world.directory, name, &group, None);
    }
    for name in ["okta", "entra"] {
        for n in world
            .directory
            .source(name)
            .into_iter()
            .flat_map(|s| s.users().map(|u| u.n).collect::<Vec<_>>())
        {
            assert_eq!(world.usernames.effective(name, n), usernames.effective(name, n), "{name}/{n}");
        }
        assert_eq!(world.usernames.conflicts(name), usernames.conflicts(name));
    }
    let selected = select(&world.mapping, &world.mapping.sources, &world.directory).with_waiting(world.selected.waiting.clone());
    assert_eq!(world.selected, selected);
    let (targets, _) = world.now();
    assert_eq!(world.targets, targets);
    for (namespace, role, whose) in targets.iter() {
        let cells: Vec<_> = world.cells.all_of(whose).collect();
        assert_eq!(cells.iter().map(|cell| cell.kind).collect::<Vec<_>>(), world.mapping.subjects);
        for cell in cells {
            assert!(cell.pairs.contains(&(namespace.clone(), role.clone())));
            let mut part = selected.clone();
            if let Whose::Groups(groups) = whose {
                part.groups = groups.to_vec();
                part.waiting.retain(|group| groups.contains(group));
            }
            let people = match cell.kind {
                SubjectKind::User => People::compute(&world.directory, &usernames, &part),
                SubjectKind::Group => People::of_kind(cell.kind, &world.directory, &group_names, &part),
            };
            assert_eq!(cell.people, people);
            assert_eq!(cell.layout, cell.layout.fit(&cell.people, None), "as few shards as can be");
            let names: BTreeSet<_> = cell.people.iter().map(|(_, p)| p.username.clone()).collect();
            assert_eq!(names.len(), cell.people.len(), "one name, one person");
        }
    }
    let places: usize = world.cells.iter().map(|cell| cell.pairs.len()).sum();
    let kinds = world.mapping.subjects.len();
    assert_eq!(places, targets.iter().count() * kinds, "no place has two cells of a kind");
}

fn settle(world: &mut World, spec: (u8, u8, u8)) {
    let (before, to_be) = (world.access(), expected(world, spec));
    // what somebody took out by hand, or has under another name, is nothing new
    let had = holding(world);
    let free = world.circumstances == Circumstances::default();
    // who holds a name is decided by the record: only for those who keep it under the same person is there a promise, and whom nothing but a group that
    // nobody approved would keep is kept only by the group through which they came
    let waits = |group: &&Group| !world.selected.waiting.contains(*group);
    let approved_groups: Vec<Group> = world.selected.groups.iter().filter(waits).cloned().collect();
    let sure = expected_through(world, spec, &approved_groups);
    let keeps: BTreeSet<_> = before
        .intersection(&to_be)
        .filter(|place| kept(world, place, sure.contains(*place)))
        .cloned()
        .collect();
    world.settle_with(|w| {
        let now = w.access();
        if let Some(lost) = keeps.iter().find(|k| !now.contains(*k)) {
            panic!("{lost:?} lost what they keep");
        }
    });
    let holders: BTreeSet<_> = world
        .ledger
        .bindings()
        .flat_map(|(_, b)| b.subjects.values().map(|g| g.user))
        .collect();
    assert_eq!(world.ledger.holders_of_mapping(&world.mapping.key).len(), holders.len());
    if free && world.mapping.approves_groups {
        approved(world, &had);
    }
    if free && world.limits.is_some() {
        // whom the budget holds, and nobody else, has more than they are to have; an approval of all that is held lets it go
        let extra: BTreeSet<_> = world.access().difference(&to_be).cloned().collect();
        let held: BTreeSet<_> = world.ledger.all_held().map(|(id, name, _)| (id.clone(), name.to_owned())).collect();
        let is_held = |(ns, role, name): &(String, String, String)| {
            held.iter().any(|(id, of)| {
                let there = world.ledger.binding(id).map(|b| b.key.role.name.as_str());
                id.namespace == *ns && of == name && there == Some(role)
            })
        };
        assert!(extra.iter().all(is_held), "{extra:?} but {held:?}");
        assert_eq!(world.recorded(), world.access());
        world.at_rest();
        world.approve(i64::MAX);
        world.settle();
    }
    if free {
        assert_eq!(world.ledger.all_held().count(), 0);
        assert_eq!(world.access(), to_be);
        assert_eq!(world.recorded(), world.access());
        world.at_rest();
    }
}

/// Nobody gained anything through a group that nobody approved; an approval of all that waits lets it come.
fn approved(world: &mut World, had: &BTreeSet<(String, String, Uuid)>) {
    for (ns, role, name) in world.access() {
        for (id, binding) in world
            .ledger
            .bindings()
            .filter(|(id, b)| id.namespace == ns && b.key.role.name == role)
        {
            let Some(held) = binding.subjects.get(name.as_str()).filter(|_| world.cluster.contains_key(id)) else {
                continue;
            };
            let waits = world.selected.waiting.contains(&(held.source.as_str().into(), held.via));
            let before = had.contains(&(ns.clone(), role.clone(), held.user));
            assert!(!waits || before, "{name} gained {role} in {ns}");
        }
    }
    let waiting = world.selected.waiting.len();
    assert_eq!(world.ledger.tally(&On::Mapping(world.mapping.key.clone())).groups, waiting);
    assert_eq!(world.ledger.waiting_groups(&world.mapping.key).count(), waiting);
    world.approve(i64::MAX);
    world.evaluate();
    assert!(world.selected.waiting.is_empty());
    world.settle();
}

/// Who is recorded to hold what where, whatever they are called.
fn holding(world: &World) -> BTreeSet<(String, String, Uuid)> {
    let of = |(id, binding): (&BindingId, &std::sync::Arc<Binding>)| {
        let (ns, role) = (id.namespace.clone(), binding.key.role.name.clone());
        let users = binding.subjects.values().map(|held| held.user);
        users.map(|user| (ns.clone(), role.clone(), user)).collect::<Vec<_>>()
    };
    world.ledger.bindings().flat_map(of).collect()
}

fn still_through(world: &World, held: &Grantee) -> bool {
    let inside = |source: &crate::directory::Source| held.kind == SubjectKind::Group || source.ancestors(held.n).contains(held.via);
    world.selected.has(&held.source, held.via) && world.directory.source(&held.source).is_some_and(inside)
}

fn kept(world: &World, (ns, role, name): &(String, String, String), sure: bool) -> bool {
    world.cluster.iter().any(|(id, o)| {
        let same = o.namespace == *ns && o.role.as_ref().is_some_and(|r| r.name == *role) && o.subjects.iter().any(|s| s.name == *name);
        let holder = world.usernames.holder(name).or_else(|| world.group_names.holder(name));
        same && world
            .ledger
            .grantee(id, name)
            .is_some_and(|g| holder.is_some_and(|(s, n)| *g.source == **s && g.n == n) && (sure || still_through(world, g)))
    })
}

fn run(steps: &[Step]) {
    let mut spec = (0, 0, 0);
    let mut world = World::new(mapping(spec));
    for step in steps {
        match step {
            Step::User(s, n) => {
                world.user(source(*s), &format!("u{n}"));
            }
            Step::Group(s, n, members) => {
                let members = picks(&world, source(*s), members);
                world.group(source(*s), &format!("g{n}"), &members);
            }
            Step::Rename(s, at, n) => {
                let name = source(*s);
                if let Some(r) = pick(&world, name, None, *at) {
                    let user = world
                        .directory
                        .source(name)
                        .and_then(|d| d.get(r))
                        .is_some_and(|r| r.kind == Kind::User);
                    let merge = if user {
                        json!({"userName": format!("u{n}")})
                    } else {
                        json!({"displayName": format!("g{}", n % 5)})
                    };
                    world.change(name, r, merge, &[], &[]);
                }
            }
            Step::Active(s, at, active) => {
                if let Some(user) = pick(&world, source(*s), Some(Kind::User), *at) {
                    world.change(source(*s), user, json!({"active": active}), &[], &[]);
                }
            }
            Step::Members(s, at, add, remove) => {
                let name = source(*s);
                if let Some(group) = pick(&world, name, Some(Kind::Group), *at) {
                    let (add, remove) = (picks(&world, name, add), picks(&world, name, remove));
                    world.change(name, group, json!({}), &add, &remove);
                }
            }
            Step::Delete(s, at) => {
                if let Some(r) = pick(&world, source(*s), None, *at) {
                    world.delete(source(*s), r);
                }
            }
            Step::EndSource(s) => {
                let name = source(*s);
                world.event(crate::directory::Event::SourceEnded { source: name.to_owned() });
                world.sources.insert(name.into(), SourceState::Ended);
                // it goes before the name starts afresh
                world.evaluate();
                let held = std::mem::take(&mut world.circumstances);
                settle(&mut world, spec);
                world.circumstances = held;
                world.source(name, "'oidc:' + user.userName");
            }
            Step::Roles(n) => {
                spec.0 = *n;
                world.edit(mapping(spec));
            }
            Step::Groups(n) => {
                spec.1 = *n;
                world.edit(mapping(spec));
                world.evaluate();
            }
            Step::Filter(n) => {
                spec.2 = *n;
                world.edit(mapping(spec));
                // a spec that was edited is looked at from scratch
                world.evaluated = -1;
                world.evaluate();
            }
            Step::Type(s, at, kind) => {
                if let Some(user) = pick(&world, source(*s), Some(Kind::User), *at) {
                    let kind = [json!("Employee"), json!("Contractor"), json!(null)][usize::from(*kind)].clone();
                    world.change(source(*s), user, json!({"userType": kind}), &[], &[]);
                }
            }
            Step::End(ended) => world.mapping.expired = *ended,
            Step::Namespaces(n) => {
                let label = if n % 2 == 0 { "yes" } else { "no" };
                world.namespace(["team-a", "team-b"][usize::from(n / 2)], &[("team", label)]);
            }
            Step::Tamper(at, how) => {
                let ids: Vec<_> = world.cluster.keys().cloned().collect();
                let Some(id) = ids.get(usize::from(*at) % ids.len().max(1)) else {
                    continue;
                };
                if *how == 0 {
                    world.cluster.remove(id);
                    continue;
                }
                world.versions += 1;
                let version = world.versions.to_string();
                let observed = world.cluster.get_mut(id).expect("it stands");
                match how {
                    1 => std::sync::Arc::make_mut(&mut observed.subjects).push(crate::access::binding::SubjectRef::user("oidc:eve")),
                    2 => std::sync::Arc::make_mut(&mut observed.subjects).truncate(1),
                    _ => std::sync::Arc::make_mut(&mut observed.subjects).clear(),
                }
                observed.resource_version = version;
            }
            Step::Hold(n) => {
                let hold = [
                    Hold::Planned,
                    Hold::MappingSuspended,
                    Hold::PolicyMissing,
                    Hold::AccessJournalLost,
                    Hold::DirectoryUnproved,
                ][usize::from(*n)];
                world.circumstances.holds.insert(hold);
            }
            Step::Free => world.circumstances = Circumstances::default(),
            Step::Limits(n) => {
                let limits = |removals_per_hour, removal_percent| Limits {
                    removals_per_hour,
                    removal_percent,
                };
                world.limits = [None, Some(limits(1, 0)), Some(limits(0, 50))][usize::from(*n)];
            }
            Step::Approve => world.approve(i64::MAX),
            Step::Evaluate => {
                world.evaluate();
                agrees(&world);
            }
            Step::Settle => {
                world.evaluate();
                agrees(&world);
                settle(&mut world, spec);
            }
            Step::Restart => {
                world.evaluate();
                world.usernames = Usernames::default();
                world.evaluated = -1;
                world.evaluate();
                agrees(&world);
            }
        }
    }
    world.circumstances = Circumstances::default();
    world.evaluate();
    agrees(&world);
    settle(&mut world, spec);
    world.state = "ended";
    world.settle();
    assert_eq!(
        (world.access().len(), world.recorded().len()),
        (0, 0),
        "nothing is left of a mapping that ended"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]
    #[test]
    fn any_history(steps in proptest::collection::vec(step(), 1..60)) {
        run(&steps);
    }
}
