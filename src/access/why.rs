//! Why something was granted or removed: the one text that plugin, console and audit print. Values only.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::key::MappingKey;

/// The reason for one operation on one binding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Why {
    /// The mapping.
    pub mapping: MappingKey,
    /// The generation of the mapping's spec that was decided by; 0 when it is gone.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub generation: i64,
    /// The mapped groups through which the people are meant, at most 16.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<GroupRef>,
    /// What set it off.
    pub cause: Cause,
}

fn is_zero(n: &i64) -> bool {
    *n == 0
}

/// A group as a reason names it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupRef {
    /// The group's source.
    pub source: String,
    /// Its id.
    pub id: Uuid,
    /// Its name at that time.
    pub name: String,
}

/// What set an operation off.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "c", deny_unknown_fields)]
pub enum Cause {
    /// An event of the directory.
    Directory {
        /// The batch's index in the directory journal.
        index: i64,
        /// The source's request, if it was one.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        request: String,
    },
    /// The mapping, its source or the access policy was changed.
    Spec,
    /// The mapping or its source was deleted.
    Ended,
    /// A namespace came, or its labels changed.
    Namespace,
    /// The binding was changed or deleted by somebody else.
    Repair,
    /// Found so after a start.
    Start,
}

impl std::fmt::Display for Why {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (i, group) in self.groups.iter().enumerate() {
            write!(f, "{}{} group {:?} ({})", if i == 0 { "" } else { ", " }, group.source, group.name, group.id)?;
        }
        write!(f, "{}{}", if self.groups.is_empty() { "" } else { " by " }, self.mapping)?;
        if self.generation != 0 {
            write!(f, " (generation {})", self.generation)?;
        }
        match &self.cause {
            Cause::Directory { index, request } if request.is_empty() => write!(f, "; directory event {index}"),
            Cause::Directory { index, request } => write!(f, "; directory event {index}, request {request}"),
            Cause::Spec => write!(f, "; mapping, source or access policy changed"),
            Cause::Ended => write!(f, "; mapping or source deleted"),
            Cause::Namespace => write!(f, "; namespace came or changed"),
            Cause::Repair => write!(f, "; repaired after a change by somebody else"),
            Cause::Start => write!(f, "; found after a start"),
        }
    }
}
