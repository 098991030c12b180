//! The start of a term: the journals are found or made, and what names them is compared. A loss is told on every source.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Client;
use tokio::task::AbortHandle;

use super::engine::Error;
use super::status::{Target, Wanted, write};
use super::world::World;
use super::{Args, evidence};
use crate::access::ledger::Ledger;
use crate::api::conditions::{self, Set};
use crate::directory::Directory;
use crate::journal::store::{Kubernetes, Store};
use crate::journal::{
    Collector, Creation, Error as JournalError, Journal, Known, Loss, Named, Options, State, create_if_nothing_names_one,
};
use crate::ops::lease;

/// Opens both journals, making them where nothing names one; and their id.
///
/// # Errors
/// When one of them is lost, which is then told on every source.
pub async fn journals(
    args: &Args,
    client: &Client,
    term: &str,
    world: &World,
) -> Result<(Journal<Directory>, Journal<Ledger>, String), Error> {
    match open(args, client, term, world).await {
        Err(Error::Lost(loss)) => {
            tell_loss(client, world, &args.class, &loss).await;
            Err(Error::Lost(loss))
        }
        other => other,
    }
}

async fn open(args: &Args, client: &Client, term: &str, world: &World) -> Result<(Journal<Directory>, Journal<Ledger>, String), Error> {
    let store = |name: &str| Arc::new(Kubernetes::new(client.clone(), &args.namespace, name));
    let (directory, access): (Arc<dyn Store>, Arc<dyn Store>) = (store("directory"), store("access"));
    let sources = evidence::of_directory(world, &args.class);
    let bindings = evidence::of_bindings(world);
    let expected = args.expect_head.as_deref().map(str::parse::<Known>);
    let expected = expected.transpose().map_err(|why| {
        Error::Journal(JournalError::Lost(Loss::Undecodable {
            what: "--expect-head".to_owned(),
            why,
        }))
    })?;
    let named = expected
        .iter()
        .map(|k| (k, "--expect-head"))
        .chain(sources.iter().map(|k| (k, "the status of a ScimSource")))
        .chain(bindings.iter().map(|k| (k, "a RoleBinding of ours")));
    let named = named
        .map(|(known, by)| Named {
            id: known.id.clone(),
            by: by.to_owned(),
        })
        .next();
    let id = match create_if_nothing_names_one(&*access, &*directory, &uuid::Uuid::new_v4().to_string(), named).await? {
        Creation::Existed(id) => id,
        Creation::Created(id) => {
            tracing::info!(id, "made the journals of a new installation");
            id
        }
        Creation::Refused { loss, by } => {
            tracing::error!(%loss, by, "a journal is named that is not there");
            return Err(Error::Lost(loss));
        }
    };
    let writer = format!("controller/{term}");
    let mut options = Options::new(writer.clone());
    options.expect = sources.into_iter().chain(bindings.iter().cloned()).chain(expected).collect();
    let directory = Journal::open(directory, Directory::default(), options).await?;
    let mut options = Options::new(writer);
    options.expect = bindings;
    let (watched, namespace, name, own) = (
        client.clone(),
        args.namespace.clone(),
        format!("{}-controller", args.fullname),
        term.to_owned(),
    );
    options.before_append = Some(Arc::new(move || {
        let (client, namespace, name, term) = (watched.clone(), namespace.clone(), name.clone(), own.clone());
        // Without an answer nobody knows: not appending is always right.
        Box::pin(async move { lease::shows(&client, &namespace, &name, &term).await.unwrap_or(false) })
    }));
    let access = Journal::open(access, Ledger::default(), options).await?;
    tracing::info!(directory = %directory.snapshot().position, access = %access.snapshot().position, "journals are open");
    Ok((directory, access, id))
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

/// Shows a loss on every source: what happened, and what to do.
pub async fn tell_loss(client: &Client, world: &World, class: &str, loss: &Loss) {
    let now = Time(k8s_openapi::jiff::Timestamp::now());
    for source in world
        .sources
        .items()
        .values()
        .filter(|s| s.spec.class.as_deref().unwrap_or_default() == class)
    {
        let name = source.metadata.name.clone().unwrap_or_default();
        let old = source.status.clone().unwrap_or_default();
        let generation = source.metadata.generation.unwrap_or_default();
        let message = format!("{loss} Nothing is granted and nothing is revoked until then; what is granted stays.");
        let set = [
            Set::new(conditions::READY, "False", loss.reason(), message.clone()),
            Set::new(conditions::STALLED, "True", loss.reason(), message.clone()),
            Set::new(loss.condition(), "True", loss.reason(), message),
        ];
        let mut status = old.clone();
        status.observed_generation = generation;
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
}
