//! The journal's suite, for every backend: what was acknowledged is there exactly once, whatever happens in between, and no
//! healthy journal is called lost. It makes journals through a [`Bed`] and knows nothing else of the store.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures::future::BoxFuture;
use kube::Client;

use super::store::{Kubernetes, Memory, Store};

mod contract;
mod faults;
mod losses;
mod order;
pub(crate) mod world;

/// Where the suite runs.
#[async_trait]
pub trait Bed: Send + Sync + 'static {
    /// A store that was not used before, without a root.
    fn fresh(&self) -> Arc<dyn Store>;
    /// Deletes the root, as an admin would.
    async fn delete_root(&self, store: &Arc<dyn Store>);
    /// Annotates the root: its resourceVersion changes, the journal does not.
    async fn touch(&self, store: &Arc<dyn Store>);
    /// Deletes the root so that it stays for now, with a deletionTimestamp, as in a foreground deletion.
    async fn begin_deletion(&self, store: &Arc<dyn Store>);
    /// As [`Bed::fresh`], but the Journal's CRD is older and does not know `checkpoint`.
    fn older(&self) -> Arc<dyn Store>;
}

/// The API group of an older release's CRDs, for [`KubernetesBed`].
pub const OLDER: &str = "tests.rolecall.dev";
const MERGE: &str = "application/merge-patch+json";

/// How much each case does.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    /// Writers in each process.
    pub writers: u64,
    /// Events of each writer.
    pub events: u64,
    /// Varies where the faults hit.
    pub seed: u64,
}

/// What came out.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Cases that held.
    pub passed: usize,
    /// All cases.
    pub total: usize,
    /// What did not hold.
    pub failures: Vec<String>,
}

type Case = (
    &'static str,
    for<'a> fn(&'a Arc<dyn Bed>, Scale) -> BoxFuture<'a, Result<(), String>>,
);

macro_rules! cases {
    ($($module:ident :: $name:ident),* $(,)?) => {
        &[$((stringify!($name), |bed, scale| Box::pin($module::$name(bed, scale)))),*]
    };
}

const CASES: &[Case] = cases![
    contract::compare_and_swap,
    contract::fork_and_step_back_are_refused,
    contract::what_others_wrote_on_the_root_stays,
    contract::segments_are_written_once,
    contract::a_watch_shows_the_newest_root,
    contract::an_older_crd_refuses_what_it_would_drop,
    order::one_history,
    order::appends_of_any_size_are_read_back,
    order::a_large_change_is_atomic,
    order::a_refusal_is_a_read,
    order::reads_share_one_get,
    order::a_large_change_is_not_starved,
    order::an_old_leader_is_fenced,
    order::too_many_requests_are_refused,
    order::too_large_requests_are_refused,
    order::few_objects_remain,
    faults::reply_lost_after_the_commit,
    faults::request_still_on_its_way,
    faults::refusal_of_the_repetition,
    faults::conflict_without_a_rival,
    faults::every_fault_at_once,
    faults::segment_reply_lost,
    faults::pause_between_segment_and_root,
    faults::garbage_collected_in_that_pause,
    faults::living_segment_survives_that_pause,
    faults::follower_paused_over_a_seal,
    faults::strict_refusal,
    faults::reads_wait_for_a_broken_store,
    losses::root_deleted,
    losses::root_being_deleted,
    losses::root_deleted_while_the_outcome_is_unknown,
    losses::root_made_again,
    losses::segment_deleted,
    losses::opening_compares_with_what_is_known,
    losses::roots_are_made_only_where_nothing_names_one,
];

/// Runs all cases whose name contains `filter`, and prints a line for each and `N of N`.
pub async fn run(bed: Arc<dyn Bed>, scale: Scale, filter: &str) -> Report {
    let mut report = Report::default();
    for (name, case) in CASES.iter().filter(|(name, _)| name.contains(filter)) {
        let started = Instant::now();
        report.total += 1;
        match tokio::time::timeout(Duration::from_secs(120), case(&bed, scale)).await {
            Ok(Ok(())) => {
                report.passed += 1;
                println!("  ok    {name} ({} ms)", started.elapsed().as_millis());
            }
            Ok(Err(why)) => {
                println!("  WRONG {name}: {why}");
                report.failures.push(format!("{name}: {why}"));
            }
            Err(_) => {
                println!("  WRONG {name}: did not end in time");
                report.failures.push(format!("{name}: did not end in time"));
            }
        }
    }
    println!("journal suite, seed {}: {} of {}", scale.seed, report.passed, report.total);
    report
}

