//! What the cluster shows of our bindings, and what an earlier term left open. Nothing is written here.

use super::engine::Engine;
use super::work::Unsettled;
use crate::access::binding::Observed;
use crate::access::ledger::{Action, BindingId};
use crate::access::names::{identify, is_known};

impl Engine {
    /// Bindings with our labels came, changed or went.
    pub(super) fn bindings_changed(&mut self, names: &[String]) {
        for name in names {
            let observed = self.world.bindings.get(name).and_then(Observed::of);
            self.note(name, observed);
        }
    }

    /// Takes in what a binding shows now, by `namespace/name`.
    pub(super) fn note(&mut self, name: &str, observed: Option<Observed>) {
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
            self.observed.remove(&before);
            self.queue.add(before);
        }
        match (key, observed) {
            (Some(key), Some(observed)) => {
                // An answer to our own write may be newer than what a watch tells.
                let older = self
                    .observed
                    .get(&key)
                    .is_some_and(|had| had.uid == observed.uid && newer(&had.resource_version, &observed.resource_version));
                self.by_name.insert(name.to_owned(), key.clone());
                if !older && self.observed.get(&key) != Some(&observed) {
                    self.observed.insert(key.clone(), observed);
                    self.queue.add(key);
                }
            }
            (None, _) => known.into_iter().for_each(|key| self.queue.add(key)),
            (Some(_), None) => {}
        }
    }

    /// Intents that an earlier term left open: what they wrote may be there, or may still come.
    pub(super) fn open_intents(&mut self) {
        let ledger = self.access.snapshot();
        for (_, intent) in ledger.state.open_intents() {
            let unsettled = match (self.observed.get(&intent.key), intent.action) {
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

/// resourceVersions are compared only for one object, where they are numbers that grow (KEP-5504); anything else counts as newer.
fn newer(had: &str, found: &str) -> bool {
    matches!((had.parse::<u64>(), found.parse::<u64>()), (Ok(had), Ok(found)) if had > found)
}
