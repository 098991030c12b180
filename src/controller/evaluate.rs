//! What has to be looked at again when something changed: the engine's knowledge of mappings, sources and people follows. Nothing is written here.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use roaring::RoaringBitmap;
use tokio::time::Instant;

use super::engine::{Engine, Error};
use super::owner::{Owner, SourceRun};
use super::work::Unsettled;
use crate::access::binding::Observed;
use crate::access::key::{BindingKey, MappingKey, MappingKind};
use crate::access::ledger::{BindingName, Event as Record};
use crate::access::mapping::Mapping;
use crate::access::names::{binding_name, identify, is_known};
use crate::access::people::{People, PersonKey, affected};
use crate::access::policy::Refusal;
use crate::access::select::select;
use crate::access::shard::Prefix;
use crate::access::why::Cause;
use crate::api::mapping::RoleRef;
use crate::directory::{Change, Kind, What};

impl Engine {
    /// Follows the directory to the newest state that is applied.
    ///
    /// # Errors
    /// When the journal is lost.
    pub(super) fn catch_up(&mut self) -> Result<(), Error> {
        let newest = self.directory.snapshot();
        self.follow(newest)
    }

    /// Follows the directory to this state.
    ///
    /// # Errors
    /// When the journal is lost.
    pub(super) fn follow(&mut self, newest: crate::journal::Snapshot<crate::directory::Directory>) -> Result<(), Error> {
        if let Some(loss) = &newest.position.loss {
            return Err(Error::Lost(loss.clone()));
        }
        if newest.position.index <= self.seen.position.index {
            return Ok(());
        }
        let since = self.seen.position.index;
        self.seen = newest;
        let directory = self.seen.state.clone();
        let names: BTreeSet<Arc<str>> =
            self.sources.keys().cloned().chain(directory.sources().map(|(name, _)| Arc::from(name))).collect();
        for name in names {
            let Some(source) = directory.source(&name) else {
                // It ended: nobody of it is in the directory any more.
                if self.usernames.effective(&name, 0).is_some() || self.sources.contains_key(&name) || self.owners.values().any(|o| o.sources.contains(&name)) {
                    let moved = self.usernames.forget(&name);
                    self.people_changed(&name, None, moved, &Cause::Ended);
                }
                continue;
            };
            match source.changes_since(since) {
                Some(changes) if changes.is_empty() => {}
                Some(changes) => self.directory_changed(&name, &changes),
                None => {
                    let cause = Cause::Directory { index: self.seen.position.index, request: String::new() };
                    let moved = match self.sources.get(&name).map(|s| &s.expression) {
                        Some(Ok(expression)) => self.usernames.update(&directory, &name, expression, None),
                        _ => Vec::new(),
                    };
                    self.people_changed(&name, None, moved, &cause);
                }
            }
        }
        self.statuses_soon();
        Ok(())
    }

    fn directory_changed(&mut self, name: &Arc<str>, changes: &[Change]) {
        let directory = self.seen.state.clone();
        let Some(source) = directory.source(name) else { return };
        let users: Vec<u32> = changes.iter().filter(|c| c.kind == Kind::User && !matches!(c.what, What::Members { .. })).map(|c| c.n).collect();
        let moved = match self.sources.get(name).map(|s| &s.expression) {
            Some(Ok(expression)) if !users.is_empty() => self.usernames.update(&directory, name, expression, Some(&users)),
            _ => Vec::new(),
        };
        let index = changes.last().map_or(self.seen.position.index, |c| c.index);
        let request = changes.last().and_then(|c| source.get(c.n).map(|r| r.request.to_string()).or_else(|| source.gone(c.n).map(|g| g.request.to_string())));
        let cause = Cause::Directory { index, request: request.unwrap_or_default() };
        // Groups that were made, renamed or deleted may be other mappings' groups now.
        let groups = changes.iter().any(|c| c.kind == Kind::Group && !matches!(c.what, What::Members { .. }));
        if groups {
            let owners: Vec<MappingKey> = self.owners.iter().filter(|(_, o)| o.sources.contains(name)).map(|(key, _)| key.clone()).collect();
            for key in owners {
                self.reselect(&key, &cause);
            }
        }
        let touched = affected(source, changes);
        self.people_changed(name, Some(touched), moved, &cause);
        // Whoever was disabled or deleted leaves what nobody can read at the moment, too.
        if changes.iter().any(|c| c.said_by_provider) {
            let frozen: BTreeSet<MappingKey> = self.owners.iter().filter(|(_, o)| self.is_frozen(o)).map(|(key, _)| key.clone()).collect();
            let keys: Vec<BindingKey> = self.observed.keys().filter(|k| frozen.contains(&k.owner)).cloned().collect();
            keys.into_iter().for_each(|key| self.queue.add(key, cause.clone()));
        }
    }

