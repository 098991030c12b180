//! docs/install.md, docs/operations.md and docs/privacy.md: every command of them is run on a real API server under the documented names, beside a gateway and a
//! controller, and every object of them is taken by it. A table says what is run otherwise, and why. A cluster of its own: the pages delete CRDs, too.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use base64::Engine as _;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use serde_json::json;

use crate::cluster::{Cluster, root};
use crate::install::Install;
use crate::provider::Provider;
use crate::system::{Process, System, program, until};

/// The pages.
const PAGES: [&str; 3] = ["install", "operations", "privacy"];

/// What a command may begin with.
const PROGRAMS: [&str; 7] = ["curl", "grep", "helm", "kubectl", "make", "openssl", "rm"];

/// Its flags are checked, and nothing else: `{}` is the command itself.
const FLAGS: &str = "{} --help";
/// Somebody at a terminal would be asked.
const YES: &str = "{} --yes";

/// What is run in place of a command that begins so, and why.
const OTHERWISE: [(&str, &str, &str); 9] = [
    (
        "make manifests",
        r#""$ROOT/tests/manifests/render.sh" "$PWD/dist""#,
        "into the test's own folder",
    ),
    ("kubectl -n rolecall rollout status ", FLAGS, "waits for pods"),
    ("kubectl -n rolecall logs ", FLAGS, "is about pods"),
    ("kubectl -n rolecall port-forward ", FLAGS, "needs a pod"),
    ("curl ", ":", "asks what port-forward opens; it::metrics asks the same"),
    ("helm test ", FLAGS, "runs a pod"),
    ("kubectl rolecall approve ", YES, "asks"),
    ("kubectl rolecall uninstall --revoke --dry-run", "{}", "asks nobody"),
    ("kubectl rolecall uninstall --revoke", YES, "asks"),
];

/// A fenced block.
struct Block {
    page: &'static str,
    /// The `##` heading above it.
    section: String,
    /// `sh`, `yaml`, or a file: `yaml title="NAME"`.
    info: String,
    text: String,
}

fn text_of(page: &str) -> String {
    fs::read_to_string(root().join(format!("docs/{page}.md"))).expect("a page")
}

fn blocks() -> Vec<Block> {
    let mut found: Vec<Block> = Vec::new();
    for page in PAGES {
        let (mut section, mut open) = (String::new(), false);
        for line in text_of(page).lines() {
            match (line.strip_prefix("```"), open) {
                (Some(info), false) => found.push(Block {
                    page,
                    section: section.clone(),
                    info: info.to_owned(),
                    text: String::new(),
                }),
                (None, true) => found.last_mut().expect("a block").text += &format!("{line}\n"),
                (Some(_), true) => {}
                (None, false) => section = line.strip_prefix("## ").map_or(section, str::to_owned),
            }
            open ^= line.starts_with("```");
        }
    }
    found
}

/// The commands of a block, each on a line.
fn commands(text: &str) -> Vec<String> {
    let whole = text.replace("\\\n", " ");
    let lines = whole.lines().map(str::trim);
    lines
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(str::to_owned)
        .collect()
}

/// Commands within the prose of a page.
fn inline(page: &str) -> BTreeSet<String> {
    let text = text_of(page);
    let prose: String = text.split("```").step_by(2).collect();
    let spans = prose.split('`').skip(1).step_by(2).map(|span| span.replace('\n', " "));
    spans
        .filter(|span| span.starts_with("kubectl ") || span.starts_with("helm "))
        .collect()
}

/// The pages, as somebody follows them.
struct Reader<'a> {
    cluster: &'a Cluster,
    /// Where the files of the pages lie, beside the repository's charts and docs.
    folder: PathBuf,
    blocks: Vec<Block>,
    done: RefCell<BTreeSet<usize>>,
    otherwise: RefCell<BTreeSet<&'static str>>,
    ran: Cell<usize>,
}

impl<'a> Reader<'a> {
    fn new(cluster: &'a Cluster, blocks: Vec<Block>) -> Self {
        let folder = cluster.dir().join("pages");
        fs::create_dir(&folder).expect("a folder");
        for name in ["charts", "docs"] {
            std::os::unix::fs::symlink(root().join(name), folder.join(name)).expect("a link");
        }
        Self {
            cluster,
            folder,
            blocks,
            done: RefCell::default(),
            otherwise: RefCell::default(),
            ran: Cell::default(),
        }
    }

