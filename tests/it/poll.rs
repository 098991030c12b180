//! Directories that are polled, on a real API server: what they grant and take away, from push to poll and back, and a poller that wakes late.

mod world;

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rolecall::directory::Directory;
use serde_json::{Value, json};

use self::world::{Upstream, condition, directory, look_now, pass, passes, picture, polled, refused, until_condition, upstream_picture};
use crate::cluster::Cluster;
use crate::kit::{bindings, records};
use crate::system::{System, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_that_is_polled_grants_and_takes_away() {
    let name = "polls";
    let system = System::install(Cluster::shared(), name).await;
    let upstream = Upstream::start(&system).await;
    let _controller = system.controller();
    let _gateways = (upstream.gateway(&system, "one").await, upstream.gateway(&system, "two").await);
    system.namespace("polls-team", json!({})).await;
    let admin = &upstream.admin;
    refused(&system, &upstream.poll(name));
    let (ada, bob) = (admin.user("ada@polls").await, admin.user("bob@polls").await);
    let team = admin.group("team", &[&ada, &bob]).await;
    polled(&system, name, &upstream.poll(name));
    let spec = json!({
        "sources": [name], "groups": {"names": ["team"]},
        "grants": [{"roleRef": {"kind": "ClusterRole", "name": "view"}, "namespaces": {"names": ["polls-team"]}}],
    });
    system.apply(&system.mapping("ClusterRoleMapping", None, name, spec));
    for user in ["oidc:ada@polls", "oidc:bob@polls"] {
        system.until_may(user, "list", "polls-team", true).await;
    }

    // who leaves the group, and who is disabled
    admin.remove(&team, &ada).await;
    admin.active(&bob, false).await;
    look_now(&system, name);
    for user in ["oidc:ada@polls", "oidc:bob@polls"] {
        system.until_may(user, "list", "polls-team", false).await;
    }
    until_condition(&system, name, "Ready", "Succeeded").await;
    let status: Value = serde_json::from_str(&system.cluster.kubectl(&["get", "scimsource", name, "-o", "json"]).stdout).expect("JSON");
    let status = &status["status"];
    assert_eq!((&status["mode"], &status["url"]), (&json!("Poll"), &Value::Null), "{status}");
    assert_eq!(status["poll"]["lastOutcome"], json!("Complete"), "{status}");

    // 100 changes
    let (mut users, mut groups, mut dice) = (vec![ada, bob], vec![team], 7u64);
    let mut roll = |sides: usize| {
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from((dice >> 33) % sides as u64).expect("small")
    };
    for k in 0..100 {
        let (user, group) = (users[roll(users.len())].clone(), groups[roll(groups.len())].clone());
        match roll(6) {
            0 | 1 => users.push(admin.user(&format!("user{k}@polls")).await),
            2 => groups.push(admin.group(&format!("group{k}"), &[&user]).await),
            3 => admin.add(&group, &user).await,
            4 => admin.remove(&group, &user).await,
            _ if users.len() > 2 => {
                admin.delete(&format!("/Users/{user}")).await;
                users.retain(|one| *one != user);
            }
            _ => {}
        }
    }
    pass(&system, name).await;
    let (here, there) = (picture(&*directory(&system).await, name), upstream_picture(admin).await);
    assert_eq!(here, there);
    println!(
        "{} users and {} groups of {} and {} are equal after 100 changes",
        here.0.len(),
        here.1.len(),
        there.0.len(),
        there.1.len()
    );

    // the credential is for that host only, and what may not be reached is not asked
    let elsewhere = upstream.url.replace("localhost", "127.0.0.1");
    for (url, reason, says) in [
        (elsewhere.as_str(), "CredentialOfAnotherHost", "write it anew"),
        ("https://169.254.169.254/scim/v2", "BadURL", "no public address"),
    ] {
        let wrong = json!({"poll": {"scim": {"url": url}}});
        system.merge("scimsource", None, name, &wrong).expect_ok();
        let message = until_condition(&system, name, "Degraded", reason).await;
        assert!(message.contains(says), "{message}");
        assert_eq!(picture(&*directory(&system).await, name), there, "nobody lost anything by it");
    }
    // written anew, it may go there
    system
        .merge("scimsource", None, name, &json!({"poll": {"scim": {"url": elsewhere}}}))
        .expect_ok();
    until_condition(&system, name, "Degraded", "CredentialOfAnotherHost").await;
    let secret = format!("{name}-upstream");
    system
        .cluster
        .kubectl(&["annotate", "secret", &secret, "-n", &system.installed.namespace, "renewed=now"])
        .expect_ok();
    pass(&system, name).await;
    until_condition(&system, name, "Ready", "Succeeded").await;
    let gone = until(Duration::from_secs(20), || async {
        condition(&system, name, "Degraded").await.0 != "True"
    })
    .await;
    assert!(gone.is_ok(), "{:?}", condition(&system, name, "Degraded").await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_push_to_poll_and_back_not_one_binding_changes() {
    let name = "switches";
    let system = System::install(Cluster::shared(), name).await;
    let upstream = Upstream::start(&system).await;
    let _controller = system.controller();
    let gateway = upstream.gateway(&system, "one").await;
    let pushed = system.source(&gateway.url, name).await;
    // the same people, as each road tells them: one by the same externalId, the others by their names only
    let places: Vec<String> = (0..3).map(|k| format!("switches-{k}")).collect();
    for place in &places {
        system.namespace(place, json!({"switches": "yes"})).await;
    }
    for (provider, prefix) in [(&pushed, "push"), (&upstream.admin, "poll")] {
        let mut ids = Vec::new();
        for k in 0..30 {
            let external = if k % 2 == 0 { format!("same-{k}") } else { format!("{prefix}-{k}") };
            let body = json!({"userName": format!("user{k}@switches"), "externalId": external, "active": true});
            ids.push(crate::provider::id(&provider.send("POST", "/Users", Some(body), &[201]).await));
        }
        for team in 0..3 {
            let members: Vec<&str> = ids.iter().skip(team).step_by(2).map(String::as_str).collect();
            provider.group(&format!("team{team}"), &members).await;
        }
    }
    let spec = json!({
        "sources": [name], "groups": {"filter": "displayName sw \"team\""},
        "grants": [{"roleRef": {"kind": "ClusterRole", "name": "view"}, "namespaces": {"selector": {"matchLabels": {"switches": "yes"}}}}],
    });
    system.apply(&system.mapping("ClusterRoleMapping", None, name, spec));
    for place in &places {
        system.until_may("oidc:user29@switches", "list", place, true).await;
    }
    let shown =
        async || {
            let list = system.cluster.kubectl(&[
            "get", "rolebindings", "-A", "-l", "app.kubernetes.io/managed-by=rolecall", "-o",
            "jsonpath={range .items[*]}{.metadata.namespace}/{.metadata.name} {.metadata.uid} {.metadata.resourceVersion}{\"\\n\"}{end}",
        ]);
            let ours: Vec<String> = list
                .stdout
                .lines()
                .filter(|line| line.starts_with("switches-"))
                .map(str::to_owned)
                .collect();
            ours
        };
    let before = shown().await;
    assert_eq!(before.len(), 3);
    let ids = |directory: &Directory| -> BTreeMap<String, uuid::Uuid> {
        let source = directory.source(name).expect("the source");
        source.users().map(|user| (user.name.to_string(), user.id)).collect()
    };
    let people = ids(&*directory(&system).await);
    for road in ["poll", "push", "poll"] {
        match road {
            "poll" => {
                let passed = passes(&system, name).await;
                polled(&system, name, &upstream.poll(name));
                let next = until(Duration::from_secs(30), || async { passes(&system, name).await > passed }).await;
                assert!(next.is_ok(), "no pass\n{}", system.explain());
            }
            _ => {
                let tokens = json!([{"name": "first", "secretKeyRef": {"name": format!("{name}-token"), "key": "token"}}]);
                let source = json!({
                    "apiVersion": "rolecall.dev/v1alpha1", "kind": "ScimSource", "metadata": {"name": name},
                    "spec": {"class": system.installed.class, "push": {"tokens": tokens}, "subject": {"username": "'oidc:' + user.userName"}},
                });
                system.apply(&source);
                let served = until(Duration::from_secs(20), || async {
                    pushed.try_get("/Users?count=0").await.is_ok_and(|(status, _)| status == 200)
                });
                assert!(served.await.is_ok(), "push is not served again");
                // the provider goes on with what it had, and says everybody once more
                for k in 0..30 {
                    let found = pushed
                        .send(
                            "GET",
                            &format!("/Users?filter=userName%20eq%20%22user{k}@switches%22"),
                            None,
                            &[200],
                        )
                        .await;
                    let user = &found["Resources"][0];
                    let body = json!({"userName": user["userName"], "externalId": format!("push-{k}"), "active": true});
                    pushed
                        .send(
                            "PUT",
                            &format!("/Users/{}", user["id"].as_str().expect("an id")),
                            Some(body),
                            &[200],
                        )
                        .await;
                }
            }
        }
        tokio::time::sleep(Duration::from_secs(1)).await; // what was wrong would be written by now
        assert_eq!(ids(&*directory(&system).await), people, "{road}");
        assert_eq!(shown().await, before, "{road}");
    }
    println!(
        "{} of {} bindings are what they were, after poll, push and poll",
        before.len(),
        before.len()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_poller_that_wakes_late_brings_nobody_back() {
    let rounds: usize = std::env::var("ROLECALL_POLL_ROUNDS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(3);
    let name = "sleepers";
    let system = System::install(Cluster::shared(), name).await;
    let upstream = Upstream::start(&system).await;
    let _controller = system.controller();
    let gateways = [upstream.gateway(&system, "one").await, upstream.gateway(&system, "two").await];
    system.namespace("sleepers-team", json!({})).await;
    let mut people = Vec::new();
    for k in 0..rounds {
        people.push(upstream.admin.user(&format!("user{k}@sleepers")).await);
    }
    let ids: Vec<&str> = people.iter().map(String::as_str).collect();
    let team = upstream.admin.group("team", &ids).await;
    polled(&system, name, &upstream.poll(name));
    let spec = json!({
        "sources": [name], "groups": {"names": ["team"]}, "limits": {"removalsPerHour": 1000},
        "grants": [{"roleRef": {"kind": "ClusterRole", "name": "view"}, "namespaces": {"names": ["sleepers-team"]}}],
    });
    system.apply(&system.mapping("ClusterRoleMapping", None, name, spec));
    let mut kept_out = 0;
    for (k, id) in people.iter().enumerate() {
        let user = format!("oidc:user{k}@sleepers");
        system.until_may(&user, "list", "sleepers-team", true).await;
        // a pass has the list of groups, with the member, and gets no further
        upstream.held.store(0, Ordering::SeqCst);
        upstream.hold.store(true, Ordering::SeqCst);
        look_now(&system, name);
        let held = until(Duration::from_secs(20), || async { upstream.held.load(Ordering::SeqCst) > 0 }).await;
        assert!(held.is_ok(), "round {k}: no pass\n{}", system.explain());
        let open = directory(&system)
            .await
            .source(name)
            .and_then(|source| source.poll().pass.clone())
            .expect("a pass");
        let sleeper = &gateways[usize::from(open.by.starts_with("gateway/two/"))];
        sleeper.signal("STOP");
        upstream.admin.remove(&team, id).await;
        upstream.hold.store(false, Ordering::SeqCst);
        system.until_may(&user, "list", "sleepers-team", false).await;
        let at = directory(&system)
            .await
            .source(name)
            .and_then(|source| source.poll().pass.clone())
            .expect("a pass");
        assert!(at.n > open.n && at.by != open.by, "round {k}: {open:?} {at:?}");
        sleeper.signal("CONT");
        tokio::time::sleep(Duration::from_millis(700)).await;
        let late = bindings(&system).await.into_iter().filter(|binding| binding.holds(&user)).count();
        kept_out += usize::from(late == 0 && !system.may(&user, "list", "sleepers-team").await);
        // nothing of the older pass stands after the newer one was opened
        let mut opened = 0;
        for record in records(&system.admin, &system.installed.namespace, "directory").await {
            if record.event["e"] == json!("passOpened") {
                opened = record.event["n"].as_i64().unwrap_or_default();
            }
            if let Some(of) = record.event["request"].as_str().and_then(|request| request.strip_prefix("poll/")) {
                assert_eq!(of.parse(), Ok(opened), "{record:?}");
            }
        }
    }
    println!("{kept_out} of {rounds} stay out");
    assert_eq!(kept_out, rounds);
}
