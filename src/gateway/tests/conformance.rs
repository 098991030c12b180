//! Requirements of the RFCs that no other test holds: `docs/conformance.md` names the test of each.

use super::*;

const SCIM: &str = "urn:ietf:params:scim:schemas:core:2.0";
const ENTERPRISE: &str = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User";

/// The path of one of our URLs, without the source.
fn path(url: &Value) -> String {
    url.as_str().unwrap().split_once("/scim/v2/okta").unwrap().1.to_owned()
}

fn text(value: &Value) -> bool {
    value.as_str().is_some_and(|text| !text.is_empty())
}

#[tokio::test]
async fn discovery_says_what_is_required() {
    let okta = Client::new().await;
    let config = okta.get("/ServiceProviderConfig").await.body;
    assert_eq!(config["schemas"], json!([format!("{SCIM}:ServiceProviderConfig")]));
    for scheme in config["authenticationSchemes"].as_array().unwrap() {
        assert!(["type", "name", "description"].iter().all(|key| text(&scheme[*key])), "{scheme}");
    }
    let types = okta.get("/ResourceTypes").await.body;
    assert_eq!(
        (&types["totalResults"], types["Resources"].as_array().unwrap().len()),
        (&json!(2), 2)
    );
    for kind in types["Resources"].as_array().unwrap() {
        assert!(
            ["name", "description", "endpoint", "schema"].iter().all(|key| text(&kind[*key])),
            "{kind}"
        );
        assert_eq!(
            okta.get(&format!("/ResourceTypes/{}", kind["name"].as_str().unwrap())).await.body,
            *kind
        );
        assert_eq!(okta.get(kind["endpoint"].as_str().unwrap()).await.status, 200);
        for extension in kind["schemaExtensions"].as_array().into_iter().flatten() {
            assert!(text(&extension["schema"]) && extension["required"].is_boolean());
        }
    }
    let schemas = okta.get("/Schemas").await.body;
    assert_eq!(schemas["schemas"], json!(["urn:ietf:params:scim:api:messages:2.0:ListResponse"]));
    assert_eq!(
        (&schemas["totalResults"], schemas["Resources"].as_array().unwrap().len()),
        (&json!(3), 3)
    );
    for schema in schemas["Resources"].as_array().unwrap() {
        assert!(text(&schema["name"]) && text(&schema["description"]), "{schema}");
        assert_eq!(
            okta.get(&format!("/Schemas/{}", schema["id"].as_str().unwrap())).await.body,
            *schema
        );
    }
    // Other parameters than a filter mean nothing here.
    for query in [
        "startIndex=2",
        "count=1",
        "sortBy=id&sortOrder=descending",
        "attributes=id",
        "cursor",
    ] {
        assert_eq!(okta.get(&format!("/Schemas?{query}")).await.body, schemas, "{query}");
        assert_eq!(okta.get(&format!("/ResourceTypes?{query}")).await.body, types, "{query}");
    }
    let types_of = |schema: &str, attribute: &str| {
        let all = schemas["Resources"].as_array().unwrap().iter();
        let schema = all.clone().find(|one| one["id"] == json!(format!("{SCIM}:{schema}"))).unwrap();
        let attribute = schema["attributes"]
            .as_array()
            .unwrap()
            .iter()
            .find(|one| one["name"] == attribute)
            .unwrap();
        let part = attribute["subAttributes"]
            .as_array()
            .unwrap()
            .iter()
            .find(|one| one["name"] == "type")
            .unwrap();
        part["canonicalValues"].clone()
    };
    assert_eq!(types_of("User", "emails"), json!(["work", "home", "other"]));
    assert_eq!(
        types_of("User", "phoneNumbers"),
        json!(["work", "home", "mobile", "fax", "pager", "other"])
    );
    assert_eq!(
        types_of("User", "ims"),
        json!(["aim", "gtalk", "icq", "xmpp", "msn", "skype", "qq", "yahoo", "other"])
    );
    assert_eq!(types_of("User", "photos"), json!(["photo", "thumbnail"]));
    assert_eq!(types_of("User", "addresses"), json!(["work", "home", "other"]));
    assert_eq!(types_of("User", "groups"), json!(["direct", "indirect"]));
    assert_eq!(types_of("Group", "members"), json!(["User", "Group"]));
}

