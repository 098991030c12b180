//! A journal in memory, with the API server's rules and the CRD's: for tests, and as the reference of what a store must do.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use tokio::sync::broadcast;

use super::{Hint, Listed, Root, Store, StoreError};
use crate::api::{JournalSpec, SegmentSpec};

/// A journal in memory. Clones share it.
#[derive(Clone)]
pub struct Memory {
    name: Arc<str>,
    older: bool,
    inner: Arc<Mutex<Inner>>,
}

#[derive(Clone)]
struct Content {
    root: Option<Root>,
    segments: BTreeMap<String, (Listed, SegmentSpec)>,
}

struct Inner {
    content: Content,
    version: u64,
    changes: broadcast::Sender<Hint>,
    swaps: u64,
}

/// What [`Memory::backup`] kept.
pub struct Backup(Content, u64);

impl Memory {
    /// A store without a root.
    pub fn new(name: &str) -> Self {
        Self {
            name: Arc::from(name),
            older: false,
            inner: Arc::new(Mutex::new(Inner {
                content: Content {
                    root: None,
                    segments: BTreeMap::new(),
                },
                version: 0,
                changes: broadcast::Sender::new(256),
                swaps: 0,
            })),
        }
    }

    /// One whose CRD is older and does not know `checkpoint`: what it would have to drop it refuses, as strict validation does.
    pub fn older(mut self) -> Self {
        self.older = true;
        self
    }

