//! Searches, the base URL, order, and cursors.

use super::*;

const SEARCH: &str = "urn:ietf:params:scim:api:messages:2.0:SearchRequest";

impl Client {
    /// The userNames or displayNames in a list, in its order.
    async fn names(&self, path: &str) -> Vec<String> {
        names(&self.get(path).await)
    }

    /// The same for a search.
    async fn search(&self, path: &str, mut body: Value) -> Got {
        body["schemas"] = json!([SEARCH]);
        self.post(path, body).await
    }
}

fn names(got: &Got) -> Vec<String> {
    assert_eq!(got.status, 200, "{got:?}");
    let name = |resource: &Value| {
        let name = resource.get("userName").or_else(|| resource.get("displayName"));
        name.and_then(Value::as_str).unwrap().to_owned()
    };
    got.body["Resources"].as_array().unwrap().iter().map(name).collect()
}

#[tokio::test]
async fn a_search_is_a_list_without_a_filter_in_the_url() {
    let okta = Client::new().await;
    for name in ["carol", "ada", "bob"] {
        okta.user(name).await;
    }
    let body = json!({
        "filter": "userName sw \"a\" or userName sw \"c\"", "sortBy": "userName", "sortOrder": "descending",
        "attributes": ["userName"], "startIndex": 1, "count": 1
    });
    let got = okta.search("/Users/.search", body).await;
    assert_eq!(names(&got), ["carol"]);
    assert_eq!(got.body["schemas"], json!(["urn:ietf:params:scim:api:messages:2.0:ListResponse"]));
    assert_eq!((&got.body["totalResults"], &got.body["itemsPerPage"]), (&json!(2), &json!(1)));
    let keys: Vec<&String> = got.body["Resources"][0].as_object().unwrap().keys().collect();
    assert_eq!(keys, ["id", "schemas", "userName"]);
    let got = okta
        .search(
            "/Users/.search",
            json!({"excludedAttributes": ["meta", "schemas"], "sortBy": "userName"}),
        )
        .await;
    assert_eq!(names(&got), ["ada", "bob", "carol"]);
    assert!(got.body["Resources"][0].get("meta").is_none() && got.body["Resources"][0].get("id").is_some());
    assert_eq!(names(&okta.search("/Groups/.search", json!({})).await), Vec::<String>::new());
    for (path, body, error) in [
        ("/Users/.search", json!({"filter": "nope eq 1"}), (400, "invalidFilter")),
        ("/Users/.search", json!({"filter": 5}), (400, "invalidFilter")),
        ("/.search", json!({"count": "5"}), (400, "invalidValue")),
        (
            "/.search",
            json!({"attributes": ["a"], "excludedAttributes": ["b"]}),
            (400, "invalidValue"),
        ),
        ("/Nothing/.search", json!({}), (404, "")),
    ] {
        assert_eq!(okta.search(path, body).await.error(), error, "{path}");
    }
    assert_eq!(
        okta.post(
            "/Users/.search",
            json!({"schemas": ["urn:ietf:params:scim:api:messages:2.0:BulkRequest"]})
        )
        .await
        .error(),
        (400, "invalidSyntax")
    );
    let got = okta.get("/Users/.search").await;
    assert_eq!((got.error(), got.header("allow")), ((405, ""), "POST"));
}

#[tokio::test]
async fn the_base_url_lists_users_and_groups() {
    let okta = Client::new().await;
    let ada = okta.user("ada").await;
    okta.group("admins", &[&ada]).await;
    okta.user("bob").await;
    assert_eq!(okta.names("").await, ["ada", "admins", "bob"]);
    assert_eq!(okta.names("/").await, ["ada", "admins", "bob"]);
    assert_eq!(okta.names("?filter=meta.resourceType eq \"Group\"").await, ["admins"]);
    assert_eq!(
        okta.names("?filter=userName eq \"bob\" or displayName eq \"admins\"").await,
        ["admins", "bob"]
    );
    // An attribute that a type does not have has no value there (RFC 7644 §3.4.2.1).
    assert_eq!(okta.names("?filter=userName pr").await, ["ada", "bob"]);
    assert_eq!(okta.names("?filter=not (userName pr)").await, ["admins"]);
    assert_eq!(okta.names(&format!("?filter=members.value eq \"{ada}\"")).await, ["admins"]);
    assert_eq!(okta.names("?sortBy=userName&sortOrder=descending").await, ["admins", "bob", "ada"]);
    assert_eq!(
        names(&okta.search("/.search", json!({"filter": "id pr", "count": 2})).await),
        ["ada", "admins"]
    );
    assert_eq!(okta.get("?filter=nope eq 1").await.error(), (400, "invalidFilter"));
    assert_eq!(okta.get("?filter=name eq \"x\"").await.error(), (400, "invalidFilter"));
    let got = okta.post("", json!({})).await;
    assert_eq!((got.error(), got.header("allow")), ((405, ""), "GET, HEAD"));
    assert_eq!(okta.entra().names("").await, Vec::<String>::new());
}

