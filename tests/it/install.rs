//! The chart, installed by helm as an admin would, and the tokens of its two ServiceAccounts: what the processes of ours run with, never as an admin.

#![allow(dead_code, reason = "a fixture: not every test needs all of it")]

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use kube::Client;
use serde_json::json;

use crate::cluster::{Cluster, Who, root};

/// What to install; `Install::new` has what most tests want.
pub struct Install<'a> {
    pub release: &'a str,
    pub namespace: &'a str,
    pub class: &'a str,
    /// Whether the chart brings the CRDs; the shared cluster has them.
    pub crds: bool,
    /// Further values, each for `--set-json`, such as `accessPolicy.roles=["deployer"]`.
    pub values: Vec<String>,
}

/// An installation of the chart.
#[derive(Clone, Debug)]
pub struct Installed {
    pub release: String,
    pub namespace: String,
    pub class: String,
    /// What the names of its objects begin with.
    pub fullname: String,
    pub gateway_token: String,
    pub controller_token: String,
    /// The file that the controller reads, as the chart renders it.
    pub access_policy: PathBuf,
}

impl<'a> Install<'a> {
    /// Release and namespace `name`, class `name`, no CRDs, roles view, edit and (namespaced) deployer, username prefix `oidc:`.
    pub fn new(name: &'a str) -> Self {
        Self {
            release: name,
            namespace: name,
            class: name,
            crds: false,
            values: vec![
                r#"accessPolicy.clusterRoles=["view","edit"]"#.to_owned(),
                r#"accessPolicy.roles=["deployer"]"#.to_owned(),
                r#"accessPolicy.usernamePrefixes=["oidc:"]"#.to_owned(),
                r#"accessPolicy.groupPrefixes=["okta:"]"#.to_owned(),
                // the tests start the processes themselves: no node is here for pods
                "gateway.replicas=0".to_owned(),
                "controller.replicas=0".to_owned(),
                // each level takes its share of the seats, and this cluster has dozens of installations
                "flowControl.enabled=false".to_owned(),
            ],
        }
    }

    /// One value more.
    pub fn value(mut self, value: &str) -> Self {
        self.values.push(value.to_owned());
        self
    }

    /// Installs, or upgrades what is there, and waits until the API server enforces the policies.
    pub async fn on(self, cluster: &Cluster) -> Installed {
        let installed = self.put(cluster).await;
        installed.wait_for_policies(cluster).await;
        installed
    }

    /// The same without waiting: once a controller has led, it is the fence that answers.
    pub async fn put(self, cluster: &Cluster) -> Installed {
        let chart = root().join("charts/rolecall");
        let (class, crds) = (format!("class={}", json!(self.class)), format!("crds.enabled={}", self.crds));
        let mut args = vec!["upgrade", "--install", self.release, "-n", self.namespace, "--create-namespace"];
        let chart = chart.to_string_lossy().into_owned();
        args.extend([chart.as_str(), "--set-json", &class, "--set-json", &crds]);
        for value in &self.values {
            args.extend(["--set-json", value]);
        }
        cluster.helm(&args).expect_ok();
        let fullname = match self.release.contains("rolecall") {
            true => self.release.to_owned(),
            false => format!("{}-rolecall", self.release),
        };
        let installed = Installed {
            gateway_token: cluster.token(self.namespace, &format!("{fullname}-gateway")).await,
            controller_token: cluster.token(self.namespace, &format!("{fullname}-controller")).await,
            access_policy: cluster.dir().join(format!("{}-access-policy.yaml", self.release)),
            release: self.release.to_owned(),
            namespace: self.namespace.to_owned(),
            class: self.class.to_owned(),
            fullname,
        };
        installed.read_access_policy(cluster);
        installed
    }
}

impl Installed {
    /// A client with the gateway's token.
    pub async fn gateway(&self, cluster: &Cluster) -> Client {
        cluster.client(&Who::Token(self.gateway_token.clone())).await
    }

    /// A client with the controller's token.
    pub async fn controller(&self, cluster: &Cluster) -> Client {
        cluster.client(&Who::Token(self.controller_token.clone())).await
    }

    /// A kubeconfig file with the gateway's token.
    pub fn gateway_kubeconfig(&self, cluster: &Cluster) -> PathBuf {
        cluster.kubeconfig_for(&format!("{}-gateway", self.fullname), &self.gateway_token)
    }

    /// A kubeconfig file with the controller's token.
    pub fn controller_kubeconfig(&self, cluster: &Cluster) -> PathBuf {
        cluster.kubeconfig_for(&format!("{}-controller", self.fullname), &self.controller_token)
    }

    /// The name of the controller's Lease, which the fence looks at.
    pub fn lease(&self) -> String {
        format!("{}-controller", self.fullname)
    }

    /// Writes the file that the chart's ConfigMap holds, as a mounted volume would.
    fn read_access_policy(&self, cluster: &Cluster) {
        let name = format!("{}-access-policy", self.fullname);
        let path = r"jsonpath={.data.access-policy\.yaml}";
        let text = cluster
            .kubectl(&["get", "configmap", "-n", &self.namespace, &name, "-o", path])
            .expect_ok();
        fs::write(&self.access_policy, text).expect("a file");
    }

    // The API server looks at its policies once a second; the refusal of dry runs shows that it has.
    async fn wait_for_policies(&self, cluster: &Cluster) {
        let client = self.controller(cluster).await;
        let binding = |name: &str, labels: serde_json::Value, subjects: serde_json::Value| {
            json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": name, "labels": labels},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": format!("{}-nothing", self.fullname)},
                "subjects": subjects})
        };
        let someone = json!([{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "oidc:probe"}]);
        let bindings = format!(
            "/apis/rbac.authorization.k8s.io/v1/namespaces/{}/rolebindings?dryRun=All",
            self.namespace
        );
        let name = format!("rolecall-{}", "0".repeat(32));
        let labels = json!({"app.kubernetes.io/managed-by": "rolecall", "rolecall.dev/class": self.class, "rolecall.dev/owner": "0", "rolecall.dev/journal": "0"});
        let probes = [
            ("cage-ours", bindings.as_str(), binding("probe", json!({}), json!([]))),
            ("cage-grants", bindings.as_str(), binding(&name, labels, someone)),
            (
                "cage-namespaces",
                "/api/v1/namespaces?dryRun=All",
                json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "probe"}}),
            ),
        ];
        tokio::time::sleep(Duration::from_millis(1100)).await; // an older version of them would refuse too
        let begun = Instant::now();
        for (policy, path, object) in probes {
            let policy = format!("'{}-{policy}'", self.fullname);
            loop {
                let request = http::Request::post(path)
                    .header("content-type", "application/json")
                    .body(object.to_string().into_bytes())
                    .expect("a request");
                let said = match client.request::<serde_json::Value>(request).await {
                    Ok(_) => "passed".to_owned(),
                    Err(error) => error.to_string(),
                };
                if said.contains(&policy) {
                    break;
                }
                assert!(begun.elapsed() < Duration::from_secs(20), "{policy} does not act: {said}");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}
