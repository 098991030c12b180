//! Looks on through the API server all along: every version of our bindings, and whether each change was justified by what the provider had asked.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::StreamExt;
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::api::ListParams;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{Config, Event, watcher};
use kube::{Api, ResourceExt};
use tokio::task::AbortHandle;

use crate::load::{Promised, User};
use crate::release::Release;
use crate::setup::Team;

/// The bindings of the installation that has no class.
const OURS: &str = "app.kubernetes.io/managed-by=rolecall,rolecall.dev/class=";
/// A write that was under way when a revocation was acknowledged may still be carried out; the controller's deadline for one.
const IN_FLIGHT: Duration = Duration::from_secs(5);

/// Source, namespace and role of a team.
type Place = (&'static str, &'static str, &'static str);

/// A running watch.
pub struct Watcher {
    seen: Arc<Mutex<Seen>>,
    task: AbortHandle,
}

/// Somebody got or lost access.
struct Change {
    at: Instant,
    who: String,
    granted: bool,
    /// Seen when the watch began anew: it happened some time before.
    late: bool,
}

#[derive(Default)]
struct Seen {
    bindings: BTreeMap<String, BTreeSet<String>>,
    anew: BTreeMap<String, BTreeSet<String>>,
    changes: Vec<Change>,
    odd: Vec<String>,
}

impl Watcher {
    /// Begins with what is there.
    pub fn begin(release: &Release<'_>, teams: &[&Team]) -> Self {
        let api: Api<RoleBinding> = Api::all(release.client.clone());
        let seen = Arc::new(Mutex::new(Seen::default()));
        let into = Arc::clone(&seen);
        let teams: Vec<Place> = teams.iter().map(|team| (team.source, team.namespace, team.role)).collect();
        let task = tokio::spawn(async move {
            let events = watcher(api, Config::default().labels(OURS)).default_backoff();
            let mut events = std::pin::pin!(events);
            while let Some(event) = events.next().await {
                let Ok(event) = event else { continue }; // the API server is away; it begins anew
                into.lock().unwrap_or_else(PoisonError::into_inner).take(event, &teams);
            }
        });
        Self {
            seen,
            task: task.abort_handle(),
        }
    }

    /// How many people it saw getting access, and how many losing it.
    pub fn counts(&self) -> (usize, usize) {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let granted = seen.changes.iter().filter(|change| change.granted).count();
        (granted, seen.changes.len() - granted)
    }

    /// What no request of the provider justifies.
    pub fn wrong(&self, promised: &[&Promised]) -> Vec<String> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let users: BTreeMap<String, &User> = promised
            .iter()
            .flat_map(|one| &one.users)
            .map(|user| (user.name.clone(), user))
            .collect();
        let judged = seen.changes.iter().filter_map(|change| {
            let who = &change.who;
            let Some(user) = users.get(who) else {
                return Some(format!("{who} is nobody's member"));
            };
            match (change.granted, user.revoked) {
                (true, _) if change.at < user.asked => Some(format!("{who} was granted before anybody asked")),
                (true, Some((_, acknowledged))) if !change.late && change.at > acknowledged + IN_FLIGHT => {
                    Some(format!("{who} was granted {:?} after the revocation", change.at - acknowledged))
                }
                (false, None) => Some(format!("{who} lost access, and is entitled")),
                (false, Some((asked, _))) if change.at < asked => Some(format!("{who} lost access before anybody asked")),
                _ => None,
            }
        });
        seen.odd.iter().cloned().chain(judged).collect()
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Seen {
    fn take(&mut self, event: Event<RoleBinding>, teams: &[Place]) {
        match event {
            Event::Init => self.anew.clear(),
            Event::InitApply(binding) => {
                let subjects = self.judge(&binding, teams);
                self.anew.insert(key(&binding), subjects);
            }
            Event::InitDone => {
                let anew = std::mem::take(&mut self.anew);
                self.become_now(anew, true);
            }
            Event::Apply(binding) => {
                let mut now = self.bindings.clone();
                now.insert(key(&binding), self.judge(&binding, teams));
                self.become_now(now, false);
            }
            Event::Delete(binding) => {
                let mut now = self.bindings.clone();
                now.remove(&key(&binding));
                self.become_now(now, false);
            }
        }
    }

    /// The subjects; what is wrong with the binding itself is noted: a place or a role that is nobody's, or people of another source.
    fn judge(&mut self, binding: &RoleBinding, teams: &[Place]) -> BTreeSet<String> {
        let namespace = binding.namespace().unwrap_or_default();
        let team = teams
            .iter()
            .find(|(_, place, role)| *place == namespace && *role == binding.role_ref.name);
        let own = team.map(|(source, ..)| format!("{source}:"));
        if own.is_none() {
            self.odd.push(format!("{} grants {}", key(binding), binding.role_ref.name));
        }
        let other = names(binding).find(|name| own.as_ref().is_some_and(|own| !name.starts_with(own)));
        self.odd.extend(other.map(|name| format!("{} names {name}", key(binding))));
        names(binding).collect()
    }

    /// Somebody has access who is in any of the bindings: a shard that splits takes nothing from anybody.
    fn become_now(&mut self, now: BTreeMap<String, BTreeSet<String>>, late: bool) {
        let everybody = |bindings: &BTreeMap<String, BTreeSet<String>>| bindings.values().flatten().cloned().collect::<BTreeSet<_>>();
        let (before, after) = (everybody(&self.bindings), everybody(&now));
        let at = Instant::now();
        let change = |granted: bool| {
            move |who: &String| Change {
                at,
                who: who.clone(),
                granted,
                late,
            }
        };
        self.changes.extend(after.difference(&before).map(change(true)));
        self.changes.extend(before.difference(&after).map(change(false)));
        self.bindings = now;
    }
}

/// Its namespace and name.
pub fn key(binding: &RoleBinding) -> String {
    format!("{}/{}", binding.namespace().unwrap_or_default(), binding.name_any())
}

fn names(binding: &RoleBinding) -> impl Iterator<Item = String> {
    binding.subjects.iter().flatten().map(|subject| subject.name.clone())
}

/// Who has access now.
pub async fn subjects(release: &Release<'_>, team: &Team) -> BTreeSet<String> {
    let api: Api<RoleBinding> = Api::namespaced(release.client.clone(), team.namespace);
    let list = api.list(&ListParams::default().labels(OURS)).await;
    list.into_iter()
        .flatten()
        .flat_map(|binding| names(&binding).collect::<Vec<_>>())
        .collect()
}
