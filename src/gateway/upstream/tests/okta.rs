//! Okta, in the recorded shapes of tests/upstream/okta, page by page. No directory is changed here.

use super::fake::Fake;
use super::google::{Shape, fetched, in_groups, recorded, said, shape, spoilt};
use super::*;
use crate::api::poll;
use crate::gateway::upstream::okta::Okta;

const USERS: &str = "/api/v1/users";
const STAFF: &str = "/api/v1/groups/00g000000000000staff/users";

const SHAPES: [Shape; 7] = [
    shape(
        USERS,
        "DEPROVISIONED",
        include_str!("../../../../tests/upstream/okta/users-deprovisioned.json"),
    ),
    shape(USERS, "after=users-2", include_str!("../../../../tests/upstream/okta/users-2.json")),
    Shape {
        path: USERS,
        query: "",
        body: include_str!("../../../../tests/upstream/okta/users-1.json"),
        next: Some("after=users-2&limit=200"),
    },
    shape("/api/v1/groups", "", include_str!("../../../../tests/upstream/okta/groups.json")),
    shape(
        STAFF,
        "after=staff-2",
        include_str!("../../../../tests/upstream/okta/members-staff-2.json"),
    ),
    Shape {
        path: STAFF,
        query: "",
        body: include_str!("../../../../tests/upstream/okta/members-staff-1.json"),
        next: Some("after=staff-2&limit=1000"),
    },
    shape(
        "/api/v1/groups/00g000000000000empty/users",
        "",
        include_str!("../../../../tests/upstream/okta/members-empty.json"),
    ),
];

#[tokio::test]
async fn what_okta_has_is_said_in_scim() {
    let (router, asked) = recorded(&SHAPES);
    let fake = Fake::start(router).await;
    let (ended, pages) = fetched(&Okta::over(fake.http("/"), &poll::Okta::default()), None).await;
    assert_eq!(ended, Ok(None));
    let said = said(&pages);
    let ada = &said.users["00u0000000000000ada"];
    for (name, expected) in [
        ("/userName", "ada@corp.example"),
        ("/externalId", "00u0000000000000ada"),
        ("/displayName", "Ada Lovelace"),
        ("/nickName", "Countess"),
        ("/name/givenName", "Ada"),
        ("/name/familyName", "Lovelace"),
        ("/emails/0/value", "ada.lovelace@corp.example"),
        ("/title", "Engineer"),
        ("/userType", "Employee"),
        ("/urn:ietf:params:scim:schemas:extension:enterprise:2.0:User/department", "Engines"),
        ("/urn:ietf:params:scim:schemas:extension:enterprise:2.0:User/employeeNumber", "4711"),
        ("/urn:ietf:params:scim:schemas:extension:enterprise:2.0:User/organization", "Corp"),
        ("/urn:ietf:params:scim:schemas:extension:enterprise:2.0:User/costCenter", "CC-7"),
        ("/urn:ietf:params:scim:schemas:extension:enterprise:2.0:User/division", "R&D"),
    ] {
        assert_eq!(ada.pointer(name), Some(&json!(expected)), "{name}");
    }
    for (key, active) in [
        ("00u0000000000000ada", true),
        ("00u0000000000000bob", false),
        ("00u0000000000000cyd", true),
        ("00u0000000000000dan", true),
        ("00u0000000000000eve", false),
    ] {
        assert_eq!(said.users[key]["active"], active, "{key}");
    }
    let members: [(&str, &[&str]); 2] = [
        ("00g000000000000staff", &["00u0000000000000ada", "00u0000000000000bob"]),
        ("00g000000000000empty", &[]),
    ];
    assert_eq!(said.members, in_groups(&members));
    assert_eq!(said.groups["00g000000000000staff"]["displayName"], "k8s-staff");
    let asked = asked.lock().unwrap().clone();
    assert!(
        asked
            .iter()
            .any(|url| url.contains("/api/v1/groups?") && url.contains("expand=stats") && url.contains("limit=200"))
    );
}

#[tokio::test]
async fn no_fault_on_any_answer_of_okta_shows_anybody_to_be_missing() {
    let (router, _) = recorded(&SHAPES);
    let fake = Fake::start(router).await;
    let (tried, failed) = spoilt(&fake, &Okta::over(fake.http("/"), &poll::Okta::default()), None).await;
    println!("Okta: {tried} of {tried} faulty passes showed nobody to be missing; {failed} failed");
}

#[tokio::test]
async fn a_quota_of_okta_that_stays_used_up_ends_the_pass() {
    let body = include_str!("../../../../tests/upstream/okta/limited-429.json");
    let answer = move || async move { (http::StatusCode::TOO_MANY_REQUESTS, [("retry-after", "0")], body) };
    let fake = Fake::start(axum::Router::new().fallback(answer)).await;
    let (ended, pages) = fetched(&Okta::over(fake.http("/"), &poll::Okta::default()), None).await;
    assert_eq!(ended.unwrap_err().reason, "RateLimited");
    assert_eq!(pages, []);
    assert!(fake.answers() > 1, "it is waited for");
}
