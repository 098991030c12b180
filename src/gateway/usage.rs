//! What requests show of a provider's client, gathered until it is told in the journal: at once what is new, the counts with the next that is.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;

use crate::directory::client::MAX_DRIFT;
use crate::directory::event::{Counted, Drifted, TokenUse};
use crate::directory::{Client, Event};
use crate::scim::{Drift, Seen};

/// What was seen and is not told yet, by source.
#[derive(Debug, Default)]
pub(super) struct Usage(Mutex<BTreeMap<Arc<str>, Pending>>);

/// Of one source.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Pending {
    tokens: BTreeMap<Arc<str>, Timestamp>,
    tolerated: BTreeMap<&'static str, u64>,
    drift: BTreeMap<(Drift, String), (u64, Arc<str>)>,
}

impl Usage {
    /// One request.
    pub(super) fn note(&self, source: &Arc<str>, token: &Arc<str>, now: Timestamp, seen: &Seen, request: &Arc<str>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let pending = match all.get_mut(source) {
            Some(pending) => pending,
            None => all.entry(source.clone()).or_default(),
        };
        let hour = hour(now);
        if pending.tokens.get(token) != Some(&hour) {
            pending.tokens.insert(token.clone(), hour);
        }
        for tolerance in seen.tolerated() {
            *pending.tolerated.entry(tolerance.name()).or_default() += 1;
        }
        for key in seen.drifted() {
            if pending.drift.len() < MAX_DRIFT || pending.drift.contains_key(&key) {
                let (requests, newest) = pending.drift.entry(key).or_insert_with(|| (0, request.clone()));
                *requests += 1;
                *newest = request.clone();
            }
        }
    }

    /// What is not told yet of a source.
    pub(super) fn pending(&self, source: &str) -> Pending {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(source).cloned().unwrap_or_default()
    }

    /// It is told.
    pub(super) fn told(&self, source: &str, told: &Pending) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(pending) = all.get_mut(source) else { return };
        pending.tokens.retain(|name, hour| told.tokens.get(name) != Some(hour));
        for (name, requests) in &told.tolerated {
            if let Some(left) = pending.tolerated.get_mut(name) {
                *left = left.saturating_sub(*requests);
            }
        }
        pending.tolerated.retain(|_, left| *left > 0);
        for (key, (requests, _)) in &told.drift {
            if let Some((left, _)) = pending.drift.get_mut(key) {
                *left = left.saturating_sub(*requests);
            }
        }
        pending.drift.retain(|_, (left, _)| *left > 0);
    }

    /// Forgets sources that are not served any more.
    pub(super) fn retain(&self, served: impl Fn(&str) -> bool) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|name, _| served(name));
    }
}

impl Pending {
    /// The event that tells it all, if there is something that the directory does not know: a token used in another hour, a tolerance or an
    /// attribute that was not seen before.
    pub(super) fn news(&self, source: &str, known: &Client) -> Option<Event> {
        let later = |(name, hour): &(&Arc<str>, &Timestamp)| known.tokens.get(*name).is_none_or(|told| told < *hour);
        let tokens: Vec<TokenUse> = self
            .tokens
            .iter()
            .filter(later)
            .map(|(name, hour)| TokenUse {
                name: name.to_string(),
                hour: *hour,
            })
            .collect();
        let unknown = |key: &(Drift, String)| known.drift.len() < MAX_DRIFT && !known.drift.contains_key(&(key.0, key.1.as_str().into()));
        let news =
            !tokens.is_empty() || self.tolerated.keys().any(|name| !known.tolerated.contains_key(*name)) || self.drift.keys().any(unknown);
        news.then(|| Event::ClientSeen {
            source: source.to_owned(),
            tokens,
            tolerated: self
                .tolerated
                .iter()
                .map(|(name, requests)| Counted {
                    name: (*name).to_owned(),
                    requests: *requests,
                })
                .collect(),
            drift: self
                .drift
                .iter()
                .map(|((drift, attribute), (requests, request))| Drifted {
                    drift: *drift,
                    attribute: attribute.clone(),
                    requests: *requests,
                    request: request.to_string(),
                })
                .collect(),
        })
    }
}

fn hour(now: Timestamp) -> Timestamp {
    let seconds = now.as_second();
    Timestamp::from_second(seconds - seconds.rem_euclid(3600)).unwrap_or(now)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::{Directory, Source};
    use crate::scim::tolerance::Tolerance;

    #[test]
    fn what_is_new_is_told_with_all_counts_and_told_once() {
        let (usage, source, token, request): (Usage, Arc<str>, Arc<str>, Arc<str>) = (Usage::default(), "s".into(), "t".into(), "r".into());
        let at = |time: &str| time.parse::<Timestamp>().unwrap();
        let mut directory = Directory::default();
        let mut tell = |usage: &Usage| {
            let pending = usage.pending("s");
            let known = directory.source("s").map_or(Source::empty(), |s| s).client().clone();
            let event = pending.news("s", &known)?;
            let seen = Event::SourceSeen {
                source: "s".into(),
                uid: "u".into(),
            };
            directory.apply(1, 0, Timestamp::UNIX_EPOCH, &seen);
            directory.apply(1, 1, Timestamp::UNIX_EPOCH, &event);
            usage.told("s", &pending);
            Some(directory.source("s").unwrap().client().clone())
        };
        assert!(tell(&usage).is_none());
        let seen = Seen::default();
        usage.note(&source, &token, at("2026-11-25T10:10:00Z"), &seen, &request);
        assert_eq!(tell(&usage).unwrap().tokens[&token], at("2026-11-25T10:00:00Z"));
        usage.note(&source, &token, at("2026-11-25T10:50:00Z"), &seen, &request);
        assert!(tell(&usage).is_none(), "the same hour");
        seen.note(Tolerance::OpCase);
        seen.drift(Drift::UnknownAttribute, "badge");
        for _ in 0..3 {
            usage.note(&source, &token, at("2026-11-25T10:51:00Z"), &seen, &request);
        }
        let client = tell(&usage).unwrap();
        assert_eq!(client.tolerated["OpCase"], 3);
        assert_eq!(client.drift[&(Drift::UnknownAttribute, "badge".into())].requests, 3);
        usage.note(&source, &token, at("2026-11-25T10:52:00Z"), &seen, &request);
        assert!(tell(&usage).is_none(), "known, and told with the next hour");
        usage.note(&source, &token, at("2026-11-25T11:00:00Z"), &Seen::default(), &request);
        let client = tell(&usage).unwrap();
        assert_eq!((client.tolerated["OpCase"], client.tokens[&token]), (4, at("2026-11-25T11:00:00Z")));
        usage.retain(|_| false);
        assert_eq!(usage.pending("s"), Pending::default());
    }
}
