//! Desired against observed, for one binding: who is to come, who is to go, and of what kind each removal is. It decides nothing about permission: that is the gate's.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::binding::{Observed, SubjectRef};
use super::ledger::{Entry, Grantee};

/// What kind of removal it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// The provider disabled or deleted the person: never held.
    Said,
    /// The person is about to hold something else of the same mapping in that namespace, and does not yet.
    Replaced,
    /// Anything else that took the reason away: a group change, an edit by an admin, a deleted mapping.
    Other,
    /// A subject that nobody recorded: somebody else wrote it into our binding.
    Foreign,
}

/// How a person of the ledger stands today.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Disabled, or deleted, in a source that is still there.
    Said,
    /// The mapping means the person, and another binding of it in that namespace is to hold them and does not yet.
    Moving,
    /// The mapping no longer means the person here, or another binding of it in that namespace holds them already.
    Unwanted,
    /// It cannot be said: the mapping or the source cannot be read at the moment. Nothing is taken away for that.
    Unknown,
}

/// One removal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removal {
    /// The subject.
    pub subject: SubjectRef,
    /// The person, if the ledger knows.
    pub person: Option<Grantee>,
    /// Of what kind.
    pub class: Class,
}

/// What differs in one binding.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Who is to come.
    pub adds: Vec<Grantee>,
    /// Who is to go.
    pub removals: Vec<Removal>,
}

impl Plan {
    /// Whether nothing differs.
    pub fn is_empty(&self) -> bool {
        self.adds.is_empty() && self.removals.is_empty()
    }
}

/// Compares one binding. `desired`: who is to hold it, by username; `None` when that cannot be said, then only what the provider said goes.
pub fn diff(
    desired: Option<&BTreeMap<Arc<str>, Grantee>>,
    observed: Option<&Observed>,
    entry: Option<&Entry>,
    standing: impl Fn(&Grantee) -> Standing,
) -> Plan {
    let nobody = BTreeMap::new();
    let wanted = desired.unwrap_or(&nobody);
    let mut plan = Plan::default();
    for (username, grantee) in wanted {
        // Recorded for another person of that name: what stands is theirs, and goes before the name is granted anew.
        let same = entry.and_then(|e| e.people.get(username)).is_none_or(|p| p.user == grantee.user);
        match observed {
            Some(observed) if observed.holds(username) && same => {}
            Some(observed) if observed.holds(username) => plan.removals.push(Removal {
                subject: SubjectRef::user(&**username),
                person: entry.and_then(|e| e.people.get(username)).cloned(),
                class: Class::Said,
            }),
            _ => plan.adds.push(grantee.clone()),
        }
    }
    for subject in observed.map_or(&[][..], |o| &o.subjects[..]) {
        if subject.username().is_some_and(|name| wanted.contains_key(name)) {
            continue;
        }
        let person = subject.username().and_then(|name| entry?.people.get(name)).cloned();
        let class = match person.as_ref().map(&standing) {
            None => Class::Foreign,
            Some(Standing::Said) => Class::Said,
            Some(Standing::Moving) => Class::Replaced,
            Some(Standing::Unwanted) if desired.is_some() => Class::Other,
            Some(Standing::Unwanted | Standing::Unknown) => continue,
        };
        if class == Class::Replaced && desired.is_none() {
            continue;
        }
        plan.removals.push(Removal {
            subject: subject.clone(),
            person,
            class,
        });
    }
    plan
}
