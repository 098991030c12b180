//! One patterned ClusterRoleMapping in a large cluster: how fast its bindings are made from nothing, beside a bare client that makes the same objects;
//! then a restart, and single changes at that size. `GROUPS_OF=2000` makes it smaller.
//!
//! Floor of the creations: a client with the controller's own token, so under the same RBAC and the same admission policies, POSTs bindings with as many
//! subjects, labels and annotations, as many at once as the controller does; half of them before and half after ours.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use http::Method;
use kube::Client;
use serde_json::{Value, json};

use crate::bare::{Review, object, send};
use crate::cluster::Cluster;
use crate::install::Install;
use crate::kit::{lease, seed_groups, until_led};
use crate::report::{Goal, Row, percentile};
use crate::system::{Process, System, until};

const ROLES: usize = 15;
const MEMBERS: usize = 10;
const AT_ONCE: usize = 32;
const FLOOR: usize = 6_000;
const CHANGES: usize = 200;
const LONG: Duration = Duration::from_secs(1_800);

/// All of it.
pub async fn measure() -> Vec<Row> {
    let size: usize = std::env::var("GROUPS_OF").ok().and_then(|n| n.parse().ok()).unwrap_or(10_000);
    let cluster = Cluster::own_with(&[("KEEP", "")]);
    let roles: Vec<String> = (0..ROLES).map(|i| format!("scale-{i:02}")).collect();
    let install = Install {
        crds: true,
        ..Install::new("rolecall").value(&format!("accessPolicy.clusterRoles={}", json!(roles)))
    };
    let system = System::with(&cluster, install).await;
    let admin = &system.admin;
    for name in &roles {
        let rules = json!([{"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}]);
        let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": name}, "rules": rules});
        object(admin, Method::POST, "/apis/rbac.authorization.k8s.io/v1/clusterroles", &role).await;
    }
    let names = (0..size).map(|i| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": format!("scale-{i}")}}));
    all(names.map(|body| ("/api/v1/namespaces".to_owned(), body)), admin).await;
    // The directory, before any gateway: the controller makes the journals.
    let controller = system.controller_with(&crate::DEFAULTS, None);
    until_led(&system).await;
    let gateway = system.gateway().await;
    let okta = system.source(&gateway.url, "scale").await;
    let count = |n: usize| u32::try_from(n).expect("a number");
    let (users, groups) = seed_groups(&system, "scale", "scale-", count(size), count(size * MEMBERS)).await;
    // it takes in a large directory as everybody does who follows
    let there = || async {
        okta.try_get("/Groups?count=0")
            .await
            .is_ok_and(|(_, body)| body["totalResults"] == size)
    };
    assert!(
        until(Duration::from_secs(120), there).await.is_ok(),
        "the gateway has the directory"
    );
    let token = system.installed.controller(&cluster).await;
    let mut floors = vec![floor(&system, &token, &roles, 0).await];

    let grants: Vec<Value> = roles
        .iter()
        .map(|name| json!({"roleRef": {"kind": "ClusterRole", "name": name}, "namespaces": {"expression": "'scale-' + match.n"}}))
        .collect();
    let spec = json!({"sources": ["scale"], "groups": {"pattern": "^scale-(?<n>[0-9]+)$"}, "grants": grants});
    let begun = Instant::now();
    system.apply(&system.mapping("ClusterRoleMapping", None, "scale", spec));
    let wanted = i64::try_from(size * ROLES).expect("a number");
    // looked at seldom, and by a GET: this runs on the cores that are measured
    let mut made = false;
    while !made && begun.elapsed() < LONG {
        tokio::time::sleep(Duration::from_millis(250)).await;
        let (_, answer) = send(
            admin,
            Method::GET,
            "/apis/rolecall.dev/v1alpha1/clusterrolemappings/scale",
            Vec::new(),
        )
        .await;
        let status = serde_json::from_slice::<Value>(&answer).expect("a mapping")["status"].clone();
        let ready = |condition: &Value| condition["type"] == "Ready" && condition["status"] == "True";
        made = status["bindings"] == wanted && status["conditions"].as_array().into_iter().flatten().any(ready);
    }
    let took = begun.elapsed();
    assert!(
        made,
        "{:#}\n{}",
        system.status("clusterrolemapping", None, "scale"),
        controller.log()
    );
    let resident = memory(&controller);
    floors.push(floor(&system, &token, &roles, 1).await);
    let floor = floors.iter().sum::<f64>() / 2.0;

    // one member less, of groups far apart
    let mut denied = Vec::new();
    for k in 0..CHANGES {
        let at = (k * 37) % size;
        let (group, user) = (&groups[at], &users[at * MEMBERS]);
        let review = Review::new(admin, &format!("oidc:user-{}@corp.example", at * MEMBERS), &format!("scale-{at}"));
        assert!(review.allowed().await, "user {at} had access");
        okta.patch(
            &format!("/Groups/{group}"),
            json!([{"op": "remove", "path": format!("members[value eq \"{user}\"]")}]),
        )
        .await;
        let answered = Instant::now();
        review.until(false).await;
        denied.push(answered.elapsed());
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    let bare = bare_removals(&system, admin, &token, &roles).await;
    let mut controller = controller;
    controller.signal("TERM");
    assert!(controller.ended(Duration::from_secs(30)), "it ends");
    drop(controller);
    let since = jiff::Timestamp::now();
    let begun = Instant::now();
    let controller = system.controller_with(&crate::DEFAULTS, None);
    let working = || async { controller.log().contains("working") };
    assert!(until(Duration::from_secs(120), working).await.is_ok(), "{}", controller.log());
    let ready = begun.elapsed();
    tokio::time::sleep(Duration::from_secs(20)).await;
    let written = cluster.audit(since);
    let ours = format!("{}-controller", system.installed.fullname);
    let writes = written
        .iter()
        // the fence is probed with a request that writes nothing
        .filter(|w| w.user.ends_with(&ours) && w.resource.ends_with("rolebindings") && w.code < 300 && !w.dry_run);
    let writes = writes.count();
    let again = memory(&controller);
    gateway.signal("TERM");
    let rate = (size * ROLES) as f64 / took.as_secs_f64();
    vec![
        Row::new(format!("{} bindings of one mapping, made from nothing", size * ROLES), rate, "/s")
            .floor(floor)
            .goal(Goal::RatioAtLeast(0.85))
            .waived("two cores for all: each grant is decided three times, proved, recorded, and seen again by the watch, which takes a sixth of them"),
        Row::new("  resident afterwards", resident, "MiB").goal(Goal::Below(1024.0)),
        Row::new("  start to working, with them", ready.as_secs_f64(), "s").goal(Goal::Below(30.0)).waived("on two cores the API server's list of all bindings takes most of it; the access journal is read beside it, and then each binding is looked at"),
        Row::new("  bindings written in the 20 s after that", writes as f64, "writes").goal(Goal::Below(1.0)),
        Row::new("  resident after the start", again, "MiB").goal(Goal::Below(1024.0)),
        Row::new("  one member less of 15 bindings: answered -> denied, p50", percentile(&denied, 50), "ms").floor(percentile(&bare, 50)),
        Row::new("  one member less of 15 bindings: answered -> denied, p99", percentile(&denied, 99), "ms")
            .floor(percentile(&bare, 99))
            .goal(Goal::Below(150.0))
            .waived("all fifteen have to be written before the review is denied, and what the change before wrote is recorded meanwhile"),
    ]
}

/// What a bare client with the controller's token needs to take one person out of as many bindings, all at once, until a review is denied.
async fn bare_removals(system: &System<'_>, admin: &Client, token: &Client, roles: &[String]) -> Vec<Duration> {
    let (holder, transitions) = lease(system).await;
    let path = "/apis/rbac.authorization.k8s.io/v1/namespaces/scale-bare/rolebindings";
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "scale-bare"}});
    object(admin, Method::POST, "/api/v1/namespaces", &namespace).await;
    let body = |k: usize, members: std::ops::Range<usize>| {
        let labels = json!({"app.kubernetes.io/managed-by": "rolecall", "rolecall.dev/class": system.installed.class, "rolecall.dev/owner": "0123456789abcdef",
            "rolecall.dev/journal": uuid::Uuid::nil(), "rolecall.dev/shard": "all"});
        let annotations = json!({"rolecall.dev/term": format!("{holder}/{transitions}")});
        let subjects: Vec<Value> = members
            .map(|m| json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": format!("oidc:alone-{m}@corp.example")}))
            .collect();
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": format!("rolecall-{:032x}", 0xba5e_0000 + k), "namespace": "scale-bare", "labels": labels, "annotations": annotations},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": roles[k]}, "subjects": subjects})
    };
    let all = |method: Method, members: std::ops::Range<usize>| {
        let sent = (0..ROLES).map(move |k| {
            let (method, text) = (method.clone(), body(k, members.clone()).to_string().into_bytes());
            let to = if method == Method::POST {
                path.to_owned()
            } else {
                format!("{path}/rolecall-{:032x}", 0xba5e_0000 + k)
            };
            async move {
                let (status, answer) = send(token, method, &to, text).await;
                assert!(status < 300, "{to}: {status} {}", String::from_utf8_lossy(&answer));
            }
        });
        futures::future::join_all(sent)
    };
    all(Method::POST, 0..MEMBERS).await;
    let review = Review::new(admin, "oidc:alone-0@corp.example", "scale-bare");
    let mut taken = Vec::new();
    for _ in 0..CHANGES / 2 {
        review.until(true).await;
        let begun = Instant::now();
        tokio::join!(all(Method::PUT, 1..MEMBERS), review.until(false));
        taken.push(begun.elapsed());
        all(Method::PUT, 0..MEMBERS).await;
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    taken
}

/// The resident size of a process, in MiB.
fn memory(process: &Process) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.id())).expect("a process");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("a size");
    let kib: f64 = line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).expect("a number");
    kib / 1024.0
}

