//! `kubectl rolecall holds` and `approve`: what waits for an approval, computed from what was read; no client, no clock.

use jiff::Timestamp;
use serde::Serialize;
use uuid::Uuid;

use super::read::World;
use crate::access::key::MappingKey;
use crate::access::ledger::On;

/// What waits.
#[derive(Debug, Default, Serialize)]
pub struct Holds {
    /// Each removal, by mapping, then by record.
    pub removals: Vec<HeldView>,
    /// Each group that is new to a mapping, by mapping, then by record.
    pub groups: Vec<GroupView>,
    /// What could not be read.
    pub notes: Vec<String>,
}

/// A removal that waits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HeldView {
    /// By which mapping the person holds it.
    pub mapping: MappingKey,
    /// The record's number: an approval up to it, or to a later one, releases it.
    pub record: i64,
    /// Since when.
    pub since: Timestamp,
    /// Where.
    pub namespace: String,
    /// `ClusterRole/view`.
    pub role: String,
    /// Who, as the API server knows them.
    pub name: String,
    /// The person's source.
    pub source: String,
    /// Why it is to go.
    pub why: String,
}

/// A group that waits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GroupView {
    /// To which mapping it is new.
    pub mapping: MappingKey,
    /// The record's number: an approval up to it, or to a later one, releases it.
    pub record: i64,
    /// Since when.
    pub since: Timestamp,
    /// Its source.
    pub source: String,
    /// Its name.
    pub name: String,
    /// Its id.
    pub id: Uuid,
    /// What the mapping's expressions yield for it.
    pub yields: String,
    /// What the mapping grants to all its groups, and so to this one.
    pub all: String,
}

/// What a name means: `ScimSource/<name>`, `ClusterRoleMapping/<name>`, `RoleMapping/<name>` in that namespace, or `RoleMapping/<namespace>/<name>`.
///
/// # Errors
/// What names look like.
pub fn on(name: &str, namespace: &str) -> Result<On, String> {
    let parts: Vec<&str> = name.split('/').collect();
    let kind = parts.first().map(|kind| kind.to_ascii_lowercase()).unwrap_or_default();
    let is = |names: &[&str]| names.contains(&kind.as_str());
    match parts.as_slice() {
        [_, name] if is(&["scimsource", "scimsources"]) => Ok(On::Source((*name).to_owned())),
        [_, name] if is(&["clusterrolemapping", "clusterrolemappings", "crmap"]) => {
            Ok(On::Mapping(MappingKey::cluster_role_mapping(*name)))
        }
        [_, name] if is(&["rolemapping", "rolemappings", "rmap"]) => Ok(On::Mapping(MappingKey::role_mapping(namespace, *name))),
        [_, namespace, name] if is(&["rolemapping", "rolemappings", "rmap"]) => {
            Ok(On::Mapping(MappingKey::role_mapping(*namespace, *name)))
        }
        _ => Err(format!(
            "{name:?} is no name: ScimSource/<name>, ClusterRoleMapping/<name> or RoleMapping/<namespace>/<name>"
        )),
    }
}

/// What waits of these, or, if there are none, of everything.
///
/// # Errors
/// That no access journal can be read.
pub fn holds(world: &World, asked: &[On]) -> Result<Holds, String> {
    let mut holds = Holds {
        notes: world.notes.clone(),
        ..Holds::default()
    };
    let mut read = false;
    for ledger in world.installations.iter().filter_map(|place| place.access.as_ref()) {
        read = true;
        for (binding, username, held) in ledger.state.all_held() {
            let Some(key) = ledger.state.key(binding) else { continue };
            let meant = |on: &On| match on {
                On::Mapping(mapping) => *mapping == key.owner,
                On::Source(source) => **source == *held.source,
            };
            if asked.is_empty() || asked.iter().any(meant) {
                holds.removals.push(HeldView {
                    record: held.index,
                    since: held.since,
                    mapping: key.owner,
                    namespace: key.namespace,
                    role: format!("{}/{}", key.role.kind.as_str(), key.role.name),
                    name: username.to_owned(),
                    source: held.source.to_string(),
                    why: held.why.to_string(),
                });
            }
        }
    }
    for ledger in world.installations.iter().filter_map(|place| place.access.as_ref()) {
        for (mapping, source, id, waiting) in ledger.state.all_waiting_groups() {
            let meant = |on: &On| match on {
                On::Mapping(key) => key == mapping,
                On::Source(name) => name == source,
            };
            if asked.is_empty() || asked.iter().any(meant) {
                holds.groups.push(GroupView {
                    mapping: mapping.clone(),
                    record: waiting.index,
                    since: waiting.since,
                    source: source.to_owned(),
                    name: waiting.name.to_string(),
                    id,
                    yields: waiting.yields.to_string(),
                    all: waiting.all.to_string(),
                });
            }
        }
    }
    holds.groups.sort();
    if !read {
        return Err(format!(
            "no access journal can be read, which needs get on journals and segments (rolecall.dev): {}",
            world.notes.join("; ")
        ));
    }
    holds.removals.sort();
    Ok(holds)
}

impl Holds {
    /// The number that releases all of them.
    pub fn newest(&self) -> Option<i64> {
        let groups = self.groups.iter().map(|group| group.record);
        self.removals.iter().map(|held| held.record).chain(groups).max()
    }
}
