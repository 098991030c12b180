//! Which bindings are to be looked at, when, and how often that failed. Time comes in as a value; what is done with a binding is `work`'s.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::Duration;

use tokio::time::Instant;

use crate::access::key::BindingKey;
use crate::access::why::Cause;

/// The shortest and the longest wait after a failure.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));

/// Bindings to look at, each at most once, each with what set it off last.
#[derive(Default)]
pub struct Queue {
    due: BTreeMap<BindingKey, Cause>,
    later: BTreeSet<(Instant, BindingKey)>,
    tries: HashMap<BindingKey, u32>,
    busy: HashSet<BindingKey>,
    again: BTreeMap<BindingKey, Cause>,
}

impl Queue {
    /// Looks at a binding soon; if something is under way there, afterwards.
    pub fn add(&mut self, key: BindingKey, cause: Cause) {
        if self.busy.contains(&key) {
            self.again.insert(key, cause);
        } else {
            self.due.insert(key, cause);
        }
    }

    /// Looks at a binding at a later time.
    pub fn add_at(&mut self, key: BindingKey, at: Instant) {
        self.later.insert((at, key));
    }

    /// Looks at a binding again after a failure, later each time.
    pub fn retry(&mut self, key: BindingKey, now: Instant) {
        let tries = self.tries.entry(key.clone()).or_insert(0);
        let wait = BACKOFF.0.saturating_mul(1 << (*tries).min(10)).min(BACKOFF.1);
        *tries += 1;
        self.later.insert((now + wait, key));
    }

    /// A binding went well: the next failure is the first.
    pub fn well(&mut self, key: &BindingKey) {
        self.tries.remove(key);
    }

    /// Everything that is due now.
    pub fn take(&mut self, now: Instant) -> Vec<(BindingKey, Cause)> {
        while self.later.first().is_some_and(|(at, _)| *at <= now) {
            if let Some((_, key)) = self.later.pop_first() {
                self.add_if_absent(key);
            }
        }
        std::mem::take(&mut self.due).into_iter().collect()
    }

    fn add_if_absent(&mut self, key: BindingKey) {
        if self.busy.contains(&key) {
            self.again.entry(key).or_insert(Cause::Repair);
        } else {
            self.due.entry(key).or_insert(Cause::Repair);
        }
    }

    /// When to look next, if nothing else happens.
    pub fn next(&self) -> Option<Instant> {
        if self.due.is_empty() { self.later.first().map(|(at, _)| *at) } else { Some(Instant::now()) }
    }

    /// Something is under way at this binding.
    pub fn begin(&mut self, key: &BindingKey) {
        self.busy.insert(key.clone());
    }

    /// It ended: what came in meanwhile is due now.
    pub fn end(&mut self, key: &BindingKey) {
        self.busy.remove(key);
        if let Some(cause) = self.again.remove(key) {
            self.due.insert(key.clone(), cause);
        }
    }

    /// Whether something is under way at this binding.
    pub fn is_busy(&self, key: &BindingKey) -> bool {
        self.busy.contains(key)
    }

    /// Whether anything of a mapping is due, waits or is under way.
    pub fn pending(&self, owner: &crate::access::key::MappingKey) -> bool {
        self.busy.iter().any(|k| k.owner == *owner) || self.due.keys().any(|k| k.owner == *owner) || self.later.iter().any(|(_, k)| k.owner == *owner)
    }

    /// How many bindings are due, wait, or are under way.
    pub fn len(&self) -> usize {
        self.due.len() + self.later.len() + self.busy.len()
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
