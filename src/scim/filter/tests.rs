//! Tests of the filter grammar, of its bounds, and of what matches.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;
use crate::scim::schema;

/// What a filter prints as, or where reading stopped.
fn check(text: &str, expected: Result<&str, usize>) {
    match (parse::filter(text), expected) {
        (Ok(filter), Ok(printed)) => {
            assert_eq!(filter.to_string(), printed, "{text}");
            assert_eq!(Filter::parse(printed), Ok(filter), "{text}");
        }
        (Err(fault), Err(offset)) => {
            assert_eq!(fault.offset, offset, "{text}: {fault}");
            let error = Filter::parse(text).unwrap_err();
            assert_eq!((error.status, error.scim_type), (400, Some("invalidFilter")));
            assert!(error.detail.starts_with(&format!("at offset {offset}: ")), "{text}: {error}");
        }
        (got, expected) => panic!("{text}: {got:?}, expected {expected:?}"),
    }
}

#[test]
fn grammar() {
    for same in [
        "userName eq \"bjensen\"",
        "name.familyName co \"O'Malley\"",
        "urn:ietf:params:scim:schemas:core:2.0:User:userName sw \"J\"",
        "title pr",
        "meta.lastModified gt \"2011-05-13T04:42:34Z\"",
        "schemas eq \"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User\"",
        "userType eq \"Employee\" and (emails co \"example.com\" or emails.value co \"example.org\")",
        "userType ne \"Employee\" and not (emails co \"example.com\" or emails.value co \"example.org\")",
        "emails[type eq \"work\" and value co \"@example.com\"] or ims[type eq \"xmpp\" and value co \"@foo.com\"]",
        "members.$ref eq \"../Users/1\"",
        "a eq \"\"",
        "a eq \"\\\"\\\\\"",
        "a eq \"ä € \u{1f600}\"",
        "a eq -1",
        "a eq 1.5",
        "a eq null",
        "a eq true",
        "a[not (b pr)]",
    ] {
        check(same, Ok(same));
    }
    check("a pr or b pr and c pr", Ok("a pr or (b pr and c pr)"));
    check("a pr and b pr or c pr", Ok("(a pr and b pr) or c pr"));
    check("(a pr and b pr) and c pr", Ok("a pr and b pr and c pr"));
    check("not a eq 1 and b pr", Err(4)); // no parentheses: an attribute called "not", and no operator "a"
    check("not(a pr) AND b PR", Ok("not (a pr) and b pr"));
    check("NOT   ( a Eq \"x\" )", Ok("not (a eq \"x\")"));
    check("not (not(a pr))", Ok("not (not (a pr))"));
    check("not eq 1", Ok("not eq 1"));
    check("  a   pr  ", Ok("a pr"));
    check("((a pr))", Ok("a pr"));
    check("a[ b pr ]", Ok("a[b pr]"));
    check("a eq \"\\u0041\\n\"", Ok("a eq \"A\\n\""));
    check("a eq 1e2", Ok("a eq 100.0"));
    // Read as the nearest number, so that it prints as what reads back as itself.
    check("a eq 33333333333333333333333333333333", Ok("a eq 3.3333333333333334e+31"));
    check("or pr or or pr", Ok("or pr or or pr"));
    // a word without quotes, as some clients write it
    check(
        "externalId eq jyoung and a.b sw J.Young+x@corp.example",
        Ok("externalId eq jyoung and a.b sw J.Young+x@corp.example"),
    );
    check("active eq True", Ok("active eq True"));
    check(
        "id eq 2819c223-7f76-453a-919d-413861904646",
        Ok("id eq 2819c223-7f76-453a-919d-413861904646"),
    );
}

#[test]
fn faults_say_where() {
    check("", Err(0));
    check("   ", Err(3));
    check("userName", Err(8));
    check("userName ", Err(9));
    check("userName eq", Err(11));
    check("userName eq ", Err(12));
    check("userName eq 'x'", Err(12));
    check("userName xx \"x\"", Err(9));
    check("userName eq \"x", Err(12));
    check("userName eq \"\\q\"", Err(12));
    check("userName eq \"\\ud800\"", Err(12));
    check("userName eq 01", Err(12));
    check("userName eq 1e999", Err(12));
    check("userName eq j(young", Err(13));
    check("userName eq jyöung", Err(12));
    check("userName eq +jyoung", Err(12));
    check("userName eq NULL", Err(12));
    check("userName eq 12-5", Err(12));
    check("userName eq \"x\" and", Err(19));
    check("userName eq \"x\" and ", Err(20));
    check("userName eq \"x\"and a pr", Err(15));
    check("userName eq \"x\" xor a pr", Err(16));
    check("(a pr", Err(5));
    check("a pr)", Err(4));
    check("()", Err(1));
    check("a[b pr", Err(6));
    check("a[]", Err(2));
    check("a[b[c pr]]", Err(3));
    check("a.b[c pr]", Err(0));
    check("a.b.c pr", Err(0));
    check("1a pr", Err(0));
    check("a pr é", Err(5));
    check("é pr", Err(0));
    check("a é \"x\"", Err(2));
}

