//! `/healthz`, `/readyz` and `/metrics`, on another port than SCIM.

use std::sync::Arc;

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::Gateway;
use super::sources::Receiver;
use crate::ops::ready::{Gate, answer};
use crate::ops::shutdown::Shutdown;

#[derive(Clone)]
struct Health {
    gateway: Arc<Gateway>,
    /// Whether the sources are known.
    synced: Receiver,
    end: Shutdown,
}

/// The service. Ready means: the sources are known, and the journal is open and not lost.
pub(super) fn router(gateway: Arc<Gateway>, synced: Receiver, end: Shutdown) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(Health { gateway, synced, end })
}

async fn ready(State(health): State<Health>, RawQuery(query): RawQuery) -> Response {
    let (synced, end) = (health.synced.borrow().done, *health.end.borrow());
    let gates = [
        Gate::new("shutdown", end.then(|| "the process was asked to end".to_owned())),
        Gate::new("sources", (!synced).then(|| "the ScimSources are not known yet".to_owned())),
        Gate::new("journal", health.gateway.trouble()),
    ];
    answer(query.as_deref(), &gates)
}

async fn metrics(State(health): State<Health>) -> Response {
    let gateway = &health.gateway;
    let journal = gateway.journal.load();
    let head = journal.as_ref().map(|journal| journal.snapshot().position);
    let metrics = &gateway.metrics;
    metrics.heads.show(head.iter().map(|head| ("directory", &*head.id, head.index)));
    metrics.unavailable.set(i64::from(gateway.trouble().is_some()));
    metrics.sources.set(i64::try_from(gateway.sources.all().len()).unwrap_or(i64::MAX));
    metrics.page.answer().into_response()
}
