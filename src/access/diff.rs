//! What differs between what is to be and what was seen, for one binding: who comes, who goes, why, and of which class each removal is. Whether it may
//! happen now is in `gate`.

use std::sync::Arc;

use super::binding::{Observed, SubjectRef};
use super::cause::{last, left, said};
use super::desired::{Desired, Live, Owner, SourceState, View};
use super::key::BindingKey;
use super::ledger::{BindingId, Grantee};
use super::names;
use super::people::PersonKey;
use super::policy::Refusal;
use super::shard::SubjectKind;
use super::why::{Cause, Event, Why};
use crate::directory::Source;

/// Of which class a removal is: the gate treats them differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// The provider disabled or deleted the person. Never held.
    Said,
    /// The person is to hold something of the same mapping in that namespace all the same.
    Replaced,
    /// Group changes, edits by an admin, the end of a mapping or source.
    Other,
    /// A subject that nobody recorded.
    Foreign,
}

/// By what a removal is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replacement {
    /// By nothing.
    None,
    /// By a grant to the same person in the same binding, under another username: one write does both.
    Here,
    /// By other bindings of the mapping in that namespace. `pending`: they do not all hold the person yet, and the removal waits.
    Elsewhere {
        /// The removal waits.
        pending: bool,
        /// They hold the person already: nothing is lost.
        stands: bool,
    },
}

/// Somebody comes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Add {
    /// Who.
    pub grantee: Grantee,
    /// Why.
    pub why: Why,
    /// The subject stands there already, and nobody recorded it: it is recorded, and the binding written with that record.
    pub stands: bool,
    /// The group through which waits for an approval, and so does this.
    pub waits: bool,
}

/// Somebody, or something, goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removal {
    /// What is taken out.
    pub subject: SubjectRef,
    /// Who it was, as far as it was recorded.
    pub grantee: Option<Grantee>,
    /// Of which class it is.
    pub class: Class,
    /// Why.
    pub why: Why,
    /// By what it is replaced.
    pub replacement: Replacement,
    /// The budget counts it: said by the gate when it lets it pass.
    pub counted: bool,
}

/// The binding as it was seen, which every write is bound to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Base {
    /// The UID.
    pub uid: String,
    /// The resourceVersion.
    pub resource_version: String,
    /// The subjects.
    pub subjects: Arc<Vec<SubjectRef>>,
    /// A DELETE would not end it, or not now: it is emptied instead.
    pub undeletable: bool,
    /// It is being deleted.
    pub deleting: bool,
}

/// What differs, for one binding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Which binding.
    pub key: BindingKey,
    /// Where it is.
    pub id: BindingId,
    /// As it was seen; `None`: there is nothing under its name.
    pub base: Option<Base>,
    /// Who comes, by username.
    pub adds: Vec<Add>,
    /// Who goes.
    pub removals: Vec<Removal>,
    /// Who is gone already, by somebody else's hand or an unrecorded write of ours: to be recorded, nothing to be written.
    pub records: Vec<Removal>,
    /// Its labels or owners were changed by somebody else.
    pub repair: bool,
    /// How many people have a username that must not or may not be granted anything.
    pub refused: usize,
    /// A removal still waits for what replaces it.
    pub patient: bool,
    /// Why nothing can be done under this name.
    pub conflict: Option<Refusal>,
}

impl Plan {
    /// Whether nothing differs: then nothing is written.
    pub fn is_empty(&self) -> bool {
        // an empty binding that nobody is to hold is removed
        let idle = self.base.as_ref().is_some_and(|base| base.subjects.is_empty() && !base.deleting);
        self.adds.is_empty() && self.removals.is_empty() && self.records.is_empty() && !self.repair && !idle
    }

    fn nothing(key: &BindingKey, id: BindingId, patient: bool) -> Self {
        Self {
            key: key.clone(),
            id,
            base: None,
            adds: Vec::new(),
            removals: Vec::new(),
            records: Vec::new(),
            repair: false,
            refused: 0,
            patient,
            conflict: None,
        }
    }
}

