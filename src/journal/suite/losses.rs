//! Cases of loss that any backend can show, and what must not be taken for one. Roll-backs need etcd in one's hands: see tests.

use std::sync::Arc;
use std::time::Duration;

use super::world::{Log, chain, check, ensure, faulty, lost, next, options, plant, process, put, refuses};
use super::{Bed, Scale};
use crate::journal::store::{Fault, Faulty, Listed, Op, StoreError};
use crate::journal::{Creation, Error, Journal, Known, Loss, Named, create_if_nothing_names_one, load};

/// The root is deleted: everybody notices, nothing is answered any more, and opening says so.
pub async fn root_deleted(bed: &Arc<dyn Bed>, _: Scale) -> Result<(), String> {
    let store = bed.fresh();
    plant(&store).await?;
    let journal = process(store.clone(), options("writer")).await?;
    put(&journal, 1, 10).await.map_err(|error| error.to_string())?;
    bed.delete_root(&store).await;
    let position = lost(&journal).await?;
    ensure(position.loss == Some(Loss::Gone), || format!("{:?}", position.loss))?;
    ensure(position.index == 1, || "the position moved".to_owned())?;
    refuses(&journal).await?;
    ensure(journal.snapshot().state.keys.contains_key(&1), || {
        "the last state is gone".to_owned()
    })?;
    match process(store, options("second")).await {
        Err(why) if why.contains("gone") => Ok(()),
        other => Err(format!("opened: {:?}", other.err())),
    }
}

/// The root is being deleted: a PUT into it would still succeed, so it must not be acknowledged, and nobody may open it.
pub async fn root_being_deleted(bed: &Arc<dyn Bed>, _: Scale) -> Result<(), String> {
    let store = bed.fresh();
    plant(&store).await?;
    let mut deaf = options("deaf");
    deaf.follow = false;
    let deaf = process(store.clone(), deaf).await?;
    let journal = process(store.clone(), options("writer")).await?;
    put(&journal, 1, 10).await.map_err(|error| error.to_string())?;
    deaf.read().await.map_err(|error| error.to_string())?;
    bed.begin_deletion(&store).await;
    let root = store.root().await.map_err(|error| error.to_string())?;
    ensure(root.deleting, || "it has no deletionTimestamp".to_owned())?;
    // The PUT carries the resourceVersion of before, or is sent after the deletion was heard of: neither is acknowledged.
    for (key, journal) in [(2, &deaf), (3, &journal)] {
        let answer = put(journal, key, 10).await;
        ensure(answer == Err(Error::Lost(Loss::Deleting)), || format!("{key}: {answer:?}"))?;
        refuses(journal).await?;
    }
    // Even one that knows the newest resourceVersion.
    let stored = store.swap(&root, &next(&*store, &root.spec, 4)?).await;
    ensure(stored.as_ref().is_ok_and(|root| root.deleting), || format!("{stored:?}"))?;
    match process(store, options("second")).await {
        Err(why) if why.contains("being deleted") => Ok(()),
        other => Err(format!("opened: {:?}", other.err())),
    }
}

/// The root is deleted, and made again, while an append's outcome is unknown: it is not acknowledged.
pub async fn root_deleted_while_the_outcome_is_unknown(bed: &Arc<dyn Bed>, _: Scale) -> Result<(), String> {
    let store = bed.fresh();
    plant(&store).await?;
    let (target, admin) = (store.clone(), bed.clone());
    let mut swaps = 0;
    let plan = move |op| {
        swaps += usize::from(op == Op::Swap);
        match (op, swaps) {
            (Op::Swap, 2) => Some(Fault::Refuse(StoreError::unknown("reset"))),
            (Op::Swap, 3) => {
                let (target, admin) = (target.clone(), admin.clone());
                Some(Fault::Before(Box::pin(async move {
                    admin.delete_root(&target).await;
                    let _ = plant(&target).await;
                })))
            }
            _ => None,
        }
    };
    let journal = faulty(&store, "writer", plan).await?;
    put(&journal, 1, 10).await.map_err(|error| error.to_string())?;
    let second = put(&journal, 2, 10).await;
    ensure(matches!(second, Err(Error::Lost(_))), || format!("{second:?}"))?;
    let state = load(store, Log::default(), Vec::new())
        .await
        .map_err(|error| error.to_string())?
        .state;
    ensure(state.events == 0, || "something was written into the new journal".to_owned())
}

/// The root is deleted and made again, with the same id and without.
pub async fn root_made_again(bed: &Arc<dyn Bed>, _: Scale) -> Result<(), String> {
    for same in [true, false] {
        let store = bed.fresh();
        let id = plant(&store).await?;
        // A process that hears of nothing by itself, and meets it when it appends.
        let mut deaf = options("deaf");
        deaf.follow = false;
        let deaf = process(store.clone(), deaf).await?;
        let journal = process(store.clone(), options("writer")).await?;
        put(&journal, 1, 10).await.map_err(|error| error.to_string())?;
        let known = known(&journal);
        bed.delete_root(&store).await;
        if same {
            let spec = crate::journal::root::first(&id, store.name());
            store.create_root(&spec).await.map_err(|error| error.to_string())?;
        } else {
            plant(&store).await?;
        }
        let loss = lost(&journal).await?.loss;
        let fits = match &loss {
            Some(Loss::Gone) => true, // the moment between the two was seen
            Some(Loss::OtherUid { .. }) => same,
            Some(Loss::OtherId { .. }) => !same,
            _ => false,
        };
        ensure(fits, || format!("{loss:?}"))?;
        refuses(&journal).await?;
        let answer = put(&deaf, 2, 10).await;
        ensure(matches!(answer, Err(Error::Lost(_))), || format!("{answer:?}"))?;
        let mut expecting = options("second");
        expecting.expect = vec![known];
        ensure(process(store, expecting).await.is_err(), || "it opened all the same".to_owned())?;
    }
    Ok(())
}

