//! What `status` shows, as values: sources with their groups, mappings with whom they grant what. No client, no clock; how it looks is in `text`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt;
use serde::Serialize;

use super::read::{Installation, World};
use crate::access::key::{MappingKey, MappingKind};
use crate::access::mapping::Mapping;
use crate::access::policy::Refusal;
use crate::access::select::select;
use crate::access::source::{ignored, known_groups};
use crate::access::targets::usable_sources;
use crate::api::ScimSource;
use crate::api::conditions::READY;
use crate::api::mapping::MappingStatus;
use crate::api::source::GroupStatus;
use crate::directory::{Directory, Resource, Source};

/// Everything that is shown.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The journals that could be read.
    pub journals: Vec<JournalView>,
    /// Each source.
    pub sources: Vec<SourceView>,
    /// Each mapping.
    pub mappings: Vec<MappingView>,
    /// What could not be read.
    pub notes: Vec<String>,
}

/// How far a journal is.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct JournalView {
    /// The installation's namespace.
    pub namespace: String,
    /// `directory` or `access`.
    pub name: &'static str,
    /// `<id>/<index>/<head>`, as `--expect-head` takes it.
    pub head: String,
    /// Its index.
    pub index: i64,
    /// When it was last written.
    pub written: Timestamp,
}

/// What a condition says.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ConditionView {
    /// Its type.
    pub kind: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// Its reason.
    pub reason: String,
    /// What is, and what to do.
    pub message: String,
}

/// One source.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SourceView {
    /// Its name.
    pub name: String,
    /// Where the provider pushes to.
    pub url: String,
    /// Ready, and what needs attention.
    pub conditions: Vec<ConditionView>,
    /// `Push` or `Suspended`.
    pub mode: String,
    /// When the provider last changed something.
    pub last_event: Option<Timestamp>,
    /// How many users, and how many of them are active.
    pub users: i64,
    /// See above.
    pub active_users: i64,
    /// How many groups.
    pub group_count: i64,
    /// `journal`, or `status` if the journal could not be read.
    pub from: &'static str,
    /// Its groups: all of them from the journal, the largest from the status. Mapped ones first, then by size.
    pub groups: Vec<GroupView>,
}

/// One group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GroupView {
    /// Its source.
    pub source: String,
    /// Its name at the provider.
    pub display_name: String,
    /// The provider's own id.
    pub external_id: Option<String>,
    /// Rolecall's id.
    pub id: String,
    /// How many direct members.
    pub members: i64,
    /// The source's `knownGroups` does not select it: it grants nothing.
    pub ignored: bool,
    /// The mappings that mean it.
    pub mapped_by: Vec<String>,
}

/// One mapping.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MappingView {
    /// `RoleMapping/<namespace>/<name>` or `ClusterRoleMapping/<name>`.
    pub key: MappingKey,
    /// The object is gone; what it granted stands still.
    pub gone: bool,
    /// Ready, and what needs attention.
    pub conditions: Vec<ConditionView>,
    /// The status's own line.
    pub summary: String,
    /// How many people, as the status says.
    pub people: i64,
    /// The groups that it means.
    pub groups: Vec<GroupView>,
    /// What of its groups no group bears.
    pub unmatched: Vec<String>,
    /// Whom it grants what; `None` if the access journal could not be read.
    pub grants: Option<Vec<GrantView>>,
}

/// One role in one namespace.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GrantView {
    /// `ClusterRole/view`.
    pub role: String,
    /// Where.
    pub namespace: String,
    /// Who holds it, as the API server knows them.
    pub people: Vec<String>,
    /// Who is about to.
    pub under_way: Vec<String>,
}

/// A mapping of either kind, as it was read.
struct Read<'a> {
    key: MappingKey,
    compiled: Result<Mapping, Refusal>,
    status: Option<&'a MappingStatus>,
}

/// Computes everything.
pub fn report(world: &World) -> Report {
    let mappings: Vec<MappingView> = read(world).into_iter().map(|mapping| mapping_view(world, &mapping)).collect();
    let mut mapped: BTreeMap<(&str, &str), Vec<String>> = BTreeMap::new();
    for mapping in &mappings {
        for group in &mapping.groups {
            mapped.entry((&group.source, &group.id)).or_default().push(mapping.key.to_string());
        }
    }
    let sources = world.sources.iter().map(|source| source_view(world, source, &mapped)).collect();
    let asked =
        |key: &MappingKey| key.kind == MappingKind::ClusterRoleMapping || world.namespace.as_ref().is_none_or(|ns| *ns == key.namespace);
    let mut shown: Vec<MappingView> = mappings
        .into_iter()
        .chain(gone(world))
        .filter(|mapping| asked(&mapping.key))
        .collect();
    shown.sort_by(|a, b| a.key.cmp(&b.key));
    Report {
        journals: world.installations.iter().flat_map(journal_views).collect(),
        sources,
        mappings: shown,
        notes: world.notes.clone(),
    }
}

