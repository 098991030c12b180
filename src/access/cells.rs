//! The people of a mapping, by the groups that they are granted things through: one cell for each set of groups that some place has. Kept up at the cost of what changed.

use std::collections::{BTreeMap, BTreeSet};

use roaring::RoaringBitmap;

use super::key::{BindingKey, MappingKey};
use super::people::{People, PersonKey};
use super::select::{Group, Selected};
use super::shard::{Layout, Prefix, SubjectKind};
use super::targets::{Targets, Whose};
use super::usernames::Usernames;
use crate::api::mapping::RoleRef;
use crate::directory::Directory;

/// Up to so many users are looked for by their groups; for more, every cell is looked at.
const FEW: u64 = 4096;

/// Some groups of a mapping, their people, and where these are granted what.
#[derive(Clone, Debug, Default)]
pub struct Cell {
    /// Whether the people are granted things, or the groups themselves.
    pub kind: SubjectKind,
    /// The groups.
    pub selected: Selected,
    /// Their people; or the groups, each as if it were a person.
    pub people: People,
    /// How the people are cut.
    pub layout: Layout,
    /// Namespace and role, for each that is granted.
    pub pairs: BTreeSet<(String, RoleRef)>,
}

/// All cells of a mapping. Every place that it covers has one.
#[derive(Clone, Debug, Default)]
pub struct Cells(BTreeMap<(Whose, SubjectKind), Cell>);

/// What the people of a mapping depend on.
#[derive(Clone, Copy)]
pub struct Basis<'a> {
    /// The mapping.
    pub owner: &'a MappingKey,
    /// The directory.
    pub directory: &'a Directory,
    /// Who has which username.
    pub usernames: &'a Usernames,
    /// The same for groups.
    pub group_names: &'a Usernames,
}

impl<'a> Basis<'a> {
    fn names(&self, kind: SubjectKind) -> &'a Usernames {
        match kind {
            SubjectKind::User => self.usernames,
            SubjectKind::Group => self.group_names,
        }
    }
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
    /// Whom: people, groups, or both.
    pub kinds: &'a [SubjectKind],
}

