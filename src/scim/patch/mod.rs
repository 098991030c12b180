//! The PATCH engine (RFC 7644 §3.5.2): operations over a resource's attributes, in order, all or nothing. Values are judged in `coerce`, edits are made in
//! `edit`, members in `members`.
//!
//! What is tolerated beyond the RFC, and who sends it, is in `tolerance`; `password` is taken and dropped (Okta).

mod edit;
mod members;
#[cfg(test)]
mod tests;

use serde_json::{Map, Value};

use super::Members;
use super::coerce::loose_boolean;
use super::error::{ScimError, excerpt};
use super::filter::get_attribute;
use super::path::{AttrPath, Path};
use super::query::check_message;
use super::resource;
use super::schema::{self, Attribute, Mutability, ResourceKind};
use super::tolerance::{Drift, Seen, Tolerance};

pub(crate) use members::read as member_ids;

/// How many operations one request may have.
pub const MAX_OPERATIONS: usize = 10_000;

/// One operation.
#[derive(Clone, Debug, PartialEq)]
pub struct Op {
    /// What to do.
    pub kind: OpKind,
    /// Where; without it the value's keys say so.
    pub path: Option<Path>,
    /// With what.
    pub value: Option<Value>,
}

/// What an operation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum OpKind {
    Add,
    Remove,
    Replace,
}

/// Reads the body of a PATCH. Missing `schemas` are tolerated; an empty list of operations is a change of nothing.
pub fn parse_ops(body: &Value, seen: &Seen) -> Result<Vec<Op>, ScimError> {
    let body = body
        .as_object()
        .ok_or_else(|| ScimError::invalid_syntax("the body of a PATCH is an object"))?;
    let list = get_attribute(body, "Operations").ok_or_else(|| ScimError::invalid_syntax("a PATCH has a list \"Operations\""))?;
    let list = list
        .as_array()
        .ok_or_else(|| ScimError::invalid_syntax("\"Operations\" is a list"))?;
    if list.len() > MAX_OPERATIONS {
        return Err(ScimError::new(413, format!("more than {MAX_OPERATIONS} operations in one request")));
    }
    // Whatever it calls itself: one that disables somebody is not refused for its name.
    if check_message(body, "urn:ietf:params:scim:api:messages:2.0:PatchOp").is_err() {
        seen.note(Tolerance::ForeignSchemas);
    }
    if list.is_empty() {
        seen.note(Tolerance::NoOperations);
    }
    let read = |(i, op): (usize, &Value)| parse_op(op, seen).map_err(|error| at(i, error));
    list.iter().enumerate().map(read).collect()
}

fn parse_op(op: &Value, seen: &Seen) -> Result<Op, ScimError> {
    let op = op
        .as_object()
        .ok_or_else(|| ScimError::invalid_syntax("an operation is an object"))?;
    let name = get_attribute(op, "op")
        .and_then(Value::as_str)
        .ok_or_else(|| ScimError::invalid_syntax("\"op\" is missing: add, remove or replace"))?;
    let kind = match name.to_ascii_lowercase().as_str() {
        "add" => OpKind::Add,
        "remove" => OpKind::Remove,
        "replace" => OpKind::Replace,
        _ => {
            return Err(ScimError::invalid_syntax(format!(
                "\"op\" is add, remove or replace, not \"{}\"",
                excerpt(name)
            )));
        }
    };
    if name.bytes().any(|b| b.is_ascii_uppercase()) {
        seen.note(Tolerance::OpCase);
    }
    let path = match get_attribute(op, "path") {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) if text.is_empty() && kind != OpKind::Remove => None,
        Some(Value::String(text)) => Some(Path::parse(text)?),
        Some(_) => return Err(ScimError::invalid_path("\"path\" is a string")),
    };
    if kind == OpKind::Remove && path.is_none() {
        return Err(ScimError::no_target("\"remove\" needs a path"));
    }
    let value = get_attribute(op, "value").cloned();
    if kind != OpKind::Remove && value.is_none() {
        return Err(ScimError::invalid_value(format!("\"{}\" needs a value", name.to_ascii_lowercase())));
    }
    Ok(Op { kind, path, value })
}

/// What the body of a PUT or PATCH of a user, understood or not, says of `active`; of several things the last of these.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Active {
    /// Nothing.
    #[default]
    Unsaid,
    /// Plainly true.
    Enables,
    /// Something else: it may be there to disable the user.
    MayDisable,
}

impl Active {
    /// Of a body.
    pub fn of(body: &Value) -> Self {
        match body {
            Value::Array(list) => list.iter().map(Self::of).max().unwrap_or_default(),
            Value::Object(map) => {
                let said = map.iter().map(|(key, value)| match value {
                    Value::String(path) if key.eq_ignore_ascii_case("path") && is_active(path) => Self::said(get_attribute(map, "value")),
                    value if is_active(key) => Self::said(Some(value)),
                    value => Self::of(value),
                });
                said.max().unwrap_or_default()
            }
            _ => Active::Unsaid,
        }
    }

