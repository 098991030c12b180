//! The plugin `kubectl-rolecall`: its arguments and verbs, with the caller's own rights. What it prints is computed in `status`, `plan`, `holds` and `adopt`
//! and laid out in `text` and `adopt_text`, without a client; `read` reads, `write` writes an approval or deletes a binding that ours cover, and `uninstall`
//! ends an installation.

mod adopt;
#[cfg(test)]
mod adopt_tests;
mod adopt_text;
mod holds;
mod plan;
mod read;
mod status;
#[cfg(test)]
mod tests;
mod text;
mod uninstall;
mod write;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use jiff::Timestamp;
use kube::Client;
use serde::Serialize;

use crate::access::ledger::On;
use adopt::Verdict;
use holds::Holds;
pub use read::Error;
use uninstall::Fate;

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
    Status(Reading),
    /// Who would get and lose what by mappings, with the why of each; nothing is written.
    ///
    /// By the mappings of a file as if they were applied, by those that are named, or by all of them: what waits because of `mode: Plan` or `suspend`
    /// is shown with its reason. It is computed as the controller computes it, but does not look at what else may hold grants: an admission policy that
    /// is missing, a journal that is lost. It needs `get` on journals and segments and `list` on ConfigMaps in Rolecall's own namespace (or
    /// --access-policy), and `list` on Namespaces, RoleBindings, ScimSources and the mappings. The exit code is 0 when nothing would change, 1 when
    /// something would, 2 when it cannot be said.
    Plan(PlanArgs),
    /// What waits for an approval: removals, because more people would lose access within an hour than `spec.limits` allow, and groups that are new to a
    /// mapping with `newGroups: Approve`.
    ///
    /// It needs `get` on journals and segments in Rolecall's own namespace.
    Holds(HoldsArgs),
    /// Releases what waits of a mapping, or of a source's people: shows it, asks, and writes the annotation `rolecall.dev/approve`.
    ///
    /// What comes to wait after that is not released. It needs what `holds` needs, `patch` on the object, and the verb `approve` on it (the chart's
    /// ClusterRole `<release>-approver`).
    Approve(ApproveArgs),
    /// Removes the bindings that somebody made and that Rolecall's cover: shows them, asks, and deletes them.
    ///
    /// Covered is a RoleBinding, or with -A a ClusterRoleBinding too, of which every subject holds the same role in the same namespace by bindings of
    /// Rolecall's that stand now; both are looked at once more before each deletion. One of which only some subjects do is shown with those that do not,
    /// and stays. So does whatever Helm, Argo CD, Flux, an owner or Kubernetes itself manages, what is in a namespace that the access policy protects, and
    /// what grants to a ServiceAccount.
    ///
    /// It needs `get` on journals and `list` on ConfigMaps in Rolecall's own namespace (or --access-policy), `list` and `get` on RoleBindings and
    /// ClusterRoleBindings, and `delete` on what is removed. The exit code is 0 when everything was removed or there was nothing to remove, 2 when
    /// something could not be removed or it cannot be said; with --dry-run it is 1 when something would be removed.
    Adopt(AdoptArgs),
    /// Ends an installation whose chart was uninstalled: what it granted stays as bindings that nobody manages (--keep) or is deleted (--revoke), and its
    /// mappings, sources, journals and segments are deleted. It shows what there is, and asks.
    ///
    /// `helm uninstall` alone takes no access away: bindings, mappings, sources and journals stay, and a new installation goes on with them. This is for
    /// whoever wants no more of it. It refuses while a controller holds the Lease, as that would grant again. It needs `list` on everything that it names,
    /// `patch` or `delete` on bindings, and `delete` on the rest. The exit code is 0 when all is done, 1 when something could not be done; with --dry-run
    /// nothing is.
    Uninstall(UninstallArgs),
}

#[derive(Args)]
#[command(group = clap::ArgGroup::new("fate").required(true).args(["keep", "revoke"]))]
struct UninstallArgs {
    /// The bindings stay; Rolecall's labels are taken off them, so that no later installation takes them for its own.
    #[arg(long)]
    keep: bool,
    /// The bindings are deleted.
    #[arg(long)]
    revoke: bool,
    /// The class of the installation: the chart's value `class`.
    #[arg(long, default_value = "")]
    class: String,
    /// Its own namespace.
    #[arg(long, env = "ROLECALL_NAMESPACE", default_value = "rolecall")]
    system_namespace: String,
    /// The context of the kubeconfig.
    #[arg(long)]
    context: Option<String>,
    /// Shows what would be done, and does nothing.
    #[arg(long, conflicts_with = "yes")]
    dry_run: bool,
    /// Asks nobody.
    #[arg(short, long)]
    yes: bool,
}

#[derive(Args)]
struct AdoptArgs {
    /// Shows what would be removed, and removes nothing.
    #[arg(long, conflicts_with = "yes")]
    dry_run: bool,
    /// Asks nobody.
    #[arg(short, long)]
    yes: bool,
    /// The access policy, if it cannot be read from the chart's ConfigMap.
    #[arg(long)]
    access_policy: Option<PathBuf>,
    #[command(flatten)]
    reading: Reading,
}

