//! /Schemas, /ResourceTypes and /ServiceProviderConfig, rendered from the tables: what is published is what is enforced.

use serde_json::{Map, Value, json};

use super::{Attribute, ENTERPRISE_USER, Extensions, GROUP, Mutability, ResourceKind, Returned, Schema, Type, USER, Uniqueness};
use crate::scim::bulk::MAX_OPERATIONS;
use crate::scim::query::CURSOR_TIMEOUT;

/// What the service promises in numbers.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The largest page.
    pub max_page_size: u64,
    /// The page without `count`.
    pub default_page_size: u64,
    /// The largest bulk request, in bytes.
    pub max_payload_size: usize,
}

/// Every schema, for `GET /Schemas`. `base` is the source's base URL without a slash at its end.
pub fn schemas(base: &str) -> Vec<Value> {
    [&USER, &GROUP, &ENTERPRISE_USER]
        .into_iter()
        .map(|schema| render_schema(schema, base))
        .collect()
}

/// Every resource type, for `GET /ResourceTypes`, with the extensions that are declared.
pub fn resource_types(base: &str, extensions: &Extensions) -> Vec<Value> {
    let render = |kind: ResourceKind| {
        let mut shown = render_type(kind, base);
        extensions.extend(kind, &mut shown);
        shown
    };
    ResourceKind::ALL.into_iter().map(render).collect()
}

/// `GET /ServiceProviderConfig`: always complete, because authentik falls back to PUT for all when one sub-field is missing.
pub fn service_provider_config(base: &str, limits: Limits) -> Value {
    json!({
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:ServiceProviderConfig"],
        "patch": {"supported": true},
        "bulk": {"supported": true, "maxOperations": MAX_OPERATIONS, "maxPayloadSize": limits.max_payload_size},
        "filter": {"supported": true, "maxResults": limits.max_page_size},
        "changePassword": {"supported": false},
        "sort": {"supported": true},
        "etag": {"supported": true},
        "authenticationSchemes": [{
            "type": "oauthbearertoken",
            "name": "OAuth Bearer Token",
            "description": "A bearer token in the Authorization header",
            "specUri": "https://www.rfc-editor.org/rfc/rfc6750",
            "primary": true
        }],
        "pagination": {
            "cursor": true,
            "index": true,
            "defaultPaginationMethod": "index",
            "defaultPageSize": limits.default_page_size,
            "maxPageSize": limits.max_page_size,
            "cursorTimeout": CURSOR_TIMEOUT
        },
        "meta": {"resourceType": "ServiceProviderConfig", "location": format!("{base}/ServiceProviderConfig")}
    })
}

fn render_type(kind: ResourceKind, base: &str) -> Value {
    let mut rendered = json!({
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:ResourceType"],
        "id": kind.name(),
        "name": kind.name(),
        "description": kind.schema().description,
        "endpoint": kind.endpoint(),
        "schema": kind.schema().id,
        "meta": {"resourceType": "ResourceType", "location": format!("{base}/ResourceTypes/{}", kind.name())}
    });
    if !kind.extensions().is_empty() {
        rendered["schemaExtensions"] = kind
            .extensions()
            .iter()
            .map(|schema| json!({"schema": schema.id, "required": false}))
            .collect();
    }
    rendered
}

fn render_schema(schema: &Schema, base: &str) -> Value {
    let attributes = schema.attributes.iter().map(render_attribute).collect();
    schema_resource(base, schema.id, schema.name, schema.description, attributes)
}

/// A Schema resource (RFC 7643 §7), of the tables or declared.
pub(super) fn schema_resource(base: &str, id: &str, name: &str, description: &str, attributes: Vec<Value>) -> Value {
    json!({
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:Schema"],
        "id": id,
        "name": name,
        "description": description,
        "attributes": attributes,
        "meta": {"resourceType": "Schema", "location": format!("{base}/Schemas/{id}")}
    })
}

fn render_attribute(attribute: &Attribute) -> Value {
    let mut out = Map::new();
    out.insert("name".into(), attribute.name.into());
    out.insert("type".into(), type_name(attribute.kind).into());
    out.insert("multiValued".into(), attribute.multi.into());
    out.insert("description".into(), attribute.description.into());
    out.insert("required".into(), attribute.required.into());
    // A complex value or a boolean has no case.
    if !matches!(
        attribute.kind,
        Type::Complex | Type::Boolean | Type::DateTime | Type::Integer | Type::Decimal
    ) {
        out.insert("caseExact".into(), attribute.case_exact.into());
    }
    let mutability = match attribute.mutability {
        Mutability::ReadOnly => "readOnly",
        Mutability::ReadWrite => "readWrite",
        Mutability::Immutable => "immutable",
        Mutability::WriteOnly => "writeOnly",
    };
    out.insert("mutability".into(), mutability.into());
    let returned = match attribute.returned {
        Returned::Always => "always",
        Returned::Never => "never",
        Returned::Default => "default",
        Returned::Request => "request",
    };
    out.insert("returned".into(), returned.into());
    let uniqueness = match attribute.uniqueness {
        Uniqueness::None => "none",
        Uniqueness::Server => "server",
        Uniqueness::Global => "global",
    };
    out.insert("uniqueness".into(), uniqueness.into());
    if !attribute.canonical.is_empty() {
        out.insert("canonicalValues".into(), attribute.canonical.into());
    }
    if !attribute.reference.is_empty() {
        out.insert("referenceTypes".into(), attribute.reference.into());
    }
    if !attribute.sub.is_empty() {
        out.insert("subAttributes".into(), attribute.sub.iter().map(render_attribute).collect());
    }
    Value::Object(out)
}

pub(super) fn type_name(kind: Type) -> &'static str {
    match kind {
        Type::String => "string",
        Type::Boolean => "boolean",
        Type::Decimal => "decimal",
        Type::Integer => "integer",
        Type::DateTime => "dateTime",
        Type::Binary => "binary",
        Type::Reference => "reference",
        Type::Complex => "complex",
    }
}
