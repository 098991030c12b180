//! What the plugin reads, with the caller's own rights: what they do not allow becomes a note, and not an error. Nothing is computed here.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use k8s_openapi::api::rbac::v1::{ClusterRoleBinding, RoleBinding};
use kube::api::ListParams;
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;

use super::adopt::Found;
use super::plan::Asked;
use crate::access::binding::{Observed, wide};
use crate::access::ledger::Ledger;
use crate::access::policy::AccessPolicy;
use crate::access::targets::{NamespaceInfo, Namespaces};
use crate::api::names as labels;
use crate::api::{ClusterRoleMapping, Journal as Root, RoleMapping, ScimSource};
use crate::directory::Directory;
use crate::journal::store::Kubernetes;
use crate::journal::{Error as JournalError, Snapshot, State, load};
use crate::ops::metrics::Requests;
use crate::ops::{client, pages};

/// Everything that was read.
#[derive(Default)]
pub struct World {
    /// All sources.
    pub sources: Vec<ScimSource>,
    /// The RoleMappings that may be read: those of all namespaces, or of the one asked for.
    pub role_mappings: Vec<RoleMapping>,
    /// All ClusterRoleMappings.
    pub cluster_role_mappings: Vec<ClusterRoleMapping>,
    /// The namespace whose RoleMappings are asked for; `None`: all.
    pub namespace: Option<String>,
    /// All mappings were read: what is not among them is gone.
    pub complete: bool,
    /// The namespaces with their labels, if they may be read.
    pub namespaces: Option<Namespaces>,
    /// The installations in the cluster, each with its journals.
    pub installations: Vec<Installation>,
    /// What could not be read, and what that means.
    pub notes: Vec<String>,
}

/// One installation: its two journals, as far as they may be read.
pub struct Installation {
    /// Where it is.
    pub namespace: String,
    /// The id of both journals; empty if it is not known.
    pub id: String,
    /// What the identity providers said.
    pub directory: Option<Snapshot<Directory>>,
    /// What was granted.
    pub access: Option<Snapshot<Ledger>>,
}

/// Which namespaces' RoleMappings.
pub enum Scope {
    /// All.
    All,
    /// One.
    Namespace(String),
    /// That of the kubeconfig's context.
    Default,
}

