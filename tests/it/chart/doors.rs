//! How requests come in and what may go out: certificate, Service, Ingress, HTTPRoute, network policies.

use serde_json::{Value, json};

use super::{all, find, refusal, render};

const CERT_MANAGER: [&str; 2] = [r#"tls.mode="certManager""#, r#"tls.certManager.issuerRef.name="ca""#];

fn with<'a>(more: &[&'a str]) -> Vec<&'a str> {
    CERT_MANAGER.iter().copied().chain(more.iter().copied()).collect()
}

/// The Secret that the gateway's certificate is mounted from.
fn mounted(objects: &[Value]) -> String {
    let spec = &find(objects, "Deployment", "one-rolecall-gateway")["spec"]["template"]["spec"];
    let mut volumes = spec["volumes"].as_array().expect("volumes").iter();
    let tls = volumes.find(|volume| volume["name"] == "tls").expect("a certificate");
    tls["secret"]["secretName"].as_str().expect("a name").to_owned()
}

#[test]
fn a_secret_of_yours_is_used_and_none_is_made() {
    let objects = render(&[
        r#"tls={"mode": "secret", "secretName": "mine"}"#,
        r#"gateway.cursorKey.secretName="key""#,
    ]);
    assert_eq!(mounted(&objects), "mine");
    assert!(all(&objects, "Secret").is_empty(), "no key is in what was rendered");
}

