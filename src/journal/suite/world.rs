//! What the cases are made of: a state that counts, processes over one store, and the checks. No case lives here.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use serde::{Deserialize, Serialize};

use super::Scale;
use crate::api::JournalSpec;
use crate::journal::batch::Draft;
use crate::journal::seal::{Signature, outline};
use crate::journal::store::{Fault, Faulty, Op, Store};
use crate::journal::{Error, Journal, Options, Position, Stamp, State, StoreError, Verdict, load, root};

/// What a case's writers append.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Put {
    /// Unique in a case.
    pub key: u64,
    /// To make it large.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub pad: String,
}

/// How often each key was put, and where.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Log {
    /// Count and place of each key.
    pub keys: imbl::OrdMap<u64, (u32, i64, u32)>,
    /// How many events there were.
    pub events: u64,
    /// Bytes of padding.
    pub bytes: usize,
    /// Whether the places of events always grew.
    pub out_of_order: bool,
    last: (i64, u32, i64),
}

impl State for Log {
    type Event = Put;

    fn apply(&mut self, stamp: &Stamp, event: &Put) {
        let place = (stamp.index, stamp.ordinal, stamp.time.as_millisecond());
        let follows = (place.0, place.1) > (self.last.0, self.last.1) && place.2 >= self.last.2;
        self.out_of_order |= self.events > 0 && !follows;
        self.last = place;
        self.events += 1;
        self.bytes += event.pad.len();
        let count = self.keys.get(&event.key).map_or(0, |(count, ..)| *count);
        self.keys.insert(event.key, (count + 1, stamp.index, stamp.ordinal));
    }
}

/// What a writer learnt.
#[derive(Clone, Debug, Default)]
pub struct Learnt {
    /// Keys that were acknowledged.
    pub acknowledged: BTreeSet<u64>,
    /// Keys that may be there.
    pub unknown: BTreeSet<u64>,
    /// Keys that were refused.
    pub refused: BTreeSet<u64>,
}

impl Learnt {
    pub fn add(&mut self, other: Learnt) {
        self.acknowledged.extend(other.acknowledged);
        self.unknown.extend(other.unknown);
        self.refused.extend(other.refused);
    }
}

/// Options for cases: every wait is short.
pub fn options(writer: &str) -> Options {
    let mut options = Options::new(writer);
    options.prove_every = Duration::from_millis(300);
    options.absent_after = Duration::from_millis(200);
    options.burst = 1_000_000;
    options
}

/// A journal without events; returns its id.
pub async fn plant(store: &Arc<dyn Store>) -> Result<String, String> {
    let id = uuid::Uuid::new_v4().to_string();
    let spec = root::first(&id, store.name());
    store.create_root(&spec).await.map_err(|error| format!("the root: {error}"))?;
    Ok(id)
}

/// The root after a swap that puts `key`, as any writer would send it; `base` must have room in its tail.
pub fn next(store: &dyn Store, base: &JournalSpec, key: u64) -> Result<JournalSpec, String> {
    let nonce = format!("{key:016x}");
    let signature = Signature {
        journal: store.name(),
        time: jiff::Timestamp::now(),
        writer: "by hand",
        nonce: &nonce,
    };
    let mut draft = Draft::new();
    let event = Put { key, pad: String::new() };
    draft.add(&[event], |_, _, _| ()).map_err(|_| "too large".to_owned())?;
    Ok(outline(base, &signature, draft.bodies(), false).finish(base, &signature, &[])?.spec)
}

/// A process over a store.
pub async fn process(store: Arc<dyn Store>, options: Options) -> Result<Journal<Log>, String> {
    Journal::open(store, Log::default(), options)
        .await
        .map_err(|error| format!("open: {}", chain(&error)))
}

/// A planted store of the bed, behind a plan of faults, and a process over it.
pub async fn faulty(
    store: &Arc<dyn Store>,
    name: &str,
    plan: impl FnMut(Op) -> Option<Fault> + Send + 'static,
) -> Result<Journal<Log>, String> {
    process(Faulty::new(store.clone(), plan), options(name)).await
}

/// Puts a key; a key that is there is not put again.
pub async fn put(journal: &Journal<Log>, key: u64, pad: usize) -> Result<bool, Error> {
    put_many(journal, vec![key], pad).await
}

/// Puts keys in one request.
pub async fn put_many(journal: &Journal<Log>, keys: Vec<u64>, pad: usize) -> Result<bool, Error> {
    let judge = move |log: &Log, _: &Stamp| {
        if keys.iter().any(|key| log.keys.contains_key(key)) {
            return Verdict::Read(false);
        }
        let events = keys.iter().map(|key| Put {
            key: *key,
            pad: noise(*key, pad),
        });
        Verdict::Append(events.collect(), true)
    };
    journal.submit(judge).await
}

/// Text that does not compress.
fn noise(seed: u64, len: usize) -> String {
    let mut text = String::with_capacity(len + 16);
    let mut random = Random(seed);
    while text.len() < len {
        text.push_str(&format!("{:016x}", random.next()));
    }
    text.truncate(len);
    text
}

