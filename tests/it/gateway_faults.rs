//! Gateways that die, race and lag: nothing acknowledged is lost, two of them have one history, and none answers by what it has not seen yet.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures::{StreamExt, stream};
use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::kit::{MACHINE, bindings, seed};
use crate::provider::id;
use crate::proxy::{Action, Proxy};
use crate::system::{Provider, System, until};

const USER: &str = "urn:ietf:params:scim:schemas:core:2.0:User";
const GROUP: &str = "urn:ietf:params:scim:schemas:core:2.0:Group";

fn user(name: &str) -> Value {
    json!({"schemas": [USER], "userName": name, "active": true})
}

fn grant(source: &str, group: &str) -> Value {
    json!({"sources": [source], "groups": {"names": [group]}, "grants": [{"roleRef": {"kind": "ClusterRole", "name": "view"}}]})
}

/// All users of a source, id by userName; a name that is there twice is an error.
async fn users(okta: &Provider) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    loop {
        let page = okta
            .send(
                "GET",
                &format!("/Users?startIndex={}&count=100&attributes=userName", all.len() + 1),
                None,
                &[200],
            )
            .await;
        let items = page["Resources"].as_array().cloned().unwrap_or_default();
        for item in &items {
            let name = item["userName"].as_str().unwrap_or_default().to_owned();
            assert!(all.insert(name.clone(), id(item)).is_none(), "{name} is there twice");
        }
        if items.is_empty() {
            assert_eq!(page["totalResults"], json!(all.len()));
            return all;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_acknowledged_write_is_missing_after_a_kill() {
    let _machine = MACHINE.read().await;
    let system = System::install(Cluster::shared(), "killed").await;
    let _controller = system.controller();
    let first = system.gateway().await;
    let okta = system.source(&first.url, "killed-okta").await;
    drop(first);
    let acknowledged: Arc<Mutex<BTreeMap<String, String>>> = Arc::default();
    for round in 0..3 {
        let mut gateway = system.gateway().await;
        let okta = okta.at(&gateway);
        let writers = (0..8).map(|writer| {
            let (okta, acknowledged) = (okta.clone(), Arc::clone(&acknowledged));
            tokio::spawn(async move {
                for n in 0.. {
                    let name = format!("user-{round}-{writer}-{n}@corp.example");
                    match okta.try_send("POST", "/Users", Some(&user(&name))).await {
                        Ok((201, answer)) => drop(acknowledged.lock().expect("no panic").insert(name, id(&answer))),
                        // not acknowledged: a slow API server, which a provider asks again
                        Ok((503, _)) => tokio::time::sleep(Duration::from_millis(50)).await,
                        Ok((status, answer)) => panic!("{name}: {status} {answer}"),
                        Err(_) => return,
                    }
                }
            })
        });
        let writers: Vec<_> = writers.collect();
        tokio::time::sleep(Duration::from_millis(700 + 150 * round)).await;
        gateway.signal("KILL");
        assert!(gateway.ended(Duration::from_secs(5)));
        for writer in writers {
            writer.await.expect("a writer");
        }
    }
    let gateway = system.gateway().await;
    let found = users(&okta.at(&gateway)).await;
    let acknowledged = acknowledged.lock().expect("no panic").clone();
    let there = acknowledged.iter().filter(|(name, id)| found.get(*name) == Some(id)).count();
    println!(
        "kill -9, three times: {there} of {} acknowledged users are there",
        acknowledged.len()
    );
    assert!(acknowledged.len() > 30, "the streams were streams: {}", acknowledged.len());
    assert_eq!(there, acknowledged.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_gateways_write_one_history() {
    let system = System::install(Cluster::shared(), "twins").await;
    let _controller = system.controller();
    let (one, two) = (system.gateway().await, system.gateway().await);
    let okta = system.source(&one.url, "twins-okta").await;
    let other = okta.at(&two);
    let ready = until(Duration::from_secs(10), || async {
        other.try_get("/Users?count=0").await.is_ok_and(|(status, _)| status == 200)
    });
    assert!(ready.await.is_ok(), "both serve the source");
    let races = stream::iter(0..200).map(|n| {
        let (okta, other) = (okta.clone(), other.clone());
        async move {
            // In one case of the name at one gateway, in another at the other: it is one name all the same.
            let (here, there) = (user(&format!("race-{n}@corp.example")), user(&format!("RACE-{n}@corp.example")));
            let (a, b) = tokio::join!(
                okta.try_send("POST", "/Users", Some(&here)),
                other.try_send("POST", "/Users", Some(&there))
            );
            let (a, b) = (a.expect("an answer"), b.expect("an answer"));
            let mut statuses = [a.0, b.0];
            statuses.sort_unstable();
            let refused = if a.0 == 409 { &a.1 } else { &b.1 };
            let created = if a.0 == 201 { &a.1 } else { &b.1 };
            if statuses == [201, 409] {
                assert_eq!(refused["scimType"], "uniqueness", "{refused}");
                // Whoever lost may look at once, at either gateway.
                for at in [&okta, &other] {
                    at.send("GET", &format!("/Users/{}", id(created)), None, &[200]).await;
                }
            }
            statuses
        }
    });
    let statuses: Vec<[u16; 2]> = races.buffer_unordered(16).collect().await;
    let right = statuses.iter().filter(|s| **s == [201, 409]).count();
    println!("one userName at two gateways: exactly one 201 in {right} of {}", statuses.len());
    assert_eq!(right, statuses.len(), "{statuses:?}");
    let (here, there) = (users(&okta).await, users(&other).await);
    assert_eq!(here.len(), 200);
    assert_eq!(here, there, "one history");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_lags_does_not_call_a_revocation_nothing_to_do() {
    let system = System::install(Cluster::shared(), "lags").await;
    let _controller = system.controller();
    let here = system.gateway().await;
    let proxy = Proxy::before(system.cluster).await;
    let watches = proxy.rule(Action::Stall, |asked| asked.watches() && asked.path.contains("/journals"));
    watches.stall(false);
    let lagging = system
        .gateway_with(
            &[],
            Some(&proxy.kubeconfig(system.cluster, "lags-gateway", &system.installed.gateway_token)),
        )
        .await;
    system.namespace("lags-a", json!({})).await;
    let okta = system.source(&here.url, "lags-okta").await;
    let late = okta.at(&lagging);
    let ready = until(Duration::from_secs(10), || async {
        late.try_get("/Users?count=0").await.is_ok_and(|(status, _)| status == 200)
    });
    assert!(ready.await.is_ok(), "both serve the source");
    let group = okta.group("Backend", &[]).await;
    system.apply(&system.mapping("RoleMapping", Some("lags-a"), "m", grant("lags-okta", "Backend")));
    watches.stall(true);
    let mut right = 0;
    for n in 0..20 {
        let name = format!("user-{n}@corp.example");
        let person = okta.user(&name).await;
        okta.add(&group, &person).await;
        system.until_may(&format!("oidc:{name}"), "list", "lags-a", true).await;
        match n % 4 {
            0 => late.remove(&group, &person).await,
            1 => late.active(&person, false).await,
            2 => late.delete(&format!("/Users/{person}")).await,
            _ => {
                let body = json!({"schemas": [GROUP], "displayName": "Backend", "members": []});
                late.send("PUT", &format!("/Groups/{group}"), Some(body), &[200]).await;
            }
        }
        system.until_may(&format!("oidc:{name}"), "list", "lags-a", false).await;
        right += 1;
    }
    assert!(!watches.taken().is_empty(), "the watch was stalled");
    println!("revoked at a gateway that had not seen the grant: {right} of 20");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_members_come_one_patch_each() {
    let system = System::install(Cluster::shared(), "patches").await;
    let _controller = system.controller();
    let gateway = system.gateway().await;
    system.namespace("patches-a", json!({})).await;
    let okta = system.source(&gateway.url, "patches-okta").await;
    let people = seed(&system, "patches-okta", 1000).await;
    let group = okta.group("Everybody", &[]).await;
    system.apply(&system.mapping("RoleMapping", Some("patches-a"), "m", grant("patches-okta", "Everybody")));
    let begun = Instant::now();
    stream::iter(&people)
        .map(|person| okta.add(&group, person))
        .buffer_unordered(16)
        .collect::<Vec<()>>()
        .await;
    let took = begun.elapsed();
    let answer = okta.send("GET", &format!("/Groups/{group}"), None, &[200]).await;
    let members: BTreeSet<&str> = answer["members"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|m| m["value"].as_str())
        .collect();
    println!("1,000 PATCHes, 16 in flight: {} of 1,000 members, {took:?}", members.len());
    assert_eq!(members.len(), 1000);
    let granted = until(Duration::from_secs(30), || async {
        let subjects: BTreeSet<String> = bindings(&system).await.into_iter().flat_map(|b| b.subjects).collect();
        subjects.len() == 1000
    });
    assert!(granted.await.is_ok(), "all thousand have access\n{}", system.explain());
    let sizes = || async { bindings(&system).await.iter().map(|b| b.subjects.len()).collect::<Vec<usize>>() };
    // A shard that was split goes when the new ones stand.
    let once = until(Duration::from_secs(10), || async { sizes().await.iter().sum::<usize>() == 1000 });
    let once = once.await.is_ok();
    let sizes = sizes().await;
    assert!(once && sizes.iter().all(|s| *s <= 500), "{sizes:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_of_200_000_is_put_beside_small_writes_and_shrinks_by_one_small_write() {
    const MANY: u32 = 200_000;
    let _machine = MACHINE.write().await;
    let system = System::install(Cluster::shared(), "large").await;
    let _controller = system.controller();
    let (one, two) = (system.gateway().await, system.gateway().await);
    system.namespace("large-a", json!({})).await;
    let okta = system.source(&one.url, "large-okta").await;
    let people = seed(&system, "large-okta", MANY).await;
    let other = okta.at(&two);
    let group = okta.group("Everybody", &[]).await;
    let ready = until(Duration::from_secs(20), || async {
        other
            .try_get(&format!("/Groups/{group}"))
            .await
            .is_ok_and(|(status, _)| status == 200)
    });
    assert!(ready.await.is_ok(), "both serve the source");

    // One PUT here, a stream of small writes there.
    let done = Arc::new(AtomicBool::new(false));
    let small = tokio::spawn({
        let (done, other) = (Arc::clone(&done), other.clone());
        async move {
            let (mut written, mut slowest) = (Vec::new(), Duration::ZERO);
            while !done.load(Ordering::SeqCst) {
                let begun = Instant::now();
                written.push(other.user(&format!("small-{}@corp.example", written.len())).await);
                slowest = slowest.max(begun.elapsed());
            }
            (written, slowest)
        }
    });
    let members: Vec<Value> = people.iter().map(|id| json!({"value": id})).collect();
    let body = json!({"schemas": [GROUP], "displayName": "Everybody", "members": members});
    let begun = Instant::now();
    okta.send("PUT", &format!("/Groups/{group}?excludedAttributes=members"), Some(body), &[200])
        .await;
    let put = begun.elapsed();
    done.store(true, Ordering::SeqCst);
    let (written, slowest) = small.await.expect("small writes");
    println!(
        "PUT of {MANY} members: {put:?}; beside it {} small writes, the slowest {slowest:?}",
        written.len()
    );
    assert!(!written.is_empty());
    for person in &written {
        okta.send("GET", &format!("/Users/{person}"), None, &[200]).await;
    }
    let answer = other.send("GET", &format!("/Groups/{group}"), None, &[200]).await;
    assert_eq!(answer["members"].as_array().map(Vec::len), Some(MANY as usize));

    system.apply(&system.mapping("RoleMapping", Some("large-a"), "m", grant("large-okta", "Everybody")));
    let begun = Instant::now();
    let granted = until(Duration::from_secs(300), || async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        bindings(&system).await.iter().map(|b| b.subjects.len()).sum::<usize>() == MANY as usize
    });
    assert!(granted.await.is_ok(), "all have access\n{}", system.explain());
    let shards = bindings(&system).await;
    println!("granted in {} bindings after {:?}", shards.len(), begun.elapsed());
    assert!(shards.iter().all(|b| b.subjects.len() <= 500));
    tokio::time::sleep(Duration::from_secs(2)).await; // outcomes are recorded

    let since = jiff::Timestamp::now();
    okta.remove(&group, &people[777]).await;
    let gone = system.until_may("oidc:user-777@corp.example", "list", "large-a", false).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let writes = system
        .cluster
        .audit(since)
        .into_iter()
        .filter(|w| w.resource == "rolebindings" && w.namespace == "large-a" && !w.dry_run);
    let writes: Vec<_> = writes.collect();
    assert_eq!(writes.len(), 1, "one small write: {writes:?}");
    assert_eq!((writes[0].verb.as_str(), writes[0].code), ("update", 200));
    let size = bindings(&system)
        .await
        .iter()
        .find(|b| b.name == writes[0].name)
        .map(|b| b.subjects.len());
    println!("one of {MANY} removed: one write of {size:?} subjects, denied after {gone:?}");
    assert!(size.is_some_and(|s| s < 400), "{size:?}");
    assert!(system.may("oidc:user-778@corp.example", "list", "large-a").await);
}
