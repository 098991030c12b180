//! `newGroups: Approve`: which groups of a mapping nobody approved yet, with what they yield now. What they would grant is held by `gate`.

use std::collections::BTreeSet;

use super::ledger::{Ledger, Newcomer};
use super::mapping::Mapping;
use super::select::{Group, Selected};
use super::yields::Yields;
use crate::directory::Directory;

/// The groups of the mapping that wait for an approval; none, if it asks for none.
pub fn newcomers(
    mapping: &Mapping,
    selected: &Selected,
    yields: &Yields,
    directory: &Directory,
    ledger: &Ledger,
) -> Vec<(Group, Newcomer)> {
    if !mapping.approves_groups {
        return Vec::new();
    }
    let waits = |group: &Group| {
        let resource = directory.source(&group.0)?.get(group.1)?;
        let text = yields.get(group).map(|yields| yields.text()).unwrap_or_default();
        // what grants nothing needs no approval
        if mapping.is_by_group() && text.is_empty() && !mapping.is_for_everyone() {
            return None;
        }
        let approved = ledger.is_approved(&mapping.key, &group.0, resource.id, &text);
        (!approved).then(|| Newcomer {
            source: group.0.to_string(),
            id: resource.id,
            name: resource.name.to_string(),
            yields: text,
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
    let gone = gone.map(|(source, id, waiting)| Newcomer {
        source: source.to_owned(),
        id,
        name: waiting.name.to_string(),
        yields: waiting.yields.to_string(),
    });
    (come.cloned().collect(), gone.collect())
}
