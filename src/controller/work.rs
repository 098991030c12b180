//! One binding at a time: compare, let the gate decide, write, and take in the answer. Removals are written at once; grants are proved and recorded first (`grants`).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::apply::{Answer, Verb, Write};
use super::engine::{Done, Engine, Error};
use crate::access::binding::{Observed, SubjectRef};
use crate::access::diff::{Class, Plan, Removal, Standing, diff};
use crate::access::gate::{Circumstances, Gated, Step, gate, step};
use crate::access::key::BindingKey;
use crate::access::ledger::{Event as Record, Grantee, Outcome};
use crate::access::names::{binding_annotations, binding_labels};
use crate::access::people::PersonKey;
use crate::access::shard::SUBJECTS_MAX;
use crate::access::why::{Cause, GroupRef, Why};
use crate::ops::lease;

pub use super::grants::{Granting, GrantingDone, Planned};

/// How long a person who is about to hold something else keeps what they have.
const PATIENCE: Duration = Duration::from_secs(10);
/// When what Kubernetes refused is tried again without a reason.
const REFUSED_AGAIN: Duration = Duration::from_secs(30);

/// A write of unknown outcome that could still come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unsettled {
    /// A POST: harmless once the name stands.
    Post,
    /// A PUT on this version: harmless once the version has moved.
    Put {
        /// The object's uid.
        uid: String,
        /// The object's resourceVersion.
        version: String,
    },
}

/// Why a write was made.
#[derive(Clone, Debug)]
pub enum Purpose {
    /// Something is taken away.
    Remove {
        /// From whom.
        removals: Vec<Removal>,
        /// Why.
        why: Why,
    },
    /// Something is granted.
    Grant(Box<Planned>),
    /// A write of unknown outcome is settled.
    Settle,
}

/// A write that ended.
pub struct WriteDone {
    /// The binding.
    pub key: BindingKey,
    /// What was sent.
    pub write: Write,
    /// Why.
    pub purpose: Purpose,
    /// What came back.
    pub answer: Answer,
}

/// What is to be done with a binding now.
pub struct Look {
    /// The next write.
    pub step: Step,
    /// What the gate holds.
    pub held: Plan,
}

impl Engine {
    /// Looks at every binding that is due.
    ///
    /// # Errors
    /// When this process no longer leads.
    pub(super) fn look(&mut self) -> Result<(), Error> {
        for (key, cause) in self.queue.take(Instant::now()) {
            if self.queue.is_busy(&key) {
                self.queue.add(key, cause);
                continue;
            }
            self.look_at(key, cause);
        }
        self.start_granting();
        Ok(())
    }

    fn look_at(&mut self, key: BindingKey, cause: Cause) {
        // In a namespace that is going nothing is touched; one that is gone took its bindings along.
        let there = match self.world.namespaces.get(&key.namespace) {
            Some(place) if place.terminating => return,
            place => place.is_some(),
        };
        let look = self.decide(&key);
        self.note_held(&key, &look.held);
        let patient = matches!(look.step, Step::Wait);
        if !patient {
            self.waiting.remove(&key);
        }
        if self.settle(&key, &look.step) {
            return;
        }
        match look.step {
            Step::Nothing => {
                if let Some(owner) = self.owners.get_mut(&key.owner) {
                    owner.failing.remove(&key);
                }
                self.queue.well(&key);
            }
            Step::Wait => {
                let now = Instant::now();
                let since = *self.waiting.entry(key.clone()).or_insert(now);
                self.queue.add_at(key.clone(), since + PATIENCE);
            }
            Step::Create { .. } | Step::Grow { .. } if !there => {}
            Step::Create { .. } | Step::Grow { .. } => self.granting.want(key.clone(), cause.clone()),
            Step::Shrink { subjects, removals } => {
                if self.must_delete.contains(&key) {
                    let all = self.observed.get(&key).map(|o| everybody(o, &removals)).unwrap_or(removals.clone());
                    self.remove(key.clone(), all, None, &cause);
                } else {
                    self.remove(key.clone(), removals, Some(subjects), &cause);
                }
            }
            Step::Delete { removals } => {
                let empty = self.observed.get(&key).is_some_and(|o| o.subjects.is_empty());
                match self.kept_name(&key) {
                    None => self.remove(key.clone(), removals, None, &cause),
                    Some(_) if !empty => self.remove(key.clone(), removals, Some(Vec::new()), &cause),
                    Some(at) => {
                        if let Some(at) = at {
                            self.queue.add_at(key.clone(), at);
                        }
                    }
                }
            }
        }
        self.record_lost(&key, &cause);
    }

