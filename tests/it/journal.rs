//! The journal's suite on a real API server, with the chart's CRDs; the library's own tests run the same suite in memory.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rolecall::journal::store::{Kubernetes, Memory, Store};
use rolecall::journal::suite::{KubernetesBed, OLDER, Scale, run};
use rolecall::journal::{Journal, Options, Stamp, State, Verdict, create_if_nothing_names_one};
use serde_json::{Value, json};

use crate::cluster::{Cluster, root};
use crate::system::until;

/// The CRDs of an older release, in a group of their own: `checkpoint` is missing.
async fn apply_older_crds(cluster: &Cluster) {
    for plural in ["journals", "segments"] {
        let text = std::fs::read_to_string(root().join(format!("crds/{plural}.yaml"))).expect("a CRD");
        let mut crd: Value = serde_saphyr::from_str(&text).expect("YAML");
        let name = format!("{plural}.{OLDER}");
        crd["metadata"]["name"] = json!(name);
        crd["spec"]["group"] = json!(OLDER);
        let properties = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties";
        let properties = crd.pointer_mut(properties).and_then(Value::as_object_mut).expect("properties");
        assert_eq!(properties.remove("checkpoint").is_some(), plural == "journals");
        cluster.apply(&crd.to_string(), &["--server-side"]).expect_ok();
        let wait = ["wait", "--for=condition=Established", "--timeout=30s", "crd", &name];
        cluster.kubectl(&wait).expect_ok();
        // Established is said a moment before it is served.
        let path = format!("/apis/{OLDER}/v1alpha1/namespaces/default/{plural}");
        let served = || async { cluster.kubectl(&["get", "--raw", &path]).ok };
        assert!(until(Duration::from_secs(20), served).await.is_ok(), "{name} is not served");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_suite_on_a_real_api_server() {
    let cluster = Cluster::shared();
    apply_older_crds(cluster).await;
    cluster.kubectl(&["create", "namespace", "journal-suite"]).expect_ok();
    let bed = KubernetesBed::new(cluster.admin().await, "journal-suite");
    let scale = Scale {
        writers: 4,
        events: 10,
        seed: 13,
    };
    let report = run(Arc::new(bed), scale, "").await;
    assert!(report.failures.is_empty(), "{:#?}", report.failures);
    assert!(report.total >= 35 && report.passed == report.total, "{report:?}");
}

/// Counts.
#[derive(Clone, Default)]
struct Count(u64);

impl State for Count {
    type Event = String;

    fn apply(&mut self, _: &Stamp, _: &String) {
        self.0 += 1;
    }
}

/// Events a second, the median time of one, and events a swap.
async fn measure(store: Arc<dyn Store>, writers: usize, turns: u32, lasts: Duration) -> (f64, Duration, f64) {
    let mut options = Options::new("measure");
    (options.burst, options.quiet_turns) = (1_000_000, turns);
    let journal = Journal::open(store, Count::default(), options).await.expect("opens");
    let begun = Instant::now();
    let before = journal.snapshot().position.index;
    let tasks: Vec<_> = (0..writers)
        .map(|_| {
            let journal = journal.clone();
            tokio::spawn(async move {
                let mut took = Vec::new();
                while begun.elapsed() < lasts {
                    let at = Instant::now();
                    let put = |_: &Count, _: &Stamp| Verdict::Append(vec!["x".repeat(200)], ());
                    journal.submit(put).await.expect("durable");
                    took.push(at.elapsed());
                }
                took
            })
        })
        .collect();
    let mut took: Vec<Duration> = Vec::new();
    for task in tasks {
        took.extend(task.await.expect("a writer"));
    }
    let seconds = begun.elapsed().as_secs_f64();
    took.sort_unstable();
    let swaps = (journal.snapshot().position.index - before).max(1);
    (took.len() as f64 / seconds, took[took.len() / 2], took.len() as f64 / swaps as f64)
}

/// What waiting for the scheduler's turns gives: `cargo test --test it -- --ignored --nocapture turns_of_the_scheduler`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn turns_of_the_scheduler() {
    let cluster = Cluster::shared();
    cluster.kubectl(&["create", "namespace", "journal-turns"]).expect_ok();
    let client = cluster.admin().await;
    println!(
        "{:>10} {:>8} {:>6} {:>10} {:>10} {:>12}",
        "store", "writers", "turns", "events/s", "p50 us", "events/swap"
    );
    for round in 0..2 {
        for writers in [1, 64, 256, 1024] {
            for turns in [0, 1, 4, 8] {
                let name = |store: &str| format!("{store}{round}x{writers}x{turns}");
                let kubernetes = |part: &str| Kubernetes::new(client.clone(), "journal-turns", &name(part));
                let beds: [(&str, Arc<dyn Store>, Arc<dyn Store>); 2] = [
                    ("memory", Arc::new(Memory::new("a")), Arc::new(Memory::new("d"))),
                    ("kubernetes", Arc::new(kubernetes("a")), Arc::new(kubernetes("d"))),
                ];
                for (kind, access, directory) in beds {
                    create_if_nothing_names_one(&*access, &*directory, "measure", None)
                        .await
                        .expect("roots");
                    let lasts = Duration::from_millis(if kind == "memory" { 500 } else { 2000 });
                    let (rate, p50, each) = measure(directory, writers, turns, lasts).await;
                    println!(
                        "{kind:>10} {writers:>8} {turns:>6} {rate:>10.0} {:>10} {each:>12.1}",
                        p50.as_micros()
                    );
                }
            }
        }
    }
}
