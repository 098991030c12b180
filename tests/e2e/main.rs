//! `make e2e`: the image and the chart as an admin installs them, as pods on a node with a real containerd and kubelet, under a provider's load while things
//! break. `tests/cluster/apart.sh` gives it a world of its own. Every line that it prints was checked: a wrong answer ends it with exit code 1.
//!
//! `LOAD=300` is for how many seconds the provider pushes, `RATE=50` how many requests a second.

#[path = "../it/cluster.rs"]
mod cluster;
mod faults;
#[path = "../it/install.rs"]
mod install;
mod load;
mod node;
#[path = "../it/provider.rs"]
mod provider;
mod release;
mod report;
mod setup;
#[path = "../it/system.rs"]
mod system;
mod watcher;

use std::panic::AssertUnwindSafe;
use std::process::ExitCode;
use std::time::Duration;

use futures::FutureExt;

use crate::load::Load;
use crate::node::Node;
use crate::release::Release;
use crate::report::Report;
use crate::watcher::Watcher;

#[tokio::main]
async fn main() -> ExitCode {
    let number = |name: &str, default: u64| std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default);
    let (seconds, rate) = (number("LOAD", 30), number("RATE", 50));
    std::panic::set_hook(Box::new(|info| eprintln!("{info}"))); // a fixture's assertion; the stack is of no interest
    let mut report = Report::begin();
    let node = report.step("a control plane and a node", async { Node::start() }).await;
    let ran = AssertUnwindSafe(run(&node, &mut report, Duration::from_secs(seconds), rate));
    if ran.catch_unwind().await.is_err() {
        eprintln!("{}", node.explain());
        report.check("ran to its end", false);
    }
    report.end()
}

async fn run(node: &Node, report: &mut Report, lasts: Duration, rate: u64) {
    let image = cluster::root().join("target/image/rolecall.tar");
    report.step("loads the image", async { node.import(&image) }).await;
    let release = report.step("helm install --wait", Release::install(node, &[])).await;
    setup::is_as_promised(&release, report).await;

    let provider = setup::source(&release).await;
    let team = setup::team(&release, &provider);
    let team = report.step("a mapping grants, and a provider revokes", team).await;
    let watcher = Watcher::begin(&release, &team);
    let load = Load::begin(&provider, &team, rate);
    faults::all(&release, report, lasts).await;
    let promised = load.end().await;
    setup::settled(&release, report, &provider, &team, &promised).await;
    report.load(&promised);
    let (granted, removed) = watcher.counts();
    let what = format!("the watcher saw {granted} people get access, and {removed} lose it");
    report.check(&what, granted - removed == promised.members().count() && removed > 0);
    report.list("decisions that the directory does not justify", &watcher.wrong(&promised));
    report.usage(&node.usage());
}
