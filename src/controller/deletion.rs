//! Whether a mapping or source that is no longer seen was deleted, by GETs that begin now. What follows from the answer is decided in `access`.

use kube::core::PartialObjectMeta;
use kube::{Api, Client, ResourceExt as _};

use super::world;
use crate::api::{ClusterRoleMapping, RoleMapping, ScimSource};

/// What the API server shows, asked in an order that proves something: the object first, its kind after.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shown {
    /// The object is there, with this UID.
    There(String),
    /// The object is not there, and afterwards its kind was: present, with this UID, terminating or not. `None`: no kind.
    Absent(Option<(String, bool)>),
}

/// Looks for a ScimSource.
///
/// # Errors
/// When the API server gives no answer: then nothing is known.
pub async fn source(client: &Client, name: &str) -> Result<Shown, kube::Error> {
    let api: Api<ScimSource> = Api::all(client.clone());
    look(client, "scimsources", get(&api, name).await?).await
}

/// Looks for a RoleMapping.
///
/// # Errors
/// When the API server gives no answer: then nothing is known.
pub async fn role_mapping(client: &Client, namespace: &str, name: &str) -> Result<Shown, kube::Error> {
    let api: Api<RoleMapping> = Api::namespaced(client.clone(), namespace);
    look(client, "rolemappings", get(&api, name).await?).await
}

/// Looks for a ClusterRoleMapping.
///
/// # Errors
/// When the API server gives no answer: then nothing is known.
pub async fn cluster_role_mapping(client: &Client, name: &str) -> Result<Shown, kube::Error> {
    let api: Api<ClusterRoleMapping> = Api::all(client.clone());
    look(client, "clusterrolemappings", get(&api, name).await?).await
}

async fn get<K>(api: &Api<K>, name: &str) -> Result<Option<PartialObjectMeta<K>>, kube::Error>
where
    K: kube::Resource<DynamicType = ()> + Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    match api.get_metadata_opt(name).await {
        // The kind itself is gone: 404 as well, which is what `world::crd` will find.
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
        other => other,
    }
}

// Were the kind asked for first, its deletion could begin between the two questions and look like a deletion of the object.
async fn look<K: kube::Resource>(client: &Client, plural: &str, object: Option<PartialObjectMeta<K>>) -> Result<Shown, kube::Error> {
    match object {
        Some(object) => Ok(Shown::There(object.uid().unwrap_or_default())),
        None => Ok(Shown::Absent(world::crd(client, plural).await?)),
    }
}
