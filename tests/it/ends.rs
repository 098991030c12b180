//! Mappings, sources and namespaces that are deleted, while the controller runs and while it does not: what they gave goes, and nothing else.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rolecall::access::ledger::Ledger;
use rolecall::journal::load;
use rolecall::journal::store::Kubernetes;
use serde_json::{Value, json};

use crate::at_rest::{comes_to_rest, written};
use crate::cluster::Cluster;
use crate::kit::{Versions, bindings, denied_everywhere, records, until_everywhere};
use crate::system::{Process, Provider, System, until};

/// In which order: the controller runs, or it is down and starts afterwards.
const HOW: [&str; 2] = ["up", "down"];

fn user(name: &str) -> String {
    format!("oidc:{name}@corp.example")
}

/// An installation with both processes, and two namespaces that a mapping can select by the label `ends`.
async fn scene(name: &str) -> (System<'static>, Process, Process, Vec<String>) {
    let system = System::install(Cluster::shared(), name).await;
    let controller = system.controller();
    let gateway = system.gateway().await;
    let places = ["a", "b"].map(|place| format!("{name}-{place}")).to_vec();
    for place in &places {
        system.namespace(place, json!({"ends": name})).await;
    }
    (system, controller, gateway, places)
}

/// A user of that name, alone in a group of the same name; the ids.
async fn person(provider: &Provider, name: &str) -> (String, String) {
    let id = provider.user(&format!("{name}@corp.example")).await;
    let group = provider.group(name, &[&id]).await;
    (id, group)
}

/// Grants `view` to these groups: in its own namespace, or in those with the label.
fn mapping(system: &System<'_>, namespace: Option<&str>, name: &str, sources: &[&str], groups: &[&str], label: &str) -> Value {
    let role = json!({"kind": "ClusterRole", "name": "view"});
    let grant = match namespace {
        Some(_) => json!({"roleRef": role}),
        None => json!({"roleRef": role, "namespaces": {"selector": {"matchLabels": {"ends": label}}}}),
    };
    let spec = json!({"sources": sources, "groups": {"names": groups}, "grants": [grant]});
    let kind = if namespace.is_some() { "RoleMapping" } else { "ClusterRoleMapping" };
    system.mapping(kind, namespace, name, spec)
}

fn stop(mut controller: Process) {
    controller.signal("TERM");
    assert!(controller.ended(Duration::from_secs(10)), "{}", controller.log());
}

async fn events(system: &System<'_>, journal: &str) -> Vec<Value> {
    let all = records(&system.admin, &system.installed.namespace, journal).await;
    all.into_iter().map(|r| r.event).collect()
}

/// The causes by which the access journal says that the user lost something in that namespace.
fn causes(access: &[Value], user: &str, namespace: &str) -> BTreeSet<String> {
    let here = access
        .iter()
        .filter(|e| e["e"] == "removed" && e["binding"]["namespace"] == namespace);
    let reasons = here.flat_map(|e| e["why"].as_array().into_iter().flatten());
    let theirs = reasons.filter(|why| why["usernames"].as_array().is_some_and(|names| names.contains(&json!(user))));
    theirs
        .map(|why| why["why"]["cause"]["c"].as_str().unwrap_or_default().to_owned())
        .collect()
}

/// Waits until the access journal says of all of them that they lost something there by that cause; how many there are.
async fn until_recorded(system: &System<'_>, expected: &[(String, String)], cause: &str) -> usize {
    let missing = || async {
        let access = events(system, "access").await;
        let wrong = expected
            .iter()
            .filter(|(user, place)| !causes(&access, user, place).contains(cause));
        wrong.cloned().collect::<Vec<_>>()
    };
    let all = until(Duration::from_secs(10), || async { missing().await.is_empty() }).await;
    assert!(
        all.is_ok(),
        "not recorded as {cause}: {:?}\n{:#?}",
        missing().await,
        events(system, "access").await
    );
    expected.len()
}

