//! One source: its users, groups and memberships, the indexes over them, and the questions they answer. Changes are in `apply`.

use std::sync::{Arc, LazyLock};

use imbl::{OrdMap, OrdSet, Vector};
use jiff::Timestamp;
use roaring::RoaringBitmap;
use uuid::Uuid;

use super::changes::{Change, Log};
use super::client::Client;
use super::event::{FailingToken, Kind};
use super::fold;
use super::poll::Poll;
use super::resource::{Gone, Resource};

static NOBODY: LazyLock<RoaringBitmap> = LazyLock::new(RoaringBitmap::new);

/// Folded name, index since which it is borne, number: the oldest bearer comes first.
pub(super) type Names = OrdSet<(Arc<str>, i64, u32)>;

/// One source: an identity space of its own.
#[derive(Clone, Debug)]
pub struct Source {
    pub(super) uid: Arc<str>,
    pub(super) next_n: u32,
    pub(super) last_event: Option<Timestamp>,
    pub(super) failing_tokens: Arc<[FailingToken]>,
    pub(super) client: Arc<Client>,
    pub(super) poll: Arc<Poll>,
    pub(super) resources: OrdMap<u32, Arc<Resource>>,
    pub(super) ids: OrdMap<Uuid, u32>,
    pub(super) user_names: Names,
    pub(super) group_names: Names,
    pub(super) external_ids: OrdSet<(Arc<str>, u32)>,
    pub(super) emails: OrdSet<(Arc<str>, u32)>,
    pub(super) users: Arc<RoaringBitmap>,
    pub(super) active: Arc<RoaringBitmap>,
    pub(super) groups: Arc<RoaringBitmap>,
    /// Groups that count for nothing in this view of the source: see [`Directory::ignoring`](super::Directory::ignoring).
    pub(super) ignored: Arc<RoaringBitmap>,
    /// Direct members by group, and the reverse. An empty bitmap is not kept.
    pub(super) members: OrdMap<u32, Arc<RoaringBitmap>>,
    pub(super) groups_of: OrdMap<u32, Arc<RoaringBitmap>>,
    pub(super) log: Log,
    pub(super) gone: OrdMap<u32, Arc<Gone>>,
    pub(super) gone_order: Vector<u32>,
    /// All that ever went because a polled directory did not have them any more, and not because the provider said so.
    pub(super) missed: Arc<RoaringBitmap>,
}

impl Source {
    pub(super) fn new(uid: &str, next_n: u32, index: i64) -> Self {
        Self {
            uid: uid.into(),
            next_n,
            last_event: None,
            failing_tokens: Arc::default(),
            client: Arc::default(),
            poll: Arc::default(),
            resources: OrdMap::new(),
            ids: OrdMap::new(),
            user_names: OrdSet::new(),
            group_names: OrdSet::new(),
            external_ids: OrdSet::new(),
            emails: OrdSet::new(),
            users: Arc::default(),
            active: Arc::default(),
            groups: Arc::default(),
            ignored: Arc::default(),
            members: OrdMap::new(),
            groups_of: OrdMap::new(),
            log: Log::new(index),
            gone: OrdMap::new(),
            gone_order: Vector::new(),
            missed: Arc::default(),
        }
    }

