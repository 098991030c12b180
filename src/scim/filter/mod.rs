//! Filters (RFC 7644 §3.4.2.2): their tree, how it prints, and what of it an index can answer. `parse` reads them, `eval` judges by them.

mod eval;
pub(crate) mod parse;
#[cfg(test)]
mod tests;

use std::fmt;

use serde_json::{Map, Number, Value};

use super::error::ScimError;
use super::path::AttrPath;
use super::schema::{self, ResourceKind};

pub use eval::{Matcher, Related};

/// The longest filter, in bytes.
pub const MAX_BYTES: usize = 8 * 1024;
/// How deep parentheses and brackets nest.
pub const MAX_DEPTH: usize = 32;
/// How many comparisons a filter has.
pub const MAX_TERMS: usize = 256;

/// A filter. `And` and `Or` have at least two parts, and none of their own kind directly below.
#[derive(Clone, Debug, PartialEq)]
pub enum Filter {
    /// All of them.
    And(Vec<Filter>),
    /// Any of them.
    Or(Vec<Filter>),
    /// Not this one.
    Not(Box<Filter>),
    /// The attribute has a value.
    Present(AttrPath),
    /// The attribute compares so with the literal.
    Compare(AttrPath, Op, Literal),
    /// One element of the attribute fulfils the whole filter in the brackets.
    Element(AttrPath, Box<Filter>),
}

/// The operators with a literal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Op {
    Eq,
    Ne,
    Co,
    Sw,
    Ew,
    Gt,
    Ge,
    Lt,
    Le,
}

/// What an attribute is compared with.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub enum Literal {
    Null,
    Bool(bool),
    Number(Number),
    String(String),
    /// A word without quotes, which stands for the same in quotes; some clients write so.
    Bare(String),
}

impl Literal {
    /// The text, if it is one.
    pub fn text(&self) -> Option<&str> {
        match self {
            Literal::String(text) | Literal::Bare(text) => Some(text),
            Literal::Null | Literal::Bool(_) | Literal::Number(_) => None,
        }
    }
}

/// What an index can look up. A resource that the filter matches has all of these; the filter still has to judge what the index gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Key {
    /// `id`, compared with case.
    Id,
    /// A user's `userName`, to be looked up by [`super::fold`].
    UserName,
    /// `externalId`, compared with case.
    ExternalId,
    /// `displayName`, compared without case: an index by the exact name does not answer it.
    DisplayName,
    /// A group's member, or a user's group, by id.
    Related,
    /// One of a user's e-mail addresses, to be looked up by [`super::fold`].
    Email,
}

impl Filter {
    /// Reads a filter. A fault is 400 `invalidFilter` that says where (bytes from the start, from 0) and what.
    pub fn parse(text: &str) -> Result<Filter, ScimError> {
        parse::filter(text).map_err(|error| ScimError::invalid_filter(error.to_string()))
    }

    /// What an index can look up: the comparisons with `eq` that must all hold.
    pub fn keys(&self, kind: ResourceKind) -> Vec<(Key, &str)> {
        let mut keys = Vec::new();
        self.collect_keys(kind, &mut keys);
        keys
    }

    fn collect_keys<'a>(&'a self, kind: ResourceKind, keys: &mut Vec<(Key, &'a str)>) {
        match self {
            Filter::And(parts) => parts.iter().for_each(|part| part.collect_keys(kind, keys)),
            Filter::Compare(path, Op::Eq, literal) => {
                keys.extend(literal.text().and_then(|text| Some((key_of(kind, path)?, text))));
            }
            // An element with this value, and whatever else is asked of it, is an element with this value.
            Filter::Element(path, inner) if path.sub.is_none() => {
                let terms = match &**inner {
                    Filter::And(parts) => parts.as_slice(),
                    one => std::slice::from_ref(one),
                };
                for term in terms {
                    if let Filter::Compare(part, Op::Eq, literal) = term
                        && let Some(text) = literal.text()
                        && part.urn.is_none()
                        && part.sub.is_none()
                    {
                        let whole = AttrPath {
                            sub: Some(part.name.clone()),
                            ..path.clone()
                        };
                        let key = key_of(kind, &whole).filter(|key| matches!(key, Key::Related | Key::Email));
                        keys.extend(key.map(|key| (key, text)));
                    }
                }
            }
            _ => {}
        }
    }

