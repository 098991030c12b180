//! Who may ask, what is refused, and that every answer is one of SCIM's.

use std::time::Duration;

use super::*;

#[tokio::test]
async fn without_a_good_token_nothing_is_said_of_a_source() {
    let okta = Client::new().await;
    let ask = |path: &str, token: Option<&str>| {
        let builder = Request::builder().uri(path.to_owned());
        let builder = token
            .into_iter()
            .fold(builder, |b, token| b.header("authorization", format!("Bearer {token}")));
        okta.send(builder.body(Body::empty()).unwrap())
    };
    let unknown = ask("/scim/v2/nobody/Users", Some("wrong")).await;
    let known = ask("/scim/v2/okta/Users", Some("wrong")).await;
    assert_eq!(known.error(), (401, ""));
    assert_eq!(
        known.header("www-authenticate"),
        "Bearer realm=\"rolecall\", error=\"invalid_token\""
    );
    assert_eq!(
        (unknown.status, &unknown.body, unknown.header("www-authenticate")),
        (401, &known.body, known.header("www-authenticate"))
    );
    assert_eq!(
        ask("/scim/v2/okta/Users", None).await.header("www-authenticate"),
        "Bearer realm=\"rolecall\""
    );
    assert_eq!(
        ask("/scim/v2/okta/Users", Some(OTHER)).await.error(),
        (401, ""),
        "another source's token"
    );
    for path in [
        "/scim/v2/okta",
        "/scim/v2/okta/Nothing",
        "/scim/v2/okta/Users/x/y",
        "/scim/v2/okta/Bulk",
        "/scim/v2/okta/Users/x",
    ] {
        assert_eq!(ask(path, None).await.error(), (401, ""), "{path}");
    }
    for path in [
        "/ServiceProviderConfig",
        "/Schemas",
        "/ResourceTypes",
        "/ResourceTypes/User",
        "/Schemas/urn:ietf:params:scim:schemas:core:2.0:User",
    ] {
        assert_eq!(ask(&format!("/scim/v2/okta{path}"), None).await.status, 200, "{path}");
        assert_eq!(ask(&format!("/scim/v2/nobody{path}"), None).await.status, 200, "{path}");
    }
}

#[tokio::test]
async fn every_refusal_is_a_scim_error() {
    let okta = Client::new().await;
    assert_eq!(okta.get("/Nothing").await.error(), (404, ""));
    assert_eq!(okta.get("/Users/not-an-id").await.error(), (404, ""));
    assert_eq!(okta.get("/Me").await.error(), (501, ""));
    assert_eq!(okta.get("/Schemas/urn:x").await.error(), (404, ""));
    assert_eq!(okta.get("/Schemas?filter=id eq \"x\"").await.error(), (403, ""));
    let got = okta.delete("/Users").await;
    assert_eq!((got.error(), got.header("allow")), ((405, ""), "GET, HEAD, POST"));
    assert_eq!(okta.post("/ServiceProviderConfig", json!({})).await.error(), (405, ""));
    assert_eq!(okta.send(Request::get("/").body(Body::empty()).unwrap()).await.error(), (404, ""));
    assert_eq!(
        okta.send(Request::get("/scim/v1/okta/Users").body(Body::empty()).unwrap())
            .await
            .error(),
        (400, "invalidVers")
    );

    let send = |kind: &str, body: String| {
        let mut request = okta.request("POST", "/Users", None);
        request.headers_mut().insert("content-type", kind.parse().unwrap());
        *request.body_mut() = Body::from(body);
        okta.send(request)
    };
    assert_eq!(send("text/xml", "<a/>".into()).await.error(), (415, ""));
    assert_eq!(send("application/json", "{".into()).await.error(), (400, "invalidSyntax"));
    assert_eq!(send("application/json", String::new()).await.error(), (400, "invalidSyntax"));
    assert_eq!(send("application/json", "[]".into()).await.error(), (400, "invalidSyntax"));
    assert_eq!(send("application/json", "{}".into()).await.error(), (400, "invalidValue"));
    assert_eq!(
        send("application/json", "{\"userName\":\" \"}".into()).await.error(),
        (400, "invalidValue")
    );
    assert_eq!(
        send(
            "application/json",
            format!("{{\"userName\":\"a\",\"x\":{}1{}}}", "[".repeat(40), "]".repeat(40))
        )
        .await
        .error(),
        (400, "invalidSyntax")
    );
    assert_eq!(
        send("application/json", "{\"userName\":\"a\",\"active\":\"yes\"}".into())
            .await
            .error(),
        (400, "invalidValue")
    );
    let got = send("application/json; charset=utf-8", "{\"userName\":\"json\"}".into()).await;
    assert_eq!(got.status, 201);
    assert_eq!(okta.put("/Users/x", json!({"userName": "a"})).await.error(), (404, ""));
    let many: Vec<Value> = (0..10_001).map(|_| json!({"op": "add", "path": "title", "value": "x"})).collect();
    assert_eq!(
        okta.patch(&format!("/Users/{}", got.id()), Value::Array(many)).await.error(),
        (413, "")
    );
    let huge = json!({"userName": "huge", "title": "x".repeat(600_000)});
    assert_eq!(okta.post("/Users", huge).await.error(), (413, ""), "more than the journal takes");
}

