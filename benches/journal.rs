//! The journal alone, on a real API server: events a second at 1, 64, 256 and 1,024 writers, beside a queue that makes one bare creation a batch.

use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use kube::api::Api;
use rolecall::directory::Event;
use rolecall::journal::store::Kubernetes;
use rolecall::journal::{Creation, Journal, Options, Stamp, State, Verdict, create_if_nothing_names_one};
use serde_json::{Map, json};
use uuid::Uuid;

use crate::cluster::Cluster;
use crate::load::{AsyncWorker, Done, run};
use crate::queue::{Queue, QueueWriter};
use crate::report::{Goal, Row, percentile};

/// Writers, and the ratio to reach.
const WRITERS: [(usize, f64); 4] = [(1, 0.6), (64, 0.4), (256, 0.5), (1_024, 0.5)];
const ROUNDS: u32 = 3;
const LASTS: Duration = Duration::from_millis(2000);

/// Known; told where a goal is missed.
const WHY_ONE: &str = "one writer's append is a PUT of a custom resource, which the API server decodes, compares with the old root by the \
    CRD's rules and stores as JSON, beside the creation of a built-in object of as many bytes; and one append in ten or so seals, which is a \
    creation before the PUT";
const WHY_MANY: &str = "a batch of more than 4 KiB is two requests, one after the other: the creation of its segment, and the PUT of the root \
    that names it; the floor is one. The segment also takes in those before it, up to 512 KiB, which are compressed and sent again, and the \
    floor's does not. And a swap begins before everybody who was answered has submitted again (see the events a batch)";

/// Takes the place of the directory: here only the journal counts.
#[derive(Clone, Default)]
pub struct Blind;

impl State for Blind {
    type Event = Event;

    fn apply(&mut self, _: &Stamp, _: &Event) {}
}

/// A member more in a group: about 100 bytes.
pub fn event(n: u32) -> Event {
    Event::Changed {
        source: "okta".to_owned(),
        n: 2_000,
        merge: Map::new(),
        add: vec![n],
        remove: Vec::new(),
        request: Uuid::from_u128(u128::from(n) << 64).to_string(),
    }
}

/// A new journal in a namespace of its own.
pub async fn open(client: &Client, namespace: &str) -> Journal<Blind> {
    let object = serde_json::from_value(json!({"metadata": {"name": namespace}})).expect("a namespace");
    let namespaces: Api<k8s_openapi::api::core::v1::Namespace> = Api::all(client.clone());
    namespaces.create(&Default::default(), &object).await.expect("a namespace");
    let store = |name: &str| Kubernetes::new(client.clone(), namespace, name);
    let made = create_if_nothing_names_one(&store("access"), &store("directory"), &Uuid::new_v4().to_string(), None).await;
    assert!(matches!(made, Ok(Creation::Created(_))), "{made:?}");
    Journal::open(Arc::new(store("directory")), Blind, Options::new("gateway/bench"))
        .await
        .expect("the journal")
}

/// Appends one event after the other.
pub struct Writer {
    /// Where to.
    pub journal: Journal<Blind>,
    /// Which event is next.
    pub next: u32,
}

impl AsyncWorker for Writer {
    async fn work(&mut self) {
        self.next += 1;
        let event = event(self.next);
        let done = self
            .journal
            .submit(move |_: &Blind, _: &Stamp| Verdict::Append(vec![event.clone()], ()))
            .await;
        assert!(done.is_ok(), "{done:?}");
    }
}

/// Where a writer's numbers begin, so that all differ.
fn from(writer: usize) -> u32 {
    u32::try_from(writer).expect("few writers") * 100_000
}

/// All of it.
pub async fn measure(cluster: &Cluster) -> Vec<Row> {
    let client = cluster.admin().await;
    let mut journals: Vec<(Done, i64)> = vec![Default::default(); WRITERS.len()];
    let mut bare = vec![Done::default(); WRITERS.len()];
    for round in 0..ROUNDS {
        let namespace = format!("journal-{round}");
        let journal = open(&client, &namespace).await;
        for (at, (writers, _)) in WRITERS.into_iter().enumerate() {
            let before = journal.snapshot().position.index;
            let workers = (0..writers).map(|n| Writer {
                journal: journal.clone(),
                next: from(n),
            });
            let done = run(workers.collect(), LASTS).await;
            let swaps = journal.snapshot().position.index - before;
            let had = std::mem::take(&mut journals[at]);
            journals[at] = (had.0.and(done), had.1 + swaps);
            let queue = Queue::start(client.clone(), &namespace, format!("bare-{writers}"));
            let workers = (0..writers).map(|n| QueueWriter {
                queue: queue.clone(),
                next: from(n),
            });
            let done = run(workers.collect(), LASTS).await;
            bare[at] = std::mem::take(&mut bare[at]).and(done);
        }
    }
    let mut rows = Vec::new();
    for (((writers, goal), (done, swaps)), bare) in WRITERS.into_iter().zip(&journals).zip(&bare) {
        rows.push(
            Row::new(format!("journal, {writers} at once"), done.rate(), "events/s")
                .floor(bare.rate())
                .goal(Goal::RatioAtLeast(goal))
                .waived(if writers == 1 { WHY_ONE } else { WHY_MANY }),
        );
        rows.push(Row::new(format!("  p50 of one, {writers} at once"), percentile(&done.each, 50), "ms").floor(percentile(&bare.each, 50)));
        rows.push(Row::new(
            format!("  events a batch, {writers} at once"),
            done.count as f64 / *swaps as f64,
            "events",
        ));
    }
    rows
}
