//! What the cluster shows of our bindings, and what an earlier term left open. Only a new term's first writes, which grant nothing, are made here.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, StreamExt as _};

use super::apply::{Answer, Verb, Write};
use super::engine::Engine;
use super::observe::newer;
use super::work::Unsettled;
use crate::access::binding::Observed;
use crate::access::key::BindingKey;
use crate::access::ledger::{Action, BindingId};
use crate::access::names::{identify, is_known};

/// How often, and how many at once, names are made to stand at the start of a term.
const STAND_TRIES: u32 = 25;
const STAND_AT_ONCE: usize = 32;

impl Engine {
    /// Bindings with our labels came, changed or went.
    pub(super) fn bindings_changed(&mut self, names: &[String]) {
        for name in names {
            self.sightings.shown(name);
            let observed = self.world.bindings.get(name).cloned();
            if let Some(observed) = &observed {
                self.sightings.returns(&observed.uid);
            }
            self.note(name, observed);
        }
    }

    /// Takes in what a binding shows now, by `namespace/name`.
    pub(super) fn note(&mut self, name: &str, observed: Option<Arc<Observed>>) {
        let known = self.by_name.get(name).cloned().or_else(|| {
            let (namespace, name) = name.split_once('/')?;
            self.access.snapshot().state.key(&BindingId {
                namespace: namespace.to_owned(),
                name: name.to_owned(),
            })
        });
        let key = observed
            .as_ref()
            .and_then(|o| identify(o, &self.installation).or_else(|| known.clone().filter(|key| is_known(o, key, &self.installation))));
        if let Some(before) = self.by_name.remove(name).filter(|before| Some(before) != key.as_ref()) {
            self.standing.remove(&before);
            self.queue.add(before);
        }
        match (key, observed) {
            (Some(key), Some(observed)) => {
                // An answer to our own write may be newer than what a watch tells.
                let had = self.standing.get(&key);
                let older = |had: &Arc<Observed>| had.uid == observed.uid && newer(&had.resource_version, &observed.resource_version);
                let news = had.is_none_or(|had| !older(had) && *had != observed);
                self.by_name.insert(name.to_owned(), key.clone());
                if news {
                    self.standing.insert(key.clone(), observed);
                    self.queue.add(key);
                }
            }
            (None, _) => known.into_iter().for_each(|key| self.queue.add(key)),
            (Some(_), None) => {}
        }
    }

    /// Makes the names of POSTs stand that an earlier term left without an outcome, as bindings that grant nothing: from then on such a POST can
    /// only fail, wherever it is held. Bounded; what does not come to stand here is settled later, as everything that is unsettled.
    pub(super) async fn stand_names(&mut self) {
        let open = self.access.snapshot();
        let created = open
            .state
            .open_intents()
            .filter(|(_, intent)| intent.action == Action::Create)
            .map(|(_, intent)| intent.key.clone());
        let there = |key: &BindingKey| {
            let place = self.world.namespaces.get(&key.namespace);
            key.namespace.is_empty() || place.is_some_and(|n| !n.terminating)
        };
        let mut left: BTreeSet<BindingKey> = created.filter(|key| self.standing.get(key).is_none() && there(key)).collect();
        for _ in 0..STAND_TRIES {
            if left.is_empty() {
                return;
            }
            let writes = left.iter().map(|key| {
                let id = self.id_of(key);
                let verb = Verb::Post(self.body(key, "", &[], None));
                let write = Write {
                    namespace: id.namespace,
                    name: id.name,
                    verb,
                };
                let (key, writer) = (key.clone(), self.writer.clone());
                async move { (key, writer.write(&write).await, format!("{}/{}", write.namespace, write.name)) }
            });
            let answers: Vec<_> = stream::iter(writes.collect::<Vec<_>>())
                .buffer_unordered(STAND_AT_ONCE)
                .collect()
                .await;
            for (key, answer, name) in answers {
                match answer {
                    Answer::Written(object) | Answer::Other(object) => {
                        left.remove(&key);
                        let object = self.world.bindings.put(name.clone(), *object);
                        self.note(&name, Some(object));
                        if self.standing.get(&key).is_some() {
                            self.tombstones.insert(key);
                        }
                    }
                    // The fence may not have seen our Lease yet.
                    Answer::Fenced(_) | Answer::Unknown(_) => {}
                    Answer::Gone | Answer::Refused(_) | Answer::NamespaceGoing => drop(left.remove(&key)),
                }
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Intents that an earlier term left open: what they wrote may be there, or may still come.
    pub(super) fn open_intents(&mut self) {
        let ledger = self.access.snapshot();
        for (_, intent) in ledger.state.open_intents() {
            if self.tombstones.contains(&intent.key) {
                self.settled(&intent.key);
                self.queue.add(intent.key.clone());
                continue;
            }
            let unsettled = match (self.standing.get(&intent.key), intent.action) {
                (None, Action::Create) => Some(Unsettled::Post),
                (None, Action::Update) => None,
                (Some(observed), _) => Some(Unsettled::Put {
                    uid: observed.uid.clone(),
                    version: observed.resource_version.clone(),
                }),
            };
            match unsettled {
                Some(unsettled) => drop(self.unsettled.insert(intent.key.clone(), unsettled)),
                None => self.settled(&intent.key),
            }
            self.queue.add(intent.key.clone());
        }
    }
}
