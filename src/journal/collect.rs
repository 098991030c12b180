//! Garbage: segments that no root can ever name any more. Nobody but the controller runs this.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use tokio::time::Instant;

use super::{Error, Journal, State, StoreError};

/// Finds garbage, and removes it some time later: readers may still be walking an older root.
///
/// Garbage is what the root does not reach and whose `base` is below the root's index. A segment may be named only by the swap
/// that follows exactly its `base`, and the API server lets no index come twice: so no root can ever name it. The delay only
/// spares readers a second GET; no clock is in the argument.
#[derive(Debug)]
pub struct Collector {
    after: Duration,
    found: HashMap<String, Instant>,
}

impl Collector {
    /// One that removes garbage when it was garbage for `after` (a minute).
    pub fn new(after: Duration) -> Self {
        Self {
            after,
            found: HashMap::new(),
        }
    }

    /// Whether garbage waits for its removal.
    pub fn is_waiting(&self) -> bool {
        !self.found.is_empty()
    }

    /// One pass: walks the whole chain from the root, then looks at what is there besides. Returns how many were removed.
    pub async fn pass<S: State>(&mut self, journal: &Journal<S>) -> Result<usize, Error> {
        let shared = journal.shared();
        let listed = shared.store.segments().await.map_err(Error::Store)?;
        let proven = shared.prove(true).await?;
        let (position, chain) = shared.chain().await;
        let base = shared.base().await.root;
        if position.index < proven.root.spec.index || base.spec.index != position.index || !chain.is_whole(&base.spec.parent) {
            return Ok(0); // it moved between two looks; the next pass sees more
        }
        let reached: HashSet<&str> = chain.links().iter().map(|link| &*link.name).collect();
        let garbage: Vec<_> = listed
            .into_iter()
            .filter(|listed| listed.id == *position.id && !reached.contains(listed.name.as_str()))
            .collect();
        self.found.retain(|name, _| garbage.iter().any(|listed| listed.name == *name));
        let mut removed = 0;
        for listed in garbage {
            let since = match self.found.get(&listed.name) {
                Some(since) => *since,
                None => match shared.store.segment(&listed.name).await {
                    Ok(spec) if spec.base < position.index => {
                        self.found.insert(listed.name.clone(), Instant::now());
                        Instant::now()
                    }
                    Ok(_) | Err(StoreError::NotFound) => continue, // it may still be named; or it is gone
                    Err(error) => return Err(Error::Store(error)),
                },
            };
            if since.elapsed() < self.after {
                continue;
            }
            match shared.store.delete_segment(&listed).await {
                Ok(()) => removed += 1,
                Err(StoreError::NotFound | StoreError::Conflict) => {}
                Err(error) => return Err(Error::Store(error)),
            }
            self.found.remove(&listed.name);
        }
        Ok(removed)
    }

    /// Passes for ever: whenever the journal has moved, or garbage waits. At rest nothing is asked and nothing written.
    pub async fn run<S: State>(mut self, journal: Journal<S>) -> Error {
        let mut positions = journal.subscribe();
        let pause = (self.after / 4).max(Duration::from_millis(10));
        loop {
            match self.pass(&journal).await {
                Ok(0) => {}
                Ok(removed) => tracing::info!(removed, "removed segments that nothing reaches"),
                Err(error @ (Error::Lost(_) | Error::Closed)) => return error,
                Err(error) => tracing::debug!(%error, "garbage stays for now"),
            }
            tokio::time::sleep(pause).await;
            if !self.is_waiting() && positions.changed().await.is_err() {
                return Error::Closed;
            }
        }
    }
}
