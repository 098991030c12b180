//! Users: what is created, changed, found, refused.

use super::*;

#[tokio::test]
async fn a_user_is_created_read_changed_and_deleted() {
    let okta = Client::new().await;
    let got = okta
        .post(
            "/Users",
            json!({"userName": "Ada@corp.example", "externalId": "X1", "password": "geheim", "groups": [{"value": "x"}], "id": "mine", "title": null}),
        )
        .await;
    assert_eq!(got.status, 201);
    let id = got.id();
    let location = format!("http://scim.example/scim/v2/okta/Users/{id}");
    assert_eq!(got.header("location"), location);
    assert_eq!(got.header("content-type"), "application/scim+json");
    assert_eq!(got.header("etag"), got.body["meta"]["version"].as_str().unwrap());
    assert_eq!(got.body["meta"]["location"], json!(location));
    assert_eq!(got.body["meta"]["resourceType"], json!("User"));
    assert_eq!(got.body["meta"]["created"], got.body["meta"]["lastModified"]);
    for absent in ["password", "groups", "title"] {
        assert_eq!(got.body.get(absent), None, "{absent}");
    }
    let one = format!("/Users/{id}");
    assert_eq!(okta.get(&one).await.body, got.body);

    let changed = okta
        .patch(&one, json!([{"op": "replace", "path": "title", "value": "Engineer"}]))
        .await;
    assert_eq!((changed.status, &changed.body["title"]), (200, &json!("Engineer")));
    assert_ne!(changed.header("etag"), got.header("etag"));
    let index = okta.index();
    let same = okta
        .patch(&one, json!([{"op": "replace", "path": "title", "value": "Engineer"}]))
        .await;
    assert_eq!((same.status, &same.body), (200, &changed.body));
    let same = okta
        .put(
            &one,
            json!({"userName": "Ada@corp.example", "externalId": "X1", "title": "Engineer"}),
        )
        .await;
    assert_eq!((same.status, &same.body), (200, &changed.body));
    assert_eq!(okta.index(), index, "a change of nothing appends nothing and keeps the version");

    let put = okta.put(&one, json!({"userName": "ada@corp.example", "active": false})).await;
    assert_eq!((put.status, &put.body["active"], put.body.get("title")), (200, &json!(false), None));
    let put = okta.put(&one, json!({"userName": "ada@corp.example"})).await;
    assert_eq!(put.body["active"], json!(false), "nobody is enabled by omission");

    assert_eq!(okta.delete(&one).await.status, 204);
    for gone in [
        okta.get(&one).await,
        okta.delete(&one).await,
        okta.put(&one, json!({"userName": "x"})).await,
        okta.patch(&one, json!([])).await,
    ] {
        assert_eq!(gone.error(), (404, ""));
    }
    assert_ne!(
        okta.user("ada@corp.example").await,
        id,
        "the name is free again, for another person"
    );
}

#[tokio::test]
async fn a_user_name_belongs_to_one_user_of_one_source() {
    let okta = Client::new().await;
    okta.user("Ada").await;
    let bob = okta.user("bob").await;
    assert_eq!(okta.post("/Users", json!({"userName": "aDA"})).await.error(), (409, "uniqueness"));
    assert_eq!(
        okta.post("/Users", json!({"userName": "ＡＤＡ"})).await.error(),
        (409, "uniqueness")
    );
    let rename = json!([{"op": "replace", "path": "userName", "value": "ADA"}]);
    assert_eq!(okta.patch(&format!("/Users/{bob}"), rename).await.error(), (409, "uniqueness"));
    assert_eq!(
        okta.put(&format!("/Users/{bob}"), json!({"userName": "ADA"})).await.error(),
        (409, "uniqueness")
    );
    let case = json!([{"op": "replace", "path": "userName", "value": "BOB"}]);
    assert_eq!(
        okta.patch(&format!("/Users/{bob}"), case).await.status,
        200,
        "its own name in another case"
    );
    let entra = okta.entra();
    entra.user("ada").await;
    assert_eq!(
        entra.get(&format!("/Users/{bob}")).await.error(),
        (404, ""),
        "a source is an identity space"
    );
    assert_eq!(okta.get(&format!("/Groups/{bob}")).await.error(), (404, ""));
}

#[tokio::test]
async fn two_gateways_never_create_one_name_twice() {
    let store = store().await;
    let gateways = [
        Client::over(&store, Settings::default()).await,
        Client::over(&store, Settings::default()).await,
    ];
    for round in 0..20 {
        let name = format!("user{round}");
        let body = json!({"userName": name});
        let (one, two) = tokio::join!(gateways[0].post("/Users", body.clone()), gateways[1].post("/Users", body.clone()));
        let mut statuses = [one.status, two.status];
        statuses.sort_unstable();
        assert_eq!(statuses, [201, 409]);
        let found = gateways[0].get(&format!("/Users?filter=userName eq \"{name}\"")).await;
        assert_eq!(found.body["totalResults"], json!(1));
    }
    let id = gateways[0].user("late").await;
    assert_eq!(gateways[1].get(&format!("/Users/{id}")).await.status, 200, "reads are linearizable");
    let off = json!([{"op": "replace", "path": "active", "value": false}]);
    assert_eq!(
        gateways[1].patch(&format!("/Users/{id}"), off.clone()).await.body["active"],
        json!(false)
    );
    assert_eq!(gateways[0].patch(&format!("/Users/{id}"), off).await.body["active"], json!(false));
}

