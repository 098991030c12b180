//! Why something was granted or taken away: the one text that plugin, console, audit and events print. Nothing is decided here.

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::key::MappingKey;

/// The reason for one operation on one person, or on several alike.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Why {
    /// The mapping by which.
    pub mapping: MappingKey,
    /// The generation of its spec that was in force; 0 if the mapping is gone.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub generation: i64,
    /// The source whose data it was; empty if no source had a part in it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub source: String,
    /// The group through which.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<GroupRef>,
    /// What set it off.
    pub cause: Cause,
}

/// A group as a reason names it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupRef {
    /// Its id: it stays when the group is renamed.
    pub id: Uuid,
    /// Its name at that time.
    pub name: String,
}

/// Where in the directory journal something was said.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Event {
    /// The batch's index; 0 if it is not known any more.
    pub index: i64,
    /// The request that caused it; empty if there is none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub request: String,
}

/// What set an operation off.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "c", rename_all = "camelCase", deny_unknown_fields)]
pub enum Cause {
    /// The person is an active member of the group: the newest change that took part in it.
    Member(Event),
    /// The mapping grants to the group itself.
    GroupMapped(Event),
    /// The mapping does not mean the group any more, or it is gone.
    GroupNotMapped(Event),
    /// The mapping grants to people instead of groups now, or the other way round.
    OtherSubjects,
    /// What the person is to hold was taken out of the binding by somebody else.
    Restored,
    /// The provider disabled the person.
    Disabled(Event),
    /// The provider deleted the person.
    Deleted(Event),
    /// The person is in none of the groups any more that are granted this.
    LeftGroups(Event),
    /// What the mapping's expressions yield for the group is something else now: the group has another name, or the spec changed.
    YieldChanged(Event),
    /// `members.filter` does not select the person any more.
    NotSelected(Event),
    /// The mapping's `notAfter` has passed.
    Expired,
    /// The person's username is another one now.
    Renamed(Event),
    /// The person yields no username, or one that somebody else has borne longer.
    NoUsername(Event),
    /// Somebody else has this username now.
    OtherPerson,
    /// The person is in another part of the mapping now (shards split or merged).
    Moved,
    /// The mapping does not grant this role in this namespace any more, or the namespace is not selected any more.
    NotGranted,
    /// The access policy does not allow the role, the namespace or the username.
    NotAllowed,
    /// The source does not allow the mapping's namespace, or the mapping does not use the source any more.
    SourceNotUsed,
    /// The namespace is gone.
    NamespaceGone,
    /// It is gone from the cluster: by somebody else's hand, or by a write of ours that was not recorded.
    Vanished,
    /// The mapping was deleted.
    MappingEnded,
    /// The source was deleted.
    SourceEnded,
    /// It was granted before a journal was lost, and by what the provider said since nobody of that name is to hold it.
    LossAccepted,
    /// Somebody else wrote this subject into the binding.
    Foreign,
    /// Kubernetes refused to let the binding shrink, so that it was deleted; who may stay is granted it again.
    Rewritten,
}

impl Cause {
    /// Where the provider said it, if it was the provider.
    pub fn event(&self) -> Option<&Event> {
        match self {
            Self::Member(event)
            | Self::GroupMapped(event)
            | Self::GroupNotMapped(event)
            | Self::Disabled(event)
            | Self::Deleted(event)
            | Self::LeftGroups(event)
            | Self::YieldChanged(event)
            | Self::NotSelected(event)
            | Self::Renamed(event)
            | Self::NoUsername(event) => Some(event),
            Self::OtherSubjects
            | Self::Restored
            | Self::Expired
            | Self::OtherPerson
            | Self::Moved
            | Self::NotGranted
            | Self::NotAllowed
            | Self::SourceNotUsed
            | Self::NamespaceGone
            | Self::Vanished
            | Self::MappingEnded
            | Self::SourceEnded
            | Self::LossAccepted
            | Self::Foreign
            | Self::Rewritten => None,
        }
    }
}