    /// Whether something of this mapping cannot be decided now, so that people of the ledger have to be looked at one by one.
    pub(super) fn is_frozen(&self, owner: &Owner) -> bool {
        owner.frozen() || owner.mapping.as_ref().is_some_and(|m| m.sources.iter().any(|s| self.source_is_frozen(s)))
    }

    /// Whether a source is in the directory, but who its people are to the API server cannot be said now.
    pub(super) fn source_is_frozen(&self, name: &str) -> bool {
        let known = self.seen.state.source(name).is_some();
        known && !self.sources.get(name).is_some_and(|s| s.expression.is_ok())
    }

    fn reselect(&mut self, key: &MappingKey, cause: &Cause) {
        let directory = self.seen.state.clone();
        let Some(owner) = self.owners.get_mut(key) else { return };
        let Some(mapping) = owner.mapping.clone() else { return };
        let after = select(&mapping, &owner.sources, &directory);
        if after == owner.selected {
            return;
        }
        let touched = owner.people.reselect(&directory, &self.usernames, &owner.selected, &after);
        owner.selected = after;
        self.touch(key, &touched, cause);
    }

    /// People of one source changed: `touched` by themselves or their groups (`None`: all), `moved` in what they are called.
    fn people_changed(&mut self, source: &Arc<str>, touched: Option<RoaringBitmap>, moved: Vec<(Arc<str>, u32)>, cause: &Cause) {
        let directory = self.seen.state.clone();
        let mut by_source: BTreeMap<Arc<str>, RoaringBitmap> = BTreeMap::new();
        for (name, n) in moved {
            by_source.entry(name).or_default().insert(n);
        }
        let everybody = touched.is_none();
        if let Some(touched) = touched {
            *by_source.entry(source.clone()).or_default() |= touched;
        }
        let owners: Vec<MappingKey> = self.owners.iter().filter(|(_, o)| o.mapping.is_some()).map(|(key, _)| key.clone()).collect();
        for key in owners {
            if everybody && self.owners.get(&key).is_some_and(|o| o.sources.contains(source)) {
                self.evaluate(&key, cause);
                continue;
            }
            for (name, numbers) in &by_source {
                let Some(owner) = self.owners.get_mut(&key) else { continue };
                let selected = owner.selected.clone();
                let touched = owner.people.update(&directory, &self.usernames, &selected, name, numbers);
                self.touch(&key, &touched, cause);
            }
        }
    }

    fn touch(&mut self, key: &MappingKey, people: &[PersonKey], cause: &Cause) {
        if people.is_empty() {
            return;
        }
        let Some(owner) = self.owners.get_mut(key) else { return };
        let hashes: Vec<u64> = people.iter().map(|p| p.hash).collect();
        // Who went lies in the shard as it was, who came in the shard as it is.
        let mut keys = owner.keys_of(key, &hashes);
        keys.extend(owner.fit(key, Some(&hashes)));
        keys.extend(owner.keys_of(key, &hashes));
        keys.into_iter().for_each(|key| self.queue.add(key, cause.clone()));
    }

