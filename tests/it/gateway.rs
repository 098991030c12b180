//! The gateway on a real API server: its sources and tokens, its journal, with the rights of its own ServiceAccount and no more.

use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Parser;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use rolecall::gateway;
use rolecall::journal::create_if_nothing_names_one;
use rolecall::journal::store::{Kubernetes, Store};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::cluster::Cluster;
use crate::install::{Install, Installed};
use crate::system::free_port;

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    args: gateway::Args,
}

/// One gateway in this process.
struct Running {
    base: String,
    health: String,
    http: reqwest::Client,
    end: watch::Sender<bool>,
    task: tokio::task::JoinHandle<Result<(), gateway::Error>>,
}

impl Running {
    async fn start(cluster: &Cluster, installed: &Installed) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let (port, health) = (free_port(), free_port());
        let flags = [
            "gateway".to_owned(),
            format!("--listen=127.0.0.1:{port}"),
            format!("--health-address=127.0.0.1:{health}"),
            format!("--namespace={}", installed.namespace),
            format!("--class={}", installed.class),
            "--refresh=1s".to_owned(),
        ];
        let args = Cli::parse_from(flags).args;
        let (end, ended) = watch::channel(false);
        let client = installed.gateway(cluster).await;
        Self {
            base: format!("http://127.0.0.1:{port}"),
            health: format!("http://127.0.0.1:{health}"),
            http: reqwest::Client::new(),
            end,
            task: tokio::spawn(async move { gateway::main(args, client, ended, &Default::default()).await }),
        }
    }

    async fn ready(&self) -> (u16, String) {
        match self.http.get(format!("{}/readyz", self.health)).send().await {
            Ok(response) => (response.status().as_u16(), response.text().await.unwrap_or_default()),
            Err(error) => (0, error.to_string()),
        }
    }

    async fn ask(&self, method: &str, path: &str, token: &str, body: Option<Value>) -> (u16, Value) {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let request = self
            .http
            .request(method, format!("{}/scim/v2/{path}", self.base))
            .bearer_auth(token);
        let request = match body {
            Some(body) => request.header("content-type", "application/scim+json").body(body.to_string()),
            None => request,
        };
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        let text = response.text().await.unwrap();
        (status, serde_json::from_str(&text).unwrap_or(Value::Null))
    }
}

