//! How fast a watch that failed starts anew. What is watched is the caller's business.

use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};
use kube::runtime::utils::Backoff;

/// How long a failed watch waits before it starts anew: kube's own back-off grows to 30 s, and for so long a mapping that was edited would go on as it was.
pub struct Pace(ExponentialBackoff);

impl Default for Pace {
    fn default() -> Self {
        Self::new()
    }
}

impl Pace {
    /// From the beginning.
    pub fn new() -> Self {
        let pace = ExponentialBuilder::new().with_min_delay(Duration::from_millis(100));
        let pace = pace.with_max_delay(Duration::from_secs(1)).with_jitter().without_max_times();
        Self(pace.build())
    }
}

impl Iterator for Pace {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        self.0.next()
    }
}

impl Backoff for Pace {
    fn reset(&mut self) {
        *self = Self::new();
    }
}
