//! Writes statuses and Events. What they say is decided in `access`; here is only: not without a change, not too often, one in flight an object.

use std::collections::HashMap;
use std::time::Duration;

use http::Request;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

/// Which object.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Target {
    /// `scimsources`, `rolemappings` or `clusterrolemappings`.
    pub plural: &'static str,
    /// The namespace; empty for cluster-scoped kinds.
    pub namespace: String,
    /// The name.
    pub name: String,
}

impl Target {
    fn path(&self) -> String {
        let group = format!("/apis/{}/{}", crate::api::GROUP, crate::api::VERSION);
        match self.namespace.as_str() {
            "" => format!("{group}/{}/{}/status", self.plural, self.name),
            namespace => format!("{group}/namespaces/{namespace}/{}/{}/status", self.plural, self.name),
        }
    }
}

/// One status to write, if it differs from what is there.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The object's UID: another object of that name has another status.
    pub uid: String,
    /// The whole status.
    pub status: Value,
}

/// Of the time that passes, at most this part goes into the comparisons of one status.
const REST: u32 = 20;

/// Remembers what was written when, so that a busy directory does not become a storm of status writes.
pub struct Pacer {
    every: Duration,
    last: HashMap<Target, Instant>,
    flying: HashMap<Target, Value>,
    rested: HashMap<Target, Instant>,
}

impl Pacer {
    /// Counts alone are written at most once in `every`; a change of a condition at once.
    pub fn new(every: Duration) -> Self {
        Self {
            every,
            last: HashMap::new(),
            flying: HashMap::new(),
            rested: HashMap::new(),
        }
    }

    /// Whether to write now, given what the object shows; `None`: not now, or nothing differs. `Some(later)` in `Err` says when to look again.
    pub fn due(&self, target: &Target, shown: &Value, wanted: &Value, now: Instant) -> Result<bool, Instant> {
        if shown == wanted {
            return Ok(false);
        }
        if self.flying.contains_key(target) {
            return Err(now + Duration::from_millis(50));
        }
        let next = self.last.get(target).map(|at| *at + self.every);
        match next {
            Some(next) if next > now && conditions_of(shown) == conditions_of(wanted) => Err(next),
            _ => Ok(true),
        }
    }

    /// A comparison ended that took so long: the next of that object has to wait [`REST`] times as long.
    pub fn compared(&mut self, target: &Target, now: Instant, took: Duration) {
        self.rested.insert(target.clone(), now + took * REST);
    }

    /// From when on it may be compared again.
    pub fn rested(&self, target: &Target) -> Option<Instant> {
        self.rested.get(target).copied()
    }

    /// A write begins.
    pub fn begun(&mut self, target: Target, status: Value) {
        self.last.insert(target.clone(), Instant::now());
        self.flying.insert(target, status);
    }

    /// A write ended, well or not.
    pub fn ended(&mut self, target: &Target) {
        self.flying.remove(target);
    }
}

fn conditions_of(status: &Value) -> Vec<(String, String, String)> {
    let text = |c: &Value, field: &str| c[field].as_str().unwrap_or_default().to_owned();
    status["conditions"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|c| (text(c, "type"), text(c, "status"), text(c, "reason")))
        .collect()
}

/// Writes one status, by a merge patch that names the UID; the object as stored. Every field of the status is given, so nothing old stays.
pub async fn write(client: &Client, target: &Target, wanted: &Wanted, shown: &Value) -> Result<Value, String> {
    let mut status = wanted.status.clone();
    // A merge patch removes a field only when it is told to.
    for key in shown.as_object().into_iter().flatten().map(|(key, _)| key) {
        if status.get(key).is_none() {
            status[key] = Value::Null;
        }
    }
    let body = json!({"metadata": {"uid": wanted.uid}, "status": status});
    let request = Request::patch(target.path())
        .header(http::header::CONTENT_TYPE, "application/merge-patch+json")
        .body(serde_json::to_vec(&body).map_err(|e| e.to_string())?)
        .map_err(|e| e.to_string())?;
    match timeout(Duration::from_secs(5), client.request::<Value>(request)).await {
        Ok(Ok(object)) => Ok(object),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("no answer in time".to_owned()),
    }
}

/// What is worth an Event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// PascalCase.
    pub reason: String,
    /// For people.
    pub note: String,
    /// A human must act.
    pub warning: bool,
}

/// What changed between two lists of conditions and is worth an Event.
pub fn worth_telling(old: &[Condition], new: &[Condition]) -> Vec<Told> {
    new.iter()
        .filter(|condition| {
            let before = old.iter().find(|c| c.type_ == condition.type_);
            before.is_none_or(|b| b.status != condition.status || b.reason != condition.reason)
        })
        // `Stalled` says what `Ready` says.
        .filter(|condition| condition.type_ != "Reconciling" && condition.type_ != "Stalled" && condition.status != "Unknown")
        .map(|condition| Told {
            reason: condition.reason.clone(),
            note: condition.message.clone(),
            warning: !(condition.type_ == "Ready" && condition.status == "True"),
        })
        .collect()
}

/// Publishes one Event about an object; failures are only logged, an Event is never worth more.
pub async fn tell(recorder: &Recorder, reference: &k8s_openapi::api::core::v1::ObjectReference, action: &str, told: Told) {
    let Told { reason, mut note, warning } = told;
    if note.len() > 1000 {
        let mut end = 1000;
        while !note.is_char_boundary(end) {
            end -= 1;
        }
        note.truncate(end);
    }
    let event = Event {
        type_: if warning { EventType::Warning } else { EventType::Normal },
        reason,
        note: Some(note),
        action: action.to_owned(),
        secondary: None,
    };
    if let Err(error) = recorder.publish(&event, reference).await {
        tracing::debug!(%error, "cannot publish an event");
    }
}

/// The one recorder of a controller.
pub fn recorder(client: Client, instance: &str) -> Recorder {
    Recorder::new(
        client,
        Reporter {
            controller: "rolecall.dev/controller".to_owned(),
            instance: Some(instance.to_owned()),
        },
    )
}