    /// Whether the name has to stand although nothing is granted under it, because a POST that got lost could still come: `Some(until)`.
    fn kept_name(&self, key: &BindingKey) -> Option<Option<Instant>> {
        if self.tombstones.contains(key) {
            return Some(None);
        }
        let observed = self.observed.get(key)?;
        let mine = observed.term.as_deref() == Some(&self.term);
        let until = self.started + self.args.tombstone_delay;
        (!mine && observed.subjects.is_empty() && Instant::now() < until).then_some(Some(until))
    }

    /// Compares, and lets the gate decide.
    pub(super) fn decide(&self, key: &BindingKey) -> Look {
        let ledger = self.access.snapshot();
        let name = self.name_of(key);
        let entry = ledger.state.binding(&name);
        let observed = self.observed.get(key);
        let mut desired = self.desired(key);
        if let (Some(desired), Some(entry), Some(observed)) = (&mut desired, entry, observed) {
            // People of a source that cannot be read at the moment stay as they are, unless it disabled or deleted them.
            for (username, person) in &entry.people {
                if self.source_is_frozen(&person.source) && observed.holds(username) && self.standing(key, person) != Standing::Said {
                    desired.entry(username.clone()).or_insert_with(|| person.clone());
                }
            }
        }
        let mut plan = diff(desired.as_ref(), observed, entry, |person| self.standing(key, person));
        // Whom a suspended source means waits, whatever the mapping says.
        let (adds, suspended): (Vec<Grantee>, Vec<Grantee>) = plan.adds.into_iter().partition(|g| !self.sources.get(&g.source).is_some_and(|s| s.suspend));
        plan.adds = adds;
        let owner = self.owners.get(&key.owner);
        let now = Circumstances {
            suspended: owner.and_then(|o| o.mapping.as_ref()).is_some_and(|m| m.suspend),
            unguarded: self.policy.is_none() || !self.missing.is_empty(),
            access_lost: false,
            directory_unproved: !self.journal_evidence(),
        };
        let mut gated: Gated = gate(plan, &now);
        gated.held.adds.extend(suspended);
        let patient = self.waiting.get(key).is_none_or(|since| since.elapsed() < PATIENCE);
        Look { step: step(&gated, observed, patient, SUBJECTS_MAX), held: gated.held }
    }

    /// Who is to hold this binding, by username; `None` when that cannot be said.
    fn desired(&self, key: &BindingKey) -> Option<BTreeMap<Arc<str>, Grantee>> {
        let owner = self.owners.get(&key.owner)?;
        if owner.ended {
            return Some(BTreeMap::new());
        }
        if owner.frozen() {
            return None;
        }
        let policy = self.policy.as_ref()?;
        let here = owner.layout(&key.namespace, &key.role).is_some_and(|layout| layout.has(key.prefix));
        if !here {
            return Some(BTreeMap::new());
        }
        let people = owner.people.shard(key.prefix).filter(|(_, person)| policy.subject(&person.username).is_ok());
        Some(
            people
                .map(|(at, person)| {
                    let grantee = Grantee { username: person.username.clone(), source: at.source.clone(), user: person.id, n: at.n, via: person.via };
                    (person.username.clone(), grantee)
                })
                .collect(),
        )
    }

