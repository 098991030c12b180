//! Google, in the recorded shapes of tests/upstream/google, page by page; and what serves recorded shapes. No directory is changed here.

use axum::Router;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};

use super::fake::{FAULTS, Fake, Fault};
use super::*;
use crate::api::poll;
use crate::gateway::upstream::google::Google;
use crate::gateway::upstream::{Upstream, pages};

/// One recorded answer.
#[derive(Clone, Copy)]
pub(super) struct Shape {
    /// The path that it answers.
    pub(super) path: &'static str,
    /// What the query has to have, decoded; the first shape that fits answers.
    pub(super) query: &'static str,
    pub(super) body: &'static str,
    /// What the query of the next page has, for those whose pages are named by `Link`.
    pub(super) next: Option<&'static str>,
}

/// A shape of which there is one page only, or whose body names the next one.
pub(super) const fn shape(path: &'static str, query: &'static str, body: &'static str) -> Shape {
    Shape {
        path,
        query,
        body,
        next: None,
    }
}

/// Serves them, and nothing else: 404. The hosts that the documentation names become the one that is asked.
pub(super) fn recorded(shapes: &'static [Shape]) -> (Router, Arc<std::sync::Mutex<Vec<String>>>) {
    let asked = Arc::<std::sync::Mutex<Vec<String>>>::default();
    let log = asked.clone();
    let answer = move |request: Request| {
        let query = percent_encoding::percent_decode_str(request.uri().query().unwrap_or_default())
            .decode_utf8_lossy()
            .into_owned();
        let (path, host) = (
            request.uri().path().to_owned(),
            request.headers()["host"].to_str().unwrap().to_owned(),
        );
        log.lock().unwrap().push(format!("{path}?{query}"));
        let found = shapes.iter().find(|shape| shape.path == path && query.contains(shape.query));
        async move {
            let Some(shape) = found else {
                return http::StatusCode::NOT_FOUND.into_response();
            };
            let body = ["graph.microsoft.com", "subdomain.okta.com"]
                .iter()
                .fold(shape.body.to_owned(), |body, name| body.replace(name, &host));
            let mut answer = Response::new(body.into());
            if let Some(next) = shape.next {
                let link = format!("<https://{host}{path}?{next}>; rel=\"next\"").parse().unwrap();
                answer.headers_mut().append("link", link);
            }
            answer
        }
    };
    (Router::new().fallback(answer), asked)
}

/// The pages of one pass, and the token for the next one.
pub(super) async fn fetched(upstream: &dyn Upstream, since: Option<&str>) -> (Result<Option<String>, Failure>, Vec<Page>) {
    let (sender, mut receiver) = pages(1024);
    let ended = upstream.fetch(since, &sender).await;
    drop(sender);
    let mut all = Vec::new();
    while let Some(page) = receiver.recv().await {
        all.push(page);
    }
    (ended, all)
}

/// What pages say, without what they say of proof: users and groups by key, who is in which group, and who is gone.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Said {
    pub(super) users: BTreeMap<String, Value>,
    pub(super) groups: BTreeMap<String, Value>,
    pub(super) members: BTreeMap<String, BTreeSet<String>>,
    pub(super) left: BTreeMap<String, BTreeSet<String>>,
    pub(super) gone: BTreeSet<String>,
}

/// Who is in which group.
pub(super) fn in_groups(all: &[(&str, &[&str])]) -> BTreeMap<String, BTreeSet<String>> {
    all.iter().map(|(group, keys)| ((*group).to_owned(), set(keys))).collect()
}

pub(super) fn said(pages: &[Page]) -> Said {
    let mut said = Said::default();
    for page in pages {
        match page {
            Page::Users(list) => said.users.extend(list.iter().map(|one| (one.key.clone(), one.body.clone()))),
            Page::Groups(list) => said.groups.extend(list.iter().map(|one| (one.key.clone(), one.body.clone()))),
            Page::Gone(_, key) => _ = said.gone.insert(key.clone()),
            Page::Members(lists) => {
                for list in lists {
                    let (add, remove) = match &list.said {
                        super::Said::Whole { keys, .. } => (keys.clone(), Vec::new()),
                        super::Said::Changed { add, remove } => (add.clone(), remove.clone()),
                    };
                    said.members.entry(list.group.clone()).or_default().extend(add);
                    said.left.entry(list.group.clone()).or_default().extend(remove);
                }
            }
            Page::UsersEnd(_) | Page::GroupsEnd(_) => {}
        }
    }
    said.left.retain(|_, keys| !keys.is_empty());
    said
}

