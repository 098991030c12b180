//! The people of a mapping, by the groups that they are granted things through: one cell for each set of groups that some place has. Kept up at the cost of what changed.

use std::collections::{BTreeMap, BTreeSet};

use roaring::RoaringBitmap;

use super::key::{BindingKey, MappingKey};
use super::people::{People, PersonKey};
use super::select::{Group, Selected};
use super::shard::{Layout, Prefix};
use super::targets::{Targets, Whose};
use super::usernames::Usernames;
use crate::api::mapping::RoleRef;
use crate::directory::Directory;

/// Up to so many users are looked for by their groups; for more, every cell is looked at.
const FEW: u64 = 4096;

/// Some groups of a mapping, their people, and where these are granted what.
#[derive(Clone, Debug, Default)]
pub struct Cell {
    /// The groups.
    pub selected: Selected,
    /// Their people.
    pub people: People,
    /// How the people are cut.
    pub layout: Layout,
    /// Namespace and role, for each that is granted.
    pub pairs: BTreeSet<(String, RoleRef)>,
}

/// All cells of a mapping. Every place that it covers has one.
#[derive(Clone, Debug, Default)]
pub struct Cells(BTreeMap<Whose, Cell>);

/// What the people of a mapping depend on.
#[derive(Clone, Copy)]
pub struct Basis<'a> {
    /// The mapping.
    pub owner: &'a MappingKey,
    /// The directory.
    pub directory: &'a Directory,
    /// Who has which username.
    pub usernames: &'a Usernames,
}

/// What a mapping selects and where it grants it.
#[derive(Clone, Copy)]
pub struct Aim<'a> {
    /// Its groups.
    pub selected: &'a Selected,
    /// Where it grants what.
    pub targets: &'a Targets,
    /// Whether it grants something to all its groups alike.
    pub everyone: bool,
}

impl Cell {
    fn new(selected: Selected, basis: &Basis<'_>) -> Self {
        Self {
            people: People::compute(basis.directory, basis.usernames, &selected),
            selected,
            ..Self::default()
        }
    }

    /// The bindings of these shards, in every place.
    fn keys(&self, owner: &MappingKey, shards: impl IntoIterator<Item = Prefix>) -> BTreeSet<BindingKey> {
        let shards: BTreeSet<Prefix> = shards.into_iter().collect();
        let of = |(namespace, role): &(String, RoleRef)| {
            let (namespace, role) = (namespace.clone(), role.clone());
            shards.iter().map(move |prefix| key(owner, &namespace, &role, *prefix))
        };
        self.pairs.iter().flat_map(of).collect()
    }

    /// Its bindings at one place.
    pub fn keys_at(&self, owner: &MappingKey, namespace: &str, role: &RoleRef) -> Vec<BindingKey> {
        self.layout.shards().map(|prefix| key(owner, namespace, role, prefix)).collect()
    }

    /// The bindings that are to hold anybody.
    pub(super) fn inhabited(&self, owner: &MappingKey) -> BTreeSet<BindingKey> {
        self.keys(owner, self.layout.shards().filter(|shard| self.people.count(*shard, 1) > 0))
    }

    /// After something about these people changed: the bindings that hold them, and will. Who went lies in the shard as it was, who came in the shard as it is.
    fn touched(&mut self, owner: &MappingKey, people: &[PersonKey]) -> BTreeSet<BindingKey> {
        if people.is_empty() {
            return BTreeSet::new();
        }
        let hashes: Vec<u64> = people.iter().map(|person| person.hash).collect();
        let before = std::mem::take(&mut self.layout);
        self.layout = before.fit(&self.people, Some(&hashes));
        let (came, went) = before.changes(&self.layout);
        let was = hashes.iter().map(|hash| before.shard_of(*hash));
        let is = hashes.iter().map(|hash| self.layout.shard_of(*hash));
        let shards: BTreeSet<Prefix> = was.chain(is).chain(came).chain(went).collect();
        self.keys(owner, shards)
    }
}

fn key(owner: &MappingKey, namespace: &str, role: &RoleRef, prefix: Prefix) -> BindingKey {
    BindingKey {
        owner: owner.clone(),
        role: role.clone(),
        namespace: namespace.to_owned(),
        prefix,
    }
}

