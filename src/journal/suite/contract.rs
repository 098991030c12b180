//! What a store must do, whatever it is made of: compare-and-swap, refusal of what does not follow, write-once segments, the watch.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::StreamExt;

use super::world::{Learnt, chain, check, ensure, faulty, next, options, plant, process, put, storm};
use super::{Bed, Scale};
use crate::api::{JournalSpec, SegmentSpec};
use crate::journal::store::{Fault, Hint, Listed, Op, Root, Store, StoreError};
use crate::journal::{Error, root};

/// The root as it is.
async fn look(store: &Arc<dyn Store>) -> Result<Root, String> {
    store.root().await.map_err(|error| chain(&error))
}

fn conflict(what: &str, answer: &Result<Root, StoreError>) -> Result<(), String> {
    ensure(*answer == Err(StoreError::Conflict), || format!("{what}: {answer:?}"))
}

/// Only what follows exactly the uid and the resourceVersion that were read is stored; the same bytes again are not.
pub async fn compare_and_swap(bed: &Arc<dyn Bed>, _: Scale) -> Result<(), String> {
    let store = bed.fresh();
    let id = plant(&store).await?;
    let first = look(&store).await?;
    let spec = next(&*store, &first.spec, 1)?;
    let other = Root {
        uid: Arc::from(uuid::Uuid::new_v4().to_string()),
        ..first.clone()
    };
    conflict("another uid", &store.swap(&other, &spec).await)?;
    ensure(look(&store).await? == first, || "a refused swap changed the root".to_owned())?;
    let stored = store.swap(&first, &spec).await.map_err(|error| chain(&error))?;
    let same = stored.spec == spec && stored.uid == first.uid && stored.version != first.version;
    ensure(same && look(&store).await? == stored, || format!("answered with {stored:?}"))?;
    conflict("the same bytes again", &store.swap(&first, &spec).await)?;
    conflict("an old resourceVersion", &store.swap(&first, &next(&*store, &first.spec, 2)?).await)?;
    ensure(look(&store).await? == stored, || "a refused swap changed the root".to_owned())?;
    bed.delete_root(&store).await;
    let follows = next(&*store, &stored.spec, 3)?;
    let gone = store.swap(&stored, &follows).await;
    ensure(gone == Err(StoreError::NotFound), || format!("a root that is gone: {gone:?}"))?;
    let again = store.create_root(&root::first(&id, store.name())).await;
    let again = again.map_err(|error| chain(&error))?;
    conflict("a root that was made again", &store.swap(&stored, &follows).await)?;
    let twice = store.create_root(&root::first(&id, store.name())).await;
    ensure(twice == Err(StoreError::AlreadyExists), || format!("a second root: {twice:?}"))?;
    ensure(look(&store).await? == again, || "a refused swap changed the root".to_owned())
}

/// Whoever has the newest resourceVersion still cannot fork the journal or set it back.
pub async fn fork_and_step_back_are_refused(bed: &Arc<dyn Bed>, _: Scale) -> Result<(), String> {
    let store = bed.fresh();
    plant(&store).await?;
    for key in 0..3 {
        let base = look(&store).await?;
        let spec = next(&*store, &base.spec, key)?;
        store.swap(&base, &spec).await.map_err(|error| chain(&error))?;
    }
    let base = look(&store).await?;
    type Change = fn(&mut JournalSpec);
    let changes: [(&str, Change); 6] = [
        ("a fork", |spec| spec.previous = "0".repeat(64)),
        ("the same index", |spec| spec.index -= 1),
        ("an index back", |spec| spec.index -= 2),
        ("another installation", |spec| spec.id = "other".to_owned()),
        ("a tail too long", |spec| spec.tail = vec!["{}".to_owned(); 257]),
        ("a batch too long", |spec| spec.tail.push("x".repeat(8193))),
    ];
    for (what, change) in changes {
        let mut spec = next(&*store, &base.spec, 10)?;
        change(&mut spec);
        let answer = store.swap(&base, &spec).await;
        ensure(matches!(answer, Err(StoreError::Invalid(_))), || format!("{what}: {answer:?}"))?;
        ensure(look(&store).await? == base, || format!("{what} changed the root"))?;
    }
    let unchanged = store.swap(&base, &base.spec).await;
    ensure(unchanged.as_ref() == Ok(&base), || format!("an unchanged PUT: {unchanged:?}"))
}

