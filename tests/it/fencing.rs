//! Who no longer leads writes nothing: the access journal and the fence refuse, and a refusal by the fence is no reason to delete.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::kit::{Versions, bindings, lease, records, until_led, until_other_term};
use crate::proxy::{Action, Passed, Proxy};
use crate::system::{Process, Provider, System, until};

/// One installation with a controller behind a proxy, one mapping, and ada and bob in its group.
struct Scene<'a> {
    system: System<'a>,
    proxy: Proxy,
    leader: Process,
    okta: Provider,
    ada: String,
    group: String,
    place: String,
    _gateway: Process,
}

const ADA: &str = "oidc:ada@corp.example";
const BOB: &str = "oidc:bob@corp.example";

impl<'a> Scene<'a> {
    async fn new(name: &str) -> Scene<'a> {
        let system = System::install(Cluster::shared(), name).await;
        let proxy = Proxy::before(system.cluster).await;
        let kubeconfig = proxy.kubeconfig(system.cluster, name, &system.installed.controller_token);
        let leader = system.controller_with(&[], Some(&kubeconfig));
        let gateway = system.gateway().await;
        let place = format!("{name}-a");
        system.namespace(&place, json!({})).await;
        let source = format!("{name}-okta");
        let okta = system.source(&gateway.url, &source).await;
        let ada = okta.user("ada@corp.example").await;
        let bob = okta.user("bob@corp.example").await;
        let group = okta.group("Backend", &[&ada, &bob]).await;
        let spec = json!({"sources": [source], "groups": {"names": ["Backend"]}, "grants": [{"roleRef": {"kind": "ClusterRole", "name": "view"}}]});
        system.apply(&system.mapping("RoleMapping", Some(&place), "m", spec));
        for user in [ADA, BOB] {
            system.until_may(user, "list", &place, true).await;
        }
        Self {
            system,
            proxy,
            leader,
            okta,
            ada,
            group,
            place,
            _gateway: gateway,
        }
    }

    async fn uids(&self) -> BTreeSet<String> {
        bindings(&self.system).await.into_iter().map(|b| b.uid).collect()
    }
}

