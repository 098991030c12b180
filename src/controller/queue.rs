//! Which bindings are to be looked at, when, and how often that failed. Time comes in as a value; what is done with a binding is `work`'s.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::Duration;

use tokio::time::Instant;

use crate::access::key::{BindingKey, MappingKey};

/// The shortest and the longest wait after a failure.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));

/// Bindings to look at, each at most once.
#[derive(Default)]
pub struct Queue {
    due: BTreeSet<BindingKey>,
    later: BTreeSet<(Instant, BindingKey)>,
    /// The same by binding: each waits for one time at most.
    at: HashMap<BindingKey, Instant>,
    tries: HashMap<BindingKey, u32>,
    busy: HashSet<BindingKey>,
    again: HashSet<BindingKey>,
}

impl Queue {
    /// Looks at a binding soon; if something is under way there, afterwards.
    pub fn add(&mut self, key: BindingKey) {
        if self.busy.contains(&key) {
            self.again.insert(key);
        } else {
            self.due.insert(key);
        }
    }

    /// Looks at a binding at a later time, unless it is looked at before: then it is decided anew whether there is more to wait for.
    pub fn add_at(&mut self, key: BindingKey, at: Instant) {
        match self.at.get(&key) {
            Some(sooner) if *sooner <= at => return,
            Some(_) => self.forget_later(&key),
            None => {}
        }
        self.at.insert(key.clone(), at);
        self.later.insert((at, key));
    }

    fn forget_later(&mut self, key: &BindingKey) {
        if let Some(at) = self.at.remove(key) {
            self.later.remove(&(at, key.clone()));
        }
    }

    /// Looks at a binding again after a failure, later each time.
    pub fn retry(&mut self, key: BindingKey, now: Instant) {
        let tries = self.tries.entry(key.clone()).or_insert(0);
        let wait = BACKOFF.0.saturating_mul(1 << (*tries).min(10)).min(BACKOFF.1);
        *tries += 1;
        self.add_at(key, now + wait);
    }

    /// A binding went well: the next failure is the first.
    pub fn well(&mut self, key: &BindingKey) {
        self.tries.remove(key);
    }

    /// Everything that is due now.
    pub fn take(&mut self, now: Instant) -> BTreeSet<BindingKey> {
        while self.later.first().is_some_and(|(at, _)| *at <= now) {
            if let Some((_, key)) = self.later.pop_first() {
                self.at.remove(&key);
                self.add(key);
            }
        }
        let due = std::mem::take(&mut self.due);
        due.iter().for_each(|key| self.forget_later(key));
        due
    }

    /// When to look next, if nothing else happens.
    pub fn next(&self, now: Instant) -> Option<Instant> {
        if self.due.is_empty() {
            self.later.first().map(|(at, _)| *at)
        } else {
            Some(now)
        }
    }

    /// Something is under way at this binding.
    pub fn begin(&mut self, key: &BindingKey) {
        self.busy.insert(key.clone());
    }

    /// It ended: what came in meanwhile is due now.
    pub fn end(&mut self, key: &BindingKey) {
        self.busy.remove(key);
        if self.again.remove(key) {
            self.due.insert(key.clone());
        }
    }

    /// Whether something is under way at this binding.
    pub fn is_busy(&self, key: &BindingKey) -> bool {
        self.busy.contains(key)
    }

    /// How many bindings are due, or wait for a time.
    pub fn depth(&self) -> usize {
        self.due.len() + self.later.len()
    }

    /// How much of a mapping is due, waits or is under way.
    pub fn pending(&self, owner: &MappingKey) -> usize {
        let later = self.later.iter().map(|(_, key)| key);
        self.busy
            .iter()
            .chain(&self.due)
            .chain(later)
            .filter(|key| key.owner == *owner)
            .count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::shard::Prefix;
    use crate::api::mapping::RoleRef;

    fn key(namespace: &str) -> BindingKey {
        BindingKey {
            owner: MappingKey::cluster_role_mapping("m"),
            role: RoleRef::default(),
            namespace: namespace.to_owned(),
            prefix: Prefix::ALL,
        }
    }

    #[test]
    fn what_comes_in_during_a_write_is_looked_at_afterwards() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        queue.add(key("a"));
        queue.add(key("a"));
        assert_eq!(queue.take(now).len(), 1);
        queue.begin(&key("a"));
        queue.add(key("a"));
        assert!(queue.take(now).is_empty());
        queue.end(&key("a"));
        assert_eq!(queue.take(now), BTreeSet::from([key("a")]));
        assert_eq!(queue.pending(&MappingKey::cluster_role_mapping("m")), 0);
    }

    #[test]
    fn what_is_looked_at_sooner_is_not_pending_any_more() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        let owner = MappingKey::cluster_role_mapping("m");
        let seconds = |n| now + Duration::from_secs(n);
        for n in [30, 40, 20] {
            queue.add_at(key("a"), seconds(n));
        }
        queue.add_at(key("b"), seconds(30));
        assert_eq!((queue.pending(&owner), queue.next(now)), (2, Some(seconds(20))));
        queue.add(key("a"));
        assert_eq!(queue.take(now), BTreeSet::from([key("a")]));
        assert_eq!((queue.pending(&owner), queue.next(now)), (1, Some(seconds(30))));
        assert_eq!(queue.take(seconds(30)), BTreeSet::from([key("b")]));
        assert_eq!((queue.pending(&owner), queue.next(now)), (0, None));
    }

    #[test]
    fn failures_wait_longer_each_time_and_a_success_starts_anew() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        let mut waits = Vec::new();
        for _ in 0..12 {
            queue.retry(key("a"), now);
            let at = queue.next(now).unwrap_or(now);
            waits.push(at - now);
            assert!(queue.take(at - Duration::from_millis(1)).is_empty());
            assert_eq!(queue.take(at).len(), 1);
        }
        assert_eq!(
            (waits[0], waits[1], waits[11]),
            (Duration::from_millis(50), Duration::from_millis(100), Duration::from_secs(5))
        );
        queue.well(&key("a"));
        queue.retry(key("a"), now);
        assert_eq!(queue.next(now), Some(now + Duration::from_millis(50)));
    }
}
