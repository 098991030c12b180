//! Polls the sources that have `spec.poll`: one task a source, one pass after another. When, `schedule` says; what becomes of the pages is `intake`'s.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::Client;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, sleep};

use super::entra::Entra;
use super::google::Google;
use super::intake::{Intake, Memory, submit};
use super::okta::Okta;
use super::pass::{Asked, Superseded};
use super::schedule::{self, Asking};
use super::scim::Scim;
use super::vault::Vault;
use super::{Failure, Page, Upstream, entra, google, http, pages};
use crate::api::poll::Poll as Spec;
use crate::directory::poll::{Counts, Outcome};
use crate::directory::{Directory, Event, Poll};
use crate::gateway::tokens::Served;
use crate::gateway::{Gateway, judge, sources};
use crate::journal::{Journal, Verdict};
use crate::ops::fetch::Fetcher;

/// How many pages may be under way.
const ROOM: usize = 4;
/// How often an open pass says that it goes on, while it may be silent for so long.
const SAYS_IN_PATIENCE: u32 = 6;
/// The longest sleep: what is seen of a pass is looked at again.
const LOOK: Duration = Duration::from_secs(5);
/// The longest message that is recorded.
const MESSAGE: usize = 512;

/// What all sources share.
#[derive(Clone)]
pub(in crate::gateway) struct Poller {
    pub(in crate::gateway) client: Client,
    pub(in crate::gateway) namespace: String,
    /// What identifies this process in the journal.
    pub(in crate::gateway) writer: String,
    pub(in crate::gateway) gateway: Arc<Gateway>,
    pub(in crate::gateway) fetcher: Arc<Fetcher>,
    /// After how long without a word of it another replica's pass may be superseded.
    pub(in crate::gateway) patience: Duration,
}

/// A source that is followed, and what it is followed by.
struct Followed {
    uid: Arc<str>,
    generation: i64,
    requested: watch::Sender<Arc<str>>,
    _task: JoinSet<()>,
}

impl Poller {
    /// For ever.
    pub(in crate::gateway) async fn run(self, mut synced: sources::Receiver) {
        let mut followed: BTreeMap<Arc<str>, Followed> = BTreeMap::new();
        while synced.changed().await.is_ok() {
            let served = self.gateway.sources.all();
            let polled = |name: &Arc<str>, followed: &Followed| {
                let served = served.iter().find(|served| served.name == *name);
                served.is_some_and(|served| followed.is(served))
            };
            followed.retain(|name, followed| polled(name, followed));
            for served in &served {
                let Some(spec) = &served.poll else { continue };
                match followed.get(&served.name) {
                    Some(known) => {
                        _ = known.requested.send_if_modified(|requested| {
                            let changed = *requested != served.requested;
                            *requested = served.requested.clone();
                            changed
                        })
                    }
                    None => _ = followed.insert(served.name.clone(), self.follow(served, spec)),
                }
            }
        }
    }

    fn follow(&self, served: &Arc<Served>, spec: &Arc<Spec>) -> Followed {
        let (requested, requests) = watch::channel(served.requested.clone());
        let mut task = JoinSet::new();
        let source = Source {
            poller: self.clone(),
            served: served.clone(),
            spec: spec.clone(),
            requests,
            remembered: None,
            after: Duration::ZERO,
        };
        task.spawn(source.run());
        Followed {
            uid: served.uid.clone(),
            generation: served.generation,
            requested,
            _task: task,
        }
    }
}

impl Followed {
    fn is(&self, served: &Served) -> bool {
        (&served.uid, served.generation) == (&self.uid, self.generation)
    }
}

/// One source.
struct Source {
    poller: Poller,
    served: Arc<Served>,
    spec: Arc<Spec>,
    requests: watch::Receiver<Arc<str>>,
    /// What the last pass left, and the token for what changed since.
    remembered: Option<(Memory, Option<String>)>,
    after: Duration,
}

