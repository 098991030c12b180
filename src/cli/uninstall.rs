//! `kubectl rolecall uninstall`: the end of an installation whose chart is gone. What it granted is left to the cluster's admins or taken away; then its objects go,
//! and nothing waits for anybody.

use futures::StreamExt as _;
use jiff::Timestamp;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::rbac::v1::{ClusterRoleBinding, RoleBinding};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, Preconditions};
use kube::{Api, Client, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use serde_json::json;

use super::read::{Error, list_with, said};
use crate::access::binding::wide;
use crate::api::{ClusterRoleMapping, Journal, RoleMapping, ScimSource, Segment, names};

/// How many requests are under way at once.
const AT_ONCE: usize = 16;
/// How many failures are told one by one.
const TOLD: usize = 20;

/// Which installation.
pub struct Of<'a> {
    /// Its class.
    pub class: &'a str,
    /// Its own namespace.
    pub namespace: &'a str,
}

/// What becomes of what was granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It stays, as bindings like those that an admin makes.
    Keep,
    /// It goes.
    Revoke,
}

/// An object that is to go, or to be let go.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Named {
    namespace: String,
    name: String,
    uid: String,
}

/// Everything of an installation.
#[derive(Default)]
pub struct Found {
    bindings: Vec<Named>,
    mappings: Vec<Named>,
    cluster_mappings: Vec<Named>,
    sources: Vec<Named>,
    journals: Vec<Named>,
    segments: Vec<Named>,
    /// How many mappings and sources other installations have.
    others: usize,
}

/// Finds what there is of an installation.
///
/// # Errors
/// When something cannot be listed, or its controller still runs: what it grants would come again.
pub async fn find(client: &Client, of: &Of<'_>) -> Result<Found, Error> {
    let leases: Vec<Lease> = all(&Api::namespaced(client.clone(), of.namespace), "Leases", ListParams::default()).await?;
    if let Some((name, holder)) = leases.iter().find_map(|lease| held(lease, Timestamp::now())) {
        return Err(Error::Plan(format!(
            "a controller still runs: {holder} holds the Lease {name} in namespace {}; uninstall the chart first (helm uninstall), which takes no access away",
            of.namespace
        )));
    }
    let ours = ListParams::default().labels(&format!(
        "{}={},{}={}",
        names::MANAGED_BY,
        names::MANAGED_BY_VALUE,
        names::CLASS,
        of.class
    ));
    let bindings: Vec<RoleBinding> = all(&Api::all(client.clone()), "RoleBindings", ours.clone()).await?;
    let wide_bindings: Vec<ClusterRoleBinding> = all(&Api::all(client.clone()), "ClusterRoleBindings", ours).await?;
    let params = ListParams::default;
    let mappings: Vec<RoleMapping> = all(&Api::all(client.clone()), "RoleMappings", params()).await?;
    let cluster_mappings: Vec<ClusterRoleMapping> = all(&Api::all(client.clone()), "ClusterRoleMappings", params()).await?;
    let sources: Vec<ScimSource> = all(&Api::all(client.clone()), "ScimSources", params()).await?;
    let journals: Vec<Journal> = all(&Api::namespaced(client.clone(), of.namespace), "Journals", params()).await?;
    let segments: Vec<Segment> = all(&Api::namespaced(client.clone(), of.namespace), "Segments", params()).await?;
    let mine = |class: &Option<String>| class.as_deref().unwrap_or_default() == of.class;
    let mut found = Found {
        bindings: bindings.iter().map(named).collect(),
        mappings: mappings.iter().filter(|m| mine(&m.spec.class)).map(named).collect(),
        cluster_mappings: cluster_mappings.iter().filter(|m| mine(&m.spec.class)).map(named).collect(),
        sources: sources.iter().filter(|s| mine(&s.spec.class)).map(named).collect(),
        journals: journals.iter().map(named).collect(),
        segments: segments.iter().map(named).collect(),
        others: 0,
    };
    found
        .bindings
        .extend(wide_bindings.into_iter().map(wide).map(|binding| named(&binding)));
    let theirs = |all: usize, own: &[Named]| all - own.len();
    found.others = theirs(mappings.len(), &found.mappings)
        + theirs(cluster_mappings.len(), &found.cluster_mappings)
        + theirs(sources.len(), &found.sources);
    Ok(found)
}

