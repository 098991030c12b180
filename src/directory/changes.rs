//! The bounded log of what changed, so that the controller need not look at everything. No decisions about access.

use std::sync::Arc;

use imbl::Vector;

use super::REMEMBERED;
use super::event::Kind;

/// At most so many numbers of members are held by the log of one source (4 bytes each).
const MEMBERS_REMEMBERED: usize = 1 << 20;

/// One change of one user or group.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// The index of the batch.
    pub index: i64,
    /// Which user or group.
    pub n: u32,
    /// User or group.
    pub kind: Kind,
    /// What happened.
    pub what: What,
    /// The provider disabled or deleted the person: what this removes is never held.
    pub said_by_provider: bool,
    /// The request that caused it; empty if unknown.
    pub request: Arc<str>,
}

/// What happened to a user or group.
#[derive(Clone, Debug, PartialEq)]
pub enum What {
    /// It is new. A group's first members follow as [`What::Members`].
    Created,
    /// Attributes changed.
    Attributes,
    /// Direct members came or went; so also for each group of a user or group that is deleted, before the deletion itself.
    Members {
        /// Who came, in order.
        add: Arc<[u32]>,
        /// Who went, in order.
        remove: Arc<[u32]>,
    },
    /// It is gone.
    Deleted,
}

impl Change {
    fn weight(&self) -> usize {
        match &self.what {
            What::Members { add, remove } => add.len() + remove.len(),
            What::Created | What::Attributes | What::Deleted => 0,
        }
    }
}

/// The newest changes, oldest first.
#[derive(Clone, Debug)]
pub(super) struct Log {
    entries: Vector<Change>,
    /// Of batches up to this one something may be missing.
    floor: i64,
    members: usize,
}

impl Log {
    /// A log that knows nothing of the batches before, nor of this one's events so far.
    pub(super) fn new(floor: i64) -> Self {
        Self {
            entries: Vector::new(),
            floor,
            members: 0,
        }
    }

    pub(super) fn push(&mut self, change: Change) {
        self.members += change.weight();
        self.entries.push_back(change);
        while self.entries.len() > REMEMBERED || self.members > MEMBERS_REMEMBERED {
            let Some(oldest) = self.entries.pop_front() else { break };
            self.members -= oldest.weight();
            self.floor = self.floor.max(oldest.index);
        }
    }

    /// What is remembered, the newest first.
    pub(super) fn newest(&self) -> impl Iterator<Item = &Change> {
        self.entries.iter().rev()
    }

    /// Every change of a later batch than `index`; `None` if some are forgotten.
    pub(super) fn since(&self, index: i64) -> Option<Vec<Change>> {
        if index < self.floor {
            return None;
        }
        let mut found: Vec<Change> = self.entries.iter().rev().take_while(|c| c.index > index).cloned().collect();
        found.reverse();
        Some(found)
    }
}
