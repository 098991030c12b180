//! The start of a term: the journals are found or made, and what names them is compared. A loss is told on every source.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Client;
use tokio::task::{AbortHandle, JoinHandle};

use super::engine::Error;
use super::memory::Memory;
use super::status::{Target, Wanted, write};
use super::world::World;
use super::{Args, acceptance, evidence, stopgap};
use crate::access::ledger::Ledger;
use crate::access::names::Installation;
use crate::api::conditions::{self, Set};
use crate::directory::Directory;
use crate::journal::store::{Kubernetes, Store, StoreError};
use crate::journal::{
    Collector, Creation, Error as JournalError, Guard, Journal, Known, Loss, Named, Options, Position, State, create_if_nothing_names_one,
    load, make_anew,
};
use crate::ops::lease;

/// How often a lost access journal is looked at again: an admin may have brought it back.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// Both journals of a term.
pub struct Opened {
    /// The directory.
    pub directory: Journal<Directory>,
    /// The ledger; a stopgap in memory when its journal is lost.
    pub access: Journal<Ledger>,
    /// The installation's id.
    pub id: String,
    /// The access journal is lost, and how.
    pub access_lost: Option<Loss>,
    /// By what that loss is accepted, as the sources show it.
    pub loss_token: String,
}

/// The access journal, read while the cluster is listed; the reading ends when this is dropped.
pub struct Ahead(JoinHandle<Result<Journal<Ledger>, JournalError>>);

impl Drop for Ahead {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Ahead {
    /// Begins to read.
    pub fn begin(args: &Args, client: &Client, term: &str, memory: &Memory) -> Self {
        let store: Arc<dyn Store> = Arc::new(Kubernetes::new(client.clone(), &args.namespace, "access"));
        let options = of_access(args, client, term, memory, Vec::new());
        Self(tokio::spawn(Journal::open(store, Ledger::default(), options)))
    }

