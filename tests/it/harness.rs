//! Tests of the harness itself: the control plane starts, breaks and comes back as asked, and ends with its holder.

use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use serde_json::json;

use crate::cluster::{Cluster, Part};
use crate::install::Install;

async fn put(cluster: &Cluster, name: &str) {
    let maps: Api<ConfigMap> = Api::namespaced(cluster.admin().await, "default");
    let map: ConfigMap = serde_json::from_value(json!({"metadata": {"name": name}})).unwrap();
    maps.create(&Default::default(), &map).await.unwrap();
}

async fn has(cluster: &Cluster, name: &str) -> bool {
    let maps: Api<ConfigMap> = Api::namespaced(cluster.admin().await, "default");
    maps.get_opt(name).await.unwrap().is_some()
}

#[tokio::test]
async fn a_control_plane_breaks_and_comes_back_as_asked() {
    let cluster = Cluster::own();
    put(&cluster, "before").await;
    cluster.snapshot("old");
    put(&cluster, "after").await;
    cluster.restore("old");
    assert!(has(&cluster, "before").await && !has(&cluster, "after").await, "etcd went back");

    cluster.stop(Part::ApiServer);
    let maps: Api<ConfigMap> = Api::namespaced(cluster.admin().await, "default");
    assert!(maps.get_opt("before").await.is_err(), "nobody answers");
    cluster.resume(Part::ApiServer);
    assert!(has(&cluster, "before").await);

    cluster.freeze(Part::Etcd, true);
    tokio::time::sleep(Duration::from_millis(300)).await; // a signal arrives when the process is next on a processor
    let held = tokio::time::timeout(Duration::from_millis(500), maps.delete("before", &Default::default())).await;
    cluster.freeze(Part::Etcd, false);
    assert!(!matches!(held, Ok(Ok(_))), "etcd was frozen, and acknowledged a deletion: {held:?}");
    put(&cluster, "thawed").await;

    let installed = Install {
        crds: true,
        ..Install::new("rolecall")
    }
    .on(&cluster)
    .await;
    assert!(installed.gateway(&cluster).await.apiserver_version().await.is_ok());
    let dir = cluster.dir().to_owned();
    drop(cluster);
    assert!(!dir.exists(), "nothing is left");
}

#[tokio::test]
async fn the_audit_log_tells_who_wrote_what() {
    let cluster = Cluster::shared();
    let since = jiff::Timestamp::now();
    put(cluster, "audited").await;
    let writes = cluster.audit(since);
    let found = writes
        .iter()
        .find(|w| w.resource == "configmaps" && w.user == "admin" && w.verb == "create");
    assert_eq!(found.map(|w| (w.code, w.dry_run)), Some((201, false)), "{writes:?}");
}
