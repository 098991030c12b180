//! The budget on a real API server: what goes beyond the limits waits until somebody approves it; whom the provider disables leaves at once.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::{StreamExt as _, stream};
use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::install::Install;
use crate::kit::{bindings, seed};
use crate::system::{System, until};

fn holds(system: &System<'_>, object: &str) -> Vec<Value> {
    let (code, text) = system.plugin(&["holds", object, "-o", "json"]);
    assert_eq!(code, 0, "{text}");
    let report: Value = serde_json::from_str(&text).expect("JSON");
    report["removals"].as_array().cloned().unwrap_or_default()
}

fn newest(held: &[Value]) -> i64 {
    held.iter().filter_map(|one| one["record"].as_i64()).max().unwrap_or_default()
}

async fn subjects(system: &System<'_>) -> BTreeSet<String> {
    bindings(system).await.into_iter().flat_map(|binding| binding.subjects).collect()
}

async fn until_subjects(system: &System<'_>, n: usize) {
    let so = until(Duration::from_secs(60), || async { subjects(system).await.len() == n });
    let so = so.await.is_ok();
    assert!(so, "{} and not {n} subjects\n{}", subjects(system).await.len(), system.explain());
}

async fn until_held(system: &System<'_>, kind: &str, namespace: Option<&str>, name: &str, n: i64) -> Value {
    let told = || system.status(kind, namespace, name);
    let so = until(Duration::from_secs(30), || async {
        told()["heldRemovals"].as_i64().unwrap_or(0) == n
    });
    assert!(so.await.is_ok(), "not {n} held: {:#}\n{}", told(), system.explain());
    told()
}

/// The people of whom something waits for an approval: somebody who was about to move has two removals.
async fn until_waiting(system: &System<'_>, object: &str, n: usize) -> Vec<Value> {
    let people = || {
        holds(system, object)
            .iter()
            .map(|one| one["name"].to_string())
            .collect::<BTreeSet<_>>()
    };
    let so = until(Duration::from_secs(30), || async { people().len() == n });
    assert!(so.await.is_ok(), "{} and not {n} people wait\n{}", people().len(), system.explain());
    // everything of theirs is recorded within a second or two
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(people().len(), n);
    holds(system, object)
}

fn view(source: &str, group: &str) -> Value {
    json!({"sources": [source], "groups": {"names": [group]}, "grants": [{"roleRef": {"kind": "ClusterRole", "name": "view"}}]})
}

