use super::*;

fn status(code: u16) -> StatusCode {
    StatusCode::from_u16(code).expect("a status")
}

#[test]
fn answers_mean_what_they_mean() {
    let check = |code: u16, body: &str, expected: StoreError| assert_eq!(failure(status(code), None, body.as_bytes()), expected, "{body}");
    check(
        404,
        r#"{"kind":"Status","message":"not found","reason":"NotFound","details":{"name":"directory","kind":"journals"}}"#,
        StoreError::NotFound,
    );
    check(404, "404 page not found\n", StoreError::NoSuchKind);
    check(
        404,
        r#"{"kind":"Status","message":"the server could not find the requested resource","reason":"NotFound","details":{}}"#,
        StoreError::NoSuchKind,
    );
    check(
        409,
        r#"{"reason":"Conflict","message":"object has been modified"}"#,
        StoreError::Conflict,
    );
    check(409, r#"{"reason":"AlreadyExists"}"#, StoreError::AlreadyExists);
    check(
        422,
        r#"{"message":"does not follow the head"}"#,
        StoreError::Invalid("does not follow the head".to_owned()),
    );
    check(429, "slow down", StoreError::unknown("slow down"));
    check(408, "too late", StoreError::unknown("too late"));
    for code in [500, 502, 503, 504] {
        check(code, "<html>", StoreError::unknown("<html>"));
    }
    for code in [400, 401, 403, 413] {
        let message = "no".to_owned();
        check(code, r#"{"message":"no"}"#, StoreError::Refused { status: code, message });
    }
}

const ROOT: &str = r#"{"kind":"Journal","metadata":{"name":"directory","uid":"u","resourceVersion":"7","generation":3,
    "labels":{"rolecall.dev/journal":"i"},"annotations":{"a":"b"},"finalizers":["foregroundDeletion"],"managedFields":[{"manager":"x"}]DELETED},
    "spec":{"id":"i","format":1,"index":2,"head":"h","previous":"p","parent":"","tail":["{}"]}}"#;

#[test]
fn a_root_keeps_what_others_wrote_on_it() {
    let root = parse_root(ROOT.replace("DELETED", "").as_bytes()).expect("a root");
    assert_eq!((&*root.uid, &*root.version, root.deleting, root.spec.index), ("u", "7", false, 2));
    assert_eq!(
        &*root.kept,
        r#""labels":{"rolecall.dev/journal":"i"},"annotations":{"a":"b"},"finalizers":["foregroundDeletion"]"#
    );
    let deleting = ROOT.replace("DELETED", r#","deletionTimestamp":"2026-11-24T12:00:00Z""#);
    assert!(parse_root(deleting.as_bytes()).expect("a root").deleting);
}

#[test]
fn garbage_on_the_way_is_no_undecodable_root() {
    let unknown = |body: &str| assert!(matches!(parse_root(body.as_bytes()), Err(StoreError::Unknown { .. })), "{body}");
    unknown("<html>");
    unknown("");
    unknown(&ROOT[..200]);
    let other = ROOT.replace("DELETED", "").replace("\"index\":2", "\"index\":\"two\"");
    assert!(matches!(parse_root(other.as_bytes()), Err(StoreError::Malformed(_))));
}

#[test]
fn a_watch_gives_hints() {
    let line = |kind: &str| format!(r#"{{"type":"{kind}","object":{}}}"#, ROOT.replace("DELETED", "").replace('\n', ""));
    assert!(matches!(parse_hint(&line("MODIFIED")), Ok(Hint::Root(root)) if root.spec.index == 2));
    assert!(matches!(parse_hint(&line("DELETED")), Ok(Hint::Deleted)));
    assert!(parse_hint(&line("ERROR")).is_err());
    assert!(parse_hint("{").is_err());
}
