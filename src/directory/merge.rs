//! JSON merge patches (RFC 7396) between two states of attributes. Nothing of SCIM is known here.

use serde_json::{Map, Value};

/// The patch that makes `new` of `old`; empty if they are equal. Nulls in `new` count as absent.
pub fn diff(old: &Map<String, Value>, new: &Map<String, Value>) -> Map<String, Value> {
    let mut patch = Map::new();
    for (key, value) in new.iter().filter(|(_, v)| !v.is_null()) {
        match (old.get(key), value) {
            (Some(before), _) if before == value => {}
            (Some(Value::Object(before)), Value::Object(after)) => {
                let inner = diff(before, after);
                if !inner.is_empty() {
                    patch.insert(key.clone(), Value::Object(inner));
                }
            }
            (_, Value::Object(after)) => {
                patch.insert(key.clone(), Value::Object(diff(&Map::new(), after)));
            }
            _ => {
                patch.insert(key.clone(), value.clone());
            }
        }
    }
    for key in old.keys().filter(|key| new.get(*key).is_none_or(Value::is_null)) {
        patch.insert(key.clone(), Value::Null);
    }
    patch
}

/// Applies a patch.
pub fn apply(target: &mut Map<String, Value>, patch: &Map<String, Value>) {
    for (key, value) in patch {
        match value {
            Value::Null => {
                target.shift_remove(key);
            }
            Value::Object(inner) => {
                let slot = target.entry(key.as_str()).or_insert(Value::Null);
                if !slot.is_object() {
                    *slot = Value::Object(Map::new());
                }
                if let Value::Object(slot) = slot {
                    apply(slot, inner);
                }
            }
            other => {
                target.insert(key.clone(), other.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn map(value: Value) -> Map<String, Value> {
        match value {
            Value::Object(map) => map,
            other => panic!("{other} is no object"),
        }
    }

    #[test]
    fn a_patch_says_only_what_changed() {
        let check = |old: Value, new: Value, patch: Value| assert_eq!(Value::Object(diff(&map(old), &map(new))), patch);
        check(json!({"a": 1}), json!({"a": 1}), json!({}));
        check(json!({"a": 1, "b": 2}), json!({"a": 1, "c": 3}), json!({"b": null, "c": 3}));
        check(
            json!({"n": {"x": 1, "y": 2}}),
            json!({"n": {"x": 1, "y": 3}}),
            json!({"n": {"y": 3}}),
        );
        check(json!({"n": [1, 2]}), json!({"n": [1]}), json!({"n": [1]}));
        check(json!({"n": 1}), json!({"n": {"x": {"y": 1}}}), json!({"n": {"x": {"y": 1}}}));
        check(json!({"n": {"x": 1}}), json!({"n": {}}), json!({"n": {"x": null}}));
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<bool>().prop_map(Value::from),
            (0..4i32).prop_map(Value::from),
            "[ab]{0,2}".prop_map(Value::from)
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                prop::collection::vec(("[abc]", inner), 0..4).prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
            ]
        })
    }

    fn object() -> impl Strategy<Value = Map<String, Value>> {
        prop::collection::vec(("[abc]", value()), 0..4).prop_map(|pairs| pairs.into_iter().collect())
    }

    proptest! {
        #[test]
        fn a_patch_leads_from_one_to_the_other(old in object(), new in object()) {
            let mut made = old.clone();
            let patch = diff(&old, &new);
            apply(&mut made, &patch);
            prop_assert_eq!(&made, &new);
            prop_assert!(diff(&made, &new).is_empty());
        }
    }
}