#[tokio::test]
async fn every_reference_leads_to_its_resource() {
    let okta = Client::new().await;
    let boss = okta.user("boss").await;
    let made = okta
        .post("/Users?attributes=userName,meta", json!({"userName": "ada", "manager": boss}))
        .await;
    assert_eq!(
        made.header("location"),
        made.body["meta"]["location"].as_str().unwrap(),
        "without the query"
    );
    let ada = made.id();
    let group = okta.group("team", &[&ada]).await;
    for one in [format!("/Users/{ada}"), format!("/Groups/{group}")] {
        let got = okta.get(&one).await;
        assert_eq!(got.header("content-location"), got.body["meta"]["location"].as_str().unwrap());
        assert_eq!(okta.get(&path(&got.body["meta"]["location"])).await.body, got.body);
    }
    let member = okta.get(&format!("/Groups/{group}")).await.body["members"][0]["$ref"].clone();
    assert_eq!(okta.get(&path(&member)).await.id(), ada);
    let of = okta.get(&format!("/Users/{ada}")).await.body["groups"][0].clone();
    assert_eq!(
        (okta.get(&path(&of["$ref"])).await.id(), of["value"].clone()),
        (group.clone(), json!(group))
    );
    for place in ["/ResourceTypes/User", &format!("/Schemas/{ENTERPRISE}")] {
        let got = okta.get(place).await;
        assert_eq!(okta.get(&path(&got.body["meta"]["location"])).await.body, got.body);
    }
    let listed = format!("/Groups?filter=members.$ref eq \"{}\"", member.as_str().unwrap());
    for (url, found) in [
        (listed.clone(), 1),
        (listed.replace("/scim/v2/okta/", "/scim/v3/okta/"), 1),
        (listed.replace("http://scim.example/scim/v2/okta/", "/"), 1),
        (listed.replace("/Users/", "/Groups/"), 0),
        (listed.replace(" eq ", " ne "), 0),
    ] {
        assert_eq!(okta.get(&url).await.body["totalResults"], json!(found), "{url}");
    }
    okta.delete(&format!("/Users/{ada}")).await;
    assert_eq!(okta.get(&path(&member)).await.error(), (404, ""));
}

#[tokio::test]
async fn what_is_deleted_is_in_no_answer() {
    let okta = Client::new().await;
    let ada = okta
        .post(
            "/Users",
            json!({"userName": "ada", "externalId": "x1", "emails": [{"value": "a@b"}]}),
        )
        .await
        .id();
    let group = okta
        .post(
            "/Groups",
            json!({"displayName": "team", "externalId": "x2", "members": [{"value": ada}]}),
        )
        .await
        .id();
    let other = okta.group("other", &[&ada, &group]).await;
    okta.delete(&format!("/Users/{ada}")).await;
    okta.delete(&format!("/Groups/{group}")).await;
    for query in [
        "/Users".to_owned(),
        format!("/Users?filter=id eq \"{ada}\""),
        "/Users?filter=userName eq \"ada\"".to_owned(),
        "/Users?filter=externalId eq \"x1\"".to_owned(),
        "/Users?filter=emails.value eq \"a@b\"".to_owned(),
        format!("/Users?filter=groups.value eq \"{group}\""),
        "/Users?sortBy=userName&cursor".to_owned(),
        "/Groups?filter=displayName eq \"team\"".to_owned(),
        "/Groups?filter=externalId eq \"x2\"".to_owned(),
        format!("/Groups?filter=members.value eq \"{ada}\""),
        format!("?filter=id eq \"{ada}\" or id eq \"{group}\""),
    ] {
        let got = okta.get(&query).await;
        assert_eq!((got.status, &got.body["totalResults"]), (200, &json!(0)), "{query}");
    }
    assert_eq!(okta.members(&other).await, Vec::<String>::new());
}