/// A segment is deleted: a running process notices within its proof, and opening fails.
pub async fn segment_deleted(bed: &Arc<dyn Bed>, _: Scale) -> Result<(), String> {
    let store = bed.fresh();
    plant(&store).await?;
    let journal = process(store.clone(), options("writer")).await?;
    for key in 0..12 {
        put(&journal, key, 3000).await.map_err(|error| error.to_string())?;
    }
    journal.prove().await.map_err(|error| chain(&error))?;
    let root = store.root().await.map_err(|error| error.to_string())?;
    let segments = store.segments().await.map_err(|error| error.to_string())?;
    let reached = segments.into_iter().find(|segment| segment.name == root.spec.parent);
    let reached: Listed = reached.ok_or("the root names no segment")?;
    store.delete_segment(&reached).await.map_err(|error| error.to_string())?;
    let position = lost(&journal).await?;
    let fits = matches!(&position.loss, Some(Loss::SegmentMissing { name }) if *name == reached.name);
    ensure(fits, || format!("{:?}", position.loss))?;
    refuses(&journal).await?;
    match process(store, options("second")).await {
        Err(why) if why.contains(&reached.name) => Ok(()),
        other => Err(format!("opened: {:?}", other.err())),
    }
}

/// What is known of a journal must be so when it is opened.
pub async fn opening_compares_with_what_is_known(bed: &Arc<dyn Bed>, _: Scale) -> Result<(), String> {
    let store = bed.fresh();
    plant(&store).await?;
    let journal = process(store.clone(), options("writer")).await?;
    for key in 0..30 {
        put(&journal, key, 1000).await.map_err(|error| error.to_string())?;
    }
    let now = known(&journal);
    for key in 30..60 {
        put(&journal, key, 1000).await.map_err(|error| error.to_string())?;
    }
    let open = async |known: Known| {
        let mut expecting = options("second");
        expecting.expect = vec![known];
        Journal::open(store.clone(), Log::default(), expecting).await
    };
    open(now.clone())
        .await
        .map_err(|error| format!("the truth was refused: {}", chain(&error)))?;
    let wrong = [
        Known {
            index: 1000,
            ..now.clone()
        },
        Known {
            head: Some("0".repeat(64)),
            ..now.clone()
        },
        Known {
            id: "other".to_owned(),
            ..now.clone()
        },
        Known {
            uid: Some("other".to_owned()),
            ..now
        },
    ];
    for known in wrong {
        let opened = open(known.clone()).await;
        ensure(matches!(opened, Err(Error::Lost(_))), || format!("opened in spite of {known:?}"))?;
    }
    let learnt = super::world::Learnt {
        acknowledged: (0..60).collect(),
        ..Default::default()
    };
    check(&store, &[journal], &learnt).await
}

fn known(journal: &Journal<Log>) -> Known {
    let position = journal.snapshot().position;
    Known {
        id: position.id.to_string(),
        uid: Some(position.uid.to_string()),
        index: position.index,
        head: Some(position.head.to_string()),
    }
}

/// Roots are made only where nothing names one; a reply that got lost on the way makes no difference.
pub async fn roots_are_made_only_where_nothing_names_one(bed: &Arc<dyn Bed>, _: Scale) -> Result<(), String> {
    let create = async |access: &dyn crate::journal::Store, directory: &dyn crate::journal::Store, id: &str, named| {
        create_if_nothing_names_one(access, directory, id, named)
            .await
            .map_err(|error| chain(&error))
    };
    let refused = |creation: &Creation| matches!(creation, Creation::Refused { .. });
    let (access, directory) = (bed.fresh(), bed.fresh());
    let named = Named {
        id: "x".to_owned(),
        by: "RoleBinding team/rolecall-1".to_owned(),
    };
    let creation = create(&*access, &*directory, "a", Some(named)).await?;
    ensure(refused(&creation), || format!("an object names one: {creation:?}"))?;
    let mut posts = 0;
    let flaky = Faulty::new(access.clone(), move |op| {
        posts += usize::from(op == Op::CreateRoot);
        (op == Op::CreateRoot && posts == 1).then_some(Fault::ReplyLost)
    });
    let creation = create(&*flaky, &*directory, "a", None).await?;
    ensure(creation == Creation::Created("a".to_owned()), || format!("{creation:?}"))?;
    let creation = create(&*access, &*directory, "b", None).await?;
    ensure(creation == Creation::Existed("a".to_owned()), || format!("{creation:?}"))?;
    bed.delete_root(&directory).await;
    let creation = create(&*access, &*directory, "b", None).await?;
    ensure(creation == Creation::Created("a".to_owned()), || format!("half made: {creation:?}"))?;
    bed.delete_root(&access).await;
    let creation = create(&*access, &*directory, "b", None).await?;
    ensure(refused(&creation), || format!("a journal is there: {creation:?}"))?;
    let (access, directory) = (bed.fresh(), bed.fresh());
    plant(&directory).await?;
    let journal = process(directory.clone(), options("writer")).await?;
    put(&journal, 1, 5000).await.map_err(|error| error.to_string())?;
    bed.delete_root(&directory).await;
    let creation = create(&*access, &*directory, "b", None).await?;
    ensure(refused(&creation), || format!("a segment is there: {creation:?}"))?;
    tokio::time::sleep(Duration::from_millis(1)).await;
    Ok(())
}
