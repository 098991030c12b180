//! The bindings of ours as they were seen last, by mapping; what our own writes answered included. Nothing is decided here.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::access::binding::Observed;
use crate::access::key::{BindingKey, MappingKey};
use crate::access::shard::Prefix;
use crate::api::mapping::RoleRef;

/// All that stand.
#[derive(Default)]
pub struct Standing(HashMap<MappingKey, BTreeMap<BindingKey, Arc<Observed>>>);

impl Standing {
    /// One of them.
    pub fn get(&self, key: &BindingKey) -> Option<&Arc<Observed>> {
        self.0.get(&key.owner)?.get(key)
    }

    /// It stands, and like this.
    pub fn insert(&mut self, key: BindingKey, observed: Arc<Observed>) {
        match self.0.get_mut(&key.owner) {
            Some(of) => {
                of.insert(key, observed);
            }
            None => {
                self.0.insert(key.owner.clone(), BTreeMap::from([(key, observed)]));
            }
        }
    }

    /// It stands no more.
    pub fn remove(&mut self, key: &BindingKey) {
        if let Some(of) = self.0.get_mut(&key.owner) {
            of.remove(key);
            if of.is_empty() {
                self.0.remove(&key.owner);
            }
        }
    }

    /// All keys.
    pub fn keys(&self) -> impl Iterator<Item = &BindingKey> {
        self.0.values().flat_map(BTreeMap::keys)
    }

    /// Those of a mapping.
    pub fn of(&self, owner: &MappingKey) -> impl Iterator<Item = &BindingKey> {
        self.0.get(owner).into_iter().flat_map(BTreeMap::keys)
    }

    /// The parts of a mapping that stand for this role in this namespace.
    pub fn at(&self, owner: &MappingKey, namespace: &str, role: &RoleRef) -> impl Iterator<Item = Prefix> {
        let first = BindingKey {
            namespace: namespace.to_owned(),
            role: role.clone(),
            prefix: Prefix::ALL,
            owner: owner.clone(),
        };
        let end = (namespace.to_owned(), role.clone());
        let from = self.0.get(owner).map(|of| of.range(first..)).into_iter().flatten();
        from.map(|(key, _)| key)
            .take_while(move |key| key.namespace == end.0 && key.role == end.1)
            .map(|key| key.prefix)
    }

    /// How many a mapping has.
    pub fn count(&self, owner: &MappingKey) -> usize {
        self.0.get(owner).map_or(0, BTreeMap::len)
    }

    /// How many there are.
    pub fn total(&self) -> usize {
        self.0.values().map(BTreeMap::len).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::mapping::RoleKind;

    #[test]
    fn each_mapping_has_its_own() {
        let role = |name: &str| RoleRef {
            kind: RoleKind::ClusterRole,
            name: name.to_owned(),
        };
        let key = |owner: &str, namespace: &str, name: &str| BindingKey {
            namespace: namespace.to_owned(),
            role: role(name),
            prefix: Prefix::ALL,
            owner: MappingKey::cluster_role_mapping(owner),
        };
        let mut standing = Standing::default();
        let all = [
            key("m", "a", "view"),
            key("m", "a", "edit"),
            key("m", "b", "view"),
            key("n", "a", "view"),
        ];
        for one in &all {
            standing.insert(one.clone(), Arc::default());
            standing.insert(one.clone(), Arc::default());
        }
        let m = MappingKey::cluster_role_mapping("m");
        assert_eq!((standing.count(&m), standing.total(), standing.of(&m).count()), (3, 4, 3));
        assert_eq!(standing.keys().count(), 4);
        assert_eq!(standing.at(&m, "a", &role("view")).collect::<Vec<_>>(), [Prefix::ALL]);
        assert_eq!(standing.at(&m, "b", &role("edit")).count(), 0);
        standing.remove(&all[0]);
        standing.remove(&all[0]);
        assert!(standing.get(&all[0]).is_none() && standing.get(&all[1]).is_some());
        assert_eq!((standing.count(&m), standing.at(&m, "a", &role("view")).count()), (2, 0));
    }
}
