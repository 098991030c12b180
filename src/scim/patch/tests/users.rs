//! PATCH of a user, as the RFC has it.

use serde_json::{Value, json};

use super::user;

#[test]
fn simple_attributes() {
    user(
        json!({}),
        json!([{"op": "add", "path": "title", "value": "x"}]),
        json!({"title": "x"}),
    );
    user(
        json!({"title": "a"}),
        json!([{"op": "replace", "path": "TITLE", "value": "b"}]),
        json!({"title": "b"}),
    );
    user(json!({"title": "a"}), json!([{"op": "remove", "path": "title"}]), json!({}));
    user(
        json!({"title": "a"}),
        json!([{"op": "remove", "path": "title", "value": "b"}]),
        json!({}),
    );
    user(
        json!({"title": "a"}),
        json!([{"op": "replace", "path": "title", "value": null}]),
        json!({}),
    );
    user(json!({}), json!([{"op": "remove", "path": "title"}]), json!({}));
    user(
        json!({}),
        json!([{"op": "add", "path": "title", "value": 5}]),
        json!("invalidValue"),
    );
    user(
        json!({}),
        json!([{"op": "replace", "path": "userName", "value": "b"}]),
        json!({"userName": "b"}),
    );
    user(json!({}), json!([{"op": "remove", "path": "userName"}]), json!("mutability"));
    for empty in [json!(null), json!(""), json!("  "), json!([]), json!(5)] {
        user(
            json!({}),
            json!([{"op": "replace", "path": "userName", "value": empty}]),
            json!("invalidValue"),
        );
        user(
            json!({}),
            json!([{"op": "replace", "value": {"userName": empty}}]),
            json!("invalidValue"),
        );
    }
    user(
        json!({}),
        json!([{"op": "add", "path": "nope", "value": "x"}]),
        json!("invalidPath"),
    );
    user(json!({}), json!([{"op": "remove", "path": "nope"}]), json!("invalidPath"));
    user(
        json!({}),
        json!([{"op": "add", "path": "name.nope", "value": "x"}]),
        json!("invalidPath"),
    );
    user(
        json!({}),
        json!([{"op": "add", "path": "title.x", "value": "x"}]),
        json!("invalidPath"),
    );
    user(
        json!({}),
        json!([{"op": "add", "path": "title[value eq \"x\"]", "value": "x"}]),
        json!("invalidPath"),
    );
    user(
        json!({}),
        json!([{"op": "add", "path": "emails[nope eq \"x\"]", "value": "x"}]),
        json!("invalidFilter"),
    );
}

#[test]
fn booleans() {
    for (sent, expected) in [
        (json!("False"), false),
        (json!("false"), false),
        (json!(false), false),
        (json!("TRUE"), true),
        (json!(true), true),
    ] {
        user(
            json!({"active": !expected}),
            json!([{"op": "Replace", "path": "active", "value": sent}]),
            json!({"active": expected}),
        );
        user(
            json!({"active": !expected}),
            json!([{"op": "add", "value": {"active": sent}}]),
            json!({"active": expected}),
        );
        let path = "urn:ietf:params:scim:schemas:core:2.0:User:active";
        user(
            json!({"active": !expected}),
            json!([{"op": "replace", "path": path, "value": sent}]),
            json!({"active": expected}),
        );
        user(
            json!({"active": !expected}),
            json!([{"op": "replace", "value": {path: sent}}]),
            json!({"active": expected}),
        );
    }
    for bad in [json!("yes"), json!("no"), json!("2"), json!(-1), json!(""), json!([true])] {
        user(
            json!({"active": true}),
            json!([{"op": "replace", "path": "active", "value": bad}]),
            json!("invalidValue"),
        );
    }
}

