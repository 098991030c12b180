//! Other people's SCIM service providers on the same machine in the same run: in memory, plain HTTP, 1,000 users and a group of 1,000, 16 in flight.

use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::process::{Child, Command};

use crate::cluster::root;
use crate::load::{AsyncWorker, run};
use crate::provider::Provider;
use crate::report::{Row, percentile};
use crate::scim::user;
use crate::system::{free_port, until};

const USERS: usize = 1_000;
const AT_ONCE: usize = 16;
const LASTS: Duration = Duration::from_secs(3);
const TOKEN: &str = "a-token-of-at-least-32-characters";

/// What is asked of a peer, and of ours.
pub const KINDS: [&str; 4] = ["userName eq", "deactivate a user", "add a member", "create a user"];

/// What wadahiro/scim-server 0.4.2 reached on SQLite, by [`KINDS`], as the issue has it: it is not built here.
const DURABLE: [f64; 4] = [885.0, 689.0, 336.0, 707.0];

/// What the best of all of them reached, by [`KINDS`], and the rows that tell of each.
pub async fn measure() -> ([f64; 4], Vec<Row>) {
    let built = Command::new(root().join("benches/peers/build.sh"))
        .stderr(Stdio::inherit())
        .output()
        .await;
    let built = built.expect("a shell");
    assert!(built.status.success(), "the peers are not installed");
    let folder = String::from_utf8_lossy(&built.stdout).trim().to_owned();
    let (mut best, mut rows) = (DURABLE, Vec::new());
    for (name, path) in [("scimmy-routers", "/scim"), ("scim2-server", "/v2")] {
        let port = free_port();
        let mut command = match name {
            "scimmy-routers" => Command::new("node"),
            _ => Command::new(format!("{folder}/venv/bin/scim2-server")),
        };
        match name {
            "scimmy-routers" => command.args([format!("{folder}/scimmy.mjs"), port.to_string()]),
            _ => command.args(["--port", &port.to_string(), "--bearer-token", TOKEN]),
        };
        let process = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn();
        let peer = Peer::seed(process.expect("a peer"), format!("http://127.0.0.1:{port}{path}")).await;
        for (n, kind) in KINDS.into_iter().enumerate() {
            let workers = (0..AT_ONCE).map(|_| Worker { peer: peer.clone(), kind }).collect();
            peer.next.store(0, Ordering::Relaxed);
            let done = run(workers, LASTS).await;
            best[n] = f64::max(best[n], done.rate());
            let p99 = percentile(&done.each, 99);
            rows.push(Row::new(
                format!("  {name}, {USERS} users: {kind}, {AT_ONCE} in flight (p99 {p99:.1} ms)"),
                done.rate(),
                "/s",
            ));
            if kind == "add a member" {
                let held = peer.members().await;
                rows.push(Row::new(
                    format!("  {name}: members afterwards, of {} answered", USERS + done.count),
                    held as f64,
                    "",
                ));
            }
        }
    }
    (best, rows)
}

/// One that runs, with its users and group.
#[derive(Clone)]
struct Peer {
    provider: Provider,
    users: Arc<Vec<String>>,
    group: String,
    next: Arc<AtomicUsize>,
    _process: Arc<Child>,
}

impl Peer {
    async fn seed(process: Child, base: String) -> Self {
        let http = reqwest::Client::builder()
            .timeout(Duration::from_secs(60))
            .build()
            .expect("a client");
        let provider = Provider {
            http,
            base,
            token: TOKEN.to_owned(),
        };
        let up = until(Duration::from_secs(30), || async {
            provider.try_get("/Users?count=1").await.is_ok()
        });
        assert!(up.await.is_ok(), "{} does not answer", provider.base);
        let mut users = Vec::new();
        for n in 0..USERS {
            let made = provider.send("POST", "/Users", Some(user(&format!("large-{n}"))), &[201]).await;
            users.push(made["id"].as_str().expect("an id").to_owned());
        }
        let members: Vec<Value> = users.iter().map(|id| json!({"value": id})).collect();
        let group = json!({"schemas": ["urn:ietf:params:scim:schemas:core:2.0:Group"], "displayName": "everybody", "members": members});
        let made = provider.send("POST", "/Groups", Some(group), &[201]).await;
        Self {
            provider,
            group: made["id"].as_str().expect("an id").to_owned(),
            users: Arc::new(users),
            next: Arc::default(),
            _process: Arc::new(process),
        }
    }

    async fn members(&self) -> usize {
        let got = self.provider.send("GET", &format!("/Groups/{}", self.group), None, &[200]).await;
        got["members"].as_array().map_or(0, Vec::len)
    }
}

struct Worker {
    peer: Peer,
    kind: &'static str,
}

impl AsyncWorker for Worker {
    async fn work(&mut self) {
        let n = self.peer.next.fetch_add(1, Ordering::Relaxed);
        let patch = |op: Value| Some(json!({"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"], "Operations": [op]}));
        let any = &self.peer.users[n.wrapping_mul(7919) % USERS];
        let (method, path, body) = match self.kind {
            "userName eq" => (
                "GET",
                format!("/Users?filter=userName%20eq%20%22large-{}@corp.example%22", n % USERS),
                None,
            ),
            "deactivate a user" => (
                "PATCH",
                format!("/Users/{any}"),
                patch(json!({"op": "replace", "path": "active", "value": false})),
            ),
            "add a member" => (
                "PATCH",
                format!("/Groups/{}", self.peer.group),
                patch(json!({"op": "add", "path": "members", "value": [{"value": format!("new-{n}")}]})),
            ),
            _ => ("POST", "/Users".to_owned(), Some(user(&format!("new-{n}")))),
        };
        self.peer.provider.send(method, &path, body, &[200, 201, 204]).await;
    }
}
