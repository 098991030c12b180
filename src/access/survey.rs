//! What stands in the cluster beside what Rolecall grants: bindings of others that name people whom a provider disabled, or groups that a mapping has; and roles
//! that are not what they were. It is told; nothing is changed by it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use k8s_openapi::api::rbac::v1::PolicyRule;
use ring::digest::{SHA256, digest};

use super::binding::SubjectRef;
use super::names::hex;
use super::usernames::Usernames;

/// How many bindings are named of each finding; the rest is counted.
const SHOWN: usize = 5;

/// A binding that is not Rolecall's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Foreign {
    /// Its namespace; empty for a ClusterRoleBinding.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its subjects, without ServiceAccounts.
    pub subjects: Vec<SubjectRef>,
}

/// Bindings with something in common.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// How many.
    pub count: usize,
    /// The first of them, as `RoleBinding team-a/name`.
    pub shown: Vec<String>,
}

/// What was found of one source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unmanaged {
    /// They name somebody whom the provider disabled.
    pub disabled: Findings,
    /// They name a group that a mapping grants something to, or through.
    pub groups: Findings,
    /// They name people of the source by another prefix than its usernames have, and none by that: with what prefix, and how many.
    pub prefixes: BTreeMap<String, usize>,
}

/// What a survey compares with.
pub struct Basis<'a> {
    /// Who is called what.
    pub usernames: &'a Usernames,
    /// The names of the groups that mappings have, as the provider and as the API server know them, and their sources.
    pub groups: HashMap<String, Arc<str>>,
    /// What the username of an active person is without its prefix, and of which source the person is.
    pub bare: HashMap<&'a str, (&'a str, Arc<str>)>,
}

impl Findings {
    fn add(&mut self, binding: &Foreign) {
        self.count += 1;
        if self.shown.len() < SHOWN {
            self.shown.push(match binding.namespace.as_str() {
                "" => format!("ClusterRoleBinding {}", binding.name),
                namespace => format!("RoleBinding {namespace}/{}", binding.name),
            });
        }
    }
}

/// A username in two: the prefix, up to and with the last colon, and the rest.
pub fn split(username: &str) -> (&str, &str) {
    username.split_at(username.rfind(':').map_or(0, |colon| colon + 1))
}

/// What the bindings of others have to do with each source.
pub fn survey<'b>(basis: &Basis<'_>, bindings: impl IntoIterator<Item = &'b Foreign>) -> BTreeMap<Arc<str>, Unmanaged> {
    let mut found: BTreeMap<Arc<str>, Unmanaged> = BTreeMap::new();
    let mut as_ours: BTreeSet<Arc<str>> = BTreeSet::new();
    for binding in bindings {
        let (mut disabled, mut groups) = (BTreeSet::new(), BTreeSet::new());
        for subject in &binding.subjects {
            if subject.kind == "Group" {
                groups.extend(basis.groups.get(&subject.name));
            } else if let Some((source, _)) = basis.usernames.disabled(&subject.name) {
                disabled.insert(source);
            } else if let Some((source, _)) = basis.usernames.holder(&subject.name) {
                as_ours.insert(source.clone());
            } else {
                let (prefix, rest) = split(&subject.name);
                if let Some((_, source)) = basis.bare.get(rest).filter(|(ours, _)| *ours != prefix) {
                    *found
                        .entry(source.clone())
                        .or_default()
                        .prefixes
                        .entry(prefix.to_owned())
                        .or_default() += 1;
                }
            }
        }
        for source in disabled {
            found.entry(source.clone()).or_default().disabled.add(binding);
        }
        for source in groups {
            found.entry(source.clone()).or_default().groups.add(binding);
        }
    }
    // where people are known by our names, too, the others are another login's
    for source in as_ours {
        if let Some(found) = found.get_mut(&source) {
            found.prefixes.clear();
        }
    }
    found.retain(|_, found| *found != Unmanaged::default());
    found
}

/// What a role permits, as 16 hex digits: the same for rules in another order, or written in another way.
pub fn rules_digest(rules: &[PolicyRule]) -> String {
    let list = |list: &Option<Vec<String>>| list.clone().unwrap_or_default();
    let mut all = BTreeSet::new();
    for rule in rules {
        let (groups, mut names) = (list(&rule.api_groups), list(&rule.resource_names));
        if names.is_empty() {
            names.push(String::new());
        }
        for verb in &rule.verbs {
            all.extend(list(&rule.non_resource_urls).iter().map(|url| format!("{verb} {url}")));
            for (group, resource) in groups
                .iter()
                .flat_map(|group| list(&rule.resources).into_iter().map(move |r| (group, r)))
            {
                all.extend(names.iter().map(|name| format!("{verb} {group}/{resource}/{name}")));
            }
        }
    }
    let text: Vec<String> = all.into_iter().collect();
    let mut digest = hex(digest(&SHA256, text.join("\n").as_bytes()).as_ref());
    digest.truncate(16);
    digest
}
