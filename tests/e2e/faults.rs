//! What breaks while the provider pushes, one thing after another, and how soon it is well again. Each is a function; `all` is their order.

use std::time::{Duration, Instant};

use kube::ResourceExt;

use crate::cluster::Part;
use crate::release::{NAME, Release};
use crate::report::Report;
use crate::system::until;

/// The chart's Lease: who leads is known to be gone when it has run out, and others look at it every 2 s.
const LEASE: Duration = Duration::from_secs(15 + 4);
/// Who is asked to end gives the Lease back.
const HANDED_OVER: Duration = Duration::from_secs(5);

/// All of them, and then nothing until so much time has passed.
pub async fn all(release: &Release<'_>, report: &mut Report, lasts: Duration) {
    let begun = Instant::now();
    tokio::time::sleep(lasts / 10).await; // some load before anything breaks
    for part in ["gateway", "controller"] {
        each_pod_deleted(release, report, part).await;
    }
    leader_deleted(release, report).await;
    leader_killed(release, report).await;
    leader_paused(release, report).await;
    for part in [Part::ApiServer, Part::Etcd] {
        restarted(release, report, part).await;
    }
    tokio::time::sleep(lasts.saturating_sub(begun.elapsed())).await;
}

/// `kubectl delete pod`, one after another, as a drain would.
async fn each_pod_deleted(release: &Release<'_>, report: &mut Report, part: &str) {
    let begun = Instant::now();
    let mut replaced = true;
    for pod in release.pods(part).await {
        delete(release, &pod.name_any());
        replaced &= release.until_ready(part, 2).await.is_ok();
    }
    let what = format!(
        "each pod of the {part} is deleted, and replaced ({:.1} s)",
        begun.elapsed().as_secs_f64()
    );
    report.check(&what, replaced);
}

async fn leader_deleted(release: &Release<'_>, report: &mut Report) {
    let before = release.holder().await;
    delete(release, &release.leader().await.name_any());
    another_leads(release, report, &before, "kubectl delete pod", HANDED_OVER).await;
    both_ready(release, report, "controller").await;
}

/// The kubelet starts the process again.
async fn leader_killed(release: &Release<'_>, report: &mut Report) {
    let before = release.holder().await;
    release.node.signal(&release.leader().await, "KILL");
    another_leads(release, report, &before, "kill -9", LEASE).await;
    both_ready(release, report, "controller").await;
}

/// It goes on when another leads, and must not write any more: the watcher looks.
async fn leader_paused(release: &Release<'_>, report: &mut Report) {
    let before = release.holder().await;
    let pod = release.leader().await;
    release.node.signal(&pod, "STOP");
    another_leads(release, report, &before, "SIGSTOP", LEASE).await;
    release.node.signal(&pod, "CONT");
    both_ready(release, report, "controller").await;
}

/// `SIGTERM`, and a start once it has ended.
async fn restarted(release: &Release<'_>, report: &mut Report, part: Part) {
    let begun = Instant::now();
    release.node.cluster.stop(part);
    release.node.cluster.resume(part);
    let back = Instant::now();
    let mut ready = true;
    for part in ["gateway", "controller"] {
        ready &= release.until_ready(part, 2).await.is_ok();
    }
    let (away, after) = ((back - begun).as_secs_f64(), back.elapsed().as_secs_f64());
    report.check(
        &format!("{part:?} is away for {away:.1} s; all pods are ready {after:.1} s later"),
        ready,
    );
}

// === what they share ===

/// Without waiting for its end.
fn delete(release: &Release<'_>, pod: &str) {
    release
        .node
        .cluster
        .kubectl(&["delete", "pod", "-n", NAME, pod, "--wait=false"])
        .expect_ok();
}

async fn another_leads(release: &Release<'_>, report: &mut Report, before: &str, fault: &str, within: Duration) {
    let begun = Instant::now();
    let other = || async {
        let now = release.holder().await;
        !now.is_empty() && now != before
    };
    let led = until(Duration::from_secs(60), other).await.is_ok();
    let took = begun.elapsed();
    let what = format!("another leads {:.1} s after {fault} of the leader", took.as_secs_f64());
    report.check(&what, led && took < within);
}

async fn both_ready(release: &Release<'_>, report: &mut Report, part: &str) {
    let ready = release.until_ready(part, 2).await.is_ok();
    report.check(&format!("2 pods of the {part} are ready again"), ready);
}
