//! The controller: watches, decides by the pure functions of `access`, writes bindings and every status. It has no door to the outside.
//!
//! [`main`] waits for the Lease and then runs one [`engine`] for one term; when the term ends, all of it is dropped and a new one starts from nothing.

mod acceptance;
pub mod answers;
pub mod apply;
pub mod bindings;
pub mod deletion;
pub mod ends;
pub mod engine;
pub mod evaluate;
pub mod evidence;
pub mod expiry;
pub mod fence;
pub mod grants;
pub mod guards;
mod health;
mod holds;
mod known;
pub mod memory;
pub mod metrics;
pub mod observe;
pub mod owner;
mod places;
pub mod queue;
pub mod recorder;
mod reselect;
mod sightings;
pub mod standing;
pub mod start;
pub mod status;
pub mod stopgap;
mod survey;
pub mod tell;
pub mod work;
pub mod world;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use tokio::task::JoinHandle;

use crate::ops::lease::{Config as LeaseConfig, Elector, End};
use crate::ops::metrics::Requests;
use crate::ops::shutdown::Shutdown;

/// How the controller runs.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The class of sources and mappings that this installation acts on; empty: those without a class.
    #[arg(long, env = "ROLECALL_CLASS", default_value = "")]
    pub class: String,
    /// Rolecall's own namespace: its Lease and its journals are there.
    #[arg(long, env = "ROLECALL_NAMESPACE", default_value = "rolecall")]
    pub namespace: String,
    /// The prefix of the names of the Lease and the admission policies: the chart's full name.
    #[arg(long, env = "ROLECALL_FULLNAME", default_value = "rolecall")]
    pub fullname: String,
    /// The access policy, a file that the chart renders from its values. Read again when it changes.
    #[arg(long, env = "ROLECALL_ACCESS_POLICY", default_value = "/etc/rolecall/access-policy.yaml")]
    pub access_policy: PathBuf,
    /// How the provider reaches the gateway, for `status.url` of the sources, such as `https://rolecall.example.com`.
    #[arg(long, env = "ROLECALL_PUBLIC_URL", default_value = "")]
    pub public_url: String,
    /// What identifies this process in the Lease, such as the pod's name.
    #[arg(long, env = "ROLECALL_IDENTITY", default_value = "controller")]
    pub identity: String,
    /// Others wait so long after the last renewal of the Lease.
    #[arg(long, env = "ROLECALL_LEASE_DURATION", default_value = "15s", value_parser = seconds)]
    pub lease_duration: Duration,
    /// The leader steps down when no renewal was answered for so long.
    #[arg(long, env = "ROLECALL_RENEW_DEADLINE", default_value = "10s", value_parser = seconds)]
    pub renew_deadline: Duration,
    /// How often the Lease is renewed or tried for.
    #[arg(long, env = "ROLECALL_RETRY_PERIOD", default_value = "2s", value_parser = seconds)]
    pub retry_period: Duration,
    /// The deadline of one write.
    #[arg(long, env = "ROLECALL_WRITE_DEADLINE", default_value = "5s", value_parser = seconds)]
    pub write_deadline: Duration,
    /// How long a new leader waits, once the fence was seen to refuse the old term, for other API servers to see it too.
    #[arg(long, env = "ROLECALL_FENCE_DELAY", default_value = "2s", value_parser = seconds)]
    pub fence_delay: Duration,
    /// After a start, a mapping or source that is absent counts as deleted only when so long has passed: a restore may be running.
    #[arg(long, env = "ROLECALL_ABSENCE_DELAY", default_value = "60s", value_parser = seconds)]
    pub absence_delay: Duration,
    /// A source that is gone counts as deleted only when it has been gone for so long: applied again before that (`kubectl replace --force`, a restore), it
    /// goes on with its directory.
    #[arg(long, env = "ROLECALL_REPLACE_DELAY", default_value = "5s", value_parser = seconds)]
    pub replace_delay: Duration,
    /// How long an empty binding stands that keeps the name of a lost POST, once that POST's term is over.
    #[arg(long, env = "ROLECALL_TOMBSTONE_DELAY", default_value = "120s", value_parser = seconds)]
    pub tombstone_delay: Duration,
    /// How long an unreachable segment is kept before it is removed.
    #[arg(long, env = "ROLECALL_GARBAGE_DELAY", default_value = "60s", value_parser = seconds)]
    pub garbage_delay: Duration,
    /// Both journals are proved at least this often: after an etcd restore a watch says nothing.
    #[arg(long, env = "ROLECALL_PROOF_INTERVAL", default_value = "30s", value_parser = seconds)]
    pub proof_interval: Duration,
    /// How often it is looked at what others granted, and what roles permit (`UnmanagedAccess`, `RoleChanged`); `0s`: never.
    #[arg(long, env = "ROLECALL_SURVEY_INTERVAL", default_value = "10m", value_parser = seconds)]
    pub survey_interval: Duration,
    /// Refuse to start unless the directory journal has reached this head: `<id>/<index>/<head>` as a log line shows it, or `<id>/<index>` as
    /// the metrics do.
    #[arg(long, env = "ROLECALL_EXPECT_HEAD")]
    pub expect_head: Option<String>,
    /// Where health and metrics are served, such as `127.0.0.1:8081`; empty: nowhere.
    #[arg(long, env = "ROLECALL_HEALTH_ADDRESS", default_value = "")]
    pub health_address: String,
}

