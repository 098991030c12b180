//! The budget: how many people may lose access within an hour before the rest waits for a human. Values only: whoever calls says what time it is.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use uuid::Uuid;

use super::diff::{Class, Removal};
use super::gate::Hold;
use super::key::MappingKey;
use super::ledger::{BindingId, Grantee, Ledger};
use super::why::Cause;
use crate::api::limits::Limits;

/// How long a removal counts.
pub const WINDOW: Duration = Duration::from_secs(3600);

/// Since when a removal counts, at that time.
pub fn since(now: Timestamp) -> Timestamp {
    now.checked_sub(WINDOW).unwrap_or(Timestamp::MIN)
}

/// Whether a removal is one that the budget counts: not what the provider said of the person, not what something else of the mapping replaces, not a
/// subject that nobody recorded, and not what was gone already by somebody else's hand.
pub fn counts(removal: &Removal) -> bool {
    removal.class == Class::Other && removal.grantee.is_some() && !matches!(removal.why.cause, Cause::Vanished | Cause::NamespaceGone)
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
        for spent in self.mappings.values_mut().chain(self.sources.values_mut()).chain(self.said.values_mut()) {
            spent.forget(until);
        }
        self.mappings.retain(|_, spent| !spent.is_empty());
        self.sources.retain(|_, spent| !spent.is_empty());
        self.said.retain(|_, spent| !spent.is_empty());
    }

    /// How many people of a source its provider disabled or deleted within the hour, if that is more than its limits: `MassDeprovision`.
    pub fn mass_deprovision(&self, ledger: &Ledger, source: &str, limits: Limits) -> Option<usize> {
        let said = self.said.get(source)?.len();
        (said > limits.allowed(ledger.holders_of_source(source) + said)).then_some(said)
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
        }
    }

    /// Whether this removal waits. What was held stays held until it is approved, however old: an hour that passes approves nothing.
    pub fn hold(&mut self, id: &BindingId, removal: &Removal) -> Option<Hold> {
        let limits = self.limits?;
        let grantee = removal.grantee.as_ref().filter(|_| counts(removal))?;
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
        None
    }

    /// Whether a removal that passed is one that a human approved: it is not counted.
    pub fn is_free(&self, id: &BindingId, removal: &Removal) -> bool {
        self.limits.is_none() || removal.grantee.as_ref().is_some_and(|g| self.ledger.held(id, &g.username).is_some())
    }

    fn fits(&self, limits: Limits, grantee: &Grantee) -> bool {
        let source = self.sources.get(grantee.source.as_str()).copied().unwrap_or_default();
        let none = BTreeSet::new();
        let of_mapping = Account {
            spent: self.spending.mappings.get(self.owner),
            taken: &self.taken,
            holders: self.ledger.holders_of_mapping(self.owner),
        };
        let of_source = Account {
            spent: self.spending.sources.get(grantee.source.as_str()),
            taken: self.taken_of.get(&grantee.source).unwrap_or(&none),
            holders: self.ledger.holders_of_source(&grantee.source),
        };
        of_mapping.fits(limits, grantee.user) && of_source.fits(source, grantee.user)
    }
}

struct Account<'a> {
    spent: Option<&'a Spent>,
    taken: &'a BTreeSet<Uuid>,
    holders: usize,
}

impl Account<'_> {
    fn fits(&self, limits: Limits, user: Uuid) -> bool {
        let (counted, spent) = self.spent.map_or((false, 0), |spent| (spent.people.contains_key(&user), spent.len()));
        // once a person, however many roles they lose
        counted || self.taken.contains(&user) || spent + self.taken.len() < limits.allowed(self.holders + spent)
    }
}
