//! A page of metrics in the OpenMetrics text format, and those that every part has: where the journals stand, and what the API server was asked.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::header::CONTENT_TYPE;
use http::{HeaderName, Method};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Metric, Registry};

/// All metrics of a process.
pub struct Page(Mutex<Registry>);

impl Page {
    /// An empty page.
    #[allow(clippy::new_without_default, reason = "an empty page is no sensible default")]
    pub fn new() -> Self {
        let page = Self(Mutex::new(Registry::default()));
        let version = Version {
            version: env!("CARGO_PKG_VERSION"),
        };
        let build: Family<Version, ConstGauge> = Family::new_with_constructor(|| ConstGauge::new(1));
        drop(build.get_or_create(&version));
        page.register("build_info", "Always 1; which version this is", build);
        page
    }

    /// Adds a metric of ours: its name gets the prefix `rolecall_`.
    pub fn register(&self, name: &str, help: &str, metric: impl Metric) {
        self.register_as(&format!("rolecall_{name}"), help, metric);
    }

    /// Adds a metric under the very name that others have given it, such as controller-runtime.
    pub fn register_as(&self, name: &str, help: &str, metric: impl Metric) {
        let mut registry = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        registry.register(name, help, metric);
    }

    /// The page's text.
    pub fn render(&self) -> String {
        let mut text = String::new();
        let registry = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = encode(&mut text, &registry); // writing to a String does not fail
        text
    }

    /// The page as an answer.
    pub fn answer(&self) -> ([(HeaderName, &'static str); 1], String) {
        let kind = [(CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")];
        (kind, self.render())
    }
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Version {
    version: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Head {
    journal: &'static str,
    id: String,
}

/// `rolecall_journal_head_index{journal,id}`: kept outside the cluster, it is what an etcd that was put back is recognised by.
pub struct Heads(Family<Head, Gauge>);

impl Heads {
    /// On this page.
    pub fn new(page: &Page) -> Self {
        let heads = Family::default();
        let help = "The index of a journal's newest batch; with the journal's id it is what --expect-head takes";
        page.register("journal_head_index", help, Family::clone(&heads));
        Self(heads)
    }

    /// Shows these (journal, id, index), and no others any more.
    pub fn show<'a>(&self, heads: impl IntoIterator<Item = (&'static str, &'a str, i64)>) {
        self.0.clear();
        for (journal, id, index) in heads {
            let id = id.to_owned();
            self.0.get_or_create(&Head { journal, id }).set(index);
        }
    }
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Asked {
    method: &'static str,
    code: String,
}

/// `rest_client_requests_total{method,code}`, as controllers call it: what the API server was asked, and answered. Without an answer the code is `<error>`.
#[derive(Clone)]
pub struct Requests {
    all: Family<Asked, Counter>,
    answered: Arc<Mutex<Instant>>,
}

impl Default for Requests {
    fn default() -> Self {
        Self {
            all: Family::default(),
            answered: Arc::new(Mutex::new(Instant::now())),
        }
    }
}

impl Requests {
    /// On this page.
    pub fn register(&self, page: &Page) {
        let help = "Requests to the API server, by method and the answer's status";
        page.register_as("rest_client_requests", help, self.all.clone());
    }

    /// For how long the API server has answered nothing, or nobody asked.
    pub fn silent_for(&self) -> Duration {
        self.answered.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }

    /// Counts one.
    pub fn count(&self, method: &'static str, code: Option<u16>) {
        if code.is_some() {
            *self.answered.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        }
        let code = code.map_or_else(|| "<error>".to_owned(), |code| code.to_string());
        self.all.get_or_create(&Asked { method, code }).inc();
    }
}

/// `rolecall_journal_append_seconds{journal}`.
#[derive(Clone)]
pub struct Appends(Family<OfJournal, Histogram>);

/// A journal by name.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct OfJournal {
    /// `directory` or `access`.
    pub journal: &'static str,
}

impl Default for Appends {
    fn default() -> Self {
        Self(Family::new_with_constructor(|| Histogram::new(exponential_buckets(0.001, 2.0, 14))))
    }
}

impl Appends {
    /// On this page.
    pub fn register(&self, page: &Page) {
        let help = "How long an append to a journal took, of all that waited for it, until it was durable";
        page.register("journal_append_seconds", help, Family::clone(&self.0));
    }

    /// What a journal tells of each append.
    pub fn of(&self, journal: &'static str) -> impl Fn(Duration) + Send + Sync + use<> {
        let appends = self.0.clone();
        move |took| appends.get_or_create(&OfJournal { journal }).observe(took.as_secs_f64())
    }
}

/// A method as a label: a closed set, for anything else is a client's invention.
pub fn name_of(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        _ => "other",
    }
}
