//! Cursors (RFC 9865): where a list goes on, sealed, so that nobody can read one, make one, or use one elsewhere. What is found there is in `list`.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::digest;
use ring::rand::{SecureRandom, SystemRandom};
use serde::{Deserialize, Serialize};

use crate::scim::query::CURSOR_TIMEOUT;
use crate::scim::sort::SortKey;
use crate::scim::{ListQuery, ResourceKind, ScimError};

/// No cursor of ours is longer.
const MAX_BYTES: usize = 64 * 1024;
/// The least that a key file holds.
const KEY_BYTES: usize = 32;

/// The last resource of a page.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct After {
    /// What it is ordered by, if the list is sorted.
    pub(super) key: Option<SortKey>,
    /// Its number.
    pub(super) n: u32,
}

#[derive(Serialize, Deserialize)]
struct Sealed {
    after: After,
    /// The page size of the first request.
    count: u64,
    /// When, in seconds.
    at: i64,
}

/// Seals and opens cursors.
pub(super) struct Cursors {
    key: LessSafeKey,
    random: SystemRandom,
}

impl Cursors {
    /// With the key that all replicas share, or one that dies with this process: its cursors are then invalid elsewhere and after a restart.
    ///
    /// # Errors
    /// A secret that is too short to be one.
    pub(super) fn new(secret: Option<&[u8]>) -> Result<Self, String> {
        let random = SystemRandom::new();
        let mut own = [0u8; KEY_BYTES];
        let secret = match secret {
            Some(secret) if secret.len() < KEY_BYTES => return Err(format!("the key of cursors has at least {KEY_BYTES} bytes")),
            Some(secret) => secret,
            None => {
                random.fill(&mut own).map_err(|_| "the system gives no random bytes")?;
                &own
            }
        };
        let mut derive = digest::Context::new(&digest::SHA256);
        derive.update(b"rolecall.dev/cursor/1\0");
        derive.update(secret);
        let key = UnboundKey::new(&AES_256_GCM, derive.finish().as_ref()).map_err(|_| "the key of cursors cannot be used")?;
        Ok(Self {
            key: LessSafeKey::new(key),
            random,
        })
    }

    /// The cursor of the next page.
    pub(super) fn seal(&self, to: &Scope, after: After, count: u64, now: Timestamp) -> Result<String, ScimError> {
        let failed = || ScimError::new(500, "the cursor cannot be made");
        let sealed = Sealed {
            after,
            count,
            at: now.as_second(),
        };
        let mut text = serde_json::to_vec(&sealed).map_err(|_| failed())?;
        let mut bytes = [0u8; NONCE_LEN];
        self.random.fill(&mut bytes).map_err(|_| failed())?;
        let nonce = Nonce::assume_unique_for_key(bytes);
        self.key
            .seal_in_place_append_tag(nonce, to.aad(), &mut text)
            .map_err(|_| failed())?;
        Ok(URL_SAFE_NO_PAD.encode([bytes.as_slice(), &text].concat()))
    }

    /// Where a cursor that a client sent goes on, and the page size that it was begun with. What is wrong with one that is not ours, not of this
    /// source or not of this query is not told (RFC 9865 §5.2).
    pub(super) fn open(&self, to: &Scope, cursor: &str, now: Timestamp) -> Result<(After, u64), ScimError> {
        let invalid = || ScimError::invalid_cursor("the cursor is none of this query: begin again with an empty one");
        let bytes = Some(cursor)
            .filter(|cursor| cursor.len() <= MAX_BYTES)
            .and_then(|cursor| URL_SAFE_NO_PAD.decode(cursor).ok())
            .filter(|bytes| bytes.len() > NONCE_LEN)
            .ok_or_else(invalid)?;
        let (nonce, text) = bytes.split_at(NONCE_LEN);
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| invalid())?;
        let mut text = text.to_vec();
        let text = self.key.open_in_place(nonce, to.aad(), &mut text).map_err(|_| invalid())?;
        let sealed: Sealed = serde_json::from_slice(text).map_err(|_| invalid())?;
        if now.as_second().saturating_sub(sealed.at) > CURSOR_TIMEOUT {
            return Err(ScimError::expired_cursor("the cursor is too old: begin again with an empty one"));
        }
        Ok((sealed.after, sealed.count))
    }
}

