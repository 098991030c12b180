//! Which sources are served, as their ScimSources and Secrets say: a watch, and a look at every Secret again and again. Tokens are hashed at once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use jiff::Timestamp;
use kube::core::DeserializeGuard;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, ResourceExt};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::args::Args;
use super::issuers::Issuers;
use super::jwt::{Issuer, Keys};
use super::secrets::{Secrets, Wanted, What};
use super::tokens::{Credential, Hash, Served, Sources};
use crate::api::conditions::JOURNAL_ROLLED_BACK;
use crate::api::names;
use crate::api::poll::Poll;
use crate::api::push::{JWT, Jwt, Token};
use crate::api::source::JournalRef;
use crate::api::{ScimSource, ScimSourceSpec};
use crate::directory::FailingToken;
use crate::ops::fetch::Fetcher;
use crate::ops::pace::Pace;
use crate::scim::schema::Extensions;

/// A Secret that is missing is looked for again so soon: it is often applied right after its source.
const MISSING_AGAIN: Duration = Duration::from_secs(2);

/// Follows the ScimSources of one class.
pub(super) struct Watch {
    client: Client,
    class: String,
    every: Duration,
    served: Sources,
    known: BTreeMap<String, Known>,
    /// What the next list has so far; takes the place of `known` when it is complete.
    listed: Option<BTreeMap<String, Known>>,
    /// Whether a list was complete once.
    complete: bool,
    secrets: Secrets,
    issuers: Issuers,
    synced: watch::Sender<Synced>,
}

/// What others wait for.
#[derive(Clone, Debug, Default)]
pub(super) struct Synced {
    /// Whether the sources were listed, and their tokens read.
    pub(super) done: bool,
    /// What the sources' statuses know of the directory journal.
    pub(super) journals: Vec<JournalRef>,
    /// Whether one of them says that a journal was put back.
    pub(super) rolled_back: bool,
}

#[derive(Clone, Debug, PartialEq)]
struct Known {
    uid: String,
    tokens: Vec<Token>,
    jwt: Option<Arc<Jwt>>,
    extensions: Arc<Extensions>,
    journal: Option<JournalRef>,
    rolled_back: bool,
    generation: i64,
    poll: Option<Arc<Poll>>,
    requested: Arc<str>,
}

impl Watch {
    /// Sets `served` as the cluster says, once it runs.
    pub(super) fn new(args: &Args, client: Client, fetcher: Arc<Fetcher>, served: Sources) -> (Self, watch::Receiver<Synced>) {
        let (synced, receiver) = watch::channel(Synced::default());
        let watch = Self {
            secrets: Secrets::new(client.clone(), &args.namespace),
            issuers: Issuers::new(fetcher, args.refresh),
            client,
            class: args.class.clone(),
            every: args.refresh,
            served,
            known: BTreeMap::new(),
            listed: None,
            complete: false,
            synced,
        };
        (watch, receiver)
    }

    /// For ever.
    pub(super) async fn run(mut self) {
        let api: Api<DeserializeGuard<ScimSource>> = Api::all(self.client.clone());
        let events = watcher(api, watcher::Config::default()).backoff(Pace::new());
        let mut events = std::pin::pin!(events);
        let mut next = Instant::now() + self.every;
        loop {
            tokio::select! {
                event = events.next() => match event {
                    Some(Ok(event)) => {
                        if !self.take(event) {
                            continue;
                        }
                        self.look(false).await;
                    }
                    Some(Err(error)) => {
                        // what is known stays in use
                        tracing::warn!(%error, "cannot watch the ScimSources");
                        continue;
                    }
                    None => return,
                },
                () = self.issuers.changed() => {}
                () = sleep_until(next) => {
                    self.look(true).await;
                    next = Instant::now() + self.every;
                }
            }
            if self.secrets.lacking() {
                next = next.min(Instant::now() + MISSING_AGAIN);
            }
            self.publish();
        }
    }

    /// Takes a change; says whether it changed anything for us.
    fn take(&mut self, event: watcher::Event<DeserializeGuard<ScimSource>>) -> bool {
        match event {
            watcher::Event::Init => {
                self.listed = Some(BTreeMap::new());
                false
            }
            watcher::Event::InitApply(source) => {
                let read = self.read(source);
                if let (Some(listed), Some((name, known))) = (&mut self.listed, read) {
                    listed.insert(name, known);
                }
                false
            }
            watcher::Event::InitDone => {
                self.known = self.listed.take().unwrap_or_default();
                self.complete = true;
                true
            }
            watcher::Event::Apply(source) => {
                let name = source.name_any();
                let before = self.known.remove(&name);
                let after = self.read(source).map(|(_, known)| known);
                let changed = before != after;
                if let Some(after) = after {
                    self.known.insert(name, after);
                }
                changed
            }
            watcher::Event::Delete(source) => self.known.remove(&source.name_any()).is_some(),
        }
    }