/// Writes that change something: no Lease, no dry run.
fn changes(writes: Vec<Passed>, since: Instant) -> Vec<Passed> {
    let of_lease = |p: &Passed| p.asked.path.contains("/leases");
    writes
        .into_iter()
        .filter(|p| p.answered.is_some_and(|at| at >= since) && p.done() && !p.asked.dry() && !of_lease(p))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_by_the_fence_deletes_nothing() {
    let scene = Scene::new("fence-refuses").await;
    let system = &scene.system;
    let (before, since) = (scene.uids().await, jiff::Timestamp::now());
    // The policy lags: it refuses the leader itself, three times.
    let fence = format!("{}-fence", system.installed.fullname);
    let message = format!(
        "rolebindings.rbac.authorization.k8s.io \"x\" is forbidden: ValidatingAdmissionPolicy '{fence}' with binding '{fence}' denied request: written by a controller that does not lead"
    );
    let lags = scene
        .proxy
        .rule_for(3, Action::Refuse(422, message), |asked| asked.is("PUT", "/rolebindings"));
    scene.okta.active(&scene.ada, false).await;
    lags.until(3, Duration::from_secs(10)).await;
    drop(lags);
    system.until_may(ADA, "list", &scene.place, false).await;
    assert!(system.may(BOB, "list", &scene.place).await);
    assert_eq!(scene.uids().await, before, "the same binding, with one subject less");

    // The Lease is somebody else's, and the leader does not know yet.
    scene.okta.active(&scene.ada, true).await;
    system.until_may(ADA, "list", &scene.place, true).await;
    let (holder, transitions) = until_led(system).await;
    let renewals = scene.proxy.rule(Action::Hold, |asked| asked.is("PUT", "/leases"));
    let other = json!({"spec": {"holderIdentity": "somebody-else", "leaseTransitions": transitions + 1}});
    let args = [
        "patch",
        "lease",
        &system.installed.lease(),
        "-n",
        &system.installed.namespace,
        "--type=merge",
        "-p",
        &other.to_string(),
    ];
    system.cluster.kubectl(&args).expect_ok();
    tokio::time::sleep(Duration::from_millis(200)).await; // the fence sees it some milliseconds late
    scene.okta.active(&scene.ada, false).await;
    let refused = until(Duration::from_secs(5), || async {
        scene
            .proxy
            .writes()
            .iter()
            .any(|p| p.status == Some(422) && p.asked.is("PUT", "/rolebindings"))
    });
    assert!(refused.await.is_ok(), "the fence refuses {holder}\n{}", system.explain());
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(scene.uids().await, before, "a refusal by the fence deletes nothing");
    renewals.release();
    // Nobody renews the other Lease: the controller leads again, and the revocation is done.
    system.until_may(ADA, "list", &scene.place, false).await;
    assert!(system.may(BOB, "list", &scene.place).await);
    assert_eq!(scene.uids().await, before);
    let deleted: Vec<_> = system
        .cluster
        .audit(since)
        .into_iter()
        .filter(|w| w.verb == "delete" && w.resource == "rolebindings" && w.namespace == scene.place)
        .collect();
    assert!(deleted.is_empty(), "{deleted:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_access_journal_refuses_an_old_leader() {
    let scene = Scene::new("old-leader").await;
    let system = &scene.system;
    let versions = Versions::of(system).await;
    let term = until_led(system).await;
    let standby = system.controller();
    let carl = scene.okta.user("carl@corp.example").await;
    // The old leader is about to record a grant.
    let append = scene.proxy.rule(Action::Hold, |asked| asked.is("PUT", "/journals/access"));
    scene.okta.add(&scene.group, &carl).await;
    append.until(1, Duration::from_secs(10)).await;
    scene.leader.signal("STOP");
    let new = until_other_term(system, &term).await;
    system.until_may("oidc:carl@corp.example", "list", &scene.place, true).await;
    let before: Vec<(String, BTreeSet<String>)> = bindings(system).await.into_iter().map(|b| (b.uid, b.subjects)).collect();
    let woken = Instant::now();
    let late = append.released(Duration::from_secs(5)).await;
    assert!(
        late.iter().all(|p| p.status == Some(409)),
        "the journal refuses what was on its way: {late:?}"
    );
    scene.leader.signal("CONT");
    let said = until(Duration::from_secs(10), || async {
        let log = scene.leader.log();
        [
            "another leader has taken over",
            "somebody else has the Lease",
            "no renewal was answered in time",
        ]
        .iter()
        .any(|text| log.contains(text))
    });
    assert!(
        said.await.is_ok(),
        "the old leader's log says nothing of it:\n{}",
        scene.leader.log()
    );
    tokio::time::sleep(Duration::from_secs(3)).await;
    let written = changes(scene.proxy.writes(), woken);
    assert!(written.is_empty(), "the old leader wrote: {written:?}");
    assert_eq!(lease(system).await, new, "the new leader still leads");
    let after: Vec<(String, BTreeSet<String>)> = bindings(system).await.into_iter().map(|b| (b.uid, b.subjects)).collect();
    assert_eq!(before, after, "the bindings are unharmed");
    for user in [ADA, BOB] {
        let lost = versions
            .seen()
            .into_iter()
            .filter(|v| v.namespace == scene.place && !v.subjects.is_empty() && !v.holds(user))
            .count();
        assert_eq!(lost, 0, "{user} always had access");
    }
    // Who was first and who came second is in the journal.
    let access = records(&system.admin, &system.installed.namespace, "access").await;
    let terms: Vec<&Value> = access
        .iter()
        .filter(|r| r.event["e"] == "began")
        .map(|r| &r.event["term"])
        .collect();
    assert_eq!(terms.len(), 2, "{terms:?}");
    assert_eq!(terms[1], &json!(format!("{}/{}", new.0, new.1)));
    drop(standby);
}
