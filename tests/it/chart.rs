//! The chart as helm renders it: no list of values means more than it says, and nothing slips past the schema. No cluster here.

mod doors;
mod manifests;
pub mod monitoring;
mod parts;
mod pods;
mod values;

use std::process::Command;

use serde_json::{Value, json};

use crate::cluster::{programs, root};

fn helm(args: &[&str]) -> (bool, String, String) {
    let output = Command::new(programs().join("helm"))
        .args(args)
        .current_dir(root())
        .output()
        .expect("helm");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.success(), text(&output.stdout), text(&output.stderr))
}

/// What helm says of these values (as `--set-json` takes them): the rendered text, or the error.
fn template(release: &str, values: &[&str]) -> Result<String, String> {
    let flags = values.iter().flat_map(|value| ["--set-json", value]);
    let args: Vec<&str> = ["template", release, "charts/rolecall", "-n", "home"]
        .into_iter()
        .chain(flags)
        .collect();
    let (ok, out, error) = helm(&args);
    if ok { Ok(out) } else { Err(error) }
}

/// Why these values are refused.
fn refusal(values: &[&str]) -> String {
    template("one", values).err().unwrap_or_else(|| panic!("{values:?} was taken"))
}

/// Everything that the chart renders for these values, as release `release` in namespace `home`.
fn render_as(release: &str, values: &[&str]) -> Vec<Value> {
    let out = template(release, values).unwrap_or_else(|error| panic!("{values:?}: {error}"));
    serde_saphyr::from_multiple::<Value>(&out)
        .expect("YAML")
        .into_iter()
        .filter(|object| object.is_object())
        .collect()
}

/// The same as release `one`.
fn render(values: &[&str]) -> Vec<Value> {
    render_as("one", values)
}

/// Everything of one kind.
fn all<'a>(objects: &'a [Value], kind: &str) -> Vec<&'a Value> {
    objects.iter().filter(|object| object["kind"] == kind).collect()
}

fn find<'a>(objects: &'a [Value], kind: &str, name: &str) -> &'a Value {
    objects
        .iter()
        .find(|object| object["kind"] == kind && object["metadata"]["name"] == name)
        .unwrap_or_else(|| panic!("no {kind} {name}"))
}

#[test]
fn helm_lint_has_nothing_to_say() {
    let (ok, out, error) = helm(&["lint", "--strict", "charts/rolecall"]);
    assert!(ok, "{out}{error}");
}

