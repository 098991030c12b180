//! What a page of a polled directory means for the directory as it is: events, the fewest that make it so. Pure: no client, no clock, no randomness.

use std::sync::Arc;

use roaring::RoaringBitmap;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::{Entry, Kind};
use crate::directory::{Directory, Event, Resource, Source, merge, poll};
use crate::gateway::judge::{MEMBERS_AN_EVENT, resource_kind};
use crate::scim::schema::Extensions;
use crate::scim::{Seen, fold, resource};

/// Which pass asks.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) source: Arc<str>,
    pub(super) pass: i64,
    pub(super) extensions: Arc<Extensions>,
}

/// The pass is not the one that goes on: nothing of it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Superseded;

/// An object that could be read.
#[derive(Clone, Debug)]
pub(super) struct Read {
    pub(super) key: Arc<str>,
    /// Its number, if a pass before had it under this key.
    pub(super) hint: Option<u32>,
    /// An id, if it is new.
    pub(super) id: Uuid,
    pub(super) attributes: Map<String, Value>,
}

/// Reads an object as SCIM; why it cannot be read, without a value of it.
pub(super) fn read(kind: Kind, entry: &Entry, hint: Option<u32>, id: Uuid) -> Result<Read, String> {
    let body = resource::create(resource_kind(kind), &entry.body, &Seen::default()).map_err(|error| error.detail)?;
    Ok(Read {
        key: entry.key.as_str().into(),
        hint,
        id,
        attributes: body.attributes,
    })
}

/// Whose members are to be changed, and how.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    /// The group.
    pub(super) group: u32,
    /// Who is to be in it.
    pub(super) add: RoaringBitmap,
    /// Who is not to be in it.
    pub(super) remove: Leaving,
}

/// Who leaves a group.
#[derive(Clone, Debug)]
pub(super) enum Leaving {
    /// Whoever is not to be in it.
    Others,
    /// Of these who are not to be in it.
    These(RoaringBitmap),
}

impl Asked {
    fn request(&self) -> String {
        format!("{}{}", poll::REQUEST, self.pass)
    }

