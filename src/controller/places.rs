//! Namespaces: those that mappings ask for are made, those of ours that nothing maps any more are labelled so. Rolecall never deletes one. Which are asked for is in `access::targets`.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

use http::{Method, Request};
use k8s_openapi::api::core::v1::Namespace;
use kube::{Client, Error};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

use super::engine::{Done, Engine};
use crate::access::creation::Made;
use crate::access::desired::SourceState;
use crate::access::gate::Column;
use crate::access::key::{MappingKey, MappingKind};
use crate::access::mapping::Mapping;
use crate::access::names::has_our_labels;
use crate::access::policy::Refusal;
use crate::access::status::Failure;
use crate::access::targets::{NamespaceInfo, covers_otherwise};
use crate::api::names;

/// How many namespaces are made or labelled at once.
const AT_ONCE: usize = 16;
/// How long the watch may take to show what was done.
const SHOWN_WITHIN: Duration = Duration::from_secs(1);
/// When what did not come about is tried again, and when what was refused.
const AGAIN: Duration = Duration::from_secs(10);
const AGAIN_REFUSED: Duration = Duration::from_secs(120);

/// The namespaces that are being made or labelled.
#[derive(Default)]
pub struct Places {
    /// Something may have to be made or labelled.
    pub(super) look: bool,
    /// The term is old enough to say of a namespace that nothing maps it: at its start a restore may be running.
    settled: bool,
    flying: BTreeSet<String>,
    later: BTreeMap<String, Instant>,
}

/// The answer to the making or labelling of one namespace.
pub struct PlaceDone {
    name: String,
    asked_by: Option<MappingKey>,
    answer: Result<(), (u16, String)>,
}

impl Engine {
    /// Namespaces came, changed their labels, or go.
    pub(super) fn namespaces_changed(&mut self, names: &[String]) {
        let before = self.namespaces.clone();
        for name in names {
            match self.world.namespaces.get(name) {
                None => drop(self.namespaces.remove(name)),
                Some(place) => {
                    let info = NamespaceInfo {
                        name: name.clone(),
                        labels: place.labels.clone(),
                        terminating: place.terminating,
                    };
                    self.namespaces.insert(name.clone(), Arc::new(info));
                }
            }
        }
        let differs = |mapping: &Mapping| {
            let otherwise = |name: &String| {
                let (before, after) = (before.get(name), self.namespaces.get(name));
                covers_otherwise(mapping, before.map(AsRef::as_ref), after.map(AsRef::as_ref))
            };
            names.iter().any(otherwise)
        };
        let mine = |key: &MappingKey| key.kind == MappingKind::RoleMapping && names.contains(&key.namespace);
        let mut keys = Vec::new();
        let (mut changed, mut selecting) = (Vec::new(), Vec::new());
        for (key, owner) in &self.owners {
            // What a source allows goes by the namespace's labels.
            if mine(key) {
                changed.push(key.clone());
            } else if owner.mapping.as_ref().is_some_and(|mapping| differs(mapping)) {
                selecting.push(key.clone());
            }
            // It came, or goes, and is covered all the same.
            for (name, roles) in names.iter().filter_map(|name| Some((name, owner.targets.pairs.get(name)?))) {
                for (role, whose) in roles {
                    keys.extend(owner.cells.all_of(whose).flat_map(|cell| cell.keys_at(key, name, role)));
                }
            }
        }
        keys.into_iter().for_each(|key| self.queue.add(key));
        changed.iter().for_each(|key| self.evaluate(key));
        for key in selecting {
            let Some(owner) = self.owners.get(&key) else { continue };
            let (mapping, selected) = (owner.mapping.clone(), owner.selected.clone());
            if let Some(mapping) = mapping {
                self.retarget(&key, &mapping, selected);
            }
        }
        self.places.look = true;
        // What a namespace took along is recorded as gone: while it was going, its bindings were not looked at.
        let ledger = self.access.snapshot();
        for name in names.iter().filter(|name| !self.namespaces.contains_key(*name)) {
            ledger.state.in_namespace(name).for_each(|key| self.queue.add(key));
        }
        self.statuses_soon();
    }

    /// Makes the namespaces that are to be and are not, some at a time, and labels those that nothing maps.
    pub(super) fn look_at_places(&mut self, tick: bool) {
        let settled = self.started.elapsed() >= self.args.absence_delay;
        let due = tick && (!self.places.later.is_empty() || settled != self.places.settled);
        self.places.settled = settled;
        if !self.places.look && !due {
            return;
        }
        self.places.look = false;
        let now = Instant::now();
        self.places.later.retain(|_, at| *at > now);
        for (name, owner, made) in self.to_make() {
            if self.places.flying.len() >= AT_ONCE {
                // looked at again when one of them is answered
                break;
            }
            let body = self.namespace(&name, &owner, &made);
            self.send_place(name, Some(owner), Method::POST, body);
        }
        for (name, unused) in self.to_label() {
            if self.places.flying.len() >= AT_ONCE {
                break;
            }
            let value = if unused { json!("true") } else { Value::Null };
            let body = json!({"metadata": {"labels": {names::UNUSED: value}}});
            self.send_place(name, None, Method::PATCH, body);
        }
    }

    fn is_free(&self, name: &str) -> bool {
        !self.places.flying.contains(name) && !self.places.later.contains_key(name)
    }

