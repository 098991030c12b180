//! The main job on a real API server: people join, leave, are disabled, renamed and deleted, and what they may do follows.

use std::time::Duration;

use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::system::{System, until};

const VIEW: &str = "list";
const EDIT: &str = "delete";

fn grant(role: &str) -> Value {
    json!([{"roleRef": {"kind": "ClusterRole", "name": role}}])
}

fn rule(source: &str, group: &str, role: &str) -> Value {
    json!({"sources": [source], "groups": {"names": [group]}, "grants": grant(role)})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_joins_is_disabled_comes_back_leaves_and_is_deleted() {
    let system = System::install(Cluster::shared(), "journey").await;
    let _controller = system.controller();
    let gateway = system.gateway().await;
    system.namespace("journey-a", json!({"team": "journey"})).await;
    let okta = system.source(&gateway.url, "journey-okta").await;
    // The mapping comes before the group.
    system.apply(&system.mapping("RoleMapping", Some("journey-a"), "m", rule("journey-okta", "Backend", "view")));
    let ada = okta.user("ada@corp.example").await;
    let group = okta.group("Backend", &[]).await;
    assert!(!system.may("oidc:ada@corp.example", VIEW, "journey-a").await);
    okta.add(&group, &ada).await;
    system.until_may("oidc:ada@corp.example", VIEW, "journey-a", true).await;
    assert!(
        !system.may("oidc:ada@corp.example", EDIT, "journey-a").await,
        "no more than the role"
    );
    system
        .until_condition("rolemapping", Some("journey-a"), "m", "Ready", "True", "")
        .await;

    okta.active(&ada, false).await;
    system.until_may("oidc:ada@corp.example", VIEW, "journey-a", false).await;
    okta.active(&ada, true).await;
    system.until_may("oidc:ada@corp.example", VIEW, "journey-a", true).await;
    okta.remove(&group, &ada).await;
    system.until_may("oidc:ada@corp.example", VIEW, "journey-a", false).await;
    okta.add(&group, &ada).await;
    system.until_may("oidc:ada@corp.example", VIEW, "journey-a", true).await;

    // Another username: the new one has it, the old one has not.
    okta.patch(
        &format!("/Users/{ada}"),
        json!([{"op": "replace", "path": "userName", "value": "ada.l@corp.example"}]),
    )
    .await;
    system.until_may("oidc:ada.l@corp.example", VIEW, "journey-a", true).await;
    system.until_may("oidc:ada@corp.example", VIEW, "journey-a", false).await;

    // The group gets another name: the mapping by name no longer means it, and means it again.
    okta.patch(
        &format!("/Groups/{group}"),
        json!([{"op": "replace", "path": "displayName", "value": "Platform"}]),
    )
    .await;
    system.until_may("oidc:ada.l@corp.example", VIEW, "journey-a", false).await;
    okta.patch(
        &format!("/Groups/{group}"),
        json!([{"op": "replace", "path": "displayName", "value": "Backend"}]),
    )
    .await;
    system.until_may("oidc:ada.l@corp.example", VIEW, "journey-a", true).await;

    okta.delete(&format!("/Users/{ada}")).await;
    system.until_may("oidc:ada.l@corp.example", VIEW, "journey-a", false).await;
    // The name comes back as another person: nothing is inherited.
    let other = okta.user("ada.l@corp.example").await;
    assert_ne!(other, ada);
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(!system.may("oidc:ada.l@corp.example", VIEW, "journey-a").await);
    okta.add(&group, &other).await;
    system.until_may("oidc:ada.l@corp.example", VIEW, "journey-a", true).await;
    okta.delete(&format!("/Groups/{group}")).await;
    system.until_may("oidc:ada.l@corp.example", VIEW, "journey-a", false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_mapping_follows_namespaces_labels_and_roles() {
    let system = System::install(Cluster::shared(), "places").await;
    let _controller = system.controller();
    let gateway = system.gateway().await;
    system.namespace("places-a", json!({"team": "places"})).await;
    let okta = system.source(&gateway.url, "places-okta").await;
    let ada = okta.user("ada@corp.example").await;
    okta.group("Backend", &[&ada]).await;
    // The mapping comes after the group; one namespace by label, one by a name that does not exist yet.
    let spec = |role: &str| {
        json!({"sources": ["places-okta"], "groups": {"filter": "displayName eq \"Backend\""}, "grants": [
            {"roleRef": {"kind": "ClusterRole", "name": role}, "namespaces": {"selector": {"matchLabels": {"team": "places"}}}},
            {"roleRef": {"kind": "ClusterRole", "name": role}, "namespaces": {"names": ["places-later"]}},
        ]})
    };
    system.apply(&system.mapping("ClusterRoleMapping", None, "places", spec("view")));
    system.until_may("oidc:ada@corp.example", VIEW, "places-a", true).await;
    system.namespace("places-b", json!({})).await;
    system.namespace("places-later", json!({})).await;
    system.until_may("oidc:ada@corp.example", VIEW, "places-later", true).await;
    assert!(!system.may("oidc:ada@corp.example", VIEW, "places-b").await);
    system
        .cluster
        .kubectl(&["label", "namespace", "places-b", "team=places"])
        .expect_ok();
    system.until_may("oidc:ada@corp.example", VIEW, "places-b", true).await;
    system.cluster.kubectl(&["label", "namespace", "places-b", "team-"]).expect_ok();
    system.until_may("oidc:ada@corp.example", VIEW, "places-b", false).await;

    // Another role leaves no gap: whoever asks in between always may view.
    let watching = async {
        let mut denied = 0;
        for _ in 0..200 {
            denied += usize::from(!system.may("oidc:ada@corp.example", VIEW, "places-a").await);
        }
        denied
    };
    let changing = async {
        system.apply(&system.mapping("ClusterRoleMapping", None, "places", spec("edit")));
        system.until_may("oidc:ada@corp.example", EDIT, "places-a", true).await;
    };
    let (denied, ()) = tokio::join!(watching, changing);
    assert_eq!(denied, 0, "a changed role left a gap");
    system.until_may("oidc:ada@corp.example", EDIT, "places-later", true).await;
    let count = || async {
        let list = system
            .cluster
            .kubectl(&["get", "rolebindings", "-A", "-l", "rolecall.dev/class=places", "-o", "name"])
            .stdout;
        list.lines().count() == 2
    };
    until(Duration::from_secs(15), count)
        .await
        .unwrap_or_else(|()| panic!("the old role's bindings stay\n{}", system.explain()));

    // A hand-made change of ours is repaired; a foreign binding is left alone.
    let name = system
        .cluster
        .kubectl(&[
            "get",
            "rolebindings",
            "-n",
            "places-a",
            "-l",
            "rolecall.dev/class=places",
            "-o",
            "jsonpath={.items[0].metadata.name}",
        ])
        .expect_ok();
    let intruder = json!([{"op": "add", "path": "/subjects/-", "value": {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "oidc:eve"}}]);
    system
        .cluster
        .kubectl(&[
            "patch",
            "rolebinding",
            "-n",
            "places-a",
            &name,
            "--type=json",
            "-p",
            &intruder.to_string(),
        ])
        .expect_ok();
    system.until_may("oidc:eve", VIEW, "places-a", false).await;
    system
        .cluster
        .kubectl(&["delete", "rolebinding", "-n", "places-a", &name])
        .expect_ok();
    system.until_may("oidc:ada@corp.example", EDIT, "places-a", true).await;
    system
        .cluster
        .kubectl(&[
            "create",
            "rolebinding",
            "theirs",
            "-n",
            "places-a",
            "--clusterrole=view",
            "--user=oidc:eve",
        ])
        .expect_ok();
    okta.active(&ada, false).await;
    system.until_may("oidc:ada@corp.example", VIEW, "places-a", false).await;
    assert!(
        system.may("oidc:eve", VIEW, "places-a").await,
        "a foreign binding is not ours to touch"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_sources_and_groups_of_one_name_neither_take_nor_break_a_grant() {
    let system = System::install(Cluster::shared(), "names").await;
    let _controller = system.controller();
    let gateway = system.gateway().await;
    system.namespace("names-a", json!({})).await;
    let okta = system.source(&gateway.url, "names-okta").await;
    let entra = system
        .source_with(&gateway.url, "names-entra", json!({"username": "'oidc:' + user.userName"}))
        .await;
    let ada = okta.user("ada@corp.example").await;
    let first = okta.group("Backend", &[&ada]).await;
    system.apply(&system.mapping("RoleMapping", Some("names-a"), "m", rule("names-okta", "Backend", "view")));
    system.until_may("oidc:ada@corp.example", VIEW, "names-a", true).await;

    // The same userName in another source: no error there, and no access from it.
    let twin = entra.user("ada@corp.example").await;
    let twins = entra.group("Other", &[&twin]).await;
    system.apply(&system.mapping("RoleMapping", Some("names-a"), "n", rule("names-entra", "Other", "edit")));
    system
        .until_condition("scimsource", None, "names-entra", "UsernameConflict", "True", "")
        .await;
    assert!(
        !system.may("oidc:ada@corp.example", EDIT, "names-a").await,
        "the one who bore the name first has it"
    );
    let (status, _) = entra.try_get(&format!("/Users/{ada}")).await.expect("an answer");
    assert_eq!(status, 404, "an id of another source is not there");

    // A second group of the name: the first keeps the grant.
    let eve = okta.user("eve@corp.example").await;
    okta.group("Backend", &[&eve]).await;
    system
        .until_condition("rolemapping", Some("names-a"), "m", "AmbiguousGroup", "True", "")
        .await;
    assert!(!system.may("oidc:eve@corp.example", VIEW, "names-a").await);
    assert!(system.may("oidc:ada@corp.example", VIEW, "names-a").await);
    okta.delete(&format!("/Groups/{first}")).await;
    system.until_may("oidc:eve@corp.example", VIEW, "names-a", true).await;
    system.until_may("oidc:ada@corp.example", VIEW, "names-a", false).await;
    // The first bearer leaves: the name is the other's.
    okta.delete(&format!("/Users/{ada}")).await;
    system.until_may("oidc:ada@corp.example", EDIT, "names-a", true).await;
    entra.delete(&format!("/Groups/{twins}")).await;
    system.until_may("oidc:ada@corp.example", EDIT, "names-a", false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_must_not_be_granted_is_refused_and_says_what_is_allowed() {
    let system = System::install(Cluster::shared(), "refused").await;
    let _controller = system.controller();
    let gateway = system.gateway().await;
    system.namespace("refused-a", json!({})).await;
    let okta = system
        .source_with(&gateway.url, "refused-okta", json!({"username": "user.userName"}))
        .await;
    let mut members = Vec::new();
    let hostile = [
        "system:masters",
        "SYSTEM:nodes",
        "ｓystem:anonymous",
        "system:serviceaccount:kube-system:default",
        "nobody",
        "oidc:good",
    ];
    for name in hostile {
        members.push(okta.user(name).await);
    }
    let refs: Vec<&str> = members.iter().map(String::as_str).collect();
    okta.group("Backend", &refs).await;
    system.apply(&system.mapping("RoleMapping", Some("refused-a"), "m", rule("refused-okta", "Backend", "view")));
    system.until_may("oidc:good", VIEW, "refused-a", true).await;
    for name in &hostile[..5] {
        assert!(!system.may(name, VIEW, "refused-a").await, "{name}");
    }
    system.apply(&system.mapping("RoleMapping", Some("refused-a"), "admin", rule("refused-okta", "Backend", "admin")));
    let message = system
        .until_condition("rolemapping", Some("refused-a"), "admin", "Stalled", "True", "")
        .await;
    assert!(
        message.contains("\"admin\" is not in accessPolicy.clusterRoles") && message.contains("view, edit"),
        "{message}"
    );
    // A bad filter names the position, and an unknown source its name.
    let broken = json!({"sources": ["refused-okta"], "groups": {"filter": "displayName xx \"a\""}, "grants": grant("view")});
    system.apply(&system.mapping("RoleMapping", Some("refused-a"), "broken", broken));
    let message = system
        .until_condition("rolemapping", Some("refused-a"), "broken", "Stalled", "True", "")
        .await;
    assert!(message.contains("xx"), "{message}");
    system.apply(&system.mapping("RoleMapping", Some("refused-a"), "nowhere", rule("refused-none", "Backend", "view")));
    let message = system
        .until_condition("rolemapping", Some("refused-a"), "nowhere", "Ready", "False", "")
        .await;
    assert!(message.contains("refused-none"), "{message}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_says_which_tokens_cannot_be_used_and_what_to_do() {
    let system = System::install(Cluster::shared(), "tokens").await;
    let _controller = system.controller();
    let gateway = system.gateway_with(&["--refresh=1s"], None).await;
    let _okta = system.source(&gateway.url, "tokens-okta").await;
    system
        .until_condition("scimsource", None, "tokens-okta", "Ready", "True", "Succeeded")
        .await;
    let with = |tokens: serde_json::Value| {
        json!({"apiVersion": "rolecall.dev/v1alpha1", "kind": "ScimSource", "metadata": {"name": "tokens-okta"}, "spec": {
            "class": "tokens", "push": {"tokens": tokens}, "subject": {"username": "user.userName"}, "allowedNamespaces": {"selector": {}},
        }})
    };
    let token = |name: &str, secret: &str| json!({"name": name, "secretKeyRef": {"name": secret, "key": "token"}});
    let old = json!({"name": "old", "secretKeyRef": {"name": "tokens-okta-token", "key": "token"}, "notAfter": "2026-01-31T00:00:00Z"});
    // One that works is enough to be ready; what does not work is said.
    system.apply(&with(json!([token("first", "tokens-okta-token"), token("next", "not-made"), old])));
    let message = system
        .until_condition("scimsource", None, "tokens-okta", "Degraded", "True", "TokenUnusable")
        .await;
    for text in ["next: ", "kubectl create secret generic not-made -n tokens", "old: it expired"] {
        assert!(message.contains(text), "{text}: {message}");
    }
    // None that works.
    system.apply(&with(json!([token("next", "not-made")])));
    system
        .until_condition("scimsource", None, "tokens-okta", "Ready", "False", "NoUsableToken")
        .await;
    // What the message says helps.
    system
        .cluster
        .kubectl(&[
            "create",
            "secret",
            "generic",
            "not-made",
            "-n",
            "tokens",
            "--from-literal=token=0123456789abcdef0123456789abcdef",
        ])
        .expect_ok();
    system
        .until_condition("scimsource", None, "tokens-okta", "Ready", "True", "Succeeded")
        .await;
    let short = [
        "patch",
        "secret",
        "not-made",
        "-n",
        "tokens",
        "-p",
        "{\"stringData\":{\"token\":\"short\"}}",
    ];
    system.cluster.kubectl(&short).expect_ok();
    let message = system
        .until_condition("scimsource", None, "tokens-okta", "Ready", "False", "NoUsableToken")
        .await;
    assert!(message.contains("less than 32 characters"), "{message}");
}

/// A removal that is held is no access that stays: whoever the provider disables leaves at once, also where the mapping does not mean them any more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_held_goes_when_the_provider_disables_the_person() {
    let system = System::install(Cluster::shared(), "held").await;
    let _controller = system.controller();
    let gateway = system.gateway().await;
    for place in ["held-a", "held-b"] {
        system.namespace(place, json!({"held": "yes"})).await;
    }
    let okta = system.source(&gateway.url, "held-okta").await;
    let mut people = Vec::new();
    for name in ["left", "moved", "stays"] {
        people.push(okta.user(&format!("{name}@corp.example")).await);
    }
    let refs: Vec<&str> = people.iter().map(String::as_str).collect();
    let group = okta.group("Backend", &refs).await;
    let mapping = |suspend: bool| {
        let spec = json!({"sources": ["held-okta"], "groups": {"names": ["Backend"]}, "suspend": suspend, "grants": [
            {"roleRef": {"kind": "ClusterRole", "name": "view"}, "namespaces": {"selector": {"matchLabels": {"held": "yes"}}}},
        ]});
        system.mapping("ClusterRoleMapping", None, "held", spec)
    };
    system.apply(&mapping(false));
    for place in ["held-a", "held-b"] {
        for name in ["left", "moved", "stays"] {
            system.until_may(&format!("oidc:{name}@corp.example"), VIEW, place, true).await;
        }
    }
    system.apply(&mapping(true));
    system
        .until_condition("clusterrolemapping", None, "held", "Ready", "True", "Suspended")
        .await;
    okta.remove(&group, &people[0]).await;
    system.cluster.kubectl(&["label", "namespace", "held-b", "held-"]).expect_ok();
    system.until_condition("clusterrolemapping", None, "held", "Held", "True", "").await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    for place in ["held-a", "held-b"] {
        assert!(system.may("oidc:left@corp.example", VIEW, place).await, "held in {place}");
    }
    for person in &people[..2] {
        okta.active(person, false).await;
    }
    for place in ["held-a", "held-b"] {
        for name in ["left", "moved"] {
            system.until_may(&format!("oidc:{name}@corp.example"), VIEW, place, false).await;
        }
        assert!(system.may("oidc:stays@corp.example", VIEW, place).await, "held in {place}");
    }
}
