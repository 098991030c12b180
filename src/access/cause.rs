//! Which event of the directory set something off: looked for among its newest changes, the newest first. Whether something happens is decided in `diff`.

use roaring::RoaringBitmap;

use super::why::Event;
use crate::directory::{Change, Kind, Resource, Source, What};

/// How many changes are looked at for one person. What happens is looked at within milliseconds, so that its cause is among these; else the newest event of
/// the group or the person is named, which may be a later one.
const NEWEST: usize = 256;

/// By what the person is an active member of the group, directly or through other groups: the newest change that took part in it.
pub(super) fn joined(source: &Source, n: u32, via: u32) -> Event {
    let above = source.ancestors(n);
    // what took part in it is a change of the person or of one of these groups: nothing newer than the newest of those has to be looked at
    let part = [n, via].into_iter().chain(&above).filter_map(|n| source.get(n));
    let last = part.map(|resource| resource.changed()).max().unwrap_or_default();
    let newest = source.newest_changes().take(NEWEST).skip_while(|c| c.index > last);
    let found = { newest }.find(|c| match (&c.what, c.kind) {
        (What::Members { add, .. }, _) => concerns(add, n, &above) && (c.n == via || source.ancestors(c.n).contains(via)),
        (What::Created | What::Attributes, Kind::User) => c.n == n,
        (What::Created | What::Attributes, Kind::Group) => c.n == via,
        (What::Deleted, _) => false,
    });
    let newest = || {
        let both = [source.get(n), source.get(via)].into_iter().flatten();
        both.max_by_key(|r| r.version).map(|resource| said(resource))
    };
    found.map(of).or_else(newest).unwrap_or_default()
}

/// By what the person is in none of the groups any more: of those that the mapping has, and of the one that it had the person through.
pub(super) fn left(source: &Source, n: u32, via: u32, groups: &[u32]) -> Event {
    let above = source.ancestors(n);
    let meant = |group: u32| group == via || groups.contains(&group);
    let found = source.newest_changes().take(NEWEST).find(|c| match (&c.what, c.kind) {
        (What::Members { remove, .. }, _) => concerns(remove, n, &above) && (meant(c.n) || source.ancestors(c.n).iter().any(meant)),
        // a group that still has the person, and is not meant any more
        (What::Attributes, Kind::Group) => above.contains(c.n),
        _ => false,
    });
    found.map_or_else(|| last(source, via), of)
}

/// The event that last changed a user or group, or deleted it; none, if nobody knows it any more.
pub(super) fn last(source: &Source, n: u32) -> Event {
    match (source.get(n), source.gone(n)) {
        (Some(resource), _) => said(resource),
        (None, Some(gone)) => Event {
            index: gone.index,
            request: gone.request.to_string(),
        },
        (None, None) => Event::default(),
    }
}

/// The event that last changed a user or group.
pub(super) fn said(resource: &Resource) -> Event {
    Event {
        index: resource.changed(),
        request: resource.request.to_string(),
    }
}

fn of(change: &Change) -> Event {
    Event {
        index: change.index,
        request: change.request.to_string(),
    }
}

/// Whether the person, or a group that holds the person, is among these numbers.
fn concerns(numbers: &[u32], n: u32, above: &RoaringBitmap) -> bool {
    let among = |n: u32| numbers.binary_search(&n).is_ok();
    !numbers.is_empty() && (among(n) || above.iter().any(among))
}