    /// How a person of the ledger stands today, seen from this binding.
    fn standing(&self, key: &BindingKey, person: &Grantee) -> Standing {
        let ledger = self.access.snapshot();
        let Some(source) = self.seen.state.source(&person.source) else {
            let ended = ledger.state.source(&person.source).is_none();
            return if ended { Standing::Unwanted } else { Standing::Unknown };
        };
        match source.get(person.n) {
            None => return Standing::Said,
            Some(user) if user.id != person.user || !user.active => return Standing::Said,
            Some(_) => {}
        }
        let Some(owner) = self.owners.get(&key.owner) else { return Standing::Unknown };
        if owner.ended {
            return Standing::Unwanted;
        }
        if owner.frozen() || self.source_is_frozen(&person.source) {
            return Standing::Unknown;
        }
        let at = PersonKey::new(&person.source, person.n, &person.user);
        let Some(wanted) = owner.people.get(&at) else { return Standing::Unwanted };
        let elsewhere = owner.layouts.iter().filter(|((namespace, _), _)| *namespace == key.namespace);
        for (target, layout) in elsewhere {
            let other = super::owner::key(&key.owner, target, layout.shard_of(at.hash));
            let stands = self.observed.get(&other).is_some_and(|o| o.holds(&wanted.username));
            let hopeless = owner.failing.contains_key(&other) || owner.held.contains_key(&other) || self.foreign.contains(&other);
            if !stands && !hopeless {
                return Standing::Moving;
            }
        }
        Standing::Unwanted
    }

    fn note_held(&mut self, key: &BindingKey, held: &Plan) {
        let Some(owner) = self.owners.get_mut(&key.owner) else { return };
        let counts = (held.adds.len(), held.removals.len());
        let before = if held.is_empty() { owner.held.remove(key) } else { owner.held.insert(key.clone(), counts) };
        if before.unwrap_or_default() != counts {
            self.statuses_soon();
        }
    }

    /// Settles a write of unknown outcome. Whether it took the turn.
    fn settle(&mut self, key: &BindingKey, step: &Step) -> bool {
        let Some(unsettled) = self.unsettled.get(key).cloned() else { return false };
        match (unsettled, self.observed.get(key)) {
            (Unsettled::Post, Some(_)) => {
                // The name stands: the POST can only fail now. It must go on standing while our term lasts.
                self.tombstones.insert(key.clone());
                self.settled(key);
                false
            }
            (Unsettled::Post, None) => {
                if matches!(step, Step::Create { .. }) {
                    return false;
                }
                let body = self.body(key, "", &[], None);
                self.send(key.clone(), Verb::Post(body), Purpose::Settle);
                true
            }
            (Unsettled::Put { .. }, None) => {
                self.settled(key);
                false
            }
            (Unsettled::Put { uid, version }, Some(observed)) if observed.uid != uid || observed.resource_version != version => {
                self.settled(key);
                false
            }
            (Unsettled::Put { .. }, Some(observed)) => {
                if matches!(step, Step::Shrink { .. } | Step::Delete { .. } | Step::Grow { .. }) {
                    return false;
                }
                // The same subjects under another record: the version moves, and the lost PUT is refused for ever.
                let body = self.body(key, &format!("settled/{}", self.term), &observed.subjects, Some(observed));
                self.send(key.clone(), Verb::Put(body), Purpose::Settle);
                true
            }
        }
    }

    /// Nothing of this binding is under way any more: its open intents get their outcome.
    pub(super) fn settled(&mut self, key: &BindingKey) {
        self.unsettled.remove(key);
        let ledger = self.access.snapshot();
        let name = self.name_of(key);
        let Some(entry) = ledger.state.binding(&name) else { return };
        let observed = self.observed.get(key);
        for (intent, open) in &entry.open {
            let holds = observed.is_some_and(|o| open.usernames.iter().all(|u| o.holds(u)));
            let result = if holds { Outcome::Done } else { Outcome::Void };
            self.recorder.soon(Record::Outcome { binding: name.clone(), intent: *intent, result });
        }
    }

