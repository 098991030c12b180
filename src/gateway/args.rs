//! How a gateway is told to run. Nothing is read from the environment anywhere else.

use std::path::PathBuf;
use std::time::Duration;

use super::{CursorKey, Error, Settings, server, tls};
use crate::journal::Known;
use crate::ops::fetch::Reach;

/// How the gateway runs.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Where SCIM is served. Without TLS only on a loopback address.
    #[arg(long, env = "ROLECALL_LISTEN", default_value = "0.0.0.0:8443")]
    pub listen: String,
    /// Where health and metrics are served, such as `0.0.0.0:8081`; empty: nowhere.
    #[arg(long, env = "ROLECALL_HEALTH_ADDRESS", default_value = "")]
    pub health_address: String,
    /// The certificate, and those between it and its root, as PEM. Read again when it changes.
    #[arg(long, env = "ROLECALL_TLS_CERT", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// The certificate's private key, as PEM. Read again when it changes.
    #[arg(long, env = "ROLECALL_TLS_KEY", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// Serve plain HTTP on any address: something in front of the gateway must speak TLS, and nobody may read the way between.
    #[arg(long, env = "ROLECALL_INSECURE_HTTP")]
    pub insecure_http: bool,
    /// The class of sources that this installation serves; empty: those without a class.
    #[arg(long, env = "ROLECALL_CLASS", default_value = "")]
    pub class: String,
    /// Rolecall's own namespace: its journals and the providers' tokens are there.
    #[arg(long, env = "ROLECALL_NAMESPACE", default_value = "rolecall")]
    pub namespace: String,
    /// What identifies this process in the journal, such as the pod's name.
    #[arg(long, env = "ROLECALL_IDENTITY", default_value = "gateway")]
    pub identity: String,
    /// How providers reach the gateway, such as `https://rolecall.example.com`; empty: as they name the host.
    #[arg(long, env = "ROLECALL_PUBLIC_URL", default_value = "")]
    pub public_url: String,
    /// The largest body, in bytes. A group of 200,000 members is one of 15 MB or more.
    #[arg(long, env = "ROLECALL_MAX_BODY_BYTES", default_value_t = 32 * 1024 * 1024, value_parser = clap::value_parser!(u32).range(1024..=1024 * 1024 * 1024))]
    pub max_body_bytes: u32,
    /// The largest page of a list.
    #[arg(long, env = "ROLECALL_MAX_PAGE", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pub max_page: u64,
    /// How many requests a second one source may make, on average; four times as many at once. Who makes more is answered 429. 0: no limit.
    #[arg(long, env = "ROLECALL_SOURCE_RATE", default_value_t = 5_000)]
    pub source_rate: u32,
    /// How many requests a second one address may make without a good token, on average; four times as many at once. 0: no limit.
    #[arg(long, env = "ROLECALL_STRANGER_RATE", default_value_t = 50)]
    pub stranger_rate: u32,
    /// A file with at least 32 random bytes, the same for all replicas: with it, a list that a client reads by cursors goes on after a restart and
    /// at another replica. Without it cursors die with the process.
    #[arg(long, env = "ROLECALL_CURSOR_KEY")]
    pub cursor_key: Option<PathBuf>,
    /// How many requests are worked on at once.
    #[arg(long, env = "ROLECALL_MAX_REQUESTS", default_value_t = 2048)]
    pub max_requests: usize,
    /// How many connections are open at once.
    #[arg(long, env = "ROLECALL_MAX_CONNECTIONS", default_value_t = 4096)]
    pub max_connections: usize,
    /// How long one request may take.
    #[arg(long, env = "ROLECALL_REQUEST_TIMEOUT", default_value = "60s", value_parser = duration)]
    pub request_timeout: Duration,
    /// How long a request's head, or its body, or a TLS handshake may take to arrive, and how long a connection may be idle.
    #[arg(long, env = "ROLECALL_ARRIVAL_TIMEOUT", default_value = "30s", value_parser = duration)]
    pub arrival_timeout: Duration,
    /// How long requests in flight may take once the process should end.
    #[arg(long, env = "ROLECALL_DRAIN_TIMEOUT", default_value = "25s", value_parser = duration)]
    pub drain_timeout: Duration,
    /// How often tokens and certificates are looked at again.
    #[arg(long, env = "ROLECALL_REFRESH", default_value = "10s", value_parser = duration)]
    pub refresh: Duration,
    /// The directory journal is proved at least this often: after an etcd restore a watch says nothing.
    #[arg(long, env = "ROLECALL_PROOF_INTERVAL", default_value = "30s", value_parser = duration)]
    pub proof_interval: Duration,
    /// After how long without a word of it the pass of another replica over a directory may be superseded (`spec.poll`).
    #[arg(long, env = "ROLECALL_POLL_PATIENCE", default_value = "120s", value_parser = duration)]
    pub poll_patience: Duration,
    /// What URLs in ScimSources may lead to.
    #[command(flatten)]
    pub reach: Reach,
    /// Serve nothing unless the directory journal has reached this head: `<id>/<index>/<head>` as a log line shows it, or `<id>/<index>` as
    /// the metrics do.
    #[arg(long, env = "ROLECALL_EXPECT_HEAD")]
    pub expect_head: Option<String>,
}

