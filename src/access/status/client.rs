//! What a source's status says of the provider's client: its tokens, what is tolerated of it, where it leaves the schema. Never a person's data.

use std::cmp::Reverse;

use jiff::{SignedDuration, Timestamp};

use super::{cut, number};
use crate::api::conditions::{self, Set};
use crate::api::push::{JWT, Push, Token};
use crate::api::source::{DriftStatus, TokenStatus, ToleranceStatus};
use crate::directory::Client;

/// So long before its end a token is told to expire.
const EXPIRES_SOON: SignedDuration = SignedDuration::from_hours(14 * 24);
/// How many attributes a status shows that are not what the schema says.
const MAX_DRIFT: usize = 32;

/// The tokens of the spec, and those of its issuer as one, with their last use.
pub fn tokens(push: Option<&Push>, client: &Client) -> Vec<TokenStatus> {
    let Some(push) = push else { return Vec::new() };
    let status = |name: &str, not_after: Option<String>| TokenStatus {
        name: name.to_owned(),
        last_used: client.tokens.get(name).map(ToString::to_string),
        not_after,
    };
    let own = push.tokens.iter().map(|token| status(&token.name, token.not_after.clone()));
    own.chain(push.jwt.iter().map(|_| status(JWT, None))).collect()
}

/// What is tolerated, the most frequent first.
pub fn tolerances(client: &Client) -> Vec<ToleranceStatus> {
    let mut all: Vec<ToleranceStatus> = client
        .tolerated
        .iter()
        .map(|(name, requests)| ToleranceStatus {
            name: cut(name, 63),
            requests: i64::try_from(*requests).unwrap_or(i64::MAX),
        })
        .collect();
    all.sort_by_key(|one| Reverse(one.requests));
    all.truncate(MAX_DRIFT);
    all
}

/// Where the client leaves the schema, the most frequent first.
pub fn drift(client: &Client) -> Vec<DriftStatus> {
    let mut all: Vec<DriftStatus> = client
        .drift
        .iter()
        .map(|((drift, attribute), seen)| DriftStatus {
            type_: drift.name().to_owned(),
            attribute: cut(attribute, 256),
            requests: i64::try_from(seen.requests).unwrap_or(i64::MAX),
        })
        .collect();
    all.sort_by_key(|one| Reverse(one.requests));
    all.truncate(MAX_DRIFT);
    all
}

/// `SchemaDrift` and `TokenExpiring`, where there is reason.
pub fn conditions(list: &[Token], client: &Client, now: Timestamp) -> Vec<Set> {
    let mut set = Vec::new();
    let drift: Vec<String> = drift(client)
        .into_iter()
        .map(|one| format!("{} {} ({})", one.type_, one.attribute, one.requests))
        .collect();
    let shown = match drift.len() {
        0 => String::new(),
        _ => format!(
            "attributes that are not what the schema says, with the number of requests: {}",
            drift.join(", ")
        ),
    };
    // Somebody may have access who should not: nothing else matters as much.
    if let Some((_, newest)) = client.rejected.iter().max_by_key(|(_, rejected)| rejected.time) {
        let message = format!(
            "the provider wanted to disable or delete {}, and the request could not be taken ({}, newest request {}): they keep their access until it sends a request that can. Look at the provider's provisioning log; the gateway's log has the request. {shown}",
            number(client.rejected.len(), "user", "users"),
            newest.reason,
            newest.request
        );
        set.push(Set::new(
            conditions::SCHEMA_DRIFT,
            "True",
            "DeprovisionRejected",
            message.trim_end(),
        ));
    } else if let Some(((first, _), _)) = client.drift.first_key_value() {
        set.push(Set::new(conditions::SCHEMA_DRIFT, "True", first.name(), shown));
    }
    let ends = list.iter().filter_map(|token| Some((token, end(token)?)));
    let expiring: Vec<String> = ends
        .filter(|(_, end)| *end > now && *end - EXPIRES_SOON <= now)
        .map(|(token, end)| format!("{} at {end}", token.name))
        .collect();
    if !expiring.is_empty() {
        let message = format!(
            "tokens expire: {}. Add another to spec.push.tokens, give it to the provider, then take the old one away",
            expiring.join(", ")
        );
        set.push(Set::new(conditions::TOKEN_EXPIRING, "True", "ExpiresSoon", message));
    }
    set
}