#[tokio::test]
async fn a_patch_that_fails_leaves_everything_as_it_was() {
    let okta = Client::new().await;
    let (ada, bob) = (okta.user("ada").await, okta.user("bob").await);
    let group = okta.group("team", &[&ada]).await;
    let (user, team) = (format!("/Users/{ada}"), format!("/Groups/{group}"));
    let (before, group_before, index) = (okta.get(&user).await, okta.get(&team).await, okta.index());
    for operations in [
        json!([{"op": "replace", "path": "title", "value": "x"}, {"op": "replace", "path": "nickName", "value": 5}]),
        json!([{"op": "add", "value": {"title": "x"}}, {"op": "remove", "path": "userName"}]),
        json!([{"op": "replace", "path": "title", "value": "x"}, {"op": "replace", "path": "groups", "value": [{"value": group}]}]),
    ] {
        let got = okta.patch(&user, operations.clone()).await;
        assert_eq!(got.status, 400, "{operations}");
    }
    for operations in [
        json!([{"op": "add", "path": "members", "value": [{"value": bob}]}, {"op": "replace", "path": "displayName", "value": ""}]),
        json!([{"op": "remove", "path": "members"}, {"op": "add", "path": "members", "value": [{"value": "nobody"}]}]),
    ] {
        assert_eq!(
            okta.patch(&team, operations.clone()).await.error(),
            (400, "invalidValue"),
            "{operations}"
        );
    }
    for (path, before) in [(user, before), (team, group_before)] {
        let after = okta.get(&path).await;
        assert_eq!((after.header("etag"), &after.body), (before.header("etag"), &before.body));
    }
    assert_eq!(okta.index(), index);
}

#[tokio::test]
async fn a_put_without_what_is_required_changes_nothing() {
    let okta = Client::new().await;
    let ada = okta.user("ada").await;
    let group = okta.group("team", &[&ada]).await;
    for (path, body) in [
        (format!("/Users/{ada}"), json!({"title": "x"})),
        (format!("/Users/{ada}"), json!({"userName": null, "title": "x"})),
        (format!("/Groups/{group}"), json!({"members": []})),
    ] {
        let before = okta.get(&path).await;
        assert_eq!(okta.put(&path, body).await.error(), (400, "invalidValue"));
        assert_eq!(okta.get(&path).await.body, before.body);
    }
    // What a member is cannot be said otherwise: its parts are immutable, and ours.
    let members = json!([{"value": ada, "type": "Group", "$ref": "http://elsewhere/Groups/x", "display": "x"}]);
    let before = okta.get(&format!("/Groups/{group}")).await.body;
    let got = okta
        .put(&format!("/Groups/{group}"), json!({"displayName": "team", "members": members}))
        .await;
    assert_eq!((got.status, &got.body), (200, &before));
}

#[tokio::test]
async fn an_identifier_is_scoped_and_reserved_words_are_not_in_it() {
    let okta = Client::new().await;
    let entra = okta.entra();
    let body = json!({"userName": "ada", "externalId": "bulkId:7"});
    let (one, two) = (okta.post("/Users", body.clone()).await, entra.post("/Users", body).await);
    assert_eq!((one.status, two.status), (201, 201));
    for (client, made) in [(&okta, &one), (&entra, &two)] {
        let found = client.get("/Users?filter=externalId eq \"bulkId:7\"").await;
        assert_eq!(
            (&found.body["totalResults"], &found.body["Resources"][0]["id"]),
            (&json!(1), &json!(made.id()))
        );
    }
    let bulk = json!({"Operations": [
        {"method": "POST", "path": "/Users", "bulkId": "bulkId", "data": {"userName": "bulkId"}},
        {"method": "POST", "path": "/Groups", "bulkId": "g", "data": {"displayName": "bulkId"}},
    ]});
    let got = okta.post("/Bulk", bulk).await;
    let mut ids: Vec<String> = got.body["Operations"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| path(&one["location"]))
        .collect();
    ids.push(one.id());
    for id in ids {
        let id = id.rsplit('/').next().unwrap();
        assert!(uuid::Uuid::try_parse(id).is_ok() && !id.contains("bulkId"), "{id}");
    }
}

