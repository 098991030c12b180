//! What the tests of faults share: every version of our bindings as a watch saw it, both journals' records, users by the thousand, the Lease. No test lives here.

#![allow(dead_code, reason = "a fixture: not every test needs all of it")]

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::StreamExt;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::api::{ListParams, WatchEvent, WatchParams};
use kube::{Api, Client, ResourceExt};
use rolecall::directory::{Event, Kind};
use rolecall::journal::store::Kubernetes;
use rolecall::journal::{Journal, Options, Stamp, State, Verdict, load};
use serde_json::{Value, json};
use tokio::sync::RwLock;
use tokio::task::AbortHandle;
use uuid::Uuid;

use crate::system::{System, until};

/// A test that takes both processors for long has it for itself; those that say what happens a second after something share it.
pub static MACHINE: RwLock<()> = RwLock::const_new(());

/// One version of a binding.
#[derive(Clone, Debug)]
pub struct Version {
    pub at: Instant,
    pub namespace: String,
    pub name: String,
    pub uid: String,
    pub role: String,
    pub subjects: BTreeSet<String>,
    pub op: Option<String>,
    pub term: Option<String>,
    pub mapping: Option<String>,
    pub deleted: bool,
}

impl Version {
    fn new(binding: &RoleBinding, deleted: bool) -> Self {
        let note = |key: &str| binding.annotations().get(key).cloned();
        Self {
            at: Instant::now(),
            namespace: binding.namespace().unwrap_or_default(),
            name: binding.name_any(),
            uid: binding.uid().unwrap_or_default(),
            role: binding.role_ref.name.clone(),
            subjects: binding.subjects.iter().flatten().map(|s| s.name.clone()).collect(),
            op: note("rolecall.dev/op"),
            term: note("rolecall.dev/term"),
            mapping: note("rolecall.dev/mapping"),
            deleted,
        }
    }

    /// Whether it gives this user anything.
    pub fn holds(&self, user: &str) -> bool {
        !self.deleted && self.subjects.contains(user)
    }
}

/// Every version of the bindings of one class, since it began.
pub struct Versions {
    seen: Arc<Mutex<Vec<Version>>>,
    task: AbortHandle,
}

impl Versions {
    /// Begins with what is there.
    pub async fn of(system: &System<'_>) -> Self {
        let api: Api<RoleBinding> = Api::all(system.admin.clone());
        let labels = format!("rolecall.dev/class={}", system.installed.class);
        let list = api.list(&ListParams::default().labels(&labels)).await.expect("a list");
        let seen: Arc<Mutex<Vec<Version>>> = Arc::new(Mutex::new(list.items.iter().map(|b| Version::new(b, false)).collect()));
        let mut version = list.metadata.resource_version.unwrap_or_default();
        let into = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            let params = WatchParams::default().labels(&labels);
            while let Ok(events) = api.watch(&params, &version).await {
                let mut events = std::pin::pin!(events);
                while let Some(Ok(event)) = events.next().await {
                    let (binding, deleted) = match &event {
                        WatchEvent::Added(binding) | WatchEvent::Modified(binding) => (binding, false),
                        WatchEvent::Deleted(binding) => (binding, true),
                        WatchEvent::Bookmark(_) | WatchEvent::Error(_) => continue,
                    };
                    version = binding.resource_version().unwrap_or_default();
                    into.lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .push(Version::new(binding, deleted));
                }
            }
        });
        Self {
            seen,
            task: task.abort_handle(),
        }
    }

    /// All of them, in order.
    pub fn seen(&self) -> Vec<Version> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Those since a moment.
    pub fn since(&self, at: Instant) -> Vec<Version> {
        self.seen().into_iter().filter(|v| v.at >= at).collect()
    }
}

impl Drop for Versions {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The bindings of the installation's class, as a list shows them now.
pub async fn bindings(system: &System<'_>) -> Vec<Version> {
    let api: Api<RoleBinding> = Api::all(system.admin.clone());
    let labels = format!("rolecall.dev/class={}", system.installed.class);
    let list = api.list(&ListParams::default().labels(&labels)).await.expect("a list");
    list.items.iter().map(|b| Version::new(b, false)).collect()
}

/// In how many of these namespaces the user may not list pods, by the API server's answer and by all bindings of ours, for so long.
pub async fn denied_everywhere(system: &System<'_>, user: &str, places: &[String], lasts: Duration) -> usize {
    let mut allowed = BTreeSet::new();
    let begun = Instant::now();
    while begun.elapsed() < lasts {
        for place in places {
            if system.may(user, "list", place).await {
                allowed.insert(place.clone());
            }
        }
        allowed.extend(bindings(system).await.into_iter().filter(|b| b.holds(user)).map(|b| b.namespace));
    }
    places.iter().filter(|p| !allowed.contains(*p)).count()
}

/// Waits until the user may list pods in every one of these namespaces, or in none.
#[track_caller]
pub fn until_everywhere<'a>(system: &'a System<'_>, user: &'a str, places: &'a [String], allowed: bool) -> impl Future<Output = ()> + 'a {
    let at = std::panic::Location::caller();
    async move {
        let all = || async {
            for place in places {
                if system.may(user, "list", place).await != allowed {
                    return false;
                }
            }
            true
        };
        let seen = until(Duration::from_secs(20), all).await;
        assert!(
            seen.is_ok(),
            "{at}: {user} never became allowed={allowed} everywhere\n{}",
            system.explain()
        );
    }
}

/// The Lease's holder and its number of transitions.
pub async fn lease(system: &System<'_>) -> (String, i32) {
    let api: Api<Lease> = Api::namespaced(system.admin.clone(), &system.installed.namespace);
    let spec = api
        .get_opt(&system.installed.lease())
        .await
        .expect("an answer")
        .and_then(|l| l.spec)
        .unwrap_or_default();
    (spec.holder_identity.unwrap_or_default(), spec.lease_transitions.unwrap_or(-1))
}

/// Waits until somebody leads by a term that is not this one; the new one.
#[track_caller]
pub fn until_other_term<'a>(system: &'a System<'_>, before: &'a (String, i32)) -> impl Future<Output = (String, i32)> + 'a {
    let at = std::panic::Location::caller();
    async move {
        let other = until(Duration::from_secs(20), || async {
            let now = lease(system).await;
            !now.0.is_empty() && now != *before
        });
        assert!(other.await.is_ok(), "{at}: nobody else leads\n{}", system.explain());
        lease(system).await
    }
}