impl Source {
    async fn run(mut self) {
        let (every, full_every) = match self.spec.every().and_then(|every| Ok((every, self.spec.full_every()?))) {
            Ok(both) => both,
            // the controller says it in the status
            Err(why) => return tracing::warn!(source = &*self.served.name, why, "a source cannot be polled"),
        };
        let mut jitter = random();
        let mut watched = (0, Instant::now());
        loop {
            let Some(journal) = self.poller.gateway.journal.load_full() else {
                sleep(Duration::from_secs(1)).await;
                continue;
            };
            let poll = self.known(&journal);
            let said = poll.pass.as_ref().map_or(0, |pass| pass.said);
            if said != watched.0 {
                watched = (said, Instant::now());
            }
            let requested = self.requests.borrow_and_update().clone();
            let asking = Asking {
                me: &self.poller.writer,
                now: Timestamp::now(),
                silent: watched.1.elapsed(),
                patience: self.poller.patience,
                every,
                jitter,
                generation: self.served.generation,
                requested: &requested,
                after: self.after,
            };
            let wait = schedule::wait(&poll, asking);
            if !wait.is_zero() {
                tokio::select! {
                    () = sleep(wait.min(LOOK)) => {}
                    Ok(()) = self.requests.changed() => {}
                }
                continue;
            }
            let token = self.remembered.as_ref().and_then(|(_, token)| token.clone());
            let full = schedule::full(&poll, Timestamp::now(), full_every, token.is_some());
            match self.open(&journal, &poll, full, &requested).await {
                Ok(Some(pass)) => {
                    self.pass(&journal, pass, full, token.filter(|_| !full)).await;
                    jitter = random();
                }
                Ok(None) => {} // another replica was first
                Err(error) => {
                    tracing::warn!(source = &*self.served.name, %error, "no pass can be opened yet");
                    sleep(LOOK).await;
                }
            }
        }
    }

    fn known(&self, journal: &Journal<Directory>) -> Poll {
        let snapshot = journal.snapshot();
        let source = snapshot.state.source(&self.served.name);
        source.map(|source| source.poll().clone()).unwrap_or_default()
    }

    /// Opens the next pass, if nobody else has opened or ended one since it was looked.
    async fn open(
        &self,
        journal: &Journal<Directory>,
        looked: &Poll,
        full: bool,
        requested: &str,
    ) -> Result<Option<i64>, crate::journal::Error> {
        let (name, uid, n) = (self.served.name.clone(), self.served.uid.clone(), looked.next());
        let opened = Event::PassOpened {
            source: name.to_string(),
            n,
            by: self.poller.writer.clone(),
            full,
            generation: self.served.generation,
            requested: requested.to_owned(),
        };
        let before = looked.pass.as_ref().map(|pass| (pass.n, pass.open, pass.said));
        let judged = move |directory: &Directory, _: &_| {
            let now = directory
                .source(&name)
                .map(|source| source.poll())
                .and_then(|poll| poll.pass.as_ref());
            if now.map(|pass| (pass.n, pass.open, pass.said)) != before {
                return Verdict::Read(None);
            }
            let unseen = || Event::SourceSeen {
                source: name.to_string(),
                uid: uid.to_string(),
            };
            let seen = match directory.source(&name) {
                None => Some(unseen()),
                Some(_) => judge::seen(directory, &name, &uid),
            };
            Verdict::Append(seen.into_iter().chain([opened.clone()]).collect(), Some(n))
        };
        journal.submit(judged).await
    }