/// All writers of all processes put their keys, each event of `pad` bytes.
pub async fn storm(journals: &[Journal<Log>], scale: Scale, pad: usize) -> Learnt {
    let tasks = (0..).zip(journals).flat_map(|(process, journal)| {
        (0..scale.writers).map(move |writer| {
            let journal = journal.clone();
            tokio::spawn(async move {
                let mut learnt = Learnt::default();
                for n in 0..scale.events {
                    let key = (process * scale.writers + writer) * scale.events + n;
                    match put(&journal, key, pad).await {
                        Ok(true) => learnt.acknowledged.insert(key),
                        Err(Error::Deadline | Error::Lost(_)) => learnt.unknown.insert(key),
                        Ok(false) | Err(_) => learnt.refused.insert(key),
                    };
                }
                learnt
            })
        })
    });
    let mut all = Learnt::default();
    for learnt in join_all(tasks).await.into_iter().flatten() {
        all.add(learnt);
    }
    all
}

/// Nothing acknowledged is lost, nothing is there twice, what was refused is not there, all processes agree with a cold start,
/// and none of them calls the journal lost.
pub async fn check(store: &Arc<dyn Store>, journals: &[Journal<Log>], learnt: &Learnt) -> Result<(), String> {
    let cold = load(store.clone(), Log::default(), Vec::new())
        .await
        .map_err(|error| format!("cold start: {}", chain(&error)))?;
    let log = &cold.state;
    let lost = learnt.acknowledged.iter().filter(|key| !log.keys.contains_key(*key)).count();
    ensure(lost == 0, || format!("{lost} acknowledged events are lost"))?;
    let twice = log.keys.values().filter(|(count, ..)| *count > 1).count();
    ensure(twice == 0, || format!("{twice} events are there twice"))?;
    let refused = learnt.refused.iter().filter(|key| log.keys.contains_key(*key)).count();
    ensure(refused == 0, || format!("{refused} refused events are there"))?;
    let expected = log
        .keys
        .keys()
        .all(|key| learnt.acknowledged.contains(key) || learnt.unknown.contains(key));
    ensure(expected, || "there are events that nobody put".to_owned())?;
    ensure(!log.out_of_order, || "places or times went back".to_owned())?;
    for journal in journals {
        let read = journal.read().await.map_err(|error| format!("read: {}", chain(&error)))?;
        ensure(read.position.index >= cold.position.index, || {
            "a read is behind a cold start".to_owned()
        })?;
        if read.position.index == cold.position.index {
            ensure(read.position.head == cold.position.head, || "heads differ".to_owned())?;
            ensure(*read.state == *cold.state, || "a process and a cold start differ".to_owned())?;
        }
        prove(journal).await?;
        ensure(journal.snapshot().position.loss.is_none(), || {
            "a healthy journal is called lost".to_owned()
        })?;
    }
    Ok(())
}

/// Proves a journal, through a store that fails now and then.
async fn prove(journal: &Journal<Log>) -> Result<(), String> {
    for _ in 0..100 {
        match journal.prove().await {
            Err(Error::Store(StoreError::Unknown { .. })) => {}
            other => return other.map_err(|error| format!("prove: {}", chain(&error))),
        }
    }
    Err("prove: never answered".to_owned())
}

/// Writers that must all succeed, and the checks.
pub async fn all_succeed(store: &Arc<dyn Store>, journals: &[Journal<Log>], scale: Scale, pad: usize) -> Result<(), String> {
    let learnt = storm(journals, scale, pad).await;
    check(store, journals, &learnt).await?;
    let expected = journals.len() as u64 * scale.writers * scale.events;
    let acknowledged = learnt.acknowledged.len() as u64;
    ensure(acknowledged == expected, || {
        format!("{acknowledged} of {expected} were acknowledged")
    })
}

/// Waits until a journal is lost, and returns where.
pub async fn lost(journal: &Journal<Log>) -> Result<Position, String> {
    let mut positions = journal.subscribe();
    let lost = positions.wait_for(|position| position.loss.is_some());
    match tokio::time::timeout(Duration::from_secs(20), lost).await {
        Ok(Ok(position)) => Ok(position.clone()),
        _ => Err("the loss was not noticed".to_owned()),
    }
}

/// A lost journal answers nothing else any more.
pub async fn refuses(journal: &Journal<Log>) -> Result<(), String> {
    ensure(matches!(journal.read().await, Err(Error::Lost(_))), || {
        "a read was answered".to_owned()
    })?;
    let put = put(journal, u64::MAX, 0).await;
    ensure(matches!(put, Err(Error::Lost(_))), || format!("a write was answered: {put:?}"))
}

pub fn ensure(holds: bool, why: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(why()) }
}

/// An error with all its causes.
pub fn chain(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", chain(source)),
        None => error.to_string(),
    }
}

/// Seeded, so that a failure can be met again (xorshift).
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        let mut x = self.0.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        x ^= x >> 12;
        x ^= x << 25;
        x ^= x >> 27;
        self.0 = self.0.wrapping_add(0x2545_F491_4F6C_DD1D);
        x.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// True once in `n`.
    pub fn one_in(&mut self, n: u64) -> bool {
        (self.next() >> 33).is_multiple_of(n)
    }
}
