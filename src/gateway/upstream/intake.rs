//! What becomes of the pages of one pass: they are appended as they come, and what a list did not have is judged at its end. No HTTP, and no clock.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use roaring::RoaringBitmap;
use uuid::Uuid;

use super::pass::{Asked, Leaving, Read, Superseded, Wanted, read};
use super::{Entry, Failure, Kind, Members, Page, Proof, Said};
use crate::directory::poll::Counts;
use crate::directory::{Directory, Event};
use crate::journal::{Journal, Verdict};

/// How many groups' members are appended at once.
const GROUPS_AT_ONCE: usize = 256;

/// What one pass leaves to the next one of the same process. Without it the next one asks for everything, and nothing is gone that only it misses.
#[derive(Clone, Debug, Default)]
pub(super) struct Memory {
    /// The numbers by the ids upstream.
    keys: HashMap<Arc<str>, u32>,
    missing: Both<RoaringBitmap>,
    /// By group: who was not in a list of members that proved nothing.
    leaving: HashMap<u32, RoaringBitmap>,
}

impl Memory {
    /// Whether somebody was missing, and is taken to be gone only if the next full pass does not have them either: then that must not wait long.
    pub(super) fn doubts(&self) -> bool {
        !self.missing.users.is_empty() || !self.missing.groups.is_empty() || !self.leaving.is_empty()
    }
}

#[derive(Clone, Debug, Default)]
struct Both<T> {
    users: T,
    groups: T,
}

impl<T> Both<T> {
    fn of(&mut self, kind: Kind) -> &mut T {
        match kind {
            Kind::User => &mut self.users,
            Kind::Group => &mut self.groups,
        }
    }
}

/// The pages of one pass.
pub(super) struct Intake {
    journal: Journal<Directory>,
    asked: Asked,
    /// Whether everything is asked for: only then anything can be missing.
    full: bool,
    before: Memory,
    now: Memory,
    seen: Both<RoaringBitmap>,
    unreadable: Both<u64>,
    proof: Both<Option<Proof>>,
    /// Lists of members in which somebody is not known yet.
    waiting: Vec<Waiting>,
    counts: Counts,
}

struct Waiting {
    group: u32,
    known: RoaringBitmap,
    unknown: Vec<String>,
    proven: bool,
}

impl Intake {
    /// A pass that is open.
    pub(super) fn new(journal: Journal<Directory>, asked: Asked, full: bool, before: Memory) -> Self {
        let (before, now) = match full {
            true => (before, Memory::default()),
            false => (Memory::default(), before),
        };
        Self {
            journal,
            asked,
            full,
            before,
            now,
            seen: Both::default(),
            unreadable: Both::default(),
            proof: Both::default(),
            waiting: Vec::new(),
            counts: Counts::default(),
        }
    }

    /// What came so far.
    pub(super) fn counts(&self) -> Counts {
        self.counts
    }

    /// What the next pass may know, and what was wrong with this one that came to its end; nothing, if it is complete.
    pub(super) fn finish(self) -> (Memory, Option<String>) {
        let said = [("users", &self.proof.users), ("groups", &self.proof.groups)];
        let broken: Vec<String> = said
            .into_iter()
            .filter_map(|(what, proof)| match proof {
                Some(Proof::Broken(why)) => Some(format!("{what}: {why}")),
                None if self.full => Some(format!("{what}: the list did not end")),
                _ => None,
            })
            .collect();
        (self.now, (!broken.is_empty()).then(|| broken.join("; ")))
    }

    /// Takes a page.
    pub(super) async fn take(&mut self, page: Page) -> Result<(), Failure> {
        self.counts.pages += 1;
        match page {
            Page::Users(list) => self.objects(Kind::User, list).await,
            Page::Groups(list) => self.objects(Kind::Group, list).await,
            Page::Members(lists) => self.members(lists).await,
            Page::UsersEnd(proof) => self.end(Kind::User, proof).await,
            Page::GroupsEnd(proof) => {
                let proof = self.proven(Kind::Group, proof);
                self.settle(&proof).await?;
                self.end(Kind::Group, proof).await
            }
            Page::Gone(kind, key) => self.gone(kind, &key).await,
        }
    }