#[test]
fn bounds_hold_and_reading_is_linear() {
    let nested = |depth: usize| format!("{}a pr{}", "(".repeat(depth), ")".repeat(depth));
    check(&nested(MAX_DEPTH), Ok("a pr"));
    check(&nested(MAX_DEPTH + 1), Err(MAX_DEPTH));
    let nots = format!("{}a pr{}", "not (".repeat(MAX_DEPTH + 1), ")".repeat(MAX_DEPTH + 1));
    assert!(Filter::parse(&nots).is_err());
    let terms = |count: usize| vec!["a pr"; count].join(" or ");
    assert!(Filter::parse(&terms(MAX_TERMS)).is_ok());
    assert!(Filter::parse(&terms(MAX_TERMS + 1)).unwrap_err().detail.contains("256"));
    let long = format!("a eq \"{}\"", "x".repeat(MAX_BYTES - 7));
    assert!(Filter::parse(&long).is_ok());
    check(&format!("{long} "), Err(MAX_BYTES));
    // scim-filter 0.2.3 needs seconds for 18 parentheses.
    let start = std::time::Instant::now();
    for _ in 0..1000 {
        assert!(Filter::parse(&nested(18)).is_ok());
        assert!(Filter::parse(&"(".repeat(MAX_BYTES)).is_err());
    }
    assert!(start.elapsed() < std::time::Duration::from_secs(60), "{:?}", start.elapsed());
}

fn ada() -> Map<String, Value> {
    let value = json!({
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User", "urn:example:2.0:User"],
        "id": "2819c223-7f76",
        "externalId": "Ada1",
        "userName": "Ada@Example.com",
        "title": "",
        "name": {"familyName": "Lovelace", "givenName": "Ada"},
        "active": true,
        "emails": [
            {"type": "work", "value": "ada@w.example", "primary": true},
            {"type": "home", "value": "ada@h.example"}
        ],
        "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User": {"department": "Payments", "manager": {"value": "boss-1"}},
        "urn:example:2.0:User": {"Badge": {"number": 7, "value": "Gold"}, "levels": [1, 2.5], "on": true, "since": "2020"},
        "groups": [{"value": "g1", "type": "direct"}],
        "meta": {"resourceType": "User", "created": "2026-01-01T00:00:00Z", "lastModified": "2026-06-01T12:00:00.5+02:00"}
    });
    value.as_object().unwrap().clone()
}

