//! An HTTP proxy on loopback between a process of ours and the API server: it holds and delays writes, loses, delays and falsifies answers,
//! refuses, stalls and expires watches and cuts connections. No test of the product lives here, only those of the proxy.

#![allow(dead_code, reason = "a fixture: not every test needs all of it")]

use std::convert::Infallible;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::stream;
use http::{HeaderMap, Request, Response, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};
use tokio::task::AbortHandle;

use crate::cluster::Cluster;
use crate::system::until;

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Asked {
    pub method: String,
    pub path: String,
    pub query: String,
    pub body: Bytes,
    pub at: Instant,
}

impl Asked {
    /// Whether it is this method on a path that holds `path`.
    pub fn is(&self, method: &str, path: &str) -> bool {
        self.method == method && self.path.contains(path)
    }

    /// Whether the body holds a text.
    pub fn says(&self, text: &str) -> bool {
        String::from_utf8_lossy(&self.body).contains(text)
    }

    /// Whether it is a watch.
    pub fn watches(&self) -> bool {
        self.method == "GET" && (self.query.contains("watch=true") || self.query.contains("watch=1"))
    }

    /// Whether it only asks what would be.
    pub fn dry(&self) -> bool {
        self.query.contains("dryRun=")
    }

    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }
}

/// A write that passed through, and the API server's status; `None` while there is none, or when there never was one.
#[derive(Clone, Debug)]
pub struct Passed {
    pub asked: Asked,
    pub status: Option<u16>,
    pub message: String,
    pub answered: Option<Instant>,
}

impl Passed {
    /// Whether the API server did it.
    pub fn done(&self) -> bool {
        self.status.is_some_and(|s| s < 300)
    }
}

/// What happens to a request that a rule matches.
#[derive(Clone, Debug)]
pub enum Action {
    /// It is sent when the rule is released, whether or not the one who sent it still waits.
    Hold,
    /// It is sent, and the answer is lost.
    DropReply,
    /// It is answered with this status and message, and never sent.
    Refuse(u16, String),
    /// The connection is cut, and it is never sent.
    Cut,
    /// It is sent; the answer's body stands still until the rule is released.
    Stall,
    /// It is sent after so long.
    Slow(Duration),
    /// It is sent at once, and answered after so long.
    Late(Duration),
    /// It is sent, and answered with this status whatever came of it.
    Belie(u16),
    /// A watch: it is answered with the event that its version is too old, and never sent.
    Expire,
}

type Matches = Box<dyn Fn(&Asked) -> bool + Send + Sync>;

struct RuleState {
    matches: Matches,
    action: Action,
    left: AtomicUsize,
    open: watch::Sender<bool>,
    taken: Mutex<Vec<usize>>,
}

struct Shared {
    upstream: reqwest::Client,
    target: String,
    rules: Mutex<Vec<Arc<RuleState>>>,
    passed: Mutex<Vec<Passed>>,
    connections: Mutex<Vec<AbortHandle>>,
    away: AtomicBool,
}

/// The proxy; it ends with the test's runtime, or when it is dropped.
pub struct Proxy {
    pub url: String,
    shared: Arc<Shared>,
    server: AbortHandle,
}

/// One rule of a proxy; it takes no more requests when it is dropped. What it holds then stays held.
pub struct Rule {
    state: Arc<RuleState>,
    shared: Arc<Shared>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

// === impl Proxy ===

impl Proxy {
    /// A proxy before this cluster's API server, on a free port.
    pub async fn before(cluster: &Cluster) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let ca = fs::read(cluster.dir().join("pki/ca.crt")).expect("the cluster's CA");
        let ca = reqwest::Certificate::from_pem(&ca).expect("a certificate");
        let upstream = reqwest::Client::builder()
            .tls_certs_only([ca])
            .no_proxy()
            .tcp_nodelay(true)
            .build()
            .expect("a client");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let shared = Arc::new(Shared {
            upstream,
            target: cluster.url(),
            rules: Mutex::default(),
            passed: Mutex::default(),
            connections: Mutex::default(),
            away: AtomicBool::new(false),
        });
        let server = tokio::spawn(accept(listener, Arc::clone(&shared))).abort_handle();
        Self { url, shared, server }
    }

