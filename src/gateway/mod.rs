//! The gateway: SCIM 2.0 over HTTP, bearer tokens, and the appending side of the journal `directory`. It grants nothing and writes no status.
//!
//! ```text
//!  TLS (server, tls) --> serve: route, tokens, bounds --> asker --> judge, inside Journal::submit --> render --> answer
//!                                                              '--> Journal::read --> list, render --> answer
//! ```
//!
//! Pure: `route`, `extensions`, `bounds`, `tokens`, `jwt`, `judge`, `bulk`, `version`, `members`, `list`, `render`. Edges: `serve` (HTTP), `asker` (the journal), `sources`, `secrets`, `issuers` (ScimSources, Secrets, key sets),
//! `upstream` (directories that are polled), `usage` and `rate` (what is counted), `keeper` (opens the journal, anew after a loss), `cursor` (randomness), `server`, `tls`, `health`, `metrics`.
//!
//! Every write is judged by the directory as of its append, so that two gateways can never create one userName twice; a refusal, or a change
//! of nothing, is answered only when the directory that it was judged by is proven to be the newest.

mod answer;
mod args;
mod asker;
mod bounds;
mod bulk;
mod cursor;
mod extensions;
mod health;
mod issuers;
mod judge;
mod jwt;
mod keeper;
mod list;
mod members;
mod metrics;
mod rate;
mod render;
mod route;
mod secrets;
mod serve;
pub mod server;
mod sources;
#[cfg(test)]
mod tests;
pub mod tls;
pub mod tokens;
mod upstream;
mod usage;
mod version;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use axum::Router;
use kube::Client;
use tokio::sync::Semaphore;

pub use args::Args;
pub use metrics::Metrics;

use crate::directory::Directory;
use crate::journal::Journal;
use crate::ops::fetch::Fetcher;
use crate::ops::metrics::Requests;
use crate::ops::shutdown::Shutdown;
use crate::scim::bulk::MAX_PAYLOAD;
use crate::scim::schema::Limits;
use cursor::Cursors;
use rate::Rates;
use tokens::Sources;
use upstream::poller::Poller;
use usage::Usage;

/// How requests are bounded, and what URLs look like.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The URL before `/scim/v2`; empty: as the client names the host.
    pub public_url: String,
    /// Whether clients speak TLS to us.
    pub tls: bool,
    /// The largest body.
    pub max_body: usize,
    /// The largest page of a list.
    pub max_page: u64,
    /// The page of a list without `count`.
    pub default_page: u64,
    /// How long one request may take.
    pub request_timeout: Duration,
    /// How long its body may take to arrive.
    pub body_timeout: Duration,
    /// How many requests are worked on at once.
    pub max_requests: usize,
    /// How many requests a second one source may make; 0: no limit.
    pub source_rate: u32,
    /// How many requests a second without a good token one address may make; 0: no limit.
    pub stranger_rate: u32,
    /// What cursors are sealed with; none: with something that dies with the process.
    pub cursor_key: Option<CursorKey>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            public_url: String::new(),
            tls: false,
            max_body: 32 * 1024 * 1024,
            max_page: 1000,
            default_page: 100,
            request_timeout: Duration::from_secs(60),
            body_timeout: Duration::from_secs(30),
            max_requests: 2048,
            source_rate: 5_000,
            stranger_rate: 50,
            cursor_key: None,
        }
    }
}

impl Settings {
    fn limits(&self) -> Limits {
        Limits {
            max_page_size: self.max_page,
            default_page_size: self.default_page,
            max_payload_size: self.max_body.min(MAX_PAYLOAD),
        }
    }
}

/// A secret: never shown.
#[derive(Clone)]
pub struct CursorKey(pub Vec<u8>);

impl std::fmt::Debug for CursorKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CursorKey(..)")
    }
}

/// Memory for bodies that are being read.
const BODIES: usize = 256 * 1024 * 1024;
/// How many long pieces of work of each sort are done at once.
const LONG_WORK: usize = 4;

/// What the requests share.
pub struct Gateway {
    settings: Settings,
    sources: Sources,
    metrics: Metrics,
    journal: ArcSwapOption<Journal<Directory>>,
    cursors: Arc<Cursors>,
    usage: Usage,
    rates: Rates,
    requests: Semaphore,
    /// In KiB.
    bodies: Semaphore,
    long_reads: Arc<Semaphore>,
    long_writes: Arc<Semaphore>,
}

impl Gateway {
    /// A gateway that serves these sources, once it has a journal.
    ///
    /// # Errors
    /// A cursor key that is too short.
    pub fn new(settings: Settings, sources: Sources) -> Result<Self, Error> {
        Ok(Self {
            cursors: Arc::new(Cursors::new(settings.cursor_key.as_ref().map(|key| key.0.as_slice())).map_err(Error::CursorKey)?),
            requests: Semaphore::new(settings.max_requests),
            bodies: Semaphore::new(BODIES.max(settings.max_body).div_ceil(1024) + 1),
            long_reads: Arc::new(Semaphore::new(LONG_WORK)),
            long_writes: Arc::new(Semaphore::new(LONG_WORK)),
            usage: Usage::default(),
            rates: Rates::new(settings.source_rate, settings.stranger_rate),
            metrics: Metrics::default(),
            journal: ArcSwapOption::empty(),
            settings,
            sources,
        })
    }

