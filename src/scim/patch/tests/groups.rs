//! PATCH of a group and its members.

use serde_json::json;

use super::*;

#[test]
fn group_members() {
    let all = json!(["g1", "u1", "u2"]);
    members(
        json!([{"op": "Add", "path": "members", "value": [{"$ref": null, "value": "u3"}]}]),
        json!(["g1", "u1", "u2", "u3"]),
    );
    members(
        json!([{"op": "add", "path": "members", "value": [{"value": "u1", "display": "x"}]}]),
        all.clone(),
    );
    members(
        json!([{"op": "add", "path": "members", "value": {"value": "u3"}}]),
        json!(["g1", "u1", "u2", "u3"]),
    );
    members(
        json!([{"op": "add", "path": "urn:ietf:params:scim:schemas:core:2.0:Group:members", "value": ["u3"]}]),
        json!(["g1", "u1", "u2", "u3"]),
    );
    members(
        json!([{"op": "add", "value": {"members": [{"value": "u3"}]}}]),
        json!(["g1", "u1", "u2", "u3"]),
    );
    // A removal that lists values removes those values only.
    members(
        json!([{"op": "Remove", "path": "members", "value": [{"$ref": null, "value": "u1"}]}]),
        json!(["g1", "u2"]),
    );
    members(json!([{"op": "Remove", "path": "members", "value": []}]), all.clone());
    members(
        json!([{"op": "Remove", "path": "members", "value": [{"value": "u9"}]}]),
        all.clone(),
    );
    members(
        json!([{"op": "Remove", "path": "members", "value": [{"display": "u1"}]}]),
        json!("invalidValue"),
    );
    members(json!([{"op": "remove", "path": "members[value eq \"u1\"]"}]), json!(["g1", "u2"]));
    members(
        json!([{"op": "remove", "path": "members[value eq \"u1\" or value eq \"u2\"]"}]),
        json!(["g1"]),
    );
    members(json!([{"op": "remove", "path": "members[value eq \"u9\"]"}]), all.clone());
    members(json!([{"op": "remove", "path": "members[type eq \"Group\"]"}]), json!(["u1", "u2"]));
    members(json!([{"op": "remove", "path": "members[nope eq \"x\"]"}]), json!("invalidFilter"));
    members(json!([{"op": "remove", "path": "members"}]), json!([]));
    // Okta.
    members(
        json!([{"op": "remove", "path": "members[value eq \"u1\"]"}, {"op": "add", "path": "members", "value": [{"value": "u2", "display": "b"}]}]),
        json!(["g1", "u2"]),
    );
    members(
        json!([{"op": "replace", "path": "members", "value": [{"value": "u3"}, {"value": "u1"}]}]),
        json!(["u1", "u3"]),
    );
    members(json!([{"op": "replace", "value": {"members": [{"value": "u1"}]}}]), json!(["u1"]));
    members(json!([{"op": "replace", "path": "members", "value": []}]), json!([]));
    members(json!([{"op": "replace", "path": "members", "value": null}]), json!([]));
    // A rename, alone, and as Okta and authentik send it.
    members(json!([{"op": "replace", "value": {"id": "id-1", "displayName": "y"}}]), all.clone());
    members(json!([{"op": "Replace", "path": "displayName", "value": "y"}]), all.clone());
    members(
        json!([{"op": "replace", "value": {"id": "id-1", "displayName": "x"}}, {"op": "add", "path": "members", "value": [{"value": "u3"}]}]),
        json!(["g1", "u1", "u2", "u3"]),
    );
    members(
        json!([{"op": "replace", "path": "displayName", "value": ""}]),
        json!("invalidValue"),
    );
    members(json!([{"op": "remove", "path": "displayName"}]), json!("mutability"));
    for unknown in [
        json!([{"value": "00000000-dead"}]),
        json!([{"value": "u3"}, {"value": "00000000-dead"}]),
    ] {
        members(json!([{"op": "Add", "path": "members", "value": unknown}]), json!("invalidValue"));
    }
    for bad in [
        json!([5]),
        json!([{}]),
        json!([{"value": null}]),
        json!([{"value": ""}]),
        json!(true),
    ] {
        members(json!([{"op": "add", "path": "members", "value": bad}]), json!("invalidValue"));
        members(json!([{"op": "replace", "path": "members", "value": bad}]), json!("invalidValue"));
    }
    members(
        json!([{"op": "replace", "path": "members[value eq \"u1\"].display", "value": "x"}]),
        json!("mutability"),
    );
    members(
        json!([{"op": "replace", "path": "members[value eq \"u1\"].value", "value": "u3"}]),
        json!("mutability"),
    );
    members(
        json!([{"op": "replace", "path": "members[value eq \"u1\"]", "value": {"value": "u3"}}]),
        json!("mutability"),
    );
    members(
        json!([{"op": "add", "path": "members[value eq \"u1\"]", "value": {"value": "u1"}}]),
        all,
    );
    members(json!([{"op": "add", "path": "members.display", "value": "x"}]), json!("mutability"));
    // A user has none.
    user(
        json!({}),
        json!([{"op": "add", "path": "members", "value": [{"value": "u1"}]}]),
        json!("invalidPath"),
    );
}

#[test]
fn an_unknown_member_is_named() {
    let ops = json!([{"op": "add", "path": "members", "value": [{"value": "00000000-dead"}]}]);
    let error = patch(ResourceKind::Group, &json!({"displayName": "x"}), ops, &mut Set::default()).unwrap_err();
    assert!(error.detail.contains("00000000-dead"), "{error}");
}
