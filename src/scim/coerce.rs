//! A client's value made into what the schema says: the tolerated shapes as one table, then strict types. Where the value goes is not known here.

use serde_json::{Map, Value};

use super::error::{ScimError, excerpt};
use super::schema::{Attribute, Mutability, Type};
use super::tolerance::{Drift, Seen, Tolerance};

/// How many values a list may have; members are not kept as a list.
pub(crate) const MAX_VALUES: usize = 1024;

/// What kind of request the value is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum From {
    /// POST or PUT.
    Body,
    /// PATCH.
    Patch,
}

/// Where in an attribute the value stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Whole(From),
    Element,
}

/// One tolerance: a shape that is not the schema's, and what it means. Everything else of the wrong type is `invalidValue`.
struct Rule {
    what: Tolerance,
    applies: fn(&Attribute, &Value, Level) -> bool,
    rewrite: fn(Value) -> Value,
}

const RULES: [Rule; 8] = [
    Rule {
        what: Tolerance::BooleanText,
        applies: |attribute, value, _| attribute.kind == Type::Boolean && value.as_str().is_some_and(|text| flag(text).is_some()),
        rewrite: |value| value.as_str().and_then(flag).map_or(Value::Null, Value::Bool),
    },
    Rule {
        what: Tolerance::BooleanNumber,
        applies: |attribute, value, _| attribute.kind == Type::Boolean && digit(value).is_some(),
        rewrite: |value| digit(&value).map_or(Value::Null, Value::Bool),
    },
    Rule {
        what: Tolerance::ListOfOne,
        applies: |attribute, value, _| single_complex(attribute) && value.as_array().is_some_and(|list| list.len() <= 1),
        rewrite: |value| match value {
            Value::Array(mut list) => list.pop().unwrap_or(Value::Null),
            other => other,
        },
    },
    Rule {
        what: Tolerance::EmptyClears,
        applies: |attribute, value, _| single_complex(attribute) && attribute.part("value").is_some() && value.as_str() == Some(""),
        rewrite: |_| Value::Null,
    },
    Rule {
        what: Tolerance::BareValue,
        applies: |attribute, value, _| single_complex(attribute) && attribute.part("value").is_some() && value.is_string(),
        rewrite: value_object,
    },
    Rule {
        what: Tolerance::ElementWithoutList,
        applies: |attribute, value, level| attribute.multi && level == Level::Whole(From::Patch) && value.is_object(),
        rewrite: |value| Value::Array(vec![value]),
    },
    Rule {
        what: Tolerance::BareValue,
        applies: |attribute, value, level| level == Level::Element && attribute.part("value").is_some() && value.is_string(),
        rewrite: value_object,
    },
    Rule {
        what: Tolerance::JsonText,
        applies: |attribute, value, level| {
            level == Level::Element
                && takes_json_text(attribute)
                && value.get("value").and_then(Value::as_str).and_then(json_text).is_some()
        },
        rewrite: |value| {
            let inner = value.get("value").and_then(Value::as_str).and_then(json_text);
            let (Value::Object(mut outer), Some(inner)) = (value, inner) else {
                return Value::Null;
            };
            for (key, part) in inner {
                let key = if key == "displayName" { "display".to_owned() } else { key };
                if key == "value" || !outer.contains_key(&key) {
                    outer.insert(key, part);
                }
            }
            Value::Object(outer)
        },
    },
];

fn single_complex(attribute: &Attribute) -> bool {
    attribute.kind == Type::Complex && !attribute.multi
}

fn value_object(value: Value) -> Value {
    Value::Object(Map::from_iter([("value".to_owned(), value)]))
}

/// `true` and `false` in any case.
pub(crate) fn flag(text: &str) -> Option<bool> {
    [("true", true), ("false", false)]
        .into_iter()
        .find(|(word, _)| word.eq_ignore_ascii_case(text))
        .map(|(_, flag)| flag)
}

/// A boolean that is none, and what it needs.
pub(crate) fn loose_boolean(value: &Value) -> Option<(bool, Tolerance)> {
    let text = value.as_str().and_then(flag).map(|flag| (flag, Tolerance::BooleanText));
    text.or_else(|| Some((digit(value)?, Tolerance::BooleanNumber)))
}