    /// What we need of a source, if it is of our class.
    fn read(&self, source: DeserializeGuard<ScimSource>) -> Option<(String, Known)> {
        let name = source.name_any();
        match source.0 {
            Ok(source) => {
                let requested = names::requested(source.metadata.annotations.as_ref());
                let ScimSourceSpec {
                    class, push, poll, schema, ..
                } = source.spec;
                let push = push.unwrap_or_default();
                (class.unwrap_or_default() == self.class).then(|| {
                    let status = source.status.unwrap_or_default();
                    let known = Known {
                        uid: source.metadata.uid.unwrap_or_default(),
                        tokens: push.tokens,
                        jwt: push.jwt.map(Arc::from),
                        extensions: Arc::new(super::extensions::of(&schema)),
                        rolled_back: status
                            .conditions
                            .iter()
                            .any(|c| c.type_ == JOURNAL_ROLLED_BACK && c.status == "True"),
                        journal: status.journal,
                        generation: source.metadata.generation.unwrap_or_default(),
                        poll: poll.map(Arc::from),
                        requested: requested.unwrap_or_default().into(),
                    };
                    (name, known)
                })
            }
            Err(error) => {
                tracing::warn!(source = name, error = %error.error, "a ScimSource cannot be read and is not served");
                None
            }
        }
    }

    /// Reads the Secrets, all of them or those not read yet, and says which issuers are to be asked.
    async fn look(&mut self, again: bool) {
        let (mut secrets, mut urls) = (BTreeSet::new(), BTreeSet::new());
        for source in self.known.values() {
            secrets.extend(source.tokens.iter().map(|token| Wanted::new(&token.secret_key_ref, What::Token)));
            if let Some(jwt) = &source.jwt {
                secrets.extend(jwt.jwks_secret_key_ref.iter().map(|at| Wanted::new(at, What::Keys)));
                urls.extend(jwt.jwks_uri.clone());
            }
        }
        self.issuers.want(urls);
        self.secrets.look(secrets, again).await;
    }

    fn publish(&self) {
        if !self.complete {
            return;
        }
        let now = Timestamp::now();
        let served = self.known.iter().map(|(name, source)| {
            let (mut tokens, mut failing) = (Vec::new(), Vec::new());
            for token in &source.tokens {
                match self.credential(token, now) {
                    Ok(credential) => tokens.push(credential),
                    Err(why) => failing.push(FailingToken {
                        name: token.name.clone(),
                        why,
                    }),
                }
            }
            let jwt = source.jwt.as_ref().and_then(|jwt| match self.keys(jwt) {
                Ok(keys) => keys.map(|keys| Issuer::new(jwt.clone(), keys)),
                Err(why) => {
                    let name = JWT.to_owned();
                    failing.push(FailingToken { name, why });
                    None
                }
            });
            Served {
                name: name.as_str().into(),
                uid: source.uid.as_str().into(),
                tokens,
                jwt,
                failing,
                extensions: source.extensions.clone(),
                generation: source.generation,
                poll: source.poll.clone(),
                requested: source.requested.clone(),
            }
        });
        self.served.set(served);
        self.synced.send_replace(Synced {
            done: true,
            journals: self.known.values().filter_map(|source| source.journal.clone()).collect(),
            rolled_back: self.known.values().any(|source| source.rolled_back),
        });
    }

    /// The keys of an issuer, none while they are asked for the first time, or why there are none.
    fn keys(&self, jwt: &Jwt) -> Result<Option<Arc<Keys>>, String> {
        match (&jwt.jwks_secret_key_ref, &jwt.jwks_uri) {
            (Some(at), _) => self.secrets.keys(at).map(Some),
            (None, Some(url)) => self.issuers.keys(url),
            (None, None) => Err("neither jwksSecretKeyRef nor jwksUri is given".to_owned()),
        }
    }

    /// A token that can be used, or why it cannot.
    fn credential(&self, token: &Token, now: Timestamp) -> Result<Credential, String> {
        let hash = self.secrets.token(&token.secret_key_ref)?;
        let not_after: Option<Timestamp> = token
            .not_after
            .as_deref()
            .map(|text| text.parse().map_err(|_| format!("notAfter {text:?} is no RFC 3339 time")))
            .transpose()?;
        match not_after.filter(|end| *end <= now) {
            Some(end) => Err(format!("it expired at {end}: add a new token, and take this one away")),
            None => Ok(Credential {
                name: token.name.as_str().into(),
                hash,
                not_after,
            }),
        }
    }
}

/// What the gateway knows of the journal by the sources' statuses.
pub(super) fn expected(journals: &[JournalRef]) -> Vec<crate::journal::Known> {
    let mut known: Vec<crate::journal::Known> = Vec::new();
    for journal in journals {
        let head = Some(journal.head.clone()).filter(|head| !head.is_empty());
        let same = known
            .iter_mut()
            .find(|k| k.id == journal.id && k.uid.as_deref() == Some(&*journal.uid));
        match same {
            Some(same) if same.index >= journal.index => {}
            Some(same) => (same.index, same.head) = (journal.index, head),
            None => known.push(crate::journal::Known {
                id: journal.id.clone(),
                uid: Some(journal.uid.clone()),
                index: journal.index,
                head,
            }),
        }
    }
    known
}

/// Shared with the readiness check.
pub(super) type Receiver = watch::Receiver<Synced>;

/// The sources of a test or a tool, without a cluster.
impl Sources {
    /// One source with one token.
    pub fn one(name: &str, uid: &str, token: &str) -> Self {
        let sources = Self::default();
        let tokens = Hash::of_secret(token.as_bytes()).map(|hash| Credential {
            name: "token".into(),
            hash,
            not_after: None,
        });
        sources.set([Served {
            name: Arc::from(name),
            uid: Arc::from(uid),
            tokens: tokens.into_iter().collect(),
            jwt: None,
            failing: Vec::new(),
            extensions: Arc::default(),
            generation: 1,
            poll: None,
            requested: "".into(),
        }]);
        sources
    }
}
