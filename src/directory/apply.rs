//! The fold: how one event changes the directory. Total and deterministic: every process that read the same batches holds the same.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;
use roaring::RoaringBitmap;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::changes::{Change, What};
use super::client::Rejected;
use super::event::{Event, Kind};
use super::poll::{Counts, Ended, Pass, REQUEST};
use super::resource::{Attributes, Gone, Resource};
use super::source::Source;
use super::{Directory, REMEMBERED, fold, merge};

/// Where an event stands.
#[derive(Clone, Copy)]
struct At<'a> {
    index: i64,
    ordinal: u32,
    time: Timestamp,
    request: &'a Arc<str>,
}

impl Directory {
    /// Applies one event: the `ordinal`-th of the batch `index`, stamped with `time`. An event that means nothing here (unknown
    /// source or number, a number given twice) changes nothing and is counted.
    pub fn apply(&mut self, index: i64, ordinal: u32, time: Timestamp, event: &Event) {
        let request: Arc<str> = match event {
            Event::Created { request, .. }
            | Event::Changed { request, .. }
            | Event::Deleted { request, .. }
            | Event::Missed { request, .. }
            | Event::DeprovisionRejected { request, .. }
            | Event::DeprovisionSettled { request, .. } => request.as_str().into(),
            Event::SourceSeen { .. }
            | Event::SourceEnded { .. }
            | Event::TokensSeen { .. }
            | Event::ClientSeen { .. }
            | Event::PassOpened { .. }
            | Event::PassSaid { .. }
            | Event::PassEnded { .. }
            | Event::CredentialBound { .. } => "".into(),
        };
        let at = At {
            index,
            ordinal,
            time,
            request: &request,
        };
        self.last = (index, ordinal.saturating_add(1));
        let known = match event {
            Event::SourceSeen { source, uid } => {
                self.seen(at, source, uid);
                true
            }
            Event::SourceEnded { source } => self.end(source),
            Event::TokensSeen { source, failing } => self.with(source, |s| {
                s.failing_tokens = failing.as_slice().into();
                true
            }),
            Event::ClientSeen {
                source,
                tokens,
                tolerated,
                drift,
            } => self.with(source, |s| {
                Arc::make_mut(&mut s.client).seen(tokens, tolerated, drift);
                true
            }),
            Event::DeprovisionRejected { source, n, reason, .. } => self.with(source, |s| s.reject(at, *n, reason)),
            Event::DeprovisionSettled { source, n, .. } => self.with(source, |s| s.settle(*n)),
            Event::Created {
                source,
                kind,
                id,
                n,
                attributes,
                members,
                ..
            } => self.with(source, |s| s.create(at, *kind, *id, *n, attributes, members)),
            Event::Changed {
                source,
                n,
                merge,
                add,
                remove,
                ..
            } => self.with(source, |s| s.change(at, *n, merge, add, remove)),
            Event::Deleted { source, n, .. } => self.with(source, |s| s.delete(at, *n, true)),
            Event::Missed { source, n, .. } => self.with(source, |s| s.delete(at, *n, false)),
            Event::PassOpened {
                source,
                n,
                by,
                full,
                generation,
                requested,
            } => self.with(source, |s| {
                Arc::make_mut(&mut s.poll).open(Pass {
                    n: *n,
                    by: by.as_str().into(),
                    full: *full,
                    generation: *generation,
                    requested: requested.as_str().into(),
                    opened: time,
                    said: index,
                    counts: Counts::default(),
                    open: true,
                })
            }),
            Event::PassSaid { source, n, counts } => self.with(source, |s| Arc::make_mut(&mut s.poll).say(*n, index, *counts)),
            Event::PassEnded {
                source,
                n,
                counts,
                outcome,
                reason,
                message,
            } => self.with(source, |s| {
                let ended = Ended {
                    n: *n,
                    time,
                    outcome: *outcome,
                    reason: reason.as_str().into(),
                    message: message.as_str().into(),
                };
                Arc::make_mut(&mut s.poll).end(index, *counts, ended)
            }),
            Event::CredentialBound {
                source,
                secret,
                version,
                origin,
            } => self.with(source, |s| {
                Arc::make_mut(&mut s.poll).bind(secret, version, origin);
                true
            }),
        };
        self.ignored += u64::from(!known);
    }