/// 1 and 0, as text or number.
fn digit(value: &Value) -> Option<bool> {
    match value {
        Value::String(text) => [("1", true), ("0", false)]
            .into_iter()
            .find(|(digit, _)| digit == text)
            .map(|(_, flag)| flag),
        Value::Number(number) => [(1, true), (0, false)]
            .into_iter()
            .find(|(digit, _)| number.as_u64() == Some(*digit))
            .map(|(_, flag)| flag),
        _ => None,
    }
}

fn takes_json_text(attribute: &Attribute) -> bool {
    matches!(attribute.name, "roles" | "entitlements")
}

/// The object with a `value` that a string spells.
fn json_text(text: &str) -> Option<Map<String, Value>> {
    if !text.trim_start().starts_with('{') {
        return None;
    }
    serde_json::from_str::<Map<String, Value>>(text)
        .ok()
        .filter(|object| object.get("value").is_some_and(Value::is_string))
}

/// The value of a whole attribute; none is "unassigned" (null, an empty list, an empty object).
pub(crate) fn attribute(attribute: &'static Attribute, value: &Value, from: From, seen: &Seen) -> Result<Option<Value>, ScimError> {
    whole(attribute, value, from, seen).inspect_err(|_| seen.drift(Drift::WrongType, attribute.name))
}

fn whole(attribute: &'static Attribute, value: &Value, from: From, seen: &Seen) -> Result<Option<Value>, ScimError> {
    let value = tolerate(attribute, value.clone(), Level::Whole(from), seen);
    match (attribute.multi, value) {
        (_, Value::Null) => Ok(None),
        (false, value) => one(attribute, value, seen),
        (true, Value::Array(list)) => {
            if list.len() > MAX_VALUES {
                return Err(ScimError::invalid_value(format!(
                    "{}: more than {MAX_VALUES} values",
                    attribute.name
                )));
            }
            let mut values = Vec::with_capacity(list.len());
            for raw in list {
                values.extend(element(attribute, raw, seen)?);
            }
            if values.iter().filter(|value| is_primary(value)).count() > 1 {
                return Err(ScimError::invalid_value(format!(
                    "{}: more than one value is primary",
                    attribute.name
                )));
            }
            Ok((!values.is_empty()).then_some(Value::Array(values)))
        }
        (true, value) => Err(wrong(attribute, "a list", &value)),
    }
}

/// One element of a multi-valued attribute.
pub(crate) fn element(attribute: &'static Attribute, value: Value, seen: &Seen) -> Result<Option<Value>, ScimError> {
    one(attribute, tolerate(attribute, value, Level::Element, seen), seen)
}

/// The value of one sub-attribute of `attribute`.
pub(crate) fn part(
    attribute: &'static Attribute,
    part: &'static Attribute,
    value: &Value,
    seen: &Seen,
) -> Result<Option<Value>, ScimError> {
    if part.name == "value"
        && takes_json_text(attribute)
        && let Some(mut inner) = value.as_str().and_then(json_text)
    {
        seen.note(Tolerance::JsonText);
        return one(part, inner.remove("value").unwrap_or(Value::Null), seen);
    }
    one(part, tolerate(part, value.clone(), Level::Whole(From::Patch), seen), seen)
}

/// A value that no schema knows: as it is, but without nulls and what is empty, which mean "unassigned".
pub(crate) fn strip(value: &Value) -> Option<Value> {
    match value {
        Value::Null => None,
        Value::Array(list) => {
            let list: Vec<Value> = list.iter().filter_map(strip).collect();
            (!list.is_empty()).then_some(Value::Array(list))
        }
        Value::Object(map) => {
            let map: Map<String, Value> = map.iter().filter_map(|(key, value)| Some((key.clone(), strip(value)?))).collect();
            (!map.is_empty()).then_some(Value::Object(map))
        }
        other => Some(other.clone()),
    }
}

/// Whether a value means "unassigned": null, or nothing but that inside.
pub(crate) fn is_unassigned(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(list) => list.iter().all(is_unassigned),
        Value::Object(map) => map.values().all(is_unassigned),
        _ => false,
    }
}

