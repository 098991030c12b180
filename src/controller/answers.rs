//! What came back: the answers to writes are taken in, recorded, and lead to the next look. What is written is decided in `work` and `grants`.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::apply::{Answer, Verb, Write};
use super::engine::{Done, Engine, Error};
use super::work::{Purpose, REFUSED_AGAIN, Unsettled, WriteDone};
use crate::access::diff::conflict;
use crate::access::key::BindingKey;
use crate::access::ledger::{Event as Record, Outcome};
use crate::access::names::is_known;
use crate::access::policy::Refusal;
use crate::access::status::Failure;
use crate::ops::lease;

/// What RBAC says when `bind` is missing names the rights that would do as well, but not the one that is meant.
fn what_to_do(message: &str) -> &'static str {
    match message.contains("attempting to grant RBAC permissions not currently held") {
        true => {
            "Rolecall may not bind this role: list it in accessPolicy (Helm value) and run helm upgrade, or take it out of spec.grants; Kubernetes says: "
        }
        false => "",
    }
}

impl Engine {
    /// Takes in what ended.
    ///
    /// # Errors
    /// When this process no longer leads, or a journal is lost.
    pub(super) fn done(&mut self, done: Done) -> Result<(), Error> {
        match done {
            Done::Write(done) => self.written(done),
            Done::Granting(done) => return self.granting_done(done),
            Done::Place(done) => self.placed(done),
            Done::Seen(done) => self.looked(done),
            Done::Surveyed(answer) => self.surveyed(answer),
            Done::Status(target, result) => self.status_written(&target, result),
            Done::Deletions(found) => self.deletions_found(found),
            Done::SourceEnded(name, recorded) => self.source_ended(&name, recorded),
            Done::Repaired => return Err(Error::Repaired),
            Done::Lease(answer, refused) => {
                self.lease_asked = false;
                match answer {
                    Ok(false) => {
                        return Err(Error::SteppedDown(
                            "the API server refused a write, and the Lease is another's".to_owned(),
                        ));
                    }
                    Ok(true) => {
                        self.must_delete.extend(refused.iter().cloned());
                        refused.into_iter().for_each(|key| self.queue.add(key));
                    }
                    Err(_) => refused.iter().for_each(|key| self.queue.retry(key.clone(), Instant::now())),
                }
                // what was refused after that GET began
                if !self.to_delete.is_empty() {
                    self.ask_lease();
                }
            }
        }
        Ok(())
    }

    fn written(&mut self, done: WriteDone) {
        let WriteDone {
            key,
            write,
            purpose,
            answer,
        } = done;
        self.metrics.answered(&write.verb, &answer);
        self.queue.end(&key);
        if matches!(purpose, Purpose::Grant(_)) {
            self.granting.landed();
        }
        let full = format!("{}/{}", write.namespace, write.name);
        let sent = match &write.verb {
            Verb::Post(body) | Verb::Put(body) => body["metadata"]["annotations"][crate::api::names::OP]
                .as_str()
                .unwrap_or_default()
                .to_owned(),
            Verb::Delete { .. } => String::new(),
        };
        let mut again = true;
        match answer {
            Answer::Written(found) => {
                self.sighted(&full, &key, &found);
                let found = self.world.bindings.put(full.clone(), *found);
                self.note(&full, Some(found));
                self.went_well(&key, purpose, false);
            }
            Answer::Gone => {
                self.sightings.shown(&full);
                self.world.bindings.remove(&full);
                self.by_name.remove(&full);
                self.standing.remove(&key);
                // what was to grow is gone: nobody was granted anything
                if matches!(purpose, Purpose::Grant(_)) {
                    self.void(purpose);
                } else {
                    self.went_well(&key, purpose, matches!(write.verb, Verb::Delete { .. }));
                }
            }
            Answer::Other(found) => {
                // The watch told that it is gone: perhaps after this was read. It is believed the next time, when it was read later.
                if self.sightings.returns(&found.uid) {
                    self.void(purpose);
                    self.queue.retry(key, Instant::now());
                    return;
                }
                self.sighted(&full, &key, &found);
                let ours = is_known(&found, &key, &self.installation);
                let grants = matches!(purpose, Purpose::Grant(_));
                let landed = grants && found.op.as_deref() == Some(sent.as_str());
                self.note(&full, Some(Arc::from(found)));
                if ours && landed {
                    self.went_well(&key, purpose, false);
                } else {
                    if !ours {
                        let refusal = conflict(&key, &self.id_of(&key));
                        self.fails(&key, Failure { refusal, human: true });
                        self.queue.add_at(key.clone(), Instant::now() + REFUSED_AGAIN);
                        again = false;
                    }
                    self.void(purpose);
                }
            }
            Answer::Fenced(message) => {
                tracing::debug!(message, "refused by the fence");
                self.void(purpose);
                self.ask_lease();
                self.queue.retry(key.clone(), Instant::now());
                again = false;
            }
            Answer::Refused(message) => {
                self.refused(&key, &write, purpose, &message);
                again = false;
            }
            Answer::NamespaceGoing => {
                self.void(purpose);
                again = false;
            }
            Answer::Unknown(message) => {
                tracing::warn!(binding = full, message, "a write of unknown outcome");
                let unsettled = match &write.verb {
                    Verb::Post(_) => Some(Unsettled::Post),
                    Verb::Put(body) => Some(Unsettled::Put {
                        uid: body["metadata"]["uid"].as_str().unwrap_or_default().to_owned(),
                        version: body["metadata"]["resourceVersion"].as_str().unwrap_or_default().to_owned(),
                    }),
                    Verb::Delete { .. } => None,
                };
                // Not a shrinking PUT: whenever it comes, it takes away what was to go.
                if let Some(unsettled) =
                    unsettled.filter(|_| !matches!(purpose, Purpose::Remove { .. }) || self.unsettled.contains_key(&key))
                {
                    self.unsettled.insert(key.clone(), unsettled);
                }
                self.queue.retry(key.clone(), Instant::now());
                again = false;
            }
        }
        if again {
            self.queue.add(key);
        }
        self.statuses_soon();
    }

