//! What mappings would change, with names and the why of each: computed by the controller's own pure functions from what was read. No client, no clock
//! but the time that comes in; how it looks is in `text`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use kube::ResourceExt;
use serde::Serialize;
use uuid::Uuid;

use super::holds::on;
use super::read::World;
use super::status::known;
use crate::access::binding::{Observed, SubjectRef};
use crate::access::budget::{Budget, Spending};
use crate::access::cells::{Aim, Basis, Cells};
use crate::access::desired::{Live, Owner, SourceState, Sources, View};
use crate::access::diff::{Replacement, diff};
use crate::access::gate::{Circumstances, Column, Hold};
use crate::access::key::{BindingKey, MappingKey, MappingKind};
use crate::access::ledger::{BindingId, Ledger, On};
use crate::access::mapping::Mapping;
use crate::access::names::{self, Installation};
use crate::access::newcomers::newcomers;
use crate::access::policy::{AccessPolicy, Refusal};
use crate::access::select::select;
use crate::access::source::{CompiledSource, limits_of};
use crate::access::targets::{NamespaceInfo, Namespaces, targets, usable_sources};
use crate::access::usernames::Usernames;
use crate::access::yields::Yields;
use crate::api::{ClusterRoleMapping, RoleMapping};
use crate::directory::Directory;

/// Everything that is shown.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// Each mapping that was asked for.
    pub mappings: Vec<MappingPlan>,
    /// What could not be read.
    pub notes: Vec<String>,
}

/// What one mapping would change.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MappingPlan {
    /// `RoleMapping/<namespace>/<name>` or `ClusterRoleMapping/<name>`.
    pub key: MappingKey,
    /// What of the spec is refused, or keeps it from being acted on.
    pub refusals: Vec<String>,
    /// What the mapping means and does not find, and whom it means and cannot grant anything.
    pub notes: Vec<String>,
    /// Who would get or lose what.
    pub changes: Vec<ChangeView>,
    /// How many people keep what they have.
    pub unchanged: usize,
}

/// One person, one role, one namespace.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ChangeView {
    /// The person is granted the role; else it is taken away.
    pub grant: bool,
    /// `User`, or whatever else somebody wrote into a binding.
    pub kind: String,
    /// Who, as the API server names them.
    pub name: String,
    /// `ClusterRole/view`.
    pub role: String,
    /// Where.
    pub namespace: String,
    /// Why.
    pub why: String,
    /// Why it waits, if it does: `Plan`, `Suspended`, `SourceSuspended`.
    pub waits: Option<&'static str>,
}

/// A mapping as it is, or as a file would make it.
pub enum Asked {
    /// A RoleMapping.
    Namespaced(Box<RoleMapping>),
    /// A ClusterRoleMapping.
    Cluster(Box<ClusterRoleMapping>),
}

impl Asked {
    fn compile(&self) -> Result<Mapping, Refusal> {
        match self {
            Self::Namespaced(object) => Mapping::of_role_mapping(object),
            Self::Cluster(object) => Mapping::of_cluster_role_mapping(object),
        }
    }

    fn class(&self) -> &str {
        match self {
            Self::Namespaced(object) => object.spec.class.as_deref().unwrap_or_default(),
            Self::Cluster(object) => object.spec.class.as_deref().unwrap_or_default(),
        }
    }

    /// Which one.
    pub fn key(&self) -> MappingKey {
        match self {
            Self::Namespaced(object) => MappingKey::role_mapping(object.namespace().unwrap_or_default(), object.name_any()),
            Self::Cluster(object) => MappingKey::cluster_role_mapping(object.name_any()),
        }
    }
}

/// The mappings of these names, or all that were read; of several kinds of name as the documentation of the verb has it.
///
/// # Errors
/// A name that is none, or of nothing.
pub fn named(world: &World, names: &[String], namespace: &str) -> Result<Vec<Asked>, String> {
    let here = |object: &&RoleMapping| {
        world
            .namespace
            .as_ref()
            .is_none_or(|ns| object.metadata.namespace.as_ref() == Some(ns))
    };
    let of_namespace = |object: &RoleMapping| Asked::Namespaced(Box::new(object.clone()));
    let of_cluster = |object: &ClusterRoleMapping| Asked::Cluster(Box::new(object.clone()));
    if names.is_empty() {
        let namespaced = world.role_mappings.iter().filter(here).map(of_namespace);
        return Ok(namespaced.chain(world.cluster_role_mappings.iter().map(of_cluster)).collect());
    }
    names
        .iter()
        .map(|name| {
            let found = match on(name, namespace)? {
                On::Mapping(key) if key.kind == MappingKind::ClusterRoleMapping => {
                    let mut all = world.cluster_role_mappings.iter();
                    all.find(|object| object.name_any() == key.name).map(of_cluster)
                }
                On::Mapping(key) => mapping_of(world, &key.namespace, &key.name).map(of_namespace),
                On::Source(_) => {
                    return Err(format!(
                        "{name} is no mapping: ClusterRoleMapping/<name> or RoleMapping/<namespace>/<name>"
                    ));
                }
            };
            found.ok_or_else(|| format!("there is no {name}, or you may not see it"))
        })
        .collect()
}

