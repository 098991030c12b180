//! A Kubernetes client that hides nothing: no retries of its own, so that an unknown outcome stays visible to whoever wrote.

use std::time::Duration;

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

/// What can go wrong before there is a client.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No usable kubeconfig, and not in a pod.
    #[error("no configuration for a Kubernetes client: set KUBECONFIG or run inside a pod")]
    Configuration(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The configuration does not make a client.
    #[error("the configuration makes no Kubernetes client")]
    Client(#[source] kube::Error),
}

/// A client for `context` of the kubeconfig, or the default one: `KUBECONFIG`, then the pod's ServiceAccount.
///
/// # Errors
/// When there is no configuration, or TLS cannot be set up from it.
pub async fn connect(context: Option<&str>) -> Result<Client, Error> {
    let config = match context {
        None => Config::infer().await.map_err(|e| Error::Configuration(Box::new(e)))?,
        Some(context) => {
            let options = KubeConfigOptions {
                context: Some(context.to_owned()),
                ..Default::default()
            };
            let kubeconfig = Kubeconfig::read().map_err(|e| Error::Configuration(Box::new(e)))?;
            Config::from_custom_kubeconfig(kubeconfig, &options)
                .await
                .map_err(|e| Error::Configuration(Box::new(e)))?
        }
    };
    from_config(config)
}

/// A client from a configuration, without the library's own retries: they repeat POST and PATCH for minutes and turn our own success into a 409.
///
/// # Errors
/// When TLS cannot be set up.
pub fn from_config(mut config: Config) -> Result<Client, Error> {
    config.default_retry = false;
    config.connect_timeout = Some(Duration::from_secs(5));
    Client::try_from(config).map_err(Error::Client)
}