/// Compares one binding with what it is to be.
///
/// `seen` gives what was seen last under the name of a binding of this mapping (through [`names::binding_name`]), what our own writes answered included.
/// `patient`: a removal still waits for what replaces it; false once that was refused, or 10 s have passed.
pub fn diff<'o>(view: &View<'_>, key: &BindingKey, seen: &dyn Fn(&BindingKey) -> Option<&'o Observed>, patient: bool) -> Plan {
    let id = BindingId::of(key, &view.installation.class);
    let mut plan = Plan::nothing(key, id, patient);
    // in a terminating namespace we touch nothing
    if view.namespaces.get(&key.namespace).is_some_and(|ns| ns.terminating) {
        return plan;
    }
    let observed = seen(key);
    if let Some(observed) = observed {
        let identified = names::identify(observed, view.installation);
        let known = || view.ledger.key(&plan.id).as_ref() == Some(key) && names::is_known(observed, key, view.installation);
        if identified.as_ref() != Some(key) && !known() {
            plan.conflict = Some(conflict(key, &plan.id));
            return plan;
        }
        plan.repair = identified.is_none() || observed.tampered;
        plan.base = Some(Base {
            uid: observed.uid.clone(),
            resource_version: observed.resource_version.clone(),
            subjects: observed.subjects.clone(),
            undeletable: observed.deleting || observed.tampered,
            deleting: observed.deleting,
        });
    }
    let judge = Judge {
        view,
        key,
        seen,
        patient,
        desired: view.desired(key),
    };
    plan.refused = judge.desired.refused;
    judge.subjects(&mut plan);
    judge.missing(&mut plan, observed);
    plan
}

/// Something that is not ours has the name of a binding.
pub fn conflict(key: &BindingKey, id: &BindingId) -> Refusal {
    Refusal::new(
        "ForeignBinding",
        format!(
            "the {}{} stands where {key} is to be, and is not Rolecall's (its labels or its role differ): it is left alone; delete it, and Rolecall makes its own",
            kind_of(&id.namespace),
            id.name
        ),
    )
}

/// The kind of a binding in that namespace, for people.
fn kind_of(namespace: &str) -> String {
    match namespace {
        "" => "ClusterRoleBinding ".to_owned(),
        namespace => format!("RoleBinding {namespace}/"),
    }
}

/// What judges the subjects of one binding.
pub(super) struct Judge<'a, 'o> {
    pub(super) view: &'a View<'a>,
    pub(super) key: &'a BindingKey,
    pub(super) seen: &'a dyn Fn(&BindingKey) -> Option<&'o Observed>,
    pub(super) patient: bool,
    desired: Desired,
}

impl Judge<'_, '_> {
    /// What stands in the binding: stays, goes, or is recorded.
    fn subjects(&self, plan: &mut Plan) {
        let subjects = plan.base.as_ref().map(|base| base.subjects.clone()).unwrap_or_default();
        for subject in subjects.iter() {
            let name = subject.name_of(self.key.prefix.kind());
            let recorded = name.and_then(|name| self.view.ledger.grantee(&plan.id, name));
            let wanted = name.and_then(|name| self.desired.people.get(name));
            // through a group that nobody approved nobody keeps what they would lose without it
            let wanted = wanted.filter(|wanted| !self.is_new(wanted) || recorded.is_none_or(|recorded| self.still_through(recorded)));
            match (recorded, wanted) {
                (Some(recorded), Some(wanted)) if recorded.is_person(wanted) => {}
                // whoever bears the name now is taken to be the one who bore it: they keep it, and are known again
                (Some(recorded), Some(wanted)) if recorded.is_inherited() && !self.waits(wanted) => plan.adds.push(self.add(wanted, true)),
                (None, Some(wanted)) if !self.waits(wanted) => plan.adds.push(self.add(wanted, true)),
                (None, _) => plan.removals.extend(self.foreign(subject.clone())),
                (Some(recorded), wanted) => {
                    let Some(removal) = self.removal(subject.clone(), recorded, wanted.is_some()) else {
                        continue;
                    };
                    plan.removals.push(removal);
                    // the name is another person's now: first the one goes, then the other comes
                    plan.adds.extend(wanted.map(|wanted| self.add(wanted, false)));
                }
            }
        }
    }

    /// What does not stand in the binding: comes, or is recorded as gone.
    fn missing(&self, plan: &mut Plan, observed: Option<&Observed>) {
        let kind = self.key.prefix.kind();
        let stands = |username: &str| observed.is_some_and(|o| o.holds_of(kind, username));
        let binding = self.view.ledger.binding(&plan.id);
        for (username, wanted) in self.desired.people.iter().filter(|(username, _)| !stands(username)) {
            let held = binding.and_then(|b| b.subjects.get(username.as_str()));
            let mut add = self.add(wanted, false);
            if held.is_some_and(|held| held.is_person(wanted)) {
                add.why.cause = Cause::Restored;
            }
            plan.adds.push(add);
        }
        plan.adds.sort_by(|a, b| a.grantee.username.cmp(&b.grantee.username));
        for (username, held) in binding.into_iter().flat_map(|b| &b.subjects) {
            let wanted = self.desired.people.get(&**username);
            if stands(username) || wanted.is_some_and(|wanted| wanted.is_person(held)) {
                continue;
            }
            // a grant that is under way may still put it there
            let under_way = self
                .view
                .ledger
                .open_intents_of(&plan.id)
                .any(|(_, i)| i.adds.iter().any(|g| g.is_person(held)));
            if !under_way {
                let subject = held.subject();
                let (class, why, replacement) = self.judge(held, wanted.is_some()).unwrap_or_else(|| {
                    let cause = match self.view.is_there(&self.key.namespace) {
                        true => Cause::Vanished,
                        false => Cause::NamespaceGone,
                    };
                    let why = self.view.why(&held.source, Some(held.via), cause);
                    (Class::Other, why, Replacement::None)
                });
                plan.records.push(Removal {
                    subject,
                    grantee: Some((**held).clone()),
                    class,
                    why,
                    replacement,
                    counted: false,
                });
            }
        }
    }