    /// What the ledger holds, the cluster lacks and nobody is to hold is recorded as removed: a crash came between write and record, or
    /// somebody else deleted it.
    fn record_lost(&mut self, key: &BindingKey, cause: &Cause) {
        if self.queue.is_busy(key) || self.granting.concerns(key) || self.unsettled.contains_key(key) || !self.recorder.is_idle() {
            return;
        }
        let ledger = self.access.snapshot();
        let name = self.name_of(key);
        let Some(entry) = ledger.state.binding(&name).filter(|e| e.open.is_empty()) else { return };
        let observed = self.observed.get(key);
        let Some(desired) = self.desired(key) else { return };
        let lost: Vec<Arc<str>> =
            entry.people.keys().filter(|u| !observed.is_some_and(|o| o.holds(u)) && !desired.contains_key(*u)).cloned().collect();
        if !lost.is_empty() {
            let why = self.why(key, cause, &[]);
            self.recorder.now(Record::Removed { binding: name, usernames: lost, whole: observed.is_none(), why });
        }
    }

    fn remove(&mut self, key: BindingKey, removals: Vec<Removal>, stay: Option<Vec<SubjectRef>>, cause: &Cause) {
        let Some(observed) = self.observed.get(&key).cloned() else { return };
        let vias: Vec<&Grantee> = removals.iter().filter_map(|r| r.person.as_ref()).collect();
        let cause = self.cause_of(&vias).unwrap_or_else(|| cause.clone());
        let why = self.why(&key, &cause, &vias);
        let verb = match stay {
            None => Verb::Delete { uid: observed.uid.clone(), resource_version: observed.resource_version.clone() },
            Some(subjects) => Verb::Put(self.body(&key, observed.op.as_deref().unwrap_or_default(), &subjects, Some(&observed))),
        };
        self.send(key, verb, Purpose::Remove { removals, why });
    }

    /// What disabled or deleted these people, if that is why they go.
    fn cause_of(&self, people: &[&Grantee]) -> Option<Cause> {
        people.iter().find_map(|person| {
            let source = self.seen.state.source(&person.source)?;
            if let Some(gone) = source.gone(person.n) {
                return Some(Cause::Directory { index: gone.index, request: gone.request.to_string() });
            }
            let user = source.get(person.n).filter(|u| !u.active)?;
            Some(Cause::Directory { index: user.changed(), request: user.request.to_string() })
        })
    }

    pub(super) fn why(&self, key: &BindingKey, cause: &Cause, people: &[&Grantee]) -> Why {
        let mut groups: Vec<GroupRef> = Vec::new();
        for person in people {
            let group = self.seen.state.source(&person.source).and_then(|s| s.get(person.via));
            if let Some(group) = group.filter(|g| !groups.iter().any(|have| have.id == g.id)) {
                groups.push(GroupRef { source: person.source.to_string(), id: group.id, name: group.name.to_string() });
            }
            if groups.len() == 16 {
                break;
            }
        }
        let generation = self.owners.get(&key.owner).map_or(0, |o| o.generation);
        Why { mapping: key.owner.clone(), generation, groups, cause: cause.clone() }
    }

