//! What waits for an approval: the budget as this term spends it, the records of what is held, and the annotations that release it. What is held is
//! decided in `access::gate` and `access::budget`.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::ResourceExt as _;
use tokio::time::Instant;

use super::engine::Engine;
use crate::access::budget::Budget;
use crate::access::diff::{Class, Removal};
use crate::access::gate::{Gated, Hold};
use crate::access::key::{BindingKey, MappingKey};
use crate::access::ledger::{Event as Record, Ledger, On, reasons};
use crate::api::limits::Limits;
use crate::api::names;

impl Engine {
    /// What the mapping may take away now; the removals that are sent are counted by [`Self::spend`].
    pub(super) fn budget<'a>(&'a self, ledger: &'a Ledger, owner: &'a MappingKey) -> Budget<'a> {
        Budget::new(ledger, &self.spending, owner, self.limits(owner), &self.source_limits)
    }

    /// None for a mapping whose end was said: its deletion, or its `notAfter`.
    fn limits(&self, key: &MappingKey) -> Option<Limits> {
        let owner = self.owners.get(key).filter(|owner| !owner.ended)?;
        match &owner.mapping {
            Some(mapping) if mapping.expired => None,
            Some(mapping) => Some(mapping.limits),
            None => Some(Limits::default()),
        }
    }

    /// These removals are being made: what they cost is not there any more, whether or not they are recorded yet.
    pub(super) fn spend(&mut self, owner: &MappingKey, removals: &[Removal]) {
        let now = Timestamp::now();
        for removal in removals {
            let Some(grantee) = &removal.grantee else { continue };
            if removal.counted {
                self.spending.spend(owner, &grantee.source, grantee.user, now);
            } else if removal.class == Class::Said {
                self.spending.said(&grantee.source, grantee.user, now);
            }
        }
    }

    /// Records what the budget holds and nobody recorded, and what was held and is not to go any more.
    pub(super) fn record_holds(&mut self, key: &BindingKey, gated: &Gated) {
        if self.holding.contains(key) {
            return;
        }
        let (ledger, id) = (self.access.snapshot(), self.id_of(key));
        let known = |username: &str| {
            ledger
                .state
                .binding(&id)
                .is_some_and(|binding| binding.subjects.contains_key(username))
        };
        let by_budget = gated.held_removals.iter().filter(|(_, hold)| *hold == Hold::Budget);
        let new = by_budget.filter(|(removal, _)| ledger.state.held(&id, &removal.subject.name).is_none());
        let (new, unknown): (Vec<_>, Vec<_>) = new.partition(|(removal, _)| known(&removal.subject.name));
        if !unknown.is_empty() {
            // the outcome of the grant is recorded soon
            self.queue.add_at(key.clone(), Instant::now() + Duration::from_secs(1));
        }
        let why = reasons(new.iter().map(|(removal, _)| (removal.subject.name.as_str(), &removal.why)));
        // what is not decided now is not free
        let frozen = self.owners.get(&key.owner).is_none_or(|owner| self.is_frozen(owner));
        let due: BTreeSet<&str> = gated.removals().map(|removal| removal.subject.name.as_str()).collect();
        let free = ledger.state.held_of(&id).filter(|(name, _)| !frozen && !due.contains(name));
        let usernames: Vec<String> = free.map(|(name, _)| name.to_owned()).collect();
        if why.is_empty() && usernames.is_empty() {
            return;
        }
        self.holding.insert(key.clone());
        if !why.is_empty() {
            self.recorder.now(Record::Held { binding: id.clone(), why });
        }
        if !usernames.is_empty() {
            self.recorder.now(Record::Freed { binding: id, usernames });
        }
    }

    /// What was recorded is looked at once more, and told.
    pub(super) fn holds_recorded(&mut self) {
        if !self.holding.is_empty() && self.recorder.is_idle() {
            let holding = std::mem::take(&mut self.holding);
            holding.into_iter().for_each(|key| self.queue.add(key));
            self.statuses_soon();
        }
    }

    /// Takes in the annotations by which somebody releases what is held: each number once, as an approval of what was held before it.
    pub(super) fn look_at_approvals(&mut self) {
        let ledger = self.access.snapshot();
        let asked = |annotations: &std::collections::BTreeMap<String, String>| annotations.get(names::APPROVE)?.parse::<i64>().ok();
        let mut found: Vec<(On, i64)> = Vec::new();
        for key in self.mapping_keys() {
            found.extend(self.annotations(&key).and_then(asked).map(|asked| (On::Mapping(key), asked)));
        }
        for name in self.sources.keys() {
            let source = self.world.sources.get(name);
            found.extend(
                source
                    .and_then(|s| asked(s.annotations()))
                    .map(|asked| (On::Source(name.to_string()), asked)),
            );
        }
        for (on, asked) in found {
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
        self.statuses_soon();
    }

    /// The annotations of a mapping that is there.
    pub(super) fn annotations(&self, key: &MappingKey) -> Option<&std::collections::BTreeMap<String, String>> {
        use crate::access::key::MappingKind;
        match key.kind {
            MappingKind::RoleMapping => {
                let object = self.world.mappings.get(&format!("{}/{}", key.namespace, key.name))?;
                Some(object.annotations())
            }
            MappingKind::ClusterRoleMapping => Some(self.world.cluster_mappings.get(&key.name)?.annotations()),
        }
    }

    /// The limits of the sources that can be read.
    pub(super) fn read_source_limits(&mut self) {
        let read = |(name, source): (&Arc<str>, &Result<_, _>)| {
            let source: &crate::access::source::CompiledSource = source.as_ref().ok()?;
            Some((name.clone(), source.limits))
        };
        self.source_limits = self.sources.iter().filter_map(read).collect();
    }
}
