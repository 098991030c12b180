//! The situations on a real API server, judged by the real kubectl and the real Helm; what may be applied again and again; whose rights it takes.

use std::fs;
use std::path::Path;
use std::sync::Mutex;

use serde_json::{Value, json};

use super::files::{CUSTOMIZATIONS, table};
use super::situations::{Situation, all};
use super::{judge, situations};
use crate::cluster::{Cluster, root};
use crate::install::Install;

/// A class that no controller has.
const CLASS: &str = "gitops-situations";
const FINALIZER: &str = "rolecall.dev/of-a-test";

/// kubectl, and what it reads.
fn kubectl(cluster: &Cluster, args: &[&str], object: &Value) -> String {
    let file = cluster.dir().join(format!("gitops-{}.json", uuid::Uuid::new_v4().simple()));
    fs::write(&file, object.to_string()).expect("a file");
    let path = file.to_string_lossy();
    let said = cluster.kubectl(&[args, &["-f", &path]].concat()).expect_ok();
    let _ = fs::remove_file(&file);
    said
}

/// An object of a situation under a name of its own, without what the API server adds.
fn manifest(one: &Situation) -> Value {
    let mut object =
        json!({"apiVersion": "rolecall.dev/v1alpha1", "kind": one.kind(), "metadata": {"name": one.name}, "spec": one.object["spec"]});
    if one.kind() == "RoleMapping" {
        object["metadata"]["namespace"] = json!(CLASS);
    }
    object["spec"]["class"] = json!(CLASS);
    object
}

/// Makes it on the API server, with the generation and the status of the situation; as it is there.
fn make(cluster: &Cluster, one: &Situation) -> Value {
    let mut object = manifest(one);
    let going = one.object["metadata"]["deletionTimestamp"].is_string();
    if going {
        object["metadata"]["finalizers"] = json!([FINALIZER]);
    }
    // The generation grows by one with each change of the spec.
    let generation = one.object["metadata"]["generation"].as_i64().expect("a generation");
    for n in (1..=generation).rev() {
        let mut step = object.clone();
        if n > 1 && !going {
            step["spec"]["limits"] = json!({"removalsPerHour": 100 + n});
        }
        let verb = if n == generation || going { "create" } else { "replace" };
        kubectl(cluster, &[verb], &step);
        if going {
            break;
        }
    }
    let name = format!("{}/{}", one.kind(), one.name);
    let on = |args: &[&str]| cluster.kubectl(&[args, &["-n", CLASS]].concat()).expect_ok();
    if going {
        on(&["delete", &name, "--wait=false"]);
    }
    let patch = json!({"status": one.object["status"]}).to_string();
    on(&["patch", &name, "--subresource=status", "--type=merge", "-p", &patch]);
    serde_json::from_str(&on(&["get", &name, "-o", "json"])).expect("JSON")
}

/// What the real kubectl says.
fn wait(cluster: &Cluster, one: &Situation) -> &'static str {
    let name = format!("{}/{}", one.kind(), one.name);
    let said = cluster.kubectl(&["wait", "--for=condition=Ready", "--timeout=0", &name, "-n", CLASS]);
    match said.ok {
        true => "met",
        false if said.stderr.contains("condition not met") => "waits",
        false => panic!("{}: {}", one.title(), said.stderr),
    }
}

/// What the real Helm says, of a release that has this one object.
fn helm(cluster: &Cluster, chart: &Path, one: &Situation) -> &'static str {
    let release = format!("{}-{}", one.kind().to_lowercase(), one.name);
    let values = chart.join(format!("{release}.json"));
    fs::write(&values, json!({"object": manifest(one)}).to_string()).expect("values");
    let (values, chart) = (values.to_string_lossy(), chart.to_string_lossy());
    let timeout = if one.expect.helm == "waits" {
        "--timeout=3s"
    } else {
        "--timeout=60s"
    };
    let args = [
        "install",
        &release,
        &chart,
        "-n",
        CLASS,
        "-f",
        &values,
        "--take-ownership",
        "--wait",
        timeout,
    ];
    let said = cluster.helm(&args);
    match said.ok {
        true => "done",
        false if said.stderr.contains("deadline exceeded") => "waits",
        false if said.stderr.contains("status: Failed") => "fails",
        false => panic!("{}: {}", one.title(), said.stderr),
    }
}

