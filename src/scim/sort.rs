//! Sorting (RFC 7644 §3.4.2.3): by what a list is ordered. What is in the list is found elsewhere.

use std::cmp::Ordering;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::coerce::is_primary;
use super::error::{ScimError, excerpt};
use super::filter::{get_attribute, instant};
use super::fold;
use super::path::AttrPath;
use super::schema::{self, Extensions, Known, ResourceKind, Type, known};

/// `sortBy` and `sortOrder`.
#[derive(Clone, Debug, PartialEq)]
pub struct Sort {
    /// By which attribute.
    pub by: AttrPath,
    /// The greatest first.
    pub descending: bool,
}

/// What a resource is ordered by. Values of different types are ordered by type.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum SortKey {
    Bool(bool),
    Number(f64),
    Time(Timestamp),
    Text(String),
}

/// A [`Sort`] resolved for one kind of resources.
#[derive(Clone, Debug)]
pub struct Sorter {
    container: Option<String>,
    name: String,
    sub: Option<String>,
    leaf: Leaf,
}

#[derive(Clone, Copy, Debug)]
enum Leaf {
    /// The other kind has it: no resource of this one has a value.
    Nowhere,
    /// Text is compared as it is.
    Exact,
    /// Text is compared without case.
    Folded,
    Time,
}

impl Sort {
    /// Reads the two parameters. Without `sortBy`, `sortOrder` means nothing.
    pub fn parse(by: Option<&str>, order: Option<&str>) -> Result<Option<Sort>, ScimError> {
        let Some(by) = by.map(str::trim).filter(|by| !by.is_empty()) else {
            return Ok(None);
        };
        let descending = match order.map(str::trim) {
            None | Some("") => false,
            Some(order) if order.eq_ignore_ascii_case("ascending") => false,
            Some(order) if order.eq_ignore_ascii_case("descending") => true,
            Some(order) => {
                return Err(ScimError::invalid_value(format!(
                    "sortOrder is ascending or descending, not \"{}\"",
                    excerpt(order)
                )));
            }
        };
        let by = AttrPath::read(by).map_err(|why| ScimError::invalid_value(format!("sortBy: {why}")))?;
        Ok(Some(Sort { by, descending }))
    }

    /// How resources of this kind are ordered, in a list of `all` these kinds. 400 `invalidValue` for an attribute that none of them has, for a complex
    /// one without `value`, and for members and groups, which have no order.
    pub fn compile(&self, kind: ResourceKind, all: &[ResourceKind], extensions: &Extensions) -> Result<Sorter, ScimError> {
        let refuse = |why: &str| ScimError::invalid_value(format!("sortBy: \"{}\" {why}", excerpt(&self.by.to_string())));
        let place = match schema::resolve(kind, &self.by) {
            Ok(place) => place,
            Err(_) if all.iter().any(|other| schema::resolve(*other, &self.by).is_ok()) => {
                return Ok(Sorter {
                    container: None,
                    name: String::new(),
                    sub: None,
                    leaf: Leaf::Nowhere,
                });
            }
            Err(unknown) => return Err(ScimError::invalid_value(format!("sortBy: {unknown}"))),
        };
        if self.by.name.is_empty() {
            return Err(refuse("is a schema: name one of its attributes"));
        }
        if place.container.is_none() && place.attribute.is_some_and(|attribute| attribute.name == kind.relation()) {
            return Err(refuse("has no order"));
        }
        let (attribute, part) = known(kind, &self.by, &place, extensions);
        let leaf = if self.by.sub.is_some() { part } else { attribute };
        let (sub, leaf) = match leaf {
            Some(complex) if complex.kind() == Type::Complex => {
                let value = complex
                    .part("value")
                    .ok_or_else(|| refuse("is complex: name one of its sub-attributes"))?;
                (Some(value.name().to_owned()), Some(value))
            }
            _ => (
                part.map_or(self.by.sub.as_deref(), |part| Some(part.name())).map(str::to_owned),
                leaf,
            ),
        };
        Ok(Sorter {
            container: place.container.map(str::to_owned),
            name: attribute.map_or(self.by.name.as_str(), Known::name).to_owned(),
            sub,
            leaf: match leaf {
                Some(attribute) if attribute.kind() == Type::DateTime => Leaf::Time,
                Some(attribute) if attribute.case_exact() => Leaf::Exact,
                _ => Leaf::Folded,
            },
        })
    }
}

impl Sorter {
    /// Whether it orders by this attribute of the core schema as a whole.
    pub fn is_by(&self, name: &str) -> bool {
        self.container.is_none() && self.sub.is_none() && self.name == name
    }

    /// Whether it orders by something of `meta`.
    pub fn is_meta(&self) -> bool {
        self.container.is_none() && self.name == "meta"
    }

    /// What the resource is ordered by; none: it has no value. Of several values the primary one counts, else the first.
    pub fn key(&self, resource: &Map<String, Value>) -> Option<SortKey> {
        let map = match self.container.as_deref() {
            None => resource,
            Some(urn) => get_attribute(resource, urn)?.as_object()?,
        };
        let mut value = one(get_attribute(map, &self.name)?)?;
        if let (Value::Object(map), Some(sub)) = (value, self.sub.as_deref()) {
            value = one(get_attribute(map, sub)?)?;
        }
        Some(match (value, self.leaf) {
            (_, Leaf::Nowhere) => return None,
            (Value::Bool(flag), _) => SortKey::Bool(*flag),
            (Value::Number(number), _) => SortKey::Number(number.as_f64()?),
            (Value::String(text), Leaf::Time) => SortKey::Time(instant(text)?),
            (Value::String(text), Leaf::Exact) => SortKey::Text(text.clone()),
            (Value::String(text), Leaf::Folded) => SortKey::Text(fold(text)),
            _ => return None,
        })
    }
}

