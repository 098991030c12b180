//! Cases with a fault in between.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::world::{Random, all_succeed, check, ensure, faulty, options, plant, process, put, put_many, storm};
use super::{Bed, Scale};
use crate::journal::store::{Fault, Op, StoreError};
use crate::journal::{Collector, Error, Options};

fn unavailable() -> StoreError {
    StoreError::unknown("503")
}

/// Every third swap is stored, and its answer lost.
pub async fn reply_lost_after_the_commit(bed: &Arc<dyn Bed>, scale: Scale) -> Result<(), String> {
    let store = bed.fresh();
    plant(&store).await?;
    let mut journals = Vec::new();
    for n in 0..3 {
        let mut random = Random(scale.seed + n);
        let plan = move |op| (op == Op::Swap && random.one_in(3)).then_some(Fault::ReplyLost);
        journals.push(faulty(&store, &format!("writer/{n}"), plan).await?);
    }
    all_succeed(&store, &journals, scale, 40).await
}

/// Some swaps arrive later than their repetition.
pub async fn request_still_on_its_way(bed: &Arc<dyn Bed>, scale: Scale) -> Result<(), String> {
    let store = bed.fresh();
    plant(&store).await?;
    let mut journals = Vec::new();
    for n in 0..3 {
        let mut random = Random(scale.seed + n);
        let plan = move |op| (op == Op::Swap && random.one_in(4)).then(|| Fault::Late(Duration::from_millis(random.next() % 30)));
        journals.push(faulty(&store, &format!("writer/{n}"), plan).await?);
    }
    all_succeed(&store, &journals, scale, 40).await
}

/// The first PUT is stored or on its way, and its repetitions are refused: that says nothing about the first.
pub async fn refusal_of_the_repetition(bed: &Arc<dyn Bed>, scale: Scale) -> Result<(), String> {
    let store = bed.fresh();
    plant(&store).await?;
    let mut journals = Vec::new();
    for n in 0..2 {
        let mut random = Random(scale.seed + n);
        let mut refusals = 0;
        let plan = move |op| {
            if op != Op::Swap {
                return None;
            }
            if refusals > 0 {
                refusals -= 1;
                return Some(Fault::Refuse(match refusals {
                    0 => StoreError::Invalid("denied by an admission policy".to_owned()),
                    1 => unavailable(),
                    _ => StoreError::Refused {
                        status: 403,
                        message: "forbidden".to_owned(),
                    },
                }));
            }
            if !random.one_in(4) {
                return None;
            }
            refusals = 3;
            Some(if random.one_in(2) {
                Fault::ReplyLost
            } else {
                Fault::Late(Duration::from_millis(60))
            })
        };
        journals.push(faulty(&store, &format!("writer/{n}"), plan).await?);
    }
    all_succeed(&store, &journals, scale, 40).await
}

/// Somebody annotates the root: 409, and nobody's swap in between.
pub async fn conflict_without_a_rival(bed: &Arc<dyn Bed>, scale: Scale) -> Result<(), String> {
    let store = bed.fresh();
    plant(&store).await?;
    let mut random = Random(scale.seed);
    let (target, admin) = (store.clone(), bed.clone());
    let plan = move |op| {
        (op == Op::Swap && random.one_in(3)).then(|| {
            let (target, admin) = (target.clone(), admin.clone());
            Fault::Before(Box::pin(async move { admin.touch(&target).await }))
        })
    };
    let journals = [faulty(&store, "writer/0", plan).await?];
    all_succeed(&store, &journals, scale, 40).await
}

