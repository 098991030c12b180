//! SCIM over TLS with 100,000 users and a group of 50,000, durable and linearizable: each kind of request at several levels of requests in flight.
//!
//! Floors: for reads the same HTTP and TLS stack answering a constant body; for writes at one in flight a bare PUT of a Journal's root of 4 KiB; and
//! beside each the best of the peers (`peers`), measured in the same run.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use http::Method;
use rustls::pki_types::CertificateDer;
use serde_json::{Value, json};

use crate::bare::{object, send};
use crate::http1::Connection;
use crate::load::{AsyncWorker, Done, run};
use crate::peers;
use crate::report::{Goal, Row, percentile};
use crate::system::{Process, System};

const USERS: usize = 100_000;
const MEMBERS: usize = 50_000;
/// Users that are neither members nor deactivated yet, for those who become so.
const A_BULK: usize = 1_000;
const AT_ONCE: [usize; 4] = [1, 16, 64, 512];
const SOURCE: &str = "large";
const LASTS: Duration = Duration::from_secs(3);

/// The large directory.
pub struct Large {
    token: String,
    users: Arc<Vec<String>>,
    group: String,
    small: String,
}

/// What is asked.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ask {
    Create,
    Read,
    Lookup,
    Add,
    AddToSmall,
    Remove,
    Deactivate,
    List,
    Constant,
}

impl Large {
    /// Pushes it, by bulk requests.
    pub async fn seed(system: &System<'_>, gateway: &Process) -> Self {
        let provider = system.source(&gateway.url, SOURCE).await;
        let begun = Instant::now();
        let mut users = Vec::with_capacity(USERS);
        for first in (0..USERS).step_by(A_BULK) {
            let operations: Vec<Value> = (first..first + A_BULK)
                .map(|n| json!({"method": "POST", "path": "/Users", "bulkId": n.to_string(), "data": user(&format!("large-{n}"))}))
                .collect();
            let answer = provider
                .send("POST", "/Bulk", Some(json!({"Operations": operations})), &[200])
                .await;
            for operation in answer["Operations"].as_array().expect("operations") {
                let id = operation["location"].as_str().and_then(|url| url.rsplit('/').next());
                users.push(id.expect("a location").to_owned());
            }
        }
        let all: Vec<&str> = users.iter().map(String::as_str).collect();
        let group = provider.group("everybody", &all[..MEMBERS]).await;
        let small = provider.group("few", &all[..10]).await;
        eprintln!(
            "seeded {USERS} users and a group of {MEMBERS} in {:.1} s",
            begun.elapsed().as_secs_f64()
        );
        Self {
            token: provider.token,
            users: Arc::new(users),
            group,
            small,
        }
    }

    /// All of it.
    pub async fn measure(&self, system: &System<'_>) -> Vec<Row> {
        let certificate = Certificate::new();
        let [cert, key] = [("--tls-cert", "tls.crt"), ("--tls-key", "tls.key")]
            .map(|(flag, file)| format!("{flag}={}", certificate.folder.join(file).display()));
        let mut gateway = system.gateway_with(&[&cert, &key], None).await;
        let constant = certificate.constant().await;
        let mut rows = Vec::new();
        let next = Arc::new(AtomicU64::new(0));
        let mut best = std::collections::HashMap::new();
        for (ask, what) in [
            (Ask::Constant, "a constant body by the same stack"),
            (Ask::Create, "create a user"),
            (Ask::Read, "read a user by id"),
            (Ask::Lookup, "userName eq"),
            (Ask::Add, "add a member to 50,000"),
            (Ask::AddToSmall, "add a member to 10"),
            (Ask::Remove, "remove a member from 50,000"),
            (Ask::Deactivate, "deactivate a user"),
            (Ask::List, "list a page of 100"),
        ] {
            // Each counts from 0: whom it adds or deactivates nobody has before.
            next.store(0, Ordering::Relaxed);
            let mut figures = Vec::new();
            for at_once in AT_ONCE {
                let mut workers = Vec::new();
                for _ in 0..at_once {
                    let url = if ask == Ask::Constant { &constant } else { &gateway.url };
                    workers.push(Worker::new(self, url, &certificate.root, ask, next.clone()).await);
                }
                figures.push((at_once, run(workers, LASTS).await));
            }
            let most = figures.iter().map(|(_, done)| done.rate()).fold(0.0, f64::max);
            best.insert(what, (most, percentile(&figures[0].1.each, 50), percentile(&figures[1].1.each, 99)));
            rows.extend(figures.iter().map(|(at_once, done)| told(what, *at_once, done)));
            self.check(ask, &gateway, &certificate, next.load(Ordering::Relaxed)).await;
        }
        let of = |what: &str| best[what];
        let best_of = |what: &str, beside: &str| Row::new(format!("{what}, at its best, beside {beside}"), of(what).0, "/s");
        let (peers, told) = peers::measure().await;
        rows.extend(told);
        let shared = "the load, its TLS, the gateway, the API server and etcd share two cores; a peer has them for itself";
        let ours = ["userName eq", "deactivate a user", "add a member to 50,000", "create a user"];
        rows.extend(ours.into_iter().zip(peers).map(|(what, peer)| {
            let row = best_of(what, "the best peer with 1,000 users").floor(peer);
            row.goal(Goal::RatioAtLeast(10.0)).waived(shared)
        }));
        let constant = of("a constant body by the same stack").0;
        for what in ["read a user by id", "userName eq"] {
            let row = best_of(what, "a constant body").floor(constant).goal(Goal::RatioAtLeast(0.5));
            rows.push(row.waived("each read waits for a GET of the root that begins after it: two processes more on the same two cores"));
        }
        let bare = bare_put(system).await;
        for what in ["create a user", "add a member to 50,000", "deactivate a user"] {
            let row = Row::new(format!("{what}, p50 at 1 in flight"), of(what).1, "ms");
            rows.push(row.floor(bare).goal(Goal::RatioAtMost(1.5)));
        }
        let row = Row::new("p99 of a member more of 50,000, 16 in flight", of("add a member to 50,000").2, "ms");
        rows.push(row.floor(of("add a member to 10").2).goal(Goal::RatioAtMost(1.5)));
        rows.push(self.hostile(&gateway, &certificate).await);
        gateway.signal("TERM");
        assert!(gateway.ended(Duration::from_secs(30)), "{}", gateway.log());
        rows
    }

