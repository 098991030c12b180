//! A journal that is lost: nothing is revoked, nothing granted, nothing acknowledged, and a condition on the source says what happened and what to do.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::install::Install;
use crate::kit::{bindings, seed, until_led};
use crate::system::{Process, Provider, System, free_port, until};

const ADA: &str = "oidc:ada@corp.example";
const EVE: &str = "oidc:eve@corp.example";
/// How long nothing may happen.
const STILL: Duration = Duration::from_secs(3);

/// One installation. The mapping means every namespace with the label: ada has access in `-a` and `-b`; `-c` is without the label.
struct Scene<'a> {
    system: System<'a>,
    gateway: Option<Process>,
    controller: Option<Process>,
    okta: Provider,
    source: String,
    ada: String,
    eve: String,
    group: String,
    name: String,
}

impl<'a> Scene<'a> {
    async fn new(cluster: &'a Cluster, name: &str, crds: bool) -> Scene<'a> {
        let system = System::with(
            cluster,
            Install {
                crds,
                ..Install::new(name)
            },
        )
        .await;
        let gateway = system.gateway_unready();
        let controller = system.controller();
        for (place, labels) in [("a", json!({"loss": name})), ("b", json!({"loss": name})), ("c", json!({}))] {
            system.namespace(&format!("{name}-{place}"), labels).await;
        }
        let source = format!("{name}-okta");
        let okta = system.source(&gateway.url, &source).await;
        let ada = okta.user("ada@corp.example").await;
        let eve = okta.user("eve@corp.example").await;
        let group = okta.group("Backend", &[&ada]).await;
        let spec = json!({"sources": [source], "groups": {"names": ["Backend"]}, "grants": [
            {"roleRef": {"kind": "ClusterRole", "name": "view"}, "namespaces": {"selector": {"matchLabels": {"loss": name}}}},
        ]});
        system.apply(&system.mapping("ClusterRoleMapping", None, name, spec));
        let scene = Self {
            system,
            gateway: Some(gateway),
            controller: Some(controller),
            okta,
            source,
            ada,
            eve,
            group,
            name: name.to_owned(),
        };
        for place in ["a", "b"] {
            scene.system.until_may(ADA, "list", &scene.place(place), true).await;
        }
        scene
    }

    fn place(&self, letter: &str) -> String {
        format!("{}-{letter}", self.name)
    }

    /// What an admin does meanwhile: by the mapping `-c` should be granted and `-b` revoked.
    fn relabel(&self) {
        let (b, c) = (self.place("b"), self.place("c"));
        self.system.cluster.kubectl(&["label", "namespace", &b, "loss-"]).expect_ok();
        self.system
            .cluster
            .kubectl(&["label", "namespace", &c, &format!("loss={}", self.name)])
            .expect_ok();
    }

    /// RoleBindings that our controller wrote since then.
    fn written(&self, since: jiff::Timestamp) -> Vec<String> {
        let user = format!(
            "system:serviceaccount:{}:{}-controller",
            self.system.installed.namespace, self.system.installed.fullname
        );
        let all = self.system.cluster.audit(since).into_iter();
        let ours = all.filter(|w| w.user == user && w.resource == "rolebindings" && !w.dry_run && w.code < 300);
        ours.map(|w| format!("{} {}/{}", w.verb, w.namespace, w.name)).collect()
    }

    /// Waits for a condition of the source, and returns its message. A process proves its journals at least every 30 s.
    async fn condition(&self, kind: &str) -> String {
        let begun = Instant::now();
        loop {
            let status = self.system.status("scimsource", None, &self.source);
            let found = status["conditions"]
                .as_array()
                .into_iter()
                .flatten()
                .find(|c| c["type"] == kind && c["status"] == "True");
            if let Some(found) = found {
                assert!(found["reason"].as_str().is_some_and(|r| !r.is_empty()), "{found}");
                return found["message"].as_str().unwrap_or_default().to_owned();
            }
            assert!(
                begun.elapsed() < Duration::from_secs(45),
                "{}: no {kind}: {status:#}\n{}",
                self.name,
                self.system.explain()
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// What a provider tries is refused with 503, whatever it is.
    async fn nothing_is_acknowledged(&self) {
        let inactive = json!({"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"], "Operations": [{"op": "replace", "path": "active", "value": false}]});
        let joins = json!({"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"], "Operations": [{"op": "add", "path": "members", "value": [{"value": self.eve}]}]});
        let user = json!({"schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "userName": "new@corp.example"});
        let requests: [(&str, String, Option<&Value>); 5] = [
            ("PATCH", format!("/Users/{}", self.ada), Some(&inactive)),
            ("PATCH", format!("/Groups/{}", self.group), Some(&joins)),
            ("POST", "/Users".to_owned(), Some(&user)),
            ("GET", format!("/Users/{}", self.ada), None),
            ("DELETE", format!("/Users/{}", self.ada), None),
        ];
        for (method, path, body) in requests {
            match self.okta.try_send(method, &path, body).await {
                Ok((status, answer)) => assert_eq!(status, 503, "{}: {method} {path}: {answer}\n{}", self.name, self.system.explain()),
                Err(error) => panic!("{}: {method} {path}: {error}\n{}", self.name, self.system.explain()),
            }
        }
    }

    /// For a while nobody gains or loses anything, and no binding is written.
    async fn nothing_happens(&self, since: jiff::Timestamp, may: &[(&str, &str, bool)]) {
        let begun = Instant::now();
        while begun.elapsed() < STILL {
            for (user, place, allowed) in may {
                let now = self.system.may(user, "list", &self.place(place)).await;
                assert_eq!(now, *allowed, "{}: {user} in {place}\n{}", self.name, self.system.explain());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let written = self.written(since);
        assert!(
            written.is_empty(),
            "{}: bindings were written: {written:?}\n{}",
            self.name,
            self.system.explain()
        );
    }

    /// The whole claim for a lost directory, with the processes as they are.
    async fn stands_still(&self, since: jiff::Timestamp, condition: &str, says: &[&str]) {
        let message = self.condition(condition).await;
        for text in says {
            assert!(
                message.contains(text),
                "{}: the message says nothing of {text:?}: {message}",
                self.name
            );
        }
        self.nothing_is_acknowledged().await;
        self.nothing_happens(since, &[(ADA, "a", true), (ADA, "b", true), (ADA, "c", false), (EVE, "a", false)])
            .await;
    }

    /// Ends both processes and starts new ones, which know only what lies in the cluster.
    async fn restart(&mut self) {
        for process in [self.gateway.take(), self.controller.take()] {
            drop(process);
        }
        let gateway = self.system.gateway_unready();
        self.okta = self.okta.at(&gateway);
        (self.gateway, self.controller) = (Some(gateway), Some(self.system.controller()));
        self.answers().await;
    }

    /// Waits until the gateway knows its sources.
    async fn answers(&self) {
        let listens = until(Duration::from_secs(10), || async {
            self.okta.try_get("/Users?count=0").await.is_ok_and(|(status, _)| status != 401)
        });
        assert!(
            listens.await.is_ok(),
            "{}: the gateway does not answer\n{}",
            self.name,
            self.system.explain()
        );
    }

    fn delete(&self, what: &[&str]) {
        let namespace = &self.system.installed.namespace;
        self.system
            .cluster
            .kubectl(&[&["delete", "-n", namespace], what].concat())
            .expect_ok();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_directory_is_deleted() {
    let mut scene = Scene::new(Cluster::shared(), "loss-root", false).await;
    let since = jiff::Timestamp::now();
    scene.delete(&["journal", "directory"]);
    scene.relabel();
    scene.stands_still(since, "JournalLost", &["directory", "gone", "estore"]).await;
    scene.restart().await;
    scene.stands_still(since, "JournalLost", &["directory", "gone", "estore"]).await;
    let left = scene
        .system
        .cluster
        .kubectl(&["get", "journals", "-n", "loss-root", "-o", "name"])
        .expect_ok();
    assert!(!left.contains("directory"), "no new root where one was lost: {left}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_access_journal_is_deleted() {
    let mut scene = Scene::new(Cluster::shared(), "loss-access", false).await;
    let since = jiff::Timestamp::now();
    scene.delete(&["journal", "access"]);
    scene.relabel();
    scene.okta.add(&scene.group, &scene.eve).await; // the directory is well, so this is acknowledged; but nothing is granted
    for restarted in [false, true] {
        if restarted {
            scene.restart().await;
        }
        let message = scene.condition("JournalLost").await;
        assert!(message.contains("access") && message.contains("estore"), "{message}");
        scene
            .nothing_happens(since, &[(ADA, "a", true), (ADA, "b", true), (ADA, "c", false), (EVE, "a", false)])
            .await;
    }
    // What the provider itself says is never held.
    scene.okta.active(&scene.ada, false).await;
    for place in ["a", "b"] {
        scene.system.until_may(ADA, "list", &scene.place(place), false).await;
    }
}

/// An object as an admin would have kept it: what the API server makes up is not in it.
fn kept(scene: &Scene<'_>, kind: &str, name: &str) -> String {
    let namespace = &scene.system.installed.namespace;
    let text = scene
        .system
        .cluster
        .kubectl(&["get", kind, name, "-n", namespace, "-o", "json"])
        .expect_ok();
    let mut object: Value = serde_json::from_str(&text).expect("JSON");
    let labels = object["metadata"]["labels"].clone();
    object["metadata"] = json!({"name": name, "namespace": namespace, "labels": labels});
    object.to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_access_journal_that_is_brought_back_is_taken_up_again() {
    let mut scene = Scene::new(Cluster::shared(), "loss-back", false).await;
    let parent = ["get", "journal", "access", "-n", "loss-back", "-o", "jsonpath={.spec.parent}"];
    let mut segment = String::new();
    for _ in 0..30 {
        scene.okta.add(&scene.group, &scene.eve).await;
        scene.system.until_may(EVE, "list", "loss-back-a", true).await;
        scene.okta.remove(&scene.group, &scene.eve).await;
        scene.system.until_may(EVE, "list", "loss-back-a", false).await;
        segment = scene.system.cluster.kubectl(&parent).expect_ok();
        if !segment.is_empty() {
            break;
        }
    }
    assert!(!segment.is_empty(), "so many records are more than the tail holds");
    scene.controller = None;
    let backup = kept(&scene, "segment", &segment);
    scene.delete(&["segment", &segment]);
    // Whoever may write RoleBindings in a namespace writes one that looks like ours, of another journal: that is no evidence of a loss.
    let labels = json!({"app.kubernetes.io/managed-by": "rolecall", "rolecall.dev/class": "loss-back", "rolecall.dev/journal": "forged"});
    scene
        .system
        .apply(&json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
        "metadata": {"name": "forged", "namespace": "loss-back-b", "labels": labels},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"}}));
    let health = format!("127.0.0.1:{}", free_port());
    let flag = format!("--health-address={health}");
    scene.controller = Some(scene.system.controller_with(&[&flag], None));
    let message = scene.condition("JournalLost").await;
    assert!(message.contains("access") && message.contains(&segment), "{message}");
    scene.okta.add(&scene.group, &scene.eve).await;
    scene
        .nothing_happens(jiff::Timestamp::now(), &[(ADA, "a", true), (EVE, "a", false)])
        .await;

    let metrics = async || {
        let page = scene
            .system
            .http
            .get(format!("http://{health}/metrics"))
            .send()
            .await
            .expect("an answer");
        page.text().await.expect("a page")
    };
    let head = |journal: &str| format!("rolecall_journal_head_index{{journal=\"{journal}\",id=\"");
    let page = metrics().await;
    assert!(page.contains(&head("directory")) && !page.contains(&head("access")), "{page}");

    scene.system.cluster.apply(&backup, &[]).expect_ok();
    scene.system.until_may(EVE, "list", "loss-back-a", true).await;
    let page = metrics().await;
    assert!(page.contains(&head("directory")) && page.contains(&head("access")), "{page}");
    assert!(page.contains("rolecall_controller_leading 1"), "{page}");
    let ready = scene.system.until_condition("scimsource", None, &scene.source, "Ready", "True", "");
    assert!(!ready.await.contains("access"));
    let again = "the access journal is whole again";
    let log = || scene.controller.as_ref().expect("a controller").log();
    assert_eq!(log().matches(again).count(), 1, "{}", log());

    // The root itself, made again from a copy: it has another UID, so nobody can know what happened in between. It stays lost.
    let backup = kept(&scene, "journal", "access");
    scene.delete(&["journal", "access"]);
    scene.condition("JournalLost").await;
    scene.system.cluster.apply(&backup, &[]).expect_ok();
    let since = jiff::Timestamp::now();
    scene.okta.remove(&scene.group, &scene.eve).await;
    tokio::time::sleep(Duration::from_secs(11)).await; // it was looked at again meanwhile
    scene.nothing_happens(since, &[(ADA, "a", true), (EVE, "a", true)]).await;
    let log = scene.controller.as_ref().expect("a controller").log();
    assert_eq!(log.matches(again).count(), 1, "{log}");

    // Of another installation: that is no loss of the directory, and what the provider says goes on.
    let mut other: Value = serde_json::from_str(&backup).expect("JSON");
    other["spec"]["id"] = json!("other");
    scene.controller = None;
    scene.delete(&["journal", "access"]);
    scene.system.apply(&other);
    scene.controller = Some(scene.system.controller());
    scene.okta.active(&scene.ada, false).await;
    scene.system.until_may(ADA, "list", "loss-back-a", false).await;
    let message = scene.condition("JournalLost").await;
    assert!(message.contains("access") && message.contains("installation other"), "{message}");
    assert!(scene.system.may(EVE, "list", "loss-back-a").await, "any other removal is held");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_segment_is_deleted() {
    let mut scene = Scene::new(Cluster::shared(), "loss-segment", false).await;
    for n in 0..40 {
        scene.okta.user(&format!("user-{n}@corp.example")).await;
    }
    let parent = ["get", "journal", "directory", "-n", "loss-segment", "-o", "jsonpath={.spec.parent}"];
    let parent = scene.system.cluster.kubectl(&parent).expect_ok();
    assert!(!parent.is_empty(), "40 users are more than the tail holds");
    tokio::time::sleep(Duration::from_secs(1)).await;
    let since = jiff::Timestamp::now();
    scene.delete(&["segment", &parent]);
    let message = scene.condition("JournalLost").await; // the processes kept what it held: they see it when they prove their journal
    assert!(message.contains(&parent), "{message}");
    scene.relabel();
    scene.restart().await;
    scene.stands_still(since, "JournalLost", &["directory", &parent, "estore"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_namespace_is_deleted_and_made_again() {
    let mut scene = Scene::new(Cluster::shared(), "loss-namespace", false).await;
    let since = jiff::Timestamp::now();
    let before: Vec<String> = bindings(&scene.system).await.into_iter().map(|b| b.uid).collect();
    scene
        .system
        .cluster
        .kubectl(&["delete", "namespace", "loss-namespace", "--timeout=60s"])
        .expect_ok();
    scene.nothing_happens(since, &[(ADA, "a", true), (ADA, "b", true)]).await;
    (scene.gateway, scene.controller) = (None, None);
    scene.relabel();
    scene.system = System::install(Cluster::shared(), "loss-namespace").await;
    let secret = format!("--from-literal=token={}", scene.okta.token);
    let create = [
        "create",
        "secret",
        "generic",
        "loss-namespace-okta-token",
        "-n",
        "loss-namespace",
        &secret,
    ];
    scene.system.cluster.kubectl(&create).expect_ok();
    scene.restart().await;
    scene.stands_still(since, "JournalLost", &["gone", "estore"]).await;
    let after: Vec<String> = bindings(&scene.system).await.into_iter().map(|b| b.uid).collect();
    assert_eq!(before, after);
    let left = scene
        .system
        .cluster
        .kubectl(&["get", "journals", "-n", "loss-namespace", "-o", "name"])
        .expect_ok();
    assert!(left.is_empty(), "bindings name a journal, so no new one is begun: {left}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crds_are_deleted_and_applied_again() {
    let cluster = Cluster::own();
    let mut scene = Scene::new(&cluster, "loss-crds", true).await;
    let place = scene.place("c");
    let spec = json!({"sources": [scene.source], "groups": {"names": ["Backend"]}, "grants": [{"roleRef": {"kind": "ClusterRole", "name": "view"}}]});
    let mapping = scene.system.mapping("RoleMapping", Some(&place), "m", spec);
    scene.system.apply(&mapping);
    scene.system.until_may(ADA, "list", &place, true).await;
    let before: Vec<String> = bindings(&scene.system).await.into_iter().map(|b| b.uid).collect();

    // RoleMapping: its bindings stay, and are taken over by the mapping of the same name. A restart in between changes nothing.
    let since = jiff::Timestamp::now();
    cluster
        .kubectl(&["delete", "crd", "rolemappings.rolecall.dev", "--timeout=60s"])
        .expect_ok();
    scene.nothing_happens(since, &[(ADA, "a", true), (ADA, "c", true)]).await;
    scene.restart().await;
    until_led(&scene.system).await;
    scene.nothing_happens(since, &[(ADA, "a", true), (ADA, "c", true)]).await;
    cluster.apply_crds();
    scene.nothing_happens(since, &[(ADA, "a", true), (ADA, "c", true)]).await;
    scene.system.apply(&mapping);
    scene
        .system
        .until_condition("rolemapping", Some(&place), "m", "Ready", "True", "")
        .await;
    scene.nothing_happens(since, &[(ADA, "a", true), (ADA, "c", true)]).await;
    let after: Vec<String> = bindings(&scene.system).await.into_iter().map(|b| b.uid).collect();
    assert_eq!(before, after, "no binding was revoked");
    scene.okta.add(&scene.group, &scene.eve).await;
    scene.system.until_may(EVE, "list", &place, true).await;
    scene.okta.remove(&scene.group, &scene.eve).await;
    scene.system.until_may(EVE, "list", &place, false).await;
    scene.system.until_may(EVE, "list", &scene.place("a"), false).await;
    scene
        .system
        .cluster
        .kubectl(&["delete", "rolemapping", "m", "-n", &place])
        .expect_ok();
    scene.system.until_may(ADA, "list", &place, false).await;

    // Journal: both journals are gone with it.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let since = jiff::Timestamp::now();
    cluster
        .kubectl(&["delete", "crd", "journals.rolecall.dev", "--timeout=60s"])
        .expect_ok();
    scene.relabel();
    cluster.apply_crds();
    scene.stands_still(since, "JournalLost", &["gone", "estore"]).await;
    scene.restart().await;
    scene.stands_still(since, "JournalLost", &["gone", "estore"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn etcd_is_put_back_to_an_older_snapshot() {
    let cluster = Cluster::own();
    // Two installations: of one the controller lives on, of the other the gateway.
    let mut kept = Scene::new(&cluster, "loss-kept", true).await;
    let mut other = Scene::new(&cluster, "loss-other", false).await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    cluster.snapshot("old");
    // What happens after the snapshot is forgotten by etcd: ada leaves, eve comes.
    for scene in [&kept, &other] {
        let back = until(Duration::from_secs(20), || async {
            scene.okta.try_get("/Users?count=0").await.is_ok_and(|(status, _)| status == 200)
        });
        assert!(
            back.await.is_ok(),
            "{}: the gateway is not back\n{}",
            scene.name,
            scene.system.explain()
        );
        scene.okta.add(&scene.group, &scene.eve).await;
        scene.okta.active(&scene.ada, false).await;
        scene.system.until_may(EVE, "list", &scene.place("a"), true).await;
        scene.system.until_may(ADA, "list", &scene.place("b"), false).await;
    }
    (kept.gateway, other.controller) = (None, None);
    cluster.restore("old");
    let since = jiff::Timestamp::now();
    kept.relabel();

    let message = kept.condition("JournalRolledBack").await;
    for text in ["directory", "older snapshot", "estore"] {
        assert!(message.contains(text), "the message says nothing of {text:?}: {message}");
    }
    let gateway = kept.system.gateway_unready();
    kept.okta = kept.okta.at(&gateway);
    kept.gateway = Some(gateway);
    kept.answers().await;
    kept.stands_still(since, "JournalRolledBack", &["directory", "older snapshot", "estore"])
        .await;

    // The gateway that lived on acknowledges nothing; what a fresh controller finds is consistent, and it changes nothing.
    other.nothing_is_acknowledged().await;
    other.controller = Some(other.system.controller());
    other
        .nothing_happens(since, &[(ADA, "a", true), (ADA, "b", true), (ADA, "c", false), (EVE, "a", false)])
        .await;
    other.nothing_is_acknowledged().await;
    // New processes on both sides of the first still know.
    kept.restart().await;
    kept.stands_still(since, "JournalRolledBack", &["estore"]).await;
    // Somebody who knew nothing writes on, past every index that was known: whoever starts after that still finds another history.
    (kept.gateway, kept.controller) = (None, None);
    for _ in 0..8 {
        seed(&kept.system, &kept.source, 1).await;
    }
    kept.restart().await;
    let told = until(Duration::from_secs(20), || async {
        kept.condition("JournalRolledBack").await.contains("without what was known")
    });
    assert!(told.await.is_ok(), "{}", kept.system.explain());
    kept.stands_still(since, "JournalRolledBack", &["estore"]).await;
}
