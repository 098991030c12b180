//! `newGroups: Approve`: which groups of a mapping nobody approved yet, with what they yield now. What they would grant is held by `gate`.

use std::collections::BTreeSet;

use super::desired::Owner;
use super::diff::Judge;
use super::ledger::{BindingId, Grantee, Ledger, Newcomer};
use super::mapping::Mapping;
use super::select::{Group, Selected};
use super::shard::SubjectKind;
use super::yields::Yields;
use crate::directory::Directory;

/// How much of a group's name is recorded, in characters: a provider may call it anything.
const NAME_SHOWN: usize = 128;
/// How large one record may be, in bytes, about: well below what a batch may be.
const RECORD_BYTES: usize = 128 * 1024;

/// In lists that are small enough for a record each.
pub fn in_records(groups: Vec<Newcomer>) -> Vec<Vec<Newcomer>> {
    let (mut all, mut size) = (Vec::new(), usize::MAX);
    for group in groups {
        let own = group.name.len() * 2 + group.yields.len() + group.all.len() + group.source.len() + 160;
        if size.saturating_add(own) > RECORD_BYTES {
            all.push(Vec::new());
            size = 0;
        }
        size += own;
        all.last_mut()
            .into_iter()
            .for_each(|record: &mut Vec<Newcomer>| record.push(group.clone()));
    }
    all
}

/// The groups of the mapping that wait for an approval; none, if it asks for none.
pub fn newcomers(
    mapping: &Mapping,
    selected: &Selected,
    yields: &Yields,
    directory: &Directory,
    ledger: &Ledger,
) -> Vec<(Group, Newcomer)> {
    if !mapping.approves_groups || mapping.expired {
        return Vec::new();
    }
    let all = mapping.text_for_everyone();
    let waits = |group: &Group| {
        let resource = directory.source(&group.0)?.get(group.1)?;
        let text = yields.get(group).map(|yields| yields.text(mapping)).unwrap_or_default();
        // what grants nothing needs no approval
        if mapping.is_by_group() && text.is_empty() && !mapping.is_for_everyone() {
            return None;
        }
        let approved = ledger.is_approved(&mapping.key, &group.0, resource.id, &text);
        (!approved).then(|| Newcomer {
            source: group.0.to_string(),
            id: resource.id,
            name: resource.name.chars().take(NAME_SHOWN).collect(),
            yields: text,
            all: all.clone(),
        })
    };
    let groups = selected.groups.iter();
    groups.filter_map(|group| Some((group.clone(), waits(group)?))).collect()
}

/// What is to be recorded: who waits and is not recorded so, and who is recorded and does not wait.
pub fn unrecorded(mapping: &Mapping, waiting: &[(Group, Newcomer)], ledger: &Ledger) -> (Vec<Newcomer>, Vec<Newcomer>) {
    let recorded: BTreeSet<(&str, uuid::Uuid, &str)> = ledger
        .waiting_groups(&mapping.key)
        .map(|(source, id, waiting)| (source, id, &*waiting.yields))
        .collect();
    let now: BTreeSet<(&str, uuid::Uuid)> = waiting.iter().map(|(_, new)| (new.source.as_str(), new.id)).collect();
    let come = waiting.iter().map(|(_, new)| new);
    let come = come.filter(|new| !recorded.contains(&(new.source.as_str(), new.id, new.yields.as_str())));
    let gone = ledger
        .waiting_groups(&mapping.key)
        .filter(|(source, id, _)| !now.contains(&(*source, *id)));
    let gone = gone.map(|(source, id, _)| Newcomer {
        source: source.to_owned(),
        id,
        name: String::new(),
        yields: String::new(),
        all: String::new(),
    });
    (come.cloned().collect(), gone.collect())
}

impl Judge<'_, '_> {
    /// Whether the group through which somebody is meant waits for an approval.
    pub(super) fn waits(&self, wanted: &Grantee) -> bool {
        self.is_new(wanted) && !self.is_held_here(wanted)
    }

    pub(super) fn is_new(&self, wanted: &Grantee) -> bool {
        let group = (wanted.source.as_str().into(), wanted.via);
        matches!(self.view.owner, Owner::Live(live) if live.selected.waiting.contains(&group))
    }

    /// Whether somebody is still in the group through which they were granted what they have, and the mapping means it still.
    pub(super) fn still_through(&self, held: &Grantee) -> bool {
        let (Owner::Live(live), Some(source)) = (self.view.owner, self.view.directory.source(&held.source)) else {
            return true;
        };
        let inside = held.kind == SubjectKind::Group || source.ancestors(held.n).contains(held.via);
        inside && live.selected.has(&held.source, held.via)
    }

    /// Whether the person holds this role here already, in another part or under another name: then nobody gains anything.
    fn is_held_here(&self, wanted: &Grantee) -> bool {
        let (ledger, key) = (self.view.ledger, self.key);
        if !ledger.holders_of_mapping(&key.owner).contains(&wanted.user) {
            return false;
        }
        let here = ledger.in_namespace(&key.namespace);
        let mut here = here.filter(|other| other.owner == key.owner && other.role == key.role);
        here.any(|other| {
            let binding = ledger.binding(&BindingId::of(&other, &self.view.installation.class));
            let mut held = binding.into_iter().flat_map(|binding| binding.subjects.values());
            held.any(|held| held.is_person(wanted) && self.still_through(held))
        })
    }
}