    /// The slowest answer of 10,000 to somebody hostile.
    async fn hostile(&self, gateway: &Process, certificate: &Certificate) -> Row {
        let mut one = Worker::new(self, &gateway.url, &certificate.root, Ask::List, Arc::default()).await;
        let mut slowest = Duration::ZERO;
        for (method, path, body) in crate::hostile::requests() {
            let body = body.map(|body| body.to_string()).unwrap_or_default();
            let begun = Instant::now();
            let status = one.connection.send(method, &format!("/scim/v2/{SOURCE}{path}"), &body).await;
            slowest = slowest.max(begun.elapsed());
            assert!(matches!(status, 200 | 201 | 400 | 409), "{method} {path} {body}: {status}");
        }
        let row = Row::new(
            "the slowest answer to 10,000 hostile names and filters",
            slowest.as_secs_f64() * 1000.0,
            "ms",
        );
        row.goal(Goal::Below(50.0))
    }

    /// Counted afterwards: none lost.
    async fn check(&self, ask: Ask, gateway: &Process, certificate: &Certificate, asked: u64) {
        let mut one = Worker::new(self, &gateway.url, &certificate.root, ask, Arc::default()).await;
        let path = match ask {
            Ask::Create => "/Users?filter=userName sw \"new-\"&count=0",
            Ask::Add | Ask::AddToSmall | Ask::Remove | Ask::Deactivate => "",
            _ => return,
        };
        let members = |id: &str| format!("/Users?filter=groups.value eq \"{id}\"&count=0");
        let (path, expected) = match ask {
            Ask::Create => (path.to_owned(), asked),
            Ask::Add => (members(&self.group), (MEMBERS as u64 + asked).min(USERS as u64)),
            Ask::AddToSmall => (members(&self.small), (10 + asked).min(USERS as u64)),
            Ask::Remove => (members(&self.group), u64::MAX),
            _ => ("/Users?filter=active eq false&count=0".to_owned(), asked.min(USERS as u64)),
        };
        let path = format!("/scim/v2/{SOURCE}{}", path.replace(' ', "%20").replace('"', "%22"));
        assert_eq!(one.connection.send("GET", &path, "").await, 200);
        let answer: Value = serde_json::from_slice(one.connection.body()).expect("JSON");
        let total = answer["totalResults"].as_u64().expect("a number");
        match ask {
            Ask::Remove => assert!(total < USERS as u64, "some went: {total}"),
            _ => assert_eq!(total, expected, "none is lost: {answer}"),
        }
    }
}

fn told(what: &str, at_once: usize, done: &Done) -> Row {
    let p99 = percentile(&done.each, 99);
    Row::new(format!("  {what}, {at_once} in flight (p99 {p99:.1} ms)"), done.rate(), "/s")
}

/// A user as providers send one.
pub fn user(name: &str) -> Value {
    json!({
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "userName": format!("{name}@corp.example"), "externalId": format!("x-{name}"),
        "displayName": name, "active": true, "name": {"givenName": "Given", "familyName": name},
        "emails": [{"value": format!("{name}@corp.example"), "type": "work", "primary": true}]
    })
}

