//! What a process holds of a journal, and the way it is proven: `prove`, a GET of the root, which alone may
//! declare a loss. How a root is taken in is in `absorb`; no policy of who appends when lives here.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::Instant;

use super::absorb::{decode, each_line};
use super::batch::Verifier;
use super::loss::{compare, position};
use super::root::genesis;
use super::segment::{Chain, Link};
use super::{Error, Loss, Options, Position, Root, Snapshot, State, Store, StoreError};

/// What all tasks of one journal share. Readers take `published`; whoever folds holds `held`.
pub(super) struct Shared<S: State> {
    pub store: Arc<dyn Store>,
    pub options: Options,
    published: ArcSwap<Snapshot<S>>,
    position: watch::Sender<Position>,
    /// One fold at a time: this lock is held while missing segments are fetched, because what comes after needs them first.
    held: tokio::sync::Mutex<Held>,
    attempt: Mutex<Option<Attempt>>,
    lost: OnceLock<Loss>,
    /// It follows a journal whose loss somebody accepted.
    pub successor: bool,
}

/// What only the fold needs.
pub(super) struct Held {
    pub root: Arc<Root>,
    pub chain: Chain,
    pub reserved: Option<Reserved>,
}

/// Somebody asked for the swap after `index`.
pub(super) struct Reserved {
    pub index: i64,
    pub until: Instant,
}

/// The swap that this process has in flight: whoever absorbs its index says whose it was.
pub(super) struct Attempt {
    pub first: i64,
    last: i64,
    pub nonce: String,
    pub ours: Option<bool>,
    /// No definite answer yet, and none lost either: it is due at any moment.
    due: bool,
}

/// A root and the state at it.
pub(super) struct Base<S> {
    pub root: Arc<Root>,
    pub snapshot: Arc<Snapshot<S>>,
}

/// Why a root could not be absorbed.
#[derive(Debug)]
pub(super) enum Trouble {
    /// It does not fit what is known, or cannot be read.
    Lost(Loss),
    /// A segment is gone; if a root that is read from now on still reaches it, it is missing.
    Missing(String),
    /// The root is not what it was a moment ago.
    Moved,
    /// The store failed.
    Store(StoreError),
}

impl<S: State> Shared<S> {
    /// Nothing known yet but that there is this root: `prove` does the rest.
    pub fn new(store: Arc<dyn Store>, options: Options, initial: S, root: &Root) -> Self {
        let mut nothing = root.clone();
        nothing.spec = super::root::first(&root.spec.id, store.name());
        nothing.spec.predecessors.clone_from(&root.spec.predecessors);
        let mut position = position(&nothing);
        position.head = Arc::from(genesis(&root.spec.id, store.name()));
        let snapshot = Snapshot {
            state: Arc::new(initial),
            position: position.clone(),
            time: Timestamp::UNIX_EPOCH,
        };
        Self {
            store,
            options,
            published: ArcSwap::from_pointee(snapshot),
            position: watch::Sender::new(position),
            held: tokio::sync::Mutex::new(Held {
                root: Arc::new(nothing),
                chain: Chain::default(),
                reserved: None,
            }),
            attempt: Mutex::new(None),
            lost: OnceLock::new(),
            successor: !root.spec.predecessors.is_empty(),
        }
    }

    /// What is applied.
    pub fn snapshot(&self) -> Arc<Snapshot<S>> {
        self.published.load_full()
    }

    /// Wakes on every published position.
    pub fn subscribe(&self) -> watch::Receiver<Position> {
        self.position.subscribe()
    }

    /// Fails once the journal is lost.
    pub fn alive(&self) -> Result<(), Error> {
        match self.lost.get() {
            Some(loss) => Err(Error::Lost(loss.clone())),
            None => Ok(()),
        }
    }

    /// Declares a loss; the first one stays. Only those may call it who read the root after they knew what it is compared with.
    pub fn declare(&self, loss: Loss) -> Error {
        let loss = self.lost.get_or_init(|| {
            tracing::error!(journal = self.store.name(), position = %self.snapshot().position, reason = loss.reason(), "{loss}");
            loss
        });
        self.mark(loss);
        Error::Lost(loss.clone())
    }

