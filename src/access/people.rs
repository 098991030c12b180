//! The people of one mapping: who is in its groups, active, and has a username. Kept up at the cost of what changed, in the order of their shards.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use imbl::OrdMap;
use ring::digest::{SHA256, digest};
use roaring::RoaringBitmap;
use uuid::Uuid;

use super::select::Selected;
use super::shard::{Prefix, SubjectKind};
use super::usernames::Usernames;
use crate::directory::{Change, Directory, Kind, Source, What};

/// Up to so many users are looked at one by one; more, as bitmaps.
const FEW: u64 = 64;

/// One person of a mapping. The order is that of the shards.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PersonKey {
    /// Of the user's id.
    pub hash: u64,
    /// The source that the user is of.
    pub source: Arc<str>,
    /// The user's number there.
    pub n: u32,
}

impl PersonKey {
    /// The key of a user.
    pub fn new(source: &Arc<str>, n: u32, id: &Uuid) -> Self {
        Self {
            hash: hash(id),
            source: source.clone(),
            n,
        }
    }
}

/// What a mapping knows of a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    /// The user's id.
    pub id: Uuid,
    /// The username that the API server sees.
    pub username: Arc<str>,
    /// The group through which: the first of the mapping's groups, in the order of [`Selected::groups`], that holds the person.
    pub via: u32,
}

/// The first eight bytes of the SHA-256 of the id: where a person lies among the shards.
pub fn hash(id: &Uuid) -> u64 {
    let digest = digest(&SHA256, id.as_bytes());
    digest.as_ref().iter().take(8).fold(0, |hash, byte| hash << 8 | u64::from(*byte))
}

/// The people of one mapping. A clone costs nothing.
#[derive(Clone, Debug, Default)]
pub struct People {
    kind: SubjectKind,
    people: OrdMap<PersonKey, Arc<Person>>,
    /// The same by number.
    numbers: BTreeMap<Arc<str>, RoaringBitmap>,
}

impl PartialEq for People {
    fn eq(&self, other: &Self) -> bool {
        self.people == other.people
    }
}

