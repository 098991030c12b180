//! Versions of resources as entity tags, and the conditions that requests put on them (RFC 7644 §3.14, RFC 9110 §13). Pure.

use http::{HeaderMap, HeaderName, header};
use ring::digest;
use roaring::RoaringBitmap;

use crate::directory::{Kind, Resource, Source};
use crate::scim::ScimError;

/// The version of a resource as it is shown: a weak entity tag. A user's `groups` are part of what is shown, so they are part of the version too.
pub(super) fn version(source: &Source, resource: &Resource) -> String {
    let (index, ordinal) = resource.version;
    let groups = match resource.kind {
        Kind::User => source.ancestors(resource.n),
        Kind::Group => RoaringBitmap::new(),
    };
    if groups.is_empty() {
        return format!("W/\"{index}.{ordinal}\"");
    }
    let direct = source.groups_of(resource.n);
    let mut sum = digest::Context::new(&digest::SHA256);
    for group in groups.iter().filter_map(|n| source.get(n)) {
        sum.update(group.id.as_bytes());
        sum.update(&[u8::from(direct.contains(group.n))]);
        sum.update(group.name.as_bytes());
        sum.update(&[0]);
    }
    let sum: String = sum.finish().as_ref().iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    format!("W/\"{index}.{ordinal}.{sum}\"")
}

/// What must hold of the version for a request to be done. Tags are compared weakly, as the RFC's own examples do.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Condition {
    matches: Option<Tags>,
    differs: Option<Tags>,
}

#[derive(Clone, Debug, PartialEq)]
enum Tags {
    Any,
    These(Vec<String>),
}

impl Tags {
    fn read<'a>(texts: impl Iterator<Item = &'a str>) -> Option<Self> {
        let mut tags = Vec::new();
        for text in texts
            .flat_map(|text| text.split(','))
            .map(str::trim)
            .filter(|text| !text.is_empty())
        {
            match text {
                "*" => return Some(Tags::Any),
                tag => tags.push(strong(tag).to_owned()),
            }
        }
        (!tags.is_empty()).then_some(Tags::These(tags))
    }

    fn has(&self, version: &str) -> bool {
        match self {
            Tags::Any => true,
            Tags::These(tags) => tags.iter().any(|tag| tag == strong(version)),
        }
    }
}

/// The tag without what makes it weak.
fn strong(tag: &str) -> &str {
    tag.strip_prefix("W/").unwrap_or(tag)
}

impl Condition {
    /// Reads `If-Match` and `If-None-Match`.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let read = |name: HeaderName| Tags::read(headers.get_all(name).iter().map(|value| value.to_str().unwrap_or("?")));
        Self {
            matches: read(header::IF_MATCH),
            differs: read(header::IF_NONE_MATCH),
        }
    }

    /// The `version` of an operation in a bulk request (RFC 7644 §3.7).
    pub(super) fn version(text: &str) -> Self {
        Self {
            matches: Tags::read(std::iter::once(text)),
            differs: None,
        }
    }

    /// Whether nothing is asked of the version.
    fn is_nothing(&self) -> bool {
        *self == Self::default()
    }

    /// 412, if a resource with this version must not be changed, or not be shown.
    pub(super) fn check(&self, source: &Source, resource: &Resource) -> Result<(), ScimError> {
        if self.is_nothing() {
            return Ok(());
        }
        let now = version(source, resource);
        let refused = self.matches.as_ref().is_some_and(|tags| !tags.has(&now)) || self.differs.as_ref().is_some_and(|tags| tags.has(&now));
        match refused {
            true => Err(ScimError::new(
                412,
                format!("the resource has the version {now} now: read it again"),
            )),
            false => Ok(()),
        }
    }

    /// Whether who reads has this version already: 304.
    pub(super) fn is_known(&self, source: &Source, resource: &Resource) -> bool {
        self.differs.as_ref().is_some_and(|tags| tags.has(&version(source, resource)))
    }

    /// The condition without what makes a read a 304.
    pub(super) fn only_matches(&self) -> Self {
        Self {
            matches: self.matches.clone(),
            differs: None,
        }
    }
}
