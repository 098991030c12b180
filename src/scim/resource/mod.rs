//! A resource's body made into the attributes that are kept, and the attributes made into the resource that is answered. PATCH lives in `patch`.

mod project;
#[cfg(test)]
mod tests;

use std::collections::HashSet;

use serde_json::{Map, Value, json};

use super::Members;
use super::coerce::{self, From, is_unassigned, strip};
use super::error::ScimError;
use super::filter::get_attribute;
use super::patch;
use super::path::AttrPath;
use super::schema::{self, Attribute, Mutability, ResourceKind};
use super::tolerance::{Drift, Seen, Tolerance};

pub use project::Projection;

/// What a POST or PUT says.
#[derive(Clone, Debug, PartialEq)]
pub struct Body {
    /// The attributes to keep: `schemas` first, no `id`, `meta`, `password`, `groups` or `members`, and no null anywhere.
    pub attributes: Map<String, Value>,
    /// A group's members, each once; none if the body does not speak of members.
    pub members: Option<Vec<String>>,
}

impl Body {
    /// Makes these the group's members, if the body speaks of members: the others go.
    pub fn set_members(&self, members: &mut dyn Members) -> Result<(), ScimError> {
        let Some(ids) = &self.members else { return Ok(()) };
        members.clear();
        ids.iter().try_for_each(|id| members.add(id))
    }
}

/// Reads the body of a POST.
///
/// Everything is kept but what means "unassigned" (null, `[]`), what is read-only, and the password. `schemas` may be absent or foreign. Wrong types
/// and a missing `userName` or `displayName` are `invalidValue`.
pub fn create(kind: ResourceKind, body: &Value, seen: &Seen) -> Result<Body, ScimError> {
    let body = body.as_object().ok_or_else(|| ScimError::invalid_syntax("the body is an object"))?;
    check_schemas(kind, body, seen)?;
    let mut reader = Reader {
        kind,
        seen,
        attributes: Map::new(),
        unqualified: Vec::new(),
        members: None,
    };
    for (key, value) in body {
        reader.take(key, value)?;
    }
    let Reader {
        mut attributes,
        unqualified,
        members,
        ..
    } = reader;
    for (urn, attribute, value) in unqualified {
        // What stands under the URN is meant first.
        let container = attributes.entry(urn).or_insert_with(|| json!({}));
        if let Some(container) = container.as_object_mut() {
            container.entry(attribute.name).or_insert(value);
        }
    }
    if !attributes.contains_key(kind.required()) {
        seen.drift(Drift::MissingAttribute, kind.required());
    }
    finish(kind, &mut attributes)?;
    Ok(Body { attributes, members })
}

/// Reads the body of a PUT. It replaces everything, but absent `active` leaves it as it was: nobody is disabled, or enabled, by omission.
pub fn replace(kind: ResourceKind, current: &Map<String, Value>, body: &Value) -> Result<Body, ScimError> {
    let mut new = create(kind, body, &Seen::default())?;
    if kind == ResourceKind::User
        && !new.attributes.contains_key("active")
        && let Some(active) = current.get("active")
    {
        new.attributes.insert("active".into(), active.clone());
    }
    Ok(new)
}

fn check_schemas(kind: ResourceKind, body: &Map<String, Value>, seen: &Seen) -> Result<(), ScimError> {
    let urns: Vec<&str> = match get_attribute(body, "schemas") {
        None | Some(Value::Null) => {
            seen.note(Tolerance::NoSchemas);
            return Ok(());
        }
        Some(Value::Array(list)) => list.iter().filter_map(Value::as_str).collect(),
        Some(_) => return Err(ScimError::invalid_syntax("\"schemas\" is a list of URNs")),
    };
    let has = |kind: ResourceKind| urns.iter().any(|urn| urn.eq_ignore_ascii_case(kind.schema().id));
    let own = |urn: &&str| schema::known_urn(urn).is_some();
    if !has(kind) || !urns.iter().all(own) {
        seen.note(Tolerance::ForeignSchemas);
    }
    // Foreign URNs are tolerated, but a Group sent to /Users is a mistake.
    match has(kind.other()) && !has(kind) {
        true => Err(ScimError::invalid_syntax(format!(
            "{} takes resources of {}",
            kind.endpoint(),
            kind.schema().id
        ))),
        false => Ok(()),
    }
}

/// Whether no attribute may be kept under this name, even of a kind whose schema does not have it: memberships are kept apart, passwords nowhere.
pub(crate) fn is_reserved(name: &str) -> bool {
    ["groups", "members", "password"]
        .iter()
        .any(|reserved| reserved.eq_ignore_ascii_case(name))
}

struct Reader<'a> {
    kind: ResourceKind,
    attributes: Map<String, Value>,
    unqualified: Vec<(&'static str, &'static Attribute, Value)>,
    members: Option<Vec<String>>,
    seen: &'a Seen,
}