    async fn objects(&mut self, kind: Kind, list: Vec<Entry>) -> Result<(), Failure> {
        let (mut page, mut keys) = (Vec::<Read>::with_capacity(list.len()), HashSet::new());
        // the same one twice in a pass: what a list that changes under the reader may have; what was read last is newer
        let mut again = HashMap::new();
        for entry in list.iter().rev() {
            let key = entry.key.as_str();
            let hint = self.now.keys.get(key).or(self.before.keys.get(key)).copied();
            if !keys.insert(key) {
                continue;
            }
            let seen = self.now.keys.get(key).filter(|n| self.full && self.seen.of(kind).contains(**n));
            again.extend(seen.map(|n| (key, *n)));
            match read(kind, entry, hint, Uuid::new_v4()) {
                Ok(one) => page.push(one),
                Err(why) => {
                    tracing::warn!(
                        source = &*self.asked.source,
                        key = entry.key,
                        why,
                        "an object of the directory cannot be read"
                    );
                    *self.unreadable.of(kind) += 1;
                }
            }
        }
        // they come first, so that nobody else is taken for one of them
        page.reverse();
        let new = |one: &Read| !again.contains_key(&*one.key);
        page.sort_by_key(new);
        let count = page.iter().filter(|one| new(one)).count() as u64;
        match kind {
            Kind::User => self.counts.users += count,
            Kind::Group => self.counts.groups += count,
        }
        let (asked, seen) = (
            self.asked.clone(),
            &*self.seen.of(kind) - &again.values().copied().collect::<RoaringBitmap>(),
        );
        let page = Arc::new(page);
        let judged = page.clone();
        let numbers = self.submit(move |directory| asked.objects(directory, kind, &judged, &seen)).await?;
        for (one, n) in page.iter().zip(numbers) {
            if let Some(n) = n {
                self.seen.of(kind).insert(n);
                self.now.keys.insert(one.key.clone(), n);
            }
        }
        Ok(())
    }

    async fn members(&mut self, lists: Vec<Members>) -> Result<(), Failure> {
        let mut wanted = Vec::new();
        for list in lists {
            let Some(group) = self.now.keys.get(list.group.as_str()).copied() else {
                continue;
            };
            match list.said {
                Said::Whole { keys, proven } => {
                    let (known, unknown) = self.numbers(keys);
                    match unknown.is_empty() {
                        true => wanted.extend(self.whole(group, known, Some(proven))),
                        false => self.waiting.push(Waiting {
                            group,
                            known,
                            unknown,
                            proven,
                        }),
                    }
                }
                Said::Changed { add, remove } => wanted.push(Wanted {
                    group,
                    add: self.numbers(add).0,
                    remove: Leaving::These(self.numbers(remove).0),
                }),
            }
        }
        self.apply(wanted).await
    }

    /// The lists of members that had to wait, now that all are known that will be. Somebody whom no list had may be no user at all, or one that was missed.
    async fn settle(&mut self, groups: &Proof) -> Result<(), Failure> {
        let complete = |proof: Option<&Proof>| match proof {
            Some(Proof::Complete) => Some(true),
            Some(Proof::Ended) => Some(false),
            Some(Proof::Broken(_)) | None => None,
        };
        let all = complete(self.proof.users.as_ref()).zip(complete(Some(groups)));
        let mut wanted = Vec::new();
        for waiting in std::mem::take(&mut self.waiting) {
            let (more, unknown) = self.numbers(waiting.unknown);
            let certain = match unknown.is_empty() {
                true => Some(waiting.proven),
                false => all.map(|(users, groups)| waiting.proven && users && groups),
            };
            wanted.extend(self.whole(waiting.group, waiting.known | more, certain));
        }
        self.apply(wanted).await
    }

    /// A whole list; `certain`: that nobody is missing, or `None`: that it is known to lack somebody.
    fn whole(&mut self, group: u32, list: RoaringBitmap, certain: Option<bool>) -> Option<Wanted> {
        let snapshot = self.journal.snapshot();
        let now = snapshot.state.source(&self.asked.source)?.members(group);
        let absent = now - &list;
        if absent.is_empty() && list.is_subset(now) {
            return None;
        }
        let before = self.before.leaving.remove(&group).unwrap_or_default();
        let remove = match certain {
            Some(true) => Leaving::Others,
            Some(false) => {
                let (gone, perhaps) = (&absent & &before, absent - before);
                if !perhaps.is_empty() {
                    self.now.leaving.insert(group, perhaps);
                }
                Leaving::These(gone)
            }
            None => Leaving::These(RoaringBitmap::new()),
        };
        Some(Wanted { group, add: list, remove })
    }

