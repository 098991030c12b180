//! The ledger: what was granted to whom, as the fold of the access journal. No clock, and no decision: what to do with it is in `diff` and `deletion`.

mod event;
mod groups;
mod holders;
mod holds;
mod inherited;
mod roles;

use std::sync::Arc;

use imbl::{OrdMap, OrdSet, Vector};
use jiff::Timestamp;
use uuid::Uuid;

use super::binding::Observed;
use super::budget;
use super::key::{BindingKey, MappingKey};
use super::shard::Prefix;
use super::why::Cause;
use crate::api::mapping::RoleRef;
use groups::Groups;
use holders::Holders;
use holds::Holds;
use inherited::Inherited;
use roles::Roles;

pub use event::{Action, BindingId, Event, Grantee, Outcome, Reason, RoleSeen, reasons};
pub use groups::{Newcomer, Waiting};
pub use holders::People;
pub use holds::{Approval, Held, On, Tally};

/// What was granted, and what is under way. A clone costs nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ledger {
    bindings: OrdMap<BindingId, Arc<Binding>>,
    by_owner: OrdMap<MappingKey, OrdSet<BindingId>>,
    intents: OrdMap<(i64, u32), Arc<Intent>>,
    open_by_binding: OrdMap<BindingId, OrdSet<(i64, u32)>>,
    mappings: OrdMap<MappingKey, Seen>,
    sources: OrdMap<Arc<str>, Seen>,
    term: Arc<str>,
    counts: Counts,
    last_change: OrdMap<MappingKey, Timestamp>,
    holders: Holders,
    recent: Vector<Gone>,
    holds: Holds,
    groups: Groups,
    inherited: Inherited,
    roles: Roles,
}

/// Somebody lost something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gone {
    /// When it was recorded.
    pub at: Timestamp,
    /// By which mapping.
    pub owner: MappingKey,
    /// The person's source.
    pub source: Arc<str>,
    /// The person's id there.
    pub user: Uuid,
    /// Because the provider disabled or deleted the person; else the budget counts it.
    pub said: bool,
}

/// A binding as far as the journal tells.
#[derive(Clone, Debug, PartialEq)]
pub struct Binding {
    /// Which one.
    pub key: BindingKey,
    /// The object's UID, once it stands.
    pub uid: Option<Arc<str>>,
    /// Who holds it, by username.
    pub subjects: OrdMap<Arc<str>, Arc<Grantee>>,
}

/// A grant that is recorded, and of which nobody has said yet what became of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Intent {
    /// Which binding.
    pub key: BindingKey,
    /// Where it is.
    pub binding: BindingId,
    /// How it is written.
    pub action: Action,
    /// To whom.
    pub adds: Vec<Arc<Grantee>>,
}

/// A mapping or source as it was last seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The object's UID.
    pub uid: String,
    /// The UID of its CRD.
    pub crd: String,
}

/// For metrics and summaries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Grants that were made, since the beginning.
    pub granted: u64,
    /// Grants that were taken away.
    pub removed: u64,
    /// Intents that were refused.
    pub refused: u64,
}