/// What a cursor is bound to: another source, endpoint, filter or order makes it invalid.
pub(super) struct Scope(String);

impl Scope {
    pub(super) fn new(source: &str, kinds: &[ResourceKind], query: &ListQuery) -> Self {
        let kinds: Vec<&str> = kinds.iter().map(|kind| kind.name()).collect();
        let filter = query.filter.as_ref().map(ToString::to_string);
        let sort = query.sort.as_ref().map(|sort| (sort.by.to_string(), sort.descending));
        Self(format!("{:?}", (source, kinds, filter, sort)))
    }

    fn aad(&self) -> Aad<&[u8]> {
        Aad::from(self.0.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scim::schema::Limits;

    #[test]
    fn a_cursor_is_good_for_its_query_only() {
        let limits = Limits {
            max_page_size: 10,
            default_page_size: 10,
            max_payload_size: 1024,
        };
        let scope = |source: &str, kind: ResourceKind, parameters: &[(&str, &str)]| {
            let query = ListQuery::parse(parameters.iter().copied(), limits).unwrap();
            Scope::new(source, &[kind], &query)
        };
        let users = |source: &str, parameters: &[(&str, &str)]| scope(source, ResourceKind::User, parameters);
        let cursors = Cursors::new(Some(&[7; 32])).unwrap();
        let now: Timestamp = "2026-11-25T12:00:00Z".parse().unwrap();
        let after = After {
            key: Some(SortKey::Text("ada@corp.example".into())),
            n: 7,
        };
        let own = users("okta", &[("filter", "title pr"), ("sortBy", "title")]);
        let cursor = cursors.seal(&own, after.clone(), 5, now).unwrap();
        assert!(
            cursor.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~".contains(&b)),
            "RFC 9865 §2"
        );
        assert!(!cursor.contains("ada"));
        assert_eq!(cursors.open(&own, &cursor, now), Ok((after.clone(), 5)));
        // Another replica, or the same one after a restart.
        let other = Cursors::new(Some(&[7; 32])).unwrap();
        assert_eq!(other.open(&own, &cursor, now), Ok((after, 5)));
        let refused = |cursors: &Cursors, scope: &Scope, cursor: &str| {
            let error = cursors.open(scope, cursor, now).unwrap_err();
            (error.scim_type.unwrap(), error.detail)
        };
        let expected = refused(&cursors, &own, "");
        assert_eq!(expected.0, "invalidCursor");
        let mut forged = cursor.clone().into_bytes();
        forged[30] = if forged[30] == b'A' { b'B' } else { b'A' };
        let forged = String::from_utf8(forged).unwrap();
        for (scope, cursor) in [
            (users("entra", &[("filter", "title pr"), ("sortBy", "title")]), &cursor),
            (users("okta", &[("filter", "title pr")]), &cursor),
            (users("okta", &[("filter", "userName pr"), ("sortBy", "title")]), &cursor),
            (
                users("okta", &[("filter", "title pr"), ("sortBy", "title"), ("sortOrder", "descending")]),
                &cursor,
            ),
            (
                scope("okta", ResourceKind::Group, &[("filter", "title pr"), ("sortBy", "title")]),
                &cursor,
            ),
            (users("okta", &[("filter", "title pr"), ("sortBy", "title")]), &forged),
            (
                users("okta", &[("filter", "title pr"), ("sortBy", "title")]),
                &cursor[..20].to_owned(),
            ),
            (users("okta", &[("filter", "title pr"), ("sortBy", "title")]), &"x".repeat(100_000)),
        ] {
            assert_eq!(refused(&cursors, &scope, cursor), expected, "one answer, whatever is wrong");
        }
        assert_eq!(refused(&Cursors::new(Some(&[8; 32])).unwrap(), &own, &cursor), expected);
        assert_eq!(refused(&Cursors::new(None).unwrap(), &own, &cursor), expected);
        let late = now + jiff::SignedDuration::from_secs(CURSOR_TIMEOUT + 1);
        assert_eq!(cursors.open(&own, &cursor, late).unwrap_err().scim_type, Some("expiredCursor"));
        assert!(Cursors::new(Some(b"short")).is_err());
    }
}