impl Cells {
    /// The cell of some groups.
    pub fn get(&self, whose: &Whose) -> Option<&Cell> {
        self.0.get(whose)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Cell> {
        self.0.values()
    }

    /// How many people there are in all cells, each counted once.
    pub fn count(&self) -> usize {
        if let (1, Some(cell)) = (self.0.len(), self.iter().next()) {
            return cell.people.len();
        }
        let mut all: BTreeMap<&str, RoaringBitmap> = BTreeMap::new();
        for (source, numbers) in self.iter().flat_map(|cell| cell.people.numbers()) {
            *all.entry(source).or_default() |= numbers;
        }
        all.values()
            .map(|numbers| usize::try_from(numbers.len()).unwrap_or(usize::MAX))
            .sum()
    }

    /// Everything about a mapping, from scratch. `seen`: the shards that stand at a place.
    pub fn compute(basis: &Basis<'_>, aim: Aim<'_>, seen: &dyn Fn(&str, &RoleRef) -> BTreeSet<Prefix>) -> Self {
        let mut cells = Self::default();
        let (selected, targets) = (Selected::default(), Targets::default());
        let nothing = Aim {
            selected: &selected,
            targets: &targets,
            everyone: false,
        };
        cells.retarget(basis, nothing, aim, seen);
        cells
    }

    /// Goes over to another selection, with the same filter of members, and to other targets. The bindings to look at.
    pub fn retarget(
        &mut self,
        basis: &Basis<'_>,
        before: Aim<'_>,
        after: Aim<'_>,
        seen: &dyn Fn(&str, &RoleRef) -> BTreeSet<Prefix>,
    ) -> BTreeSet<BindingKey> {
        let mut keys = BTreeSet::new();
        let mut moved: BTreeSet<(&String, &RoleRef)> = BTreeSet::new();
        for (namespace, role, whose) in before.targets.iter() {
            if after.targets.whose(namespace, role) != Some(whose) {
                moved.insert((namespace, role));
                if let Some(cell) = self.0.get_mut(whose) {
                    cell.pairs.remove(&(namespace.clone(), role.clone()));
                    keys.extend(cell.layout.shards().map(|prefix| key(basis.owner, namespace, role, prefix)));
                }
            }
        }
        if after.everyone {
            match self.0.get_mut(&Whose::Everyone) {
                Some(cell) => {
                    let touched = cell
                        .people
                        .reselect(basis.directory, basis.usernames, before.selected, after.selected);
                    cell.selected = after.selected.clone();
                    keys.extend(cell.touched(basis.owner, &touched));
                }
                None => drop(self.0.insert(Whose::Everyone, Cell::new(after.selected.clone(), basis))),
            }
        }
        let mut fresh: BTreeMap<&Whose, BTreeSet<Prefix>> = BTreeMap::new();
        if before.targets.pairs.is_empty() && after.everyone {
            fresh.insert(&Whose::Everyone, BTreeSet::new());
        }
        for (namespace, role, whose) in after.targets.iter() {
            if before.targets.whose(namespace, role) == Some(whose) {
                continue;
            }
            moved.insert((namespace, role));
            if let (Whose::Groups(groups), false) = (whose, self.0.contains_key(whose)) {
                self.0.insert(whose.clone(), Cell::new(part(after.selected, groups), basis));
                fresh.insert(whose, BTreeSet::new());
            }
            if let Some(stood) = fresh.get_mut(whose) {
                stood.extend(seen(namespace, role));
            }
            if let Some(cell) = self.0.get_mut(whose) {
                cell.pairs.insert((namespace.clone(), role.clone()));
            }
        }
        for (whose, stood) in fresh {
            if let Some(cell) = self.0.get_mut(whose) {
                cell.layout = Layout::of(stood).fit(&cell.people, None);
            }
        }
        for (namespace, role) in moved {
            let cell = after.targets.whose(namespace, role).and_then(|whose| self.0.get(whose));
            let shards = cell.into_iter().flat_map(|cell| cell.layout.shards());
            keys.extend(shards.map(|prefix| key(basis.owner, namespace, role, prefix)));
            keys.extend(
                seen(namespace, role)
                    .into_iter()
                    .map(|prefix| key(basis.owner, namespace, role, prefix)),
            );
        }
        self.0
            .retain(|whose, cell| !cell.pairs.is_empty() || (*whose == Whose::Everyone && after.everyone));
        keys
    }

    /// Looks again at users of a source. The bindings to look at. The cost is that of the affected users, their groups, and a glance at each cell.
    pub fn update(&mut self, basis: &Basis<'_>, source: &str, affected: &RoaringBitmap) -> BTreeSet<BindingKey> {
        let mut keys = BTreeSet::new();
        // whose groups these users are in now; who was in a group is among its people still
        let above = basis.directory.source(source).filter(|_| affected.len() <= FEW).map(|source| {
            let mut above = RoaringBitmap::new();
            affected.iter().for_each(|n| above |= source.ancestors(n));
            above
        });
        for (whose, cell) in &mut self.0 {
            let concerned = match (whose, &above) {
                (Whose::Groups(groups), Some(above)) => {
                    groups.iter().any(|(s, n)| **s == *source && above.contains(*n)) || cell.people.has_any(source, affected)
                }
                _ => true,
            };
            if concerned {
                let touched = cell
                    .people
                    .update(basis.directory, basis.usernames, &cell.selected, source, affected);
                keys.extend(cell.touched(basis.owner, &touched));
            }
        }
        keys
    }
}

/// Some groups of a selection.
fn part(selected: &Selected, groups: &[Group]) -> Selected {
    Selected {
        groups: groups.to_vec(),
        waiting: groups.iter().filter(|group| selected.waiting.contains(*group)).cloned().collect(),
        members: selected.members.clone(),
        ..Selected::default()
    }
}
