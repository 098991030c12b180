//! The installation that all cases share: how it is set up, how changes are made, and whether it has converged and rests.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::rbac::v1::{RoleBinding, Subject};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use rolecall::api::ClusterRoleMapping;
use serde_json::{Value, json};

use super::model::{GROUPS, Group, Meddled, Model, Moments, NAMED, PLACES, TEAMS, USERS};
use super::model::{given, grant_of, is_ours, latest, recorded};
use super::plan::Step;
use crate::cluster::Cluster;
use crate::kit::{Version, bindings, records};
use crate::proxy::{Asked, Proxy};
use crate::system::{Process, Provider, System, until};

/// The installation's release, namespace and class.
pub const NAME: &str = "faults";
const SOURCE: &str = "faults-okta";
pub const RBAC: &str = "rbac.authorization.k8s.io";
/// RoleBindings of somebody else; the second has labels as ours have them.
const FOREIGN: [(&str, &str); 2] = [("faults-a", "theirs"), ("faults-b", "theirs-labelled")];
/// More groups than this are not made.
const MOST: usize = 12;
/// How long nothing may be written after a case.
const STILL: Duration = Duration::from_millis(300);

/// Everything that the cases share.
pub struct Scene {
    pub system: System<'static>,
    pub model: Model,
    pub proxy: Proxy,
    okta: Provider,
    users: Vec<String>,
    begun_with: usize,
    made: usize,
    foreign: Vec<String>,
    _gateway: Process,
    _controller: Process,
}

/// Writes of the controller that count: not the Lease, and nothing that only asks.
fn writes(asked: &Asked) -> bool {
    asked.method != "GET" && !asked.dry() && !asked.path.contains("/leases") && !asked.path.contains("reviews")
}

/// The answer, or `None` for one of these refusals.
#[track_caller]
fn allowing<T>(answer: Result<T, kube::Error>, refusals: &[u16]) -> Option<T> {
    match answer {
        Ok(answer) => Some(answer),
        Err(kube::Error::Api(status)) if refusals.contains(&status.code) => None,
        Err(error) => panic!("{error}"),
    }
}

fn grants(roles: &BTreeSet<&'static str>) -> Value {
    let grant = |role: &&str| json!({"roleRef": {"kind": "ClusterRole", "name": role}, "namespaces": {"selector": {"matchLabels": {"faults": "on"}}}});
    roles.iter().map(grant).collect()
}

fn limits() -> Value {
    json!({"removalsPerHour": 1_000_000, "removalPercent": 100})
}

