//! `attributes` and `excludedAttributes` (RFC 7644 §3.4.2.5, §3.9): what of a resource an answer holds.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::scim::error::ScimError;
use crate::scim::path::AttrPath;
use crate::scim::schema::{self, ResourceKind, Returned};

/// How many paths one parameter may name.
const MAX_PATHS: usize = 256;

/// What of a resource is answered.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Projection {
    only: Option<Tree>,
    except: Tree,
}

/// Names in lower case, each with the part of it that is meant.
#[derive(Clone, Debug, Default, PartialEq)]
struct Tree {
    whole: bool,
    parts: BTreeMap<String, Tree>,
}

impl Tree {
    fn add(&mut self, names: &[&str]) {
        match names {
            [] => self.whole = true,
            [name, rest @ ..] => self.parts.entry(name.to_ascii_lowercase()).or_default().add(rest),
        }
    }

    fn read(kind: ResourceKind, list: &str) -> Result<Tree, ScimError> {
        let mut tree = Tree::default();
        for (i, text) in list.split(',').map(str::trim).filter(|text| !text.is_empty()).enumerate() {
            if i >= MAX_PATHS {
                return Err(ScimError::invalid_value(format!("more than {MAX_PATHS} attributes are named")));
            }
            // An attribute that nobody knows is in no answer.
            let Ok(path) = AttrPath::read(text) else { continue };
            match schema::resolve(kind, &path) {
                Ok(place) => {
                    let names = [
                        place.container,
                        Some(path.name.as_str()).filter(|name| !name.is_empty()),
                        path.sub.as_deref(),
                    ];
                    tree.add(&names.into_iter().flatten().collect::<Vec<_>>());
                }
                Err(_) => tree.add(
                    &[Some(path.name.as_str()), path.sub.as_deref()]
                        .into_iter()
                        .flatten()
                        .collect::<Vec<_>>(),
                ),
            }
            // The URN of an extension that we do not know may end where its attribute would begin.
            if path.urn.as_deref().is_some_and(|urn| schema::known_urn(urn).is_none()) {
                tree.add(&[text]);
            }
        }
        Ok(tree)
    }
}

impl Projection {
    /// Reads the two parameters. Both at once are refused: they exclude each other.
    pub fn parse(kind: ResourceKind, attributes: Option<&str>, excluded: Option<&str>) -> Result<Projection, ScimError> {
        let given = |list: Option<&str>| {
            list.filter(|list| !list.trim().is_empty())
                .map(|list| Tree::read(kind, list))
                .transpose()
        };
        let (only, except) = (given(attributes)?, given(excluded)?);
        if only.is_some() && except.is_some() {
            return Err(ScimError::invalid_value("attributes and excludedAttributes exclude each other"));
        }
        Ok(Projection {
            only,
            except: except.unwrap_or_default(),
        })
    }

    /// Whether an answer holds this top-level attribute, or a part of it: if not, nobody has to gather a group's `members`.
    pub fn wants(&self, attribute: &str) -> bool {
        let name = attribute.to_ascii_lowercase();
        match &self.only {
            Some(only) => only.whole || only.parts.contains_key(&name),
            None => !self.except.whole && !self.except.parts.get(&name).is_some_and(|tree| tree.whole),
        }
    }

    /// Whether this part of an attribute is asked for by name: what is returned on request is not returned otherwise.
    pub fn names(&self, attribute: &str, part: &str) -> bool {
        let parts = self.only.as_ref().and_then(|only| only.parts.get(&attribute.to_ascii_lowercase()));
        parts.is_some_and(|tree| tree.parts.contains_key(&part.to_ascii_lowercase()))
    }

    /// Whether everything is answered.
    pub fn is_all(&self) -> bool {
        *self == Projection::default()
    }

    /// What is answered of `resource`. `schemas` and `id` always are.
    pub fn apply(&self, kind: ResourceKind, resource: Map<String, Value>) -> Map<String, Value> {
        if self.is_all() {
            return resource;
        }
        let always = |key: &str| schema::find(kind, key).is_some_and(|attribute| attribute.returned == Returned::Always);
        let keep = |(key, value): (String, Value)| match always(&key) {
            true => Some((key, value)),
            false => {
                let kept = match &self.only {
                    Some(only) => keep_only(only, &key, value)?,
                    None => keep_except(&self.except, &key, value)?,
                };
                Some((key, kept))
            }
        };
        resource.into_iter().filter_map(keep).collect()
    }
}

fn keep_only(tree: &Tree, key: &str, value: Value) -> Option<Value> {
    if tree.whole {
        return Some(value);
    }
    let part = tree.parts.get(&key.to_ascii_lowercase())?;
    match part.whole {
        true => Some(value),
        false => within(value, &|key, value| keep_only(part, key, value)),
    }
}

fn keep_except(tree: &Tree, key: &str, value: Value) -> Option<Value> {
    if tree.whole {
        return None;
    }
    match tree.parts.get(&key.to_ascii_lowercase()) {
        None => Some(value),
        Some(part) if part.whole => None,
        Some(part) => within(value, &|key, value| keep_except(part, key, value)),
    }
}

/// The parts of a complex value, or of each element, that `keep` keeps; nothing, if nothing is left.
fn within(value: Value, keep: &dyn Fn(&str, Value) -> Option<Value>) -> Option<Value> {
    match value {
        Value::Object(map) => {
            let map: Map<String, Value> = map
                .into_iter()
                .filter_map(|(key, value)| keep(&key, value).map(|value| (key, value)))
                .collect();
            (!map.is_empty()).then_some(Value::Object(map))
        }
        Value::Array(list) => {
            let list: Vec<Value> = list.into_iter().filter_map(|element| within(element, keep)).collect();
            (!list.is_empty()).then_some(Value::Array(list))
        }
        _ => None,
    }
}
