//! What the controller sees of the cluster, as plain values, and the watches that feed it. Nothing is decided here.

use std::collections::{BTreeMap, HashSet};
use std::hash::Hash;
use std::sync::Arc;

use k8s_openapi::api::admissionregistration::v1::{ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding};
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::core::PartialObjectMeta;
use kube::runtime::watcher::{Config, Event};
use kube::{Api, Client, ResourceExt as _};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::observe::{Kept, watch};
use crate::access::binding::{Observed, SubjectRef, wide};
use crate::api::{ClusterRoleMapping, RoleMapping, ScimSource, names};

/// A namespace as the controller needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// It is being deleted: nothing is touched in it.
    pub terminating: bool,
}

/// One event of one watch.
#[allow(clippy::large_enum_variant, reason = "each lives for a moment, and most are the larger ones")]
pub enum Change {
    /// A ScimSource.
    Source(Event<ScimSource>),
    /// A RoleMapping.
    Mapping(Event<RoleMapping>),
    /// A ClusterRoleMapping.
    ClusterMapping(Event<ClusterRoleMapping>),
    /// A Namespace.
    Namespace(Event<PartialObjectMeta<Namespace>>),
    /// A RoleBinding with our labels.
    Binding(Event<RoleBinding>),
    /// A ClusterRoleBinding with our labels.
    WideBinding(Event<ClusterRoleBinding>),
    /// A Role.
    Role(Event<PartialObjectMeta<Role>>),
    /// A ClusterRole.
    ClusterRole(Event<PartialObjectMeta<ClusterRole>>),
    /// An admission policy.
    Policy(Event<ValidatingAdmissionPolicy>),
    /// A binding of an admission policy.
    PolicyBinding(Event<ValidatingAdmissionPolicyBinding>),
}

/// Everything that is watched.
#[derive(Default)]
pub struct World {
    /// Sources of our class, by name.
    pub sources: Kept<ScimSource>,
    /// RoleMappings of our class, by `namespace/name`.
    pub mappings: Kept<RoleMapping>,
    /// ClusterRoleMappings of our class, by name.
    pub cluster_mappings: Kept<ClusterRoleMapping>,
    /// Namespaces, by name.
    pub namespaces: Kept<Place>,
    /// RoleBindings and ClusterRoleBindings that carry our labels.
    pub bindings: Bindings,
    /// Roles, by `namespace/name`.
    pub roles: Kept<()>,
    /// ClusterRoles, by name.
    pub cluster_roles: Kept<()>,
    /// Admission policies, by name.
    pub policies: Kept<ValidatingAdmissionPolicy>,
    /// Bindings of admission policies, by name.
    pub policy_bindings: Kept<ValidatingAdmissionPolicyBinding>,
}

/// A binding as it was seen; `None` for an object without the metadata that an API server gives.
pub type Seen = Option<Arc<Observed>>;

/// RoleBindings by `namespace/name`, and ClusterRoleBindings, as if they were in the namespace without a name, by `/name`.
#[derive(Default)]
pub struct Bindings {
    /// RoleBindings.
    pub namespaced: Kept<Seen>,
    /// ClusterRoleBindings.
    pub wide: Kept<Seen>,
    shared: Shared,
}

/// What many bindings have alike is kept once.
#[derive(Default)]
struct Shared {
    labels: Pool<BTreeMap<String, String>>,
    subjects: Pool<Vec<SubjectRef>>,
}

impl Shared {
    fn share(&mut self, mut observed: Observed) -> Arc<Observed> {
        observed.labels = self.labels.one(observed.labels);
        observed.subjects = self.subjects.one(observed.subjects);
        Arc::new(observed)
    }
}

/// Values that are used somewhere, each once.
struct Pool<T> {
    all: HashSet<Arc<T>>,
    /// With so many it is looked which of them nobody uses any more.
    full: usize,
}

impl<T> Default for Pool<T> {
    fn default() -> Self {
        Self {
            all: HashSet::new(),
            full: 1024,
        }
    }
}

impl<T: Eq + Hash> Pool<T> {
    fn one(&mut self, value: Arc<T>) -> Arc<T> {
        if let Some(known) = self.all.get(&value) {
            return known.clone();
        }
        if self.all.len() >= self.full {
            self.all.retain(|value| Arc::strong_count(value) > 1);
            self.full = (self.all.len() * 2).max(1024);
        }
        self.all.insert(value.clone());
        value
    }
}

impl Bindings {
    fn of(&mut self, key: &str) -> &mut Kept<Seen> {
        if key.starts_with('/') {
            &mut self.wide
        } else {
            &mut self.namespaced
        }
    }

    /// All of them, by key.
    pub fn iter(&self) -> impl Iterator<Item = (&String, &Arc<Observed>)> {
        let all = self.namespaced.items().iter().chain(self.wide.items());
        all.filter_map(|(key, seen)| Some((key, seen.as_ref()?)))
    }

    /// One of them.
    pub fn get(&self, key: &str) -> Option<&Arc<Observed>> {
        self.namespaced.get(key).or_else(|| self.wide.get(key))?.as_ref()
    }

    /// Sets one: an answer to our own write is seen before the watch tells it. Answers with what is kept of it.
    pub fn put(&mut self, key: String, value: Observed) -> Arc<Observed> {
        let value = self.shared.share(value);
        self.of(&key).put(key, Some(value.clone()));
        value
    }

    /// Takes in what the watch of RoleBindings tells; the keys whose value changed, came or went.
    pub fn feed(&mut self, event: Event<RoleBinding>) -> Vec<String> {
        let shared = &mut self.shared;
        self.namespaced.feed(event, |object| Some(shared.share(Observed::of(&object)?)))
    }

