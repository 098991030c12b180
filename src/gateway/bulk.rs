//! What a bulk request means for the directory as it is: one judgement, so that it is durable at once, or not at all where nothing of it may be. Pure.
//!
//! Each operation is judged by the directory as the operations before it leave it. A reference to a resource that comes first is its id, given
//! before. Where references go in a circle (groups that are members of each other), the circle's members are added as soon as all are there; if one
//! of them cannot be made, those that refer to it are refused too (409), and the whole is judged again without them.

use std::collections::HashSet;

use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::judge::{self, Asked, Done, Ground, Step, Write};
use super::members::Named;
use super::version::Condition;
use crate::directory::{Directory, Event, Source};
use crate::scim::bulk::{Bulk, Operation, Plan, What};
use crate::scim::patch::Active;
use crate::scim::{ResourceKind, ScimError, Seen, patch, resource};

/// How often it is judged again because a circle cannot be closed.
const MAX_ROUNDS: usize = 1;

/// A bulk request, read as far as it can be without the directory.
#[derive(Clone, Debug)]
pub(super) struct Job {
    fail_on_errors: Option<u64>,
    plan: Plan,
    steps: Vec<Result<Step, ScimError>>,
    /// By operation: the members that are added when all are there.
    pending: Vec<Vec<String>>,
}

/// What became of an operation; none: it was not tried any more.
pub(super) type Outcome = Option<Result<Done, ScimError>>;

/// What is answered besides the outcome.
#[derive(Clone, Debug)]
pub(super) struct Echo {
    method: String,
    bulk_id: Option<String>,
    /// The resource, unless it is one that could not be made.
    place: Option<(ResourceKind, String)>,
}

impl Job {
    /// Reads the operations. `source` is what members are looked up in already; `seen` notes what the schema or the RFC does not have.
    pub(super) fn read(mut bulk: Bulk, source: Option<&Source>, seen: &Seen) -> (Self, Vec<Echo>) {
        let id = |operation: &Operation| matches!(operation.what, Ok(What::Create(..))).then(|| Uuid::new_v4().to_string());
        let ids: Vec<Option<String>> = bulk.operations.iter().map(id).collect();
        let plan = bulk.resolve(&ids);
        let mut job = Self {
            fail_on_errors: bulk.fail_on_errors,
            steps: Vec::with_capacity(ids.len()),
            pending: Vec::with_capacity(ids.len()),
            plan,
        };
        let mut echoes = Vec::with_capacity(ids.len());
        for (i, operation) in bulk.operations.into_iter().enumerate() {
            let place = match &operation.what {
                Ok(What::Create(kind, _)) => ids[i].clone().map(|id| (*kind, id)),
                Ok(What::Replace(kind, id, _) | What::Patch(kind, id, _) | What::Delete(kind, id)) => Some((*kind, id.clone())),
                Err(_) => None,
            };
            echoes.push(Echo {
                method: operation.method,
                bulk_id: operation.bulk_id,
                place,
            });
            let later: HashSet<&str> = job.plan.refers[i].circular.iter().filter_map(|i| ids[*i].as_deref()).collect();
            let condition = operation.version.as_deref().map(Condition::version).unwrap_or_default();
            let read = operation
                .what
                .and_then(|what| step(what, ids[i].as_deref(), &later, source, condition, seen));
            let (step, pending) = match read {
                Ok((step, pending)) => (Ok(step), pending),
                Err(error) => (Err(error), Vec::new()),
            };
            job.steps.push(step);
            job.pending.push(pending);
        }
        (job, echoes)
    }

    /// Judges it by a directory: the events, and what became of each operation.
    pub(super) fn judge(&self, directory: &Directory, asked: &Asked) -> (Vec<Event>, Vec<Outcome>) {
        let mut refused: HashSet<usize> = HashSet::new();
        let mut round = 0;
        loop {
            let mut ground = Ground::new(directory, asked);
            let seen = ground.events.len();
            let outcomes = self.round(&mut ground, asked, &refused);
            let broken: Vec<usize> = (0..outcomes.len())
                .filter(|i| is_good(&outcomes[*i]) && self.plan.refers[*i].circular.iter().any(|later| !is_good(&outcomes[*later])))
                .collect();
            if broken.is_empty() {
                let changes = ground.events.len() > seen;
                return (if changes { ground.events } else { Vec::new() }, outcomes);
            }
            match round < MAX_ROUNDS {
                true => refused.extend(broken),
                false => refused.extend((0..self.steps.len()).filter(|i| !self.plan.refers[*i].circular.is_empty())),
            }
            round += 1;
        }
    }