    fn seen(&mut self, at: At<'_>, name: &str, uid: &str) {
        if let Some(source) = self.sources.get_mut(name) {
            if *source.uid != *uid {
                let source = Arc::make_mut(source);
                source.uid = uid.into();
                Arc::make_mut(&mut source.poll).renewed();
            }
            return;
        }
        let next_n = self.ended.remove(name).unwrap_or(0);
        self.sources.insert(name.into(), Arc::new(Source::new(uid, next_n, at.index)));
    }

    fn end(&mut self, name: &str) -> bool {
        let Some((name, source)) = self.sources.remove_with_key(name) else {
            return false;
        };
        self.ended.insert(name, source.next_n);
        true
    }

    fn with(&mut self, name: &str, change: impl FnOnce(&mut Source) -> bool) -> bool {
        self.sources.get_mut(name).is_some_and(|source| change(Arc::make_mut(source)))
    }
}

impl Source {
    fn create(&mut self, at: At<'_>, kind: Kind, id: Uuid, n: u32, attributes: &Map<String, Value>, members: &[u32]) -> bool {
        if n < self.next_n || n == u32::MAX || self.ids.contains_key(&id) {
            return false;
        }
        self.next_n = n + 1;
        self.told(at);
        self.ids.insert(id, n);
        match kind {
            Kind::User => Arc::make_mut(&mut self.users).insert(n),
            Kind::Group => Arc::make_mut(&mut self.groups).insert(n),
        };
        let resource = Resource {
            id,
            n,
            kind,
            name: name_in(kind, attributes),
            external_id: external_id_in(attributes),
            emails: emails_in(kind, attributes),
            active: active_in(kind, attributes),
            attributes: Attributes::new(attributes),
            created: at.time,
            modified: at.time,
            version: (at.index, at.ordinal),
            born: at.index,
            name_since: at.index,
            request: at.request.clone(),
            since: Vec::new(),
        };
        self.index(&resource);
        self.resources.insert(n, Arc::new(resource));
        self.record(at, n, kind, What::Created, false);
        if kind == Kind::Group {
            self.change_members(at, n, members, &[]);
        }
        true
    }

    fn reject(&mut self, at: At<'_>, n: u32, reason: &str) -> bool {
        let rejected = Rejected {
            request: at.request.clone(),
            reason: reason.into(),
            time: at.time,
        };
        let known = self.users.contains(n);
        if known {
            Arc::make_mut(&mut self.client).reject(n, rejected);
        }
        known
    }

    /// What was to be done is done, or the provider has said otherwise.
    fn settle(&mut self, n: u32) -> bool {
        self.client.rejected.contains_key(&n) && Arc::make_mut(&mut self.client).rejected.remove(&n).is_some()
    }

    fn change(&mut self, at: At<'_>, n: u32, patch: &Map<String, Value>, add: &[u32], remove: &[u32]) -> bool {
        let Some(before) = self.resources.get(&n).cloned() else {
            return false;
        };
        self.told(at);
        let moved = before.kind == Kind::Group && self.change_members(at, n, add, remove);
        let (old, attributes) = if patch.is_empty() {
            (Map::new(), Map::new())
        } else {
            let old = before.attributes.to_map();
            let mut new = old.clone();
            merge::apply(&mut new, patch);
            (old, new)
        };
        let changed: Vec<&str> = patch
            .keys()
            .map(String::as_str)
            .filter(|key| old.get(*key) != attributes.get(*key))
            .collect();
        if changed.is_empty() && !moved {
            return true;
        }
        let mut after = touched(&before, at);
        if !changed.is_empty() {
            for key in changed {
                match after.since.iter_mut().find(|(name, _)| **name == *key) {
                    Some((_, index)) => *index = at.index,
                    None => after.since.push((key.into(), at.index)),
                }
            }
            let name = name_in(after.kind, &attributes);
            if name != after.name {
                after.name = name;
                after.name_since = at.index;
            }
            after.external_id = external_id_in(&attributes);
            after.emails = emails_in(after.kind, &attributes);
            after.active = active_in(after.kind, &attributes);
            after.attributes = Attributes::new(&attributes);
            self.unindex(&before);
            self.index(&after);
            if !after.active || patch.contains_key("active") {
                self.settle(n);
            }
            let disabled = before.active && !after.active;
            self.record(at, n, after.kind, What::Attributes, disabled);
        }
        self.resources.insert(n, Arc::new(after));
        true
    }

