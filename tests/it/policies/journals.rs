//! The journal's two kinds: the API server refuses a fork, a step back and a second writing, whoever asks.

use kube::Client;
use serde_json::{Value, json};

use super::{Cases, Passes, Refused, lay_out, send};
use crate::cluster::Cluster;
use crate::install::Install;

const FORK: &str = "does not follow the head";
const PAST: &str = "what a journal follows on is said when it is made";

async fn get(client: &Client, path: &str) -> Value {
    send(client, "GET", path, json!(null)).await.body
}

/// The next root after `root`, named by one letter.
fn next(root: &Value, head: &str) -> Value {
    let mut new = root.clone();
    new["spec"]["previous"] = root["spec"]["head"].clone();
    new["spec"]["head"] = json!(head);
    new["spec"]["index"] = json!(root["spec"]["index"].as_i64().expect("an index") + 1);
    new["spec"]["tail"] = json!([format!("batch {head}")]);
    new
}

fn with(root: &Value, key: &str, value: Value) -> Value {
    let mut new = root.clone();
    let target = if matches!(key, "uid" | "resourceVersion") {
        "metadata"
    } else {
        "spec"
    };
    new[target][key] = value;
    new
}

#[tokio::test]
async fn a_journal_neither_forks_nor_goes_back() {
    let cluster = Cluster::shared();
    let installed = Install::new("journals").on(cluster).await;
    let (admin, gateway, controller) = (
        cluster.admin().await,
        installed.gateway(cluster).await,
        installed.controller(cluster).await,
    );
    let base = format!("/apis/rolecall.dev/v1alpha1/namespaces/{}", installed.namespace);
    let (journals, segments) = (format!("{base}/journals"), format!("{base}/segments"));
    let (path, strict) = (
        format!("{journals}/directory"),
        format!("{journals}/directory?fieldValidation=Strict"),
    );
    let new = |name: &str| {
        json!({"apiVersion": "rolecall.dev/v1alpha1", "kind": "Journal", "metadata": {"name": name},
            "spec": {"id": "j", "format": 1, "index": 0, "head": "0", "previous": "", "parent": "", "tail": []}})
    };
    let mut cases = Cases::default();

    let mut absent = new("directory");
    absent["metadata"]["uid"] = json!("00000000-0000-0000-0000-000000000000");
    absent["metadata"]["resourceVersion"] = json!("1");
    cases.check(
        "append to a root that is not there",
        &send(&gateway, "PUT", &strict, absent).await,
        Refused(404, ""),
    );
    cases.check(
        "the gateway makes no root",
        &send(&gateway, "POST", &journals, new("directory")).await,
        Refused(403, ""),
    );
    cases.check(
        "the controller does",
        &send(&controller, "POST", &journals, new("directory")).await,
        Passes,
    );
    cases.check("and the other", &send(&controller, "POST", &journals, new("access")).await, Passes);

    let first = get(&gateway, &path).await;
    let second = next(&first, "a");
    let said = send(&gateway, "PUT", &strict, second.clone()).await;
    cases.check("an append", &said, Passes);
    let second_stored = said.body;
    cases.check(
        "the same bytes again",
        &send(&gateway, "PUT", &strict, second).await,
        Refused(409, ""),
    );
    cases.check(
        "an old resourceVersion",
        &send(&gateway, "PUT", &strict, next(&first, "b")).await,
        Refused(409, ""),
    );
    let third = next(&second_stored, "c");
    let other = with(&third, "uid", json!("00000000-0000-0000-0000-000000000000"));
    cases.check("another uid", &send(&gateway, "PUT", &strict, other).await, Refused(409, ""));
    for (case, root, expected) in [
        ("a fork", with(&third, "previous", json!("0")), Refused(422, FORK)),
        ("the same index", with(&third, "index", json!(1)), Refused(422, FORK)),
        ("an index back", with(&third, "index", json!(0)), Refused(422, FORK)),
        ("another id", with(&third, "id", json!("k")), Refused(422, FORK)),
        ("another past", with(&third, "predecessors", json!(["x"])), Refused(422, PAST)),
        (
            "a rollback to the first root",
            with(
                &with(&first, "resourceVersion", second_stored["metadata"]["resourceVersion"].clone()),
                "x",
                json!(null),
            ),
            Refused(400, "unknown field"),
        ),
        (
            "a field that this CRD does not know",
            with(&third, "colour", json!("red")),
            Refused(400, "unknown field \"spec.colour\""),
        ),
        (
            "a batch that is too long",
            with(&third, "tail", json!(["x".repeat(8193)])),
            Refused(422, "Too long"),
        ),
        ("an unchanged root", second_stored.clone(), Passes),
    ] {
        cases.check(case, &send(&gateway, "PUT", &strict, root).await, expected);
    }
    let mut back = first.clone();
    back["metadata"]["resourceVersion"] = get(&gateway, &path).await["metadata"]["resourceVersion"].clone();
    cases.check(
        "a rollback to the first root, by an admin",
        &send(&admin, "PUT", &strict, back).await,
        Refused(422, FORK),
    );
    // Without strict validation the API server drops the field, and answers 200: never do that.
    let said = send(&gateway, "PUT", &path, with(&get(&gateway, &path).await, "colour", json!("red"))).await;
    cases.check("an unknown field without strict validation passes", &said, Passes);
    assert_eq!(said.body["spec"]["colour"], json!(null), "and is lost in silence");
    cases.check(
        "annotating",
        &send(&admin, "PATCH", &path, json!({"metadata": {"annotations": {"a": "b"}}})).await,
        Passes,
    );
    let current = get(&gateway, &path).await;
    cases.check(
        "several batches in one append",
        &send(&gateway, "PUT", &strict, with(&next(&current, "d"), "index", json!(9))).await,
        Passes,
    );

    // Who may write which.
    let access = format!("{journals}/access");
    let root = get(&gateway, &access).await;
    cases.check(
        "the gateway and the access journal",
        &send(&gateway, "PUT", &access, next(&root, "a")).await,
        Refused(403, ""),
    );
    cases.check(
        "the controller and the access journal",
        &send(&controller, "PUT", &access, next(&root, "a")).await,
        Passes,
    );
    cases.check(
        "the gateway deletes no root",
        &send(&gateway, "DELETE", &path, json!(null)).await,
        Refused(403, ""),
    );
    cases.check(
        "nor does the controller",
        &send(&controller, "DELETE", &path, json!(null)).await,
        Refused(403, ""),
    );

    // An owner that does not exist would make the garbage collector delete the journal.
    let owner = json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "gone", "uid": "00000000-0000-0000-0000-000000000000"}]);
    for (who, client, path) in [("the gateway", &gateway, &path), ("the controller", &controller, &access)] {
        let mut owned = next(&get(client, path).await, "e");
        owned["metadata"]["ownerReferences"] = owner.clone();
        cases.check(
            &format!("{who} gives a journal an owner"),
            &send(client, "PUT", path, owned).await,
            Refused(422, "an owner or a finalizer"),
        );
        let mut kept = next(&get(client, path).await, "e");
        kept["metadata"]["finalizers"] = json!(["rolecall.dev/x"]);
        cases.check(
            &format!("{who} gives a journal a finalizer"),
            &send(client, "PUT", path, kept).await,
            Refused(422, "an owner or a finalizer"),
        );
    }

    // Segments.
    let segment = json!({"apiVersion": "rolecall.dev/v1alpha1", "kind": "Segment", "metadata": {"name": "s1"},
        "spec": {"base": 1, "first": 1, "last": 1, "parent": "", "data": "AAAA"}});
    cases.check("a segment", &send(&gateway, "POST", &segments, segment.clone()).await, Passes);
    cases.check(
        "the same name again",
        &send(&gateway, "POST", &segments, segment.clone()).await,
        Refused(409, ""),
    );
    let mut owned = segment.clone();
    owned["metadata"] = json!({"name": "s2", "ownerReferences": owner});
    cases.check(
        "a segment with an owner",
        &send(&gateway, "POST", &segments, owned).await,
        Refused(422, "an owner or a finalizer"),
    );
    let s1 = format!("{segments}/s1");
    cases.check(
        "written a second time",
        &send(&admin, "PATCH", &s1, json!({"spec": {"data": "BBBB"}})).await,
        Refused(422, "a segment is written once"),
    );
    cases.check(
        "annotating a segment",
        &send(&admin, "PATCH", &s1, json!({"metadata": {"annotations": {"a": "b"}}})).await,
        Passes,
    );
    cases.check(
        "the gateway changes no segment",
        &send(&gateway, "PATCH", &s1, json!({"metadata": {"annotations": {"a": "c"}}})).await,
        Refused(403, ""),
    );
    cases.check(
        "nor deletes one",
        &send(&gateway, "DELETE", &s1, json!(null)).await,
        Refused(403, ""),
    );
    cases.check("the controller does", &send(&controller, "DELETE", &s1, json!(null)).await, Passes);

    // Foreground deletion rewrites an unchanged spec, and must work.
    let foreground = json!({"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Foreground"});
    cases.check("foreground deletion", &send(&admin, "DELETE", &path, foreground).await, Passes);
    // The garbage collector would take the finalizer away, once it has heard of this kind.
    let said = send(&admin, "PATCH", &path, json!({"metadata": {"finalizers": null}})).await;
    if said.code != 404 {
        cases.check("taking the finalizer away", &said, Passes);
    }
    cases.check("it is gone", &send(&admin, "GET", &path, json!(null)).await, Refused(404, ""));
    lay_out(&controller, &journals, new("directory")).await;
    cases.finish("journals");
}