    fn round(&self, ground: &mut Ground<'_>, asked: &Asked, refused: &HashSet<usize>) -> Vec<Outcome> {
        let mut open: Vec<usize> = (0..self.pending.len()).filter(|i| !self.pending[*i].is_empty()).collect();
        let mut outcomes: Vec<Outcome> = vec![None; self.steps.len()];
        let mut failures = 0;
        for i in &self.plan.order {
            if self.fail_on_errors.is_some_and(|most| failures >= most) {
                break;
            }
            let missing = self.plan.refers[*i].before.iter().any(|before| !is_good(&outcomes[*before]));
            let outcome = match &self.steps[*i] {
                Err(error) => Err(error.clone()),
                Ok(_) if refused.contains(i) => Err(ScimError::new(409, "what it refers to in a circle could not be made")),
                Ok(_) if missing => Err(ScimError::invalid_value("what it refers to by bulkId could not be made")),
                Ok(step) => match ground.judge(step) {
                    Ok((events, done)) => {
                        ground.add(events);
                        Ok(done)
                    }
                    Err((events, error)) => {
                        ground.add(events);
                        Err(error)
                    }
                },
            };
            failures += u64::from(outcome.is_err());
            outcomes[*i] = Some(outcome);
            // Before what comes next: an operation after the circle finds it closed.
            open.retain(|group| !self.close(*group, ground, asked, &outcomes));
        }
        outcomes
    }

    /// Adds the members of a group that had to wait, once all of them are there; whether that is done.
    fn close(&self, group: usize, ground: &mut Ground<'_>, asked: &Asked, outcomes: &[Outcome]) -> bool {
        let all = self.plan.refers[group].circular.iter().all(|later| is_good(&outcomes[*later]));
        let (true, Some(Ok(Done::Created(n)))) = (all, &outcomes[group]) else {
            return false;
        };
        let members = Named::look_up(Some(&self.pending[group]), Some(ground.source()));
        if let Ok(members) = members.find(ground.source()) {
            let add: Vec<u32> = members.iter().collect();
            ground.add(judge::changed(asked, *n, Map::new(), &add, &[]));
        }
        true
    }
}

fn is_good(outcome: &Outcome) -> bool {
    matches!(outcome, Some(Ok(_)))
}

/// The write that an operation asks for, and the members that have to wait.
fn step(
    what: What,
    id: Option<&str>,
    later: &HashSet<&str>,
    source: Option<&Source>,
    condition: Condition,
    seen: &Seen,
) -> Result<(Step, Vec<String>), ScimError> {
    let (mut pending, mut active) = (Vec::new(), Active::Unsaid);
    let mut read = |kind: ResourceKind, data: &Value| {
        let mut body = resource::create(kind, data, seen)?;
        let mut ids = body.members.as_mut().map(std::mem::take);
        if let Some(ids) = ids.as_mut().filter(|_| !later.is_empty()) {
            let (waiting, now) = std::mem::take(ids).into_iter().partition(|id| later.contains(id.as_str()));
            (pending, *ids) = (waiting, now);
        }
        Ok::<_, ScimError>((body, Named::look_up(ids.as_deref(), source)))
    };
    let (kind, write) = match what {
        What::Create(kind, data) => {
            let id = id.and_then(|id| Uuid::try_parse(id).ok()).unwrap_or_else(Uuid::new_v4);
            let (body, members) = read(kind, &data)?;
            (kind, Write::Create { id, body, members })
        }
        What::Replace(kind, id, data) => {
            active = Active::of(&data);
            match read(kind, &data) {
                Ok((body, members)) => (kind, Write::Replace { id, body, members }),
                Err(error) => (kind, Write::Misunderstood { id, error }),
            }
        }
        What::Patch(kind, id, data) => {
            active = Active::of(&data);
            match patch::parse_ops(&data, seen) {
                Ok(ops) => (kind, Write::Patch { id, ops }),
                Err(error) => (kind, Write::Misunderstood { id, error }),
            }
        }
        What::Delete(kind, id) => (kind, Write::Delete { id }),
    };
    let step = Step {
        kind,
        condition,
        write,
        seen: seen.clone(),
        active,
    };
    Ok((step, pending))
}

impl Echo {
    /// The operation in the answer; nothing if it was not tried. `version`: that of the resource as it is now.
    pub(super) fn answer(&self, base: &str, outcome: &Outcome, version: impl Fn(ResourceKind, &str) -> Option<String>) -> Option<Value> {
        let outcome = outcome.as_ref()?;
        let mut answer = Map::new();
        answer.insert("method".into(), self.method.clone().into());
        answer.extend(self.bulk_id.clone().map(|id| ("bulkId".to_owned(), id.into())));
        let made = outcome.is_ok() || self.method != "POST";
        if let Some((kind, id)) = self.place.as_ref().filter(|_| made) {
            answer.insert("location".into(), format!("{base}{}/{id}", kind.endpoint()).into());
            let version = outcome.is_ok().then(|| version(*kind, id)).flatten();
            answer.extend(version.map(|version| ("version".to_owned(), version.into())));
        }
        let status = match outcome {
            Ok(Done::Created(_)) => 201,
            Ok(Done::Is(_)) => 200,
            Ok(Done::Deleted) => 204,
            Err(error) => error.status,
        };
        answer.insert("status".into(), status.to_string().into());
        if let Err(error) = outcome {
            answer.insert("response".into(), error.to_json());
        }
        Some(Value::Object(answer))
    }
}

/// The body of the answer.
pub(super) fn response(operations: Vec<Value>) -> Value {
    json!({"schemas": ["urn:ietf:params:scim:api:messages:2.0:BulkResponse"], "Operations": operations})
}