#[test]
fn a_real_api_server_kubectl_and_helm_judge_as_the_table_says() {
    let cluster = Cluster::shared();
    cluster.kubectl(&["create", "namespace", CLASS]).expect_ok();
    let chart = cluster.dir().join("gitops-chart");
    fs::create_dir_all(chart.join("templates")).expect("a folder");
    fs::write(chart.join("Chart.yaml"), "apiVersion: v2\nname: one\nversion: 0.1.0\n").expect("written");
    fs::write(chart.join("templates/object.yaml"), "{{ toYaml .Values.object }}\n").expect("written");
    let situations = all();
    let (next, live, wrong) = (Mutex::new(situations.iter()), Mutex::new(Vec::new()), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while let Some(one) = { next.lock().expect("no panic").next() } {
                    let found = make(cluster, one);
                    let mut spec = one.object["spec"].clone();
                    spec["class"] = json!(CLASS);
                    let same = found["spec"] == spec
                        && found["status"] == one.object["status"]
                        && found["metadata"]["generation"] == one.object["metadata"]["generation"];
                    let said = (wait(cluster, one), helm(cluster, &chart, one));
                    let mut wrong = wrong.lock().expect("no panic");
                    if !same {
                        wrong.push(format!("{}: the API server shows {found:#}", one.title()));
                    }
                    if said != (one.expect.kubectl, one.expect.helm) {
                        wrong.push(format!("{}: {said:?} instead of {:?}", one.title(), one.expect));
                    }
                    live.lock().expect("no panic").push(Situation {
                        name: one.name,
                        expect: one.expect,
                        object: found,
                    });
                }
            });
        }
    });
    let (live, wrong) = (live.into_inner().expect("no panic"), wrong.into_inner().expect("no panic"));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // And the others, on the objects as that API server shows them.
    let file = cluster.dir().join("gitops-live.json");
    fs::write(&file, table(&live).to_string()).expect("written");
    let said = judge(&[Path::new("verdicts"), Path::new(CUSTOMIZATIONS), &file]);
    println!("{}", said.lines().last().unwrap_or_default());
    for one in &situations {
        let name = format!("{}/{}", one.kind(), one.name);
        cluster
            .kubectl(&[
                "patch",
                &name,
                "-n",
                CLASS,
                "--type=merge",
                "-p",
                r#"{"metadata":{"finalizers":null}}"#,
            ])
            .expect_ok();
        cluster.kubectl(&["delete", &name, "-n", CLASS, "--ignore-not-found"]).expect_ok();
    }
}