    /// What is asked for by mappings that may grant something now, and is not there.
    fn to_make(&self) -> Vec<(String, MappingKey, Made)> {
        let mut found = Vec::new();
        for (key, owner) in self.owners.iter().filter(|(_, owner)| !owner.targets.made.is_empty()) {
            let now = self.circumstances(key);
            if now.holds.iter().any(|hold| !hold.passes(Column::Grant)) {
                continue;
            }
            let held = |source: &str| now.hold(Column::Grant, Some(source)).is_some() || self.source_state(source) != SourceState::Live;
            let missing = owner.targets.made.iter().filter(|(name, _)| !self.namespaces.contains_key(*name));
            let free = missing.filter(|(name, made)| self.is_free(name) && !made.source.as_deref().is_some_and(held));
            found.extend(free.take(AT_ONCE).map(|(name, made)| (name.clone(), key.clone(), made.clone())));
        }
        found.sort_by(|a, b| a.0.cmp(&b.0));
        found.dedup_by(|a, b| a.0 == b.0);
        found
    }

    /// The namespaces of ours whose label does not say whether anything maps them.
    fn to_label(&self) -> Vec<(String, bool)> {
        // of a mapping that cannot be read nobody knows what it maps
        let ledger = self.access.snapshot();
        let unread = self.owners.iter().any(|(key, owner)| {
            // another installation's mappings are none of ours
            let ours = owner.invalid.is_some() || ledger.state.mapping(key).is_some();
            owner.mapping.is_none() && !owner.ended && ours
        });
        let ours = |labels: &BTreeMap<String, String>| labels.contains_key(names::CLASS) && has_our_labels(labels, &self.installation);
        let covered: HashSet<&str> = self
            .owners
            .values()
            .flat_map(|owner| owner.targets.pairs.keys().map(String::as_str))
            .collect();
        let mine = self.namespaces.values().filter(|ns| !ns.terminating && ours(&ns.labels));
        mine.filter_map(|ns| {
            let unused = !covered.contains(ns.name.as_str());
            let differs = unused != ns.labels.contains_key(names::UNUSED);
            let known = !unused || (!unread && self.places.settled);
            (differs && known && self.is_free(&ns.name)).then(|| (ns.name.clone(), unused))
        })
        .collect()
    }

    fn namespace(&self, name: &str, owner: &MappingKey, made: &Made) -> Value {
        let mut labels = made.labels.clone();
        labels.insert(names::MANAGED_BY.to_owned(), names::MANAGED_BY_VALUE.to_owned());
        labels.insert(names::CLASS.to_owned(), self.installation.class.clone());
        labels.insert(names::JOURNAL.to_owned(), self.installation.journal.clone());
        let mut annotations = (*made.annotations).clone();
        annotations.insert(names::MAPPING.to_owned(), owner.to_string());
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels, "annotations": annotations}})
    }

    fn send_place(&mut self, name: String, asked_by: Option<MappingKey>, method: Method, body: Value) {
        self.places.flying.insert(name.clone());
        let (client, deadline) = (self.client.clone(), self.args.write_deadline);
        self.spawn(async move {
            let answer = match timeout(deadline, send(&client, &name, method, &body)).await {
                Ok(answer) => answer,
                Err(_) => Err((0, format!("no answer within {deadline:?}"))),
            };
            Done::Place(PlaceDone { name, asked_by, answer })
        });
    }

    /// One was answered.
    pub(super) fn placed(&mut self, done: PlaceDone) {
        let PlaceDone { name, asked_by, answer } = done;
        self.places.flying.remove(&name);
        self.places.look = true;
        let owner = asked_by.as_ref().and_then(|key| self.owners.get_mut(key));
        let was_failing = owner.is_some_and(|owner| owner.unmade.remove(&name).is_some());
        match answer {
            // It is there, and a watch shows it, or shows in a moment that it is gone again.
            Ok(()) => {
                tracing::info!(name, "made or labelled a namespace");
                self.places.later.insert(name, Instant::now() + SHOWN_WITHIN);
            }
            Err((409, _)) => drop(self.places.later.insert(name, Instant::now() + AGAIN)),
            Err((code, message)) => {
                tracing::warn!(name, code, message, "a namespace cannot be made or labelled");
                let human = code == 403 || code == 422;
                let again = if human { AGAIN_REFUSED } else { AGAIN };
                self.places.later.insert(name.clone(), Instant::now() + again);
                let refusal = Refusal::new("NamespaceNotMade", format!("the namespace {name:?} cannot be made: {message}"));
                if let Some(owner) = asked_by.as_ref().and_then(|key| self.owners.get_mut(key)) {
                    owner.unmade.insert(name, Failure { refusal, human });
                }
                self.statuses_soon();
            }
        }
        if was_failing {
            self.statuses_soon();
        }
    }
}

async fn send(client: &Client, name: &str, method: Method, body: &Value) -> Result<(), (u16, String)> {
    let wrong = |error: String| (0, error);
    let (path, kind) = match method {
        Method::POST => ("/api/v1/namespaces?fieldValidation=Strict".to_owned(), "application/json"),
        _ => (
            format!("/api/v1/namespaces/{name}?fieldValidation=Strict"),
            "application/merge-patch+json",
        ),
    };
    let request = Request::builder().method(method).uri(path).header(http::header::CONTENT_TYPE, kind);
    let bytes = serde_json::to_vec(body).map_err(|error| wrong(error.to_string()))?;
    let request = request.body(bytes).map_err(|error| wrong(error.to_string()))?;
    match client.request::<Namespace>(request).await {
        Ok(_) => Ok(()),
        Err(Error::Api(status)) => Err((status.code, status.message)),
        Err(error) => Err(wrong(error.to_string())),
    }
}
