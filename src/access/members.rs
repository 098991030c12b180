//! Which members of a mapping's groups are meant: a filter over a user's own attributes, compiled. Who is in the groups is in `people`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::policy::Refusal;
use crate::api::mapping::Members;
use crate::directory::Resource;
use crate::scim::filter::{Filter, Matcher};
use crate::scim::path::AttrPath;
use crate::scim::schema;
use crate::scim::{ResourceKind, ScimError};

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
        let wrong = |error: ScimError| Refusal::new("InvalidFilter", format!("spec.members.filter {text:?}: {}", error.detail));
        let filter = Filter::parse(text).map_err(wrong)?;
        let matcher = filter.compile(ResourceKind::User).map_err(wrong)?.absent_is_false();
        let mut reads = BTreeMap::new();
        for path in filter.paths() {
            if path.urn.as_deref().is_none_or(|urn| urn.eq_ignore_ascii_case(schema::USER_URN))
                && ["groups", "meta", "id", "schemas", "password"]
                    .iter()
                    .any(|name| path.name.eq_ignore_ascii_case(name))
            {
                let message =
                    format!("spec.members.filter {text:?}: members are filtered by what the provider says of a user, not by {path}");
                return Err(Refusal::new("InvalidFilter", message));
            }
            let attribute = AttrPath { sub: None, ..path.clone() };
            reads.insert(full(path), full(&attribute));
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
        let mappable: BTreeSet<String> = mappable.iter().filter_map(|path| Some(full(&AttrPath::read(path).ok()?))).collect();
        let beyond = self
            .reads
            .iter()
            .filter(|(path, attribute)| !mappable.contains(*path) && !mappable.contains(*attribute));
        beyond.map(|(path, _)| path.as_str()).collect()
    }
}

/// The path with its URN, where it is not the core schema's, in lower case: an attribute is meant however it is written.
fn full(path: &AttrPath) -> String {
    let place = schema::resolve(ResourceKind::User, path);
    let urn = place.ok().and_then(|place| place.container.map(str::to_owned));
    let plain = AttrPath { urn, ..path.clone() };
    plain.to_string().to_lowercase()
}
