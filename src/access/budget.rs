//! The budget: how many people may lose access within an hour before the rest waits for a human. Values only: whoever calls says what time it is.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use uuid::Uuid;

use super::diff::{Class, Removal};
use super::gate::{Gated, Hold};
use super::key::MappingKey;
use super::ledger::{BindingId, Grantee, Ledger, People, Reason, reasons};
use super::why::Cause;
use crate::api::limits::Limits;

/// How long a removal counts.
const WINDOW: Duration = Duration::from_secs(3600);

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

    /// These removals of a mapping are made: what they cost is not there any more, whether or not they are recorded yet.
    pub fn made(&mut self, owner: &MappingKey, removals: &[Removal], at: Timestamp) {
        for removal in removals {
            let Some(grantee) = &removal.grantee else { continue };
            if removal.counted {
                self.spend(owner, &grantee.source, grantee.user, at);
            } else if removal.class == Class::Said {
                self.said(&grantee.source, grantee.user, at);
            }
        }
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

/// What one mapping or source may still take away.
struct Account<'a> {
    spent: Option<&'a Spent>,
    /// Who loses something while one looks, and did not before.
    taken: BTreeSet<Uuid>,
    allowed: usize,
}

impl<'a> Account<'a> {
    fn new(spent: Option<&'a Spent>, holders: People<'_>, limits: Limits) -> Self {
        let people = spent.map_or(holders.len(), |spent| spent.or(holders));
        Self {
            spent,
            taken: BTreeSet::new(),
            allowed: limits.allowed(people),
        }
    }

    /// Once a person, however many roles they lose.
    fn counted(&self, user: Uuid) -> bool {
        self.taken.contains(&user) || self.spent.is_some_and(|spent| spent.people.contains_key(&user))
    }

    fn fits(&self, user: Uuid) -> bool {
        self.counted(user) || self.spent.map_or(0, Spent::len) + self.taken.len() < self.allowed
    }

    fn take(&mut self, user: Uuid) {
        if !self.counted(user) {
            self.taken.insert(user);
        }
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
    /// Made when somebody first asks: most looks take nothing away.
    account: Option<Account<'a>>,
    accounts: BTreeMap<String, Account<'a>>,
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
            account: None,
            accounts: BTreeMap::new(),
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
        let (ledger, spending, owner, source) = (self.ledger, self.spending, self.owner, grantee.source.as_str());
        let hold = match grantee.is_inherited() {
            true => Hold::LossAccepted,
            false => Hold::Budget,
        };
        if let Some(held) = ledger.held(id, &grantee.username) {
            return (held.index > ledger.approved(owner, source)).then_some(hold);
        }
        if hold == Hold::LossAccepted {
            return Some(hold);
        }
        let of_mapping = self
            .account
            .get_or_insert_with(|| Account::new(spending.mappings.get(owner), ledger.holders_of_mapping(owner), limits));
        let of_source = self.accounts.entry(source.to_owned()).or_insert_with(|| {
            let limits = self.sources.get(source).copied().unwrap_or_default();
            Account::new(spending.sources.get(source), ledger.holders_of_source(source), limits)
        });
        if !of_mapping.fits(grantee.user) || !of_source.fits(grantee.user) {
            return Some(Hold::Budget);
        }
        of_mapping.take(grantee.user);
        of_source.take(grantee.user);
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
}

/// What the access journal does not say yet of what is held of one binding.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Unrecorded {
    /// What the budget holds.
    pub held: Vec<Reason>,
    /// Who was held and is not to go any more.
    pub freed: Vec<String>,
    /// Somebody is held whose grant is not recorded as made yet: to be looked at again.
    pub later: bool,
}

impl Unrecorded {
    /// Compares what the gate holds with what the ledger says. `decided`: nothing of the mapping is undecided at the moment; else nobody is free.
    pub fn of(ledger: &Ledger, id: &BindingId, gated: &Gated, decided: bool) -> Self {
        let recorded = |hold: Hold| matches!(hold, Hold::Budget | Hold::LossAccepted);
        let by_budget = gated.held_removals.iter().filter(|(_, hold)| recorded(*hold));
        let names = by_budget.map(|(removal, _)| (removal.subject.name.as_str(), &removal.why));
        let new = names.filter(|(name, _)| ledger.held(id, name).is_none());
        let known = |name: &str| ledger.binding(id).is_some_and(|binding| binding.subjects.contains_key(name));
        let (new, unknown): (Vec<_>, Vec<_>) = new.partition(|(name, _)| known(name));
        let due: BTreeSet<&str> = gated.removals().map(|removal| removal.subject.name.as_str()).collect();
        let free = ledger.held_of(id).filter(|(name, _)| decided && !due.contains(name));
        Self {
            held: reasons(new),
            freed: free.map(|(name, _)| name.to_owned()).collect(),
            later: !unknown.is_empty(),
        }
    }
}
