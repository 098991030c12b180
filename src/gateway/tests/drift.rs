//! What a provider's client does that the RFCs or the schema do not have: taken or refused, it is noted; and a de-provisioning that was refused is
//! not forgotten.

use std::collections::BTreeSet;

use super::*;
use crate::directory::client::Rejected;
use crate::scim::Drift;
use crate::scim::tolerance::Tolerance;

impl Client {
    /// What is noted of the source and not told yet: tolerances, drift.
    fn noted(&self) -> (BTreeSet<String>, BTreeSet<(Drift, String)>) {
        let event = self
            .gateway
            .usage
            .pending("okta")
            .news("okta", &crate::directory::Client::default());
        let Some(crate::directory::Event::ClientSeen { tolerated, drift, .. }) = event else {
            panic!("{event:?}")
        };
        self.gateway.usage.retain(|_| false);
        (
            tolerated.into_iter().map(|counted| counted.name).collect(),
            drift.into_iter().map(|drifted| (drifted.drift, drifted.attribute)).collect(),
        )
    }

    fn rejected(&self) -> Vec<Rejected> {
        let directory = self.gateway.journal.load().as_ref().unwrap().snapshot().state;
        let client = directory.source("okta").unwrap().client().clone();
        client.rejected.into_values().collect()
    }
}

const CORE: &str = "urn:ietf:params:scim:schemas:core:2.0:User";

#[tokio::test]
async fn every_tolerance_is_noted_by_its_name() {
    let okta = Client::new().await;
    let manager = okta.user("manager").await;
    let got = okta
        .post("/Users", json!({"schemas": [CORE], "userName": "ada", "title": "x"}))
        .await;
    let (ada, users) = (format!("/Users/{}", got.id()), "/Users".to_owned());
    let group = okta.group("g", &[&manager]).await;
    let group = format!("/Groups/{group}");
    okta.gateway.usage.retain(|_| false);
    let patch = |ops: Value| json!({"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"], "Operations": ops});
    let user = |user: Value| {
        let mut user = user;
        user["schemas"] = json!([CORE]);
        user
    };
    // (method, path, body, what it needs)
    let rows = [
        (
            "PATCH",
            &ada,
            patch(json!([{"op": "Replace", "path": "title", "value": "a"}])),
            Tolerance::OpCase,
        ),
        ("PATCH", &ada, patch(json!([])), Tolerance::NoOperations),
        (
            "PATCH",
            &ada,
            patch(json!([{"op": "replace", "value": {"name.givenName": "Ada"}}])),
            Tolerance::PathAsKey,
        ),
        (
            "PATCH",
            &ada,
            patch(json!([{"op": "replace", "path": "department", "value": "x"}])),
            Tolerance::NoUrn,
        ),
        ("POST", &users, user(json!({"userName": "b", "department": "x"})), Tolerance::NoUrn),
        (
            "PATCH",
            &group,
            patch(json!([{"op": "remove", "path": "members", "value": [{"value": manager}]}])),
            Tolerance::RemoveValues,
        ),
        (
            "PATCH",
            &ada,
            patch(json!([{"op": "replace", "path": "emails[type eq \"work\"].value", "value": "a@b"}])),
            Tolerance::MadeElement,
        ),
        (
            "PATCH",
            &ada,
            patch(json!([{"op": "replace", "value": {"id": got.id(), "title": "b"}}])),
            Tolerance::ReadOnlyRepeated,
        ),
        (
            "PATCH",
            &ada,
            patch(
                json!([{"op": "add", "value": {"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User": {"schemas": [], "division": "x"}}}]),
            ),
            Tolerance::NestedSchemas,
        ),
        (
            "PATCH",
            &ada,
            patch(json!([{"op": "replace", "path": "active", "value": "True"}])),
            Tolerance::BooleanText,
        ),
        (
            "PATCH",
            &ada,
            patch(json!([{"op": "replace", "path": "active", "value": "1"}])),
            Tolerance::BooleanNumber,
        ),
        (
            "PATCH",
            &ada,
            patch(
                json!([{"op": "add", "path": "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:manager", "value": [{"value": manager}]}]),
            ),
            Tolerance::ListOfOne,
        ),
        (
            "PATCH",
            &ada,
            patch(json!([{"op": "add", "path": "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:manager", "value": ""}])),
            Tolerance::EmptyClears,
        ),
        (
            "PATCH",
            &ada,
            patch(json!([{"op": "add", "path": "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:manager", "value": manager}])),
            Tolerance::BareValue,
        ),
        (
            "PATCH",
            &ada,
            patch(json!([{"op": "add", "path": "roles", "value": {"value": "r"}}])),
            Tolerance::ElementWithoutList,
        ),
        (
            "PATCH",
            &ada,
            patch(json!([{"op": "add", "path": "roles", "value": [{"value": "{\"value\":\"Admin\"}"}]}])),
            Tolerance::JsonText,
        ),
        (
            "POST",
            &users,
            json!({"schemas": ["urn:scim:schemas:core:1.0"], "userName": "c"}),
            Tolerance::ForeignSchemas,
        ),
        ("POST", &users, json!({"userName": "d"}), Tolerance::NoSchemas),
    ];
    let mut seen = BTreeSet::new();
    for (method, path, body, tolerance) in rows {
        let got = okta.send(okta.request(method, path, Some(&body))).await;
        assert!(got.status < 300, "{body}: {got:?}");
        assert_eq!(okta.noted().0, BTreeSet::from([tolerance.name().to_owned()]), "{body}");
        seen.insert(tolerance);
    }
    okta.get(&format!("/Users?filter=manager eq \"{manager}\"")).await;
    assert_eq!(okta.noted().0, BTreeSet::from(["BareComplex".to_owned(), "NoUrn".to_owned()]));
    okta.get("/Users?filter=externalId eq jyoung").await;
    assert_eq!(okta.noted().0, BTreeSet::from(["BareLiteral".to_owned()]));
    let mut request = okta.request("POST", "/Users", Some(&user(json!({"userName": "e"}))));
    request.headers_mut().remove("content-type");
    assert_eq!(okta.send(request).await.status, 201);
    assert_eq!(okta.noted().0, BTreeSet::from(["NoContentType".to_owned()]));
    seen.extend([Tolerance::BareComplex, Tolerance::BareLiteral, Tolerance::NoContentType]);
    assert_eq!(seen.len(), Tolerance::ALL.len(), "each has its row");
    // What the RFCs have needs none.
    okta.get("/Users?filter=userName eq \"ada\"").await;
    okta.send(okta.request(
        "POST",
        "/Users",
        Some(&user(json!({"userName": "f", "emails": [{"value": "x"}], "nickName": null}))),
    ))
    .await;
    assert_eq!(okta.noted(), (BTreeSet::new(), BTreeSet::new()));
}

