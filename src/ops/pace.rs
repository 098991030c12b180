//! How fast a watch that failed starts anew. What is watched is the caller's business.

use std::time::{Duration, Instant};

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};
use kube::runtime::utils::Backoff;

/// How long a failed watch waits before it starts anew: kube's own back-off grows to 30 s, and for so long a mapping that was edited would go on as it was.
pub struct Pace {
    inner: ExponentialBackoff,
    failed: Option<Instant>,
}

/// Without a failure for so long, it begins anew.
const CALM: Duration = Duration::from_secs(10);

impl Default for Pace {
    fn default() -> Self {
        Self::new()
    }
}

impl Pace {
    /// From the beginning.
    pub fn new() -> Self {
        let pace = ExponentialBuilder::new().with_min_delay(Duration::from_millis(200));
        let pace = pace.with_max_delay(Duration::from_secs(2)).with_jitter().without_max_times();
        Self {
            inner: pace.build(),
            failed: None,
        }
    }
}

impl Iterator for Pace {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        if self.failed.is_some_and(|failed| failed.elapsed() > CALM) {
            *self = Self::new();
        }
        self.failed = Some(Instant::now());
        self.inner.next()
    }
}

impl Backoff for Pace {
    /// Not by anything that went well: the first step of a list does, each time, also when the list never comes to its end.
    fn reset(&mut self) {}
}