impl People {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.people.len()
    }

    /// Whether there is nobody.
    pub fn is_empty(&self) -> bool {
        self.people.is_empty()
    }

    /// One person.
    pub fn get(&self, key: &PersonKey) -> Option<&Arc<Person>> {
        self.people.get(key)
    }

    /// All of them, in the order of the shards.
    pub fn iter(&self) -> impl Iterator<Item = (&PersonKey, &Arc<Person>)> {
        self.people.iter()
    }

    /// The people of one shard.
    pub fn shard(&self, prefix: Prefix) -> impl Iterator<Item = (&PersonKey, &Arc<Person>)> {
        let (first, last) = prefix.range();
        let nobody: Arc<str> = Arc::from("");
        let from = PersonKey {
            hash: first,
            source: nobody,
            n: 0,
        };
        self.people.range(from..).take_while(move |(key, _)| key.hash <= last)
    }

    /// How many people a shard has; counts no further than `limit`.
    pub fn count(&self, prefix: Prefix, limit: usize) -> usize {
        if prefix.is_empty() {
            return self.len().min(limit);
        }
        self.shard(prefix).take(limit).count()
    }

    /// Whether any of these users of a source is among them.
    pub fn has_any(&self, source: &str, users: &RoaringBitmap) -> bool {
        self.numbers.get(source).is_some_and(|numbers| !numbers.is_disjoint(users))
    }

    /// Their numbers, by source.
    pub fn numbers(&self) -> impl Iterator<Item = (&str, &RoaringBitmap)> {
        self.numbers.iter().map(|(source, numbers)| (&**source, numbers))
    }

    /// From scratch.
    pub fn compute(directory: &Directory, usernames: &Usernames, selected: &Selected) -> Self {
        Self::of_kind(SubjectKind::User, directory, usernames, selected)
    }

    /// The same, or the groups themselves, each as if it were a person.
    pub fn of_kind(kind: SubjectKind, directory: &Directory, usernames: &Usernames, selected: &Selected) -> Self {
        let mut people = Self { kind, ..Self::default() };
        let mut sources: Vec<&Arc<str>> = selected.groups.iter().map(|(source, _)| source).collect();
        sources.dedup();
        for name in sources {
            if let Some(source) = directory.source(name) {
                let everybody = match kind {
                    SubjectKind::User => source.all_members(selected.of(name)),
                    SubjectKind::Group => selected.of(name).collect(),
                };
                people.many(name, source, usernames, selected, &everybody, &mut Vec::new());
            }
        }
        people
    }

    /// Looks again at `affected` users of a source (see [`affected`]). Answers with the keys of those of whom anything is different now. The
    /// cost is that of the affected users and their groups, not that of the mapping; for very many users, that of its groups as bitmaps.
    pub fn update(
        &mut self,
        directory: &Directory,
        usernames: &Usernames,
        selected: &Selected,
        source: &str,
        affected: &RoaringBitmap,
    ) -> Vec<PersonKey> {
        let mut touched = Vec::new();
        let known = self.numbers.get_key_value(source).map(|(name, _)| name.clone());
        let listed = || selected.groups.iter().find(|(s, _)| **s == *source).map(|(name, _)| name.clone());
        let Some(name) = known.or_else(listed) else { return touched };
        let Some(now) = directory.source(source) else {
            self.forget(&name, affected, &mut touched);
            return touched;
        };
        if affected.len() > FEW || self.kind == SubjectKind::Group {
            self.many(&name, now, usernames, selected, affected, &mut touched);
            return touched;
        }
        let mut nameless = RoaringBitmap::new();
        for n in affected {
            let via = || {
                // a user knows its groups: that is less than the groups' users
                let above = now.ancestors(n);
                selected.of(source).find(|group| above.contains(*group))
            };
            // what costs most is asked last
            let person = now.get(n).filter(|user| user.kind == Kind::User && user.active).and_then(|user| {
                let (via, username) = (via()?, usernames.effective(source, n)?.clone());
                let id = user.id;
                selected.means(user).then_some(Person { id, username, via })
            });
            match id_of(now, n) {
                Some(id) => self.set(&name, n, &id, person, &mut touched),
                None => drop(nameless.insert(n)),
            }
        }
        self.forget(&name, &nameless, &mut touched);
        touched
    }

    /// Goes over to another selection of groups, with the same filter of members: looks at the people of groups that came or went, at the cost of these. Who left such a group in the same
    /// changes is not among its people any more, and is no less [`affected`]: [`People::update`] looks at them.
    pub fn reselect(&mut self, directory: &Directory, usernames: &Usernames, before: &Selected, after: &Selected) -> Vec<PersonKey> {
        let mut touched = Vec::new();
        let sources: BTreeSet<&Arc<str>> = before.groups.iter().chain(&after.groups).map(|(source, _)| source).collect();
        for name in sources {
            // a group that waits no longer may be the first through which somebody is meant
            let of = |selected: &Selected| -> BTreeSet<(u32, bool)> {
                let waits = |n: u32| selected.waiting.contains(&(name.clone(), n));
                selected.of(name).map(|n| (n, waits(n))).collect()
            };
            let (old, new) = (of(before), of(after));
            if old == new {
                continue;
            }
            let differ = old.symmetric_difference(&new).map(|(n, _)| *n);
            let affected = match directory.source(name) {
                Some(_) if self.kind == SubjectKind::Group => differ.collect(),
                Some(source) => source.all_members(differ),
                None => self.numbers.get(name).cloned().unwrap_or_default(),
            };
            touched.extend(self.update(directory, usernames, after, name, &affected));
        }
        touched
    }

    fn many(
        &mut self,
        name: &Arc<str>,
        source: &Source,
        usernames: &Usernames,
        selected: &Selected,
        affected: &RoaringBitmap,
        touched: &mut Vec<PersonKey>,
    ) {
        if self.kind == SubjectKind::Group {
            return self.groups(name, source, usernames, selected, affected, touched);
        }
        let mut left = affected & source.active();
        let mut gone = affected & self.numbers.get(name).unwrap_or(&RoaringBitmap::new());
        for group in selected.of(name) {
            if left.is_empty() {
                break;
            }
            let here = source.all_members(std::iter::once(group)) & &left;
            left -= &here;
            for n in &here {
                let (Some(user), Some(username)) = (source.get(n), usernames.effective(name, n)) else {
                    continue;
                };
                if !selected.means(user) {
                    continue;
                }
                gone.remove(n);
                let person = Person {
                    id: user.id,
                    username: username.clone(),
                    via: group,
                };
                self.set(name, n, &user.id, Some(person), touched);
            }
        }
        let mut nameless = RoaringBitmap::new();
        for n in gone {
            match id_of(source, n) {
                Some(id) => self.set(name, n, &id, None, touched),
                None => drop(nameless.insert(n)),
            }
        }
        self.forget(name, &nameless, touched);
    }

    fn groups(
        &mut self,
        name: &Arc<str>,
        source: &Source,
        names: &Usernames,
        selected: &Selected,
        affected: &RoaringBitmap,
        touched: &mut Vec<PersonKey>,
    ) {
        let meant: RoaringBitmap = selected.of(name).collect();
        let mut nameless = RoaringBitmap::new();
        for n in affected {
            let subject = names.effective(name, n).filter(|_| meant.contains(n));
            let group = source.get(n).filter(|group| group.kind == Kind::Group);
            let person = group.zip(subject).map(|(group, subject)| Person {
                id: group.id,
                username: subject.clone(),
                via: n,
            });
            match id_of(source, n) {
                Some(id) => self.set(name, n, &id, person, touched),
                None => drop(nameless.insert(n)),
            }
        }
        self.forget(name, &nameless, touched);
    }

    fn set(&mut self, source: &Arc<str>, n: u32, id: &Uuid, person: Option<Person>, touched: &mut Vec<PersonKey>) {
        let was_here = self.numbers.get(source).is_some_and(|numbers| numbers.contains(n));
        if !was_here && person.is_none() {
            return;
        }
        let key = PersonKey::new(source, n, id);
        match person {
            Some(person) => {
                if self.people.get(&key).is_some_and(|old| **old == person) {
                    return;
                }
                self.people.insert(key.clone(), Arc::new(person));
                self.numbers.entry(source.clone()).or_default().insert(n);
            }
            None => {
                self.people.remove(&key);
                if let Some(numbers) = self.numbers.get_mut(source) {
                    numbers.remove(n);
                }
            }
        }
        touched.push(key);
    }

    /// Takes out people of whose numbers nobody knows the id any more: their source ended, or they were deleted so long ago that no tombstone is left. Only
    /// for these everybody is looked at, and once for all of them.
    fn forget(&mut self, source: &Arc<str>, numbers: &RoaringBitmap, touched: &mut Vec<PersonKey>) {
        let Some(known) = self.numbers.get_mut(source).filter(|known| !known.is_disjoint(numbers)) else {
            return;
        };
        *known -= numbers;
        let gone = self.people.keys().filter(|key| key.source == *source && numbers.contains(key.n));
        let gone: Vec<PersonKey> = gone.cloned().collect();
        for key in &gone {
            self.people.remove(key);
        }
        touched.extend(gone);
    }
}

/// The id behind a number, also of somebody who was deleted.
fn id_of(source: &Source, n: u32) -> Option<Uuid> {
    source.get(n).map(|user| user.id).or_else(|| source.gone(n).map(|gone| gone.id))
}

/// The users of a source whose memberships, activity or existence the changes concern. Complete over any number of changes: the part of a path from
/// user to group before its first changed edge is there still. `after` is the source as it is after the changes.
pub fn affected(after: &Source, changes: &[Change]) -> RoaringBitmap {
    let mut found = RoaringBitmap::new();
    for change in changes {
        match (&change.what, change.kind) {
            (What::Members { add, remove }, _) => found.extend(add.iter().chain(remove.iter()).copied()),
            (What::Created | What::Attributes | What::Deleted, Kind::User) => {
                found.insert(change.n);
            }
            // that a group counts now, or no longer, is the selection's business
            (What::Created | What::Attributes | What::Deleted, Kind::Group) => {}
        }
    }
    let groups = &found & after.of_kind(Kind::Group);
    found |= after.all_members(groups.iter());
    found -= after.of_kind(Kind::Group);
    found
}
