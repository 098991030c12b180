//! Who in the cluster names a journal: the sources' statuses and the objects of ours. It gathers; `journal` compares.

use crate::api::names;
use crate::journal::{Known, Position};

use super::world::World;

/// What the statuses of this class's sources know of the directory journal. Another installation's journal is not ours.
pub fn of_directory(world: &World, class: &str) -> Vec<Known> {
    let ours = world
        .sources
        .items()
        .values()
        .filter(|s| s.spec.class.as_deref().unwrap_or_default() == class);
    let refs = ours.filter_map(|s| s.status.as_ref()?.journal.as_ref());
    refs.map(|j| Known {
        id: j.id.clone(),
        uid: Some(j.uid.clone()).filter(|u| !u.is_empty()),
        index: j.index,
        head: None,
    })
    .collect()
}

/// What the bindings of ours know of either journal: the installation's id.
pub fn of_bindings(world: &World) -> Vec<Known> {
    let mut ids: Vec<&String> = world
        .bindings
        .items()
        .values()
        .filter_map(|b| b.metadata.labels.as_ref()?.get(names::JOURNAL))
        .collect();
    ids.sort_unstable();
    ids.dedup();
    ids.into_iter()
        .map(|id| Known {
            id: id.clone(),
            uid: None,
            index: 0,
            head: None,
        })
        .collect()
}

/// Both journals are of one installation.
pub fn same(directory: &Position, access: &Position) -> bool {
    directory.id == access.id
}
