//! A group's members while a request is judged: ids become numbers, and only what differs from the directory is kept. Pure.

use std::borrow::Cow;

use roaring::RoaringBitmap;
use serde_json::{Value, json};
use uuid::Uuid;

use super::judge::{parse_id, resource_kind};
use crate::directory::{Kind, Source};
use crate::scim::{Filter, Members, ResourceKind, ScimError, schema};

/// Members named by a body. Numbers found before the judgement stay right, because an id has one number for ever; so a judgement that is
/// repeated need not look 200,000 ids up again.
#[derive(Clone, Debug, Default)]
pub(super) struct Named {
    known: RoaringBitmap,
    other: Vec<String>,
}

impl Named {
    /// Looks up what can be found already.
    pub(super) fn look_up(ids: Option<&[String]>, source: Option<&Source>) -> Self {
        let mut named = Self::default();
        for id in ids.unwrap_or_default() {
            match source.and_then(|source| number(source, id)) {
                Some(n) => {
                    named.known.insert(n);
                }
                None => named.other.push(id.clone()),
            }
        }
        named
    }

    /// Their numbers; 400 names one that is not there, or not any more.
    pub(super) fn find(&self, source: &Source) -> Result<Cow<'_, RoaringBitmap>, ScimError> {
        let missing = (&self.known - source.of_kind(Kind::User)) - source.of_kind(Kind::Group);
        if let Some(gone) = missing.min() {
            let id = source.gone(gone).map(|gone| gone.id.to_string()).unwrap_or_default();
            return Err(ScimError::unknown_member(&id));
        }
        let mut found = Cow::Borrowed(&self.known);
        for id in &self.other {
            let n = number(source, id).ok_or_else(|| ScimError::unknown_member(id))?;
            found.to_mut().insert(n);
        }
        Ok(found)
    }
}

fn number(source: &Source, id: &str) -> Option<u32> {
    let id: Uuid = parse_id(id)?;
    source.by_id(&id).map(|resource| resource.n)
}

/// The members as a request changes them. One member more costs the same in a large group and in a small one.
pub(super) struct Edit<'a> {
    source: &'a Source,
    before: &'a RoaringBitmap,
    cleared: bool,
    /// Only while not `cleared`, and only members of before.
    removed: RoaringBitmap,
    added: RoaringBitmap,
}

impl<'a> Edit<'a> {
    /// The members of the group (nobody, for a user).
    pub(super) fn new(source: &'a Source, group: u32) -> Self {
        Self {
            source,
            before: source.members(group),
            cleared: false,
            removed: RoaringBitmap::new(),
            added: RoaringBitmap::new(),
        }
    }

    /// Makes these the members.
    pub(super) fn set(&mut self, members: Cow<'_, RoaringBitmap>) {
        self.clear();
        self.added = members.into_owned();
    }

    /// Who comes and who goes.
    pub(super) fn difference(self) -> (RoaringBitmap, RoaringBitmap) {
        let removed = if self.cleared { self.before - &self.added } else { self.removed };
        (self.added - self.before, removed)
    }

    fn has(&self, n: u32) -> bool {
        self.added.contains(n) || (!self.cleared && self.before.contains(n) && !self.removed.contains(n))
    }

    fn take_out(&mut self, n: u32) {
        self.added.remove(n);
        if !self.cleared && self.before.contains(n) {
            self.removed.insert(n);
        }
    }
}

impl Members for Edit<'_> {
    fn add(&mut self, id: &str) -> Result<(), ScimError> {
        let n = number(self.source, id).ok_or_else(|| ScimError::unknown_member(id))?;
        if !self.has(n) {
            self.removed.remove(n);
            self.added.insert(n);
        }
        Ok(())
    }

    fn remove(&mut self, id: &str) {
        if let Some(n) = number(self.source, id) {
            self.take_out(n);
        }
    }

    fn clear(&mut self) {
        self.cleared = true;
        self.added.clear();
        self.removed.clear();
    }

    fn contains(&self, id: &str) -> bool {
        number(self.source, id).is_some_and(|n| self.has(n))
    }

    fn remove_where(&mut self, filter: &Filter) -> Result<(), ScimError> {
        let matcher = filter.compile_element(schema::find(ResourceKind::Group, "members"))?;
        let mut now = if self.cleared {
            RoaringBitmap::new()
        } else {
            self.before - &self.removed
        };
        now |= &self.added;
        for n in now {
            if let Some(element) = element(self.source, n)
                && matcher.matches_element(&element)
            {
                self.take_out(n);
            }
        }
        Ok(())
    }
}