/// Other people's annotations disturb no append, and no append removes them.
pub async fn what_others_wrote_on_the_root_stays(bed: &Arc<dyn Bed>, scale: Scale) -> Result<(), String> {
    let store = bed.fresh();
    plant(&store).await?;
    let before = look(&store).await?;
    let mut quiet = options("deaf");
    quiet.follow = false;
    let journals = [
        process(store.clone(), options("writer")).await?,
        process(store.clone(), quiet).await?,
    ];
    bed.touch(&store).await;
    let touched = look(&store).await?;
    ensure(touched.version != before.version && touched.kept.contains("touched"), || {
        format!("not annotated: {touched:?}")
    })?;
    let mut learnt = Learnt::default();
    for (key, journal) in (0..).zip(&journals) {
        ensure(put(journal, key, 10).await == Ok(true), || format!("writer {key} was disturbed"))?;
        learnt.acknowledged.insert(key);
    }
    ensure(look(&store).await?.kept == touched.kept, || {
        "an append removed what others wrote".to_owned()
    })?;
    let more = Scale { writers: 1, ..scale };
    let appending = storm(std::slice::from_ref(&journals[0]), more, 10);
    let touching = async {
        for _ in 0..5 {
            bed.touch(&store).await;
        }
    };
    let (mut rest, ()) = tokio::join!(appending, touching);
    rest.refused.retain(|key| !learnt.acknowledged.contains(key)); // the storm's first keys are there already
    learnt.add(rest);
    check(&store, &journals, &learnt).await
}

/// A segment is made once under its name, comes back as it was, and is deleted only by the uid that was listed.
pub async fn segments_are_written_once(bed: &Arc<dyn Bed>, _: Scale) -> Result<(), String> {
    let store = bed.fresh();
    let id = plant(&store).await?;
    let name = format!("{}-9-feed", store.name());
    let spec = SegmentSpec {
        base: 3,
        first: 4,
        last: 9,
        parent: format!("{}-3-beef", store.name()),
        data: "A".repeat(699_052), // 512 KiB in base64
    };
    let none = store.segment(&name).await;
    ensure(none == Err(StoreError::NotFound), || format!("before: {:?}", none.err()))?;
    store.create_segment(&id, &name, &spec).await.map_err(|error| chain(&error))?;
    let other = SegmentSpec {
        base: 4,
        data: String::new(),
        ..spec.clone()
    };
    let again = store.create_segment(&id, &name, &other).await;
    ensure(again == Err(StoreError::AlreadyExists), || format!("again: {again:?}"))?;
    let back = store.segment(&name).await.map_err(|error| chain(&error))?;
    ensure(back == spec, || "it came back as another".to_owned())?;
    let long = SegmentSpec {
        data: "A".repeat(700_001),
        ..spec
    };
    let long = store.create_segment(&id, &format!("{name}x"), &long).await;
    ensure(matches!(long, Err(StoreError::Invalid(_))), || format!("too long: {long:?}"))?;
    let listed = store.segments().await.map_err(|error| chain(&error))?;
    let fits = listed.len() == 1 && listed[0].name == name && listed[0].id == id;
    ensure(fits, || format!("listed: {listed:?}"))?;
    let other = Listed {
        uid: uuid::Uuid::new_v4().to_string(),
        ..listed[0].clone()
    };
    let deleted = store.delete_segment(&other).await;
    ensure(deleted == Err(StoreError::Conflict), || format!("another uid: {deleted:?}"))?;
    store.delete_segment(&listed[0]).await.map_err(|error| chain(&error))?;
    let gone = store.segment(&name).await;
    ensure(gone == Err(StoreError::NotFound), || format!("after: {:?}", gone.err()))?;
    let deleted = store.delete_segment(&listed[0]).await;
    ensure(deleted == Err(StoreError::NotFound), || format!("twice: {deleted:?}"))
}

