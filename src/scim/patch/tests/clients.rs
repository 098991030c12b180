//! PATCH of a user, as Entra, Okta and others send it.

use serde_json::json;

use super::{ENTERPRISE, user};

#[test]
fn entra() {
    user(
        json!({}),
        json!([{"op": "Replace", "path": "displayName", "value": "Joy Y."}, {"op": "Add", "path": "title", "value": "Engineer"}]),
        json!({"displayName": "Joy Y.", "title": "Engineer"}),
    );
    let work = json!({"emails": [{"type": "work", "value": "a", "primary": true}]});
    let set = json!({"emails": [{"type": "work", "value": "b", "primary": true}]});
    user(
        work.clone(),
        json!([{"op": "Replace", "path": "emails[type eq \"work\"].value", "value": "b"}]),
        set.clone(),
    );
    user(
        work,
        json!([{"op": "Replace", "path": "emails[primary eq \"True\"].value", "value": "b"}]),
        set,
    );
    for op in ["Add", "Replace"] {
        user(
            json!({}),
            json!([{"op": op, "path": "phoneNumbers[type eq \"mobile\"].value", "value": "+49"}]),
            json!({"phoneNumbers": [{"type": "mobile", "value": "+49"}]}),
        );
        user(
            json!({}),
            json!([
                {"op": op, "path": "addresses[type eq \"work\"].formatted", "value": "1 Main St"},
                {"op": op, "path": "addresses[type eq \"work\"].locality", "value": "Berlin"},
                {"op": op, "path": "addresses[type eq \"work\"].region", "value": "BE"}
            ]),
            json!({"addresses": [{"type": "work", "formatted": "1 Main St", "locality": "Berlin", "region": "BE"}]}),
        );
    }
    user(
        json!({}),
        json!([{"op": "Add", "path": "emails[type eq \"work\" and primary eq \"true\"].value", "value": "a"}]),
        json!({"emails": [{"type": "work", "primary": true, "value": "a"}]}),
    );
    user(
        json!({}),
        json!([{"op": "Add", "path": format!("{ENTERPRISE}:department"), "value": "Payments"}]),
        json!({ENTERPRISE: {"department": "Payments"}}),
    );
    user(
        json!({}),
        json!([{"op": "Replace", "path": "urn:ietf:params:scim:schemas:core:2.0:User:title", "value": "Lead"}]),
        json!({"title": "Lead"}),
    );
    user(
        json!({ENTERPRISE: {"department": "Payments"}}),
        json!([{"op": "replace", "value": {
            "displayName": "Bjfe", "name.givenName": "Kkom", "name.familyName": "Unua", format!("{ENTERPRISE}:employeeNumber"): "701984",
            "emails[type eq \"work\"].value": "x"
        }}]),
        json!({
            ENTERPRISE: {"department": "Payments", "employeeNumber": "701984"}, "displayName": "Bjfe",
            "name": {"givenName": "Kkom", "familyName": "Unua"}, "emails": [{"type": "work", "value": "x"}]
        }),
    );
    user(json!({}), json!([]), json!({}));
    user(
        json!({}),
        json!([{"op": "Add", "path": "roles", "value": [{"value": "{\"id\":\"827f0d2e\",\"value\":\"Admin\",\"displayName\":\"Admin\"}"}]}]),
        json!({"roles": [{"value": "Admin", "id": "827f0d2e", "display": "Admin"}]}),
    );
    user(
        json!({}),
        json!([{"op": "Add", "path": "roles[primary eq \"True\"].value", "value": "{\"value\":\"Admin\"}"}]),
        json!({"roles": [{"primary": true, "value": "Admin"}]}),
    );
}

#[test]
fn managers() {
    let boss = json!({ENTERPRISE: {"manager": {"value": "boss"}}});
    let path = format!("{ENTERPRISE}:manager");
    for value in [
        json!("boss"),
        json!({"value": "boss"}),
        json!([{"value": "boss"}]),
        json!({"value": "boss", "displayName": "x"}),
    ] {
        for path in [path.as_str(), "manager"] {
            for op in ["Add", "Replace"] {
                user(json!({}), json!([{"op": op, "path": path, "value": value}]), boss.clone());
            }
        }
        user(json!({}), json!([{"op": "replace", "value": {path.clone(): value}}]), boss.clone());
        user(
            json!({}),
            json!([{"op": "replace", "value": {ENTERPRISE: {"manager": value}}}]),
            boss.clone(),
        );
        user(
            json!({}),
            json!([{"op": "add", "path": ENTERPRISE, "value": {"manager": value}}]),
            boss.clone(),
        );
    }
    for ops in [
        json!([{"op": "Remove", "path": path}]),
        json!([{"op": "Remove", "path": "manager"}]),
        json!([{"op": "Remove", "path": ENTERPRISE}]),
        json!([{"op": "Replace", "path": path, "value": ""}]),
        json!([{"op": "Replace", "path": path, "value": null}]),
        json!([{"op": "Replace", "path": path, "value": []}]),
        json!([{"op": "replace", "value": {ENTERPRISE: {"manager": null}}}]),
        json!([{"op": "replace", "value": {ENTERPRISE: null}}]),
        json!([{"op": "remove", "path": format!("{path}.value")}]),
    ] {
        user(boss.clone(), ops, json!({}));
    }
    user(
        boss.clone(),
        json!([{"op": "replace", "path": format!("{path}.displayName"), "value": "x"}]),
        json!("mutability"),
    );
    user(
        boss,
        json!([{"op": "replace", "path": format!("{ENTERPRISE}:nope"), "value": "x"}]),
        json!("invalidPath"),
    );
}

