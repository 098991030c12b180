//! Looks now and then at what others granted and at what roles permit, and keeps what was found for statuses and metrics. What counts is decided in `access::survey`; nothing is
//! written here.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding, Subject};
use kube::api::ListParams;
use kube::{Api, Client, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use super::engine::{Done, Engine};
use super::metrics::Finding;
use crate::access::binding::SubjectRef;
use crate::access::key::MappingKey;
use crate::access::ledger::{Event as Record, RoleSeen};
use crate::access::survey::{Basis, Foreign, Unmanaged, rules_digest, split, survey};
use crate::api::mapping::{RoleKind, RoleRef};
use crate::api::names;
use crate::ops::pages;

/// The most pages of one kind.
const PAGES: usize = 400;
/// After the start of a term it is looked at the first time so soon.
const FIRST: Duration = Duration::from_secs(20);
/// Of one mapping so many places of Roles are looked at.
const PLACES: usize = 500;

/// A role, and where it is: no namespace for a ClusterRole.
type Place = (String, RoleRef);

/// What was found last.
#[derive(Default)]
pub struct Surveys {
    at: Option<Instant>,
    running: bool,
    pub(super) unmanaged: BTreeMap<Arc<str>, Unmanaged>,
    pub(super) changed: BTreeMap<MappingKey, Vec<String>>,
}

/// What one look showed.
pub struct Surveyed {
    unmanaged: BTreeMap<Arc<str>, Unmanaged>,
    roles: BTreeMap<Place, String>,
}

impl Engine {
    /// Begins to look around, if it is time.
    pub(super) fn look_around(&mut self) {
        let interval = self.args.survey_interval;
        let due = match self.surveys.at {
            Some(at) => at + interval,
            None => self.started + interval.min(FIRST),
        };
        if interval.is_zero() || self.surveys.running || Instant::now() < due {
            return;
        }
        self.surveys.running = true;
        let live = self.owners.values().filter(|owner| owner.mapping.is_some());
        let wanted: BTreeSet<RoleRef> = live.clone().flat_map(|owner| owner.targets.roles.iter().cloned()).collect();
        let mapped: Vec<(Arc<str>, u32)> = live.flat_map(|owner| owner.selected.groups.iter().cloned()).collect();
        let (client, usernames, group_names, directory) = (
            self.client.clone(),
            self.usernames.clone(),
            self.group_names.clone(),
            self.seen.state.clone(),
        );
        self.spawn(async move {
            let answer = async {
                let bindings = foreign(&client).await?;
                let roles = roles(&client, &wanted).await?;
                // the people of a large directory take a while, and meanwhile somebody may have to lose access
                let found = tokio::task::spawn_blocking(move || {
                    let mut groups: HashMap<String, Arc<str>> = HashMap::new();
                    for (source, n) in &mapped {
                        let group = directory.source(source).and_then(|s| s.get(*n));
                        let called = group_names.effective(source, *n);
                        let known = group.into_iter().map(|group| &group.name).chain(called);
                        groups.extend(known.map(|name| (name.to_string(), source.clone())));
                    }
                    let of = |(source, name): (&Arc<str>, &'_ Arc<str>)| (source.clone(), name.clone());
                    let people: Vec<(Arc<str>, Arc<str>)> = usernames.all_effective().map(of).collect();
                    let bare = people.iter().map(|(source, name)| {
                        let (prefix, rest) = split(name);
                        (rest, (prefix, source.clone()))
                    });
                    let basis = Basis {
                        usernames: &usernames,
                        groups,
                        bare: bare.collect(),
                    };
                    survey(&basis, &bindings)
                });
                Ok(Surveyed {
                    unmanaged: found.await.map_err(|error| error.to_string())?,
                    roles,
                })
            };
            Done::Surveyed(answer.await)
        });
    }

    /// What was seen is kept, and told.
    pub(super) fn surveyed(&mut self, answer: Result<Surveyed, String>) {
        self.surveys.running = false;
        self.surveys.at = Some(Instant::now());
        let Surveyed { unmanaged, roles } = match answer {
            Ok(found) => found,
            Err(error) => {
                tracing::warn!(error, "cannot look at what others granted; it is tried again");
                return;
            }
        };
        self.surveys.unmanaged = unmanaged;
        self.surveys.changed = self.changed_roles(&roles);
        let unmanaged = self.surveys.unmanaged.iter().flat_map(|(source, found)| {
            let source = source.to_string();
            [("DisabledPerson", found.disabled.count), ("MappedGroup", found.groups.count)]
                .map(|(reason, n)| (Finding::of(&source, reason), n))
        });
        let changed = self.surveys.changed.iter();
        let changed = changed.map(|(mapping, roles)| (Finding::of(&mapping.to_string(), "RulesChanged"), roles.len()));
        self.metrics.found(unmanaged.chain(changed));
        self.statuses_soon();
    }

    /// The roles of each mapping that permit something else than when they were seen first; those that are seen first are recorded.
    fn changed_roles(&mut self, roles: &BTreeMap<Place, String>) -> BTreeMap<MappingKey, Vec<String>> {
        let ledger = self.access.snapshot();
        let mut changed: BTreeMap<MappingKey, Vec<String>> = BTreeMap::new();
        let mut records = Vec::new();
        for (key, owner) in self.owners.iter().filter(|(_, owner)| owner.mapping.is_some()) {
            // an edit of the mapping, or a request for a look, means that somebody has seen what they are now
            let seen = format!("{}/{}", owner.generation, owner.requested.as_deref().unwrap_or_default());
            let mut new = Vec::new();
            for place in places(owner) {
                let Some(digest) = roles.get(&place) else { continue };
                match ledger.state.role_seen(key, &seen, &place) {
                    Some(known) if **known == **digest => {}
                    Some(_) => {
                        let (namespace, role) = &place;
                        let at = if namespace.is_empty() {
                            String::new()
                        } else {
                            format!(" in {namespace}")
                        };
                        changed
                            .entry(key.clone())
                            .or_default()
                            .push(format!("{}/{}{at}", role.kind.as_str(), role.name));
                    }
                    None => new.push(RoleSeen {
                        namespace: place.0,
                        role: place.1,
                        rules: digest.clone(),
                    }),
                }
            }
            if !new.is_empty() {
                records.push(Record::RolesSeen {
                    mapping: key.clone(),
                    seen,
                    roles: new,
                });
            }
        }
        records.into_iter().for_each(|record| self.recorder.soon(record));
        changed
    }
}

/// The roles that a mapping grants, and where they are.
fn places(owner: &super::owner::Owner) -> BTreeSet<Place> {
    let cluster = owner.targets.roles.iter().filter(|role| role.kind == RoleKind::ClusterRole);
    let own = owner.targets.iter().filter(|(_, role, _)| role.kind == RoleKind::Role);
    let own = own.take(PLACES).map(|(namespace, role, _)| (namespace.clone(), role.clone()));
    cluster.map(|role| (String::new(), role.clone())).chain(own).collect()
}

/// All bindings that do not say that Rolecall manages them.
async fn foreign(client: &Client) -> Result<Vec<Foreign>, String> {
    let others = ListParams::default().labels(&format!("{}!={}", names::MANAGED_BY, names::MANAGED_BY_VALUE));
    let mut found = Vec::new();
    let mut add = |namespace: Option<String>, name: String, subjects: Option<Vec<Subject>>| {
        let named = subjects.into_iter().flatten().filter(|subject| subject.kind != "ServiceAccount");
        let subjects: Vec<SubjectRef> = named
            .map(|subject| SubjectRef {
                kind: subject.kind,
                name: subject.name,
                namespace: None,
            })
            .collect();
        if !subjects.is_empty() {
            found.push(Foreign {
                namespace: namespace.unwrap_or_default(),
                name,
                subjects,
            });
        }
    };
    let bindings = Api::<RoleBinding>::all(client.clone());
    all(bindings, &others, |binding| {
        add(binding.namespace(), binding.name_any(), binding.subjects)
    })
    .await?;
    let wide = Api::<ClusterRoleBinding>::all(client.clone());
    all(wide, &others, |binding| add(None, binding.name_any(), binding.subjects)).await?;
    Ok(found)
}

/// What these roles permit.
async fn roles(client: &Client, wanted: &BTreeSet<RoleRef>) -> Result<BTreeMap<Place, String>, String> {
    let mut found = BTreeMap::new();
    let any = ListParams::default();
    let mut add = |kind: RoleKind, namespace: Option<String>, name: String, rules: &[k8s_openapi::api::rbac::v1::PolicyRule]| {
        let role = RoleRef { kind, name };
        if wanted.contains(&role) {
            found.insert((namespace.unwrap_or_default(), role), rules_digest(rules));
        }
    };
    all(Api::<ClusterRole>::all(client.clone()), &any, |role| {
        add(
            RoleKind::ClusterRole,
            None,
            role.name_any(),
            role.rules.as_deref().unwrap_or_default(),
        );
    })
    .await?;
    if wanted.iter().any(|role| role.kind == RoleKind::Role) {
        all(Api::<Role>::all(client.clone()), &any, |role| {
            add(
                RoleKind::Role,
                role.namespace(),
                role.name_any(),
                role.rules.as_deref().unwrap_or_default(),
            );
        })
        .await?;
    }
    Ok(found)
}

async fn all<K>(api: Api<K>, of: &ListParams, each: impl FnMut(K)) -> Result<(), String>
where
    K: Resource + Clone + std::fmt::Debug + DeserializeOwned,
{
    match pages::each(&api, of, PAGES, each).await {
        Ok(true) => Ok(()),
        Ok(false) => Err(format!("there are more than {PAGES} pages of them")),
        Err(error) => Err(error.to_string()),
    }
}
