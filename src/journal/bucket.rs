//! A token bucket, pure: time comes in as a value.

use std::time::Duration;

/// Paces appends: a burst, then so many a second.
#[derive(Debug)]
pub struct Bucket {
    burst: f64,
    refill: f64,
    tokens: f64,
    at: Duration,
}

impl Bucket {
    /// Full, at the time zero.
    pub fn new(burst: u32, refill: f64) -> Self {
        let burst = f64::from(burst.max(1));
        Self {
            burst,
            refill: refill.max(0.001),
            tokens: burst,
            at: Duration::ZERO,
        }
    }

    /// How long to wait for a token; zero if there is one.
    pub fn wait(&mut self, now: Duration) -> Duration {
        let passed = now.saturating_sub(self.at).as_secs_f64();
        self.at = self.at.max(now);
        self.tokens = (self.tokens + passed * self.refill).min(self.burst);
        if self.tokens >= 1.0 {
            return Duration::ZERO;
        }
        Duration::from_secs_f64((1.0 - self.tokens) / self.refill) + Duration::from_millis(1)
    }

    /// Takes a token, whether there is one or not.
    pub fn take(&mut self) {
        self.tokens -= 1.0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_the_rate() {
        let mut bucket = Bucket::new(3, 50.0);
        for _ in 0..3 {
            assert_eq!(bucket.wait(Duration::ZERO), Duration::ZERO);
            bucket.take();
        }
        let wait = bucket.wait(Duration::ZERO);
        assert!(wait > Duration::from_millis(20) && wait < Duration::from_millis(25), "{wait:?}");
        assert_eq!(bucket.wait(wait), Duration::ZERO);
        bucket.take();
        assert_eq!(bucket.wait(Duration::from_secs(3600)), Duration::ZERO);
        for _ in 0..3 {
            bucket.take();
        }
        assert!(bucket.wait(Duration::from_secs(3600)) > Duration::ZERO, "never more than the burst");
    }
}
