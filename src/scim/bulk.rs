//! Bulk requests (RFC 7644 §3.7): their operations, what refers to what by `bulkId`, and in which order they are done. What one means is judged elsewhere.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value};

use super::error::{ScimError, excerpt};
use super::filter::get_attribute;
use super::query::check_message;
use super::schema::ResourceKind;

/// How many operations a request may have: the `maxOperations` that is published.
pub const MAX_OPERATIONS: usize = 1_000;
/// How many bytes a request may have: the `maxPayloadSize` that is published.
pub const MAX_PAYLOAD: usize = 4 * 1024 * 1024;

/// A bulk request.
#[derive(Clone, Debug, PartialEq)]
pub struct Bulk {
    /// After so many failures nothing more is done.
    pub fail_on_errors: Option<u64>,
    /// The operations, as they were sent.
    pub operations: Vec<Operation>,
}

/// One operation.
#[derive(Clone, Debug, PartialEq)]
pub struct Operation {
    /// The method, in capitals.
    pub method: String,
    /// The client's name for it.
    pub bulk_id: Option<String>,
    /// The version that the resource must have.
    pub version: Option<String>,
    /// What is to be done, or why that cannot be.
    pub what: Result<What, ScimError>,
}

/// What an operation does.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub enum What {
    Create(ResourceKind, Value),
    Replace(ResourceKind, String, Value),
    Patch(ResourceKind, String, Value),
    Delete(ResourceKind, String),
}

/// What an operation refers to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Refers {
    /// Operations that are done before.
    pub before: Vec<usize>,
    /// Operations that are done later, because they refer to this one in turn.
    pub circular: Vec<usize>,
}

/// The order in which operations are done, and what each refers to.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Each operation once. As they were sent, but what is referred to comes first.
    pub order: Vec<usize>,
    /// By operation.
    pub refers: Vec<Refers>,
}

const PREFIX: &str = "bulkId:";

impl Bulk {
    /// Reads the body. What is wrong with one operation is that operation's error; the request is refused as a whole when it is no bulk request, or
    /// a too large one (413).
    pub fn parse(body: &Value) -> Result<Bulk, ScimError> {
        let body = body
            .as_object()
            .ok_or_else(|| ScimError::invalid_syntax("the body of a bulk request is an object"))?;
        check_message(body, "urn:ietf:params:scim:api:messages:2.0:BulkRequest")?;
        let fail_on_errors = match get_attribute(body, "failOnErrors") {
            None | Some(Value::Null) => None,
            Some(value) => Some(
                value
                    .as_u64()
                    .filter(|n| *n > 0)
                    .ok_or_else(|| ScimError::invalid_value("failOnErrors is a whole number above 0"))?,
            ),
        };
        let list = get_attribute(body, "Operations")
            .and_then(Value::as_array)
            .ok_or_else(|| ScimError::invalid_syntax("a bulk request has a list \"Operations\""))?;
        if list.len() > MAX_OPERATIONS {
            return Err(ScimError::new(
                413,
                format!(
                    "the request has {} operations, more than maxOperations, which is {MAX_OPERATIONS}",
                    list.len()
                ),
            ));
        }
        let mut seen = HashSet::new();
        let operations = list.iter().map(|value| operation(value, &mut seen)).collect();
        Ok(Bulk {
            fail_on_errors,
            operations,
        })
    }

    /// Puts ids in the place of `bulkId:...`, in paths and data, and says what refers to what. `ids` has the id of each operation that creates.
    pub fn resolve(&mut self, ids: &[Option<String>]) -> Plan {
        let known: HashMap<String, (usize, String)> = self
            .operations
            .iter()
            .zip(ids)
            .enumerate()
            .filter_map(|(i, (operation, id))| match &operation.what {
                Ok(What::Create(..)) => Some((operation.bulk_id.clone()?, (i, id.clone()?))),
                _ => None,
            })
            .collect();
        let mut needs = Vec::with_capacity(self.operations.len());
        for operation in &mut self.operations {
            let mut found = Found {
                known: &known,
                needs: Vec::new(),
                unknown: None,
            };
            if let Ok(what) = &mut operation.what {
                found.resolve(what);
            }
            if let Some(unknown) = found.unknown {
                operation.what = Err(ScimError::invalid_value(format!(
                    "\"{}\" names no operation of this request that creates a resource",
                    excerpt(&unknown)
                )));
            }
            needs.push(found.needs);
        }
        plan(&needs)
    }
}

