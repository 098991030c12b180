//! Whom the ledger knows only by name, because the journal that knew more was lost and somebody accepted that. What becomes of them is decided in `diff` and the gate.

use std::sync::Arc;

use imbl::{OrdMap, OrdSet};

use super::{Binding, BindingId, Grantee, Ledger};
use crate::access::key::{BindingKey, MappingKey};

/// Where each of them holds something, and which losses were accepted.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Inherited {
    by_name: OrdMap<Arc<str>, OrdSet<BindingId>>,
    /// By the name of a journal, the UID of the object that was made anew last.
    accepted: OrdMap<Arc<str>, Arc<str>>,
}

impl Inherited {
    /// Somebody holds something there, and is known by name only.
    pub(super) fn note(&mut self, grantee: &Grantee, id: &BindingId) {
        if !grantee.is_inherited() {
            return;
        }
        self.by_name.entry(grantee.username.clone()).or_default().insert(id.clone());
    }

    /// Somebody goes, or is known by more than a name now.
    pub(super) fn forget(&mut self, grantee: &Grantee, id: &BindingId) {
        if !grantee.is_inherited() {
            return;
        }
        if let Some(ids) = self.by_name.get_mut(&grantee.username) {
            ids.remove(id);
            if ids.is_empty() {
                self.by_name.remove(&grantee.username);
            }
        }
    }
}

impl Ledger {
    pub(super) fn inherit(&mut self, id: &BindingId, key: BindingKey, uid: &str, names: &[String]) {
        // what is known better stays; and a second try after a crash changes nothing
        if self.bindings.contains_key(id) || names.is_empty() {
            return;
        }
        let owner = key.owner.clone();
        let mut binding = Binding {
            uid: Some(uid.into()),
            subjects: OrdMap::new(),
            key,
        };
        for name in names {
            let grantee = Arc::new(Grantee::inherited(binding.key.prefix.kind(), name));
            let grantee = self.holders.hold(&owner, &grantee);
            self.inherited.note(&grantee, id);
            binding.subjects.insert(grantee.username.clone(), grantee);
        }
        self.bindings.insert(id.clone(), Arc::new(binding));
        self.by_owner.entry(owner).or_default().insert(id.clone());
    }

    pub(super) fn accept_loss(&mut self, journal: &str, uid: &str) {
        self.inherited.accepted.insert(journal.into(), uid.into());
        // of the access journal nothing is left but what was inherited; of the directory's people only the names
        if journal != "directory" {
            return;
        }
        // nor is it known who they are whose grant has no outcome yet
        let open: Vec<(i64, u32)> = self.intents.keys().copied().collect();
        for id in open {
            let Some(intent) = self.intents.get_mut(&id) else { continue };
            let adds = &mut Arc::make_mut(intent).adds;
            for grantee in adds.iter_mut() {
                *grantee = Arc::new(Grantee::inherited(grantee.kind, &grantee.username));
            }
        }
        let ids: Vec<BindingId> = self.bindings.keys().cloned().collect();
        for id in ids {
            let Some(binding) = self.bindings.get_mut(&id) else { continue };
            let binding = Arc::make_mut(binding);
            let owner = binding.key.owner.clone();
            let known: Vec<Arc<Grantee>> = binding.subjects.values().filter(|g| !g.is_inherited()).cloned().collect();
            for before in known {
                self.holders.release(&owner, &before);
                let grantee = Arc::new(Grantee::inherited(before.kind, &before.username));
                let grantee = self.holders.hold(&owner, &grantee);
                self.inherited.note(&grantee, &id);
                binding.subjects.insert(grantee.username.clone(), grantee);
            }
        }
    }

    /// Whether the loss was accepted that this new Journal object follows.
    pub fn accepted(&self, journal: &str, uid: &str) -> bool {
        self.inherited.accepted.get(journal).is_some_and(|accepted| **accepted == *uid)
    }

    /// Where somebody holds something who is known only by that name.
    pub fn inherited(&self, name: &str) -> impl Iterator<Item = BindingKey> {
        let ids = self.inherited.by_name.get(name).into_iter().flatten();
        ids.filter_map(|id| self.key(id))
    }

    /// Whether a mapping has bindings of people who are known only by name.
    pub fn has_inherited(&self, owner: &MappingKey) -> bool {
        let ids = self.by_owner.get(owner).into_iter().flatten();
        !self.inherited.by_name.is_empty()
            && ids
                .filter_map(|id| self.bindings.get(id))
                .any(|binding| binding.subjects.values().any(|grantee| grantee.is_inherited()))
    }
}