/// Everything that can go wrong, at random, with events large enough to seal all the time.
pub async fn every_fault_at_once(bed: &Arc<dyn Bed>, scale: Scale) -> Result<(), String> {
    let store = bed.fresh();
    plant(&store).await?;
    let mut journals = Vec::new();
    for n in 0..3 {
        let mut random = Random(scale.seed + 77 * n);
        let (target, admin) = (store.clone(), bed.clone());
        let plan = move |op| {
            if !random.one_in(6) {
                return None;
            }
            let delay = Duration::from_millis(random.next() % 20);
            match (op, random.next() % 5) {
                (Op::Swap | Op::CreateSegment | Op::Segment | Op::Root, 0) => Some(Fault::Refuse(unavailable())),
                (Op::Swap | Op::CreateSegment, 1) => Some(Fault::ReplyLost),
                (Op::Swap | Op::CreateSegment, 2) => Some(Fault::Late(delay)),
                (Op::Swap, 3) => {
                    let (target, admin) = (target.clone(), admin.clone());
                    Some(Fault::Before(Box::pin(async move { admin.touch(&target).await })))
                }
                (Op::Watch, _) => Some(Fault::Refuse(unavailable())),
                _ => Some(Fault::Before(Box::pin(tokio::time::sleep(delay)))),
            }
        };
        journals.push(faulty(&store, &format!("writer/{n}"), plan).await?);
    }
    let stop = Arc::new(tokio::sync::Notify::new());
    let collector = tokio::spawn({
        let (journal, stop) = (process(store.clone(), options("controller")).await?, stop.clone());
        async move {
            tokio::select! {
                error = Collector::new(Duration::from_millis(20)).run(journal) => Err(format!("the collector ended: {error}")),
                () = stop.notified() => Ok(()),
            }
        }
    });
    let result = all_succeed(&store, &journals, scale, 900).await;
    stop.notify_one();
    collector.await.map_err(|error| error.to_string())??;
    result
}

/// The answers to POSTs of segments are lost.
pub async fn segment_reply_lost(bed: &Arc<dyn Bed>, scale: Scale) -> Result<(), String> {
    let store = bed.fresh();
    plant(&store).await?;
    let mut random = Random(scale.seed);
    let plan = move |op| (op == Op::CreateSegment && random.one_in(2)).then_some(Fault::ReplyLost);
    let journals = [faulty(&store, "writer/0", plan).await?];
    all_succeed(&store, &journals, scale, 2000).await
}

/// A writer pauses between its segment and its root, and another appends meanwhile.
pub async fn pause_between_segment_and_root(bed: &Arc<dyn Bed>, scale: Scale) -> Result<(), String> {
    paused(bed, scale, true, false).await
}

/// The same, and the garbage is collected in the pause: the segment must not be used again.
pub async fn garbage_collected_in_that_pause(bed: &Arc<dyn Bed>, scale: Scale) -> Result<(), String> {
    paused(bed, scale, true, true).await
}

/// Nobody appends in the pause: the segment is no garbage, and the collector must not take it.
pub async fn living_segment_survives_that_pause(bed: &Arc<dyn Bed>, scale: Scale) -> Result<(), String> {
    paused(bed, scale, false, true).await
}

async fn paused(bed: &Arc<dyn Bed>, scale: Scale, rival: bool, collect: bool) -> Result<(), String> {
    let store = bed.fresh();
    plant(&store).await?;
    let other = process(store.clone(), options("other")).await?;
    let keys = Arc::new(AtomicUsize::new(0));
    let hook = {
        let (other, keys) = (other.clone(), keys.clone());
        move |op| {
            // Every other swap, or the rival would always win.
            if op != Op::Swap || !keys.fetch_add(1, Ordering::Relaxed).is_multiple_of(2) {
                return None;
            }
            let (other, key) = (other.clone(), 1_000_000 + keys.load(Ordering::Relaxed) as u64);
            Some(Fault::Before(Box::pin(async move {
                if rival {
                    let _ = put(&other, key, 10).await;
                }
                if collect {
                    let mut collector = Collector::new(Duration::ZERO);
                    for _ in 0..2 {
                        let _ = collector.pass(&other).await;
                    }
                }
            })))
        }
    };
    let journal = faulty(&store, "writer/0", hook).await?;
    let mut learnt = super::world::Learnt::default();
    for key in 0..scale.events.min(20) {
        // Larger than the tail: each is a segment of its own.
        match put(&journal, key, 5000).await {
            Ok(true) => learnt.acknowledged.insert(key),
            other => return Err(format!("{other:?}")),
        };
    }
    learnt
        .unknown
        .extend(1_000_000..1_000_000 + 2 * keys.load(Ordering::Relaxed) as u64 + 2);
    check(&store, &[journal, other], &learnt).await
}

