//! What the journal is compared with: the same group commit (while a request is in flight, events queue; the next carries them all), but a batch is
//! one bare creation of an object of the same bytes. No root, no chain, no judging, no state, no sealing: nothing could be read back from it in order.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use kube::Client;
use rolecall::directory::Event;
use serde_json::json;
use tokio::sync::{mpsc, oneshot};

use crate::bare::{config_map, send};
use crate::load::AsyncWorker;

/// As in `journal::append`.
const CYCLE_MAX: usize = 4096;
/// The most bytes of the batches in a root.
const TAIL_MAX: usize = 4096;
/// As in `journal::Options`.
const QUIET_TURNS: u32 = 4;

struct Pending {
    event: Event,
    waiting: oneshot::Sender<()>,
}

/// The queue; clones are one queue, which ends with the last of them.
#[derive(Clone)]
pub struct Queue {
    inbox: mpsc::Sender<Pending>,
}

impl Queue {
    /// A queue that creates ConfigMaps in `namespace`, their names beginning with `prefix`.
    pub fn start(client: Client, namespace: &str, prefix: String) -> Self {
        let (send, inbox) = mpsc::channel(16_384);
        let path = format!("/api/v1/namespaces/{namespace}/configmaps");
        tokio::spawn(commit(client, path, prefix, inbox));
        Self { inbox: send }
    }

    /// Waits until the event is durable.
    pub async fn append(&self, event: Event) {
        let (waiting, answer) = oneshot::channel();
        let sent = self.inbox.send(Pending { event, waiting }).await;
        assert!(sent.is_ok(), "the queue lives as long as its handle");
        tokio::time::timeout(Duration::from_secs(20), answer)
            .await
            .expect("an answer in time")
            .expect("a queue that lives");
    }
}

async fn commit(client: Client, path: String, prefix: String, mut inbox: mpsc::Receiver<Pending>) {
    let mut queue: Vec<Pending> = Vec::new();
    let mut tail = String::new();
    for n in 0_u64.. {
        let Some(first) = inbox.recv().await else { return };
        queue.push(first);
        gather(&mut queue, &mut inbox).await;
        let body = config_map(&format!("{prefix}-{n}"), &bytes(&mut tail, &line(n, &queue)));
        let (status, answer) = send(&client, Method::POST, &path, body).await;
        assert_eq!(status, 201, "{}", String::from_utf8_lossy(&answer));
        for pending in queue.drain(..) {
            let _ = pending.waiting.send(()); // who has gone away does not want to know
        }
    }
}

/// A batch as the journal writes it, with as many bytes around its events.
fn line(n: u64, queue: &[Pending]) -> String {
    let envelope = json!({"index": n, "time": "2026-01-01T00:00:00.000Z", "writer": "gateway/bench", "nonce": format!("{n:016x}"),
        "parent": format!("directory-{n}-{n:016x}"), "events": []});
    let mut text = envelope.to_string().into_bytes();
    text.truncate(text.len() - 2); // the ends of the list and of the object come after the events
    for (at, pending) in queue.iter().enumerate() {
        if at > 0 {
            text.push(b',');
        }
        serde_json::to_writer(&mut text, &pending.event).expect("JSON");
    }
    text.extend_from_slice(b"]}\n");
    String::from_utf8(text).expect("JSON is UTF-8")
}

/// What the journal would store for this batch: its root's tail, with the batches before this one, or else the batch as a segment. But a segment takes
/// in none of those before it, and when the tail is full it begins anew.
fn bytes(tail: &mut String, line: &str) -> String {
    if line.len() > TAIL_MAX {
        return STANDARD.encode(zstd::bulk::compress(line.as_bytes(), 1).expect("memory"));
    }
    if tail.len() + line.len() > TAIL_MAX {
        tail.clear();
    }
    tail.push_str(line);
    tail.clone()
}

/// As in `journal::append`: those who were answered just now submit again at once, and are given the moment to do so.
async fn gather(queue: &mut Vec<Pending>, inbox: &mut mpsc::Receiver<Pending>) {
    let mut quiet = 0;
    while queue.len() < CYCLE_MAX {
        let before = queue.len();
        while queue.len() < CYCLE_MAX {
            let Ok(pending) = inbox.try_recv() else { break };
            queue.push(pending);
        }
        quiet = if queue.len() == before { quiet + 1 } else { 0 };
        if quiet > QUIET_TURNS {
            return;
        }
        tokio::task::yield_now().await;
    }
}

/// Appends one event after the other.
pub struct QueueWriter {
    /// Where to.
    pub queue: Queue,
    /// Which event is next.
    pub next: u32,
}

impl AsyncWorker for QueueWriter {
    async fn work(&mut self) {
        self.next += 1;
        self.queue.append(super::journal::event(self.next)).await;
    }
}