fn approve(system: &System<'_>, kind: &str, namespace: Option<&str>, name: &str, record: i64) {
    let mut args = vec!["annotate", "--overwrite", kind, name];
    let note = format!("rolecall.dev/approve={record}");
    args.extend(namespace.iter().flat_map(|ns| ["-n", ns]));
    args.push(&note);
    system.cluster.kubectl(&args).expect_ok();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_500_removals_one_patch_each_the_limit_passes_and_an_approval_releases_what_was_shown() {
    let system = System::install(Cluster::shared(), "budget").await;
    let mut controller = system.controller();
    let gateway = system.gateway().await;
    let place = "budget-a";
    system.namespace(place, json!({})).await;
    let okta = system.source(&gateway.url, "budget-okta").await;
    let people = seed(&system, "budget-okta", 520).await;
    let group = okta
        .group("Everybody", &people.iter().map(String::as_str).collect::<Vec<_>>())
        .await;
    system.apply(&system.mapping("RoleMapping", Some(place), "m", view("budget-okta", "Everybody")));
    until_subjects(&system, 520).await;
    tokio::time::sleep(Duration::from_millis(1500)).await; // outcomes are recorded

    // 500 leave, one PATCH each: a tenth of 520 goes.
    let leave = stream::iter(&people[..500]).map(|person| okta.remove(&group, person));
    leave.buffer_unordered(16).collect::<Vec<()>>().await;
    until_subjects(&system, 468).await;
    let mapping = format!("RoleMapping/{place}/m");
    let shown = until_waiting(&system, &mapping, 448).await;
    let standing = subjects(&system).await;
    let ready = ["wait", "-n", place, "rolemapping/m", "--for=condition=Ready", "--timeout=5s"];
    system.cluster.kubectl(&ready).expect_ok();
    system
        .until_condition("rolemapping", Some(place), "m", "Held", "True", "BudgetExceeded")
        .await;
    system
        .until_condition("scimsource", None, "budget-okta", "Held", "True", "BudgetExceeded")
        .await;
    let removals = i64::try_from(shown.len()).expect("a number");
    let status = until_held(&system, "rolemapping", Some(place), "m", removals).await;
    assert_eq!(json!(newest(&shown)), status["heldIndex"]);
    assert_eq!(holds(&system, "ScimSource/budget-okta"), shown);

    // One of those who wait is disabled: they leave at once.
    let held = |n: usize| {
        let name = format!("oidc:user-{n}@corp.example");
        standing.contains(&name).then_some((n, name))
    };
    let mut waiting = (0..500).filter_map(held);
    let (disabled, name) = waiting.next().expect("somebody waits");
    let begun = std::time::Instant::now();
    okta.active(&people[disabled], false).await;
    system.until_may(&name, "list", place, false).await;
    println!("disabled in the midst of 448 that wait: denied after {:?}", begun.elapsed());

    // Another leader holds what this one held.
    controller.signal("KILL");
    assert!(controller.ended(Duration::from_secs(5)));
    let _controller = system.controller();
    // A busy directory: somebody comes back, and two more are to leave.
    let (back, _) = waiting.next().expect("somebody waits");
    okta.add(&group, &people[back]).await;
    for person in &people[500..502] {
        okta.remove(&group, person).await;
    }
    until_waiting(&system, &mapping, 448).await;
    assert_eq!(subjects(&system).await.len(), 467);

    // What was shown is approved: all of it goes, and what came later waits. The plugin asks, and there is nobody.
    let (code, text) = system.plugin(&["approve", &mapping]);
    assert!(code == 1 && text.contains("no terminal"), "{text}");
    approve(&system, "rolemapping", Some(place), "m", newest(&shown));
    until_subjects(&system, 21).await;
    until_held(&system, "rolemapping", Some(place), "m", 2).await;
    let left: BTreeSet<String> = (502..520)
        .chain([back, 500, 501])
        .map(|n| format!("oidc:user-{n}@corp.example"))
        .collect();
    assert_eq!(subjects(&system).await, left);
    let (code, text) = system.plugin(&["approve", "--yes", &mapping]);
    assert!(code == 0 && text.contains("2 removals approved"), "{text}");
    until_subjects(&system, 19).await;
    until_held(&system, "scimsource", None, "budget-okta", 0).await;
    let (_, text) = system.plugin(&["holds"]);
    assert!(!text.contains(place), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn edits_and_ends_are_counted_and_a_provider_that_disables_many_is_told() {
    let system = System::install(Cluster::shared(), "edits").await;
    let _controller = system.controller();
    let gateway = system.gateway().await;
    let okta = system.source(&gateway.url, "edits-okta").await;
    let entra = system.source(&gateway.url, "edits-entra").await;
    let people = seed(&system, "edits-okta", 15).await;
    let group = okta.group("devs", &people.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let mut others = Vec::new();
    for n in 0..15 {
        others.push(entra.user(&format!("other-{n}@corp.example")).await);
    }
    entra.group("ops", &others.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let limits = json!({"limits": {"removalsPerHour": 1000, "removalPercent": 100}});
    system.merge("scimsource", None, "edits-okta", &limits).expect_ok();
    let in_place = |place: &'static str| {
        let system = &system;
        async move {
            let of_place = bindings(system).await.into_iter().filter(|binding| binding.namespace == place);
            of_place.flat_map(|binding| binding.subjects).count()
        }
    };
    let until_in = |place: &'static str, n: usize| {
        let (in_place, system) = (&in_place, &system);
        async move {
            let so = until(Duration::from_secs(30), || async { in_place(place).await == n });
            assert!(
                so.await.is_ok(),
                "{place}: {} and not {n}\n{}",
                in_place(place).await,
                system.explain()
            );
        }
    };
    // An edit of a mapping; a namespace's label; both approved there.
    system.namespace("edits-a", json!({})).await;
    system.namespace("edits-b", json!({"edits": "yes"})).await;
    system.namespace("edits-c", json!({})).await;
    system.apply(&system.mapping("RoleMapping", Some("edits-a"), "m", view("edits-okta", "devs")));
    let selected = json!({"sources": ["edits-okta"], "groups": {"names": ["devs"]}, "grants": [
        {"roleRef": {"kind": "ClusterRole", "name": "view"}, "namespaces": {"selector": {"matchLabels": {"edits": "yes"}}}}]});
    system.apply(&system.mapping("ClusterRoleMapping", None, "edits", selected));
    system.apply(&system.mapping("RoleMapping", Some("edits-c"), "m", view("edits-entra", "ops")));
    for place in ["edits-a", "edits-b", "edits-c"] {
        until_in(place, 15).await;
    }
    tokio::time::sleep(Duration::from_millis(1500)).await; // outcomes are recorded
    system
        .merge("rolemapping", Some("edits-a"), "m", &json!({"groups": {"names": ["nobody"]}}))
        .expect_ok();
    system.cluster.kubectl(&["label", "namespace", "edits-b", "edits-"]).expect_ok();
    for (kind, namespace, name, place) in [
        ("rolemapping", Some("edits-a"), "m", "edits-a"),
        ("clusterrolemapping", None, "edits", "edits-b"),
    ] {
        let status = until_held(&system, kind, namespace, name, 5).await;
        until_in(place, 5).await;
        approve(&system, kind, namespace, name, status["heldIndex"].as_i64().expect("a record"));
        until_in(place, 0).await;
        until_held(&system, kind, namespace, name, 0).await;
    }
    // A source deleted: what waits is approved on the mapping.
    system.cluster.kubectl(&["delete", "scimsource", "edits-entra"]).expect_ok();
    let status = until_held(&system, "rolemapping", Some("edits-c"), "m", 5).await;
    until_in("edits-c", 5).await;
    approve(
        &system,
        "rolemapping",
        Some("edits-c"),
        "m",
        status["heldIndex"].as_i64().expect("a record"),
    );
    until_in("edits-c", 0).await;

    // The mapping is deleted: that was said in so many words, and waits for nobody.
    system
        .merge("rolemapping", Some("edits-a"), "m", &json!({"groups": {"names": ["devs"]}}))
        .expect_ok();
    until_in("edits-a", 15).await;
    system.cluster.kubectl(&["delete", "-n", "edits-a", "rolemapping", "m"]).expect_ok();
    until_in("edits-a", 0).await;

    // A provider that disables many: they leave at once, and it is told.
    system.apply(&system.mapping("RoleMapping", Some("edits-a"), "n", view("edits-okta", "devs")));
    until_in("edits-a", 15).await;
    let limits = json!({"limits": {"removalsPerHour": 3, "removalPercent": 10}});
    system.merge("scimsource", None, "edits-okta", &limits).expect_ok();
    for person in &people[..6] {
        okta.active(person, false).await;
    }
    until_in("edits-a", 9).await;
    system
        .until_condition("scimsource", None, "edits-okta", "MassDeprovision", "True", "ManyPeople")
        .await;
    drop(group);
}

/// With the role in the list its `bind` goes as well, so that Kubernetes lets no binding of it shrink: it goes as a whole, or, while somebody's removal in it
/// is held, not yet.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_access_policy_that_shrinks_takes_no_more_than_the_limit_before_somebody_approves() {
    let cluster = Cluster::shared();
    let with = |roles: &str| Install::new("lessened").value(&format!("accessPolicy.clusterRoles={roles}"));
    let system = System::with(cluster, with(r#"["view","edit"]"#)).await;
    let _controller = system.controller();
    let gateway = system.gateway().await;
    let okta = system.source(&gateway.url, "lessened-okta").await;
    let people = seed(&system, "lessened-okta", 15).await;
    okta.group("devs", &people.iter().map(String::as_str).collect::<Vec<_>>()).await;
    system.namespace("lessened-a", json!({})).await;
    // two mappings: who keeps something of the same one has lost nothing that counts
    for (name, role) in [("m", "edit"), ("n", "view")] {
        let grants = json!([{"roleRef": {"kind": "ClusterRole", "name": role}}]);
        let spec = json!({"sources": ["lessened-okta"], "groups": {"names": ["devs"]}, "grants": grants});
        system.apply(&system.mapping("RoleMapping", Some("lessened-a"), name, spec));
    }
    until_subjects(&system, 15).await;
    let holds = |role: &'static str| {
        let system = &system;
        async move {
            let all = bindings(system)
                .await
                .into_iter()
                .filter(|b| b.namespace == "lessened-a" && b.role == role);
            all.flat_map(|b| b.subjects).count()
        }
    };
    let granted = until(Duration::from_secs(30), || async {
        holds("view").await == 15 && holds("edit").await == 15
    });
    assert!(granted.await.is_ok(), "{}", system.explain());
    tokio::time::sleep(Duration::from_millis(1500)).await; // outcomes are recorded

    with(r#"["view"]"#).put(cluster).await;
    let status = until_held(&system, "rolemapping", Some("lessened-a"), "m", 5).await;
    assert!(status["conditions"].to_string().contains("RoleNotAllowed"), "{status:#}");
    tokio::time::sleep(Duration::from_secs(3)).await;
    let left = holds("edit").await;
    assert!(left >= 5, "{left} of 15 are left, and 5 are held");
    approve(
        &system,
        "rolemapping",
        Some("lessened-a"),
        "m",
        status["heldIndex"].as_i64().expect("a record"),
    );
    let gone = until(Duration::from_secs(60), || async { holds("edit").await == 0 });
    assert!(gone.await.is_ok(), "{} are left\n{}", holds("edit").await, system.explain());
    assert_eq!(holds("view").await, 15, "what is allowed still stays");
}