    fn numbers(&self, keys: Vec<String>) -> (RoaringBitmap, Vec<String>) {
        let (mut known, mut unknown) = (RoaringBitmap::new(), Vec::new());
        for key in keys {
            match self.now.keys.get(key.as_str()) {
                Some(n) => _ = known.insert(*n),
                None => unknown.push(key),
            }
        }
        (known, unknown)
    }

    async fn apply(&mut self, wanted: Vec<Wanted>) -> Result<(), Failure> {
        for part in wanted.chunks(GROUPS_AT_ONCE) {
            let (asked, part) = (self.asked.clone(), part.to_vec());
            self.submit(move |directory| Ok((asked.members(directory, &part)?, ()))).await?;
        }
        Ok(())
    }

    /// What may be said of a list, with what else is known of it.
    fn proven(&mut self, kind: Kind, proof: Proof) -> Proof {
        let unreadable = *self.unreadable.of(kind);
        if unreadable > 0 {
            return Proof::Broken(format!("{unreadable} could not be read, and the gateway's log says why"));
        }
        // that there is nobody at all is what a lost right or a wrong filter looks like
        match proof == Proof::Complete && self.seen.of(kind).is_empty() {
            true => Proof::Ended,
            false => proof,
        }
    }

    async fn end(&mut self, kind: Kind, proof: Proof) -> Result<(), Failure> {
        let proof = self.proven(kind, proof);
        *self.proof.of(kind) = Some(proof.clone());
        if !self.full {
            return Ok(());
        }
        let snapshot = self.journal.snapshot();
        let all = snapshot.state.source(&self.asked.source).map(|source| source.of_kind(kind).clone());
        let absent = all.unwrap_or_default() - self.seen.of(kind).clone();
        let before = std::mem::take(self.before.missing.of(kind));
        let gone = match proof {
            Proof::Complete => absent,
            Proof::Ended => {
                let (gone, perhaps) = (&absent & &before, absent - before);
                *self.now.missing.of(kind) = perhaps;
                gone
            }
            Proof::Broken(_) => {
                *self.now.missing.of(kind) = before;
                return Ok(());
            }
        };
        if gone.is_empty() {
            return Ok(());
        }
        let asked = self.asked.clone();
        self.submit(move |directory| Ok((asked.gone(directory, &gone, false)?, ()))).await
    }

    async fn gone(&mut self, kind: Kind, key: &str) -> Result<(), Failure> {
        let snapshot = self.journal.snapshot();
        let Some(source) = snapshot.state.source(&self.asked.source) else {
            return Err(Failure::superseded());
        };
        let n = self.now.keys.remove(key).or(self.before.keys.get(key).copied());
        // one that no pass of this process had: by the id that is its externalId where the directory gives none
        let n = n.or_else(|| source.by_external_id(kind, key).next());
        let numbers: RoaringBitmap = n.into_iter().filter(|n| source.of_kind(kind).contains(*n)).collect();
        if numbers.is_empty() {
            return Ok(());
        }
        let asked = self.asked.clone();
        self.submit(move |directory| Ok((asked.gone(directory, &numbers, true)?, ()))).await
    }

    /// That the pass goes on.
    pub(super) async fn say(&self) -> Result<(), Failure> {
        let (asked, counts) = (self.asked.clone(), self.counts);
        self.submit(move |directory| {
            let said = Event::PassSaid {
                source: asked.source.to_string(),
                n: asked.pass,
                counts,
            };
            Ok((asked.says(directory, said)?, ()))
        })
        .await
    }

    async fn submit<R, F>(&self, mut judge: F) -> Result<R, Failure>
    where
        F: FnMut(&Directory) -> Result<(Vec<Event>, R), Superseded> + Send + 'static,
        R: Send + 'static,
    {
        submit(&self.journal, move |directory| judge(directory)).await
    }
}

/// Appends what is judged; a pass that is superseded ends.
pub(super) async fn submit<R, F>(journal: &Journal<Directory>, mut judge: F) -> Result<R, Failure>
where
    F: FnMut(&Directory) -> Result<(Vec<Event>, R), Superseded> + Send + 'static,
    R: Send + 'static,
{
    let answer = journal.submit(move |directory: &Directory, _: &_| match judge(directory) {
        Ok((events, answer)) if events.is_empty() => Verdict::Read(Ok(answer)),
        Ok((events, answer)) => Verdict::Append(events, Ok(answer)),
        Err(Superseded) => Verdict::Read(Err(Superseded)),
    });
    match answer.await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(Superseded)) => Err(Failure::superseded()),
        Err(error) => Err(Failure::new("JournalUnavailable", format!("the directory journal: {error}"))),
    }
}
