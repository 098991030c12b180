//! What has to be looked at again when something changed: the engine's knowledge of mappings, sources and people follows. Nothing is written here.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use roaring::RoaringBitmap;
use tokio::time::Instant;

use super::engine::{Engine, Error};
use super::owner::Owner;
use crate::access::cells::{Aim, Basis};
use crate::access::desired::SourceState;
use crate::access::key::{BindingKey, MappingKey, MappingKind};
use crate::access::ledger::{BindingId, Event as Record};
use crate::access::mapping::Mapping;
use crate::access::newcomers::{in_records, newcomers, unrecorded};
use crate::access::people::affected;
use crate::access::policy::Refusal;
use crate::access::select::{Selected, select};
use crate::access::shard::Prefix;
use crate::access::source::{CompiledSource, limits_of};
use crate::access::status::SOURCE_UNREAD;
use crate::access::targets::{targets, usable_sources};
use crate::access::yields::Yields;
use crate::api::mapping::RoleRef;
use crate::api::names;
use crate::directory::{Change, Directory, Kind, What};
use crate::journal::Snapshot;

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
    pub(super) fn follow(&mut self, newest: Snapshot<Directory>) -> Result<(), Error> {
        if let Some(loss) = &newest.position.loss {
            return Err(Error::Lost("directory", loss.clone()));
        }
        if newest.position.index <= self.seen.position.index {
            return Ok(());
        }
        let since = self.seen.position.index;
        let before = std::mem::replace(&mut self.seen, newest);
        self.heard.at(self.seen.position.index, self.seen.time);
        let moved_groups = self.hide_groups(since);
        let directory = self.seen.state.clone();
        let names: BTreeSet<&str> = before.state.sources().chain(directory.sources()).map(|(name, _)| name).collect();
        for name in names {
            let name: Arc<str> = name.into();
            match directory.source(&name).map(|source| source.changes_since(since)) {
                Some(Some(changes)) if changes.is_empty() => {}
                Some(Some(changes)) => self.directory_changed(&name, &changes),
                // It ended, or too much has happened: everybody is looked at.
                None => {
                    let mut moved = self.usernames.forget(&name);
                    moved.extend(self.group_names.forget(&name));
                    self.people_changed(&name, None, moved);
                    self.evaluate_unread();
                }
                Some(None) => {
                    let moved = self.names_of(&name, None);
                    self.people_changed(&name, None, moved);
                }
            }
        }
        for (name, groups) in moved_groups {
            self.groups_moved(&name, &groups);
        }
        self.statuses_soon();
        Ok(())
    }

    fn names_of(&mut self, source: &Arc<str>, changed: Option<&[u32]>) -> Vec<(Arc<str>, u32)> {
        let Some(Ok(compiled)) = self.sources.get(source) else {
            return Vec::new();
        };
        let mut moved = self.usernames.update(&self.seen.state, source, &compiled.username, changed);
        moved.extend(match &compiled.group {
            Some(group) => self.group_names.update(&self.seen.state, source, group, changed),
            None => self.group_names.forget(source),
        });
        moved
    }

    fn directory_changed(&mut self, name: &Arc<str>, changes: &[Change]) {
        let directory = self.seen.state.clone();
        let Some(source) = directory.source(name) else { return };
        let named = changes.iter().filter(|c| !matches!(c.what, What::Members { .. }));
        let named: Vec<u32> = named.map(|c| c.n).collect();
        let moved = if named.is_empty() {
            Vec::new()
        } else {
            self.names_of(name, Some(&named))
        };
        // Groups that were made, renamed or deleted may be other mappings' groups now.
        if changes
            .iter()
            .any(|c| c.kind == Kind::Group && !matches!(c.what, What::Members { .. }))
        {
            for key in self.users_of(name) {
                self.reselect_soon(&key);
            }
        }
        self.people_changed(name, Some(affected(source, changes)), moved);
        // Of whom only the name is known, whom the provider says to be disabled by that name loses access.
        let ledger = self.access.snapshot();
        for name in named.iter().filter_map(|n| self.usernames.called(name, *n)) {
            ledger.state.inherited(name).for_each(|key| self.queue.add(key));
        }
        // Whoever was disabled or deleted leaves at once what nobody can read at the moment, and what is held: the mapping may not mean the person or
        // the namespace any more, so that nothing else would look there.
        if changes.iter().any(|c| c.said_by_provider) {
            let frozen: BTreeSet<MappingKey> = self
                .owners
                .iter()
                .filter(|(_, o)| self.is_frozen(o))
                .map(|(key, _)| key.clone())
                .collect();
            let unread = self.standing.keys().filter(|k| frozen.contains(&k.owner));
            // who would come and is held is nobody's access
            let held = self.owners.values().flat_map(|o| &o.held).filter(|(_, held)| held.removals > 0);
            let keys: Vec<BindingKey> = unread.chain(held.map(|(key, _)| key)).cloned().collect();
            keys.into_iter().for_each(|key| self.queue.add(key));
        }
    }

    /// Whether something of this mapping cannot be decided now, so that people of the ledger have to be looked at one by one.
    pub(super) fn is_frozen(&self, owner: &Owner) -> bool {
        owner
            .mapping
            .as_ref()
            .is_none_or(|m| m.sources.iter().any(|s| self.source_state(s) != SourceState::Live))
    }

    /// How far what a source says can be acted on.
    pub(super) fn source_state(&self, name: &str) -> SourceState {
        match self.sources.get(name) {
            Some(Ok(_)) => SourceState::Live,
            Some(Err(_)) => SourceState::Frozen,
            None if self.ended_sources.contains(name) => SourceState::Ended,
            None => SourceState::Frozen,
        }
    }

    /// Goes over to this selection, and to what it covers now.
    pub(super) fn retarget(&mut self, key: &MappingKey, mapping: &Mapping, selected: Selected) {
        let directory = self.seen.state.clone();
        let Some(mut owner) = self.owners.remove(key) else { return };
        let yields = match owner.yields.of(mapping, &selected, &directory) {
            Ok(yields) => yields,
            Err(refusal) => {
                owner.unread(refusal);
                self.owners.insert(key.clone(), owner);
                self.queue_keys(key);
                return;
            }
        };
        let selected = self.waiting(mapping, selected, &yields);
        let targets = targets(mapping, &selected, &yields, &self.namespaces, self.policy.as_ref());
        let after = Aim {
            selected: &selected,
            targets: &targets,
            everyone: mapping.is_for_everyone(),
            kinds: &mapping.subjects,
        };
        let basis = Basis {
            owner: key,
            directory: &directory,
            usernames: &self.usernames,
            group_names: &self.group_names,
        };
        let mut cells = std::mem::take(&mut owner.cells);
        let keys = cells.retarget(&basis, owner.aim(), after, &|namespace, role| self.shards_at(key, namespace, role));
        (owner.cells, owner.selected, owner.yields, owner.targets) = (cells, selected, yields, targets);
        self.places.look = true;
        self.owners.insert(key.clone(), owner);
        keys.into_iter().for_each(|key| self.queue.add(key));
    }

    /// With what is known of the groups that wait for an approval; what nobody recorded of that is recorded.
    fn waiting(&mut self, mapping: &Mapping, selected: Selected, yields: &Yields) -> Selected {
        let ledger = self.access.snapshot();
        let waiting = newcomers(mapping, &selected, yields, &self.seen.state, &ledger.state);
        // what is not durable yet is not in the ledger: until it is, nothing more is recorded
        if !self.meeting.contains(&mapping.key) {
            let (come, mut gone) = unrecorded(mapping, &waiting, &ledger.state);
            gone.retain(|group| self.source_state(&group.source) != SourceState::Frozen);
            if !come.is_empty() || !gone.is_empty() {
                self.meeting.insert(mapping.key.clone());
            }
            let key = || mapping.key.clone();
            for groups in in_records(come) {
                self.recorder.now(Record::GroupsHeld { mapping: key(), groups });
            }
            for groups in in_records(gone) {
                self.recorder.now(Record::GroupsFreed { mapping: key(), groups });
            }
        }
        selected.with_waiting(waiting.into_iter().map(|(group, _)| group).collect())
    }

    /// People of one source changed: `touched` by themselves or their groups (`None`: all), `moved` in what they are called.
    pub(super) fn people_changed(&mut self, source: &Arc<str>, touched: Option<RoaringBitmap>, moved: Vec<(Arc<str>, u32)>) {
        let directory = self.seen.state.clone();
        let mut by_source: BTreeMap<Arc<str>, RoaringBitmap> = BTreeMap::new();
        for (name, n) in moved {
            by_source.entry(name).or_default().insert(n);
        }
        let everybody = touched.is_none();
        if let Some(touched) = touched {
            *by_source.entry(source.clone()).or_default() |= touched;
        }
        let owners: Vec<MappingKey> = self
            .owners
            .iter()
            .filter(|(_, o)| o.mapping.is_some())
            .map(|(key, _)| key.clone())
            .collect();
        for key in owners {
            if everybody && self.owners.get(&key).is_some_and(|o| o.usable.contains(source)) {
                self.evaluate(&key);
                continue;
            }
            for (name, numbers) in &by_source {
                let Some(owner) = self.owners.get_mut(&key) else { continue };
                let basis = Basis {
                    owner: &key,
                    directory: &directory,
                    usernames: &self.usernames,
                    group_names: &self.group_names,
                };
                let keys = owner.cells.update(&basis, name, numbers);
                keys.into_iter().for_each(|key| self.queue.add(key));
            }
        }
    }

    /// ScimSources came, changed or went.
    pub(super) fn sources_changed(&mut self, names: &[String]) {
        for name in names {
            let name: Arc<str> = name.as_str().into();
            let ours = self
                .world
                .sources
                .get(&name)
                .filter(|s| s.spec.class.clone().unwrap_or_default() == self.args.class);
            let Some(object) = ours else {
                if self.sources.remove(&name).is_some() {
                    self.evaluate_users_of(&name);
                }
                continue;
            };
            let now = (
                object.metadata.uid.clone().unwrap_or_default(),
                object.metadata.generation.unwrap_or_default(),
                names::requested(object.metadata.annotations.as_ref()),
            );
            if self.source_versions.get(&name) == Some(&now) && self.sources.contains_key(&name) {
                continue;
            }
            let compiled = CompiledSource::of(object);
            self.source_versions.insert(name.clone(), now.clone());
            self.ended_sources.remove(&name);
            self.sources.insert(name.clone(), compiled);
            self.hide_groups_of(&name, None);
            self.show_known();
            let moved = self.names_of(&name, None);
            self.people_changed(&name, Some(RoaringBitmap::new()), moved);
            if let Some(crd) = self.crds.get("scimsources") {
                let known = self
                    .access
                    .snapshot()
                    .state
                    .source(&name)
                    .is_some_and(|s| s.uid == now.0 && s.crd == *crd);
                if !known {
                    self.recorder.now(Record::SourceSeen {
                        name: name.to_string(),
                        uid: now.0,
                        crd: crd.clone(),
                    });
                }
            }
            self.evaluate_users_of(&name);
        }
        self.source_limits = limits_of(&self.sources);
        self.evaluate_unread();
        self.statuses_soon();
    }

    pub(super) fn users_of(&self, source: &Arc<str>) -> Vec<MappingKey> {
        let uses = |o: &Owner| o.mapping.as_ref().is_some_and(|m| m.uses(source)) || o.usable.contains(source);
        self.owners.iter().filter(|(_, o)| uses(o)).map(|(key, _)| key.clone()).collect()
    }

    pub(super) fn evaluate_users_of(&mut self, source: &Arc<str>) {
        for key in self.users_of(source) {
            self.evaluate(&key);
        }
    }

    /// A mapping came, changed or went.
    pub(super) fn mapping_changed(&mut self, key: &MappingKey) {
        let meta = self.meta(key);
        let requested = meta.and_then(|m| names::requested(m.annotations.as_ref()));
        let same = |o: &Owner| {
            meta.is_some_and(|m| m.uid.as_deref() == Some(&o.uid) && m.generation == Some(o.generation)) && o.requested == requested
        };
        if !self.owners.get(key).is_some_and(same) {
            self.evaluate(key);
        }
    }

    /// Looks at a mapping from scratch.
    pub(super) fn evaluate(&mut self, key: &MappingKey) {
        self.reselecting.remove(key);
        let (compiled, uid, generation) = self.compile(key);
        let ended = uid.is_empty() && self.owners.get(key).is_some_and(|o| o.ended);
        let mut owner = Owner {
            uid,
            generation,
            requested: names::requested(self.meta(key).and_then(|meta| meta.annotations.as_ref())),
            ended,
            ..Owner::default()
        };
        if let Some(before) = self.owners.get_mut(key) {
            owner.failing = std::mem::take(&mut before.failing);
            owner.held = std::mem::take(&mut before.held);
        }
        // what failed or was held and is not to be any more is looked at for the last time
        owner
            .failing
            .keys()
            .chain(owner.held.keys())
            .for_each(|key| self.queue.add(key.clone()));
        match compiled {
            Some(Ok(mapping)) => owner.mapping = Some(Arc::new(mapping)),
            Some(Err(refusal)) => owner.invalid = Some(refusal),
            None => {}
        }
        let end = owner
            .mapping
            .as_ref()
            .filter(|mapping| !mapping.expired)
            .and_then(|mapping| mapping.not_after);
        self.expiry.set(key, end);
        if let Some(mapping) = owner.mapping.clone() {
            let spec_of = |name: &str| Some(&self.world.sources.get(name).filter(|_| self.sources.contains_key(name))?.spec);
            (owner.usable, owner.source_refusals) = usable_sources(&mapping, &self.namespaces, spec_of);
        }
        let mapping = owner.mapping.clone();
        let selected = mapping.as_ref().map(|mapping| select(mapping, &owner.usable, &self.seen.state));
        self.owners.insert(key.clone(), owner);
        self.places.look = true;
        if let (Some(mapping), Some(selected)) = (mapping, selected) {
            self.retarget(key, &mapping, selected);
            self.mapping_seen(key);
        }
        self.queue_keys(key);
        self.statuses_soon();
    }

    /// Puts every binding of a mapping into the queue: what is to be, what is, and what is recorded.
    fn queue_keys(&mut self, key: &MappingKey) {
        let seen: Vec<BindingKey> = self.standing.of(key).cloned().collect();
        let keys = self.with_view(key, |view| view.keys(seen));
        keys.into_iter().for_each(|key| self.queue.add(key));
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
        let compiled = compiled.map(|mapping| mapping.at(Timestamp::now()));
        let compiled = compiled.and_then(|mapping| match self.unread_source(&mapping) {
            None => Ok(mapping),
            // whose groups count makes no difference any more
            Some(_) if mapping.expired => Ok(mapping),
            Some(name) => Err(Refusal::new(
                SOURCE_UNREAD,
                format!(
                    "it is not known which groups of the source {name} count: its ScimSource is not there, or spec.knownGroups is wrong. Nothing is granted or taken away until it is, but whom a provider disables or deletes loses access"
                ),
            )),
        });
        (
            Some(compiled),
            meta.uid.clone().unwrap_or_default(),
            meta.generation.unwrap_or_default(),
        )
    }

    fn mapping_seen(&mut self, key: &MappingKey) {
        let plural = match key.kind {
            MappingKind::RoleMapping => "rolemappings",
            MappingKind::ClusterRoleMapping => "clusterrolemappings",
        };
        let (Some(owner), Some(crd)) = (self.owners.get(key), self.crds.get(plural)) else {
            return;
        };
        let known = self
            .access
            .snapshot()
            .state
            .mapping(key)
            .is_some_and(|s| s.uid == owner.uid && s.crd == *crd);
        if !known {
            self.recorder.now(Record::MappingSeen {
                key: key.clone(),
                uid: owner.uid.clone(),
                crd: crd.clone(),
            });
        }
    }

    /// Every status is compared soon.
    pub(super) fn statuses_soon(&mut self) {
        let at = Instant::now() + Duration::from_millis(100);
        for target in self.status_targets() {
            self.status_at(target, at);
        }
    }

    /// The name of a binding.
    pub(super) fn id_of(&self, key: &BindingKey) -> BindingId {
        BindingId::of(key, &self.installation.class)
    }

    /// The shards that stand at a place.
    fn shards_at(&self, owner: &MappingKey, namespace: &str, role: &RoleRef) -> BTreeSet<Prefix> {
        self.standing.at(owner, namespace, role).collect()
    }
}
