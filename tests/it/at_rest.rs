//! At rest nothing is written, a restart loses nothing and writes nothing, and every write of a binding has its records.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Value, json};

use crate::cluster::{Cluster, Written};
use crate::kit::{Record, Version, Versions, bindings, records, until_led, until_other_term};
use crate::system::{Provider, System, until};

/// What our two processes wrote since then, without renewals of the Lease and dry runs; refused writes are among them.
pub fn written(system: &System<'_>, since: jiff::Timestamp) -> Vec<Written> {
    let prefix = format!(
        "system:serviceaccount:{}:{}-",
        system.installed.namespace, system.installed.fullname
    );
    let reviews = [
        "subjectaccessreviews",
        "selfsubjectaccessreviews",
        "selfsubjectreviews",
        "tokenreviews",
    ];
    let all = system
        .cluster
        .audit(since)
        .into_iter()
        .filter(|w| w.user.starts_with(&prefix) && !w.dry_run);
    all.filter(|w| w.resource != "leases" && !reviews.contains(&w.resource.as_str()))
        .collect()
}

fn hour(time: jiff::Timestamp) -> i64 {
    time.as_second() / 3600
}

/// Waits until nothing was written for some seconds: outcomes are recorded, statuses are up to date, garbage is gone.
pub async fn comes_to_rest(system: &System<'_>) {
    let quiet = until(Duration::from_secs(60), || async {
        let since = jiff::Timestamp::now();
        tokio::time::sleep(Duration::from_secs(5)).await;
        written(system, since).is_empty()
    });
    assert!(quiet.await.is_ok(), "it does not come to rest\n{}", system.explain());
}

/// A busy minute in short: people come, go, are disabled, renamed and deleted, roles and namespaces change.
/// The UID of the binding that was deleted by hand.
async fn busy(system: &System<'_>, okta: &Provider, name: &str) -> String {
    let source = format!("{name}-okta");
    let mapping = |role: &str| {
        system.mapping(
            "ClusterRoleMapping",
            None,
            name,
            json!({"sources": [source], "groups": {"names": ["Backend"]}, "grants": [
                {"roleRef": {"kind": "ClusterRole", "name": role}, "namespaces": {"selector": {"matchLabels": {"rest": name}}}},
            ]}),
        )
    };
    system.apply(&mapping("view"));
    let mut people = Vec::new();
    for n in 0..6 {
        people.push(okta.user(&format!("user-{n}@corp.example")).await);
    }
    let all: Vec<&str> = people.iter().map(String::as_str).collect();
    let group = okta.group("Backend", &all[..3]).await;
    let place = format!("{name}-a");
    for n in 0..3 {
        system.until_may(&format!("oidc:user-{n}@corp.example"), "list", &place, true).await;
    }
    okta.add(&group, all[3]).await;
    okta.active(all[0], false).await;
    okta.remove(&group, all[1]).await;
    okta.patch(
        &format!("/Users/{}", all[2]),
        json!([{"op": "replace", "path": "userName", "value": "renamed@corp.example"}]),
    )
    .await;
    for (user, allowed) in [
        ("user-0", false),
        ("user-1", false),
        ("user-2", false),
        ("renamed", true),
        ("user-3", true),
    ] {
        system
            .until_may(&format!("oidc:{user}@corp.example"), "list", &place, allowed)
            .await;
    }
    system.apply(&mapping("edit"));
    system.until_may("oidc:user-3@corp.example", "delete", &place, true).await;
    system
        .cluster
        .kubectl(&["label", "namespace", &format!("{name}-b"), "rest-"])
        .expect_ok();
    system
        .until_may("oidc:user-3@corp.example", "list", &format!("{name}-b"), false)
        .await;
    // Somebody meddles with a binding of ours.
    let one = bindings(system)
        .await
        .into_iter()
        .find(|b| b.namespace == place && b.holds("oidc:user-3@corp.example"))
        .expect("a binding");
    system
        .cluster
        .kubectl(&["delete", "rolebinding", "-n", &place, &one.name])
        .expect_ok();
    okta.delete(&format!("/Users/{}", all[2])).await;
    system.until_may("oidc:renamed@corp.example", "list", &place, false).await;
    system.until_may("oidc:user-3@corp.example", "delete", &place, true).await;
    okta.add(&group, all[4]).await;
    okta.add(&group, all[5]).await;
    system.until_may("oidc:user-5@corp.example", "delete", &place, true).await;
    one.uid
}

