//! How soon a person whom the provider disables has lost access, beside the same two writes by a bare client.
//!
//! Measured: from the gateway's answer to PATCH `active: false` until a SubjectAccessReview is denied. Floor: a client with the controller's own token,
//! so under the same RBAC and the same admission policies, PUTs the root of an unrelated Journal of 4 KiB, and then a binding with as many subjects,
//! labels and annotations as the controller's, its term included, less one person, until the SubjectAccessReview is denied. Both ask in the same way.

use std::time::{Duration, Instant};

use http::Method;
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::{Api, Client};
use serde_json::{Value, json};

use crate::bare::{Review, object};
use crate::kit::{bindings, lease, seed, until_led};
use crate::prepared;
use crate::report::{Goal, Row, percentile};
use crate::system::{Process, System};

const PEOPLE: u32 = 2_000;
const REVOKED: usize = 1_000;
const AT_ONCE: usize = 50;
const FLOORS: usize = 10;
const PLACE: &str = "people";

/// All of it.
pub async fn measure(system: &System<'_>, gateway: &Process) -> Vec<Row> {
    until_led(system).await;
    system.namespace(PLACE, json!({})).await;
    let okta = system.source(&gateway.url, "okta").await;
    let ids = seed(system, "okta", PEOPLE).await;
    // The gateway learns of them by its watch.
    let all = || async {
        okta.try_get("/Users?count=0")
            .await
            .is_ok_and(|(_, body)| body["totalResults"] == PEOPLE)
    };
    prepared("the seeded people", all).await;
    okta.group("everybody", &ids.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let spec =
        json!({"sources": ["okta"], "groups": {"names": ["everybody"]}, "grants": [{"roleRef": {"kind": "ClusterRole", "name": "view"}}]});
    system.apply(&system.mapping("RoleMapping", Some(PLACE), "everybody", spec));
    let granted = || async { bindings(system).await.iter().map(|b| b.subjects.len()).sum::<usize>() == PEOPLE as usize };
    prepared("everybody's access", granted).await;
    let shards = bindings(system).await.len();
    let mut floor = Floor::new(system, shards).await;
    tokio::time::sleep(Duration::from_secs(2)).await; // outcomes and statuses of the grants are written within a second

    let (mut asked, mut acknowledged, mut answered, mut sent) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut floors = Vec::new();
    for (n, id) in ids.iter().take(REVOKED).enumerate() {
        if n % AT_ONCE == 0 {
            tokio::time::sleep(Duration::from_millis(1500)).await; // the same quiet before both
            floors.extend(floor.sample(PEOPLE as usize - n).await);
        }
        let review = Review::new(&system.admin, &format!("oidc:user-{n}@corp.example"), PLACE);
        assert!(review.allowed().await, "person {n} had access");
        asked.push(jiff::Timestamp::now());
        let begun = Instant::now();
        okta.active(id, false).await;
        let at = Instant::now();
        acknowledged.push(at - begun);
        review.until(false).await;
        answered.push(at.elapsed());
        sent.push(begun.elapsed());
    }
    let reached = reached(system, &asked, &sent);
    let of_floor = |part: fn(&Sample) -> Duration| floors.iter().map(part).collect::<Vec<_>>();
    let parts = [
        ("request sent -> answered", 50, acknowledged.clone()),
        ("request sent -> answered", 99, acknowledged),
        ("request sent -> the controller's PUT reaches the API server", 50, reached.clone()),
        ("request sent -> the controller's PUT reaches the API server", 99, reached),
        ("of the floor: the PUT of the root", 50, of_floor(|f| f.root)),
        ("of the floor: the PUT of the binding", 50, of_floor(|f| f.binding)),
        ("of the floor: the PUT of the binding", 99, of_floor(|f| f.binding)),
        ("of the floor: the binding's answer -> denied", 50, of_floor(|f| f.denied)),
    ];
    let floors: Vec<Duration> = floors.iter().map(|f| f.root + f.binding + f.denied).collect();
    let mut rows = vec![
        Row::new("1,000 revocations: answered -> denied, p50", percentile(&answered, 50), "ms")
            .floor(percentile(&floors, 50))
            .goal(Goal::RatioAtMost(2.0)),
        Row::new("1,000 revocations: answered -> denied, p99", percentile(&answered, 99), "ms")
            .floor(percentile(&floors, 99))
            .goal(Goal::Below(100.0)),
        Row::new("1,000 revocations: request sent -> denied, p50", percentile(&sent, 50), "ms").floor(percentile(&floors, 50)),
    ];
    rows.extend(parts.map(|(name, p, values)| Row::new(format!("  {name}, p{p}"), percentile(&values, p), "ms")));
    rows.push(Row::new(
        format!("  the group's {PEOPLE} people are at first in"),
        shards as f64,
        "bindings",
    ));
    rows
}

/// How long after each request the write that takes the access away reached the API server, as its audit log has it.
fn reached(system: &System<'_>, asked: &[jiff::Timestamp], took: &[Duration]) -> Vec<Duration> {
    let Some(first) = asked.first() else { return Vec::new() };
    let account = format!(
        "system:serviceaccount:{}:{}-controller",
        system.installed.namespace, system.installed.fullname
    );
    let bare = format!("rolecall-{}", "f".repeat(32));
    let written = system.cluster.audit(*first);
    let writes = written
        .into_iter()
        .filter(|w| w.resource == "rolebindings" && w.user == account && w.name != bare);
    let writes: Vec<jiff::Timestamp> = writes.map(|w| w.time).collect();
    let since = |(at, took): (&jiff::Timestamp, &Duration)| {
        let write = writes.iter().find(|write| **write >= *at && **write <= *at + *took)?;
        Duration::try_from(write.duration_since(*at)).ok()
    };
    asked.iter().zip(took).filter_map(since).collect()
}

/// What the bare client took.
struct Sample {
    root: Duration,
    binding: Duration,
    denied: Duration,
}

/// The bare client, its root and its binding.
struct Floor {
    client: Client,
    admin: Client,
    root_path: String,
    root: Value,
    path: String,
    binding: Value,
    shards: usize,
    next: usize,
}

impl Floor {
    async fn new(system: &System<'_>, shards: usize) -> Self {
        let client = system.installed.controller(system.cluster).await;
        let journals = format!("/apis/rolecall.dev/v1alpha1/namespaces/{}/journals", system.installed.namespace);
        let line = json!({"index": 1, "events": "x".repeat(960)}).to_string();
        let root = json!({
            "apiVersion": "rolecall.dev/v1alpha1", "kind": "Journal", "metadata": {"name": "floor"},
            "spec": {"id": "floor", "format": 1, "index": 0, "head": "0".repeat(64), "previous": "", "parent": "", "tail": vec![line; 4]},
        });
        let root = object(&client, Method::POST, &journals, &root).await;
        // A binding as the controller writes them, but of no journal of ours: the controller lets it be.
        let api: Api<RoleBinding> = Api::namespaced(system.admin.clone(), PLACE);
        let ours = api.list(&Default::default()).await.expect("a list").items;
        let ours = ours.into_iter().next().expect("a binding of ours");
        let mut binding = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "roleRef": ours.role_ref});
        binding["metadata"] = json!({
            "name": format!("rolecall-{}", "f".repeat(32)), "labels": ours.metadata.labels, "annotations": ours.metadata.annotations,
        });
        binding["metadata"]["labels"]["rolecall.dev/journal"] = json!(uuid::Uuid::nil());
        let (holder, transitions) = lease(system).await;
        binding["metadata"]["annotations"]["rolecall.dev/term"] = json!(format!("{holder}/{transitions}"));
        let collection = format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{PLACE}/rolebindings");
        let binding = object(&client, Method::POST, &collection, &binding).await;
        Self {
            client,
            admin: system.admin.clone(),
            root_path: format!("{journals}/floor?fieldValidation=Strict"),
            root,
            path: format!("{collection}/rolecall-{}?fieldValidation=Strict", "f".repeat(32)),
            binding,
            shards,
            next: 0,
        }
    }

    /// Some samples while so many people have access by ours.
    async fn sample(&mut self, people: usize) -> Vec<Sample> {
        let mut taken = Vec::new();
        let mut subjects: Vec<Value> = (0..people / self.shards + FLOORS / 2).map(|k| self.subject(k)).collect();
        self.put_binding(&subjects).await; // as large as ours are now, on average over the samples
        for _ in 0..FLOORS {
            let gone = subjects.remove(0);
            let review = Review::new(&self.admin, gone["name"].as_str().expect("a name"), PLACE);
            review.until(true).await;
            tokio::time::sleep(Duration::from_millis(10)).await;
            let begun = Instant::now();
            self.put_root().await;
            let root = begun.elapsed();
            self.put_binding(&subjects).await;
            let binding = begun.elapsed() - root;
            review.until(false).await;
            let denied = begun.elapsed() - root - binding;
            taken.push(Sample { root, binding, denied });
        }
        self.next += people;
        taken
    }

    fn subject(&self, k: usize) -> Value {
        let name = format!("oidc:bare-{}@corp.example", self.next + k);
        json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": name})
    }

    async fn put_root(&mut self) {
        let spec = &mut self.root["spec"];
        let index = spec["index"].as_i64().expect("an index") + 1;
        spec["previous"] = spec["head"].take();
        spec["head"] = json!(format!("{index:064}"));
        spec["index"] = json!(index);
        self.root["metadata"]["managedFields"] = json!([{}]); // as the journal does: nobody needs to know who owns its fields
        self.root = object(&self.client, Method::PUT, &self.root_path, &self.root).await;
    }

    async fn put_binding(&mut self, subjects: &[Value]) {
        self.binding["subjects"] = json!(subjects);
        if let Some(metadata) = self.binding["metadata"].as_object_mut() {
            metadata.remove("managedFields"); // as the controller does
        }
        self.binding = object(&self.client, Method::PUT, &self.path, &self.binding).await;
    }
}