impl Scene {
    pub async fn new() -> Self {
        let system = System::install(Cluster::shared(), NAME).await;
        let proxy = Proxy::before(system.cluster).await;
        let kubeconfig = proxy.kubeconfig(system.cluster, NAME, &system.installed.controller_token);
        let controller = system.controller_with(&["--write-deadline=500ms"], Some(&kubeconfig));
        let gateway = system.gateway().await;
        let mut model = Model {
            active: vec![true; USERS],
            roles: BTreeSet::from(["edit", "view"]),
            ..Model::default()
        };
        for place in PLACES {
            system.namespace(place, json!({"faults": "on"})).await;
            model.places.insert(place, true);
        }
        let okta = system.source(&gateway.url, SOURCE).await;
        system.merge("scimsource", None, SOURCE, &json!({"limits": limits()})).expect_ok();
        let mut users = Vec::new();
        for n in 0..USERS {
            users.push(okta.user(&format!("user-{n}@corp.example")).await);
        }
        let groups: [(&str, Range<usize>); 7] = [
            (GROUPS[0], 0..10),
            (GROUPS[1], 8..14),
            ("faults-a-view-0", 10..20),
            ("faults-a-edit-1", 14..18),
            ("faults-b-view-2", 16..26),
            ("faults-c-edit-3", 20..30),
            ("faults-d-view-4", 2..9),
        ];
        for (name, members) in groups {
            let ids: Vec<&str> = users[members.clone()].iter().map(String::as_str).collect();
            model.groups.push(Group {
                id: okta.group(name, &ids).await,
                name: name.to_owned(),
                members: members.collect(),
            });
        }
        let named = json!({"sources": [SOURCE], "groups": {"names": GROUPS}, "limits": limits(), "grants": grants(&model.roles)});
        let role = json!({"kind": "ClusterRole", "expression": "match.role", "oneOf": ["view", "edit"]});
        let teams = json!({"sources": [SOURCE], "groups": {"pattern": "^faults-(?<team>[a-z]+)-(?<role>[a-z]+)-[0-9]+$"}, "limits": limits(),
            "grants": [{"roleRef": role, "namespaces": {"expression": "'faults-' + match.team"}}]});
        for (name, spec) in [(NAMED, named), (TEAMS, teams)] {
            system.apply(&system.mapping("ClusterRoleMapping", None, name, spec));
        }
        for (n, (place, name)) in FOREIGN.into_iter().enumerate() {
            let create = ["create", "rolebinding", name, "-n", place, "--clusterrole=view", "--user=oidc:eve"];
            system.cluster.kubectl(&create).expect_ok();
            let class = format!("rolecall.dev/class={NAME}");
            let label = [
                "label",
                "rolebinding",
                name,
                "-n",
                place,
                "app.kubernetes.io/managed-by=rolecall",
                &class,
            ];
            if n == 1 {
                system.cluster.kubectl(&label).expect_ok();
            }
        }
        let begun_with = model.groups.len();
        let mut scene = Self {
            system,
            model,
            proxy,
            okta,
            users,
            begun_with,
            made: begun_with,
            foreign: Vec::new(),
            _gateway: gateway,
            _controller: controller,
        };
        scene.foreign = scene.others().await;
        let rests = scene.rests(Duration::from_secs(60)).await;
        assert!(rests.is_ok(), "before any fault: {rests:?}\n{}", scene.system.explain());
        scene
    }

    fn mappings(&self) -> Api<ClusterRoleMapping> {
        Api::all(self.system.admin.clone())
    }

    fn namespaces(&self) -> Api<Namespace> {
        Api::all(self.system.admin.clone())
    }

    pub fn bindings_in(&self, place: &str) -> Api<RoleBinding> {
        Api::namespaced(self.system.admin.clone(), place)
    }

    // === changes ===

