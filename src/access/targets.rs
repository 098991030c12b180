//! Where a mapping grants what: the (role, namespace) pairs that it covers today, whose groups' each is, and what of its spec is refused. Who is in the groups is not asked here.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::creation::{Creation, Made};
use super::key::MappingKind;
use super::mapping::Mapping;
use super::policy::{AccessPolicy, Refusal};
use super::rule::{GrantRule, Place, Role};
use super::select::{Group, Selected};
use super::shard::SubjectKind;
use super::yields::Yields;
use crate::api::mapping::RoleRef;
use crate::api::selector::Selector;
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

/// Who is granted something somewhere: the members of all the mapping's groups, or those of some.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Whose {
    /// Of all.
    Everyone,
    /// Of these, in the order of the selection.
    Groups(Arc<[Group]>),
}

/// What one mapping covers, whether or not the namespaces exist.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Targets {
    /// For each namespace, each role that is granted there, and to whom.
    pub pairs: BTreeMap<String, BTreeMap<RoleRef, Whose>>,
    /// The roles among them.
    pub roles: BTreeSet<RoleRef>,
    /// What of the spec is not granted, each once, sorted.
    pub refusals: Vec<Refusal>,
    /// The groups that are granted nothing by some rule, each with one reason.
    pub refused: BTreeMap<Group, Refusal>,
    /// The namespaces that are made if they are not there, and how.
    pub made: BTreeMap<String, Made>,
    /// A selector that selects nothing.
    pub empty_selector: bool,
}

impl Targets {
    /// Who is granted the role in the namespace.
    pub fn whose(&self, namespace: &str, role: &RoleRef) -> Option<&Whose> {
        self.pairs.get(namespace)?.get(role)
    }

    /// Whether the role is granted in the namespace.
    pub fn has(&self, namespace: &str, role: &RoleRef) -> bool {
        self.whose(namespace, role).is_some()
    }

    /// Namespace, role, and who is granted it there.
    pub fn iter(&self) -> impl Iterator<Item = (&String, &RoleRef, &Whose)> {
        self.pairs
            .iter()
            .flat_map(|(namespace, roles)| roles.iter().map(move |(role, whose)| (namespace, role, whose)))
    }

    /// The namespaces in which anything is granted now: those that exist and are not going.
    pub fn namespaces<'a>(&'a self, all: &'a Namespaces) -> impl Iterator<Item = &'a str> {
        let names = self.pairs.keys().map(String::as_str);
        names.filter(|name| all.get(*name).is_some_and(|ns| !ns.terminating))
    }

    /// The namespaces in which something is to be granted and that do not exist (yet).
    pub fn missing<'a>(&'a self, all: &'a Namespaces) -> impl Iterator<Item = &'a str> {
        let names = self.pairs.keys().map(String::as_str);
        names.filter(|name| !name.is_empty() && !all.contains_key(*name))
    }

