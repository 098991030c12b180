//! What the controller sees of the cluster, as plain values, and the watches that feed it. Nothing is decided here.

use std::collections::BTreeMap;
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
use crate::access::binding::{Observed, wide};
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

    /// Sets one: an answer to our own write is seen before the watch tells it.
    pub fn put(&mut self, key: String, value: Arc<Observed>) {
        self.of(&key).put(key, Some(value));
    }

    /// Removes one.
    pub fn remove(&mut self, key: &str) {
        self.of(key).remove(key);
    }
}

/// An event of ClusterRoleBindings as one of bindings in the namespace without a name.
pub fn widened(event: Event<ClusterRoleBinding>) -> Event<RoleBinding> {
    match event {
        Event::Apply(object) => Event::Apply(wide(object)),
        Event::Delete(object) => Event::Delete(wide(object)),
        Event::InitApply(object) => Event::InitApply(wide(object)),
        Event::Init => Event::Init,
        Event::InitDone => Event::InitDone,
    }
}

impl World {
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

/// What of a binding decides.
pub fn seen(object: RoleBinding) -> Seen {
    Observed::of(&object).map(Arc::new)
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
