//! Grants in batches: the head of the directory is proved, the intent is recorded durably, and only then, if it still is what is wanted, it is written.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::apply::Verb;
use super::engine::{Done, Engine, Error};
use super::work::Purpose;
use crate::access::binding::SubjectRef;
use crate::access::gate::Step;
use crate::access::key::BindingKey;
use crate::access::ledger::{Event as Record, Grantee};
use crate::access::why::{Cause, Why};
use crate::directory::Directory;
use crate::journal::{Error as JournalError, Snapshot, Verdict};

/// The most bindings and people in one batch: its records fit into one batch of the journal, whose index they all have.
const BATCH: (usize, usize) = (128, 2_000);
/// The most grants in flight; removals are not counted.
const IN_FLIGHT: usize = 32;

/// A grant that was recorded.
#[derive(Clone, Debug)]
pub struct Planned {
    /// The record.
    pub intent: (i64, u32),
    /// To whom.
    pub adds: Vec<Grantee>,
    /// Whose old username goes in the same write.
    pub removed: Vec<Arc<str>>,
    /// Why.
    pub why: Why,
}

/// Where the batches are.
#[derive(Default)]
pub struct Granting {
    wanted: BTreeMap<BindingKey, Cause>,
    proving: bool,
    recording: BTreeMap<BindingKey, Cause>,
    recorded: Vec<(BindingKey, Planned)>,
    flying: usize,
}

impl Granting {
    /// Something is to be granted in this binding.
    pub fn want(&mut self, key: BindingKey, cause: Cause) {
        if !self.recording.contains_key(&key) && !self.recorded.iter().any(|(k, _)| *k == key) {
            self.wanted.insert(key, cause);
        }
    }

    /// Whether a record of this binding is being made, or waits for its write.
    pub fn concerns(&self, key: &BindingKey) -> bool {
        self.recording.contains_key(key) || self.recorded.iter().any(|(k, _)| k == key)
    }

    /// Whether anything is to be granted.
    pub fn is_idle(&self) -> bool {
        self.wanted.is_empty() && self.recording.is_empty() && self.recorded.is_empty()
    }

    /// Whether anything of this mapping is to be granted.
    pub fn pending(&self, owner: &crate::access::key::MappingKey) -> bool {
        self.wanted.keys().chain(self.recording.keys()).chain(self.recorded.iter().map(|(k, _)| k)).any(|k| k.owner == *owner)
    }

    /// A grant's write ended.
    pub fn landed(&mut self) {
        self.flying = self.flying.saturating_sub(1);
    }
}

/// A step of a batch that ended.
pub enum GrantingDone {
    /// The head was proved.
    Proved(Result<Snapshot<Directory>, JournalError>),
    /// The intents are durable: the batch's index.
    Recorded(Result<i64, JournalError>, Vec<(BindingKey, Planned)>, Vec<Record>),
}

impl Engine {
    /// Begins what can begin: a proof for what is wanted, writes for what is recorded.
    pub(super) fn start_granting(&mut self) {
        while self.granting.flying < IN_FLIGHT {
            let Some((key, planned)) = self.granting.recorded.pop() else { break };
            self.grant(key, planned);
        }
        if self.granting.wanted.is_empty() || self.granting.proving || !self.granting.recording.is_empty() || self.granting.recorded.len() > BATCH.0 {
            return;
        }
        self.granting.proving = true;
        let directory = self.directory.clone();
        self.spawn(async move { Done::Granting(GrantingDone::Proved(directory.read().await)) });
    }

    fn grant(&mut self, key: BindingKey, planned: Planned) {
        let changed = self.queue.is_busy(&key);
        let look = self.decide(&key);
        let op = format!("{}/{}", planned.intent.0, planned.intent.1);
        // Only exactly what was recorded is written; anything newer is decided anew.
        let verb = match look.step {
            _ if changed => None,
            Step::Create { adds } if adds == planned.adds => {
                let subjects: Vec<SubjectRef> = adds.iter().map(|g| SubjectRef::user(&*g.username)).collect();
                Some(Verb::Post(self.body(&key, &op, &subjects, None)))
            }
            Step::Grow { subjects, adds, .. } if adds == planned.adds => {
                self.observed.get(&key).map(|observed| Verb::Put(self.body(&key, &op, &subjects, Some(observed))))
            }
            _ => None,
        };
        match verb {
            Some(verb) => {
                self.granting.flying += 1;
                self.send(key, verb, Purpose::Grant(Box::new(planned)));
            }
            None => {
                self.void(&key, Purpose::Grant(Box::new(planned)));
                self.queue.add(key, Cause::Repair);
            }
        }
    }

