//! The chart's rights, CRD rules and admission policies, each case judged by a real API server. Here: how a case is tried and told.

mod authors;
mod cage;
mod cage_more;
mod can_i;
mod escalations;
mod fence;
mod journals;
mod matrix;
mod others;
mod rights;

use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};

/// What the API server said to one request.
#[derive(Clone, Debug)]
pub struct Said {
    pub code: u16,
    pub message: String,
    pub body: Value,
}

impl Said {
    fn passed(&self) -> bool {
        (200..300).contains(&self.code)
    }
}

/// What a case expects.
#[derive(Clone, Copy, Debug)]
pub enum Expect {
    Passes,
    /// The status, and words of the message.
    Refused(u16, &'static str),
}
use Expect::{Passes, Refused};

/// Counts the cases of one test, and tells all that went wrong, not only the first.
#[derive(Default)]
pub struct Cases {
    tried: usize,
    wrong: Vec<String>,
}

impl Cases {
    /// One case.
    pub fn check(&mut self, case: &str, said: &Said, expected: Expect) {
        self.tried += 1;
        let right = match expected {
            Passes => said.passed(),
            Refused(code, words) => said.code == code && said.message.contains(words),
        };
        if !right {
            self.wrong
                .push(format!("{case}: expected {expected:?}, got {} {}", said.code, said.message));
        }
    }

    /// Prints "N of N", and fails if one was wrong.
    #[track_caller]
    pub fn finish(self, what: &str) {
        println!("{what}: {} of {}", self.tried - self.wrong.len(), self.tried);
        assert!(
            self.wrong.is_empty(),
            "{} of {} cases of {what} went wrong:\n{}",
            self.wrong.len(),
            self.tried,
            self.wrong.join("\n")
        );
    }
}

/// One raw request, sent once.
pub async fn send(client: &Client, method: &str, path: &str, body: Value) -> Said {
    let kind = match method {
        "PATCH" => "application/merge-patch+json",
        _ => "application/json",
    };
    let body = if body.is_null() {
        Vec::new()
    } else {
        body.to_string().into_bytes()
    };
    let request = http::Request::builder()
        .method(method)
        .uri(path)
        .header("content-type", kind)
        .body(Body::from(body))
        .expect("a request");
    let answer = client.send(request).await.expect("an answer");
    let code = answer.status().as_u16();
    let bytes = answer.into_body().collect_bytes().await.expect("a body");
    let body: Value = serde_json::from_slice(&bytes).unwrap_or_else(|_| json!(String::from_utf8_lossy(&bytes)));
    let message = if code < 300 {
        String::new()
    } else {
        body["message"].as_str().unwrap_or_default().to_owned()
    };
    Said { code, message, body }
}

/// The collection of RoleBindings of a namespace, or of ClusterRoleBindings for "".
pub fn bindings(namespace: &str) -> String {
    match namespace {
        "" => "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings".to_owned(),
        namespace => format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}/rolebindings"),
    }
}

/// A binding's name as Rolecall computes them.
pub fn name(n: u32) -> String {
    format!("rolecall-{n:032x}")
}

/// The labels of a binding of ours.
pub fn labels(class: &str) -> Value {
    json!({"app.kubernetes.io/managed-by": "rolecall", "rolecall.dev/class": class, "rolecall.dev/owner": "00112233", "rolecall.dev/journal": "j"})
}

/// A subject, as `User/name`, `Group/name` or `ServiceAccount/namespace/name`.
pub fn subject(text: &str) -> Value {
    let mut parts = text.splitn(2, '/');
    match (parts.next().unwrap_or_default(), parts.next().unwrap_or_default()) {
        ("ServiceAccount", rest) => {
            let (namespace, name) = rest.split_once('/').expect("namespace/name");
            json!({"kind": "ServiceAccount", "namespace": namespace, "name": name})
        }
        (kind, name) => json!({"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name}),
    }
}

/// A binding of ours, for `ClusterRole/view` or the like.
pub fn binding(n: u32, class: &str, role: &str, subjects: &[&str]) -> Value {
    let (kind, role) = role.split_once('/').expect("kind/name");
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "metadata": {"name": name(n), "labels": labels(class)},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role},
        "subjects": subjects.iter().map(|s| subject(s)).collect::<Vec<_>>(),
    })
}

/// Creates a namespace as it is, and what else a test lays out, as an admin.
pub async fn lay_out(client: &Client, path: &str, body: Value) -> Value {
    let said = send(client, "POST", path, body).await;
    assert!(said.passed(), "{path}: {} {}", said.code, said.message);
    said.body
}

/// A namespace with labels.
pub fn namespace(name: &str, labels: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
}
