//! What must hold of any bytes that a client sends, one function a fuzz target. `make fuzz` runs them; `seeds/` is where they start.
//!
//! The code under test is compiled here by its path, without the server around it: what is instrumented builds in two minutes, and is all that is run.

#![allow(dead_code, unused_imports)] // what the rest of the server uses

#[path = "../../src/gateway/cursor.rs"]
mod cursor;
mod sample;
#[path = "../../src/scim/mod.rs"]
pub mod scim;

use jiff::Timestamp;
use serde_json::{Map, Value};

use sample::{Set, check_kept, group, groups, user};
use scim::bulk::{Bulk, What};
use scim::filter::{Filter, Key, matches};
use scim::schema::{self, Limits, ResourceKind};
use scim::{AttrPath, ListQuery, Path, Seen, fold, patch, resource};

const LIMITS: Limits = Limits {
    max_page_size: 200,
    default_page_size: 100,
    max_payload_size: 1 << 20,
};

/// Printing adds parentheses and spaces, so a text near a bound may print as one beyond it. Nothing else may fail to read back.
fn beyond_bounds(detail: &str) -> bool {
    detail.contains("nested deeper than") || detail.contains("longer than")
}

/// A filter prints as what reads back as itself; it judges, its contrary judges the contrary, and an index loses nothing of what it matches.
pub fn filter(data: &[u8]) {
    let Some(filter) = std::str::from_utf8(data).ok().and_then(|text| Filter::parse(text).ok()) else {
        return;
    };
    match Filter::parse(&filter.to_string()) {
        Ok(again) => assert_eq!(again, filter),
        Err(error) => assert!(beyond_bounds(&error.detail), "{filter}: {error}"),
    }
    for (kind, sample) in [(ResourceKind::User, user()), (ResourceKind::Group, group())] {
        let contrary = Filter::Not(Box::new(filter.clone()));
        let Ok(matcher) = filter.compile(kind) else {
            assert!(contrary.compile(kind).is_err() && !matches(&filter, sample, kind));
            continue;
        };
        let found = matcher.matches(sample);
        assert_eq!(found, matches(&filter, sample, kind));
        assert_eq!(found, !matches(&contrary, sample, kind), "{filter}");
        let all = filter
            .compile_for(kind, &ResourceKind::ALL, &schema::NONE)
            .expect("what compiles for one kind compiles for all");
        assert_eq!(all.matches(sample), found, "{filter}");
        // The same with what is kept apart.
        let (bare, related) = sample::apart(kind, sample);
        assert_eq!(matcher.matches_with(&bare, &related), found, "{filter}");
        let text = |name: &str| sample.get(name).and_then(Value::as_str).unwrap_or_default();
        for (key, value) in filter.keys(kind) {
            let has = match key {
                Key::Id => text("id") == value,
                Key::UserName => fold(text("userName")) == fold(value),
                Key::ExternalId => text("externalId") == value,
                Key::DisplayName => text("displayName").to_lowercase() == value.to_lowercase() || fold(text("displayName")) == fold(value),
                Key::Related => related.0.contains(value),
                Key::Email => emails(sample).any(|email| fold(email) == fold(value)),
            };
            assert!(has || !found, "{filter}: matches, but not by {key:?} {value:?}");
        }
        for (key, value) in filter.prefixes(kind) {
            let name = if key == Key::UserName {
                text("userName")
            } else {
                text("displayName")
            };
            let begins = fold(name).starts_with(&fold(value));
            assert!(begins || !found, "{filter}: matches, but {key:?} does not begin with {value:?}");
        }
        let _ = matcher.absent_is_false().matches(sample);
    }
    for attribute in [schema::find(ResourceKind::User, "emails"), None] {
        if let Ok(matcher) = filter.compile_element(attribute) {
            for email in sample::emails() {
                let _ = matcher.matches_element(&email);
            }
        }
    }
}

fn emails(sample: &Map<String, Value>) -> impl Iterator<Item = &str> {
    let emails = sample.get("emails").and_then(Value::as_array);
    emails.into_iter().flatten().filter_map(|email| email.get("value")?.as_str())
}

/// A path prints as what reads back as itself, and leads somewhere or nowhere.
pub fn path(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(path) = Path::parse(text) else { return };
    match Path::parse(&path.to_string()) {
        Ok(again) => assert_eq!(again, path),
        Err(error) => assert!(beyond_bounds(&error.detail), "{path}: {error}"),
    }
    if path.filter.is_none() {
        assert_eq!(AttrPath::parse(text).as_ref(), Ok(&path.attr));
    }
    for kind in ResourceKind::ALL {
        if let Ok(place) = schema::resolve(kind, &path.attr) {
            assert!(place.attribute.is_some() || path.attr.urn.is_some());
        }
    }
}

/// What a PATCH leaves can be kept, and sending the result back as a PUT changes nothing.
pub fn patch(data: &[u8]) {
    let Ok(body) = serde_json::from_slice::<Value>(data) else { return };
    let _ = patch::Active::of(&body);
    let Ok(ops) = patch::parse_ops(&body, &Seen::default()) else {
        return;
    };
    for (kind, sample) in [(ResourceKind::User, user()), (ResourceKind::Group, group())] {
        let before = sample::kept(kind, sample);
        let mut members = Set(groups());
        let Ok(after) = patch::apply(kind, "id-1", &before, &ops, &mut members, &Seen::default()) else {
            continue;
        };
        if !ops.is_empty() {
            check_kept(kind, &after);
        }
        assert!(members.0.iter().all(|id| sample::exists(id)));
    }
}

