//! Who is to hold what, as the test itself knows it after each change, what that was at any and at every moment of a case, and what of it the
//! versions of our bindings and the access journal break. Written without the product's own code.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::kit::{Record, Version};

/// The mapping by names of groups, with a selector.
pub const NAMED: &str = "faults-named";
/// The mapping by a pattern, with expressions.
pub const TEAMS: &str = "faults-teams";
/// The groups that the mapping by names means.
pub const GROUPS: [&str; 2] = ["faults-core", "faults-ops"];
/// The namespaces; the first [`KEPT`] are never deleted.
pub const PLACES: [&str; 6] = ["faults-a", "faults-b", "faults-c", "faults-d", "faults-e", "faults-f"];
pub const KEPT: usize = 3;
pub const USERS: usize = 30;

/// What somebody holds: mapping, namespace, role, username.
pub type Held = [String; 4];

/// As the API server sees them.
pub fn username(user: usize) -> String {
    format!("oidc:user-{user}@corp.example")
}

/// A group of the directory.
#[derive(Clone, Debug)]
pub struct Group {
    pub id: String,
    pub name: String,
    pub members: BTreeSet<usize>,
}

/// The directory, the specs and the namespaces at one moment.
#[derive(Clone, Debug, Default)]
pub struct Model {
    pub active: Vec<bool>,
    pub groups: Vec<Group>,
    /// The roles of the mapping by names.
    pub roles: BTreeSet<&'static str>,
    /// The namespaces that are there and not going, and whether they have the label.
    pub places: BTreeMap<&'static str, bool>,
}

impl Model {
    /// The people of the mapping by names.
    fn named(&self) -> BTreeSet<usize> {
        let groups = self.groups.iter().filter(|group| GROUPS.contains(&group.name.as_str()));
        groups.flat_map(|group| self.people(group)).collect()
    }

    /// What the names of groups yield: namespace, role and person.
    fn yielded(&self) -> BTreeSet<(String, String, usize)> {
        let mut all = BTreeSet::new();
        for group in &self.groups {
            if let Some((place, role)) = yields(&group.name) {
                all.extend(self.people(group).map(|user| (place.clone(), role.clone(), user)));
            }
        }
        all
    }

    fn people<'a>(&'a self, group: &'a Group) -> impl Iterator<Item = usize> + 'a {
        group.members.iter().copied().filter(move |user| self.active[*user])
    }
}

/// Namespace and role of `faults-<team>-<role>-<n>`.
fn yields(name: &str) -> Option<(String, String)> {
    match name.split('-').collect::<Vec<_>>()[..] {
        ["faults", team, role @ ("view" | "edit"), _] => Some((format!("faults-{team}"), role.to_owned())),
        _ => None,
    }
}

// === moments ===

#[derive(Clone, Debug)]
struct Span<T> {
    any: BTreeSet<T>,
    all: BTreeSet<T>,
}

impl<T: Ord + Clone> Span<T> {
    fn at(now: BTreeSet<T>) -> Self {
        Self {
            any: now.clone(),
            all: now,
        }
    }

    fn see(&mut self, now: BTreeSet<T>) {
        self.all.retain(|one| now.contains(one));
        self.any.extend(now);
    }
}

/// What was so at any, and at every moment of some time. The controller may see directory, specs and namespaces as of different moments, so each has
/// its own.
#[derive(Clone, Debug)]
pub struct Moments {
    named: Span<usize>,
    yielded: Span<(String, String, usize)>,
    roles: Span<&'static str>,
    labelled: Span<&'static str>,
    there: Span<&'static str>,
}

impl Moments {
    /// One moment.
    pub fn at(model: &Model) -> Self {
        let (labelled, there) = places(model);
        Self {
            named: Span::at(model.named()),
            yielded: Span::at(model.yielded()),
            roles: Span::at(model.roles.clone()),
            labelled: Span::at(labelled),
            there: Span::at(there),
        }
    }

    /// One moment more.
    pub fn see(&mut self, model: &Model) {
        let (labelled, there) = places(model);
        self.named.see(model.named());
        self.yielded.see(model.yielded());
        self.roles.see(model.roles.clone());
        self.labelled.see(labelled);
        self.there.see(there);
    }

    /// What somebody was to hold at some moment.
    pub fn ever(&self) -> BTreeSet<Held> {
        let mut all = product(&self.named.any, &self.roles.any, &self.labelled.any);
        all.extend(self.yielded.any.iter().map(of_team));
        all
    }

    /// What somebody was to hold all the time.
    pub fn always(&self) -> BTreeSet<Held> {
        let mut all = product(&self.named.all, &self.roles.all, &self.labelled.all);
        let there = |place: &str| self.there.all.contains(place);
        all.extend(self.yielded.all.iter().filter(|(place, ..)| there(place)).map(of_team));
        all
    }
}

/// The namespaces with the label, and all that are there.
fn places(model: &Model) -> (BTreeSet<&'static str>, BTreeSet<&'static str>) {
    let labelled = model.places.iter().filter(|(_, labelled)| **labelled);
    (labelled.map(|(place, _)| *place).collect(), model.places.keys().copied().collect())
}

fn product(people: &BTreeSet<usize>, roles: &BTreeSet<&'static str>, places: &BTreeSet<&'static str>) -> BTreeSet<Held> {
    let mut all = BTreeSet::new();
    for place in places {
        for role in roles {
            all.extend(people.iter().map(|user| held(NAMED, place, role, &username(*user))));
        }
    }
    all
}

fn of_team((place, role, user): &(String, String, usize)) -> Held {
    held(TEAMS, place, role, &username(*user))
}