    /// ScimSources came, changed or went.
    pub(super) fn sources_changed(&mut self, names: &[String]) {
        let directory = self.seen.state.clone();
        for name in names {
            let name: Arc<str> = name.as_str().into();
            let ours = self.world.sources.get(&name).filter(|s| s.spec.class.clone().unwrap_or_default() == self.args.class).map(SourceRun::of);
            let Some(run) = ours else {
                if self.sources.remove(&name).is_some() {
                    self.mappings_of(&name, &Cause::Spec);
                }
                continue;
            };
            let before = self.sources.get(&name);
            if before.is_some_and(|b| b.uid == run.uid && b.generation == run.generation) {
                continue;
            }
            if let (Ok(expression), true) = (&run.expression, directory.source(&name).is_some()) {
                let moved = self.usernames.update(&directory, &name, expression, None);
                self.sources.insert(name.clone(), run);
                self.people_changed(&name, Some(RoaringBitmap::new()), moved, &Cause::Spec);
            } else {
                self.sources.insert(name.clone(), run);
            }
            self.source_seen(&name);
            self.mappings_of(&name, &Cause::Spec);
        }
        self.statuses_soon();
    }

    fn source_seen(&mut self, name: &Arc<str>) {
        let (Some(run), Some(crd)) = (self.sources.get(name), self.crds.get("scimsources")) else { return };
        let known = self.access.snapshot().state.source(name).is_some_and(|s| *s.uid == *run.uid && **crd == *s.crd);
        if !known {
            self.recorder.now(Record::SourceSeen { name: name.to_string(), uid: run.uid.clone(), crd: crd.clone() });
        }
    }

    fn mappings_of(&mut self, source: &Arc<str>, cause: &Cause) {
        let users = |o: &Owner| o.mapping.as_ref().is_some_and(|m| m.uses(source)) || o.sources.contains(source);
        let owners: Vec<MappingKey> = self.owners.iter().filter(|(_, o)| users(o)).map(|(key, _)| key.clone()).collect();
        for key in owners {
            self.evaluate(&key, cause);
        }
    }

    /// A mapping came, changed or went.
    pub(super) fn mapping_changed(&mut self, key: &MappingKey) {
        let meta = match key.kind {
            MappingKind::RoleMapping => self.world.mappings.get(&format!("{}/{}", key.namespace, key.name)).map(|m| &m.metadata),
            MappingKind::ClusterRoleMapping => self.world.cluster_mappings.get(&key.name).map(|m| &m.metadata),
        };
        let same = |o: &Owner| meta.is_some_and(|m| m.uid.as_deref() == Some(&o.uid) && m.generation == Some(o.generation));
        if self.owners.get(key).is_some_and(same) {
            return;
        }
        self.evaluate(key, &Cause::Spec);
    }

    /// Looks at a mapping from scratch.
    pub(super) fn evaluate(&mut self, key: &MappingKey, cause: &Cause) {
        let (compiled, uid, generation) = self.compile(key);
        let ended = self.owners.get(key).is_some_and(|o| o.ended) && uid.is_empty();
        let mut owner = Owner { uid, generation, ended, ..Owner::default() };
        if let Some(before) = self.owners.get_mut(key) {
            owner.failing = std::mem::take(&mut before.failing);
            owner.held = std::mem::take(&mut before.held);
            self.queue_keys(key, cause);
        }
        match compiled {
            Some(Ok(mapping)) => {
                let (sources, problem) = self.usable(&mapping);
                owner.sources = sources;
                owner.problem = problem;
                owner.mapping = Some(Arc::new(mapping));
            }
            Some(Err(refusal)) => owner.problem = Some(refusal),
            None => {}
        }
        if let (Some(mapping), Some(policy)) = (owner.mapping.clone(), self.policy.clone()) {
            owner.selected = select(&mapping, &owner.sources, &self.seen.state);
            owner.people = People::compute(&self.seen.state, &self.usernames, &owner.selected);
            let observed = &self.observed;
            let shards = |(namespace, role): &(String, RoleRef)| shards_of(observed, key, namespace, role);
            owner.place(&self.world.namespaces, None, &policy, shards);
        } else {
            // Without an access policy nothing can be said: nothing comes, and nothing goes because of that.
            owner.mapping = owner.mapping.filter(|_| self.policy.is_some());
        }
        let seen = owner.mapping.is_some() && !owner.uid.is_empty();
        self.owners.insert(key.clone(), owner);
        if seen {
            self.mapping_seen(key);
        }
        self.queue_keys(key, cause);
        self.statuses_soon();
    }

