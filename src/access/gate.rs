//! What of a plan may happen now, and as which one write; the rest is held. The table of design.md, row by row. Pure: whoever calls says what is the case.

use std::collections::BTreeSet;

use super::binding::SubjectRef;
use super::budget::Budget;
use super::diff::{Add, Base, Class, Plan, Removal, Replacement};
use super::ledger::BindingId;
use super::mapping::Mapping;
use super::policy::Refusal;
use super::shard::SUBJECTS_MAX;
use super::source::CompiledSource;
use crate::api::mapping::Mode;

/// A row of the table: why something waits. Rows that come later are added here and in [`Hold::passes`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hold {
    /// The mapping has `suspend: true`.
    MappingSuspended,
    /// The mapping has `mode: Plan`.
    Planned,
    /// The person's source has `suspend: true`.
    SourceSuspended,
    /// The access policy, or an admission policy of ours, is missing.
    PolicyMissing,
    /// The mapping has `newGroups: Approve`, and nobody approved the group, or what it yields now. It holds one grant, not a mapping.
    NewGroup,
    /// More people would lose something within an hour than the limits of the mapping or the source say. It holds one removal, not a mapping.
    Budget,
    /// A journal was lost and somebody accepted that: whoever was granted something before, and is not to hold it by what was said since, keeps it until
    /// that is approved. It holds one removal, not a mapping.
    LossAccepted,
    /// The access journal is lost, and the directory is proved.
    AccessJournalLost,
    /// The directory is lost, rolled back, or not proved fresh.
    DirectoryUnproved,
}

/// A column of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Column {
    /// Somebody gets something.
    Grant,
    /// The provider disabled or deleted somebody.
    Said,
    /// Any other removal.
    Other,
}

impl Hold {
    /// Every row.
    pub const ALL: [Self; 9] = [
        Self::MappingSuspended,
        Self::Planned,
        Self::SourceSuspended,
        Self::PolicyMissing,
        Self::NewGroup,
        Self::Budget,
        Self::LossAccepted,
        Self::AccessJournalLost,
        Self::DirectoryUnproved,
    ];

    /// The table.
    pub fn passes(self, column: Column) -> bool {
        match (self, column) {
            (Self::DirectoryUnproved, _) => false,
            (_, Column::Said)
            | (Self::PolicyMissing | Self::NewGroup, Column::Other)
            | (Self::Budget | Self::LossAccepted, Column::Grant) => true,
            (_, Column::Grant) => false,
            (
                Self::Planned
                | Self::MappingSuspended
                | Self::SourceSuspended
                | Self::Budget
                | Self::LossAccepted
                | Self::AccessJournalLost,
                Column::Other,
            ) => false,
        }
    }

    /// For conditions: what waits for whom.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Planned => "Plan",
            Self::MappingSuspended => "Suspended",
            Self::SourceSuspended => "SourceSuspended",
            Self::PolicyMissing => "PolicyMissing",
            Self::NewGroup => "NewGroup",
            Self::Budget => "BudgetExceeded",
            Self::LossAccepted => "JournalLossAccepted",
            Self::AccessJournalLost => "AccessJournalLost",
            Self::DirectoryUnproved => "DirectoryUnproved",
        }
    }

    /// Whether the spec asks for it: then it keeps nothing from being applied.
    pub fn is_asked_for(self) -> bool {
        matches!(
            self,
            Self::Planned | Self::MappingSuspended | Self::SourceSuspended | Self::NewGroup | Self::Budget | Self::LossAccepted
        )
    }

    /// What is the case, and what to do.
    pub fn advice(self) -> &'static str {
        match self {
            Self::Planned => "spec.mode is Plan: set it to Enforce to let this happen",
            Self::MappingSuspended => "spec.suspend is true: set it to false to let this happen",
            Self::SourceSuspended => "a source has spec.suspend: true: set it to false to let this happen",
            Self::PolicyMissing => "the access policy or an admission policy of Rolecall's is missing: run helm upgrade",
            Self::NewGroup => {
                "groups are new, or yield something else than what was approved (spec.groups.newGroups is Approve): look at them with kubectl rolecall holds, and release them with kubectl rolecall approve"
            }
            Self::Budget => {
                "more people would lose access within an hour than spec.limits of the mapping or of a source allow: look at them with kubectl rolecall holds, and release them with kubectl rolecall approve"
            }
            Self::LossAccepted => {
                "a journal's loss was accepted, and what was granted before to people whom the provider has not named since is kept: when it has pushed everybody again, look at them with kubectl rolecall holds, and release them with kubectl rolecall approve"
            }
            Self::AccessJournalLost => "the access journal is lost or damaged: see the sources' conditions for what to do",
            Self::DirectoryUnproved => {
                "the directory is lost, rolled back, or could not be proved up to date: see the sources' conditions for what to do"
            }
        }
    }
}

