//! What SCIM attributes there are, as data, and where a path leads. `core` holds the tables, `discovery` renders them; no resource is judged here.

mod core;
mod declared;
mod discovery;
mod known;
#[cfg(test)]
mod tests;

use crate::scim::path::AttrPath;

pub use core::{COMMON, ENTERPRISE_USER, GROUP, USER};
pub use declared::{Declared, Extension, Extensions, NONE};
pub use discovery::{Limits, resource_types, schemas, service_provider_config};
pub use known::{Known, known};

/// The URN of the core User schema.
pub const USER_URN: &str = "urn:ietf:params:scim:schemas:core:2.0:User";
/// The URN of the core Group schema.
pub const GROUP_URN: &str = "urn:ietf:params:scim:schemas:core:2.0:Group";
/// The URN of the enterprise extension of User.
pub const ENTERPRISE_URN: &str = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User";

/// The resource types that are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ResourceKind {
    /// `/Users`
    User,
    /// `/Groups`
    Group,
}

/// An attribute's data type (RFC 7643 §2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Type {
    String,
    Boolean,
    Decimal,
    Integer,
    DateTime,
    Binary,
    Reference,
    Complex,
}

/// Who may change an attribute, and when (RFC 7643 §7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Mutability {
    ReadOnly,
    ReadWrite,
    Immutable,
    WriteOnly,
}

/// When an attribute is part of an answer (RFC 7643 §7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Returned {
    Always,
    Never,
    Default,
    Request,
}

/// Among what an attribute's values are unique (RFC 7643 §7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Uniqueness {
    None,
    Server,
    Global,
}

/// One attribute and its characteristics.
#[derive(Clone, Copy, Debug)]
pub struct Attribute {
    /// The name, as it is stored and returned.
    pub name: &'static str,
    /// The data type.
    pub kind: Type,
    /// Whether it is a list.
    pub multi: bool,
    /// Whether a resource must have it.
    pub required: bool,
    /// Whether case matters when its strings are compared.
    pub case_exact: bool,
    /// Who may change it.
    pub mutability: Mutability,
    /// When it is returned.
    pub returned: Returned,
    /// Among what it is unique.
    pub uniqueness: Uniqueness,
    /// Suggested values; others are allowed.
    pub canonical: &'static [&'static str],
    /// For references: what they may point at.
    pub reference: &'static [&'static str],
    /// For complex attributes: their parts.
    pub sub: &'static [Attribute],
    /// For people.
    pub description: &'static str,
}

/// A schema: a URN and its attributes.
#[derive(Clone, Copy, Debug)]
pub struct Schema {
    /// The URN.
    pub id: &'static str,
    /// For people.
    pub name: &'static str,
    /// For people.
    pub description: &'static str,
    /// The attributes, without the common ones.
    pub attributes: &'static [Attribute],
}

impl ResourceKind {
    /// Both.
    pub const ALL: [ResourceKind; 2] = [ResourceKind::User, ResourceKind::Group];

    /// The name, as in `meta.resourceType`.
    pub fn name(self) -> &'static str {
        match self {
            ResourceKind::User => "User",
            ResourceKind::Group => "Group",
        }
    }

    /// The path under the base URL.
    pub fn endpoint(self) -> &'static str {
        match self {
            ResourceKind::User => "/Users",
            ResourceKind::Group => "/Groups",
        }
    }

    /// The core schema.
    pub fn schema(self) -> &'static Schema {
        match self {
            ResourceKind::User => &USER,
            ResourceKind::Group => &GROUP,
        }
    }

    /// The extensions that are published.
    pub fn extensions(self) -> &'static [&'static Schema] {
        match self {
            ResourceKind::User => &[&ENTERPRISE_USER],
            ResourceKind::Group => &[],
        }
    }

    /// The attribute that a resource cannot be without: `userName` or `displayName`.
    pub fn required(self) -> &'static str {
        match self {
            ResourceKind::User => "userName",
            ResourceKind::Group => "displayName",
        }
    }

    /// The attribute that holds who belongs to whom, which is kept apart: a user's `groups`, a group's `members`.
    pub fn relation(self) -> &'static str {
        match self {
            ResourceKind::User => "groups",
            ResourceKind::Group => "members",
        }
    }

    /// The other kind.
    pub fn other(self) -> ResourceKind {
        match self {
            ResourceKind::User => ResourceKind::Group,
            ResourceKind::Group => ResourceKind::User,
        }
    }
}

impl Attribute {
    /// A part of a complex attribute, by name in any case.
    pub fn part(&self, name: &str) -> Option<&'static Attribute> {
        by_name(self.sub, name)
    }
}

/// Where a path leads.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The key of the extension's object in the resource, or none for the resource itself.
    pub container: Option<&'a str>,
    /// The attribute, where a schema knows it. Without it, and with a container, it is an attribute of an extension that we do not know.
    pub attribute: Option<&'static Attribute>,
    /// The sub-attribute, where a schema knows it.
    pub part: Option<&'static Attribute>,
}

/// Every URN of ours.
pub const URNS: [&str; 3] = [USER_URN, GROUP_URN, ENTERPRISE_URN];

/// The URN of ours that this is, in any case.
pub fn known_urn(urn: &str) -> Option<&'static str> {
    URNS.into_iter().find(|known| known.eq_ignore_ascii_case(urn))
}

/// A top-level attribute of a resource type, the common ones included, by name in any case.
pub fn find(kind: ResourceKind, name: &str) -> Option<&'static Attribute> {
    by_name(kind.schema().attributes, name).or_else(|| by_name(COMMON, name))
}

/// An attribute of the published extension with this URN.
pub fn find_extension(kind: ResourceKind, urn: &str, name: &str) -> Option<&'static Attribute> {
    let schema = kind.extensions().iter().find(|schema| schema.id.eq_ignore_ascii_case(urn))?;
    by_name(schema.attributes, name)
}

/// Where `path` leads in a resource of this kind; the error says what is unknown.
///
/// An attribute without URN is looked for in the core schema, then in the published extensions: Entra asks for `manager` so.
pub fn resolve(kind: ResourceKind, path: &AttrPath) -> Result<Place<'_>, String> {
    let unknown = || {
        format!(
            "{} has no attribute \"{}\"",
            kind.name(),
            crate::scim::error::excerpt(&path.to_string())
        )
    };
    let (container, attribute) = match path.urn.as_deref() {
        None => match find(kind, &path.name) {
            Some(attribute) => (None, Some(attribute)),
            None => {
                let mut extensions = kind.extensions().iter();
                let found = extensions.find_map(|schema| Some((schema.id, by_name(schema.attributes, &path.name)?)));
                let (urn, attribute) = found.ok_or_else(unknown)?;
                (Some(urn), Some(attribute))
            }
        },
        Some(urn) => match known_urn(urn) {
            Some(known) if path.name.is_empty() => ((known != kind.schema().id).then_some(known), None),
            Some(known) if known == kind.schema().id => (None, Some(find(kind, &path.name).ok_or_else(unknown)?)),
            Some(known) => (Some(known), Some(find_extension(kind, known, &path.name).ok_or_else(unknown)?)),
            None => (Some(urn), None),
        },
    };
    let part = match (attribute, path.sub.as_deref()) {
        (Some(attribute), Some(sub)) => Some(attribute.part(sub).ok_or_else(unknown)?),
        _ => None,
    };
    Ok(Place {
        container,
        attribute,
        part,
    })
}

fn by_name(attributes: &'static [Attribute], name: &str) -> Option<&'static Attribute> {
    attributes.iter().find(|attribute| attribute.name.eq_ignore_ascii_case(name))
}