impl Args {
    pub(super) fn settings(&self, tls: bool) -> Result<Settings, Error> {
        let key = self.cursor_key.as_ref().map(|path| {
            let read = std::fs::read(path);
            read.map_err(|error| Error::CursorKey(format!("{}: {error}", path.display())))
        });
        if self.public_url.contains(['?', '#']) {
            return Err(Error::PublicUrl); // RFC 7644 §1.3
        }
        Ok(Settings {
            public_url: self.public_url.clone(),
            tls,
            max_body: usize::try_from(self.max_body_bytes).unwrap_or(usize::MAX),
            max_page: self.max_page,
            default_page: self.max_page.min(Settings::default().default_page),
            request_timeout: self.request_timeout,
            body_timeout: self.arrival_timeout,
            max_requests: self.max_requests,
            source_rate: self.source_rate,
            stranger_rate: self.stranger_rate,
            cursor_key: key.transpose()?.map(CursorKey),
        })
    }

    pub(super) fn timeouts(&self) -> server::Timeouts {
        server::Timeouts {
            arrival: self.arrival_timeout,
            drain: self.drain_timeout,
            connections: self.max_connections,
        }
    }

    pub(super) fn tls(&self) -> Result<Option<tls::Tls>, tls::Error> {
        match (&self.tls_cert, &self.tls_key) {
            (Some(cert), Some(key)) => tls::Tls::load(cert.clone(), key.clone()).map(Some),
            _ => Ok(None),
        }
    }

    pub(super) fn expected(&self) -> Result<Vec<Known>, String> {
        self.expect_head
            .as_deref()
            .filter(|text| !text.is_empty())
            .map(str::parse)
            .into_iter()
            .collect()
    }
}

/// `15s`, `200ms`, `2m`.
fn duration(text: &str) -> Result<Duration, String> {
    let span: jiff::SignedDuration = text.parse().map_err(|error: jiff::Error| error.to_string())?;
    Duration::try_from(span).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        args: Args,
    }

    fn settings(flags: &[&str]) -> Result<Settings, Error> {
        let cli = Cli::try_parse_from(std::iter::once("gateway").chain(flags.iter().copied()));
        cli.unwrap_or_else(|error| panic!("{error}")).args.settings(true)
    }

    #[test]
    fn a_public_url_has_no_query() {
        assert_eq!(
            settings(&["--public-url=https://x.example/a"]).unwrap().public_url,
            "https://x.example/a"
        );
        for wrong in ["--public-url=https://x.example/?a=b", "--public-url=https://x.example/#a"] {
            assert!(matches!(settings(&[wrong]), Err(Error::PublicUrl)), "{wrong}");
        }
    }

    #[test]
    fn a_cursor_key_is_a_file() {
        assert!(settings(&[]).unwrap().cursor_key.is_none());
        let file = std::env::temp_dir().join(format!("rolecall-key-{}", uuid::Uuid::new_v4()));
        std::fs::write(&file, [7; 40]).unwrap();
        let flag = format!("--cursor-key={}", file.display());
        let read = settings(&[&flag]).unwrap();
        assert_eq!(read.cursor_key.as_ref().map(|key| key.0.clone()), Some(vec![7; 40]));
        assert!(!format!("{read:?}").contains("7, 7"), "it is a secret");
        std::fs::remove_file(&file).unwrap();
        assert!(matches!(settings(&[&flag]), Err(Error::CursorKey(_))));
    }
}
