//! What a source or mapping is told to its admin: the report is gathered here from what the engine knows; what it says is decided in `access::status`.

use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;
use kube::Resource as _;
use serde_json::Value;
use tokio::time::Instant;

use super::acceptance;
use super::engine::{Done, Engine};
use super::owner::Owner;
use super::status::{Target, Told, Wanted, tell, worth_telling, write};
use super::world::slim;
use crate::access::desired::SourceState;
use crate::access::key::{MappingKey, MappingKind};
use crate::access::ledger::On;
use crate::access::policy::Refusal;
use crate::access::status::{Failure, Loss, MappingReport, NOT_LOOKED_AT, SourceReport, mapping_status, next_change, source_status};
use crate::api::ScimSource;
use crate::api::conditions;
use crate::api::mapping::{MappingStatus, Mode, RoleKind};
use crate::api::source::{JournalRef, ScimSourceStatus};

/// Of very many people a part is enough to say that some are refused.
const PEOPLE_CHECKED: usize = 2_000;

/// A time that is awaited is compared with the clock at least this often.
const LOOK_AT_CLOCK: Duration = Duration::from_secs(6 * 60 * 60);

/// When a status that says that something is under way is compared again.
const PROGRESS: Duration = Duration::from_millis(500);

struct Comparison {
    shown: Value,
    wanted: Wanted,
    reference: ObjectReference,
    events: Vec<Told>,
}

impl Engine {
    /// Everything that has a status of ours.
    pub(super) fn status_targets(&self) -> Vec<Target> {
        let sources = self.sources.keys().map(|name| Target {
            plural: "scimsources",
            namespace: String::new(),
            name: name.to_string(),
        });
        let mappings = self.owners.iter().filter(|(_, o)| !o.uid.is_empty()).map(|(key, _)| target(key));
        sources.chain(mappings).collect()
    }

    /// Compares the statuses that are due, and writes those that differ.
    pub(super) fn write_statuses(&mut self) {
        let now = Instant::now();
        let due: Vec<Target> = self
            .status_due
            .iter()
            .filter(|(_, at)| **at <= now)
            .map(|(target, _)| target.clone())
            .collect();
        for target in due {
            let now = Instant::now();
            self.status_due.remove(&target);
            let compared = self.compare_status(&target);
            // what is costly to compare is compared less often: it must not hold up what else is to be done
            self.pacer.compared(&target, Instant::now(), now.elapsed());
            let Some(Comparison {
                shown,
                wanted,
                reference,
                events,
            }) = compared
            else {
                continue;
            };
            // A token expires by time alone.
            if let Some(at) = self.changes_by_time(&target) {
                self.status_at(target.clone(), at);
            }
            // What is under way ends by a write, an answer or a time: whatever it is, the status must not stay behind.
            if progressing(&wanted.status) {
                self.status_at(target.clone(), now + PROGRESS);
            }
            match self.pacer.due(&target, &shown, &wanted.status, now) {
                Ok(false) => {}
                Err(later) => {
                    self.status_at(target, later);
                }
                Ok(true) => {
                    if shown.pointer("/journal") != wanted.status.pointer("/journal") {
                        self.index_told.insert(target.name.clone(), now);
                    }
                    self.pacer.begun(target.clone(), wanted.status.clone());
                    let (client, recorder) = (self.client.clone(), self.told.clone());
                    self.spawn(async move {
                        let result = write(&client, &target, &wanted, &shown).await;
                        if result.is_ok() {
                            for event in events {
                                tell(&recorder, &reference, "Reconcile", event).await;
                            }
                        }
                        Done::Status(target, result)
                    });
                }
            }
        }
    }

    /// A status was written, or not.
    pub(super) fn status_written(&mut self, target: &Target, result: Result<Value, String>) {
        self.pacer.ended(target);
        let wait = match result {
            Ok(object) => {
                // Our own answer is seen before the watch tells it, or the next comparison would write again. It may be the first to show another spec, which
                // the watch then tells in vain; and it may show what the watch knows to be over.
                let read = match target.plural {
                    "scimsources" => serde_json::from_value(object).map(|o| {
                        if self.world.sources.answered(target.name.clone(), slim(o)) {
                            self.sources_changed(std::slice::from_ref(&target.name));
                        }
                    }),
                    "rolemappings" => serde_json::from_value(object).map(|o| {
                        let key = format!("{}/{}", target.namespace, target.name);
                        if self.world.mappings.answered(key, slim(o)) {
                            self.mapping_changed(&MappingKey::role_mapping(&target.namespace, &target.name));
                        }
                    }),
                    _ => serde_json::from_value(object).map(|o| {
                        if self.world.cluster_mappings.answered(target.name.clone(), slim(o)) {
                            self.mapping_changed(&MappingKey::cluster_role_mapping(&target.name));
                        }
                    }),
                };
                if let Err(error) = read {
                    tracing::debug!(%error, "the answer to a status is no object");
                }
                Duration::from_millis(200)
            }
            Err(error) => {
                tracing::warn!(error, kind = target.plural, "cannot write a status");
                Duration::from_secs(2)
            }
        };
        self.status_at(target.clone(), Instant::now() + wait);
    }

