//! A user and a group with something of everything, who is in it, and what must hold of what is kept.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use serde_json::{Map, Value, json};

use crate::scim::filter::Related;
use crate::scim::schema::{self, ResourceKind};
use crate::scim::{Filter, Members, ScimError, Seen, resource};

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

pub fn user() -> &'static Map<String, Value> {
    static USER: LazyLock<Map<String, Value>> = LazyLock::new(|| {
        object(json!({
            "schemas": [schema::USER_URN, schema::ENTERPRISE_URN, "urn:x:y"],
            "id": "u1", "externalId": "Ada1", "userName": "Ada@Example.com", "displayName": "Ada", "title": "Dr.", "active": true,
            "name": {"givenName": "Ada", "familyName": "Lovelace"},
            "emails": emails(),
            "roles": [{"value": "admin", "primary": true}],
            "x509Certificates": [{"value": "MIID"}],
            "groups": [{"value": "g1", "type": "direct"}],
            "unknown": [{"value": "x"}, 1],
            schema::ENTERPRISE_URN: {"department": "Payments", "manager": {"value": "u2"}},
            "urn:x:y": {"z": [{"a": 1}], "on": true},
            "meta": {"resourceType": "User", "created": "2026-01-01T00:00:00Z", "lastModified": "2026-06-01T12:00:00.5+02:00"}
        }))
    });
    &USER
}

pub fn group() -> &'static Map<String, Value> {
    static GROUP: LazyLock<Map<String, Value>> = LazyLock::new(|| {
        object(json!({
            "schemas": [schema::GROUP_URN], "id": "g1", "externalId": "G-1", "displayName": "k8s payments",
            "members": [{"value": "u1", "type": "User"}, {"value": "g2", "type": "Group"}],
            "meta": {"resourceType": "Group", "created": "2026-01-01T00:00:00Z", "lastModified": "2026-01-01T00:00:00Z"}
        }))
    });
    &GROUP
}

pub fn emails() -> Vec<Value> {
    vec![
        json!({"type": "work", "value": "ada@w.example", "primary": true}),
        json!({"type": "home", "value": "ada@h.example"}),
    ]
}

/// The attributes of a resource that are kept.
pub fn kept(kind: ResourceKind, sample: &Map<String, Value>) -> Map<String, Value> {
    let body = resource::create(kind, &Value::Object(sample.clone()), &Seen::default());
    body.expect("the sample is a resource").attributes
}

/// The elements of `members` or `groups`.
pub struct Apart(pub BTreeSet<String>, Vec<Value>);

impl Related for Apart {
    fn contains(&self, id: &str) -> bool {
        self.0.contains(id)
    }

    fn any(&self, test: &mut dyn FnMut(&Value) -> bool) -> bool {
        self.1.iter().any(test)
    }
}

/// The resource without `members` or `groups`, and these.
pub fn apart(kind: ResourceKind, sample: &Map<String, Value>) -> (Map<String, Value>, Apart) {
    let mut bare = sample.clone();
    let list = match bare.shift_remove(kind.relation()) {
        Some(Value::Array(list)) => list,
        _ => Vec::new(),
    };
    let ids = list
        .iter()
        .filter_map(|element| element["value"].as_str().map(str::to_owned))
        .collect();
    (bare, Apart(ids, list))
}

/// A group's members.
#[derive(Default)]
pub struct Set(pub BTreeSet<String>);

/// Who is in it before.
pub fn groups() -> BTreeSet<String> {
    ["u1", "g2"].map(str::to_owned).into()
}

pub fn exists(id: &str) -> bool {
    id.starts_with(['u', 'g'])
}

impl Members for Set {
    fn add(&mut self, id: &str) -> Result<(), ScimError> {
        match exists(id) {
            true => {
                self.0.insert(id.to_owned());
                Ok(())
            }
            false => Err(ScimError::unknown_member(id)),
        }
    }

    fn remove(&mut self, id: &str) {
        self.0.remove(id);
    }

    fn clear(&mut self) {
        self.0.clear();
    }

    fn contains(&self, id: &str) -> bool {
        self.0.contains(id)
    }

    fn remove_where(&mut self, filter: &Filter) -> Result<(), ScimError> {
        let matcher = filter.compile_element(schema::find(ResourceKind::Group, "members"))?;
        let kind = |id: &str| if id.starts_with('g') { "Group" } else { "User" };
        self.0
            .retain(|id| !matcher.matches_element(&json!({"value": id, "type": kind(id)})));
        Ok(())
    }
}

fn holds_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(list) => list.is_empty() || list.iter().any(holds_nothing),
        Value::Object(map) => map.is_empty() || map.values().any(holds_nothing),
        _ => false,
    }
}

/// What may be kept of a resource: its schemas first, its name, and nothing that is computed, kept apart, secret or unassigned; no attribute twice.
pub fn check_kept(kind: ResourceKind, attributes: &Map<String, Value>) {
    let whole = Value::Object(attributes.clone());
    assert_eq!(attributes.keys().next().map(String::as_str), Some("schemas"), "{whole}");
    assert_eq!(attributes["schemas"][0], kind.schema().id);
    let name = attributes.get(kind.required()).and_then(Value::as_str).unwrap_or_default();
    assert!(!name.trim().is_empty(), "{whole}");
    assert!(!holds_nothing(&whole), "{whole}");
    for key in attributes.keys() {
        for never in ["id", "meta", "groups", "members", "password"] {
            assert!(!key.eq_ignore_ascii_case(never), "{whole}");
        }
        if let Some(known) = schema::find(kind, key) {
            assert_eq!(known.name, key, "{whole}");
        }
    }
    let again = resource::create(kind, &whole, &Seen::default());
    assert_eq!(
        again.map(|again| again.attributes).as_ref(),
        Ok(attributes),
        "read, and sent back as it is"
    );
}
