//! Tests of where paths lead, and of what is published.

use serde_json::{Value, json};

use super::*;
use crate::scim::path::AttrPath;

fn check(kind: ResourceKind, path: &str, expected: Option<(Option<&str>, &str)>) {
    let path = AttrPath::parse(path).unwrap();
    let found = resolve(kind, &path).ok();
    let got = found.map(|place| {
        (
            place.container,
            place.part.or(place.attribute).map_or("", |attribute| attribute.name),
        )
    });
    assert_eq!(got, expected, "{path}");
}

#[test]
fn paths_lead() {
    use ResourceKind::{Group, User};
    let enterprise = Some(ENTERPRISE_URN);
    check(User, "USERNAME", Some((None, "userName")));
    check(User, "emails.Value", Some((None, "value")));
    check(User, "externalId", Some((None, "externalId")));
    check(User, "meta.lastmodified", Some((None, "lastModified")));
    check(User, "manager", Some((enterprise, "manager")));
    check(User, "department", Some((enterprise, "department")));
    check(User, "urn:ietf:params:scim:schemas:core:2.0:User:active", Some((None, "active")));
    check(
        User,
        "urn:ietf:params:scim:schemas:extension:ENTERPRISE:2.0:user:manager.value",
        Some((enterprise, "value")),
    );
    check(
        User,
        "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User",
        Some((enterprise, "")),
    );
    check(User, "urn:example:2.0:User:badge", Some((Some("urn:example:2.0:User"), "")));
    check(Group, "members.$ref", Some((None, "$ref")));
    for (kind, path) in [
        (User, "nope"),
        (User, "userName.x"),
        (User, "emails.nope"),
        (User, "members"),
        (Group, "userName"),
        (Group, "department"),
        (Group, "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department"),
        (Group, "urn:ietf:params:scim:schemas:core:2.0:User:userName"),
        (User, "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:nope"),
    ] {
        check(kind, path, None);
    }
}

#[test]
fn discovery_is_complete() {
    let base = "https://scim.example/scim/v2/okta";
    let limits = Limits {
        max_page_size: 200,
        default_page_size: 100,
        max_payload_size: 1024,
    };
    let config = service_provider_config(base, limits);
    let expected = json!({
        "patch": ["supported"],
        "bulk": ["supported", "maxOperations", "maxPayloadSize"],
        "filter": ["supported", "maxResults"],
        "changePassword": ["supported"],
        "sort": ["supported"],
        "etag": ["supported"],
        "pagination": ["cursor", "index", "defaultPaginationMethod", "defaultPageSize", "maxPageSize", "cursorTimeout"],
    });
    for (section, keys) in expected.as_object().unwrap() {
        for key in keys.as_array().unwrap() {
            assert!(config[section].get(key.as_str().unwrap()).is_some(), "{section}.{key}");
        }
    }
    assert_eq!(config["authenticationSchemes"][0]["type"], "oauthbearertoken");
    // Every schema that a resource type names is published, under its own URN.
    let schema = |urn: &str| schemas(base).into_iter().find(|schema| schema["id"] == urn);
    let types = resource_types(base, &Extensions::default());
    for kind in &types {
        assert_eq!(kind["id"], kind["name"]);
        let mut urns = vec![kind["schema"].clone()];
        urns.extend(
            kind["schemaExtensions"]
                .as_array()
                .into_iter()
                .flatten()
                .map(|extension| extension["schema"].clone()),
        );
        for urn in urns {
            let found = schema(urn.as_str().unwrap()).unwrap();
            assert_eq!(found["id"], urn);
            assert_eq!(found["meta"]["location"], format!("{base}/Schemas/{}", urn.as_str().unwrap()));
        }
    }
    assert_eq!(schemas(base).len(), 3);
    assert!(types[1].get("schemaExtensions").is_none());
}

#[test]
fn published_characteristics() {
    fn walk(attribute: &Value, nested: bool) {
        for key in [
            "name",
            "type",
            "multiValued",
            "description",
            "required",
            "mutability",
            "returned",
            "uniqueness",
        ] {
            assert!(attribute.get(key).is_some(), "{key} of {attribute}");
        }
        let complex = attribute["type"] == "complex";
        assert_eq!(attribute.get("subAttributes").is_some(), complex, "{attribute}");
        assert!(!(complex && nested), "{attribute}");
        assert_eq!(
            attribute.get("referenceTypes").is_some(),
            attribute["type"] == "reference",
            "{attribute}"
        );
        attribute["subAttributes"]
            .as_array()
            .into_iter()
            .flatten()
            .for_each(|part| walk(part, true));
    }
    let all = schemas("");
    all.iter()
        .flat_map(|schema| schema["attributes"].as_array().unwrap())
        .for_each(|attribute| walk(attribute, false));
    let of = |schema: usize, name: &str| {
        all[schema]["attributes"]
            .as_array()
            .unwrap()
            .iter()
            .find(|a| a["name"] == name)
            .unwrap()
            .clone()
    };
    let user_name = of(0, "userName");
    assert_eq!(
        (&user_name["required"], &user_name["caseExact"], &user_name["uniqueness"]),
        (&json!(true), &json!(false), &json!("server"))
    );
    assert_eq!(
        (&of(0, "password")["mutability"], &of(0, "password")["returned"]),
        (&json!("writeOnly"), &json!("never"))
    );
    assert_eq!(of(0, "groups")["mutability"], "readOnly");
    assert_eq!(of(1, "displayName")["required"], true);
    // Common attributes are in no schema (RFC 7643 §3.1).
    assert!(
        all.iter()
            .flat_map(|schema| schema["attributes"].as_array().unwrap())
            .all(|a| !["id", "meta", "externalId", "schemas"].contains(&a["name"].as_str().unwrap()))
    );
}
