//! A directory upstream and what tests of polling ask: our own gateway behind TLS, over a journal in memory. No test lives here.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use rolecall::directory::{Directory, Kind};
use rolecall::gateway::tls::Tls;
use rolecall::gateway::tokens::Sources;
use rolecall::gateway::{Gateway, Settings, router, server};
use rolecall::journal::store::{Kubernetes, Memory, Store};
use rolecall::journal::{Journal, Options, create_if_nothing_names_one, load};
use serde_json::{Value, json};

use crate::system::{Process, Provider, System, free_port, until};

pub(super) const TOKEN: &str = "a-token-of-at-least-32-characters-for-polling";

/// A directory upstream, and whoever administers it.
pub(super) struct Upstream {
    pub(super) admin: Provider,
    pub(super) url: String,
    pub(super) ca: PathBuf,
    /// While set, lists of groups are made and not answered.
    pub(super) hold: Arc<AtomicBool>,
    /// How many wait so.
    pub(super) held: Arc<AtomicUsize>,
}

impl Upstream {
    pub(super) async fn start(system: &System<'_>) -> Self {
        let (access, directory) = (Memory::new("access"), Memory::new("directory"));
        create_if_nothing_names_one(&access, &directory, "upstream", None)
            .await
            .expect("a journal");
        let store: Arc<dyn Store> = Arc::new(directory);
        let journal = Journal::open(store, Directory::default(), Options::new("gateway/upstream"))
            .await
            .expect("a journal");
        let gateway = Arc::new(Gateway::new(Settings::default(), Sources::one("corp", "uid-1", TOKEN)).expect("a gateway"));
        gateway.use_journal(Some(journal));
        let file = |name: &str| system.cluster.dir().join(format!("{}-{name}", system.installed.fullname));
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()]).expect("a certificate");
        let (ca, key) = (file("upstream.crt"), file("upstream.key"));
        std::fs::write(&ca, made.cert.pem()).expect("written");
        std::fs::write(&key, made.signing_key.serialize_pem()).expect("written");
        let tls = Tls::load(ca.clone(), key).expect("a certificate");
        let (hold, held) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (holds, counts) = (hold.clone(), held.clone());
        let slow = from_fn(move |request: Request, next: Next| {
            let (holds, counts) = (holds.clone(), counts.clone());
            async move {
                let groups = request.uri().path().ends_with("/Groups");
                let answer = next.run(request).await;
                if groups && holds.load(Ordering::SeqCst) {
                    counts.fetch_add(1, Ordering::SeqCst);
                    while holds.load(Ordering::SeqCst) {
                        tokio::time::sleep(Duration::from_millis(10)).await;
                    }
                }
                answer
            }
        });
        let (plain, secure) = (free_port(), free_port());
        for (port, tls, router) in [
            (plain, None, router(gateway.clone())),
            (secure, Some(tls), router(gateway).layer(slow)),
        ] {
            let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await.expect("a port");
            tokio::spawn(async move {
                let (_end, ended) = tokio::sync::watch::channel(false);
                server::run(listener, tls, router, ended, server::Timeouts::default()).await
            });
        }
        Self {
            admin: Provider {
                http: system.http.clone(),
                base: format!("http://127.0.0.1:{plain}/scim/v2/corp"),
                token: TOKEN.to_owned(),
            },
            url: format!("https://localhost:{secure}/scim/v2/corp"),
            ca,
            hold,
            held,
        }
    }

    /// A gateway that may reach it.
    pub(super) async fn gateway(&self, system: &System<'_>, identity: &str) -> Process {
        let (ca, identity) = (format!("--upstream-ca={}", self.ca.display()), format!("--identity={identity}"));
        let flags = [
            "--allow-network=127.0.0.0/8",
            "--allow-network=::1/128",
            "--poll-patience=2s",
            "--refresh=1s",
            &ca,
            &identity,
        ];
        system.gateway_with(&flags, None).await
    }

    /// What a source says of it.
    pub(super) fn poll(&self, name: &str) -> Value {
        json!({
            "interval": "10m",
            "scim": {"url": self.url, "auth": {"bearer": {"name": format!("{name}-upstream"), "key": "token"}}, "pageSize": 7},
        })
    }
}