#[tokio::test]
async fn lists_are_sorted() {
    let okta = Client::new().await;
    for (name, title, age) in [("Bob", Some("b"), 10), ("ada", Some("A"), 9), ("Carol", None, 100)] {
        let mut user = json!({"userName": name, "urn:example:2.0:Person": {"age": age}});
        user["title"] = title.into();
        okta.post("/Users", user).await;
    }
    let check = async |query: &str, expected: [&str; 3]| {
        assert_eq!(okta.names(&format!("/Users?{query}")).await, expected, "{query}");
    };
    check("", ["Bob", "ada", "Carol"]).await;
    check("sortBy=userName", ["ada", "Bob", "Carol"]).await;
    check("sortBy=userName&sortOrder=ascending", ["ada", "Bob", "Carol"]).await;
    check("sortBy=USERNAME&sortOrder=descending", ["Carol", "Bob", "ada"]).await;
    check("sortBy=title", ["ada", "Bob", "Carol"]).await;
    check("sortBy=title&sortOrder=descending", ["Carol", "Bob", "ada"]).await;
    check("sortBy=urn:example:2.0:Person:age", ["ada", "Bob", "Carol"]).await;
    check("sortOrder=descending", ["Bob", "ada", "Carol"]).await;
    assert_eq!(okta.names("/Users?sortBy=userName&startIndex=2&count=1").await, ["Bob"]);
    assert_eq!(okta.get("/Users?sortBy=nope").await.error(), (400, "invalidValue"));
    assert_eq!(okta.get("/Users?sortBy=name").await.error(), (400, "invalidValue"));
}

#[tokio::test]
async fn cursors_walk_a_list_that_changes() {
    let okta = Client::new().await;
    let mut ids = Vec::new();
    for n in 0..10 {
        ids.push(okta.user(&format!("user-{n}")).await);
    }
    for query in [
        "",
        "&sortBy=userName",
        "&sortBy=userName&sortOrder=descending",
        "&filter=userName sw \"user-\"",
    ] {
        let mut cursor = String::new();
        let (mut seen, mut pages) = (Vec::new(), 0);
        loop {
            let got = okta.get(&format!("/Users?count=3&cursor={cursor}{query}")).await;
            assert!(
                got.body.get("startIndex").is_none() && got.body.get("previousCursor").is_none(),
                "{got:?}"
            );
            let page = names(&got);
            assert_eq!(got.body["itemsPerPage"], json!(page.len()));
            assert!(page.len() <= 3);
            seen.extend(page);
            pages += 1;
            // What comes and goes meanwhile takes nobody out of the list who stays.
            let passing = okta.user(&format!("passing-{pages}")).await;
            okta.delete(&format!("/Users/{passing}")).await;
            match got.body.get("nextCursor") {
                Some(next) => next.as_str().unwrap().clone_into(&mut cursor),
                None => break,
            }
        }
        let mut once = seen.clone();
        once.sort();
        assert_eq!(once, (0..10).map(|n| format!("user-{n}")).collect::<Vec<_>>(), "{query}");
        assert!(pages >= 4, "{query}: every page but the last has a cursor");
    }
    // Somebody who was already passed goes: nobody is skipped.
    let first = okta.get("/Users?count=3&cursor=").await;
    okta.delete(&format!("/Users/{}", ids[0])).await;
    let next = first.body["nextCursor"].as_str().unwrap();
    assert_eq!(okta.names(&format!("/Users?cursor={next}")).await, ["user-3", "user-4", "user-5"]);
    // The cursor is in a search's body too.
    let got = okta.search("/Users/.search", json!({"cursor": "", "count": 4})).await;
    let next = got.body["nextCursor"].clone();
    assert_eq!(
        names(&okta.search("/Users/.search", json!({"cursor": next})).await),
        ["user-5", "user-6", "user-7", "user-8"]
    );
}

