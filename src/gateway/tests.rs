//! The service as clients see it, over a journal in memory.

mod bulk;
mod conformance;
mod drift;
mod extensions;
mod failures;
mod groups;
mod hostile;
mod lists;
mod measure;
mod model;
mod protocol;
mod replay;
mod server;
mod users;
mod versions;

use std::sync::Arc;

use axum::body::Body;
use http::{HeaderMap, Request};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::tokens::Sources;
use super::*;
use crate::journal::store::{Memory, Store};
use crate::journal::{Options, create_if_nothing_names_one};

const TOKEN: &str = "a-token-of-at-least-32-characters-for-okta";
const OTHER: &str = "a-token-of-at-least-32-characters-for-entra";
const BASE: &str = "/scim/v2/okta";

/// An answer.
#[derive(Debug)]
struct Got {
    status: u16,
    headers: HeaderMap,
    body: Value,
}

impl Got {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    fn id(&self) -> String {
        self.body["id"].as_str().unwrap().to_owned()
    }

    /// Status and scimType of an error, which must be a SCIM error.
    fn error(&self) -> (u16, &str) {
        assert_eq!(
            self.body["schemas"],
            json!(["urn:ietf:params:scim:api:messages:2.0:Error"]),
            "{self:?}"
        );
        assert_eq!(self.body["status"], json!(self.status.to_string()));
        (self.status, self.body["scimType"].as_str().unwrap_or(""))
    }
}

/// A gateway as one client sees it.
#[derive(Clone)]
struct Client {
    gateway: Arc<Gateway>,
    router: Router,
    token: String,
    base: String,
}

impl Client {
    /// A client of a gateway of its own.
    async fn new() -> Self {
        Self::over(&store().await, Settings::default()).await
    }

    async fn over(store: &Arc<Memory>, settings: Settings) -> Self {
        let sources = Sources::default();
        let served = |name: &str, token: &str| Sources::one(name, "uid-1", token).all().remove(0).as_ref().clone();
        sources.set([served("okta", TOKEN), served("entra", OTHER)]);
        let gateway = Arc::new(Gateway::new(settings, sources).unwrap());
        gateway.use_journal(Some(open(store).await));
        Self {
            router: router(gateway.clone()),
            gateway,
            token: TOKEN.to_owned(),
            base: BASE.to_owned(),
        }
    }

    fn entra(&self) -> Self {
        Self {
            token: OTHER.to_owned(),
            base: "/scim/v2/entra".to_owned(),
            ..self.clone()
        }
    }

    async fn send(&self, request: Request<Body>) -> Got {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let body = if bytes.is_empty() {
            Value::Null
        } else {
            serde_json::from_slice(&bytes).unwrap()
        };
        Got {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body,
        }
    }

    fn request(&self, method: &str, path: &str, body: Option<&Value>) -> Request<Body> {
        let path = path.replace(' ', "%20").replace('"', "%22");
        let builder = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base))
            .header("host", "scim.example");
        let builder = builder.header("authorization", format!("Bearer {}", self.token));
        match body {
            None => builder.body(Body::empty()).unwrap(),
            Some(body) => builder
                .header("content-type", "application/scim+json")
                .body(Body::from(body.to_string()))
                .unwrap(),
        }
    }

    async fn get(&self, path: &str) -> Got {
        self.send(self.request("GET", path, None)).await
    }

    async fn delete(&self, path: &str) -> Got {
        self.send(self.request("DELETE", path, None)).await
    }

    async fn post(&self, path: &str, body: Value) -> Got {
        self.send(self.request("POST", path, Some(&body))).await
    }

    async fn put(&self, path: &str, body: Value) -> Got {
        self.send(self.request("PUT", path, Some(&body))).await
    }

    async fn patch(&self, path: &str, operations: Value) -> Got {
        let body = json!({"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"], "Operations": operations});
        self.send(self.request("PATCH", path, Some(&body))).await
    }

    /// A new user's id.
    async fn user(&self, name: &str) -> String {
        let got = self.post("/Users", json!({"userName": name})).await;
        assert_eq!(got.status, 201, "{got:?}");
        got.id()
    }

    /// A new group's id.
    async fn group(&self, name: &str, members: &[&str]) -> String {
        let members: Vec<Value> = members.iter().map(|id| json!({"value": id})).collect();
        let got = self.post("/Groups", json!({"displayName": name, "members": members})).await;
        assert_eq!(got.status, 201, "{got:?}");
        got.id()
    }

    /// How many members, and who, by the ids.
    async fn members(&self, group: &str) -> Vec<String> {
        let got = self.get(&format!("/Groups/{group}")).await;
        let members = got.body["members"].as_array().unwrap().iter();
        members.map(|member| member["value"].as_str().unwrap().to_owned()).collect()
    }

    fn index(&self) -> i64 {
        self.gateway.journal.load().as_ref().unwrap().snapshot().position.index
    }
}

/// An empty journal in memory.
async fn store() -> Arc<Memory> {
    let (access, directory) = (Memory::new("access"), Memory::new("directory"));
    create_if_nothing_names_one(&access, &directory, "install-1", None).await.unwrap();
    Arc::new(directory)
}

async fn open(store: &Arc<Memory>) -> Journal<Directory> {
    let store: Arc<dyn Store> = store.clone();
    let writer = format!("gateway/{}", uuid::Uuid::new_v4());
    Journal::open(store, Directory::default(), Options::new(writer)).await.unwrap()
}
