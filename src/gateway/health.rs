//! `/healthz`, `/readyz` and `/metrics`, on another port than SCIM.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::StatusCode;

use super::Gateway;
use super::sources::Receiver;
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

async fn ready(State(health): State<Health>) -> Response {
    let (synced, end) = (health.synced.borrow().done, *health.end.borrow());
    let trouble = match (synced, end) {
        (_, true) => Some("shutting down".to_owned()),
        (false, _) => Some("the ScimSources are not known yet".to_owned()),
        (true, false) => health.gateway.trouble(),
    };
    match trouble {
        None => "ok\n".into_response(),
        Some(trouble) => (StatusCode::SERVICE_UNAVAILABLE, format!("{trouble}\n")).into_response(),
    }
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
