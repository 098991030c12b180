//! The first roots of an installation: made only where nothing names a journal. Who looks for what names one is the caller.

use std::collections::BTreeSet;

use super::settle::Backoff;
use super::{Error, Loss, Root, Store, StoreError, root};

/// The most journals that a root says it follows, as its CRD has it.
const PREDECESSORS_MAX: usize = 16;

/// What the caller found that names a journal: an object of ours, a source's status; and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// The id of the journal that it names.
    pub id: String,
    /// What names it, for people: `RoleBinding team-a/rolecall-...`.
    pub by: String,
}

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Creation {
    /// Both journals were there, with this id.
    Existed(String),
    /// Both are there now, with this id.
    Created(String),
    /// Something names a journal that is not there. Nothing was made.
    Refused {
        /// The loss.
        loss: Loss,
        /// What names it, for people.
        by: String,
    },
}

/// Makes the roots of `access` and `directory` with the id `id` (a fresh UUID), if no journal, no segment, and nothing that the
/// caller found (`named`) names one. The access journal is made first: whoever stops between the two can go on later, because
/// no gateway can have written anything before there is a directory.
pub async fn create_if_nothing_names_one(
    access: &dyn Store,
    directory: &dyn Store,
    id: &str,
    named: Option<Named>,
) -> Result<Creation, Error> {
    let id = match (look(access).await?, look(directory).await?) {
        (Some(access), Some(directory)) if access.spec.id == directory.spec.id => return Ok(Creation::Existed(access.spec.id)),
        (Some(access), Some(directory)) => {
            return Ok(Creation::Refused {
                loss: Loss::OtherId {
                    known: access.spec.id,
                    found: directory.spec.id,
                },
                by: "the Journals access and directory are of two installations".to_owned(),
            });
        }
        (Some(access), None) if access.spec.index == 0 => access.spec.id,
        (Some(_), None) => return Ok(gone("the Journal access, which is not empty".to_owned())),
        (None, Some(_)) => return Ok(gone("the Journal directory".to_owned())),
        (None, None) => id.to_owned(),
    };
    if let Some(named) = named {
        return Ok(gone(named.by));
    }
    for store in [access, directory] {
        if let Some(segment) = store.segments().await.map_err(Error::Store)?.first() {
            return Ok(gone(format!("the Segment {}", segment.name)));
        }
    }
    let id = make(access, &id, &[]).await?;
    let made = make(directory, &id, &[]).await?;
    if made != id {
        // Another process made it in the same moment, from another id: it will find the same and say so.
        return Ok(Creation::Refused {
            loss: Loss::OtherId { known: id, found: made },
            by: "the Journals access and directory are of two installations".to_owned(),
        });
    }
    Ok(Creation::Created(id))
}

fn gone(by: String) -> Creation {
    Creation::Refused { loss: Loss::Gone, by }
}

async fn look(store: &dyn Store) -> Result<Option<Root>, Error> {
    match store.root().await {
        Ok(root) => Ok(Some(root)),
        Err(StoreError::NotFound) => Ok(None),
        Err(error) => Err(Error::Store(error)),
    }
}

/// Makes the root of a journal anew whose loss somebody accepted, with the id that the old one had. `before`: the UIDs of the old one that somebody knows,
/// at most 16 of them. Nothing of the old one is taken over: what it knew has to be said again. Its segments, if there are any left, are nobody's.
///
/// # Errors
/// When the store does not answer, or another installation's root stands there by now.
pub async fn make_anew(store: &dyn Store, id: &str, before: impl Iterator<Item = String>) -> Result<(), Error> {
    let mut before: Vec<String> = before.collect::<BTreeSet<_>>().into_iter().take(PREDECESSORS_MAX).collect();
    if before.is_empty() {
        before.push("unknown".to_owned());
    }
    let found = make(store, id, &before).await?;
    if found != id {
        return Err(Error::Lost(Loss::OtherId {
            known: id.to_owned(),
            found,
        }));
    }
    Ok(())
}

/// Creates a root, or finds that somebody did; returns the id that stands.
async fn make(store: &dyn Store, id: &str, predecessors: &[String]) -> Result<String, Error> {
    let spec = crate::api::JournalSpec {
        predecessors: predecessors.to_vec(),
        ..root::first(id, store.name())
    };
    let mut backoff = Backoff::new();
    for _ in 0..10 {
        match store.create_root(&spec).await {
            Ok(root) => return Ok(root.spec.id),
            Err(StoreError::AlreadyExists) => {
                if let Some(root) = look(store).await? {
                    return Ok(root.spec.id);
                }
            }
            Err(error @ (StoreError::Unknown { .. } | StoreError::Malformed(_))) => backoff.wait(&error).await,
            Err(error) => return Err(Error::Store(error)),
        }
    }
    Err(Error::Deadline)
}