fn operation(value: &Value, seen: &mut HashSet<String>) -> Operation {
    let empty = Map::new();
    let map = value.as_object().unwrap_or(&empty);
    let text = |name: &str| get_attribute(map, name).and_then(Value::as_str).map(str::to_owned);
    let method = text("method").unwrap_or_default().to_ascii_uppercase();
    let bulk_id = text("bulkId").filter(|id| !id.is_empty());
    let version = get_attribute(map, "version").filter(|version| !version.is_null());
    let unread = version.is_some_and(|version| version.as_str().is_none_or(str::is_empty));
    let what = what(map, &method, bulk_id.as_deref()).and_then(|what| match &bulk_id {
        _ if unread => Err(ScimError::invalid_value("\"version\" is the entity tag of a resource")),
        Some(id) if !seen.insert(id.clone()) => Err(ScimError::invalid_value(format!(
            "another operation has the bulkId \"{}\" too",
            excerpt(id)
        ))),
        _ => Ok(what),
    });
    Operation {
        method: excerpt(&method),
        bulk_id,
        version: text("version"),
        what,
    }
}

fn what(map: &Map<String, Value>, method: &str, bulk_id: Option<&str>) -> Result<What, ScimError> {
    let path = get_attribute(map, "path")
        .and_then(Value::as_str)
        .ok_or_else(|| ScimError::invalid_syntax("an operation has a \"path\" such as /Users/{id}"))?;
    let mut parts = path.trim_start_matches('/').splitn(2, '/');
    let endpoint = parts.next().unwrap_or_default();
    let kind = ResourceKind::ALL
        .into_iter()
        .find(|kind| kind.endpoint().trim_start_matches('/') == endpoint)
        .ok_or_else(|| {
            ScimError::invalid_value(format!(
                "\"{}\" is no path of a resource: /Users, /Groups, /Users/{{id}} or /Groups/{{id}}",
                excerpt(path)
            ))
        })?;
    let id = parts.next().filter(|id| !id.is_empty());
    let one = || {
        id.filter(|id| !id.contains('/'))
            .map(str::to_owned)
            .ok_or_else(|| ScimError::invalid_value(format!("{method} has a path with an id, such as {}/{{id}}", kind.endpoint())))
    };
    let data = || {
        get_attribute(map, "data")
            .filter(|data| !data.is_null())
            .cloned()
            .ok_or_else(|| ScimError::invalid_syntax(format!("{method} has \"data\"")))
    };
    match method {
        "POST" => match (id, bulk_id) {
            (Some(_), _) => Err(ScimError::invalid_value(format!("POST has the path {}", kind.endpoint()))),
            (None, None) => Err(ScimError::invalid_value("POST needs a \"bulkId\"")),
            (None, Some(_)) => Ok(What::Create(kind, data()?)),
        },
        "PUT" => Ok(What::Replace(kind, one()?, data()?)),
        "PATCH" => Ok(What::Patch(kind, one()?, data()?)),
        "DELETE" => Ok(What::Delete(kind, one()?)),
        _ => Err(ScimError::invalid_syntax(format!(
            "\"method\" is POST, PUT, PATCH or DELETE, not \"{}\"",
            excerpt(method)
        ))),
    }
}

struct Found<'a> {
    known: &'a HashMap<String, (usize, String)>,
    needs: Vec<usize>,
    unknown: Option<String>,
}

