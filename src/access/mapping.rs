//! A mapping, compiled from either kind: what can be wrong with a spec is found here, once. Which groups and namespaces it means today is in `select` and `targets`.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::key::MappingKey;
use super::members::MemberFilter;
use super::pattern::Pattern;
use super::policy::Refusal;
use super::rule::GrantRule;
use super::shard::SubjectKind;
use crate::api::limits::Limits;
use crate::api::mapping::{ClusterGrant, ClusterRoleMapping, Grant, Groups, Members, Mode, NewGroups, RoleMapping, RoleRef, Subjects};
use crate::directory::Resource;
use crate::scim::ResourceKind;
use crate::scim::filter::{Filter, Key, Matcher};
use crate::scim::tolerance::Tolerance;

/// A compiled mapping.
#[derive(Clone, Debug)]
pub struct Mapping {
    /// Which one.
    pub key: MappingKey,
    /// The object's UID.
    pub uid: String,
    /// The generation of the spec.
    pub generation: i64,
    /// The sources, each once.
    pub sources: Vec<Arc<str>>,
    /// Which groups.
    pub groups: GroupSelector,
    /// Each group needs an approval before it grants anything.
    pub approves_groups: bool,
    /// Which of their members; none: all.
    pub members: Option<Arc<MemberFilter>>,
    /// What their members get, and where.
    pub grants: Vec<GrantRule>,
    /// Whom it grants to: their members, themselves, or both.
    pub subjects: Vec<SubjectKind>,
    /// Whether it acts.
    pub mode: Mode,
    /// When it ends.
    pub not_after: Option<Timestamp>,
    /// It has ended: whoever compiles it says so, by the clock.
    pub expired: bool,
    /// Holds new grants.
    pub suspend: bool,
    /// How many may lose something within an hour.
    pub limits: Limits,
}

/// Which groups a mapping means.
#[derive(Clone, Debug)]
pub enum GroupSelector {
    /// By displayName, letter for letter.
    Names(Vec<String>),
    /// By externalId.
    ExternalIds(Vec<String>),
    /// By a filter.
    Filter(Box<GroupFilter>),
    /// By a pattern over displayName.
    Pattern(Box<Pattern>),
}

/// A filter over displayName, externalId and id, compiled.
#[derive(Clone, Debug)]
pub struct GroupFilter {
    text: String,
    matcher: Matcher,
    /// The one id that it can match, if it says so.
    pub(super) id: Option<String>,
    /// The one externalId that it can match.
    pub(super) external_id: Option<String>,
    /// It looks at names: of groups of one name only the oldest bearer counts.
    pub(super) by_name: bool,
}

impl Mapping {
    /// How many may lose something within an hour; `None` once it has ended by `notAfter`: then everybody is to go, as was said.
    pub fn limits(&self) -> Option<Limits> {
        (!self.expired).then_some(self.limits)
    }

    /// Compiles a RoleMapping.
    pub fn of_role_mapping(object: &RoleMapping) -> Result<Self, Refusal> {
        let meta = &object.metadata;
        let (Some(name), Some(namespace)) = (&meta.name, &meta.namespace) else {
            return Err(Refusal::new("InvalidSpec", "the object has no name or no namespace"));
        };
        let spec = &object.spec;
        let groups = groups(&spec.groups)?;
        let rule = |(i, grant): (usize, &Grant)| GrantRule::of(i, &grant.role_ref, None, groups.captures());
        let grants: Result<Vec<_>, _> = spec.grants.iter().enumerate().map(rule).collect();
        Ok(Self {
            key: MappingKey::role_mapping(namespace.clone(), name.clone()),
            uid: meta.uid.clone().unwrap_or_default(),
            generation: meta.generation.unwrap_or_default(),
            sources: sources(&spec.sources)?,
            approves_groups: spec.groups.new_groups == NewGroups::Approve,
            subjects: subjects(spec.subjects, spec.members.as_ref())?,
            members: MemberFilter::of(spec.members.as_ref())?,
            grants: some(grants?)?,
            groups,
            mode: spec.mode,
            not_after: not_after(spec.not_after.as_deref())?,
            expired: false,
            suspend: spec.suspend,
            limits: spec.limits.unwrap_or_default(),
        })
    }

