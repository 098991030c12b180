//! Which groups count, as their sources' `knownGroups` says: the engine sees the directory without the others.

use std::collections::BTreeMap;
use std::sync::Arc;

use roaring::RoaringBitmap;

use super::engine::Engine;
use crate::directory::{Change, Kind, What};

impl Engine {
    /// Hides the groups that do not count in the directory as it is seen now, and says which came to count or count no longer since that index.
    pub(super) fn hide_groups(&mut self, since: i64) -> BTreeMap<Arc<str>, RoaringBitmap> {
        let names: Vec<Arc<str>> = self.sources.keys().cloned().collect();
        let mut moved = BTreeMap::new();
        for name in names {
            let changes = self.seen.state.source(&name).and_then(|source| source.changes_since(since));
            let groups = self.hide_groups_of(&name, changes.as_deref());
            if !groups.is_empty() {
                moved.insert(name, groups);
            }
        }
        self.show_known();
        moved
    }

    /// Looks again at the groups that changed, or at all, and says which moved. Of a source whose spec is wrong everything stays as it was.
    pub(super) fn hide_groups_of(&mut self, name: &Arc<str>, changes: Option<&[Change]>) -> RoaringBitmap {
        let directory = self.seen.state.clone();
        let (Some(source), Some(Ok(compiled))) = (directory.source(name), self.sources.get(name)) else {
            return RoaringBitmap::new();
        };
        let before = self.ignored.get(name).cloned().unwrap_or_default();
        if compiled.known_groups.is_none() && before.is_empty() {
            return before;
        }
        let all = source.of_kind(Kind::Group);
        let looked: RoaringBitmap = match changes {
            None => all | &before,
            Some(changes) => changes
                .iter()
                .filter(|change| change.kind == Kind::Group && !matches!(change.what, What::Members { .. }))
                .map(|change| change.n)
                .collect(),
        };
        let ignored = compiled.ignored(source, looked.iter());
        let after = (&before - &looked) | &ignored;
        let moved = (&before ^ &after) & all;
        self.ignored.insert(name.clone(), after);
        moved
    }

    /// Makes the directory that is seen the one in which only known groups count.
    pub(super) fn show_known(&mut self) {
        let mut directory = self.seen.state.clone();
        for (name, groups) in &self.ignored {
            if directory.source(name).is_some_and(|source| source.ignored() != groups) {
                directory = Arc::new(directory.ignoring(name, groups));
            }
        }
        self.seen.state = directory;
    }

    /// Groups came to count, or count no longer: mappings choose again, and whoever is below one of them is looked at.
    pub(super) fn groups_moved(&mut self, name: &Arc<str>, groups: &RoaringBitmap) {
        for key in self.users_of(name) {
            self.reselect(&key);
        }
        let directory = self.seen.state.clone();
        let people = directory.source(name).map(|source| source.all_members_of_any(groups.iter()));
        self.people_changed(name, people, Vec::new());
    }
}
