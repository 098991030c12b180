//! What the engine knows of each mapping and source between two looks: compiled specs, people, places, shards. Values and pure steps only.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::access::key::{BindingKey, MappingKey};
use crate::access::mapping::{Mapping, Place as Where};
use crate::access::people::People;
use crate::access::policy::{AccessPolicy, Refusal};
use crate::access::select::Selected;
use crate::access::shard::{Layout, Prefix};
use crate::access::username::Expression;
use crate::api::ScimSource;
use crate::api::mapping::RoleRef;
use crate::api::selector::Selector;

use super::observe::Kept;
use super::world::Place;

/// One place where a mapping grants one role.
pub type Target = (String, RoleRef);

/// A source, compiled.
pub struct SourceRun {
    /// The UID of the ScimSource.
    pub uid: String,
    /// The generation that was compiled.
    pub generation: i64,
    /// The username expression, or what is wrong with it or its examples.
    pub expression: Result<Expression, Refusal>,
    /// Whose RoleMappings may use it.
    pub allowed: Option<Selector>,
    /// Holds new grants.
    pub suspend: bool,
}

impl SourceRun {
    /// Compiles a ScimSource.
    pub fn of(object: &ScimSource) -> Self {
        let subject = &object.spec.subject;
        let expression = Expression::compile(&subject.username)
            .map_err(|error| Refusal::new("InvalidExpression", format!("spec.subject.username: {error}")))
            .and_then(|expression| {
                let wrong = expression.check(subject.examples.iter().map(|e| (&e.user, e.expect.as_str())));
                if wrong.is_empty() {
                    Ok(expression)
                } else {
                    Err(Refusal::new("ExampleFailed", format!("spec.subject: {}", wrong.join("; "))))
                }
            });
        Self {
            uid: object.metadata.uid.clone().unwrap_or_default(),
            generation: object.metadata.generation.unwrap_or_default(),
            expression,
            allowed: object.spec.allowed_namespaces.as_ref().map(|a| a.selector.clone()),
            suspend: object.spec.suspend,
        }
    }
}

/// A mapping, as far as it is evaluated.
#[derive(Default)]
pub struct Owner {
    /// The compiled mapping; `None` when there is none, or none that can be read: then only what the provider said is taken away.
    pub mapping: Option<Arc<Mapping>>,
    /// The UID of the object; empty when there is none.
    pub uid: String,
    /// The generation that was looked at.
    pub generation: i64,
    /// Why there is no compiled mapping, or why it grants nothing.
    pub problem: Option<Refusal>,
    /// The sources that it may use and that are there.
    pub sources: Vec<Arc<str>>,
    /// The groups.
    pub selected: Selected,
    /// The people.
    pub people: People,
    /// Where what is granted.
    pub targets: BTreeSet<Target>,
    /// The shards of each target.
    pub layouts: BTreeMap<Target, Layout>,
    /// What the guards refuse.
    pub refusals: BTreeSet<Refusal>,
    /// What Kubernetes refuses, by binding.
    pub failing: BTreeMap<BindingKey, String>,
    /// What the gate holds, by binding: grants and removals.
    pub held: BTreeMap<BindingKey, (usize, usize)>,
    /// It was deleted, and that counts: everything goes.
    pub ended: bool,
}

impl Owner {
    /// Whether nothing can be said of what is to be: then only what the provider said is taken away.
    pub fn frozen(&self) -> bool {
        self.mapping.is_none() && !self.ended
    }

    /// The shards of a target.
    pub fn layout(&self, namespace: &str, role: &RoleRef) -> Option<&Layout> {
        self.layouts.get(&(namespace.to_owned(), role.clone()))
    }

    /// The keys of all bindings that are to be.
    pub fn keys(&self, owner: &MappingKey) -> Vec<BindingKey> {
        let all = self.layouts.iter().flat_map(|(target, layout)| layout.shards().map(move |prefix| key(owner, target, prefix)));
        all.collect()
    }

    /// The keys that hold these hashes, in every target.
    pub fn keys_of(&self, owner: &MappingKey, hashes: &[u64]) -> BTreeSet<BindingKey> {
        let mut keys = BTreeSet::new();
        for (target, layout) in &self.layouts {
            keys.extend(hashes.iter().map(|hash| key(owner, target, layout.shard_of(*hash))));
        }
        keys
    }

    /// Fits the shards to the people; the keys of shards that came or went.
    pub fn fit(&mut self, owner: &MappingKey, touched: Option<&[u64]>) -> Vec<BindingKey> {
        let people = &self.people;
        let mut changed = Vec::new();
        for (target, layout) in &mut self.layouts {
            let after = layout.fit(people, touched);
            let (came, went) = layout.changes(&after);
            *layout = after;
            changed.extend(came.into_iter().chain(went).map(|prefix| key(owner, target, prefix)));
        }
        changed
    }

    /// Computes the targets anew for these namespaces (`None`: for all). Gives the namespaces where something changed.
    pub fn place(
        &mut self,
        namespaces: &Kept<Place>,
        only: Option<&[String]>,
        policy: &AccessPolicy,
        observed: impl Fn(&Target) -> Vec<Prefix>,
    ) -> BTreeSet<String> {
        let Some(mapping) = self.mapping.clone() else { return BTreeSet::new() };
        let mut targets: BTreeSet<Target> = match only {
            None => BTreeSet::new(),
            Some(only) => self.targets.iter().filter(|(namespace, _)| !only.contains(namespace)).cloned().collect(),
        };
        if only.is_none() {
            self.refusals.clear();
        }
        for rule in &mapping.grants {
            if let Err(refusal) = policy.role(rule.role.kind, &rule.role.name) {
                self.refusals.insert(refusal);
                continue;
            }
            let mut consider = |name: &String, place: &Place| {
                if place.terminating {
                    return;
                }
                match policy.namespace(name) {
                    Ok(()) => {
                        targets.insert((name.clone(), rule.role.clone()));
                    }
                    Err(refusal) => {
                        self.refusals.insert(refusal);
                    }
                }
            };
            let chosen: Box<dyn Iterator<Item = (&String, &Place)>> = match &rule.place {
                Where::Own => Box::new(namespaces.items().get_key_value(&mapping.key.namespace).into_iter()),
                Where::Names(names) => Box::new(names.iter().filter_map(|name| namespaces.items().get_key_value(name))),
                Where::Labels(selector) => Box::new(namespaces.items().iter().filter(|(_, place)| selector.matches(&place.labels))),
            };
            for (name, place) in chosen.filter(|(name, _)| only.is_none_or(|only| only.contains(name))) {
                consider(name, place);
            }
        }
        let changed: BTreeSet<String> = self.targets.symmetric_difference(&targets).map(|(namespace, _)| namespace.clone()).collect();
        self.layouts.retain(|target, _| targets.contains(target));
        for target in &targets {
            if !self.layouts.contains_key(target) {
                let layout = Layout::of(observed(target)).fit(&self.people, None);
                self.layouts.insert(target.clone(), layout);
            }
        }
        self.targets = targets;
        changed
    }
}

/// The key of one shard of a target.
pub fn key(owner: &MappingKey, target: &Target, prefix: Prefix) -> BindingKey {
    BindingKey { owner: owner.clone(), namespace: target.0.clone(), role: target.1.clone(), prefix }
}
