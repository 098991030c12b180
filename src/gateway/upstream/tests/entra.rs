//! Entra, in the recorded shapes of tests/upstream/entra, page by page; and assertions, which it and the others ask for tokens with. No directory is changed here.

use axum::Router;
use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use ring::signature::{self, KeyPair, RsaKeyPair, UnparsedPublicKey};

use super::fake::Fake;
use super::google::{Shape, fetched, in_groups, recorded, said, shape, spoilt};
use super::*;
use crate::api::poll::{self, EntraExternalId};
use crate::gateway::upstream::assertion::Signer;
use crate::gateway::upstream::entra::Entra;

const USERS: &str = "/v1.0/users/delta";
const GROUPS: &str = "/v1.0/groups/delta";
const ADA: &str = "11111111-0000-4000-8000-000000000001";
const BOB: &str = "11111111-0000-4000-8000-000000000002";
const STAFF: &str = "22222222-0000-4000-8000-000000000001";
const OUTER: &str = "22222222-0000-4000-8000-000000000002";
const NOBODY: &str = "22222222-0000-4000-8000-000000000003";

const SHAPES: [Shape; 8] = [
    shape(
        USERS,
        "$skiptoken=users-2",
        include_str!("../../../../tests/upstream/entra/users-2.json"),
    ),
    shape(
        USERS,
        "$deltatoken=users-3",
        include_str!("../../../../tests/upstream/entra/users-delta.json"),
    ),
    shape(USERS, "$select=", include_str!("../../../../tests/upstream/entra/users-1.json")),
    shape(
        GROUPS,
        "$skiptoken=groups-2",
        include_str!("../../../../tests/upstream/entra/groups-2.json"),
    ),
    shape(
        GROUPS,
        "$deltatoken=groups-3",
        include_str!("../../../../tests/upstream/entra/groups-delta.json"),
    ),
    shape(GROUPS, "$select=", include_str!("../../../../tests/upstream/entra/groups-1.json")),
    shape(
        "/v1.0/users/11111111-0000-4000-8000-000000000001",
        "$select=",
        include_str!("../../../../tests/upstream/entra/user-ada.json"),
    ),
    shape(
        "/v1.0/groups/22222222-0000-4000-8000-000000000001",
        "$select=",
        include_str!("../../../../tests/upstream/entra/group-staff.json"),
    ),
];

#[tokio::test]
async fn what_entra_has_is_said_in_scim_and_then_what_changed() {
    let (router, asked) = recorded(&SHAPES);
    let fake = Fake::start(router).await;
    let entra = Entra::over(fake.http("/"), &poll::Entra::default());
    let (ended, pages) = fetched(&entra, None).await;
    let token = ended.unwrap().unwrap();
    let whole = said(&pages);
    let ada = &whole.users[ADA];
    for (name, expected) in [
        ("/userName", json!("ada@corp.example")),
        ("/externalId", json!(ADA)),
        ("/displayName", json!("Ada Lovelace")),
        ("/name/givenName", json!("Ada")),
        ("/name/familyName", json!("Lovelace")),
        ("/active", json!(true)),
        ("/emails/0/value", json!("ada.lovelace@corp.example")),
        ("/title", json!("Engineer")),
        ("/userType", json!("Member")),
        (
            "/urn:ietf:params:scim:schemas:extension:enterprise:2.0:User/department",
            json!("Engines"),
        ),
        (
            "/urn:ietf:params:scim:schemas:extension:enterprise:2.0:User/employeeNumber",
            json!("4711"),
        ),
        (
            "/urn:ietf:params:scim:schemas:extension:enterprise:2.0:User/organization",
            json!("Corp"),
        ),
    ] {
        assert_eq!(ada.pointer(name), Some(&expected), "{name}");
    }
    assert_eq!(whole.users[BOB]["active"], false);
    // a group's members are those of all its pages; devices and applications are nobody, and who was removed is not in it
    let members: [(&str, &[&str]); 3] = [(STAFF, &[ADA, BOB]), (OUTER, &[STAFF]), (NOBODY, &[])];
    assert_eq!(whole.members, in_groups(&members));
    assert_eq!(
        whole.gone,
        set(&["11111111-0000-4000-8000-000000000009", "22222222-0000-4000-8000-000000000008"])
    );
    {
        let asked = asked.lock().unwrap();
        assert!(
            asked
                .iter()
                .any(|url| url.starts_with(GROUPS) && url.contains("$select=") && url.contains(",members"))
        );
    }

    let (ended, pages) = fetched(&entra, Some(&token)).await;
    assert_ne!(ended.unwrap().unwrap(), token);
    let changed = said(&pages);
    assert_eq!(
        changed.users[ADA].get("title"),
        Some(&Value::Null),
        "an attribute that was taken away is asked for"
    );
    assert_eq!(changed.groups[STAFF]["displayName"], "staff-renamed");
    assert_eq!(
        (&changed.members[STAFF], &changed.left[STAFF]),
        (&set(&[ADA]), &set(&[BOB])),
        "who came and who went"
    );
    assert_eq!(changed.gone, set(&[BOB, NOBODY]));
}