#[test]
fn cert_manager_is_asked_for_the_names_that_are_used() {
    let objects = render(&with(&[r#"publicUrl="https://rolecall.example.com:8443/x""#]));
    let certificate = find(&objects, "Certificate", "one-rolecall-tls");
    assert_eq!(certificate["apiVersion"], "cert-manager.io/v1");
    let spec = &certificate["spec"];
    assert_eq!(spec["secretName"], mounted(&objects));
    assert_eq!(
        spec["issuerRef"],
        json!({"name": "ca", "kind": "ClusterIssuer", "group": "cert-manager.io"})
    );
    let names = spec["dnsNames"].as_array().expect("names");
    assert_eq!(names[0], "rolecall.example.com", "without the port");
    assert!(
        names.contains(&json!("one-rolecall-gateway.home.svc")),
        "helm test asks by this name: {names:?}"
    );
    assert!(!all(&objects, "Secret").iter().any(|secret| secret["type"] == "kubernetes.io/tls"));

    let listed = render(&with(&[r#"tls.dnsNames=["scim.example.com", "192.0.2.7"]"#]));
    let spec = &find(&listed, "Certificate", "one-rolecall-tls")["spec"];
    assert_eq!(
        (&spec["dnsNames"], &spec["ipAddresses"]),
        (&json!(["scim.example.com"]), &json!(["192.0.2.7"]))
    );
    let error = refusal(&CERT_MANAGER[..1]);
    assert!(error.contains("issuerRef.name"), "{error}");
}

#[test]
fn without_anything_else_the_chart_makes_a_certificate() {
    let objects = render(&[]);
    let secret = find(&objects, "Secret", &mounted(&objects));
    let authority = find(&objects, "Secret", "one-rolecall-tls-ca");
    assert_eq!(secret["data"]["ca.crt"], authority["data"]["tls.crt"]);
    for file in ["tls.crt", "tls.key", "ca.crt"] {
        assert!(secret["data"][file].as_str().is_some_and(|pem| pem.len() > 200), "{file}");
    }
    let names = secret["metadata"]["annotations"]["rolecall.dev/certificate-names"]
        .as_str()
        .expect("names");
    assert!(names.split(',').any(|name| name == "one-rolecall-gateway.home.svc"), "{names}");
    let ends = |secret: &Value| -> i64 {
        let text = secret["metadata"]["annotations"]["rolecall.dev/certificate-ends"]
            .as_str()
            .expect("a time");
        text.parse().expect("seconds")
    };
    assert!(ends(secret) < ends(authority), "the authority outlives what it signs");
    let gateway = find(&objects, "Deployment", "one-rolecall-gateway").to_string();
    assert!(!gateway.contains("one-rolecall-tls-ca"), "the authority's key is mounted nowhere");
}

#[test]
fn the_ingress_and_the_route_lead_to_the_gateway_by_the_public_name() {
    let public = r#"publicUrl="https://rolecall.example.com""#;
    let objects = render(&[
        public,
        "ingress.enabled=true",
        "httpRoute.enabled=true",
        r#"httpRoute.parentRefs=[{"name": "public"}]"#,
    ]);
    let rule = &find(&objects, "Ingress", "one-rolecall-gateway")["spec"]["rules"][0];
    assert_eq!(rule["host"], "rolecall.example.com");
    let path = &rule["http"]["paths"][0];
    assert_eq!(
        (&path["path"], &path["backend"]["service"]["name"]),
        (&json!("/scim/v2"), &json!("one-rolecall-gateway"))
    );
    let route = &find(&objects, "HTTPRoute", "one-rolecall-gateway")["spec"];
    assert_eq!(route["hostnames"], json!(["rolecall.example.com"]));
    assert_eq!(
        route["rules"][0]["backendRefs"],
        json!([{"name": "one-rolecall-gateway", "port": 443}])
    );
    for (values, word) in [
        (&["ingress.enabled=true"][..], "ingress.host"),
        (&["httpRoute.enabled=true", public], "parentRefs"),
    ] {
        let error = refusal(values);
        assert!(error.contains(word), "{error}");
    }
}

#[test]
fn metrics_are_scraped_also_of_a_pod_that_is_not_ready() {
    let objects = render(&[]);
    for part in ["gateway", "controller"] {
        let service = &find(&objects, "Service", &format!("one-rolecall-{part}-metrics"))["spec"];
        assert_eq!(
            (&service["clusterIP"], &service["publishNotReadyAddresses"]),
            (&json!("None"), &json!(true))
        );
        assert_eq!(service["selector"]["app.kubernetes.io/component"], part);
    }
    let door = &find(&objects, "Service", "one-rolecall-gateway")["spec"];
    assert_eq!(
        door["ports"].as_array().map(Vec::len),
        Some(1),
        "metrics are not served to the outside: {door}"
    );
}

#[test]
fn only_scim_is_open_and_the_controller_has_no_door() {
    let objects = render(&[]);
    let policy = |part: &str| find(&objects, "NetworkPolicy", &format!("one-rolecall-{part}"))["spec"].clone();
    let monitoring = json!([{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}]);
    let metrics = json!({"ports": [{"port": "metrics", "protocol": "TCP"}], "from": monitoring});
    let scim = json!({"ports": [{"port": "scim", "protocol": "TCP"}]});
    assert_eq!(policy("gateway")["ingress"], json!([scim, metrics]));
    assert_eq!(policy("controller")["ingress"], json!([metrics]));
    for part in ["gateway", "controller"] {
        let policy = policy(part);
        assert_eq!(policy["policyTypes"], json!(["Ingress", "Egress"]));
        assert_eq!(policy["podSelector"]["matchLabels"]["app.kubernetes.io/component"], part);
        let mut ports: Vec<String> = Vec::new();
        for rule in policy["egress"].as_array().expect("rules") {
            for port in rule["ports"].as_array().expect("every rule names its ports") {
                ports.push(format!("{}/{}", port["port"], port["protocol"].as_str().expect("a protocol")));
            }
        }
        assert_eq!(ports, ["53/UDP", "53/TCP", "443/TCP", "6443/TCP"], "{part}");
    }
}

#[test]
fn who_may_reach_what_can_be_narrowed() {
    let proxy = r#"networkPolicy.scimFrom=[{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "ingress-nginx"}}}]"#;
    let server = r#"networkPolicy.apiServer={"to": [{"ipBlock": {"cidr": "10.0.0.1/32"}}], "ports": [6443]}"#;
    let issuer = r#"networkPolicy.gatewayEgress=[{"to": [{"ipBlock": {"cidr": "203.0.113.0/24"}}], "ports": [{"port": 443}]}]"#;
    let objects = render(&[proxy, server, issuer, "networkPolicy.metricsFrom=[]"]);
    let gateway = &find(&objects, "NetworkPolicy", "one-rolecall-gateway")["spec"];
    let from = gateway["ingress"][0]["from"].as_array().expect("peers");
    assert_eq!(
        from[0]["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"],
        "ingress-nginx"
    );
    assert_eq!(
        from[1]["podSelector"]["matchLabels"]["app.kubernetes.io/component"], "test",
        "helm test goes on to work"
    );
    assert_eq!(gateway["ingress"].as_array().map(Vec::len), Some(1), "nobody reads metrics");
    let to = |rules: &Value| {
        rules
            .as_array()
            .into_iter()
            .flatten()
            .map(|rule| rule["to"].to_string())
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert!(to(&gateway["egress"]).contains("10.0.0.1/32") && to(&gateway["egress"]).contains("203.0.113.0/24"));
    let controller = &find(&objects, "NetworkPolicy", "one-rolecall-controller")["spec"];
    assert!(to(&controller["egress"]).contains("10.0.0.1/32") && !to(&controller["egress"]).contains("203.0.113.0/24"));
    assert!(controller["ingress"].is_null(), "nothing comes in: {controller}");
    assert!(all(&render(&["networkPolicy.enabled=false"]), "NetworkPolicy").is_empty());
}