#[test]
fn what_matches() {
    let ada = ada();
    for (text, expected) in [
        ("userName eq \"ADA@EXAMPLE.COM\"", true),
        ("USERNAME Eq \"ada@example.com\"", true),
        ("urn:ietf:params:scim:schemas:core:2.0:user:username eq \"ada@example.com\"", true),
        ("id eq \"2819C223-7F76\"", false),
        ("externalId eq \"ada1\"", false),
        ("externalId eq \"Ada1\"", true),
        ("userName sw \"ADA@\"", true),
        ("userName co \"EXAMPLE\"", true),
        ("userName ew \".COM\"", true),
        ("userName sw \"\"", true),
        ("userName gt \"aaa\"", true),
        ("userName lt \"aaa\"", false),
        ("userName ge \"ada@example.com\" and userName le \"ada@example.com\"", true),
        ("name.familyName eq \"lovelace\"", true),
        ("name pr", true),
        ("title pr", false),
        ("nickName pr", false),
        ("nickName eq \"x\"", false),
        ("nickName eq null", true),
        ("userName eq null", false),
        ("userName ne null", true),
        ("nickName ne \"x\"", true),
        ("nickName ne null", false),
        ("active eq true", true),
        ("active eq \"True\"", true),
        ("active eq \"false\"", false),
        ("active ne false", true),
        // a and b or c: scim-filter reads a and (b or c).
        ("userName eq \"x\" and title pr or active eq true", true),
        ("userName eq \"x\" and (title pr or active eq true)", false),
        ("active eq true or userName eq \"x\" and title pr", true),
        // One element fulfils all of the brackets.
        ("emails[type eq \"work\" and value eq \"ada@h.example\"]", false),
        ("emails[type eq \"home\" and value eq \"ada@h.example\"]", true),
        ("emails.type eq \"work\" and emails.value eq \"ada@h.example\"", true),
        ("emails[not (type eq \"work\")]", true),
        ("emails[primary eq \"True\"]", true),
        ("emails[type eq \"home\" and primary eq true]", false),
        // Not said is false (RFC 7643 §2.4).
        ("emails[type eq \"home\" and primary eq false]", true),
        ("emails[type eq \"work\" and primary eq false]", false),
        ("emails[type eq \"home\" and primary eq \"False\"]", true),
        ("emails.primary eq false", true),
        ("phoneNumbers.primary eq false", false),
        ("emails co \"W.EXAMPLE\"", true),
        ("emails eq \"ada@w.example\"", true),
        ("emails.type ne \"work\"", true),
        ("not (emails.type eq \"work\")", false),
        ("emails pr", true),
        ("phoneNumbers pr", false),
        ("phoneNumbers[type eq \"work\"]", false),
        ("schemas eq \"urn:example:2.0:User\"", true),
        ("groups eq \"g1\"", true),
        ("groups.value eq \"g2\"", false),
        ("groups[value eq \"g1\" and type eq \"direct\"]", true),
        // The enterprise extension, with its URN and without.
        (
            "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department eq \"payments\"",
            true,
        ),
        ("department eq \"payments\"", true),
        ("manager eq \"boss-1\"", true),
        ("manager eq \"BOSS-1\"", false),
        ("manager.value eq \"boss-1\"", true),
        ("id eq \"2819c223-7f76\" and manager eq \"boss-1\"", true),
        ("urn:ietf:params:scim:schemas:extension:enterprise:2.0:User pr", true),
        // An extension that nobody declared.
        ("urn:example:2.0:User:badge eq \"gold\"", true),
        ("URN:EXAMPLE:2.0:user:badge.number eq 7", true),
        ("urn:example:2.0:User:badge[number gt 6 and value eq \"gold\"]", true),
        ("urn:example:2.0:User:levels eq 2.5", true),
        ("urn:example:2.0:User:levels gt 2", true),
        ("urn:example:2.0:User:on eq \"True\"", true),
        ("urn:example:2.0:User:on gt true", false),
        ("urn:example:2.0:User:since eq 2020", false),
        ("urn:example:2.0:User:nope pr", false),
        ("urn:nobody:knows:this pr", false),
        // Times are moments.
        ("meta.lastModified eq \"2026-06-01T10:00:00.5Z\"", true),
        ("meta.lastModified gt \"2026-06-01T10:00:00Z\"", true),
        ("meta.lastModified gt \"2026-06-01T11:00:00Z\"", false),
        ("meta.created lt \"2026-01-01T00:00:01\"", true),
        ("meta.created sw \"2026-\"", true),
        ("meta.resourceType eq \"User\"", true),
    ] {
        let filter = Filter::parse(text).unwrap();
        let matcher = filter.compile(ResourceKind::User).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(matcher.matches(&ada), expected, "{text}");
        assert_eq!(matches(&filter, &ada, ResourceKind::User), expected, "{text}");
    }
}

#[test]
fn what_does_not_fit_the_schema_is_refused() {
    for text in [
        "nope eq \"x\"",
        "emails.nope eq \"x\"",
        "emails[nope eq \"x\"]",
        "emails[value.x eq \"x\"]",
        "userName.x pr",
        "userName[x pr]",
        "name eq \"Ada\"",
        "meta eq \"x\"",
        "active gt true",
        "active ge \"true\"",
        "active co \"t\"",
        "active eq \"yes\"",
        "active eq 1",
        "x509Certificates.value gt \"AA\"",
        "userName eq 5",
        "userName eq true",
        "userName gt null",
        "meta.created gt \"yesterday\"",
        "meta.created gt 5",
        "members pr",
        "urn:ietf:params:scim:schemas:core:2.0:Group:displayName pr",
        "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:nope pr",
        "title pr and nope pr",
    ] {
        let error = Filter::parse(text).unwrap().compile(ResourceKind::User).unwrap_err();
        assert_eq!((error.status, error.scim_type), (400, Some("invalidFilter")), "{text}: {error}");
        assert!(!matches(&Filter::parse(text).unwrap(), &ada(), ResourceKind::User), "{text}");
    }
}