fn mapping_of<'a>(world: &'a World, namespace: &str, name: &str) -> Option<&'a RoleMapping> {
    let mut all = world.role_mappings.iter();
    all.find(|object| object.name_any() == name && object.metadata.namespace.as_deref() == Some(namespace))
}

/// Where somebody holds something.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    namespace: String,
    role: String,
    subject: SubjectRef,
}

/// What is the same for all mappings of one installation.
pub struct Ground<'a> {
    world: &'a World,
    namespaces: &'a Namespaces,
    policy: &'a AccessPolicy,
    observed: &'a [Observed],
    directory: Directory,
    ledger: &'a Ledger,
    installation: Installation,
    sources: BTreeMap<Arc<str>, Result<CompiledSource, Refusal>>,
    usernames: Usernames,
    group_names: Usernames,
}

impl<'a> Ground<'a> {
    /// Reads the directory as the controller of that class does.
    ///
    /// # Errors
    /// What is missing, for people.
    pub fn of(world: &'a World, policy: &'a AccessPolicy, observed: &'a [Observed], class: &str) -> Result<Self, String> {
        let ours = |of: &Option<String>| of.as_deref().unwrap_or_default() == class;
        let objects: Vec<_> = world.sources.iter().filter(|source| ours(&source.spec.class)).collect();
        let place = match world.installations.as_slice() {
            [only] => Some(only),
            _ => objects.iter().find_map(|source| world.installation_of(source)),
        };
        let place = place.ok_or_else(|| {
            format!("it is not known which of the cluster's installations acts for class {class:?}: no ScimSource's status names its journal yet")
        })?;
        let (Some(directory), Some(access)) = (&place.directory, &place.access) else {
            let namespace = &place.namespace;
            let notes = world.notes.join("; ");
            return Err(format!(
                "the journals in namespace {namespace} cannot be read, which needs get on journals and segments (rolecall.dev): {notes}"
            ));
        };
        let namespaces = world.namespaces.as_ref().ok_or("you may not list Namespaces")?;
        let directory = known(world, &directory.state);
        let sources: BTreeMap<Arc<str>, _> = objects
            .iter()
            .map(|object| (object.name_any().as_str().into(), CompiledSource::of(object)))
            .collect();
        let (mut usernames, mut group_names) = (Usernames::default(), Usernames::groups());
        for (name, compiled) in &sources {
            if let Ok(compiled) = compiled {
                usernames.update(&directory, name, &compiled.username, None);
                if let Some(group) = &compiled.group {
                    group_names.update(&directory, name, group, None);
                }
            }
        }
        Ok(Self {
            world,
            namespaces,
            policy,
            observed,
            directory,
            ledger: &access.state,
            installation: Installation {
                class: class.to_owned(),
                journal: place.id.clone(),
                predecessors: Vec::new(),
            },
            sources,
            usernames,
            group_names,
        })
    }

