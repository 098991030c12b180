//! Tests of bodies and projections.

use serde_json::{Map, Value, json};

use super::*;
use crate::scim::schema::{ENTERPRISE_URN, GROUP_URN, USER_URN};

/// What a POST of `body` keeps, `schemas` apart; a string expected is the error's keyword.
fn check(kind: ResourceKind, body: Value, expected: Value) {
    match (create(kind, &body, &Seen::default()), expected) {
        (Ok(mut got), expected @ Value::Object(_)) => {
            got.attributes.remove("schemas");
            assert_eq!(Value::Object(got.attributes), expected, "{body}");
        }
        (Err(error), Value::String(scim_type)) => assert_eq!(
            (error.status, error.scim_type.unwrap()),
            (400, scim_type.as_str()),
            "{body}: {error}"
        ),
        (got, expected) => panic!("{body}: {got:?}, expected {expected}"),
    }
}

#[test]
fn bodies() {
    use ResourceKind::{Group, User};
    check(User, json!({"userName": "ada"}), json!({"userName": "ada"}));
    check(
        User,
        json!({"schemas": ["urn:scim:schemas:core:1.0"], "id": null, "USERNAME": "ada"}),
        json!({"userName": "ada"}),
    );
    // Entra: nulls for what is not mapped.
    check(
        User,
        json!({
            "schemas": [USER_URN, ENTERPRISE_URN], "externalId": "jyoung", "userName": "jyoung@contoso.example", "active": true, "addresses": null,
            "displayName": "Joy Young", "emails": [{"type": "work", "value": "j", "primary": true}], "meta": {"resourceType": "User"},
            "name": {"familyName": "Young", "givenName": "Joy"}, "phoneNumbers": null, "title": null, "department": null, "manager": null, "roles": []
        }),
        json!({
            "externalId": "jyoung", "userName": "jyoung@contoso.example", "active": true, "displayName": "Joy Young",
            "emails": [{"type": "work", "value": "j", "primary": true}], "name": {"familyName": "Young", "givenName": "Joy"}
        }),
    );
    // Okta: a password, groups, id.
    check(
        User,
        json!({"id": "x", "userName": "a", "password": "1mz050nq", "groups": [{"value": "g"}], "active": "True", "locale": "en-US"}),
        json!({"userName": "a", "active": true, "locale": "en-US"}),
    );
    // Nothing is lost, whatever no schema knows.
    check(
        User,
        json!({"userName": "a", "costCode": 5, "urn:example:2.0:User": {"badge": [null, {"a": 1}], "b": null}, "name": {"givenName": "A", "nick": "x"}}),
        json!({"userName": "a", "costCode": 5, "urn:example:2.0:User": {"badge": [{"a": 1}]}, "name": {"givenName": "A", "nick": "x"}}),
    );
    // The enterprise extension, however it is said.
    let expected = json!({"userName": "a", ENTERPRISE_URN: {"department": "x", "manager": {"value": "b"}}});
    check(
        User,
        json!({"userName": "a", ENTERPRISE_URN.to_uppercase(): {"DEPARTMENT": "x", "manager": "b"}}),
        expected.clone(),
    );
    check(
        User,
        json!({"userName": "a", "department": "x", "manager": [{"value": "b"}]}),
        expected.clone(),
    );
    check(
        User,
        json!({"userName": "a", format!("{ENTERPRISE_URN}:department"): "x", format!("{ENTERPRISE_URN}:manager"): {"value": "b"}}),
        expected.clone(),
    );
    check(
        User,
        json!({"userName": "a", "department": "y", ENTERPRISE_URN: {"department": "x", "manager": {"value": "b"}}}),
        expected,
    );
    check(
        User,
        json!({USER_URN: {"userName": "a"}, "title": "t"}),
        json!({"userName": "a", "title": "t"}),
    );
    check(
        User,
        json!({"userName": "a", "urn:ietf:params:scim:schemas:core:2.0:User:active": false}),
        json!({"userName": "a", "active": false}),
    );
    for missing in [
        json!({}),
        json!({"userName": null}),
        json!({"userName": ""}),
        json!({"userName": "a\u{0}b"}),
        json!({"userName": "a\nb"}),
        json!({"userName": " "}),
        json!({"userName": 5}),
        json!({"userName": []}),
    ] {
        check(User, missing, json!("invalidValue"));
    }
    for wrong in [
        json!({"userName": "a", "active": "yes"}),
        json!({"userName": "a", "active": 2}),
        json!({"userName": "a", "emails": "x"}),
        json!({"userName": "a", "emails": [5]}),
        json!({"userName": "a", "name": "x"}),
        json!({"userName": "a", "externalId": 5}),
        json!({"userName": "a", ENTERPRISE_URN: "x"}),
        json!({"userName": "a", ENTERPRISE_URN: {"department": 5}}),
        json!({"userName": "a", "emails": [{"value": "x", "primary": true}, {"value": "y", "primary": true}]}),
    ] {
        check(User, wrong, json!("invalidValue"));
    }
    check(User, json!([]), json!("invalidSyntax"));
    check(User, json!({"schemas": "x", "userName": "a"}), json!("invalidSyntax"));
    check(User, json!({"schemas": [GROUP_URN], "userName": "a"}), json!("invalidSyntax"));
    check(Group, json!({"schemas": [USER_URN], "displayName": "a"}), json!("invalidSyntax"));
    check(
        Group,
        json!({"displayName": "x", "externalId": "1", "members": [{"value": "u"}]}),
        json!({"displayName": "x", "externalId": "1"}),
    );
    check(Group, json!({"userName": "x"}), json!("invalidValue"));
    // What the other kind keeps apart, or nowhere, is not kept here either.
    check(
        Group,
        json!({"displayName": "x", "Groups": [1], "PASSWORD": "x"}),
        json!({"displayName": "x"}),
    );
    check(User, json!({"userName": "a", "members": [1]}), json!({"userName": "a"}));
    check(Group, json!({"displayName": "x", "members": [5]}), json!("invalidValue"));
}

