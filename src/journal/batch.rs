//! A batch: the events of one group commit, as one line of JSON. Encoding, decoding, and the check of the chain, pure.

use std::borrow::Cow;

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::loss::{Known, Loss};
use super::root::Hasher;
use super::segment::SEGMENT_MAX;

/// Room for a batch's line around its events: index, time, writer, nonce, parent.
const ENVELOPE_MAX: usize = 4096;
/// The most bytes of events, as JSON, in one batch; so also of one event. A larger change is several batches in one swap.
pub const EVENTS_MAX: usize = SEGMENT_MAX - ENVELOPE_MAX;
/// The most bytes of events, as JSON, that one request may append.
pub const REQUEST_MAX: usize = 32 * 1024 * 1024;
/// The longest name of a writer.
pub const WRITER_MAX: usize = 512;

/// What a batch says of itself, and its events, not decoded yet.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Batch<'a> {
    /// Its number.
    pub index: i64,
    /// When it was written; never before the batch before it.
    pub time: Timestamp,
    /// Who wrote it.
    #[serde(borrow)]
    pub writer: Cow<'a, str>,
    /// Random, the same for all batches of one swap: what a writer recognises its own swap by, and a reader where one ends.
    #[serde(borrow)]
    pub nonce: Cow<'a, str>,
    /// The root's `parent` after the swap.
    #[serde(borrow)]
    pub parent: Cow<'a, str>,
    /// The root's `checkpoint` after the swap.
    #[serde(borrow, default)]
    pub checkpoint: Cow<'a, str>,
    /// The writer lost three swaps and asks the others for the next one.
    #[serde(default)]
    pub wait: bool,
    /// The events, as JSON.
    #[serde(borrow)]
    pub events: &'a RawValue,
}

impl<'a> Batch<'a> {
    /// Reads the line of a batch.
    pub fn parse(line: &'a str) -> Result<Self, String> {
        serde_json::from_str(line).map_err(|error| error.to_string())
    }

    /// Its events. One unknown event makes all of them unreadable: a reader stops there.
    pub fn events<E: DeserializeOwned>(&self) -> Result<Vec<E>, Loss> {
        serde_json::from_str(self.events.get()).map_err(|error| undecodable(self.index, &error.to_string()))
    }
}

/// What all batches of one swap say.
#[derive(Clone, Copy, Debug)]
pub struct Envelope<'a> {
    /// When.
    pub time: Timestamp,
    /// Who.
    pub writer: &'a str,
    /// The swap's nonce.
    pub nonce: &'a str,
    /// The root's `parent` after the swap.
    pub parent: &'a str,
    /// The root's `checkpoint` after the swap.
    pub checkpoint: &'a str,
    /// Whether this asks the others for the next swap.
    pub wait: bool,
}

/// The line of a batch: `events` is the events' JSON, separated by commas.
pub fn encode(index: i64, envelope: &Envelope<'_>, events: &str) -> String {
    #[derive(Serialize)]
    struct Head<'a> {
        index: i64,
        time: Timestamp,
        writer: &'a str,
        nonce: &'a str,
        parent: &'a str,
        #[serde(skip_serializing_if = "str::is_empty")]
        checkpoint: &'a str,
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        wait: bool,
    }
    let head = Head {
        index,
        time: envelope.time,
        writer: envelope.writer,
        nonce: envelope.nonce,
        parent: envelope.parent,
        checkpoint: envelope.checkpoint,
        wait: envelope.wait,
    };
    // A struct of numbers and strings has no way to fail; the last character is its closing brace.
    let mut line = serde_json::to_string(&head).expect("should be JSON: numbers and strings");
    line.pop();
    line.reserve(events.len() + 16);
    line.push_str(",\"events\":[");
    line.push_str(events);
    line.push_str("]}");
    line
}

/// A change does not fit a swap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLarge;

/// The batches of a swap in the making: each event is serialised once, into the batch that will hold it.
#[derive(Debug, Default)]
pub struct Draft {
    bodies: Vec<String>,
    ordinal: u32,
    len: usize,
    scratch: Vec<u8>,
    ends: Vec<usize>,
}

impl Draft {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Forgets everything but the memory.
    pub fn clear(&mut self) {
        self.bodies.clear();
        self.ordinal = 0;
        self.len = 0;
    }

    /// Whether it holds no event.
    pub fn is_empty(&self) -> bool {
        self.bodies.is_empty()
    }

    /// The bytes of all events so far.
    pub fn len(&self) -> usize {
        self.len
    }

    /// The events of each batch, as [`encode`] takes them.
    pub fn bodies(&self) -> &[String] {
        &self.bodies
    }

    /// Where the next event would stand: the offset of its batch in the swap, and its ordinal there.
    pub fn next(&self) -> (i64, u32) {
        (self.bodies.len().saturating_sub(1) as i64, self.ordinal)
    }