async fn until<T>(what: &str, seconds: u64, mut ask: impl AsyncFnMut() -> Result<T, String>) -> T {
    let begun = Instant::now();
    loop {
        match ask().await {
            Ok(found) => return found,
            Err(seen) if begun.elapsed() > Duration::from_secs(seconds) => panic!("{what}: {seen}"),
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

fn source(installed: &Installed, name: &str, tokens: &[(&str, &str)]) -> Value {
    let tokens: Vec<Value> = tokens
        .iter()
        .map(|(secret, key)| json!({"name": format!("{secret}-{key}"), "secretKeyRef": {"name": secret, "key": key}}))
        .collect();
    json!({"apiVersion": "rolecall.dev/v1alpha1", "kind": "ScimSource", "metadata": {"name": name},
        "spec": {"class": installed.class, "push": {"tokens": tokens}, "subject": {"username": "'oidc:' + user.userName"}}})
}

async fn put_secret(cluster: &Cluster, installed: &Installed, name: &str, data: Value) {
    let api: Api<Secret> = Api::namespaced(cluster.admin().await, &installed.namespace);
    let secret: Secret = serde_json::from_value(json!({"metadata": {"name": name}, "stringData": data})).unwrap();
    let _ = api.delete(name, &Default::default()).await;
    api.create(&Default::default(), &secret).await.unwrap();
}

async fn status(gateway: &Running, path: &str, token: &str, wanted: u16) -> Result<(), String> {
    let (got, body) = gateway.ask("GET", path, token, None).await;
    if got == wanted { Ok(()) } else { Err(format!("{got} {body}")) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sources_tokens_and_the_journal_come_and_go() {
    let cluster = Cluster::shared();
    let name = "gw";
    let installed = Install::new(name).on(cluster).await;
    let gateway = Running::start(cluster, &installed).await;
    let stores: Vec<Arc<dyn Store>> = vec![
        Arc::new(Kubernetes::new(cluster.admin().await, name, "access")),
        Arc::new(Kubernetes::new(cluster.admin().await, name, "directory")),
    ];
    // Not ready without a journal, and it is not the gateway that makes one.
    until("says that it waits", 10, async || match gateway.ready().await {
        (503, text) if text.contains("journal") => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    create_if_nothing_names_one(&*stores[0], &*stores[1], &uuid::Uuid::new_v4().to_string(), None)
        .await
        .unwrap();
    until("ready", 10, async || match gateway.ready().await {
        (200, _) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;

    // The Secret comes after its source; a token that is too short counts for nothing.
    let (first, second) = ("f".repeat(32), "s".repeat(32));
    cluster
        .apply(
            &source(&installed, "gw-okta", &[("gw-token", "one"), ("gw-token", "two")]).to_string(),
            &[],
        )
        .expect_ok();
    until("no token yet", 5, async || status(&gateway, "gw-okta/Users", &first, 401).await).await;
    put_secret(
        cluster,
        &installed,
        "gw-token",
        json!({"one": format!("{first}\n"), "two": "short"}),
    )
    .await;
    until("the first token", 10, async || status(&gateway, "gw-okta/Users", &first, 200).await).await;
    assert_eq!(gateway.ask("GET", "gw-okta/Users", "short", None).await.0, 401);
    let (created, body) = gateway.ask("POST", "gw-okta/Users", &first, Some(json!({"userName": "ada"}))).await;
    assert_eq!(created, 201, "{body}");
    let id = body["id"].as_str().unwrap().to_owned();

    // A changed Secret counts.
    let begun = Instant::now();
    put_secret(cluster, &installed, "gw-token", json!({"one": second})).await;
    until("the old token is refused", 30, async || {
        status(&gateway, "gw-okta/Users", &first, 401).await
    })
    .await;
    until("the new token is accepted", 30, async || {
        status(&gateway, "gw-okta/Users", &second, 200).await
    })
    .await;
    assert!(begun.elapsed() < Duration::from_secs(5), "with --refresh=1s");

    // Another class is another installation's.
    let mut foreign = source(&installed, "gw-foreign", &[("gw-token", "one")]);
    foreign["spec"]["class"] = json!("another");
    cluster.apply(&foreign.to_string(), &[]).expect_ok();
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(gateway.ask("GET", "gw-foreign/Users", &second, None).await.0, 401);

    // Deleted and applied again: another UID, the same directory.
    cluster.kubectl(&["delete", "scimsource", "gw-okta"]).expect_ok();
    until("not served", 5, async || status(&gateway, "gw-okta/Users", &second, 401).await).await;
    cluster
        .apply(&source(&installed, "gw-okta", &[("gw-token", "one")]).to_string(), &[])
        .expect_ok();
    until("served again", 10, async || {
        status(&gateway, &format!("gw-okta/Users/{id}"), &second, 200).await
    })
    .await;
    let uid = cluster
        .kubectl(&["get", "scimsource", "gw-okta", "-o", "jsonpath={.metadata.uid}"])
        .expect_ok();
    until("the new UID is in the journal", 10, async || {
        let tail = cluster
            .kubectl(&["get", "journal", "directory", "-n", name, "-o", "yaml"])
            .expect_ok();
        if tail.contains(&uid) { Ok(()) } else { Err(tail) }
    })
    .await;

    // A loss: nothing is answered.
    cluster.kubectl(&["delete", "journal", "directory", "-n", name]).expect_ok();
    until("lost", 10, async || status(&gateway, "gw-okta/Users", &second, 503).await).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(gateway.ask("GET", "gw-okta/Users", &second, None).await.0, 503);
    assert_eq!(gateway.ready().await.0, 503);
    let metrics = gateway
        .http
        .get(format!("{}/metrics", gateway.health))
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    assert!(
        metrics.contains("rolecall_gateway_unavailable 1") && metrics.ends_with("# EOF\n"),
        "{metrics}"
    );
    assert!(
        metrics.contains("rolecall_journal_head_index{journal=\"directory\",id=\""),
        "what was known last is shown: {metrics}"
    );

    gateway.end.send(true).unwrap();
    tokio::time::timeout(Duration::from_secs(10), gateway.task)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
}