#[derive(Args)]
struct HoldsArgs {
    /// Mappings or sources: `ClusterRoleMapping/<name>`, `RoleMapping/<name>`, `RoleMapping/<namespace>/<name>`, `ScimSource/<name>`; none: everything.
    objects: Vec<String>,
    #[command(flatten)]
    reading: Reading,
}

#[derive(Args)]
struct ApproveArgs {
    /// The mapping or source, as for `holds`.
    object: String,
    /// Asks nobody.
    #[arg(short, long)]
    yes: bool,
    #[command(flatten)]
    reading: Reading,
}

#[derive(Args)]
struct PlanArgs {
    /// Mappings: `ClusterRoleMapping/<name>`, `RoleMapping/<name>` or `RoleMapping/<namespace>/<name>`; none: those of the namespace (-A:
    /// of all) and all ClusterRoleMappings.
    mappings: Vec<String>,
    /// RoleMappings and ClusterRoleMappings in YAML or JSON, as `kubectl apply` takes them; `-`: standard input.
    #[arg(short, long, conflicts_with = "mappings")]
    filename: Option<PathBuf>,
    /// The access policy, if it cannot be read from the chart's ConfigMap.
    #[arg(long)]
    access_policy: Option<PathBuf>,
    #[command(flatten)]
    reading: Reading,
}

