//! Who bears which username, over all sources: of several active users that yield one name, the one that has borne it longest has it. What they get is in `people`.

use std::collections::BTreeSet;
use std::sync::Arc;

use imbl::{OrdMap, OrdSet};
use jiff::Timestamp;
use roaring::RoaringBitmap;

use super::expression::Expression;
use super::shard::SubjectKind;
use crate::directory::{Directory, Kind, Resource, Source};

/// The most users of a source whose lack of a username is remembered with its reason.
const FAILURES_SHOWN: usize = 16;

/// The usernames of all active users of all sources. A clone costs nothing.
#[derive(Clone, Debug, Default)]
pub struct Usernames {
    sources: OrdMap<Arc<str>, Names>,
    /// Every claim on a name, the best first.
    claims: OrdMap<Arc<str>, OrdSet<Claim>>,
    /// Who is not active, by what they are called.
    disabled: OrdMap<Arc<str>, OrdSet<(Arc<str>, u32)>>,
    /// Of users, or of groups.
    kind: SubjectKind,
}

#[derive(Clone, Debug, Default)]
struct Names {
    by_user: OrdMap<u32, Claim>,
    /// The users whose name somebody else has.
    losers: OrdSet<u32>,
    /// The users for whom the expression yields nothing.
    nameless: OrdMap<u32, Arc<str>>,
    /// What the users are called who are not active.
    disabled: OrdMap<u32, Arc<str>>,
}

/// The order decides: longest borne, then created first, then by source and number, so that it is decided everywhere alike.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Claim {
    since: i64,
    created: Timestamp,
    source: Arc<str>,
    n: u32,
    name: Arc<str>,
}

impl Usernames {
    /// The same of groups: what their subjects are called. Every group that counts is one, and the rest is as with users.
    pub fn groups() -> Self {
        Self {
            kind: SubjectKind::Group,
            ..Self::default()
        }
    }

    fn all(&self, source: &Source) -> RoaringBitmap {
        match self.kind {
            SubjectKind::User => source.of_kind(Kind::User).clone(),
            SubjectKind::Group => source.of_kind(Kind::Group) - source.ignored(),
        }
    }

    /// Brings the names of one source up to the directory: of the users in `changed`, or of all (`None`; also when the expression is another one).
    /// Answers with every user, of any source, whose effective username is another one now.
    pub fn update(
        &mut self,
        directory: &Directory,
        source: &str,
        expression: &Expression,
        changed: Option<&[u32]>,
    ) -> Vec<(Arc<str>, u32)> {
        let name: Arc<str> = self
            .sources
            .get_key_value(source)
            .map_or_else(|| source.into(), |(name, _)| name.clone());
        let now = directory.source(source);
        let numbers: BTreeSet<u32> = match changed {
            Some(numbers) => numbers.iter().copied().collect(),
            None => {
                let known = self
                    .sources
                    .get(source)
                    .into_iter()
                    .flat_map(|names| names.by_user.keys().chain(names.nameless.keys()).chain(names.disabled.keys()));
                let all = now.map(|source| self.all(source)).unwrap_or_default();
                known.copied().chain(all.iter()).collect()
            }
        };
        let kind = self.kind;
        for n in numbers.iter().copied().filter(|_| kind == SubjectKind::User) {
            let user = now
                .and_then(|source| source.get(n))
                .filter(|user| user.kind == Kind::User && !user.active);
            let called = user.and_then(|user| evaluate(user, expression).ok());
            self.call_disabled(&name, n, called.map(|(.., text)| text));
        }
        self.replace(&name, numbers, |n| {
            now.and_then(|source| named(kind, source, n))
                .map(|resource| evaluate(resource, expression))
        })
    }

