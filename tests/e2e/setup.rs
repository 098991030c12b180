//! What an admin does once it is installed, and what has to be so before and after anything breaks.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use crate::load::Promised;
use crate::provider::Provider;
use crate::release::{CONNECTIONS, Release};
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

impl Team {
    /// Whether somebody of its source may do there what the role allows.
    pub async fn allows(&self, release: &Release<'_>, person: &str) -> bool {
        may(&release.client, &username(self.source, person), self.verb, self.namespace).await
    }

    /// Waits until that is so, or not so.
    pub async fn until_allows(&self, release: &Release<'_>, person: &str, allowed: bool) -> bool {
        let so = || async { self.allows(release, person).await == allowed };
        until(Duration::from_secs(30), so).await.is_ok()
    }

    /// Somebody new becomes a member, and is disabled; whether access followed both times.
    pub async fn follows(&self, release: &Release<'_>, provider: &Provider, person: &str) -> bool {
        let id = provider.user(&user_name(person)).await;
        provider.add(&self.group, &id).await;
        let came = self.until_allows(release, person, true).await;
        provider.active(&id, false).await;
        came && self.until_allows(release, person, false).await
    }
}

/// By what a provider knows a person: people of two sources may have the same.
pub fn user_name(person: &str) -> String {
    format!("{person}@corp.example")
}

/// By what the API server knows a person of a source.
pub fn username(source: &str, person: &str) -> String {
    format!("{source}:{}", user_name(person))
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
    let provider = release.provider(name, &token);
    answers(release, &provider, 200).await.expect("the gateway serves the source");
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
        "spec": {"push": {"tokens": tokens}, "subject": {"username": format!("'{name}:' + user.userName")}},
    });
    if !class.is_empty() {
        source["spec"]["class"] = json!(class);
    }
    release.node.cluster.apply(&source.to_string(), &[]).expect_ok();
}

/// Waits until each of the pods answers the provider so.
pub async fn answers(release: &Release<'_>, provider: &Provider, wanted: u16) -> Result<(), ()> {
    until(Duration::from_secs(60), || all_answer(release, provider, wanted)).await
}

/// Whether so many requests in a row are answered so. A connection that is kept stays with one pod, so each request has its own.
async fn all_answer(release: &Release<'_>, provider: &Provider, wanted: u16) -> bool {
    for _ in 0..CONNECTIONS {
        let anew = Provider {
            http: release.http(),
            ..provider.clone()
        };
        let answer = anew.try_get("/Users?count=0").await;
        if !answer.is_ok_and(|(status, _)| status == wanted) {
            return false;
        }
    }
    true
}

/// A namespace, a mapping and a group; that who is in it may do there what the role allows, and may no longer once the provider says so.
pub async fn team(release: &Release<'_>, provider: &Provider, class: &str, team: Team) -> Team {
    let namespace = team.namespace;
    let place = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}});
    let mut mapping = json!({
        "apiVersion": "rolecall.dev/v1alpha1", "kind": "ClusterRoleMapping", "metadata": {"name": namespace},
        "spec": {
            "sources": [team.source],
            "groups": {"names": [namespace]},
            "grants": [{"roleRef": {"kind": "ClusterRole", "name": team.role}, "namespaces": {"names": [namespace]}}],
        },
    });
    if !class.is_empty() {
        mapping["spec"]["class"] = json!(class);
    }
    for object in [place, mapping] {
        release.node.cluster.apply(&object.to_string(), &[]).expect_ok();
    }
    let group = provider.group(namespace, &[]).await;
    let team = Team { group, ..team };
    let follows = team.follows(release, provider, "ada").await;
    assert!(follows, "access in {namespace} does not follow {}", team.source);
    team
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
