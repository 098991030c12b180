//! What is held until somebody approves it, since when, and what was approved. What is held at all is decided in `gate`.

use std::sync::Arc;

use imbl::OrdMap;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{BindingId, Grantee, Ledger, Reason};
use crate::access::key::MappingKey;
use crate::access::why::Why;

/// What an approval is written on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum On {
    /// A mapping: it releases what is held of it.
    Mapping(MappingKey),
    /// A source: it releases what is held of its people, by any mapping.
    Source(String),
}

/// A removal that is held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// The number of its record: what an approval names.
    pub index: i64,
    /// Since when.
    pub since: Timestamp,
    /// From which source the person is.
    pub source: Arc<str>,
    /// Why the person would lose it.
    pub why: Arc<Why>,
}

/// How much of a mapping or source is held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// How many removals: one for each person and binding.
    pub removals: usize,
    /// How many groups.
    pub groups: usize,
    /// The newest record of one that ever was held.
    pub newest: i64,
}

/// All that is held.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Holds {
    held: OrdMap<BindingId, OrdMap<Arc<str>, Held>>,
    tallies: OrdMap<On, Tally>,
    approved: OrdMap<On, Approval>,
}

/// What somebody approved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Approval {
    /// The number that was written down last.
    pub asked: i64,
    /// Up to which record what is held may pass: never one that came after the approval.
    pub up_to: i64,
}

impl Tally {
    /// Whether nothing waits.
    pub fn is_empty(self) -> bool {
        self.removals == 0 && self.groups == 0
    }
}

impl Holds {
    pub(super) fn hold(&mut self, owner: &MappingKey, binding: &BindingId, grantee: &Grantee, held: Held) {
        let index = held.index;
        let of_binding = self.held.entry(binding.clone()).or_default();
        // recorded twice: the first counts
        if of_binding.contains_key(&*grantee.username) {
            return;
        }
        of_binding.insert(grantee.username.clone(), held);
        for on in [On::Mapping(owner.clone()), On::Source(grantee.source.clone())] {
            let tally = self.tallies.entry(on).or_default();
            tally.removals += 1;
            tally.newest = tally.newest.max(index);
        }
    }

    pub(super) fn free(&mut self, owner: &MappingKey, binding: &BindingId, username: &str) {
        let Some(of_binding) = self.held.get_mut(binding) else { return };
        let Some(held) = of_binding.remove(username) else { return };
        if of_binding.is_empty() {
            self.held.remove(binding);
        }
        for on in [On::Mapping(owner.clone()), On::Source(held.source.to_string())] {
            if let Some(tally) = self.tallies.get_mut(&on) {
                tally.removals = tally.removals.saturating_sub(1);
            }
        }
    }

    pub(super) fn free_all(&mut self, owner: &MappingKey, binding: &BindingId) {
        let usernames: Vec<Arc<str>> = self.held.get(binding).into_iter().flat_map(OrdMap::keys).cloned().collect();
        for username in usernames {
            self.free(owner, binding, &username);
        }
    }

    /// One group more or less waits, of that mapping and source; `index`: its record, if it begins to.
    pub(super) fn count_group(&mut self, mapping: &MappingKey, source: &str, index: Option<i64>) {
        for on in [On::Mapping(mapping.clone()), On::Source(source.to_owned())] {
            let tally = self.tallies.entry(on).or_default();
            match index {
                Some(index) => {
                    tally.groups += 1;
                    tally.newest = tally.newest.max(index);
                }
                None => tally.groups = tally.groups.saturating_sub(1),
            }
        }
    }

    /// What waits of that mapping and source has a newer record.
    pub(super) fn newer(&mut self, mapping: &MappingKey, source: &str, index: i64) {
        for on in [On::Mapping(mapping.clone()), On::Source(source.to_owned())] {
            let tally = self.tallies.entry(on).or_default();
            tally.newest = tally.newest.max(index);
        }
    }

    /// Answers up to which record.
    pub(super) fn approve(&mut self, on: &On, asked: i64) -> i64 {
        // what was never held cannot be approved beforehand
        let newest = self.tally(on).newest;
        let before = self.approval(on);
        let up_to = asked.min(newest).max(before.up_to);
        self.approved.insert(on.clone(), Approval { asked, up_to });
        up_to
    }

    pub(super) fn of_binding(&self, binding: &BindingId) -> impl Iterator<Item = (&str, &Held)> {
        self.held
            .get(binding)
            .into_iter()
            .flatten()
            .map(|(username, held)| (&**username, held))
    }

    pub(super) fn get(&self, binding: &BindingId, username: &str) -> Option<&Held> {
        self.held.get(binding)?.get(username)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = (&BindingId, &str, &Held)> {
        self.held
            .iter()
            .flat_map(|(binding, of)| of.iter().map(move |(username, held)| (binding, &**username, held)))
    }

    pub(super) fn tally(&self, on: &On) -> Tally {
        self.tallies.get(on).copied().unwrap_or_default()
    }

    pub(super) fn approval(&self, on: &On) -> Approval {
        self.approved.get(on).copied().unwrap_or_default()
    }
}

impl Ledger {
    /// Somebody's removals are held, by the record of that index.
    pub(super) fn held_since(&mut self, index: i64, since: Timestamp, id: &BindingId, why: &[Reason]) {
        let Some(binding) = self.bindings.get(id) else { return };
        for reason in why {
            let shared = Arc::new(reason.why.clone());
            for username in &reason.usernames {
                let Some(grantee) = binding.subjects.get(username.as_str()) else {
                    continue;
                };
                let held = Held {
                    index,
                    since,
                    source: grantee.source.as_str().into(),
                    why: shared.clone(),
                };
                self.holds.hold(&binding.key.owner, id, grantee, held);
            }
        }
    }
}
