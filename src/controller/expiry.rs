//! Which mappings end when (`spec.notAfter`): who is due by the wall clock, and when to look next. What an end means is `access`' to say.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use crate::access::key::MappingKey;

/// A clock that is set is noticed this late, at the most.
const LOOK_AT_CLOCK: Duration = Duration::from_secs(10);

/// The ends that are still to come.
#[derive(Debug, Default)]
pub struct Expiry(BTreeMap<MappingKey, Timestamp>);

impl Expiry {
    /// The mapping's end; `None`: it has none, or it was told already.
    pub fn set(&mut self, key: &MappingKey, end: Option<Timestamp>) {
        self.0.remove(key);
        self.0.extend(end.map(|end| (key.clone(), end)));
    }

    /// The mappings that have ended by now, each once.
    pub fn due(&mut self, now: Timestamp) -> Vec<MappingKey> {
        let ended = self.0.iter().filter(|(_, end)| **end <= now);
        let due: Vec<MappingKey> = ended.map(|(key, _)| key.clone()).collect();
        self.0.retain(|_, end| *end > now);
        due
    }

    /// When to look next: at the next end, or before, as the clock may be set meanwhile.
    pub fn next(&self, now: Timestamp) -> Option<Instant> {
        let end = self.0.values().min()?;
        let wait = Duration::try_from(end.duration_since(now)).unwrap_or(Duration::ZERO);
        Some(Instant::now() + wait.min(LOOK_AT_CLOCK))
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{advance, sleep_until};

    use super::*;

    fn key(name: &str) -> MappingKey {
        MappingKey::cluster_role_mapping(name)
    }

    /// The wall clock of a paused test: it goes with tokio's, less what it was set back by.
    struct Wall {
        begun: (Instant, Timestamp),
        back: jiff::SignedDuration,
    }

    impl Wall {
        fn now(&self) -> Timestamp {
            let elapsed = jiff::SignedDuration::try_from(self.begun.0.elapsed()).expect("short");
            self.begun.1 + elapsed - self.back
        }
    }

    #[tokio::test(start_paused = true)]
    async fn each_ends_when_its_time_comes_and_not_before() {
        let mut wall = Wall {
            begun: (Instant::now(), "2026-11-26T12:00:00.25Z".parse().expect("a time")),
            back: jiff::SignedDuration::ZERO,
        };
        let mut expiry = Expiry::default();
        assert_eq!(expiry.next(wall.now()), None);
        let ends = [
            ("a", "2026-11-26T12:00:01Z"),
            ("b", "2026-11-26T12:10:00Z"),
            ("c", "2026-11-26T12:10:00Z"),
            ("d", "2026-12-26T00:00:00Z"),
        ];
        for (name, end) in ends {
            expiry.set(&key(name), Some(end.parse().expect("a time")));
        }
        expiry.set(&key("c"), None);
        let mut ended: Vec<(MappingKey, Timestamp)> = Vec::new();
        for _ in 0..100 {
            sleep_until(expiry.next(wall.now()).expect("an end")).await;
            let now = wall.now();
            ended.extend(expiry.due(now).into_iter().map(|key| (key, now)));
            if ended.len() == 2 {
                break;
            }
        }
        for ((found, at), (name, end)) in ended.iter().zip([ends[0], ends[1]]) {
            let late = at.duration_since(end.parse().expect("a time"));
            assert_eq!(*found, key(name));
            assert!(
                late >= jiff::SignedDuration::ZERO && late < jiff::SignedDuration::from_millis(10),
                "{late}"
            );
        }
        assert_eq!(ended.len(), 2, "d has a month left");

        // A clock that is set forward is noticed soon; one that is set back ends nothing early.
        expiry.set(&key("e"), Some(wall.now() + jiff::SignedDuration::from_secs(60)));
        wall.back = jiff::SignedDuration::from_secs(3600);
        advance(Duration::from_secs(61)).await;
        assert_eq!(expiry.due(wall.now()), []);
        wall.back = jiff::SignedDuration::ZERO;
        sleep_until(expiry.next(wall.now()).expect("an end")).await;
        assert_eq!(expiry.due(wall.now()), [key("e")]);
    }
}
