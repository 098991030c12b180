//! One source asks a hundred times as often as another: what the other one notices of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, interval_at};

use crate::provider::Provider;
use crate::report::{Report, part};

/// Requests a second of the source that asks too often, usually.
const USUAL: u64 = 5;
const TIMES: u64 = 100;
/// Requests a second of the one that is measured: enough for a p99 that is not the longest of all.
const PACE: u64 = 25;
/// How many of those are under way at once.
const LANES: u64 = 64;
const LASTS: Duration = Duration::from_secs(20);
/// What the clock of a busy machine adds to anything.
const NOISE: f64 = 10.0;

/// Measures one source alone, and beside the other.
pub async fn measure(report: &mut Report, one: &Provider, other: &Provider) {
    let user = one.user("entra-busy@corp.example").await;
    let alone = usual(one, &user).await;
    let stop = Arc::new(AtomicBool::new(false));
    let mut crowd = JoinSet::new();
    for lane in 0..LANES {
        crowd.spawn(crowded(other.clone(), lane, Arc::clone(&stop)));
    }
    let begun = Instant::now();
    let beside = usual(one, &user).await;
    let lasted = begun.elapsed();
    stop.store(true, Ordering::Relaxed);
    let answers: Vec<(u64, u64)> = crowd.join_all().await;
    let (good, late) = answers.iter().fold((0, 0), |(good, late), one| (good + one.0, late + one.1));
    let show = |times: &[f64]| format!("p50 {:.1} ms, p99 {:.1} ms", part(times, 50), part(times, 99));
    println!(
        "          entra at {PACE} a second alone: {}; beside okta at {:.0} a second ({late} answered 429 or 503): {}; ratio of p99 {:.2}",
        show(&alone),
        good as f64 / lasted.as_secs_f64(),
        show(&beside),
        part(&beside, 99) / part(&alone, 99),
    );
    let expected = LASTS.as_secs() * PACE;
    report.check(
        "each request of the one source is taken",
        alone.len() as u64 >= expected && beside.len() as u64 >= expected,
    );
    report.goal(
        &format!("its p99 does not double while another source asks {TIMES} times as often"),
        part(&beside, 99) < 2.0 * part(&alone, 99) + NOISE,
        "the sources share the appends of one journal, for which two gateways compete, and here two cores with etcd, the API server and the clients",
    );
}

/// Changes of one user at that pace; how long each took, in ms, in order of length. One that is not taken is not counted.
async fn usual(provider: &Provider, user: &str) -> Vec<f64> {
    let (mut pace, mut times) = (interval(Duration::from_millis(1_000 / PACE)), Vec::new());
    for k in 0..LASTS.as_secs() * PACE {
        pace.tick().await;
        let begun = Instant::now();
        let body = json!({
            "schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"],
            "Operations": [{"op": "replace", "path": "title", "value": format!("title {k} {}", uuid::Uuid::new_v4())}],
        });
        let answer = provider.try_send("PATCH", &format!("/Users/{user}"), Some(&body)).await;
        if answer.is_ok_and(|(status, _)| (200..300).contains(&status)) {
            times.push(begun.elapsed().as_secs_f64() * 1e3);
        }
    }
    times.sort_by(f64::total_cmp);
    times
}

/// One of those who ask so often; how many answers were good, and how many said to come later.
async fn crowded(provider: Provider, lane: u64, stop: Arc<AtomicBool>) -> (u64, u64) {
    let every = Duration::from_micros(1_000_000 * LANES / (USUAL * TIMES));
    // spread evenly: a source that asks often does not ask 64 times in one instant
    let mut pace = interval_at(
        tokio::time::Instant::now() + every * u32::try_from(lane).unwrap_or(0) / u32::try_from(LANES).unwrap_or(1),
        every,
    );
    pace.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let (mut good, mut late, mut k) = (0, 0, 0);
    while !stop.load(Ordering::Relaxed) {
        pace.tick().await;
        k += 1;
        let body = json!({"schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "userName": format!("crowd-{lane}-{k}@corp.example")});
        match provider.try_send("POST", "/Users", Some(&body)).await {
            Ok((200..=299, _)) => good += 1,
            Ok((429 | 503, _)) => late += 1,
            _ => {}
        }
    }
    (good, late)
}