/// What is the case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Circumstances {
    /// What holds everything of this mapping.
    pub holds: BTreeSet<Hold>,
    /// The sources whose people [`Hold::SourceSuspended`] holds.
    pub suspended_sources: BTreeSet<String>,
}

impl Circumstances {
    /// What the specs ask for: the mapping's own, and those of the sources. The rest is the caller's to add.
    pub fn asked_for<'a>(mapping: Option<&Mapping>, sources: impl IntoIterator<Item = &'a CompiledSource>) -> Self {
        let suspended = sources.into_iter().filter(|source| source.suspend);
        let mut now = Self {
            holds: BTreeSet::new(),
            suspended_sources: suspended.map(|source| source.name.to_string()).collect(),
        };
        if let Some(mapping) = mapping {
            now.holds.extend(mapping.suspend.then_some(Hold::MappingSuspended));
            now.holds.extend((mapping.mode == Mode::Plan).then_some(Hold::Planned));
        }
        now
    }

    /// What holds a removal: the circumstances, then the budget. `lost`: nothing replaces it, or not yet.
    pub fn hold_removal(&self, id: &BindingId, removal: &mut Removal, lost: bool, budget: &mut Budget<'_>) -> Option<Hold> {
        let source = removal.grantee.as_ref().map(|grantee| grantee.source.as_str());
        let hold = self.hold(removal.class.column(), source);
        if hold.is_none() && lost { budget.hold(id, removal) } else { hold }
    }

    /// What holds an operation on a person of that source (none for a subject that nobody recorded).
    pub fn hold(&self, column: Column, source: Option<&str>) -> Option<Hold> {
        if let Some(hold) = self.holds.iter().find(|hold| !hold.passes(column)) {
            return Some(*hold);
        }
        let suspended = source.is_some_and(|source| self.suspended_sources.contains(source));
        (suspended && !Hold::SourceSuspended.passes(column)).then_some(Hold::SourceSuspended)
    }
}

/// One write, with everything that it is bound to. Afterwards the binding is looked at again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Nothing to write.
    Nothing,
    /// Removals wait until other bindings of the mapping hold the people, or 10 s have passed: of a plan that is not patient this comes never.
    Wait,
    /// POST.
    Create {
        /// Its subjects: those who come.
        subjects: Vec<SubjectRef>,
        /// Who comes.
        adds: Vec<Add>,
    },
    /// PUT. Without `adds` it only shrinks.
    Put {
        /// The precondition.
        uid: String,
        /// The precondition.
        resource_version: String,
        /// The subjects afterwards.
        subjects: Vec<SubjectRef>,
        /// Who comes.
        adds: Vec<Add>,
        /// Who goes.
        removals: Vec<Removal>,
    },
    /// DELETE.
    Delete {
        /// The precondition.
        uid: String,
        /// The precondition.
        resource_version: String,
        /// Who goes. Empty: nobody held it any more.
        removals: Vec<Removal>,
    },
}

/// What may happen now, and what waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gated {
    /// The next write.
    pub op: Op,
    /// To be recorded as removed, before the next intent for this binding.
    pub records: Vec<Removal>,
    /// Who would come, and is held.
    pub held_adds: Vec<(Add, Hold)>,
    /// Who would go, and is held.
    pub held_removals: Vec<(Removal, Hold)>,
    /// After the write there is more to do at once.
    pub more: bool,
    /// How many people found no room below 500 subjects; they come when others have gone.
    pub crowded: usize,
    /// Why nothing can be done under this name.
    pub conflict: Option<Refusal>,
}