/// What Argo CD and Flux apply again every few minutes changes nothing, whatever the controller wrote meanwhile.
#[test]
fn what_is_applied_again_changes_nothing() {
    let cluster = Cluster::shared();
    let place = "gitops-again";
    cluster.kubectl(&["create", "namespace", place]).expect_ok();
    let applied = |one: &Situation| ["applied", "a-plan-that-would-change-something"].contains(&one.name);
    for one in situations::all().iter().filter(|one| applied(one)) {
        let mut object = manifest(one);
        let name = format!("again-{}", one.name);
        object["metadata"]["name"] = json!(name);
        if one.kind() == "RoleMapping" {
            object["metadata"]["namespace"] = json!(place);
        }
        // as people write it: without what has a default
        for (field, default) in [("suspend", json!(false)), ("mode", json!("Enforce")), ("subjects", json!("User"))] {
            if object["spec"][field] == default {
                object["spec"].as_object_mut().expect("a spec").shift_remove(field);
            }
        }
        let shown = || {
            let shown = cluster
                .kubectl(&["get", &format!("{}/{name}", one.kind()), "-n", place, "-o", "json"])
                .expect_ok();
            serde_json::from_str::<Value>(&shown).expect("JSON")
        };
        for apply in [
            &["apply", "--server-side", "--field-manager=argocd-controller", "--validate=strict"][..],
            &[
                "apply",
                "--server-side",
                "--field-manager=kustomize-controller",
                "--validate=strict",
            ],
            &["apply", "--validate=strict"],
        ] {
            kubectl(cluster, apply, &object);
            let patch = json!({"status": one.object["status"]}).to_string();
            let target = format!("{}/{name}", one.kind());
            cluster
                .kubectl(&["patch", &target, "-n", place, "--subresource=status", "--type=merge", "-p", &patch])
                .expect_ok();
            let before = shown();
            kubectl(cluster, apply, &object);
            let after = shown();
            assert_eq!(
                before["metadata"]["resourceVersion"],
                after["metadata"]["resourceVersion"],
                "{apply:?} {}: {before:#} {after:#}",
                one.title()
            );
            assert_eq!(after["metadata"]["generation"], 1, "a default is no change of the spec");
        }
        cluster
            .kubectl(&["delete", &format!("{}/{name}", one.kind()), "-n", place])
            .expect_ok();
    }
    let crds = root().join("crds");
    let diff = cluster.kubectl(&["diff", "--server-side", "--force-conflicts", "-f", &crds.to_string_lossy()]);
    assert!(diff.ok, "the CRDs, applied again: {}{}", diff.stdout, diff.stderr);
}

/// The example repository as the author of docs/samples/gitops/rights, and as nobody in particular.
#[tokio::test]
async fn the_rights_of_the_example_are_enough_and_no_more() {
    let cluster = Cluster::shared();
    let installed = Install::new("gitops").on(cluster).await;
    for place in ["rolecall", "backend", "payments"] {
        let _ = cluster.kubectl(&["create", "namespace", place]);
    }
    let folder = root().join("docs/samples/gitops");
    let rights = fs::read_to_string(folder.join("rights/author.yaml")).expect("the rights");
    assert!(rights.contains("name: rolecall-mapper"));
    cluster
        .apply(&rights.replace("rolecall-mapper", &format!("{}-mapper", installed.fullname)), &[])
        .expect_ok();
    let access = folder.join("access");
    let all = cluster.kubectl(&["kustomize", &access.to_string_lossy()]).expect_ok();
    assert!(all.matches("\nkind: ").count() >= 3, "{all}");
    let dry = ["--dry-run=server", "--server-side", "--validate=strict"];
    let author = "--as=system:serviceaccount:rolecall:access-author";
    cluster.apply(&all, &[&dry[..], &[author]].concat()).expect_ok();

    let refused = |yaml: &str, who: &str, says: &str| {
        let said = cluster.apply(yaml, &[&dry[..], &[who]].concat());
        assert!(!said.ok && said.stderr.contains(says), "{who}: {}{}", said.stdout, said.stderr);
    };
    refused(&all, "--as=system:serviceaccount:rolecall:default", "cannot");
    let okta = fs::read_to_string(access.join("sources/okta.yaml")).expect("a source");
    refused(
        &okta.replace("name: okta\n", "name: another\n"),
        author,
        "needs the verb trust on scimsources.rolecall.dev another",
    );
    let mapping = fs::read_to_string(access.join("mappings/backend-view.yaml")).expect("a mapping");
    refused(
        &mapping.replace("name: view}", "name: cluster-admin}"),
        author,
        "needs the verb bind on clusterroles:cluster-admin in namespace backend",
    );
    refused(
        &mapping.replace("  annotations:\n", "  annotations:\n    rolecall.dev/approve: \"4711\"\n"),
        author,
        "needs the verb approve",
    );
    cluster
        .kubectl(&["delete", "clusterrolebinding", "access-author", "access-author-mapper"])
        .expect_ok();
}
