//! HTTP answers: bodies, headers, and what a refusal of the journal means to a client. Errors are SCIM errors, whoever made them.

use axum::body::Body;
use axum::response::Response;
use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use serde::Serialize;

use crate::journal;
use crate::scim::ScimError;

/// An answer before it becomes bytes on a wire.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: Vec<(HeaderName, String)>,
    pub(super) body: Option<Vec<u8>>,
}

/// Why there is no good answer.
#[derive(Debug)]
pub(super) enum Failure {
    /// For SCIM's own reasons.
    Scim(ScimError),
    /// Nobody, or somebody with a wrong token.
    Unauthenticated { token: bool },
    /// The resource has no such method.
    Method(&'static [Method]),
    /// Too often; again after so many seconds.
    TooMany(u32),
    /// Not now; again after so many seconds.
    Later(u32, &'static str),
    /// The journal gave no answer.
    Journal(journal::Error),
}

impl From<ScimError> for Failure {
    fn from(error: ScimError) -> Self {
        Failure::Scim(error)
    }
}

impl From<journal::Error> for Failure {
    fn from(error: journal::Error) -> Self {
        Failure::Journal(error)
    }
}

impl Answer {
    /// A body that is a value.
    pub(super) fn json(status: u16, body: &impl Serialize) -> Result<Self, Failure> {
        Self::written(status, |out| serde_json::to_writer(out, body))
    }

    /// A body that somebody writes.
    pub(super) fn written(status: u16, write: impl FnOnce(&mut Vec<u8>) -> serde_json::Result<()>) -> Result<Self, Failure> {
        let mut body = Vec::with_capacity(1024);
        write(&mut body).map_err(|_| ScimError::new(500, "the answer cannot be written"))?;
        Ok(Self {
            status,
            headers: Vec::new(),
            body: Some(body),
        })
    }

    /// No body.
    pub(super) fn empty(status: u16) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: None,
        }
    }

    /// With one header more.
    pub(super) fn with(mut self, name: HeaderName, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// The answer on the wire.
    pub(super) fn into_response(self, media_type: &'static str) -> Response {
        let has_body = self.body.is_some();
        let mut response = Response::new(self.body.map_or_else(Body::empty, Body::from));
        *response.status_mut() = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        if has_body {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
        }
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        for (name, value) in self.headers {
            // what no header can hold (a host name with a line break) is left out
            if let Ok(value) = HeaderValue::from_str(&value) {
                headers.insert(name, value);
            }
        }
        response
    }
}

impl Failure {
    /// The answer that says so.
    pub(super) fn into_answer(self) -> Answer {
        let retry = |seconds: u32, detail: &str| error(&ScimError::new(503, detail)).with(header::RETRY_AFTER, seconds.to_string());
        match self {
            Failure::Scim(scim) => error(&scim),
            Failure::Unauthenticated { token } => {
                let challenge = match token {
                    true => "Bearer realm=\"rolecall\", error=\"invalid_token\"",
                    false => "Bearer realm=\"rolecall\"",
                };
                let detail = "a bearer token of this source is needed (the ScimSource's spec.push.tokens)";
                error(&ScimError::new(401, detail)).with(header::WWW_AUTHENTICATE, challenge)
            }
            Failure::Method(allowed) => {
                let allowed: Vec<&str> = allowed.iter().map(Method::as_str).collect();
                let detail = format!("only {} here", allowed.join(", "));
                error(&ScimError::new(405, detail)).with(header::ALLOW, allowed.join(", "))
            }
            Failure::TooMany(seconds) => {
                let detail = format!("too many requests: again in {seconds} s");
                error(&ScimError::new(429, detail)).with(header::RETRY_AFTER, seconds.to_string())
            }
            Failure::Later(seconds, detail) => retry(seconds, detail),
            Failure::Journal(failed) => match failed {
                journal::Error::TooLarge => error(&ScimError::new(413, "the change is too large for the journal: send it in parts")),
                // What happened and what to do is for the admin, in the ScimSource's conditions.
                journal::Error::Lost(_) => retry(
                    30,
                    "the directory journal is lost; nothing is taken until an admin has looked at the ScimSource",
                ),
                journal::Error::Overloaded => retry(1, "too many requests wait"),
                journal::Error::Deadline => retry(2, "no answer in time; the change may have been made all the same"),
                journal::Error::Fenced | journal::Error::Store(_) | journal::Error::Closed => {
                    retry(5, "the directory journal cannot be reached")
                }
            },
        }
    }
}

fn error(scim: &ScimError) -> Answer {
    Answer {
        status: scim.status,
        headers: Vec::new(),
        body: Some(scim.to_json().to_string().into_bytes()),
    }
}