    /// Forgets a source that ended. Answers like [`Usernames::update`].
    pub fn forget(&mut self, source: &str) -> Vec<(Arc<str>, u32)> {
        let Some((name, names)) = self.sources.get_key_value(source) else {
            return Vec::new();
        };
        let (name, numbers) = (name.clone(), names.by_user.keys().copied().collect());
        let disabled: Vec<u32> = names.disabled.keys().copied().collect();
        disabled.into_iter().for_each(|n| self.call_disabled(&name, n, None));
        let changed = self.replace(&name, numbers, |_| None);
        self.sources.remove(source);
        changed
    }

    /// The username that a user has: `None` for whoever is not active, yields none, or yields one that somebody else has borne longer.
    pub fn effective(&self, source: &str, n: u32) -> Option<&Arc<str>> {
        let names = self.sources.get(source)?;
        names
            .by_user
            .get(&n)
            .filter(|_| !names.losers.contains(&n))
            .map(|claim| &claim.name)
    }

    /// The username that the expression yields for a user, though somebody else may have it.
    pub fn yielded(&self, source: &str, n: u32) -> Option<&Arc<str>> {
        self.sources.get(source)?.by_user.get(&n).map(|claim| &claim.name)
    }

    /// Who has a username.
    pub fn holder(&self, username: &str) -> Option<(&Arc<str>, u32)> {
        self.claims.get(username)?.get_min().map(|claim| (&claim.source, claim.n))
    }

    /// A user whom a provider disabled and who is called so, if nobody is who is active.
    pub fn disabled(&self, username: &str) -> Option<&(Arc<str>, u32)> {
        let disabled = self.disabled.get(username)?;
        disabled.get_min().filter(|_| self.holder(username).is_none())
    }

    /// What a user is called whom the provider disabled.
    pub fn called(&self, source: &str, n: u32) -> Option<&Arc<str>> {
        self.sources.get(source)?.disabled.get(&n)
    }

    fn call_disabled(&mut self, source: &Arc<str>, n: u32, name: Option<String>) {
        let before = self.sources.get(source).and_then(|names| names.disabled.get(&n)).cloned();
        if before.as_deref() == name.as_deref() {
            return;
        }
        if let Some(before) = before {
            if let Some(all) = self.disabled.get_mut(&before) {
                all.remove(&(source.clone(), n));
                if all.is_empty() {
                    self.disabled.remove(&before);
                }
            }
            self.sources.entry(source.clone()).or_default().disabled.remove(&n);
        }
        if let Some(name) = name {
            let name: Arc<str> = name.into();
            self.disabled.entry(name.clone()).or_default().insert((source.clone(), n));
            self.sources.entry(source.clone()).or_default().disabled.insert(n, name);
        }
    }

    /// Every username that somebody has, and the source of who has it.
    pub fn all_effective(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<str>)> {
        let best = self.claims.values().filter_map(|claims| claims.get_min());
        best.map(|claim| (&claim.source, &claim.name))
    }

    /// How many active users of a source do not get the username they yield, because somebody else has it.
    pub fn conflicts(&self, source: &str) -> usize {
        self.sources.get(source).map_or(0, |names| names.losers.len())
    }

    /// How many active users of a source yield no username.
    pub fn nameless(&self, source: &str) -> usize {
        self.sources.get(source).map_or(0, |names| names.nameless.len())
    }

    /// Why active users of a source yield no username: the different reasons among the first of them. No person's data.
    pub fn reasons(&self, source: &str) -> Vec<Arc<str>> {
        let all = self.sources.get(source).into_iter().flat_map(|names| names.nameless.values());
        all.take(FAILURES_SHOWN).cloned().collect::<BTreeSet<_>>().into_iter().collect()
    }

