//! A Kubernetes client that hides nothing: no retries of its own, so that an unknown outcome stays visible to whoever wrote.

use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::{FutureExt as _, TryFutureExt as _};
use http::{Request, Response};
use kube::client::{Body, ClientBuilder};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use tower::Service;

use super::metrics::{Requests, name_of};

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
pub async fn connect(context: Option<&str>, requests: &Requests) -> Result<Client, Error> {
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
    from_config(config, requests)
}

/// A client from a configuration, without the library's own retries: they repeat POST and PATCH for minutes and turn our own success into a 409.
///
/// # Errors
/// When TLS cannot be set up.
pub fn from_config(mut config: Config, requests: &Requests) -> Result<Client, Error> {
    config.default_retry = false;
    config.connect_timeout = Some(Duration::from_secs(5));
    let builder = ClientBuilder::try_from(config).map_err(Error::Client)?;
    let counted = tower::layer::layer_fn(|inner| Counted {
        inner,
        requests: requests.clone(),
    });
    Ok(builder.with_layer(&counted).build())
}

/// Counts what is asked and answered.
#[derive(Clone)]
struct Counted<S> {
    inner: S,
    requests: Requests,
}

impl<S, B> Service<Request<Body>> for Counted<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<S::Response, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let method = name_of(request.method());
        let (answered, failed) = (self.requests.clone(), self.requests.clone());
        let answer = self.inner.call(request);
        let answer = answer.inspect_ok(move |response| answered.count(method, Some(response.status().as_u16())));
        answer.inspect_err(move |_| failed.count(method, None)).boxed()
    }
}