#[tokio::test]
async fn a_cursor_is_refused_where_it_does_not_belong() {
    let settings = Settings {
        cursor_key: Some(CursorKey(vec![7; 32])),
        ..Settings::default()
    };
    let store = store().await;
    let okta = Client::over(&store, settings.clone()).await;
    for n in 0..5 {
        okta.user(&format!("user-{n}")).await;
    }
    let first = okta.get("/Users?cursor=&count=2").await;
    let next = first.body["nextCursor"].as_str().unwrap().to_owned();
    // Another replica, or this one after a restart, goes on; without the key it cannot.
    let other = Client::over(&store, settings).await;
    assert_eq!(other.names(&format!("/Users?cursor={next}&count=2")).await, ["user-2", "user-3"]);
    let stranger = Client::over(&store, Settings::default()).await;
    let refused = stranger.get(&format!("/Users?cursor={next}")).await;
    assert_eq!(refused.error(), (400, "invalidCursor"));
    for got in [
        okta.get("/Users?cursor=forged").await,
        okta.get(&format!("/Groups?cursor={next}")).await,
        okta.get(&format!("/Users?cursor={next}&filter=userName pr")).await,
        okta.get(&format!("/Users?cursor={next}&sortBy=userName")).await,
        okta.entra().get(&format!("/Users?cursor={next}")).await,
    ] {
        assert_eq!(got.body, refused.body, "whatever is wrong, the answer is the same");
    }
    let mut unauthorized = okta.request("GET", &format!("/Users?cursor={next}"), None);
    unauthorized.headers_mut().remove("authorization");
    assert_eq!(okta.send(unauthorized).await.error(), (401, ""), "a cursor opens nothing by itself");
    assert_eq!(
        okta.get(&format!("/Users?cursor={next}&count=3")).await.error(),
        (400, "invalidCount")
    );
    let totals = okta.get("/Users?cursor=&count=0").await;
    assert_eq!(totals.body["totalResults"], json!(5));
    assert_eq!(okta.get("/Users?cursor=&count=-3").await.body, totals.body);
    let pagination = &okta.get("/ServiceProviderConfig").await.body["pagination"];
    assert_eq!(
        (&pagination["cursor"], &pagination["index"], &pagination["defaultPaginationMethod"]),
        (&json!(true), &json!(true), &json!("index"))
    );
    assert!(okta.get("/Users?count=2").await.body.get("nextCursor").is_none(), "unasked");
}

#[tokio::test]
async fn an_index_gives_what_a_scan_gives() {
    let okta = Client::new().await;
    let mut ids = Vec::new();
    for n in 0..40 {
        let emails =
            json!([{"value": format!("U{}@corp.example", n % 7), "type": "work"}, {"value": format!("home-{n}@x"), "type": "home"}]);
        let user = json!({"userName": format!("Team-{}-User-{n}", n % 3), "externalId": format!("x{}", n % 5), "emails": emails});
        ids.push(okta.post("/Users", user).await.id());
    }
    okta.patch(
        &format!("/Users/{}", ids[0]),
        json!([{"op": "replace", "path": "emails[type eq \"home\"].value", "value": "moved@x"}]),
    )
    .await;
    okta.delete(&format!("/Users/{}", ids[1])).await;
    let team: Vec<&str> = ids[2..9].iter().map(String::as_str).collect();
    let group = okta.group("Team A", &team).await;
    okta.group("Team B", &[&group]).await;
    let check = async |path: &str, filter: &str, expected: usize| {
        let found = okta.get(&format!("{path}?filter={filter}&count=100")).await;
        let scanned = okta.get(&format!("{path}?filter=not (not ({filter}))&count=100")).await;
        assert_eq!(found.body["Resources"], scanned.body["Resources"], "{filter}");
        assert_eq!(found.body["totalResults"], json!(expected), "{filter}");
    };
    check("/Users", "userName sw \"TEAM-1\"", 12).await;
    check("/Users", "userName sw \"team-1-user-1\" and emails.value co \"corp\"", 4).await;
    check("/Users", "userName sw \"\"", 39).await;
    check("/Users", "emails eq \"u3@corp.example\"", 6).await;
    check("/Users", "emails.value eq \"HOME-0@x\"", 0).await;
    check("/Users", "emails.value eq \"moved@x\"", 1).await;
    check("/Users", "emails[value eq \"u3@corp.example\" and type eq \"work\"]", 6).await;
    check("/Users", "emails[type eq \"home\" and value eq \"u3@corp.example\"]", 0).await;
    check("/Users", "emails[value eq \"u1@corp.example\" or type eq \"home\"]", 39).await;
    check("/Users", "externalId eq \"x2\" and userName sw \"team\"", 8).await;
    check("/Users", "emails.value eq \"home-1@x\"", 0).await;
    check("/Users", &format!("groups.value eq \"{group}\" and userName sw \"team-2\""), 3).await;
    check("/Groups", "displayName sw \"team\"", 2).await;
    check(
        "/Groups",
        &format!("displayName sw \"team a\" and members.value eq \"{}\"", ids[3]),
        1,
    )
    .await;
    check("", "userName sw \"team-0\" or displayName sw \"team a\"", 15).await;
}
