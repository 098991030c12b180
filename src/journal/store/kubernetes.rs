//! A journal in the Kubernetes API: raw, strict requests, each one attempt with a deadline. The client must not retry by itself.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::{self, BoxStream};
use futures::{AsyncBufReadExt, StreamExt};
use http::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_TYPE, RETRY_AFTER};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Limited};
use kube::Client;
use kube::client::Body;
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use super::{Hint, Listed, Root, Store, StoreError};
use crate::api::names::{JOURNAL, MANAGED_BY, MANAGED_BY_VALUE};
use crate::api::{JournalSpec, SegmentSpec};

/// The most bytes of an answer: etcd holds no object larger than 2 MiB, and lists come in pages.
const ANSWER_MAX: usize = 8 * 1024 * 1024;
/// How long one watch lasts; the API server ends it.
const WATCH_SECONDS: u64 = 290;
const GROUP: &str = "rolecall.dev/v1alpha1";
const STRICT: &str = "fieldValidation=Strict&fieldManager=rolecall";

/// A journal in a namespace of a cluster.
pub struct Kubernetes {
    client: Client,
    group: String,
    namespace: String,
    name: String,
    deadline: Duration,
}

impl Kubernetes {
    /// The journal `name` in `namespace`. The client must be built without its retry layer.
    pub fn new(client: Client, namespace: &str, name: &str) -> Self {
        Self {
            client,
            group: GROUP.to_owned(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            deadline: Duration::from_secs(5),
        }
    }

    /// With another deadline for each request (5 s).
    pub fn with_deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// With CRDs of another group, such as those of an older release beside ours: for tests.
    #[doc(hidden)]
    pub fn in_group(mut self, group: &str) -> Self {
        self.group = format!("{group}/v1alpha1");
        self
    }

    fn path(&self, plural: &str, name: &str) -> String {
        let slash = if name.is_empty() { "" } else { "/" };
        format!("/apis/{}/namespaces/{}/{plural}{slash}{name}", self.group, self.namespace)
    }

    /// One attempt: the body of a 2xx answer, or what the failure means.
    async fn call(&self, request: Request<Body>) -> Result<Vec<u8>, StoreError> {
        let attempt = async {
            let response = self.client.send(request).await.map_err(transport)?;
            let status = response.status();
            let retry_after = response
                .headers()
                .get(RETRY_AFTER)
                .and_then(|value| value.to_str().ok()?.parse().ok())
                .map(Duration::from_secs);
            // Even the body of a success may be cut off: then nobody knows what was stored.
            let body = Limited::new(response.into_body(), ANSWER_MAX)
                .collect()
                .await
                .map_err(|error| StoreError::unknown(error.to_string()))?
                .to_bytes();
            if status.is_success() {
                return Ok(body.to_vec());
            }
            Err(failure(status, retry_after, &body))
        };
        match tokio::time::timeout(self.deadline, attempt).await {
            Ok(result) => result,
            Err(_) => Err(StoreError::unknown(format!("no answer in {:?}", self.deadline))),
        }
    }

    async fn get(&self, path: &str, accept: &str) -> Result<Vec<u8>, StoreError> {
        let request = Request::get(path).header(ACCEPT, accept).body(Body::empty());
        self.call(request.map_err(malformed)?).await
    }

    async fn send(&self, method: Method, path: &str, body: Vec<u8>) -> Result<Vec<u8>, StoreError> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(ACCEPT, "application/json")
            .header(CONTENT_TYPE, "application/json")
            .body(Body::from(body));
        self.call(request.map_err(malformed)?).await
    }

    fn root_body(&self, metadata: &str, spec: &JournalSpec) -> Result<Vec<u8>, StoreError> {
        let spec = serde_json::to_string(spec).map_err(malformed)?;
        let (group, name, namespace) = (&self.group, &self.name, &self.namespace);
        let head =
            format!("{{\"apiVersion\":\"{group}\",\"kind\":\"Journal\",\"metadata\":{{\"name\":\"{name}\",\"namespace\":\"{namespace}\"");
        Ok(format!("{head}{metadata}}},\"spec\":{spec}}}").into_bytes())
    }
}

#[async_trait]
impl Store for Kubernetes {
    fn name(&self) -> &str {
        &self.name
    }

    async fn root(&self) -> Result<Root, StoreError> {
        let body = self.get(&self.path("journals", &self.name), "application/json").await?;
        parse_root(&body)
    }

    async fn swap(&self, base: &Root, spec: &JournalSpec) -> Result<Root, StoreError> {
        let comma = if base.kept.is_empty() { "" } else { "," };
        // Nobody applies a root, so nobody needs to know who owns its fields: without managedFields a PUT costs the API server a
        // fifth less, and etcd 400 bytes less.
        let metadata = format!(
            ",\"uid\":\"{}\",\"resourceVersion\":\"{}\",\"managedFields\":[{{}}]{comma}{}",
            base.uid, base.version, base.kept
        );
        let body = self.root_body(&metadata, spec)?;
        let path = format!("{}?{STRICT}", self.path("journals", &self.name));
        parse_root(&self.send(Method::PUT, &path, body).await?)
    }

