//! Grants in batches: the head of the directory is proved, the intent is recorded durably, and only then, if it still is what is wanted, it is written.

use std::collections::BTreeSet;

use super::apply::Verb;
use super::engine::{Done, Engine, Error};
use super::work::Purpose;
use crate::access::diff::{Add, Removal};
use crate::access::gate::Op;
use crate::access::key::{BindingKey, MappingKey};
use crate::access::ledger::{Action, Event as Record, Outcome, reasons};
use crate::directory::Directory;
use crate::journal::{Error as JournalError, Snapshot, Verdict};

/// The most bindings and people in one batch: its records fit into one batch of the journal, whose index they all have.
const BATCH: (usize, usize) = (128, 1_500);
/// The most batches whose records are being made at once, and the most grants that may wait for their write when another is begun: while one batch is
/// recorded the one before it is written.
const AHEAD: (usize, usize) = (2, 256);
/// The most grants in flight; removals are not counted.
const IN_FLIGHT: usize = 32;

/// A grant that was recorded.
#[derive(Clone, Debug)]
pub struct Planned {
    /// The record.
    pub intent: (i64, u32),
    /// To whom.
    pub adds: Vec<Add>,
    /// Whose old username goes in the same write.
    pub removals: Vec<Removal>,
}

/// Where the batches are.
#[derive(Default)]
pub struct Granting {
    wanted: BTreeSet<BindingKey>,
    proving: bool,
    recording: BTreeSet<BindingKey>,
    batches: usize,
    recorded: Vec<(BindingKey, Planned)>,
    flying: usize,
}

impl Granting {
    /// Something is to be granted in this binding.
    pub fn want(&mut self, key: BindingKey) {
        if !self.concerns(&key) {
            self.wanted.insert(key);
        }
    }

    /// Whether a record of this binding is being made, or waits for its write.
    pub fn concerns(&self, key: &BindingKey) -> bool {
        self.recording.contains(key) || self.recorded.iter().any(|(k, _)| k == key)
    }

    /// How much of a mapping is to be granted.
    pub fn pending(&self, owner: &MappingKey) -> usize {
        self.wanted
            .iter()
            .chain(&self.recording)
            .chain(self.recorded.iter().map(|(k, _)| k))
            .filter(|k| k.owner == *owner)
            .count()
    }

    /// How many bindings are to grow.
    pub fn depth(&self) -> usize {
        self.wanted.len() + self.recording.len() + self.recorded.len()
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
    /// The intents are durable, or not; and what waited and went along.
    Recorded(Result<(), JournalError>, Vec<(BindingKey, Planned)>, Vec<Record>),
}

impl Engine {
    /// Begins what can begin: writes for what is recorded, a proof for what is wanted.
    pub(super) fn start_granting(&mut self) {
        while self.granting.flying < IN_FLIGHT {
            let Some((key, planned)) = self.granting.recorded.pop() else {
                break;
            };
            self.grant(key, planned);
        }
        let granting = &self.granting;
        let busy = granting.proving || granting.batches >= AHEAD.0 || granting.recorded.len() > AHEAD.1;
        if self.granting.wanted.is_empty() || busy {
            return;
        }
        self.granting.proving = true;
        let directory = self.directory.clone();
        self.spawn(async move { Done::Granting(GrantingDone::Proved(directory.read().await)) });
    }

    fn grant(&mut self, key: BindingKey, planned: Planned) {
        let op = format!("{}/{}", planned.intent.0, planned.intent.1);
        // Only exactly what was recorded is written; anything newer is decided anew. Who stands there already does not come any more: by the record they are
        // known, and if nobody else comes there is nothing to write.
        let coming: Vec<Add> = planned.adds.iter().filter(|add| !add.stands).cloned().collect();
        if coming.is_empty() && self.all_stand(&key, &planned.adds) && !self.queue.is_busy(&key) {
            let uid = self.seen(&key).map(|observed| observed.uid.clone()).unwrap_or_default();
            self.recorder.soon(Record::Outcome {
                intent: planned.intent,
                result: Outcome::Done { uid },
            });
            self.queue.add(key);
            return;
        }
        let verb = match self.decide(&key).op {
            _ if self.queue.is_busy(&key) || self.reselecting.contains_key(&key.owner) => None,
            Op::Create { subjects, adds } if same(&adds, &planned.adds) => Some(Verb::Post(self.body(&key, &op, &subjects, None))),
            Op::Put {
                subjects, adds, removals, ..
            } if same(&adds, &coming)
                && self.all_stand(&key, planned.adds.iter().filter(|add| add.stands))
                && removals.len() == planned.removals.len() =>
            {
                self.seen(&key)
                    .map(|observed| Verb::Put(self.body(&key, &op, &subjects, Some(observed))))
            }
            _ => None,
        };
        match verb {
            Some(verb) => {
                self.granting.flying += 1;
                self.send(key, verb, Purpose::Grant(Box::new(planned)));
            }
            None => {
                self.void(Purpose::Grant(Box::new(planned)));
                self.queue.add(key);
            }
        }
    }