    fn went_well(&mut self, key: &BindingKey, purpose: Purpose, whole: bool) {
        self.metrics.done(&purpose, &self.heard);
        self.queue.well(key);
        if let Some(owner) = self.owners.get_mut(&key.owner) {
            owner.failing.remove(key);
        }
        // First what came of an earlier write: a grant that is recorded after the removal that followed it would stand in the ledger for ever.
        match self.unsettled.get(key) {
            Some(Unsettled::Post) if self.standing.get(key).is_some() => {
                self.tombstones.insert(key.clone());
                self.settled(key);
            }
            Some(Unsettled::Put { .. }) => self.settled(key),
            _ => {}
        }
        match purpose {
            Purpose::Remove(removals) => {
                self.must_delete.remove(key);
                self.record_removals(key, &removals, whole);
            }
            Purpose::Grant(planned) => {
                let uid = self.standing.get(key).map(|o| o.uid.clone()).unwrap_or_default();
                self.recorder.soon(Record::Outcome {
                    intent: planned.intent,
                    result: Outcome::Done { uid },
                });
                if !planned.removals.is_empty() {
                    self.record_removals(key, &planned.removals, false);
                }
                self.wake_waiting(key);
            }
            Purpose::Settle => {}
        }
    }

    /// A grant that did not come about, for a reason that is no refusal.
    pub(super) fn void(&mut self, purpose: Purpose) {
        if let Purpose::Grant(planned) = purpose {
            self.recorder.soon(Record::Outcome {
                intent: planned.intent,
                result: Outcome::Void,
            });
        }
    }

    /// Kubernetes refuses.
    fn refused(&mut self, key: &BindingKey, write: &Write, purpose: Purpose, message: &str) {
        let message: String = message.chars().take(1024).collect();
        let failure = |human| Failure {
            refusal: Refusal::new("WriteRefused", format!("{key}: {}{message}", what_to_do(&message))),
            human,
        };
        match purpose {
            Purpose::Remove(_) | Purpose::Settle => {
                // `bind` may be gone, or the role: a DELETE needs neither, and what may stay is granted again. But no fence judges a DELETE: first the
                // Lease has to show that this is not a leader of the past, whose view of who is to go is old.
                tracing::warn!(binding = %key, message, "a write that grants nothing was refused");
                if matches!(write.verb, Verb::Put(_)) && !self.must_delete.contains(key) {
                    self.to_delete.insert(key.clone());
                    self.ask_lease();
                    return;
                }
                self.fails(key, failure(false));
                self.queue.retry(key.clone(), Instant::now());
            }
            Purpose::Grant(planned) => {
                self.recorder.soon(Record::Outcome {
                    intent: planned.intent,
                    result: Outcome::Refused { reason: message.clone() },
                });
                self.fails(key, failure(true));
                self.queue.add_at(key.clone(), Instant::now() + REFUSED_AGAIN);
            }
        }
    }

    pub(super) fn fails(&mut self, key: &BindingKey, failure: Failure) {
        if let Some(owner) = self.owners.get_mut(&key.owner) {
            owner.failing.insert(key.clone(), failure);
        }
        self.wake_waiting(key);
        self.statuses_soon();
    }

    /// Whoever waited for what this mapping grants in this namespace waits no more: it is there, or will not be.
    fn wake_waiting(&mut self, key: &BindingKey) {
        let here = |w: &&BindingKey| w.owner == key.owner && (w.namespace == key.namespace || key.namespace.is_empty());
        self.waiting.keys().filter(here).for_each(|w| self.queue.add(w.clone()));
    }

    fn ask_lease(&mut self) {
        if std::mem::replace(&mut self.lease_asked, true) {
            return;
        }
        let refused = std::mem::take(&mut self.to_delete);
        let (client, namespace, name, term) = (
            self.client.clone(),
            self.args.namespace.clone(),
            format!("{}-controller", self.args.fullname),
            self.term.clone(),
        );
        self.spawn(async move {
            let asked = tokio::time::timeout(Duration::from_secs(5), lease::shows(&client, &namespace, &name, &term)).await;
            let answer = match asked {
                Ok(Ok(shows)) => Ok(shows),
                Ok(Err(error)) => Err(error.to_string()),
                Err(_) => Err("no answer".to_owned()),
            };
            Done::Lease(answer, refused)
        });
    }
}
