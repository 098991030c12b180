//! What an admin sees of a provider's client in the source's status, and which of its groups count.

use std::time::Duration;

use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::kit;
use crate::system::{System, until};

const ENTERPRISE: &str = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User";

/// Merges into the spec of a source.
fn merge(system: &System<'_>, name: &str, spec: &Value) {
    system.merge("scimsource", None, name, spec).expect_ok();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_status_says_what_the_client_needs_and_what_was_refused() {
    let system = System::install(Cluster::shared(), "client").await;
    let _controller = system.controller();
    let gateway = system.gateway().await;
    let name = "client-okta";
    let okta = system.source(&gateway.url, name).await;
    let status = || system.status("scimsource", None, name);
    let ada = okta.user("ada@corp.example").await;
    // Entra's ways, an attribute that nobody declared, and a de-provisioning that cannot be understood.
    okta.patch(
        &format!("/Users/{ada}"),
        json!([{"op": "Replace", "path": "department", "value": "x"}, {"op": "add", "value": {"urn:example:2.0:Badge": {"number": 7}}}]),
    )
    .await;
    let disable = |value: &str| json!({"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"], "Operations": [{"op": "replace", "path": "active", "value": value}]});
    let refused = okta
        .send("PATCH", &format!("/Users/{ada}"), Some(disable("disabled, please")), &[400])
        .await;
    assert_eq!(refused["scimType"], json!("invalidValue"));
    system
        .until_condition("scimsource", None, name, "SchemaDrift", "True", "DeprovisionRejected")
        .await;
    let told = until(Duration::from_secs(10), || async {
        let status = status();
        let has = |field: &str, key: &str, value: &str| status[field].as_array().is_some_and(|all| all.iter().any(|one| one[key] == value));
        has("tolerances", "name", "OpCase")
            && has("tolerances", "name", "NoUrn")
            && has("drift", "attribute", "urn:example:2.0:Badge:number")
            && has("drift", "attribute", "active")
            && status["tokens"][0]["lastUsed"].is_string()
    });
    assert!(told.await.is_ok(), "{:#}", status());
    let text = status().to_string();
    // "ada" alone may stand in a request's id
    for person in ["ada@", "disabled, please", &ada] {
        assert!(!text.contains(person), "no person's data, and no value: {text}");
    }
    let message = text.split("DeprovisionRejected").next().unwrap_or_default();
    assert!(message.contains("1 user"), "{text}");
    let events = system.cluster.kubectl(&["get", "events", "-A", "-o", "json"]).expect_ok();
    assert!(events.contains("DeprovisionRejected"), "an Event tells it");
    let metrics = system
        .http
        .get(format!("{}/metrics", gateway.health))
        .send()
        .await
        .expect("an answer");
    let metrics = metrics.text().await.expect("a text");
    assert!(
        metrics.contains("rolecall_scim_tolerated_total{source=\"client-okta\",tolerance=\"OpCase\"} 1"),
        "{metrics}"
    );
    assert!(
        metrics.contains("rolecall_scim_drift_total{source=\"client-okta\",drift=\"UnknownAttribute\"} 1"),
        "{metrics}"
    );

    // The provider sends what can be understood: it is settled. The drift stays, and the time of a token that ends soon is told.
    okta.active(&ada, false).await;
    system
        .until_condition("scimsource", None, name, "SchemaDrift", "True", "UnknownAttribute")
        .await;
    let soon = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(24 * 10);
    merge(
        &system,
        name,
        &json!({"push": {"tokens": [{"name": "first", "secretKeyRef": {"name": "client-okta-token", "key": "token"}, "notAfter": soon.to_string()}]}}),
    );
    system
        .until_condition("scimsource", None, name, "TokenExpiring", "True", "ExpiresSoon")
        .await;
    assert_eq!(status()["tokens"][0]["notAfter"], json!(soon.to_string()));
    let user = okta.send("GET", &format!("/Users/{ada}"), None, &[200]).await;
    assert_eq!(
        (&user[ENTERPRISE]["department"], &user["urn:example:2.0:Badge"]["number"]),
        (&json!("x"), &json!(7))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn groups_that_are_not_known_are_listed_and_grant_nothing() {
    let system = System::install(Cluster::shared(), "known").await;
    let _controller = system.controller();
    let gateway = system.gateway().await;
    let (name, place) = ("known-okta", "known-a");
    system.namespace(place, json!({"known": "yes"})).await;
    let okta = system.source(&gateway.url, name).await;
    merge(&system, name, &json!({"knownGroups": "displayName sw \"k8s-\""}));
    let (ada, bob) = (okta.user("ada@corp.example").await, okta.user("bob@corp.example").await);
    let (ada_may, bob_may) = ("oidc:ada@corp.example", "oidc:bob@corp.example");
    // The mapping means both by name; only one is known. An unknown one inside a known one holds nobody either.
    let inner = okta.group("contractors", &[&bob]).await;
    okta.group("k8s-admins", &[&ada, &inner]).await;
    okta.group("admins", &[&bob]).await;
    let spec = json!({"sources": [name], "groups": {"names": ["k8s-admins", "admins"]}, "grants": [
        {"roleRef": {"kind": "ClusterRole", "name": "view"}, "namespaces": {"names": [place]}},
    ]});
    system.apply(&system.mapping("ClusterRoleMapping", None, "known", spec));
    system.until_may(ada_may, "list", place, true).await;
    let status = || system.status("scimsource", None, name);
    let ignored = async |n: i64| {
        let seen = until(Duration::from_secs(10), || async {
            status()["ignoredGroups"].as_i64().unwrap_or(0) == n
        })
        .await;
        assert!(seen.is_ok(), "{:#}", status());
    };
    ignored(2).await;
    assert_eq!(status()["groups"], json!(3));
    assert!(!system.may(bob_may, "list", place).await);
    let listed = okta.send("GET", "/Groups", None, &[200]).await;
    assert_eq!(listed["totalResults"], json!(3), "they are stored and listed");
    let user = okta.send("GET", &format!("/Users/{bob}"), None, &[200]).await;
    assert_eq!(
        user["groups"].as_array().map(Vec::len),
        Some(3),
        "SCIM shows the directory as it is"
    );

    // A name makes it known, and unknown again.
    let rename = async |to: &str| {
        okta.patch(
            &format!("/Groups/{inner}"),
            json!([{"op": "replace", "path": "displayName", "value": to}]),
        )
        .await;
    };
    rename("k8s-contractors").await;
    system.until_may(bob_may, "list", place, true).await;
    rename("contractors").await;
    system.until_may(bob_may, "list", place, false).await;
    assert!(system.may(ada_may, "list", place).await);

    // The admin changes what is known; a filter that is wrong takes nothing away.
    merge(
        &system,
        name,
        &json!({"knownGroups": "displayName eq \"contractors\" or displayName sw \"k8s-\""}),
    );
    system.until_may(bob_may, "list", place, true).await;
    ignored(1).await;
    merge(&system, name, &json!({"knownGroups": "department eq \"x\""}));
    system
        .until_condition("scimsource", None, name, "Ready", "False", "InvalidFilter")
        .await;
    assert!(system.may(bob_may, "list", place).await && system.may(ada_may, "list", place).await);
    merge(&system, name, &json!({"knownGroups": null}));
    ignored(0).await;
    system.until_may(bob_may, "list", place, true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_is_wrong_brings_no_ignored_group_back() {
    let system = System::install(Cluster::shared(), "ignored").await;
    let mut controller = system.controller();
    let gateway = system.gateway().await;
    let place = "ignored-a";
    system.namespace(place, json!({})).await;
    let okta = system.source(&gateway.url, "ignored-okta").await;
    merge(&system, "ignored-okta", &json!({"knownGroups": "displayName sw \"k8s-\""}));
    let entra = system.source(&gateway.url, "ignored-entra").await;
    // Okta's group has borne the name longer, and does not count.
    okta.group("admins", &[&okta.user("bob@corp.example").await]).await;
    entra.group("admins", &[&entra.user("carol@corp.example").await]).await;
    let spec = json!({"sources": ["ignored-okta", "ignored-entra"], "groups": {"names": ["admins"]}, "grants": [
        {"roleRef": {"kind": "ClusterRole", "name": "view"}, "namespaces": {"names": [place]}},
    ]});
    system.apply(&system.mapping("ClusterRoleMapping", None, "ignored", spec));
    let (bob, carol) = ("oidc:bob@corp.example", "oidc:carol@corp.example");
    system.until_may(carol, "list", place, true).await;
    assert!(!system.may(bob, "list", place).await);
    // Whatever is wrong with Okta's source when a controller starts: nobody of Entra's loses anything, and nobody of Okta's gets anything.
    let subject = |expect: &str| json!({"subject": {"username": "'oidc:' + user.userName", "examples": [{"user": {"userName": "a"}, "expect": expect}]}});
    for (wrong, right) in [
        (subject("wrong"), subject("oidc:a")),
        (
            json!({"knownGroups": "department pr"}),
            json!({"knownGroups": "displayName sw \"k8s-\""}),
        ),
    ] {
        merge(&system, "ignored-okta", &wrong);
        system
            .until_condition("scimsource", None, "ignored-okta", "Ready", "False", "")
            .await;
        let term = kit::until_led(&system).await;
        controller.signal("KILL");
        assert!(controller.ended(Duration::from_secs(10)), "{}", controller.log());
        controller = system.controller();
        kit::until_other_term(&system, &term).await;
        for _ in 0..30 {
            assert!(
                system.may(carol, "list", place).await,
                "{wrong}: she keeps it\n{}",
                system.explain()
            );
            assert!(!system.may(bob, "list", place).await, "{wrong}: he does not get it");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        merge(&system, "ignored-okta", &right);
        system
            .until_condition("clusterrolemapping", None, "ignored", "Ready", "True", "")
            .await;
        assert!(system.may(carol, "list", place).await && !system.may(bob, "list", place).await);
    }
}
