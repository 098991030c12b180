//! Cases without faults: one history, atomic, linearizable, fair, bounded.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::join_all;

use super::world::{Learnt, Log, Put, all_succeed, chain, check, ensure, faulty, options, plant, process, put, put_many, storm};
use super::{Bed, Scale};
use crate::journal::store::{Fault, Op};
use crate::journal::{Batch, Collector, EVENTS_MAX, Error, Stamp, Verdict};

/// Three processes with many writers each: one history.
pub async fn one_history(bed: &Arc<dyn Bed>, scale: Scale) -> Result<(), String> {
    let store = bed.fresh();
    plant(&store).await?;
    let mut journals = Vec::new();
    for n in 0..3 {
        journals.push(process(store.clone(), options(&format!("writer/{n}"))).await?);
    }
    all_succeed(&store, &journals, scale, 40).await
}

/// From a few bytes to several segments, in any order: the same comes back, from the tail, from segments, from merged ones.
pub async fn appends_of_any_size_are_read_back(bed: &Arc<dyn Bed>, _: Scale) -> Result<(), String> {
    let store = bed.fresh();
    plant(&store).await?;
    let journals = [
        process(store.clone(), options("writer/0")).await?,
        process(store.clone(), options("writer/1")).await?,
    ];
    let mut learnt = Learnt::default();
    let mut key = 0;
    let sizes = [
        0, 100, 3900, 3990, 4000, 4100, 8000, 20, 100_000, 300_000, 10, 500_000, 200_000, 1000,
    ];
    for (round, size) in sizes.into_iter().enumerate() {
        let keys: Vec<u64> = (key..key + 1 + (round % 3) as u64).collect();
        key += 3;
        put_many(&journals[round % 2], keys.clone(), size)
            .await
            .map_err(|error| format!("{size} bytes: {}", chain(&error)))?;
        learnt.acknowledged.extend(keys);
    }
    check(&store, &journals, &learnt).await
}

/// A change of several segments is seen whole or not at all, by followers and by cold starts.
pub async fn a_large_change_is_atomic(bed: &Arc<dyn Bed>, _: Scale) -> Result<(), String> {
    let store = bed.fresh();
    plant(&store).await?;
    let writer = process(store.clone(), options("writer")).await?;
    let follower = process(store.clone(), options("follower")).await?;
    let stop = Arc::new(AtomicBool::new(false));
    let watcher = tokio::spawn({
        let (follower, stop) = (follower.clone(), stop.clone());
        async move {
            let mut positions = follower.subscribe();
            while !stop.load(Ordering::Relaxed) {
                let seen = follower.snapshot().state.keys.len();
                if !seen.is_multiple_of(40) {
                    return Err(format!("a follower saw {seen} of them"));
                }
                let _ = tokio::time::timeout(Duration::from_millis(5), positions.changed()).await;
            }
            Ok(())
        }
    });
    let mut learnt = Learnt::default();
    for round in 0..3 {
        let keys: Vec<u64> = (round * 40..round * 40 + 40).collect();
        put_many(&writer, keys.clone(), 40_000).await.map_err(|error| chain(&error))?;
        learnt.acknowledged.extend(keys);
    }
    let root = store.root().await.map_err(|error| error.to_string())?;
    ensure(root.spec.index > 6, || "it was no large change".to_owned())?;
    let read = follower.read().await.map_err(|error| chain(&error))?;
    ensure(read.state.keys.len() == 120, || "a read is stale".to_owned())?;
    stop.store(true, Ordering::Relaxed);
    watcher.await.map_err(|error| error.to_string())??;
    check(&store, &[writer, follower], &learnt).await
}

