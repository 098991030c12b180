//! Segments, pure: their encoding (JSON lines, zstd, base64), the chain of them that a root reaches, and how they are merged.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::api::SegmentSpec;

/// The most bytes that a segment holds before it is compressed. What zstd cannot compress still fits the CRD in base64.
pub const SEGMENT_MAX: usize = 512 * 1024;

/// Encodes whole batches, each line ending in a newline.
pub fn encode(lines: &str) -> Result<String, String> {
    zstd::bulk::compress(lines.as_bytes(), 1)
        .map(|packed| STANDARD.encode(packed))
        .map_err(|error| error.to_string())
}

/// Decodes what [`encode`] made; whatever is longer than a segment may be is refused.
pub fn decode(data: &str) -> Result<String, String> {
    let packed = STANDARD.decode(data).map_err(|error| error.to_string())?;
    let lines = zstd::bulk::decompress(&packed, SEGMENT_MAX).map_err(|error| error.to_string())?;
    String::from_utf8(lines).map_err(|error| error.to_string())
}

/// One segment of the chain that a root reaches, as a process remembers it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its name.
    pub name: Arc<str>,
    /// The segment before it, or empty.
    pub parent: Arc<str>,
    /// Its first batch.
    pub first: i64,
    /// Its last batch.
    pub last: i64,
    /// Its bytes before compression.
    pub len: usize,
    /// Its lines, while it is new enough to be merged.
    pub lines: Option<Arc<str>>,
}

impl Link {
    /// A segment as it was read or written, with its decoded lines.
    pub fn new(name: &str, spec: &SegmentSpec, lines: Arc<str>) -> Self {
        Self {
            name: Arc::from(name),
            parent: Arc::from(spec.parent.as_str()),
            first: spec.first,
            last: spec.last,
            len: lines.len(),
            lines: Some(lines),
        }
    }
}

/// How many of the newest segments (their lengths, newest first) go into a new one, like the carry of a binary counter: while
/// the newest is no larger than what came together so far, and the sum fits.
pub fn take_in(newest_first: impl IntoIterator<Item = usize>, incoming: usize) -> usize {
    let mut sum = incoming;
    newest_first
        .into_iter()
        .take_while(|len| {
            let taken = *len <= sum && sum + len <= SEGMENT_MAX;
            if taken {
                sum += len;
            }
            taken
        })
        .count()
}

/// The segments that a root reaches, oldest first. It may lag behind the root; [`Chain::reaches`] says whether it does.
#[derive(Clone, Debug, Default)]
pub struct Chain {
    links: Vec<Link>,
}

impl Chain {
    /// All links, oldest first.
    pub fn links(&self) -> &[Link] {
        &self.links
    }

    /// Whether `parent` (a root's) is the newest segment here: then this is the whole chain.
    pub fn reaches(&self, parent: &str) -> bool {
        self.links.last().map_or("", |link| &*link.name) == parent
    }

    /// Whether this is all of it, from the journal's first batch on.
    pub fn is_whole(&self, parent: &str) -> bool {
        self.reaches(parent) && self.links.first().is_none_or(|link| link.parent.is_empty())
    }

    /// Whether a segment of this name is here.
    pub fn knows(&self, name: &str) -> bool {
        self.links.iter().rev().any(|link| &*link.name == name)
    }

    /// Puts segments (oldest first, each the parent of the next) where they belong. False if they touch nothing here.
    pub fn graft(&mut self, links: &[Link]) -> bool {
        let Some(oldest) = links.first() else { return true };
        let keep = if oldest.parent.is_empty() {
            0
        } else if let Some(at) = self.links.iter().rposition(|link| link.name == oldest.parent) {
            at + 1
        } else {
            return false;
        };
        self.links.truncate(keep);
        self.links.extend(links.iter().cloned());
        forget(&mut self.links);
        true
    }

    /// Replaces the newest `taken` links by those of a swap, oldest first.
    pub fn advance(&mut self, taken: usize, new: impl IntoIterator<Item = Link>) {
        self.links.truncate(self.links.len().saturating_sub(taken));
        self.links.extend(new);
        forget(&mut self.links);
    }

    /// The newest links that a swap of `incoming` bytes takes in, oldest first.
    pub fn taken(&self, incoming: usize) -> &[Link] {
        let count = take_in(self.links.iter().rev().map(|link| link.len), incoming);
        &self.links[self.links.len() - count..]
    }

    /// Remembers the lines of a link.
    pub fn remember(&mut self, name: &str, lines: Arc<str>) {
        if let Some(link) = self.links.iter_mut().rev().find(|link| &*link.name == name) {
            link.lines = Some(lines);
        }
    }
}

/// Only the newest segments that together fit into one can ever be merged; the lines of the others are not kept.
pub fn forget(links: &mut [Link]) {
    let mut sum = 0;
    for link in links.iter_mut().rev() {
        sum += link.len;
        if sum > SEGMENT_MAX {
            link.lines = None;
        }
    }
}

#[cfg(test)]
#[path = "segment_tests.rs"]
mod tests;
