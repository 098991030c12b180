//! Which sources are served, and by which tokens: hashes only, compared in constant time, and keys of issuers. Where they come from is in `sources`.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use http::{HeaderMap, header};
use jiff::Timestamp;
use ring::digest;
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

use super::jwt::Issuer;
use crate::api::poll::Poll;
use crate::api::push::JWT;
use crate::directory::FailingToken;
use crate::scim::schema::Extensions;

/// The shortest token that is accepted.
pub const SHORTEST: usize = 32;
/// The most tokens of one source, as its CRD has it.
const MOST: usize = 8;

/// The SHA-256 of a token. The token itself is never kept.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Hash([u8; 32]);

impl std::fmt::Debug for Hash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hash(..)")
    }
}

impl Hash {
    /// Of a token as it stands in a Secret: white space around it does not count. `None` if it is too short to be safe.
    pub fn of_secret(secret: &[u8]) -> Option<Self> {
        let token = secret.trim_ascii();
        (token.len() >= SHORTEST).then(|| Self::of(token))
    }

    pub(super) fn of(token: &[u8]) -> Self {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest::digest(&digest::SHA256, token).as_ref());
        Self(hash)
    }
}

/// One token of a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    /// Its name in `spec.push.tokens`.
    pub name: Arc<str>,
    /// What it is.
    pub hash: Hash,
    /// When it stops being accepted.
    pub not_after: Option<Timestamp>,
}

/// One source that is served.
#[derive(Clone, Debug)]
pub struct Served {
    /// The source's name.
    pub name: Arc<str>,
    /// The UID of its ScimSource.
    pub uid: Arc<str>,
    /// The tokens of its provider.
    pub tokens: Vec<Credential>,
    /// Whose signed tokens are accepted too.
    pub jwt: Option<Issuer>,
    /// Those that cannot be used, for the admin to see.
    pub failing: Vec<FailingToken>,
    /// The extension schemas that are declared for it.
    pub extensions: Arc<Extensions>,
    /// The generation of its spec.
    pub generation: i64,
    /// How it is polled; none: its provider pushes.
    pub poll: Option<Arc<Poll>>,
    /// What an admin last asked for by an annotation; empty: nothing.
    pub requested: Arc<str>,
}

/// The sources that are served now.
#[derive(Clone, Debug, Default)]
pub struct Sources(Arc<ArcSwapOption<BTreeMap<Arc<str>, Arc<Served>>>>);

impl Sources {
    /// Replaces them all.
    pub fn set(&self, served: impl IntoIterator<Item = Served>) {
        let map = served.into_iter().map(|source| (source.name.clone(), Arc::new(source))).collect();
        self.0.store(Some(Arc::new(map)));
    }

    /// All of them.
    pub fn all(&self) -> Vec<Arc<Served>> {
        self.0.load().iter().flat_map(|map| map.values().cloned()).collect()
    }

    /// Whether they are known yet: before that a good token cannot be told from a wrong one.
    pub fn known(&self) -> bool {
        self.0.load().is_some()
    }

    fn get(&self, name: &str) -> Option<Arc<Served>> {
        self.0.load().as_ref()?.get(name).cloned()
    }

    /// The source and the token's name, if the token is one of its own and not out of date, or one of its issuer's that was proved before. An unknown
    /// source says the same, and takes the same time as one without an issuer.
    pub fn authenticate(&self, source: &str, token: Option<&str>, now: Timestamp) -> Option<(Arc<Served>, Arc<str>)> {
        let presented = Hash::of(token.unwrap_or_default().as_bytes());
        let served = self.get(source);
        let tokens = served.as_ref().map_or(&[] as &[Credential], |served| &served.tokens);
        let nothing = Credential {
            name: "".into(),
            hash: Hash([0; 32]),
            not_after: Some(Timestamp::MIN),
        };
        let mut which = 0u8;
        let mut good = Choice::from(0);
        for i in 0..MOST.max(tokens.len()) {
            let known = tokens.get(i).unwrap_or(&nothing);
            let in_time = known.not_after.is_none_or(|end| now < end);
            let this = known.hash.0.ct_eq(&presented.0) & Choice::from(u8::from(in_time));
            which.conditional_assign(&u8::try_from(i).unwrap_or(u8::MAX), this);
            good |= this;
        }
        let served = served.filter(|_| token.is_some())?;
        let name = match bool::from(good) {
            true => served.tokens.get(usize::from(which))?.name.clone(),
            false => served.jwt.as_ref().filter(|jwt| jwt.proved(&presented, now)).map(|_| JWT.into())?,
        };
        Some((served, name))
    }
}

impl Sources {
    /// The same for a token that was not proved before, by its signature: whoever asks pays for it first.
    pub(super) fn prove(&self, source: &str, token: &str) -> Option<(Arc<Served>, Arc<str>)> {
        let served = self.get(source)?;
        let good = served.jwt.as_ref()?.proves(token);
        good.then(|| (served, JWT.into()))
    }
}

/// The token of an `Authorization: Bearer` header.
pub(super) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.trim().split_once(' ')?;
    Some(token.trim()).filter(|token| scheme.eq_ignore_ascii_case("Bearer") && !token.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens() {
        let (first, second, old) = ("a".repeat(32), "b".repeat(40), "c".repeat(32));
        let now: Timestamp = "2026-11-24T12:00:00Z".parse().unwrap();
        let credential = |token: &str, not_after: Option<&str>| Credential {
            name: token[..1].into(),
            hash: Hash::of_secret(format!(" {token}\n").as_bytes()).unwrap(),
            not_after: not_after.map(|text| text.parse().unwrap()),
        };
        let sources = Sources::default();
        let served = |name: &str, tokens| Served {
            name: name.into(),
            uid: "u".into(),
            tokens,
            jwt: None,
            failing: Vec::new(),
            extensions: Arc::default(),
            generation: 1,
            poll: None,
            requested: "".into(),
        };
        sources.set([
            served(
                "okta",
                vec![
                    credential(&first, None),
                    credential(&second, Some("2026-11-24T12:00:01Z")),
                    credential(&old, Some("2026-11-24T12:00:00Z")),
                ],
            ),
            served("entra", vec![credential(&"d".repeat(32), None)]),
            served("none", vec![]),
        ]);
        let check = |source: &str, token: Option<&str>, good: bool| {
            let found = sources.authenticate(source, token, now);
            assert_eq!(found.is_some(), good, "{source} {token:?}");
            assert!(found.is_none_or(|(served, name)| *served.name == *source && token.unwrap().starts_with(&*name)));
        };
        check("okta", Some(&first), true);
        check("okta", Some(&second), true);
        check("okta", Some(&old), false);
        check("okta", Some(&"d".repeat(32)), false);
        check("okta", Some(""), false);
        check("okta", None, false);
        check("entra", Some(&"d".repeat(32)), true);
        check("none", Some(&first), false);
        check("nobody", Some(&first), false);
        assert_eq!(Hash::of_secret(&[b'x'; 31]), None);
        assert_eq!(format!("{:?}", Hash::of(b"secret")), "Hash(..)");
    }

    #[test]
    fn headers() {
        let check = |value: &str, expected: Option<&str>| {
            let headers = HeaderMap::from_iter([(header::AUTHORIZATION, value.parse().unwrap())]);
            assert_eq!(bearer(&headers), expected, "{value}");
        };
        check("Bearer abc", Some("abc"));
        check("bearer  abc ", Some("abc"));
        check("Basic abc", None);
        check("Bearer ", None);
        check("abc", None);
        assert_eq!(bearer(&HeaderMap::new()), None);
    }
}