fn journal_views(installation: &Installation) -> Vec<JournalView> {
    let view = |name, position: &crate::journal::Position, written| JournalView {
        namespace: installation.namespace.clone(),
        name,
        head: position.to_string(),
        index: position.index,
        written,
    };
    let directory = installation.directory.iter().map(|s| view("directory", &s.position, s.time));
    let access = installation.access.iter().map(|s| view("access", &s.position, s.time));
    directory.chain(access).collect()
}

fn read(world: &World) -> Vec<Read<'_>> {
    let namespaced = world.role_mappings.iter().map(|object| Read {
        key: MappingKey::role_mapping(object.namespace().unwrap_or_default(), object.name_any()),
        compiled: Mapping::of_role_mapping(object),
        status: object.status.as_ref(),
    });
    let cluster = world.cluster_role_mappings.iter().map(|object| Read {
        key: MappingKey::cluster_role_mapping(object.name_any()),
        compiled: Mapping::of_cluster_role_mapping(object),
        status: object.status.as_ref(),
    });
    namespaced.chain(cluster).collect()
}

impl World {
    /// The installation that a source belongs to: the one whose journal its status names, or the only one.
    pub(super) fn installation_of(&self, source: &ScimSource) -> Option<&Installation> {
        let id = source
            .status
            .as_ref()
            .and_then(|status| status.journal.as_ref())
            .map(|journal| &journal.id);
        match (id, self.installations.as_slice()) {
            (_, [only]) => Some(only),
            (Some(id), all) => all.iter().find(|installation| installation.id == *id),
            (None, _) => None,
        }
    }

    pub(super) fn source(&self, name: &str) -> Option<&ScimSource> {
        self.sources.iter().find(|source| source.name_any() == name)
    }

    fn directory_of(&self, source: &ScimSource) -> Option<&Directory> {
        Some(&self.installation_of(source)?.directory.as_ref()?.state)
    }
}

fn source_view(world: &World, object: &ScimSource, mapped: &BTreeMap<(&str, &str), Vec<String>>) -> SourceView {
    let name = object.name_any();
    let status = object.status.clone().unwrap_or_default();
    let mut view = SourceView {
        url: status.url,
        conditions: conditions(&status.conditions),
        mode: status.mode,
        last_event: status.last_event_time.as_deref().and_then(|time| time.parse().ok()),
        users: status.users,
        active_users: status.active_users,
        group_count: status.groups,
        from: "status",
        groups: status.largest_groups.iter().map(|group| from_status(&name, group)).collect(),
        name,
    };
    if let Some(directory) = world.directory_of(object) {
        view.from = "journal";
        view.groups.clear();
        (view.users, view.active_users, view.group_count, view.last_event) = (0, 0, 0, None);
        if let Some(source) = directory.source(&view.name) {
            view.users = count(source.user_count());
            view.active_users = count(source.active_count());
            view.group_count = count(source.group_count());
            view.last_event = source.last_event();
            view.groups = source.groups().map(|group| from_directory(&view.name, source, group)).collect();
            let counts = known(world, directory);
            if let Some(counts) = counts.source(&view.name) {
                let ignored: BTreeSet<String> = counts
                    .ignored()
                    .iter()
                    .filter_map(|n| Some(source.get(n)?.id.to_string()))
                    .collect();
                view.groups.iter_mut().for_each(|group| group.ignored = ignored.contains(&group.id));
            }
        }
    }
    for group in &mut view.groups {
        group.mapped_by = mapped.get(&(view.name.as_str(), group.id.as_str())).cloned().unwrap_or_default();
    }
    view.groups.sort_by(|a, b| {
        let order = |g: &GroupView| (g.mapped_by.is_empty(), g.ignored, -g.members);
        order(a).cmp(&order(b)).then_with(|| a.display_name.cmp(&b.display_name))
    });
    view
}

fn mapping_view(world: &World, mapping: &Read<'_>) -> MappingView {
    let status = mapping.status.cloned().unwrap_or_default();
    let mut view = MappingView {
        key: mapping.key.clone(),
        gone: false,
        conditions: conditions(&status.conditions),
        summary: status.summary,
        people: status.people,
        groups: status.groups.iter().map(|group| from_status(&group.source, group)).collect(),
        unmatched: Vec::new(),
        grants: None,
    };
    let Ok(compiled) = &mapping.compiled else { return view };
    if let Some((groups, unmatched)) = groups_now(world, compiled) {
        (view.groups, view.unmatched) = (groups, unmatched);
    }
    let ledgers = compiled
        .sources
        .iter()
        .filter_map(|name| world.installation_of(world.source(name)?));
    let ledger = ledgers.chain(match world.installations.as_slice() {
        [only] => Some(only),
        _ => None,
    });
    let ledger = ledger.into_iter().find_map(|installation| installation.access.as_ref());
    view.grants = ledger.map(|snapshot| grants(&snapshot.state, &mapping.key));
    view
}