#[test]
fn values_that_mean_something_else_are_refused() {
    for (value, word) in [
        ("accesPolicy={}", "accesPolicy"),
        (r#"accessPolicy.role=["x"]"#, "role"),
        (r#"accessPolicy.roles=["*"]"#, "roles"),
        (r#"accessPolicy.roles=[""]"#, "roles"),
        (r#"accessPolicy.roles="view""#, "roles"),
        (r#"accessPolicy.clusterRoles=["a/b"]"#, "clusterRoles"),
        (r#"accessPolicy.clusterRoles=["a\" || true || \""]"#, "clusterRoles"),
        (r#"accessPolicy.clusterRoles=["view","view"]"#, "clusterRoles"),
        (r#"accessPolicy.usernamePrefixes=["system:"]"#, "usernamePrefixes"),
        (r#"accessPolicy.usernamePrefixes=["system:serviceaccount:"]"#, "usernamePrefixes"),
        (r#"accessPolicy.groupPrefixes=["system:masters"]"#, "groupPrefixes"),
        (r#"accessPolicy.protectedNamespaces=["*-system"]"#, "protectedNamespaces"),
        (r#"accessPolicy.protectedNamespaces=["Kube"]"#, "protectedNamespaces"),
        (r#"class="A b""#, "class"),
        (r#"crds.enabled="no""#, "crds"),
    ] {
        let (ok, _, error) = helm(&["template", "one", "charts/rolecall", "--set-json", value]);
        assert!(!ok, "{value} was taken");
        assert!(error.contains(word), "{value}: {error}");
    }
}

#[test]
fn an_empty_list_gives_no_right() {
    let lists = [
        "clusterRoles",
        "roles",
        "clusterWideRoles",
        "usernamePrefixes",
        "groupPrefixes",
        "protectedNamespaces",
    ];
    let empty: Vec<String> = lists.iter().map(|list| format!("accessPolicy.{list}=[]")).collect();
    let objects = render(&empty.iter().map(String::as_str).collect::<Vec<_>>());
    for object in &objects {
        for rule in object["rules"].as_array().into_iter().flatten() {
            assert!(!rule["verbs"].as_array().expect("verbs").contains(&json!("bind")), "{rule}");
            assert_ne!(rule["resourceNames"], json!([]), "an empty resourceNames means every name: {rule}");
        }
    }
    let protected = find(&objects, "ConfigMap", "one-rolecall-access-policy")["data"]["access-policy.yaml"]
        .as_str()
        .expect("a file");
    assert!(
        protected.contains(r#"protectedNamespaces: ["home"]"#),
        "our own namespace always is protected: {protected}"
    );
}

#[test]
fn no_rule_is_wider_than_it_has_to_be() {
    let objects = render(&[r#"accessPolicy.roles=["deployer"]"#, r#"accessPolicy.clusterWideRoles=["wide"]"#]);
    for object in &objects {
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        for rule in object["rules"].as_array().into_iter().flatten() {
            let text = rule.to_string();
            for word in ["\"*\"", "escalate", "impersonate", "deletecollection", "serviceaccounts"] {
                assert!(!text.contains(word), "{name}: {text}");
            }
            if text.contains("\"bind\"") {
                assert!(!rule["resourceNames"].as_array().expect("a list").is_empty(), "{name}: {text}");
                assert_eq!(rule["verbs"], json!(["bind"]), "{name}");
            }
        }
        let labels = object["metadata"]["labels"].to_string();
        assert!(!labels.contains("aggregate-to"), "{name} is aggregated into somebody's role");
    }
    // With `bind` on a role that is listed cluster-wide only, a namespace's admin could bind it there by hand.
    assert!(!find(&objects, "ClusterRole", "one-rolecall-mapper").to_string().contains("wide"));
    let verbs = |objects: &[Value]| {
        let controller = find(objects, "ClusterRole", "one-rolecall-controller");
        let mut rules = controller["rules"].as_array().expect("rules").iter();
        let rule = rules.find(|rule| rule["resources"] == json!(["clusterrolebindings"])).cloned();
        rule.expect("a rule")["verbs"].clone()
    };
    assert_eq!(verbs(&objects), json!(["get", "list", "watch", "create", "update", "delete"]));
    assert_eq!(
        verbs(&render(&[])),
        json!(["get", "list", "watch", "delete"]),
        "what was granted can still go"
    );
}

#[test]
fn policies_take_no_parameter_of_ours_and_judge_no_deletion_of_others() {
    let objects = render(&[]);
    let mut policies = 0;
    for object in objects.iter().filter(|object| object["kind"] == "ValidatingAdmissionPolicy") {
        policies += 1;
        let (name, spec) = (&object["metadata"]["name"], &object["spec"]);
        match spec["paramKind"]["kind"].as_str() {
            None => {}
            Some(kind) => assert_eq!(kind, "Lease", "{name}: only a built-in kind"),
        }
        let rules = spec["matchConstraints"]["resourceRules"].to_string();
        let conditions = spec["matchConditions"].to_string();
        if rules.contains("DELETE") || rules.contains("rolebindings") || rules.contains("namespaces") {
            assert!(
                conditions.contains("system:serviceaccount:home:one-rolecall-controller"),
                "{name} judges other people"
            );
        }
    }
    let bound: Vec<&Value> = objects
        .iter()
        .filter(|object| object["kind"] == "ValidatingAdmissionPolicyBinding")
        .collect();
    assert_eq!((policies, bound.len()), (9, 9));
    for binding in bound {
        assert_eq!(binding["spec"]["policyName"], binding["metadata"]["name"]);
        assert_eq!(binding["spec"]["validationActions"], json!(["Deny"]));
        let action = &binding["spec"]["paramRef"]["parameterNotFoundAction"];
        assert!(action.is_null() || action == "Allow", "{binding}");
    }
}

#[test]
fn the_crds_are_the_generated_ones_and_stay() {
    let of_kind = |values: &[&str]| {
        render(values)
            .into_iter()
            .filter(|o| o["kind"] == "CustomResourceDefinition")
            .collect::<Vec<_>>()
    };
    let rendered = of_kind(&[]);
    assert_eq!(rendered.len(), 5);
    for (file, yaml) in rolecall::api::crds::all() {
        let crd: Value = serde_saphyr::from_str(&yaml).expect("YAML");
        let found = rendered
            .iter()
            .find(|r| r["metadata"]["name"] == crd["metadata"]["name"])
            .unwrap_or_else(|| panic!("no {file}"));
        assert_eq!(found["spec"], crd["spec"], "{file}");
        assert_eq!(found["metadata"]["annotations"]["helm.sh/resource-policy"], "keep");
        let size = serde_json::to_vec(&crd).expect("JSON").len();
        assert!(size < 262_144, "{file} is too large for a client-side apply: {size}");
    }
    assert!(of_kind(&["crds.keep=false"]).iter().all(|r| r["metadata"]["annotations"].is_null()));
    assert!(of_kind(&["crds.enabled=false"]).is_empty());
}