    /// Compares this status at that time, or before.
    pub(super) fn status_at(&mut self, target: Target, at: Instant) {
        let at = self.pacer.rested(&target).map_or(at, |rested| at.max(rested));
        let due = self.status_due.entry(target).or_insert(at);
        *due = at.min(*due);
    }

    /// When a status is to be compared again although nothing happens; soon enough for a clock that is set.
    fn changes_by_time(&self, target: &Target) -> Option<Instant> {
        let source = self.world.sources.get(&target.name).filter(|_| target.plural == "scimsources")?;
        let now = Timestamp::now();
        let wait = Duration::try_from(next_change(source.spec.tokens(), now)?.duration_since(now)).ok()?;
        Some(Instant::now() + wait.min(LOOK_AT_CLOCK))
    }

    fn compare_status(&self, target: &Target) -> Option<Comparison> {
        match target.plural {
            "scimsources" => {
                let object = self.world.sources.get(&target.name)?;
                let old = object.status.clone().unwrap_or_default();
                let new = self.source_status(&target.name, object, &old);
                Some(pack(
                    &old,
                    &new,
                    &old.conditions,
                    &new.conditions,
                    object.metadata.uid.clone()?,
                    object.object_ref(&()),
                ))
            }
            "rolemappings" => {
                // in a terminating namespace we touch nothing
                self.namespaces.get(&target.namespace).filter(|place| !place.terminating)?;
                let object = self.world.mappings.get(&format!("{}/{}", target.namespace, target.name))?;
                let old = object.status.clone().unwrap_or_default();
                let new = self.mapping_status(
                    &MappingKey::role_mapping(target.namespace.as_str(), target.name.as_str()),
                    (object.spec.suspend, object.spec.mode),
                    &old,
                )?;
                Some(pack(
                    &old,
                    &new,
                    &old.conditions,
                    &new.conditions,
                    object.metadata.uid.clone()?,
                    object.object_ref(&()),
                ))
            }
            _ => {
                let object = self.world.cluster_mappings.get(&target.name)?;
                let old = object.status.clone().unwrap_or_default();
                let new = self.mapping_status(
                    &MappingKey::cluster_role_mapping(target.name.as_str()),
                    (object.spec.suspend, object.spec.mode),
                    &old,
                )?;
                Some(pack(
                    &old,
                    &new,
                    &old.conditions,
                    &new.conditions,
                    object.metadata.uid.clone()?,
                    object.object_ref(&()),
                ))
            }
        }
    }

    fn source_status(&self, name: &str, object: &ScimSource, old: &ScimSourceStatus) -> ScimSourceStatus {
        let position = &self.seen.position;
        // At most once a minute: a busy directory is no reason to write statuses.
        let told = self.index_told.get(name).unwrap_or(&self.started).elapsed() < Duration::from_secs(60);
        let same = |j: &&JournalRef| *j.id == *position.id && *j.uid == *position.uid && j.index <= position.index;
        let journal = match old.journal.as_ref().filter(same) {
            Some(before) if told => before.clone(),
            _ => JournalRef {
                id: position.id.to_string(),
                uid: position.uid.to_string(),
                index: position.index,
                head: position.head.to_string(),
            },
        };
        let url = format!("{}/scim/v2/{name}", self.args.public_url.trim_end_matches('/'));
        let loss = self.access_lost.as_ref().map(|loss| Loss {
            rolled_back: loss.condition() == conditions::JOURNAL_ROLLED_BACK,
            message: format!("journal access: {loss} Nothing is granted; whom a provider disables or deletes loses access all the same"),
            token: self.loss_token.clone(),
            advice: acceptance::advice(&self.args.namespace, "access", &self.loss_token),
        });
        let ledger = self.access.snapshot();
        let report = SourceReport {
            name,
            generation: object.metadata.generation.unwrap_or_default(),
            suspend: object.spec.suspend,
            invalid: self.sources.get(name).and_then(|s| s.as_ref().err()),
            push: object.spec.push.as_ref(),
            poll: object.spec.poll.as_deref(),
            source: self.seen.state.source(name),
            conflicts: self.usernames.conflicts(name) + self.group_names.conflicts(name),
            nameless: self.usernames.nameless(name),
            reasons: &self.usernames.reasons(name),
            waiting: ledger.state.tally(&On::Source(name.to_owned())),
            requested: self.source_versions.get(name).and_then(|(.., requested)| requested.as_deref()),
            mass: self
                .spending
                .mass_deprovision(&ledger.state, name, object.spec.limits.unwrap_or_default()),
            url: &url,
            unmanaged: self.surveys.unmanaged.get(name),
            loss: loss.as_ref(),
            unproved: None,
            journal: Some(&journal),
        };
        source_status(&report, old, &Time(Timestamp::now()))
    }

