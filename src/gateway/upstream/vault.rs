//! The credentials of polls: read from Secrets of our namespace for each pass, never kept, and each for one host only.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client, ResourceExt};
use reqwest::Url;
use tokio::time::timeout;

use super::Failure;
use super::intake::submit;
use super::pass::Asked;
use crate::api::poll::SecretRef;
use crate::api::push::SecretKeyRef;
use crate::directory::{Directory, Event};
use crate::journal::Journal;
use crate::ops::fetch::Fetcher;

/// The deadline of one GET.
const DEADLINE: Duration = Duration::from_secs(5);

/// Where the credentials of one pass come from, and what may be reached with them.
#[derive(Clone)]
pub(super) struct Vault {
    pub(super) client: Client,
    pub(super) namespace: String,
    pub(super) journal: Journal<Directory>,
    pub(super) asked: Asked,
    pub(super) fetcher: Arc<Fetcher>,
}

impl Vault {
    /// A URL of the spec that may be asked.
    pub(super) fn url(&self, text: &str) -> Result<Url, Failure> {
        let bad = |why: String| Failure::new("BadURL", format!("{text}: {why}"));
        let url = Url::parse(text).map_err(|error| bad(error.to_string()))?;
        self.fetcher.check(&url).map_err(bad)?;
        Ok(url)
    }

    /// A text that is sent to this host only (to the first, and what it gives for it to the others); without white space around it.
    pub(super) async fn text(&self, at: &SecretKeyRef, hosts: &[&Url]) -> Result<String, Failure> {
        let bytes = self.bytes(at, hosts).await?;
        let text =
            String::from_utf8(bytes).map_err(|_| Failure::new("BadCredential", format!("{} is no text", self.place(&at.name, &at.key))))?;
        match text.trim() {
            "" => Err(Failure::new("BadCredential", format!("{} is empty", self.place(&at.name, &at.key)))),
            text => Ok(text.to_owned()),
        }
    }

    /// Bytes that are sent to this host only, or sign what is.
    pub(super) async fn bytes(&self, at: &SecretKeyRef, hosts: &[&Url]) -> Result<Vec<u8>, Failure> {
        let (mut data, version) = self.read(&at.name).await?;
        let value = data.remove(&at.key).ok_or_else(|| self.no_key(&at.name, &at.key))?;
        self.bind(&format!("{}/{}", at.name, at.key), &version, hosts).await?;
        Ok(value.0)
    }

    /// A certificate and its key, as PEM: of a Secret of type `kubernetes.io/tls`.
    pub(super) async fn pair(&self, at: &SecretRef, hosts: &[&Url]) -> Result<(Vec<u8>, Vec<u8>), Failure> {
        let (mut data, version) = self.read(&at.name).await?;
        let mut take = |key: &str| data.remove(key).map(|bytes| bytes.0).ok_or_else(|| self.no_key(&at.name, key));
        let pair = (take("tls.crt")?, take("tls.key")?);
        self.bind(&format!("{}/tls.key", at.name), &version, hosts).await?;
        Ok(pair)
    }

    /// Certificates, which are no secret and may be used for any host.
    pub(super) async fn authorities(&self, at: &SecretKeyRef) -> Result<Vec<u8>, Failure> {
        let (mut data, _) = self.read(&at.name).await?;
        data.remove(&at.key)
            .map(|bytes| bytes.0)
            .ok_or_else(|| self.no_key(&at.name, &at.key))
    }

    fn place(&self, secret: &str, key: &str) -> String {
        format!("the Secret {}/{secret} under {key:?}", self.namespace)
    }

    fn no_key(&self, secret: &str, key: &str) -> Failure {
        Failure::new("NoCredential", format!("the Secret {}/{secret} has no key {key:?}", self.namespace))
    }

    async fn read(&self, name: &str) -> Result<(BTreeMap<String, ByteString>, String), Failure> {
        let api: Api<Secret> = Api::namespaced(self.client.clone(), &self.namespace);
        let unread = |why: String| {
            Failure::new(
                "NoCredential",
                format!("the Secret {}/{name} cannot be read: {why}", self.namespace),
            )
        };
        let read = timeout(DEADLINE, api.get_opt(name))
            .await
            .map_err(|_| unread("not answered in time".to_owned()))?;
        let secret = read.map_err(|error| unread(error.to_string()))?;
        let secret = secret.ok_or_else(|| {
            Failure::new(
                "NoCredential",
                format!("there is no Secret {name:?} in namespace {:?}", self.namespace),
            )
        })?;
        let version = format!(
            "{}/{}",
            secret.uid().unwrap_or_default(),
            secret.resource_version().unwrap_or_default()
        );
        Ok((secret.data.unwrap_or_default(), version))
    }

    /// Binds a credential to hosts, durably, before it is first used. One that this or another source used for others has to be written anew first: who can change a
    /// URL cannot have it sent there.
    async fn bind(&self, secret: &str, version: &str, hosts: &[&Url]) -> Result<(), Failure> {
        let origins: Vec<String> = hosts.iter().map(|url| url.origin().ascii_serialization()).collect();
        let origin = origins.join(" ");
        let event = Event::CredentialBound {
            source: self.asked.source.to_string(),
            secret: secret.to_owned(),
            version: version.to_owned(),
            origin: origin.clone(),
        };
        let (asked, name, version, wanted) = (self.asked.clone(), secret.to_owned(), version.to_owned(), origin.clone());
        let judged = submit(&self.journal, move |directory| {
            let says = asked.says(directory, event.clone())?;
            let mut bound = directory.sources().filter_map(|(_, source)| source.poll().bound.get(name.as_str()));
            let other = bound.find(|bound| *bound.version == *version && *bound.origin != *wanted);
            if let Some(other) = other {
                return Ok((Vec::new(), Err(other.origin.to_string())));
            }
            let own = directory
                .source(&asked.source)
                .and_then(|source| source.poll().bound.get(name.as_str()));
            let known = own.is_some_and(|bound| *bound.version == *version);
            Ok((if known { Vec::new() } else { says }, Ok(())))
        });
        judged.await?.map_err(|other| {
            Failure::new(
                "CredentialOfAnotherHost",
                format!(
                    "the Secret {}/{secret} was first used for {other}, and is not sent to {origin}: write it anew (kubectl apply, or any change of it) if {origin} may have it",
                    self.namespace
                ),
            )
        })
    }
}