/// Waits until somebody leads.
pub async fn until_led(system: &System<'_>) -> (String, i32) {
    until_other_term(system, &(String::new(), -1)).await
}

/// One event of a journal: the batch's index, its place in the batch, and the event as JSON.
#[derive(Clone, Debug)]
pub struct Record {
    pub index: i64,
    pub ordinal: u32,
    pub writer: String,
    pub event: Value,
}

/// All events of a journal: the chain is checked on the way.
#[derive(Clone, Debug, Default)]
struct Records(imbl::Vector<Record>);

impl State for Records {
    type Event = Value;

    fn apply(&mut self, stamp: &Stamp, event: &Value) {
        self.0.push_back(Record {
            index: stamp.index,
            ordinal: stamp.ordinal,
            writer: stamp.writer.to_string(),
            event: event.clone(),
        });
    }
}

/// Reads a whole journal (`directory` or `access`) of an installation.
pub async fn records(client: &Client, namespace: &str, journal: &str) -> Vec<Record> {
    let store = Arc::new(Kubernetes::new(client.clone(), namespace, journal));
    let snapshot = load(store, Records::default(), Vec::new())
        .await
        .unwrap_or_else(|e| panic!("the journal {journal}: {e}"));
    snapshot.state.0.iter().cloned().collect()
}

/// Takes the place of the directory where only its events matter.
#[derive(Clone, Default)]
struct Blind;

impl State for Blind {
    type Event = Event;

    fn apply(&mut self, _: &Stamp, _: &Event) {}
}

/// Writes users straight into the directory journal, as a gateway would, into a source that has none yet; their ids, `user-<n>@corp.example`.
pub async fn seed(system: &System<'_>, source: &str, count: u32) -> Vec<String> {
    seed_groups(system, source, "", 0, count).await.0
}

/// The same with groups: `<prefix><i>` has the `size`-th part of the users, in their order. The ids of both.
pub async fn seed_groups(system: &System<'_>, source: &str, prefix: &str, groups: u32, users: u32) -> (Vec<String>, Vec<String>) {
    let uid = ["get", "scimsource", source, "-o", "jsonpath={.metadata.uid}"];
    let uid = system.cluster.kubectl(&uid).expect_ok();
    let client = system.installed.gateway(system.cluster).await;
    let store = Arc::new(Kubernetes::new(client, &system.installed.namespace, "directory"));
    let mut options = Options::new("gateway/seed");
    options.deadline = Duration::from_secs(60);
    let journal = Journal::open(store, Blind, options).await.expect("the directory journal");
    let ids: Vec<Uuid> = (0..users + groups).map(|_| Uuid::new_v4()).collect();
    let each = users.checked_div(groups).unwrap_or_default();
    let created = |(n, id): (u32, &Uuid)| {
        let (kind, attributes, members) = match n.checked_sub(users) {
            None => {
                let user = json!({"schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "userName": format!("user-{n}@corp.example"), "active": true});
                (Kind::User, user, Vec::new())
            }
            Some(i) => {
                let group = json!({"schemas": ["urn:ietf:params:scim:schemas:core:2.0:Group"], "displayName": format!("{prefix}{i}")});
                (Kind::Group, group, (i * each..(i + 1) * each).collect())
            }
        };
        Event::Created {
            source: source.to_owned(),
            kind,
            id: *id,
            n,
            attributes: attributes.as_object().cloned().unwrap_or_default(),
            members,
            request: String::new(),
        }
    };
    let created: Vec<Event> = (0..).zip(&ids).map(created).collect();
    for chunk in created.chunks(20_000) {
        let mut events = vec![Event::SourceSeen {
            source: source.to_owned(),
            uid: uid.clone(),
        }];
        events.extend(chunk.iter().cloned());
        journal
            .submit(move |_: &Blind, _: &Stamp| Verdict::Append(events.clone(), ()))
            .await
            .expect("durable");
    }
    let mut ids: Vec<String> = ids.iter().map(Uuid::to_string).collect();
    let groups = ids.split_off(users as usize);
    (ids, groups)
}
