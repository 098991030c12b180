//! What stands in for a lost access journal: a ledger as far as bindings and directory still tell it, in memory. Grants and other removals are
//! held meanwhile; only what the provider itself says goes through, and for that one has to know whose a subject is.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use uuid::Uuid;

use super::world::World;
use crate::access::ledger::{Action, BindingId, Event, Grantee, Ledger, Outcome};
use crate::access::names::{Installation, identify};
use crate::access::shard::SubjectKind;
use crate::access::source::CompiledSource;
use crate::directory::Directory;

/// The ledger that bindings and directory stand for. A subject that no user of a source yields stays nobody's, and is left alone.
pub fn ledger(world: &World, installation: &Installation, directory: &Directory) -> Ledger {
    let mut people: HashMap<String, Grantee> = HashMap::new();
    for source in world
        .sources_of(&installation.class)
        .filter_map(|object| CompiledSource::of(object).ok())
    {
        // Disabled users too: they are whom it is about.
        for user in directory.source(&source.name).into_iter().flat_map(|s| s.users()) {
            let Ok(username) = source.username.evaluate_json(user.attributes.json()) else {
                continue;
            };
            let grantee = Grantee {
                kind: SubjectKind::User,
                username: username.as_str().into(),
                source: source.name.to_string(),
                user: user.id,
                n: user.n,
                via: 0,
            };
            match people.entry(username) {
                std::collections::hash_map::Entry::Vacant(free) => drop(free.insert(grantee)),
                // Of two people with one name nobody can say whose it is: taking it from both would be a guess.
                std::collections::hash_map::Entry::Occupied(mut taken) => taken.get_mut().user = Uuid::nil(),
            }
        }
    }
    people.retain(|_, grantee| !grantee.user.is_nil());
    let mut ledger = Ledger::default();
    let seen = world.bindings.iter().map(|(_, observed)| observed);
    for (place, (observed, key)) in (0..).zip(seen.filter_map(|o| identify(o, installation).map(|key| (o, key)))) {
        let adds: Vec<Grantee> = observed
            .subjects
            .iter()
            .filter_map(|s| people.get(s.username()?).cloned())
            .collect();
        if adds.is_empty() {
            continue;
        }
        let events = [
            Event::Intent {
                op: place,
                binding: BindingId::of(&key, &installation.class),
                owner: key.owner,
                role: key.role,
                shard: key.prefix,
                action: Action::Update,
                adds,
                why: Vec::new(),
            },
            Event::Outcome {
                intent: (0, place),
                result: Outcome::Done { uid: observed.uid.clone() },
            },
        ];
        events.iter().for_each(|event| ledger.apply(0, Timestamp::UNIX_EPOCH, event));
    }
    ledger
}

/// A journal in memory for it, of this installation.
pub async fn journal(id: &str, ledger: Ledger, writer: String) -> Result<crate::journal::Journal<Ledger>, crate::journal::Error> {
    use crate::journal::store::{Memory, Store};
    let (access, directory) = (Memory::new("access"), Memory::new("directory"));
    crate::journal::create_if_nothing_names_one(&access, &directory, id, None).await?;
    let store: Arc<dyn Store> = Arc::new(access);
    crate::journal::Journal::open(store, ledger, crate::journal::Options::new(writer)).await
}
