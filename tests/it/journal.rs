//! The journal's suite on a real API server, with the chart's CRDs; the library's own tests run the same suite in memory.

use std::sync::Arc;
use std::time::Duration;

use rolecall::journal::suite::{KubernetesBed, OLDER, Scale, run};
use serde_json::{Value, json};

use crate::cluster::{Cluster, root};
use crate::system::until;

/// The CRDs of an older release, in a group of their own: `checkpoint` is missing.
async fn apply_older_crds(cluster: &Cluster) {
    for plural in ["journals", "segments"] {
        let text = std::fs::read_to_string(root().join(format!("crds/{plural}.yaml"))).expect("a CRD");
        let mut crd: Value = serde_saphyr::from_str(&text).expect("YAML");
        let name = format!("{plural}.{OLDER}");
        crd["metadata"]["name"] = json!(name);
        crd["spec"]["group"] = json!(OLDER);
        let properties = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties";
        let properties = crd.pointer_mut(properties).and_then(Value::as_object_mut).expect("properties");
        assert_eq!(properties.remove("checkpoint").is_some(), plural == "journals");
        cluster.apply(&crd.to_string(), &["--server-side"]).expect_ok();
        let wait = ["wait", "--for=condition=Established", "--timeout=30s", "crd", &name];
        cluster.kubectl(&wait).expect_ok();
        // Established is said a moment before it is served.
        let path = format!("/apis/{OLDER}/v1alpha1/namespaces/default/{plural}");
        let served = || async { cluster.kubectl(&["get", "--raw", &path]).ok };
        assert!(until(Duration::from_secs(20), served).await.is_ok(), "{name} is not served");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_suite_on_a_real_api_server() {
    let cluster = Cluster::shared();
    apply_older_crds(cluster).await;
    cluster.kubectl(&["create", "namespace", "journal-suite"]).expect_ok();
    let bed = KubernetesBed::new(cluster.admin().await, "journal-suite");
    let scale = Scale {
        writers: 4,
        events: 10,
        seed: 13,
    };
    let report = run(Arc::new(bed), scale, "").await;
    assert!(report.failures.is_empty(), "{:#?}", report.failures);
    assert!(report.total >= 35 && report.passed == report.total, "{report:?}");
}
