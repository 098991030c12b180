//! One term of the controller: what it holds, and the loop that waits for something to happen. Decisions are in `access`; looking and writing in `work`.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt as _};
use jiff::Timestamp;
use kube::Client;
use roaring::RoaringBitmap;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::apply::Writer;
use super::expiry::Expiry;
use super::memory::Memory;
use super::metrics::{Heard, Metrics};
use super::observe::key_of;
use super::owner::Owner;
use super::places::{PlaceDone, Places};
use super::queue::Queue;
use super::recorder::Recorder;
use super::sightings::{SeenDone, Sightings};
use super::standing::Standing;
use super::status::{Pacer, Target as StatusTarget};
use super::survey::Surveys;
use super::work::{Granting, Unsettled, WriteDone};
use super::world::{Change, Touched, World, feed};
use super::{Args, acceptance, evidence, fence, start, world};
use crate::access::budget::Spending;
use crate::access::key::{BindingKey, MappingKey};
use crate::access::ledger::{Ledger, On};
use crate::access::names::Installation;
use crate::access::policy::{AccessPolicy, Refusal};
use crate::access::source::CompiledSource;
use crate::access::targets::Namespaces;
use crate::access::usernames::Usernames;
use crate::api::limits::Limits;
use crate::directory::Directory;
use crate::journal::{Error as JournalError, Journal, Loss, Position, Snapshot};
use crate::ops::lease::Validity;

/// How often the access policy's file is looked at, and deletions are.
const TICK: Duration = Duration::from_millis(500);

/// How often is looked again at what took too many steps: it takes some seconds each time.
const COSTLY_AGAIN: Duration = Duration::from_secs(600);

/// How long a new term may take to make the names of lost POSTs stand.
const STANDING: Duration = Duration::from_secs(2);

