//! Which groups count, as their sources' `knownGroups` says: the engine sees the directory without the others.

use std::collections::BTreeMap;
use std::sync::Arc;

use roaring::RoaringBitmap;

use super::engine::Engine;
use super::owner::Owner;
use crate::access::key::MappingKey;
use crate::access::mapping::Mapping;
use crate::access::source::{ignored, known_groups};
use crate::access::yields::TOO_COSTLY;
use crate::directory::{Change, Kind, What};

impl Engine {
    /// Hides the groups that do not count in the directory as it is seen now, and says which came to count or count no longer since that index.
    pub(super) fn hide_groups(&mut self, since: i64) -> BTreeMap<Arc<str>, RoaringBitmap> {
        let names: Vec<Arc<str>> = self.ignored.keys().cloned().collect();
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

    /// Looks again at the groups that changed, or at all, and says which moved. While nobody knows which of a source's groups count, because the
    /// object is not there or its filter is wrong, everything stays as it was.
    pub(super) fn hide_groups_of(&mut self, name: &Arc<str>, changes: Option<&[Change]>) -> RoaringBitmap {
        let object = self.world.sources.get(name);
        let object = object.filter(|object| object.spec.class.clone().unwrap_or_default() == self.args.class);
        let Some(Ok(known)) = object.map(known_groups) else {
            return RoaringBitmap::new();
        };
        let directory = self.seen.state.clone();
        let before = self.ignored.entry(name.clone()).or_default();
        let Some(source) = directory.source(name).filter(|_| known.is_some() || !before.is_empty()) else {
            return RoaringBitmap::new();
        };
        let all = source.of_kind(Kind::Group);
        let looked: RoaringBitmap = match changes {
            None => all | &*before,
            Some(changes) => changes
                .iter()
                .filter(|change| change.kind == Kind::Group && !matches!(change.what, What::Members { .. }))
                .map(|change| change.n)
                .collect(),
        };
        let after = (&*before - &looked) | ignored(known.as_ref(), source, looked.iter());
        let moved = (&*before ^ &after) & all;
        *before = after;
        moved
    }

    /// A source of the mapping of which this term does not know yet which of its groups count. Until it does nothing of the mapping may change: a group
    /// that does not count could take a name from one that does.
    pub(super) fn unread_source<'a>(&self, mapping: &'a Mapping) -> Option<&'a str> {
        let unread = |name: &&Arc<str>| !self.ignored.contains_key(*name) && self.seen.state.source(name).is_some();
        mapping.sources.iter().find(unread).map(AsRef::as_ref)
    }

    /// Looks again at the mappings that could not be read, or not be used, so far.
    pub(super) fn evaluate_unread(&mut self) {
        let unread = self
            .owners
            .iter()
            .filter(|(_, owner)| owner.mapping.is_none() && !owner.uid.is_empty());
        let unread: Vec<MappingKey> = unread.map(|(key, _)| key.clone()).collect();
        unread.iter().for_each(|key| self.evaluate(key));
    }

    /// Mappings whose expressions took too many steps may have fewer groups by now.
    pub(super) fn evaluate_costly(&mut self) {
        let costly = |owner: &Owner| owner.invalid.as_ref().is_some_and(|refusal| refusal.reason == TOO_COSTLY);
        let keys: Vec<MappingKey> = self.owners.iter().filter(|(_, o)| costly(o)).map(|(key, _)| key.clone()).collect();
        keys.iter().for_each(|key| self.evaluate(key));
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
