//! An identity provider that pushes at a fixed pace, whatever breaks, and keeps what it was promised. It sends again what was not acknowledged, as
//! providers do.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Interval, interval, sleep};

use crate::provider::{Provider, id};
use crate::setup::{Team, user_name, username};

/// So many things are under way at once.
const LANES: u64 = 16;
/// So long one thing is sent again before the run fails.
const PATIENCE: Duration = Duration::from_secs(120);

/// What is going on.
pub type Phase = Arc<Mutex<&'static str>>;

/// A running load.
pub struct Load {
    stop: Arc<AtomicBool>,
    provider: watch::Sender<Provider>,
    phase: Phase,
    lanes: JoinSet<Promised>,
}

/// What was acknowledged.
#[derive(Default)]
pub struct Promised {
    pub users: Vec<User>,
    /// How long each acknowledged request took, with what was sent before it in vain.
    pub times: Vec<Duration>,
    /// Answers and errors after which it was sent again, by what was going on.
    pub failures: BTreeMap<(&'static str, String), usize>,
}

/// One user, and when the provider asked and was answered.
pub struct User {
    /// The name by which the API server knows the user.
    pub name: String,
    pub id: String,
    /// When the provider first asked for the membership.
    pub asked: Instant,
    /// When the provider first asked for the end of the access, and when that was acknowledged.
    pub revoked: Option<(Instant, Instant)>,
}

impl Promised {
    /// Who must have access.
    pub fn members(&self) -> impl Iterator<Item = &User> {
        self.users.iter().filter(|user| user.revoked.is_none())
    }
}

impl Load {
    /// Begins: each user is created and becomes a member, and every other one is disabled again.
    pub fn begin(provider: &Provider, team: &Team, rate: u64, phase: &Phase) -> Self {
        let (sender, receiver) = watch::channel(provider.clone());
        let stop = Arc::new(AtomicBool::new(false));
        let mut lanes = JoinSet::new();
        for number in 0..LANES {
            let lane = Lane {
                provider: receiver.clone(),
                phase: Arc::clone(phase),
                source: team.source,
                group: format!("/Groups/{}", team.group),
                stop: Arc::clone(&stop),
                pace: interval(Duration::from_micros(1_000_000 * LANES / rate.max(1))),
                promised: Promised::default(),
            };
            lanes.spawn(lane.run(number));
        }
        Self {
            stop,
            lanes,
            provider: sender,
            phase: Arc::clone(phase),
        }
    }

    /// How requests are sent.
    pub fn provider(&self) -> Provider {
        self.provider.borrow().clone()
    }

    /// From now on requests are sent so.
    pub fn switch(&self, provider: Provider) {
        self.provider.send_replace(provider);
    }

    /// Says what is going on from now on.
    pub fn phase(&self, what: &'static str) {
        *self.phase.lock().unwrap_or_else(PoisonError::into_inner) = what;
    }

    /// Begins nothing new, and waits until all is acknowledged that was begun.
    pub async fn end(self) -> Promised {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Promised::default();
        for lane in self.lanes.join_all().await {
            all.users.extend(lane.users);
            all.times.extend(lane.times);
            for (why, n) in lane.failures {
                *all.failures.entry(why).or_default() += n;
            }
        }
        all
    }
}

/// One thing after another. Who was held up catches up: the pace is what a provider's queue would have.
struct Lane {
    provider: watch::Receiver<Provider>,
    phase: Phase,
    source: &'static str,
    group: String,
    stop: Arc<AtomicBool>,
    pace: Interval,
    promised: Promised,
}

impl Lane {
    async fn run(mut self, mut number: u64) -> Promised {
        while !self.stop.load(Ordering::Relaxed) {
            let id = self.create(number).await;
            let asked = Instant::now();
            let group = self.group.clone();
            self.patch(&group, json!({"op": "add", "path": "members", "value": [{"value": id}]}))
                .await;
            let mut user = User {
                name: username(self.source, &person(number)),
                id,
                asked,
                revoked: None,
            };
            if number / LANES % 2 == 1 {
                let asked = Instant::now();
                let path = format!("/Users/{}", user.id);
                self.patch(&path, json!({"op": "replace", "path": "active", "value": false})).await;
                user.revoked = Some((asked, Instant::now()));
            }
            self.promised.users.push(user);
            number += LANES;
        }
        self.promised
    }

    /// Creates a user. Where an attempt was carried out that nobody acknowledged, it is there.
    async fn create(&mut self, number: u64) -> String {
        let name = user_name(&person(number));
        let body = json!({"schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "userName": name, "active": true});
        let answer = self.send("POST", "/Users", Some(&body)).await;
        if answer.get("id").is_some() {
            return id(&answer);
        }
        let path = format!("/Users?filter=userName%20eq%20%22{name}%22");
        id(&self.send("GET", &path, None).await["Resources"][0])
    }

    async fn patch(&mut self, path: &str, operation: Value) {
        let body = json!({"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"], "Operations": [operation]});
        self.send("PATCH", path, Some(&body)).await;
    }

    /// Sends it until it is acknowledged; the answer. 409 says that an earlier attempt was carried out.
    async fn send(&mut self, method: &str, path: &str, body: Option<&Value>) -> Value {
        self.pace.tick().await;
        let begun = Instant::now();
        loop {
            let provider = self.provider.borrow().clone();
            let why = match provider.try_send(method, path, body).await {
                Ok((200..=299 | 409, answer)) => {
                    self.promised.times.push(begun.elapsed());
                    return answer;
                }
                Ok((status, _)) => status.to_string(),
                Err(error) if error.is_timeout() => "without an answer in time".to_owned(),
                Err(error) if error.is_connect() => "without a connection".to_owned(),
                Err(_) => "cut off".to_owned(),
            };
            assert!(
                begun.elapsed() < PATIENCE,
                "{method} {path} is not acknowledged after {PATIENCE:?}: {why}"
            );
            let phase = *self.phase.lock().unwrap_or_else(PoisonError::into_inner);
            *self.promised.failures.entry((phase, why)).or_default() += 1;
            sleep(Duration::from_millis(200)).await;
        }
    }
}

/// The same people for each source: only the prefix of the username tells them apart.
fn person(number: u64) -> String {
    format!("person-{number}")
}
