//! The values of the expressions. JSON is read where it lies; nothing is copied before it is used.

use std::borrow::Cow;
use std::cmp::Ordering;

use imbl::Vector;
use serde_json::{Map, Value as Json};

/// A CEL value.
#[derive(Clone, Debug)]
pub(super) enum Value<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Double(f64),
    Text(Cow<'a, str>),
    List(Vector<Value<'a>>),
    Array(&'a [Json]),
    Object(&'a Map<String, Json>),
    Optional(Option<Box<Value<'a>>>),
}

impl<'a> Value<'a> {
    pub(super) fn from_json(json: &'a Json) -> Self {
        match json {
            Json::Null => Self::Null,
            Json::Bool(b) => Self::Bool(*b),
            Json::Number(n) => n.as_i64().map_or_else(|| Self::Double(n.as_f64().unwrap_or(f64::NAN)), Self::Int),
            Json::String(s) => Self::Text(Cow::Borrowed(s)),
            Json::Array(a) => Self::Array(a),
            Json::Object(o) => Self::Object(o),
        }
    }

    pub(super) fn text(text: impl Into<String>) -> Self {
        Self::Text(Cow::Owned(text.into()))
    }

    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a bool",
            Self::Int(_) => "an int",
            Self::Double(_) => "a double",
            Self::Text(_) => "a string",
            Self::List(_) | Self::Array(_) => "a list",
            Self::Object(_) => "a map",
            Self::Optional(_) => "an optional",
        }
    }

    /// The elements of a list; `None` if it is none.
    pub(super) fn elements(&self) -> Option<usize> {
        match self {
            Self::List(list) => Some(list.len()),
            Self::Array(list) => Some(list.len()),
            _ => None,
        }
    }

    /// One element of a list.
    pub(super) fn element(&self, i: usize) -> Option<Value<'a>> {
        match self {
            Self::List(list) => list.get(i).cloned(),
            Self::Array(list) => list.get(i).map(Self::from_json),
            _ => None,
        }
    }

    /// What comparing or copying it costs: its texts' bytes and its parts, no more than `limit`.
    pub(super) fn weight(&self, limit: usize) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::List(list) => list
                .iter()
                .try_fold(0_usize, |sum, v| Some(sum + 1 + v.weight(limit)).filter(|s| *s < limit))
                .unwrap_or(limit),
            Self::Array(list) => list
                .iter()
                .try_fold(0_usize, |sum, v| Some(sum + size(v, limit)).filter(|s| *s < limit))
                .unwrap_or(limit),
            Self::Object(map) => map
                .iter()
                .try_fold(0_usize, |sum, (k, v)| Some(sum + k.len() + size(v, limit)).filter(|s| *s < limit))
                .unwrap_or(limit),
            Self::Optional(Some(inner)) => inner.weight(limit),
            _ => 1,
        }
    }

    /// CEL's equality: numbers by value, everything else only with its own type.
    pub(super) fn equals(&self, other: &Value<'a>) -> bool {
        match (self, other) {
            (Self::Null, Self::Null) => true,
            (Self::Bool(a), Self::Bool(b)) => a == b,
            (Self::Text(a), Self::Text(b)) => a == b,
            (Self::Int(_) | Self::Double(_), Self::Int(_) | Self::Double(_)) => self.compare(other) == Some(Ordering::Equal),
            (Self::Object(a), Self::Object(b)) => {
                a.len() == b.len()
                    && a.iter()
                        .all(|(k, v)| b.get(k).is_some_and(|w| Self::from_json(v).equals(&Self::from_json(w))))
            }
            (Self::Optional(a), Self::Optional(b)) => match (a, b) {
                (Some(a), Some(b)) => a.equals(b),
                (a, b) => a.is_none() && b.is_none(),
            },
            _ => match (self.elements(), other.elements()) {
                (Some(n), Some(m)) => {
                    n == m && (0..n).all(|i| matches!((self.element(i), other.element(i)), (Some(a), Some(b)) if a.equals(&b)))
                }
                _ => false,
            },
        }
    }

    /// The order of two values of comparable types.
    pub(super) fn compare(&self, other: &Value<'a>) -> Option<Ordering> {
        match (self, other) {
            (Self::Bool(a), Self::Bool(b)) => Some(a.cmp(b)),
            (Self::Int(a), Self::Int(b)) => Some(a.cmp(b)),
            (Self::Double(a), Self::Double(b)) => a.partial_cmp(b),
            (Self::Int(a), Self::Double(b)) => compare_mixed(*a, *b),
            (Self::Double(a), Self::Int(b)) => compare_mixed(*b, *a).map(Ordering::reverse),
            (Self::Text(a), Self::Text(b)) => Some(a.cmp(b)),
            _ => None,
        }
    }
}

/// By value, without the loss that a conversion of large ints would bring.
fn compare_mixed(int: i64, double: f64) -> Option<Ordering> {
    if double.is_nan() {
        return None;
    }
    if double >= 9_223_372_036_854_775_808.0 {
        return Some(Ordering::Less);
    }
    if double < -9_223_372_036_854_775_808.0 {
        return Some(Ordering::Greater);
    }
    #[expect(clippy::cast_possible_truncation, reason = "in range, as checked above")]
    let whole = double.trunc() as i64;
    Some(int.cmp(&whole).then_with(|| {
        if double.fract() > 0.0 {
            Ordering::Less
        } else if double.fract() < 0.0 {
            Ordering::Greater
        } else {
            Ordering::Equal
        }
    }))
}

/// Whether the attributes are, as JSON text, about as small as that. Stops at the limit.
pub(super) fn fits(map: &Map<String, Json>, limit: usize) -> bool {
    let mut sum = 0;
    for (key, value) in map {
        sum += key.len() + 4 + size(value, limit);
        if sum > limit {
            return false;
        }
    }
    true
}

fn size(json: &Json, limit: usize) -> usize {
    match json {
        Json::Null | Json::Bool(_) | Json::Number(_) => 5,
        Json::String(s) => s.len() + 3,
        Json::Array(a) => a
            .iter()
            .try_fold(2_usize, |sum, v| Some(sum + size(v, limit)).filter(|s| *s < limit))
            .unwrap_or(limit),
        Json::Object(o) => o
            .iter()
            .try_fold(2_usize, |sum, (k, v)| {
                Some(sum + k.len() + 4 + size(v, limit)).filter(|s| *s < limit)
            })
            .unwrap_or(limit),
    }
}
