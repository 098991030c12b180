//! `make demo`: a real control plane, the chart, and what Okta and Entra ID really send; after each step the API server says who may do what.
//! Every line that it prints was checked: a wrong answer ends it with exit code 1.
//!
//! `CONTEXT=name` uses that context of the user's kubeconfig, and removes at the end what it made. `KEEP=1` stays up until Ctrl-C.

#[path = "../it/cluster.rs"]
mod cluster;
mod context;
#[path = "../it/install.rs"]
mod install;
mod keep;
mod play;
#[path = "../it/provider.rs"]
mod provider;
mod replay;
mod screen;
mod story;
#[path = "../it/system.rs"]
mod system;

use std::panic::AssertUnwindSafe;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use futures::FutureExt;
use tokio::signal::unix::{SignalKind, signal};

use crate::cluster::{Cluster, programs};
use crate::install::Install;
use crate::play::Measured;
use crate::replay::Replay;
use crate::screen::Screen;
use crate::system::{Provider, System, free_port, program, until};

/// Where the demo installs Rolecall: as README says.
pub const NAMESPACE: &str = "rolecall";
/// The namespaces that it makes.
pub const PLACES: [&str; 3] = ["backend", "payments", "payments-audit"];
const PREFIXES: &str = r#"accessPolicy.usernamePrefixes=["oidc:","entra:"]"#;

#[tokio::main]
async fn main() -> ExitCode {
    let set = |name: &str| std::env::var(name).ok().filter(|v| !v.is_empty() && v != "0");
    let (context, keep) = (set("CONTEXT"), set("KEEP").is_some());
    let screen = Screen::new();
    let begun = Instant::now();
    let interrupt = interrupted();
    std::panic::set_hook(Box::new(|info| eprintln!("\nThe demo failed: {info}"))); // a fixture's assertion; the stack is of no interest
    let outcome = match AssertUnwindSafe(start(context.as_deref(), &screen)).catch_unwind().await {
        Err(_) => Outcome::Failed,
        Ok(Err(why)) => failed(&why),
        Ok(Ok(cluster)) => {
            let outcome = tokio::select! {
                ran = AssertUnwindSafe(run(&cluster, &screen, keep)).catch_unwind() => match ran {
                    Ok(Ok(())) => Outcome::Ended,
                    Ok(Err(why)) => failed(&why),
                    Err(_) => Outcome::Failed, // a fixture's assertion has said why
                },
                () = interrupt => Outcome::Interrupted,
            };
            if context.is_some() {
                context::clean(&cluster, &screen).await;
            }
            outcome
        }
    };
    match outcome {
        Outcome::Ended => {
            println!("\nDone in {:.0} s.", begun.elapsed().as_secs_f64());
            ExitCode::SUCCESS
        }
        Outcome::Interrupted if keep => ExitCode::SUCCESS,
        Outcome::Interrupted => ExitCode::from(130),
        Outcome::Failed => ExitCode::FAILURE,
    }
}

enum Outcome {
    Ended,
    Interrupted,
    Failed,
}

fn failed(why: &str) -> Outcome {
    eprintln!("\nThe demo failed: {why}");
    Outcome::Failed
}

// SIGINT and SIGTERM are taken from now on, so that what was started is ended.
fn interrupted() -> impl Future<Output = ()> {
    let (mut int, mut term) = (
        signal(SignalKind::interrupt()).expect("signals"),
        signal(SignalKind::terminate()).expect("signals"),
    );
    async move {
        tokio::select! {
            _ = int.recv() => {}
            _ = term.recv() => {}
        }
    }
}

async fn start(context: Option<&str>, screen: &Screen) -> Result<Cluster, String> {
    screen.title("A control plane");
    let cluster = match context {
        Some(context) => {
            let cluster = Cluster::existing(context)?;
            context::check(&cluster, context)?;
            cluster
        }
        None => {
            programs(); // the first time this builds, and says so
            // `KEEP` is meant for us: run.sh would keep its folder for good.
            let start = async { Cluster::own_with(&[("KEEP", "")]) };
            screen.step("starts etcd, kube-apiserver and its controllers", start).await
        }
    };
    let version = cluster
        .admin()
        .await
        .apiserver_version()
        .await
        .map_err(|e| format!("the API server does not answer: {e}"))?;
    screen.line(&format!("Kubernetes {} at {}", version.git_version, cluster.url()));
    Ok(cluster)
}