impl Found<'_> {
    fn resolve(&mut self, what: &mut What) {
        match what {
            What::Create(_, data) => self.value(data),
            What::Replace(_, id, data) | What::Patch(_, id, data) => {
                self.text(id);
                self.value(data);
            }
            What::Delete(_, id) => self.text(id),
        }
    }

    fn value(&mut self, value: &mut Value) {
        match value {
            Value::String(text) => self.text(text),
            Value::Array(list) => list.iter_mut().for_each(|value| self.value(value)),
            Value::Object(map) => map.values_mut().for_each(|value| self.value(value)),
            _ => {}
        }
    }

    /// A text that is a reference, or holds one in quotes: the path of a PATCH may (`members[value eq "bulkId:x"]`).
    fn text(&mut self, text: &mut String) {
        if let Some(name) = text.strip_prefix(PREFIX) {
            match self.known.get(name) {
                Some((i, id)) => {
                    self.needs.push(*i);
                    *text = id.clone();
                }
                None => self.unknown = Some(text.clone()),
            }
            return;
        }
        let quoted = format!("\"{PREFIX}");
        let mut from = 0;
        while let Some(at) = text[from..].find(&quoted).map(|at| from + at + 1) {
            let Some(end) = text[at..].find('"').map(|end| at + end) else {
                break;
            };
            let Some((i, id)) = self.known.get(&text[at + PREFIX.len()..end]) else {
                from = end;
                continue;
            };
            self.needs.push(*i);
            text.replace_range(at..end, id);
            from = at + id.len();
        }
    }
}

