//! What it means that a mapping or source is not there: deleted, orphaned, or nothing yet. Nothing of ours has a finalizer, so this is how a deletion is known.

use super::ledger::Seen;

/// The CustomResourceDefinition of the kind, as a GET showed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Crd {
    /// It is there.
    Present {
        /// Its UID.
        uid: String,
        /// It has a deletionTimestamp.
        terminating: bool,
    },
    /// A GET said 404.
    Absent,
    /// Nobody could say.
    Unknown,
}

/// What a list of the kind showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listed {
    /// The list is not complete: its absence proves nothing.
    Incomplete,
    /// The list is complete, and the object is not in it.
    Lacks,
    /// The object is there.
    Has {
        /// Its UID.
        uid: String,
    },
}

/// The namespace of a RoleMapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Namespace {
    /// The object is cluster-scoped.
    None,
    /// It is there.
    Active,
    /// It is being deleted: in it we touch nothing.
    Terminating,
    /// It is gone, and every binding in it.
    Gone,
    /// Nobody could say.
    Unknown,
}

/// What a mapping or source that the ledger knows has come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is there. `changed`: under another UID, or its CRD has another one, so that it is to be recorded anew.
    Alive {
        /// To be recorded as seen.
        changed: bool,
    },
    /// It was deleted: what it granted is taken away, through the gate.
    Ended(&'static str),
    /// It is gone with its CRD, or in a way that is no deletion of its own: what it granted stays, is reported, and is taken over by the next object of
    /// the same kind, namespace and name.
    Orphaned(&'static str),
    /// It is too early to say.
    Wait(&'static str),
}

/// Judges one mapping or source. `settled`: 60 s have passed since the start; before, a restore may be running.
pub fn fate(known: &Seen, crd: &Crd, listed: &Listed, namespace: Namespace, settled: bool) -> Fate {
    if let Listed::Has { uid } = listed {
        let same_crd = match crd {
            Crd::Present { uid, .. } => *uid == known.crd,
            Crd::Absent | Crd::Unknown => true,
        };
        return Fate::Alive {
            changed: *uid != known.uid || !same_crd,
        };
    }
    let Crd::Present { uid, terminating } = crd else {
        return match crd {
            Crd::Absent => Fate::Orphaned("its CustomResourceDefinition is gone"),
            _ => Fate::Wait("its CustomResourceDefinition cannot be read"),
        };
    };
    if *terminating {
        return Fate::Orphaned("its CustomResourceDefinition is being deleted");
    }
    if *uid != known.crd {
        return Fate::Orphaned("its CustomResourceDefinition was deleted and applied again");
    }
    if *listed == Listed::Incomplete {
        return Fate::Wait("the list is not complete");
    }
    match namespace {
        Namespace::Terminating => return Fate::Wait("its namespace is being deleted"),
        Namespace::Unknown => return Fate::Wait("its namespace cannot be read"),
        Namespace::None | Namespace::Active | Namespace::Gone => {}
    }
    if !settled {
        return Fate::Wait("the controller has started less than 60 s ago");
    }
    match namespace {
        Namespace::Gone => Fate::Ended("deleted with its namespace"),
        _ => Fate::Ended("deleted"),
    }
}
