//! The status of a mapping.

use std::collections::BTreeSet;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{Failure, GROUPS_MAX, Held, Standing, approval, cut, group_status, list, number, refusals};
use crate::access::desired::Live;
use crate::access::gate::Hold;
use crate::access::ledger::Tally;
use crate::access::policy::Refusal;
use crate::access::select::Group;
use crate::access::shard::SubjectKind;
use crate::access::targets::Namespaces;
use crate::api::conditions::{self, Set};
use crate::api::mapping::{MappingStatus, Mode};
use crate::api::source::GroupStatus;
use crate::directory::Directory;

/// All that a mapping's status is made from.
#[derive(Clone, Debug)]
pub struct MappingReport<'a> {
    /// The object's generation.
    pub generation: i64,
    /// `spec.suspend`.
    pub suspend: bool,
    /// `spec.mode`.
    pub mode: Mode,
    /// The mapping as it was evaluated, or what is wrong with its spec.
    pub live: Result<Live<'a>, &'a Refusal>,
    /// The directory.
    pub directory: &'a Directory,
    /// Sources that do not allow the mapping's namespace.
    pub source_refusals: &'a [Refusal],
    /// Sources that the spec names and that do not exist.
    pub missing_sources: &'a [String],
    /// Sources that exist and are stalled, or not proved.
    pub stalled_sources: &'a [String],
    /// People whose username must not or may not be granted anything.
    pub refused_people: usize,
    /// What the gate holds.
    pub held: &'a Held,
    /// What waits for an approval.
    pub waiting: Tally,
    /// The request for a look that was acted on.
    pub requested: Option<&'a str>,
    /// What is the case, though it may hold nothing at the moment.
    pub holds: &'a BTreeSet<Hold>,
    /// What was refused.
    pub failures: &'a [Failure],
    /// How many writes are still to be done.
    pub pending: usize,
    /// How many bindings there are.
    pub bindings: usize,
    /// The namespaces.
    pub namespaces: &'a Namespaces,
    /// The roles that permit something else than when they were seen first.
    pub changed_roles: &'a [String],
    /// When its access last changed.
    pub last_change: Option<Timestamp>,
}

/// The status. The same report and old status give the same status: compare, and write only what differs.
pub fn mapping_status(report: &MappingReport<'_>, old: &MappingStatus, now: &Time) -> MappingStatus {
    let counted = Counted::of(report);
    let summary = summary(report, &counted);
    let mut set = standing(report, &summary).conditions();
    set.extend(beside(report));
    let (people, namespaces, unmatched, refused) = match &report.live {
        Ok(live) if live.mapping.expired => (0, 0, 0, 0),
        Ok(live) => (
            counted.people,
            live.targets.namespaces(report.namespaces).count(),
            live.selected.unmatched.len(),
            live.targets.refused.len(),
        ),
        Err(_) => (0, 0, 0, 0),
    };
    let count = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
    MappingStatus {
        observed_generation: report.generation,
        conditions: conditions::update(&old.conditions, &set, report.generation, now),
        mode: mode(report).to_owned(),
        summary: cut(&summary, 512),
        people: count(people),
        namespaces: count(namespaces),
        bindings: count(report.bindings),
        unmatched_groups: count(unmatched),
        refused_groups: count(refused),
        empty_groups: count(counted.empty),
        held_removals: count(report.waiting.removals),
        held_groups: count(report.waiting.groups),
        held_index: (!report.waiting.is_empty()).then_some(report.waiting.newest),
        last_change_time: report.last_change.map(|time| second(time).to_string()),
        last_handled_reconcile_at: report.requested.map(str::to_owned),
        groups: groups(report),
    }
}