/// A follower pauses over a seal: the segments that it wants were merged into others, and are gone. That is no loss.
pub async fn follower_paused_over_a_seal(bed: &Arc<dyn Bed>, scale: Scale) -> Result<(), String> {
    let store = bed.fresh();
    plant(&store).await?;
    let writer = process(store.clone(), options("writer")).await?;
    let pauses = Arc::new(AtomicUsize::new(0));
    let hook = {
        let (writer, pauses) = (writer.clone(), pauses.clone());
        move |op| {
            if op != Op::Segment || pauses.load(Ordering::Relaxed) >= 6 {
                return None;
            }
            let n = pauses.fetch_add(1, Ordering::Relaxed) as u64;
            let writer = writer.clone();
            Some(Fault::Before(Box::pin(async move {
                for key in 0..8 {
                    let _ = put(&writer, 2_000_000 + n * 8 + key, 3000).await;
                }
                let mut collector = Collector::new(Duration::ZERO);
                for _ in 0..2 {
                    let _ = collector.pass(&writer).await;
                }
            })))
        }
    };
    let mut quiet: Options = options("follower");
    quiet.follow = false;
    let follower = process(crate::journal::store::Faulty::new(store.clone(), hook), quiet).await?;
    let mut learnt = super::world::Learnt::default();
    for key in 0..scale.events.min(20) {
        put(&writer, key, 3000).await.map_err(|error| error.to_string())?;
        learnt.acknowledged.insert(key);
        if key % 5 == 4 {
            let read = follower
                .read()
                .await
                .map_err(|error| format!("the follower: {}", super::world::chain(&error)))?;
            ensure(read.state.keys.contains_key(&key), || "a read is stale".to_owned())?;
        }
    }
    ensure(pauses.load(Ordering::Relaxed) > 0, || "the follower never walked".to_owned())?;
    learnt.unknown.extend(2_000_000..2_000_000 + 8 * 6);
    check(&store, &[writer, follower], &learnt).await
}

/// An older CRD refuses what it would have to drop: nothing is stored, everybody is told, and later it goes on.
pub async fn strict_refusal(bed: &Arc<dyn Bed>, scale: Scale) -> Result<(), String> {
    let store = bed.fresh();
    plant(&store).await?;
    let attempts = Arc::new(AtomicUsize::new(0));
    let plan = {
        let attempts = attempts.clone();
        move |op| {
            let strict = StoreError::Refused {
                status: 400,
                message: "strict decoding error: unknown field \"spec.checkpoint\"".to_owned(),
            };
            (op == Op::Swap && attempts.fetch_add(1, Ordering::Relaxed) < 3).then_some(Fault::Refuse(strict))
        }
    };
    let journal = faulty(&store, "writer/0", plan).await?;
    let mut learnt = super::world::Learnt::default();
    for key in 0..3 {
        match put(&journal, key, 40).await {
            Err(Error::Store(StoreError::Refused { status: 400, .. })) => learnt.refused.insert(key),
            other => return Err(format!("a refused append was answered with {other:?}")),
        };
    }
    let more = Scale { writers: 2, ..scale };
    let mut rest = storm(std::slice::from_ref(&journal), more, 40).await;
    // The storm's first keys are those that were refused: now they are there.
    learnt.refused.clear();
    learnt.add(std::mem::take(&mut rest));
    check(&store, &[journal], &learnt).await
}

/// Reads and refusals wait while the store gives no definite answer, and are answered then.
pub async fn reads_wait_for_a_broken_store(bed: &Arc<dyn Bed>, _: Scale) -> Result<(), String> {
    let store = bed.fresh();
    plant(&store).await?;
    let broken = Arc::new(AtomicUsize::new(0));
    let plan = {
        let broken = broken.clone();
        move |op| (op == Op::Root && broken.load(Ordering::Relaxed) > 0).then(|| Fault::Refuse(unavailable()))
    };
    let journal = faulty(&store, "writer/0", plan).await?;
    put_many(&journal, vec![1, 2], 10).await.map_err(|error| error.to_string())?;
    broken.store(1, Ordering::Relaxed);
    let (read, refusal) = {
        let (a, b) = (journal.clone(), journal.clone());
        (
            tokio::spawn(async move { a.read().await }),
            tokio::spawn(async move { put(&b, 1, 10).await }),
        )
    };
    tokio::time::sleep(Duration::from_millis(50)).await;
    ensure(!read.is_finished() && !refusal.is_finished(), || {
        "answered without proof".to_owned()
    })?;
    broken.store(0, Ordering::Relaxed);
    let read = read.await.map_err(|error| error.to_string())?;
    ensure(read.is_ok(), || format!("{:?}", read.err()))?;
    let refusal = refusal.await.map_err(|error| error.to_string())?;
    ensure(refusal == Ok(false), || format!("{refusal:?}"))
}
