//! Linearizable reads: one GET of the root serves all reads that wait, if it began after they arrived.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use super::settle::Backoff;
use super::shared::Shared;
use super::{Error, Snapshot, State, StoreError};

/// Who waits for a read.
pub(super) type Waiting<S> = oneshot::Sender<Result<Arc<Snapshot<S>>, Error>>;

/// Serves reads until nobody can ask any more.
pub(super) async fn run<S: State>(shared: Arc<Shared<S>>, mut inbox: mpsc::Receiver<Waiting<S>>) {
    let mut waiting = Vec::new();
    let mut backoff = Backoff::new();
    loop {
        if waiting.is_empty() {
            backoff = Backoff::new();
            let Some(first) = inbox.recv().await else { return };
            waiting.push(first);
        }
        while let Ok(next) = inbox.try_recv() {
            waiting.push(next);
        }
        let result = shared.prove(false).await.map(|base| base.snapshot);
        if let Err(Error::Store(error @ StoreError::Unknown { .. })) = &result {
            waiting.retain(|waiting: &Waiting<S>| !waiting.is_closed());
            if !waiting.is_empty() {
                backoff.wait(error).await;
                continue;
            }
        }
        for one in waiting.drain(..) {
            let _ = one.send(result.clone());
        }
    }
}
