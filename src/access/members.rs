//! Which members of a mapping's groups are meant: a filter over a user's own attributes, compiled. Who is in the groups is in `people`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::mapping::{matcher, wrong_filter};
use super::policy::Refusal;
use crate::api::mapping::Members;
use crate::directory::Resource;
use crate::scim::ResourceKind;
use crate::scim::filter::{Filter, Matcher};
use crate::scim::path::AttrPath;
use crate::scim::schema;

/// What no filter reads: it is not what the provider says of a user, or is the same for all who are meant.
const NOT_THEIRS: [&str; 6] = ["groups", "meta", "id", "schemas", "password", "active"];

/// A filter over users, compiled.
#[derive(Clone, Debug)]
pub struct MemberFilter {
    text: String,
    matcher: Matcher,
    /// What it reads, as full paths in lower case, each with the attribute that it is a part of. Of what stands before brackets, all of it.
    reads: BTreeMap<String, String>,
}

/// By the text: the same text selects the same.
impl PartialEq for MemberFilter {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for MemberFilter {}

impl MemberFilter {
    /// Compiles `spec.members`. What is no attribute of the user's own is refused: `groups` are the mapping's business, and `meta` changes by itself.
    pub fn of(members: Option<&Members>) -> Result<Option<Arc<Self>>, Refusal> {
        let Some(Members { filter: text }) = members else {
            return Ok(None);
        };
        let field = "spec.members.filter";
        let wrong = |what: String| Err(wrong_filter(field, text, what));
        let filter = Filter::parse(text).map_err(|error| wrong_filter(field, text, error.detail))?;
        let matcher = matcher(&filter, ResourceKind::User, field, text)?;
        if let Some(path) = ordered_unknown(&filter, None) {
            return wrong(format!(
                "{path} is no attribute of the RFCs' schemas, and has no order: compare it with eq, ne, co, sw, ew or pr"
            ));
        }
        let mut reads = BTreeMap::new();
        for path in filter.paths() {
            if path.urn.as_deref().is_none_or(|urn| urn.eq_ignore_ascii_case(schema::USER_URN))
                && NOT_THEIRS.iter().any(|name| path.name.eq_ignore_ascii_case(name))
            {
                return wrong(format!("members are filtered by what the provider says of a user, not by {path}"));
            }
            let attribute = AttrPath { sub: None, ..path.clone() };
            let (Some(whole), Some(attribute)) = (full(path), full(&attribute)) else {
                return wrong(format!("{path} is no attribute of a user"));
            };
            reads.insert(whole, attribute);
        }
        Ok(Some(Arc::new(Self {
            text: text.clone(),
            matcher,
            reads,
        })))
    }

    /// Whether the filter selects the user.
    pub fn selects(&self, user: &Resource) -> bool {
        self.matcher.matches(&user.attributes.to_map())
    }

    /// What it reads that is not among these paths, or a part of one of them.
    pub fn beyond<'a>(&'a self, mappable: &[String]) -> Vec<&'a str> {
        let mappable: BTreeSet<String> = mappable.iter().filter_map(|path| full(&AttrPath::read(path).ok()?)).collect();
        let beyond = self
            .reads
            .iter()
            .filter(|(path, attribute)| !mappable.contains(*path) && !mappable.contains(*attribute));
        beyond.map(|(path, _)| path.as_str()).collect()
    }
}

/// The path with its URN, where it is not the core schema's, in lower case: an attribute is meant however it is written. None for what is none.
fn full(path: &AttrPath) -> Option<String> {
    let place = schema::resolve(ResourceKind::User, path).ok()?;
    let plain = AttrPath {
        urn: place.container.map(str::to_owned),
        ..path.clone()
    };
    (!path.name.is_empty()).then(|| plain.to_string().to_lowercase())
}

/// What is ordered although no schema gives it an order: as text, times of two zones would be in the wrong one. `inside`: the brackets of such an
/// attribute.
fn ordered_unknown<'a>(filter: &'a Filter, inside: Option<&'a AttrPath>) -> Option<&'a AttrPath> {
    let unknown = |path: &'a AttrPath| {
        let known = schema::resolve(ResourceKind::User, path).is_ok_and(|place| place.attribute.is_some());
        (!known).then_some(path)
    };
    match filter {
        Filter::And(parts) | Filter::Or(parts) => parts.iter().find_map(|part| ordered_unknown(part, inside)),
        Filter::Not(inner) => ordered_unknown(inner, inside),
        Filter::Compare(path, op, _) if op.orders() => inside.or_else(|| unknown(path)),
        // what stands in the brackets of a known one was compiled by its schema
        Filter::Element(path, inner) => unknown(path).and_then(|path| ordered_unknown(inner, Some(path))),
        Filter::Present(_) | Filter::Compare(..) => None,
    }
}