impl Ledger {
    /// Takes one record in. The only way it changes; total: what makes no sense changes nothing.
    pub fn apply(&mut self, index: i64, time: Timestamp, event: &Event) {
        let since = budget::since(time);
        while self.recent.front().is_some_and(|gone| gone.at <= since) {
            self.recent.pop_front();
        }
        match event {
            Event::Began { term } => self.term = term.as_str().into(),
            Event::MappingSeen { key, uid, crd } => {
                self.mappings.insert(key.clone(), seen(uid, crd));
            }
            Event::MappingEnded { key, .. } => {
                self.mappings.remove(key);
                self.roles.end(key);
                self.last_change.remove(key);
                for source in self.groups.end(key) {
                    self.holds.count_group(key, &source, None);
                }
            }
            Event::SourceSeen { name, uid, crd } => {
                self.sources.insert(name.as_str().into(), seen(uid, crd));
            }
            Event::SourceEnded { name } => {
                self.sources.remove(name.as_str());
            }
            Event::Intent {
                op,
                binding,
                owner,
                role,
                shard,
                action,
                adds,
                ..
            } => {
                let key = key_of(owner, role, &binding.namespace, *shard);
                self.open((index, *op), key, binding, *action, adds);
            }
            Event::Outcome { intent, result } => self.close(*intent, result, time),
            Event::Removed {
                binding,
                usernames,
                whole,
                why,
                spent,
            } => {
                self.count(binding, usernames, why, spent, time);
                self.remove(binding, usernames, *whole, time);
            }
            Event::Held { binding, why } => self.held_since(index, time, binding, why),
            Event::Freed { binding, usernames } => {
                let Some(owner) = self.key(binding).map(|key| key.owner) else {
                    return;
                };
                for username in usernames {
                    self.holds.free(&owner, binding, username);
                }
            }
            Event::GroupsHeld { mapping, groups } => {
                for group in groups {
                    if self.groups.wait(mapping, group, index, time) {
                        self.holds.count_group(mapping, &group.source, Some(index));
                    } else {
                        self.holds.newer(mapping, &group.source, index);
                    }
                }
            }
            Event::GroupsFreed { mapping, groups } => {
                for group in groups.iter().filter(|group| self.groups.forget(mapping, &group.source, group.id)) {
                    self.holds.count_group(mapping, &group.source, None);
                }
            }
            Event::Inherited {
                binding,
                owner,
                role,
                shard,
                uid,
                names,
            } => {
                let key = key_of(owner, role, &binding.namespace, *shard);
                self.inherit(binding, key, uid, names);
            }
            Event::LossAccepted { journal, uid } => self.accept_loss(journal, uid),
            Event::RolesSeen { mapping, seen, roles } => self.roles.see(mapping, seen, roles),
            Event::Approved { on, asked } => {
                let up_to = self.holds.approve(on, *asked);
                for (mapping, source) in self.groups.approve(on, up_to) {
                    self.holds.count_group(&mapping, &source, None);
                }
            }
        }
    }

    fn count(&mut self, binding: &BindingId, usernames: &[String], why: &[Reason], spent: &[String], time: Timestamp) {
        let Some(known) = self.bindings.get(binding) else { return };
        let by_provider = |reason: &&Reason| matches!(reason.why.cause, Cause::Disabled(_) | Cause::Deleted(_));
        let said: Vec<&String> = why.iter().filter(by_provider).flat_map(|reason| &reason.usernames).collect();
        let said: std::collections::BTreeSet<&String> = said.into_iter().collect();
        for username in usernames {
            let counted = spent.binary_search(username).is_ok();
            let Some(grantee) = known.subjects.get(username.as_str()).filter(|_| counted || said.contains(username)) else {
                continue;
            };
            self.recent.push_back(Gone {
                at: time,
                owner: known.key.owner.clone(),
                source: grantee.source.as_str().into(),
                user: grantee.user,
                said: !counted,
            });
        }
    }

    fn open(&mut self, intent: (i64, u32), key: BindingKey, binding: &BindingId, action: Action, adds: &[Grantee]) {
        // A number is given once in a batch; one that comes twice makes no sense.
        if self.intents.contains_key(&intent) {
            return;
        }
        self.by_owner.entry(key.owner.clone()).or_default().insert(binding.clone());
        self.open_by_binding.entry(binding.clone()).or_default().insert(intent);
        let intended = Intent {
            key,
            binding: binding.clone(),
            action,
            adds: adds.iter().cloned().map(Arc::new).collect(),
        };
        self.intents.insert(intent, Arc::new(intended));
    }

    fn close(&mut self, id: (i64, u32), result: &Outcome, time: Timestamp) {
        let Some(intent) = self.intents.remove(&id) else { return };
        if let Some(open) = self.open_by_binding.get_mut(&intent.binding) {
            open.remove(&id);
            if open.is_empty() {
                self.open_by_binding.remove(&intent.binding);
            }
        }
        match result {
            Outcome::Done { uid } => {
                let binding = self.bindings.entry(intent.binding.clone()).or_insert_with(|| {
                    Arc::new(Binding {
                        key: intent.key.clone(),
                        uid: None,
                        subjects: OrdMap::new(),
                    })
                });
                let binding = Arc::make_mut(binding);
                binding.uid = Some(uid.as_str().into());
                for grantee in &intent.adds {
                    let grantee = self.holders.hold(&intent.key.owner, grantee);
                    if let Some(before) = binding.subjects.insert(grantee.username.clone(), grantee.clone()) {
                        self.inherited.forget(&before, &intent.binding);
                        self.holders.release(&intent.key.owner, &before);
                        self.holds.free(&intent.key.owner, &intent.binding, &before.username);
                    }
                    self.inherited.note(&grantee, &intent.binding);
                }
                self.counts.granted += intent.adds.len() as u64;
                self.last_change.insert(intent.key.owner.clone(), time);
            }
            Outcome::Refused { .. } => self.counts.refused += 1,
            Outcome::Void => {}
        }
        self.forget_if_empty(&intent.binding, &intent.key.owner);
    }