    /// Makes a pass, and says how it ended.
    async fn pass(&mut self, journal: &Journal<Directory>, n: i64, full: bool, since: Option<String>) {
        let asked = Asked {
            source: self.served.name.clone(),
            pass: n,
            extensions: self.served.extensions.clone(),
        };
        let begun = Instant::now();
        let memory = self.remembered.take().map(|(memory, _)| memory).unwrap_or_default();
        let mut intake = Intake::new(journal.clone(), asked.clone(), full, memory);
        let made = match self.upstream(journal, &asked).await {
            Ok(upstream) => make(&*upstream, since.as_deref(), &mut intake, self.poller.patience / SAYS_IN_PATIENCE).await,
            Err(failure) => Err(failure),
        };
        let counts = intake.counts();
        let (memory, incomplete) = intake.finish();
        self.after = Duration::ZERO;
        let (outcome, reason, message) = match made {
            Ok(token) => {
                // without a token everything is asked for
                let token = token.filter(|_| !memory.doubts());
                self.remembered = Some((memory, token));
                match incomplete {
                    None => (Outcome::Complete, "", String::new()),
                    Some(why) => (Outcome::Unproven, "Incomplete", why),
                }
            }
            Err(failure) => {
                self.after = failure.after.unwrap_or_default();
                // what changed can be asked for once more; a list that broke off leaves nothing to compare with
                let again = !full && failure.reason != EXPIRED;
                self.remembered = again.then_some((memory, since));
                (Outcome::Failed, failure.reason, failure.message)
            }
        };
        let seconds = begun.elapsed().as_secs_f64();
        let source = &*self.served.name;
        match outcome {
            Outcome::Complete => tracing::info!(
                source,
                pass = n,
                full,
                users = counts.users,
                groups = counts.groups,
                pages = counts.pages,
                seconds,
                "polled"
            ),
            _ => tracing::warn!(
                source,
                pass = n,
                full,
                reason,
                message,
                seconds,
                "a pass over the directory was not whole"
            ),
        }
        if let Err(error) = end(journal, &asked, counts, outcome, reason, &message).await {
            tracing::warn!(source, pass = n, %error, "how the pass ended is not recorded");
        }
    }

    async fn upstream(&self, journal: &Journal<Directory>, asked: &Asked) -> Result<Box<dyn Upstream>, Failure> {
        let vault = Vault {
            client: self.poller.client.clone(),
            namespace: self.poller.namespace.clone(),
            journal: journal.clone(),
            asked: asked.clone(),
            fetcher: self.poller.fetcher.clone(),
        };
        match &*self.spec {
            Spec { scim: Some(spec), .. } => Ok(Box::new(Scim::new(spec, &vault, http::PAUSE).await?)),
            Spec {
                google_workspace: Some(spec),
                ..
            } => Ok(Box::new(
                Google::new(spec, &vault, google::Endpoints::default(), http::PAUSE).await?,
            )),
            Spec { entra: Some(spec), .. } => Ok(Box::new(
                Entra::new(spec, &vault, entra::Endpoints::of(spec.cloud), http::PAUSE).await?,
            )),
            Spec { okta: Some(spec), .. } => Ok(Box::new(Okta::new(spec, &vault, http::PAUSE).await?)),
            _ => Err(Failure::new(
                "BadSpec",
                "spec.poll has none of scim, googleWorkspace, entra and okta",
            )),
        }
    }
}

/// What a directory says when it does not know any more what changed since a token: everything is asked for then.
pub(super) const EXPIRED: &str = "DeltaExpired";

/// Takes what the directory hands over, and says in between that the pass goes on.
pub(super) async fn make(
    upstream: &dyn Upstream,
    since: Option<&str>,
    intake: &mut Intake,
    says: Duration,
) -> Result<Option<String>, Failure> {
    let (sender, receiver) = pages(ROOM);
    let asks = async move {
        let asked = upstream.fetch(since, &sender).await;
        drop(sender);
        asked
    };
    let (asked, taken) = tokio::join!(asks, take(receiver, intake, says));
    // why nobody took it says more than that nobody did
    taken?;
    asked
}

async fn take(mut pages: mpsc::Receiver<Page>, intake: &mut Intake, says: Duration) -> Result<(), Failure> {
    let mut says = interval(says);
    says.reset();
    loop {
        tokio::select! {
            page = pages.recv() => match page {
                Some(page) => intake.take(page).await?,
                None => return Ok(()),
            },
            _ = says.tick() => intake.say().await?,
        }
    }
}

async fn end(
    journal: &Journal<Directory>,
    asked: &Asked,
    counts: Counts,
    outcome: Outcome,
    reason: &str,
    message: &str,
) -> Result<(), Failure> {
    let ended = Event::PassEnded {
        source: asked.source.to_string(),
        n: asked.pass,
        counts,
        outcome,
        reason: reason.to_owned(),
        message: message.chars().take(MESSAGE).collect(),
    };
    let asked = asked.clone();
    submit(journal, move |directory| {
        Ok::<_, Superseded>((asked.says(directory, ended.clone())?, ()))
    })
    .await
}

/// From 0 to 1.
fn random() -> f64 {
    f64::from(uuid::Uuid::new_v4().as_bytes()[0]) / 255.0
}
