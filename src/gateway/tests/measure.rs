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
