//! Extension schemas that an admin declares for a source: they are published, and what a provider sends is held to them (RFC 7643 §3.3, §7).

use serde_json::{Map, Value, json};

use super::discovery::{schema_resource, type_name};
use super::{ResourceKind, Type};
use crate::scim::coerce::loose_boolean;
use crate::scim::error::{ScimError, excerpt};
use crate::scim::filter::is_time;
use crate::scim::tolerance::{Drift, Seen};

/// The extension schemas of one source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extensions(pub Vec<Extension>);

/// No extension.
pub static NONE: Extensions = Extensions(Vec::new());

/// One extension schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extension {
    /// The URN: the key of its object in a resource.
    pub id: String,
    /// For people.
    pub name: String,
    /// For people.
    pub description: String,
    /// What it extends.
    pub kind: ResourceKind,
    /// Every resource is expected to have it.
    pub required: bool,
    /// Its attributes.
    pub attributes: Vec<Declared>,
}

/// One attribute of an extension.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Declared {
    /// The name, as it is stored and returned.
    pub name: String,
    /// The data type.
    pub kind: Type,
    /// Whether it is a list.
    pub multi: bool,
    /// Every resource with the extension is expected to have it.
    pub required: bool,
    /// Whether case matters when its strings are compared.
    pub case_exact: bool,
    /// Suggested values; others are allowed.
    pub canonical: Vec<String>,
    /// For people.
    pub description: String,
    /// For complex attributes: their parts.
    pub sub: Vec<Declared>,
}

impl Extensions {
    /// Holds a resource's attributes to what is declared: names are spelled as declared, values have the declared type, and `schemas` names what is
    /// used. A wrong type is 400 `invalidValue`. What is expected and not there is noted, and the resource is taken: somebody may be disabled by it. What
    /// is as it was `before`, perhaps before it was declared, is not judged again.
    pub fn check(
        &self,
        kind: ResourceKind,
        before: Option<&Map<String, Value>>,
        attributes: &mut Map<String, Value>,
        seen: &Seen,
    ) -> Result<(), ScimError> {
        for extension in self.of(kind) {
            let Some(key) = attributes.keys().find(|key| key.eq_ignore_ascii_case(&extension.id)).cloned() else {
                if extension.required {
                    seen.drift(Drift::MissingAttribute, &extension.id);
                }
                continue;
            };
            let before = before.and_then(|before| before.get(&key)).and_then(Value::as_object);
            let Some(Value::Object(sent)) = attributes.get_mut(&key).map(Value::take) else {
                seen.drift(Drift::WrongType, &extension.id);
                return Err(ScimError::invalid_value(format!("{}: expected an object", extension.id)));
            };
            let checked = parts(&extension.attributes, before, sent, seen).map_err(|(path, error)| {
                seen.drift(Drift::WrongType, &format!("{}:{path}", extension.id));
                error
            })?;
            for missing in extension
                .attributes
                .iter()
                .filter(|one| one.required && !checked.contains_key(&one.name))
            {
                seen.drift(Drift::MissingAttribute, &format!("{}:{}", extension.id, missing.name));
            }
            match key == extension.id {
                true => attributes.insert(key, Value::Object(checked)),
                false => {
                    attributes.shift_remove(&key);
                    attributes.insert(extension.id.clone(), Value::Object(checked))
                }
            };
            let urn = Value::from(extension.id.as_str());
            if let Some(Value::Array(schemas)) = attributes.get_mut("schemas")
                && !schemas.contains(&urn)
            {
                schemas.push(urn);
            }
        }
        Ok(())
    }

    /// Whether a path that no schema of the RFCs knows is one of these: `urn:...:badge`, `urn:...:badge.number`.
    pub fn knows(&self, path: &str) -> bool {
        self.0.iter().any(|extension| {
            let rest = path
                .get(..extension.id.len())
                .filter(|urn| urn.eq_ignore_ascii_case(&extension.id))
                .and_then(|urn| path[urn.len()..].strip_prefix(':'));
            let mut names = rest.unwrap_or_default().split('.');
            let found = find(&extension.attributes, names.next().unwrap_or_default());
            found.is_some_and(|one| names.next().is_none_or(|part| find(&one.sub, part).is_some()))
        })
    }

    /// As `/Schemas` shows them.
    pub fn schemas(&self, base: &str) -> Vec<Value> {
        let render = |extension: &Extension| {
            let attributes = extension.attributes.iter().map(render).collect();
            schema_resource(base, &extension.id, &extension.name, &extension.description, attributes)
        };
        self.0.iter().map(render).collect()
    }

    /// Adds them to a resource type as `/ResourceTypes` shows it.
    pub fn extend(&self, kind: ResourceKind, shown: &mut Value) {
        let mut list: Vec<Value> = shown["schemaExtensions"].as_array().cloned().unwrap_or_default();
        list.extend(
            self.of(kind)
                .map(|extension| json!({"schema": extension.id, "required": extension.required})),
        );
        if !list.is_empty() {
            shown["schemaExtensions"] = list.into();
        }
    }