#[test]
fn members_of_a_body() {
    let of = |body: Value| create(ResourceKind::Group, &body, &Seen::default()).unwrap().members;
    assert_eq!(of(json!({"displayName": "x"})), None);
    assert_eq!(of(json!({"displayName": "x", "members": null})), Some(vec![]));
    assert_eq!(of(json!({"displayName": "x", "members": []})), Some(vec![]));
    let twice = json!({"displayName": "x", "Members": [{"value": "b"}, {"value": "a", "$ref": null}, {"value": "b"}]});
    assert_eq!(of(twice), Some(vec!["b".to_owned(), "a".to_owned()]));
}

#[test]
fn schemas_say_what_is_used() {
    let of = |kind, body: Value| create(kind, &body, &Seen::default()).unwrap().attributes["schemas"].clone();
    assert_eq!(of(ResourceKind::User, json!({"userName": "a"})), json!([USER_URN]));
    assert_eq!(
        of(
            ResourceKind::User,
            json!({"schemas": [ENTERPRISE_URN], "userName": "a", "department": "x"})
        ),
        json!([USER_URN, ENTERPRISE_URN])
    );
    let foreign =
        json!({"schemas": [GROUP_URN, "http://schemas.microsoft.com/2006/11/ResourceManagement/ADSCIM/2.0/Group"], "displayName": "x"});
    assert_eq!(of(ResourceKind::Group, foreign), json!([GROUP_URN]));
}

#[test]
fn put_disables_nobody_by_omission() {
    let current = json!({"userName": "a", "active": false, "title": "t"}).as_object().unwrap().clone();
    let put = |body: Value| replace(ResourceKind::User, &current, &body).unwrap().attributes;
    assert_eq!(put(json!({"userName": "a"})).get("active"), Some(&json!(false)));
    assert_eq!(put(json!({"userName": "a", "active": null})).get("active"), Some(&json!(false)));
    assert_eq!(put(json!({"userName": "a", "active": true})).get("active"), Some(&json!(true)));
    assert_eq!(put(json!({"userName": "a"})).get("title"), None);
    let never = json!({"userName": "a"}).as_object().unwrap().clone();
    assert_eq!(
        replace(ResourceKind::User, &never, &json!({"userName": "a"}))
            .unwrap()
            .attributes
            .get("active"),
        None
    );
}

fn rendered() -> Map<String, Value> {
    let body = json!({
        "userName": "a", "name": {"givenName": "A", "familyName": "B"}, "emails": [{"value": "x", "type": "work"}, {"type": "home"}],
        "department": "d", "manager": "m", "urn:example:2.0:User": {"badge": 1, "level": 2}, "costCode": 3
    });
    let mut resource = create(ResourceKind::User, &body, &Seen::default()).unwrap().attributes;
    resource.shift_insert(1, "id".into(), "1".into());
    resource.insert(
        "meta".into(),
        json!({"resourceType": "User", "created": "2026-01-01T00:00:00Z", "location": "https://x/Users/1"}),
    );
    resource
}

