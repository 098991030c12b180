//! A page of metrics in the OpenMetrics text format, and those that every part has: where the journals stand.

use std::sync::{Mutex, PoisonError};

use http::HeaderName;
use http::header::CONTENT_TYPE;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Metric, Registry};

/// All metrics of a process, each with the prefix `rolecall_`.
pub struct Page(Mutex<Registry>);

impl Page {
    /// An empty page.
    #[allow(clippy::new_without_default, reason = "an empty page is no sensible default")]
    pub fn new() -> Self {
        Self(Mutex::new(Registry::with_prefix("rolecall")))
    }

    /// Adds a metric.
    pub fn register(&mut self, name: &str, help: &str, metric: impl Metric) {
        let registry = self.0.get_mut().unwrap_or_else(PoisonError::into_inner);
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
struct Head {
    journal: &'static str,
    id: String,
}

/// `rolecall_journal_head_index{journal,id}`: kept outside the cluster, it is what an etcd that was put back is recognised by.
pub struct Heads(Family<Head, Gauge>);

impl Heads {
    /// On this page.
    pub fn new(page: &mut Page) -> Self {
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
