//! The plugin `kubectl-rolecall`: its arguments and verbs. It reads with the caller's own rights and writes nothing. What it prints is computed in
//! `status` and laid out in `text`, without a client; `read` is the only edge.

mod read;
mod status;
#[cfg(test)]
mod tests;
mod text;

use clap::{Args, Parser, Subcommand, ValueEnum};
use jiff::Timestamp;

pub use read::Error;

/// Who has which access by Rolecall, and from where.
#[derive(Parser)]
#[command(name = "kubectl-rolecall", bin_name = "kubectl rolecall", version, about, propagate_version = true)]
pub struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Each source with its groups, and each mapping with whom it grants what.
    ///
    /// People are read from the journals, and need `get` on journals and segments in Rolecall's own namespace. Without it, this shows what the
    /// statuses hold, and says so.
    Status(StatusArgs),
}

#[derive(Args)]
struct StatusArgs {
    /// RoleMappings of this namespace; otherwise of the context's. Sources and ClusterRoleMappings are shown in any case.
    #[arg(short, long)]
    namespace: Option<String>,
    /// RoleMappings of all namespaces.
    #[arg(short = 'A', long, conflicts_with = "namespace")]
    all_namespaces: bool,
    /// The context of the kubeconfig.
    #[arg(long)]
    context: Option<String>,
    /// Rolecall's own namespace, if journals cannot be listed in all of them.
    #[arg(long, env = "ROLECALL_NAMESPACE", default_value = "rolecall")]
    system_namespace: String,
    /// How it is printed. `json` holds everything; `text` leaves out what is long.
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

#[derive(Clone, Copy, Default, ValueEnum)]
enum Output {
    #[default]
    Text,
    Json,
}

/// Runs the verb; the text to print.
///
/// # Errors
/// When the API server does not answer, or the caller may see nothing at all.
pub async fn run(cli: Cli) -> Result<String, Error> {
    let Verb::Status(args) = cli.verb;
    let scope = match (args.all_namespaces, args.namespace) {
        (true, _) => read::Scope::All,
        (false, Some(namespace)) => read::Scope::Namespace(namespace),
        (false, None) => read::Scope::Default,
    };
    let world = read::world(args.context.as_deref(), scope, &args.system_namespace).await?;
    let report = status::report(&world);
    match args.output {
        Output::Text => Ok(text::render(&report, Timestamp::now())),
        Output::Json => serde_json::to_string_pretty(&report).map_err(Error::Print),
    }
}