/// What the access journal holds now.
async fn ledger(system: &System<'_>) -> Arc<Ledger> {
    let store = Arc::new(Kubernetes::new(system.admin.clone(), &system.installed.namespace, "access"));
    let snapshot = load(store, Ledger::default(), Vec::new()).await.expect("the access journal");
    Arc::clone(&snapshot.state)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_mapping_takes_along_what_it_gave() {
    let (system, mut controller, gateway, places) = scene("unmapped").await;
    let cluster = system.cluster;
    let okta = system.source(&gateway.url, "unmapped-okta").await;
    let source = ["unmapped-okta"];
    // Hand-made bindings, one of them with labels as ours have them.
    for (binding, labels) in [
        ("theirs", ""),
        (
            "theirs-labelled",
            "app.kubernetes.io/managed-by=rolecall,rolecall.dev/class=unmapped",
        ),
    ] {
        let create = [
            "create",
            "rolebinding",
            binding,
            "-n",
            &places[0],
            "--clusterrole=view",
            "--user=oidc:eve",
        ];
        cluster.kubectl(&create).expect_ok();
        for label in labels.split(',').filter(|l| !l.is_empty()) {
            cluster
                .kubectl(&["label", "rolebinding", binding, "-n", &places[0], label])
                .expect_ok();
        }
    }
    let foreign = || {
        let show = ["theirs", "theirs-labelled"].map(|binding| {
            let get = [
                "get",
                "rolebinding",
                binding,
                "-n",
                "unmapped-a",
                "-o",
                "jsonpath={.metadata.uid}/{.metadata.resourceVersion}",
            ];
            cluster.kubectl(&get).expect_ok()
        });
        show.to_vec()
    };
    let before = foreign();

    person(&okta, "stays").await;
    system.apply(&mapping(&system, None, "unmapped-stays", &source, &["stays"], "unmapped"));
    for how in HOW {
        for scope in ["narrow", "wide"] {
            person(&okta, &format!("{scope}-{how}")).await;
            let namespace = (scope == "narrow").then_some(places[0].as_str());
            let name = format!("unmapped-{scope}-{how}");
            system.apply(&mapping(
                &system,
                namespace,
                &name,
                &source,
                &[&format!("{scope}-{how}")],
                "unmapped",
            ));
        }
    }
    let narrow = &places[..1];
    for how in HOW {
        until_everywhere(&system, &user(&format!("narrow-{how}")), narrow, true).await;
        until_everywhere(&system, &user(&format!("wide-{how}")), &places, true).await;
    }
    until_everywhere(&system, &user("stays"), &places, true).await;
    let (versions, begun) = (Versions::of(&system).await, Instant::now());

    let mut gone = Vec::new();
    for how in HOW {
        let (narrow_user, wide_user) = (user(&format!("narrow-{how}")), user(&format!("wide-{how}")));
        let delete = || {
            let name = format!("unmapped-narrow-{how}");
            cluster.kubectl(&["delete", "rolemapping", &name, "-n", &places[0]]).expect_ok();
            cluster
                .kubectl(&["delete", "clusterrolemapping", &format!("unmapped-wide-{how}")])
                .expect_ok();
        };
        if how == "up" {
            delete();
        } else {
            stop(controller);
            delete();
            tokio::time::sleep(Duration::from_secs(1)).await;
            assert!(system.may(&wide_user, "list", &places[1]).await, "nobody is there to take it away");
            controller = system.controller();
        }
        until_everywhere(&system, &narrow_user, narrow, false).await;
        until_everywhere(&system, &wide_user, &places, false).await;
        gone.push((narrow_user, places[0].clone()));
        gone.extend(places.iter().map(|place| (wide_user.clone(), place.clone())));
        let recorded = until_recorded(&system, &gone, "mappingEnded").await;
        println!(
            "mapping deleted, controller {how}: {recorded} of {} accesses went, recorded with their cause",
            gone.len()
        );
    }
    let access = events(&system, "access").await;
    let ended: BTreeSet<String> = access
        .iter()
        .filter(|e| e["e"] == "mappingEnded")
        .map(|e| e["key"].to_string())
        .collect();
    assert_eq!(ended.len(), 4, "{ended:?}");
    let ledger = ledger(&system).await;
    assert_eq!(
        (ledger.mappings().count(), ledger.bindings().count()),
        (1, 2),
        "one mapping is left, with its two bindings"
    );
    // Everything else is as it was.
    assert_eq!(foreign(), before);
    assert!(system.may("oidc:eve", "list", &places[0]).await);
    until_everywhere(&system, &user("stays"), &places, true).await;
    let touched = versions
        .since(begun)
        .into_iter()
        .filter(|v| v.mapping.as_deref() == Some("ClusterRoleMapping/unmapped-stays"));
    assert_eq!(touched.count(), 0);
    println!("mapping deleted: 2 of 2 foreign bindings and 2 of 2 of another mapping are untouched");
    drop(controller);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_source_takes_along_what_its_people_had() {
    let (system, mut controller, gateway, places) = scene("unsourced").await;
    let cluster = system.cluster;
    let names = ["up", "down", "stays"].map(|how| format!("unsourced-{how}"));
    let mut providers = Vec::new();
    for name in &names {
        let provider = system.source(&gateway.url, name).await;
        person(&provider, name).await;
        providers.push(provider);
    }
    // One mapping of all three, so that people of several sources share its bindings; and one of each alone.
    let refs: Vec<&str> = names.iter().map(String::as_str).collect();
    system.apply(&mapping(&system, None, "unsourced-all", &refs, &refs, "unsourced"));
    for name in &refs {
        system.apply(&mapping(&system, Some(&places[0]), name, &[name], &[name], ""));
        until_everywhere(&system, &user(name), &places, true).await;
    }
    let create = [
        "create",
        "rolebinding",
        "theirs",
        "-n",
        &places[0],
        "--clusterrole=view",
        "--user=oidc:eve",
    ];
    cluster.kubectl(&create).expect_ok();

    let mut gone = Vec::new();
    for (how, name) in HOW.into_iter().zip(&names) {
        let delete = || cluster.kubectl(&["delete", "scimsource", name]).expect_ok();
        if how == "up" {
            delete();
        } else {
            stop(controller);
            delete();
            tokio::time::sleep(Duration::from_secs(1)).await;
            assert!(system.may(&user(name), "list", &places[1]).await, "nobody is there to take it away");
            controller = system.controller();
        }
        until_everywhere(&system, &user(name), &places, false).await;
        gone.extend(places.iter().map(|place| (user(name), place.clone())));
        let recorded = until_recorded(&system, &gone, "sourceEnded").await;
        let ended = |journal: Vec<Value>, field: &str| journal.iter().filter(|e| e["e"] == "sourceEnded" && e[field] == **name).count();
        let both = until(Duration::from_secs(10), || async {
            let (directory, access) = (events(&system, "directory").await, events(&system, "access").await);
            (ended(directory, "source"), ended(access, "name")) == (1, 1)
        });
        assert!(both.await.is_ok(), "both journals say once that it ended\n{}", system.explain());
        let message = system
            .until_condition("rolemapping", Some(&places[0]), name, "Ready", "False", "DependencyNotReady")
            .await;
        assert!(message.contains(name.as_str()), "{message}");
        println!(
            "source deleted, controller {how}: {recorded} of {} accesses went, recorded with their cause",
            gone.len()
        );
    }
    until_everywhere(&system, &user(&names[2]), &places, true).await;
    assert!(
        system.may("oidc:eve", "list", &places[0]).await,
        "a foreign binding is not ours to touch"
    );
    let held = bindings(&system).await.into_iter().filter(|b| !b.subjects.is_empty());
    assert!(
        held.into_iter().all(|b| b.subjects == BTreeSet::from([user(&names[2])])),
        "{}",
        system.explain()
    );

    // The same names start fresh: nobody is there, and whoever comes is another person.
    for (name, before) in names.iter().zip(&providers).take(2) {
        let secret = ["delete", "secret", &format!("{name}-token"), "-n", "unsourced"];
        cluster.kubectl(&secret).expect_ok();
        let provider = system.source(&gateway.url, name).await;
        let (status, _) = before.try_get("/Users").await.expect("an answer");
        assert_eq!(status, 401, "the old token is nothing any more");
        let users = provider.send("GET", "/Users", None, &[200]).await;
        assert_eq!(users["totalResults"], 0, "{users}");
        let denied = denied_everywhere(&system, &user(name), &places, Duration::from_secs(1)).await;
        assert_eq!(denied, 2);
        person(&provider, name).await;
        until_everywhere(&system, &user(name), &places, true).await;
    }
    println!("source deleted and made again: 2 of 2 start with nobody, and grant again");
    drop(controller);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_deleted_and_applied_again_at_once_goes_on() {
    let (system, mut controller, gateway, places) = scene("replaced").await;
    let cluster = system.cluster;
    let source = "replaced-okta";
    let okta = system.source(&gateway.url, source).await;
    let (ada, group) = person(&okta, "ada").await;
    system.apply(&mapping(&system, None, "replaced", &[source], &["ada"], "replaced"));
    until_everywhere(&system, &user("ada"), &places, true).await;
    let file = cluster.dir().join("replaced-source.json");
    let shown: Value = serde_json::from_str(&cluster.kubectl(&["get", "scimsource", source, "-o", "json"]).expect_ok()).expect("JSON");
    let object = json!({"apiVersion": shown["apiVersion"], "kind": "ScimSource", "metadata": {"name": source}, "spec": shown["spec"]});
    std::fs::write(&file, object.to_string()).expect("a file");
    let path = file.to_string_lossy().into_owned();
    let uid = || {
        cluster
            .kubectl(&["get", "scimsource", source, "-o", "jsonpath={.metadata.uid}"])
            .expect_ok()
    };
    let (versions, begun) = (Versions::of(&system).await, Instant::now());

    let mut uids = BTreeSet::from([uid()]);
    let times = 6;
    for n in 0..times {
        match n {
            // As `replace --force`, with a moment between.
            0..2 => {
                cluster.kubectl(&["delete", "scimsource", source]).expect_ok();
                tokio::time::sleep(Duration::from_millis(1500)).await;
                system.apply(&object);
            }
            5 => {
                stop(controller);
                cluster.kubectl(&["replace", "--force", "-f", &path]).expect_ok();
                controller = system.controller();
                tokio::time::sleep(Duration::from_secs(4)).await; // past the delay after which absence counts
            }
            _ => drop(cluster.kubectl(&["replace", "--force", "-f", &path]).expect_ok()),
        }
        uids.insert(uid());
        // It is served again, with everybody who was there.
        let there = until(Duration::from_secs(10), || async {
            okta.try_get(&format!("/Users/{ada}")).await.is_ok_and(|(status, _)| status == 200)
        });
        assert!(
            there.await.is_ok(),
            "replaced {n} times: the directory is gone\n{}",
            system.explain()
        );
        // What is written now is recorded under the new UID.
        let bob = okta.user(&format!("bob-{n}@corp.example")).await;
        okta.add(&group, &bob).await;
        until_everywhere(&system, &user(&format!("bob-{n}")), &places, true).await;
    }
    assert_eq!(uids.len(), times + 1, "each is another object");
    let lost = versions.since(begun).into_iter().filter(|v| !v.holds(&user("ada"))).count();
    assert_eq!(lost, 0, "a binding was without ada for a while: {:#?}", versions.since(begun));
    let directory = events(&system, "directory").await;
    let said = |kind: &str| directory.iter().filter(|e| e["e"] == kind).count();
    assert_eq!(
        (said("sourceEnded"), said("sourceSeen")),
        (0, times + 1),
        "the directory goes on, and records each UID"
    );
    let access = events(&system, "access").await;
    assert!(access.iter().all(|e| e["e"] != "removed" && e["e"] != "sourceEnded"), "{access:#?}");
    println!("source deleted and applied again: {times} of {times} times the directory and everybody's access went on");

    // And it is alive: who leaves, leaves; a deletion that stays counts.
    okta.active(&ada, false).await;
    until_everywhere(&system, &user("ada"), &places, false).await;
    cluster.kubectl(&["delete", "scimsource", source]).expect_ok();
    until_everywhere(&system, &user("bob-0"), &places, false).await;
    println!("source deleted for good afterwards: 2 of 2 accesses went");
    drop(controller);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_namespace_with_a_mapping_is_deleted() {
    let (system, mut controller, gateway, places) = scene("vanished").await;
    let cluster = system.cluster;
    let (here, other) = (&places[..1], &places[1..]);
    let okta = system.source(&gateway.url, "vanished-okta").await;
    person(&okta, "ada").await;
    person(&okta, "bob").await;
    let own = mapping(&system, Some(&places[0]), "vanished-own", &["vanished-okta"], &["ada"], "");
    system.apply(&own);
    system.apply(&mapping(&system, None, "vanished-wide", &["vanished-okta"], &["bob"], "vanished"));
    let granted = || async {
        until_everywhere(&system, &user("ada"), here, true).await;
        until_everywhere(&system, &user("bob"), &places, true).await;
    };
    granted().await;

    for (n, how) in ["down", "up"].into_iter().enumerate() {
        comes_to_rest(&system).await;
        let since = jiff::Timestamp::now();
        let delete = || cluster.kubectl(&["delete", "namespace", &places[0], "--timeout=60s"]);
        if how == "down" {
            stop(controller);
            delete().expect_ok();
            controller = system.controller();
        } else {
            delete().expect_ok();
        }
        // The ledger settles: nobody holds anything there, and the mapping has ended.
        let settled = until(Duration::from_secs(20), || async {
            let ledger = ledger(&system).await;
            let (there, open) = (
                ledger.bindings().filter(|(id, _)| id.namespace == places[0]).count(),
                ledger.open_intents().count(),
            );
            (there, open, ledger.mappings().count()) == (0, 0, 1)
        });
        assert!(
            settled.await.is_ok(),
            "the ledger does not settle\n{:#?}\n{}",
            events(&system, "access").await,
            system.explain()
        );
        let access = events(&system, "access").await;
        let ended: Vec<&Value> = access.iter().filter(|e| e["e"] == "mappingEnded").collect();
        assert_eq!(ended.len(), n + 1, "{ended:?}");
        assert_eq!(ended[n]["why"], "deleted with its namespace");
        let recorded = ["ada", "bob"]
            .iter()
            .filter(|who| !causes(&access, &user(who), &places[0]).is_empty())
            .count();
        assert_eq!(recorded, 2, "{access:#?}");
        // In a namespace that is going we touch nothing; nothing fails again and again; and then there is rest.
        comes_to_rest(&system).await;
        let touched: Vec<_> = written(&system, since).into_iter().filter(|w| w.namespace == places[0]).collect();
        assert!(touched.is_empty(), "{touched:#?}");
        let log = controller.log();
        let troubles: Vec<&str> = log.lines().filter(|line| line.contains("ERROR") || line.contains("WARN")).collect();
        assert!(troubles.is_empty(), "{troubles:#?}");
        until_everywhere(&system, &user("bob"), other, true).await;
        let status = system.status("clusterrolemapping", None, "vanished-wide");
        assert_eq!((&status["namespaces"], &status["bindings"]), (&json!(1), &json!(1)), "{status:#}");
        println!("namespace deleted, controller {how}: it ended, 2 of 2 accesses are recorded as gone, and all is at rest");

        // The same namespace and the same mapping again.
        system.namespace(&places[0], json!({"ends": "vanished"})).await;
        system.apply(&own);
        granted().await;
        println!("namespace made again, controller {how}: 2 of 2 are granted again");
    }
    drop(controller);
}