    /// Compiles a ClusterRoleMapping.
    pub fn of_cluster_role_mapping(object: &ClusterRoleMapping) -> Result<Self, Refusal> {
        let meta = &object.metadata;
        let Some(name) = &meta.name else {
            return Err(Refusal::new("InvalidSpec", "the object has no name"));
        };
        let spec = &object.spec;
        let groups = groups(&spec.groups)?;
        let rule = |(i, grant): (usize, &ClusterGrant)| GrantRule::of(i, &grant.role_ref, Some(&grant.namespaces), groups.captures());
        let grants: Result<Vec<_>, _> = spec.grants.iter().enumerate().map(rule).collect();
        Ok(Self {
            key: MappingKey::cluster_role_mapping(name.clone()),
            uid: meta.uid.clone().unwrap_or_default(),
            generation: meta.generation.unwrap_or_default(),
            sources: sources(&spec.sources)?,
            approves_groups: spec.groups.new_groups == NewGroups::Approve,
            subjects: subjects(spec.subjects, spec.members.as_ref())?,
            members: MemberFilter::of(spec.members.as_ref())?,
            grants: some(grants?)?,
            groups,
            mode: spec.mode,
            not_after: not_after(spec.not_after.as_deref())?,
            expired: false,
            suspend: spec.suspend,
            limits: spec.limits.unwrap_or_default(),
        })
    }

    /// The same, with what the clock says of its end.
    pub fn at(self, now: Timestamp) -> Self {
        let expired = self.not_after.is_some_and(|end| end <= now);
        Self { expired, ..self }
    }

    /// Whether groups may yield different things.
    pub fn is_by_group(&self) -> bool {
        self.grants.iter().any(GrantRule::is_by_group)
    }

    /// Whether it grants something to all its groups alike.
    pub fn is_for_everyone(&self) -> bool {
        !self.expired && !self.grants.iter().all(GrantRule::is_by_group)
    }

    /// What it grants to all its groups alike, for people.
    pub fn text_for_everyone(&self) -> String {
        let rules = self.grants.iter().filter(|rule| !rule.is_by_group());
        let roles = rules.flat_map(|rule| rule.role.all().into_iter().map(move |role| (role, rule.place.text())));
        let text = roles.map(|(role, place)| format!("{}/{} {place}", role.kind.as_str(), role.name));
        text.collect::<Vec<_>>().join(", ")
    }

    /// Every role that it can grant, in the order of its spec.
    pub fn roles(&self) -> Vec<RoleRef> {
        self.grants.iter().flat_map(|rule| rule.role.all()).collect()
    }

    /// Whether it uses the source.
    pub fn uses(&self, source: &str) -> bool {
        self.sources.iter().any(|s| **s == *source)
    }
}

// The CRD's own rules say the same; an object may be older than they are.

fn some(grants: Vec<GrantRule>) -> Result<Vec<GrantRule>, Refusal> {
    match grants.len() {
        0 => Err(Refusal::new("InvalidSpec", "spec.grants is empty")),
        _ => match grants.iter().map(|rule| rule.role.all().len()).sum() {
            0..=24 => Ok(grants),
            n => Err(Refusal::new("InvalidSpec", format!("spec.grants names {n} roles; at most 24"))),
        },
    }
}

fn subjects(subjects: Subjects, members: Option<&Members>) -> Result<Vec<SubjectKind>, Refusal> {
    match (subjects, members) {
        (Subjects::User, _) => Ok(vec![SubjectKind::User]),
        (_, Some(_)) => Err(Refusal::new(
            "InvalidSpec",
            "spec.members needs subjects: User: what is granted to a group, its members have, whoever they are",
        )),
        (Subjects::Group, None) => Ok(vec![SubjectKind::Group]),
        (Subjects::Both, None) => Ok(vec![SubjectKind::User, SubjectKind::Group]),
    }
}

fn not_after(text: Option<&str>) -> Result<Option<Timestamp>, Refusal> {
    let wrong = |text| Refusal::new("InvalidSpec", format!("spec.notAfter {text:?} is no time of RFC 3339"));
    text.map(|text| text.parse().map_err(|_| wrong(text))).transpose()
}

