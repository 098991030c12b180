//! Which groups of the directory a mapping means. Who is in them is in `people`.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::mapping::{GroupFilter, GroupSelector, Mapping};
use super::members::MemberFilter;
use crate::directory::{Directory, Kind, Resource, Source};
use crate::scim::fold;

/// A group: its source and its number there.
pub type Group = (Arc<str>, u32);

/// The groups of one mapping, and what is to be told of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selected {
    /// The groups that count, in a fixed order: those that wait for an approval last; by source as the mapping lists them, then by age of the group.
    pub groups: Vec<Group>,
    /// Those of them that wait for an approval: what they would grant is held.
    pub waiting: BTreeSet<Group>,
    /// Which of their members; none: all.
    pub members: Option<Arc<MemberFilter>>,
    /// The names or externalIds that no group bears; the filter or pattern, if it matches no group.
    pub unmatched: Vec<String>,
    /// The names or externalIds that several groups bear: the one that has borne it longest has it, the others get nothing.
    pub ambiguous: Vec<String>,
}

impl Selected {
    /// The groups of one source, in order.
    pub fn of<'a>(&'a self, source: &'a str) -> impl Iterator<Item = u32> + 'a {
        self.groups.iter().filter(move |(s, _)| **s == *source).map(|(_, n)| *n)
    }

    /// Whether a member of the groups is meant.
    pub fn means(&self, user: &Resource) -> bool {
        self.members.as_ref().is_none_or(|filter| filter.selects(user))
    }

    /// The same when these wait: who is in another group, too, is granted things through that.
    pub fn with_waiting(mut self, waiting: BTreeSet<Group>) -> Self {
        let (last, first): (Vec<Group>, Vec<Group>) = self.groups.drain(..).partition(|group| waiting.contains(group));
        self.groups.extend(first.into_iter().chain(last));
        self.waiting = waiting;
        self
    }

    /// Whether the group counts.
    pub fn has(&self, source: &str, n: u32) -> bool {
        self.groups.iter().any(|(s, g)| *g == n && **s == *source)
    }
}

/// A group that bears a name: the smallest has borne it longest.
type Bearer = (i64, usize, u32);

/// Selects the groups of `mapping` in those of its sources that it may use (`sources`; see [`super::targets::usable_sources`]).
pub fn select(mapping: &Mapping, sources: &[Arc<str>], directory: &Directory) -> Selected {
    let found: Vec<(usize, &Arc<str>, &Source)> = sources
        .iter()
        .enumerate()
        .filter(|(_, name)| mapping.uses(name))
        .filter_map(|(i, name)| Some((i, name, directory.source(name)?)))
        .collect();
    let mut selected = Selected {
        members: mapping.members.clone(),
        ..Selected::default()
    };
    let mut groups: Vec<(usize, u32)> = match &mapping.groups {
        GroupSelector::Names(names) => by(names, &mut selected, |name, bearers| {
            for (i, _, source) in &found {
                let resources = source.groups_by_name(name).filter_map(|n| source.get(n));
                bearers.extend(resources.map(|group| (group.name_since, *i, group.n)));
            }
        }),
        GroupSelector::ExternalIds(ids) => by(ids, &mut selected, |id, bearers| {
            for (i, _, source) in &found {
                let resources = source.by_external_id(Kind::Group, id).filter_map(|n| source.get(n));
                bearers.extend(resources.map(|group| (group.since("externalId"), *i, group.n)));
            }
        }),
        GroupSelector::Filter(filter) => {
            let matched = matching(&found, |source| candidates(filter, source), |group| filter.matches(group));
            among(matched, filter.text(), filter.by_name, &mut selected)
        }
        GroupSelector::Pattern(pattern) => {
            let matched = matching(&found, |source| Box::new(source.groups()), |group| pattern.matches(&group.name));
            among(matched, pattern.text(), true, &mut selected)
        }
    };
    groups.sort_unstable();
    groups.dedup();
    selected.groups = groups.into_iter().filter_map(|(i, n)| Some((sources.get(i)?.clone(), n))).collect();
    selected
}

fn by(wanted: &[String], selected: &mut Selected, mut bearers_of: impl FnMut(&str, &mut Vec<Bearer>)) -> Vec<(usize, u32)> {
    let mut groups = Vec::new();
    for name in wanted {
        let mut bearers = Vec::new();
        bearers_of(name, &mut bearers);
        match bearers.iter().min() {
            Some((_, i, n)) => groups.push((*i, *n)),
            None => selected.unmatched.push(name.clone()),
        }
        if bearers.len() > 1 {
            selected.ambiguous.push(name.clone());
        }
    }
    groups
}

type Groups<'a> = Box<dyn Iterator<Item = &'a Arc<Resource>> + 'a>;

fn matching<'a>(
    found: &[(usize, &Arc<str>, &'a Source)],
    candidates: impl Fn(&'a Source) -> Groups<'a>,
    matches: impl Fn(&Resource) -> bool,
) -> Vec<(usize, &'a Arc<Resource>)> {
    let of = |(i, _, source): &(usize, &Arc<str>, &'a Source)| {
        let i = *i;
        candidates(source).map(move |group| (i, group))
    };
    found.iter().flat_map(of).filter(|(_, group)| matches(group)).collect()
}

/// Of the groups that match, those that count. `by_name`: it was their names that decided.
fn among(matched: Vec<(usize, &Arc<Resource>)>, text: &str, by_name: bool, selected: &mut Selected) -> Vec<(usize, u32)> {
    if matched.is_empty() {
        selected.unmatched.push(text.to_owned());
    }
    if !by_name {
        return matched.into_iter().map(|(i, group)| (i, group.n)).collect();
    }
    // names are compared without case here, as a filter compares them
    let mut bearers_of: HashMap<String, Vec<(Bearer, &str)>> = HashMap::new();
    for (i, group) in matched {
        bearers_of
            .entry(fold(&group.name))
            .or_default()
            .push(((group.name_since, i, group.n), &group.name));
    }
    let mut groups = Vec::new();
    for bearers in bearers_of.values() {
        if let Some(((_, i, n), name)) = bearers.iter().min() {
            groups.push((*i, *n));
            if bearers.len() > 1 {
                selected.ambiguous.push((*name).to_owned());
            }
        }
    }
    selected.ambiguous.sort_unstable();
    groups
}

/// The groups that the filter could match: by an index, if the filter says which one it means.
fn candidates<'a>(filter: &'a GroupFilter, source: &'a Source) -> Groups<'a> {
    if let Some(id) = &filter.id {
        let group = id
            .parse()
            .ok()
            .and_then(|id| source.by_id(&id))
            .filter(|group| group.kind == Kind::Group && !source.ignored().contains(group.n));
        return Box::new(group.into_iter());
    }
    if let Some(external_id) = &filter.external_id {
        return Box::new(source.by_external_id(Kind::Group, external_id).filter_map(|n| source.get(n)));
    }
    Box::new(source.groups())
}
