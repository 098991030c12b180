//! Groups: members, nesting, size.

use futures::FutureExt;

use super::*;

fn add(ids: &[&String]) -> Value {
    let list: Vec<Value> = ids.iter().map(|id| json!({"value": id})).collect();
    json!([{"op": "add", "path": "members", "value": list}])
}

#[tokio::test]
async fn members_come_and_go() {
    let okta = Client::new().await;
    let (ada, bob) = (okta.user("ada").await, okta.user("bob").await);
    let group = okta.group("ops", &[&ada]).await;
    let one = format!("/Groups/{group}");
    let got = okta.get(&one).await;
    let location = format!("http://scim.example/scim/v2/okta/Users/{ada}");
    assert_eq!(got.body["members"], json!([{"value": ada, "type": "User", "$ref": location}]));

    let more = okta.patch(&one, add(&[&ada, &bob])).await;
    assert_eq!((more.status, more.body["members"].as_array().unwrap().len()), (200, 2));
    assert_ne!(more.header("etag"), got.header("etag"), "members are part of the version");
    let index = okta.index();
    assert_eq!(okta.patch(&one, add(&[&ada])).await.body, more.body);
    assert_eq!(okta.index(), index);
    okta.patch(&one, json!([{"op": "remove", "path": format!("members[value eq \"{ada}\"]")}]))
        .await;
    assert_eq!(okta.members(&group).await, [bob.as_str()]);
    okta.patch(&one, json!([{"op": "remove", "path": "members[type eq \"Group\"]"}]))
        .await;
    assert_eq!(okta.members(&group).await.len(), 1);
    okta.patch(&one, json!([{"op": "remove", "path": "members[display eq \"bob\"]"}]))
        .await;
    assert_eq!(okta.members(&group).await.len(), 0);

    okta.put(&one, json!({"displayName": "ops", "members": [{"value": ada}]})).await;
    assert_eq!(okta.members(&group).await, [ada.as_str()]);
    okta.put(&one, json!({"displayName": "ops2"})).await;
    assert_eq!(
        okta.members(&group).await,
        [ada.as_str()],
        "a PUT that does not speak of members keeps them"
    );
    okta.put(&one, json!({"displayName": "ops2", "members": []})).await;
    assert_eq!(okta.members(&group).await.len(), 0);

    okta.patch(&one, add(&[&ada, &bob])).await;
    okta.delete(&format!("/Users/{ada}")).await;
    assert_eq!(okta.members(&group).await, [bob]);
}

#[tokio::test]
async fn an_unknown_member_is_named_and_nothing_of_the_request_counts() {
    let okta = Client::new().await;
    let ada = okta.user("ada").await;
    let group = okta.group("ops", &[]).await;
    let one = format!("/Groups/{group}");
    let stranger = "00000000-dead-4000-8000-000000000000".to_owned();
    let upper = ada.to_uppercase();
    let of_entra = okta.entra().user("eve").await;
    for unknown in [&stranger, &upper, &of_entra, &"x".to_owned()] {
        for got in [
            okta.patch(&one, add(&[&ada, unknown])).await,
            okta.put(&one, json!({"displayName": "new", "members": [{"value": ada}, {"value": unknown}]}))
                .await,
            okta.post("/Groups", json!({"displayName": "new", "members": [{"value": unknown}]}))
                .await,
        ] {
            assert_eq!(got.error(), (400, "invalidValue"));
            assert!(got.body["detail"].as_str().unwrap().contains(unknown.as_str()), "{got:?}");
        }
    }
    assert_eq!(okta.members(&group).await.len(), 0);
    assert_eq!(okta.get(&one).await.body["displayName"], json!("ops"));
    assert_eq!(okta.get("/Groups").await.body["totalResults"], json!(1));
}

#[tokio::test]
async fn a_users_groups_are_computed_through_nested_groups() {
    let okta = Client::new().await;
    let ada = okta.user("ada").await;
    let inner = okta.group("inner", &[&ada]).await;
    let outer = okta.group("outer", &[&inner]).await;
    okta.patch(&format!("/Groups/{inner}"), add(&[&outer])).await;
    let got = okta.get(&format!("/Users/{ada}")).await;
    let groups: Vec<(&Value, &Value)> = got.body["groups"]
        .as_array()
        .unwrap()
        .iter()
        .map(|g| (&g["value"], &g["type"]))
        .collect();
    assert_eq!(groups, [(&json!(inner), &json!("direct")), (&json!(outer), &json!("indirect"))]);
    for (path, total) in [
        (format!("/Users?filter=groups.value eq \"{outer}\""), 1),
        (format!("/Users?filter=groups[value eq \"{inner}\"]"), 1),
        ("/Users?filter=groups.display eq \"outer\"".to_owned(), 1),
        (format!("/Users?filter=groups.value eq \"{ada}\""), 0),
        (format!("/Groups?filter=members eq \"{ada}\""), 1),
        (
            format!("/Groups?filter=members.value eq \"{inner}\" and displayName eq \"OUTER\""),
            1,
        ),
        ("/Groups?filter=members[type eq \"Group\"]".to_owned(), 2),
        ("/Groups?filter=displayName sw \"OUT\"".to_owned(), 1),
    ] {
        assert_eq!(okta.get(&path).await.body["totalResults"], json!(total), "{path}");
    }
    let untouched = okta.put(&format!("/Users/{ada}"), json!({"userName": "ada", "groups": []})).await;
    assert_eq!(
        untouched.body["groups"].as_array().unwrap().len(),
        2,
        "groups is never an instruction"
    );
}