#[tokio::test]
async fn an_answer_is_json_of_the_kind_that_was_asked_for() {
    let okta = Client::new().await;
    let mut request = okta.request("GET", "/Users", None);
    request.headers_mut().insert("accept", "application/json".parse().unwrap());
    let got = okta.send(request).await;
    assert_eq!(got.header("content-type"), "application/json");
    assert_eq!(got.header("x-request-id").len(), 32);
    assert_eq!(okta.get("/Users").await.header("content-type"), "application/scim+json");
}

#[tokio::test]
async fn bodies_are_bounded() {
    let settings = Settings {
        max_body: 1000,
        body_timeout: Duration::from_millis(50),
        ..Settings::default()
    };
    let okta = Client::over(&store().await, settings).await;
    assert_eq!(okta.post("/Users", json!({"userName": "a".repeat(990)})).await.error(), (413, ""));
    let chunks = futures::stream::iter((0..3).map(|_| Ok::<_, std::io::Error>("x".repeat(500))));
    let mut request = okta.request("POST", "/Users", None);
    *request.body_mut() = Body::from_stream(chunks);
    assert_eq!(okta.send(request).await.error(), (413, ""), "without Content-Length too");
    let mut request = okta.request("POST", "/Users", None);
    *request.body_mut() = Body::from_stream(futures::stream::pending::<Result<String, std::io::Error>>());
    assert_eq!(okta.send(request).await.error(), (408, ""));
    assert_eq!(okta.post("/Users", json!({"userName": "a".repeat(900)})).await.status, 201);
}

#[tokio::test]
async fn too_much_at_once_is_for_later() {
    let settings = Settings {
        max_requests: 1,
        ..Settings::default()
    };
    let okta = Client::over(&store().await, settings).await;
    let _held = okta.gateway.requests.acquire().await.unwrap();
    let got = okta.get("/Users").await;
    assert_eq!((got.error(), got.header("retry-after")), ((503, ""), "1"));
}

#[tokio::test]
async fn who_asks_too_often_is_told_when_to_come_again() {
    let settings = Settings {
        source_rate: 2,
        stranger_rate: 1,
        ..Settings::default()
    };
    let okta = Client::over(&store().await, settings).await;
    // How many pass before one is too many; a slow machine lets some more pass.
    let until_too_many = async |client: &Client, path: &str, passes: u16| {
        for n in 0..500 {
            let got = client.get(path).await;
            if got.status == 429 {
                assert_eq!((got.error(), got.header("retry-after")), ((429, ""), "1"));
                return n;
            }
            assert_eq!(got.status, passes);
        }
        panic!("never too many");
    };
    assert!(until_too_many(&okta, "/Users", 200).await >= 8);
    assert_eq!(okta.entra().get("/Users").await.status, 200, "another source is not kept waiting");
    let stranger = Client {
        token: "wrong".to_owned(),
        ..okta.entra()
    };
    assert!(until_too_many(&stranger, "/Users", 401).await >= 4);
    until_too_many(&stranger, "/ServiceProviderConfig", 200).await;
    assert_eq!(okta.entra().get("/Users").await.status, 200, "who has a token is no stranger");
}

#[tokio::test]
async fn a_journal_that_is_not_there_or_lost_answers_nothing() {
    let store = store().await;
    let okta = Client::over(&store, Settings::default()).await;
    let id = okta.user("ada").await;
    okta.gateway.use_journal(None);
    assert!(okta.gateway.trouble().is_some());
    assert_eq!(okta.get("/Users").await.error(), (503, ""));
    okta.gateway.use_journal(Some(open(&store).await));
    assert_eq!(okta.gateway.trouble(), None);
    assert_eq!(okta.get("/Users").await.body["totalResults"], json!(1), "nothing was lost");
    let backup = store.backup();
    okta.user("bob").await;
    store.restore(&backup);
    for got in [
        okta.get("/Users").await,
        okta.get(&format!("/Users/{id}")).await,
        okta.user_body("carol").await,
        okta.delete(&format!("/Users/{id}")).await,
        okta.get("/Users/unknown").await,
    ] {
        assert_eq!((got.error(), got.header("retry-after")), ((503, ""), "30"), "{got:?}");
    }
    assert!(okta.gateway.trouble().unwrap().contains("lost"));
    assert_eq!(okta.get("/ServiceProviderConfig").await.status, 200);
}

impl Client {
    async fn user_body(&self, name: &str) -> Got {
        self.post("/Users", json!({"userName": name})).await
    }
}