    /// Takes in a step of a batch.
    ///
    /// # Errors
    /// When the journal is lost, or this process no longer leads.
    pub(super) fn granting_done(&mut self, done: GrantingDone) -> Result<(), Error> {
        match done {
            GrantingDone::Proved(proved) => {
                self.granting.proving = false;
                match proved {
                    Ok(snapshot) => self.follow(snapshot)?,
                    Err(JournalError::Lost(loss)) => return Err(Error::Lost(loss)),
                    Err(error) => {
                        tracing::warn!(%error, "the directory cannot be proved: grants wait");
                        let later = tokio::time::Instant::now() + std::time::Duration::from_millis(500);
                        let wanted = std::mem::take(&mut self.granting.wanted);
                        wanted.into_keys().for_each(|key| self.queue.add_at(key, later));
                        return Ok(());
                    }
                }
                self.record_intents();
            }
            GrantingDone::Recorded(result, planned, records) => {
                self.granting.recording.clear();
                match result {
                    Ok(_) => self.granting.recorded.extend(planned),
                    Err(error @ (JournalError::Lost(_) | JournalError::Fenced | JournalError::Closed)) => return Err(error.into()),
                    Err(error) => {
                        tracing::warn!(%error, "the access journal cannot be appended: grants wait");
                        self.recorder.put_back(records);
                        let later = tokio::time::Instant::now() + std::time::Duration::from_millis(500);
                        planned.into_iter().for_each(|(key, _)| self.queue.add_at(key, later));
                    }
                }
            }
        }
        Ok(())
    }

    /// Looks once more at everything that is wanted, by the state that was just proved, and records it.
    fn record_intents(&mut self) {
        let mut people = 0;
        let mut batch: Vec<(BindingKey, Cause, Step)> = Vec::new();
        while batch.len() < BATCH.0 && people < BATCH.1 {
            let Some((key, cause)) = self.granting.wanted.pop_first() else { break };
            if self.queue.is_busy(&key) {
                self.queue.add(key, cause);
                continue;
            }
            match self.decide(&key).step {
                step @ (Step::Create { .. } | Step::Grow { .. }) => {
                    people += adds_of(&step).len();
                    batch.push((key, cause, step));
                }
                _ => self.queue.add(key, cause),
            }
        }
        if batch.is_empty() {
            return;
        }
        let records = self.recorder.take();
        let first = u32::try_from(records.len()).unwrap_or(u32::MAX);
        let mut events = records.clone();
        let mut planned = Vec::new();
        for (n, (key, cause, step)) in (first..).zip(batch) {
            let adds = adds_of(&step).to_vec();
            let vias: Vec<&Grantee> = adds.iter().collect();
            let why = self.why(&key, &cause, &vias);
            events.push(Record::Intent {
                binding: self.name_of(&key),
                owner: key.owner.clone(),
                role: key.role.clone(),
                shard: key.prefix,
                create: matches!(step, Step::Create { .. }),
                adds: adds.clone(),
                why: why.clone(),
            });
            let removed = match &step {
                Step::Grow { removals, .. } => removals.iter().filter_map(|r| r.subject.username()).map(Arc::from).collect(),
                _ => Vec::new(),
            };
            self.granting.recording.insert(key.clone(), cause);
            planned.push((key, Planned { intent: (0, n), adds, removed, why }));
        }
        let access = self.access.clone();
        self.spawn(async move {
            let result = access.submit(move |_, stamp| Verdict::Append(events.clone(), (stamp.index, stamp.ordinal))).await;
            let planned = match &result {
                Ok((index, base)) => planned.into_iter().map(|(k, p)| (k, Planned { intent: (*index, base + p.intent.1), ..p })).collect(),
                Err(_) => planned,
            };
            Done::Granting(GrantingDone::Recorded(result.map(|(index, _)| index), planned, records))
        });
    }
}

fn adds_of(step: &Step) -> &[Grantee] {
    match step {
        Step::Create { adds } | Step::Grow { adds, .. } => adds,
        _ => &[],
    }
}
