//! What one case does, all of it from its seed: the changes in their order, the faults, and before which change each fault begins.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::proxy::{Action, Asked};

use super::model::{KEPT, PLACES, USERS};

/// Numbers from a seed (xorshift64*).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn draw(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number from 0, below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        // the upper bits are the better ones
        usize::try_from(self.draw() >> 33).unwrap_or_default() % n
    }

    fn within(&mut self, from: usize, to: usize) -> usize {
        from + self.below(to - from + 1)
    }

    fn pick<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }

    fn millis(&mut self, from: usize, to: usize) -> Duration {
        Duration::from_millis(u64::try_from(self.within(from, to)).unwrap_or_default())
    }
}

/// One change of the directory, of a spec, or by somebody's hand. Numbers are taken modulo what there is, so each can be made at any time.
#[derive(Clone, Debug)]
pub enum Step {
    /// A user joins or leaves a group.
    Member { group: usize, user: usize },
    /// A user is disabled, or enabled again.
    Active(usize),
    /// A group is renamed, so that its name yields this.
    Rename {
        group: usize,
        team: &'static str,
        role: &'static str,
    },
    /// A group is made whose name yields this.
    Group {
        team: &'static str,
        role: &'static str,
        members: BTreeSet<usize>,
    },
    /// One of the groups that a case made is deleted.
    Ungroup(usize),
    /// The roles of the mapping by names become others.
    Roles(usize),
    /// A namespace gets the label that the mapping by names selects, or loses it.
    Label(usize),
    /// A namespace is deleted; or it is made again, once it is gone.
    Place(usize),
    /// Somebody deletes a binding of ours.
    Deleted(usize),
    /// Somebody writes a subject of their own into a binding of ours.
    Stranger(usize),
}

const TEAMS: [&str; 7] = ["a", "b", "c", "d", "e", "f", "nowhere"];
/// `admin` is not in the mapping's closed list: such a group yields nothing.
const ROLES: [&str; 7] = ["view", "edit", "view", "edit", "view", "edit", "admin"];

impl Step {
    fn of(random: &mut Random) -> Self {
        match random.below(20) {
            0..=5 => Self::Member {
                group: random.below(100),
                user: random.below(USERS),
            },
            6..=8 => Self::Active(random.below(USERS)),
            9..=10 => Self::Rename {
                group: random.below(100),
                team: random.pick(&TEAMS),
                role: random.pick(&ROLES),
            },
            11..=12 => Self::Group {
                team: random.pick(&TEAMS),
                role: random.pick(&ROLES),
                members: (0..random.within(1, 6)).map(|_| random.below(USERS)).collect(),
            },
            13 => Self::Ungroup(random.below(100)),
            14 => Self::Roles(random.below(3)),
            15..=16 => Self::Label(random.below(PLACES.len())),
            17 => Self::place(random),
            18 => Self::Deleted(random.below(100)),
            _ => Self::Stranger(random.below(100)),
        }
    }

    fn place(random: &mut Random) -> Self {
        Self::Place(random.within(KEPT, PLACES.len() - 1))
    }
}

/// Which requests of the controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Writes of bindings.
    Bindings,
    /// Writes of the access journal.
    Records,
    /// What it reads but watches and the Lease.
    Reads,
    /// Writes of statuses.
    Statuses,
    /// Renewals of the Lease.
    Lease,
    /// Whatever it asks but watches and the Lease.
    Anything,
}

impl Target {
    pub fn holds(self, asked: &Asked) -> bool {
        let (reads, lease) = (asked.method == "GET", asked.path.contains("/leases"));
        match self {
            Self::Lease => asked.method == "PUT" && lease,
            _ if asked.watches() || lease || asked.dry() => false,
            Self::Bindings => !reads && asked.path.contains("/rolebindings"),
            Self::Records => !reads && (asked.path.contains("/journals") || asked.path.contains("/segments")),
            Self::Reads => reads,
            Self::Statuses => asked.method == "PATCH" && asked.path.ends_with("/status"),
            Self::Anything => true,
        }
    }

    /// How often at most: the product waits for a second or more after each.
    fn most(self) -> usize {
        match self {
            Self::Statuses => 1,
            Self::Lease => 2,
            _ => 5,
        }
    }
}

