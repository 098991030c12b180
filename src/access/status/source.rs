//! The status of a source.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{GROUPS_MAX, Standing, approval, client, cut, group_status, list, number, passes};
use crate::access::gate::Hold;
use crate::access::ledger::Tally;
use crate::access::policy::Refusal;
use crate::access::survey::{Findings, Unmanaged};
use crate::api::conditions::{self, Set};
use crate::api::poll::Poll;
use crate::api::push::Push;
use crate::api::source::{GroupStatus, JournalRef, ScimSourceStatus};
use crate::directory::{FailingToken, Poll as Passes, Source};

/// What happened to the journal that a source's data is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// It is older than what is known of it; else gone, another one, or damaged.
    pub rolled_back: bool,
    /// What happened, and what to do: `journal::Loss` says it.
    pub message: String,
    /// By what it is accepted.
    pub token: String,
    /// How it is accepted, for people.
    pub advice: String,
}

/// All that a source's status is made from.
#[derive(Clone, Debug)]
pub struct SourceReport<'a> {
    /// The source's name.
    pub name: &'a str,
    /// The object's generation.
    pub generation: i64,
    /// `spec.suspend`.
    pub suspend: bool,
    /// What is wrong with its spec.
    pub invalid: Option<&'a Refusal>,
    /// How its provider proves who it is; none: it is polled.
    pub push: Option<&'a Push>,
    /// How it is polled; none: it pushes.
    pub poll: Option<&'a Poll>,
    /// What the directory knows of it; `None`: no gateway has seen it yet.
    pub source: Option<&'a Source>,
    /// How many active users do not get the username they yield, because somebody else has it.
    pub conflicts: usize,
    /// How many active users yield no username.
    pub nameless: usize,
    /// Why, each reason once.
    pub reasons: &'a [Arc<str>],
    /// What waits for an approval, of its people.
    pub waiting: Tally,
    /// The request for a look that was acted on.
    pub requested: Option<&'a str>,
    /// How many people the provider disabled or deleted within an hour, if that is more than the limits say.
    pub mass: Option<usize>,
    /// Where the provider pushes to.
    pub url: &'a str,
    /// What others granted to its people and groups.
    pub unmanaged: Option<&'a Unmanaged>,
    /// The journal is lost or rolled back.
    pub loss: Option<&'a Loss>,
    /// The journal could not be proved up to date, and why; it is tried again.
    pub unproved: Option<&'a str>,
    /// Where the directory journal stands, as it is to be remembered; at most once a minute another one.
    pub journal: Option<&'a JournalRef>,
}

impl SourceReport<'_> {
    fn failing(&self) -> &[FailingToken] {
        self.source.map_or(&[], Source::failing_tokens)
    }

    fn passes(&self) -> Option<&Passes> {
        self.source.map(Source::poll).filter(|_| self.poll.is_some())
    }

    /// Why the provider cannot push at all; `None` if some token can be used.
    fn unusable(&self) -> Option<String> {
        let failing = self.failing();
        let all = self.push.map_or(0, |push| push.tokens.len() + usize::from(push.jwt.is_some()));
        (failing.len() >= all && all > 0).then(|| {
            format!(
                "the provider cannot push, no token can be used: {}; what was granted stays until then",
                unusable(failing)
            )
        })
    }
}

fn unusable(failing: &[FailingToken]) -> String {
    let told: Vec<String> = failing.iter().map(|t| format!("{}: {}", t.name, t.why)).collect();
    told.join("; ")
}

