//! Bearer tokens that the provider's own issuer signs (JWT, RFC 7519): what a key set holds, and which tokens it proves. Where the key set comes from is in `sources`.

mod verify;

use std::collections::HashMap;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::jwk::{AlgorithmParameters, Jwk, KeyAlgorithm, KeyOperations, PublicKeyUse};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, Validation, decode, decode_header};
use serde::Deserialize;
use serde_json::Value;

use super::tokens::Hash;
use crate::api::push::Jwt as Spec;

/// The longest token that is looked at, in bytes.
const LONGEST: usize = 8 * 1024;
/// The largest key set, in bytes.
pub(super) const LARGEST_SET: usize = 256 * 1024;
/// The most keys of a set that are used.
const MOST_KEYS: usize = 64;
/// How many proved tokens are remembered.
const MOST_PROVED: usize = 1024;
/// How many keys are tried for a token that does not name its key.
const MOST_TRIES: usize = 4;
/// How far the issuer's clock may be from ours, in seconds.
const LEEWAY: u64 = 60;

/// The public keys of an issuer (JWK Set, RFC 7517 §5).
pub struct Keys {
    keys: Vec<Key>,
    /// Whether a token asks for a key that is not here: the issuer may have a new one.
    unknown: AtomicBool,
}

/// Why there are no keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoKeys {
    /// It is no key set: whoever publishes it may be in trouble.
    NotASet(String),
    /// It is one, and has no key for signatures: whoever publishes it has none.
    Empty,
}

impl std::fmt::Display for NoKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotASet(why) => f.write_str(why),
            Self::Empty => f.write_str("the key set has no RSA, EC or Ed25519 key for signatures"),
        }
    }
}

struct Key {
    id: Option<String>,
    /// What the set says that it is for; `None`: any of its family.
    algorithm: Option<Algorithm>,
    key: DecodingKey,
}

/// Only what is checked here and not by the library; each must have its type (RFC 7519 §4.1).
#[derive(Deserialize)]
#[allow(dead_code, reason = "an issuer or a time of another type is refused by being read")]
struct Claims {
    iss: String,
    sub: Option<String>,
    exp: f64,
    nbf: Option<f64>,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Keys({})", self.keys.len())
    }
}

impl Keys {
    /// Of a JWK Set. Keys that cannot verify (of other types, for encryption, symmetric ones) are left out.
    ///
    /// # Errors
    /// When it gives no key at all. Never what stands there: it may be a secret that somebody took for a key set.
    pub fn parse(bytes: &[u8]) -> Result<Self, NoKeys> {
        #[derive(Deserialize)]
        struct Set {
            keys: Vec<Value>,
        }
        if bytes.len() > LARGEST_SET {
            return Err(NoKeys::NotASet(format!("the key set has more than {LARGEST_SET} bytes")));
        }
        let set: Set = serde_json::from_slice(bytes).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            NoKeys::NotASet(format!("it is no JWK Set (RFC 7517): line {line}, column {column}"))
        })?;
        let keys: Vec<Key> = set.keys.into_iter().filter_map(Key::of).take(MOST_KEYS).collect();
        if keys.is_empty() {
            return Err(NoKeys::Empty);
        }
        verify::install();
        Ok(Self {
            keys,
            unknown: AtomicBool::new(false),
        })
    }

    /// Whether a token asks for a key that is not here.
    pub fn unknown(&self) -> bool {
        self.unknown.load(Ordering::Relaxed)
    }
}

impl Key {
    fn of(value: Value) -> Option<Self> {
        let jwk: Jwk = serde_json::from_value(value).ok()?;
        let for_signatures = jwk.common.public_key_use.as_ref().is_none_or(|it| *it == PublicKeyUse::Signature)
            && jwk
                .common
                .key_operations
                .as_ref()
                .is_none_or(|all| all.contains(&KeyOperations::Verify));
        let public = !matches!(jwk.algorithm, AlgorithmParameters::OctetKey(_));
        let algorithm = match jwk.common.key_algorithm {
            None => None,
            Some(KeyAlgorithm::UNKNOWN_ALGORITHM) => return None,
            Some(named) => Some(Algorithm::from_str(&named.to_string()).ok()?),
        };
        let key = DecodingKey::from_jwk(&jwk).ok().filter(|_| for_signatures && public)?;
        if algorithm.is_some_and(|its: Algorithm| its.family() != key.family()) {
            return None;
        }
        Some(Self {
            id: jwk.common.key_id,
            algorithm,
            key,
        })
    }

