//! Some hundred ways to more than it has, each tried with the controller's own token: as the chart grants it, and once more as cluster-admin, where only the cage is left.

use serde_json::{Value, json};

use super::{Cases, Passes, Said, binding, bindings, labels, lay_out, namespace, send, subject};
use crate::cluster::Cluster;
use crate::install::Install;

const CLASS: &str = "escalate";
const TEAM: &str = "escalate-team";
const EVE: &str = "User/oidc:eve@corp.example";

/// One request, and what it is.
type Attempt = (String, &'static str, String, Value);

/// What was tried, whether or not it was refused.
#[derive(Default)]
struct Tried {
    all: usize,
    refused: usize,
    passed: Vec<String>,
}

impl Tried {
    fn note(&mut self, case: &str, said: &Said, codes: &[u16]) {
        self.all += 1;
        if codes.contains(&said.code) {
            self.refused += 1;
        } else {
            self.passed.push(format!("{case}: {} {}", said.code, said.message));
        }
    }
}

/// Bindings that must not be: each unlisted role and each subject that is nobody's, everywhere.
fn grants(home: &str) -> Vec<Attempt> {
    let mut all = Vec::new();
    let mut n = 0x1000;
    let mut attempt = |role: &str, place: &str, who: &str| {
        n += 1;
        let what = format!("{role} in {place:?} to {who}");
        all.push((what, "POST", bindings(place), binding(n, CLASS, role, &[who])));
    };
    for role in [
        "ClusterRole/cluster-admin",
        "ClusterRole/admin",
        "ClusterRole/system:node",
        "ClusterRole/system:kube-scheduler",
        "ClusterRole/system:auth-delegator",
        "ClusterRole/system:kube-controller-manager",
        "Role/escalate-deployer",
    ] {
        for place in [TEAM, "kube-system", "default", home, ""] {
            attempt(role, place, EVE);
        }
    }
    for who in [
        "Group/system:masters",
        "Group/system:authenticated",
        "Group/system:unauthenticated",
        "Group/system:serviceaccounts",
        "Group/system:serviceaccounts:kube-system",
        "Group/system:nodes",
        "Group/okta:devs",
        "Group/devs",
        "User/system:admin",
        "User/system:anonymous",
        "User/system:kube-controller-manager",
        "User/system:node:a",
        "User/system:serviceaccount:kube-system:default",
        "User/SYSTEM:admin",
        "User/eve@corp.example",
        "User/sso:eve@corp.example",
        "User/",
        "ServiceAccount/kube-system/default",
        "ServiceAccount/escalate-team/default",
    ] {
        for (role, place) in [
            ("ClusterRole/view", TEAM),
            ("ClusterRole/edit", TEAM),
            ("ClusterRole/view", "kube-system"),
            ("ClusterRole/view", ""),
        ] {
            attempt(role, place, who);
        }
    }
    all
}

/// Namespaces that must not be made or changed.
fn places(home: &str) -> Vec<Attempt> {
    let ours = |more: Value| {
        let mut all = labels(CLASS);
        let more = more.as_object().cloned().unwrap_or_default();
        all.as_object_mut().expect("labels").extend(more);
        all
    };
    let mut all: Vec<Attempt> = Vec::new();
    for mode in ["enforce", "audit", "warn"] {
        for level in ["privileged", "baseline", "restricted"] {
            let label = json!({format!("pod-security.kubernetes.io/{mode}"): level});
            all.push((
                format!("a namespace with {mode}={level}"),
                "POST",
                "/api/v1/namespaces".to_owned(),
                namespace("escalate-new", ours(label.clone())),
            ));
            for name in [TEAM, home, "kube-system", "default"] {
                let what = format!("{mode}={level} on {name}");
                all.push((
                    what,
                    "PATCH",
                    format!("/api/v1/namespaces/{name}"),
                    json!({"metadata": {"labels": label}}),
                ));
            }
        }
    }
    for name in ["kube-new", "openshift-new"] {
        all.push((
            format!("the protected namespace {name}"),
            "POST",
            "/api/v1/namespaces".to_owned(),
            namespace(name, ours(json!({}))),
        ));
    }
    for name in [TEAM, home, "kube-system", "default"] {
        let taken = json!({"metadata": {"labels": labels(CLASS)}});
        all.push((format!("make {name} ours"), "PATCH", format!("/api/v1/namespaces/{name}"), taken));
    }
    all
}

/// Everything else that would be more.
fn others(home: &str, fullname: &str) -> Vec<Attempt> {
    let mut all: Vec<Attempt> = Vec::new();
    let mut attempt = |method: &'static str, path: String, body: Value| all.push((format!("{method} {path}"), method, path, body));
    let rbac = "/apis/rbac.authorization.k8s.io/v1";
    let everything = json!([{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]);
    let role = |kind: &str, rules: &Value| json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind, "metadata": {"name": "escalate"}, "rules": rules});
    attempt("POST", format!("{rbac}/clusterroles"), role("ClusterRole", &everything));
    for name in ["view", "edit", "cluster-admin", "system:discovery"] {
        attempt("PATCH", format!("{rbac}/clusterroles/{name}"), json!({"rules": everything}));
        attempt("DELETE", format!("{rbac}/clusterroles/{name}"), Value::Null);
    }
    let pod =
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "escalate"}, "spec": {"containers": [{"name": "a", "image": "a"}]}});
    let template = json!({"metadata": {"labels": {"a": "b"}}, "spec": pod["spec"]});
    let workload = |kind: &str| {
        json!({"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": "escalate"},
        "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template}})
    };
    for place in [TEAM, home, "kube-system", "default"] {
        let core = format!("/api/v1/namespaces/{place}");
        attempt("POST", format!("{rbac}/namespaces/{place}/roles"), role("Role", &everything));
        attempt("POST", format!("{core}/pods"), pod.clone());
        attempt(
            "POST",
            format!("/apis/apps/v1/namespaces/{place}/deployments"),
            workload("Deployment"),
        );
        attempt(
            "POST",
            format!("/apis/apps/v1/namespaces/{place}/daemonsets"),
            workload("DaemonSet"),
        );
        attempt("GET", format!("{core}/secrets"), Value::Null);
        attempt("GET", format!("{core}/secrets/escalate"), Value::Null);
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "escalate"}});
        attempt("POST", format!("{core}/secrets"), secret);
        let token = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"audiences": []}});
        attempt("POST", format!("{core}/serviceaccounts/default/token"), token);
        let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "escalate"}});
        attempt("POST", format!("{core}/serviceaccounts"), account);
        attempt(
            "POST",
            format!("{core}/configmaps"),
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "escalate"}}),
        );
        attempt("DELETE", core.clone(), Value::Null);
        attempt("DELETE", format!("{rbac}/namespaces/{place}/rolebindings"), Value::Null);
    }
    attempt("DELETE", format!("{rbac}/clusterrolebindings/cluster-admin"), Value::Null);
    attempt("DELETE", format!("{rbac}/clusterrolebindings"), Value::Null);
    let admission = "/apis/admissionregistration.k8s.io/v1";
    for suffix in rolecall::controller::guards::POLICIES {
        for kind in ["validatingadmissionpolicies", "validatingadmissionpolicybindings"] {
            attempt("DELETE", format!("{admission}/{kind}/{fullname}-{suffix}"), Value::Null);
        }
        let open = json!({"spec": {"failurePolicy": "Ignore"}});
        attempt(
            "PATCH",
            format!("{admission}/validatingadmissionpolicies/{fullname}-{suffix}"),
            open,
        );
    }
    for kind in ["MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"] {
        let hook = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": {"name": "escalate"}});
        attempt("POST", format!("{admission}/{}s", kind.to_lowercase()), hook);
    }
    for plural in ["scimsources", "rolemappings", "clusterrolemappings", "journals", "segments"] {
        let path = format!("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{plural}.rolecall.dev");
        attempt("PATCH", path.clone(), json!({"metadata": {"labels": {"a": "b"}}}));
        attempt("DELETE", path, Value::Null);
    }
    let group = "/apis/rolecall.dev/v1alpha1";
    let journals = format!("{group}/namespaces/{home}/journals");
    for name in ["directory", "access"] {
        attempt("DELETE", format!("{journals}/{name}"), Value::Null);
    }
    let spec = json!({"sources": ["a"], "groups": {"names": ["a"]}, "grants": [{"roleRef": {"kind": "ClusterRole", "name": "view"}, "namespaces": {"all": true}}]});
    let mapping =
        json!({"apiVersion": "rolecall.dev/v1alpha1", "kind": "ClusterRoleMapping", "metadata": {"name": "escalate"}, "spec": spec});
    attempt("POST", format!("{group}/clusterrolemappings"), mapping);
    let source = json!({"apiVersion": "rolecall.dev/v1alpha1", "kind": "ScimSource", "metadata": {"name": "escalate"}, "spec": {"class": CLASS,
        "push": {"tokens": [{"name": "a", "secretKeyRef": {"name": "a", "key": "token"}}]}, "subject": {"username": "user.userName"}}});
    attempt("POST", format!("{group}/scimsources"), source);
    let request = json!({"apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest", "metadata": {"name": "escalate"},
        "spec": {"request": "YQ==", "signerName": "kubernetes.io/kube-apiserver-client", "usages": ["client auth"]}});
    attempt(
        "POST",
        "/apis/certificates.k8s.io/v1/certificatesigningrequests".to_owned(),
        request,
    );
    attempt("GET", "/api/v1/nodes/a/proxy/".to_owned(), Value::Null);
    attempt("GET", "/api/v1/secrets".to_owned(), Value::Null);
    attempt("GET", "/api/v1/users".to_owned(), Value::Null);
    all
}

