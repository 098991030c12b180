//! What an admin does once it is installed, and what has to be so before and after anything breaks.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use crate::load::Promised;
use crate::provider::Provider;
use crate::release::Release;
use crate::report::Report;
use crate::system::{may, until};
use crate::watcher;

/// A source's group, and what it gives.
pub struct Team {
    pub source: &'static str,
    /// The group's id.
    pub group: String,
    /// Where its members may do what.
    pub namespace: &'static str,
    pub role: &'static str,
    /// What only the role allows.
    pub verb: &'static str,
}

/// Two pods of each part, logs and exec; what helm test asks.
pub async fn is_as_promised(release: &Release<'_>, report: &mut Report) {
    for part in ["gateway", "controller"] {
        report.check(&format!("2 pods of the {part} are ready"), release.ready(part).await == 2);
    }
    let name = release.name;
    let deployment = format!("deployment/{name}-gateway");
    let version = release
        .node
        .cluster
        .kubectl(&["exec", "-n", name, &deployment, "--", "/rolecall", "--version"]);
    report.check("kubectl exec: rolecall --version", version.stdout.starts_with("rolecall "));
    let shell = release.node.cluster.kubectl(&["exec", "-n", name, &deployment, "--", "sh"]);
    report.check("there is no shell in the image", !shell.ok);
    let log = release.node.cluster.kubectl(&["logs", "-n", name, &deployment, "--tail=5"]).stdout;
    let json = !log.is_empty() && log.lines().all(|line| serde_json::from_str::<Value>(line).is_ok());
    report.check("kubectl logs: lines of JSON", json);
    let test = release.node.cluster.helm(&["test", name, "-n", name, "--timeout", "2m"]);
    report.check("helm test", test.ok);
    if !test.ok {
        println!("{}{}", test.stdout, test.stderr);
    }
}

/// A source with a token of its own; the gateway answers for it through the Service.
pub async fn source(release: &Release<'_>, name: &str, class: &str) -> Provider {
    let token = token(release, &format!("{name}-token"));
    tokens(release, name, class, &[&format!("{name}-token")]);
    let provider = release.provider(name, &token).await;
    answers(&provider, 200).await.expect("the gateway serves the source");
    provider
}

/// A Secret with a new token; the token.
pub fn token(release: &Release<'_>, secret: &str) -> String {
    let token = format!("{}{}", uuid::Uuid::new_v4().simple(), uuid::Uuid::new_v4().simple());
    let object = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": secret, "namespace": release.name}, "stringData": {"token": token}});
    release.node.cluster.apply(&object.to_string(), &[]).expect_ok();
    token
}

/// The source takes the tokens of these Secrets.
pub fn tokens(release: &Release<'_>, name: &str, class: &str, secrets: &[&str]) {
    let token = |secret: &&str| json!({"name": secret, "secretKeyRef": {"name": secret, "key": "token"}});
    let tokens: Vec<Value> = secrets.iter().map(token).collect();
    let mut source = json!({
        "apiVersion": "rolecall.dev/v1alpha1", "kind": "ScimSource", "metadata": {"name": name},
        "spec": {"push": {"tokens": tokens}, "subject": {"username": "'oidc:' + user.userName"}},
    });
    if !class.is_empty() {
        source["spec"]["class"] = json!(class);
    }
    release.node.cluster.apply(&source.to_string(), &[]).expect_ok();
}

/// Waits until each of the pods answers the provider so: 8 times in a row.
pub async fn answers(provider: &Provider, wanted: u16) -> Result<(), ()> {
    for _ in 0..8 {
        let so = || async { provider.try_get("/Users?count=0").await.is_ok_and(|(status, _)| status == wanted) };
        until(Duration::from_secs(60), so).await?;
    }
    Ok(())
}

/// A namespace, a mapping and a group; that who is in it may do there what the role allows, and may no longer once the provider says so.
pub async fn team(release: &Release<'_>, provider: &Provider, class: &str, team: Team) -> Team {
    let Team {
        source,
        namespace,
        role,
        verb,
        ..
    } = team;
    let place = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}});
    let mut mapping = json!({
        "apiVersion": "rolecall.dev/v1alpha1", "kind": "ClusterRoleMapping", "metadata": {"name": namespace},
        "spec": {
            "sources": [source],
            "groups": {"names": [namespace]},
            "grants": [{"roleRef": {"kind": "ClusterRole", "name": role}, "namespaces": {"names": [namespace]}}],
        },
    });
    if !class.is_empty() {
        mapping["spec"]["class"] = json!(class);
    }
    for object in [place, mapping] {
        release.node.cluster.apply(&object.to_string(), &[]).expect_ok();
    }
    let (name, user) = (format!("{source}-ada@corp.example"), format!("oidc:{source}-ada@corp.example"));
    let ada = provider.user(&name).await;
    let group = provider.group(namespace, &[&ada]).await;
    for allowed in [true, false] {
        if !allowed {
            provider.active(&ada, false).await;
        }
        let seen = || async { may(&release.client, &user, verb, namespace).await == allowed };
        let seen = until(Duration::from_secs(30), seen).await;
        assert!(seen.is_ok(), "{user} never became allowed={allowed}");
    }
    Team { group, ..team }
}

/// Nothing that was acknowledged is lost: not in the directory, and not in what it grants.
pub async fn settled(release: &Release<'_>, report: &mut Report, provider: &Provider, team: &Team, promised: &Promised) {
    let source = team.source;
    let members: BTreeSet<String> = promised.members().map(|user| user.id.clone()).collect();
    let (_, group) = provider.try_get(&format!("/Groups/{}", team.group)).await.expect("an answer");
    let listed: BTreeSet<String> = group["members"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|m| m["value"].as_str().map(str::to_owned))
        .collect();
    let lost: Vec<String> = members.difference(&listed).cloned().collect();
    report.list(&format!("{source}: {} members acknowledged; lost", members.len()), &lost);
    let mut wrong = Vec::new();
    for user in &promised.users {
        let (status, answer) = provider.try_get(&format!("/Users/{}", user.id)).await.expect("an answer");
        if status != 200 || answer["active"] != json!(user.revoked.is_none()) {
            wrong.push(format!("{}: {status} {answer}", user.name));
        }
    }
    report.list(
        &format!("{source}: {} users acknowledged; not as acknowledged", promised.users.len()),
        &wrong,
    );

    let entitled: BTreeSet<String> = promised.members().map(|user| user.name.clone()).collect();
    let granted = || async { watcher::subjects(release, team).await == entitled };
    let same = until(Duration::from_secs(30), granted).await.is_ok();
    report.check(
        &format!("{source}: exactly the {} that are entitled have access", entitled.len()),
        same,
    );
}