    /// Puts every binding of a mapping into the queue: what is to be, what is, and what is recorded.
    fn queue_keys(&mut self, key: &MappingKey, cause: &Cause) {
        let mut keys: BTreeSet<BindingKey> = self.owners.get(key).map(|o| o.keys(key)).unwrap_or_default().into_iter().collect();
        keys.extend(self.observed.range(first(key)..).map(|(k, _)| k).take_while(|k| k.owner == *key).cloned());
        let ledger = self.access.snapshot();
        keys.extend(ledger.state.bindings().filter(|(_, e)| e.owner == *key).map(|(name, e)| e.key(&name.namespace)));
        keys.into_iter().for_each(|key| self.queue.add(key, cause.clone()));
    }

    fn compile(&self, key: &MappingKey) -> (Option<Result<Mapping, Refusal>>, String, i64) {
        let ours = |class: &Option<String>| class.clone().unwrap_or_default() == self.args.class;
        let (compiled, meta) = match key.kind {
            MappingKind::RoleMapping => match self.world.mappings.get(&format!("{}/{}", key.namespace, key.name)) {
                Some(object) if ours(&object.spec.class) => (Mapping::of_role_mapping(object), &object.metadata),
                _ => return (None, String::new(), 0),
            },
            MappingKind::ClusterRoleMapping => match self.world.cluster_mappings.get(&key.name) {
                Some(object) if ours(&object.spec.class) => (Mapping::of_cluster_role_mapping(object), &object.metadata),
                _ => return (None, String::new(), 0),
            },
        };
        (Some(compiled), meta.uid.clone().unwrap_or_default(), meta.generation.unwrap_or_default())
    }

    /// The sources that a mapping may use, and what is wrong with the others.
    fn usable(&self, mapping: &Mapping) -> (Vec<Arc<str>>, Option<Refusal>) {
        let mut usable = Vec::new();
        let mut problem = None;
        for name in &mapping.sources {
            let Some(run) = self.sources.get(name) else {
                problem.get_or_insert(Refusal::new("SourceNotFound", format!("there is no ScimSource {name:?} of this class; apply it, or correct spec.sources")));
                continue;
            };
            if mapping.key.kind == MappingKind::RoleMapping {
                let labels = self.world.namespaces.get(&mapping.key.namespace).map(|p| p.labels.clone()).unwrap_or_default();
                if !run.allowed.as_ref().is_some_and(|selector| selector.matches(&labels)) {
                    let message = format!("ScimSource {name:?} does not allow namespace {:?}: its author can change spec.allowedNamespaces", mapping.key.namespace);
                    problem.get_or_insert(Refusal::new("SourceNotAllowed", message));
                    continue;
                }
            }
            if let Err(refusal) = &run.expression {
                problem.get_or_insert(Refusal::new("SourceNotReady", format!("ScimSource {name:?}: {}", refusal.message)));
            }
            usable.push(name.clone());
        }
        (usable, problem)
    }

    fn mapping_seen(&mut self, key: &MappingKey) {
        let plural = match key.kind {
            MappingKind::RoleMapping => "rolemappings",
            MappingKind::ClusterRoleMapping => "clusterrolemappings",
        };
        let (Some(owner), Some(crd)) = (self.owners.get(key), self.crds.get(plural)) else { return };
        let ledger = self.access.snapshot();
        if !ledger.state.mapping(key).is_some_and(|s| *s.uid == *owner.uid && *s.crd == **crd) {
            self.recorder.now(Record::MappingSeen { key: key.clone(), uid: owner.uid.clone(), crd: crd.clone() });
        }
    }

    /// Namespaces came, changed their labels, or go.
    pub(super) fn namespaces_changed(&mut self, names: &[String]) {
        let Some(policy) = self.policy.clone() else { return };
        let keys: Vec<MappingKey> = self.owners.keys().cloned().collect();
        for key in keys {
            // What a source allows goes by the namespace's labels.
            if key.kind == MappingKind::RoleMapping {
                if names.contains(&key.namespace) {
                    self.evaluate(&key, &Cause::Namespace);
                }
                continue;
            }
            let observed = &self.observed;
            let Some(owner) = self.owners.get_mut(&key) else { continue };
            let before: Vec<BindingKey> = owner.keys(&key);
            let changed = owner.place(&self.world.namespaces, Some(names), &policy, |(ns, role)| shards_of(observed, &key, ns, role));
            let after = owner.keys(&key);
            before.into_iter().chain(after).filter(|k| changed.contains(&k.namespace)).for_each(|k| self.queue.add(k, Cause::Namespace));
        }
        self.statuses_soon();
    }

