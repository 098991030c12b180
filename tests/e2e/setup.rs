//! What an admin does once it is installed, and what has to be so before and after anything breaks.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use crate::load::{Promised, username};
use crate::provider::Provider;
use crate::release::{NAME, Release};
use crate::report::Report;
use crate::system::{may, until};
use crate::watcher;

/// The one source.
const SOURCE: &str = "okta";

/// A group, and what it gives.
pub struct Team {
    /// The group's id.
    pub group: String,
    /// Where its members may edit.
    pub namespace: &'static str,
    pub role: &'static str,
}

/// Two pods of each part, logs and exec; what helm test asks.
pub async fn is_as_promised(release: &Release<'_>, report: &mut Report) {
    for part in ["gateway", "controller"] {
        report.check(&format!("2 pods of the {part} are ready"), release.ready(part).await == 2);
    }
    let deployment = format!("deployment/{NAME}-gateway");
    let version = release
        .node
        .cluster
        .kubectl(&["exec", "-n", NAME, &deployment, "--", "/rolecall", "--version"]);
    report.check("kubectl exec: rolecall --version", version.stdout.starts_with("rolecall "));
    let shell = release.node.cluster.kubectl(&["exec", "-n", NAME, &deployment, "--", "sh"]);
    report.check("there is no shell in the image", !shell.ok);
    let log = release.node.cluster.kubectl(&["logs", "-n", NAME, &deployment, "--tail=5"]).stdout;
    let json = !log.is_empty() && log.lines().all(|line| serde_json::from_str::<Value>(line).is_ok());
    report.check("kubectl logs: lines of JSON", json);
    let test = release.node.cluster.helm(&["test", NAME, "-n", NAME, "--timeout", "2m"]);
    report.check("helm test", test.ok);
    if !test.ok {
        println!("{}{}", test.stdout, test.stderr);
    }
}

/// The source with its token; the gateway answers for it through the Service.
pub async fn source(release: &Release<'_>) -> Provider {
    let token = format!("{}{}", uuid::Uuid::new_v4().simple(), uuid::Uuid::new_v4().simple());
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "okta-token", "namespace": NAME}, "stringData": {"token": token}});
    release.node.cluster.apply(&secret.to_string(), &[]).expect_ok();
    let tokens = json!([{"name": "first", "secretKeyRef": {"name": "okta-token", "key": "token"}}]);
    let source = json!({
        "apiVersion": "rolecall.dev/v1alpha1", "kind": "ScimSource", "metadata": {"name": SOURCE},
        "spec": {"push": {"tokens": tokens}, "subject": {"username": "'oidc:' + user.userName"}},
    });
    release.node.cluster.apply(&source.to_string(), &[]).expect_ok();
    let provider = release.provider(SOURCE, &token).await;
    // Each of the two pods has to have seen it.
    for _ in 0..8 {
        let served = || async { provider.try_get("/Users?count=0").await.is_ok_and(|(status, _)| status == 200) };
        until(Duration::from_secs(30), served).await.expect("the gateway serves the source");
    }
    provider
}

/// A namespace, a mapping and a group; that who is in it may edit there, and may no longer once the provider says so.
pub async fn team(release: &Release<'_>, provider: &Provider) -> Team {
    let (namespace, role) = ("payments", "edit");
    let place = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}});
    let mapping = json!({
        "apiVersion": "rolecall.dev/v1alpha1", "kind": "ClusterRoleMapping", "metadata": {"name": namespace},
        "spec": {
            "sources": [SOURCE],
            "groups": {"names": ["payments"]},
            "grants": [{"roleRef": {"kind": "ClusterRole", "name": role}, "namespaces": {"names": [namespace]}}],
        },
    });
    for object in [place, mapping] {
        release.node.cluster.apply(&object.to_string(), &[]).expect_ok();
    }
    let ada = provider.user("ada@corp.example").await;
    let group = provider.group("payments", &[&ada]).await;
    for allowed in [true, false] {
        if !allowed {
            provider.active(&ada, false).await;
        }
        let seen = || async { may(&release.client, "oidc:ada@corp.example", "create", namespace).await == allowed };
        let seen = until(Duration::from_secs(30), seen).await;
        assert!(seen.is_ok(), "ada never became allowed={allowed}");
    }
    Team { group, namespace, role }
}

/// Nothing that was acknowledged is lost: not in the directory, and not in what it grants.
pub async fn settled(release: &Release<'_>, report: &mut Report, provider: &Provider, team: &Team, promised: &Promised) {
    for part in ["gateway", "controller"] {
        let ready = release.until_ready(part, 2).await.is_ok();
        report.check(&format!("2 pods of the {part} are ready again"), ready);
    }
    let members: BTreeSet<String> = promised.members().map(|user| user.id.clone()).collect();
    let (_, group) = provider.try_get(&format!("/Groups/{}", team.group)).await.expect("an answer");
    let listed: BTreeSet<String> = group["members"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|m| m["value"].as_str().map(str::to_owned))
        .collect();
    let lost: Vec<String> = members.difference(&listed).cloned().collect();
    report.list(&format!("{} members acknowledged; lost", members.len()), &lost);
    let mut wrong = Vec::new();
    for user in &promised.users {
        let (status, answer) = provider.try_get(&format!("/Users/{}", user.id)).await.expect("an answer");
        if status != 200 || answer["active"] != json!(user.revoked.is_none()) {
            wrong.push(format!("{}: {status} {answer}", user.number));
        }
    }
    report.list(&format!("{} users acknowledged; not as acknowledged", promised.users.len()), &wrong);

    let entitled: BTreeSet<String> = promised.members().map(|user| username(user.number)).collect();
    let granted = || async { watcher::subjects(release, team).await == entitled };
    let same = until(Duration::from_secs(30), granted).await.is_ok();
    report.check(&format!("exactly the {} that are entitled have access", entitled.len()), same);
}
