//! `/healthz`, `/readyz` and `/metrics`, on another port than SCIM.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{StatusCode, header};

use super::Gateway;
use super::sources::Receiver;

#[derive(Clone)]
struct Health {
    gateway: Arc<Gateway>,
    /// Whether the sources are known.
    synced: Receiver,
}

/// The service. Ready means: the sources are known, and the journal is open and not lost.
pub fn router(gateway: Arc<Gateway>, synced: super::sources::Receiver) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(Health { gateway, synced })
}

async fn ready(State(health): State<Health>) -> Response {
    let trouble = match health.synced.borrow().done {
        true => health.gateway.trouble(),
        false => Some("the ScimSources are not known yet".to_owned()),
    };
    match trouble {
        None => "ok\n".into_response(),
        Some(trouble) => (StatusCode::SERVICE_UNAVAILABLE, format!("{trouble}\n")).into_response(),
    }
}

async fn metrics(State(health): State<Health>) -> Response {
    let gateway = &health.gateway;
    let journal = gateway.journal.load();
    gateway
        .metrics
        .index
        .set(journal.as_ref().map_or(0, |journal| journal.snapshot().position.index));
    gateway.metrics.unavailable.set(i64::from(gateway.trouble().is_some()));
    gateway
        .metrics
        .sources
        .set(i64::try_from(gateway.sources.all().len()).unwrap_or(i64::MAX));
    let kind = [(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")];
    (kind, gateway.metrics.render()).into_response()
}
