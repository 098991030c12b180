//! A journal's loss that somebody accepts, by an annotation on a source: which was, and what the new term takes over from before. What is held then is decided in `access`.

use super::engine::{Engine, Error};
use super::world::World;
use crate::access::key::BindingKey;
use crate::access::ledger::{BindingId, Event as Record};
use crate::access::names::identify;
use crate::api::names;
use crate::journal::{Position, Verdict};

/// The most records of one append.
const AT_ONCE: usize = 256;

/// By what the loss of a journal is accepted: what a source shows already, or a new one. No two losses have the same.
pub fn token(world: &World, class: &str, journal: &str) -> String {
    let shown = world
        .sources_of(class)
        .filter_map(|source| Some(source.status.as_ref()?.journal_loss.clone()));
    let mut known = shown.filter(|shown| is_of(shown, journal));
    known.next().unwrap_or_else(|| {
        let fresh = uuid::Uuid::new_v4().simple().to_string();
        format!("{journal}-{}", fresh.get(..12).unwrap_or(&fresh))
    })
}

fn is_of(token: &str, journal: &str) -> bool {
    token.rsplit_once('-').is_some_and(|(of, _)| of == journal)
}

/// Whether somebody accepts the loss of this journal: a source carries the annotation with what its own status shows.
pub fn is_accepted(world: &World, class: &str, journal: &str) -> bool {
    world.sources_of(class).any(|source| {
        let shown = source
            .status
            .as_ref()
            .map(|status| status.journal_loss.as_str())
            .unwrap_or_default();
        let annotations = source.metadata.annotations.as_ref();
        let said = annotations.and_then(|annotations| annotations.get(names::ACCEPT_JOURNAL_LOSS));
        is_of(shown, journal) && said.is_some_and(|said| said.trim() == shown)
    })
}

/// What to do about a loss that cannot be undone, for people.
pub fn advice(namespace: &str, journal: &str, token: &str) -> String {
    format!(
        "If it cannot be restored: remove what is left of it (kubectl -n {namespace} delete journals.rolecall.dev {journal} --ignore-not-found), accept the loss (kubectl annotate scimsource NAME --overwrite {}={token}), and have the provider push everybody again: what is granted stays meanwhile, and what nobody claims is kept until it is approved.",
        names::ACCEPT_JOURNAL_LOSS
    )
}

impl Engine {
    /// Records what a journal that was made anew cannot know: of the bindings that stand, whose names they hold; and that all others who are recorded are
    /// known by name only. Nothing is decided before that is durable.
    ///
    /// # Errors
    /// When the access journal cannot be appended.
    pub(super) async fn take_over(&mut self) -> Result<(), Error> {
        let ledger = self.access.snapshot();
        let new = |journal: &str, follows: bool, at: &Position| {
            let told = || ledger.state.accepted(journal, &at.uid);
            (follows && !told()).then(|| at.uid.to_string())
        };
        let access = new("access", self.access.is_successor(), &ledger.position);
        let directory = new("directory", self.directory.is_successor(), &self.seen.position);
        let mut records = Vec::new();
        if let Some(uid) = access {
            // what was approved before is a record of the journal that was lost: now, while nothing is held, it releases nothing, and it counts once
            records.extend(self.approvals().into_iter().map(|(on, asked)| Record::Approved { on, asked }));
            let standing = self.world.bindings.iter();
            let found = standing.filter_map(|(_, observed)| Some((identify(observed, &self.installation)?, observed)));
            records.extend(found.map(|(key, observed): (BindingKey, _)| {
                let subjects = observed.subjects.iter();
                Record::Inherited {
                    binding: BindingId::of(&key, &self.installation.class),
                    uid: observed.uid.clone(),
                    names: subjects.filter_map(|s| s.name_of(key.prefix.kind())).map(str::to_owned).collect(),
                    owner: key.owner,
                    role: key.role,
                    shard: key.prefix,
                }
            }));
            records.push(Record::LossAccepted {
                journal: "access".to_owned(),
                uid,
            });
        }
        records.extend(directory.map(|uid| Record::LossAccepted {
            journal: "directory".to_owned(),
            uid,
        }));
        for some in records.chunks(AT_ONCE) {
            let events = some.to_vec();
            let appended = self.access.submit(move |_, _| Verdict::Append(events.clone(), ())).await;
            appended.map_err(|error| Error::of("access", error))?;
        }
        if !records.is_empty() {
            tracing::warn!(
                records = records.len(),
                "the loss of a journal is accepted: what stands is known by name, and kept until it is claimed or its removal is approved"
            );
        }
        Ok(())
    }
}
