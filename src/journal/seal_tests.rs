use proptest::prelude::*;

use super::*;
use crate::journal::batch::{Batch, EVENTS_MAX};
use crate::journal::root::first;
use crate::journal::segment::Chain;

fn signature(nonce: &str) -> Signature<'_> {
    Signature {
        journal: "directory",
        time: Timestamp::UNIX_EPOCH,
        writer: "w",
        nonce,
    }
}

/// A journal that is only ever swapped, and everything it should hold.
struct World {
    root: JournalSpec,
    chain: Chain,
    lines: Vec<String>,
    swaps: usize,
}

impl World {
    fn new() -> Self {
        Self {
            root: first("id", "directory"),
            chain: Chain::default(),
            lines: Vec::new(),
            swaps: 0,
        }
    }

    fn swap(&mut self, bodies: &[String], wait: bool) -> Swap {
        self.swaps += 1;
        let nonce = format!("n{}", self.swaps);
        let outline = outline(&self.root, &signature(&nonce), bodies, wait);
        self.lines.extend(outline.batches.iter().cloned());
        let taken = outline
            .incoming(&self.root)
            .map_or(&[][..], |incoming| self.chain.taken(incoming))
            .to_vec();
        let swap = outline.finish(&self.root, &signature(&nonce), &taken).expect("a swap");
        assert_eq!(swap.spec.previous, self.root.head);
        for segment in &swap.segments {
            assert_eq!(segment.spec.base, self.root.index);
            assert!(segment.link.name.ends_with(&nonce));
        }
        self.chain
            .advance(swap.taken, swap.segments.iter().map(|segment| segment.link.clone()));
        self.root = swap.spec.clone();
        swap
    }

    /// What a reader finds, from the oldest segment to the tail.
    fn check(&self) {
        assert!(self.chain.is_whole(&self.root.parent));
        let mut found: Vec<String> = Vec::new();
        let mut parent = "";
        for link in self.chain.links() {
            assert_eq!(&*link.parent, parent);
            parent = &link.name;
            assert_eq!(link.first, found.len() as i64 + 1);
            let lines = link.lines.as_deref().unwrap_or_default();
            if lines.is_empty() {
                found.extend(self.lines[link.first as usize - 1..link.last as usize].iter().cloned());
            } else {
                found.extend(lines.split_terminator('\n').map(str::to_owned));
            }
            assert_eq!(link.last, found.len() as i64);
            assert!(link.len <= SEGMENT_MAX);
        }
        found.extend(self.root.tail.iter().cloned());
        assert_eq!(found, self.lines);
        assert_eq!(self.root.index, found.len() as i64);
        let last = Batch::parse(&self.lines[self.lines.len() - 1]).expect("a batch");
        assert_eq!(last.parent, self.root.parent);
        assert!(self.root.tail.len() <= 256);
    }
}

fn body(len: usize) -> String {
    format!("\"{}\"", "x".repeat(len))
}

#[test]
fn a_small_batch_stays_in_the_tail() {
    let mut world = World::new();
    let swap = world.swap(&[body(100)], false);
    assert!(swap.segments.is_empty() && swap.spec.tail.len() == 1 && swap.spec.parent.is_empty());
    world.check();
}

#[test]
fn a_full_tail_becomes_a_segment_and_the_new_batch_the_tail() {
    let mut world = World::new();
    while world.swap(&[body(1000)], false).segments.is_empty() {}
    assert_eq!((world.root.index, world.root.tail.len()), (4, 1));
    let links = world.chain.links();
    assert_eq!((links[0].first, links[0].last), (1, 3));
    assert_eq!(world.root.parent, "directory-3-n4");
    world.check();
}

#[test]
fn a_large_batch_takes_the_tail_with_it() {
    let mut world = World::new();
    world.swap(&[body(100)], false);
    let swap = world.swap(&[body(5000)], false);
    assert_eq!(swap.segments.len(), 1);
    assert!(swap.spec.tail.is_empty());
    assert_eq!((swap.segments[0].spec.first, swap.segments[0].spec.last), (1, 2));
    world.check();
}

#[test]
fn a_huge_change_is_several_segments() {
    let mut world = World::new();
    world.swap(&[body(100)], false);
    let bodies: Vec<String> = (0..5).map(|_| body(EVENTS_MAX - 2)).collect();
    let swap = world.swap(&bodies, false);
    assert_eq!(swap.segments.len(), 5, "the small tail fits into the first");
    assert_eq!(swap.spec.index, 6);
    world.check();
}

#[test]
fn a_wait_batch_never_seals() {
    let mut world = World::new();
    for _ in 0..3 {
        world.swap(&[body(1200)], false);
    }
    for _ in 0..8 {
        assert!(world.swap(&[String::new()], true).segments.is_empty());
    }
    world.check();
    assert!(!world.swap(&[body(10)], false).segments.is_empty());
    world.check();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn nothing_is_ever_lost(swaps in proptest::collection::vec((proptest::collection::vec(0usize..3, 1..3), 0u8..10), 1..60)) {
        let mut world = World::new();
        for (sizes, wait) in swaps {
            if wait == 0 {
                world.swap(&[String::new()], true);
                continue;
            }
            let bodies: Vec<String> = sizes.iter().map(|size| body([30, 3000, 90_000][*size] * usize::from(wait) / 5)).collect();
            world.swap(&bodies, false);
        }
        world.check();
    }
}
