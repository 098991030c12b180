//! A slow validating webhook, called by the API server after the fence: it holds what a test names and then allows it.
//! No test of the product lives here, only those of the webhook.

#![allow(dead_code, reason = "a fixture: not every test needs all of it")]

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio_rustls::TlsAcceptor;

use crate::cluster::Cluster;
use crate::system::until;

/// What the API server asked about.
#[derive(Clone, Debug)]
pub struct Review {
    pub operation: String,
    pub namespace: String,
    pub name: String,
    pub user: String,
    pub object: Value,
    pub dry: bool,
    pub held: bool,
    pub at: Instant,
    pub answered: Option<Instant>,
}

/// What to judge, and for how long to hold what.
pub struct Webhook<'a> {
    cluster: &'a Cluster,
    name: String,
    shared: Arc<Shared>,
    server: AbortHandle,
}

struct Shared {
    holds: Box<dyn Fn(&Review) -> bool + Send + Sync>,
    hold: Duration,
    open: watch::Sender<bool>,
    seen: Mutex<Vec<Review>>,
}

// === impl Webhook ===

impl<'a> Webhook<'a> {
    /// Is asked about RoleBindings of the namespaces that `selector` (a label selector) selects, and acts when this returns. Whatever `holds`
    /// says yes to is allowed after `hold`, or when it is released; everything else at once. The API server itself waits 30 s at most.
    pub async fn start(
        cluster: &'a Cluster,
        name: &str,
        selector: Value,
        failure_policy: &str,
        hold: Duration,
        holds: impl Fn(&Review) -> bool + Send + Sync + 'static,
    ) -> Webhook<'a> {
        let shared = Arc::new(Shared {
            holds: Box::new(holds),
            hold,
            open: watch::Sender::new(false),
            seen: Mutex::default(),
        });
        let certified = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned(), "localhost".to_owned()]).expect("a certificate");
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(certified.signing_key.serialize_der()));
        let _ = rustls::crypto::ring::default_provider().install_default();
        let tls = rustls::ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![certified.cert.der().clone()], key)
            .expect("a server's configuration");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let server = tokio::spawn(accept(listener, TlsAcceptor::from(Arc::new(tls)), Arc::clone(&shared))).abort_handle();
        let configuration = json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration", "metadata": {"name": name},
            "webhooks": [{
                "name": format!("{name}.rolecall.test"),
                "admissionReviewVersions": ["v1"], "sideEffects": "None", "timeoutSeconds": 30, "failurePolicy": failure_policy,
                "clientConfig": {
                    "url": format!("https://127.0.0.1:{port}/"),
                    "caBundle": base64::engine::general_purpose::STANDARD.encode(certified.cert.pem()),
                },
                "namespaceSelector": selector,
                "rules": [{"apiGroups": ["rbac.authorization.k8s.io"], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"], "resources": ["rolebindings"]}],
            }],
        });
        cluster.apply(&configuration.to_string(), &[]).expect_ok();
        Self {
            cluster,
            name: name.to_owned(),
            shared,
            server,
        }
    }

    /// Waits until a dry run in this namespace reaches it: the API server sees a new configuration some 100 ms late.
    pub async fn acts_in(&self, namespace: &str) {
        let probe = format!("probe-{}", self.name);
        let args = [
            "create",
            "rolebinding",
            &probe,
            "-n",
            namespace,
            "--clusterrole=view",
            "--user=nobody",
            "--dry-run=server",
        ];
        let acts = until(Duration::from_secs(20), || async {
            self.cluster.kubectl(&args).expect_ok();
            self.seen().iter().any(|r| r.name == probe && r.namespace == namespace)
        });
        acts.await
            .unwrap_or_else(|()| panic!("the webhook {} is not asked about {namespace}", self.name));
    }

    /// Everything that it was asked.
    pub fn seen(&self) -> Vec<Review> {
        self.shared.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What it holds, or has held.
    pub fn held(&self) -> Vec<Review> {
        self.seen().into_iter().filter(|r| r.held).collect()
    }

    /// Waits until it holds, or has held, so many.
    pub async fn until_held(&self, count: usize, within: Duration) {
        let enough = until(within, || async { self.held().len() >= count }).await;
        assert!(enough.is_ok(), "the webhook holds {} of {count}", self.held().len());
    }

    /// Allows everything from now on, and what is held.
    pub fn release(&self) {
        self.shared.open.send_replace(true);
    }
}

impl Drop for Webhook<'_> {
    fn drop(&mut self) {
        self.release();
        self.cluster
            .kubectl(&["delete", "validatingwebhookconfiguration", &self.name, "--ignore-not-found"]);
        self.server.abort();
    }
}

// === the server ===

