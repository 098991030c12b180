//! A cluster whose pods run: the control plane of the tests with one node (`tests/cluster/node`). Nothing here knows Rolecall.

use std::fs;
use std::path::Path;
use std::process::Command;

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use serde_json::Value;

use crate::cluster::Cluster;

/// The cluster, and what can be done to its node.
pub struct Node {
    pub cluster: Cluster,
}

/// What a pod needs, as the kubelet counts it.
pub struct Usage {
    pub pod: String,
    pub millicores: f64,
    pub mebibytes: f64,
}

impl Node {
    /// Starts it, in the world of `apart.sh`.
    pub fn start() -> Self {
        let cluster = Cluster::own_with(&[("NODE", "1"), ("KEEP", "")]);
        Self { cluster }
    }

    /// Loads an image archive, as an admin of a node without a registry would.
    pub fn import(&self, archive: &Path) {
        let output = Command::new("ctr")
            .args(["-n", "k8s.io", "images", "import"])
            .arg(archive)
            .output()
            .expect("ctr");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// How large the image is on the node, as containerd says it.
    pub fn unpacked(&self) -> String {
        let output = Command::new("ctr").args(["-n", "k8s.io", "images", "ls"]).output().expect("ctr");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let line = text.lines().find(|line| line.contains("rolecall")).unwrap_or_default();
        let words: Vec<&str> = line.split_whitespace().collect();
        let unit = words.iter().position(|word| ["KiB", "MiB", "GiB"].contains(word));
        unit.map(|at| words[at.saturating_sub(1)..=at].join(" ")).unwrap_or_default()
    }

    /// The processes of a pod's first container, by its control group.
    pub fn processes(&self, pod: &Pod) -> Vec<String> {
        let status = pod.status.as_ref().and_then(|s| s.container_statuses.as_ref()?.first());
        let id = status.and_then(|s| s.container_id.as_deref()).unwrap_or_default();
        let id = id.trim_start_matches("containerd://");
        assert!(!id.is_empty(), "{} has no container", pod.name_any());
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc").expect("/proc").flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let groups = fs::read_to_string(entry.path().join("cgroup")).unwrap_or_default();
            if name.starts_with(|c: char| c.is_ascii_digit()) && groups.contains(id) {
                found.push(name);
            }
        }
        found
    }

    /// A signal by name (`KILL`, `STOP`, `CONT`) to what runs in the pod.
    pub fn signal(&self, pod: &Pod, name: &str) {
        let processes = self.processes(pod);
        assert!(!processes.is_empty(), "nothing runs in {}", pod.name_any());
        let status = Command::new("kill")
            .arg(format!("-{name}"))
            .args(&processes)
            .status()
            .expect("kill");
        assert!(status.success(), "kill -{name} of {}", pod.name_any());
    }

    /// What each pod needs now.
    pub fn usage(&self) -> Vec<Usage> {
        let summary = self.cluster.kubectl(&["get", "--raw", "/api/v1/nodes/node1/proxy/stats/summary"]);
        let summary: Value = serde_json::from_str(&summary.expect_ok()).expect("JSON");
        let number = |value: &Value| value.as_f64().unwrap_or_default();
        let mut pods: Vec<Usage> = summary["pods"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|pod| Usage {
                pod: pod["podRef"]["name"].as_str().unwrap_or_default().to_owned(),
                millicores: number(&pod["cpu"]["usageNanoCores"]) / 1e6,
                mebibytes: number(&pod["memory"]["workingSetBytes"]) / f64::from(1 << 20),
            })
            .collect();
        pods.sort_by(|a, b| a.pod.cmp(&b.pod));
        pods
    }

    /// What is known, for a failure's message.
    pub fn explain(&self) -> String {
        let said = |args: &[&str]| {
            let output = self.cluster.kubectl(args);
            format!("--- kubectl {}\n{}{}", args.join(" "), output.stdout, output.stderr)
        };
        [
            said(&["get", "pods", "-A", "-o", "wide"]),
            said(&["get", "events", "-A", "--sort-by=.lastTimestamp"]),
            said(&["get", "scimsources,clusterrolemappings", "-o", "wide"]),
            said(&[
                "logs",
                "-n",
                "rolecall",
                "-l",
                "app.kubernetes.io/part-of=rolecall",
                "--prefix",
                "--tail=30",
            ]),
        ]
        .join("\n")
    }
}
