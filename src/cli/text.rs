//! How a report looks on a terminal: short, aligned, the long left out. The time comes in as a value.

use std::fmt::Write;

use jiff::Timestamp;

use super::holds::Holds;
use super::plan::Plan;
use super::status::{ConditionView, GrantView, GroupView, MappingView, Report, SourceView};
use crate::access::policy::is_invisible;

/// At most so many groups of a source, and people of a grant; `-o json` has all.
const GROUPS_SHOWN: usize = 20;
const PEOPLE_SHOWN: usize = 20;

/// The report as text.
pub fn render(report: &Report, now: Timestamp) -> String {
    let mut out = String::new();
    for source in &report.sources {
        render_source(&mut out, source, now);
    }
    for mapping in &report.mappings {
        render_mapping(&mut out, mapping);
    }
    if report.sources.is_empty() && report.mappings.is_empty() {
        out.push_str("No sources and no mappings.\n\n");
    }
    for journal in &report.journals {
        let age = age(journal.written, now);
        line(
            &mut out,
            0,
            &format!(
                "Journal {}/{} is at {}, written {age}.",
                journal.namespace, journal.name, journal.index
            ),
        );
    }
    for note in &report.notes {
        line(&mut out, 0, &format!("Note: {note}."));
    }
    out
}

/// A plan as text.
pub fn plan(plan: &Plan) -> String {
    let mut out = String::new();
    // whatever stands in it was written by somebody else
    let mut say = |indent: usize, text: &str| line(&mut out, indent, &printable(text));
    for mapping in &plan.mappings {
        let count = |grant: bool| i64::try_from(mapping.changes.iter().filter(|one| one.grant == grant).count()).unwrap_or(i64::MAX);
        let kept = i64::try_from(mapping.unchanged).unwrap_or(i64::MAX);
        let what = match (count(true), count(false)) {
            _ if !mapping.refusals.is_empty() && mapping.changes.is_empty() => "cannot be said".to_owned(),
            (0, 0) => "nothing would change".to_owned(),
            (grants, removals) => format!(
                "{}, {}",
                several(grants, "grant", "grants"),
                several(removals, "removal", "removals")
            ),
        };
        let keep = several(kept, "person keeps", "people keep");
        say(0, &format!("{}  {what}; {keep} what they have", mapping.key));
        mapping.refusals.iter().for_each(|refusal| say(2, &format!("!  {refusal}")));
        mapping.notes.iter().for_each(|note| say(2, &format!("?  {note}")));
        for change in &mapping.changes {
            let sign = if change.grant { '+' } else { '-' };
            let kind = if change.kind == "User" {
                String::new()
            } else {
                format!("{} ", change.kind)
            };
            let waits = change.waits.map(|why| format!(" (waits: {why})")).unwrap_or_default();
            say(
                2,
                &format!(
                    "{sign}  {kind}{}  {}  {}{waits}",
                    change.name,
                    change.role,
                    place(&change.namespace)
                ),
            );
            say(5, &change.why);
        }
        say(0, "");
    }
    if plan.mappings.is_empty() {
        say(0, "No mappings.");
    }
    plan.notes.iter().for_each(|note| say(0, &format!("Note: {note}.")));
    out
}

/// What waits for an approval, as text.
pub fn holds(holds: &Holds) -> String {
    let mut out = String::new();
    let mut say = |indent: usize, text: &str| line(&mut out, indent, &printable(text));
    let mut shown = None;
    for held in &holds.removals {
        if shown != Some(&held.mapping) {
            shown = Some(&held.mapping);
            say(0, &held.mapping.to_string());
        }
        let since = held.since.strftime("%Y-%m-%dT%H:%M:%SZ");
        say(
            2,
            &format!(
                "-  {}  {}  {}  (record {}, since {since})",
                held.name,
                held.role,
                place(&held.namespace),
                held.record
            ),
        );
        say(5, &held.why);
    }
    for group in &holds.groups {
        let since = group.since.strftime("%Y-%m-%dT%H:%M:%SZ");
        let parts = [group.yields.as_str(), group.all.as_str()]
            .into_iter()
            .filter(|part| !part.is_empty());
        let yields = parts.collect::<Vec<_>>().join(", ");
        say(0, &group.mapping.to_string());
        say(2, &format!("+  group {:?} ({}) of source {}", group.name, group.id, group.source));
        say(5, &format!("its members get {yields}  (record {}, since {since})", group.record));
    }
    match holds.newest() {
        None => say(0, "Nothing waits for an approval."),
        Some(newest) => say(
            0,
            &format!("kubectl rolecall approve releases what is shown, up to record {newest}."),
        ),
    }
    holds.notes.iter().for_each(|note| say(0, &format!("Note: {note}.")));
    out
}

/// One line, without spaces at its end.
pub fn line(out: &mut String, indent: usize, text: &str) {
    let _ = writeln!(out, "{:indent$}{}", "", text.trim_end());
}

fn render_source(out: &mut String, source: &SourceView, now: Timestamp) {
    line(out, 0, &format!("ScimSource/{}  {}", source.name, state(&source.conditions)));
    let url = if source.url.is_empty() { "none yet" } else { &source.url };
    line(out, 2, &format!("url      {url}"));
    let last = source
        .last_event
        .map_or("nothing pushed yet".to_owned(), |time| format!("last change {}", age(time, now)));
    let (users, active, groups) = (source.users, source.active_users, source.group_count);
    let (users, groups) = (several(users, "user", "users"), several(groups, "group", "groups"));
    line(out, 2, &format!("holds    {users} ({active} active), {groups}; {last}"));
    attention(out, &source.conditions);
    let shown = &source.groups[..source.groups.len().min(GROUPS_SHOWN)];
    let mut rows = vec![["GROUP", "EXTERNAL-ID", "ID", "MEMBERS", "MAPPED BY"].map(str::to_owned).to_vec()];
    rows.extend(shown.iter().map(group_row));
    if rows.len() > 1 {
        table(out, &rows);
    }
    let left = source.group_count - i64::try_from(shown.len()).unwrap_or_default();
    if left > 0 {
        let whole = if source.from == "journal" { "; -o json lists all" } else { "" };
        line(out, 2, &format!("and {} more{whole}", several(left, "group", "groups")));
    }
    out.push('\n');
}

