//! What the engine knows of each mapping between two looks: the compiled spec, people, places, shards. Values and pure steps only.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::access::cells::{Aim, Cells};
use crate::access::desired::Live;
use crate::access::key::BindingKey;
use crate::access::mapping::Mapping;
use crate::access::policy::Refusal;
use crate::access::select::Selected;
use crate::access::status::{Failure, Held};
use crate::access::targets::Targets;
use crate::access::yields::Yields;

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
    /// What each group yields.
    pub yields: Yields,
    /// The people, by the groups through which they are granted things.
    pub cells: Cells,
    /// Where what is granted.
    pub targets: Targets,
    /// What Kubernetes, or an object in the way, refuses, by binding.
    pub failing: BTreeMap<BindingKey, Failure>,
    /// The namespaces that could not be made.
    pub unmade: BTreeMap<String, Failure>,
    /// What the gate holds, by binding.
    pub held: BTreeMap<BindingKey, Held>,
    /// Until then it is not looked at again which groups it has, unless it is looked at from scratch.
    pub rests_until: Option<tokio::time::Instant>,
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
            cells: &self.cells,
            targets: &self.targets,
        })
    }

    /// What it selects and where it grants it.
    pub fn aim(&self) -> Aim<'_> {
        Aim {
            selected: &self.selected,
            targets: &self.targets,
            everyone: self.mapping.as_ref().is_some_and(|mapping| mapping.is_for_everyone()),
            kinds: self.mapping.as_ref().map_or(&[], |mapping| &mapping.subjects),
        }
    }

    /// It cannot be obeyed, for this reason: nothing is known of what it means.
    pub fn unread(&mut self, refusal: Refusal) {
        (self.mapping, self.invalid) = (None, Some(refusal));
        (self.selected, self.yields, self.cells, self.targets) = Default::default();
    }

    /// Everything that is held, together.
    pub fn all_held(&self) -> Held {
        let mut all = Held::default();
        self.held.values().for_each(|held| all.add(held));
        all
    }
}