impl Gated {
    /// Everybody who is to go: now, or when what holds it is over.
    pub fn removals(&self) -> impl Iterator<Item = &Removal> {
        let now: &[Removal] = match &self.op {
            Op::Put { removals, .. } | Op::Delete { removals, .. } => removals,
            Op::Nothing | Op::Wait | Op::Create { .. } => &[],
        };
        now.iter().chain(self.held_removals.iter().map(|(removal, _)| removal))
    }
}

impl Op {
    /// The order: removals that nothing replaces, then grants, then the rest.
    pub fn priority(&self) -> u8 {
        match self {
            Self::Delete { removals, .. } if removals.iter().all(|r| r.class == Class::Replaced) => 2,
            Self::Put { adds, removals, .. } if adds.is_empty() && removals.iter().all(|r| r.class == Class::Replaced) => 2,
            Self::Delete { .. } => 0,
            Self::Put { adds, .. } if adds.is_empty() => 0,
            Self::Create { .. } | Self::Put { .. } => 1,
            Self::Nothing | Self::Wait => 3,
        }
    }

    /// Whether it grants anything: then its intent has to be durable first.
    pub fn grants(&self) -> bool {
        matches!(self, Self::Create { adds, .. } | Self::Put { adds, .. } if !adds.is_empty())
    }
}

impl Class {
    /// The column of the gate's table.
    pub fn column(self) -> Column {
        match self {
            Self::Said => Column::Said,
            Self::Replaced | Self::Other | Self::Foreign => Column::Other,
        }
    }
}

/// Lets operations pass or holds them, and makes of what passes the next write. A write that takes away what nothing replaces grants nothing: first
/// the removals, then, when one looks again, the rest.
pub fn gate(plan: Plan, now: &Circumstances, budget: &mut Budget<'_>) -> Gated {
    let mut gated = Gated {
        op: Op::Nothing,
        records: Vec::new(),
        held_adds: Vec::new(),
        held_removals: Vec::new(),
        more: false,
        crowded: 0,
        conflict: plan.conflict,
    };
    if gated.conflict.is_some() {
        return gated;
    }
    let mut adds = Vec::new();
    for add in plan.adds {
        match now
            .hold(Column::Grant, Some(&add.grantee.source))
            .or(add.waits.then_some(Hold::NewGroup))
        {
            None => adds.push(add),
            Some(hold) => gated.held_adds.push((add, hold)),
        }
    }
    let mut removals = Vec::new();
    for mut removal in plan.removals {
        let lost = match removal.replacement {
            Replacement::None => true,
            Replacement::Elsewhere { pending, stands } => !pending && !stands,
            Replacement::Here => !plan.patient && !adds.iter().any(|add| is_of(&removal, add)),
        };
        match now.hold_removal(&plan.id, &mut removal, lost, budget) {
            None => removals.push(removal),
            Some(hold) => gated.held_removals.push((removal, hold)),
        }
    }
    // a record is no removal, but while a journal is not as it should be, nothing is concluded from it
    if !now.holds.contains(&Hold::DirectoryUnproved) && !now.holds.contains(&Hold::AccessJournalLost) {
        gated.records = plan.records;
        gated.records.iter_mut().for_each(|removal| budget.count(&plan.id, removal));
    }
    match plan.base {
        None => create(&mut gated, adds),
        Some(base) => {
            // what takes nothing from anybody is done only when everything may be done
            let tidy = now.hold(Column::Other, None).is_none();
            let changes = Changes {
                adds,
                removals,
                repair: plan.repair && tidy,
                tidy,
                patient: plan.patient,
            };
            change(&mut gated, base, changes);
        }
    }
    gated
}

struct Changes {
    adds: Vec<Add>,
    removals: Vec<Removal>,
    repair: bool,
    tidy: bool,
    patient: bool,
}

fn create(gated: &mut Gated, mut adds: Vec<Add>) {
    gated.crowded = adds.len().saturating_sub(SUBJECTS_MAX);
    adds.truncate(SUBJECTS_MAX);
    if !adds.is_empty() {
        gated.op = Op::Create {
            subjects: sorted(adds.iter().map(|add| add.grantee.subject()).collect()),
            adds,
        };
    }
}

