//! One binding at a time: compare, let the gate decide, write, and take in the answer. Removals are written at once; grants are proved and recorded first (`grants`).

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::apply::{Answer, Verb, Write};
use super::engine::{Done, Engine};
use crate::access::binding::{Observed, SubjectRef};
use crate::access::desired::{Owner as OwnerView, Sources, View, is_there};
use crate::access::diff::{Class, Plan, Removal, diff};
use crate::access::gate::{Circumstances, Gated, Hold, Op, gate};
use crate::access::key::{BindingKey, MappingKey};
use crate::access::ledger::{Event as Record, reasons, settled};
use crate::access::names::{binding_annotations, binding_labels};
use crate::access::rewrite::deletion_instead;
use crate::access::status::{Failure, Held};

pub use super::grants::{Granting, GrantingDone, Planned};

/// How long a person who is about to hold something else keeps what they have.
const PATIENCE: Duration = Duration::from_secs(10);
/// When what Kubernetes refused is tried again without a reason.
pub(super) const REFUSED_AGAIN: Duration = Duration::from_secs(30);

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
    Remove(Vec<Removal>),
    /// Something is granted.
    Grant(Box<Planned>),
    /// A write of unknown outcome is settled, or labels are repaired.
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

impl Engine {
    /// Looks at every binding that is due.
    pub(super) fn look(&mut self) {
        for key in self.queue.take(Instant::now()) {
            if self.queue.is_busy(&key) {
                self.queue.add(key);
            } else {
                self.look_at(key);
            }
        }
        self.start_granting();
    }

