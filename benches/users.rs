//! Users created over SCIM on connections that stay open, beside the API server's own rate of bare creations.
//!
//! Floor: ConfigMaps of about 1 KiB created by an admin (whom the API server makes wait for nobody), the best of 1, 64 and 512 in flight. The
//! controller runs and follows, as in real life; both are measured in turns.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::Method;
use kube::Client;
use serde_json::json;

use crate::bare::{config_map, send};
use crate::http1::Connection;
use crate::load::{AsyncWorker, Done, run};
use crate::report::{Goal, Row, percentile};
use crate::system::{Process, System};

const AT_ONCE: [usize; 3] = [1, 64, 512];
const ROUNDS: usize = 2;
const PLACE: &str = "bare";
/// An HTTP/2 connection carries only so many requests at once.
const CLIENTS: usize = 8;

/// All of it.
pub async fn measure(system: &System<'_>, gateway: &Process) -> Vec<Row> {
    system.namespace(PLACE, json!({})).await;
    let provider = system.source(&gateway.url, "created").await;
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        clients.push(system.cluster.admin().await);
    }
    let number = Arc::new(AtomicU64::new(0));
    let mut users = [Done::default(), Done::default(), Done::default()];
    let mut bare = users.clone();
    for _ in 0..ROUNDS {
        for (at, at_once) in AT_ONCE.into_iter().enumerate() {
            let creators = (0..at_once).map(|n| Creator {
                client: clients[n % CLIENTS].clone(),
                number: number.clone(),
            });
            let done = run(creators.collect(), Duration::from_secs(2)).await;
            bare[at] = std::mem::take(&mut bare[at]).and(done);
            let mut pushers = Vec::new();
            for _ in 0..at_once {
                let headers = format!(
                    "Authorization: Bearer {}\r\nContent-Type: application/scim+json\r\n",
                    provider.token
                );
                pushers.push(Pusher {
                    connection: Connection::open(&gateway.url, &headers).await,
                    number: number.clone(),
                });
            }
            let done = run(pushers, Duration::from_secs(4)).await;
            users[at] = std::mem::take(&mut users[at]).and(done);
        }
    }
    let best = bare.iter().map(Done::rate).fold(0.0, f64::max);
    let mut rows = Vec::new();
    for (at_once, done) in AT_ONCE.into_iter().zip(&users) {
        let row = Row::new(format!("users created over HTTP, {at_once} in flight"), done.rate(), "users/s").floor(best);
        rows.push(if at_once == 512 { row.goal(Goal::RatioAtLeast(3.0)) } else { row });
        rows.push(Row::new(
            format!("  p50 of one, {at_once} in flight"),
            percentile(&done.each, 50),
            "ms",
        ));
    }
    for (at_once, done) in AT_ONCE.into_iter().zip(&bare) {
        rows.push(Row::new(
            format!("  bare creates of 1 KiB, {at_once} in flight"),
            done.rate(),
            "creates/s",
        ));
    }
    rows
}

/// Creates ConfigMaps.
struct Creator {
    client: Client,
    number: Arc<AtomicU64>,
}

impl AsyncWorker for Creator {
    async fn work(&mut self) {
        let n = self.number.fetch_add(1, Ordering::Relaxed);
        let body = config_map(&format!("bare-{n}"), &"x".repeat(900));
        let path = format!("/api/v1/namespaces/{PLACE}/configmaps");
        let (status, answer) = send(&self.client, Method::POST, &path, body).await;
        assert_eq!(status, 201, "{}", String::from_utf8_lossy(&answer));
    }
}

/// Creates users, as Okta does.
struct Pusher {
    connection: Connection,
    number: Arc<AtomicU64>,
}

impl AsyncWorker for Pusher {
    async fn work(&mut self) {
        let n = self.number.fetch_add(1, Ordering::Relaxed);
        let body = format!(
            r#"{{"schemas":["urn:ietf:params:scim:schemas:core:2.0:User"],"userName":"new-{n}@corp.example","externalId":"00u{n:017}","displayName":"New {n}","active":true,"name":{{"givenName":"New","familyName":"Number {n}"}},"emails":[{{"value":"new-{n}@corp.example","type":"work","primary":true}}]}}"#
        );
        let status = self.connection.send("POST", "/scim/v2/created/Users", &body).await;
        assert_eq!(status, 201, "user {n}");
    }
}
