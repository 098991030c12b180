//! Extension schemas, from what a ScimSource declares to what SCIM understands. Pure.

use crate::api::source::{AttributeType, ExtendedType, ExtensionAttribute, ExtensionSchema, SimpleType, SubAttribute};
use crate::scim::ResourceKind;
use crate::scim::schema::{Declared, Extension, Extensions, Type, known_urn};

/// What a source declares. A schema of the RFCs is not declared again.
pub(super) fn of(declared: &[ExtensionSchema]) -> Extensions {
    let extension = |schema: &ExtensionSchema| Extension {
        id: schema.id.clone(),
        name: schema.name.clone(),
        description: schema.description.clone(),
        kind: match schema.resource_type {
            ExtendedType::User => ResourceKind::User,
            ExtendedType::Group => ResourceKind::Group,
        },
        required: schema.required,
        attributes: schema.attributes.iter().map(attribute).collect(),
    };
    let own = declared.iter().filter(|schema| known_urn(&schema.id).is_none());
    Extensions(own.map(extension).collect())
}

fn attribute(attribute: &ExtensionAttribute) -> Declared {
    Declared {
        name: attribute.name.clone(),
        kind: match attribute.type_ {
            AttributeType::String => Type::String,
            AttributeType::Boolean => Type::Boolean,
            AttributeType::Decimal => Type::Decimal,
            AttributeType::Integer => Type::Integer,
            AttributeType::DateTime => Type::DateTime,
            AttributeType::Binary => Type::Binary,
            AttributeType::Reference => Type::Reference,
            AttributeType::Complex => Type::Complex,
        },
        multi: attribute.multi_valued,
        required: attribute.required,
        case_exact: attribute.case_exact,
        canonical: attribute.canonical_values.clone(),
        description: attribute.description.clone(),
        sub: attribute.sub_attributes.iter().map(part).collect(),
    }
}

fn part(part: &SubAttribute) -> Declared {
    Declared {
        name: part.name.clone(),
        kind: match part.type_ {
            SimpleType::String => Type::String,
            SimpleType::Boolean => Type::Boolean,
            SimpleType::Decimal => Type::Decimal,
            SimpleType::Integer => Type::Integer,
            SimpleType::DateTime => Type::DateTime,
            SimpleType::Binary => Type::Binary,
            SimpleType::Reference => Type::Reference,
        },
        multi: part.multi_valued,
        required: false,
        case_exact: false,
        canonical: Vec::new(),
        description: part.description.clone(),
        sub: Vec::new(),
    }
}