/// `15s`, `200ms`, `2m`.
///
/// # Errors
/// When the text is no duration.
pub fn seconds(text: &str) -> Result<Duration, String> {
    let span: jiff::SignedDuration = text.parse().map_err(|e: jiff::Error| e.to_string())?;
    Duration::try_from(span).map_err(|e| e.to_string())
}

/// Runs until the process should end. Leads when it can; a lost term ends the engine and everything it knew.
///
/// # Errors
/// When the process cannot go on at all: an unreadable access policy at the start is not one of these, it only grants nothing.
pub async fn main(args: Args, client: Client, mut shutdown: Shutdown, requests: &Requests) -> Result<(), engine::Error> {
    let config = LeaseConfig {
        namespace: args.namespace.clone(),
        name: format!("{}-controller", args.fullname),
        prefix: args.identity.clone(),
        lease: args.lease_duration,
        renew: args.renew_deadline,
        retry: args.retry_period,
    };
    let memory = Arc::new(memory::Memory::default());
    let _health = if args.health_address.is_empty() {
        None
    } else {
        Some(health::serve(&args.health_address, memory.clone(), requests).await?)
    };
    loop {
        memory.metrics.leads(&config.name, false);
        let mut elector = Elector::new(client.clone(), config.clone());
        let Some((term, before)) = elector.acquire(&mut shutdown).await else {
            return Ok(());
        };
        memory.metrics.leads(&config.name, true);
        // A task of its own: however long it computes, the Lease is renewed.
        let engine = engine::run(args.clone(), client.clone(), (term, before), memory.clone(), elector.validity());
        let mut engine = Term(tokio::spawn(engine));
        let end = tokio::select! {
            end = elector.hold(&mut shutdown) => end,
            ended = &mut engine.0 => {
                let error = match ended {
                    Ok(Ok(())) | Err(_) => engine::Error::Watches,
                    Ok(Err(error)) => error,
                };
                match error {
                    engine::Error::Repaired => tracing::info!("{error}"),
                    _ => tracing::error!(%error, "the engine stopped"),
                }
                elector.release().await;
                if matches!(
                    error,
                    engine::Error::SteppedDown(_) | engine::Error::Lost(..) | engine::Error::Repaired
                ) {
                    // What it knew may be wrong: start anew, but not in a hurry.
                    tokio::time::sleep(args.retry_period).await;
                    continue;
                }
                return Err(error);
            }
        };
        if end == End::Shutdown {
            drop(engine);
            elector.release().await;
            return Ok(());
        }
    }
}

/// The task of one term; it ends with the term.
struct Term(JoinHandle<Result<(), engine::Error>>);

impl Drop for Term {
    fn drop(&mut self) {
        self.0.abort();
    }
}
