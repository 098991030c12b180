//! A bare client of the API server: raw requests, prepared bodies, nothing of ours. What it gets is the floor that a figure is compared with.

use http::{Method, Request};
use http_body_util::BodyExt;
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};

/// One request with a body; the answer's status, and its bytes.
pub async fn send(client: &Client, method: Method, path: &str, body: Vec<u8>) -> (u16, Vec<u8>) {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(http::header::ACCEPT, "application/json")
        .header(http::header::CONTENT_TYPE, "application/json")
        .body(Body::from(body))
        .expect("a request");
    let response = client.send(request).await.expect("an answer of the API server");
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.expect("a whole answer").to_bytes();
    (status, body.to_vec())
}

/// One request that must succeed; the object that was answered.
pub async fn object(client: &Client, method: Method, path: &str, body: &Value) -> Value {
    let (status, answer) = send(client, method.clone(), path, body.to_string().into_bytes()).await;
    assert!(
        (200..300).contains(&status),
        "{method} {path}: {status} {}",
        String::from_utf8_lossy(&answer)
    );
    serde_json::from_slice(&answer).expect("JSON")
}

/// A question to the API server, rendered once and asked again and again.
pub struct Review {
    client: Client,
    body: Vec<u8>,
}

impl Review {
    /// Whether `user` may list pods in `namespace`.
    pub fn new(client: &Client, user: &str, namespace: &str) -> Self {
        let body = json!({
            "apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
            "spec": {"user": user, "resourceAttributes": {"namespace": namespace, "verb": "list", "resource": "pods"}},
        });
        Self {
            client: client.clone(),
            body: body.to_string().into_bytes(),
        }
    }

    /// The API server's answer.
    pub async fn allowed(&self) -> bool {
        let path = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
        let (status, answer) = send(&self.client, Method::POST, path, self.body.clone()).await;
        assert_eq!(status, 201, "{}", String::from_utf8_lossy(&answer));
        let answer: Value = serde_json::from_slice(&answer).expect("JSON");
        answer["status"]["allowed"] == true
    }

    /// Asks until the answer is this one: one question at a time, the next when the last is answered, without a pause.
    pub async fn until(&self, allowed: bool) {
        while self.allowed().await != allowed {}
    }
}

/// A body for the creation of a ConfigMap with so many bytes of text.
pub fn config_map(name: &str, text: &str) -> Vec<u8> {
    let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"text": text}});
    object.to_string().into_bytes()
}