    /// A kubeconfig file for the holder of a token who speaks through this proxy.
    pub fn kubeconfig(&self, cluster: &Cluster, name: &str, token: &str) -> PathBuf {
        let path = cluster.dir().join(format!("{name}.proxied.kubeconfig"));
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "proxied",
            "clusters": [{"name": "proxied", "cluster": {"server": self.url}}],
            "users": [{"name": "proxied", "user": {"token": token}}],
            "contexts": [{"name": "proxied", "context": {"cluster": "proxied", "user": "proxied"}}],
        });
        fs::write(&path, config.to_string()).expect("a kubeconfig");
        path
    }

    /// Does this to every request that matches. The oldest rule that matches counts.
    pub fn rule(&self, action: Action, matches: impl Fn(&Asked) -> bool + Send + Sync + 'static) -> Rule {
        self.rule_for(usize::MAX, action, matches)
    }

    /// The same, for so many requests.
    pub fn rule_for(&self, times: usize, action: Action, matches: impl Fn(&Asked) -> bool + Send + Sync + 'static) -> Rule {
        let state = Arc::new(RuleState {
            matches: Box::new(matches),
            action,
            left: AtomicUsize::new(times),
            open: watch::Sender::new(false),
            taken: Mutex::default(),
        });
        lock(&self.shared.rules).push(Arc::clone(&state));
        Rule {
            state,
            shared: Arc::clone(&self.shared),
        }
    }

    /// Cuts every connection that there is.
    pub fn cut(&self) {
        for connection in lock(&self.shared.connections).drain(..) {
            connection.abort();
        }
    }

    /// Whether nobody gets through. What is connected is cut when it begins.
    pub fn away(&self, away: bool) {
        self.shared.away.store(away, Ordering::SeqCst);
        if away {
            self.cut();
        }
    }

    /// When the last of the newest writes that are like this was answered, or came.
    pub fn last(&self, like: impl Fn(&Asked) -> bool) -> Option<Instant> {
        let passed = lock(&self.shared.passed);
        let newest = passed.iter().rev().take(500).filter(|p| like(&p.asked));
        newest.map(|p| p.answered.unwrap_or(p.asked.at)).max()
    }

    /// Every write that came so far, in the order in which they came.
    pub fn writes(&self) -> Vec<Passed> {
        lock(&self.shared.passed).clone()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.server.abort();
        self.cut();
    }
}

// === impl Rule ===

impl Rule {
    /// What it took so far, as it stands now.
    pub fn taken(&self) -> Vec<Passed> {
        let passed = lock(&self.shared.passed);
        lock(&self.state.taken).iter().map(|at| passed[*at].clone()).collect()
    }

    /// Whether it takes no more.
    pub fn used_up(&self) -> bool {
        self.state.left.load(Ordering::SeqCst) == 0
    }

    /// Waits until it took so many.
    #[track_caller]
    pub fn until(&self, count: usize, within: Duration) -> impl Future<Output = ()> + '_ {
        let at = std::panic::Location::caller();
        async move {
            let enough = until(within, || async { lock(&self.state.taken).len() >= count }).await;
            assert!(enough.is_ok(), "{at}: {} of {count} requests came", lock(&self.state.taken).len());
        }
    }

    /// Lets go what it holds, and holds nothing more.
    pub fn release(&self) {
        self.state.left.store(0, Ordering::SeqCst);
        self.state.open.send_replace(true);
    }

    /// Stops what is stalled, or lets it go on, as often as one likes.
    pub fn stall(&self, stalled: bool) {
        self.state.open.send_replace(!stalled);
    }

    /// Lets go what it holds, and waits until each was answered by the API server.
    #[track_caller]
    pub fn released(&self, within: Duration) -> impl Future<Output = Vec<Passed>> + '_ {
        let at = std::panic::Location::caller();
        self.release();
        async move {
            let all = until(within, || async { self.taken().iter().all(|p| p.answered.is_some()) }).await;
            let taken = self.taken();
            assert!(all.is_ok(), "{at}: a released request was not answered: {taken:?}");
            taken
        }
    }
}

impl Drop for Rule {
    fn drop(&mut self) {
        lock(&self.shared.rules).retain(|r| !Arc::ptr_eq(r, &self.state));
    }
}

// === the server ===

type Body = UnsyncBoxBody<Bytes, io::Error>;

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept().await {
        if shared.away.load(Ordering::SeqCst) {
            continue;
        }
        let of = Arc::clone(&shared);
        let task = tokio::spawn(connection(stream, of)).abort_handle();
        let mut connections = lock(&shared.connections);
        connections.retain(|c| !c.is_finished());
        connections.push(task);
    }
}

async fn connection(stream: TcpStream, shared: Arc<Shared>) {
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| serve(request, Arc::clone(&shared)));
    let _ = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

fn lost(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, why)
}

async fn serve(request: Request<Incoming>, shared: Arc<Shared>) -> Result<Response<Body>, io::Error> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map_err(|e| lost(&e.to_string()))?.to_bytes();
    let asked = Asked {
        method: parts.method.to_string(),
        path: parts.uri.path().to_owned(),
        query: parts.uri.query().unwrap_or_default().to_owned(),
        body,
        at: Instant::now(),
    };
    let rule = lock(&shared.rules).iter().find(|rule| takes(rule, &asked)).cloned();
    let at = note(&shared, rule.as_deref(), &asked);
    let action = rule.as_ref().map(|r| r.action.clone());
    let instead = match &action {
        Some(Action::Cut) => return Err(lost("cut")),
        Some(Action::Refuse(code, message)) => Some(refusal(*code, message)),
        Some(Action::Expire) => Some(expired()),
        _ => None,
    };
    if let Some(instead) = instead {
        if let Some(at) = at {
            lock(&shared.passed)[at].answered = Some(Instant::now());
        }
        return Ok(instead);
    }
    // A task of its own: it goes on when the one who asked has gone.
    let (answer, answered) = oneshot::channel();
    let stall = rule.clone().filter(|r| matches!(r.action, Action::Stall));
    tokio::spawn(async move { answer.send(forward(&shared, rule.as_deref(), asked, parts.headers, at).await) });
    let reply = answered.await.map_err(|_| lost("ended"))??;
    match action {
        Some(Action::Belie(code)) => return Ok(refusal(code, "this says nothing of what was done")),
        Some(Action::Late(pause)) => tokio::time::sleep(pause).await,
        _ => {}
    }
    Ok(reply_of(reply, stall))
}

