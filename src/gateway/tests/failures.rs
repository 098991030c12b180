//! What went wrong in other SCIM servers, each as a test of its own: `scim` by the list in the field, `cve` as published.

use super::*;

const ENTERPRISE: &str = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User";

fn patch_active(path: &str, value: Value) -> Value {
    json!([{"op": "replace", "path": path, "value": value}])
}

#[tokio::test]
async fn scim_01_what_was_answered_is_there_afterwards() {
    let okta = Client::new().await;
    let path = format!("/Users/{}", okta.user("ada").await);
    let everything = json!({
        "userName": "ada", "displayName": "Ada", "nickName": "a", "externalId": "x", "timezone": "Europe/Berlin", "costCode": 5,
        "name": {"givenName": "Ada"}, "emails": [{"value": "a@b", "type": "work", "primary": true}], "urn:example:2.0:User": {"badge": [1, 2]},
        ENTERPRISE: {"department": "x", "manager": {"value": "boss"}}
    });
    let put = okta.put(&path, everything).await;
    assert_eq!(okta.get(&path).await.body, put.body);
    for (at, value) in [
        ("displayName", json!("New")),
        ("name.familyName", json!("L")),
        ("urn:example:2.0:User:badge", json!([3])),
        ("urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department", json!("y")),
    ] {
        let patched = okta.patch(&path, json!([{"op": "replace", "path": at, "value": value}])).await;
        assert_eq!(patched.status, 200, "{at}");
        assert_eq!(okta.get(&path).await.body, patched.body, "{at}");
        assert_ne!(patched.body, put.body, "{at}");
    }
}

#[tokio::test]
async fn scim_02_attribute_names_in_a_filter_have_no_case() {
    let okta = Client::new().await;
    okta.post(
        "/Users",
        json!({"userName": "ada", "name": {"givenName": "Ada"}, ENTERPRISE: {"department": "X"}}),
    )
    .await;
    for filter in [
        "USERNAME eq \"ada\"",
        "Name.GIVENNAME eq \"ada\"",
        "URN:ietf:params:scim:schemas:extension:enterprise:2.0:user:DEPARTMENT eq \"x\"",
        "userName EQ \"ADA\" AND name.givenName Sw \"a\"",
    ] {
        let got = okta.get(&format!("/Users?filter={filter}")).await;
        assert_eq!(got.body["totalResults"], json!(1), "{filter}");
    }
}

#[tokio::test]
async fn scim_03_a_new_name_empties_no_group() {
    let okta = Client::new().await;
    let ada = okta.user("ada").await;
    let group = okta.group("old", &[&ada]).await;
    let got = okta
        .patch(
            &format!("/Groups/{group}"),
            json!([{"op": "replace", "value": {"id": group, "displayName": "new"}}]),
        )
        .await;
    assert_eq!((got.status, okta.members(&group).await), (200, vec![ada]));
}

#[tokio::test]
async fn scim_04_a_removal_that_lists_removes_what_it_lists() {
    let okta = Client::new().await;
    let (ada, bob, carol) = (okta.user("ada").await, okta.user("bob").await, okta.user("carol").await);
    let group = okta.group("g", &[&ada, &bob, &carol]).await;
    let path = format!("/Groups/{group}");
    for (value, left) in [
        (json!([]), 3),
        (json!([{"value": "00000000-0000-4000-8000-000000000000"}]), 3),
        (json!([{"value": "nobody"}]), 3),
        (json!([{"value": ada}]), 2),
        (json!([{"value": ada}, {"value": bob}]), 1),
    ] {
        let got = okta
            .patch(&path, json!([{"op": "remove", "path": "members", "value": value}]))
            .await;
        assert_eq!((got.status, okta.members(&group).await.len()), (200, left), "{value}");
    }
    assert_eq!(okta.members(&group).await, [carol]);
}

