//! What a lost journal is, and the pure comparison of a root with what is known of it. Nothing here talks to a store: who may
//! declare a loss (only a GET begun after the knowledge) is decided by the callers.

use std::sync::Arc;

use super::Position;
use super::root::FORMAT;
use super::store::Root;
use crate::api::conditions;

/// Why a journal must not look up to date. What is granted stays, nothing is granted or revoked, until an admin has looked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Loss {
    /// The Journal object is gone.
    Gone,
    /// The Journal object is being deleted.
    Deleting,
    /// The Journal object belongs to another installation.
    OtherId {
        /// The id that was known.
        known: String,
        /// The id that is there.
        found: String,
    },
    /// The Journal object was deleted and made again.
    OtherUid {
        /// The UID that was known.
        known: String,
        /// The UID that is there.
        found: String,
    },
    /// The journal is behind what is known of it, or went on from there with another history.
    RolledBack {
        /// The index that was known.
        known: i64,
        /// The index that is there.
        found: i64,
    },
    /// A segment that the root still reaches is gone.
    SegmentMissing {
        /// The segment's name.
        name: String,
    },
    /// The journal holds something else at an index that is known.
    Fork {
        /// The index.
        index: i64,
    },
    /// The journal was written in a format that this release does not know.
    UnknownFormat(i32),
    /// A batch, a segment or the root cannot be read.
    Undecodable {
        /// Which piece.
        what: String,
        /// Why not.
        why: String,
    },
    /// The chain of hashes does not hold.
    BrokenChain {
        /// The index of the first swap that does not follow the one before.
        index: i64,
    },
}

impl Loss {
    /// The type of the condition that a source shows: [`conditions::JOURNAL_ROLLED_BACK`] or [`conditions::JOURNAL_LOST`].
    pub fn condition(&self) -> &'static str {
        match self {
            Loss::RolledBack { .. } | Loss::Fork { .. } => conditions::JOURNAL_ROLLED_BACK,
            Loss::Gone
            | Loss::Deleting
            | Loss::OtherId { .. }
            | Loss::OtherUid { .. }
            | Loss::SegmentMissing { .. }
            | Loss::UnknownFormat(_)
            | Loss::Undecodable { .. }
            | Loss::BrokenChain { .. } => conditions::JOURNAL_LOST,
        }
    }

    /// The condition's reason, and the label of logs and metrics: a closed set.
    pub fn reason(&self) -> &'static str {
        match self {
            Loss::Gone => "Gone",
            Loss::Deleting => "Deleting",
            Loss::OtherId { .. } => "OtherId",
            Loss::OtherUid { .. } => "OtherUid",
            Loss::RolledBack { .. } => "RolledBack",
            Loss::SegmentMissing { .. } => "SegmentMissing",
            Loss::Fork { .. } => "Fork",
            Loss::UnknownFormat(_) => "UnknownFormat",
            Loss::Undecodable { .. } => "Undecodable",
            Loss::BrokenChain { .. } => "BrokenChain",
        }
    }
}

impl std::fmt::Display for Loss {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        const RESTORE: &str = "Restore it from a backup of etcd that is not older.";
        match self {
            Loss::Gone => write!(f, "the Journal object is gone. {RESTORE}"),
            Loss::Deleting => write!(
                f,
                "the Journal object is being deleted. It cannot be kept: back it up now. {RESTORE}"
            ),
            Loss::OtherId { known, found } => write!(f, "the Journal object is of installation {found}, not of {known}. {RESTORE}"),
            Loss::OtherUid { known, found } => {
                write!(
                    f,
                    "the Journal object was deleted and made again (UID {found}, it was {known}). {RESTORE}"
                )
            }
            Loss::RolledBack { known, found } if found < known => write!(
                f,
                "the journal is at index {found} and was at {known}: etcd was put back to an older snapshot. {RESTORE}"
            ),
            Loss::RolledBack { known, found } => write!(
                f,
                "the journal is at index {found}, without what was known at index {known}: etcd was put back to an older snapshot, and written since. {RESTORE}"
            ),
            Loss::SegmentMissing { name } => write!(f, "the Segment {name}, which the journal still needs, is gone. {RESTORE}"),
            Loss::Fork { index } => write!(
                f,
                "the journal holds something else at index {index} than what was known: etcd was put back to an older snapshot, and written since. {RESTORE}"
            ),
            Loss::UnknownFormat(format) => write!(
                f,
                "the journal has format {format}, and this release knows only {FORMAT}: run the release that wrote it"
            ),
            Loss::Undecodable { what, why } => write!(
                f,
                "{what} cannot be read ({why}): run the release that wrote it, or restore the journal from a backup of etcd"
            ),
            Loss::BrokenChain { index } => write!(
                f,
                "the chain of hashes breaks at index {index}: the journal was edited or is damaged, or the CRDs are older than this release. {RESTORE}"
            ),
        }
    }
}

