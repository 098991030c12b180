//! The ledger: what was granted to whom and why, folded from the access journal. No decisions: it only remembers.

use std::sync::Arc;

use imbl::{HashMap, OrdMap};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::key::{BindingKey, MappingKey};
use super::shard::Prefix;
use super::why::Why;
use crate::api::mapping::RoleRef;

/// A person to whom something is granted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grantee {
    /// The username, as the API server sees it.
    pub username: Arc<str>,
    /// The source that the person is of.
    pub source: Arc<str>,
    /// The person's id.
    pub user: Uuid,
    /// The person's number in the directory.
    pub n: u32,
    /// The number of the mapped group through which.
    pub via: u32,
}

/// A binding's namespace and name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BindingName {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// One record of the access journal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "e", rename_all = "camelCase", deny_unknown_fields)]
pub enum Event {
    /// A term began.
    #[serde(rename_all = "camelCase")]
    Began {
        /// `<holderIdentity>/<leaseTransitions>`.
        term: String,
    },
    /// A mapping is acted on from now.
    #[serde(rename_all = "camelCase")]
    MappingSeen {
        /// Which.
        key: MappingKey,
        /// Its UID.
        uid: String,
        /// The UID of its CRD.
        crd: String,
    },
    /// A mapping's deletion counts.
    #[serde(rename_all = "camelCase")]
    MappingEnded {
        /// Which.
        key: MappingKey,
    },
    /// A source is acted on from now.
    #[serde(rename_all = "camelCase")]
    SourceSeen {
        /// Which.
        name: String,
        /// Its UID.
        uid: String,
        /// The UID of its CRD.
        crd: String,
    },
    /// A source's deletion counts.
    #[serde(rename_all = "camelCase")]
    SourceEnded {
        /// Which.
        name: String,
    },
    /// Something is about to be granted. The event's place in its batch is the `n` of `rolecall.dev/op: <index>/<n>`.
    #[serde(rename_all = "camelCase")]
    Intent {
        /// The binding.
        binding: BindingName,
        /// Its mapping.
        owner: MappingKey,
        /// Its role.
        role: RoleRef,
        /// Its shard.
        shard: Prefix,
        /// Whether the binding is to be created.
        create: bool,
        /// To whom.
        adds: Vec<Grantee>,
        /// Why.
        why: Why,
    },
    /// What became of an intent.
    #[serde(rename_all = "camelCase")]
    Outcome {
        /// The intent's binding.
        binding: BindingName,
        /// The intent: batch and place.
        intent: (i64, u32),
        /// Granted or not.
        result: Outcome,
    },
    /// Something was taken away.
    #[serde(rename_all = "camelCase")]
    Removed {
        /// The binding.
        binding: BindingName,
        /// From whom.
        usernames: Vec<Arc<str>>,
        /// Whether the binding is gone.
        whole: bool,
        /// Why.
        why: Why,
    },
}

/// What became of an intent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "r", deny_unknown_fields)]
pub enum Outcome {
    /// Written.
    Done,
    /// Refused by Kubernetes.
    #[serde(rename_all = "camelCase")]
    Refused {
        /// What Kubernetes said.
        message: String,
    },
    /// Not sent, because something newer was decided; or found not to be there.
    Void,
}

/// An intent that nothing is known of yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Open {
    /// Whether the binding was to be created.
    pub create: bool,
    /// To whom.
    pub usernames: Arc<[Arc<str>]>,
}

/// What is known of one binding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its mapping.
    pub owner: MappingKey,
    /// Its role.
    pub role: RoleRef,
    /// Its shard.
    pub shard: Prefix,
    /// Who holds it, or may hold it by an open intent.
    pub people: HashMap<Arc<str>, Grantee>,
    /// Intents without an outcome, by batch and place.
    pub open: OrdMap<(i64, u32), Open>,
}

impl Entry {
    /// The key that the binding's name was computed from.
    pub fn key(&self, namespace: &str) -> BindingKey {
        BindingKey {
            owner: self.owner.clone(),
            namespace: namespace.to_owned(),
            role: self.role.clone(),
            prefix: self.shard,
        }
    }
}

/// A mapping or source as it was last acted on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its UID.
    pub uid: Arc<str>,
    /// The UID of its CRD.
    pub crd: Arc<str>,
}

