//! The chart's pods: what they may do on a node, how they start and end, and what they are told.

use serde_json::{Value, json};

use super::{all, find, refusal, render, template};

/// The pods that a rendering makes, by the name of what makes them.
fn pods(objects: &[Value]) -> Vec<(String, Value)> {
    let name = |object: &Value| object["metadata"]["name"].as_str().expect("a name").to_owned();
    let deployments = all(objects, "Deployment")
        .into_iter()
        .map(|d| (name(d), d["spec"]["template"]["spec"].clone()));
    let bare = all(objects, "Pod").into_iter().map(|p| (name(p), p["spec"].clone()));
    deployments.chain(bare).collect()
}

fn pod(objects: &[Value], part: &str) -> Value {
    find(objects, "Deployment", &format!("one-rolecall-{part}"))["spec"]["template"]["spec"].clone()
}

fn args(objects: &[Value], part: &str) -> Vec<String> {
    let args = pod(objects, part)["containers"][0]["args"].clone();
    serde_json::from_value(args).expect("a list of texts")
}

#[test]
fn every_pod_is_fit_for_a_restricted_namespace() {
    for values in [
        &[][..],
        &["runAsUser=null"],
        &[r#"tls.mode="secret""#, r#"gateway.extraArgs=["--source-rate=1"]"#],
    ] {
        let objects = render(values);
        let found = pods(&objects);
        assert_eq!(found.len(), 3, "gateway, controller and the test");
        for (name, spec) in found {
            let security = &spec["securityContext"];
            assert_eq!(security["runAsNonRoot"], true, "{name}");
            assert_eq!(security["seccompProfile"]["type"], "RuntimeDefault", "{name}");
            if values.first() == Some(&"runAsUser=null") {
                assert!(
                    security["runAsUser"].is_null() && security["fsGroup"].is_null(),
                    "{name}: the platform says who"
                );
            } else {
                assert_eq!(security["runAsUser"], 65532, "{name}");
            }
            for setting in ["hostNetwork", "hostPID", "hostIPC"] {
                assert!(spec[setting].is_null(), "{name}: {setting}");
            }
            assert_eq!(spec["automountServiceAccountToken"], false, "{name}");
            assert_eq!(spec["enableServiceLinks"], false, "{name}");
            let containers = spec["containers"].as_array().expect("containers");
            assert_eq!(containers.len(), 1, "{name}");
            for container in containers {
                let security = &container["securityContext"];
                let wanted = json!({"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]}});
                assert_eq!(security, &wanted, "{name}");
                let resources = &container["resources"];
                assert!(
                    resources["requests"]["cpu"].is_string() && resources["requests"]["memory"].is_string(),
                    "{name}"
                );
                assert!(resources["limits"]["memory"].is_string(), "{name}: memory has a limit");
                assert!(resources["limits"]["cpu"].is_null(), "{name}: a throttled process loses its Lease");
                for port in container["ports"].as_array().into_iter().flatten() {
                    assert!(port["hostPort"].is_null(), "{name}");
                }
            }
            for volume in spec["volumes"].as_array().into_iter().flatten() {
                assert!(volume["hostPath"].is_null(), "{name}: {volume}");
            }
        }
    }
}

#[test]
fn an_image_is_never_the_latest_one() {
    let images = |values: &[&str]| {
        let objects = render(values);
        let images: Vec<String> = pods(&objects)
            .iter()
            .map(|(_, spec)| spec["containers"][0]["image"].as_str().expect("an image").to_owned())
            .collect();
        assert!(images.iter().all(|image| image == &images[0]), "one image for all: {images:?}");
        images[0].clone()
    };
    let version = env!("CARGO_PKG_VERSION");
    assert!(
        images(&[]).ends_with(&format!("/rolecall:{version}")),
        "the chart's appVersion is the binary's"
    );
    let digest = format!("sha256:{}", "a".repeat(64));
    assert_eq!(
        images(&[
            r#"image={"repository": "localhost/rolecall", "tag": "7"}"#,
            &format!("image.digest={}", json!(digest))
        ]),
        format!("localhost/rolecall:7@{digest}")
    );
}

#[test]
fn both_processes_are_told_who_and_where_they_are() {
    let objects = render(&[
        r#"class="blue""#,
        r#"publicUrl="https://rolecall.example.com""#,
        r#"controller.extraArgs=["--lease-duration=30s"]"#,
    ]);
    let controller = [
        "controller",
        "--log-format=json",
        "--log=info",
        "--namespace=home",
        "--class=blue",
        "--identity=$(POD_NAME)",
        "--health-address=0.0.0.0:8081",
        "--public-url=https://rolecall.example.com",
        "--fullname=one-rolecall",
        "--access-policy=/etc/rolecall/access-policy.yaml",
        "--lease-duration=30s",
    ];
    assert_eq!(args(&objects, "controller"), controller);
    let gateway = [
        "gateway",
        "--log-format=json",
        "--log=info",
        "--namespace=home",
        "--class=blue",
        "--identity=$(POD_NAME)",
        "--health-address=0.0.0.0:8081",
        "--public-url=https://rolecall.example.com",
        "--listen=0.0.0.0:8443",
        "--tls-cert=/etc/rolecall/tls/tls.crt",
        "--tls-key=/etc/rolecall/tls/tls.key",
        "--cursor-key=/etc/rolecall/cursor/cursor.key",
        "--drain-timeout=25s",
    ];
    assert_eq!(args(&objects, "gateway"), gateway);
    for part in ["gateway", "controller"] {
        let spec = pod(&objects, part);
        let env = &spec["containers"][0]["env"][0];
        assert_eq!(
            env,
            &json!({"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}})
        );
        assert_eq!(spec["serviceAccountName"], format!("one-rolecall-{part}"));
        // What a client in a pod looks for, and nothing that outlives the pod.
        let volumes = spec["volumes"].as_array().expect("volumes");
        let token = volumes.iter().find(|v| v["name"] == "kube-api-access").expect("a token");
        let sources = token["projected"]["sources"].to_string();
        for file in [
            r#""path":"token""#,
            "kube-root-ca.crt",
            r#""path":"ca.crt""#,
            r#""path":"namespace""#,
            "expirationSeconds",
        ] {
            assert!(sources.contains(file), "{part}: no {file}");
        }
    }
}

#[test]
fn what_changes_is_read_again_without_a_restart() {
    let objects = render(&[]);
    for part in ["gateway", "controller"] {
        let spec = pod(&objects, part);
        for mount in spec["containers"][0]["volumeMounts"].as_array().expect("mounts") {
            assert!(mount["subPath"].is_null(), "{part}: a single file is never read again: {mount}");
            assert_eq!(mount["readOnly"], true, "{part}");
        }
        let annotations = &find(&objects, "Deployment", &format!("one-rolecall-{part}"))["spec"]["template"]["metadata"]["annotations"];
        assert!(
            !annotations.to_string().contains("checksum"),
            "{part}: it would start anew with each list"
        );
    }
    // Neither another access policy nor another version of the chart starts a pod anew.
    let other = render(&[r#"accessPolicy.clusterRoles=["admin"]"#, r#"tls.dnsNames=["a.example"]"#]);
    for part in ["gateway", "controller"] {
        let template = |objects| find(objects, "Deployment", &format!("one-rolecall-{part}"))["spec"]["template"].clone();
        assert_eq!(template(&objects), template(&other));
        assert!(!template(&objects).to_string().contains("helm.sh/chart"), "{part}");
    }
}

#[test]
fn an_api_server_that_is_away_kills_no_pod() {
    let objects = render(&[]);
    for part in ["gateway", "controller"] {
        let container = &pod(&objects, part)["containers"][0];
        for (probe, path) in [
            ("startupProbe", "/healthz"),
            ("livenessProbe", "/healthz"),
            ("readinessProbe", "/readyz"),
        ] {
            let asked = &container[probe]["httpGet"];
            assert_eq!(
                (&asked["path"], &asked["port"]),
                (&json!(path), &json!("metrics")),
                "{part} {probe}"
            );
        }
    }
}

#[test]
fn a_pod_that_ends_answers_what_it_has_taken() {
    let spec = pod(&render(&[]), "gateway");
    let (grace, wait) = (
        &spec["terminationGracePeriodSeconds"],
        &spec["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"],
    );
    assert!(grace.as_i64().expect("a number") > 25 + wait.as_i64().expect("a number"));
    let error = refusal(&["gateway.drainSeconds=60"]);
    assert!(error.contains("terminationGracePeriodSeconds"), "{error}");
    assert!(template("one", &["gateway.drainSeconds=60", "gateway.terminationGracePeriodSeconds=66"]).is_ok());
    let rolling = find(&render(&[]), "Deployment", "one-rolecall-gateway")["spec"]["strategy"].clone();
    assert_eq!(
        rolling["rollingUpdate"]["maxUnavailable"], 0,
        "as many serve during an upgrade as before"
    );
    let recreate = render(&[r#"gateway.strategy={"type": "Recreate"}"#]);
    let recreate = &find(&recreate, "Deployment", "one-rolecall-gateway")["spec"]["strategy"];
    assert_eq!(
        recreate,
        &json!({"type": "Recreate"}),
        "Kubernetes refuses it with the default's rollingUpdate"
    );
}

#[test]
fn nodes_are_drained_one_pod_at_a_time_and_never_in_vain() {
    for (replicas, budgets) in [(0, 0), (1, 0), (2, 1), (5, 1)] {
        let objects = render(&[&format!("gateway.replicas={replicas}"), "controller.replicas=1"]);
        let found = all(&objects, "PodDisruptionBudget");
        assert_eq!(found.len(), budgets, "{replicas} replicas");
        for budget in found {
            assert_eq!(budget["spec"]["maxUnavailable"], 1);
            assert_eq!(budget["spec"]["unhealthyPodEvictionPolicy"], "AlwaysAllow");
        }
    }
}

#[test]
fn labels_of_pods_do_not_take_them_out_of_their_service() {
    let labels = r#"gateway.podLabels={"app.kubernetes.io/component": "other", "team": "identity"}"#;
    let objects = render(&[labels, r#"commonLabels={"app.kubernetes.io/instance": "other"}"#]);
    let deployment = find(&objects, "Deployment", "one-rolecall-gateway");
    let given = &deployment["spec"]["template"]["metadata"]["labels"];
    assert_eq!(given["team"], "identity");
    let selector = deployment["spec"]["selector"]["matchLabels"].as_object().expect("a selector");
    let service = &find(&objects, "Service", "one-rolecall-gateway")["spec"]["selector"];
    assert_eq!(&json!(selector), service);
    for (key, value) in selector {
        assert_eq!(&given[key], value, "{key}");
    }
    let spread = &deployment["spec"]["template"]["spec"]["topologySpreadConstraints"][0];
    assert_eq!(&spread["labelSelector"]["matchLabels"], service);
}

#[test]
fn the_test_asks_through_the_service_with_the_root_and_no_key() {
    let objects = render(&[]);
    let test = find(&objects, "Pod", "one-rolecall-test");
    assert_eq!(test["metadata"]["annotations"]["helm.sh/hook"], "test");
    let args = &test["spec"]["containers"][0]["args"];
    let wanted = [
        "selfcheck",
        "--url",
        "https://one-rolecall-gateway.home.svc:443",
        "--ca-file",
        "/etc/rolecall/ca/ca.crt",
    ];
    assert_eq!(args, &json!(wanted));
    let volumes = &test["spec"]["volumes"];
    assert_eq!(volumes[0]["secret"]["items"], json!([{"key": "ca.crt", "path": "ca.crt"}]));
    assert!(test["spec"]["serviceAccountName"].is_null(), "it asks the API server nothing");
    let public = render(&[r#"helmTest={"url": "https://rolecall.example.com", "caKey": ""}"#]);
    let public = &find(&public, "Pod", "one-rolecall-test")["spec"];
    assert_eq!(
        public["containers"][0]["args"],
        json!(["selfcheck", "--url", "https://rolecall.example.com"])
    );
    assert!(public["volumes"].is_null(), "{public}");
}
