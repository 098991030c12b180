//! Everything that each ServiceAccount may do, by the API server's own answer, beside a committed file: a right more or less is seen in a review.

use std::fs;

use crate::cluster::{Cluster, root};
use crate::install::Install;

#[tokio::test]
async fn each_service_account_may_do_what_the_committed_file_says() {
    let cluster = Cluster::shared();
    let installed = Install::new("can-i").on(cluster).await;
    let mut stale = Vec::new();
    for part in ["gateway", "controller"] {
        let account = format!("--as=system:serviceaccount:{}:{}-{part}", installed.namespace, installed.fullname);
        let mut text = String::new();
        for (title, namespace) in [("in its own namespace", installed.namespace.as_str()), ("elsewhere", "default")] {
            let listed = cluster.kubectl(&["auth", "can-i", "--list", &account, "-n", namespace]).expect_ok();
            // the columns are as wide as their longest word
            let mut lines: Vec<String> = listed
                .lines()
                .skip(1)
                .map(|line| {
                    line.split_whitespace()
                        .collect::<Vec<_>>()
                        .join(" ")
                        .replace(&installed.fullname, "rolecall")
                })
                .collect();
            lines.sort();
            lines.dedup();
            text.push_str(&format!("# {part}, {title}\n{}\n", lines.join("\n")));
        }
        let path = root().join(format!("tests/it/policies/rights/{part}.txt"));
        if std::env::var_os("ROLECALL_WRITE_DOCS").is_some() {
            fs::write(&path, &text).expect("a file");
        }
        if fs::read_to_string(&path).unwrap_or_default() != text {
            stale.push(format!("{}:\n{text}", path.display()));
        }
    }
    assert!(stale.is_empty(), "make docs writes them anew:\n{}", stale.join("\n"));
}