    fn strict(&self, spec: &JournalSpec) -> Result<(), StoreError> {
        if self.older && !spec.checkpoint.is_empty() {
            return Err(StoreError::Refused {
                status: 400,
                message: "strict decoding error: unknown field \"spec.checkpoint\"".to_owned(),
            });
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Deletes the root, as an admin would.
    pub fn delete_root(&self) {
        let mut inner = self.lock();
        inner.content.root = None;
        let _ = inner.changes.send(Hint::Deleted);
    }

    /// Deletes a segment, as an admin would.
    pub fn remove_segment(&self, name: &str) {
        self.lock().content.segments.remove(name);
    }

    /// Sets an annotation, or a deletionTimestamp: the resourceVersion changes, the journal does not.
    pub fn touch(&self, deleting: bool) {
        let mut inner = self.lock();
        inner.version += 1;
        let version = inner.version;
        if let Some(root) = &mut inner.content.root {
            root.version = Arc::from(version.to_string());
            root.kept = Arc::from(format!("\"annotations\":{{\"touched\":\"{version}\"}}"));
            root.deleting |= deleting;
            let hint = Hint::Root(Box::new(root.clone()));
            let _ = inner.changes.send(hint);
        }
    }

    /// Changes the root past all rules, as somebody with etcd in his hands could.
    pub fn tamper(&self, change: impl FnOnce(&mut JournalSpec)) {
        let mut inner = self.lock();
        inner.version += 1;
        let version = inner.version;
        if let Some(root) = &mut inner.content.root {
            change(&mut root.spec);
            root.version = Arc::from(version.to_string());
        }
    }

    /// A snapshot of everything, as of etcd.
    pub fn backup(&self) -> Backup {
        let inner = self.lock();
        Backup(inner.content.clone(), inner.version)
    }

    /// Puts a snapshot back: UIDs and resourceVersions come back with it, and watches that are open hear nothing.
    pub fn restore(&self, backup: &Backup) {
        let mut inner = self.lock();
        inner.content = backup.0.clone();
        inner.version = backup.1;
    }

    /// How many swaps were stored.
    pub fn swaps(&self) -> u64 {
        self.lock().swaps
    }
}

#[async_trait]
impl Store for Memory {
    fn name(&self) -> &str {
        &self.name
    }

    async fn root(&self) -> Result<Root, StoreError> {
        self.lock().content.root.clone().ok_or(StoreError::NotFound)
    }

    async fn swap(&self, base: &Root, spec: &JournalSpec) -> Result<Root, StoreError> {
        self.strict(spec)?;
        let mut inner = self.lock();
        let version = inner.version + 1;
        let root = inner.content.root.as_mut().ok_or(StoreError::NotFound)?;
        if root.uid != base.uid || root.version != base.version {
            return Err(StoreError::Conflict);
        }
        validate(spec)?;
        let old = &root.spec;
        if *old == *spec {
            return Ok(root.clone());
        }
        if old.id != spec.id || old.predecessors != spec.predecessors || spec.index <= old.index || spec.previous != old.head {
            return Err(StoreError::Invalid("spec: Invalid value: does not follow the head".to_owned()));
        }
        root.spec = spec.clone();
        root.kept = base.kept.clone();
        root.version = Arc::from(version.to_string());
        let root = root.clone();
        inner.version = version;
        inner.swaps += 1;
        let _ = inner.changes.send(Hint::Root(Box::new(root.clone())));
        Ok(root)
    }

    async fn create_root(&self, spec: &JournalSpec) -> Result<Root, StoreError> {
        self.strict(spec)?;
        let mut inner = self.lock();
        if inner.content.root.is_some() {
            return Err(StoreError::AlreadyExists);
        }
        validate(spec)?;
        inner.version += 1;
        let root = Root {
            uid: Arc::from(uuid::Uuid::new_v4().to_string()),
            version: Arc::from(inner.version.to_string()),
            deleting: false,
            kept: Arc::from(""),
            spec: spec.clone(),
        };
        inner.content.root = Some(root.clone());
        let _ = inner.changes.send(Hint::Root(Box::new(root.clone())));
        Ok(root)
    }

    async fn segment(&self, name: &str) -> Result<SegmentSpec, StoreError> {
        let inner = self.lock();
        inner
            .content
            .segments
            .get(name)
            .map(|(_, spec)| spec.clone())
            .ok_or(StoreError::NotFound)
    }

    async fn create_segment(&self, id: &str, name: &str, spec: &SegmentSpec) -> Result<(), StoreError> {
        let mut inner = self.lock();
        if inner.content.segments.contains_key(name) {
            return Err(StoreError::AlreadyExists);
        }
        if spec.parent.len() > 128 || spec.data.len() > 700_000 {
            return Err(StoreError::Invalid("spec: Too long".to_owned()));
        }
        inner.version += 1;
        let listed = Listed {
            name: name.to_owned(),
            uid: uuid::Uuid::new_v4().to_string(),
            id: id.to_owned(),
        };
        inner.content.segments.insert(name.to_owned(), (listed, spec.clone()));
        Ok(())
    }

    async fn segments(&self) -> Result<Vec<Listed>, StoreError> {
        let inner = self.lock();
        Ok(inner.content.segments.values().map(|(listed, _)| listed.clone()).collect())
    }

    async fn delete_segment(&self, segment: &Listed) -> Result<(), StoreError> {
        let mut inner = self.lock();
        match inner.content.segments.get(&segment.name) {
            None => Err(StoreError::NotFound),
            Some((listed, _)) if listed.uid != segment.uid => Err(StoreError::Conflict),
            Some(_) => {
                inner.content.segments.remove(&segment.name);
                Ok(())
            }
        }
    }

    async fn watch(&self, after: &str) -> Result<BoxStream<'static, Result<Hint, StoreError>>, StoreError> {
        let (now, changes) = {
            let inner = self.lock();
            (inner.content.root.clone(), inner.changes.subscribe())
        };
        let missed = now
            .filter(|root| *root.version != *after)
            .map(|root| Ok(Hint::Root(Box::new(root))));
        let rest = stream::unfold(changes, |mut changes| async {
            // Whoever lags ends here, as a watch does with 410.
            changes.recv().await.ok().map(|hint| (Ok(hint), changes))
        });
        Ok(stream::iter(missed).chain(rest).boxed())
    }
}

/// The bounds of the CRD.
fn validate(spec: &JournalSpec) -> Result<(), StoreError> {
    let long = spec.tail.len() > 256 || spec.tail.iter().any(|batch| batch.len() > 8192) || spec.parent.len() > 128;
    if long {
        return Err(StoreError::Invalid("spec: Too long".to_owned()));
    }
    Ok(())
}