fn change(gated: &mut Gated, base: Base, changes: Changes) {
    let Changes { adds, removals, .. } = changes;
    let (mut now, mut with_adds, mut waits) = (Vec::new(), Vec::new(), false);
    for removal in removals {
        match removal.replacement {
            Replacement::Elsewhere { pending: true, .. } => waits = true,
            Replacement::Here if adds.iter().any(|add| is_of(&removal, add)) => with_adds.push(removal),
            // what replaces it is held: it waits no longer than for any other
            Replacement::Here if changes.patient => waits = true,
            Replacement::None | Replacement::Here | Replacement::Elsewhere { .. } => now.push(removal),
        }
    }
    if !now.is_empty() {
        gated.more = !adds.is_empty() || !with_adds.is_empty();
        let subjects = without(&base.subjects, &now);
        gated.op = if subjects.is_empty() && !gated.more && !base.undeletable {
            Op::Delete {
                uid: base.uid,
                resource_version: base.resource_version,
                removals: now,
            }
        } else {
            put(base, subjects, Vec::new(), now)
        };
        return;
    }
    // one that is being deleted grows no more; when it is gone, another is made
    let coming = match base.deleting || adds.is_empty() {
        true => Coming::default(),
        false => grow(&base, adds, with_adds),
    };
    gated.crowded = coming.crowded;
    if !coming.adds.is_empty() {
        gated.op = put(base, coming.subjects, coming.adds, coming.going);
    } else if waits {
        gated.op = Op::Wait;
    } else if changes.repair && !base.deleting {
        let subjects = base.subjects.to_vec();
        gated.op = put(base, subjects, Vec::new(), Vec::new());
    } else if changes.tidy && base.subjects.is_empty() && !base.undeletable && gated.held_adds.is_empty() {
        gated.op = Op::Delete {
            uid: base.uid,
            resource_version: base.resource_version,
            removals: Vec::new(),
        };
    }
}

/// Who can come in one write, and who goes with it.
#[derive(Default)]
struct Coming {
    subjects: Vec<SubjectRef>,
    adds: Vec<Add>,
    going: Vec<Removal>,
    /// Who finds no place: they come when others have gone, and nobody waits for that.
    crowded: usize,
}

fn grow(base: &Base, adds: Vec<Add>, with_adds: Vec<Removal>) -> Coming {
    let mut subjects: BTreeSet<SubjectRef> = without(&base.subjects, &with_adds).into_iter().collect();
    let (mut coming, mut crowded) = (Vec::new(), 0);
    // who takes the place of an old name of the same person needs no room
    let (renamed, new): (Vec<Add>, Vec<Add>) = adds.into_iter().partition(|add| with_adds.iter().any(|r| is_of(r, add)));
    for (add, in_place) in renamed
        .into_iter()
        .map(|add| (add, true))
        .chain(new.into_iter().map(|add| (add, false)))
    {
        let subject = add.grantee.subject();
        let fits = match (add.stands, subjects.contains(&subject)) {
            (true, _) => true,
            // the name is still another person's, whose removal is held
            (false, true) => false,
            (false, false) => in_place || subjects.len() < SUBJECTS_MAX,
        };
        if fits {
            subjects.insert(subject);
            coming.push(add);
        } else {
            crowded += 1;
        }
    }
    // an old name goes only with its new one
    let (going, staying): (Vec<Removal>, Vec<Removal>) = with_adds.into_iter().partition(|r| coming.iter().any(|add| is_of(r, add)));
    subjects.extend(staying.into_iter().map(|removal| removal.subject));
    coming.sort_by(|a, b| a.grantee.username.cmp(&b.grantee.username));
    Coming {
        subjects: subjects.into_iter().collect(),
        adds: coming,
        going,
        crowded,
    }
}

fn is_of(removal: &Removal, add: &Add) -> bool {
    removal.grantee.as_ref().is_some_and(|g| add.grantee.is_person(g))
}

fn put(base: Base, subjects: Vec<SubjectRef>, adds: Vec<Add>, removals: Vec<Removal>) -> Op {
    Op::Put {
        uid: base.uid,
        resource_version: base.resource_version,
        subjects,
        adds,
        removals,
    }
}

pub(super) fn without(subjects: &[SubjectRef], removals: &[Removal]) -> Vec<SubjectRef> {
    let gone: BTreeSet<&SubjectRef> = removals.iter().map(|removal| &removal.subject).collect();
    subjects.iter().filter(|subject| !gone.contains(subject)).cloned().collect()
}

fn sorted(mut subjects: Vec<SubjectRef>) -> Vec<SubjectRef> {
    subjects.sort_unstable();
    subjects
}
