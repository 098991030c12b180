//! A whole Rolecall on a real control plane: the chart, gateways and controllers as processes of their own, and an identity provider's client. Tests and demo share it.

#![allow(dead_code, reason = "a fixture: not every test needs all of it")]

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::{Api, Client};
use serde_json::{Value, json};

use crate::cluster::{Cluster, Output, root};
use crate::install::{Install, Installed};
pub use crate::provider::Provider;

/// A process of ours; it is killed when the test lets go of it.
pub struct Process {
    child: Child,
    log: PathBuf,
    /// Where it serves, if it does.
    pub url: String,
    /// Where it tells of its health and serves its metrics.
    pub health: String,
}

impl Process {
    fn start(program: &Path, args: &[String], kubeconfig: &Path, log: PathBuf, [url, health]: [String; 2]) -> Self {
        let file = File::create(&log).expect("a log");
        let child = Command::new(program)
            .args(args)
            .env("KUBECONFIG", kubeconfig)
            .stdin(Stdio::null())
            .stdout(file.try_clone().expect("a log"))
            .stderr(file)
            .spawn()
            .expect("the binary");
        Self { child, log, url, health }
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The file that it logs to.
    pub fn log_path(&self) -> &Path {
        &self.log
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// A signal by name, such as `TERM`, `KILL`, `STOP`, `CONT`.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .args([&format!("-{name}"), &self.child.id().to_string()])
            .status()
            .expect("kill");
        assert!(status.success(), "kill -{name}");
    }

    /// Waits until it has ended, at most so long; whether it has.
    pub fn ended(&mut self, within: Duration) -> bool {
        let begun = Instant::now();
        while begun.elapsed() < within {
            if self.child.try_wait().expect("a child").is_some() {
                return true;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        false
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One installation with its processes.
pub struct System<'a> {
    pub cluster: &'a Cluster,
    pub installed: Installed,
    pub admin: Client,
    pub http: reqwest::Client,
    program: PathBuf,
    started: std::cell::Cell<u32>,
}

/// The binary under test.
pub fn program() -> PathBuf {
    std::env::var_os("ROLECALL_BIN").map_or_else(
        || {
            let exe = std::env::current_exe().expect("a path");
            let folder = exe.parent().and_then(Path::parent).expect("target/<profile>");
            folder.join("rolecall")
        },
        PathBuf::from,
    )
}

/// A free port of this machine.
pub fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0")
        .and_then(|l| l.local_addr())
        .expect("a port")
        .port()
}

impl<'a> System<'a> {
    /// Installs the chart under a name of the test's own, which is also its class and its namespace.
    pub async fn install(cluster: &'a Cluster, name: &str) -> System<'a> {
        Self::with(cluster, Install::new(name)).await
    }

    /// Installs what is given.
    pub async fn with(cluster: &'a Cluster, install: Install<'_>) -> System<'a> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let installed = install.on(cluster).await;
        let admin = cluster.admin().await;
        let http = reqwest::Client::builder()
            .timeout(Duration::from_secs(60))
            .build()
            .expect("a client");
        Self {
            cluster,
            installed,
            admin,
            http,
            program: program(),
            started: std::cell::Cell::new(0),
        }
    }

    fn log_file(&self, part: &str) -> PathBuf {
        let n = self.started.get();
        self.started.set(n + 1);
        self.cluster.dir().join(format!("{}-{part}-{n}.log", self.installed.fullname))
    }

    /// Starts a gateway on a free port, and waits until it is ready.
    pub async fn gateway(&self) -> Process {
        self.gateway_with(&[], None).await
    }

    /// Starts a gateway with further flags, perhaps with another kubeconfig.
    pub async fn gateway_with(&self, flags: &[&str], kubeconfig: Option<&Path>) -> Process {
        let process = self.start_gateway(flags, kubeconfig, free_port());
        self.ready(&process).await;
        process
    }

    /// Starts a gateway on this port, and waits until it is ready.
    pub async fn gateway_at(&self, port: u16) -> Process {
        let process = self.start_gateway(&[], None, port);
        self.ready(&process).await;
        process
    }

    /// Starts a gateway that may never become ready, such as one whose journal is lost.
    pub fn gateway_unready(&self) -> Process {
        self.start_gateway(&[], None, free_port())
    }

    fn start_gateway(&self, flags: &[&str], kubeconfig: Option<&Path>, port: u16) -> Process {
        let health = free_port();
        let mut args: Vec<String> = ["gateway", "--log-format", "text"].map(str::to_owned).to_vec();
        args.extend([
            format!("--listen=127.0.0.1:{port}"),
            format!("--health-address=127.0.0.1:{health}"),
            format!("--namespace={}", self.installed.namespace),
            format!("--class={}", self.installed.class),
            "--proof-interval=5s".to_owned(),
            "--source-rate=0".to_owned(), // load is what some tests are about
        ]);
        args.extend(flags.iter().map(|f| (*f).to_owned()));
        let config = kubeconfig.map_or_else(|| self.installed.gateway_kubeconfig(self.cluster), Path::to_owned);
        let urls = [port, health].map(|port| format!("http://127.0.0.1:{port}"));
        Process::start(&self.program, &args, &config, self.log_file("gateway"), urls)
    }

    /// Starts a controller with short delays. It is ready when it leads; see [`System::leading`].
    pub fn controller(&self) -> Process {
        self.controller_with(&[], None)
    }

    /// Starts a controller with further flags, perhaps with another kubeconfig.
    pub fn controller_with(&self, flags: &[&str], kubeconfig: Option<&Path>) -> Process {
        let mut args: Vec<String> = ["controller", "--log-format", "text"].map(str::to_owned).to_vec();
        args.extend([
            format!("--namespace={}", self.installed.namespace),
            format!("--class={}", self.installed.class),
            format!("--fullname={}", self.installed.fullname),
            format!("--access-policy={}", self.installed.access_policy.display()),
        ]);
        let given = |name: &str| flags.iter().any(|f| f.starts_with(name));
        for (name, value) in [
            ("--public-url", "https://rolecall.example"),
            ("--lease-duration", "3s"),
            ("--renew-deadline", "2s"),
            ("--retry-period", "300ms"),
            ("--fence-delay", "100ms"),
            ("--absence-delay", "2s"),
            ("--tombstone-delay", "3s"),
            ("--garbage-delay", "2s"),
            ("--proof-interval", "5s"),
        ] {
            if !given(name) {
                args.push(format!("{name}={value}"));
            }
        }
        args.extend(flags.iter().map(|f| (*f).to_owned()));
        let config = kubeconfig.map_or_else(|| self.installed.controller_kubeconfig(self.cluster), Path::to_owned);
        Process::start(&self.program, &args, &config, self.log_file("controller"), Default::default())
    }

    async fn ready(&self, process: &Process) {
        let url = format!("{}/readyz", process.health);
        let ready = until(Duration::from_secs(40), || async {
            self.http.get(&url).send().await.is_ok_and(|r| r.status().is_success())
        });
        assert!(ready.await.is_ok(), "not ready: {}\n{}", process.log(), self.explain());
    }

    /// A verb of the plugin, as an admin without a terminal: exit code, and what it says.
    pub fn plugin(&self, args: &[&str]) -> (i32, String) {
        let output = Command::new(program().with_file_name("kubectl-rolecall"))
            .args(args)
            .env("KUBECONFIG", self.cluster.kubeconfig())
            .stdin(Stdio::null())
            .output()
            .expect("the plugin");
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        (output.status.code().unwrap_or(-1), text)
    }

    /// Creates a namespace, with labels.
    pub async fn namespace(&self, name: &str, labels: Value) {
        let api: Api<Namespace> = Api::all(self.admin.clone());
        let object = serde_json::from_value(json!({"metadata": {"name": name, "labels": labels}})).expect("a namespace");
        api.create(&Default::default(), &object).await.expect("a namespace");
    }

    /// Creates a source with one token, and its Secret; the client that the provider would be.
    pub async fn source(&self, gateway: &str, name: &str) -> Provider {
        self.source_with(gateway, name, json!({"username": "'oidc:' + user.userName"}))
            .await
    }

    /// The same with a `subject` of the test's own.
    pub async fn source_with(&self, gateway: &str, name: &str, subject: Value) -> Provider {
        let token = format!("{name}-{}", uuid::Uuid::new_v4().simple());
        let secrets: Api<Secret> = Api::namespaced(self.admin.clone(), &self.installed.namespace);
        let secret = serde_json::from_value(json!({"metadata": {"name": format!("{name}-token")}, "stringData": {"token": token}}));
        secrets
            .create(&Default::default(), &secret.expect("a secret"))
            .await
            .expect("a secret");
        let class = (!self.installed.class.is_empty()).then_some(&self.installed.class);
        let mut source = json!({
            "apiVersion": "rolecall.dev/v1alpha1", "kind": "ScimSource", "metadata": {"name": name},
            "spec": {
                "push": {"tokens": [{"name": "first", "secretKeyRef": {"name": format!("{name}-token"), "key": "token"}}]},
                "subject": subject,
                "allowedNamespaces": {"selector": {}},
            },
        });
        if let Some(class) = class {
            source["spec"]["class"] = json!(class);
        }
        self.apply(&source);
        let provider = Provider {
            http: self.http.clone(),
            base: format!("{gateway}/scim/v2/{name}"),
            token,
        };
        until(Duration::from_secs(10), || async {
            provider.try_get("/Users?count=0").await.is_ok_and(|(status, _)| status == 200)
        })
        .await
        .expect("the gateway serves the source");
        provider
    }

    /// `kubectl apply` as an admin, which must succeed.
    pub fn apply(&self, object: &Value) {
        self.cluster.apply(&object.to_string(), &[]).expect_ok();
    }

    /// `kubectl patch`: merges into the object's spec.
    pub fn merge(&self, kind: &str, namespace: Option<&str>, name: &str, spec: &Value) -> Output {
        let patch = json!({"spec": spec}).to_string();
        let mut args = vec!["patch", kind, name, "--type=merge", "-p", &patch];
        args.extend(namespace.iter().flat_map(|namespace| ["-n", *namespace]));
        self.cluster.kubectl(&args)
    }

    /// A mapping object of this installation's class.
    pub fn mapping(&self, kind: &str, namespace: Option<&str>, name: &str, mut spec: Value) -> Value {
        if !self.installed.class.is_empty() {
            spec["class"] = json!(self.installed.class);
        }
        let mut object = json!({"apiVersion": "rolecall.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec});
        if let Some(namespace) = namespace {
            object["metadata"]["namespace"] = json!(namespace);
        }
        object
    }

    /// Whether `user` may `verb` pods in `namespace`, by the API server's own answer.
    pub async fn may(&self, user: &str, verb: &str, namespace: &str) -> bool {
        may(&self.admin, user, verb, namespace).await
    }

    /// Waits until the answer is `allowed`; how long it took.
    pub async fn until_may(&self, user: &str, verb: &str, namespace: &str, allowed: bool) -> Duration {
        let begun = Instant::now();
        let seen = until(Duration::from_secs(20), || async {
            self.may(user, verb, namespace).await == allowed
        })
        .await;
        assert!(
            seen.is_ok(),
            "{user} {verb} in {namespace}: never became {allowed}\n{}",
            self.explain()
        );
        begun.elapsed()
    }

    /// What is known, for a failed test's message.
    pub fn explain(&self) -> String {
        let mut text = self
            .cluster
            .kubectl(&[
                "get",
                "rolebindings",
                "-A",
                "-l",
                "app.kubernetes.io/managed-by=rolecall",
                "-o",
                "wide",
            ])
            .stdout;
        text.push_str(
            &self
                .cluster
                .kubectl(&["get", "scimsources,rolemappings,clusterrolemappings", "-A", "-o", "wide"])
                .stdout,
        );
        for n in 0..self.started.get() {
            for part in ["gateway", "controller"] {
                let path = self.cluster.dir().join(format!("{}-{part}-{n}.log", self.installed.fullname));
                if let Ok(log) = fs::read_to_string(path) {
                    let lines: Vec<&str> = log.lines().collect();
                    text.push_str(&format!("--- {part} {n}\n{}\n", lines[lines.len().saturating_sub(25)..].join("\n")));
                }
            }
        }
        text
    }

    /// A field of an object's status, by JSON pointer.
    pub fn status(&self, kind: &str, namespace: Option<&str>, name: &str) -> Value {
        let mut args = vec!["get", kind, name, "-o", "json"];
        if let Some(namespace) = namespace {
            args.extend(["-n", namespace]);
        }
        let output = self.cluster.kubectl(&args);
        serde_json::from_str::<Value>(&output.stdout).map_or(Value::Null, |v| v["status"].clone())
    }

    /// Waits until a condition has the status and reason; its message.
    pub async fn until_condition(
        &self,
        kind: &str,
        namespace: Option<&str>,
        name: &str,
        condition: &str,
        status: &str,
        reason: &str,
    ) -> String {
        let begun = Instant::now();
        loop {
            let now = self.status(kind, namespace, name);
            let found = now["conditions"].as_array().into_iter().flatten().find(|c| c["type"] == condition);
            if let Some(found) = found.filter(|c| c["status"] == status && (reason.is_empty() || c["reason"] == reason)) {
                return found["message"].as_str().unwrap_or_default().to_owned();
            }
            assert!(
                begun.elapsed() < Duration::from_secs(20),
                "{kind} {name}: no {condition}={status}/{reason}: {now:#}\n{}",
                self.explain()
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

/// Whether `user` may `verb` pods in `namespace`.
pub async fn may(client: &Client, user: &str, verb: &str, namespace: &str) -> bool {
    let api: Api<SubjectAccessReview> = Api::all(client.clone());
    let review = SubjectAccessReview {
        spec: SubjectAccessReviewSpec {
            user: Some(user.to_owned()),
            resource_attributes: Some(ResourceAttributes {
                namespace: Some(namespace.to_owned()),
                verb: Some(verb.to_owned()),
                resource: Some("pods".to_owned()),
                ..Default::default()
            }),
            ..Default::default()
        },
        ..Default::default()
    };
    api.create(&Default::default(), &review)
        .await
        .is_ok_and(|r| r.status.is_some_and(|s| s.allowed))
}

/// Polls until it is so, at most so long.
pub async fn until<F: Future<Output = bool>>(within: Duration, mut so: impl FnMut() -> F) -> Result<(), ()> {
    let begun = Instant::now();
    loop {
        if so().await {
            return Ok(());
        }
        if begun.elapsed() > within {
            return Err(());
        }
        // Soon at first; later it must not take the processor from what it waits for.
        let pause = (begun.elapsed() / 20).clamp(Duration::from_millis(5), Duration::from_millis(50));
        tokio::time::sleep(pause).await;
    }
}

/// The folder of test data.
pub fn data() -> PathBuf {
    root().join("tests/data")
}