    fn remove(&mut self, id: &BindingId, usernames: &[String], whole: bool, time: Timestamp) {
        let Some(binding) = self.bindings.get_mut(id) else { return };
        let binding = Arc::make_mut(binding);
        let before = binding.subjects.len();
        let owner = binding.key.owner.clone();
        for username in usernames {
            if let Some(grantee) = binding.subjects.remove(username.as_str()) {
                self.inherited.forget(&grantee, id);
                self.holders.release(&owner, &grantee);
                self.holds.free(&owner, id, username);
            }
        }
        if whole {
            for grantee in binding.subjects.values() {
                self.inherited.forget(grantee, id);
                self.holders.release(&owner, grantee);
            }
            self.holds.free_all(&owner, id);
            binding.subjects.clear();
            binding.uid = None;
        }
        self.counts.removed += (before - binding.subjects.len()) as u64;
        self.last_change.insert(owner.clone(), time);
        if whole {
            self.bindings.remove(id);
        }
        self.forget_if_empty(id, &owner);
    }

    /// A binding without people and without an intent is nobody's any more: what stands there empty, if anything, is found by its labels.
    fn forget_if_empty(&mut self, id: &BindingId, owner: &MappingKey) {
        if self.open_by_binding.contains_key(id) || self.bindings.get(id).is_some_and(|b| !b.subjects.is_empty()) {
            return;
        }
        self.bindings.remove(id);
        if let Some(ids) = self.by_owner.get_mut(owner) {
            ids.remove(id);
            if ids.is_empty() {
                self.by_owner.remove(owner);
            }
        }
    }

    /// One binding.
    pub fn binding(&self, id: &BindingId) -> Option<&Arc<Binding>> {
        self.bindings.get(id)
    }

    /// All bindings in which somebody holds something.
    pub fn bindings(&self) -> impl Iterator<Item = (&BindingId, &Arc<Binding>)> {
        self.bindings.iter()
    }

    /// The bindings of a mapping, those of open intents among them.
    pub fn of_owner(&self, owner: &MappingKey) -> impl Iterator<Item = (&BindingId, BindingKey)> {
        let ids = self.by_owner.get(owner).into_iter().flatten();
        ids.filter_map(|id| Some((id, self.key(id)?)))
    }

    /// The bindings in a namespace, those of open intents among them.
    pub fn in_namespace(&self, namespace: &str) -> impl Iterator<Item = BindingKey> {
        let first = BindingId {
            namespace: namespace.to_owned(),
            name: String::new(),
        };
        let held = self.bindings.range(first.clone()..).map(|(id, _)| id);
        let open = self.open_by_binding.range(first..).map(|(id, _)| id);
        let here = move |id: &&BindingId| id.namespace == namespace;
        let ids = held.take_while(here).chain(open.take_while(here));
        ids.filter_map(|id| self.key(id))
    }

    /// The mappings that have bindings or open intents, known or not.
    pub fn owners(&self) -> impl Iterator<Item = &MappingKey> {
        self.by_owner.keys()
    }

    /// What the journal knows of the binding there: its key.
    pub fn key(&self, id: &BindingId) -> Option<BindingKey> {
        if let Some(binding) = self.bindings.get(id) {
            return Some(binding.key.clone());
        }
        let open = self.open_by_binding.get(id)?.get_max()?;
        self.intents.get(open).map(|intent| intent.key.clone())
    }

    /// Who holds that username there, or is about to by an open intent: the newest record counts.
    pub fn grantee(&self, id: &BindingId, username: &str) -> Option<&Arc<Grantee>> {
        let open = self.open_by_binding.get(id).into_iter().flat_map(|open| open.iter().rev());
        let intended = open
            .filter_map(|intent| self.intents.get(intent))
            .find_map(|intent| intent.adds.iter().find(|g| *g.username == *username));
        intended.or_else(|| self.bindings.get(id)?.subjects.get(username))
    }

