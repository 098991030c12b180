//! Lists: which resources a query finds, by the indexes where they can tell, in which order, and which page of them is answered. Pure.

use std::cmp::Ordering;

use roaring::RoaringBitmap;

use super::cursor::After;
use super::judge::{kind, parse_id, resource_kind};
use super::render::{self, Object, Relation, Rendered, View};
use crate::directory::Resource;
use crate::scim::filter::Key;
use crate::scim::schema::Extensions;
use crate::scim::sort::{SortKey, Sorter, order};
use crate::scim::{ListQuery, Matcher, ResourceKind, ScimError, Seen, fold};

/// A page ends early when it holds so many members of groups; a client goes on at `startIndex` + `itemsPerPage`, or with the cursor.
const MEMBERS_A_PAGE: u64 = 1_000_000;
/// How often the clock is asked while resources are judged one by one.
const LOOK_EVERY: usize = 1024;

/// One page.
pub(super) struct Page<'a> {
    total: u64,
    start_index: u64,
    resources: Vec<Rendered<'a>>,
    /// The last resource of the page, if more follow.
    pub(super) next: Option<After>,
}

/// Where a page begins.
pub(super) enum Begin {
    /// So many resources are skipped.
    Skip(u64),
    /// At the first resource behind this one.
    After(After),
}

/// Finds the page among the resources of these kinds. `expired` says when to give up: 400 `tooMany`.
pub(super) fn list<'a>(
    view: View<'a>,
    kinds: &[ResourceKind],
    query: &'a ListQuery,
    begin: &Begin,
    extensions: &Extensions,
    seen: &Seen,
    expired: &dyn Fn() -> bool,
) -> Result<Page<'a>, ScimError> {
    let found = find(view, kinds, query, extensions, seen, expired)?;
    let mut page = Page {
        total: found.len(),
        start_index: query.start_index,
        resources: Vec::new(),
        next: None,
    };
    let more: Box<dyn Iterator<Item = (Option<SortKey>, u32)>> = match &query.sort {
        None => {
            let first = match begin {
                Begin::Skip(skip) => u32::try_from(*skip).ok().and_then(|skip| found.select(skip)),
                Begin::After(after) => after.n.checked_add(1),
            };
            match first {
                None => Box::new(std::iter::empty()),
                Some(first) => Box::new(found.into_range(first..).map(|n| (None, n))),
            }
        }
        Some(sort) => {
            let sorters = kinds
                .iter()
                .map(|kind| Ok((*kind, sort.compile(*kind, kinds, extensions)?)))
                .collect::<Result<Vec<_>, ScimError>>()?;
            let mut keyed = Vec::with_capacity(usize::try_from(found.len()).unwrap_or(0));
            for (looked, resource) in found.iter().filter_map(|n| view.source.get(n)).enumerate() {
                give_up(looked, expired)?;
                keyed.push((key(view, &sorters, resource), resource.n));
            }
            let by =
                |a: &(Option<SortKey>, u32), b: &(Option<SortKey>, u32)| order(sort.descending, (a.0.as_ref(), a.1), (b.0.as_ref(), b.1));
            keyed.sort_unstable_by(by);
            let first = match begin {
                Begin::Skip(skip) => usize::try_from(*skip).unwrap_or(usize::MAX),
                Begin::After(after) => {
                    let after = (after.key.clone(), after.n);
                    keyed.partition_point(|one| by(one, &after) != Ordering::Greater)
                }
            };
            Box::new(keyed.into_iter().skip(first))
        }
    };
    let mut members = 0;
    let count = usize::try_from(query.count).unwrap_or(usize::MAX);
    let mut last = None;
    for (key, n) in more {
        if page.resources.len() >= count || members >= MEMBERS_A_PAGE {
            page.next = last;
            break;
        }
        let Some(resource) = view.source.get(n) else { continue };
        let rendered = view.resource(resource, query.projection(resource_kind(resource.kind)));
        members += rendered.member_count();
        page.resources.push(rendered);
        last = Some(After { key, n });
    }
    Ok(page)
}

