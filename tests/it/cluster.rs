//! A real control plane for tests: started once per run and shared, or one of a test's own. It stops with the test process, whatever becomes
//! of that: `tests/cluster/run.sh` holds the programs, and ends them when its stdin closes. No test of the product lives here.

#![allow(dead_code, reason = "a fixture: not every test needs all of it")]

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Condvar, Mutex, OnceLock};
use std::time::Duration;

use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::config::{AuthInfo, KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use serde_json::Value;

/// One running control plane.
pub struct Cluster {
    dir: PathBuf,
    bin: PathBuf,
    supervisor: Option<Mutex<Supervisor>>,
    own: bool,
}

struct Supervisor {
    child: Child,
    commands: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

/// The programs of a control plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Etcd,
    ApiServer,
    ControllerManager,
}

impl Part {
    fn name(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::ApiServer => "apiserver",
            Self::ControllerManager => "controller-manager",
        }
    }
}

/// Whom a client speaks as.
#[derive(Clone, Debug)]
pub enum Who {
    /// A member of `system:masters`.
    Admin,
    /// The holder of a bearer token.
    Token(String),
    /// Any user, by impersonation.
    User(String, Vec<String>),
}

impl Who {
    /// A user without groups.
    pub fn user(name: &str) -> Self {
        Self::User(name.to_owned(), Vec::new())
    }
}

/// What a command printed, and whether it succeeded.
#[derive(Debug)]
pub struct Output {
    pub ok: bool,
    pub stdout: String,
    pub stderr: String,
}

impl Output {
    /// The standard output of a command that must succeed.
    #[track_caller]
    pub fn expect_ok(self) -> String {
        assert!(self.ok, "the command failed: {}{}", self.stdout, self.stderr);
        self.stdout
    }
}

/// A write as the API server's audit log has it.
#[derive(Clone, Debug)]
pub struct Written {
    pub user: String,
    pub verb: String,
    pub group: String,
    pub resource: String,
    pub subresource: String,
    pub namespace: String,
    pub name: String,
    pub code: u64,
    pub dry_run: bool,
    pub time: jiff::Timestamp,
    pub agent: String,
}

/// The repository's root.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The folder of the pinned programs; built when it is the first time.
pub fn programs() -> &'static Path {
    static PROGRAMS: OnceLock<PathBuf> = OnceLock::new();
    PROGRAMS.get_or_init(|| {
        let build = Command::new(root().join("tests/cluster/build.sh"))
            .stderr(Stdio::inherit())
            .output()
            .expect("tests/cluster/build.sh");
        assert!(build.status.success(), "the control plane does not build");
        PathBuf::from(String::from_utf8_lossy(&build.stdout).trim())
    })
}

// At most two clusters of tests' own at a time: the machine has two cores.
static OWN: (Mutex<u32>, Condvar) = (Mutex::new(0), Condvar::new());

