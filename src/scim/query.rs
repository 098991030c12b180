//! The parameters of a list (RFC 7644 §3.4.2, §3.4.3) and its envelope. What is found is found elsewhere.

use serde_json::{Value, json};

use super::error::{ScimError, excerpt};
use super::filter::Filter;
use super::resource::Projection;
use super::schema::{Limits, ResourceKind};

/// What a list asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct ListQuery {
    /// Which resources.
    pub filter: Option<Filter>,
    /// The first one, from 1.
    pub start_index: u64,
    /// How many at most, already no more than the largest page. With 0 only the total is answered.
    pub count: u64,
    /// What of each.
    pub projection: Projection,
}

impl ListQuery {
    /// Reads the decoded parameters of a query. Unknown ones are ignored (Entra appends `aadOptscim062020`), and so is sorting, which is not supported.
    pub fn parse<'a>(
        kind: ResourceKind,
        parameters: impl IntoIterator<Item = (&'a str, &'a str)>,
        limits: Limits,
    ) -> Result<ListQuery, ScimError> {
        let (mut filter, mut start, mut count, mut attributes, mut excluded) = (None, None, None, None, None);
        for (name, value) in parameters {
            match name {
                "filter" => filter = Some(Filter::parse(value)?),
                "startIndex" => start = integer(name, value)?,
                "count" => count = integer(name, value)?,
                "attributes" => attributes = Some(value),
                "excludedAttributes" => excluded = Some(value),
                _ => {}
            }
        }
        let projection = Projection::parse(kind, attributes, excluded)?;
        Ok(ListQuery::new(filter, start, count, projection, limits))
    }

    /// Reads the body of a POST to `/.search`.
    pub fn search(kind: ResourceKind, body: &Value, limits: Limits) -> Result<ListQuery, ScimError> {
        let body = body
            .as_object()
            .ok_or_else(|| ScimError::invalid_syntax("the body of a search is an object"))?;
        let number = |name: &str| match body.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => value
                .as_i64()
                .map(Some)
                .ok_or_else(|| ScimError::invalid_value(format!("{name} is a whole number"))),
        };
        let list = |name: &str| match body.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(Value::Array(list)) => {
                let names = list.iter().map(|name| name.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>();
                names
                    .map(|names| Some(names.join(",")))
                    .ok_or_else(|| ScimError::invalid_value(format!("{name} is a list of attributes")))
            }
            Some(_) => Err(ScimError::invalid_value(format!("{name} is a list of attributes"))),
        };
        let filter = match body.get("filter") {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) => Some(Filter::parse(text)?),
            Some(_) => return Err(ScimError::invalid_filter("the filter is a string")),
        };
        let projection = Projection::parse(kind, list("attributes")?.as_deref(), list("excludedAttributes")?.as_deref())?;
        Ok(ListQuery::new(filter, number("startIndex")?, number("count")?, projection, limits))
    }

    fn new(filter: Option<Filter>, start: Option<i64>, count: Option<i64>, projection: Projection, limits: Limits) -> ListQuery {
        let start_index = u64::try_from(start.unwrap_or(1)).unwrap_or(0).max(1);
        let count = count
            .map_or(limits.default_page_size, |count| u64::try_from(count).unwrap_or(0))
            .min(limits.max_page_size);
        ListQuery {
            filter,
            start_index,
            count,
            projection,
        }
    }

    /// How many resources to skip.
    pub fn skip(&self) -> u64 {
        self.start_index - 1
    }
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
    };

    fn check(parameters: &[(&str, &str)], expected: Result<(u64, u64), &str>) {
        let got = ListQuery::parse(ResourceKind::User, parameters.iter().copied(), LIMITS);
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
        check(&[("startIndex", ""), ("attributes", "")], Ok((1, 100)));
        check(&[("startIndex", "two")], Err("invalidValue"));
        check(&[("count", "99999999999999999999")], Err("invalidValue"));
        check(&[("filter", "")], Err("invalidFilter"));
        check(&[("attributes", "id"), ("excludedAttributes", "name")], Err("invalidValue"));
    }

    #[test]
    fn searches() {
        let body = json!({"filter": "userName eq \"a\"", "attributes": ["userName", "id"], "startIndex": 3, "count": 500});
        let query = ListQuery::search(ResourceKind::User, &body, LIMITS).unwrap();
        assert_eq!((query.start_index, query.count, query.skip()), (3, 200, 2));
        assert!(query.projection.wants("userName") && !query.projection.wants("emails"));
        assert!(ListQuery::search(ResourceKind::User, &json!([]), LIMITS).is_err());
        assert!(ListQuery::search(ResourceKind::User, &json!({"count": "1"}), LIMITS).is_err());
    }

    #[test]
    fn nothing_found_is_a_list() {
        let answer = list_response(0, 1, Vec::new());
        assert_eq!((&answer["totalResults"], &answer["Resources"]), (&json!(0), &json!([])));
    }
}
