//! What is known of the passes over a directory that is polled: which one is open and by whom, how the newest ended, and which credential belongs to which host.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// What every request id of a pass begins with; the pass' number follows.
pub const REQUEST: &str = "poll/";
/// How many Secrets of a source are remembered with the host that they are for.
const MAX_BOUND: usize = 64;

/// The passes over a source.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Poll {
    /// The newest pass.
    pub pass: Option<Pass>,
    /// How the newest pass ended that did.
    pub ended: Option<Ended>,
    /// When the newest full pass ended that came to its end.
    pub full: Option<Timestamp>,
    /// When the newest pass ended that showed that it had everything it asked for.
    pub complete: Option<Timestamp>,
    /// How many passes failed since one came to its end.
    pub failures: u32,
    /// The provider pushed something after that: its ids are not those that the polled directory gives.
    pub pushed: bool,
    /// Each Secret with what it is bound to.
    pub bound: BTreeMap<Arc<str>, Bound>,
}

/// A pass over everything, or over what changed.
#[derive(Clone, Debug, PartialEq)]
pub struct Pass {
    /// Its number: 1 more than the one before.
    pub n: i64,
    /// The process that opened it.
    pub by: Arc<str>,
    /// Whether it asks for everything.
    pub full: bool,
    /// The generation of the ScimSource that it is made by.
    pub generation: i64,
    /// The request of an admin that it answers; empty if none.
    pub requested: Arc<str>,
    /// When it was opened.
    pub opened: Timestamp,
    /// The index of the batch in which it last said something.
    pub said: i64,
    /// What came so far.
    pub counts: Counts,
    /// Whether it goes on.
    pub open: bool,
}

/// How a pass ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Ended {
    /// The pass' number.
    pub n: i64,
    /// When.
    pub time: Timestamp,
    /// How.
    pub outcome: Outcome,
    /// One word in CamelCase; empty when there is nothing to say.
    pub reason: Arc<str>,
    /// What is wrong, and what to do, for people.
    pub message: Arc<str>,
}

/// How a pass ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// It showed that it had everything.
    Complete,
    /// It came to its end, and something may have been missing.
    Unproven,
    /// It did not come to its end.
    Failed,
}

/// What a pass had.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Counts {
    /// Users.
    pub users: u64,
    /// Groups.
    pub groups: u64,
    /// Answers.
    pub pages: u64,
}

/// What a Secret is bound to.
#[derive(Clone, Debug, PartialEq)]
pub struct Bound {
    /// The UID and the resourceVersion of the Secret.
    pub version: Arc<str>,
    /// The only origin that it may be sent to.
    pub origin: Arc<str>,
}

impl Poll {
    /// Whether a pass of that number is the one that goes on.
    pub fn is_open(&self, n: i64) -> bool {
        self.pass.as_ref().is_some_and(|pass| pass.open && pass.n == n)
    }

    /// The number of the next pass.
    pub fn next(&self) -> i64 {
        self.pass.as_ref().map_or(1, |pass| pass.n.saturating_add(1))
    }

    /// Whether objects may be found by their names though their externalIds differ: they came by another road.
    pub fn adopts(&self) -> bool {
        self.full.is_none() || self.pushed
    }

    /// The ScimSource is another object, whose generations begin anew.
    pub(super) fn renewed(&mut self) {
        if let Some(pass) = &mut self.pass {
            pass.generation = 0;
        }
    }

    pub(super) fn open(&mut self, pass: Pass) -> bool {
        let next = pass.n == self.next();
        if next {
            self.pass = Some(pass);
        }
        next
    }

    pub(super) fn say(&mut self, n: i64, index: i64, counts: Counts) -> bool {
        let Some(pass) = self.pass.as_mut().filter(|pass| pass.open && pass.n == n) else {
            return false;
        };
        (pass.said, pass.counts) = (index, counts);
        true
    }

    pub(super) fn end(&mut self, index: i64, counts: Counts, ended: Ended) -> bool {
        if !self.say(ended.n, index, counts) {
            return false;
        }
        if let Some(pass) = &mut self.pass {
            pass.open = false;
            match ended.outcome {
                Outcome::Failed => self.failures = self.failures.saturating_add(1),
                Outcome::Complete | Outcome::Unproven => {
                    self.failures = 0;
                    self.complete = Some(ended.time).filter(|_| ended.outcome == Outcome::Complete).or(self.complete);
                    if pass.full {
                        self.full = Some(ended.time);
                        self.pushed = false;
                    }
                }
            }
        }
        self.ended = Some(ended);
        true
    }

    pub(super) fn bind(&mut self, secret: &str, version: &str, origin: &str) {
        if self.bound.len() >= MAX_BOUND && !self.bound.contains_key(secret) {
            self.bound.pop_first();
        }
        let bound = Bound {
            version: version.into(),
            origin: origin.into(),
        };
        self.bound.insert(secret.into(), bound);
    }
}