/// Whether answering the query means to judge or order many resources one by one.
pub(super) fn is_long(kinds: &[ResourceKind], query: &ListQuery) -> bool {
    let members = kinds.contains(&ResourceKind::Group) && query.projection(ResourceKind::Group).wants("members");
    let judged = |filter: &crate::scim::Filter| kinds.iter().any(|kind| filter.keys(*kind).is_empty()); // a prefix may be short
    members || query.sort.is_some() || query.filter.as_ref().is_some_and(judged)
}

fn find(
    view: View,
    kinds: &[ResourceKind],
    query: &ListQuery,
    extensions: &Extensions,
    seen: &Seen,
    expired: &dyn Fn() -> bool,
) -> Result<RoaringBitmap, ScimError> {
    let mut found = RoaringBitmap::new();
    for of in kinds {
        let everything = view.source.of_kind(kind(*of));
        let Some(filter) = &query.filter else {
            found |= everything;
            continue;
        };
        let matcher = filter.compile_for(*of, kinds, extensions)?;
        seen.also(matcher.seen());
        let mut candidates = everything.clone();
        for (key, text) in filter.keys(*of) {
            candidates &= look_up(view, *of, key, text);
        }
        for (_, text) in filter.prefixes(*of) {
            candidates &= view.source.by_prefix(kind(*of), &fold(text)).collect::<RoaringBitmap>();
        }
        let meta = filter.paths().iter().any(|path| path.name.eq_ignore_ascii_case("meta"));
        found |= select(view, &candidates, &matcher, meta, expired)?;
    }
    Ok(found)
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
        (Key::Email, _) => source.users_by_email(&fold(text)).collect(),
    }
}

fn give_up(looked: usize, expired: &dyn Fn() -> bool) -> Result<(), ScimError> {
    match looked % LOOK_EVERY == LOOK_EVERY - 1 && expired() {
        true => Err(ScimError::too_many(
            "too many resources have to be looked at: add a comparison of id, userName, externalId or displayName with eq to the filter",
        )),
        false => Ok(()),
    }
}

fn select(
    view: View,
    candidates: &RoaringBitmap,
    matcher: &Matcher,
    meta: bool,
    expired: &dyn Fn() -> bool,
) -> Result<RoaringBitmap, ScimError> {
    let mut found = RoaringBitmap::new();
    for (looked, n) in candidates.iter().enumerate() {
        give_up(looked, expired)?;
        let Some(resource) = view.source.get(n) else { continue };
        if matcher.matches_with(&view.bare(resource, meta), &Relation { view, resource }) {
            found.insert(n);
        }
    }
    Ok(found)
}

fn key(view: View, sorters: &[(ResourceKind, Sorter)], resource: &Resource) -> Option<SortKey> {
    let of = resource_kind(resource.kind);
    let (_, sorter) = sorters.iter().find(|(kind, _)| *kind == of)?;
    match sorter.is_by(of.required()) {
        true => Some(SortKey::Text(fold(&resource.name))),
        false => sorter.key(&view.bare(resource, sorter.is_meta())),
    }
}

impl Page<'_> {
    /// Writes it as a ListResponse; by cursors it has no `startIndex`.
    pub(super) fn write(&self, out: &mut Vec<u8>, next: Option<&str>, by_cursor: bool) -> serde_json::Result<()> {
        let mut object = Object::begin(out);
        object.member("schemas", &["urn:ietf:params:scim:api:messages:2.0:ListResponse"])?;
        object.member("totalResults", &self.total)?;
        if !by_cursor {
            object.member("startIndex", &self.start_index)?;
        }
        object.member("itemsPerPage", &self.resources.len())?;
        if let Some(next) = next {
            object.member("nextCursor", &next)?;
        }
        render::list(object.key("Resources")?, self.resources.iter(), |out, resource| resource.write(out))?;
        object.end();
        Ok(())
    }
}