#[tokio::test]
async fn a_display_name_is_a_label_unless_the_external_id_is_the_same_too() {
    let okta = Client::new().await;
    let body = |id: &str| json!({"displayName": "ops", "externalId": id});
    assert_eq!(okta.post("/Groups", body("1")).await.status, 201);
    assert_eq!(okta.post("/Groups", body("1")).await.error(), (409, "uniqueness"));
    let second = okta.post("/Groups", body("2")).await;
    assert_eq!(second.status, 201);
    okta.group("ops", &[]).await;
    okta.group("ops", &[]).await;
    assert_eq!(
        okta.put(&format!("/Groups/{}", second.id()), body("1")).await.error(),
        (409, "uniqueness")
    );
    assert_eq!(
        okta.get("/Groups?filter=displayName eq \"ops\"").await.body["totalResults"],
        json!(4)
    );
}

#[tokio::test]
async fn a_large_group_is_changed_and_read_without_its_members() {
    let okta = Client::new().await;
    let users = 40_000;
    seed(&okta, users).await;
    let directory = okta.gateway.journal.load().as_ref().unwrap().snapshot().state;
    let ids: Vec<String> = directory.source("okta").unwrap().users().map(|user| user.id.to_string()).collect();
    let all: Vec<Value> = ids.iter().map(|id| json!({"value": id})).collect();
    let group = okta.group("everybody", &[]).await;
    let one = format!("/Groups/{group}");
    let put = okta.put(&one, json!({"displayName": "everybody", "members": all})).await;
    assert_eq!((put.status, put.body["members"].as_array().unwrap().len()), (200, users));

    let out = json!([{"op": "remove", "path": format!("members[value eq \"{}\"]", ids[7])}]);
    let got = okta.patch(&one, out).await;
    assert_eq!((got.status, &got.body), (204, &Value::Null), "too many to answer with");
    assert_eq!(got.header("location"), format!("http://scim.example/scim/v2/okta{one}"));
    assert!(got.header("etag").starts_with("W/\""));
    let named = okta.patch(&format!("{one}?attributes=displayName"), add(&[&ids[7]])).await;
    assert_eq!((named.status, named.body.get("members")), (200, None));
    let named = okta.patch(&format!("{one}?attributes=members.value"), add(&[&ids[7]])).await;
    assert_eq!((named.status, named.body["members"].as_array().unwrap().len()), (200, users));
    assert_eq!(named.body["members"][7], json!({"value": ids[7]}));
    let bare = okta.patch(&format!("{one}?excludedAttributes=members"), add(&[&ids[7]])).await;
    assert_eq!((bare.status, bare.body.get("members")), (200, None));
    assert_eq!(
        okta.get(&format!("{one}?excludedAttributes=members")).await.body.get("members"),
        None
    );
    assert_eq!(
        okta.get("/Groups?excludedAttributes=members").await.body["Resources"][0].get("members"),
        None
    );
    let emptied = okta
        .patch(&one, json!([{"op": "replace", "path": "members", "value": [{"value": ids[3]}]}]))
        .await;
    assert_eq!(emptied.body["members"].as_array().unwrap().len(), 1);
}

/// Users straight into the journal.
pub(super) async fn seed(client: &Client, users: usize) {
    let journal = client.gateway.journal.load().as_ref().unwrap().as_ref().clone();
    let fill = move |directory: &Directory, _: &_| {
        let seen = crate::directory::Event::SourceSeen {
            source: "okta".into(),
            uid: "uid-1".into(),
        };
        let first = directory.next_n("okta");
        let create = |k: usize| crate::directory::Event::Created {
            source: "okta".into(),
            kind: crate::directory::Kind::User,
            id: uuid::Uuid::new_v4(),
            n: first + u32::try_from(k).unwrap(),
            attributes: json!({"userName": format!("seed{first}x{k}")}).as_object().unwrap().clone(),
            members: vec![],
            request: String::new(),
        };
        let events = std::iter::once(seen).chain((0..users).map(create)).collect();
        crate::journal::Verdict::Append(events, ())
    };
    journal.submit(fill).await.unwrap();
}

#[tokio::test]
async fn members_added_in_flight_do_not_overwrite_each_other() {
    let okta = Client::new().await;
    let mut ids = Vec::new();
    for k in 0..100 {
        ids.push(okta.user(&format!("u{k}")).await);
    }
    let group = okta.group("all", &[]).await;
    let one = format!("/Groups/{group}");
    let adds = ids
        .iter()
        .map(|id| okta.patch(&one, add(&[id])).map(|got| assert_eq!(got.status, 200)));
    futures::future::join_all(adds).await;
    assert_eq!(okta.members(&group).await.len(), 100);
}
