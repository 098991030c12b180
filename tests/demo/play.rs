//! Plays a provider's story: sends its requests, measures how soon the API server's answers follow, and asks kubectl whether they are right.

use std::fmt;
use std::time::{Duration, Instant};

use futures::future::try_join_all;
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use kube::{Api, Client};

use crate::cluster::Cluster;
use crate::replay::{Replay, load};
use crate::screen::{Screen, millis};
use crate::story::{Column, Scene, Story};
use crate::system::System;

const PATIENCE: Duration = Duration::from_secs(10);
const WATCH: Duration = Duration::from_millis(200);

/// What was sent, checked and measured.
#[derive(Default)]
pub struct Measured {
    requests: usize,
    checked: usize,
    changes: Vec<Duration>,
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut sorted = self.changes.clone();
        sorted.sort();
        let worst = sorted.last().copied().unwrap_or_default();
        let median = sorted.get(sorted.len() / 2).copied().unwrap_or_default();
        let (requests, checked, changes) = (self.requests, self.checked, sorted.len());
        writeln!(
            f,
            "{requests} of {requests} SCIM requests were answered as the provider expects; {checked} of {checked} answers of kubectl were right."
        )?;
        let (median, worst) = (millis(median), millis(worst));
        write!(
            f,
            "{changes} changes of access, from the SCIM answer to the SubjectAccessReview: median {}, worst {}.",
            median.trim(),
            worst.trim()
        )
    }
}

/// Plays all of it.
pub async fn play(system: &System<'_>, screen: &Screen, story: &Story, replay: &mut Replay, measured: &mut Measured) -> Result<(), String> {
    screen.title(story.title);
    let width = story.columns.iter().map(|c| c.head.len()).max().unwrap_or_default();
    for column in story.columns {
        screen.line(&format!("{:<width$}  kubectl {}", column.head, column.arguments().join(" ")));
    }
    screen.head(&story.columns.iter().map(|c| c.head).collect::<Vec<_>>());
    let mut now = vec![false; story.columns.len()];
    for (scene, steps) in story.scenes.iter().zip(story.steps(load(story.name)?)?) {
        let mut answer = None;
        let mut changed = Vec::new();
        let last = steps.len() - 1;
        for (n, step) in steps.iter().enumerate() {
            let answered = replay.send(step).await?;
            if n == last {
                changed = follow(system, story.columns, scene, &now, answered.at)
                    .await
                    .map_err(|why| format!("{why}\n{}", system.explain()))?;
                answer = Some((answered.status, answered.took));
            }
            replay.check_after(step).await?;
        }
        ask_kubectl(system.cluster, story.columns, scene.then).map_err(|why| format!("{}: {why}\n{}", scene.says, system.explain()))?;
        measured.checked += story.columns.len();
        measured.changes.extend(changed.iter().flatten());
        now = scene.then.to_vec();
        let cells: Vec<_> = now.iter().copied().zip(changed).collect();
        screen.row(scene.says, answer, &cells);
    }
    measured.requests += replay.requests;
    Ok(())
}

/// What the two parts may do themselves: the gateway, which faces the Internet, grants nothing; the controller, not everything.
pub fn parts(system: &System<'_>, screen: &Screen, measured: &mut Measured) -> Result<(), String> {
    screen.title("The parts themselves");
    let account = |part: &str| {
        format!(
            "system:serviceaccount:{}:{}-{part}",
            system.installed.namespace, system.installed.fullname
        )
    };
    let questions = [
        (account("gateway"), "create rolebindings", "no"),
        (account("gateway"), "list secrets", "no"),
        (account("controller"), "bind clusterroles/view", "yes"),
        (account("controller"), "bind clusterroles/cluster-admin", "no"),
        (account("controller"), "get secrets", "no"),
    ];
    for (who, what, expected) in questions {
        let arguments = format!("auth can-i {what} -n backend --as {who}");
        let said = system.cluster.kubectl(&arguments.split(' ').collect::<Vec<_>>());
        let word = said.stdout.trim().to_owned();
        if word != expected {
            return Err(format!("kubectl {arguments}: {word}{}, expected {expected}", said.stderr));
        }
        screen.line(&format!("{word:<4} kubectl {arguments}"));
        measured.checked += 1;
    }
    Ok(())
}

impl Column {
    fn arguments(&self) -> [&'static str; 8] {
        ["auth", "can-i", self.verb, "pods", "-n", self.namespace, "--as", self.user]
    }

    async fn allowed(&self, client: &Client) -> Result<bool, String> {
        let reviews: Api<SubjectAccessReview> = Api::all(client.clone());
        let review = SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                user: Some(self.user.to_owned()),
                resource_attributes: Some(ResourceAttributes {
                    namespace: Some(self.namespace.to_owned()),
                    verb: Some(self.verb.to_owned()),
                    resource: Some("pods".to_owned()),
                    ..Default::default()
                }),
                ..Default::default()
            },
            ..Default::default()
        };
        let answer = reviews
            .create(&Default::default(), &review)
            .await
            .map_err(|e| format!("SubjectAccessReview: {e}"))?;
        Ok(answer.status.is_some_and(|s| s.allowed))
    }
}

/// Waits for what is to change; how long each took since the SCIM answer. Where nothing is to change, nothing may for a while.
async fn follow(
    system: &System<'_>,
    columns: &[Column],
    scene: &Scene,
    before: &[bool],
    answered: Instant,
) -> Result<Vec<Option<Duration>>, String> {
    let quiet = scene.then == before;
    try_join_all(
        columns
            .iter()
            .zip(scene.then.iter().zip(before))
            .map(|(column, (&after, &before))| async move {
                loop {
                    let allowed = column.allowed(&system.admin).await?;
                    let since = answered.elapsed();
                    if quiet {
                        if allowed != after {
                            return Err(format!(
                                "{}: {} became {allowed}, and nothing was to change",
                                scene.says, column.head
                            ));
                        }
                        if since > WATCH {
                            return Ok(None);
                        }
                    } else if allowed == after {
                        return Ok((after != before).then_some(since));
                    }
                    if since > PATIENCE {
                        return Err(format!(
                            "{}: {} did not become {after} within {} s",
                            scene.says,
                            column.head,
                            PATIENCE.as_secs()
                        ));
                    }
                    tokio::time::sleep(Duration::from_micros(200)).await;
                }
            }),
    )
    .await
}

/// The same questions, by `kubectl auth can-i --as`.
fn ask_kubectl(cluster: &Cluster, columns: &[Column], expected: &[bool]) -> Result<(), String> {
    let said = std::thread::scope(|scope| {
        let asked: Vec<_> = columns.iter().map(|c| scope.spawn(|| cluster.kubectl(&c.arguments()))).collect();
        asked.into_iter().map(|thread| thread.join().expect("kubectl")).collect::<Vec<_>>()
    });
    for ((column, said), &expected) in columns.iter().zip(said).zip(expected) {
        let expected = if expected { "yes" } else { "no" };
        if said.stdout.trim() != expected {
            let arguments = column.arguments().join(" ");
            return Err(format!(
                "kubectl {arguments}: {}{}, expected {expected}",
                said.stdout.trim(),
                said.stderr
            ));
        }
    }
    Ok(())
}
