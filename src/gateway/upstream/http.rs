//! Asks a directory over HTTP: one host only, with a credential, patiently, and within bounds. What the answers mean is not known here.

use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::{Client, Method, RequestBuilder, Url};
use serde_json::Value;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};

use super::Failure;
use crate::ops::fetch::{self, Timeouts};

/// The largest answer. A group of 200,000 members is one of 15 MB or more.
const LARGEST: usize = 64 * 1024 * 1024;
/// The largest answer to a request for a token.
const LARGEST_TOKEN: usize = 256 * 1024;
/// How often one thing is asked for.
const ATTEMPTS: u32 = 5;
/// How long a directory may ask to wait, in all, for one answer.
const PATIENCE: Duration = Duration::from_secs(300);
/// The longest time that a directory is left alone because it asks for that.
const LONGEST: Duration = Duration::from_secs(3600);
/// A token is asked for anew so long before it ends.
const EARLY: Duration = Duration::from_secs(60);
/// How long answers may take.
pub(super) const TIMEOUTS: Timeouts = Timeouts {
    connect: Duration::from_secs(10),
    read: Duration::from_secs(30),
    whole: Duration::from_secs(120),
};
/// The first wait after an error.
pub(super) const PAUSE: Duration = Duration::from_secs(1);

/// How Rolecall proves who it is.
pub(super) enum Credential {
    /// By the certificate of the client alone.
    None,
    /// By a header that stays the same.
    Header(HeaderValue),
    /// By a token that is asked for.
    Token(Box<Tokens>),
}

/// One directory.
pub(super) struct Http {
    client: Client,
    base: Url,
    credential: Credential,
    pause: Duration,
    quota: fn(u16, &Value) -> bool,
}

/// An answer: 200, 304 (null), 400, 404, 409 or 410.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Value,
}

/// What became of one attempt.
enum Attempt {
    Done(Answer),
    /// The token may have ended.
    Unauthorized,
    /// Ask again: after so long, if the directory says so.
    Again(Failure),
}

impl Http {
    /// Asks one host: that of `base`.
    pub(super) fn new(client: Client, base: Url, credential: Credential, pause: Duration) -> Self {
        Self {
            client,
            base,
            credential,
            pause,
            quota: |_, _| false,
        }
    }

    /// What else says that the quota is used up, beside 429.
    pub(super) fn with_quota(self, quota: fn(u16, &Value) -> bool) -> Self {
        Self { quota, ..self }
    }

    /// The URL below the base: `path` begins with a slash.
    pub(super) fn url(&self, path: &str, query: &[(&str, &str)]) -> Url {
        let mut url = self.base.clone();
        url.set_path(&format!("{}{path}", self.base.path().trim_end_matches('/')));
        if !query.is_empty() {
            // %20, not `+`: what every server understands
            let encode = |text: &str| percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string();
            let pairs: Vec<String> = query
                .iter()
                .map(|(name, value)| format!("{}={}", encode_name(name), encode(value)))
                .collect();
            url.set_query(Some(&pairs.join("&")));
        }
        url
    }

    /// A URL that the directory named: of its own host only.
    pub(super) fn named(&self, text: &str) -> Result<Url, Failure> {
        let url = self
            .base
            .join(text)
            .map_err(|_| Failure::new("BadAnswer", "it names a URL that cannot be read"))?;
        match url.origin() == self.base.origin() {
            true => Ok(url),
            false => Err(Failure::new(
                "OtherHost",
                format!("it names a URL of another host ({})", url.host_str().unwrap_or_default()),
            )),
        }
    }

    /// Asks, again and again while that may help.
    pub(super) async fn get(&self, url: &Url, headers: &[(HeaderName, HeaderValue)]) -> Result<Answer, Failure> {
        let url = self.named(url.as_str())?;
        let begun = Instant::now();
        let (mut refreshed, mut tries) = (false, 0);
        loop {
            let mut request = self.client.request(Method::GET, url.clone());
            for (name, value) in headers {
                request = request.header(name, value);
            }
            if let Some(value) = self.authorization(false).await? {
                request = request.header(AUTHORIZATION, value);
            }
            let failure = match self.attempt(request).await? {
                Attempt::Done(answer) => return Ok(answer),
                Attempt::Unauthorized if !refreshed && matches!(self.credential, Credential::Token(_)) => {
                    refreshed = true;
                    self.authorization(true).await?;
                    continue;
                }
                Attempt::Unauthorized => {
                    return Err(Failure::new(
                        "Unauthorized",
                        format!("{} answered 401: the credential is not accepted", self.host()),
                    ));
                }
                Attempt::Again(failure) => failure,
            };
            tries += 1;
            let wait = failure.after.unwrap_or(self.pause * 2u32.saturating_pow(tries - 1));
            if tries >= ATTEMPTS || begun.elapsed() + wait > PATIENCE {
                return Err(failure);
            }
            sleep(wait).await;
        }
    }