#[tokio::test]
async fn lists_are_filtered_paged_and_projected() {
    let okta = Client::new().await;
    for k in 0..5 {
        let body = json!({"userName": format!("u{k}"), "externalId": format!("x{k}"), "displayName": "User", "title": if k % 2 == 0 { "even" } else { "odd" }});
        assert_eq!(okta.post("/Users", body).await.status, 201);
    }
    let names = |got: &Got| -> Vec<String> {
        let list = got.body["Resources"].as_array().unwrap().iter();
        list.map(|user| user["userName"].as_str().unwrap_or("-").to_owned()).collect()
    };
    let all = okta.get("/Users").await;
    assert_eq!(names(&all), ["u0", "u1", "u2", "u3", "u4"], "in order of creation");
    assert_eq!(
        (&all.body["totalResults"], &all.body["itemsPerPage"], &all.body["startIndex"]),
        (&json!(5), &json!(5), &json!(1))
    );
    let page = okta.get("/Users?startIndex=2&count=2&aadOptscim062020").await;
    assert_eq!(names(&page), ["u1", "u2"]);
    assert_eq!((&page.body["totalResults"], &page.body["itemsPerPage"]), (&json!(5), &json!(2)));
    assert_eq!(names(&okta.get("/Users?startIndex=6").await), Vec::<String>::new());
    assert_eq!(names(&okta.get("/Users?startIndex=99999999999").await), Vec::<String>::new());
    assert_eq!(okta.get("/Users?count=0").await.body["totalResults"], json!(5));
    let odd = okta.get("/Users?filter=title eq \"ODD\"&count=1&startIndex=2").await;
    assert_eq!((names(&odd), &odd.body["totalResults"]), (vec!["u3".to_owned()], &json!(2)));
    assert_eq!(names(&okta.get("/Users?filter=externalId eq \"x3\" and title pr").await), ["u3"]);
    assert_eq!(names(&okta.get("/Users?filter=externalId eq \"X3\"").await), Vec::<String>::new());
    assert_eq!(names(&okta.get("/Users?filter=userName+eq+%22U3%22").await), ["u3"]);
    assert_eq!(
        names(&okta.get("/Users?filter=userName eq \"u3\" or userName eq \"u4\"").await),
        ["u3", "u4"]
    );
    assert_eq!(
        names(
            &okta
                .get("/Users?filter=displayName eq \"user\" and userName ne \"u0\"&count=1")
                .await
        ),
        ["u1"]
    );
    assert_eq!(
        okta.get("/Users?filter=meta.created gt \"2000-01-01T00:00:00Z\"").await.body["totalResults"],
        json!(5)
    );
    assert_eq!(okta.get("/Users?filter=nonsense eq \"x\"").await.error(), (400, "invalidFilter"));
    assert_eq!(okta.get("/Users?filter=userName eq").await.error(), (400, "invalidFilter"));
    assert_eq!(okta.get("/Users?startIndex=x").await.error(), (400, "invalidValue"));
    assert_eq!(
        okta.get("/Users?attributes=id&excludedAttributes=title").await.error(),
        (400, "invalidValue")
    );
    let bare = okta.get("/Users?attributes=title&count=1").await.body["Resources"][0].clone();
    let keys: Vec<&String> = bare.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["schemas", "id", "title"]);
    assert_eq!(
        okta.entra().get("/Users").await.body["totalResults"],
        json!(0),
        "a source without anything"
    );
}

#[tokio::test]
async fn a_source_with_another_uid_goes_on_and_the_change_is_recorded() {
    let store = store().await;
    let okta = Client::over(&store, Settings::default()).await;
    let id = okta.user("ada").await;
    okta.gateway.sources.set(
        Sources::one("okta", "uid-2", TOKEN)
            .all()
            .iter()
            .map(|served| served.as_ref().clone()),
    );
    let index = okta.index();
    let same = okta
        .patch(
            &format!("/Users/{id}"),
            json!([{"op": "replace", "path": "userName", "value": "ada"}]),
        )
        .await;
    assert_eq!((same.status, okta.index()), (200, index), "nothing changes, nothing is written");
    okta.user("bob").await;
    let directory = okta.gateway.journal.load().as_ref().unwrap().read().await.unwrap().state;
    let source = directory.source("okta").unwrap();
    assert_eq!((source.uid(), source.user_count(), directory.ignored()), ("uid-2", 2, 0));
}
