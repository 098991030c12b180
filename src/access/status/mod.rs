//! What a status says, from what is the case: conditions by the contract of kstatus, one line for people, groups. Never a person's data.

mod client;
mod mapping;
mod passes;
mod source;

use std::collections::BTreeSet;

use super::gate::{Gated, Hold};
use super::ledger::Tally;
use super::policy::Refusal;
use crate::api::conditions::{self, Set};
use crate::api::source::GroupStatus;
use crate::directory::{Resource, Source};

pub use client::next_change;
pub use mapping::{MappingReport, NOT_LOOKED_AT, SOURCE_UNREAD, mapping_status};
pub use source::{Loss, SourceReport, source_status};

/// The most groups that a status lists.
const GROUPS_MAX: usize = 100;
/// The most things of one sort that a message lists.
const LISTED_MAX: usize = 8;

/// Something that Kubernetes, or an object in the way, refused.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Failure {
    /// What it was, and what to do.
    pub refusal: Refusal,
    /// Whether a human has to act; else it is tried again.
    pub human: bool,
}

/// What the gate holds of one mapping, over all its bindings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Grants.
    pub adds: usize,
    /// Removals.
    pub removals: usize,
    /// By which rows.
    pub holds: BTreeSet<Hold>,
}

impl Held {
    /// Adds what is held of one binding.
    pub fn count(&mut self, gated: &Gated) {
        self.adds += gated.held_adds.len();
        self.removals += gated.held_removals.len();
        self.holds.extend(gated.held_adds.iter().map(|(_, hold)| *hold));
        self.holds.extend(gated.held_removals.iter().map(|(_, hold)| *hold));
    }

    /// Adds what is held elsewhere.
    pub fn add(&mut self, other: &Self) {
        self.adds += other.adds;
        self.removals += other.removals;
        self.holds.extend(&other.holds);
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.adds == 0 && self.removals == 0
    }
}

/// What waits for an approval of an object, and how to give it.
fn approval(kind: &str, waiting: Tally) -> String {
    format!(
        "{} up to record {}: kubectl rolecall holds shows them, kubectl rolecall approve {kind} (or the annotation rolecall.dev/approve: \"{}\") releases them, and nothing that comes later; whoever the provider disables or deletes leaves at once",
        match (waiting.removals, waiting.groups) {
            (0, groups) => number(groups, "group waits for an approval", "groups wait for an approval"),
            (removals, 0) => number(removals, "removal waits for an approval", "removals wait for an approval"),
            (removals, groups) => format!(
                "{} and {} wait for an approval",
                number(removals, "removal", "removals"),
                number(groups, "group", "groups")
            ),
        },
        waiting.newest,
        waiting.newest
    )
}

/// Where an object stands: at most one of them decides `Ready`.
enum Standing {
    Stalled(String, String),
    Retrying(String, String),
    Working(String),
    Good(&'static str, String),
}

impl Standing {
    /// `Ready`, and beside it `Reconciling` or `Stalled` as the contract wants.
    fn conditions(self) -> Vec<Set> {
        match self {
            Self::Stalled(reason, message) => vec![
                Set::new(conditions::READY, "False", reason.clone(), message.clone()),
                Set::new(conditions::STALLED, "True", reason, message),
            ],
            Self::Retrying(reason, message) => vec![
                Set::new(conditions::READY, "False", reason, message.clone()),
                Set::new(conditions::RECONCILING, "True", "ProgressingWithRetry", message),
            ],
            Self::Working(message) => vec![
                Set::new(conditions::READY, "Unknown", "Progressing", message.clone()),
                Set::new(conditions::RECONCILING, "True", "Progressing", message),
            ],
            Self::Good(reason, message) => vec![Set::new(conditions::READY, "True", reason, message)],
        }
    }
}

fn group_status(source: &str, directory: &Source, group: &Resource) -> GroupStatus {
    GroupStatus {
        source: source.to_owned(),
        display_name: cut(&group.name, 1024),
        external_id: group.external_id.as_ref().map(|id| cut(id, 1024)),
        id: group.id.to_string(),
        members: i64::try_from(directory.members(group.n).len()).unwrap_or(i64::MAX),
    }
}

/// At most so many bytes, whole characters.
fn cut(text: &str, bytes: usize) -> String {
    let mut end = text.len().min(bytes);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

/// `a, b, c and 4 more`.
fn list<T: AsRef<str>>(all: &[T]) -> String {
    let shown: Vec<&str> = all.iter().take(LISTED_MAX).map(AsRef::as_ref).collect();
    match all.len().saturating_sub(LISTED_MAX) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// `1 person`, `2 people`.
fn number(n: usize, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}

fn refusals(all: &[Refusal]) -> (String, String) {
    let reason = all.first().map_or("Failed", |r| r.reason).to_owned();
    let messages: Vec<String> = all
        .iter()
        .map(|r| if r.reason == reason { r.message.clone() } else { r.to_string() })
        .collect();
    let shown = messages.iter().take(LISTED_MAX).cloned().collect::<Vec<_>>().join("; ");
    match messages.len().saturating_sub(LISTED_MAX) {
        0 => (reason, shown),
        more => (reason, format!("{shown}; and {more} more")),
    }
}
