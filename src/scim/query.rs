//! The parameters of a list (RFC 7644 §3.4.2, §3.4.3) and its envelope. What is found is found elsewhere.

use std::borrow::Cow;

use serde_json::{Map, Value, json};

use super::error::{ScimError, excerpt};
use super::filter::{Filter, get_attribute};
use super::resource::Projection;
use super::schema::{Limits, ResourceKind};
use super::sort::Sort;

/// How long a cursor is good, in seconds: the `cursorTimeout` that is published (RFC 9865 §4).
pub const CURSOR_TIMEOUT: i64 = 24 * 60 * 60;

/// What a list asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct ListQuery {
    /// Which resources.
    pub filter: Option<Filter>,
    /// In which order; without it in that of their creation.
    pub sort: Option<Sort>,
    /// The first one, from 1. Means nothing beside a cursor.
    pub start_index: u64,
    /// How many at most, already no more than the largest page. With 0 only the total is answered.
    pub count: u64,
    /// Whether `count` was given.
    pub counted: bool,
    /// Where to go on (RFC 9865 §2); empty: at the beginning, page by page with cursors.
    pub cursor: Option<String>,
    projections: [Projection; 2],
}

/// The parameters as they were written.
#[derive(Default)]
struct Raw<'a> {
    filter: Option<Filter>,
    by: Option<&'a str>,
    order: Option<&'a str>,
    start: Option<i64>,
    count: Option<i64>,
    cursor: Option<&'a str>,
    attributes: Option<Cow<'a, str>>,
    excluded: Option<Cow<'a, str>>,
}

impl ListQuery {
    /// Reads the decoded parameters of a query. Unknown ones are ignored (Entra appends `aadOptscim062020`).
    pub fn parse<'a>(parameters: impl IntoIterator<Item = (&'a str, &'a str)>, limits: Limits) -> Result<ListQuery, ScimError> {
        let mut raw = Raw::default();
        for (name, value) in parameters {
            match name {
                "filter" => raw.filter = Some(Filter::parse(value)?),
                "sortBy" => raw.by = Some(value),
                "sortOrder" => raw.order = Some(value),
                "startIndex" => raw.start = integer(name, value)?,
                "count" => raw.count = integer(name, value)?,
                "cursor" => raw.cursor = Some(value),
                "attributes" => raw.attributes = Some(value.into()),
                "excludedAttributes" => raw.excluded = Some(value.into()),
                _ => {}
            }
        }
        ListQuery::new(raw, limits)
    }

    /// Reads the body of a POST to `/.search` (RFC 7644 §3.4.3). Missing `schemas` are tolerated; other messages are not.
    pub fn search(body: &Value, limits: Limits) -> Result<ListQuery, ScimError> {
        let body = body
            .as_object()
            .ok_or_else(|| ScimError::invalid_syntax("the body of a search is an object"))?;
        check_message(body, "urn:ietf:params:scim:api:messages:2.0:SearchRequest")?;
        let number = |name: &str| match get_attribute(body, name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => value
                .as_i64()
                .map(Some)
                .ok_or_else(|| ScimError::invalid_value(format!("{name} is a whole number"))),
        };
        let list = |name: &str| match get_attribute(body, name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(Cow::Borrowed(text.as_str()))),
            Some(Value::Array(list)) => {
                let names = list.iter().map(Value::as_str).collect::<Option<Vec<_>>>();
                names
                    .map(|names| Some(Cow::Owned(names.join(","))))
                    .ok_or_else(|| ScimError::invalid_value(format!("{name} is a list of attributes")))
            }
            Some(_) => Err(ScimError::invalid_value(format!("{name} is a list of attributes"))),
        };
        let text = |name: &str| match get_attribute(body, name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.as_str())),
            Some(_) => Err(ScimError::invalid_value(format!("{name} is a string"))),
        };
        let filter = match get_attribute(body, "filter") {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) => Some(Filter::parse(text)?),
            Some(_) => return Err(ScimError::invalid_filter("the filter is a string")),
        };
        let raw = Raw {
            filter,
            by: text("sortBy")?,
            order: text("sortOrder")?,
            start: number("startIndex")?,
            count: number("count")?,
            cursor: text("cursor")?,
            attributes: list("attributes")?,
            excluded: list("excludedAttributes")?,
        };
        ListQuery::new(raw, limits)
    }

    fn new(raw: Raw, limits: Limits) -> Result<ListQuery, ScimError> {
        let project = |kind| Projection::parse(kind, raw.attributes.as_deref(), raw.excluded.as_deref());
        let count = raw.count.map(|count| u64::try_from(count).unwrap_or(0));
        Ok(ListQuery {
            sort: Sort::parse(raw.by, raw.order)?,
            start_index: u64::try_from(raw.start.unwrap_or(1)).unwrap_or(0).max(1),
            count: count.unwrap_or(limits.default_page_size).min(limits.max_page_size),
            counted: count.is_some(),
            cursor: raw.cursor.map(str::to_owned),
            projections: [project(ResourceKind::User)?, project(ResourceKind::Group)?],
            filter: raw.filter,
        })
    }

    /// How many resources to skip.
    pub fn skip(&self) -> u64 {
        self.start_index - 1
    }

    /// What of each resource of this kind is answered.
    pub fn projection(&self, kind: ResourceKind) -> &Projection {
        match kind {
            ResourceKind::User => &self.projections[0],
            ResourceKind::Group => &self.projections[1],
        }
    }
}