    /// Makes one change, here and in the model. The directory's are durable when this returns.
    pub async fn change(&mut self, step: &Step, meddled: &mut Meddled) {
        match step {
            Step::Member { group, user } => {
                let at = group % self.model.groups.len();
                let group = &mut self.model.groups[at];
                if group.members.remove(user) {
                    self.okta.remove(&group.id, &self.users[*user]).await;
                } else {
                    group.members.insert(*user);
                    self.okta.add(&group.id, &self.users[*user]).await;
                }
            }
            Step::Active(user) => {
                self.model.active[*user] = !self.model.active[*user];
                self.okta.active(&self.users[*user], self.model.active[*user]).await;
            }
            Step::Rename { group, team, role } => {
                let at = group % self.model.groups.len();
                // The mapping by names finds its group under one of two names.
                let name = match GROUPS.get(at) {
                    Some(name) if self.model.groups[at].name == *name => format!("{name}-old"),
                    Some(name) => (*name).to_owned(),
                    None => self.new_name(team, role),
                };
                let path = format!("/Groups/{}", self.model.groups[at].id);
                let rename = json!([{"op": "replace", "path": "displayName", "value": name}]);
                self.okta.patch(&path, rename).await;
                self.model.groups[at].name = name;
            }
            Step::Group { team, role, members } => {
                if self.model.groups.len() < MOST {
                    let name = self.new_name(team, role);
                    let ids: Vec<&str> = members.iter().map(|user| self.users[*user].as_str()).collect();
                    self.model.groups.push(Group {
                        id: self.okta.group(&name, &ids).await,
                        name,
                        members: members.clone(),
                    });
                }
            }
            Step::Ungroup(n) => {
                let made = self.model.groups.len() - self.begun_with;
                if made > 0 {
                    let group = self.model.groups.remove(self.begun_with + n % made);
                    self.okta.delete(&format!("/Groups/{}", group.id)).await;
                }
            }
            Step::Roles(n) => {
                let all: [&[&'static str]; 3] = [&["view", "edit"], &["view"], &["edit"]];
                self.model.roles = all[*n].iter().copied().collect();
                self.merge(NAMED, json!({"spec": {"grants": grants(&self.model.roles)}})).await;
            }
            Step::Label(n) => self.label(PLACES[*n]).await,
            Step::Place(n) => self.place(PLACES[*n]).await,
            Step::Deleted(n) => {
                if let Some(binding) = self.pick(*n).await {
                    meddled.deleted.insert(grant_of(&binding));
                    let api = self.bindings_in(&binding.namespace);
                    allowing(api.delete(&binding.name, &DeleteParams::default()).await, &[404]);
                }
            }
            Step::Stranger(n) => {
                if let Some(binding) = self.pick(*n).await {
                    self.meddle(&binding, meddled).await;
                }
            }
        }
    }

    /// A name that no group has, or ever had.
    fn new_name(&mut self, team: &str, role: &str) -> String {
        self.made += 1;
        format!("faults-{team}-{role}-{}", self.made)
    }

    pub async fn merge(&self, mapping: &str, change: Value) {
        let merged = self
            .mappings()
            .patch(mapping, &PatchParams::default(), &Patch::Merge(&change))
            .await;
        merged.unwrap_or_else(|error| panic!("{mapping} {change}: {error}"));
    }

    async fn label(&mut self, place: &'static str) {
        let Some(labelled) = self.model.places.get_mut(place) else { return };
        *labelled = !*labelled;
        let value = if *labelled { json!("on") } else { Value::Null };
        let change = json!({"metadata": {"labels": {"faults": value}}});
        let merged = self
            .namespaces()
            .patch(place, &PatchParams::default(), &Patch::Merge(&change))
            .await;
        merged.unwrap_or_else(|error| panic!("{place} {change}: {error}"));
    }

    async fn place(&mut self, place: &'static str) {
        if self.model.places.remove(place).is_some() {
            let gone = self.namespaces().delete(place, &DeleteParams::default()).await;
            assert!(gone.is_ok(), "{place}: {gone:?}");
            return;
        }
        let object = serde_json::from_value(json!({"metadata": {"name": place, "labels": {"faults": "on"}}})).expect("a namespace");
        // while it is still going it cannot be made
        if allowing(self.namespaces().create(&PostParams::default(), &object).await, &[409]).is_some() {
            self.model.places.insert(place, true);
        }
    }

    /// One of our bindings that give something, where namespaces stay.
    async fn pick(&self, n: usize) -> Option<Version> {
        let mut all = bindings(&self.system).await;
        all.retain(|b| is_ours(b) && !b.subjects.is_empty() && self.model.places.contains_key(b.namespace.as_str()));
        all.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
        let at = n % all.len().max(1);
        all.into_iter().nth(at)
    }

    async fn meddle(&mut self, binding: &Version, meddled: &mut Meddled) {
        let api = self.bindings_in(&binding.namespace);
        let Some(mut object) = api.get_opt(&binding.name).await.expect("an answer") else {
            return;
        };
        self.made += 1;
        let name = format!("oidc:stranger-{}@else.example", self.made);
        object.subjects.get_or_insert_default().push(Subject {
            api_group: Some(RBAC.to_owned()),
            kind: "User".to_owned(),
            name: name.clone(),
            namespace: None,
        });
        let [mapping, namespace, role] = grant_of(binding);
        meddled.strangers.insert([mapping, namespace, role, name]);
        // the controller may be faster
        allowing(api.replace(&binding.name, &PostParams::default(), &object).await, &[404, 409]);
    }

    // === what is so ===

    /// The namespaces of ours that are being deleted.
    pub async fn going(&self) -> BTreeSet<String> {
        let all = self.namespaces().list(&ListParams::default()).await.expect("namespaces");
        let going = all.items.into_iter().filter(|place| place.metadata.deletion_timestamp.is_some());
        let names = going.map(|place| place.name_any());
        names.filter(|name| PLACES.contains(&name.as_str())).collect()
    }

    /// Which objects the foreign bindings are now.
    async fn others(&self) -> Vec<String> {
        let mut found = Vec::new();
        for (place, name) in FOREIGN {
            let binding = self.bindings_in(place).get(name).await.expect("a foreign binding");
            found.push(format!("{name} {:?} {:?}", binding.uid(), binding.resource_version()));
        }
        found
    }

    /// Whether nobody touched the foreign bindings.
    pub async fn others_untouched(&self) -> bool {
        self.others().await == self.foreign
    }

    /// Waits until all is as the model wants it, recorded and told, and nothing is written any more. What is not, if that never comes.
    pub async fn rests(&self, within: Duration) -> Result<(), String> {
        let (tried, why) = (RefCell::new(None), RefCell::new(String::new()));
        let (tried, why) = (&tried, &why);
        let rests = until(within, || async move {
            let differs = self.differs(tried).await;
            let rests = differs.is_none();
            differs.into_iter().for_each(|text| drop(why.replace(text)));
            rests
        });
        let told = |()| format!("{}; its newest writes: {:#?}", why.borrow(), self.newest_writes());
        rests.await.map_err(told)
    }

    /// What is not yet as it should be. `tried` is when the last write had been made when the journal was read and did not agree: it is read again
    /// after the next one.
    async fn differs(&self, tried: &RefCell<Option<(Instant, String)>>) -> Option<String> {
        let going = self.going().await;
        let mut all = bindings(&self.system).await;
        all.retain(|binding| is_ours(binding) && !going.contains(&binding.namespace));
        let (wanted, stands): (BTreeSet<_>, BTreeSet<_>) = (Moments::at(&self.model).always(), all.iter().flat_map(given).collect());
        if wanted != stands {
            let missing: Vec<_> = wanted.difference(&stands).collect();
            let more: Vec<_> = stands.difference(&wanted).collect();
            return Some(format!("missing {missing:?}, too many {more:?}"));
        }
        let last = self.proxy.last(writes);
        if last.is_some_and(|at| at.elapsed() < STILL) {
            return Some("it still writes".to_owned());
        }
        for name in [NAMED, TEAMS] {
            let mapping = self.mappings().get(name).await.expect("a mapping");
            let generation = mapping.metadata.generation;
            let status = mapping.status.unwrap_or_default();
            let ready = status.conditions.iter().any(|c| c.type_ == "Ready" && c.status == "True");
            if !ready || Some(status.observed_generation) != generation {
                return Some(format!("{name} at {generation:?} is not ready: {status:?}"));
            }
        }
        if let Some((at, said)) = &*tried.borrow()
            && last == Some(*at)
        {
            return Some(said.clone());
        }
        let access = records(&self.system.admin, &self.system.installed.namespace, "access").await;
        let (mut told, mut open) = recorded(&access);
        open.retain(|namespace| !going.contains(namespace));
        told.retain(|(namespace, _), _| !going.contains(namespace));
        let stands = latest(&all);
        if open.is_empty() && told == stands {
            return None;
        }
        let differ = |a: &BTreeMap<_, _>, b: &BTreeMap<_, _>| -> Vec<String> {
            let other = a.iter().filter(|(at, users)| b.get(*at) != Some(*users));
            other.map(|one| format!("{one:?}")).collect()
        };
        let newest: Vec<String> = access
            .iter()
            .rev()
            .take(24)
            .map(|r| format!("{}/{} {}", r.index, r.ordinal, r.event))
            .collect();
        let said = format!(
            "the access journal says otherwise: open intents in {open:?}; it has {:?}, and there is {:?}; its newest records: {newest:#?}",
            differ(&told, &stands),
            differ(&stands, &told)
        );
        tried.replace(last.map(|at| (at, said.clone())));
        Some(said)
    }

    fn newest_writes(&self) -> Vec<String> {
        let all = self.proxy.writes();
        let counted = all.iter().rev().filter(|p| writes(&p.asked)).take(5);
        counted
            .map(|p| format!("{} {}: {:?} {}", p.asked.method, p.asked.path, p.status, p.message))
            .collect()
    }

    /// Waits until the controller wrote nothing for so long.
    pub async fn still(&self, lasts: Duration) {
        let still = until(Duration::from_secs(60), || async move {
            self.proxy.last(writes).is_none_or(|at| at.elapsed() >= lasts)
        });
        assert!(still.await.is_ok(), "it never rests: {:?}", self.newest_writes());
    }
}