async fn run(cluster: &Cluster, screen: &Screen, keep: bool) -> Result<(), String> {
    screen.title("Rolecall, as README says");
    screen.command(&format!(
        "helm install rolecall charts/rolecall -n {NAMESPACE} --create-namespace \\"
    ));
    screen.line(&format!("      --set-json '{PREFIXES}'"));
    let install = Install {
        release: "rolecall",
        namespace: NAMESPACE,
        class: "",
        crds: true,
        values: vec![PREFIXES.to_owned(), "crds.keep=false".to_owned()],
    };
    let system = screen
        .step("installs the chart, waits for its policies", System::with(cluster, install))
        .await;
    let tokens = ["okta", "entra"].map(|source| secret(cluster, screen, source));
    samples(cluster, screen);

    let processes = async {
        let port = free_port();
        let public = format!("--public-url=http://127.0.0.1:{port}");
        // The controller makes the journals; before that no gateway is ready.
        let controller = system.controller_with(&[&public], None);
        (controller, system.gateway_at(port).await)
    };
    let (controller, gateway) = screen.step("starts gateway and controller, by their tokens", processes).await;
    let provider = |source: &str, token: &String| Provider {
        http: system.http.clone(),
        base: format!("{}/scim/v2/{source}", gateway.url),
        token: token.clone(),
    };
    let (okta, entra) = (provider("okta", &tokens[0]), provider("entra", &tokens[1]));
    let serving = async {
        for provider in [&okta, &entra] {
            let served = || async { provider.try_get("/Users?count=0").await.is_ok_and(|(status, _)| status == 200) };
            until(Duration::from_secs(30), served)
                .await
                .map_err(|()| format!("{} is not served\n{}", provider.base, system.explain()))?;
        }
        Ok::<_, String>(())
    };
    screen.step("waits for the gateway to serve both sources", serving).await?;

    let mut measured = Measured::default();
    for (provider, story) in [(okta, story::okta()), (entra, story::entra())] {
        let mut replay = Replay::new(provider);
        play::play(&system, screen, &story, &mut replay, &mut measured).await?;
    }
    play::parts(&system, screen, &mut measured)?;
    shows(&system, screen).await?;
    println!("\n{measured}");
    if keep {
        keep::explain(&system, &gateway, &controller);
        std::future::pending::<()>().await;
    }
    Ok(())
}

/// What an admin sees afterwards: without a name in it, and with the right to the journals. Statuses and outcomes are written within a second.
async fn shows(system: &System<'_>, screen: &Screen) -> Result<(), String> {
    let mappings = [
        ("rolemapping", Some("backend"), "backend-view"),
        ("clusterrolemapping", None, "payments-edit"),
        ("clusterrolemapping", None, "payments-audit"),
    ];
    let settled = || async {
        let said = plugin(system);
        let all = mappings
            .iter()
            .all(|(kind, namespace, name)| system.status(kind, *namespace, name)["people"] == 1);
        all && !said.contains("under way")
            && ["oidc:grace.okta@example.com", "entra:jyoung@contoso.example"]
                .iter()
                .all(|who| said.contains(who))
    };
    screen.title("What kubectl shows");
    let seen = screen
        .step("waits for statuses and records", until(Duration::from_secs(10), settled))
        .await;
    screen.command("kubectl get rolecall -A");
    screen.text(&system.cluster.kubectl(&["get", "rolecall", "-A"]).expect_ok());
    screen.command("kubectl rolecall status -A");
    screen.text(&plugin(system));
    seen.map_err(|()| "neither the statuses nor kubectl rolecall status show who has access".to_owned())
}

/// What the plugin says, or why it says nothing.
fn plugin(system: &System<'_>) -> String {
    let ran = std::process::Command::new(program().with_file_name("kubectl-rolecall"))
        .args(["status", "-A"])
        .env("KUBECONFIG", system.cluster.kubeconfig())
        .output();
    match ran {
        Ok(output) if output.status.success() => String::from_utf8_lossy(&output.stdout).into_owned(),
        Ok(output) => String::from_utf8_lossy(&output.stderr).into_owned(),
        Err(error) => format!("kubectl-rolecall: {error}"),
    }
}

/// A provider's token in a Secret; the token.
fn secret(cluster: &Cluster, screen: &Screen, source: &str) -> String {
    let token = format!("{}{}", uuid::Uuid::new_v4().simple(), uuid::Uuid::new_v4().simple());
    screen.command(&format!(
        "kubectl -n {NAMESPACE} create secret generic {source}-token --from-literal=token=\"$(openssl rand -base64 32)\""
    ));
    let literal = format!("--from-literal=token={token}");
    cluster
        .kubectl(&["-n", NAMESPACE, "create", "secret", "generic", &format!("{source}-token"), &literal])
        .expect_ok();
    token
}

/// Namespaces and samples, as an admin would make them.
fn samples(cluster: &Cluster, screen: &Screen) {
    let run = |command: &str| {
        screen.command(&format!("kubectl {command}"));
        let root = cluster::root().display().to_string();
        let command = command.replace("docs/samples", &format!("{root}/docs/samples"));
        cluster.kubectl(&command.split(' ').collect::<Vec<_>>()).expect_ok();
    };
    for place in PLACES {
        run(&format!("create namespace {place}"));
    }
    run("label namespace payments team=payments");
    run("apply -f docs/samples");
}