fn group_row(group: &GroupView) -> Vec<String> {
    let or_dash = |text: String| if text.is_empty() { "-".to_owned() } else { text };
    vec![
        printable(&group.display_name),
        or_dash(printable(group.external_id.as_deref().unwrap_or_default())),
        group.id.clone(),
        group.members.to_string(),
        match group.ignored {
            true => "(ignored: not in knownGroups)".to_owned(),
            false => or_dash(group.mapped_by.join(", ")),
        },
    ]
}

fn render_mapping(out: &mut String, mapping: &MappingView) {
    let state = if mapping.gone {
        "the object is gone".to_owned()
    } else {
        state(&mapping.conditions)
    };
    line(out, 0, &format!("{}  {state}", mapping.key));
    if !mapping.summary.is_empty() {
        line(out, 2, &printable(&mapping.summary));
    }
    attention(out, &mapping.conditions);
    if !mapping.groups.is_empty() {
        let name = |g: &GroupView| {
            format!(
                "{} ({}, {})",
                printable(&g.display_name),
                g.source,
                several(g.members, "member", "members")
            )
        };
        line(
            out,
            2,
            &format!(
                "groups   {}",
                some(mapping.groups.iter().map(name), mapping.groups.len(), GROUPS_SHOWN)
            ),
        );
    }
    if !mapping.unmatched.is_empty() {
        line(
            out,
            2,
            &format!(
                "missing  {}",
                some(
                    mapping.unmatched.iter().map(|t| printable(t)),
                    mapping.unmatched.len(),
                    GROUPS_SHOWN
                )
            ),
        );
    }
    match &mapping.grants {
        None => line(
            out,
            2,
            &format!(
                "grants   to {}; the access journal cannot be read",
                several(mapping.people, "person", "people")
            ),
        ),
        Some(grants) if grants.is_empty() => line(out, 2, "grants   nothing to anybody"),
        Some(grants) => {
            let mut rows = vec![["ROLE", "NAMESPACE", "PEOPLE"].map(str::to_owned).to_vec()];
            rows.extend(grants.iter().map(grant_row));
            table(out, &rows);
        }
    }
    out.push('\n');
}

fn grant_row(grant: &GrantView) -> Vec<String> {
    let mut people = some(grant.people.iter().map(|p| printable(p)), grant.people.len(), PEOPLE_SHOWN);
    if !grant.under_way.is_empty() {
        let more = format!(
            "under way: {}",
            some(grant.under_way.iter().map(|p| printable(p)), grant.under_way.len(), PEOPLE_SHOWN)
        );
        people = if people.is_empty() { more } else { format!("{people}; {more}") };
    }
    vec![grant.role.clone(), place(&grant.namespace).to_owned(), people]
}

/// `Ready`, or why not.
fn state(conditions: &[ConditionView]) -> String {
    match conditions.first().filter(|c| c.kind == crate::api::conditions::READY) {
        Some(ready) if ready.status == "True" => "Ready".to_owned(),
        Some(ready) => format!("not ready: {}", ready.reason),
        None => "not looked at yet".to_owned(),
    }
}

/// What needs attention: the message of Ready if it is not True, and every other condition that is.
fn attention(out: &mut String, conditions: &[ConditionView]) {
    for condition in conditions {
        let ready = condition.kind == crate::api::conditions::READY;
        let repeats = !ready
            && conditions
                .iter()
                .any(|c| c.kind == crate::api::conditions::READY && c.message == condition.message);
        if !(ready && condition.status == "True" || repeats) {
            line(out, 2, &format!("{}  {}", condition.kind, printable(&condition.message)));
        }
    }
}

/// The first of them, and how many more there are.
pub fn some(items: impl Iterator<Item = String>, all: usize, shown: usize) -> String {
    let mut text = items.take(shown).collect::<Vec<_>>().join(", ");
    if all > shown {
        let _ = write!(text, " and {} more", all - shown);
    }
    text
}

/// `1 person`, `2 people`.
pub fn several(n: i64, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}

fn table(out: &mut String, rows: &[Vec<String>]) {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |n: usize| {
        rows.iter()
            .filter_map(|row| row.get(n))
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or_default()
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    for row in rows {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:<width$}")).collect();
        line(out, 2, &cells.join("  "));
    }
}

/// What a provider wrote must not steer the terminal.
pub fn printable(text: &str) -> String {
    let hides = |c: char| c.is_control() || is_invisible(c);
    text.chars().map(|c| if hides(c) { '\u{fffd}' } else { c }).collect()
}

/// How long ago, as kubectl says it.
fn age(then: Timestamp, now: Timestamp) -> String {
    let seconds = now.duration_since(then).as_secs().max(0);
    if then == Timestamp::UNIX_EPOCH {
        return "never".to_owned();
    }
    let text = match seconds {
        0..120 => format!("{seconds}s"),
        120..7200 => format!("{}m", seconds / 60),
        7200..172_800 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    };
    format!("{text} ago")
}

/// Where something is granted, for people.
fn place(namespace: &str) -> &str {
    if namespace.is_empty() { "(whole cluster)" } else { namespace }
}
