//! Following: the watch of the root, and the proof of it every 30 s, because a kept watch may be deaf (an etcd put back to a
//! snapshot) and a segment may vanish without anybody reading it.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures::{FutureExt, StreamExt};
use tokio::time::Instant;

use super::shared::Shared;
use super::store::Hint;
use super::{Error, Loss, State, StoreError};

/// How often the head is logged, when it has moved: what an etcd that was put back is recognised by must be outside of it.
const HEAD_LOGGED: Duration = Duration::from_secs(600);

/// Follows until the journal is lost.
pub(super) async fn run<S: State>(shared: Arc<Shared<S>>) {
    let every = shared.options.prove_every;
    let mut due = Instant::now() + every;
    let mut pause = Duration::from_millis(100);
    let mut logged = (Instant::now(), shared.snapshot().position.index);
    while shared.alive().is_ok() {
        let version = shared.base().await.root.version.clone();
        let started = Instant::now();
        match shared.store.watch(&version).await {
            Ok(mut hints) => loop {
                let hint = tokio::select! {
                    hint = hints.next() => hint,
                    () = tokio::time::sleep_until(due) => {
                        let before = shared.snapshot().position.index;
                        let proven = prove(&shared).await;
                        due = Instant::now() + every;
                        log_head(&shared, &mut logged);
                        if proven.is_err() || shared.snapshot().position.index != before {
                            break; // the watch should have shown this
                        }
                        continue;
                    }
                };
                // Only the newest of what has come is worth decoding.
                let mut newest = hint;
                while let Some(Some(more)) = newest.as_ref().and_then(|_| hints.next().now_or_never()) {
                    newest = Some(more);
                }
                let seen = match newest {
                    Some(Ok(Hint::Root(root))) => shared.hint(*root).await,
                    Some(Ok(Hint::Deleted)) => shared.prove(false).await.map(|_| ()),
                    Some(Err(error)) => Err(Error::Store(error)),
                    None => break,
                };
                if seen.is_err() {
                    break;
                }
            },
            Err(error) => tracing::debug!(journal = shared.store.name(), %error, "the watch was refused"),
        }
        // A watch that ends soon, again and again, is slowed down; one that lived is begun anew at once, after a look.
        if started.elapsed() > Duration::from_secs(5) {
            pause = Duration::from_millis(100);
        } else {
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(every).min(Duration::from_secs(1));
        }
        if shared.alive().is_ok()
            && let Err(error) = shared.prove(false).await
        {
            tracing::debug!(journal = shared.store.name(), %error, "the root could not be read");
        }
        if Instant::now() >= due {
            let _ = prove(&shared).await;
            due = Instant::now() + every;
        }
    }
}

fn log_head<S: State>(shared: &Shared<S>, logged: &mut (Instant, i64)) {
    let position = &shared.snapshot().position;
    if logged.0.elapsed() >= HEAD_LOGGED && position.index != logged.1 && position.loss.is_none() {
        tracing::info!(journal = shared.store.name(), head = %position, "the journal's head");
        *logged = (Instant::now(), position.index);
    }
}

/// Proves the root, and that all of its segments are there.
pub(super) async fn prove<S: State>(shared: &Shared<S>) -> Result<(), Error> {
    shared.prove(true).await?;
    let (_, chain) = shared.chain().await;
    if chain.links().is_empty() {
        return Ok(());
    }
    // A list is a hint: what it lacks is looked at by itself.
    let listed: HashSet<String> = match shared.store.segments().await {
        Ok(listed) => listed.into_iter().map(|listed| listed.name).collect(),
        Err(StoreError::NoSuchKind) => HashSet::new(),
        Err(error) => return Err(Error::Store(error)),
    };
    for link in chain.links().iter().filter(|link| !listed.contains(&*link.name)) {
        if !gone(shared, &link.name).await? {
            continue;
        }
        // Only a root that is read after the 404, and still reaches it, makes it a loss: it may have been merged into another.
        shared.prove(true).await?;
        let (_, now) = shared.chain().await;
        if now.knows(&link.name) {
            let name = link.name.to_string();
            return Err(shared.declare(Loss::SegmentMissing { name }));
        }
    }
    Ok(())
}

async fn gone<S: State>(shared: &Shared<S>, name: &str) -> Result<bool, Error> {
    let asked = Instant::now();
    loop {
        match shared.store.segment(name).await {
            Ok(_) => return Ok(false),
            Err(StoreError::NotFound) => return Ok(true),
            Err(StoreError::NoSuchKind) if asked.elapsed() >= shared.options.absent_after => return Ok(true),
            Err(StoreError::NoSuchKind) => tokio::time::sleep(shared.options.absent_after / 20).await,
            Err(error) => return Err(Error::Store(error)),
        }
    }
}