    /// Something of it changed: by a pass, or because its provider pushed.
    fn told(&mut self, at: At<'_>) {
        self.last_event = Some(at.time);
        if !self.poll.pushed && !at.request.starts_with(REQUEST) {
            Arc::make_mut(&mut self.poll).pushed = true;
        }
    }

    fn delete(&mut self, at: At<'_>, n: u32, said: bool) -> bool {
        let Some(resource) = self.resources.remove(&n) else {
            return false;
        };
        self.told(at);
        self.settle(n);
        if let Some(members) = self.members.remove(&n) {
            for member in members.iter() {
                leave(&mut self.groups_of, member, n);
            }
            self.record(at, n, resource.kind, members_changed(Vec::new(), members.iter().collect()), false);
        }
        if let Some(groups) = self.groups_of.remove(&n) {
            for group in groups.iter() {
                leave(&mut self.members, group, n);
                if let Some(resource) = self.resources.get(&group) {
                    let after = touched(resource, at);
                    self.resources.insert(group, Arc::new(after));
                }
                self.record(at, group, Kind::Group, members_changed(Vec::new(), vec![n]), false);
            }
        }
        self.ids.remove(&resource.id);
        self.unindex(&resource);
        match resource.kind {
            Kind::User => Arc::make_mut(&mut self.users).remove(n),
            Kind::Group => Arc::make_mut(&mut self.groups).remove(n),
        };
        if !said {
            Arc::make_mut(&mut self.missed).insert(n);
        }
        self.record(at, n, resource.kind, What::Deleted, said && resource.kind == Kind::User);
        self.bury(
            Gone {
                id: resource.id,
                kind: resource.kind,
                name: resource.name.clone(),
                index: at.index,
                time: at.time,
                request: at.request.clone(),
            },
            n,
        );
        true
    }

    /// Takes members in and out; says whether anything changed. Numbers that stand for nobody are not taken in.
    fn change_members(&mut self, at: At<'_>, group: u32, add: &[u32], remove: &[u32]) -> bool {
        let before = self.members.get(&group);
        let has = |n: &u32| before.is_some_and(|members| members.contains(*n));
        let gone: RoaringBitmap = remove.iter().copied().filter(has).collect();
        let come: RoaringBitmap = add
            .iter()
            .copied()
            .filter(|n| (!has(n) || gone.contains(*n)) && self.resources.contains_key(n))
            .collect();
        // who goes and comes in one event stays
        let (gone, come) = (&gone - &come, &come - &gone);
        if gone.is_empty() && come.is_empty() {
            return false;
        }
        let members = Arc::make_mut(self.members.entry(group).or_default());
        *members -= &gone;
        *members |= &come;
        if members.is_empty() {
            self.members.remove(&group);
        }
        for n in gone.iter() {
            leave(&mut self.groups_of, n, group);
        }
        for n in come.iter() {
            Arc::make_mut(self.groups_of.entry(n).or_default()).insert(group);
        }
        self.record(
            at,
            group,
            Kind::Group,
            members_changed(come.iter().collect(), gone.iter().collect()),
            false,
        );
        true
    }