/// Depth first, without recursion: a request may be one chain of a thousand.
fn plan(needs: &[Vec<usize>]) -> Plan {
    #[derive(Clone, Copy, PartialEq)]
    enum State {
        New,
        Open,
        Done,
    }
    let mut states = vec![State::New; needs.len()];
    let mut plan = Plan {
        order: Vec::with_capacity(needs.len()),
        refers: vec![Refers::default(); needs.len()],
    };
    for root in 0..needs.len() {
        let mut open = vec![(root, 0)];
        while let Some((at, next)) = open.pop() {
            if next == 0 {
                match states[at] {
                    State::New => states[at] = State::Open,
                    _ => continue,
                }
            }
            match needs[at].get(next) {
                None => {
                    states[at] = State::Done;
                    plan.order.push(at);
                }
                Some(needed) => {
                    open.push((at, next + 1));
                    match states[*needed] {
                        State::Done => plan.refers[at].before.push(*needed),
                        State::Open => plan.refers[at].circular.push(*needed),
                        State::New => {
                            plan.refers[at].before.push(*needed);
                            open.push((*needed, 0));
                        }
                    }
                }
            }
        }
    }
    plan
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn parse(operations: Value) -> Bulk {
        Bulk::parse(&json!({"schemas": ["urn:ietf:params:scim:api:messages:2.0:BulkRequest"], "Operations": operations})).unwrap()
    }

    #[test]
    fn operations() {
        let user = json!({"userName": "a"});
        // (operation, expected scimType; "" is good)
        let rows = [
            (json!({"method": "POST", "path": "/Users", "bulkId": "1", "data": user}), ""),
            (json!({"method": "post", "path": "Users/", "bulkId": "2", "data": user}), ""),
            (json!({"method": "PUT", "path": "/Users/x", "data": user}), ""),
            (json!({"method": "PATCH", "path": "/Groups/x", "data": {"Operations": []}}), ""),
            (json!({"method": "DELETE", "path": "/Groups/x", "version": "W/\"1.2\""}), ""),
            (json!({"method": "DELETE", "path": "/Groups/x", "version": 7}), "invalidValue"),
            (json!({"method": "DELETE", "path": "/Groups/x", "version": ""}), "invalidValue"),
            (json!({"method": "POST", "path": "/Users", "data": user}), "invalidValue"),
            (
                json!({"method": "POST", "path": "/Users", "bulkId": "1", "data": user}),
                "invalidValue",
            ),
            (
                json!({"method": "POST", "path": "/Users/x", "bulkId": "3", "data": user}),
                "invalidValue",
            ),
            (json!({"method": "POST", "path": "/Users", "bulkId": "4"}), "invalidSyntax"),
            (json!({"method": "GET", "path": "/Users/x"}), "invalidSyntax"),
            (json!({"method": "DELETE", "path": "/Users"}), "invalidValue"),
            (json!({"method": "DELETE", "path": "/Users/x/y"}), "invalidValue"),
            (json!({"method": "DELETE", "path": "/Me"}), "invalidValue"),
            (json!({"method": "DELETE"}), "invalidSyntax"),
            (json!(5), "invalidSyntax"),
        ];
        let bulk = parse(rows.iter().map(|(operation, _)| operation.clone()).collect());
        for (operation, (sent, expected)) in bulk.operations.iter().zip(&rows) {
            let got = operation.what.as_ref().map_or_else(|error| error.scim_type.unwrap(), |_| "");
            assert_eq!(got, *expected, "{sent}");
        }
        let refused = |body: Value| Bulk::parse(&body).unwrap_err();
        assert_eq!(refused(json!([])).scim_type, Some("invalidSyntax"));
        assert_eq!(refused(json!({})).scim_type, Some("invalidSyntax"));
        assert_eq!(
            refused(json!({"Operations": [], "failOnErrors": 0})).scim_type,
            Some("invalidValue")
        );
        let other = json!({"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"], "Operations": []});
        assert_eq!(refused(other).scim_type, Some("invalidSyntax"));
        let many = refused(json!({"Operations": vec![json!({}); MAX_OPERATIONS + 1]}));
        assert_eq!(many.status, 413);
        assert!(many.detail.contains("maxOperations"), "RFC 7644 §3.7.4: the limit is named");
    }

    #[test]
    fn references() {
        let mut bulk = parse(json!([
            {"method": "POST", "path": "/Groups", "bulkId": "g", "data": {"displayName": "g", "members": [{"value": "bulkId:u"}, {"value": "bulkId:h"}]}},
            {"method": "POST", "path": "/Groups", "bulkId": "h", "data": {"displayName": "h", "members": [{"value": "bulkId:g"}]}},
            {"method": "PATCH", "path": "/Groups/bulkId:g", "data": {"Operations": [{"op": "remove", "path": "members[value eq \"bulkId:u\"]"}]}},
            {"method": "POST", "path": "/Users", "bulkId": "u", "data": {"userName": "u"}},
            {"method": "DELETE", "path": "/Users/bulkId:nobody"},
        ]));
        let plan = bulk.resolve(&[Some("G".into()), Some("H".into()), None, Some("U".into()), None]);
        assert_eq!(plan.order, [3, 1, 0, 2, 4]);
        assert_eq!(plan.refers[0].before, [3, 1]);
        assert_eq!(plan.refers[1].circular, [0]);
        assert_eq!(plan.refers[2].before, [0, 3]);
        let Ok(What::Create(_, data)) = &bulk.operations[0].what else {
            panic!()
        };
        assert_eq!(data["members"], json!([{"value": "U"}, {"value": "H"}]));
        let Ok(What::Patch(_, id, data)) = &bulk.operations[2].what else {
            panic!()
        };
        assert_eq!(
            (id.as_str(), &data["Operations"][0]["path"]),
            ("G", &json!("members[value eq \"U\"]"))
        );
        assert_eq!(bulk.operations[4].what.as_ref().unwrap_err().scim_type, Some("invalidValue"));
    }

    proptest! {
        #[test]
        fn each_operation_once_and_what_it_refers_to_before(needs in proptest::collection::vec(proptest::collection::vec(0usize..12, 0..4), 12)) {
            let plan = plan(&needs);
            let mut once = plan.order.clone();
            once.sort_unstable();
            prop_assert_eq!(once, (0..12).collect::<Vec<_>>());
            let place = |i: usize| plan.order.iter().position(|at| *at == i).unwrap();
            for (i, refers) in plan.refers.iter().enumerate() {
                prop_assert_eq!(refers.before.len() + refers.circular.len(), needs[i].len());
                prop_assert!(refers.before.iter().all(|before| place(*before) < place(i)));
                prop_assert!(refers.circular.iter().all(|later| place(*later) >= place(i)));
            }
        }
    }
}