    async fn create_root(&self, spec: &JournalSpec) -> Result<Root, StoreError> {
        let labels = json!({JOURNAL: spec.id, MANAGED_BY: MANAGED_BY_VALUE});
        let body = self.root_body(&format!(",\"labels\":{labels}"), spec)?;
        let path = format!("{}?{STRICT}", self.path("journals", ""));
        parse_root(&self.send(Method::POST, &path, body).await?)
    }

    async fn segment(&self, name: &str) -> Result<SegmentSpec, StoreError> {
        #[derive(Deserialize)]
        struct Object<'a> {
            #[serde(borrow)]
            spec: &'a RawValue,
        }
        let body = self.get(&self.path("segments", name), "application/json").await?;
        let object: Object<'_> = serde_json::from_slice(&body).map_err(garbled)?;
        serde_json::from_str(object.spec.get()).map_err(malformed)
    }

    async fn create_segment(&self, id: &str, name: &str, spec: &SegmentSpec) -> Result<(), StoreError> {
        let object = json!({
            "apiVersion": self.group, "kind": "Segment",
            "metadata": {"name": name, "namespace": self.namespace, "labels": {JOURNAL: id, MANAGED_BY: MANAGED_BY_VALUE}},
        });
        // The spec is half a megabyte: it is written once, and not copied through a tree of values.
        let mut body = serde_json::to_vec(&object).map_err(malformed)?;
        body.pop();
        body.extend_from_slice(b",\"spec\":");
        serde_json::to_writer(&mut body, spec).map_err(malformed)?;
        body.push(b'}');
        let path = format!("{}?{STRICT}", self.path("segments", ""));
        self.send(Method::POST, &path, body).await.map(|_| ())
    }

    async fn segments(&self) -> Result<Vec<Listed>, StoreError> {
        const NAMES: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
        #[derive(Deserialize)]
        struct List {
            metadata: ListMeta,
            // An empty list of metadata is `null`.
            items: Option<Vec<Item>>,
        }
        #[derive(Deserialize)]
        struct ListMeta {
            #[serde(default, rename = "continue")]
            more: String,
        }
        #[derive(Deserialize)]
        struct Item {
            metadata: ItemMeta,
        }
        #[derive(Deserialize)]
        struct ItemMeta {
            name: String,
            uid: String,
            #[serde(default)]
            labels: std::collections::BTreeMap<String, String>,
        }
        let prefix = format!("{}-", self.name);
        let mut found = Vec::new();
        let mut more = String::new();
        loop {
            let token = percent_encoding::utf8_percent_encode(&more, percent_encoding::NON_ALPHANUMERIC);
            let path = format!("{}?limit=500&continue={token}", self.path("segments", ""));
            let list: List = serde_json::from_slice(&self.get(&path, NAMES).await?).map_err(garbled)?;
            found.extend(
                list.items
                    .unwrap_or_default()
                    .into_iter()
                    .map(|item| item.metadata)
                    .filter(|segment| segment.name.starts_with(&prefix))
                    .map(|mut segment| Listed {
                        name: segment.name,
                        uid: segment.uid,
                        id: segment.labels.remove(JOURNAL).unwrap_or_default(),
                    }),
            );
            more = list.metadata.more;
            if more.is_empty() {
                return Ok(found);
            }
        }
    }

    async fn delete_segment(&self, segment: &Listed) -> Result<(), StoreError> {
        let options = json!({"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": segment.uid}});
        let body = serde_json::to_vec(&options).map_err(malformed)?;
        self.send(Method::DELETE, &self.path("segments", &segment.name), body)
            .await
            .map(|_| ())
    }

    async fn watch(&self, after: &str) -> Result<BoxStream<'static, Result<Hint, StoreError>>, StoreError> {
        let path = format!(
            "{}?watch=true&fieldSelector=metadata.name%3D{}&resourceVersion={after}&timeoutSeconds={WATCH_SECONDS}",
            self.path("journals", ""),
            self.name
        );
        // Kubernetes 1.37 compresses each event of a watch by itself, which few clients can read.
        let request = Request::get(path)
            .header(ACCEPT, "application/json")
            .header(ACCEPT_ENCODING, "identity")
            .body(Vec::new())
            .map_err(malformed)?;
        let lines = match tokio::time::timeout(self.deadline, self.client.request_stream(request)).await {
            Err(_) => return Err(StoreError::unknown(format!("no answer in {:?}", self.deadline))),
            Ok(Err(kube::Error::Api(status))) => {
                let code = StatusCode::from_u16(status.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                return Err(failure(code, None, &serde_json::to_vec(&status).unwrap_or_default()));
            }
            Ok(Err(error)) => return Err(transport(error)),
            Ok(Ok(reader)) => Box::pin(reader).lines(),
        };
        let end = tokio::time::Instant::now() + Duration::from_secs(WATCH_SECONDS + 30);
        let hints = stream::unfold(Some(lines), move |lines| async move {
            let mut lines = lines?;
            match tokio::time::timeout_at(end, lines.next()).await {
                Ok(Some(Ok(line))) => match parse_hint(&line) {
                    Ok(hint) => Some((Ok(hint), Some(lines))),
                    Err(error) => Some((Err(error), None)),
                },
                Ok(Some(Err(error))) => Some((Err(StoreError::unknown(error.to_string())), None)),
                Ok(None) | Err(_) => None,
            }
        });
        Ok(hints.boxed())
    }
}

