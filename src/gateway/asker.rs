//! What one asker's request does, once it is known who asks: the journal is read or written, and what is there then is answered. What a write means is
//! in `judge` and `bulk`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::request::Parts;
use http::{Method, header};
use jiff::Timestamp;
use serde_json::Value;
use uuid::Uuid;

use super::Gateway;
use super::answer::{Answer, Failure};
use super::bulk::{self, Job};
use super::cursor::Scope;
use super::judge::{self, Asked, Done, Judged, Step, Write};
use super::list::{self, Begin};
use super::members::Named;
use super::render::View;
use super::route::Route;
use super::serve::Long;
use super::tokens::Served;
use super::version::{Condition, version};
use crate::directory::{Directory, Resource, Source};
use crate::journal::Verdict;
use crate::scim::bulk::Bulk;
use crate::scim::patch::Active;
use crate::scim::{Body, ListQuery, Projection, ResourceKind, ScimError, Seen, patch, resource};

/// A group with more members is answered with 204 to a PATCH, unless `attributes` says what is wanted.
const MEMBERS_ANSWERED: u64 = 1_000;
/// Groups and bulk requests from this size on are handled apart, so that they keep nobody waiting.
const LONG_GROUP: u64 = 5_000;
const LONG_BULK: usize = 100;

/// Who asks, once that is known.
pub(super) struct Asker<'a> {
    pub(super) gateway: &'a Gateway,
    /// Whose source.
    pub(super) served: Arc<Served>,
    /// The request's id.
    pub(super) request: Arc<str>,
    /// The source's base URL.
    pub(super) base: Arc<str>,
    /// What must hold of the version.
    pub(super) condition: Condition,
    /// What the request has that the schema or the RFC does not have.
    pub(super) seen: Seen,
}

