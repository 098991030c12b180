use proptest::prelude::*;

use super::*;

#[test]
fn a_segment_is_bounded() {
    let lines = "x".repeat(SEGMENT_MAX);
    let data = encode(&lines).expect("encodes");
    assert_eq!(decode(&data).expect("decodes"), lines);
    let bomb = encode(&"x".repeat(SEGMENT_MAX * 4)).expect("encodes");
    assert!(bomb.len() < 1000, "a bomb");
    assert!(decode(&bomb).is_err());
    for bad in ["!", "AAAA", "AAA"] {
        assert!(decode(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn what_cannot_be_compressed_fits_the_crd() {
    let mut random = 1u64;
    let noise: String = (0..SEGMENT_MAX)
        .map(|_| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            char::from(b' ' + ((random >> 33) % 95) as u8)
        })
        .collect();
    assert!(encode(&noise).expect("encodes").len() <= 700_000);
}

#[test]
fn takes_in_like_a_binary_counter() {
    for (newest_first, incoming, expected) in [
        (&[][..], 10, 0),
        (&[10], 10, 1),
        (&[11], 10, 0),
        (&[10, 20, 40, 100], 10, 3),
        (&[10, 20, 41, 100], 10, 2),
        (&[SEGMENT_MAX], SEGMENT_MAX, 0),
        (&[SEGMENT_MAX / 2], SEGMENT_MAX / 2, 1),
        (&[SEGMENT_MAX / 2], SEGMENT_MAX / 2 + 1, 0),
    ] {
        assert_eq!(
            take_in(newest_first.iter().copied(), incoming),
            expected,
            "{newest_first:?} {incoming}"
        );
    }
}

fn link(name: &str, parent: &str, len: usize) -> Link {
    Link {
        name: Arc::from(name),
        parent: Arc::from(parent),
        first: 0,
        last: 0,
        len,
        lines: Some(Arc::from("")),
    }
}

fn names(chain: &Chain) -> String {
    chain.links().iter().map(|link| &*link.name).collect::<Vec<_>>().join(" ")
}

#[test]
fn a_chain_grows_where_it_is_known() {
    let mut chain = Chain::default();
    assert!(chain.reaches("") && chain.is_whole(""));
    assert!(chain.graft(&[link("a", "", 1), link("b", "a", 1)]));
    assert_eq!(names(&chain), "a b");
    assert!(chain.reaches("b") && chain.is_whole("b") && !chain.reaches(""));
    assert!(!chain.graft(&[link("x", "unknown", 1)]));
    assert!(chain.graft(&[link("c", "a", 1)]), "b was merged into c");
    assert_eq!(names(&chain), "a c");
    chain.advance(1, [link("d", "a", 1)]);
    assert_eq!(names(&chain), "a d");
    assert!(chain.graft(&[link("e", "", 1)]), "everything was merged");
    assert_eq!(names(&chain), "e");
}

#[test]
fn only_what_can_be_merged_is_kept_in_memory() {
    let mut chain = Chain::default();
    chain.graft(&[link("a", "", SEGMENT_MAX), link("b", "a", 300_000), link("c", "b", 200_000)]);
    let kept: Vec<bool> = chain.links().iter().map(|link| link.lines.is_some()).collect();
    assert_eq!(kept, [false, true, true]);
}

proptest! {
    #[test]
    fn merging_leaves_few_segments(sizes in proptest::collection::vec(1usize..6000, 1..2000)) {
        let mut links: Vec<usize> = Vec::new();
        let total: usize = sizes.iter().sum();
        let mut written = 0;
        for size in sizes {
            let taken = take_in(links.iter().rev().copied(), size);
            let merged = size + links.drain(links.len() - taken..).sum::<usize>();
            prop_assert!(merged <= SEGMENT_MAX);
            written += merged;
            links.push(merged);
        }
        prop_assert_eq!(links.iter().sum::<usize>(), total);
        prop_assert!(links.len() <= 2 * total / SEGMENT_MAX + 24, "{} segments for {} bytes", links.len(), total);
        prop_assert!(written <= total * 10, "{} written for {}", written, total);
    }
}
