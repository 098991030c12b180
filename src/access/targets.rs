//! Where a mapping grants what: the (role, namespace) pairs that it covers today, and what of its spec is refused. Who gets it is not asked here.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::key::MappingKind;
use super::mapping::{Mapping, Place};
use super::policy::{AccessPolicy, Refusal};
use crate::api::mapping::RoleRef;
use crate::api::source::{AllowedNamespaces, ScimSourceSpec};

/// A namespace, as far as it matters here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NamespaceInfo {
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// It is being deleted: in it we touch nothing.
    pub terminating: bool,
}

/// Namespaces by name.
pub type Namespaces = imbl::OrdMap<String, Arc<NamespaceInfo>>;

/// What one mapping covers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Targets {
    /// Namespace and role, for each that is granted.
    pub pairs: BTreeSet<(String, RoleRef)>,
    /// What of the spec is not granted, each once, sorted.
    pub refusals: Vec<Refusal>,
    /// Namespaces that the spec names and that do not exist (yet).
    pub missing: Vec<String>,
    /// Namespaces that the mapping covers and that are being deleted.
    pub terminating: BTreeSet<String>,
    /// A selector that selects nothing.
    pub empty_selector: bool,
}

impl Targets {
    /// Whether the role is granted in the namespace.
    pub fn has(&self, namespace: &str, role: &RoleRef) -> bool {
        self.roles(namespace).any(|r| r == role)
    }

    /// The roles that are granted in a namespace.
    pub fn roles<'a>(&'a self, namespace: &'a str) -> impl Iterator<Item = &'a RoleRef> + 'a {
        let first = (namespace.to_owned(), RoleRef::default());
        let rest = self.pairs.range(first..);
        rest.take_while(move |(ns, _)| ns == namespace).map(|(_, role)| role)
    }

    /// The namespaces in which anything is granted.
    pub fn namespaces(&self) -> BTreeSet<&str> {
        self.pairs.iter().map(|(namespace, _)| namespace.as_str()).collect()
    }
}

/// The sources that a mapping may use, in its order, and why not the others. `spec_of` gives the spec of a source that is known. One that does not exist
/// (yet) is no refusal; a RoleMapping does not use it, since nobody knows what it lets namespaces see.
pub fn usable_sources<'a>(
    mapping: &Mapping,
    namespaces: &Namespaces,
    spec_of: impl Fn(&str) -> Option<&'a ScimSourceSpec>,
) -> (Vec<Arc<str>>, Vec<Refusal>) {
    let (mut usable, mut refusals) = (Vec::new(), Vec::new());
    for source in &mapping.sources {
        let refused = match spec_of(source) {
            _ if mapping.key.kind == MappingKind::ClusterRoleMapping => None,
            None => continue,
            Some(spec) => {
                let labels = namespaces.get(&mapping.key.namespace).map(|ns| &ns.labels);
                let allowed = source_allows(source, spec.allowed_namespaces.as_ref(), &mapping.key.namespace, labels);
                allowed
                    .and_then(|()| source_shows(source, &spec.mappable_attributes, mapping))
                    .err()
            }
        };
        match refused {
            None => usable.push(source.clone()),
            Some(refusal) => refusals.push(refusal),
        }
    }
    (usable, refusals)
}

/// Whether a source allows RoleMappings of a namespace to use it.
pub fn source_allows(
    source: &str,
    allowed: Option<&AllowedNamespaces>,
    namespace: &str,
    labels: Option<&BTreeMap<String, String>>,
) -> Result<(), Refusal> {
    let none = BTreeMap::new();
    let what = match allowed {
        None => "it has no spec.allowedNamespaces, so that only ClusterRoleMappings may use it",
        Some(allowed) if allowed.selector.matches(labels.unwrap_or(&none)) => return Ok(()),
        Some(_) => "the namespace's labels do not match its spec.allowedNamespaces.selector",
    };
    Err(Refusal::new(
        "SourceNotAllowed",
        format!(
            "the ScimSource {source:?} does not allow RoleMappings of namespace {namespace:?}: {what}; ask whoever owns the source to allow the namespace"
        ),
    ))
}

/// Whether a source lets RoleMappings filter its people by what this one's filter reads: a filter tells who has which value.
fn source_shows(source: &str, mappable: &[String], mapping: &Mapping) -> Result<(), Refusal> {
    let beyond = mapping.members.as_ref().map(|filter| filter.beyond(mappable)).unwrap_or_default();
    if beyond.is_empty() {
        return Ok(());
    }
    Err(Refusal::new(
        "AttributeNotMappable",
        format!(
            "the ScimSource {source:?} does not let RoleMappings filter members by {}: it is not in its spec.mappableAttributes ({}); ask whoever owns the source to add it, or use a ClusterRoleMapping",
            beyond.join(", "),
            if mappable.is_empty() {
                "none".to_owned()
            } else {
                mappable.join(", ")
            }
        ),
    ))
}

/// All pairs. Without a policy nothing is refused here: what is granted already must not go because a file is missing, and the gate lets nothing new pass.
pub fn targets(mapping: &Mapping, namespaces: &Namespaces, policy: Option<&AccessPolicy>) -> Targets {
    let mut targets = Targets::default();
    if mapping.expired {
        return targets;
    }
    let mut refusals = BTreeSet::new();
    let mut missing = BTreeSet::new();
    for rule in &mapping.grants {
        if let Some(refusal) = policy.and_then(|p| p.role(rule.role.kind, &rule.role.name).err()) {
            refusals.insert(refusal);
            continue;
        }
        let mut found = false;
        let mut cover = |name: &str, named: bool| {
            if let Some(refusal) = policy.and_then(|p| p.namespace(name).err()) {
                // a selector never means a protected namespace; a name does, and must be told
                if named {
                    refusals.insert(refusal);
                }
                return;
            }
            match namespaces.get(name) {
                Some(ns) if ns.terminating => {
                    targets.terminating.insert(name.to_owned());
                }
                Some(_) => {
                    found = true;
                    targets.pairs.insert((name.to_owned(), rule.role.clone()));
                }
                None => {
                    missing.insert(name.to_owned());
                }
            }
        };
        match &rule.place {
            Place::Own => cover(&mapping.key.namespace, true),
            Place::Names(names) => names.iter().for_each(|name| cover(name, true)),
            Place::Labels(selector) => {
                namespaces
                    .values()
                    .filter(|ns| selector.matches(&ns.labels))
                    .for_each(|ns| cover(&ns.name, false));
                targets.empty_selector |= !found;
            }
        }
    }
    targets.refusals = refusals.into_iter().collect();
    targets.missing = missing.into_iter().collect();
    targets
}

/// The roles that a mapping grants in one namespace: what a change of one namespace changes, at the cost of one.
pub fn roles_in(mapping: &Mapping, namespace: &NamespaceInfo, policy: Option<&AccessPolicy>) -> BTreeSet<RoleRef> {
    if mapping.expired || namespace.terminating || policy.is_some_and(|p| p.namespace(&namespace.name).is_err()) {
        return BTreeSet::new();
    }
    let covers = |place: &Place| match place {
        Place::Own => mapping.key.namespace == namespace.name,
        Place::Names(names) => names.contains(&namespace.name),
        Place::Labels(selector) => selector.matches(&namespace.labels),
    };
    let allowed = |role: &RoleRef| policy.is_none_or(|p| p.role(role.kind, &role.name).is_ok());
    let rules = mapping.grants.iter().filter(|rule| covers(&rule.place) && allowed(&rule.role));
    rules.map(|rule| rule.role.clone()).collect()
}
