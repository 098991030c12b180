//! What is to be: one mapping at one moment, the bindings that it is to have, and who is to hold each. What differs from it is in `diff`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::cause::{joined, said};
use super::cells::{Cell, Cells};
use super::key::{BindingKey, MappingKey};
use super::ledger::{Grantee, Ledger};
use super::mapping::Mapping;
use super::names::Installation;
use super::people::{Person, PersonKey};
use super::policy::{self, AccessPolicy};
use super::select::Selected;
use super::shard::{SUBJECTS_MAX, SubjectKind};
use super::targets::{Namespaces, Targets};
use super::usernames::Usernames;
use super::why::{Cause, GroupRef, Why};
use crate::api::mapping::RoleRef;
use crate::directory::{Directory, Source};

/// In so many namespaces, at most, is looked for what replaces something in the whole cluster.
const INSTEAD_MAX: usize = 64;

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
    /// Its people, by the groups through which they are granted things.
    pub cells: &'a Cells,
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
    /// The same for groups.
    pub group_names: &'a Usernames,
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

impl<'a> Live<'a> {
    /// Who is granted the role in the namespace, of that kind; `None` if nobody is to be.
    pub fn cell(&self, namespace: &str, role: &RoleRef, kind: SubjectKind) -> Option<&'a Cell> {
        self.cells.get(self.targets.whose(namespace, role)?, kind)
    }

    /// Each role that is granted in the namespace, and to whom.
    pub fn cells_in(self, namespace: &str) -> impl Iterator<Item = (&'a RoleRef, &'a Cell)> + use<'a> {
        let (cells, roles) = (self.cells, self.targets.pairs.get(namespace));
        let roles = roles.into_iter().flatten();
        roles.flat_map(move |(role, whose)| cells.all_of(whose).map(move |cell| (role, cell)))
    }
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

    /// What subjects of that kind are called.
    pub fn names(&self, kind: SubjectKind) -> &'a Usernames {
        match kind {
            SubjectKind::User => self.usernames,
            SubjectKind::Group => self.group_names,
        }
    }

    /// Whether a subject of that name may be granted anything: never one of Kubernetes' own, and with a policy only what it allows.
    pub fn allows(&self, kind: SubjectKind, name: &str) -> bool {
        match self.policy {
            Some(policy) => policy.named(kind, name).is_ok(),
            None => policy::subject(name).is_ok(),
        }
    }

    /// Who is to hold the binding. Empty for one that the mapping is not to have. Costs one shard.
    pub fn desired(&self, key: &BindingKey) -> Desired {
        let mut desired = Desired::default();
        let Owner::Live(live) = self.owner else { return desired };
        let kind = key.prefix.kind();
        let Some(cell) = live.cell(&key.namespace, &key.role, kind) else {
            return desired;
        };
        if !cell.layout.has(key.prefix) || !self.is_there(&key.namespace) {
            return desired;
        }
        for (person, known) in cell.people.shard(key.prefix) {
            if !self.allows(kind, &known.username) {
                desired.refused += 1;
            } else if desired.people.len() < SUBJECTS_MAX && self.source_state(&person.source) == SourceState::Live {
                desired.people.insert(known.username.to_string(), grantee(kind, person, known));
            }
        }
        desired
    }

    /// Whether the namespace exists and is not going; the whole cluster, which has no name, always does.
    pub fn is_there(&self, namespace: &str) -> bool {
        is_there(self.namespaces, namespace)
    }

    /// The bindings in which a person, or a group, is to be found in one namespace.
    pub fn places<'b>(&'b self, namespace: &'b str, kind: SubjectKind, person: &'b PersonKey) -> impl Iterator<Item = BindingKey> + 'b {
        let live = match self.owner {
            Owner::Live(live) => Some(live),
            Owner::Frozen(_) | Owner::Ended(_) => None,
        };
        // What is granted in the whole cluster is granted there, too; and whoever loses it there may have got it in each namespace instead.
        let instead = live.filter(|live| namespace.is_empty() && live.targets.pairs.len() <= INSTEAD_MAX);
        let instead = instead.into_iter().flat_map(|live| live.targets.pairs.keys().map(String::as_str));
        let places: BTreeSet<&str> = [namespace, ""].into_iter().chain(instead).collect();
        let places: Vec<&str> = places.into_iter().filter(|namespace| self.is_there(namespace)).collect();
        live.into_iter().flat_map(move |live| {
            places.clone().into_iter().flat_map(move |namespace| {
                let cells = live.cells_in(namespace).filter(move |(_, cell)| cell.kind == kind);
                let theirs = cells.filter(|(_, cell)| cell.people.get(person).is_some());
                theirs.map(move |(role, cell)| BindingKey {
                    owner: live.mapping.key.clone(),
                    role: role.clone(),
                    namespace: namespace.to_owned(),
                    prefix: cell.layout.shard_of(person.hash),
                })
            })
        })
    }

    /// Every binding to look at: those that are to be, those that were seen, and those that the ledger knows.
    pub fn keys(&self, seen: impl IntoIterator<Item = BindingKey>) -> BTreeSet<BindingKey> {
        let owner = self.owner.key();
        let mut keys: BTreeSet<BindingKey> = seen.into_iter().filter(|key| key.owner == *owner).collect();
        keys.extend(self.ledger.of_owner(owner).map(|(_, key)| key));
        if let Owner::Live(live) = self.owner {
            keys.extend(live.cells.iter().flat_map(|cell| cell.inhabited(owner)));
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
        if grantee.kind == SubjectKind::Group {
            let group = self.directory.source(&grantee.source).and_then(|source| source.get(grantee.n));
            let event = group.map(|group| said(group)).unwrap_or_default();
            return self.why(&grantee.source, Some(grantee.via), Cause::GroupMapped(event));
        }
        let source = self.directory.source(&grantee.source);
        let event = source.map(|source| joined(source, grantee.n, grantee.via)).unwrap_or_default();
        self.why(&grantee.source, Some(grantee.via), Cause::Member(event))
    }
}

/// Whether the namespace exists and is not going; the whole cluster, which has no name, always does.
pub fn is_there(namespaces: &Namespaces, namespace: &str) -> bool {
    namespace.is_empty() || namespaces.get(namespace).is_some_and(|ns| !ns.terminating)
}

fn grantee(kind: SubjectKind, key: &PersonKey, person: &Person) -> Grantee {
    Grantee {
        kind,
        username: person.username.clone(),
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