    /// The same of ClusterRoleBindings.
    pub fn feed_wide(&mut self, event: Event<ClusterRoleBinding>) -> Vec<String> {
        let shared = &mut self.shared;
        self.wide.feed(widened(event), |object| Some(shared.share(Observed::of(&object)?)))
    }

    /// Removes one.
    pub fn remove(&mut self, key: &str) {
        self.of(key).remove(key);
    }
}

/// An event of ClusterRoleBindings as one of bindings in the namespace without a name.
fn widened(event: Event<ClusterRoleBinding>) -> Event<RoleBinding> {
    match event {
        Event::Apply(object) => Event::Apply(wide(object)),
        Event::Delete(object) => Event::Delete(wide(object)),
        Event::InitApply(object) => Event::InitApply(wide(object)),
        Event::Init => Event::Init,
        Event::InitDone => Event::InitDone,
    }
}

impl World {
    /// The sources of a class: another installation's are not ours.
    pub fn sources_of<'a>(&'a self, class: &'a str) -> impl Iterator<Item = &'a ScimSource> {
        let all = self.sources.items().values();
        all.filter(move |source| source.spec.class.as_deref().unwrap_or_default() == class)
    }

    /// Whether every watch has brought one whole list.
    pub fn complete(&self) -> bool {
        self.sources.complete()
            && self.mappings.complete()
            && self.cluster_mappings.complete()
            && self.namespaces.complete()
            && self.bindings.namespaced.complete()
            && self.bindings.wide.complete()
            && self.roles.complete()
            && self.cluster_roles.complete()
            && self.policies.complete()
            && self.policy_bindings.complete()
    }
}

/// Reads the labels and state that matter of a namespace.
pub fn place(namespace: PartialObjectMeta<Namespace>) -> Place {
    Place {
        terminating: namespace.metadata.deletion_timestamp.is_some(),
        labels: namespace.metadata.labels.unwrap_or_default(),
    }
}

/// Takes one event in, without looking at what it means.
pub fn feed(world: &mut World, change: Change) -> Touched {
    match change {
        Change::Source(event) => Touched::Sources(world.sources.feed(event, slim)),
        Change::Mapping(event) => Touched::Mappings(world.mappings.feed(event, slim)),
        Change::ClusterMapping(event) => Touched::ClusterMappings(world.cluster_mappings.feed(event, slim)),
        Change::Namespace(event) => Touched::Namespaces(world.namespaces.feed(event, place)),
        Change::Binding(event) => Touched::Bindings(world.bindings.feed(event)),
        Change::WideBinding(event) => Touched::Bindings(world.bindings.feed_wide(event)),
        Change::Role(event) => Touched::Roles(world.roles.feed(event, |_| ())),
        Change::ClusterRole(event) => Touched::Roles(world.cluster_roles.feed(event, |_| ())),
        Change::Policy(event) => Touched::Policies(world.policies.feed(event, slim)),
        Change::PolicyBinding(event) => Touched::Policies(world.policy_bindings.feed(event, slim)),
    }
}

/// Which objects an event changed, by key.
pub enum Touched {
    /// Sources.
    Sources(Vec<String>),
    /// RoleMappings.
    Mappings(Vec<String>),
    /// ClusterRoleMappings.
    ClusterMappings(Vec<String>),
    /// Namespaces.
    Namespaces(Vec<String>),
    /// Bindings with our labels.
    Bindings(Vec<String>),
    /// Roles of either kind.
    Roles(Vec<String>),
    /// Admission policies and their bindings.
    Policies(Vec<String>),
}

/// Without what only costs memory.
pub fn slim<K: kube::Resource>(mut object: K) -> K {
    object.managed_fields_mut().clear();
    object
}

/// Starts all watches; they end with the set.
pub fn start(client: &Client, class: &str, send: &mpsc::Sender<Change>) -> JoinSet<()> {
    let mut set = JoinSet::new();
    let all = Config::default;
    let ours = Config::default().labels(&format!(
        "{}={},{}={}",
        names::MANAGED_BY,
        names::MANAGED_BY_VALUE,
        names::CLASS,
        class
    ));
    set.spawn(watch(Api::all(client.clone()), all(), Change::Source, send.clone()));
    set.spawn(watch(Api::all(client.clone()), all(), Change::Mapping, send.clone()));
    set.spawn(watch(Api::all(client.clone()), all(), Change::ClusterMapping, send.clone()));
    set.spawn(watch(Api::all(client.clone()), ours.clone(), Change::Binding, send.clone()));
    set.spawn(watch(Api::all(client.clone()), ours, Change::WideBinding, send.clone()));
    set.spawn(watch(Api::all(client.clone()), all(), Change::Policy, send.clone()));
    set.spawn(watch(Api::all(client.clone()), all(), Change::PolicyBinding, send.clone()));
    set.spawn(watch(Api::all(client.clone()), all(), Change::Namespace, send.clone()));
    set.spawn(watch(Api::all(client.clone()), all(), Change::Role, send.clone()));
    set.spawn(watch(Api::all(client.clone()), all(), Change::ClusterRole, send.clone()));
    set
}

/// The UID of a CRD of ours, and whether it is being deleted; `None` when it is not there. A GET that begins now.
///
/// # Errors
/// When the API server gives no answer.
pub async fn crd(client: &Client, plural: &str) -> Result<Option<(String, bool)>, kube::Error> {
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    let found = api.get_metadata_opt(&format!("{plural}.{}", crate::api::GROUP)).await?;
    Ok(found.map(|crd| (crd.uid().unwrap_or_default(), crd.metadata.deletion_timestamp.is_some())))
}
