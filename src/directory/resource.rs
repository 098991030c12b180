//! One user or group as the directory keeps it, and what is remembered of a deleted one. No indexes: those are in `source`.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::event::Kind;

/// The attributes of a resource, kept as JSON text: a tree of values takes eight times the memory, and there are 500,000 of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attributes(Arc<str>);

impl Attributes {
    /// Keeps the given attributes.
    pub fn new(attributes: &Map<String, Value>) -> Self {
        // a map of JSON values always has a text
        Self(serde_json::to_string(attributes).unwrap_or_else(|_| "{}".to_owned()).into())
    }

    /// The attributes as values.
    pub fn to_map(&self) -> Map<String, Value> {
        serde_json::from_str(&self.0).unwrap_or_default()
    }

    /// One top-level attribute, by its exact name.
    pub fn get(&self, name: &str) -> Option<Value> {
        self.to_map().swap_remove(name)
    }

    /// The text: one JSON object.
    pub fn json(&self) -> &str {
        &self.0
    }
}

/// A user or a group. Its members and groups are in [`Source`](super::Source), as bitmaps.
#[derive(Clone, Debug)]
pub struct Resource {
    /// The id for SCIM.
    pub id: Uuid,
    /// The number for bitmaps.
    pub n: u32,
    /// User or group.
    pub kind: Kind,
    /// A user's userName, a group's displayName: as given, not folded.
    pub name: Arc<str>,
    /// The provider's own id, if it sends one.
    pub external_id: Option<Arc<str>>,
    /// A user's e-mail addresses, folded, each once.
    pub emails: Arc<[Arc<str>]>,
    /// A user that may be granted something: `active` is true or absent. Always true for groups.
    pub active: bool,
    /// The attributes: no `id`, `meta`, `groups` or `members`.
    pub attributes: Attributes,
    /// When it was created.
    pub created: Timestamp,
    /// When its attributes or its members last changed.
    pub modified: Timestamp,
    /// Which event last changed attributes or members: the batch's index, and the event's place in the batch.
    pub version: (i64, u32),
    /// The index of the batch that created it.
    pub born: i64,
    /// The index since which it bears its name, letter for letter.
    pub name_since: i64,
    /// The request that last changed it; empty if unknown.
    pub request: Arc<str>,
    /// The attributes that changed after the creation, with the index of the last change.
    pub(super) since: Vec<(Box<str>, i64)>,
}

impl Resource {
    /// The index since which the top-level attribute has the value it has (case of the name does not matter).
    pub fn since(&self, attribute: &str) -> i64 {
        self.since
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(attribute))
            .map_or(self.born, |(_, index)| *index)
    }

    /// The index of the last change, membership of a group included.
    pub fn changed(&self) -> i64 {
        self.version.0
    }
}

/// What is remembered of a deleted user or group: for the reason of a removal.
#[derive(Clone, Debug, PartialEq)]
pub struct Gone {
    /// The id for SCIM, never used again.
    pub id: Uuid,
    /// User or group.
    pub kind: Kind,
    /// The userName or displayName it had.
    pub name: Arc<str>,
    /// The index of the batch that deleted it.
    pub index: i64,
    /// When it was deleted.
    pub time: Timestamp,
    /// The request that deleted it; empty if unknown.
    pub request: Arc<str>,
}
