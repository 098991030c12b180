//! How an adoption looks on a terminal; the shared pieces are in `text`. Nothing is decided here.

use std::collections::BTreeSet;

use super::adopt::{Adoption, Found, Outcome, Verdict};
use super::text::{line, printable, several, some};

/// At most so many subjects of a binding; `-o json` has all.
const SUBJECTS_SHOWN: usize = 20;

/// What somebody made and ours cover, as text.
pub fn list(adoption: &Adoption) -> String {
    let mut out = String::new();
    // whatever stands in it was written by somebody else
    let mut say = |indent: usize, text: &str| line(&mut out, indent, &printable(text));
    for found in &adoption.bindings {
        let sign = match found.verdict {
            Verdict::Covered => '-',
            Verdict::Partly => '?',
            Verdict::Skipped => '!',
        };
        say(0, &format!("{sign}  {}  {}", found.object(), found.role));
        say(3, &format!("covered: {}; by {}", subjects(&found.covered), mappings(found)));
        if !found.uncovered.is_empty() {
            say(3, &format!("not covered, so that it stays: {}", subjects(&found.uncovered)));
        }
        if let Some(why) = &found.why {
            say(3, &format!("stays: {why}"));
        }
    }
    match i64::try_from(adoption.removable()).unwrap_or(i64::MAX) {
        0 => say(
            0,
            "Nothing is to be removed: no binding that somebody made is covered by Rolecall's.",
        ),
        n => say(0, &format!("{} to be removed.", several(n, "binding is", "bindings are"))),
    }
    adoption.notes.iter().for_each(|note| say(0, &format!("Note: {note}.")));
    out
}

/// What became of those that were to be removed, one line each.
pub fn outcomes(adoption: &Adoption) -> String {
    let mut out = String::new();
    for found in &adoption.bindings {
        let became = match &found.outcome {
            None => continue,
            Some(Outcome::Removed) => "removed".to_owned(),
            Some(Outcome::Gone) => "is gone already".to_owned(),
            Some(Outcome::Failed(why)) => format!("not removed: {why}"),
        };
        line(&mut out, 0, &printable(&format!("{} {became}.", found.object())));
    }
    if adoption.failed() {
        line(
            &mut out,
            0,
            "Not all were removed; run kubectl rolecall adopt again when the reasons are gone.",
        );
    }
    out
}

fn subjects(all: &[String]) -> String {
    some(all.iter().cloned(), all.len(), SUBJECTS_SHOWN)
}

/// The mappings whose bindings cover it, each once.
fn mappings(found: &Found) -> String {
    let all: BTreeSet<&str> = found.by.iter().map(|ours| ours.mapping.as_str()).collect();
    all.into_iter().collect::<Vec<_>>().join(", ")
}