/// Every fault on every answer: the pass fails, or nothing that a good one had is shown to be missing. How many were tried, and how many failed.
pub(super) async fn spoilt(fake: &Fake, upstream: &dyn Upstream, since: Option<&str>) -> (usize, usize) {
    fake.spoil(None);
    let (ended, pages) = fetched(upstream, since).await;
    ended.unwrap();
    let (good, answers) = (said(&pages), fake.answers());
    let (mut tried, mut failed) = (0, 0);
    for fault in FAULTS {
        for k in 0..answers {
            fake.spoil(Some((k, fault)));
            let (ended, pages) = fetched(upstream, since).await;
            tried += 1;
            failed += usize::from(ended.is_err());
            let at = format!("{fault:?} on answer {k} of {answers}: {ended:?}");
            let bad = said(&pages);
            assert!(bad.gone.is_subset(&good.gone), "{at}: {:?} are said to be gone", bad.gone);
            for (group, left) in &bad.left {
                assert!(left.is_subset(&good.left[group]), "{at}: {left:?} are said to have left {group}");
            }
            for page in &pages {
                match page {
                    Page::UsersEnd(Proof::Complete) => assert_eq!(bad.users, good.users, "{at}"),
                    Page::GroupsEnd(Proof::Complete) => assert_eq!(bad.groups, good.groups, "{at}"),
                    Page::Members(lists) => {
                        for list in lists {
                            if let super::Said::Whole { keys, proven: true } = &list.said {
                                let keys: BTreeSet<String> = keys.iter().cloned().collect();
                                assert_eq!(keys, good.members[&list.group], "{at}: proven, and not what {} has", list.group);
                            }
                        }
                    }
                    _ => {}
                }
            }
            let loud = [Fault::Html, Fault::TooMany, Fault::ServerError, Fault::Reset, Fault::Stall];
            // asked again, as one answer only is spoilt
            assert!(!loud.contains(&fault) || (ended.is_ok() && bad == good), "{at}");
        }
    }
    fake.spoil(None);
    (tried, failed)
}

const USERS: &str = "/admin/directory/v1/users";
const STAFF: &str = "/admin/directory/v1/groups/00group000staff/members";

const SHAPES: [Shape; 8] = [
    shape(
        USERS,
        "showDeleted=true",
        include_str!("../../../../tests/upstream/google/users-deleted.json"),
    ),
    shape(
        USERS,
        "pageToken=page-2",
        include_str!("../../../../tests/upstream/google/users-2.json"),
    ),
    shape(USERS, "", include_str!("../../../../tests/upstream/google/users-1.json")),
    shape(
        "/admin/directory/v1/groups",
        "",
        include_str!("../../../../tests/upstream/google/groups.json"),
    ),
    shape(
        STAFF,
        "pageToken=staff-2",
        include_str!("../../../../tests/upstream/google/members-staff-2.json"),
    ),
    shape(STAFF, "", include_str!("../../../../tests/upstream/google/members-staff-1.json")),
    shape(
        "/admin/directory/v1/groups/00group000admin/members",
        "",
        include_str!("../../../../tests/upstream/google/members-admin.json"),
    ),
    shape(
        "/admin/directory/v1/groups/00group000world/members",
        "",
        include_str!("../../../../tests/upstream/google/members-world.json"),
    ),
];

fn spec() -> poll::GoogleWorkspace {
    poll::GoogleWorkspace {
        customer: "my_customer".to_owned(),
        ..Default::default()
    }
}

