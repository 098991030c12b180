//! Answers that come late: what the answer to a write shows may be gone by the time it is read, and the watch may have told so already, or never tell. Nothing is written here.
//!
//! The watch tells of an object that lost its labels what it tells of one that is gone: so what it told is a reason to look again, and no proof.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::time::Duration;

use kube::ResourceExt as _;
use kube::runtime::watcher::Event;
use tokio::time::Instant;

use super::apply::{Answer, Verb, Write};
use super::engine::{Done, Engine};
use super::observe::{key_of, newer};
use super::world::Change;
use crate::access::binding::Observed;
use crate::access::key::BindingKey;
use crate::access::names::has_our_labels;

/// How many objects are remembered as gone: many more than there are writes in flight.
const GONE_MAX: usize = 8_192;
/// How long the watch may take to show what an answer showed.
const SHOWN_WITHIN: Duration = Duration::from_secs(2);
/// When one is looked at again that the watch still does not show.
const AGAIN: Duration = Duration::from_secs(30);
/// How many are looked at in one tick.
const AT_ONCE: usize = 64;

/// What answers showed, and what the watch told.
#[derive(Default)]
pub struct Sightings {
    gone: HashSet<String>,
    order: VecDeque<String>,
    /// By `namespace/name`: what an answer showed and the watch has not.
    unseen: BTreeMap<String, (BindingKey, Instant)>,
}

/// What a GET showed of a binding that the watch does not show.
pub struct SeenDone {
    full: String,
    answer: Answer,
}

impl Sightings {
    /// The watch told that the object is gone.
    pub fn went(&mut self, uid: String) {
        if self.gone.insert(uid.clone()) {
            self.order.push_back(uid);
        }
        if self.order.len() > GONE_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.gone.remove(&oldest);
        }
    }

    /// Somebody shows the object. Whether the watch had told that it is gone.
    pub fn returns(&mut self, uid: &str) -> bool {
        self.gone.remove(uid)
    }

    /// The watch told something of the binding.
    pub fn shown(&mut self, full: &str) {
        self.unseen.remove(full);
    }
}

impl Engine {
    /// Takes note of what the watch says is gone. Whether it says so of an object in whose place our own answer showed another by now.
    pub(super) fn is_late(&mut self, change: &Change) -> bool {
        let (full, uid) = match change {
            Change::Binding(Event::Delete(object)) => (key_of(object), object.metadata.uid.clone()),
            Change::WideBinding(Event::Delete(object)) => (format!("/{}", object.name_any()), object.metadata.uid.clone()),
            _ => return false,
        };
        let stands = self.world.bindings.get(&full);
        let other = stands.is_some_and(|stands| Some(&stands.uid) != uid.as_ref());
        uid.into_iter().for_each(|uid| self.sightings.went(uid));
        other
    }

    /// An answer showed this object: unless the watch did, too, it is looked at again in a while.
    pub(super) fn sighted(&mut self, full: &str, key: &BindingKey, found: &Observed) {
        let shown = self.world.bindings.get(full);
        let seen = shown.is_some_and(|shown| shown.uid == found.uid && !newer(&found.resource_version, &shown.resource_version));
        // one without our labels no watch of ours ever shows
        if !seen && has_our_labels(&found.labels, &self.installation) {
            let soon = if self.sightings.returns(&found.uid) {
                Duration::ZERO
            } else {
                SHOWN_WITHIN
            };
            let at = Instant::now() + soon;
            self.sightings.unseen.insert(full.to_owned(), (key.clone(), at));
        }
    }

    /// Looks at what the watch should have shown by now.
    pub(super) fn look_at_unseen(&mut self) {
        let now = Instant::now();
        let due = self.sightings.unseen.iter_mut().filter(|(_, (_, at))| *at <= now);
        let mut found = Vec::new();
        for (full, (key, at)) in due.take(AT_ONCE) {
            *at = now + AGAIN;
            found.push((full.clone(), key.clone()));
        }
        for (full, key) in found {
            let id = self.id_of(&key);
            let write = Write {
                namespace: id.namespace,
                name: id.name,
                verb: Verb::Post(serde_json::Value::Null),
            };
            let writer = self.writer.clone();
            self.spawn(async move {
                let answer = writer.look(&write).await;
                Done::Seen(SeenDone { full, answer })
            });
        }
    }

    /// A GET of such a binding was answered.
    pub(super) fn looked(&mut self, done: SeenDone) {
        let SeenDone { full, answer } = done;
        // the watch told in the meantime, and knows better
        if !self.sightings.unseen.contains_key(&full) {
            return;
        }
        match answer {
            Answer::Gone | Answer::NamespaceGoing => {
                tracing::info!(binding = full, "gone, and no watch told");
                self.sightings.shown(&full);
                self.world.bindings.remove(&full);
                self.note(&full, None);
            }
            Answer::Other(object) => {
                let object = self.world.bindings.put(full.clone(), *object);
                self.note(&full, Some(object));
            }
            _ => {}
        }
    }
}