/// What goes wrong.
#[derive(Clone, Debug)]
pub enum Fault {
    /// Of the requests, after the first `skip`, so many in a hundred, and so many at most.
    Requests {
        target: Target,
        action: Action,
        skip: usize,
        percent: usize,
        times: usize,
        seed: u64,
    },
    /// Every connection is cut, and so many watches that begin then meet this.
    Gap { action: Action, times: usize },
    /// Nobody gets through for so long.
    Away(Duration),
    /// The controller's `bind` is withdrawn.
    Unbound,
    /// A quota forbids new RoleBindings in a namespace.
    Quota(&'static str),
}

/// How many kinds of fault there are: so many seeds in a row have each of them.
const KINDS: usize = 15;

impl Fault {
    fn of(kind: usize, random: &mut Random) -> Self {
        let refuse = |code: u16| Action::Refuse(code, "a fault".to_owned());
        match kind {
            0 => Self::requests(random, true, refuse(409), 4),
            1 => Self::requests(random, false, refuse(429), 2),
            2 => Self::requests(random, false, refuse(500), 5),
            3 => Self::requests(random, false, refuse(503), 5),
            4 => Self::requests(random, true, Action::DropReply, 5),
            5 => Self::requests(random, true, Action::Belie(500), 5),
            6 => Self::requests(random, false, Action::Cut, 5),
            7 => {
                let pause = random.millis(50, 250);
                Self::requests(random, false, Action::Slow(pause), 5)
            }
            8 => {
                // longer than the controller waits for the answer to a write of a binding
                let pause = random.millis(600, 800);
                let late = Self::requests(random, true, Action::Late(pause), 2);
                late.at(Target::Bindings)
            }
            9 => Self::Gap {
                action: Action::Cut,
                times: 0,
            },
            10 => Self::Gap {
                action: Action::Expire,
                times: random.within(1, 12),
            },
            11 => Self::Gap {
                action: [refuse(410), refuse(429), refuse(500), refuse(503), Action::Cut][random.below(5)].clone(),
                times: random.within(1, 6),
            },
            12 => Self::Away(random.millis(50, 300)),
            13 => Self::Unbound,
            _ => Self::Quota(PLACES[random.below(KEPT)]),
        }
    }

    fn requests(random: &mut Random, writes: bool, action: Action, most: usize) -> Self {
        use Target::{Anything, Bindings, Lease, Reads, Records, Statuses};
        let target = match writes {
            true => random.pick(&[Bindings, Bindings, Bindings, Bindings, Records, Records, Statuses, Lease]),
            false => random.pick(&[
                Bindings, Bindings, Bindings, Records, Records, Statuses, Lease, Reads, Anything, Anything,
            ]),
        };
        Self::Requests {
            target,
            action,
            skip: random.below(4),
            percent: random.pick(&[50, 100, 100]),
            times: random.within(1, most).min(target.most()),
            seed: random.draw(),
        }
    }

    fn at(mut self, other: Target) -> Self {
        if let Self::Requests { target, .. } = &mut self {
            *target = other;
        }
        self
    }

    /// Of these one a case.
    fn once(&self) -> Option<&'static str> {
        match self {
            Self::Requests { .. } => None,
            Self::Gap { .. } => Some("gap"),
            Self::Away(_) => Some("away"),
            Self::Unbound => Some("unbound"),
            Self::Quota(_) => Some("quota"),
        }
    }
}

/// One case.
#[derive(Clone, Debug)]
pub struct Case {
    pub seed: u64,
    /// Each with the number of the change before which it begins.
    pub faults: Vec<(usize, Fault)>,
    /// Each with the pause after it.
    pub steps: Vec<(Step, Duration)>,
}

impl Case {
    pub fn of(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let mut steps = Vec::new();
        for _ in 0..random.within(3, 8) {
            steps.push((Step::of(&mut random), random.millis(0, 30)));
        }
        if seed.is_multiple_of(5) {
            steps[0].0 = Step::place(&mut random);
        }
        let first = usize::try_from(seed % u64::try_from(KINDS).unwrap_or(1)).unwrap_or_default();
        let mut faults = vec![(random.below(steps.len()), Fault::of(first, &mut random))];
        for _ in 0..random.below(3) {
            // those that cost seconds are the rarer ones
            let kind = if random.below(10) < 7 {
                random.below(9)
            } else {
                random.below(KINDS)
            };
            faults.push((random.below(steps.len()), Fault::of(kind, &mut random)));
        }
        let mut once = BTreeSet::new();
        faults.retain(|(_, fault)| fault.once().is_none_or(|kind| once.insert(kind)));
        Self { seed, faults, steps }
    }
}
