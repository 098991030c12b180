//! One mapping for all teams: roles and namespaces by pattern and expression, on a real API server.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::kit::bindings;
use crate::system::{System, until};

/// One mapping: `<prefix>-<team>-<role>` gets the role in `<prefix>-<team>`.
fn spec(prefix: &str) -> Value {
    let role = json!({"kind": "ClusterRole", "expression": "match.role", "oneOf": ["view", "edit"]});
    json!({"sources": [format!("{prefix}-okta")], "groups": {"pattern": format!("^{prefix}-(?<team>.+)-(?<role>[a-z]+)$")}, "grants": [
        {"roleRef": role, "namespaces": {"expression": format!("'{prefix}-' + match.team")}},
    ]})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_mapping_grants_each_team_its_roles_in_its_namespace() {
    let system = System::install(Cluster::shared(), "teams").await;
    let _controller = system.controller();
    let gateway = system.gateway().await;
    for team in ["a", "b"] {
        system.namespace(&format!("teams-{team}"), json!({})).await;
    }
    let okta = system.source(&gateway.url, "teams-okta").await;
    let [ada, bob] = [okta.user("ada@corp.example").await, okta.user("bob@corp.example").await];
    let (ada_may, bob_may) = ("oidc:ada@corp.example", "oidc:bob@corp.example");
    let group = okta.group("teams-a-view", &[&ada]).await;
    okta.group("teams-b-edit", &[&bob]).await;
    okta.group("teams-b-admin", &[&ada]).await;
    okta.group("teams-c-view", &[&bob]).await;
    system.apply(&system.mapping("ClusterRoleMapping", None, "teams", spec("teams")));
    system.until_may(ada_may, "list", "teams-a", true).await;
    system.until_may(bob_may, "create", "teams-b", true).await;
    assert!(!system.may(ada_may, "list", "teams-b").await && !system.may(ada_may, "create", "teams-a").await);
    // admin is not in the closed list: told, and no reason not to be ready
    system
        .until_condition("clusterrolemapping", None, "teams", "Degraded", "True", "RoleNotListed")
        .await;
    system
        .until_condition("clusterrolemapping", None, "teams", "Ready", "True", "Succeeded")
        .await;
    let status = system.status("clusterrolemapping", None, "teams");
    assert_eq!(
        status["summary"], "view, edit in 2 namespaces, 2 people, 1 group refused, 1 namespace missing",
        "{status:#}"
    );
    assert_eq!((&status["refusedGroups"], &status["people"]), (&json!(1), &json!(2)));

    // A team's namespace that comes later.
    system.namespace("teams-c", json!({})).await;
    system.until_may(bob_may, "list", "teams-c", true).await;
    // A group that is renamed takes its members along: into another role without a gap, and out of a namespace.
    let rename = |name: &str| json!([{"op": "replace", "path": "displayName", "value": name}]);
    let watching = async {
        let mut denied = 0;
        while !system.may(ada_may, "create", "teams-a").await {
            denied += usize::from(!system.may(ada_may, "list", "teams-a").await);
        }
        for _ in 0..200 {
            denied += usize::from(!system.may(ada_may, "list", "teams-a").await);
        }
        denied
    };
    let path = format!("/Groups/{group}");
    let (denied, _) = tokio::join!(watching, okta.patch(&path, rename("teams-a-edit")));
    assert_eq!(denied, 0, "a role that changed leaves no gap");
    okta.patch(&path, rename("teams-c-edit")).await;
    system.until_may(ada_may, "create", "teams-c", true).await;
    system.until_may(ada_may, "list", "teams-a", false).await;

    // What is wrong is told with its place, and takes nothing from anybody.
    let mut wrong = spec("teams");
    wrong["grants"][0]["namespaces"]["expression"] = json!("'teams-' + match.tema");
    system
        .merge("clusterrolemapping", None, "teams", &json!({"grants": wrong["grants"]}))
        .expect_ok();
    system
        .until_condition("clusterrolemapping", None, "teams", "Ready", "False", "InvalidExpression")
        .await;
    let status = system.status("clusterrolemapping", None, "teams");
    let says = "spec.grants[0].namespaces.expression at 1:17: match has no tema; there are: team, role";
    assert!(status.to_string().contains(says), "{status:#}");
    assert!(system.may(bob_may, "create", "teams-b").await && system.may(ada_may, "create", "teams-c").await);
}

/// Names that somebody chooses who may name groups at the provider: the n-th.
fn hostile(n: usize) -> String {
    let parts = [
        "system:masters",
        "kube-system",
        "../kube-system",
        "cluster-admin",
        "admin",
        "view\nadmin",
        "\u{202e}weiv",
        "ｖｉｅｗ",
        "' + 'admin",
        "${role}",
        "$1",
        "*",
        "",
        " ",
        "%2e%2e",
        "A",
        "a_b",
        "a.b",
        "-a",
        "a-",
        "😀",
        "view",
        "edit",
        "a\u{200b}",
        "{{.Name}}",
        "\u{7f}",
        "default/../kube-system",
        "kube-",
        "hostile",
    ];
    let pick = |n: usize| parts[n % parts.len()];
    let long = "x".repeat(n % 90);
    match n % 3 {
        0 => format!("hostile-{}{long}-{}", pick(n / 3), pick(n / 87)),
        1 => format!("hostile-{long}{}-view", pick(n / 3)),
        _ => format!("hostile-a{n}-{}", pick(n / 3)),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_hostile_names_of_groups_grant_nothing() {
    let system = System::install(Cluster::shared(), "hostile").await;
    let _controller = system.controller();
    let gateway = system.gateway().await;
    let okta = system.source(&gateway.url, "hostile-okta").await;
    let eve = okta.user("eve@corp.example").await;
    system.namespace("hostile-good", json!({})).await;
    // whatever a name yields beyond the namespace that there is, must not come to be
    let mut mapping = spec("hostile");
    mapping["groups"] = json!({"pattern": "^(?s)hostile-(?<team>.*)-(?<role>.*)$"});
    let role = mapping["grants"][0]["roleRef"].clone();
    for expression in ["match.team", "group.displayName", "match.team + match.role"] {
        let grant = json!({"roleRef": role, "namespaces": {"expression": expression}});
        mapping["grants"].as_array_mut().expect("grants").push(grant);
    }
    system.apply(&system.mapping("ClusterRoleMapping", None, "hostile", mapping));
    let (mut made, mut refused) = (0, 0);
    for batch in 0..20 {
        let operations: Vec<Value> = (batch * 500..batch * 500 + 500)
            .map(|n| json!({"method": "POST", "path": "/Groups", "bulkId": format!("b{n}"), "data": {"displayName": hostile(n), "members": [{"value": eve}]}}))
            .collect();
        let body = json!({"schemas": ["urn:ietf:params:scim:api:messages:2.0:BulkRequest"], "Operations": operations});
        let answer = okta.send("POST", "/Bulk", Some(body), &[200]).await;
        for one in answer["Operations"].as_array().expect("operations") {
            match one["status"].as_str().expect("a status") {
                "201" => made += 1,
                "400" | "409" => refused += 1,
                other => panic!("{other}: {one}"),
            }
        }
    }
    // and one that is good, behind all of them
    okta.group("hostile-good-view", &[&eve]).await;
    system.until_may("oidc:eve@corp.example", "list", "hostile-good", true).await;
    let settled = until(Duration::from_secs(30), || async {
        system.status("clusterrolemapping", None, "hostile")["conditions"]
            .to_string()
            .contains(r#""status":"True","type":"Ready""#)
    });
    assert!(settled.await.is_ok(), "{:#}", system.status("clusterrolemapping", None, "hostile"));
    let found: BTreeSet<String> = bindings(&system)
        .await
        .iter()
        .map(|binding| format!("{} {:?}", binding.namespace, binding.subjects))
        .collect();
    println!("10,000 hostile names: {made} groups made, {refused} refused by SCIM; bindings: {found:?}");
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(made + refused, 10_000);
    let status = system.status("clusterrolemapping", None, "hostile");
    assert!(status["refusedGroups"].as_i64() > Some(1_000), "{status:#}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn new_groups_grant_nothing_until_somebody_approves_them() {
    let system = System::install(Cluster::shared(), "newcomers").await;
    let mut controller = system.controller();
    let gateway = system.gateway().await;
    system.namespace("newcomers-a", json!({})).await;
    let okta = system.source(&gateway.url, "newcomers-okta").await;
    let [ada, eve] = [okta.user("ada@corp.example").await, okta.user("eve@corp.example").await];
    let (ada_may, eve_may) = ("oidc:ada@corp.example", "oidc:eve@corp.example");
    okta.group("newcomers-a-view", &[&ada]).await;
    let mut asks = spec("newcomers");
    asks["groups"]["newGroups"] = json!("Approve");
    system.apply(&system.mapping("ClusterRoleMapping", None, "newcomers", asks));
    let kind = "clusterrolemapping";
    system.until_condition(kind, None, "newcomers", "Held", "True", "NewGroup").await;
    system.until_condition(kind, None, "newcomers", "Ready", "True", "Succeeded").await;
    let (code, text) = system.plugin(&["holds", "crmap/newcomers"]);
    assert!(code == 0 && text.contains("+  group \"newcomers-a-view\""), "{text}");
    assert!(text.contains("its members get ClusterRole/view in newcomers-a"), "{text}");
    assert!(!system.may(ada_may, "list", "newcomers-a").await);
    let (code, text) = system.plugin(&["approve", "crmap/newcomers", "--yes"]);
    assert!(code == 0 && text.contains("1 group approved"), "{text}");
    system.until_may(ada_may, "list", "newcomers-a", true).await;

    // Somebody makes a second group of a mapped name, and one that fits the privileged role, with themselves in both.
    okta.group("newcomers-a-view", &[&eve]).await;
    let bold = okta.group("newcomers-a-edit", &[&eve]).await;
    system.until_condition(kind, None, "newcomers", "AmbiguousGroup", "True", "").await;
    system.until_condition(kind, None, "newcomers", "Held", "True", "NewGroup").await;
    // the grant is held at once, the record that an approval names comes a moment later
    let recorded = until(Duration::from_secs(20), || async {
        system.status(kind, None, "newcomers")["heldGroups"] == 1
    });
    assert!(recorded.await.is_ok(), "{:#}", system.status(kind, None, "newcomers"));
    // the next leader holds the same
    controller.signal("KILL");
    assert!(controller.ended(Duration::from_secs(5)));
    let _controller = system.controller();
    let later = okta.user("later@corp.example").await;
    let group = okta.group("newcomers-other", &[&later]).await;
    okta.patch(
        &format!("/Groups/{group}"),
        json!([{"op": "replace", "path": "displayName", "value": "newcomers-a-edit-view"}]),
    )
    .await;
    system.until_may(ada_may, "list", "newcomers-a", true).await;
    for _ in 0..20 {
        assert!(!system.may(eve_may, "list", "newcomers-a").await && !system.may(eve_may, "create", "newcomers-a").await);
        assert!(system.may(ada_may, "list", "newcomers-a").await);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let waiting = until(Duration::from_secs(20), || async {
        system.status(kind, None, "newcomers")["heldGroups"] == 2
    });
    assert!(waiting.await.is_ok(), "{:#}", system.status(kind, None, "newcomers"));
    // the approval of what was shown is none of what comes later
    let (_, text) = system.plugin(&["approve", "crmap/newcomers", "--yes"]);
    assert!(text.contains("2 groups approved"), "{text}");
    system.until_may(eve_may, "create", "newcomers-a", true).await;
    okta.patch(
        &format!("/Groups/{bold}"),
        json!([{"op": "replace", "path": "displayName", "value": "newcomers-b-edit"}]),
    )
    .await;
    let again = until(Duration::from_secs(20), || async {
        system.status(kind, None, "newcomers")["heldGroups"] == 1
    });
    assert!(again.await.is_ok(), "{:#}", system.status(kind, None, "newcomers"));
    system.until_may(eve_may, "create", "newcomers-a", false).await;
}
