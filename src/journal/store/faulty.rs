//! A store with faults in between, for the suite: it wraps any other, so the same faults hit every backend.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures::future::BoxFuture;
use futures::stream::BoxStream;

use super::{Hint, Listed, Root, Store, StoreError};
use crate::api::{JournalSpec, SegmentSpec};

/// One attempt, as the plan of faults sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// GET of the root.
    Root,
    /// PUT of the root.
    Swap,
    /// POST of the root.
    CreateRoot,
    /// GET of a segment.
    Segment,
    /// POST of a segment.
    CreateSegment,
    /// LIST of the segments.
    Segments,
    /// DELETE of a segment.
    DeleteSegment,
    /// The watch.
    Watch,
}

/// What happens to an attempt.
pub enum Fault {
    /// Something happens first (somebody else's append, a pause), then the attempt goes on.
    Before(BoxFuture<'static, ()>),
    /// It is done, and the answer is lost.
    ReplyLost,
    /// The answer is "unknown" at once, and it is done later.
    Late(Duration),
    /// It is refused, and not done.
    Refuse(StoreError),
    /// The swap says something else, such as what only a newer release knows.
    Edit(fn(&mut JournalSpec)),
}

type Plan = dyn FnMut(Op) -> Option<Fault> + Send;

/// A store with a plan of faults.
pub struct Faulty {
    inner: Arc<dyn Store>,
    plan: Mutex<Box<Plan>>,
}

impl Faulty {
    /// Wraps a store: `plan` is asked before every attempt.
    pub fn new(inner: Arc<dyn Store>, plan: impl FnMut(Op) -> Option<Fault> + Send + 'static) -> Arc<Self> {
        Arc::new(Self {
            inner,
            plan: Mutex::new(Box::new(plan)),
        })
    }

    /// Passes an attempt on. `run` is called at most once.
    async fn through<T: Send + 'static>(
        &self,
        op: Op,
        run: impl FnOnce(Arc<dyn Store>) -> BoxFuture<'static, Result<T, StoreError>> + Send,
    ) -> Result<T, StoreError> {
        self.with(self.fault(op), run).await
    }

    fn fault(&self, op: Op) -> Option<Fault> {
        (self.plan.lock().unwrap_or_else(PoisonError::into_inner))(op)
    }

    async fn with<T: Send + 'static>(
        &self,
        fault: Option<Fault>,
        run: impl FnOnce(Arc<dyn Store>) -> BoxFuture<'static, Result<T, StoreError>> + Send,
    ) -> Result<T, StoreError> {
        match fault {
            None | Some(Fault::Edit(_)) => run(self.inner.clone()).await,
            Some(Fault::Before(first)) => {
                first.await;
                run(self.inner.clone()).await
            }
            Some(Fault::ReplyLost) => {
                let _ = run(self.inner.clone()).await;
                Err(StoreError::unknown("the reply was lost"))
            }
            Some(Fault::Late(delay)) => {
                let late = run(self.inner.clone());
                tokio::spawn(async move {
                    tokio::time::sleep(delay).await;
                    let _ = late.await;
                });
                Err(StoreError::unknown("the request is still on its way"))
            }
            Some(Fault::Refuse(error)) => Err(error),
        }
    }
}

#[async_trait]
impl Store for Faulty {
    fn name(&self) -> &str {
        self.inner.name()
    }

    async fn root(&self) -> Result<Root, StoreError> {
        self.through(Op::Root, |store| Box::pin(async move { store.root().await })).await
    }

    async fn swap(&self, base: &Root, spec: &JournalSpec) -> Result<Root, StoreError> {
        let (base, mut spec) = (base.clone(), spec.clone());
        let fault = self.fault(Op::Swap);
        if let Some(Fault::Edit(edit)) = &fault {
            edit(&mut spec);
        }
        self.with(fault, |store| Box::pin(async move { store.swap(&base, &spec).await }))
            .await
    }

    async fn create_root(&self, spec: &JournalSpec) -> Result<Root, StoreError> {
        let spec = spec.clone();
        self.through(Op::CreateRoot, |store| Box::pin(async move { store.create_root(&spec).await }))
            .await
    }

    async fn segment(&self, name: &str) -> Result<SegmentSpec, StoreError> {
        let name = name.to_owned();
        self.through(Op::Segment, |store| Box::pin(async move { store.segment(&name).await }))
            .await
    }

    async fn create_segment(&self, id: &str, name: &str, spec: &SegmentSpec) -> Result<(), StoreError> {
        let (id, name, spec) = (id.to_owned(), name.to_owned(), spec.clone());
        self.through(Op::CreateSegment, |store| {
            Box::pin(async move { store.create_segment(&id, &name, &spec).await })
        })
        .await
    }

    async fn segments(&self) -> Result<Vec<Listed>, StoreError> {
        self.through(Op::Segments, |store| Box::pin(async move { store.segments().await }))
            .await
    }

    async fn delete_segment(&self, segment: &Listed) -> Result<(), StoreError> {
        let segment = segment.clone();
        self.through(Op::DeleteSegment, |store| {
            Box::pin(async move { store.delete_segment(&segment).await })
        })
        .await
    }

    async fn watch(&self, after: &str) -> Result<BoxStream<'static, Result<Hint, StoreError>>, StoreError> {
        let after = after.to_owned();
        self.through(Op::Watch, |store| Box::pin(async move { store.watch(&after).await }))
            .await
    }
}
