//! Shards: how the people of a mapping are cut into bindings of at most 500, by the bits of a hash of their ids. Nothing here knows roles or namespaces.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use imbl::OrdSet;
use serde::{Deserialize, Serialize};

use super::people::People;

/// Above so many people a shard splits.
pub const SPLIT_ABOVE: usize = 400;
/// Two siblings that have fewer together merge.
pub const MERGE_BELOW: usize = 120;
/// The most subjects that any binding ever has: the admission policies' cost grows with the square.
pub const SUBJECTS_MAX: usize = 500;
/// The longest prefix that a label can show.
const BITS_MAX: u8 = 56;

/// A prefix of the bits of a hash: the part of the people, or of the groups, that one binding holds. Written `all` for none, else as bits: `0`, `10`; of
/// groups with a word before it: `groups-all`, `groups-10`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Prefix {
    /// The bits, at the top; all others are 0. First, so that the order is the order of the hash space.
    bits: u64,
    len: u8,
    /// Which subjects.
    kind: SubjectKind,
}

/// Which subjects a binding has: never both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum SubjectKind {
    /// People.
    #[default]
    User,
    /// Groups, as the login says them.
    Group,
}

impl SubjectKind {
    /// As Kubernetes writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::User => "User",
            Self::Group => "Group",
        }
    }

    /// For `skip_serializing_if`.
    pub fn is_user(&self) -> bool {
        *self == Self::User
    }
}

/// What a shard of groups is written with.
const GROUPS: &str = "groups-";

impl Prefix {
    /// Everybody.
    pub const ALL: Self = Self::all(SubjectKind::User);

    /// All subjects of a kind.
    pub const fn all(kind: SubjectKind) -> Self {
        Self { bits: 0, len: 0, kind }
    }

    /// Which subjects.
    pub fn kind(self) -> SubjectKind {
        self.kind
    }

    /// Whether it holds a person of that hash.
    pub fn contains(self, hash: u64) -> bool {
        (hash ^ self.bits) & self.mask() == 0
    }

    /// Whether it holds all that the other holds.
    pub fn covers(self, other: Self) -> bool {
        self.kind == other.kind && self.len <= other.len && self.contains(other.bits)
    }

    /// The first and the last hash that it holds.
    pub fn range(self) -> (u64, u64) {
        (self.bits, self.bits | !self.mask())
    }

    /// How many bits it has.
    pub fn len(self) -> u8 {
        self.len
    }

    /// Whether it is [`Prefix::ALL`].
    pub fn is_empty(self) -> bool {
        self.len == 0
    }

    fn mask(self) -> u64 {
        // a shift by 64 is not defined
        if self.len == 0 { 0 } else { u64::MAX << (64 - u32::from(self.len)) }
    }

    /// The two halves; `None` when there are no more bits.
    fn halves(self) -> Option<(Self, Self)> {
        if self.len >= BITS_MAX {
            return None;
        }
        let len = self.len + 1;
        let bit = 1_u64 << (64 - u32::from(len));
        Some((
            Self { len, ..self },
            Self {
                bits: self.bits | bit,
                len,
                ..self
            },
        ))
    }

    fn parent(self) -> Option<Self> {
        let len = self.len.checked_sub(1)?;
        let parent = Self { len, ..self };
        Some(Self {
            bits: self.bits & parent.mask(),
            ..parent
        })
    }

    fn sibling(self) -> Option<Self> {
        let bit = 1_u64 << (64 - u32::from(self.len.max(1)));
        (self.len > 0).then_some(Self {
            bits: self.bits ^ bit,
            ..self
        })
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.kind == SubjectKind::Group {
            f.write_str(GROUPS)?;
        }
        if self.len == 0 {
            return f.write_str("all");
        }
        for i in 0..u32::from(self.len) {
            f.write_str(if self.bits >> (63 - i) & 1 == 1 { "1" } else { "0" })?;
        }
        Ok(())
    }
}

/// A text that is no shard.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no shard: `all`, or up to 56 bits such as `010`, with `groups-` before it for one of groups")]
pub struct NoPrefix(String);

impl FromStr for Prefix {
    type Err = NoPrefix;

    fn from_str(text: &str) -> Result<Self, NoPrefix> {
        let (kind, text) = match text.strip_prefix(GROUPS) {
            Some(rest) => (SubjectKind::Group, rest),
            None => (SubjectKind::User, text),
        };
        if text == "all" {
            return Ok(Self::all(kind));
        }
        let wrong = || NoPrefix(text.chars().take(80).collect());
        let len = u8::try_from(text.len())
            .ok()
            .filter(|len| (1..=BITS_MAX).contains(len))
            .ok_or_else(wrong)?;
        let mut bits = 0;
        for (i, c) in text.bytes().enumerate() {
            match c {
                b'0' => {}
                b'1' => bits |= 1 << (63 - i),
                _ => return Err(wrong()),
            }
        }
        Ok(Self { bits, len, kind })
    }
}