/// POSTs all of them, as many at once as the controller does.
async fn all(bodies: impl Iterator<Item = (String, Value)>, client: &Client) {
    let bodies: Arc<Vec<(String, Value)>> = Arc::new(bodies.collect());
    let sent = (0..bodies.len()).map(|i| {
        let (client, bodies) = (client.clone(), bodies.clone());
        async move {
            let (path, body) = &bodies[i];
            let (status, answer) = send(&client, Method::POST, path, body.to_string().into_bytes()).await;
            assert!(status == 201, "{path}: {status} {}", String::from_utf8_lossy(&answer));
        }
    });
    futures::stream::iter(sent).buffer_unordered(AT_ONCE).collect::<Vec<()>>().await;
}

/// Bindings as the controller writes them, of no journal of ours: the controller lets them be. How many a second.
async fn floor(system: &System<'_>, client: &Client, roles: &[String], round: usize) -> f64 {
    let (holder, transitions) = lease(system).await;
    let class = &system.installed.class;
    let subjects: Vec<Value> = (0..MEMBERS)
        .map(|k| json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": format!("oidc:bare-{k}@corp.example")}))
        .collect();
    let bodies = (0..FLOOR).map(|k| {
        let labels = json!({"app.kubernetes.io/managed-by": "rolecall", "rolecall.dev/class": class, "rolecall.dev/owner": "0123456789abcdef",
            "rolecall.dev/journal": uuid::Uuid::nil(), "rolecall.dev/shard": "all"});
        let annotations = json!({"rolecall.dev/mapping": "ClusterRoleMapping/scale", "rolecall.dev/term": format!("{holder}/{transitions}"), "rolecall.dev/op": "4711/12"});
        let metadata = json!({"name": format!("rolecall-{round:016x}{k:016x}"), "namespace": format!("scale-{}", k % 100), "labels": labels, "annotations": annotations});
        let body = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": metadata,
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": roles[k % roles.len()]}, "subjects": subjects});
        let path = format!("/apis/rbac.authorization.k8s.io/v1/namespaces/scale-{}/rolebindings?fieldValidation=Strict", k % 100);
        (path, body)
    });
    let bodies: Vec<(String, Value)> = bodies.collect();
    let begun = Instant::now();
    all(bodies.into_iter(), client).await;
    FLOOR as f64 / begun.elapsed().as_secs_f64()
}