impl Reader<'_> {
    fn take(&mut self, key: &str, value: &Value) -> Result<(), ScimError> {
        if let Some(attribute) = schema::find(self.kind, key) {
            return self.core(attribute, value);
        }
        let known = schema::known_urn(key);
        if let (Some(urn), Value::Object(map)) = (known, value) {
            if urn == self.kind.schema().id {
                return map
                    .iter()
                    .filter(|(key, _)| !key.contains(':'))
                    .try_for_each(|(key, value)| self.take(key, value));
            }
            if self.kind.extensions().iter().any(|schema| schema.id == urn) {
                return map.iter().try_for_each(|(key, value)| self.extension(urn, key, value));
            }
        }
        if known.is_some_and(|urn| self.kind.extensions().iter().any(|schema| schema.id == urn)) && !is_unassigned(value) {
            return Err(ScimError::invalid_value(format!("{key}: expected an object")));
        }
        // `manager`, or `urn:...:User:manager`.
        if let Ok(path) = AttrPath::read(key)
            && path.sub.is_none()
            && let Ok(schema::Place {
                container,
                attribute: Some(attribute),
                ..
            }) = schema::resolve(self.kind, &path)
        {
            return match container.and_then(schema::known_urn) {
                None => self.core(attribute, value),
                Some(urn) => {
                    if path.urn.is_none() {
                        self.seen.note(Tolerance::NoUrn);
                    }
                    let value = coerce::attribute(attribute, value, From::Body, self.seen)?;
                    self.unqualified.extend(value.map(|value| (urn, attribute, value)));
                    Ok(())
                }
            };
        }
        if is_reserved(key) {
            return Ok(());
        }
        if let Some(value) = strip(value) {
            self.unknown(key, &value);
            self.attributes.insert(key.to_owned(), value);
        }
        Ok(())
    }

    /// Notes what no schema has: for an extension, each of its attributes.
    fn unknown(&self, key: &str, value: &Value) {
        match value {
            Value::Object(map) if key.contains(':') => map
                .keys()
                .for_each(|name| self.seen.drift(Drift::UnknownAttribute, &format!("{key}:{name}"))),
            _ => self.seen.drift(Drift::UnknownAttribute, key),
        }
    }

    fn core(&mut self, attribute: &'static Attribute, value: &Value) -> Result<(), ScimError> {
        if matches!(attribute.mutability, Mutability::ReadOnly | Mutability::WriteOnly) {
            return Ok(());
        }
        if self.kind == ResourceKind::Group && attribute.name == "members" {
            let mut seen = HashSet::new();
            let ids = patch::member_ids(value)?
                .into_iter()
                .filter(|id| seen.insert(*id))
                .map(str::to_owned)
                .collect();
            self.members = Some(ids);
            return Ok(());
        }
        let value = coerce::attribute(attribute, value, From::Body, self.seen)?;
        self.attributes.extend(value.map(|value| (attribute.name.to_owned(), value)));
        Ok(())
    }

    fn extension(&mut self, urn: &'static str, key: &str, value: &Value) -> Result<(), ScimError> {
        let (name, value) = match schema::find_extension(self.kind, urn, key) {
            Some(attribute) if attribute.mutability == Mutability::ReadOnly => return Ok(()),
            Some(attribute) => (attribute.name, coerce::attribute(attribute, value, From::Body, self.seen)?),
            None if key.eq_ignore_ascii_case("schemas") => {
                self.seen.note(Tolerance::NestedSchemas);
                return Ok(());
            }
            None => {
                let value = strip(value);
                if value.is_some() {
                    self.seen.drift(Drift::UnknownAttribute, &format!("{urn}:{key}"));
                }
                (key, value)
            }
        };
        let Some(value) = value else { return Ok(()) };
        let container = self.attributes.entry(urn).or_insert_with(|| json!({}));
        if let Some(container) = container.as_object_mut() {
            container.insert(name.to_owned(), value);
        }
        Ok(())
    }
}

/// What must hold of any resource: the required attribute is there and not blank, and `schemas` names what is used, no more and no less.
pub(crate) fn finish(kind: ResourceKind, attributes: &mut Map<String, Value>) -> Result<(), ScimError> {
    let required = kind.required();
    let name = attributes.get(required).and_then(Value::as_str).unwrap_or_default();
    if name.trim().is_empty() {
        return Err(ScimError::invalid_value(format!("{required} is required and must not be empty")));
    }
    // RFC 8265 §3.1 allows none in a name. It forbids more (spaces), which real providers send.
    if name.contains(char::is_control) {
        return Err(ScimError::invalid_value(format!("{required} must not hold control characters")));
    }
    // What the resource type does not list is kept all the same, and stands in none (RFC 7643 §3).
    let used = kind
        .extensions()
        .iter()
        .map(|schema| schema.id)
        .filter(|urn| attributes.contains_key(*urn));
    let schemas: Value = std::iter::once(kind.schema().id).chain(used).collect();
    attributes.shift_remove("schemas");
    attributes.shift_insert(0, "schemas".into(), schemas);
    Ok(())
}
