//! Plain HTTP for health and metrics, inside the cluster: no TLS, no secrets, nothing that changes anything.

use axum::Router;
use tokio::net::TcpListener;
use tokio::task::AbortHandle;

/// A server; it ends when it is dropped.
pub struct Serving(AbortHandle);

impl Drop for Serving {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Listens and serves.
///
/// # Errors
/// When the address cannot be listened on.
pub async fn serve(address: &str, router: Router) -> std::io::Result<Serving> {
    let listener = TcpListener::bind(address).await?;
    let task = tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, router).await {
            tracing::error!(%error, "health and metrics are not served any more");
        }
    });
    Ok(Serving(task.abort_handle()))
}
