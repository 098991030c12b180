//! The handle that the rest of the program holds: open, snapshot, read, submit, subscribe.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout_at};

use super::append::{Appender, Pending, Request};
use super::batch::WRITER_MAX;
use super::loss::{compare_known, is_succeeded};
use super::read::Waiting;
use super::settle::Backoff;
use super::shared::Shared;
use super::{Error, Known, Loss, Options, Position, Root, Snapshot, Stamp, State, Store, StoreError, Verdict};

/// A journal that this process takes part in. Clones are one journal; the tasks end with the last of them.
pub struct Journal<S: State> {
    inner: Arc<Inner<S>>,
}

impl<S: State> Clone for Journal<S> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone() }
    }
}

struct Inner<S: State> {
    shared: Arc<Shared<S>>,
    appends: mpsc::Sender<Box<dyn Pending<S>>>,
    reads: mpsc::Sender<Waiting<S>>,
    tasks: Vec<AbortHandle>,
}

impl<S: State> Drop for Inner<S> {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

impl<S: State> Journal<S> {
    /// Opens a journal: reads the root, the segments and the tail, checks the chain from its beginning and what
    /// [`Options::expect`] says, and folds everything into `initial`. A missing root is [`Loss::Gone`].
    pub async fn open(store: Arc<dyn Store>, initial: S, options: Options) -> Result<Self, Error> {
        let shared = Arc::new(cold(store, initial, options).await?);
        let (appends, inbox) = mpsc::channel(shared.options.queue.max(1));
        let mut tasks = vec![tokio::spawn(Appender::new(shared.clone(), inbox).run()).abort_handle()];
        let (reads, inbox) = mpsc::channel(shared.options.queue.max(1));
        tasks.push(tokio::spawn(super::read::run(shared.clone(), inbox)).abort_handle());
        if shared.options.follow {
            tasks.push(tokio::spawn(super::follow::run(shared.clone())).abort_handle());
        }
        Ok(Self {
            inner: Arc::new(Inner {
                shared,
                appends,
                reads,
                tasks,
            }),
        })
    }

    /// Whether it was made anew after the loss of one before it was accepted.
    pub fn is_successor(&self) -> bool {
        self.inner.shared.successor
    }

    /// What is applied; not proven to be the newest.
    pub fn snapshot(&self) -> Snapshot<S> {
        Snapshot::clone(&self.inner.shared.snapshot())
    }

    /// Linearizable: proven by a GET of the root that began after this call, and that all reads share that wait.
    pub async fn read(&self) -> Result<Snapshot<S>, Error> {
        self.inner.shared.alive()?;
        let (waiting, answer) = oneshot::channel();
        self.inner.reads.try_send(waiting).map_err(refused)?;
        let snapshot = self.wait(answer).await?;
        Ok(Snapshot::clone(&snapshot))
    }

    /// Judges a request over the state as of its append, and answers when that is durable (or, without events, proven).
    /// `judge` may run several times, each time on the newest state, and sees the effects of the requests before it.
    pub async fn submit<R, F>(&self, judge: F) -> Result<R, Error>
    where
        F: FnMut(&S, &Stamp) -> Verdict<S::Event, R> + Send + 'static,
        R: Send + 'static,
    {
        self.submit_with_answer(judge, |_: &S, answer| answer).await
    }

    /// The same, where the answer is rendered from the state right after the request's own events, and before anybody else's.
    pub async fn submit_with_answer<T, R, F, G>(&self, judge: F, render: G) -> Result<R, Error>
    where
        F: FnMut(&S, &Stamp) -> Verdict<S::Event, T> + Send + 'static,
        G: FnMut(&S, T) -> R + Send + 'static,
        T: Send + 'static,
        R: Send + 'static,
    {
        self.inner.shared.alive()?;
        let (waiting, answer) = oneshot::channel();
        let request = Request {
            judge,
            render,
            said: None,
            answer: None,
            waiting,
        };
        self.inner.appends.try_send(Box::new(request)).map_err(refused)?;
        self.wait(answer).await
    }

    async fn wait<R>(&self, answer: oneshot::Receiver<Result<R, Error>>) -> Result<R, Error> {
        match timeout_at(Instant::now() + self.inner.shared.options.deadline, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(Error::Closed),
            Err(_) => Err(Error::Deadline),
        }
    }

    /// Wakes on every new position, a loss included.
    pub fn subscribe(&self) -> watch::Receiver<Position> {
        self.inner.shared.subscribe()
    }

    /// Proves the root now, and that every segment it reaches is there: what happens every 30 s anyway.
    pub async fn prove(&self) -> Result<(), Error> {
        super::follow::prove(&self.inner.shared).await
    }

    pub(super) fn shared(&self) -> &Shared<S> {
        &self.inner.shared
    }
}

/// Reads a journal once, without taking part: what a command-line tool needs.
pub async fn load<S: State>(store: Arc<dyn Store>, initial: S, expect: Vec<Known>) -> Result<Snapshot<S>, Error> {
    let mut options = Options::new("");
    options.expect = expect;
    Ok(Snapshot::clone(&cold(store, initial, options).await?.snapshot()))
}

/// A cold start: everything from the first batch on.
async fn cold<S: State>(store: Arc<dyn Store>, initial: S, mut options: Options) -> Result<Shared<S>, Error> {
    if options.writer.len() > WRITER_MAX {
        return Err(Error::TooLarge);
    }
    let root = first_look(&*store, &options).await?;
    options.expect.retain(|known| !is_succeeded(known, &root));
    for known in &options.expect {
        compare_known(known, &root).map_err(Error::Lost)?;
    }
    if root.deleting {
        return Err(Error::Lost(Loss::Deleting));
    }
    let shared = Shared::new(store, options, initial, &root);
    let mut backoff = Backoff::new();
    let end = Instant::now() + shared.options.deadline;
    loop {
        match shared.prove(true).await {
            Ok(_) => return Ok(shared),
            Err(Error::Store(error @ StoreError::Unknown { .. })) if Instant::now() < end => backoff.wait(&error).await,
            Err(error) => return Err(error),
        }
    }
}

async fn first_look(store: &dyn Store, options: &Options) -> Result<Root, Error> {
    let mut backoff = Backoff::new();
    let started = Instant::now();
    loop {
        let error = match store.root().await {
            Ok(root) => return Ok(root),
            Err(StoreError::NotFound) => return Err(Error::Lost(Loss::Gone)),
            Err(StoreError::Malformed(why)) => {
                let what = "the root".to_owned();
                return Err(Error::Lost(Loss::Undecodable { what, why }));
            }
            Err(error) => error,
        };
        match &error {
            StoreError::NoSuchKind if started.elapsed() >= options.absent_after => return Err(Error::Lost(Loss::Gone)),
            StoreError::NoSuchKind => backoff.wait(&error).await,
            StoreError::Unknown { .. } if started.elapsed() < options.deadline => backoff.wait(&error).await,
            _ => return Err(Error::Store(error)),
        }
    }
}

fn refused<T>(error: mpsc::error::TrySendError<T>) -> Error {
    match error {
        mpsc::error::TrySendError::Full(_) => Error::Overloaded,
        mpsc::error::TrySendError::Closed(_) => Error::Closed,
    }
}
