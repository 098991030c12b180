//! The world's mapping, evaluated as the engine does it: by what changed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::world::World;
use crate::access::cells::{Aim, Basis, Cell, Cells};
use crate::access::desired::{Live, Owner, View};
use crate::access::expression::Expression;
use crate::access::ledger::Event;
use crate::access::mapping::Mapping;
use crate::access::names;
use crate::access::newcomers::{in_records, newcomers, unrecorded};
use crate::access::people::affected;
use crate::access::rule::Role;
use crate::access::select::{Selected, select};
use crate::access::shard::{Prefix, SubjectKind};
use crate::access::targets::{Targets, Whose, targets};
use crate::access::yields::Yields;
use crate::api::mapping::{RoleKind, RoleRef};

impl World {
    /// Brings usernames, selection, people and layout up to the directory, as the engine does: by what changed.
    pub fn evaluate(&mut self) {
        let mut looked_at: BTreeMap<Arc<str>, roaring::RoaringBitmap> = BTreeMap::new();
        let mut everything = false;
        for (name, expression) in &self.expressions {
            let source = self.directory.source(name);
            let changes = source.map(|s| s.changes_since(self.evaluated));
            let group = Expression::group("'okta:' + group.displayName").expect("compiles");
            let changed = match changes {
                Some(Some(changes)) => {
                    let named: Vec<u32> = changes.iter().map(|change| change.n).collect();
                    let renamed = self.group_names.update(&self.directory, name, &group, Some(&named));
                    for (source, n) in renamed {
                        looked_at.entry(source).or_default().insert(n);
                    }
                    let affected = source.map(|s| affected(s, &changes)).unwrap_or_default();
                    let changed = self
                        .usernames
                        .update(&self.directory, name, expression, Some(&affected.iter().collect::<Vec<_>>()));
                    *looked_at.entry(name.as_str().into()).or_default() |= affected;
                    changed
                }
                _ => {
                    everything = true;
                    self.group_names.update(&self.directory, name, &group, None);
                    self.usernames.update(&self.directory, name, expression, None)
                }
            };
            for (source, n) in changed {
                looked_at.entry(source).or_default().insert(n);
            }
        }
        let selected = select(&self.mapping, &self.mapping.sources, &self.directory);
        let known = if everything {
            Yields::default()
        } else {
            std::mem::take(&mut self.yields)
        };
        let yields = known.of(&self.mapping, &selected, &self.directory).expect("cheap");
        let selected = self.waiting(selected, &yields);
        let targets = targets(&self.mapping, &selected, &yields, &self.namespaces, self.policy.as_ref());
        let basis = Basis {
            owner: &self.mapping.key,
            directory: &self.directory,
            usernames: &self.usernames,
            group_names: &self.group_names,
        };
        let aim = |selected, targets| Aim {
            selected,
            targets,
            everyone: self.mapping.is_for_everyone(),
            kinds: &self.mapping.subjects,
        };
        let seen = |namespace: &str, role: &RoleRef| self.shards_at(namespace, role);
        let mut cells = self.cells.clone();
        if everything {
            cells = Cells::compute(&basis, aim(&selected, &targets), &seen);
        } else {
            cells.retarget(&basis, aim(&self.selected, &self.targets), aim(&selected, &targets), &seen);
            for (source, users) in &looked_at {
                cells.update(&basis, source, users);
            }
        }
        (self.selected, self.yields, self.targets, self.cells) = (selected, yields, targets, cells);
        self.evaluated = self.index;
    }

    /// With the groups that wait for an approval; what nobody recorded of that is recorded.
    fn waiting(&mut self, selected: Selected, yields: &Yields) -> Selected {
        let waiting = newcomers(&self.mapping, &selected, yields, &self.directory, &self.ledger);
        let (come, gone) = unrecorded(&self.mapping, &waiting, &self.ledger);
        let mapping = self.mapping.key.clone();
        self.access_index += 1;
        for groups in in_records(come) {
            let mapping = mapping.clone();
            self.record(Event::GroupsHeld { mapping, groups });
        }
        for groups in in_records(gone) {
            let mapping = mapping.clone();
            self.record(Event::GroupsFreed { mapping, groups });
        }
        selected.with_waiting(waiting.into_iter().map(|(group, _)| group).collect())
    }

    fn shards_at(&self, namespace: &str, role: &RoleRef) -> BTreeSet<Prefix> {
        let keys = self.cluster.values().filter_map(|o| names::identify(o, &self.installation));
        let here = keys.filter(|key| key.owner == self.mapping.key && key.namespace == namespace && key.role == *role);
        here.map(|key| key.prefix).collect()
    }

    /// Everybody whom the mapping means, when all its groups get the same.
    pub fn everyone(&self) -> &Cell {
        self.cells.get(&Whose::Everyone, SubjectKind::User).expect("something for everyone")
    }

    /// The first rule grants another role.
    pub fn grant(&mut self, role: &str) {
        self.mapping.grants[0].role = Role::Named(RoleRef {
            kind: RoleKind::ClusterRole,
            name: role.to_owned(),
        });
    }

    /// Another spec: what its expressions yield is not known.
    pub fn edit(&mut self, mapping: Mapping) {
        (self.mapping, self.yields) = (mapping, Yields::default());
    }

    /// Where the mapping grants what, as everything is now.
    pub fn now(&self) -> (Targets, Cells) {
        let yields = self.yields.of(&self.mapping, &self.selected, &self.directory).expect("cheap");
        let targets = targets(&self.mapping, &self.selected, &yields, &self.namespaces, self.policy.as_ref());
        let mut cells = self.cells.clone();
        let basis = Basis {
            owner: &self.mapping.key,
            directory: &self.directory,
            usernames: &self.usernames,
            group_names: &self.group_names,
        };
        let aim = |targets| Aim {
            selected: &self.selected,
            targets,
            everyone: self.mapping.is_for_everyone(),
            kinds: &self.mapping.subjects,
        };
        cells.retarget(&basis, aim(&self.targets), aim(&targets), &|namespace, role| {
            self.shards_at(namespace, role)
        });
        (targets, cells)
    }

    pub fn with_view<R>(&self, look: impl FnOnce(&View<'_>) -> R) -> R {
        let (targets, cells) = self.now();
        let owner = match self.state {
            "live" => Owner::Live(Live {
                mapping: &self.mapping,
                usable: &self.mapping.sources,
                selected: &self.selected,
                cells: &cells,
                targets: &targets,
            }),
            "frozen" => Owner::Frozen(&self.mapping.key),
            _ => Owner::Ended(&self.mapping.key),
        };
        look(&View {
            owner,
            directory: &self.directory,
            usernames: &self.usernames,
            group_names: &self.group_names,
            sources: &self.sources,
            namespaces: &self.namespaces,
            policy: self.policy.as_ref(),
            ledger: &self.ledger,
            installation: &self.installation,
        })
    }
}
