//! What a source's status says of the passes over a directory that is polled. Never a person's data.

use jiff::SignedDuration;

use super::source::minute;
use crate::api::poll::Poll as Spec;
use crate::api::source::PollStatus;
use crate::directory::Poll;
use crate::directory::poll::Outcome;

/// The passes, for the status.
pub(super) fn status(spec: &Spec, passes: Option<&Poll>) -> PollStatus {
    let Some(passes) = passes else { return PollStatus::default() };
    let ended = passes.ended.as_ref();
    let open = passes.pass.as_ref().is_some_and(|pass| pass.open);
    let every = spec.every().ok().and_then(|every| SignedDuration::try_from(every).ok());
    let next = ended.zip(every).filter(|_| !open).map(|(ended, every)| ended.time + every);
    let counts = passes.pass.as_ref().map(|pass| pass.counts).unwrap_or_default();
    let count = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    PollStatus {
        last_outcome: ended.map(|ended| outcome(ended.outcome).to_owned()).unwrap_or_default(),
        last_pass_time: ended.map(|ended| minute(ended.time).to_string()),
        last_full_pass_time: passes.full.map(|time| minute(time).to_string()),
        next_pass_time: next.map(|time| minute(time).to_string()),
        users: count(counts.users),
        groups: count(counts.groups),
        pages: count(counts.pages),
    }
}

fn outcome(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Complete => "Complete",
        Outcome::Unproven => "Unproven",
        Outcome::Failed => "Failed",
    }
}

/// What is wrong with the last pass: a word, and for people.
pub(super) fn trouble(passes: &Poll) -> Option<(String, String)> {
    let ended = passes.ended.as_ref()?;
    let what = match ended.outcome {
        Outcome::Complete => return None,
        Outcome::Unproven => "was not whole, so that nobody is taken to be gone because of it",
        Outcome::Failed => "did not come to its end; what was granted stays",
    };
    Some((
        ended.reason.to_string(),
        format!("the last pass over the directory {what}: {}; tried again", ended.message),
    ))
}

/// The same, where no pass over everything ever came to its end.
pub(super) fn never_whole(passes: &Poll) -> Option<(String, String)> {
    trouble(passes).filter(|_| passes.full.is_none())
}
