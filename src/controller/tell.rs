//! What a source or mapping is told to its admin: counts, conditions and messages, from what the engine knows. Written by `status`.

use std::collections::BTreeSet;
use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::Resource as _;
use serde_json::Value;
use tokio::time::Instant;

use super::engine::{Done, Engine};
use super::owner::Owner;
use super::status::{Target, Wanted, tell, worth_telling, write};
use crate::access::key::{MappingKey, MappingKind};
use crate::api::conditions::{self, Set, update};
use crate::api::mapping::{MappingStatus, RoleKind};
use crate::api::source::{GroupStatus, JournalRef, ScimSourceStatus};
use crate::api::{ClusterRoleMapping, RoleMapping, ScimSource};

const GROUPS_SHOWN: usize = 100;

impl Engine {
    /// Everything that has a status of ours.
    pub(super) fn status_targets(&self) -> Vec<Target> {
        let sources = self.sources.keys().map(|name| Target { plural: "scimsources", namespace: String::new(), name: name.to_string() });
        let mappings = self.owners.iter().filter(|(_, o)| !o.uid.is_empty()).map(|(key, _)| target(key));
        sources.chain(mappings).collect()
    }

    /// Compares the statuses that are due, and writes those that differ.
    pub(super) fn write_statuses(&mut self) {
        let now = Instant::now();
        let due: Vec<Target> = self.status_due.iter().filter(|(_, at)| **at <= now).map(|(target, _)| target.clone()).collect();
        for target in due {
            self.status_due.remove(&target);
            let Some((shown, wanted, reference, events)) = self.status_of(&target) else { continue };
            match self.pacer.due(&target, &shown, &wanted.status, now) {
                Ok(false) => {}
                Err(later) => {
                    self.status_due.insert(target, later);
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
                                tell(&recorder, reference.clone(), "Reconcile", event).await;
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
        match result {
            Ok(object) => {
                // Our own answer is seen before the watch tells it, or the next comparison would write again.
                match target.plural {
                    "scimsources" => drop(serde_json::from_value::<ScimSource>(object).map(|o| self.world.sources.put(target.name.clone(), super::world::slim(o)))),
                    "rolemappings" => {
                        let key = format!("{}/{}", target.namespace, target.name);
                        drop(serde_json::from_value::<RoleMapping>(object).map(|o| self.world.mappings.put(key, super::world::slim(o))));
                    }
                    _ => drop(serde_json::from_value::<ClusterRoleMapping>(object).map(|o| self.world.cluster_mappings.put(target.name.clone(), super::world::slim(o)))),
                }
                self.status_due.entry(target.clone()).or_insert(Instant::now() + Duration::from_millis(200));
            }
            Err(error) => {
                tracing::warn!(error, kind = target.plural, "cannot write a status");
                self.status_due.entry(target.clone()).or_insert(Instant::now() + Duration::from_secs(2));
            }
        }
    }

    #[expect(clippy::type_complexity, reason = "used once, right above")]
    fn status_of(&self, target: &Target) -> Option<(Value, Wanted, ObjectReference, Vec<(String, String, String, bool)>)> {
        match target.plural {
            "scimsources" => {
                let object = self.world.sources.get(&target.name)?;
                let old = object.status.clone().unwrap_or_default();
                let new = self.source_status(&target.name, object, &old)?;
                Some(pack(&old, &new, &old.conditions, &new.conditions, object.metadata.uid.clone()?, object.object_ref(&())))
            }
            "rolemappings" => {
                let object = self.world.mappings.get(&format!("{}/{}", target.namespace, target.name))?;
                let old = object.status.clone().unwrap_or_default();
                let new = self.mapping_status(&MappingKey::role_mapping(target.namespace.as_str(), target.name.as_str()), &old)?;
                Some(pack(&old, &new, &old.conditions, &new.conditions, object.metadata.uid.clone()?, object.object_ref(&())))
            }
            _ => {
                let object = self.world.cluster_mappings.get(&target.name)?;
                let old = object.status.clone().unwrap_or_default();
                let new = self.mapping_status(&MappingKey::cluster_role_mapping(target.name.as_str()), &old)?;
                Some(pack(&old, &new, &old.conditions, &new.conditions, object.metadata.uid.clone()?, object.object_ref(&())))
            }
        }
    }

    fn source_status(&self, name: &str, object: &ScimSource, old: &ScimSourceStatus) -> Option<ScimSourceStatus> {
        let run = self.sources.get(name)?;
        let directory = self.seen.state.source(name);
        let mut set = Vec::new();
        match &run.expression {
            Ok(_) => set.push(Set::new(conditions::READY, "True", "Succeeded", "the source is served, and its people are known to the API server by spec.subject.username")),
            Err(refusal) => {
                let message = format!("{}. Nothing new is granted from this source; who is disabled or deleted loses access all the same.", refusal.message);
                set.push(Set::new(conditions::READY, "False", refusal.reason, message.clone()));
                set.push(Set::new(conditions::STALLED, "True", refusal.reason, message));
            }
        }
        let conflicts = self.usernames.conflicts(name);
        if conflicts > 0 {
            let message = format!("{conflicts} active users yield a username that somebody else has borne longer; they are granted nothing until the name is free");
            set.push(Set::new(conditions::USERNAME_CONFLICT, "True", "NameTaken", message));
        }
        let nameless = self.usernames.nameless(name);
        if nameless > 0 {
            let reasons = self.usernames.reasons(name).join("; ");
            set.push(Set::new(conditions::DEGRADED, "True", "NoUsername", format!("{nameless} active users yield no username and are granted nothing: {reasons}")));
        }
        if !self.missing.is_empty() || self.policy.is_none() {
            set.push(self.unguarded());
        }
        let generation = run.generation;
        let now = Time(Timestamp::now());
        let mut groups: Vec<(u64, u32)> = directory.map(|d| d.groups().map(|g| (d.members(g.n).len(), g.n)).collect()).unwrap_or_default();
        groups.sort_unstable_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(&b.1)));
        let position = &self.seen.position;
        // At most once a minute: a busy directory is no reason to write statuses.
        let told = self.index_told.get(name).is_some_and(|at| at.elapsed() < Duration::from_secs(60));
        let journal = match &old.journal {
            Some(before) if *before.id == *position.id && *before.uid == *position.uid && before.index <= position.index && told => before.clone(),
            _ => JournalRef { id: position.id.to_string(), uid: position.uid.to_string(), index: position.index },
        };
        Some(ScimSourceStatus {
            observed_generation: generation,
            conditions: update(&old.conditions, &set, generation, &now),
            url: if self.args.public_url.is_empty() { format!("/scim/v2/{name}") } else { format!("{}/scim/v2/{name}", self.args.public_url.trim_end_matches('/')) },
            mode: if object.spec.suspend { "Suspended" } else { "Push" }.to_owned(),
            summary: directory.map_or_else(
                || "nothing was pushed yet".to_owned(),
                |d| format!("{} users, {} active, {} groups", d.user_count(), d.active_count(), d.group_count()),
            ),
            users: directory.map_or(0, |d| count(d.user_count())),
            active_users: directory.map_or(0, |d| count(d.active_count())),
            groups: directory.map_or(0, |d| count(d.group_count())),
            last_event_time: directory.and_then(|d| d.last_event()).map(minute),
            largest_groups: groups.into_iter().take(GROUPS_SHOWN).filter_map(|(_, n)| self.group_status("", name, n)).collect(),
            journal: Some(journal),
        })
    }

    fn mapping_status(&self, key: &MappingKey, old: &MappingStatus) -> Option<MappingStatus> {
        let owner = self.owners.get(key)?;
        let ledger = self.access.snapshot();
        let mut set = self.readiness(key, owner);
        let (grants, removals) = owner.held.values().fold((0, 0), |(a, b), (x, y)| (a + x, b + y));
        let suspended = owner.mapping.as_ref().is_some_and(|m| m.suspend);
        if grants + removals > 0 {
            let (reason, why) = if !self.missing.is_empty() || self.policy.is_none() {
                ("PolicyMissing", "a guard is missing")
            } else {
                ("Suspended", "the mapping or a source is suspended")
            };
            set.push(Set::new(conditions::HELD, "True", reason, format!("{grants} grants and {removals} removals wait: {why}")));
        }
        if !owner.selected.ambiguous.is_empty() {
            let message = format!("several groups bear {}: the one that has borne it longest has the grant. Map by externalIds, or by filter on id", quoted(&owner.selected.ambiguous));
            set.push(Set::new(conditions::AMBIGUOUS_GROUP, "True", "SeveralGroups", message));
        }
        let conflicts = self.conflicts_of(owner);
        if conflicts > 0 {
            let message = format!("{conflicts} members yield a username that somebody else has borne longer; they are granted nothing");
            set.push(Set::new(conditions::USERNAME_CONFLICT, "True", "NameTaken", message));
        }
        if !self.missing.is_empty() || self.policy.is_none() {
            set.push(self.unguarded());
        }
        let now = Time(Timestamp::now());
        let namespaces: BTreeSet<&str> = owner.targets.iter().map(|(namespace, _)| namespace.as_str()).collect();
        let roles: BTreeSet<&str> = owner.targets.iter().map(|(_, role)| role.name.as_str()).collect();
        let bindings = self.observed.keys().filter(|k| k.owner == *key).count();
        let unmatched = owner.selected.unmatched.len();
        let people = self.granted_people(owner);
        let mut summary = if roles.is_empty() { "nothing".to_owned() } else { roles.into_iter().collect::<Vec<_>>().join(", ") };
        summary.truncate(200);
        let place = if namespaces.len() == 1 { "namespace" } else { "namespaces" };
        summary.push_str(&format!(" in {} {place}, {people} {}", namespaces.len(), if people == 1 { "person" } else { "people" }));
        if unmatched > 0 {
            summary.push_str(&format!(", {unmatched} groups unmatched"));
        }
        Some(MappingStatus {
            observed_generation: owner.generation,
            conditions: update(&old.conditions, &set, owner.generation, &now),
            mode: if suspended { "Suspended" } else { "Enforce" }.to_owned(),
            summary,
            people: i64::try_from(people).unwrap_or(i64::MAX),
            namespaces: i64::try_from(namespaces.len()).unwrap_or(i64::MAX),
            bindings: i64::try_from(bindings).unwrap_or(i64::MAX),
            unmatched_groups: i64::try_from(unmatched).unwrap_or(i64::MAX),
            last_change_time: ledger.state.last_change(key).map(second),
            groups: owner.selected.groups.iter().take(GROUPS_SHOWN).filter_map(|(source, n)| self.group_status(source, source, *n)).collect(),
        })
    }

    fn readiness(&self, key: &MappingKey, owner: &Owner) -> Vec<Set> {
        let stalled = |reason: &str, message: String| {
            vec![Set::new(conditions::READY, "False", reason, message.clone()), Set::new(conditions::STALLED, "True", reason, message)]
        };
        if let Some(refusal) = owner.problem.iter().chain(owner.refusals.iter()).next() {
            let message = match refusal.reason {
                "InvalidSpec" | "InvalidFilter" => format!("{}. What is granted stays; nothing new is granted.", refusal.message),
                _ => refusal.message.clone(),
            };
            return stalled(refusal.reason, message);
        }
        let missing = owner.targets.iter().find(|(namespace, role)| match role.kind {
            RoleKind::ClusterRole => self.world.cluster_roles.get(&role.name).is_none(),
            RoleKind::Role => self.world.roles.get(&format!("{namespace}/{}", role.name)).is_none(),
        });
        if let Some((namespace, role)) = missing {
            let place = if role.kind == RoleKind::Role { format!(" in namespace {namespace}") } else { String::new() };
            return stalled("RoleNotFound", format!("there is no {} {:?}{place}: create it, or correct spec.grants. What is bound to it gives nothing meanwhile.", role.kind.as_str(), role.name));
        }
        if let Some((binding, message)) = owner.failing.iter().next() {
            let reason = if self.foreign.contains(binding) { "ForeignBinding" } else { "WriteRefused" };
            let more = if owner.failing.len() > 1 { format!(" (and {} more)", owner.failing.len() - 1) } else { String::new() };
            return stalled(reason, format!("{binding}: {message}{more}"));
        }
        if self.refused_people(owner) > 0 {
            let message = format!(
                "{} members have usernames that the access policy does not allow and are granted nothing; allowed prefixes (Helm value accessPolicy.usernamePrefixes): {}",
                self.refused_people(owner),
                quoted(self.policy.as_ref().map_or(&[][..], |p| &p.username_prefixes))
            );
            let mut set = vec![Set::new(conditions::READY, "True", "Succeeded", self.applied(owner))];
            set.push(Set::new(conditions::DEGRADED, "True", "UsernameNotAllowed", message));
            return set;
        }
        if self.queue.pending(key) || self.granting.pending(key) {
            let message = "the spec is being applied".to_owned();
            // A generation that was applied before stays ready: a busy directory is no change of the spec.
            if self.was_ready(key, owner) {
                return vec![Set::new(conditions::READY, "True", "Succeeded", self.applied(owner))];
            }
            return vec![Set::new(conditions::READY, "Unknown", "Progressing", message.clone()), Set::new(conditions::RECONCILING, "True", "Progressing", message)];
        }
        vec![Set::new(conditions::READY, "True", "Succeeded", self.applied(owner))]
    }

    fn applied(&self, owner: &Owner) -> String {
        match owner.selected.unmatched.len() {
            0 => "applied".to_owned(),
            _ => format!("applied; no group is {}: it gets the grant when it appears", quoted(&owner.selected.unmatched)),
        }
    }

    fn was_ready(&self, key: &MappingKey, owner: &Owner) -> bool {
        let shown = match key.kind {
            MappingKind::RoleMapping => self.world.mappings.get(&format!("{}/{}", key.namespace, key.name)).and_then(|m| m.status.as_ref()),
            MappingKind::ClusterRoleMapping => self.world.cluster_mappings.get(&key.name).and_then(|m| m.status.as_ref()),
        };
        let ready = |c: &k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition| c.type_ == conditions::READY && c.status == "True";
        shown.is_some_and(|s| s.observed_generation == owner.generation && s.conditions.iter().any(ready))
    }

    fn granted_people(&self, owner: &Owner) -> usize {
        if owner.targets.is_empty() { 0 } else { owner.people.len().saturating_sub(self.refused_people(owner)) }
    }

    fn refused_people(&self, owner: &Owner) -> usize {
        let Some(policy) = &self.policy else { return 0 };
        // Of very many people a part is enough: one refused prefix refuses them all alike.
        owner.people.iter().take(2_000).filter(|(_, person)| policy.subject(&person.username).is_err()).count()
    }

    fn conflicts_of(&self, owner: &Owner) -> usize {
        let losing: Vec<&std::sync::Arc<str>> = owner.sources.iter().filter(|s| self.usernames.conflicts(s) > 0).collect();
        losing
            .into_iter()
            .filter_map(|name| {
                let source = self.seen.state.source(name)?;
                let members = source.all_members(owner.selected.of(name)) & source.active();
                Some(members.iter().filter(|n| self.usernames.yielded(name, *n).is_some() && self.usernames.effective(name, *n).is_none()).count())
            })
            .sum()
    }

    fn unguarded(&self) -> Set {
        let message = match &self.policy_text {
            Err(error) => format!("there is no usable access policy ({error}): nothing new is granted until the chart's ConfigMap is back"),
            Ok(_) => format!("admission policies are missing, or no longer deny: {}. Nothing new is granted until `helm upgrade` has put them back", self.missing.join(", ")),
        };
        Set::new(conditions::DEGRADED, "True", "PolicyMissing", message)
    }

    fn group_status(&self, shown_source: &str, source: &str, n: u32) -> Option<GroupStatus> {
        let directory = self.seen.state.source(source)?;
        let group = directory.get(n)?;
        Some(GroupStatus {
            source: shown_source.to_owned(),
            display_name: group.name.chars().take(256).collect(),
            external_id: group.external_id.as_ref().map(|id| id.chars().take(256).collect()),
            id: group.id.to_string(),
            members: count(directory.members(n).len()),
        })
    }
}

fn target(key: &MappingKey) -> Target {
    let plural = match key.kind {
        MappingKind::RoleMapping => "rolemappings",
        MappingKind::ClusterRoleMapping => "clusterrolemappings",
    };
    Target { plural, namespace: key.namespace.clone(), name: key.name.clone() }
}

#[expect(clippy::type_complexity, reason = "used once")]
fn pack<S: serde::Serialize>(
    old: &S,
    new: &S,
    before: &[k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition],
    after: &[k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition],
    uid: String,
    reference: ObjectReference,
) -> (Value, Wanted, ObjectReference, Vec<(String, String, String, bool)>) {
    let value = |status: &S| serde_json::to_value(status).unwrap_or_default();
    (value(old), Wanted { uid, status: value(new) }, reference, worth_telling(before, after))
}

fn quoted(names: &[String]) -> String {
    let shown: Vec<String> = names.iter().take(5).map(|name| format!("{name:?}")).collect();
    let more = names.len().saturating_sub(5);
    if more > 0 { format!("{} and {more} more", shown.join(", ")) } else { shown.join(", ") }
}

fn count(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

fn minute(time: jiff::Timestamp) -> String {
    let seconds = time.as_second() / 60 * 60;
    jiff::Timestamp::from_second(seconds).unwrap_or_default().to_string()
}

fn second(time: jiff::Timestamp) -> String {
    jiff::Timestamp::from_second(time.as_second()).unwrap_or_default().to_string()
}
