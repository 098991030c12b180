//! What waits for an approval: the budget as this term spends it, the records of what is held, and the annotations that release it. What is held is
//! decided in `access::gate` and `access::budget`.

use std::time::Duration;

use kube::api::ObjectMeta;
use tokio::time::Instant;

use super::engine::Engine;
use super::owner::Owner;
use crate::access::budget::{Budget, Unrecorded};
use crate::access::gate::Gated;
use crate::access::key::{BindingKey, MappingKey, MappingKind};
use crate::access::ledger::{Event as Record, Ledger, On};
use crate::api::limits::Limits;
use crate::api::names;

impl Engine {
    /// What the mapping may take away now; the removals that are sent are counted when they are.
    pub(super) fn budget<'a>(&'a self, ledger: &'a Ledger, owner: &'a MappingKey) -> Budget<'a> {
        Budget::new(ledger, &self.spending, owner, self.limits(owner), &self.source_limits)
    }

    /// None for a mapping whose end was said: its deletion, or its `notAfter`.
    fn limits(&self, key: &MappingKey) -> Option<Limits> {
        let owner = self.owners.get(key).filter(|owner| !owner.ended)?;
        owner.mapping.as_ref().map_or(Some(Limits::default()), |mapping| mapping.limits())
    }

    /// Records what the budget holds and nobody recorded, and what was held and is not to go any more.
    pub(super) fn record_holds(&mut self, key: &BindingKey, gated: &Gated) {
        if self.holding.contains(key) {
            return;
        }
        let (ledger, id) = (self.access.snapshot(), self.id_of(key));
        // what is not decided now is not free
        let decided = self.owners.get(&key.owner).is_some_and(|owner| !self.is_frozen(owner));
        let Unrecorded { held, freed, later } = Unrecorded::of(&ledger.state, &id, gated, decided);
        if later {
            // the outcome of the grant is recorded soon
            self.queue.add_at(key.clone(), Instant::now() + Duration::from_secs(1));
        }
        if held.is_empty() && freed.is_empty() {
            return;
        }
        self.holding.insert(key.clone());
        if !held.is_empty() {
            let binding = id.clone();
            self.recorder.now(Record::Held { binding, why: held });
        }
        if !freed.is_empty() {
            self.recorder.now(Record::Freed {
                binding: id,
                usernames: freed,
            });
        }
    }

    /// What was recorded is looked at once more, and told.
    pub(super) fn holds_recorded(&mut self) {
        if !self.meeting.is_empty() && self.recorder.is_idle() {
            let meeting = std::mem::take(&mut self.meeting);
            meeting.iter().for_each(|key| self.reselect(key));
            self.statuses_soon();
        }
        if !self.holding.is_empty() && self.recorder.is_idle() {
            let holding = std::mem::take(&mut self.holding);
            holding.into_iter().for_each(|key| self.queue.add(key));
            self.statuses_soon();
        }
    }

    /// Takes in the annotations by which somebody releases what is held: each number once, as an approval of what was held before it.
    pub(super) fn look_at_approvals(&mut self) {
        let ledger = self.access.snapshot();
        for (on, asked) in self.approvals() {
            if ledger.state.approval(&on).asked == asked {
                if self.approving.remove(&(on.clone(), asked)) {
                    self.release(&on);
                }
            } else if self.approving.insert((on.clone(), asked)) {
                tracing::info!(?on, asked, "what is held is approved");
                self.recorder.now(Record::Approved { on, asked });
            }
        }
    }

    /// What the annotations of mappings and sources say is approved.
    pub(super) fn approvals(&self) -> Vec<(On, i64)> {
        let asked = |meta: &ObjectMeta| meta.annotations.as_ref()?.get(names::APPROVE)?.parse::<i64>().ok();
        let mut found: Vec<(On, i64)> = Vec::new();
        for key in self.mapping_keys() {
            found.extend(self.meta(&key).and_then(asked).map(|asked| (On::Mapping(key), asked)));
        }
        for source in self.world.sources_of(&self.args.class) {
            let name = source.metadata.name.clone().unwrap_or_default();
            found.extend(asked(&source.metadata).map(|asked| (On::Source(name), asked)));
        }
        found
    }

    /// Looks again at what is held of a mapping, or of anybody of a source.
    fn release(&mut self, on: &On) {
        let concerned = |key: &MappingKey| match on {
            On::Mapping(mapping) => key == mapping,
            On::Source(_) => true,
        };
        let held = self
            .owners
            .iter()
            .filter(|(key, _)| concerned(key))
            .flat_map(|(_, owner)| owner.held.keys());
        let keys: Vec<BindingKey> = held.cloned().collect();
        keys.into_iter().for_each(|key| self.queue.add(key));
        let approving =
            |(key, owner): &(&MappingKey, &Owner)| concerned(key) && owner.mapping.as_ref().is_some_and(|mapping| mapping.approves_groups);
        let groups: Vec<MappingKey> = self.owners.iter().filter(approving).map(|(key, _)| key.clone()).collect();
        groups.iter().for_each(|key| self.reselect(key));
        self.statuses_soon();
    }

    /// The metadata of a mapping that is there.
    pub(super) fn meta(&self, key: &MappingKey) -> Option<&ObjectMeta> {
        match key.kind {
            MappingKind::RoleMapping => {
                let object = self.world.mappings.get(&format!("{}/{}", key.namespace, key.name))?;
                Some(&object.metadata)
            }
            MappingKind::ClusterRoleMapping => Some(&self.world.cluster_mappings.get(&key.name)?.metadata),
        }
    }
}
