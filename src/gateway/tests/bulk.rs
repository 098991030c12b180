//! Bulk requests (RFC 7644 §3.7).

use super::*;

const BULK: &str = "urn:ietf:params:scim:api:messages:2.0:BulkRequest";

impl Client {
    async fn bulk(&self, operations: Value) -> Got {
        self.post("/Bulk", json!({"schemas": [BULK], "Operations": operations})).await
    }
}

fn post(id: &str, path: &str, data: Value) -> Value {
    json!({"method": "POST", "path": path, "bulkId": id, "data": data})
}

fn group(id: &str, members: &[&str]) -> Value {
    let members: Vec<Value> = members.iter().map(|id| json!({"value": format!("bulkId:{id}")})).collect();
    post(id, "/Groups", json!({"displayName": id, "members": members}))
}

/// The statuses, in the order of the answer.
fn statuses(got: &Got) -> Vec<&str> {
    assert_eq!(got.status, 200, "{got:?}");
    assert_eq!(got.body["schemas"], json!(["urn:ietf:params:scim:api:messages:2.0:BulkResponse"]));
    let operations = got.body["Operations"].as_array().unwrap().iter();
    operations.map(|operation| operation["status"].as_str().unwrap()).collect()
}

/// The path of the n-th operation's resource.
fn place(got: &Got, n: usize) -> String {
    let location = got.body["Operations"][n]["location"].as_str().unwrap();
    location.split_once("/scim/v2/okta").unwrap().1.to_owned()
}

#[tokio::test]
async fn every_operation_is_done_and_answered() {
    let okta = Client::new().await;
    let (old, gone) = (okta.user("old").await, okta.user("gone").await);
    let index = okta.index();
    let got = okta
        .bulk(json!([
            post("ada", "/Users", json!({"userName": "ada"})),
            post("again", "/Users", json!({"userName": "ADA"})),
            {"method": "PATCH", "path": format!("/Users/{old}"), "data": {"Operations": [{"op": "replace", "path": "title", "value": "new"}]}},
            {"method": "PUT", "path": format!("/Users/{old}"), "version": "W/\"0.0\"", "data": {"userName": "old"}},
            {"method": "DELETE", "path": format!("/Users/{gone}")},
            {"method": "DELETE", "path": format!("/Users/{gone}")},
            {"method": "GET", "path": format!("/Users/{old}")},
            group("team", &["ada"]),
            {"method": "PATCH", "path": "/Groups/bulkId:team", "data": {"Operations": [{"op": "add", "path": "members", "value": [{"value": old}]}]}},
            post("lead", "/Users", json!({"userName": "lead", "manager": {"value": "bulkId:ada"}})),
            post("bad", "/Users", json!({"userName": "bad", "manager": {"value": "bulkId:nobody"}})),
        ]))
        .await;
    assert_eq!(
        statuses(&got),
        ["201", "409", "200", "412", "204", "404", "400", "201", "200", "201", "400"]
    );
    assert_eq!(okta.index(), index + 1, "one batch of the journal holds it all");
    let operations = got.body["Operations"].as_array().unwrap();
    assert_eq!(
        (&operations[0]["method"], &operations[0]["bulkId"]),
        (&json!("POST"), &json!("ada"))
    );
    assert!(operations[1].get("location").is_none(), "a POST that failed has none");
    assert_eq!(operations[1]["bulkId"], json!("again"));
    assert_eq!(operations[5]["location"], json!(format!("http://scim.example{BASE}/Users/{gone}")));
    for failed in [1, 3, 5, 6, 10] {
        let response = &operations[failed]["response"];
        assert_eq!(
            response["schemas"],
            json!(["urn:ietf:params:scim:api:messages:2.0:Error"]),
            "{failed}"
        );
        assert_eq!(response["status"], operations[failed]["status"]);
        assert!(response["detail"].is_string());
    }
    let ada = okta.get(&place(&got, 0)).await;
    assert_eq!(operations[0]["version"], json!(ada.header("etag")));
    let team = okta.get(&place(&got, 7)).await;
    assert_eq!(team.body["members"].as_array().unwrap().len(), 2);
    assert_eq!(operations[7]["version"], json!(team.header("etag")));
    let lead = okta.get(&place(&got, 9)).await;
    let manager = &lead.body["urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"]["manager"]["value"];
    assert_eq!(*manager, json!(ada.id()));
    assert_eq!(okta.get(&format!("/Users/{old}")).await.body["title"], json!("new"));
    assert_eq!(okta.get("/Users?filter=userName eq \"bad\"").await.body["totalResults"], json!(0));
    // Nothing of it is new: nothing is appended.
    let index = okta.index();
    let again = json!([{"method": "PATCH", "path": format!("/Users/{old}"), "data": {"Operations": [{"op": "replace", "path": "title", "value": "new"}]}}]);
    assert_eq!(statuses(&okta.bulk(again).await), ["200"]);
    assert_eq!(okta.index(), index);
}