/// What a POST or PUT leaves can be kept; a PUT of what was kept keeps it.
pub fn body(data: &[u8]) {
    let Ok(body) = serde_json::from_slice::<Value>(data) else { return };
    for (kind, sample) in [(ResourceKind::User, user()), (ResourceKind::Group, group())] {
        let created = resource::create(kind, &body, &Seen::default());
        let replaced = resource::replace(kind, sample, &body);
        assert_eq!(created.is_ok(), replaced.is_ok());
        let (Ok(created), Ok(mut replaced)) = (created, replaced) else {
            continue;
        };
        check_kept(kind, &created.attributes);
        let mut set = Set::default();
        if created.set_members(&mut set).is_ok() {
            assert_eq!(set.0.len(), created.members.as_ref().map_or(0, Vec::len), "each member once");
        }
        if kind == ResourceKind::User && !created.attributes.contains_key("active") {
            assert_eq!(replaced.attributes.shift_remove("active").as_ref(), sample.get("active"));
        }
        assert_eq!(created, replaced);
        let again = resource::replace(kind, &created.attributes, &Value::Object(created.attributes.clone()));
        assert_eq!(again.map(|again| again.attributes).as_ref(), Ok(&created.attributes));
    }
}

/// Each operation is done once, after what it refers to; no reference that is known is left; what each says is judged like a request.
pub fn bulk(data: &[u8]) {
    let Ok(body) = serde_json::from_slice::<Value>(data) else { return };
    let Ok(mut bulk) = Bulk::parse(&body) else { return };
    let ids: Vec<Option<String>> = bulk
        .operations
        .iter()
        .enumerate()
        .map(|(i, operation)| matches!(operation.what, Ok(What::Create(..))).then(|| format!("id-{i}")))
        .collect();
    let plan = bulk.resolve(&ids);
    let mut place = vec![None; ids.len()];
    for (at, i) in plan.order.iter().enumerate() {
        assert!(place[*i].replace(at).is_none(), "operation {i} twice");
    }
    assert!(place.iter().all(Option::is_some), "an operation is left out");
    for (i, refers) in plan.refers.iter().enumerate() {
        assert!(refers.before.iter().all(|before| place[*before] < place[i]));
        assert!(refers.circular.iter().all(|later| place[*later] >= place[i]));
    }
    for operation in &bulk.operations {
        match &operation.what {
            Ok(What::Create(kind, data) | What::Replace(kind, _, data)) => {
                if let Ok(body) = resource::create(*kind, data, &Seen::default()) {
                    check_kept(*kind, &body.attributes);
                }
            }
            Ok(What::Patch(_, _, data)) => drop(patch::parse_ops(data, &Seen::default())),
            Ok(What::Delete(_, id)) => assert!(!id.is_empty() && !id.contains('/')),
            Err(error) => assert_eq!(error.status, 400),
        }
    }
}

/// The text of a cursor, then, in further lines, `name=value` of a query or one body of a search: what is read does not fail, a cursor made for it opens,
/// with one byte changed does not, and nothing that a client makes up does.
pub fn cursor(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (first, rest) = text.split_once('\n').unwrap_or((text, ""));
    let parsed = match serde_json::from_str::<Value>(rest) {
        Ok(body) => ListQuery::search(&body, LIMITS),
        Err(_) => ListQuery::parse(rest.lines().filter_map(|line| line.split_once('=')), LIMITS),
    };
    let Ok(query) = parsed else { return };
    assert!(query.count <= LIMITS.max_page_size && query.start_index > 0);
    for (kind, sample) in [(ResourceKind::User, user()), (ResourceKind::Group, group())] {
        let answered = query.projection(kind).apply(kind, sample.clone());
        assert!(answered.contains_key("id") && answered.keys().all(|key| sample.contains_key(key)));
    }
    let key = query.sort.as_ref().and_then(|sort| {
        let sorter = sort.compile(ResourceKind::User, &[ResourceKind::User], &schema::NONE).ok()?;
        sorter.key(user())
    });
    let now = Timestamp::UNIX_EPOCH;
    let cursors = cursor::Cursors::new(Some(&[7; 32])).expect("a key");
    let scope = cursor::Scope::new("okta", &[ResourceKind::User], &query);
    assert!(cursors.open(&scope, first, now).is_err(), "a cursor that was never given");
    let after = match serde_json::from_str::<cursor::After>(first) {
        Ok(after) => after,
        Err(_) => cursor::After { key, n: 7 },
    };
    let sealed = cursors.seal(&scope, after.clone(), query.count, now).expect("a cursor");
    assert_eq!(cursors.open(&scope, &sealed, now), Ok((after, query.count)));
    let mut forged = sealed.into_bytes();
    let at = data.iter().map(|byte| usize::from(*byte)).sum::<usize>() % forged.len();
    forged[at] = if forged[at] == b'A' { b'B' } else { b'A' };
    let forged = String::from_utf8(forged).expect("ASCII");
    assert!(cursors.open(&scope, &forged, now).is_err(), "a forged cursor");
}
