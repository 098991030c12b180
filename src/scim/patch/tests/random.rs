//! PATCH of anything by anything.

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn any_json() -> BoxedStrategy<Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        "[a-z ]{0,5}".prop_map(Value::from),
        Just(json!("{\"value\":\"x\"}")),
    ];
    let key = prop_oneof![
        Just("value".to_owned()),
        Just("type".to_owned()),
        Just("primary".to_owned()),
        Just("givenName".to_owned()),
        any_path()
    ];
    leaf.prop_recursive(3, 12, 3, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            proptest::collection::vec((key.clone(), inner), 0..3).prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    })
    .boxed()
}

fn any_path() -> impl Strategy<Value = String> {
    proptest::sample::select(vec![
        "title",
        "active",
        "name",
        "name.givenName",
        "emails",
        "emails.value",
        "emails[type eq \"work\"]",
        "emails[type eq \"work\"].value",
        "emails[primary eq \"True\"].primary",
        "manager",
        "roles",
        "roles[value co \"a\"].value",
        "members",
        "password",
        "members[value eq \"u1\"]",
        "displayName",
        "id",
        "groups",
        "schemas",
        "userName",
        "x509Certificates",
        "urn:x:y:z",
        "urn:x:y",
        "urn:x:y:z.a",
        "urn:x:y:z[a eq 1].b",
        "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User",
        "urn:ietf:params:scim:schemas:core:2.0:User",
        "unknown",
        "unknown.part",
        "unknown[value eq \"x\"].y",
    ])
    .prop_map(str::to_owned)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Whatever is sent: no panic; what comes out can be kept (no nulls, its required attribute, nothing read-only); doing it twice is doing it once.
    #[test]
    fn any_patch_gives_a_resource_or_an_error(
        ops in proptest::collection::vec((prop_oneof![Just("add"), Just("replace"), Just("remove")], proptest::option::of(any_path()), any_json()), 0..4),
        group in any::<bool>(),
    ) {
        let kind = if group { ResourceKind::Group } else { ResourceKind::User };
        let ops: Vec<Value> = ops.into_iter().map(|(op, path, value)| json!({"op": op, "path": path, "value": value})).collect();
        let mut before = json!({
            "userName": "ada", "displayName": "x", "unknown": [{"value": "x"}, 1],
            "emails": [{"value": "a", "type": "work", "primary": true}], "urn:x:y": {"z": [{"a": 1}]}
        });
        if group {
            before.as_object_mut().unwrap().remove("userName");
        }
        let mut before = before.as_object().unwrap().clone();
        resource::finish(kind, &mut before).unwrap();
        let Ok(ops) = parse_ops(&json!({"Operations": ops}), &Seen::default()) else { return Ok(()) };
        if let Ok(after) = apply(kind, "id-1", &before, &ops, &mut Set::default(), &Seen::default()) {
            prop_assert_eq!(crate::scim::coerce::strip(&Value::Object(after.clone())), Some(Value::Object(after.clone())));
            for key in ["id", "meta", "groups", "members", "password"] {
                prop_assert!(!after.contains_key(key), "{}", key);
            }
        }
    }
}