#[tokio::test]
async fn references_go_forward_and_in_circles() {
    let okta = Client::new().await;
    // The group comes before its members, and two groups hold each other, and one itself.
    let got = okta
        .bulk(json!([
            group("a", &["b", "ada"]),
            group("b", &["a"]),
            group("self", &["self"]),
            post("ada", "/Users", json!({"userName": "ada", "manager": {"value": "bulkId:bob"}})),
            post("bob", "/Users", json!({"userName": "bob", "manager": {"value": "bulkId:ada"}})),
        ]))
        .await;
    assert_eq!(statuses(&got), ["201"; 5]);
    let id = |n: usize| place(&got, n).rsplit_once('/').unwrap().1.to_owned();
    let mut members = okta.members(&id(0)).await;
    members.sort();
    let mut expected = [id(1), id(3)];
    expected.sort();
    assert_eq!(members, expected);
    assert_eq!(okta.members(&id(1)).await, [id(0)]);
    assert_eq!(okta.members(&id(2)).await, [id(2)]);
    for (user, manager) in [(3, 4), (4, 3)] {
        let got = okta.get(&place(&got, user)).await;
        let found = &got.body["urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"]["manager"]["value"];
        assert_eq!(*found, json!(id(manager)));
    }
    // A circle that cannot be closed is refused whole: no group is left without the member that it was to have.
    let mut open = group("c", &["d"]);
    open["data"]["members"].as_array_mut().unwrap().push(json!({"value": "nobody"}));
    let got = okta
        .bulk(json!([
            open,
            group("d", &["c"]),
            group("e", &["c"]),
            post("last", "/Users", json!({"userName": "last"}))
        ]))
        .await;
    assert_eq!(statuses(&got), ["400", "409", "400", "201"]);
    assert_eq!(
        okta.get("/Groups?filter=displayName eq \"c\" or displayName eq \"d\" or displayName eq \"e\"")
            .await
            .body["totalResults"],
        json!(0)
    );
}

#[tokio::test]
async fn it_ends_after_as_many_failures_as_it_may_have() {
    let okta = Client::new().await;
    let user = |id: &str, name: &str| post(id, "/Users", json!({"userName": name}));
    let operations = json!([user("1", "a"), user("2", ""), user("3", "b"), user("4", ""), user("5", "c")]);
    let got = okta
        .post("/Bulk", json!({"schemas": [BULK], "failOnErrors": 2, "Operations": operations}))
        .await;
    assert_eq!(statuses(&got), ["201", "400", "201", "400"], "what was not tried is not answered");
    assert_eq!(okta.get("/Users").await.body["totalResults"], json!(2));
}

#[tokio::test]
async fn a_bulk_request_that_is_none_or_too_large_is_refused_as_a_whole() {
    let okta = Client::new().await;
    let config = okta.get("/ServiceProviderConfig").await.body["bulk"].clone();
    assert_eq!(
        config,
        json!({"supported": true, "maxOperations": 1000, "maxPayloadSize": 4_194_304})
    );
    let many: Vec<Value> = (0..1001)
        .map(|n| post(&n.to_string(), "/Users", json!({"userName": n.to_string()})))
        .collect();
    let got = okta.bulk(many.into()).await;
    assert_eq!(got.error(), (413, ""));
    assert!(got.body["detail"].as_str().unwrap().contains("1000"));
    let large = post("1", "/Users", json!({"userName": "a", "title": "x".repeat(4_200_000)}));
    let got = okta.bulk(json!([large])).await;
    assert_eq!(got.error(), (413, ""));
    assert!(got.body["detail"].as_str().unwrap().contains("4194304"));
    assert_eq!(okta.post("/Bulk", json!({"schemas": [BULK]})).await.error(), (400, "invalidSyntax"));
    assert_eq!(okta.get("/Bulk").await.error(), (405, ""));
    assert_eq!(okta.get("/Users").await.body["totalResults"], json!(0));
    assert_eq!(statuses(&okta.bulk(json!([])).await), Vec::<&str>::new());
}

#[tokio::test]
async fn a_bulk_request_reaches_its_own_source_only() {
    let okta = Client::new().await;
    let ada = okta.user("ada").await;
    let got = okta
        .entra()
        .bulk(json!([
            {"method": "DELETE", "path": format!("/Users/{ada}")},
            {"method": "PATCH", "path": format!("/Users/{ada}"), "data": {"Operations": [{"op": "replace", "path": "active", "value": false}]}},
            post("g", "/Groups", json!({"displayName": "g", "members": [{"value": ada}]})),
        ]))
        .await;
    assert_eq!(statuses(&got), ["404", "404", "400"]);
    assert_eq!(okta.get(&format!("/Users/{ada}")).await.body.get("active"), None);
}

#[tokio::test]
async fn what_comes_after_a_circle_finds_it_closed() {
    let okta = Client::new().await;
    let remove = json!({"Operations": [{"op": "remove", "path": "members[value eq \"bulkId:g\"]"}]});
    let got = okta
        .bulk(json!([
            group("g", &["h"]),
            group("h", &["g"]),
            {"method": "PATCH", "path": "/Groups/bulkId:h", "data": remove},
        ]))
        .await;
    assert_eq!(statuses(&got), ["201", "201", "200"]);
    let id = |n: usize| place(&got, n).rsplit_once('/').unwrap().1.to_owned();
    assert_eq!(okta.members(&id(0)).await, [id(1)]);
    assert_eq!(okta.members(&id(1)).await, Vec::<String>::new(), "it was taken out");
}