const MOVING: [Shape; 3] = [
    shape(
        USERS,
        "",
        r##"{"@odata.deltaLink": "https://graph.microsoft.com/v1.0/users/delta?$deltatoken=1", "value": []}"##,
    ),
    shape(
        GROUPS,
        "$skiptoken=2",
        r##"{"@odata.deltaLink": "https://graph.microsoft.com/v1.0/groups/delta?$deltatoken=1", "value": [{"id": "g", "displayName": "g", "members@delta": [{"@odata.type": "#microsoft.graph.user", "id": "a", "@removed": {"reason": "deleted"}}]}]}"##,
    ),
    shape(
        GROUPS,
        "",
        r##"{"@odata.nextLink": "https://graph.microsoft.com/v1.0/groups/delta?$skiptoken=2", "value": [{"id": "g", "displayName": "g", "members@delta": [{"@odata.type": "#microsoft.graph.user", "id": "a"}, {"@odata.type": "#microsoft.graph.user", "id": "b"}]}]}"##,
    ),
];

#[tokio::test]
async fn who_leaves_a_group_while_everything_is_read_is_not_in_it_and_people_are_asked_for_after_groups() {
    let (router, asked) = recorded(&MOVING);
    let fake = Fake::start(router).await;
    let (ended, pages) = fetched(&Entra::over(fake.http("/"), &poll::Entra::default()), None).await;
    ended.unwrap();
    assert_eq!(said(&pages).members, in_groups(&[("g", &["b"])]));
    assert!(asked.lock().unwrap().last().unwrap().starts_with(USERS));
    let at = |end: fn(&Page) -> bool| pages.iter().position(end).unwrap();
    assert!(at(|page| matches!(page, Page::UsersEnd(_))) < at(|page| matches!(page, Page::Groups(_))));
}

#[tokio::test]
async fn the_external_id_is_what_was_pushed() {
    let (router, _) = recorded(&SHAPES);
    let fake = Fake::start(router).await;
    let spec = poll::Entra {
        external_id: EntraExternalId::MailNickname,
        ..Default::default()
    };
    let (_, pages) = fetched(&Entra::over(fake.http("/"), &spec), None).await;
    assert_eq!(said(&pages).users[ADA]["externalId"], "ada");
}

#[tokio::test]
async fn no_fault_on_any_answer_of_entra_shows_anybody_to_be_missing() {
    let (router, _) = recorded(&SHAPES);
    let fake = Fake::start(router).await;
    let entra = Entra::over(fake.http("/"), &poll::Entra::default());
    let token = fetched(&entra, None).await.0.unwrap();
    for since in [None, token.as_deref()] {
        let (tried, failed) = spoilt(&fake, &entra, since).await;
        println!("Entra: {tried} of {tried} faulty passes showed nobody to be missing; {failed} failed");
    }
}