#[derive(Args)]
struct Reading {
    /// RoleMappings (`adopt`: RoleBindings) of this namespace; otherwise of the context's. Sources and ClusterRoleMappings are shown in any case.
    #[arg(short, long)]
    namespace: Option<String>,
    /// RoleMappings (`adopt`: RoleBindings, and ClusterRoleBindings) of all namespaces.
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

/// What a verb has to say.
pub struct Said {
    /// For standard output.
    pub text: String,
    /// The process's exit code.
    pub code: u8,
}

impl Cli {
    /// The exit code of an error: a plan and an adoption have their own, as 1 is one of their answers.
    pub fn failure(&self) -> u8 {
        match self.verb {
            Verb::Status(_) | Verb::Holds(_) | Verb::Approve(_) | Verb::Uninstall(_) => 1,
            Verb::Plan(_) | Verb::Adopt(_) => 2,
        }
    }
}

/// Runs the verb.
///
/// # Errors
/// When the API server does not answer, or the caller may not see what is needed.
pub async fn run(cli: Cli) -> Result<Said, Error> {
    let now = Timestamp::now();
    match cli.verb {
        Verb::Status(reading) => {
            let client = read::connect(reading.context.as_deref()).await?;
            let world = read::world(&client, reading.scope(), &reading.system_namespace).await?;
            let report = status::report(&world);
            let text = reading.output.print(&report, || text::render(&report, now))?;
            Ok(Said { text, code: 0 })
        }
        Verb::Holds(args) => {
            let (_, holds) = held(&args.objects, &args.reading).await?;
            let text = args.reading.output.print(&holds, || text::holds(&holds))?;
            Ok(Said { text, code: 0 })
        }
        Verb::Approve(args) => approve(args).await,
        Verb::Adopt(args) => adopt(args).await,
        Verb::Uninstall(args) => uninstall(args).await,
        Verb::Plan(args) => {
            let client = read::connect(args.reading.context.as_deref()).await?;
            let namespace = args
                .reading
                .namespace
                .clone()
                .unwrap_or_else(|| client.default_namespace().to_owned());
            let asked = args.filename.as_deref().map(|path| read::mappings(path, &namespace)).transpose()?;
            let named = args
                .mappings
                .iter()
                .find_map(|name| Some(name.split_once('/')?.1.split_once('/')?.0.to_owned()));
            let scope = named.map_or_else(|| args.reading.scope(), read::Scope::Namespace);
            let world = read::world(&client, scope, &args.reading.system_namespace).await?;
            if args.mappings.is_empty() && asked.is_none() && !world.complete {
                let notes = world.notes.join("; ");
                return Err(Error::Plan(format!(
                    "not all mappings can be read: {notes}; name those that you mean"
                )));
            }
            let asked = match asked {
                Some(asked) => asked,
                None => plan::named(&world, &args.mappings, &namespace).map_err(Error::Plan)?,
            };
            let policy = read::policy(&client, &world, args.access_policy.as_deref()).await?;
            let observed = read::bindings(&client).await?;
            let plan = plan::plan(&world, &asked, &policy, &observed, now).map_err(Error::Plan)?;
            let text = args.reading.output.print(&plan, || text::plan(&plan))?;
            let code = if plan.refused() { 2 } else { u8::from(plan.changes()) };
            Ok(Said { text, code })
        }
    }
}

/// What waits of these objects.
async fn held(objects: &[String], reading: &Reading) -> Result<(Client, Holds), Error> {
    let client = read::connect(reading.context.as_deref()).await?;
    let namespace = reading.namespace.as_deref().unwrap_or(client.default_namespace());
    let asked: Result<Vec<On>, String> = objects.iter().map(|name| holds::on(name, namespace)).collect();
    let asked = asked.map_err(Error::Plan)?;
    let world = read::world(&client, reading.scope(), &reading.system_namespace).await?;
    let holds = holds::holds(&world, &asked).map_err(Error::Plan)?;
    Ok((client, holds))
}

async fn approve(args: ApproveArgs) -> Result<Said, Error> {
    let (client, holds) = held(std::slice::from_ref(&args.object), &args.reading).await?;
    let namespace = args.reading.namespace.as_deref().unwrap_or(client.default_namespace());
    let on = holds::on(&args.object, namespace).map_err(Error::Plan)?;
    let said = |text: String| Ok(Said { text, code: 0 });
    let Some(newest) = holds.newest() else {
        return said(text::holds(&holds));
    };
    if !args.yes && !read::confirm(&format!("{}\nRelease all of this? [y/N] ", text::holds(&holds)))? {
        return said("Nothing is released.".to_owned());
    }
    write::approve(&client, &on, newest).await?;
    let several = |n: usize, one, many| text::several(i64::try_from(n).unwrap_or(i64::MAX), one, many);
    let what = match (holds.removals.len(), holds.groups.len()) {
        (removals, 0) => several(removals, "removal", "removals"),
        (0, groups) => several(groups, "group", "groups"),
        (removals, groups) => format!(
            "{} and {}",
            several(removals, "removal", "removals"),
            several(groups, "group", "groups")
        ),
    };
    said(format!("{what} approved, up to record {newest}."))
}

async fn adopt(args: AdoptArgs) -> Result<Said, Error> {
    let reading = &args.reading;
    let client = read::connect(reading.context.as_deref()).await?;
    let world = read::installations(&client, &reading.system_namespace).await?;
    let policy = read::policy(&client, &world, args.access_policy.as_deref()).await?;
    let journals: Vec<String> = world.installations.into_iter().map(|one| one.id).collect();
    let (standing, notes) = read::standing(&client, reading.scope().namespace(&client).as_deref()).await?;
    let mut adoption = adopt::adoption(&standing, &journals, &policy);
    adoption.notes = notes;
    let list = adopt_text::list(&adoption);
    if args.dry_run || adoption.removable() == 0 {
        let code = u8::from(adoption.removable() > 0);
        let text = reading.output.print(&adoption, || list)?;
        return Ok(Said { text, code });
    }
    if !args.yes && !read::confirm(&format!("{list}\nRemove what is marked with -? [y/N] "))? {
        let text = reading.output.print(&adoption, || "Nothing is removed.".to_owned())?;
        return Ok(Said { text, code: 0 });
    }
    for found in &mut adoption.bindings {
        if found.verdict == Verdict::Covered {
            found.outcome = Some(write::remove(&client, found, &journals, &policy).await);
        }
    }
    // who was asked has seen the list
    let shown = if args.yes { list } else { String::new() };
    let text = reading.output.print(&adoption, || shown + &adopt_text::outcomes(&adoption))?;
    let code = if adoption.failed() { 2 } else { 0 };
    Ok(Said { text, code })
}

async fn uninstall(args: UninstallArgs) -> Result<Said, Error> {
    let client = read::connect(args.context.as_deref()).await?;
    let of = uninstall::Of {
        class: &args.class,
        namespace: &args.system_namespace,
    };
    let fate = if args.keep { Fate::Keep } else { Fate::Revoke };
    let found = uninstall::find(&client, &of).await?;
    let said = |text: String, code| Ok(Said { text, code });
    let plan = found.plan(fate);
    if found.is_empty() {
        return said(
            format!("There is nothing of class {:?} in namespace {}.", args.class, args.system_namespace),
            0,
        );
    }
    if args.dry_run {
        return said(plan, 0);
    }
    if !args.yes && !read::confirm(&format!("{plan}Do this? [y/N] "))? {
        return said("Nothing is done.".to_owned(), 0);
    }
    let (failed, left) = found.end(&client, &of, fate).await;
    let code = u8::from(!failed.is_empty());
    let failed: String = failed.iter().map(|line| format!("{line}\n")).collect();
    let shown = if args.yes { plan } else { String::new() };
    said(format!("{shown}{failed}{left}"), code)
}

impl Reading {
    fn scope(&self) -> read::Scope {
        match (self.all_namespaces, &self.namespace) {
            (true, _) => read::Scope::All,
            (false, Some(namespace)) => read::Scope::Namespace(namespace.clone()),
            (false, None) => read::Scope::Default,
        }
    }
}

impl Output {
    fn print(self, report: &impl Serialize, text: impl FnOnce() -> String) -> Result<String, Error> {
        match self {
            Self::Text => Ok(text()),
            Self::Json => serde_json::to_string_pretty(report).map_err(Error::Print),
        }
    }
}
