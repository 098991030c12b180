//! Keeps the gateway's journal: opens it, waits for one that is not there yet, and after a loss opens it anew only if it is again what was known.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use tokio::time::{Instant, sleep, timeout};

use super::args::Args;
use super::tokens::Served;
use super::{Gateway, judge, sources};
use crate::directory::{Directory, Event, FailingToken};
use crate::journal::store::Kubernetes;
use crate::journal::{Error, Journal, Known, Loss, Options, Position, Verdict};

/// Between two attempts to open the journal.
const AGAIN: Duration = Duration::from_secs(1);
/// When a gateway says again what another gateway has contradicted.
const TOLD_AGAIN: Duration = Duration::from_secs(60);
/// How often the sources are compared with what the directory knows of them.
const COMPARE: Duration = Duration::from_secs(1);

pub(super) struct Keeper {
    client: Client,
    namespace: String,
    writer: String,
    prove_every: Duration,
    gateway: Arc<Gateway>,
    synced: sources::Receiver,
    expected: Vec<Known>,
    /// What the sources' statuses knew when the journal was opened: its whole chain was compared with that.
    opened: Vec<Known>,
    /// Where this process last saw the journal: what comes after must not be behind it.
    last: Option<Position>,
    /// Which unusable tokens this process recorded last, and when.
    told: HashMap<Arc<str>, (Vec<FailingToken>, Instant)>,
}

impl Keeper {
    pub(super) fn new(
        args: &Args,
        writer: &str,
        client: Client,
        gateway: Arc<Gateway>,
        synced: sources::Receiver,
        expected: Vec<Known>,
    ) -> Self {
        Self {
            client,
            namespace: args.namespace.clone(),
            writer: writer.to_owned(),
            prove_every: args.proof_interval,
            gateway,
            synced,
            expected,
            opened: Vec::new(),
            last: None,
            told: HashMap::new(),
        }
    }

    /// For ever.
    pub(super) async fn run(mut self) {
        let mut said = None;
        loop {
            // The statuses of the sources are among what knows the journal; without them nothing may be opened.
            if self.synced.wait_for(|synced| synced.done).await.is_err() {
                return;
            }
            self.opened = sources::expected(&self.synced.borrow().journals);
            match self.open().await {
                Ok(journal) => {
                    said = None;
                    tracing::info!(head = %journal.snapshot().position, "the directory journal is open");
                    self.gateway.use_journal(Some(journal.clone()));
                    // Lost, it stays in use until it is opened anew: it refuses everything, and says why.
                    let position = self.keep(&journal).await;
                    if position.loss.is_none() {
                        // Somebody knows more of it than is there: until that is settled nothing is answered.
                        self.gateway.use_journal(None);
                    }
                    if let Some(loss) = &position.loss {
                        tracing::error!(reason = loss.reason(), head = %position, "the directory journal is lost: {loss}");
                    }
                    self.last = Some(position);
                }
                Err(error) => {
                    let text = error.to_string();
                    if said.as_ref() != Some(&text) {
                        match &error {
                            Error::Lost(Loss::Gone) if self.knows_none() => {
                                tracing::info!("waiting for the controller to make the journals")
                            }
                            _ => tracing::error!("the directory journal cannot be opened: {text}"),
                        }
                        said = Some(text);
                    }
                }
            }
            sleep(AGAIN).await;
        }
    }

    fn knows_none(&self) -> bool {
        self.last.is_none() && self.expected.is_empty() && self.synced.borrow().journals.is_empty()
    }

    async fn open(&self) -> Result<Journal<Directory>, Error> {
        let mut options = Options::new(self.writer.clone());
        options.prove_every = self.prove_every;
        options.appended = Some(Arc::new(self.gateway.metrics.appends.of("directory")));
        options.expect = self.expected.clone();
        options.expect.extend(self.opened.iter().cloned());
        options.expect.extend(self.last.iter().map(|position| Known {
            id: position.id.to_string(),
            uid: Some(position.uid.to_string()),
            index: position.index,
            head: Some(position.head.to_string()),
        }));
        let store = Kubernetes::new(self.client.clone(), &self.namespace, "directory");
        Journal::open(Arc::new(store), Directory::default(), options).await
    }