    /// The open intents, oldest first.
    pub fn open_intents(&self) -> impl Iterator<Item = (&(i64, u32), &Arc<Intent>)> {
        self.intents.iter()
    }

    /// The open intents of one binding, oldest first.
    pub fn open_intents_of(&self, id: &BindingId) -> impl Iterator<Item = (&(i64, u32), &Arc<Intent>)> {
        let open = self.open_by_binding.get(id).into_iter().flatten();
        open.filter_map(|intent| self.intents.get_key_value(intent))
    }

    /// The mappings that are known and did not end.
    pub fn mappings(&self) -> impl Iterator<Item = (&MappingKey, &Seen)> {
        self.mappings.iter()
    }

    /// One of them.
    pub fn mapping(&self, key: &MappingKey) -> Option<&Seen> {
        self.mappings.get(key)
    }

    /// The sources that are known and did not end.
    pub fn sources(&self) -> impl Iterator<Item = (&str, &Seen)> {
        self.sources.iter().map(|(name, seen)| (&**name, seen))
    }

    /// One of them.
    pub fn source(&self, name: &str) -> Option<&Seen> {
        self.sources.get(name)
    }

    /// Who lost something within the hour before the newest record, oldest first.
    pub fn recent(&self) -> impl Iterator<Item = &Gone> {
        self.recent.iter()
    }

    /// The people who hold something by a mapping.
    pub fn holders_of_mapping(&self, owner: &MappingKey) -> People<'_> {
        self.holders.of_mapping(owner)
    }

    /// The people of a source who hold something.
    pub fn holders_of_source(&self, source: &str) -> People<'_> {
        self.holders.of_source(source)
    }

    /// Since when the removal of that username from there is held, if it is.
    pub fn held(&self, id: &BindingId, username: &str) -> Option<&Held> {
        self.holds.get(id, username)
    }

    /// What is held of one binding, by username.
    pub fn held_of(&self, id: &BindingId) -> impl Iterator<Item = (&str, &Held)> {
        self.holds.of_binding(id)
    }

    /// Everything that is held: where, whose, since when.
    pub fn all_held(&self) -> impl Iterator<Item = (&BindingId, &str, &Held)> {
        self.holds.all()
    }

    /// How much is held of a mapping or source.
    pub fn tally(&self, on: &On) -> Tally {
        self.holds.tally(on)
    }

    /// Up to which record what is held by that mapping of that source's people is approved.
    pub fn approved(&self, owner: &MappingKey, source: &str) -> i64 {
        let of = |on: &On| self.holds.approval(on).up_to;
        of(&On::Mapping(owner.clone())).max(of(&On::Source(source.to_owned())))
    }

    /// What somebody approved of that mapping or source, by an annotation there.
    pub fn approval(&self, on: &On) -> Approval {
        self.holds.approval(on)
    }

    /// The newest term that began.
    pub fn term(&self) -> &str {
        &self.term
    }

    /// For metrics and summaries.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// When the access that a mapping gives last changed.
    pub fn last_change(&self, owner: &MappingKey) -> Option<Timestamp> {
        self.last_change.get(owner).copied()
    }
}

/// What became of an open intent, as far as looking tells; `None`: a POST that may still come, to be settled by POSTing under its name until that stands.
///
/// A PUT that was not seen is bound to a UID and resourceVersion that may still be the binding's: if it comes all the same, what it brings is a subject
/// that nobody recorded, and is judged as such.
pub fn settled(id: (i64, u32), intent: &Intent, observed: Option<&Observed>) -> Option<Outcome> {
    let Some(observed) = observed else {
        return (intent.action == Action::Update).then_some(Outcome::Void);
    };
    let wrote = observed.op.as_deref() == Some(format!("{}/{}", id.0, id.1).as_str());
    let holds = intent.adds.iter().any(|grantee| observed.has(&grantee.subject()));
    Some(if wrote || holds {
        Outcome::Done { uid: observed.uid.clone() }
    } else {
        Outcome::Void
    })
}

fn seen(uid: &str, crd: &str) -> Seen {
    Seen {
        uid: uid.to_owned(),
        crd: crd.to_owned(),
    }
}

fn key_of(owner: &MappingKey, role: &RoleRef, namespace: &str, shard: Prefix) -> BindingKey {
    BindingKey {
        owner: owner.clone(),
        role: role.clone(),
        namespace: namespace.to_owned(),
        prefix: shard,
    }
}