#[tokio::test]
async fn scim_05_membership_is_changed_by_groups_only() {
    let okta = Client::new().await;
    let group = okta.group("admins", &[]).await;
    let groups = json!([{"value": group}]);
    let ada = okta.post("/Users", json!({"userName": "ada", "groups": groups})).await.id();
    let path = format!("/Users/{ada}");
    assert_eq!(okta.put(&path, json!({"userName": "ada", "groups": groups})).await.status, 200);
    let refused = okta.patch(&path, json!([{"op": "add", "path": "groups", "value": groups}])).await;
    assert_eq!(refused.error(), (400, "mutability"));
    assert_eq!(okta.members(&group).await, Vec::<String>::new());
    // And a user that is put without its groups stays in them.
    okta.patch(
        &format!("/Groups/{group}"),
        json!([{"op": "add", "path": "members", "value": [{"value": ada}]}]),
    )
    .await;
    okta.put(&path, json!({"userName": "ada", "groups": []})).await;
    assert_eq!(okta.members(&group).await, [ada]);
}

#[tokio::test]
async fn scim_06_an_unknown_member_is_a_clear_400() {
    let okta = Client::new().await;
    let group = okta.group("g", &[]).await;
    for id in ["2819c223-7f76-453a-919d-413861904646", "x", "'; drop table members; --", "../Users"] {
        let got = okta
            .patch(
                &format!("/Groups/{group}"),
                json!([{"op": "add", "path": "members", "value": [{"value": id}]}]),
            )
            .await;
        assert_eq!(got.error(), (400, "invalidValue"));
        assert!(got.body["detail"].as_str().unwrap().contains(id), "{got:?}");
    }
}

#[tokio::test]
async fn scim_08_known_members_are_not_doubled() {
    let okta = Client::new().await;
    let ada = okta.user("ada").await;
    let group = okta.group("g", &[&ada, &ada]).await;
    let add = json!([{"op": "add", "path": "members", "value": [{"value": ada}, {"value": ada}]}]);
    let before = okta.get(&format!("/Groups/{group}")).await;
    let got = okta.patch(&format!("/Groups/{group}"), add).await;
    assert_eq!((got.header("etag"), okta.members(&group).await), (before.header("etag"), vec![ada]));
}

#[tokio::test]
async fn scim_10_what_is_published_is_what_is_enforced() {
    let okta = Client::new().await;
    let config = okta.get("/ServiceProviderConfig").await.body;
    for feature in ["patch", "bulk", "filter", "changePassword", "sort", "etag"] {
        assert!(config[feature]["supported"].is_boolean(), "{feature}");
    }
    let ada = okta.user("ada").await;
    let user = okta.get("/Schemas/urn:ietf:params:scim:schemas:core:2.0:User").await.body;
    for attribute in user["attributes"].as_array().unwrap() {
        let name = attribute["name"].as_str().unwrap();
        let wrong = match attribute["type"].as_str().unwrap() {
            "boolean" => json!("perhaps"),
            _ if attribute["multiValued"] == json!(true) => json!("no list"),
            _ => json!([1, 2]),
        };
        let got = okta
            .patch(&format!("/Users/{ada}"), json!([{"op": "replace", "path": name, "value": wrong}]))
            .await;
        match (name, attribute["mutability"].as_str().unwrap()) {
            ("password", _) => assert_eq!(got.status, 200, "accepted and dropped"),
            (_, "readOnly") => assert_eq!(got.error(), (400, "mutability"), "{name}"),
            _ => assert_eq!(got.error(), (400, "invalidValue"), "{name}"),
        }
    }
}

#[tokio::test]
async fn scim_11_a_missing_required_value_is_an_invalid_value() {
    let okta = Client::new().await;
    for (path, body) in [
        ("/Users", json!({"title": "x"})),
        ("/Users", json!({"userName": null})),
        ("/Groups", json!({"members": []})),
    ] {
        assert_eq!(okta.post(path, body).await.error(), (400, "invalidValue"), "{path}");
    }
}

