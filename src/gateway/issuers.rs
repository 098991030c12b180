//! The key sets that issuers publish at URLs, as of the last look.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use tokio::time::Instant;

use super::jwt::{Keys, LARGEST_SET};
use crate::ops::fetch::Fetcher;

/// How often a key set is read again.
const EVERY: Duration = Duration::from_secs(300);
/// How many are asked for at once.
const AT_ONCE: usize = 8;

/// The issuers that were asked.
pub(super) struct Issuers {
    fetcher: Fetcher,
    /// How soon a key set is read again that could not be read, or that has not the key that a token named.
    soon: Duration,
    sets: BTreeMap<String, Fetched>,
}

struct Fetched {
    /// The newest that could be read: it stays in use while the issuer does not answer.
    keys: Option<Arc<Keys>>,
    trouble: Option<String>,
    at: Instant,
}

impl Fetched {
    fn due(&self, now: Instant, soon: Duration) -> bool {
        let wanted = self.trouble.is_some() || self.keys.as_ref().is_some_and(|keys| keys.unknown());
        now >= self.at + if wanted { soon.min(EVERY) } else { EVERY }
    }
}

impl Issuers {
    /// None is asked yet.
    pub(super) fn new(fetcher: Fetcher, soon: Duration) -> Self {
        Self {
            fetcher,
            soon,
            sets: BTreeMap::new(),
        }
    }

    /// The key set there, or why there is none.
    pub(super) fn keys(&self, url: &str) -> Result<Arc<Keys>, String> {
        let fetched = self.sets.get(url);
        let why = || fetched.and_then(|one| one.trouble.clone()).unwrap_or_default();
        let keys = fetched.and_then(|one| one.keys.clone());
        keys.ok_or_else(|| format!("the issuer's keys at {url} cannot be read: {}; tried again", why()))
    }

    /// Asks those whose turn it is, and forgets those that nobody wants.
    pub(super) async fn look(&mut self, wanted: BTreeSet<String>) {
        let now = Instant::now();
        self.sets.retain(|url, _| wanted.contains(url));
        let due: Vec<String> = wanted
            .into_iter()
            .filter(|url| self.sets.get(url).is_none_or(|one| one.due(now, self.soon)))
            .collect();
        let fetcher = &self.fetcher;
        let fetches = futures::stream::iter(due).map(async |url| {
            let body = fetcher.get(&url, LARGEST_SET).await;
            (url, body.and_then(|body| Keys::parse(&body)))
        });
        let fetched: Vec<_> = fetches.buffer_unordered(AT_ONCE).collect().await;
        for (url, read) in fetched {
            let before = self.sets.remove(&url);
            if let Err(error) = &read
                && before.as_ref().is_none_or(|before| before.trouble.as_ref() != Some(error))
            {
                tracing::warn!(url, error, "an issuer's keys cannot be read; those known stay in use");
            }
            let (keys, trouble) = match read {
                Ok(keys) => (Some(Arc::new(keys)), None),
                Err(error) => (before.and_then(|before| before.keys), Some(error)),
            };
            self.sets.insert(url, Fetched { keys, trouble, at: now });
        }
    }
}
