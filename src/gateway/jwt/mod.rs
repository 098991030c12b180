//! Bearer tokens that the provider's own issuer signs (JWT, RFC 7519): what a key set holds, and which tokens it proves. Where the key set comes from is in `sources`.

mod verify;

use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::jwk::{AlgorithmParameters, Jwk, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, Validation, decode, decode_header};
use serde::Deserialize;
use serde_json::Value;

use crate::api::push::Jwt as Spec;

/// The longest token that is looked at, in bytes.
const LONGEST: usize = 8 * 1024;
/// The largest key set, in bytes.
pub(super) const LARGEST_SET: usize = 256 * 1024;
/// The most keys of a set that are used.
const MOST_KEYS: usize = 64;
/// How many keys are tried for a token that does not name its key.
const MOST_TRIES: usize = 8;
/// How far the issuer's clock may be from ours, in seconds.
const LEEWAY: u64 = 60;

/// The public keys of an issuer (JWK Set, RFC 7517 §5).
pub struct Keys {
    keys: Vec<Key>,
    /// Whether a token named a key that is not here: the issuer may have a new one.
    unknown: AtomicBool,
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
    /// What is wrong with it, when it gives no key at all.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Set {
            keys: Vec<Value>,
        }
        if bytes.len() > LARGEST_SET {
            return Err(format!("the key set has more than {LARGEST_SET} bytes"));
        }
        let set: Set = serde_json::from_slice(bytes).map_err(|error| format!("it is no JWK Set (RFC 7517): {error}"))?;
        let keys: Vec<Key> = set.keys.into_iter().take(MOST_KEYS).filter_map(Key::of).collect();
        if keys.is_empty() {
            return Err("the key set has no RSA, EC or Ed25519 key for signatures".to_owned());
        }
        verify::install();
        Ok(Self {
            keys,
            unknown: AtomicBool::new(false),
        })
    }

    /// Whether a token named a key that is not here.
    pub fn unknown(&self) -> bool {
        self.unknown.load(Ordering::Relaxed)
    }
}

impl Key {
    fn of(value: Value) -> Option<Self> {
        let jwk: Jwk = serde_json::from_value(value).ok()?;
        let for_signatures = jwk.common.public_key_use.as_ref().is_none_or(|it| *it == PublicKeyUse::Signature);
        let public = !matches!(jwk.algorithm, AlgorithmParameters::OctetKey(_));
        let algorithm = match jwk.common.key_algorithm {
            None => None,
            Some(KeyAlgorithm::UNKNOWN_ALGORITHM) => return None,
            Some(named) => Some(Algorithm::from_str(&named.to_string()).ok()?),
        };
        let key = DecodingKey::from_jwk(&jwk).ok().filter(|_| for_signatures && public)?;
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
}

impl Issuer {
    /// An issuer with its keys.
    pub fn new(spec: Arc<Spec>, keys: Arc<Keys>) -> Self {
        let algorithms = spec.algorithms.iter().filter_map(|name| Algorithm::from_str(name.name()).ok());
        Self {
            algorithms: algorithms.filter(|one| one.family() != AlgorithmFamily::Hmac).collect(),
            spec,
            keys,
        }
    }

    /// Whether this is a token of the issuer, for us, in time, signed by one of its keys with an algorithm that is allowed.
    pub fn proves(&self, token: &str) -> bool {
        if token.len() > LONGEST {
            return false;
        }
        // RFC 7515 §4.1.11: what must be understood and is not makes a token invalid
        let Some(header) = decode_header(token).ok().filter(|header| header.crit.is_none()) else {
            return false;
        };
        if !self.algorithms.contains(&header.alg) {
            return false;
        }
        let named = |key: &&Key| header.kid.is_none() || header.kid == key.id;
        let mut candidates = self.keys.keys.iter().filter(named).filter(|key| key.fits(header.alg)).peekable();
        if candidates.peek().is_none() {
            self.keys.unknown.store(true, Ordering::Relaxed);
            return false;
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
                    return self.spec.subjects.is_empty() || self.spec.subjects.contains(&subject);
                }
                Err(error) if matches!(error.kind(), ErrorKind::InvalidSignature) => {}
                Err(_) => return false,
            }
        }
        false
    }
}

#[cfg(test)]
mod tests;
