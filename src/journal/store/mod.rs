//! Where a journal is kept: one root changed by compare-and-swap, immutable segments, and a watch. No journal logic lives here.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::BoxStream;

use crate::api::{JournalSpec, SegmentSpec};

pub mod faulty;
pub mod kubernetes;
pub mod memory;

pub use faulty::{Fault, Faulty, Op};
pub use kubernetes::Kubernetes;
pub use memory::Memory;

/// A root as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Root {
    /// The object's UID.
    pub uid: Arc<str>,
    /// Its resourceVersion.
    pub version: Arc<str>,
    /// Whether it has a deletionTimestamp.
    pub deleting: bool,
    /// Metadata of other people's (labels, annotations, finalizers, owners) as members of a JSON object: every swap repeats it.
    pub kept: Arc<str>,
    /// The root itself.
    pub spec: JournalSpec,
}

/// A segment's name, and what makes its deletion safe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The object's name.
    pub name: String,
    /// The object's UID.
    pub uid: String,
    /// The installation whose journal it is of.
    pub id: String,
}

/// What a watch saw. Never proof of anything: a reason to look.
#[derive(Clone, Debug)]
pub enum Hint {
    /// The root was this.
    Root(Box<Root>),
    /// The root was deleted.
    Deleted,
}

/// Why a store did not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The object is not there. Only a GET's is proof.
    #[error("not found")]
    NotFound,
    /// The API server does not know the kind (at this moment).
    #[error("the API server has no such kind; is the CRD installed?")]
    NoSuchKind,
    /// Another UID or resourceVersion than given.
    #[error("changed by somebody else")]
    Conflict,
    /// A name that exists already.
    #[error("exists already")]
    AlreadyExists,
    /// Refused by validation or an admission policy.
    #[error("refused as invalid: {0}")]
    Invalid(String),
    /// Refused for good.
    #[error("refused with status {status}: {message}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// What the API server said.
        message: String,
    },
    /// An answer that cannot be read.
    #[error("answered what cannot be read: {0}")]
    Malformed(String),
    /// No answer, or one that does not say whether it was done: timeout, reset, 429, 5xx.
    #[error("no definite answer: {message}")]
    Unknown {
        /// What happened.
        message: String,
        /// When the API server wants to be asked again.
        retry_after: Option<Duration>,
    },
}

impl StoreError {
    /// An error of unknown outcome.
    pub fn unknown(message: impl Into<String>) -> Self {
        Self::Unknown {
            message: message.into(),
            retry_after: None,
        }
    }
}

/// Where one journal is kept. Every method is one attempt with a deadline of its own: nothing repeats in secret.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// The journal's name, such as `directory`.
    fn name(&self) -> &str;

    /// GET of the root without resourceVersion: linearizable.
    async fn root(&self) -> Result<Root, StoreError>;

    /// Replaces the root that was read as `base`: `Conflict` if it has another UID or resourceVersion by now. The same arguments
    /// give the same bytes. Answers what is stored.
    async fn swap(&self, base: &Root, spec: &JournalSpec) -> Result<Root, StoreError>;

    /// Creates the root.
    async fn create_root(&self, spec: &JournalSpec) -> Result<Root, StoreError>;

    /// GET of a segment: linearizable.
    async fn segment(&self, name: &str) -> Result<SegmentSpec, StoreError>;

    /// Creates a segment of the installation `id`.
    async fn create_segment(&self, id: &str, name: &str, spec: &SegmentSpec) -> Result<(), StoreError>;

    /// The names of all segments of this journal, of whatever installation.
    async fn segments(&self) -> Result<Vec<Listed>, StoreError>;

    /// Deletes a segment, if it still has that UID.
    async fn delete_segment(&self, segment: &Listed) -> Result<(), StoreError>;

    /// The root's changes after a resourceVersion; ends sooner or later.
    async fn watch(&self, after: &str) -> Result<BoxStream<'static, Result<Hint, StoreError>>, StoreError>;
}