async fn accept(listener: TcpListener, tls: TlsAcceptor, shared: Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept().await {
        let (tls, shared) = (tls.clone(), Arc::clone(&shared));
        tokio::spawn(async move {
            let Ok(stream) = tls.accept(stream).await else { return };
            let service = service_fn(move |request| review(request, Arc::clone(&shared)));
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn review(request: Request<Incoming>, shared: Arc<Shared>) -> Result<Response<Full<Bytes>>, Infallible> {
    let body = request.into_body().collect().await.map(|b| b.to_bytes()).unwrap_or_default();
    let body: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let asked = &body["request"];
    let text = |pointer: &str| asked.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    let mut review = Review {
        operation: text("/operation"),
        namespace: text("/namespace"),
        name: text("/name"),
        user: text("/userInfo/username"),
        object: asked["object"].clone(),
        dry: asked["dryRun"] == true,
        held: false,
        at: Instant::now(),
        answered: None,
    };
    let mut open = shared.open.subscribe();
    review.held = !*open.borrow() && (shared.holds)(&review);
    let held = review.held;
    let at = {
        let mut seen = shared.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.push(review);
        seen.len() - 1
    };
    if held {
        let _ = tokio::time::timeout(shared.hold, open.wait_for(|open| *open)).await;
    }
    shared.seen.lock().unwrap_or_else(PoisonError::into_inner)[at].answered = Some(Instant::now());
    let answer =
        json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": {"uid": asked["uid"], "allowed": true}});
    let response = Response::builder()
        .header(http::header::CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(answer.to_string())));
    Ok(response.expect("a response"))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use serde_json::{Value, json};

    use super::Webhook;
    use crate::cluster::Cluster;
    use crate::install::Install;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn it_holds_what_it_should_behind_the_fence() {
        let cluster = Cluster::shared();
        let installed = Install::new("hook").on(cluster).await;
        for namespace in ["hook-a", "hook-b"] {
            cluster.kubectl(&["create", "namespace", namespace]).expect_ok();
        }
        cluster.kubectl(&["label", "namespace", "hook-a", "hook=yes"]).expect_ok();
        let selector = json!({"matchLabels": {"hook": "yes"}});
        let hook = Webhook::start(cluster, "hook", selector, "Ignore", Duration::from_millis(700), |r| {
            r.name.starts_with("held")
        })
        .await;
        hook.acts_in("hook-a").await;
        let create = |name: &str, namespace: &str| {
            let begun = Instant::now();
            cluster
                .kubectl(&[
                    "create",
                    "rolebinding",
                    name,
                    "-n",
                    namespace,
                    "--clusterrole=view",
                    "--user=nobody",
                ])
                .expect_ok();
            begun.elapsed()
        };
        assert!(create("held", "hook-a") >= Duration::from_millis(700));
        create("held", "hook-b");
        assert_eq!(hook.held().len(), 1, "it holds nothing in another namespace");
        assert!(
            hook.held()[0]
                .answered
                .is_some_and(|a| a - hook.held()[0].at >= Duration::from_millis(700))
        );

        // The fence stands before it: a write of a term that is over never gets here.
        let lease = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": installed.lease(), "namespace": "hook"},
            "spec": {"holderIdentity": "now", "leaseTransitions": 7}});
        cluster.apply(&lease.to_string(), &[]).expect_ok();
        let client = installed.controller(cluster).await;
        let write = |term: &str, name: &str| {
            let binding = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
                "metadata": {"name": name, "annotations": {"rolecall.dev/term": term}, "labels": {"app.kubernetes.io/managed-by": "rolecall",
                    "rolecall.dev/class": "hook", "rolecall.dev/owner": "0", "rolecall.dev/journal": "0"}},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"}, "subjects": []});
            let path = "/apis/rbac.authorization.k8s.io/v1/namespaces/hook-a/rolebindings";
            let request = http::Request::post(path)
                .header("content-type", "application/json")
                .body(binding.to_string().into_bytes());
            let client = client.clone();
            async move { client.request::<Value>(request.expect("a request")).await }
        };
        let name = |n: u32| format!("rolecall-{n:032x}");
        let begun = Instant::now();
        loop {
            match write("before/6", &name(1)).await {
                Err(kube::Error::Api(status)) if status.code == 422 && status.message.contains("'hook-rolecall-fence'") => break,
                other => assert!(begun.elapsed() < Duration::from_secs(5), "the fence does not act: {other:?}"),
            }
        }
        let before = hook.seen().len();
        assert!(write("before/6", &name(2)).await.is_err());
        assert_eq!(hook.seen().len(), before, "it stands behind the fence");
        write("now/7", &name(3)).await.expect("the term of now passes");
        assert_eq!(hook.seen().last().map(|r| r.name.clone()), Some(name(3)));
    }
}
