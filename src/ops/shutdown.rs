//! The end of a process: SIGTERM or SIGINT asks once, the second one ends at once.

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Becomes true when the process should end.
pub type Shutdown = watch::Receiver<bool>;

/// Listens for SIGTERM and SIGINT.
///
/// # Errors
/// When the signals cannot be listened for.
pub fn listen() -> std::io::Result<Shutdown> {
    let (send, receive) = watch::channel(false);
    let mut term = signal(SignalKind::terminate())?;
    let mut int = signal(SignalKind::interrupt())?;
    tokio::spawn(async move {
        for asked in 0.. {
            tokio::select! { _ = term.recv() => {}, _ = int.recv() => {} }
            if asked > 0 {
                std::process::exit(130);
            }
            tracing::info!("asked to end");
            let _ = send.send(true);
        }
    });
    Ok(receive)
}

/// Waits until the process should end.
pub async fn wait(shutdown: &mut Shutdown) {
    // An error means that the sender is gone, which ends us too.
    let _ = shutdown.wait_for(|end| *end).await;
}
