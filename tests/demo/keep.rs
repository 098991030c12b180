//! `KEEP=1`: how to look around in what stays up, and how to push a user by hand. Prints only.

use crate::NAMESPACE;
use crate::system::{Process, System, program};

/// Says how.
pub fn explain(system: &System<'_>, gateway: &Process, controller: &Process) {
    let cluster = system.cluster;
    let mut path: Vec<String> = program().parent().into_iter().map(|p| p.display().to_string()).collect();
    if !cluster.bin().as_os_str().is_empty() {
        path.push(cluster.bin().display().to_string());
    }
    println!(
        r#"
It stays up until Ctrl-C. In another terminal, to look around:

  export KUBECONFIG={kubeconfig} PATH={path}:$PATH
  kubectl get rolecall -A
  kubectl rolecall status -A
  kubectl get rolebindings -A -l app.kubernetes.io/managed-by=rolecall -o wide
  kubectl -n {NAMESPACE} get journals,segments
  tail -f {gateway_log} {controller_log}

To be the provider, and push a user and a group by hand:

  SCIM={url}/scim/v2/okta
  TOKEN=$(kubectl -n {NAMESPACE} get secret okta-token -o jsonpath='{{.data.token}}' | base64 -d)
  push() {{ curl -sS "$SCIM/$1" -H "Authorization: Bearer $TOKEN" -H 'Content-Type: application/scim+json' "${{@:2}}"; echo; }}
  push Users -d '{{"schemas":["urn:ietf:params:scim:schemas:core:2.0:User"],"userName":"you@example.com","active":true}}'
  ID=$(push 'Users?filter=userName%20eq%20%22you@example.com%22' | sed -n 's/.*"id" *: *"\([^"]*\)".*/\1/p')
  push Groups -d '{{"schemas":["urn:ietf:params:scim:schemas:core:2.0:Group"],"displayName":"Backend","members":[{{"value":"'$ID'"}}]}}'
  kubectl auth can-i list pods -n backend --as oidc:you@example.com
  push Users/$ID -X PATCH -d '{{"schemas":["urn:ietf:params:scim:api:messages:2.0:PatchOp"],"Operations":[{{"op":"replace","value":{{"active":false}}}}]}}'
  kubectl auth can-i list pods -n backend --as oidc:you@example.com
"#,
        kubeconfig = cluster.kubeconfig().display(),
        path = path.join(":"),
        gateway_log = gateway.log_path().display(),
        controller_log = controller.log_path().display(),
        url = gateway.url,
    );
}
