//! docs/gitops.md and docs/samples/gitops say what the scripts, the chart and the code say.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::files::{CUSTOMIZATIONS, KINDS};
use super::situations;
use crate::cluster::{programs, root};

/// Every script of a kind.
pub const SCRIPTS: [&str; 6] = [
    "health.lua",
    "actions/discovery.lua",
    "actions/reconcile/action.lua",
    "actions/suspend/action.lua",
    "actions/resume/action.lua",
    "actions/approve/action.lua",
];

const SAMPLES: &str = "docs/samples/gitops";

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// The patch of argocd-cm: our scripts, as that ConfigMap wants them.
pub fn argocd_cm() -> String {
    let indent = |text: &str, by: usize| {
        let lines = text.lines().map(|line| match line.is_empty() {
            true => "\n".to_owned(),
            false => format!("{:by$}{line}\n", ""),
        });
        lines.collect::<String>()
    };
    let mut text = "# For kubectl -n argocd patch configmap argocd-cm --patch-file argocd-cm.yaml. Made from contrib/argocd; do not edit.\n\
        # resource.exclusions is one text: where argocd-cm has one already, as it has by default since Argo CD 3.0, add our entry to it instead.\n\
        apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: argocd-cm\n  namespace: argocd\ndata:\n  resource.exclusions: |\n    \
        - apiGroups: [rolecall.dev]\n      kinds: [Journal, Segment]\n      clusters: [\"*\"]\n"
        .to_owned();
    let script = |kind: &str, name: &str| read(&format!("{CUSTOMIZATIONS}/rolecall.dev/{kind}/{name}"));
    for kind in KINDS {
        text.push_str(&format!("  resource.customizations.health.rolecall.dev_{kind}: |\n"));
        text.push_str(&indent(&script(kind, "health.lua"), 4));
        text.push_str(&format!(
            "  resource.customizations.actions.rolecall.dev_{kind}: |\n    discovery.lua: |\n"
        ));
        text.push_str(&indent(&script(kind, "actions/discovery.lua"), 6));
        text.push_str("    definitions:\n");
        for action in ["reconcile", "suspend", "resume", "approve"] {
            text.push_str(&format!("    - name: {action}\n      action.lua: |\n"));
            text.push_str(&indent(&script(kind, &format!("actions/{action}/action.lua")), 8));
        }
    }
    text
}

fn documents(folder: &Path) -> Vec<(PathBuf, Value)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(documents(&path));
            continue;
        }
        let text = fs::read_to_string(&path).expect("a file");
        for document in text.split("\n---\n") {
            let value = serde_saphyr::from_str(document).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            found.push((path.clone(), value));
        }
    }
    found
}

#[test]
fn argocd_cm_has_our_scripts() {
    let there: Value = serde_saphyr::from_str(&read(&format!("{SAMPLES}/argocd/argocd-cm.yaml"))).expect("YAML");
    let data = |key: &str| {
        let text = there["data"][key].as_str();
        text.unwrap_or_else(|| panic!("argocd-cm.yaml has no {key}")).to_owned()
    };
    for kind in KINDS {
        let script = |name: &str| read(&format!("{CUSTOMIZATIONS}/rolecall.dev/{kind}/{name}"));
        assert_eq!(
            data(&format!("resource.customizations.health.rolecall.dev_{kind}")),
            script("health.lua")
        );
        let actions: Value = serde_saphyr::from_str(&data(&format!("resource.customizations.actions.rolecall.dev_{kind}"))).expect("YAML");
        assert_eq!(actions["discovery.lua"], script("actions/discovery.lua"));
        let names: Vec<&str> = actions["definitions"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|d| d["name"].as_str())
            .collect();
        assert_eq!(names, ["reconcile", "suspend", "resume", "approve"]);
        for definition in actions["definitions"].as_array().into_iter().flatten() {
            let name = definition["name"].as_str().expect("a name");
            assert_eq!(definition["action.lua"], script(&format!("actions/{name}/action.lua")));
        }
    }
    let excluded: Value = serde_saphyr::from_str(&data("resource.exclusions")).expect("YAML");
    assert_eq!(excluded[0]["kinds"], serde_json::json!(["Journal", "Segment"]));
}

/// Every key of values that a sample sets is one of the chart's.
fn known(values: &Value, chart: &Value, at: &str) {
    let (Some(values), Some(chart)) = (values.as_object(), chart.as_object()) else {
        return;
    };
    for (key, value) in values {
        let at = format!("{at}.{key}");
        known(value, chart.get(key).unwrap_or_else(|| panic!("the chart has no value {at}")), &at);
    }
}