    fn index(&mut self, resource: &Resource) {
        let entry = (key(&resource.name), resource.name_since, resource.n);
        match resource.kind {
            Kind::User => {
                self.user_names.insert(entry);
                if resource.active && !self.active.contains(resource.n) {
                    Arc::make_mut(&mut self.active).insert(resource.n);
                }
            }
            Kind::Group => {
                self.group_names.insert(entry);
            }
        }
        if let Some(external_id) = &resource.external_id {
            self.external_ids.insert((external_id.clone(), resource.n));
        }
        for email in resource.emails.iter() {
            self.emails.insert((email.clone(), resource.n));
        }
    }

    fn unindex(&mut self, resource: &Resource) {
        let entry = (key(&resource.name), resource.name_since, resource.n);
        match resource.kind {
            Kind::User => {
                self.user_names.remove(&entry);
                if self.active.contains(resource.n) {
                    Arc::make_mut(&mut self.active).remove(resource.n);
                }
            }
            Kind::Group => {
                self.group_names.remove(&entry);
            }
        }
        if let Some(external_id) = &resource.external_id {
            self.external_ids.remove(&(external_id.clone(), resource.n));
        }
        for email in resource.emails.iter() {
            self.emails.remove(&(email.clone(), resource.n));
        }
    }

    fn record(&mut self, at: At<'_>, n: u32, kind: Kind, what: What, said_by_provider: bool) {
        self.log.push(Change {
            index: at.index,
            n,
            kind,
            what,
            said_by_provider,
            request: at.request.clone(),
        });
    }

    fn bury(&mut self, gone: Gone, n: u32) {
        self.gone.insert(n, Arc::new(gone));
        self.gone_order.push_back(n);
        while self.gone_order.len() > REMEMBERED {
            if let Some(oldest) = self.gone_order.pop_front() {
                self.gone.remove(&oldest);
            }
        }
    }
}

// === the parts ===

fn touched(resource: &Resource, at: At<'_>) -> Resource {
    Resource {
        modified: at.time,
        version: (at.index, at.ordinal),
        request: at.request.clone(),
        ..resource.clone()
    }
}

fn leave(map: &mut imbl::OrdMap<u32, Arc<RoaringBitmap>>, of: u32, n: u32) {
    let Some(bitmap) = map.get_mut(&of) else { return };
    if bitmap.len() == 1 && bitmap.contains(n) {
        map.remove(&of);
    } else {
        Arc::make_mut(bitmap).remove(n);
    }
}

fn members_changed(add: Vec<u32>, remove: Vec<u32>) -> What {
    What::Members {
        add: add.into(),
        remove: remove.into(),
    }
}

/// The folded name; the name itself, not a copy, where folding changes nothing.
fn key(name: &Arc<str>) -> Arc<str> {
    let folded = fold(name);
    if *folded == **name { name.clone() } else { folded.into() }
}

fn name_in(kind: Kind, attributes: &Map<String, Value>) -> Arc<str> {
    let attribute = match kind {
        Kind::User => "userName",
        Kind::Group => "displayName",
    };
    attributes.get(attribute).and_then(Value::as_str).unwrap_or_default().into()
}

fn external_id_in(attributes: &Map<String, Value>) -> Option<Arc<str>> {
    attributes.get("externalId").and_then(Value::as_str).map(Into::into)
}

fn emails_in(kind: Kind, attributes: &Map<String, Value>) -> Arc<[Arc<str>]> {
    let emails = attributes.get("emails").filter(|_| kind == Kind::User).and_then(Value::as_array);
    let values = emails
        .into_iter()
        .flatten()
        .filter_map(|email| email.get("value").and_then(Value::as_str));
    let folded: BTreeSet<String> = values.map(fold).collect();
    folded.into_iter().map(Arc::from).collect()
}

/// Only `false` disables: absent is active.
fn active_in(kind: Kind, attributes: &Map<String, Value>) -> bool {
    kind == Kind::Group || attributes.get("active") != Some(&Value::Bool(false))
}