/// Why nothing can be shown.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No client.
    #[error("no connection to a cluster")]
    Client(#[source] client::Error),
    /// The API server does not answer, or does not know our kinds.
    #[error("{0} cannot be read")]
    Read(&'static str, #[source] Box<kube::Error>),
    /// The API server refuses an approval.
    #[error("the approval was not written")]
    Write(#[source] Box<kube::Error>),
    /// Nobody is there to answer.
    #[error("cannot ask: {0}; with --yes nobody is asked")]
    Ask(&'static str),
    /// What a plan is made from is not all there.
    #[error("{0}")]
    Plan(String),
    /// The result is no JSON.
    #[error("the result cannot be printed")]
    Print(#[source] serde_json::Error),
}

/// A client of that context of the kubeconfig.
pub async fn connect(context: Option<&str>) -> Result<Client, Error> {
    client::connect(context, &Requests::default()).await.map_err(Error::Client)
}

/// Asks on the terminal; anything but yes is no.
pub fn confirm(question: &str) -> Result<bool, Error> {
    use std::io::{IsTerminal as _, Write as _};
    if !std::io::stdin().is_terminal() {
        return Err(Error::Ask("standard input is no terminal"));
    }
    let mut out = std::io::stderr().lock();
    let mut answer = String::new();
    let asked = out.write_all(question.as_bytes()).and_then(|()| out.flush());
    asked
        .and_then(|()| std::io::stdin().read_line(&mut answer))
        .map_err(|_| Error::Ask("the terminal is gone"))?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}

/// Reads everything at once.
pub async fn world(client: &Client, scope: Scope, system_namespace: &str) -> Result<World, Error> {
    let namespace = scope.namespace(client);
    let (all_sources, all_mappings, all_cluster_mappings, all_namespaces, all_roots) = (
        Api::<ScimSource>::all(client.clone()),
        Api::<RoleMapping>::all(client.clone()),
        Api::<ClusterRoleMapping>::all(client.clone()),
        Api::<Namespace>::all(client.clone()),
        Api::<Root>::all(client.clone()),
    );
    let (sources, mappings, cluster_mappings, namespaces, roots) = tokio::join!(
        list(&all_sources, "ScimSources"),
        list(&all_mappings, "RoleMappings"),
        list(&all_cluster_mappings, "ClusterRoleMappings"),
        list(&all_namespaces, "Namespaces"),
        list(&all_roots, "Journals"),
    );
    let mut world = World::default();
    world.complete = mappings.as_ref().is_ok_and(Option::is_some) && cluster_mappings.as_ref().is_ok_and(Option::is_some);
    world.sources = world.or_note(sources?, "you may not list ScimSources");
    world.cluster_role_mappings = world.or_note(cluster_mappings?, "you may not list ClusterRoleMappings");
    world.role_mappings = match (mappings?, &namespace) {
        (Some(all), _) => all,
        (None, None) => world.or_note(None, "you may not list RoleMappings in all namespaces: name one with -n"),
        (None, Some(namespace)) => {
            let own = list(&Api::namespaced(client.clone(), namespace), "RoleMappings").await?;
            world.or_note(own, &format!("you may not list RoleMappings in namespace {namespace}"))
        }
    };
    world.namespaces = namespaces?.map(|all| all.into_iter().map(info).collect());
    world.namespace = namespace;
    let mut places: Vec<String> = match roots? {
        Some(roots) => roots.into_iter().filter_map(|root| root.namespace()).collect(),
        None => vec![system_namespace.to_owned()],
    };
    places.sort();
    places.dedup();
    let read = join_all(places.into_iter().map(|place| installation(client, place))).await;
    for (installation, notes) in read {
        world.installations.push(installation);
        world.notes.extend(notes);
    }
    Ok(world)
}

impl Scope {
    /// The namespace; `None`: all.
    pub fn namespace(self, client: &Client) -> Option<String> {
        match self {
            Self::All => None,
            Self::Namespace(namespace) => Some(namespace),
            Self::Default => Some(client.default_namespace().to_owned()),
        }
    }
}

impl World {
    fn or_note<T>(&mut self, read: Option<Vec<T>>, note: &str) -> Vec<T> {
        read.unwrap_or_else(|| {
            self.notes.push(note.to_owned());
            Vec::new()
        })
    }
}

/// A whole list; `None` if the caller may not.
async fn list<K>(api: &Api<K>, what: &'static str) -> Result<Option<Vec<K>>, Error>
where
    K: Resource + Clone + DeserializeOwned + std::fmt::Debug,
{
    list_with(api, what, ListParams::default()).await
}

pub(super) async fn list_with<K>(api: &Api<K>, what: &'static str, params: ListParams) -> Result<Option<Vec<K>>, Error>
where
    K: Resource + Clone + DeserializeOwned + std::fmt::Debug,
{
    let mut items = Vec::new();
    match pages::each(api, &params, usize::MAX, |item| items.push(item)).await {
        Ok(_) => Ok(Some(items)),
        Err(kube::Error::Api(status)) if status.code == 403 => Ok(None),
        Err(error) => Err(Error::Read(what, Box::new(error))),
    }
}

fn info(namespace: Namespace) -> (String, Arc<NamespaceInfo>) {
    let name = namespace.name_any();
    let info = NamespaceInfo {
        name: name.clone(),
        labels: namespace.metadata.labels.unwrap_or_default(),
        terminating: namespace.metadata.deletion_timestamp.is_some(),
    };
    (name, Arc::new(info))
}

async fn installation(client: &Client, namespace: String) -> (Installation, Vec<String>) {
    let (directory, access) = tokio::join!(
        journal(client, &namespace, "directory", Directory::default()),
        journal(client, &namespace, "access", Ledger::default()),
    );
    let mut notes = Vec::new();
    let directory = directory.map_err(|why| notes.push(why)).ok();
    let access = access.map_err(|why| notes.push(why)).ok();
    if notes.iter().any(|note| note.contains("may not read")) {
        notes.push(format!(
            "without the journals this shows no people, and of groups only what the statuses hold; it needs get on journals and segments (rolecall.dev) in namespace {namespace}"
        ));
    }
    let id = directory.as_ref().map(|s| &s.position).or(access.as_ref().map(|s| &s.position));
    let id = id.map(|position| position.id.to_string()).unwrap_or_default();
    let installation = Installation {
        namespace,
        id,
        directory,
        access,
    };
    (installation, notes)
}

/// One journal, read once from its beginning; or why not.
async fn journal<S: State>(client: &Client, namespace: &str, name: &str, initial: S) -> Result<Snapshot<S>, String> {
    let store = Kubernetes::new(client.clone(), namespace, name).with_deadline(Duration::from_secs(30));
    load(Arc::new(store), initial, Vec::new()).await.map_err(|error| match error {
        JournalError::Store(crate::journal::StoreError::Refused { status: 403, .. }) => {
            format!("you may not read the journal {name} in namespace {namespace}")
        }
        JournalError::Lost(loss) => format!("the journal {name} in namespace {namespace} is lost: {loss}"),
        JournalError::Store(error) => format!("the journal {name} in namespace {namespace} cannot be read: {error}"),
        error => format!("the journal {name} in namespace {namespace} cannot be read: {error}"),
    })
}

/// The bindings of Rolecall's that stand, in all namespaces.
pub async fn bindings(client: &Client) -> Result<Vec<Observed>, Error> {
    let params = ListParams::default().labels(&format!("{}={}", labels::MANAGED_BY, labels::MANAGED_BY_VALUE));
    let refused = |what: &str| Error::Plan(format!("you may not list {what}: a plan compares with what stands"));
    let all = list_with(&Api::<RoleBinding>::all(client.clone()), "RoleBindings", params.clone()).await?;
    let mut all = all.ok_or_else(|| refused("RoleBindings in all namespaces"))?;
    let everywhere = list_with(&Api::<ClusterRoleBinding>::all(client.clone()), "ClusterRoleBindings", params).await?;
    all.extend(everywhere.ok_or_else(|| refused("ClusterRoleBindings"))?.into_iter().map(wide));
    Ok(all.iter().filter_map(Observed::of).collect())
}

/// The installations in the cluster with their ids, and nothing of what their journals hold.
pub async fn installations(client: &Client, system_namespace: &str) -> Result<World, Error> {
    let roots = match list(&Api::<Root>::all(client.clone()), "Journals").await? {
        Some(roots) => roots,
        None => {
            let here: Api<Root> = Api::namespaced(client.clone(), system_namespace);
            let root = here.get_opt("access").await.map_err(|error| {
                let why = said(&error);
                Error::Plan(format!(
                    "which bindings are Rolecall's is known by the id of its journal, which needs get on journals (rolecall.dev) in namespace {system_namespace} (--system-namespace): {why}"
                ))
            })?;
            root.into_iter().collect()
        }
    };
    let of_root = |root: Root| Installation {
        namespace: root.namespace().unwrap_or_default(),
        id: root.spec.id,
        directory: None,
        access: None,
    };
    let roots = roots.into_iter().filter(|root| root.name_any() == "access");
    let installations: Vec<Installation> = roots.map(of_root).collect();
    if installations.is_empty() {
        return Err(Error::Plan(
            "there is no access journal, so that no binding of Rolecall's stands: start its controller first".to_owned(),
        ));
    }
    Ok(World {
        installations,
        ..World::default()
    })
}

/// The RoleBindings of that namespace, and Rolecall's ClusterRoleBindings; or all RoleBindings and ClusterRoleBindings. And what may not be read.
pub async fn standing(client: &Client, namespace: Option<&str>) -> Result<(Vec<RoleBinding>, Vec<String>), Error> {
    let ours = ListParams::default().labels(&format!("{}={}", labels::MANAGED_BY, labels::MANAGED_BY_VALUE));
    let (here, params, refused) = match namespace {
        Some(namespace) => (
            Api::<RoleBinding>::namespaced(client.clone(), namespace),
            ours,
            format!("you may not list RoleBindings in namespace {namespace}"),
        ),
        None => (
            Api::<RoleBinding>::all(client.clone()),
            ListParams::default(),
            "you may not list RoleBindings in all namespaces: name one with -n".to_owned(),
        ),
    };
    let all = list(&here, "RoleBindings").await?;
    let mut all = all.ok_or(Error::Plan(refused))?;
    let everywhere = list_with(&Api::<ClusterRoleBinding>::all(client.clone()), "ClusterRoleBindings", params).await?;
    let mut notes = Vec::new();
    match everywhere {
        Some(everywhere) => all.extend(everywhere.into_iter().map(wide)),
        None => {
            notes.push(
                "you may not list ClusterRoleBindings: what is granted in the whole cluster is not seen, and covers nothing".to_owned(),
            );
        }
    }
    Ok((all, notes))
}

/// A binding that somebody made and those of ours that cover it, as they stand in this moment; empty: it is gone.
///
/// # Errors
/// What cannot be read, for people.
pub async fn again(client: &Client, shown: &Found) -> Result<Vec<RoleBinding>, String> {
    let mut all = Vec::from_iter(look(client, &shown.namespace, &shown.name).await?);
    if all.is_empty() {
        return Ok(all);
    }
    for ours in &shown.by {
        all.extend(look(client, &ours.namespace, &ours.name).await?);
    }
    Ok(all)
}

async fn look(client: &Client, namespace: &str, name: &str) -> Result<Option<RoleBinding>, String> {
    let found = match namespace {
        "" => Api::<ClusterRoleBinding>::all(client.clone())
            .get_opt(name)
            .await
            .map(|found| found.map(wide)),
        _ => Api::<RoleBinding>::namespaced(client.clone(), namespace).get_opt(name).await,
    };
    found.map_err(|error| said(&error))
}

/// What the API server says, or why it says nothing.
pub fn said(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        other => other.to_string(),
    }
}

/// The access policy: that file, or what the chart put into the namespaces of the installations.
pub async fn policy(client: &Client, world: &World, file: Option<&Path>) -> Result<AccessPolicy, Error> {
    let wrong = |error: String| Error::Plan(error);
    let text = match file {
        Some(path) => std::fs::read_to_string(path).map_err(|error| wrong(format!("{}: {error}", path.display())))?,
        None => {
            let mut found = Vec::new();
            for installation in &world.installations {
                let api: Api<ConfigMap> = Api::namespaced(client.clone(), &installation.namespace);
                let maps = list(&api, "ConfigMaps").await?.unwrap_or_default();
                found.extend(maps.into_iter().filter_map(|map| map.data?.remove(POLICY_KEY)));
            }
            match found.len() {
                1 => found.remove(0),
                n => {
                    return Err(wrong(format!(
                        "{n} access policies can be read in Rolecall's namespaces, and one is needed: give it by --access-policy=FILE (kubectl get configmap <release>-access-policy -o jsonpath='{{.data.access-policy\\.yaml}}')"
                    )));
                }
            }
        }
    };
    AccessPolicy::parse(&text).map_err(|error| wrong(error.to_string()))
}

/// The key of the chart's ConfigMap.
const POLICY_KEY: &str = "access-policy.yaml";

/// The mappings of a file of YAML or JSON documents, `-` for standard input; those without a namespace are of `namespace`.
pub fn mappings(path: &Path, namespace: &str) -> Result<Vec<Asked>, Error> {
    let name = path.display();
    let wrong = |error: String| Error::Plan(format!("{name}: {error}"));
    let text = match path.as_os_str() == "-" {
        true => std::io::read_to_string(std::io::stdin()),
        false => std::fs::read_to_string(path),
    };
    let text = text.map_err(|error| wrong(error.to_string()))?;
    let documents: Vec<serde_json::Value> = serde_saphyr::from_multiple(&text).map_err(|error| wrong(error.to_string()))?;
    let mut asked = Vec::new();
    for document in documents {
        let items = match document["kind"].as_str() {
            Some("List") => document["items"].as_array().cloned().unwrap_or_default(),
            _ => vec![document],
        };
        for item in items {
            let of_ours = item["apiVersion"]
                .as_str()
                .is_some_and(|version| version.starts_with(crate::api::GROUP));
            let read = |error: serde_json::Error| wrong(error.to_string());
            match item["kind"].as_str().filter(|_| of_ours) {
                Some("RoleMapping") => {
                    let mut object: RoleMapping = serde_json::from_value(item).map_err(read)?;
                    object.metadata.namespace.get_or_insert_with(|| namespace.to_owned());
                    asked.push(Asked::Namespaced(Box::new(object)));
                }
                Some("ClusterRoleMapping") => asked.push(Asked::Cluster(Box::new(serde_json::from_value(item).map_err(read)?))),
                _ => {} // other people's objects stand in the same file
            }
        }
    }
    match asked.is_empty() {
        true => Err(wrong("there is no RoleMapping and no ClusterRoleMapping in it".to_owned())),
        false => Ok(asked),
    }
}