fn takes(rule: &RuleState, asked: &Asked) -> bool {
    rule.left.load(Ordering::SeqCst) > 0
        && (rule.matches)(asked)
        && rule
            .left
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1))
            .is_ok()
}

/// Remembers writes, and whatever a rule takes.
fn note(shared: &Shared, rule: Option<&RuleState>, asked: &Asked) -> Option<usize> {
    if asked.method == "GET" && rule.is_none() {
        return None;
    }
    let mut passed = lock(&shared.passed);
    passed.push(Passed {
        asked: asked.clone(),
        status: None,
        message: String::new(),
        answered: None,
    });
    let at = passed.len() - 1;
    if let Some(rule) = rule {
        lock(&rule.taken).push(at);
    }
    Some(at)
}

async fn forward(
    shared: &Shared,
    rule: Option<&RuleState>,
    asked: Asked,
    mut headers: HeaderMap,
    at: Option<usize>,
) -> Result<reqwest::Response, io::Error> {
    if let Some(rule) = rule.filter(|r| matches!(r.action, Action::Hold)) {
        let mut open = rule.open.subscribe();
        let _ = open.wait_for(|open| *open).await;
    }
    if let Some(Action::Slow(pause)) = rule.map(|r| &r.action) {
        tokio::time::sleep(*pause).await;
    }
    for name in [header::HOST, header::CONNECTION, header::CONTENT_LENGTH, header::TRANSFER_ENCODING] {
        headers.remove(name);
    }
    let url = match asked.query.is_empty() {
        true => format!("{}{}", shared.target, asked.path),
        false => format!("{}{}?{}", shared.target, asked.path, asked.query),
    };
    let method = asked.method.parse().map_err(|_| lost("no method"))?;
    let sent = shared.upstream.request(method, url).headers(headers).body(asked.body).send().await;
    if let Some(at) = at {
        let mut passed = lock(&shared.passed);
        passed[at].status = sent.as_ref().ok().map(|r| r.status().as_u16());
        passed[at].message = sent.as_ref().err().map(ToString::to_string).unwrap_or_default();
        passed[at].answered = Some(Instant::now());
    }
    let reply = sent.map_err(|e| lost(&e.to_string()))?;
    if rule.is_some_and(|r| matches!(r.action, Action::DropReply)) {
        let _ = reply.bytes().await;
        return Err(lost("the answer is lost"));
    }
    Ok(reply)
}

fn reply_of(reply: reqwest::Response, stall: Option<Arc<RuleState>>) -> Response<Body> {
    let mut response = Response::builder().status(reply.status());
    for (name, value) in reply.headers() {
        if ![header::CONNECTION, header::CONTENT_LENGTH, header::TRANSFER_ENCODING].contains(name) {
            response = response.header(name, value);
        }
    }
    // Chunk by chunk, as they come: a watch must not wait for more.
    let chunks = stream::unfold((reply, stall), |(mut reply, stall)| async move {
        let chunk = reply.chunk().await;
        if let Some(rule) = &stall {
            let mut open = rule.open.subscribe();
            let _ = open.wait_for(|open| *open).await;
        }
        match chunk {
            Ok(Some(bytes)) => Some((Ok(Frame::data(bytes)), (reply, stall))),
            Ok(None) => None,
            Err(error) => Some((Err(lost(&error.to_string())), (reply, stall))),
        }
    });
    response.body(StreamBody::new(chunks).boxed_unsync()).expect("a response")
}

fn status(code: u16, message: &str) -> Value {
    let reason = match code {
        403 => "Forbidden",
        404 => "NotFound",
        409 => "Conflict",
        410 => "Expired",
        422 => "Invalid",
        429 => "TooManyRequests",
        503 => "ServiceUnavailable",
        _ => "InternalError",
    };
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message, "reason": reason, "code": code})
}

fn answer(code: u16, text: String) -> Response<Body> {
    let body = Full::new(Bytes::from(text)).map_err(|e: Infallible| match e {});
    let mut response = Response::builder().status(code).header(header::CONTENT_TYPE, "application/json");
    if code == 429 {
        response = response.header(header::RETRY_AFTER, "1");
    }
    response.body(body.boxed_unsync()).expect("a response")
}

fn refusal(code: u16, message: &str) -> Response<Body> {
    answer(code, status(code, message).to_string())
}

/// As an API server says it: in the stream.
fn expired() -> Response<Body> {
    let event = json!({"type": "ERROR", "object": status(410, "too old resource version")});
    answer(200, format!("{event}\n"))
}

#[cfg(test)]
#[path = "proxy_tests.rs"]
mod tests;
