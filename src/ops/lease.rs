//! Leader election by a Lease with client-go's semantics. Time is measured locally and monotonically: clocks of machines are never compared.
//!
//! A term is `<holderIdentity>/<leaseTransitions>`; the identity is new for every acquisition, so no two terms are ever equal.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};
use tokio::time::{Instant, sleep, timeout};

use super::shutdown::{self, Shutdown};

/// The three durations of client-go. `lease` > `renew` > `retry`.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where the Lease is.
    pub namespace: String,
    /// The Lease's name.
    pub name: String,
    /// A readable prefix of the identity, such as the pod's name.
    pub prefix: String,
    /// Others wait so long after the last renewal that they saw (15 s).
    pub lease: Duration,
    /// The leader steps down when no renewal was answered for so long (10 s).
    pub renew: Duration,
    /// How often one tries (2 s).
    pub retry: Duration,
}

/// What happened to a leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// No renewal was answered in time, or somebody else has the Lease.
    Lost,
    /// The process should end; the Lease was released.
    Shutdown,
}

/// Until when the Lease is ours by our own clock: whoever was paused knows it before anybody answers.
#[derive(Clone)]
pub struct Validity {
    renewed: Arc<Mutex<Instant>>,
    renew: Duration,
}

impl Validity {
    /// Whether the last renewal that was answered is not older than the deadline.
    pub fn holds(&self) -> bool {
        self.renewed.lock().unwrap_or_else(PoisonError::into_inner).elapsed() < self.renew
    }

    fn renewed(&self, asked: Instant) {
        *self.renewed.lock().unwrap_or_else(PoisonError::into_inner) = asked;
    }
}

/// A candidate, and after [`Elector::acquire`] the leader.
pub struct Elector {
    api: Api<Lease>,
    config: Config,
    observed: Option<(LeaseSpec, Instant)>,
    held: Option<Lease>,
    before: Option<String>,
    validity: Validity,
}

impl Elector {
    /// A candidate.
    pub fn new(client: Client, config: Config) -> Self {
        let validity = Validity {
            renewed: Arc::new(Mutex::new(Instant::now())),
            renew: config.renew,
        };
        Self {
            api: Api::namespaced(client, &config.namespace),
            config,
            observed: None,
            held: None,
            before: None,
            validity,
        }
    }

    /// Until when the Lease is ours.
    pub fn validity(&self) -> Validity {
        self.validity.clone()
    }

    /// Waits until this process leads; the term, and the term that it replaced. `None` when the process should end first.
    pub async fn acquire(&mut self, shutdown: &mut Shutdown) -> Option<(String, Option<String>)> {
        loop {
            if *shutdown.borrow() {
                return None;
            }
            let asked = Instant::now();
            match timeout(self.config.renew, self.try_acquire()).await {
                Ok(Ok(true)) => {
                    self.validity.renewed(asked);
                    let term = self.held.as_ref().map(term_of).unwrap_or_default();
                    tracing::info!(term, "leading");
                    return Some((term, self.before.take()));
                }
                Ok(Ok(false)) => {}
                Ok(Err(error)) => tracing::warn!(%error, "cannot read or write the Lease"),
                Err(_) => tracing::warn!("the Lease was not answered in time"),
            }
            tokio::select! { () = sleep(self.config.retry) => {}, () = shutdown::wait(shutdown) => return None }
        }
    }

    /// Keeps the Lease until it is lost or the process should end.
    pub async fn hold(&mut self, shutdown: &mut Shutdown) -> End {
        let mut renewed = Instant::now();
        loop {
            tokio::select! {
                () = sleep(self.config.retry) => {}
                () = shutdown::wait(shutdown) => return End::Shutdown,
            }
            let left = self.config.renew.saturating_sub(renewed.elapsed());
            let asked = Instant::now();
            match timeout(left, self.renew()).await {
                Ok(Ok(true)) => {
                    renewed = asked;
                    self.validity.renewed(asked);
                }
                Ok(Ok(false)) => {
                    tracing::warn!("somebody else has the Lease");
                    return End::Lost;
                }
                Ok(Err(error)) => tracing::warn!(%error, "cannot renew the Lease"),
                Err(_) => {}
            }
            if renewed.elapsed() >= self.config.renew {
                tracing::warn!("no renewal was answered in time");
                return End::Lost;
            }
        }
    }