/// The median of a bare PUT of a root of 4 KiB, in ms.
async fn bare_put(system: &System<'_>) -> f64 {
    let client = system.cluster.admin().await;
    let journals = format!("/apis/rolecall.dev/v1alpha1/namespaces/{}/journals", system.installed.namespace);
    let root = json!({
        "apiVersion": "rolecall.dev/v1alpha1", "kind": "Journal", "metadata": {"name": "scim-floor"},
        "spec": {"id": uuid::Uuid::new_v4(), "format": 1, "index": 0, "head": "0".repeat(64), "previous": "", "parent": "", "checkpoint": "", "tail": []},
    });
    let mut root = object(&client, Method::POST, &journals, &root).await;
    root["metadata"]["annotations"] = json!({"floor": "x".repeat(4096)});
    let path = format!("{journals}/scim-floor?fieldValidation=Strict");
    let mut each = Vec::new();
    for n in 0..300 {
        root["metadata"]["annotations"]["n"] = json!(n.to_string());
        let body = root.to_string().into_bytes();
        let begun = Instant::now();
        let (status, answer) = send(&client, Method::PUT, &path, body).await;
        each.push(begun.elapsed());
        assert_eq!(status, 200, "{}", String::from_utf8_lossy(&answer));
        let answer: Value = serde_json::from_slice(&answer).expect("JSON");
        root["metadata"]["resourceVersion"] = answer["metadata"]["resourceVersion"].clone();
    }
    percentile(&each, 50)
}

struct Worker {
    connection: Connection,
    ask: Ask,
    users: Arc<Vec<String>>,
    group: String,
    next: Arc<AtomicU64>,
}

impl Worker {
    async fn new(large: &Large, url: &str, root: &CertificateDer<'static>, ask: Ask, next: Arc<AtomicU64>) -> Self {
        let headers = format!("Authorization: Bearer {}\r\nContent-Type: application/scim+json\r\n", large.token);
        Self {
            connection: Connection::open_tls(url, root, &headers).await,
            ask,
            users: large.users.clone(),
            group: if ask == Ask::AddToSmall {
                large.small.clone()
            } else {
                large.group.clone()
            },
            next,
        }
    }
}

impl AsyncWorker for Worker {
    async fn work(&mut self) {
        let n = usize::try_from(self.next.fetch_add(1, Ordering::Relaxed)).expect("a number");
        let any = &self.users[n.wrapping_mul(7919) % USERS];
        let patch = |op: Value| json!({"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"], "Operations": [op]}).to_string();
        let add = |n: usize| patch(json!({"op": "add", "path": "members", "value": [{"value": self.users[n % USERS]}]}));
        let group = format!("/Groups/{}?excludedAttributes=members", self.group);
        let (method, path, body) = match self.ask {
            Ask::Create => ("POST", "/Users".to_owned(), user(&format!("new-{n}")).to_string()),
            Ask::Read => ("GET", format!("/Users/{any}"), String::new()),
            Ask::Lookup => {
                let n = n.wrapping_mul(7919) % USERS;
                (
                    "GET",
                    format!("/Users?filter=userName%20eq%20%22large-{n}@corp.example%22"),
                    String::new(),
                )
            }
            Ask::Add => ("PATCH", group, add(MEMBERS + n)),
            Ask::AddToSmall => ("PATCH", group, add(10 + n)),
            Ask::Remove => {
                let path = format!("members[value eq \"{}\"]", self.users[n % USERS]);
                ("PATCH", group, patch(json!({"op": "remove", "path": path})))
            }
            Ask::Deactivate => {
                let op = json!({"op": "replace", "path": "active", "value": false});
                ("PATCH", format!("/Users/{}", self.users[n % USERS]), patch(op))
            }
            Ask::List => (
                "GET",
                format!("/Users?startIndex={}&count=100", n % (USERS - 100) + 1),
                String::new(),
            ),
            Ask::Constant => ("GET", "/".to_owned(), String::new()),
        };
        let path = if self.ask == Ask::Constant {
            path
        } else {
            format!("/scim/v2/{SOURCE}{path}")
        };
        let status = self.connection.send(method, &path, &body).await;
        assert!(
            status == 200 || status == 201,
            "{method} {path}: {status} {}",
            String::from_utf8_lossy(self.connection.body())
        );
    }
}

/// A certificate for localhost.
struct Certificate {
    folder: PathBuf,
    root: CertificateDer<'static>,
}

impl Certificate {
    fn new() -> Self {
        let folder = std::env::temp_dir().join(format!("rolecall-bench-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        std::fs::write(folder.join("tls.crt"), made.cert.pem()).expect("written");
        std::fs::write(folder.join("tls.key"), made.signing_key.serialize_pem()).expect("written");
        Self {
            folder,
            root: made.cert.der().clone(),
        }
    }

    /// Serves a body of the size of a user, by the gateway's own server; where.
    async fn constant(&self) -> String {
        let body = user("constant").to_string();
        let router = axum::Router::new().fallback(move || std::future::ready(([("content-type", "application/scim+json")], body.clone())));
        let tls = rolecall::gateway::tls::Tls::load(self.folder.join("tls.crt"), self.folder.join("tls.key")).expect("a certificate");
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let timeouts = rolecall::gateway::server::Timeouts {
            connections: 4096,
            ..Default::default()
        };
        tokio::spawn(async move {
            let (_end, ended) = tokio::sync::watch::channel(false);
            rolecall::gateway::server::run(listener, Some(tls), router, ended, timeouts).await
        });
        format!("https://localhost:{port}")
    }
}

impl Drop for Certificate {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
