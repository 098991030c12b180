//! Tests of PATCH: what the RFC says, what Entra and Okta send, and failures of other servers.

mod clients;
mod groups;
mod random;
mod users;

use std::collections::BTreeSet;

use serde_json::json;

use super::*;
use crate::scim::Filter;

const ENTERPRISE: &str = schema::ENTERPRISE_URN;

/// A group's members; ids starting with "u" or "g" exist.
#[derive(Clone, Debug, Default, PartialEq)]
struct Set(BTreeSet<String>);

impl Members for Set {
    fn add(&mut self, id: &str) -> Result<(), ScimError> {
        if !id.starts_with(['u', 'g']) {
            return Err(ScimError::unknown_member(id));
        }
        self.0.insert(id.to_owned());
        Ok(())
    }

    fn remove(&mut self, id: &str) {
        self.0.remove(id);
    }

    fn clear(&mut self) {
        self.0.clear();
    }

    fn contains(&self, id: &str) -> bool {
        self.0.contains(id)
    }

    fn remove_where(&mut self, filter: &Filter) -> Result<(), ScimError> {
        let matcher = filter.compile_element(schema::find(ResourceKind::Group, "members"))?;
        let kind = |id: &str| if id.starts_with('g') { "Group" } else { "User" };
        self.0
            .retain(|id| !matcher.matches_element(&json!({"value": id, "type": kind(id)})));
        Ok(())
    }
}

fn patch(kind: ResourceKind, before: &Value, ops: Value, members: &mut Set) -> Result<Value, ScimError> {
    let body = json!({"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"], "Operations": ops});
    let mut before = before.as_object().unwrap().clone();
    resource::finish(kind, &mut before)?;
    let mut after = apply(
        kind,
        "id-1",
        &before,
        &parse_ops(&body, &Seen::default())?,
        members,
        &Seen::default(),
    )?;
    after.remove("schemas");
    Ok(Value::Object(after))
}

/// Applies the operations to a user named ada with these attributes; a string expected is the error's keyword.
fn user(before: Value, ops: Value, expected: Value) {
    let with_name = |mut value: Value| {
        value.as_object_mut().unwrap().entry("userName").or_insert(json!("ada"));
        value
    };
    match (
        patch(ResourceKind::User, &with_name(before.clone()), ops.clone(), &mut Set::default()),
        expected,
    ) {
        (Ok(after), expected @ Value::Object(_)) => assert_eq!(after, with_name(expected), "{before} {ops}"),
        (Err(error), Value::String(scim_type)) => assert_eq!(
            (error.status, error.scim_type.unwrap()),
            (400, scim_type.as_str()),
            "{ops}: {error}"
        ),
        (got, expected) => panic!("{before} {ops}: {got:?}, expected {expected}"),
    }
}

/// Applies the operations to the members u1, u2 and g1; expects members, or the error's keyword.
fn members(ops: Value, expected: Value) {
    let mut set = Set(["u1", "u2", "g1"].into_iter().map(str::to_owned).collect());
    match (
        patch(ResourceKind::Group, &json!({"displayName": "x"}), ops.clone(), &mut set),
        expected,
    ) {
        (Ok(after), expected @ Value::Array(_)) => {
            assert_eq!(json!(set.0), expected, "{ops}");
            assert!(after.get("members").is_none(), "{ops}");
        }
        (Err(error), Value::String(scim_type)) => assert_eq!(
            (error.status, error.scim_type.unwrap()),
            (400, scim_type.as_str()),
            "{ops}: {error}"
        ),
        (got, expected) => panic!("{ops}: {got:?}, expected {expected}"),
    }
}