/// A source that is polled, and the Secret with its credential.
pub(super) fn polled(system: &System<'_>, name: &str, poll: &Value) {
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": format!("{name}-upstream"), "namespace": system.installed.namespace},
        "stringData": {"token": TOKEN},
    });
    let source = json!({
        "apiVersion": "rolecall.dev/v1alpha1", "kind": "ScimSource", "metadata": {"name": name},
        "spec": {"class": system.installed.class, "poll": poll, "subject": {"username": "'oidc:' + user.userName"}},
    });
    system.apply(&secret);
    system.apply(&source);
}

/// What an admin may not write.
pub(super) fn refused(system: &System<'_>, good: &Value) {
    let token = json!([{"name": "first", "secretKeyRef": {"name": "x", "key": "token"}}]);
    let scim = |change: Value| {
        let mut scim = good["scim"].clone();
        change
            .as_object()
            .into_iter()
            .flatten()
            .for_each(|(key, value)| scim[key] = value.clone());
        json!({"poll": {"scim": scim}})
    };
    let both = json!({"bearer": {"name": "x", "key": "y"}, "basic": {"username": "u", "secretKeyRef": {"name": "x", "key": "y"}}});
    for (spec, says) in [
        (json!({}), "exactly one of push and poll"),
        (json!({"poll": good, "push": {"tokens": token}}), "exactly one of push and poll"),
        (json!({"poll": {}}), "exactly one of scim, googleWorkspace, entra and okta"),
        (
            json!({"poll": {"scim": good["scim"], "okta": {"url": "https://x.okta.com", "apiTokenSecretKeyRef": {"name": "x", "key": "y"}}}}),
            "exactly one of scim",
        ),
        (json!({"poll": {"interval": "soon", "scim": good["scim"]}}), "interval"),
        (scim(json!({"url": "http://idp.example.com/scim"})), "url"),
        (scim(json!({"url": "https://user@idp.example.com/scim"})), "url"),
        (scim(json!({"pageSize": 0})), "pageSize is from 1 to 1000"),
        (scim(json!({"auth": {}})), "one of bearer, basic, oauth2 and clientCertificate"),
        (scim(json!({"auth": both})), "at most one of bearer, basic and oauth2"),
        (
            json!({"poll": {"googleWorkspace": {}}}),
            "exactly one of keySecretKeyRef and metadataServer",
        ),
        (
            json!({"poll": {"googleWorkspace": {"keySecretKeyRef": {"name": "x", "key": "y"}}}}),
            "the admin is needed",
        ),
        (
            json!({"poll": {"entra": {"tenantId": "t", "clientId": "c"}}}),
            "exactly one of clientSecretKeyRef, certificate and workloadIdentity",
        ),
        (
            json!({"poll": {"okta": {"url": "https://x.okta.com"}}}),
            "exactly one of apiTokenSecretKeyRef and oauth2",
        ),
    ] {
        let mut source =
            json!({"apiVersion": "rolecall.dev/v1alpha1", "kind": "ScimSource", "metadata": {"name": "refused-poll"}, "spec": spec});
        source["spec"]["class"] = json!(system.installed.class);
        source["spec"]["subject"] = json!({"username": "user.userName"});
        let output = system.cluster.apply(&source.to_string(), &[]);
        assert!(!output.ok && output.stderr.contains(says), "{spec}: {}", output.stderr);
    }
}

/// Asks for a pass now, as an admin does.
pub(super) fn look_now(system: &System<'_>, name: &str) {
    let at = format!("rolecall.dev/requestedAt={}", uuid::Uuid::new_v4());
    system
        .cluster
        .kubectl(&["annotate", "scimsource", name, &at, "--overwrite"])
        .expect_ok();
}