    /// One mapping as the pure functions see it.
    pub(super) fn with_view<T>(&self, key: &MappingKey, f: impl FnOnce(&View<'_>) -> T) -> T {
        let ledger = self.access.snapshot();
        let owner = self.owners.get(key);
        let names = self.sources.keys().chain(&self.ended_sources);
        let sources: Sources = names.map(|name| (name.clone(), self.source_state(name))).collect();
        let owner = match owner.and_then(|o| o.live()) {
            Some(live) => OwnerView::Live(live),
            None if owner.is_some_and(|o| o.ended) => OwnerView::Ended(key),
            None => OwnerView::Frozen(key),
        };
        f(&View {
            owner,
            directory: &self.seen.state,
            usernames: &self.usernames,
            group_names: &self.group_names,
            sources: &sources,
            namespaces: &self.namespaces,
            policy: self.policy.as_ref(),
            ledger: &ledger.state,
            installation: &self.installation,
        })
    }

    /// Compares.
    fn plan(&self, key: &BindingKey) -> Plan {
        let patient = self.waiting.get(key).is_none_or(|since| since.elapsed() < PATIENCE);
        let look = |patient| self.with_view(&key.owner, |view| diff(view, key, &|k| self.seen(k), patient));
        let plan = look(patient);
        let replaced = plan.removals.iter().any(|removal| removal.class == Class::Replaced);
        if patient && replaced && self.is_hopeless(key) {
            look(false)
        } else {
            plan
        }
    }

    /// Whether what would replace something here was refused or is held: then nobody waits for it.
    fn is_hopeless(&self, key: &BindingKey) -> bool {
        let here = |k: &BindingKey| (k.namespace == key.namespace || k.namespace.is_empty()) && k != key;
        self.owners.get(&key.owner).is_some_and(|o| {
            // who would go and is held is no reason to wait for nobody
            let held = o.held.iter().filter(|(_, held)| held.adds > 0).map(|(k, _)| k);
            o.failing.keys().chain(held).any(here)
        })
    }

    /// Compares, and lets the gate decide.
    pub(super) fn decide(&self, key: &BindingKey) -> Gated {
        let ledger = self.access.snapshot();
        let mut budget = self.budget(&ledger.state, &key.owner);
        gate(self.plan(key), &self.circumstances(&key.owner), &mut budget)
    }

    pub(super) fn circumstances(&self, owner: &MappingKey) -> Circumstances {
        let mapping = self.owners.get(owner).and_then(|o| o.mapping.as_deref());
        let mut now = Circumstances::asked_for(mapping, self.sources.values().flatten());
        if self.policy.is_none() || !self.missing.is_empty() {
            now.holds.insert(Hold::PolicyMissing);
        }
        if self.access_lost.is_some() {
            now.holds.insert(Hold::AccessJournalLost);
        }
        if !self.journal_evidence() {
            now.holds.insert(Hold::DirectoryUnproved);
        }
        now
    }

    fn look_at(&mut self, key: BindingKey) {
        let gated = self.decide(&key);
        self.note_held(&key, &gated);
        self.metrics.looked(match (&gated.conflict, &gated.op) {
            (Some(_), _) => "error",
            (None, Op::Wait) => "requeue_after",
            (None, _) => "success",
        });
        if let Some(refusal) = gated.conflict {
            self.fails(&key, Failure { refusal, human: true });
            self.queue.add_at(key, Instant::now() + REFUSED_AGAIN);
            return;
        }
        if !matches!(gated.op, Op::Wait) {
            self.waiting.remove(&key);
        }
        self.record_holds(&key, &gated);
        if self.settle(&key, &gated.op) {
            return;
        }
        self.record_gone(&key, &gated.records);
        match gated.op {
            Op::Nothing => {
                if let Some(owner) = self.owners.get_mut(&key.owner) {
                    owner.failing.remove(&key);
                }
                self.must_delete.remove(&key);
                self.queue.well(&key);
            }
            Op::Wait => {
                let since = *self.waiting.entry(key.clone()).or_insert_with(Instant::now);
                self.queue.add_at(key, since + PATIENCE);
            }
            op if op.grants() => match self.reselecting.get(&key.owner) {
                Some(at) => self.queue.add_at(key, *at),
                None => self.granting.want(key),
            },
            op => {
                let op = match self.must_delete.contains(&key) {
                    true => deletion_instead(&op, &self.plan(&key)).unwrap_or(op),
                    false => op,
                };
                self.remove(key, op);
            }
        }
    }

    /// What was seen last under the name of a binding, what our own writes answered included.
    pub(super) fn seen(&self, key: &BindingKey) -> Option<&Observed> {
        self.standing.get(key).map(AsRef::as_ref)
    }

    /// A write that grants nothing.
    fn remove(&mut self, key: BindingKey, op: Op) {
        let Some(observed) = self.standing.get(&key).cloned() else { return };
        match op {
            Op::Put { subjects, removals, .. } => {
                let body = self.body(&key, observed.op.as_deref().unwrap_or_default(), &subjects, Some(&observed));
                let purpose = if removals.is_empty() {
                    Purpose::Settle
                } else {
                    Purpose::Remove(removals)
                };
                self.send(key, Verb::Put(body), purpose);
            }
            Op::Delete {
                uid,
                resource_version,
                removals,
            } => match self.kept_name(&key) {
                // Kubernetes refuses to let it shrink: it goes, and its name is made to stand again
                Some(_) if !observed.subjects.is_empty() && self.must_delete.contains(&key) => {
                    self.tombstones.remove(&key);
                    self.unsettled.insert(key.clone(), Unsettled::Post);
                    self.send(key, Verb::Delete { uid, resource_version }, Purpose::Remove(removals));
                }
                None => self.send(key, Verb::Delete { uid, resource_version }, Purpose::Remove(removals)),
                Some(_) if !observed.subjects.is_empty() => {
                    let body = self.body(&key, observed.op.as_deref().unwrap_or_default(), &[], Some(&observed));
                    self.send(key, Verb::Put(body), Purpose::Remove(removals));
                }
                Some(Some(at)) => self.queue.add_at(key, at),
                Some(None) => {}
            },
            Op::Nothing | Op::Wait | Op::Create { .. } => {}
        }
    }

    /// Whether the name has to stand although nothing is granted under it, because a POST that got lost could still come: `Some(until)`.
    fn kept_name(&self, key: &BindingKey) -> Option<Option<Instant>> {
        if self.tombstones.contains(key) {
            return Some(None);
        }
        let observed = self.seen(key)?;
        let mine = observed.term.as_deref() == Some(&self.term);
        let until = self.started + self.args.tombstone_delay;
        (!mine && observed.subjects.is_empty() && Instant::now() < until).then_some(Some(until))
    }

    fn note_held(&mut self, key: &BindingKey, gated: &Gated) {
        let mut held = Held::default();
        held.count(gated);
        let Some(owner) = self.owners.get_mut(&key.owner) else { return };
        let before = if held.is_empty() {
            owner.held.remove(key)
        } else {
            owner.held.insert(key.clone(), held.clone())
        };
        if before.unwrap_or_default() != held {
            self.statuses_soon();
        }
    }

    /// Settles a write of unknown outcome. Whether it took the turn.
    fn settle(&mut self, key: &BindingKey, op: &Op) -> bool {
        let Some(unsettled) = self.unsettled.get(key).cloned() else {
            return false;
        };
        match (unsettled, self.seen(key)) {
            (Unsettled::Post, Some(_)) => {
                // The name stands: the POST can only fail now. It must go on standing while our term lasts.
                self.tombstones.insert(key.clone());
                self.settled(key);
                false
            }
            (Unsettled::Post, None) => {
                if matches!(op, Op::Create { .. }) || !is_there(&self.namespaces, &key.namespace) {
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
                if matches!(op, Op::Put { .. } | Op::Delete { .. }) {
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
        let observed = self.standing.get(key).map(AsRef::as_ref);
        for (id, intent) in ledger.state.open_intents_of(&self.id_of(key)) {
            if let Some(result) = settled(*id, intent, observed) {
                self.recorder.soon(Record::Outcome { intent: *id, result });
            }
        }
    }

    /// Who is gone already, by somebody else's hand or in a crash between write and record.
    fn record_gone(&mut self, key: &BindingKey, records: &[Removal]) {
        if records.is_empty() || self.granting.concerns(key) || self.unsettled.contains_key(key) || !self.recorder.is_idle() {
            if !records.is_empty() {
                self.queue.add_at(key.clone(), Instant::now() + Duration::from_millis(200));
            }
            return;
        }
        let whole = self.standing.get(key).is_none();
        self.record_removals(key, records, whole);
    }

    pub(super) fn record_removals(&mut self, key: &BindingKey, removals: &[Removal], whole: bool) {
        let mut usernames: Vec<String> = removals
            .iter()
            .filter(|r| r.grantee.is_some())
            .map(|r| r.subject.name.clone())
            .collect();
        usernames.sort_unstable();
        usernames.dedup();
        let counted = removals.iter().filter(|removal| removal.counted);
        let mut spent: Vec<String> = counted.filter(|r| r.grantee.is_some()).map(|r| r.subject.name.clone()).collect();
        spent.sort_unstable();
        let why = reasons(removals.iter().map(|r| (r.subject.name.as_str(), &r.why)));
        if whole || !usernames.is_empty() || !why.is_empty() {
            self.recorder.now(Record::Removed {
                binding: self.id_of(key),
                usernames,
                whole,
                why,
                spent,
            });
        }
    }

    /// A whole RoleBinding or ClusterRoleBinding as this term writes it.
    pub(super) fn body(&self, key: &BindingKey, op: &str, subjects: &[SubjectRef], base: Option<&Observed>) -> Value {
        let subjects: Vec<Value> = subjects.iter().map(subject).collect();
        let mut metadata = json!({
            "name": self.id_of(key).name,
            "labels": binding_labels(key, &self.installation),
            "annotations": binding_annotations(key, &self.term, op),
        });
        let kind = if key.namespace.is_empty() {
            "ClusterRoleBinding"
        } else {
            metadata["namespace"] = json!(key.namespace);
            "RoleBinding"
        };
        if let Some(base) = base {
            metadata["uid"] = json!(base.uid);
            metadata["resourceVersion"] = json!(base.resource_version);
        }
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": kind,
            "metadata": metadata,
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": key.role.kind.as_str(), "name": key.role.name},
            "subjects": subjects,
        })
    }

    pub(super) fn send(&mut self, key: BindingKey, verb: Verb, purpose: Purpose) {
        if let Purpose::Remove(removals) = &purpose {
            self.spending.made(&key.owner, removals, Timestamp::now());
        }
        self.queue.begin(&key);
        let id = self.id_of(&key);
        let write = Write {
            namespace: id.namespace,
            name: id.name,
            verb,
        };
        let writer = self.writer.clone();
        self.spawn(async move {
            let answer = writer.write(&write).await;
            Done::Write(WriteDone {
                key,
                write,
                purpose,
                answer,
            })
        });
    }
}

fn subject(subject: &SubjectRef) -> Value {
    match &subject.namespace {
        Some(namespace) => json!({"kind": subject.kind, "name": subject.name, "namespace": namespace}),
        None => json!({"apiGroup": "rbac.authorization.k8s.io", "kind": subject.kind, "name": subject.name}),
    }
}