#[test]
fn envelope() {
    let keyword = |body: Value| {
        parse_ops(&body, &Seen::default())
            .map(|ops| ops.len())
            .map_err(|error| (error.status, error.scim_type.unwrap_or("")))
    };
    assert_eq!(keyword(json!({"Operations": []})), Ok(0));
    assert_eq!(keyword(json!({"operations": [{"OP": "aDD", "path": "title", "value": 1}]})), Ok(1));
    assert_eq!(keyword(json!([])), Err((400, "invalidSyntax")));
    assert_eq!(keyword(json!({})), Err((400, "invalidSyntax")));
    assert_eq!(keyword(json!({"Operations": {}})), Err((400, "invalidSyntax")));
    assert_eq!(keyword(json!({"Operations": [1]})), Err((400, "invalidSyntax")));
    assert_eq!(keyword(json!({"Operations": [{"path": "title"}]})), Err((400, "invalidSyntax")));
    assert_eq!(
        keyword(json!({"Operations": [{"op": "move", "path": "title"}]})),
        Err((400, "invalidSyntax"))
    );
    assert_eq!(keyword(json!({"Operations": [{"op": "remove"}]})), Err((400, "noTarget")));
    assert_eq!(
        keyword(json!({"Operations": [{"op": "add", "path": "title"}]})),
        Err((400, "invalidValue"))
    );
    assert_eq!(
        keyword(json!({"Operations": [{"op": "add", "path": 5, "value": 1}]})),
        Err((400, "invalidPath"))
    );
    assert_eq!(
        keyword(json!({"Operations": [{"op": "add", "path": "a b", "value": 1}]})),
        Err((400, "invalidPath"))
    );
    assert_eq!(
        keyword(json!({"Operations": [{"op": "add", "path": "a[b xx 1]", "value": 1}]})),
        Err((400, "invalidFilter"))
    );
    let many = vec![json!({"op": "add", "path": "title", "value": "x"}); MAX_OPERATIONS + 1];
    assert_eq!(keyword(json!({"Operations": many})), Err((413, "")));
}

#[test]
fn schemas_say_what_is_used() {
    let run = |before: Value, ops: Value| {
        let before = before.as_object().unwrap().clone();
        let ops = parse_ops(&json!({"Operations": ops}), &Seen::default()).unwrap();
        apply(ResourceKind::User, "id-1", &before, &ops, &mut Set::default(), &Seen::default()).unwrap()["schemas"].clone()
    };
    let before = json!({"schemas": [schema::USER_URN], "userName": "a"});
    assert_eq!(
        run(before.clone(), json!([{"op": "add", "path": "department", "value": "x"}])),
        json!([schema::USER_URN, ENTERPRISE])
    );
    assert_eq!(
        run(before.clone(), json!([{"op": "add", "value": {"urn:x:y": {"a": 1}}}])),
        json!([schema::USER_URN])
    );
    assert_eq!(
        run(
            before,
            json!([{"op": "add", "path": "department", "value": "x"}, {"op": "remove", "path": "department"}])
        ),
        json!([schema::USER_URN])
    );
}

#[test]
fn nothing_is_half_applied() {
    let before = json!({"title": "a", "userName": "ada"});
    let error = patch(
        ResourceKind::User,
        &before,
        json!([{"op": "replace", "path": "title", "value": "b"}, {"op": "replace", "path": "active", "value": "maybe"}]),
        &mut Set::default(),
    );
    assert!(error.unwrap_err().detail.starts_with("Operations[1]: active"));
}

#[test]
fn what_may_disable() {
    for (body, expected) in [
        (json!({"active": false}), true),
        (json!({"active": "no"}), true),
        (json!({"Active": null}), true),
        (json!({"active": true}), false),
        (json!({"userName": "active"}), false),
        (json!({"Operations": [{"op": "replace", "path": "active", "value": "maybe"}]}), true),
        (
            json!({"Operations": [{"op": "disable", "path": "urn:ietf:params:scim:schemas:core:2.0:User:active"}]}),
            true,
        ),
        (json!({"Operations": [{"op": "Replace", "path": "active", "value": "True"}]}), false),
        (json!({"Operations": [{"op": "replace", "value": {"active": 0}}]}), true),
        (
            json!({"Operations": [{"op": "replace", "path": "title", "value": "active"}]}),
            false,
        ),
    ] {
        assert_eq!(Active::of(&body) == Active::MayDisable, expected, "{body}");
    }
    assert_eq!(Active::of(&json!({"active": true})), Active::Enables);
    assert_eq!(
        Active::of(&json!({"Operations": [{"op": "Replace", "path": "active", "value": "True"}]})),
        Active::Enables
    );
    assert_eq!(Active::of(&json!({"title": "active"})), Active::Unsaid);
}
