//! Which groups may grant by a mapping that asks for an approval of each, and which wait. Whether a mapping asks for it is in `access::newcomers`.

use std::sync::Arc;

use imbl::OrdMap;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Ledger;
use super::holds::On;
use crate::access::key::MappingKey;

/// A group that waits for an approval, as its record has it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Newcomer {
    /// Its source.
    pub source: String,
    /// Its id.
    pub id: Uuid,
    /// Its name at that time.
    pub name: String,
    /// What the mapping yields for it, as text.
    pub yields: String,
    /// What the mapping grants to all its groups besides, as text: shown, and no reason to wait again when it changes.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub all: String,
}

/// Since when a group waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// The number of the record: what an approval names.
    pub index: i64,
    /// Since when.
    pub since: Timestamp,
    /// Its name at that time.
    pub name: Arc<str>,
    /// What it would yield.
    pub yields: Arc<str>,
    /// What it would be granted besides, as all groups of the mapping.
    pub all: Arc<str>,
}

/// What is known of one group of one mapping.
#[derive(Clone, Debug, Default, PartialEq)]
struct Known {
    approved: Option<Arc<str>>,
    waiting: Option<Waiting>,
}

/// The groups of all mappings that ask for approvals.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Groups(OrdMap<MappingKey, OrdMap<(Arc<str>, Uuid), Known>>);

impl Groups {
    /// The group waits, since its first record of the same. Whether that is one more than before.
    pub fn wait(&mut self, mapping: &MappingKey, group: &Newcomer, index: i64, since: Timestamp) -> bool {
        let of = self.0.entry(mapping.clone()).or_default();
        let known = of.entry((group.source.as_str().into(), group.id)).or_default();
        let before = known.waiting.as_ref();
        if before.is_some_and(|waiting| *waiting.yields == *group.yields) {
            return false;
        }
        let more = before.is_none();
        known.waiting = Some(Waiting {
            index,
            since,
            name: group.name.as_str().into(),
            yields: group.yields.as_str().into(),
            all: group.all.as_str().into(),
        });
        more
    }

    /// The group does not wait any more, and was not approved. Whether it did.
    pub fn forget(&mut self, mapping: &MappingKey, source: &str, id: Uuid) -> bool {
        let known = self.0.get_mut(mapping).and_then(|of| of.get_mut(&(source.into(), id)));
        known.is_some_and(|known| known.waiting.take().is_some())
    }

    /// Approves what waits there up to that record: mapping and source of each.
    pub fn approve(&mut self, on: &On, up_to: i64) -> Vec<(MappingKey, Arc<str>)> {
        let mut done = Vec::new();
        let meant: Vec<MappingKey> = match on {
            On::Mapping(key) => vec![key.clone()],
            On::Source(_) => self.0.keys().cloned().collect(),
        };
        for key in meant {
            let here = |source: &str| matches!(on, On::Mapping(_)) || matches!(on, On::Source(name) if name == source);
            let Some(of) = self.0.get_mut(&key) else { continue };
            let waiting = of.iter().filter(|((source, _), known)| {
                let waits = known.waiting.as_ref();
                here(source) && waits.is_some_and(|waiting| waiting.index <= up_to)
            });
            let groups: Vec<(Arc<str>, Uuid)> = waiting.map(|(group, _)| group.clone()).collect();
            for group in groups {
                if let Some(known) = of.get_mut(&group) {
                    known.approved = known.waiting.take().map(|waiting| waiting.yields);
                    done.push((key.clone(), group.0));
                }
            }
        }
        done
    }

    /// The mapping ended. The sources of its groups that waited.
    pub fn end(&mut self, mapping: &MappingKey) -> Vec<Arc<str>> {
        let of = self.0.remove(mapping).unwrap_or_default();
        let waiting = of.into_iter().filter(|(_, known)| known.waiting.is_some());
        waiting.map(|((source, _), _)| source).collect()
    }

    pub fn is_approved(&self, mapping: &MappingKey, source: &str, id: Uuid, yields: &str) -> bool {
        let known = self.0.get(mapping).and_then(|of| of.get(&(source.into(), id)));
        known.is_some_and(|known| known.approved.as_deref() == Some(yields))
    }

    pub fn of(&self, mapping: &MappingKey) -> impl Iterator<Item = (&str, Uuid, &Waiting)> {
        let of = self.0.get(mapping).into_iter().flatten();
        of.filter_map(|((source, id), known)| Some((&**source, *id, known.waiting.as_ref()?)))
    }

    pub fn all(&self) -> impl Iterator<Item = (&MappingKey, &str, Uuid, &Waiting)> {
        self.0
            .keys()
            .flat_map(|key| self.of(key).map(move |(source, id, waiting)| (key, source, id, waiting)))
    }
}

impl Ledger {
    /// Whether somebody approved that the mapping yields this for the group.
    pub fn is_approved(&self, mapping: &MappingKey, source: &str, id: Uuid, yields: &str) -> bool {
        self.groups.is_approved(mapping, source, id, yields)
    }

    /// The groups of a mapping that wait for an approval: source, id, since when.
    pub fn waiting_groups(&self, mapping: &MappingKey) -> impl Iterator<Item = (&str, Uuid, &Waiting)> {
        self.groups.of(mapping)
    }

    /// All groups that wait for an approval: mapping, source, id, since when.
    pub fn all_waiting_groups(&self) -> impl Iterator<Item = (&MappingKey, &str, Uuid, &Waiting)> {
        self.groups.all()
    }
}