    fn mark(&self, loss: &Loss) {
        self.published.rcu(|now| {
            let mut marked = Snapshot::clone(now);
            marked.position.loss = Some(loss.clone());
            marked
        });
        self.position.send_replace(self.snapshot().position.clone());
    }

    pub fn publish(&self, snapshot: Snapshot<S>) {
        let position = snapshot.position.clone();
        self.published.store(Arc::new(snapshot));
        self.position.send_replace(position);
        if let Some(loss) = self.lost.get() {
            self.mark(loss); // declared just now, by another task
        }
    }

    /// The root and the state at it, together.
    pub async fn base(&self) -> Base<S> {
        let held = self.held.lock().await;
        Base {
            root: held.root.clone(),
            snapshot: self.snapshot(),
        }
    }

    /// The chain of segments as of a position; whole only after `prove(true)`.
    pub async fn chain(&self) -> (Position, Chain) {
        let held = self.held.lock().await;
        (self.snapshot().position.clone(), held.chain.clone())
    }

    // === proof ===

    /// GETs the root and takes in whatever is new. Returns that root, and a snapshot that is at least as new. With `whole`, the
    /// chain of segments is known to its first one, too.
    pub async fn prove(&self, whole: bool) -> Result<Base<S>, Error> {
        self.prove_after(whole, HashSet::new()).await
    }

    /// The same, when a GET of the segments `missing` was answered with 404 before.
    pub async fn prove_after(&self, whole: bool, mut missing: HashSet<String>) -> Result<Base<S>, Error> {
        let mut absent: Option<Instant> = None;
        loop {
            self.alive()?;
            let known = self.snapshot().position.clone(); // before the GET begins: only this may be compared with it
            let root = match self.store.root().await {
                Ok(root) => root,
                Err(StoreError::NotFound) => return Err(self.declare(Loss::Gone)),
                Err(StoreError::NoSuchKind) => {
                    // An API server that has just started, or lags behind a CRD, says this for a moment.
                    if absent.get_or_insert_with(Instant::now).elapsed() >= self.options.absent_after {
                        return Err(self.declare(Loss::Gone));
                    }
                    tokio::time::sleep(self.options.absent_after / 20).await;
                    continue;
                }
                Err(StoreError::Malformed(why)) => {
                    let what = "the root".to_owned();
                    return Err(self.declare(Loss::Undecodable { what, why }));
                }
                Err(error) => return Err(Error::Store(error)),
            };
            absent = None;
            compare(&known, &root).map_err(|loss| self.declare(loss))?;
            self.let_own_swap_finish(root.spec.index).await;
            let mut held = self.held.lock().await;
            let root = Arc::new(root);
            let mut result = self.absorb(&mut held, &root).await;
            if result.is_ok() && held.root.spec.index == root.spec.index {
                held.root = root.clone(); // a newer resourceVersion, perhaps
            }
            if whole && result.is_ok() {
                result = self.resolve(&mut held).await;
            }
            drop(held);
            match result {
                Ok(()) => {
                    let snapshot = self.snapshot();
                    return Ok(Base { root, snapshot });
                }
                // Another task knew more by the time of the comparison: what the GET showed proves nothing against that.
                Err(Trouble::Lost(_)) if self.snapshot().position.index != known.index => {}
                Err(Trouble::Lost(loss)) => {
                    let loss = self.diagnose(loss, &known, &root).await;
                    return Err(self.declare(loss));
                }
                Err(Trouble::Missing(name)) if missing.contains(&name) => {
                    return Err(self.declare(Loss::SegmentMissing { name }));
                }
                Err(Trouble::Missing(name)) => {
                    missing.insert(name);
                }
                Err(Trouble::Moved) => {}
                Err(Trouble::Store(error)) => return Err(Error::Store(error)),
            }
        }
    }

    /// A chain that does not follow what is known, and is whole in itself, is an older one that went on.
    async fn diagnose(&self, loss: Loss, known: &Position, root: &Root) -> Loss {
        if !matches!(loss, Loss::BrokenChain { .. }) || known.index == 0 {
            return loss;
        }
        let Ok(segments) = self.fetch(&root.spec, 0).await else {
            return loss;
        };
        let mut verifier = Verifier::new(0, &genesis(&root.spec.id, self.store.name()), &[]);
        let whole = each_line(&root.spec, &segments, 0, |line| verifier.take(line).map(|_| ())).and_then(|_| verifier.finish(&root.spec));
        match whole {
            Ok(()) => Loss::RolledBack {
                known: known.index,
                found: root.spec.index,
            },
            Err(_) => loss,
        }
    }

