//! Each value of the chart is documented, checked by the schema, and changes something.

use std::collections::BTreeMap;
use std::fs;
use std::thread;

use serde_json::Value;

use super::{helm, template};
use crate::cluster::root;

/// Nothing here is made anew at each rendering.
const FIXED: [&str; 2] = [r#"tls.mode="secret""#, r#"gateway.cursorKey.secretName="key""#];

/// Another setting of each value, and what else has to be set for it to matter.
const SAMPLES: &[(&str, &str, &[&str])] = &[
    ("nameOverride", r#""other""#, &[]),
    ("fullnameOverride", r#""other""#, &[]),
    ("commonLabels", r#"{"team": "identity"}"#, &[]),
    ("class", r#""other""#, &[]),
    ("publicUrl", r#""https://rolecall.example.com""#, &[]),
    ("image.repository", r#""registry.example.com/rolecall""#, &[]),
    ("image.tag", r#""1.2.3""#, &[]),
    (
        "image.digest",
        r#""sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef""#,
        &[],
    ),
    ("image.pullPolicy", r#""Never""#, &[]),
    ("imagePullSecrets", r#"[{"name": "registry"}]"#, &[]),
    ("logFormat", r#""text""#, &[]),
    ("logLevel", r#""rolecall=debug,info""#, &[]),
    ("listenHost", r#""[::]""#, &[]),
    ("runAsUser", "null", &[]),
    ("crds.enabled", "false", &[]),
    ("crds.keep", "false", &[]),
    ("accessPolicy.clusterRoles", r#"["admin"]"#, &[]),
    ("accessPolicy.roles", r#"["deployer"]"#, &[]),
    ("accessPolicy.clusterWideRoles", r#"["view"]"#, &[]),
    ("accessPolicy.usernamePrefixes", r#"["entra:"]"#, &[]),
    ("accessPolicy.groupPrefixes", r#"["okta:"]"#, &[]),
    ("accessPolicy.podSecurityLevels", r#"["baseline"]"#, &[]),
    ("accessPolicy.protectedNamespaces", r#"["vault"]"#, &[]),
    ("rbac.namespaces", r#"["backend"]"#, &[]),
    ("gateway.replicas", "3", &[]),
    ("gateway.strategy", r#"{"type": "Recreate"}"#, &[]),
    ("gateway.preStopSeconds", "0", &[]),
    ("gateway.drainSeconds", "10", &[]),
    ("gateway.terminationGracePeriodSeconds", "60", &[]),
    ("gateway.cursorKey.secretName", r#""other""#, &[]),
    ("gateway.cursorKey.key", r#""key""#, &[]),
    ("gateway.resources", r#"{"limits": {"memory": "2Gi"}}"#, &[]),
    ("gateway.podLabels", r#"{"a": "b"}"#, &[]),
    ("gateway.podAnnotations", r#"{"a": "b"}"#, &[]),
    ("gateway.priorityClassName", r#""system-cluster-critical""#, &[]),
    ("gateway.nodeSelector", r#"{"a": "b"}"#, &[]),
    ("gateway.tolerations", r#"[{"operator": "Exists"}]"#, &[]),
    ("gateway.affinity", r#"{"nodeAffinity": {}}"#, &[]),
    ("gateway.topologySpreadConstraints", "[]", &[]),
    ("gateway.podDisruptionBudget.enabled", "false", &[]),
    ("gateway.podDisruptionBudget.maxUnavailable", r#""50%""#, &[]),
    ("gateway.extraArgs", r#"["--source-rate=10"]"#, &[]),
    ("gateway.extraEnv", r#"[{"name": "A", "value": "b"}]"#, &[]),
    ("gateway.extraVolumes", r#"[{"name": "x", "emptyDir": {}}]"#, &[]),
    ("gateway.extraVolumeMounts", r#"[{"name": "x", "mountPath": "/x"}]"#, &[]),
    ("controller.replicas", "3", &[]),
    ("controller.strategy", r#"{"type": "Recreate"}"#, &[]),
    ("controller.terminationGracePeriodSeconds", "60", &[]),
    ("controller.resources", r#"{"limits": {"memory": "4Gi"}}"#, &[]),
    ("controller.podLabels", r#"{"a": "b"}"#, &[]),
    ("controller.podAnnotations", r#"{"a": "b"}"#, &[]),
    ("controller.priorityClassName", r#""system-cluster-critical""#, &[]),
    ("controller.nodeSelector", r#"{"a": "b"}"#, &[]),
    ("controller.tolerations", r#"[{"operator": "Exists"}]"#, &[]),
    ("controller.affinity", r#"{"nodeAffinity": {}}"#, &[]),
    ("controller.topologySpreadConstraints", "[]", &[]),
    ("controller.podDisruptionBudget.enabled", "false", &[]),
    ("controller.podDisruptionBudget.maxUnavailable", r#""50%""#, &[]),
    ("controller.extraArgs", r#"["--lease-duration=30s"]"#, &[]),
    ("controller.extraEnv", r#"[{"name": "A", "value": "b"}]"#, &[]),
    ("controller.extraVolumes", r#"[{"name": "x", "emptyDir": {}}]"#, &[]),
    ("controller.extraVolumeMounts", r#"[{"name": "x", "mountPath": "/x"}]"#, &[]),
    ("tls.mode", r#""selfSigned""#, &[]),
    ("tls.secretName", r#""other""#, &[]),
    ("tls.dnsNames", r#"["scim.example.com"]"#, CERT_MANAGER),
    ("tls.selfSigned.days", "100", SELF_SIGNED),
    ("tls.certManager.issuerRef.name", r#""other""#, CERT_MANAGER),
    ("tls.certManager.issuerRef.kind", r#""Issuer""#, CERT_MANAGER),
    ("tls.certManager.issuerRef.group", r#""example.com""#, CERT_MANAGER),
    ("tls.certManager.duration", r#""24h""#, CERT_MANAGER),
    ("tls.certManager.renewBefore", r#""12h""#, CERT_MANAGER),
    ("service.type", r#""LoadBalancer""#, &[]),
    ("service.port", "8443", &[]),
    ("service.nodePort", "30443", &[r#"service.type="NodePort""#]),
    ("service.appProtocol", r#""""#, &[]),
    ("service.annotations", r#"{"a": "b"}"#, &[]),
    ("service.loadBalancerClass", r#""example.com/internal""#, &[]),
    ("service.loadBalancerSourceRanges", r#"["10.0.0.0/8"]"#, &[]),
    ("service.externalTrafficPolicy", r#""Local""#, &[]),
    ("service.ipFamilyPolicy", r#""PreferDualStack""#, &[]),
    ("service.ipFamilies", r#"["IPv6"]"#, &[]),
    ("ingress.enabled", "true", &[r#"ingress.host="a.example""#]),
    ("ingress.className", r#""nginx""#, INGRESS),
    ("ingress.annotations", r#"{"a": "b"}"#, INGRESS),
    ("ingress.host", r#""b.example""#, INGRESS),
    ("ingress.path", r#""/""#, INGRESS),
    ("ingress.tlsSecretName", r#""public""#, INGRESS),
    ("httpRoute.enabled", "true", &[r#"httpRoute.parentRefs=[{"name": "public"}]"#]),
    ("httpRoute.annotations", r#"{"a": "b"}"#, ROUTE),
    ("httpRoute.parentRefs", r#"[{"name": "other"}]"#, ROUTE),
    ("httpRoute.hostnames", r#"["b.example"]"#, ROUTE),
    ("httpRoute.path", r#""/""#, ROUTE),
    ("networkPolicy.enabled", "false", &[]),
    ("networkPolicy.scimFrom", r#"[{"ipBlock": {"cidr": "10.0.0.0/8"}}]"#, &[]),
    ("networkPolicy.metricsFrom", "[]", &[]),
    ("networkPolicy.apiServer.to", r#"[{"ipBlock": {"cidr": "10.0.0.1/32"}}]"#, &[]),
    ("networkPolicy.apiServer.ports", "[16443]", &[]),
    ("networkPolicy.dns.to", r#"[{"namespaceSelector": {}}]"#, &[]),
    ("networkPolicy.dns.ports", "[5353]", &[]),
    ("networkPolicy.gatewayEgress", r#"[{"ports": [{"port": 8080}]}]"#, &[]),
    ("networkPolicy.controllerEgress", r#"[{"ports": [{"port": 8080}]}]"#, &[]),
    ("flowControl.enabled", "false", &[]),
    ("flowControl.controllerShares", "50", &[]),
    ("flowControl.gatewayShares", "50", &[]),
    ("flowControl.matchingPrecedence", "2000", &[]),
    (
        "monitoring.serviceMonitor.enabled",
        "true",
        &[r#"monitoring.serviceMonitor.renderMode="alwaysRender""#],
    ),
    (
        "monitoring.serviceMonitor.renderMode",
        r#""alwaysRender""#,
        &["monitoring.serviceMonitor.enabled=true"],
    ),
    ("monitoring.serviceMonitor.interval", r#""5s""#, MONITOR),
    ("monitoring.serviceMonitor.scrapeTimeout", r#""5s""#, MONITOR),
    ("monitoring.serviceMonitor.labels", r#"{"release": "prometheus"}"#, MONITOR),
    (
        "monitoring.serviceMonitor.relabelings",
        r#"[{"action": "labeldrop", "regex": "endpoint"}]"#,
        MONITOR,
    ),
    (
        "monitoring.serviceMonitor.metricRelabelings",
        r#"[{"action": "labeldrop", "regex": "id"}]"#,
        MONITOR,
    ),
    (
        "monitoring.prometheusRule.enabled",
        "true",
        &[r#"monitoring.prometheusRule.renderMode="alwaysRender""#],
    ),
    (
        "monitoring.prometheusRule.renderMode",
        r#""alwaysRender""#,
        &["monitoring.prometheusRule.enabled=true"],
    ),
    ("monitoring.prometheusRule.labels", r#"{"release": "prometheus"}"#, RULE),
    ("monitoring.prometheusRule.runbookUrl", r#""https://wiki.example/rolecall""#, RULE),
    ("monitoring.dashboard.enabled", "true", &[]),
    (
        "monitoring.dashboard.labels",
        r#"{"dashboards": "yes"}"#,
        &["monitoring.dashboard.enabled=true"],
    ),
    (
        "monitoring.dashboard.annotations",
        r#"{"grafana_folder": "x"}"#,
        &["monitoring.dashboard.enabled=true"],
    ),
    ("helmTest.enabled", "false", &[]),
    ("helmTest.url", r#""https://rolecall.example.com""#, &[]),
    ("helmTest.caKey", r#""""#, &[]),
    ("serviceAccounts.gateway.annotations", r#"{"a": "b"}"#, &[]),
    ("serviceAccounts.controller.annotations", r#"{"a": "b"}"#, &[]),
];
const CERT_MANAGER: &[&str] = &[r#"tls.mode="certManager""#, r#"tls.certManager.issuerRef.name="ca""#];
const SELF_SIGNED: &[&str] = &[r#"tls.mode="selfSigned""#];
const INGRESS: &[&str] = &["ingress.enabled=true", r#"ingress.host="a.example""#];
const ROUTE: &[&str] = &["httpRoute.enabled=true", r#"httpRoute.parentRefs=[{"name": "public"}]"#];
const MONITOR: &[&str] = &[
    "monitoring.serviceMonitor.enabled=true",
    r#"monitoring.serviceMonitor.renderMode="alwaysRender""#,
];
const RULE: &[&str] = &[
    "monitoring.prometheusRule.enabled=true",
    r#"monitoring.prometheusRule.renderMode="alwaysRender""#,
];

fn sample(path: &str) -> bool {
    SAMPLES.iter().any(|(known, ..)| *known == path)
}

fn rendered(more: &[&str]) -> String {
    let values: Vec<&str> = FIXED.iter().chain(more).copied().collect();
    template("one", &values).unwrap_or_else(|error| panic!("{more:?}: {error}"))
}

#[test]
fn every_value_changes_something() {
    // A certificate that the chart makes is another one each time; its end is not.
    let stable = |text: &str| text.lines().filter(|line| !line.contains(": LS0t")).collect::<Vec<_>>().join("\n");
    let mut without = BTreeMap::new();
    for (_, _, beside) in SAMPLES {
        without.entry(*beside).or_insert_with(|| stable(&rendered(beside)));
    }
    let without = &without;
    thread::scope(|scope| {
        for part in SAMPLES.chunks(SAMPLES.len().div_ceil(4)) {
            scope.spawn(move || {
                for (path, other, beside) in part {
                    let value = format!("{path}={other}");
                    let with: Vec<&str> = beside.iter().copied().chain([value.as_str()]).collect();
                    assert_ne!(stable(&rendered(&with)), without[beside], "{value} changes nothing");
                }
            });
        }
    });
}

/// Calls `see` for each value that is no group of values.
fn leaves(value: &Value, at: &str, see: &mut impl FnMut(&str)) {
    match value.as_object() {
        Some(fields) if !fields.is_empty() && !sample(at) => {
            for (name, field) in fields {
                let path = if at.is_empty() { name.clone() } else { format!("{at}.{name}") };
                leaves(field, &path, see);
            }
        }
        _ => see(at),
    }
}

fn values_file() -> String {
    fs::read_to_string(root().join("charts/rolecall/values.yaml")).expect("values.yaml")
}

#[test]
fn every_value_is_documented_and_tried() {
    let text = values_file();
    let values: Value = serde_saphyr::from_str(&text).expect("YAML");
    let (mut all, mut untried) = (0, Vec::new());
    leaves(&values, "", &mut |path| {
        all += 1;
        if !sample(path) {
            untried.push(path.to_owned());
        }
    });
    assert!(untried.is_empty(), "no sample above: {untried:?}");
    assert_eq!(all, SAMPLES.len(), "a sample of a value that is no more");

    // The comment right above a value says what it is.
    let (mut stack, mut comment, mut bare) = (Vec::<&str>::new(), String::new(), Vec::new());
    for line in text.lines() {
        let body = line.trim_start();
        let indent = (line.len() - body.len()) / 2;
        if body.starts_with('#') {
            comment.push_str(body);
            continue;
        }
        if let Some((key, _)) = body.split_once(':').filter(|_| !body.starts_with(['-', '{'])) {
            stack.truncate(indent);
            stack.push(key);
            if sample(&stack.join(".")) && !comment.contains("# -- ") {
                bare.push(stack.join("."));
            }
        }
        comment.clear();
    }
    assert!(bare.is_empty(), "no `# -- ` above: {bare:?}");
}

/// What the schema leaves to Kubernetes: it checks these objects itself, and they have dozens of kinds.
const OPEN: [&str; 6] = ["global", "valueFrom", "nodeAffinity", "podAffinity", "podAntiAffinity", "volumes"];

fn open_objects(schema: &Value, at: &str, open: &mut Vec<String>) {
    let objects = schema["type"].to_string().contains("object");
    let exempt = OPEN
        .iter()
        .any(|name| at.ends_with(&format!("/{name}")) || at.ends_with(&format!("/{name}/items")));
    if objects && schema["additionalProperties"].is_null() && !exempt {
        open.push(at.to_owned());
    }
    for group in ["properties", "definitions"] {
        for (name, inner) in schema[group].as_object().into_iter().flatten() {
            open_objects(inner, &format!("{at}/{name}"), open);
        }
    }
    for inner in ["items", "additionalProperties"] {
        if schema[inner].is_object() {
            open_objects(&schema[inner], &format!("{at}/{inner}"), open);
        }
    }
}

#[test]
fn the_schema_knows_every_value_and_takes_no_other() {
    let text = fs::read_to_string(root().join("charts/rolecall/values.schema.json")).expect("the schema");
    let schema: Value = serde_json::from_str(&text).expect("JSON");
    let mut open = Vec::new();
    open_objects(&schema, "", &mut open);
    assert!(open.is_empty(), "take anything: {open:?}");
    let values: Value = serde_saphyr::from_str(&values_file()).expect("YAML");
    let mut unknown = Vec::new();
    leaves(&values, "", &mut |path| {
        let mut at = &schema;
        for name in path.split('.') {
            if let Some(target) = at["$ref"].as_str() {
                at = schema.pointer(target.trim_start_matches('#')).expect("a definition");
            }
            at = &at["properties"][name];
        }
        if at.is_null() {
            unknown.push(path.to_owned());
        }
    });
    assert!(unknown.is_empty(), "not in the schema: {unknown:?}");
}

#[test]
fn a_misspelt_value_is_refused_at_every_depth() {
    for (value, word) in [
        ("gateway.replica=1", "replica"),
        ("gateway.podDisruptionBudget.minAvailable=1", "minAvailable"),
        (r#"image.tag="latest""#, "tag"),
        (r#"image.digest="sha256:1""#, "digest"),
        (r#"tls.mode="none""#, "mode"),
        ("tls.selfSigned.days=7", "days"),
        (r#"publicUrl="rolecall.example.com""#, "publicUrl"),
        (r#"publicUrl="https://rolecall.example.com/?a=b""#, "publicUrl"),
        (r#"rbac.namespaces=["*"]"#, "namespaces"),
        (r#"networkPolicy.scimFrom=[{"cidr": "10.0.0.0/8"}]"#, "scimFrom"),
        (r#"networkPolicy.metricsFrom=[{}]"#, "metricsFrom"),
        (r#"gateway.extraArgs=["expect-head=1"]"#, "extraArgs"),
        (r#"gateway.resources={"limit": {}}"#, "resources"),
        (r#"gateway.strategy={"type": "OnDelete"}"#, "strategy"),
        (r#"monitoring.serviceMonitor.renderMode="maybe""#, "renderMode"),
        ("runAsUser=0", "runAsUser"),
    ] {
        let (ok, _, error) = helm(&["template", "one", "charts/rolecall", "--set-json", value]);
        assert!(!ok, "{value} was taken");
        assert!(error.contains(word), "{value}: {error}");
    }
}
