//! `/healthz`, `/readyz` and `/metrics` of the controller: the only thing that it serves.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::engine::Error;
use super::memory::Memory;
use crate::ops::metrics::{Heads, Page, Requests};
use crate::ops::ready::{Gate, answer};
use crate::ops::serve::{Serving, serve as serve_plain};

struct Health {
    memory: Arc<Memory>,
    page: Page,
    heads: Heads,
    requests: Requests,
}

/// The Lease is asked for every few seconds by whoever leads and by whoever waits.
const SILENT: Duration = Duration::from_secs(30);

/// Serves until the handle is dropped. Ready means: the API server answers; whoever waits for the Lease is ready to take it.
///
/// # Errors
/// When the address cannot be listened on.
pub(super) async fn serve(address: &str, memory: Arc<Memory>, requests: &Requests) -> Result<Serving, Error> {
    let page = Page::new();
    let heads = Heads::new(&page);
    memory.metrics.register(&page);
    requests.register(&page);
    let health = Health {
        memory,
        page,
        heads,
        requests: requests.clone(),
    };
    let router = Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(Arc::new(health));
    serve_plain(address, router)
        .await
        .map_err(|error| Error::Listen(address.to_owned(), error))
}

async fn ready(State(health): State<Arc<Health>>, RawQuery(query): RawQuery) -> Response {
    let silent = health.requests.silent_for();
    let trouble = (silent > SILENT).then(|| format!("the API server has not answered for {} s", silent.as_secs()));
    answer(query.as_deref(), &[Gate::new("api-server", trouble)])
}

async fn metrics(State(health): State<Arc<Health>>) -> Response {
    let known = ["directory", "access"].map(|journal| (journal, health.memory.of(journal)));
    let known = known.iter().filter_map(|(journal, known)| Some((*journal, known.as_ref()?)));
    health.heads.show(known.map(|(journal, known)| (journal, &*known.id, known.index)));
    health.page.answer().into_response()
}