#[tokio::test]
async fn what_google_has_is_said_in_scim() {
    let (router, asked) = recorded(&SHAPES);
    let fake = Fake::start(router).await;
    let spec = poll::GoogleWorkspace {
        aliases: true,
        custom_schemas: vec!["Employment".to_owned()],
        ..spec()
    };
    let (ended, pages) = fetched(&Google::over(fake.http("/"), &spec), None).await;
    assert_eq!(ended, Ok(None));
    let said = said(&pages);
    let ada = &said.users["100000000000000000001"];
    for (name, expected) in [
        ("/userName", json!("ada@corp.example")),
        ("/externalId", json!("100000000000000000001")),
        ("/displayName", json!("Ada Lovelace")),
        ("/name/givenName", json!("Ada")),
        ("/name/familyName", json!("Lovelace")),
        ("/active", json!(true)),
        ("/emails/0", json!({"value": "ada@corp.example", "type": "work", "primary": true})),
        ("/emails/1/value", json!("countess@corp.example")),
        ("/title", json!("Engineer")),
        (
            "/urn:ietf:params:scim:schemas:extension:enterprise:2.0:User/department",
            json!("Engines"),
        ),
        (
            "/urn:ietf:params:scim:schemas:extension:enterprise:2.0:User/costCenter",
            json!("CC-7"),
        ),
        (
            "/urn:ietf:params:scim:schemas:extension:enterprise:2.0:User/employeeNumber",
            json!("4711"),
        ),
        (
            "/urn:google:params:scim:schemas:directory:2.0:User/orgUnitPath",
            json!("/Engineering"),
        ),
        ("/urn:google:params:scim:schemas:Employment:2.0:User/level", json!("senior")),
        (
            "/urn:google:params:scim:schemas:Employment:2.0:User/projects",
            json!(["engine", "loom"]),
        ),
    ] {
        assert_eq!(ada.pointer(name), Some(&expected), "{name}");
    }
    let active = |key: &str| said.users[key]["active"] == true;
    assert!(!active("100000000000000000002"), "suspended");
    assert!(!active("100000000000000000003"), "archived");
    assert_eq!(said.gone, set(&["100000000000000000009"]));
    assert_eq!(said.groups["00group000staff"]["displayName"], "k8s-staff@corp.example");
    let members: [(&str, &[&str]); 3] = [
        ("00group000staff", &["100000000000000000001", "100000000000000000002"]),
        ("00group000admin", &["100000000000000000003", "00group000staff"]),
        ("00group000world", &[]),
    ];
    assert_eq!(said.members, in_groups(&members));

    let asked = asked.lock().unwrap().clone();
    let first = &asked[0];
    for part in [
        "customer=my_customer",
        "maxResults=500",
        "projection=custom",
        "customFieldMask=Employment",
    ] {
        assert!(first.contains(part), "{first} has no {part}");
    }
    assert!(asked.iter().any(|url| url.starts_with(STAFF) && url.contains("maxResults=200")));
}

#[tokio::test]
async fn a_403_of_google_is_a_quota_or_is_not() {
    for (body, reason) in [
        (include_str!("../../../../tests/upstream/google/quota-403.json"), "RateLimited"),
        (include_str!("../../../../tests/upstream/google/forbidden-403.json"), "Forbidden"),
    ] {
        let fake = Fake::start(Router::new().fallback(move || async move { (http::StatusCode::FORBIDDEN, body) })).await;
        let (ended, pages) = fetched(&Google::over(fake.http("/"), &spec()), None).await;
        assert_eq!(ended.unwrap_err().reason, reason);
        assert_eq!(pages, []);
        assert_eq!(fake.answers() > 1, reason == "RateLimited", "only a quota is waited for");
    }
}

#[tokio::test]
async fn no_fault_on_any_answer_of_google_shows_anybody_to_be_missing() {
    let (router, _) = recorded(&SHAPES);
    let fake = Fake::start(router).await;
    let (tried, failed) = spoilt(&fake, &Google::over(fake.http("/"), &spec()), None).await;
    println!("Google: {tried} of {tried} faulty passes showed nobody to be missing; {failed} failed");
}
