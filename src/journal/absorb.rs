//! How a root is taken in: fetch what is missing, check the chain, apply, publish at the root's index. Nothing is declared lost here.

use std::sync::Arc;

use tokio::time::Instant;

use super::batch::{SwapSeen, Verifier};
use super::loss::position;
use super::segment::{self, Link};
use super::shared::{Held, Reserved, Shared, Trouble};
use super::{Loss, Root, Snapshot, Stamp, State, StoreError};
use crate::api::{JournalSpec, SegmentSpec};

impl<S: State> Shared<S> {
    /// Fetches what a root has and the state lacks, checks the chain, applies it, and publishes the state at the root's index.
    pub async fn absorb(&self, held: &mut Held, root: &Arc<Root>) -> Result<(), Trouble> {
        let now = self.snapshot();
        let at = &now.position;
        if root.spec.index < at.index {
            return Ok(()); // another task was faster
        }
        if root.spec.index == at.index {
            if *root.spec.head != *at.head {
                return Err(Trouble::Lost(Loss::Fork { index: at.index }));
            }
            // The CRD lets nobody change a root without a step: it was edited in etcd, or an older CRD cuts what it does not know.
            if root.spec != held.root.spec {
                return Err(Trouble::Lost(Loss::BrokenChain { index: at.index }));
            }
            return Ok(());
        }
        let segments = self.fetch(&root.spec, at.index).await?;
        let mut verifier = Verifier::new(at.index, &at.head, &self.options.expect);
        let mut state = S::clone(&now.state);
        let mut stamp = Stamp {
            index: at.index,
            ordinal: 0,
            time: now.time,
            writer: Arc::from(""),
        };
        let links = each_line(&root.spec, &segments, at.index, |line| {
            let batch = verifier.take(line)?;
            let events: Vec<S::Event> = batch.events()?;
            stamp.index = batch.index;
            stamp.time = batch.time;
            if *stamp.writer != *batch.writer {
                stamp.writer = Arc::from(&*batch.writer);
            }
            for (ordinal, event) in (0..).zip(&events) {
                stamp.ordinal = ordinal;
                state.apply(&stamp, event);
            }
            Ok(())
        })
        .map_err(Trouble::Lost)?;
        verifier.finish(&root.spec).map_err(Trouble::Lost)?;
        held.chain.graft(&links);
        held.root = root.clone();
        held.reserved = self.seen(verifier.oldest, verifier.newest);
        self.publish(Snapshot {
            state: Arc::new(state),
            position: position(root),
            time: stamp.time,
        });
        Ok(())
    }

    /// Notes whose the swap in flight was (it would be the first after what was held); returns what the newest swap asks for.
    fn seen(&self, oldest: Option<SwapSeen>, newest: Option<SwapSeen>) -> Option<Reserved> {
        let mut attempt = self.attempt();
        if let (Some(attempt), Some(swap)) = (attempt.as_mut(), oldest)
            && swap.first == attempt.first
        {
            attempt.ours = Some(swap.nonce == attempt.nonce);
        }
        let newest = newest?;
        let own = attempt.as_ref().is_some_and(|attempt| attempt.nonce == newest.nonce);
        (newest.wait && !own).then(|| Reserved {
            index: newest.last,
            until: Instant::now() + self.options.wait_for,
        })
    }

    /// The segments that hold what comes after `after` and is not in the tail any more: newest first.
    pub async fn fetch(&self, root: &JournalSpec, after: i64) -> Result<Vec<(String, SegmentSpec)>, Trouble> {
        let mut found = Vec::new();
        let mut last = root.index - root.tail.len() as i64;
        let mut parent = root.parent.clone();
        while last > after {
            let broken = Trouble::Lost(Loss::BrokenChain { index: last });
            if parent.is_empty() {
                return Err(broken);
            }
            let spec = self.segment(&parent).await?;
            if spec.last != last || spec.first > last || spec.first < 1 {
                return Err(broken);
            }
            last = spec.first - 1;
            let next = spec.parent.clone();
            found.push((parent, spec));
            parent = next;
        }
        Ok(found)
    }

    pub async fn segment(&self, name: &str) -> Result<SegmentSpec, Trouble> {
        let mut absent: Option<Instant> = None;
        loop {
            match self.store.segment(name).await {
                Ok(spec) => return Ok(spec),
                Err(StoreError::NotFound) => return Err(Trouble::Missing(name.to_owned())),
                Err(StoreError::NoSuchKind) if absent.get_or_insert_with(Instant::now).elapsed() < self.options.absent_after => {
                    tokio::time::sleep(self.options.absent_after / 20).await;
                }
                Err(StoreError::NoSuchKind) => return Err(Trouble::Missing(name.to_owned())),
                Err(StoreError::Malformed(why)) => {
                    let what = format!("segment {name}");
                    return Err(Trouble::Lost(Loss::Undecodable { what, why }));
                }
                Err(error) => return Err(Trouble::Store(error)),
            }
        }
    }

    /// Walks up from the root's newest segment to one that is known: other writers may have sealed what only their tail showed.
    pub async fn resolve(&self, held: &mut Held) -> Result<(), Trouble> {
        let root = held.root.clone();
        let mut links = Vec::new();
        let mut parent = root.spec.parent.clone();
        let mut last = root.spec.index - root.spec.tail.len() as i64;
        while !parent.is_empty() && !held.chain.knows(&parent) {
            let spec = self.segment(&parent).await?;
            if spec.last != last || spec.first > last || spec.first < 1 {
                return Err(Trouble::Lost(Loss::BrokenChain { index: last }));
            }
            last = spec.first - 1;
            links.push(Link::new(&parent, &spec, Arc::from(decode(&parent, &spec).map_err(Trouble::Lost)?)));
            parent = spec.parent;
        }
        links.reverse();
        held.chain.graft(&links);
        Ok(())
    }
}

pub(super) fn decode(name: &str, spec: &SegmentSpec) -> Result<String, Loss> {
    segment::decode(&spec.data).map_err(|why| Loss::Undecodable {
        what: format!("segment {name}"),
        why,
    })
}

/// Hands over each line after the index `after`, in order: those of the segments (newest first), then the tail's. Returns the
/// segments as links, oldest first.
pub(super) fn each_line(
    root: &JournalSpec,
    segments: &[(String, SegmentSpec)],
    after: i64,
    mut take: impl FnMut(&str) -> Result<(), Loss>,
) -> Result<Vec<Link>, Loss> {
    let mut links = Vec::with_capacity(segments.len());
    for (name, spec) in segments.iter().rev() {
        let lines = decode(name, spec)?;
        let mut next = spec.first;
        for line in lines.split_terminator('\n') {
            if next > after {
                take(line)?;
            }
            next += 1;
        }
        if next != spec.last + 1 {
            return Err(Loss::BrokenChain { index: next });
        }
        links.push(Link::new(name, spec, Arc::from(lines)));
        segment::forget(&mut links); // a long journal does not fit the memory decoded
    }
    let first = root.index + 1 - root.tail.len() as i64;
    for (index, line) in (first..).zip(&root.tail) {
        if index > after {
            take(line)?;
        }
    }
    Ok(links)
}