impl Cell {
    fn new(kind: SubjectKind, selected: Selected, basis: &Basis<'_>) -> Self {
        Self {
            kind,
            people: People::of_kind(kind, basis.directory, basis.names(kind), &selected),
            selected,
            layout: Layout::of_kind(kind, []),
            pairs: BTreeSet::new(),
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
    pub fn get(&self, whose: &Whose, kind: SubjectKind) -> Option<&Cell> {
        self.0.get(&(whose.clone(), kind))
    }

    /// The cells of some groups: of their people, or of themselves, or both.
    pub fn all_of(&self, whose: &Whose) -> impl Iterator<Item = &Cell> + use<'_> {
        let first = (whose.clone(), SubjectKind::User);
        let last = (whose.clone(), SubjectKind::Group);
        self.0.range(first..=last).map(|(_, cell)| cell)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Cell> {
        self.0.values()
    }

    /// How many people, or groups, there are in all cells, each counted once.
    pub fn count(&self, kind: SubjectKind) -> usize {
        let cells = || self.iter().filter(|cell| cell.kind == kind);
        if let (1, Some(cell)) = (cells().count(), cells().next()) {
            return cell.people.len();
        }
        // many small sets: sorting is faster than merging one after the other
        let mut all: BTreeMap<&str, Vec<u32>> = BTreeMap::new();
        for (source, numbers) in cells().flat_map(|cell| cell.people.numbers()) {
            all.entry(source).or_default().extend(numbers);
        }
        let distinct = |mut numbers: Vec<u32>| {
            numbers.sort_unstable();
            numbers.dedup();
            numbers.len()
        };
        all.into_values().map(distinct).sum()
    }

    /// Everything about a mapping, from scratch. `seen`: the shards that stand at a place.
    pub fn compute(basis: &Basis<'_>, aim: Aim<'_>, seen: &dyn Fn(&str, &RoleRef) -> BTreeSet<Prefix>) -> Self {
        let mut cells = Self::default();
        let (selected, targets) = (Selected::default(), Targets::default());
        let nothing = Aim {
            selected: &selected,
            targets: &targets,
            everyone: false,
            kinds: aim.kinds,
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
        let kinds = after.kinds;
        for (namespace, role, whose) in before.targets.iter() {
            if after.targets.whose(namespace, role) != Some(whose) {
                moved.insert((namespace, role));
                for kind in kinds {
                    if let Some(cell) = self.0.get_mut(&(whose.clone(), *kind)) {
                        cell.pairs.remove(&(namespace.clone(), role.clone()));
                        keys.extend(cell.keys_at(basis.owner, namespace, role));
                    }
                }
            }
        }
        let mut fresh: BTreeMap<(&Whose, SubjectKind), BTreeSet<Prefix>> = BTreeMap::new();
        for kind in kinds.iter().filter(|_| after.everyone) {
            match self.0.get_mut(&(Whose::Everyone, *kind)) {
                Some(cell) => {
                    let names = basis.names(*kind);
                    let touched = cell.people.reselect(basis.directory, names, before.selected, after.selected);
                    cell.selected = after.selected.clone();
                    keys.extend(cell.touched(basis.owner, &touched));
                }
                None => drop(
                    self.0
                        .insert((Whose::Everyone, *kind), Cell::new(*kind, after.selected.clone(), basis)),
                ),
            }
            if before.targets.pairs.is_empty() {
                fresh.insert((&Whose::Everyone, *kind), BTreeSet::new());
            }
        }
        for (namespace, role, whose) in after.targets.iter() {
            if before.targets.whose(namespace, role) == Some(whose) {
                continue;
            }
            moved.insert((namespace, role));
            for kind in kinds {
                let at = (whose.clone(), *kind);
                if let (Whose::Groups(groups), false) = (whose, self.0.contains_key(&at)) {
                    self.0.insert(at.clone(), Cell::new(*kind, part(after.selected, groups), basis));
                    fresh.insert((whose, *kind), BTreeSet::new());
                }
                if let Some(stood) = fresh.get_mut(&(whose, *kind)) {
                    stood.extend(seen(namespace, role));
                }
                if let Some(cell) = self.0.get_mut(&at) {
                    cell.pairs.insert((namespace.clone(), role.clone()));
                }
            }
        }
        for ((whose, kind), stood) in fresh {
            if let Some(cell) = self.0.get_mut(&(whose.clone(), kind)) {
                cell.layout = Layout::of_kind(kind, stood).fit(&cell.people, None);
            }
        }
        for (namespace, role) in moved {
            let whose = after.targets.whose(namespace, role);
            let cells = whose.into_iter().flat_map(|whose| self.all_of(whose));
            keys.extend(cells.flat_map(|cell| cell.keys_at(basis.owner, namespace, role)));
            keys.extend(
                seen(namespace, role)
                    .into_iter()
                    .map(|prefix| key(basis.owner, namespace, role, prefix)),
            );
        }
        self.0
            .retain(|(whose, _), cell| !cell.pairs.is_empty() || (*whose == Whose::Everyone && after.everyone));
        keys
    }

    /// Looks again at users and groups of a source. The bindings to look at. The cost is that of the affected users, their groups, and a glance at each cell.
    pub fn update(&mut self, basis: &Basis<'_>, source: &str, affected: &RoaringBitmap) -> BTreeSet<BindingKey> {
        let mut keys = BTreeSet::new();
        // whose groups these users are in now; who was in a group is among its people still
        let asked = affected.len() <= FEW && self.0.keys().any(|(whose, _)| *whose != Whose::Everyone);
        let above = basis.directory.source(source).filter(|_| asked).map(|source| {
            let mut above = RoaringBitmap::new();
            affected.iter().for_each(|n| above |= source.ancestors(n));
            above
        });
        for ((whose, kind), cell) in &mut self.0 {
            let concerned = match (whose, &above) {
                (Whose::Groups(groups), _) if *kind == SubjectKind::Group => {
                    groups.iter().any(|(s, n)| **s == *source && affected.contains(*n)) || cell.people.has_any(source, affected)
                }
                (Whose::Groups(groups), Some(above)) => {
                    groups.iter().any(|(s, n)| **s == *source && above.contains(*n)) || cell.people.has_any(source, affected)
                }
                _ => true,
            };
            if concerned {
                let touched = cell
                    .people
                    .update(basis.directory, basis.names(*kind), &cell.selected, source, affected);
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
