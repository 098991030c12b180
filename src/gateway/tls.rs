//! TLS from a certificate and a key in files, read again when they change. Nothing of HTTP.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem};
use tokio_rustls::TlsAcceptor;

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file that cannot be read.
    #[error("cannot read {}", .0.display())]
    Read(PathBuf, #[source] std::io::Error),
    /// A file that is not PEM.
    #[error("{} holds no usable PEM", .0.display())]
    Pem(PathBuf, #[source] pem::Error),
    /// No certificate in the file.
    #[error("{} holds no certificate", .0.display())]
    Empty(PathBuf),
    /// Key and certificate do not fit.
    #[error("the certificate and the key cannot be used")]
    Use(#[source] rustls::Error),
}

/// The certificate in use. Clones are the same one.
#[derive(Clone)]
pub struct Tls {
    cert: PathBuf,
    key: PathBuf,
    current: Arc<ArcSwap<Loaded>>,
}

struct Loaded {
    files: (Vec<u8>, Vec<u8>),
    config: Arc<ServerConfig>,
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// When they cannot be read or used.
    pub fn load(cert: PathBuf, key: PathBuf) -> Result<Self, Error> {
        let loaded = load(&cert, &key)?;
        Ok(Self {
            cert,
            key,
            current: Arc::new(ArcSwap::from_pointee(loaded)),
        })
    }

    /// For the next handshake.
    pub fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.current.load().config.clone())
    }

    /// Looks at the files again; says whether they had changed. Where they cannot be used, the old certificate stays in use.
    ///
    /// # Errors
    /// When they cannot be read or used.
    pub fn refresh(&self) -> Result<bool, Error> {
        let loaded = load(&self.cert, &self.key)?;
        let changed = loaded.files != self.current.load().files;
        if changed {
            self.current.store(Arc::new(loaded));
        }
        Ok(changed)
    }

    /// Looks at the files for ever.
    pub async fn follow(&self, every: Duration) {
        loop {
            tokio::time::sleep(every).await;
            let tls = self.clone();
            match tokio::task::spawn_blocking(move || tls.refresh()).await {
                Ok(Ok(true)) => tracing::info!("the TLS certificate was read again"),
                Ok(Ok(false)) => {}
                Ok(Err(error)) => tracing::warn!(%error, "the TLS certificate cannot be read again; the old one stays in use"),
                Err(_) => return,
            }
        }
    }
}

fn load(cert: &PathBuf, key: &PathBuf) -> Result<Loaded, Error> {
    let read = |path: &PathBuf| std::fs::read(path).map_err(|error| Error::Read(path.clone(), error));
    let files = (read(cert)?, read(key)?);
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&files.0).collect();
    let chain = chain.map_err(|error| Error::Pem(cert.clone(), error))?;
    if chain.is_empty() {
        return Err(Error::Empty(cert.clone()));
    }
    let private = PrivateKeyDer::from_pem_slice(&files.1).map_err(|error| Error::Pem(key.clone(), error))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(Error::Use)?
        .with_no_client_auth()
        .with_single_cert(chain, private)
        .map_err(Error::Use)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Loaded {
        files,
        config: Arc::new(config),
    })
}
