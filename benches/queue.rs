//! What the journal is compared with: the same group commit (while a request is in flight, events queue; the next carries them all), but a batch is
//! one bare creation of an object of the batch's bytes. No root, no chain, no judging, no state: nothing could be read back from it in order.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use kube::Client;
use rolecall::directory::Event;
use tokio::sync::{mpsc, oneshot};

use crate::bare::{config_map, send};
use crate::load::AsyncWorker;

/// As in `journal::append`.
const CYCLE_MAX: usize = 4096;
/// What is longer is compressed, as the journal does with what does not fit its root.
const TAIL_MAX: usize = 4096;

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
    for n in 0_u64.. {
        let Some(first) = inbox.recv().await else { return };
        queue.push(first);
        gather(&mut queue, &mut inbox).await;
        let mut text = Vec::new();
        for pending in &queue {
            serde_json::to_writer(&mut text, &pending.event).expect("JSON");
            text.push(b',');
        }
        let text = if text.len() > TAIL_MAX {
            STANDARD.encode(zstd::bulk::compress(&text, 1).expect("memory"))
        } else {
            String::from_utf8(text).expect("JSON is UTF-8")
        };
        let (status, answer) = send(&client, Method::POST, &path, config_map(&format!("{prefix}-{n}"), &text)).await;
        assert_eq!(status, 201, "{}", String::from_utf8_lossy(&answer));
        for pending in queue.drain(..) {
            let _ = pending.waiting.send(()); // who has gone away does not want to know
        }
    }
}

/// As in `journal::append`: those who were answered just now submit again at once, and are given the moment to do so.
async fn gather(queue: &mut Vec<Pending>, inbox: &mut mpsc::Receiver<Pending>) {
    loop {
        let before = queue.len();
        while queue.len() < CYCLE_MAX {
            let Ok(pending) = inbox.try_recv() else { break };
            queue.push(pending);
        }
        if queue.len() == CYCLE_MAX || queue.len() == before {
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