impl TryFrom<String> for Prefix {
    type Error = NoPrefix;

    fn try_from(text: String) -> Result<Self, NoPrefix> {
        text.parse()
    }
}

impl From<Prefix> for String {
    fn from(prefix: Prefix) -> Self {
        prefix.to_string()
    }
}

/// How one mapping's people are cut: prefixes that cover every hash exactly once. A clone costs nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    shards: OrdSet<Prefix>,
}

impl Default for Layout {
    fn default() -> Self {
        Self {
            shards: OrdSet::unit(Prefix::ALL),
        }
    }
}

impl Layout {
    /// The layout of which these shards were seen, of people; what is missing is completed with as few shards as can be, and of two that overlap the
    /// finer one counts (a split had begun, and new shards stand before old ones go).
    pub fn of(seen: impl IntoIterator<Item = Prefix>) -> Self {
        Self::of_kind(SubjectKind::User, seen)
    }

    /// The same of subjects of that kind.
    pub fn of_kind(kind: SubjectKind, seen: impl IntoIterator<Item = Prefix>) -> Self {
        let seen: BTreeSet<Prefix> = seen.into_iter().filter(|prefix| prefix.kind == kind).collect();
        let mut shards = OrdSet::new();
        complete(Prefix::all(kind), &seen, &mut shards);
        Self { shards }
    }

    /// The shards, in the order of the hash space.
    pub fn shards(&self) -> impl Iterator<Item = Prefix> {
        self.shards.iter().copied()
    }

    /// How many shards there are.
    pub fn len(&self) -> usize {
        self.shards.len()
    }

    /// Never: at least one shard covers everything.
    pub fn is_empty(&self) -> bool {
        self.shards.is_empty()
    }

    /// Whether it is a shard of this layout.
    pub fn has(&self, prefix: Prefix) -> bool {
        self.shards.contains(&prefix)
    }

    /// The shard that holds a person of that hash.
    pub fn shard_of(&self, hash: u64) -> Prefix {
        // the last shard that begins at or before the hash; shards do not overlap
        let at = Prefix {
            bits: hash,
            len: u8::MAX,
            kind: SubjectKind::Group,
        };
        self.shards.get_prev(&at).copied().unwrap_or(Prefix::ALL)
    }

    /// Splits what has grown too large and merges what has become small. `touched` are the hashes of people who came or went; `None`: look at all.
    /// Costs what the shards of those people cost, not what all people cost.
    pub fn fit(&self, people: &People, touched: Option<&[u64]>) -> Self {
        let mut layout = self.clone();
        let shards: BTreeSet<Prefix> = match touched {
            Some(hashes) => hashes.iter().map(|hash| self.shard_of(*hash)).collect(),
            None => self.shards().collect(),
        };
        for shard in shards {
            // a merge may have taken it in already
            if layout.has(shard) {
                layout.split(shard, people);
                layout.merge(shard, people);
            }
        }
        layout
    }

    /// The shards that only the other layout has, and those that only this one has.
    pub fn changes(&self, after: &Self) -> (Vec<Prefix>, Vec<Prefix>) {
        let came = after.shards().filter(|p| !self.has(*p)).collect();
        let went = self.shards().filter(|p| !after.has(*p)).collect();
        (came, went)
    }

    fn split(&mut self, shard: Prefix, people: &People) {
        if people.count(shard, SPLIT_ABOVE + 1) <= SPLIT_ABOVE {
            return;
        }
        let Some((low, high)) = shard.halves() else { return };
        self.shards.remove(&shard);
        self.shards.insert(low);
        self.shards.insert(high);
        self.split(low, people);
        self.split(high, people);
    }

    fn merge(&mut self, mut shard: Prefix, people: &People) {
        while let (Some(sibling), Some(parent)) = (shard.sibling(), shard.parent()) {
            if !self.has(shard) || !self.has(sibling) || people.count(parent, MERGE_BELOW) >= MERGE_BELOW {
                return;
            }
            self.shards.remove(&shard);
            self.shards.remove(&sibling);
            self.shards.insert(parent);
            shard = parent;
        }
    }
}

fn complete(at: Prefix, seen: &BTreeSet<Prefix>, shards: &mut OrdSet<Prefix>) {
    let (first, last) = at.range();
    let end = Prefix {
        bits: last,
        len: u8::MAX,
        kind: SubjectKind::Group,
    };
    let below = Prefix { bits: first, ..at }..=end;
    let finer = seen.range(below).any(|p| p.len > at.len && at.covers(*p));
    match at.halves().filter(|_| finer) {
        Some((low, high)) => {
            complete(low, seen, shards);
            complete(high, seen, shards);
        }
        None => {
            shards.insert(at);
        }
    }
}
