//! A second installation in the same cluster, told apart by its class: each leaves the other's sources and bindings alone.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use serde_json::Value;

use crate::node::Node;
use crate::provider::Provider;
use crate::release::Release;
use crate::report::Report;
use crate::setup::{self, Team};
use crate::system::{may, until};

const CLASS: &str = "b";

/// It, its provider, its team, and somebody who is in it.
pub struct Second<'a> {
    release: Release<'a>,
    provider: Provider,
    team: Team,
}

impl<'a> Second<'a> {
    /// Installs it without the CRDs, which are there; one pod of each part, for the machine's sake. It grants and revokes, and then grants somebody.
    pub async fn install(node: &'a Node) -> Second<'a> {
        let values = ["class=\"b\"", "crds.enabled=false", "gateway.replicas=1", "controller.replicas=1"];
        let release = Release::install(node, "rolecall-b", &values).await;
        let provider = setup::source(&release, "workday", CLASS).await;
        let team = Team {
            source: "workday",
            group: String::new(),
            namespace: "workshop",
            role: "view",
            verb: "list",
        };
        let team = setup::team(&release, &provider, CLASS, team).await;
        let grace = provider.user("workday-grace@corp.example").await;
        provider.add(&team.group, &grace).await;
        Self { release, provider, team }
    }

    /// Its objects, with their versions, and its source's status: what the other must not touch.
    pub async fn objects(&self) -> BTreeMap<String, String> {
        let api: Api<RoleBinding> = Api::all(self.release.client.clone());
        let list = api
            .list(&ListParams::default().labels("rolecall.dev/class=b"))
            .await
            .expect("a list");
        let version = |binding: &RoleBinding| (binding.name_any(), binding.resource_version().unwrap_or_default());
        let mut all: BTreeMap<String, String> = list.iter().map(version).collect();
        let source = self
            .release
            .node
            .cluster
            .kubectl(&["get", "scimsource", "workday", "-o", "json"])
            .stdout;
        let source: Value = serde_json::from_str(&source).unwrap_or_default();
        let conditions = source["status"]["conditions"].as_array().into_iter().flatten();
        all.extend(conditions.map(|c| (format!("condition {}", c["type"]), c["status"].to_string())));
        all
    }

    /// After all that happened to the other one: nothing of it was touched, and it still works. Then it is uninstalled, and what it granted stays.
    pub async fn ends(self, report: &mut Report, before: &BTreeMap<String, String>) {
        report.check(
            "two installations: the other left what this one made alone",
            self.objects().await == *before && !before.is_empty(),
        );
        let user = "oidc:workday-linus@corp.example";
        let linus = self.provider.user("workday-linus@corp.example").await;
        self.provider.add(&self.team.group, &linus).await;
        let granted = until(Duration::from_secs(30), || self.allowed(user)).await.is_ok();
        report.check("two installations: this one still grants", granted);
        self.release
            .node
            .cluster
            .helm(&["uninstall", self.release.name, "-n", self.release.name, "--wait"])
            .expect_ok();
        tokio::time::sleep(Duration::from_secs(5)).await;
        report.check(
            "helm uninstall of it: who had access has it",
            self.allowed(user).await && self.allowed("oidc:workday-grace@corp.example").await,
        );
    }

    async fn allowed(&self, user: &str) -> bool {
        may(&self.release.client, user, self.team.verb, self.team.namespace).await
    }
}
