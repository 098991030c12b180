//! `make bench`: what README's figures come from. It starts a real control plane, installs the chart with helm, runs the release `rolecall gateway`
//! and `rolecall controller` with the tokens of their ServiceAccounts, and measures each figure beside its floor: what a bare client gets from the
//! same API server in the same run. It prints a table, and writes the rows to `target/bench/*.json`.
//!
//! `ONLY=revocation,users,scim,journal,etcd` measures some of them. `ONLY=scale` (`make bench-scale`) measures a large cluster, and is not among the others. `FSYNC=1` makes etcd durable on disk (its default here is not to wait for the disk).

mod bare;
#[path = "../tests/it/cluster.rs"]
mod cluster;
mod etcd;
#[path = "../src/gateway/tests/hostile.rs"]
mod hostile;
mod http1;
#[path = "../tests/it/install.rs"]
mod install;
mod journal;
#[path = "../tests/it/kit.rs"]
mod kit;
mod load;
mod peers;
#[path = "../tests/it/provider.rs"]
mod provider;
mod queue;
mod report;
mod revocation;
mod scale;
mod scim;
#[path = "../tests/it/system.rs"]
mod system;
mod users;

use std::time::{Duration, Instant};

use crate::cluster::{Cluster, programs};
use crate::install::Install;
use crate::report::Report;
use crate::system::{System, until};

/// The controller's own defaults, and not the short delays of the tests.
const DEFAULTS: [&str; 5] = [
    "--lease-duration=15s",
    "--renew-deadline=10s",
    "--retry-period=2s",
    "--garbage-delay=60s",
    "--proof-interval=30s",
];

#[tokio::main]
async fn main() {
    let begun = Instant::now();
    let only = std::env::var("ONLY").unwrap_or_default();
    let wanted = |name: &str| only.is_empty() || only.split(',').any(|o| o == name);
    let report = Report::begin();
    programs(); // the first time this builds, and says so
    if only == "scale" {
        report.write("scale", scale::measure().await);
        report.end(begun.elapsed());
        return;
    }
    let cluster = Cluster::own_with(&[("KEEP", "")]);
    let install = Install {
        crds: true,
        ..Install::new("rolecall")
    };
    let system = System::with(&cluster, install).await;
    let controller = system.controller_with(&DEFAULTS, None);
    let gateway = system.gateway().await;
    if wanted("revocation") {
        report.write("revocation", revocation::measure(&system, &gateway).await);
    }
    if wanted("users") {
        report.write("users", users::measure(&system, &gateway).await);
    }
    let large = match wanted("scim") {
        true => Some(scim::Large::seed(&system, &gateway).await),
        false => None,
    };
    // What follows needs neither of them.
    for mut process in [gateway, controller] {
        process.signal("TERM");
        let ended = process.ended(Duration::from_secs(30));
        assert!(ended, "a process of ours does not end: {}", process.log());
    }
    if let Some(large) = large {
        report.write("scim", large.measure(&system).await);
    }
    if wanted("journal") {
        report.write("journal", journal::measure(&cluster).await);
    }
    if wanted("etcd") {
        report.write("etcd", etcd::measure(&cluster).await);
    }
    drop(system);
    report.end(begun.elapsed());
}

/// Waits for a condition of the benchmark's own preparation.
#[track_caller]
fn prepared<'a, F: Future<Output = bool>>(what: &'a str, so: impl FnMut() -> F + 'a) -> impl Future<Output = ()> + 'a {
    let at = std::panic::Location::caller();
    async move {
        let seen = until(Duration::from_secs(60), so).await;
        assert!(seen.is_ok(), "{at}: {what} did not come about within a minute");
    }
}
