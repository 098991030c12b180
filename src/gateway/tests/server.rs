//! Connections: TLS and its renewal, plain HTTP, and an end that lets requests in flight end.

use std::time::Duration;

use axum::routing::get;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::*;
use crate::gateway::server::{Timeouts, bind, run};
use crate::gateway::tls::Tls;

const TIMEOUTS: Timeouts = Timeouts {
    arrival: Duration::from_millis(300),
    drain: Duration::from_secs(2),
    connections: 4,
};

async fn start(
    tls: Option<Tls>,
) -> (
    std::net::SocketAddr,
    watch::Sender<bool>,
    tokio::task::JoinHandle<std::io::Result<()>>,
) {
    let listener = bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (end, ended) = watch::channel(false);
    let slow = || async {
        tokio::time::sleep(Duration::from_millis(400)).await;
        "done"
    };
    let router = Router::new().route("/", get(slow));
    (address, end, tokio::spawn(run(listener, tls, router, ended, TIMEOUTS)))
}

async fn ask(stream: &mut (impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin)) -> String {
    stream
        .write_all(b"GET / HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text
}

#[tokio::test]
async fn a_request_in_flight_is_answered_and_then_the_server_ends() {
    let (address, end, server) = start(None).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    let asked = tokio::spawn(async move { ask(&mut stream).await });
    tokio::time::sleep(Duration::from_millis(100)).await;
    end.send(true).unwrap();
    assert!(asked.await.unwrap().ends_with("done"));
    server.await.unwrap().unwrap();
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn who_says_nothing_is_cut_off() {
    let (address, _end, _server) = start(None).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET / HT").await.unwrap();
    let mut text = String::new();
    let read = tokio::time::timeout(Duration::from_secs(5), stream.read_to_string(&mut text)).await;
    assert!(read.is_ok(), "a head that never ends");
}

struct Certificate {
    folder: std::path::PathBuf,
    root: rustls::pki_types::CertificateDer<'static>,
}

impl Certificate {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("rolecall-tls-{name}-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir_all(&folder).unwrap();
        let mut made = Self {
            folder,
            root: rustls::pki_types::CertificateDer::from(vec![]),
        };
        made.renew();
        made
    }

    fn renew(&mut self) {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        std::fs::write(self.folder.join("tls.crt"), made.cert.pem()).unwrap();
        std::fs::write(self.folder.join("tls.key"), made.signing_key.serialize_pem()).unwrap();
        self.root = made.cert.der().clone();
    }

    async fn connect(&self, address: std::net::SocketAddr) -> std::io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
        self.connect_by(address, rustls::ALL_VERSIONS).await
    }

    async fn connect_by(
        &self,
        address: std::net::SocketAddr,
        versions: &[&'static rustls::SupportedProtocolVersion],
    ) -> std::io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.root.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap();
        let config = config.with_root_certificates(roots).with_no_client_auth();
        let stream = TcpStream::connect(address).await?;
        let name = rustls::pki_types::ServerName::try_from("localhost").unwrap();
        tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await
    }
}

impl Drop for Certificate {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

#[tokio::test]
async fn a_new_certificate_is_used_without_a_restart_and_a_broken_one_is_not() {
    let mut certificate = Certificate::new("renew");
    let files = |name: &str| certificate.folder.join(name);
    let tls = Tls::load(files("tls.crt"), files("tls.key")).unwrap();
    let (address, _end, _server) = start(Some(tls.clone())).await;
    assert!(ask(&mut certificate.connect(address).await.unwrap()).await.ends_with("done"));
    assert!(!tls.refresh().unwrap());
    certificate.renew();
    assert!(certificate.connect(address).await.is_err(), "the old one still");
    assert!(tls.refresh().unwrap());
    assert!(ask(&mut certificate.connect(address).await.unwrap()).await.ends_with("done"));
    std::fs::write(certificate.folder.join("tls.key"), "nonsense").unwrap();
    assert!(tls.refresh().is_err());
    assert!(ask(&mut certificate.connect(address).await.unwrap()).await.ends_with("done"));
    let mut silent = TcpStream::connect(address).await.unwrap();
    let mut nothing = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(5), silent.read_to_end(&mut nothing)).await;
    assert!(read.is_ok(), "a handshake that never comes");
}

#[tokio::test]
async fn tls_1_2_is_spoken_and_plain_http_only_where_nobody_reads_along() {
    let certificate = Certificate::new("versions");
    let tls = Tls::load(certificate.folder.join("tls.crt"), certificate.folder.join("tls.key")).unwrap();
    let (address, _end, _server) = start(Some(tls)).await;
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let mut stream = certificate.connect_by(address, &[version]).await.unwrap();
        assert_eq!(stream.get_ref().1.protocol_version(), Some(version.version));
        assert!(ask(&mut stream).await.ends_with("done"));
    }
    // Who speaks no TLS is not answered.
    let mut plain = TcpStream::connect(address).await.unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(Duration::from_secs(5), plain.read_to_end(&mut answer)).await;
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
    // And without a certificate nobody from elsewhere is served at all.
    let check = |address: &str, allowed: bool| crate::gateway::check_readable(address.parse().unwrap(), allowed).is_ok();
    assert!(!check("0.0.0.0:8443", false) && !check("[::]:8443", false) && !check("192.0.2.1:8443", false));
    assert!(check("127.0.0.1:8443", false) && check("[::1]:8443", false) && check("0.0.0.0:8443", true));
}