/// To the second: a status shows no more.
fn second(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

/// Of a mapping that nobody looked at yet.
pub const NOT_LOOKED_AT: &str = "Progressing";
/// Of a mapping that uses a source of which it is not known which groups count.
pub const SOURCE_UNREAD: &str = "SourceUnread";

fn standing(report: &MappingReport<'_>, summary: &str) -> Standing {
    let live = match &report.live {
        Ok(live) => live,
        Err(refusal) if refusal.reason == NOT_LOOKED_AT => return Standing::Working(refusal.message.clone()),
        // the source may be made again in a moment: `kubectl replace --force` does
        Err(refusal) if refusal.reason == SOURCE_UNREAD => {
            return Standing::Retrying("DependencyNotReady".to_owned(), refusal.message.clone());
        }
        Err(refusal) => {
            return Standing::Stalled(
                refusal.reason.to_owned(),
                format!("{}; what was granted stays until it is corrected", refusal.message),
            );
        }
    };
    let mut refused: Vec<Refusal> = live.targets.refusals.clone();
    refused.extend(report.source_refusals.iter().cloned());
    refused.extend(report.failures.iter().filter(|f| f.human).map(|f| f.refusal.clone()));
    if !refused.is_empty() {
        let (reason, message) = refusals(&refused);
        return Standing::Stalled(reason, message);
    }
    if !report.missing_sources.is_empty() {
        let message = format!(
            "there is no ScimSource {}: create it, or correct spec.sources",
            list(report.missing_sources)
        );
        return Standing::Retrying("DependencyNotReady".to_owned(), message);
    }
    if !report.stalled_sources.is_empty() {
        let message = format!(
            "the ScimSource {} is not ready: see its conditions; nothing new is granted from it, and nothing taken away but from people whom it disables or deletes",
            list(report.stalled_sources)
        );
        return Standing::Retrying("DependencyNotReady".to_owned(), message);
    }
    // suspension is what the spec asks for; everything else that holds keeps the spec from being applied
    if let Some(hold) = report.held.holds.iter().find(|hold| !hold.is_asked_for()) {
        return Standing::Retrying(hold.reason().to_owned(), hold.advice().to_owned());
    }
    let again: Vec<Refusal> = report.failures.iter().map(|f| f.refusal.clone()).collect();
    if !again.is_empty() {
        let (reason, message) = refusals(&again);
        return Standing::Retrying(reason, format!("{message}; tried again"));
    }
    if report.pending > 0 {
        return Standing::Working(format!("{} to be written", number(report.pending, "binding is", "bindings are")));
    }
    match mode(report) {
        "Suspended" => Standing::Good("Suspended", format!("{summary}; suspended: nothing new is granted")),
        "Plan" => Standing::Good("Plan", format!("{summary}; spec.mode is Plan: nothing is changed by it")),
        "Ended" => Standing::Good("Ended", summary.to_owned()),
        _ => Standing::Good("Succeeded", summary.to_owned()),
    }
}

fn mode(report: &MappingReport<'_>) -> &'static str {
    match (report.suspend, report.mode, &report.live) {
        (true, ..) => "Suspended",
        (_, Mode::Plan, _) => "Plan",
        (_, _, Ok(live)) if live.mapping.expired => "Ended",
        _ => "Enforce",
    }
}

fn beside(report: &MappingReport<'_>) -> Vec<Set> {
    let mut set = Vec::new();
    let name = report
        .live
        .as_ref()
        .map_or_else(|_| "MAPPING".to_owned(), |live| live.mapping.key.to_string());
    // a group may wait that has nobody yet
    if report.held.is_empty() && report.waiting.groups > 0 {
        let message = approval(&name, report.waiting);
        set.push(Set::new(conditions::HELD, "True", Hold::NewGroup.reason(), message));
    } else if !report.held.is_empty() {
        let what = match (report.held.adds, report.held.removals) {
            (adds, 0) => number(adds, "grant", "grants"),
            (0, removals) => number(removals, "removal", "removals"),
            (adds, removals) => format!(
                "{} and {}",
                number(adds, "grant", "grants"),
                number(removals, "removal", "removals")
            ),
        };
        let verb = if report.held.adds + report.held.removals == 1 {
            "waits"
        } else {
            "wait"
        };
        let mut advice: Vec<String> = report.held.holds.iter().map(|hold| hold.advice().to_owned()).collect();
        if !report.waiting.is_empty() {
            advice.push(approval(&name, report.waiting));
        }
        let reason = report.held.holds.iter().next().map_or("Held", |hold| hold.reason());
        set.push(Set::new(
            conditions::HELD,
            "True",
            reason,
            format!("{what} {verb}: {}", advice.join("; ")),
        ));
    }
    if let Ok(live) = &report.live
        && !live.selected.ambiguous.is_empty()
    {
        let message = format!(
            "several groups bear the name or id {}: the one that has borne it longest has it, the others get nothing; rename one at the provider, or map by filter: 'id eq \"...\"'",
            list(&live.selected.ambiguous)
        );
        set.push(Set::new(conditions::AMBIGUOUS_GROUP, "True", "SeveralGroups", message));
    }
    if !report.changed_roles.is_empty() {
        let message = format!(
            "{} permits something else than when this mapping was first seen to grant it, or was last edited: look at what it permits now (kubectl describe); an edit of the mapping, or another value of the annotation rolecall.dev/requestedAt, says that it was looked at",
            list(report.changed_roles)
        );
        set.push(Set::new(conditions::ROLE_CHANGED, "True", "RulesChanged", message));
    }
    let mut degraded: Vec<(&str, String)> = Vec::new();
    if let Some(hold) = report.holds.iter().find(|hold| !hold.is_asked_for()) {
        degraded.push((hold.reason(), hold.advice().to_owned()));
    }
    if let Ok(live) = &report.live
        && let Some(first) = live.targets.refused.values().next()
    {
        let message = format!(
            "{} granted nothing by some grant; {}: rename the group at the provider, narrow spec.groups, or correct the expression",
            number(live.targets.refused.len(), "group is", "groups are"),
            first.message
        );
        degraded.push((first.reason, message));
    }
    if report.refused_people > 0 {
        let message = format!(
            "{} granted nothing, as their usernames are not allowed: see accessPolicy.usernamePrefixes (Helm value), and spec.subject.username of the source; names that begin with \"system:\" are never allowed",
            number(report.refused_people, "person is", "people are")
        );
        degraded.push(("UsernameNotAllowed", message));
    }
    if let Some((reason, _)) = degraded.first() {
        let message = degraded.iter().map(|(_, message)| message.as_str()).collect::<Vec<_>>().join("; ");
        set.push(Set::new(conditions::DEGRADED, "True", *reason, message));
    }
    set
}

/// `view, edit in 12 namespaces, 240 people, 3 groups unmatched`.
fn summary(report: &MappingReport<'_>, counted: &Counted) -> String {
    let live = match &report.live {
        Ok(live) => live,
        Err(refusal) => return format!("not applied: {}", refusal.reason),
    };
    if live.mapping.expired {
        let end = live.mapping.not_after.map(|end| end.to_string()).unwrap_or_default();
        return match report.bindings {
            0 => format!("ended at {end} (spec.notAfter): nothing is granted"),
            _ => format!("ended at {end} (spec.notAfter): what it granted is taken away, and not all of it is gone yet"),
        };
    }
    // in the order of the spec, as people know it
    let mut roles: Vec<&str> = Vec::new();
    let named = live.mapping.roles();
    for role in &named {
        if live.targets.roles.contains(role) && !roles.contains(&role.name.as_str()) {
            roles.push(&role.name);
        }
    }
    let first = live.targets.namespaces(report.namespaces).next();
    let mut places: Vec<String> = live.targets.is_wide().then(|| "the whole cluster".to_owned()).into_iter().collect();
    match (first, live.targets.namespaces(report.namespaces).count()) {
        (Some(only), 1) => places.push(format!("namespace {only}")),
        (Some(_), n) => places.push(format!("{n} namespaces")),
        (None, _) => {}
    }
    let mut parts = vec![match roles.is_empty() || places.is_empty() {
        true => "nothing granted".to_owned(),
        false => format!("{} in {}", list(&roles), places.join(" and in ")),
    }];
    for (kind, n, one, many) in [
        (SubjectKind::User, counted.people, "person", "people"),
        (SubjectKind::Group, counted.groups, "group", "groups"),
    ] {
        if live.mapping.subjects.contains(&kind) {
            parts.push(number(n, one, many));
        }
    }
    for (n, one, many) in [
        (live.selected.unmatched.len(), "group unmatched", "groups unmatched"),
        (live.targets.refused.len(), "group refused", "groups refused"),
        (counted.empty, "group empty", "groups empty"),
        (
            live.targets.missing(report.namespaces).count(),
            "namespace missing",
            "namespaces missing",
        ),
    ] {
        if n > 0 {
            parts.push(number(n, one, many));
        }
    }
    if live.targets.empty_selector {
        parts.push("a selector selects no namespace".to_owned());
    }
    parts.join(", ")
}

/// What is counted by looking at everybody, once for all that is said of it.
#[derive(Default)]
struct Counted {
    people: usize,
    groups: usize,
    /// How many of the mapped groups have nobody.
    empty: usize,
}

impl Counted {
    fn of(report: &MappingReport<'_>) -> Self {
        let Ok(live) = &report.live else { return Self::default() };
        let is_empty = |(name, n): &&Group| {
            let source = report.directory.source(name);
            source.is_some_and(|source| source.get(*n).is_some() && source.members(*n).is_empty())
        };
        Self {
            people: live.cells.count(SubjectKind::User),
            groups: live.cells.count(SubjectKind::Group),
            empty: live.selected.groups.iter().filter(is_empty).count(),
        }
    }
}

fn groups(report: &MappingReport<'_>) -> Vec<GroupStatus> {
    let Ok(live) = &report.live else { return Vec::new() };
    let shown = live.selected.groups.iter().take(GROUPS_MAX);
    let status = shown.filter_map(|(name, n)| {
        let source = report.directory.source(name)?;
        Some(group_status(name, source, source.get(*n)?))
    });
    status.collect()
}
