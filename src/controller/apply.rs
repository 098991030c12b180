//! One write to one binding, raw and strict, and what its answer means. It decides nothing: what to do next is the engine's.

use std::time::Duration;

use http::{Method, Request};
use k8s_openapi::api::rbac::v1::{ClusterRoleBinding, RoleBinding};
use kube::{Client, Error};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::access::binding::{Observed, wide};

/// One write. PUT and DELETE carry `uid` and `resourceVersion`: without the uid a PUT would recreate a deleted RoleBinding.
#[derive(Clone, Debug)]
pub struct Write {
    /// The binding's namespace; empty for a ClusterRoleBinding.
    pub namespace: String,
    /// The binding's name.
    pub name: String,
    /// What is sent.
    pub verb: Verb,
}

/// What is sent.
#[derive(Clone, Debug)]
pub enum Verb {
    /// Create it.
    Post(Value),
    /// Replace it; the body names uid and resourceVersion.
    Put(Value),
    /// Delete it, if it still is this one.
    Delete {
        /// The object's uid.
        uid: String,
        /// The object's resourceVersion.
        resource_version: String,
    },
}

/// What an answer means.
#[derive(Clone, Debug)]
pub enum Answer {
    /// Written; the object as stored.
    Written(Box<Observed>),
    /// Deleted, or a GET agrees that it is gone.
    Gone,
    /// The name is taken, or the object is not the one that was meant; the object as a GET shows it now.
    Other(Box<Observed>),
    /// The fence refused: written by a controller that no longer leads, or the policy has not seen our Lease yet.
    Fenced(String),
    /// Kubernetes refuses (RBAC, an admission policy, validation); the message is Kubernetes' own.
    Refused(String),
    /// The namespace is terminating or gone: nothing is written there.
    NamespaceGoing,
    /// No definite answer: it may have been written, or may still be.
    Unknown(String),
}

/// Writes with a deadline.
#[derive(Clone)]
pub struct Writer {
    client: Client,
    deadline: Duration,
    fence: String,
}

impl Writer {
    /// A writer whose requests end after `deadline`; `fence` is the name of the admission policy that compares terms.
    pub fn new(client: Client, deadline: Duration, fence: String) -> Self {
        Self { client, deadline, fence }
    }

    /// Sends one write and says what the answer means.
    pub async fn write(&self, write: &Write) -> Answer {
        let (method, path, body) = match &write.verb {
            Verb::Post(body) => (Method::POST, collection(&write.namespace), body.clone()),
            Verb::Put(body) => (Method::PUT, item(&write.namespace, &write.name), body.clone()),
            Verb::Delete { uid, resource_version } => (
                Method::DELETE,
                item(&write.namespace, &write.name),
                json!({"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": uid, "resourceVersion": resource_version}}),
            ),
        };
        let deleting = matches!(write.verb, Verb::Delete { .. });
        let answer = self.send::<Value>(method, &path, &body).await;
        match answer {
            Ok(_) if deleting => Answer::Gone,
            Ok(value) => match binding(&write.namespace, value) {
                Ok(binding) => Answer::Written(binding),
                Err(error) => Answer::Unknown(format!("an answer that is no binding: {error}")),
            },
            Err(Failure::Status { code, message }) => self.refused(write, code, message).await,
            Err(Failure::Unknown(why)) => Answer::Unknown(why),
        }
    }

    async fn refused(&self, write: &Write, code: u16, message: String) -> Answer {
        match code {
            // A namespace that is going answers a POST with 403 and this cause; nothing of ours belongs there.
            403 | 409 if message.contains("being terminated") || message.contains("object is being deleted") => Answer::NamespaceGoing,
            404 if message.contains("namespaces \"") => Answer::NamespaceGoing,
            409 => self.look(write).await,
            // A 404 names the binding also when its role is gone: it counts only if a GET agrees.
            404 => match self.look(write).await {
                Answer::Other(found) => {
                    if matches!(write.verb, Verb::Put(_)) {
                        Answer::Refused(format!("the role is gone: {message}"))
                    } else {
                        Answer::Other(found)
                    }
                }
                // what a POST misses is what it names: the role
                Answer::Gone if matches!(write.verb, Verb::Post(_)) => Answer::Refused(message),
                other => other,
            },
            422 if message.contains(&format!("'{}'", self.fence)) => Answer::Fenced(message),
            400..500 => Answer::Refused(message),
            _ => Answer::Unknown(message),
        }
    }

    /// What a GET shows under the name of a write.
    pub async fn look(&self, write: &Write) -> Answer {
        match self
            .send::<Value>(Method::GET, &item(&write.namespace, &write.name), &Value::Null)
            .await
        {
            Ok(value) => match binding(&write.namespace, value) {
                Ok(binding) => Answer::Other(binding),
                Err(error) => Answer::Unknown(format!("an answer that is no binding: {error}")),
            },
            Err(Failure::Status { code: 404, message }) if message.contains("namespaces \"") => Answer::NamespaceGoing,
            Err(Failure::Status { code: 404, .. }) => Answer::Gone,
            Err(Failure::Status { message, .. } | Failure::Unknown(message)) => Answer::Unknown(message),
        }
    }

    async fn send<T: serde::de::DeserializeOwned>(&self, method: Method, path: &str, body: &Value) -> Result<T, Failure> {
        let mut uri = path.to_owned();
        if method == Method::POST || method == Method::PUT {
            uri.push_str("?fieldValidation=Strict");
        }
        let bytes = if body.is_null() {
            Vec::new()
        } else {
            serde_json::to_vec(body).map_err(|e| Failure::Unknown(e.to_string()))?
        };
        let request = Request::builder()
            .method(method)
            .uri(uri)
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(bytes)
            .map_err(|e| Failure::Unknown(e.to_string()))?;
        match timeout(self.deadline, self.client.request::<T>(request)).await {
            Ok(Ok(value)) => Ok(value),
            // 429 and 5xx say nothing of whether it was done.
            Ok(Err(Error::Api(status))) if status.code >= 500 || status.code == 429 => Err(Failure::Unknown(status.message)),
            Ok(Err(Error::Api(status))) => Err(Failure::Status {
                code: status.code,
                message: status.message,
            }),
            Ok(Err(error)) => Err(Failure::Unknown(error.to_string())),
            Err(_) => Err(Failure::Unknown(format!("no answer within {:?}", self.deadline))),
        }
    }
}

enum Failure {
    Status { code: u16, message: String },
    Unknown(String),
}

/// What the API server shows: a ClusterRoleBinding, where there is no namespace.
fn binding(namespace: &str, value: Value) -> Result<Box<Observed>, String> {
    let object: Result<RoleBinding, _> = match namespace {
        "" => serde_json::from_value::<ClusterRoleBinding>(value).map(wide),
        _ => serde_json::from_value(value),
    };
    let seen = Observed::of(&object.map_err(|error| error.to_string())?);
    seen.map(Box::new).ok_or_else(|| "it has no UID or resourceVersion".to_owned())
}

fn collection(namespace: &str) -> String {
    if namespace.is_empty() {
        return "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings".to_owned();
    }
    format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}/rolebindings")
}

fn item(namespace: &str, name: &str) -> String {
    format!("{}/{name}", collection(namespace))
}