/// 400 `invalidSyntax` for a body that says it is another message. One without `schemas` is taken for what its endpoint expects.
pub(crate) fn check_message(body: &Map<String, Value>, urn: &str) -> Result<(), ScimError> {
    let wrong = || Err(ScimError::invalid_syntax(format!("\"schemas\" is a list with {urn}")));
    match get_attribute(body, "schemas") {
        None | Some(Value::Null) => Ok(()),
        Some(Value::Array(list)) => {
            let mut messages = list.iter().filter_map(Value::as_str).filter(|text| is_message(text)).peekable();
            match messages.peek().is_none() || messages.any(|text| text.eq_ignore_ascii_case(urn)) {
                true => Ok(()),
                false => wrong(),
            }
        }
        Some(_) => wrong(),
    }
}

/// Foreign URNs beside the message's are tolerated; a message of SCIM's own that is not the one expected is a mistake.
fn is_message(urn: &str) -> bool {
    let prefix = "urn:ietf:params:scim:api:messages:";
    urn.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

fn integer(name: &str, value: &str) -> Result<Option<i64>, ScimError> {
    match value.trim() {
        "" => Ok(None),
        text => text
            .parse()
            .map(Some)
            .map_err(|_| ScimError::invalid_value(format!("{name} is a whole number, not \"{}\"", excerpt(text)))),
    }
}

/// The envelope of a list: `Resources` is there even when empty, and the numbers are numbers.
pub fn list_response(total: u64, start_index: u64, resources: Vec<Value>) -> Value {
    json!({
        "schemas": ["urn:ietf:params:scim:api:messages:2.0:ListResponse"],
        "totalResults": total,
        "startIndex": start_index,
        "itemsPerPage": resources.len(),
        "Resources": resources,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        max_page_size: 200,
        default_page_size: 100,
        max_payload_size: 1024,
    };

    fn check(parameters: &[(&str, &str)], expected: Result<(u64, u64), &str>) {
        let got = ListQuery::parse(parameters.iter().copied(), LIMITS);
        let got = got
            .as_ref()
            .map(|query| (query.start_index, query.count))
            .map_err(|error| error.scim_type.unwrap_or(""));
        assert_eq!(got, expected, "{parameters:?}");
    }

    #[test]
    fn pages() {
        check(&[], Ok((1, 100)));
        check(&[("startIndex", "0"), ("count", "-1")], Ok((1, 0)));
        check(&[("startIndex", "-5"), ("count", "0")], Ok((1, 0)));
        check(&[("startIndex", "101"), ("count", "1000000")], Ok((101, 200)));
        check(&[("aadOptscim062020", ""), ("sortBy", "userName"), ("count", "7")], Ok((1, 7)));
        check(&[("sortBy", "userName"), ("sortOrder", "sideways")], Err("invalidValue"));
        check(&[("startIndex", ""), ("attributes", "")], Ok((1, 100)));
        check(&[("startIndex", "two")], Err("invalidValue"));
        check(&[("count", "99999999999999999999")], Err("invalidValue"));
        check(&[("filter", "")], Err("invalidFilter"));
        check(&[("attributes", "id"), ("excludedAttributes", "name")], Err("invalidValue"));
    }

    #[test]
    fn searches() {
        let body = json!({"filter": "userName eq \"a\"", "attributes": ["userName", "id"], "startIndex": 3, "count": 500});
        let query = ListQuery::search(&body, LIMITS).unwrap();
        assert_eq!((query.start_index, query.count, query.skip()), (3, 200, 2));
        assert!(query.projection(ResourceKind::User).wants("userName") && !query.projection(ResourceKind::User).wants("emails"));
        let body = json!({"schemas": ["urn:ietf:params:scim:api:messages:2.0:SearchRequest"], "sortBy": "userName", "sortOrder": "descending", "cursor": ""});
        let query = ListQuery::search(&body, LIMITS).unwrap();
        assert!(query.sort.is_some_and(|sort| sort.descending) && query.cursor.as_deref() == Some("") && !query.counted);
        let other = json!({"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"]});
        assert_eq!(ListQuery::search(&other, LIMITS).unwrap_err().scim_type, Some("invalidSyntax"));
        assert!(ListQuery::search(&json!([]), LIMITS).is_err());
        assert!(ListQuery::search(&json!({"count": "1"}), LIMITS).is_err());
    }

    #[test]
    fn nothing_found_is_a_list() {
        let answer = list_response(0, 1, Vec::new());
        assert_eq!((&answer["totalResults"], &answer["Resources"]), (&json!(0), &json!([])));
    }
}
