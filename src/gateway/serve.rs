//! One SCIM request, from its URL to its answer: who asks, what for, the journal, what is answered. What a write means is in `judge`.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{Query, Request, State};
use axum::response::Response;
use futures::FutureExt;
use http::{HeaderName, Method, header, request::Parts};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use jiff::Timestamp;
use serde_json::Value;
use uuid::Uuid;

use super::answer::{Answer, Failure};
use super::judge::{self, Asked, Done, Judged, Write};
use super::members::Named;
use super::render::{View, etag};
use super::route::{self, Route};
use super::tokens::{Served, bearer};
use super::{Gateway, bounds, list};
use crate::directory::{Directory, Resource, Source};
use crate::journal::{Journal, Verdict};
use crate::scim::query::list_response;
use crate::scim::{Body, ListQuery, Projection, ResourceKind, ScimError, patch, resource, schema};

/// A group with more members is answered with 204 to a PATCH, unless `attributes` says what is wanted.
const MEMBERS_ANSWERED: u64 = 1_000;
/// Bodies and groups from this size on are handled apart, so that they keep nobody waiting.
const LONG_BODY: usize = 256 * 1024;
const LONG_GROUP: u64 = 5_000;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// One request, whatever its path.
pub(super) async fn serve(State(gateway): State<Arc<Gateway>>, request: Request) -> Response {
    let begun = Instant::now();
    let id: Arc<str> = Uuid::new_v4().simple().to_string().into();
    let media_type = route::answer_type(request.headers());
    let method = request.method().clone();
    let parsed = route::parse(request.uri().path()).map(|(source, route)| (Arc::<str>::from(source), route));
    let label = parsed.as_ref().map_or("other", |(_, route)| route.label());
    let answer = match parsed {
        None => Err(route::elsewhere(request.uri().path()).into()),
        Some((source, route)) => {
            let work = gateway.admit(source, route, request, id.clone());
            let guarded = AssertUnwindSafe(tokio::time::timeout(gateway.settings.request_timeout, work)).catch_unwind();
            match guarded.await {
                Ok(Ok(answer)) => answer,
                Ok(Err(_)) => Err(Failure::Later(2, "no answer in time; a change may have been made all the same")),
                Err(_) => {
                    tracing::error!(request = &*id, "a request panicked");
                    Err(ScimError::new(500, "this is a fault of Rolecall's; its log has the request's id").into())
                }
            }
        }
    };
    let answer = answer.unwrap_or_else(|failure| {
        if let Failure::Journal(error) = &failure {
            tracing::warn!(request = &*id, %error, "the journal gave no answer");
        }
        failure.into_answer()
    });
    // never the path: it holds ids, and filters hold names
    let (status, took) = (answer.status, begun.elapsed());
    tracing::debug!(request = &*id, %method, resource = label, status, milliseconds = took.as_millis(), "answered");
    gateway.metrics.answered(&method, label, status, took);
    answer.with(REQUEST_ID, &*id).into_response(media_type)
}

impl Gateway {
    /// Who may ask, and no more at once than can be answered.
    async fn admit(&self, source: Arc<str>, route: Route, request: Request, id: Arc<str>) -> Result<Answer, Failure> {
        let busy = || Failure::Later(1, "too many requests at once");
        let _permit = self.requests.try_acquire().map_err(|_| busy())?;
        let (parts, body) = request.into_parts();
        let base = route::base(&self.settings.public_url, self.settings.tls, &parts.uri, &parts.headers, &source);
        let served = match route.is_public() {
            true => None,
            false => Some(self.authenticate(&source, &parts)?),
        };
        if let Route::Unsupported(what) = route {
            return Err(ScimError::new(501, format!("{what} is not supported")).into());
        }
        if route == Route::Unknown {
            return Err(ScimError::new(404, "there is no such endpoint").into());
        }
        if !route.allows().contains(&parts.method) {
            return Err(Failure::Method(route.allows()));
        }
        let Ok(Query(parameters)) = Query::<Vec<(String, String)>>::try_from_uri(&parts.uri) else {
            return Err(ScimError::invalid_syntax("the URL's query cannot be read").into());
        };
        let get = |name: &str| parameters.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        let Some(served) = served else {
            return discover(&base, &route, get("filter").is_some(), self.settings.limits());
        };
        let asker = Asker {
            gateway: self,
            served,
            request: id,
            base: base.into(),
        };
        let (attributes, excluded) = (get("attributes"), get("excludedAttributes"));
        match (route, parts.method.clone()) {
            (Route::All(kind), Method::POST) => {
                let projection = Projection::parse(kind, attributes, excluded)?;
                let value = self.body(&parts, body).await?;
                asker.create(kind, value, projection).await
            }
            (Route::All(kind), _) => {
                let pairs = parameters.iter().map(|(key, value)| (key.as_str(), value.as_str()));
                asker.list(kind, ListQuery::parse(kind, pairs, self.settings.limits())?).await
            }
            (Route::One(kind, id), Method::PUT) => {
                let projection = Projection::parse(kind, attributes, excluded)?;
                let value = self.body(&parts, body).await?;
                asker.replace(kind, id, value, projection).await
            }
            (Route::One(kind, id), Method::PATCH) => {
                let projection = Projection::parse(kind, attributes, excluded)?;
                let value = self.body(&parts, body).await?;
                asker.patch(kind, id, value, projection, attributes.is_some()).await
            }
            (Route::One(kind, id), Method::DELETE) => asker.write(kind, Write::Delete { id }, Projection::default(), None).await,
            (Route::One(kind, id), _) => asker.get(kind, id, Projection::parse(kind, attributes, excluded)?).await,
            _ => Err(ScimError::new(404, "there is no such endpoint").into()),
        }
    }