    fn add(&self, wanted: &Grantee, stands: bool) -> Add {
        Add {
            grantee: wanted.clone(),
            why: self.view.why_member(wanted),
            stands,
            waits: self.waits(wanted),
        }
    }

    fn foreign(&self, subject: SubjectRef) -> Option<Removal> {
        // of a mapping that cannot be read it is not known what is to be
        if matches!(self.view.owner, Owner::Frozen(_)) {
            return None;
        }
        Some(Removal {
            subject,
            grantee: None,
            class: Class::Foreign,
            why: self.view.why("", None, Cause::Foreign),
            replacement: Replacement::None,
            counted: false,
        })
    }

    fn removal(&self, subject: SubjectRef, recorded: &Grantee, taken: bool) -> Option<Removal> {
        let (class, why, replacement) = self.judge(recorded, taken)?;
        Some(Removal {
            subject,
            grantee: Some(recorded.clone()),
            class,
            why,
            replacement,
            counted: false,
        })
    }

    /// Why somebody who is recorded here is not to be here; `None`: they stay, because what would say so cannot be read. `taken`: another person has
    /// the username now.
    fn judge(&self, held: &Grantee, taken: bool) -> Option<(Class, Why, Replacement)> {
        let view = self.view;
        let with = |class, cause| Some((class, view.why(&held.source, Some(held.via), cause), Replacement::None));
        if held.is_inherited() {
            let (class, cause) = self.judge_inherited(held)?;
            return with(class, cause);
        }
        if let Some(cause) = said_by_provider(view, held) {
            return with(Class::Said, cause);
        }
        // that the time is over is known, whatever else is not
        if matches!(view.owner, Owner::Live(live) if live.mapping.expired) {
            return with(Class::Other, Cause::Expired);
        }
        match view.source_state(&held.source) {
            SourceState::Ended => return with(Class::Other, Cause::SourceEnded),
            // that the directory has no such source is absence of data, not a removal
            SourceState::Live if view.directory.source(&held.source).is_some() => {}
            SourceState::Live | SourceState::Frozen => return None,
        }
        let live = match view.owner {
            Owner::Frozen(_) => return None,
            Owner::Ended(_) => return with(Class::Other, Cause::MappingEnded),
            Owner::Live(live) => live,
        };
        if !view.is_there(&self.key.namespace) {
            return with(Class::Other, Cause::NamespaceGone);
        }
        if !live.usable.iter().any(|source| **source == *held.source) {
            return with(Class::Other, Cause::SourceNotUsed);
        }
        let person = PersonKey::new(&held.source.as_str().into(), held.n, &held.user);
        let cell = live.cell(&self.key.namespace, &self.key.role, held.kind);
        let now = cell.and_then(|cell| cell.people.get(&person));
        let group = now.map(|now| (person.source.clone(), now.via));
        if group.is_some_and(|group| live.selected.waiting.contains(&group)) && !self.still_through(held) {
            let source = view.directory.source(&held.source);
            let event = source.map(|source| left(source, held.n, held.via, &[])).unwrap_or_default();
            return with(Class::Other, Cause::LeftGroups(event));
        }
        let username = view.names(held.kind).effective(&held.source, held.n);
        let cause = match now {
            Some(now) => self.why_not_here(held, person.hash, now.username == held.username, taken),
            None => self.not_meant(held, live),
        };
        let replaced = username.map_or(Replacement::None, |username| self.replacement(held, &person, username));
        let (class, replacement) = match replaced {
            Replacement::None => (Class::Other, Replacement::None),
            replacement => (Class::Replaced, replacement),
        };
        let via = now.map_or(held.via, |now| now.via);
        Some((class, view.why(&held.source, Some(via), cause), replacement))
    }

