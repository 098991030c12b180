//! The key sets that issuers publish at URLs, as of the last look. A task of its own: an issuer that hangs keeps nobody else's tokens from being looked at.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::jwt::{Keys, LARGEST_SET, NoKeys};
use crate::ops::fetch::{Error, Fetcher};

/// How often a key set is read again.
const EVERY: Duration = Duration::from_secs(300);
/// How long a key set stays in use that cannot be read again: then the issuer may long have withdrawn it.
const AT_MOST: Duration = Duration::from_secs(24 * 3600);
/// How many are asked for at once.
const AT_ONCE: usize = 8;

/// What became of each URL.
type Sets = BTreeMap<String, Fetched>;

/// The issuers, for whoever wants their keys.
pub(super) struct Issuers {
    wanted: watch::Sender<BTreeSet<String>>,
    sets: watch::Receiver<Sets>,
    _task: tokio::task::JoinSet<()>,
}

#[derive(Clone)]
struct Fetched {
    /// The newest that could be read: it stays in use while the issuer does not answer.
    keys: Option<Arc<Keys>>,
    read: Instant,
    trouble: Option<String>,
    asked: Instant,
}

impl Fetched {
    /// When it is to be asked again: soon when it could not be read, or when a token asks for a key that is not in it.
    fn due(&self, soon: Duration) -> Instant {
        let wanted = self.trouble.is_some() || self.keys.as_ref().is_some_and(|keys| keys.unknown());
        self.asked + if wanted { soon.min(EVERY) } else { EVERY }
    }
}

impl Issuers {
    /// None is asked yet; `soon` is how soon one is asked again.
    pub(super) fn new(fetcher: Arc<Fetcher>, soon: Duration) -> Self {
        let (wanted, wants) = watch::channel(BTreeSet::new());
        let (told, sets) = watch::channel(Sets::new());
        let mut task = tokio::task::JoinSet::new();
        task.spawn(follow(fetcher, soon, wants, told));
        Self { wanted, sets, _task: task }
    }

    /// From now on these are asked.
    pub(super) fn want(&self, urls: BTreeSet<String>) {
        self.wanted.send_if_modified(|wanted| {
            let changed = *wanted != urls;
            *wanted = urls;
            changed
        });
    }

    /// The next time that anything is different.
    pub(super) async fn changed(&mut self) {
        if self.sets.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// The key set there; none while it is asked for the first time. What is wrong with it is in the log only: two gateways would tell it differently.
    pub(super) fn keys(&self, url: &str) -> Result<Option<Arc<Keys>>, String> {
        let sets = self.sets.borrow();
        let Some(one) = sets.get(url) else { return Ok(None) };
        let why = || format!("the issuer's keys at {url} cannot be read, and the gateway's log says why; tried again");
        one.keys.clone().map(Some).ok_or_else(why)
    }
}

async fn follow(fetcher: Arc<Fetcher>, soon: Duration, mut wants: watch::Receiver<BTreeSet<String>>, told: watch::Sender<Sets>) {
    let mut sets = Sets::new();
    loop {
        let wanted = wants.borrow_and_update().clone();
        sets.retain(|url, _| wanted.contains(url));
        let now = Instant::now();
        let due = wanted.iter().filter(|url| sets.get(*url).is_none_or(|one| one.due(soon) <= now));
        let due: Vec<String> = due.cloned().collect();
        let fetches = futures::stream::iter(due).map(async |url| {
            let read = fetcher.get(&url, LARGEST_SET).await;
            (url, read)
        });
        let mut fetches = std::pin::pin!(fetches.buffer_unordered(AT_ONCE));
        while let Some((url, read)) = fetches.next().await {
            let before = sets.remove(&url);
            sets.insert(url.clone(), judge(&url, read, before));
            told.send_replace(sets.clone());
        }
        // a token may ask for another key at any time
        let next = sets
            .values()
            .map(|one| one.due(soon))
            .min()
            .unwrap_or_else(|| Instant::now() + EVERY);
        let look = if sets.is_empty() { next } else { next.min(Instant::now() + soon) };
        tokio::select! {
            changed = wants.changed() => if changed.is_err() { return },
            () = sleep_until(look) => {}
        }
    }
}

/// An issuer that answers that it has no keys has withdrawn them; one that does not answer, or answers nonsense, is in trouble.
fn judge(url: &str, read: Result<Vec<u8>, Error>, before: Option<Fetched>) -> Fetched {
    let now = Instant::now();
    let (error, withdrawn) = match read.map(|body| Keys::parse(&body)) {
        Ok(Ok(keys)) => {
            return Fetched {
                keys: Some(Arc::new(keys)),
                read: now,
                trouble: None,
                asked: now,
            };
        }
        Ok(Err(NoKeys::Empty)) => (NoKeys::Empty.to_string(), true),
        Ok(Err(error)) => (error.to_string(), false),
        Err(error) => (error.to_string(), matches!(error, Error::Gone(_))),
    };
    let told = before.as_ref().and_then(|before| before.trouble.clone());
    let keep = before.filter(|before| !withdrawn && now - before.read < AT_MOST && before.keys.is_some());
    let kept = match keep {
        Some(_) => "those known stay in use",
        None => "its tokens are not accepted",
    };
    // said once, not every time
    if told.as_ref() != Some(&error) {
        tracing::warn!(url, error, "an issuer's keys cannot be read; {kept}");
    }
    Fetched {
        read: keep.as_ref().map_or(now, |before| before.read),
        keys: keep.and_then(|before| before.keys),
        trouble: Some(error),
        asked: now,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SET: &[u8] = br#"{"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "a", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;

    fn after(before: Option<Fetched>, read: Result<&[u8], Error>) -> Fetched {
        judge("https://issuer.example/keys", read.map(<[u8]>::to_vec), before)
    }

    #[tokio::test(start_paused = true)]
    async fn keys_stay_while_the_issuer_is_in_trouble_and_go_when_it_withdraws_them() {
        let has = |fetched: &Fetched| fetched.keys.is_some();
        let good = after(None, Ok(SET));
        assert!(has(&good) && good.trouble.is_none());
        let troubles = [Err(Error::Failed("x".into())), Ok(&b""[..]), Ok(b"<html>"), Ok(b"[]")];
        for trouble in troubles {
            assert!(has(&after(Some(good.clone()), trouble.clone())), "{trouble:?}");
            assert!(!has(&after(None, trouble)));
        }
        for withdrawn in [
            Ok(&br#"{"keys": []}"#[..]),
            Ok(br#"{"keys": [{"kty": "oct", "k": "eA"}]}"#),
            Err(Error::Gone(404)),
        ] {
            assert!(!has(&after(Some(good.clone()), withdrawn.clone())), "{withdrawn:?}");
        }
        // not for ever, however often it is asked meanwhile
        let mut now = good;
        for _ in 0..23 {
            tokio::time::advance(Duration::from_secs(3600)).await;
            now = after(Some(now), Err(Error::Failed("x".into())));
            assert!(has(&now));
        }
        tokio::time::advance(Duration::from_secs(3600)).await;
        assert!(!has(&after(Some(now), Err(Error::Failed("x".into())))));
    }
}