    fn authenticate(&self, source: &str, parts: &Parts) -> Result<Arc<Served>, Failure> {
        let token = bearer(&parts.headers);
        self.sources.authenticate(source, token, Timestamp::now()).ok_or_else(|| {
            self.metrics.unauthenticated();
            Failure::Unauthenticated { token: token.is_some() }
        })
    }

    /// The body as JSON, within bounds. It is read only once the asker is known.
    async fn body(&self, parts: &Parts, body: axum::body::Body) -> Result<Value, Failure> {
        route::check_body_type(&parts.headers)?;
        let most = self.settings.max_body;
        let too_large = || {
            Failure::Scim(ScimError::new(
                413,
                format!("a body has at most {most} bytes: send the change in parts"),
            ))
        };
        let length = parts
            .headers
            .get(header::CONTENT_LENGTH)
            .and_then(|value| value.to_str().ok())
            .and_then(|text| text.parse().ok());
        let length: usize = length.unwrap_or(most);
        if length > most {
            return Err(too_large());
        }
        let share = u32::try_from(length.div_ceil(1024).max(1)).unwrap_or(u32::MAX);
        let _share = self
            .bodies
            .acquire_many(share)
            .await
            .map_err(|_| Failure::Later(1, "shutting down"))?;
        let read = tokio::time::timeout(self.settings.body_timeout, Limited::new(body, most).collect()).await;
        let bytes = match read {
            Ok(Ok(collected)) => collected.to_bytes(),
            Ok(Err(error)) if error.downcast_ref::<LengthLimitError>().is_some() => return Err(too_large()),
            Ok(Err(_)) => return Err(ScimError::invalid_syntax("the body could not be read to its end").into()),
            Err(_) => return Err(ScimError::new(408, "the body did not come in time").into()),
        };
        bounds::check(&bytes)?;
        let long = bytes.len() > LONG_BODY;
        let parsed = self.work(long, move || serde_json::from_slice::<Value>(&bytes)).await?;
        parsed.map_err(|error| ScimError::invalid_syntax(format!("the body is not JSON: {error}")).into())
    }

    /// Does work that may take long where it keeps nobody else waiting, and not too much of it at once.
    async fn work<T: Send + 'static>(&self, long: bool, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Failure> {
        if !long {
            return Ok(work());
        }
        let _permit = self.long.acquire().await.map_err(|_| Failure::Later(1, "shutting down"))?;
        let done = tokio::task::spawn_blocking(work).await;
        done.map_err(|_| ScimError::new(500, "this is a fault of Rolecall's; its log has the request's id").into())
    }

    fn journal(&self) -> Result<Journal<Directory>, Failure> {
        let journal = self.journal.load();
        let open = journal.as_ref().map(|journal| Journal::clone(journal));
        open.ok_or(Failure::Later(5, "the directory journal is not open yet"))
    }
}

/// Who asks, once that is known.
struct Asker<'a> {
    gateway: &'a Gateway,
    served: Arc<Served>,
    request: Arc<str>,
    base: Arc<str>,
}

