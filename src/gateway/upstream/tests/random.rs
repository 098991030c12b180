//! Random histories upstream, read by passes that are whole, broken off, or lack something: what is so upstream is so here after a whole pass, and nobody
//! loses anything by one that is not.

use super::*;

/// A small generator: each seed is one history.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

#[derive(Clone, Default)]
struct Upstream {
    users: BTreeMap<u64, (String, bool)>,
    groups: BTreeMap<u64, BTreeSet<String>>,
    next: u64,
}

impl Upstream {
    fn change(&mut self, dice: &mut Dice) {
        self.next += 1;
        let some = |map: usize, dice: &mut Dice| usize::try_from(dice.roll(map.max(1) as u64)).unwrap();
        let user = self.users.keys().copied().nth(some(self.users.len(), dice));
        let group = self.groups.keys().copied().nth(some(self.groups.len(), dice));
        match (dice.roll(8), user, group) {
            (0 | 1, ..) => _ = self.users.insert(self.next, (format!("user{}", self.next), true)),
            (2, ..) => _ = self.groups.insert(self.next, BTreeSet::new()),
            (3, Some(user), _) => {
                _ = self
                    .users
                    .insert(user, (format!("user{}", self.next), !self.next.is_multiple_of(3)))
            }
            (4, Some(user), _) => {
                self.users.remove(&user);
                self.groups.values_mut().for_each(|members| _ = members.remove(&format!("u{user}")));
            }
            (5, _, Some(group)) => {
                self.groups.remove(&group);
                self.groups
                    .values_mut()
                    .for_each(|members| _ = members.remove(&format!("g{group}")));
            }
            (6, Some(user), Some(group)) => {
                let member = format!("u{user}");
                let members = self.groups.get_mut(&group).unwrap();
                if !members.remove(&member) {
                    members.insert(member);
                }
            }
            (7, _, Some(group)) => {
                let other = self.groups.keys().copied().find(|other| *other != group);
                self.groups.get_mut(&group).unwrap().extend(other.map(|other| format!("g{other}")));
            }
            _ => {}
        }
    }

    /// All of it in pages; without somebody, if the list is to lack one.
    fn pages(&self, dice: &mut Dice, without: Option<u64>, proof: &Proof) -> Vec<Page> {
        let entry = |(key, (name, active)): (&u64, &(String, bool))| Entry {
            key: format!("u{key}"),
            body: json!({"userName": name, "active": active}),
        };
        let users: Vec<Entry> = self.users.iter().filter(|(key, _)| Some(**key) != without).map(entry).collect();
        let mut pages: Vec<Page> = users
            .chunks(1 + usize::try_from(dice.roll(4)).unwrap())
            .map(|part| Page::Users(part.to_vec()))
            .collect();
        pages.push(Page::UsersEnd(proof.clone()));
        let groups: Vec<(u64, &BTreeSet<String>)> = self.groups.iter().map(|(key, members)| (*key, members)).collect();
        for part in groups.chunks(1 + usize::try_from(dice.roll(3)).unwrap()) {
            pages.push(Page::Groups(
                part.iter()
                    .map(|(key, _)| group(&format!("g{key}"), &format!("group{key}")))
                    .collect(),
            ));
            let lists = part.iter().map(|(key, members)| {
                let keys: Vec<&str> = members.iter().map(String::as_str).collect();
                whole(&format!("g{key}"), &keys, true)
            });
            pages.push(Page::Members(lists.collect()));
        }
        pages.push(Page::GroupsEnd(Proof::Complete));
        pages
    }

    fn check(&self, world: &World, seed: u64) {
        let users = self.users.values().map(|(name, _)| name.clone()).collect();
        let groups: BTreeSet<String> = self.groups.keys().map(|key| format!("group{key}")).collect();
        assert_eq!((world.names(Kind::User), world.names(Kind::Group)), (users, groups), "seed {seed}");
        assert_eq!(
            world.look(|source| source.active_count()),
            self.users.values().filter(|(_, active)| *active).count() as u64
        );
        for (key, members) in &self.groups {
            let names = members.iter().map(|member| match member.split_at(1) {
                ("u", key) => self.users[&key.parse().unwrap()].0.clone(),
                (_, key) => format!("group{key}"),
            });
            assert_eq!(world.members(&format!("group{key}")), names.collect(), "seed {seed}, group{key}");
        }
    }
}

#[tokio::test]
async fn any_history_upstream() {
    for seed in 0..60 {
        let mut dice = Dice(seed);
        let (mut world, mut upstream) = (World::new().await, Upstream::default());
        for _ in 0..8 {
            (0..dice.roll(12)).for_each(|_| upstream.change(&mut dice));
            let before = |world: &World| {
                (
                    world.ids(Kind::User),
                    world.look(|source| source.of_kind(Kind::Group).iter().map(|n| source.members(n).len()).sum::<u64>()),
                )
            };
            if dice.roll(3) == 0 && !upstream.users.is_empty() && !upstream.groups.is_empty() {
                // one whole pass, so that all there is upstream is here, and then one that lacks somebody, or breaks off
                let pages = upstream.pages(&mut dice, None, &Proof::Complete);
                world.pass(pages).await;
                let known = before(&world);
                let lacks = upstream
                    .users
                    .keys()
                    .copied()
                    .nth(usize::try_from(dice.roll(upstream.users.len() as u64)).unwrap());
                let mut pages = upstream.pages(&mut dice, lacks, &Proof::Broken("short".to_owned()));
                if dice.roll(2) == 0 {
                    pages.truncate(usize::try_from(dice.roll(pages.len() as u64)).unwrap());
                }
                assert!(world.pass(pages).await.is_some());
                assert_eq!(before(&world), known, "seed {seed}: somebody lost something");
            }
            let pages = upstream.pages(&mut dice, None, &Proof::Complete);
            world.pass(pages).await;
            // of a list without anybody the first is not believed
            if upstream.users.is_empty() || upstream.groups.is_empty() {
                let pages = upstream.pages(&mut dice, None, &Proof::Complete);
                world.pass(pages).await;
            }
            upstream.check(&world, seed);
        }
    }
}
