//! By what a removal is replaced: where else the mapping gives the same person, or group, something in that namespace. Why something goes is in `diff`.

use super::desired::Owner;
use super::diff::{Judge, Replacement};
use super::key::BindingKey;
use super::ledger::{BindingId, Grantee};
use super::people::PersonKey;
use super::shard::SubjectKind;

impl Judge<'_, '_> {
    /// What the mapping is to give the person in this namespace under today's username, and whether all of it stands.
    pub(super) fn replacement(&self, held: &Grantee, person: &PersonKey, username: &str) -> Replacement {
        if !self.view.allows(held.kind, username) {
            return Replacement::None;
        }
        let (mut here, mut elsewhere, mut pending, mut alike) = (false, false, false, false);
        for place in self.view.places(&self.key.namespace, held.kind, person) {
            let stands = self.stands(&place, held.kind, person, username);
            if place == *self.key && !stands {
                here = true;
                continue;
            }
            elsewhere = true;
            pending |= !stands;
            // what is granted elsewhere keeps nobody waiting, but only what is as good is no loss
            alike |= place.namespace == self.key.namespace || (place.namespace.is_empty() && place.role == self.key.role);
        }
        if !here && !elsewhere {
            (elsewhere, pending) = self.other_kind(held, person);
            alike = elsewhere;
        }
        match (here, elsewhere) {
            (true, _) => Replacement::Here,
            (false, true) => Replacement::Elsewhere {
                pending: pending && self.patient,
                stands: !pending && alike,
            },
            (false, false) => Replacement::None,
        }
    }

    /// Whether the binding holds the subject, and as that person or group.
    fn stands(&self, place: &BindingKey, kind: SubjectKind, person: &PersonKey, name: &str) -> bool {
        let id = BindingId::of(place, &self.view.installation.class);
        let theirs = self.view.ledger.grantee(&id, name);
        let theirs = theirs.is_some_and(|g| g.n == person.n && *g.source == *person.source && g.kind == kind);
        theirs && (self.seen)(place).is_some_and(|o| o.holds_of(kind, name))
    }

    /// Where the mapping grants to the other kind of subjects now: whether they have it here, and whether any of that does not stand yet. Of a person, the
    /// groups; of a group, its people.
    fn other_kind(&self, held: &Grantee, person: &PersonKey) -> (bool, bool) {
        let (Owner::Live(live), Some(source)) = (self.view.owner, self.view.directory.source(&held.source)) else {
            return (false, false);
        };
        let kind = match held.kind {
            SubjectKind::User => SubjectKind::Group,
            SubjectKind::Group => SubjectKind::User,
        };
        let concerned = match held.kind {
            SubjectKind::User => source.ancestors(held.n),
            SubjectKind::Group => source.all_members(std::iter::once(held.n)),
        };
        let (mut elsewhere, mut pending) = (false, false);
        for (role, cell) in live.cells_in(&self.key.namespace).filter(|(_, cell)| cell.kind == kind) {
            if !cell.people.has_any(&held.source, &concerned) {
                continue;
            }
            let theirs = cell
                .people
                .iter()
                .filter(|(key, _)| key.source == person.source && concerned.contains(key.n));
            for (key, other) in theirs.filter(|(_, other)| self.view.allows(kind, &other.username)) {
                let place = BindingKey {
                    owner: self.key.owner.clone(),
                    role: role.clone(),
                    namespace: self.key.namespace.clone(),
                    prefix: cell.layout.shard_of(key.hash),
                };
                elsewhere = true;
                pending |= !self.stands(&place, kind, key, &other.username);
            }
        }
        (elsewhere, pending)
    }
}
