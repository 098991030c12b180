//! What each group of a mapping yields: roles and namespaces by expression, checked again whatever the expression says. Who is in the groups is in `people`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Map, Value};
use uuid::Uuid;

use super::creation::Made;
use super::expression::Expression;
use super::key::MappingKind;
use super::mapping::{GroupSelector, Mapping};
use super::policy::Refusal;
use super::rule::{GrantRule, Place, Role};
use super::select::{Group, Selected};
use crate::api::mapping::RoleRef;
use crate::directory::{Directory, Resource};

/// What the evaluations for all groups of a ClusterRoleMapping may use together: a usual one takes some 100, so that it lasts for 10,000 groups and 24 rules
/// with three expressions each; and some seconds at worst.
const FUEL: usize = 1 << 27;
/// The same for a RoleMapping, whose author only owns a namespace.
const FUEL_OF_ROLE_MAPPING: usize = 1 << 23;
/// Why a mapping whose expressions take too many steps is not obeyed.
pub const TOO_COSTLY: &str = "TooCostly";
/// How much of a text that a provider chose is shown in a message, in characters.
const SHOWN: usize = 64;

/// What one group yields by one rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Yielded {
    /// Which rule of the mapping.
    pub rule: usize,
    /// The role.
    pub role: RoleRef,
    /// The namespace, if the rule's expression yields it; else the rule says where.
    pub namespace: Option<String>,
    /// How the namespace is made, if it is not there.
    pub made: Option<Made>,
}

/// What one group yields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Yield {
    /// By the rules that depend on the group, in their order.
    pub grants: Vec<Yielded>,
    /// Why not by others.
    pub refusals: Vec<Refusal>,
}

impl Yield {
    /// What the group is granted by expressions, for people and to compare: `ClusterRole/edit in team-a`, each once, sorted.
    pub fn text(&self, mapping: &Mapping) -> String {
        let of = |grant: &Yielded| {
            let place = match &grant.namespace {
                Some(namespace) => format!("in {namespace}"),
                None => mapping.grants.get(grant.rule).map(|rule| rule.place.text()).unwrap_or_default(),
            };
            format!("{}/{} {place}", grant.role.kind.as_str(), grant.role.name)
        };
        let all: BTreeSet<String> = self.grants.iter().map(of).collect();
        all.into_iter().collect::<Vec<_>>().join(", ")
    }
}

/// What the groups of a mapping yield. What is known of a group is kept as long as it is called the same.
#[derive(Clone, Debug, Default)]
pub struct Yields {
    by_group: BTreeMap<Group, Known>,
}

#[derive(Clone, Debug)]
struct Known {
    id: Uuid,
    name: Arc<str>,
    external_id: Option<Arc<str>>,
    yields: Arc<Yield>,
    /// What its evaluations used.
    used: usize,
}

impl Known {
    fn is_of(&self, group: &Resource) -> bool {
        self.id == group.id && self.name == group.name && self.external_id == group.external_id
    }
}

impl Yields {
    /// What the selected groups yield; evaluates only what it does not know.
    ///
    /// # Errors
    /// `TooCostly` when the evaluations of all groups, known or not, take too many steps. What the mapping means is then not known: to take it for nothing
    /// would take access away because of a bound of ours.
    pub fn of(&self, mapping: &Mapping, selected: &Selected, directory: &Directory) -> Result<Self, Refusal> {
        let mut by_group = BTreeMap::new();
        if !mapping.is_by_group() {
            return Ok(Self { by_group });
        }
        let allowed = match mapping.key.kind {
            MappingKind::RoleMapping => FUEL_OF_ROLE_MAPPING,
            MappingKind::ClusterRoleMapping => FUEL,
        };
        let mut used = 0;
        for group in &selected.groups {
            let Some(resource) = directory.source(&group.0).and_then(|source| source.get(group.1)) else {
                continue;
            };
            let known = self.by_group.get(group).filter(|known| known.is_of(resource));
            let known = known.cloned().unwrap_or_else(|| {
                let mut fuel = usize::MAX;
                Known {
                    id: resource.id,
                    name: resource.name.clone(),
                    external_id: resource.external_id.clone(),
                    yields: Arc::new(yields(mapping, &group.0, resource, &mut fuel)),
                    used: usize::MAX - fuel,
                }
            });
            used += known.used;
            if used > allowed {
                return Err(Refusal::new(
                    TOO_COSTLY,
                    format!(
                        "the expressions of spec.grants take more than {allowed} steps for its {} groups: nothing is granted or taken away, but whom a provider disables or deletes loses access; make the expressions simpler, or have several mappings share the groups",
                        selected.groups.len()
                    ),
                ));
            }
            by_group.insert(group.clone(), known);
        }
        Ok(Self { by_group })
    }

