//! When it is looked at again which groups a mapping has. What it has is decided in `access::select`.

use std::time::Duration;

use tokio::time::Instant;

use super::engine::Engine;
use crate::access::key::MappingKey;
use crate::access::select::select;

/// Of the time that passes, one part in so many goes into looking at which groups one mapping has, while they change all the time; but it waits no longer than so.
const RESELECT_REST: u32 = 4;
const RESELECT_AT_LATEST: Duration = Duration::from_secs(2);

impl Engine {
    /// Looks at which groups a mapping has: now, unless that took so long the last time that others would have to wait for it again and again while a provider
    /// makes one group after the other. Until it is done nothing is granted by the mapping: who comes to a group may come to one that it does not mean any more.
    pub(super) fn reselect_soon(&mut self, key: &MappingKey) {
        let now = Instant::now();
        match self
            .owners
            .get(key)
            .and_then(|owner| owner.rests_until)
            .filter(|until| *until > now)
        {
            Some(until) => drop(self.reselecting.entry(key.clone()).or_insert(until)),
            None => {
                self.reselect(key);
                let cost = now.elapsed();
                if let Some(owner) = self.owners.get_mut(key) {
                    owner.rests_until = Some(Instant::now() + (cost * RESELECT_REST).min(RESELECT_AT_LATEST));
                }
            }
        }
    }

    /// What had to wait and is due.
    pub(super) fn reselect_due(&mut self) {
        let now = Instant::now();
        let due = self.reselecting.iter().filter(|(_, at)| **at <= now);
        let due: Vec<MappingKey> = due.map(|(key, _)| key.clone()).collect();
        for key in due {
            self.reselecting.remove(&key);
            self.reselect_soon(&key);
        }
    }

    pub(super) fn reselect(&mut self, key: &MappingKey) {
        let Some(owner) = self.owners.get(key) else { return };
        let Some(mapping) = owner.mapping.clone() else { return };
        let selected = select(&mapping, &owner.usable, &self.seen.state);
        // a group that is called otherwise may yield something else
        if selected != owner.selected || mapping.is_by_group() || mapping.approves_groups {
            self.retarget(key, &mapping, selected);
        }
    }
}
