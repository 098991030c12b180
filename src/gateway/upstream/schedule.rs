//! When a replica may open the next pass over a source. Pure: times are given. Which of several replicas has it, the journal decides.

use std::time::Duration;

use jiff::Timestamp;

use crate::directory::Poll;

/// A replica that did not make the last pass leaves the next one so long to the one that did: what it remembers makes passes cheaper.
const GRACE: Duration = Duration::from_secs(30);
/// The same, when an admin asked for a pass now, or changed the spec.
const SHORT_GRACE: Duration = Duration::from_secs(3);
/// The first wait after a pass that failed; twice as long after each more, and never longer than the interval.
const AGAIN: Duration = Duration::from_secs(15);

/// What a replica knows when it asks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asking<'a> {
    /// Its name as a writer of the journal.
    pub(super) me: &'a str,
    pub(super) now: Timestamp,
    /// How long it has seen the open pass say nothing new.
    pub(super) silent: Duration,
    /// After how long of that it may be superseded.
    pub(super) patience: Duration,
    /// From the end of a pass to the next one.
    pub(super) every: Duration,
    /// From 0 to 1: where in the tenth more or less.
    pub(super) jitter: f64,
    /// The generation of the source's spec.
    pub(super) generation: i64,
    /// What an admin last asked for.
    pub(super) requested: &'a str,
    /// How long the directory asked to be left alone, after the last pass of this replica.
    pub(super) after: Duration,
}

/// How long it has to wait; zero: it may open the next pass now.
pub(super) fn wait(poll: &Poll, asking: Asking<'_>) -> Duration {
    let Some(pass) = &poll.pass else { return Duration::ZERO };
    let mine = *pass.by == *asking.me;
    if pass.open {
        // an open pass of its own that it does not make any more: its spec changed
        return if mine {
            Duration::ZERO
        } else {
            asking.patience.saturating_sub(asking.silent)
        };
    }
    let asked = !asking.requested.is_empty() && *pass.requested != *asking.requested;
    let wanted = asked || asking.generation > pass.generation;
    let jittered = asking.every.mul_f64(0.9 + 0.2 * asking.jitter.clamp(0.0, 1.0));
    let (delay, grace) = match (wanted, poll.failures) {
        (true, _) => (Duration::ZERO, SHORT_GRACE),
        (false, 0) => (jittered, GRACE),
        (false, failures) => (
            jittered.min(AGAIN * 2u32.saturating_pow(failures.min(16) - 1)).max(asking.after),
            GRACE,
        ),
    };
    let delay = if mine { delay } else { delay + grace };
    let ended = poll.ended.as_ref().map_or(pass.opened, |ended| ended.time);
    // clocks may differ: never longer than if it ended just now
    let since = Duration::try_from(asking.now.duration_since(ended)).unwrap_or_default();
    delay.saturating_sub(since)
}

/// Whether the next pass has to ask for everything.
pub(super) fn full(poll: &Poll, now: Timestamp, every: Duration, remembers: bool) -> bool {
    let due = |full: Timestamp| Duration::try_from(now.duration_since(full)).is_ok_and(|since| since >= every);
    !remembers || poll.adopts() || poll.full.is_none_or(due)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::poll::{Counts, Ended, Outcome, Pass};

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + seconds).expect("a time")
    }

    fn pass(by: &str, open: bool) -> Pass {
        Pass {
            n: 7,
            by: by.into(),
            full: true,
            generation: 3,
            requested: "".into(),
            opened: at(-30),
            said: 40,
            counts: Counts::default(),
            open,
        }
    }

    fn ended(failures: u32) -> Poll {
        Poll {
            pass: Some(pass("a", false)),
            ended: Some(Ended {
                n: 7,
                time: at(0),
                outcome: Outcome::Complete,
                reason: "".into(),
                message: "".into(),
            }),
            full: Some(at(0)),
            failures,
            ..Poll::default()
        }
    }

    fn asks(me: &str, now: i64) -> Asking<'_> {
        Asking {
            me,
            now: at(now),
            silent: Duration::ZERO,
            patience: Duration::from_secs(120),
            every: Duration::from_secs(300),
            jitter: 0.5,
            generation: 3,
            requested: "",
            after: Duration::ZERO,
        }
    }

    #[test]
    fn who_made_the_last_pass_makes_the_next_one_and_a_silent_one_is_superseded() {
        let seconds = |poll: &Poll, asking: Asking<'_>| wait(poll, asking).as_secs();
        assert_eq!(seconds(&Poll::default(), asks("a", 0)), 0, "the first pass");
        let poll = ended(0);
        assert_eq!((seconds(&poll, asks("a", 0)), seconds(&poll, asks("b", 0))), (300, 330));
        assert_eq!((seconds(&poll, asks("a", 300)), seconds(&poll, asks("b", 300))), (0, 30));
        assert_eq!(seconds(&poll, asks("a", -1000)), 300, "a clock that is behind waits no longer");
        for (failures, expected) in [(1, 15), (2, 30), (5, 240), (6, 300), (60, 300)] {
            assert_eq!(seconds(&ended(failures), asks("a", 0)), expected, "{failures} failures");
        }
        let left_alone = Asking {
            after: Duration::from_secs(100),
            ..asks("a", 0)
        };
        assert_eq!(seconds(&ended(1), left_alone), 100);
        let now = |me| Asking {
            requested: "now",
            ..asks(me, 0)
        };
        assert_eq!((seconds(&poll, now("a")), seconds(&poll, now("b"))), (0, 3));
        for (generation, expected) in [(2, 300), (4, 0)] {
            let edited = Asking {
                generation,
                ..asks("a", 0)
            };
            assert_eq!(seconds(&poll, edited), expected, "generation {generation}");
        }

        let open = Poll {
            pass: Some(pass("a", true)),
            ..Poll::default()
        };
        let silent = |me, silent| Asking {
            silent: Duration::from_secs(silent),
            ..asks(me, 0)
        };
        assert_eq!(seconds(&open, silent("b", 0)), 120);
        assert_eq!(seconds(&open, silent("b", 119)), 1);
        assert_eq!(seconds(&open, silent("b", 120)), 0);
        assert_eq!(seconds(&open, silent("a", 0)), 0);
    }

    #[test]
    fn everything_is_asked_for_again_and_again() {
        let day = Duration::from_secs(86_400);
        assert!(full(&Poll::default(), at(0), day, true), "never");
        assert!(full(&ended(0), at(10), day, false), "without a memory");
        assert!(!full(&ended(0), at(10), day, true));
        assert!(full(&ended(0), at(86_400), day, true));
        let pushed = Poll { pushed: true, ..ended(0) };
        assert!(full(&pushed, at(10), day, true));
    }
}