    /// An attribute of one of them; names in any case.
    pub fn attribute(&self, kind: ResourceKind, urn: &str, name: &str) -> Option<&Declared> {
        let extension = self.of(kind).find(|one| one.id.eq_ignore_ascii_case(urn))?;
        find(&extension.attributes, name)
    }

    fn of(&self, kind: ResourceKind) -> impl Iterator<Item = &Extension> {
        self.0.iter().filter(move |extension| extension.kind == kind)
    }
}

fn find<'a>(attributes: &'a [Declared], name: &str) -> Option<&'a Declared> {
    attributes.iter().find(|one| one.name.eq_ignore_ascii_case(name))
}

/// The path and what is wrong with it.
type Wrong = (String, ScimError);

fn parts(
    declared: &[Declared],
    before: Option<&Map<String, Value>>,
    sent: Map<String, Value>,
    seen: &Seen,
) -> Result<Map<String, Value>, Wrong> {
    let mut checked = Map::new();
    for (key, value) in sent {
        let as_before = before.is_some_and(|before| before.get(&key) == Some(&value));
        let Some(one) = find(declared, &key) else {
            checked.insert(key, value);
            continue;
        };
        if checked.contains_key(&one.name) {
            let detail = format!("{}: stands there more than once (case does not tell attributes apart)", one.name);
            return Err((one.name.clone(), ScimError::invalid_syntax(detail)));
        }
        let value = if as_before { value } else { one.value(value, seen)? };
        checked.insert(one.name.clone(), value);
    }
    Ok(checked)
}

impl Declared {
    /// A sub-attribute, in any case.
    pub fn part(&self, name: &str) -> Option<&Declared> {
        find(&self.sub, name)
    }

    fn value(&self, value: Value, seen: &Seen) -> Result<Value, Wrong> {
        match (self.multi, value) {
            (true, Value::Array(list)) => list.into_iter().map(|one| self.one(one, seen)).collect(),
            // One value added by a PATCH to a list that is not there yet.
            (true, one) => Ok(Value::Array(vec![self.one(one, seen)?])),
            (false, value) => self.one(value, seen),
        }
    }

    fn one(&self, value: Value, seen: &Seen) -> Result<Value, Wrong> {
        let fits = match (self.kind, &value) {
            (Type::Complex, Value::Object(map)) => {
                let checked =
                    parts(&self.sub, None, map.clone(), seen).map_err(|(path, error)| (format!("{}.{path}", self.name), error))?;
                return Ok(Value::Object(checked));
            }
            (Type::Boolean, Value::Bool(_)) => true,
            (Type::Boolean, other) => {
                if let Some((flag, tolerance)) = loose_boolean(other) {
                    seen.note(tolerance);
                    return Ok(Value::Bool(flag));
                }
                false
            }
            (Type::String | Type::Reference | Type::Binary, Value::String(_)) => true,
            (Type::Integer, Value::Number(number)) => number.is_i64() || number.is_u64(),
            (Type::Decimal, Value::Number(_)) => true,
            (Type::DateTime, Value::String(text)) => is_time(text),
            _ => false,
        };
        match fits {
            true => Ok(value),
            false => Err(self.wrong(type_name(self.kind), &value)),
        }
    }

    fn wrong(&self, expected: &str, value: &Value) -> Wrong {
        let detail = format!("{}: expected {expected}, found {}", self.name, excerpt(&value.to_string()));
        (self.name.clone(), ScimError::invalid_value(detail))
    }
}

