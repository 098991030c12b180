//! `/healthz`, `/readyz` and `/metrics` of the controller: the only thing that it serves.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus_client::metrics::gauge::Gauge;

use super::engine::Error;
use super::memory::Memory;
use crate::ops::metrics::{Heads, Page};
use crate::ops::serve::{Serving, serve as serve_plain};

struct Health {
    memory: Arc<Memory>,
    leading: Arc<AtomicBool>,
    page: Page,
    heads: Heads,
    leads: Gauge,
}

/// Serves until the handle is dropped. Ready means: the process runs; one that waits for the Lease is ready to take it.
///
/// # Errors
/// When the address cannot be listened on.
pub(super) async fn serve(address: &str, memory: Arc<Memory>, leading: Arc<AtomicBool>) -> Result<Serving, Error> {
    let mut page = Page::new();
    let (heads, leads) = (Heads::new(&mut page), Gauge::default());
    page.register("controller_leading", "1 while this process holds the Lease", leads.clone());
    memory.findings.register(&mut page);
    let health = Health {
        memory,
        leading,
        page,
        heads,
        leads,
    };
    let router = Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(|| async { "ok\n" }))
        .route("/metrics", get(metrics))
        .with_state(Arc::new(health));
    serve_plain(address, router)
        .await
        .map_err(|error| Error::Listen(address.to_owned(), error))
}

async fn metrics(State(health): State<Arc<Health>>) -> Response {
    let known = ["directory", "access"].map(|journal| (journal, health.memory.of(journal)));
    let known = known.iter().filter_map(|(journal, known)| Some((*journal, known.as_ref()?)));
    health.heads.show(known.map(|(journal, known)| (journal, &*known.id, known.index)));
    health.leads.set(i64::from(health.leading.load(Ordering::Relaxed)));
    health.page.answer().into_response()
}
