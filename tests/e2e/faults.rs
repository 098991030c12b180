//! What breaks while the provider pushes, one thing after another, and how soon it is well again. Each is a function; `all` is their order.

use std::time::{Duration, Instant};

use kube::ResourceExt;

use crate::cluster::Part;
use crate::load::Load;
use crate::provider::Provider;
use crate::release::Release;
use crate::report::Report;
use crate::setup;
use crate::system::until;

/// The chart's Lease: who leads is known to be gone when it has run out, and others look at it every 2 s.
const LEASE: Duration = Duration::from_secs(15 + 4);
/// Who is asked to end gives the Lease back.
const HANDED_OVER: Duration = Duration::from_secs(5);
/// The kubelet looks at what it has mounted about once a minute, and the gateway at its files every 10 s.
const MOUNTED: Duration = Duration::from_secs(150);
/// What a pod needs is counted over some time before: so long nothing breaks.
const COUNTED: Duration = Duration::from_secs(20);

/// All of them, and then nothing until so much time has passed.
pub async fn all(release: &Release<'_>, report: &mut Report, load: &Load, lasts: Duration) {
    let begun = Instant::now();
    tokio::time::sleep(COUNTED.max(lasts / 10)).await;
    report.usage("under load", &release.node.usage());
    load.phase("pods are deleted");
    for part in ["gateway", "controller"] {
        each_pod_deleted(release, report, part).await;
    }
    leader_deleted(release, report).await;
    load.phase("processes are killed");
    for part in ["gateway", "controller"] {
        each_pod_killed(release, report, part).await;
    }
    leader_killed(release, report).await;
    load.phase("the leader is paused");
    leader_paused(release, report).await;
    load.phase("the API server is away");
    restarted(release, report, Part::ApiServer).await;
    load.phase("etcd is away");
    restarted(release, report, Part::Etcd).await;
    load.phase("a token is rotated");
    token_rotated(release, report, load).await;
    load.phase("the certificate is renewed");
    certificate_renewed(release, report).await;
    load.phase("another authority signs the certificate");
    authority_replaced(release, report).await;
    load.phase("helm upgrades");
    upgraded(release, report, "helm upgrade", || {
        release.upgrade(&["logLevel=\"rolecall=debug,info\""])
    })
    .await;
    load.phase("helm rolls back");
    upgraded(release, report, "helm rollback", || release.rollback()).await;
    load.phase("nothing happens");
    tokio::time::sleep(lasts.saturating_sub(begun.elapsed())).await;
}

/// A second token beside the first, the provider takes it, and the first goes.
async fn token_rotated(release: &Release<'_>, report: &mut Report, load: &Load) {
    let (first, second) = ("okta-token", "okta-token-2");
    let old = load.provider();
    let new = Provider {
        token: setup::token(release, second),
        ..old.clone()
    };
    setup::tokens(release, "okta", "", &[first, second]);
    let taken = setup::answers(release, &new, 200).await.is_ok();
    load.switch(new);
    tokio::time::sleep(Duration::from_secs(1)).await; // what was on its way with the first
    setup::tokens(release, "okta", "", &[second]);
    let refused = setup::answers(release, &old, 401).await.is_ok();
    report.check("a second token is taken, and then the first one is not any more", taken && refused);
}

/// As if the certificate had come to its end: the chart signs another, the kubelet brings it to the pods, and the gateways read it.
async fn certificate_renewed(release: &Release<'_>, report: &mut Report) {
    let (pods, before) = (release.pods_and_restarts().await, release.certificates().await);
    let secret = format!("{}-tls", release.name);
    let ends = ["annotate", "secret", &secret, "-n", release.name, "rolecall.dev/certificate-ends-"];
    release.node.cluster.kubectl(&ends).expect_ok();
    release.upgrade(&[]);
    let begun = Instant::now();
    let other = || async {
        let met = release.certificates().await;
        met.len() == 1 && met.is_disjoint(&before)
    };
    let met = until(MOUNTED, other).await.is_ok();
    let what = format!(
        "another certificate of the same authority is served {:.0} s after it was signed",
        begun.elapsed().as_secs_f64()
    );
    report.check(&what, met && before.len() == 1);
    let same = release.pods_and_restarts().await == pods;
    report.check("no pod was replaced or started again for it", same);
}

/// The certificate comes from somewhere else from now on. Who trusts the old authority alone is left behind; the load trusts both.
async fn authority_replaced(release: &Release<'_>, report: &mut Report) {
    let pods = release.pods_and_restarts().await;
    release.replace_certificate().await;
    let begun = Instant::now();
    let other = release.other.certificate();
    let replaced = || async { release.handshakes(&other, true).await && release.handshakes(&release.chart, false).await };
    let met = until(MOUNTED, replaced).await.is_ok();
    let what = format!(
        "a certificate of another authority is served, and none of the old one, {:.0} s after it was put there",
        begun.elapsed().as_secs_f64()
    );
    report.check(&what, met);
    let same = release.pods_and_restarts().await == pods;
    report.check("no pod was replaced or started again for that either", same);
}

/// What helm does to all pods, one after another.
async fn upgraded(release: &Release<'_>, report: &mut Report, what: &str, change: impl FnOnce()) {
    let (before, begun) = (release.pods_and_restarts().await, Instant::now());
    change();
    let after = release.pods_and_restarts().await;
    let took = begun.elapsed().as_secs_f64();
    report.check(
        &format!("{what} replaces all {} pods ({took:.1} s)", before.len()),
        after.len() == before.len() && !before.keys().any(|pod| after.contains_key(pod)),
    );
}

/// The kubelet starts each process again.
async fn each_pod_killed(release: &Release<'_>, report: &mut Report, part: &str) {
    let mut back = true;
    for pod in release.pods(part).await {
        release.node.signal(&pod, "KILL");
        // not before the kubelet has seen it
        let seen = until(Duration::from_secs(20), || async { release.ready(part).await < 2 }).await;
        back &= seen.is_ok() && release.until_ready(part, 2).await.is_ok();
    }
    report.check(&format!("each process of the {part} is killed, and started again"), back);
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
        .kubectl(&["delete", "pod", "-n", release.name, pod, "--wait=false"])
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
