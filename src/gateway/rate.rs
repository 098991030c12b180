//! How often may be asked: each source, and each address without a good token. Who asks more is told when to come again (RFC 6585 §4).

use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use governor::clock::{Clock, MonotonicClock};
use governor::middleware::NoOpMiddleware;
use governor::state::keyed::DashMapStateStore;
use governor::{InsufficientCapacity, Quota, RateLimiter};

/// A budget is this many seconds' worth of requests: a burst of so many passes.
const BURST: u32 = 4;
/// So many keys are remembered before those are forgotten that have not asked lately.
const MANY: usize = 10_000;

/// The address that a connection comes from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer(pub(super) IpAddr);

type Keyed<K> = RateLimiter<K, DashMapStateStore<K>, MonotonicClock, NoOpMiddleware<std::time::Instant>>;

/// A limit for each key; none: no limit.
struct Limit<K: Hash + Eq + Clone> {
    keyed: Option<Keyed<K>>,
}

impl<K: Hash + Eq + Clone> Limit<K> {
    /// So many a second; 0: no limit.
    fn new(rate: u32) -> Self {
        let keyed = NonZeroU32::new(rate).map(|rate| {
            let burst = rate.saturating_mul(NonZeroU32::new(BURST).unwrap_or(NonZeroU32::MIN));
            RateLimiter::new(
                Quota::per_second(rate).allow_burst(burst),
                DashMapStateStore::default(),
                MonotonicClock,
            )
        });
        Self { keyed }
    }

    /// The error: in how many seconds it may ask again.
    fn take(&self, key: &K) -> Result<(), u32> {
        let Some(keyed) = &self.keyed else { return Ok(()) };
        let taken = keyed.check_key(key);
        if keyed.len() > MANY {
            keyed.retain_recent();
        }
        taken.map_err(|wait| seconds(wait.wait_time_from(MonotonicClock.now())))
    }
}

/// Whole seconds, for `Retry-After`.
fn seconds(wait: Duration) -> u32 {
    u32::try_from(wait.as_millis().div_ceil(1000)).unwrap_or(u32::MAX).max(1)
}

/// The limits of a gateway.
pub(super) struct Rates {
    sources: Limit<Arc<str>>,
    strangers: Limit<IpAddr>,
}

impl Rates {
    /// Requests a second: of one source, and without a good token of one address; 0: no limit.
    pub(super) fn new(source: u32, stranger: u32) -> Self {
        Self {
            sources: Limit::new(source),
            strangers: Limit::new(stranger),
        }
    }

    /// A request of a source.
    pub(super) fn source(&self, name: &Arc<str>) -> Result<(), u32> {
        self.sources.take(name)
    }

    /// So many requests more, at once, of a source: what a bulk request holds.
    pub(super) fn more(&self, name: &Arc<str>, requests: usize) -> Result<(), u32> {
        let requests = u32::try_from(requests).ok().and_then(NonZeroU32::new);
        let (Some(keyed), Some(requests)) = (&self.sources.keyed, requests) else {
            return Ok(());
        };
        let taken = match keyed.check_key_n(name, requests) {
            // More than could ever be had at once costs all that there is beside the request itself.
            Err(InsufficientCapacity(all)) => NonZeroU32::new(all.saturating_sub(1)).and_then(|all| keyed.check_key_n(name, all).ok()),
            Ok(taken) => Some(taken),
        };
        match taken {
            Some(Err(wait)) => Err(seconds(wait.wait_time_from(MonotonicClock.now()))),
            Some(Ok(())) | None => Ok(()),
        }
    }

    /// A request without a good token.
    pub(super) fn stranger(&self, peer: Peer) -> Result<(), u32> {
        self.strangers.take(&network(peer.0))
    }
}

/// Whoever has one IPv6 address has the 2^64 beside it too.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bulk_request_counts_as_many() {
        let (rates, okta): (Rates, Arc<str>) = (Rates::new(100, 0), "okta".into());
        assert_eq!(rates.more(&okta, 0), Ok(()));
        assert_eq!(rates.more(&okta, 400), Ok(()));
        assert!(rates.more(&okta, 399).is_err_and(|wait| wait >= 3));
        let entra: Arc<str> = "entra".into();
        assert_eq!(rates.source(&entra), Ok(()));
        assert_eq!(rates.more(&entra, 100_000), Ok(()), "not kept out for ever");
        assert!(rates.more(&entra, 100_000).is_err(), "but it costs all there is");
        assert_eq!(Rates::new(0, 0).more(&okta, 1_000), Ok(()));
    }

    #[test]
    fn a_burst_passes_and_then_it_is_later() {
        let rates = Rates::new(2, 1);
        let (okta, entra): (Arc<str>, Arc<str>) = ("okta".into(), "entra".into());
        for _ in 0..8 {
            assert_eq!(rates.source(&okta), Ok(()));
        }
        assert!(
            (0..1_000).any(|_| rates.source(&okta) == Err(1)),
            "a slow machine lets some more pass"
        );
        assert_eq!(rates.source(&entra), Ok(()), "each has its own");
        let peer = |text: &str| Peer(text.parse().unwrap());
        for _ in 0..4 {
            assert_eq!(rates.stranger(peer("2001:db8::1")), Ok(()));
        }
        assert!(
            (0..1_000).any(|_| rates.stranger(peer("2001:db8::ffff:1")) == Err(1)),
            "the same network"
        );
        assert_eq!(rates.stranger(peer("2001:db8:0:1::1")), Ok(()));
        assert_eq!(rates.stranger(peer("192.0.2.1")), Ok(()));
        let none = Rates::new(0, 0);
        assert!((0..10_000).all(|_| none.source(&okta).is_ok() && none.stranger(peer("192.0.2.1")).is_ok()));
    }
}
