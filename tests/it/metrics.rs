//! What a scrape shows: every metric that a rule or the dashboard asks for, with the numbers that the story of this test makes.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::json;

use crate::chart::monitoring::asked;
use crate::cluster::Cluster;
use crate::system::{Process, System, free_port, program, until};

async fn scrape(system: &System<'_>, process: &Process) -> String {
    let page = system
        .http
        .get(format!("{}/metrics", process.health))
        .send()
        .await
        .expect("an answer");
    page.text().await.expect("a text")
}

/// The value of the one series that begins so.
fn value(page: &str, series: &str) -> Option<f64> {
    let mut lines = page.lines().filter_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    lines.next()?.parse().ok()
}

#[tokio::test]
async fn a_scrape_shows_what_rules_and_dashboard_ask_for() {
    let cluster = Cluster::shared();
    let system = System::install(cluster, "scraped").await;
    let health = format!("127.0.0.1:{}", free_port());
    let mut controller = system.controller_with(&[&format!("--health-address={health}"), "--survey-interval=1s"], None);
    controller.health = format!("http://{health}");
    let gateway = system.gateway().await;
    system.namespace("scraped-team", json!({})).await;
    let okta = system.source(&gateway.url, "scraped-okta").await;
    let end = "2099-01-01T00:00:00Z";
    let tokens = json!([
        {"name": "first", "secretKeyRef": {"name": "scraped-okta-token", "key": "token"}, "notAfter": end},
    ]);
    system
        .merge("scimsource", None, "scraped-okta", &json!({"push": {"tokens": tokens}}))
        .expect_ok();
    // a directory that may not be reached
    let poll = json!({"scim": {"url": "https://127.0.0.1:1/scim", "auth": {"bearer": {"name": "scraped-okta-token", "key": "token"}}}});
    system.apply(&json!({
        "apiVersion": "rolecall.dev/v1alpha1", "kind": "ScimSource", "metadata": {"name": "scraped-polled"},
        "spec": {"class": system.installed.class, "poll": poll, "subject": {"username": "user.userName"}},
    }));
    let ada = okta.user("ada@scraped.example").await;
    let bob = okta.user("bob@scraped.example").await;
    okta.group("scraped", &[&ada, &bob]).await;
    let spec = json!({"sources": ["scraped-okta"], "groups": {"names": ["scraped"]}, "grants": [{"roleRef": {"kind": "ClusterRole", "name": "view"}}]});
    system.apply(&system.mapping("RoleMapping", Some("scraped-team"), "view", spec));
    system.until_may("oidc:ada@scraped.example", "list", "scraped-team", true).await;
    okta.active(&ada, false).await;
    system.until_may("oidc:ada@scraped.example", "list", "scraped-team", false).await;
    // somebody takes bob out, and adds eve
    let binding = cluster
        .kubectl(&["get", "rolebindings", "-n", "scraped-team", "-o", "name"])
        .expect_ok();
    let eve = json!({"subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "oidc:eve@scraped.example"}]});
    cluster
        .kubectl(&[
            "patch",
            "-n",
            "scraped-team",
            binding.trim(),
            "--type=merge",
            "-p",
            &eve.to_string(),
        ])
        .expect_ok();
    system.until_may("oidc:bob@scraped.example", "list", "scraped-team", true).await;
    system.until_may("oidc:eve@scraped.example", "list", "scraped-team", false).await;
    // a removal that is held, and a group that waits
    system
        .merge(
            "rolemapping",
            Some("scraped-team"),
            "view",
            &json!({"suspend": true, "groups": {"names": ["other"]}}),
        )
        .expect_ok();
    let wrong = system
        .http
        .get(format!("{}/scim/v2/scraped-okta/Users", gateway.url))
        .bearer_auth("wrong");
    assert_eq!(wrong.send().await.expect("an answer").status(), 401);
    okta.patch(
        &format!("/Users/{bob}"),
        json!([{"op": "Replace", "path": "active", "value": "True"}]),
    )
    .await;
    let odd = json!({"schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "userName": "carl@scraped.example", "shoeSize": "42"});
    okta.send("POST", "/Users", Some(odd), &[201]).await;
    let binds = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "by-hand", "namespace": "scraped-team"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "oidc:ada@scraped.example"}]});
    system.apply(&binds);

    let shows = |page: &str| {
        [
            ("rolecall_controller_leading", 1.0),
            ("rolecall_held_removals", 1.0),
            ("rolecall_bindings", 1.0),
            ("rolecall_policy_missing", 0.0),
            ("rolecall_journal_lost{journal=\"directory\"}", 0.0),
            ("rolecall_source_ready{source=\"scraped-okta\"}", 1.0),
            (
                "rolecall_token_expiry_timestamp_seconds{source=\"scraped-okta\",token=\"first\"}",
                4_070_908_800.0,
            ),
            ("rolecall_poll_ok{source=\"scraped-polled\"}", 0.0),
            ("rolecall_revocation_seconds_count", 1.0),
            ("rolecall_drift_repaired_total", 2.0),
            ("rolecall_findings{object=\"scraped-okta\",reason=\"DisabledPerson\"}", 1.0),
            ("rest_client_requests_total{method=\"PUT\",code=\"200\"}", f64::NAN),
        ]
        .into_iter()
        // what was counted may have been done in more than one step
        .filter(|(series, wanted)| match value(page, series) {
            None => true,
            Some(found) if series.ends_with("_total") || series.ends_with("_count") => found < *wanted,
            Some(found) => !wanted.is_nan() && found != *wanted,
        })
        .map(|(series, _)| series.to_owned())
        .collect::<Vec<_>>()
    };
    let done = until(Duration::from_secs(20), || async {
        shows(&scrape(&system, &controller).await).is_empty()
    })
    .await;
    let page = scrape(&system, &controller).await;
    assert!(done.is_ok(), "{:?}\n{page}", shows(&page));
    let both = page + &scrape(&system, &gateway).await;
    let there: BTreeSet<&str> = both
        .lines()
        .filter_map(|line| line.split(['{', ' ']).next())
        .filter(|name| !name.starts_with('#'))
        .collect();
    let asked = asked();
    let missing: Vec<&String> = asked.iter().filter(|name| !there.contains(name.as_str())).collect();
    assert!(missing.is_empty(), "no scrape shows {missing:?}");
    assert!(!both.contains("ada@") && !both.contains("bob@"), "no person is named in a metric");

    let ready = system
        .http
        .get(format!("{}/readyz?verbose", controller.health))
        .send()
        .await
        .expect("an answer");
    assert_eq!(ready.text().await.expect("a text"), "[+]api-server ok\nreadyz check passed\n");
    // what `helm test` runs: a gateway is told from what is none
    let check = |url: &str| {
        let mut command = std::process::Command::new(program());
        command.args(["selfcheck", "--seconds=2", "--url", url]).output().expect("it runs")
    };
    let said = check(&gateway.url);
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    let said = check(&controller.health);
    assert!(!said.status.success() && String::from_utf8_lossy(&said.stderr).contains("not as a gateway does"));
    // who leads no more shows nothing that only a leader knows
    assert!(value(&both, "leader_election_master_status{name=\"scraped-rolecall-controller\"}").is_some());
}
