//! Conditions by the status contract of kstatus, Flux, Helm 4 and Argo CD: types, reasons, and how they change. Time comes in as a value.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// The spec is applied (`True`), is being applied (`Unknown`), or cannot be (`False`, with `Reconciling` or `Stalled` beside it).
pub const READY: &str = "Ready";
/// Work is going on, or is tried again; absent otherwise.
pub const RECONCILING: &str = "Reconciling";
/// A human has to act; absent otherwise.
pub const STALLED: &str = "Stalled";
/// Something waits for a human, and the spec is applied all the same.
pub const HELD: &str = "Held";
/// The provider disabled or deleted more people within an hour than `spec.limits` say. They lost access at once; nothing is held.
pub const MASS_DEPROVISION: &str = "MassDeprovision";
/// A name that a mapping uses is borne by several groups.
pub const AMBIGUOUS_GROUP: &str = "AmbiguousGroup";
/// Two people yield one username; the one who bore it first has it.
pub const USERNAME_CONFLICT: &str = "UsernameConflict";
/// The journal that the access rests on is gone, another one, or damaged.
pub const JOURNAL_LOST: &str = "JournalLost";
/// The journal is older than what is known of it: etcd was put back to a snapshot.
pub const JOURNAL_ROLLED_BACK: &str = "JournalRolledBack";
/// The provider's requests have attributes that the schema does not have, or of another type; or one that was to disable a user was refused.
pub const SCHEMA_DRIFT: &str = "SchemaDrift";
/// A bearer token expires within 14 days.
pub const TOKEN_EXPIRING: &str = "TokenExpiring";
/// Others granted something to people whom the provider disabled, or to groups that a mapping has. Nothing is changed by it.
pub const UNMANAGED_ACCESS: &str = "UnmanagedAccess";
/// A role permits something else than when the mapping was first seen to grant it.
pub const ROLE_CHANGED: &str = "RoleChanged";
/// Something does not work, and what is granted stays.
pub const DEGRADED: &str = "Degraded";

/// One condition to set; everything that is not set disappears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Set {
    /// The type, such as [`READY`].
    pub kind: &'static str,
    /// `True`, `False` or `Unknown`.
    pub status: &'static str,
    /// PascalCase, for machines.
    pub reason: String,
    /// For people: what is, and what to do. Cut at 32,768 bytes, as Kubernetes does.
    pub message: String,
}

impl Set {
    /// A condition of the given parts.
    pub fn new(kind: &'static str, status: &'static str, reason: impl Into<String>, message: impl Into<String>) -> Self {
        let mut message = message.into();
        if message.len() > 32_000 {
            let mut end = 32_000;
            while !message.is_char_boundary(end) {
                end -= 1;
            }
            message.truncate(end);
        }
        Self {
            kind,
            status,
            reason: reason.into(),
            message,
        }
    }
}

/// The new list: exactly what is in `set`, with the time of the last transition kept where the status did not change.
pub fn update(old: &[Condition], set: &[Set], generation: i64, now: &Time) -> Vec<Condition> {
    set.iter()
        .map(|new| {
            let before = old.iter().find(|c| c.type_ == new.kind);
            let since = before
                .filter(|c| c.status == new.status)
                .map_or_else(|| now.clone(), |c| c.last_transition_time.clone());
            Condition {
                type_: new.kind.to_owned(),
                status: new.status.to_owned(),
                reason: new.reason.clone(),
                message: new.message.clone(),
                observed_generation: Some(generation),
                last_transition_time: since,
            }
        })
        .collect()
}

/// What breaks the contract in a list of conditions; empty is good. The rules are those of Flux's checker and of kstatus.
pub fn check(conditions: &[Condition], generation: i64) -> Vec<String> {
    let status = |kind: &str| conditions.iter().find(|c| c.type_ == kind).map(|c| c.status.as_str());
    let mut wrong = Vec::new();
    let (ready, reconciling, stalled) = (status(READY), status(RECONCILING), status(STALLED));
    if ready.is_none() {
        wrong.push("Ready is missing".to_owned());
    }
    for (name, value) in [(RECONCILING, reconciling), (STALLED, stalled)] {
        if value.is_some_and(|v| v != "True") {
            wrong.push(format!("{name} is there without being True"));
        }
    }
    if reconciling.is_some() && stalled.is_some() {
        wrong.push("Reconciling and Stalled at once".to_owned());
    }
    if ready == Some("True") && (reconciling.is_some() || stalled.is_some()) {
        wrong.push("Ready is True beside Reconciling or Stalled".to_owned());
    }
    if ready == Some("False") && reconciling.is_none() && stalled.is_none() {
        wrong.push("Ready is False without Reconciling or Stalled".to_owned());
    }
    if ready == Some("Unknown") && reconciling.is_none() {
        wrong.push("Ready is Unknown without Reconciling".to_owned());
    }
    for condition in conditions {
        if condition.observed_generation.is_none_or(|g| g > generation) {
            wrong.push(format!("{} has no observedGeneration, or one from the future", condition.type_));
        }
        if condition.reason.is_empty() {
            wrong.push(format!("{} has no reason", condition.type_));
        }
    }
    wrong
}