fn render(declared: &Declared) -> Value {
    let mut out = json!({
        "name": declared.name,
        "type": type_name(declared.kind),
        "multiValued": declared.multi,
        "description": declared.description,
        "required": declared.required,
        "mutability": "readWrite",
        "returned": "default",
        "uniqueness": "none"
    });
    if matches!(declared.kind, Type::String | Type::Reference | Type::Binary) {
        // RFC 7643 §2.3.6, §2.3.7: binary values and references always have case.
        out["caseExact"] = (declared.case_exact || declared.kind != Type::String).into();
    }
    if !declared.canonical.is_empty() {
        out["canonicalValues"] = declared.canonical.clone().into();
    }
    if !declared.sub.is_empty() {
        out["subAttributes"] = declared.sub.iter().map(render).collect();
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const URN: &str = "urn:example:corp:2.0:User";

    fn declared(name: &str, kind: Type) -> Declared {
        Declared {
            name: name.to_owned(),
            kind,
            multi: false,
            required: false,
            case_exact: false,
            canonical: Vec::new(),
            description: "For tests.".to_owned(),
            sub: Vec::new(),
        }
    }

    fn extensions() -> Extensions {
        let badge = Declared {
            sub: vec![declared("number", Type::Integer), declared("valid", Type::Boolean)],
            ..declared("badge", Type::Complex)
        };
        let floors = Declared {
            multi: true,
            ..declared("floors", Type::Integer)
        };
        let cost = Declared {
            required: true,
            ..declared("costCode", Type::String)
        };
        Extensions(vec![Extension {
            id: URN.to_owned(),
            name: "Corp".to_owned(),
            description: "Corp".to_owned(),
            kind: ResourceKind::User,
            required: false,
            attributes: vec![badge, floors, cost, declared("since", Type::DateTime)],
        }])
    }

    fn check(sent: Value, expected: Result<Value, &str>, drift: &[(Drift, &str)]) {
        let mut attributes = json!({"schemas": ["urn:core"], "userName": "a", "URN:example:corp:2.0:User": sent})
            .as_object()
            .cloned()
            .unwrap_or_default();
        let seen = Seen::default();
        let got = extensions().check(ResourceKind::User, None, &mut attributes, &seen);
        match expected {
            Ok(expected) => {
                assert_eq!(got, Ok(()), "{sent}");
                assert_eq!(
                    (&attributes[URN], &attributes["schemas"]),
                    (&expected, &json!(["urn:core", URN])),
                    "{sent}"
                );
            }
            Err(word) => assert!(got.unwrap_err().detail.contains(word), "{sent}"),
        }
        let drift: Vec<(Drift, String)> = drift.iter().map(|(drift, path)| (*drift, (*path).to_owned())).collect();
        assert_eq!(seen.drifted().into_iter().collect::<Vec<_>>(), drift, "{sent}");
    }

    #[test]
    fn a_resource_is_held_to_what_is_declared() {
        check(
            json!({"COSTCODE": "x", "badge": {"Number": 7, "valid": "True", "color": "red"}, "floors": 1, "other": {"kept": 1}}),
            Ok(json!({"costCode": "x", "badge": {"number": 7, "valid": true, "color": "red"}, "floors": [1], "other": {"kept": 1}})),
            &[],
        );
        check(
            json!({"since": "2026-11-25T00:00:00Z"}),
            Ok(json!({"since": "2026-11-25T00:00:00Z"})),
            &[(Drift::MissingAttribute, "urn:example:corp:2.0:User:costCode")],
        );
        for (sent, word, path) in [
            (json!({"badge": 5}), "expected complex", ":badge"),
            (json!({"badge": {"number": "7"}}), "expected integer", ":badge.number"),
            (json!({"floors": "x"}), "expected integer", ":floors"),
            (json!({"floors": [1.5]}), "expected integer", ":floors"),
            (json!({"since": "yesterday"}), "expected dateTime", ":since"),
            (json!({"costCode": ["x"]}), "expected string", ":costCode"),
            (json!("x"), "expected an object", ""),
        ] {
            check(sent, Err(word), &[(Drift::WrongType, &format!("{URN}{path}"))]);
        }
        // Another kind of resource is not concerned, and one without the extension may be.
        let mut group = Map::new();
        let seen = Seen::default();
        let mut extensions = extensions();
        extensions.0[0].required = true;
        assert_eq!(extensions.check(ResourceKind::Group, None, &mut group, &seen), Ok(()));
        assert!(seen.drifted().is_empty());
        assert_eq!(extensions.check(ResourceKind::User, None, &mut group, &seen), Ok(()));
        assert_eq!(seen.drifted().len(), 1);
    }

    #[test]
    fn what_is_declared_is_published_and_no_drift() {
        let extensions = extensions();
        for (path, known) in [
            ("urn:example:corp:2.0:User:badge", true),
            ("URN:example:CORP:2.0:user:BADGE.number", true),
            ("urn:example:corp:2.0:User:badge.color", false),
            ("urn:example:corp:2.0:User:other", false),
            ("urn:example:corp:2.0:User", false),
            ("urn:example:corp:2.0:Userbadge", false),
            ("badge", false),
        ] {
            assert_eq!(extensions.knows(path), known, "{path}");
        }
        let schemas = extensions.schemas("https://x");
        assert_eq!(schemas[0]["id"], json!(URN));
        assert_eq!(schemas[0]["attributes"][0]["subAttributes"][0]["type"], json!("integer"));
        assert_eq!(schemas[0]["attributes"][0].get("caseExact"), None);
        assert_eq!(schemas[0]["attributes"][2]["caseExact"], json!(false));
        let mut shown = json!({"name": "User"});
        extensions.extend(ResourceKind::Group, &mut shown);
        assert_eq!(shown.get("schemaExtensions"), None);
        extensions.extend(ResourceKind::User, &mut shown);
        assert_eq!(shown["schemaExtensions"], json!([{"schema": URN, "required": false}]));
    }
}
