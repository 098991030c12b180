//! The one thing that the plugin writes, with the caller's own rights: an approval, as an annotation.

use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use serde_json::json;

use super::read::Error;
use crate::access::key::MappingKind;
use crate::access::ledger::On;
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