    /// A source without anything: what a source is before its first event.
    pub fn empty() -> &'static Self {
        static EMPTY: LazyLock<Source> = LazyLock::new(|| Source::new("", 0, 0));
        &EMPTY
    }

    /// The UID of the ScimSource that was last seen under this name.
    pub fn uid(&self) -> &str {
        &self.uid
    }

    /// How many users there are, disabled ones included.
    pub fn user_count(&self) -> u64 {
        self.users.len()
    }

    /// How many users are active.
    pub fn active_count(&self) -> u64 {
        self.active.len()
    }

    /// How many groups there are.
    pub fn group_count(&self) -> u64 {
        self.groups.len()
    }

    /// When the provider last changed something.
    pub fn last_event(&self) -> Option<Timestamp> {
        self.last_event
    }

    /// The tokens that a gateway found unusable.
    pub fn failing_tokens(&self) -> &[FailingToken] {
        &self.failing_tokens
    }

    /// The provider's client, as its requests show it.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The passes over it, if it is polled.
    pub fn poll(&self) -> &Poll {
        &self.poll
    }

    /// Whether the user or group of that number went because a polled directory did not have it any more: that is not said by the provider.
    pub fn is_missed(&self, n: u32) -> bool {
        self.missed.contains(n)
    }

    /// The number that the next user or group gets.
    pub fn next_n(&self) -> u32 {
        self.next_n
    }

    /// The user or group of that id.
    pub fn by_id(&self, id: &Uuid) -> Option<&Arc<Resource>> {
        self.get(*self.ids.get(id)?)
    }

    /// The user or group of that number.
    pub fn get(&self, n: u32) -> Option<&Arc<Resource>> {
        self.resources.get(&n)
    }

    /// The user whose folded userName this is.
    pub fn user_by_name(&self, folded: &str) -> Option<u32> {
        bearers(&self.user_names, folded).next()
    }

    /// The users or groups of that externalId (case matters), in order of creation.
    pub fn by_external_id(&self, kind: Kind, external_id: &str) -> impl Iterator<Item = u32> {
        let key: Arc<str> = external_id.into();
        let of_kind = self.of_kind(kind);
        self.external_ids
            .range((key.clone(), 0)..=(key, u32::MAX))
            .map(|(_, n)| *n)
            .filter(|n| of_kind.contains(*n) && !self.ignored.contains(*n))
    }

    /// The users with that folded e-mail address, in order of creation.
    pub fn users_by_email(&self, folded: &str) -> impl Iterator<Item = u32> + use<'_> {
        let key: Arc<str> = folded.into();
        self.emails.range((key.clone(), 0)..=(key, u32::MAX)).map(|(_, n)| *n)
    }

    /// The users, or the groups that count, whose folded name begins so.
    pub fn by_prefix<'a>(&'a self, kind: Kind, folded: &'a str) -> impl Iterator<Item = u32> + 'a {
        let names = match kind {
            Kind::User => &self.user_names,
            Kind::Group => &self.group_names,
        };
        names
            .range((Arc::from(folded), i64::MIN, 0)..)
            .take_while(move |(name, ..)| name.starts_with(folded))
            .map(|(_, _, n)| *n)
            .filter(|n| !self.ignored.contains(*n))
    }

    /// The groups of exactly that displayName, the one that bears it longest first.
    pub fn groups_by_name(&self, display_name: &str) -> impl Iterator<Item = u32> {
        self.groups_by_folded_name(&fold(display_name))
            .filter(move |n| self.get(*n).is_some_and(|group| *group.name == *display_name))
    }

    /// The groups whose folded displayName this is, the one that bears its name longest first.
    pub fn groups_by_folded_name(&self, folded: &str) -> impl Iterator<Item = u32> + use<'_> {
        bearers(&self.group_names, folded).filter(|n| !self.ignored.contains(*n))
    }

    /// All users, in order of creation.
    pub fn users(&self) -> impl Iterator<Item = &Arc<Resource>> {
        self.users.iter().filter_map(|n| self.get(n))
    }

    /// All groups that count, in order of creation.
    pub fn groups(&self) -> impl Iterator<Item = &Arc<Resource>> {
        self.groups
            .iter()
            .filter(|n| !self.ignored.contains(*n))
            .filter_map(|n| self.get(n))
    }

    /// The groups that count for nothing.
    pub fn ignored(&self) -> &RoaringBitmap {
        &self.ignored
    }

    /// The numbers of all users or of all groups.
    pub fn of_kind(&self, kind: Kind) -> &RoaringBitmap {
        match kind {
            Kind::User => &self.users,
            Kind::Group => &self.groups,
        }
    }

    /// The direct members of a group: users and groups.
    pub fn members(&self, group: u32) -> &RoaringBitmap {
        self.members.get(&group).map_or(&NOBODY, AsRef::as_ref)
    }

    /// The groups that it is a direct member of.
    pub fn groups_of(&self, n: u32) -> &RoaringBitmap {
        self.groups_of.get(&n).map_or(&NOBODY, AsRef::as_ref)
    }

    /// The active users.
    pub fn active(&self) -> &RoaringBitmap {
        &self.active
    }

    /// The users, active or not, whom the groups hold, directly or through other groups. Cycles do no harm. Groups that count for nothing hold nobody.
    pub fn all_members(&self, groups: impl Iterator<Item = u32>) -> RoaringBitmap {
        self.below(groups, &self.ignored)
    }

    /// The same, as if all groups counted.
    pub fn all_members_of_any(&self, groups: impl Iterator<Item = u32>) -> RoaringBitmap {
        self.below(groups, &NOBODY)
    }

    fn below(&self, groups: impl Iterator<Item = u32>, without: &RoaringBitmap) -> RoaringBitmap {
        let mut seen: RoaringBitmap = groups.filter(|n| !without.contains(*n)).collect();
        let mut open: Vec<u32> = seen.iter().collect();
        let mut found = RoaringBitmap::new();
        while let Some(group) = open.pop() {
            let members = self.members(group);
            found |= members;
            let nested = (members & self.groups.as_ref()) - without;
            open.extend(nested.iter().filter(|nested| seen.insert(*nested)));
        }
        found &= self.users.as_ref();
        found
    }

    /// The groups that hold it, directly or through other groups; itself too, if it is a group in a cycle. Only those that count.
    pub fn ancestors(&self, n: u32) -> RoaringBitmap {
        let mut found = self.groups_of(n) - self.ignored.as_ref();
        let mut open: Vec<u32> = found.iter().collect();
        while let Some(group) = open.pop() {
            let above = self.groups_of(group) - self.ignored.as_ref();
            open.extend(above.iter().filter(|above| found.insert(*above)));
        }
        found
    }

    /// What changed in batches after `index`, oldest first. `None`: too long ago, look at everything.
    pub fn changes_since(&self, index: i64) -> Option<Vec<Change>> {
        self.log.since(index)
    }

    /// The newest changes, the newest first: as many as are remembered.
    pub fn newest_changes(&self) -> impl Iterator<Item = &Change> {
        self.log.newest()
    }

    /// What is remembered of a deleted user or group.
    pub fn gone(&self, n: u32) -> Option<&Gone> {
        self.gone.get(&n).map(AsRef::as_ref)
    }
}

fn bearers<'a>(names: &'a Names, folded: &str) -> impl Iterator<Item = u32> + use<'a> {
    let key: Arc<str> = folded.into();
    names
        .range((key.clone(), i64::MIN, 0)..=(key, i64::MAX, u32::MAX))
        .map(|(_, _, n)| *n)
}
