//! Which sources are served, as their ScimSources and Secrets say: a watch, and a look at every Secret again and again. Tokens are hashed at once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::core::DeserializeGuard;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, ResourceExt};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};

use super::args::Args;
use super::tokens::{Credential, Hash, SHORTEST, Served, Sources};
use crate::api::conditions::JOURNAL_ROLLED_BACK;
use crate::api::source::{JournalRef, Token};
use crate::api::{ScimSource, ScimSourceSpec};
use crate::directory::FailingToken;
use crate::scim::schema::Extensions;

/// The deadline of one GET.
const DEADLINE: Duration = Duration::from_secs(5);
/// How many Secrets are asked for at once.
const AT_ONCE: usize = 8;
/// A Secret that is missing is looked for again so soon: it is often applied right after its source.
const MISSING_AGAIN: Duration = Duration::from_secs(2);

/// A key of a Secret.
type Key = (String, String);

/// Follows the ScimSources of one class.
pub(super) struct Watch {
    client: Client,
    namespace: String,
    class: String,
    every: Duration,
    served: Sources,
    known: BTreeMap<String, Known>,
    /// What the next list has so far; takes the place of `known` when it is complete.
    listed: Option<BTreeMap<String, Known>>,
    /// Whether a list was complete once.
    complete: bool,
    hashes: BTreeMap<Key, Result<Hash, Unusable>>,
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

/// Why a key of a Secret gives no token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unusable {
    NoSecret,
    NoKey,
    Short,
    Unread,
}

impl Unusable {
    /// For the admin: what is wrong, and what to do.
    fn text(self, (secret, key): &Key, namespace: &str) -> String {
        match self {
            Self::NoSecret => format!(
                "there is no Secret {secret:?} in namespace {namespace:?}: kubectl create secret generic {secret} -n {namespace} --from-literal={key}=\"$(openssl rand -hex 32)\""
            ),
            Self::NoKey => format!("the Secret {namespace}/{secret} has no key {key:?}"),
            Self::Short => {
                format!(
                    "the Secret {namespace}/{secret} has less than {SHORTEST} characters under {key:?}: openssl rand -hex 32 makes a good token"
                )
            }
            Self::Unread => format!("the Secret {namespace}/{secret} cannot be read; tried again"),
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
struct Known {
    uid: String,
    tokens: Vec<Token>,
    extensions: Arc<Extensions>,
    journal: Option<JournalRef>,
    rolled_back: bool,
}

impl Watch {
    /// Sets `served` as the cluster says, once it runs.
    pub(super) fn new(args: &Args, client: Client, served: Sources) -> (Self, watch::Receiver<Synced>) {
        let (synced, receiver) = watch::channel(Synced::default());
        let watch = Self {
            client,
            namespace: args.namespace.clone(),
            class: args.class.clone(),
            every: args.refresh,
            served,
            known: BTreeMap::new(),
            listed: None,
            complete: false,
            hashes: BTreeMap::new(),
            synced,
        };
        (watch, receiver)
    }

    /// For ever.
    pub(super) async fn run(mut self) {
        let api: Api<DeserializeGuard<ScimSource>> = Api::all(self.client.clone());
        let events = watcher(api, watcher::Config::default()).default_backoff();
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
                () = sleep_until(next) => {
                    self.look(true).await;
                    next = Instant::now() + self.every;
                }
            }
            if self.hashes.values().any(Result::is_err) {
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
                let ScimSourceSpec { class, push, schema, .. } = source.spec;
                (class.unwrap_or_default() == self.class).then(|| {
                    let status = source.status.unwrap_or_default();
                    let known = Known {
                        uid: source.metadata.uid.unwrap_or_default(),
                        tokens: push.tokens,
                        extensions: Arc::new(super::extensions::of(&schema)),
                        rolled_back: status
                            .conditions
                            .iter()
                            .any(|c| c.type_ == JOURNAL_ROLLED_BACK && c.status == "True"),
                        journal: status.journal,
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

    /// Reads the Secrets, all of them or those not read yet. One that cannot be read stays as it was; one that is gone counts no more.
    async fn look(&mut self, again: bool) {
        let keys = |known: &BTreeMap<String, Known>| -> BTreeSet<Key> {
            let tokens = known.values().flat_map(|source| &source.tokens);
            tokens
                .map(|token| (token.secret_key_ref.name.clone(), token.secret_key_ref.key.clone()))
                .collect()
        };
        let wanted = keys(&self.known);
        self.hashes.retain(|key, _| wanted.contains(key));
        let missing = wanted
            .into_iter()
            .filter(|key| again || self.hashes.get(key).is_none_or(Result::is_err));
        let mut names: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (name, key) in missing {
            names.entry(name).or_default().push(key);
        }
        let api: Api<Secret> = Api::namespaced(self.client.clone(), &self.namespace);
        let reads = futures::stream::iter(names).map(|(name, keys)| {
            let api = api.clone();
            async move {
                let read = timeout(DEADLINE, api.get_opt(&name)).await;
                (name, keys, read)
            }
        });
        let reads: Vec<_> = reads.buffer_unordered(AT_ONCE).collect().await;
        for (name, keys, read) in reads {
            let data = match read {
                Ok(Ok(secret)) => secret.map(|secret| secret.data.unwrap_or_default()),
                failed => {
                    let error = failed.map_or("not answered in time".to_owned(), |read| {
                        read.err().map(|e| e.to_string()).unwrap_or_default()
                    });
                    tracing::warn!(secret = name, error, "a Secret cannot be read; its tokens stay as they were");
                    for key in keys {
                        self.hashes.entry((name.clone(), key)).or_insert(Err(Unusable::Unread));
                    }
                    continue;
                }
            };
            for key in keys {
                let hash = match data.as_ref().map(|data| data.get(&key)) {
                    None => Err(Unusable::NoSecret),
                    Some(None) => Err(Unusable::NoKey),
                    Some(Some(secret)) => Hash::of_secret(&secret.0).ok_or(Unusable::Short),
                };
                let id = (name.clone(), key);
                // said once, not every time
                if let Err(why) = hash
                    && self.hashes.get(&id) != Some(&hash)
                {
                    tracing::warn!("a token is not accepted: {}", why.text(&id, &self.namespace));
                }
                self.hashes.insert(id, hash);
            }
        }
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
            Served {
                name: name.as_str().into(),
                uid: source.uid.as_str().into(),
                tokens,
                failing,
                extensions: source.extensions.clone(),
            }
        });
        self.served.set(served);
        self.synced.send_replace(Synced {
            done: true,
            journals: self.known.values().filter_map(|source| source.journal.clone()).collect(),
            rolled_back: self.known.values().any(|source| source.rolled_back),
        });
    }

    /// A token that can be used, or why it cannot.
    fn credential(&self, token: &Token, now: Timestamp) -> Result<Credential, String> {
        let key = (token.secret_key_ref.name.clone(), token.secret_key_ref.key.clone());
        let hash = self.hashes.get(&key).copied().unwrap_or(Err(Unusable::Unread));
        let hash = hash.map_err(|why| why.text(&key, &self.namespace))?;
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
            failing: Vec::new(),
            extensions: Arc::default(),
        }]);
        sources
    }
}