    fn said(value: Option<&Value>) -> Self {
        let enables = match value {
            Some(Value::Bool(flag)) => *flag,
            other => other.and_then(loose_boolean).is_some_and(|(flag, _)| flag),
        };
        if enables { Active::Enables } else { Active::MayDisable }
    }
}

fn is_active(text: &str) -> bool {
    let path = text.trim().rsplit(':').next().unwrap_or_default();
    path.split(['.', '['])
        .next()
        .is_some_and(|name| name.eq_ignore_ascii_case("active"))
}

/// Applies the operations to the attributes of the resource `id`, and gives the new attributes. On an error nothing counts: the old attributes are as they
/// were, and `members` is to be dropped.
///
/// Attributes that are equal to the old ones mean that nothing changed: then neither `lastModified` nor the version may move.
pub fn apply(
    kind: ResourceKind,
    id: &str,
    attributes: &Map<String, Value>,
    ops: &[Op],
    members: &mut dyn Members,
    seen: &Seen,
) -> Result<Map<String, Value>, ScimError> {
    let mut patch = Patch {
        kind,
        id,
        next: attributes.clone(),
        members,
        seen,
    };
    for (i, op) in ops.iter().enumerate() {
        patch.run(op).map_err(|error| at(i, error))?;
    }
    let mut next = patch.next;
    if !ops.is_empty() {
        resource::finish(kind, &mut next)?;
    }
    Ok(next)
}

fn at(i: usize, error: ScimError) -> ScimError {
    ScimError {
        detail: format!("Operations[{i}]: {}", error.detail),
        ..error
    }
}

struct Patch<'a> {
    kind: ResourceKind,
    id: &'a str,
    next: Map<String, Value>,
    members: &'a mut dyn Members,
    seen: &'a Seen,
}