    /// Gives the Lease back, so that another one need not wait. Best effort.
    pub async fn release(&mut self) {
        let Some(held) = self.held.take() else { return };
        let transitions = held.spec.as_ref().and_then(|s| s.lease_transitions);
        let now = MicroTime(Timestamp::now());
        let spec = LeaseSpec {
            holder_identity: Some(String::new()),
            lease_duration_seconds: Some(1),
            acquire_time: Some(now.clone()),
            renew_time: Some(now),
            lease_transitions: transitions,
            ..Default::default()
        };
        let lease = Lease {
            metadata: held.metadata,
            spec: Some(spec),
        };
        let parameters = PostParams::default();
        let put = self.api.replace(&self.config.name, &parameters, &lease);
        match timeout(Duration::from_secs(2), put).await {
            Ok(Ok(_)) => tracing::info!("released the Lease"),
            Ok(Err(error)) => tracing::warn!(%error, "cannot release the Lease"),
            Err(_) => tracing::warn!("cannot release the Lease in time"),
        }
    }

    async fn try_acquire(&mut self) -> Result<bool, kube::Error> {
        let identity = format!("{}_{}", self.config.prefix, uuid::Uuid::new_v4());
        let Some(current) = self.api.get_opt(&self.config.name).await? else {
            let lease = Lease {
                metadata: ObjectMeta {
                    name: Some(self.config.name.clone()),
                    ..Default::default()
                },
                spec: Some(self.spec(identity, 0, None)),
            };
            return self.took(self.api.create(&PostParams::default(), &lease).await, None);
        };
        let spec = current.spec.clone().unwrap_or_default();
        // Any change of the record restarts the wait: the holder is alive by our own clock.
        if self.observed.as_ref().is_none_or(|(seen, _)| *seen != spec) {
            self.observed = Some((spec.clone(), Instant::now()));
        }
        let since = self.observed.as_ref().map_or(Duration::ZERO, |(_, at)| at.elapsed());
        let duration = Duration::from_secs(u64::try_from(spec.lease_duration_seconds.unwrap_or(0)).unwrap_or(0));
        let free = spec.holder_identity.as_deref().is_none_or(str::is_empty);
        if !free && since < duration {
            return Ok(false);
        }
        let before = term_of(&current);
        let lease = Lease {
            metadata: current.metadata,
            spec: Some(self.spec(identity, spec.lease_transitions.unwrap_or(0) + 1, None)),
        };
        let put = self.api.replace(&self.config.name, &PostParams::default(), &lease).await;
        self.took(put, Some(before))
    }

    fn took(&mut self, answer: Result<Lease, kube::Error>, before: Option<String>) -> Result<bool, kube::Error> {
        match answer {
            Ok(lease) => {
                self.held = Some(lease);
                self.before = before;
                Ok(true)
            }
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn renew(&mut self) -> Result<bool, kube::Error> {
        let Some(held) = self.held.clone() else { return Ok(false) };
        let spec = held.spec.clone().unwrap_or_default();
        let identity = spec.holder_identity.clone().unwrap_or_default();
        let next = self.spec(identity.clone(), spec.lease_transitions.unwrap_or(0), spec.acquire_time.clone());
        let lease = Lease {
            metadata: held.metadata,
            spec: Some(next),
        };
        match self.api.replace(&self.config.name, &PostParams::default(), &lease).await {
            Ok(lease) => {
                self.held = Some(lease);
                Ok(true)
            }
            // A lost answer of our own renewal looks the same as somebody else's: look.
            Err(kube::Error::Api(status)) if status.code == 409 || status.code == 404 => match self.api.get_opt(&self.config.name).await? {
                Some(current) if current.spec.as_ref().and_then(|s| s.holder_identity.as_deref()) == Some(identity.as_str()) => {
                    self.held = Some(current);
                    Ok(true)
                }
                _ => Ok(false),
            },
            Err(error) => Err(error),
        }
    }

    fn spec(&self, identity: String, transitions: i32, acquired: Option<MicroTime>) -> LeaseSpec {
        let now = MicroTime(Timestamp::now());
        LeaseSpec {
            holder_identity: Some(identity),
            lease_duration_seconds: Some(i32::try_from(self.config.lease.as_secs().max(1)).unwrap_or(i32::MAX)),
            acquire_time: Some(acquired.unwrap_or_else(|| now.clone())),
            renew_time: Some(now),
            lease_transitions: Some(transitions),
            ..Default::default()
        }
    }
}

/// The term that a Lease says.
pub fn term_of(lease: &Lease) -> String {
    let spec = lease.spec.as_ref();
    format!(
        "{}/{}",
        spec.and_then(|s| s.holder_identity.as_deref()).unwrap_or_default(),
        spec.and_then(|s| s.lease_transitions).unwrap_or(0)
    )
}

/// Whether the Lease still shows this term, by a GET that begins now.
///
/// # Errors
/// When the API server gives no answer.
pub async fn shows(client: &Client, namespace: &str, name: &str, term: &str) -> Result<bool, kube::Error> {
    let api: Api<Lease> = Api::namespaced(client.clone(), namespace);
    Ok(api.get_opt(name).await?.is_some_and(|lease| term_of(&lease) == term))
}
