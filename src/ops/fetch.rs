//! GET from a server that somebody else names: https only, to public addresses unless the installation allows more, no redirect, bounded. Uses nothing of ours.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use ipnet::IpNet;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::{Certificate, Client, ClientBuilder, Identity, Response, Url, redirect};

/// How long a request may take, from the name's look-up to the last byte.
const DEADLINE: Duration = Duration::from_secs(5);

/// Which servers may be reached; the installation's to say, never that of who names a URL.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Reach {
    /// A network that URLs in ScimSources may lead to although it is no public one, such as `10.20.0.0/16`; may be given again. Loopback, link-local,
    /// private and other special addresses are refused without it.
    #[arg(long = "allow-network", env = "ROLECALL_ALLOW_NETWORKS", value_delimiter = ',')]
    pub networks: Vec<IpNet>,
    /// Certificates of authorities that are trusted for those URLs beside the system's, as PEM.
    #[arg(long = "upstream-ca", env = "ROLECALL_UPSTREAM_CA")]
    pub ca: Option<PathBuf>,
}

/// How long a client of [`Fetcher::session`] waits.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// For a connection.
    pub connect: Duration,
    /// For the next bytes.
    pub read: Duration,
    /// For a whole answer.
    pub whole: Duration,
}

/// Fetches.
#[derive(Debug)]
pub struct Fetcher {
    authorities: Vec<Certificate>,
    networks: Vec<IpNet>,
    /// Made when it is first needed: where the system has no authorities, nothing else has to fail.
    client: OnceLock<Result<Client, String>>,
}

/// Why there is no body.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The server says that there is nothing: 404 or 410.
    #[error("it answered {0}: there is nothing at this URL")]
    Gone(u16),
    /// Anything else.
    #[error("{0}")]
    Failed(String),
}

impl From<String> for Error {
    fn from(text: String) -> Self {
        Self::Failed(text)
    }
}

impl Fetcher {
    /// With what may be reached.
    ///
    /// # Errors
    /// When the authorities cannot be read.
    pub fn new(reach: &Reach) -> Result<Self, String> {
        let authorities = match &reach.ca {
            None => Vec::new(),
            Some(path) => authorities(path)?,
        };
        Ok(Self {
            authorities,
            networks: reach.networks.clone(),
            client: OnceLock::new(),
        })
    }

    fn client(&self) -> Result<&Client, String> {
        let make = || {
            let builder = self.builder(None).timeout(DEADLINE).pool_max_idle_per_host(0);
            builder.build().map_err(|error| all(&error))
        };
        self.client.get_or_init(make).as_ref().map_err(Clone::clone)
    }

    fn builder(&self, found: Option<Found>) -> ClientBuilder {
        Client::builder()
            .https_only(true)
            .no_proxy()
            .redirect(redirect::Policy::none())
            .user_agent(concat!("rolecall/", env!("CARGO_PKG_VERSION")))
            .tls_certs_merge(self.authorities.clone())
            .dns_resolver(Resolver {
                networks: self.networks.clone(),
                found,
            })
    }

    /// A client for many requests to the same servers, each of which it looks up once; with authorities that are trusted too (PEM), and a certificate with its key
    /// to show (PEM). Each URL has to be looked at with [`Fetcher::check`].
    ///
    /// # Errors
    /// What is wrong with the certificates, for people.
    pub fn session(&self, authorities: Option<&[u8]>, identity: Option<&[u8]>, timeouts: Timeouts) -> Result<Client, String> {
        let mut builder = self.builder(Some(Found::default()));
        builder = builder
            .connect_timeout(timeouts.connect)
            .read_timeout(timeouts.read)
            .timeout(timeouts.whole);
        if let Some(pem) = authorities {
            let read = Certificate::from_pem_bundle(pem).map_err(|error| all(&error))?;
            if read.is_empty() {
                return Err("no certificate in it".to_owned());
            }
            builder = builder.tls_certs_merge(self.authorities.iter().cloned().chain(read));
        }
        if let Some(pem) = identity {
            builder = builder.identity(Identity::from_pem(pem).map_err(|error| all(&error))?);
        }
        builder.build().map_err(|error| all(&error))
    }

    /// Whether a URL may be asked: https, and not by an address that may not be reached.
    ///
    /// # Errors
    /// Why not, for people.
    pub fn check(&self, url: &Url) -> Result<(), String> {
        if url.scheme() != "https" {
            return Err("only https is spoken".to_owned());
        }
        // an address in the URL is not resolved
        let literal = url.host_str().map(|host| host.trim_start_matches('[').trim_end_matches(']'));
        match literal.and_then(|host| host.parse().ok()) {
            Some(address) if !permitted(address, &self.networks) => Err(refused(address)),
            _ => Ok(()),
        }
    }

    /// The body of a 200.
    ///
    /// # Errors
    /// Why there is none, for people.
    pub async fn get(&self, url: &str, most: usize) -> Result<Vec<u8>, Error> {
        let url = Url::parse(url).map_err(|error| format!("the URL cannot be read: {error}"))?;
        self.check(&url)?;
        let mut response = self.client()?.get(url).send().await.map_err(|error| all(&error))?;
        match response.status().as_u16() {
            200 => {}
            gone @ (404 | 410) => return Err(Error::Gone(gone)),
            other => return Err(format!("it answered {other}, and 200 is needed (redirects are not followed)").into()),
        }
        Ok(body(&mut response, most).await?)
    }
}