/// A member as filters see it: without `$ref`, which depends on who asks.
pub(super) fn element(source: &Source, n: u32) -> Option<Value> {
    let member = source.get(n)?;
    Some(json!({"value": member.id.to_string(), "display": &*member.name, "type": resource_kind(member.kind).name()}))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use jiff::Timestamp;
    use proptest::prelude::*;

    use super::*;
    use crate::directory::{Directory, Event};

    const USERS: u32 = 8;

    fn id(n: u32) -> String {
        Uuid::from_u128(u128::from(n) + 1).to_string()
    }

    /// Users 0 to 7, and group 8 with these members.
    fn directory(members: &BTreeSet<u32>) -> Directory {
        let mut directory = Directory::default();
        let seen = Event::SourceSeen {
            source: "s".into(),
            uid: "u".into(),
        };
        let create = |n: u32| Event::Created {
            source: "s".into(),
            kind: if n < USERS { Kind::User } else { Kind::Group },
            id: Uuid::from_u128(u128::from(n) + 1),
            n,
            attributes: json!({"userName": format!("u{n}"), "displayName": "g"})
                .as_object()
                .unwrap()
                .clone(),
            members: if n < USERS { vec![] } else { members.iter().copied().collect() },
            request: String::new(),
        };
        for event in std::iter::once(seen).chain((0..=USERS).map(create)) {
            directory.apply(1, 0, Timestamp::UNIX_EPOCH, &event);
        }
        directory
    }

    #[derive(Clone, Debug)]
    enum Step {
        Add(u32),
        Remove(u32),
        Clear,
        Set(BTreeSet<u32>),
        Where(u32),
    }

    fn step() -> impl Strategy<Value = Step> {
        let some = || prop::collection::btree_set(0..USERS, 0..6);
        prop_oneof![
            4 => (0..USERS).prop_map(Step::Add),
            4 => (0..USERS).prop_map(Step::Remove),
            1 => Just(Step::Clear),
            1 => some().prop_map(Step::Set),
            1 => (0..USERS).prop_map(Step::Where),
        ]
    }

    proptest! {
        #[test]
        fn an_edit_is_the_difference_of_two_sets(before in prop::collection::btree_set(0..USERS, 0..6), steps in prop::collection::vec(step(), 0..12)) {
            let directory = directory(&before);
            let source = directory.source("s").unwrap();
            let mut edit = Edit::new(source, USERS);
            let mut now = before.clone();
            for step in &steps {
                match step {
                    Step::Add(n) => {
                        edit.add(&id(*n)).unwrap();
                        now.insert(*n);
                    }
                    Step::Remove(n) => {
                        edit.remove(&id(*n));
                        now.remove(n);
                    }
                    Step::Clear => {
                        edit.clear();
                        now.clear();
                    }
                    Step::Set(members) => {
                        edit.set(Cow::Owned(members.iter().copied().collect()));
                        now.clone_from(members);
                    }
                    Step::Where(n) => {
                        edit.remove_where(&Filter::parse(&format!("display eq \"u{n}\"")).unwrap()).unwrap();
                        now.remove(n);
                    }
                }
                for n in 0..USERS {
                    prop_assert_eq!(edit.contains(&id(n)), now.contains(&n));
                }
            }
            let (add, remove) = edit.difference();
            let wanted = |left: &BTreeSet<u32>, right: &BTreeSet<u32>| left.difference(right).copied().collect::<Vec<_>>();
            prop_assert_eq!(add.iter().collect::<Vec<_>>(), wanted(&now, &before));
            prop_assert_eq!(remove.iter().collect::<Vec<_>>(), wanted(&before, &now));
        }
    }

    #[test]
    fn who_was_looked_up_and_is_gone_is_named() {
        let mut directory = directory(&BTreeSet::new());
        let ids = [id(1), id(2), "nobody".to_owned()];
        let named = Named::look_up(Some(&ids[..2]), directory.source("s"));
        assert_eq!(named.find(directory.source("s").unwrap()).unwrap().len(), 2);
        let late = Named::look_up(Some(&ids[..2]), None);
        assert_eq!(late.find(directory.source("s").unwrap()).unwrap().len(), 2);
        let unknown = Named::look_up(Some(&ids), directory.source("s"));
        assert_eq!(
            unknown.find(directory.source("s").unwrap()),
            Err(ScimError::unknown_member("nobody"))
        );
        let gone = Event::Deleted {
            source: "s".into(),
            n: 2,
            request: String::new(),
        };
        directory.apply(2, 0, Timestamp::UNIX_EPOCH, &gone);
        for named in [named, late] {
            assert_eq!(named.find(directory.source("s").unwrap()), Err(ScimError::unknown_member(&id(2))));
        }
    }
}
