//! What is counted. Labels are closed sets, or sources by name: never a person or a path.

use std::collections::BTreeSet;
use std::time::Duration;

use http::Method;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};

use crate::ops::metrics::{Appends, Heads, Page, name_of};
use crate::scim::Seen;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Labels {
    method: &'static str,
    resource: &'static str,
    status: u16,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Tolerated {
    source: String,
    tolerance: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Drifted {
    source: String,
    drift: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Kind {
    method: &'static str,
    resource: &'static str,
}

/// The gateway's metrics.
pub struct Metrics {
    /// As it is served.
    pub(super) page: Page,
    requests: Family<Labels, Counter>,
    seconds: Family<Kind, Histogram>,
    unauthenticated: Counter,
    tolerated: Family<Tolerated, Counter>,
    drifted: Family<Drifted, Counter>,
    /// Where the directory journal stands.
    pub(super) heads: Heads,
    /// How long its appends took.
    pub(super) appends: Appends,
    /// 1 while requests cannot be answered.
    pub(super) unavailable: Gauge,
    /// How many sources are served.
    pub(super) sources: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        let page = Page::new();
        let seconds = Family::<Kind, Histogram>::new_with_constructor(|| Histogram::new(exponential_buckets(0.001, 2.0, 16)));
        let (requests, unauthenticated) = (Family::<Labels, Counter>::default(), Counter::default());
        let (unavailable, sources) = (Gauge::default(), Gauge::default());
        page.register("scim_requests", "SCIM requests answered", requests.clone());
        page.register("scim_request_seconds", "How long SCIM requests took", seconds.clone());
        let help = "SCIM requests without a good token";
        page.register("scim_unauthenticated", help, unauthenticated.clone());
        let (tolerated, drifted) = (Family::<Tolerated, Counter>::default(), Family::<Drifted, Counter>::default());
        let help = "SCIM requests that needed a tolerance beyond the RFCs";
        page.register("scim_tolerated", help, tolerated.clone());
        let help = "SCIM requests with attributes that are not what the schema says";
        page.register("scim_drift", help, drifted.clone());
        let help = "1 while SCIM requests are answered 503";
        page.register("gateway_unavailable", help, unavailable.clone());
        page.register("gateway_sources", "Sources that are served", sources.clone());
        let appends = Appends::default();
        appends.register(&page);
        Self {
            heads: Heads::new(&page),
            appends,
            page,
            requests,
            seconds,
            unauthenticated,
            tolerated,
            drifted,
            unavailable,
            sources,
        }
    }
}

impl Metrics {
    pub(super) fn answered(&self, method: &Method, resource: &'static str, status: u16, took: Duration) {
        let method = name_of(method);
        self.requests.get_or_create(&Labels { method, resource, status }).inc();
        self.seconds.get_or_create(&Kind { method, resource }).observe(took.as_secs_f64());
    }

    pub(super) fn seen(&self, source: &str, seen: &Seen) {
        for tolerance in seen.tolerated() {
            let labels = Tolerated {
                source: source.to_owned(),
                tolerance: tolerance.name(),
            };
            self.tolerated.get_or_create(&labels).inc();
        }
        let drifts: BTreeSet<_> = seen.drifted().into_iter().map(|(drift, _)| drift).collect();
        for drift in drifts {
            let labels = Drifted {
                source: source.to_owned(),
                drift: drift.name(),
            };
            self.drifted.get_or_create(&labels).inc();
        }
    }

    pub(super) fn unauthenticated(&self) {
        self.unauthenticated.inc();
    }
}