/// What does not even look like an object of ours came from somewhere on the way.
fn garbled(error: serde_json::Error) -> StoreError {
    StoreError::unknown(format!("an answer that is no object: {error}"))
}

fn malformed(error: impl std::fmt::Display) -> StoreError {
    StoreError::Malformed(error.to_string())
}

fn transport(error: kube::Error) -> StoreError {
    let mut message = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(error) = source {
        message = format!("{message}: {error}");
        source = error.source();
    }
    StoreError::unknown(message)
}

/// What an answer other than 2xx means.
fn failure(status: StatusCode, retry_after: Option<Duration>, body: &[u8]) -> StoreError {
    #[derive(Deserialize, Default)]
    #[serde(default)]
    struct Status {
        message: String,
        reason: String,
        details: Option<Details>,
    }
    #[derive(Deserialize, Default)]
    #[serde(default)]
    struct Details {
        name: String,
    }
    let parsed: Status = serde_json::from_slice(body).unwrap_or_default();
    let message = if parsed.message.is_empty() {
        String::from_utf8_lossy(body).trim().chars().take(500).collect()
    } else {
        parsed.message
    };
    match status.as_u16() {
        404 if parsed.details.is_some_and(|details| !details.name.is_empty()) => StoreError::NotFound,
        404 => StoreError::NoSuchKind,
        409 if parsed.reason == "AlreadyExists" => StoreError::AlreadyExists,
        409 => StoreError::Conflict,
        422 => StoreError::Invalid(message),
        // 408 and 429 may come from anything on the way, and say nothing of what the API server did.
        408 | 429 => StoreError::Unknown { message, retry_after },
        status if status >= 500 => StoreError::Unknown { message, retry_after },
        status => StoreError::Refused { status, message },
    }
}

#[derive(Deserialize)]
struct RootObject<'a> {
    #[serde(borrow)]
    metadata: Metadata<'a>,
    spec: &'a RawValue,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata<'a> {
    uid: String,
    resource_version: String,
    #[serde(default)]
    deletion_timestamp: Option<serde::de::IgnoredAny>,
    #[serde(borrow, default)]
    labels: Option<&'a RawValue>,
    #[serde(borrow, default)]
    annotations: Option<&'a RawValue>,
    #[serde(borrow, default)]
    finalizers: Option<&'a RawValue>,
    #[serde(borrow, default)]
    owner_references: Option<&'a RawValue>,
}

fn parse_root(body: &[u8]) -> Result<Root, StoreError> {
    let object: RootObject<'_> = serde_json::from_slice(body).map_err(garbled)?;
    let metadata = object.metadata;
    let kept: Vec<String> = [
        ("labels", metadata.labels),
        ("annotations", metadata.annotations),
        ("finalizers", metadata.finalizers),
        ("ownerReferences", metadata.owner_references),
    ]
    .into_iter()
    .filter_map(|(key, value)| Some(format!("\"{key}\":{}", value?.get())))
    .collect();
    Ok(Root {
        uid: Arc::from(metadata.uid),
        version: Arc::from(metadata.resource_version),
        deleting: metadata.deletion_timestamp.is_some(),
        kept: Arc::from(kept.join(",")),
        spec: serde_json::from_str(object.spec.get()).map_err(malformed)?,
    })
}

fn parse_hint(line: &str) -> Result<Hint, StoreError> {
    #[derive(Deserialize)]
    struct Event<'a> {
        r#type: String,
        #[serde(borrow)]
        object: &'a RawValue,
    }
    let event: Event<'_> = serde_json::from_str(line).map_err(garbled)?;
    match event.r#type.as_str() {
        "ADDED" | "MODIFIED" => parse_root(event.object.get().as_bytes()).map(|root| Hint::Root(Box::new(root))),
        "DELETED" => Ok(Hint::Deleted),
        other => Err(StoreError::unknown(format!("the watch ended: {other}"))),
    }
}

#[cfg(test)]
#[path = "kubernetes_tests.rs"]
mod tests;