/// A body of at most so many bytes.
///
/// # Errors
/// Why it did not come whole, for people.
pub async fn body(response: &mut Response, most: usize) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| all(&error))? {
        if body.len() + chunk.len() > most {
            return Err(format!("it answered more than {most} bytes"));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// The certificates of a PEM file, one at least.
pub(super) fn authorities(path: &Path) -> Result<Vec<Certificate>, String> {
    let pem = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let read = Certificate::from_pem_bundle(&pem).map_err(|error| format!("{}: {error}", path.display()))?;
    if read.is_empty() {
        return Err(format!("{}: no certificate in it", path.display()));
    }
    Ok(read)
}

/// An error with what caused it; never the URL, which a log has beside it.
pub fn all(error: &reqwest::Error) -> String {
    let mut text = String::new();
    let mut next: Option<&dyn std::error::Error> = std::error::Error::source(error);
    while let Some(error) = next {
        let one = error.to_string();
        if !text.contains(&one) {
            text = if text.is_empty() { one } else { format!("{text}: {one}") };
        }
        next = error.source();
    }
    match (text.is_empty(), error.is_timeout()) {
        (_, true) => "no answer in time".to_owned(),
        (true, _) => "the request failed".to_owned(),
        _ => text,
    }
}

fn refused(address: IpAddr) -> String {
    format!("{address} is no public address: the installation has to allow its network (--allow-network)")
}

/// Resolves to what may be reached; the connection is made to what was looked at here.
#[derive(Debug)]
struct Resolver {
    networks: Vec<IpNet>,
    /// As long as the client is used, a name leads nowhere else.
    found: Option<Found>,
}

/// What names led to when they were first asked for.
type Found = Arc<Mutex<HashMap<String, Vec<SocketAddr>>>>;

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let (networks, known) = (self.networks.clone(), self.found.clone());
        Box::pin(async move {
            let known = || known.as_ref().map(|known| known.lock().unwrap_or_else(PoisonError::into_inner));
            let before = known().and_then(|known| known.get(name.as_str()).cloned());
            if let Some(found) = before {
                return Ok(Box::new(found.into_iter()) as Addrs);
            }
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            let first = found.first().copied();
            let good: Vec<SocketAddr> = found.into_iter().filter(|at| permitted(at.ip(), &networks)).collect();
            match first.filter(|_| good.is_empty()) {
                Some(refuse) => Err(refused(refuse.ip()).into()),
                None => {
                    if let Some(mut known) = known() {
                        known.insert(name.as_str().to_owned(), good.clone());
                    }
                    Ok(Box::new(good.into_iter()) as Addrs)
                }
            }
        })
    }
}

fn permitted(address: IpAddr, networks: &[IpNet]) -> bool {
    let address = address.to_canonical();
    public(address) || networks.iter().any(|network| network.contains(&address))
}

/// Globally reachable, by the IANA's special-purpose registries (RFC 6890).
fn public(address: IpAddr) -> bool {
    const SPECIAL: [&str; 19] = [
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/3",
        "2001::/23",
        "2001:db8::/32",
        "2002::/16",
        "3fff::/20",
        "5f00::/16",
    ];
    let special = SPECIAL
        .iter()
        .filter_map(|net| net.parse::<IpNet>().ok())
        .any(|net| net.contains(&address));
    // of IPv6 only 2000::/3 is given out for the Internet
    let given = match address {
        IpAddr::V4(_) => true,
        IpAddr::V6(six) => six.segments()[0] & 0xe000 == 0x2000,
    };
    given && !special
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_public_addresses_unless_allowed() {
        let allowed = ["10.20.0.0/16".parse().unwrap(), "fd00:1::/32".parse().unwrap()];
        let check = |address: &str, expected: (bool, bool)| {
            let address = address.parse().unwrap();
            assert_eq!((permitted(address, &[]), permitted(address, &allowed)), expected, "{address}");
        };
        for address in ["20.190.128.1", "8.8.8.8", "2606:4700::1111", "2a00:1450::1", "::ffff:8.8.8.8"] {
            check(address, (true, true));
        }
        for address in ["10.20.1.1", "::ffff:10.20.1.1", "fd00:1::1"] {
            check(address, (false, true));
        }
        for address in [
            "127.0.0.1",
            "0.0.0.0",
            "10.0.0.1",
            "169.254.169.254",
            "172.31.0.1",
            "192.168.1.1",
            "100.100.100.200",
            "224.0.0.1",
            "255.255.255.255",
            "240.0.0.1",
            "::1",
            "::",
            "fe80::1",
            "fd00:ec2::254",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
            "2001:db8::1",
        ] {
            check(address, (false, false));
        }
    }

    #[tokio::test]
    async fn what_may_not_be_reached_is_not_asked() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let fetcher = Fetcher::new(&Reach::default()).unwrap();
        for (url, why) in [
            (format!("https://127.0.0.1:{port}/keys"), "no public address"),
            (format!("https://localhost:{port}/keys"), "no public address"),
            (format!("https://[::1]:{port}/keys"), "no public address"),
            (format!("https://[::ffff:127.0.0.1]:{port}/keys"), "no public address"),
            (format!("https://2130706433:{port}/keys"), "no public address"),
            (format!("http://127.0.0.1:{port}/keys"), "only https"),
            ("keys".to_owned(), "cannot be read"),
        ] {
            let error = fetcher.get(&url, 1000).await.unwrap_err().to_string();
            assert!(error.contains(why), "{url}: {error}");
        }
        let nobody = tokio::time::timeout(Duration::from_millis(100), listener.accept()).await;
        assert!(nobody.is_err(), "somebody connected");
    }
}