async fn scene<'a>(name: &str) -> System<'a> {
    let system = System::install(Cluster::shared(), name).await;
    for place in ["a", "b"] {
        system.namespace(&format!("{name}-{place}"), json!({"rest": name})).await;
    }
    system
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_rest_and_over_restarts_nothing_is_written() {
    let system = scene("rest").await;
    // looking around is part of it: it writes nothing when nothing is new
    let controller = system.controller_with(&["--survey-interval=1s"], None);
    let gateway = system.gateway_with(&["--public-url=https://rolecall.example"], None).await;
    let okta = system.source(&gateway.url, "rest-okta").await;
    busy(&system, &okta, "rest").await;
    for n in 0..30 {
        okta.user(&format!("more-{n}@corp.example")).await; // the tail is sealed, and there is garbage
    }
    comes_to_rest(&system).await;

    let since = jiff::Timestamp::now();
    tokio::time::sleep(Duration::from_secs(30)).await;
    let some = written(&system, since);
    assert!(
        some.is_empty(),
        "at rest there were {} writes: {some:#?}\n{:#}\n{}",
        some.len(),
        system.status("clusterrolemapping", None, "rest"),
        system.explain()
    );
    let renewals = system
        .cluster
        .audit(since)
        .into_iter()
        .filter(|w| w.resource == "leases" && w.namespace == "rest")
        .count();
    assert!(renewals > 10, "somebody leads: {renewals}");
    println!("at rest: 0 writes in 30 s but {renewals} renewals of the Lease");

    // Restarts: in an orderly way, and by kill -9.
    let subjects = |all: Vec<Version>| {
        all.into_iter()
            .map(|b| (b.namespace, b.name, b.uid, b.subjects))
            .collect::<BTreeSet<_>>()
    };
    let (before, people) = (
        subjects(bindings(&system).await),
        okta.send("GET", "/Users?count=100", None, &[200]).await,
    );
    let (mut gateway, mut controller) = (gateway, controller);
    for signal in ["TERM", "KILL"] {
        // in its first minute an hour is new to whatever was used in the last one
        let since = jiff::Timestamp::now();
        let before_hour = since.checked_sub(Duration::from_secs(60)).unwrap_or(since);
        gateway.signal(signal);
        assert!(gateway.ended(Duration::from_secs(10)), "{}", gateway.log());
        gateway = system.gateway_with(&["--public-url=https://rolecall.example"], None).await;
        let okta = okta.at(&gateway);
        assert_eq!(okta.send("GET", "/Users?count=100", None, &[200]).await, people, "nothing is lost");
        tokio::time::sleep(Duration::from_secs(2)).await;
        let mut some = written(&system, since);
        if hour(before_hour) != hour(jiff::Timestamp::now()) {
            some.clear(); // a token used in a new hour is told
        }
        assert!(some.is_empty(), "SIG{signal} and a start of the gateway: {some:#?}");

        let since = jiff::Timestamp::now();
        let term = until_led(&system).await;
        controller.signal(signal);
        assert!(controller.ended(Duration::from_secs(10)), "{}", controller.log());
        controller = system.controller_with(&["--survey-interval=1s"], None);
        until_other_term(&system, &term).await;
        comes_to_rest(&system).await; // at least 5 s: past the delay after which absence counts
        assert_eq!(subjects(bindings(&system).await), before, "nothing is lost");
        let some = written(&system, since);
        // A new term says so in the access journal: who led before can append nothing any more. That is all, and where
        // it is what fills the tail, it seals it: at most two segments, and those that they replace are garbage.
        let (began, others): (Vec<Written>, Vec<Written>) = some.into_iter().partition(|w| w.resource == "journals" && w.name == "access");
        let (sealed, others): (Vec<Written>, Vec<Written>) = others
            .into_iter()
            .partition(|w| w.resource == "segments" && w.name.starts_with("access-"));
        let created = sealed.iter().filter(|w| w.verb == "create").count();
        assert!(others.is_empty(), "SIG{signal} and a start of the controller: {others:#?}");
        assert!(
            began.len() <= 1 && created <= 2 * began.len(),
            "SIG{signal} and a start of the controller: {began:#?}, {sealed:#?}"
        );
        assert!(
            created > 0 || sealed.is_empty(),
            "SIG{signal} and a start of the controller: {sealed:#?}"
        );
    }
    // And it still works.
    let okta = okta.at(&gateway);
    let last = okta.user("last@corp.example").await;
    let groups = okta.send("GET", "/Groups", None, &[200]).await;
    okta.add(groups["Resources"][0]["id"].as_str().expect("an id"), &last).await;
    system.until_may("oidc:last@corp.example", "delete", "rest-a", true).await;
}

/// What the access journal says of one binding.
#[derive(Default)]
struct Said {
    /// Intents by `<index>/<n>`, with the users that they add.
    intents: BTreeMap<String, BTreeSet<String>>,
    /// Removals in order: the users, and whether the binding went as a whole.
    removed: Vec<(BTreeSet<String>, bool)>,
}

fn names(list: &Value) -> BTreeSet<String> {
    let name = |v: &Value| v.as_str().or_else(|| v["username"].as_str()).unwrap_or_default().to_owned();
    list.as_array().into_iter().flatten().map(name).collect()
}

fn said(access: &[Record]) -> BTreeMap<(String, String), Said> {
    let mut all: BTreeMap<(String, String), Said> = BTreeMap::new();
    for record in access {
        let event = &record.event;
        let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
        let key = (text(&event["binding"]["namespace"]), text(&event["binding"]["name"]));
        match event["e"].as_str() {
            Some("intent") => {
                let op = format!("{}/{}", record.index, record.ordinal);
                all.entry(key).or_default().intents.insert(op, names(&event["adds"]));
            }
            Some("removed") => {
                assert!(
                    event["why"].as_array().is_some_and(|why| !why.is_empty()),
                    "a removal without a cause: {event}"
                );
                all.entry(key)
                    .or_default()
                    .removed
                    .push((names(&event["usernames"]), event["whole"] == true));
            }
            _ => {}
        }
    }
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_write_of_a_binding_has_its_records() {
    let system = scene("recorded").await;
    let since = jiff::Timestamp::now();
    let versions = Versions::of(&system).await;
    let mut controller = system.controller();
    let gateway = system.gateway().await;
    let okta = system.source(&gateway.url, "recorded-okta").await;
    let by_hand = busy(&system, &okta, "recorded").await;
    // A crash in between: what was under way is settled after the start.
    let group = okta.send("GET", "/Groups", None, &[200]).await["Resources"][0]["id"]
        .as_str()
        .expect("an id")
        .to_owned();
    for n in 0..10 {
        let person = okta.user(&format!("crash-{n}@corp.example")).await;
        okta.add(&group, &person).await;
        if n == 5 {
            controller.signal("KILL");
            assert!(controller.ended(Duration::from_secs(5)));
            okta.active(&person, false).await;
            controller = system.controller_with(&["--survey-interval=1s"], None);
        }
    }
    system.until_may("oidc:crash-9@corp.example", "delete", "recorded-a", true).await;
    system.until_may("oidc:crash-5@corp.example", "delete", "recorded-a", false).await;
    comes_to_rest(&system).await;
    drop(controller);

    let access = records(&system.admin, &system.installed.namespace, "access").await;
    let mut said = said(&access);
    let mut last: BTreeMap<(String, String), BTreeSet<String>> = BTreeMap::new();
    let (mut checked, mut wrong) = (0, Vec::new());
    for version in versions.seen() {
        checked += 1;
        let key = (version.namespace.clone(), version.name.clone());
        let before = last
            .insert(
                key.clone(),
                if version.deleted {
                    BTreeSet::new()
                } else {
                    version.subjects.clone()
                },
            )
            .unwrap_or_default();
        let said = said.entry(key).or_default();
        let after = if version.deleted {
            BTreeSet::new()
        } else {
            version.subjects.clone()
        };
        // What it adds, its own intent adds.
        let added: BTreeSet<&String> = after.difference(&before).collect();
        let intended = version.op.as_ref().and_then(|op| said.intents.get(op));
        match intended {
            None if !version.deleted => wrong.push(format!("its op names no intent: {version:?}")),
            Some(adds) if !added.iter().all(|user| adds.contains(*user)) => {
                wrong.push(format!("it adds more than its intent {adds:?}: {version:?}"))
            }
            _ => {}
        }
        // What it lacks, a record says is removed: each record is used once.
        let lacks = if version.deleted && version.uid == by_hand {
            BTreeSet::new()
        } else {
            before
        };
        for user in lacks.difference(&after) {
            let at = said
                .removed
                .iter()
                .position(|(users, whole)| users.contains(user) || (*whole && version.deleted));
            match at {
                Some(at) => drop(said.removed[at].0.remove(user)),
                None => wrong.push(format!("no record says that {user} was removed: {version:?}")),
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {checked} versions are wrong: {wrong:#?}\n{access:#?}",
        wrong.len()
    );
    // The watch has seen what the audit log has. What was in flight at the kill may stand without a good answer.
    let audited = || {
        let all = system.cluster.audit(since).into_iter();
        let ours = all.filter(|w| w.resource == "rolebindings" && w.namespace.starts_with("recorded-") && !w.dry_run);
        ours.partition::<Vec<Written>, _>(|w| w.code < 300)
    };
    let agree = || {
        let (good, other) = audited();
        let unanswered = other.iter().filter(|w| w.code >= 499).count();
        (good.len()..=good.len() + unanswered).contains(&checked)
    };
    let _ = until(Duration::from_secs(5), || async { agree() }).await;
    assert!(agree(), "{checked} versions were seen: {:#?}\n{:#?}", audited(), versions.seen());
    println!("every write of a binding has its records: {checked} of {checked}");
}