/// What somebody knows of a journal: a process, a ScimSource's status, or `--expect-head`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// The id of the installation.
    pub id: String,
    /// The UID of the Journal object, if known.
    pub uid: Option<String>,
    /// An index that it had reached.
    pub index: i64,
    /// The head at that index, if known.
    pub head: Option<String>,
}

impl std::str::FromStr for Known {
    type Err = String;

    /// As `--expect-head` takes it: `<id>/<index>/<head>`, as the log line prints it, or `<id>/<index>`, as the metric has it.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not <id>/<index>/<head>, nor <id>/<index>");
        let mut parts = text.split('/');
        let (Some(id), Some(index), head, None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
            return Err(wrong());
        };
        let index = index.parse().map_err(|_| wrong())?;
        let whole = head.is_none_or(|head| head.len() == 64 && head.bytes().all(|b| b.is_ascii_hexdigit()));
        if id.is_empty() || index < 0 || !whole {
            return Err(wrong());
        }
        Ok(Self {
            id: id.to_owned(),
            uid: None,
            index,
            head: head.map(str::to_ascii_lowercase),
        })
    }
}

/// Compares a root, read by a GET that began when `known` was known already, with `known`. Histories are compared by the chain.
pub fn compare(known: &Position, root: &Root) -> Result<(), Loss> {
    present(root)?;
    identity(&known.id, Some(&known.uid), root)?;
    if root.spec.index < known.index {
        return Err(Loss::RolledBack {
            known: known.index,
            found: root.spec.index,
        });
    }
    if root.spec.index == known.index && *root.spec.head != *known.head {
        return Err(Loss::Fork { index: known.index });
    }
    Ok(())
}

/// Whether the root follows a journal whose loss somebody accepted, and that is what is known: it tells nothing of this one.
pub fn is_succeeded(known: &Known, root: &Root) -> bool {
    let uid = known.uid.as_ref();
    known.id == root.spec.id && uid.is_some_and(|uid| root.spec.predecessors.contains(uid))
}

/// Compares a root with what others know, as far as this is possible without its history.
pub fn compare_known(known: &Known, root: &Root) -> Result<(), Loss> {
    present(root)?;
    identity(&known.id, known.uid.as_deref(), root)?;
    if root.spec.index < known.index {
        return Err(Loss::RolledBack {
            known: known.index,
            found: root.spec.index,
        });
    }
    Ok(())
}

fn present(root: &Root) -> Result<(), Loss> {
    if root.deleting {
        return Err(Loss::Deleting);
    }
    if root.spec.format != FORMAT {
        return Err(Loss::UnknownFormat(root.spec.format));
    }
    Ok(())
}

fn identity(id: &str, uid: Option<&str>, root: &Root) -> Result<(), Loss> {
    if root.spec.id != id {
        return Err(Loss::OtherId {
            known: id.to_owned(),
            found: root.spec.id.clone(),
        });
    }
    match uid {
        Some(uid) if *uid != *root.uid => Err(Loss::OtherUid {
            known: uid.to_owned(),
            found: root.uid.to_string(),
        }),
        _ => Ok(()),
    }
}

/// The position that a root stands for.
pub(super) fn position(root: &Root) -> Position {
    Position {
        id: Arc::from(root.spec.id.as_str()),
        uid: root.uid.clone(),
        index: root.spec.index,
        head: Arc::from(root.spec.head.as_str()),
        loss: None,
    }
}
