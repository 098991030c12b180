//! Names and labels of the objects that Rolecall writes, computed; and whether an object is one of them. Nothing is looked up here.

use std::collections::BTreeMap;

use ring::digest::{Context, SHA256, digest};

use super::binding::Observed;
use super::key::{BindingKey, MappingKey};
use super::shard::Prefix;
use crate::api::names as labels;

/// Which installation writes: part of every name and label.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Installation {
    /// `--class`; empty for the default class.
    pub class: String,
    /// The id of the journal that records what is written now.
    pub journal: String,
    /// The ids of its predecessors, after an accepted loss: their objects stay ours.
    pub predecessors: Vec<String>,
}

/// The value of the label [`labels::OWNER`]: 16 hex digits.
pub fn owner_label(owner: &MappingKey) -> String {
    let mut hex = hex(digest(&SHA256, owner.to_string().as_bytes()).as_ref());
    hex.truncate(16);
    hex
}

/// The name of a binding: `rolecall-` and 32 hex digits, from everything that it cannot change.
pub fn binding_name(key: &BindingKey, class: &str) -> String {
    let mut context = Context::new(&SHA256);
    let shard = key.prefix.to_string();
    for part in [
        key.owner.kind.as_str(),
        &key.owner.namespace,
        &key.owner.name,
        key.role.kind.as_str(),
        &key.role.name,
        &key.namespace,
        &shard,
        class,
    ] {
        // with its length, so that no two lists of parts are the same bytes
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part.as_bytes());
    }
    let mut name = hex(context.finish().as_ref());
    name.truncate(32);
    format!("rolecall-{name}")
}

/// The labels of a binding.
pub fn binding_labels(key: &BindingKey, installation: &Installation) -> BTreeMap<String, String> {
    [
        (labels::MANAGED_BY, labels::MANAGED_BY_VALUE.to_owned()),
        (labels::CLASS, installation.class.clone()),
        (labels::OWNER, owner_label(&key.owner)),
        (labels::JOURNAL, installation.journal.clone()),
        (labels::SHARD, key.prefix.to_string()),
    ]
    .into_iter()
    .map(|(label, value)| (label.to_owned(), value))
    .collect()
}

/// The annotations of a binding as the given term writes it for the given record (`<index>/<n>`).
pub fn binding_annotations(key: &BindingKey, term: &str, op: &str) -> BTreeMap<String, String> {
    [
        (labels::MAPPING, key.owner.to_string()),
        (labels::TERM, term.to_owned()),
        (labels::OP, op.to_owned()),
    ]
    .into_iter()
    .map(|(annotation, value)| (annotation.to_owned(), value))
    .collect()
}

/// The first test, by labels alone: managed by Rolecall, of this class, of our journal or one that it follows. For watches and metrics.
pub fn has_our_labels(found: &BTreeMap<String, String>, installation: &Installation) -> bool {
    let label = |name: &str| found.get(name).map(String::as_str);
    label(labels::MANAGED_BY) == Some(labels::MANAGED_BY_VALUE)
        && label(labels::CLASS).unwrap_or_default() == installation.class
        && label(labels::JOURNAL)
            .is_some_and(|id| !id.is_empty() && (id == installation.journal || installation.predecessors.iter().any(|p| p == id)))
}

/// Which binding of ours an object is: our labels, our journal's id (or a predecessor's), and the name that we compute for what it says it is. An
/// object that fails any of it is not ours, and is neither changed nor deleted.
pub fn identify(observed: &Observed, installation: &Installation) -> Option<BindingKey> {
    if !has_our_labels(&observed.labels, installation) {
        return None;
    }
    let owner: MappingKey = observed.mapping.as_deref()?.parse().ok()?;
    let prefix: Prefix = observed.labels.get(labels::SHARD)?.parse().ok()?;
    if observed.labels.get(labels::OWNER) != Some(&owner_label(&owner)) {
        return None;
    }
    let key = BindingKey {
        owner,
        role: observed.role.clone()?,
        namespace: observed.namespace.clone(),
        prefix,
    };
    (binding_name(&key, &installation.class) == observed.name).then_some(key)
}

/// The same for an object of which somebody changed the mapping's annotation, the owner's or the shard's label: the ledger knows the name.
pub fn is_known(observed: &Observed, key: &BindingKey, installation: &Installation) -> bool {
    has_our_labels(&observed.labels, installation)
        && observed.namespace == key.namespace
        && observed.name == binding_name(key, &installation.class)
        && observed.role.as_ref() == Some(&key.role)
}

pub(super) fn hex(bytes: &[u8]) -> String {
    let digit = |n: u8| char::from_digit(u32::from(n), 16).unwrap_or_default();
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}