    /// A whole RoleBinding as this term writes it.
    pub(super) fn body(&self, key: &BindingKey, op: &str, subjects: &[SubjectRef], base: Option<&Observed>) -> Value {
        let subjects: Vec<Value> = subjects.iter().map(subject).collect();
        let mut metadata = json!({
            "name": self.name_of(key).name,
            "namespace": key.namespace,
            "labels": binding_labels(key, &self.installation),
            "annotations": binding_annotations(key, &self.term, op),
        });
        if let Some(base) = base {
            metadata["uid"] = json!(base.uid);
            metadata["resourceVersion"] = json!(base.resource_version);
        }
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": metadata,
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": key.role.kind.as_str(), "name": key.role.name},
            "subjects": subjects,
        })
    }

    pub(super) fn send(&mut self, key: BindingKey, verb: Verb, purpose: Purpose) {
        self.queue.begin(&key);
        let name = self.name_of(&key);
        let write = Write { namespace: name.namespace, name: name.name, verb };
        let writer = self.writer.clone();
        self.spawn(async move {
            let answer = writer.write(&write).await;
            Done::Write(WriteDone { key, write, purpose, answer })
        });
    }

    /// Takes in what ended.
    ///
    /// # Errors
    /// When this process no longer leads.
    pub(super) fn done(&mut self, done: Done) -> Result<(), Error> {
        match done {
            Done::Write(done) => self.written(done),
            Done::Granting(done) => return self.granting_done(done),
            Done::Status(target, result) => self.status_written(&target, result),
            Done::Deletions(found) => self.deletions_found(found),
            Done::Lease(answer) => {
                self.lease_asked = false;
                if answer == Ok(false) {
                    return Err(Error::SteppedDown("the API server's fence refused a write, and the Lease is another's".to_owned()));
                }
            }
        }
        Ok(())
    }

    fn written(&mut self, done: WriteDone) {
        let WriteDone { key, write, purpose, answer } = done;
        self.queue.end(&key);
        if matches!(purpose, Purpose::Grant(_)) {
            self.granting.landed();
        }
        let full = format!("{}/{}", write.namespace, write.name);
        let cause = Cause::Repair;
        let sent = match &write.verb {
            Verb::Post(body) | Verb::Put(body) => body["metadata"]["annotations"][crate::api::names::OP].as_str().unwrap_or_default().to_owned(),
            Verb::Delete { .. } => String::new(),
        };
        let mut again = true;
        match answer {
            Answer::Written(object) => {
                self.world.bindings.put(full.clone(), (*object).clone());
                self.note(&full, Observed::of(&object), &cause);
                self.went_well(&key, purpose, false);
            }
            Answer::Gone => {
                self.world.bindings.remove(&full);
                self.by_name.remove(&full);
                self.observed.remove(&key);
                self.went_well(&key, purpose, matches!(write.verb, Verb::Delete { .. }));
            }
            Answer::Other(object) => {
                let found = Observed::of(&object);
                let ours = found.as_ref().is_some_and(|f| crate::access::names::is_known(f, &key, &self.installation));
                let landed = !sent.is_empty() && found.as_ref().and_then(|f| f.op.as_deref()) == Some(sent.as_str());
                self.note(&full, found, &cause);
                if ours && landed {
                    self.went_well(&key, purpose, false);
                } else {
                    if !ours {
                        self.foreign.insert(key.clone());
                        self.fails(&key, &format!("a RoleBinding {full} is there that is not Rolecall's: delete or rename it"));
                        self.queue.add_at(key.clone(), Instant::now() + REFUSED_AGAIN);
                        again = false;
                    }
                    self.void(&key, purpose);
                }
            }
            Answer::Fenced(message) => {
                tracing::debug!(message, "refused by the fence");
                self.void(&key, purpose);
                self.ask_lease();
                self.queue.retry(key.clone(), Instant::now());
                again = false;
            }
            Answer::Refused(message) => again = self.refused(&key, &write, purpose, &message),
            Answer::NamespaceGoing => {
                self.void(&key, purpose);
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
                if let Some(unsettled) = unsettled.filter(|_| !matches!(purpose, Purpose::Remove { .. }) || self.unsettled.contains_key(&key)) {
                    self.unsettled.insert(key.clone(), unsettled);
                }
                self.queue.retry(key.clone(), Instant::now());
                again = false;
            }
        }
        if again {
            self.queue.add(key, cause);
        }
        self.statuses_soon();
    }

    fn went_well(&mut self, key: &BindingKey, purpose: Purpose, whole: bool) {
        self.queue.well(key);
        if let Some(owner) = self.owners.get_mut(&key.owner) {
            owner.failing.remove(key);
        }
        let name = self.name_of(key);
        match purpose {
            Purpose::Remove { removals, why } => {
                self.must_delete.remove(key);
                let usernames: Vec<Arc<str>> = removals.iter().filter_map(|r| r.subject.username()).map(Arc::from).collect();
                for removal in removals.iter().filter(|r| r.class == Class::Foreign) {
                    tracing::warn!(binding = %key, kind = removal.subject.kind, "took away a subject that somebody else had written");
                }
                if whole || !usernames.is_empty() {
                    self.recorder.now(Record::Removed { binding: name, usernames, whole, why });
                }
                self.settle_after_write(key);
            }
            Purpose::Grant(planned) => {
                self.recorder.soon(Record::Outcome { binding: name.clone(), intent: planned.intent, result: Outcome::Done });
                if !planned.removed.is_empty() {
                    self.recorder.now(Record::Removed { binding: name, usernames: planned.removed.clone(), whole: false, why: planned.why.clone() });
                }
                self.settle_after_write(key);
                // Whoever waited for this may go now.
                let waiting: Vec<BindingKey> = self.waiting.keys().filter(|w| w.owner == key.owner && w.namespace == key.namespace).cloned().collect();
                waiting.into_iter().for_each(|w| self.queue.add(w, Cause::Repair));
            }
            Purpose::Settle => self.settle_after_write(key),
        }
    }

    fn settle_after_write(&mut self, key: &BindingKey) {
        match self.unsettled.get(key) {
            Some(Unsettled::Post) if self.observed.contains_key(key) => {
                self.tombstones.insert(key.clone());
                self.settled(key);
            }
            Some(Unsettled::Put { .. }) => self.settled(key),
            _ => {}
        }
    }

    /// A grant that did not come about, for a reason that is no refusal.
    pub(super) fn void(&mut self, key: &BindingKey, purpose: Purpose) {
        if let Purpose::Grant(planned) = purpose {
            let binding = self.name_of(key);
            self.recorder.soon(Record::Outcome { binding, intent: planned.intent, result: Outcome::Void });
        }
    }

    /// Kubernetes refuses. Whether to look again at once.
    fn refused(&mut self, key: &BindingKey, write: &Write, purpose: Purpose, message: &str) -> bool {
        match purpose {
            Purpose::Remove { .. } => {
                // `bind` may be gone, or the role: a DELETE needs neither, and what may stay is granted again.
                tracing::warn!(binding = %key, message, "a revocation was refused");
                if matches!(write.verb, Verb::Put(_)) && self.must_delete.insert(key.clone()) {
                    self.ask_lease();
                    return true;
                }
                self.fails(key, message);
                self.queue.retry(key.clone(), Instant::now());
            }
            Purpose::Grant(planned) => {
                let result = Outcome::Refused { message: cut(message) };
                let binding = self.name_of(key);
                self.recorder.soon(Record::Outcome { binding, intent: planned.intent, result });
                self.fails(key, message);
                self.queue.add_at(key.clone(), Instant::now() + REFUSED_AGAIN);
            }
            Purpose::Settle => {
                // Whoever may not even write this cannot have written the lost one after it either, once that is settled otherwise.
                self.fails(key, message);
                if matches!(write.verb, Verb::Put(_)) {
                    self.must_delete.insert(key.clone());
                }
                self.queue.retry(key.clone(), Instant::now());
            }
        }
        false
    }

    fn fails(&mut self, key: &BindingKey, message: &str) {
        if let Some(owner) = self.owners.get_mut(&key.owner) {
            owner.failing.insert(key.clone(), cut(message));
        }
    }

    fn ask_lease(&mut self) {
        if std::mem::replace(&mut self.lease_asked, true) {
            return;
        }
        let (client, namespace, name, term) =
            (self.client.clone(), self.args.namespace.clone(), format!("{}-controller", self.args.fullname), self.term.clone());
        self.spawn(async move {
            let asked = tokio::time::timeout(Duration::from_secs(5), lease::shows(&client, &namespace, &name, &term)).await;
            Done::Lease(match asked {
                Ok(Ok(shows)) => Ok(shows),
                Ok(Err(error)) => Err(error.to_string()),
                Err(_) => Err("no answer".to_owned()),
            })
        });
    }
}

fn everybody(observed: &Observed, removals: &[Removal]) -> Vec<Removal> {
    let one = |subject: &SubjectRef| {
        let known = removals.iter().find(|r| r.subject == *subject).cloned();
        known.unwrap_or_else(|| Removal { subject: subject.clone(), person: None, class: Class::Other })
    };
    observed.subjects.iter().map(one).collect()
}

fn subject(subject: &SubjectRef) -> Value {
    match &subject.namespace {
        Some(namespace) => json!({"kind": subject.kind, "name": subject.name, "namespace": namespace}),
        None => json!({"apiGroup": "rbac.authorization.k8s.io", "kind": subject.kind, "name": subject.name}),
    }
}

fn cut(message: &str) -> String {
    message.chars().take(1024).collect()
}
