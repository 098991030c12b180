//! Tests of the proxy itself, with a client of the product's kind behind it.

use std::pin::pin;
use std::time::{Duration, Instant};

use futures::StreamExt;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{PostParams, WatchEvent, WatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use serde_json::json;
use tokio::time::timeout;

use super::{Action, Proxy};
use crate::cluster::Cluster;

const SECOND: Duration = Duration::from_secs(1);

struct Behind {
    proxy: Proxy,
    near: Api<ConfigMap>,
    far: Api<ConfigMap>,
}

async fn behind(name: &str) -> Behind {
    let cluster = Cluster::shared();
    cluster.kubectl(&["create", "namespace", name]).expect_ok();
    cluster.kubectl(&["create", "serviceaccount", "prober", "-n", name]).expect_ok();
    cluster
        .kubectl(&[
            "create",
            "rolebinding",
            "prober",
            "-n",
            name,
            "--clusterrole=admin",
            &format!("--serviceaccount={name}:prober"),
        ])
        .expect_ok();
    let proxy = Proxy::before(cluster).await;
    let file = proxy.kubeconfig(cluster, name, &cluster.token(name, "prober").await);
    let file = Kubeconfig::read_from(file).expect("a kubeconfig");
    let config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default())
        .await
        .expect("a configuration");
    let near = rolecall::ops::client::from_config(config, &Default::default()).expect("a client");
    let far = cluster.admin().await;
    let of = |client: Client| Api::namespaced(client, name);
    Behind {
        proxy,
        near: of(near),
        far: of(far),
    }
}

