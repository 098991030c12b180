//! What is to be: one mapping at one moment, the bindings that it is to have, and who is to hold each. What differs from it is in `diff`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::cause::joined;
use super::key::{BindingKey, MappingKey};
use super::ledger::{Grantee, Ledger};
use super::mapping::Mapping;
use super::names::Installation;
use super::people::{People, Person, PersonKey};
use super::policy::{self, AccessPolicy};
use super::select::Selected;
use super::shard::{Layout, Prefix, SUBJECTS_MAX};
use super::targets::{Namespaces, Targets};
use super::usernames::Usernames;
use super::why::{Cause, GroupRef, Why};
use crate::directory::{Directory, Source};

/// How far what a source says can be acted on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SourceState {
    /// It is there, and its spec compiles.
    Live,
    /// It is not there without having been deleted, or its spec does not compile, or nobody knows: its people get nothing new, and only whom it disabled or
    /// deleted loses anything.
    #[default]
    Frozen,
    /// Its deletion counts.
    Ended,
}

/// The sources by name; one that is not listed is [`SourceState::Frozen`].
pub type Sources = BTreeMap<Arc<str>, SourceState>;

/// A mapping that is there and compiles.
#[derive(Clone, Copy, Debug)]
pub struct Live<'a> {
    /// The mapping.
    pub mapping: &'a Mapping,
    /// The sources that it may use ([`super::targets::usable_sources`]).
    pub usable: &'a [Arc<str>],
    /// Its groups.
    pub selected: &'a Selected,
    /// Its people.
    pub people: &'a People,
    /// How they are cut.
    pub layout: &'a Layout,
    /// Where it grants what.
    pub targets: &'a Targets,
}

/// How far a mapping can be acted on.
#[derive(Clone, Copy, Debug)]
pub enum Owner<'a> {
    /// It is there, and compiles.
    Live(Live<'a>),
    /// It is orphaned, or does not compile, or nobody knows: its bindings stay as they are, less whom the provider disabled or deleted.
    Frozen(&'a MappingKey),
    /// Its deletion counts.
    Ended(&'a MappingKey),
}

/// One mapping at one moment, with all that decides about its bindings.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// The mapping.
    pub owner: Owner<'a>,
    /// The directory.
    pub directory: &'a Directory,
    /// Who has which username.
    pub usernames: &'a Usernames,
    /// How far the sources can be acted on.
    pub sources: &'a Sources,
    /// The namespaces.
    pub namespaces: &'a Namespaces,
    /// The access policy; `None` if it cannot be read: then the gate lets nothing new pass, and nothing is taken away because of it.
    pub policy: Option<&'a AccessPolicy>,
    /// What was granted.
    pub ledger: &'a Ledger,
    /// Which installation writes.
    pub installation: &'a Installation,
}

/// Who is to hold a binding, by username.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Desired {
    /// The people.
    pub people: BTreeMap<String, Grantee>,
    /// How many people of the shard have a username that must not or may not be granted anything.
    pub refused: usize,
}

impl Owner<'_> {
    /// Which mapping.
    pub fn key(&self) -> &MappingKey {
        match self {
            Self::Live(live) => &live.mapping.key,
            Self::Frozen(key) | Self::Ended(key) => key,
        }
    }

    /// The generation of its spec; 0 if it has none.
    pub fn generation(&self) -> i64 {
        match self {
            Self::Live(live) => live.mapping.generation,
            Self::Frozen(_) | Self::Ended(_) => 0,
        }
    }
}

impl<'a> View<'a> {
    /// How far a source can be acted on.
    pub fn source_state(&self, name: &str) -> SourceState {
        self.sources.get(name).copied().unwrap_or_default()
    }

    /// Whether the person may be granted anything by that username: never one of Kubernetes' own, and with a policy only what it allows.
    pub fn allows(&self, username: &str) -> bool {
        match self.policy {
            Some(policy) => policy.subject(username).is_ok(),
            None => policy::subject(username).is_ok(),
        }
    }