fn held(mapping: &str, place: &str, role: &str, user: &str) -> Held {
    [
        format!("ClusterRoleMapping/{mapping}"),
        place.to_owned(),
        role.to_owned(),
        user.to_owned(),
    ]
}

// === bindings ===

/// Whether it is one of ours, and not one that only has our labels.
pub fn is_ours(version: &Version) -> bool {
    version.name.starts_with("rolecall-")
}

/// Mapping, namespace and role of a binding.
pub fn grant_of(version: &Version) -> [String; 3] {
    [
        version.mapping.clone().unwrap_or_default(),
        version.namespace.clone(),
        version.role.clone(),
    ]
}

/// What a binding gives.
pub fn given(version: &Version) -> BTreeSet<Held> {
    let [mapping, namespace, role] = grant_of(version);
    let users = version.subjects.iter().filter(|_| !version.deleted);
    users
        .map(|user| [mapping.clone(), namespace.clone(), role.clone(), user.clone()])
        .collect()
}

/// Who is in which binding, by namespace and name, after all of these versions; those without anybody are left out.
pub fn latest(versions: &[Version]) -> BTreeMap<(String, String), BTreeSet<String>> {
    let mut now = BTreeMap::new();
    for version in versions.iter().filter(|version| is_ours(version)) {
        let at = (version.namespace.clone(), version.name.clone());
        if version.deleted || version.subjects.is_empty() {
            now.remove(&at);
        } else {
            now.insert(at, version.subjects.clone());
        }
    }
    now
}

/// Who holds each binding by the journal: by namespace and name.
pub type Folded = BTreeMap<(String, String), BTreeSet<String>>;

/// The same as the access journal says it, and the namespace of each intent that has no outcome.
pub fn recorded(access: &[Record]) -> (Folded, Vec<String>) {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let names = |list: &Value| -> BTreeSet<String> {
        let name = |one: &Value| one.as_str().or_else(|| one["username"].as_str()).unwrap_or_default().to_owned();
        list.as_array().into_iter().flatten().map(name).collect()
    };
    let mut held: BTreeMap<(String, String), BTreeSet<String>> = BTreeMap::new();
    let mut open = BTreeMap::new();
    for record in access {
        let event = &record.event;
        let at = (text(&event["binding"]["namespace"]), text(&event["binding"]["name"]));
        match event["e"].as_str() {
            Some("intent") => drop(open.insert((record.index, i64::from(record.ordinal)), (at, names(&event["adds"])))),
            Some("outcome") => {
                let number = |n: usize| event["intent"][n].as_i64().unwrap_or(-1);
                let intent = open.remove(&(number(0), number(1)));
                if let Some((at, adds)) = intent.filter(|_| event["result"]["done"].is_object()) {
                    held.entry(at).or_default().extend(adds);
                }
            }
            Some("removed") if event["whole"] == true => drop(held.remove(&at)),
            Some("removed") => {
                let gone = names(&event["usernames"]);
                held.entry(at).or_default().retain(|user| !gone.contains(user));
            }
            _ => {}
        }
    }
    held.retain(|_, users| !users.is_empty());
    (held, open.into_values().map(|((namespace, _), _)| namespace).collect())
}

/// What a case itself did beside directory and specs.
#[derive(Clone, Debug, Default)]
pub struct Meddled {
    /// What it wrote into bindings of ours.
    pub strangers: BTreeSet<Held>,
    /// Of which bindings it deleted some: mapping, namespace, role.
    pub deleted: BTreeSet<[String; 3]>,
    /// It withdrew `bind`: what Kubernetes does not let shrink is deleted, and what may stay comes back.
    pub unbound: bool,
}

/// The invariants that these versions break; the first `stood` of them are those that stood when the case began.
pub fn broken(seen: &[Version], stood: usize, going: &BTreeSet<String>, moments: &Moments, meddled: &Meddled) -> BTreeSet<String> {
    let mut broken = BTreeSet::new();
    let mut ever = moments.ever();
    ever.extend(meddled.strangers.iter().cloned());
    // Of a namespace that is going nothing is taken away any more.
    let left = seen.iter().take(stood).filter(|version| going.contains(&version.namespace));
    ever.extend(left.flat_map(given));
    let mut always: BTreeMap<[String; 3], BTreeSet<String>> = BTreeMap::new();
    for [mapping, namespace, role, user] in moments.always() {
        let grant = [mapping, namespace, role];
        if !meddled.unbound && !meddled.deleted.contains(&grant) {
            always.entry(grant).or_default().insert(user);
        }
    }
    let mut now: BTreeMap<(&str, &str), &Version> = BTreeMap::new();
    for (n, version) in seen.iter().enumerate() {
        for gave in given(version).into_iter().filter(|_| is_ours(version)) {
            if gave[3].starts_with("system:") {
                broken.insert(format!("a subject that Rolecall must not name: {gave:?}, record {:?}", version.op));
            }
            if !ever.contains(&gave) {
                broken.insert(format!("granted, and no moment wanted it: {gave:?}, record {:?}", version.op));
            }
        }
        if version.deleted {
            now.remove(&(version.namespace.as_str(), version.name.as_str()));
        } else {
            now.insert((version.namespace.as_str(), version.name.as_str()), version);
        }
        if n + 1 < stood {
            continue;
        }
        let grant = grant_of(version);
        for (of, users) in always.iter().filter(|(of, _)| n + 1 == stood || **of == grant) {
            let standing = now.values().filter(|version| is_ours(version) && grant_of(version) == *of);
            let standing: BTreeSet<&String> = standing.flat_map(|version| &version.subjects).collect();
            for user in users.iter().filter(|user| !standing.contains(user)) {
                broken.insert(format!("wanted all the time, and missing for a while: {user} of {of:?}"));
            }
        }
    }
    broken
}
