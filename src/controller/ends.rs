//! Mappings and sources that are no longer there: whether that counts as a deletion, and what follows. No finalizers: the ledger remembers, and GETs prove.

use std::collections::BTreeMap;

use tokio::time::{Instant, timeout};

use super::deletion::{self, Shown};
use super::engine::{Done, Engine};
use super::owner::Owner;
use crate::access::deletion::{Crd, Fate, Listed, Namespace, fate};
use crate::access::key::{MappingKey, MappingKind};
use crate::access::ledger::{Event as Record, Seen};
use crate::directory::Event as DirectoryEvent;
use crate::journal::Verdict;

/// What may have been deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Who {
    /// A mapping.
    Mapping(MappingKey),
    /// A source.
    Source(String),
}

/// What was found of it.
pub struct Found {
    who: Who,
    seen: Seen,
    shown: Shown,
}

impl Engine {
    /// Asks for everything that the ledger knows and the cluster does not show, once so much time has passed that no restore is running.
    pub(super) fn look_at_deletions(&mut self) {
        // A stopgap knows of no deletion.
        if self.access_lost.is_some() || self.checking || self.started.elapsed() < self.args.absence_delay {
            return;
        }
        let ledger = self.access.snapshot();
        let mut absent: Vec<(Who, Seen)> = Vec::new();
        for (key, seen) in ledger.state.mappings() {
            let there = match key.kind {
                MappingKind::RoleMapping => self.world.mappings.get(&format!("{}/{}", key.namespace, key.name)).is_some(),
                MappingKind::ClusterRoleMapping => self.world.cluster_mappings.get(&key.name).is_some(),
            };
            if !there && !self.owners.get(key).is_some_and(|o| o.ended) {
                absent.push((Who::Mapping(key.clone()), seen.clone()));
            }
        }
        let gone = |name: &str| self.world.sources.get(name).is_none() && !self.ended_sources.contains(name);
        let now = Instant::now();
        let mut since = BTreeMap::new();
        for (name, seen) in ledger.state.sources().filter(|(name, _)| gone(name)) {
            let first = self.absent_sources.get(name).copied().unwrap_or(now);
            since.insert(name.to_owned(), first);
            if first + self.args.replace_delay <= now {
                absent.push((Who::Source(name.to_owned()), seen.clone()));
            }
        }
        self.absent_sources = since;
        if absent.is_empty() {
            return;
        }
        self.checking = true;
        let client = self.client.clone();
        self.spawn(async move {
            let mut found = Vec::new();
            for (who, seen) in absent {
                let asked = async {
                    match &who {
                        Who::Source(name) => deletion::source(&client, name).await,
                        Who::Mapping(key) if key.kind == MappingKind::RoleMapping => {
                            deletion::role_mapping(&client, &key.namespace, &key.name).await
                        }
                        Who::Mapping(key) => deletion::cluster_role_mapping(&client, &key.name).await,
                    }
                };
                match timeout(std::time::Duration::from_secs(5), asked).await {
                    Ok(Ok(shown)) => found.push(Found { who, seen, shown }),
                    Ok(Err(error)) => tracing::debug!(%error, "cannot ask for a deletion"),
                    Err(_) => {}
                }
            }
            Done::Deletions(found)
        });
    }

    /// Takes in what was found.
    pub(super) fn deletions_found(&mut self, found: Vec<Found>) {
        self.checking = false;
        for Found { who, seen, shown } in found {
            let (listed, crd) = match &shown {
                Shown::There(uid) => (Listed::Has { uid: uid.clone() }, Crd::Unknown),
                Shown::Absent(None) => (Listed::Lacks, Crd::Absent),
                Shown::Absent(Some((uid, terminating))) => (
                    Listed::Lacks,
                    Crd::Present {
                        uid: uid.clone(),
                        terminating: *terminating,
                    },
                ),
            };
            let namespace = match &who {
                Who::Mapping(key) if key.kind == MappingKind::RoleMapping => match self.namespaces.get(&key.namespace) {
                    None => Namespace::Gone,
                    Some(info) if info.terminating => Namespace::Terminating,
                    Some(_) => Namespace::Active,
                },
                _ => Namespace::None,
            };
            let why = match fate(&seen, &crd, &listed, namespace, true) {
                Fate::Ended(why) => why,
                other => {
                    tracing::debug!(?who, ?other, "absent, and that does not count");
                    continue;
                }
            };
            match who {
                Who::Mapping(key) => {
                    tracing::info!(mapping = %key, "deleted: what it gave goes");
                    self.recorder.now(Record::MappingEnded {
                        key: key.clone(),
                        why: why.to_owned(),
                    });
                    let owner = self.owners.remove(&key).unwrap_or_default();
                    self.owners.insert(key.clone(), Owner { ended: true, ..owner });
                    self.evaluate(&key);
                }
                Who::Source(name) => self.end_source(name),
            }
        }
    }

    fn end_source(&mut self, name: String) {
        tracing::info!(source = name, "deleted: its directory ends, and what it gave goes");
        self.ended_sources.insert(name.as_str().into());
        self.evaluate_users_of(&name.as_str().into());
        let concerned: Vec<_> = self.standing.keys().cloned().collect();
        concerned.into_iter().for_each(|key| self.queue.add(key));
        let directory = self.directory.clone();
        self.spawn(async move {
            let source = name.clone();
            let ended = directory
                .submit(move |state, _| match state.source(&source) {
                    Some(_) => Verdict::Append(vec![DirectoryEvent::SourceEnded { source: source.clone() }], ()),
                    None => Verdict::Read(()),
                })
                .await;
            if let Err(error) = &ended {
                tracing::warn!(%error, "the end of a source is not recorded yet");
            }
            Done::SourceEnded(name, ended.is_ok())
        });
    }

    /// The directory comes first: after a crash between the two the ledger still knows the source, and it ends again. The other way round, the name would
    /// not start fresh, as nobody would know any more that its directory was to end.
    pub(super) fn source_ended(&mut self, name: &str, recorded: bool) {
        match recorded {
            // one that is there again was recorded as seen meanwhile
            true if self.ended_sources.contains(name) => self.recorder.now(Record::SourceEnded { name: name.to_owned() }),
            true => {}
            // until it is tried again, nothing of it is granted, and only whom it disabled or deleted loses anything
            false => drop(self.ended_sources.remove(name)),
        }
    }
}