impl Asker<'_> {
    async fn get(&self, kind: ResourceKind, id: String, projection: Projection) -> Result<Answer, Failure> {
        let directory = self.gateway.journal()?.read().await?.state;
        let source = source_of(&directory, &self.served.name);
        let resource = judge::find(source, kind, &id)?.clone();
        let shown = Shown {
            members: source.members(resource.n).len(),
            resource,
            directory: Some(Directory::clone(&directory)),
        };
        self.show(shown, 200, projection).await
    }

    async fn list(&self, kind: ResourceKind, query: ListQuery) -> Result<Answer, Failure> {
        let directory = self.gateway.journal()?.read().await?.state;
        let (name, base) = (self.served.name.clone(), self.base.clone());
        let end = Instant::now() + self.gateway.settings.request_timeout.saturating_sub(Duration::from_secs(1));
        let source = source_of(&directory, &name);
        let long = list::is_long(kind, &query) && source.user_count() + source.group_count() > LONG_GROUP;
        let find = move || {
            let view = View {
                source: source_of(&directory, &name),
                base: &base,
            };
            let page = list::list(view, kind, &query, &|| Instant::now() >= end)?;
            Answer::json(200, &page)
        };
        self.gateway.work(long, find).await?
    }

    async fn create(&self, kind: ResourceKind, value: Value, projection: Projection) -> Result<Answer, Failure> {
        let (body, members) = self.read(kind, value).await?;
        let id = Uuid::new_v4();
        self.write(kind, Write::Create { id, body, members }, projection, None).await
    }

    async fn replace(&self, kind: ResourceKind, id: String, value: Value, projection: Projection) -> Result<Answer, Failure> {
        let (body, members) = self.read(kind, value).await?;
        self.write(kind, Write::Replace { id, body, members }, projection, None).await
    }

    async fn patch(&self, kind: ResourceKind, id: String, value: Value, projection: Projection, named: bool) -> Result<Answer, Failure> {
        let ops = patch::parse_ops(&value)?;
        let most = (!named && projection.wants("members")).then_some(MEMBERS_ANSWERED);
        self.write(kind, Write::Patch { id, ops }, projection, most).await
    }

    /// The attributes and members in a body. Members are looked up here already, and once more, cheaply, when the request is judged.
    async fn read(&self, kind: ResourceKind, value: Value) -> Result<(Body, Named), Failure> {
        let snapshot = self.gateway.journal()?.snapshot().state;
        let name = self.served.name.clone();
        let long = value
            .get("members")
            .and_then(Value::as_array)
            .is_some_and(|members| members.len() as u64 > LONG_GROUP);
        let read = move || {
            let mut body = resource::create(kind, &value)?;
            let ids = body.members.as_mut().map(std::mem::take);
            Ok::<_, ScimError>((body, Named::look_up(ids.as_deref(), snapshot.source(&name))))
        };
        Ok(self.gateway.work(long, read).await??)
    }

    /// Judges a write in the journal, and answers from the directory as it is right after it. Above `most` members a group is not shown.
    async fn write(&self, kind: ResourceKind, write: Write, projection: Projection, most: Option<u64>) -> Result<Answer, Failure> {
        let asked = Asked {
            source: self.served.name.clone(),
            uid: self.served.uid.clone(),
            request: self.request.clone(),
            kind,
        };
        let judge = move |directory: &Directory, _: &_| match judge::judge(directory, &asked, &write) {
            Judged::Change(events, done) => Verdict::Append(events, Ok(done)),
            Judged::Same(done) => Verdict::Read(Ok(done)),
            Judged::Refused(error) => Verdict::Read(Err(error)),
        };
        let journal = self.gateway.journal()?;
        let name = self.served.name.clone();
        let shows_members = projection.wants("members");
        let render =
            move |directory: &Directory, done: Result<Done, ScimError>| done.map(|done| shown(directory, &name, done, shows_members));
        let (status, shown) = match journal.submit_with_answer(judge, render).await?? {
            None => return Ok(Answer::empty(204)),
            Some(found) => found,
        };
        if most.is_some_and(|most| shown.members > most) {
            let view = View {
                source: Source::empty(),
                base: &self.base,
            };
            let answer = Answer::empty(204).with(header::ETAG, etag(&shown.resource));
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
            let answer = Answer::json(status, &view.resource(&shown.resource, &projection))?;
            let answer = answer
                .with(header::ETAG, etag(&shown.resource))
                .with(header::CONTENT_LOCATION, location.clone());
            Ok(answer.with(header::LOCATION, location))
        };
        self.gateway.work(long, render).await?
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

fn discover(base: &str, route: &Route, filtered: bool, limits: schema::Limits) -> Result<Answer, Failure> {
    if filtered {
        return Err(ScimError::new(403, "this endpoint takes no filter").into());
    }
    let all = |list: Vec<Value>| Answer::json(200, &list_response(list.len() as u64, 1, list));
    let one = |found: Option<Value>| Answer::json(200, &found.ok_or_else(|| ScimError::new(404, "there is no such thing"))?);
    match route {
        Route::Config => Answer::json(200, &schema::service_provider_config(base, limits)),
        Route::Schemas(None) => all(schema::schemas(base)),
        Route::Schemas(Some(urn)) => one(schema::schema(base, urn)),
        Route::ResourceTypes(None) => all(schema::resource_types(base)),
        Route::ResourceTypes(Some(name)) => one(schema::resource_type(base, name)),
        _ => Err(ScimError::new(404, "there is no such endpoint").into()),
    }
}
