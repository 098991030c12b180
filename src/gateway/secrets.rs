//! What the ScimSources' Secrets hold, as of the last look: hashes of tokens, never a token, and public keys of issuers. Which are wanted is `sources`' to say.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};
use tokio::time::timeout;

use super::jwt::Keys;
use super::tokens::{Hash, SHORTEST};
use crate::api::push::SecretKeyRef;

/// The deadline of one GET.
const DEADLINE: Duration = Duration::from_secs(5);
/// How many Secrets are asked for at once.
const AT_ONCE: usize = 8;

/// What a key of a Secret is wanted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum What {
    Token,
    Keys,
}

/// A key of a Secret.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Wanted {
    secret: String,
    key: String,
    what: What,
}

impl Wanted {
    pub(super) fn new(at: &SecretKeyRef, what: What) -> Self {
        Self {
            secret: at.name.clone(),
            key: at.key.clone(),
            what,
        }
    }
}

/// What is kept of it.
#[derive(Clone, Debug)]
enum Material {
    Token(Hash),
    Keys(Arc<Keys>),
}

/// Why a key of a Secret gives nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Unusable {
    NoSecret,
    NoKey,
    Short,
    Wrong(String),
    Unread,
}

impl Unusable {
    /// For the admin: what is wrong, and what to do.
    fn text(&self, Wanted { secret, key, what }: &Wanted, namespace: &str) -> String {
        match (self, what) {
            (Self::NoSecret, What::Token) => format!(
                "there is no Secret {secret:?} in namespace {namespace:?}: kubectl create secret generic {secret} -n {namespace} --from-literal={key}=\"$(openssl rand -hex 32)\""
            ),
            (Self::NoSecret, What::Keys) => format!(
                "there is no Secret {secret:?} in namespace {namespace:?}: kubectl create secret generic {secret} -n {namespace} --from-file={key}=jwks.json, with the JWK Set that the issuer publishes"
            ),
            (Self::NoKey, _) => format!("the Secret {namespace}/{secret} has no key {key:?}"),
            (Self::Short, _) => {
                format!(
                    "the Secret {namespace}/{secret} has less than {SHORTEST} characters under {key:?}: openssl rand -hex 32 makes a good token"
                )
            }
            (Self::Wrong(why), _) => format!("the Secret {namespace}/{secret} cannot be used under {key:?}: {why}"),
            (Self::Unread, _) => format!("the Secret {namespace}/{secret} cannot be read; tried again"),
        }
    }
}

/// The Secrets that were looked at.
pub(super) struct Secrets {
    client: Client,
    namespace: String,
    read: BTreeMap<Wanted, Result<Material, Unusable>>,
}

impl Secrets {
    /// Those of one namespace; none is looked at yet.
    pub(super) fn new(client: Client, namespace: &str) -> Self {
        Self {
            client,
            namespace: namespace.to_owned(),
            read: BTreeMap::new(),
        }
    }

    /// Whether one gives nothing: it may be there soon.
    pub(super) fn lacking(&self) -> bool {
        self.read.values().any(Result::is_err)
    }

    /// The token there, or why there is none.
    pub(super) fn token(&self, at: &SecretKeyRef) -> Result<Hash, String> {
        match self.get(&Wanted::new(at, What::Token))? {
            Material::Token(hash) => Ok(hash),
            Material::Keys(_) => Err("it holds keys".to_owned()),
        }
    }

    /// The key set there, or why there is none.
    pub(super) fn keys(&self, at: &SecretKeyRef) -> Result<Arc<Keys>, String> {
        match self.get(&Wanted::new(at, What::Keys))? {
            Material::Keys(keys) => Ok(keys),
            Material::Token(_) => Err("it holds a token".to_owned()),
        }
    }

    fn get(&self, wanted: &Wanted) -> Result<Material, String> {
        let read = self.read.get(wanted).cloned().unwrap_or(Err(Unusable::Unread));
        read.map_err(|why| why.text(wanted, &self.namespace))
    }

    /// Reads the Secrets, all of them or those not read yet. One that cannot be read stays as it was; one that is gone counts no more.
    pub(super) async fn look(&mut self, wanted: BTreeSet<Wanted>, again: bool) {
        self.read.retain(|one, _| wanted.contains(one));
        let missing = wanted
            .into_iter()
            .filter(|one| again || self.read.get(one).is_none_or(Result::is_err));
        let mut names: BTreeMap<String, Vec<Wanted>> = BTreeMap::new();
        for one in missing {
            names.entry(one.secret.clone()).or_default().push(one);
        }
        let api: Api<Secret> = Api::namespaced(self.client.clone(), &self.namespace);
        let reads = futures::stream::iter(names).map(|(name, wanted)| {
            let api = api.clone();
            async move {
                let read = timeout(DEADLINE, api.get_opt(&name)).await;
                (name, wanted, read)
            }
        });
        let reads: Vec<_> = reads.buffer_unordered(AT_ONCE).collect().await;
        for (name, wanted, read) in reads {
            let data = match read {
                Ok(Ok(secret)) => secret.map(|secret| secret.data.unwrap_or_default()),
                failed => {
                    let error = failed.map_or("not answered in time".to_owned(), |read| {
                        read.err().map(|e| e.to_string()).unwrap_or_default()
                    });
                    tracing::warn!(secret = name, error, "a Secret cannot be read; what it held stays as it was");
                    for one in wanted {
                        self.read.entry(one).or_insert(Err(Unusable::Unread));
                    }
                    continue;
                }
            };
            for one in wanted {
                self.take(one, data.as_ref());
            }
        }
    }

    fn take(&mut self, one: Wanted, data: Option<&BTreeMap<String, ByteString>>) {
        let material = match data.map(|data| data.get(&one.key)) {
            None => Err(Unusable::NoSecret),
            Some(None) => Err(Unusable::NoKey),
            Some(Some(bytes)) => match one.what {
                What::Token => Hash::of_secret(&bytes.0).map(Material::Token).ok_or(Unusable::Short),
                What::Keys => Keys::parse(&bytes.0)
                    .map(|keys| Material::Keys(Arc::new(keys)))
                    .map_err(|why| Unusable::Wrong(why.to_string())),
            },
        };
        // said once, not every time
        if let Err(why) = &material
            && !matches!(self.read.get(&one), Some(Err(before)) if before == why)
        {
            tracing::warn!("a token is not accepted: {}", why.text(&one, &self.namespace));
        }
        self.read.insert(one, material);
    }
}