#[test]
fn complex_attributes() {
    let ada = json!({"name": {"givenName": "Ada", "familyName": "Byron"}});
    user(
        ada.clone(),
        json!([{"op": "replace", "path": "name.familyName", "value": "L"}]),
        json!({"name": {"givenName": "Ada", "familyName": "L"}}),
    );
    // The parts that are not given stay.
    for op in ["add", "replace"] {
        user(
            ada.clone(),
            json!([{"op": op, "path": "name", "value": {"familyName": "L"}}]),
            json!({"name": {"givenName": "Ada", "familyName": "L"}}),
        );
        user(
            ada.clone(),
            json!([{"op": op, "value": {"name": {"familyName": "L"}}}]),
            json!({"name": {"givenName": "Ada", "familyName": "L"}}),
        );
    }
    user(
        ada.clone(),
        json!([{"op": "replace", "path": "name", "value": {"familyName": null}}]),
        json!({"name": {"givenName": "Ada"}}),
    );
    user(
        ada.clone(),
        json!([{"op": "replace", "path": "name", "value": {"familyName": null, "givenName": null}}]),
        json!({}),
    );
    user(ada.clone(), json!([{"op": "replace", "path": "name", "value": null}]), json!({}));
    user(
        ada.clone(),
        json!([{"op": "remove", "path": "name.givenName"}]),
        json!({"name": {"familyName": "Byron"}}),
    );
    user(
        ada.clone(),
        json!([{"op": "remove", "path": "name.givenName"}, {"op": "remove", "path": "name.familyName"}]),
        json!({}),
    );
    user(
        json!({}),
        json!([{"op": "add", "path": "name.givenName", "value": "Ada"}]),
        json!({"name": {"givenName": "Ada"}}),
    );
    user(
        ada,
        json!([{"op": "replace", "path": "name", "value": "Ada"}]),
        json!("invalidValue"),
    );
}

