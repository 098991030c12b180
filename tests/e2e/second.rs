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
use crate::setup::{self, Team, user_name};
use crate::watcher::key;

const CLASS: &str = "b";
/// Without the CRDs, which are there; one pod of each part, for the machine's sake.
const VALUES: &[&str] = &[
    "class=\"b\"",
    "crds.enabled=false",
    "gateway.replicas=1",
    "controller.replicas=1",
    "accessPolicy.usernamePrefixes=[\"workday:\"]",
];
/// What would go with it is gone by then.
const GONE: Duration = Duration::from_secs(5);

/// It, its provider, its team, and the id of grace, who is in it.
pub struct Second<'a> {
    release: Release<'a>,
    provider: Provider,
    team: Team,
    grace: String,
}

impl<'a> Second<'a> {
    /// Installs it. It grants and revokes, and then grants grace.
    pub async fn install(node: &'a Node) -> Second<'a> {
        let release = Release::install(node, "rolecall-b", VALUES).await;
        let provider = setup::source(&release, "workday", CLASS).await;
        let team = Team {
            source: "workday",
            group: String::new(),
            namespace: "workshop",
            role: "view",
            verb: "list",
        };
        let team = setup::team(&release, &provider, CLASS, team).await;
        let grace = provider.user(&user_name("grace")).await;
        provider.add(&team.group, &grace).await;
        assert!(team.until_allows(&release, "grace", true).await, "grace is not granted access");
        Self {
            release,
            provider,
            team,
            grace,
        }
    }

    /// What is its own.
    pub async fn objects(&self) -> BTreeMap<String, String> {
        objects(&self.release, CLASS, &[self.team.source]).await
    }

    /// After all that happened to the other one: nothing of this one was touched.
    pub async fn is_as_before(&self, report: &mut Report, before: &BTreeMap<String, String>) {
        let same = self.objects().await == *before && !before.is_empty();
        report.check("two installations: the other left what this one made alone", same);
    }

    /// It starts anew, grants, revokes and is uninstalled, beside everybody whom the `first` one granted access. Nothing of that one is touched, and what
    /// it granted itself stays.
    pub async fn ends(self, report: &mut Report, first: &Release<'_>, sources: &[&str]) {
        let before = objects(first, "", sources).await;
        self.release.upgrade(&["logLevel=\"rolecall=debug,info\""]); // a start looks at everything that is there
        let provider = Provider {
            http: self.release.http(), // an older connection ends with the pod before
            ..self.provider.clone()
        };
        let linus = provider.user(&user_name("linus")).await;
        provider.add(&self.team.group, &linus).await;
        let granted = self.team.until_allows(&self.release, "linus", true).await;
        provider.active(&self.grace, false).await;
        let revoked = self.team.until_allows(&self.release, "grace", false).await;
        report.check("two installations: this one still grants and revokes", granted && revoked);
        report.list("bindings of another class than their place", &self.misplaced().await);
        let name = self.release.name;
        let uninstall = ["uninstall", name, "-n", name, "--wait"];
        self.release.node.cluster.helm(&uninstall).expect_ok();
        tokio::time::sleep(GONE).await;
        let (linus, grace) = (
            self.team.allows(&self.release, "linus").await,
            self.team.allows(&self.release, "grace").await,
        );
        report.check("helm uninstall of it: who had access has it, and nobody else", linus && !grace);
        let same = objects(first, "", sources).await == before && before.keys().any(|key| key.contains('/'));
        report.check("two installations: it left what the other one made alone", same);
    }

    /// Bindings of this class in another place than its own, or of another class there.
    async fn misplaced(&self) -> Vec<String> {
        let all = bindings(&self.release, "app.kubernetes.io/managed-by=rolecall").await;
        all.iter()
            .filter(|binding| {
                let ours = binding.labels().get("rolecall.dev/class").is_some_and(|class| class == CLASS);
                ours != (binding.namespace().as_deref() == Some(self.team.namespace))
            })
            .map(key)
            .collect()
    }
}

/// What another installation must not touch: the bindings of a class, each with uid and version, and what its sources' conditions say.
async fn objects(release: &Release<'_>, class: &str, sources: &[&str]) -> BTreeMap<String, String> {
    let ours = format!("app.kubernetes.io/managed-by=rolecall,rolecall.dev/class={class}");
    let version = |binding: &RoleBinding| format!("{:?} {:?}", binding.uid(), binding.resource_version());
    let all = bindings(release, &ours).await;
    let mut found: BTreeMap<String, String> = all.iter().map(|binding| (key(binding), version(binding))).collect();
    for source in sources {
        let object = release.node.cluster.kubectl(&["get", "scimsource", *source, "-o", "json"]);
        let object: Value = serde_json::from_str(&object.expect_ok()).expect("JSON");
        let conditions = object["status"]["conditions"].as_array().into_iter().flatten();
        found.extend(conditions.map(|c| (format!("{source}: {}", c["type"]), c["status"].to_string())));
    }
    found
}

async fn bindings(release: &Release<'_>, labels: &str) -> Vec<RoleBinding> {
    let api: Api<RoleBinding> = Api::all(release.client.clone());
    let list = api.list(&ListParams::default().labels(labels)).await;
    list.expect("a list").items
}