    /// Takes in a root that a watch showed. Whatever is odd about it is a reason to look, nothing more.
    pub async fn hint(&self, root: Root) -> Result<(), Error> {
        self.alive()?;
        let known = self.snapshot().position.clone();
        if root.spec.index < known.index && !root.deleting {
            return Ok(());
        }
        if compare(&known, &root).is_ok() {
            self.let_own_swap_finish(root.spec.index).await;
            let mut held = self.held.lock().await;
            match self.absorb(&mut held, &Arc::new(root)).await {
                Ok(()) => return Ok(()),
                Err(trouble) => tracing::debug!(?trouble, "what the watch showed does not fit"),
            }
        }
        self.prove(false).await.map(|_| ())
    }

    /// A watch or a GET is often faster than the answer to our own PUT: what it shows need not be decoded again then.
    async fn let_own_swap_finish(&self, index: i64) {
        if self.attempt().as_ref().is_some_and(|attempt| attempt.due && attempt.last == index) {
            let mut positions = self.subscribe();
            let done = positions.wait_for(|position| position.index >= index);
            let _ = tokio::time::timeout(Duration::from_millis(50), done).await;
        }
    }

    // === for the appender ===

    /// The newest segments that a swap of `incoming` bytes after `base` takes in, oldest first, each with its lines.
    pub async fn taken(&self, base: &Root, incoming: usize) -> Result<Vec<Link>, Trouble> {
        let mut held = self.held.lock().await;
        if held.root.version != base.version {
            return Err(Trouble::Moved);
        }
        self.resolve(&mut held).await?;
        let mut taken = held.chain.taken(incoming).to_vec();
        for link in &mut taken {
            if link.lines.is_none() {
                let spec = self.segment(&link.name).await?;
                let lines: Arc<str> = Arc::from(decode(&link.name, &spec).map_err(Trouble::Lost)?);
                held.chain.remember(&link.name, lines.clone());
                link.lines = Some(lines);
            }
        }
        Ok(taken)
    }

    /// Publishes the state after our own swap, unless the watch was faster.
    pub async fn commit(&self, base: &Base<S>, root: Root, state: S, time: Timestamp, taken: usize, links: impl IntoIterator<Item = Link>) {
        let mut held = self.held.lock().await;
        if self.snapshot().position.index != base.snapshot.position.index {
            return;
        }
        if held.chain.reaches(&base.root.spec.parent) {
            held.chain.advance(taken, links);
        }
        let position = position(&root);
        held.root = Arc::new(root);
        held.reserved = None;
        self.publish(Snapshot {
            state: Arc::new(state),
            position,
            time,
        });
    }

    /// Waits while the next swap is left to somebody who asked for it.
    pub async fn leave_room(&self) {
        loop {
            let mut positions = self.subscribe();
            let until = match &self.held.lock().await.reserved {
                Some(reserved) if reserved.index == self.snapshot().position.index => reserved.until,
                _ => return,
            };
            if Instant::now() >= until || self.lost.get().is_some() {
                return;
            }
            let _ = tokio::time::timeout_at(until, positions.changed()).await;
        }
    }

    /// Announces the swap that is about to be sent.
    pub fn attempting(&self, first: i64, last: i64, nonce: &str) {
        *self.attempt() = Some(Attempt {
            first,
            last,
            nonce: nonce.to_owned(),
            ours: None,
            due: true,
        });
    }

    /// Whether the swap in flight was seen in the journal: ours, somebody else's, or nothing there yet.
    pub fn whose(&self) -> Option<bool> {
        self.attempt().as_ref().and_then(|attempt| attempt.ours)
    }

    /// The answer to the swap in flight was not 200: nobody need wait for it.
    pub fn not_due(&self) {
        if let Some(attempt) = self.attempt().as_mut() {
            attempt.due = false;
        }
    }

    /// The swap in flight is settled.
    pub fn settled(&self) {
        *self.attempt() = None;
    }

    pub fn attempt(&self) -> MutexGuard<'_, Option<Attempt>> {
        self.attempt.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