    /// What one group yields.
    pub fn get(&self, group: &Group) -> Option<&Arc<Yield>> {
        self.by_group.get(group).map(|known| &known.yields)
    }
}

/// What a group yields by those rules of the mapping that depend on it.
fn yields(mapping: &Mapping, name: &str, group: &Resource, fuel: &mut usize) -> Yield {
    let mut seen = Map::new();
    seen.insert("id".to_owned(), group.id.to_string().into());
    seen.insert("displayName".to_owned(), (*group.name).into());
    if let Some(external_id) = &group.external_id {
        seen.insert("externalId".to_owned(), (**external_id).into());
    }
    let captured = match &mapping.groups {
        GroupSelector::Pattern(pattern) => pattern.captured(&group.name).unwrap_or_default(),
        _ => Map::new(),
    };
    let source = Map::from_iter([("name".to_owned(), Value::from(name))]);
    let variables: [(&str, &Map<String, Value>); 3] = [("group", &seen), ("match", &captured), ("source", &source)];
    let mut found = Yield::default();
    for (i, rule) in mapping.grants.iter().enumerate().filter(|(_, rule)| rule.is_by_group()) {
        match yielded(i, rule, &variables, fuel) {
            Ok(mut yielded) => {
                if let (Some(_), Some(create)) = (&yielded.namespace, &rule.create) {
                    match create.yields(i, name, &variables, fuel) {
                        Ok(made) => yielded.made = Some(made),
                        Err(refusal) => found.refusals.push(refusal),
                    }
                }
                found.grants.push(yielded);
            }
            Err(refusal) => found.refusals.push(refusal),
        }
    }
    found
}

fn yielded(i: usize, rule: &GrantRule, variables: &[(&str, &Map<String, Value>)], fuel: &mut usize) -> Result<Yielded, Refusal> {
    let mut text = |expression: &Expression, what: &str| {
        expression.yields(variables, fuel).map_err(|error| {
            Refusal::new(
                "NothingYielded",
                format!("spec.grants[{i}]: the expression for the {what}: {error}"),
            )
        })
    };
    let role = match &rule.role {
        Role::Named(role) => role.clone(),
        Role::Yielded { kind, expression, one_of } => {
            let name = text(expression, "role")?;
            if !one_of.contains(&name) {
                return Err(Refusal::new(
                    "RoleNotListed",
                    format!(
                        "spec.grants[{i}]: the expression for the role yields {}, which is not in oneOf: {}",
                        shown(&name),
                        one_of.join(", ")
                    ),
                ));
            }
            RoleRef { kind: *kind, name }
        }
    };
    let namespace = match &rule.place {
        Place::Yielded(expression) => {
            let name = text(expression, "namespace")?;
            if !is_label(&name) {
                return Err(Refusal::new(
                    "NamespaceNotValid",
                    format!(
                        "spec.grants[{i}]: the expression for the namespace yields {}, which is no name of a namespace: at most 63 lower case letters, digits and '-', with a letter or digit at both ends (RFC 1123)",
                        shown(&name)
                    ),
                ));
            }
            Some(name)
        }
        Place::Own | Place::Names(_) | Place::Labels(_) | Place::Everywhere => None,
    };
    Ok(Yielded {
        rule: i,
        role,
        namespace,
        made: None,
    })
}

/// Whether it can be the name of a namespace: a label of RFC 1123.
pub fn is_label(name: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=63).contains(&name.len()) && name.bytes().all(inner) && !name.starts_with('-') && !name.ends_with('-')
}

fn shown(text: &str) -> String {
    let mut cut: String = text.chars().take(SHOWN).collect();
    if cut.len() < text.len() {
        cut.push('…');
    }
    format!("{cut:?}")
}
