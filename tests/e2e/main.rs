//! `make e2e`: the image and the chart as an admin installs them, as pods on a node with a real containerd and kubelet, under a provider's load while things
//! break. `tests/cluster/apart.sh` gives it a world of its own. Every line that it prints was checked: a wrong answer ends it with exit code 1.
//!
//! `LOAD=300` is for how many seconds the provider pushes, `RATE=50` how many requests a second.

mod authority;
#[path = "../it/cluster.rs"]
mod cluster;
mod faults;
#[path = "../it/install.rs"]
mod install;
mod load;
mod node;
mod overload;
#[path = "../it/provider.rs"]
mod provider;
mod release;
mod report;
mod second;
mod setup;
#[path = "../it/system.rs"]
mod system;
mod watcher;

use std::panic::AssertUnwindSafe;
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::Duration;

use futures::FutureExt;

use crate::load::{Load, Phase};
use crate::node::Node;
use crate::release::Release;
use crate::report::Report;
use crate::second::Second;
use crate::setup::Team;
use crate::watcher::Watcher;

/// After that nothing of the start is going on any more.
const IDLE: Duration = Duration::from_secs(30);
/// Each source has a prefix of its own for its people.
const VALUES: &[&str] = &["accessPolicy.usernamePrefixes=[\"okta:\",\"entra:\"]"];

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
    report.size(&image, &node.unpacked());
    let release = report.step("helm install --wait", Release::install(node, "rolecall", VALUES)).await;
    report.starts(&release.starts().await);
    setup::is_as_promised(&release, report).await;

    let (okta, entra) = (
        setup::source(&release, "okta", "").await,
        setup::source(&release, "entra", "").await,
    );
    let team = |source, namespace, role, verb| Team {
        source,
        group: String::new(),
        namespace,
        role,
        verb,
    };
    let payments = setup::team(&release, &okta, "", team("okta", "payments", "edit", "create"));
    let payments = report.step("a mapping grants, and a provider revokes", payments).await;
    let ledger = setup::team(&release, &entra, "", team("entra", "ledger", "view", "list"));
    let ledger = report.step("so does another, with another source", ledger).await;
    let second = report.step("a second installation beside it", Second::install(node)).await;
    tokio::time::sleep(IDLE).await;
    report.usage("idle", &node.usage());
    let untouched = second.objects().await;

    let watcher = Watcher::begin(&release, &[&payments, &ledger]);
    let phase = Phase::new(Mutex::new("nothing happens"));
    let load = Load::begin(&okta, &payments, rate.div_ceil(2), &phase);
    let other = Load::begin(&entra, &ledger, rate.div_ceil(2), &phase);
    faults::all(&release, report, &load, lasts).await;
    let okta = load.provider();
    let (promised, also) = tokio::join!(load.end(), other.end());
    for part in ["gateway", "controller"] {
        let ready = release.until_ready(part, 2).await.is_ok();
        report.check(&format!("2 pods of the {part} are ready at the end"), ready);
    }
    setup::settled(&release, report, &okta, &payments, &promised).await;
    setup::settled(&release, report, &entra, &ledger, &also).await;
    report.load("okta", &promised);
    report.load("entra", &also);
    let (granted, removed) = watcher.counts();
    let what = format!("the watcher saw {granted} people get access, and {removed} lose it");
    let members = promised.members().count() + also.members().count();
    report.check(&what, granted - removed == members && removed > 0);
    report.list("decisions that the directory does not justify", &watcher.wrong(&[&promised, &also]));
    second.is_as_before(report, &untouched).await;
    overload::measure(report, &entra, &okta).await;
    second.ends(report, &release, &["okta", "entra"]).await;
    let follows = payments.follows(&release, &okta, "eve").await && ledger.follows(&release, &entra, "eve").await;
    report.check("the one that is left still grants and revokes", follows);
}
