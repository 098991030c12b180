//! A cluster of the user's own (`CONTEXT=name`): what it must be like, and how it is left. Nothing that was there before is touched.

use crate::cluster::Cluster;
use crate::screen::Screen;
use crate::{NAMESPACE, PLACES};

/// Whether the demo can run there without touching anything; else why not.
pub fn check(cluster: &Cluster, context: &str) -> Result<(), String> {
    let admin = cluster.kubectl(&["auth", "can-i", "*", "*", "--all-namespaces"]);
    if admin.stdout.trim() != "yes" {
        return Err(format!(
            "the context {context} is no cluster admin, or its API server does not answer: {}{}",
            admin.stdout.trim(),
            admin.stderr
        ));
    }
    let crds = cluster.kubectl(&["get", "crds", "-o", "name"]).expect_ok();
    if crds.contains(".rolecall.dev") {
        return Err(format!(
            "the context {context} has Rolecall's CRDs already, and the demo would mix with that. If they are left over from a demo:\n  \
             helm --kube-context {context} -n {NAMESPACE} uninstall rolecall; kubectl --context {context} delete namespace {NAMESPACE} {}",
            PLACES.join(" ")
        ));
    }
    for place in PLACES.iter().chain([&NAMESPACE]) {
        if cluster.kubectl(&["get", "namespace", place]).ok {
            return Err(format!(
                "the context {context} has a namespace {place} already; the demo makes it, and removes it at the end"
            ));
        }
    }
    Ok(())
}

/// Removes what the demo made. The processes have ended.
pub async fn clean(cluster: &Cluster, screen: &Screen) {
    screen.title("Cleaning up");
    let work = async {
        // The chart, with its CRDs; then the namespaces, with every binding in them.
        let chart = cluster.helm(&[
            "-n",
            NAMESPACE,
            "uninstall",
            "rolecall",
            "--ignore-not-found",
            "--wait",
            "--timeout",
            "60s",
        ]);
        let mut delete = vec!["delete", "namespace", "--ignore-not-found", "--timeout=90s", NAMESPACE];
        delete.extend(PLACES);
        [chart, cluster.kubectl(&delete)]
    };
    for output in screen.step("removes the chart, its CRDs and the namespaces", work).await {
        if !output.ok {
            eprintln!("{}{}", output.stdout, output.stderr);
        }
    }
}