    fn mapping_status(&self, key: &MappingKey, (suspend, mode): (bool, Mode), old: &MappingStatus) -> Option<MappingStatus> {
        let owner = self.owners.get(key)?;
        let mut failures: Vec<Failure> = owner.failing.values().cloned().collect();
        let wanted = |name: &String| owner.targets.made.contains_key(name) && !self.namespaces.contains_key(name);
        let unmade = owner.unmade.iter().filter(|(name, _)| wanted(name));
        failures.extend(unmade.map(|(_, failure)| failure.clone()));
        failures.extend(self.missing_role(owner));
        let names: Vec<String> = owner.mapping.iter().flat_map(|m| &m.sources).map(ToString::to_string).collect();
        let missing: Vec<String> = names
            .iter()
            .filter(|name| !self.sources.contains_key(name.as_str()))
            .cloned()
            .collect();
        let stalled = |name: &&String| !missing.contains(name) && self.source_state(name) != SourceState::Live;
        let ready = |c: &Condition| c.type_ == conditions::READY && c.status == "True";
        // A generation that was applied before stays ready: a busy directory is no change of the spec.
        let applied = old.observed_generation == owner.generation && old.conditions.iter().any(ready);
        let unknown = Refusal::new(NOT_LOOKED_AT, "the mapping was not looked at yet");
        let report = MappingReport {
            generation: owner.generation,
            suspend,
            mode,
            live: owner.live().ok_or(owner.invalid.as_ref().unwrap_or(&unknown)),
            directory: &self.seen.state,
            source_refusals: &owner.source_refusals,
            missing_sources: &missing,
            stalled_sources: &names.iter().filter(stalled).cloned().collect::<Vec<_>>(),
            refused_people: self.refused_people(owner),
            held: &owner.all_held(),
            requested: owner.requested.as_deref(),
            waiting: self.access.snapshot().state.tally(&On::Mapping(key.clone())),
            holds: &self.circumstances(key).holds,
            failures: &failures,
            pending: if applied {
                0
            } else {
                self.queue.pending(key) + self.granting.pending(key)
            },
            bindings: self.standing.count(key),
            namespaces: &self.namespaces,
            changed_roles: self.surveys.changed.get(key).map_or(&[], Vec::as_slice),
            last_change: self.access.snapshot().state.last_change(key),
        };
        Some(mapping_status(&report, old, &Time(Timestamp::now())))
    }

    /// A role that is granted and does not exist gives nothing: an admin wants to know.
    fn missing_role(&self, owner: &Owner) -> Option<Failure> {
        let roles = || owner.targets.roles.iter();
        let cluster = roles().filter(|_| owner.targets.is_wide() || owner.targets.namespaces(&self.namespaces).next().is_some());
        let cluster = { cluster }.find(|role| role.kind == RoleKind::ClusterRole && self.world.cluster_roles.get(&role.name).is_none());
        let namespaced = || {
            let there = owner.targets.namespaces(&self.namespaces);
            let pairs = there.flat_map(|ns| owner.targets.pairs.get(ns).into_iter().flatten().map(move |(role, _)| (ns, role)));
            let mut of_kind = pairs.filter(|(_, role)| role.kind == RoleKind::Role);
            of_kind.find(|(ns, role)| self.world.roles.get(&format!("{ns}/{}", role.name)).is_none())
        };
        let (namespace, role) = match cluster {
            Some(role) => ("", role),
            None if roles().any(|role| role.kind == RoleKind::Role) => namespaced()?,
            None => return None,
        };
        let place = if role.kind == RoleKind::Role {
            format!(" in namespace {namespace:?}")
        } else {
            String::new()
        };
        let message = format!(
            "there is no {} {:?}{place}, so what is bound to it gives nothing: create it, or correct spec.grants",
            role.kind.as_str(),
            role.name
        );
        Some(Failure {
            refusal: Refusal::new("RoleNotFound", message),
            human: true,
        })
    }

    fn refused_people(&self, owner: &Owner) -> usize {
        let Some(policy) = &self.policy else { return 0 };
        let cells = owner.cells.iter();
        let named = cells.flat_map(|cell| cell.people.iter().map(|(_, person)| (cell.kind, person)));
        named
            .take(PEOPLE_CHECKED)
            .filter(|(kind, person)| policy.named(*kind, &person.username).is_err())
            .count()
    }
}

/// Whether a status says that something is under way.
fn progressing(status: &Value) -> bool {
    let mut all = status["conditions"].as_array().into_iter().flatten();
    all.any(|c| c["type"] == conditions::RECONCILING && c["status"] == "True")
}

fn target(key: &MappingKey) -> Target {
    let plural = match key.kind {
        MappingKind::RoleMapping => "rolemappings",
        MappingKind::ClusterRoleMapping => "clusterrolemappings",
    };
    Target {
        plural,
        namespace: key.namespace.clone(),
        name: key.name.clone(),
    }
}

fn pack<S: serde::Serialize>(
    old: &S,
    new: &S,
    before: &[Condition],
    after: &[Condition],
    uid: String,
    reference: ObjectReference,
) -> Comparison {
    let value = |status: &S| serde_json::to_value(status).unwrap_or_default();
    Comparison {
        shown: value(old),
        wanted: Wanted { uid, status: value(new) },
        reference,
        events: worth_telling(before, after),
    }
}
