//! What is counted. Labels are closed sets: never a source, a person or a path.

use std::time::Duration;

use http::Method;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};

use crate::ops::metrics::{Heads, Page};

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Labels {
    method: &'static str,
    resource: &'static str,
    status: u16,
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
    /// Where the directory journal stands.
    pub(super) heads: Heads,
    /// 1 while requests cannot be answered.
    pub(super) unavailable: Gauge,
    /// How many sources are served.
    pub(super) sources: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut page = Page::new();
        let seconds = Family::<Kind, Histogram>::new_with_constructor(|| Histogram::new(exponential_buckets(0.001, 2.0, 16)));
        let (requests, unauthenticated) = (Family::<Labels, Counter>::default(), Counter::default());
        let (unavailable, sources) = (Gauge::default(), Gauge::default());
        page.register("scim_requests", "SCIM requests answered", requests.clone());
        page.register("scim_request_seconds", "How long SCIM requests took", seconds.clone());
        let help = "SCIM requests without a good token";
        page.register("scim_unauthenticated", help, unauthenticated.clone());
        let help = "1 while SCIM requests are answered 503";
        page.register("gateway_unavailable", help, unavailable.clone());
        page.register("gateway_sources", "Sources that are served", sources.clone());
        Self {
            heads: Heads::new(&mut page),
            page,
            requests,
            seconds,
            unauthenticated,
            unavailable,
            sources,
        }
    }
}

impl Metrics {
    pub(super) fn answered(&self, method: &Method, resource: &'static str, status: u16, took: Duration) {
        // anything else is a client's invention
        let method = match method.as_str() {
            "GET" => "GET",
            "HEAD" => "HEAD",
            "POST" => "POST",
            "PUT" => "PUT",
            "PATCH" => "PATCH",
            "DELETE" => "DELETE",
            _ => "other",
        };
        self.requests.get_or_create(&Labels { method, resource, status }).inc();
        self.seconds.get_or_create(&Kind { method, resource }).observe(took.as_secs_f64());
    }

    pub(super) fn unauthenticated(&self) {
        self.unauthenticated.inc();
    }
}