    /// Until the journal is lost; the last position.
    async fn keep(&mut self, journal: &Journal<Directory>) -> Position {
        let mut position = journal.subscribe();
        loop {
            if let Ok(Ok(lost)) = timeout(COMPARE, position.wait_for(|position| position.loss.is_some())).await {
                return lost.clone();
            }
            if journal.snapshot().position.loss.is_some() {
                return journal.snapshot().position;
            }
            if self.behind(journal).await {
                return journal.snapshot().position;
            }
            self.compare(journal).await;
        }
    }

    /// Whether a source's status knows more of the journal than is there, by a GET that begins after the status was seen.
    async fn behind(&self, journal: &Journal<Directory>) -> bool {
        let synced = self.synced.borrow().clone();
        let known = sources::expected(&synced.journals);
        // Somebody saw another history, of which ours may have grown past all that was known: opening anew compares the whole chain.
        if synced.rolled_back && known != self.opened {
            return true;
        }
        // of one that this one follows, because its loss was accepted, nothing is known of this one
        let same = |k: &Known, position: &Position| *k.id == *position.id && k.uid.as_deref().is_none_or(|uid| *uid == *position.uid);
        let more = |position: &Position| known.iter().any(|k| same(k, position) && k.index > position.index);
        if !more(&journal.snapshot().position) {
            return false;
        }
        match journal.read().await {
            Ok(proved) => more(&proved.position),
            Err(_) => false,
        }
    }

    /// What the source's client was seen to do, if the directory does not know it yet.
    async fn tell(&self, journal: &Journal<Directory>, source: &Arc<str>) {
        let pending = self.gateway.usage.pending(source);
        let name = source.clone();
        let judged = pending.clone();
        let news = move |directory: &Directory| directory.source(&name).and_then(|known| judged.news(&name, known.client()));
        if news(&journal.snapshot().state).is_none() {
            return;
        }
        let record = move |directory: &Directory, _: &_| match news(directory) {
            None => Verdict::Read(false),
            Some(event) => Verdict::Append(vec![event], true),
        };
        match journal.submit(record).await {
            Ok(true) => self.gateway.usage.told(source, &pending),
            Ok(false) => {}
            Err(error) => tracing::warn!(source = &**source, %error, "what the source's client does is not recorded yet"),
        }
    }

    /// What a source's object and Secrets say, and the directory does not yet: another UID (the directory goes on), tokens that cannot be used.
    async fn compare(&mut self, journal: &Journal<Directory>) {
        let sources = self.gateway.sources.all();
        self.told.retain(|name, _| sources.iter().any(|s| s.name == *name));
        self.gateway.usage.retain(|name| sources.iter().any(|s| *s.name == *name));
        for served in sources {
            self.tell(journal, &served.name).await;
            let now = Instant::now();
            // Another gateway may see a Secret otherwise for a while: the two do not outdo each other in events.
            let again = self
                .told
                .get(&served.name)
                .is_none_or(|(failing, at)| *failing != served.failing || now - *at > TOLD_AGAIN);
            let news = move |directory: &Directory, served: &Served| -> Vec<Event> {
                let uid = judge::seen(directory, &served.name, &served.uid);
                let tokens = again.then(|| judge::tokens(directory, served));
                uid.into_iter().chain(tokens.into_iter().flatten()).collect()
            };
            if news(&journal.snapshot().state, &served).is_empty() {
                continue;
            }
            let judged = served.clone();
            let record = move |directory: &Directory, _: &_| match news(directory, &judged) {
                events if events.is_empty() => Verdict::Read(()),
                events => Verdict::Append(events, ()),
            };
            match journal.submit(record).await {
                Ok(()) => {
                    tracing::info!(
                        source = &*served.name,
                        failing = served.failing.len(),
                        "recorded what the source's object and Secrets say"
                    );
                    self.told.insert(served.name.clone(), (served.failing.clone(), now));
                }
                Err(error) => {
                    tracing::warn!(source = &*served.name, %error, "what the source's object and Secrets say is not recorded yet")
                }
            }
        }
    }
}
