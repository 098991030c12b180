//! One swap as values: which batches stay in the root's tail, which go into segments, and the root after it. Pure.

use std::sync::Arc;

use jiff::Timestamp;

use super::batch::{Envelope, encode};
use super::root::{head, segment_name};
use super::segment::{self, Link, SEGMENT_MAX};
use crate::api::{JournalSpec, SegmentSpec};

/// The bytes that the tail may hold.
pub const TAIL_MAX: usize = 4096;
/// The batches that the tail may hold; the CRD refuses more than 256, and a `wait` batch must always find room.
const TAIL_BATCHES: usize = 240;

/// Who swaps, and when.
#[derive(Clone, Copy, Debug)]
pub struct Signature<'a> {
    /// The journal's name: its segments' names begin with it.
    pub journal: &'a str,
    /// When.
    pub time: Timestamp,
    /// Who.
    pub writer: &'a str,
    /// Random.
    pub nonce: &'a str,
}

/// A swap whose batches are written, and of which it is known what it seals.
#[derive(Debug)]
pub struct Outline {
    /// The new batches.
    pub batches: Vec<String>,
    /// The root's parent after the swap.
    parent: String,
    seal: Seal,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seal {
    /// Everything stays in the tail.
    Nothing,
    /// The tail becomes a segment; the new batch is the new tail.
    Tail,
    /// The tail and the new batches become segments.
    All,
}

/// A segment to be created before the swap.
#[derive(Clone, Debug)]
pub struct NewSegment {
    /// Its content.
    pub spec: SegmentSpec,
    /// How the chain remembers it.
    pub link: Link,
}

/// A swap, ready to be sent.
#[derive(Clone, Debug)]
pub struct Swap {
    /// The root after it.
    pub spec: JournalSpec,
    /// The segments that it names, oldest first.
    pub segments: Vec<NewSegment>,
    /// How many of the newest segments they replace.
    pub taken: usize,
}

/// Writes the batches that follow the root `base`.
pub fn outline(base: &JournalSpec, signature: &Signature<'_>, bodies: &[String], wait: bool) -> Outline {
    let write = |parent: &str| -> Vec<String> {
        let envelope = Envelope {
            time: signature.time,
            writer: signature.writer,
            nonce: signature.nonce,
            parent,
            checkpoint: &base.checkpoint,
            wait,
        };
        (base.index + 1..)
            .zip(bodies)
            .map(|(index, body)| encode(index, &envelope, body))
            .collect()
    };
    let tail: usize = base.tail.iter().map(String::len).sum();
    let size: usize = bodies.iter().map(String::len).sum();
    if bodies.len() == 1 && (size < TAIL_MAX || wait) {
        let batches = write(&base.parent);
        let fits = tail + batches[0].len() <= TAIL_MAX && base.tail.len() < TAIL_BATCHES;
        if fits || wait {
            return Outline {
                batches,
                parent: base.parent.clone(),
                seal: Seal::Nothing,
            };
        }
        if batches[0].len() <= TAIL_MAX && !base.tail.is_empty() {
            let parent = segment_name(signature.journal, base.index, signature.nonce);
            let batches = write(&parent);
            if batches[0].len() <= TAIL_MAX {
                return Outline {
                    batches,
                    parent,
                    seal: Seal::Tail,
                };
            }
        }
    }
    let parent = segment_name(signature.journal, base.index + bodies.len() as i64, signature.nonce);
    Outline {
        batches: write(&parent),
        parent,
        seal: Seal::All,
    }
}

impl Outline {
    /// The bytes that it seals, or none if it seals nothing.
    pub fn incoming(&self, base: &JournalSpec) -> Option<usize> {
        let bytes = |lines: &[String]| lines.iter().map(|line| line.len() + 1).sum::<usize>();
        match self.seal {
            Seal::Nothing => None,
            Seal::Tail => Some(bytes(&base.tail)),
            Seal::All => Some(bytes(&base.tail) + bytes(&self.batches)),
        }
    }

    /// The swap, where `taken` are the newest segments to take in, oldest first, each with its lines.
    pub fn finish(self, base: &JournalSpec, signature: &Signature<'_>, taken: &[Link]) -> Result<Swap, String> {
        let mut segments = Vec::new();
        let mut tail = base.tail.clone();
        let index = base.index + self.batches.len() as i64;
        let head = head(&base.head, self.batches.iter().map(String::as_str), &self.parent, &base.checkpoint);
        match self.seal {
            Seal::Nothing => tail.extend(self.batches),
            Seal::Tail => {
                let mut packer = Packer::new(base, signature, taken)?;
                packer.lines(&tail)?;
                segments = packer.close()?;
                tail = self.batches;
            }
            Seal::All => {
                let mut packer = Packer::new(base, signature, taken)?;
                packer.lines(&tail)?;
                packer.lines(&self.batches)?;
                segments = packer.close()?;
                tail = Vec::new();
            }
        }
        let spec = JournalSpec {
            id: base.id.clone(),
            format: base.format,
            index,
            head,
            previous: base.head.clone(),
            parent: self.parent,
            checkpoint: base.checkpoint.clone(),
            predecessors: base.predecessors.clone(),
            tail,
        };
        if segments
            .last()
            .is_some_and(|segment: &NewSegment| *segment.link.name != *spec.parent)
        {
            return Err("the newest segment is not the one that the root would name".to_owned());
        }
        Ok(Swap {
            spec,
            segments,
            taken: taken.len(),
        })
    }
}

/// Packs lines into as few segments as hold them.
struct Packer<'a> {
    base: &'a JournalSpec,
    signature: &'a Signature<'a>,
    parent: Arc<str>,
    first: i64,
    next: i64,
    text: String,
    done: Vec<NewSegment>,
}

impl<'a> Packer<'a> {
    fn new(base: &'a JournalSpec, signature: &'a Signature<'a>, taken: &[Link]) -> Result<Self, String> {
        let tail = base.index + 1 - base.tail.len() as i64;
        let mut text = String::new();
        for link in taken {
            text.push_str(link.lines.as_deref().ok_or("the lines of a segment are not at hand")?);
        }
        Ok(Self {
            base,
            signature,
            parent: taken
                .first()
                .map_or_else(|| Arc::from(base.parent.as_str()), |link| link.parent.clone()),
            first: taken.first().map_or(tail, |link| link.first),
            next: tail,
            text,
            done: Vec::new(),
        })
    }

    fn lines(&mut self, lines: &[String]) -> Result<(), String> {
        for line in lines {
            if !self.text.is_empty() && self.text.len() + line.len() + 1 > SEGMENT_MAX {
                self.flush()?;
            }
            self.text.push_str(line);
            self.text.push('\n');
            self.next += 1;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), String> {
        let last = self.next - 1;
        let name = segment_name(self.signature.journal, last, self.signature.nonce);
        let spec = SegmentSpec {
            base: self.base.index,
            first: self.first,
            last,
            parent: self.parent.to_string(),
            data: segment::encode(&self.text)?,
        };
        let link = Link::new(&name, &spec, Arc::from(std::mem::take(&mut self.text)));
        self.parent = link.name.clone();
        self.first = self.next;
        self.done.push(NewSegment { spec, link });
        Ok(())
    }

    fn close(mut self) -> Result<Vec<NewSegment>, String> {
        if !self.text.is_empty() {
            self.flush()?;
        }
        Ok(self.done)
    }
}

#[cfg(test)]
#[path = "seal_tests.rs"]
mod tests;
