//! What the engine knows of each mapping between two looks: the compiled spec, people, places, shards. Values and pure steps only.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::access::desired::{Live, keys_of};
use crate::access::key::{BindingKey, MappingKey};
use crate::access::mapping::Mapping;
use crate::access::people::People;
use crate::access::policy::Refusal;
use crate::access::select::Selected;
use crate::access::shard::{Layout, Prefix};
use crate::access::status::{Failure, Held};
use crate::access::targets::Targets;

/// A mapping, as far as it is evaluated.
#[derive(Default)]
pub struct Owner {
    /// The compiled mapping; `None` when there is none, or none that can be read.
    pub mapping: Option<Arc<Mapping>>,
    /// The UID of the object; empty when there is none.
    pub uid: String,
    /// The generation that was looked at.
    pub generation: i64,
    /// The request for a look that it was looked at for.
    pub requested: Option<String>,
    /// Why there is no compiled mapping although there is an object.
    pub invalid: Option<Refusal>,
    /// The sources that it may use.
    pub usable: Vec<Arc<str>>,
    /// Why not the others.
    pub source_refusals: Vec<Refusal>,
    /// The groups.
    pub selected: Selected,
    /// The people.
    pub people: People,
    /// How they are cut.
    pub layout: Layout,
    /// Where what is granted.
    pub targets: Targets,
    /// What Kubernetes, or an object in the way, refuses, by binding.
    pub failing: BTreeMap<BindingKey, Failure>,
    /// What the gate holds, by binding.
    pub held: BTreeMap<BindingKey, Held>,
    /// It was deleted, and that counts: everything goes.
    pub ended: bool,
}

impl Owner {
    /// As the pure functions see it.
    pub fn live(&self) -> Option<Live<'_>> {
        Some(Live {
            mapping: self.mapping.as_deref()?,
            usable: &self.usable,
            selected: &self.selected,
            people: &self.people,
            layout: &self.layout,
            targets: &self.targets,
        })
    }

    /// The keys of the shards that hold these hashes, in every place.
    pub fn keys_of(&self, owner: &MappingKey, hashes: &[u64]) -> BTreeSet<BindingKey> {
        let shards: BTreeSet<Prefix> = hashes.iter().map(|hash| self.layout.shard_of(*hash)).collect();
        keys_of(owner, &self.targets, shards)
    }

    /// Fits the shards to the people; the keys of shards that came or went.
    pub fn fit(&mut self, owner: &MappingKey, touched: Option<&[u64]>) -> BTreeSet<BindingKey> {
        let after = self.layout.fit(&self.people, touched);
        let (came, went) = self.layout.changes(&after);
        self.layout = after;
        keys_of(owner, &self.targets, came.into_iter().chain(went))
    }

    /// Everything that is held, together.
    pub fn all_held(&self) -> Held {
        let mut all = Held::default();
        for held in self.held.values() {
            all.adds += held.adds;
            all.removals += held.removals;
            all.holds.extend(&held.holds);
        }
        all
    }
}
