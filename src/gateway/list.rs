//! Lists: which resources a query finds, by the indexes where they can tell, and which page of them is answered. Pure.

use roaring::RoaringBitmap;
use serde::ser::{Serialize, SerializeMap, Serializer};

use super::judge::{kind, parse_id};
use super::render::{Relation, Rendered, View};
use crate::scim::filter::Key;
use crate::scim::{ListQuery, Matcher, ResourceKind, ScimError, fold};

/// A page ends early when it holds so many members of groups; a client goes on at `startIndex` + `itemsPerPage`.
const MEMBERS_A_PAGE: u64 = 1_000_000;
/// How often the clock is asked while resources are judged one by one.
const LOOK_EVERY: u64 = 1024;

/// One page.
pub(super) struct Page<'a> {
    total: u64,
    start_index: u64,
    resources: Vec<Rendered<'a>>,
}

/// Finds the page. `expired` says when to give up: 400 `tooMany`.
pub(super) fn list<'a>(view: View<'a>, of: ResourceKind, query: &'a ListQuery, expired: &dyn Fn() -> bool) -> Result<Page<'a>, ScimError> {
    let everything = view.source.of_kind(kind(of));
    let found = match &query.filter {
        None => None,
        Some(filter) => {
            let matcher = filter.compile(of)?;
            let mut candidates = everything.clone();
            for (key, text) in filter.keys(of) {
                candidates &= look_up(view, of, key, text);
            }
            Some(select(view, &candidates, &matcher, expired)?)
        }
    };
    let found = found.as_ref().unwrap_or(everything);
    let mut page = Page {
        total: found.len(),
        start_index: query.start_index,
        resources: Vec::new(),
    };
    let Ok(skip) = u32::try_from(query.skip()) else { return Ok(page) };
    let Some(first) = found.select(skip).filter(|_| query.count > 0) else {
        return Ok(page);
    };
    let mut members = 0;
    let count = usize::try_from(query.count).unwrap_or(usize::MAX);
    for resource in found.range(first..).take(count).filter_map(|n| view.source.get(n)) {
        let rendered = view.resource(resource, &query.projection);
        members += rendered.member_count();
        page.resources.push(rendered);
        if members >= MEMBERS_A_PAGE {
            break;
        }
    }
    Ok(page)
}

/// Whether answering the query means to judge many resources one by one.
pub(super) fn is_long(of: ResourceKind, query: &ListQuery) -> bool {
    query.projection.wants("members") && of == ResourceKind::Group || query.filter.as_ref().is_some_and(|filter| filter.keys(of).is_empty())
}

/// At least the resources that have this value; the filter still judges them.
fn look_up(view: View, of: ResourceKind, key: Key, text: &str) -> RoaringBitmap {
    let source = view.source;
    let by_id = || parse_id(text).and_then(|id| source.by_id(&id)).map(|resource| resource.n);
    match (key, of) {
        (Key::Id, _) => by_id().into_iter().collect(),
        (Key::UserName, _) => source.user_by_name(&fold(text)).into_iter().collect(),
        (Key::ExternalId, _) => source.by_external_id(kind(of), text).collect(),
        (Key::DisplayName, ResourceKind::Group) => source.groups_by_folded_name(&fold(text)).collect(),
        (Key::DisplayName, ResourceKind::User) => source.of_kind(kind(of)).clone(),
        (Key::Related, ResourceKind::Group) => by_id().map_or_else(RoaringBitmap::new, |n| source.groups_of(n).clone()),
        (Key::Related, ResourceKind::User) => source.all_members(by_id().into_iter()),
    }
}

fn select(view: View, candidates: &RoaringBitmap, matcher: &Matcher, expired: &dyn Fn() -> bool) -> Result<RoaringBitmap, ScimError> {
    let mut found = RoaringBitmap::new();
    for (looked, n) in (0u64..).zip(candidates) {
        if looked % LOOK_EVERY == LOOK_EVERY - 1 && expired() {
            return Err(ScimError::too_many(
                "the filter has to look at too many resources: add a comparison of id, userName, externalId or displayName with eq",
            ));
        }
        let Some(resource) = view.source.get(n) else { continue };
        if matcher.matches_with(&view.bare(resource), &Relation { view, resource }) {
            found.insert(n);
        }
    }
    Ok(found)
}

impl Serialize for Page<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("schemas", &["urn:ietf:params:scim:api:messages:2.0:ListResponse"])?;
        map.serialize_entry("totalResults", &self.total)?;
        map.serialize_entry("startIndex", &self.start_index)?;
        map.serialize_entry("itemsPerPage", &self.resources.len())?;
        map.serialize_entry("Resources", &self.resources)?;
        map.end()
    }
}
