//! `rolecall selfcheck`: whether a gateway answers SCIM under a URL, as a provider sees it. For `helm test`; it changes nothing and has no token.

use std::path::PathBuf;
use std::time::Duration;

use reqwest::{Client, redirect};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::fetch::{all, authorities};

/// What every SCIM error names (RFC 7644 §3.12).
const ERROR: &str = "urn:ietf:params:scim:api:messages:2.0:Error";
const EACH: Duration = Duration::from_secs(5);

/// Where to look.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The gateway, such as `https://rolecall-gateway.rolecall.svc`.
    #[arg(long)]
    pub url: String,
    /// The certificate of the authority that signed the gateway's, as PEM; without it the system's are trusted.
    #[arg(long)]
    pub ca_file: Option<PathBuf>,
    /// For how long it is tried again, in seconds.
    #[arg(long, default_value_t = 60)]
    pub seconds: u64,
}

/// Asks until a gateway answers as one; what it said.
///
/// # Errors
/// Why the last attempt failed.
pub async fn run(args: &Args) -> Result<String, String> {
    let client = client(args)?;
    // discovery is open to everybody (RFC 7644 §4): what is not says that this is a gateway that asks for a token
    let url = format!("{}/scim/v2/selfcheck/Users?count=0", args.url.trim_end_matches('/'));
    let end = Instant::now() + Duration::from_secs(args.seconds);
    loop {
        match ask(&client, &url).await {
            Ok(status) => return Ok(format!("{url}: a gateway answers ({status}: no token was given)")),
            Err(why) if Instant::now() >= end => return Err(format!("{url}: {why}")),
            Err(why) => tracing::info!(why, "not yet"),
        }
        sleep(Duration::from_secs(1)).await;
    }
}

fn client(args: &Args) -> Result<Client, String> {
    let mut builder = Client::builder().no_proxy().redirect(redirect::Policy::none()).timeout(EACH);
    if let Some(path) = &args.ca_file {
        builder = builder.tls_certs_only(authorities(path)?);
    }
    builder.build().map_err(|error| error.to_string())
}

/// Whoever has no token is refused by a gateway, and in SCIM's words.
async fn ask(client: &Client, url: &str) -> Result<u16, String> {
    let response = client.get(url).send().await.map_err(|error| all(&error))?;
    let status = response.status().as_u16();
    let body = response.bytes().await.map_err(|error| all(&error))?;
    let said: Value = serde_json::from_slice(&body).unwrap_or_default();
    let scim = said["schemas"].as_array().is_some_and(|all| all.iter().any(|one| one == ERROR));
    match (status, scim) {
        (401, true) => Ok(status),
        _ => Err(format!("it answered {status}, and not as a gateway does")),
    }
}
