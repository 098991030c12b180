//! The journal: one small mutable root, changed by compare-and-swap, that points at immutable segments. Generic over events: no
//! knowledge of what they mean may live here.
//!
//! ```text
//!  submit --> queue --> append: judge over the working state, segments, PUT the root --200--> publish, answer
//!                          '--409--> GET the root, absorb what is new, judge again
//!  watch, GET --> absorb: fetch what is missing, check the chain, apply --> publish        (always at a root's index)
//! ```
//!
//! Values, pure: `root` and `batch` (encodings, the head, the check of the chain), `segment` and `seal` (what a swap seals),
//! `loss` (what a lost journal is), `bucket` (pacing). Edges: `store`, `shared` (what a process holds, absorb, prove), `append`
//! and `settle` (group commit), `follow` (watch, proof every 30 s), `read`, `collect` (garbage), `create` (the first roots).
//!
//! Invariants, each held by a case of `suite`: what was acknowledged is in the journal exactly once; a state is published only
//! at a root's index; a loss is declared only by a GET without resourceVersion that began after what it is compared with was
//! known; a segment is named only by the swap that follows its `base`, and deleted only when no root can ever name it.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use jiff::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;

mod absorb;
mod append;
mod batch;
mod bucket;
mod collect;
mod create;
mod follow;
mod handle;
mod loss;
mod read;
mod root;
mod seal;
mod segment;
mod settle;
mod shared;
pub mod store;
#[doc(hidden)]
pub mod suite;

pub use batch::{Batch, EVENTS_MAX, REQUEST_MAX};
pub use collect::Collector;
pub use create::{Creation, Named, create_if_nothing_names_one, make_anew};
pub use handle::{Journal, load};
pub use loss::{Known, Loss};
pub use root::FORMAT;
pub use store::{Root, Store, StoreError};

/// What an event was stamped with. `time` never goes back within a journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// The batch's index.
    pub index: i64,
    /// The event's number in its batch, from 0.
    pub ordinal: u32,
    /// When the batch was written, to the millisecond.
    pub time: Timestamp,
    /// Who wrote it.
    pub writer: Arc<str>,
}

/// The fold of a journal. A clone must be cheap: persistent maps inside.
pub trait State: Clone + Send + Sync + 'static {
    /// What changes it.
    type Event: Serialize + DeserializeOwned + Clone + Send + Sync + 'static;

    /// The only way it changes. It must not fail and must not look at anything but its arguments.
    fn apply(&mut self, stamp: &Stamp, event: &Self::Event);
}

/// A request's judgement over the state as of its append.
pub enum Verdict<E, R> {
    /// These events; the answer is delivered when they are durable.
    Append(Vec<E>, R),
    /// No events; the answer is delivered when the state that it was judged by is proven to be the newest.
    Read(R),
}

/// Where a journal is, and whether it is lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// The installation's id.
    pub id: Arc<str>,
    /// The UID of the root.
    pub uid: Arc<str>,
    /// The root's index.
    pub index: i64,
    /// The root's head.
    pub head: Arc<str>,
    /// Once set it stays: open the journal anew.
    pub loss: Option<Loss>,
}

impl std::fmt::Display for Position {
    /// `<id>/<index>/<head>`, as `--expect-head` takes it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}/{}", self.id, self.index, self.head)
    }
}

/// The state at a root's index.
#[derive(Clone, Debug)]
pub struct Snapshot<S> {
    /// The fold of all events up to the position.
    pub state: Arc<S>,
    /// Where that is.
    pub position: Position,
    /// When the newest batch was written; the Unix epoch if there is none.
    pub time: Timestamp,
}

/// Why a request was not answered as it wanted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The journal is lost: nothing is acknowledged any more.
    #[error("the journal is lost: {0}")]
    Lost(Loss),
    /// Too many requests wait. Nothing was done.
    #[error("too many requests wait for the journal")]
    Overloaded,
    /// No definite answer in time: it may have been done, or may still be.
    #[error("the journal did not answer in time; it may have been written all the same")]
    Deadline,
    /// One event, or the whole request, is larger than a journal takes. Nothing was done.
    #[error("the change is too large")]
    TooLarge,
    /// The guard of [`Options::before_append`] said no. Nothing was done, nothing will be.
    #[error("another leader has taken over")]
    Fenced,
    /// The store refused. Nothing was done.
    #[error("the journal's store failed")]
    Store(#[source] StoreError),
    /// The journal was dropped, or the judgement panicked. It may have been written all the same.
    #[error("the journal was closed")]
    Closed,
}

/// Asked after a conflict, before the next append: `false` ends all appending.
pub type Guard = Arc<dyn Fn() -> BoxFuture<'static, bool> + Send + Sync>;

/// Told how long something took.
pub type Observer = Arc<dyn Fn(Duration) + Send + Sync>;

/// How a process takes part in a journal. All waits are here, so that tests take seconds.
#[derive(Clone)]
pub struct Options {
    /// Who appends, such as `gateway/<pod>`; unique to the process. At most 512 bytes.
    pub writer: String,
    /// What is known of the journal; opening fails if it is not so.
    pub expect: Vec<Known>,
    /// Whether to watch the root and prove it regularly. Without, only requests look at it.
    pub follow: bool,
    /// How long a request waits.
    pub deadline: Duration,
    /// How many requests may wait.
    pub queue: usize,
    /// The root is proven at least this often.
    pub prove_every: Duration,
    /// How long the API server may say that it has no such kind before that counts as gone.
    pub absent_after: Duration,
    /// For how many turns of the scheduler nobody may have come before a swap goes: who was just woken comes along then.
    pub quiet_turns: u32,
    /// How many swaps in a row may be lost before this writer asks the others for the next one.
    pub wait_after: u32,
    /// How long the others' next append is left to who asked for it.
    pub wait_for: Duration,
    /// How many appends may come at once.
    pub burst: u32,
    /// How many appends a second in the long run.
    pub refill: f64,
    /// Asked after a conflict: is this process still the one that may append?
    pub before_append: Option<Guard>,
    /// Told how long each append took, from its judgement until it was durable.
    pub appended: Option<Observer>,
}

impl Options {
    /// The defaults of design.md.
    pub fn new(writer: impl Into<String>) -> Self {
        Self {
            writer: writer.into(),
            expect: Vec::new(),
            follow: true,
            deadline: Duration::from_secs(20),
            queue: 16_384,
            prove_every: Duration::from_secs(30),
            absent_after: Duration::from_secs(5),
            quiet_turns: 4,
            wait_after: 3,
            wait_for: Duration::from_secs(2),
            burst: 20_000,
            refill: 50.0,
            before_append: None,
            appended: None,
        }
    }
}

#[cfg(test)]
mod tests;