#[tokio::test]
async fn schemas_name_what_the_resource_type_has_in_any_order() {
    let okta = Client::new().await;
    let user = |schemas: Value| json!({"schemas": schemas, "userName": "ada", ENTERPRISE: {"department": "x"}, "urn:x:2.0:Y": {"z": 1}});
    let core = format!("{SCIM}:User");
    let made = okta.post("/Users", user(json!([core, ENTERPRISE, "urn:x:2.0:Y"]))).await;
    assert_eq!(made.body["schemas"], json!([core, ENTERPRISE]), "only what /ResourceTypes lists");
    assert_eq!(made.body["urn:x:2.0:Y"]["z"], json!(1), "and nothing is lost");
    let index = okta.index();
    let again = okta
        .put(&format!("/Users/{}", made.id()), user(json!(["urn:x:2.0:Y", ENTERPRISE, core])))
        .await;
    assert_eq!((again.status, &again.body, okta.index()), (200, &made.body, index));
}

#[tokio::test]
async fn a_value_path_changes_every_value_that_it_selects() {
    let okta = Client::new().await;
    let emails = json!([{"type": "work", "value": "a"}, {"type": "home", "value": "b"}, {"type": "work", "value": "c"}]);
    let ada = okta.post("/Users", json!({"userName": "ada", "emails": emails})).await;
    let path = format!("/Users/{}", ada.id());
    let got = okta
        .patch(
            &path,
            json!([{"op": "replace", "path": "emails[type eq \"work\"].display", "value": "x"}]),
        )
        .await;
    assert_eq!(
        got.body["emails"],
        json!([{"type": "work", "value": "a", "display": "x"}, {"type": "home", "value": "b"}, {"type": "work", "value": "c", "display": "x"}])
    );
    let got = okta
        .patch(&path, json!([{"op": "remove", "path": "emails[type eq \"work\"]"}]))
        .await;
    assert_eq!(got.body["emails"], json!([{"type": "home", "value": "b"}]));
}

#[tokio::test]
async fn a_partial_page_says_where_it_begins() {
    let okta = Client::new().await;
    for n in 0..5 {
        okta.user(&format!("user-{n}")).await;
    }
    let got = okta.get("/Users?startIndex=2&count=2").await;
    let numbers = ["totalResults", "startIndex", "itemsPerPage"].map(|key| got.body[key].clone());
    assert_eq!(numbers, [json!(5), json!(2), json!(2)]);
    let got = okta.get("/Users?startIndex=9").await;
    assert_eq!((&got.body["Resources"], &got.body["itemsPerPage"]), (&json!([]), &json!(0)));
}

#[tokio::test]
async fn what_has_no_order_is_not_compared_by_order() {
    let okta = Client::new().await;
    for op in ["gt", "ge", "lt", "le"] {
        for comparison in [
            format!("active {op} true"),
            format!("active {op} \"true\""),
            format!("x509Certificates.value {op} \"AA\""),
        ] {
            assert_eq!(
                okta.get(&format!("/Users?filter={comparison}")).await.error(),
                (400, "invalidFilter"),
                "{comparison}"
            );
        }
    }
}

#[tokio::test]
async fn user_names_are_compared_as_precis_has_it() {
    let okta = Client::new().await;
    // Width, case, and composed or not (RFC 8265 §3.3).
    okta.user("ＡDA").await;
    okta.user("a\u{30a}sa").await;
    for name in ["ada", "Ada", "ÅSA", "\u{e5}sa"] {
        assert_eq!(
            okta.post("/Users", json!({"userName": name})).await.error(),
            (409, "uniqueness"),
            "{name}"
        );
    }
    let body = json!({"schemas": ["urn:ietf:params:scim:api:messages:2.0:SearchRequest"], "filter": "userName eq \"Åsa\""});
    assert_eq!(okta.post("/Users/.search", body).await.body["totalResults"], json!(1));
    for name in ["a\u{0}b", "a\u{7f}", "a\tb"] {
        assert_eq!(
            okta.post("/Users", json!({"userName": name})).await.error(),
            (400, "invalidValue"),
            "{name:?}"
        );
    }
}

