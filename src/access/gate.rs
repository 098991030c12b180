//! What waits and what never does: one pure function between plan and write. Guards on names and roles are elsewhere; here is only *whether now*.
//!
//! | why | grants | removals said by the provider | other removals |
//! |---|---|---|---|
//! | suspended, or a guard of ours is missing | held | pass | pass |
//! | access journal lost, directory proved | held | pass | held |
//! | directory lost, rolled back or not proved | held | held | held |

use super::binding::{Observed, SubjectRef};
use super::diff::{Class, Plan, Removal};
use super::ledger::Grantee;

/// What the gate looks at. All false: everything passes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Circumstances {
    /// The mapping, or the source of the people, has `suspend: true`.
    pub suspended: bool,
    /// The access policy or an admission policy of ours is missing.
    pub unguarded: bool,
    /// The access journal is lost, and the directory is proved.
    pub access_lost: bool,
    /// The directory is lost, rolled back, or was not proved in time.
    pub directory_unproved: bool,
}

/// What passes and what is held.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gated {
    /// What may be done now.
    pub pass: Plan,
    /// What waits.
    pub held: Plan,
}

/// Divides a plan.
pub fn gate(plan: Plan, now: &Circumstances) -> Gated {
    let grants = !(now.suspended || now.unguarded || now.access_lost || now.directory_unproved);
    let said = !now.directory_unproved;
    let others = !(now.access_lost || now.directory_unproved);
    let (adds, held_adds) = if grants { (plan.adds, Vec::new()) } else { (Vec::new(), plan.adds) };
    let (removals, held_removals) = plan.removals.into_iter().partition(|r| if r.class == Class::Said { said } else { others });
    Gated {
        pass: Plan { adds, removals },
        held: Plan {
            adds: held_adds,
            removals: held_removals,
        },
    }
}

/// One write, or none: what is done next to one binding. Afterwards one looks again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing to do.
    Nothing,
    /// Removals wait for the grant that replaces them.
    Wait,
    /// A new binding.
    Create {
        /// To whom.
        adds: Vec<Grantee>,
    },
    /// The binding is rewritten with these subjects, and grants nobody anything new.
    Shrink {
        /// Who stays.
        subjects: Vec<SubjectRef>,
        /// Who goes.
        removals: Vec<Removal>,
    },
    /// The binding is rewritten with these subjects.
    Grow {
        /// Who holds it then.
        subjects: Vec<SubjectRef>,
        /// Who comes.
        adds: Vec<Grantee>,
        /// Who goes in the same write: people whose username is another one now.
        removals: Vec<Removal>,
    },
    /// The binding goes.
    Delete {
        /// Who held it.
        removals: Vec<Removal>,
    },
}

/// The next write for what passed. `patient` says that replaced people may still wait; `limit` is the most subjects that a binding may have.
pub fn step(gated: &Gated, observed: Option<&Observed>, patient: bool, limit: usize) -> Step {
    let Gated { pass, held } = gated;
    let Some(observed) = observed else {
        return match pass.adds.len() {
            0 => Step::Nothing,
            _ => Step::Create {
                adds: pass.adds.iter().take(limit).cloned().collect(),
            },
        };
    };
    // Somebody whose new username comes into this very binding leaves with the same write.
    let renamed = |r: &&Removal| r.person.as_ref().is_some_and(|p| pass.adds.iter().any(|a| a.user == p.user));
    let (renames, others): (Vec<&Removal>, Vec<&Removal>) = pass.removals.iter().filter(|r| r.class != Class::Said).partition(renamed);
    let mut now: Vec<Removal> = pass.removals.iter().filter(|r| r.class == Class::Said).cloned().collect();
    let mut waits = false;
    for removal in others {
        if removal.class == Class::Replaced && patient {
            waits = true;
        } else {
            now.push(removal.clone());
        }
    }
    if !now.is_empty() {
        let subjects = without(observed, &now);
        return if subjects.is_empty() && pass.adds.is_empty() {
            Step::Delete { removals: now }
        } else {
            Step::Shrink { subjects, removals: now }
        };
    }
    if !pass.adds.is_empty() {
        let removals: Vec<Removal> = renames.into_iter().cloned().collect();
        let mut subjects = without(observed, &removals);
        let room = limit.saturating_sub(subjects.len());
        let adds: Vec<Grantee> = pass.adds.iter().take(room).cloned().collect();
        if adds.is_empty() {
            return Step::Wait;
        }
        subjects.extend(adds.iter().map(|g| SubjectRef::user(&*g.username)));
        subjects.sort();
        return Step::Grow { subjects, adds, removals };
    }
    if waits {
        return Step::Wait;
    }
    if observed.subjects.is_empty() && held.adds.is_empty() {
        return Step::Delete { removals: Vec::new() };
    }
    Step::Nothing
}

fn without(observed: &Observed, removals: &[Removal]) -> Vec<SubjectRef> {
    let goes = |s: &&SubjectRef| removals.iter().any(|r| r.subject == **s);
    observed.subjects.iter().filter(|s| !goes(s)).cloned().collect()
}