impl Cluster {
    /// The cluster that all tests share, with our CRDs. Started by the first who asks.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Cluster> = OnceLock::new();
        SHARED.get_or_init(|| {
            let cluster = Self::start(false, &[]);
            cluster.apply_crds();
            cluster
        })
    }

    /// A cluster for one test to break. Without our CRDs: install the chart with `Install::crds`, or call [`Cluster::apply_crds`].
    pub fn own() -> Self {
        Self::own_with(&[])
    }

    /// The same, with variables for `run.sh`, such as `API_FLAGS`.
    pub fn own_with(variables: &[(&str, &str)]) -> Self {
        let mut running = OWN.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        while *running >= 2 {
            running = OWN.1.wait(running).unwrap_or_else(std::sync::PoisonError::into_inner);
        }
        *running += 1;
        drop(running);
        Self::start(true, variables)
    }

    fn start(own: bool, variables: &[(&str, &str)]) -> Self {
        let bin = programs().to_owned();
        let base = std::env::temp_dir().join("rolecall-it");
        let dir = base.join(format!("{}-{}", std::process::id(), uuid::Uuid::new_v4().simple()));
        fs::create_dir_all(&dir).expect("a temporary folder");
        let log = fs::File::create(base.join("supervisor.log")).expect("a log");
        let mut child = Command::new(root().join("tests/cluster/run.sh"))
            .arg(&dir)
            .env("CONTROL_PLANE", &bin)
            .envs(variables.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .process_group(0) // a Ctrl-C, or a time limit on our group, must leave it the time to clean up
            .spawn()
            .expect("tests/cluster/run.sh");
        let commands = child.stdin.take();
        let answers = BufReader::new(child.stdout.take().expect("piped"));
        let cluster = Self {
            dir,
            bin,
            own,
            supervisor: Some(Mutex::new(Supervisor { child, commands, answers })),
        };
        let answer = cluster.answer();
        assert!(answer.starts_with("ready "), "the control plane does not start: {answer}");
        cluster
    }

    /// A cluster of the user's own: a context of their kubeconfig. It can be neither stopped nor broken. kubectl and helm are
    /// those of `PATH`, or else the pinned ones.
    pub fn existing(context: &str) -> Result<Self, String> {
        let on_path = |name: &str| std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).any(|dir| dir.join(name).is_file());
        let bin = match on_path("kubectl") && on_path("helm") {
            true => PathBuf::new(),
            false => programs().to_owned(),
        };
        let view = Command::new(bin.join("kubectl"))
            .args([
                "config",
                "view",
                "--raw",
                "--flatten",
                "--minify",
                "-o",
                "json",
                "--context",
                context,
            ])
            .output()
            .map_err(|e| format!("kubectl: {e}"))?;
        if !view.status.success() {
            return Err(String::from_utf8_lossy(&view.stderr).trim().to_owned());
        }
        let dir = std::env::temp_dir().join(format!("rolecall-{}", uuid::Uuid::new_v4().simple()));
        fs::DirBuilder::new().mode(0o700).create(&dir).expect("a temporary folder"); // it holds the user's credentials
        fs::write(dir.join("kubeconfig"), &view.stdout).expect("a kubeconfig");
        Ok(Self {
            dir,
            bin,
            supervisor: None,
            own: false,
        })
    }

    fn supervisor(&self) -> std::sync::MutexGuard<'_, Supervisor> {
        let supervisor = self.supervisor.as_ref().expect("a cluster that the tests started");
        supervisor.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn answer(&self) -> String {
        let mut line = String::new();
        let mut supervisor = self.supervisor();
        supervisor.answers.read_line(&mut line).expect("an answer of the supervisor");
        line.trim().to_owned()
    }

    #[track_caller]
    fn command(&self, command: &str) {
        {
            let mut supervisor = self.supervisor();
            let commands = supervisor.commands.as_mut().expect("a supervisor");
            writeln!(commands, "{command}").expect("a living supervisor");
        }
        let answer = self.answer();
        assert_eq!(answer, "ok", "{command}");
    }

    /// Stops a program as an administrator would, and waits.
    #[track_caller]
    pub fn stop(&self, part: Part) {
        self.command(&format!("stop {}", part.name()));
    }

    /// Kills a program.
    #[track_caller]
    pub fn kill(&self, part: Part) {
        self.command(&format!("kill {}", part.name()));
    }

    /// Starts a program again, and waits until it answers. Ports and keys stay.
    #[track_caller]
    pub fn resume(&self, part: Part) {
        self.command(&format!("start {}", part.name()));
    }

    /// SIGSTOP, or SIGCONT.
    #[track_caller]
    pub fn freeze(&self, part: Part, frozen: bool) {
        self.command(&format!("{} {}", if frozen { "freeze" } else { "thaw" }, part.name()));
    }

    /// Stops the API server and etcd, copies etcd's data, and starts both again.
    #[track_caller]
    pub fn snapshot(&self, name: &str) {
        self.around_etcd(&format!("save {name}.snapshot"));
    }

    /// Puts etcd back to a snapshot, and starts both again.
    #[track_caller]
    pub fn restore(&self, name: &str) {
        self.around_etcd(&format!("load {name}.snapshot"));
    }

    #[track_caller]
    fn around_etcd(&self, command: &str) {
        self.kill(Part::ApiServer); // first, and without waiting for the requests in flight
        self.stop(Part::Etcd);
        self.command(command);
        self.resume(Part::Etcd);
        self.resume(Part::ApiServer);
    }

    /// The kubeconfig of an admin.
    pub fn kubeconfig(&self) -> PathBuf {
        self.dir.join("kubeconfig")
    }

    /// Where kubectl and helm are; empty for those of `PATH`.
    pub fn bin(&self) -> &Path {
        &self.bin
    }

    /// A folder that goes away with the cluster.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    fn run(&self, program: &str, args: &[&str], stdin: Option<&str>) -> Output {
        let mut child = Command::new(self.bin.join(program))
            .args(args)
            .env("KUBECONFIG", self.kubeconfig())
            .env("HELM_CACHE_HOME", self.dir.join("helm"))
            .env("HELM_CONFIG_HOME", self.dir.join("helm"))
            .env("HELM_DATA_HOME", self.dir.join("helm"))
            .stdin(if stdin.is_some() { Stdio::piped() } else { Stdio::null() })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect(program);
        if let (Some(mut pipe), Some(text)) = (child.stdin.take(), stdin) {
            pipe.write_all(text.as_bytes()).expect("a pipe");
        }
        let output = child.wait_with_output().expect(program);
        Output {
            ok: output.status.success(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Runs kubectl as an admin.
    pub fn kubectl(&self, args: &[&str]) -> Output {
        self.run("kubectl", args, None)
    }

    /// Runs helm as an admin.
    pub fn helm(&self, args: &[&str]) -> Output {
        self.run("helm", args, None)
    }

    /// `kubectl apply -f -`, as an admin, or with further flags such as `--as`.
    pub fn apply(&self, yaml: &str, flags: &[&str]) -> Output {
        self.run("kubectl", &[&["apply", "-f", "-"], flags].concat(), Some(yaml))
    }

    /// Our CRDs, and waits until they are served.
    #[track_caller]
    pub fn apply_crds(&self) {
        let crds = root().join("crds");
        let crds = crds.to_string_lossy();
        self.kubectl(&["apply", "--server-side", "-f", &crds]).expect_ok();
        self.kubectl(&["wait", "--for=condition=Established", "--timeout=30s", "-f", &crds])
            .expect_ok();
    }

    /// A client's configuration: the client library's own retries are off, a request may take 30 s.
    pub async fn config(&self, who: &Who) -> Config {
        let file = Kubeconfig::read_from(self.kubeconfig()).expect("a kubeconfig");
        let mut config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default())
            .await
            .expect("a configuration");
        config.default_retry = false;
        config.connect_timeout = Some(Duration::from_secs(5));
        match who {
            Who::Admin => {}
            Who::Token(token) => {
                config.auth_info = AuthInfo {
                    token: Some(token.clone().into()),
                    ..AuthInfo::default()
                };
            }
            Who::User(name, groups) => {
                config.auth_info.impersonate = Some(name.clone());
                config.auth_info.impersonate_groups = (!groups.is_empty()).then(|| groups.clone());
            }
        }
        config
    }

    /// A client of the running test's own runtime.
    pub async fn client(&self, who: &Who) -> Client {
        Client::try_from(self.config(who).await).expect("a client")
    }

    /// A client of an admin.
    pub async fn admin(&self) -> Client {
        self.client(&Who::Admin).await
    }

    /// A token of a ServiceAccount, good for a day: a demo may stay up.
    pub async fn token(&self, namespace: &str, account: &str) -> String {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.admin().await, namespace);
        let request = TokenRequest {
            spec: TokenRequestSpec {
                expiration_seconds: Some(86_400),
                ..TokenRequestSpec::default()
            },
            ..TokenRequest::default()
        };
        let answer = accounts
            .create_token_request(account, &Default::default(), &request)
            .await
            .expect("a token");
        answer.status.expect("a status").token
    }

    /// A kubeconfig file for the holder of a token: what a process of ours is started with.
    pub fn kubeconfig_for(&self, name: &str, token: &str) -> PathBuf {
        let mut config = Kubeconfig::read_from(self.kubeconfig()).expect("a kubeconfig");
        for user in &mut config.auth_infos {
            user.auth_info = Some(AuthInfo {
                token: Some(token.to_owned().into()),
                ..AuthInfo::default()
            });
        }
        let path = self.dir.join(format!("{name}.kubeconfig"));
        fs::write(&path, serde_json::to_vec(&config).expect("JSON")).expect("a kubeconfig");
        path
    }

    /// The API server's address, `https://127.0.0.1:<port>`.
    pub fn url(&self) -> String {
        let text = fs::read_to_string(self.kubeconfig()).expect("a kubeconfig");
        let at = text.find("https://").expect("an address");
        text[at..].chars().take_while(|c| *c != '"').collect()
    }

    /// Every write since `since`, oldest first, as the audit log has it. Refused ones are among them.
    pub fn audit(&self, since: jiff::Timestamp) -> Vec<Written> {
        let text = fs::read_to_string(self.dir.join("log/audit.jsonl")).unwrap_or_default();
        let mut writes: Vec<Written> = text
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .filter_map(|event| audit_event(&event))
            .filter(|write| write.time >= since)
            .collect();
        writes.sort_by_key(|write| write.time);
        writes
    }
}

