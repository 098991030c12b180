use proptest::prelude::*;
use serde::Deserialize;

use super::*;
use crate::api::JournalSpec;
use crate::journal::root::head;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Event {
    text: String,
}

fn event(text: &str) -> Event {
    Event { text: text.to_owned() }
}

fn envelope<'a>(nonce: &'a str, parent: &'a str) -> Envelope<'a> {
    Envelope {
        time: "2026-11-24T12:00:00.123Z".parse().expect("a time"),
        writer: "gateway/a",
        nonce,
        parent,
        checkpoint: "",
        wait: false,
    }
}

#[test]
fn the_format_is_this() {
    let line = encode(7, &envelope("abcd", "directory-6-ef"), r#"{"text":"x"}"#);
    assert_eq!(
        line,
        r#"{"index":7,"time":"2026-11-24T12:00:00.123Z","writer":"gateway/a","nonce":"abcd","parent":"directory-6-ef","events":[{"text":"x"}]}"#
    );
    let mut asks = envelope("n", "");
    asks.wait = true;
    asks.checkpoint = "c";
    let line = encode(8, &asks, "");
    assert_eq!(
        line,
        r#"{"index":8,"time":"2026-11-24T12:00:00.123Z","writer":"gateway/a","nonce":"n","parent":"","checkpoint":"c","wait":true,"events":[]}"#
    );
}

#[test]
fn what_is_not_a_batch_is_refused() {
    let good = encode(1, &envelope("n", ""), "");
    assert!(Batch::parse(&good).is_ok());
    for (from, to) in [
        ("\"index\":1", "\"index\":\"1\""),
        ("\"events\":[]", "\"events\":[],\"more\":1"),
        ("\"nonce\":\"n\",", ""),
        ("2026-11-24", "yesterday"),
        ("]}", "]"),
    ] {
        let bad = good.replace(from, to);
        assert_ne!(good, bad);
        assert!(Batch::parse(&bad).is_err(), "{bad}");
    }
    let unknown = encode(1, &envelope("n", ""), r#"{"text":"x","more":1}"#);
    let batch = Batch::parse(&unknown).expect("the envelope is fine");
    assert!(matches!(batch.events::<Event>(), Err(Loss::Undecodable { .. })));
}

/// Lines of swaps with the given numbers of batches, and the roots after each.
fn history(swaps: &[usize]) -> (Vec<String>, Vec<JournalSpec>) {
    let (mut lines, mut roots) = (Vec::new(), Vec::new());
    let (mut index, mut previous) = (0, "start".to_owned());
    for (n, batches) in swaps.iter().enumerate() {
        let (nonce, parent) = (format!("nonce{n}"), format!("parent{n}"));
        let swap: Vec<String> = (0..*batches)
            .map(|_| {
                index += 1;
                encode(index, &envelope(&nonce, &parent), "")
            })
            .collect();
        let new = head(&previous, swap.iter().map(String::as_str), &parent, "");
        roots.push(JournalSpec {
            index,
            head: new.clone(),
            previous: std::mem::replace(&mut previous, new),
            parent,
            ..JournalSpec::default()
        });
        lines.extend(swap);
    }
    (lines, roots)
}

fn verify(lines: &[String], root: &JournalSpec, known: &[Known]) -> Result<(SwapSeen, SwapSeen), Loss> {
    let mut verifier = Verifier::new(0, "start", known);
    for line in lines {
        verifier.take(line)?;
    }
    verifier.finish(root)?;
    Ok((verifier.oldest.expect("a swap"), verifier.newest.expect("a swap")))
}

#[test]
fn the_chain_is_checked_swap_by_swap() {
    let (lines, roots) = history(&[1, 3, 1, 2]);
    let root = roots.last().expect("a root");
    let (oldest, newest) = verify(&lines, root, &[]).expect("whole");
    assert_eq!((oldest.first, oldest.last, newest.first, newest.last), (1, 1, 6, 7));
    let broken = |lines: &[String], root: &JournalSpec| assert!(matches!(verify(lines, root, &[]), Err(Loss::BrokenChain { .. })));
    broken(&lines[..6], root);
    broken(&lines, &roots[2]);
    for at in 0..lines.len() {
        let mut edited = lines.clone();
        edited[at] = edited[at].replace("gateway/a", "gateway/b");
        broken(&edited, root);
        let mut without = lines.clone();
        without.remove(at);
        broken(&without, root);
    }
    let changes: [fn(&mut JournalSpec); 4] = [
        |r| r.head.push('0'),
        |r| r.previous.push('0'),
        |r| r.parent.push('0'),
        |r| r.index += 1,
    ];
    for change in changes {
        let mut other = root.clone();
        change(&mut other);
        broken(&lines, &other);
    }
}

#[test]
fn what_is_known_is_passed() {
    let (lines, roots) = history(&[1, 3, 1, 2]);
    let root = roots.last().expect("a root");
    let known = |index, head: Option<&str>| Known {
        id: String::new(),
        uid: None,
        index,
        head: head.map(str::to_owned),
    };
    for (known, expected) in [
        (known(4, Some(&roots[1].head)), true),
        (known(7, Some(&root.head)), true),
        (known(4, Some(&roots[0].head)), false),
        (known(3, Some(&roots[1].head)), false), // inside a swap no root ever was
        (known(3, None), true),
    ] {
        assert_eq!(verify(&lines, root, std::slice::from_ref(&known)).is_ok(), expected, "{known:?}");
    }
}

#[test]
fn a_draft_is_all_or_nothing() {
    let mut draft = Draft::new();
    let mut places = Vec::new();
    let large = event(&"x".repeat(EVENTS_MAX));
    assert_eq!(draft.add(&[event("a"), large], |_, _, _| panic!("placed")), Err(TooLarge));
    assert!(draft.is_empty());
    assert_eq!(draft.next(), (0, 0));
    let half = event(&"x".repeat(EVENTS_MAX / 2));
    for events in [vec![event("a"), event("b")], vec![half.clone(), half.clone()], vec![event("c")]] {
        draft
            .add(&events, |offset, ordinal, _| places.push((offset, ordinal)))
            .expect("fits");
    }
    assert_eq!(places, [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1)]);
    assert_eq!(draft.next(), (1, 2));
    assert_eq!(draft.bodies().len(), 2);
    let many = vec![half; 2 * REQUEST_MAX / EVENTS_MAX + 2];
    assert_eq!(draft.add(&many, |_, _, _| panic!("placed")), Err(TooLarge));
    assert_eq!(draft.bodies().len(), 2);
}

proptest! {
    #[test]
    fn what_is_drafted_is_read(texts in proptest::collection::vec(".{0,40}", 0..20), writer in ".{0,20}", index in 1i64..i64::MAX) {
        let events: Vec<Event> = texts.iter().map(|text| event(text)).collect();
        let mut draft = Draft::new();
        draft.add(&events, |_, _, _| ()).expect("fits");
        let body = draft.bodies().first().cloned().unwrap_or_default();
        let mut envelope = envelope("n", "p");
        envelope.writer = &writer;
        let line = encode(index, &envelope, &body);
        prop_assert!(!line.contains('\n'));
        let batch = Batch::parse(&line).expect("a batch");
        prop_assert_eq!(batch.index, index);
        prop_assert_eq!(&*batch.writer, &*writer);
        prop_assert_eq!(batch.events::<Event>().expect("events"), events);
    }
}