/// Whether this element says that it is the primary one.
pub(crate) fn is_primary(element: &Value) -> bool {
    element.get("primary") == Some(&Value::Bool(true))
}

fn tolerate(attribute: &Attribute, value: Value, level: Level, seen: &Seen) -> Value {
    RULES
        .iter()
        .fold(value, |value, rule| match (rule.applies)(attribute, &value, level) {
            true => {
                seen.note(rule.what);
                (rule.rewrite)(value)
            }
            false => value,
        })
}

fn one(attribute: &'static Attribute, value: Value, seen: &Seen) -> Result<Option<Value>, ScimError> {
    match (attribute.kind, value) {
        (_, Value::Null) => Ok(None),
        (Type::Complex, Value::Object(map)) => complex(attribute, map, seen),
        (Type::String | Type::Reference, Value::String(text)) => Ok(Some(text.into())),
        (Type::Boolean, Value::Bool(flag)) => Ok(Some(flag.into())),
        (Type::Integer, Value::Number(number)) if number.is_i64() || number.is_u64() => Ok(Some(number.into())),
        (Type::Decimal, Value::Number(number)) => Ok(Some(number.into())),
        (Type::DateTime, Value::String(text)) if super::filter::is_time(&text) => Ok(Some(text.into())),
        (Type::Binary, Value::String(text)) if is_base64(&text) => Ok(Some(text.into())),
        (kind, value) => {
            let expected = match kind {
                Type::Complex => "an object",
                Type::String | Type::Reference => "a string",
                Type::Boolean => "true or false",
                Type::Integer => "a whole number",
                Type::Decimal => "a number",
                Type::DateTime => "a date and time",
                Type::Binary => "base64",
            };
            Err(wrong(attribute, expected, &value))
        }
    }
}

fn complex(attribute: &'static Attribute, map: Map<String, Value>, seen: &Seen) -> Result<Option<Value>, ScimError> {
    let mut out = Map::new();
    for (key, raw) in map {
        match attribute.part(&key) {
            Some(part) if part.mutability == Mutability::ReadOnly => {}
            Some(known) => {
                let value = part(attribute, known, &raw, seen).map_err(|error| within(attribute, error))?;
                out.extend(value.map(|value| (known.name.to_owned(), value)));
            }
            None => {
                if let Some(value) = strip(&raw) {
                    seen.drift(Drift::UnknownAttribute, &format!("{}.{key}", attribute.name));
                    out.insert(key, value);
                }
            }
        }
    }
    Ok((!out.is_empty()).then_some(Value::Object(out)))
}

fn within(attribute: &Attribute, error: ScimError) -> ScimError {
    ScimError {
        detail: format!("{}.{}", attribute.name, error.detail),
        ..error
    }
}

fn wrong(attribute: &Attribute, expected: &str, value: &Value) -> ScimError {
    ScimError::invalid_value(format!(
        "{}: expected {expected}, found {}",
        attribute.name,
        excerpt(&value.to_string())
    ))
}