    /// The beginnings of names that an ordered index can look up: the comparisons with `sw` that must all hold.
    pub fn prefixes(&self, kind: ResourceKind) -> Vec<(Key, &str)> {
        match self {
            Filter::And(parts) => parts.iter().flat_map(|part| part.prefixes(kind)).collect(),
            Filter::Compare(path, Op::Sw, literal) => {
                let ordered = |key: &Key| match key {
                    Key::UserName => true,
                    Key::DisplayName => kind == ResourceKind::Group,
                    _ => false,
                };
                let key = key_of(kind, path).filter(ordered);
                key.zip(literal.text()).into_iter().collect()
            }
            _ => Vec::new(),
        }
    }

    /// Every attribute path in the filter, outside brackets; for the brackets, the attribute before them.
    pub fn paths(&self) -> Vec<&AttrPath> {
        match self {
            Filter::And(parts) | Filter::Or(parts) => parts.iter().flat_map(Filter::paths).collect(),
            Filter::Not(inner) => inner.paths(),
            Filter::Present(path) | Filter::Compare(path, ..) | Filter::Element(path, _) => vec![path],
        }
    }
}

fn key_of(kind: ResourceKind, path: &AttrPath) -> Option<Key> {
    let place = schema::resolve(kind, path).ok()?;
    let attribute = place.attribute.filter(|_| place.container.is_none())?;
    match (attribute.name, place.part.map(|part| part.name)) {
        ("id", None) => Some(Key::Id),
        ("userName", None) => Some(Key::UserName),
        ("externalId", None) => Some(Key::ExternalId),
        ("displayName", None) => Some(Key::DisplayName),
        (name, None | Some("value")) if name == kind.relation() => Some(Key::Related),
        ("emails", None | Some("value")) => Some(Key::Email),
        _ => None,
    }
}

/// Whether the filter matches a resource of this kind. For one resource; for many, [`Filter::compile`] once. A filter that does not compile
/// matches nothing.
pub fn matches(filter: &Filter, resource: &Map<String, Value>, kind: ResourceKind) -> bool {
    filter.compile(kind).is_ok_and(|matcher| matcher.matches(resource))
}

impl Op {
    const ALL: [(&'static str, Op); 9] = [
        ("eq", Op::Eq),
        ("ne", Op::Ne),
        ("co", Op::Co),
        ("sw", Op::Sw),
        ("ew", Op::Ew),
        ("gt", Op::Gt),
        ("ge", Op::Ge),
        ("lt", Op::Lt),
        ("le", Op::Le),
    ];

    fn read(word: &str) -> Option<Op> {
        Op::ALL
            .into_iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(word))
            .map(|(_, op)| op)
    }

    /// As it is written.
    pub fn as_str(self) -> &'static str {
        Op::ALL.into_iter().find(|(_, op)| *op == self).map_or("", |(name, _)| name)
    }

    /// Whether it asks for an order.
    /// Whether it asks for an order.
    pub fn orders(self) -> bool {
        matches!(self, Op::Gt | Op::Ge | Op::Lt | Op::Le)
    }

    /// Whether it looks inside a text.
    fn searches(self) -> bool {
        matches!(self, Op::Co | Op::Sw | Op::Ew)
    }
}

impl fmt::Display for Literal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Literal::Null => write!(f, "null"),
            Literal::Bool(value) => write!(f, "{value}"),
            Literal::Number(value) => write!(f, "{value}"),
            Literal::String(value) => write!(f, "{}", Value::from(value.as_str())),
            Literal::Bare(value) => f.write_str(value),
        }
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Filter::And(parts) => join(f, parts, " and "),
            Filter::Or(parts) => join(f, parts, " or "),
            Filter::Not(inner) => write!(f, "not ({inner})"),
            Filter::Present(path) => write!(f, "{path} pr"),
            Filter::Compare(path, op, literal) => write!(f, "{path} {} {literal}", op.as_str()),
            Filter::Element(path, inner) => write!(f, "{path}[{inner}]"),
        }
    }
}

fn join(f: &mut fmt::Formatter<'_>, parts: &[Filter], word: &str) -> fmt::Result {
    for (i, part) in parts.iter().enumerate() {
        if i > 0 {
            write!(f, "{word}")?;
        }
        match part {
            // An `and` inside an `or` needs none, but people read it better so.
            Filter::And(_) | Filter::Or(_) => write!(f, "({part})")?,
            _ => write!(f, "{part}")?,
        }
    }
    Ok(())
}

/// Whether a text is an xsd:dateTime.
pub(crate) fn is_time(text: &str) -> bool {
    eval::instant(text).is_some()
}

pub(crate) use eval::{get as get_attribute, instant};
