//! The budget: how many people may lose access within an hour before the rest waits for a human. Values only: whoever calls says what time it is.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use uuid::Uuid;

use super::diff::{Class, Removal};
use super::gate::Hold;
use super::key::MappingKey;
use super::ledger::{BindingId, Grantee, Ledger, People};
use super::why::Cause;
use crate::api::limits::Limits;

/// How long a removal counts.
pub const WINDOW: Duration = Duration::from_secs(3600);

/// Since when a removal counts, at that time.
pub fn since(now: Timestamp) -> Timestamp {
    now.checked_sub(WINDOW).unwrap_or(Timestamp::MIN)
}

/// Who lost something within the hour, and when last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    people: HashMap<Uuid, Timestamp>,
    by_time: BTreeSet<(Timestamp, Uuid)>,
}

impl Spent {
    fn add(&mut self, user: Uuid, at: Timestamp) {
        let at = self.people.get(&user).map_or(at, |before| at.max(*before));
        if let Some(before) = self.people.insert(user, at) {
            self.by_time.remove(&(before, user));
        }
        self.by_time.insert((at, user));
    }

    fn forget(&mut self, until: Timestamp) {
        while let Some(&(at, user)) = self.by_time.first().filter(|(at, _)| *at <= until) {
            self.by_time.remove(&(at, user));
            self.people.remove(&user);
        }
    }

    /// How many people they are together with those who hold something now.
    fn or(&self, holders: People<'_>) -> usize {
        holders.len() + self.people.keys().filter(|user| !holders.contains(user)).count()
    }

    /// How many people.
    pub fn len(&self) -> usize {
        self.people.len()
    }

    /// Whether nobody did.
    pub fn is_empty(&self) -> bool {
        self.people.is_empty()
    }
}

/// Who lost something within the hour, of each mapping and of each source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spending {
    mappings: HashMap<MappingKey, Spent>,
    sources: HashMap<Arc<str>, Spent>,
    said: HashMap<Arc<str>, Spent>,
}

impl Spending {
    /// What the ledger tells of the hour before `now`.
    pub fn of(ledger: &Ledger, now: Timestamp) -> Self {
        let mut spending = Self::default();
        for gone in ledger.recent() {
            match gone.said {
                true => spending.said(&gone.source, gone.user, gone.at),
                false => spending.spend(&gone.owner, &gone.source, gone.user, gone.at),
            }
        }
        spending.forget(now);
        spending
    }

    /// Somebody loses something, and the budget counts it.
    pub fn spend(&mut self, owner: &MappingKey, source: &str, user: Uuid, at: Timestamp) {
        self.mappings.entry(owner.clone()).or_default().add(user, at);
        self.sources.entry(source.into()).or_default().add(user, at);
    }

    /// Somebody loses something because the provider disabled or deleted them: counted, and never held.
    pub fn said(&mut self, source: &str, user: Uuid, at: Timestamp) {
        self.said.entry(source.into()).or_default().add(user, at);
    }

    /// Forgets what is an hour old.
    pub fn forget(&mut self, now: Timestamp) {
        let until = since(now);
        for spent in self
            .mappings
            .values_mut()
            .chain(self.sources.values_mut())
            .chain(self.said.values_mut())
        {
            spent.forget(until);
        }
        self.mappings.retain(|_, spent| !spent.is_empty());
        self.sources.retain(|_, spent| !spent.is_empty());
        self.said.retain(|_, spent| !spent.is_empty());
    }

    /// How many people of a source its provider disabled or deleted within the hour, if that is more than its limits: `MassDeprovision`.
    pub fn mass_deprovision(&self, ledger: &Ledger, source: &str, limits: Limits) -> Option<usize> {
        let said = self.said.get(source)?;
        (said.len() > limits.allowed(said.or(ledger.holders_of_source(source)))).then_some(said.len())
    }
}

/// What one mapping may still take away, as one looks at its bindings one after another: what passes is counted at once.
pub struct Budget<'a> {
    ledger: &'a Ledger,
    spending: &'a Spending,
    owner: &'a MappingKey,
    /// `None`: nothing is held.
    limits: Option<Limits>,
    sources: &'a BTreeMap<Arc<str>, Limits>,
    taken: BTreeSet<Uuid>,
    taken_of: BTreeMap<String, BTreeSet<Uuid>>,
    people: Option<usize>,
    people_of: BTreeMap<String, usize>,
}