impl Why {
    /// A short form for metrics and events: a closed set.
    pub fn label(&self) -> &'static str {
        match &self.cause {
            Cause::Member(_) => "Member",
            Cause::GroupMapped(_) => "GroupMapped",
            Cause::GroupNotMapped(_) => "GroupNotMapped",
            Cause::OtherSubjects => "OtherSubjects",
            Cause::Restored => "Restored",
            Cause::Disabled(_) => "Disabled",
            Cause::Deleted(_) => "Deleted",
            Cause::LeftGroups(_) => "LeftGroups",
            Cause::YieldChanged(_) => "YieldChanged",
            Cause::NotSelected(_) => "NotSelected",
            Cause::Expired => "Expired",
            Cause::Renamed(_) => "Renamed",
            Cause::NoUsername(_) => "NoUsername",
            Cause::OtherPerson => "OtherPerson",
            Cause::Moved => "Moved",
            Cause::NotGranted => "NotGranted",
            Cause::NotAllowed => "NotAllowed",
            Cause::SourceNotUsed => "SourceNotUsed",
            Cause::NamespaceGone => "NamespaceGone",
            Cause::Vanished => "Vanished",
            Cause::MappingEnded => "MappingEnded",
            Cause::SourceEnded => "SourceEnded",
            Cause::LossAccepted => "LossAccepted",
            Cause::Foreign => "Foreign",
            Cause::Rewritten => "Rewritten",
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Member(event) => write!(f, "is an active member{event}"),
            Self::GroupMapped(event) => write!(f, "is a mapped group{event}"),
            Self::GroupNotMapped(event) => write!(f, "is no mapped group any more{event}"),
            Self::OtherSubjects => write!(f, "the mapping grants to other subjects now (spec.subjects)"),
            Self::Restored => write!(f, "had been taken out by somebody else"),
            Self::Disabled(event) => write!(f, "disabled by the provider{event}"),
            Self::Deleted(event) => write!(f, "deleted by the provider{event}"),
            Self::LeftGroups(event) => write!(f, "in none of the mapped groups any more{event}"),
            Self::YieldChanged(event) => write!(f, "the mapping's expressions yield something else for the group now{event}"),
            Self::NotSelected(event) => write!(f, "not selected by members.filter any more{event}"),
            Self::Expired => write!(f, "the mapping's notAfter has passed"),
            Self::Renamed(event) => write!(f, "has another username now{event}"),
            Self::NoUsername(event) => write!(f, "yields no username, or one that somebody else has borne longer{event}"),
            Self::OtherPerson => write!(f, "somebody else has this username now"),
            Self::Moved => write!(f, "moved to another part of the same mapping"),
            Self::NotGranted => write!(f, "the mapping does not grant this role in this namespace any more"),
            Self::NotAllowed => write!(f, "not allowed by the access policy any more"),
            Self::SourceNotUsed => write!(f, "the mapping does not use this source any more, or may not"),
            Self::NamespaceGone => write!(f, "the namespace is gone"),
            Self::Vanished => write!(f, "found gone: taken out by somebody else, or by a write that was not recorded"),
            Self::MappingEnded => write!(f, "the mapping was deleted"),
            Self::SourceEnded => write!(f, "the source was deleted"),
            Self::LossAccepted => write!(
                f,
                "granted before a journal was lost, and not claimed since by anybody of that name"
            ),
            Self::Foreign => write!(f, "written into the binding by somebody else"),
            Self::Rewritten => write!(f, "Kubernetes refused to let the binding shrink; granted again at once"),
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.index, self.request.as_str()) {
            (0, _) => Ok(()),
            (index, "") => write!(f, " (directory {index})"),
            (index, request) => write!(f, " (directory {index}, request {request})"),
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.cause)?;
        match (&self.group, self.source.as_str()) {
            (Some(group), "") => write!(f, "; group {:?} ({})", group.name, group.id)?,
            (Some(group), source) => write!(f, "; group {:?} ({}) of source {source}", group.name, group.id)?,
            (None, "") => {}
            (None, source) => write!(f, "; source {source}")?,
        }
        write!(f, "; by {}", self.mapping)?;
        match self.generation {
            0 => Ok(()),
            generation => write!(f, ", generation {generation}"),
        }
    }
}

fn is_zero(n: &i64) -> bool {
    *n == 0
}
