//! One SCIM request as HTTP has it, from its URL and body to its answer: who asks, and for what. What is done for the asker is in `asker`.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::{Query, Request, State};
use axum::response::Response;
use futures::FutureExt;
use http::{HeaderName, header, request::Parts};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use jiff::Timestamp;
use serde_json::Value;
use uuid::Uuid;

use super::answer::{Answer, Failure};
use super::asker::Asker;
use super::rate::Peer;
use super::route::{self, Route};
use super::tokens::bearer;
use super::version::Condition;
use super::{Gateway, bounds};
use crate::directory::Directory;
use crate::journal::Journal;
use crate::scim::query::list_response;
use crate::scim::schema::Extensions;
use crate::scim::tolerance::Tolerance;
use crate::scim::{Drift, ScimError, Seen, schema};

/// Bodies from this size on are read apart, so that they keep nobody waiting.
const LONG_BODY: usize = 256 * 1024;

/// Whether work may take long, and for what.
#[derive(Clone, Copy)]
pub(super) enum Long {
    No,
    Read,
    Write,
}

impl Long {
    /// Long, if so.
    pub(super) fn write(long: bool) -> Self {
        if long { Self::Write } else { Self::No }
    }

    /// Long, if so.
    pub(super) fn read(long: bool) -> Self {
        if long { Self::Read } else { Self::No }
    }
}

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// One request, whatever its path.
pub(super) async fn serve(State(gateway): State<Arc<Gateway>>, request: Request) -> Response {
    let begun = Instant::now();
    let id: Arc<str> = Uuid::new_v4().simple().to_string().into();
    let media_type = route::answer_type(request.uri().path(), request.headers());
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
        if !self.sources.known() {
            // a provider that is told 401 may stop pushing
            return Err(Failure::Later(2, "the gateway is starting"));
        }
        let (parts, body) = request.into_parts();
        let base = route::base(&self.settings.public_url, self.settings.tls, &parts.uri, &parts.headers, &source);
        let peer = parts.extensions.get::<Peer>().copied();
        let peer = peer.unwrap_or(Peer(std::net::Ipv4Addr::UNSPECIFIED.into()));
        let token = bearer(&parts.headers);
        let mut served = self.sources.authenticate(&source, token, Timestamp::now());
        if served.is_none() {
            self.rates.stranger(peer).map_err(Failure::TooMany)?;
            served = token.and_then(|token| self.sources.prove(&source, token));
        }
        match &served {
            Some((served, _)) => self.rates.source(&served.name).map_err(Failure::TooMany)?,
            None if route.is_public() => {}
            None => {
                self.metrics.unauthenticated();
                return Err(Failure::Unauthenticated { token: token.is_some() });
            }
        }
        if route == Route::Me {
            return Err(ScimError::new(501, "/Me is not supported: who provisions is no user").into());
        }
        if route == Route::OtherVersion {
            return Err(route::other_version().into());
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
        if route.is_public() {
            // What a source declares is for who has a token of it; what all have is for everybody.
            let extensions = served.map(|(served, _)| served.extensions.clone()).unwrap_or_default();
            return discover(&base, &route, get("filter").is_some(), self.settings.limits(), &extensions);
        }
        let Some((served, token)) = served else {
            return Err(Failure::Unauthenticated { token: token.is_some() });
        };
        let asker = Asker {
            gateway: self,
            served,
            request: id,
            base: base.into(),
            condition: Condition::of(&parts.headers),
            seen: Seen::default(),
        };
        let answer = asker.answer(route, &parts, body, &parameters).await;
        asker
            .seen
            .forget(|drift, path| drift == Drift::UnknownAttribute && asker.served.extensions.knows(path));
        self.usage
            .note(&asker.served.name, &token, Timestamp::now(), &asker.seen, &asker.request);
        self.metrics.seen(&asker.served.name, &asker.seen);
        answer
    }

    /// The body as JSON, within bounds. It is read only once the asker is known.
    pub(super) async fn body(&self, parts: &Parts, body: axum::body::Body, most: usize, seen: &Seen) -> Result<Value, Failure> {
        route::check_body_type(&parts.headers)?;
        if !parts.headers.contains_key(header::CONTENT_TYPE) {
            seen.note(Tolerance::NoContentType);
        }
        let name = if most < self.settings.max_body { " (maxPayloadSize)" } else { "" };
        let too_large = || {
            Failure::Scim(ScimError::new(
                413,
                format!("a body has at most {most} bytes{name} here: send the change in parts"),
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
        let parsed = self
            .work(Long::write(long), move || serde_json::from_slice::<Value>(&bytes))
            .await?;
        parsed.map_err(|error| ScimError::invalid_syntax(format!("the body is not JSON: {error}")).into())
    }

    /// Does work that may take long where it keeps nobody else waiting, and not too much of it at once: reads keep no write from being read, which may be
    /// there to take access away.
    pub(super) async fn work<T: Send + 'static>(&self, long: Long, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Failure> {
        let places = match long {
            Long::No => return Ok(work()),
            Long::Read => &self.long_reads,
            Long::Write => &self.long_writes,
        };
        let place = places.clone().acquire_owned().await;
        let place = place.map_err(|_| Failure::Later(1, "shutting down"))?;
        let done = tokio::task::spawn_blocking(move || {
            let _place = place; // until the work has ended, whoever waits for it
            work()
        });
        let fault = |_| ScimError::new(500, "this is a fault of Rolecall's; its log has the request's id").into();
        done.await.map_err(fault)
    }

    pub(super) fn journal(&self) -> Result<Journal<Directory>, Failure> {
        let journal = self.journal.load();
        let open = journal.as_ref().map(|journal| Journal::clone(journal));
        open.ok_or(Failure::Later(5, "the directory journal is not open yet"))
    }
}

fn discover(base: &str, route: &Route, filtered: bool, limits: schema::Limits, extensions: &Extensions) -> Result<Answer, Failure> {
    if filtered {
        return Err(ScimError::new(403, "this endpoint takes no filter").into());
    }
    let all = |list: Vec<Value>| Answer::json(200, &list_response(list.len() as u64, 1, list));
    let one = |list: Vec<Value>, is: &dyn Fn(&str) -> bool| {
        let found = list.into_iter().find(|one| one["id"].as_str().is_some_and(is));
        Answer::json(200, &found.ok_or_else(|| ScimError::new(404, "there is no such thing"))?)
    };
    let schemas = || [schema::schemas(base), extensions.schemas(base)].concat();
    let types = || schema::resource_types(base, extensions);
    match route {
        Route::Config => Answer::json(200, &schema::service_provider_config(base, limits)),
        Route::Schemas(None) => all(schemas()),
        Route::Schemas(Some(urn)) => one(schemas(), &|id| id.eq_ignore_ascii_case(urn)),
        Route::ResourceTypes(None) => all(types()),
        Route::ResourceTypes(Some(name)) => one(types(), &|id| id == name),
        _ => Err(ScimError::new(404, "there is no such endpoint").into()),
    }
}