    /// The host, for messages.
    pub(super) fn host(&self) -> &str {
        self.base.host_str().unwrap_or_default()
    }

    async fn attempt(&self, request: RequestBuilder) -> Result<Attempt, Failure> {
        let host = self.host();
        let mut response = match request.send().await {
            Ok(response) => response,
            Err(error) => {
                return Ok(Attempt::Again(Failure::new(
                    "Unreachable",
                    format!("{host}: {}", fetch::all(&error)),
                )));
            }
        };
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        if status == 401 {
            return Ok(Attempt::Unauthorized);
        }
        if (300..400).contains(&status) && status != 304 {
            return Err(Failure::new(
                "Redirected",
                format!("{host} answered {status}: redirects are not followed, give the URL that it leads to"),
            ));
        }
        let body = match fetch::body(&mut response, LARGEST).await {
            Ok(body) => body,
            Err(why) => return Ok(Attempt::Again(Failure::new("Unreachable", format!("{host}: {why}")))),
        };
        let json: Result<Value, _> = serde_json::from_slice(&body);
        let spoken = json.as_ref().unwrap_or(&Value::Null);
        let limited = status == 429 || (self.quota)(status, spoken);
        let again = |reason, message: String| {
            let mut failure = Failure::new(reason, message);
            failure.after = patience(&headers, limited);
            Ok(Attempt::Again(failure))
        };
        match (status, json) {
            _ if limited => again("RateLimited", format!("{host} answered {status}: the quota is used up")),
            (304, _) => Ok(Attempt::Done(Answer {
                status,
                headers,
                body: Value::Null,
            })),
            (200, Ok(body @ (Value::Object(_) | Value::Array(_)))) => Ok(Attempt::Done(Answer { status, headers, body })),
            (200, _) => again("BadAnswer", format!("{host} answered 200 with something that is not JSON")),
            (400 | 404 | 409 | 410, body) => Ok(Attempt::Done(Answer {
                status,
                headers,
                body: body.unwrap_or_default(),
            })),
            (403, _) => Err(Failure::new(
                "Forbidden",
                format!("{host} answered 403: the credential has not the rights that are needed"),
            )),
            (408 | 500..=599, _) => again("ServerError", format!("{host} answered {status}")),
            _ => Err(Failure::new("BadAnswer", format!("{host} answered {status}"))),
        }
    }

    async fn authorization(&self, anew: bool) -> Result<Option<HeaderValue>, Failure> {
        match &self.credential {
            Credential::None => Ok(None),
            Credential::Header(value) => Ok(Some(value.clone())),
            Credential::Token(tokens) => tokens.get(anew).await.map(Some),
        }
    }
}

/// The name of a parameter: `$select`, `startIndex`.
fn encode_name(name: &str) -> String {
    const KEPT: &percent_encoding::AsciiSet = &percent_encoding::NON_ALPHANUMERIC
        .remove(b'$')
        .remove(b'_')
        .remove(b'-')
        .remove(b'.');
    percent_encoding::utf8_percent_encode(name, KEPT).to_string()
}

/// How long the directory asks to wait: `Retry-After` (RFC 9110 §10.2.3), or if its quota is used up the second at which that begins anew (Okta, which says it in
/// every answer).
fn patience(headers: &HeaderMap, limited: bool) -> Option<Duration> {
    asked(headers, limited).map(|wait| wait.min(LONGEST))
}

fn asked(headers: &HeaderMap, limited: bool) -> Option<Duration> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let until = |time: jiff::Timestamp| Duration::try_from(time.duration_since(jiff::Timestamp::now())).unwrap_or_default();
    if let Some(after) = text(RETRY_AFTER.as_str()) {
        let date = || jiff::fmt::rfc2822::parse(after).ok().map(|time| until(time.timestamp()));
        return after.parse().ok().map(Duration::from_secs).or_else(date);
    }
    let reset: i64 = text("x-rate-limit-reset").filter(|_| limited)?.parse().ok()?;
    jiff::Timestamp::from_second(reset)
        .ok()
        .map(|time| until(time) + Duration::from_secs(1))
}