#[tokio::test]
async fn a_search_names_attributes_in_any_notation() {
    let okta = Client::new().await;
    let ada = json!({"userName": "ada", "name": {"givenName": "Ada", "familyName": "B"}, "department": "x", "title": "t"});
    okta.post("/Users", ada).await;
    okta.post("/Users", json!({"userName": "bob", "name": {"familyName": "A"}})).await;
    let search = async |body: Value| okta.post("/Users/.search", body).await;
    let got = search(json!({"filter": "userName eq \"ada\"", "attributes": ["name.givenName", format!("{SCIM}:User:userName")]})).await;
    let id = got.body["Resources"][0]["id"].clone();
    assert_eq!(
        got.body["Resources"],
        json!([{"id": id, "schemas": [format!("{SCIM}:User"), ENTERPRISE], "userName": "ada", "name": {"givenName": "Ada"}}])
    );
    let excluded = ["id", "schemas", "meta", "name.givenName", &format!("{ENTERPRISE}:department")];
    let got = search(json!({"filter": "userName eq \"ada\"", "excludedAttributes": excluded})).await;
    assert_eq!(
        got.body["Resources"],
        json!([{"id": id, "schemas": [format!("{SCIM}:User"), ENTERPRISE], "userName": "ada", "name": {"familyName": "B"}, "title": "t"}])
    );
    for by in ["name.familyName".to_owned(), format!("{SCIM}:User:name.familyName")] {
        let got = search(json!({"sortBy": by})).await;
        assert_eq!(got.body["Resources"][0]["userName"], json!("bob"), "{by}");
    }
    assert_eq!(search(json!({"sortBy": "a b"})).await.error(), (400, "invalidValue"));
    assert_eq!(search(json!({"filter": "userName eq"})).await.error(), (400, "invalidFilter"));
}

#[tokio::test]
async fn too_many_to_look_at_is_said() {
    let okta = Client::new().await;
    super::groups::seed(&okta, 3_000).await;
    let directory = okta.gateway.journal.load().as_ref().unwrap().snapshot().state;
    let view = crate::gateway::render::View {
        source: directory.source("okta").unwrap(),
        base: "",
    };
    let limits = okta.gateway.settings.limits();
    for (kinds, parameters) in [
        (vec![crate::scim::ResourceKind::User], [("filter", "title pr")]),
        (crate::scim::ResourceKind::ALL.to_vec(), [("filter", "title pr")]),
        (vec![crate::scim::ResourceKind::User], [("sortBy", "title")]),
    ] {
        let query = crate::scim::ListQuery::parse(parameters, limits).unwrap();
        let begin = crate::gateway::list::Begin::Skip(0);
        let list = |expired: bool| {
            let seen = crate::scim::Seen::default();
            crate::gateway::list::list(view, &kinds, &query, &begin, &crate::scim::schema::NONE, &seen, &|| expired).map(|_| ())
        };
        assert!(list(false).is_ok());
        assert_eq!(list(true).unwrap_err().scim_type, Some("tooMany"), "{parameters:?}");
    }
}

#[tokio::test]
async fn the_order_of_operations_is_kept() {
    let okta = Client::new().await;
    let old = okta.user("name").await;
    let title = |value: &str| json!({"Operations": [{"op": "replace", "path": "title", "value": value}]});
    let bulk = json!({"Operations": [
        {"method": "POST", "path": "/Users", "bulkId": "a", "data": {"userName": "a"}},
        {"method": "PATCH", "path": "/Users/bulkId:a", "data": title("first")},
        {"method": "PATCH", "path": "/Users/bulkId:a", "data": title("second")},
        {"method": "DELETE", "path": format!("/Users/{old}")},
        {"method": "POST", "path": "/Users", "bulkId": "b", "data": {"userName": "name"}},
    ]});
    let got = okta.post("/Bulk", bulk).await;
    let operations = got.body["Operations"].as_array().unwrap();
    let statuses: Vec<&str> = operations.iter().map(|one| one["status"].as_str().unwrap()).collect();
    assert_eq!(statuses, ["201", "200", "200", "204", "201"]);
    assert_eq!(okta.get(&path(&operations[0]["location"])).await.body["title"], json!("second"));
    assert_ne!(path(&operations[4]["location"]), format!("/Users/{old}"));
}