#[tokio::test]
async fn some_hundred_escalations_with_the_controllers_own_token_are_refused() {
    let cluster = Cluster::shared();
    let install = Install::new(CLASS)
        .value(r#"accessPolicy.clusterRoles=["view","edit"]"#)
        .value("accessPolicy.roles=[]")
        .value("accessPolicy.groupPrefixes=[]");
    let installed = install.on(cluster).await;
    let admin = cluster.admin().await;
    lay_out(&admin, "/api/v1/namespaces", namespace(TEAM, json!({}))).await;
    let token = installed.controller(cluster).await;
    let home = installed.namespace.clone();
    for place in [TEAM, "kube-system", "default", &home] {
        let rules = json!([{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"]}]);
        let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "escalate-deployer"}, "rules": rules});
        let path = format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{place}/roles");
        lay_out(&admin, &path, role).await;
    }
    // without this, everything could be refused for some other reason
    let mut control = Cases::default();
    let good = send(&token, "POST", &bindings(TEAM), binding(1, CLASS, "ClusterRole/view", &[EVE])).await;
    control.check("what it is there for", &good, Passes);
    control.finish("the control");

    let mut tried = Tried::default();
    for (case, method, path, body) in [grants(&home), places(&home), others(&home, &installed.fullname)].concat() {
        let said = send(&token, method, &path, body).await;
        // of what is not there nothing is got either
        let codes: &[u16] = if path.ends_with("/users") { &[403, 404] } else { &[403, 422] };
        tried.note(&case, &said, codes);
    }
    println!(
        "escalations with the controller's own token: {} of {} refused",
        tried.refused, tried.all
    );
    assert!(
        tried.all >= 200 && tried.passed.is_empty(),
        "{} were not refused:\n{}",
        tried.passed.len(),
        tried.passed.join("\n")
    );

    // Somebody made it cluster-admin: of what the cage is about nothing passes all the same.
    let account = subject(&format!("ServiceAccount/{home}/{}-controller", installed.fullname));
    let owner = json!({"metadata": {"name": "escalate-stolen"}, "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"}, "subjects": [account]});
    lay_out(&admin, &bindings(""), owner).await;
    let mut caged = Tried::default();
    for (case, method, path, body) in [grants(&home), places(&home)].concat() {
        caged.note(&case, &send(&token, method, &path, body).await, &[422]);
    }
    println!(
        "the same as cluster-admin, grants and namespaces: {} of {} refused",
        caged.refused, caged.all
    );
    let clean = send(&admin, "DELETE", &format!("{}/escalate-stolen", bindings("")), Value::Null).await;
    assert!(clean.passed(), "{clean:?}");
    assert!(
        caged.passed.is_empty(),
        "{} were not refused:\n{}",
        caged.passed.len(),
        caged.passed.join("\n")
    );
}
