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