    fn replace(
        &mut self,
        source: &Arc<str>,
        numbers: BTreeSet<u32>,
        mut evaluated: impl FnMut(u32) -> Option<Result<(i64, Timestamp, String), String>>,
    ) -> Vec<(Arc<str>, u32)> {
        let mut before: OrdMap<(Arc<str>, u32), Option<Arc<str>>> = OrdMap::new();
        for n in numbers {
            let old = self.sources.get(source).and_then(|names| names.by_user.get(&n)).cloned();
            let mut nameless: Option<Arc<str>> = None;
            let new = match evaluated(n) {
                Some(Ok((since, created, text))) => Some(Claim {
                    since,
                    created,
                    source: source.clone(),
                    n,
                    // the same text is kept once
                    name: self
                        .claims
                        .get_key_value(text.as_str())
                        .map_or_else(|| text.as_str().into(), |(name, _)| name.clone()),
                }),
                Some(Err(reason)) => {
                    nameless = Some(reason.as_str().into());
                    None
                }
                None => None,
            };
            let names = self.sources.entry(source.clone()).or_default();
            match nameless {
                Some(reason) => {
                    names.nameless.insert(n, reason);
                }
                None => {
                    names.nameless.remove(&n);
                }
            }
            if old == new {
                continue;
            }
            if let Some(old) = old {
                self.note(&mut before, &old.name, source, n);
                self.withdraw(&old);
            }
            if let Some(new) = new {
                self.note(&mut before, &new.name, source, n);
                self.claim(new);
            }
        }
        let differs =
            |((source, n), old): ((Arc<str>, u32), Option<Arc<str>>)| (self.effective(&source, n) != old.as_ref()).then_some((source, n));
        before.into_iter().filter_map(differs).collect()
    }

    /// Remembers what the user and the holder of the name have now, before it is changed.
    fn note(&self, before: &mut OrdMap<(Arc<str>, u32), Option<Arc<str>>>, name: &str, source: &Arc<str>, n: u32) {
        // the next in line may become the holder, too
        let claims = self.claims.get(name).into_iter().flat_map(|claims| claims.iter().take(2));
        let concerned = claims.map(|claim| (claim.source.clone(), claim.n)).chain([(source.clone(), n)]);
        for (source, n) in concerned {
            let has = self.effective(&source, n).cloned();
            before.entry((source, n)).or_insert(has);
        }
    }

    fn withdraw(&mut self, claim: &Claim) {
        let Some(claims) = self.claims.get_mut(&claim.name) else { return };
        claims.remove(claim);
        let next = claims.get_min().cloned();
        if next.is_none() {
            self.claims.remove(&claim.name);
        }
        if let Some(names) = self.sources.get_mut(&claim.source) {
            names.by_user.remove(&claim.n);
            names.losers.remove(&claim.n);
        }
        if let Some(next) = next
            && let Some(names) = self.sources.get_mut(&next.source)
        {
            names.losers.remove(&next.n);
        }
    }

    fn claim(&mut self, claim: Claim) {
        let claims = self.claims.entry(claim.name.clone()).or_default();
        let holder = claims.get_min().cloned();
        claims.insert(claim.clone());
        let wins = holder.as_ref().is_none_or(|holder| claim < *holder);
        let loser = if wins { holder } else { Some(claim.clone()) };
        if let Some(loser) = loser {
            self.sources.entry(loser.source.clone()).or_default().losers.insert(loser.n);
        }
        self.sources.entry(claim.source.clone()).or_default().by_user.insert(claim.n, claim);
    }
}

/// A user or group that may bear a name.
fn named(kind: SubjectKind, source: &Source, n: u32) -> Option<&Arc<Resource>> {
    source.get(n).filter(|resource| match kind {
        SubjectKind::User => resource.kind == Kind::User && resource.active,
        SubjectKind::Group => resource.kind == Kind::Group && !source.ignored().contains(n),
    })
}

fn evaluate(user: &Resource, expression: &Expression) -> Result<(i64, Timestamp, String), String> {
    let name = expression.evaluate_json(user.attributes.json()).map_err(|e| e.to_string())?;
    let since = match expression.reads() {
        Some(attributes) => attributes.iter().map(|attribute| user.since(attribute)).max().unwrap_or(user.born),
        None => user.changed(),
    };
    Ok((since, user.created, name))
}