    /// Bindings with our labels came, changed or went.
    pub(super) fn bindings_changed(&mut self, names: &[String], cause: Cause) {
        for name in names {
            let observed = self.world.bindings.get(name).and_then(Observed::of);
            self.note(name, observed, &cause);
        }
    }

    /// Takes in what a binding shows now, by `namespace/name`.
    pub(super) fn note(&mut self, name: &str, observed: Option<Observed>, cause: &Cause) {
        let known = self.by_name.get(name).cloned().or_else(|| {
            let (namespace, name) = name.split_once('/')?;
            let name = BindingName { namespace: namespace.to_owned(), name: name.to_owned() };
            self.access.snapshot().state.binding(&name).map(|entry| entry.key(namespace))
        });
        let key = observed.as_ref().and_then(|o| {
            identify(o, &self.installation).or_else(|| known.clone().filter(|key| is_known(o, key, &self.installation)))
        });
        if let Some(before) = self.by_name.remove(name).filter(|before| Some(before) != key.as_ref()) {
            self.observed.remove(&before);
            self.queue.add(before, cause.clone());
        }
        match (key, observed) {
            (Some(key), Some(observed)) => {
                // An answer to our own write may be newer than what a watch tells.
                let older = self.observed.get(&key).is_some_and(|had| had.uid == observed.uid && newer(&had.resource_version, &observed.resource_version));
                self.by_name.insert(name.to_owned(), key.clone());
                if !older {
                    self.foreign.remove(&key);
                    let changed = self.observed.insert(key.clone(), observed.clone()).is_none_or(|had| had != observed);
                    if changed {
                        self.queue.add(key, cause.clone());
                    }
                }
            }
            (None, _) => {
                if let Some(key) = known {
                    self.queue.add(key, cause.clone());
                }
            }
            (Some(_), None) => {}
        }
    }

    /// Intents that an earlier term left open: what they wrote may be there, or may still come.
    pub(super) fn open_intents(&mut self) {
        let ledger = self.access.snapshot();
        for (name, entry) in ledger.state.bindings().filter(|(_, e)| !e.open.is_empty()) {
            let key = entry.key(&name.namespace);
            match self.observed.get(&key) {
                None if entry.open.values().any(|o| o.create) => {
                    self.unsettled.insert(key.clone(), Unsettled::Post);
                }
                None => {}
                Some(observed) => {
                    let put = Unsettled::Put { uid: observed.uid.clone(), version: observed.resource_version.clone() };
                    self.unsettled.insert(key.clone(), put);
                }
            }
            self.queue.add(key, Cause::Start);
        }
    }

    /// Every status is compared soon.
    pub(super) fn statuses_soon(&mut self) {
        let at = Instant::now() + std::time::Duration::from_millis(100);
        for target in self.status_targets() {
            self.status_due.entry(target).or_insert(at);
        }
    }

    /// The name of a binding.
    pub(super) fn name_of(&self, key: &BindingKey) -> BindingName {
        BindingName { namespace: key.namespace.clone(), name: binding_name(key, &self.installation.class) }
    }
}

/// resourceVersions are compared only for one object, where they are numbers that grow (KEP-5504); anything else counts as newer.
fn newer(had: &str, found: &str) -> bool {
    matches!((had.parse::<u64>(), found.parse::<u64>()), (Ok(had), Ok(found)) if had > found)
}

fn first(owner: &MappingKey) -> BindingKey {
    BindingKey { owner: owner.clone(), role: RoleRef::default(), namespace: String::new(), prefix: Prefix::ALL }
}

fn shards_of(observed: &BTreeMap<BindingKey, Observed>, owner: &MappingKey, namespace: &str, role: &RoleRef) -> Vec<Prefix> {
    let from = BindingKey { owner: owner.clone(), role: role.clone(), namespace: namespace.to_owned(), prefix: Prefix::ALL };
    observed.range(from..).map(|(k, _)| k).take_while(|k| k.owner == *owner && k.role == *role && k.namespace == namespace).map(|k| k.prefix).collect()
}