#[test]
fn lists() {
    let mails = json!({"emails": [{"value": "a", "type": "work", "primary": true}, {"value": "b", "type": "home"}]});
    let add = |value: Value| json!([{"op": "add", "path": "emails", "value": value}]);
    user(json!({}), add(json!([{"value": "a"}])), json!({"emails": [{"value": "a"}]}));
    user(json!({}), add(json!({"value": "a"})), json!({"emails": [{"value": "a"}]}));
    user(json!({}), add(json!("a")), json!("invalidValue"));
    // What is there already is there once.
    user(
        mails.clone(),
        add(json!([{"value": "B", "type": "HOME"}])),
        json!({"emails": [{"value": "a", "type": "work", "primary": true}, {"value": "B", "type": "HOME"}]}),
    );
    user(mails.clone(), add(json!([{"value": "a", "type": "work"}])), mails.clone());
    user(mails.clone(), add(json!([])), mails.clone());
    user(mails.clone(), add(json!(null)), mails.clone());
    // One primary.
    user(
        mails.clone(),
        add(json!([{"value": "c", "primary": "True"}])),
        json!({"emails": [{"value": "a", "type": "work", "primary": false}, {"value": "b", "type": "home"}, {"value": "c", "primary": true}]}),
    );
    user(
        mails.clone(),
        json!([{"op": "replace", "path": "emails[type eq \"home\"].primary", "value": true}]),
        json!({"emails": [{"value": "a", "type": "work", "primary": false}, {"value": "b", "type": "home", "primary": true}]}),
    );
    user(
        mails.clone(),
        add(json!([{"value": "c", "primary": true}, {"value": "d", "primary": true}])),
        json!("invalidValue"),
    );
    user(
        mails.clone(),
        json!([{"op": "replace", "path": "emails", "value": [{"value": "c"}]}]),
        json!({"emails": [{"value": "c"}]}),
    );
    user(mails.clone(), json!([{"op": "replace", "path": "emails", "value": []}]), json!({}));
    user(
        mails.clone(),
        json!([{"op": "replace", "path": "emails", "value": null}]),
        json!({}),
    );
    user(mails.clone(), json!([{"op": "remove", "path": "emails"}]), json!({}));
    let one = json!({"emails": [{"value": "a", "type": "work", "primary": true}]});
    user(
        mails.clone(),
        json!([{"op": "remove", "path": "emails[type eq \"home\"]"}]),
        one.clone(),
    );
    user(
        mails.clone(),
        json!([{"op": "remove", "path": "emails", "value": [{"value": "B"}]}]),
        one.clone(),
    );
    user(
        mails.clone(),
        json!([{"op": "remove", "path": "emails", "value": {"value": "b", "type": "home", "primary": false}}]),
        one.clone(),
    );
    user(mails.clone(), json!([{"op": "remove", "path": "emails", "value": ["b"]}]), one);
    user(
        mails.clone(),
        json!([{"op": "remove", "path": "emails", "value": []}]),
        mails.clone(),
    );
    user(
        mails.clone(),
        json!([{"op": "remove", "path": "emails", "value": [{"value": "b", "type": "work"}]}]),
        mails.clone(),
    );
    user(
        mails.clone(),
        json!([{"op": "remove", "path": "emails[type eq \"other\"]"}]),
        mails.clone(),
    );
    user(
        mails.clone(),
        json!([{"op": "remove", "path": "emails.type"}]),
        json!({"emails": [{"value": "a", "primary": true}, {"value": "b"}]}),
    );
    user(
        mails.clone(),
        json!([{"op": "remove", "path": "emails[type eq \"home\"].type"}]),
        json!({"emails": [{"value": "a", "type": "work", "primary": true}, {"value": "b"}]}),
    );
    user(
        mails.clone(),
        json!([{"op": "replace", "path": "emails[type eq \"work\"]", "value": {"value": "z"}}]),
        json!({"emails": [{"value": "z", "type": "work"}, {"value": "b", "type": "home"}]}),
    );
    user(
        mails.clone(),
        json!([{"op": "add", "path": "emails[type eq \"work\"]", "value": {"display": "z"}}]),
        json!({"emails": [{"value": "a", "type": "work", "primary": true, "display": "z"}, {"value": "b", "type": "home"}]}),
    );
    user(
        mails.clone(),
        json!([{"op": "replace", "path": "emails[type eq \"other\"]", "value": {"value": "z"}}]),
        json!("noTarget"),
    );
    user(
        mails.clone(),
        json!([{"op": "replace", "path": "emails[value eq \"z\"].type", "value": "work"}]),
        json!("noTarget"),
    );
    user(
        mails.clone(),
        json!([{"op": "replace", "path": "emails[type eq \"other\"].type", "value": "work"}]),
        json!("noTarget"),
    );
    user(
        mails.clone(),
        json!([{"op": "replace", "path": "emails[type ne \"work\" and type ne \"home\"].value", "value": "z"}]),
        json!("noTarget"),
    );
    user(
        mails,
        json!([{"op": "add", "path": "emails[type gt true].value", "value": "z"}]),
        json!("invalidFilter"),
    );
}

#[test]
fn a_list_has_bounds() {
    let mails: Vec<Value> = (0..1024).map(|i| json!({"value": i.to_string()})).collect();
    user(
        json!({"emails": mails}),
        json!([{"op": "add", "path": "emails", "value": [{"value": "x"}]}]),
        json!("invalidValue"),
    );
}

#[test]
fn ten_thousand_operations_on_a_long_list_are_quick() {
    let mails: Vec<Value> = (0..1024)
        .map(|i| json!({"value": format!("{i}@example.com"), "type": "work"}))
        .collect();
    let set = json!({"op": "add", "path": "emails[value eq \"1023@example.com\"].display", "value": "x"});
    let add = json!({"op": "add", "path": "emails", "value": [{"value": "1023@EXAMPLE.com", "type": "Work", "display": "y"}]});
    let ops: Vec<Value> = (0..5_000).flat_map(|_| [set.clone(), add.clone()]).collect();
    let start = std::time::Instant::now();
    let mut expected = mails.clone();
    expected[1023] = json!({"value": "1023@EXAMPLE.com", "type": "Work", "display": "y"});
    user(json!({"emails": mails}), json!(ops), json!({"emails": expected}));
    assert!(start.elapsed() < std::time::Duration::from_secs(120), "{:?}", start.elapsed());
}
