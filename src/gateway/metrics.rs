//! What is counted. Labels are closed sets: never a source, a person or a path.

use std::sync::Mutex;
use std::time::Duration;

use http::Method;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

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
    registry: Mutex<Registry>,
    requests: Family<Labels, Counter>,
    seconds: Family<Kind, Histogram>,
    unauthenticated: Counter,
    /// The index of the directory journal.
    pub(super) index: Gauge,
    /// 1 while requests cannot be answered.
    pub(super) unavailable: Gauge,
    /// How many sources are served.
    pub(super) sources: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("rolecall");
        let seconds = Family::<Kind, Histogram>::new_with_constructor(|| Histogram::new(exponential_buckets(0.001, 2.0, 16)));
        let metrics = Self {
            requests: Family::default(),
            seconds,
            unauthenticated: Counter::default(),
            index: Gauge::default(),
            unavailable: Gauge::default(),
            sources: Gauge::default(),
            registry: Mutex::default(),
        };
        registry.register("scim_requests", "SCIM requests answered", metrics.requests.clone());
        registry.register("scim_request_seconds", "How long SCIM requests took", metrics.seconds.clone());
        registry.register(
            "scim_unauthenticated",
            "SCIM requests without a good token",
            metrics.unauthenticated.clone(),
        );
        registry.register(
            "directory_journal_index",
            "The index of the directory journal",
            metrics.index.clone(),
        );
        registry.register(
            "gateway_unavailable",
            "1 while SCIM requests are answered 503",
            metrics.unavailable.clone(),
        );
        registry.register("gateway_sources", "Sources that are served", metrics.sources.clone());
        Self {
            registry: Mutex::new(registry),
            ..metrics
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

    /// All of them, in the OpenMetrics text format.
    pub(super) fn render(&self) -> String {
        let mut text = String::new();
        let registry = self.registry.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        // writing to a String does not fail
        let _ = encode(&mut text, &registry);
        text
    }
}