#[test]
fn over_all_kinds_the_other_kind_has_no_value() {
    let compile = |text: &str| {
        Filter::parse(text)
            .unwrap()
            .compile_for(ResourceKind::User, &ResourceKind::ALL, &schema::NONE)
    };
    assert!(!compile("members pr").unwrap().matches(&ada()));
    assert!(compile("members eq \"x\" or userName pr").unwrap().matches(&ada()));
    assert!(compile("nope pr").is_err());
}

#[test]
fn in_a_mapping_absent_is_false() {
    let compile = |text: &str| Filter::parse(text).unwrap().compile(ResourceKind::User).unwrap().absent_is_false();
    assert!(!compile("nickName ne \"x\"").matches(&ada()));
    assert!(compile("department ne \"x\"").matches(&ada()));
    assert!(!compile("division ne \"Contractors\"").matches(&ada()));
}

struct Only<'a>(&'a [&'a str]);

impl Related for Only<'_> {
    fn contains(&self, id: &str) -> bool {
        self.0.contains(&id)
    }

    fn any(&self, test: &mut dyn FnMut(&Value) -> bool) -> bool {
        self.0.iter().any(|id| test(&json!({"value": id, "type": "User"})))
    }
}

#[test]
fn members_are_asked_for_and_not_built() {
    let group = json!({"id": "g", "displayName": "Payments"}).as_object().unwrap().clone();
    let members = Only(&["u1", "u2"]);
    for (text, expected) in [
        ("id eq \"g\" and members eq \"u1\"", true),
        ("members.value eq \"u3\"", false),
        ("members[value eq \"u2\"]", true),
        ("members[value eq \"u2\" and type eq \"Group\"]", false),
        ("members.type eq \"user\"", true),
        ("members pr", true),
        ("members ne \"u1\"", true),
        ("members eq null", false),
    ] {
        let matcher = Filter::parse(text).unwrap().compile(ResourceKind::Group).unwrap();
        assert_eq!(matcher.matches_with(&group, &members), expected, "{text}");
    }
    let empty = Filter::parse("members pr").unwrap().compile(ResourceKind::Group).unwrap();
    assert!(!empty.matches_with(&group, &Only(&[])) && !empty.matches(&group));
}

#[test]
fn what_an_index_answers() {
    let check = |kind, text: &str, expected: &[(Key, &str)]| assert_eq!(Filter::parse(text).unwrap().keys(kind), expected, "{text}");
    use ResourceKind::{Group, User};
    check(User, "userName eq \"a\"", &[(Key::UserName, "a")]);
    check(
        User,
        "urn:ietf:params:scim:schemas:core:2.0:User:USERNAME eq \"a\"",
        &[(Key::UserName, "a")],
    );
    check(User, "id eq \"1\" and manager eq \"2\"", &[(Key::Id, "1")]);
    check(
        User,
        "externalId eq \"1\" and (active eq true and userName eq \"b\")",
        &[(Key::ExternalId, "1"), (Key::UserName, "b")],
    );
    check(User, "groups.value eq \"g\"", &[(Key::Related, "g")]);
    check(
        Group,
        "displayName eq \"x\" and members eq \"u\"",
        &[(Key::DisplayName, "x"), (Key::Related, "u")],
    );
    check(Group, "members[value eq \"u\"]", &[(Key::Related, "u")]);
    check(Group, "members[type eq \"u\"]", &[]);
    check(User, "emails[value eq \"u\"]", &[(Key::Email, "u")]);
    check(User, "emails[type eq \"work\" and value eq \"u\"]", &[(Key::Email, "u")]);
    check(User, "emails[type eq \"work\" or value eq \"u\"]", &[]);
    check(User, "emails eq \"u\"", &[(Key::Email, "u")]);
    check(User, "emails.type eq \"u\"", &[]);
    let begins = |kind, text: &str, expected: &[(Key, &str)]| assert_eq!(Filter::parse(text).unwrap().prefixes(kind), expected, "{text}");
    begins(User, "userName sw \"a\" and displayName sw \"b\"", &[(Key::UserName, "a")]);
    begins(Group, "displayName sw \"b\"", &[(Key::DisplayName, "b")]);
    begins(User, "id sw \"a\" or userName sw \"a\"", &[]);
    check(User, "userName eq \"a\" or id eq \"1\"", &[]);
    check(User, "not (userName eq \"a\")", &[]);
    check(User, "userName sw \"a\"", &[]);
    check(User, "userName eq null", &[]);
    let paths: Vec<String> = Filter::parse("a eq 1 and (b.c pr or not (d[e pr]))")
        .unwrap()
        .paths()
        .iter()
        .map(|p| p.to_string())
        .collect();
    assert_eq!(paths, ["a", "b.c", "d"]);
}