/// The status. While the journal is lost, the numbers are those that were last known.
pub fn source_status(report: &SourceReport<'_>, old: &ScimSourceStatus, now: &Time) -> ScimSourceStatus {
    let mut set = standing(report).conditions();
    set.extend(beside(report));
    let client = report.source.unwrap_or_else(|| Source::empty()).client();
    set.extend(client::conditions(report.push.map_or(&[], |push| &push.tokens), client, now.0));
    let mut status = ScimSourceStatus {
        observed_generation: report.generation,
        conditions: conditions::update(&old.conditions, &set, report.generation, now),
        url: report.push.map(|_| cut(report.url, 2048)).unwrap_or_default(),
        mode: match (report.suspend, report.poll) {
            (true, _) => "Suspended",
            (false, Some(_)) => "Poll",
            (false, None) => "Push",
        }
        .to_owned(),
        summary: cut(&summary(report), 512),
        last_handled_reconcile_at: report.requested.map(str::to_owned),
        journal: report.journal.cloned().or_else(|| old.journal.clone()),
        ..old.clone()
    };
    if report.loss.is_some() {
        // what is remembered of the journal is what a loss is known by: it must not be overwritten by what came after
        status.journal = old.journal.clone();
        status.journal_loss = report.loss.map(|loss| loss.token.clone()).unwrap_or_default();
        return status;
    }
    status.journal_loss = String::new();
    let count = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    status.users = report.source.map_or(0, |s| count(s.user_count()));
    status.active_users = report.source.map_or(0, |s| count(s.active_count()));
    status.groups = report.source.map_or(0, |s| count(s.group_count()));
    status.ignored_groups = report.source.map_or(0, |s| count(s.ignored().len()));
    status.last_event_time = report.source.and_then(Source::last_event).map(|time| minute(time).to_string());
    status.held_removals = i64::try_from(report.waiting.removals).unwrap_or(i64::MAX);
    status.held_index = (!report.waiting.is_empty()).then_some(report.waiting.newest);
    status.tokens = client::tokens(report.push, client);
    status.poll = report.poll.map(|spec| passes::status(spec, report.source.map(Source::poll)));
    status.tolerances = client::tolerances(client);
    status.drift = client::drift(client);
    status.largest_groups = report.source.map(|source| largest(report.name, source)).unwrap_or_default();
    status
}

fn standing(report: &SourceReport<'_>) -> Standing {
    if let Some(loss) = report.loss {
        let reason = if loss.rolled_back {
            conditions::JOURNAL_ROLLED_BACK
        } else {
            conditions::JOURNAL_LOST
        };
        let message = format!("{}; everything else stays as it is until it is there again", loss.message);
        return Standing::Stalled(reason.to_owned(), message);
    }
    if let Some(refusal) = report.invalid {
        let message = format!(
            "{}; what was granted stays, and only people whom the provider disables or deletes lose access",
            refusal.message
        );
        return Standing::Stalled(refusal.reason.to_owned(), message);
    }
    if let Some(why) = report.unusable() {
        return Standing::Retrying("NoUsableToken".to_owned(), why);
    }
    if let Some((reason, why)) = report.passes().and_then(passes::never_whole) {
        return Standing::Retrying(reason, why);
    }
    if let Some(why) = report.unproved {
        return Standing::Retrying(
            "DirectoryUnproved".to_owned(),
            format!("the directory could not be proved up to date: {why}; tried again"),
        );
    }
    if report.source.is_none() {
        return Standing::Working("no gateway has said yet that it serves this source".to_owned());
    }
    if report.poll.is_some() && report.passes().is_none_or(|passes| passes.full.is_none()) {
        return Standing::Working("the first pass over the directory is not over yet".to_owned());
    }
    let reason = if report.suspend { "Suspended" } else { "Succeeded" };
    Standing::Good(reason, summary(report))
}

fn beside(report: &SourceReport<'_>) -> Vec<Set> {
    let mut set = Vec::new();
    if let Some(loss) = report.loss {
        let kind = if loss.rolled_back {
            conditions::JOURNAL_ROLLED_BACK
        } else {
            conditions::JOURNAL_LOST
        };
        set.push(Set::new(kind, "True", kind, format!("{}. {}", loss.message, loss.advice)));
    }
    if report.conflicts > 0 {
        let message = format!(
            "{} yield a username that somebody else has borne longer, and get nothing: give them another one at the provider, or make spec.subject.username tell them apart",
            number(report.conflicts, "active user", "active users")
        );
        set.push(Set::new(conditions::USERNAME_CONFLICT, "True", "SameUsername", message));
    }
    if !report.waiting.is_empty() {
        let (hold, what) = match report.waiting.removals {
            0 => (Hold::NewGroup, "groups of it are new to mappings that want each approved"),
            _ => (
                Hold::Budget,
                "more of its people would lose access within an hour than spec.limits of a mapping or of this source allow",
            ),
        };
        let message = format!("{what}; {}", approval(&format!("ScimSource/{}", report.name), report.waiting));
        set.push(Set::new(conditions::HELD, "True", hold.reason(), message));
    }
    set.extend(report.unmanaged.and_then(|found| unmanaged(report, found)));
    if let Some(people) = report.mass {
        let message = format!(
            "the provider disabled or deleted {} who held something within an hour, more than spec.limits say: they lost access at once; if that is wrong, correct it at the provider",
            number(people, "person", "people")
        );
        set.push(Set::new(conditions::MASS_DEPROVISION, "True", "ManyPeople", message));
    }
    // All of them: `Ready` says it. A condition has one reason: people without access come first.
    let failing = report.failing();
    if report.nameless == 0 && !failing.is_empty() && report.unusable().is_none() {
        let message = format!("the provider's other tokens are accepted, but not: {}", unusable(failing));
        set.push(Set::new(conditions::DEGRADED, "True", "TokenUnusable", message));
    }
    let trouble = report.passes().filter(|passes| passes.full.is_some()).and_then(passes::trouble);
    if let Some((reason, message)) = trouble.filter(|_| report.nameless == 0) {
        set.push(Set::new(conditions::DEGRADED, "True", reason, message));
    }
    if report.nameless > 0 {
        let message = format!(
            "spec.subject.username yields no username for {}, who get nothing: {}",
            number(report.nameless, "active user", "active users"),
            list(report.reasons)
        );
        set.push(Set::new(conditions::DEGRADED, "True", "NoUsername", message));
    }
    set
}

