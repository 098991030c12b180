//! Whatever of ours is missing or broken, other people's bindings can be written, and namespaces go away. On a cluster of its own.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use kube::Client;
use serde_json::json;

use super::{Cases, Passes, Said, bindings, lay_out, namespace, send, subject};
use crate::cluster::{Cluster, Part, Who};
use crate::install::Install;

fn theirs() -> serde_json::Value {
    json!({"metadata": {"name": "theirs"}, "subjects": [subject("User/bob")],
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"}})
}

/// A cluster-admin and the admin of a namespace write, change and delete bindings.
async fn others_write(cases: &mut Cases, cluster: &Cluster, when: &str) {
    let admin = cluster.admin().await;
    let person = cluster.client(&Who::user("others-admin")).await;
    for (who, client, place) in [
        ("a cluster-admin", &admin, "others"),
        ("a namespace's admin", &person, "others"),
        ("a cluster-admin", &admin, ""),
    ] {
        let one = format!("{}/theirs", bindings(place));
        cases.check(
            &format!("{when}: {who} creates in {place:?}"),
            &send(client, "POST", &bindings(place), theirs()).await,
            Passes,
        );
        let said = send(client, "PATCH", &one, json!({"subjects": [subject("User/carol")]})).await;
        cases.check(&format!("{when}: {who} changes in {place:?}"), &said, Passes);
        cases.check(
            &format!("{when}: {who} deletes in {place:?}"),
            &send(client, "DELETE", &one, json!(null)).await,
            Passes,
        );
    }
}

/// A namespace comes, with a binding and a mapping in it, and goes.
async fn namespaces_pass(cases: &mut Cases, cluster: &Cluster, when: &str) {
    let admin = cluster.admin().await;
    let all = "/api/v1/namespaces";
    cases.check(
        &format!("{when}: a namespace comes"),
        &send(&admin, "POST", all, namespace("others-passing", json!({}))).await,
        Passes,
    );
    cases.check(
        &format!("{when}: is labelled"),
        &send(
            &admin,
            "PATCH",
            &format!("{all}/others-passing"),
            json!({"metadata": {"labels": {"a": "b"}}}),
        )
        .await,
        Passes,
    );
    send(&admin, "POST", &bindings("others-passing"), theirs()).await;
    let mapping = json!({"apiVersion": "rolecall.dev/v1alpha1", "kind": "RoleMapping", "metadata": {"name": "m"}, "spec": {"sources": ["okta"], "groups": {"names": ["a"]}, "grants": [{"roleRef": {"kind": "ClusterRole", "name": "view"}}]}});
    let mappings = "/apis/rolecall.dev/v1alpha1/namespaces/others-passing/rolemappings";
    send(&admin, "POST", mappings, mapping).await; // if there is such a kind
    gone(cases, &admin, "others-passing", when).await;
}

/// Deletes a namespace, and waits until it is gone.
async fn gone(cases: &mut Cases, admin: &Client, name: &str, when: &str) {
    let path = format!("/api/v1/namespaces/{name}");
    send(admin, "DELETE", &path, json!(null)).await;
    let begun = Instant::now();
    let mut left = Said {
        code: 0,
        message: String::new(),
        body: json!(null),
    };
    while begun.elapsed() < Duration::from_secs(60) {
        left = send(admin, "GET", &path, json!(null)).await;
        if left.code == 404 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    cases.check(
        &format!("{when}: namespace {name} goes ({})", left.body["status"]),
        &left,
        super::Refused(404, ""),
    );
}

/// Starts the API server again while others write as early as they can; tells which policy of ours got in their way.
async fn restart(cluster: &Cluster) -> Vec<String> {
    cluster.kill(Part::ApiServer);
    let admin = cluster.admin().await;
    let (stop, tried, refusals) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicUsize::new(0)),
        Arc::new(Mutex::new(Vec::new())),
    );
    let writer = tokio::spawn({
        let (stop, tried, refusals) = (stop.clone(), tried.clone(), refusals.clone());
        async move {
            let object = json!({"metadata": {"generateName": "early-"}, "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"}});
            let path = format!("{}?dryRun=All", bindings("others"));
            while !stop.load(Ordering::Relaxed) {
                let request = http::Request::post(&path)
                    .header("content-type", "application/json")
                    .body(object.to_string().into_bytes())
                    .expect("a request");
                match admin.request::<serde_json::Value>(request).await {
                    Ok(_) => drop(tried.fetch_add(1, Ordering::Relaxed)),
                    Err(error) if error.to_string().contains("rolecall") => refusals.lock().expect("a lock").push(error.to_string()),
                    Err(_) => tokio::time::sleep(Duration::from_millis(5)).await, // not up yet
                }
            }
        }
    });
    tokio::task::block_in_place(|| cluster.resume(Part::ApiServer));
    tokio::time::sleep(Duration::from_secs(3)).await;
    stop.store(true, Ordering::Relaxed);
    writer.await.expect("the writer");
    println!("{} early writes passed", tried.load(Ordering::Relaxed));
    assert!(tried.load(Ordering::Relaxed) > 100, "others wrote all the time");
    std::mem::take(&mut *refusals.lock().expect("a lock"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_of_ours_is_missing_other_people_write() {
    let cluster = Cluster::own();
    let installed = Install {
        crds: true,
        class: "",
        ..Install::new("rolecall")
    }
    .on(&cluster)
    .await;
    let admin = cluster.admin().await;
    lay_out(&admin, "/api/v1/namespaces", namespace("others", json!({}))).await;
    let role = json!({"metadata": {"name": "admin"}, "subjects": [subject("User/others-admin")], "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "admin"}});
    lay_out(&admin, &bindings("others"), role).await;
    let mut cases = Cases::default();

    type_checks(&cluster);
    others_write(&mut cases, &cluster, "no Lease yet").await;
    let leases = format!("/apis/coordination.k8s.io/v1/namespaces/{}/leases", installed.namespace);
    lay_out(
        &admin,
        &leases,
        json!({"metadata": {"name": installed.lease()}, "spec": {"holderIdentity": "a", "leaseTransitions": 1}}),
    )
    .await;
    others_write(&mut cases, &cluster, "all there").await;
    namespaces_pass(&mut cases, &cluster, "all there").await;
    let mut early = restart(&cluster).await;
    send(
        &admin,
        "PATCH",
        &format!("{leases}/{}", installed.lease()),
        json!({"spec": {"holderIdentity": null, "leaseTransitions": null}}),
    )
    .await;
    others_write(&mut cases, &cluster, "an empty Lease").await;
    send(&admin, "DELETE", &format!("{leases}/{}", installed.lease()), json!(null)).await;
    early.extend(restart(&cluster).await);
    others_write(&mut cases, &cluster, "the Lease gone, the API server restarted").await;
    namespaces_pass(&mut cases, &cluster, "the Lease gone, the API server restarted").await;

    super::authors::without_the_rules_of_the_crd(&mut cases, &cluster, &installed).await;

    for kind in ["scimsources", "rolemappings", "clusterrolemappings", "journals", "segments"] {
        cluster.kubectl(&["delete", "crd", &format!("{kind}.rolecall.dev")]).expect_ok();
    }
    others_write(&mut cases, &cluster, "our CRDs gone").await;
    early.extend(restart(&cluster).await);
    others_write(&mut cases, &cluster, "our CRDs gone, the API server restarted").await;
    namespaces_pass(&mut cases, &cluster, "our CRDs gone, the API server restarted").await;

    gone(&mut cases, &admin, &installed.namespace, "our own").await;
    others_write(&mut cases, &cluster, "our namespace gone").await;
    early.extend(restart(&cluster).await);
    others_write(&mut cases, &cluster, "our namespace gone, the API server restarted").await;
    namespaces_pass(&mut cases, &cluster, "our namespace gone, the API server restarted").await;

    // Half of the policies, and bindings without their policies.
    for part in ["fence", "cage-ours", "authors"] {
        cluster
            .kubectl(&["delete", "validatingadmissionpolicy", &format!("rolecall-{part}")])
            .expect_ok();
    }
    others_write(&mut cases, &cluster, "half of our policies gone").await;
    assert!(
        early.is_empty(),
        "{} early writes refused because of us: {:?}",
        early.len(),
        early.first()
    );
    cases.finish("other people");
}

/// The API server's own type checker has nothing to say about any of our policies.
fn type_checks(cluster: &Cluster) {
    let mut checked = 0;
    for _ in 0..100 {
        let text = cluster.kubectl(&["get", "validatingadmissionpolicies", "-o", "json"]).expect_ok();
        let list: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        let policies = list["items"].as_array().expect("a list");
        assert_eq!(policies.len(), 9, "fence, five of the cage, authors, source-authors, approvers");
        for policy in policies {
            assert_eq!(
                policy["status"]["typeChecking"]["expressionWarnings"],
                json!(null),
                "{}",
                policy["metadata"]["name"]
            );
        }
        checked = policies.iter().filter(|p| p["status"]["typeChecking"].is_object()).count();
        if checked == policies.len() {
            return;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    panic!("the type checker looked at {checked} policies only");
}
