//! The fence: what a controller writes that does not hold the Lease, the API server refuses.

use std::time::Duration;

use kube::Client;
use serde_json::{Value, json};

use super::{Cases, Expect, Passes, Refused, binding, bindings, lay_out, name, namespace, send};
use crate::cluster::Cluster;
use crate::install::Install;

const CLASS: &str = "fence";
const TEAM: &str = "fence-team";
const REFUSED: Expect = Refused(422, "'fence-rolecall-fence'");

struct Lease {
    admin: Client,
    path: String,
}

impl Lease {
    /// Gives the Lease to somebody, and waits until the API server's admission has seen it.
    async fn hold(&self, spec: Value) {
        let said = send(&self.admin, "PATCH", &self.path, json!({"spec": spec})).await;
        assert!(said.passed(), "{}", said.message);
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

fn written(n: u32, term: Option<&str>, subjects: &[&str]) -> Value {
    let mut object = binding(n, CLASS, "ClusterRole/view", subjects);
    object["metadata"]["annotations"] = json!({"rolecall.dev/term": term});
    if term.is_none() {
        object["metadata"]["annotations"] = json!({});
    }
    object
}

#[tokio::test]
async fn a_controller_that_lost_its_lease_writes_nothing() {
    let cluster = Cluster::shared();
    let installed = Install::new(CLASS).on(cluster).await;
    let admin = cluster.admin().await;
    lay_out(&admin, "/api/v1/namespaces", namespace(TEAM, json!({}))).await;
    let controller = installed.controller(cluster).await;
    let path = |n: u32| format!("{}/{}", bindings(TEAM), name(n));
    let mut cases = Cases::default();

    // Nobody ever led: a Lease that is not there stops nobody. That is the price for never stopping anybody else.
    let said = send(&controller, "POST", &bindings(TEAM), written(1, None, &["User/oidc:ada"])).await;
    cases.check("without any Lease", &said, Passes);
    send(&controller, "DELETE", &path(1), json!(null)).await;

    let leases = format!("/apis/coordination.k8s.io/v1/namespaces/{}/leases", installed.namespace);
    let lease = Lease {
        path: format!("{leases}/{}", installed.lease()),
        admin: admin.clone(),
    };
    lay_out(
        &controller,
        &leases,
        json!({"metadata": {"name": installed.lease()}, "spec": {"holderIdentity": "a-1", "leaseTransitions": 4}}),
    )
    .await;
    tokio::time::sleep(Duration::from_secs(1)).await;

    let post = async |n: u32, term: Option<&str>| send(&controller, "POST", &bindings(TEAM), written(n, term, &["User/oidc:ada"])).await;
    cases.check("the leader's POST", &post(2, Some("a-1/4")).await, Passes);
    cases.check("the leader's second POST", &post(3, Some("a-1/4")).await, Passes);
    let standing = send(&controller, "GET", &path(2), json!(null)).await.body;
    let gone = send(&controller, "GET", &path(3), json!(null)).await.body;
    cases.check(
        "the leader's DELETE",
        &send(&controller, "DELETE", &path(3), json!(null)).await,
        Passes,
    );

    lease.hold(json!({"holderIdentity": "b-1", "leaseTransitions": 5})).await;
    let put = async |object: &Value, term: &str, uid: bool| {
        let mut object = object.clone();
        object["metadata"]["annotations"]["rolecall.dev/term"] = json!(term);
        if !uid {
            object["metadata"].as_object_mut().expect("metadata").remove("uid");
        }
        let path = format!("{}/{}", bindings(TEAM), object["metadata"]["name"].as_str().expect("a name"));
        send(&controller, "PUT", &path, object).await
    };
    cases.check("an old POST", &post(4, Some("a-1/4")).await, REFUSED);
    cases.check("an old PUT", &put(&standing, "a-1/4", true).await, REFUSED);
    cases.check("an old PUT without uid", &put(&standing, "a-1/4", false).await, REFUSED);
    cases.check(
        "an old PUT that would make a deleted binding again",
        &put(&gone, "a-1/4", false).await,
        REFUSED,
    );
    cases.check(
        "an old PUT of a deleted binding, with uid",
        &put(&gone, "a-1/4", true).await,
        Refused(409, "UID in precondition"),
    );
    let annotate = |term: &str| json!({"metadata": {"annotations": {"rolecall.dev/term": term, "x": "y"}}});
    cases.check(
        "an old PATCH, if RBAC let it",
        &send(&controller, "PATCH", &path(2), annotate("a-1/4")).await,
        Refused(403, "cannot patch"),
    );
    for (case, term) in [
        ("no term", None),
        ("an empty term", Some("")),
        ("the new holder with the old number", Some("b-1/4")),
        ("the old holder with the new number", Some("a-1/5")),
        ("more than the term", Some("b-1/5 ")),
    ] {
        cases.check(case, &post(5, term).await, REFUSED);
    }
    let probe = |term: &str| {
        let mut object = written(6, Some(term), &[]);
        object["roleRef"] =
            json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": format!("{}-nothing", installed.fullname)});
        object
    };
    let dry = format!("{}?dryRun=All", bindings(&installed.namespace));
    cases.check(
        "a new leader's probe with the old term",
        &send(&controller, "POST", &dry, probe("a-1/4")).await,
        REFUSED,
    );
    cases.check(
        "a new leader's probe with its own",
        &send(&controller, "POST", &dry, probe("b-1/5")).await,
        Passes,
    );
    cases.check("the new leader's POST", &post(7, Some("b-1/5")).await, Passes);
    cases.check("the new leader's PUT", &put(&standing, "b-1/5", true).await, Passes);
    cases.check(
        "an old DELETE: revoking is never fenced",
        &send(&controller, "DELETE", &path(2), json!(null)).await,
        Passes,
    );
    let foreign =
        json!({"metadata": {"name": "x"}, "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"}});
    cases.check(
        "somebody else's POST",
        &send(&admin, "POST", &bindings(TEAM), foreign).await,
        Passes,
    );

    lease.hold(json!({"holderIdentity": ""})).await;
    cases.check("released: the last leader", &post(8, Some("b-1/5")).await, REFUSED);
    cases.check("released: nobody", &post(8, Some("/5")).await, REFUSED);
    lease.hold(json!({"holderIdentity": null, "leaseTransitions": null})).await;
    cases.check("an empty Lease: nobody", &post(8, Some("/0")).await, REFUSED);
    lease.hold(json!({"holderIdentity": "c-1"})).await;
    cases.check("a first holder has no number yet", &post(8, Some("c-1/0")).await, Passes);
    cases.finish("the fence");
}

#[tokio::test]
async fn of_writes_held_until_a_second_after_the_lease_changed_none_passes() {
    let cluster = Cluster::shared();
    let installed = Install::new("fence-many").on(cluster).await;
    let admin = cluster.admin().await;
    lay_out(&admin, "/api/v1/namespaces", namespace("fence-many-team", json!({}))).await;
    let controller = installed.controller(cluster).await;
    let leases = format!("/apis/coordination.k8s.io/v1/namespaces/{}/leases", installed.namespace);
    lay_out(
        &controller,
        &leases,
        json!({"metadata": {"name": installed.lease()}, "spec": {"holderIdentity": "p", "leaseTransitions": 0}}),
    )
    .await;
    let lease = Lease {
        path: format!("{leases}/{}", installed.lease()),
        admin,
    };
    let mut cases = Cases::default();
    for term in 1..=3 {
        lease.hold(json!({"holderIdentity": "p", "leaseTransitions": term})).await;
        let writes = (0..20).map(|n| {
            let mut object = binding(n, "fence-many", "ClusterRole/view", &["User/oidc:ada"]);
            object["metadata"]["annotations"] = json!({"rolecall.dev/term": format!("p/{}", term - 1)});
            let controller = controller.clone();
            async move { send(&controller, "POST", &bindings("fence-many-team"), object).await }
        });
        for said in futures::future::join_all(writes).await {
            cases.check("an old write", &said, Refused(422, "'fence-many-rolecall-fence'"));
        }
    }
    cases.finish("old writes");
}