    /// Adds the events of one request, all or none, and tells `placed` where each stands: the offset of the batch in the swap,
    /// and the event's ordinal in it.
    pub fn add<E: Serialize>(&mut self, events: &[E], mut placed: impl FnMut(i64, u32, &E)) -> Result<(), TooLarge> {
        self.scratch.clear();
        self.ends.clear();
        for event in events {
            let start = self.scratch.len();
            if serde_json::to_writer(&mut self.scratch, event).is_err() || self.scratch.len() - start > EVENTS_MAX {
                return Err(TooLarge);
            }
            if self.scratch.len() > REQUEST_MAX {
                return Err(TooLarge);
            }
            self.ends.push(self.scratch.len());
        }
        let text = std::str::from_utf8(&self.scratch).map_err(|_| TooLarge)?;
        let mut start = 0;
        for (event, end) in events.iter().zip(&self.ends) {
            let json = &text[start..*end];
            start = *end;
            match self.bodies.last_mut() {
                Some(body) if body.len() + 1 + json.len() <= EVENTS_MAX => {
                    body.push(',');
                    body.push_str(json);
                }
                _ => {
                    self.bodies.push(json.to_owned());
                    self.ordinal = 0;
                }
            }
            self.len += json.len();
            placed(self.bodies.len() as i64 - 1, self.ordinal, event);
            self.ordinal = self.ordinal.saturating_add(1);
        }
        Ok(())
    }

    /// A batch without events, which asks the others for the next swap.
    pub fn wait() -> Self {
        Self {
            bodies: vec![String::new()],
            ..Self::default()
        }
    }
}

/// One whole swap, as a reader met it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SwapSeen {
    /// Its first batch.
    pub first: i64,
    /// Its last batch: the root's index after it.
    pub last: i64,
    /// Its nonce.
    pub nonce: String,
    /// The root's `parent` after it.
    pub parent: String,
    /// The root's `checkpoint` after it.
    pub checkpoint: String,
    /// Whether it asks the others for the next swap.
    pub wait: bool,
}

/// Checks the chain, line by line, from a position that is trusted to a root's.
pub struct Verifier<'k> {
    index: i64,
    head: String,
    previous: String,
    open: Option<Open>,
    known: &'k [Known],
    /// The first swap that was met.
    pub oldest: Option<SwapSeen>,
    /// The last swap that was met.
    pub newest: Option<SwapSeen>,
}

struct Open {
    seen: SwapSeen,
    hasher: Hasher,
}

impl<'k> Verifier<'k> {
    /// Begins at a position; `known` are the heads that the chain must pass.
    pub fn new(index: i64, head: &str, known: &'k [Known]) -> Self {
        Self {
            index,
            head: head.to_owned(),
            previous: String::new(),
            open: None,
            known,
            oldest: None,
            newest: None,
        }
    }

    /// Takes the line of the next batch.
    pub fn take<'a>(&mut self, line: &'a str) -> Result<Batch<'a>, Loss> {
        let batch = Batch::parse(line).map_err(|why| undecodable(self.index + 1, &why))?;
        if batch.index != self.index + 1 {
            return Err(Loss::BrokenChain { index: self.index + 1 });
        }
        if self.open.as_ref().is_none_or(|open| open.seen.nonce != batch.nonce) {
            self.close()?;
            self.open = Some(Open {
                seen: SwapSeen {
                    first: batch.index,
                    last: batch.index,
                    nonce: batch.nonce.clone().into_owned(),
                    parent: batch.parent.clone().into_owned(),
                    checkpoint: batch.checkpoint.clone().into_owned(),
                    wait: batch.wait,
                },
                hasher: Hasher::new(&self.head),
            });
        }
        if let Some(open) = &mut self.open {
            open.seen.last = batch.index;
            open.hasher.line(line);
        }
        self.index = batch.index;
        Ok(batch)
    }

    /// Ends at a root: its index, head, previous, parent and checkpoint must be what the chain says.
    pub fn finish(&mut self, spec: &crate::api::JournalSpec) -> Result<(), Loss> {
        let first = self.open.as_ref().map(|open| open.seen.first);
        self.close()?;
        let broken = Err(Loss::BrokenChain {
            index: first.unwrap_or(self.index),
        });
        if spec.index != self.index || spec.head != self.head {
            return broken;
        }
        // What was known before is not in `previous`; only a root whose last swap was met here can be compared.
        if first.is_some() && spec.previous != self.previous {
            return broken;
        }
        match &self.newest {
            Some(swap) if swap.parent != spec.parent || swap.checkpoint != spec.checkpoint => broken,
            _ => Ok(()),
        }
    }

    fn close(&mut self) -> Result<(), Loss> {
        let Some(open) = self.open.take() else { return Ok(()) };
        self.previous = std::mem::replace(&mut self.head, open.hasher.finish(&open.seen.parent, &open.seen.checkpoint));
        for known in self.known {
            let differs = known.head.as_ref().is_some_and(|head| *head != self.head);
            let inside = known.head.is_some() && (open.seen.first..open.seen.last).contains(&known.index);
            if (known.index == open.seen.last && differs) || inside {
                return Err(Loss::RolledBack {
                    known: known.index,
                    found: open.seen.last,
                });
            }
        }
        self.oldest.get_or_insert_with(|| open.seen.clone());
        self.newest = Some(open.seen);
        Ok(())
    }
}

fn undecodable(index: i64, why: &str) -> Loss {
    Loss::Undecodable {
        what: format!("batch {index}"),
        why: why.chars().take(200).collect(),
    }
}

#[cfg(test)]
#[path = "batch_tests.rs"]
mod tests;
