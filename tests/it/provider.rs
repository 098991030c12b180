//! An identity provider's client for tests and demo: plain SCIM over HTTP.

#![allow(dead_code, reason = "a fixture: not every test needs all of it")]

use serde_json::{Value, json};

use crate::system::Process;

/// An identity provider's client: plain SCIM over HTTP.
#[derive(Clone)]
pub struct Provider {
    pub http: reqwest::Client,
    pub base: String,
    pub token: String,
}

impl Provider {
    /// The same provider, pushing to another gateway.
    pub fn at(&self, gateway: &Process) -> Self {
        let name = self.base.rsplit('/').next().unwrap_or_default();
        Self {
            base: format!("{}/scim/v2/{name}", gateway.url),
            ..self.clone()
        }
    }

    /// One request: status and body, or what went wrong below HTTP.
    pub async fn try_send(&self, method: &str, path: &str, body: Option<&Value>) -> Result<(u16, Value), reqwest::Error> {
        let method = method.parse().expect("a method");
        let mut request = self.http.request(method, format!("{}{path}", self.base)).bearer_auth(&self.token);
        if let Some(body) = body {
            request = request.header("content-type", "application/scim+json").body(body.to_string());
        }
        let answer = request.send().await?;
        let status = answer.status().as_u16();
        let text = answer.text().await?;
        Ok((status, serde_json::from_str(&text).unwrap_or(Value::Null)))
    }

    /// A GET that may fail.
    pub async fn try_get(&self, path: &str) -> Result<(u16, Value), reqwest::Error> {
        self.try_send("GET", path, None).await
    }

    /// One request that must be answered with one of these.
    #[track_caller]
    pub fn send<'a>(
        &'a self,
        method: &'a str,
        path: &'a str,
        body: Option<Value>,
        statuses: &'a [u16],
    ) -> impl Future<Output = Value> + 'a {
        let at = std::panic::Location::caller();
        async move {
            let (status, answer) = self
                .try_send(method, path, body.as_ref())
                .await
                .unwrap_or_else(|e| panic!("{at}: {method} {path}: {e}"));
            assert!(statuses.contains(&status), "{at}: {method} {path}: {status} {answer}");
            answer
        }
    }

    /// Creates a user; the id.
    pub async fn user(&self, user_name: &str) -> String {
        let body = json!({"schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "userName": user_name, "active": true});
        id(&self.send("POST", "/Users", Some(body), &[201]).await)
    }

    /// Creates a group with members; the id.
    pub async fn group(&self, name: &str, members: &[&str]) -> String {
        let members: Vec<Value> = members.iter().map(|m| json!({"value": m})).collect();
        let body = json!({"schemas": ["urn:ietf:params:scim:schemas:core:2.0:Group"], "displayName": name, "members": members});
        id(&self.send("POST", "/Groups", Some(body), &[201]).await)
    }

    /// PATCHes with these operations.
    pub async fn patch(&self, path: &str, operations: Value) -> Value {
        let body = json!({"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"], "Operations": operations});
        self.send("PATCH", path, Some(body), &[200, 204]).await
    }

    /// Adds a member.
    pub async fn add(&self, group: &str, member: &str) {
        self.patch(
            &format!("/Groups/{group}"),
            json!([{"op": "add", "path": "members", "value": [{"value": member}]}]),
        )
        .await;
    }

    /// Removes a member.
    pub async fn remove(&self, group: &str, member: &str) {
        self.patch(
            &format!("/Groups/{group}"),
            json!([{"op": "remove", "path": format!("members[value eq \"{member}\"]")}]),
        )
        .await;
    }

    /// Sets `active`.
    pub async fn active(&self, user: &str, active: bool) {
        self.patch(
            &format!("/Users/{user}"),
            json!([{"op": "replace", "path": "active", "value": active}]),
        )
        .await;
    }

    /// DELETEs.
    pub async fn delete(&self, path: &str) {
        self.send("DELETE", path, None, &[204]).await;
    }
}

/// The id in an answer.
pub fn id(answer: &Value) -> String {
    answer["id"].as_str().unwrap_or_else(|| panic!("no id in {answer}")).to_owned()
}
