//! What is taken although the RFCs do not have it, and who sends it: one table. Where each is recognised is in the code that reads the value; what
//! was used is noted here, so that an admin sees what a provider needs.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

/// One tolerance. Everything else that is not the RFCs' is refused with a precise `scimType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs)] // `seen` says it
pub enum Tolerance {
    OpCase,
    NoOperations,
    PathAsKey,
    NoUrn,
    RemoveValues,
    MadeElement,
    ReadOnlyRepeated,
    NestedSchemas,
    BooleanText,
    ListOfOne,
    EmptyClears,
    BareValue,
    ElementWithoutList,
    JsonText,
    ForeignSchemas,
    NoSchemas,
    BareComplex,
    NoContentType,
    BooleanNumber,
    BareLiteral,
}

impl Tolerance {
    /// All of them, in the order of their numbers.
    pub const ALL: [Tolerance; 20] = [
        Tolerance::OpCase,
        Tolerance::NoOperations,
        Tolerance::PathAsKey,
        Tolerance::NoUrn,
        Tolerance::RemoveValues,
        Tolerance::MadeElement,
        Tolerance::ReadOnlyRepeated,
        Tolerance::NestedSchemas,
        Tolerance::BooleanText,
        Tolerance::ListOfOne,
        Tolerance::EmptyClears,
        Tolerance::BareValue,
        Tolerance::ElementWithoutList,
        Tolerance::JsonText,
        Tolerance::ForeignSchemas,
        Tolerance::NoSchemas,
        Tolerance::BareComplex,
        Tolerance::NoContentType,
        Tolerance::BooleanNumber,
        Tolerance::BareLiteral,
    ];