#[tokio::test]
async fn what_the_schema_does_not_have_is_noted_and_kept() {
    let okta = Client::new().await;
    let body = json!({
        "schemas": [CORE], "userName": "ada", "badge": 5, "name": {"nick": "x"},
        "urn:example:2.0:User": {"floor": 1, "desk": null}, "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User": {"level": 3}
    });
    let ada = okta.post("/Users", body.clone()).await;
    assert_eq!(ada.body["badge"], json!(5));
    let unknown = |path: &str| (Drift::UnknownAttribute, path.to_owned());
    assert_eq!(
        okta.noted().1,
        BTreeSet::from([
            unknown("badge"),
            unknown("name.nick"),
            unknown("urn:example:2.0:User:floor"),
            unknown("urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:level"),
        ])
    );
    let path = format!("/Users/{}", ada.id());
    okta.patch(
        &path,
        json!([{"op": "replace", "path": "badge", "value": 6}, {"op": "add", "path": "urn:example:2.0:User:floor", "value": 2}]),
    )
    .await;
    assert_eq!(
        okta.noted().1,
        BTreeSet::from([unknown("badge"), unknown("urn:example:2.0:User:floor")])
    );
    okta.put(&path, json!({"schemas": [CORE], "userName": "ada"})).await;
    assert_eq!(
        okta.noted().1,
        BTreeSet::from([
            (Drift::MissingExtension, "urn:example:2.0:User".to_owned()),
            (
                Drift::MissingExtension,
                "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User".to_owned()
            ),
        ])
    );
    assert_eq!(
        okta.post("/Users", json!({"schemas": [CORE], "userName": "b", "title": 5}))
            .await
            .error(),
        (400, "invalidValue")
    );
    assert_eq!(okta.noted().1, BTreeSet::from([(Drift::WrongType, "title".to_owned())]));
    assert_eq!(
        okta.put(&path, json!({"schemas": [CORE], "title": "x"})).await.error(),
        (400, "invalidValue")
    );
    assert_eq!(okta.noted().1, BTreeSet::from([(Drift::MissingAttribute, "userName".to_owned())]));
    // What is no name of an attribute may be anything, and is kept, but not told.
    assert_eq!(
        okta.post("/Users", json!({"schemas": [CORE], "userName": "c", "Ada Lovelace": 1}))
            .await
            .status,
        201
    );
    assert_eq!(okta.noted().1, BTreeSet::new());
}

