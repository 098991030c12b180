//! Group commit: one task judges what waits, writes it with one swap, and answers. What an append's answer means is in `settle`.

use std::collections::{HashSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use futures::future::try_join_all;
use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::batch::Draft;
use super::bucket::Bucket;
use super::seal::{NewSegment, Signature, outline};
use super::segment::SEGMENT_MAX;
use super::settle::{Backoff, Outcome};
use super::shared::{Base, Shared, Trouble};
use super::{Error, Stamp, State, StoreError, Verdict};

/// The most requests that one swap carries.
const CYCLE_MAX: usize = 4096;
/// A request with more bytes of events than this is applied when it stands, not when it is judged: applying 200,000 members takes longer than
/// all the rest, and meanwhile another writer's small swap would be first, again and again.
const LARGE: usize = 64 * 1024;

/// What a request said when it was judged.
pub(super) enum Judged<E> {
    /// Events to append.
    Append(Vec<E>),
    /// Nothing to append.
    Read,
    /// It panicked.
    Panicked,
}

/// A request that waits for its append.
pub(super) trait Pending<S: State>: Send {
    /// May be called again, after a conflict.
    fn judge(&mut self, state: &S, stamp: &Stamp) -> Judged<S::Event>;
    /// Renders the answer from the state right after the request's own events.
    fn render(&mut self, state: &S);
    fn deliver(self: Box<Self>);
    fn fail(self: Box<Self>, error: Error);
    fn is_closed(&self) -> bool;
}

/// The two closures of `submit_with_answer`, and who waits.
pub(super) struct Request<T, R, F, G> {
    pub judge: F,
    pub render: G,
    pub said: Option<T>,
    pub answer: Option<R>,
    pub waiting: oneshot::Sender<Result<R, Error>>,
}

impl<S, T, R, F, G> Pending<S> for Request<T, R, F, G>
where
    S: State,
    T: Send,
    R: Send,
    F: FnMut(&S, &Stamp) -> Verdict<S::Event, T> + Send,
    G: FnMut(&S, T) -> R + Send,
{
    fn judge(&mut self, state: &S, stamp: &Stamp) -> Judged<S::Event> {
        self.answer = None;
        // One bad request must not take the writer down: it has changed nothing yet.
        match catch_unwind(AssertUnwindSafe(|| (self.judge)(state, stamp))) {
            Ok(Verdict::Append(events, said)) if !events.is_empty() => {
                self.said = Some(said);
                Judged::Append(events)
            }
            Ok(Verdict::Append(_, said) | Verdict::Read(said)) => {
                self.said = Some(said);
                Judged::Read
            }
            Err(_) => Judged::Panicked,
        }
    }

    fn render(&mut self, state: &S) {
        let Some(said) = self.said.take() else { return };
        self.answer = catch_unwind(AssertUnwindSafe(|| (self.render)(state, said))).ok();
    }

    fn deliver(self: Box<Self>) {
        // Who has gone away does not want to know; who panicked while rendering has appended all the same.
        let _ = self.waiting.send(self.answer.ok_or(Error::Deadline));
    }

    fn fail(self: Box<Self>, error: Error) {
        let _ = self.waiting.send(Err(error));
    }

    fn is_closed(&self) -> bool {
        self.waiting.is_closed()
    }
}

/// The task that appends.
pub(super) struct Appender<S: State> {
    shared: Arc<Shared<S>>,
    inbox: mpsc::Receiver<Box<dyn Pending<S>>>,
    queue: VecDeque<Box<dyn Pending<S>>>,
    draft: Draft,
    bucket: Bucket,
    started: Instant,
    writer: Arc<str>,
    fenced: bool,
}

/// What was judged, and becomes one swap.
struct Drafted<S: State> {
    /// After the events of all that were judged but those of `late`.
    state: S,
    time: Timestamp,
    judged: usize,
    late: Option<Late<S::Event>>,
}

/// The events of the last request, a large one, and at which index and ordinal each stands.
struct Late<E> {
    events: Vec<E>,
    places: Vec<(i64, u32)>,
}

/// What to do after an attempt.
enum Next {
    Deliver,
    /// Judge again; somebody else's swap was first.
    Lost,
    /// Judge again; nobody's fault.
    Again,
    Fail(Error),
}

impl<S: State> Appender<S> {
    pub fn new(shared: Arc<Shared<S>>, inbox: mpsc::Receiver<Box<dyn Pending<S>>>) -> Self {
        let options = &shared.options;
        Self {
            bucket: Bucket::new(options.burst, options.refill),
            writer: Arc::from(options.writer.as_str()),
            started: Instant::now(),
            queue: VecDeque::new(),
            draft: Draft::new(),
            fenced: false,
            shared,
            inbox,
        }
    }

    /// Runs until nobody can submit any more.
    pub async fn run(mut self) {
        loop {
            if self.queue.is_empty() {
                let Some(pending) = self.inbox.recv().await else { return };
                self.queue.push_back(pending);
            }
            self.gather().await;
            self.cycle().await;
        }
    }

    /// Takes what waits. Those who were answered just now submit again at once: they are given the moment to do so, or every
    /// other swap would carry a handful. Turns of the scheduler, not time: whoever is alone is not delayed.
    async fn gather(&mut self) {
        let mut quiet = 0;
        while self.queue.len() < CYCLE_MAX {
            let before = self.queue.len();
            while self.queue.len() < CYCLE_MAX {
                let Ok(pending) = self.inbox.try_recv() else { break };
                self.queue.push_back(pending);
            }
            quiet = if self.queue.len() == before { quiet + 1 } else { 0 };
            if quiet > self.shared.options.quiet_turns {
                return;
            }
            tokio::task::yield_now().await;
        }
    }

    /// Judges the queue and appends, again and again until what was judged is answered.
    async fn cycle(&mut self) {
        let mut lost = 0;
        // The index of a root that a GET showed, begun after everything that waits here had arrived.
        let mut proven: Option<i64> = None;
        loop {
            if let Err(error) = self.may_append() {
                return self.fail(self.queue.len(), &error);
            }
            self.pace().await;
            self.shared.leave_room().await;
            let begun = Instant::now();
            let base = self.shared.base().await;
            let drafted = self.judge(&base);
            let judged = drafted.judged;
            if self.queue.is_empty() {
                return;
            }
            if self.draft.is_empty() {
                let index = base.snapshot.position.index;
                if proven == Some(index) {
                    return self.deliver(judged);
                }
                match self.prove(judged).await {
                    Ok(found) if found == index => return self.deliver(judged),
                    Ok(found) => proven = Some(found),
                    Err(error) => return self.fail(judged, &error),
                }
                continue;
            }
            match self.append(&base, drafted, false).await {
                Next::Deliver => {
                    if let Some(appended) = &self.shared.options.appended {
                        appended(begun.elapsed());
                    }
                    return self.deliver(judged);
                }
                Next::Fail(error) => return self.fail(judged, &error),
                Next::Again => self.guard().await,
                Next::Lost => {
                    self.guard().await;
                    lost += 1;
                    if lost >= self.shared.options.wait_after && !self.fenced {
                        self.ask_for_room().await;
                        lost = 0;
                    }
                }
            }
        }
    }

    fn may_append(&self) -> Result<(), Error> {
        self.shared.alive()?;
        if self.fenced { Err(Error::Fenced) } else { Ok(()) }
    }

    /// After a conflict: is this process still the one that may append?
    async fn guard(&mut self) {
        if let Some(guard) = &self.shared.options.before_append
            && !guard().await
        {
            self.fenced = true;
        }
    }

    async fn pace(&mut self) {
        loop {
            let wait = self.bucket.wait(self.started.elapsed());
            if wait.is_zero() {
                return;
            }
            tokio::time::sleep(wait).await;
        }
    }

    /// Judges as many of the queue as fit a swap, each seeing the effects of those before it; a large one is the last. Who asks for too
    /// much is answered at once.
    fn judge(&mut self, base: &Base<S>) -> Drafted<S> {
        let now = Timestamp::from_millisecond(Timestamp::now().as_millisecond()).unwrap_or(base.snapshot.time);
        let time = now.max(base.snapshot.time);
        let mut state = S::clone(&base.snapshot.state);
        let first = base.root.spec.index + 1;
        let mut stamp = Stamp {
            index: first,
            ordinal: 0,
            time,
            writer: self.writer.clone(),
        };
        self.draft.clear();
        let (mut judged, mut late) = (0, None);
        while judged < self.queue.len() && self.draft.len() < SEGMENT_MAX && late.is_none() {
            let pending = &mut self.queue[judged];
            let (offset, ordinal) = self.draft.next();
            (stamp.index, stamp.ordinal) = (first + offset, ordinal);
            let refused = match pending.judge(&state, &stamp) {
                _ if pending.is_closed() => Some(Error::Closed), // nobody waits for it: not done
                Judged::Panicked => Some(Error::Closed),
                Judged::Read => None,
                Judged::Append(events) => {
                    let (before, mut places) = (self.draft.len(), Vec::with_capacity(events.len()));
                    let added = self.draft.add(&events, |offset, ordinal, _| places.push((first + offset, ordinal)));
                    if added.is_ok() && self.draft.len() - before > LARGE {
                        late = Some(Late { events, places });
                    } else if added.is_ok() {
                        apply(&mut state, &mut stamp, &events, &places);
                    }
                    added.err().map(|_| Error::TooLarge)
                }
            };
            match refused {
                None => {
                    if late.is_none() {
                        pending.render(&state);
                    }
                    judged += 1;
                }
                Some(error) => {
                    if let Some(pending) = self.queue.remove(judged) {
                        pending.fail(error);
                    }
                }
            }
        }
        Drafted { state, time, judged, late }
    }

    /// The swap stands: what was left for now is applied and answered.
    fn complete(&mut self, drafted: &mut Drafted<S>) {
        let Some(Late { events, places }) = drafted.late.take() else {
            return;
        };
        let mut stamp = Stamp {
            index: 0,
            ordinal: 0,
            time: drafted.time,
            writer: self.writer.clone(),
        };
        apply(&mut drafted.state, &mut stamp, &events, &places);
        if let Some(pending) = self.queue.get_mut(drafted.judged - 1) {
            pending.render(&drafted.state);
        }
    }

    /// A GET of the root for those that append nothing, while one of them still waits.
    async fn prove(&mut self, judged: usize) -> Result<i64, Error> {
        let mut backoff = Backoff::new();
        loop {
            match self.shared.prove(false).await {
                Ok(base) => return Ok(base.snapshot.position.index),
                Err(Error::Store(error @ StoreError::Unknown { .. })) if self.queue.iter().take(judged).any(|p| !p.is_closed()) => {
                    backoff.wait(&error).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Writes the draft after `base`.
    async fn append(&mut self, base: &Base<S>, mut drafted: Drafted<S>, wait: bool) -> Next {
        let spec = &base.root.spec;
        let nonce = nonce();
        let signature = Signature {
            journal: self.shared.store.name(),
            time: drafted.time,
            writer: &self.shared.options.writer,
            nonce: &nonce,
        };
        let outline = outline(spec, &signature, self.draft.bodies(), wait);
        let taken = match outline.incoming(spec) {
            None => Vec::new(),
            Some(incoming) => match self.shared.taken(&base.root, incoming).await {
                Ok(taken) => taken,
                Err(trouble) => return look_again(&self.shared, trouble).await,
            },
        };
        let swap = match outline.finish(spec, &signature, &taken) {
            Ok(swap) => swap,
            Err(why) => return Next::Fail(Error::Store(StoreError::Malformed(why))),
        };
        if let Err(next) = try_join_all(swap.segments.iter().map(|segment| create(&self.shared, base, segment))).await {
            return next;
        }
        self.bucket.take();
        match self.shared.settle(base, &swap.spec, &nonce).await {
            Outcome::Stored(root) => {
                self.complete(&mut drafted);
                let Drafted { state, time, .. } = drafted;
                let links = swap.segments.into_iter().map(|segment| segment.link);
                self.shared.commit(base, *root, state, time, swap.taken, links).await;
                Next::Deliver
            }
            Outcome::Ours => {
                self.complete(&mut drafted);
                Next::Deliver
            }
            Outcome::Lost => Next::Lost,
            Outcome::Moved => Next::Again,
            Outcome::Failed(error) => Next::Fail(error),
        }
    }

    /// Appends a batch without events, which asks the others to leave the next swap to this writer.
    async fn ask_for_room(&mut self) {
        loop {
            if self.may_append().is_err() {
                return;
            }
            self.pace().await;
            self.shared.leave_room().await;
            let base = self.shared.base().await;
            self.draft = Draft::wait();
            let drafted = Drafted {
                state: S::clone(&base.snapshot.state),
                time: base.snapshot.time,
                judged: 0,
                late: None,
            };
            match self.append(&base, drafted, true).await {
                Next::Lost | Next::Again => self.guard().await,
                Next::Deliver | Next::Fail(_) => return, // the append that follows meets the same failure, and answers with it
            }
        }
    }

    fn deliver(&mut self, judged: usize) {
        self.queue.drain(..judged).for_each(|pending| pending.deliver());
    }

    fn fail(&mut self, judged: usize, error: &Error) {
        self.queue.drain(..judged).for_each(|pending| pending.fail(error.clone()));
    }
}

/// Applies events where they stand.
fn apply<S: State>(state: &mut S, stamp: &mut Stamp, events: &[S::Event], places: &[(i64, u32)]) {
    for (event, place) in events.iter().zip(places) {
        (stamp.index, stamp.ordinal) = *place;
        state.apply(stamp, event);
    }
}

/// Something on the way to the swap was not as expected; only a GET of the root says what that means.
async fn look_again<S: State>(shared: &Shared<S>, trouble: Trouble) -> Next {
    let (missing, error) = match trouble {
        Trouble::Missing(name) => (HashSet::from([name]), None),
        Trouble::Moved | Trouble::Lost(_) => (HashSet::new(), None),
        Trouble::Store(error) => (HashSet::new(), Some(error)),
    };
    let error = match shared.prove_after(true, missing).await {
        Err(Error::Store(error)) => Some(error),
        Err(error) => return Next::Fail(error),
        Ok(_) => error,
    };
    match error {
        None => Next::Again,
        // Nothing was sent yet that could name the batch: it may start anew, for those who still wait.
        Some(StoreError::Unknown { .. }) => {
            tokio::time::sleep(Duration::from_millis(50)).await;
            Next::Again
        }
        Some(error) => Next::Fail(Error::Store(error)),
    }
}

/// Creates a segment. Its name was never used before, and whatever becomes of it, only this swap can name it.
async fn create<S: State>(shared: &Shared<S>, base: &Base<S>, segment: &NewSegment) -> Result<(), Next> {
    let mut unknown = false;
    let mut backoff = Backoff::new();
    let (id, name) = (&base.root.spec.id, &*segment.link.name);
    loop {
        match shared.store.create_segment(id, name, &segment.spec).await {
            Ok(()) => return Ok(()),
            Err(StoreError::AlreadyExists) if unknown => return Ok(()),
            Err(StoreError::AlreadyExists | StoreError::Conflict) => return Err(Next::Again),
            Err(error @ (StoreError::Unknown { .. } | StoreError::Malformed(_))) => {
                shared.alive().map_err(Next::Fail)?;
                if shared.snapshot().position.index != base.snapshot.position.index {
                    return Err(Next::Lost); // the swap could not follow its base any more
                }
                unknown = true;
                backoff.wait(&error).await;
            }
            Err(error) => return Err(look_again(shared, Trouble::Store(error)).await),
        }
    }
}

/// Random; also the end of the names of the swap's segments.
fn nonce() -> String {
    let bytes = uuid::Uuid::new_v4().as_u128();
    format!("{:016x}", (bytes as u64) ^ ((bytes >> 64) as u64))
}