#[test]
fn projections() {
    let badge = "urn:example:2.0:User";
    let check = |attributes: Option<&str>, excluded: Option<&str>, expected: Value| {
        let projection = Projection::parse(ResourceKind::User, attributes, excluded).unwrap();
        let mut got = projection.apply(ResourceKind::User, rendered());
        assert!(
            got.shift_remove("schemas").is_some() && got.shift_remove("id").is_some(),
            "{attributes:?} {excluded:?}"
        );
        match attributes {
            Some(_) => assert_eq!(Value::Object(got), expected, "{attributes:?}"),
            None => {
                let mut all = rendered();
                all.retain(|key, _| got.contains_key(key) || ["schemas", "id"].contains(&key.as_str()));
                got.retain(|key, value| all[key] != *value);
                let mut gone: Vec<String> = rendered().keys().filter(|key| !all.contains_key(*key)).cloned().collect();
                gone.sort();
                assert_eq!(json!({"gone": gone, "changed": got}), expected, "{excluded:?}");
            }
        }
    };
    check(Some("username"), None, json!({"userName": "a"}));
    check(Some("id"), None, json!({}));
    check(Some("nope, id,,"), None, json!({}));
    check(
        Some("userName,name.givenName"),
        None,
        json!({"userName": "a", "name": {"givenName": "A"}}),
    );
    check(Some("emails.value"), None, json!({"emails": [{"value": "x"}]}));
    check(
        Some("emails.value,emails.TYPE"),
        None,
        json!({"emails": [{"value": "x", "type": "work"}, {"type": "home"}]}),
    );
    check(
        Some("emails,emails.value"),
        None,
        json!({"emails": [{"value": "x", "type": "work"}, {"type": "home"}]}),
    );
    check(
        Some("urn:ietf:params:scim:schemas:core:2.0:User:userName"),
        None,
        json!({"userName": "a"}),
    );
    check(Some("department"), None, json!({ENTERPRISE_URN: {"department": "d"}}));
    check(
        Some(&format!("{ENTERPRISE_URN}:manager.value")),
        None,
        json!({ENTERPRISE_URN: {"manager": {"value": "m"}}}),
    );
    check(
        Some(&ENTERPRISE_URN.to_lowercase()),
        None,
        json!({ENTERPRISE_URN: {"department": "d", "manager": {"value": "m"}}}),
    );
    check(Some(badge), None, json!({badge: {"badge": 1, "level": 2}}));
    check(Some(&format!("{badge}:level")), None, json!({badge: {"level": 2}}));
    check(
        Some("costCode,meta.location"),
        None,
        json!({"costCode": 3, "meta": {"location": "https://x/Users/1"}}),
    );
    check(None, Some("id,schemas,userName"), json!({"gone": ["userName"], "changed": {}}));
    check(None, Some("members"), json!({"gone": [], "changed": {}}));
    check(
        None,
        Some("name.givenName,name.familyName"),
        json!({"gone": ["name"], "changed": {}}),
    );
    check(
        None,
        Some("emails.value"),
        json!({"gone": [], "changed": {"emails": [{"type": "work"}, {"type": "home"}]}}),
    );
    check(
        None,
        Some(&format!("{ENTERPRISE_URN}:manager")),
        json!({"gone": [], "changed": {ENTERPRISE_URN: {"department": "d"}}}),
    );
    let mut gone = ["costCode", badge, ENTERPRISE_URN, "meta"];
    gone.sort();
    check(
        None,
        Some(&format!("{ENTERPRISE_URN},{badge},meta,costcode")),
        json!({"gone": gone, "changed": {}}),
    );
    let wants = |attributes, excluded, name| Projection::parse(ResourceKind::Group, attributes, excluded).unwrap().wants(name);
    assert!(
        wants(None, None, "members") && wants(Some("members.value"), None, "members") && wants(None, Some("members.display"), "members")
    );
    assert!(!wants(Some("displayName"), None, "members") && !wants(None, Some("Members"), "members"));
    assert!(Projection::parse(ResourceKind::User, Some("id"), Some("name")).is_err());
    assert!(Projection::parse(ResourceKind::User, Some(&"x,".repeat(1000)), None).is_err());
}
