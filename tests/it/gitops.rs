//! GitOps: Argo CD's scripts of ours by its own interpreter, what `kubectl wait`, Helm 4, kstatus and Argo CD make of every status, and docs/gitops.md with
//! its example repository.

mod files;
mod live;
mod page;
mod situations;
mod world;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use crate::cluster::root;
use files::{CUSTOMIZATIONS, KINDS, TABLE};

/// The Go program that judges as others do, built once.
fn program() -> PathBuf {
    let built = Command::new(root().join("tests/argocd/build.sh")).output().expect("a shell");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    PathBuf::from(String::from_utf8_lossy(&built.stdout).trim())
}

/// What it says; it must find nothing wrong.
fn judge(args: &[&Path]) -> String {
    let done = Command::new(program())
        .args(args)
        .current_dir(root())
        .output()
        .expect("the program");
    let (out, err) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success(), "{out}{err}");
    out.into_owned()
}

#[test]
fn argo_cd_runs_our_scripts_as_their_tests_say() {
    let said = judge(&[Path::new("lua"), Path::new(CUSTOMIZATIONS)]);
    println!("{}", said.trim());
    let counts: Vec<usize> = said.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    assert!(counts.len() == 3 && counts[0] >= 30 && counts[1] >= 12 && counts[2] >= 15, "{said}");
}

#[test]
fn kubectl_helm_kstatus_and_argo_cd_agree_on_every_situation() {
    let said = judge(&[Path::new("verdicts"), Path::new(CUSTOMIZATIONS), Path::new(TABLE)]);
    println!("{}", said.trim());
    assert!(said.contains(&format!("{0} of {0} situations", situations::all().len())), "{said}");
}

/// What a controller writes has the shape of the contract, and the files have what it writes.
#[test]
fn files_are_fresh() {
    for one in situations::all() {
        let generation = one.object["metadata"]["generation"].as_i64().expect("a generation");
        let conditions: Vec<Condition> = serde_json::from_value(one.object["status"]["conditions"].clone()).unwrap_or_default();
        let wrong = rolecall::api::conditions::check(&conditions, generation);
        let unseen = one.object["status"]["observedGeneration"] == -1;
        assert!(unseen || wrong.is_empty(), "{}: {wrong:?}", one.title());
    }
    let write = std::env::var_os("ROLECALL_WRITE_DOCS").is_some();
    let files = files::files();
    for (path, text) in &files {
        let path = root().join(path);
        if write {
            fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            fs::write(&path, text).expect("written");
        }
        let there = fs::read_to_string(&path).unwrap_or_default();
        assert!(
            there == *text,
            "{} is stale: ROLECALL_WRITE_DOCS=1 cargo test --test it gitops::files_are_fresh",
            path.display()
        );
    }
    for kind in KINDS {
        for folder in ["testdata", "actions/testdata"] {
            let folder = Path::new(CUSTOMIZATIONS).join("rolecall.dev").join(kind).join(folder);
            for entry in fs::read_dir(root().join(&folder)).expect("a folder").flatten() {
                let path = folder.join(entry.file_name());
                assert!(files.contains_key(&path), "{} is of no situation", path.display());
            }
        }
    }
}

/// Argo CD wants a script for each kind. Ours are the same, and stay so.
#[test]
fn every_kind_has_the_same_scripts() {
    let folder = root().join(CUSTOMIZATIONS).join("rolecall.dev");
    let mut found: Vec<String> = fs::read_dir(&folder)
        .expect("a folder")
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    found.sort();
    let mut kinds = KINDS.map(str::to_owned).to_vec();
    kinds.sort();
    assert_eq!(found, kinds, "Journal and Segment have no health: they are excluded");
    for script in page::SCRIPTS {
        let texts = KINDS.map(|kind| fs::read_to_string(folder.join(kind).join(script)).expect("a script"));
        assert!(texts.iter().all(|text| *text == texts[0]), "{script} differs");
    }
}
