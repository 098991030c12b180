//! Passes over directories: pages as they are scripted here, into a journal in memory.

mod entra;
mod fake;
mod google;
mod okta;
mod pages;
mod random;
mod service;
mod vendors;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Value, json};

use super::intake::{Intake, Memory, submit};
use super::pass::{Asked, Superseded};
use super::{Entry, Failure, Kind, Members, Page, Proof, Said};
use crate::directory::poll::Outcome;
use crate::directory::{Directory, Event, Source};
use crate::journal::store::{Memory as Kept, Store};
use crate::journal::{Journal, Options, Verdict, create_if_nothing_names_one};

const SOURCE: &str = "workday";

/// A directory, and the passes over it.
struct World {
    journal: Journal<Directory>,
    memory: Memory,
    passes: i64,
}

impl World {
    async fn new() -> Self {
        let (access, directory) = (Kept::new("access"), Kept::new("directory"));
        create_if_nothing_names_one(&access, &directory, "install-1", None).await.unwrap();
        let store: Arc<dyn Store> = Arc::new(directory);
        let journal = Journal::open(store, Directory::default(), Options::new("gateway/test"))
            .await
            .unwrap();
        let world = Self {
            journal,
            memory: Memory::default(),
            passes: 0,
        };
        let (source, uid) = (SOURCE.to_owned(), "uid-1".to_owned());
        world.append(vec![Event::SourceSeen { source, uid }]).await;
        world
    }

    async fn append(&self, events: Vec<Event>) {
        let judged = move |_: &Directory, _: &_| Verdict::Append(events.clone(), ());
        self.journal.submit(judged).await.unwrap();
    }

    /// What the provider pushes.
    async fn push(&self, kind: Kind, attributes: Value, members: &[u32]) -> u32 {
        let n = self.look(|source| source.next_n());
        let Value::Object(attributes) = attributes else {
            panic!("no object")
        };
        self.append(vec![Event::Created {
            source: SOURCE.to_owned(),
            kind,
            id: uuid::Uuid::new_v4(),
            n,
            attributes,
            members: members.to_vec(),
            request: "pushed".to_owned(),
        }])
        .await;
        n
    }

    fn look<R>(&self, ask: impl FnOnce(&Source) -> R) -> R {
        ask(self.journal.snapshot().state.source(SOURCE).unwrap())
    }

    fn index(&self) -> i64 {
        self.journal.snapshot().position.index
    }

    /// Opens a pass.
    async fn open(&mut self, full: bool) -> Intake {
        self.passes += 1;
        let (source, n) = (SOURCE.to_owned(), self.passes);
        let (by, requested) = ("gateway/test".to_owned(), String::new());
        self.append(vec![Event::PassOpened {
            source,
            n,
            by,
            full,
            generation: 1,
            requested,
        }])
        .await;
        Intake::new(self.journal.clone(), asked(n), full, std::mem::take(&mut self.memory))
    }

    /// Ends a pass as the poller does; what was wrong with it.
    async fn end(&mut self, intake: Intake) -> Option<String> {
        let (counts, n) = (intake.counts(), self.passes);
        let (memory, wrong) = intake.finish();
        self.memory = memory;
        let outcome = match wrong {
            None => Outcome::Complete,
            Some(_) => Outcome::Unproven,
        };
        let ended = Event::PassEnded {
            source: SOURCE.to_owned(),
            n,
            counts,
            outcome,
            reason: String::new(),
            message: wrong.clone().unwrap_or_default(),
        };
        let asked = asked(n);
        let said = submit(&self.journal, move |directory| {
            Ok::<_, Superseded>((asked.says(directory, ended.clone())?, ()))
        });
        said.await.unwrap();
        wrong
    }

    /// A whole pass.
    async fn pass(&mut self, pages: Vec<Page>) -> Option<String> {
        let mut intake = self.open(true).await;
        for page in pages {
            intake.take(page).await.unwrap();
        }
        self.end(intake).await
    }

    /// Names and ids of all users, or of all groups.
    fn ids(&self, kind: Kind) -> BTreeMap<String, uuid::Uuid> {
        self.look(|source| {
            let all = source.of_kind(kind).iter().filter_map(|n| source.get(n));
            all.map(|one| (one.name.to_string(), one.id)).collect()
        })
    }

    fn names(&self, kind: Kind) -> BTreeSet<String> {
        self.ids(kind).into_keys().collect()
    }

    /// The names of a group's direct members.
    fn members(&self, group: &str) -> BTreeSet<String> {
        self.look(|source| {
            let group = source.groups_by_name(group).next().unwrap_or_else(|| panic!("no group {group:?}"));
            let members = source.members(group).iter().filter_map(|n| source.get(n));
            members.map(|member| member.name.to_string()).collect()
        })
    }
}

fn asked(pass: i64) -> Asked {
    Asked {
        source: SOURCE.into(),
        pass,
        extensions: Arc::default(),
    }
}

fn user(key: &str, name: &str) -> Entry {
    Entry {
        key: key.to_owned(),
        body: json!({"id": key, "userName": name, "active": true}),
    }
}

fn group(key: &str, name: &str) -> Entry {
    Entry {
        key: key.to_owned(),
        body: json!({"id": key, "displayName": name}),
    }
}

fn whole(group: &str, keys: &[&str], proven: bool) -> Members {
    Members {
        group: group.to_owned(),
        said: Said::Whole {
            keys: keys.iter().map(|key| (*key).to_owned()).collect(),
            proven,
        },
    }
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}