/// A process that has heard of nothing must not answer "there is nothing to do": it looks first.
pub async fn a_refusal_is_a_read(bed: &Arc<dyn Bed>, scale: Scale) -> Result<(), String> {
    let store = bed.fresh();
    plant(&store).await?;
    let one = process(store.clone(), options("one")).await?;
    let mut deaf = options("two");
    deaf.follow = false;
    let two = process(store.clone(), deaf).await?;
    for key in 0..scale.events.min(30) {
        put(&one, key, 40).await.map_err(|error| chain(&error))?;
        let there = two
            .submit(move |log: &Log, _: &Stamp| Verdict::Read(log.keys.contains_key(&key)))
            .await
            .map_err(|error| chain(&error))?;
        ensure(there, || format!("{key} is said not to be there"))?;
        let again = put(&two, key, 40).await;
        ensure(again == Ok(false), || format!("{key} again: {again:?}"))?;
        // What an answer is rendered from: the state right after the request's own events.
        let place = two
            .submit_with_answer(
                move |_: &Log, stamp: &Stamp| {
                    let event = Put {
                        key: 5_000 + key,
                        pad: String::new(),
                    };
                    Verdict::Append(vec![event], (stamp.index, stamp.ordinal))
                },
                move |log: &Log, said| (said, log.keys.get(&(5_000 + key)).map(|(_, index, ordinal)| (*index, *ordinal))),
            )
            .await
            .map_err(|error| chain(&error))?;
        ensure(Some(place.0) == place.1, || {
            format!("judged at {:?}, applied at {:?}", place.0, place.1)
        })?;
        let read = one.read().await.map_err(|error| chain(&error))?;
        ensure(read.state.keys.contains_key(&(5_000 + key)), || "a read is stale".to_owned())?;
    }
    Ok(())
}

/// A hundred reads that wait at once cost a few GETs.
pub async fn reads_share_one_get(bed: &Arc<dyn Bed>, _: Scale) -> Result<(), String> {
    let store = bed.fresh();
    plant(&store).await?;
    let gets = Arc::new(AtomicUsize::new(0));
    let plan = {
        let gets = gets.clone();
        move |op| {
            gets.fetch_add(usize::from(op == Op::Root), Ordering::Relaxed);
            (op == Op::Root).then(|| Fault::Before(Box::pin(tokio::time::sleep(Duration::from_millis(5)))))
        }
    };
    let mut quiet = options("reader");
    quiet.follow = false;
    let journal = process(crate::journal::store::Faulty::new(store, plan), quiet).await?;
    put(&journal, 1, 10).await.map_err(|error| chain(&error))?;
    let before = gets.load(Ordering::Relaxed);
    let reads = join_all((0..100).map(|_| journal.read())).await;
    let refusals = join_all((0..100).map(|_| put(&journal, 1, 10))).await;
    ensure(reads.iter().all(Result::is_ok), || "a read failed".to_owned())?;
    ensure(refusals.iter().all(|answer| *answer == Ok(false)), || "a refusal failed".to_owned())?;
    let cost = gets.load(Ordering::Relaxed) - before;
    ensure(cost <= 6, || format!("200 reads cost {cost} GETs"))
}

/// A change whose segments take their time, against a stream of small ones.
pub async fn a_large_change_is_not_starved(bed: &Arc<dyn Bed>, _: Scale) -> Result<(), String> {
    let store = bed.fresh();
    plant(&store).await?;
    let slow = |op| (op == Op::CreateSegment).then(|| Fault::Before(Box::pin(tokio::time::sleep(Duration::from_millis(60)))));
    let large = faulty(&store, "large", slow).await?;
    let pace = |op| (op == Op::Swap).then(|| Fault::Before(Box::pin(tokio::time::sleep(Duration::from_millis(2)))));
    let small = faulty(&store, "small", pace).await?;
    let stop = Arc::new(AtomicBool::new(false));
    let stream = tokio::spawn({
        let (small, stop) = (small.clone(), stop.clone());
        async move {
            let mut learnt = Learnt::default();
            for key in 1_000_000.. {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                match put(&small, key, 10).await {
                    Ok(true) => learnt.acknowledged.insert(key),
                    _ => learnt.unknown.insert(key),
                };
            }
            learnt
        }
    });
    tokio::time::sleep(Duration::from_millis(50)).await;
    let keys: Vec<u64> = (0..30).collect();
    let put = tokio::time::timeout(Duration::from_secs(15), put_many(&large, keys.clone(), 40_000)).await;
    stop.store(true, Ordering::Relaxed);
    let mut learnt = stream.await.map_err(|error| error.to_string())?;
    ensure(put == Ok(Ok(true)), || format!("the large change: {put:?}"))?;
    ensure(learnt.acknowledged.len() > 10, || "there was no stream".to_owned())?;
    learnt.acknowledged.extend(keys);
    check(&store, &[large, small], &learnt).await
}