/// Why a term ended before its Lease did.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another process leads.
    #[error("stepped down: {0}")]
    SteppedDown(String),
    /// A journal is lost; everything that was folded from it is dropped.
    #[error("the journal {0} is lost: {1}")]
    Lost(&'static str, Loss),
    /// The access journal was lost, and is again what was known of it: a new term begins with it.
    #[error("the access journal is whole again: starting anew with it")]
    Repaired,
    /// A journal does not work.
    #[error("a journal does not work")]
    Journal(#[source] JournalError),
    /// The watches ended.
    #[error("the watches ended")]
    Watches,
    /// Health and metrics cannot be served.
    #[error("cannot listen on {0}")]
    Listen(String, #[source] std::io::Error),
}

impl Error {
    /// What it means for a term that this journal answered so.
    pub fn of(journal: &'static str, error: JournalError) -> Self {
        match error {
            JournalError::Lost(loss) => Self::Lost(journal, loss),
            JournalError::Fenced => Self::SteppedDown("the access journal is another leader's".to_owned()),
            other => Self::Journal(other),
        }
    }
}

/// Something that ended.
pub enum Done {
    /// A write of a binding.
    Write(WriteDone),
    /// The proof and the records before a batch of grants.
    Granting(super::work::GrantingDone),
    /// The making or labelling of a namespace.
    Place(PlaceDone),
    /// A look at a binding that the watch does not show.
    Seen(SeenDone),
    /// What others granted, and what roles permit.
    Surveyed(Result<super::survey::Surveyed, String>),
    /// A status.
    Status(StatusTarget, Result<serde_json::Value, String>),
    /// Whether we still lead, and which revocations were refused before that was asked.
    Lease(Result<bool, String>, BTreeSet<BindingKey>),
    /// Mappings and sources that may have been deleted.
    Deletions(Vec<super::ends::Found>),
    /// Whether the directory has the end of a source.
    SourceEnded(String, bool),
    /// The lost access journal is there again.
    Repaired,
}

/// One term.
pub struct Engine {
    pub(super) args: Args,
    pub(super) client: Client,
    pub(super) term: String,
    pub(super) started: Instant,
    pub(super) installation: Installation,
    pub(super) world: World,
    pub(super) directory: Journal<Directory>,
    pub(super) seen: Snapshot<Directory>,
    pub(super) access: Journal<Ledger>,
    pub(super) recorder: Recorder,
    pub(super) writer: Writer,
    pub(super) policy: Option<AccessPolicy>,
    pub(super) policy_text: Result<String, String>,
    pub(super) missing: Vec<String>,
    pub(super) sources: BTreeMap<Arc<str>, Result<CompiledSource, Refusal>>,
    pub(super) ignored: BTreeMap<Arc<str>, RoaringBitmap>,
    pub(super) source_versions: HashMap<Arc<str>, (String, i64, Option<String>)>,
    pub(super) ended_sources: BTreeSet<Arc<str>>,
    pub(super) absent_sources: BTreeMap<String, Instant>,
    pub(super) namespaces: Namespaces,
    pub(super) usernames: Usernames,
    pub(super) group_names: Usernames,
    pub(super) owners: BTreeMap<MappingKey, Owner>,
    pub(super) standing: Standing,
    pub(super) by_name: HashMap<String, BindingKey>,
    pub(super) queue: Queue,
    pub(super) unsettled: HashMap<BindingKey, Unsettled>,
    pub(super) tombstones: BTreeSet<BindingKey>,
    pub(super) to_delete: BTreeSet<BindingKey>,
    pub(super) must_delete: BTreeSet<BindingKey>,
    pub(super) waiting: BTreeMap<BindingKey, Instant>,
    pub(super) expiry: Expiry,
    pub(super) spending: Spending,
    pub(super) source_limits: BTreeMap<Arc<str>, Limits>,
    pub(super) holding: BTreeSet<BindingKey>,
    pub(super) meeting: BTreeSet<MappingKey>,
    /// Mappings whose groups changed, and when that is looked at.
    pub(super) reselecting: BTreeMap<MappingKey, Instant>,
    pub(super) approving: BTreeSet<(On, i64)>,
    pub(super) granting: Granting,
    pub(super) doing: FuturesUnordered<BoxFuture<'static, Done>>,
    pub(super) pacer: Pacer,
    pub(super) status_due: BTreeMap<StatusTarget, Instant>,
    pub(super) told: kube::runtime::events::Recorder,
    pub(super) crds: HashMap<&'static str, String>,
    pub(super) validity: Validity,
    pub(super) places: Places,
    pub(super) sightings: Sightings,
    pub(super) surveys: Surveys,
    pub(super) metrics: Metrics,
    pub(super) heard: Heard,
    pub(super) access_lost: Option<Loss>,
    pub(super) loss_token: String,
    pub(super) checking: bool,
    pub(super) lease_asked: bool,
    pub(super) index_told: HashMap<String, Instant>,
}

/// Leads for one term. It returns only when it cannot go on.
///
/// # Errors
/// See [`Error`].
pub async fn run(
    args: Args,
    client: Client,
    (term, before): (String, Option<String>),
    memory: Arc<Memory>,
    validity: Validity,
) -> Result<(), Error> {
    let started = Instant::now();
    let (send, mut changes) = mpsc::channel(4096);
    let _watches = world::start(&client, &args.class, &send);
    let ahead = start::Ahead::begin(&args, &client, &term, &memory);
    let mut world = World::default();
    while !world.complete() {
        let Some(change) = changes.recv().await else {
            return Err(Error::Watches);
        };
        feed(&mut world, change);
    }
    tracing::info!(bindings = world.bindings.iter().count(), "everything is listed");
    let start::Opened {
        directory,
        access,
        id,
        access_lost,
        loss_token,
    } = start::journals(&args, &client, &term, &world, &memory, ahead).await?;
    let _garbage = [
        start::collect(directory.clone(), args.garbage_delay),
        start::collect(access.clone(), args.garbage_delay),
    ];
    let probe = fence::Probe {
        namespace: args.namespace.clone(),
        class: args.class.clone(),
        role: format!("{}-nothing", args.fullname),
        fence: format!("{}-fence", args.fullname),
    };
    let old = before.unwrap_or_else(|| "nobody/0".to_owned());
    let mut engine = Engine {
        installation: Installation {
            class: args.class.clone(),
            journal: id,
            predecessors: Vec::new(),
        },
        seen: directory.snapshot(),
        recorder: Recorder::new(access.clone()),
        writer: Writer::new(client.clone(), args.write_deadline, format!("{}-fence", args.fullname)),
        told: super::status::recorder(client.clone(), &args.identity),
        args,
        client,
        term,
        started,
        world,
        directory,
        access,
        policy: None,
        policy_text: Err("not read yet".to_owned()),
        missing: Vec::new(),
        sources: BTreeMap::new(),
        ignored: BTreeMap::new(),
        source_versions: HashMap::new(),
        ended_sources: BTreeSet::new(),
        absent_sources: BTreeMap::new(),
        namespaces: Namespaces::new(),
        usernames: Usernames::default(),
        group_names: Usernames::groups(),
        owners: BTreeMap::new(),
        standing: Standing::default(),
        by_name: HashMap::new(),
        queue: Queue::default(),
        unsettled: HashMap::new(),
        tombstones: BTreeSet::new(),
        to_delete: BTreeSet::new(),
        must_delete: BTreeSet::new(),
        waiting: BTreeMap::new(),
        expiry: Expiry::default(),
        spending: Spending::default(),
        source_limits: BTreeMap::new(),
        holding: BTreeSet::new(),
        meeting: BTreeSet::new(),
        reselecting: BTreeMap::new(),
        approving: BTreeSet::new(),
        granting: Granting::default(),
        doing: FuturesUnordered::new(),
        pacer: Pacer::new(Duration::from_secs(1)),
        status_due: BTreeMap::new(),
        crds: HashMap::new(),
        validity,
        places: Places::default(),
        sightings: Sightings::default(),
        surveys: Surveys::default(),
        metrics: memory.metrics.clone(),
        heard: Heard::default(),
        loss_token,
        access_lost,
        checking: false,
        lease_asked: false,
        index_told: HashMap::new(),
    };
    if engine.access_lost.is_none() {
        engine.take_over().await?;
    }
    let bindings: Vec<String> = engine.world.bindings.iter().map(|(key, _)| key.clone()).collect();
    engine.bindings_changed(&bindings);
    // Before anything else, and before the fence is waited for: what stands here grants nothing, and a POST that got lost cannot pass it any more.
    // Whatever holds such a write up must not hold up revocations: the rest is settled as any other lost write.
    let _ = tokio::time::timeout(STANDING, engine.stand_names()).await;
    if !fence::settled(&engine.client, &probe, &old, &engine.term, 250).await {
        tracing::warn!("the fence was not seen to refuse the old term");
    }
    tokio::time::sleep(engine.args.fence_delay).await;
    if engine.access_lost.is_some() {
        let again = start::access_again(&engine.args, &engine.client, &engine.world, &engine.seen.position, &memory);
        engine.spawn(again.map(|()| Done::Repaired));
    }
    let ended = engine.lead(&mut changes, &memory).await;
    engine.remember(&memory); // what was known last is what a loss is measured by
    if let Err(Error::Lost(journal, loss)) = &ended {
        let whose = (&*engine.args.namespace, &*engine.args.class);
        start::tell_loss(&engine.client, &engine.world, whose, journal, loss, &memory).await;
    }
    ended
}

impl Engine {
    async fn lead(&mut self, changes: &mut mpsc::Receiver<Change>, memory: &Memory) -> Result<(), Error> {
        self.begin().await?;
        self.work(changes, memory).await
    }

    /// The first look at everything.
    async fn begin(&mut self) -> Result<(), Error> {
        for plural in ["scimsources", "rolemappings", "clusterrolemappings"] {
            if let Ok(Some((uid, _))) = world::crd(&self.client, plural).await {
                self.crds.insert(plural, uid);
            }
        }
        self.recorder.now(crate::access::ledger::Event::Began { term: self.term.clone() });
        self.look_at_guards(true);
        let namespaces: Vec<String> = self.world.namespaces.items().keys().cloned().collect();
        self.namespaces_changed(&namespaces);
        self.open_intents();
        // Whom the ledger names as of a source that it does not know any more is of one that ended.
        let ledger = self.access.snapshot();
        self.spending = Spending::of(&ledger.state, Timestamp::now());
        let people = ledger.state.bindings().flat_map(|(_, b)| b.subjects.values());
        let named = people.filter(|g| !g.is_inherited()).map(|g| g.source.as_str());
        self.ended_sources = named.filter(|name| ledger.state.source(name).is_none()).map(Arc::from).collect();
        let sources: Vec<String> = self.world.sources.items().keys().cloned().collect();
        self.sources_changed(&sources);
        let known = ledger.state.mappings().map(|(key, _)| key).chain(ledger.state.owners());
        let mut owners: BTreeSet<MappingKey> = known.cloned().collect();
        owners.extend(self.mapping_keys());
        for key in owners {
            // Recorded, but ended: a crash came before what it gave was gone.
            // Unless it was granted before a journal was lost: then nobody knows what became of its mapping.
            let there = self.mapping_keys().contains(&key);
            let ended = ledger.state.mapping(&key).is_none() && !there && !ledger.state.has_inherited(&key);
            self.owners.insert(key.clone(), Owner { ended, ..Owner::default() });
            self.evaluate(&key);
        }
        tracing::info!(term = self.term, head = %self.seen.position, sources = self.sources.len(), mappings = self.owners.len(), "working");
        Ok(())
    }

    async fn work(&mut self, changes: &mut mpsc::Receiver<Change>, memory: &Memory) -> Result<(), Error> {
        let mut positions = self.directory.subscribe();
        let mut ledger = self.access.subscribe();
        let mut tick = Instant::now() + TICK;
        let (mut compared, mut costly) = (Instant::now(), Instant::now());
        loop {
            // Whoever was paused must not write again, not even before it is told.
            if !self.validity.holds() {
                return Err(Error::SteppedDown("no renewal was answered in time".to_owned()));
            }
            self.catch_up()?;
            for key in self.expiry.due(Timestamp::now()) {
                self.evaluate(&key);
            }
            self.reselect_due();
            self.look();
            self.look_at_places(false);
            self.holds_recorded();
            self.recorder.flush();
            self.write_statuses();
            let wake = [
                self.queue.next(Instant::now()),
                self.recorder.next(),
                self.status_due.values().min().copied(),
                self.reselecting.values().min().copied(),
                self.expiry.next(Timestamp::now()),
                Some(tick),
            ];
            let wake = wake.into_iter().flatten().min().unwrap_or(tick);
            tokio::select! {
                biased;
                changed = positions.changed() => changed.map_err(|_| Error::Journal(JournalError::Closed))?,
                Some(done) = self.doing.next(), if !self.doing.is_empty() => self.done(done)?,
                flushed = self.recorder.flushed() => match flushed {
                    Ok(()) => {}
                    Err(error @ (JournalError::Fenced | JournalError::Lost(_))) => return Err(Error::of("access", error)),
                    Err(error) => tracing::warn!(%error, "records wait for the access journal"),
                },
                change = changes.recv() => {
                    let Some(change) = change else { return Err(Error::Watches) };
                    self.take(change);
                    while let Ok(change) = changes.try_recv() {
                        self.take(change);
                    }
                }
                changed = ledger.changed() => changed.map_err(|_| Error::Journal(JournalError::Closed))?,
                () = sleep_until(wake) => {}
            }
            if Instant::now() >= tick {
                tick = Instant::now() + TICK;
                self.look_at_guards(false);
                self.look_at_deletions();
                self.look_at_approvals();
                if self.access_lost.is_some() && acceptance::is_accepted(&self.world, &self.args.class, "access") {
                    return Err(Error::Repaired);
                }
                self.look_at_places(true);
                self.look_at_unseen();
                self.look_around();
                self.spending.forget(Timestamp::now());
                self.show_metrics();
                if compared.elapsed() > Duration::from_secs(20) {
                    compared = Instant::now();
                    self.places.look = true;
                    self.statuses_soon();
                }
                if costly.elapsed() > COSTLY_AGAIN {
                    costly = Instant::now();
                    self.evaluate_costly();
                }
            }
            self.remember(memory);
            for (journal, loss) in self.heads().map(|(journal, head)| (journal, head.loss)) {
                if let Some(loss) = loss {
                    return Err(Error::Lost(journal, loss));
                }
            }
        }
    }

    fn heads(&self) -> [(&'static str, Position); 2] {
        [
            ("directory", self.directory.subscribe().borrow().clone()),
            ("access", self.access.subscribe().borrow().clone()),
        ]
    }

    fn remember(&self, memory: &Memory) {
        for (journal, head) in self.heads() {
            if journal == "directory" || self.access_lost.is_none() {
                memory.remember(journal, &head);
            }
        }
    }

    fn take(&mut self, change: Change) {
        if self.is_late(&change) {
            return;
        }
        match feed(&mut self.world, change) {
            Touched::Sources(keys) => self.sources_changed(&keys),
            Touched::Mappings(keys) => {
                for key in keys {
                    if let Some((namespace, name)) = key.split_once('/') {
                        self.mapping_changed(&MappingKey::role_mapping(namespace, name));
                    }
                }
            }
            Touched::ClusterMappings(keys) => keys
                .into_iter()
                .for_each(|name| self.mapping_changed(&MappingKey::cluster_role_mapping(name))),
            Touched::Namespaces(names) => self.namespaces_changed(&names),
            Touched::Bindings(keys) => self.bindings_changed(&keys),
            Touched::Roles(_) => {
                // Whatever Kubernetes refused may be allowed now.
                let failing: Vec<BindingKey> = self.owners.values().flat_map(|o| o.failing.keys().cloned()).collect();
                failing.into_iter().for_each(|key| self.queue.add(key));
                self.statuses_soon();
            }
            Touched::Policies(_) => self.look_at_guards(true),
        }
    }

    /// All mappings that are there.
    pub(super) fn mapping_keys(&self) -> Vec<MappingKey> {
        let ours = |class: &Option<String>| class.as_deref().unwrap_or_default() == self.args.class;
        let namespaced = self.world.mappings.items().values().filter(|m| ours(&m.spec.class)).map(key_of);
        let cluster = self
            .world
            .cluster_mappings
            .items()
            .iter()
            .filter(|(_, m)| ours(&m.spec.class))
            .map(|(name, _)| name)
            .map(MappingKey::cluster_role_mapping);
        namespaced
            .filter_map(|key| {
                key.split_once('/')
                    .map(|(namespace, name)| MappingKey::role_mapping(namespace, name))
            })
            .chain(cluster)
            .collect()
    }

    pub(super) fn spawn(&mut self, future: impl Future<Output = Done> + Send + 'static) {
        self.doing.push(future.boxed());
    }

    /// Whether what the directory says may be acted on at all.
    pub(super) fn journal_evidence(&self) -> bool {
        evidence::same(&self.seen.position, &self.access.subscribe().borrow())
    }
}
