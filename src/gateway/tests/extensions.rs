//! Extension schemas that a source declares.

use super::*;
use crate::api::source::ExtensionSchema;
use crate::directory::Event;

const URN: &str = "urn:example:corp:2.0:User";
const CORE: &str = "urn:ietf:params:scim:schemas:core:2.0:User";

async fn declared() -> Client {
    let okta = Client::new().await;
    let schema: ExtensionSchema = serde_json::from_value(json!({
        "id": URN, "name": "Corp", "description": "What the company adds.", "attributes": [
            {"name": "badge", "type": "integer"}, {"name": "costCode", "required": true},
            {"name": "desk", "type": "complex", "subAttributes": [{"name": "floor", "type": "integer"}]},
            {"name": "key", "caseExact": true}, {"name": "since", "type": "dateTime"}, {"name": "keys", "caseExact": true, "multiValued": true},
            {"name": "phones", "type": "complex", "multiValued": true, "subAttributes": [{"name": "value"}, {"name": "ext", "type": "integer"}]},
        ],
    }))
    .unwrap();
    let served = okta.gateway.sources.all().into_iter().map(|served| {
        let mut served = served.as_ref().clone();
        if *served.name == *"okta" {
            served.extensions = Arc::new(super::super::extensions::of(std::slice::from_ref(&schema)));
        }
        served
    });
    okta.gateway.sources.set(served.collect::<Vec<_>>());
    okta
}

#[tokio::test]
async fn what_is_declared_is_published_to_who_has_a_token() {
    let okta = declared().await;
    let listed = |got: &Got, key: &str| got.body["Resources"].as_array().unwrap().iter().any(|one| one[key] == json!(URN));
    assert!(listed(&okta.get("/Schemas").await, "id"));
    let schema = okta.get(&format!("/Schemas/{URN}")).await;
    assert_eq!((schema.status, &schema.body["attributes"][1]["required"]), (200, &json!(true)));
    let kind = okta.get("/ResourceTypes/User").await;
    assert_eq!(kind.body["schemaExtensions"][1], json!({"schema": URN, "required": false}));
    assert_eq!(okta.get("/ResourceTypes/Group").await.body.get("schemaExtensions"), None);
    for stranger in [
        okta.entra(),
        Client {
            token: "nobody".into(),
            ..okta.clone()
        },
    ] {
        assert!(!listed(&stranger.get("/Schemas").await, "id"));
        assert_eq!(stranger.get(&format!("/Schemas/{URN}")).await.error(), (404, ""));
    }
}

#[tokio::test]
async fn a_resource_is_held_to_what_is_declared() {
    let okta = declared().await;
    let user = |extension: Value| json!({"schemas": [CORE, URN], "userName": "ada", URN: extension});
    let refused = okta.post("/Users", user(json!({"badge": "seven"}))).await;
    assert_eq!(refused.error(), (400, "invalidValue"));
    for twice in [json!({"badge": 7, "BADGE": 8}), json!({"BADGE": 8, "badge": 7})] {
        assert_eq!(okta.post("/Users", user(twice)).await.error(), (400, "invalidSyntax"));
    }
    let made = okta
        .post("/Users", user(json!({"BADGE": 7, "costCode": "x", "desk": {"floor": 3}})))
        .await;
    assert_eq!((made.status, &made.body["schemas"]), (201, &json!([CORE, URN])));
    assert_eq!(made.body[URN], json!({"badge": 7, "costCode": "x", "desk": {"floor": 3}}));
    let path = format!("/Users/{}", made.id());
    let index = okta.index();
    let same = okta
        .put(&path, user(json!({"costCode": "x", "badge": 7, "desk": {"floor": 3}})))
        .await;
    assert_eq!((same.status, okta.index()), (200, index));
    let patch = |value: Value| json!([{"op": "replace", "path": format!("{URN}:badge"), "value": value}]);
    assert_eq!(okta.patch(&path, patch(json!(true))).await.error(), (400, "invalidValue"));
    assert_eq!(okta.patch(&path, patch(json!(8))).await.body[URN]["badge"], json!(8));
    for (filter, found) in [
        ("badge gt 7", 1),
        ("badge eq 7", 0),
        ("desk.floor eq 3", 1),
        ("costCode eq \"X\"", 1),
        ("badge pr", 1),
    ] {
        let got = okta.get(&format!("/Users?filter={URN}:{filter}&sortBy={URN}:badge")).await;
        assert_eq!(got.body["totalResults"], json!(found), "{filter}");
    }
    // Declared, it is no drift; what is not, and what is expected and missing, is.
    okta.put(&path, user(json!({"badge": 7, "other": 1}))).await;
    let news = okta
        .gateway
        .usage
        .pending("okta")
        .news("okta", &crate::directory::Client::default());
    let Some(Event::ClientSeen { drift, .. }) = news else {
        panic!("{news:?}")
    };
    let drift: Vec<String> = drift.iter().map(|one| format!("{} {}", one.drift.name(), one.attribute)).collect();
    assert_eq!(
        drift,
        [
            format!("UnknownAttribute {URN}:other"),
            format!("WrongType {URN}:badge"),
            format!("MissingAttribute {URN}:costCode")
        ]
    );
    assert_eq!(
        okta.entra().post("/Users", user(json!({"badge": "seven"}))).await.status,
        201,
        "another source declares nothing"
    );
}

