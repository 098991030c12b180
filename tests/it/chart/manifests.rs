//! What those who do not use Helm get: `make manifests`.

use std::process::Command;

use serde_json::Value;

use crate::cluster::{Cluster, root};

#[test]
fn the_static_manifest_is_the_chart_without_its_secrets() {
    let cluster = Cluster::shared();
    let dir = cluster.dir().join("manifests");
    let script = root().join("tests/manifests/render.sh");
    let output = Command::new(script).arg(&dir).output().expect("the script");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let base = dir.join("kustomize");
    let built = cluster.kubectl(&["kustomize", &base.to_string_lossy()]).expect_ok();
    let read = |text: &str| -> Vec<Value> { serde_saphyr::from_multiple(text).expect("YAML") };
    let whole = std::fs::read_to_string(dir.join("install.yaml")).expect("a file");
    let names = |objects: &[Value]| {
        let mut names: Vec<String> = objects.iter().map(|o| format!("{}/{}", o["kind"], o["metadata"]["name"])).collect();
        names.sort();
        names
    };
    let objects = read(&whole);
    assert_eq!(names(&objects), names(&read(&built)));
    assert_eq!(objects[0]["kind"], "Namespace", "whatever is in it comes later");
    assert!(objects.len() > 40, "{}", objects.len());
    for object in &objects {
        assert!(object["kind"] != "Secret" && object["kind"] != "Pod", "{object}");
    }
    let _ = cluster.kubectl(&["create", "namespace", "rolecall"]);
    let apply = [
        "apply",
        "--server-side",
        "--force-conflicts",
        "--dry-run=server",
        "--validate=strict",
        "-f",
    ];
    let path = dir.join("install.yaml");
    cluster.kubectl(&[&apply[..], &[&*path.to_string_lossy()]].concat()).expect_ok();
}
