//! The directory as values: events, their fold, and what it can be asked. No client, no clock, no files, no randomness.
//!
//! `Directory` = fold of the events of the journal `directory`. [`Directory::apply`] is the only way it changes; a clone is a few
//! reference counts, so that readers hold a snapshot while the fold goes on.

mod apply;
mod changes;
pub mod client;
pub mod event;
pub mod merge;
pub mod poll;
mod resource;
mod source;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use imbl::OrdMap;
use roaring::RoaringBitmap;

use crate::scim::fold;

pub use changes::{Change, What};
pub use client::Client;
pub use event::{Event, FailingToken, Kind};
pub use poll::Poll;
pub use resource::{Attributes, Gone, Resource};
pub use source::Source;

/// How many changes and how many tombstones a source remembers.
pub const REMEMBERED: usize = 65_536;

/// Everything that the journal says: the sources by name, each an identity space of its own.
#[derive(Clone, Debug, Default)]
pub struct Directory {
    sources: OrdMap<Arc<str>, Arc<Source>>,
    /// The next number of sources that ended: a name that starts afresh must not give a number twice.
    ended: OrdMap<Arc<str>, u32>,
    last: (i64, u32),
    ignored: u64,
}

impl Directory {
    /// The source of that name, if the journal has seen it and it did not end.
    pub fn source(&self, name: &str) -> Option<&Source> {
        self.sources.get(name).map(AsRef::as_ref)
    }

    /// All sources, by name.
    pub fn sources(&self) -> impl Iterator<Item = (&str, &Source)> {
        self.sources.iter().map(|(name, source)| (name.as_ref(), source.as_ref()))
    }

    /// The directory as it is for access, where these groups of the source count for nothing: no name finds them, and nobody is held by them.
    pub fn ignoring(&self, source: &str, groups: &RoaringBitmap) -> Self {
        let mut view = self.clone();
        if let Some(source) = view.sources.get_mut(source) {
            Arc::make_mut(source).ignored = Arc::new(groups.clone());
        }
        view
    }

    /// The number that the next user or group of that source gets, even if the journal has not seen the source yet.
    pub fn next_n(&self, source: &str) -> u32 {
        let ended = || self.ended.get(source).copied().unwrap_or(0);
        self.source(source).map_or_else(ended, Source::next_n)
    }

    /// The place that the next event of the batch `index` has in it.
    pub fn next_ordinal(&self, index: i64) -> u32 {
        if self.last.0 == index { self.last.1 } else { 0 }
    }

    /// How many events meant nothing here (an unknown source or number, a number given twice). 0 unless a writer is wrong.
    pub fn ignored(&self) -> u64 {
        self.ignored
    }
}