    /// From now on requests use this journal; `None`: they are answered 503.
    pub fn use_journal(&self, journal: Option<Journal<Directory>>) {
        self.journal.store(journal.map(Arc::new));
    }

    /// Why requests cannot be answered now; `None` when they can.
    pub fn trouble(&self) -> Option<String> {
        let journal = self.journal.load();
        match journal.as_ref().map(|journal| journal.snapshot().position.loss) {
            None => Some("the directory journal is not open".to_owned()),
            Some(Some(loss)) => Some(format!("the directory journal is lost: {loss}")),
            Some(None) => None,
        }
    }
}

/// The SCIM service. Health and metrics are apart, on another port.
pub fn router(gateway: Arc<Gateway>) -> Router {
    Router::new().fallback(serve::serve).with_state(gateway)
}

/// Why a gateway cannot run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An address that cannot be listened on.
    #[error("cannot listen on {0}")]
    Listen(String, #[source] std::io::Error),
    /// Plain HTTP where others could read along.
    #[error(
        "{0} is not a loopback address, and SCIM without TLS is readable on the way: give --tls-cert and --tls-key, or --insecure-http"
    )]
    Plain(String),
    /// The certificate or its key.
    #[error("TLS cannot be set up")]
    Tls(#[source] tls::Error),
    /// A server that stopped.
    #[error("the server stopped")]
    Serve(#[source] std::io::Error),
    /// The watch of the sources, or the keeper of the journal.
    #[error("a part of the gateway ended unexpectedly")]
    Task,
    /// `--public-url`.
    #[error("--public-url: a base URL has no query and no fragment")]
    PublicUrl,
    /// `--cursor-key`.
    #[error("--cursor-key: {0}")]
    CursorKey(String),
    /// `--upstream-ca`.
    #[error("--upstream-ca: {0}")]
    UpstreamCa(String),
    /// `--expect-head`.
    #[error("--expect-head: {0}")]
    ExpectHead(String),
}

/// Without TLS a gateway serves on loopback addresses only, unless it is told otherwise (RFC 7644 §7.2).
fn check_readable(address: std::net::SocketAddr, allowed: bool) -> Result<(), Error> {
    match allowed || address.ip().is_loopback() {
        true => Ok(()),
        false => Err(Error::Plain(address.to_string())),
    }
}

/// Runs until the process should end. Requests in flight are answered first.
///
/// # Errors
/// When it cannot listen, or TLS cannot be set up. A journal that is not there, or lost, is waited for, and requests are answered 503.
pub async fn main(args: Args, client: Client, shutdown: Shutdown, requests: &Requests) -> Result<(), Error> {
    let expected = args.expected().map_err(Error::ExpectHead)?;
    let tls = args.tls().map_err(Error::Tls)?;
    let listener = server::bind(&args.listen).await?;
    let address = listener.local_addr().map_err(|error| Error::Listen(args.listen.clone(), error))?;
    check_readable(address, tls.is_some() || args.insecure_http)?;
    let sources = Sources::default();
    let gateway = Arc::new(Gateway::new(args.settings(tls.is_some())?, sources.clone())?);
    requests.register(&gateway.metrics.page);
    let fetcher = Arc::new(Fetcher::new(&args.reach).map_err(Error::UpstreamCa)?);
    let (watch, synced) = sources::Watch::new(&args, client.clone(), fetcher.clone(), sources);
    // a writer is one process: what stands in the journal tells two apart that have one name
    let writer = format!("gateway/{}/{}", args.identity, &uuid::Uuid::new_v4().simple().to_string()[..8]);
    let poller = Poller {
        client: client.clone(),
        namespace: args.namespace.clone(),
        writer: writer.clone(),
        gateway: gateway.clone(),
        fetcher,
        patience: args.poll_patience,
    };
    let polled = synced.clone();
    let mut tasks = tokio::task::JoinSet::new();
    if !args.health_address.is_empty() {
        let health = server::bind(&args.health_address).await?;
        let router = health::router(gateway.clone(), synced.clone(), shutdown.clone());
        tasks.spawn(async move {
            // it answers as long as the process lives
            let (_end, never) = tokio::sync::watch::channel(false);
            server::run(health, None, router, never, server::Timeouts::default()).await
        });
    }
    tasks.spawn(async move {
        watch.run().await;
        Ok(())
    });
    let keeper = keeper::Keeper::new(&args, &writer, client, gateway.clone(), synced, expected);
    tasks.spawn(async move {
        keeper.run().await;
        Ok(())
    });
    tasks.spawn(async move {
        poller.run(polled).await;
        Ok(())
    });
    if let Some(tls) = &tls {
        let (tls, every) = (tls.clone(), args.refresh);
        tasks.spawn(async move {
            tls.follow(every).await;
            Ok(())
        });
    }
    tracing::info!(%address, tls = tls.is_some(), "serving SCIM");
    let served = tokio::select! {
        served = server::run(listener, tls, router(gateway), shutdown, args.timeouts()) => served.map_err(Error::Serve),
        // none of them ends by itself: without it the gateway would go on with what it knew
        Some(_) = tasks.join_next() => Err(Error::Task),
    };
    tasks.shutdown().await;
    served
}