    /// What the mapping would change now.
    pub fn plan(&self, asked: &Asked, now: Timestamp) -> MappingPlan {
        let mut plan = MappingPlan {
            key: asked.key(),
            refusals: Vec::new(),
            notes: Vec::new(),
            changes: Vec::new(),
            unchanged: 0,
        };
        let mapping = match asked.compile() {
            Ok(mapping) => mapping.at(now),
            Err(refusal) => {
                plan.refusals.push(refusal.to_string());
                return plan;
            }
        };
        let spec_of = |name: &str| self.world.source(name).map(|source| &source.spec);
        let (usable, refused) = usable_sources(&mapping, self.namespaces, spec_of);
        let selected = select(&mapping, &usable, &self.directory);
        let yields = match Yields::default().of(&mapping, &selected, &self.directory) {
            Ok(yields) => yields,
            Err(refusal) => {
                plan.refusals.push(refusal.to_string());
                return plan;
            }
        };
        let waiting = newcomers(&mapping, &selected, &yields, &self.directory, self.ledger);
        let selected = selected.with_waiting(waiting.into_iter().map(|(group, _)| group).collect());
        let first = targets(&mapping, &selected, &yields, self.namespaces, Some(self.policy));
        // what the mapping makes is there when it grants something
        let mut namespaces = self.namespaces.clone();
        let made: Vec<String> = first
            .missing(self.namespaces)
            .filter(|name| first.made.contains_key(*name))
            .map(str::to_owned)
            .collect();
        for name in &made {
            let labels = first.made.get(name).map(|made| made.labels.clone()).unwrap_or_default();
            let info = NamespaceInfo {
                name: name.clone(),
                labels,
                terminating: false,
            };
            namespaces.insert(name.clone(), Arc::new(info));
        }
        let targets = targets(&mapping, &selected, &yields, &namespaces, Some(self.policy));
        plan.refusals
            .extend(refused.iter().chain(&targets.refusals).map(ToString::to_string));
        for name in &mapping.sources {
            match self.sources.get(name) {
                None => plan.refusals.push(format!(
                    "DependencyNotReady: there is no ScimSource {name} of this class, or you may not see it"
                )),
                Some(Err(refusal)) => plan.refusals.push(format!("ScimSource {name}: {refusal}")),
                Some(Ok(_)) => continue,
            }
            // whose people and groups count is not known: neither is what would change
            return plan;
        }
        let seen: BTreeMap<BindingKey, &Observed> = self
            .observed
            .iter()
            .filter_map(|observed| Some((names::identify(observed, &self.installation)?, observed)))
            .filter(|(key, _)| key.owner == mapping.key)
            .collect();
        let basis = Basis {
            owner: &mapping.key,
            directory: &self.directory,
            usernames: &self.usernames,
            group_names: &self.group_names,
        };
        let aim = Aim {
            selected: &selected,
            targets: &targets,
            everyone: mapping.is_for_everyone(),
            kinds: &mapping.subjects,
        };
        let cells = Cells::compute(&basis, aim, &|namespace, role| {
            let here = seen.keys().filter(|key| key.namespace == namespace && key.role == *role);
            here.map(|key| key.prefix).collect()
        });
        let live = |(name, compiled): (&Arc<str>, &Result<CompiledSource, Refusal>)| {
            let state = if compiled.is_ok() { SourceState::Live } else { SourceState::Frozen };
            (name.clone(), state)
        };
        let sources: Sources = self.sources.iter().map(live).collect();
        let view = View {
            owner: Owner::Live(Live {
                mapping: &mapping,
                usable: &usable,
                selected: &selected,
                cells: &cells,
                targets: &targets,
            }),
            directory: &self.directory,
            usernames: &self.usernames,
            group_names: &self.group_names,
            sources: &sources,
            namespaces: &namespaces,
            policy: Some(self.policy),
            ledger: self.ledger,
            installation: &self.installation,
        };
        let holds = Circumstances::asked_for(Some(&mapping), self.sources.values().flatten());
        let spending = Spending::of(self.ledger, now);
        let source_limits = limits_of(&self.sources);
        let mut budget = Budget::new(self.ledger, &spending, &mapping.key, mapping.limits(), &source_limits);
        let by_name: BTreeMap<(&str, &str), &Observed> =
            self.observed.iter().map(|o| ((o.namespace.as_str(), o.name.as_str()), o)).collect();
        let look = |key: &BindingKey| {
            let name = names::binding_name(key, &self.installation.class);
            by_name.get(&(key.namespace.as_str(), name.as_str())).copied()
        };
        let mut refused = 0;
        // Who only moves between bindings of the mapping neither gets nor loses anything.
        let (mut comes, mut goes, mut keeps) = (BTreeMap::new(), BTreeMap::new(), BTreeSet::new());
        for key in view.keys(seen.keys().cloned()) {
            let found = diff(&view, &key, &look, false);
            plan.refusals.extend(found.conflict.iter().map(ToString::to_string));
            let id = BindingId::of(&key, &self.installation.class);
            let place = |subject: &SubjectRef| Place {
                namespace: key.namespace.clone(),
                role: format!("{}/{}", key.role.kind.as_str(), key.role.name),
                subject: subject.clone(),
            };
            refused += found.refused;
            let leaves: BTreeSet<_> = found.removals.iter().map(|removal| &removal.subject).collect();
            let stays = found
                .base
                .iter()
                .flat_map(|base| base.subjects.iter())
                .filter(|subject| !leaves.contains(subject));
            keeps.extend(stays.map(place));
            for add in found.adds {
                let hold = holds.hold(Column::Grant, Some(&add.grantee.source));
                let waits = hold.or(add.waits.then_some(Hold::NewGroup)).map(Hold::reason);
                let reason = (add.why.to_string(), waits, Some(add.grantee.user));
                comes.insert(place(&add.grantee.subject()), reason);
            }
            for mut removal in found.removals {
                let lost = removal.replacement == Replacement::None;
                let waits = holds.hold_removal(&id, &mut removal, lost, &mut budget).map(Hold::reason);
                let user = removal.grantee.as_ref().map(|grantee| grantee.user);
                goes.insert(place(&removal.subject), (removal.why.to_string(), waits, user));
            }
        }
        type Change = (String, Option<&'static str>, Option<Uuid>);
        let same = |a: &Change, b: &Change| a.1 == b.1 && a.2 == b.2;
        let moves = |(place, goes): &(&Place, &Change)| keeps.contains(*place) || comes.get(*place).is_some_and(|comes| same(comes, goes));
        let moved: BTreeSet<Place> = goes.iter().filter(moves).map(|(place, _)| place.clone()).collect();
        comes.retain(|place, _| !moved.contains(place) && !keeps.contains(place));
        goes.retain(|place, _| !moved.contains(place));
        let view = |grant: bool, (place, (why, waits, _)): (Place, Change)| ChangeView {
            grant,
            kind: place.subject.kind,
            name: match place.subject.namespace {
                Some(namespace) => format!("{namespace}/{}", place.subject.name),
                None => place.subject.name,
            },
            role: place.role,
            namespace: place.namespace,
            why,
            waits,
        };
        let granted = comes.into_iter().map(|one| view(true, one));
        plan.changes = granted.chain(goes.into_iter().map(|one| view(false, one))).collect();
        plan.changes
            .sort_by(|a, b| (&a.namespace, &a.role, !a.grant, &a.name).cmp(&(&b.namespace, &b.role, !b.grant, &b.name)));
        keeps.extend(moved);
        plan.unchanged = keeps.into_iter().map(|place| place.subject).collect::<BTreeSet<_>>().len();
        let mut note = |what: &str, list: &[String]| {
            if !list.is_empty() {
                plan.notes.push(format!("{what}: {}", list.join(", ")));
            }
        };
        note(
            "no group bears this name or id, or matches the filter or pattern",
            &selected.unmatched,
        );
        note("several groups bear the name, the oldest counts", &selected.ambiguous);
        note("namespaces that would be made", &made);
        let missing: Vec<String> = targets.missing(&namespaces).map(str::to_owned).collect();
        note("there is no such namespace yet", &missing);
        plan.notes.extend(targets.refused.iter().map(|((source, n), refusal)| {
            let name = self
                .directory
                .source(source)
                .and_then(|s| s.get(*n))
                .map(|group| group.name.clone());
            format!("the group {:?} is granted nothing by {refusal}", name.unwrap_or_default())
        }));
        if targets.empty_selector {
            plan.notes.push("a selector selects no namespace".to_owned());
        }
        if refused > 0 {
            plan.notes.push(format!(
                "{refused} usernames must not or may not be granted anything, counted once a binding"
            ));
        }
        plan.refusals.sort();
        plan.refusals.dedup();
        plan
    }
}

/// Plans each of them; a class is read once.
///
/// # Errors
/// What is missing, for people.
pub fn plan(world: &World, asked: &[Asked], policy: &AccessPolicy, observed: &[Observed], now: Timestamp) -> Result<Plan, String> {
    let mut plan = Plan {
        notes: world.notes.clone(),
        ..Plan::default()
    };
    let classes: BTreeSet<&str> = asked.iter().map(Asked::class).collect();
    for class in classes {
        let ground = Ground::of(world, policy, observed, class)?;
        let of_class = asked.iter().filter(|one| one.class() == class);
        plan.mappings.extend(of_class.map(|one| ground.plan(one, now)));
    }
    plan.mappings.sort_by(|a, b| a.key.cmp(&b.key));
    Ok(plan)
}

impl Plan {
    /// Whether anybody would get or lose anything.
    pub fn changes(&self) -> bool {
        self.mappings.iter().any(|mapping| !mapping.changes.is_empty())
    }

    /// Whether something of a mapping is refused, so that the plan is not all of it.
    pub fn refused(&self) -> bool {
        self.mappings.iter().any(|mapping| !mapping.refusals.is_empty())
    }
}