/// The fold of the access journal. A clone is a few reference counts.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    bindings: OrdMap<BindingName, Entry>,
    mappings: OrdMap<MappingKey, Seen>,
    sources: OrdMap<Arc<str>, Seen>,
    term: Arc<str>,
    last_change: OrdMap<MappingKey, Timestamp>,
}

impl Ledger {
    /// What is known of one binding.
    pub fn binding(&self, name: &BindingName) -> Option<&Entry> {
        self.bindings.get(name)
    }

    /// All bindings that anybody holds, or that an intent is open for.
    pub fn bindings(&self) -> impl Iterator<Item = (&BindingName, &Entry)> {
        self.bindings.iter()
    }

    /// The mappings that were acted on and did not end.
    pub fn mappings(&self) -> impl Iterator<Item = (&MappingKey, &Seen)> {
        self.mappings.iter()
    }

    /// One of them.
    pub fn mapping(&self, key: &MappingKey) -> Option<&Seen> {
        self.mappings.get(key)
    }

    /// The sources that were acted on and did not end.
    pub fn sources(&self) -> impl Iterator<Item = (&str, &Seen)> {
        self.sources.iter().map(|(name, seen)| (name.as_ref(), seen))
    }

    /// One of them.
    pub fn source(&self, name: &str) -> Option<&Seen> {
        self.sources.get(name)
    }

    /// The newest term.
    pub fn term(&self) -> &str {
        &self.term
    }

    /// When what a mapping gives last changed.
    pub fn last_change(&self, key: &MappingKey) -> Option<Timestamp> {
        self.last_change.get(key).copied()
    }

    /// The only way it changes. `index` and `place` are the event's in the journal.
    pub fn apply(&mut self, index: i64, place: u32, time: Timestamp, event: &Event) {
        match event {
            Event::Began { term } => self.term = term.as_str().into(),
            Event::MappingSeen { key, uid, crd } => {
                self.mappings.insert(key.clone(), seen(uid, crd));
            }
            Event::MappingEnded { key } => {
                self.mappings.remove(key);
            }
            Event::SourceSeen { name, uid, crd } => {
                self.sources.insert(name.as_str().into(), seen(uid, crd));
            }
            Event::SourceEnded { name } => {
                self.sources.remove(name.as_str());
            }
            Event::Intent {
                binding,
                owner,
                role,
                shard,
                create,
                adds,
                ..
            } => {
                let mut entry = self.bindings.get(binding).cloned().unwrap_or_else(|| Entry {
                    owner: owner.clone(),
                    role: role.clone(),
                    shard: *shard,
                    people: HashMap::new(),
                    open: OrdMap::new(),
                });
                entry.people.extend(adds.iter().map(|g| (g.username.clone(), g.clone())));
                let open = Open {
                    create: *create,
                    usernames: adds.iter().map(|g| g.username.clone()).collect(),
                };
                entry.open.insert((index, place), open);
                self.bindings.insert(binding.clone(), entry);
                self.last_change.insert(owner.clone(), time);
            }
            Event::Outcome { binding, intent, result } => {
                self.change(binding, |entry| {
                    if let Some(open) = entry.open.remove(intent)
                        && *result != Outcome::Done
                    {
                        // Another intent for the same person may still be open, or have been done before: only what nobody else claims goes.
                        for username in open.usernames.iter() {
                            if !entry.open.values().any(|o| o.usernames.contains(username)) {
                                entry.people.remove(username);
                            }
                        }
                    }
                });
            }
            Event::Removed {
                binding, usernames, whole, why, ..
            } => {
                self.change(binding, |entry| {
                    if *whole {
                        entry.people.clear();
                    }
                    for username in usernames {
                        entry.people.remove(username);
                    }
                });
                self.last_change.insert(why.mapping.clone(), time);
            }
        }
    }

    fn change(&mut self, binding: &BindingName, change: impl FnOnce(&mut Entry)) {
        let Some(mut entry) = self.bindings.get(binding).cloned() else { return };
        change(&mut entry);
        if entry.people.is_empty() && entry.open.is_empty() {
            self.bindings.remove(binding);
        } else {
            self.bindings.insert(binding.clone(), entry);
        }
    }
}

fn seen(uid: &str, crd: &str) -> Seen {
    Seen {
        uid: uid.into(),
        crd: crd.into(),
    }
}