/// Journals in memory.
#[derive(Default)]
pub struct MemoryBed {
    made: std::sync::Mutex<std::collections::HashMap<String, Memory>>,
}

impl MemoryBed {
    fn make(&self, change: impl FnOnce(Memory) -> Memory) -> Arc<dyn Store> {
        let mut made = self.made.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let store = change(Memory::new(&format!("suite{}", made.len())));
        made.insert(store.name().to_owned(), store.clone());
        Arc::new(store)
    }

    fn of(&self, store: &Arc<dyn Store>) -> Option<Memory> {
        let made = self.made.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        made.get(store.name()).cloned()
    }
}

#[async_trait]
impl Bed for MemoryBed {
    fn fresh(&self) -> Arc<dyn Store> {
        self.make(|store| store)
    }

    async fn delete_root(&self, store: &Arc<dyn Store>) {
        if let Some(memory) = self.of(store) {
            memory.delete_root();
        }
    }

    async fn touch(&self, store: &Arc<dyn Store>) {
        if let Some(memory) = self.of(store) {
            memory.touch(false);
        }
    }

    async fn begin_deletion(&self, store: &Arc<dyn Store>) {
        if let Some(memory) = self.of(store) {
            memory.touch(true);
        }
    }

    fn older(&self) -> Arc<dyn Store> {
        self.make(Memory::older)
    }
}

/// Journals in a namespace of a real API server, which must have the CRDs, and in the group [`OLDER`] those of an older release:
/// the same, but `checkpoint` is missing from the Journal's. The client must not retry by itself.
pub struct KubernetesBed {
    client: Client,
    namespace: String,
    made: AtomicU64,
}

impl KubernetesBed {
    /// A bed in a namespace that exists.
    pub fn new(client: Client, namespace: &str) -> Self {
        Self {
            client,
            namespace: namespace.to_owned(),
            made: AtomicU64::new(0),
        }
    }

    fn make(&self) -> Kubernetes {
        let n = self.made.fetch_add(1, Ordering::Relaxed);
        let name = format!("suite{n}x{:08x}", uuid::Uuid::new_v4().as_u128() as u32);
        Kubernetes::new(self.client.clone(), &self.namespace, &name)
    }

    async fn root_request(&self, method: http::Method, store: &Arc<dyn Store>, kind: &str, body: &str) {
        let path = format!(
            "/apis/rolecall.dev/v1alpha1/namespaces/{}/journals/{}",
            self.namespace,
            store.name()
        );
        let request = http::Request::builder()
            .method(method)
            .uri(path)
            .header(http::header::CONTENT_TYPE, kind)
            .body(body.as_bytes().to_vec());
        match request {
            Ok(request) => {
                if let Err(error) = self.client.request_text(request).await {
                    tracing::warn!(%error, "the bed could not do what a case wants");
                }
            }
            Err(error) => tracing::warn!(%error, "the bed could not do what a case wants"),
        }
    }
}

#[async_trait]
impl Bed for KubernetesBed {
    fn fresh(&self) -> Arc<dyn Store> {
        Arc::new(self.make())
    }

    async fn delete_root(&self, store: &Arc<dyn Store>) {
        self.root_request(http::Method::DELETE, store, "application/json", "").await;
    }

    async fn touch(&self, store: &Arc<dyn Store>) {
        let body = format!("{{\"metadata\":{{\"annotations\":{{\"touched\":\"{}\"}}}}}}", uuid::Uuid::new_v4());
        self.root_request(http::Method::PATCH, store, MERGE, &body).await;
    }

    async fn begin_deletion(&self, store: &Arc<dyn Store>) {
        // Somebody's finalizer: `foregroundDeletion` itself would be taken off again by the garbage collector, soon.
        let body = "{\"metadata\":{\"finalizers\":[\"tests.rolecall.dev/hold\"]}}";
        self.root_request(http::Method::PATCH, store, MERGE, body).await;
        self.delete_root(store).await;
    }

    fn older(&self) -> Arc<dyn Store> {
        Arc::new(self.make().in_group(OLDER))
    }
}
