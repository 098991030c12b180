//! Whom a mapping grants to: people, groups that the login says, or both; and going over from one to the other on a real API server.

use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use kube::{Api, Client};
use serde_json::json;

use crate::cluster::Cluster;
use crate::system::System;

/// Whether somebody may list pods there, who logged in with these groups.
async fn may(client: &Client, user: &str, groups: &[&str], namespace: &str) -> bool {
    let api: Api<SubjectAccessReview> = Api::all(client.clone());
    let review = SubjectAccessReview {
        spec: SubjectAccessReviewSpec {
            user: Some(user.to_owned()),
            groups: Some(groups.iter().map(|group| (*group).to_owned()).collect()),
            resource_attributes: Some(ResourceAttributes {
                namespace: Some(namespace.to_owned()),
                verb: Some("list".to_owned()),
                resource: Some("pods".to_owned()),
                ..Default::default()
            }),
            ..Default::default()
        },
        ..Default::default()
    };
    let answer = api.create(&Default::default(), &review).await;
    answer.is_ok_and(|review| review.status.is_some_and(|status| status.allowed))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_people_to_groups_and_back_nobody_loses_access() {
    let system = System::install(Cluster::shared(), "subjects").await;
    let _controller = system.controller();
    let gateway = system.gateway().await;
    let place = "subjects-a";
    system.namespace(place, json!({})).await;
    let subject = json!({"username": "'oidc:' + user.userName", "group": "'okta:' + group.displayName"});
    let okta = system.source_with(&gateway.url, "subjects-okta", subject).await;
    let [ada, bob] = [okta.user("ada@corp.example").await, okta.user("bob@corp.example").await];
    let group = okta.group("devs", &[&ada, &bob]).await;
    let spec = json!({"sources": ["subjects-okta"], "groups": {"names": ["devs"]}, "grants": [
        {"roleRef": {"kind": "ClusterRole", "name": "view"}, "namespaces": {"names": [place]}},
    ]});
    system.apply(&system.mapping("ClusterRoleMapping", None, "subjects", spec));
    system.until_may("oidc:bob@corp.example", "list", place, true).await;
    let reader = system.cluster.admin().await;
    let asks = async |groups: &'static [&'static str]| may(&reader, "oidc:ada@corp.example", groups, place).await;
    // who logs in with the group, and is in it, may all along
    for subjects in ["Both", "Group", "User", "Group", "Both", "User"] {
        system
            .merge("clusterrolemapping", None, "subjects", &json!({"subjects": subjects}))
            .expect_ok();
        let (by_name, by_group) = (subjects != "Group", subjects != "User");
        let (mut denied, mut asked) = (0, 0);
        while asks(&[]).await != by_name || may(&reader, "nobody", &["okta:devs"], place).await != by_group {
            denied += usize::from(!asks(&["okta:devs"]).await);
            asked += 1;
            assert!(
                asked < 5_000,
                "{subjects}: {:#}",
                system.status("clusterrolemapping", None, "subjects")
            );
        }
        for _ in 0..50 {
            denied += usize::from(!asks(&["okta:devs"]).await);
        }
        assert_eq!(denied, 0, "going over to {subjects} left a gap");
    }
    system
        .until_condition("clusterrolemapping", None, "subjects", "Ready", "True", "Succeeded")
        .await;

    // A group that is renamed is another one in the cluster; one that is not mapped any more is none.
    system
        .merge(
            "clusterrolemapping",
            None,
            "subjects",
            &json!({"subjects": "Group", "groups": {"names": null, "filter": "displayName sw \"d\""}}),
        )
        .expect_ok();
    okta.patch(
        &format!("/Groups/{group}"),
        json!([{"op": "replace", "path": "displayName", "value": "developers"}]),
    )
    .await;
    let mut asked = 0;
    while !may(&reader, "nobody", &["okta:developers"], place).await || may(&reader, "nobody", &["okta:devs"], place).await {
        asked += 1;
        assert!(asked < 5_000, "{:#}", system.status("clusterrolemapping", None, "subjects"));
    }
    system
        .until_condition("clusterrolemapping", None, "subjects", "Ready", "True", "Succeeded")
        .await;
    assert_eq!(
        system.status("clusterrolemapping", None, "subjects")["summary"],
        "view in namespace subjects-a, 1 group"
    );
    // the source says no name for groups any more: told
    system
        .merge("scimsource", None, "subjects-okta", &json!({"subject": {"group": null}}))
        .expect_ok();
    system
        .until_condition("clusterrolemapping", None, "subjects", "Ready", "False", "GroupNameMissing")
        .await;
}
