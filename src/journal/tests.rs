//! The suite in memory, and the losses that need etcd in one's hands.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::store::{Fault, Faulty, Memory, Op};
use super::suite::world::{Log, lost, options, plant, process, put, refuses};
use super::suite::{MemoryBed, Scale, run};
use super::{Error, Journal, Known, Loss, Store, load};

#[tokio::test(start_paused = true)]
async fn the_suite_in_memory() {
    let mut failures = Vec::new();
    for seed in 0..5 {
        let scale = Scale {
            writers: 8,
            events: 25,
            seed,
        };
        failures.extend(run(Arc::new(MemoryBed::default()), scale, "").await.failures);
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_suite_in_memory_on_several_threads() {
    let scale = Scale {
        writers: 16,
        events: 60,
        seed: 99,
    };
    let report = run(Arc::new(MemoryBed::default()), scale, "").await;
    assert!(report.failures.is_empty(), "{:#?}", report.failures);
}

/// A journal with some events of `pad` bytes, a process that follows it, and one that hears nothing by itself.
async fn scene(events: u64, pad: usize) -> (Memory, Journal<Log>, Journal<Log>) {
    let memory = Memory::new("directory");
    let store: Arc<dyn Store> = Arc::new(memory.clone());
    plant(&store).await.expect("a root");
    let follower = process(store.clone(), options("follower")).await.expect("opens");
    let mut deaf = options("deaf");
    deaf.follow = false;
    let deaf = process(store, deaf).await.expect("opens");
    for key in 0..events {
        put(&follower, key, pad).await.expect("puts");
    }
    deaf.read().await.expect("reads");
    (memory, follower, deaf)
}

async fn expect_loss(journal: &Journal<Log>, expected: impl Fn(&Loss) -> bool) {
    let loss = lost(journal).await.expect("a loss").loss.expect("a loss");
    assert!(expected(&loss), "{loss:?}");
    assert!(!loss.to_string().is_empty());
    refuses(journal).await.expect("answers nothing");
}

#[tokio::test(start_paused = true)]
async fn rolled_back_with_a_deaf_watch() {
    let (memory, follower, deaf) = scene(5, 10).await;
    let backup = memory.backup();
    for key in 10..15 {
        put(&follower, key, 10).await.expect("puts");
    }
    deaf.read().await.expect("reads");
    memory.restore(&backup);
    let expected = |loss: &Loss| *loss == Loss::RolledBack { known: 10, found: 5 };
    // The watch is kept and says nothing: the proof finds it. Who hears nothing finds it when it reads or appends.
    expect_loss(&follower, expected).await;
    assert!(matches!(put(&deaf, 20, 10).await, Err(Error::Lost(loss)) if expected(&loss)));
    let store: Arc<dyn Store> = Arc::new(memory);
    let state = load(store, Log::default(), Vec::new()).await.expect("loads").state;
    assert_eq!(state.events, 5, "nothing was written into the older journal");
}

#[tokio::test(start_paused = true)]
async fn rolled_back_and_gone_on() {
    for (after, pad) in [(4, 10), (5, 10), (9, 10), (30, 3000)] {
        let (memory, follower, deaf) = scene(5, 10).await;
        let backup = memory.backup();
        for key in 10..15 {
            put(&follower, key, 10).await.expect("puts");
        }
        deaf.read().await.expect("reads");
        let known = deaf.snapshot().position;
        drop(follower);
        memory.restore(&backup);
        let store: Arc<dyn Store> = Arc::new(memory);
        let other = process(store.clone(), options("other")).await.expect("opens: nobody told it");
        for key in 0..after {
            put(&other, 100 + key, pad).await.expect("puts");
        }
        let Err(answer) = deaf.read().await else {
            panic!("a loss is answered with an error")
        };
        let fits = match &answer {
            Error::Lost(Loss::RolledBack { known: 10, .. }) => after != 5,
            Error::Lost(Loss::Fork { index: 10 }) => after == 5,
            _ => false,
        };
        assert!(fits, "{after}: {answer:?}");
        // Whoever starts anew and knows the head finds it too, though the index has grown past it.
        let mut expecting = options("again");
        expecting.expect = vec![known.to_string().parse::<Known>().expect("a head")];
        assert!(matches!(
            Journal::open(store, Log::default(), expecting).await,
            Err(Error::Lost(Loss::RolledBack { .. }))
        ));
    }
}

#[test]
fn a_head_is_read_as_logs_and_metrics_have_it() {
    let head = "0A".repeat(32);
    let known: Known = format!("id/7/{head}").parse().expect("a head");
    assert_eq!((&*known.id, known.index, known.head), ("id", 7, Some(head.to_lowercase())));
    let known: Known = "id/7".parse().expect("an index");
    assert_eq!((known.index, known.head), (7, None));
    for wrong in ["", "id", "id/", "id/x", "/7", "id/-1", "id/7/", "id/7/00", &format!("id/7/{head}/")] {
        assert!(wrong.parse::<Known>().is_err(), "{wrong}");
    }
}

/// After a restore even the uid and the resourceVersion of what was known come back, with another content: only the CRD's rule is in the
/// way then, and its refusal is a reason to look.
#[tokio::test(start_paused = true)]
async fn a_fork_that_the_store_refuses_is_a_loss() {
    let (memory, follower, deaf) = scene(5, 10).await;
    let backup = memory.backup();
    put(&follower, 10, 10).await.expect("puts");
    deaf.read().await.expect("reads");
    drop(follower);
    memory.restore(&backup);
    let store: Arc<dyn Store> = Arc::new(memory.clone());
    let known = deaf.snapshot().position;
    let other = process(store.clone(), options("other")).await.expect("opens: nobody told it");
    put(&other, 100, 10).await.expect("puts");
    let root = store.root().await.expect("a root");
    assert_eq!((&root.uid, root.spec.index), (&known.uid, known.index));
    let swaps = memory.swaps();
    assert_eq!(put(&deaf, 20, 10).await, Err(Error::Lost(Loss::Fork { index: 6 })));
    assert_eq!(memory.swaps(), swaps, "nothing was written into the other history");
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_read_stops_a_reader() {
    type Change = fn(&mut crate::api::JournalSpec);
    let cases: [(&str, Change); 8] = [
        ("UnknownFormat", |root| root.format = 2),
        ("Fork", |root| root.head = "0".repeat(64)),
        ("BrokenChain", |root| {
            root.index += 1;
            let batch = root.tail[0].replace("\"index\":1,", "\"index\":3,");
            root.tail.push(batch);
        }),
        ("Undecodable", |root| {
            root.index += 1;
            root.tail.push("{}".to_owned());
        }),
        // The index is the same, so nothing but the root itself tells: a `checkpoint` that an older CRD cut off looks like this.
        ("BrokenChain", |root| root.checkpoint = "x".to_owned()),
        ("BrokenChain", |root| root.previous = "0".repeat(64)),
        ("RolledBack", |root| root.index -= 1),
        ("OtherId", |root| root.id = "other".to_owned()),
    ];
    for (reason, change) in cases {
        let (memory, follower, deaf) = scene(2, 10).await;
        memory.tamper(change);
        expect_loss(&follower, |loss| loss.reason() == reason).await;
        assert!(matches!(deaf.read().await, Err(Error::Lost(loss)) if loss.reason() == reason));
        let store: Arc<dyn Store> = Arc::new(memory);
        let opened = Journal::open(store, Log::default(), options("new")).await;
        assert!(opened.is_err() || reason == "OtherId", "{reason}: opened");
    }
}

#[tokio::test(start_paused = true)]
async fn a_root_that_is_being_deleted_is_lost() {
    let (memory, follower, deaf) = scene(2, 10).await;
    memory.touch(true);
    expect_loss(&follower, |loss| *loss == Loss::Deleting).await;
    // A PUT into it still succeeds: it must not be acknowledged.
    assert_eq!(put(&deaf, 9, 10).await, Err(Error::Lost(Loss::Deleting)));
}

#[tokio::test(start_paused = true)]
async fn a_kind_that_is_away_for_a_moment_is_no_loss() {
    for (moment, survives) in [(Duration::from_millis(150), true), (Duration::from_millis(400), false)] {
        let (memory, ..) = scene(3, 3000).await;
        let from = Instant::now() + Duration::from_millis(50);
        let away = move |op| {
            let away = (from..from + moment).contains(&Instant::now());
            (away && matches!(op, Op::Root | Op::Segment | Op::Segments | Op::Watch)).then(|| Fault::Refuse(super::StoreError::NoSuchKind))
        };
        let journal = process(Faulty::new(Arc::new(memory), away), options("reader"))
            .await
            .expect("opens");
        tokio::time::sleep(Duration::from_millis(60)).await;
        assert_eq!(journal.read().await.is_ok(), survives);
        assert_eq!(put(&journal, 7, 10).await.is_ok(), survives);
    }
}

#[tokio::test(start_paused = true)]
async fn appends_are_paced() {
    let memory = Memory::new("directory");
    let store: Arc<dyn Store> = Arc::new(memory);
    plant(&store).await.expect("a root");
    let mut paced = options("writer");
    (paced.burst, paced.refill) = (10, 50.0);
    let journal = process(store, paced).await.expect("opens");
    let started = Instant::now();
    for key in 0..60 {
        put(&journal, key, 10).await.expect("puts");
    }
    let took = started.elapsed();
    assert!((900..1500).contains(&took.as_millis()), "{took:?}");
    // Those that wait go together.
    let before = journal.snapshot().position.index;
    let puts = (100..300).map(|key| put(&journal, key, 10));
    assert!(futures::future::join_all(puts).await.iter().all(|put| *put == Ok(true)));
    assert!(journal.snapshot().position.index - before <= 3);
}

#[tokio::test(start_paused = true)]
async fn the_next_append_is_left_to_who_asked_for_it() {
    let (memory, _, other) = scene(1, 10).await;
    let store: Arc<dyn Store> = Arc::new(memory.clone());
    // Somebody asks, and then goes away: 2 s later it goes on.
    let root = store.root().await.expect("a root");
    let asks = super::seal::Signature {
        journal: "directory",
        time: jiff::Timestamp::now(),
        writer: "large",
        nonce: "feed",
    };
    let bodies = super::batch::Draft::wait();
    let swap = super::seal::outline(&root.spec, &asks, bodies.bodies(), true).finish(&root.spec, &asks, &[]);
    store.swap(&root, &swap.expect("a swap").spec).await.expect("stored");
    other.read().await.expect("reads");
    let started = Instant::now();
    put(&other, 50, 10).await.expect("puts");
    let waited = started.elapsed();
    assert!((1900..2200).contains(&waited.as_millis()), "{waited:?}");
    let started = Instant::now();
    put(&other, 51, 10).await.expect("puts");
    assert!(started.elapsed() < Duration::from_millis(10));
}

#[tokio::test(start_paused = true)]
async fn at_rest_nothing_is_written() {
    let (memory, follower, _deaf) = scene(20, 1000).await;
    let swaps = memory.swaps();
    let collector = tokio::spawn(super::Collector::new(Duration::from_secs(1)).run(follower.clone()));
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(memory.swaps(), swaps);
    assert!(!collector.is_finished());
    assert_eq!(follower.snapshot().position.loss, None);
}