/// A process whose guard says no, after a conflict, appends nothing any more.
pub async fn an_old_leader_is_fenced(bed: &Arc<dyn Bed>, _: Scale) -> Result<(), String> {
    let store = bed.fresh();
    plant(&store).await?;
    let leader = Arc::new(AtomicBool::new(true));
    let mut old = options("controller/old/1");
    old.follow = false;
    old.before_append = Some({
        let leader = leader.clone();
        Arc::new(move || {
            let leads = leader.load(Ordering::Relaxed);
            Box::pin(async move { leads })
        })
    });
    let old = process(store.clone(), old).await?;
    let new = process(store.clone(), options("controller/new/2")).await?;
    let mut learnt = Learnt::default();
    for key in 0..2 {
        // A conflict alone fences nobody.
        put(&new, 10 + key, 10).await.map_err(|error| chain(&error))?;
        put(&old, key, 10).await.map_err(|error| chain(&error))?;
        learnt.acknowledged.extend([key, 10 + key]);
    }
    leader.store(false, Ordering::Relaxed);
    put(&new, 20, 10).await.map_err(|error| chain(&error))?;
    learnt.acknowledged.insert(20);
    for key in 30..33 {
        let answer = put(&old, key, 10).await;
        ensure(answer == Err(Error::Fenced), || format!("the old leader: {answer:?}"))?;
        learnt.refused.insert(key);
    }
    check(&store, &[old, new], &learnt).await
}

/// The queue is bounded: who finds it full is told so, and nothing was done.
pub async fn too_many_requests_are_refused(bed: &Arc<dyn Bed>, _: Scale) -> Result<(), String> {
    let store = bed.fresh();
    plant(&store).await?;
    let slow = |op| (op == Op::Swap).then(|| Fault::Before(Box::pin(tokio::time::sleep(Duration::from_millis(40)))));
    let mut few = options("writer");
    few.queue = 4;
    let journal = process(crate::journal::store::Faulty::new(store.clone(), slow), few).await?;
    let answers = join_all((0..64).map(|key| put(&journal, key, 10))).await;
    let mut learnt = Learnt::default();
    for (key, answer) in (0..).zip(answers) {
        match answer {
            Ok(true) => learnt.acknowledged.insert(key),
            Err(Error::Overloaded) => learnt.refused.insert(key),
            other => return Err(format!("{other:?}")),
        };
    }
    ensure(!learnt.refused.is_empty() && !learnt.acknowledged.is_empty(), || {
        format!("{learnt:?}")
    })?;
    check(&store, &[journal], &learnt).await
}

/// One event larger than a batch is refused by itself; the others of the same swap are not touched, nor a panic's neighbours.
pub async fn too_large_requests_are_refused(bed: &Arc<dyn Bed>, _: Scale) -> Result<(), String> {
    let store = bed.fresh();
    plant(&store).await?;
    let journal = process(store.clone(), options("writer")).await?;
    let (large, small, fits) = tokio::join!(
        put_many(&journal, vec![1, 2], EVENTS_MAX),
        put(&journal, 3, 10),
        put(&journal, 4, EVENTS_MAX - 100),
    );
    ensure(large == Err(Error::TooLarge), || format!("{large:?}"))?;
    ensure(small == Ok(true) && fits == Ok(true), || format!("{small:?} {fits:?}"))?;
    let learnt = Learnt {
        acknowledged: [3, 4].into(),
        refused: [1, 2].into(),
        ..Learnt::default()
    };
    check(&store, &[journal], &learnt).await
}

/// Appends at human pace leave few objects, each full, and no garbage; every `wait` batch and every tail is small.
pub async fn few_objects_remain(bed: &Arc<dyn Bed>, scale: Scale) -> Result<(), String> {
    let store = bed.fresh();
    plant(&store).await?;
    let journal = process(store.clone(), options("writer")).await?;
    let appends = (scale.writers * scale.events).clamp(100, 400);
    let mut learnt = storm(
        std::slice::from_ref(&journal),
        Scale {
            writers: 1,
            events: appends,
            ..scale
        },
        700,
    )
    .await;
    learnt.refused.clear();
    let mut collector = Collector::new(Duration::ZERO);
    for _ in 0..2 {
        collector.pass(&journal).await.map_err(|error| chain(&error))?;
    }
    ensure(!collector.is_waiting(), || "garbage waits".to_owned())?;
    let segments = store.segments().await.map_err(|error| error.to_string())?.len();
    ensure((1..=9).contains(&segments), || {
        format!("{appends} appends left {segments} segments")
    })?;
    let root = store.root().await.map_err(|error| error.to_string())?;
    let tail: usize = root.spec.tail.iter().map(String::len).sum();
    ensure(tail <= 4096, || format!("the tail has {tail} bytes"))?;
    let readable = root.spec.tail.iter().all(|line| Batch::parse(line).is_ok());
    ensure(readable, || "the tail cannot be read".to_owned())?;
    check(&store, &[journal], &learnt).await
}