/// Base64 of either alphabet, padded or not, in lines or not (RFC 7643 §2.3.6).
fn is_base64(text: &str) -> bool {
    let body = text.trim_end_matches(['=', '\r', '\n', ' ']);
    body.bytes()
        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'-' | b'_' | b'\r' | b'\n'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scim::schema::{ENTERPRISE_URN, ResourceKind, find, find_extension};
    use serde_json::json;

    fn named(name: &str) -> &'static Attribute {
        find(ResourceKind::User, name)
            .or_else(|| find_extension(ResourceKind::User, ENTERPRISE_URN, name))
            .unwrap()
    }

    #[test]
    fn values() {
        // (attribute, value, expected; null is unassigned, "!" is invalidValue)
        let rows = [
            ("active", json!(true), json!(true)),
            ("active", json!("False"), json!(false)),
            ("active", json!("TRUE"), json!(true)),
            ("active", json!("yes"), json!("!")),
            ("active", json!("1"), json!(true)),
            ("active", json!(1), json!(true)),
            ("active", json!("0"), json!(false)),
            ("active", json!(0), json!(false)),
            ("active", json!(2), json!("!")),
            ("active", json!(1.5), json!("!")),
            ("active", json!("01"), json!("!")),
            ("title", json!("1"), json!("1")),
            ("active", json!(""), json!("!")),
            ("active", json!(null), json!(null)),
            ("title", json!("True"), json!("True")),
            ("title", json!(5), json!("!")),
            ("title", json!(["a"]), json!("!")),
            ("name", json!("Ada"), json!("!")),
            (
                "name",
                json!({"GIVENNAME": "Ada", "familyName": null, "x": [null]}),
                json!({"givenName": "Ada"}),
            ),
            ("name", json!({"givenName": null}), json!(null)),
            ("name", json!({"givenName": 1}), json!("!")),
            ("manager", json!("b"), json!({"value": "b"})),
            ("manager", json!(""), json!(null)),
            ("manager", json!([]), json!(null)),
            ("manager", json!([{"$ref": "u", "value": "b"}]), json!({"$ref": "u", "value": "b"})),
            ("manager", json!([{"value": "a"}, {"value": "b"}]), json!("!")),
            ("manager", json!({"value": "b", "displayName": "read only"}), json!({"value": "b"})),
            ("manager", json!({"managerId": "b"}), json!({"managerId": "b"})),
            ("emails", json!([]), json!(null)),
            ("emails", json!("a@b"), json!("!")),
            (
                "emails",
                json!([{"value": "a@b", "primary": "True", "type": null}]),
                json!([{"value": "a@b", "primary": true}]),
            ),
            (
                "emails",
                json!([{"value": "a@b", "primary": true}, {"value": "c@d", "primary": true}]),
                json!("!"),
            ),
            ("emails", json!([5]), json!("!")),
            ("emails", json!({"value": "a@b"}), json!("!")),
            ("roles", json!(["admin"]), json!([{"value": "admin"}])),
            (
                "roles",
                json!([{"value": "{\"id\":\"1\",\"value\":\"Admin\",\"displayName\":\"A\"}"}]),
                json!([{"value": "Admin", "id": "1", "display": "A"}]),
            ),
            ("roles", json!([{"value": "{not json"}]), json!([{"value": "{not json"}])),
            (
                "emails",
                json!([{"value": "{\"value\":\"x\"}"}]),
                json!([{"value": "{\"value\":\"x\"}"}]),
            ),
            ("x509Certificates", json!([{"value": "MIIDQ+/="}]), json!([{"value": "MIIDQ+/="}])),
            ("x509Certificates", json!([{"value": "not base64!"}]), json!("!")),
            ("meta", json!({"created": "yesterday"}), json!(null)),
        ];
        for (name, value, expected) in rows {
            match attribute(named(name), &value, From::Body, &Seen::default()) {
                Ok(got) => assert_eq!(got.unwrap_or(Value::Null), expected, "{name} {value}"),
                Err(error) => assert_eq!(
                    (json!("!"), Some("invalidValue")),
                    (expected, error.scim_type),
                    "{name} {value}: {error}"
                ),
            }
        }
        assert_eq!(
            attribute(named("emails"), &json!({"value": "a@b"}), From::Patch, &Seen::default()),
            Ok(Some(json!([{"value": "a@b"}])))
        );
        assert!(
            attribute(
                named("emails"),
                &json!(vec![json!({"value": "a"}); MAX_VALUES + 1]),
                From::Body,
                &Seen::default()
            )
            .is_err()
        );
    }

    #[test]
    fn what_no_schema_knows_is_kept() {
        assert_eq!(
            strip(&json!({"a": [null, {"b": null, "c": 1}], "d": {}, "e": ""})),
            Some(json!({"a": [{"c": 1}], "e": ""}))
        );
        for (value, unassigned) in [
            (json!([null, [], {"a": null}]), true),
            (json!([null, 0]), false),
            (json!(""), false),
        ] {
            assert_eq!(
                (strip(&value).is_none(), is_unassigned(&value)),
                (unassigned, unassigned),
                "{value}"
            );
        }
    }
}
