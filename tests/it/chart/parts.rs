//! What the chart makes as a whole: which kinds, under which names, for how many installations, and with rights in which namespaces.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{all, find, render, render_as};

#[test]
fn nothing_of_somebody_elses_api_is_needed() {
    let kinds: BTreeSet<String> = render(&[]).iter().map(|o| o["kind"].as_str().expect("a kind").to_owned()).collect();
    let expected = [
        "ClusterRole",
        "ClusterRoleBinding",
        "ConfigMap",
        "CustomResourceDefinition",
        "Deployment",
        "FlowSchema",
        "NetworkPolicy",
        "Pod",
        "PodDisruptionBudget",
        "PriorityLevelConfiguration",
        "Role",
        "RoleBinding",
        "Secret",
        "Service",
        "ServiceAccount",
        "ValidatingAdmissionPolicy",
        "ValidatingAdmissionPolicyBinding",
    ];
    assert_eq!(kinds.iter().map(String::as_str).collect::<Vec<_>>(), expected);
}

/// What makes an object the same one: its kind, namespace and name.
fn identity(object: &Value) -> (String, String, String) {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    (
        text(&object["kind"]),
        text(&object["metadata"]["namespace"]),
        text(&object["metadata"]["name"]),
    )
}

#[test]
fn two_installations_share_no_object() {
    let everything = [
        "ingress.enabled=true",
        r#"ingress.host="a.example""#,
        "monitoring.dashboard.enabled=true",
        r#"rbac.namespaces=["backend"]"#,
    ];
    let first = render_as("first", &everything);
    let second = render_as("second", &[&everything[..], &["crds.enabled=false", r#"class="two""#]].concat());
    let (first, second): (BTreeSet<_>, BTreeSet<_>) = (first.iter().map(identity).collect(), second.iter().map(identity).collect());
    let both: Vec<_> = first.intersection(&second).collect();
    assert!(both.is_empty(), "{both:?}");
    for (kind, namespace, name) in second {
        assert!(
            !namespace.is_empty() || name.starts_with("second-rolecall"),
            "{kind} {name} could be another installation's"
        );
    }
}

#[test]
fn the_longest_names_are_valid_ones() {
    let release = "a".repeat(53);
    for object in render_as(&release, &[r#"rbac.namespaces=["backend"]"#, "monitoring.dashboard.enabled=true"]) {
        let (kind, _, name) = identity(&object);
        assert!(name.len() <= 63 && !name.ends_with('-'), "{kind} {name}");
        for (key, value) in object["metadata"]["labels"].as_object().into_iter().flatten() {
            assert!(value.as_str().is_some_and(|value| value.len() <= 63), "{kind} {name}: {key}");
        }
    }
}

/// The rules of a role, as `verbs resources names`.
fn rules(object: &Value) -> Vec<String> {
    let list = |value: &Value| {
        value
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect::<Vec<_>>()
            .join(",")
    };
    let rules = object["rules"].as_array().into_iter().flatten();
    rules
        .map(|rule| {
            format!(
                "{} {} {}",
                list(&rule["verbs"]),
                list(&rule["resources"]),
                list(&rule["resourceNames"])
            )
            .trim_end()
            .to_owned()
        })
        .collect()
}

#[test]
fn rights_to_grant_are_in_the_listed_namespaces_only() {
    let lists = [r#"accessPolicy.roles=["deployer"]"#, r#"accessPolicy.clusterWideRoles=["wide"]"#];
    let objects = render(&[lists[0], lists[1], r#"rbac.namespaces=["backend", "frontend"]"#]);
    let everywhere = rules(find(&objects, "ClusterRole", "one-rolecall-controller"));
    // What was granted can go, wherever it is; what is granted in the whole cluster is not in any namespace.
    for rule in [
        "get,list,watch,delete rolebindings",
        "bind clusterroles wide",
        "get,list,watch,patch namespaces",
    ] {
        assert!(everywhere.iter().any(|r| r == rule), "no {rule} in {everywhere:?}");
    }
    let bind: Vec<&String> = everywhere.iter().filter(|rule| rule.starts_with("bind")).collect();
    assert_eq!(bind, ["bind clusterroles wide"]);
    let mut granted = Vec::new();
    for role in all(&objects, "Role") {
        let (_, namespace, name) = identity(role);
        for rule in rules(role)
            .into_iter()
            .filter(|rule| rule.starts_with("bind") || rule.contains("rolebindings"))
        {
            granted.push(format!("{namespace}/{name}: {rule}"));
        }
    }
    granted.sort();
    let mut expected = vec!["home/one-rolecall-controller: create rolebindings".to_owned()]; // the probe of the fence, always a dry run
    for namespace in ["backend", "frontend"] {
        for rule in ["bind clusterroles view,edit", "bind roles deployer", "create,update rolebindings"] {
            expected.push(format!("{namespace}/one-rolecall-grants: {rule}"));
        }
    }
    expected.sort();
    assert_eq!(granted, expected);
    for binding in all(&objects, "RoleBinding") {
        let (_, namespace, _) = identity(binding);
        assert_eq!(binding["subjects"].as_array().map(Vec::len), Some(1));
        if namespace != "home" {
            assert_eq!(
                binding["subjects"][0],
                json!({"kind": "ServiceAccount", "name": "one-rolecall-controller", "namespace": "home"})
            );
        }
    }
    // Without a list it is as it always was.
    let anywhere = rules(find(&render(&lists), "ClusterRole", "one-rolecall-controller"));
    for rule in [
        "get,list,watch,create,update,delete rolebindings",
        "bind clusterroles view,edit,wide",
        "bind roles deployer",
    ] {
        assert!(anywhere.iter().any(|r| r == rule), "no {rule} in {anywhere:?}");
    }
}

#[test]
fn our_requests_have_seats_of_their_own_at_the_api_server() {
    let objects = render(&[]);
    let mut flows: Vec<(i64, String, String, String)> = Vec::new();
    for flow in all(&objects, "FlowSchema") {
        let spec = &flow["spec"];
        let rules = spec["rules"].as_array().expect("rules");
        assert_eq!(rules.len(), 1);
        let subjects = rules[0]["subjects"].as_array().expect("subjects");
        assert_eq!(subjects.len(), 1, "nobody else's requests are taken");
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        let account = &subjects[0]["serviceAccount"];
        assert_eq!(account["namespace"], "home");
        let precedence = spec["matchingPrecedence"].as_i64().expect("a number");
        flows.push((
            precedence,
            identity(flow).2,
            text(&account["name"]),
            text(&spec["priorityLevelConfiguration"]["name"]),
        ));
    }
    flows.sort();
    let flows: Vec<String> = flows
        .into_iter()
        .map(|(_, name, account, level)| format!("{name}: {account} at {level}"))
        .collect();
    // The Lease before everything: whoever renews it late leads no more. Then writes of bindings, and the rest in a queue of its own.
    let expected = [
        "one-rolecall-lease: one-rolecall-controller at leader-election",
        "one-rolecall-bindings: one-rolecall-controller at one-rolecall-controller",
        "one-rolecall-controller: one-rolecall-controller at one-rolecall-controller",
        "one-rolecall-gateway: one-rolecall-gateway at one-rolecall-gateway",
    ];
    assert_eq!(flows, expected);
    let levels: Vec<String> = all(&objects, "PriorityLevelConfiguration")
        .iter()
        .map(|level| identity(level).2)
        .collect();
    assert_eq!(levels, ["one-rolecall-controller", "one-rolecall-gateway"]);
    let without = render(&["flowControl.enabled=false"]);
    assert!(all(&without, "FlowSchema").is_empty() && all(&without, "PriorityLevelConfiguration").is_empty());
}