/// `Authorization: Bearer`, never shown.
pub(super) fn bearer(token: &str) -> Result<HeaderValue, Failure> {
    header(&format!("Bearer {}", token.trim()))
}

/// A header that is never shown.
pub(super) fn header(text: &str) -> Result<HeaderValue, Failure> {
    let mut value =
        HeaderValue::from_str(text).map_err(|_| Failure::new("BadCredential", "the credential has characters that no header may have"))?;
    value.set_sensitive(true);
    Ok(value)
}

/// What is sent to ask for a token; made anew each time, as a signed assertion has a time.
pub(super) type Form = Box<dyn Fn() -> Result<Vec<(&'static str, String)>, Failure> + Send + Sync>;

/// Tokens of an authorization server (RFC 6749 §4.4, RFC 7523).
pub(super) struct Tokens {
    client: Client,
    url: Url,
    /// None: it is a GET to the metadata server.
    form: Option<Form>,
    /// Name and secret, sent as HTTP Basic (RFC 6749 §2.3.1).
    basic: Option<(String, String)>,
    held: Mutex<Option<(HeaderValue, Instant)>>,
}

impl Tokens {
    pub(super) fn new(client: Client, url: Url, basic: Option<(String, String)>, form: Form) -> Self {
        Self {
            client,
            url,
            form: Some(form),
            basic,
            held: Mutex::new(None),
        }
    }

    /// Tokens of the service account of the pod, by Google Cloud's metadata server: the one address that is asked without TLS, as it is reached on the node itself.
    pub(super) fn of_metadata_server(query: &str) -> Result<Self, Failure> {
        const PLACE: &str = "http://metadata.google.internal/computeMetadata/v1/instance/service-accounts/default/token";
        let failed = |what: String| Failure::new("NoToken", format!("the metadata server cannot be asked: {what}"));
        let client = Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(TIMEOUTS.connect);
        Ok(Self {
            client: client.build().map_err(|error| failed(fetch::all(&error)))?,
            url: format!("{PLACE}{query}")
                .parse()
                .map_err(|_| failed("the URL cannot be read".to_owned()))?,
            form: None,
            basic: None,
            held: Mutex::new(None),
        })
    }

    async fn get(&self, anew: bool) -> Result<HeaderValue, Failure> {
        let mut held = self.held.lock().await;
        if let Some((value, _)) = held.as_ref().filter(|(_, end)| !anew && Instant::now() < *end) {
            return Ok(value.clone());
        }
        let (value, lasts) = self.ask().await?;
        *held = Some((value.clone(), Instant::now() + lasts.saturating_sub(EARLY)));
        Ok(value)
    }

    async fn ask(&self) -> Result<(HeaderValue, Duration), Failure> {
        let host = self.url.host_str().unwrap_or_default();
        let failed = |what: String| Failure::new("NoToken", format!("{host} gives no token: {what}"));
        let mut request = match &self.form {
            Some(form) => {
                let request = self
                    .client
                    .post(self.url.clone())
                    .header("content-type", "application/x-www-form-urlencoded");
                request.body(url_encoded(&form()?))
            }
            None => self.client.get(self.url.clone()).header("metadata-flavor", "Google"),
        };
        request = request.header("accept", "application/json");
        if let Some((name, secret)) = &self.basic {
            request = request.basic_auth(name, Some(secret));
        }
        let mut response = request.send().await.map_err(|error| failed(fetch::all(&error)))?;
        let status = response.status().as_u16();
        let body = fetch::body(&mut response, LARGEST_TOKEN).await.map_err(failed)?;
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        if status != 200 {
            // the error's code is a word of the RFC's; its description may have anything
            let code = body["error"].as_str().filter(|code| code.len() < 64).unwrap_or_default();
            return Err(failed(format!("it answered {status} {code}").trim_end().to_owned()));
        }
        let token = body["access_token"]
            .as_str()
            .ok_or_else(|| failed("there is none in its answer".to_owned()))?;
        let lasts = body["expires_in"].as_u64().or_else(|| body["expires_in"].as_str()?.parse().ok());
        Ok((bearer(token)?, Duration::from_secs(lasts.unwrap_or(300))))
    }
}

fn url_encoded(pairs: &[(&str, String)]) -> String {
    let encode = |text: &str| percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string();
    let pairs: Vec<String> = pairs
        .iter()
        .map(|(name, value)| format!("{}={}", encode(name), encode(value)))
        .collect();
    pairs.join("&")
}