#[tokio::test]
async fn scim_13_a_qualified_name_disables() {
    let okta = Client::new().await;
    for (n, path) in [
        "active",
        "Active",
        "urn:ietf:params:scim:schemas:core:2.0:User:active",
        "URN:IETF:PARAMS:SCIM:SCHEMAS:CORE:2.0:USER:ACTIVE",
    ]
    .into_iter()
    .enumerate()
    {
        let ada = okta.user(&format!("ada{n}")).await;
        let got = okta.patch(&format!("/Users/{ada}"), patch_active(path, json!("False"))).await;
        assert_eq!((got.status, &got.body["active"]), (200, &json!(false)), "{path}");
    }
    let ada = okta.user("ada").await;
    let core = json!([{"op": "replace", "value": {"urn:ietf:params:scim:schemas:core:2.0:User": {"active": false}}}]);
    assert_eq!(okta.patch(&format!("/Users/{ada}"), core).await.body["active"], json!(false));
}

#[tokio::test]
async fn scim_14_only_what_is_plainly_true_or_false_is_a_boolean() {
    let okta = Client::new().await;
    let path = format!("/Users/{}", okta.user("ada").await);
    for value in [
        json!("yes"),
        json!("no"),
        json!("on"),
        json!("2"),
        json!(2),
        json!(-1),
        json!(0.5),
        json!(""),
        json!("truee"),
        json!([false]),
        json!({}),
    ] {
        assert_eq!(
            okta.patch(&path, patch_active("active", value.clone())).await.error(),
            (400, "invalidValue"),
            "{value}"
        );
        assert_eq!(
            okta.post("/Users", json!({"userName": "b", "active": value})).await.error(),
            (400, "invalidValue"),
            "{value}"
        );
    }
    assert_eq!(okta.get(&path).await.body.get("active"), None);
}

#[tokio::test]
async fn scim_15_an_empty_name_is_none() {
    let okta = Client::new().await;
    let path = format!("/Users/{}", okta.user("ada").await);
    for name in ["", " ", "\t", "\u{a0}"] {
        assert_eq!(
            okta.post("/Users", json!({"userName": name})).await.error(),
            (400, "invalidValue"),
            "{name:?}"
        );
        let got = okta
            .patch(&path, json!([{"op": "replace", "path": "userName", "value": name}]))
            .await;
        assert_eq!(got.error(), (400, "invalidValue"), "{name:?}");
    }
}

#[tokio::test]
async fn scim_repeated_delivery_makes_no_second_one_and_loses_nothing() {
    let okta = Client::new().await;
    let body = json!({"displayName": "g", "externalId": "x"});
    let (ada, first) = (okta.user("ada").await, okta.post("/Groups", body.clone()).await);
    let add = json!([{"op": "add", "path": "members", "value": [{"value": ada}]}]);
    okta.patch(&format!("/Groups/{}", first.id()), add).await;
    assert_eq!(okta.post("/Groups", body).await.error(), (409, "uniqueness"));
    assert_eq!(okta.post("/Users", json!({"userName": "ada"})).await.error(), (409, "uniqueness"));
    assert_eq!(okta.members(&first.id()).await, [ada]);
}

/// Every verb with an id of another source: 404, and nothing happens.
#[tokio::test]
async fn cve_2026_92539_an_id_of_another_source_is_not_there() {
    let okta = Client::new().await;
    let entra = okta.entra();
    let (ada, own) = (okta.user("ada").await, entra.user("own").await);
    let group = okta.group("g", &[&ada]).await;
    let theirs = entra.group("theirs", &[&own]).await;
    let before = (okta.get("/Users").await.body, okta.get("/Groups").await.body);
    for (path, body) in [
        (format!("/Users/{ada}"), json!({"userName": "x"})),
        (format!("/Groups/{group}"), json!({"displayName": "x"})),
    ] {
        assert_eq!(entra.get(&path).await.error(), (404, ""));
        assert_eq!(entra.put(&path, body).await.error(), (404, ""));
        assert_eq!(
            entra
                .patch(&path, json!([{"op": "replace", "path": "displayName", "value": "x"}]))
                .await
                .error(),
            (404, "")
        );
        assert_eq!(entra.delete(&path).await.error(), (404, ""));
    }
    let add = json!([{"op": "add", "path": "members", "value": [{"value": ada}]}]);
    assert_eq!(entra.patch(&format!("/Groups/{theirs}"), add).await.error(), (400, "invalidValue"));
    for filter in [
        format!("id eq \"{ada}\""),
        format!("groups.value eq \"{group}\""),
        "userName eq \"ada\"".to_owned(),
    ] {
        assert_eq!(
            entra.get(&format!("/Users?filter={filter}")).await.body["totalResults"],
            json!(0),
            "{filter}"
        );
    }
    assert_eq!((okta.get("/Users").await.body, okta.get("/Groups").await.body), before);
}

