//! The chart as an admin installs it, and its pods: who leads, and the way to the gateway through the Service. No check lives here.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use k8s_openapi::ByteString;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Pod, Secret, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, Client, ResourceExt};
use reqwest::Certificate;
use serde_json::json;

use crate::authority::Authority;
use crate::cluster::root;
use crate::node::Node;
use crate::provider::Provider;
use crate::system::until;

/// The Service leads each new connection to any of two pods: so many of them reach both, but for once in a hundred times.
pub const CONNECTIONS: usize = 8;

/// One installation.
pub struct Release<'a> {
    pub node: &'a Node,
    pub client: Client,
    /// Release and namespace.
    pub name: &'static str,
    /// What was set when it was installed: an upgrade that sets something else would forget it.
    values: &'static [&'static str],
    /// Where the gateway's Service is.
    address: SocketAddr,
    /// The authority that the chart made.
    pub chart: Certificate,
    /// Another one, which clients trust from the beginning too: whoever moves to it tells them first.
    pub other: Authority,
}

impl<'a> Release<'a> {
    /// Installs it into a namespace that enforces Pod Security `restricted`, and waits as helm does. Values are as `--set-json` takes them.
    pub async fn install(node: &'a Node, name: &'static str, values: &'static [&'static str]) -> Release<'a> {
        let restricted = json!({"pod-security.kubernetes.io/enforce": "restricted"});
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": restricted}});
        node.cluster.apply(&namespace.to_string(), &[]).expect_ok();
        helm(node, "install", name, values);
        let client = node.cluster.admin().await;
        Self {
            node,
            name,
            values,
            address: address(&client, name).await,
            chart: authority(&client, name).await,
            other: Authority::generate(),
            client,
        }
    }

    /// `helm upgrade` with these values more, until helm says that all is ready.
    pub fn upgrade(&self, values: &[&str]) {
        helm(self.node, "upgrade", self.name, &[self.values, values].concat());
    }

    /// `helm rollback`, to the revision before.
    pub fn rollback(&self) {
        let args = ["rollback", self.name, "-n", self.name, "--wait", "--timeout", "3m"];
        self.node.cluster.helm(&args).expect_ok();
    }

    /// The uid of each of its pods, and how often the kubelet started again what runs in it.
    pub async fn pods_and_restarts(&self) -> BTreeMap<String, i32> {
        let mut all = BTreeMap::new();
        for part in ["gateway", "controller"] {
            for pod in self.pods(part).await {
                let status = pod.status.as_ref().and_then(|s| s.container_statuses.as_ref()?.first());
                let restarts = status.map_or(0, |status| status.restart_count);
                all.insert(pod.uid().unwrap_or_default(), restarts);
            }
        }
        all
    }

    /// The pods of one part (`gateway`, `controller`) that are not about to end; none while the API server is away.
    pub async fn pods(&self, part: &str) -> Vec<Pod> {
        let name = self.name;
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), name);
        let labels = format!("app.kubernetes.io/instance={name},app.kubernetes.io/component={part}");
        let list = pods.list(&ListParams::default().labels(&labels)).await;
        let stays = |pod: &Pod| pod.metadata.deletion_timestamp.is_none();
        list.into_iter().flatten().filter(stays).collect()
    }

    /// How many pods of a part are ready.
    pub async fn ready(&self, part: &str) -> usize {
        let is_ready = |pod: &Pod| {
            let conditions = pod.status.iter().flat_map(|s| s.conditions.iter().flatten());
            conditions.filter(|c| c.type_ == "Ready" && c.status == "True").count()
        };
        self.pods(part).await.iter().map(is_ready).sum()
    }

    /// Each pod, and how many seconds it took from its creation until it was ready.
    pub async fn starts(&self) -> Vec<(String, f64)> {
        let mut starts = Vec::new();
        for part in ["gateway", "controller"] {
            for pod in self.pods(part).await {
                let conditions = pod.status.iter().flat_map(|s| s.conditions.iter().flatten());
                let ready = { conditions }
                    .find(|c| c.type_ == "Ready")
                    .and_then(|c| c.last_transition_time.clone());
                let took = ready
                    .zip(pod.creation_timestamp())
                    .map(|(ready, made)| ready.0.duration_since(made.0).as_secs_f64());
                starts.push((pod.name_any(), took.unwrap_or(f64::NAN)));
            }
        }
        starts
    }

    /// Waits until so many are ready.
    pub async fn until_ready(&self, part: &str, count: usize) -> Result<(), ()> {
        until(Duration::from_secs(60), || async { self.ready(part).await == count }).await
    }

    /// Who holds the Lease: `<pod>_<a UUID for each time that it is acquired>`.
    pub async fn holder(&self) -> String {
        let leases: Api<Lease> = Api::namespaced(self.client.clone(), self.name);
        let lease = leases.get_opt(&format!("{}-controller", self.name)).await.ok().flatten();
        lease.and_then(|l| l.spec?.holder_identity).unwrap_or_default()
    }

    /// The pod that leads.
    pub async fn leader(&self) -> Pod {
        let holder = self.holder().await;
        let name = holder.split('_').next().unwrap_or_default();
        let mut pods = self.pods("controller").await.into_iter();
        pods.find(|p| p.name_any() == name)
            .unwrap_or_else(|| panic!("{holder:?} is no pod of the controller"))
    }

    /// A client that reaches the gateway through its Service, over connections of its own, and trusts both authorities and no others.
    pub fn http(&self) -> reqwest::Client {
        self.trusting([self.chart.clone(), self.other.certificate()])
    }

    fn trusting(&self, authorities: impl IntoIterator<Item = Certificate>) -> reqwest::Client {
        reqwest::Client::builder()
            .tls_certs_only(authorities)
            .resolve(&self.host(), self.address)
            .tls_info(true)
            // as long as providers wait; the gateway says 503 before
            .timeout(Duration::from_secs(30))
            .build()
            .expect("a client")
    }

    /// The identity provider of a source.
    pub fn provider(&self, source: &str, token: &str) -> Provider {
        Provider {
            http: self.http(),
            base: format!("https://{}/scim/v2/{source}", self.host()),
            token: token.to_owned(),
        }
    }

    fn host(&self) -> String {
        format!("{0}-gateway.{0}.svc", self.name)
    }

    /// The certificates that new connections to the Service meet.
    pub async fn certificates(&self) -> BTreeSet<Vec<u8>> {
        let mut met = BTreeSet::new();
        for _ in 0..CONNECTIONS {
            let answer = self.http().get(format!("https://{}/", self.host())).send().await;
            let info = answer
                .ok()
                .and_then(|answer| answer.extensions().get::<reqwest::tls::TlsInfo>().cloned());
            met.extend(info.and_then(|info| info.peer_certificate().map(<[u8]>::to_vec)));
        }
        met
    }

    /// Whether new clients that trust this authority alone all reach the gateway (`true`), or all do not. Each shakes hands from the start: an older
    /// client could resume what was agreed with the certificate before.
    pub async fn handshakes(&self, authority: &Certificate, wanted: bool) -> bool {
        for _ in 0..CONNECTIONS {
            let http = self.trusting([authority.clone()]);
            let answer = http.get(format!("https://{}/", self.host())).send().await;
            if answer.is_ok() != wanted {
                return false;
            }
        }
        true
    }

    /// Puts a certificate of the other authority into the gateway's Secret. In helm's name: its next upgrade would stop at a field that somebody else has set.
    pub async fn replace_certificate(&self) {
        let host = self.host();
        let short = host.trim_end_matches(".svc").to_owned();
        let names = [format!("{host}.cluster.local"), short, format!("{}-gateway", self.name), host];
        let (certificate, key) = self.other.sign(&names);
        let files = [("tls.crt", certificate), ("tls.key", key), ("ca.crt", self.other.pem.clone())];
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), self.name);
        let name = format!("{}-tls", self.name);
        let old = secrets.get(&name).await.expect("the certificate's Secret");
        let new = Secret {
            metadata: ObjectMeta {
                name: Some(name.clone()),
                labels: old.metadata.labels,
                annotations: old.metadata.annotations,
                ..ObjectMeta::default()
            },
            data: Some(BTreeMap::from(
                files.map(|(file, text)| (file.to_owned(), ByteString(text.into_bytes()))),
            )),
            type_: old.type_,
            ..Secret::default()
        };
        secrets
            .patch(&name, &PatchParams::apply("helm").force(), &Patch::Apply(&new))
            .await
            .expect("another certificate in the Secret");
    }
}

/// `install` or `upgrade`.
fn helm(node: &Node, verb: &str, name: &str, values: &[&str]) {
    let chart = root().join("charts/rolecall").to_string_lossy().into_owned();
    let mut args = vec![verb, name, &chart, "-n", name, "--wait", "--timeout", "3m"];
    args.extend(values.iter().flat_map(|value| ["--set-json", *value]));
    node.cluster.helm(&args).expect_ok();
}

/// Where the gateway's Service is.
async fn address(client: &Client, name: &str) -> SocketAddr {
    let services: Api<Service> = Api::namespaced(client.clone(), name);
    let service = services.get(&format!("{name}-gateway")).await.expect("the Service");
    let address = service.spec.and_then(|s| s.cluster_ip).unwrap_or_default();
    let address: IpAddr = address.parse().expect("an address");
    SocketAddr::new(address, 443)
}

/// The chart's authority, from where its notes tell an admin to take it.
async fn authority(client: &Client, name: &str) -> Certificate {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), name);
    let secret = secrets.get(&format!("{name}-tls")).await.expect("the certificate's Secret");
    let pem = secret.data.and_then(|mut data| data.remove("ca.crt")).expect("ca.crt");
    Certificate::from_pem(&pem.0).expect("a certificate")
}