    fn all_stand<'a>(&self, key: &BindingKey, adds: impl IntoIterator<Item = &'a Add>) -> bool {
        let seen = self.seen(key);
        let mut adds = adds.into_iter();
        adds.all(|add| seen.is_some_and(|observed| observed.has(&add.grantee.subject())))
    }

    /// Takes in a step of a batch.
    ///
    /// # Errors
    /// When a journal is lost, or this process no longer leads.
    pub(super) fn granting_done(&mut self, done: GrantingDone) -> Result<(), Error> {
        let later = tokio::time::Instant::now() + std::time::Duration::from_millis(500);
        match done {
            GrantingDone::Proved(proved) => {
                self.granting.proving = false;
                match proved {
                    Ok(snapshot) => self.follow(snapshot)?,
                    Err(JournalError::Lost(loss)) => return Err(Error::Lost("directory", loss)),
                    Err(error) => {
                        tracing::warn!(%error, "the directory cannot be proved: grants wait");
                        let wanted = std::mem::take(&mut self.granting.wanted);
                        wanted.into_iter().for_each(|key| self.queue.add_at(key, later));
                        return Ok(());
                    }
                }
                self.record_intents();
            }
            GrantingDone::Recorded(result, planned, waited) => {
                self.granting.batches = self.granting.batches.saturating_sub(1);
                self.granting
                    .recording
                    .retain(|key| !planned.iter().any(|(planned, _)| planned == key));
                match result {
                    Ok(()) => self.granting.recorded.extend(planned),
                    Err(error @ (JournalError::Lost(_) | JournalError::Fenced | JournalError::Closed)) => {
                        return Err(Error::of("access", error));
                    }
                    Err(error) => {
                        tracing::warn!(%error, "the access journal cannot be appended: grants wait");
                        self.recorder.put_back(waited);
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
        let mut batch: Vec<(BindingKey, Action, Vec<Add>, Vec<Removal>)> = Vec::new();
        while batch.len() < BATCH.0 && people < BATCH.1 {
            let Some(key) = self.granting.wanted.pop_first() else { break };
            if self.queue.is_busy(&key) || self.reselecting.contains_key(&key.owner) {
                self.queue.add(key);
                continue;
            }
            match self.decide(&key).op {
                Op::Create { adds, .. } => {
                    people += adds.len();
                    batch.push((key, Action::Create, adds, Vec::new()));
                }
                Op::Put { adds, removals, .. } if !adds.is_empty() => {
                    people += adds.len();
                    batch.push((key, Action::Update, adds, removals));
                }
                _ => self.queue.add(key),
            }
        }
        if batch.is_empty() {
            return;
        }
        let waited = self.recorder.take();
        let mut events = waited.clone();
        let mut planned = Vec::new();
        for (key, action, adds, removals) in batch {
            let place = u32::try_from(events.len()).unwrap_or(u32::MAX);
            events.push(Record::Intent {
                op: place,
                binding: self.id_of(&key),
                owner: key.owner.clone(),
                role: key.role.clone(),
                shard: key.prefix,
                action,
                adds: adds.iter().map(|add| add.grantee.clone()).collect(),
                why: reasons(adds.iter().map(|add| (&*add.grantee.username, &add.why))),
            });
            self.granting.recording.insert(key.clone());
            planned.push((
                key,
                Planned {
                    intent: (0, place),
                    adds,
                    removals,
                },
            ));
        }
        let access = self.access.clone();
        self.granting.batches += 1;
        self.spawn(async move {
            // The number in the batch is known only when it is judged: others may have come before.
            let judged = access
                .submit(move |_, stamp| {
                    let mut events = events.clone();
                    for event in &mut events {
                        if let Record::Intent { op, .. } = event {
                            *op += stamp.ordinal;
                        }
                    }
                    Verdict::Append(events, (stamp.index, stamp.ordinal))
                })
                .await;
            let (result, at) = match judged {
                Ok(at) => (Ok(()), at),
                Err(error) => (Err(error), (0, 0)),
            };
            let planned = planned
                .into_iter()
                .map(|(key, p)| {
                    (
                        key,
                        Planned {
                            intent: (at.0, at.1 + p.intent.1),
                            ..p
                        },
                    )
                })
                .collect();
            Done::Granting(GrantingDone::Recorded(result, planned, waited))
        });
    }
}

fn same(now: &[Add], recorded: &[Add]) -> bool {
    now.len() == recorded.len() && now.iter().zip(recorded).all(|(a, b)| a.grantee == b.grantee)
}