impl<'a> Budget<'a> {
    /// With the limits of the mapping, and those of the sources (of one that is not listed: the default ones). `None`: the mapping's end was said in
    /// so many words, by its deletion or by `notAfter`, and nothing of it is held.
    pub fn new(
        ledger: &'a Ledger,
        spending: &'a Spending,
        owner: &'a MappingKey,
        limits: Option<Limits>,
        sources: &'a BTreeMap<Arc<str>, Limits>,
    ) -> Self {
        Self {
            ledger,
            spending,
            owner,
            limits,
            sources,
            taken: BTreeSet::new(),
            taken_of: BTreeMap::new(),
            people: None,
            people_of: BTreeMap::new(),
        }
    }

    /// Whether this removal, by which somebody loses something, waits; if it passes, whether it is counted. What was held stays held until it is
    /// approved, however old: an hour that passes approves nothing.
    pub fn hold(&mut self, id: &BindingId, removal: &mut Removal) -> Option<Hold> {
        let limits = self.limits?;
        // nor what the provider said of the person, nor a subject that nobody recorded
        let grantee = removal
            .grantee
            .as_ref()
            .filter(|_| matches!(removal.class, Class::Other | Class::Replaced))?;
        if let Some(held) = self.ledger.held(id, &grantee.username) {
            return (held.index > self.ledger.approved(self.owner, &grantee.source)).then_some(Hold::Budget);
        }
        if !self.fits(limits, grantee) {
            return Some(Hold::Budget);
        }
        let counted = |spent: Option<&Spent>| spent.is_some_and(|spent| spent.people.contains_key(&grantee.user));
        if !counted(self.spending.mappings.get(self.owner)) {
            self.taken.insert(grantee.user);
        }
        if !counted(self.spending.sources.get(grantee.source.as_str())) {
            self.taken_of.entry(grantee.source.clone()).or_default().insert(grantee.user);
        }
        removal.counted = true;
        None
    }

    /// Whether what is found gone is counted: a removal of ours that was not recorded before is.
    pub fn count(&self, id: &BindingId, removal: &mut Removal) {
        let by_others = matches!(removal.why.cause, Cause::Vanished | Cause::NamespaceGone);
        let held = |grantee: &Grantee| self.ledger.held(id, &grantee.username).is_some();
        let known = removal.grantee.as_ref().is_some_and(|grantee| !held(grantee));
        removal.counted = self.limits.is_some() && known && removal.class == Class::Other && !by_others;
    }

    fn fits(&mut self, limits: Limits, grantee: &Grantee) -> bool {
        let source = self.sources.get(grantee.source.as_str()).copied().unwrap_or_default();
        let (spent, ledger, owner) = (self.spending.mappings.get(self.owner), self.ledger, self.owner);
        // what does not change while one looks is counted once
        let people = *self.people.get_or_insert_with(|| all(spent, ledger.holders_of_mapping(owner)));
        let of_mapping = Account {
            spent,
            taken: Some(&self.taken),
            allowed: limits.allowed(people),
        };
        if !of_mapping.fits(grantee.user) {
            return false;
        }
        let spent = self.spending.sources.get(grantee.source.as_str());
        let people = match self.people_of.get(&grantee.source) {
            Some(people) => *people,
            None => all(spent, ledger.holders_of_source(&grantee.source)),
        };
        self.people_of.insert(grantee.source.clone(), people);
        let of_source = Account {
            spent,
            taken: self.taken_of.get(&grantee.source),
            allowed: source.allowed(people),
        };
        of_source.fits(grantee.user)
    }
}

/// Those who hold something, and those who lost it within the hour.
fn all(spent: Option<&Spent>, holders: People<'_>) -> usize {
    spent.map_or(holders.len(), |spent| spent.or(holders))
}

struct Account<'a> {
    spent: Option<&'a Spent>,
    taken: Option<&'a BTreeSet<Uuid>>,
    allowed: usize,
}

impl Account<'_> {
    fn fits(&self, user: Uuid) -> bool {
        let (counted, spent) = self
            .spent
            .map_or((false, 0), |spent| (spent.people.contains_key(&user), spent.len()));
        let (taken, now) = self.taken.map_or((false, 0), |taken| (taken.contains(&user), taken.len()));
        // once a person, however many roles they lose
        counted || taken || spent + now < self.allowed
    }
}