pub(super) async fn directory(system: &System<'_>) -> Arc<Directory> {
    let store: Arc<dyn Store> = Arc::new(Kubernetes::new(system.admin.clone(), &system.installed.namespace, "directory"));
    load(store, Directory::default(), Vec::new())
        .await
        .expect("the directory journal")
        .state
}

/// How many passes over the source have ended.
pub(super) async fn passes(system: &System<'_>, name: &str) -> i64 {
    let directory = directory(system).await;
    let ended = directory.source(name).and_then(|source| source.poll().ended.as_ref());
    ended.map_or(0, |ended| ended.n)
}

pub(super) async fn pass(system: &System<'_>, name: &str) {
    let before = passes(system, name).await;
    look_now(system, name);
    let next = until(Duration::from_secs(30), || async { passes(system, name).await > before }).await;
    assert!(next.is_ok(), "no pass\n{}", system.explain());
}

/// The condition of a source: status, reason and message.
pub(super) async fn condition(system: &System<'_>, name: &str, kind: &str) -> (String, String, String) {
    let path = format!("jsonpath={{.status.conditions[?(@.type==\"{kind}\")]}}");
    let said = system.cluster.kubectl(&["get", "scimsource", name, "-o", &path]).stdout;
    let said: Value = serde_json::from_str(&said).unwrap_or_default();
    let text = |key: &str| said[key].as_str().unwrap_or_default().to_owned();
    (text("status"), text("reason"), text("message"))
}

pub(super) async fn until_condition(system: &System<'_>, name: &str, kind: &str, reason: &str) -> String {
    let seen = until(Duration::from_secs(40), || async {
        condition(system, name, kind).await.1 == reason
    })
    .await;
    let (_, now, message) = condition(system, name, kind).await;
    assert!(seen.is_ok(), "{kind} is {now:?} ({message}), never {reason}\n{}", system.explain());
    message
}

/// Names, whether active, and who is in which group, of a source.
pub(super) type Picture = (BTreeMap<String, bool>, BTreeMap<String, BTreeSet<String>>);

pub(super) fn picture(directory: &Directory, source: &str) -> Picture {
    let source = directory.source(source).expect("the source");
    let name = |n: u32| source.get(n).map(|one| one.name.to_string()).unwrap_or_default();
    let users = source.users().map(|user| (user.name.to_string(), user.active)).collect();
    let groups = source
        .of_kind(Kind::Group)
        .iter()
        .map(|n| (name(n), source.members(n).iter().map(name).collect()));
    (users, groups.collect())
}

/// The same, as the upstream answers.
pub(super) async fn upstream_picture(admin: &Provider) -> Picture {
    let list = async |path: &str| {
        let (mut all, mut start) = (Vec::new(), 1);
        loop {
            let page = admin
                .send("GET", &format!("{path}?startIndex={start}&count=100"), None, &[200])
                .await;
            let items = page["Resources"].as_array().cloned().unwrap_or_default();
            start += items.len();
            let end = items.is_empty();
            all.extend(items);
            if end {
                return all;
            }
        }
    };
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (users, groups) = (list("/Users").await, list("/Groups").await);
    let both = users.iter().chain(&groups);
    let names: BTreeMap<String, String> = both
        .map(|one| {
            (
                text(&one["id"]),
                text(if one["userName"].is_null() {
                    &one["displayName"]
                } else {
                    &one["userName"]
                }),
            )
        })
        .collect();
    let members = |group: &Value| {
        group["members"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|m| names[&text(&m["value"])].clone())
            .collect()
    };
    (
        users
            .iter()
            .map(|user| (text(&user["userName"]), user["active"] != json!(false)))
            .collect(),
        groups.iter().map(|group| (text(&group["displayName"]), members(group))).collect(),
    )
}
