//! The server binary: arguments, logs, and which part to run. Nothing is decided here.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use rolecall::ops::metrics::Requests;
use rolecall::ops::{client, selfcheck, shutdown, telemetry};
use rolecall::{controller, gateway};

/// A busy gateway spends a fifth of its time in glibc's allocator; the static image's would be slower still.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Kubernetes access that follows the company directory.
#[derive(Parser)]
#[command(name = "rolecall", version, about, propagate_version = true)]
struct Cli {
    /// How log lines look.
    #[arg(long, global = true, env = "ROLECALL_LOG_FORMAT", value_enum, default_value_t)]
    log_format: telemetry::Format,
    /// Which log lines, such as `info` or `rolecall=debug,info`.
    #[arg(long, global = true, env = "ROLECALL_LOG", default_value = "info")]
    log: String,
    #[command(subcommand)]
    part: Part,
}

#[derive(Subcommand)]
enum Part {
    /// Serves SCIM 2.0 to identity providers and appends what it learns to the directory journal. It cannot grant anything.
    Gateway(gateway::Args),
    /// Turns the directory into RoleBindings, and writes the access journal and every status. It serves health and metrics only.
    Controller(controller::Args),
    /// Asks a gateway without a token whether it is one: for `helm test`.
    Selfcheck(selfcheck::Args),
    /// Writes the CustomResourceDefinitions, one file a kind.
    Crds {
        /// Into this folder.
        #[arg(long, default_value = "crds")]
        dir: PathBuf,
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    let Cli { log_format, log, part } = Cli::parse();
    telemetry::init(log_format, &log);
    let _ = rustls::crypto::ring::default_provider().install_default();
    match run(part).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = chain(error.as_ref()), "ended");
            ExitCode::FAILURE
        }
    }
}

async fn run(part: Part) -> Result<(), Box<dyn std::error::Error>> {
    let requests = Requests::default();
    match part {
        Part::Crds { dir } => {
            for (name, yaml) in rolecall::api::crds::all() {
                std::fs::write(dir.join(name), yaml)?;
            }
            Ok(())
        }
        Part::Selfcheck(args) => {
            println!("{}", selfcheck::run(&args).await?);
            Ok(())
        }
        Part::Gateway(args) => Ok(gateway::main(args, client::connect(None, &requests).await?, shutdown::listen()?, &requests).await?),
        Part::Controller(args) => {
            Ok(controller::main(args, client::connect(None, &requests).await?, shutdown::listen()?, &requests).await?)
        }
    }
}

/// An error with its sources, on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(next) = source {
        text.push_str(": ");
        text.push_str(&next.to_string());
        source = next.source();
    }
    text
}