#[test]
fn the_example_repository_keeps_what_the_page_promises() {
    let chart: Value = serde_saphyr::from_str(&read("charts/rolecall/values.yaml")).expect("YAML");
    let mut waves = Vec::new();
    let (mut values, mut of_ours) = (0, 0);
    for (path, object) in documents(&root().join(SAMPLES)) {
        let text = object.to_string();
        for never in ["Replace=true", "Force=true", "\"force\":true"] {
            assert!(!text.contains(never), "{}: {never}", path.display());
        }
        let annotation = |key: &str| object["metadata"]["annotations"][key].as_str().unwrap_or_default().to_owned();
        if let Ok(wave) = annotation("argocd.argoproj.io/sync-wave").parse::<i64>() {
            waves.push((
                format!(
                    "{}/{}",
                    object["kind"].as_str().unwrap_or_default(),
                    object["metadata"]["name"].as_str().unwrap_or_default()
                ),
                wave,
            ));
        }
        if object["apiVersion"] == "rolecall.dev/v1alpha1" {
            of_ours += 1;
            assert_eq!(
                annotation("argocd.argoproj.io/sync-options"),
                "Prune=confirm,Delete=confirm",
                "{}",
                path.display()
            );
            assert_eq!(annotation("kustomize.toolkit.fluxcd.io/prune"), "disabled", "{}", path.display());
            assert!(object["metadata"]["labels"].is_null());
        }
        for pointer in ["/spec/values", "/spec/source/helm/valuesObject"] {
            if let Some(found) = object.pointer(pointer) {
                values += 1;
                known(found, &chart, "");
            }
        }
    }
    assert_eq!((values, of_ours), (2, 3));
    waves.sort_by_key(|(_, wave)| *wave);
    let waves: Vec<String> = waves.into_iter().map(|(name, wave)| format!("{wave} {name}")).collect();
    assert_eq!(waves[..2], ["-5 Application/rolecall-crds", "0 Application/rolecall"]);
    assert!(waves.contains(&"1 ScimSource/okta".to_owned()) && waves.contains(&"2 RoleMapping/backend-view".to_owned()));
}

/// The chart with these values, as Argo CD renders it: without a cluster.
fn render(values: &Value) -> String {
    let file = std::env::temp_dir().join(format!("rolecall-gitops-{}.json", uuid::Uuid::new_v4().simple()));
    fs::write(&file, values.to_string()).expect("written");
    let done = std::process::Command::new(programs().join("helm"))
        .args(["template", "rolecall", "charts/rolecall", "-n", "rolecall", "-f"])
        .arg(&file)
        .current_dir(root())
        .output()
        .expect("helm");
    let _ = fs::remove_file(&file);
    assert!(done.status.success(), "{values}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8_lossy(&done.stdout).into_owned()
}

#[test]
fn the_chart_of_the_example_is_the_same_at_every_look() {
    let values = |file: &str, pointer: &str| {
        let all = documents(&root().join(SAMPLES).join(file));
        let mut found = all.iter().filter_map(|(_, object)| object.pointer(pointer).cloned());
        found.next().expect("values")
    };
    let argo = values("argocd", "/spec/source/helm/valuesObject");
    let rendered = render(&argo);
    assert_eq!(rendered, render(&argo));
    assert!(!rendered.contains("kind: CustomResourceDefinition"));
    // Why the page asks for what it asks.
    for (pointer, value) in [("/gateway/cursorKey/secretName", ""), ("/tls/mode", "selfSigned")] {
        let mut other = argo.clone();
        *other.pointer_mut(pointer).expect("a value") = Value::from(value);
        assert_ne!(render(&other), render(&other), "{pointer}");
    }
    assert!(render(&values("flux", "/spec/values")).contains("kind: Deployment"));
}

#[test]
fn the_page_has_every_verdict_and_its_links_lead_somewhere() {
    let page = read("docs/gitops.md");
    let wanted: BTreeSet<String> = situations::all()
        .iter()
        .map(|one| {
            let e = one.expect;
            format!("{} | {} | {} | {}", e.kubectl, e.helm, e.kstatus, e.argo)
        })
        .collect();
    let rows = page.lines().filter(|line| line.starts_with("| ") && line.matches('|').count() == 7);
    let told = |row: &str| {
        row.trim_end_matches('|')
            .split('|')
            .skip(3)
            .map(str::trim)
            .collect::<Vec<_>>()
            .join(" | ")
    };
    let told: BTreeSet<String> = rows.map(told).filter(|row| wanted.contains(row)).collect();
    assert_eq!(told, wanted);
    for target in page.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
        let file = target.split('#').next().unwrap_or_default();
        assert!(
            target.starts_with("https://") || target.starts_with('#') || root().join("docs").join(file).exists(),
            "{target}"
        );
    }
}