/// A watch, begun before or after the changes, comes to the newest root, never goes back, and tells of the deletion.
pub async fn a_watch_shows_the_newest_root(bed: &Arc<dyn Bed>, _: Scale) -> Result<(), String> {
    let store = bed.fresh();
    plant(&store).await?;
    let first = look(&store).await?;
    let mut early = store.watch(&first.version).await.map_err(|error| chain(&error))?;
    let mut base = first.clone();
    for key in 0..20 {
        let spec = next(&*store, &base.spec, key)?;
        base = store.swap(&base, &spec).await.map_err(|error| chain(&error))?;
    }
    let late = store.watch(&first.version).await.map_err(|error| chain(&error))?;
    for (at, hints) in (0..).zip([&mut early, &mut { late }]) {
        let mut seen = Vec::new();
        let newest = async {
            while let Some(hint) = hints.next().await {
                match hint {
                    Ok(Hint::Root(root)) => {
                        seen.push(root.spec.index);
                        if root.spec.index == base.spec.index {
                            return *root == base;
                        }
                    }
                    _ => return false,
                }
            }
            false
        };
        let whole = tokio::time::timeout(Duration::from_secs(10), newest).await;
        ensure(whole == Ok(true), || {
            format!("watch {at} never showed the newest: {whole:?}, {seen:?}")
        })?;
        ensure(seen.is_sorted(), || format!("watch {at} went back: {seen:?}"))?;
    }
    bed.delete_root(&store).await;
    let next = tokio::time::timeout(Duration::from_secs(10), early.next()).await;
    ensure(matches!(next, Ok(Some(Ok(Hint::Deleted)))), || {
        format!("of the deletion it says {next:?}")
    })
}

/// A newer release under an older CRD: what that would drop in silence is refused instead, nothing of it is stored, and all goes on when
/// it is no longer sent.
pub async fn an_older_crd_refuses_what_it_would_drop(bed: &Arc<dyn Bed>, scale: Scale) -> Result<(), String> {
    let store = bed.older();
    let mut newer = root::first("newer", store.name());
    newer.checkpoint = "newer".to_owned();
    let strict = |answer: &Result<Root, StoreError>| {
        let told = matches!(answer, Err(StoreError::Refused { status: 400, message }) if message.contains("checkpoint"));
        ensure(told, || format!("it was not refused: {answer:?}"))
    };
    strict(&store.create_root(&newer).await)?;
    plant(&store).await?;
    let base = look(&store).await?;
    let mut spec = next(&*store, &base.spec, 1)?;
    spec.checkpoint = "newer".to_owned();
    strict(&store.swap(&base, &spec).await)?;
    let newer = Arc::new(AtomicBool::new(true));
    let plan = {
        let newer = newer.clone();
        move |op| (op == Op::Swap && newer.load(Ordering::Relaxed)).then_some(Fault::Edit(|spec| spec.checkpoint = "newer".to_owned()))
    };
    let journal = faulty(&store, "writer/0", plan).await?;
    for key in 0..3 {
        let answer = put(&journal, key, 40).await;
        let refused = matches!(answer, Err(Error::Store(StoreError::Refused { status: 400, .. })));
        ensure(refused, || format!("a refused append was answered with {answer:?}"))?;
    }
    ensure(look(&store).await? == base, || "something was stored".to_owned())?;
    newer.store(false, Ordering::Relaxed);
    let learnt = storm(std::slice::from_ref(&journal), Scale { writers: 2, ..scale }, 40).await;
    ensure(learnt.refused.is_empty() && learnt.unknown.is_empty(), || format!("{learnt:?}"))?;
    check(&store, &[journal], &learnt).await
}
