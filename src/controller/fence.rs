//! Waits until the API server's fence refuses the old term and lets ours pass, by dry-run writes that grant nothing.

use std::time::Duration;

use http::Request;
use kube::Client;
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use crate::api::names;

/// What the probe needs to look like a binding of ours.
pub struct Probe {
    /// Rolecall's own namespace.
    pub namespace: String,
    /// The class label.
    pub class: String,
    /// A Role there that grants nothing; the chart brings it.
    pub role: String,
    /// The fence's name.
    pub fence: String,
}

/// Returns once a write of `old` is refused by the fence and one of `own` is not; false when that was not seen in `tries` tries,
/// which happens when the fence is missing: then no new grant is made anyway.
pub async fn settled(client: &Client, probe: &Probe, old: &str, own: &str, tries: u32) -> bool {
    for _ in 0..tries {
        if refused(client, probe, old).await == Some(true) && refused(client, probe, own).await == Some(false) {
            return true;
        }
        sleep(Duration::from_millis(20)).await;
    }
    false
}

/// Whether the fence refuses a dry-run POST of this term; `None` when there was no definite answer.
async fn refused(client: &Client, probe: &Probe, term: &str) -> Option<bool> {
    let name = format!("rolecall-{}", uuid::Uuid::new_v4().simple());
    let body = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {
            "name": name,
            "namespace": probe.namespace,
            "labels": {names::MANAGED_BY: names::MANAGED_BY_VALUE, names::CLASS: probe.class, names::OWNER: "probe", names::JOURNAL: "probe"},
            "annotations": {names::TERM: term},
        },
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": probe.role},
    });
    let request = Request::post(format!(
        "/apis/rbac.authorization.k8s.io/v1/namespaces/{}/rolebindings?dryRun=All&fieldValidation=Strict",
        probe.namespace
    ))
    .header(http::header::CONTENT_TYPE, "application/json")
    .body(serde_json::to_vec(&body).ok()?)
    .ok()?;
    match timeout(Duration::from_secs(5), client.request::<Value>(request)).await {
        Ok(Ok(_)) => Some(false),
        Ok(Err(kube::Error::Api(status))) if status.code == 422 && status.message.contains(&format!("'{}'", probe.fence)) => Some(true),
        Ok(Err(kube::Error::Api(status))) if status.code < 429 => {
            tracing::warn!(message = status.message, "the probe of the fence was refused by something else");
            Some(false)
        }
        _ => None,
    }
}
