//! One keep-alive connection of an HTTP/1.1 client, as small as can be: on two cores every microsecond of the client is taken from the server.

use std::sync::Arc;

use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// One connection; one request at a time.
pub struct Connection {
    stream: Box<dyn Stream>,
    head: String,
    buffer: Vec<u8>,
}

impl Connection {
    /// Connects to `http://127.0.0.1:<port>`; `headers` are lines that every request carries, each ending in CRLF.
    pub async fn open(url: &str, headers: &str) -> Self {
        let address = url.strip_prefix("http://").expect("plain HTTP");
        let stream = TcpStream::connect(address).await.expect("a connection");
        stream.set_nodelay(true).expect("a socket");
        Self::over(Box::new(stream), address, headers)
    }

    /// The same by TLS, to `https://localhost:<port>` with this certificate.
    pub async fn open_tls(url: &str, root: &CertificateDer<'static>, headers: &str) -> Self {
        let port = url.rsplit(':').next().expect("a port");
        let stream = TcpStream::connect(format!("127.0.0.1:{port}")).await.expect("a connection");
        stream.set_nodelay(true).expect("a socket");
        let mut roots = rustls::RootCertStore::empty();
        roots.add(root.clone()).expect("a certificate");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = config.expect("versions").with_root_certificates(roots).with_no_client_auth();
        let name = ServerName::try_from("localhost").expect("a name");
        let stream = tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await;
        Self::over(Box::new(stream.expect("a handshake")), "localhost", headers)
    }

    fn over(stream: Box<dyn Stream>, address: &str, headers: &str) -> Self {
        Self {
            stream,
            head: format!("Host: {address}\r\n{headers}"),
            buffer: Vec::with_capacity(16 * 1024),
        }
    }

    /// The body of the last answer.
    pub fn body(&self) -> &[u8] {
        let head = self.buffer.windows(4).position(|w| w == b"\r\n\r\n");
        head.map_or(&[], |end| &self.buffer[end + 4..])
    }

    /// One request; the answer's status. Its body is read.
    pub async fn send(&mut self, method: &str, path: &str, body: &str) -> u16 {
        let request = format!(
            "{method} {path} HTTP/1.1\r\n{}Content-Length: {}\r\n\r\n{body}",
            self.head,
            body.len()
        );
        self.stream.write_all(request.as_bytes()).await.expect("a connection that stands");
        self.buffer.clear();
        loop {
            if let Some((status, length)) = whole(&self.buffer)
                && self.buffer.len() >= length
            {
                return status;
            }
            let read = self.stream.read_buf(&mut self.buffer).await.expect("a connection that stands");
            assert!(read > 0, "the server closed a keep-alive connection");
        }
    }
}

/// The status, and how long the whole answer is, once its head is there.
fn whole(answer: &[u8]) -> Option<(u16, usize)> {
    let end = answer.windows(4).position(|w| w == b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(&answer[..end]).expect("a head of text");
    let status = head.get(9..12).and_then(|s| s.parse().ok()).expect("a status");
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.trim().parse::<usize>().expect("a length"))
    });
    // Only 204 has no length here: the server knows every body before it answers.
    Some((status, end + length.unwrap_or_default()))
}
