//! docs/mapping-cookbook.md: every file of it is applied to a real API server, and says of a small company what it is there to say.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Value, json};

use crate::cluster::{Cluster, root};
use crate::install::Install;
use crate::system::{System, until};

/// The files, by the number of their need.
fn files() -> BTreeMap<usize, Value> {
    let text = std::fs::read_to_string(root().join("docs/mapping-cookbook.md")).expect("the cookbook");
    let needs = text.split("\n## ").skip(1).map(|need| {
        let number = need.split('.').next().and_then(|n| n.parse().ok()).expect("a number");
        let yaml = need.split("```yaml\n").nth(1).and_then(|rest| rest.split("```").next());
        (number, serde_saphyr::from_str(yaml.expect("a file")).expect("YAML"))
    });
    needs.collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_file_of_the_cookbook_grants_what_it_says() {
    let install = Install::new("cookbook").value(r#"accessPolicy.clusterWideRoles=["view"]"#);
    let system = System::with(Cluster::shared(), install).await;
    let _controller = system.controller();
    let gateway = system.gateway().await;
    for (place, labels) in [
        ("payments", json!({"team": "payments"})),
        ("shared", json!({})),
        ("payments-test", json!({"team": "payments"})),
    ] {
        system.namespace(&format!("cookbook-{place}"), labels).await;
    }
    let okta = system.source(&gateway.url, "cookbook-okta").await;
    let entra = system.source(&gateway.url, "cookbook-entra").await;
    system
        .merge(
            "scimsource",
            None,
            "cookbook-okta",
            &json!({"mappableAttributes": ["userType"], "subject": {"group": "'okta:' + group.displayName"}}),
        )
        .expect_ok();
    let enterprise = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User";
    let person = async |name: &str, kind: &str, department: &str| {
        let mut body = json!({"userName": format!("{name}@corp.example")});
        if !kind.is_empty() {
            body["userType"] = json!(kind);
        }
        if !department.is_empty() {
            body[enterprise] = json!({"department": department});
        }
        let made = okta.send("POST", "/Users", Some(body), &[201]).await;
        made["id"].as_str().expect("an id").to_owned()
    };
    let ada = person("ada", "Employee", "Research").await;
    let bob = person("bob", "Contractor", "Contractors").await;
    let cy = person("cy", "", "").await;
    let dee = person("auditor", "Employee", "Audit").await;
    let eli = entra.user("eli@partner.example").await;
    okta.group("Payments", &[&ada, &bob, &cy]).await;
    okta.group("k8s-all", &[&dee]).await;
    okta.group("Auditors", &[&dee]).await;
    okta.group("k8s-payments-edit", &[&ada]).await;
    okta.group("k8s-shared-view", &[&bob]).await;
    okta.group("new-fresh", &[&cy]).await;
    let group = json!({"displayName": "Any name", "externalId": "8aa1a0c0-c4c3-4bc0-b4a5-2ef676900159", "members": [{"value": eli}]});
    entra.send("POST", "/Groups", Some(group), &[201]).await;
    entra.group("Payments Partners", &[&eli]).await;

    // need -> namespace/role of each person
    let expected: [&[&str]; 18] = [
        &["payments/view:ada,bob,cy"],
        &["payments/edit:eli"],
        &["payments/edit:ada,bob,cy", "payments-test/edit:ada,bob,cy"],
        &["payments/edit:ada,bob,cy", "shared/view:ada,bob,cy"],
        &["shared/view:ada,auditor,bob"],
        &["payments/edit:ada"],
        &["payments/view:ada"],
        &["payments/view:auditor", "shared/view:auditor"],
        &[],
        &["payments/view:ada,bob,cy,eli"],
        &[],
        &["payments/view:ada"],
        &["payments/view:ada,bob,cy"],
        &["payments/edit:ada", "shared/view:bob"],
        &[],
        &["fresh/edit:cy"],
        &["(cluster)/view:auditor"],
        &["payments/view:okta:Payments"],
    ];
    let files = files();
    assert_eq!(files.keys().copied().collect::<Vec<_>>(), (1..=18).collect::<Vec<_>>());
    for (number, mut object) in files {
        // As the document has it, but for the names: other tests share the cluster.
        let own = |name: &str| json!(format!("cookbook-{name}"));
        let kind = object["kind"].as_str().expect("a kind").to_owned();
        let namespace = object["metadata"]["namespace"].as_str().map(|name| format!("cookbook-{name}"));
        if let Some(namespace) = &namespace {
            object["metadata"]["namespace"] = json!(namespace);
        }
        let name = object["metadata"]["name"].as_str().expect("a name").to_owned();
        let sources = object["spec"]["sources"]
            .as_array()
            .expect("sources")
            .iter()
            .map(|source| own(source.as_str().expect("a name")));
        object["spec"]["sources"] = sources.collect();
        for grant in object["spec"]["grants"].as_array_mut().expect("grants") {
            if let Some(names) = grant.pointer_mut("/namespaces/names").and_then(Value::as_array_mut) {
                names.iter_mut().for_each(|name| *name = own(name.as_str().expect("a name")));
            }
            if let Some(expression) = grant.pointer_mut("/namespaces/expression") {
                *expression = json!(format!("'cookbook-' + {}", expression.as_str().expect("an expression")));
            }
        }
        let object = system.mapping(&kind, namespace.as_deref(), &name, object["spec"].clone());
        system.apply(&object);
        let wanted: BTreeSet<String> = expected[number - 1].iter().map(|one| (*one).to_owned()).collect();
        let mut found = BTreeSet::new();
        let as_said = until(Duration::from_secs(20), || {
            found = granted(
                &system,
                &format!("{kind}/{}{name}", namespace.iter().map(|n| format!("{n}/")).collect::<String>()),
            );
            let ready = system.status(&kind.to_lowercase(), namespace.as_deref(), &name)["conditions"]
                .to_string()
                .contains(r#""status":"True","type":"Ready""#);
            std::future::ready(found == wanted && ready)
        });
        assert!(
            as_said.await.is_ok(),
            "need {number}: {found:?} instead of {wanted:?}\n{}",
            system.explain()
        );
        let mut gone = vec!["delete", kind.as_str(), name.as_str()];
        gone.extend(namespace.iter().flat_map(|namespace| ["-n", namespace.as_str()]));
        system.cluster.kubectl(&gone).expect_ok();
    }
}

/// What the mapping's bindings grant: `namespace/role:people`.
fn granted(system: &System<'_>, mapping: &str) -> BTreeSet<String> {
    let all = system
        .cluster
        .kubectl(&[
            "get",
            "rolebindings,clusterrolebindings",
            "-A",
            "-l",
            "app.kubernetes.io/managed-by=rolecall",
            "-o",
            "json",
        ])
        .expect_ok();
    let all: Value = serde_json::from_str(&all).expect("JSON");
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let ours = |one: &&Value| one["metadata"]["annotations"]["rolecall.dev/mapping"] == mapping;
    for one in all["items"].as_array().into_iter().flatten().filter(ours) {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let place = match one["kind"].as_str() {
            Some("ClusterRoleBinding") => "(cluster)".to_owned(),
            _ => text(&one["metadata"]["namespace"]).replacen("cookbook-", "", 1),
        };
        let people = one["subjects"].as_array().into_iter().flatten();
        let short = people.map(|subject| {
            text(&subject["name"])
                .trim_start_matches("oidc:")
                .split('@')
                .next()
                .unwrap_or_default()
                .to_owned()
        });
        found
            .entry(format!("{place}/{}", text(&one["roleRef"]["name"])))
            .or_default()
            .extend(short);
    }
    found
        .into_iter()
        .map(|(place, people)| format!("{place}:{}", people.into_iter().collect::<Vec<_>>().join(",")))
        .collect()
}