fn one(value: &Value) -> Option<&Value> {
    match value {
        Value::Array(list) => list.iter().find(|element| is_primary(element)).or_else(|| list.first()),
        Value::Null => None,
        value => Some(value),
    }
}

impl SortKey {
    fn rank(&self) -> u8 {
        match self {
            SortKey::Bool(_) => 0,
            SortKey::Number(_) => 1,
            SortKey::Time(_) => 2,
            SortKey::Text(_) => 3,
        }
    }
}

impl Eq for SortKey {}

impl PartialOrd for SortKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for SortKey {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (SortKey::Bool(a), SortKey::Bool(b)) => a.cmp(b),
            (SortKey::Number(a), SortKey::Number(b)) => a.total_cmp(b),
            (SortKey::Time(a), SortKey::Time(b)) => a.cmp(b),
            (SortKey::Text(a), SortKey::Text(b)) => a.cmp(b),
            _ => self.rank().cmp(&other.rank()),
        }
    }
}

/// The order of two resources: by key, who has none last when ascending and first when descending; equal ones by their number.
pub fn order<N: Ord>(descending: bool, a: (Option<&SortKey>, N), b: (Option<&SortKey>, N)) -> Ordering {
    let keys = match (a.0, b.0) {
        (None, None) => Ordering::Equal,
        (None, Some(_)) => Ordering::Greater,
        (Some(_), None) => Ordering::Less,
        (Some(a), Some(b)) => a.cmp(b),
    };
    let keys = if descending { keys.reverse() } else { keys };
    keys.then_with(|| a.1.cmp(&b.1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn sorted(by: &str, order_by: &str, resources: &[Value]) -> Vec<usize> {
        let sort = Sort::parse(Some(by), Some(order_by)).unwrap().unwrap();
        let sorter = sort.compile(ResourceKind::User, &[ResourceKind::User], &schema::NONE).unwrap();
        let mut keys: Vec<_> = resources
            .iter()
            .map(|resource| sorter.key(resource.as_object().unwrap()))
            .enumerate()
            .collect();
        keys.sort_by(|a, b| order(sort.descending, (a.1.as_ref(), a.0), (b.1.as_ref(), b.0)));
        keys.into_iter().map(|(i, _)| i).collect()
    }

    #[test]
    fn by_case_type_and_primary() {
        let users = [
            json!({"userName": "b", "externalId": "b", "active": true, "emails": [{"value": "z"}, {"value": "a", "primary": true}]}),
            json!({"userName": "A", "externalId": "a", "active": false, "emails": [{"value": "b"}, {"value": "y"}]}),
            json!({"userName": "c", "externalId": "B"}),
        ];
        assert_eq!(sorted("userName", "ascending", &users), [1, 0, 2]);
        assert_eq!(sorted("userName", "descending", &users), [2, 0, 1]);
        assert_eq!(sorted("externalId", "", &users), [2, 1, 0], "case matters");
        assert_eq!(sorted("active", "", &users), [1, 0, 2], "who has none is last");
        assert_eq!(sorted("active", "descending", &users), [2, 0, 1], "who has none is first");
        assert_eq!(sorted("emails", "", &users), [0, 1, 2]);
        assert_eq!(sorted("EMAILS.value", "", &users), [0, 1, 2]);
        let times = [
            json!({"meta": {"created": "2026-01-01T00:00:00+02:00"}}),
            json!({"meta": {"created": "2025-12-31T23:00:00Z"}}),
            json!({"meta": {"created": "2025-12-31T21:59:59Z"}}),
        ];
        assert_eq!(sorted("meta.created", "", &times), [2, 0, 1]);
        let extended = [
            json!({"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User": {"department": "b"}, "urn:x:2.0:Y": {"floor": 10}}),
            json!({"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User": {"department": "a"}, "urn:x:2.0:Y": {"floor": 9}}),
        ];
        assert_eq!(sorted("department", "", &extended), [1, 0]);
        assert_eq!(sorted("urn:x:2.0:Y:floor", "", &extended), [1, 0]);
    }

    #[test]
    fn what_has_no_order_is_refused() {
        assert_eq!(Sort::parse(None, Some("sideways")), Ok(None));
        assert!(Sort::parse(Some("userName"), Some("sideways")).is_err());
        for by in [
            "nope",
            "name",
            "groups",
            "groups.value",
            "meta",
            "a b",
            "urn:ietf:params:scim:schemas:core:2.0:User",
        ] {
            let refused = Sort::parse(Some(by), None)
                .and_then(|sort| sort.unwrap().compile(ResourceKind::User, &[ResourceKind::User], &schema::NONE));
            assert_eq!(refused.unwrap_err().scim_type, Some("invalidValue"), "{by}");
        }
        let sort = Sort::parse(Some("userName"), None).unwrap().unwrap();
        let nowhere = sort.compile(ResourceKind::Group, &ResourceKind::ALL, &schema::NONE).unwrap();
        assert_eq!(nowhere.key(json!({"displayName": "a"}).as_object().unwrap()), None);
    }
}
