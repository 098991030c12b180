//! What the directory journal holds: decided effects, never requests. No resource logic lives here.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::poll::{Counts, Outcome};
use crate::scim::Drift;

/// One decided effect on the directory. Unknown kinds stop a reader: it grants nothing more until it is upgraded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "e", rename_all = "camelCase", deny_unknown_fields)]
pub enum Event {
    /// The source was first seen, or its ScimSource has another UID now (deleted and applied again): the directory goes on.
    #[serde(rename_all = "camelCase")]
    SourceSeen {
        /// The source's name.
        source: String,
        /// The UID of the ScimSource.
        uid: String,
    },
    /// The source's deletion counts: all its users and groups are gone, and the name starts fresh.
    SourceEnded {
        /// The source's name.
        source: String,
    },
    /// Which tokens of the source cannot be used, as a gateway finds them: for the admin to see. Empty: all can.
    TokensSeen {
        /// The source's name.
        source: String,
        /// One entry a token.
        failing: Vec<FailingToken>,
    },
    /// What a gateway saw of the provider's client since it last said so: for the admin to see, and no person's data.
    ClientSeen {
        /// The source's name.
        source: String,
        /// The tokens that were used.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        tokens: Vec<TokenUse>,
        /// What its requests had that is not the RFCs', and was taken all the same.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        tolerated: Vec<Counted>,
        /// Attributes that are not what the schema says.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        drift: Vec<Drifted>,
    },
    /// A request that was to disable or delete a user could not be understood, or was refused.
    DeprovisionRejected {
        /// The source's name.
        source: String,
        /// The number of the user.
        n: u32,
        /// The request.
        request: String,
        /// What it was answered, without anything that it said.
        reason: String,
    },
    /// A later request for that user that speaks of `active` succeeded, and changed nothing.
    DeprovisionSettled {
        /// The source's name.
        source: String,
        /// The number of the user.
        n: u32,
        /// The request.
        request: String,
    },
    /// A user or group was created.
    Created {
        /// The source's name.
        source: String,
        /// User or group.
        kind: Kind,
        /// The id for SCIM: random, never used again.
        id: Uuid,
        /// The number for bitmaps: given here, never used again in this source.
        n: u32,
        /// The attributes as kept: no `id`, `meta`, `schemas` stays, no `password`, no `groups`, no `members`.
        attributes: Map<String, Value>,
        /// A group's members, by number. Empty for users.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        members: Vec<u32>,
        /// The request that caused it.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        request: String,
    },
    /// Attributes or members changed.
    Changed {
        /// The source's name.
        source: String,
        /// The number of the user or group.
        n: u32,
        /// A JSON merge patch (RFC 7396) over the attributes; empty when only members change.
        #[serde(default, skip_serializing_if = "Map::is_empty")]
        merge: Map<String, Value>,
        /// Members that came, by number.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        add: Vec<u32>,
        /// Members that went, by number.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        remove: Vec<u32>,
        /// The request that caused it.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        request: String,
    },
    /// A pass over a directory that is polled begins: what comes of an older one is void.
    PassOpened {
        /// The source's name.
        source: String,
        /// Its number: 1 more than the one before.
        n: i64,
        /// The process that opens it.
        by: String,
        /// Whether it asks for everything.
        full: bool,
        /// The generation of the ScimSource that it is made by.
        generation: i64,
        /// The request of an admin that it answers.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        requested: String,
    },
    /// A pass goes on.
    PassSaid {
        /// The source's name.
        source: String,
        /// The pass' number.
        n: i64,
        /// What came so far.
        counts: Counts,
    },
    /// A pass ended.
    PassEnded {
        /// The source's name.
        source: String,
        /// The pass' number.
        n: i64,
        /// What came.
        counts: Counts,
        /// How.
        outcome: Outcome,
        /// One word for what is wrong.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        reason: String,
        /// What is wrong, for people; never a person's data.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        message: String,
    },
    /// A Secret was first used for a host, or written anew and then used: it is for that host only.
    CredentialBound {
        /// The source's name.
        source: String,
        /// The Secret's name.
        secret: String,
        /// The Secret's UID and resourceVersion.
        version: String,
        /// The host, with scheme and port.
        origin: String,
    },
    /// A user or group is not in a directory that was read whole: gone, though the provider did not say so.
    Missed {
        /// The source's name.
        source: String,
        /// The number of the user or group.
        n: u32,
        /// The pass.
        request: String,
    },
    /// A user or group was deleted, with all its memberships.
    Deleted {
        /// The source's name.
        source: String,
        /// The number of the user or group.
        n: u32,
        /// The request that caused it.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        request: String,
    },
}

/// A token that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FailingToken {
    /// Its name in `spec.push.tokens`.
    pub name: String,
    /// What is wrong, for people; never anything of the token itself.
    pub why: String,
}

/// A token and when it was used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TokenUse {
    /// Its name in `spec.push.tokens`.
    pub name: String,
    /// The hour of the last use.
    pub hour: Timestamp,
}

/// A tolerance and how many requests needed it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Counted {
    /// The tolerance's name.
    pub name: String,
    /// How many requests, since the last such event of the gateway.
    pub requests: u64,
}

/// An attribute that is not what the schema says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Drifted {
    /// How.
    pub drift: Drift,
    /// Its path. Never a value.
    pub attribute: String,
    /// How many requests, since the last such event of the gateway.
    pub requests: u64,
    /// The newest of them.
    pub request: String,
}

/// What a number stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Kind {
    /// A SCIM User.
    User,
    /// A SCIM Group.
    Group,
}
