//! `cargo test --lib gateway::tests::measure -- --ignored --nocapture`

use std::time::Instant;

use futures::StreamExt;

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn users_created() {
    for at_once in [1, 64, 512] {
        let okta = Client::new().await;
        for round in 0..3 {
            let begun = Instant::now();
            let many = if at_once == 1 { 2_000 } else { 20_000 };
            let jobs = futures::stream::iter(0..many).map(|k| {
                let okta = okta.clone();
                tokio::spawn(async move {
                    let name = format!("user{round}x{k}@corp.example");
                    let body = json!({"schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "userName": name, "externalId": name, "displayName": name,
                        "active": true, "name": {"givenName": "A", "familyName": "B"}, "emails": [{"value": name, "type": "work", "primary": true}]});
                    assert_eq!(okta.post("/Users", body).await.status, 201);
                })
            });
            jobs.buffer_unordered(at_once).for_each(|done| async { done.unwrap() }).await;
            let rate = f64::from(many) / begun.elapsed().as_secs_f64();
            eprintln!("{at_once} at once: {rate:.0}/s, index {}", okta.index());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn a_group_of_200_000() {
    let okta = Client::new().await;
    for _ in 0..4 {
        super::groups::seed(&okta, 50_000).await;
    }
    let directory = okta.gateway.journal.load().as_ref().unwrap().snapshot().state;
    let ids: Vec<String> = directory.source("okta").unwrap().users().map(|user| user.id.to_string()).collect();
    let members: Vec<Value> = ids.iter().map(|id| json!({"value": id})).collect();
    let group = okta.group("everybody", &[]).await;
    let one = format!("/Groups/{group}");
    let begun = Instant::now();
    let put = okta.put(&one, json!({"displayName": "everybody", "members": members})).await;
    assert_eq!((put.status, put.body["members"].as_array().unwrap().len()), (200, 200_000));
    eprintln!("PUT of 200,000: {:?}", begun.elapsed());
    for id in [&ids[17], &ids[100_000]] {
        let begun = Instant::now();
        let out = json!([{"op": "remove", "path": format!("members[value eq \"{id}\"]")}]);
        assert_eq!(okta.patch(&one, out).await.status, 204);
        eprintln!("one member less: {:?}", begun.elapsed());
    }
    let begun = Instant::now();
    let found = okta.get("/Users?filter=title pr or active eq false").await;
    eprintln!("a filter without index: {:?} ({})", begun.elapsed(), found.body["totalResults"]);
    let begun = Instant::now();
    okta.get("/Groups").await;
    eprintln!("a list with 200,000 members: {:?}", begun.elapsed());
}

/// Serves an empty source for a minute, for testers from outside: `/scim/v2/okta` on port 18099, with the token of these tests.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "for testers from outside"]
async fn serve_for_a_minute() {
    let okta = Client::new().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:18099").await.unwrap();
    let (_end, ended) = tokio::sync::watch::channel(false);
    let serve = crate::gateway::server::run(listener, None, okta.router.clone(), ended, Default::default());
    let _ = tokio::time::timeout(std::time::Duration::from_secs(60), serve).await;
}