    fn fits(&self, algorithm: Algorithm) -> bool {
        match self.algorithm {
            Some(its) => its == algorithm,
            None => self.key.family() == algorithm.family(),
        }
    }
}

/// What tokens of a source are accepted.
#[derive(Clone, Debug)]
pub struct Issuer {
    spec: Arc<Spec>,
    /// Never a symmetric one: the CRD names those that there are.
    algorithms: Arc<[Algorithm]>,
    keys: Arc<Keys>,
    /// The hashes of tokens that were proved, and until when they hold: a provider sends the same one for an hour.
    proved: Arc<Mutex<HashMap<Hash, i64>>>,
}

impl Issuer {
    /// An issuer with its keys.
    pub fn new(spec: Arc<Spec>, keys: Arc<Keys>) -> Self {
        let algorithms = spec.algorithms.iter().filter_map(|name| Algorithm::from_str(name.name()).ok());
        Self {
            algorithms: algorithms.filter(|one| one.family() != AlgorithmFamily::Hmac).collect(),
            spec,
            keys,
            proved: Arc::default(),
        }
    }

    /// Whether this token was proved before, and still holds. It costs what a shared token costs.
    pub(super) fn proved(&self, token: &Hash, now: Timestamp) -> bool {
        let proved = self.proved.lock().unwrap_or_else(PoisonError::into_inner);
        proved.get(token).is_some_and(|end| now.as_second() < *end)
    }

    /// Whether this is a token of the issuer, for us, in time, signed by one of its keys with an algorithm that is allowed. It costs signatures.
    pub(super) fn proves(&self, token: &str) -> bool {
        let Some(end) = self.check(token) else { return false };
        let mut proved = self.proved.lock().unwrap_or_else(PoisonError::into_inner);
        if proved.len() >= MOST_PROVED {
            proved.clear();
        }
        proved.insert(Hash::of(token.as_bytes()), end);
        true
    }

    /// When the token ends, if it is good.
    fn check(&self, token: &str) -> Option<i64> {
        if token.len() > LONGEST {
            return None;
        }
        // RFC 7515 §4.1.11: what must be understood and is not makes a token invalid
        let header = decode_header(token).ok().filter(|header| header.crit.is_none())?;
        if !self.algorithms.contains(&header.alg) {
            return None;
        }
        let named = |key: &&Key| header.kid.is_none() || header.kid == key.id;
        let mut candidates = self.keys.keys.iter().filter(named).filter(|key| key.fits(header.alg)).peekable();
        if candidates.peek().is_none() {
            self.keys.unknown.store(true, Ordering::Relaxed);
            return None;
        }
        let mut validation = Validation::new(header.alg);
        validation.set_issuer(&[&self.spec.issuer]);
        validation.set_audience(&[&self.spec.audience]);
        validation.set_required_spec_claims(&["exp", "iss", "aud"]);
        validation.validate_nbf = true;
        validation.leeway = LEEWAY;
        for key in candidates.take(MOST_TRIES) {
            match decode::<Claims>(token, &key.key, &validation) {
                Ok(data) => {
                    let subject = data.claims.sub.unwrap_or_default();
                    let meant = self.spec.subjects.is_empty() || self.spec.subjects.contains(&subject);
                    #[allow(clippy::cast_possible_truncation, reason = "a time far away is cut to the farthest")]
                    return meant.then_some((data.claims.exp as i64).saturating_add(LEEWAY.cast_signed()));
                }
                Err(error) if matches!(error.kind(), ErrorKind::InvalidSignature) => {}
                Err(_) => return None,
            }
        }
        // the same name may stand for another key now
        self.keys.unknown.store(true, Ordering::Relaxed);
        None
    }
}

#[cfg(test)]
mod tests;