/// A whole list, which must be readable: what is not seen would be left behind.
async fn all<K>(api: &Api<K>, what: &'static str, params: ListParams) -> Result<Vec<K>, Error>
where
    K: Resource + Clone + DeserializeOwned + std::fmt::Debug,
{
    let read = list_with(api, what, params).await?;
    read.ok_or_else(|| Error::Plan(format!("you may not list {what}")))
}

fn named<K: Resource>(object: &K) -> Named {
    Named {
        namespace: object.namespace().unwrap_or_default(),
        name: object.name_any(),
        uid: object.uid().unwrap_or_default(),
    }
}

/// Who holds a controller's Lease, if somebody does now.
fn held(lease: &Lease, now: Timestamp) -> Option<(String, String)> {
    let name = lease.name_any();
    let spec = lease.spec.as_ref().filter(|_| name.ends_with("-controller"))?;
    let holder = spec.holder_identity.clone().filter(|holder| !holder.is_empty())?;
    let renewed = spec.renew_time.as_ref()?.0;
    let lasts = f64::from(spec.lease_duration_seconds.unwrap_or_default());
    (now.duration_since(renewed).as_secs_f64() <= lasts).then_some((name, holder))
}

impl Found {
    /// Whether there is nothing of it.
    pub fn is_empty(&self) -> bool {
        let all = [
            &self.bindings,
            &self.mappings,
            &self.cluster_mappings,
            &self.sources,
            &self.journals,
            &self.segments,
        ];
        all.iter().all(|some| some.is_empty())
    }

    /// What is to be done, for people.
    pub fn plan(&self, fate: Fate) -> String {
        let bindings = match fate {
            Fate::Keep => "stay, and are Rolecall's no more: who has access keeps it until somebody takes it away by hand",
            Fate::Revoke => "go: who has access by them loses it",
        };
        format!(
            "{} bindings {bindings}\n{} mappings, {} sources, {} journals and {} segments go: nothing says any more who had access when, unless a backup of etcd does\n",
            self.bindings.len(),
            self.mappings.len() + self.cluster_mappings.len(),
            self.sources.len(),
            self.journals.len(),
            self.segments.len(),
        )
    }

    /// Does it. First the bindings: while one is left, the journals stay, which say whose it is. What failed, and what is left to do.
    pub async fn end(self, client: &Client, of: &Of<'_>, fate: Fate) -> (Vec<String>, String) {
        let mut failed = each(self.bindings, async |one: &Named| match (fate, one.namespace.as_str()) {
            (Fate::Keep, "") => let_go(&Api::<ClusterRoleBinding>::all(client.clone()), one).await,
            (Fate::Keep, place) => let_go(&Api::<RoleBinding>::namespaced(client.clone(), place), one).await,
            (Fate::Revoke, "") => delete(&Api::<ClusterRoleBinding>::all(client.clone()), one).await,
            (Fate::Revoke, place) => delete(&Api::<RoleBinding>::namespaced(client.clone(), place), one).await,
        })
        .await;
        if failed.is_empty() {
            failed.extend(
                each(self.mappings, async |one: &Named| {
                    delete(&within::<RoleMapping>(client, one), one).await
                })
                .await,
            );
            let api = Api::<ClusterRoleMapping>::all(client.clone());
            failed.extend(each(self.cluster_mappings, async |one: &Named| delete(&api, one).await).await);
            let api = Api::<ScimSource>::all(client.clone());
            failed.extend(each(self.sources, async |one: &Named| delete(&api, one).await).await);
        }
        if failed.is_empty() {
            failed.extend(
                each(self.journals, async |one: &Named| {
                    delete(&within::<Journal>(client, one), one).await
                })
                .await,
            );
            failed.extend(
                each(self.segments, async |one: &Named| {
                    delete(&within::<Segment>(client, one), one).await
                })
                .await,
            );
        }
        let mut text = String::new();
        if !failed.is_empty() {
            text = format!("{} could not be done; run it again when the reason is gone\n", failed.len());
        } else if self.others > 0 {
            text = format!(
                "the CustomResourceDefinitions stay: {} mappings and sources of other installations need them\nkubectl delete namespace {}\n",
                self.others, of.namespace
            );
        } else {
            let kinds = ["scimsources", "rolemappings", "clusterrolemappings", "journals", "segments"];
            let crds: Vec<String> = kinds.iter().map(|kind| format!("{kind}.{}", crate::api::GROUP)).collect();
            text.push_str(&format!(
                "left to you:\nkubectl delete crd {}\nkubectl delete namespace {}\n",
                crds.join(" "),
                of.namespace
            ));
        }
        failed.truncate(TOLD);
        (failed, text)
    }
}

fn within<K: Resource<Scope = NamespaceResourceScope>>(client: &Client, one: &Named) -> Api<K>
where
    K::DynamicType: Default,
{
    Api::namespaced(client.clone(), &one.namespace)
}

/// Some at once; what failed.
async fn each(all: Vec<Named>, work: impl AsyncFn(&Named) -> Result<(), kube::Error>) -> Vec<String> {
    let work = &work;
    let done = futures::stream::iter(&all).map(|one| async move {
        match work(one).await {
            Ok(()) => None,
            // gone, or another one of that name by now
            Err(kube::Error::Api(status)) if status.code == 404 || status.code == 409 => None,
            Err(error) => Some(format!("{}/{}: {}", one.namespace, one.name, said(&error))),
        }
    });
    done.buffer_unordered(AT_ONCE).filter_map(async |failure| failure).collect().await
}

/// Takes Rolecall's labels away; the annotation that names the mapping stays, for whoever asks where it came from.
async fn let_go<K: Resource + Clone + DeserializeOwned + std::fmt::Debug>(api: &Api<K>, one: &Named) -> Result<(), kube::Error> {
    let labels = [names::MANAGED_BY, names::CLASS, names::OWNER, names::JOURNAL, names::SHARD];
    let none = |keys: &[&str]| serde_json::Value::Object(keys.iter().map(|key| ((*key).to_owned(), json!(null))).collect());
    let metadata = json!({"uid": one.uid, "labels": none(&labels), "annotations": none(&[names::TERM, names::OP])});
    let patch = Patch::Merge(json!({ "metadata": metadata }));
    api.patch(&one.name, &PatchParams::default(), &patch).await.map(drop)
}

async fn delete<K: Resource + Clone + DeserializeOwned + std::fmt::Debug>(api: &Api<K>, one: &Named) -> Result<(), kube::Error> {
    let params = DeleteParams::default().preconditions(Preconditions {
        uid: Some(one.uid.clone()),
        resource_version: None,
    });
    api.delete(&one.name, &params).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_controller_runs_while_its_lease_lasts() {
        let now: Timestamp = "2026-11-26T12:00:00Z".parse().expect("a time");
        let lease = |name: &str, holder: &str, renewed: &str| -> Lease {
            let spec = json!({"holderIdentity": holder, "leaseDurationSeconds": 15, "renewTime": renewed});
            serde_json::from_value(json!({"metadata": {"name": name}, "spec": spec})).expect("a lease")
        };
        for (name, holder, renewed, runs) in [
            ("rolecall-controller", "pod_1", "2026-11-26T11:59:50.000000Z", true),
            ("rolecall-controller", "pod_1", "2026-11-26T11:59:40.000000Z", false),
            ("rolecall-controller", "", "2026-11-26T11:59:59.000000Z", false),
            ("another", "pod_1", "2026-11-26T11:59:59.000000Z", false),
        ] {
            assert_eq!(
                held(&lease(name, holder, renewed), now).is_some(),
                runs,
                "{name} {holder} {renewed}"
            );
        }
    }
}
