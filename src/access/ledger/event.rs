//! What the access journal holds: what was to be granted, what became of it, and what was taken away. Its fold is the ledger.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::groups::Newcomer;
use super::holds::On;
use crate::access::binding::SubjectRef;
use crate::access::key::{BindingKey, MappingKey};
use crate::access::shard::{Prefix, SubjectKind};
use crate::access::why::Why;
use crate::api::mapping::RoleRef;

/// A person as the ledger remembers whom something was granted to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grantee {
    /// A person, or a group: then all below is said of the group.
    #[serde(default, skip_serializing_if = "SubjectKind::is_user")]
    pub kind: SubjectKind,
    /// The username, as the API server sees it.
    pub username: Arc<str>,
    /// The person's source.
    pub source: String,
    /// The person's id there.
    pub user: Uuid,
    /// The person's number there.
    pub n: u32,
    /// The number of the group through which, there.
    pub via: u32,
}

impl Grantee {
    /// Somebody of whom only the name is known, because the journal that knew more was lost.
    pub fn inherited(kind: SubjectKind, name: &str) -> Self {
        Self {
            kind,
            username: name.into(),
            source: String::new(),
            // one for each name, so that they are counted as so many
            user: uuid_of(name),
            n: 0,
            via: 0,
        }
    }

    /// Whether only the name is known.
    pub fn is_inherited(&self) -> bool {
        self.source.is_empty()
    }

    /// As a binding names it.
    pub fn subject(&self) -> SubjectRef {
        SubjectRef {
            kind: self.kind.as_str().to_owned(),
            name: self.username.to_string(),
            namespace: None,
        }
    }

    /// Whether it is the same person, or the same group, whatever the name.
    pub fn is_person(&self, other: &Self) -> bool {
        self.kind == other.kind && self.source == other.source && self.n == other.n && self.user == other.user
    }
}

/// Where a binding is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BindingId {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// Create or update.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Action {
    /// A POST: until its name stands, it may still come.
    Create,
    /// A PUT, bound to a UID and a resourceVersion.
    Update,
}

/// What became of an intent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Outcome {
    /// It is written.
    Done {
        /// The binding's UID.
        uid: String,
    },
    /// Kubernetes refused it.
    Refused {
        /// What it said.
        reason: String,
    },
    /// It did not come to pass, and cannot any more.
    Void,
}

/// One reason, and the people to whom it applies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reason {
    /// The reason.
    pub why: Why,
    /// The usernames, sorted.
    pub usernames: Vec<String>,
}