    /// Whether anything is granted in the whole cluster: the namespace without a name.
    pub fn is_wide(&self) -> bool {
        self.pairs.contains_key("")
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
        if let Some(spec) = spec_of(source)
            && mapping.subjects.contains(&SubjectKind::Group)
            && spec.subject.group.is_none()
        {
            // its people are granted what they are granted all the same
            refusals.push(Refusal::new(
                "GroupNameMissing",
                format!(
                    "spec.subjects grants to groups, and the ScimSource {source:?} has no spec.subject.group, which says what they are called in the API server: ask whoever owns the source to set it"
                ),
            ));
        }
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
pub fn targets(mapping: &Mapping, selected: &Selected, yields: &Yields, namespaces: &Namespaces, policy: Option<&AccessPolicy>) -> Targets {
    let mut targets = Targets::default();
    if mapping.expired {
        return targets;
    }
    let mut found = Found::default();
    let allowed = |role: &RoleRef, place: &Place| {
        policy.map_or(Ok(()), |p| match place {
            Place::Everywhere => p.cluster_wide(role),
            _ => p.role(role.kind, &role.name),
        })
    };
    let open = |namespace: &str| policy.filter(|_| !namespace.is_empty()).map_or(Ok(()), |p| p.namespace(namespace));
    let makes = |rule: &GrantRule| -> Result<(), Refusal> {
        let mut keys = rule.create.iter().flat_map(Creation::label_keys);
        policy.map_or(Ok(()), |p| keys.try_for_each(|(key, value)| p.label(key, value)))
    };
    // the places of the rules that name them, by rule
    let mut places: Vec<BTreeSet<String>> = Vec::new();
    for rule in &mapping.grants {
        found
            .refusals
            .extend(rule.role.all().iter().filter_map(|role| allowed(role, &rule.place).err()));
        found.refusals.extend(makes(rule).err());
        let here = match &rule.place {
            Place::Own => BTreeSet::from([mapping.key.namespace.clone()]),
            Place::Names(names) => names.clone(),
            Place::Labels(selector) => {
                // a selector never means a protected namespace; a name does, and must be told
                let selects = |ns: &&Arc<NamespaceInfo>| selector.matches(&ns.labels) && open(&ns.name).is_ok();
                let here: BTreeSet<String> = namespaces.values().filter(selects).map(|ns| ns.name.clone()).collect();
                targets.empty_selector |= here.is_empty();
                here
            }
            Place::Everywhere => BTreeSet::from([String::new()]),
            Place::Yielded(_) => BTreeSet::new(),
        };
        let (refused, here): (Vec<_>, BTreeSet<_>) = split(here, open);
        found.refusals.extend(refused);
        if let Role::Named(role) = &rule.role
            && allowed(role, &rule.place).is_ok()
            && !rule.is_by_group()
        {
            here.iter().for_each(|namespace| found.everyone(namespace, role));
        }
        let grants = rule.role.all().iter().any(|role| allowed(role, &rule.place).is_ok());
        if let (Some(create), Ok(()), true) = (&rule.create, makes(rule), grants) {
            let made = || create.made();
            for namespace in &here {
                targets.made.entry(namespace.clone()).or_insert_with(made);
            }
        }
        places.push(here);
    }
    for (n, group) in selected.groups.iter().enumerate() {
        let Some(yields) = yields.get(group) else { continue };
        let mut refused = yields.refusals.first().cloned();
        for grant in &yields.grants {
            let Some(rule) = mapping
                .grants
                .get(grant.rule)
                .filter(|rule| allowed(&grant.role, &rule.place).is_ok())
            else {
                continue;
            };
            match &grant.namespace {
                Some(namespace) => match open(namespace) {
                    Ok(()) => {
                        found.group(namespace, &grant.role, n);
                        // for a group that waits for an approval nothing is done
                        let waits = selected.waiting.contains(group);
                        if let Some(made) = grant.made.as_ref().filter(|_| !waits && makes(rule).is_ok()) {
                            targets.made.entry(namespace.clone()).or_insert_with(|| made.clone());
                        }
                    }
                    Err(refusal) => refused = refused.or(Some(refusal)),
                },
                None => {
                    let here = places.get(grant.rule).into_iter().flatten();
                    here.for_each(|namespace| found.group(namespace, &grant.role, n));
                }
            }
        }
        if let Some(refusal) = refused {
            targets.refused.insert(group.clone(), refusal);
        }
    }
    targets.refusals = std::mem::take(&mut found.refusals).into_iter().collect();
    (targets.pairs, targets.roles) = found.pairs(selected);
    targets
}

fn split(names: BTreeSet<String>, open: impl Fn(&str) -> Result<(), Refusal>) -> (Vec<Refusal>, BTreeSet<String>) {
    let mut refused = Vec::new();
    let here = names.into_iter().filter(|name| match open(name) {
        Ok(()) => true,
        Err(refusal) => {
            refused.push(refusal);
            false
        }
    });
    let here = here.collect();
    (refused, here)
}

/// Pairs as they are found: everybody's, or those of the groups of these positions in the selection.
#[derive(Default)]
struct Found {
    pairs: BTreeMap<String, BTreeMap<RoleRef, Option<BTreeSet<usize>>>>,
    refusals: BTreeSet<Refusal>,
}

impl Found {
    fn everyone(&mut self, namespace: &str, role: &RoleRef) {
        self.pairs.entry(namespace.to_owned()).or_default().insert(role.clone(), None);
    }

    fn group(&mut self, namespace: &str, role: &RoleRef, n: usize) {
        let roles = match self.pairs.get_mut(namespace) {
            Some(roles) => roles,
            None => self.pairs.entry(namespace.to_owned()).or_default(),
        };
        match roles.get_mut(role) {
            Some(None) => {}
            Some(Some(groups)) => drop(groups.insert(n)),
            None => drop(roles.insert(role.clone(), Some(BTreeSet::from([n])))),
        }
    }

    fn pairs(self, selected: &Selected) -> (BTreeMap<String, BTreeMap<RoleRef, Whose>>, BTreeSet<RoleRef>) {
        // the same groups are kept once
        let mut known: HashMap<BTreeSet<usize>, Arc<[Group]>> = HashMap::new();
        let mut all = BTreeSet::new();
        let mut whose = |groups: Option<BTreeSet<usize>>| match groups {
            None => Whose::Everyone,
            Some(groups) => match known.get(&groups) {
                Some(same) => Whose::Groups(same.clone()),
                None => {
                    let these: Arc<[Group]> = groups.iter().filter_map(|n| selected.groups.get(*n)).cloned().collect();
                    known.insert(groups, these.clone());
                    Whose::Groups(these)
                }
            },
        };
        let mut pairs = BTreeMap::new();
        for (namespace, roles) in self.pairs {
            all.extend(roles.keys().filter(|role| !all.contains(*role)).cloned().collect::<Vec<_>>());
            let roles: BTreeMap<RoleRef, Whose> = roles.into_iter().map(|(role, groups)| (role, whose(groups))).collect();
            pairs.insert(namespace, roles);
        }
        (pairs, all)
    }
}

/// Whether the mapping covers other namespaces when this one, of that name, changes so: only its labels can select it.
pub fn covers_otherwise(mapping: &Mapping, before: Option<&NamespaceInfo>, after: Option<&NamespaceInfo>) -> bool {
    let selects = |selector: &Selector, ns: Option<&NamespaceInfo>| ns.is_some_and(|ns| selector.matches(&ns.labels));
    mapping.grants.iter().any(|rule| match &rule.place {
        Place::Labels(selector) => selects(selector, before) != selects(selector, after),
        Place::Own | Place::Names(_) | Place::Yielded(_) | Place::Everywhere => false,
    })
}