    /// The same of somebody of whom only the name is known.
    fn judge_inherited(&self, held: &Grantee) -> Option<(Class, Cause)> {
        let view = self.view;
        if let Some(user) = view.usernames.disabled(&held.username).filter(|_| held.kind == SubjectKind::User) {
            let user = view.directory.source(&user.0).and_then(|source| source.get(user.1));
            return Some((Class::Said, Cause::Disabled(user.map(|user| said(user)).unwrap_or_default())));
        }
        let cause = match view.owner {
            Owner::Frozen(_) => return None,
            Owner::Ended(_) => Cause::MappingEnded,
            Owner::Live(live) if live.mapping.expired => Cause::Expired,
            Owner::Live(_) if !view.is_there(&self.key.namespace) => Cause::NamespaceGone,
            Owner::Live(_) => Cause::LossAccepted,
        };
        Some((Class::Other, cause))
    }

    /// The person is none of those who are granted this role here.
    fn not_meant(&self, held: &Grantee, live: Live<'_>) -> Cause {
        let Some(source) = self.view.directory.source(&held.source) else {
            return Cause::LeftGroups(Event::default());
        };
        let selected = live.selected;
        if live.targets.has(&self.key.namespace, &self.key.role) && !live.mapping.subjects.contains(&held.kind) {
            return Cause::OtherSubjects;
        }
        if held.kind == SubjectKind::Group {
            return self.not_mapped(held, live, source);
        }
        let above = source.ancestors(held.n);
        let groups: Vec<u32> = selected.of(&held.source).collect();
        if groups.iter().any(|group| above.contains(*group)) {
            let user = source.get(held.n);
            let event = user.map(|user| said(user)).unwrap_or_default();
            if user.is_some_and(|user| !selected.means(user)) {
                return Cause::NotSelected(event);
            }
            if self.view.usernames.effective(&held.source, held.n).is_none() {
                return Cause::NoUsername(event);
            }
            let here = live.cell(&self.key.namespace, &self.key.role, held.kind);
            return match source
                .get(held.via)
                .filter(|_| live.mapping.is_by_group() && groups.contains(&held.via))
            {
                // still in the group through which it was granted: what that yields is not this any more
                Some(group) if above.contains(held.via) && !self.refused() => Cause::YieldChanged(said(group)),
                _ if here.is_some() => Cause::LeftGroups(left(source, held.n, held.via, &groups)),
                _ => self.not_granted(),
            };
        }
        Cause::LeftGroups(left(source, held.n, held.via, &groups))
    }

    /// The person is one of the mapping's people, but is not to be in this binding under this name.
    fn why_not_here(&self, held: &Grantee, hash: u64, same_name: bool, taken: bool) -> Cause {
        let Owner::Live(live) = self.view.owner else {
            return Cause::NotGranted;
        };
        let Some(cell) = live.cell(&self.key.namespace, &self.key.role, held.kind) else {
            return self.not_granted();
        };
        if cell.layout.shard_of(hash) != self.key.prefix {
            return Cause::Moved;
        }
        if same_name {
            return Cause::NotAllowed;
        }
        if taken {
            return Cause::OtherPerson;
        }
        let user = self.view.directory.source(&held.source).and_then(|source| source.get(held.n));
        Cause::Renamed(user.map(|user| said(user)).unwrap_or_default())
    }

    /// The group itself is none of those that are granted this role here.
    fn not_mapped(&self, held: &Grantee, live: Live<'_>, source: &Source) -> Cause {
        let event = last(source, held.n);
        if !live.selected.has(&held.source, held.n) {
            return Cause::GroupNotMapped(event);
        }
        if self.view.group_names.effective(&held.source, held.n).is_none() {
            return Cause::NoUsername(event);
        }
        match live.mapping.is_by_group() && !self.refused() {
            true => Cause::YieldChanged(event),
            false => self.not_granted(),
        }
    }

    /// The access policy forbids the role or the namespace.
    fn refused(&self) -> bool {
        self.view
            .policy
            .is_some_and(|policy| policy.grant(&self.key.role, &self.key.namespace).is_err())
    }

    fn not_granted(&self) -> Cause {
        if self.refused() { Cause::NotAllowed } else { Cause::NotGranted }
    }
}

/// The provider disabled or deleted the person, in a directory that knows the source.
fn said_by_provider(view: &View<'_>, held: &Grantee) -> Option<Cause> {
    // of a group the provider says that it is gone: its people are not
    let source = view.directory.source(&held.source).filter(|_| held.kind == SubjectKind::User)?;
    if let Some(user) = source.by_id(&held.user) {
        return (!user.active).then(|| Cause::Disabled(said(user)));
    }
    if source.is_missed(held.n) {
        return None; // that a list lacks somebody is no word of the provider's
    }
    match source.gone(held.n) {
        Some(gone) if gone.id == held.user => Some(Cause::Deleted(Event {
            index: gone.index,
            request: gone.request.to_string(),
        })),
        Some(_) => None,
        // so long ago that the tombstone is gone: the number was given, nobody bears it, and no number is given twice
        None => (held.n < source.next_n() && source.get(held.n).is_none()).then(|| Cause::Deleted(Event::default())),
    }
}
