//! The chart as an admin installs it, and its pods: who leads, and the way to the gateway through the Service. No check lives here.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Pod, Secret, Service};
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt};
use serde_json::json;

use crate::cluster::root;
use crate::node::Node;
use crate::provider::Provider;
use crate::system::until;

/// One installation.
pub struct Release<'a> {
    pub node: &'a Node,
    pub client: Client,
    /// Release and namespace.
    pub name: &'static str,
}

impl<'a> Release<'a> {
    /// Installs it into a namespace that enforces Pod Security `restricted`, and waits as helm does. Values are as `--set-json` takes them.
    pub async fn install(node: &'a Node, name: &'static str, values: &[&str]) -> Release<'a> {
        let restricted = json!({"pod-security.kubernetes.io/enforce": "restricted"});
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": restricted}});
        node.cluster.apply(&namespace.to_string(), &[]).expect_ok();
        let release = Self {
            client: node.cluster.admin().await,
            node,
            name,
        };
        release.helm("install", values);
        release
    }

    /// `install` or `upgrade`, until helm says that all is ready.
    pub fn helm(&self, verb: &str, values: &[&str]) {
        let chart = root().join("charts/rolecall").to_string_lossy().into_owned();
        let mut args = vec![verb, self.name, &chart, "-n", self.name, "--wait", "--timeout", "3m"];
        args.extend(values.iter().flat_map(|value| ["--set-json", *value]));
        self.node.cluster.helm(&args).expect_ok();
    }

    /// `helm rollback`, to the revision before.
    pub fn rollback(&self) {
        let args = ["rollback", self.name, "-n", self.name, "--wait", "--timeout", "3m"];
        self.node.cluster.helm(&args).expect_ok();
    }

    /// The names of all its pods.
    pub async fn names(&self) -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        for part in ["gateway", "controller"] {
            names.extend(self.pods(part).await.iter().map(ResourceExt::name_any));
        }
        names
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

    /// A client that reaches the gateway through its Service, and trusts the chart's certificate only.
    pub async fn http(&self) -> reqwest::Client {
        let services: Api<Service> = Api::namespaced(self.client.clone(), self.name);
        let service = services.get(&format!("{}-gateway", self.name)).await.expect("the Service");
        let address = service.spec.and_then(|s| s.cluster_ip).unwrap_or_default();
        let address: IpAddr = address.parse().expect("an address");
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), self.name);
        let secret = secrets.get(&format!("{}-tls", self.name)).await.expect("the certificate's Secret");
        let authority = secret.data.and_then(|mut data| data.remove("ca.crt")).expect("ca.crt");
        reqwest::Client::builder()
            .tls_certs_only([reqwest::Certificate::from_pem(&authority.0).expect("a certificate")])
            .resolve(&self.host(), SocketAddr::new(address, 443))
            .tls_info(true)
            // as long as providers wait; the gateway says 503 before
            .timeout(Duration::from_secs(30))
            .build()
            .expect("a client")
    }

    /// The identity provider of a source.
    pub async fn provider(&self, source: &str, token: &str) -> Provider {
        Provider {
            http: self.http().await,
            base: format!("https://{}/scim/v2/{source}", self.host()),
            token: token.to_owned(),
        }
    }

    fn host(&self) -> String {
        format!("{0}-gateway.{0}.svc", self.name)
    }

    /// The certificates that new connections to the Service meet, of so many.
    pub async fn certificates(&self, connections: usize) -> BTreeSet<Vec<u8>> {
        let mut met = BTreeSet::new();
        for _ in 0..connections {
            let answer = self.http().await.get(format!("https://{}/", self.host())).send().await;
            let info = answer
                .ok()
                .and_then(|answer| answer.extensions().get::<reqwest::tls::TlsInfo>().cloned());
            met.extend(info.and_then(|info| info.peer_certificate().map(<[u8]>::to_vec)));
        }
        met
    }
}
