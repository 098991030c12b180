//! What is known of an attribute that a filter or an order names, whoever described it: the RFC, or the admin.

use super::declared::{Declared, Extensions};
use super::{Attribute, Place, ResourceKind, Type};
use crate::scim::path::AttrPath;

/// An attribute as comparisons see it.
#[derive(Clone, Copy, Debug)]
pub enum Known<'a> {
    /// Of a schema of the RFC.
    Published(&'static Attribute),
    /// Of an extension that the source declares.
    Declared(&'a Declared),
}

impl<'a> Known<'a> {
    /// The name, as it is stored.
    pub fn name(self) -> &'a str {
        match self {
            Self::Published(one) => one.name,
            Self::Declared(one) => &one.name,
        }
    }

    /// The data type.
    pub fn kind(self) -> Type {
        match self {
            Self::Published(one) => one.kind,
            Self::Declared(one) => one.kind,
        }
    }

    /// Whether it is a list.
    pub fn multi(self) -> bool {
        match self {
            Self::Published(one) => one.multi,
            Self::Declared(one) => one.multi,
        }
    }

    /// Whether case matters when its strings are compared.
    pub fn case_exact(self) -> bool {
        match self {
            Self::Published(one) => one.case_exact,
            Self::Declared(one) => one.case_exact,
        }
    }

    /// A sub-attribute, in any case.
    pub fn part(self, name: &str) -> Option<Known<'a>> {
        match self {
            Self::Published(one) => one.part(name).map(Known::Published),
            Self::Declared(one) => one.part(name).map(Known::Declared),
        }
    }
}

/// What is known of where a path leads: the attribute and its part.
pub fn known<'a>(
    kind: ResourceKind,
    path: &AttrPath,
    place: &Place<'_>,
    extensions: &'a Extensions,
) -> (Option<Known<'a>>, Option<Known<'a>>) {
    let declared = || path.urn.as_deref().and_then(|urn| extensions.attribute(kind, urn, &path.name));
    let attribute = place.attribute.map(Known::Published).or_else(|| declared().map(Known::Declared));
    let part = path.sub.as_deref().and_then(|sub| attribute?.part(sub));
    (attribute, part)
}