fn sources(names: &[String]) -> Result<Vec<Arc<str>>, Refusal> {
    let mut found: Vec<Arc<str>> = Vec::new();
    for name in names {
        if !name.is_empty() && !found.iter().any(|s| **s == **name) {
            found.push(name.as_str().into());
        }
    }
    if found.is_empty() {
        return Err(Refusal::new("InvalidSpec", "spec.sources names no ScimSource"));
    }
    Ok(found)
}

fn groups(groups: &Groups) -> Result<GroupSelector, Refusal> {
    let Groups {
        names,
        external_ids,
        filter,
        pattern,
        ..
    } = groups;
    match (names, external_ids, filter, pattern) {
        (Some(names), None, None, None) => Ok(GroupSelector::Names(each_once(names))),
        (None, Some(ids), None, None) => Ok(GroupSelector::ExternalIds(each_once(ids))),
        (None, None, Some(filter), None) => Ok(GroupSelector::Filter(Box::new(GroupFilter::compile(filter)?))),
        (None, None, None, Some(pattern)) => Ok(GroupSelector::Pattern(Box::new(Pattern::compile(pattern)?))),
        _ => Err(Refusal::new(
            "InvalidSpec",
            "exactly one of spec.groups.names, externalIds, filter and pattern must be set",
        )),
    }
}

/// The list without what comes again.
pub(super) fn each_once(list: &[String]) -> Vec<String> {
    let mut seen = BTreeSet::new();
    list.iter().filter(|item| seen.insert(item.as_str())).cloned().collect()
}

/// What is wrong with a filter that an admin wrote.
pub(super) fn wrong_filter(field: &str, text: &str, what: impl std::fmt::Display) -> Refusal {
    Refusal::new("InvalidFilter", format!("{field} {text:?}: {what}"))
}

/// Compiles a filter that an admin wrote: only from providers a word without quotes is taken.
pub(super) fn matcher(filter: &Filter, kind: ResourceKind, field: &str, text: &str) -> Result<Matcher, Refusal> {
    let matcher = filter.compile(kind).map_err(|error| wrong_filter(field, text, error.detail))?;
    match matcher.seen().tolerated().any(|tolerance| tolerance == Tolerance::BareLiteral) {
        true => Err(wrong_filter(
            field,
            text,
            "a text stands in double quotes, as in displayName eq \"Backend\"",
        )),
        false => Ok(matcher.absent_is_false()),
    }
}

impl GroupSelector {
    /// The names of what it captures of each group's name.
    pub fn captures(&self) -> &[String] {
        match self {
            Self::Pattern(pattern) => pattern.captures(),
            Self::Names(_) | Self::ExternalIds(_) | Self::Filter(_) => &[],
        }
    }
}

impl GroupFilter {
    /// Compiles a filter. Any other attribute than displayName, externalId and id is refused: a filter over more would be an oracle.
    pub fn compile(text: &str) -> Result<Self, Refusal> {
        Self::of("spec.groups.filter", text)
    }

    /// Compiles the filter of that field.
    pub fn of(field: &str, text: &str) -> Result<Self, Refusal> {
        let filter = Filter::parse(text).map_err(|error| wrong_filter(field, text, error.detail))?;
        let mut by_name = false;
        for path in filter.paths() {
            let name = path.name.to_ascii_lowercase();
            if path.sub.is_some() || path.urn.is_some() || !["displayname", "externalid", "id"].contains(&name.as_str()) {
                let what = format!("groups are filtered by displayName, externalId and id, not by {path}");
                return Err(wrong_filter(field, text, what));
            }
            by_name |= name == "displayname";
        }
        let matcher = matcher(&filter, ResourceKind::Group, field, text)?;
        let only = |key: Key| {
            filter
                .keys(ResourceKind::Group)
                .into_iter()
                .find(|(k, _)| *k == key)
                .map(|(_, value)| value.to_owned())
        };
        Ok(Self {
            matcher,
            id: only(Key::Id),
            external_id: only(Key::ExternalId),
            by_name,
            text: text.to_owned(),
        })
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether the filter selects the group.
    pub fn matches(&self, group: &Resource) -> bool {
        let mut view = Map::new();
        view.insert("id".to_owned(), Value::from(group.id.to_string()));
        if !group.name.is_empty() {
            view.insert("displayName".to_owned(), Value::from(&*group.name));
        }
        if let Some(external_id) = &group.external_id {
            view.insert("externalId".to_owned(), Value::from(&**external_id));
        }
        self.matcher.matches(&view)
    }
}