    /// Follows these sections of a page.
    fn follow(&self, page: &str, sections: &[&str]) {
        for section in sections {
            let here = |block: &Block| block.page == page && block.section == *section;
            assert!(self.blocks.iter().any(here), "docs/{page}.md has no blocks under {section:?}");
            self.all(here);
        }
    }

    /// Follows what is left of a page.
    fn rest(&self, page: &str) {
        self.all(|block| block.page == page);
    }

    fn all(&self, these: impl Fn(&Block) -> bool) {
        for (i, block) in self.blocks.iter().enumerate().filter(|(_, block)| these(block)) {
            if self.done.borrow_mut().insert(i) {
                self.block(block);
            }
        }
    }

    fn block(&self, block: &Block) {
        let at = format!("docs/{}.md, {}", block.page, block.section);
        if block.info == "sh" {
            commands(&block.text).iter().for_each(|command| self.command(&at, command));
        } else if let Some(name) = block.info.strip_prefix("yaml title=\"").and_then(|rest| rest.strip_suffix('"')) {
            fs::write(self.folder.join(name), &block.text).expect("a file");
        } else {
            assert_eq!(block.info, "yaml", "{at}: a block of that kind is checked by nobody");
            let taken = self.cluster.apply(&block.text, &["--dry-run=server", "--validate=strict"]);
            assert!(taken.ok, "{at}: {}\n{}", taken.stderr, block.text);
        }
    }

    fn command(&self, at: &str, command: &str) {
        let begins = command.split(' ').next().unwrap_or_default();
        assert!(PROGRAMS.contains(&begins), "{at}: nobody knows how to check {command:?}");
        let otherwise = OTHERWISE.iter().find(|(beginning, ..)| command.starts_with(beginning));
        let script = match otherwise {
            Some((beginning, instead, _)) => {
                self.otherwise.borrow_mut().insert(beginning);
                instead.replace("{}", command)
            }
            None => command.to_owned(),
        };
        self.shell(at, &script);
        self.ran.set(self.ran.get() + 1);
    }

    fn shell(&self, at: &str, script: &str) {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let programs = program();
        let plugin = programs.parent().expect("a folder").to_owned();
        let all = [self.cluster.bin().to_owned(), plugin]
            .into_iter()
            .chain(std::env::split_paths(&path));
        let helm = self.cluster.dir().join("helm");
        let done = Command::new("bash")
            .args(["-euo", "pipefail", "-c", script])
            .current_dir(&self.folder)
            .env("PATH", std::env::join_paths(all).expect("a path"))
            .env("ROOT", root())
            .env("KUBECONFIG", self.cluster.kubeconfig())
            .envs(["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"].map(|name| (name, &helm)))
            .stdin(Stdio::null())
            .output()
            .expect("bash");
        let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (out, err) = (said(&done.stdout), said(&done.stderr));
        assert!(done.status.success(), "{at}: {script}\n{out}{err}");
    }
}

/// The provider, with the token of that Secret.
async fn provider(system: &System<'_>, gateway: &Process, secret: &str) -> Provider {
    let secrets: Api<Secret> = Api::namespaced(system.admin.clone(), "rolecall");
    let data = secrets.get(secret).await.expect("the token's Secret").data.expect("data");
    let provider = Provider {
        http: system.http.clone(),
        base: format!("{}/scim/v2/okta", gateway.url),
        token: String::from_utf8(data["token"].0.clone()).expect("a text"),
    };
    let answered = || async { provider.try_get("/Users?count=0").await.is_ok_and(|(status, _)| status == 200) };
    assert!(until(Duration::from_secs(30), answered).await.is_ok(), "{}", gateway.log());
    provider
}

/// Everybody, as a provider pushes them that begins anew, and that ada may view: the group's id, and bob's.
async fn push(system: &System<'_>, okta: &Provider) -> (String, String) {
    let ada = okta.user("ada@example.com").await;
    let bob = okta.user("bob@example.com").await;
    let group = okta.group("Backend", &[&ada, &bob]).await;
    for person in ["ada", "bob"] {
        let name = format!("oidc:{person}@example.com");
        system.until_may(&name, "list", "backend", true).await;
    }
    (group, bob)
}