    fn source<'a>(&self, directory: &'a Directory) -> Result<&'a Source, Superseded> {
        let source = directory.source(&self.source);
        source.filter(|source| source.poll().is_open(self.pass)).ok_or(Superseded)
    }

    /// Users or groups of one page, when those were `seen` before: what makes it so, and the number of each; none for a new one that the source's declared
    /// extensions do not allow.
    pub(super) fn objects(
        &self,
        directory: &Directory,
        kind: Kind,
        page: &[Read],
        seen: &RoaringBitmap,
    ) -> Result<(Vec<Event>, Vec<Option<u32>>), Superseded> {
        let source = self.source(directory)?;
        let (mut events, mut numbers) = (Vec::new(), Vec::new());
        let mut taken = seen.clone();
        let mut next = source.next_n();
        for one in page {
            let found = find(source, kind, one, &taken).and_then(|n| source.get(n));
            let old = found.map(|resource| resource.attributes.to_map());
            let Some(new) = self.attributes(kind, one, found, old.as_ref()) else {
                // if it is there, it stays as it is
                let n = found.map(|resource| resource.n);
                numbers.push(n);
                taken.extend(n);
                continue;
            };
            let n = match (found, old) {
                (Some(resource), Some(old)) => {
                    let merge = merge::diff(&old, &new);
                    if !merge.is_empty() {
                        events.push(self.changed(resource.n, merge, &[], &[]));
                    }
                    resource.n
                }
                _ => {
                    events.push(Event::Created {
                        source: self.source.to_string(),
                        kind,
                        id: one.id,
                        n: next,
                        attributes: new,
                        members: Vec::new(),
                        request: self.request(),
                    });
                    next += 1;
                    next - 1
                }
            };
            taken.insert(n);
            numbers.push(Some(n));
        }
        Ok((events, numbers))
    }

    /// What is to be kept of it; none if it must not be.
    fn attributes(
        &self,
        kind: Kind,
        one: &Read,
        found: Option<&Arc<Resource>>,
        old: Option<&Map<String, Value>>,
    ) -> Option<Map<String, Value>> {
        let mut new = one.attributes.clone();
        for (name, value) in [("externalId", Some(&*one.key)), ("active", None)] {
            let kept = || old.and_then(|old| old.get(name)).cloned();
            if !new.contains_key(name)
                && let Some(value) = kept().or_else(|| value.map(Value::from))
            {
                new.insert(name.to_owned(), value);
            }
        }
        let mut held = new.clone();
        match self.extensions.check(resource_kind(kind), old, &mut held, &Seen::default()) {
            Ok(()) => Some(held),
            // who is disabled is disabled, whatever else is wrong
            Err(_) if kind == Kind::User && new.get("active") == Some(&Value::Bool(false)) && found.is_some() => Some(new),
            Err(_) => None,
        }
    }

    /// What makes groups have the members that they are to have.
    pub(super) fn members(&self, directory: &Directory, groups: &[Wanted]) -> Result<Vec<Event>, Superseded> {
        let source = self.source(directory)?;
        let mut events = Vec::new();
        for wanted in groups.iter().filter(|wanted| source.get(wanted.group).is_some()) {
            let now = source.members(wanted.group);
            let others = now - &wanted.add;
            let leaving = match &wanted.remove {
                Leaving::Others => others,
                Leaving::These(these) => &others & these,
            };
            let coming: Vec<u32> = (&wanted.add - now).iter().filter(|n| source.get(*n).is_some()).collect();
            let leaving: Vec<u32> = leaving.iter().collect();
            for part in leaving.chunks(MEMBERS_AN_EVENT) {
                events.push(self.changed(wanted.group, Map::new(), &[], part));
            }
            for part in coming.chunks(MEMBERS_AN_EVENT) {
                events.push(self.changed(wanted.group, Map::new(), part, &[]));
            }
        }
        Ok(events)
    }

    /// What makes these gone: the directory says so, or only does not have them.
    pub(super) fn gone(&self, directory: &Directory, numbers: &RoaringBitmap, said: bool) -> Result<Vec<Event>, Superseded> {
        let source = self.source(directory)?;
        let there = numbers.iter().filter(|n| source.get(*n).is_some());
        let event = |n: u32| {
            let (source, request) = (self.source.to_string(), self.request());
            match said {
                true => Event::Deleted { source, n, request },
                false => Event::Missed { source, n, request },
            }
        };
        Ok(there.map(event).collect())
    }

    /// Something of the pass' own.
    pub(super) fn says(&self, directory: &Directory, event: Event) -> Result<Vec<Event>, Superseded> {
        self.source(directory).map(|_| vec![event])
    }

    fn changed(&self, n: u32, merge: Map<String, Value>, add: &[u32], remove: &[u32]) -> Event {
        Event::Changed {
            source: self.source.to_string(),
            n,
            merge,
            add: add.to_vec(),
            remove: remove.to_vec(),
            request: self.request(),
        }
    }
}

/// Which object of the directory it is: the one that the last pass had under its key; else by `externalId`; else by name, if nothing speaks against it. Whoever
/// comes with another `externalId` under a name that was polled before is somebody else.
fn find(source: &Source, kind: Kind, one: &Read, taken: &RoaringBitmap) -> Option<u32> {
    let text = |name: &str| one.attributes.get(name).and_then(Value::as_str);
    let free = |n: &u32| !taken.contains(*n) && source.of_kind(kind).contains(*n);
    if let Some(n) = one.hint.filter(free) {
        return Some(n);
    }
    let name = fold(text(resource_kind(kind).required()).unwrap_or_default());
    let named = |n: &u32| source.get(*n).is_some_and(|resource| fold(&resource.name) == name);
    let external_id = text("externalId").unwrap_or(&one.key);
    let by_id: Vec<u32> = source.by_external_id(kind, external_id).filter(free).collect();
    if let Some(n) = by_id.iter().copied().find(named).or(by_id.first().copied()) {
        return Some(n);
    }
    let adopts = |n: &u32| source.poll().adopts() || source.get(*n).is_some_and(|resource| resource.external_id.is_none());
    source.by_prefix(kind, &name).take_while(named).filter(free).find(adopts)
}