/// The groups that the mapping means today, by the directory; `None` if that cannot be read.
fn groups_now(world: &World, mapping: &Mapping) -> Option<(Vec<GroupView>, Vec<String>)> {
    let none = crate::access::targets::Namespaces::default();
    let namespaces = match (&world.namespaces, mapping.key.kind) {
        (Some(namespaces), _) => namespaces,
        (None, MappingKind::ClusterRoleMapping) => &none,
        (None, MappingKind::RoleMapping) => return None,
    };
    let spec_of = |name: &str| world.source(name).map(|source| &source.spec);
    let (usable, _) = usable_sources(mapping, namespaces, spec_of);
    let directory = mapping.sources.iter().find_map(|name| world.directory_of(world.source(name)?))?;
    let directory = &known(world, directory);
    let selected = select(mapping, &usable, directory);
    let view = |(name, n): &(Arc<str>, u32)| {
        let source = directory.source(name)?;
        Some(from_directory(name, source, source.get(*n)?))
    };
    Some((selected.groups.iter().filter_map(view).collect(), selected.unmatched))
}

fn grants(ledger: &crate::access::ledger::Ledger, owner: &MappingKey) -> Vec<GrantView> {
    type People = BTreeSet<String>;
    let mut places: BTreeMap<(String, String), (People, People)> = BTreeMap::new();
    for (id, key) in ledger.of_owner(owner) {
        let role = format!("{}/{}", key.role.kind.as_str(), key.role.name);
        let (people, under_way) = places.entry((key.namespace, role)).or_default();
        if let Some(binding) = ledger.binding(id) {
            people.extend(binding.subjects.keys().map(|username| username.to_string()));
        }
        for (_, intent) in ledger.open_intents_of(id) {
            under_way.extend(intent.adds.iter().map(|grantee| grantee.username.to_string()));
        }
    }
    let view = |((namespace, role), (people, under_way)): ((String, String), (People, People))| GrantView {
        role,
        namespace,
        under_way: under_way.difference(&people).cloned().collect(),
        people: people.into_iter().collect(),
    };
    places.into_iter().map(view).collect()
}

/// Mappings that the ledger still has grants of, and that are not there any more.
fn gone(world: &World) -> Vec<MappingView> {
    if !world.complete {
        return Vec::new();
    }
    let there: BTreeSet<MappingKey> = read(world).into_iter().map(|mapping| mapping.key).collect();
    let ledgers = world.installations.iter().filter_map(|installation| installation.access.as_ref());
    ledgers
        .flat_map(|snapshot| snapshot.state.owners().map(|owner| (owner.clone(), grants(&snapshot.state, owner))))
        .filter(|(owner, _)| !there.contains(owner))
        .map(|(key, grants)| MappingView {
            key,
            gone: true,
            conditions: Vec::new(),
            summary: String::new(),
            people: 0,
            groups: Vec::new(),
            unmatched: Vec::new(),
            grants: Some(grants),
        })
        .collect()
}

/// Ready first, then what is True and needs attention.
fn conditions(all: &[Condition]) -> Vec<ConditionView> {
    let mut shown: Vec<&Condition> = all.iter().filter(|c| c.type_ == READY || c.status == "True").collect();
    shown.sort_by_key(|c| c.type_ != READY);
    let view = |c: &Condition| ConditionView {
        kind: c.type_.clone(),
        status: c.status.clone(),
        reason: c.reason.clone(),
        message: c.message.clone(),
    };
    shown.into_iter().map(view).collect()
}

fn from_status(source: &str, group: &GroupStatus) -> GroupView {
    GroupView {
        source: source.to_owned(),
        display_name: group.display_name.clone(),
        external_id: group.external_id.clone(),
        id: group.id.clone(),
        members: group.members,
        ignored: false,
        mapped_by: Vec::new(),
    }
}

fn from_directory(name: &str, source: &Source, group: &Resource) -> GroupView {
    GroupView {
        source: name.to_owned(),
        display_name: group.name.to_string(),
        external_id: group.external_id.as_ref().map(|id| id.to_string()),
        id: group.id.to_string(),
        members: count(source.members(group.n).len()),
        ignored: false,
        mapped_by: Vec::new(),
    }
}

/// The directory in which only the groups count that the sources' `knownGroups` select.
pub(super) fn known(world: &World, directory: &Directory) -> Directory {
    let mut known = directory.clone();
    for object in &world.sources {
        let name = object.name_any();
        if let (Some(source), Ok(filter)) = (directory.source(&name), known_groups(object)) {
            let groups = ignored(filter.as_ref(), source, source.groups().map(|group| group.n));
            known = known.ignoring(&name, &groups);
        }
    }
    known
}

fn count(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}
