//! How many people hold something, by mapping and by source, however many bindings name them.

use std::sync::Arc;

use imbl::OrdMap;
use uuid::Uuid;

use super::Grantee;
use crate::access::key::MappingKey;

/// In how many bindings a person is, and what is remembered of them: once, for most bindings remember the same.
type Count = OrdMap<Uuid, (u32, Arc<Grantee>)>;

/// For each mapping and source its people, with the number of bindings that name them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Holders {
    by_mapping: OrdMap<MappingKey, Count>,
    by_source: OrdMap<Arc<str>, Count>,
}

/// The people of one mapping or source who hold something.
#[derive(Clone, Copy, Debug)]
pub struct People<'a>(Option<&'a Count>);

impl People<'_> {
    /// How many.
    pub fn len(self) -> usize {
        self.0.map_or(0, OrdMap::len)
    }

    /// Whether nobody does.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// Whether this person is one of them.
    pub fn contains(self, user: &Uuid) -> bool {
        self.0.is_some_and(|people| people.contains_key(user))
    }
}

impl Holders {
    /// One binding more. Answers with what is kept of the person.
    pub(super) fn hold(&mut self, owner: &MappingKey, grantee: &Arc<Grantee>) -> Arc<Grantee> {
        let kept = one_more(self.by_mapping.entry(owner.clone()).or_default(), grantee);
        let source = grantee.source.as_str().into();
        one_more(self.by_source.entry(source).or_default(), &kept);
        kept
    }

    pub(super) fn release(&mut self, owner: &MappingKey, grantee: &Grantee) {
        if self.by_mapping.get_mut(owner).is_some_and(|people| one_less(people, grantee.user)) {
            self.by_mapping.remove(owner);
        }
        let source = grantee.source.as_str();
        if self.by_source.get_mut(source).is_some_and(|people| one_less(people, grantee.user)) {
            self.by_source.remove(source);
        }
    }

    pub(super) fn of_mapping(&self, owner: &MappingKey) -> People<'_> {
        People(self.by_mapping.get(owner))
    }

    pub(super) fn of_source(&self, source: &str) -> People<'_> {
        People(self.by_source.get(source))
    }
}

fn one_more(people: &mut Count, grantee: &Arc<Grantee>) -> Arc<Grantee> {
    let (n, known) = people.entry(grantee.user).or_insert_with(|| (0, grantee.clone()));
    *n += 1;
    if known != grantee {
        *known = grantee.clone();
    }
    known.clone()
}

/// Whether nobody is left.
fn one_less(people: &mut Count, user: Uuid) -> bool {
    match people.get_mut(&user) {
        Some((n, _)) if *n > 1 => *n -= 1,
        _ => drop(people.remove(&user)),
    }
    people.is_empty()
}