#[tokio::test]
async fn a_deprovisioning_that_was_refused_is_not_forgotten() {
    let okta = Client::new().await;
    let ada = okta.user("ada").await;
    let path = format!("/Users/{ada}");
    let disable = json!([{"op": "replace", "path": "active", "value": "no"}]);
    let refused = okta.patch(&path, disable.clone()).await;
    assert_eq!(refused.error(), (400, "invalidValue"));
    let rejected = okta.rejected();
    assert_eq!((rejected.len(), &*rejected[0].reason), (1, "invalidValue"));
    assert_eq!(*rejected[0].request, *refused.header("x-request-id"));
    let index = okta.index();
    assert_eq!(okta.patch(&path, disable.clone()).await.error(), (400, "invalidValue"));
    assert_eq!(okta.index(), index, "it is known");
    assert_eq!(okta.get(&path).await.status, 200);
    assert_eq!(okta.rejected().len(), 1, "a read settles nothing");
    // Something else that is taken settles nothing: the person is still enabled. What is said of `active` does, though it changes nothing.
    let same = okta.patch(&path, json!([{"op": "replace", "path": "title", "value": "x"}])).await;
    assert_eq!((same.status, okta.rejected().len()), (200, 1));
    let same = okta.patch(&path, json!([{"op": "replace", "path": "active", "value": true}])).await;
    assert_eq!((same.status, okta.rejected().len()), (200, 0));

    let misunderstood = async |method: &str, body: &str| {
        let mut request = okta.request(method, &path, None);
        request
            .headers_mut()
            .insert("content-type", "application/scim+json".parse().unwrap());
        *request.body_mut() = Body::from(body.to_owned());
        let status = okta.send(request).await.status;
        let rejected = okta.rejected().len();
        okta.patch(&path, json!([{"op": "replace", "path": "active", "value": true}])).await;
        (status, rejected)
    };
    for (method, body, expected) in [
        ("PATCH", "{\"Operations\": [{\"op\": \"disable\", \"path\": \"active\"}]}", (400, 1)),
        (
            "PATCH",
            "{\"Operations\": [{\"op\": \"replace\", \"path\": \"active[\", \"value\": false}]}",
            (400, 1),
        ),
        (
            "PATCH",
            "{\"Operations\": [{\"op\": \"replace\", \"path\": \"active[x\", \"value\": {\"active\": false}}]}",
            (400, 1),
        ),
        ("PATCH", "{\"Operations\": {\"active\": false}}", (400, 1)),
        ("PUT", "{\"active\": false}", (400, 1)),
        ("PUT", "{\"userName\": \"ada\", \"active\": [false]}", (400, 1)),
        ("PUT", "{\"userName\": \"ada\", \"active\": false", (400, 1)),
        ("PUT", "{\"userName\": 5, \"active\": true}", (400, 0)),
        (
            "PATCH",
            "{\"Operations\": [{\"op\": \"replace\", \"path\": \"title\", \"value\": 5}]}",
            (400, 0),
        ),
    ] {
        assert_eq!(misunderstood(method, body).await, expected, "{method} {body}");
    }
    // A conflict keeps somebody enabled too. In a bulk request it is the same; and a disabled user settles it.
    let bob = okta.user("bob").await;
    let bulk = json!({"Operations": [
        {"method": "PUT", "path": format!("/Users/{bob}"), "data": {"userName": "ada", "active": false}},
        {"method": "PATCH", "path": path, "data": {"Operations": [{"op": "replace", "path": "active", "value": "off"}]}},
    ]});
    let got = okta.post("/Bulk", bulk).await;
    assert_eq!((got.status, okta.rejected().len()), (200, 2), "{got:?}");
    okta.patch(&path, json!([{"op": "replace", "path": "active", "value": false}]))
        .await;
    assert_eq!(okta.rejected().len(), 1);
    okta.delete(&format!("/Users/{bob}")).await;
    assert_eq!(okta.rejected().len(), 0);
    // An id that is not there is nobody.
    assert_eq!(
        okta.patch("/Users/00000000-0000-4000-8000-000000000000", disable).await.error(),
        (404, "")
    );
}