impl Asker<'_> {
    /// Does what is asked.
    pub(super) async fn answer(
        &self,
        route: Route,
        parts: &Parts,
        body: axum::body::Body,
        parameters: &[(String, String)],
    ) -> Result<Answer, Failure> {
        let get = |name: &str| parameters.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        let limits = self.gateway.settings.limits();
        let query = || ListQuery::parse(parameters.iter().map(|(key, value)| (key.as_str(), value.as_str())), limits);
        let (attributes, excluded) = (get("attributes"), get("excludedAttributes"));
        match (route, parts.method.clone()) {
            (Route::All(kind), Method::POST) => {
                let projection = Projection::parse(kind, attributes, excluded)?;
                let value = self.gateway.body(parts, body, self.gateway.settings.max_body, &self.seen).await?;
                self.create(kind, value, projection).await
            }
            (Route::All(kind), _) => self.list(vec![kind], query()?).await,
            (Route::Everything, _) => self.list(ResourceKind::ALL.to_vec(), query()?).await,
            (Route::Search(kinds), _) => {
                let value = self.gateway.body(parts, body, self.gateway.settings.max_body, &self.seen).await?;
                self.list(kinds.to_vec(), ListQuery::search(&value, limits)?).await
            }
            (Route::Bulk, _) => {
                let value = self.gateway.body(parts, body, limits.max_payload_size, &self.seen).await?;
                self.bulk(Bulk::parse(&value)?).await
            }
            (Route::One(kind, id), method @ (Method::PUT | Method::PATCH)) => {
                let most = self.gateway.settings.max_body;
                let projection = Projection::parse(kind, attributes, excluded);
                match (self.gateway.body(parts, body, most, &self.seen).await, projection) {
                    (Ok(value), Err(error)) => self.misunderstood(kind, id, error, Active::of(&value)).await,
                    (Ok(value), Ok(projection)) if method == Method::PUT => self.replace(kind, id, value, projection).await,
                    (Ok(value), Ok(projection)) => self.patch(kind, id, value, projection, attributes.is_some()).await,
                    // Nobody knows what it was to say.
                    (Err(Failure::Scim(error)), _) => self.misunderstood(kind, id, error, Active::MayDisable).await,
                    (Err(failure), _) => Err(failure),
                }
            }
            (Route::One(kind, id), Method::DELETE) => {
                let step = self.step(kind, Write::Delete { id }, Active::Unsaid);
                self.write(step, Projection::default(), None).await
            }
            (Route::One(kind, id), _) => self.get(kind, id, Projection::parse(kind, attributes, excluded)?).await,
            _ => Err(ScimError::new(404, "there is no such endpoint").into()),
        }
    }

    async fn get(&self, kind: ResourceKind, id: String, projection: Projection) -> Result<Answer, Failure> {
        let directory = self.gateway.journal()?.read().await?.state;
        let source = source_of(&directory, &self.served.name);
        let resource = judge::find(source, kind, &id)?.clone();
        self.condition.only_matches().check(source, &resource)?;
        if self.condition.is_known(source, &resource) {
            return Ok(Answer::empty(304).with(header::ETAG, version(source, &resource)));
        }
        let shown = Shown {
            members: source.members(resource.n).len(),
            resource,
            directory: Some(Directory::clone(&directory)),
        };
        self.show(shown, 200, projection).await
    }

    async fn list(&self, kinds: Vec<ResourceKind>, mut query: ListQuery) -> Result<Answer, Failure> {
        let scope = Scope::new(&self.served.name, &kinds, &query);
        let begin = match query.cursor.as_deref() {
            None | Some("") => Begin::Skip(if query.cursor.is_some() { 0 } else { query.skip() }),
            Some(cursor) => {
                let (after, count) = self.gateway.cursors.open(&scope, cursor, Timestamp::now())?;
                if query.counted && query.count != count {
                    let detail = format!("count is {count} in every request of these cursors, as in the first");
                    return Err(ScimError::invalid_count(detail).into());
                }
                query.count = count;
                Begin::After(after)
            }
        };
        let directory = self.gateway.journal()?.read().await?.state;
        let (name, base) = (self.served.name.clone(), self.base.clone());
        let end = Instant::now() + self.gateway.settings.request_timeout.saturating_sub(Duration::from_secs(1));
        let source = source_of(&directory, &name);
        let long = list::is_long(&kinds, &query) && source.user_count() + source.group_count() > LONG_GROUP;
        let (cursors, seen, extensions) = (self.gateway.cursors.clone(), self.seen.clone(), self.served.extensions.clone());
        let find = move || {
            let view = View {
                source: source_of(&directory, &name),
                base: &base,
            };
            let mut page = list::list(view, &kinds, &query, &begin, &extensions, &seen, &|| Instant::now() >= end)?;
            let next = page.next.take().filter(|_| query.cursor.is_some());
            let next = next
                .map(|after| cursors.seal(&scope, after, query.count, Timestamp::now()))
                .transpose()?;
            Answer::written(200, |out| page.write(out, next.as_deref(), query.cursor.is_some()))
        };
        self.gateway.work(Long::read(long), find).await?
    }

    async fn create(&self, kind: ResourceKind, value: Value, projection: Projection) -> Result<Answer, Failure> {
        let (body, members) = self.read(kind, value).await?;
        let id = Uuid::new_v4();
        let step = self.step(kind, Write::Create { id, body, members }, Active::Unsaid);
        self.write(step, projection, None).await
    }

    async fn replace(&self, kind: ResourceKind, id: String, value: Value, projection: Projection) -> Result<Answer, Failure> {
        let active = Active::of(&value);
        let (body, members) = match self.read(kind, value).await {
            Ok(read) => read,
            Err(Failure::Scim(error)) => return self.misunderstood(kind, id, error, active).await,
            Err(failure) => return Err(failure),
        };
        let step = self.step(kind, Write::Replace { id, body, members }, active);
        self.write(step, projection, None).await
    }

    async fn patch(&self, kind: ResourceKind, id: String, value: Value, projection: Projection, named: bool) -> Result<Answer, Failure> {
        let active = Active::of(&value);
        let ops = match patch::parse_ops(&value, &self.seen) {
            Ok(ops) => ops,
            Err(error) => return self.misunderstood(kind, id, error, active).await,
        };
        let most = (!named && projection.wants("members")).then_some(MEMBERS_ANSWERED);
        self.write(self.step(kind, Write::Patch { id, ops }, active), projection, most)
            .await
    }

    /// Refused, but not forgotten where it may have been there to disable a user.
    async fn misunderstood(&self, kind: ResourceKind, id: String, error: ScimError, active: Active) -> Result<Answer, Failure> {
        let step = self.step(kind, Write::Misunderstood { id, error }, active);
        self.write(step, Projection::default(), None).await
    }

    fn step(&self, kind: ResourceKind, write: Write, active: Active) -> Step {
        Step {
            kind,
            condition: self.condition.clone(),
            write,
            seen: self.seen.clone(),
            active,
        }
    }

    /// The attributes and members in a body. Members are looked up here already, and once more, cheaply, when the request is judged.
    async fn read(&self, kind: ResourceKind, value: Value) -> Result<(Body, Named), Failure> {
        let snapshot = self.gateway.journal()?.snapshot().state;
        let name = self.served.name.clone();
        let long = value
            .get("members")
            .and_then(Value::as_array)
            .is_some_and(|members| members.len() as u64 > LONG_GROUP);
        let seen = self.seen.clone();
        let read = move || {
            let mut body = resource::create(kind, &value, &seen)?;
            let ids = body.members.as_mut().map(std::mem::take);
            Ok::<_, ScimError>((body, Named::look_up(ids.as_deref(), snapshot.source(&name))))
        };
        Ok(self.gateway.work(Long::write(long), read).await??)
    }

    /// All operations are one judgement, so they are durable together; what each came to is told one by one.
    async fn bulk(&self, bulk: Bulk) -> Result<Answer, Failure> {
        let more = bulk.operations.len().saturating_sub(1);
        self.gateway.rates.more(&self.served.name, more).map_err(Failure::TooMany)?;
        let journal = self.gateway.journal()?;
        let asked = self.asked();
        let (snapshot, name, seen) = (journal.snapshot().state, self.served.name.clone(), self.seen.clone());
        let long = bulk.operations.len() > LONG_BULK;
        let read = move || Job::read(bulk, snapshot.source(&name), &seen);
        let (job, echoes) = self.gateway.work(Long::write(long), read).await?;
        let judge = move |directory: &Directory, _: &_| match job.judge(directory, &asked) {
            (events, outcomes) if events.is_empty() => Verdict::Read(outcomes),
            (events, outcomes) => Verdict::Append(events, outcomes),
        };
        let (directory, outcomes) = journal
            .submit_with_answer(judge, |directory: &Directory, outcomes| (directory.clone(), outcomes))
            .await?;
        let source = source_of(&directory, &self.served.name);
        let now = |kind, id: &str| Some(version(source, judge::find(source, kind, id).ok()?));
        let operations = echoes
            .iter()
            .zip(&outcomes)
            .filter_map(|(echo, outcome)| echo.answer(&self.base, outcome, now));
        Answer::json(200, &bulk::response(operations.collect()))
    }

    fn asked(&self) -> Asked {
        Asked {
            source: self.served.name.clone(),
            uid: self.served.uid.clone(),
            request: self.request.clone(),
            extensions: self.served.extensions.clone(),
        }
    }

    /// Judges a write in the journal, and answers from the directory as it is right after it. Above `most` members a group is not shown.
    async fn write(&self, step: Step, projection: Projection, most: Option<u64>) -> Result<Answer, Failure> {
        let asked = self.asked();
        let disables = step.active == Active::MayDisable;
        let judge = move |directory: &Directory, _: &_| match judge::judge(directory, &asked, &step) {
            Judged::Change(events, done) => Verdict::Append(events, Ok(done)),
            Judged::Same(done) => Verdict::Read(Ok(done)),
            Judged::Refused(events, error) if events.is_empty() => Verdict::Read(Err(error)),
            Judged::Refused(events, error) => Verdict::Append(events, Err(error)),
        };
        let journal = self.gateway.journal()?;
        let name = self.served.name.clone();
        let shows_members = projection.wants("members");
        let render =
            move |directory: &Directory, done: Result<Done, ScimError>| done.map(|done| shown(directory, &name, done, shows_members));
        let answered = journal.submit_with_answer(judge, render).await?;
        if let (true, Err(error)) = (disables, &answered) {
            tracing::warn!(
                source = &*self.served.name,
                request = &*self.request,
                status = error.status,
                "a request that may be there to disable a user was refused"
            );
        }
        let (status, shown) = match answered? {
            None => return Ok(Answer::empty(204)),
            Some(found) => found,
        };
        if most.is_some_and(|most| shown.members > most) {
            let view = View {
                source: Source::empty(),
                base: &self.base,
            };
            let answer = Answer::empty(204).with(header::ETAG, view.version(&shown.resource));
            return Ok(answer.with(header::LOCATION, view.location(&shown.resource)));
        }
        self.show(shown, status, projection).await
    }

    async fn show(&self, shown: Shown, status: u16, projection: Projection) -> Result<Answer, Failure> {
        let (name, base) = (self.served.name.clone(), self.base.clone());
        let long = shown.members > LONG_GROUP && projection.wants("members");
        let render = move || {
            let source = shown
                .directory
                .as_ref()
                .map_or(Source::empty(), |directory| source_of(directory, &name));
            let view = View { source, base: &base };
            let location = view.location(&shown.resource);
            let answer = Answer::written(status, |out| view.resource(&shown.resource, &projection).write(out))?;
            let answer = answer
                .with(header::ETAG, view.version(&shown.resource))
                .with(header::CONTENT_LOCATION, location.clone());
            Ok(answer.with(header::LOCATION, location))
        };
        self.gateway.work(Long::read(long), render).await?
    }
}

/// What an answer shows.
struct Shown {
    resource: Arc<Resource>,
    /// How many direct members the group has.
    members: u64,
    /// Where its members or groups are; `None` if it has none, or none are shown.
    directory: Option<Directory>,
}

/// What is to be shown once a write is done, and the status; `None` if it is gone. Run while other writes wait: the rest is for the asker's own task.
fn shown(directory: &Directory, source: &str, done: Done, shows_members: bool) -> Option<(u16, Shown)> {
    let (n, status) = match done {
        Done::Deleted => return None,
        Done::Created(n) => (n, 201),
        Done::Is(n) => (n, 200),
    };
    let source = source_of(directory, source);
    let members = source.members(n).len();
    // A clone is a few reference counts, but each keeps the next change from being made in place.
    let related = !source.groups_of(n).is_empty() || (members > 0 && shows_members);
    let shown = Shown {
        resource: source.get(n)?.clone(),
        members,
        directory: related.then(|| directory.clone()),
    };
    Some((status, shown))
}

/// The source in the directory; an empty one before anything was pushed.
fn source_of<'a>(directory: &'a Directory, name: &str) -> &'a Source {
    directory.source(name).unwrap_or_else(|| Source::empty())
}