fn any_path() -> impl Strategy<Value = AttrPath> {
    let urn = prop_oneof![
        Just(None),
        Just(Some(schema::ENTERPRISE_URN.to_owned())),
        Just(Some("urn:x:2.0:Y".to_owned()))
    ];
    (urn, "[a-zA-Z$][a-zA-Z0-9_$-]{0,8}", proptest::option::of("[a-z$][a-zA-Z]{0,6}")).prop_map(|(urn, name, sub)| AttrPath {
        urn,
        name,
        sub,
    })
}

fn any_literal() -> impl Strategy<Value = Literal> {
    prop_oneof![
        Just(Literal::Null),
        any::<bool>().prop_map(Literal::Bool),
        any::<i64>().prop_map(|n| Literal::Number(n.into())),
        any::<String>().prop_map(Literal::String),
    ]
}

fn any_term() -> impl Strategy<Value = Filter> {
    let op = (0..Op::ALL.len()).prop_map(|i| Op::ALL[i].1);
    prop_oneof![
        any_path().prop_map(Filter::Present),
        (any_path(), op, any_literal()).prop_map(|(path, op, literal)| Filter::Compare(path, op, literal))
    ]
}

fn joined(parts: Vec<Filter>, and: bool) -> Filter {
    let flat = parts.into_iter().flat_map(|part| match (part, and) {
        (Filter::And(inner), true) | (Filter::Or(inner), false) => inner,
        (part, _) => vec![part],
    });
    if and {
        Filter::And(flat.collect())
    } else {
        Filter::Or(flat.collect())
    }
}

fn any_filter(leaf: BoxedStrategy<Filter>) -> BoxedStrategy<Filter> {
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            (proptest::collection::vec(inner.clone(), 2..4), any::<bool>()).prop_map(|(parts, and)| joined(parts, and)),
            inner.prop_map(|inner| Filter::Not(Box::new(inner))),
        ]
    })
    .boxed()
}

fn with_elements() -> BoxedStrategy<Filter> {
    let element = (any_path(), any_filter(any_term().boxed()))
        .prop_map(|(path, inner)| Filter::Element(AttrPath { sub: None, ..path }, Box::new(inner)));
    any_filter(prop_oneof![3 => any_term(), 1 => element].boxed())
}

proptest! {
    #[test]
    fn what_prints_reads_back(filter in with_elements()) {
        let text = filter.to_string();
        if text.len() <= MAX_BYTES {
            prop_assert_eq!(Filter::parse(&text).map_err(|e| e.to_string()), Ok(filter));
        }
    }

    #[test]
    fn any_text_is_read_or_refused(text in any::<String>()) {
        let _ = Filter::parse(&text);
    }

    #[test]
    fn text_of_the_grammar_is_read_or_refused(text in "(userName|emails|not|and|or|eq|pr|gt|\\(|\\)|\\[|\\]|\"a\\\\\"|\"é\"|type|value|-1|true|null| |\\.|:){0,40}") {
        if let Ok(filter) = Filter::parse(&text) {
            for kind in ResourceKind::ALL {
                if let Ok(matcher) = filter.compile(kind) {
                    matcher.matches(&ada());
                }
                let _ = filter.compile_for(kind, &ResourceKind::ALL, &schema::NONE);
            }
            prop_assert_eq!(Filter::parse(&filter.to_string()), Ok(filter));
        }
    }

    #[test]
    fn judging_any_value_does_not_fail(filter in with_elements(), name in "[a-z]{1,3}", text in any::<String>()) {
        let resource = json!({name: [{"value": text.clone()}, text, null, 3, {"a": {"b": []}}]});
        for kind in ResourceKind::ALL {
            matches(&filter, resource.as_object().unwrap(), kind);
        }
    }
}