/// One record. Unknown kinds and fields stop a reader: it grants nothing more until it is upgraded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "e", rename_all = "camelCase", rename_all_fields = "camelCase", deny_unknown_fields)]
pub enum Event {
    /// A leader began.
    Began {
        /// `<holderIdentity>/<leaseTransitions>`.
        term: String,
    },
    /// A mapping was first seen, or has another UID, or its CRD has.
    MappingSeen {
        /// Which.
        key: MappingKey,
        /// The object's UID.
        uid: String,
        /// The UID of its CustomResourceDefinition.
        crd: String,
    },
    /// A mapping's deletion counts.
    MappingEnded {
        /// Which.
        key: MappingKey,
        /// How it was recognised.
        why: String,
    },
    /// A source was first seen, or has another UID, or its CRD has.
    SourceSeen {
        /// Which.
        name: String,
        /// The object's UID.
        uid: String,
        /// The UID of its CustomResourceDefinition.
        crd: String,
    },
    /// A source's deletion counts.
    SourceEnded {
        /// Which.
        name: String,
    },
    /// Something is going to be granted; it is not written yet.
    Intent {
        /// Its number in the batch: the object carries `<index>/<op>`.
        op: u32,
        /// Where.
        binding: BindingId,
        /// By which mapping.
        owner: MappingKey,
        /// Which role.
        role: RoleRef,
        /// Which part of the mapping's people.
        shard: Prefix,
        /// How it is written.
        action: Action,
        /// To whom.
        adds: Vec<Grantee>,
        /// Why, each reason once.
        why: Vec<Reason>,
    },
    /// What became of it.
    Outcome {
        /// The index of the intent's batch, and its number there.
        intent: (i64, u32),
        /// What became of it.
        result: Outcome,
    },
    /// Something was taken away.
    Removed {
        /// Where.
        binding: BindingId,
        /// From whom: usernames, sorted. A subject that was never recorded is named in `why` only.
        usernames: Vec<String>,
        /// The binding is gone.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        whole: bool,
        /// Why, each reason once.
        why: Vec<Reason>,
        /// Those of them whom the budget counts, sorted.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        spent: Vec<String>,
    },
    /// Removals wait until somebody approves the number of this record.
    Held {
        /// Where.
        binding: BindingId,
        /// From whom what would be taken, and why.
        why: Vec<Reason>,
    },
    /// Removals that waited are not to be made any more.
    Freed {
        /// Where.
        binding: BindingId,
        /// The usernames, sorted.
        usernames: Vec<String>,
    },
    /// Groups are new to a mapping that wants each approved, or yield something else than what was approved: what they would grant waits.
    GroupsHeld {
        /// Of which mapping.
        mapping: MappingKey,
        /// Which groups.
        groups: Vec<Newcomer>,
    },
    /// Groups that waited do not wait any more: they are gone, or yield again what was approved.
    GroupsFreed {
        /// Of which mapping.
        mapping: MappingKey,
        /// Which groups.
        groups: Vec<Newcomer>,
    },
    /// What a binding held when the access journal was made anew: who it was nobody knows any more, only what they are called.
    Inherited {
        /// Where.
        binding: BindingId,
        /// By which mapping.
        owner: MappingKey,
        /// Which role.
        role: RoleRef,
        /// Which part of the mapping's people.
        shard: Prefix,
        /// The binding's UID.
        uid: String,
        /// The names of its subjects.
        names: Vec<String>,
    },
    /// The loss of a journal was accepted, and it was made anew: whom the records before this one mean is only known by name.
    LossAccepted {
        /// `directory` or `access`.
        journal: String,
        /// The UID of the new Journal object.
        uid: String,
    },
    /// What roles permit that a mapping grants, when they were seen first.
    RolesSeen {
        /// Which mapping.
        mapping: MappingKey,
        /// Its generation, and the request for a look that it was looked at for: with another one everything is seen anew.
        seen: String,
        /// Which roles.
        roles: Vec<RoleSeen>,
    },
    /// Somebody approved what waits, by an annotation.
    Approved {
        /// Of what.
        on: On,
        /// Up to the record of this number, of those before this one.
        asked: i64,
    },
}

fn uuid_of(name: &str) -> Uuid {
    let digest = ring::digest::digest(&ring::digest::SHA256, name.as_bytes());
    let bytes: Vec<u8> = digest.as_ref().iter().take(16).copied().collect();
    Uuid::from_slice(&bytes).unwrap_or_default()
}

/// What a role permitted when it was seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RoleSeen {
    /// Where it is; empty for a ClusterRole.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// Which role.
    pub role: RoleRef,
    /// The digest of its rules.
    pub rules: String,
}

/// Reasons, each once, with the people to whom it applies.
pub fn reasons<'a>(all: impl IntoIterator<Item = (&'a str, &'a Why)>) -> Vec<Reason> {
    let mut by_why: std::collections::BTreeMap<&Why, Vec<String>> = std::collections::BTreeMap::new();
    for (username, why) in all {
        by_why.entry(why).or_default().push(username.to_owned());
    }
    let sorted = |(why, mut usernames): (&Why, Vec<String>)| {
        usernames.sort_unstable();
        usernames.dedup();
        Reason {
            why: why.clone(),
            usernames,
        }
    };
    by_why.into_iter().map(sorted).collect()
}

impl BindingId {
    /// Where the binding of that key is.
    pub fn of(key: &BindingKey, class: &str) -> Self {
        Self {
            namespace: key.namespace.clone(),
            name: crate::access::names::binding_name(key, class),
        }
    }
}