impl Patch<'_> {
    fn run(&mut self, op: &Op) -> Result<(), ScimError> {
        let Some(path) = &op.path else {
            let value = op.value.as_ref().and_then(Value::as_object);
            let value = value.ok_or_else(|| ScimError::invalid_value("without a path, \"value\" is an object of attributes"))?;
            return self.merge(op.kind, value);
        };
        self.one(op.kind, path, op.value.as_ref(), false)
    }

    /// An operation without a path: each key is one.
    fn merge(&mut self, op: OpKind, value: &Map<String, Value>) -> Result<(), ScimError> {
        for (key, value) in value {
            if key.contains(['.', ':', '[']) && !value.is_object() {
                self.seen.note(Tolerance::PathAsKey);
            }
            self.one(op, &self.key_path(key, value)?, Some(value), true)?;
        }
        Ok(())
    }

    /// What a key means. An unknown URN is ambiguous (a schema, or a schema and an attribute); `one` decides.
    fn key_path(&self, key: &str, value: &Value) -> Result<Path, ScimError> {
        match Path::parse(key) {
            // A schema's URN may end in something that is no attribute name.
            Err(_) if key.contains(':') && value.is_object() => Ok(Path {
                attr: AttrPath {
                    urn: Some(key.to_owned()),
                    name: String::new(),
                    sub: None,
                },
                filter: None,
            }),
            other => other,
        }
    }

    fn one(&mut self, op: OpKind, path: &Path, value: Option<&Value>, keyed: bool) -> Result<(), ScimError> {
        if let Some(urn) = self.container_of(&path.attr, value) {
            return self.container(op, &urn, value);
        }
        let place = match schema::resolve(self.kind, &path.attr) {
            Ok(place) => place,
            // What no schema knows is kept as a POST keeps it, and can be changed if it is there; a path to nowhere is a mistake.
            Err(_) if path.attr.name.eq_ignore_ascii_case("password") => return Ok(()),
            Err(unknown) => {
                let bare = path.attr.urn.is_none()
                    && !resource::is_reserved(&path.attr.name)
                    && schema::find(self.kind, &path.attr.name).is_none();
                if !bare || !(keyed || get_attribute(&self.next, &path.attr.name).is_some()) {
                    return Err(ScimError::invalid_path(unknown));
                }
                if op != OpKind::Remove {
                    self.seen.drift(Drift::UnknownAttribute, &path.attr.to_string());
                }
                schema::Place {
                    container: None,
                    attribute: None,
                    part: None,
                }
            }
        };
        if place.container.is_some() && place.attribute.is_none() && op != OpKind::Remove {
            self.seen.drift(Drift::UnknownAttribute, &path.attr.to_string());
        }
        if let Some(attribute) = place.attribute {
            match attribute.mutability {
                Mutability::WriteOnly => return Ok(()),
                Mutability::ReadOnly => return self.read_only(attribute, value, keyed),
                _ => {}
            }
            if place.part.is_some_and(|part| part.mutability == Mutability::ReadOnly) {
                return Err(ScimError::mutability(format!("{} is read-only", path.attr)));
            }
            if self.kind == ResourceKind::Group && attribute.name == "members" {
                return members::edit(op, path, value, self.members, self.seen);
            }
            if place.container.is_some() && path.attr.urn.is_none() {
                self.seen.note(Tolerance::NoUrn);
            }
        }
        let target = edit::Target::new(path, &place, self.seen)?;
        self.edit(place.container, &target, op, value)
    }

    /// Edits an attribute of the resource, or of an extension's object, which comes and goes with what is in it.
    fn edit(&mut self, urn: Option<&str>, target: &edit::Target, op: OpKind, value: Option<&Value>) -> Result<(), ScimError> {
        let Some(urn) = urn else {
            return edit::edit(&mut self.next, target, op, value);
        };
        let key = existing_key(&self.next, urn).unwrap_or_else(|| urn.to_owned());
        // Taken, not copied: on an error the whole of `next` is dropped.
        let mut map = match self.next.get_mut(&key).map(Value::take) {
            Some(Value::Object(map)) => map,
            _ => Map::new(),
        };
        edit::edit(&mut map, target, op, value)?;
        match map.is_empty() {
            true => self.next.shift_remove(&key),
            false => self.next.insert(key, Value::Object(map)),
        };
        Ok(())
    }

    /// The URN, if the path means a whole schema.
    fn container_of(&self, path: &AttrPath, value: Option<&Value>) -> Option<String> {
        let urn = path.urn.as_deref()?;
        if path.name.is_empty() {
            return Some(urn.to_owned());
        }
        if schema::known_urn(urn).is_some() || path.sub.is_some() {
            return None;
        }
        let whole = path.to_string();
        let is_object = |key: &str| get_attribute(&self.next, key).is_some_and(Value::is_object);
        (is_object(&whole) || (value.is_some_and(Value::is_object) && !is_object(urn))).then_some(whole)
    }

    /// An operation on all of an extension, or on the core schema by its URN.
    fn container(&mut self, op: OpKind, urn: &str, value: Option<&Value>) -> Result<(), ScimError> {
        let core = schema::known_urn(urn) == Some(self.kind.schema().id);
        if schema::known_urn(urn) == Some(self.kind.other().schema().id) {
            return Err(ScimError::invalid_path(format!("{} does not use {urn}", self.kind.name())));
        }
        match (op, value) {
            (OpKind::Remove, _) | (_, Some(Value::Null)) if core => Err(ScimError::mutability("the core schema cannot be removed")),
            (OpKind::Remove, _) | (_, Some(Value::Null)) => {
                if let Some(key) = existing_key(&self.next, urn) {
                    self.next.shift_remove(&key);
                }
                Ok(())
            }
            (_, Some(Value::Object(map))) => {
                for (key, value) in map {
                    // Its `schemas` say what the URN says already.
                    if schema::known_urn(urn).is_some() && !core && key.eq_ignore_ascii_case("schemas") {
                        self.seen.note(Tolerance::NestedSchemas);
                        continue;
                    }
                    let inner = Path::parse(key)?;
                    // The key may repeat the URN.
                    let inner_urn = inner.attr.urn.clone().unwrap_or_else(|| urn.to_owned());
                    let attr = AttrPath {
                        urn: Some(inner_urn),
                        ..inner.attr
                    };
                    if attr.name.is_empty() {
                        return Err(ScimError::invalid_path(format!("\"{}\" inside {urn}", excerpt(key))));
                    }
                    match schema::known_urn(urn) {
                        Some(_) => self.one(
                            op,
                            &Path {
                                attr,
                                filter: inner.filter,
                            },
                            Some(value),
                            true,
                        )?,
                        None => self.foreign(op, urn, key, value)?,
                    }
                }
                Ok(())
            }
            _ => Err(ScimError::invalid_value(format!("{urn}: expected an object"))),
        }
    }

    /// An attribute of an extension that we do not know, by its plain name.
    fn foreign(&mut self, op: OpKind, urn: &str, name: &str, value: &Value) -> Result<(), ScimError> {
        self.seen.drift(Drift::UnknownAttribute, &format!("{urn}:{name}"));
        let path = Path {
            attr: AttrPath {
                urn: None,
                name: name.to_owned(),
                sub: None,
            },
            filter: None,
        };
        let target = edit::Target::new(
            &path,
            &schema::Place {
                container: None,
                attribute: None,
                part: None,
            },
            self.seen,
        )?;
        self.edit(Some(urn), &target, op, Some(value))
    }

    /// A read-only attribute: no error where the client only repeats what is, or sends a whole object back.
    fn read_only(&self, attribute: &Attribute, value: Option<&Value>, keyed: bool) -> Result<(), ScimError> {
        let harmless = match attribute.name {
            "id" => value.and_then(Value::as_str) == Some(self.id) || (keyed && value == Some(&Value::Null)),
            "meta" | "schemas" => keyed,
            _ => keyed && value.is_some_and(super::coerce::is_unassigned),
        };
        match harmless {
            true => {
                self.seen.note(Tolerance::ReadOnlyRepeated);
                Ok(())
            }
            false => Err(ScimError::mutability(format!("{} is read-only", attribute.name))),
        }
    }
}

/// The key as it is stored, found in any case.
fn existing_key(map: &Map<String, Value>, name: &str) -> Option<String> {
    if map.contains_key(name) {
        return Some(name.to_owned());
    }
    map.keys().find(|key| key.eq_ignore_ascii_case(name)).cloned()
}