#[tokio::test]
async fn nobody_stays_enabled_because_of_what_is_declared() {
    let okta = declared().await;
    let undeclared = okta.gateway.sources.all().into_iter().map(|served| {
        let mut served = served.as_ref().clone();
        served.extensions = Arc::default();
        served
    });
    let declared: Vec<_> = okta.gateway.sources.all().iter().map(|served| served.as_ref().clone()).collect();
    okta.gateway.sources.set(undeclared.collect::<Vec<_>>());
    let ada = okta.post("/Users", json!({"userName": "ada", URN: {"badge": "seven"}})).await;
    okta.gateway.sources.set(declared);
    let path = format!("/Users/{}", ada.id());
    // What was kept before it was declared stands in nobody's way, and a request that disables counts whatever else it says.
    let got = okta.patch(&path, json!([{"op": "replace", "path": "title", "value": "x"}])).await;
    assert_eq!((got.status, &got.body[URN]["badge"]), (200, &json!("seven")));
    let put = okta
        .put(&path, json!({"userName": "ada", "active": true, URN: {"badge": "eight"}}))
        .await;
    assert_eq!(put.error(), (400, "invalidValue"));
    let put = okta
        .put(&path, json!({"userName": "ada", "active": false, URN: {"badge": "eight"}}))
        .await;
    assert_eq!((put.status, &put.body["active"]), (200, &json!(false)));
}

#[tokio::test]
async fn filters_and_orders_go_by_what_is_declared() {
    let okta = declared().await;
    let user = async |name: &str, extension: Value| {
        let made = okta.post("/Users", json!({"userName": name, URN: extension})).await;
        assert_eq!(made.status, 201, "{made:?}");
    };
    let phones = json!([{"value": "1", "ext": 9}, {"value": "2", "ext": 10}]);
    user(
        "ada",
        json!({"key": "Ab", "costCode": "Ab", "since": "2026-01-01T01:00:00+02:00", "keys": ["x", "Y"], "badge": 9, "phones": phones}),
    )
    .await;
    user(
        "bob",
        json!({"key": "aC", "costCode": "aC", "since": "2026-01-01T00:00:00Z", "badge": 10}),
    )
    .await;
    for (filter, found) in [
        ("key eq \"Ab\"", 1),
        ("key eq \"ab\"", 0),
        ("key sw \"a\"", 1),
        ("KEY co \"b\"", 1),
        ("costCode eq \"ab\"", 1),
        ("costCode sw \"a\"", 2),
        ("keys eq \"y\"", 0),
        ("keys eq \"Y\"", 1),
        ("since lt \"2026-01-01T00:00:00Z\"", 1),
        ("since eq \"2025-12-31T23:00:00Z\"", 1),
        ("badge gt 9", 1),
        ("phones[value eq \"1\" and ext gt 9]", 0),
        ("phones[value eq \"2\" and ext gt 9]", 1),
        ("phones.EXT eq 9", 1),
        ("phones eq \"2\"", 1),
        ("undeclared pr", 0),
        ("phones[length eq 1]", 0),
    ] {
        let got = okta.get(&format!("/Users?filter={URN}:{filter}")).await;
        assert_eq!(got.body["totalResults"], json!(found), "{filter} {got:?}");
        let everywhere = okta.get(&format!("/?filter={URN}:{filter}")).await;
        assert_eq!(everywhere.body["totalResults"], json!(found), "{filter} {everywhere:?}");
    }
    for filter in [
        "badge eq \"9\"",
        "badge co 9",
        "since gt \"yesterday\"",
        "desk eq 1",
        "phones[length.x eq 1]",
    ] {
        let got = okta.get(&format!("/Users?filter={URN}:{filter}")).await;
        assert_eq!(got.error(), (400, "invalidFilter"), "{filter}");
    }
    for (by, first) in [("key", "ada"), ("costCode", "ada"), ("since", "ada"), ("badge", "ada")] {
        let got = okta.get(&format!("/Users?sortBy={URN}:{by}")).await;
        assert_eq!(got.body["Resources"][0]["userName"], json!(first), "{by}");
    }
    user("eve", json!({"key": "B", "costCode": "B"})).await;
    let order = async |by: &str| {
        let got = okta.get(&format!("/Users?sortBy={URN}:{by}")).await;
        let names = got.body["Resources"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["userName"].as_str().unwrap().to_owned());
        names.collect::<Vec<_>>().join(" ")
    };
    assert_eq!(
        (order("key").await, order("costCode").await),
        ("ada eve bob".to_owned(), "ada bob eve".to_owned())
    );
    assert_eq!(okta.get(&format!("/Users?sortBy={URN}:desk")).await.error(), (400, "invalidValue"));
}