fn audit_event(event: &Value) -> Option<Written> {
    let text = |pointer: &str| event.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    if text("/stage") != "ResponseComplete" {
        return None;
    }
    // With impersonation the acting user is the impersonated one.
    let user = match text("/impersonatedUser/username") {
        name if name.is_empty() => text("/user/username"),
        name => name,
    };
    Some(Written {
        user,
        verb: text("/verb"),
        group: text("/objectRef/apiGroup"),
        resource: text("/objectRef/resource"),
        subresource: text("/objectRef/subresource"),
        namespace: text("/objectRef/namespace"),
        name: text("/objectRef/name"),
        code: event.pointer("/responseStatus/code").and_then(Value::as_u64).unwrap_or_default(),
        dry_run: text("/requestURI").contains("dryRun"),
        time: text("/requestReceivedTimestamp").parse().ok()?,
        agent: text("/userAgent"),
    })
}

impl Drop for Cluster {
    fn drop(&mut self) {
        match &mut self.supervisor {
            Some(supervisor) => {
                let supervisor = supervisor.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner);
                drop(supervisor.commands.take()); // the closed stdin ends it
                let _ = supervisor.child.wait();
            }
            None => drop(fs::remove_dir_all(&self.dir)),
        }
        if self.own {
            *OWN.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner) -= 1;
            OWN.1.notify_one();
        }
    }
}