/// When the conditions change next by time alone.
pub fn next_change(tokens: &[Token], now: Timestamp) -> Option<Timestamp> {
    let ends = tokens.iter().filter_map(end);
    ends.flat_map(|end| [end - EXPIRES_SOON, end]).filter(|at| *at > now).min()
}

fn end(token: &Token) -> Option<Timestamp> {
    token.not_after.as_deref()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::client::{Rejected, Seen};
    use crate::scim::Drift;

    fn token(name: &str, not_after: Option<&str>) -> Token {
        Token {
            name: name.to_owned(),
            not_after: not_after.map(str::to_owned),
            ..Token::default()
        }
    }

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    #[test]
    fn tokens_expire() {
        let list = [
            token("never", None),
            token("old", Some("2026-11-20T00:00:00Z")),
            token("soon", Some("2026-12-01T00:00:00Z")),
            token("later", Some("2027-06-01T00:00:00Z")),
        ];
        let check = |now: &str, expected: &[&str], next: Option<&str>| {
            let set = conditions(&list, &Client::default(), at(now));
            let told = set.iter().any(|one| one.kind == conditions::TOKEN_EXPIRING);
            assert_eq!(told, !expected.is_empty(), "{now}");
            assert!(
                expected.iter().all(|name| set[0].message.contains(&format!("{name} at"))),
                "{set:?}"
            );
            assert_eq!(next_change(&list, at(now)), next.map(at), "{now}");
        };
        check("2026-10-01T00:00:00Z", &[], Some("2026-11-06T00:00:00Z"));
        check("2026-11-18T00:00:00Z", &["old", "soon"], Some("2026-11-20T00:00:00Z"));
        check("2026-11-25T00:00:00Z", &["soon"], Some("2026-12-01T00:00:00Z"));
        check("2026-12-01T00:00:00Z", &[], Some("2027-05-18T00:00:00Z"));
        check("2028-01-01T00:00:00Z", &[], None);
        let client = Client {
            tokens: [("soon".into(), at("2026-11-25T10:00:00Z"))].into(),
            ..Client::default()
        };
        let jwt = Some(Box::default());
        let shown = tokens(Some(&Push { tokens: list.into(), jwt }), &client);
        assert_eq!((shown.len(), shown[4].name.as_str()), (5, "jwt"));
        assert_eq!(
            (shown[2].last_used.as_deref(), shown[0].last_used.as_deref()),
            (Some("2026-11-25T10:00:00Z"), None)
        );
    }

    #[test]
    fn drift_is_told_and_a_rejected_deprovisioning_first() {
        let mut client = Client::default();
        assert_eq!(conditions(&[], &client, at("2026-11-25T00:00:00Z")), []);
        for (n, attribute) in ["badge", "floor"].into_iter().enumerate() {
            let seen = Seen {
                requests: 3 + n as u64,
                request: "r1".into(),
            };
            client.drift.insert((Drift::UnknownAttribute, attribute.into()), seen);
        }
        let set = conditions(&[], &client, at("2026-11-25T00:00:00Z"));
        assert_eq!((set.len(), set[0].reason.as_str()), (1, "UnknownAttribute"));
        assert!(
            set[0].message.ends_with("UnknownAttribute floor (4), UnknownAttribute badge (3)"),
            "{set:?}"
        );
        let rejected = Rejected {
            request: "r2".into(),
            reason: "invalidValue".into(),
            time: at("2026-11-25T00:00:00Z"),
        };
        client.rejected.insert(7, rejected);
        let set = conditions(&[], &client, at("2026-11-25T00:00:00Z"));
        assert_eq!(
            (set.len(), set[0].kind, set[0].reason.as_str()),
            (1, "SchemaDrift", "DeprovisionRejected")
        );
        assert!(set[0].message.contains("1 user") && set[0].message.contains("r2") && set[0].message.contains("floor"));
    }
}
