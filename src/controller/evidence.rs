//! Who in the cluster names a journal: the sources' statuses and the objects of ours. It gathers; `journal` compares.

use crate::api::names;
use crate::journal::{Known, Position};

use super::world::World;

/// What the statuses of this class's sources know of the directory journal. Another installation's journal is not ours.
pub fn of_directory(world: &World, class: &str) -> Vec<Known> {
    let refs = world.sources_of(class).filter_map(|s| s.status.as_ref()?.journal.as_ref());
    refs.map(|j| Known {
        id: j.id.clone(),
        uid: Some(j.uid.clone()).filter(|u| !u.is_empty()),
        index: j.index,
        head: Some(j.head.clone()).filter(|h| !h.is_empty()),
    })
    .collect()
}

/// What the bindings of ours know of either journal: the installation's id.
pub fn of_bindings(world: &World) -> Vec<Known> {
    let mut ids: Vec<&String> = world.bindings.iter().filter_map(|(_, b)| b.labels.get(names::JOURNAL)).collect();
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

/// Of what the bindings know, what counts for the journal `id`: while some of them name it, one that names another is not ours. Whoever
/// may write RoleBindings in some namespace must not be able to make the journal look lost.
pub fn of_this(mut bindings: Vec<Known>, id: &str) -> Vec<Known> {
    if bindings.iter().any(|known| known.id == id) {
        bindings.retain(|known| known.id == id);
    }
    bindings
}

/// Both journals are of one installation.
pub fn same(directory: &Position, access: &Position) -> bool {
    directory.id == access.id
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_binding_of_another_journal_counts_only_where_none_is_of_this_one() {
        let known = |ids: &[&str]| -> Vec<Known> {
            let named = |id: &&str| Known {
                id: (*id).to_owned(),
                uid: None,
                index: 0,
                head: None,
            };
            ids.iter().map(named).collect()
        };
        assert_eq!(of_this(known(&["foreign", "ours"]), "ours"), known(&["ours"]));
        assert_eq!(of_this(known(&["before"]), "new"), known(&["before"]));
        assert!(of_this(Vec::new(), "ours").is_empty());
    }
}