    /// Who is to hold the binding. Empty for one that the mapping is not to have. Costs one shard.
    pub fn desired(&self, key: &BindingKey) -> Desired {
        let mut desired = Desired::default();
        let Owner::Live(live) = self.owner else { return desired };
        if !live.targets.has(&key.namespace, &key.role) || !live.layout.has(key.prefix) {
            return desired;
        }
        for (person, known) in live.people.shard(key.prefix) {
            if !self.allows(&known.username) {
                desired.refused += 1;
            } else if desired.people.len() < SUBJECTS_MAX && self.source_state(&person.source) == SourceState::Live {
                desired.people.insert(known.username.to_string(), grantee(person, known));
            }
        }
        desired
    }

    /// The bindings in which a person of the mapping is to be found in one namespace.
    pub fn places<'b>(&'b self, namespace: &'b str, hash: u64) -> impl Iterator<Item = BindingKey> + 'b {
        let live = match self.owner {
            Owner::Live(live) => Some(live),
            Owner::Frozen(_) | Owner::Ended(_) => None,
        };
        live.into_iter().flat_map(move |live| {
            let prefix = live.layout.shard_of(hash);
            live.targets.roles(namespace).map(move |role| BindingKey {
                owner: live.mapping.key.clone(),
                role: role.clone(),
                namespace: namespace.to_owned(),
                prefix,
            })
        })
    }

    /// Every binding to look at: those that are to be, those that were seen, and those that the ledger knows.
    pub fn keys(&self, seen: impl IntoIterator<Item = BindingKey>) -> BTreeSet<BindingKey> {
        let owner = self.owner.key();
        let mut keys: BTreeSet<BindingKey> = seen.into_iter().filter(|key| key.owner == *owner).collect();
        keys.extend(self.ledger.of_owner(owner).map(|(_, key)| key));
        if let Owner::Live(live) = self.owner {
            let shards = live.layout.shards().filter(|shard| live.people.count(*shard, 1) > 0);
            keys.extend(keys_of(owner, live.targets, shards));
        }
        keys
    }

    /// The reason for an operation of this mapping.
    pub(super) fn why(&self, source: &str, via: Option<u32>, cause: Cause) -> Why {
        let group = via.and_then(|n| group_ref(self.directory.source(source)?, n));
        Why {
            mapping: self.owner.key().clone(),
            generation: self.owner.generation(),
            source: source.to_owned(),
            group,
            cause,
        }
    }

    /// Why a person is granted something.
    pub(super) fn why_member(&self, grantee: &Grantee) -> Why {
        let source = self.directory.source(&grantee.source);
        let event = source.map(|source| joined(source, grantee.n, grantee.via)).unwrap_or_default();
        self.why(&grantee.source, Some(grantee.via), Cause::Member(event))
    }
}

/// The bindings of a mapping for some shards: with the touched shards, all that a changed person concerns.
pub fn keys_of<'a>(owner: &'a MappingKey, targets: &'a Targets, shards: impl IntoIterator<Item = Prefix>) -> BTreeSet<BindingKey> {
    let mut keys = BTreeSet::new();
    for prefix in shards {
        keys.extend(targets.pairs.iter().map(|(namespace, role)| BindingKey {
            owner: owner.clone(),
            role: role.clone(),
            namespace: namespace.clone(),
            prefix,
        }));
    }
    keys
}

fn grantee(key: &PersonKey, person: &Person) -> Grantee {
    Grantee {
        username: person.username.to_string(),
        source: key.source.to_string(),
        user: person.id,
        n: key.n,
        via: person.via,
    }
}

fn group_ref(source: &Source, n: u32) -> Option<GroupRef> {
    if let Some(group) = source.get(n) {
        return Some(GroupRef {
            id: group.id,
            name: group.name.to_string(),
        });
    }
    source.gone(n).map(|gone| GroupRef {
        id: gone.id,
        name: gone.name.to_string(),
    })
}