    /// What was read, when it is of the journal that `bindings` name, and as new as they are: it is proved now, after they were listed. `None`: it has to be
    /// opened, and whatever is wrong with it is found then.
    async fn journal(mut self, bindings: &[Known]) -> Option<Journal<Ledger>> {
        let journal = (&mut self.0).await.ok()?.ok()?;
        let found = journal.read().await.ok()?;
        let named = bindings.iter().all(|known| *known.id == *found.position.id);
        named.then_some(journal)
    }
}

/// How a term takes part in the access journal.
fn of_access(args: &Args, client: &Client, term: &str, memory: &Memory, known: Vec<Known>) -> Options {
    let mut options = Options::new(writer(term));
    options.expect = known.into_iter().chain(memory.of("access")).collect();
    options.prove_every = args.proof_interval;
    options.before_append = Some(leading(args, client, term));
    options.appended = Some(Arc::new(memory.metrics.appends.of("access")));
    options
}

fn writer(term: &str) -> String {
    format!("controller/{term}")
}

/// Opens both journals, making them where nothing names one. A lost access journal is no obstacle: grants are held then, and what the provider says goes on.
///
/// # Errors
/// When the directory is lost, which is then told on every source.
pub async fn journals(args: &Args, client: &Client, term: &str, world: &World, memory: &Memory, ahead: Ahead) -> Result<Opened, Error> {
    match open(args, client, term, world, memory, ahead).await {
        Err(Error::Lost(journal, loss)) => {
            tell_loss(client, world, (&args.namespace, &args.class), journal, &loss, memory).await;
            Err(Error::Lost(journal, loss))
        }
        other => other,
    }
}

async fn open(args: &Args, client: &Client, term: &str, world: &World, memory: &Memory, ahead: Ahead) -> Result<Opened, Error> {
    let store = |name: &str| Arc::new(Kubernetes::new(client.clone(), &args.namespace, name));
    let (directory, access): (Arc<dyn Store>, Arc<dyn Store>) = (store("directory"), store("access"));
    let sources = evidence::of_directory(world, &args.class);
    let mut bindings = evidence::of_bindings(world);
    let expected = args.expect_head.as_deref().map(str::parse::<Known>).transpose().map_err(|why| {
        let what = "--expect-head".to_owned();
        Error::Journal(JournalError::Lost(Loss::Undecodable { what, why }))
    })?;
    let mut known: Vec<Known> = sources.into_iter().chain(expected).chain(memory.of("directory")).collect();
    let named = known.iter().chain(&bindings).next().map(|k| Named {
        id: k.id.clone(),
        by: "a ScimSource's status, a RoleBinding of ours, --expect-head, or this process".to_owned(),
    });
    if let Some(told) = known.first() {
        bindings = evidence::of_this(bindings, &told.id);
    }
    if let Some(named) = &named {
        renew(args, world, memory, (&directory, &access), &named.id, &known).await?;
    }
    let fresh = uuid::Uuid::new_v4().to_string();
    let mut lost = None;
    match create_if_nothing_names_one(&*access, &*directory, &fresh, named)
        .await
        .map_err(|e| Error::of("directory", e))?
    {
        Creation::Existed(id) => bindings = evidence::of_this(bindings, &id),
        Creation::Created(id) => tracing::info!(id, "made the journals of a new installation"),
        // The directory names it: that one is there.
        Creation::Refused { loss, by } if by == "the Journal directory" => lost = Some(loss),
        // Two installations: where somebody knows the directory's, it is the access journal that is another's.
        Creation::Refused {
            loss: Loss::OtherId { known: access, found },
            ..
        } if known.iter().any(|k| k.id == found) => {
            lost = Some(Loss::OtherId {
                known: found,
                found: access,
            });
        }
        Creation::Refused { loss, by } => {
            tracing::error!(%loss, by, "a journal is named that is not there");
            return Err(Error::Lost("directory", loss));
        }
    }
    known.extend(bindings.iter().cloned());
    let mut options = Options::new(writer(term));
    (options.expect, options.prove_every) = (known, args.proof_interval);
    options.appended = Some(Arc::new(memory.metrics.appends.of("directory")));
    let directory = Journal::open(directory, Directory::default(), options)
        .await
        .map_err(|e| Error::of("directory", e))?;
    let id = directory.snapshot().position.id.to_string();
    let opened = match lost {
        Some(loss) => Err(JournalError::Lost(loss)),
        None => match ahead.journal(&bindings).await {
            Some(journal) => Ok(journal),
            None => Journal::open(access, Ledger::default(), of_access(args, client, term, memory, bindings)).await,
        },
    };
    let (access, access_lost, loss_token) = match opened {
        Ok(access) => (access, None, String::new()),
        Err(JournalError::Lost(loss)) => {
            tracing::error!(%loss, "the access journal is lost: nothing is granted, and only what the provider says is taken away");
            let token = tell_loss(client, world, (&args.namespace, &args.class), "access", &loss, memory).await;
            let installation = Installation {
                class: args.class.clone(),
                journal: id.clone(),
                predecessors: Vec::new(),
            };
            let ledger = stopgap::ledger(world, &installation, &directory.snapshot().state);
            (
                stopgap::journal(&id, ledger, writer(term))
                    .await
                    .map_err(|e| Error::of("access", e))?,
                Some(loss),
                token,
            )
        }
        Err(error) => return Err(Error::of("access", error)),
    };
    memory.metrics.lost("directory", false);
    memory.metrics.lost("access", access_lost.is_some());
    tracing::info!(directory = %directory.snapshot().position, access = %access.snapshot().position, "journals are open");
    Ok(Opened {
        directory,
        access,
        id,
        access_lost,
        loss_token,
    })
}

/// Makes the journals anew that are gone, and whose loss somebody accepts. Where both are gone, accepting the directory's loss is accepting both.
async fn renew(
    args: &Args,
    world: &World,
    memory: &Memory,
    (directory, access): (&Arc<dyn Store>, &Arc<dyn Store>),
    id: &str,
    known: &[Known],
) -> Result<(), Error> {
    let is_gone = async |store: &Arc<dyn Store>| matches!(store.root().await, Err(StoreError::NotFound));
    let accepts = |journal| acceptance::is_accepted(world, &args.class, journal);
    let (both, only_access) = (accepts("directory") && is_gone(directory).await, accepts("access"));
    let known_access = memory.of("access");
    for (due, journal, store, known) in [
        (both, "directory", directory, known),
        (both || only_access, "access", access, known_access.as_slice()),
    ] {
        if due && is_gone(store).await {
            tracing::warn!(id, journal, "the loss of a journal is accepted: it is made anew");
            let made = make_anew(&**store, id, known.iter().filter_map(|known| known.uid.clone())).await;
            made.map_err(|error| Error::of(journal, error))?;
        }
    }
    Ok(())
}

/// Waits until the lost access journal can be read again from its beginning to its head, is of the directory's installation, and is what
/// this process and the bindings know of it. One that was made again under another UID never is.
pub fn access_again(
    args: &Args,
    client: &Client,
    world: &World,
    directory: &Position,
    memory: &Memory,
) -> impl Future<Output = ()> + Send + use<> {
    let store = Arc::new(Kubernetes::new(client.clone(), &args.namespace, "access"));
    let installation = Known {
        id: directory.id.to_string(),
        uid: None,
        index: 0,
        head: None,
    };
    let mut known = evidence::of_this(evidence::of_bindings(world), &directory.id);
    known.push(installation);
    known.extend(memory.of("access"));
    async move {
        loop {
            tokio::time::sleep(LOOK_AGAIN).await;
            match load(store.clone(), Ledger::default(), known.clone()).await {
                Ok(found) => {
                    tracing::info!(access = %found.position, "the access journal is there again, whole and no older than what was known of it");
                    return;
                }
                Err(error) => tracing::debug!(%error, "the access journal is still lost"),
            }
        }
    }
}

/// Whether this term still leads: asked by the access journal after a conflict. Without an answer nobody knows, and not appending is always right.
fn leading(args: &Args, client: &Client, term: &str) -> Guard {
    let (client, namespace, name, own) = (
        client.clone(),
        args.namespace.clone(),
        format!("{}-controller", args.fullname),
        term.to_owned(),
    );
    Arc::new(move || {
        let (client, namespace, name, term) = (client.clone(), namespace.clone(), name.clone(), own.clone());
        Box::pin(async move { lease::shows(&client, &namespace, &name, &term).await.unwrap_or(false) })
    })
}

/// Removes what a journal's root does not reach, for ever; ends with the handle.
pub fn collect<S: State>(journal: Journal<S>, after: Duration) -> Collecting {
    Collecting(tokio::spawn(Collector::new(after).run(journal)).abort_handle())
}

/// Ends the collector when it is dropped.
pub struct Collecting(AbortHandle);

impl Drop for Collecting {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Shows a loss on every source: what happened, and what to do. Answers with that by which it is accepted.
pub async fn tell_loss(
    client: &Client,
    world: &World,
    (namespace, class): (&str, &str),
    journal: &'static str,
    loss: &Loss,
    memory: &Memory,
) -> String {
    memory.metrics.lost(journal, true);
    let now = Time(k8s_openapi::jiff::Timestamp::now());
    let token = acceptance::token(world, class, journal);
    let advice = acceptance::advice(namespace, journal, &token);
    for source in world.sources_of(class) {
        let name = source.metadata.name.clone().unwrap_or_default();
        let old = source.status.clone().unwrap_or_default();
        let generation = source.metadata.generation.unwrap_or_default();
        let message =
            format!("journal {journal}: {loss} Nothing is granted and nothing is revoked until then; what is granted stays. {advice}");
        let set = [
            Set::new(conditions::READY, "False", loss.reason(), message.clone()),
            Set::new(conditions::STALLED, "True", loss.reason(), message.clone()),
            Set::new(loss.condition(), "True", loss.reason(), message),
        ];
        let mut status = old.clone();
        status.journal_loss.clone_from(&token);
        status.observed_generation = generation;
        // What was known outlives this process, with its head: neither a process that starts now nor one that starts when the index has
        // grown past it may take the other history for good.
        if let (Loss::RolledBack { known, .. } | Loss::Fork { index: known }, "directory", Some(reference)) =
            (loss, journal, &mut status.journal)
            && reference.index < *known
        {
            let remembered = memory.of(journal).filter(|k| k.index == *known);
            reference.index = *known;
            reference.head = remembered.and_then(|k| k.head).unwrap_or_default();
        }
        status.conditions = conditions::update(&old.conditions, &set, generation, &now);
        let (Ok(shown), Ok(wanted)) = (serde_json::to_value(&old), serde_json::to_value(&status)) else {
            continue;
        };
        if shown == wanted {
            continue;
        }
        let target = Target {
            plural: "scimsources",
            namespace: String::new(),
            name,
        };
        let wanted = Wanted {
            uid: source.metadata.uid.clone().unwrap_or_default(),
            status: wanted,
        };
        if let Err(error) = write(client, &target, &wanted, &shown).await {
            tracing::warn!(error, "cannot show the loss on a source");
        }
    }
    token
}