/// What others granted to people and groups of the source. Names of bindings, and of no person.
fn unmanaged(report: &SourceReport<'_>, found: &Unmanaged) -> Option<Set> {
    let mut said: Vec<(&str, String)> = Vec::new();
    let mut tell = |reason, found: &Findings, what: &str, advice: &str| {
        if found.count > 0 {
            let more = if found.count > found.shown.len() { ", and more" } else { "" };
            let bindings = number(found.count, "binding", "bindings");
            said.push((
                reason,
                format!(
                    "{bindings} that Rolecall does not manage {what}: {}{more}; {advice}",
                    list(&found.shown)
                ),
            ));
        }
    };
    tell(
        "DisabledPerson",
        &found.disabled,
        "name people whom the provider disabled",
        "whoever can still log in has that access: take them out",
    );
    tell(
        "MappedGroup",
        &found.groups,
        "name groups that a mapping has",
        "what they grant does not end with the mapping: remove them, or map it",
    );
    if let Some((prefix, n)) = found.prefixes.iter().max_by_key(|(_, n)| **n) {
        said.push((
            "UsernamePrefix",
            format!(
                "others' bindings name {} of {} by the prefix {prefix:?}, and nobody by the one that spec.subject.username yields: if people log in with that one, what is granted here reaches nobody; compare it with kubectl auth whoami",
                number(*n, "person", "people"),
                report.name
            ),
        ));
    }
    let (reason, _) = said.first()?;
    let message: Vec<&str> = said.iter().map(|(_, message)| message.as_str()).collect();
    Some(Set::new(conditions::UNMANAGED_ACCESS, "True", *reason, message.join("; ")))
}

fn summary(report: &SourceReport<'_>) -> String {
    let suspended = if report.suspend {
        ", suspended: nothing new is granted"
    } else {
        ""
    };
    let Some(source) = report.source.filter(|s| s.last_event().is_some()) else {
        return match report.poll {
            Some(poll) => format!("nothing found yet: {} is asked every {}{suspended}", poll.kind(), poll.interval),
            None => format!("nothing pushed yet: let the provider push to {}{suspended}", report.url),
        };
    };
    let count = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
    let ignored = match source.ignored().len() {
        0 => String::new(),
        n => format!(" ({n} ignored)"),
    };
    format!(
        "{}, {} active, {}{ignored}{suspended}",
        number(count(source.user_count()), "user", "users"),
        source.active_count(),
        number(count(source.group_count()), "group", "groups")
    )
}

/// To the minute, so that a busy directory does not mean a busy status.
pub(super) fn minute(time: Timestamp) -> Timestamp {
    let seconds = time.as_second();
    Timestamp::from_second(seconds - seconds.rem_euclid(60)).unwrap_or(time)
}

/// The largest groups, largest first; of equal ones the oldest. Looks at every group, keeps no more than are shown.
fn largest(name: &str, source: &Source) -> Vec<GroupStatus> {
    let mut heap: BinaryHeap<Reverse<(u64, Reverse<u32>)>> = BinaryHeap::new();
    for group in source.groups() {
        heap.push(Reverse((source.members(group.n).len(), Reverse(group.n))));
        if heap.len() > GROUPS_MAX {
            heap.pop();
        }
    }
    let mut found: Vec<(u64, Reverse<u32>)> = heap.into_iter().map(|Reverse(entry)| entry).collect();
    found.sort_unstable_by_key(|entry| Reverse(*entry));
    found
        .into_iter()
        .filter_map(|(_, Reverse(n))| Some(group_status(name, source, source.get(n)?)))
        .collect()
}