/// The configuration that encrypts the journals, as the page has it, with a key: a file for the API server.
fn encryption(blocks: &[Block], path: &Path) -> String {
    let name = "yaml title=\"encryption.yaml\"";
    let block = blocks.iter().find(|block| block.info == name).expect("docs/privacy.md has it");
    let key = [uuid::Uuid::new_v4().into_bytes(), uuid::Uuid::new_v4().into_bytes()].concat();
    let key = base64::engine::general_purpose::STANDARD.encode(key);
    fs::write(path, block.text.replace("THE-OUTPUT-OF-openssl-rand-base64-32", &key)).expect("a file");
    format!("--encryption-provider-config={}", path.display())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_command_is_run_and_every_object_is_taken() {
    let all = blocks();
    let file = std::env::temp_dir().join(format!("rolecall-encryption-{}", uuid::Uuid::new_v4().simple()));
    let flag = encryption(&all, &file);
    let cluster = Cluster::own_with(&[("API_FLAGS", &flag)]);
    let pages = Reader::new(&cluster, all);
    pages.follow("install", &["Without Helm", "Values", "Install with Helm"]);

    let install = Install {
        class: "",
        crds: true,
        values: Vec::new(),
        ..Install::new("rolecall")
    };
    let system = System::with(&cluster, install).await;
    let mut controller = system.controller();
    let gateway = system.gateway().await;
    pages.follow("install", &["First source and mapping"]);
    let okta = provider(&system, &gateway, "okta-token").await;
    let (group, bob) = push(&system, &okta).await;
    pages.follow("install", &["Check", "Upgrade", "Roll back", "Two installations"]);

    // something waits for the approval
    let limits = json!({"limits": {"removalsPerHour": 0, "removalPercent": 0}});
    system.merge("rolemapping", Some("backend"), "backend-view", &limits).expect_ok();
    okta.remove(&group, &bob).await;
    let waits = || async { system.status("rolemapping", Some("backend"), "backend-view")["heldRemovals"] == 1 };
    assert!(until(Duration::from_secs(20), waits).await.is_ok(), "{}", system.explain());
    pages.follow("operations", &["Look first", "Conditions"]);
    system.until_may("oidc:bob@example.com", "list", "backend", false).await;
    pages.follow("operations", &["Alerts", "Backup and restore"]);

    cluster
        .kubectl(&["delete", "-n", "rolecall", "journals.rolecall.dev", "directory"])
        .expect_ok();
    system.until_condition("scimsource", None, "okta", "JournalLost", "True", "").await;
    pages.follow("operations", &["Accepting the loss of a journal"]);
    let okta = provider(&system, &gateway, "okta-token").await;
    push(&system, &okta).await;
    pages.rest("operations");
    let okta = provider(&system, &gateway, "okta-token-2027").await;

    for n in 0..40 {
        okta.user(&format!("user-{n}@example.com")).await; // more than the tail holds
    }
    tokio::time::sleep(Duration::from_secs(3)).await; // the last of it is recorded
    pages.rest("privacy");
    assert!(
        system.may("oidc:ada@example.com", "list", "backend").await,
        "nobody loses anything by a loss that is accepted"
    );
    let encrypted = |name: &str| {
        let data = fs::read_dir(cluster.dir().join("etcd/member")).expect("etcd's data");
        let files = data
            .flatten()
            .flat_map(|folder| fs::read_dir(folder.path()).expect("a folder").flatten());
        !files
            .map(|file| fs::read(file.path()).expect("a file"))
            .any(|bytes| String::from_utf8_lossy(&bytes).contains(name))
    };
    assert!(encrypted("user-7@example.com"), "etcd has nothing of the journals in the clear");
    let okta = provider(&system, &gateway, "okta-token-2027").await;
    push(&system, &okta).await;

    controller.signal("TERM");
    assert!(controller.ended(Duration::from_secs(10)), "{}", controller.log());
    drop(gateway);
    pages.rest("install");
    assert!(!system.may("oidc:ada@example.com", "list", "backend").await, "it is revoked");

    for page in PAGES {
        for command in inline(page) {
            pages.shell(&format!("docs/{page}.md"), &format!("{command} --help"));
        }
    }
    assert_eq!(pages.done.borrow().len(), pages.blocks.len(), "every block has its turn");
    let used = pages.otherwise.borrow();
    let stale: Vec<&str> = OTHERWISE
        .iter()
        .map(|(beginning, ..)| *beginning)
        .filter(|beginning| !used.contains(beginning))
        .collect();
    assert!(stale.is_empty(), "no command begins so any more: {stale:?}");
    println!("{} commands; all {} rows of the table are in use", pages.ran.get(), used.len());
    let _ = fs::remove_file(file);
}