#[test]
fn read_only_and_password() {
    for ops in [
        json!([{"op": "replace", "value": {"id": "id-1"}}]),
        json!([{"op": "replace", "path": "id", "value": "id-1"}]),
        json!([{"op": "replace", "value": {"id": null, "meta": {"resourceType": "User"}, "schemas": ["urn:x"], "groups": []}}]),
        json!([{"op": "replace", "value": {"password": "s3cr3t"}}]),
        json!([{"op": "add", "path": "password", "value": "s3cr3t"}]),
        json!([{"op": "remove", "path": "password"}]),
        json!([{"op": "replace", "value": {"urn:ietf:params:scim:schemas:core:2.0:User": {"password": "s3cr3t"}}}]),
    ] {
        user(json!({}), ops, json!({}));
    }
    for ops in [
        json!([{"op": "replace", "value": {"id": "other"}}]),
        json!([{"op": "remove", "path": "id"}]),
        json!([{"op": "replace", "path": "meta.created", "value": "2026-01-01T00:00:00Z"}]),
        json!([{"op": "add", "path": "groups", "value": [{"value": "g1"}]}]),
        json!([{"op": "remove", "path": "groups"}]),
        json!([{"op": "remove", "path": "groups[value eq \"g1\"]"}]),
        json!([{"op": "replace", "value": {"groups": [{"value": "g1"}]}}]),
        json!([{"op": "replace", "path": "schemas", "value": []}]),
    ] {
        user(json!({}), ops, json!("mutability"));
    }
}

#[test]
fn extensions_that_nobody_declared() {
    let badge = "urn:example:2.0:User";
    let gold = json!({badge: {"level": "gold", "numbers": [1]}});
    user(
        json!({}),
        json!([{"op": "add", "value": {badge: {"level": "gold", "numbers": [1], "x": null}}}]),
        gold.clone(),
    );
    user(
        json!({}),
        json!([{"op": "add", "path": badge, "value": {"level": "gold", "numbers": [1]}}]),
        gold.clone(),
    );
    user(
        gold.clone(),
        json!([{"op": "replace", "path": format!("{badge}:level"), "value": "tin"}]),
        json!({badge: {"level": "tin", "numbers": [1]}}),
    );
    user(
        gold.clone(),
        json!([{"op": "replace", "path": "URN:example:2.0:user:LEVEL", "value": "tin"}]),
        json!({badge: {"level": "tin", "numbers": [1]}}),
    );
    user(
        gold.clone(),
        json!([{"op": "add", "path": format!("{badge}:numbers"), "value": [1, 2]}]),
        json!({badge: {"level": "gold", "numbers": [1, 2]}}),
    );
    user(
        gold.clone(),
        json!([{"op": "remove", "path": format!("{badge}:numbers"), "value": [1]}]),
        json!({badge: {"level": "gold"}}),
    );
    user(gold.clone(), json!([{"op": "remove", "path": badge}]), json!({}));
    user(
        gold.clone(),
        json!([{"op": "replace", "value": {badge: {"level": null}}}]),
        json!({badge: {"numbers": [1]}}),
    );
    user(
        gold.clone(),
        json!([{"op": "remove", "path": format!("{badge}:level")}, {"op": "remove", "path": format!("{badge}:numbers")}]),
        json!({}),
    );
    user(
        gold,
        json!([{"op": "remove", "path": format!("{badge}:nope")}]),
        json!({badge: {"level": "gold", "numbers": [1]}}),
    );
    // What a POST kept without any schema can be changed.
    user(
        json!({"costCode": "1"}),
        json!([{"op": "replace", "path": "costcode", "value": "2"}]),
        json!({"costCode": "2"}),
    );
    user(json!({"costCode": "1"}), json!([{"op": "remove", "path": "costCode"}]), json!({}));
    user(
        json!({}),
        json!([{"op": "add", "value": {"costCode": "1", "x": null}}]),
        json!({"costCode": "1"}),
    );
    user(json!({}), json!([{"op": "add", "value": {"cost code": "1"}}]), json!("invalidPath"));
}
