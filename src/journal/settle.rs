//! One swap, sent until it is known what became of it. Nothing is judged here.

use std::time::Duration;

use super::shared::{Base, Shared};
use super::{Error, Root, State, StoreError};
use crate::api::JournalSpec;

/// What became of a swap.
#[derive(Debug)]
pub(super) enum Outcome {
    /// Stored, and answered so.
    Stored(Box<Root>),
    /// The answer was lost, and it was found in the journal: stored, and absorbed.
    Ours,
    /// Somebody else's swap followed the base.
    Lost,
    /// Nothing followed the base, and this swap can never do so: the object changed in other ways.
    Moved,
    /// Not stored, and never will be.
    Failed(Error),
}

/// How long to wait before the same request is sent again.
#[derive(Debug)]
pub(super) struct Backoff(Duration);

impl Backoff {
    pub fn new() -> Self {
        Self(Duration::from_millis(10))
    }

    /// Waits; longer each time, up to a second, or as long as the API server asks for (5 s at most).
    pub async fn wait(&mut self, error: &StoreError) {
        let asked = match error {
            StoreError::Unknown { retry_after, .. } => retry_after.unwrap_or_default(),
            _ => Duration::ZERO,
        };
        tokio::time::sleep(self.0.max(asked.min(Duration::from_secs(5)))).await;
        self.0 = (self.0 * 2).min(Duration::from_secs(1));
    }
}

impl<S: State> Shared<S> {
    /// Sends the swap that follows `base`. An unknown outcome is settled by *the same bytes* until the answer is 200 or 409; after
    /// it a refusal says nothing about the first, which may still be on its way.
    pub async fn settle(&self, base: &Base<S>, spec: &JournalSpec, nonce: &str) -> Outcome {
        self.attempting(base.root.spec.index + 1, spec.index, nonce);
        let outcome = if self.snapshot().position.index == base.root.spec.index {
            self.send(base, spec).await
        } else {
            Outcome::Lost // while the segments were created
        };
        self.settled();
        outcome
    }

    async fn send(&self, base: &Base<S>, spec: &JournalSpec) -> Outcome {
        let mut unknown = false;
        let mut backoff = Backoff::new();
        loop {
            if let Err(error) = self.alive() {
                return Outcome::Failed(error);
            }
            let answer = self.store.swap(&base.root, spec).await;
            let error = match answer {
                Ok(root) if root.deleting || root.uid != base.root.uid || root.spec != *spec => {
                    self.not_due();
                    return self.odd().await;
                }
                Ok(root) => return Outcome::Stored(Box::new(root)),
                Err(error) => error,
            };
            self.not_due();
            match &error {
                StoreError::Conflict
                | StoreError::AlreadyExists
                | StoreError::NotFound
                | StoreError::NoSuchKind
                | StoreError::Invalid(_) => {
                    if let Some(outcome) = self.look(base).await {
                        return outcome;
                    }
                    // The root is as it was. A conflict without a change is no answer, and neither is a repetition's refusal.
                    if !unknown && error != StoreError::Conflict {
                        return Outcome::Failed(Error::Store(error));
                    }
                }
                StoreError::Refused { .. } if !unknown => return Outcome::Failed(Error::Store(error)),
                StoreError::Refused { .. } => {
                    if let Some(outcome) = self.look(base).await {
                        return outcome;
                    }
                }
                StoreError::Malformed(_) | StoreError::Unknown { .. } => {}
            }
            if !unknown {
                tracing::debug!(journal = self.store.name(), %error, "the outcome of an append is unknown; asking again");
            }
            unknown = true;
            backoff.wait(&error).await;
        }
    }

    /// Reads the root and says whose swap followed the base; none while the root is exactly as it was.
    async fn look(&self, base: &Base<S>) -> Option<Outcome> {
        let mut backoff = Backoff::new();
        let found = loop {
            match self.prove(false).await {
                Ok(found) => break found,
                Err(Error::Store(error)) => backoff.wait(&error).await,
                Err(error) => return Some(Outcome::Failed(error)),
            }
        };
        match self.whose() {
            Some(true) => Some(Outcome::Ours),
            Some(false) => Some(Outcome::Lost),
            // What was absorbed before this swap was announced was stored before it was sent.
            None if found.root.spec.index > base.root.spec.index => Some(Outcome::Lost),
            // It can only follow the resourceVersion that it was sent with.
            None if found.root.version != base.root.version => Some(Outcome::Moved),
            None => None,
        }
    }

    /// The answer was 200, but not with what was sent: deleted meanwhile, or cut by a schema. The chain tells.
    async fn odd(&self) -> Outcome {
        let mut backoff = Backoff::new();
        loop {
            match self.prove(false).await {
                Ok(_) => {
                    let what = "the store answered with another root than was sent".to_owned();
                    return match self.whose() {
                        Some(true) => Outcome::Ours,
                        _ => Outcome::Failed(Error::Store(StoreError::Malformed(what))),
                    };
                }
                Err(Error::Store(error)) => backoff.wait(&error).await,
                Err(error) => return Outcome::Failed(error),
            }
        }
    }
}
