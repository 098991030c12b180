//! One large group in a gateway over a journal in memory: `cargo test --lib gateway::tests::measure -- --ignored --nocapture`. How many users a
//! second a real gateway creates is in `make bench`.

use std::time::Instant;

use super::*;

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
