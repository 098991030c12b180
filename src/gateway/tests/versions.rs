//! Versions of resources, and requests that hold only for one.

use super::*;

impl Client {
    async fn with(&self, name: &'static str, value: &str, method: &str, path: &str, body: Option<&Value>) -> Got {
        let mut request = self.request(method, path, body);
        request.headers_mut().insert(name, value.parse().unwrap());
        self.send(request).await
    }
}

#[tokio::test]
async fn a_request_for_another_version_changes_nothing() {
    let okta = Client::new().await;
    let made = okta.post("/Users", json!({"userName": "ada"})).await;
    let (path, old) = (format!("/Users/{}", made.id()), made.header("etag").to_owned());
    assert!(old.starts_with("W/\""));
    assert_eq!(made.body["meta"]["version"], json!(old));
    let title = |title: &str| json!({"Operations": [{"op": "replace", "path": "title", "value": title}]});
    let got = okta.with("if-match", &old, "PATCH", &path, Some(&title("a"))).await;
    let new = got.header("etag").to_owned();
    assert!(got.status == 200 && new != old);
    let index = okta.index();
    for (method, body) in [
        ("PATCH", Some(title("b"))),
        ("PUT", Some(json!({"userName": "ada", "title": "b"}))),
        ("DELETE", None),
    ] {
        let got = okta.with("if-match", &old, method, &path, body.as_ref()).await;
        assert_eq!(got.error(), (412, ""), "{method}");
        let got = okta.with("if-none-match", "*", method, &path, body.as_ref()).await;
        assert_eq!(got.error(), (412, ""), "{method}");
    }
    assert_eq!(okta.index(), index);
    // One of several; strong or weak; any.
    let both = format!("{old}, {}", new.trim_start_matches("W/"));
    assert_eq!(okta.with("if-match", &both, "PATCH", &path, Some(&title("a"))).await.status, 200);
    assert_eq!(okta.with("if-match", "*", "PATCH", &path, Some(&title("a"))).await.status, 200);
    assert_eq!(okta.index(), index, "what changes nothing has no new version");
    assert_eq!(
        okta.with("if-match", &old, "DELETE", "/Users/00000000-0000-4000-8000-000000000000", None)
            .await
            .error(),
        (404, "")
    );
    assert_eq!(okta.with("if-match", &new, "DELETE", &path, None).await.status, 204);
}

#[tokio::test]
async fn who_has_the_version_is_not_sent_it_again() {
    let okta = Client::new().await;
    let ada = okta.user("ada").await;
    let path = format!("/Users/{ada}");
    let etag = |got: &Got| got.header("etag").to_owned();
    let alone = etag(&okta.get(&path).await);
    let got = okta.with("if-none-match", &alone, "GET", &path, None).await;
    assert_eq!((got.status, &got.body, etag(&got)), (304, &Value::Null, alone.clone()));
    assert_eq!(okta.with("if-match", "\"other\"", "GET", &path, None).await.error(), (412, ""));
    // What is shown of a user changes with its groups, though the user was not touched.
    let inner = okta.group("inner", &[&ada]).await;
    let in_one = okta.with("if-none-match", &alone, "GET", &path, None).await;
    assert_eq!((in_one.status, in_one.body["groups"][0]["value"].as_str()), (200, Some(&*inner)));
    let outer = okta.group("outer", &[&inner]).await;
    let in_two = okta.with("if-none-match", &etag(&in_one), "GET", &path, None).await;
    assert_eq!((in_two.status, in_two.body["groups"].as_array().unwrap().len()), (200, 2));
    let renamed = json!([{"op": "replace", "path": "displayName", "value": "renamed"}]);
    okta.patch(&format!("/Groups/{outer}"), renamed).await;
    let got = okta.with("if-none-match", &etag(&in_two), "GET", &path, None).await;
    assert_eq!((got.status, got.body["groups"][1]["display"].as_str()), (200, Some("renamed")));
    let list = okta.get("/Users").await;
    assert_eq!(list.body["Resources"][0]["meta"]["version"], json!(etag(&got)));
    okta.delete(&format!("/Groups/{inner}")).await;
    assert_eq!(etag(&okta.get(&path).await), alone);
}
