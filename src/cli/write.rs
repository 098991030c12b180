//! What the plugin writes, with the caller's own rights: an approval, as an annotation; and the deletion of a binding that somebody made and that ours
//! cover. Nothing else.

use k8s_openapi::api::rbac::v1::{ClusterRoleBinding, RoleBinding};
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use kube::{Api, Client};
use serde_json::json;

use super::adopt::{self, Found, Outcome};
use super::read::{self, Error};
use crate::access::key::MappingKind;
use crate::access::ledger::On;
use crate::access::policy::AccessPolicy;
use crate::api::{ClusterRoleMapping, RoleMapping, ScimSource, names};

/// Approves what is held of a mapping or source up to that record.
///
/// # Errors
/// What the API server answers: 403 and 422 when the caller may not.
pub async fn approve(client: &Client, on: &On, record: i64) -> Result<(), Error> {
    let patch = Patch::Merge(json!({"metadata": {"annotations": {names::APPROVE: record.to_string()}}}));
    let (client, params) = (client.clone(), PatchParams::default());
    let done = match on {
        On::Source(name) => Api::<ScimSource>::all(client).patch(name, &params, &patch).await.map(drop),
        On::Mapping(key) if key.kind == MappingKind::ClusterRoleMapping => {
            let api = Api::<ClusterRoleMapping>::all(client);
            api.patch(&key.name, &params, &patch).await.map(drop)
        }
        On::Mapping(key) => {
            let api = Api::<RoleMapping>::namespaced(client, &key.namespace);
            api.patch(&key.name, &params, &patch).await.map(drop)
        }
    };
    done.map_err(|error| Error::Write(Box::new(error)))
}

/// Deletes a binding that somebody made, if it is still as it was shown, and ours still cover it.
pub async fn remove(client: &Client, shown: &Found, journals: &[String], policy: &AccessPolicy) -> Outcome {
    let now = match read::again(client, shown).await {
        Ok(now) if now.is_empty() => return Outcome::Gone,
        Ok(now) => now,
        Err(why) => return Outcome::Failed(format!("it cannot be looked at again: {why}")),
    };
    if let Err(why) = adopt::still(shown, &now, journals, policy) {
        return Outcome::Failed(why);
    }
    let params = DeleteParams::default().preconditions(Preconditions {
        uid: Some(shown.uid.clone()),
        resource_version: Some(shown.resource_version.clone()),
    });
    let done = match shown.namespace.as_str() {
        "" => {
            let api = Api::<ClusterRoleBinding>::all(client.clone());
            api.delete(&shown.name, &params).await.map(drop)
        }
        namespace => {
            let api = Api::<RoleBinding>::namespaced(client.clone(), namespace);
            api.delete(&shown.name, &params).await.map(drop)
        }
    };
    match done {
        Ok(()) => Outcome::Removed,
        Err(kube::Error::Api(status)) if status.code == 404 => Outcome::Gone,
        Err(kube::Error::Api(status)) if status.code == 409 => Outcome::Failed("it was changed in this moment".to_owned()),
        Err(kube::Error::Api(status)) if status.code < 500 => Outcome::Failed(status.message),
        Err(error) => Outcome::Failed(format!("it may be deleted or not, nobody answered: {}", read::said(&error))),
    }
}
