//! What the controller counts and shows of itself. Labels are closed sets, or sources, mappings and journals by name: never a person. Nothing is decided here.

use std::collections::{HashSet, VecDeque};
use std::hash::Hash;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};

use super::apply::{Answer, Verb};
use super::engine::Engine;
use super::work::Purpose;
use crate::access::diff::{Class, Removal};
use crate::access::ledger::On;
use crate::access::status::Held;
use crate::access::why::Cause;
use crate::api::{ScimSource, conditions};
use crate::directory::poll::Outcome;
use crate::ops::metrics::{Appends, OfJournal, Page};

/// Gauges of what comes and goes: those that are not shown any more are taken off the page, and the others never are, not even for a moment.
#[derive(Clone)]
struct Shown<L> {
    family: Family<L, Gauge<f64, AtomicU64>>,
    labels: Arc<Mutex<HashSet<L>>>,
}

impl<L: Clone + Eq + Hash> Default for Shown<L> {
    fn default() -> Self {
        Self {
            family: Family::default(),
            labels: Arc::default(),
        }
    }
}

impl<L: Clone + Eq + Hash> Shown<L> {
    fn show(&self, all: impl IntoIterator<Item = (L, f64)>) {
        let mut known = self.labels.lock().unwrap_or_else(PoisonError::into_inner);
        let mut now = HashSet::new();
        for (labels, value) in all {
            self.family.get_or_create(&labels).set(value);
            now.insert(labels);
        }
        known.difference(&now).for_each(|gone| {
            self.family.remove(gone);
        });
        *known = now;
    }
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Written {
    verb: &'static str,
    result: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Named {
    name: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Looked {
    controller: &'static str,
    result: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Of {
    source: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Token {
    source: String,
    token: String,
}

/// What a finding is about, and what it is.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct Finding {
    object: String,
    reason: &'static str,
}

impl Finding {
    /// About this source or mapping.
    pub fn of(object: &str, reason: &'static str) -> Self {
        Self {
            object: object.to_owned(),
            reason,
        }
    }
}

/// All metrics of the controller, over all its terms.
#[derive(Clone, Default)]
pub struct Metrics {
    /// How long appends to the journals took.
    pub appends: Appends,
    revocations: Revocations,
    writes: Family<Written, Counter>,
    drift: Counter,
    looks: Family<Looked, Counter>,
    bindings: Gauge,
    held_removals: Gauge,
    held_grants: Gauge,
    held_groups: Gauge,
    queue: Gauge,
    depth: Family<Named, Gauge>,
    source_ready: Shown<Of>,
    source_last: Shown<Of>,
    poll_ok: Shown<Of>,
    poll_last: Shown<Of>,
    token_expiry: Shown<Token>,
    journal_lost: Family<OfJournal, Gauge>,
    policy_missing: Gauge,
    findings: Shown<Finding>,
    leading: Gauge,
    leads: Family<LeaseName, Gauge>,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct LeaseName {
    name: String,
}

/// How long revocations took.
#[derive(Clone)]
struct Revocations(Histogram);

impl Default for Revocations {
    fn default() -> Self {
        Self(Histogram::new(exponential_buckets(0.004, 2.0, 16)))
    }
}

/// The name that controller-runtime's metrics would give our one controller.
const CONTROLLER: &str = "bindings";

impl Metrics {
    /// On this page.
    pub fn register(&self, page: &Page) {
        self.appends.register(page);
        let help = "From when a change was written to the directory journal until the write that takes access away was answered; each person and binding once";
        page.register("revocation_seconds", help, self.revocations.0.clone());
        let help = "Writes of bindings, by verb and what the answer meant";
        page.register("binding_writes", help, self.writes.clone());
        let help = "Subjects that others had added to or taken out of bindings of ours, put right";
        page.register("drift_repaired", help, self.drift.clone());
        page.register("bindings", "Bindings of ours that stand and grant something", self.bindings.clone());
        page.register("held_removals", "Removals that the gate holds", self.held_removals.clone());
        page.register("held_grants", "Grants that the gate holds", self.held_grants.clone());
        page.register("held_groups", "Groups that wait for an approval", self.held_groups.clone());
        let help = "Bindings that wait to be looked at or written";
        page.register("queue_depth", help, self.queue.clone());
        page.register_as("workqueue_depth", help, self.depth.clone());
        let help = "Bindings looked at, by what came of it";
        page.register_as("controller_runtime_reconcile", help, self.looks.clone());
        let help = "1 while the condition Ready of the source is True";
        page.register("source_ready", help, self.source_ready.family.clone());
        let help = "When the provider last changed something in the source";
        page.register("source_last_success_timestamp_seconds", help, self.source_last.family.clone());
        let help = "1 while the last pass over a polled directory was whole";
        page.register("poll_ok", help, self.poll_ok.family.clone());
        let help = "When a pass over a polled directory was last whole";
        page.register("poll_last_success_timestamp_seconds", help, self.poll_last.family.clone());
        let help = "When a token of a source ends; tokens without an end are not here";
        page.register("token_expiry_timestamp_seconds", help, self.token_expiry.family.clone());
        page.register("journal_lost", "1 while a journal is lost", self.journal_lost.clone());
        let help = "How many of the admission policies are missing, or 1 without an access policy: nothing new is granted";
        page.register("policy_missing", help, self.policy_missing.clone());
        let help = "What stands in the cluster and should be looked at: bindings of others that name disabled people or mapped groups, and roles whose rules changed";
        page.register("findings", help, self.findings.family.clone());
        page.register("controller_leading", "1 while this process holds the Lease", self.leading.clone());
        let help = "1 while this process holds the Lease of that name";
        page.register_as("leader_election_master_status", help, self.leads.clone());
    }

    /// Whether this process holds the Lease of that name. Who leads no more knows nothing more of what is held.
    pub fn leads(&self, lease: &str, leading: bool) {
        self.leading.set(i64::from(leading));
        let name = lease.to_owned();
        self.leads.get_or_create(&LeaseName { name }).set(i64::from(leading));
        if !leading {
            for gauge in [
                &self.bindings,
                &self.held_removals,
                &self.held_grants,
                &self.held_groups,
                &self.queue,
                &self.policy_missing,
            ] {
                gauge.set(0);
            }
            self.depth.clear();
            self.source_ready.show([]);
            self.source_last.show([]);
            self.poll_ok.show([]);
            self.poll_last.show([]);
            self.token_expiry.show([]);
            self.findings.show([]);
        }
    }

    /// Whether that journal is lost.
    pub fn lost(&self, journal: &'static str, lost: bool) {
        self.journal_lost.get_or_create(&OfJournal { journal }).set(i64::from(lost));
    }

    /// Shows these findings, and no others any more.
    pub fn found(&self, all: impl IntoIterator<Item = (Finding, usize)>) {
        self.findings.show(all.into_iter().map(|(finding, n)| (finding, n as f64)));
    }

    /// A binding was looked at.
    pub fn looked(&self, result: &'static str) {
        let controller = CONTROLLER;
        self.looks.get_or_create(&Looked { controller, result }).inc();
    }

    /// A write was answered.
    pub fn answered(&self, verb: &Verb, answer: &Answer) {
        let verb = match verb {
            Verb::Post(_) => "POST",
            Verb::Put(_) => "PUT",
            Verb::Delete { .. } => "DELETE",
        };
        let result = match answer {
            Answer::Written(_) => "written",
            Answer::Gone => "gone",
            Answer::Other(_) => "conflict",
            Answer::Fenced(_) => "fenced",
            Answer::Refused(_) => "refused",
            Answer::NamespaceGoing => "namespace_going",
            Answer::Unknown(_) => "unknown",
        };
        self.writes.get_or_create(&Written { verb, result }).inc();
    }

    /// A write did what it was for.
    pub fn done(&self, purpose: &Purpose, heard: &Heard) {
        let restored = |cause: &Cause| matches!(cause, Cause::Restored | Cause::Foreign);
        match purpose {
            Purpose::Remove(removals) => {
                let foreign = removals.iter().filter(|removal| restored(&removal.why.cause));
                self.drift.inc_by(foreign.count() as u64);
                self.revoked(removals, heard);
            }
            Purpose::Grant(planned) => {
                let taken = planned.adds.iter().filter(|add| restored(&add.why.cause));
                self.drift.inc_by(taken.count() as u64);
                self.revoked(&planned.removals, heard);
            }
            Purpose::Settle => {}
        }
    }

    fn revoked(&self, removals: &[Removal], heard: &Heard) {
        let now = Timestamp::now();
        for removal in removals.iter().filter(|removal| removal.class != Class::Replaced) {
            let said = removal.why.cause.event().and_then(|event| heard.when(event.index));
            if let Some(said) = said {
                self.revocations.0.observe(now.duration_since(said).as_secs_f64().max(0.0));
            }
        }
    }
}

/// When the newest states of the directory were written: what was said with one index was said no later than the state that shows it.
#[derive(Default)]
pub struct Heard(VecDeque<(i64, Timestamp)>);

impl Heard {
    /// So many are remembered: a removal that comes later was not held up by us.
    const MOST: usize = 1024;

    /// The directory was seen at this index, written then.
    pub fn at(&mut self, index: i64, time: Timestamp) {
        if self.0.len() == Self::MOST {
            self.0.pop_front();
        }
        self.0.push_back((index, time));
    }

    /// When what this index says was written; `None`: that is not known any more.
    pub fn when(&self, index: i64) -> Option<Timestamp> {
        let at = self.0.partition_point(|(known, _)| *known < index);
        // up to the oldest it may have been said at any time
        self.0.get(at).filter(|_| at > 0).map(|(_, time)| *time)
    }
}

fn number(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

fn seconds(time: Timestamp) -> f64 {
    time.as_duration().as_secs_f64()
}

impl Engine {
    /// Shows how things stand. Called every tick: a scrape must cost the engine nothing.
    pub(super) fn show_metrics(&self) {
        let metrics = &self.metrics;
        metrics.bindings.set(number(self.standing.total()));
        let mut held = Held::default();
        self.owners.values().for_each(|owner| held.add(&owner.all_held()));
        metrics.held_removals.set(number(held.removals));
        metrics.held_grants.set(number(held.adds));
        let ledger = self.access.snapshot();
        let waiting = self.owners.keys().map(|key| ledger.state.tally(&On::Mapping(key.clone())).groups);
        metrics.held_groups.set(number(waiting.sum()));
        let depth = number(self.queue.depth() + self.granting.depth());
        metrics.queue.set(depth);
        metrics.depth.get_or_create(&Named { name: CONTROLLER }).set(depth);
        let without = usize::from(self.policy.is_none()).max(self.missing.len());
        metrics.policy_missing.set(number(without));
        let sources: Vec<&ScimSource> = self.world.sources_of(&self.args.class).collect();
        metrics.source_ready.show(sources.iter().map(|object| {
            let told = object.status.iter().flat_map(|status| &status.conditions);
            let ready = { told }.any(|c| c.type_ == conditions::READY && c.status == "True");
            (of(object), f64::from(u8::from(ready)))
        }));
        metrics.source_last.show(sources.iter().filter_map(|object| {
            let last = self.seen.state.source(object.metadata.name.as_deref()?)?.last_event()?;
            Some((of(object), seconds(last)))
        }));
        let polled = || {
            let polled = sources.iter().filter(|object| object.spec.poll.is_some());
            polled.filter_map(|object| Some((of(object), self.seen.state.source(object.metadata.name.as_deref()?)?.poll())))
        };
        metrics.poll_ok.show(polled().filter_map(|(of, poll)| {
            let whole = poll.ended.as_ref()?.outcome == Outcome::Complete;
            Some((of, f64::from(u8::from(whole))))
        }));
        metrics
            .poll_last
            .show(polled().filter_map(|(of, poll)| Some((of, seconds(poll.complete?)))));
        metrics.token_expiry.show(sources.iter().flat_map(|object| {
            object.spec.tokens().iter().filter_map(|token| {
                let end: Timestamp = token.not_after.as_deref()?.parse().ok()?;
                let labels = Token {
                    source: of(object).source,
                    token: token.name.clone(),
                };
                Some((labels, seconds(end)))
            })
        }));
    }
}

fn of(object: &ScimSource) -> Of {
    Of {
        source: object.metadata.name.clone().unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_said_is_dated_by_the_first_state_that_shows_it() {
        let at = |second| Timestamp::from_second(second).expect("a time");
        let mut heard = Heard::default();
        assert_eq!(heard.when(1), None);
        heard.at(10, at(100));
        heard.at(12, at(200));
        for (index, known) in [(9, None), (10, None), (11, Some(200)), (12, Some(200)), (13, None)] {
            assert_eq!(heard.when(index), known.map(at), "{index}");
        }
        for n in 0..2 * Heard::MOST as i64 {
            heard.at(100 + n, at(n));
        }
        assert_eq!(heard.0.len(), Heard::MOST);
        assert_eq!(heard.when(12), None);
    }
}
