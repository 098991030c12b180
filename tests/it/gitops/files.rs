//! The files that are made from the situations: the table of tests/argocd, and what Argo CD's own tests read beside our scripts.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::page::argocd_cm;
use super::situations::{Situation, all};
use super::world::NOW;

/// Where the scripts are.
pub const CUSTOMIZATIONS: &str = "contrib/argocd/resource_customizations";
/// The table.
pub const TABLE: &str = "tests/argocd/situations.yaml";
/// Our kinds that have a status.
pub const KINDS: [&str; 3] = ["ScimSource", "RoleMapping", "ClusterRoleMapping"];

/// Every file, by its path in the repository.
pub fn files() -> BTreeMap<PathBuf, String> {
    let situations = all();
    let mut files = BTreeMap::new();
    files.insert(
        PathBuf::from(TABLE),
        format!(
            "# Every situation of a source or mapping, and what others are to make of it. Made from the controller's own code by the test gitops::files_are_fresh\n# (ROLECALL_WRITE_DOCS=1 writes it); tests/it/gitops/situations.rs has the situations.\n{}",
            yaml(&table(&situations))
        ),
    );
    files.insert(PathBuf::from("docs/samples/gitops/argocd/argocd-cm.yaml"), argocd_cm());
    for kind in KINDS {
        let folder = PathBuf::from(format!("{CUSTOMIZATIONS}/rolecall.dev/{kind}"));
        let of_kind: Vec<&Situation> = situations.iter().filter(|one| one.kind() == kind).collect();
        let mut tests = Vec::new();
        // What is being deleted is judged without a script.
        for one in of_kind.iter().filter(|one| one.expect.kstatus != "Terminating") {
            let path = format!("testdata/{}.yaml", one.name);
            files.insert(folder.join(&path), yaml(&one.object));
            tests.push(json!({"healthStatus": {"status": one.expect.argo, "message": message(one)}, "inputPath": path}));
        }
        files.insert(folder.join("health_test.yaml"), yaml(&json!({"tests": tests})));
        actions(&of_kind, &folder.join("actions"), &mut files);
    }
    files
}

/// The table as the Go program reads it.
pub fn table(situations: &[Situation]) -> Value {
    let rows = situations.iter().map(|one| {
        let expect = one.expect;
        json!({
            "name": one.title(),
            "expect": {"kubectl": expect.kubectl, "helm": expect.helm, "kstatus": expect.kstatus, "argo": expect.argo},
            "object": one.object,
        })
    });
    rows.collect()
}

/// What the script is to say of it: the condition that decides, and after it the names of those that stand beside it.
fn message(one: &Situation) -> String {
    let status = &one.object["status"];
    let (seen, generation) = (&status["observedGeneration"], &one.object["metadata"]["generation"]);
    if seen == -1 {
        return "No controller has looked at this yet".to_owned();
    }
    if seen != generation {
        return format!("No controller has looked at generation {generation} yet");
    }
    let conditions: Vec<&Value> = status["conditions"].as_array().into_iter().flatten().collect();
    let find = |kind: &str| conditions.iter().find(|condition| condition["type"] == kind);
    let decides = match one.expect.argo {
        "Suspended" => find("Held").or_else(|| find("Ready")),
        _ => find("Ready"),
    };
    let retrying = one.expect.argo == "Degraded" && find("Stalled").is_none();
    let mut message = if retrying { "Retrying: " } else { "" }.to_owned();
    message.push_str(decides.and_then(|condition| condition["message"].as_str()).unwrap_or_default());
    for condition in conditions {
        let text = |field: &str| condition[field].as_str().unwrap_or_default();
        if !["Ready", "Reconciling", "Stalled", "Held"].contains(&text("type")) {
            message.push_str(&format!("; {}: {}", text("type"), text("reason")));
        }
    }
    message
}

/// The tests of the actions, on an object that is applied, one that is suspended, and one of which something is held.
fn actions(of_kind: &[&Situation], folder: &std::path::Path, files: &mut BTreeMap<PathBuf, String>) {
    let named = |name: &str| of_kind.iter().find(|one| one.name == name).expect("a situation").object.clone();
    let applied = named("applied");
    let suspended = named("suspended");
    let held = of_kind.iter().find(|one| one.object["status"]["heldIndex"].is_i64());
    let held = held.expect("something is held").object.clone();
    let annotated = |mut object: Value, key: &str, value: &str| {
        object["metadata"]["annotations"] = json!({key: value});
        object
    };
    let suspending = |mut object: Value, suspend: bool| {
        object["spec"]["suspend"] = json!(suspend);
        object
    };
    let index = held["status"]["heldIndex"].to_string();
    let objects = [
        ("applied", applied.clone()),
        ("applied-reconciled", annotated(applied.clone(), "rolecall.dev/requestedAt", NOW)),
        ("applied-suspended", suspending(applied, true)),
        ("suspended", suspended.clone()),
        ("suspended-resumed", suspending(suspended, false)),
        ("held", held.clone()),
        ("held-approved", annotated(held, "rolecall.dev/approve", &index)),
    ];
    let path = |name: &str| format!("testdata/{name}.yaml");
    for (name, object) in &objects {
        files.insert(folder.join(path(name)), yaml(object));
    }
    let discovery = |input: &str, suspended: bool, held: bool| {
        json!({"inputPath": path(input), "result": [
            {"name": "reconcile", "disabled": false, "iconClass": "fa fa-fw fa-redo", "displayName": "Look at everything now"},
            {"name": "suspend", "disabled": suspended, "iconClass": "fa fa-fw fa-pause", "displayName": "Suspend"},
            {"name": "resume", "disabled": !suspended, "iconClass": "fa fa-fw fa-play", "displayName": "Resume"},
            {"name": "approve", "disabled": !held, "iconClass": "fa fa-fw fa-check", "displayName": "Approve what is held"},
        ]})
    };
    let action =
        |name: &str, input: &str, output: &str| json!({"action": name, "inputPath": path(input), "expectedOutputPath": path(output)});
    let tests = json!({
        "discoveryTests": [
            discovery("applied", false, false),
            discovery("suspended", true, false),
            discovery("held", false, true),
            discovery("held-approved", false, false),
        ],
        "actionTests": [
            action("reconcile", "applied", "applied-reconciled"),
            action("suspend", "applied", "applied-suspended"),
            action("resume", "suspended", "suspended-resumed"),
            action("approve", "held", "held-approved"),
            action("approve", "applied", "applied"),
        ],
    });
    files.insert(folder.join("action_test.yaml"), yaml(&tests));
}

fn yaml(value: &Value) -> String {
    let text = serde_saphyr::to_string(value).expect("YAML");
    format!("{}\n", text.trim_end())
}
