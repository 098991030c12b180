//! Bytes of etcd per event: what lives, and what an append costs in history until etcd's next compaction (Kubernetes makes one every 5 to 10 minutes).
//!
//! Both are etcd's own figure, `etcd_mvcc_db_total_size_in_use_in_bytes`. History: what it grew by while the events were appended. Live: by how much it
//! had grown once the journal's garbage was removed, etcd compacted to its newest revision, and defragmented. etcd counts in pages of 4 KiB.

use std::time::Duration;

use rolecall::journal::{Collector, Journal};
use serde_json::{Value, json};

use crate::bare::send;
use crate::cluster::Cluster;
use crate::journal::{Blind, Writer, open};
use crate::load::{AsyncWorker, run};
use crate::report::Row;

const APPENDS: u32 = 2_000;

/// etcd's own HTTP interface.
struct Etcd {
    http: reqwest::Client,
    url: String,
}

impl Etcd {
    fn of(cluster: &Cluster) -> Self {
        let url = std::fs::read_to_string(cluster.dir().join("etcd.url")).expect("run.sh says where etcd is");
        Self {
            http: reqwest::Client::new(),
            url: url.trim().to_owned(),
        }
    }

    async fn call(&self, path: &str, body: Value) -> Value {
        let request = self.http.post(format!("{}{path}", self.url)).body(body.to_string());
        let answer = request.send().await.expect("etcd answers");
        assert!(answer.status().is_success(), "{path}: {}", answer.status());
        serde_json::from_str(&answer.text().await.expect("an answer")).expect("JSON")
    }

    /// Bytes in use.
    async fn bytes(&self) -> f64 {
        let answer = self.http.get(format!("{}/metrics", self.url)).send().await.expect("etcd answers");
        let text = answer.text().await.expect("metrics");
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("etcd_mvcc_db_total_size_in_use_in_bytes "));
        line.and_then(|value| value.parse().ok()).expect("etcd's metric of its size")
    }

    /// Forgets all history.
    async fn compact(&self) {
        let newest = self.call("/v3/kv/range", json!({"key": "AA=="})).await;
        let revision = &newest["header"]["revision"];
        self.call("/v3/kv/compaction", json!({"revision": revision, "physical": true}))
            .await;
        self.call("/v3/maintenance/defragment", json!({})).await;
    }
}

/// All of it.
pub async fn measure(cluster: &Cluster) -> Vec<Row> {
    let client = cluster.admin().await;
    let etcd = Etcd::of(cluster);
    let mut rows = Vec::new();

    let journal = open(&client, "bytes-one").await;
    etcd.compact().await;
    let before = etcd.bytes().await;
    let mut writer = Writer {
        journal: journal.clone(),
        next: 0,
    };
    for _ in 0..APPENDS {
        writer.work().await;
    }
    rows.extend(count(&etcd, &client, &journal, before, APPENDS as usize, "one an append", "bytes-one").await);

    let journal = open(&client, "bytes-many").await;
    etcd.compact().await;
    let before = etcd.bytes().await;
    let workers = (0..256).map(|n| Writer {
        journal: journal.clone(),
        next: n * 100_000,
    });
    let done = run(workers.collect(), Duration::from_secs(2)).await;
    rows.extend(count(&etcd, &client, &journal, before, done.count, "256 writers", "bytes-many").await);
    rows
}

async fn count(
    etcd: &Etcd,
    client: &kube::Client,
    journal: &Journal<Blind>,
    before: f64,
    events: usize,
    how: &str,
    namespace: &str,
) -> [Row; 3] {
    let with_history = etcd.bytes().await;
    let mut collector = Collector::new(Duration::ZERO);
    while collector.pass(journal).await.expect("a pass") > 0 || collector.is_waiting() {}
    etcd.compact().await;
    let live = etcd.bytes().await;
    let mut objects = 0;
    for plural in ["journals", "segments"] {
        let path = format!("/apis/rolecall.dev/v1alpha1/namespaces/{namespace}/{plural}");
        let (status, list) = send(client, http::Method::GET, &path, Vec::new()).await;
        assert_eq!(status, 200, "{path}");
        objects += list.len();
    }
    let each = |bytes: f64| bytes / events as f64;
    [
        Row::new(format!("etcd, live bytes an event, {how}"), each(live - before), "bytes"),
        Row::new(
            format!("etcd, history an event until the next compaction, {how}"),
            each(with_history - before),
            "bytes",
        ),
        Row::new(
            format!("  root and segments as JSON, an event, {how}"),
            each(objects as f64),
            "bytes",
        ),
    ]
}
