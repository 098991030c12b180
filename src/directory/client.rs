//! What is known of the provider's client: which tokens it uses, what is tolerated of it, where it leaves the schema. No person's data.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

use super::event::{Counted, Drifted, TokenUse};
use crate::scim::Drift;

/// How many attributes that left the schema are remembered one by one.
pub const MAX_DRIFT: usize = 128;
/// How many users are remembered one by one whose de-provisioning was refused.
const MAX_REJECTED: usize = 1_024;
/// More token names than a source has, for those that it had.
const MAX_TOKENS: usize = 32;

/// The provider's client, as its requests show it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Client {
    /// The hour in which each token was last used.
    pub tokens: BTreeMap<Arc<str>, Timestamp>,
    /// How many requests needed each tolerance.
    pub tolerated: BTreeMap<Arc<str>, u64>,
    /// Attributes that are not what the schema says.
    pub drift: BTreeMap<(Drift, Arc<str>), Seen>,
    /// Users whose de-provisioning was refused, until a later request for them succeeds.
    pub rejected: BTreeMap<u32, Rejected>,
}

/// How often something was seen, and the newest request that had it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// How many requests.
    pub requests: u64,
    /// The newest.
    pub request: Arc<str>,
}

/// A request to disable or delete a user that was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// The request.
    pub request: Arc<str>,
    /// What it was answered.
    pub reason: Arc<str>,
    /// When.
    pub time: Timestamp,
}

impl Client {
    pub(super) fn seen(&mut self, tokens: &[TokenUse], tolerated: &[Counted], drift: &[Drifted]) {
        for token in tokens {
            let oldest = self.tokens.iter().min_by_key(|(_, hour)| **hour).map(|(name, _)| name.clone());
            if let Some(oldest) = oldest.filter(|_| self.tokens.len() >= MAX_TOKENS && !self.tokens.contains_key(&*token.name)) {
                self.tokens.remove(&oldest);
            }
            let hour = self.tokens.entry(token.name.as_str().into()).or_insert(token.hour);
            *hour = token.hour.max(*hour);
        }
        for counted in tolerated {
            let requests = self.tolerated.entry(counted.name.as_str().into()).or_default();
            *requests = requests.saturating_add(counted.requests);
        }
        for drifted in drift {
            let key = (drifted.drift, Arc::from(drifted.attribute.as_str()));
            if self.drift.len() >= MAX_DRIFT && !self.drift.contains_key(&key) {
                continue;
            }
            let before = self.drift.get(&key).map_or(0, |seen| seen.requests);
            let seen = Seen {
                requests: before.saturating_add(drifted.requests),
                request: drifted.request.as_str().into(),
            };
            self.drift.insert(key, seen);
        }
    }

    /// Whether it is known that the user's de-provisioning was refused; with as many users as are remembered, one more is not.
    pub fn is_rejected(&self, n: u32) -> bool {
        self.rejected.contains_key(&n) || self.rejected.len() >= MAX_REJECTED
    }

    pub(super) fn reject(&mut self, n: u32, rejected: Rejected) {
        if self.rejected.len() < MAX_REJECTED || self.rejected.contains_key(&n) {
            self.rejected.insert(n, rejected);
        }
    }
}