#[tokio::test]
async fn cve_2025_41115_an_external_id_is_no_id() {
    let okta = Client::new().await;
    let ada = okta.user("ada").await;
    // A number is no text; a text that is somebody's id is a label all the same.
    assert_eq!(
        okta.post("/Users", json!({"userName": "b", "externalId": 1})).await.error(),
        (400, "invalidValue")
    );
    let eve = okta.post("/Users", json!({"userName": "eve", "externalId": ada})).await;
    assert_eq!(eve.status, 201);
    assert_ne!(eve.id(), ada);
    assert_eq!(okta.get(&format!("/Users/{ada}")).await.body["userName"], json!("ada"));
    let group = okta.group("g", &[&ada]).await;
    assert_eq!(okta.members(&group).await, [ada]);
}

#[tokio::test]
async fn cve_2022_1680_nobody_is_taken_over_by_mail_or_name() {
    let okta = Client::new().await;
    let ada = okta
        .post("/Users", json!({"userName": "ada", "emails": [{"value": "ada@corp.example"}]}))
        .await
        .id();
    let eve = okta
        .post("/Users", json!({"userName": "eve", "emails": [{"value": "ada@corp.example"}]}))
        .await;
    assert_eq!(eve.status, 201, "a mail address names nobody");
    assert_ne!(eve.id(), ada);
    let rename = json!([{"op": "replace", "path": "userName", "value": "ADA"}]);
    assert_eq!(
        okta.patch(&format!("/Users/{}", eve.id()), rename).await.error(),
        (409, "uniqueness")
    );
}

#[tokio::test]
async fn cve_2026_15617_what_is_equal_when_stored_is_equal_when_found() {
    let okta = Client::new().await;
    for (stored, asked) in [
        ("Straße", "STRASSE"),
        ("ﬁona", "FIONA"),
        ("İlker", "i\u{307}lker"),
        ("ΑΣ", "ας"),
        ("ｃａｒｏｌ", "Carol"),
    ] {
        let id = okta.user(stored).await;
        let found = okta
            .get(&format!("/Users?filter={}", percent(&format!("userName eq \"{asked}\""))))
            .await;
        let taken = okta.post("/Users", json!({"userName": asked})).await.status == 409;
        assert_eq!(
            found.body["totalResults"] == json!(1),
            taken,
            "{stored} {asked}: the filter and the uniqueness agree"
        );
        assert!(
            found.body["Resources"]
                .as_array()
                .unwrap()
                .iter()
                .all(|user| user["id"] == json!(id))
        );
    }
}

fn percent(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

/// 10,000 names and filters of somebody hostile: each is taken or refused in an orderly way.
#[tokio::test]
async fn ten_thousand_hostile_names_and_filters_are_no_fault_of_ours() {
    let okta = Client::new().await;
    let mut counts = std::collections::BTreeMap::new();
    for (method, path, body) in super::hostile::requests() {
        let got = okta.send(okta.request(method, &path, body.as_ref())).await;
        assert!(matches!(got.status, 200 | 201 | 400 | 409), "{path} {body:?}: {got:?}");
        if got.status >= 400 {
            got.error();
        }
        *counts.entry(got.status).or_insert(0) += 1;
    }
    assert!(counts.len() == 4 && counts.values().all(|count| *count > 20), "{counts:?}");
}