#[tokio::test]
async fn a_token_that_is_forgotten_says_so_on_whichever_answer() {
    let body = include_str!("../../../../tests/upstream/entra/expired-410.json");
    let token = r#"{"users": "/v1.0/users/delta?$deltatoken=old", "groups": "/v1.0/groups/delta?$deltatoken=old"}"#;
    for (status, location) in [(410u16, true), (410, false), (400, false)] {
        let answer = move || async move {
            let mut answer = http::Response::builder().status(status);
            if location {
                answer = answer.header("location", "/v1.0/users/delta?$deltatoken=");
            }
            answer.body(axum::body::Body::from(body)).unwrap()
        };
        let fake = Fake::start(Router::new().fallback(answer)).await;
        let (ended, pages) = fetched(&Entra::over(fake.http("/"), &poll::Entra::default()), Some(token)).await;
        assert_eq!(ended.unwrap_err().reason, "DeltaExpired", "{status}");
        assert_eq!(pages, [], "{status}");
    }
}

const KEY: &[u8] = include_bytes!("../../../../tests/data/jwt-rsa.pk8.der");

fn pem(label: &str, der: &[u8]) -> Vec<u8> {
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", BASE64_STANDARD.encode(der)).into_bytes()
}

/// The header and the claims of an assertion whose signature is good.
fn read(assertion: &str) -> (Value, Value) {
    let parts: Vec<&str> = assertion.split('.').collect();
    let decode = |part: &str| BASE64_URL_SAFE_NO_PAD.decode(part).unwrap();
    let [header, claims] = [0, 1].map(|k| serde_json::from_slice::<Value>(&decode(parts[k])).unwrap());
    let algorithm: &'static dyn signature::VerificationAlgorithm = match header["alg"].as_str().unwrap() {
        "RS256" => &signature::RSA_PKCS1_2048_8192_SHA256,
        "PS256" => &signature::RSA_PSS_2048_8192_SHA256,
        other => panic!("{other}"),
    };
    let key = RsaKeyPair::from_pkcs8(KEY).unwrap();
    let key = UnparsedPublicKey::new(algorithm, key.public_key().as_ref().to_vec());
    let message = format!("{}.{}", parts[0], parts[1]);
    key.verify(message.as_bytes(), &decode(parts[2])).unwrap();
    (header, claims)
}

#[test]
fn assertions_are_signed_short_lived_and_never_the_same() {
    let signer = Signer::new(&pem("PRIVATE KEY", KEY), Some("the-kid")).unwrap();
    let [(header, one), (_, other)] = [0, 1].map(|_| read(&signer.sign(json!({"iss": "i", "aud": "a"})).unwrap()));
    assert_eq!(
        (&header["kid"], &header["alg"], &header["typ"]),
        (&json!("the-kid"), &json!("RS256"), &json!("JWT"))
    );
    assert_eq!((&one["iss"], &one["aud"]), (&json!("i"), &json!("a")));
    let lasts = one["exp"].as_i64().unwrap() - one["iat"].as_i64().unwrap();
    assert!((60..=3600).contains(&lasts), "{lasts}");
    assert_ne!(one["jti"], other["jti"]);

    let certificate = rcgen::generate_simple_self_signed(["rolecall".to_owned()]).unwrap().cert;
    let signer = Signer::with_certificate(&pem("PRIVATE KEY", KEY), certificate.pem().as_bytes()).unwrap();
    let (header, _) = read(&signer.sign(json!({"iss": "i"})).unwrap());
    let thumbprint = ring::digest::digest(&ring::digest::SHA256, certificate.der());
    assert_eq!(header["alg"], "PS256", "as Entra's documentation has it");
    assert_eq!(header["x5t#S256"], BASE64_URL_SAFE_NO_PAD.encode(thumbprint));

    for (bad, why) in [
        (b"no key".to_vec(), "no PEM"),
        (pem("PRIVATE KEY", b"no DER"), "RSA key of 2,048 bits"),
    ] {
        let failure = Signer::new(&bad, None).err().unwrap();
        assert_eq!(failure.reason, "BadCredential");
        assert!(failure.message.contains(why), "{}", failure.message);
    }
}