fn map(name: &str) -> ConfigMap {
    serde_json::from_value(json!({"metadata": {"name": name}, "data": {"key": name}})).expect("a map")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_held_write_is_sent_later_though_nobody_waits() {
    let b = behind("proxy-hold").await;
    let rule = b
        .proxy
        .rule(Action::Hold, |asked| asked.is("POST", "/configmaps") && asked.says("held"));
    let post = PostParams::default();
    let waits = (0..20).map(|n| {
        let near = b.near.clone();
        let post = &post;
        async move { timeout(SECOND / 2, near.create(post, &map(&format!("held-{n}")))).await.is_err() }
    });
    let gave_up = futures::future::join_all(waits).await;
    assert!(gave_up.iter().all(|g| *g), "the client gave up: {gave_up:?}");
    b.near.create(&post, &map("other")).await.expect("another one passes");
    assert_eq!(
        b.far
            .list(&Default::default())
            .await
            .expect("a list")
            .items
            .iter()
            .filter(|m| m.data.is_some())
            .count(),
        2,
        "other, and kube-root-ca.crt"
    );
    let sent = rule.released(5 * SECOND).await;
    assert_eq!(sent.iter().filter(|p| p.status == Some(201)).count(), 20, "{sent:?}");
    assert!(b.far.get_opt("held-19").await.expect("an answer").is_some());
    b.near.create(&post, &map("held-later")).await.expect("it holds nothing more");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_are_lost_and_writes_are_refused_or_cut() {
    let b = behind("proxy-lose").await;
    let post = PostParams::default();
    let rule = b.proxy.rule_for(1, Action::DropReply, |asked| asked.is("POST", "/configmaps"));
    let answer = b.near.create(&post, &map("lost")).await;
    assert!(
        !matches!(answer, Ok(_) | Err(kube::Error::Api(_))),
        "no definite answer: {answer:?}"
    );
    assert!(b.far.get_opt("lost").await.expect("an answer").is_some(), "and yet it was done");
    assert_eq!(rule.taken()[0].status, Some(201));

    let refused = b.proxy.rule(Action::Refuse(422, "'x-fence' denied request".to_owned()), |asked| {
        asked.is("PUT", "/configmaps/lost")
    });
    match b.near.replace("lost", &post, &map("lost")).await {
        Err(kube::Error::Api(status)) => assert_eq!((status.code, status.message.as_str()), (422, "'x-fence' denied request")),
        other => panic!("{other:?}"),
    }
    drop(refused);
    b.near.replace("lost", &post, &map("lost")).await.expect("the rule is over");

    let cut = b.proxy.rule_for(1, Action::Cut, |asked| asked.is("POST", "/configmaps"));
    let answer = b.near.create(&post, &map("cut")).await;
    assert!(
        !matches!(answer, Ok(_) | Err(kube::Error::Api(_))),
        "no definite answer: {answer:?}"
    );
    assert_eq!((cut.taken().len(), cut.taken()[0].status), (1, None));
    assert!(b.far.get_opt("cut").await.expect("an answer").is_none(), "it was never sent");
    b.proxy.away(true);
    assert!(b.near.get_opt("cut").await.is_err(), "nobody gets through");
    b.proxy.away(false);
    assert!(b.near.get_opt("cut").await.expect("an answer").is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_streams_at_once_unless_it_is_stalled() {
    let b = behind("proxy-watch").await;
    let rule = b.proxy.rule(Action::Stall, super::Asked::watches);
    rule.stall(false);
    let mut events = pin!(b.near.watch(&WatchParams::default(), "0").await.expect("a watch"));
    let begun = Instant::now();
    b.far.create(&PostParams::default(), &map("first")).await.expect("a map");
    let mut until = async |name: &str, within: Duration| {
        let seen = async {
            while let Some(Ok(event)) = events.next().await {
                if matches!(&event, WatchEvent::Added(map) if map.metadata.name.as_deref() == Some(name)) {
                    return true;
                }
            }
            false
        };
        timeout(within, seen).await
    };
    assert_eq!(until("first", SECOND).await, Ok(true), "after {:?}", begun.elapsed());
    rule.stall(true);
    b.far.create(&PostParams::default(), &map("second")).await.expect("a map");
    assert!(until("second", SECOND / 2).await.is_err(), "it stands still");
    assert!(b.near.get_opt("second").await.expect("an answer").is_some(), "a GET passes");
    rule.stall(false);
    assert_eq!(until("second", SECOND).await, Ok(true));
    b.proxy.cut();
    assert!(!matches!(until("third", SECOND).await, Ok(true)), "the watch is cut");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_come_late_or_are_not_true_and_watches_expire() {
    let b = behind("proxy-belie").await;
    let post = PostParams::default();
    let belied = b.proxy.rule_for(1, Action::Belie(500), |asked| asked.is("POST", "/configmaps"));
    match b.near.create(&post, &map("belied")).await {
        Err(kube::Error::Api(status)) => assert_eq!(status.code, 500),
        other => panic!("{other:?}"),
    }
    assert!(b.far.get_opt("belied").await.expect("an answer").is_some(), "and yet it was done");
    assert_eq!(belied.taken()[0].status, Some(201));

    let _slow = b
        .proxy
        .rule_for(1, Action::Slow(SECOND / 4), |asked| asked.is("POST", "/configmaps"));
    let begun = Instant::now();
    b.near.create(&post, &map("slow")).await.expect("it is sent");
    assert!(begun.elapsed() >= SECOND / 4, "{:?}", begun.elapsed());
    let late = b
        .proxy
        .rule_for(1, Action::Late(2 * SECOND), |asked| asked.is("POST", "/configmaps"));
    assert!(timeout(SECOND, b.near.create(&post, &map("late"))).await.is_err(), "no answer yet");
    assert!(b.far.get_opt("late").await.expect("an answer").is_some(), "and yet it was done");
    assert_eq!(late.taken()[0].status, Some(201));
    assert!(b.proxy.last(|asked| asked.says("late")).is_some_and(|at| at > begun));

    let _expired = b.proxy.rule_for(1, Action::Expire, super::Asked::watches);
    let mut events = pin!(b.near.watch(&WatchParams::default(), "0").await.expect("a watch"));
    match events.next().await {
        Some(Ok(WatchEvent::Error(status))) => assert_eq!(status.code, 410),
        other => panic!("{other:?}"),
    }
    let refused = b.proxy.rule_for(1, Action::Refuse(429, "too many".to_owned()), |asked| {
        asked.is("POST", "/configmaps")
    });
    match b.near.create(&post, &map("refused")).await {
        Err(kube::Error::Api(status)) => assert_eq!((status.code, status.reason.as_str()), (429, "TooManyRequests")),
        other => panic!("{other:?}"),
    }
    assert_eq!(refused.taken().len(), 1);
}