    /// The name in metrics and status, and who sends what.
    fn row(self) -> (&'static str, &'static str) {
        match self {
            Tolerance::OpCase => ("OpCase", r#"Entra: "op": "Add""#),
            Tolerance::NoOperations => ("NoOperations", r#"Microsoft's validator: a PATCH with "Operations": []"#),
            Tolerance::PathAsKey => (
                "PathAsKey",
                r#"Entra with its flag: no path, and keys that are paths: {"name.givenName": "Ada", "urn:...:User:department": "x"}"#,
            ),
            Tolerance::NoUrn => ("NoUrn", r#"Entra: "manager" or "department" without the extension's URN"#),
            Tolerance::RemoveValues => (
                "RemoveValues",
                r#"Entra without its flag: "op": "Remove", "path": "members", "value": [...] removes these, not all"#,
            ),
            Tolerance::MadeElement => (
                "MadeElement",
                r#"Entra: replace of emails[type eq "work"].value that matches nothing makes the element (RFC 7644 §3.5.2.3: noTarget)"#,
            ),
            Tolerance::ReadOnlyRepeated => (
                "ReadOnlyRepeated",
                r#"Okta: a PATCH that repeats "id", "meta" or an empty "groups" beside what it changes"#,
            ),
            Tolerance::NestedSchemas => ("NestedSchemas", r#"a "schemas" inside an extension's object"#),
            Tolerance::BooleanText => (
                "BooleanText",
                r#"Entra without its flag: active "False", primary "True". Never "yes""#,
            ),
            Tolerance::ListOfOne => ("ListOfOne", "Entra: manager as a list of one"),
            Tolerance::EmptyClears => ("EmptyClears", r#"Entra: manager "" clears it"#),
            Tolerance::BareValue => ("BareValue", r#"Entra: manager as a bare id; roles: ["admin"]"#),
            Tolerance::ElementWithoutList => ("ElementWithoutList", "PATCH add of one value without its list"),
            Tolerance::JsonText => (
                "JsonText",
                r#"Entra's AppRoleAssignmentsComplex: roles [{"value": "{\"id\":...,\"value\":\"Admin\",\"displayName\":\"Admin\"}"}]"#,
            ),
            Tolerance::ForeignSchemas => (
                "ForeignSchemas",
                r#"Entra, OneLogin: URNs in "schemas" that are none of the resource type's, or not the core one"#,
            ),
            Tolerance::NoSchemas => ("NoSchemas", r#"authentik: PUT and POST without "schemas""#),
            Tolerance::BareComplex => (
                "BareComplex",
                r#"Entra: manager eq "id", members eq "id" in a filter: the value is meant"#,
            ),
            Tolerance::NoContentType => ("NoContentType", "a body without Content-Type is taken for JSON"),
            Tolerance::BooleanNumber => (
                "BooleanNumber",
                r#"OneLogin's templates: active "1" or "0", as text or number; no other number"#,
            ),
            Tolerance::BareLiteral => (
                "BareLiteral",
                "Entra's samples: externalId eq jyoung, a word without quotes in a filter",
            ),
        }
    }

    /// The name in metrics and status.
    pub fn name(self) -> &'static str {
        self.row().0
    }

    /// Who sends what.
    pub fn seen(self) -> &'static str {
        self.row().1
    }

    fn bit(self) -> u32 {
        1 << (self as u32)
    }
}

/// How many attributes of one request are noted.
const MAX_NAMES: usize = 32;
/// The longest path that is noted.
const MAX_NAME: usize = 256;

/// What a request had that the schema or the RFC does not have. A clone is the same: what is noted in one is in all.
#[derive(Clone, Debug, Default)]
pub struct Seen(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    tolerated: AtomicU32,
    drift: Mutex<BTreeSet<(Drift, String)>>,
}

/// How an attribute is not what the schema says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Drift {
    /// No schema has it. It is kept and returned all the same.
    UnknownAttribute,
    /// Its value has another type. The request was refused.
    WrongType,
    /// A resource is to have it, and the request leaves it out: refused, if the RFC requires it; taken, if only the source's declaration does.
    MissingAttribute,
    /// A PUT leaves a whole extension out that the resource had. It is gone, as RFC 7644 §3.5.1 says.
    MissingExtension,
}

impl Drift {
    /// The name in metrics and status.
    pub fn name(self) -> &'static str {
        match self {
            Drift::UnknownAttribute => "UnknownAttribute",
            Drift::WrongType => "WrongType",
            Drift::MissingAttribute => "MissingAttribute",
            Drift::MissingExtension => "MissingExtension",
        }
    }
}

impl Seen {
    /// Notes a tolerance.
    pub fn note(&self, tolerance: Tolerance) {
        self.0.tolerated.fetch_or(tolerance.bit(), Relaxed);
    }

    /// Notes an attribute that is not what the schema says, by its path. What is no path of attributes is not noted: it may be a person's data.
    pub fn drift(&self, drift: Drift, path: &str) {
        let is_path = path.len() <= MAX_NAME && path.bytes().all(|b| b.is_ascii_alphanumeric() || b"$-_.:/".contains(&b));
        let mut noted = self.0.drift.lock().unwrap_or_else(PoisonError::into_inner);
        if is_path && noted.len() < MAX_NAMES {
            noted.insert((drift, path.to_owned()));
        }
    }

    /// The tolerances, each once.
    pub fn tolerated(&self) -> impl Iterator<Item = Tolerance> + use<> {
        let bits = self.0.tolerated.load(Relaxed);
        Tolerance::ALL.into_iter().filter(move |tolerance| bits & tolerance.bit() != 0)
    }

    /// The attributes that are not what the schema says.
    pub fn drifted(&self) -> BTreeSet<(Drift, String)> {
        self.0.drift.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Forgets what is no drift after all.
    pub fn forget(&self, which: impl Fn(Drift, &str) -> bool) {
        let mut noted = self.0.drift.lock().unwrap_or_else(PoisonError::into_inner);
        noted.retain(|(drift, path)| !which(*drift, path));
    }

    /// Notes what another part of the request had.
    pub fn also(&self, other: &Seen) {
        self.0.tolerated.fetch_or(other.0.tolerated.load(Relaxed), Relaxed);
        for (drift, path) in other.drifted() {
            self.drift(drift, &path);
        }
    }
}

/// What was seen is not what a request is.
impl PartialEq for Seen {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_a_name_a_place_and_somebody_who_sends_it() {
        let names: BTreeSet<&str> = Tolerance::ALL.iter().map(|tolerance| tolerance.name()).collect();
        assert_eq!(names.len(), Tolerance::ALL.len());
        for (i, tolerance) in Tolerance::ALL.into_iter().enumerate() {
            assert_eq!(tolerance as usize, i);
            assert_eq!(format!("{tolerance:?}"), tolerance.name());
            assert!(!tolerance.seen().is_empty());
        }
        let seen = Seen::default();
        assert_eq!(seen.tolerated().count(), 0);
        seen.clone().note(Tolerance::NoUrn);
        seen.note(Tolerance::OpCase);
        let other = Seen::default();
        other.note(Tolerance::NoContentType);
        other.drift(Drift::UnknownAttribute, "urn:x:2.0:Y:badge");
        other.drift(Drift::WrongType, "no path: a person's name");
        seen.also(&other);
        assert_eq!(
            seen.tolerated().collect::<Vec<_>>(),
            [Tolerance::OpCase, Tolerance::NoUrn, Tolerance::NoContentType]
        );
        (0..100).for_each(|n| seen.drift(Drift::UnknownAttribute, &format!("x{n}")));
        assert_eq!(seen.drifted().len(), MAX_NAMES);
        assert!(seen.drifted().contains(&(Drift::UnknownAttribute, "urn:x:2.0:Y:badge".to_owned())));
    }
}
